"""What makes a score too good although the split is right: copies of rows, inputs that say the target."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tenfold.data.split.holdout import Split
from tenfold.data.tables.table import Table
from tenfold.errors import shortened
from tenfold.schema import CategoryColumn, NumberColumn, Schema
from tenfold.targets.kinds import kind_of

__all__ = ["leak_notes"]

Texts = NDArray[np.object_]
#: Rows of a few categories are often alike, and that says nothing: told where so many rows differ ...
_DISTINCT = 0.25
#: ... and this fraction of the held-out rows is a copy.
_COPIES = 0.1
#: Fewer rows say nothing of a column.
_LEAST = 20
#: A correlation that rounding alone keeps from 1.
_SAME = 1 - 1e-9


def leak_notes(table: Table, schema: Schema, ids: Texts, marks: Texts, split: Split) -> list[str]:
    """Messages about what a reader should look at before believing the score; empty where nothing is found.

    ids: (rows,) names.  marks: (rows,) equal for rows of equal inputs.
    """
    notes = [*_told_targets(table, schema), *_single_values(table, schema)]
    if not len(split.valid):
        return notes
    if schema.id is not None and schema.split is None and schema.id not in schema.group:
        known = set(ids[split.train].tolist()) - {""}
        both = sorted({name for name in ids[split.valid].tolist() if name in known})
        if both:
            notes.append(
                f"{len(both)} values of column {schema.id!r} stand on both sides of the split: if rows of "
                f"one are the same thing, --group {schema.id} keeps them together: {shortened(both)}"
            )
    if not schema.images and len(np.unique(marks)) >= _DISTINCT * len(marks):
        copies = int(np.isin(marks[split.valid], marks[split.train]).sum())
        if copies >= max(2, _COPIES * len(split.valid)):
            notes.append(
                f"{copies} of {len(split.valid)} held-out rows have the inputs of a training row: if rows "
                "were copied, their score is too good; give a column that copies share as --group"
            )
    return notes


def _told_targets(table: Table, schema: Schema) -> list[str]:
    """Inputs that say the target in every row."""
    notes = []
    for target in schema.answers:
        if target.name not in table.names:
            continue
        for column in schema.columns:
            if kind_of(target).numeric:
                same = isinstance(column, NumberColumn) and _on_a_line(
                    table.numbers(column.name), table.numbers(target.name)
                )
            elif isinstance(column, CategoryColumn):
                same = _one_to_one(table, column.name, target.name)
            else:
                same = _equal(table, column.name, target.name)
            if same:
                notes.append(
                    f"column {column.name!r} says the target {target.name!r} in every row: the score is too "
                    "good if it is not known when you predict"
                )
    return notes


def _on_a_line(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    known = np.isfinite(one) & np.isfinite(other)
    if known.sum() < _LEAST:
        return False
    pair = np.stack([one[known], other[known]])
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        pair = pair - pair.mean(axis=1, keepdims=True)
        pair = pair / np.abs(pair).max(axis=1, keepdims=True)
        both = np.corrcoef(pair)[0, 1] if np.isfinite(pair).all() else 0.0
    return bool(abs(both) > _SAME)


def _codes(table: Table, *names: str) -> NDArray[np.uint32]:
    """(columns, rows) codes of the cells, of the rows where none is missing."""
    known = ~np.any([table.missing(name) for name in names], axis=0)
    return np.stack([table.codes(name)[0][known] for name in names])


def _one_to_one(table: Table, one: str, other: str) -> bool:
    codes = _codes(table, one, other)
    pairs = len(np.unique(codes, axis=1).T)
    counts = [len(np.unique(column)) for column in codes]
    return codes.shape[1] >= _LEAST and counts == [pairs, pairs] and 1 < pairs <= codes.shape[1] // 2


def _equal(table: Table, number: str, words: str) -> bool:
    """Whether the cells of a column of words are the numbers of another."""
    codes, texts = table.codes(words)
    written = np.array([_number(str(text)) for text in texts], dtype=np.float64)[codes]
    known = ~table.missing(words) & np.isfinite(table.numbers(number))
    return int(known.sum()) >= _LEAST and bool((table.numbers(number)[known] == written[known]).all())


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan


def _single_values(table: Table, schema: Schema) -> list[str]:
    """Columns of categories in which no value stands twice."""
    notes = []
    for column in schema.columns:
        if isinstance(column, CategoryColumn):
            (codes,) = _codes(table, column.name)
            if len(codes) >= _LEAST and len(np.unique(codes)) == len(codes):
                notes.append(
                    f"column {column.name!r} has another value in each of {len(codes)} rows: nothing that is "
                    "learned from it holds for other rows; leave it out"
                )
    return notes
