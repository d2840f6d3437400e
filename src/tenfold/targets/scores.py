"""Everything that is shown of a target, by its kind: labels and probabilities in, a dictionary out.

Labels are those of `targets.labels`; a label that is missing is left out, and `scored` says how many rows
stay. Where no row stays, or a figure has no meaning (the AUC of a single class), the answer is NaN.

`weights`, where they are given, are (rows,) what each row counts: a row of weight 2 counts as two rows, and
one of weight 0 is not there. Counts of rows count rows all the same.
"""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from tenfold.metrics import (
    SMALLEST,
    auc,
    average_precision,
    category_scores,
    error_rate,
    macro_f1,
    number_scores,
    quadratic_kappa,
    rank_error,
    rmse,
)
from tenfold.targets.base import Baseline
from tenfold.targets.decisions import binary_log_loss
from tenfold.values import Score, Scores

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Number = TypeVar("Number", np.int64, np.float64)


def _weighed(labels: NDArray[Number], weights: Floats | None) -> NDArray[Number]:
    """The labels, missing where the row's weight is 0."""
    if weights is None or (weights > 0).all():
        return labels
    counting = labels.copy()
    counting[~(weights > 0)] = math.nan if labels.dtype.kind == "f" else -1
    return counting


def _mean(values: NDArray[np.bool_] | Floats, rows: NDArray[np.bool_], weights: Floats | None) -> float:
    """The mean over some rows; NaN where there is none."""
    if not rows.any():
        return math.nan
    return float(np.average(values[rows], weights=None if weights is None else weights[rows]))


def class_scores(
    probabilities: Floats, labels: Ints, *, baseline: Baseline = None, weights: Floats | None = None
) -> Scores:
    """Of a category: error rate, log loss, macro F1; of two classes the AUC of the second, too.

    baseline: the class most common in training; its error rate is added.
    """
    labels = _weighed(labels, weights)
    common = None if baseline is None else [baseline]
    scores: dict[str, Score] = {
        **category_scores(probabilities, labels, train_labels=common, weights=weights)
    }
    if probabilities.shape[1] == 2:
        # A class beyond the list is not on the curve of the two.
        scores["auc"] = auc(probabilities[:, 1], np.where(labels < 2, labels, -1), weights=weights)
    return scores


def ordered_scores(
    probabilities: Floats,
    labels: Ints,
    predicted: Ints,
    *,
    baseline: Baseline = None,
    weights: Floats | None = None,
) -> Scores:
    """Of an ordered category: as of any, and how far off in ranks, and Cohen's kappa with squared weights."""
    labels = _weighed(labels, weights)
    common = None if baseline is None else [baseline]
    scores: dict[str, Score] = {
        **category_scores(probabilities, labels, predicted=predicted, train_labels=common, weights=weights)
    }
    classes = probabilities.shape[1]
    inside = np.where((labels < classes) & (predicted >= 0), labels, -1)
    scores["rank_error"] = rank_error(inside, predicted, weights=weights)
    scores["quadratic_kappa"] = quadratic_kappa(inside, predicted, classes=classes, weights=weights)
    return scores


def open_scores(
    probabilities: Floats,
    labels: Ints,
    predicted: Ints,
    classes: tuple[str, ...],
    thresholds: Floats,
    *,
    baseline: Baseline = None,
    weights: Floats | None = None,
) -> Scores:
    """Of an open category; labels and predictions of "none of these" are the number of classes.

    log_loss and average precision are those of the yes-or-no questions; none_rate is the part of the rows
    whose answer is none.
    """
    beyond = len(classes)
    labels = _weighed(labels, weights)
    # "None" is a class of the F1 only where it is a label, too.
    answered = predicted if (labels == beyond).any() else np.where(predicted == beyond, -1, predicted)
    questions = np.where(labels[:, None] >= 0, (labels[:, None] == np.arange(beyond)).astype(np.int64), -1)
    known = labels >= 0
    scores: dict[str, Score] = {
        "error_rate": error_rate(labels, predicted, weights=weights),
        "log_loss": binary_log_loss(probabilities, questions, weights),
        "macro_f1": macro_f1(labels, answered, weights=weights),
        **_precisions(probabilities, questions, weights),
        "none_rate": _mean(predicted == beyond, known, weights),
    }
    if baseline is not None:
        scores["majority_error_rate"] = error_rate(labels, np.full(labels.shape, baseline), weights=weights)
    scores["scored"] = int(known.sum())
    yes = predicted[:, None] == np.arange(beyond)
    scores["labels"] = _by_class(probabilities, questions, yes, classes, thresholds, weights)
    return scores


