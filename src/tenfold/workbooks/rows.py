"""A sheet of rows: steps of a calculation, side by side in bands or, of many classes, under each other."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.targets.base import Labels, TargetKind, TargetStats
from tenfold.targets.questions import NO_TAG
from tenfold.workbooks.workbook import Block, Sheet, text_constant

Floats = NDArray[np.float64]
#: Columns up to which steps stand side by side, in bands that are as wide as a printed page.
ACROSS = 7
#: Widths in letters: of a band, names of rows, labels, a column, a third column, and the gap between steps.
BAND, NAME, LABEL, COLUMN, SIDE, GAP = 225, 24, 15, 9.5, 12, 1.5
#: Stands where there is no loss: of a row, and of a mean. A word is left out of every sum.
NO_LABEL, NO_LABELS = "no label", "no labels"


def if_known(known: str, formula: str) -> str:
    """The formula where the cell `known` counts something, else the words for a missing label."""
    return f"IF({known}=0,{text_constant(NO_LABEL)},{formula})"


def told(values: Floats, known: NDArray[np.bool_]) -> list[float | str]:
    """Return the values of `if_known`, row by row."""
    return [float(value) if fine else NO_LABEL for value, fine in zip(values, known, strict=True)]


def mean_or_words(mean: float) -> float | str:
    """A mean, or what stands in its cell where there is nothing to take it of."""
    return mean if mean == mean else NO_LABELS


@dataclass(frozen=True)
class TargetRows:
    """A target of some rows.

    kind: the target, with its classes and stats.  raw: (rows, outputs).
    labels: of the kind.  label_words: (rows,) "" where the label is missing.
    answers, losses: the model's own: (rows, answers) and (rows,), to compare with.
    smoothing, task_weight, huber: as the run has them.
    familiar: (rows,) what an open target's probabilities are multiplied by.
    row_weights: (rows,) what each row counts, where its table says so.
    """

    kind: TargetKind
    raw: Floats
    labels: Labels
    label_words: Sequence[str]
    answers: Floats
    losses: Floats
    smoothing: float = 0.0
    task_weight: float = 1.0
    familiar: Floats | None = None
    huber: bool = False
    row_weights: Floats | None = None

    def record(self, row: int) -> dict[str, object]:
        """A row's label, its answer, and the loss where the label is known: in JSON's types."""
        return {
            "label": self.label_words[row] or None,
            "answer": self.decided[row],
            **self.kind.answer_record(self.answers[row]),
            "loss": float(self.losses[row]) if self.weights[row] else None,
        }

    @property
    def name(self) -> str:
        """The target's name."""
        return self.kind.name

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; empty for a number."""
        return self.kind.classes

    @property
    def stats(self) -> TargetStats:
        """What was decided of the target."""
        return self.kind.stats

    @property
    def title(self) -> str:
        """Its name and kind."""
        return f"{self.name} ({self.kind.kind})"

    @property
    def weighed(self) -> bool:
        """Whether some labels count more than others."""
        return bool(self.stats.yes_weights) or self.row_weights is not None

    @cached_property
    def truth(self) -> Floats:
        """(rows, answers) 1 for the label's class, or a yes, and 0 elsewhere, or the number; NaN where not
        known."""
        return self.kind.truth(self.labels)

    @property
    def known(self) -> NDArray[np.bool_]:
        """(rows,) whether anything is known of a row's label."""
        return np.asarray((~np.isnan(self.truth)).any(axis=1), dtype=np.bool_)

    @cached_property
    def decided(self) -> list[str | float | list[str]]:
        """(rows,) what the run answers: a class, a list of tags, a number; `none` of an open target."""
        values = self.kind.decode(self.answers).values
        return [list(value) if isinstance(value, tuple) else value for value in values.tolist()]

    @property
    def counts(self) -> Floats:
        """(rows, answers) what each answer counts in the loss: of exclusive classes the label's alone."""
        rows = 1.0 if self.row_weights is None else self.row_weights[:, None]
        return self.kind.loss_counts(self.truth) * rows

    @property
    def weights(self) -> Floats:
        """(rows,) what a row counts in the mean loss: all that is known of it, weighed."""
        return self.counts.sum(axis=1)

    @property
    def mean_loss(self) -> float:
        """Mean over the known rows, or questions, as training takes it; NaN without any."""
        total = self.weights.sum()
        return float(self.weights @ self.losses / total) if total else float("nan")


