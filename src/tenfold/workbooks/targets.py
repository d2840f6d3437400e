"""A sheet to each target: from raw outputs to its loss and its answer, a block of formulas to each step."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tenfold.targets.classes import OrderedKind
from tenfold.targets.questions import NO_TAG, QuestionsKind
from tenfold.workbooks.number import LEAST, CountSheet, NumberSheet, sigmoid
from tenfold.workbooks.rows import (
    Answered,
    RowsSheet,
    SheetAnswer,
    Side,
    TargetRows,
    TargetSheet,
    answered_by,
    if_known,
    row_count,
    row_sum,
    told,
)
from tenfold.workbooks.workbook import MOST_LETTERS, Block, text_constant

Floats = NDArray[np.float64]
#: Classes whose names a formula joins: each takes up to 30 letters of the 8192 that a formula may have.
JOINED = 100
#: The probability that the first sheet shows of questions.
HIGHEST = "highest probability"


class ClassSheet(TargetSheet):
    """Base of the sheets of exclusive classes: a column to each class, and cross-entropy."""

    def begin(self, made: RowsSheet, target: TargetRows, text: str) -> None:
        made.begin(target, target.classes, text)

    def labels(self, made: RowsSheet, target: TargetRows) -> tuple[Block, Block]:
        """1 under the label, 0 elsewhere, by comparing the label's cell with the columns' names."""
        hot = np.nan_to_num(target.truth)
        return made.block(
            "one-hot target",
            "1 under the label; nothing where the label is missing: such a row counts for nothing",
            hot,
            lambda r, c: f"IF(EXACT({made.label(r)},{made.head(c)}),1,0)",
            row_sum(hot, "known", "whole"),
            style="whole",
        )

    def loss_of(self, answers: Block, truth: Block, known: Block, unit: str, row: int) -> str:
        return f"-LN(MAX({LEAST},SUMPRODUCT({truth.row(row)},{answers.row(row)})))"

    def weigh(self, made: RowsSheet, target: TargetRows, hot: Block, known: Block) -> tuple[Block, Block]:
        """As `RowsSheet.weighed`: a row counts what its label's class does."""
        return made.weighed(
            target, hot, known, lambda r, c, yes, _: f"{hot.at(r, c)}*{yes}" if yes else hot.at(r, c)
        )

    def cross_entropy(
        self,
        made: RowsSheet,
        target: TargetRows,
        labels: tuple[Block, Block, Block],
        log: Block,
        logs: Floats,
        smooth: str,
    ) -> tuple[Block, Floats, str, float]:
        """Product, cross-entropy and its mean, and the same smoothed. Returns the loss that trained.

        labels: one-hot; what is known of each row; and what it counts.
        """
        ones, classes = np.nan_to_num(target.truth), len(target.classes)
        hot, known, counted = labels
        weights, words = target.weights, "weighted mean" if target.weighed else "mean of the batch"

        def lost(block: Block, row: int) -> str:
            return if_known(known.at(row), f"-SUM({block.row(row)})")

        _, losses = made.block(
            "target x log", "only the label's column is left", ones * logs,
            lambda r, c: f"{hot.at(r, c)}*{log.at(r, c)}",
            Side("cross-entropy", lost, told(-(ones * logs).sum(1), target.known), "result"),
        )  # fmt: skip
        values = -(ones * logs).sum(1)
        mean = made.mean(words, losses, counted, values, weights)
        if not target.smoothing:
            return losses, values, made.last_result, mean
        e = target.smoothing
        spread = ((1 - e) * ones + e / classes) * ones.sum(1)[:, None]
        soft, _ = made.block(
            "smoothed target", "(1 - e) x one-hot + e / classes: no answer needs to be certain", spread,
            lambda r, c: f"((1-{smooth})*{hot.at(r, c)}+{smooth}/{classes})*{known.at(r)}",
            row_sum(spread),
        )  # fmt: skip
        values = -(spread * logs).sum(1)
        _, losses = made.block(
            "smoothed target x log", "this is the loss that the run was trained with", spread * logs,
            lambda r, c: f"{soft.at(r, c)}*{log.at(r, c)}",
            Side("loss", lost, told(values, target.known), "result"),
        )  # fmt: skip
        mean = made.mean(words, losses, counted, values, weights)
        return losses, values, made.last_result, mean


