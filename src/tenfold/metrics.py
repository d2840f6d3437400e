"""Metrics: arrays in, float out, over all rows at once.

A metric is never a mean of batch means: the batch size cannot change it. In this file

- a label is *missing* if a class index is below 0, a number is NaN, or a text is empty; such rows
  are left out, and `known` says which rows stay;
- `mask`, of numbers, leaves out further rows (false = out), `weights` weighs the rows that stay;
- if no row stays the result is NaN, which `score_text` prints as "no labels": never 0;
- a class index at or above the number of classes is a class that the model does not have. Such a
  row is counted as wrong, with probability 0.

The tests compare with scikit-learn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: The least probability that a loss sees: a sure and wrong answer costs 36.04, not infinity.
SMALLEST = float(np.finfo(np.float64).eps)


def known(labels: ArrayLike, *, mask: ArrayLike | None = None) -> NDArray[np.bool_]:
    """Mask of the rows that have a label and that `mask` does not leave out."""
    values = np.asarray(labels)
    if values.dtype.kind == "f":
        there = ~np.isnan(values)
    elif values.dtype.kind in "OUS":
        there = np.array(
            [value is not None and value == value and value != "" for value in values.ravel()], dtype=bool
        )
        there = there.reshape(values.shape)
    elif values.dtype.kind == "i":
        there = values >= 0
    else:  # unsigned and boolean labels cannot be missing
        there = np.ones(values.shape, dtype=bool)
    if mask is None:
        return there
    allowed = np.asarray(mask, dtype=bool)
    if allowed.shape != values.shape:
        raise ValueError(f"the mask has shape {allowed.shape}, the labels {values.shape}")
    return there & allowed


def _rows(
    labels: ArrayLike, answers: ArrayLike, weights: ArrayLike | None, mask: ArrayLike | None = None
) -> tuple[np.ndarray, np.ndarray, NDArray[np.float64]]:
    """The known rows of labels and answers, and their weights."""
    truth, given = np.asarray(labels), np.asarray(answers)
    if truth.shape[:1] != given.shape[:1] or truth.ndim != 1:
        raise ValueError(f"one label per row: labels have shape {truth.shape}, answers {given.shape}")
    there = known(truth, mask=mask)
    if weights is None:
        return truth[there], given[there], np.ones(int(there.sum()))
    weight = np.asarray(weights, dtype=np.float64)
    if weight.shape != truth.shape:
        raise ValueError(f"one weight per row: weights have shape {weight.shape}, labels {truth.shape}")
    if not np.all(weight[there] >= 0):
        raise ValueError("weights are 0 or more")
    return truth[there], given[there], weight[there]


def _mean(values: NDArray[np.number] | NDArray[np.bool_], weights: NDArray[np.float64]) -> float:
    total = float(weights.sum())
    return float((values * weights).sum() / total) if total > 0 else math.nan


def _sums(index: NDArray[np.integer], weights: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """The sum of the weights of each index below `size`."""
    return np.asarray(np.bincount(index, weights=weights, minlength=size), dtype=np.float64)


# --- classes ---------------------------------------------------------------------------------------


def error_rate(labels: ArrayLike, predicted: ArrayLike, *, weights: ArrayLike | None = None) -> float:
    """Fraction of the known rows with a predicted class other than the label. Class indices or class names.

    A row without a prediction (-1 or "") is wrong.
    """
    truth, given, weight = _rows(labels, predicted, weights)
    return _mean(truth != given, weight)


def log_loss(probabilities: ArrayLike, labels: ArrayLike, *, weights: ArrayLike | None = None) -> float:
    """Mean of -log p[label], in nats, from (rows, classes) probabilities and class indices.

    Probabilities are cut to at least 2.2e-16. A NaN among them makes the answer NaN.
    """
    given = np.asarray(probabilities, dtype=np.float64)
    if given.ndim != 2:
        raise ValueError(f"probabilities are (rows, classes), not of shape {given.shape}")
    truth, chance, weight = _rows(labels, given, weights)
    column = truth.astype(np.int64)
    has = column < given.shape[1]
    right = np.zeros(len(column))
    right[has] = chance[np.flatnonzero(has), column[has]]
    return _mean(-np.log(np.maximum(right, SMALLEST)), weight)


def confusion_matrix(
    labels: ArrayLike, predicted: ArrayLike, *, classes: int, weights: ArrayLike | None = None
) -> NDArray[np.float64]:
    """(classes, classes) weight of the known rows by label (row) and prediction (column), as indices.

    Rows with a label or prediction outside the class list are left out.
    """
    truth, given, weight = _rows(labels, predicted, weights)
    inside = (truth < classes) & (given >= 0) & (given < classes)
    cell = truth[inside].astype(np.int64) * classes + given[inside].astype(np.int64)
    return _sums(cell, weight[inside], classes * classes).reshape(classes, classes)


def macro_f1(labels: ArrayLike, predicted: ArrayLike, *, weights: ArrayLike | None = None) -> float:
    """Plain mean of F1 = 2 TP / (2 TP + FP + FN) over the classes that occur in labels or predictions.

    A class that occurs in neither has no F1 and is not averaged in. Class indices or class names; a row
    without a prediction (-1 or "") is a miss of its label, not a class of its own.
    """
    truth, given, weight = _rows(labels, predicted, weights)
    if not weight.sum() > 0:
        return math.nan
    answered = known(given)
    names, code = np.unique(np.concatenate([truth, given[answered]]), return_inverse=True)
    label = code[: len(truth)]
    answer = np.full(len(truth), -1)
    answer[answered] = code[len(truth) :]
    hit = _sums(label, weight * (label == answer), len(names))
    labelled = _sums(label, weight, len(names))
    chosen = _sums(answer[answered], weight[answered], len(names))
    occurs = labelled + chosen > 0  # a row of weight 0 does not make a class occur
    return float(np.mean(2 * hit[occurs] / (labelled + chosen)[occurs]))


def majority_class(labels: ArrayLike, *, weights: ArrayLike | None = None) -> int | str | None:
    """The most common known label (the first of equals in order), or None if no label is known."""
    values = np.asarray(labels)
    there, _, weight = _rows(values, values, weights)
    if not weight.sum() > 0:
        return None
    names, code = np.unique(there, return_inverse=True)
    return names[np.argmax(_sums(code, weight, len(names)))]


def majority_error_rate(
    train_labels: ArrayLike, labels: ArrayLike, *, weights: ArrayLike | None = None
) -> float:
    """Error rate on `labels` of always answering the class most common among the *training* labels.

    NaN where training has no known label. `weights` belong to `labels`.
    """
    answer = majority_class(train_labels)
    if answer is None:
        return math.nan
    values = np.asarray(labels)
    return error_rate(values, np.full(values.shape, answer), weights=weights)


def category_scores(
    probabilities: ArrayLike,
    labels: ArrayLike,
    *,
    predicted: ArrayLike | None = None,
    train_labels: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> dict[str, float]:
    """All scores of a category target, and `scored`: the number of rows behind them.

    predicted: class indices; by default the most probable class (the first of equals).
    train_labels: labels of the training rows, for the majority class.
    """
    chance = np.asarray(probabilities, dtype=np.float64)
    # A row with a NaN has no most probable class: it counts as wrong, and makes the log loss NaN.
    best = np.where(np.isnan(chance).any(axis=1), -1, np.argmax(chance, axis=1))
    given = best if predicted is None else np.asarray(predicted)
    scores: dict[str, float] = {
        "error_rate": error_rate(labels, given, weights=weights),
        "log_loss": log_loss(chance, labels, weights=weights),
        "macro_f1": macro_f1(labels, given, weights=weights),
    }
    if train_labels is not None:
        scores["majority_error_rate"] = majority_error_rate(train_labels, labels, weights=weights)
    scores["scored"] = int(known(labels).sum())
    return scores


def auc(scores: ArrayLike, labels: ArrayLike, *, weights: ArrayLike | None = None) -> float:
    """Area under the receiver operating curve of labels 0 and 1; NaN where only 0 or only 1 occurs.

    Ties count half (Mann and Whitney 1947). `scores` may be any numbers that rise with label 1.
    """
    truth, given, weight = _rows(labels, np.asarray(scores, dtype=np.float64), weights)
    positive = weight[truth == 1].sum()
    if not (positive > 0 and positive < weight.sum()) or np.isnan(given).any():
        return math.nan
    _, rank = np.unique(given, return_inverse=True)
    size = int(rank.max()) + 1
    yes, no = _sums(rank, weight * (truth == 1), size), _sums(rank, weight * (truth != 1), size)
    below = np.cumsum(no) - no
    return float((yes * (below + no / 2)).sum() / (yes.sum() * no.sum()))


def average_precision(scores: ArrayLike, labels: ArrayLike, *, weights: ArrayLike | None = None) -> float:
    """Sum over thresholds of precision x gain of recall, of labels 0 and 1; NaN without a label 1.

    Rows of equal score share a threshold, and nothing is interpolated.
    """
    truth, given, weight = _rows(labels, np.asarray(scores, dtype=np.float64), weights)
    if not weight[truth == 1].sum() > 0 or np.isnan(given).any():
        return math.nan
    _, rank = np.unique(-given, return_inverse=True)
    size = int(rank.max()) + 1
    yes = _sums(rank, weight * (truth == 1), size)
    chosen = np.cumsum(_sums(rank, weight, size))
    # Rows of weight 0 at the head choose nothing yet.
    precision = np.cumsum(yes) / np.where(chosen > 0, chosen, 1.0)
    return float((precision * yes).sum() / yes.sum())


def rank_error(labels: ArrayLike, predicted: ArrayLike, *, weights: ArrayLike | None = None) -> float:
    """Mean absolute difference of label and prediction in ranks, of classes that have an order."""
    truth, given, weight = _rows(labels, predicted, weights)
    return _mean(np.abs(truth.astype(np.int64) - given.astype(np.int64)), weight)


def quadratic_kappa(
    labels: ArrayLike, predicted: ArrayLike, *, classes: int, weights: ArrayLike | None = None
) -> float:
    """Cohen's kappa with squared distances of ranks (Cohen 1968): 1 is right, 0 is as good as chance.

    NaN where labels and predictions are all of the same class.
    """
    seen = confusion_matrix(labels, predicted, classes=classes, weights=weights)
    ranks = np.arange(classes)
    far = (ranks[:, None] - ranks[None, :]) ** 2
    total = seen.sum()
    if not total > 0:
        return math.nan
    chance = np.outer(seen.sum(axis=1), seen.sum(axis=0)) / total
    expected = float((far * chance).sum())
    return 1.0 - float((far * seen).sum()) / expected if expected > 0 else math.nan


def calibration_bins(
    probabilities: ArrayLike, labels: ArrayLike, *, bins: int = 15, weights: ArrayLike | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Mean confidence, fraction that is right, and weight of rows, for equal-width bins of confidence.

    Confidence is the largest probability of a row. Empty bins have weight 0 and NaN in the others.
    """
    if bins < 1:
        raise ValueError(f"bins = {bins}: give 1 or more")
    given = np.asarray(probabilities, dtype=np.float64)
    truth, chance, weight = _rows(labels, given, weights)
    confidence = chance.max(axis=1) if len(chance) else np.zeros(0)
    right = (chance.argmax(axis=1) if len(chance) else np.zeros(0)) == truth
    index = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    total = _sums(index, weight, bins)
    full = np.where(total > 0, total, math.nan)
    return _sums(index, weight * confidence, bins) / full, _sums(index, weight * right, bins) / full, total