@dataclass(frozen=True)
class Answered:
    """What other sheets take from a target's sheet: cells by name, and their values now.

    sure, losses: a word where there is no label.  mean: NaN where there are none.
    label_words: as they stand in the labels' cells.
    """

    label_at: Callable[[int], str]
    answer_at: Callable[[int], str]
    sure_at: Callable[[int], str]
    loss_at: Callable[[int], str]
    mean_at: str
    gap_at: str
    label_words: Sequence[str | float]
    answers: Sequence[str] | Floats
    sure: Sequence[float | str] | Floats
    losses: Sequence[float | str]
    mean: float
    gap: float
    sure_word: str = "probability"
    sure_style: str = "percent"
    loss_word: str = "training loss"


@dataclass(frozen=True)
class Side:
    """The third column of a block, which says something of a whole row: its heading, formula and values.

    Without a formula the values are numbers that may be changed.
    """

    name: str
    formula: Callable[[Block, int], str] | None
    values: Sequence[float | str] | Sequence[str] | Floats
    style: str = "calc"


def row_sum(values: Floats, name: str = "sum", style: str = "calc") -> Side:
    """A third column with the sum of each row."""
    return Side(name, lambda block, row: f"SUM({block.row(row)})", values.sum(1), style)


def row_count(values: Floats) -> Side:
    """A third column with how many cells of each row are known."""
    known = (~np.isnan(values)).sum(1)
    return Side("known", lambda block, row: f"COUNT({block.row(row)})", known, "whole")


