"""Blending: means by name, weights from rows that did not train, lists by their ranks."""

from __future__ import annotations

import numpy as np
import pytest

from tenfold.ensembles.weights import (
    Evidence,
    blended,
    by_name,
    fit_weights,
    fuse_ranks,
    joined_classes,
    nested_weights,
    random_parts,
)
from tenfold.errors import RecipeError

#: Rows of one part each.
ROWS = np.arange(400)


def evidence(*columns: np.ndarray, truth: np.ndarray | None = None) -> Evidence:
    return Evidence(np.column_stack(columns), np.arange(len(columns[0])), truth)


def loss(of: Evidence, weights: np.ndarray) -> float:
    return of.loss_of(of.given @ weights)


def test_classes_are_joined_by_name() -> None:
    one, other = ("bird", "cat", "dog"), ("dog", "cat", "bird")
    joined, notes = joined_classes({"one": one, "other": other})
    assert joined == one and not notes
    stack = np.stack(
        [
            by_name(np.array([[0.7, 0.2, 0.1]]), one, joined),
            by_name(np.array([[0.1, 0.2, 0.7]]), other, joined),
        ]
    )
    assert blended(stack, np.ones(2))[0] == pytest.approx([0.7, 0.2, 0.1])


def test_a_class_that_a_member_does_not_know_has_no_part_of_its_answer() -> None:
    joined, notes = joined_classes({"one": ("a", "b"), "two": ("b", "c")})
    assert joined == ("a", "b", "c")
    assert notes == [
        "one does not know c: its probability of them is 0",
        "two does not know a: its probability of them is 0",
    ]
    wide = by_name(np.array([[0.25, 0.75], [np.nan, np.nan]]), ("b", "c"), joined)
    assert wide[0].tolist() == [0, 0.25, 0.75] and np.isnan(wide[1]).all()


def test_means_are_weighted_over_the_members_that_answer() -> None:
    answers = np.array([[[0.2], [np.nan], [np.nan]], [[0.8], [0.6], [np.nan]]])
    found = blended(answers, np.array([3.0, 1.0]))
    assert found[:2, 0] == pytest.approx([0.35, 0.6]) and np.isnan(found[2, 0])
    # Where every member that answers has the weight 0, they count alike; weights may differ by row.
    assert blended(answers[:, 1:2], np.array([1.0, 0.0]))[0, 0] == 0.6
    by_row = blended(answers[:, :2], np.array([[1.0, 0.0], [0.5, 0.5]]))
    assert by_row[:, 0] == pytest.approx([0.2, 0.6])


def test_stated_weights_are_taken_as_they_are() -> None:
    assert fit_weights(evidence(ROWS * 0 + 0.5, ROWS * 0 + 0.9), "weights", [1, 3]).tolist() == [0.25, 0.75]
    empty = Evidence(np.zeros((0, 2)), np.zeros(0, dtype=np.int64))
    assert fit_weights(empty, "convex", [1, 1]).tolist() == [0.5, 0.5]
    with pytest.raises(RecipeError, match="unknown blend 'greddy'"):
        fit_weights(empty, "greddy", [1, 1])


@pytest.mark.parametrize("method", ["greedy", "convex"])
def test_learned_weights_beat_every_member_and_the_mean(method: str) -> None:
    rng = np.random.default_rng(0)
    # Two members that are each sure of other rows, and one that knows nothing.
    left, right = np.where(ROWS % 2 == 0, 0.9, 0.3), np.where(ROWS % 2 == 1, 0.9, 0.3)
    noise = rng.uniform(0.01, 0.2, len(ROWS))
    held = evidence(left, right, noise)
    weights = fit_weights(held, method, [1, 1, 1])
    assert weights.sum() == pytest.approx(1) and weights[2] < 0.02
    assert weights[:2] == pytest.approx([0.5, 0.5], abs=0.03)
    best = min(loss(held, one) for one in (*np.eye(3), np.full(3, 1 / 3)))
    assert loss(held, weights) < best


def test_the_convex_fit_is_the_best_of_all_weights() -> None:
    rng = np.random.default_rng(1)
    held = evidence(*rng.uniform(0.05, 0.95, (3, 300)))
    found = loss(held, fit_weights(held, "convex", [1, 1, 1]))
    others = rng.dirichlet(np.ones(3), 500)
    assert found <= min(loss(held, one) for one in others) + 1e-6
    truth = rng.normal(size=300)
    members = [truth + rng.normal(size=300), truth + 2 * rng.normal(size=300), rng.normal(size=300)]
    numbers = evidence(*members, truth=truth)
    weights = fit_weights(numbers, "convex", [1, 1, 1])
    assert loss(numbers, weights) <= min(loss(numbers, one) for one in others) + 1e-6
    assert weights[0] > weights[1] and (weights >= 0).all()


def test_a_member_that_is_best_alone_is_taken_alone() -> None:
    held = evidence(ROWS * 0 + 0.9, ROWS * 0 + 0.5)
    for method in ("greedy", "convex"):
        assert fit_weights(held, method, [1, 1]) == pytest.approx([1, 0], abs=1e-3)


def test_nested_weights_never_saw_the_rows_that_they_are_for() -> None:
    part = ROWS % 2
    # In part 0 the first member is right, in part 1 the second: learned on the other part, both are wrong.
    held = evidence(np.where(part == 0, 0.99, 0.01), np.where(part == 1, 0.99, 0.01))
    nested = nested_weights(held, part, "greedy", [1, 1])
    assert nested.tolist() == [[0, 1], [1, 0]]
    assert nested_weights(held, part, "weights", [1, 1]).tolist() == [[0.5, 0.5]] * 2


def test_parts_are_even_and_come_from_the_seed() -> None:
    assert np.bincount(random_parts(22, seed=1)).tolist() == [5, 5, 4, 4, 4]
    assert (random_parts(22, seed=1) == random_parts(22, seed=1)).all()
    assert (random_parts(22, seed=1) != random_parts(22, seed=2)).any()
    assert random_parts(3).max() == 2


def test_lists_are_fused_by_their_ranks() -> None:
    fused = fuse_ranks([["a", "b", "c"], ["b", "d", "a"]], [1, 1], 3)
    assert [item for item, _ in fused] == ["b", "a", "d"]
    assert fused[0][1] == pytest.approx(1 / 62 + 1 / 61)
    assert [item for item, _ in fuse_ranks([["a"], ["b"]], [1, 2], 5)] == ["b", "a"]
    assert fuse_ranks([[], []], [1, 1], 3) == []
