"""Which column of a table is the user, the item, the rating, the time and the title: found and said."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tenfold.data.tables.cells import look_alikes
from tenfold.data.tables.table import Table
from tenfold.errors import LISTED, SchemaError
from tenfold.values import id_text, other_spelling

__all__ = [
    "KNOWN_NAMES",
    "OF_RUN",
    "Roles",
    "find_column",
    "find_key",
    "find_roles",
    "item_titles",
    "names_users",
    "read_listed_ids",
    "read_ids",
]

#: Column names by role, the likelier first, compared without case, blanks, dots and underscores.
KNOWN_NAMES = {
    "user": (
        "user userid uid useridx userkey customerid customer memberid member reviewerid reviewer visitorid "
        "visitor personid person accountid account clientid client sessionid listenerid readerid profileid"
    ).split(),
    "item": (
        "item itemid iid movieid productid asin parentasin isbn bookid songid trackid artistid jokeid "
        "articleid filmid gameid recipeid businessid sku contentid animeid showid newsid itemkey movie "
        "product book song track artist joke article film game recipe business anime title"
    ).split(),
    "rating": (
        "rating ratings score stars star overall userrating reviewscore grade vote preference value"
    ).split(),
    "time": (
        "timestamp time unixreviewtime reviewtime unixtime datetime date ratedat createdat eventtime ts when"
    ).split(),
    "title": (
        "title name itemname movietitle producttitle movie product book song track artist label"
    ).split(),
}

#: How a finished run's table is to be.
OF_RUN = "as in the table that the run was fitted to"
#: A name that a reader makes up where the table has none.
UNNAMED = re.compile(r"(column|col|field|f|x|v|c)?[ _]?\d+", re.IGNORECASE)


@dataclass(frozen=True)
class Roles:
    """Which column serves as what; None where there is none. user: where all rows are one user's."""

    user: str | None
    item: str
    rating: str | None
    time: str | None
    notes: tuple[str, ...] = ()


def find_roles(
    table: Table,
    *,
    user: str | None = None,
    item: str | None = None,
    rating: str | None = None,
    time: str | bool | None = None,
    kind: str | None = None,
    one_user: bool = False,
    of_run: Mapping[str, str | None] | None = None,
) -> Roles:
    """Which column is the user, the item, the rating and the time; SchemaError where that cannot be told.

    Names not given are found among `KNOWN_NAMES`, or by place where the table has no header: user, item,
    rating, time. time=False looks for none. kind="implicit" needs no rating, kind="explicit" needs one.
    one_user: no column of users is looked for.  of_run: role -> name in the table that a finished run was
    fitted to, by which a column that is not found is asked for.
    """
    given = {"user": user, "item": item, "rating": rating, "time": time if isinstance(time, str) else None}
    found = {role: find_column(table, name) for role, name in given.items() if name is not None}
    _check_once(table, found)
    unnamed = _unnamed(table)
    for role in given:
        if role in found or (role == "time" and time is False) or (role == "user" and one_user):
            continue
        free = [name for name in table.names if name not in found.values()]
        name = next(iter(free), None) if unnamed else _known(role, free)
        guessed = unnamed and role == "rating" and kind != "explicit"
        if guessed and name is not None and _is_clock(table, name):
            continue  # user, item, time: a "rating" of 881250949 is a moment
        if name is not None:
            found[role] = name
    for role in ("item",) if one_user else ("user", "item"):
        if role not in found:
            raise _no_role(table, role, of_run)
    if "rating" not in found:
        _check_implicit(table, found, kind, of_run)
    how = "by their place, since there is no header" if unnamed else "by their names"
    how = "as given" if all(given[role] for role in found) else how
    said = [f"{found[role]} is the {role}" for role in given if role in found]
    notes = [f"columns, {how}: {', '.join(said)}{'' if 'rating' in found else ', no rating'}"]
    left = [name for name in table.names if name not in found.values()]
    if left:
        notes.append(f"columns not used: {', '.join(left[:LISTED])}{' ...' if len(left) > LISTED else ''}")
    return Roles(found.get("user"), found["item"], found.get("rating"), found.get("time"), tuple(notes))


