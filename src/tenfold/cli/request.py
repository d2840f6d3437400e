"""Turn the options of a command, or the keys of a job file, into what a job takes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

from tenfold.cli.options import AskOptions, ColumnOptions, JobOptions, ReadingOptions, Request, TableOptions
from tenfold.data.tables.jobfile import read_job
from tenfold.errors import RecipeError, SchemaError
from tenfold.events import Listener
from tenfold.recipe import AnyRecipe, FactorRecipe, Recipe, preset_choices
from tenfold.remedies import option, withhold
from tenfold.schema import (
    CategoryColumn,
    IdColumn,
    NumberColumn,
    RatingTarget,
    Schema,
    parse_image,
    parse_targets,
)

if TYPE_CHECKING:  # late, since --help needs no arrays
    from tenfold.runs.options import Machine, PredictOptions, Reading
    from tenfold.runs.run import Run
    from tenfold.values import Log

Texts = list[str] | None
#: The run folder of commands that keep no run.
NO_RUN = "no run"

#: Options that name columns, by what takes them.
_PICTURES = (
    *("image", "category", "number", "target", "target_type", "label_separator"),
    *("id", "group", "split_column", "weight", "time"),
)
_RATINGS = (
    *("user", "item", "target", "time", "user_table", "item_table", "item_name", "side"),
    *("category", "number"),
)
_COLUMNS = tuple(dict.fromkeys(("image_folder", *_PICTURES, *_RATINGS)))
#: Options of reading, of scoring and of the machine that only networks, or only ratings, take.
_FOR_PICTURES = (
    *("image", "allow_outside", "max_pixels", "workers", "cache", "views", "tta", "plain_weight"),
    *("device", "micro_batch", "budget", "checkpoint", "offload", "probe"),
    *("devices", "shard", "shard_weights"),
)
_FOR_RATINGS = ("time_format", "lists", "liked")


@dataclass(frozen=True)
class TrainingRequest:
    """What a training is asked for. output: the run folder."""

    table: object
    schema: Schema
    recipe: AnyRecipe
    output: str


class FitKeywords(TypedDict):
    """What jobs take beside schema and recipe."""

    reading: Reading
    machine: Machine


def job_of(asked: JobOptions, output: str | None = NO_RUN, preset: str | None = None) -> TrainingRequest:
    """The table, schema, recipe and run folder of a command.

    preset: gives choices that neither the job file nor the options give.

    A job file gives all of them; options beside it replace the recipe's values.
    Raises SchemaError if the columns are not given, RecipeError for options of another job.
    """
    table: object = asked.table
    if isinstance(table, str) and os.path.isfile(os.path.join(table, "run.json")):
        raise SchemaError(
            f"{table} is a finished run, and this command trains from a table",
            fix="give the table; to see what a run does: tenfold report, explain or evaluate",
        )
    settings: dict[str, object] = {}
    if isinstance(table, str) and table.lower().endswith(".toml"):
        job = read_job(table)
        table, schema, settings = job.table, job.schema, job.recipe
        output = output or job.output
        refuse(asked, _COLUMNS, "beside a job file, which names the columns")
        withhold(_COLUMNS, file=f"in {asked.table}")
    elif asked.image_folder:
        if table is not None:
            raise SchemaError("--image-folder stands for the table", fix="leave out the table")
        refuse(asked, _COLUMNS[1:], "beside --image-folder, which names the columns")
        withhold(_COLUMNS[1:])
        from tenfold.networks.inputs import folder_schema, read_image_folder

        schema = folder_schema(asked.image_folder)
        table = read_image_folder(asked.image_folder, labels=True, allow_outside=asked.allow_outside)
    else:
        schema = _schema(asked)
    if asked.time_format and not schema.rated:
        # Part of what a table's columns are; where ratings are fitted it is an option of reading.
        if schema.time is None:
            raise SchemaError(
                "--time-format, and no column of times", fix="add --time COLUMN, or leave it out"
            )
        schema = schema.model_copy(update={"time_format": asked.time_format})
    if table is None:
        raise SchemaError("no table is given", fix="tenfold fit TABLE ..., or --image-folder FOLDER")
    if not output:
        raise RecipeError("no run folder is given", fix="give one with -o, for example -o runs/first")
    chosen = preset_choices(preset, schema) if preset and preset != "best" else {}
    if asked.start:
        if schema.rated:
            raise RecipeError(
                "--from is for pictures and tables, not for ratings",
                fix="tenfold update RUN TABLE, or leave it out",
            )
        settings = {**settings, "start": asked.start}
    return TrainingRequest(table, schema, recipe_of(schema, {**chosen, **settings}, asked.choices), output)


def picture_job_of(asked: JobOptions, instead: str = "") -> TrainingRequest:
    """Like `job_of`, for a command that refuses ratings. instead: what to do with ratings."""
    job = job_of(asked)
    if job.schema.rated:
        raise SchemaError(
            "this command is for pictures and tables, not for ratings",
            fix=instead or "give --image, --category or --number, and --target, without --user and --item",
        )
    return job


def refuse(asked: Request, names: Iterable[str], where: str) -> None:
    """Refuse options that the command would ignore."""
    given = [name for name in names if _is_given(getattr(asked, name, None))]
    if given:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        what = "is not an option" if len(given) == 1 else "are not options"
        raise RecipeError(f"{flags} {what} {where}", fix="leave it out")


def _is_given(value: object) -> bool:
    # 0 is given, too, though it equals False.
    return value is not None and value is not False and value not in ([], "auto")


def _schema(asked: ColumnOptions) -> Schema:
    if asked.user or asked.item:
        return _ratings_schema(asked)
    if not (asked.image or asked.category or asked.number):
        raise SchemaError(
            "no inputs are given",
            fix="give --image COLUMN=FOLDER, --category COLUMN or --number COLUMN, and --target COLUMN; "
            "or --user COLUMN and --item COLUMN",
        )
    if not asked.target:
        raise SchemaError("no target is given", fix="give --target COLUMN (more than once for several)")
    strange = [name for name in _COLUMNS if name not in _PICTURES]
    refuse(asked, strange, "of a training from pictures")
    withhold(strange)
    return Schema(
        inputs=(*(parse_image(text) for text in asked.image or ()), *_cells(asked)),
        targets=parse_targets(asked.target, separator=asked.label_separator, types=asked.target_type or ()),
        id=asked.id,
        group=tuple(asked.group or ()),
        split=asked.split_column,
        weight=asked.weight,
        time=asked.time,
    )


def _cells(asked: ColumnOptions) -> tuple[CategoryColumn | NumberColumn, ...]:
    """The columns of categories and of numbers."""
    categories = (CategoryColumn(name=name.strip()) for name in asked.category or ())
    return (*categories, *(NumberColumn(name=name.strip()) for name in asked.number or ()))


def _ratings_schema(asked: ColumnOptions) -> Schema:
    targets = asked.target or ()
    if len(targets) > 1:
        raise SchemaError("ratings have one target", found=", ".join(targets), fix="give one --target")
    strange = [name for name in _COLUMNS if name not in _RATINGS]
    refuse(asked, strange, "of a training from ratings")
    withhold(strange)
    return Schema(
        inputs=(IdColumn(name=asked.user or ""), IdColumn(name=asked.item or ""), *_cells(asked)),
        targets=(RatingTarget(name=targets[0] if targets else None),),
        time=asked.time,
        user_table=asked.user_table,
        item_table=asked.item_table,
        item_name=asked.item_name,
        side=tuple(asked.side or ()),
    )


def recipe_of(schema: Schema, settings: Mapping[str, object], choices: Mapping[str, object]) -> AnyRecipe:
    """The recipe of a job file's settings and a command's choices; RecipeError names options as typed."""
    from tenfold.runs.registry import recipe_class

    mine = recipe_class(schema, network="body" in choices or "body" in settings)
    every = {**mine.model_fields, **Recipe.model_fields, **FactorRecipe.model_fields}
    withhold(name for name in every if name not in mine.model_fields)
    for name in choices:
        if name not in mine.model_fields:
            wing = "ratings" if schema.rated else "pictures"
            if "body" in mine.model_fields and schema.rated:
                wing = f"ratings by a network (--body {choices.get('body', 'mlp')})"
            raise RecipeError(
                f"--{name.replace('_', '-')} is not an option of a training from {wing}",
                fix=f"leave it out; the options are: {', '.join(map(option, mine.model_fields))}",
            )
    try:
        return mine.model_validate({**settings, **choices})
    except RecipeError as error:
        # What was given as an option is named as it was typed.
        typed = {name: option(name) for name in choices}
        problems = [
            re.sub(r"\w+", lambda name: typed.get(name[0], name[0]), text, count=1) for text in error.problems
        ]
        raise RecipeError(error.headline, problems=problems, **error.labels) from None


def fit_keywords(
    schema: Schema, asked: ReadingOptions, recipe: AnyRecipe | None = None, *, image: Texts = None
) -> FitKeywords:
    """Return how a job reads, and how it uses the machine.

    recipe: decides what its job takes.  image: folders of pictures, as ``COLUMN=FOLDER``.
    """
    from tenfold.runs.options import Machine
    from tenfold.runs.registry import OPTIONS, recipe_class

    takes = OPTIONS[recipe_class(schema) if recipe is None else type(recipe)]
    # The format of times is a part of a schema of pictures, and was taken there.
    _refuse_other_wing(schema, asked, takes if schema.rated else ("time_format",))
    if schema.rated and "time_format" not in takes:
        refuse(asked, ("time_format",), "of a network of ratings")
    machine = Machine(**{name: getattr(asked, name) for name in takes if name != "time_format"})
    return {"reading": reading_of(asked, image), "machine": machine}


def _refuse_other_wing(schema: Schema, asked: Request, but: Iterable[str] = ()) -> None:
    other = _FOR_PICTURES if schema.rated else _FOR_RATINGS
    strange = [name for name in other if name not in but]
    refuse(asked, strange, "where ratings are fitted or asked for" if schema.rated else "where pictures are")
    withhold(strange)


def predict_options(run: Run, asked: AskOptions, tell: Listener, log: Log) -> PredictOptions:
    """Options of a run's `predict` or `evaluate`."""
    from tenfold.runs.options import PredictOptions

    _refuse_other_wing(run.schema, asked)
    return PredictOptions(
        reading=reading_of(asked, asked.image, tell),
        device=asked.device,
        views=asked.views,
        tta=asked.tta,
        plain_weight=asked.plain_weight,
        log=log,
    )


def reading_of(asked: ReadingOptions, image: Texts, tell: Listener | None = None) -> Reading:
    """Return how to read. image: folders of pictures, as ``COLUMN=FOLDER``."""
    from tenfold.runs.options import Reading
    from tenfold.values import MAX_PIXELS

    return Reading(
        skip_bad=asked.skip_bad,
        allow_outside=asked.allow_outside,
        folders={column.name: column.folder for column in map(parse_image, image or ())},
        table=table_options(asked),
        max_pixels=MAX_PIXELS if asked.max_pixels is None else asked.max_pixels,
        workers=2 if asked.workers is None else asked.workers,
        cache=asked.cache,
        on_progress=tell,
    )


def table_options(asked: TableOptions) -> dict[str, object]:
    """Options of `read_table`."""
    more = {"skip_lines": asked.skip_lines, "comment": asked.comment}
    return {
        "separator": asked.sep,
        "encoding": asked.encoding,
        "header": asked.header,
        "missing_values": tuple(asked.missing_values or ()),
        **{name: value for name, value in more.items() if value},
    }
