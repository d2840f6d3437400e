"""What every kind shares: what is known of labels, and how they are counted."""

from __future__ import annotations

import math

import numpy as np

from tenfold.targets.base import (
    TargetStats,
    cell_numbers,
    cell_words,
    class_counts,
    counting_rows,
    known_rows,
)
from tenfold.targets.kinds import KINDS


def test_labels_are_known_and_counted_whatever_their_form() -> None:
    numbers, codes = np.array([1.0, math.nan]), np.array([0, 2, -1, 0, 3])
    tags = np.array([[1, -1, 0], [-1, -1, -1], [1, 0, 1]])
    assert known_rows(numbers).tolist() == [True, False]
    assert known_rows(codes).tolist() == [True, True, False, True, True]
    assert known_rows(tags).tolist() == [True, False, True]
    assert class_counts(codes, 3).tolist() == [2, 0, 1] and class_counts(tags, 3).tolist() == [2, 0, 1]
    assert class_counts(numbers, 0).tolist() == []
    assert counting_rows(codes, None).all() and counting_rows(numbers, np.array([0.0, 2.0])).tolist() == [
        False,
        True,
    ]


def test_cells_of_a_file_are_words_or_numbers() -> None:
    assert cell_words([None, "a", 1]) == ["", "a", "1"]
    assert np.isnan(cell_numbers([None, "", "2.5"])[:2]).all() and cell_numbers(["2.5"]).tolist() == [2.5]


def test_every_kind_says_what_others_ask() -> None:
    for kind in KINDS.values():
        assert kind.score_names and not kind.__abstractmethods__
    assert TargetStats().temperature == 1.0
