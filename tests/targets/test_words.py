"""Kinds and scores in words."""

from __future__ import annotations

import math
import re

import pytest

from tenfold.schema import TARGET_KINDS
from tenfold.targets import words
from tenfold.targets.kinds import KINDS


def test_every_score_of_every_kind_has_a_heading() -> None:
    for kind in KINDS.values():
        assert set(kind.score_names) <= set(words.HEADINGS)
    listed = {*words.EPOCH, *words.SHORT, *words.MEMBERS, *words.LOSSES, *words.FRACTIONS, *words.ERRORS}
    assert listed <= set(words.HEADINGS) and set(words.BESIDE_MEAN.values()) <= set(words.HEADINGS)


def test_help_names_every_kind_that_a_target_can_be_given() -> None:
    named = {re.sub(r"\[.*", "", word) for word in words.KIND_WORDS.split(", ")}
    assert named == set(TARGET_KINDS)


@pytest.mark.parametrize(
    ("scores", "word", "value"),
    [
        ({"error_rate": 0.25, "log_loss": 1.0}, "error rate", 0.25),
        ({"micro_f1": 0.75}, "F1", 0.25),
        ({"rmse": 1.0, "mean_rmse": 4.0}, "RMSE of the mean's", 0.25),
        ({"rmse": 0.25}, "RMSE", 0.25),
        ({"rmse": math.nan}, "", None),
    ],
)
def test_one_score_stands_for_a_target(scores: dict[str, float], word: str, value: float | None) -> None:
    assert words.primary_score(scores) == (word, value)
