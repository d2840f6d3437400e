"""What a reader should look at before believing a score is said; ordinary tables are left alone."""

from __future__ import annotations

import numpy as np
import pytest

import tenfold
from tenfold.data.split.holdout import Split
from tenfold.data.split.leaks import leak_notes
from tenfold.schema import CategoryColumn, CategoryTarget, NumberColumn, NumberTarget, Schema

ROWS = 40


def told(columns: dict[str, list[object]], **changes: object) -> str:
    """The messages about a table of 40 rows whose last ten are held out."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=ROWS).round(6)
    base: dict[str, list[object]] = {
        "id": [f"r{row}" for row in range(ROWS)],
        "x": x.tolist(),
        "c": rng.choice(["a", "b", "c"], ROWS).tolist(),
        "y": np.where(x + rng.normal(size=ROWS) > 0, "yes", "no").tolist(),
        "q": (x + rng.normal(size=ROWS)).tolist(),
    }
    table = tenfold.read_table({**base, **columns})
    inputs = (NumberColumn(name="x"), CategoryColumn(name="c"))
    targets = (CategoryTarget(name="y"), NumberTarget(name="q"))
    schema = Schema(inputs=inputs, targets=targets, **{"id": "id", **changes})  # pyright: ignore
    marks = np.array([f"{one} {other}" for one, other in zip(table.text("x"), table.text("c"), strict=True)])
    split = Split(np.arange(30), np.arange(30, ROWS))
    return "\n".join(leak_notes(table, schema, table.text("id"), marks.astype(object), split))


def test_an_ordinary_table_is_left_alone() -> None:
    assert told({}) == ""


@pytest.mark.metamorphic("a target among the inputs is said, however it is written")
def test_inputs_that_say_the_target() -> None:
    x = np.random.default_rng(3).normal(size=ROWS)
    for cells in ((2.5 * x - 7e6).tolist(), (-1e200 * x).tolist(), [f"{cell:.12f}" for cell in x]):
        assert "'x' says the target 'q'" in told({"x": x.tolist(), "q": cells})
    labels = ["one" if row % 3 else "two" for row in range(ROWS)]
    codes = [7 if label == "one" else 9 for label in labels]
    assert "'c' says the target 'y'" in told({"y": labels, "c": codes})
    assert "'x' says the target 'y'" in told({"y": codes, "x": [float(code) for code in codes]})
    # An empty cell says nothing; one other cell and it is no longer the target.
    assert "'c' says" in told({"y": [*labels[:-1], ""], "c": codes})
    assert told({"y": [*labels[:-1], "one" if labels[-1] == "two" else "two"], "c": codes}) == ""


def test_copies_on_both_sides() -> None:
    x = np.random.default_rng(4).normal(size=ROWS // 2).tolist()
    twice = {"x": x + x, "c": ["a", "b"] * ROWS}
    assert "10 of 10 held-out rows have the inputs of a training row" in told(
        {**twice, "c": twice["c"][:ROWS]}
    )
    # Rows of few categories are alike by nature.
    assert told({"x": [1.0, 2.0, 1.0, 2.0] * 10}) == ""


def test_names_on_both_sides() -> None:
    names = [f"p{row % 20}" for row in range(ROWS)]
    assert "10 values of column 'id' stand on both sides of the split" in told({"id": names})
    assert told({"id": names}, group=("id",)) == ""


def test_a_column_of_single_values() -> None:
    assert "another value in each of 40 rows" in told({"c": [f"v{row}" for row in range(ROWS)]})