class RowsSheet:
    """Steps with the same rows and the same columns in each: side by side, or under each other.

    linked: the formula of a raw output, or None where it is a number.
    words: the rows' labels.  follows: whether their cells follow others (see `relabel`), and are not typed.
    across: the steps stand side by side; rows and labels stay in sight at the left.
    """

    def __init__(self, sheet: Sheet, ids: Sequence[str], linked: Callable[[int, int], str | None]) -> None:
        self.sheet, self.ids, self.linked = sheet, ids, linked
        self.line, self.labels, self.follows, self.across = 3, -1, False, False
        self.words: list[str | float] = [""] * len(ids)
        self._heads: Sequence[str] = ()
        # Of steps side by side: columns of each, the first column of the next one, and the lowest line used.
        self._span, self._left, self._top, self._bottom = 2, 2, 0, 0
        self._last = Block(sheet, 0, 0, 0, 0)
        self._result = ""

    def begin(
        self,
        target: TargetRows,
        heads: Sequence[str],
        text: str,
        *,
        follows: bool = False,
        words: Sequence[str | float] = (),
    ) -> None:
        """Title, the rows' labels, and the names of the columns, which stay in sight.

        follows: labels follow cells further down.  words: labels as cells, where they are not words.
        """
        self.words, self.follows, self._heads = list(words or target.label_words), follows, heads
        self.across = len(heads) <= ACROSS
        self.sheet.text(0, 0, target.title, "title")
        self.sheet.text(1, 0, text, "lead")
        if self.across:
            self._span = max(2, len(heads))
            self.sheet.widths((0, 0, NAME), (1, 1, LABEL))
            self.sheet.freeze(2, 2)
            return
        self.sheet.texts(2, 0, ["row", "label", ""], "head_left")
        self.sheet.texts(2, 3, heads)
        self.sheet.freeze(3, 3)
        self.sheet.widths((0, 0, 26), (1, 1, 16), (2, 2, 17), (3, 2 + max(1, len(heads)), 13))

    def given(self, name: str, value: float) -> str:
        """A number that may be changed, above the steps; its cell."""
        if self.across and self.labels >= 0:
            made, _ = self.block(name, "this may be changed", np.array([[value]]), None, rows=1)
            return self.sheet.at(made.top, made.left, fixed="both")
        column = 1 if self.across else 2
        self.sheet.text(self.line, 0, name, "id")
        self.sheet.number(self.line, column, value, "given_short")
        self.line += 1
        return self.sheet.at(self.line - 1, column, fixed="both")

    def givens(self, title: str, note: str, lines: Mapping[str, Sequence[float]]) -> list[Block]:
        """Numbers of each column that may be changed, a line to each name."""
        if self.across:
            names = Side("", None, [0.0] * len(lines), "word")
            values = np.array(list(lines.values()), dtype=np.float64)
            made, side = self.block(title, note, values, None, names, rows=len(lines))
            for row, name in enumerate(lines):
                self.sheet.text(made.top + row, side.left, name, "id")
            return [Block(self.sheet, made.top + row, made.left, 1, made.columns) for row in range(made.rows)]
        self.line += 1
        self._section(title, note)
        made_lines = []
        for name, values in lines.items():
            self.line += 1
            self.sheet.text(self.line, 0, name, "id")
            for column, value in enumerate(values):
                self.sheet.number(self.line, 3 + column, float(value), "given")
            made_lines.append(Block(self.sheet, self.line, 3, 1, len(values)))
        self.line += 1
        return made_lines

    def weighed(
        self,
        target: TargetRows,
        ones: Block,
        known: Block,
        formula: Callable[[int, int, str, str], str],
    ) -> tuple[Block, Block]:
        """What each row counts in the mean: what is known, times the weights of classes and rows.

        ones: cells of 1 under what is counted, as text where it is not known.  known: their number, row by
        row.  formula: of a cell's own weight, from the cells of the weights of its class's yes and no, ""
        where there are none.  Returns the weight of each of these cells, and of each row.
        """
        if not target.weighed:
            return ones, known
        yes = no = rows = None
        stats = target.stats
        if stats.yes_weights:
            lines = {"yes" if stats.no_weights else "weight": stats.yes_weights}
            lines |= {"no": stats.no_weights} if stats.no_weights else {}
            what = "a yes and a no to each class count" if stats.no_weights else "a row of each class counts"
            yes, *others = self.givens("class weights", f"what {what} in the loss", lines)
            no = others[0] if others else None
        if target.row_weights is not None:
            note = "what its table says that the row counts"
            rows, _ = self.block("row weight", note, target.row_weights[:, None], None)

        def weight(row: int, column: int) -> str:
            own = (cells.fixed(column) if cells else "" for cells in (yes, no))
            times = f"*{rows.at(row)}" if rows else ""
            return f"IF(ISNUMBER({ones.at(row, column)}),{formula(row, column, *own)}{times},0)"

        counts = target.counts
        note = "the mean of the batch counts by these"
        return self.block("weight in the loss", note, counts, weight, row_sum(counts, "weight"))

    def _section(self, title: str, note: str, side: str = "") -> None:
        self.sheet.texts(self.line, 0, [title, "", side], "section")
        self.sheet.text(self.line, 3, note, "note")

    def block(
        self,
        title: str,
        note: str,
        values: Floats | NDArray[np.object_],
        formula: Callable[[int, int], str | None] | None,
        side: Side | None = None,
        *,
        style: str = "calc",
        rows: int = 0,
    ) -> tuple[Block, Block]:
        """A step: its name, then a line to each row. Returns the cells and the third column.

        rows: lines, where these are not those of the rows.
        """
        sheet, count = self.sheet, rows or len(self.ids)
        name = side.name if side else ""
        place = self._place if self.across else self._below
        top, left = place(title, note, values.shape[1], name)
        if self.labels < 0:
            self.labels = top
        made = Block.put(sheet, top, left, values, formula, style)
        for row, name in enumerate(self.ids if left in (2, 3) and not rows else ()):
            sheet.text(top + row, 0, name, "id")
            if top != self.labels:
                sheet.formula(top + row, 1, self.label_formula(row), self.words[row], "word")
            elif not self.follows:
                sheet.text(top + row, 1, str(self.words[row]), "given_word")
        self.line, self._last = top + count, made
        self._bottom = max(self._bottom, self.line)
        return made, self.beside(made, side) if side else Block(sheet, top, self._side(made), count, 1)

    def _below(self, title: str, note: str, columns: int, side: str) -> tuple[int, int]:
        """Name a step below the last one; returns its first cell."""
        self.line += 1
        self._section(title, note, side)
        return self.line + 1, 3

    def _place(self, title: str, note: str, columns: int, side: str) -> tuple[int, int]:
        """Name a step right of the last one, or in the next band, and its columns; returns its first cell."""
        sheet, span = self.sheet, self._span
        letters = span * COLUMN + SIDE + GAP
        most = max(1, int((BAND - NAME - LABEL) / letters))
        if self.labels < 0:
            top = self.line + 4
        elif (self._left - 2) // (span + 2) < most:
            top = self._top
        else:
            self._left, top = 2, self._bottom + 5
        left, self._top = self._left, top
        if left == 2:
            sheet.texts(top - 1, 0, ["row", "label"], "head_left")
            sheet.height(top - 2, 28)
        sheet.texts(top - 3, left, [title, *[""] * span], "section")
        sheet.merged(top - 2, left, left + span, note, "note_wrapped")
        heads = list(self._heads) if len(self._heads) - columns in (0, 1) else []
        sheet.texts(top - 1, left, [*heads, *[""] * (span - len(heads)), side])
        end = left + span
        sheet.widths((left, end - 1, COLUMN), (end, end, SIDE), (end + 1, end + 1, GAP))
        self._left = end + 2
        return top, left

    def _side(self, made: Block) -> int:
        """The column of what a step says of whole rows."""
        return made.left + self._span if self.across else 2

    def beside(self, made: Block, side: Side) -> Block:
        """The third column of a block that is there already; its cells."""
        column = self._side(made)
        self.sheet.text(made.top - 1, column, side.name, "head" if self.across else "section")
        for row, value in enumerate(side.values):
            if side.formula is None:
                self.sheet.number(made.top + row, column, float(value), "given")
            else:
                self.sheet.formula(made.top + row, column, side.formula(made, row), value, side.style)
        return Block(self.sheet, made.top, column, made.rows, 1)

    def relabel(self, formula: Callable[[int], str]) -> None:
        """Make labels follow cells further down, which may be changed."""
        for row, word in enumerate(self.words):
            self.sheet.formula(self.labels + row, 1, formula(row), word, "word")

    def label(self, row: int) -> str:
        """The cell of a row's label, which may be changed but where it follows others."""
        return self.sheet.at(self.labels + row, 1, fixed="both")

    def label_formula(self, row: int, *, outside: bool = False) -> str:
        """What repeats a label elsewhere; of an empty cell nothing, where a plain reference would say 0."""
        label = f"{self.sheet.quoted}!{self.label(row)}" if outside else self.label(row)
        return label if self.follows else f'{label}&""'

    def head(self, column: int) -> str:
        """The cell of a column's name."""
        if self.across:
            return self.sheet.at(self.labels - 1, 2 + column, fixed="both")
        return self.sheet.at(2, 3 + column, fixed="row")

    def raw(self, target: TargetRows, text: str = "largest") -> tuple[Block, Block]:
        """Raw outputs, beside the labels."""
        note = "features x weights + bias; type any number over one"
        further = "to the right" if self.across else "down"
        note += f": labels may be changed further {further}" if self.follows else ", or another label"
        side = Side(text, lambda z, row: f"MAX({z.row(row)})", target.raw.max(axis=1, initial=-np.inf))
        return self.block("raw outputs z", note, target.raw, self.linked, side)

    def mean(self, words: str, losses: Block, known: Block, values: Floats, weights: Floats) -> float:
        """A line under a block: the mean of its third column over the known rows; NaN without any.

        Words among the losses count as nothing: SUMPRODUCT takes a text for 0.
        """
        total = f"SUM({known.column()})"
        value = float(weights @ values / weights.sum()) if weights.sum() else float("nan")
        none = text_constant(NO_LABELS)
        formula = f"IF({total}=0,{none},SUMPRODUCT({known.column()},{losses.column()})/{total})"
        self.result(words, formula, mean_or_words(value))
        return value

    def result(self, words: str, formula: str, value: float | str) -> None:
        """Write a line under a block, with a number, or words instead."""
        column = self._side(self._last)
        if self.across:
            blank = [""] * (column - self._last.left - 1)
            self.sheet.texts(self.line, self._last.left, [words, *blank], "head_left")
        else:
            self.sheet.texts(self.line, 0, [words, ""], "head_left")
        self.sheet.formula(self.line, column, formula, value, "result")
        self._result = self.sheet.at(self.line, column, fixed="both", outside=True)
        self.line += 1
        self._bottom = max(self._bottom, self.line)

    def heads(self, target: TargetRows) -> str:
        """The cells of the classes' names."""
        line, left = (self.labels - 1, 2) if self.across else (2, 3)
        return self.sheet.range(line, left, line, left + len(target.classes) - 1, fixed="both")

    @property
    def last_result(self) -> str:
        """The cell of the last `result`, for other sheets."""
        return self._result

    def compare(
        self,
        target: TargetRows,
        answer: Block,
        values: Floats,
        losses: Block,
        lost: Floats,
        unit: tuple[str, float] = ("1", 1.0),
    ) -> tuple[str, float]:
        """The model's own answers and losses; returns the cell of the largest difference, and that.

        unit: a cell, and its value, in which differences of answers are measured.
        """
        own, side = self.block(
            "the model's own answer",
            "as the run predicts it, to compare with; beside it the loss by its own code",
            target.answers,
            None,
            Side("loss", None, np.where(target.known, target.losses, np.nan)),
        )
        apart = np.where(target.known, np.abs(lost - target.losses), 0.0)

        def difference(row: int, _: int) -> str:
            both = f"AND(ISNUMBER({losses.at(row)}),ISNUMBER({side.at(row)}))"
            return f"IF({both},ABS({losses.at(row)}-{side.at(row)}),0)"

        # Line by line: where a loss is a word, a difference of whole columns would be an error.
        apart_at, _ = self.block(
            "difference of the losses", "0 where there is no label", apart[:, None], difference, style="tiny"
        )
        # Within SUMPRODUCT a spreadsheet takes the differences cell by cell, whatever its version.
        per = "" if unit[0] == "1" else f"/{unit[0]}"
        most = f"SUMPRODUCT(MAX(ABS({answer.all()}-{own.all()})){per})"
        far = np.abs(values - target.answers).max(initial=0) / unit[1]
        gap = max(far, apart.max(initial=0))
        self.result("largest difference", f"MAX({most},{apart_at.column()})", float(gap))
        return self.last_result, float(gap)


