"""New ratings of users and items that a model knows: each row moves by what they add to what it knows.

A row w (its factors, then its bias) has the normal prior N(m, C) of new rows (`fold_in`). The ratings that it
was fitted to are not read again: n of them are taken to have added n times the mean of x x' / s to its
precision, with x the rows of the other side and s the variance of a rating. In the basis B, in which C^-1 is
the identity and the mean of x x' the diagonal L, the posterior of every row is diagonal, 1 / (1 + n L / s).
A new rating is an observation of it, and moves the row by its error (Kalman 1960, "A new approach to linear
filtering and prediction problems"). Users go first, then items, by what is left of the errors.

The fitted row stays what the method made of it, which is better than a regression on the mean rows of the
other side, so that many small updates lose little (bench/results/updates.md).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tenfold.collab.fold_in import add_new_rows, add_ratings, link, noise_precision, row_prior
from tenfold.collab.ids import as_ids, locate
from tenfold.values import FactorModel

__all__ = ["update_ratings"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
#: Numbers of the rows that are solved at once.
BLOCK = 1 << 22


def update_ratings(
    model: FactorModel,
    users: ArrayLike,
    items: ArrayLike,
    ratings: ArrayLike,
    before: ArrayLike,
    times: NDArray[np.float64] | None = None,
) -> tuple[FactorModel, list[str]]:
    """The model with these ratings learned, by users and by items, known and new; and messages.

    users, items: (n,) ids of different pairs.  ratings: (n,), of events what is added to their strength.
    before: (n,) the rating of the pair that the model has, NaN where it has none.
    times: (n,), see `collab.predict.FoldIn`.

    New rows are folded in. Of als, users are solved again from all their ratings, which is its own step, and
    of events only users move. `fold_in.add_ratings` moves no known item: it is for a single user who asks.
    """
    own = as_ids(users), as_ids(items), np.asarray(ratings, np.float64)
    if model.implicit:
        return add_ratings(model, *own, times)
    solved = model.method == "als"
    add = add_ratings if solved else add_new_rows
    # New users come first, so that a new item may be known by what they rated beside it.
    old = locate(own[1], model.items) >= 0
    grown, notes = model, list[str]()
    for rows in (old, ~old):
        if rows.any():
            when = None if times is None else times[rows]
            grown, notes = add(grown, own[0][rows], own[1][rows], own[2][rows], when)
    count = int((locate(own[1], grown.items) >= 0).sum())
    users_new, items_new = len(grown.users) - len(model.users), len(grown.items) - len(model.items)
    notes = [f"{count} new ratings, {users_new} new users, {items_new} new items", *notes[1:]]
    if model.listed_items:
        grown = replace(grown, listed_items=int((grown.received == 0).sum()))
    user, item = locate(own[0], grown.users), locate(own[1], grown.items)
    there = item >= 0
    pairs = _Pairs(user[there], item[there], own[2][there], np.asarray(before, np.float64)[there])
    if not solved:
        grown = _moved(grown, "user", pairs, model.given)
    return _moved(grown, "item", pairs, model.received), notes


@dataclass(frozen=True)
class _Pairs:
    """Ratings by indices of users and items. before: NaN where there was none."""

    user: Ints
    item: Ints
    rating: Floats
    before: Floats

    def take(self, rows: NDArray[np.bool_]) -> _Pairs:
        """Some of them."""
        return _Pairs(self.user[rows], self.item[rows], self.rating[rows], self.before[rows])


def _moved(model: FactorModel, side: str, pairs: _Pairs, counts: Ints) -> FactorModel:
    """The model with the known rows of a side moved by the ratings.

    counts: (known rows,) ratings that each has learned; further rows have just been folded in, and stay.
    """
    row = getattr(pairs, side)
    pairs = pairs.take(row < len(counts))
    if not len(pairs.rating):
        return model
    row, other = (pairs.user, pairs.item) if side == "user" else (pairs.item, pairs.user)
    rest = "item" if side == "user" else "user"
    features = np.column_stack([getattr(model, f"{rest}_factors")[other], np.ones(len(other))])
    score, slope = _scores(model, pairs)
    precision = noise_precision(model)
    noise = np.full(len(row), 1 / precision)
    own_noise, other_noise = (getattr(model.extra, f"{name}_noise") for name in (side, rest))
    common = np.ones(len(counts)) if own_noise is None else np.asarray(own_noise, np.float64)[: len(counts)]
    noise *= common[row] * (1.0 if other_noise is None else np.asarray(other_noise)[other])
    noise /= np.square(slope)
    basis, strength = _basis(model, side)
    known = counts[:, None] * strength * float(np.square(slope).mean()) * precision / common[:, None]
    variance = 1 / (1 + known)
    seen = features @ basis
    step = np.zeros((len(counts), len(strength)))
    changed = ~np.isnan(pairs.before)
    # A changed rating is the old observation at another value: the row knows its direction already.
    pull = seen * (np.where(changed, pairs.rating - pairs.before, 0.0) / slope / noise)[:, None]
    np.add.at(step, row, pull * variance[row])
    new = np.flatnonzero(~changed)
    error = (pairs.rating - score)[new] / slope[new] - np.einsum("rk,rk->r", seen[new], step[row[new]])
    learned = _observe(seen[new], error, noise[new], row[new], variance)
    step += learned
    change = step @ basis.T
    grown: dict[str, Any] = {
        f"{side}_factors": _plus(getattr(model, f"{side}_factors"), change[:, :-1]),
        f"{side}_bias": _plus(getattr(model, f"{side}_bias"), change[:, -1]),
    }
    count = np.bincount(row[new], minlength=len(counts))
    after = 1 / (1 + known * (1 + count / np.maximum(counts, 1))[:, None])
    square = np.square(basis).T
    shrunk = (after @ square) / (variance @ square)
    extra = {}
    for name, part in (("bias_variance", shrunk[:, -1]), ("factors_variance", shrunk[:, :-1])):
        array = getattr(model.extra, f"{side}_{name}")
        if array is not None:
            array = array.copy()
            array[: len(counts)] *= part
            extra[f"{side}_{name}"] = array
    return replace(model, **grown, extra=replace(model.extra, **extra))


def _scores(model: FactorModel, pairs: _Pairs) -> tuple[Floats, Floats]:
    """(pairs,) scores that are not cut to the scale, and their slopes."""
    user, item = pairs.user, pairs.item
    products = np.einsum("rk,rk->r", model.user_factors[user], model.item_factors[item], dtype=np.float64)
    return link(model, model.mean + model.user_bias[user] + model.item_bias[item] + products)


def _basis(model: FactorModel, side: str) -> tuple[Floats, Floats]:
    """B (width, width) and the diagonal L (width,) of the module's text."""
    _, covariance = row_prior(model, side)
    rest, weight = ("item", model.received) if side == "user" else ("user", model.given)
    rows = np.column_stack([getattr(model, f"{rest}_factors"), np.ones(len(weight))]).astype(np.float64)
    moment = (rows.T * (weight / max(1, weight.sum()))) @ rows
    root = np.linalg.cholesky(covariance)
    strength, turn = np.linalg.eigh(root.T @ moment @ root)
    return np.asarray(root @ turn, np.float64), np.maximum(strength, 0).astype(np.float64)


