"""From columns of text to arrays: what was decided from the training table, and applying it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from tenfold.data.table import Table, guess_kind, look_alikes
from tenfold.errors import LISTED, SchemaError, TableError
from tenfold.recipe import Recipe
from tenfold.schema import CategoryTarget, Frozen, Schema, UndecidedTarget


class ImageReader(Protocol):
    """Pictures of one column at their final size."""

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """(rows, height, width, 3) uint8."""
        ...


class Encoding(Frozen):
    """Everything that was decided from the training table and is needed to prepare a row again.

    It is fixed at training time, so that a row's answer never depends on the rows beside it.

    classes: target -> class names, in the order of the network's outputs.
    image_size: (height, width).  resize, interpolation: how pictures get there.
    mean, std: per channel, of pixels scaled to 0..1.
    white: per image column, the value that is white in its float and 32-bit grey pictures, or None.
    """

    refusal: ClassVar = SchemaError

    classes: dict[str, tuple[str, ...]]
    image_size: tuple[int, int] = (224, 224)
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
    labels: target -> (rows,) int64 class index, -1 where the label is missing or no class of the run.
    weights: target -> (rows,) float64 weight of the row in that target's loss, 0 where it is missing.
    """

    ids: NDArray[np.object_]
    images: tuple[ImageReader, ...]
    labels: Mapping[str, NDArray[np.int64]]
    weights: Mapping[str, NDArray[np.float64]]

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.ids)


def decide_targets(schema: Schema, table: Table) -> Schema:
    """Settle the kind of every target whose kind was not said, from the whole column.

    Raises SchemaError where a column could as well be a number as a class, and for a schema without a target
    or with one that a network cannot have.
    """
    if not schema.targets:
        raise SchemaError("what to predict is not said", fix="name a target: --target COLUMN")
    decided: list[CategoryTarget] = []
    for target in schema.targets:
        if isinstance(target, UndecidedTarget):
            kind, sentence = guess_kind(table, target.name)
            # A column without any label is refused below, with a better word.
            if kind != "category" and not table.missing(target.name).all():
                raise SchemaError(
                    f"{table.source}: target {sentence}",
                    fix=f"give --target {target.name}:category to predict its values as classes",
                )
            target = CategoryTarget(name=target.name)
        if not isinstance(target, CategoryTarget):
            raise SchemaError(
                f"target {target.name!r} is a {target.kind}, which needs two id columns",
                fix="give --user and --item for a recommender, or a target of kind category",
            )
        decided.append(target)
    return schema.model_copy(update={"targets": tuple(decided)})


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
    classes: dict[str, tuple[str, ...]] = {}
    notes: list[str] = []
    for target in schema.categories:
        names, said = _class_list(target, table)
        classes[target.name] = names
        notes += said
    encoding = Encoding(
        classes=classes,
        image_size=recipe.image_size,
        resize=recipe.resize,
        interpolation=interpolation,
        mean=tuple(mean),
        std=tuple(std),
    )
    return encoding, notes


def _class_list(target: CategoryTarget, table: Table) -> tuple[tuple[str, ...], list[str]]:
    codes, words = table.codes(target.name)
    missing = table.missing(target.name)
    counts = np.bincount(codes[~missing], minlength=len(words))
    found = {str(word): int(count) for word, count in zip(words, counts, strict=True) if count}
    absent = int(missing.sum())
    if not found:
        raise SchemaError(
            f"{table.source}: column {target.name!r} (target) has no label in any of {table.rows} rows",
            fix="name another target, or fill the column",
        )
    names = target.classes or tuple(sorted(found, key=_natural))
    unlisted = [name for name in found if name not in names]
    if unlisted:
        raise SchemaError(
            f"{table.source}: column {target.name!r} has labels outside its class list",
            problems=[f"{name!r}: {found[name]} rows" for name in unlisted],
            found=f"the list is {', '.join(names)}",
            fix="mend the labels, or add them to the list",
        )
    if len(names) < 2:
        raise SchemaError(
            f"{table.source}: column {target.name!r} (target) has one class only: {', '.join(names)!r}",
            fix="name a target that differs between rows",
        )
    notes = [f"{target.name}: {len(names)} classes: {shortened(names)}"]
    if absent:
        notes.append(f"{target.name}: {absent} of {table.rows} labels missing")
    for group in look_alikes(list(found)):
        notes.append(f"{target.name}: look-alikes {' / '.join(group)} are kept as different classes")
    single = [name for name, count in found.items() if count == 1]
    if single:
        notes.append(f"{target.name}: 1 row only: {shortened(single)}")
    return names, notes