def expected_calibration_error(
    probabilities: ArrayLike, labels: ArrayLike, *, bins: int = 15, weights: ArrayLike | None = None
) -> float:
    """Mean gap between confidence and fraction right (Guo, Pleiss, Sun and Weinberger 2017, equation 3)."""
    confidence, right, total = calibration_bins(probabilities, labels, bins=bins, weights=weights)
    full = total > 0
    return _mean(np.abs(confidence - right)[full], total[full])


# --- numbers and ratings ---------------------------------------------------------------------------


def rmse(
    labels: ArrayLike,
    predicted: ArrayLike,
    *,
    mask: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> float:
    """Root of the mean squared difference over the known rows, in the labels' unit."""
    truth, given, weight = _rows(_numbers(labels), _numbers(predicted), weights, mask)
    far = truth - given
    # Scaled by a power of two, which is exact: squares of 1e200 and of 1e-200 would be infinite and 0.
    exponent = int(np.frexp(np.abs(far).max(initial=0.0))[1])
    return float(np.ldexp(math.sqrt(_mean(np.ldexp(far, -exponent) ** 2, weight)), exponent))


def mae(
    labels: ArrayLike,
    predicted: ArrayLike,
    *,
    mask: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> float:
    """Mean absolute difference over the known rows, in the labels' unit."""
    truth, given, weight = _rows(_numbers(labels), _numbers(predicted), weights, mask)
    return _mean(np.abs(truth - given), weight)


def _numbers(values: ArrayLike) -> NDArray[np.float64]:
    # Squares of float32 and differences of unsigned integers are not what they seem.
    return np.asarray(values, dtype=np.float64)


def number_scores(
    labels: ArrayLike,
    predicted: ArrayLike,
    *,
    fallback: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> dict[str, float]:
    """RMSE and MAE, and on how many rows they stand.

    scored: rows with a label and a finite prediction; only these are in the averages.
    unscored: rows with a label whose prediction is NaN or infinite. It is 0 unless a model failed.
    fallback: how many of the scored rows the model marked as answered by a fallback (an unknown user
        or item); they are in the averages, so that no model gains by skipping what is hard.
    """
    labelled = known(_numbers(labels), mask=mask)
    there = labelled & np.isfinite(_numbers(predicted))
    scores: dict[str, float] = {
        "rmse": rmse(labels, predicted, mask=there, weights=weights),
        "mae": mae(labels, predicted, mask=there, weights=weights),
        "scored": int(there.sum()),
        "unscored": int((labelled & ~there).sum()),
    }
    if fallback is not None:
        scores["fallback"] = int((there & np.asarray(fallback, dtype=bool)).sum())
    return scores


def score_text(value: float, *, digits: int = 4, nothing: str = "no labels") -> str:
    """A score for people: ``0.1250``, or "no labels" where it is NaN for want of any.

    Where so many decimals would show less than two digits, or a million and more, it is as ``2.35e-09``.
    """
    if math.isnan(value):
        return nothing
    if value and not 10.0 ** (1 - digits) <= abs(value) < 1e6:
        return f"{value:.3g}"
    return f"{value:.{digits}f}"


# --- ranked lists ----------------------------------------------------------------------------------
#
# All share this definition (docs/maths.md). For each user, the list is the ranked items without those the
# user has already seen and without repeats, cut after n. The relevant items are the user's test items
# that were not seen in training. Users without a relevant item are not averaged in.


@dataclass(frozen=True)
class ItemLists:
    """A list of item indices for each user: `items[start[u]:start[u + 1]]` is the list of user u.

    start: (users + 1,) int64.  items: int64.
    """

    start: NDArray[np.int64]
    items: NDArray[np.int64]

    @classmethod
    def of(cls, lists: ItemLists | Sequence[ArrayLike]) -> ItemLists:
        """Make them from an array of items for each user."""
        if isinstance(lists, ItemLists):
            return lists
        rows = [np.asarray(items, dtype=np.int64).ravel() for items in lists]
        start = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum([len(row) for row in rows], out=start[1:])
        return cls(start, np.concatenate([*rows, np.zeros(0, dtype=np.int64)]))

    @property
    def users(self) -> int:
        """How many lists there are."""
        return len(self.start) - 1

    def owner(self) -> NDArray[np.int64]:
        """The user of each entry of `items`."""
        return np.repeat(np.arange(self.users), np.diff(self.start))


Lists = ItemLists | Sequence[ArrayLike]


@dataclass(frozen=True)
class _Hits:
    """Entries of the lists.  rank: from 0.  relevant: (users,) how many relevant items each user has."""

    rank: NDArray[np.int64]
    owner: NDArray[np.int64]
    item: NDArray[np.int64]
    hit: NDArray[np.bool_]
    relevant: NDArray[np.int64]

    def mean(self, per_user: NDArray[np.float64] | NDArray[np.bool_]) -> float:
        tested = self.relevant > 0
        return float(per_user[tested].mean()) if tested.any() else math.nan

    def per_user(self, gain: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """(users,) sum of the gains of the hits; of hits without `gain`."""
        weight = self.hit.astype(np.float64) if gain is None else self.hit * gain
        return _sums(self.owner, weight, len(self.relevant))

    def first(self) -> NDArray[np.float64]:
        """(users,) 1 / rank of the first hit, from 1; 0 without a hit."""
        found = np.zeros(len(self.relevant))
        np.maximum.at(found, self.owner[self.hit], 1 / (self.rank[self.hit] + 1))
        return found


def _among(keys: NDArray[np.int64], table: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Mask of the keys that are in the table, which is nearly sorted and much longer than the keys."""
    if not len(table):
        return np.zeros(len(keys), dtype=bool)
    order = np.sort(table, kind="stable")
    return order[np.minimum(np.searchsorted(order, keys), len(order) - 1)] == keys


def _hits(ranked: Lists, relevant: Lists, n: int, seen: Lists | None) -> _Hits:
    if n < 1:
        raise ValueError(f"n = {n}: a list has 1 item or more")
    ranks, truth = ItemLists.of(ranked), ItemLists.of(relevant)
    known_items = ItemLists.of([[]] * ranks.users if seen is None else seen)
    if not ranks.users == truth.users == known_items.users:
        raise ValueError(
            f"one list per user: {ranks.users} ranked, {truth.users} relevant, {known_items.users} seen"
        )
    width = 1 + max(
        (int(lists.items.max()) for lists in (ranks, truth, known_items) if len(lists.items)), default=0
    )
    # A (user, item) pair is encoded as a number: whole tables of pairs are compared at once.
    seen_key = known_items.owner() * width + known_items.items
    true_key = np.unique((truth.owner() * width + truth.items)[truth.items >= 0])
    true_key = true_key[~_among(true_key, seen_key)]
    owner, key = ranks.owner(), ranks.owner() * width + ranks.items
    keep = (ranks.items >= 0) & ~_among(key, seen_key)  # a negative item is padding
    first = np.zeros(len(key), dtype=bool)
    first[np.unique(key, return_index=True)[1]] = True
    keep &= first
    before = np.concatenate([[0], np.cumsum(keep)])
    rank = before[:-1] - before[ranks.start[owner]]
    keep &= rank < n
    return _Hits(
        rank=rank[keep],
        owner=owner[keep],
        item=ranks.items[keep],
        hit=_among(key[keep], true_key),
        relevant=np.bincount(true_key // width, minlength=ranks.users),
    )


def ranking_scores(
    ranked: Lists,
    relevant: Lists,
    *,
    n: int,
    seen: Lists | None = None,
    items: int | None = None,
    taken: NDArray[np.float64] | None = None,
) -> dict[str, float]:
    """Scores of lists of n: means over the users with a relevant item, and how many users those are.

    ranked: per user, item indices best first; negative entries are padding.
    relevant: per user, the test items.  seen: per user, the training items.  items: size of the catalogue.
    taken: (items,) fraction of the users that took each in training.

    precision: hits / n, even where a list is shorter.  recall: hits / relevant items.
    hit: fraction of the users whose list holds a relevant item.
    ndcg: normalised discounted cumulative gain (Järvelin and Kekäläinen 2002) with gains 0 and 1: a hit at
        rank r, from 1, gains 1 / log2(r + 1), and the sum is divided by that of the best possible list, which
        has min(n, relevant items) hits at its head.
    mrr: mean of 1 / rank of the first hit, 0 without one (Voorhees 1999).
    coverage: fraction of the catalogue that is in some user's list, relevant items or not.
    novelty: mean of -log2 of `taken` over the entries of all lists, in bits (Zhou et al. 2010); of an item
        that nobody took, as if a single user had.
    """
    hits = _hits(ranked, relevant, n, seen)
    count = hits.per_user()
    gain = 1 / np.log2(np.arange(n) + 2)
    best = np.concatenate([[1.0], np.cumsum(gain)])  # 1: no relevant items, not averaged
    scores: dict[str, float] = {
        "precision": hits.mean(count / n),
        "recall": hits.mean(count / np.maximum(hits.relevant, 1)),
        "hit": hits.mean(count > 0),
        "ndcg": hits.mean(hits.per_user(gain[hits.rank]) / best[np.minimum(hits.relevant, n)]),
        "mrr": hits.mean(hits.first()),
    }
    if items is not None:
        scores["coverage"] = len(np.unique(hits.item)) / items if items > 0 else math.nan
    if taken is not None:
        least = taken[taken > 0].min(initial=1.0)
        listed = hits.item[hits.item < len(taken)]
        scores["novelty"] = (
            float(-np.log2(np.maximum(taken[listed], least)).mean()) if len(listed) else math.nan
        )
    scores["users"] = int((hits.relevant > 0).sum())
    return scores
