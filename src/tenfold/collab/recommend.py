"""Lists of items and nearest neighbours: exact, in blocks, the same by every path.

Blocks of users are scored in single precision to find who can be among the first n, with room for rounding;
those few are scored again pair by pair in double precision and sorted. So one user's list is the same alone
and among all, on one thread and on many, and memory grows with the block, never with users times items.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tenfold.collab.explain import Explainer, titles
from tenfold.collab.predict import Scorer, as_ids, find_titles, locate, near_items, unrated_items
from tenfold.collab.scale import thread_pool
from tenfold.errors import LISTED, RatingsError, RecipeError, listed
from tenfold.values import FactorModel, Neighbours, Ratings, Recommendations

__all__ = [
    "allowed_items",
    "checked_count",
    "count_lists",
    "list_states",
    "rated_pairs",
    "with_held_out",
    "nearest_users",
    "recommend",
    "similar",
]

#: Scores in one block: 8 MB of single precision.
BLOCK = 1 << 21
TALLEST = 1 << 13
#: Columns at once.
TILE = 1 << 13
#: The score of what may not be recommended: finite, so that no product makes it NaN, and below any other.
FORBIDDEN = np.float32(-1e37)
#: In `extra` of a model: user and item, by place, of each rating that the fit held out, sorted by user.
HELD_USERS, HELD_ITEMS = "held_users", "held_items"


def recommend(
    model: FactorModel,
    users: Any = None,
    *,
    n: int = 10,
    include_seen: bool = False,
    candidates: Any = None,
    exclude: Any = None,
    allowed: NDArray[np.bool_] | None = None,
    reasons: int = 0,
    threads: int | None = None,
    held_out: bool = False,
) -> Recommendations:
    """The n items of highest score for each user, best first, without those that the user has rated.

    held_out: list what the user has rated and the fit held out, for those who score lists by it.
    users: ids in any spelling, one or many; None is everyone, in the model's order. An unknown user gets the
        average user's list, marked in `known_user`.
    candidates: only these items: ids, or (items,) true and false. exclude: never these items, likewise.
        allowed: (items,) as candidates, and beside them.
    reasons: how many of the user's rated items to name with each row (see `collab.explain`).

    Where fewer than n items remain, the list is shorter; a user for whom none remains is named in `notes`. Of
    items of equal score, the one that comes first in `model.items` is first.
    """
    n = checked_count(n)
    _check_finite(model)
    asked = model.users if users is None else as_ids(users)
    index = np.arange(len(asked)) if users is None else locate(asked, model.users)
    chosen, notes = allowed_items(model, candidates, exclude)
    if allowed is not None:
        chosen &= _mask(model, allowed, "allowed items")[0]
    scorer = Scorer(model)
    model_seen = _seen if held_out else rated_pairs
    user_row, items = _top_items(scorer, index, chosen, n, None if include_seen else model_seen, threads)
    counts = np.bincount(user_row, minlength=len(asked))
    notes += count_lists(asked, index, counts, int(chosen.sum()))
    if model.implicit:
        notes.append("scores rank the items; they are no ratings, since the run was fitted to events")
    score, deviation = scorer.scores(index[user_row], items)
    why: tuple[tuple[tuple[str, float], ...], ...] = ()
    if reasons > 0:
        explain, ends = Explainer(model).reasons, np.cumsum(counts)
        lists = [(row, items[ends[row] - counts[row] : ends[row]]) for row in np.flatnonzero(counts)]
        why = tuple(one for row, own in lists for one in explain(int(index[row]), own, reasons))
    return Recommendations(
        users=asked[user_row],
        items=model.items[items],
        names=titles(model, items),
        rank=_ranks(counts),
        score=score,
        deviation=deviation,
        known_user=index[user_row] >= 0,
        reasons=why,
        **list_states(model, items, notes),
    )


def list_states(model: FactorModel, items: NDArray[np.int64], notes: list[str]) -> dict[str, Any]:
    """Notes, and states of listed items where some of the model's are rated by nobody; of a list's rows."""
    unrated = unrated_items(model)
    if not unrated.any():
        return {"notes": tuple(notes)}
    state = np.where(unrated[items], "listed", "rated").astype(object)
    many = len(set(items[unrated[items]].tolist()))
    said = [f"{many} of these items nobody has rated: scored by their columns"] if many else []
    return {"notes": (*notes, *said), "item_state": state}


def similar(
    model: FactorModel, items: Any = None, *, n: int = 10, candidates: Any = None, threads: int | None = None
) -> Neighbours:
    """The n items whose factors point most nearly the same way: the cosine, from -1 to 1, of q_i and q_j.

    The dot product would answer another question: it grows with the length of q_j, which grows with how many
    ratings an item has and how much they differ, so that a few items much rated would be near to all.
    items: ids, one or many; None is all of them. An unknown item is a RatingsError. Memory grows with a block
    of cosines and the neighbours kept, not with items squared. Where an item has no factors its cosine is 0.
    """
    allowed, notes = allowed_items(model, candidates, None)
    return _neighbours(model, "item", items, n, allowed, notes, threads)


def nearest_users(
    model: FactorModel, users: Any = None, *, n: int = 10, threads: int | None = None
) -> Neighbours:
    """The n users whose factors point most nearly the same way; see `similar`."""
    allowed = np.ones(len(model.users), np.bool_)
    return _neighbours(model, "user", users, n, allowed, [], threads)


# --- the first n of a row of scores ----------------------------------------------------------------


def _top_items(
    scorer: Scorer,
    index: NDArray[np.int64],
    allowed: NDArray[np.bool_],
    n: int,
    seen: Callable[[FactorModel, NDArray[np.int64]], tuple[NDArray[np.int64], NDArray[np.int64]]] | None,
    threads: int | None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of `index` and items, best item first within a row. seen: what not to list, as `_seen`."""
    model = scorer.model

    def ruled_out(part: slice) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        users = index[part]
        return _seen(model, users[:0]) if seen is None else seen(model, users)

    return _first_columns(
        len(index),
        model.item_factors,
        np.where(allowed, model.item_bias, FORBIDDEN),
        factors_of=lambda part: scorer.user_side(index[part])[1],
        ruled_out=ruled_out,
        exact=lambda row, item: scorer.raw(index[row], item),
        n=n,
        threads=threads,
    )


