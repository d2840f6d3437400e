"""From columns of text to what a network is given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from labelled import fitted, schema_of, table_of
from tenfold.data.encode import (
    MOST_DEVIATIONS,
    ColumnStats,
    Encoding,
    PickedImages,
    encode,
    encode_columns,
    fit_columns,
)
from tenfold.data.tables.table import read_table
from tenfold.schema import (
    CategoryColumn,
    CategoryTarget,
    IdColumn,
    NumberColumn,
    Schema,
)


def test_the_preparation_belongs_to_the_encoding() -> None:
    _, encoding, _ = fitted(table_of(label=["cat", "dog"]), "label")
    assert (encoding.mean, encoding.std) == ((0.4, 0.5, 0.6), (0.1, 0.2, 0.3))
    assert (encoding.image_size, encoding.interpolation) == ((32, 48), "bilinear")
    assert Encoding.model_validate_json(encoding.model_dump_json()) == encoding


# Rows as arrays


def test_ids_are_the_pictures_names_the_id_column_or_the_lines() -> None:
    table = table_of(label=["cat", "dog"], code=["007", "7"])
    _, encoding, _ = fitted(table, "label")
    schema = schema_of(CategoryTarget(name="label"))
    assert encode(encoding, schema, table, ())[0].ids.tolist() == ["0.png", "1.png"]
    named = schema_of(CategoryTarget(name="label"), id="code")
    assert encode(encoding, named, table, ())[0].ids.tolist() == ["007", "7"]
    nameless = Schema(inputs=(), targets=schema.targets)
    assert encode(encoding, nameless, table, ())[0].ids.tolist() == ["1", "2"]
    given = np.array(["x", "y"], dtype=object)
    assert encode(encoding, schema, table, (), ids=given)[0].ids is given


def test_prediction_needs_no_target_column() -> None:
    _, encoding, _ = fitted(table_of(label=["cat", "dog"]), "label")
    schema = schema_of(CategoryTarget(name="label"), weight="w")
    examples, notes = encode(encoding, schema, read_table({"id": ["5.png"]}), (), targets=False)
    assert examples.rows == 1 and examples.labels == {} and examples.weights == {} and notes == []


def test_picked_rows_are_read_under_new_numbers() -> None:
    class Numbered:
        def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
            return rows.astype(np.uint8)[:, None, None, None]

    picked = PickedImages(Numbered(), np.array([4, 1, 3]))
    assert picked.read(np.array([2, 0, 0])).ravel().tolist() == [3, 4, 4]


# --- columns of the table itself ---------------------------------------------------------------------

DECK, AGE, USER = CategoryColumn(name="deck"), NumberColumn(name="age"), IdColumn(name="user")


def columns_of(*inputs: Any, train: Any, test: dict[str, Any] | None = None, **cells: Any):
    """Facts of the training rows, and the arrays of the table, or of another one."""
    schema = Schema(inputs=inputs, targets=("label",))
    facts, said = fit_columns(schema, read_table(cells), np.array(train))
    found, more = encode_columns(facts, schema, read_table(test or cells))
    return facts, found, said, more


def test_only_training_rows_decide() -> None:
    facts, found, _, said = columns_of(
        DECK, AGE, train=[0, 1, 2], deck=["B", "A", "B", "C"], age=["1", "3", "2", "1000"]
    )
    assert facts["deck"].words == ("A", "B") and found["deck"].tolist() == [2, 1, 2, 0]
    assert facts["age"].mean == pytest.approx(2.0)
    assert facts["age"].deviation == pytest.approx(np.sqrt(2 / 3))
    assert found["age"][:, 0].tolist() == pytest.approx([-np.sqrt(1.5), np.sqrt(1.5), 0, MOST_DEVIATIONS])
    assert any("deck: 1 value not seen in training (C)" in note for note in said)


@pytest.mark.parametrize("column", [DECK.model_copy(update={"name": "user"}), USER])
def test_what_training_never_saw_is_unknown_and_said(column: Any) -> None:
    _, found, _, said = columns_of(
        column,
        train=range(3),
        user=["07", "7", "A"],
        test={"user": ["T", "", "a", "7", "07", "T"]},
    )
    assert found["user"].tolist() == [0, 0, 0, 2, 1, 0]
    assert "user: 2 values not seen in training (T, a): 3 rows go to its unknown row" in said
    assert any("1 empty cells, none in training" in note for note in said)


def test_an_empty_cell_is_a_word_of_its_own_where_training_had_some() -> None:
    facts, found, _, said = columns_of(
        DECK, train=range(3), deck=["A", "", "B"], test={"deck": ["", "Z", "A"]}
    )
    assert facts["deck"].words == ("", "A", "B") and found["deck"].tolist() == [1, 0, 2]
    assert len(said) == 1


def test_missing_numbers_have_a_mark_if_training_could_teach_it() -> None:
    _, with_gaps, _, _ = columns_of(AGE, train=range(3), age=["1", "", "3"], test={"age": ["", "2"]})
    assert with_gaps["age"].tolist() == [[0, 1], [0, 0]]
    _, without, _, said = columns_of(AGE, train=range(2), age=["1", "3"], test={"age": ["", "2"]})
    assert without["age"].tolist() == [[0, 0], [0, 0]]
    assert said == ["age: 1 cells missing, none in training: its mean replaces them"]


@pytest.mark.parametrize("cells", [["5", "5", "5"], ["0.1", "0.1", "0.1"], ["1e300", "1e300", "1e300"]])
def test_a_constant_column_says_nothing(cells: list[str]) -> None:
    _, found, _, _ = columns_of(AGE, train=range(3), age=cells)
    assert np.abs(found["age"]).max() < 1e-6


def test_a_column_that_is_empty_in_training_is_named() -> None:
    _, found, said, _ = columns_of(AGE, DECK, train=[0, 1], age=["", "", "9"], deck=["", "", "A"])
    assert "age is empty in every training row: nothing is learnt from it" in said
    assert "deck is empty in every training row: nothing is learnt from it" in said
    assert np.isfinite(found["age"]).all() and found["deck"].tolist() == [1, 1, 0]


def test_huge_numbers_stay_finite() -> None:
    _, found, _, _ = columns_of(AGE, train=range(4), age=["-1e300", "1e300", "0", "1e308"])
    assert np.isfinite(found["age"]).all()


def test_a_rows_cells_are_the_same_alone_and_among_others() -> None:
    cells = {"age": ["1", "2", "", "50"], "deck": ["A", "B", "", "Q"]}
    schema = Schema(inputs=(AGE, DECK), targets=("label",))
    facts, _ = fit_columns(schema, read_table(cells), np.arange(3))
    together, _ = encode_columns(facts, schema, read_table(cells))
    for row in range(4):
        alone, _ = encode_columns(facts, schema, read_table(cells).take([row]))
        assert all((alone[name][0] == together[name][row]).all() for name in cells)


def test_facts_of_columns_go_through_json() -> None:
    encoding = Encoding(
        classes={}, columns={"deck": ColumnStats(words=("", "é", "=1")), "age": ColumnStats(mean=1 / 3)}
    )
    assert Encoding.model_validate_json(encoding.model_dump_json()) == encoding
