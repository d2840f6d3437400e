"""What the columns are: frozen, TOML both ways, and refused in words where something does not fit."""

from __future__ import annotations

import pytest

from tenfold.errors import RecipeError, SchemaError
from tenfold.schema import (
    CategoryColumn,
    CategoryTarget,
    Frozen,
    IdColumn,
    ImageColumn,
    MultiLabelTarget,
    NumberColumn,
    NumberTarget,
    OpenTarget,
    OrderedTarget,
    Schema,
    Target,
    UndecidedTarget,
    parse_image,
    parse_target,
    parse_targets,
)

LEAVES = Schema(
    inputs=(
        ImageColumn(name="image_id", folder="photos"),
        CategoryColumn(name="variety"),
        NumberColumn(name="age"),
    ),
    targets=(CategoryTarget(name="disease", classes=("NA", "rust", "007")), UndecidedTarget(name="grade")),
    group=("field",),
    split="is_valid",
    weight="weight",
)
NAMES = ("image_id", "variety", "age", "disease", "grade", "field", "is_valid", "weight")


def test_toml_gives_the_same_schema_back() -> None:
    assert Schema.from_toml(LEAVES.to_toml()) == LEAVES


def test_a_schema_is_frozen() -> None:
    with pytest.raises(Exception, match="frozen"):
        LEAVES.split = "fold"  # type: ignore[misc]


def test_what_is_not_toml_is_a_schema_error() -> None:
    with pytest.raises(SchemaError, match="this is not TOML.*line 1") as caught:
        Schema.from_toml("inputs = = 3")
    assert caught.value.labels["fix"]


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(SchemaError) as caught:
        Schema(inputs=(), targets=(), groups=("field",))  # type: ignore[call-arg]
    assert "unknown name 'groups'" in str(caught.value)
    assert caught.value.labels["fix"] == "did you mean 'group'?"


def test_a_missing_name_and_a_wrong_kind_are_both_listed() -> None:
    with pytest.raises(SchemaError) as caught:
        Schema(inputs=({"kind": "picture", "name": "a"},))  # type: ignore[arg-type, call-arg]
    text = str(caught.value)
    assert "targets is not given" in text and "picture" in text and "image" in text


def test_the_refusal_of_a_subclass_is_its_own() -> None:
    class Choice(Frozen):
        refusal = RecipeError
        rate: float

    with pytest.raises(RecipeError, match="Choice cannot be made"):
        Choice(rate="fast")  # type: ignore[arg-type]


def test_the_columns_of_a_table_are_checked_by_name() -> None:
    LEAVES.check_columns(NAMES, "train.csv")
    LEAVES.check_columns(("image_id", "variety", "age"), "test.csv", targets=False)


@pytest.mark.parametrize(
    ("missing", "use"),
    [
        ("image_id", "input"),
        ("disease", "target"),
        ("field", "group"),
        ("is_valid", "split"),
        ("weight", "weight"),
    ],
)
def test_a_column_that_is_not_there_is_named_with_its_use(missing: str, use: str) -> None:
    names = tuple(f"{name}s" if name == missing else name for name in NAMES)
    with pytest.raises(SchemaError) as caught:
        LEAVES.check_columns(names, "train.csv")
    assert str(caught.value) == (
        f"train.csv has no column {missing!r} ({use})\n"
        f"  found  {', '.join(names)}\n"
        f"  fix    did you mean '{missing}s'?"
    )


def test_an_id_column_is_asked_for_even_without_targets() -> None:
    schema = Schema(inputs=(NumberColumn(name="age"),), targets=(), id="row")
    with pytest.raises(SchemaError, match=r"no column 'row' \(id\)"):
        schema.check_columns(("age",), "test.csv", targets=False)


@pytest.mark.parametrize(
    "targets",
    [
        (UndecidedTarget(name="age"),),
        (UndecidedTarget(name="grade"), CategoryTarget(name="grade")),
    ],
)
def test_a_column_used_twice_is_refused(targets: tuple[CategoryTarget | UndecidedTarget, ...]) -> None:
    schema = Schema(inputs=(NumberColumn(name="age"),), targets=targets)
    with pytest.raises(SchemaError, match="is used twice"):
        schema.check_columns(NAMES, "train.csv")


