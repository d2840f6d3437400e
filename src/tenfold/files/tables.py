"""Predictions and recommendations as CSV files.

Files for machines are exact: ids stay as they were given, since a site compares them byte by byte. A note
names text cells that a spreadsheet would run as formulas. ``spreadsheet_safe`` makes files for people: such
cells get a leading apostrophe. Numbers are never touched: -0.25 stays -0.25.
"""

from __future__ import annotations

import csv
import gzip
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tenfold.errors import LISTED, OutputError
from tenfold.files.atomic import replacing
from tenfold.values import (
    Neighbours,
    PairPredictions,
    Predictions,
    Recommendations,
    TargetPrediction,
    answer_table,
    answer_words,
)

__all__ = [
    "answer_text",
    "formula_notes",
    "is_formula",
    "write_neighbours",
    "write_pairs",
    "write_predictions",
    "write_recommendations",
]

#: Cells that begin so are formulas to a spreadsheet; some spreadsheets turn the wide forms into these.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?")
OTHER_FORMATS = tuple(f".{end}" for end in "parquet xlsx xls ods json jsonl feather arrow html zip".split())

Path_ = str | os.PathLike[str]


@dataclass(frozen=True)
class _Column:
    """cells: what the csv module writes; text: the cells are words, not numbers."""

    name: str
    cells: Sequence[str | float]
    text: bool


def _words(name: str, values: ArrayLike) -> _Column:
    return _Column(name, [answer_text(value) for value in np.asarray(values, dtype=object).tolist()], True)


def _numbers(name: str, values: ArrayLike, *, whole: bool = False) -> _Column:
    """Numbers in the fewest digits that read back as the same; NaN is an empty cell.

    whole: write 3 for 3.0 where all numbers of the column are whole.
    """
    array = np.asarray(values)
    if array.dtype.kind in "iub":
        return _Column(name, (array + 0).tolist(), False)
    known = ~np.isnan(array)
    if whole and known.any() and all(value.is_integer() for value in array[known].tolist()):
        return _Column(name, [int(value) if value == value else "" for value in array.tolist()], False)
    cells = array.tolist() if array.dtype == np.float64 else array.astype(str).tolist()
    return _Column(name, [cell if there else "" for cell, there in zip(cells, known, strict=True)], False)


def write_predictions(
    path: Path_,
    predictions: Predictions,
    *,
    id_name: str = "id",
    probabilities: bool = False,
    spreadsheet_safe: bool = False,
) -> tuple[str, ...]:
    """Write a line per input row, in input order: id, each target's answer, on request ``target:class``.

    Several labels of a row are joined by the target's separator, or written as columns of 0 and 1 where they
    were read from such columns.

    If any row failed, columns `failed` (0 or 1) and `reason` follow, and its answers are empty. Numbers have
    all their digits, so that a metric of the file is the metric that was printed. Returns messages.
    """
    failed = np.asarray(predictions.failed, dtype=bool)
    columns = [_words(id_name, predictions.ids)]
    for name, target in predictions.targets.items():
        columns += _answers(name, target, failed)
        if probabilities and target.probabilities is not None:
            for word, column in zip(target.classes, target.probabilities.T, strict=True):
                columns.append(_numbers(f"{name}:{word}", np.where(failed, np.nan, column)))
    if failed.any():
        taken = {column.name for column in columns}
        reasons = [str(predictions.reasons.get(row, "")) for row in range(len(failed))]
        columns.append(_numbers(_free("failed", taken), failed))
        columns.append(_words(_free("reason", taken), reasons))
    return _write(path, columns, spreadsheet_safe)


def _answers(name: str, target: TargetPrediction, failed: NDArray[np.bool_]) -> list[_Column]:
    if target.columns:
        table = np.where(failed[:, None], np.nan, answer_table(target))
        return [_numbers(*column, whole=True) for column in zip(target.columns, table.T, strict=True)]
    values = np.asarray(answer_words(target))
    if values.dtype.kind in "iuf":
        return [_numbers(name, np.where(failed, np.nan, values) if failed.any() else values)]
    return [_words(name, np.where(failed, "", values.astype(object)))]


def answer_text(value: object) -> str:
    """A decoded answer as text, "" where there is none."""
    return "" if value is None else str(value)


def _free(name: str, taken: set[str]) -> str:
    return name if name not in taken else _free(f"row_{name}", taken)


def write_recommendations(
    path: Path_, recommendations: Recommendations, *, spreadsheet_safe: bool = False
) -> tuple[str, ...]:
    """Write a line per user and rank: user, item, name, rank, score, deviation, known_user and, where there
    are any, ranking, item_state, user_state and reasons ("Title (0.31); Other title (0.12)").

    Returns messages."""
    columns = [
        _words("user", recommendations.users),
        _words("item", recommendations.items),
        _words("name", recommendations.names),
        _numbers("rank", recommendations.rank),
        _numbers("score", recommendations.score),
        _numbers("deviation", recommendations.deviation),
        _numbers("known_user", recommendations.known_user),
    ]
    if recommendations.ranking is not None:
        columns.append(_numbers("ranking", recommendations.ranking))
    if recommendations.item_state is not None:
        columns.append(_words("item_state", recommendations.item_state))
    if recommendations.user_state is not None:
        columns.append(_words("user_state", recommendations.user_state))
    if any(recommendations.reasons):
        why = ["; ".join(f"{item} ({moved:.2f})" for item, moved in row) for row in recommendations.reasons]
        columns.append(_words("reasons", why))
    return _write(path, columns, spreadsheet_safe)


