"""Differences between trainings: their mean, their spread, and how far they may be chance.

Differences are *paired*: both members of a pair saw the same rows under the same seed, so that differences
between folds cancel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: 0.975 quantiles of Student's t for 1, 2, ... degrees of freedom (Student 1908); beyond them the normal one.
_T = (
    *(12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281),
    *(2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860),
)
_NORMAL = 1.959964


@dataclass(frozen=True)
class PairedDifference:
    """The mean of second - first over pairs, and its spread.

    deviation: standard deviation of the single differences.  error: standard error of the mean.
    low, high: 95 % interval around the mean.  All three are NaN with fewer than two pairs.
    """

    mean: float
    deviation: float
    error: float
    low: float
    high: float
    pairs: int

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out 0: the difference is more than chance would give."""
        return self.low > 0 or self.high < 0


def paired_difference(
    first: Sequence[float], second: Sequence[float], *, overlap: float = 0.0
) -> PairedDifference:
    """The difference of paired scores, without pairs in which a score is NaN.

    overlap: held-out rows over training rows, where the pairs are folds. Two folds share most of their
    training rows, so their differences are not independent and the plain standard error is too small: it is
    made of ``deviation^2 x (1 / pairs + overlap)`` instead of ``deviation^2 / pairs`` (Nadeau and Bengio
    2003, "Inference for the generalization error", Machine Learning 52). 0 for repeats with other seeds.
    """
    differences = np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    differences = differences[np.isfinite(differences)]
    count = len(differences)
    if count < 2:
        mean = float(differences[0]) if count else math.nan
        return PairedDifference(mean, math.nan, math.nan, math.nan, math.nan, count)
    mean, deviation = float(differences.mean()), float(differences.std(ddof=1))
    error = deviation * math.sqrt(1 / count + overlap)
    reach = t_quantile(count - 1) * error
    return PairedDifference(mean, deviation, error, mean - reach, mean + reach, count)


def t_quantile(freedom: int) -> float:
    """The 0.975 quantile of Student's t: a 95 % interval reaches so many standard errors to both sides."""
    if freedom < 1:
        return math.nan
    if freedom <= len(_T):
        return _T[freedom - 1]
    # The first terms of its expansion around the normal quantile (Fisher 1926): right to 3e-4 from here on.
    z = _NORMAL
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
