"""The sheet of a target that is a number: stretched or not, standardised, and its squared error."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tenfold.metrics import SMALLEST
from tenfold.targets.count import CountKind
from tenfold.workbooks.rows import (
    Answered,
    RowsSheet,
    SheetAnswer,
    Side,
    TargetRows,
    TargetSheet,
    answered_by,
    if_known,
    outside,
    told,
)
from tenfold.workbooks.workbook import Block

Floats = NDArray[np.float64]
#: The least probability in a logarithm, and the least mean, as formulas write it.
LEAST = f"{SMALLEST!r}".upper()


def sigmoid(z: Floats) -> Floats:
    """1 / (1 + exp(-z)), by way of tanh, so that no exponential overflows."""
    return 0.5 * (1 + np.tanh(0.5 * z))


class QuantitySheet(TargetSheet):
    """Base of the sheets of numbers: a single column, and labels that follow their own block."""

    style, given_style = "calc", "calc"

    def begin(self, made: RowsSheet, target: TargetRows, text: str) -> None:
        words = [float(label) if label == label else "" for label in target.labels]
        made.begin(target, [target.name], text, follows=True, words=words)

    def labels(self, made: RowsSheet, target: TargetRows) -> tuple[Block, Block]:
        there = (~np.isnan(target.truth)).sum(1)
        truth, known = made.block(
            "label", "empty where it is missing; may be changed", target.truth, None,
            Side("known", lambda block, row: f"COUNT({block.at(row)})", there, "whole"),
        )  # fmt: skip
        made.relabel(lambda row: f'IF(ISNUMBER({truth.at(row)}),{truth.at(row)},"")')
        return truth, known

    def answer(self, made: RowsSheet, target: TargetRows, cells: Block, mixed: Floats) -> SheetAnswer:
        side = Block(made.sheet, cells.top, cells.left, cells.rows, 1)
        return SheetAnswer(cells, side, mixed[:, 0], mixed[:, 0], "number", "calc")

    def losses(
        self, made: RowsSheet, target: TargetRows, counted: Block, note: str,
        values: Floats, formula: Callable[[int, int], str],
    ) -> tuple[Block, tuple[str, float]]:  # fmt: skip
        """The losses of the rows, and the cell and value of their mean."""
        shown = told(values, target.known)
        _, losses = made.block(
            "loss", note, np.array(shown, dtype=object)[:, None], formula,
            Side("loss", lambda block, row: block.at(row), shown, "result"),
        )  # fmt: skip
        words = "weighted mean" if target.weighed else "mean of the batch"
        mean = made.mean(words, losses, counted, values, target.weights)
        return losses, (made.last_result, mean)

    def last(
        self, answer: Block, values: Floats, wrong: Block, errors: list[float | str], word: str
    ) -> SheetAnswer:
        """The answer as other sheets show it: beside its error, called `word`, of a row."""
        return SheetAnswer(
            answer, answer, values[:, 0], errors, word, "calc", lambda row: outside(wrong, row)
        )


class NumberSheet(QuantitySheet):
    """A number: standardised, and squared error."""

    def unit(self, made: RowsSheet, target: TargetRows) -> tuple[str, float]:
        deviation = target.stats.deviation
        return made.given("deviation of the training labels", deviation), deviation

    def loss_of(self, answers: Block, truth: Block, known: Block, unit: str, row: int) -> str:
        return f"(({answers.at(row)}-{truth.at(row)})/{unit})^2"

    def explain(self, made: RowsSheet, target: TargetRows) -> Answered:
        lead = "A number, in units of its training labels' deviation: squared error."
        self.begin(made, target, lead)
        stats, z = target.stats, target.raw
        centre = made.given("mean of the training labels", stats.mean)
        unit = made.given("deviation", stats.deviation)
        bounded = stats.low is not None and stats.high is not None
        ends = (float(stats.low or 0), float(stats.high or 0))
        low = made.given("lower end of the sigmoid", ends[0]) if bounded else ""
        high = made.given("upper end of the sigmoid", ends[1]) if bounded else ""
        raw, _ = made.raw(target, "output")
        if bounded:
            value = ends[0] + (ends[1] - ends[0]) * sigmoid(z)
            note = "low + (high - low) x sigmoid(z): a sigmoid stretched over the range"
        else:
            value, note = stats.mean + stats.deviation * z, "mean + deviation x z"

        def stretched(row: int, _: int) -> str:
            if bounded:
                return f"{low}+({high}-{low})/(1+EXP(-{raw.at(row)}))"
            return f"{centre}+{unit}*{raw.at(row)}"

        numbers, _ = made.block("number", note, value, stretched)
        truth, known = self.labels(made, target)
        _, counted = made.weighed(target, truth, known, lambda row, *_: known.at(row))
        error = np.where(np.isnan(target.truth), 0, (value - target.truth) / stats.deviation)
        errors = told(error[:, 0], target.known)
        wrong, _ = made.block(
            "standardised error", "(number - label) / deviation", np.array(errors, dtype=object)[:, None],
            lambda r, c: if_known(known.at(r), f"({numbers.at(r)}-{truth.at(r)})/{unit}"),
        )  # fmt: skip
        square = np.where(np.abs(error) <= 1, error**2, 2 * np.abs(error) - 1) if target.huber else error**2
        huber = "squared up to one deviation, a straight line beyond (Huber)" if target.huber else "squared"

        def lost(row: int, _: int) -> str:
            e = wrong.at(row)
            loss = f"IF(ABS({e})<=1,{e}^2,2*ABS({e})-1)" if target.huber else f"{e}^2"
            return if_known(known.at(row), loss)

        values, limits = square[:, 0], target.kind.limits
        note = f"the error {huber}: the loss that the run was trained with"
        losses, mean = self.losses(made, target, counted, note, values, lost)
        cut = np.clip(value, *limits) if limits else value

        def cut_to(row: int, _: int) -> str:
            return f"MIN(MAX({numbers.at(row)},{limits[0]!r}),{limits[1]!r})" if limits else numbers.at(row)

        answer, _ = made.block(
            "answer", "the number, cut to its range" if limits else "the number", cut, cut_to, style="result"
        )
        gap = made.compare(target, answer, cut, losses, values, (unit, stats.deviation))
        last = self.last(answer, cut, wrong, errors, "error / dev.")
        return answered_by(made, target, last, losses, values, mean, gap)


class CountSheet(QuantitySheet):
    """A count: its mean by a log link, and the Poisson deviance."""

    def loss_of(self, answers: Block, truth: Block, known: Block, unit: str, row: int) -> str:
        y, mean = truth.at(row), answers.at(row)
        return f"2*(IF({y}>0,{y}*LN({y}/MAX({mean},{LEAST})),0)-{y}+MAX({mean},{LEAST}))"

    def explain(self, made: RowsSheet, target: TargetRows) -> Answered:
        assert isinstance(target.kind, CountKind)
        self.begin(made, target, "A count: the logarithm of its mean, and the Poisson deviance.")
        start = made.given("mean of the training labels", target.kind.start)
        raw, _ = made.raw(target, "output")
        values = target.kind.start * np.exp(target.raw)
        means, _ = made.block(
            "mean count", "mean x exp(z): the raw output is the logarithm of how many times the mean",
            values, lambda r, c: f"{start}*EXP({raw.at(r)})",
        )  # fmt: skip
        truth, known = self.labels(made, target)
        _, counted = made.weighed(target, truth, known, lambda row, *_: known.at(row))
        errors = told(np.nan_to_num(values - target.truth)[:, 0], target.known)
        wrong, _ = made.block(
            "error", "mean count - label", np.array(errors, dtype=object)[:, None],
            lambda r, c: if_known(known.at(r), f"{means.at(r)}-{truth.at(r)}"),
        )  # fmt: skip
        lost = target.kind.row_losses(values, target.labels)
        losses, mean = self.losses(
            made, target, counted, "2 (y log(y / mean) - y + mean): the loss that the run was trained with",
            lost, lambda r, c: if_known(known.at(r), self.loss_of(means, truth, known, "1", r)),
        )  # fmt: skip
        answer, _ = made.block("answer", "the mean count", values, lambda r, c: means.at(r), style="result")
        gap = made.compare(target, answer, values, losses, lost, (start, target.kind.start))
        last = self.last(answer, values, wrong, errors, "error")
        return answered_by(made, target, last, losses, lost, mean, gap)
