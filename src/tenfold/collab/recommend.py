"""Lists of items and nearest neighbours: a user's list is the same alone and among all."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tenfold.collab.ids import (
    as_ids,
    count_listed_users,
    find_items,
    locate,
    near_items,
    titles,
    unrated_items,
    user_states,
)
from tenfold.collab.predict import PairScorer, refuse_columns
from tenfold.collab.top import FORBIDDEN, first_columns, ranks
from tenfold.errors import LISTED, RatingsError, RecipeError, listed
from tenfold.values import Interactions, Neighbours, Ratings, Recommendations

__all__ = [
    "allowed_items",
    "checked_count",
    "held_out_pairs",
    "nearest_users",
    "rated_pairs",
    "recommend",
    "seen_pairs",
    "similar",
]


#: Ratings of an item at which half of its cosines counts.
UNSURE = 20


def recommend(
    scorer: PairScorer,
    users: object = None,
    *,
    n: int = 10,
    include_seen: bool = False,
    candidates: object = None,
    exclude: object = None,
    allowed: NDArray[np.bool_] | None = None,
    reasons: int = 0,
    threads: int | None = None,
) -> Recommendations:
    """The n items of highest score for each user, best first, without those that the user has rated.

    users: ids in any spelling, a single id or many; None is everyone, in the order of `interactions`. An
    unknown user
        gets the average user's list, marked in `known_user`.
    candidates: only these items: ids, or (items,) true and false. exclude: never these items, likewise.
        allowed: (items,) as candidates, and beside them.
    reasons: how many of the user's rated items to name with each row (see `collab.explain`).

    Where fewer than n items remain, the list is shorter; a user for whom none remains is named in `notes`. Of
    items of equal score, the first in `items` comes first. Raises RunError where a score needs
    cells of further columns.
    """
    n, known = checked_count(n), scorer.interactions
    refuse_columns(scorer, "a list of items")
    asked = known.users if users is None else as_ids(users)
    index = np.arange(len(asked)) if users is None else locate(asked, known.users)
    chosen, notes = allowed_items(known, candidates, exclude)
    if allowed is not None:
        chosen &= _mask(known, allowed, "allowed items")[0]

    def ruled_out(part: slice) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return rated_pairs(known, index[part][:0] if include_seen else index[part])

    best = scorer.best(index, chosen, n, ruled_out, threads)
    counts = np.bincount(best.row, minlength=len(asked))
    notes += count_lists(asked, index, counts, int(chosen.sum()))
    if known.implicit:
        notes.append("scores rank the items; they are not ratings, since the run was fitted to events")
    why: tuple[tuple[tuple[str, float], ...], ...] = ()
    explain = scorer.reasons if reasons > 0 else None
    if explain is not None:
        ends = np.cumsum(counts)
        lists = [(row, best.item[ends[row] - counts[row] : ends[row]]) for row in np.flatnonzero(counts)]
        why = tuple(reason for row, own in lists for reason in explain(int(index[row]), own, reasons))
    elif reasons > 0:
        notes.append("this run gives no reasons: they are told by the factors of a single model")
    state = None
    unrated = unrated_items(known)
    if unrated.any():
        state = np.where(unrated[best.item], "listed", "rated").astype(object)
        many = len(set(best.item[unrated[best.item]].tolist()))
        notes += [f"{many} of these items nobody has rated: scored by their columns"] if many else []
    user_state = user_states(known, index)
    notes += count_listed_users(asked, user_state)
    return Recommendations(
        users=asked[best.row],
        items=known.items[best.item],
        names=titles(known, best.item),
        rank=ranks(counts),
        score=best.score,
        deviation=best.deviation,
        known_user=index[best.row] >= 0,
        reasons=why,
        notes=tuple(notes),
        item_state=state,
        user_state=None if user_state is None else user_state[best.row],
        ranking=best.rank,
    )


def similar(
    scorer: PairScorer, items: object = None, *, n: int = 10, candidates: object = None
) -> Neighbours:
    """The n items with the nearest vectors by cosine, from -1 to 1, of q_i and q_j, if known well enough.

    They are ranked by the cosine times (r + 1) / (r + 21) with r ratings of q_j: of an item of five ratings
    factors say little, and among thousands of such items some are near to anything by chance.

    The dot product would answer another question: it grows with the length of q_j, which grows with how many
    ratings an item has and how much they differ, so that a few items much rated would be near to all.
    items: a single id or many; None is all of them. An unknown item is a RatingsError. Memory grows with a
    block of cosines and the neighbours kept, not with items squared. Where an item has no factors its cosine
    is 0.
    """
    allowed, notes = allowed_items(scorer.interactions, candidates, None)
    return _neighbours(scorer, "item", items, n, allowed, notes)


def nearest_users(scorer: PairScorer, users: object = None, *, n: int = 10) -> Neighbours:
    """The n users with the nearest vectors by cosine; see `similar`."""
    allowed = np.ones(len(scorer.interactions.users), np.bool_)
    return _neighbours(scorer, "user", users, n, allowed, [])


def _neighbours(
    scorer: PairScorer, side: str, ids: object, n: int, allowed: NDArray[np.bool_], notes: list[str]
) -> Neighbours:
    n = checked_count(n)
    model, factors = scorer.interactions, scorer.vectors(side)
    known = model.users if side == "user" else model.items
    asked = known if ids is None else as_ids(ids)
    if side == "item" and ids is not None:
        asked, said = find_items(model, asked)
        notes = [*notes, *said]
    index = np.arange(len(known)) if ids is None else locate(asked, known)
    if (index < 0).any():
        absent = list(dict.fromkeys(asked[index < 0]))
        near = [near_items(model, name) if side == "item" else "" for name in absent[:LISTED]]
        listed_only = side == "item" and all(name in model.item_names for name in absent)
        why = "have no ratings, so nothing is known of them" if listed_only else "are not known to this run"
        raise RatingsError(
            f"{len(absent)} of {len(set(asked))} {side}s {why}",
            problems=[f"{name!r}: {hint}".rstrip(": ") for name, hint in zip(absent, near, strict=False)],
            fix=f"ask for {side}s that were rated, as {', '.join(map(repr, known[:3]))}",
        )
    length = np.sqrt((factors.astype(np.float64) ** 2).sum(axis=1))
    flat = int((length[index] == 0).sum())
    if flat:
        notes = [*notes, f"{flat} {side}s have no factors (nothing was learnt of them): their cosines are 0"]
    length[length == 0] = 1
    unit = (factors / length[:, None]).astype(np.float32)
    sure = np.ones(len(known))
    if side == "item":
        sure = (model.received + 1) / (model.received + 1 + UNSURE)

    def cosine(row: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.float64]:
        own = index[row]
        product = (factors[own].astype(np.float64) * factors[other]).sum(axis=1)
        return np.clip(product / (length[own] * length[other]), -1, 1)

    row, nearest = first_columns(
        len(index),
        (unit * sure[:, None]).astype(np.float32),
        np.where(allowed, np.float32(0), FORBIDDEN),
        factors_of=lambda part: unit[index[part]],
        ruled_out=lambda part: (np.arange(len(index[part])), index[part]),
        exact=lambda row, other: cosine(row, other) * sure[other],
        n=n,
        threads=None,
    )
    return Neighbours(
        asked=asked[row],
        found=known[nearest],
        names=titles(model, nearest) if side == "item" else known[nearest],
        rank=ranks(np.bincount(row, minlength=len(asked))),
        cosine=cosine(row, nearest).astype(np.float32),
        notes=tuple(notes),
    )


# --- who has seen what, and what may be recommended ------------------------------------------------


def seen_pairs(known: Interactions, users: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row in `users` and item of every training rating of these users."""
    rows = np.flatnonzero(users >= 0)
    begins = known.seen_start[users[rows]]
    return _stretches(rows, begins, known.seen_start[users[rows] + 1] - begins, known.seen_items)