def _neighbours(
    model: FactorModel,
    side: str,
    ids: Any,
    n: int,
    allowed: NDArray[np.bool_],
    notes: list[str],
    threads: int | None,
) -> Neighbours:
    n = checked_count(n)
    _check_finite(model)
    known = model.users if side == "user" else model.items
    asked = known if ids is None else as_ids(ids)
    if side == "item" and ids is not None:
        asked, said = find_titles(model, asked)
        notes = [*notes, *said]
    index = np.arange(len(known)) if ids is None else locate(asked, known)
    if (index < 0).any():
        absent = list(dict.fromkeys(asked[index < 0]))
        near = [near_items(model, one) if side == "item" else "" for one in absent[:LISTED]]
        raise RatingsError(
            f"{len(absent)} of {len(set(asked))} {side}s have no ratings, so nothing is known of them",
            problems=[f"{one!r}: {hint}".rstrip(": ") for one, hint in zip(absent, near, strict=False)],
            fix=f"ask for {side}s that were rated, as {', '.join(repr(one) for one in known[:3])}",
        )
    factors = model.user_factors if side == "user" else model.item_factors
    length = np.sqrt((factors.astype(np.float64) ** 2).sum(axis=1))
    flat = int((length[index] == 0).sum())
    if flat:
        notes = [*notes, f"{flat} {side}s have no factors (nothing was learnt of them): their cosines are 0"]
    length[length == 0] = 1
    unit = (factors / length[:, None]).astype(np.float32)

    def exact(row: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.float64]:
        own = index[row]
        product = (factors[own].astype(np.float64) * factors[other]).sum(axis=1)
        return np.clip(product / (length[own] * length[other]), -1, 1)

    row, found = _first_columns(
        len(index),
        unit,
        np.where(allowed, np.float32(0), FORBIDDEN),
        factors_of=lambda part: unit[index[part]],
        ruled_out=lambda part: (np.arange(len(index[part])), index[part]),
        exact=exact,
        n=n,
        threads=threads,
    )
    return Neighbours(
        asked=asked[row],
        found=known[found],
        names=titles(model, found) if side == "item" else known[found],
        rank=_ranks(np.bincount(row, minlength=len(asked))),
        cosine=exact(row, found).astype(np.float32),
        notes=tuple(notes),
    )


