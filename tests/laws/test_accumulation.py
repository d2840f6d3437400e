"""Accumulation equals the full batch: whatever the cut, the same gradient and the same weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import timm
import torch
from timm.models import SwinTransformer, register_model

from tenfold.engine.train import train_step
from tenfold.nn.blocks import find_blocks
from tenfold.nn.network import recompute
from tenfold.recipe import Recipe
from training import (
    EVERY_KIND,
    cells_schema,
    kinds_schema,
    largest_difference,
    make_batches,
    make_examples,
    make_kinds,
    make_training,
    state_of,
    with_cells,
)

#: float64 after several AdamW steps, which make round-off of tiny gradients larger than it was.
EXACT = 1e-10
BASE = Recipe(
    arch="test_convnext",
    weights="none",
    image_size=32,
    batch_size=16,
    batchnorm_group=4,
    drop_path=0.2,
    dropout=0.3,
    lr=1e-2,
    seed=3,
)


@register_model
def tiny_swin(
    pretrained: bool = False, num_classes: int = 0, img_size: Any = 64, drop_path_rate: float = 0.1, **_: Any
) -> SwinTransformer:
    """A shifted-window transformer of two stages, which timm has no tiny one of."""
    return SwinTransformer(
        img_size, patch_size=4, window_size=4, embed_dim=16, depths=(2, 2), num_heads=(2, 4),
        num_classes=num_classes, drop_path_rate=drop_path_rate or 0.0,
    )  # fmt: skip


#: Every tiny network of timm, of all families that people use, BatchNorm ones among them; and a Swin.
ARCHITECTURES = (*timm.list_models("test_*"), "tiny_swin")
#: Those that take no picture smaller than this.
FIXED = {"test_vit": 160, "test_coatnet": 160, "test_maxvit": 160}


def changed(**values: object) -> Recipe:
    return Recipe(**{**BASE.model_dump(), **values})


def weights_after(
    recipe: Recipe,
    micro_batch: int,
    *,
    rows: int = 38,
    missing: float = 0.0,
    checkpoint: bool = False,
    every: int = 0,
) -> dict:
    """checkpoint: compute activations again.  every: of each so many blocks' first one alone."""
    training = make_training(recipe, micro_batch=micro_batch)
    if checkpoint:
        blocks = list(find_blocks(training.network))[::every] if every else ()
        assert recompute(training.network, blocks=blocks)
    training.network.train()
    examples = make_examples(rows, size=recipe.image_size[0], missing=missing)
    for step, batch in enumerate(make_batches(training, examples)):
        assert train_step(training, batch, step).updated
    return state_of(training.network)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_family(arch: str) -> None:
    size = next((side for name, side in FIXED.items() if arch.startswith(name)), 64)
    recipe = changed(arch=arch, image_size=size, batch_size=8, augment="off")
    whole = weights_after(recipe, 8, rows=11)
    for micro_batch in (4, 1):
        assert largest_difference(whole, weights_after(recipe, micro_batch, rows=11)) < EXACT


@pytest.mark.parametrize("missing", [0.0, 0.4, 0.9, 1.0])
@pytest.mark.parametrize("micro_batch", [1, 3, 5, 15])
def test_missing_labels(missing: float, micro_batch: int) -> None:
    recipe = changed()
    whole = weights_after(recipe, 16, missing=missing)
    assert largest_difference(whole, weights_after(recipe, micro_batch, missing=missing)) < EXACT
    assert all(torch.isfinite(value).all() for value in whole.values())


@pytest.mark.parametrize("arch", ["test_convnext", "test_efficientnet", "test_resnet"])
def test_activations_computed_again(arch: str) -> None:
    # Their statistics are not counted twice, and their masks are drawn alike.
    recipe = changed(arch=arch, image_size=64, batch_size=8)
    whole = weights_after(recipe, 8, rows=16)
    assert largest_difference(whole, weights_after(recipe, 4, rows=16, checkpoint=True)) < EXACT


@pytest.mark.parametrize("arch", ["test_convnext", "test_efficientnet", "test_resnet", "test_vit"])
def test_activations_of_some_blocks_computed_again(arch: str) -> None:
    size = FIXED.get(arch, 64)
    recipe = changed(arch=arch, image_size=size, batch_size=8, augment="off")
    kept = weights_after(recipe, 4, rows=16)
    again = weights_after(recipe, 4, rows=16, checkpoint=True, every=2)
    assert all(torch.equal(kept[name], value) for name, value in again.items())


@pytest.mark.parametrize(
    "values",
    [
        {"mixup": 0.4},
        {"label_smoothing": 0.2},
        {"clip_norm": 0.01},
        {"augment": "strong", "flip": "both"},
        {"task_weights": {"disease": 3.0, "variety": 0.25}},
        {"arch": "test_resnet", "mixup": 0.4, "image_size": 64},
        {"arch": "test_resnet", "batchnorm_group": "frozen", "image_size": 64},
    ],
    ids=str,
)
def test_every_choice(values: dict[str, object]) -> None:
    recipe = changed(**values)
    whole = weights_after(recipe, 16, missing=0.3)
    assert largest_difference(whole, weights_after(recipe, 4, missing=0.3)) < EXACT


