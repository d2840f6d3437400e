"""Runs of ratings as one: what is refused, and how known users and items are told."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tenfold.errors import RunError
from tenfold.jobs.ratingsblend import RatingsBlend, ratings_blend_of
from tenfold.values import PairPredictions


def run_of(score: float, known: bool, *, implicit: bool = False, scale: tuple[float, float] = (1, 5)) -> Any:
    found = PairPredictions(
        np.array(["u"], dtype=object),
        np.array(["i"], dtype=object),
        np.array([score], dtype=np.float32),
        np.array([1.0], dtype=np.float32),
        np.array([known]),
        np.array([known]),
        np.array(["rated" if known else "unknown"], dtype=object),
        ("note",),
    )
    return SimpleNamespace(
        about={"kind": "ratings"},
        model=SimpleNamespace(implicit=implicit, scale=scale),
        predict_pairs=lambda users, items: found,
    )


def blend(*runs: Any, weights: tuple[float, ...] = (1.0, 1.0)) -> RatingsBlend:
    return ratings_blend_of(Path("b"), ["one", "two"], weights, runs, {})


def test_mean_and_deviation_are_those_of_the_mixture() -> None:
    found = blend(run_of(2.0, False), run_of(4.0, True)).predict_pairs(["u"], ["i"])
    assert found.score[0] == 3.0 and found.deviation[0] == pytest.approx(np.sqrt(2.0))
    assert found.known_user[0] and found.known_item[0] and found.item_state[0] == "rated"
    assert found.notes == ("note",)
    assert blend(run_of(2.0, True), run_of(4.0, True), weights=(3, 1)).predict_pairs("u", "i").score[0] == 2.5


def test_kinds_and_scales_are_compared() -> None:
    with pytest.raises(RunError) as caught:
        blend(run_of(1, True), run_of(1, True, scale=(0, 10)))
    assert "two rates from 0 to 10" in str(caught.value)
    with pytest.raises(RunError, match="cannot be blended"):
        blend(run_of(1, True), run_of(1, True, implicit=True))


def test_networks_are_named_and_refused() -> None:
    other = run_of(1, True)
    other.about = {"kind": "pairs"}
    with pytest.raises(RunError, match="cannot be blended") as caught:
        blend(run_of(1, True), other)
    assert "two is a network" in str(caught.value) and "one is" not in str(caught.value)


def test_what_a_blend_has_not() -> None:
    one = blend(run_of(1, True), run_of(1, True))
    with pytest.raises(RunError, match="factors of their own"):
        one.similar()
    with pytest.raises(RunError, match="not scored"):
        one.evaluate("t.csv", n=5)
    with pytest.raises(RunError, match="asked of the members"):
        one.predict("t.csv", members=True)