def _first_columns(
    rows: int,
    columns: NDArray[np.float32],
    offset: NDArray[np.float32],
    *,
    factors_of: Callable[[slice], NDArray[Any]],
    ruled_out: Callable[[slice], tuple[NDArray[np.int64], NDArray[np.int64]]],
    exact: Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float64]],
    n: int,
    threads: int | None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each row the n columns of highest score, factors . columns + offset, best first.

    columns: (columns, factors).  offset: (columns,), FORBIDDEN where a column may not be chosen.
    factors_of(part): (rows of the part, factors).  ruled_out(part): place in the part, and column.
    exact(row, column): the scores in double precision that decide the order; equal ones keep that of columns.
    """
    count = len(columns)
    if count == 0 or rows == 0:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    n = min(n, count)
    tiles = _Tiles(columns, offset, n)
    reach = float(np.sqrt((columns.astype(np.float64) ** 2).sum(axis=1).max()))
    largest = float(np.abs(offset[offset > FORBIDDEN / 2]).max(initial=0))
    height = max(1, min(BLOCK // tiles.width, TALLEST))

    def work(parts: Sequence[slice]) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        desk = tiles.desk(height)
        found = []
        for part in parts:
            given = factors_of(part)
            slack = _slack(given, reach, largest)
            row, column = tiles.near_best(desk, given, slack, *ruled_out(part))
            row += part.start
            order = np.lexsort((column, -exact(row, column), row))
            row, column = row[order], column[order]
            keep = _ranks(np.bincount(row - part.start, minlength=len(given))) <= n
            found.append((row[keep], column[keep]))
        return found

    parts = [slice(begin, min(begin + height, rows)) for begin in range(0, rows, height)]
    workers = min(len(parts), threads or os.cpu_count() or 1)
    shares = [parts[len(parts) * w // workers : len(parts) * (w + 1) // workers] for w in range(workers)]
    if workers > 1:
        with thread_pool(workers, workers) as pool:
            answers = [one for share in pool.map(work, shares) for one in share]
    else:
        answers = work(parts)
    return np.concatenate([row for row, _ in answers]), np.concatenate([column for _, column in answers])


class _Desk(NamedTuple):
    """Memory that one worker uses again for every block."""

    own: NDArray[np.float32]
    scores: NDArray[np.float32]
    best: NDArray[np.float32]
    near: NDArray[np.bool_]


class _Tiles:
    """All columns, cut into tiles that stay in the cache while a block of rows meets them."""

    def __init__(self, columns: NDArray[np.float32], offset: NDArray[np.float32], n: int) -> None:
        self.count, self.factors = columns.shape
        self.n = n
        # The n-th of the greatest scores of groups of columns bounds the n-th of all from below, at a
        # fraction of the work of partitioning whole rows; four groups to an answer keep that bound near.
        self.depth = max(1, min(16, self.count // (4 * n)))
        self.groups = -(-min(self.count, TILE) // self.depth)
        self.width = self.groups * self.depth
        self.tables = []
        for begin in range(0, self.count, self.width):
            part = slice(begin, min(begin + self.width, self.count))
            table = np.zeros((self.factors + 1, self.width), np.float32)
            table[:-1, : part.stop - begin] = columns[part].T
            # The offset is one factor more, so that the product of matrices adds it.
            table[-1] = FORBIDDEN
            table[-1, : part.stop - begin] = offset[part]
            self.tables.append(table)

    def desk(self, height: int) -> _Desk:
        """Room for blocks of so many rows."""
        return _Desk(
            np.ones((height, self.factors + 1), np.float32),
            np.empty((height, self.width), np.float32),
            np.empty((height, self.n + self.groups), np.float32),
            np.empty((height, self.width), np.bool_),
        )

    def near_best(
        self,
        desk: _Desk,
        factors: NDArray[Any],
        slack: NDArray[np.float64],
        out_row: NDArray[np.int64],
        out_column: NDArray[np.int64],
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Row and column of every score that may be among its row's first n, given the rounding in them."""
        high, n = len(factors), self.n
        own, best = desk.own[:high], desk.best[:high]
        own[:, :-1] = factors
        best[:, :n] = FORBIDDEN
        out_tile = out_column // self.width
        cut = np.empty(high, np.float32)
        found = []
        for number, table in enumerate(self.tables):
            block = np.matmul(own, table, out=desk.scores[:high])
            flat = block.reshape(-1)
            mine = out_tile == number if len(self.tables) > 1 else slice(None)
            flat[out_row[mine] * self.width + out_column[mine] - number * self.width] = FORBIDDEN
            # The first n of `best` are the greatest of all groups so far.
            np.max(block.reshape(high, self.depth, self.groups), axis=1, out=best[:, n:])
            best.partition(self.groups, axis=1)
            best[:, :n] = best[:, self.groups :].copy()
            floor = np.maximum(FORBIDDEN / 2, best[:, :n].min(axis=1) - slack)
            cut[:] = np.nextafter(floor.astype(np.float32), np.float32(-np.inf))
            places = np.flatnonzero(np.greater_equal(block, cut[:, None], out=desk.near[:high]).reshape(-1))
            row, column = np.divmod(places, self.width)
            found.append((row, column + number * self.width, flat[places]))
        row, column, score = (np.concatenate(one) for one in zip(*found, strict=True))
        # What passed an earlier tile's bound may lie below the last one.
        keep = score >= cut[row]
        return row[keep], column[keep]


