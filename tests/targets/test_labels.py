"""What a target's cells mean: class lists, labels and weights."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tenfold.data.encode import Encoding, Examples, encode, fit_encoding
from tenfold.data.split.stratify import strata, strata_names
from tenfold.data.tables.table import Table, read_table
from tenfold.errors import SchemaError, TableError
from tenfold.recipe import Recipe
from tenfold.schema import (
    CategoryTarget,
    ImageColumn,
    MultiLabelTarget,
    OpenTarget,
    RatingTarget,
    Schema,
    UndecidedTarget,
    parse_target,
)
from tenfold.targets.classweights import class_weighted, decide_class_weights
from tenfold.targets.labels import (
    Classes,
    TargetStats,
    class_codes,
    decide_targets,
    fit_targets,
    known_rows,
    label_arrays,
    label_words,
    scoring_labels,
    standardise,
)

IMAGE = ImageColumn(name="id", folder="photos")
RECIPE = Recipe(arch="test_resnet", weights="none", image_size="32x48")


def table_of(**columns: Any) -> Table:
    rows = len(next(iter(columns.values())))
    return read_table({"id": [f"{row}.png" for row in range(rows)], **columns})


def schema_of(*targets: str | CategoryTarget | RatingTarget, **values: Any) -> Schema:
    made = [UndecidedTarget(name=one) if isinstance(one, str) else one for one in targets]
    return Schema(inputs=(IMAGE,), targets=tuple(made), **values)


def fitted(table: Table, *targets: str | CategoryTarget) -> tuple[Schema, Encoding, list[str]]:
    schema = decide_targets(schema_of(*targets), table)
    encoding, notes = fit_encoding(
        schema, RECIPE, table, mean=(0.4, 0.5, 0.6), std=(0.1, 0.2, 0.3), interpolation="bilinear"
    )
    return schema, encoding, notes


def encoded(table: Table, *targets: str | CategoryTarget, **values: Any) -> tuple[Any, list[str]]:
    _, encoding, _ = fitted(table, *targets)
    schema = decide_targets(schema_of(*targets, **values), table)
    return encode(encoding, schema, table, ())


# Class lists


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


# Kinds of targets


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


# Labels as arrays


def test_labels_are_joined_by_name_and_strangers_are_said() -> None:
    table = table_of(label=["dog", "fox", "", "cat", "fox", " dog "])
    labels, unknown = class_codes(table, "label", ("dog", "bird", "cat"))
    assert labels.tolist() == [0, -1, -1, 2, -1, 0] and unknown == {"fox": 2}
    encoding = Encoding(classes={"label": ("dog", "cat")})
    _, notes = encode(encoding, schema_of(CategoryTarget(name="label")), table, ())
    assert notes == ["label: 'fox' is no class of this run (2 rows)"]


def test_labels_of_an_evaluation_are_joined_by_name() -> None:
    table = table_of(label=["dog", "", "cat", "fox"])
    labels, notes = scoring_labels(CategoryTarget(name="label"), ("cat", "dog"), TargetStats(), table)
    assert labels.tolist() == [1, -1, 0, 2]
    assert notes == ["label: 'fox' is no class of this run: its 1 rows count as wrong"]


def test_classes_without_a_row_are_named() -> None:
    encoding = Encoding(classes={"label": ("dog", "cat", "emu", "fox")})
    schema = schema_of(CategoryTarget(name="label"))
    _, notes = encode(encoding, schema, table_of(label=["dog", "", "fox"]), ())
    assert notes == ["label: no row is labelled cat, emu"]
    with pytest.raises(SchemaError, match="no usable row has a label of column 'label'"):
        encode(encoding, schema, table_of(label=["", "owl"]), ())


def test_a_column_without_any_label_has_no_codes() -> None:
    labels, unknown = class_codes(table_of(label=["", ""]), "label", ("cat", "dog"))
    assert labels.tolist() == [-1, -1] and unknown == {}


# Weights


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


# Open, ordered, tags, numbers


def kinds(table: Table, text: str) -> tuple[Any, TargetStats, list[str]]:
    """Labels, facts and notes of one target, as a training would have them."""
    schema = Schema(inputs=(IMAGE,), targets=(parse_target(text),))
    classes, facts, notes = fit_targets(schema, table)
    name = schema.answers[0].name
    labels, weights, said = label_arrays(classes, facts, schema, table)
    known = known_rows(labels[name])
    assert np.array_equal(known, weights[name].reshape(table.rows, -1).max(axis=1) > 0)
    words = label_words(schema.answers[0], classes.get(name, ()), facts[name], labels[name])
    for column, cells in words.items():
        if cells.dtype == object:
            assert [cell or "" for cell in cells] == table.text(column).tolist()
        else:
            assert np.array_equal(cells, table.numbers(column), equal_nan=True)
    return labels[name], facts[name], notes + said


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
    labels, notes = scoring_labels(
        target, ("cat", "dog"), TargetStats(), table_of(x=["owl", "other", "", "dog"])
    )
    assert labels.tolist() == [2, 2, -1, 1]
    assert notes == ["x: 'owl' is no class of this run (1 rows): right is to answer none"]


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


def test_a_category_whose_labels_look_like_tags_is_pointed_out() -> None:
    hint = "x: most labels hold ';'; if each lists several, give --target x:multilabel"
    assert hint in kinds(table_of(x=["a;b", "b;c", "a"] * 3), "x:category")[2]
    assert not any("multilabel" in note for note in kinds(table_of(x=["a;b", "b", "a"]), "x:category")[2])


def test_tags_are_a_table_of_yes_and_no() -> None:
    labels, _, notes = kinds(table_of(x=["big;red", "", "red", "-"]), "x:multilabel[separator=;,none=-]")
    assert labels.tolist() == [[1, 1], [-1, -1], [0, 1], [0, 0]]
    assert "x: 1 rows have no tag ('-')" in notes and "x: 1 of 4 labels missing" in notes
    _, _, notes = kinds(table_of(x=["a;b", ""]), "x:multilabel")
    assert any("an empty cell is a missing label" in note for note in notes)


def test_tags_that_are_no_class_are_counted_and_make_a_column() -> None:
    target = MultiLabelTarget(name="x")
    facts = TargetStats(separator=";")
    labels, notes = scoring_labels(target, ("a", "b"), facts, table_of(x=["a;z", "b", "", "z"]))
    assert labels.tolist() == [[1, 0, 1], [0, 1, 0], [-1, -1, 0], [0, 0, 1]]
    assert notes == ["x: 'z' is no class of this run: its 2 rows count as wrong"]
    plain, _ = scoring_labels(target, ("a", "b"), facts, table_of(x=["a", "b"]))
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