def find_column(table: Table, name: str) -> str:
    """The table's column of that name; case, blanks and underscores are forgiven where that is no guess.

    Where the table has no header, a number is a place, from 1.
    """
    if name in table.names:
        return name
    if not table.header and name.isdecimal() and 1 <= int(name) <= len(table.names):
        return table.names[int(name) - 1]
    near = [one for one in table.names if _folded(one) == _folded(name)]
    return near[0] if len(near) == 1 else table.column(name)


def read_ids(table: Table, column: str) -> tuple[NDArray[np.uint32], NDArray[np.object_], tuple[str, ...]]:
    """Codes of a column of ids, the ids in the order of their first row, and what was noticed of them.

    Ids are in their one spelling (`values.id_text`), so that one in two Unicode forms is one; the empty text
    stands for a missing one. Ids that only look alike stay different, and are pointed out.
    """
    codes, texts = table.codes(column)
    spelled = [id_text(text) for text in texts]
    notes = []
    altered = [text for text, one in zip(texts, spelled, strict=True) if text != one]
    if altered:
        places: dict[str, int] = {}
        moved = np.array([places.setdefault(one, len(places)) for one in spelled], np.uint32)
        codes, spelled = moved[codes], list(places)
        twice = len(texts) - len(spelled)
        how = (
            f", so that {twice} more {'spelling is' if twice == 1 else 'spellings are'} of ids that are there"
        )
        notes.append(
            f"{column}: {len(altered)} ids are read in Unicode's composed form (NFC), without invisible ends"
            f"{how if twice else ''}; first: {id_text(altered[0])}"
        )
    ids = np.empty(len(spelled), object)
    ids[:] = spelled
    # Whole numbers in their one spelling resemble no others.
    numbers = all(one.isdecimal() and one.isascii() and (one[0] != "0" or one == "0") for one in spelled)
    alike = [] if numbers else look_alikes(spelled)
    if alike:
        shown = "; ".join(" / ".join(group) for group in alike[:3])
        more = f" and {len(alike) - 3} more" if len(alike) > 3 else ""
        notes.append(f"{column}: look-alikes are kept as different ids: {shown}{more}")
    return codes, ids, tuple(notes)


def read_listed_ids(
    table: Table, column: str, known: Sequence[str] | NDArray[np.object_]
) -> tuple[NDArray[np.uint32], list[str], tuple[str, ...]]:
    """As `read_ids`, for a table about ids that are known: ``1.0`` is 1 where more of them are met so."""
    codes, texts, _ = read_ids(table, column)
    ids: list[str] = texts.tolist()
    others = [other_spelling(one) or one for one in ids]
    spelled = set(ids)
    met, otherwise = (sum(one in names for one in known) for names in (spelled, set(others) - {""}))
    if otherwise <= met or len(set(others)) < len(others):
        return codes, ids, ()
    first = next(place for place, one in enumerate(others) if one != ids[place])
    said = f"{table.source}, {column}: whole numbers are read as the ratings write them, "
    return codes, others, (said + f"{ids[first]} as {others[first]}",)


def names_users(table: Table) -> bool:
    """Has the table a column of users? Without a header: are there more columns than an item and a rating."""
    return len(table.names) > 2 if _unnamed(table) else _known("user", table.names) is not None


def find_key(table: Table, role: str, key: str | None = None) -> str:
    """The column of a side table with the ids of `role`: as named, by a well-known name, or the first one.

    That the first one was meant is seen by whether it lists any of the ids.
    """
    if key is not None:
        return find_column(table, key)
    return (None if _unnamed(table) else _known(role, table.names)) or table.names[0]


