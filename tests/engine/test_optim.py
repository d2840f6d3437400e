"""Rates, groups of parameters, clipping and averaged weights."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch

from tenfold.engine.optim import (
    OPTIMIZERS,
    TASK_RATE,
    AveragedWeights,
    build_optimizer,
    clip_gradients,
    set_rate,
)
from tenfold.engine.step import train_step
from tenfold.recipe import OPTIMIZER_DEFAULTS, Recipe
from training import largest_difference, make_batches, make_examples, make_training, state_of

RECIPE = Recipe(arch="test_convnext", weights="none", image_size=32, seed=1)


SHORT = {
    "arch": "test_convnext", "weights": "none", "image_size": 32, "batch_size": 16, "drop_path": 0.0,
    "augment": "off", "flip": "none", "dropout": 0.0, "body_lr": 1.0, "seed": 1,
}  # fmt: skip


def changed(**values: object) -> Recipe:
    return Recipe(**{**RECIPE.model_dump(), **values})


def test_every_group_gets_its_part_of_the_rate() -> None:
    optimizer = make_training(changed(body_lr=0.1), micro_batch=4).optimizer
    assert set_rate(optimizer, 0.5) == pytest.approx(0.5 * RECIPE.lr)
    assert {group["lr"] / group["peak_lr"] for group in optimizer.param_groups} == {0.5}


# Groups


def test_biases_and_norms_do_not_decay_and_the_body_is_slower() -> None:
    training = make_training(changed(weight_decay=0.3, body_lr=0.1, layer_decay=0.5), micro_batch=4)
    names = {id(parameter): name for name, parameter in training.network.named_parameters()}
    for group in training.optimizer.param_groups:
        for parameter in group["params"]:
            assert group["weight_decay"] == (0.3 if parameter.ndim > 1 else 0.0), names[id(parameter)]
    rate = {
        names[id(parameter)]: group["peak_lr"]
        for group in training.optimizer.param_groups
        for parameter in group["params"]
    }
    assert rate["last.weight"] == training.recipe.lr
    body = {name: value for name, value in rate.items() if name.startswith("encoders")}
    assert max(body.values()) <= 0.1 * training.recipe.lr < rate["last.weight"]
    assert min(body.values()) < max(body.values())


def test_layer_decay_slows_the_layers_near_the_picture_most() -> None:
    training = make_training(changed(body_lr=1.0, layer_decay=0.5), micro_batch=4)
    rate = {
        name: group["peak_lr"]
        for group in training.optimizer.param_groups
        for name, parameter in training.network.named_parameters()
        if any(parameter is one for one in group["params"])
    }
    stem = next(value for name, value in rate.items() if ".stem." in name)
    late = next(value for name, value in rate.items() if ".stages.3." in name)
    assert stem == min(rate.values()) < late < rate["last.weight"]
    assert all(
        math.log2(RECIPE.lr / value) == pytest.approx(round(math.log2(RECIPE.lr / value)))
        for value in rate.values()
    )


@pytest.mark.parametrize(("part", "body_lr"), [("head", 0.5), ("all", 0.0)])
def test_a_body_that_is_not_trained_needs_no_gradients(part: str, body_lr: float) -> None:
    recipe = changed(body_lr=body_lr)
    network = make_training(recipe, micro_batch=4).network
    optimizer = build_optimizer(network, recipe, part=part)
    assert {name for name, p in network.named_parameters() if p.requires_grad} == {"last.weight", "last.bias"}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 2
    build_optimizer(network, changed(body_lr=0.5), part="all")
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_every_parameter_is_in_one_group() -> None:
    training = make_training(changed(layer_decay=0.7, arch="test_vit", image_size=160), micro_batch=4)
    held = [id(parameter) for group in training.optimizer.param_groups for parameter in group["params"]]
    assert sorted(held) == sorted(id(parameter) for parameter in training.network.parameters())


# Optimizers


def test_a_recipe_offers_what_there_is() -> None:
    assert list(get_args(Recipe.model_fields["optimizer"].annotation)) == list(OPTIMIZERS)
    assert Recipe().optimizer == "adamw" and OPTIMIZER_DEFAULTS.keys() <= OPTIMIZERS.keys()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_learns_whatever_the_cut(optimizer: str) -> None:
    """The loss falls with the optimizer's own defaults, and the micro-batch changes nothing."""
    states = []
    for micro_batch in (16, 4):
        training = make_training(Recipe(**{**SHORT, "optimizer": optimizer}), micro_batch=micro_batch)
        training.network.train()
        examples, step = make_examples(64, size=32), 0
        losses: list[float] = []
        for epoch in range(6):
            for batch in make_batches(training, examples, epoch=epoch):
                losses.append(sum(train_step(training, batch, step).losses.values()))
                step += 1
        assert sum(losses[-4:]) < 0.9 * sum(losses[:4])
        states.append(state_of(training.network))
    assert largest_difference(*states) < 1e-7


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_weight_decay_spares_biases_with_every_optimizer(optimizer: str) -> None:
    """With gradients of 0, only what decays moves."""
    training = make_training(changed(optimizer=optimizer, weight_decay=0.5), micro_batch=4)
    before = state_of(training.network)
    for parameter in training.network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    training.optimizer.step()
    for group in training.optimizer.param_groups:
        for parameter in group["params"]:
            name = next(key for key, value in training.network.named_parameters() if value is parameter)
            moved = not torch.equal(parameter, before[name])
            assert moved == (group["weight_decay"] > 0 and bool(before[name].any())), name


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_is_nesterovs_or_plain(momentum: float) -> None:
    optimizer = make_training(changed(optimizer="sgd", momentum=momentum), micro_batch=4).optimizer
    for group in optimizer.param_groups:
        assert (group["momentum"], group["nesterov"]) == (momentum, momentum > 0)


