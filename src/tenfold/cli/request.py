"""From the options of a command (or the keys of a job file) to what a job takes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tenfold.data.tables.jobfile import read_job
from tenfold.errors import RecipeError, SchemaError, TableError
from tenfold.events import Listener
from tenfold.recipe import AnyRecipe, FactorRecipe, Recipe
from tenfold.remedies import withhold
from tenfold.runs.options import ExplainOptions, Machine, PredictOptions, Reading
from tenfold.runs.registry import OPTIONS, recipe_class
from tenfold.runs.run import Run
from tenfold.schema import (
    CategoryColumn,
    IdColumn,
    ImageColumn,
    NumberColumn,
    RatingTarget,
    Schema,
    parse_image,
    parse_targets,
)
from tenfold.values import MAX_PIXELS, Log

Given = Mapping[str, Any]

#: Options that name columns, by what takes them.
_PICTURES = (
    "image",
    "category",
    "number",
    "target",
    "target_type",
    "label_separator",
    "id",
    "group",
    "split_column",
    "weight",
    "time",
)
_RATINGS = (
    *("user", "item", "target", "time", "user_table", "item_table", "item_name", "side"),
    *("category", "number"),
)
_COLUMNS = tuple(dict.fromkeys(("image_folder", *_PICTURES, *_RATINGS)))
#: Options of reading, of scoring and of the machine that only networks, or only ratings, take.
_FOR_PICTURES = (
    *("image", "allow_outside", "max_pixels", "workers", "cache", "views", "tta", "plain_weight"),
    *("device", "micro_batch", "budget", "checkpoint", "probe"),
)
_FOR_RATINGS = ("time_format", "lists", "liked")
#: Options of a table of further ratings; the first ones name its columns, in the order of `ROLES`.
ROLES = ("user", "item", "rating", "time")
_NEW_RATINGS = (
    *("user_column", "item_column", "target", "time", "time_format", "skip_bad"),
    *("sep", "encoding", "header", "missing_values", "skip_lines", "comment"),
)
#: Options about a sample submission.
_FILLING = ("column", "probability", "fill_missing")


@dataclass(frozen=True)
class Request:
    """What ``tenfold fit`` was asked for."""

    table: Any
    schema: Schema
    recipe: AnyRecipe
    output: str


def job_of(given: Given) -> Request:
    """The table, schema, recipe and run folder of a command.

    A job file gives all of them; options beside it replace the recipe's values.
    Raises SchemaError where the columns are not said, RecipeError for options of another job.
    """
    table, output = given["table"], given["output"]
    if isinstance(table, str) and os.path.isfile(os.path.join(table, "run.json")):
        raise SchemaError(
            f"{table} is a finished run, and this command trains from a table",
            fix="give the table; to see what a run does: tenfold report, explain or evaluate",
        )
    settings: dict[str, Any] = {}
    if isinstance(table, str) and table.lower().endswith(".toml"):
        job = read_job(table)
        table, schema, settings = job.table, job.schema, job.recipe
        output = output or job.output
        _refuse(given, _COLUMNS, "beside a job file, which names the columns")
        withhold(_COLUMNS, file=f"in {given['table']}")
    elif given["image_folder"]:
        if table is not None:
            raise SchemaError("--image-folder stands for the table", fix="leave out the table")
        _refuse(given, _COLUMNS[1:], "beside --image-folder, which names the columns")
        withhold(_COLUMNS[1:])
        table, schema = _folder(given)
    else:
        schema = _schema(given)
    if given.get("time_format") and not schema.rated:
        # Part of what a table's columns are; where ratings are fitted it is an option of reading.
        if schema.time is None:
            raise SchemaError(
                "--time-format, and no column of times", fix="add --time COLUMN, or leave it out"
            )
        schema = schema.model_copy(update={"time_format": given["time_format"]})
    if table is None:
        raise SchemaError("no table is given", fix="tenfold fit TABLE ..., or --image-folder FOLDER")
    if not output:
        raise RecipeError("no run folder is given", fix="give one with -o, for example -o runs/first")
    return Request(table, schema, _recipe(schema, settings, given), output)


def picture_job_of(given: Given, instead: str = "") -> Request:
    """As `job_of`, for a command that knows nothing of ratings. instead: what to do with ratings."""
    job = job_of(given)
    if job.schema.rated:
        raise SchemaError(
            "this command is for pictures and tables, not for ratings",
            fix=instead or "give --image, --category or --number, and --target, without --user and --item",
        )
    return job


def _refuse(given: Given, names: Iterable[str], where: str) -> None:
    """Refuse options that nobody would look at, so that none is passed over without a word."""
    said = [name for name in names if _is_said(given.get(name))]
    if said:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in said)
        raise RecipeError(f"{flags} is no option {where}", fix="leave it out")


def _is_said(value: Any) -> bool:
    # 0 is said, too, though it equals False.
    return value is not None and value is not False and value not in ([], "auto")


def _folder(given: Given) -> tuple[Any, Schema]:
    from tenfold.networks.inputs import folder_schema, read_image_folder

    folder = given["image_folder"]
    schema = folder_schema(folder)
    return read_image_folder(folder, labels=True, allow_outside=given["allow_outside"]), schema


def _schema(given: Given) -> Schema:
    if given["user"] or given["item"]:
        return _ratings_schema(given)
    if not any(given.get(name) for name in ("image", "category", "number")):
        raise SchemaError(
            "what to train from is not said",
            fix="give --image COLUMN=FOLDER, --category COLUMN or --number COLUMN, and --target COLUMN; "
            "or --user COLUMN and --item COLUMN",
        )
    if not given["target"]:
        raise SchemaError(
            "what to predict is not said", fix="give --target COLUMN (more than once for several)"
        )
    strange = [name for name in _COLUMNS if name not in _PICTURES]
    _refuse(given, strange, "of a training from pictures")
    withhold(strange)
    return Schema(
        inputs=(*(parse_image(text) for text in given["image"] or ()), *_cells(given)),
        targets=parse_targets(
            given["target"],
            separator=given.get("label_separator"),
            types=given.get("target_type") or (),
        ),
        id=given["id"],
        group=tuple(given["group"] or ()),
        split=given["split_column"],
        weight=given["weight"],
        time=given["time"],
    )


def _cells(given: Given) -> tuple[CategoryColumn | NumberColumn, ...]:
    """The columns of categories and of numbers."""
    categories = (CategoryColumn(name=name.strip()) for name in given.get("category") or ())
    return (*categories, *(NumberColumn(name=name.strip()) for name in given.get("number") or ()))


def _ratings_schema(given: Given) -> Schema:
    targets = given["target"] or ()
    if len(targets) > 1:
        raise SchemaError("ratings have one target", found=", ".join(targets), fix="give one --target")
    strange = [name for name in _COLUMNS if name not in _RATINGS]
    _refuse(given, strange, "of a training from ratings")
    withhold(strange)
    return Schema(
        inputs=(IdColumn(name=given["user"] or ""), IdColumn(name=given["item"] or ""), *_cells(given)),
        targets=(RatingTarget(name=targets[0] if targets else None),),
        time=given["time"],
        user_table=given["user_table"],
        item_table=given["item_table"],
        item_name=given["item_name"],
        side=tuple(given["side"] or ()),
    )


def _recipe(schema: Schema, settings: Mapping[str, Any], given: Given) -> AnyRecipe:
    chosen = dict(settings)
    mine = recipe_class(schema, network=bool(given.get("body") or "body" in settings))
    every = {**mine.model_fields, **Recipe.model_fields, **FactorRecipe.model_fields}
    withhold(name for name in every if name not in mine.model_fields)
    for name in every:
        value = given.get(name)
        if value is None:
            continue
        if name not in mine.model_fields:
            wing = "ratings" if schema.rated else "pictures"
            if "body" in mine.model_fields and schema.rated:
                wing = f"ratings by a network (--body {given.get('body') or 'mlp'})"
            raise RecipeError(
                f"--{name.replace('_', '-')} is no option of a training from {wing}",
                fix=f"leave it out; the options are: {', '.join(mine.model_fields)}",
            )
        chosen[name] = value
    return mine(**chosen)


def wing_options(schema: Schema, given: Given, recipe: AnyRecipe | None = None) -> dict[str, Any]:
    """Options of `fit` beside schema and recipe: how to read, and how to use the machine.

    recipe: decides what its job takes.
    """
    takes = OPTIONS[recipe_class(schema) if recipe is None else type(recipe)]
    # The format of times is a part of a schema of pictures, and was taken there.
    _refuse_other_wing(schema, given, takes if schema.rated else ("time_format",))
    if schema.rated and "time_format" not in takes:
        _refuse(given, ("time_format",), "of a network of ratings")
    machine = Machine(**{name: given[name] for name in takes if name != "time_format"})
    more = {"time_format": given["time_format"]} if "time_format" in takes else {}
    return {"reading": _reading(given, None), "machine": machine, **more}


def _refuse_other_wing(schema: Schema, given: Given, but: Iterable[str] = ()) -> None:
    other = _FOR_PICTURES if schema.rated else _FOR_RATINGS
    strange = [name for name in other if name not in but]
    _refuse(given, strange, "where ratings are fitted or asked for" if schema.rated else "where pictures are")
    withhold(strange)


def asking_of(run: Run, given: Given, tell: Listener, log: Log) -> PredictOptions:
    """Options of a run's `predict` or `evaluate`; ``--members`` is of an ensemble alone."""
    _refuse_other_wing(run.schema, given)
    if given.get("members") and not run.members:
        raise RecipeError(
            f"--members asks for the members of a blend, and {run.path} is a single run",
            fix="leave it out, or give the folder of an ensemble",
        )
    return PredictOptions(
        reading=_reading(given, tell),
        device=given["device"],
        views=given["views"],
        tta=given["tta"],
        plain_weight=given["plain_weight"],
        members=bool(given.get("members")),
        id=given.get("id"),
        n=given.get("lists"),
        relevant_from=given.get("liked"),
        log=log,
    )