class CategorySheet(ClassSheet):
    """Softmax and cross-entropy, plain and safe; beside them what one-vs-rest makes of the outputs."""

    def explain(self, made: RowsSheet, target: TargetRows) -> Answered:
        z = target.raw
        self.begin(made, target, "One of these classes: softmax and cross-entropy, step by step.")
        smooth = made.given("label smoothing e", target.smoothing)
        heat = made.given("temperature T", target.stats.temperature)
        raw, top = made.raw(target)
        with np.errstate(over="ignore", invalid="ignore"):
            power, total = np.exp(z), np.exp(z).sum(1, keepdims=True)
            made_sum = row_sum(power)
            powers, sums = made.block(
                "exp(z)", "makes every output positive", power, lambda r, c: f"EXP({raw.at(r, c)})", made_sum
            )
            ones = row_sum(power / total)
            made.block(
                "softmax = exp(z) / sum", "one row adds up to 1", power / total,
                lambda r, c: f"{powers.at(r, c)}/{sums.at(r)}", ones, style="percent",
            )  # fmt: skip
        shift = _safe_softmax(made, z, raw, top)
        hot, known = self.labels(made, target)
        _, counted = self.weigh(made, target, hot, known)
        logs = z - z.max(1, keepdims=True) - np.log(np.exp(z - z.max(1, keepdims=True)).sum(1, keepdims=True))
        log, _ = made.block(
            "log of the safe softmax", "(z - largest) - log(sum): no probability is rounded to 0 first", logs,
            lambda r, c: f"{raw.at(r, c)}-{top.at(r)}-LN({shift.at(r)})",
        )  # fmt: skip
        losses, values, mean_at, mean = self.cross_entropy(
            made, target, (hot, known, counted), log, logs, smooth
        )
        _binary_beside(made, target, raw, hot, known)
        chance = np.exp(logs / target.stats.temperature)
        chance /= chance.sum(1, keepdims=True)
        last = self._best(
            made, target, "answer: softmax of z / T",
            "what the run predicts; T is 1 unless it was calibrated", chance, lambda r, c: (
                f"EXP(({raw.at(r, c)}-{top.at(r)})/{heat})/SUMPRODUCT(EXP(({raw.row(r)}-{top.at(r)})/{heat}))"
            ),
        )  # fmt: skip
        gap = made.compare(target, last.cells, chance, losses, values)
        return answered_by(made, target, last, losses, values, (mean_at, mean), gap)

    def answer(self, made: RowsSheet, target: TargetRows, cells: Block, mixed: Floats) -> SheetAnswer:
        return self._best(made, target, "answer", "the class with the highest mean", mixed, cells.at)

    def _best(
        self, made: RowsSheet, target: TargetRows, title: str, note: str, values: Floats,
        formula: Callable[[int, int], str],
    ) -> SheetAnswer:  # fmt: skip
        """Write probabilities, beside the names of the largest."""
        best, heads = [target.classes[index] for index in values.argmax(1)], made.heads(target)
        names = Side("answer", lambda block, row: best_of(block, row, heads), best, "result_word")
        answer, side = made.block(title, note, values, formula, names, style="percent")
        answer.heat()
        return SheetAnswer(answer, side, best, values.max(1))


