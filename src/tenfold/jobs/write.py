"""Answers into the file that was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tenfold.errors import RecipeError
from tenfold.out.tables import write_predictions, write_submission
from tenfold.values import Predictions


def write_answers(found: Predictions, given: Mapping[str, Any], *, id_name: str) -> dict[str, Any]:
    """Write predictions as asked for by ``-o``, ``--like``, ``--probabilities``; returns what was done.

    id_name: heading of the column that names a row.
    """
    output = given["output"]
    if not output:
        raise RecipeError("no output file is given", fix="give one with -o, for example -o submission.csv")
    if given["like"]:
        notes = write_submission(output, found, like=given["like"])
    else:
        notes = write_predictions(
            output,
            found,
            id_name=id_name,
            probabilities=given["probabilities"],
            spreadsheet_safe=given["spreadsheet_safe"],
        )
    failed = int(found.failed.sum())
    return {"output": str(output), "rows": len(found.ids), "failed": failed, "notes": list(notes or ())}
