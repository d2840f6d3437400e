"""A sheet of rows: steps of a calculation under each other, with the same rows and columns in each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.workbooks.workbook import Block, Sheet, text_constant

__all__ = [
    "NO_LABEL",
    "NO_LABELS",
    "NO_TAG",
    "Answered",
    "RowsSheet",
    "Side",
    "TargetRows",
    "if_known",
    "mean_or_words",
    "told",
]

Floats = NDArray[np.float64]
#: What stands where there is no loss: of a row, and of a mean. A word is left out of every sum.
NO_LABEL, NO_LABELS = "no label", "no labels"
#: The answer without any tag, where the schema has no word of its own.
NO_TAG = "no tag"


def if_known(known: str, formula: str) -> str:
    """The formula where the cell `known` counts something, else the words for a missing label."""
    return f"IF({known}=0,{text_constant(NO_LABEL)},{formula})"


def told(values: Floats, known: NDArray[Any]) -> list[float | str]:
    """What `if_known` comes to, row by row."""
    return [float(value) if fine else NO_LABEL for value, fine in zip(values, known, strict=True)]


def mean_or_words(mean: float) -> float | str:
    """A mean, or what stands in its cell where there is nothing to take it of."""
    return mean if mean == mean else NO_LABELS


@dataclass(frozen=True)
class TargetRows:
    """One target of some rows.

    classes: empty for a number.  raw: (rows, outputs).  label_words: (rows,) "" where the label is missing.
    labels: (rows, classes) of 0 and 1, NaN where not known, of a target of tags; (rows,) numbers of a number.
    answers, losses: the model's own: (rows, answers) and (rows,), to compare with.
    smoothing, temperature, thresholds, task_weight: as the run has them.  variance: see `nn.heads.Head`.
    familiar: (rows,) what an open target's probabilities are multiplied by.  none: the word for no class.
    mean, deviation, low, high, ends: a number's facts; ends: what its answer is cut to.
    yes_weights, no_weights: (classes,) what a row of a class, or a yes to it, counts in the loss, and a no;
    all the same where empty.  row_weights: (rows,) what each row counts, where its table says so.
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
    yes_weights: Sequence[float] = ()
    no_weights: Sequence[float] = ()
    row_weights: Floats | None = None

    @property
    def weighed(self) -> bool:
        """Whether some labels count more than others."""
        return bool(self.yes_weights) or self.row_weights is not None

    @property
    def truth(self) -> Floats:
        """(rows, classes) 1 for the label's class, or a yes, and 0 elsewhere; NaN where not known."""
        if self.labels is not None:
            return self.labels
        hot = np.array([[float(word == one) for one in self.classes] for word in self.label_words])
        known = [bool(one) if self.kind == "open" else one in self.classes for one in self.label_words]
        return np.where(np.array(known)[:, None], hot, np.nan)

    @property
    def known(self) -> NDArray[np.bool_]:
        """(rows,) whether anything is known of a row's label."""
        known = ~np.isnan(self.truth.reshape(len(self.label_words), -1))
        return np.asarray(known.any(axis=1), dtype=np.bool_)

    @property
    def label_cells(self) -> list[str | float]:
        """(rows,) labels as a sheet shows them: of tags and numbers as their own cells say; "" if missing."""
        if self.labels is None:
            return list(self.label_words)
        if self.kind == "number":
            return [float(one) if one == one else "" for one in self.labels.ravel()]
        found = [", ".join(np.array(self.classes, dtype=object)[row == 1]) for row in self.labels]
        return [
            (one or self.none or NO_TAG) if fine else ""
            for one, fine in zip(found, self.known.tolist(), strict=True)
        ]

    @cached_property
    def decided(self) -> list[Any]:
        """(rows,) what the run answers: a class, a list of tags, a number; `none` of an open target."""
        answers, names = self.answers, list(self.classes)
        if self.kind == "number":
            return answers[:, 0].tolist()
        if self.kind == "ordered":
            return [names[place] for place in (answers.cumsum(axis=1)[:, :-1] < 0.5).sum(axis=1)]
        if self.kind == "category":
            return [names[place] for place in answers.argmax(axis=1)]
        yes = answers >= np.array(self.thresholds or [0.5] * len(names))
        if self.kind == "multilabel":
            return [[names[place] for place in np.flatnonzero(row)] for row in yes]
        best = np.where(yes, answers, -1.0).argmax(axis=1)
        return [
            names[place] if row.any() else self.none for place, row in zip(best.tolist(), yes, strict=True)
        ]

    @property
    def counts(self) -> Floats:
        """(rows, classes) what each answer counts in the loss: of one class, that of the label's alone."""
        truth = self.truth if self.truth.ndim == 2 else self.truth[:, None]
        yes = np.array(self.yes_weights or np.ones(truth.shape[1]))
        no = np.array(self.no_weights or np.ones(truth.shape[1]))
        if self.kind not in ("open", "multilabel"):
            found = yes if self.kind == "number" else truth * yes
        else:
            found = truth * yes + (1 - truth) * no
        rows = 1.0 if self.row_weights is None else self.row_weights[:, None]
        return np.where(np.isnan(truth), 0.0, found) * rows

    @property
    def weights(self) -> Floats:
        """(rows,) what a row counts in the mean loss: all that is known of it, weighed."""
        return self.counts.sum(axis=1)

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


