"""From columns of text to arrays: what was decided from the training table, and applying it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from tenfold.data.tables.cells import alike_known, respelled
from tenfold.data.tables.table import Table
from tenfold.errors import SchemaError
from tenfold.recipe import Recipe
from tenfold.schema import Frozen, NumberColumn, Schema
from tenfold.targets.labels import (
    Labels,
    TargetStats,
    Weights,
    fit_targets,
    label_arrays,
    relative_weights,
    row_weights,
    shortened,
)

#: A number further from the mean counts as so many deviations: one slip of the pen moves no other row.
MOST_DEVIATIONS = 6.0


class ImageReader(Protocol):
    """Pictures of one column at their final size."""

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """(rows, height, width, 3) uint8."""
        ...


class PictureFiles(ImageReader, Protocol):
    """Pictures that know which of them are the same."""

    def pictures(self) -> NDArray[np.object_]:
        """(rows,) equal where the decoded pictures are, in whatever file format; "" where there is none."""
        ...


class ColumnStats(Frozen):
    """What the training rows decided of one input column.

    words: of an id or a category; a word's code is its place here plus 1, and 0 is unknown. "" among them
        stands for an empty cell, if training had any.
    features, about: of an id that a side table describes, the names of its features, and per word the places
        of those that it has.
    mean, deviation: of a number; a deviation of 0 is that of equal numbers, from which nothing is learnt.
    gaps: whether training had cells without one. empty: whether it had no others.
    """

    refusal: ClassVar = SchemaError

    words: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    about: tuple[tuple[int, ...], ...] = ()
    mean: float = 0.0
    deviation: float = 1.0
    gaps: bool = False
    empty: bool = False


class Encoding(Frozen):
    """Everything that was decided from the training table and is needed to prepare a row again.

    It is fixed at training time, so that a row's answer never depends on the rows beside it.

    classes: target -> class names, in the order of the network's outputs; no entry for a number.
    targets: target -> what else was decided of it.
    columns: input column that is no picture -> what was decided of it.
    image_size: (height, width) that pictures are kept at.  resize, interpolation: how they get there.
    final_size: (height, width) that enters the network, where it is another.
    mean, std: per channel, of pixels scaled to 0..1.
    white: per image column, the value that is white in its float and 32-bit grey pictures, or None.
    """

    refusal: ClassVar = SchemaError

    classes: dict[str, tuple[str, ...]]
    targets: dict[str, TargetStats] = {}
    columns: dict[str, ColumnStats] = {}
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

    reader: PictureFiles
    rows: NDArray[np.int64]

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """(rows, height, width, 3) uint8."""
        return self.reader.read(self.rows[rows])

    def pictures(self) -> NDArray[np.object_]:
        """(rows,) as `PictureFiles.pictures`."""
        return self.reader.pictures()[self.rows]


@dataclass(frozen=True)
class Examples:
    """Rows as arrays.

    ids: (rows,) the text that names a row.
    images: one reader per image column.
    labels, weights: target -> as `targets.labels` describes them; the weight is 0 where nothing is known.
    columns: input column that is no picture -> (rows,) int64 codes of an id or a category, or (rows, 2)
        float32 of a number: the standardised number, and 1 where it is missing.
    importance: (rows,) what each row counts, as the column of weights says; None without one.
    """

    ids: NDArray[np.object_]
    images: tuple[ImageReader, ...]
    labels: Mapping[str, Labels]
    weights: Mapping[str, Weights]
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    importance: NDArray[np.float64] | None = None

    def weigh(self, rows: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """What some rows count beside each other; None where all count alike."""
        return None if self.importance is None else relative_weights(self.importance)[rows]

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
    columns, said = encode_columns(encoding.columns, schema, table)
    if not targets:
        return Examples(ids, tuple(images), {}, {}, columns), said
    labels, weights, notes = label_arrays(encoding.classes, encoding.targets, schema, table)
    importance = None if schema.weight is None else row_weights(schema, table)
    return Examples(ids, tuple(images), labels, weights, columns, importance), [*notes, *said]


# --- columns of the table itself ---------------------------------------------------------------------


def fit_columns(
    schema: Schema,
    table: Table,
    train: NDArray[np.int64],
    weights: NDArray[np.float64] | None = None,
) -> tuple[dict[str, ColumnStats], list[str]]:
    """What the training rows, and no others, decide of every input column that is no picture; and notes.

    weights: (training rows,) what each counts, 1 where not given; a row of weight 0 decides nothing.
    Raises TableError for cells of a number column that are no numbers.
    """
    facts: dict[str, ColumnStats] = {}
    notes: list[str] = []
    if weights is not None:
        train, weights = train[weights > 0], weights[weights > 0]
    for column in schema.columns:
        name = column.name
        if isinstance(column, NumberColumn):
            facts[name] = _fit_number(table.numbers(name)[train], weights)
            known = ~table.missing(name)[train]
        else:
            codes, words = table.codes(name)
            known = ~table.missing(name)[train]
            found = {str(words[code]) for code in np.unique(codes[train][known])}
            found |= set() if known.all() else {""}
            facts[name] = ColumnStats(words=tuple(sorted(found)), gaps=not known.all())
            notes.append(f"{name}: {len(found - {''})} different values in training")
        if not known.any():
            notes.append(f"{name} is empty in every training row: nothing is learnt from it")
        elif isinstance(column, NumberColumn):
            one = facts[name]
            notes.append(f"{name}: mean {one.mean:.6g}, deviation {one.deviation:.6g} in training")
            if one.deviation == 0:
                counts = "" if weights is None else " that counts"
                notes[-1] = (
                    f"{name} is {one.mean:.6g} in every training row{counts}: nothing is learnt from it"
                )
        if known.any() and not known.all():
            notes.append(f"{name}: {int((~known).sum())} of {len(train)} cells missing in training")
    return facts, notes


def _fit_number(values: NDArray[np.float64], weights: NDArray[np.float64] | None) -> ColumnStats:
    there = ~np.isnan(values)
    gaps, known = not there.all(), values[there]
    if not len(known):
        return ColumnStats(deviation=0.0, gaps=gaps, empty=True)
    own = None if weights is None else weights[there]
    # Scaled before it is squared, which numbers of 1e200 would not survive.
    largest = float(np.abs(known).max()) or 1.0
    part = known / largest
    mean, deviation = float(part.mean()), float(part.std())
    if own is not None:
        mean = float(np.average(part, weights=own))
        deviation = float(np.sqrt(np.average((part - mean) ** 2, weights=own)))
    # Of equal numbers the deviation is rounding, if not 0: such a column stays at 0, whatever is asked.
    deviation = deviation * largest if deviation > 1e-12 else 0.0
    return ColumnStats(mean=mean * largest, deviation=deviation, gaps=gaps)


def encode_columns(
    facts: Mapping[str, ColumnStats], schema: Schema, table: Table
) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """The input columns that are no pictures as arrays (see `Examples`); what training never saw is said.

    A column of which nothing was decided yet is left out.
    """
    found: dict[str, NDArray[Any]] = {}
    notes: list[str] = []
    for column in schema.columns:
        if column.name not in facts:
            continue
        encoded = _encode_number if isinstance(column, NumberColumn) else _encode_words
        found[column.name], said = encoded(facts[column.name], table, column.name)
        notes += said
    return found, notes


def _encode_number(facts: ColumnStats, table: Table, name: str) -> tuple[NDArray[Any], list[str]]:
    values = table.numbers(name)
    missing = np.isnan(values)
    if facts.empty:
        # What training never had has a weight that nobody taught: so does its mark of a missing number.
        notes = [f"{name} was empty in training: {int((~missing).sum())} cells are left out"]
        return np.zeros((len(values), 2), dtype=np.float32), notes if not missing.all() else []
    notes = []
    if facts.deviation == 0:
        scaled = np.zeros(len(values))
        other = int((~missing & ~np.isclose(values, facts.mean, rtol=1e-9, atol=0)).sum())
        if other:
            notes.append(f"{name} was always {facts.mean:.6g} in training: {other} other cells count as that")
    else:
        with np.errstate(over="ignore"):
            scaled = (values - facts.mean) / facts.deviation
        far = int((np.abs(scaled) > MOST_DEVIATIONS).sum())
        if far:
            notes.append(
                f"{name}: {far} of {len(values)} cells lie more than {MOST_DEVIATIONS:g} deviations from the "
                "mean in training, and count as that many; is the unit the same?"
            )
        scaled = np.clip(scaled, -MOST_DEVIATIONS, MOST_DEVIATIONS)
    if missing.any() and not facts.gaps:
        notes.append(
            f"{name}: {int(missing.sum())} cells missing, none in training: its mean stands for them"
        )
    # A mark that training never set has a weight that nobody taught.
    mark = missing if facts.gaps else np.zeros(len(values), dtype=np.bool_)
    return np.stack([np.where(missing, 0.0, scaled), mark], axis=1).astype(np.float32), notes


def _encode_words(facts: ColumnStats, table: Table, name: str) -> tuple[NDArray[Any], list[str]]:
    codes, words = table.codes(name)
    place = {word: code for code, word in enumerate(facts.words, start=1)}
    notes = []
    same = respelled(map(str, words), facts.words)
    if same:
        listed = shortened([f"{word} for {one}" for word, one in same.items()])
        notes.append(f"{name}: values are written in another way than in training: {listed}")
    place |= {word: place[one] for word, one in same.items()}
    lookup = np.array([place.get(str(word), 0) for word in words], dtype=np.int64)
    missing = table.missing(name)
    found = lookup[codes] if len(words) else np.zeros(table.rows, dtype=np.int64)
    found = np.where(missing, place.get("", 0), found)
    strange = np.unique(codes[(found == 0) & ~missing])
    if len(strange):
        rows = int(((found == 0) & ~missing).sum())
        what = "1 value" if len(strange) == 1 else f"{len(strange)} values"
        unseen = [str(words[code]) for code in strange]
        notes.append(
            f"{name}: {what} not seen in training ({shortened(unseen)}): {rows} rows go to its unknown row"
        )
        notes += alike_known(name, unseen, facts.words)
    if missing.any() and "" not in place:
        notes.append(
            f"{name}: {int(missing.sum())} empty cells, none in training: they go to its unknown row"
        )
    return found, notes
