"""Users and items by their ids: their indices in a model, and messages about unknown ids."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import LISTED, RatingsError, did_you_mean, listed
from tenfold.values import Interactions, id_text, other_spelling

__all__ = [
    "as_ids",
    "count_listed",
    "count_listed_users",
    "count_titles",
    "count_unknown",
    "find_items",
    "find_titles",
    "item_states",
    "locate",
    "near_items",
    "ratings_between",
    "refuse_unknown",
    "title_words",
    "titles",
    "unrated_items",
    "unrated_users",
    "user_states",
    "words_of",
]


def as_ids(values: object) -> NDArray[np.object_]:
    """One id or many, in any spelling, as (n,) texts; a frame of one column is its cells.

    Raises RatingsError for a table of several columns, and for a mapping: their parts are names, not ids.
    """
    shape = getattr(values, "shape", ())
    if len(shape) == 2 and shape[1] == 1:
        values = np.asarray(values).ravel()
    elif len(shape) > 1 or isinstance(values, Mapping):
        raise RatingsError(
            f"ids are given as a {type(values).__name__}, not as a list",
            fix="give its column of ids, as df['item']",
        )
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        values = [values]
    return np.array([id_text(value) for value in values], object)


def locate(ids: NDArray[np.object_], known: NDArray[np.object_]) -> NDArray[np.int64]:
    """Index of each id in `known`, -1 for an unknown id.

    A whole number that passed through floating point matches, too: ``1.0`` is the known ``1``, and ``1`` the
    known ``1.0``, unless the spelling itself is a known id.
    """
    index_of = {name: index for index, name in enumerate(known)}
    index = np.fromiter((index_of.get(name, -1) for name in ids), np.int64, len(ids))
    for row in np.flatnonzero(index < 0):
        index[row] = index_of.get(other_spelling(ids[row]), -1) if ids[row] else -1
    return index


#: Words of a title that may be left out in a question.
_ARTICLES = frozenset("the a an le la les un une der die das el los las il lo".split())
_YEAR = re.compile(r"\((?:19|20)\d\d\)")


def find_titles(known: Interactions, items: NDArray[np.object_]) -> tuple[NDArray[np.object_], list[str]]:
    """Items with the ids of those that are titles, and messages.

    A text that is not an id of the model, listed items among them, is looked up as a title, whatever its
    case. A title that several items share stays as it is.
    """
    unknown = [
        row for row in np.flatnonzero(locate(items, known.items) < 0) if items[row] not in known.item_names
    ]
    if not unknown or not known.item_names:
        return items, []
    by_title: dict[str, list[str]] = {}
    for item, title in known.item_names.items():
        by_title.setdefault(id_text(title).casefold(), []).append(item)
    resolved, looked_up, unclear = items.copy(), [], []
    for row in unknown:
        ids = by_title.get(items[row].casefold(), [])
        if len(ids) == 1:
            resolved[row] = ids[0]
            looked_up.append(f"{items[row]!r} is {ids[0]}")
        elif ids:
            unclear.append(f"{items[row]!r} is the title of {', '.join(ids[:LISTED])}: give the id")
    notes = [f"{len(looked_up)} items looked up by title: {', '.join(looked_up[:3])}"] if looked_up else []
    return resolved, [*notes, *unclear[:LISTED]]


def find_items(known: Interactions, items: NDArray[np.object_]) -> tuple[NDArray[np.object_], list[str]]:
    """Like `find_titles`, for items that a person asks for: also by some words of a title.

    "matrix" is "Matrix, The (1999)" if no other title has this word, or no other consists of it (articles and
    the year apart). What several titles have in common stays as it is; `near_items` lists them.
    """
    resolved, notes = find_titles(known, items)
    rows = [row for row in np.flatnonzero(locate(resolved, known.items) < 0) if resolved[row]]
    titles = title_words(known) if rows else {}
    for row in rows:
        found = [] if resolved[row] in known.item_names else _with_words(known, titles, resolved[row])
        if len(found) == 1:
            notes.append(f"{resolved[row]!r} is {known.item_names[found[0]]!r} ({found[0]})")
            resolved[row] = found[0]
    return resolved, notes


def words_of(text: str) -> list[str]:
    """The words of a title, whatever their case and accents."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    return re.findall(r"\w+", "".join(letter for letter in plain if not unicodedata.combining(letter)))


