"""Write answers to the file that a command names."""

from __future__ import annotations

from dataclasses import fields
from typing import Required, TypedDict

import numpy as np
from numpy.typing import NDArray

from tenfold.cli.options import AnswerOutput, ListOutput
from tenfold.files.sample import read_sample
from tenfold.files.submission import read_wishes, write_submission
from tenfold.files.tables import write_neighbours, write_pairs, write_predictions, write_recommendations
from tenfold.values import Neighbours, PairPredictions, Predictions, Recommendations


class Written(TypedDict, total=False):
    """What ``--json`` prints of answers: their file and number of rows, or without a file the rows."""

    output: str
    rows: Required[int | list[dict[str, object]]]
    notes: Required[list[str]]
    failed: int
    fallback: int


def write_answers(found: Predictions | PairPredictions, asked: AnswerOutput, *, id_name: str) -> Written:
    """Write predictions as ``-o``, ``--like`` and ``--probabilities`` ask.

    id_name: heading of the column that names a row.
    """
    if isinstance(found, PairPredictions):
        return _write_pairs(found, asked)
    output, count = asked.output or "", len(found.ids)
    if asked.like:
        count = len(read_sample(asked.like).rows)
        columns, probabilities = read_wishes(asked.like, asked.column or (), asked.probability or ())
        notes = write_submission(
            output,
            found,
            like=asked.like,
            fill_missing=asked.fill_missing,
            columns=columns,
            probabilities=probabilities,
        )
    else:
        notes = write_predictions(
            output,
            found,
            id_name=id_name,
            probabilities=asked.probabilities,
            spreadsheet_safe=asked.spreadsheet_safe,
        )
    failed = int(found.failed.sum())
    return {"output": output, "rows": count, "failed": failed, "notes": list(notes or ())}


def _write_pairs(found: PairPredictions, asked: AnswerOutput) -> Written:
    unknown = int((~(found.known_user & found.known_item)).sum())
    written = write_lists(found, asked)
    # The notes of predicting have been printed.
    notes = written["notes"][len(found.notes) :]
    return {**written, "notes": notes, "failed": 0, "fallback": unknown}


def write_lists(found: Recommendations | Neighbours | PairPredictions, asked: ListOutput) -> Written:
    """Write rows to the file of ``-o``, or return them without one."""
    notes = list(found.notes)
    if not asked.output:
        return {"rows": _records(found), "notes": notes}
    safe = asked.spreadsheet_safe
    if isinstance(found, Neighbours):
        count, more = len(found.rank), write_neighbours(asked.output, found, spreadsheet_safe=safe)
    elif isinstance(found, PairPredictions):
        count, more = len(found.users), write_pairs(asked.output, found, spreadsheet_safe=safe)
    else:
        count, more = len(found.rank), write_recommendations(asked.output, found, spreadsheet_safe=safe)
    return {"output": str(asked.output), "rows": count, "notes": [*notes, *(more or ())]}


def _records(found: Recommendations | Neighbours | PairPredictions) -> list[dict[str, object]]:
    """Return a dictionary for each row, by the headings of the files."""
    headings = {"users": "user", "items": "item", "names": "name"}
    columns = {
        headings.get(field.name, field.name): _plain(getattr(found, field.name))
        for field in fields(found)
        if isinstance(getattr(found, field.name), np.ndarray)
    }
    rows: list[dict[str, object]] = [
        dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
    ]
    reasons = found.reasons if isinstance(found, Recommendations) else ()
    for row, items in zip(rows, reasons, strict=False):
        row["reasons"] = [{"name": name, "moved": round(moved, 4)} for name, moved in items]
    return rows


def _plain(values: NDArray[np.generic]) -> list[object]:
    """Return numbers with as few digits as they need: 4.13 and not 4.130000114440918."""
    if values.dtype == np.float32:
        return [float(str(value)) for value in values]
    return values.tolist()
