"""Predictions, submissions and recommendations as CSV files.

Files for machines are exact: ids stand as they were given, since a site compares them byte by byte. A note
then names text cells that a spreadsheet would run as formulas. ``spreadsheet_safe`` makes files for people:
such cells get a leading apostrophe. Numbers are never touched: -0.25 stays -0.25.
"""

from __future__ import annotations

import csv
import gzip
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tenfold.errors import LISTED, OutputError, SchemaError, did_you_mean
from tenfold.out.files import replacing
from tenfold.out.sample import Sample, match_ids, read_sample, write_sample
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
    "write_neighbours",
    "write_pairs",
    "write_predictions",
    "write_recommendations",
    "write_submission",
    "write_table",
]

#: Cells that begin so are formulas to a spreadsheet; the wide forms are what some of them turn into these.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?")
OTHER_FORMATS = (
    ".parquet",
    ".xlsx",
    ".xls",
    ".ods",
    ".json",
    ".jsonl",
    ".feather",
    ".arrow",
    ".html",
    ".zip",
)

Path_ = str | os.PathLike[str]


@dataclass(frozen=True)
class _Column:
    """cells: what the csv module writes; text: the cells are words, not numbers."""

    name: str
    cells: Sequence[Any]
    text: bool


def _words(name: str, values: ArrayLike) -> _Column:
    cells = np.asarray(values, dtype=object).tolist()
    return _Column(name, ["" if one is None else str(one) for one in cells], True)


def _numbers(name: str, values: ArrayLike, *, whole: bool = False) -> _Column:
    """Numbers in the fewest digits that read back as the same; NaN is an empty cell.

    whole: write 3 for 3.0 where all numbers of the column are whole.
    """
    array = np.asarray(values)
    if array.dtype.kind in "iub":
        return _Column(
            name, array.astype(np.int64 if array.dtype.kind == "b" else array.dtype).tolist(), False
        )
    there = np.isfinite(array)
    if whole and there.any() and np.all(array[there] == np.floor(array[there])) and not np.isinf(array).any():
        return _Column(name, [int(one) if one == one else "" for one in array.tolist()], False)
    cells = array.tolist() if array.dtype == np.float64 else array.astype(str).tolist()
    return _Column(
        name, ["" if gone else one for one, gone in zip(cells, np.isnan(array), strict=True)], False
    )


def write_table(
    path: Path_, columns: Mapping[str, ArrayLike], *, spreadsheet_safe: bool = False
) -> tuple[str, ...]:
    """Write columns of equal length; returns what is to be said.

    Text is written as it is, None and NaN as an empty cell, true and false as 1 and 0, and floats that are
    all whole without their point. The ending decides: ``.tsv`` has tabs, all else commas, ``.gz`` is packed.
    """
    made = []
    for name, values in columns.items():
        array = np.asarray(values)
        number = array.dtype.kind in "iubf"
        made.append(_numbers(name, array, whole=True) if number else _words(name, array))
    return _write(path, made, spreadsheet_safe)


def write_predictions(
    path: Path_,
    predictions: Predictions,
    *,
    id_name: str = "id",
    probabilities: bool = False,
    spreadsheet_safe: bool = False,
) -> tuple[str, ...]:
    """One line per input row, in input order: its id, each target's answer, on request ``target:class``.

    Several labels of a row are joined by the target's separator; where they were read from columns of 0 and
    1, they are such columns again.

    If any row failed, columns `failed` (0 or 1) and `reason` follow, and its answers are empty. Numbers have
    all their digits, so that a metric of the file is the metric that was printed. Returns what is to be said.
    """
    failed = np.asarray(predictions.failed, dtype=bool)
    columns = [_words(id_name, predictions.ids)]
    for name, target in predictions.targets.items():
        columns += _answers(name, target, failed)
        if probabilities and target.probabilities is not None:
            for place, word in enumerate(target.classes):
                column = np.where(failed, np.nan, target.probabilities[:, place])
                columns.append(_numbers(f"{name}:{word}", column))
    if failed.any():
        taken = {column.name for column in columns}
        reasons = [str(predictions.reasons.get(row, "")) for row in range(len(failed))]
        columns.append(_numbers(_free("failed", taken), failed))
        columns.append(_words(_free("reason", taken), np.array(reasons, dtype=object)))
    return _write(path, columns, spreadsheet_safe)


