"""New ratings in a fitted model: of unknown users and items, and of known users.

Nothing is fitted again. New items come first, from the users that the model knows; then every user with a
new rating, from all their ratings, old and new. Each row is a regression on the fixed rows of the other side
(`fold_in`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tenfold.collab import kernels
from tenfold.collab.events import FLOOR, event_regression
from tenfold.collab.ids import as_ids, locate
from tenfold.collab.scale import sigmoid
from tenfold.errors import RatingsError
from tenfold.values import Extra, FactorModel, Interactions

__all__ = [
    "FoldedIn",
    "add_items",
    "add_new_rows",
    "add_ratings",
    "add_users",
    "fold_in",
    "grown_interactions",
    "link",
    "noise_precision",
    "row_prior",
]

#: Newton steps through the sigmoid, and the smallest slope they use.
NEWTON, SLOPE = 20, 1e-2


def add_ratings(
    model: FactorModel,
    users: ArrayLike,
    items: ArrayLike,
    ratings: ArrayLike,
    times: NDArray[np.float64] | None = None,
) -> tuple[FactorModel, list[str]]:
    """The model with the ratings (users[k], items[k], ratings[k]) folded in, and messages.

    users, items: ids in any spelling; a single user goes with all items. A repeated or known pair keeps its
    last rating (events add up). A message lists the items that only new users rated: they are left out, as
    neither side is known. Raises RatingsError for ratings outside the model's scale.
    times: see `collab.predict.FoldIn`.
    """
    return _grown(model, users, items, ratings, times, known=True)


def add_new_rows(
    model: FactorModel,
    users: ArrayLike,
    items: ArrayLike,
    ratings: ArrayLike,
    times: NDArray[np.float64] | None = None,
) -> tuple[FactorModel, list[str]]:
    """As `add_ratings`, but the rows of known users stay: they only have rated these items, too."""
    return _grown(model, users, items, ratings, times, known=False)


def _grown(
    model: FactorModel,
    users: ArrayLike,
    items: ArrayLike,
    ratings: ArrayLike,
    times: NDArray[np.float64] | None,
    *,
    known: bool,
) -> tuple[FactorModel, list[str]]:
    given = _given(model, users, items, ratings, times)
    sizes = len(model.users), len(model.items)
    model, notes = _with_new_items(model, given)
    usable = locate(given.items, model.items) >= 0
    model = _with_users(model, given.take(usable), known=known)
    count = int(usable.sum())
    grown = len(model.users) - sizes[0], len(model.items) - sizes[1]
    return model, [f"{count} new ratings, {grown[0]} new users, {grown[1]} new items", *notes]


def grown_interactions(
    known: Interactions,
    users: ArrayLike,
    items: ArrayLike,
    ratings: ArrayLike,
    times: NDArray[np.float64] | None = None,
) -> tuple[Interactions, list[str]]:
    """What is known with these ratings or events, and messages, for a model that needs only a user's row.

    As `add_ratings`, but items that are not known are left out, and named in a message.
    """
    given = _given(known, users, items, ratings, times)
    unknown = locate(given.items, known.items) < 0
    absent = list(dict.fromkeys(given.items[unknown]))
    given = given.take(~unknown)
    new, seen = _rows_of(known, given)
    everyone = np.concatenate([known.users, np.array(new, object)])
    grown = replace(known, users=everyone, **_grown_seen(known, seen, len(everyone)))
    notes = [f"{len(given.values)} new ratings, {len(new)} new users, 0 new items"]
    if absent:
        names = ", ".join(map(repr, absent[:10]))
        notes.append(f"{len(absent)} items are known to no user of this run, so left out: {names}")
    return grown, notes


class _Given(NamedTuple):
    """Ratings by ids; times: in the unit of `Interactions.seen_times`, of no use where that is None."""

    users: NDArray[np.object_]
    items: NDArray[np.object_]
    values: NDArray[np.float64]
    times: NDArray[np.float64]

    def take(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> _Given:
        return _Given(self.users[rows], self.items[rows], self.values[rows], self.times[rows])


def _given(
    known: Interactions,
    users: ArrayLike,
    items: ArrayLike,
    ratings: ArrayLike,
    times: NDArray[np.float64] | None,
) -> _Given:
    """Ids and ratings that are given, checked, each pair once with its last rating."""
    user_ids, item_ids = as_ids(users), as_ids(items)
    values = np.atleast_1d(np.asarray(ratings, np.float64))
    if len(user_ids) == 1:
        user_ids = np.repeat(user_ids, len(item_ids))
    _check(known, user_ids, item_ids, values)
    last = {pair: row for row, pair in enumerate(zip(user_ids, item_ids, strict=True))}
    rows = np.array(sorted(last.values()), np.int64)
    if times is None:
        all_known = np.zeros(0) if known.seen_times is None else known.seen_times
        all_known = all_known[~np.isnan(all_known)]
        times = np.full(len(values), 1 + all_known.max(initial=0.0))
    return _Given(user_ids, item_ids, values, times).take(rows)


class _Row(NamedTuple):
    """What a user rated, sorted by item."""

    items: NDArray[np.int64]
    ratings: NDArray[np.float64]
    times: NDArray[np.float64]


def _rows_of(known: Interactions, given: _Given) -> tuple[list[str], dict[int, _Row]]:
    """The ids of new users, and user -> their row where it changed."""
    users = given.users
    user_index, item_index = locate(users, known.users), locate(given.items, known.items)
    new_users = list(dict.fromkeys(users[user_index < 0]))
    user_index = np.where(
        user_index < 0, len(known.users) + locate(users, np.array(new_users, object)), user_index
    )
    # Users without a new rating stay as fitted: a fold-in is near to the fit, but not equal.
    order = np.argsort(user_index, kind="stable")
    different, begins = np.unique(user_index[order], return_index=True)
    seen = {
        int(user): merged
        for user, rows in zip(different, np.split(order, begins)[1:], strict=True)
        if (merged := _merged(known, int(user), item_index[rows], given.values[rows], given.times[rows]))
    }
    return new_users, seen


def _check(
    model: Interactions, users: NDArray[np.object_], items: NDArray[np.object_], values: NDArray[np.float64]
) -> None:
    if not len(users) == len(items) == len(values):
        raise RatingsError(
            f"{len(users)} users, {len(items)} items and {len(values)} ratings",
            fix="give an item and a rating to each user",
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


def _with_new_items(model: FactorModel, given: _Given) -> tuple[FactorModel, list[str]]:
    items, values = given.items, given.values
    raters = locate(given.users, model.users)
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
    """The model with unknown items appended, by their rows."""
    return replace(
        model,
        items=np.concatenate([model.items, np.array(ids, object)]),
        item_bias=np.append(model.item_bias, _biases(rows)),
        item_factors=np.vstack([model.item_factors, [row.factors for row in rows]]).astype(np.float32),
        extra=_grown_extra(model.extra, "item", rows, len(model.items)),
    )


def add_users(model: FactorModel, ids: list[str], rows: list[FoldedIn]) -> FactorModel:
    """The model with users appended who have rated nothing, by their rows."""
    return replace(
        model,
        users=np.concatenate([model.users, np.array(ids, object)]),
        user_bias=np.append(model.user_bias, _biases(rows)),
        user_factors=np.vstack([model.user_factors, [row.factors for row in rows]]).astype(np.float32),
        extra=_grown_extra(model.extra, "user", rows, len(model.users)),
        **_grown_seen(model, {}, len(model.users) + len(rows)),
    )


def _with_users(model: FactorModel, given: _Given, *, known: bool) -> FactorModel:
    """Fold in every user with a new rating, from all they have rated. known: also those of the model."""
    new_users, seen = _rows_of(model, given)
    first = 0 if known else len(model.users)
    folded = {user: fold_in(model, row.items, row.ratings) for user, row in seen.items() if user >= first}
    new = [folded[len(model.users) + number] for number in range(len(new_users))]
    bias = np.append(model.user_bias, _biases(new))
    factors = np.vstack([model.user_factors, *(row.factors[None] for row in new)]).astype(np.float32)
    extra = _grown_extra(model.extra, "user", new, len(model.users))
    for user, row in folded.items():
        bias[user], factors[user] = row.bias, row.factors
        for name in _PER_ROW:
            array = getattr(extra, f"user_{name}")
            if array is not None:
                array[user] = getattr(row, name)
    return replace(
        model,
        users=np.concatenate([model.users, np.array(new_users, object)]),
        user_bias=bias,
        user_factors=factors,
        extra=extra,
        **_grown_seen(model, seen, len(model.users) + len(new_users)),
    )


def _merged(
    model: Interactions,
    user: int,
    items: NDArray[np.int64],
    values: NDArray[np.float64],
    times: NDArray[np.float64],
) -> _Row | None:
    """What a user rated, old and new; None if it is that of the model. Of two times of a pair the later."""
    old: dict[int, float] = {}
    when: dict[int, float] = {}
    if user < len(model.users):
        part = slice(int(model.seen_start[user]), int(model.seen_start[user + 1]))
        own = model.seen_items[part].tolist()
        old = dict(zip(own, model.seen_ratings[part].tolist(), strict=True))
        if model.seen_times is not None:
            when = dict(zip(own, model.seen_times[part].tolist(), strict=True))
    rated, before = dict(old), dict(when)
    for item, value, time in zip(items.tolist(), values.tolist(), times.tolist(), strict=True):
        # Events are counts: they add up.
        rated[item] = rated.get(item, 0.0) + value if model.implicit else value
        # NaN is the earliest of all.
        when[item] = float(np.fmax(when.get(item, np.nan), time))
    same = model.seen_times is None or repr(when) == repr(before)
    if same and {item: float(np.float32(value)) for item, value in rated.items()} == old:
        return None
    order = sorted(rated)
    return _Row(
        np.array(order, np.int64),
        np.array([rated[item] for item in order]),
        np.array([when.get(item, np.nan) for item in order]),
    )


class _Seen(TypedDict):
    seen_start: NDArray[np.int64]
    seen_items: NDArray[np.uint32]
    seen_ratings: NDArray[np.float32]
    seen_times: NDArray[np.float64] | None


def _grown_seen(model: Interactions, seen: Mapping[int, _Row], users: int) -> _Seen:
    counts = np.append(model.given, np.zeros(users - len(model.users), np.int64))
    old = np.ones(len(model.seen_items), np.bool_)
    for user, row in seen.items():
        counts[user] = len(row.items)
        if user < len(model.users):
            old[model.seen_start[user] : model.seen_start[user + 1]] = False
    start = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    items, ratings = np.empty(start[-1], np.uint32), np.empty(start[-1], np.float32)
    times, kept = np.empty(start[-1]), np.ones(start[-1], np.bool_)
    for user, row in seen.items():
        part = slice(start[user], start[user + 1])
        items[part], ratings[part], times[part], kept[part] = *row, False
    items[kept], ratings[kept] = model.seen_items[old], model.seen_ratings[old]
    grown: _Seen = {"seen_start": start, "seen_items": items, "seen_ratings": ratings, "seen_times": None}
    if model.seen_times is not None:
        times[kept] = model.seen_times[old]
        grown["seen_times"] = times
    return grown


#: Of `FoldedIn`, what `Extra` has by side, with an entry per row.
_PER_ROW = ("bias_variance", "factors_variance", "noise")


def _grown_extra(extra: Extra, side: str, rows: list[FoldedIn], size: int) -> Extra:
    """`extra` with the new rows appended to the arrays that have an entry per row; these are copies."""
    grown: dict[str, Any] = {}
    # Folded-in rows contribute nothing to implicit factors: pad with zeros.
    implicit = "rater_factors" if side == "user" else "rated_factors"
    array = getattr(extra, implicit)
    if array is not None and len(array) == size:
        grown[implicit] = np.vstack([array, np.zeros((len(rows), array.shape[1]), array.dtype)])
    if side == "user" and extra.times is not None:
        start = [np.append(ends, np.full(len(rows), ends[-1], ends.dtype)) for ends in extra.times.start]
        grown["times"] = replace(extra.times, start=tuple(start))
    for name in _PER_ROW:
        array = getattr(extra, f"{side}_{name}")
        if array is not None:
            new = [np.asarray(getattr(row, name), array.dtype)[None] for row in rows]
            grown[f"{side}_{name}"] = np.concatenate([array, *new])
    return replace(extra, **grown)


def _biases(rows: list[FoldedIn]) -> NDArray[np.float32]:
    return np.array([row.bias for row in rows], np.float32)


# --- one row --------------------------------------------------------------------------------------------


class FoldedIn(NamedTuple):
    """Bias and factors of a row that the model was not fitted to.

    variances: of the posterior, 0 where the model has no noise. noise: factor of the variance of its ratings.
    """

    bias: float
    factors: NDArray[np.float32]
    bias_variance: float
    factors_variance: NDArray[np.float32]
    noise: float


def fold_in(model: FactorModel, index: ArrayLike, ratings: ArrayLike, *, side: str = "user") -> FoldedIn:
    """Solve for a new user (or item, with side="item") from a few ratings, with the model held fixed.

    index: the rated items (or the users who rated), as indices into `model.items` (`model.users`).
    ratings: in the model's unit; for events, counts.

    For `als` this is its own half-step. For other methods it is the mode of the row's posterior, under the
    normal prior that the model's rows follow; with a sigmoid, by Newton's method.
    """
    index, values = np.asarray(index, np.int64), np.asarray(ratings, np.float64)
    if model.implicit:
        return _fold_events(model, index, values, side)
    if model.method == "als" and model.extra.spread is not None:
        return _fold_als(model, index, values, side)
    return _fold_bayes(model, index, values, side)


def _fold_als(
    model: FactorModel, index: NDArray[np.int64], values: NDArray[np.float64], side: str
) -> FoldedIn:
    spread, decay = model.extra.spread or 1.0, model.extra.weight_decay or 0.0
    bias, factors = _other_side(model, side)
    known = np.column_stack([factors[index] / np.sqrt(spread), np.ones(len(index))])
    pull = (values - model.mean - bias[index]) / spread
    base = FLOOR * np.eye(known.shape[1])
    row, _ = _regress(known, None, pull, base, None, decay)
    return _folded(row * np.append(np.full(len(row) - 1, np.sqrt(spread)), spread))


def _fold_events(
    model: FactorModel, index: NDArray[np.int64], values: NDArray[np.float64], side: str
) -> FoldedIn:
    _, factors = _other_side(model, side)
    weight, pull, base = event_regression(model.extra, values, factors.T @ factors, len(factors))
    row, _ = _regress(factors[index], weight, pull, base, None, 0.0)
    return _folded(np.append(row, 0.0))


def _fold_bayes(
    model: FactorModel, index: NDArray[np.int64], values: NDArray[np.float64], side: str
) -> FoldedIn:
    bias, factors = _other_side(model, side)
    mean, covariance = row_prior(model, side)
    implicit = model.extra.rated_factors if side == "user" else model.extra.rater_factors
    if implicit is not None and len(index):
        mean[:-1] += implicit[index].sum(axis=0) / np.sqrt(len(index))
    precision = np.linalg.inv(covariance)
    known = np.column_stack([factors[index], np.ones(len(index))]).astype(np.float64)
    rest = model.mean + bias[index]
    others_noise = model.extra.item_noise if side == "user" else model.extra.user_noise
    alpha = np.full(len(index), noise_precision(model))
    if others_noise is not None:
        alpha /= others_noise[index]
    freedom = model.extra.noise_freedom
    row, noise = mean, 1.0
    variance = np.diag(covariance)
    for _ in range(NEWTON if len(index) else 0):
        before = row
        score, slope = link(model, rest + known @ row)
        # Linearized at the current row: the rating becomes a target of the score before the sigmoid.
        weight = alpha * slope**2 / noise
        aim = (values - score) / slope + known @ row
        row, variance = _regress(known, weight, weight * aim, precision, precision @ mean, 0.0)
        if freedom is not None:
            errors = values - link(model, rest + known @ row)[0]
            v = float(freedom[0 if side == "user" else 1])
            noise = float((v + alpha @ errors**2) / (v + len(index)))
        if np.abs(row - before).max() < 1e-5 * (1 + np.abs(row).max()):
            break
    if model.noise_precision <= 0:
        variance = np.zeros_like(variance)
    return _folded(row, variance, noise)


def _other_side(model: FactorModel, side: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    if side == "user":
        return model.item_bias, model.item_factors
    return model.user_bias, model.user_factors


def row_prior(model: FactorModel, side: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and covariance of (factors, bias): the sampler's prior, or moments of the fitted rows."""
    mean, covariance = (getattr(model.extra, f"{side}_prior_{name}") for name in ("mean", "covariance"))
    if mean is None or covariance is None:
        bias, factors = getattr(model, f"{side}_bias"), getattr(model, f"{side}_factors")
        rows = np.column_stack([bias, factors]).astype(np.float64)
        mean, covariance = rows.mean(axis=0), np.atleast_2d(np.cov(rows.T, bias=True))
    covariance = covariance.astype(np.float64)
    covariance += max(1e-4 * float(np.diag(covariance).max()), 1e-12) * np.eye(len(covariance))
    return np.roll(mean.astype(np.float64), -1), np.roll(covariance, (-1, -1), axis=(0, 1))


