"""Numbers: labels, ranges, and their mean and deviation."""

from __future__ import annotations

import numpy as np
import pytest

from labelled import kinds, schema_of, table_of
from tenfold.errors import SchemaError, TableError
from tenfold.targets.base import TargetStats
from tenfold.targets.labels import (
    decide_targets,
    standardise,
)


def test_numbers_are_floats_and_missing_ones_are_nan() -> None:
    labels, facts, notes = kinds(table_of(price=["1.5", "", "-2", "1e3"]), "price:number")
    assert labels.tolist()[0] == 1.5 and np.isnan(labels[1]) and labels[3] == 1000
    assert facts == TargetStats() and notes[0] == "price: a number from -2 to 1000"
    assert "price: 1 of 4 labels missing" in notes
    settled = standardise({"price": facts}, {"price": labels}, np.array([0, 1, 2]))["price"]
    assert (settled.mean, settled.deviation) == (-0.25, 1.75)


def test_a_floating_column_is_a_number_unless_it_is_said_otherwise() -> None:
    table = table_of(price=[f"{row}.5" for row in range(200)], points=["1.0", "2.0"] * 100)
    schema = decide_targets(schema_of("price", "points"), table)
    assert [target.kind for target in schema.answers] == ["number", "category"]
    with pytest.raises(SchemaError) as caught:
        decide_targets(schema_of("age"), table_of(age=[str(20 + row % 70) for row in range(200)]))
    fix = caught.value.labels["fix"]
    assert all(f"age:{kind}" in fix for kind in ("category", "number", "ordered"))


@pytest.mark.parametrize(
    ("cells", "text", "low", "high"),
    [
        (["1", "2", "5"], "x:number[1,5]", 0.5, 5.5),
        (["0.5", "5", "4.5"], "x:number[0.5,5]", 0.25, 5.25),
        (["1", "2", "5"], "x:number[1,5,stretch=0]", 1.0, 5.0),
        (["1", "2"], "x:number[low=0,high=10,stretch=3]", -3.0, 13.0),
        ([str(row / 100) for row in range(100)], "x:number[0,1]", -0.05, 1.05),
    ],
)
def test_a_range_is_stretched_by_half_a_step(cells: list[str], text: str, low: float, high: float) -> None:
    _, facts, notes = kinds(table_of(x=cells), text)
    assert (facts.low, facts.high) == (pytest.approx(low), pytest.approx(high))
    assert f"sigmoid from {low:g} to {high:g}" in notes[0]


def test_numbers_outside_the_range_and_cells_that_are_none_are_named() -> None:
    with pytest.raises(TableError) as caught:
        kinds(table_of(x=["1", "7", "", "0"]), "x:number[1,5]")
    text = str(caught.value)
    assert "leaves 1 to 5 in 2 rows" in text and "row 2, column x: '7'" in text and "row 4" in text
    with pytest.raises(TableError, match="'four'"):
        kinds(table_of(x=["1", "four"]), "x:number")
    with pytest.raises(SchemaError, match="has no label in any"):
        kinds(table_of(x=["", ""]), "x:number")


def test_equal_numbers_have_a_deviation_all_the_same() -> None:
    labels, facts, notes = kinds(table_of(x=["3", "3", "3"]), "x:number")
    assert "x: all labels are 3: nothing to learn" in notes
    assert standardise({"x": facts}, {"x": labels}, np.arange(3))["x"].deviation == 1.0
