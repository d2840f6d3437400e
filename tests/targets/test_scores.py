"""What is shown of each kind of target, against scikit-learn and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as peer

from tenfold import metrics
from tenfold.targets.kinds import KINDS
from tenfold.targets.scores import (
    class_scores,
    open_scores,
    ordered_scores,
    quantity_scores,
    tag_scores,
)

RNG = np.random.default_rng(0)
HALF = np.full(3, 0.5)


def test_two_classes_have_an_auc_and_three_have_none() -> None:
    labels = RNG.integers(0, 2, 60)
    chance = np.clip(labels * 0.3 + RNG.random(60) * 0.6, 0, 1)
    scores = class_scores(np.stack([1 - chance, chance], 1), labels, baseline=1)
    assert scores["auc"] == pytest.approx(peer.roc_auc_score(labels, chance))
    assert scores["majority_error_rate"] == pytest.approx((labels != 1).mean())
    assert "auc" not in class_scores(np.full((4, 3), 1 / 3), np.array([0, 1, 2, -1]))


def test_average_precision_is_that_of_scikit_learn_with_ties_and_weights() -> None:
    labels, weights = RNG.integers(0, 2, 200), RNG.random(200)
    for scores in (RNG.random(200), RNG.integers(0, 5, 200) / 5):
        assert metrics.average_precision(scores, labels) == pytest.approx(
            peer.average_precision_score(labels, scores)
        )
        assert metrics.average_precision(scores, labels, weights=weights) == pytest.approx(
            peer.average_precision_score(labels, scores, sample_weight=weights)
        )
        assert metrics.auc(scores, labels, weights=weights) == pytest.approx(
            peer.roc_auc_score(labels, scores, sample_weight=weights)
        )
    assert math.isnan(metrics.average_precision([0.5, 0.2], [0, 0]))


def test_ordered_classes_say_how_far_off() -> None:
    labels, predicted = RNG.integers(0, 5, 100), RNG.integers(0, 5, 100)
    labels[:7] = -1
    chance = np.eye(5)[predicted]
    scores = ordered_scores(chance, labels, predicted, baseline=2)
    known = labels >= 0
    assert scores["rank_error"] == pytest.approx(np.abs(labels - predicted)[known].mean())
    assert scores["quadratic_kappa"] == pytest.approx(
        peer.cohen_kappa_score(labels[known], predicted[known], weights="quadratic")
    )
    assert (
        scores["error_rate"] == pytest.approx((labels != predicted)[known].mean()) and scores["scored"] == 93
    )
    assert set(KINDS["ordered"].score_names) <= set(scores)


def test_none_of_these_is_an_answer_that_can_be_right() -> None:
    chance = np.array([[0.9, 0.1], [0.2, 0.3], [0.1, 0.8], [0.6, 0.1], [0.7, 0.7]])
    # Labels: a, none, b, none, missing.
    labels, predicted = np.array([0, 2, 1, 2, -1]), np.array([0, 2, 1, 0, 0])
    scores = open_scores(chance, labels, predicted, ("a", "b"), np.array([0.5, 0.5]), baseline=0)
    assert scores["error_rate"] == 0.25 and scores["none_rate"] == 0.25 and scores["scored"] == 4
    assert scores["majority_error_rate"] == 0.75
    expected = -np.log([0.9, 0.9, 0.8, 0.7, 0.9, 0.8, 0.4, 0.9]).mean()
    assert scores["log_loss"] == pytest.approx(expected)
    assert scores["labels"]["a"]["f1"] == pytest.approx(2 / 3) and scores["labels"]["b"]["rows"] == 1
    assert scores["macro_f1"] == pytest.approx(np.mean([2 / 3, 1.0, 2 / 3]))
    # Where none is no label, it is a miss and no class of its own.
    only = open_scores(chance, np.array([0, 1, 1, 0, -1]), predicted, ("a", "b"), np.array([0.5, 0.5]))
    assert only["macro_f1"] == pytest.approx(np.mean([1.0, 2 / 3]))


def test_tags_are_scored_by_question_by_class_and_by_row() -> None:
    labels = (RNG.random((80, 3)) < [0.2, 0.5, 0.7]).astype(np.int64)
    chance = np.clip(labels * 0.35 + RNG.random((80, 3)) * 0.6, 0, 1)
    scores = tag_scores(chance, labels, ("a", "b", "c"), HALF, baseline=[0, 1, 1])
    yes = chance >= 0.5
    assert scores["micro_f1"] == pytest.approx(peer.f1_score(labels, yes, average="micro"))
    assert scores["macro_f1"] == pytest.approx(peer.f1_score(labels, yes, average="macro"))
    assert scores["macro_ap"] == pytest.approx(peer.average_precision_score(labels, chance))
    assert scores["micro_ap"] == pytest.approx(peer.average_precision_score(labels, chance, average="micro"))
    assert scores["subset_accuracy"] == pytest.approx((yes == labels).all(axis=1).mean())
    assert scores["majority_subset_accuracy"] == pytest.approx((labels == [0, 1, 1]).all(axis=1).mean())
    assert scores["log_loss"] == pytest.approx(peer.log_loss(labels.ravel(), chance.ravel()))


def test_rows_known_in_part_count_where_they_are_known() -> None:
    labels = np.array([[1, -1, 0], [1, 0, 0], [-1, -1, -1]])
    chance = np.array([[0.9, 0.9, 0.9], [0.8, 0.1, 0.2], [0.5, 0.5, 0.5]])
    scores = tag_scores(chance, labels, ("a", "b", "c"), HALF)
    assert scores["scored"] == 2 and scores["subset_accuracy"] == 1.0
    assert scores["micro_f1"] == pytest.approx(2 * 2 / (2 * 2 + 1))
    assert math.isnan(tag_scores(chance, np.full((3, 3), -1), ("a", "b", "c"), HALF)["log_loss"])


def test_a_tag_that_the_run_does_not_know_is_a_miss() -> None:
    labels = np.array([[1, 0, 1], [1, 0, 0]])
    scores = tag_scores(np.array([[0.9, 0.1], [0.9, 0.1]]), labels, ("a", "b"), np.array([0.5, 0.5]))
    assert scores["subset_accuracy"] == 0.5 and scores["micro_f1"] == pytest.approx(4 / 5)


def test_numbers_stand_beside_their_mean() -> None:
    labels = np.array([1.0, 2.0, np.nan, 4.0])
    scores = quantity_scores(np.array([1.5, 2.0, 9.0, 3.0]), labels, baseline=3.0)
    assert scores["rmse"] == pytest.approx(math.sqrt(1.25 / 3)) and scores["mae"] == pytest.approx(0.5)
    assert scores["r2"] == pytest.approx(peer.r2_score([1, 2, 4], [1.5, 2, 3])) and scores["scored"] == 3
    assert scores["mean_rmse"] == pytest.approx(math.sqrt((4 + 1 + 1) / 3))
    assert math.isnan(quantity_scores(np.ones(2), np.full(2, np.nan), baseline=0.0)["rmse"])
    assert math.isnan(quantity_scores(np.ones(2), np.full(2, 3.0))["r2"])
