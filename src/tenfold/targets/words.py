"""Kinds and scores in words: for help, for tables on the screen and on pages, and for the history of runs.

Plain values, and no imports that run: the command line reads them before anything is loaded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tenfold.values import Scores

#: What may stand behind the colon of ``--target``.
KIND_WORDS = (
    "category, two-class, open, multilabel, number, number[LOW,HIGH], count, ordered, ordered[LOW<...<HIGH]"
)
#: Scores of which more is better; of all others less is.
HIGHER_IS_BETTER = frozenset(
    {"macro_f1", "micro_f1", "macro_ap", "micro_ap", "auc", "subset_accuracy", "r2", "quadratic_kappa"}
)
#: Scores and their headings, in the order in which tables have them.
HEADINGS = {
    "error_rate": "error rate",
    "majority_error_rate": "majority's",
    "log_loss": "log loss",
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "macro_ap": "macro AP",
    "micro_ap": "micro AP",
    "auc": "AUC",
    "none_rate": "none",
    "subset_accuracy": "all right",
    "majority_subset_accuracy": "majority's",
    "rank_error": "ranks off",
    "quadratic_kappa": "kappa",
    "rmse": "RMSE",
    "mean_rmse": "mean's",
    "poisson_deviance": "deviance",
    "baseline_deviance": "mean's",
    "mae": "MAE",
    "r2": "R2",
    "scored": "rows",
    "fallback": "by fallback",
}
#: Scores that are shown of an epoch, of whatever kind the target is.
EPOCH = {
    "log_loss": "validation",
    "error_rate": "error",
    "rank_error": "ranks off",
    "micro_f1": "micro F1",
    "rmse": "validation RMSE",
    "r2": "R2",
    "poisson_deviance": "validation deviance",
}
#: The score of a target that fits into one cell, the first that it has: with its value in words.
SHORT = {
    "error_rate": "{} wrong",
    "micro_f1": "F1 {}",
    "rmse": "RMSE {}",
    "poisson_deviance": "deviance {}",
}
#: Scores of each member of an ensemble, and the losses that are drawn of it over the epochs.
MEMBERS = ("error_rate", "log_loss", "rmse", "poisson_deviance", "micro_f1")
LOSSES = {"log_loss": "loss", "rmse": "RMSE", "poisson_deviance": "deviance"}
#: Scores whose curves share a chart: fractions of one, and errors in the labels' unit.
FRACTIONS = (
    *("error_rate", "macro_f1", "micro_f1", "auc"),
    *("macro_ap", "micro_ap", "subset_accuracy", "none_rate"),
)
ERRORS = ("rmse", "mae", "rank_error")
#: Scores of numbers -> the same of always answering the training mean.
BESIDE_MEAN = {"rmse": "mean_rmse", "poisson_deviance": "baseline_deviance"}


def short_score(scores: Mapping[str, object]) -> str:
    """The name of the score in `SHORT` that fits a target's scores, or ""."""
    return next((name for name in SHORT if name in scores), "")


def primary_score(scores: Scores) -> tuple[str, float | None]:
    """What stands for a target's scores in the history of runs, and its value, of which less is better.

    Of classes the error rate, of tags 1 - micro F1, of numbers a fraction of that of the training mean.
    """

    def of(name: str) -> float | None:
        value = scores.get(name)
        return value if isinstance(value, int | float) and math.isfinite(value) else None

    if (error := of("error_rate")) is not None:
        return "error rate", error
    if (f1 := of("micro_f1")) is not None:
        return "F1", 1 - f1
    for name, beside in BESIDE_MEAN.items():
        if (own := of(name)) is not None:
            mean, word = of(beside), HEADINGS[name]
            return (f"{word} of the mean's", own / mean) if mean else (word, own)
    return "", None
