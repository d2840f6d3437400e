"""What to do: every choice, refused in words where it is none, and TOML both ways."""

from __future__ import annotations

from typing import Any

import pytest

from tenfold.errors import RecipeError
from tenfold.recipe import (
    FactorRecipe,
    RatingNetworkRecipe,
    Recipe,
    parse_size,
    with_defaults_for_rows,
    with_dot_weight_decay,
)


@pytest.mark.parametrize(
    ("given", "size"),
    [
        (224, (224, 224)),
        ("224", (224, 224)),
        ("160x320", (160, 320)),
        ("160 X 320", (160, 320)),
        ([8, 9], (8, 9)),
    ],
)
def test_sizes_in_every_spelling(given: Any, size: tuple[int, int]) -> None:
    assert parse_size(given) == size
    assert Recipe(image_size=given).image_size == size


@pytest.mark.parametrize("given", ["", "big", "224x", "1x2x3", 7, 8193, True, None, (), "224.5", (32.7, 40)])
def test_what_is_no_size_is_refused(given: Any) -> None:
    with pytest.raises(RecipeError, match="image_size"):
        Recipe(image_size=given)


def test_the_default_recipe_contradicts_nothing() -> None:
    Recipe().check()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"image_size": "160x320", "batchnorm_group": "frozen", "task_weights": {"disease": 2.0}, "lr": 1e-5},
    ],
)
def test_toml_gives_the_same_recipe_back(changes: dict[str, Any]) -> None:
    recipe = Recipe(**changes)
    assert Recipe.from_toml(recipe.to_toml()) == recipe


def test_an_unknown_choice_is_refused_with_the_nearest() -> None:
    with pytest.raises(RecipeError) as caught:
        Recipe.from_toml("batchsize = 32")
    assert "unknown name 'batchsize'" in str(caught.value)
    assert caught.value.labels["fix"] == "did you mean 'batch_size'?"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("batch_size", -1),
        ("lr", 0.0),
        ("lr", float("nan")),
        ("weight_decay", float("inf")),
        ("label_smoothing", 1.0),
        ("valid", 1.0),
        ("seed", -1),
        ("resize", "stretch"),
        ("precision", "float8"),
        ("batchnorm_group", 1),
        ("batchnorm_group", "free"),
        ("task_weights", {"disease": "much"}),
        ("task_weights", {"disease": -1.0}),
        ("views", 3),
    ],
)
def test_a_value_out_of_range_is_named_with_what_was_given(name: str, value: Any) -> None:
    with pytest.raises(RecipeError) as caught:
        Recipe(**{name: value})
    assert name in str(caught.value)


def test_all_wrong_values_are_listed_at_once() -> None:
    with pytest.raises(RecipeError) as caught:
        Recipe(epochs=0, lr=-1, resize="stretch")  # type: ignore[arg-type]
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize("changes", [{"views": 4}, {"views": 2, "flip": "none"}])
def test_views_that_training_never_showed_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match="views"):
        Recipe(**changes).check()


def test_a_batchnorm_group_may_be_spelt_as_text() -> None:
    assert Recipe(batchnorm_group="8").batchnorm_group == 8  # type: ignore[arg-type]


@pytest.mark.parametrize("group", ["1", "0", "-4", 0, -4])
def test_a_batchnorm_group_of_less_than_two_rows_is_refused(group: int | str) -> None:
    with pytest.raises(RecipeError, match="at least 2 rows"):
        Recipe(batchnorm_group=group)  # type: ignore[arg-type]


@pytest.mark.parametrize("recipe", [Recipe, FactorRecipe])
def test_a_seed_is_one_that_every_generator_takes(recipe: type[Recipe] | type[FactorRecipe]) -> None:
    assert recipe.from_toml(recipe(seed=2**63 - 1).to_toml()).seed == 2**63 - 1
    for seed in (-1, 2**63):
        with pytest.raises(RecipeError, match="seed"):
            recipe(seed=seed)


@pytest.mark.parametrize(
    ("given", "weights"),
    [
        ("none", "none"),
        ("balanced", "balanced"),
        ("disease:healthy=1,rust=3", {"disease": {"healthy": 1.0, "rust": 3.0}}),
        ("a:x=2; b:balanced", {"a": {"x": 2.0}, "b": "balanced"}),
        ("healthy=1,rust=.5", {"": {"healthy": 1.0, "rust": 0.5}}),
        ({"a": {"x": 2}}, {"a": {"x": 2.0}}),
    ],
)
def test_class_weights_in_every_spelling(given: Any, weights: Any) -> None:
    recipe = Recipe(class_weights=given)
    assert recipe.class_weights == weights and Recipe.from_toml(recipe.to_toml()) == recipe


@pytest.mark.parametrize("given", ["balance", "a:", "a:x", "a:x=-1", "a:x=much", {"a": {"x": -1}}])
def test_class_weights_that_make_no_sense_are_refused(given: Any) -> None:
    with pytest.raises(RecipeError, match="class_weights"):
        Recipe(class_weights=given)