def _natural(name: str) -> tuple[int, float, str]:
    """Whole numbers in order of size, before all other names in order of spelling."""
    plain = name.lstrip("-")
    if plain.isascii() and plain.isdecimal():
        # As a float: one of hundreds of digits is then infinite, where int would refuse or overflow.
        return 0, float(name) if name.count("-") <= 1 else 0.0, name
    return 1, 0.0, name


def shortened(names: Sequence[str]) -> str:
    """The names, or the first ten and how many more."""
    rest = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(str(name) for name in names[:LISTED]) + rest


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

    Row weights are relative: they are scaled by a power of two, which is exact, so that the largest is in
    [1, 2) and no loss overflows or vanishes; what is then below 2**-100 is 0.

    ids: the rows' names where they do not stand in the table.  targets: false where nothing is known
    but the inputs.
    """
    if ids is None:
        name = schema.row_name
        ids = table.text(name) if name else np.array([str(line) for line in table.lines], dtype=object)
    labels: dict[str, NDArray[np.int64]] = {}
    weights: dict[str, NDArray[np.float64]] = {}
    notes: list[str] = []
    row_weights = _row_weights(schema, table) if targets else np.ones(table.rows)
    for target in schema.categories if targets else ():
        codes, unknown = class_codes(table, target.name, encoding.classes[target.name])
        for word, count in unknown.items():
            notes.append(f"{target.name}: {word!r} is no class of this run ({count} rows)")
        counts = np.bincount(codes[codes >= 0], minlength=len(encoding.classes[target.name]))
        if not counts.any():
            raise SchemaError(
                f"{table.source}: no usable row has a label of column {target.name!r} (target)",
                fix="mend the rows that have one, or name another target",
            )
        absent = [name for name, rows in zip(encoding.classes[target.name], counts, strict=True) if not rows]
        if absent:
            notes.append(f"{target.name}: no row is labelled {shortened(absent)}")
        labels[target.name] = codes
        weights[target.name] = np.where(codes >= 0, row_weights, 0.0)
    return Examples(ids, tuple(images), labels, weights), notes


def class_codes(
    table: Table, column: str, classes: Sequence[str]
) -> tuple[NDArray[np.int64], dict[str, int]]:
    """Class index of each row by name, -1 where missing or unknown; and the unknown names with counts."""
    codes, words = table.codes(column)
    place = {name: position for position, name in enumerate(classes)}
    lookup = np.array([place.get(str(word), -1) for word in words], dtype=np.int64)
    missing = table.missing(column)
    labels = np.where(missing, -1, lookup[codes]) if len(words) else np.full(table.rows, -1, dtype=np.int64)
    counts = np.bincount(codes[~missing], minlength=len(words))
    unknown = {
        str(word): int(count)
        for word, count in zip(words, counts, strict=True)
        if count and str(word) not in place
    }
    return labels, unknown


def _row_weights(schema: Schema, table: Table) -> NDArray[np.float64]:
    if schema.weight is None:
        return np.ones(table.rows)
    weights = table.numbers(schema.weight)
    bad = np.flatnonzero(~np.isfinite(weights) | (weights < 0))
    if len(bad):
        raise TableError(
            f"{table.source}: column {schema.weight!r} (weight) needs numbers from 0 up",
            problems=table.places(schema.weight, bad),
            fix="mend these cells, or leave the weight column out",
        )
    largest = weights.max(initial=0.0)
    if not largest > 0:
        raise TableError(
            f"{table.source}: column {schema.weight!r} (weight) is 0 in every row: nothing would be learnt",
            fix="give some rows a weight, or leave the weight column out",
        )
    scaled = np.ldexp(weights, 1 - np.frexp(largest)[1])
    return np.where(scaled < 2.0**-100, 0.0, scaled)


def with_class_weights(
    examples: Examples, schema: Schema, encoding: Encoding, train: NDArray[np.int64]
) -> tuple[Examples, list[str]]:
    """Multiply each row's weight by rows / (classes x rows of its class), counted on the training rows.

    A class without a training row keeps weight 1: it can meet no training row, and validation must
    stay finite. Returns the examples and notes that name such classes.
    """
    weights, notes = dict(examples.weights), []
    for target in schema.categories:
        labels, names = examples.labels[target.name], encoding.classes[target.name]
        known = labels[train]
        counts = np.bincount(known[known >= 0], minlength=len(names))
        balance = np.where(counts > 0, counts.sum() / (len(names) * np.maximum(counts, 1)), 1.0)
        for name in np.array(names, dtype=object)[counts == 0]:
            notes.append(f"{target.name}: class {name!r} has no training row; its weight stays 1")
        weights[target.name] = weights[target.name] * np.where(labels >= 0, balance[labels], 0.0)
    return replace(examples, weights=weights), notes