def _stretches(
    rows: NDArray[np.int64], begins: NDArray[np.int64], sizes: NDArray[np.int64], items: NDArray[np.uint32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Each row once for every item of its stretch of `items`, and these items."""
    within = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.repeat(rows, sizes), items[np.repeat(begins, sizes) + within].astype(np.int64)


def held_out_pairs(known: Interactions, held: Ratings) -> dict[str, NDArray[np.uint32]]:
    """Fields of `Interactions` for the held-out pairs of known users and items: rated, not learned."""
    users, items = locate(held.users, known.users), locate(held.items, known.items)
    users, items = users[held.user_index], items[held.item_index]
    order = np.argsort(users, kind="stable")
    order = order[(users[order] >= 0) & (items[order] >= 0)]
    return {"held_users": users[order].astype(np.uint32), "held_items": items[order].astype(np.uint32)}


def rated_pairs(known: Interactions, users: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row in `users` and item of every rating of these users, held-out ratings included."""
    row, items = seen_pairs(known, users)
    owner, own = known.held_users, known.held_items
    if owner is None or own is None or not len(owner) or not len(users):
        return row, items
    begins = np.searchsorted(owner, users, side="left")
    sizes = np.where(users < 0, 0, np.searchsorted(owner, users, side="right") - begins)
    held_row, held_items = _stretches(np.arange(len(users)), begins, sizes, own)
    return np.concatenate([row, held_row]), np.concatenate([items, held_items])


def allowed_items(
    known: Interactions, candidates: object, exclude: object
) -> tuple[NDArray[np.bool_], list[str]]:
    """(items,) bool: items that may be listed, and messages about the named items; see `recommend`."""
    allowed, notes = np.ones(len(known.items), np.bool_), []
    for which, given, keep in (("candidates", candidates, True), ("items to exclude", exclude, False)):
        if given is None:
            continue
        chosen, unknown, said = _mask(known, given, which)
        notes += said
        allowed &= chosen if keep else ~chosen
        if len(unknown):
            notes.append(f"{len(unknown)} {which} were never rated: {', '.join(listed(unknown))}")
    return allowed, notes


def _mask(known: Interactions, given: object, which: str) -> tuple[NDArray[np.bool_], list[str], list[str]]:
    """Items chosen by a mask, or by ids or titles; the unknown ids; and messages."""
    if isinstance(given, np.ndarray) and given.dtype == np.bool_:
        if given.shape != (len(known.items),):
            raise RecipeError(
                f"{which} are a mask of shape {given.shape}",
                fix=f"give one truth value for each of the {len(known.items)} items, or ids",
            )
        return given, [], []
    ids, notes = find_items(known, as_ids(given))
    index = locate(ids, known.items)
    chosen = np.zeros(len(known.items), np.bool_)
    chosen[index[index >= 0]] = True
    return chosen, [*map(repr, dict.fromkeys(ids[index < 0]))], notes


# --- checks ----------------------------------------------------------------------------------------


def checked_count(n: object) -> int:
    """Check how many items are asked for: RecipeError unless it is a whole number from 1 on."""
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise RecipeError(f"n = {n!r}: a list has 1 item or more", fix="give n = 10, for instance")
    return int(n)


def count_lists(
    asked: NDArray[np.object_], index: NDArray[np.int64], counts: NDArray[np.int64], allowed: int
) -> list[str]:
    """Messages: who is unknown, and who has no item left. index: of the users; counts: items of each."""
    notes = []
    absent = list(dict.fromkeys(asked[index < 0]))
    if absent:
        shown = ", ".join(listed([*map(repr, absent)]))
        notes.append(
            f"{len(absent)} of {len(set(asked))} users unknown, given the average user's list: {shown}"
        )
    empty = [*map(repr, asked[counts == 0])]
    if empty:
        why = f"they have rated all {allowed} items" if allowed else "no item is allowed"
        notes.append(f"nothing to recommend to {len(empty)} users, since {why}: {', '.join(listed(empty))}")
    return notes
