"""One step: the same whatever memory it meets, and nothing where nothing is known."""

from __future__ import annotations

import math
import weakref
from typing import Any

import pytest
import torch

from tenfold.engine.step import train_step
from tenfold.errors import MemoryBudgetError
from tenfold.recipe import Recipe
from training import make_batches, make_examples, make_training, state_of

RECIPE = Recipe(
    arch="test_convnext",
    weights="none",
    image_size=32,
    batch_size=16,
    epochs=2,
    frozen_epochs=1,
    seed=1,
    ema=0.0,
)


def changed(**values: object) -> Recipe:
    return Recipe(**{**RECIPE.model_dump(), **values})


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


class Greedy(torch.nn.Module):
    """Runs out of memory above a number of rows, and keeps a weak eye on what it had taken."""

    def __init__(self, inner: torch.nn.Module, most: int, where: str) -> None:
        super().__init__()
        self.inner, self.most, self.where = inner, most, where
        self.taken: list[weakref.ref] = []
        self.failures = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.inner(x)
        if len(x) > self.most:
            big = torch.zeros(1000, 1000)
            self.taken.append(weakref.ref(big))
            self.failures += 1
            if self.where == "forward":
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB.")

            def fail(gradient: torch.Tensor, held: torch.Tensor = big) -> None:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB.")

            out.register_hook(fail)
        return out


@pytest.mark.parametrize("where", ["forward", "backward"])
@pytest.mark.parametrize("arch", ["test_convnext", "test_resnet"])
def test_out_of_memory_takes_the_same_step_again(where: str, arch: str) -> None:
    recipe = changed(arch=arch, image_size=64, batch_size=32, batchnorm_group=8)
    examples = make_examples(64, size=64, missing=0.3)

    def run(micro_batch: int, most: int) -> tuple[dict, Any, Greedy]:
        training = make_training(recipe, micro_batch=micro_batch)
        greedy = Greedy(training.network.encoders["image0"], most, where)
        training.network.encoders["image0"] = greedy
        training.network.train()
        for step, batch in enumerate(make_batches(training, examples)):
            train_step(training, batch, step)
        return state_of(training.network), training, greedy

    failed, training, greedy = run(32, 8)
    smooth, _, _ = run(8, 8)
    assert training.micro_batch == 8 and greedy.failures == 2
    assert all(one() is None for one in greedy.taken)
    assert same(failed, smooth)
    assert len(training.notes) == 2 and "16 rows" in training.notes[0] and "8 rows" in training.notes[1]


def test_out_of_memory_in_the_optimizer_takes_the_same_step_again() -> None:
    examples = make_examples(32)
    smooth = make_training(RECIPE, micro_batch=8)
    failing = make_training(RECIPE, micro_batch=16)
    step_of, fails = failing.optimizer.step, [True]

    def step(*args: Any, **options: Any) -> Any:
        if fails.pop() if fails else False:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return step_of(*args, **options)

    failing.optimizer.step = step  # type: ignore[method-assign]
    for training in (smooth, failing):
        training.network.train()
        for number, batch in enumerate(make_batches(training, examples)):
            train_step(training, batch, number)
    assert failing.micro_batch == 8
    assert same(state_of(smooth.network), state_of(failing.network))


def test_out_of_memory_with_the_smallest_micro_batch_says_what_to_do() -> None:
    training = make_training(RECIPE, micro_batch=16)
    training.network.encoders["image0"] = Greedy(training.network.encoders["image0"], 0, "forward")
    before = state_of(training.network)
    with pytest.raises(MemoryBudgetError, match="1 rows"):
        train_step(training, make_batches(training, make_examples(16))[0], 0)
    assert same(before, state_of(training.network))


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("head_only", [False, True])
def test_a_batch_without_any_label_moves_nothing(precision: str, head_only: bool) -> None:
    training = make_training(changed(weight_decay=0.5), micro_batch=4, precision=precision)
    training.head_only = head_only
    training.network.train()
    before, scale = state_of(training.network), training.scaler.get_scale()
    result = train_step(training, make_batches(training, make_examples(16, missing=1.0))[0], 0)
    assert result.updated and result.norm == 0 and all(map(math.isnan, result.losses.values()))
    assert same(before, state_of(training.network)) and training.scaler.get_scale() == scale
    assert train_step(training, make_batches(training, make_examples(16))[0], 1).updated
    assert not same(before, state_of(training.network))


def test_half_precision_skips_the_whole_update_and_says_so() -> None:
    training = make_training(changed(clip_norm=1.0), micro_batch=4, precision="float16")
    training.network.train()
    batch = make_batches(training, make_examples(16))[0]
    before = state_of(training.network)
    assert training.scaler.get_scale() == 1024
    handle = training.network.last.weight.register_hook(lambda gradient: gradient * math.inf)
    result = train_step(training, batch, 0)
    handle.remove()
    assert not result.updated and same(before, state_of(training.network))
    assert training.scaler.get_scale() == 512
    # The scale is halved until the gradient fits; the reported loss is the unscaled one all the while.
    again = next(one for one in (train_step(training, batch, 0) for _ in range(16)) if one.updated)
    assert not same(before, state_of(training.network))
    assert again.losses == pytest.approx(result.losses, rel=1e-3)
    assert math.isfinite(again.norm)
