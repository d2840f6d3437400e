"""Columns of a table: what the training rows decide of them, and cells that are other than those."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from pyarrow import parquet

import tenfold
from tenfold.data.encode import encode_columns, fit_columns
from tenfold.data.tables.table import read_table
from tenfold.errors import TableError
from tenfold.networks.inputs import read_source
from tenfold.recipe import Recipe
from tenfold.runs.options import Reading
from tenfold.runs.record import RunRecord
from tenfold.schema import CategoryColumn, CategoryTarget, MultiLabelTarget, NumberColumn, Schema
from tenfold.targets.base import TargetStats
from tenfold.targets.kinds import kind_of
from tenfold.targets.labels import fit_targets, label_arrays, weightless

QUICK = Recipe(epochs=2, frozen_epochs=0, valid=0.25, seed=3)
TALL, TOWN = NumberColumn(name="tall"), CategoryColumn(name="town")


def asked(
    column: Any, training: Sequence[str], test: Sequence[str], weights: Sequence[float] | None = None
) -> tuple[NDArray[Any], list[str], list[str]]:
    """A column's cells as the network gets them, what fit said of it, and what is said when it is asked."""
    schema = Schema(inputs=(column,), targets=("label",))
    table, count = read_table({column.name: list(training)}), None
    if weights is not None:
        count = np.array(weights, dtype=float)
    facts, said = fit_columns(schema, table, np.arange(len(training)), count)
    found, notes = encode_columns(facts, schema, read_table({column.name: list(test)}))
    return found[column.name], said, notes


@pytest.mark.case(
    "N1", "a number that is the same in all training rows moves no answer, whatever it is later"
)
def test_a_constant_number(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=60)
    table = {"x": x, "tall": [1.8] * 60, "empty": [""] * 60, "label": np.where(x > 0, "yes", "no")}
    inputs = (NumberColumn(name="x"), TALL, NumberColumn(name="empty"))
    schema = Schema(inputs=inputs, targets=(CategoryTarget(name="label"),))
    made = tenfold.fit(schema, QUICK, table, run=tmp_path / "run", report=False)
    run = made

    def chances(**cells: Any) -> Any:
        return run.predict({**table, **{name: [one] * 60 for name, one in cells.items()}}).targets["label"]

    baseline = chances().probabilities
    for cells in ({"tall": 180.0}, {"tall": ""}, {"empty": 7}, {"tall": -1e9, "empty": 1e9}):
        assert (chances(**cells).probabilities == baseline).all(), cells


@pytest.mark.case("N1", "neighbour: that such a column teaches nothing, and that it is another now, is said")
def test_a_constant_number_is_said() -> None:
    found, said, notes = asked(TALL, ["5", "5"], ["5", "6", "5.0000000001"])
    assert "tall is 5 in every training row: nothing is learnt from it" in said
    assert notes == ["tall was always 5 in training: 1 other cells count as that"] and not found.any()
    found, said, notes = asked(TALL, ["", ""], ["", "6"])
    assert "tall is empty in every training row: nothing is learnt from it" in said
    assert notes == ["tall was empty in training: 1 cells are left out"] and not found.any()
    # Near 2^53 numbers differ by less than the 1e-12 of their size that rounding may leave: not "every row".
    found, said, _ = asked(TALL, ["9007199254740000", "9007199254740900"], ["9007199254740000"])
    assert "tall differs by 900 around 9.0072e+15" in " ".join(said) and not found.any()
    # Whether a number is there at all can teach something although the number is always the same.
    found, _, notes = asked(TALL, ["5", "", "5"], ["", "5", "9"])
    assert found[:, 1].tolist() == [1, 0, 0] and not found[:, 0].any() and len(notes) == 1


@pytest.mark.case("N2", "numbers in another unit than in training are pointed out")
def test_another_unit() -> None:
    heights = ["1.6", "1.7", "1.8", "1.9"]
    found, _, notes = asked(TALL, heights, ["160", "170", "1.75"])
    assert found[:, 0].tolist() == pytest.approx([6, 6, 0], abs=1e-6)
    assert len(notes) == 1 and "2 of 3 cells lie more than 6 deviations from the mean" in notes[0]
    assert asked(TALL, heights, heights)[2] == []


@pytest.mark.case("N3", "a row of weight 0 decides nothing of a column: no mean, no deviation, no word")
def test_rows_of_weight_0() -> None:
    cells = ["1", "2", "4", "1000000"]
    assert (asked(TALL, cells, ["3"], [1, 1, 1, 0])[0] == asked(TALL, cells[:3], ["3"])[0]).all()
    words, _, notes = asked(TOWN, ["Rome", "Oslo", "Bern"], ["Bern", "Rome"], [1, 1, 0])
    assert words.tolist() == [0, 2] and "not seen in training (Bern)" in notes[0]
    # A weight of 3 is as three rows.
    thrice = asked(TALL, ["1", "2", "2", "2"], ["3"])[0]
    assert asked(TALL, ["1", "2"], ["3"], [1, 3])[0] == pytest.approx(thrice)


@pytest.mark.case(
    "N4", "whole numbers that a program wrote as 1.0 are the classes and categories 1, and are said"
)
def test_whole_numbers_with_a_point() -> None:
    words, _, notes = asked(TOWN, ["1", "2", "10"], ["1.0", "10.00", "3.0", "1.5"])
    assert words.tolist() == [1, 2, 0, 0]
    assert "town: values are written in another way than in training: 1.0 for 1, 10.00 for 10" in notes
    assert asked(TOWN, ["1.0", "2.0"], ["2", "1"])[0].tolist() == [2, 1]
    table = read_table({"label": ["0.0", "1", "2.0", ""]})
    labels, notes = kind_of(CategoryTarget(name="label"), ("0", "1"), TargetStats()).scoring_labels(table)
    assert labels.tolist() == [0, 1, 2, -1] and notes == [
        "label: '2.0' is not a class of this run: its 1 rows count as wrong"
    ]


