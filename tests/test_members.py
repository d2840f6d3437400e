"""Members of an ensemble: what a file's lists expand to, and every fault at once."""

from __future__ import annotations

from typing import Any

import pytest

from tenfold.errors import RecipeError
from tenfold.members import EnsembleRecipe, expand, read_members

HOW = EnsembleRecipe()


def names(sections: dict[str, Any], how: EnsembleRecipe = HOW) -> list[str]:
    return [member.name for member in read_members(sections, how)]


def test_members_have_the_shared_settings_and_their_own() -> None:
    shared = {"epochs": 3, "seed": 5}
    own = [{"arch": "test_vit", "item_size": "480x640", "image_size": "224x320", "weight": 2}, {"epochs": 9}]
    one, other = read_members({"recipe": shared, "member": own}, HOW)
    assert (one.recipe.epochs, one.weight, other.recipe.epochs, other.weight) == (3, 2.0, 9, 1.0)
    assert one.recipe.item_size == (480, 640) and one.recipe.image_size == (224, 320)
    assert one.name == "test_vit-squish-480x640-224x320"


def test_a_grid_makes_every_combination() -> None:
    grid = {"arch": ["a1", "a2"], "resize": ["squish", "crop"], "image_size": [64, "32x48"], "epochs": 2}
    found = read_members({"grid": [grid]}, HOW)
    assert len(found) == 8 and len({member.name for member in found}) == 8
    assert {member.recipe.image_size for member in found} == {(64, 64), (32, 48)}
    assert all(member.recipe.epochs == 2 for member in found)


def test_members_of_one_kind_get_numbers_and_seeds_of_their_own() -> None:
    found = read_members({"member": [{"arch": "a"}, {"arch": "a"}]}, HOW)
    assert [member.name for member in found] == ["a-squish-224", "a-squish-224-2"]
    assert found[0].recipe.seed != found[1].recipe.seed


def test_another_member_changes_no_seed() -> None:
    alone = read_members({"member": [{"arch": "b"}]}, HOW)[0]
    among = read_members({"member": [{"arch": "a"}, {"arch": "b"}, {"arch": "c"}]}, HOW)[1]
    assert alone == among
    assert read_members({"recipe": {"seed": 1}, "member": [{"arch": "b"}]}, HOW)[0] != alone


def test_splits_differ_by_default_and_are_the_same_on_request() -> None:
    sections = {"recipe": {"seed": 7}, "member": [{"arch": "a"}, {"arch": "b"}, {"arch": "c", "seed": 3}]}
    assert [member.recipe.split_seed for member in read_members(sections, HOW)] == [None] * 3
    for how in (EnsembleRecipe(split="same"), EnsembleRecipe(folds=4)):
        found = read_members(sections, how)
        assert [member.recipe.split_seed for member in found] == [7, 7, 7]
        assert len({member.recipe.seed for member in found}) == 3


def test_members_times_folds() -> None:
    how = EnsembleRecipe(folds=3)
    units = expand(read_members({"member": [{"arch": "a"}, {"arch": "b"}]}, how), how)
    assert [unit.recipe.fold for unit in units] == [(1, 3), (2, 3), (3, 3)] * 2
    assert units[4].name == "b-squish-224-fold2"
    assert [unit.name for unit in expand(read_members({"member": [{"arch": "a"}]}, HOW), HOW)] == [
        "a-squish-224"
    ]


def test_all_faults_are_named_at_once_with_the_nearest_name() -> None:
    members = [{"arch": "a", "epoch": 3}, {"arch": "b", "image_size": 2}, {"arch": "c", "resize": "stretch"}]
    with pytest.raises(RecipeError) as caught:
        read_members({"recipe": {"lrr": 1}, "member": members}, HOW)
    text = str(caught.value)
    assert "[recipe]: unknown name 'lrr'" in text and "member 1 (a): unknown name 'epoch'" in text
    assert "did you mean 'epochs'?" in text
    assert "member 2 (b): image_size" in text and "member 3 (c): resize" in text


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({}, "there is no member"),
        ({"member": [{"arch": "a", "weight": -1}]}, "weight = -1"),
        ({"member": [{"arch": "a", "weight": "2"}]}, "weight = '2'"),
        ({"member": [{"name": "x"}, {"name": "x"}]}, "two members have the name 'x'"),
        ({"member": [{"name": "../x"}]}, "cannot name a folder"),
        ({"member": [{"fold": "1/2"}]}, "do not set fold"),
        ({"recipe": {"fold": "1/2"}, "member": [{}]}, "do not set fold"),
        ({"member": [{"views": 4}]}, "upside down"),
        ({"member": [{"tta": 2, "views": 2}]}, "exclude each other"),
    ],
)
def test_what_makes_no_member(sections: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read_members(sections, HOW)
    assert said in str(caught.value)


def test_names_that_are_given_are_kept() -> None:
    assert names({"member": [{"name": "first.one"}, {}]})[0] == "first.one"


def test_unknown_choices_of_an_ensemble_are_refused() -> None:
    with pytest.raises(RecipeError, match="EnsembleRecipe"):
        EnsembleRecipe(blend="median")
    with pytest.raises(RecipeError) as caught:
        EnsembleRecipe(fold=5)
    assert "did you mean 'folds'?" in str(caught.value)