class OrderedSheet(ClassSheet):
    """Is it higher than this class, class by class: the probabilities of all classes, and cross-entropy."""

    def explain(self, made: RowsSheet, target: TargetRows) -> Answered:
        z, classes = target.raw, len(target.classes)
        self.begin(made, target, "Classes in order: is it higher than this one? Step by step.")
        smooth = made.given("label smoothing e", target.smoothing)
        heat = made.given("temperature T", target.stats.temperature)
        raw, _ = made.raw(target)
        yes, no = -np.logaddexp(0, -z), -np.logaddexp(0, z)
        up, _ = made.block(
            "log sigmoid(z): higher than this class", "given that it is at least this class", yes,
            lambda r, c: f"MIN({raw.at(r, c)},0)-LN(1+EXP(-ABS({raw.at(r, c)})))",
        )  # fmt: skip
        stay, _ = made.block(
            "log(1 - sigmoid(z)): not higher", "", no,
            lambda r, c: f"MIN(-{raw.at(r, c)},0)-LN(1+EXP(-ABS({raw.at(r, c)})))",
        )  # fmt: skip
        logs = np.pad(yes.cumsum(1), ((0, 0), (1, 0))) + np.pad(no, ((0, 0), (0, 1)))

        def formula(row: int, column: int) -> str:
            passed = [f"SUM({up.row(row, last=column - 1)})"] if column else []
            return "+".join([*passed, *([stay.at(row, column)] if column < classes - 1 else [])])

        log, _ = made.block("log probability", "passed all classes below, and not this one", logs, formula)
        made.block(
            "probability", "one row adds up to 1, whatever the outputs", np.exp(logs),
            lambda r, c: f"EXP({log.at(r, c)})",
            row_sum(np.exp(logs)), style="percent",
        )  # fmt: skip
        hot, known = self.labels(made, target)
        _, counted = self.weigh(made, target, hot, known)
        losses, values, mean_at, mean = self.cross_entropy(
            made, target, (hot, known, counted), log, logs, smooth
        )
        chance = np.exp(logs / target.stats.temperature)
        chance /= chance.sum(1, keepdims=True)
        answer, _ = made.block(
            "answer: probabilities at temperature T",
            "what the run predicts; T is 1 unless it was calibrated",
            chance, lambda r, c: f"EXP({log.at(r, c)}/{heat})/SUMPRODUCT(EXP({log.row(r)}/{heat}))",
            style="percent",
        )  # fmt: skip
        answer.heat()
        last = self.answer(made, target, answer, chance)
        gap = made.compare(target, answer, chance, losses, values)
        return answered_by(made, target, last, losses, values, (mean_at, mean), gap)

    def answer(self, made: RowsSheet, target: TargetRows, cells: Block, mixed: Floats) -> SheetAnswer:
        """The first class, from the lowest, up to which half the probability lies, and how probable it is."""
        classes = len(target.classes)
        heads = made.heads(target)
        assert isinstance(target.kind, OrderedKind)
        codes = target.kind.best(mixed)
        best = [target.classes[code] for code in codes]

        def middle(block: Block, row: int) -> str:
            return f'INDEX({heads},COUNTIF({block.row(row, last=classes - 2)},"<0.5")+1)'

        summed, side = made.block(
            "summed up from the lowest class",
            "the answer is the first class that reaches one half: the median",
            mixed.cumsum(1), lambda r, c: f"SUM({cells.row(r, last=c)})",
            Side("answer", middle, best, "result_word"), style="percent",
        )  # fmt: skip

        def sure_at(row: int) -> str:
            own = cells.row(row, outside=True)
            return f'INDEX({own},COUNTIF({summed.row(row, last=classes - 2, outside=True)},"<0.5")+1)'

        sure = mixed[np.arange(len(codes)), codes]
        return SheetAnswer(cells, side, best, sure, sure_at=sure_at)