@pytest.mark.case("N4", "neighbour: classes and categories in the other Unicode form are those of training")
def test_words_in_two_unicode_forms() -> None:
    composed, apart = "M\u00e1laga", "Ma\u0301laga"
    for one, other in ((composed, apart), (apart, composed)):
        words, _, notes = asked(TOWN, [one, "Oslo"], [other, "Oslo\u200b", "Rom"])
        assert words.tolist() == asked(TOWN, [one, "Oslo"], [one, "Oslo", "Rom"])[0].tolist()
        assert f"town: values are written in another way than in training: {other} for {one}" in notes[0]
        table = read_table({"label": [other, "Oslo"]})
        labels, notes = kind_of(CategoryTarget(name="label"), (one, "Oslo")).scoring_labels(table)
        assert labels.tolist() == [0, 1] and notes == []
        tags, facts = MultiLabelTarget(name="label"), TargetStats(separator=";")
        table = read_table({"label": [f"Oslo; {other}", other]})
        assert kind_of(tags, (one, "Oslo"), facts).scoring_labels(table)[0].tolist() == [[1, 1], [1, 0]]


@pytest.mark.case(
    "N4", "neighbour: 007 and 7, 1 and 1.0 where training has both, stay two; look-alikes are named"
)
def test_other_spellings_stay_strange() -> None:
    assert asked(TOWN, ["007", "7"], ["7.0", "007.0", "07"])[0].tolist() == [2, 1, 0]
    assert asked(TOWN, ["1", "1.0"], ["1.00", "1.0", "1"])[0].tolist() == [0, 2, 1]
    words, _, notes = asked(TOWN, ["Rome", "Oslo"], ["rome", "Bern"])
    assert words.tolist() == [0, 0] and notes[1:] == [
        "town: look-alikes rome / Rome are not taken for each other"
    ]
    table = read_table({"label": ["Yes", "no"]})
    labels, notes = kind_of(CategoryTarget(name="label"), ("no", "yes"), TargetStats()).scoring_labels(table)
    assert labels.tolist() == [2, 0]
    assert notes[1:] == ["label: look-alikes Yes / yes are not taken for each other"]


@pytest.mark.case(
    "N5", "a column of lists, pictures or spans that nobody asks for is left out, and that is said"
)
def test_columns_of_other_kinds(tmp_path: Path) -> None:
    table = pa.table(
        {
            "image": [{"bytes": b"\xff\xd8", "path": "a.jpg"}, {"bytes": b"\xff", "path": "b.jpg"}],
            "boxes": [[1, 2], []],
            "span": [timedelta(hours=1), timedelta(days=1)],
            "raw": [b"\xff\xfe", b"\x00\xff"],
            "tall": [1.5, 2.5],
        }
    )
    parquet.write_table(table, tmp_path / "t.parquet")
    for source in (tmp_path / "t.parquet", table):
        read = read_table(source)
        assert read.names == ("tall",) and read.numbers("tall").tolist() == [1.5, 2.5]
        assert len(read.notes) == 4 and read.notes[0].startswith("image is left out: struct<bytes: binary")
        schema = Schema(inputs=(CategoryColumn(name="boxes"),), targets=("tall",))
        schema.check_columns(read.known, read.source)
        with pytest.raises(TableError, match="column 'boxes' cannot be read .list<.*int64> is not text"):
            read.codes("boxes")


@pytest.mark.case("N6", "rows whose weights are all 0 have no score, and are not said to have no labels")
def test_scored_rows_of_weight_0() -> None:
    labels = np.array([0, 1, -1])
    assert weightless("label", labels, np.zeros(3)) == [
        "label: all 2 rows that are scored have weight 0: there is no score"
    ]
    for weights in (None, np.array([0.0, 1, 0])):
        assert weightless("label", labels, weights) == []
    assert weightless("label", np.array([-1, -1]), np.zeros(2)) == []


@pytest.mark.case("N6", "neighbour: a class whose rows all have weight 0 is named")
def test_a_class_of_weight_0() -> None:
    table = read_table({"label": ["a", "b", "c", "c"], "tags": ["x", "x;y", "z", "z"], "w": [1, 1, 0, 0]})
    schema = Schema(
        inputs=(), targets=(CategoryTarget(name="label"), MultiLabelTarget(name="tags")), weight="w"
    )
    classes, facts, _ = fit_targets(schema, table)
    _, _, notes = label_arrays(classes, facts, schema, table)
    assert notes == ["label: all rows of c have weight 0", "tags: all rows of z have weight 0"]


@pytest.mark.case("N10", "a table of words alone has the header that names the columns asked for")
def test_a_header_over_words(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("town\nRome\nOslo\n")
    schema = Schema(inputs=(TOWN,), targets=("label",))
    path = str(tmp_path / "t.csv")
    for about in (None, {}, {"reading": {"separator": ","}}):
        # A command line names every option, those that were not given as None.
        trained = None if about is None else RunRecord(about)
        table, _ = read_source(path, schema, Reading(table={"header": None}), trained)
        assert table.text("town").tolist() == ["Rome", "Oslo"]
    # What the user says stands, and a column that is there by its place is that.
    table, _ = read_source(path, schema, Reading(table={"header": False}))
    assert table.names == ("column_1",) and table.rows == 3
    first = Schema(inputs=(CategoryColumn(name="column_1"),), targets=("label",))
    assert read_source(path, first, Reading())[0].rows == 3
