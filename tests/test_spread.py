"""Paired differences: means, errors and intervals against scipy and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from tenfold.spread import paired_difference, t_quantile


def test_the_interval_is_that_of_a_paired_t_test() -> None:
    first = [0.31, 0.28, 0.35, 0.30, 0.33]
    second = [0.29, 0.27, 0.31, 0.30, 0.29]
    found = paired_difference(first, second)
    test = stats.ttest_rel(second, first)
    low, high = test.confidence_interval()
    assert found.mean == pytest.approx(np.mean(np.subtract(second, first)))
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-6)
    assert found.mean / found.error == pytest.approx(test.statistic)
    assert found.pairs == 5


def test_folds_share_rows_and_that_widens_the_interval() -> None:
    first, second = [0.0] * 4, [1.0, 2.0, 1.5, 2.5]
    plain = paired_difference(first, second)
    # Four folds: a quarter held out, three quarters trained on.
    folds = paired_difference(first, second, overlap=1 / 3)
    assert folds.mean == plain.mean
    assert folds.error == pytest.approx(plain.deviation * math.sqrt(1 / 4 + 1 / 3))
    assert folds.low < plain.low and folds.high > plain.high


@pytest.mark.parametrize(("second", "clear"), [([2.0, 2.1, 1.9], True), ([2.0, -2.0, 0.5], False)])
def test_what_is_clear_leaves_out_nought(second: list[float], clear: bool) -> None:
    assert paired_difference([0.0] * 3, second).clear is clear


def test_one_pair_has_a_mean_and_no_spread() -> None:
    found = paired_difference([1.0], [3.0])
    assert (found.mean, found.pairs) == (2.0, 1)
    assert math.isnan(found.error) and not found.clear
    assert math.isnan(paired_difference([], []).mean)


def test_a_pair_without_a_score_is_left_out() -> None:
    found = paired_difference([1.0, math.nan, 2.0], [2.0, 5.0, 4.0])
    assert (found.pairs, found.mean) == (2, 1.5)


@pytest.mark.parametrize("freedom", [1, 2, 5, 13, 20, 21, 30, 99, 1000])
def test_quantiles_are_those_of_student(freedom: int) -> None:
    assert t_quantile(freedom) == pytest.approx(float(stats.t.ppf(0.975, freedom)), abs=3e-4)


def test_without_freedom_there_is_no_quantile() -> None:
    assert math.isnan(t_quantile(0))