def item_titles(
    table: Table, items: NDArray[np.object_], *, key: str | None, name: str | None, item: str
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Titles by item id ("" where a listed item has none), and how rated and listed items compare."""
    unnamed = _unnamed(table)
    if key is None and item in table.names and not unnamed:
        key = item
    key = find_key(table, "item", key)
    rest = [one for one in table.names if one != key]
    if name is not None:
        name = find_column(table, name)
    else:
        name = (rest[0] if rest else None) if unnamed else _known("title", rest)
    codes, ids, spelt = read_listed_ids(table, key, items)
    titles = table.text(name) if name is not None else [""] * table.rows
    names: dict[str, str] = {}
    others: dict[str, str] = {}
    for code, title in zip(codes, titles, strict=True):
        own = str(title).strip()
        if names.setdefault(ids[code], own) != own:
            others.setdefault(ids[code], own)
    names.pop("", None)
    others.pop("", None)
    rated = sum(one in names for one in items)
    notes = [
        f"{table.source} lists {len(names)} items ({key} is the id, {name or 'no column'} the title): "
        f"{rated} rated, {len(names) - rated} only listed; {len(items) - rated} rated items are not listed"
    ]
    notes += spelt
    if others:
        one, other = next(iter(others.items()))
        are = "item is" if len(others) == 1 else "items are"
        notes.append(
            f"{len(others)} {are} listed again with another title: the first counts, as of {one} "
            f"{names[one]!r} and not {other!r}"
        )
    if rated == 0:
        notes.append(f"no rated item is listed in {table.source}: are its ids ({key}) of the same kind?")
    return names, tuple(notes)


# --- which column is which -------------------------------------------------------------------------


def _unnamed(table: Table) -> bool:
    return all(UNNAMED.fullmatch(name) for name in table.names)


def _check_once(table: Table, found: dict[str, str]) -> None:
    for role, name in found.items():
        other = next((other for other, taken in found.items() if taken == name and other != role), None)
        if other is not None:
            raise SchemaError(
                f"{table.source}: column {name!r} is named as {role} and as {other}",
                found=", ".join(table.names),
                fix="name two different columns",
            )


def _folded(name: str) -> str:
    return re.sub(r"[\W_]", "", name).casefold()


def _known(role: str, names: Sequence[str]) -> str | None:
    by_folded = {_folded(name): name for name in reversed(names)}
    return next((by_folded[known] for known in KNOWN_NAMES[role] if known in by_folded), None)


def _no_role(table: Table, role: str, of_run: Mapping[str, str | None] | None) -> SchemaError:
    # On the command line a rating is what is predicted, as in any other training.
    fix = f"name it: --{'target' if role == 'rating' else role} COLUMN ({role}= in Python)"
    if of_run is not None:
        fix = f"call it {(of_run.get(role) or role)!r}, {OF_RUN}"
    return SchemaError(
        f"{table.source}: no column is known as the {role}", found=", ".join(table.names), fix=fix
    )


def _check_implicit(
    table: Table, found: dict[str, str], kind: str | None, of_run: Mapping[str, str | None] | None
) -> None:
    """Without a known rating column, a column of numbers could be one: that must be said, not guessed."""
    if kind == "explicit":
        raise _no_role(table, "rating", of_run)
    left = [name for name in table.names if name not in found.values()]
    numbers = [name for name in left if _holds_numbers(table, name)] if kind is None else []
    if numbers:
        raise SchemaError(
            f"{table.source}: no column is known as the rating",
            found=", ".join(table.names),
            fix=f"--target {numbers[0]} if that is the rating, or --kind implicit if each row is an event",
        )


def _holds_numbers(table: Table, name: str) -> bool:
    values, wrong = table.try_numbers(name)
    return bool(np.isfinite(values).any() and not wrong.any())


def _is_clock(table: Table, name: str) -> bool:
    return _holds_numbers(table, name) and bool(np.nanmin(table.try_numbers(name)[0]) >= 1e8)