def noise_precision(model: FactorModel) -> float:
    """The model's precision, or 1 / the mean square error on (at most 100,000) training ratings."""
    if model.noise_precision > 0:
        return model.noise_precision
    sample = np.linspace(0, len(model.seen_items) - 1, min(len(model.seen_items), 100_000)).astype(np.int64)
    users = np.searchsorted(model.seen_start, sample, side="right") - 1
    items = model.seen_items[sample]
    products = np.einsum("rk,rk->r", model.user_factors[users], model.item_factors[items])
    score, _ = link(model, model.mean + model.user_bias[users] + model.item_bias[items] + products)
    return 1 / max(float(np.square(model.seen_ratings[sample] - score).mean()), 1e-12)


def link(model: FactorModel, raw: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scores, and their derivative with respect to `raw`."""
    if model.sigmoid_range is None:
        return raw, np.ones_like(raw)
    low, high = model.sigmoid_range
    inner = sigmoid(raw)
    return low + (high - low) * inner, (high - low) * np.maximum(inner * (1 - inner), SLOPE)


def _regress(
    known: NDArray[np.floating],
    weight: NDArray[np.float64] | None,
    pull: NDArray[np.float64],
    base: NDArray[np.floating],
    base_pull: NDArray[np.float64] | None,
    each: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Solve one row with the fit's kernel; returns the solution and the diagonal of the inverse."""
    count, width = known.shape
    start, index = np.array([0, count]), np.arange(count, dtype=np.uint32)
    single = partial(np.ascontiguousarray, dtype=np.float32)
    pulls = single(pull), single(known), single(base), np.float32(each)
    base_pull32 = single(np.zeros(width) if base_pull is None else base_pull)
    weights = single([] if weight is None else weight)
    solved, variance = np.empty((1, width), np.float32), np.empty((1, width), np.float32)
    kernels.solve_rows(0, 1, start, index, weights, *pulls, base_pull32, solved, variance)
    return solved[0].astype(np.float64), variance[0].astype(np.float64)


def _folded(
    row: NDArray[np.float64], variance: NDArray[np.float64] | None = None, noise: float = 1.0
) -> FoldedIn:
    variance = np.zeros_like(row) if variance is None else variance
    factors, spread = row[:-1].astype(np.float32), variance[:-1].astype(np.float32)
    return FoldedIn(float(row[-1]), factors, float(variance[-1]), spread, noise)
