"""What a class counts: balanced by rarity, or as given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tenfold.errors import RecipeError
from tenfold.schema import CategoryTarget, NumberTarget, Schema
from tenfold.targets.classweights import check_class_weights, class_weighted, decide_class_weights

SCHEMA = Schema(inputs=(), targets=(CategoryTarget(name="label"), NumberTarget(name="price")))
CLASSES = {"label": ("a", "b", "c")}
LABELS = {"label": np.array([0, 0, 0, 1, -1]), "price": np.array([1.0, 2.0, np.nan, 3.0, 4.0])}
ONES = {"label": np.array([1.0, 1, 1, 1, 0]), "price": np.array([1.0, 1, 0, 1, 1])}
ALL = np.arange(5)


def weighed(given: Any, classes: Any, labels: Any, weights: Any, train: Any) -> tuple[Any, list[str]]:
    facts, notes = decide_class_weights(given, classes, {}, labels, weights, train)
    return class_weighted(facts, labels, weights), notes


def test_given_weights_count_by_class_and_leave_numbers_alone() -> None:
    weights, notes = weighed({"label": {"b": 9.0}}, CLASSES, LABELS, ONES, ALL)
    assert weights["label"].tolist() == [1, 1, 1, 9, 0] and notes == []
    assert weights["price"].tolist() == ONES["price"].tolist()
    assert weighed("none", CLASSES, LABELS, ONES, ALL)[0]["label"].tolist() == ONES["label"].tolist()


def test_one_target_may_be_balanced_and_another_not() -> None:
    labels = {"label": LABELS["label"], "other": LABELS["label"]}
    weights = {"label": ONES["label"], "other": ONES["label"]}
    classes = {"label": ("a", "b"), "other": ("a", "b")}
    found, _ = weighed({"other": "balanced"}, classes, labels, weights, ALL)
    assert found["label"].tolist() == [1, 1, 1, 1, 0]
    assert found["other"] == pytest.approx([2 / 3, 2 / 3, 2 / 3, 2, 0])


def test_yes_and_no_of_each_question_are_balanced_against_each_other() -> None:
    labels = np.array([[1, 0], [0, 0], [0, 0], [0, -1]])
    weights = {"tags": (labels >= 0).astype(float)}
    found, notes = weighed("balanced", {"tags": ("x", "y")}, {"tags": labels}, weights, np.arange(4))
    # 4 known rows, 1 yes: 4/2 and 4/6. y has no yes, and keeps 1.
    assert found["tags"][:, 0] == pytest.approx([2, 2 / 3, 2 / 3, 2 / 3])
    assert found["tags"][:, 1].tolist() == [1, 1, 1, 0]
    assert notes == ["tags: class 'y' has no training row; its weight stays 1"]


def test_a_given_weight_of_a_question_is_that_of_its_yes() -> None:
    open_labels = np.array([0, 1, 2, -1])
    weights = {"kind": np.repeat((open_labels >= 0).astype(float)[:, None], 2, axis=1)}
    given = {"kind": {"b": 3.0}}
    found, _ = weighed(given, {"kind": ("a", "b")}, {"kind": open_labels}, weights, np.arange(4))
    assert found["kind"].tolist() == [[1, 1], [1, 3], [1, 1], [0, 0]]


@pytest.mark.parametrize(
    ("given", "words", "fix"),
    [
        ({"lable": {"a": 1.0}}, "names 'lable', which is not a target with classes", "did you mean 'label'?"),
        ({"price": {"a": 1.0}}, "names 'price', which is not a target with classes", "label"),
        ({"label": {"A": 1.0}}, "names 'A', which is not a class of it", "did you mean 'a'?"),
    ],
)
def test_weights_of_what_there_is_not_are_refused(given: object, words: str, fix: str) -> None:
    with pytest.raises(RecipeError) as caught:
        check_class_weights(given, SCHEMA, CLASSES)
    assert words in str(caught.value) and fix in caught.value.labels["fix"]


def test_weights_without_any_class_are_refused() -> None:
    with pytest.raises(RecipeError, match="no target has classes"):
        check_class_weights("balanced", SCHEMA, {})
    check_class_weights("none", SCHEMA, {})