def tag_scores(
    probabilities: Floats,
    labels: Ints,
    classes: tuple[str, ...],
    thresholds: Floats,
    *,
    baseline: Baseline = None,
    weights: Floats | None = None,
) -> Scores:
    """Of several classes at once.

    labels: (rows, classes), or with one more column for tags that the run does not know and never answers.
    micro: over all questions together; macro: plain mean over the classes that occur.
    subset_accuracy: part of the wholly known rows whose answer is right in every class; `baseline`, the most
    common answer of training, has majority_subset_accuracy.
    """
    labels = _weighed(labels, weights)
    asked, stranger = labels[:, : len(classes)], labels[:, len(classes) :]
    yes = probabilities >= thresholds
    known = asked >= 0
    own = np.ones(len(labels)) if weights is None else weights

    def count(where: NDArray[np.bool_]) -> float:
        return float(own @ where.sum(axis=1))

    hits = count(yes & (asked == 1))
    missed = count(~yes & (asked == 1)) + count(stranger == 1)
    wrong = count(yes & (asked == 0))
    each = _by_class(probabilities, asked, yes, classes, thresholds, weights)
    occurring = [own["f1"] for own in each.values() if not math.isnan(own["f1"])]
    whole = _rows(known)
    known_names = _rows(stranger != 1)
    exact = _rows(yes == (asked == 1)) & known_names
    some = bool(known.any())
    scores: dict[str, Score] = {
        "log_loss": binary_log_loss(probabilities, asked, weights),
        "micro_f1": 2 * hits / (2 * hits + missed + wrong) if hits + missed + wrong else math.nan,
        "macro_f1": float(np.mean(occurring)) if occurring and some else math.nan,
        **_precisions(probabilities, asked, weights),
        "subset_accuracy": _mean(exact, whole, weights),
    }
    if baseline is not None:
        same = _rows(asked == np.array(baseline)) & known_names
        scores["majority_subset_accuracy"] = _mean(same, whole, weights)
    scores["scored"] = int(known.any(axis=1).sum())
    scores["labels"] = each
    return scores


def _rows(whole: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(rows,) where every cell is true."""
    return np.asarray(whole.all(axis=1))


def _precisions(probabilities: Floats, questions: Ints, weights: Floats | None) -> dict[str, float]:
    each = [
        average_precision(probabilities[:, index], questions[:, index], weights=weights)
        for index in range(questions.shape[1])
    ]
    defined = [value for value in each if not math.isnan(value)]
    everywhere = None if weights is None else np.repeat(weights, questions.shape[1])
    return {
        "macro_ap": float(np.mean(defined)) if defined else math.nan,
        "micro_ap": average_precision(probabilities.ravel(), questions.ravel(), weights=everywhere),
    }


def _by_class(
    probabilities: Floats,
    questions: Ints,
    yes: NDArray[np.bool_],
    classes: tuple[str, ...],
    thresholds: Floats,
    weights: Floats | None,
) -> dict[str, dict[str, float]]:
    """Class -> average precision, F1, threshold, and rows that say yes; F1 is NaN where nobody says so."""
    scores = {}
    own = np.ones(len(questions)) if weights is None else weights
    for index, name in enumerate(classes):
        known = questions[:, index] >= 0
        label, answer, weight = questions[known, index] == 1, yes[known, index], own[known]
        both = float(weight @ label + weight @ answer)
        scores[name] = {
            "ap": average_precision(probabilities[known, index], label.astype(np.int64), weights=weight),
            "f1": 2 * float(weight @ (label & answer)) / both if both else math.nan,
            "threshold": float(thresholds[index]),
            "rows": int(label.sum()),
        }
    return scores


def quantity_scores(
    predicted: Floats, labels: Floats, *, baseline: Baseline = None, weights: Floats | None = None
) -> Scores:
    """Of a number: RMSE, MAE, R2, and the RMSE of always answering `baseline`, the mean of training.

    r2: 1 - sum of squared errors / sum of squared distances from the mean of these very labels; 0 is as good
    as that mean. NaN where the labels do not differ.
    """
    labels = _weighed(labels, weights)
    scores = number_scores(labels, predicted, weights=weights)
    there = ~np.isnan(labels) & np.isfinite(predicted)
    truth = labels[there]
    own = None if weights is None else weights[there]
    # The root of the mean square, which survives numbers of any size.
    middle = np.full(len(truth), np.average(truth, weights=own) if len(truth) else math.nan)
    spread = 0.0 if not len(truth) or truth.min() == truth.max() else rmse(truth, middle, weights=own)
    shown: dict[str, Score] = {
        "rmse": scores["rmse"],
        "mae": scores["mae"],
        "r2": 1 - (scores["rmse"] / spread) ** 2 if spread > 0 else math.nan,
    }
    if baseline is not None:
        shown["mean_rmse"] = rmse(labels, np.full(len(labels), baseline), mask=there, weights=weights)
    return {**shown, "scored": scores["scored"], "unscored": scores["unscored"]}


def poisson_deviances(predicted: Floats, labels: Floats) -> Floats:
    """(rows,) 2 (y log(y / mu) - y + mu) of counts y and means mu, 0 where they are the same."""
    mean = np.maximum(predicted, SMALLEST)
    known = np.nan_to_num(labels)
    return 2 * (known * np.log(np.where(known > 0, known, mean) / mean) - known + mean)


def count_scores(
    predicted: Floats, labels: Floats, *, baseline: Baseline = None, weights: Floats | None = None
) -> Scores:
    """Of a count: mean Poisson deviance, MAE, and the deviance of always answering `baseline`, the mean of
    training."""
    labels = _weighed(labels, weights)
    scores = number_scores(labels, predicted, weights=weights)
    there = ~np.isnan(labels) & np.isfinite(predicted)

    def deviance(means: Floats) -> float:
        # Rows that do not count have a mean that is a number, too.
        return _mean(poisson_deviances(np.where(there, means, 1.0), labels), there, weights)

    shown: dict[str, Score] = {"poisson_deviance": deviance(predicted), "mae": scores["mae"]}
    if baseline is not None:
        shown["baseline_deviance"] = deviance(np.full(len(labels), baseline, dtype=np.float64))
    return {**shown, "scored": scores["scored"], "unscored": scores["unscored"]}