class QuestionSheet(TargetSheet):
    """A yes-or-no question to each class: sigmoid and binary cross-entropy.

    lead: what is asked for.
    """

    lead = ""

    def begin(self, made: RowsSheet, target: TargetRows, text: str) -> None:
        made.begin(target, target.classes, text)

    def loss_of(self, answers: Block, truth: Block, known: Block, unit: str, row: int) -> str:
        # What was given to the answer that is true; in arithmetic, as IF is not taken cell by cell here.
        given = f"ABS(1-{truth.row(row)}-{answers.row(row)})"
        safe = f"{given}*({given}>{LEAST})+{LEAST}*({given}<={LEAST})"
        return f"-SUMPRODUCT(ISNUMBER({truth.row(row)})*LN({safe}))/{known.at(row)}"

    def answer(self, made: RowsSheet, target: TargetRows, cells: Block, mixed: Floats) -> SheetAnswer:
        return self.decide(made, target, cells, mixed)[0]

    @abstractmethod
    def names(
        self, made: RowsSheet, target: TargetRows, cells: Block, sure: Floats, heads: str
    ) -> tuple[Callable[[int], str], list[str]]:
        """Formulas of the answers, and what they come to.

        cells, sure: probabilities that reach their threshold, 0 elsewhere.  heads: the classes' names.
        """

    def explain(self, made: RowsSheet, target: TargetRows) -> Answered:
        kind, z = _questions(target), target.raw
        self.begin(made, target, f"{self.lead}: a yes-or-no question to each, step by step.")
        smooth = made.given("label smoothing e", target.smoothing)
        heat = made.given("temperature T", target.stats.temperature)
        raw, _ = made.raw(target)
        chance = sigmoid(z)
        share, _ = made.block(
            "sigmoid(z) = 1 / (1 + exp(-z))", "each class for itself: a row need not add up to 1", chance,
            lambda r, c: f"1/(1+EXP(-{raw.at(r, c)}))",
            row_sum(chance), style="percent",
        )  # fmt: skip
        truth = target.truth
        answers, known = self.labels(made, target)

        def own_weight(row: int, column: int, yes: str, no: str) -> str:
            t = answers.at(row, column)
            return f"({t}*{yes}+(1-{t})*{no})" if yes and no else "1"

        counts, counted = made.weighed(target, answers, known, own_weight)
        asked = ~np.isnan(truth)
        with np.errstate(divide="ignore", invalid="ignore"):
            plain = np.asarray(-(truth * np.log(chance) + (1 - truth) * np.log(1 - chance)), dtype=object)
        plain[(chance == 0) | (chance == 1)] = "too sure"
        plain[~asked] = 0.0
        made.block(
            "-(t log p + (1 - t) log(1 - p))", "the plain form; 'too sure' where it needs the logarithm of 0",
            plain,
            lambda r, c: (
                f"IF(ISNUMBER({answers.at(r, c)}),IFERROR(-({answers.at(r, c)}*LN({share.at(r, c)})"
                f'+(1-{answers.at(r, c)})*LN(1-{share.at(r, c)})),"too sure"),0)'
            ),
        )  # fmt: skip
        part = kind.smoothed_over
        soft = np.where(asked, truth * (1 - target.smoothing) + target.smoothing / part, 0)
        t, _ = made.block(
            "smoothed answer", f"t (1 - e) + e / {part}", soft,
            lambda r, c: (
                f"IF(ISNUMBER({answers.at(r, c)}),{answers.at(r, c)}*(1-{smooth})+{smooth}/{part},0)"
            ),
        )  # fmt: skip
        loss = np.where(asked, _binary(z, soft), 0)
        weights, total = target.counts, target.weights
        values = np.divide((weights * loss).sum(1), total, out=np.zeros(len(total)), where=total > 0)

        def row_mean(block: Block, row: int) -> str:
            if not target.weighed:
                return if_known(known.at(row), f"SUM({block.row(row)})/{known.at(row)}")
            weight = counted.at(row)
            mean = f"IF({weight}=0,0,SUMPRODUCT({block.row(row)},{counts.row(row)})/{weight})"
            return if_known(known.at(row), mean)

        _, losses = made.block(
            "loss, safe form", "max(z, 0) - z t + log(1 + exp(-|z|)): what the run was trained with", loss,
            lambda r, c: f"IF(ISNUMBER({answers.at(r, c)}),{_binary_formula(raw.at(r, c), t.at(r, c))},0)",
            Side("mean", row_mean, told(values, target.known), "result"),
        )  # fmt: skip
        words = "weighted mean" if target.weighed else "mean of the batch's questions"
        mean = made.mean(words, losses, counted, values, total)
        mean_at = made.last_result
        answer, final = self.decide(made, target, share, chance, heat)
        gap = made.compare(target, answer.cells, final, losses, values)
        return answered_by(made, target, answer, losses, values, (mean_at, mean), gap)

    def decide(
        self, made: RowsSheet, target: TargetRows, share: Block, chance: Floats, heat: str = ""
    ) -> tuple[SheetAnswer, Floats]:
        """Probabilities as the run gives them, with their values; thresholds, and the answer.

        share, chance: cells and values of the questions' probabilities.  heat: the temperature's cell.
        """
        rows, classes = chance.shape
        familiar = np.ones(rows) if target.familiar is None else target.familiar
        factor: Block | None = None
        if target.familiar is not None:
            factor, _ = made.block(
                "familiarity", "how much the row is like those of training: 1, or less for a stranger",
                familiar[:, None], None,
            )  # fmt: skip
        temperature = target.stats.temperature
        final = chance * familiar[:, None]
        if temperature != 1:
            final = 1 / (1 + np.exp((np.log1p(-final) - np.log(final)) / temperature))

        def formula(row: int, column: int) -> str:
            p = share.at(row, column) + (f"*{factor.at(row)}" if factor else "")
            return f"IF({heat}=1,{p},1/(1+((1-{p})/({p}))^(1/{heat})))" if heat else p

        thresholds = _questions(target).thresholds
        (least,) = made.givens(
            "thresholds", "the least probability of a yes", {"threshold": list(thresholds)}
        )
        answer, _ = made.block(
            "answer: probabilities", "what the run predicts", final, formula, style="percent"
        )
        answer.heat()
        sure = np.where(final >= thresholds, final, 0.0)
        heads = made.heads(target)
        cells, _ = made.block(
            "probabilities that reach their threshold", "the others count as 0", sure,
            lambda r, c: f"IF({answer.at(r, c)}>={least.fixed(c)},{answer.at(r, c)},0)",
            style="percent",
        )  # fmt: skip
        word, best = self.names(made, target, cells, sure, heads)
        side = made.beside(cells, Side("answer", lambda _, row: word(row), best, "result_word"))
        return SheetAnswer(answer, side, best, final.max(1), HIGHEST), final


