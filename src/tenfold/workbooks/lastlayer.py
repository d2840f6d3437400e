"""A workbook of a network's last layer: outputs, probabilities and losses of some rows, as live formulas."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tenfold.workbooks.cover import first_sheet, rows_sheet
from tenfold.workbooks.rows import NO_LABELS, Answered, RowsSheet, TargetRows, mean_or_words
from tenfold.workbooks.targets import sheet_of
from tenfold.workbooks.workbook import MOST_COLUMNS, Book, Sheet, text_constant

Floats = NDArray[np.float64]
#: Most weights of the last layer on a sheet; beyond, raw outputs of the lowest classes are numbers.
MOST_WEIGHTS = 400_000
#: Rows and columns of features and weights that are printed at most: a page.
PRINTED, PRINTED_COLUMNS = 44, 12


@dataclass(frozen=True)
class ExplainedRows:
    """Some rows as the last layer sees them.

    run: its name.  trained: lines about its training.
    ids: (rows,) names.  why: (rows,) why each was chosen.
    features: (rows, width).  weight (outputs, width), bias (outputs,): the last layer, all targets.
    targets: in the order of the last layer's outputs.
    learnt: target -> log variance, where weights are learnt.
    """

    run: str
    trained: Sequence[str]
    ids: Sequence[str]
    why: Sequence[str]
    features: Floats
    weight: Floats
    bias: Floats
    targets: Sequence[TargetRows]
    learnt: dict[str, float] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def weight_of(self, target: TargetRows) -> float:
        """What a target's mean loss is multiplied by."""
        spread = self.learnt.get(target.name)
        return target.task_weight if spread is None else target.kind.variance * float(np.exp(-spread))

    def record(self, kind: str) -> dict[str, object]:
        """What ``tenfold explain --json`` prints of these rows (docs/formats.md). kind: of the run."""
        rows = []
        for row, (name, why) in enumerate(zip(self.ids, self.why, strict=True)):
            own = {
                target.name: {**target.record(row), "raw": target.raw[row].tolist()}
                for target in self.targets
            }
            rows.append({"id": name, "why": why, "targets": own})
        targets = {
            target.name: {
                "kind": target.kind.kind,
                "loss": target.mean_loss,
                "weight": self.weight_of(target),
            }
            for target in self.targets
        }
        about = {"run": self.run, "kind": kind, "rows": rows, "targets": targets, "loss": self.loss}
        return {**about, "notes": list(self.notes)}

    @property
    def loss(self) -> float:
        """Sum over labelled targets: weight x mean loss, and s / 2 where learnt; NaN without any."""
        known = [target for target in self.targets if target.mean_loss == target.mean_loss]
        if not known:
            return float("nan")
        spreads = sum(self.learnt.get(target.name, 0.0) for target in known)
        return sum(self.weight_of(target) * target.mean_loss for target in known) + spreads / 2


def build_loss_book(explained: ExplainedRows) -> Book:
    """The whole workbook; `Book.write` writes it."""
    book = Book(f"Losses of {explained.run}")
    first, rows = book.sheet("Read me"), book.sheet("Rows")
    sheets = [book.sheet(target.name or "target", colour="#3D8F6E") for target in explained.targets]
    total = book.sheet("Loss", colour="#B5533C")
    features, last = book.sheet("Features", colour="#8A8F98"), book.sheet("Last layer", colour="#8A8F98")
    linked = _layer_sheets(features, last, explained)
    answered, start = [], 0
    for sheet, target in zip(sheets, explained.targets, strict=True):
        outputs = target.raw.shape[1]
        made = RowsSheet(sheet, list(explained.ids), linked(start, outputs))
        answered.append(sheet_of(target).explain(made, target))
        start += outputs
    sums = _total_sheet(total, explained, answered)
    rows_sheet(rows, explained.ids, explained.why, explained.targets, answered)
    texts = [
        (rows, "the rows, why they were chosen, and what the network says of them"),
        *(
            (sheet, f"{target.title}: from raw outputs to the loss, step by step")
            for sheet, target in zip(sheets, explained.targets, strict=True)
        ),
        (total, "the targets' losses, their weights, and the sum"),
        (features, "what the body of the network makes of each row"),
        (last, "bias and weights that turn features into raw outputs"),
    ]
    about = [*explained.trained, *explained.notes]
    line = first_sheet(first, explained.run, about, texts, explained.targets, answered)
    first.text(line, 0, "all targets, weighted", "head_left")
    first.formula(line, 3, sums, mean_or_words(explained.loss), "result")
    return book


