"""Biases and factors of items and users without ratings, by the columns of their tables.

The fitted biases and factors of the rated items are regressed on the features of their columns; the
regression's predictions are the rows of the others (Gantner, Drumond, Freudenthaler, Rendle and
Schmidt-Thieme 2010, "Learning attribute-to-feature mappings for cold-start recommendations", section 4).
Errors count in the unit of scores, as the users' factors weigh them. Users likewise. Of weights between
items, the same regression maps features to what each item of the core adds to an item.
"""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tenfold.collab.fold_in import FoldedIn, add_items, add_users
from tenfold.collab.item_scorer import ItemScorer
from tenfold.collab.outside import ByColumns
from tenfold.collab.predict import FactorScorer
from tenfold.values import FactorModel, SideFeatures

__all__ = ["add_listed", "add_listed_items"]

#: An item of n ratings has weight n / (n + SHRINKAGE), divided by the mean weight. Ratings come from items
#: that are rated much, and these are better than others: a small SHRINKAGE scores new items too low.
SHRINKAGE = 1000.0
#: Ridges to choose from, and folds of the rated items to choose by.
RIDGES = (0.1, 1.0, 10.0, 100.0, 1000.0)
FOLDS = 5
#: The most frequent features that are used, and rows at once.
MOST_FEATURES, ROWS = 1000, 4096
#: Users whose scores choose the ridge of weights between items.
JUDGES = 512


