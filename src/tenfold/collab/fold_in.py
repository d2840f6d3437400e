"""New ratings in a fitted model: users and items that it did not know, and known users who rated more.

Nothing is fitted again. Items come first, from the users that the model knows; then every user with a new
rating, from all items they have rated, the old ones too. Each is one regression on what stays as it is
(`als.fold_in`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.collab.als import FoldedIn, fold_in
from tenfold.collab.predict import as_ids, locate
from tenfold.errors import RatingsError
from tenfold.values import FactorModel

__all__ = ["add_items", "add_ratings"]


def add_ratings(model: FactorModel, users: Any, items: Any, ratings: Any) -> tuple[FactorModel, list[str]]:
    """The model with these ratings (users[k], items[k], ratings[k]) learnt, and what is to be said of it.

    users, items: ids in any spelling; one user goes with all items. A pair that is given twice, or was known
    already, counts with its last rating (events add up). An item whose raters are all new is listed in the
    notes and left out, since nothing is known of either side. Ratings outside the model's scale are a
    RatingsError.
    """
    user_ids, item_ids = as_ids(users), as_ids(items)
    values = np.atleast_1d(np.asarray(ratings, np.float64))
    if len(user_ids) == 1:
        user_ids = np.repeat(user_ids, len(item_ids))
    _check(model, user_ids, item_ids, values)
    last = {pair: row for row, pair in enumerate(zip(user_ids, item_ids, strict=True))}
    rows = np.array(sorted(last.values()), np.int64)
    user_ids, item_ids, values = user_ids[rows], item_ids[rows], values[rows]
    known = len(model.users), len(model.items)
    model, notes = _with_new_items(model, user_ids, item_ids, values)
    there = locate(item_ids, model.items) >= 0
    model = _with_users(model, user_ids[there], item_ids[there], values[there])
    count = int(there.sum())
    grown = len(model.users) - known[0], len(model.items) - known[1]
    return model, [f"{count} new ratings, {grown[0]} new users, {grown[1]} new items", *notes]


def _check(
    model: FactorModel, users: NDArray[np.object_], items: NDArray[np.object_], values: NDArray[np.float64]
) -> None:
    if not len(users) == len(items) == len(values):
        raise RatingsError(
            f"{len(users)} users, {len(items)} items and {len(values)} ratings",
            fix="give one item and one rating to each user",
        )
    low, high = (0.0, np.inf) if model.implicit else model.scale
    bad = (users == "") | (items == "") | ~((values >= low) & (values <= high))
    if bad.any():
        raise RatingsError(
            f"{int(bad.sum())} new ratings have no user, no item, or lie outside {low:g} to {high:g}",
            problems=[
                f"user {user!r}, item {item!r}: {value:g}"
                for user, item, value in zip(users[bad], items[bad], values[bad], strict=True)
            ],
            fix="mend them or leave them out",
        )


def _with_new_items(
    model: FactorModel, users: NDArray[np.object_], items: NDArray[np.object_], values: NDArray[np.float64]
) -> tuple[FactorModel, list[str]]:
    raters = locate(users, model.users)
    folded: dict[str, FoldedIn] = {}
    unknown = []
    for item in dict.fromkeys(items[locate(items, model.items) < 0]):
        mine = (items == item) & (raters >= 0)
        if mine.any():
            folded[item] = fold_in(model, raters[mine], values[mine], side="item")
        else:
            unknown.append(repr(item))
    notes = []
    if unknown:
        notes.append(
            f"{len(unknown)} items are known to no user of this run, so left out: {', '.join(unknown[:10])}"
        )
    if not folded:
        return model, notes
    return add_items(model, list(folded), list(folded.values())), notes


def add_items(model: FactorModel, ids: list[str], rows: list[FoldedIn]) -> FactorModel:
    """The model with these items, which it does not know, and their rows."""
    return replace(
        model,
        items=_grown_ids(model.items, ids),
        item_bias=np.append(model.item_bias, np.float32([row.bias for row in rows])),
        item_factors=np.vstack([model.item_factors, [row.factors for row in rows]]).astype(np.float32),
        extra=_grown_extra(model.extra, "item", rows, len(model.items)),
    )


def _with_users(
    model: FactorModel, users: NDArray[np.object_], items: NDArray[np.object_], values: NDArray[np.float64]
) -> FactorModel:
    """Every named user with something new, anew from all they have rated."""
    place, item_place = locate(users, model.users), locate(items, model.items)
    strangers = list(dict.fromkeys(users[place < 0]))
    place = np.where(place < 0, len(model.users) + locate(users, _texts(strangers)), place)
    seen = {
        int(user): _merged(model, int(user), item_place[place == user], values[place == user])
        for user in set(place)
    }
    # Who says nothing new stays as fitted: a fold-in is near to the fit, and not the same.
    seen = {user: mine for user, mine in seen.items() if not _is_known(model, user, *mine)}
    folded = {user: fold_in(model, rated, ratings) for user, (rated, ratings) in seen.items()}
    new = [folded[len(model.users) + number] for number in range(len(strangers))]
    bias = np.append(model.user_bias, np.float32([row.bias for row in new]))
    factors = np.vstack([model.user_factors, *(row.factors[None] for row in new)]).astype(np.float32)
    extra = _grown_extra(model.extra, "user", new, len(model.users))
    for user, row in folded.items():
        bias[user], factors[user] = row.bias, row.factors
        for name, value in _of_row("user", row).items():
            if name in extra:
                extra[name][user] = value
    return replace(
        model,
        users=_grown_ids(model.users, strangers),
        user_bias=bias,
        user_factors=factors,
        extra=extra,
        **_grown_seen(model, seen, len(model.users) + len(strangers)),
    )


def _merged(
    model: FactorModel, user: int, items: NDArray[np.int64], values: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """What the user has rated, with the new ratings in place of old ones; sorted by item."""
    rated: dict[int, float] = {}
    if user < len(model.users):
        part = slice(int(model.seen_start[user]), int(model.seen_start[user + 1]))
        rated = dict(zip(model.seen_items[part].tolist(), model.seen_ratings[part].tolist(), strict=True))
    for item, value in zip(items.tolist(), values.tolist(), strict=True):
        # A log counts how often: a further event is one more, not another opinion.
        rated[item] = rated.get(item, 0.0) + value if model.implicit else value
    order = sorted(rated)
    return np.array(order, np.int64), np.array([rated[item] for item in order])


def _is_known(model: FactorModel, user: int, items: NDArray[np.int64], values: NDArray[np.float64]) -> bool:
    """Has the user rated exactly these items so, by what the model knows already?"""
    if user >= len(model.users):
        return False
    part = slice(int(model.seen_start[user]), int(model.seen_start[user + 1]))
    same = np.array_equal(model.seen_items[part], items)
    return same and np.array_equal(model.seen_ratings[part], values.astype(np.float32))


def _grown_seen(
    model: FactorModel, seen: Mapping[int, tuple[NDArray[np.int64], NDArray[np.float64]]], users: int
) -> dict[str, NDArray[Any]]:
    counts = np.append(np.diff(model.seen_start), np.zeros(users - len(model.users), np.int64))
    old = np.ones(len(model.seen_items), np.bool_)
    for user, (rated, _) in seen.items():
        counts[user] = len(rated)
        if user < len(model.users):
            old[model.seen_start[user] : model.seen_start[user + 1]] = False
    start = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    items, ratings = np.empty(start[-1], np.uint32), np.empty(start[-1], np.float32)
    kept = np.ones(start[-1], np.bool_)
    for user, (rated, values) in seen.items():
        part = slice(start[user], start[user + 1])
        items[part], ratings[part], kept[part] = rated, values, False
    items[kept], ratings[kept] = model.seen_items[old], model.seen_ratings[old]
    return {"seen_start": start, "seen_items": items, "seen_ratings": ratings}


def _of_row(side: str, row: FoldedIn) -> dict[str, Any]:
    """The arrays of `extra` that have one entry a row, and this row's."""
    return {
        f"{side}_bias_variance": row.bias_variance,
        f"{side}_factors_variance": row.factors_variance,
        f"{side}_noise": row.noise,
    }


