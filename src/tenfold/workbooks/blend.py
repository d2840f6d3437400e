"""A workbook of an ensemble: members' answers to some rows, their weighted mean, and what each costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.workbooks.cover import first_sheet, rows_sheet
from tenfold.workbooks.number import number_labels
from tenfold.workbooks.rows import Answered, RowsSheet, Side, TargetRows, if_known, told
from tenfold.workbooks.targets import HIGHEST, answered_by, best_of, decide, median, one_hot, question_answers
from tenfold.workbooks.workbook import Block, Book

__all__ = ["BlendedTarget", "ExplainedBlend", "build_blend_book"]

Floats = NDArray[np.float64]
#: Least probability in a logarithm.
SMALLEST = 1e-15


@dataclass(frozen=True)
class BlendedTarget:
    """One target of some rows, as an ensemble answers it.

    rows: labels, and the ensemble's own answers and losses; its raw outputs are the mixed answers.
    members: their names.  weights: (members,).  given: (members, rows, answers) what each member answers.
    """

    rows: TargetRows
    members: Sequence[str]
    weights: Floats
    given: Floats


@dataclass(frozen=True)
class ExplainedBlend:
    """Some rows as an ensemble answers them.

    run: its name.  trained: what it was made of, one line each.
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
        return [one.rows for one in self.blended]


def blend_losses(target: TargetRows, answers: Floats) -> Floats:
    """(rows,) -log of the probability that answers (rows, answers) gave to what happened, of questions the
    mean; of a number the squared error in deviations; 0 where nothing is known."""
    truth = target.truth if target.truth.ndim == 2 else target.truth[:, None]
    asked = ~np.isnan(truth)
    sure = np.nan_to_num(truth)
    if target.kind == "number":
        return np.where(asked, ((answers - sure) / target.deviation) ** 2, 0)[:, 0]
    if target.kind in ("open", "multilabel"):
        loss = np.where(asked, -np.log(np.maximum(np.abs(1 - sure - answers), SMALLEST)), 0)
        return loss.sum(1) / np.maximum(asked.sum(1), 1)
    known = asked.all(1)
    return np.where(known, -np.log(np.maximum((sure * answers).sum(1), SMALLEST)), 0)


def build_blend_book(found: ExplainedBlend) -> Book:
    """The whole workbook; `Book.write` writes it."""
    book = Book(f"Answers of {found.run}")
    first, rows = book.sheet("Read me"), book.sheet("Rows")
    sheets = [book.sheet(one.rows.name or "target", colour="#3D8F6E") for one in found.blended]
    answered = [
        _target_sheet(RowsSheet(sheet, list(found.ids), lambda row, column: None), one)
        for sheet, one in zip(sheets, found.blended, strict=True)
    ]
    rows_sheet(rows, found.ids, found.why, found.targets, answered)
    texts = [
        (rows, "the rows, why they were chosen, and what the ensemble says of them"),
        *(
            (sheet, f"{one.rows.name} ({one.rows.kind}): every member's answers, and their weighted mean")
            for sheet, one in zip(sheets, found.blended, strict=True)
        ),
    ]
    first_sheet(first, found.run, [*found.trained, *found.notes], texts, found.targets, answered)
    return book


