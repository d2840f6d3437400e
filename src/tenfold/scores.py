"""Everything that is shown of a target, by its kind: labels and probabilities in, a dictionary out.

Labels are those of `data.labels`; a label that is missing is left out, and `scored` says how many rows stay.
Where no row stays, or a figure has no meaning (the AUC of a single class), the answer is NaN.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.decisions import binary_log_loss
from tenfold.metrics import (
    auc,
    average_precision,
    category_scores,
    error_rate,
    macro_f1,
    number_scores,
    quadratic_kappa,
    rank_error,
)

__all__ = [
    "HIGHER_IS_BETTER",
    "SCORES",
    "class_scores",
    "open_scores",
    "ordered_scores",
    "quantity_scores",
    "tag_scores",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Of all other scores less is better.
HIGHER_IS_BETTER = frozenset(
    {"macro_f1", "micro_f1", "macro_ap", "micro_ap", "auc", "subset_accuracy", "r2", "quadratic_kappa"}
)

#: Kind of target -> its scores, the most telling one first.
SCORES = {
    "category": ("error_rate", "log_loss", "macro_f1", "auc"),
    "ordered": ("error_rate", "log_loss", "macro_f1", "rank_error", "quadratic_kappa"),
    "open": ("error_rate", "log_loss", "macro_f1", "macro_ap", "micro_ap", "none_rate"),
    "multilabel": ("micro_f1", "macro_f1", "macro_ap", "micro_ap", "subset_accuracy", "log_loss"),
    "number": ("rmse", "mae", "r2"),
}


def class_scores(probabilities: Floats, labels: Ints, *, usual: int | None = None) -> dict[str, Any]:
    """Of a category: error rate, log loss, macro F1; of two classes the AUC of the second, too.

    usual: the class most common in training, whose error rate stands beside.
    """
    scores: dict[str, Any] = category_scores(
        probabilities, labels, train_labels=None if usual is None else np.array([usual])
    )
    if probabilities.shape[1] == 2:
        # A class beyond the list has no place on the curve of the two.
        scores["auc"] = auc(probabilities[:, 1], np.where(labels < 2, labels, -1))
    return scores


def ordered_scores(
    probabilities: Floats, labels: Ints, predicted: Ints, *, usual: int | None = None
) -> dict[str, Any]:
    """Of an ordered category: as of any, and how far off in ranks, and Cohen's kappa with squared weights."""
    scores: dict[str, Any] = category_scores(
        probabilities,
        labels,
        predicted=predicted,
        train_labels=None if usual is None else np.array([usual]),
    )
    classes = probabilities.shape[1]
    inside = np.where((labels < classes) & (predicted >= 0), labels, -1)
    scores["rank_error"] = rank_error(inside, predicted)
    scores["quadratic_kappa"] = quadratic_kappa(inside, predicted, classes=classes)
    return scores


def open_scores(
    probabilities: Floats,
    labels: Ints,
    predicted: Ints,
    classes: tuple[str, ...],
    thresholds: Floats,
    *,
    usual: int | None = None,
) -> dict[str, Any]:
    """Of an open category; labels and predictions of "none of these" are the number of classes.

    log_loss and average precision are those of the yes-or-no questions; none_rate is the part of the rows
    whose answer is none.
    """
    beyond = len(classes)
    # "None" is a class of the F1 only where it is a label, too.
    answered = predicted if (labels == beyond).any() else np.where(predicted == beyond, -1, predicted)
    questions = np.where(labels[:, None] >= 0, (labels[:, None] == np.arange(beyond)).astype(np.int64), -1)
    known = labels >= 0
    scores: dict[str, Any] = {
        "error_rate": error_rate(labels, predicted),
        "log_loss": binary_log_loss(probabilities, questions),
        "macro_f1": macro_f1(labels, answered),
        **_precisions(probabilities, questions),
        "none_rate": float((predicted[known] == beyond).mean()) if known.any() else math.nan,
    }
    if usual is not None:
        scores["majority_error_rate"] = error_rate(labels, np.full(labels.shape, usual))
    scores["scored"] = int(known.sum())
    yes = predicted[:, None] == np.arange(beyond)
    scores["labels"] = _by_class(probabilities, questions, yes, classes, thresholds)
    return scores