class OpenSheet(QuestionSheet):
    """One of the classes, or none: answers to the questions are made from the label."""

    lead = "One of these classes, or none"

    def labels(self, made: RowsSheet, target: TargetRows) -> tuple[Block, Block]:
        truth = target.truth
        # Text in the cells of a row without a label, so that they are not counted.
        values = np.where(np.isnan(truth), "", truth.astype(object))
        answers, known = made.block(
            "answers t",
            "1 under the label, 0 under all others; all 0 where it is none of these classes", values,
            lambda r, c: f'IF({made.label(r)}="","",IF(EXACT({made.label(r)},{made.head(c)}),1,0))',
            row_count(truth),
            style="whole",
        )  # fmt: skip
        return answers, known

    def names(
        self, made: RowsSheet, target: TargetRows, cells: Block, sure: Floats, heads: str
    ) -> tuple[Callable[[int], str], list[str]]:
        none = _questions(target).none
        best = [target.classes[int(row.argmax())] if row.any() else none for row in sure]
        return (
            lambda row: f"IF(SUM({cells.row(row)})=0,{text_constant(none)},{best_of(cells, row, heads)})",
            best,
        )


class MultiLabelSheet(QuestionSheet):
    """Any of the classes: answers to the questions are given, and the label follows them."""

    lead = "Any of these classes"

    def begin(self, made: RowsSheet, target: TargetRows, text: str) -> None:
        made.begin(target, target.classes, text, follows=True)

    def labels(self, made: RowsSheet, target: TargetRows) -> tuple[Block, Block]:
        truth = target.truth
        answers, known = made.block(
            "answers t", "1 yes, 0 no, empty where it is not known; these may be changed", truth, None,
            row_count(truth),
            style="given_short",
        )  # fmt: skip
        word, _ = tag_names(made, target, answers, "=1", truth == 1)
        made.relabel(lambda row: f'IF({known.at(row)}=0,"",{word(row)})')
        return answers, known

    def names(
        self, made: RowsSheet, target: TargetRows, cells: Block, sure: Floats, heads: str
    ) -> tuple[Callable[[int], str], list[str]]:
        return tag_names(made, target, cells, ">0", sure > 0)


def best_of(block: Block, row: int, heads: str) -> str:
    """The formula of the name of a row's largest cell."""
    cells = block.row(row)
    return f"INDEX({heads},MATCH(MAX({cells}),{cells},0))"


