"""Options are the recipes' fields, each once, with its choices and its default said."""

from __future__ import annotations

from tenfold.cli.options import COLUMNS, MACHINE, READING, argument, option, recipe_options
from tenfold.recipe import FactorRecipe, Recipe


def spelled(parameters: list) -> dict[str, str]:
    return {one.name: one.default.help for one in parameters}


def test_every_field_is_one_option() -> None:
    found = recipe_options(Recipe, FactorRecipe)
    names = [one.name for one in found]
    assert len(names) == len(set(names))
    assert set(names) == set(Recipe.model_fields) | set(FactorRecipe.model_fields)


def test_choices_and_defaults_are_said() -> None:
    helps = spelled(recipe_options(Recipe))
    assert "squish, crop, pad" in helps["resize"] and "[squish]" in helps["resize"]
    assert "[64]" in helps["batch_size"]
    assert "Undefined" not in "".join(helps.values())


def test_nothing_that_was_not_given_has_a_value() -> None:
    for one in recipe_options(Recipe, FactorRecipe):
        assert one.default.default is None, one.name


def test_no_flag_is_taken_twice() -> None:
    flags = [
        flag
        for one in [*COLUMNS, *recipe_options(Recipe, FactorRecipe), *READING, *MACHINE]
        for part in one.default.param_decls
        for flag in part.split("/")
    ]
    assert len(flags) == len(set(flags))


def test_an_option_spells_its_name() -> None:
    assert option("image_size", str, "x").default.param_decls == ("--image-size",)
    assert argument("table", "x").default.default is ...
    assert argument("table", "x", optional=True).default.default is None
    assert argument("archs", "x", many=True).annotation == list[str]


def test_each_option_takes_what_its_field_takes() -> None:
    kinds = {one.name: str(one.annotation) for one in recipe_options(Recipe, FactorRecipe)}
    texts = {
        "batchnorm_group": "str | None",  # a number of rows, or frozen
        "image_size": "str | None",
        "task_weights": "str | None",
        "epochs": "int | None",
        "factors": "int | None",
        "views": "int | None",
        "lr": "float | None",
        "use_time": "bool | None",
        "scale": "tuple[float, float] | None",
    }
    assert {name: kinds[name] for name in texts} == texts
    assert Recipe(batchnorm_group="frozen").batchnorm_group == "frozen"
    assert Recipe(batchnorm_group="8").batchnorm_group == 8  # type: ignore[arg-type]
