"""From probabilities to decisions: thresholds of yes-or-no questions, and calibration by temperature.

Both are tuned on rows that did not train, and stored with the run.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tenfold.metrics import SMALLEST, expected_calibration_error

__all__ = [
    "binary_log_loss",
    "class_temperature",
    "question_calibration_error",
    "question_temperature",
    "tempered",
    "tempered_questions",
    "tune_thresholds",
]

Floats = NDArray[np.float64]

#: Yes rows that a class needs before its threshold is moved away from one half.
LEAST_YES = 5


def tune_thresholds(probabilities: Floats, labels: NDArray[np.int64], *, reject: bool = False) -> Floats:
    """(classes,) thresholds with the highest F1 of each class's yes; of equal ones the nearest to 0.5.

    probabilities: (rows, classes).  labels: the same shape, 1 yes, 0 no, -1 not known.
    reject: "none" must stay an answer. Rows of no class are seldom among the labelled ones, and without them
        F1 alone would take any low threshold; so none falls below four fifths of what 95 % of a class's own
        rows reach.
    A class with fewer than five known yes rows keeps 0.5.
    """
    found = np.full(probabilities.shape[1], 0.5)
    for place in range(len(found)):
        known = (labels[:, place] >= 0) & np.isfinite(probabilities[:, place])
        chance, yes = probabilities[known, place], labels[known, place] == 1
        if yes.sum() < LEAST_YES:
            continue
        least = 0.0
        if reject:
            least = min(0.5, 0.8 * float(np.quantile(chance[yes], 0.05, method="lower")))
        found[place] = _best_cut(chance, yes, least)
    return found


def _best_cut(chance: Floats, yes: NDArray[np.bool_], least: float) -> float:
    order = np.argsort(-chance, kind="stable")
    chance, hits = chance[order], np.cumsum(yes[order])
    # A cut stands between two different probabilities, or below all of them.
    ends = np.flatnonzero(np.append(chance[1:] < chance[:-1], True))
    upper, lower = chance[ends], np.append(chance, 0.0)[ends + 1]
    f1 = 2 * hits[ends] / (ends + 1 + yes.sum())
    cuts = np.where((lower < 0.5) & (upper >= 0.5), 0.5, (lower + upper) / 2)
    cuts = np.where((cuts < least) & (upper >= least), least, cuts)
    allowed = cuts >= least
    best = np.flatnonzero(allowed & (f1 >= f1[allowed].max(initial=0.0) - 1e-12))
    return float(cuts[best[np.argmin(np.abs(cuts[best] - 0.5))]]) if len(best) else 0.5


def tempered(probabilities: Floats, temperature: float) -> Floats:
    """Probabilities (rows, classes) as if the raw outputs had been divided by the temperature first.

    softmax(z / T) is softmax(log softmax(z) / T), since softmax takes no notice of a constant.
    """
    logs = np.log(np.maximum(probabilities, np.finfo(np.float64).tiny)) / temperature
    powers = np.exp(logs - logs.max(axis=1, keepdims=True, initial=-math.inf))
    return powers / powers.sum(axis=1, keepdims=True)


def tempered_questions(probabilities: Floats, temperature: float) -> Floats:
    """The same for probabilities that each answer a question of their own: sigmoid(z / T)."""
    p = np.clip(probabilities, SMALLEST, 1 - SMALLEST)
    return 1 / (1 + np.exp(-(np.log(p) - np.log1p(-p)) / temperature))


def class_temperature(probabilities: Floats, labels: NDArray[np.int64]) -> float:
    """The temperature that suits these rows best (Guo et al. 2017, arXiv 1706.04599, section 4.2).

    probabilities: (rows, classes).  labels: (rows,) class indices, one at least.
    What is minimised is the log loss, with labels that are a little less than sure, 1 - 1 / (rows + 2), as by
    Platt (1999): where every row is right, T would otherwise be 0 and each answer certain.
    """
    rows, classes = probabilities.shape
    share = 1 / (rows + 2)
    wanted = np.full((rows, classes), share / max(1, classes - 1))
    wanted[np.arange(rows), labels] = 1 - share
    tiny = np.finfo(np.float64).tiny

    def loss(temperature: float) -> float:
        return float(-(wanted * np.log(np.maximum(tempered(probabilities, temperature), tiny))).sum() / rows)

    return _lowest(loss)


def question_temperature(probabilities: Floats, labels: NDArray[np.int64]) -> float:
    """The same for yes-or-no questions: (rows, classes), 1 yes, 0 no, -1 not known."""
    known = labels >= 0
    chance = probabilities[known]
    share = 1 / (len(chance) + 2)
    wanted = np.where(labels[known] == 1, 1 - share, share)

    def loss(temperature: float) -> float:
        p = np.clip(tempered_questions(chance, temperature), SMALLEST, 1 - SMALLEST)
        return float(-(wanted * np.log(p) + (1 - wanted) * np.log1p(-p)).mean())

    return _lowest(loss)


def _lowest(loss: Callable[[float], float]) -> float:
    """The temperature in 0.05 .. 20 with the smallest loss, which is convex in 1 / T: a golden section."""
    low, high = math.log(0.05), math.log(20.0)
    part = (math.sqrt(5) - 1) / 2
    a, b = high - part * (high - low), low + part * (high - low)
    at_a, at_b = loss(math.exp(a)), loss(math.exp(b))
    for _ in range(60):
        if at_a <= at_b:
            high, b, at_b = b, a, at_a
            a = high - part * (high - low)
            at_a = loss(math.exp(a))
        else:
            low, a, at_a = a, b, at_b
            b = low + part * (high - low)
            at_b = loss(math.exp(b))
    return math.exp((low + high) / 2)


def binary_log_loss(probabilities: Floats, labels: NDArray[np.int64]) -> float:
    """Mean of -log of the right answer's probability over all known yes-or-no questions; NaN without any.

    probabilities: (rows, classes).  labels: the same shape, 1 yes, 0 no, -1 not known.
    """
    known = labels >= 0
    chance = np.where(labels == 1, probabilities, 1 - probabilities)[known]
    return float(-np.log(np.maximum(chance, SMALLEST)).mean()) if len(chance) else math.nan


def question_calibration_error(probabilities: Floats, labels: NDArray[np.int64]) -> float:
    """Expected calibration error over all known yes-or-no questions."""
    known = labels >= 0
    chance = probabilities[known]
    return expected_calibration_error(np.stack([1 - chance, chance], axis=1), labels[known])
