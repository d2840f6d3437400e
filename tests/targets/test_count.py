"""Counts: which cells are counts, and what answers cost."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, mean_poisson_deviance

from labelled import encoded, fitted, table_of
from tenfold.errors import SchemaError, TableError
from tenfold.schema import CountTarget, parse_target
from tenfold.targets.base import TargetStats
from tenfold.targets.kinds import kind_of
from tenfold.targets.labels import standardise

TARGET = CountTarget(name="visits")


def test_counts_are_whole_numbers_and_may_be_missing() -> None:
    assert parse_target("visits:count") == TARGET
    table = table_of(visits=["3", "", "0", "12.0"])
    _, encoding, notes = fitted(table, TARGET)
    assert "visits" not in encoding.classes
    assert notes[:2] == ["visits: a count from 0 to 12", "visits: 1 of 4 labels missing"]
    examples, _ = encoded(table, TARGET)
    np.testing.assert_array_equal(examples.labels["visits"], [3, math.nan, 0, 12])
    assert examples.weights["visits"].tolist() == [1, 0, 1, 1]
    settled = standardise(encoding.targets, examples.labels, np.arange(4))["visits"]
    assert settled.mean == 5 and kind_of(TARGET, (), settled).stats.deviation == settled.deviation


@pytest.mark.parametrize("cell", ["-1", "2.5", "1e300"])
def test_what_is_not_a_count_is_refused_with_its_line(cell: str) -> None:
    with pytest.raises(TableError, match="is a count: whole numbers from 0 up") as refused:
        fitted(table_of(visits=["1", cell, "2"]), TARGET)
    assert len(refused.value.problems) == 1 and repr(cell) in refused.value.problems[0]
    assert "visits:number" in refused.value.labels["fix"]
    kind = kind_of(TARGET)
    with pytest.raises(TableError):
        kind.scoring_labels(table_of(visits=["1", cell]))
    with pytest.raises(SchemaError, match="no label"):
        kind.fit(table_of(visits=["", ""]))


def test_scores_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    labels, means, weights = (
        rng.poisson(3, 50).astype(float),
        rng.uniform(0.1, 9, 50),
        rng.uniform(0.5, 2, 50),
    )
    kind = kind_of(TARGET, (), TargetStats(mean=3.0, deviation=2.0))
    for own in (None, weights):
        found = kind.scores(means[:, None], labels, baseline=2.5, weights=own)
        wanted = mean_poisson_deviance(labels, means, sample_weight=own)
        assert found["poisson_deviance"] == pytest.approx(wanted, rel=1e-12)
        assert found["mae"] == pytest.approx(mean_absolute_error(labels, means, sample_weight=own))
        beside = mean_poisson_deviance(labels, np.full(50, 2.5), sample_weight=own)
        assert found["baseline_deviance"] == pytest.approx(beside, rel=1e-12)
        assert kind.primary_loss(found) == kind.curve_loss(found) == found["poisson_deviance"]
    assert kind.row_losses(means[:, None], labels).mean() == pytest.approx(
        mean_poisson_deviance(labels, means)
    )
    assert kind.baseline(np.array([1.0, math.nan, 4.0])) == 2.5


def test_missing_labels_and_answers_that_are_not_numbers() -> None:
    kind = kind_of(TARGET)
    labels, answers = np.array([math.nan, 2.0, 0.0]), np.array([[1.0], [math.inf], [0.0]])
    found = kind.scores(answers, labels)
    assert found["scored"] == 1 and found["unscored"] == 1 and kind.primary_loss(found) == math.inf
    assert found["poisson_deviance"] == pytest.approx(0, abs=1e-15)
    nothing = kind.scores(answers[:1], labels[:1])
    assert math.isnan(nothing["poisson_deviance"]) and nothing["scored"] == 0
    assert kind.row_losses(answers[:1], labels[:1]).tolist() == [0.0]


def test_members_of_a_blend_are_weighed_by_squared_errors_and_answers_are_means() -> None:
    kind = kind_of(TARGET, (), TargetStats(mean=4.0, deviation=2.0))
    given, row, truth = kind.evidence(np.array([[[1.0], [3.0]], [[2.0], [5.0]]]), np.array([2.0, 4.0]))
    assert given.tolist() == [[0.5, 1.0], [1.5, 2.5]] and row.tolist() == [0, 1]
    assert truth is not None and truth.tolist() == [1.0, 2.0]
    answer = kind.decode(np.array([[2.25]]))
    assert answer.kind == "count" and answer.values.tolist() == [2.25] and answer.probabilities is None
    assert kind.answer_record(np.array([2.25])) == {"number": 2.25}
