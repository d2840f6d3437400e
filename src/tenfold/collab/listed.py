"""Items that are listed and that nobody has rated: what their columns say of them.

The fitted biases and factors of the rated items are regressed on the features of their columns, and the
regression's answers are the rows of the others (Gantner, Drumond, Freudenthaler, Rendle and Schmidt-Thieme
2010, "Learning attribute-to-feature mappings for cold-start recommendations", section 4). Errors count in the
unit of scores, as the users' factors weigh them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tenfold.collab.als import FoldedIn
from tenfold.collab.fold_in import add_items
from tenfold.collab.predict import LISTED_ITEMS, Scorer
from tenfold.values import FactorModel, SideFeatures

__all__ = ["add_listed_items"]

#: An item of n ratings weighs n / (n + SHRINKAGE): rows of few ratings are near the mean, whatever they are.
SHRINKAGE = 10.0
#: Ridges that are tried, and parts of the rated items that are foretold by the others.
RIDGES = (0.1, 1.0, 10.0, 100.0, 1000.0)
FOLDS = 5
#: The most frequent features that are used, and rows at once.
MOST_FEATURES, ROWS = 1000, 4096


class _Moments(NamedTuple):
    """Sums over items of weight times features x, targets z and 1: all that a regression needs."""

    xx: NDArray[np.float64]
    xz: NDArray[np.float64]
    zz: float
    x: NDArray[np.float64]
    z: NDArray[np.float64]
    weight: float

    def less(self, other: _Moments) -> _Moments:
        """Without the items of `other`."""
        return _Moments(*(mine - its for mine, its in zip(self, other, strict=True)))

    def solve(self, ridge: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Slopes (features, targets) and intercepts of z on x; no slopes where the ridge is infinite."""
        x, z = self.x / self.weight, self.z / self.weight
        if ridge == np.inf:
            return np.zeros_like(self.xz), z
        inner = self.xx - self.weight * np.outer(x, x) + ridge * np.eye(len(x))
        slopes = np.linalg.solve(inner, self.xz - self.weight * np.outer(x, z))
        return slopes, z - x @ slopes

    def error(self, slopes: NDArray[np.float64], start: NDArray[np.float64]) -> float:
        """The sum of squared errors of a regression over these items."""
        cross = (slopes * self.xz).sum() + start @ self.z
        square = (slopes * (self.xx @ slopes)).sum() + 2 * start @ (self.x @ slopes)
        return float(self.zz - 2 * cross + square + self.weight * start @ start)


def add_listed_items(
    model: FactorModel, ids: NDArray[np.object_], side: SideFeatures
) -> tuple[FactorModel, list[str]]:
    """The model with a row for each of these items, by its features; and what is to be said of it.

    ids: items that the model does not know.  side: features of `model.items` and then of `ids`.

    How far the columns count is decided by how well they foretell rated items that are left out; where they
    foretell nothing, all rows are the average item's.
    """
    rated = len(model.items)
    scorer = Scorer(model)
    counts = np.bincount(model.seen_items, minlength=rated).astype(np.float64)
    weight = counts / (counts + SHRINKAGE)
    rows = np.column_stack([model.item_bias, model.item_factors]).astype(np.float64)
    tastes = np.column_stack([np.ones(len(model.users)), model.user_factors]).astype(np.float64)
    unit = np.linalg.cholesky((tastes.T * scorer.user_weight) @ tastes + 1e-9 * np.eye(tastes.shape[1]))
    found = _frequent(side)
    slopes, start = _regress(found, rows @ unit, weight)
    back = np.linalg.inv(unit)
    answers = _answers(found, slopes @ back, start @ back, rated + len(ids))
    spread = weight @ (rows - answers[:rated]) ** 2 / max(weight.sum(), 1e-12)
    if model.noise_precision <= 0:
        spread = np.zeros_like(spread)
    noise = model.extra.get("item_noise")
    common = 1.0 if noise is None else float(scorer.item_weight @ noise)
    new = [
        FoldedIn(float(row[0]), row[1:].astype(np.float32), spread[0], spread[1:].astype(np.float32), common)
        for row in answers[rated:]
    ]
    columns = ", ".join(side.columns)
    how = (
        f"by their columns ({columns})"
        if slopes.any()
        else f"as the average item: {columns} foretells nothing"
    )
    extra = {**model.extra, LISTED_ITEMS: np.array([len(ids)])}
    model = add_items(replace(model, extra=extra), list(ids), new)
    return model, [f"{len(ids)} listed items that nobody has rated are scored {how}"]


def _frequent(side: SideFeatures) -> SideFeatures:
    """The most frequent features alone, where there are too many."""
    if len(side.names) <= MOST_FEATURES:
        return side
    count = np.bincount(side.feature, minlength=len(side.names))
    kept = np.sort(np.argsort(-count, kind="stable")[:MOST_FEATURES])
    new = np.full(len(count), -1)
    new[kept] = np.arange(len(kept))
    there = new[side.feature] >= 0
    before = np.concatenate([[0], np.cumsum(there)])
    return SideFeatures(
        names=tuple(side.names[one] for one in kept),
        group=side.group[kept],
        columns=side.columns,
        start=before[side.start],
        feature=new[side.feature[there]].astype(np.uint32),
    )


def _dense(side: SideFeatures, begin: int, end: int) -> NDArray[np.float64]:
    """(items, features) of these items: 1 / sqrt of how many they have, as in the sampler, or 0."""
    sizes = np.diff(side.start[begin : end + 1])
    dense = np.zeros((end - begin, len(side.names)))
    row = np.repeat(np.arange(end - begin), sizes)
    dense[row, side.feature[side.start[begin] : side.start[end]]] = 1
    return dense / np.sqrt(np.maximum(sizes, 1))[:, None]


def _regress(
    side: SideFeatures, targets: NDArray[np.float64], weight: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Slopes and intercepts, with the ridge that foretells items best that are left out in turn."""
    folds = [
        _moments(side, targets, np.where(np.arange(len(weight)) % FOLDS == k, weight, 0))
        for k in range(FOLDS)
    ]
    total = _Moments(*(sum(parts) for parts in zip(*folds, strict=True)))
    tried = [one for one in folds if 0 < one.weight < total.weight]
    errors = {
        ridge: sum(one.error(*total.less(one).solve(ridge)) for one in tried) for ridge in (np.inf, *RIDGES)
    }
    return total.solve(min(errors, key=lambda ridge: errors[ridge]))


def _moments(side: SideFeatures, targets: NDArray[np.float64], weight: NDArray[np.float64]) -> _Moments:
    features = len(side.names)
    xx, xz, x = np.zeros((features, features)), np.zeros((features, targets.shape[1])), np.zeros(features)
    for begin in range(0, len(weight), ROWS):
        end = min(begin + ROWS, len(weight))
        dense, w = _dense(side, begin, end), weight[begin:end]
        xx += (dense.T * w) @ dense
        xz += (dense.T * w) @ targets[begin:end]
        x += w @ dense
    return _Moments(
        xx, xz, float(weight @ (targets**2).sum(axis=1)), x, weight @ targets, float(weight.sum())
    )


def _answers(
    side: SideFeatures, slopes: NDArray[np.float64], start: NDArray[np.float64], count: int
) -> NDArray[np.float64]:
    parts = [(begin, min(begin + ROWS, count)) for begin in range(0, count, ROWS)]
    return np.concatenate([_dense(side, *part) @ slopes for part in parts]) + start