class TargetSheet(ABC):
    """The sheet of a kind of target: from raw outputs to its loss, or from members' answers to their mean.

    style, given_style: of answers as formulas, and of those that may be changed.
    """

    style, given_style = "percent", "given_percent"

    @abstractmethod
    def explain(self, made: RowsSheet, target: TargetRows) -> Answered:
        """From raw outputs to the loss, and to the answer, a block of formulas to each step."""

    @abstractmethod
    def begin(self, made: RowsSheet, target: TargetRows, text: str) -> None:
        """The sheet's title and the names of its columns."""

    def unit(self, made: RowsSheet, target: TargetRows) -> tuple[str, float]:
        """A cell and its value: the unit in which answers are compared and cost."""
        return "1", 1.0

    @abstractmethod
    def labels(self, made: RowsSheet, target: TargetRows) -> tuple[Block, Block]:
        """Cells of what is true, and of how much of it is known."""

    @abstractmethod
    def loss_of(self, answers: Block, truth: Block, known: Block, unit: str, row: int) -> str:
        """The formula of the loss of a row of answers: `TargetKind.row_losses`."""

    @abstractmethod
    def answer(self, made: RowsSheet, target: TargetRows, cells: Block, mixed: Floats) -> SheetAnswer:
        """The answer that follows from cells of probabilities or numbers, with `mixed` as values."""


