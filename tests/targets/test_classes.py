"""Categories and ordered classes: class lists, and labels by name."""

from __future__ import annotations

import pytest

from labelled import encoded, fitted, kinds, schema_of, table_of
from tenfold.data.encode import Encoding, encode
from tenfold.errors import SchemaError
from tenfold.schema import (
    CategoryTarget,
)
from tenfold.targets.base import TargetStats
from tenfold.targets.classes import class_codes
from tenfold.targets.kinds import kind_of


def test_missing_labels_are_counted_and_never_become_a_class() -> None:
    colour = ["1", "0", "", "1", *"0011", "", "0", "", "1"]
    table = table_of(colour=colour, shape=["round", "", "square", *["round"] * 9])
    _, encoding, notes = fitted(table, "colour", "shape")
    assert encoding.classes == {"colour": ("0", "1"), "shape": ("round", "square")}
    assert "colour: 3 of 12 labels missing" in notes and "shape: 1 of 12 labels missing" in notes
    examples, _ = encoded(table, "colour", "shape")
    assert examples.labels["colour"].tolist() == [1, 0, -1, 1, 0, 0, 1, 1, -1, 0, -1, 1]
    assert examples.weights["colour"].tolist() == [float(cell != "") for cell in colour]
    assert examples.weights["shape"][1] == 0 and examples.weights["shape"].sum() == 11


@pytest.mark.parametrize(
    ("cells", "classes"),
    [
        (["NA", "None", "null", "US", "nan", ""], ("NA", "None", "US", "nan", "null")),
        ([" cat", "cat ", "Cat", "dog", ".3"], (".3", "Cat", "cat", "dog")),
        (["10", "9", "100", "-1", "10", "9", "100", "-1"], ("-1", "9", "10", "100")),
        (["007", "7", "07"], ("007", "07", "7")),
        (["b", "10", "9", "--2", "2-", "²"], ("--2", "9", "10", "2-", "b", "²")),
        (["9" * 400, "1" + "0" * 5000, "2"], ("2", "1" + "0" * 5000, "9" * 400)),
        (["True", "False"], ("False", "True")),
        (["=1+1", "<b>", "a,b", "a\nb"], ("<b>", "=1+1", "a\nb", "a,b")),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_classes_keep_the_text_of_the_table_in_a_natural_order(
    cells: list[str], classes: tuple[str, ...]
) -> None:
    _, encoding, _ = fitted(table_of(label=cells), CategoryTarget(name="label"))
    assert encoding.classes["label"] == classes


def test_look_alikes_and_single_rows_are_pointed_out() -> None:
    _, _, notes = fitted(table_of(label=[" cat", "cat ", "Cat", "dog", "dog", ".3"]), "label")
    assert "label: 4 classes: .3, Cat, cat, dog" in notes
    assert "label: look-alikes cat / Cat are kept as different classes" in notes
    assert "label: 1 row only: Cat, .3" in notes


def test_many_classes_are_shortened_in_words_only() -> None:
    _, encoding, notes = fitted(table_of(label=[f"kind {row % 12}" for row in range(48)]), "label")
    assert len(encoding.classes["label"]) == 12
    assert notes[0].startswith("label: 12 classes: kind 0, ") and notes[0].endswith(" and 2 more")


def test_class_lists_do_not_depend_on_the_order_of_rows() -> None:
    cells = ["rust", "blast", "", "healthy", "rust"]
    _, one, _ = fitted(table_of(label=cells), "label")
    _, other, _ = fitted(table_of(label=cells[::-1]), "label")
    assert one.classes == other.classes


def test_a_given_class_list_keeps_its_order_and_may_be_wider() -> None:
    _, encoding, _ = fitted(
        table_of(label=["cat", "dog"]), CategoryTarget(name="label", classes=("dog", "fox", "cat"))
    )
    assert encoding.classes["label"] == ("dog", "fox", "cat")


def test_labels_outside_a_given_list_are_listed_with_their_rows() -> None:
    table = table_of(label=["cat", "dog", "Cat", "dog"])
    with pytest.raises(SchemaError) as caught:
        fitted(table, CategoryTarget(name="label", classes=("cat", "fox")))
    text = str(caught.value)
    assert "'dog': 2 rows" in text and "'Cat': 1 rows" in text and "the list is cat, fox" in text


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (["", "", ""], "column 'label' (target) has no label in any of 3 rows"),
        (["cat", "cat", ""], "has one class only: 'cat'"),
        (["cat"], "has one class only: 'cat'"),
    ],
)
def test_a_column_that_nothing_can_be_learnt_from_is_refused(cells: list[str], words: str) -> None:
    with pytest.raises(SchemaError) as caught:
        fitted(table_of(label=cells), "label")
    assert words in str(caught.value) and caught.value.labels["fix"]