def _target_sheet(made: RowsSheet, blended: BlendedTarget) -> Answered:
    target, number = blended.rows, blended.rows.kind == "number"
    heads = [target.name] if number else list(target.classes)
    lead = "Every member's answers, and their mean by weight: no member needs to be right about all rows."
    made.begin(target, heads, lead)
    unit = made.given("deviation of the training labels", target.deviation) if number else ""
    weights = [
        made.given(f"weight of {name}", float(weight))
        for name, weight in zip(blended.members, blended.weights, strict=True)
    ]
    truth, known = _labels(made, target)
    lost = _losses(target, truth, known, unit)
    style = "calc" if number else "percent"
    each = []
    for name, own in zip(blended.members, blended.given, strict=True):
        values = blend_losses(target, own)
        cells, losses = made.block(
            f"member {name}", "what it answers; may be changed", own, None,
            Side("loss", lost, told(values, target.known)), style="calc" if number else "given_percent",
        )  # fmt: skip
        each.append(cells)
        made.mean(f"mean loss of {name}", losses, known, values, target.weights)
    total = "+".join(weights)

    def mean_of(row: int, column: int) -> str:
        parts = (f"{weight}*{cells.at(row, column)}" for weight, cells in zip(weights, each, strict=True))
        return f"({'+'.join(parts)})/({total})"

    mixed = np.tensordot(blended.weights / blended.weights.sum(), blended.given, axes=1)
    values = blend_losses(target, mixed)
    cells, losses = made.block(
        "weighted mean", "sum of weight x answer over the members / sum of weights", mixed, mean_of,
        Side("loss", lost, told(values, target.known), "result"), style=style,
    )  # fmt: skip
    mean = made.mean("mean loss of the ensemble", losses, known, values, target.weights)
    mean_at = made.last_result
    answer, side, best, sure, more = _answer(made, target, cells, mixed)
    measure = (unit, target.deviation) if number else ("1", 1.0)
    gap = made.compare(target, answer, mixed, losses, values, measure)
    found = answered_by(made, target, answer, side, best, sure, losses, values, (mean_at, mean), gap)
    return replace(found, loss_word="loss", **more)


def _labels(made: RowsSheet, target: TargetRows) -> tuple[Block, Block]:
    """Cells of what is true, and of how much of it is known."""
    if target.kind in ("open", "multilabel"):
        _, known, truth = question_answers(made, target)
        return truth, known
    if target.kind != "number":
        return one_hot(made, target)
    return number_labels(made, target.truth.reshape(len(target.label_words), 1))


def _losses(target: TargetRows, truth: Block, known: Block, unit: str) -> Callable[[Block, int], str]:
    """The formula of `blend_losses` for a row of answers."""

    def formula(answers: Block, row: int) -> str:
        p, t = answers.row(row), truth.row(row)
        if target.kind == "number":
            loss = f"(({answers.at(row)}-{truth.at(row)})/{unit})^2"
        elif target.kind in ("open", "multilabel"):
            # What was given to the answer that is true; in arithmetic, as IF is not taken cell by cell here.
            given = f"ABS(1-{t}-{p})"
            safe = f"{given}*({given}>{SMALLEST:.0E})+{SMALLEST:.0E}*({given}<={SMALLEST:.0E})"
            loss = f"-SUMPRODUCT(ISNUMBER({t})*LN({safe}))/{known.at(row)}"
        else:
            loss = f"-LN(MAX({SMALLEST:.0E},SUMPRODUCT({t},{p})))"
        return if_known(known.at(row), loss)

    return formula


def _answer(
    made: RowsSheet, target: TargetRows, cells: Block, mixed: Floats
) -> tuple[Block, Block, Sequence[str] | Floats, Floats, dict[str, Any]]:
    """The answer; cells and values of how sure it is; and how the first sheet shows that."""
    if target.kind in ("open", "multilabel"):
        answer, side, _, best, sure = decide(made, target, cells, mixed)
        return answer, side, best, sure, {"sure_word": HIGHEST}
    if target.kind == "ordered":
        side, best, (sure_at, sure) = median(made, target, cells, mixed)
        return cells, side, best, sure, {"sure_at": sure_at}
    if target.kind == "number":
        side = Block(made.sheet, cells.top, cells.left, cells.rows, 1)
        return cells, side, mixed[:, 0], mixed[:, 0], {"sure_word": "number", "sure_style": "calc"}
    heads = made.sheet.range(2, 3, 2, 2 + len(target.classes), fixed="both")
    best = [target.classes[int(place)] for place in mixed.argmax(1)]
    answer, side = made.block(
        "answer", "the class with the highest mean", mixed, lambda r, c: cells.at(r, c),
        Side("answer", lambda one, row: best_of(one, row, heads), best, "result_word"), style="percent",
    )  # fmt: skip
    made.sheet.heat(answer.top, 3, answer.below - 1, 2 + answer.columns, low="#FFFFFF", high="#7FBFD4")
    return answer, side, best, mixed.max(1), {}