def _observe(seen: Floats, error: Floats, noise: Floats, row: Ints, variance: Floats) -> Floats:
    """(rows, width) the steps of Gaussian rows that explain these errors.

    seen (n, width), error (n,), noise (n,): observations of the rows `row`.  variance (rows, width): before.
    Rows with equally many observations are solved together.
    """
    step = np.zeros_like(variance)
    order = np.argsort(row, kind="stable")
    own, begin, count = np.unique(row[order], return_index=True, return_counts=True)
    width = seen.shape[1]
    for size in np.unique(count):
        alike = np.flatnonzero(count == size)
        for rows in np.array_split(alike, max(1, len(alike) * int(size) * width // BLOCK)):
            index = order[begin[rows][:, None] + np.arange(size)]
            x, target, spread = seen[index], error[index], variance[own[rows]]
            if size <= width:
                wide = x * spread[:, None, :]
                inner = wide @ x.transpose(0, 2, 1)
                inner[:, np.arange(size), np.arange(size)] += noise[index]
                told = np.linalg.solve(inner, target[..., None])[..., 0]
                step[own[rows]] = np.einsum("rnk,rn->rk", wide, told)
                continue
            scaled = x / noise[index][..., None]
            inner = scaled.transpose(0, 2, 1) @ x
            inner[:, np.arange(width), np.arange(width)] += 1 / spread
            pull = np.einsum("rnk,rn->rk", scaled, target)
            step[own[rows]] = np.linalg.solve(inner, pull[..., None])[..., 0]
    return step


def _plus(array: NDArray[np.float32], change: Floats) -> NDArray[np.float32]:
    """The array with its first rows changed."""
    whole = array.copy()
    whole[: len(change)] += change.astype(np.float32)
    return whole
