"""The options of the commands: the recipes' fields, and groups of options that several commands share.

The options of a command are the attributes of a `Request`. Typer reads their types.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, get_args, get_origin

import typer

from tenfold.recipe import (
    DOT_DEFAULTS,
    TABLE_DEFAULTS,
    AnyRecipe,
    Body,
    FactorRecipe,
    Factors,
    Images,
    OfRatings,
    RatingNetworkRecipe,
    Recipe,
)
from tenfold.targets.words import KIND_WORDS

#: Panels of a command's help, in this order.
PANELS = (
    *("Arguments", "Options", "What to learn from", "Pictures", "Network", "Training", "Ratings"),
    *("Reading tables and pictures", "This machine", "Output"),
)
#: The panel of a recipe's field, by the part that has it; others are of Training.
_PARTS = {Images: "Pictures", Body: "Network", OfRatings: "Ratings", Factors: "Ratings"}
#: The value of a recipe's option in the help, where its type does not give it.
_METAVARS = {
    "arch": "NAME",
    "weights": "hub|package|none|FILE",
    "image_size": "HEIGHTxWIDTH",
    "item_size": "HEIGHTxWIDTH",
    "batchnorm_group": "ROWS|frozen",
    "teacher": "RUN",
    "extra": "FOLDER",
    "hidden": "WIDTH,...",
    "fold": "K/N",
    "monitor": "TARGET[:SCORE]",
    "task_weights": "TARGET=WEIGHT,...",
    "class_weights": "CLASS=WEIGHT,...",
    "scale": "LOW HIGH",
    "range": "LOW HIGH",
}


class Option(NamedTuple):
    """An option, or without flags an argument. default: ``...`` where it must be given."""

    help: str
    metavar: str
    flags: tuple[str, ...]
    default: object


def option(help: str, metavar: str = "", *flags: str, default: object = None) -> Any:
    """Declare an attribute as an option; its flag is its name unless flags are given."""
    return Option(help, metavar, flags or ("",), default)


def argument(help: str, metavar: str, *, optional: bool = False) -> Any:
    """Declare an attribute as an argument; of the type ``list[str]`` it takes all the words that are left."""
    return Option(help, metavar, (), None if optional else ...)


class Request:
    """The options of a command. panel: the part of the help that shows the options of a class."""

    panel: ClassVar = "Options"

    def __init__(self, **values: object) -> None:
        options = {name: about.default for name, (about, _, _) in options_of(type(self)).items()}
        self.__dict__.update(options | values)


def options_of(request: type[Request]) -> dict[str, tuple[Option, object, str]]:
    """Name -> option, its type, and its panel; a class's own options before inherited ones."""
    options = {}
    for owner in request.__mro__:
        for name, kind in inspect.get_annotations(owner, eval_str=True).items():
            about = vars(owner).get(name)
            if isinstance(about, Option) and name not in options:
                panel = vars(owner).get("panel", "Options") if about.flags else "Arguments"
                options[name] = about, kind, panel
    return options


def parameters_of(
    request: type[Request], recipes: tuple[type[AnyRecipe], ...] = (), without: tuple[str, ...] = ()
) -> list[inspect.Parameter]:
    """Return the parameters of a command: the fields of its request and of the recipes, without some."""
    made = {
        name: _parameter(name, kind, about, panel)
        for name, (about, kind, panel) in options_of(request).items()
        if name not in without
    }
    for recipe in recipes:
        for name in recipe.model_fields:
            if name not in made and name not in without:
                made[name] = _recipe_option(name, recipe, recipes)
    return sorted(made.values(), key=lambda parameter: PANELS.index(parameter.default.rich_help_panel))


def _parameter(name: str, kind: object, about: Option, panel: str) -> inspect.Parameter:
    help, metavar, flags, default = about
    if not flags:
        value = typer.Argument(default, help=help, metavar=metavar, rich_help_panel=panel)
    else:
        words = metavar.split("|")
        if not metavar and kind not in (bool, bool | None):
            metavar = (
                "N" if kind in (int, int | None) else "NUMBER" if kind in (float, float | None) else "TEXT"
            )
        value = typer.Option(
            default,
            *(flag or f"--{name.replace('_', '-')}" for flag in flags),
            help=help if default in (None, False) else f"{help} [{_spelled(default)}]",
            metavar=metavar or None,
            autocompletion=(lambda: words) if len(words) > 1 and metavar.islower() else None,
            rich_help_panel=panel,
            show_default=False,
        )
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=value, annotation=kind)