class RowsSheet:
    """Blocks under each other, with the same rows and the same columns in each.

    linked: the formula of a raw output, or None where it is a number.
    words: the rows' labels.  follows: whether their cells follow others (see `relabel`), and are not typed.
    """

    def __init__(self, sheet: Sheet, ids: Sequence[str], linked: Callable[[int, int], str | None]) -> None:
        self.sheet, self.ids, self.linked = sheet, ids, linked
        self.line, self.labels, self.follows = 3, -1, False
        self.words: list[str | float] = [""] * len(ids)

    def begin(self, target: TargetRows, heads: Sequence[str], text: str) -> None:
        """Title, the rows' labels, and the names of the columns, which stay in sight."""
        self.words, self.follows = target.label_cells, target.kind in ("number", "multilabel")
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

    def givens(self, title: str, note: str, lines: Mapping[str, Sequence[float]]) -> list[Block]:
        """Numbers of each column that may be changed, a line to each name."""
        self.line += 1
        self._section(title, note)
        made = []
        for name, values in lines.items():
            self.line += 1
            self.sheet.text(self.line, 0, name, "id")
            for column, value in enumerate(values):
                self.sheet.number(self.line, 3 + column, float(value), "given")
            made.append(Block(self.sheet, self.line, 3, 1, len(values)))
        self.line += 1
        return made

    def weighed(self, target: TargetRows, ones: Block, known: Block) -> tuple[Block, Block]:
        """What each row counts in the mean: what is known, times the weights of classes and rows.

        ones: cells of 1 under what is counted, as text where it is not known.  known: their number, row by
        row.  Returns the weight of each of these cells, and of each row.
        """
        if not target.weighed:
            return ones, known
        yes = no = rows = None
        if target.yes_weights:
            lines = {"yes" if target.no_weights else "weight": target.yes_weights}
            lines |= {"no": target.no_weights} if target.no_weights else {}
            what = "a yes and a no to each class count" if target.no_weights else "a row of each class counts"
            yes, *others = self.givens("class weights", f"what {what} in the loss", lines)
            no = others[0] if others else None
        if target.row_weights is not None:
            note = "what its table says that the row counts"
            rows, _ = self.block("row weight", note, target.row_weights[:, None], None)

        def formula(row: int, column: int) -> str:
            one = ones.at(row, column)
            times = f"*{rows.at(row)}" if rows else ""
            if target.kind not in ("open", "multilabel"):
                own = f"*{yes.fixed(column)}" if yes else ""
                return (
                    f"IF(ISNUMBER({one}),{known.at(row) if target.kind == 'number' else one}{own}{times},0)"
                )
            own = f"({one}*{yes.fixed(column)}+(1-{one})*{no.fixed(column)})" if yes and no else "1"
            return f"IF(ISNUMBER({one}),{own}{times},0)"

        counts = target.counts
        made_sum = Side("weight", lambda one, row: f"SUM({one.row(row)})", counts.sum(1))
        return self.block(
            "weight in the loss", "the mean of the batch counts by these", counts, formula, made_sum
        )

    def _section(self, title: str, note: str, side: str = "") -> None:
        self.sheet.texts(self.line, 0, [title, "", side], "section")
        self.sheet.text(self.line, 3, note, "note")

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
        self._section(title, note, side.name if side else "")
        top = self.line + 1
        if self.labels < 0:
            self.labels = top
        made = Block.put(sheet, top, 3, values, formula, style)
        for row, name in enumerate(self.ids):
            sheet.text(top + row, 0, name, "id")
            if top != self.labels:
                sheet.formula(top + row, 1, self.label_formula(row), self.words[row], "word")
            elif not self.follows:
                sheet.text(top + row, 1, str(self.words[row]), "given_word")
        self.line = top + rows
        return made, self.beside(made, side) if side else Block(sheet, top, 2, rows, 1)

    def beside(self, made: Block, side: Side) -> Block:
        """The third column of a block that is there already; its cells."""
        self.sheet.text(made.top - 1, 2, side.name, "section")
        for row, value in enumerate(side.values):
            if side.formula is None:
                self.sheet.number(made.top + row, 2, float(value), "given")
            else:
                self.sheet.formula(made.top + row, 2, side.formula(made, row), value, side.style)
        return Block(self.sheet, made.top, 2, made.rows, 1)

    def relabel(self, formula: Callable[[int], str]) -> None:
        """Labels that follow cells further down, which are what may be changed."""
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
        return self.sheet.at(2, 3 + column, fixed="row")

    def raw(self, target: TargetRows, text: str = "largest") -> tuple[Block, Block]:
        """Raw outputs, beside the labels."""
        note = "features x weights + bias; type any number over one"
        note += ": labels may be changed further down" if self.follows else ", or another label"
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
        """A line under a block, with one number, or words in its place."""
        self.sheet.texts(self.line, 0, [words, ""], "head_left")
        self.sheet.formula(self.line, 2, formula, value, "result")
        self.line += 1

    @property
    def last_result(self) -> str:
        """The cell of the last `result`, for other sheets."""
        return self.sheet.at(self.line - 1, 2, fixed="both", outside=True)

    def compare(
        self,
        target: TargetRows,
        answer: Block,
        found: Floats,
        losses: Block,
        lost: Floats,
        unit: tuple[str, float] = ("1", 1.0),
    ) -> tuple[str, float]:
        """The model's own answers and losses; returns the cell of the largest difference, and that.

        unit: a cell, and its value, in which differences of answers are measured.
        """
        own, side = self.block(
            "the model's own answer",
            "as the run predicts it, to compare with; in the third column the loss by its own code",
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
        far = np.abs(found - target.answers).max(initial=0) / unit[1]
        gap = max(far, apart.max(initial=0))
        self.result("largest difference", f"MAX({most},{apart_at.column()})", float(gap))
        return self.last_result, float(gap)
