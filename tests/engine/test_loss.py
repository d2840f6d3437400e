"""The weights of several targets: given, equal, or learnt."""

from __future__ import annotations

import math

import pytest
import torch

from tenfold.engine.loss import batch_loss, task_weights_of
from tenfold.recipe import Recipe
from training import make_batches, make_examples, make_training

BASE = Recipe(arch="test_convnext", weights="none", image_size=32, batch_size=16, augment="off", flip="none")


def changed(**values: object) -> Recipe:
    return Recipe(**{**BASE.model_dump(), **values})


def parts(recipe: Recipe) -> tuple[object, torch.Tensor, dict[str, float]]:
    """The network, the loss of one batch, and each target's own loss."""
    training = make_training(recipe, micro_batch=16)
    batch = make_batches(training, make_examples(16))[0]
    training.network.eval()
    training.network.context.begin(0, batch.rows, batch.groups)
    sums = {head.name: 0.0 for head in training.network.heads}
    total = batch_loss(training.network, training.network(batch.inputs), batch, recipe.task_weights, sums)
    return training.network, total, {name: float(sums[name]) / batch.denominators[name] for name in sums}


def test_given_weights_multiply_each_targets_loss() -> None:
    _, total, each = parts(changed(task_weights="disease=3,variety=0.5"))
    assert total.item() == pytest.approx(3 * each["disease"] + 0.5 * each["variety"])
    _, total, each = parts(changed(task_weights="equal"))
    assert total.item() == pytest.approx(each["disease"] + each["variety"])


def test_learnt_weights_start_equal_and_are_pulled_to_one_over_twice_the_loss() -> None:
    recipe = changed(task_weights="learned")
    network, total, each = parts(recipe)
    assert task_weights_of(network, recipe) == {"disease": 1.0, "variety": 1.0}
    assert total.item() == pytest.approx(each["disease"] + each["variety"])
    total.backward()
    # d/ds (exp(-s) L + s / 2) at s = 0.
    expected = [0.5 - each["disease"], 0.5 - each["variety"]]
    assert network.log_variances.grad.tolist() == pytest.approx(expected)
    best = math.log(2 * each["disease"])
    with torch.no_grad():
        network.log_variances[0] = best
    assert task_weights_of(network, recipe)["disease"] == pytest.approx(1 / (2 * each["disease"]))


def test_a_target_without_a_label_has_no_part_in_the_weights() -> None:
    recipe = changed(task_weights="learned")
    training = make_training(recipe, micro_batch=16)
    examples = make_examples(16)
    examples.weights["variety"][:] = 0
    batch = make_batches(training, examples)[0]
    training.network.context.begin(0, batch.rows, batch.groups)
    sums = {head.name: 0.0 for head in training.network.heads}
    batch_loss(training.network, training.network(batch.inputs), batch, "learned", sums).backward()
    assert training.network.log_variances.grad[1] == 0 and sums["variety"] == 0