@dataclass(frozen=True)
class SheetAnswer:
    """An answer on a sheet: its cells, the third column, and how sure it is.

    sure_at: where it is not the row's largest cell.
    """

    cells: Block
    side: Block
    best: Sequence[str] | Floats
    sure: Sequence[float | str] | Floats
    sure_word: str = "probability"
    sure_style: str = "percent"
    sure_at: Callable[[int], str] | None = None


def explained_rows(record: Mapping[str, Any]) -> list[dict[str, str | float]]:
    """The rows that `Run.write_explanation` returned, as a table: a line to each row and its target.

    A missing label, and an answer without tags, are words: neither is an empty cell.
    """
    loss_name = "training loss" if "loss" in record else "loss"
    lines = []
    for row in record.get("rows", ()):
        for name, target in row["targets"].items():
            # A row that was chosen for a target is shown with that target.
            if ": " in row["why"] and not row["why"].startswith(f"{name}: "):
                continue
            answer, chance, loss = target["answer"], target.get("probabilities", {}), target["loss"]
            tags = isinstance(answer, list)
            shown = ", ".join(answer) or NO_TAG if tags else answer
            lines.append(
                {
                    "row": row["id"],
                    "target": name,
                    "label": target["label"] or NO_LABEL,
                    "answer": "none of these" if shown == "" else shown,
                    "probability": math.nan if tags else chance.get(answer, math.nan),
                    loss_name: math.nan if loss is None else loss,
                    "chosen because": row["why"],
                }
            )
    return lines


def outside(block: Block, row: int) -> str:
    """A row's first cell, for other sheets."""
    return block.sheet.at(block.top + row, block.left, fixed="both", outside=True)


def answered_by(
    made: RowsSheet,
    target: TargetRows,
    answer: SheetAnswer,
    losses: Block,
    values: Floats,
    mean: tuple[str, float],
    gap: tuple[str, float],
    loss_word: str = "training loss",
) -> Answered:
    """What other sheets take: the answer and how sure it is, the losses, mean and comparison."""
    return Answered(
        label_at=lambda row: made.label_formula(row, outside=True),
        answer_at=lambda row: outside(answer.side, row),
        sure_at=answer.sure_at or (lambda row: f"MAX({answer.cells.row(row, outside=True)})"),
        loss_at=lambda row: outside(losses, row),
        mean_at=mean[0],
        gap_at=gap[0],
        label_words=made.words,
        answers=answer.best,
        sure=answer.sure,
        losses=told(values, target.known),
        mean=mean[1],
        gap=gap[1],
        sure_word=answer.sure_word,
        sure_style=answer.sure_style,
        loss_word=loss_word,
    )
