"""The program that a plan traces is this project's own training, step by step."""

from __future__ import annotations

import pytest
import timm
import torch

from tenfold.errors import RecipeError
from tenfold.memory.program import ImageProgram, Settings, first_line, set_checkpointing
from tenfold.nn.encoders import build_backbone, feature_width
from tenfold.nn.exact import group_sizes
from tenfold.nn.network import Network


def settings(**values: object) -> Settings:
    return Settings(**{"image_size": (64, 64), "precision": "float32", "classes": 5, **values})


def test_the_network_is_the_one_that_would_be_trained() -> None:
    program = ImageProgram("test_resnet", settings(), device="cpu")
    network = program.network
    assert isinstance(network, Network) and network.last.out_features == 5
    real = build_backbone("test_resnet", image_size=(64, 64))
    assert network.last.in_features == feature_width(real, "test_resnet", (64, 64))
    shapes = {name: tuple(p.shape) for name, p in real.named_parameters()}
    found = {name: tuple(p.shape) for name, p in network.encoders["image0"].named_parameters()}
    assert found == shapes


def test_batchnorm_groups_decide_the_cut() -> None:
    grouped = ImageProgram("test_resnet", settings(batchnorm_group=8), device="cpu")
    assert grouped.grouped and grouped.groups(20) == group_sizes(20, 8)
    assert grouped.structure(16) == grouped.structure(14) != grouped.structure(24)
    frozen = ImageProgram("test_resnet", settings(batchnorm_group="frozen"), device="cpu")
    assert not frozen.grouped and frozen.groups(3) == (1, 1, 1)
    assert not ImageProgram("test_convnext", settings(), device="cpu").grouped


def test_a_step_runs_and_has_a_gradient_for_every_weight() -> None:
    # On real tensors: what is traced on ghosts must be a real training step.
    program = ImageProgram(
        lambda: timm.create_model("test_convnext", num_classes=5), settings(), device="cpu"
    )
    network = timm.create_model("test_convnext", num_classes=5).train()
    images, labels, weights = program.slices(4, "cpu")
    given = torch.rand_like(images), labels.zero_(), weights.fill_(1.0)
    loss = program.forward(network, given, 4, torch.autocast("cpu", enabled=False))
    loss.backward()
    assert torch.isfinite(loss) and all(p.grad is not None for p in network.parameters())
    before = network.head.fc.weight.detach().clone()
    program.update(network, list(network.parameters()))()
    assert not torch.equal(before, network.head.fc.weight)


def test_a_batch_is_stored_augmented_and_normalised() -> None:
    program = ImageProgram("test_resnet", settings(), device="cpu")
    images, normal, numbers = program.prepare(4, "cpu")
    assert images.shape == normal.shape == (4, 3, 64, 64) and len(numbers) == 4
    assert normal.is_contiguous(memory_format=torch.channels_last)


def test_refusals_come_in_words() -> None:
    with pytest.raises(RecipeError, match="refuses 33x33"):
        ImageProgram("test_vit", settings(image_size=(33, 33)), device="cpu")
    with pytest.raises(RecipeError, match="cannot recompute"):
        set_checkpointing(torch.nn.Linear(2, 2))


def test_first_line() -> None:
    assert first_line(ValueError("one\ntwo")) == "one"
    assert first_line(KeyError()) == "KeyError"