def test_labels_are_joined_by_name_and_strangers_are_said() -> None:
    table = table_of(label=["dog", "fox", "", "cat", "fox", " dog "])
    labels, unknown = class_codes(table, "label", ("dog", "bird", "cat"))
    assert labels.tolist() == [0, -1, -1, 2, -1, 0] and unknown == {"fox": 2}
    encoding = Encoding(classes={"label": ("dog", "cat")})
    _, notes = encode(encoding, schema_of(CategoryTarget(name="label")), table, ())
    assert notes == ["label: 'fox' is not a class of this run (2 rows)"]


def test_labels_of_an_evaluation_are_joined_by_name() -> None:
    table = table_of(label=["dog", "", "cat", "fox"])
    labels, notes = kind_of(CategoryTarget(name="label"), ("cat", "dog"), TargetStats()).scoring_labels(table)
    assert labels.tolist() == [1, -1, 0, 2]
    assert notes == ["label: 'fox' is not a class of this run: its 1 rows count as wrong"]


def test_a_column_without_any_label_has_no_codes() -> None:
    labels, unknown = class_codes(table_of(label=["", ""]), "label", ("cat", "dog"))
    assert labels.tolist() == [-1, -1] and unknown == {}


@pytest.mark.parametrize(
    ("cells", "text", "classes"),
    [
        (["10", "9", "-1", "0.5"], "x:ordered", ("-1", "0.5", "9", "10")),
        (["high", "low", "mid"], "x:ordered[low<mid<high]", ("low", "mid", "high")),
        (["b", "a", ""], "x:ordered[a,b,c]", ("a", "b", "c")),
    ],
)
def test_ordered_classes_stand_in_their_order(cells: list[str], text: str, classes: tuple[str, ...]) -> None:
    labels, _, notes = kinds(table_of(x=cells), text)
    assert labels.tolist() == [classes.index(cell) if cell else -1 for cell in cells]
    assert notes[0] == f"x: {len(classes)} classes in order: {' < '.join(classes)}"


def test_an_order_of_words_is_asked_for() -> None:
    with pytest.raises(SchemaError) as caught:
        kinds(table_of(x=["low", "high", "3"]), "x:ordered")
    assert "the order of column 'x'" in str(caught.value)
    assert "--target 'x:ordered[" in caught.value.labels["fix"]


def test_two_classes_are_two_classes() -> None:
    assert kinds(table_of(x=["a", "b"]), "x:two-class")[0].tolist() == [0, 1]
    with pytest.raises(SchemaError, match="has 3 classes, not two"):
        kinds(table_of(x=["a", "b", "c"]), "x:two-class")


def test_a_category_whose_labels_look_like_tags_is_pointed_out() -> None:
    hint = "x: most labels hold ';'; if each lists several, give --target x:multilabel"
    assert hint in kinds(table_of(x=["a;b", "b;c", "a"] * 3), "x:category")[2]
    assert not any("multilabel" in note for note in kinds(table_of(x=["a;b", "b", "a"]), "x:category")[2])
