"""A workbook of an ensemble: members' answers to some rows, their weighted mean, and what each costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tenfold.workbooks.cover import first_sheet, rows_sheet
from tenfold.workbooks.rows import Answered, RowsSheet, Side, TargetRows, if_known, told
from tenfold.workbooks.targets import answered_by, sheet_of
from tenfold.workbooks.workbook import Block, Book

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class BlendedTarget:
    """A target of some rows, as an ensemble answers it.

    rows: labels, and the ensemble's own answers and losses; its raw outputs are the mixed answers.
    members: their names.  weights: (members,).  given: (members, rows, answers) what each member answers.
    """

    rows: TargetRows
    members: Sequence[str]
    weights: Floats
    given: Floats

    def answers(self, row: int) -> dict[str, object]:
        """Member -> its answer to a row, in JSON's types."""
        pairs = zip(self.members, self.given, strict=True)
        return {member: self.rows.kind.answer_record(given[row]) for member, given in pairs}


@dataclass(frozen=True)
class ExplainedBlend:
    """Some rows as an ensemble answers them.

    run: its name.  trained: lines about its making.
    ids: (rows,) names.  why: (rows,) why each was chosen.
    """

    run: str
    trained: Sequence[str]
    ids: Sequence[str]
    why: Sequence[str]
    blended: Sequence[BlendedTarget]
    notes: Sequence[str] = ()

    @property
    def targets(self) -> list[TargetRows]:
        """Their labels, answers and losses."""
        return [blend.rows for blend in self.blended]

    def record(self) -> dict[str, object]:
        """What ``tenfold explain --json`` prints of these rows (docs/formats.md)."""
        rows = []
        for row, (name, why) in enumerate(zip(self.ids, self.why, strict=True)):
            own = {
                blend.rows.name: {**blend.rows.record(row), "members": blend.answers(row)}
                for blend in self.blended
            }
            rows.append({"id": name, "why": why, "targets": own})
        targets = {
            blend.rows.name: {
                "kind": blend.rows.kind.kind,
                "loss": blend.rows.mean_loss,
                "weights": dict(zip(blend.members, blend.weights.tolist(), strict=True)),
            }
            for blend in self.blended
        }
        about = {"run": self.run, "kind": "blend", "rows": rows, "targets": targets}
        return {**about, "notes": list(self.notes)}


def build_blend_book(explained: ExplainedBlend) -> Book:
    """The whole workbook; `Book.write` writes it."""
    book = Book(f"Answers of {explained.run}")
    first, rows = book.sheet("Read me"), book.sheet("Rows")
    texts = [(rows, "the rows, why they were chosen, and what the ensemble says of them")]
    answered = []
    for blend in explained.blended:
        sheet = book.sheet(blend.rows.name or "target", colour="#3D8F6E")
        texts.append((sheet, f"{blend.rows.title}: every member's answers, and their weighted mean"))
        answered.append(_target_sheet(RowsSheet(sheet, list(explained.ids), lambda row, column: None), blend))
    rows_sheet(rows, explained.ids, explained.why, explained.targets, answered)
    about = [*explained.trained, *explained.notes]
    first_sheet(first, explained.run, about, texts, explained.targets, answered)
    return book


def _target_sheet(made: RowsSheet, blended: BlendedTarget) -> Answered:
    target, sheet = blended.rows, sheet_of(blended.rows)
    lead = "Every member's answers, and their mean by weight: no member needs to be right about all rows."
    sheet.begin(made, target, lead)
    unit = sheet.unit(made, target)
    weights = [
        made.given(f"weight of {name}", float(weight))
        for name, weight in zip(blended.members, blended.weights, strict=True)
    ]
    truth, known = sheet.labels(made, target)

    def lost(answers: Block, row: int) -> str:
        return if_known(known.at(row), sheet.loss_of(answers, truth, known, unit[0], row))

    each = []
    for name, own in zip(blended.members, blended.given, strict=True):
        values = target.kind.row_losses(own, target.labels)
        cells, losses = made.block(
            f"member {name}", "what it answers; may be changed", own, None,
            Side("loss", lost, told(values, target.known)), style=sheet.given_style,
        )  # fmt: skip
        each.append(cells)
        made.mean(f"mean loss of {name}", losses, known, values, target.weights)
    total = "+".join(weights)

    def mean_of(row: int, column: int) -> str:
        parts = (f"{weight}*{cells.at(row, column)}" for weight, cells in zip(weights, each, strict=True))
        return f"({'+'.join(parts)})/({total})"

    mixed = np.tensordot(blended.weights / blended.weights.sum(), blended.given, axes=1)
    values = target.kind.row_losses(mixed, target.labels)
    cells, losses = made.block(
        "weighted mean", "sum of weight x answer over the members / sum of weights", mixed, mean_of,
        Side("loss", lost, told(values, target.known), "result"), style=sheet.style,
    )  # fmt: skip
    mean = made.mean("mean loss of the ensemble", losses, known, values, target.weights)
    mean_at = made.last_result
    answer = sheet.answer(made, target, cells, mixed)
    gap = made.compare(target, answer.cells, mixed, losses, values, unit)
    return answered_by(made, target, answer, losses, values, (mean_at, mean), gap, "loss")
