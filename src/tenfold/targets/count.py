"""Targets that are counts: a mean with a log link, and the Poisson deviance."""

from __future__ import annotations

import numpy as np

from tenfold.data.tables.table import Table
from tenfold.errors import TableError
from tenfold.targets.base import Baseline, Bools, Floats, Labels, RowWeights, TargetStats, as_numbers
from tenfold.targets.number import QuantityKind
from tenfold.targets.scores import count_scores, poisson_deviances
from tenfold.values import Scores, read_score

#: Larger whole numbers are not exact as floating point.
MOST = 2.0**53


class CountKind(QuantityKind):
    """How many: a whole number from 0 up. The answer is a mean, and so not a whole number."""

    kind = "count"
    score_names = ("poisson_deviance", "mae")
    # The deviance is twice the negative log-likelihood, up to what the label alone decides.
    variance = 0.5

    @property
    def start(self) -> float:
        """The count of raw output 0: the mean of the training labels; 1 where all of them are 0."""
        return self.stats.mean if self.stats.mean > 0 else 1.0

    def fit(self, table: Table) -> tuple[tuple[str, ...], TargetStats, list[str]]:
        self.read(table)
        _, there, notes = self.numbers(table)
        return (), TargetStats(), [f"{self.name}: a count from {there.min():g} to {there.max():g}", *notes]

    def read(self, table: Table) -> tuple[Labels, dict[str, int], Bools]:
        values, unknown, strange = super().read(table)
        whole = (values >= 0) & (values <= MOST) & (np.floor(values) == values)
        bad = np.flatnonzero(~whole & ~np.isnan(values))
        if len(bad):
            raise TableError(
                f"{table.source}: column {self.name!r} (target) is a count: whole numbers from 0 up",
                problems=table.places(self.name, bad),
                fix=f"mend these cells, or give --target {self.name}:number",
            )
        return values, unknown, strange

    def kind_scores(
        self, probabilities: Floats, labels: Labels, *, baseline: Baseline = None, weights: RowWeights = None
    ) -> Scores:
        """Mean Poisson deviance and MAE."""
        return count_scores(probabilities[:, 0], as_numbers(labels), baseline=baseline, weights=weights)

    def curve_loss(self, scores: Scores) -> float:
        """The mean Poisson deviance."""
        return read_score(scores, "poisson_deviance")

    def row_losses(self, probabilities: Floats, labels: Labels) -> Floats:
        """Poisson deviances."""
        return np.where(np.isnan(labels), 0, poisson_deviances(probabilities[:, 0], as_numbers(labels)))