def test_a_column_is_one_input() -> None:
    front, back = (ImageColumn(name="id", folder=folder) for folder in ("front", "back"))
    with pytest.raises(SchemaError, match="'id' is used twice"):
        Schema(inputs=(front, back), targets=()).check_columns(("id",), "test.csv", targets=False)


def test_a_row_is_named_by_its_id_or_its_picture() -> None:
    assert LEAVES.row_name == "image_id"
    assert Schema(inputs=LEAVES.inputs, targets=(), id="row").row_name == "row"
    assert Schema(inputs=(IdColumn(name="user"),), targets=()).row_name is None


def test_targets_in_words() -> None:
    assert parse_target("disease") == UndecidedTarget(name="disease")
    assert parse_target("disease:category") == CategoryTarget(name="disease")
    assert parse_target("time 10:30:category").name == "time 10:30"
    with pytest.raises(SchemaError, match="there is no kind 'categroy'") as caught:
        parse_target("disease:categroy")
    assert caught.value.labels["fix"] == "did you mean 'category'?"


def test_pictures_in_words() -> None:
    assert parse_image("image_id=photos/a=b") == ImageColumn(name="image_id", folder="photos/a=b")
    for text in ("photos", "=photos", "image_id="):
        with pytest.raises(SchemaError, match="is not COLUMN=FOLDER"):
            parse_image(text)


@pytest.mark.parametrize("name", ["\u00e9tat", "e\u0301tat", " \u00e9tat "])
def test_one_name_in_any_form_of_unicode(name: str) -> None:
    schema = Schema(inputs=(NumberColumn(name="age"),), targets=(CategoryTarget(name="\u00e9tat"),))
    schema.check_columns(("age", name), "train.csv")


def test_what_names_a_row_is_no_target() -> None:
    schema = Schema(inputs=(NumberColumn(name="age"),), targets=(CategoryTarget(name="grade"),), id="grade")
    with pytest.raises(SchemaError, match="'grade' is used twice"):
        schema.check_columns(NAMES, "train.csv")


def test_a_class_list_names_each_class_once() -> None:
    assert CategoryTarget(name="label", classes=(" cat", "dog ")).classes == ("cat", "dog")
    for classes, text in (
        (("cat", "dog", "cat "), "'cat' is listed more than once"),
        (("cat", ""), "a name"),
    ):
        with pytest.raises(SchemaError, match=text):
            CategoryTarget(name="label", classes=classes)


def test_any_name_at_all_can_be_asked_for_and_is_refused() -> None:
    with pytest.raises(SchemaError, match="unknown name 'self'"):
        Schema.from_toml("inputs = []\ntargets = []\nself = 3\n")


# Targets in one word


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("price:number", NumberTarget(name="price")),
        ("stars:number[1,5]", NumberTarget(name="stars", low=1, high=5)),
        (
            "stars:number[low=1, high=5, stretch=0.25]",
            NumberTarget(name="stars", low=1, high=5, stretch=0.25),
        ),
        ("loss:number[-1.5,0]", NumberTarget(name="loss", low=-1.5, high=0)),
        ("grade:ordered", OrderedTarget(name="grade")),
        ("grade:ordered[low<mid<high]", OrderedTarget(name="grade", classes=("low", "mid", "high"))),
        ("grade:Ordinal[low, mid]", OrderedTarget(name="grade", classes=("low", "mid"))),
        ("kind:open", OpenTarget(name="kind")),
        ("kind:open[cat,dog,none=other]", OpenTarget(name="kind", classes=("cat", "dog"), none="other")),
        ("sick:two-class", CategoryTarget(name="sick", two=True)),
        ("sick:binary", CategoryTarget(name="sick", two=True)),
        ("a=b:category[x=1,y]", CategoryTarget(name="a=b", classes=("x=1", "y"))),
        ("tags:multilabel", MultiLabelTarget(name="tags")),
        ("tags:multi-label[;]", MultiLabelTarget(name="tags", separator=";")),
        ("tags:multilabel[,]", MultiLabelTarget(name="tags", separator=",")),
        ("tags:multilabel[ ]", MultiLabelTarget(name="tags", separator=" ")),
        ("tags:multilabel[separator= ,none=-]", MultiLabelTarget(name="tags", separator=" ", none="-")),
        ("cat,dog:multilabel", MultiLabelTarget(name="cat,dog", columns=("cat", "dog"))),
        ("pets=cat, dog:multilabel", MultiLabelTarget(name="pets", columns=("cat", "dog"))),
    ],
)
def test_a_target_is_said_in_one_word_in_python_and_in_toml(text: str, target: Target) -> None:
    assert parse_target(text) == target
    schema = Schema(inputs=(), targets=(text,))  # type: ignore[arg-type]
    assert schema.targets == (target,)
    assert Schema.from_toml(schema.to_toml()) == schema
    assert Schema.from_toml(f"inputs = []\ntargets = ['{text}']") == schema


