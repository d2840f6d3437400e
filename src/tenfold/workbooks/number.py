"""The sheet of a target that is a number: stretched or not, standardised, and its squared error."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tenfold.workbooks.rows import Answered, RowsSheet, Side, TargetRows, if_known, told
from tenfold.workbooks.workbook import Block

__all__ = ["number_labels", "number_sheet", "sigmoid"]

Floats = NDArray[np.float64]


def sigmoid(z: Floats) -> Floats:
    """1 / (1 + exp(-z)), by way of tanh, so that no exponential overflows."""
    return 0.5 * (1 + np.tanh(0.5 * z))


def number_sheet(made: RowsSheet, target: TargetRows) -> Answered:
    """A number: standardised, and squared error."""
    made.begin(target, [target.name], "A number, in units of its training labels' deviation: squared error.")
    centre, unit = (
        made.given("mean of the training labels", target.mean),
        made.given("deviation", target.deviation),
    )
    z = target.raw
    bounded = target.low is not None and target.high is not None
    low = made.given("lower end of the sigmoid", float(target.low or 0)) if bounded else ""
    high = made.given("upper end of the sigmoid", float(target.high or 0)) if bounded else ""
    raw, _ = made.raw(target, "output")
    labels = np.full(z.shape, np.nan) if target.labels is None else target.labels.reshape(z.shape)
    if bounded:
        value = target.low + (target.high - target.low) * sigmoid(z)  # type: ignore[operator]
        note = "low + (high - low) x sigmoid(z): a sigmoid stretched over the range"
    else:
        value, note = target.mean + target.deviation * z, "mean + deviation x z"

    def stretched(row: int, _: int) -> str:
        if bounded:
            return f"{low}+({high}-{low})/(1+EXP(-{raw.at(row)}))"
        return f"{centre}+{unit}*{raw.at(row)}"

    found, _ = made.block("number", note, value, stretched)
    truth, known = number_labels(made, labels)
    _, counted = made.weighed(target, truth, known)
    error = np.where(np.isnan(labels), 0, (value - labels) / target.deviation)
    errors = told(error[:, 0], target.known)
    wrong, _ = made.block(
        "standardised error", "(number - label) / deviation", np.array(errors, dtype=object)[:, None],
        lambda r, c: if_known(known.at(r), f"({found.at(r)}-{truth.at(r)})/{unit}"),
    )  # fmt: skip
    square = np.where(np.abs(error) <= 1, error**2, 2 * np.abs(error) - 1) if target.huber else error**2
    huber = "squared up to one deviation, a straight line beyond (Huber)" if target.huber else "squared"

    def lost(row: int, _: int) -> str:
        e = wrong.at(row)
        loss = f"IF(ABS({e})<=1,{e}^2,2*ABS({e})-1)" if target.huber else f"{e}^2"
        return if_known(known.at(row), loss)

    values = square[:, 0]
    shown = told(values, target.known)
    _, losses = made.block(
        "loss", f"the error {huber}: the loss that the run was trained with",
        np.array(shown, dtype=object)[:, None], lost,
        Side("loss", lambda one, row: one.at(row), shown, "result"),
    )  # fmt: skip
    words = "weighted mean" if target.weighed else "mean of the batch"
    mean = made.mean(words, losses, counted, values, target.weights)
    mean_at = made.last_result
    cut = value if target.ends is None else np.clip(value, *target.ends)
    ends = target.ends

    def cut_to(row: int, _: int) -> str:
        return f"MIN(MAX({found.at(row)},{ends[0]!r}),{ends[1]!r})" if ends else found.at(row)

    answer, _ = made.block(
        "answer", "the number, cut to its range" if ends else "the number", cut,
        cut_to, style="result",
    )  # fmt: skip
    gap_at, gap = made.compare(target, answer, cut, losses, values, (unit, target.deviation))
    side = Block(made.sheet, answer.top, answer.left, answer.rows, 1)
    return Answered(
        label_at=lambda row: made.label_formula(row, outside=True),
        answer_at=lambda row: side.sheet.at(side.top + row, side.left, fixed="both", outside=True),
        sure_at=lambda row: _outside(wrong, row),
        loss_at=lambda row: _outside(losses, row),
        mean_at=mean_at,
        gap_at=gap_at,
        label_words=made.words,
        answers=cut[:, 0],
        sure=errors,
        losses=shown,
        mean=mean,
        gap=gap,
        sure_word="error / dev.",
        sure_style="calc",
    )


def number_labels(made: RowsSheet, labels: Floats) -> tuple[Block, Block]:
    """Cells of the labels (rows, 1), and of whether each is known; the rows' labels follow them."""
    truth, known = made.block(
        "label", "empty where it is missing; may be changed", labels, None,
        Side("known", lambda one, row: f"COUNT({one.at(row)})", (~np.isnan(labels)).sum(1), "whole"),
    )  # fmt: skip
    made.relabel(lambda row: f'IF(ISNUMBER({truth.at(row)}),{truth.at(row)},"")')
    return truth, known


def _outside(block: Block, row: int) -> str:
    return block.sheet.at(block.top + row, block.left, fixed="both", outside=True)