def _slack(factors: NDArray[Any], reach: float, offset: float) -> NDArray[np.float64]:
    """Twice the greatest rounding error of a row's scores in single precision.

    A sum of k products is off by at most (k + 1) 2^-24 times the sum of their absolute values, in any order
    (Higham 2002, section 3.1), and that is at most the product of the lengths. Rounding the factors is part.
    """
    length = np.sqrt((factors.astype(np.float64) ** 2).sum(axis=1))
    return (factors.shape[1] + 4) * 2.0**-23 * (length * reach + offset) + 1e-30


def _ranks(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """1, 2, ... within each row of `counts` entries."""
    ends = np.cumsum(counts)
    return np.arange(1, int(counts.sum()) + 1) - np.repeat(ends - counts, counts)


# --- who has seen what, and what may be recommended ------------------------------------------------


def _seen(model: FactorModel, users: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Place in `users` and item of everything that they have rated."""
    known = np.flatnonzero(users >= 0)
    begins = model.seen_start[users[known]]
    sizes = model.seen_start[users[known] + 1] - begins
    within = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.repeat(known, sizes), model.seen_items[np.repeat(begins, sizes) + within].astype(np.int64)


def with_held_out(model: FactorModel, held: Ratings) -> FactorModel:
    """The model, which also keeps what the fit held out of its users and items: rated, though not learnt."""
    users, items = locate(held.users, model.users), locate(held.items, model.items)
    users, items = users[held.user_index], items[held.item_index]
    order = np.argsort(users, kind="stable")
    order = order[(users[order] >= 0) & (items[order] >= 0)]
    kept = {
        name: places[order].astype(np.uint32)
        for name, places in zip((HELD_USERS, HELD_ITEMS), (users, items), strict=True)
    }
    return replace(model, extra={**model.extra, **kept})


def rated_pairs(model: FactorModel, users: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Place in `users` and item of everything that they have rated, what the fit held out among it."""
    place, items = _seen(model, users)
    owner, own = model.extra.get(HELD_USERS), model.extra.get(HELD_ITEMS)
    if owner is None or own is None or not len(owner) or not len(users):
        return place, items
    # Sorted by user, so that a user's are one stretch.
    begins = np.searchsorted(owner, users, side="left")
    sizes = np.where(users < 0, 0, np.searchsorted(owner, users, side="right") - begins)
    within = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    held = own[np.repeat(begins, sizes) + within].astype(np.int64)
    return np.concatenate([place, np.repeat(np.arange(len(users)), sizes)]), np.concatenate([items, held])


def allowed_items(model: FactorModel, candidates: Any, exclude: Any) -> tuple[NDArray[np.bool_], list[str]]:
    """Which items may be listed, and what is to be said of those that are named; see `recommend`."""
    allowed, notes = np.ones(len(model.items), np.bool_), []
    for which, given, keep in (("candidates", candidates, True), ("items to exclude", exclude, False)):
        if given is None:
            continue
        chosen, unknown, said = _mask(model, given, which)
        notes += said
        allowed &= chosen if keep else ~chosen
        if len(unknown):
            notes.append(f"{len(unknown)} {which} were never rated: {', '.join(listed(unknown))}")
    return allowed, notes


def _mask(model: FactorModel, given: Any, which: str) -> tuple[NDArray[np.bool_], list[str], list[str]]:
    """Items chosen by a mask, or by ids or titles; the ids that are not known; and what is to be said."""
    if isinstance(given, np.ndarray) and given.dtype == np.bool_:
        if given.shape != (len(model.items),):
            raise RecipeError(
                f"{which} are a mask of shape {given.shape}",
                fix=f"give one truth value for each of the {len(model.items)} items, or ids",
            )
        return given, [], []
    ids, notes = find_titles(model, as_ids(given))
    index = locate(ids, model.items)
    chosen = np.zeros(len(model.items), np.bool_)
    chosen[index[index >= 0]] = True
    return chosen, [repr(one) for one in dict.fromkeys(ids[index < 0])], notes


# --- checks ----------------------------------------------------------------------------------------


def checked_count(n: Any) -> int:
    """How many items are asked for; RecipeError where that is not a whole number from 1 on."""
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise RecipeError(f"n = {n!r}: a list has 1 item or more", fix="give n = 10, for instance")
    return int(n)


def _check_finite(model: FactorModel) -> None:
    for name in ("user_bias", "item_bias", "user_factors", "item_factors"):
        bad = int((~np.isfinite(getattr(model, name))).sum())
        if bad:
            raise RatingsError(
                f"{bad} numbers of the model's {name} are not finite, so nothing can be ranked",
                fix="fit again with a smaller learning rate or more weight decay",
            )


def count_lists(
    asked: NDArray[np.object_], index: NDArray[np.int64], counts: NDArray[np.int64], allowed: int
) -> list[str]:
    """Who is not known, and who has nothing left. index: places of the users; counts: items of each."""
    notes = []
    absent = list(dict.fromkeys(asked[index < 0]))
    if absent:
        shown = ", ".join(listed([repr(one) for one in absent]))
        notes.append(
            f"{len(absent)} of {len(set(asked))} users unknown, given the average user's list: {shown}"
        )
    empty = [repr(one) for one in asked[counts == 0]]
    if empty:
        why = f"they have rated all {allowed} items" if allowed else "no item is allowed"
        notes.append(f"nothing to recommend to {len(empty)} users, since {why}: {', '.join(listed(empty))}")
    return notes
