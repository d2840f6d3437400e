"""Open categories and tags: labels, unknown words, and weights of questions."""

from __future__ import annotations

import numpy as np
import pytest

from labelled import IMAGE, kinds, table_of
from tenfold.data.split.stratify import strata, strata_names
from tenfold.errors import SchemaError, TableError
from tenfold.schema import (
    MultiLabelTarget,
    OpenTarget,
    Schema,
    parse_target,
)
from tenfold.targets.base import TargetStats
from tenfold.targets.kinds import kind_of
from tenfold.targets.labels import (
    fit_targets,
    label_arrays,
)


def test_none_of_the_classes_is_a_label_beyond_them() -> None:
    labels, _, notes = kinds(table_of(x=["cat", "other", "", "dog"]), "x:open[none=other]")
    assert labels.tolist() == [0, 2, -1, 1]
    assert "x: 1 rows belong to none of them ('other')" in notes
    # One class is enough: is it one, or not?
    assert kinds(table_of(x=["cat", "cat"]), "x:open")[0].tolist() == [0, 0]
    with pytest.raises(SchemaError, match="labels outside its class list"):
        kinds(table_of(x=["cat", "owl"]), "x:open[cat,dog]")


def test_a_stranger_is_none_of_an_open_targets_classes() -> None:
    target = OpenTarget(name="x", none="other")
    labels, notes = kind_of(target, ("cat", "dog")).scoring_labels(table_of(x=["owl", "other", "", "dog"]))
    assert labels.tolist() == [2, 2, -1, 1]
    assert notes == ["x: 'owl' is not a class of this run (1 rows): right is to answer none"]


@pytest.mark.parametrize(
    ("cells", "separator", "classes"),
    [
        (["red;big", "big", "", "red"], ";", ("big", "red")),
        (["red|big", "a b", ""], "|", ("a b", "big", "red")),
        (["new york, paris", "paris"], ",", ("new york", "paris")),
        (["red big", "big"], " ", ("big", "red")),
        (["red", "big"], "", ("big", "red")),
        (["9;10;9", "10"], ";", ("9", "10")),
    ],
)
def test_the_separator_of_tags_is_found_and_said(
    cells: list[str], separator: str, classes: tuple[str, ...]
) -> None:
    table = table_of(x=cells)
    schema = Schema(inputs=(IMAGE,), targets=(parse_target("x:multilabel"),))
    found, facts, notes = fit_targets(schema, table)
    assert found["x"] == classes and facts["x"].separator == separator
    said = "blanks" if separator == " " else repr(separator)
    assert (f"separated by {said}" if separator else "nothing stands between") in notes[0]


def test_tags_are_a_table_of_yes_and_no() -> None:
    labels, _, notes = kinds(table_of(x=["big;red", "", "red", "-"]), "x:multilabel[separator=;,none=-]")
    assert labels.tolist() == [[1, 1], [-1, -1], [0, 1], [0, 0]]
    assert "x: 1 rows have no tag ('-')" in notes and "x: 1 of 4 labels missing" in notes
    _, _, notes = kinds(table_of(x=["a;b", ""]), "x:multilabel")
    assert any("an empty cell is a missing label" in note for note in notes)


def test_tags_that_are_no_class_are_counted_and_make_a_column() -> None:
    target = MultiLabelTarget(name="x")
    facts = TargetStats(separator=";")
    labels, notes = kind_of(target, ("a", "b"), facts).scoring_labels(table_of(x=["a;z", "b", "", "z"]))
    assert labels.tolist() == [[1, 0, 1], [0, 1, 0], [-1, -1, 0], [0, 0, 1]]
    assert notes == ["x: 'z' is not a class of this run: its 2 rows count as wrong"]
    plain, _ = kind_of(target, ("a", "b"), facts).scoring_labels(table_of(x=["a", "b"]))
    assert plain.shape == (2, 2)


def test_several_columns_are_one_target_known_in_part() -> None:
    table = table_of(cat=["1", "0", "", ""], dog=["0", "", "1", ""])
    labels, _, notes = kinds(table, "pets=cat,dog:multilabel")
    assert labels.tolist() == [[1, 0], [0, -1], [-1, 1], [-1, -1]]
    assert notes[0] == "pets: yes in cat 1 of 2, dog 1 of 2"
    words = table_of(cat=["Yes", "no"], dog=["TRUE", "0.0"])
    schema = Schema(inputs=(IMAGE,), targets=(parse_target("cat,dog:multilabel"),))
    assert label_arrays({"cat,dog": ("cat", "dog")}, {}, schema, words)[0]["cat,dog"].tolist() == [
        [1, 1],
        [0, 0],
    ]
    with pytest.raises(TableError, match="row 2, column dog: 'maybe'"):
        kinds(table_of(cat=["1", "0"], dog=["0", "maybe"]), "cat,dog:multilabel")


def test_labels_are_dealt_out_by_kind_and_none_is_dealt_as_a_class_is() -> None:
    schema = Schema(inputs=(IMAGE,), targets=("x:open[none=other]", "y:number", "z:multilabel"))  # type: ignore[arg-type]
    labels = {"x": np.array([0, 2]), "y": np.array([0.5, 1.5]), "z": np.array([[1, 0], [0, 1]])}
    classes = {"x": ("a", "b"), "z": ("s", "t")}
    dealt = strata(labels, lambda values: (values > 1).astype(np.int64))
    assert strata_names(schema, classes) == {"x": ("a", "b", "other"), "z": ("s", "t")}
    assert dealt["y"].tolist() == [0, 1] and dealt["x"] is labels["x"] and dealt["z"] is labels["z"]


def test_row_weights_of_questions_stand_in_each() -> None:
    table = table_of(x=["a;b", "", "a"], w=["1", "1", "0.5"])
    schema = Schema(inputs=(IMAGE,), targets=(parse_target("x:multilabel"),), weight="w")
    classes, facts, _ = fit_targets(schema, table)
    weights = label_arrays(classes, facts, schema, table)[1]["x"]
    assert weights.tolist() == [[1, 1], [0, 0], [0.5, 0.5]]
