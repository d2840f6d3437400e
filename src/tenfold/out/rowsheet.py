"""A sheet of rows: steps of a calculation under each other, with the same rows and columns in each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tenfold.out.workbook import Block, Sheet

__all__ = ["Answered", "RowsSheet", "Side", "TargetRows"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TargetRows:
    """One target of some rows.

    classes: empty for a number.  raw: (rows, outputs).  label_words: (rows,) "" where the label is missing.
    labels: (rows, classes) of 0 and 1, NaN where not known, of a target of tags; (rows,) numbers of a number.
    answers, losses: the model's own: (rows, answers) and (rows,), to compare with.
    smoothing, temperature, thresholds, task_weight: as the run has them.  variance: see `nn.heads.Head`.
    familiar: (rows,) what an open target's probabilities are multiplied by.  none: the word for no class.
    mean, deviation, low, high, ends: a number's facts; ends: what its answer is cut to.
    """

    name: str
    kind: str
    classes: Sequence[str]
    raw: Floats
    label_words: Sequence[str]
    answers: Floats
    losses: Floats
    labels: Floats | None = None
    smoothing: float = 0.0
    temperature: float = 1.0
    thresholds: Sequence[float] = ()
    task_weight: float = 1.0
    variance: float = 1.0
    familiar: Floats | None = None
    none: str = ""
    mean: float = 0.0
    deviation: float = 1.0
    low: float | None = None
    high: float | None = None
    ends: tuple[float, float] | None = None
    huber: bool = False

    @property
    def weights(self) -> Floats:
        """(rows,) how many labels, or answers to questions, are known."""
        if self.labels is not None:
            asked = ~np.isnan(self.labels)
            return (asked.sum(axis=1) if asked.ndim == 2 else asked).astype(np.float64)
        known = [bool(one) if self.kind == "open" else one in self.classes for one in self.label_words]
        return np.array(known, dtype=np.float64)

    @property
    def mean_loss(self) -> float:
        """Mean over the known rows, or questions, as training takes it; NaN without any."""
        total = self.weights.sum()
        return float(self.weights @ self.losses / total) if total else float("nan")

    @property
    def output_names(self) -> list[str]:
        """A name to each raw output."""
        if self.kind == "number":
            return [self.name]
        return [f"above {one}" for one in self.classes[:-1]] if self.kind == "ordered" else list(self.classes)


@dataclass(frozen=True)
class Answered:
    """What other sheets take from a target's sheet: cells by name, and their values now."""

    label_at: Callable[[int], str]
    answer_at: Callable[[int], str]
    sure_at: Callable[[int], str]
    loss_at: Callable[[int], str]
    mean_at: str
    gap_at: str
    answers: Sequence[str] | Floats
    sure: Floats
    losses: Floats
    mean: float
    gap: float
    sure_word: str = "probability"
    sure_style: str = "percent"


@dataclass(frozen=True)
class Side:
    """The third column of a block, which says something of a whole row: its heading, formula and values.

    Without a formula the values are numbers that may be changed.
    """

    name: str
    formula: Callable[[Block, int], str] | None
    values: Sequence[str] | Floats
    style: str = "calc"


