"""Checkpoints: everything that decides a training's future, and nothing that can run code."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError

from tenfold.engine.checkpoint import (
    Progress,
    Unfinished,
    peek_checkpoint,
    restore_checkpoint,
    save_checkpoint,
    tensors_under,
    to_array,
)
from tenfold.engine.optim import OPTIMIZERS
from tenfold.engine.train import Training, train_step
from tenfold.errors import RunError
from tenfold.events import EpochEnded
from tenfold.recipe import Recipe
from tenfold.runs.folder import RunFolder, begin_run
from training import make_batches, make_examples, make_training, state_of

RECIPE = Recipe(
    arch="test_resnet", weights="none", image_size=32, batch_size=8, batchnorm_group=4, drop_path=0.1, seed=1
)
OTHER_SEED = Recipe(**{**RECIPE.model_dump(), "seed": 99})
IDENTITY = {"recipe": {"lr": 0.1, "seed": 1}, "data": "abc"}


@pytest.fixture
def folder(tmp_path: Path):
    opened, _ = begin_run(tmp_path / "run")
    yield opened
    opened.close()


def stepped(training: Training, steps: range) -> None:
    training.network.train()
    batches = make_batches(training, make_examples(32))
    for step in steps:
        train_step(training, batches[step], step)


def save(folder: RunFolder, training: Training, **values: Any) -> None:
    progress, identity = values.pop("progress", Progress()), values.pop("identity", IDENTITY)
    save_checkpoint(folder, progress, training, identity, **values)


def peek(folder: RunFolder) -> Unfinished:
    return peek_checkpoint(folder, IDENTITY) or pytest.fail("no checkpoint")


def test_progress_is_json() -> None:
    progress = Progress(epoch=3, step=7, totals={"a": [1.0, 2]})
    assert Progress(**json.loads(json.dumps(vars(progress)))) == progress


@pytest.mark.parametrize("precision", ["float64", "float32", "float16"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_restored_training_takes_the_same_steps(folder: RunFolder, precision: str, optimizer: str) -> None:
    recipe = Recipe(**{**RECIPE.model_dump(), "optimizer": optimizer})
    whole = make_training(recipe, micro_batch=8, precision=precision)
    # Half precision leaves out its first updates, until its scale is low enough.
    whole.scaler = torch.amp.GradScaler("cpu", init_scale=16.0, enabled=whole.scaler.is_enabled())
    stepped(whole, range(2))
    epoch = EpochEnded(0, "all", 3, 9, 0.1, 8, 0, {}, {}, {}, 7, 1.5, epoch_steps=3, updates=2)
    totals = {"disease": [1.25, 2]}
    progress = Progress(epoch=1, step=2, epoch_step=2, totals=totals, micro_batch=8, history=[epoch])
    save(folder, whole, progress=progress)
    stepped(whole, range(2, 4))

    found = peek(folder)
    assert found.progress == progress
    again = make_training(Recipe(**{**recipe.model_dump(), "seed": 99}), micro_batch=8, precision=precision)
    again.recipe, again.network.context.seed = recipe, recipe.seed
    restore_checkpoint(found, again, without_optimizer=False)
    assert again.scaler.state_dict() == found.scaler
    stepped(again, range(2, 4))
    assert whole.averaged is not None and again.averaged is not None
    averaged = whole.averaged.state, again.averaged.state
    for one, two in ((state_of(whole.network), state_of(again.network)), averaged):
        assert all(torch.equal(value, two[name]) for name, value in one.items())


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_memory_layout_follows_the_parameter(folder: RunFolder, optimizer: str) -> None:
    recipe = Recipe(**{**RECIPE.model_dump(), "optimizer": optimizer})
    training = make_training(recipe, micro_batch=8)
    stepped(training, range(1))
    save(folder, training)
    again = make_training(recipe, micro_batch=8)
    restore_checkpoint(peek(folder), again, without_optimizer=False)
    for parameter in again.network.parameters():
        wide = [value for value in again.optimizer.state[parameter].values() if value.ndim]
        assert wide and all(value.stride() == parameter.stride() for value in wide)


def test_a_new_optimizer_starts_afresh_where_none_is_restored(folder: RunFolder) -> None:
    training = make_training(RECIPE, micro_batch=8)
    stepped(training, range(1))
    save(folder, training)
    again = make_training(OTHER_SEED, micro_batch=8)
    restore_checkpoint(peek(folder), again, without_optimizer=True)
    assert not again.optimizer.state_dict()["state"]
    restored = state_of(again.network)
    assert all(torch.equal(value, restored[name]) for name, value in state_of(training.network).items())


def test_good_weights_are_kept_beside_the_own(folder: RunFolder) -> None:
    training = make_training(RECIPE, micro_batch=8)
    good = {name: value + 1 for name, value in training.network.state_dict().items()}
    save(folder, training, good=good)
    arrays = (peek_checkpoint(folder, IDENTITY) or pytest.fail("no checkpoint")).arrays
    kept = tensors_under(arrays, "good/")
    assert kept.keys() == good.keys() and all(torch.equal(kept[name], value) for name, value in good.items())


def test_where_nothing_was_begun_there_is_nothing(folder: RunFolder) -> None:
    assert peek_checkpoint(folder, IDENTITY) is None


@pytest.mark.parametrize(
    ("identity", "words"),
    [
        ({**IDENTITY, "data": "abd"}, 'data: "abc" -> "abd"'),
        ({**IDENTITY, "recipe": {"lr": 0.1, "seed": 2}}, "recipe.seed: 1 -> 2"),
        ({"recipe": IDENTITY["recipe"]}, 'data: "abc" -> null'),
        ({}, "data"),
    ],
)
def test_another_training_is_refused_by_what_differs(folder: RunFolder, identity: dict, words: str) -> None:
    save(folder, make_training(RECIPE, micro_batch=8))
    with pytest.raises(RunError) as caught:
        peek_checkpoint(folder, identity)
    assert words in str(caught.value) and "--resume" in caught.value.labels["fix"]


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.mkdir, (self.path,)


@pytest.mark.parametrize("kind", ["pickle", "half", "empty", "torch"])
def test_a_file_that_is_no_checkpoint_is_refused_and_runs_nothing(
    folder: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    save(folder, make_training(RECIPE, micro_batch=8))
    file = folder.file("checkpoint.safetensors")
    if kind == "torch":
        torch.save({"w": Trap(tmp_path / "ran")}, file)
    else:
        whole = file.read_bytes()
        file.write_bytes(
            {"pickle": pickle.dumps(Trap(tmp_path / "ran")), "half": whole[: len(whole) // 2], "empty": b""}[
                kind
            ]
        )
    with pytest.raises(RunError, match="damaged, or is not a tensor file"):
        peek_checkpoint(folder, IDENTITY)
    assert not (tmp_path / "ran").exists()


def test_the_old_checkpoint_stays_until_the_new_one_is_whole(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = make_training(RECIPE, micro_batch=8)
    save(folder, training, progress=Progress(step=1))

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    def full_too(*_: Any, **__: Any) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    for name, fails in (("os.fsync", full), ("save_file", full_too)):
        monkeypatch.setattr(f"tenfold.runs.folder.{name}", fails)
        with pytest.raises(RunError, match="No space left"):
            save(folder, training, progress=Progress(step=2))
        monkeypatch.undo()
    found = peek_checkpoint(folder, IDENTITY)
    assert found is not None and found.progress.step == 1
    assert sorted(path.name for path in folder.path.iterdir()) == ["checkpoint.safetensors", "lock"]


def test_arrays_are_whole_whatever_the_layout() -> None:
    value = (
        torch.arange(24.0).reshape(1, 2, 3, 4).contiguous(memory_format=torch.channels_last).requires_grad_()
    )
    assert to_array(value).flags.c_contiguous and to_array(value).tolist() == value.tolist()
    assert to_array(torch.tensor(3)).shape == ()
    arrays = {"a/x": to_array(value), "a/b/c": to_array(torch.tensor(3)), "b/x": to_array(torch.zeros(1))}
    found = tensors_under(arrays, "a/")
    assert set(found) == {"x", "b/c"} and torch.equal(found["x"], value.detach())
