"""Write answers to the file that a command names."""

from __future__ import annotations

from typing import Required, TypedDict

from tenfold.cli.options import AnswerOutput, ListOutput
from tenfold.files.records import answer_records, list_records
from tenfold.files.sample import read_sample
from tenfold.files.submission import read_wishes, write_submission
from tenfold.files.tables import write_neighbours, write_pairs, write_predictions, write_recommendations
from tenfold.values import Neighbours, PairPredictions, Predictions, Recommendations


class Written(TypedDict, total=False):
    """What ``--json`` prints of answers: their file and number of rows, or without a file the rows."""

    output: str
    rows: Required[int | list[dict[str, object]]]
    notes: Required[list[str]]
    order: str
    failed: int
    fallback: int


def write_answers(answers: Predictions | PairPredictions, asked: AnswerOutput, *, id_name: str) -> Written:
    """Write predictions as ``-o``, ``--like`` and ``--probabilities`` ask.

    id_name: heading of the column that names a row.
    """
    if isinstance(answers, PairPredictions):
        return _write_pairs(answers, asked)
    output, count = asked.output or "", len(answers.ids)
    if not output:
        return {
            "rows": answer_records(answers, id_name),
            "failed": int(answers.failed.sum()),
            "notes": list(answers.reasons.values()),
        }
    if asked.like:
        count = len(read_sample(asked.like).rows)
        columns, probabilities = read_wishes(asked.like, asked.column or (), asked.probability or ())
        notes = write_submission(
            output,
            answers,
            like=asked.like,
            fill_missing=asked.fill_missing,
            columns=columns,
            probabilities=probabilities,
        )
    else:
        notes = write_predictions(
            output,
            answers,
            id_name=id_name,
            probabilities=asked.probabilities,
            spreadsheet_safe=asked.spreadsheet_safe,
        )
    failed = int(answers.failed.sum())
    return {"output": output, "rows": count, "failed": failed, "notes": list(notes or ())}


def _write_pairs(answers: PairPredictions, asked: AnswerOutput) -> Written:
    unknown = int((~(answers.known_user & answers.known_item)).sum())
    written = write_lists(answers, asked)
    # The notes of predicting have been printed.
    notes = written["notes"][len(answers.notes) :]
    return {**written, "notes": notes, "failed": 0, "fallback": unknown}


def write_lists(answers: Recommendations | Neighbours | PairPredictions, asked: ListOutput) -> Written:
    """Write rows to the file of ``-o``, or return them without one."""
    notes = list(answers.notes)
    order: Written = {"rows": 0, "notes": []}
    if isinstance(answers, Recommendations) and answers.order:
        notes.append(f"order: {answers.order}")
        order["order"] = answers.order
    if not asked.output:
        return {**order, "rows": list_records(answers), "notes": notes}
    safe = asked.spreadsheet_safe
    if isinstance(answers, Neighbours):
        count, more = len(answers.rank), write_neighbours(asked.output, answers, spreadsheet_safe=safe)
    elif isinstance(answers, PairPredictions):
        count, more = len(answers.users), write_pairs(asked.output, answers, spreadsheet_safe=safe)
    else:
        count, more = len(answers.rank), write_recommendations(asked.output, answers, spreadsheet_safe=safe)
    return {**order, "output": str(asked.output), "rows": count, "notes": [*notes, *(more or ())]}