def explaining_of(run: Run, given: Given, tell: Listener) -> ExplainOptions:
    """Options of a run's `explain`."""
    return ExplainOptions(
        table=given["table"],
        items=given["item"] or (),
        n=12 if given["n"] is None else given["n"],
        reading=_reading(given, None if run.schema.rated else tell),
        device=given["device"],
    )


def rows_of(run: Run, given: Given) -> object:
    """What to predict: a table, or the pairs of ``--user`` and ``--item``.

    Where the answers go is checked, too: before they are made, which may take its time.
    """
    _check_output(run, given)
    pairs = {name: given[name] for name in ("user", "item") if given[name]}
    if not pairs:
        if given["table"] is None:
            raise SchemaError("no table is given", fix="tenfold predict RUN TABLE -o FILE")
        return given["table"]
    if given["table"] is not None or not run.schema.rated:
        raise SchemaError(
            "--user and --item stand for a table of pairs of a ratings run",
            fix="give either a table, or --user ID --item ID and a ratings run",
        )
    users, items = given["user"] or (), given["item"] or ()
    if not items or (len(users) != len(items) and len(users) != 1):
        raise SchemaError(
            f"{len(users)} --user and {len(items)} --item make no pairs", fix="give one --item to each --user"
        )
    return {"user": list(users) * (len(items) if len(users) == 1 else 1), "item": list(items)}