@pytest.mark.parametrize(
    ("text", "words", "fix"),
    [
        ("price:numbr", "there is no kind 'numbr'", "did you mean 'number'?"),
        ("price:multilable", "there is no kind 'multilable'", "did you mean 'multilabel'?"),
        ("price:", "there is no kind ''", "number"),
        ("stars:number[1]", "a range has two ends", ""),
        ("stars:number[5,1]", "the range goes from 5 to 1", "docs/formats.md"),
        ("a:b", "there is no kind 'b'", "say its kind: a:b:category"),
        ("stars:number[1,5,9]", "'9' is one value too many", "low, high"),
        ("stars:number[lo=1,high=5]", "'lo' is not an option of its kind", "did you mean 'low'?"),
        ("stars:number[one,5]", "low = 'one'", ""),
        ("stars:number[stretch=1]", "stretch belongs to a range", ""),
        ("stars:number[1,5,stretch=-1]", "stretch = '-1'", ""),
        ("grade:ordered[a<b<a]", "'a' is listed more than once", ""),
        ("cat,cat:multilabel", "'cat' is listed more than once", ""),
        ("cat,dog:multilabel[;]", "have no separator", ""),
    ],
)
def test_a_target_that_makes_no_sense_is_refused_in_words(text: str, words: str, fix: str) -> None:
    with pytest.raises(SchemaError) as caught:
        parse_target(text)
    assert words in str(caught.value) and fix in caught.value.labels["fix"]


def test_wrong_names_of_a_target_in_toml_are_refused_with_the_nearest() -> None:
    for values, fix in (
        ("kind = 'number'\nname = 'a'\nhi = 5", "high"),
        ("kind = 'numbr'\nname = 'a'", "did you mean 'number'?"),
        ("kind = 'open'\nname = 'a'\nnon = 'x'", "did you mean 'none'?"),
    ):
        with pytest.raises(SchemaError) as caught:
            Schema.from_toml(f"inputs = []\n[[targets]]\n{values}\n")
        assert fix in caught.value.labels["fix"]


def test_kinds_and_separators_may_be_said_apart() -> None:
    found = parse_targets(["a", "b:number", "tags:multilabel"], separator="|", types=["open"])
    assert found == (
        OpenTarget(name="a"),
        NumberTarget(name="b"),
        MultiLabelTarget(name="tags", separator="|"),
    )
    assert parse_targets(["a", "b"], types=["b=number[1,5]"])[1] == NumberTarget(name="b", low=1, high=5)
    with pytest.raises(SchemaError, match="does not say of which target"):
        parse_targets(["a", "b"], types=["number"])
    with pytest.raises(SchemaError, match="belongs to a multilabel target"):
        parse_targets(["a", "b"], separator=";")


def test_columns_of_a_group_are_columns_of_the_table() -> None:
    schema = Schema(inputs=(), targets=(MultiLabelTarget(name="pets", columns=("cat", "dog")),))
    schema.check_columns(("cat", "dog"), "t.csv")
    with pytest.raises(SchemaError, match="no column 'dog'"):
        schema.check_columns(("cat", "dig"), "t.csv")
    twice = Schema(inputs=(), targets=(*schema.targets, CategoryTarget(name="cat")))
    with pytest.raises(SchemaError, match="'cat' is used twice"):
        twice.check_columns(("cat", "dog"), "t.csv")


def test_a_missing_name_takes_no_hint_away() -> None:
    with pytest.raises(SchemaError) as caught:
        ImageColumn(nmae="photo", folder="photos")  # type: ignore[call-arg]
    assert caught.value.labels["fix"] == "did you mean 'name'?"


def test_a_schema_is_told_in_one_line() -> None:
    schema = Schema(inputs=(ImageColumn(name="photo", folder="x"),), targets=(parse_target("age:number"),))
    assert schema.described == "photo (image) -> age (number)"