def _answers(name: str, target: TargetPrediction, failed: NDArray[np.bool_]) -> list[_Column]:
    if target.columns:
        table = answer_table(target)
        return [
            _numbers(column, np.where(failed, np.nan, table[:, place]), whole=True)
            for place, column in enumerate(target.columns)
        ]
    values = np.asarray(answer_words(target))
    if values.dtype.kind in "iuf":
        return [_numbers(name, np.where(failed, np.nan, values) if failed.any() else values)]
    words = ["" if gone else _text(one) for one, gone in zip(values.tolist(), failed, strict=True)]
    return [_Column(name, words, True)]


def _text(value: Any) -> str:
    """A decoded answer as text."""
    return "" if value is None else str(value)


def _free(name: str, taken: set[str]) -> str:
    return name if name not in taken else _free(f"row_{name}", taken)


def write_recommendations(
    path: Path_, recommendations: Recommendations, *, spreadsheet_safe: bool = False
) -> tuple[str, ...]:
    """One line per user and rank: user, item, name, rank, score, deviation, known_user and, where there are
    any, reasons ("Title (0.31); Other title (0.12)"). Returns what is to be said."""
    columns = [
        _words("user", recommendations.users),
        _words("item", recommendations.items),
        _words("name", recommendations.names),
        _numbers("rank", recommendations.rank),
        _numbers("score", recommendations.score),
        _numbers("deviation", recommendations.deviation),
        _numbers("known_user", recommendations.known_user),
    ]
    if any(recommendations.reasons):
        why = ["; ".join(f"{item} ({moved:.2f})" for item, moved in row) for row in recommendations.reasons]
        columns.append(_words("reasons", np.array(why, dtype=object)))
    return _write(path, columns, spreadsheet_safe)


def write_pairs(path: Path_, pairs: PairPredictions, *, spreadsheet_safe: bool = False) -> tuple[str, ...]:
    """One line per asked pair, in the order asked, with what is known of its user and its item."""
    columns = [
        _words("user", pairs.users),
        _words("item", pairs.items),
        _numbers("score", pairs.score),
        _numbers("deviation", pairs.deviation),
        _numbers("known_user", pairs.known_user),
        _numbers("known_item", pairs.known_item),
        _words("item_state", pairs.item_state),
    ]
    return _write(path, columns, spreadsheet_safe)


