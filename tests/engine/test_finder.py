"""The rate finder."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from tenfold.engine.batches import Batch
from tenfold.engine.finder import LEAST_STEPS, RateCurve, find_rate
from tenfold.engine.train import Training
from tenfold.errors import RecipeError, TrainingError
from tenfold.events import StepEnded
from tenfold.recipe import Recipe
from training import make_batches, make_examples, make_training, state_of

RECIPE = Recipe(
    arch="test_convnext", weights="none", image_size=32, batch_size=8, drop_path=0.1, augment="off", seed=1
)


def endless(training: Training, missing: float = 0.0) -> Iterator[Batch]:
    examples = make_examples(32, missing=missing)
    return itertools.chain.from_iterable(make_batches(training, examples, epoch=n) for n in itertools.count())


def curve_of(
    *,
    micro_batch: int = 8,
    steps: int = 25,
    missing: float = 0.0,
    precision: str = "float64",
    **values: object,
) -> tuple[RateCurve, Training]:
    recipe = Recipe(**{**RECIPE.model_dump(), **values})
    training = make_training(recipe, micro_batch=micro_batch, precision=precision)
    return find_rate(training, endless(training, missing), steps=steps), training


def test_rates_grow_evenly_and_the_loss_falls() -> None:
    curve, _ = curve_of()
    assert curve.rates[0] == 1e-6
    steps = [b / a for a, b in itertools.pairwise(curve.rates)]
    assert steps == pytest.approx([1e6 ** (1 / 24)] * len(steps))
    assert len(curve.rates) == len(curve.losses) and curve.stopped == curve.rates[-1]
    assert min(curve.losses) < curve.losses[0]
    place = curve.rates.index(curve.steepest)
    assert place <= curve.losses.index(min(curve.losses))
    assert curve.losses[place] < curve.losses[max(0, place - 3)]


def test_accumulation_does_not_change_the_curve() -> None:
    whole, _ = curve_of()
    cut, _ = curve_of(micro_batch=3)
    assert cut.rates == whole.rates and cut.losses == pytest.approx(whole.losses, rel=1e-6)


def test_weights_are_put_back() -> None:
    training = make_training(RECIPE, micro_batch=8)
    before = state_of(training.network)
    find_rate(training, endless(training), steps=12)
    after = state_of(training.network)
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_a_batch_without_labels_is_no_point_of_the_curve() -> None:
    training = make_training(RECIPE, micro_batch=8)
    batches, nothing = endless(training), endless(training, missing=1.0)
    mixed = itertools.chain.from_iterable(zip(batches, nothing, strict=False))
    curve = find_rate(training, mixed, steps=20)
    assert len(curve.rates) == 10
    # Two targets of 3 and 2 classes at random weights: never near 0, which an empty batch would count as.
    assert min(curve.losses) > 0.5


def test_it_stops_where_the_loss_has_grown_to_four_times_its_best() -> None:
    training = make_training(RECIPE, micro_batch=8)
    curve = find_rate(training, endless(training), steps=40, low=1e-4, high=1e6)
    assert len(curve.rates) < 40 and curve.stopped < 1e6
    assert all(math.isfinite(loss) for loss in curve.losses)
    assert 1e-4 <= curve.steepest < curve.stopped


def test_half_precision_may_leave_out_its_first_updates() -> None:
    training = make_training(RECIPE, micro_batch=8, precision="float16")
    training.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    curve = find_rate(training, endless(training), steps=40)
    assert 10 <= len(curve.rates) < 40 and all(math.isfinite(loss) for loss in curve.losses)


def test_every_step_is_told() -> None:
    told: list[Any] = []
    training = make_training(RECIPE, micro_batch=8)
    curve = find_rate(training, endless(training), steps=10, on_step=told.append)
    assert [event.rate for event in told] == list(curve.rates)
    assert [event.step for event in told] == list(range(1, 11))
    assert all(isinstance(event, StepEnded) for event in told) and set(told[0].losses) == {
        "disease",
        "variety",
    }


@pytest.mark.parametrize("steps", [-1, 0, 1, LEAST_STEPS - 1])
def test_too_few_steps_are_refused(steps: int) -> None:
    with pytest.raises(RecipeError, match=f"steps = {steps} show no curve"):
        curve_of(steps=steps)


def test_rows_without_any_label_are_refused() -> None:
    with pytest.raises(TrainingError, match="no step .* had a finite loss"):
        curve_of(steps=10, missing=1.0)
