"""Kinds decided from a table, and labels and weights as arrays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from labelled import encoded, fitted, schema_of, table_of
from tenfold.data.encode import Encoding, Examples, encode
from tenfold.errors import SchemaError, TableError
from tenfold.schema import (
    CategoryTarget,
    RatingTarget,
)
from tenfold.targets.classweights import class_weighted, decide_class_weights
from tenfold.targets.labels import (
    Classes,
    decide_targets,
)


def test_kinds_are_decided_from_the_whole_column() -> None:
    table = table_of(
        grade=[str(row % 5) for row in range(200)],
        label=[f"kind {row % 70}" for row in range(200)],
        points=[f"{row % 4}.0" for row in range(200)],
    )
    schema = decide_targets(schema_of("grade", "label", "points"), table)
    assert schema.answers == tuple(CategoryTarget(name=name) for name in ("grade", "label", "points"))
    assert fitted(table, "points")[1].classes["points"] == ("0.0", "1.0", "2.0", "3.0")


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ([str(20 + row % 70) for row in range(200)], "70 different integers - classes or a number?"),
        ([f"person {row}" for row in range(200)], "200 different texts, one to a row"),
        ([f"{row % 9}.jpg" for row in range(200)], "9 names of pictures"),
    ],
)
def test_what_may_be_no_class_is_asked_about_and_can_be_settled(cells: list[str], words: str) -> None:
    table = table_of(age=cells)
    with pytest.raises(SchemaError) as caught:
        decide_targets(schema_of("age"), table)
    assert words in str(caught.value)
    assert "--target age:category" in caught.value.labels["fix"]
    assert len(fitted(table, CategoryTarget(name="age"))[1].classes["age"]) == len(set(cells))


def test_a_schema_without_a_target_is_refused() -> None:
    with pytest.raises(SchemaError, match="what to predict is not said"):
        decide_targets(schema_of(), table_of(label=["cat", "dog"]))


def test_a_target_of_the_other_wing_is_refused() -> None:
    with pytest.raises(SchemaError, match="'stars' is a rating"):
        decide_targets(schema_of(RatingTarget(name="stars")), table_of(stars=["1", "2"]))


def test_classes_without_a_row_are_named() -> None:
    encoding = Encoding(classes={"label": ("dog", "cat", "emu", "fox")})
    schema = schema_of(CategoryTarget(name="label"))
    _, notes = encode(encoding, schema, table_of(label=["dog", "", "fox"]), ())
    assert notes == ["label: no row is labelled cat, emu"]
    with pytest.raises(SchemaError, match="no usable row has a label of column 'label'"):
        encode(encoding, schema, table_of(label=["", "owl"]), ())


def test_row_weights_count_where_the_label_is_known() -> None:
    table = table_of(label=["a", "", "b", "a"], w=["1", "2", "0", "1.5"])
    examples, _ = encoded(table, "label", weight="w")
    weights = examples.weights["label"]
    assert weights[1] == weights[2] == 0 and weights[3] / weights[0] == 1.5


@pytest.mark.parametrize("unit", [1e-310, 1e-300, 1e-50, 1e-7, 1.0, 3.0, 1e30, 1e307])
def test_row_weights_are_relative_however_large_or_small(unit: float) -> None:
    table = table_of(label=["a", "b", "a"], w=[repr(unit), repr(2 * unit), repr(4 * unit)])
    weights = encoded(table, "label", weight="w")[0].weights["label"]
    assert 1 <= weights.max() < 2
    assert weights / weights.max() == pytest.approx([0.25, 0.5, 1.0], rel=1e-12)


def test_equal_row_weights_are_the_bits_of_none() -> None:
    plain = encoded(table_of(label=["a", "b"]), "label")[0].weights["label"]
    for weight in ("1", "8", "0.125"):
        table = table_of(label=["a", "b"], w=[weight] * 2)
        assert encoded(table, "label", weight="w")[0].weights["label"].tolist() == plain.tolist()


def test_a_weight_that_vanishes_beside_another_is_nothing() -> None:
    table = table_of(label=["a", "b", "a"], w=["1e300", "1e-300", "1e300"])
    assert encoded(table, "label", weight="w")[0].weights["label"][1] == 0.0


def test_bad_weights_are_named_up_to_ten_and_counted() -> None:
    cells = ["1", "", *["-1"] * 20]
    table = table_of(label=["a", "b"] * 11, w=cells)
    with pytest.raises(TableError) as caught:
        encoded(table, "label", weight="w")
    text = str(caught.value)
    assert "row 2, column w: ''" in text
    assert "row 3, column w: '-1'" in text and "and 11 more" in text and text.count("column w") == 10
    with pytest.raises(TableError, match="'heavy'"):
        encoded(table_of(label=["a", "b"], w=["1", "heavy"]), "label", weight="w")


def test_weights_of_nothing_but_zero_are_refused() -> None:
    with pytest.raises(TableError, match="every row has weight 0"):
        encoded(table_of(label=["a", "b"], w=["0", "0.0"]), "label", weight="w")


def balance(classes: Classes, examples: Examples, train: NDArray[np.int64]) -> tuple[Any, list[str]]:
    labels, weights = examples.labels, examples.weights
    facts, notes = decide_class_weights("balanced", classes, {}, labels, weights, train)
    return class_weighted(facts, labels, weights), notes


def test_balanced_weights_follow_the_whole_class_list_and_stay_finite() -> None:
    table = table_of(label=[*"aaaacc", "b", "a"])
    schema, encoding, _ = fitted(table, "label")
    examples, _ = encode(encoding, schema, table, ())
    balanced, notes = balance(encoding.classes, examples, np.arange(6))
    weights = balanced["label"]
    # 6 rows / (3 classes x 4 or 2 rows of the class); b has no training row and keeps 1.
    assert weights.tolist() == [0.5, 0.5, 0.5, 0.5, 1.0, 1.0, 1.0, 0.5]
    assert notes == ["label: class 'b' has no training row; its weight stays 1"]
    assert weights[:4].sum() == weights[4:6].sum()


def test_balanced_weights_multiply_row_weights_and_leave_missing_labels_out() -> None:
    table = table_of(label=["a", "a", "a", "b", ""], w=["1", "1", "1", "1.5", "1"])
    schema = decide_targets(schema_of("label", weight="w"), table)
    encoding = Encoding(classes={"label": ("a", "b")})
    examples, _ = encode(encoding, schema, table, ())
    balanced, notes = balance(encoding.classes, examples, np.arange(5))
    assert balanced["label"] == pytest.approx([2 / 3, 2 / 3, 2 / 3, 3.0, 0.0])
    assert notes == [] and not math.isnan(balanced["label"].sum())
    assert examples.weights["label"][0] == 1.0  # what came in is not changed