# Clipping


def test_clipping_acts_on_the_unscaled_gradient() -> None:
    parameter = torch.nn.Parameter(torch.zeros(2))
    scaler = torch.amp.GradScaler("cpu", init_scale=65536.0)
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    scaler.scale((parameter * torch.tensor([3.0, 4.0])).sum()).backward()
    scaler.unscale_(optimizer)
    assert float(clip_gradients([parameter], 1.0)) == pytest.approx(5.0)
    scaler.step(optimizer)
    assert parameter.tolist() == pytest.approx([-0.6, -0.8], abs=1e-5)


@pytest.mark.parametrize(("most", "length"), [(1.0, 1.0), (5.0, 5.0), (7.0, 5.0), (0.0, 5.0)])
def test_gradients_are_shortened_together_never_made_longer(most: float, length: float) -> None:
    one, other = torch.nn.Parameter(torch.zeros(1)), torch.nn.Parameter(torch.zeros(1))
    one.grad, other.grad = torch.tensor([3.0]), torch.tensor([-4.0])
    assert float(clip_gradients([one, other], most)) == pytest.approx(5.0)
    assert [one.grad.item(), other.grad.item()] == pytest.approx([0.6 * length, -0.8 * length], rel=1e-5)


# Averaged weights


def test_averaged_weights_follow_their_formula() -> None:
    network = torch.nn.Linear(1, 1, bias=False)
    averaged = AveragedWeights(network, 0.5)
    expected = network.weight.item()
    for step in range(20):
        with torch.no_grad():
            network.weight.fill_(float(step))
        averaged.update(network, step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    assert float(averaged.state["weight"]) == pytest.approx(expected, rel=1e-5)


def test_averaged_statistics_are_averaged_and_counts_are_copied() -> None:
    network = torch.nn.BatchNorm1d(1)
    averaged = AveragedWeights(network, 0.9)
    with torch.no_grad():
        network.running_mean.fill_(10.0)
        network.num_batches_tracked.fill_(7)
    averaged.update(network, 0)
    assert float(averaged.state["running_mean"]) == pytest.approx(9.0)  # decay 0.1 in the first step
    assert int(averaged.state["num_batches_tracked"]) == 7
    assert float(network.running_mean) == 10.0


def test_learnt_task_weights_have_a_rate_of_their_own_and_no_decay() -> None:
    recipe = Recipe(**{**RECIPE.model_dump(), "task_weights": "learned"})
    training = make_training(recipe, micro_batch=8)
    learnt = training.network.log_variances
    (group,) = [one for one in training.optimizer.param_groups if any(p is learnt for p in one["params"])]
    assert group["peak_lr"] == recipe.lr * TASK_RATE and group["weight_decay"] == 0.0
