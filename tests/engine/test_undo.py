"""An update that ran out of memory half-way is taken back whole."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from tenfold.engine import undo
from tenfold.engine.optim import OPTIMIZERS
from tenfold.engine.step import Training, train_step
from tenfold.engine.undo import Undo, keep_undo
from tenfold.recipe import Recipe
from training import largest_difference, make_batches, make_examples, make_training, state_of

RECIPE = Recipe(arch="test_convnext", weights="none", image_size=32, batch_size=16, seed=1)


def half_way(
    optimizer: torch.optim.Optimizer, step: Callable[[], object], fails_at: int
) -> Callable[..., object]:
    """A step that, at one call, moves all parameters and their state, then runs out of memory."""
    calls = [0]

    def run(*args: object, **options: object) -> object:
        calls[0] += 1
        if calls[0] != fails_at:
            return step(*args, **options)
        step()
        raise torch.OutOfMemoryError("CUDA out of memory.")

    return run


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("fails_at", [1, 3])
def test_every_optimizer_takes_the_same_step_again(optimizer: str, fails_at: int) -> None:
    recipe = Recipe(**{**RECIPE.model_dump(), "optimizer": optimizer})
    states = []
    for at in (fails_at, 99):
        training = make_training(recipe, micro_batch=16)
        step = half_way(training.optimizer, training.optimizer.step, at)
        training.optimizer.step = step  # type: ignore[method-assign]
        training.network.train()
        for number, batch in enumerate(make_batches(training, make_examples(64))):
            assert train_step(training, batch, number).updated
        assert training.micro_batch == (8 if at == fails_at else 16)
        states.append(state_of(training.network))
    # In double precision whole and halved batches agree: a step taken twice would be off by far more.
    assert largest_difference(*states) < 1e-9


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("fails_at", [1, 2, 4])
def test_a_half_done_update_takes_the_same_step_again(fails_at: int, precision: str) -> None:
    examples = make_examples(64)

    def run(training: Training) -> dict[str, torch.Tensor]:
        training.network.train()
        for number, batch in enumerate(make_batches(training, examples)):
            assert train_step(training, batch, number).updated
        return state_of(training.network)

    failing = make_training(RECIPE, micro_batch=16, precision=precision)
    optimizer = failing.optimizer
    optimizer.step = half_way(optimizer, optimizer.step, fails_at)  # type: ignore[method-assign]
    if precision == "float16":
        failing.scaler = torch.amp.GradScaler("cpu", init_scale=16.0)
    found = run(failing)
    assert failing.micro_batch == 8 and len(failing.notes) == 1

    smooth = make_training(RECIPE, micro_batch=16, precision=precision)
    if precision == "float16":
        smooth.scaler = torch.amp.GradScaler("cpu", init_scale=16.0)
    wanted = run(smooth)
    # Whole and halved agree to round-off; a step that was taken twice would be off by whole learning rates.
    tolerance = 1e-4 if precision == "float32" else 3e-3
    assert max(float((wanted[name].float() - found[name].float()).abs().max()) for name in wanted) < tolerance
    assert [float(optimizer.state[p]["step"]) for p in optimizer.state] == [4.0] * len(optimizer.state)
    if precision == "float16":
        assert failing.scaler.get_scale() == smooth.scaler.get_scale()


def test_state_that_was_not_there_is_gone_again() -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([weight], lr=0.1)
    weight.grad = torch.ones(3)
    kept = Undo(optimizer)
    optimizer.step()
    assert not torch.equal(weight, torch.ones(3)) and optimizer.state
    kept.take_back()
    assert torch.equal(weight, torch.ones(3)) and not optimizer.state


def test_a_large_copy_is_kept_only_where_memory_is_scarce(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = torch.nn.Parameter(torch.ones(100))
    optimizer = torch.optim.AdamW([weight], lr=0.1)
    assert keep_undo(optimizer) is not None
    weight.grad = torch.ones(100)
    monkeypatch.setattr(undo, "SMALL_COPY", 10)
    assert keep_undo(optimizer) is None