class RowsSheet:
    """Blocks under each other, with the same rows and the same columns in each.

    linked: the formula of a raw output, or None where it is a number.
    """

    def __init__(self, sheet: Sheet, ids: Sequence[str], linked: Callable[[int, int], str | None]) -> None:
        self.sheet, self.ids, self.linked = sheet, ids, linked
        self.line, self.labels, self.words = 3, -1, [""] * len(ids)

    def begin(self, target: TargetRows, heads: Sequence[str], text: str) -> None:
        """Title, and the names of the columns, which stay in sight."""
        self.sheet.text(0, 0, f"{target.name} ({target.kind})", "title")
        self.sheet.text(1, 0, text, "lead")
        self.sheet.texts(2, 0, ["row", "label", ""], "head_left")
        self.sheet.texts(2, 3, heads)
        self.sheet.freeze(3, 3)
        self.sheet.widths((0, 0, 26), (1, 1, 16), (2, 2, 17), (3, 2 + max(1, len(heads)), 13))

    def given(self, name: str, value: float) -> str:
        """A number above the blocks that may be changed; its cell."""
        self.sheet.text(self.line, 0, name, "id")
        self.sheet.number(self.line, 2, value, "given_short")
        self.line += 1
        return self.sheet.at(self.line - 1, 2, fixed="both")

    def block(
        self,
        title: str,
        note: str,
        values: Floats,
        formula: Callable[[int, int], str | None] | None,
        side: Side | None = None,
        *,
        style: str = "calc",
    ) -> tuple[Block, Block]:
        """A step: a line that names it, then a line to each row. Returns the cells and the third column."""
        sheet, rows = self.sheet, len(self.ids)
        self.line += 1
        sheet.texts(self.line, 0, [title, "", side.name if side else ""], "section")
        sheet.text(self.line, 3, note, "note")
        top = self.line + 1
        made = Block.put(sheet, top, 3, values, formula, style)
        if self.labels < 0:
            self.labels = top
        for row, name in enumerate(self.ids):
            sheet.text(top + row, 0, name, "id")
            if top == self.labels:
                sheet.text(top + row, 1, self.words[row], "given_word")
            else:
                sheet.formula(top + row, 1, f'{self.label(row)}&""', self.words[row], "word")
            if side is None:
                continue
            value = side.values[row]
            if side.formula is None:
                sheet.number(top + row, 2, float(value), "given")
            else:
                sheet.formula(top + row, 2, side.formula(made, row), value, side.style)
        self.line = top + rows
        return made, Block(sheet, top, 2, rows, 1)

    def label(self, row: int) -> str:
        """The cell of a row's label, which may be changed."""
        return self.sheet.at(self.labels + row, 1, fixed="both")

    def head(self, column: int) -> str:
        """The cell of a column's name."""
        return self.sheet.at(2, 3 + column, fixed="row")

    def raw(self, target: TargetRows, text: str = "largest") -> tuple[Block, Block]:
        """Raw outputs, beside the labels."""
        self.words = list(target.label_words)
        note = "features x weights + bias; type any number over one, or another label"
        side = Side(text, lambda z, row: f"MAX({z.row(row)})", target.raw.max(axis=1, initial=-np.inf))
        return self.block("raw outputs z", note, target.raw, self.linked, side)

    def mean(self, words: str, losses: Block, known: Block, values: Floats, weights: Floats) -> float:
        """A line under a block: the mean of its third column over the known rows."""
        total = f"SUM({known.column()})"
        value = float(weights @ values / weights.sum()) if weights.sum() else 0.0
        self.result(words, f"IF({total}=0,0,SUMPRODUCT({known.column()},{losses.column()})/{total})", value)
        return value

    def result(self, words: str, formula: str, value: float) -> None:
        """A line under a block, with one number."""
        self.sheet.texts(self.line, 0, [words, ""], "head_left")
        self.sheet.formula(self.line, 2, formula, value, "result")
        self.line += 1

    @property
    def last_result(self) -> str:
        """The cell of the last `result`, for other sheets."""
        return self.sheet.at(self.line - 1, 2, fixed="both", outside=True)

    def compare(
        self, target: TargetRows, answer: Block, found: Floats, losses: Block, lost: Floats
    ) -> tuple[str, float]:
        """The model's own answers and losses; returns the cell of the largest difference, and that."""
        own, side = self.block(
            "the model's own answer",
            "as the network itself computed it, to compare with; in the third column its own loss",
            target.answers,
            None,
            Side("loss", None, target.losses),
        )
        gaps = [f"MAX(ABS({one.all()}-{two.all()}))" for one, two in ((answer, own), (losses, side))]
        gap = max(np.abs(found - target.answers).max(initial=0), np.abs(lost - target.losses).max(initial=0))
        # Within SUMPRODUCT a spreadsheet takes the differences cell by cell, whatever its version.
        self.result("largest difference", f"MAX(SUMPRODUCT({gaps[0]}),SUMPRODUCT({gaps[1]}))", float(gap))
        return self.last_result, float(gap)