def write_neighbours(path: Path_, found: Neighbours, *, spreadsheet_safe: bool = False) -> tuple[str, ...]:
    """One line per asked user or item and rank, with the cosine of the two."""
    columns = [
        _words("asked", found.asked),
        _words("found", found.found),
        _words("name", found.names),
        _numbers("rank", found.rank),
        _numbers("cosine", found.cosine),
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
    suffixes = [one.lower() for one in Path(path).suffixes[-2:]]
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
                # File names may hold bytes that are no text; they leave as they came.
                raw.write(lines.encode("utf-8", "surrogateescape"))
    return tuple(notes)


class _Lines(list[str]):
    """What the csv module writes, with lines that end in a line feed only."""

    def write(self, line: str) -> None:
        self.append(line[:-2] + "\n")


def _lines(columns: Sequence[_Column], separator: str) -> Iterator[str]:
    """The table as text, some thousand rows at a time."""
    rows = zip(*(column.cells for column in columns), strict=True)
    piece: list[Sequence[Any]] = [[column.name for column in columns]]
    while piece:
        lines = _Lines()
        # The csv module quotes only those line ends that it writes itself, and a cell may hold either.
        csv.writer(lines, delimiter=separator, lineterminator="\r\n").writerows(piece)
        yield "".join(lines)
        piece = list(islice(rows, 8192))


# --- formulas ----------------------------------------------------------------------------------------


def _is_formula(cell: str) -> bool:
    return cell.startswith(FORMULA) and not NUMBER.fullmatch(cell)


def _guard(columns: Sequence[_Column], safe: bool) -> tuple[list[str], list[_Column]]:
    """Find text cells, and column names, that a spreadsheet would run; neutralise them if asked to."""
    guarded, where = [], []
    for column in columns:
        rows = [row for row, cell in enumerate(column.cells) if _is_formula(cell)] if column.text else []
        bad_name = _is_formula(column.name)
        where += [(1, column.name, column.name)] if bad_name else []
        where += [(row + 2, column.name, column.cells[row]) for row in rows]
        if safe and (rows or bad_name):
            cells = list(column.cells)
            for row in rows:
                cells[row] = "'" + cells[row]
            column = _Column("'" * bad_name + column.name, cells, column.text)
        guarded.append(column)
    return _formula_notes(where, safe), guarded


def _formula_notes(where: Sequence[tuple[int, str, str]], safe: bool) -> list[str]:
    if not where:
        return []
    shown = [f"row {line} {column}: {cell!r}" for line, column, cell in sorted(where)[:LISTED]]
    shown += [f"and {len(where) - LISTED} more"] if len(where) > LISTED else []
    done = (
        "were given a leading apostrophe, so that a spreadsheet shows them as text"
        if safe
        else "begin like formulas; they are written exactly as they are, for machines: do not open the "
        "file in a spreadsheet, or write it with spreadsheet_safe"
    )
    return [f"{len(where)} cells {done}: {'; '.join(shown)}"]


# --- submissions -------------------------------------------------------------------------------------


def write_submission(
    path: Path_,
    predictions: Predictions,
    *,
    like: Path_,
    fill_missing: str | float | None = None,
    columns: Mapping[str, str | None] | None = None,
    id_column: str | None = None,
) -> tuple[str, ...]:
    """Fill in a sample submission: its ids, order, header, separator, quotes, line ends and number look.

    A column is filled with the target of its name, or with the probability of the class of its name (also
    ``target:class`` and ``target_class``); the only column beside the id with the only target. `columns` says
    it otherwise: sample column -> target, ``target:class``, or None to keep the sample's cells. `id_column`
    is otherwise the column whose cells are predicted ids.

    Ids of the sample without a prediction are an OutputError, unless `fill_missing` is the value to write
    for them. Predicted ids that the sample does not have are named in the notes that are returned.
    """
    sample = read_sample(like)
    id_place, matches, notes = _find_ids(sample, predictions, id_column)
    sources = _find_sources(sample, id_place, predictions, dict(columns or {}))
    chosen, said = _choose_rows(sample, id_place, matches, predictions, fill_missing is not None)
    notes = [*notes, *sources.notes, *said]
    filled = {}
    for place, (target, word) in sources.columns.items():
        answer = _as_text(predictions.targets[target], word)
        filled[place] = [str(fill_missing) if row < 0 else answer[row] for row in chosen]
    notes += write_sample(path, sample, filled)
    where = [
        (sample.lines[number], sample.names[place], cell)
        for place, cells in {**filled, id_place: sample.cells(id_place)}.items()
        for number, cell in enumerate(cells)
        if _is_formula(cell)
    ]
    return (*notes, *_formula_notes(where, safe=False))


def _as_text(target: TargetPrediction, word: str | None) -> list[str]:
    """A target's answers, or the probabilities of one class, as texts."""
    if word is not None and target.probabilities is not None:
        return [repr(one) for one in target.probabilities[:, target.classes.index(word)].tolist()]
    values = np.asarray(answer_words(target))
    if values.dtype.kind == "f":
        return [repr(float(one)) for one in values.tolist()]
    return [_text(one) for one in values.tolist()]


def _find_ids(
    sample: Sample, predictions: Predictions, id_column: str | None
) -> tuple[int, list[list[int]], list[str]]:
    """The sample's id column, and for each of its rows the predicted rows of that id."""
    ids = [str(one) for one in predictions.ids.tolist()]
    places = range(len(sample.names)) if id_column is None else [sample.column(id_column)]
    best: tuple[int, list[list[int]], tuple[str, ...]] | None = None
    most = 0
    for place in places:
        cells = sample.cells(place)
        found, notes = match_ids(cells, ids)
        hits = len({cell for cell, rows in zip(cells, found, strict=True) if rows})
        # The first column unless another fits better; a column of zeros is no id because a row is called 0.
        if hits > most and (place == places[0] or hits >= len(cells) / 2):
            best, most = (place, found, notes), hits
        if hits == len(cells):
            break
    if best is None:
        wanted = sample.cells(places[0])[:3]
        raise OutputError(
            f"no id of {sample.name} is among the predicted rows",
            found=f"sample: {', '.join(wanted)} ...; predicted: {', '.join(ids[:3])} ...",
            fix="predict the table that the sample belongs to, and name its id column",
        )
    return best[0], best[1], list(best[2])


@dataclass(frozen=True)
class _Sources:
    """columns: place in the sample -> (target, class or None for the decoded answer)."""

    columns: dict[int, tuple[str, str | None]]
    notes: list[str]


def _find_sources(
    sample: Sample, id_place: int, predictions: Predictions, said: dict[str, str | None]
) -> _Sources:
    """What goes into each column of the sample."""
    targets = predictions.targets
    for name in said:
        sample.column(name)
    free = {name: place for place, name in enumerate(sample.names) if place != id_place}
    known = {name: (name, None) for name in targets} | _class_columns(targets)
    folded: dict[str, tuple[str, str | None] | None] = {}
    for name, source in known.items():  # a name that fits two of them but for its case fits none
        folded[name.casefold()] = None if name.casefold() in folded else source
    columns: dict[int, tuple[str, str | None]] = {}
    notes, lost = [], []
    for name, place in free.items():
        asked = said.get(name, name)
        source = known.get(asked or "") or folded.get((asked or "").casefold())
        if asked is None:
            notes.append(f"column {name!r} is kept as the sample has it")
        elif source is not None:
            columns[place] = source
        elif name not in said and len(free) == 1 and len(targets) == 1:
            columns[place] = (next(iter(targets)), None)
            notes.append(f"column {name!r} is filled with {next(iter(targets))!r}")
        else:
            lost.append(f"column {name!r}: {asked!r} is no target and no class; {did_you_mean(asked, known)}")
    if lost or not columns:
        raise SchemaError(
            f"{sample.name} has columns that the predictions do not fill",
            problems=lost or [f"{sample.name} has no column to fill"],
            found="; ".join(_describe(name, target) for name, target in targets.items()),
            fix="say what goes into them: columns = {'column': 'target'}, 'target:class', or None to keep it",
        )
    return _Sources(columns, notes + _absent_notes(sample, columns, targets))


def _class_columns(targets: Mapping[str, TargetPrediction]) -> dict[str, tuple[str, str | None]]:
    """Names that mean the probability of a class; a class name that two targets share means neither."""
    names: dict[str, tuple[str, str | None]] = {}
    shared = set()
    for name, target in targets.items():
        for word in target.classes if target.probabilities is not None else ():
            shared |= {word} if word in names else set()
            names |= {word: (name, word), f"{name}:{word}": (name, word), f"{name}_{word}": (name, word)}
    return {name: source for name, source in names.items() if name not in shared and name not in targets}


def _absent_notes(
    sample: Sample, columns: Mapping[int, tuple[str, str | None]], targets: Mapping[str, TargetPrediction]
) -> list[str]:
    notes = []
    for name, target in targets.items():
        used = {word for source, word in columns.values() if source == name}
        left = [word for word in target.classes if word not in used]
        if used - {None} and left and len(target.classes) > 2:  # of two, one says all
            notes.append(f"{name}: classes without a column in {sample.name}: {', '.join(left[:LISTED])}")
        if not used:
            notes.append(f"{name}: has no column in {sample.name}")
    return notes


def _describe(name: str, target: TargetPrediction) -> str:
    more = " ..." if len(target.classes) > LISTED else ""
    return f"{name} ({', '.join(target.classes[:LISTED])}{more})" if target.classes else f"{name} (a number)"


def _choose_rows(
    sample: Sample, id_place: int, matches: list[list[int]], predictions: Predictions, fill: bool
) -> tuple[list[int], list[str]]:
    """The predicted row for each row of the sample, -1 where one is filled in, and what is to be said."""
    ids = sample.cells(id_place)
    failed = _broken(predictions)
    seen: dict[str, int] = {}
    times: dict[str, int] = {}
    for one in ids:
        times[one] = times.get(one, 0) + 1
    chosen, lacking, unclear = [], [], []
    for number, (one, rows) in enumerate(zip(ids, matches, strict=True)):
        turn = seen[one] = seen.get(one, -1) + 1
        if len(rows) > 1 and times[one] != len(rows) and not _alike(predictions, rows):
            unclear.append(
                f"line {sample.lines[number]}: id {one!r} is there {times[one]} times in the sample, and "
                f"{len(rows)} times in the predictions with different answers"
            )
        # An id that both have equally often is joined in order of appearance.
        row = rows[turn] if len(rows) == times[one] else rows[0] if rows else -1
        if row < 0:
            lacking.append(f"line {sample.lines[number]}: id {one!r} is not among the predicted rows")
        elif failed[row]:
            reason = predictions.reasons.get(row, "its answer is not a number")
            lacking.append(f"line {sample.lines[number]}: id {one!r} could not be predicted: {reason}")
            row = -1
        chosen.append(row)
    if unclear:
        raise OutputError(
            f"{sample.name}: ids cannot be joined",
            problems=unclear,
            fix="give each id once, or as often in both",
        )
    if lacking and not fill:
        raise OutputError(
            f"{len(lacking)} of {len(ids)} ids of {sample.name} have no prediction",
            problems=lacking,
            fix="predict them too, or give fill_missing, the value to write for them",
        )
    notes = (
        [f"{len(lacking)} of {len(ids)} rows are filled in: {'; '.join(lacking[:LISTED])}"] if lacking else []
    )
    used = {row for rows in matches for row in rows}
    extra = [str(one) for row, one in enumerate(predictions.ids.tolist()) if row not in used]
    if extra:
        more = f" and {len(extra) - LISTED} more" if len(extra) > LISTED else ""
        notes.append(
            f"{len(extra)} predicted ids are not in {sample.name}: {', '.join(extra[:LISTED])}{more}"
        )
    return chosen, notes


def _broken(predictions: Predictions) -> NDArray[np.bool_]:
    """Rows that failed, or whose answer holds a NaN."""
    broken = np.array(predictions.failed, dtype=bool)
    for target in predictions.targets.values():
        if target.probabilities is not None:
            broken |= np.isnan(target.probabilities).any(axis=1)
        elif np.asarray(target.values).dtype.kind == "f":
            broken |= np.isnan(target.values)
    return broken


def _alike(predictions: Predictions, rows: Sequence[int]) -> bool:
    """Whether doubled rows have one answer."""
    for target in predictions.targets.values():
        if len({_text(one) for one in np.asarray(target.values)[list(rows)].tolist()}) > 1:
            return False
        chance = target.probabilities
        if chance is not None and not np.allclose(
            chance[list(rows)], chance[rows[0]], atol=1e-6, equal_nan=True
        ):
            return False
    return True
