"""Targets that are numbers: squared errors in units of the training labels' deviation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tenfold.data.tables.table import Table
from tenfold.errors import TableError
from tenfold.schema import NumberTarget
from tenfold.targets.base import (
    Baseline,
    Bools,
    Cells,
    Floats,
    Ints,
    Labels,
    RowWeights,
    TargetEvaluation,
    TargetKind,
    TargetStats,
    Weights,
    as_numbers,
    cell_numbers,
    counting_rows,
    known_rows,
    no_labels,
)
from tenfold.targets.scores import quantity_scores
from tenfold.values import Scores, TargetPrediction, read_score

#: A column with more different numbers has no step that its range could be stretched by half of.
MOST_STEPS = 50
#: Numbers of a larger size, or all of a smaller one than its inverse, leave no room to calculate in.
LARGEST = 1e300


class QuantityKind(TargetKind):
    """Base of the kinds whose labels and answers are numbers. Labels are float64, NaN if missing."""

    numeric = True
    outputs = answers = 1

    @property
    def output_names(self) -> list[str]:
        return [self.name]

    def numbers(self, table: Table) -> tuple[Floats, Floats, list[str]]:
        """The column's numbers, those that are not missing, and notes on them.

        Raises SchemaError where there are none, TableError where they are too large or too small.
        """
        name, values = self.name, table.numbers(self.name)
        there = values[~np.isnan(values)]
        if not len(there):
            raise no_labels(name, table)
        sizes = np.abs(there[there != 0])
        if len(sizes) and (sizes.max() > LARGEST or sizes.max() < 1 / LARGEST):
            raise TableError(
                f"{table.source}: the numbers of column {name!r} (target) reach {sizes.max():g} in size, "
                f"and what is learnt lies from {1 / LARGEST:g} to {LARGEST:g}",
                problems=table.places(name, np.flatnonzero(np.abs(values) == sizes.max())),
                fix="mend these cells, or write the column in another unit",
            )
        notes = []
        if len(there) < table.rows:
            notes.append(f"{name}: {table.rows - len(there)} of {table.rows} labels missing")
        if there.min() == there.max():
            notes.append(f"{name}: all labels are {there.min():g}: nothing to learn")
        return values, there, notes

    def read(self, table: Table) -> tuple[Labels, dict[str, int], Bools]:
        return table.numbers(self.name), {}, np.zeros(table.rows, dtype=bool)

    def scoring_labels(self, table: Table) -> tuple[Labels, list[str]]:
        return self.read(table)[0], []

    def unlabelled(self, rows: int) -> Labels:
        return np.full(rows, np.nan)

    def loss_labels(self, labels: Labels) -> tuple[Labels, Weights]:
        known = ~np.isnan(labels)
        return np.where(known, labels, 0), known.astype(np.float64)

    def truth(self, labels: Labels) -> Floats:
        return as_numbers(labels)[:, None]

    def label_columns(self, labels: Labels) -> dict[str, NDArray[np.generic]]:
        return {self.name: labels}

    def label_words(self, labels: Labels, cells: NDArray[np.object_] | None = None) -> list[str]:
        return ["" if label != label else f"{label:g}" for label in labels]

    def decode(self, probabilities: Floats) -> TargetPrediction:
        return TargetPrediction(self.kind, (), None, probabilities[:, 0].copy())

    def answer_record(self, answer: Floats) -> dict[str, float | dict[str, float]]:
        return {"number": float(answer[0])}

    def baseline(self, labels: Labels, weights: RowWeights = None) -> Baseline:
        """The mean."""
        known = known_rows(labels) & counting_rows(labels, weights)
        if not known.any():
            return None
        return float(np.average(labels[known], weights=None if weights is None else weights[known]))

    def loss_counts(self, truth: Floats) -> Floats:
        return np.where(np.isnan(truth), 0.0, 1.0)

    def evidence(self, given: Floats, labels: Labels) -> tuple[Floats, Ints, Floats | None]:
        """Squared errors: the mean is what makes them least."""
        scale = self.stats.deviation
        scale = scale if math.isfinite(scale) and scale > 0 else 1.0
        return given[:, :, 0].T / scale, np.arange(len(labels)), as_numbers(labels) / scale

    def primary_loss(self, scores: Scores) -> float:
        """`curve_loss`; infinite where an answer is not finite."""
        return math.inf if scores.get("unscored") else self.curve_loss(scores)

    def evaluate(
        self, labels: Sequence[Cells], answers: Sequence[Cells], chance: Floats | None
    ) -> TargetEvaluation | None:
        truth, guess = cell_numbers(labels[0]), cell_numbers(answers[0])
        error = np.abs(guess - truth)
        known = ~np.isnan(truth)
        middle = np.nanmedian(error) if known.any() else 0.0
        return TargetEvaluation(
            self.name, (), self.label_words(truth), self.label_words(guess), known,
            known & (error <= middle), -error, error, "error", truth=truth, guess=guess,
        )  # fmt: skip


class NumberKind(QuantityKind):
    """A number: standardised by the training rows, and squared error."""

    kind = "number"
    score_names = ("rmse", "mae", "r2")
    variance = 0.5

    def __init__(
        self, target: NumberTarget, classes: tuple[str, ...] = (), stats: TargetStats | None = None
    ) -> None:
        super().__init__(target, classes, stats)
        self.stretch = target.stretch
        if target.low is not None and target.high is not None:
            self.limits = target.low, target.high

    def fit(self, table: Table) -> tuple[tuple[str, ...], TargetStats, list[str]]:
        values, there, notes = self.numbers(table)
        name, lead = self.name, f"{self.name}: a number from {there.min():g} to {there.max():g}"
        if self.limits is None:
            return (), TargetStats(), [lead, *notes]
        low, high = self.limits
        outside = np.flatnonzero((values < low) | (values > high))
        if len(outside):
            raise TableError(
                f"{table.source}: {name!r} leaves {low:g} to {high:g} in {len(outside)} rows",
                problems=table.places(name, outside),
                fix="mend these cells, or state a wider range",
            )
        stretch = half_step(there, low, high) if self.stretch is None else self.stretch
        stats = TargetStats(low=low - stretch, high=high + stretch)
        lead += f"; answers from {low:g} to {high:g}, sigmoid from {stats.low:g} to {stats.high:g}"
        return (), stats, [lead, *notes]

    def kind_scores(
        self, probabilities: Floats, labels: Labels, *, baseline: Baseline = None, weights: RowWeights = None
    ) -> Scores:
        """RMSE, MAE and R2, in the labels' unit."""
        return quantity_scores(probabilities[:, 0], as_numbers(labels), baseline=baseline, weights=weights)

    def curve_loss(self, scores: Scores) -> float:
        """The mean squared error in units of the training labels' variance."""
        return (read_score(scores, "rmse") / self.stats.deviation) ** 2

    def row_losses(self, probabilities: Floats, labels: Labels) -> Floats:
        """Squared errors in units of the deviation."""
        error = (probabilities[:, 0] - np.nan_to_num(labels)) / self.stats.deviation
        return np.where(np.isnan(labels), 0, error**2)


def half_step(values: Floats, low: float, high: float) -> float:
    """Half the smallest step between the column's values; a twentieth of the range where it has no steps."""
    different = np.unique([*values, low, high])
    return float(np.diff(different).min()) / 2 if len(different) <= MOST_STEPS else (high - low) / 20