def tag_scores(
    probabilities: Floats,
    labels: Ints,
    classes: tuple[str, ...],
    thresholds: Floats,
    *,
    usual: list[int] | None = None,
) -> dict[str, Any]:
    """Of several classes at once.

    labels: (rows, classes), or with one more column for tags that the run does not know and never answers.
    micro: over all questions together; macro: plain mean over the classes that occur.
    subset_accuracy: part of the wholly known rows whose answer is right in every class; `usual`, the most
    common answer of training, has majority_subset_accuracy.
    """
    asked, stranger = labels[:, : len(classes)], labels[:, len(classes) :]
    yes = probabilities >= thresholds
    known = asked >= 0
    hits = (yes & (asked == 1)).sum()
    missed = (~yes & (asked == 1)).sum() + (stranger == 1).sum()
    wrong = (yes & (asked == 0)).sum()
    each = _by_class(probabilities, asked, yes, classes, thresholds)
    occurring = [one["f1"] for one in each.values() if not math.isnan(one["f1"])]
    whole = known.all(axis=1)
    exact = (yes == (asked == 1)).all(axis=1) & ~(stranger == 1).any(axis=1)
    some = bool(known.any())
    scores: dict[str, Any] = {
        "log_loss": binary_log_loss(probabilities, asked),
        "micro_f1": float(2 * hits / (2 * hits + missed + wrong)) if hits + missed + wrong else math.nan,
        "macro_f1": float(np.mean(occurring)) if occurring and some else math.nan,
        **_precisions(probabilities, asked),
        "subset_accuracy": float(exact[whole].mean()) if whole.any() else math.nan,
    }
    if usual is not None:
        same = (asked == np.array(usual)).all(axis=1) & ~(stranger == 1).any(axis=1)
        scores["majority_subset_accuracy"] = float(same[whole].mean()) if whole.any() else math.nan
    scores["scored"] = int(known.any(axis=1).sum())
    scores["labels"] = each
    return scores


def _precisions(probabilities: Floats, questions: Ints) -> dict[str, float]:
    known = questions >= 0
    each = [
        average_precision(probabilities[known[:, place], place], questions[known[:, place], place])
        for place in range(questions.shape[1])
    ]
    there = [one for one in each if not math.isnan(one)]
    return {
        "macro_ap": float(np.mean(there)) if there else math.nan,
        "micro_ap": average_precision(probabilities[known], questions[known]),
    }


def _by_class(
    probabilities: Floats,
    questions: Ints,
    yes: NDArray[np.bool_],
    classes: tuple[str, ...],
    thresholds: Floats,
) -> dict[str, dict[str, float]]:
    """Class -> average precision, F1, threshold, and rows that say yes; F1 is NaN where nobody says so."""
    found = {}
    for place, name in enumerate(classes):
        known = questions[:, place] >= 0
        label, answer = questions[known, place] == 1, yes[known, place]
        both = int(label.sum() + answer.sum())
        found[name] = {
            "ap": average_precision(probabilities[known, place], label.astype(np.int64)),
            "f1": float(2 * (label & answer).sum() / both) if both else math.nan,
            "threshold": float(thresholds[place]),
            "rows": int(label.sum()),
        }
    return found


def quantity_scores(predicted: Floats, labels: Floats, *, usual: float | None = None) -> dict[str, Any]:
    """Of a number: RMSE, MAE, R2, and the RMSE of always answering `usual`, the mean of training.

    r2: 1 - sum of squared errors / sum of squared distances from the mean of these very labels; 0 is as good
    as that mean. NaN where the labels do not differ.
    """
    scores = number_scores(labels, predicted)
    there = ~np.isnan(labels) & np.isfinite(predicted)
    truth = labels[there]
    spread = float(((truth - truth.mean()) ** 2).sum()) if len(truth) else 0.0
    lost = float(((truth - predicted[there]) ** 2).sum())
    found: dict[str, Any] = {
        "rmse": scores["rmse"],
        "mae": scores["mae"],
        "r2": 1 - lost / spread if spread > 0 else math.nan,
    }
    if usual is not None:
        found["mean_rmse"] = math.sqrt(((truth - usual) ** 2).mean()) if len(truth) else math.nan
    return {**found, "scored": scores["scored"], "unscored": scores["unscored"]}
