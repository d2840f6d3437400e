"""Columns by a few words, the same as the schema that they stand for."""

from __future__ import annotations

import pytest

import tenfold
from tenfold.api.columns import ColumnWords, listed_names
from tenfold.errors import SchemaError


def test_pictures_by_text_or_by_mapping() -> None:
    schema = ColumnWords(image="photo=some/photos", target="disease").schema()
    assert schema == ColumnWords(image={"photo": "some/photos"}, target=["disease"]).schema()
    assert schema == tenfold.Schema(
        inputs=(tenfold.ImageColumn(name="photo", folder="some/photos"),),
        targets=(tenfold.UndecidedTarget(name="disease"),),
    )


def test_targets_may_be_texts_and_values_in_any_order() -> None:
    own = tenfold.NumberTarget(name="age", low=0, high=120)
    schema = ColumnWords(number="height", target=["sex:category", own, "size:number"]).schema()
    assert [target.name for target in schema.targets] == ["sex", "age", "size"]
    assert schema.targets[1] == own and schema.targets[2].kind == "number"


def test_uses_of_columns() -> None:
    schema = ColumnWords(
        category=["a"], target="y", id="name", group="family", split="held", weight="w", time="when"
    ).schema()
    assert (schema.id, schema.group, schema.split, schema.weight, schema.time) == (
        "name", ("family",), "held", "w", "when",
    )  # fmt: skip


def test_ratings_and_events() -> None:
    rated = ColumnWords(user="u", item="i", target="stars", item_table="films.csv", side=["genre"]).schema()
    assert rated.rated and rated.targets[0].name == "stars" and rated.side == ("genre",)
    assert ColumnWords(user="u", item="i").schema().targets[0].name is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (ColumnWords(target="y"), "the inputs are not given"),
        (ColumnWords(number="x"), "the target is not given"),
        (ColumnWords(user="u", target="y"), "item is not given"),
        (ColumnWords(user="u", item="i", target=["a", "b"]), "one target"),
        (ColumnWords(user="u", item="i", image="a=b"), "no pictures"),
        (ColumnWords(image="photos", target="y"), "COLUMN=FOLDER"),
    ],
)
def test_what_is_missing_is_said(words: ColumnWords, said: str) -> None:
    with pytest.raises(SchemaError, match=said) as caught:
        words.schema()
    assert caught.value.labels["fix"]


def test_a_name_or_several() -> None:
    assert (
        listed_names("ab") == ("ab",) and listed_names(["a", "b"]) == ("a", "b") and listed_names(None) == ()
    )