def title_words(known: Interactions) -> dict[str, list[str]]:
    """Item -> the words of its title, where it has one."""
    return {item: words_of(title) for item, title in known.item_names.items() if title}


def _with_words(known: Interactions, titles: Mapping[str, list[str]], text: str) -> list[str]:
    """Items whose titles have all these words, the most rated first; one, if only its title is these words.

    A number alone is an unknown id, and no words. Items that nobody rated count where no other is found.
    """
    words = words_of(text)
    if not any(letter.isalpha() for letter in text):
        return []
    found = [item for item, title in titles.items() if set(words) <= set(title)]
    index = locate(np.array(found, object), known.items)
    if (index >= 0).any():
        many = np.bincount(known.seen_items, minlength=len(known.items))
        found = [found[row] for row in np.argsort(-many[index], kind="stable") if index[row] >= 0]
    asked = sorted(word for word in words if word not in _ARTICLES)
    equal = []
    for item in found:
        title = words_of(_YEAR.sub("", known.item_names[item]))
        if sorted(word for word in title if word not in _ARTICLES) == asked:
            equal.append(item)
    return equal if len(equal) == 1 else found


def near_items(known: Interactions, item: str) -> str:
    """Suggest an item for a text that is neither an id nor the title of exactly one item."""
    titles: dict[str, list[str]] = {}
    for known_item, title in known.item_names.items():
        if title:
            titles.setdefault(title, []).append(known_item)
    folded = {title.casefold(): title for title in titles}
    found = [] if item.casefold() in folded else _with_words(known, title_words(known), item)
    if found:
        shown = listed([f"{known.item_names[one]!r} ({one})" for one in found])
        return f"{len(found)} titles have these words: {', '.join(shown)}: give the id or more words"
    near = difflib.get_close_matches(item.casefold(), folded, n=1)
    if not near:
        return "no title is like it" if titles else did_you_mean(item, known.items)
    title = folded[near[0]]
    return f"did you mean {title!r} ({' or '.join(titles[title][:LISTED])})?"


def unrated_items(known: Interactions) -> NDArray[np.bool_]:
    """(items,) bool: items that nobody has rated and that have a row from their columns."""
    if not known.listed_items:
        return np.zeros(len(known.items), np.bool_)
    return np.bincount(known.seen_items, minlength=len(known.items)) == 0


def unrated_users(known: Interactions) -> NDArray[np.bool_]:
    """(users,) bool: users who have rated nothing and who have a row from their columns."""
    return known.given == 0 if known.listed_users else np.zeros(len(known.users), np.bool_)


def user_states(known: Interactions, index: NDArray[np.int64]) -> NDArray[np.object_] | None:
    """``rated``, ``listed`` or ``unknown`` for each user, by index as `locate` returns it.

    None where the run knows no user by columns only.
    """
    if not known.listed_users:
        return None
    state = np.where(index < 0, "unknown", "rated").astype(object)
    state[(index >= 0) & unrated_users(known)[index]] = "listed"
    return state


def count_listed_users(users: NDArray[np.object_], state: NDArray[np.object_] | None) -> list[str]:
    """A message: how many users have rated nothing, and how their scores come about."""
    listed = [] if state is None else list(dict.fromkeys(users[state == "listed"].tolist()))
    if not listed:
        return []
    many = f"{len(listed)} of {len(set(users))} users are listed and have rated nothing"
    return [f"{many}: answered by their columns: {', '.join(map(repr, listed[:3]))}"]


