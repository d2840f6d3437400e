"""Which epoch is the best."""

from __future__ import annotations

import math

import pytest

from tenfold.engine.monitor import check_monitor, is_gain, monitored
from tenfold.errors import RecipeError
from tenfold.nn.heads import CategoryHead, NumberHead
from tenfold.recipe import Recipe
from tenfold.schema import CategoryTarget, NumberTarget
from tenfold.targets.base import TargetStats

HEADS = (
    CategoryHead(CategoryTarget(name="label"), ("a", "b")),
    NumberHead(NumberTarget(name="price"), (), TargetStats(deviation=2.0)),
)
SCORES = {
    "label": {"log_loss": 0.4, "error_rate": 0.25, "macro_f1": 0.7},
    "price": {"rmse": 3.0, "r2": -1.25},
}


@pytest.mark.parametrize(
    ("monitor", "value"),
    [
        ("mean", (0.4 + 2.25) / 2),
        ("label", 0.4),
        ("price", 2.25),
        ("label:error_rate", 0.25),
        ("label:macro_f1", -0.7),
        ("price:r2", 1.25),
    ],
)
def test_one_figure_stands_for_an_epoch(monitor: str, value: float) -> None:
    assert monitored(Recipe(monitor=monitor), HEADS, SCORES) == pytest.approx(value)
    check_monitor(Recipe(monitor=monitor, patience=1), HEADS, 10)


def test_targets_without_labels_are_left_out_of_the_mean() -> None:
    scores = {**SCORES, "price": {"rmse": math.nan, "r2": math.nan}}
    assert monitored(Recipe(), HEADS, scores) == 0.4
    scores["label"] = {"log_loss": math.nan}
    assert math.isnan(monitored(Recipe(), HEADS, scores))


def test_nan_is_never_a_gain() -> None:
    assert is_gain(0.5, None) and is_gain(0.4, 0.5) and not is_gain(0.5, 0.5)
    assert not is_gain(math.nan, None) and not is_gain(math.nan, 0.5) and not is_gain(math.inf, None)
    spoilt = {"rmse": math.nan, "r2": math.nan, "unscored": 3}
    assert math.isinf(monitored(Recipe(monitor="price"), HEADS, {**SCORES, "price": spoilt}))


@pytest.mark.parametrize(
    ("values", "rows", "words", "fix"),
    [
        ({"monitor": "lable"}, 5, "monitor names 'lable', which is not a target", "did you mean 'label'?"),
        (
            {"monitor": "label:error"},
            5,
            "which is not a score of 'label'",
            "did you mean 'error_rate'?",
        ),
        ({"patience": 2}, 0, "patience needs validation rows", "--valid"),
        ({"keep": "best"}, 0, "keep = 'best' needs validation rows", "--valid"),
        ({"calibrate_probabilities": True}, 0, "calibrate_probabilities needs", "--valid"),
    ],
)
def test_what_cannot_be_watched_is_refused(values: dict, rows: int, words: str, fix: str) -> None:
    with pytest.raises(RecipeError) as caught:
        check_monitor(Recipe(**values), HEADS, rows)
    assert words in str(caught.value) and fix in caught.value.labels["fix"]
