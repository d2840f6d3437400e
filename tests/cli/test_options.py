"""Options are the recipes' fields, each once, with its choices and its defaults told, in panels."""

from __future__ import annotations

from inspect import Parameter

import tenfold.cli.main  # noqa: F401 - the commands in their order
from tenfold.cli.options import PANELS, Json, Request, TableOptions, ViewOptions, option, parameters_of
from tenfold.cli.ratings import Recommend
from tenfold.cli.train import Fit, Lr
from tenfold.cli.tune import Compare
from tenfold.recipe import DOT_DEFAULTS, TABLE_DEFAULTS, FactorRecipe, RatingNetworkRecipe, Recipe

FIT = {one.name: one for one in parameters_of(Fit, (Recipe, FactorRecipe))}
LR = {one.name: one for one in parameters_of(Lr, (Recipe,))}


def help_of(parameter: Parameter) -> str:
    return parameter.default.help


def test_every_field_is_one_option() -> None:
    flags = [flag for name, one in FIT.items() if name != "table" for flag in one.default.param_decls]
    # -o and --output are one, and so are -v and --verbose; a table is none.
    assert len(flags) == len(set(flags)) == len(FIT) + 1
    assert {*Recipe.model_fields, *FactorRecipe.model_fields, *RatingNetworkRecipe.model_fields} <= set(FIT)
    assert not {"factors", "scale"} & set(LR)


def test_choices_and_defaults_are_told() -> None:
    assert FIT["resize"].default.metavar == "squish|crop|pad" and help_of(FIT["resize"]).endswith("[squish]")
    assert help_of(LR["batch_size"]).endswith("[64]") and help_of(LR["image_size"]).endswith("[224x224]")
    assert help_of(FIT["use_time"]).endswith("[on]") and help_of(FIT["report"]).endswith("[on]")
    assert help_of(FIT["device"]).endswith("[auto]") and "[" not in help_of(FIT["checkpoint"])
    assert "Undefined" not in "".join(map(help_of, FIT.values()))


def test_each_training_has_the_default_of_its_recipe() -> None:
    class_of = {one: one.model_fields["epochs"].default for one in (Recipe, RatingNetworkRecipe)}
    told = f"pictures {class_of[Recipe]}, tables {TABLE_DEFAULTS['epochs']}, rating networks "
    assert f"[{told}{class_of[RatingNetworkRecipe]}, factor models by a rule]" in help_of(FIT["epochs"])
    assert help_of(LR["epochs"]).endswith(f"[pictures {class_of[Recipe]}, tables {TABLE_DEFAULTS['epochs']}]")
    assert "[networks 0.2, rating networks and factor models 0]" in help_of(FIT["valid"])
    assert f"their dot product {DOT_DEFAULTS['lr']:g}," in help_of(FIT["lr"])


def test_types_read_as_a_person_writes_them() -> None:
    names = {name: one.default.metavar for name, one in FIT.items()}
    written = {
        "table": "TABLE", "image": "COLUMN=FOLDER", "image_size": "HEIGHTxWIDTH", "scale": "LOW HIGH",
        "epochs": "N", "lr": "NUMBER", "views": "1|2|4", "use_time": None, "checkpoint": None,
    }  # fmt: skip
    assert {name: names[name] for name in written} == written


class Written(Request):
    rows: int | None = option("how many")
    share: float | None = option("which part", default=0.5)
    on: bool = option("whether", default=False)


def test_types_that_are_written_as_text_are_types() -> None:
    assert isinstance(Written.__annotations__["rows"], str)
    made = {one.name: one for one in parameters_of(Written)}
    assert [one.annotation for one in made.values()] == [int | None, float | None, bool]
    assert [one.default.metavar for one in made.values()] == ["N", "NUMBER", None]


def test_options_stand_in_panels_most_used_first() -> None:
    panels = [one.default.rich_help_panel for one in FIT.values()]
    assert list(dict.fromkeys(panels)) == [one for one in PANELS if one != "Options"]
    assert panels == sorted(panels, key=PANELS.index)
    names = list(FIT)
    assert names.index("image") < names.index("time_format") and names.index("arch") < names.index(
        "drop_path"
    )
    recommend = [one.name for one in parameters_of(Recommend)]
    assert recommend.index("user") < recommend.index("sep") < recommend.index("output")


def test_nothing_that_was_not_given_has_a_value() -> None:
    for name in Recipe.model_fields.keys() | FactorRecipe.model_fields.keys():
        assert FIT[name].default.default is None, name


def test_a_command_may_leave_options_out() -> None:
    without = parameters_of(Compare, (Recipe,), ("valid", "checkpoint"))
    assert not {"valid", "checkpoint"} & {one.name for one in without}
    assert [one.name for one in parameters_of(Json)] == ["as_json", "verbose"]
    views = parameters_of(ViewOptions, without=("image",))
    assert [one.name for one in views] == ["tta", "views", "plain_weight"]


def test_each_option_takes_what_its_field_takes() -> None:
    kinds = {name: str(one.annotation) for name, one in FIT.items()}
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


def test_choices_are_completed() -> None:
    assert FIT["resize"].default.autocompletion() == ["squish", "crop", "pad"]
    assert FIT["image_size"].default.autocompletion is None
    assert all(one.default.autocompletion is None for one in parameters_of(TableOptions))