def _recipe_option(
    name: str, recipe: type[AnyRecipe], recipes: tuple[type[AnyRecipe], ...]
) -> inspect.Parameter:
    about = recipe.model_fields[name]
    kind, choices = _plain_type(about.annotation)
    parts = (part for part in _PARTS if issubclass(recipe, part) and name in part.model_fields)
    flag = name.replace("_", "-")
    own = Option(
        f"{about.description}{_defaults(name, recipes)}",
        _METAVARS.get(name, "|".join(choices)),
        (f"--{flag}/--no-{flag.removeprefix('use-')}" if kind is bool else "",),
        None,
    )
    return _parameter(name, kind | None, own, next((_PARTS[part] for part in parts), "Training"))


def _plain_type(annotation: object) -> tuple[type, list[str]]:
    """Return the type of an option's text, and its choices."""
    parts = [part for part in get_args(annotation) if part is not type(None)]
    if get_origin(annotation) is Literal:
        return (int if all(isinstance(part, int) for part in parts) else str), [str(part) for part in parts]
    for kind in (int, float, str, bool, tuple[float, float]):
        if annotation == kind:
            return kind, []
    if len(parts) == 1 or get_origin(annotation) is Annotated:
        return _plain_type(parts[0])
    return str, []  # a number or one of some words, sizes, weights by name: the recipe reads the text


def _defaults(name: str, recipes: tuple[type[AnyRecipe], ...]) -> str:
    """Return ``[64]``, or each training's default where they differ."""
    jobs: list[tuple[str, type[AnyRecipe], Mapping[str, Any]]] = [
        ("pictures" if name in TABLE_DEFAULTS else "networks", Recipe, {}),
        ("tables", Recipe, TABLE_DEFAULTS),
        ("rating networks", RatingNetworkRecipe, {}),
        ("their dot product", RatingNetworkRecipe, DOT_DEFAULTS),
        ("factor models", FactorRecipe, {}),
    ]
    names: dict[str, list[str]] = {}
    for job, recipe, own in jobs:
        asked = recipe in recipes or (recipe is RatingNetworkRecipe and FactorRecipe in recipes)
        if asked and name in recipe.model_fields and (not own or name in own):
            value = own.get(name, recipe.model_fields[name].get_default(call_default_factory=True))
            names.setdefault(_spelled(value, "x" if name.endswith("_size") else ","), []).append(job)
    if len(names) == 1:
        return "" if names.keys() & {"by a rule", ""} else f" [{next(iter(names))}]"
    defaults = (f"{' and '.join(jobs)} {value}" for value, jobs in names.items())
    return f" [{', '.join(defaults)}]"


def _spelled(value: object, between: str = ",") -> str:
    if isinstance(value, tuple):
        return between.join(str(part) for part in value)
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else "by a rule" if value in (None, {}) else str(value)


class Json(Request):
    """How the answer is printed."""

    panel: ClassVar = "Output"
    as_json: bool = option("print one JSON object on standard output", "", "--json", default=False)
    verbose: bool = option("print details, too", "", "-v", "--verbose", default=False)


class TableOptions(Request):
    """How a table is read."""

    panel: ClassVar = "Reading tables and pictures"
    sep: str | None = option("separator of cells; detected if not given", "SIGN")
    encoding: str | None = option("encoding of the text; detected if not given", "NAME")
    header: bool | None = option(
        "whether line 1 names the columns; detected if not given", "", "--header/--no-header"
    )
    missing_values: list[str] | None = option("further words for missing values", "WORD")
    skip_lines: int | None = option("lines above the header to leave out")
    comment: str | None = option("beginning of comment lines, as '#'", "SIGN")


class ReadingOptions(TableOptions):
    """How a table and its pictures are read."""

    panel: ClassVar = "Reading tables and pictures"
    skip_bad: bool = option("leave out rows with unusable pictures, numbers or ratings", default=False)
    allow_outside: bool = option("allow pictures outside the folder", default=False)
    max_pixels: int | None = option("largest picture that is decoded")
    workers: int | None = option("threads that read pictures [2]")
    cache: str | None = option("folder of the cache of resized pictures", "FOLDER")


class DeviceOptions(Request):
    """Where to compute."""

    panel: ClassVar = "This machine"
    device: str = option("cpu, cuda, ...; auto: a GPU if there is one", "NAME", default="auto")


class MachineOptions(DeviceOptions):
    """How a training uses this machine."""

    panel: ClassVar = "This machine"
    budget: str | None = option("memory to use: a size as 16GiB, a card's name, or auto", "SIZE")
    micro_batch: int | None = option("rows that go through the network at once; planned if not given")
    checkpoint: bool = option("save memory: compute activations again in the backward pass", default=False)
    offload: bool = option("save memory: keep the optimizer's state in the host's memory", default=False)
    probe: bool = option("measure two steps of the largest batch first", default=False)


