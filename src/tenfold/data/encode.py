"""From columns of text to arrays: what was decided from the training table, and applying it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from tenfold.data.labels import Labels, TargetFacts, Weights, fit_targets, label_arrays
from tenfold.data.table import Table
from tenfold.errors import SchemaError
from tenfold.recipe import Recipe
from tenfold.schema import Frozen, Schema


class ImageReader(Protocol):
    """Pictures of one column at their final size."""

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """(rows, height, width, 3) uint8."""
        ...


class Encoding(Frozen):
    """Everything that was decided from the training table and is needed to prepare a row again.

    It is fixed at training time, so that a row's answer never depends on the rows beside it.

    classes: target -> class names, in the order of the network's outputs; no entry for a number.
    targets: target -> what else was decided of it.
    image_size: (height, width) that pictures are kept at.  resize, interpolation: how they get there.
    final_size: (height, width) that enters the network, where it is another.
    mean, std: per channel, of pixels scaled to 0..1.
    white: per image column, the value that is white in its float and 32-bit grey pictures, or None.
    """

    refusal: ClassVar = SchemaError

    classes: dict[str, tuple[str, ...]]
    targets: dict[str, TargetFacts] = {}
    image_size: tuple[int, int] = (224, 224)
    final_size: tuple[int, int] | None = None
    resize: str = "squish"
    interpolation: str = "bicubic"
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    white: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class PickedImages:
    """Some rows of another reader, under new numbers."""

    reader: ImageReader
    rows: NDArray[np.int64]

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """(rows, height, width, 3) uint8."""
        return self.reader.read(self.rows[rows])


@dataclass(frozen=True)
class Examples:
    """Rows as arrays.

    ids: (rows,) the text that names a row.
    images: one reader per image column.
    labels, weights: target -> as `data.labels` describes them; the weight is 0 where nothing is known.
    """

    ids: NDArray[np.object_]
    images: tuple[ImageReader, ...]
    labels: Mapping[str, Labels]
    weights: Mapping[str, Weights]

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.ids)


def fit_encoding(
    schema: Schema,
    recipe: Recipe,
    table: Table,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    interpolation: str,
) -> tuple[Encoding, list[str]]:
    """Decide class lists from the whole table, before any split, and say what was decided.

    mean, std, interpolation: what the backbone wants. Returns the encoding and notes, one a line.
    Raises SchemaError for a target without labels or with one class only.
    """
    classes, facts, notes = fit_targets(schema, table)
    encoding = Encoding(
        classes=classes,
        targets=facts,
        image_size=recipe.item_size or recipe.image_size,
        final_size=recipe.image_size if recipe.item_size not in (None, recipe.image_size) else None,
        resize=recipe.resize,
        interpolation=interpolation,
        mean=tuple(mean),
        std=tuple(std),
    )
    return encoding, notes


def encode(
    encoding: Encoding,
    schema: Schema,
    table: Table,
    images: Sequence[ImageReader],
    *,
    ids: NDArray[np.object_] | None = None,
    targets: bool = True,
) -> tuple[Examples, list[str]]:
    """Rows of a table as arrays, and notes on labels that are no class of the run.

    ids: the rows' names where they do not stand in the table.  targets: false where nothing is known
    but the inputs.
    """
    if ids is None:
        name = schema.row_name
        ids = table.text(name) if name else np.array([str(line) for line in table.lines], dtype=object)
    if not targets:
        return Examples(ids, tuple(images), {}, {}), []
    labels, weights, notes = label_arrays(encoding.classes, encoding.targets, schema, table)
    return Examples(ids, tuple(images), labels, weights), notes
