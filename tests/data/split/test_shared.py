"""Folds that several trainings share, also through JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tenfold.data.split.shared import SharedFolds
from tenfold.errors import SplitError


def test_folds_are_dealt_once_and_travel_as_json() -> None:
    labels = {"y": np.array([0, 1] * 10)}
    first = SharedFolds(4, seed=3, fold=1)
    split = first(20, labels=labels)
    sent = SharedFolds.read(json.loads(json.dumps(first.of(2).record())))
    # Without the labels that they were dealt by.
    other = sent(20)
    again = first.of(2)(20, labels=labels)
    assert np.array_equal(other.valid, again.valid) and np.array_equal(other.train, again.train)
    assert other.notes == again.notes and not set(split.valid) & set(other.valid)
    with pytest.raises(SplitError, match="21 rows, and 20"):
        sent(21)
    assert SharedFolds.read(json.loads(json.dumps(SharedFolds(4, 3).record()))) == SharedFolds(4, 3)
