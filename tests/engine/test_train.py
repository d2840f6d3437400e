"""Trainings: the same end whatever happens on the way."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tenfold.engine.schedule import one_cycle
from tenfold.engine.train import StepResult, Trained, fit_network
from tenfold.errors import RunError, TrainingError
from tenfold.events import EpochEnded, StepEnded
from tenfold.nn.network import build_network
from tenfold.recipe import Recipe
from tenfold.runs.folder import begin_run
from tenfold.values import MemoryPlan
from training import (
    SCHEMA,
    make_batches,
    make_encoding,
    make_examples,
    make_training,
    state_of,
)

RECIPE = Recipe(
    arch="test_convnext", weights="none", image_size=32, batch_size=16, epochs=2, frozen_epochs=1, seed=1
)
CPU = torch.device("cpu")


def changed(**values: object) -> Recipe:
    return Recipe(**{**RECIPE.model_dump(), **values})


def train(
    recipe: Recipe = RECIPE,
    *,
    rows: int = 40,
    micro_batch: int = 16,
    folder: Path | None = None,
    resume: bool = False,
    workers: int = 0,
    precision: str = "float32",
    on_progress: Any = None,
    identity: dict[str, Any] | None = None,
    valid: int = 10,
) -> tuple[dict[str, torch.Tensor], Trained]:
    encoding = make_encoding(recipe)
    network, _ = build_network(encoding, SCHEMA, recipe, fetch=False)
    run = begin_run(folder, resume=resume)[0] if folder is not None else None
    try:
        trained = fit_network(
            network,
            encoding,
            make_examples(rows, size=recipe.image_size[0]),
            train=np.arange(rows - valid),
            valid=np.arange(rows - valid, rows),
            recipe=recipe,
            plan=MemoryPlan(micro_batch=micro_batch, workers=workers),
            device=CPU,
            precision=precision,
            folder=run,
            identity=identity,
            on_progress=on_progress,
        )
    finally:
        if run is not None:
            run.close()
    return state_of(network), trained


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_training_learns() -> None:
    _, trained = train(changed(epochs=12, lr=1e-2, arch="test_resnet"), rows=120)
    last = trained.history[-1]
    assert last.valid["disease"]["error_rate"] <= 0.2
    assert [record.stage for record in trained.history] == ["head"] + ["all"] * 12
    assert last.rows == 110


def test_every_row_is_seen_once_an_epoch_also_when_they_fill_no_batch() -> None:
    _, trained = train(changed(batch_size=64), rows=40)
    assert trained.history[-1].steps == 3 and trained.history[-1].rows == 30
    training = make_training(RECIPE, micro_batch=16)
    seen = torch.cat([batch.rows for batch in make_batches(training, make_examples(37))])
    assert sorted(seen.tolist()) == list(range(37))
    later = torch.cat([batch.rows for batch in make_batches(training, make_examples(37), epoch=1)])
    assert sorted(later.tolist()) == list(range(37)) and later.tolist() != seen.tolist()


def test_same_seed_same_bytes_whatever_the_workers() -> None:
    whole, _ = train()
    for workers in (1, 3):
        assert same(whole, train(workers=workers)[0])
    assert not same(whole, train(changed(seed=2))[0])


def test_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    train(changed(mixup=0.4, augment="strong"))
    assert torch.equal(before, torch.get_rng_state())


class Stop(Exception):
    pass


@pytest.mark.parametrize("at", [1, 2, 3, 4, 5])
@pytest.mark.parametrize(
    "values", [{}, {"mixup": 0.4, "ema": 0.0, "arch": "test_resnet", "image_size": 64}], ids=str
)
def test_stopped_anywhere_it_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, values: dict
) -> None:
    # A checkpoint after every step: the training may be stopped between any two.
    monkeypatch.setattr("tenfold.engine.train.CHECKPOINT_SECONDS", -1.0)
    recipe = changed(**values)
    whole, trained = train(recipe)
    count = 0

    def stop(event: dict[str, Any]) -> None:
        nonlocal count
        count += isinstance(event, StepEnded)
        if count == at:
            raise Stop

    with pytest.raises(Stop):
        train(recipe, folder=tmp_path / "run", on_progress=stop)
    resumed, again = train(recipe, folder=tmp_path / "run", resume=True)
    assert same(whole, resumed)
    for one, other in zip(trained.history, again.history, strict=True):
        assert replace(one, seconds=0, peak_bytes=0) == replace(other, seconds=0, peak_bytes=0)


def test_another_training_is_not_gone_on_with(tmp_path: Path) -> None:
    with pytest.raises(Stop):
        train(folder=tmp_path / "run", identity={"batch_size": 16}, on_progress=_stop_after_epoch)
    with pytest.raises(RunError, match="batch_size: 16 -> 32"):
        train(folder=tmp_path / "run", resume=True, identity={"batch_size": 32})


def _stop_after_epoch(event: dict[str, Any]) -> None:
    if isinstance(event, StepEnded) and event.epoch == 1:
        raise Stop


@pytest.mark.parametrize("micro_batch", [16, 4, 1])
def test_rates_count_updates(micro_batch: int) -> None:
    rates: list[float] = []

    def note(event: dict[str, Any]) -> None:
        if isinstance(event, StepEnded):
            rates.append(event.rate)

    recipe = changed(epochs=3, frozen_epochs=0)
    train(recipe, rows=74, micro_batch=micro_batch, on_progress=note)
    assert len(rates) == 12
    assert rates == [recipe.lr * one_cycle(step, 12, warmup=recipe.warmup) for step in range(12)]
    assert rates[-1] == pytest.approx(recipe.lr * 1e-3)
    assert max(rates) == pytest.approx(recipe.lr)


def test_a_loss_that_is_not_finite_stops_the_training_at_once() -> None:
    steps = 0

    def note(event: dict[str, Any]) -> None:
        nonlocal steps
        steps += isinstance(event, StepEnded)

    with pytest.raises(TrainingError, match=r"not finite since epoch 1, update \d"):
        train(changed(lr=1e30, frozen_epochs=0, ema=0.0, clip_norm=0.0), on_progress=note)
    assert steps < 4


def test_later_the_last_good_epoch_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    import tenfold.engine.train as engine

    real = engine.train_step

    def spoilt(training: Any, batch: Any, step: int) -> StepResult:
        result = real(training, batch, step)
        return StepResult({"disease": math.nan}, math.nan, False) if step >= 5 else result

    monkeypatch.setattr(engine, "train_step", spoilt)
    state, trained = train(changed(epochs=6))
    assert "since epoch 3, update 6" in trained.stopped
    assert len(trained.history) == 2
    assert all(torch.isfinite(value).all() for value in state.values() if value.is_floating_point())


def spoil(monkeypatch: pytest.MonkeyPatch, *, after: int) -> None:
    """Let an update make all weights NaN, though its own loss and gradient were finite."""
    import tenfold.engine.step as engine

    average = engine.average_weights

    def spoilt(training: Any, step: int) -> None:
        if step == after:
            with torch.no_grad():
                training.network.last.weight.fill_(math.nan)
        average(training, step)

    monkeypatch.setattr(engine, "average_weights", spoilt)


@pytest.mark.parametrize("ema", [0.0, 0.9])
@pytest.mark.parametrize(("valid", "what"), [(10, "the validation loss is"), (0, "weights are")])
def test_weights_that_the_last_update_spoilt_are_not_kept(
    monkeypatch: pytest.MonkeyPatch, ema: float, valid: int, what: str
) -> None:
    recipe = changed(epochs=1, frozen_epochs=0, batch_size=64, ema=ema)
    spoil(monkeypatch, after=0)
    with pytest.raises(TrainingError, match=f"{what} not finite since epoch 1, update 1") as caught:
        train(recipe, valid=valid)
    assert "--lr" in caught.value.labels["fix"]


def test_the_good_epoch_is_kept_wherever_it_goes_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = []
    for after in (4, 5):  # seen by the next update's loss, or by the validation rows only
        spoil(monkeypatch, after=after)
        state, trained = train(changed(epochs=4))
        assert trained.stopped and len(trained.history) == 2
        ends.append(state)
    assert same(*ends)


def test_the_good_epoch_is_kept_through_a_stop_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tenfold.engine.train.CHECKPOINT_SECONDS", -1.0)
    spoil(monkeypatch, after=5)  # the last update of the third epoch
    whole, trained = train(changed(epochs=4))
    assert "since epoch 3, update 6" in trained.stopped and len(trained.history) == 2
    assert all(torch.isfinite(value).all() for value in whole.values() if value.is_floating_point())
    for at in (4, 5):  # after the second epoch, and in the middle of the third

        def stop(event: dict[str, Any], last: int = at) -> None:
            if isinstance(event, EpochEnded) and last == 4 and event.epoch == 1:
                raise Stop
            if isinstance(event, StepEnded) and event.epoch == 2 and last == 5:
                raise Stop

        with pytest.raises(Stop):
            train(changed(epochs=4), folder=tmp_path / "run", on_progress=stop)
        resumed, again = train(changed(epochs=4), folder=tmp_path / "run", resume=True)
        assert again.stopped == trained.stopped and same(whole, resumed)


def test_training_stops_for_want_of_a_gain_and_the_best_epoch_is_kept() -> None:
    # After the first epochs this rate only does harm.
    recipe = changed(epochs=12, patience=2, lr=0.03, ema=0.0, monitor="disease")
    state, trained = train(recipe)
    losses = [record.valid["disease"]["log_loss"] for record in trained.history]
    best = losses.index(min(losses))
    assert trained.kept == best and len(losses) == max(best + 1, 1) + 2 < 13
    assert any("stopped after epoch" in note for note in trained.notes)
    assert any(f"kept: epoch {best + 1}" in note for note in trained.notes)
    # The kept weights are that epoch's, and not the last ones.
    last, same_length = train(changed(**{**recipe.model_dump(), "keep": "last"}))
    assert same_length.kept == len(losses) - 1 and not same(state, last)


def test_patience_and_the_best_epoch_outlive_a_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tenfold.engine.train.CHECKPOINT_SECONDS", -1.0)
    recipe = changed(epochs=12, patience=2, lr=0.03, ema=0.9, task_weights="learned")
    whole, trained = train(recipe)
    assert 3 < len(trained.history) < 13
    for number, stop in enumerate((2, 7, len(trained.history) * 2 - 1)):
        left = [stop]

        def interrupt(event: dict[str, Any], left: list[int] = left) -> None:
            left[0] -= isinstance(event, StepEnded)
            if left[0] < 0:
                raise KeyboardInterrupt

        folder = tmp_path / str(number)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, folder=folder, on_progress=interrupt)
        resumed, again = train(recipe, folder=folder, resume=True)
        assert same(whole, resumed) and again.kept == trained.kept
        scores = [record.valid for record in trained.history]
        assert [record.valid for record in again.history] == scores
        assert [record.task_weights for record in again.history] == [
            record.task_weights for record in trained.history
        ]


def test_learnt_task_weights_move_and_are_reported() -> None:
    _, trained = train(changed(task_weights="learned", lr=0.01))
    first, last = trained.history[0].task_weights, trained.history[-1].task_weights
    assert set(last) == {"disease", "variety"} and first != last
    assert all(0 < weight < 10 for weight in last.values())