def _safe_softmax(made: RowsSheet, z: Floats, raw: Block, top: Block) -> Block:
    """The same softmax from outputs less their largest; returns the sums."""
    power = np.exp(z - z.max(1, keepdims=True))
    powers, sums = made.block(
        "safe form: exp(z - largest)", "the same softmax, and nothing can grow too large", power,
        lambda r, c: f"EXP({raw.at(r, c)}-{top.at(r)})",
        row_sum(power),
    )  # fmt: skip
    chance = power / power.sum(1, keepdims=True)
    made.block(
        "safe softmax", "equal to the one above", chance,
        lambda r, c: f"{powers.at(r, c)}/{sums.at(r)}",
        row_sum(chance), style="percent",
    )  # fmt: skip
    return sums


def _binary_beside(made: RowsSheet, target: TargetRows, raw: Block, hot: Block, known: Block) -> None:
    """What binary cross-entropy makes of the same outputs: each class a yes-or-no question of its own."""
    z, ones = target.raw, np.nan_to_num(target.truth)
    chance = sigmoid(z)
    made.block(
        "beside it, the binary form: sigmoid(z)", "each class for itself: a row need not add up to 1", chance,
        lambda r, c: f"1/(1+EXP(-{raw.at(r, c)}))",
        row_sum(chance), style="percent",
    )  # fmt: skip
    loss = _binary(z, ones)
    _, means = made.block(
        "binary cross-entropy", "max(z, 0) - z t + log(1 + exp(-|z|)), for t of the one-hot target", loss,
        lambda r, c: _binary_formula(raw.at(r, c), hot.at(r, c)),
        Side(
            "mean",
            lambda block, row: if_known(known.at(row), f"AVERAGE({block.row(row)})"),
            told(loss.mean(1), target.known),
        ),
    )  # fmt: skip
    made.mean("mean of the batch", means, known, loss.mean(1), ones.sum(1))


def _binary(z: Floats, t: Floats) -> Floats:
    return np.maximum(z, 0) - z * t + np.log1p(np.exp(-np.abs(z)))


def _binary_formula(z: str, t: str) -> str:
    return f"MAX({z},0)-{z}*{t}+LN(1+EXP(-ABS({z})))"


def _questions(target: TargetRows) -> QuestionsKind:
    assert isinstance(target.kind, QuestionsKind)
    return target.kind


def tag_names(
    made: RowsSheet, target: TargetRows, cells: Block, mark: str, yes: NDArray[np.bool_]
) -> tuple[Callable[[int], str], list[str]]:
    """Formulas of the names of a row's tags, joined, and what they come to.

    cells: a cell to each class.  mark: what a yes is, such as ``>0``.  yes: (rows, classes) now.
    Plain concatenation: not every spreadsheet knows TEXTJOIN.
    """
    classes = yes.shape[1]
    starts, word = range(0, classes, JOINED), _questions(target).none or NO_TAG

    def joined(row: int, start: int) -> str:
        own = range(start, min(start + JOINED, classes))
        return "&".join(f'IF({cells.at(row, index)}{mark},", "&{made.head(index)},"")' for index in own)

    parts: Block | None = None
    if classes > JOINED:
        values = [[_names(target, own, start, start + JOINED) for start in starts] for own in yes]
        parts, _ = made.block(
            "names of the tags", f"those of {JOINED} classes to a cell, of which the answer is joined",
            np.array(values, dtype=object), lambda r, c: joined(r, c * JOINED),
        )  # fmt: skip

    def formula(row: int) -> str:
        count = f'COUNTIF({cells.row(row)},"{mark}")'
        whole = (
            "&".join(parts.at(row, column) for column in range(parts.columns)) if parts else joined(row, 0)
        )
        return f"IF({count}=0,{text_constant(word)},MID({whole},3,{MOST_LETTERS}))"

    return formula, [_names(target, own, 0, classes)[2:] or word for own in yes]


def _names(target: TargetRows, yes: NDArray[np.bool_], start: int, end: int) -> str:
    return "".join(f", {target.classes[start + index]}" for index in np.flatnonzero(yes[start:end]))


_SHEETS: dict[str, TargetSheet] = {
    "category": CategorySheet(),
    "ordered": OrderedSheet(),
    "open": OpenSheet(),
    "multilabel": MultiLabelSheet(),
    "number": NumberSheet(),
    "count": CountSheet(),
}


def sheet_of(target: TargetRows) -> TargetSheet:
    """The sheet of a target's kind."""
    return _SHEETS[target.kind.kind]
