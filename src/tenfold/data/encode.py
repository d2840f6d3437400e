"""Encoding of a table's columns as arrays: fitted to the training table, and applied to later tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import ClassVar, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tenfold.data.tables.cells import alike_known, respelled
from tenfold.data.tables.table import Table
from tenfold.errors import SchemaError, shortened
from tenfold.events import Detail
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
)

#: Numbers are clipped to this many deviations, so that a typing error does not affect other rows.
MOST_DEVIATIONS = 6.0


class ImageReader(Protocol):
    """Pictures of one column at their final size."""

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """(rows, height, width, 3) uint8."""
        ...


class PictureFiles(ImageReader, Protocol):
    """Pictures with keys that show which of them are the same."""

    def pictures(self, sizes: Set[tuple[int, int]] = frozenset()) -> NDArray[np.object_]:
        """(rows,) keys, equal where the decoded pictures are, in any file format; "" without a picture.

        sizes: of pictures elsewhere whose keys are compared with these, as `sizes` returns them.
        """
        ...

    def sizes(self) -> Set[tuple[int, int]]:
        """(width, height) of the files that were decoded wholly."""
        ...


class ColumnStats(Frozen):
    """Statistics of an input column over the training rows.

    words: of an id or a category; a word's code is its index plus 1, and 0 is unknown. "" among them stands
        for an empty cell, if training had any.
    features, about: of an id that a side table describes, the names of its features, and per word the indices
        of its features.
    mean, deviation: of a number; the deviation of equal numbers is 0, and nothing is learnt from them.
    gaps: whether training had empty cells. empty: whether all cells were empty.
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
    """Everything from the training table that is needed to encode a row.

    It is fixed at training time, so that a row's answer never depends on other rows.

    classes: target -> class names, in the order of the network's outputs; no entry for a number.
    targets: target -> its other statistics.
    columns: input column other than pictures -> its statistics.
    image_size: (height, width) of kept pictures.  resize, interpolation: how they are resized.
    final_size: (height, width) of the network's input, if it differs.
    mean, std: per channel, of pixels scaled to 0..1.
    white: per image column, the value of white in its float and 32-bit grey pictures, or None.
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
    """Some rows of another reader, renumbered from 0."""

    reader: PictureFiles
    rows: NDArray[np.int64]

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """(rows, height, width, 3) uint8."""
        return self.reader.read(self.rows[rows])

    def pictures(self, sizes: Set[tuple[int, int]] = frozenset()) -> NDArray[np.object_]:
        """(rows,) as `PictureFiles.pictures`."""
        return self.reader.pictures(sizes)[self.rows]

    def sizes(self) -> Set[tuple[int, int]]:
        """(width, height) of the files that were decoded wholly, picked or not."""
        return self.reader.sizes()


@dataclass(frozen=True)
class JoinedImages:
    """The rows of two readers one after the other. count: rows of the first."""

    first: ImageReader
    second: ImageReader
    count: int

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """(rows, height, width, 3) uint8."""
        later = rows >= self.count
        if not later.any():
            return self.first.read(rows)
        pixels = self.second.read(np.where(later, rows - self.count, 0))
        if not later.all():
            pixels[~later] = self.first.read(rows[~later])
        return pixels


#: (rows,) int64 codes of an id or a category, or (rows, 2) float32 of a number: the standardised number, and
#: 1 where it is missing.
Inputs: TypeAlias = NDArray[np.int64 | np.float32]


@dataclass(frozen=True)
class Examples:
    """Rows as arrays.

    ids: (rows,) the name of each row.
    images: a reader per image column.
    labels, weights: target -> see `targets.labels`; the weight is 0 where the label is missing.
    columns: input column other than pictures -> its values.
    importance: (rows,) weights from the column of weights; None without one.
    """

    ids: NDArray[np.object_]
    images: tuple[ImageReader, ...]
    labels: Mapping[str, Labels]
    weights: Mapping[str, Weights]
    columns: Mapping[str, Inputs] = field(default_factory=dict)
    importance: NDArray[np.float64] | None = None

    def weigh(self, rows: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """Relative weights of some rows; None if all rows count equally."""
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
    """Fit the encoding of targets to the whole table, before any split.

    mean, std, interpolation: of the backbone. Returns the encoding and notes, one a line.
    Raises SchemaError for a target without labels or with a single class.
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
    """Rows of a table as arrays, and notes on labels that are not a class of the run.

    ids: the rows' names if they are not in the table.  targets: false to encode only the inputs.
    """
    if ids is None:
        name = schema.row_name
        ids = table.text(name) if name else np.array([str(line) for line in table.lines], dtype=object)
    columns, column_notes = encode_columns(encoding.columns, schema, table)
    if not targets:
        return Examples(ids, tuple(images), {}, {}, columns), column_notes
    labels, weights, notes = label_arrays(encoding.classes, encoding.targets, schema, table)
    importance = None if schema.weight is None else row_weights(schema, table)
    return Examples(ids, tuple(images), labels, weights, columns, importance), [*notes, *column_notes]


# --- columns of the table itself ---------------------------------------------------------------------