def _grown_extra(
    extra: Mapping[str, NDArray[Any]], side: str, rows: list[FoldedIn], size: int
) -> dict[str, NDArray[Any]]:
    """Arrays with one entry a row, longer by the new rows; copies, so that they can be changed."""
    # What a row adds to others it was fitted with is nought for one that came later.
    implicit = "rater_factors" if side == "user" else "rated_factors"
    grown = dict(extra)
    for name, array in extra.items():
        if name == implicit and len(array) == size:
            grown[name] = np.vstack([array, np.zeros((len(rows), array.shape[1]), array.dtype)])
        elif name.startswith("time_start.") and side == "user":
            grown[name] = np.append(array, np.full(len(rows), array[-1], array.dtype))
        elif name in (f"{side}_bias_variance", f"{side}_factors_variance", f"{side}_noise"):
            new = [np.asarray(_of_row(side, row)[name], array.dtype)[None] for row in rows]
            grown[name] = np.concatenate([array, *new])
    return grown


def _grown_ids(ids: NDArray[np.object_], new: list[str]) -> NDArray[np.object_]:
    return np.concatenate([ids, _texts(new)])


def _texts(values: list[str]) -> NDArray[np.object_]:
    texts = np.empty(len(values), object)
    texts[:] = values
    return texts