def item_states(
    known: Interactions, items: NDArray[np.object_], index: NDArray[np.int64]
) -> NDArray[np.object_]:
    """(pairs,) ``rated``, ``listed`` or ``unknown`` for each id. index: as `locate` returns it."""
    state = np.full(len(items), "rated", object)
    if len(known.items):
        state[(index >= 0) & unrated_items(known)[index]] = "listed"
    for row in np.flatnonzero(index < 0):
        state[row] = "listed" if items[row] in known.item_names else "unknown"
    return state


def count_listed(
    items: NDArray[np.object_], index: NDArray[np.int64], state: NDArray[np.object_]
) -> list[str]:
    """Messages: how many items nobody has rated, and how their scores come about."""
    notes = []
    for chosen, how in ((index >= 0, "by their columns"), (index < 0, "as the average item")):
        listed = items[(state == "listed") & chosen]
        if len(listed):
            shown = ", ".join(map(repr, list(dict.fromkeys(listed))[:3]))
            many = f"{len(set(listed))} of {len(set(items))} items are listed and rated by nobody"
            notes.append(f"{many}, in {len(listed)} of {len(items)} pairs: answered {how}: {shown}")
    return notes


def refuse_unknown(
    users: NDArray[np.object_],
    user_index: NDArray[np.int64],
    items: NDArray[np.object_],
    item_index: NDArray[np.int64],
) -> None:
    """Raise RatingsError for pairs with an unknown user or item (index -1)."""
    rows = np.flatnonzero((user_index < 0) | (item_index < 0))
    if not len(rows):
        return
    problems = []
    for row in rows[:LISTED]:
        who = [f"user {users[row]!r}"] if user_index[row] < 0 else []
        who += [f"item {items[row]!r}"] if item_index[row] < 0 else []
        problems.append(f"pair {row + 1}: {' and '.join(who)} unknown")
    raise RatingsError(
        f"{len(rows)} of {len(users)} pairs have an unknown user or item",
        problems=problems,
        fix="take them out, or allow fallbacks (unknown='fallback')",
    )


def count_titles(known: Interactions, items: NDArray[np.object_]) -> list[str]:
    """Messages: how many of the items are titles instead of ids, which a prediction does not look up."""
    ids, _ = find_titles(known, items)
    rows = np.flatnonzero(ids != items)
    if not len(rows):
        return []
    many, first = len(set(items[rows])), rows[0]
    are = "is a title" if many == 1 else "are titles"
    return [f"{many} of these {are}, as {items[first]!r} of {ids[first]}: give ids"]


def count_unknown(
    what: str, ids: NDArray[np.object_], index: NDArray[np.int64], known: NDArray[np.object_]
) -> list[str]:
    """Messages: how many users or items are unknown. index: as `locate` returns it."""
    absent = index < 0
    if not absent.any():
        return []
    distinct = set(ids)
    missing = list(dict.fromkeys(ids[absent]))
    note = f"{len(missing)} of {len(distinct)} {what} unknown, in {int(absent.sum())} of {len(ids)} pairs"
    shown = ", ".join(map(repr, missing[:3]))
    if len(missing) == len(distinct):
        some = ", ".join(map(repr, known[:3]))
        return [f"{note} - are ids of the same kind? asked {shown}; known {some}"]
    return [f"{note}: {shown}{' ...' if len(missing) > 3 else ''}"]


def titles(known: Interactions, items: NDArray[np.integer]) -> NDArray[np.object_]:
    """Titles of items, by index; the id of an item without a title."""
    ids = known.items[items]
    return np.array([known.item_names.get(item) or item for item in ids], object) if known.item_names else ids


def ratings_between(
    known: Interactions, users: NDArray[np.int64], items: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(users, items) the ratings that these users gave these items; NaN where there is none."""
    table = np.full((len(users), len(items)), np.nan)
    column_of = np.full(len(known.items), -1)
    column_of[items] = np.arange(len(items))
    for row, user in enumerate(users):
        own = slice(known.seen_start[user], known.seen_start[user + 1])
        column = column_of[known.seen_items[own]]
        table[row, column[column >= 0]] = known.seen_ratings[own][column >= 0]
    return table
