"""What a plan traces is this project's own training, step by step."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch

from tenfold.engine import step as engine_step
from tenfold.engine.optim import OPTIMIZERS
from tenfold.engine.step import train_step
from tenfold.errors import RecipeError
from tenfold.memory.phases import Phases
from tenfold.memory.training import NetworkTraining, first_line
from tenfold.nn.encoders import build_backbone, feature_width
from tenfold.nn.exact import group_sizes
from tenfold.nn.network import Network
from tenfold.recipe import Recipe
from training import make_batches, make_examples, make_training


def traced(network: Any = "test_resnet", **values: Any) -> NetworkTraining:
    own = {name: values.pop(name) for name in ("precision", "checkpoint", "evaluated") if name in values}
    recipe = Recipe(**{"image_size": (64, 64), **values})
    return NetworkTraining(network, recipe, **{"precision": "float32", "classes": 5, **own})


def begun(network: Any = "test_resnet", **values: Any) -> NetworkTraining:
    """On real tensors: what is traced with fakes must be a real training."""
    training = traced(network, **values)
    training.begin(training.network.train(), "cpu")
    return training


def test_the_network_is_the_one_that_would_be_trained() -> None:
    network = traced().network
    assert isinstance(network, Network) and network.last.out_features == 5
    real = build_backbone("test_resnet", image_size=(64, 64))
    assert network.last.in_features == feature_width(real, "test_resnet", (64, 64))
    shapes = {name: tuple(p.shape) for name, p in real.named_parameters()}
    found = {name: tuple(p.shape) for name, p in network.encoders["image0"].named_parameters()}
    assert found == shapes


def test_batchnorm_groups_decide_the_cut() -> None:
    grouped = traced(batchnorm_group=8)
    assert grouped.grouped and grouped.groups(20) == group_sizes(20, 8)
    assert grouped.structure(16) == grouped.structure(14) != grouped.structure(24)
    frozen = traced(batchnorm_group="frozen")
    assert not frozen.grouped and frozen.groups(3) == (1, 1, 1)
    assert not traced("test_convnext").grouped


def test_a_step_runs_and_has_a_gradient_for_every_weight() -> None:
    training = begun(timm.create_model("test_convnext", num_classes=5))
    network = training.network
    given = training.slices(4)
    given[0].inputs["image0"].uniform_(generator=torch.Generator().manual_seed(0))
    loss = training.forward(given, 4)
    loss.backward()
    assert torch.isfinite(loss) and all(p.grad is not None for p in network.parameters())
    before = [parameter.detach().clone() for parameter in network.parameters()]
    training.update()()
    assert not all(map(torch.equal, before, network.parameters()))


def test_a_batch_is_stored_augmented_and_normalised() -> None:
    batch, _ = begun().prepare(4)
    images = batch.inputs["image0"]
    assert images.shape == (4, 3, 64, 64) and len(batch.rows) == 4
    assert images.is_contiguous(memory_format=torch.channels_last)


def test_refusals_come_in_words() -> None:
    with pytest.raises(RecipeError, match="refuses 33x33"):
        traced("test_vit", image_size=(33, 33))
    with pytest.raises(RecipeError, match="cannot recompute"):
        begun(torch.nn.Linear(2, 2), checkpoint=True)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_state_of_every_optimizer_is_as_large_as_it_is(optimizer: str, device: str) -> None:
    recipe = {"optimizer": optimizer, "ema": 0.0, "arch": "test_convnext", "image_size": (64, 64)}
    real = make_training(Recipe(**recipe, weights="none", batch_size=8), micro_batch=8, precision="float32")
    real.network.train()
    train_step(real, make_batches(real, make_examples(8, size=64))[0], 0)
    state = [value for slots in real.optimizer.state_dict()["state"].values() for value in slots.values()]
    expected = sum(value.nbytes for value in state if value.ndim)

    fresh = make_training(real.recipe, micro_batch=8, precision="float32").network
    first, later = Phases(traced(fresh, **recipe), device).updates()
    kept = [first.sizes[number] for number in first.left()]
    # Beside the moments there are counters of 4 bytes, one to a parameter or to a group.
    assert sum(size for size in kept if size > 8) == expected
    assert not later.left()


def test_what_the_step_does_the_plan_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tensor more in a function of `engine.step`, and the trace has it."""

    def sizes() -> tuple[list[int], list[int]]:
        phases = Phases(traced("test_convnext", precision="float16"), "cuda")
        return phases.micro_batch(4).sizes, phases.updates()[1].sizes

    micro, update = sizes()
    odd = 123_457
    clip, loss = engine_step.clip_gradients, engine_step.batch_loss

    def clipped(*given: Any) -> Any:
        torch.empty(odd, dtype=torch.uint8, device="cuda")
        return clip(*given)

    def lost(*given: Any) -> Any:
        torch.empty(odd, dtype=torch.uint8, device="cuda")
        return loss(*given)

    monkeypatch.setattr(engine_step, "clip_gradients", clipped)
    monkeypatch.setattr(engine_step, "batch_loss", lost)
    more_micro, more_update = sizes()
    assert odd not in micro + update
    assert (len(more_micro), len(more_update)) == (len(micro) + 1, len(update) + 1)
    assert odd in more_micro and odd in more_update


def test_clipping_averaging_and_the_scaler_are_traced() -> None:
    """Each of them makes the update of a half-precision training longer."""

    def events(**values: Any) -> int:
        return len(Phases(traced("test_convnext", precision="float16", **values), "cuda").updates()[0].events)

    plain = events(ema=0.0)
    assert plain < events(ema=0.9)
    full = traced("test_convnext", precision="float32", ema=0.0)
    assert len(Phases(full, "cuda").updates()[0].events) < plain


def test_first_line() -> None:
    assert first_line(ValueError("one\ntwo")) == "one"
    assert first_line(KeyError()) == "KeyError"