class _Moments(NamedTuple):
    """Weighted sums over items of products of features x, targets z and 1: all that a regression needs."""

    xx: NDArray[np.float64]
    xz: NDArray[np.float64]
    x: NDArray[np.float64]
    z: NDArray[np.float64]
    zz: float
    weight: float

    def plus(self, other: _Moments, sign: int = 1) -> _Moments:
        """With the items of `other`, too; sign = -1: without them."""
        xx, xz, x, z = (a + sign * b for a, b in zip(self[:4], other[:4], strict=True))
        return _Moments(xx, xz, x, z, self.zz + sign * other.zz, self.weight + sign * other.weight)

    def solve(self, ridge: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Slopes (features, targets) and intercepts of z on x; no slopes where the ridge is infinite."""
        x, z = self.x / self.weight, self.z / self.weight
        if ridge == np.inf:
            return np.zeros_like(self.xz), z
        inner = self.xx - self.weight * np.outer(x, x) + ridge * np.eye(len(x))
        slopes = np.linalg.solve(inner, self.xz - self.weight * np.outer(x, z))
        return slopes.astype(np.float64), z - x @ slopes

    def error(self, slopes: NDArray[np.float64], start: NDArray[np.float64]) -> float:
        """The sum of squared errors of a regression over these items."""
        cross = (slopes * self.xz).sum() + start @ self.z
        square = (slopes * (self.xx @ slopes)).sum() + 2 * start @ (self.x @ slopes)
        return float(self.zz - 2 * cross + square + self.weight * start @ start)


def add_listed(
    model: FactorModel, ids: NDArray[np.object_], side: SideFeatures, role: str = "item"
) -> tuple[FactorModel, list[str]]:
    """The model with a row for each of these items, predicted from its features, and messages.

    ids: items that the model does not know.  side: features of `model.items` and then of `ids`.
    role: ``item``, or ``user`` for users likewise.

    Cross-validation over the rated items chooses the ridge. If the columns predict nothing, each new row is
    the average item's.
    """
    scorer = FactorScorer(model)
    if role == "item":
        own, counts = (model.item_bias, model.item_factors), model.received
        others, other_weight, own_weight = model.user_factors, scorer.user_weight, scorer.item_weight
        noise = model.extra.item_noise
    else:
        own, counts = (model.user_bias, model.user_factors), model.given
        others, other_weight, own_weight = model.item_factors, scorer.item_weight, scorer.user_weight
        noise = model.extra.user_noise
    known = len(counts)
    weight = counts / (counts + SHRINKAGE)
    weight /= max(weight.mean(), 1e-12)
    rows = np.column_stack(own).astype(np.float64)
    tastes = np.column_stack([np.ones(len(others)), others]).astype(np.float64)
    unit = np.linalg.cholesky((tastes.T * other_weight) @ tastes + 1e-9 * np.eye(tastes.shape[1]))
    frequent = _frequent(side)
    slopes, start = _regress(frequent, rows @ unit, weight)
    back = np.linalg.inv(unit)
    predicted = _predict(frequent, slopes @ back, start @ back, known + len(ids))
    spread = weight @ (rows - predicted[:known]) ** 2 / max(weight.sum(), 1e-12)
    if model.noise_precision <= 0:
        spread = np.zeros_like(spread)
    common = 1.0 if noise is None else float(own_weight @ noise)
    new = [
        FoldedIn(float(row[0]), row[1:].astype(np.float32), spread[0], spread[1:].astype(np.float32), common)
        for row in predicted[known:]
    ]
    if role == "item":
        model = add_items(replace(model, listed_items=len(ids)), list(ids), new)
        return model, [f"{len(ids)} listed items that nobody has rated are scored {_how(side, slopes, role)}"]
    model = add_users(replace(model, listed_users=len(ids)), list(ids), new)
    return model, [f"{len(ids)} listed users who have rated nothing are scored {_how(side, slopes, role)}"]


def add_listed_items(
    scorer: ItemScorer, ids: NDArray[np.object_], side: SideFeatures
) -> tuple[ItemScorer, list[str]]:
    """As `add_listed`, of weights between items: what the core adds to each of these items, and messages.

    Each item of the core counts the same in the regression, and the ridge has the least error of scores, over
    up to 512 users: this was chosen on inner draws of MovieLens 100K (bench/results/ratings.md).
    """
    known, model = scorer.interactions, scorer.model
    core, count = model.core, len(known.items)
    frequent = _frequent(side)
    described = _rows_of(frequent, core)
    weight = np.ones(len(core))
    judges = np.flatnonzero(known.given)[:: max(1, int((known.given > 0).sum()) // JUDGES)][:JUDGES]
    scores = np.stack(
        [model.sums(model.row(known, int(user), recency=False))[: len(core)] for user in judges], axis=1
    )
    ridge = _choose_ridge(described, scores, weight)
    slopes, start = _moments(described, model.weights.T, weight).solve(ridge)
    turned, middle = _moments(described, scorer.kept["item"][core], weight).solve(ridge)
    new = _rows_of(frequent, np.arange(count, count + len(ids)))
    columns = ByColumns(
        np.arange(count, count + len(ids)),
        np.vstack([slopes, start]).astype(np.float32),
        new.start,
        new.feature,
    )
    vectors = _predict(new, turned, middle, len(ids)).astype(np.float32)
    more = replace(known, items=np.concatenate([known.items, ids]), listed_items=len(ids))
    kept = {**scorer.kept, "item": np.vstack([scorer.kept["item"], vectors])}
    note = f"{len(ids)} listed items that nobody has taken are scored {_how(side, slopes, 'item')}"
    return replace(scorer, interactions=more, model=replace(model, new=columns), kept=kept), [note]


def _how(side: SideFeatures, slopes: NDArray[np.float64], role: str) -> str:
    columns = ", ".join(side.columns)
    return (
        f"by their columns ({columns})"
        if slopes.any()
        else f"as the average {role}: {columns} foretells nothing"
    )


def _rows_of(side: SideFeatures, rows: NDArray[np.int64]) -> SideFeatures:
    """The features of some rows."""
    sizes = np.diff(side.start)[rows]
    start = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    where = np.arange(start[-1]) - np.repeat(start[:-1] - side.start[rows], sizes)
    return replace(side, start=start, feature=side.feature[where])


def _frequent(side: SideFeatures) -> SideFeatures:
    """At most MOST_FEATURES features: the most frequent."""
    if len(side.names) <= MOST_FEATURES:
        return side
    count = np.bincount(side.feature, minlength=len(side.names))
    kept = np.sort(np.argsort(-count, kind="stable")[:MOST_FEATURES])
    new = np.full(len(count), -1)
    new[kept] = np.arange(len(kept))
    used = new[side.feature] >= 0
    before = np.concatenate([[0], np.cumsum(used)])
    return SideFeatures(
        names=tuple(side.names[feature] for feature in kept),
        group=side.group[kept],
        columns=side.columns,
        start=before[side.start],
        feature=new[side.feature[used]].astype(np.uint32),
    )


def _dense(side: SideFeatures, begin: int, end: int) -> NDArray[np.float64]:
    """(items, features): 1 / sqrt(features of the item) or 0, as in the sampler."""
    sizes = np.diff(side.start[begin : end + 1])
    dense = np.zeros((end - begin, len(side.names)))
    row = np.repeat(np.arange(end - begin), sizes)
    dense[row, side.feature[side.start[begin] : side.start[end]]] = 1
    return dense / np.sqrt(np.maximum(sizes, 1))[:, None]


def _regress(
    side: SideFeatures, targets: NDArray[np.float64], weight: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Slopes and intercepts, with the ridge of the least error in cross-validation."""
    return _moments(side, targets, weight).solve(_choose_ridge(side, targets, weight))


def _choose_ridge(side: SideFeatures, targets: NDArray[np.floating], weight: NDArray[np.float64]) -> float:
    """The ridge of the least error in cross-validation over the rows."""
    folds = [
        _moments(side, targets, np.where(np.arange(len(weight)) % FOLDS == k, weight, 0))
        for k in range(FOLDS)
    ]
    total = reduce(_Moments.plus, folds)
    tried = [fold for fold in folds if 0 < fold.weight < total.weight]
    errors = {
        ridge: sum(fold.error(*total.plus(fold, -1).solve(ridge)) for fold in tried)
        for ridge in (np.inf, *RIDGES)
    }
    return min(errors, key=lambda ridge: errors[ridge])


def _moments(side: SideFeatures, targets: NDArray[np.floating], weight: NDArray[np.float64]) -> _Moments:
    features = len(side.names)
    xx, xz, x = np.zeros((features, features)), np.zeros((features, targets.shape[1])), np.zeros(features)
    for begin in range(0, len(weight), ROWS):
        end = min(begin + ROWS, len(weight))
        dense, w = _dense(side, begin, end), weight[begin:end]
        xx += (dense.T * w) @ dense
        xz += (dense.T * w) @ targets[begin:end]
        x += w @ dense
    square = float(weight @ np.einsum("rt,rt->r", targets, targets, dtype=np.float64))
    return _Moments(xx, xz, x, weight @ targets, square, float(weight.sum()))


def _predict(
    side: SideFeatures, slopes: NDArray[np.float64], start: NDArray[np.float64], count: int
) -> NDArray[np.float64]:
    parts = [(begin, min(begin + ROWS, count)) for begin in range(0, count, ROWS)]
    return np.concatenate([_dense(side, *part) @ slopes for part in parts]) + start