def kinds_after(recipe: Recipe, micro_batch: int, name: str, *, missing: float, rows: int = 38) -> dict:
    """Weights after an epoch of the target of that name, or of all of them."""
    targets = [target for target in EVERY_KIND if name in ("all", target.name)]
    examples = make_kinds(rows, size=recipe.image_size[0], missing=missing)
    kept = {target.name for target in targets}
    examples = replace(
        examples,
        labels={one: labels for one, labels in examples.labels.items() if one in kept},
        weights={one: weights for one, weights in examples.weights.items() if one in kept},
    )
    training = make_training(recipe, micro_batch=micro_batch, schema=kinds_schema(targets))
    training.network.train()
    for step, batch in enumerate(make_batches(training, examples)):
        assert train_step(training, batch, step).updated
    return state_of(training.network)


@pytest.mark.parametrize("missing", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("name", [*(target.name for target in EVERY_KIND), "all"])
def test_every_kind_of_target(name: str, missing: float) -> None:
    recipe = changed(task_weights="learned" if name == "all" else {}, mixup=0.3 if missing == 0.5 else 0.0)
    whole = kinds_after(recipe, 16, name, missing=missing)
    for micro_batch in (5, 1):
        assert largest_difference(whole, kinds_after(recipe, micro_batch, name, missing=missing)) < EXACT
    assert all(torch.isfinite(value).all() for value in whole.values())


@pytest.mark.parametrize(
    "values", [{"number_loss": "huber"}, {"label_smoothing": 0.0}, {"mixup": 1.0}], ids=str
)
def test_every_choice_of_every_kind(values: dict[str, object]) -> None:
    recipe = changed(**values)
    whole = kinds_after(recipe, 16, "all", missing=0.4)
    assert largest_difference(whole, kinds_after(recipe, 3, "all", missing=0.4)) < EXACT


def cells_after(recipe: Recipe, micro_batch: int, *, pictures: bool, missing: float = 0.3) -> dict:
    """Weights after an epoch of every kind of target from ids, categories, numbers and maybe pictures."""
    schema = cells_schema(pictures=pictures)
    examples = make_kinds(38, size=recipe.image_size[0], missing=missing)
    training = make_training(recipe, micro_batch=micro_batch, schema=schema)
    training.network.train()
    for step, batch in enumerate(make_batches(training, with_cells(examples, pictures=pictures))):
        assert train_step(training, batch, step).updated
    return state_of(training.network)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"body": "linear"},
        {"hidden": (8,), "body_dropout": 0.5, "unknown_rate": 0.3},
        {"arch": "test_resnet", "image_size": 64},
        {"task_weights": "learned", "unknown_rate": 0.0},
    ],
    ids=str,
)
@pytest.mark.parametrize("pictures", [True, False])
def test_every_kind_of_input(values: dict[str, object], pictures: bool) -> None:
    recipe = changed(**values)
    whole = cells_after(recipe, 16, pictures=pictures)
    for micro_batch in (5, 1):
        assert largest_difference(whole, cells_after(recipe, micro_batch, pictures=pictures)) < EXACT
    # The row for what is unknown is trained as all others are.
    fresh = make_training(recipe, micro_batch=16, schema=cells_schema(pictures=pictures)).network
    moved = whole["encoders.column0.table.weight"][0] - fresh.state_dict()["encoders.column0.table.weight"][0]
    assert moved.abs().max() > 1e-4


def test_learnt_task_weights_move_alike_whatever_the_cut() -> None:
    recipe = changed(task_weights="learned", lr=0.1)
    whole = kinds_after(recipe, 16, "all", missing=0.4)
    cut = kinds_after(recipe, 3, "all", missing=0.4)
    assert (whole["log_variances"] - cut["log_variances"]).abs().max() < EXACT
    assert whole["log_variances"].abs().min() > 1e-3 and len(whole["log_variances"]) == 8


def test_the_cut_would_matter_with_a_mean_of_means() -> None:
    # The law must be able to fail: the usual rule, on the same batch, misses by far.
    recipe = changed(dropout=0.0, drop_path=0.0, augment="off", flip="none", label_smoothing=0.0)
    training = make_training(recipe, micro_batch=16)
    batch = make_batches(training, make_examples(14, missing=0.5, seed=5))[0]
    network = training.network

    def gradient(parts: list, own: bool) -> torch.Tensor:
        network.zero_grad()
        for part in parts:
            network.context.begin(0, part.rows, part.groups)
            for head, raw in zip(network.heads, network(part.inputs), strict=True):
                one = part.targets[head.name][0]
                below = float(one.weights.sum()) * len(parts) if own else part.denominators[head.name]
                if below:
                    (head.loss_sum(raw, one.labels, one.weights) / below).backward(retain_graph=True)
        return torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])

    whole = gradient([batch], own=False)
    exact = gradient(list(batch.split(5)), own=False)
    baseline = gradient(list(batch.split(5)), own=True)
    assert (exact - whole).norm() / whole.norm() < 1e-12
    assert (baseline - whole).norm() / whole.norm() > 0.05
