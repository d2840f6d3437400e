"""From probabilities to decisions: thresholds of yes-or-no questions, and calibration by temperature.

Both are tuned on rows that did not train, and stored with the run.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tenfold.metrics import SMALLEST, expected_calibration_error

Floats = NDArray[np.float64]

#: Yes rows that a class needs before its threshold is moved away from one half.
LEAST_YES = 5


def tune_thresholds(
    probabilities: Floats,
    labels: NDArray[np.int64],
    *,
    reject: bool = False,
    weights: Floats | None = None,
) -> Floats:
    """(classes,) thresholds with the highest F1 of each class's yes; of equal ones the nearest to 0.5.

    probabilities: (rows, classes).  labels: the same shape, 1 yes, 0 no, -1 not known.
    reject: "none" must stay an answer. Rows of no class are seldom among the labelled ones, and without them
        F1 alone would take any low threshold; so none falls below four fifths of what 95 % of a class's own
        rows reach.
    weights: (rows,) above 0, what each row counts; 1 where not given.
    A class with fewer than five known yes rows keeps 0.5.
    """
    weight = np.ones(len(labels)) if weights is None else weights
    thresholds = np.full(probabilities.shape[1], 0.5)
    for index in range(len(thresholds)):
        known = (labels[:, index] >= 0) & np.isfinite(probabilities[:, index])
        chance, yes = probabilities[known, index], labels[known, index] == 1
        if yes.sum() < LEAST_YES:
            continue
        least = 0.0
        if reject:
            least = min(0.5, 0.8 * _low_end(chance[yes], None if weights is None else weight[known][yes]))
        thresholds[index] = _best_cut(chance, yes, least, weight[known])
    return thresholds


def _low_end(chance: Floats, weights: Floats | None) -> float:
    """What 95 % of the rows reach."""
    if weights is None:
        return float(np.quantile(chance, 0.05, method="lower"))
    order = np.argsort(chance, kind="stable")
    upto = np.cumsum(weights[order])
    return float(chance[order][np.searchsorted(upto, 0.05 * upto[-1])])


def _best_cut(chance: Floats, yes: NDArray[np.bool_], least: float, weights: Floats) -> float:
    order = np.argsort(-chance, kind="stable")
    weights = weights[order]
    chance, hits, chosen = chance[order], np.cumsum(weights * yes[order]), np.cumsum(weights)
    # A cut stands between two different probabilities, or below all of them.
    ends = np.flatnonzero(np.append(chance[1:] < chance[:-1], True))
    upper, lower = chance[ends], np.append(chance, 0.0)[ends + 1]
    f1 = 2 * hits[ends] / (chosen[ends] + hits[-1])
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


def class_temperature(
    probabilities: Floats, labels: NDArray[np.int64], weights: Floats | None = None
) -> float:
    """The temperature that suits these rows best (Guo et al. 2017, arXiv 1706.04599, section 4.2).

    probabilities: (rows, classes).  labels: (rows,) class indices, not empty.
    weights: (rows,) what each row counts; 1 where not given.
    What is minimised is the log loss, with labels that are a little less than sure, 1 - 1 / (rows + 2), as by
    Platt (1999): where every row is right, T would otherwise be 0 and each answer certain.
    """
    rows, classes = probabilities.shape
    share = 1 / (rows + 2)
    wanted = np.full((rows, classes), share / max(1, classes - 1))
    wanted[np.arange(rows), labels] = 1 - share
    if weights is not None:
        wanted *= (weights / weights.mean())[:, None]
    tiny = np.finfo(np.float64).tiny

    def loss(temperature: float) -> float:
        return float(-(wanted * np.log(np.maximum(tempered(probabilities, temperature), tiny))).sum() / rows)

    return _lowest(loss)


def question_temperature(
    probabilities: Floats, labels: NDArray[np.int64], weights: Floats | None = None
) -> float:
    """The same for yes-or-no questions: (rows, classes), 1 yes, 0 no, -1 not known."""
    known = labels >= 0
    chance = probabilities[known]
    share = 1 / (len(chance) + 2)
    wanted = np.where(labels[known] == 1, 1 - share, share)
    weight = _of_questions(weights, known)

    def loss(temperature: float) -> float:
        p = np.clip(tempered_questions(chance, temperature), SMALLEST, 1 - SMALLEST)
        return _mean(-(wanted * np.log(p) + (1 - wanted) * np.log1p(-p)), weight)

    return _lowest(loss)


def _of_questions(weights: Floats | None, known: NDArray[np.bool_]) -> Floats | None:
    """Weights of rows as those of their known questions. known: (rows, classes)."""
    return None if weights is None else np.broadcast_to(weights[:, None], known.shape)[known]


def _mean(values: Floats, weights: Floats | None) -> float:
    return float(values.mean() if weights is None else (values * weights).sum() / weights.sum())


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


def binary_log_loss(probabilities: Floats, labels: NDArray[np.int64], weights: Floats | None = None) -> float:
    """Mean of -log of the right answer's probability over all known yes-or-no questions; NaN without any.

    probabilities: (rows, classes).  labels: the same shape, 1 yes, 0 no, -1 not known.
    weights: (rows,) what each row counts; 1 where not given.
    """
    known = labels >= 0
    chance = np.where(labels == 1, probabilities, 1 - probabilities)[known]
    if not len(chance):
        return math.nan
    return _mean(-np.log(np.maximum(chance, SMALLEST)), _of_questions(weights, known))


def question_calibration_error(
    probabilities: Floats, labels: NDArray[np.int64], weights: Floats | None = None
) -> float:
    """Expected calibration error over all known yes-or-no questions."""
    known = labels >= 0
    chance, weight = probabilities[known], _of_questions(weights, known)
    return expected_calibration_error(np.stack([1 - chance, chance], axis=1), labels[known], weights=weight)
