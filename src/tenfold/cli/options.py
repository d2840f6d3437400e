"""The command line's options: the recipes' fields and the few that belong to a machine, once each."""

from __future__ import annotations

import inspect
from typing import Annotated, Any, Literal, get_args, get_origin

import typer

from tenfold.recipe import TABLE_DEFAULTS, FactorRecipe, Recipe
from tenfold.targets.words import KIND_WORDS


def option(name: str, kind: Any, help: str, *flags: str, default: Any = None) -> inspect.Parameter:
    """One option of a command; its flag is its name unless flags are given."""
    spelled = flags or (f"--{name.replace('_', '-')}",)
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=typer.Option(default, *spelled, help=help, show_default=False),
        annotation=kind,
    )


def argument(name: str, help: str, *, optional: bool = False, many: bool = False) -> inspect.Parameter:
    """One argument of a command, or one that takes all the words that are left."""
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=typer.Argument(None if optional else ..., help=help, show_default=False),
        annotation=list[str] if many else str | None if optional else str,
    )


def recipe_options(*recipes: type[Recipe] | type[FactorRecipe]) -> list[inspect.Parameter]:
    """One option per field of the recipes; a field that both have is one option."""
    found: dict[str, inspect.Parameter] = {}
    for recipe in recipes:
        for name, field in recipe.model_fields.items():
            kind, choices = _plain_type(field.annotation)
            value = field.get_default(call_default_factory=True)
            other = f"; {_spelled(TABLE_DEFAULTS[name])} without pictures" if name in TABLE_DEFAULTS else ""
            default = "" if value in (None, {}) else f" [{_spelled(value)}{other}]"
            help = f"{field.description}{choices}{default}"
            if name in found:
                continue
            if kind is bool:
                found[name] = option(
                    name, bool | None, help, f"--{name.replace('_', '-')}/--no-{_flag(name)}"
                )
            elif kind is tuple:
                found[name] = option(name, tuple[float, float] | None, help)
            else:
                found[name] = option(name, kind | None, help)
    return list(found.values())


def _flag(name: str) -> str:
    return name.removeprefix("use_").replace("_", "-")


def _plain_type(annotation: Any) -> tuple[Any, str]:
    """The type of an option's text, and its choices for the help."""
    parts = [part for part in get_args(annotation) if part is not type(None)]
    if get_origin(annotation) is Literal:
        words = [str(part) for part in parts]
        return (int if all(isinstance(part, int) for part in parts) else str), f" ({', '.join(words)})"
    if annotation in (int, float, str, bool):
        return annotation, ""
    if get_origin(annotation) is tuple and parts == [float, float]:
        return tuple, ""
    if len(parts) == 1 or get_origin(annotation) is Annotated:
        return _plain_type(parts[0])
    return str, ""  # a number or one of some words, sizes, weights by name: the recipe reads the text


def _spelled(value: Any) -> str:
    if isinstance(value, tuple):
        return "x".join(str(part) for part in value)
    return str(value)


TABLE = [
    option("sep", str | None, "what separates cells; found where not given"),
    option("encoding", str | None, "of the text; found where not given"),
    option(
        "header",
        bool | None,
        "whether line 1 names the columns; found where not given",
        "--header/--no-header",
    ),
    option("missing_values", list[str] | None, "further words that mean: missing"),
    option("skip_lines", int | None, "lines above the header to leave out"),
    option("comment", str | None, "what lines begin with that are comments, as '#'"),
]
READING = [
    *TABLE,
    option("skip_bad", bool, "leave out rows with unusable pictures or numbers", "--skip-bad", default=False),
    option("allow_outside", bool, "allow pictures outside the folder", "--allow-outside", default=False),
    option("max_pixels", int | None, "largest picture that is decoded"),
    option("workers", int | None, "threads that read pictures [2]"),
    option("cache", str | None, "folder of the resized-image cache"),
]
DEVICE = option("device", str, "auto, cpu, cuda, ...", default="auto")
PICTURES = option("image", list[str] | None, "COLUMN=FOLDER of pictures, instead of the run's", "--image")
VIEWS = [
    option("views", int | None, "mirrored views to average (1, 2, 4)"),
    option("tta", int | None, "augmented views to average, beside the plain one"),
    option("plain_weight", float | None, "part of the plain view in that average [0.25]"),
]
CHECKPOINT = option("checkpoint", bool, "compute activations again", "--checkpoint", default=False)
MACHINE = [
    DEVICE,
    option("micro_batch", int | None, "rows that go through the network at once"),
    option("budget", str | None, "memory that may be used: a size, a card's name, or auto"),
    CHECKPOINT,
    option("probe", bool, "measure two steps of the largest batch first", "--probe", default=False),
]
SAFE = option(
    "spreadsheet_safe",
    bool,
    "neutralise text cells that a spreadsheet would run",
    "--spreadsheet-safe",
    default=False,
)
JSON = option("as_json", bool, "print one JSON object on standard output", "--json", default=False)
TIME_FORMAT = option("time_format", str | None, "seconds, milliseconds, iso, or a pattern as %d/%m/%Y")
COLUMNS = [
    option("image", list[str] | None, "COLUMN=FOLDER of pictures", "--image"),
    option("category", list[str] | None, "column of categories to learn from", "--category"),
    option("number", list[str] | None, "column of numbers to learn from", "--number"),
    option("image_folder", str | None, "folder whose sub-folders name the classes"),
    option(
        "target",
        list[str] | None,
        f"COLUMN or COLUMN:KIND to predict: {KIND_WORDS} (docs/losses.md)",
        "--target",
    ),
    option("target_type", list[str] | None, "KIND of a target, or COLUMN=KIND", "--target-type"),
    option("label_separator", str | None, "what separates the tags of a cell; found where not given"),
    option("id", str | None, "column that names a row"),
    option("group", list[str] | None, "column whose rows stay on one side of the split", "--group"),
    option("split_column", str | None, "column of 0 and 1: 1 is held out"),
    option("weight", str | None, "column of row weights"),
    option("user", str | None, "column of users: makes a recommender"),
    option("item", str | None, "column of items"),
    option("time", str | None, "column of times: of a rating, or none; of pictures: later rows are held out"),
    TIME_FORMAT,
    option("user_table", str | None, "table that describes users"),
    option("item_table", str | None, "table that describes items"),
    option("item_name", str | None, "its column with an item's title"),
    option("side", list[str] | None, "its columns that describe users or items", "--side"),
]
OUTPUT = option("output", str | None, "where the result goes", "-o", "--output")