class DevicesOptions(Request):
    """How many devices share a training."""

    panel: ClassVar = "This machine"
    devices: int | None = option("processes that share the training, each with a GPU of its own [1]")
    shard: bool = option("each of them keeps only a part of the optimizer's state", default=False)
    shard_weights: bool = option("and only a part of the weights and gradients", default=False)


class ClusterOptions(Request):
    """Where many trainings run."""

    panel: ClassVar = "This machine"
    on: str | None = option(
        "train on a Ray cluster: local, auto, or its address [here, one after the other]",
        "local|auto|ray://HOST",
    )


class ViewOptions(Request):
    """Test-time augmentation, and where a run's pictures are now."""

    panel: ClassVar = "Pictures"
    image: list[str] | None = option("folder of the pictures, instead of the run's", "COLUMN=FOLDER")
    tta: int | None = option("test-time augmentation: random views to average with the plain view")
    views: int | None = option("test-time augmentation: mirrored views to average", "1|2|4")
    plain_weight: float | None = option(
        f"of the plain view in the average of --tta{_defaults('plain_weight', (Recipe,))}"
    )


class ColumnOptions(Request):
    """What the columns are."""

    panel: ClassVar = "What to learn from"
    image: list[str] | None = option("column of pictures, and their folder", "COLUMN=FOLDER")
    category: list[str] | None = option("column of categories", "COLUMN")
    number: list[str] | None = option("column of numbers", "COLUMN")
    target: list[str] | None = option(
        f"column to predict; KIND is {KIND_WORDS} (docs/losses.md)", "COLUMN[:KIND]"
    )
    user: str | None = option("column of users: makes a recommender", "COLUMN")
    item: str | None = option("column of items", "COLUMN")
    image_folder: str | None = option("folder whose sub-folders name the classes", "FOLDER")
    time: str | None = option("column of times: later rows are held out; none for ratings without", "COLUMN")
    id: str | None = option("column that names a row", "COLUMN")
    group: list[str] | None = option("column whose rows stay on one side of the split", "COLUMN")
    split_column: str | None = option("column of 0 and 1: 1 is held out", "COLUMN")
    weight: str | None = option("column of row weights", "COLUMN")
    target_type: list[str] | None = option("kind of a target", "[COLUMN=]KIND")
    label_separator: str | None = option("separator of the labels of a cell; detected if not given", "SIGN")
    item_table: str | None = option("table that describes items", "FILE")
    item_name: str | None = option("its column with an item's title", "COLUMN")
    user_table: str | None = option("table that describes users", "FILE")
    side: list[str] | None = option(
        "column of these tables, to learn from and to score what has no ratings", "COLUMN"
    )
    time_format: str | None = option("seconds, milliseconds, iso, or a pattern as %d/%m/%Y", "FORMAT")


class BudgetOptions(Request):
    """How much time a training may take."""

    panel: ClassVar = "Training"
    preset: str | None = option(
        "quick: a few epochs of small pictures; best: an ensemble with folds [good: the defaults below]",
        "quick|good|best",
    )
    time_limit: str | None = option(
        "choose epochs, and a size of pictures, to end in time: 90s, 20min, 2h", "TIME"
    )


class StartOptions(Request):
    """What a training starts from."""

    panel: ClassVar = "Pictures"
    start: str | None = option(
        "finished run to start from: its layers, by the names of columns, categories and classes",
        "RUN",
        "--from",
    )


class JobOptions(ColumnOptions, StartOptions, ReadingOptions, MachineOptions):
    """What a training takes. choices: of the recipe, by the names of its fields."""

    table: str | None = argument("table, folder of pictures, or job file (.toml)", "TABLE", optional=True)
    choices: Mapping[str, object] = MappingProxyType({})


class AskOptions(ViewOptions, ReadingOptions, DeviceOptions):
    """How a run is asked about a table."""


class ListOutput(Json):
    """Where rows go."""

    panel: ClassVar = "Output"
    output: str | None = option("CSV file to write", "FILE", "-o", "--output")
    spreadsheet_safe: bool = option("neutralise text cells that a spreadsheet would run", default=False)


class AnswerOutput(ListOutput):
    """Where answers to rows go, and how they are written."""

    panel: ClassVar = "Output"
    like: str | None = option("sample submission whose ids, order and columns are kept", "FILE")
    probability: list[str] | None = option(
        "column of the sample for a class's probability", "[TARGET:]CLASS=COLUMN"
    )
    column: list[str] | None = option(
        "what fills a column of the sample; COLUMN= keeps its cells", "COLUMN=TARGET"
    )
    fill_missing: str | None = option("what to write for ids of the sample that are not predicted")
    probabilities: bool = option("write every class's probability, too", default=False)
    members: bool = option("ensembles: write each member's answers, too", default=False)
