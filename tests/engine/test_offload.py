"""The optimizer's state in the host's memory: the same weights, to the bit, whatever comes between."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tenfold.engine import offload, undo
from tenfold.engine.checkpoint import Progress, peek_checkpoint, restore_checkpoint, save_checkpoint
from tenfold.engine.offload import OffloadedOptimizer, host_copy, in_pieces, on_device
from tenfold.engine.optim import OPTIMIZERS, swapped_weights
from tenfold.engine.step import Training, train_step
from tenfold.recipe import Recipe
from tenfold.runs.folder import begin_run
from training import make_batches, make_examples, make_training, state_of

RECIPE = Recipe(
    arch="test_resnet", weights="none", image_size=32, batch_size=8, batchnorm_group=4, drop_path=0.1, seed=1
)


@pytest.fixture(autouse=True)
def everything_in_small_pieces(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(offload, "LEAST_BYTES", 64)
    monkeypatch.setattr(offload, "PIECE_BYTES", 4096)
    yield


def recipe_of(optimizer: str) -> Recipe:
    return Recipe(**{**RECIPE.model_dump(), "optimizer": optimizer})


def stepped(training: Training, steps: range) -> Training:
    training.network.train()
    batches = make_batches(training, make_examples(32))
    for step in steps:
        train_step(training, batches[step], step)
    return training


def check_equal(one: Training, other: Training) -> None:
    averaged = [each.averaged.state for each in (one, other) if each.averaged is not None]
    for first, second in ((state_of(one.network), state_of(other.network)), averaged):
        assert all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_weights_are_the_same_to_the_bit(optimizer: str, precision: str) -> None:
    plain, away = (
        stepped(
            make_training(recipe_of(optimizer), micro_batch=4, precision=precision, offload=there), range(4)
        )
        for there in (False, True)
    )
    assert isinstance(away.optimizer, OffloadedOptimizer)
    pieces = [list(in_pieces(group["params"])) for group in away.optimizer.param_groups]
    assert max(map(len, pieces)) > 2
    check_equal(plain, away)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("first", [False, True])
def test_a_training_goes_on_with_it_or_without(tmp_path: Path, optimizer: str, first: bool) -> None:
    recipe, identity = recipe_of(optimizer), {"recipe": optimizer}
    whole = stepped(make_training(recipe, micro_batch=8, precision="float32"), range(4))
    begun = stepped(make_training(recipe, micro_batch=8, precision="float32", offload=first), range(2))
    folder, _ = begin_run(tmp_path / "run")
    save_checkpoint(folder, Progress(), begun, identity)
    again = make_training(recipe, micro_batch=8, precision="float32", offload=not first)
    found = peek_checkpoint(folder, identity)
    assert found is not None
    restore_checkpoint(found, again, without_optimizer=False)
    check_equal(whole, stepped(again, range(2, 4)))
    folder.close()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_memory_that_runs_out_between_two_pieces_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    smooth = stepped(make_training(recipe_of(optimizer), micro_batch=8, offload=True), range(4))
    failing = make_training(recipe_of(optimizer), micro_batch=8, offload=True)
    inner = failing.optimizer._optimizer  # type: ignore[attr-defined]
    updates, step = [0], inner.step

    def short() -> None:
        updates[0] += 1
        if updates[0] == 40:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        step()

    monkeypatch.setattr(inner, "step", short)
    stepped(failing, range(4))
    assert updates[0] > 80 and len(failing.notes) == 1
    pairs = zip(state_of(smooth.network).values(), state_of(failing.network).values(), strict=True)
    # In double precision: a step that was taken twice would be off by whole learning rates.
    assert max(float((one - other).abs().max()) for one, other in pairs) < 1e-9


def test_an_average_visits_and_the_weights_come_back() -> None:
    training = stepped(make_training(RECIPE, micro_batch=8, offload=True), range(2))
    assert training.averaged is not None
    before = state_of(training.network)
    with swapped_weights(training.network, training.averaged):
        inside = state_of(training.network)
        assert all(torch.equal(value, inside[name]) for name, value in training.averaged.state.items())
    assert all(torch.equal(value, before[name]) for name, value in state_of(training.network).items())


def test_what_a_block_changes_is_kept_and_small_tensors_stay() -> None:
    large, small = host_copy(torch.arange(32.0).reshape(4, 8).T), torch.zeros(3)
    with on_device([large, small], torch.device("cpu")) as there:
        assert there[0].data_ptr() != large.data_ptr() and there[1] is small
        assert there[0].stride() == large.stride()
        for each in there:
            each += 1
    assert float(large.sum()) == sum(range(32)) + 32 and float(small.sum()) == 3


def test_pieces_cover_everything_once_and_a_large_tensor_is_alone() -> None:
    tensors = [torch.zeros(size) for size in (500, 500, 100, 5000, 1, 1)]
    pieces = list(in_pieces(tensors))
    assert [number for piece in pieces for number in range(6)[piece]] == list(range(6))
    assert pieces == [slice(0, 2), slice(2, 3), slice(3, 4), slice(4, 6)]
    assert list(in_pieces([])) == []


def test_the_largest_piece_is_what_an_update_needs() -> None:
    training = make_training(RECIPE, micro_batch=8, offload=True)
    assert isinstance(training.optimizer, OffloadedOptimizer)
    assert training.optimizer.largest_piece() == []
    for parameter in training.network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    sizes = [p.numel() * p.element_size() for p in training.optimizer.largest_piece()]
    trained = sum(p.numel() * p.element_size() for p in training.network.parameters())
    assert 4096 // 2 < sum(sizes) < trained // 2
    assert undo.keep_undo(training.optimizer) is not None