def write_pairs(path: Path_, pairs: PairPredictions, *, spreadsheet_safe: bool = False) -> tuple[str, ...]:
    """Write a line per asked pair, in the order asked, with whether its user and its item are known."""
    columns = [
        _words("user", pairs.users),
        _words("item", pairs.items),
        _numbers("score", pairs.score),
        _numbers("deviation", pairs.deviation),
        _numbers("known_user", pairs.known_user),
        _numbers("known_item", pairs.known_item),
        _words("item_state", pairs.item_state),
    ]
    if pairs.user_state is not None:
        columns.append(_words("user_state", pairs.user_state))
    return _write(path, columns, spreadsheet_safe)


def write_neighbours(
    path: Path_, neighbours: Neighbours, *, spreadsheet_safe: bool = False
) -> tuple[str, ...]:
    """Write a line per asked user or item and rank, with the cosine of the two."""
    columns = [
        _words("asked", neighbours.asked),
        _words("found", neighbours.found),
        _words("name", neighbours.names),
        _numbers("rank", neighbours.rank),
        _numbers("cosine", neighbours.cosine),
    ]
    return _write(path, columns, spreadsheet_safe)


def _write(path: Path_, columns: Sequence[_Column], spreadsheet_safe: bool) -> tuple[str, ...]:
    names = [column.name for column in columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise OutputError(
            f"{path} would have the column {twice[0]!r} twice",
            found=", ".join(names),
            fix="call the id or the target otherwise",
        )
    if len({len(column.cells) for column in columns}) > 1:
        raise ValueError(f"columns of different lengths: {[len(column.cells) for column in columns]}")
    suffixes = [suffix.lower() for suffix in Path(path).suffixes[-2:]]
    packed = suffixes[-1:] == [".gz"]
    suffix = (suffixes[:-1] if packed else suffixes)[-1:] or [""]
    if suffix[0] in OTHER_FORMATS:
        raise OutputError(f"{path}: tables are written as CSV, not {suffix[0]}", fix="name it .csv or .tsv")
    notes, columns = _guard(columns, spreadsheet_safe)
    separator = "\t" if suffix[0] in (".tsv", ".tab") else ","
    with replacing(path) as stream:
        # No name and no time inside: equal tables are equal files.
        packer = gzip.GzipFile("", "wb", fileobj=stream, mtime=0) if packed else nullcontext(stream)
        with packer as raw:
            for lines in _lines(columns, separator):
                # File names may hold bytes that are not text; they leave as they came.
                raw.write(lines.encode("utf-8", "surrogateescape"))
    return tuple(notes)


class _Lines(list[str]):
    """What the csv module writes, with lines that end in a line feed only."""

    def write(self, line: str) -> None:
        self.append(line[:-2] + "\n")


def _lines(columns: Sequence[_Column], separator: str) -> Iterator[str]:
    """The table as text, some thousand rows at a time."""
    rows = zip(*(column.cells for column in columns), strict=True)
    piece: list[Sequence[str | float]] = [[column.name for column in columns]]
    while piece:
        lines = _Lines()
        # The csv module quotes only those line ends that it writes itself, and a cell may hold either.
        csv.writer(lines, delimiter=separator, lineterminator="\r\n").writerows(piece)
        yield "".join(lines)
        piece = list(islice(rows, 8192))


# --- formulas ----------------------------------------------------------------------------------------


def is_formula(cell: str) -> bool:
    """Whether a spreadsheet would run this text."""
    return cell.startswith(FORMULA) and not NUMBER.fullmatch(cell)


def _guard(columns: Sequence[_Column], safe: bool) -> tuple[list[str], list[_Column]]:
    """Find text cells, and column names, that a spreadsheet would run; neutralise them if asked to."""
    guarded, where = [], []
    for column in columns:
        cells = [column.name, *map(str, column.cells if column.text else ())]
        formulas = [(row, cell) for row, cell in enumerate(cells) if is_formula(cell)]
        where += [(row + 1, column.name, cell) for row, cell in formulas]
        if safe and formulas:
            for row, cell in formulas:
                cells[row] = "'" + cell
            column = _Column(cells[0], cells[1:] if column.text else column.cells, column.text)
        guarded.append(column)
    return formula_notes(where, safe), guarded


def formula_notes(where: Sequence[tuple[int, str, str]], safe: bool) -> list[str]:
    """The note on cells that are formulas: line, column and text.  safe: they were neutralised."""
    if not where:
        return []
    shown = [f"row {line} {column}: {cell!r}" for line, column, cell in sorted(where)[:LISTED]]
    shown += [f"and {len(where) - LISTED} more"] if len(where) > LISTED else []
    done = (
        "were given a leading apostrophe, so that a spreadsheet shows them as text"
        if safe
        else "begin like formulas; they are written exactly as they are, for machines: do not open the "
        "file in a spreadsheet, or write it with --spreadsheet-safe (spreadsheet_safe=True in Python)"
    )
    return [f"{len(where)} cells {done}: {'; '.join(shown)}"]