def test_task_weights_are_given_equal_or_learned() -> None:
    assert Recipe(task_weights="equal").task_weights == {} == Recipe().task_weights
    assert Recipe(task_weights="a=2,b=0.5").task_weights == {"a": 2.0, "b": 0.5}
    learned = Recipe(task_weights="learned")
    assert learned.task_weights == "learned" and Recipe.from_toml(learned.to_toml()) == learned
    with pytest.raises(RecipeError, match="TARGET=WEIGHT"):
        Recipe(task_weights="learnt")


def test_the_best_epoch_is_kept_where_patience_is_on() -> None:
    assert not Recipe().keeps_best and Recipe(patience=3).keeps_best and Recipe(keep="best").keeps_best
    assert not Recipe(patience=3, keep="last").keeps_best


def test_a_dot_product_has_defaults_of_its_own() -> None:
    dot, mlp = RatingNetworkRecipe(body="dot"), RatingNetworkRecipe()
    assert (dot.dropout, dot.lr) == (0.0, 1e-2) and mlp.dropout > 0 and mlp.lr < dot.lr
    said = RatingNetworkRecipe(body="dot", dropout=0.1, lr=1e-3)
    assert (said.dropout, said.lr) == (0.1, 1e-3)
    assert (
        RatingNetworkRecipe.from_toml(mlp.to_toml()) == mlp
        and RatingNetworkRecipe.from_toml(dot.to_toml()) == dot
    )


def test_its_weight_decay_follows_from_how_often_an_id_is_seen() -> None:
    dot = RatingNetworkRecipe(body="dot")
    small, large = (
        with_dot_weight_decay(dot, 800, 800).weight_decay,
        with_dot_weight_decay(dot, 3200, 3200).weight_decay,
    )
    assert small == pytest.approx(2 * large, rel=1e-3) and small == pytest.approx(
        1.1 * (512 / 800) ** 0.5, rel=1e-3
    )
    assert (
        with_dot_weight_decay(dot, 3, 4).weight_decay == 1.1 == with_dot_weight_decay(dot, 0, 0).weight_decay
    )
    given = RatingNetworkRecipe(body="dot", weight_decay=0.2)
    assert with_dot_weight_decay(given, 800, 800) is given
    assert with_dot_weight_decay(RatingNetworkRecipe(), 800, 800) == RatingNetworkRecipe()


def test_an_optimizer_brings_its_own_rate_and_decay() -> None:
    assert (Recipe().lr, Recipe().weight_decay) == (2e-3, 0.05)
    lion = Recipe(optimizer="lion")
    assert (lion.lr, lion.weight_decay) == (2e-4, 0.5)
    assert Recipe(optimizer="lion", lr=1.0).lr == 1.0
    assert Recipe.from_toml(lion.to_toml()) == lion
    assert RatingNetworkRecipe(body="dot", optimizer="sgd").lr == 0.025


def test_a_recipe_with_adamw_is_written_as_before_there_was_a_choice() -> None:
    assert not {"optimizer", "momentum"} & Recipe().model_dump().keys()
    assert not {"optimizer", "momentum"} & Recipe(optimizer="adamw").model_dump(mode="json").keys()
    assert Recipe(optimizer="sgd", momentum=0.5).model_dump()["momentum"] == 0.5
    assert "momentum" not in Recipe(optimizer="lion").model_dump()


def test_momentum_belongs_to_sgd() -> None:
    Recipe(optimizer="sgd", momentum=0.5).check()
    with pytest.raises(RecipeError, match="momentum = 0.5 belongs to sgd"):
        Recipe(momentum=0.5).check()


@pytest.mark.parametrize(
    ("rows", "epochs", "batch"), [(192, 12, 16), (192, 100, 64), (600, 11, 64), (3, 1, 16)]
)
def test_few_photos_have_a_small_batch(rows: int, epochs: int, batch: int) -> None:
    recipe = Recipe(epochs=epochs, frozen_epochs=0, fit_head=True)
    assert with_defaults_for_rows(recipe, rows).batch_size == batch
    given = Recipe(epochs=epochs, frozen_epochs=0, fit_head=True, batch_size=64)
    assert with_defaults_for_rows(given, rows).batch_size == 64
    other = Recipe(epochs=epochs, frozen_epochs=0)
    assert with_defaults_for_rows(other, rows) == other


def test_few_steps_from_a_fitted_head_are_small_ones() -> None:
    few = with_defaults_for_rows(Recipe(epochs=1, frozen_epochs=0, fit_head=True), 240)
    assert (few.batch_size, few.batchnorm_group, few.lr) == (16, "frozen", 4.42e-5)
    more = with_defaults_for_rows(Recipe(epochs=12, frozen_epochs=0, fit_head=True), 240)
    assert (more.batch_size, more.batchnorm_group, more.lr) == (16, "frozen", 1e-3)
    many = with_defaults_for_rows(Recipe(epochs=12, frozen_epochs=0, fit_head=True), 1348)
    assert (many.batch_size, many.batchnorm_group, many.lr) == (64, "frozen", 1e-3)
    given = Recipe(epochs=1, frozen_epochs=0, fit_head=True, batchnorm_group=8, lr=0.1, batch_size=64)
    assert with_defaults_for_rows(given, 240) == given
    once = with_defaults_for_rows(few, 240)
    assert once == few
