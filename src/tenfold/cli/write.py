"""Answers into the file that was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from tenfold.files.sample import read_sample
from tenfold.files.submission import read_wishes, write_submission
from tenfold.files.tables import write_neighbours, write_pairs, write_predictions, write_recommendations
from tenfold.values import Neighbours, PairPredictions, Predictions, Recommendations


def write_answers(
    found: Predictions | PairPredictions, given: Mapping[str, Any], *, id_name: str
) -> dict[str, Any]:
    """Write predictions as asked for by ``-o``, ``--like``, ``--probabilities``; returns what was done.

    id_name: heading of the column that names a row.
    """
    if isinstance(found, PairPredictions):
        return _write_pairs(found, given)
    output, count = given["output"], len(found.ids)
    if given["like"]:
        count = len(read_sample(given["like"]).rows)
        columns, chance = read_wishes(
            given["like"], given.get("column") or (), given.get("probability") or ()
        )
        notes = write_submission(
            output,
            found,
            like=given["like"],
            fill_missing=given.get("fill_missing"),
            columns=columns,
            probabilities=chance,
        )
    else:
        notes = write_predictions(
            output,
            found,
            id_name=id_name,
            probabilities=given["probabilities"],
            spreadsheet_safe=given["spreadsheet_safe"],
        )
    failed = int(found.failed.sum())
    return {"output": str(output), "rows": count, "failed": failed, "notes": list(notes or ())}


def _write_pairs(found: PairPredictions, given: Mapping[str, Any]) -> dict[str, Any]:
    strangers = int((~(found.known_user & found.known_item)).sum())
    written = write_lists(found, given)
    # Its notes were told when it was predicted.
    notes = written["notes"][len(found.notes) :]
    return {**written, "notes": notes, "failed": 0, "fallback": strangers}


def write_lists(
    found: Recommendations | Neighbours | PairPredictions, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Write rows where ``-o`` says; returns what was done, or the rows themselves where it does not."""
    notes = list(found.notes)
    if not given["output"]:
        return {"rows": _records(found), "notes": notes}
    safe = given["spreadsheet_safe"]
    if isinstance(found, Neighbours):
        count, said = len(found.rank), write_neighbours(given["output"], found, spreadsheet_safe=safe)
    elif isinstance(found, PairPredictions):
        count, said = len(found.users), write_pairs(given["output"], found, spreadsheet_safe=safe)
    else:
        count, said = len(found.rank), write_recommendations(given["output"], found, spreadsheet_safe=safe)
    return {"output": str(given["output"]), "rows": count, "notes": [*notes, *(said or ())]}


def _records(found: Recommendations | Neighbours | PairPredictions) -> list[dict[str, Any]]:
    """One plain dictionary to a row, by the names that the files have as headings."""
    headings = {"users": "user", "items": "item", "names": "name"}
    columns = {
        headings.get(field.name, field.name): _plain(getattr(found, field.name))
        for field in fields(found)
        if isinstance(getattr(found, field.name), np.ndarray)
    }
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    for row, why in zip(rows, getattr(found, "reasons", ()), strict=False):
        row["reasons"] = [{"name": name, "moved": round(moved, 4)} for name, moved in why]
    return rows


def _plain(values: Any) -> list[Any]:
    """Numbers as short as they can be written: 4.13 and not 4.130000114440918."""
    if values.dtype == np.float32:
        return [float(str(value)) for value in values]
    return values.tolist()
