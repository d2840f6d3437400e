"""The rows of a run that are explained: their table, their choice, and their labels."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tenfold.data.tables.table import Table, read_parquet_columns
from tenfold.errors import RunError, SchemaError, TenfoldError, did_you_mean
from tenfold.networks.inputs import Rows, read_source
from tenfold.runs.heldout import remembered_rows, representative_rows
from tenfold.runs.options import Reading
from tenfold.runs.reading import reading_notes
from tenfold.runs.record import RunRecord
from tenfold.runs.run import OpenedRun
from tenfold.targets.base import Labels, TargetKind
from tenfold.targets.labels import Classes


def rows_source(
    run: OpenedRun, held: str, classes: Classes, table: object, reading: Reading
) -> tuple[Table, Reading, list[str]]:
    """The table of the rows: the given one, the one of the training, or what the run itself remembers.

    held: file of the run folder with its held-out rows.  classes: target -> class list.
    Raises RunError where none can be read any more.
    """
    record = _reading_record(run)
    if table is not None:
        source, reading = read_source(table, run.schema, reading, record)
        return source, reading, reading_notes(source)
    known = run.record.table
    why = "the run was fitted to a table in memory, so it knows no file of it"
    if run.members:
        why = "its members were fitted to different tables, or to tables in memory"
    if known and os.path.exists(known):
        try:
            source, reading = read_source(known, run.schema, reading, record)
            run.schema.check_columns(source.known, source.source, targets=False)
            return source, reading, reading_notes(source)
        except TenfoldError as error:
            why = f"{known}: {error.headline}"
    elif known:
        why = f"the training's table {known} is not there any more"
    kept = remembered_rows(run.path, held, run.schema, classes)
    if kept is not None:
        source, reading = read_source(kept, run.schema, reading)
        return source, reading, [f"{why}: explained are validation rows, as the run remembers them"]
    raise RunError(
        f"the rows of {run.path} cannot be read again: {why}",
        found=f"searched from {Path.cwd()}",
        fix="give the table with --table, and its pictures with --image COLUMN=FOLDER",
    )


def _reading_record(run: OpenedRun) -> RunRecord:
    """How the run's table was read; that of a blend as its first member has read it."""
    if not run.members or "reading" in run.record.values:
        return run.record
    return run.record.with_values(reading=run.members[0].runs[0].record.reading)


def choose_rows(
    run: OpenedRun, held: str, classes: Classes, table: Table, wanted: list[str], n: int, *, own: bool
) -> tuple[NDArray[np.int64], list[str], list[str]]:
    """Indices of the chosen rows in the table, why each was chosen, and messages.

    wanted: ids; representative held-out rows where there are none, n at most.  classes: target -> class list.
    own: whether the table is the run's own.  Raises SchemaError for an id that is not in the table.
    """
    name = run.schema.row_name
    ids = [str(word) for word in table.row_names(name)]
    index = {word: row for row, word in reversed(list(enumerate(ids)))}
    if wanted:
        stems = {Path(word).stem: row for word, row in reversed(list(index.items()))}
        asked = [word.strip() for word in wanted]
        strange = [word for word in asked if word not in index and word not in stems]
        if strange:
            raise SchemaError(
                f"{len(strange)} of {len(wanted)} rows are not in {table.source}",
                problems=[f"{word!r}: {did_you_mean(word, ids)}" for word in strange],
                fix=f"give ids of column {name!r}" if name else "give line numbers; the header is line 1",
            )
        chosen = list(dict.fromkeys(index[word] if word in index else stems[word] for word in asked))
        return np.array(chosen, dtype=np.int64), ["asked for"] * len(chosen), []
    path = run.path / held
    # Lines of another table are other rows, whatever their numbers.
    if path.exists() and (own or name):
        columns = read_parquet_columns(path)
        picked = representative_rows(columns, run.schema.answers, classes, n)
        there = [(index[word], why) for word, why in picked if word in index]
        lost = len(picked) - len(there)
        notes = [f"{lost} representative validation rows are not in {table.source} any more"] if lost else []
        # A table of other rows may share a few names with the training's.
        if there and (own or 2 * len(there) >= len(picked)):
            return np.array([row for row, _ in there], dtype=np.int64), [why for _, why in there], notes
    count = min(n, table.rows)
    note = "no validation rows to choose from" if own else "rows of another table"
    return np.arange(count), ["first in the table"] * count, [f"{note}: the first {count} are explained"]


def row_labels(kind: TargetKind, rows: Rows, good: NDArray[np.int64]) -> tuple[Labels, list[str], list[str]]:
    """Labels as `targets.labels` has them, the same in words, and messages; all missing where the table lacks
    a column."""
    table = rows.table
    cells = table.text(kind.name, ids=False)[good] if kind.name in table.names else None
    if all(name in table.names for name in kind.columns):
        labels, notes = kind.scoring_labels(table)
        labels = labels[good]
    else:
        labels = kind.unlabelled(len(good))
        notes = [f"{table.source} has no labels of {kind.name}: its losses are left out"]
    return labels, kind.label_words(labels, cells), notes