def fit_columns(
    schema: Schema,
    table: Table,
    train: NDArray[np.int64],
    weights: NDArray[np.float64] | None = None,
) -> tuple[dict[str, ColumnStats], list[str]]:
    """Statistics of every input column other than pictures, over the training rows only; and notes.

    weights: (training rows,) their weights, 1 if not given; a row of weight 0 is ignored.
    Raises TableError for cells of a number column that are not numbers.
    """
    facts: dict[str, ColumnStats] = {}
    notes: list[str] = []
    gaps: list[str] = []
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
            seen = {str(words[code]) for code in np.unique(codes[train][known])}
            notes.append(Detail(f"{name}: {len(seen)} different values in training"))
            seen |= set() if known.all() else {""}
            facts[name] = ColumnStats(words=tuple(sorted(seen)), gaps=not known.all())
        if not known.any():
            notes.append(f"{name} is empty in every training row: nothing is learnt from it")
        elif isinstance(column, NumberColumn):
            mean, deviation = facts[name].mean, facts[name].deviation
            own = table.numbers(name)[train][known]
            counts = "" if weights is None else " that counts"
            same = f"{name} is {mean:.6g} in every training row{counts}: nothing is learnt from it"
            if own.min() != own.max():
                same = (
                    f"{name} differs by {own.max() - own.min():.3g} around {mean:.6g}, which is taken for a "
                )
                same += "rounding error: nothing is learnt from it; subtract a constant, or is it an id?"
            learnt = Detail(f"{name}: mean {mean:.6g}, deviation {deviation:.6g} in training")
            notes.append(learnt if deviation else same)
        if known.any() and not known.all():
            gaps.append(f"{name} {int((~known).sum())}")
    if gaps:
        notes.append(f"cells missing in training, of {len(train)}: {shortened(gaps)}")
    return facts, notes


def _fit_number(values: NDArray[np.float64], weights: NDArray[np.float64] | None) -> ColumnStats:
    known = ~np.isnan(values)
    gaps = not known.all()
    if not known.any():
        return ColumnStats(deviation=0.0, gaps=gaps, empty=True)
    # Scaled before squaring, so that numbers of 1e200 do not overflow.
    largest = float(np.abs(values[known]).max()) or 1.0
    part = values[known] / largest
    mean, deviation = float(part.mean()), float(part.std())
    if weights is not None:
        mean = float(np.average(part, weights=weights[known]))
        deviation = float(np.sqrt(np.average((part - mean) ** 2, weights=weights[known])))
    # The deviation of equal numbers is 0 or a rounding error: such a column is encoded as 0.
    deviation = deviation * largest if deviation > 1e-12 else 0.0
    return ColumnStats(mean=mean * largest, deviation=deviation, gaps=gaps)


def encode_columns(
    facts: Mapping[str, ColumnStats], schema: Schema, table: Table
) -> tuple[dict[str, Inputs], list[str]]:
    """The input columns other than pictures as arrays, and notes on values that training did not have.

    A column without statistics is left out.
    """
    columns: dict[str, Inputs] = {}
    notes: list[str] = []
    for column in schema.columns:
        if column.name not in facts:
            continue
        encoder = _encode_number if isinstance(column, NumberColumn) else _encode_words
        columns[column.name], column_notes = encoder(facts[column.name], table, column.name)
        notes += column_notes
    return columns, notes


def _encode_number(facts: ColumnStats, table: Table, name: str) -> tuple[Inputs, list[str]]:
    values = table.numbers(name)
    missing = np.isnan(values)
    if facts.empty:
        # The network's weights for this number and its missing-indicator are untrained.
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
        notes.append(f"{name}: {int(missing.sum())} cells missing, none in training: its mean replaces them")
    # The missing-indicator's weight is untrained if training had no missing value: leave it 0.
    mark = missing if facts.gaps else np.zeros(len(values), dtype=np.bool_)
    return np.stack([np.where(missing, 0.0, scaled), mark], axis=1).astype(np.float32), notes


def _encode_words(facts: ColumnStats, table: Table, name: str) -> tuple[Inputs, list[str]]:
    codes, words = table.codes(name)
    code_of = {word: code for code, word in enumerate(facts.words, start=1)}
    notes = []
    same = respelled(map(str, words), facts.words)
    if same:
        listed = shortened([f"{word} for {known}" for word, known in same.items()])
        notes.append(f"{name}: values are written in another way than in training: {listed}")
    code_of |= {word: code_of[known] for word, known in same.items()}
    lookup = np.array([code_of.get(str(word), 0) for word in words], dtype=np.int64)
    missing = table.missing(name)
    encoded = np.where(missing, code_of.get("", 0), lookup[codes])
    unknown = (encoded == 0) & ~missing
    strange = np.unique(codes[unknown])
    if len(strange):
        rows = int(unknown.sum())
        what = "1 value" if len(strange) == 1 else f"{len(strange)} values"
        unseen = [str(words[code]) for code in strange]
        notes.append(
            f"{name}: {what} not seen in training ({shortened(unseen)}): {rows} rows go to its unknown row"
        )
        notes += alike_known(name, unseen, facts.words)
    if missing.any() and "" not in code_of:
        notes.append(
            f"{name}: {int(missing.sum())} empty cells, none in training: they go to its unknown row"
        )
    return encoded, notes
