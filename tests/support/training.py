"""Small trainings in memory, for the tests that look inside one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tenfold.data.encode import ColumnStats, Encoding, Examples
from tenfold.engine.batches import Batch, epoch_order, training_batches
from tenfold.engine.train import Training, begin_training
from tenfold.nn.network import Network, build_network
from tenfold.recipe import Recipe
from tenfold.schema import (
    CategoryColumn,
    CategoryTarget,
    CountTarget,
    IdColumn,
    ImageColumn,
    MultiLabelTarget,
    NetworkTarget,
    NumberColumn,
    NumberTarget,
    OpenTarget,
    OrderedTarget,
    Schema,
)
from tenfold.targets.base import TargetStats

CLASSES = {"disease": ("blast", "healthy", "rust"), "variety": ("a", "b")}
KIND_CLASSES = {
    "disease": ("blast", "healthy", "rust"),
    "sick": ("no", "yes"),
    "stage": ("1", "2", "3", "4"),
    "pest": ("ant", "bug", "fly", "moth"),
    "signs": ("dry", "spots", "wilt"),
}
#: One target of each kind, for what must hold for all of them.
EVERY_KIND: tuple[NetworkTarget, ...] = (
    CategoryTarget(name="disease"),
    CategoryTarget(name="sick", two=True),
    OrderedTarget(name="stage"),
    OpenTarget(name="pest"),
    MultiLabelTarget(name="signs"),
    NumberTarget(name="age"),
    NumberTarget(name="stars", low=1, high=5),
    CountTarget(name="visits"),
)
SCHEMA = Schema(
    inputs=(ImageColumn(name="image", folder="photos"),),
    targets=tuple(CategoryTarget(name=name) for name in CLASSES),
)


@dataclass(frozen=True)
class Pictures:
    """Pictures in memory."""

    pixels: NDArray[np.uint8]

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        return self.pixels[rows]


def make_examples(rows: int, *, size: int = 32, missing: float = 0.0, seed: int = 0) -> Examples:
    """Pictures whose mean colour tells the classes, with noise; some labels missing at random."""
    rng = np.random.default_rng(seed)
    labels = {name: rng.integers(0, len(classes), rows) for name, classes in CLASSES.items()}
    colours = np.stack([labels["disease"] * 80 + 40, labels["variety"] * 150 + 40, np.full(rows, 128)], 1)
    noise = rng.normal(0, 25, (rows, size, size, 3))
    pixels = np.clip(colours[:, None, None, :] + noise, 0, 255).astype(np.uint8)
    for values in labels.values():
        values[rng.random(rows) < missing] = -1
    weights = {name: (values >= 0).astype(float) for name, values in labels.items()}
    ids = np.array([f"{row}.png" for row in range(rows)], dtype=object)
    return Examples(ids, (Pictures(pixels),), labels, weights)


def kinds_schema(targets: Sequence[NetworkTarget] = EVERY_KIND) -> Schema:
    """Pictures, and these targets."""
    return Schema(inputs=SCHEMA.inputs, targets=tuple(targets))


def make_kinds(rows: int, *, size: int = 32, missing: float = 0.0, seed: int = 0) -> Examples:
    """Noise with labels of every kind, row weights, and some labels missing; of tags some of a row."""
    rng = np.random.default_rng([seed, 7])
    pixels = rng.integers(0, 256, (rows, size, size, 3)).astype(np.uint8)
    importance = rng.uniform(0.5, 2.0, rows)
    labels: dict[str, NDArray[Any]] = {}
    weights: dict[str, NDArray[np.float64]] = {}
    for target in EVERY_KIND:
        known = rng.random(rows) >= missing
        weights[target.name] = importance * known
        if isinstance(target, NumberTarget | CountTarget):
            values = rng.uniform(1, 5, rows)
            values = np.floor(values) if isinstance(target, CountTarget) else values
            labels[target.name] = np.where(known, values, np.nan)
        elif isinstance(target, MultiLabelTarget):
            asked = known[:, None] & (rng.random((rows, 3)) >= missing / 2)
            labels[target.name] = np.where(asked, rng.integers(0, 2, (rows, 3)), -1)
            weights[target.name] = importance[:, None] * asked
        else:
            classes = len(KIND_CLASSES[target.name]) + isinstance(target, OpenTarget)
            labels[target.name] = np.where(known, rng.integers(0, classes, rows), -1)
        if isinstance(target, OpenTarget):
            weights[target.name] = np.repeat(weights[target.name][:, None], 4, axis=1) * [1, 3, 1, 0.5]
    ids = np.array([f"{row}.png" for row in range(rows)], dtype=object)
    return Examples(ids, (Pictures(pixels),), labels, weights)


#: A column of every kind that is no picture.
CELLS = (CategoryColumn(name="farm"), NumberColumn(name="height"), IdColumn(name="plot"))


def cells_schema(*, pictures: bool, targets: Sequence[NetworkTarget] = EVERY_KIND) -> Schema:
    """`CELLS`, with pictures or without."""
    return Schema(inputs=(*(SCHEMA.inputs if pictures else ()), *CELLS), targets=tuple(targets))


def with_cells(examples: Examples, *, pictures: bool, seed: int = 0) -> Examples:
    """The examples with cells of `CELLS`; some are unknown, or missing."""
    rng = np.random.default_rng([seed, 8])
    heights = rng.normal(size=(examples.rows, 2)).astype(np.float32)
    heights[:, 1] = rng.random(examples.rows) < 0.2
    columns = {
        "farm": rng.integers(0, 4, examples.rows),
        "height": heights,
        "plot": rng.integers(0, 9, examples.rows),
    }
    return replace(examples, images=examples.images if pictures else (), columns=columns)


def make_encoding(recipe: Recipe, schema: Schema = SCHEMA) -> Encoding:
    if schema is SCHEMA:
        return Encoding(classes=CLASSES, image_size=recipe.image_size)
    facts = {
        "age": TargetStats(mean=3.0, deviation=1.2),
        "stars": TargetStats(mean=3.0, deviation=1.2, low=0.5, high=5.5),
    }
    columns = {
        "farm": ColumnStats(words=("a", "b", "c")),
        "height": ColumnStats(gaps=True),
        "plot": ColumnStats(words=tuple("12345678")),
    }
    return Encoding(classes=KIND_CLASSES, targets=facts, image_size=recipe.image_size, columns=columns)


def make_training(
    recipe: Recipe,
    *,
    micro_batch: int,
    precision: str = "float64",
    schema: Schema = SCHEMA,
    offload: bool = False,
) -> Training:
    """A training of a fresh network on the CPU."""
    network, _ = build_network(make_encoding(recipe, schema), schema, recipe, fetch=False)
    # The last layer starts at zero; random weights make every gradient count from the first step.
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in network.last.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return begin_training(
        network,
        make_encoding(recipe, schema),
        recipe,
        device=torch.device("cpu"),
        precision=precision,
        micro_batch=micro_batch,
        offload=offload,
    )


def make_batches(training: Training, examples: Examples, *, epoch: int = 0, workers: int = 0) -> list[Batch]:
    """The batches of one epoch over all rows."""
    recipe = training.recipe
    order = epoch_order(np.arange(examples.rows), batch_size=recipe.batch_size, seed=recipe.seed, epoch=epoch)
    return list(
        training_batches(
            examples,
            order,
            recipe,
            training.preparation,
            epoch=epoch,
            first_step=epoch * len(order),
            workers=workers,
            group=training.group,
        )
    )


def state_of(network: Network) -> dict[str, Any]:
    """All weights and statistics, copied."""
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def largest_difference(one: dict[str, Any], other: dict[str, Any]) -> float:
    """Largest absolute difference between two states."""
    return max(
        float((value - other[name]).abs().max()) for name, value in one.items() if value.is_floating_point()
    )