def _check_output(run: Run, given: Given) -> None:
    if run.schema.rated:
        names = ("like", "probabilities", "id", *_FILLING)
        return _refuse(given, names, "where ratings are predicted, not classes")
    if not given["output"]:
        raise RecipeError("no output file is given", fix="give one with -o, for example -o submission.csv")
    if given["like"]:
        _refuse(
            given,
            ("probabilities", "members", "spreadsheet_safe"),
            "beside --like, whose file is filled in as it is",
        )
    else:
        _refuse(given, _FILLING, "without --like, the sample submission that it speaks of")
    return None


def recommender_of(run: Any, given: Given) -> tuple[Any, Any]:
    """The run with the further ratings that are given, and for whom to recommend; None is everyone."""
    asked = [name for name in ("user", "everyone") if given[name]]
    if len(asked) > 1 or not (asked or given["ratings"]):
        raise RecipeError(
            "--all and --user say two things" if asked else "for whom to recommend is not said",
            fix="give --user ID (more than once for several), --ratings FILE of a new user, or --all",
        )
    if not given["ratings"]:
        _refuse(given, _NEW_RATINGS, "without --ratings, whose table it describes")
        return run, given["user"] or None
    columns = {role: given[name] for role, name in zip(ROLES, _NEW_RATINGS, strict=False)}
    reading = {**table_options(given), "time_format": given["time_format"], "skip_bad": given["skip_bad"]}
    try:
        run = run.with_ratings(given["ratings"], columns=columns, **reading)
    except (SchemaError, TableError) as error:
        from tenfold.data.ratings.roles import OF_RUN

        fix = error.labels.get("fix", "")
        if fix.endswith(OF_RUN):
            column = "name it: --item-column, --target, --user-column or --time COLUMN"
            other = column if isinstance(error, SchemaError) else "give --time-format, or --time none"
            labels = {**error.labels, "fix": f"{fix}; or {other}"}
            raise type(error)(error.headline, problems=error.problems, **labels) from None
        raise
    if given["everyone"]:
        return run, None
    return run, given["user"] or run.record.added_users


def _reading(given: Given, tell: Listener | None) -> Reading:

    folders: dict[str, str] = {}
    for text in given.get("image") or ():
        column: ImageColumn = parse_image(text)
        folders[column.name] = column.folder
    return Reading(
        skip_bad=given["skip_bad"],
        allow_outside=given["allow_outside"],
        folders=folders,
        table=table_options(given),
        max_pixels=given["max_pixels"] or MAX_PIXELS,
        workers=2 if given["workers"] is None else given["workers"],
        cache=given["cache"],
        on_progress=tell,
    )


def table_options(given: Given) -> dict[str, Any]:
    """Options of `read_table`."""
    return {
        "separator": given["sep"],
        "encoding": given["encoding"],
        "header": given["header"],
        "missing_values": tuple(given["missing_values"] or ()),
        **{name: given[name] for name in ("skip_lines", "comment") if given.get(name)},
    }