def _layer_sheets(
    features: Sheet, last: Sheet, explained: ExplainedRows
) -> Callable[[int, int], Callable[[int, int], str | None]]:
    """Write features and the last layer; return how a raw output is made from them."""
    rows, width = explained.features.shape
    features.text(0, 0, "Features: what the body makes of each row, and the last layer sees", "title")
    features.text(1, 0, "One line a feature, one column a row. Change one and its answers follow.", "lead")
    features.texts(3, 0, ["feature", *explained.ids], "head")
    last.text(0, 0, "The last layer: its bias, and a weight for every feature", "title")
    last.text(1, 0, "raw output = bias + sum over features of feature x weight", "lead")
    kept = _kept_outputs(explained)
    names = [
        f"{target.name}: {name}" if len(explained.targets) > 1 else name
        for target in explained.targets
        for name in target.kind.output_names
    ]
    last.texts(3, 0, ["", *(names[output] for output in kept)], "head")
    last.text(4, 0, "bias", "id")
    for column, output in enumerate(kept, 1):
        last.number(4, column, explained.bias[output], "given")
    for line in range(width):
        for sheet in (features, last):
            sheet.number(5 + line, 0, line + 1, "id")
        for row in range(rows):
            features.number(5 + line, 1 + row, explained.features[row, line])
        for column, output in enumerate(kept, 1):
            last.number(5 + line, column, explained.weight[output, line])
    for sheet, columns in ((features, rows), (last, len(kept))):
        sheet.freeze(5 if sheet is last else 4, 1)
        sheet.widths((0, 0, 10), (1, max(rows, len(kept)), 14))
        # All weights would take dozens of pages, which nobody reads.
        sheet.print_part(min(4 + width, PRINTED), min(columns, PRINTED_COLUMNS))
        sheet.text(2, 0, f"Printed are the first {PRINTED - 4} features at most.", "lead")
    column_of = {output: column for column, output in enumerate(kept, 1)}

    def linked(start: int, outputs: int) -> Callable[[int, int], str | None]:
        def formula(row: int, column: int) -> str | None:
            at = column_of.get(start + column)
            if at is None:
                return None
            lines = features.range(5, 1 + row, 4 + width, 1 + row, fixed="both", outside=True)
            weights = last.range(5, at, 4 + width, at, fixed="both", outside=True)
            return f"SUMPRODUCT({lines},{weights})+{last.at(4, at, fixed='both', outside=True)}"

        return formula

    return linked


def _kept_outputs(explained: ExplainedRows) -> list[int]:
    """Outputs with weights in the workbook: all, or the highest in any of the rows."""
    outputs, width = explained.weight.shape
    most = max(1, min(MOST_COLUMNS - 2, MOST_WEIGHTS // max(1, width)))
    if outputs <= most:
        return list(range(outputs))
    raw = np.concatenate([target.raw for target in explained.targets], axis=1)
    return sorted(np.argsort(-raw.max(axis=0), kind="stable")[:most].tolist())


def _total_sheet(sheet: Sheet, explained: ExplainedRows, answered: Sequence[Answered]) -> str:
    """Write the sum over targets; return its cell."""
    sheet.text(0, 0, "The loss: all targets together", "title")
    lead = "Each target's mean over its known rows, times its weight; the sum is what training makes small."
    sheet.text(1, 0, lead, "lead")
    names = [target.name for target in explained.targets]
    sheet.texts(3, 0, ["row", *names], "head")
    for row, name in enumerate(explained.ids):
        sheet.text(4 + row, 0, name, "id")
        for column, own in enumerate(answered, 1):
            sheet.formula(4 + row, column, own.loss_at(row), own.losses[row])
    line = 5 + len(explained.ids)
    lines = ["mean of the batch", "log variance s"] if explained.learnt else ["mean of the batch"]
    lines += ["weight", "weight x mean", *(["s / 2"] if explained.learnt else [])]
    at = {word: row for row, word in enumerate(lines, line)}
    for word in lines:
        sheet.text(at[word], 0, word, "head_left")
    for column, (target, answer) in enumerate(zip(explained.targets, answered, strict=True), 1):
        known = answer.mean == answer.mean
        sheet.formula(at["mean of the batch"], column, answer.mean_at, mean_or_words(answer.mean))
        weight, spread = explained.weight_of(target), explained.learnt.get(target.name)

        def counted(formula: str, mean: str = sheet.at(at["mean of the batch"], column)) -> str:
            # Without labels a target is not part of the sum: SUM leaves texts out.
            return f'IF(ISNUMBER({mean}),{formula},"")'

        if spread is not None:
            sheet.number(at["log variance s"], column, spread)
            own = sheet.at(at["log variance s"], column)
            sheet.formula(at["weight"], column, f"{target.kind.variance!r}*EXP(-{own})", weight)
            sheet.formula(at["s / 2"], column, counted(f"{own}/2"), spread / 2 if known else "")
        else:
            sheet.number(at["weight"], column, weight)
        product = f"{sheet.at(at['weight'], column)}*{sheet.at(at['mean of the batch'], column)}"
        sheet.formula(at["weight x mean"], column, counted(product), weight * answer.mean if known else "")
    end = line + len(lines) + 1
    sheet.text(end, 0, "loss", "head_left")
    parts = [at["weight x mean"], *([at["s / 2"]] if explained.learnt else [])]
    ranges = [sheet.range(row, 1, row, len(names)) for row in parts]
    summed = "+".join(f"SUM({cells})" for cells in ranges)
    summed = f"IF(COUNT({ranges[0]})=0,{text_constant(NO_LABELS)},{summed})"
    sheet.formula(end, 1, summed, mean_or_words(explained.loss), "result")
    if explained.learnt:
        text = "weight = c exp(-s), c = 1/2 for squared errors, else 1; s/2 keeps it from vanishing"
        sheet.text(end + 1, 0, text, "lead")
    sheet.freeze(4, 1)
    sheet.widths((0, 0, 26), (1, max(1, len(names)), 20))
    return sheet.at(end, 1, fixed="both", outside=True)
