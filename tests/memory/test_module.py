"""Plans of any PyTorch network against what a CPU is really asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import tenfold
from profiled import profiled_peak
from tenfold.errors import RecipeError

ROWS = 64


class Pairs(nn.Module):
    """Two inputs by keyword, as of a model of sentences."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.mix = nn.Embedding(500, 64), nn.TransformerEncoderLayer(64, 4, 128, batch_first=True)
        self.last = nn.Linear(64, 3)

    def forward(self, *, ids: Tensor, scale: Tensor) -> Tensor:
        return self.last(self.mix(self.words(ids)).mean(1) * scale[:, None])


class Peeks(nn.Module):
    """A network that decides by a value."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(32, 32)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) if float(x.sum()) > 1e9 else self.layer(self.layer(x))


def perceptron() -> tuple[nn.Module, Any, Any]:
    net = nn.Sequential(nn.Linear(300, 800), nn.ReLU(), nn.Linear(800, 400), nn.GELU(), nn.Linear(400, 10))
    return net, (torch.randn(ROWS, 300), torch.randint(10, (ROWS,))), F.cross_entropy


def pictures() -> tuple[nn.Module, Any, Any]:
    net = nn.Sequential(
        *(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        nn.Linear(32, 5),
    )
    weights = nn.CrossEntropyLoss(weight=torch.ones(5))
    return net, (torch.randn(ROWS, 3, 48, 48), torch.randint(5, (ROWS,))), weights


def sentences() -> tuple[nn.Module, Any, Any]:
    batch = {"ids": torch.randint(500, (ROWS, 24)), "scale": torch.rand(ROWS)}
    return Pairs(), (batch, torch.randint(3, (ROWS,))), F.cross_entropy


def measured(net: nn.Module, batch: Any, loss: Any, make: Callable[..., torch.optim.Optimizer]) -> int:
    """Bytes that a real step takes beside the weights, the batch and the optimizer's state."""
    optimizer = make(net.train().parameters())
    inputs, targets = batch

    def step() -> None:
        out = net(**inputs) if isinstance(inputs, dict) else net(inputs)
        loss(out, targets).backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    return profiled_peak(step)


def held(*tensors: Any) -> int:
    return sum(leaf.numel() * leaf.element_size() for leaf in torch.utils._pytree.tree_leaves(tensors))


@pytest.mark.parametrize("made", [perceptron, pictures, sentences])
@pytest.mark.parametrize("make", [torch.optim.AdamW, lambda p: torch.optim.SGD(p, lr=0.1)])
def test_a_plan_is_what_a_step_takes(made: Any, make: Callable[..., torch.optim.Optimizer]) -> None:
    net, batch, loss = made()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    plan = tenfold.plan_module(net, batch, loss, optimizer=make, budget="64GiB", device="cpu")
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in before.items())
    assert plan.fits_whole and (plan.micro_batch, plan.accumulation) == (ROWS, 1)
    state = 2 * held(list(net.parameters())) if make is torch.optim.AdamW else 0
    there = held(list(net.parameters()), list(net.buffers()), batch) + state
    taken = measured(net, batch, loss, make)
    assert plan.live_bytes - there == pytest.approx(taken, rel=0.02, abs=20_000)


def test_the_cut_follows_the_budget_and_every_cut_that_is_taken_fits() -> None:
    net, batch, loss = perceptron()
    wanted: dict[str, Any] = {"device": "cpu", "batch_size": 65536}
    whole = tenfold.plan_module(net, batch, loss, budget="64GiB", **wanted)
    row = tenfold.plan_module(net, batch, loss, budget="64GiB", micro_batch=1, **wanted)
    tight = (whole.band_bytes[1] + row.band_bytes[1]) // 2
    plan = tenfold.plan_module(net, batch, loss, budget=tight, **wanted)
    assert plan.fits and not plan.fits_whole and plan.accumulation > 1
    assert plan.band_bytes[1] <= tight < whole.band_bytes[1]
    assert "Plan of Sequential, float32 on cpu: batch 65536 = " in repr(plan)
    assert row.micro_batch == 1 and row.live_bytes < plan.live_bytes < whole.live_bytes
    norms = tenfold.plan_module(*pictures(), budget="64GiB", device="cpu", micro_batch=16)
    assert any("1 BatchNorm layers see 16 rows at a time" in note for note in norms.notes)


def test_half_precision_saves_on_a_card_that_is_not_there() -> None:
    net, batch, loss = perceptron()
    full, half = (
        tenfold.plan_module(net, batch, loss, budget="T4", batch_size=4096, precision=precision)
        for precision in ("float32", "float16")
    )
    assert half.parts["activations"] < 0.8 * full.parts["activations"]


def test_what_a_plan_cannot_know_is_said() -> None:
    plan = tenfold.plan_module(Peeks(), torch.ones(8, 32), lambda out, _: out.sum(), device="cpu")
    assert any("reads values of tensors" in note for note in plan.notes)
    net, batch, loss = perceptron()
    assert not any("values" in note for note in tenfold.plan_module(net, batch, loss, device="cpu").notes)


@pytest.mark.parametrize(
    ("batch", "loss", "said"),
    [
        ((torch.ones(4, 300), torch.zeros(3)), F.mse_loss, "no common number of rows"),
        ("words", F.mse_loss, "no common number of rows"),
        ((torch.ones(4, 300), torch.zeros(4, 10)), lambda a, b: a - b, "the loss is no scalar"),
        ((torch.ones(4, 299), torch.zeros(4, 10)), F.mse_loss, "Sequential cannot be planned"),
    ],
)
def test_what_has_no_plan_is_refused(batch: object, loss: Any, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        tenfold.plan_module(perceptron()[0], batch, loss, device="cpu")
