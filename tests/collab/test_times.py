from __future__ import annotations

import numpy as np
import pytest

from tenfold.collab.times import LENGTHS, choose_lengths, span_starts, time_shifts
from tenfold.values import TimeSpans


def test_spans_end_with_the_user_and_with_the_part_of_time():
    user = np.array([0, 0, 0, 1, 1])
    times = np.array([10.0, 59.0, 60.0, 61.0, 500.0])
    assert span_starts(user, times, 60.0).tolist() == [0, 2, 3, 4, 5]


def test_times_in_whole_days_make_one_length():
    user = np.repeat(np.arange(20), 30)
    times = np.sort(np.random.default_rng(0).integers(0, 5, (20, 30)), axis=1).reshape(-1) * 86400.0
    assert choose_lengths(user, times) == [LENGTHS[0]]


def test_ratings_that_are_all_far_apart_make_none():
    user = np.repeat(np.arange(20), 30)
    times = np.tile(np.arange(30) * 1e7, 20)
    assert choose_lengths(user, times) == []


def test_sittings_make_several():
    rng = np.random.default_rng(1)
    days = rng.integers(0, 50, (40, 6, 1)) * 86400.0
    times = np.sort((days + rng.exponential(900, (40, 6, 10))).reshape(40, 60), axis=1).reshape(-1)
    assert len(choose_lengths(np.repeat(np.arange(40), 60), times)) >= 3


@pytest.fixture
def spans() -> TimeSpans:
    return TimeSpans(
        np.array([60.0, 3600.0]),
        (np.array([0, 2, 3]), np.array([0, 1, 2])),
        (np.array([0, 5, 5]), np.array([0, 0])),
        (np.array([0.1, 0.2, 0.3], np.float32), np.array([1.0, 2.0], np.float32)),
    )


def test_shifts_are_looked_up_by_user_and_time(spans):
    users = np.array([0, 0, 1, 1, 0, -1, 0])
    times = np.array([30.0, 310.0, 310.0, 59.0, 9e9, 30.0, np.nan])
    expected = [1.1, 1.2, 2.3, 2.0, 0, 0, 0]
    assert time_shifts(spans, users, times) == pytest.approx(expected, abs=1e-6)


def test_times_before_1970_and_models_without_times(spans):
    assert time_shifts(spans, np.array([0]), np.array([-30.0])).tolist() == [0]
    assert time_shifts(None, np.array([0]), np.array([30.0])).tolist() == [0]
