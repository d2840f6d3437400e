"""`fit` and `lr` for a Python program or a notebook: columns by name, progress as it comes, typed runs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, overload

from tenfold.api.columns import ColumnWords, Images, Names, Targets
from tenfold.api.progress import showing
from tenfold.api.samples import Sample
from tenfold.errors import RecipeError, SchemaError, did_you_mean
from tenfold.events import Listener
from tenfold.recipe import AnyRecipe, FactorRecipe, RatingNetworkRecipe, Recipe, preset_choices
from tenfold.runs.fitting import fit as fit_run
from tenfold.runs.fitting import next_run
from tenfold.runs.options import Machine, Reading, SplitRule, parse_seconds
from tenfold.runs.registry import load_run, recipe_class
from tenfold.runs.run import Run
from tenfold.schema import Schema
from tenfold.values import Log

if TYPE_CHECKING:
    from tenfold.engine.finder import RateCurve
    from tenfold.networks.run import NetworkRun
    from tenfold.recommenders.run import RecommenderRun

_MACHINE = tuple(field.name for field in fields(Machine))


@overload
def fit(
    schema: Schema, recipe: FactorRecipe | RatingNetworkRecipe, table: object, **options: Any
) -> RecommenderRun: ...
@overload
def fit(schema: Schema, recipe: Recipe, table: object, **options: Any) -> NetworkRun: ...
@overload
def fit(
    schema: object, recipe: AnyRecipe | None = None, *, user: str, item: str, **options: Any
) -> RecommenderRun: ...
@overload
def fit(schema: str | os.PathLike[str], recipe: Recipe | None = None, **options: Any) -> NetworkRun: ...
@overload
def fit(schema: object, recipe: AnyRecipe | None = None, table: object = None, **options: Any) -> Run: ...
def fit(
    schema: object,
    recipe: AnyRecipe | None = None,
    table: object = None,
    *,
    image: Images = None,
    category: Names = None,
    number: Names = None,
    target: Targets = None,
    user: str | None = None,
    item: str | None = None,
    id: str | None = None,
    group: Names = None,
    split: str | None = None,
    weight: str | None = None,
    time: str | None = None,
    user_table: str | None = None,
    item_table: str | None = None,
    item_name: str | None = None,
    side: Names = None,
    run: str | os.PathLike[str] | None = None,
    quiet: bool = False,
    report: bool = True,
    history: bool = True,
    resume: bool = False,
    reading: Reading | None = None,
    table_options: Mapping[str, object] | None = None,
    skip_bad: bool | None = None,
    time_format: str | None = None,
    preset: str | None = None,
    time_limit: float | str | None = None,
    machine: Machine | None = None,
    split_rule: SplitRule | None = None,
    on_progress: Listener | None = None,
    on_note: Log | None = None,
    **choices: object,
) -> Run:
    """Train on the rows of a table, write a run folder, and return the run.

    Pictures, a table of cells, and ratings::

        tenfold.fit("train.csv", image={"photo": "photos"}, target=["disease", "variety"], epochs=5)
        tenfold.fit("train.csv", category=["sex", "port"], number=["age"], target="survived")
        tenfold.fit("ratings.csv", user="user", item="film", target="stars")
        tenfold.fit("photos")                     # a folder whose sub-folders are the classes
        tenfold.fit(tenfold.sample("leaves"))
        tenfold.fit(schema, recipe, df)           # the same from a Schema and a Recipe

    schema: the table itself, with the columns named by the keywords below: a path, a data frame (pandas,
        polars), a mapping of columns, a folder of pictures, a `Table` or a `Sample`. Or a `Schema`, and then
        the table is the third argument.
    recipe: a `Recipe`; for ratings a `FactorRecipe` or a `RatingNetworkRecipe`.

    Columns
    image: ``"COLUMN=FOLDER"``, or column -> folder, of pictures.
    category, number: input columns of categories, and of numbers.
    target: the column to predict, or several. ``"y:number"`` states its kind (docs/losses.md); without a kind
        it is decided from the whole column. A target such as ``NumberTarget(...)`` may stand for the text.
    user, item: the columns of ratings; target is then the rating, or left out for mere events.
    id: names a row.  group: rows that share a value stay on one side of the split.
    split: 1 marks validation rows.  weight: of rows.  time: the latest rows are held out.
    user_table, item_table: files that describe users and items; item_name: the column of titles; side: the
        columns that describe.

    What comes of it
    run: the folder to make, by default the next free number under ``runs/``. An older run of that name stays
        until this one has finished.
    quiet: show nothing. Otherwise a notebook shows a table of epochs, and a terminal lines and a bar.
    report: write the run's page, too: ``report.html``.  history: add the run to the history beside it.
    resume: go on with an unfinished run there, to the same weights as if it had never stopped.

    How
    choices: fields of the recipe by name, as ``epochs=5`` or ``arch="resnet18"``, which replace those of
        `recipe`; and of `Machine`, as ``device="cpu"`` or ``budget="8GiB"``.
    preset: ``quick``: a few epochs of small pictures; ``good``, the defaults; ``best``: an ensemble with
        folds, trained in further processes from a table in a file.
    time_limit: of networks: seconds, or a text such as ``20min``: epochs, and a size of pictures, that are
        not given are chosen to end in time; of ``best`` also folds and members.
    reading: how tables and pictures are read; table_options and skip_bad are its `table` and `skip_bad`.
    time_format: of the times of ratings.  machine: how this machine is used.
    split_rule: for networks: splits the rows instead of the recipe.
    on_progress, on_note: called with every event, and every message, instead of what is shown.

    Returns a `NetworkRun` or, of ratings, a `RecommenderRun`. Raises a TenfoldError, which says what to do,
    for what is wrong with the input, before anything is trained.
    """
    words = ColumnWords(
        *(image, category, number, target, user, item, id, group, split, weight, time),
        *(user_table, item_table, item_name, side),
    )
    asked = asked_training(schema, recipe, table, words, choices, machine, preset)
    if preset == "best":
        with showing(quiet, on_progress, on_note) as (listener, log):
            return _fit_best(asked, run, time_limit, reading, listener, log)
    with showing(quiet, on_progress, on_note) as (listener, log):
        made = fit_run(
            asked.schema,
            asked.recipe,
            asked.table,
            run=run,
            report=report,
            history=history,
            resume=resume,
            reading=reading,
            table_options=table_options,
            skip_bad=skip_bad,
            time_format=time_format,
            time_limit=time_limit,
            machine=asked.machine,
            split_rule=split_rule,
            on_progress=listener,
            on_note=log,
        )
    # A table in memory can be shown again, as long as the run that was fitted to it is there.
    return made if isinstance(asked.table, str | os.PathLike) else replace(made, source=asked.table)


def _fit_best(
    asked: AskedTraining,
    run: str | os.PathLike[str] | None,
    time_limit: float | str | None,
    reading: Reading | None,
    listener: Listener | None,
    log: Log | None,
) -> Run:
    from tenfold.ensembles.preset import train_best

    table = getattr(asked.table, "path", asked.table)
    if not isinstance(table, str | os.PathLike) or not os.fspath(table):
        raise RecipeError(
            "the preset 'best' trains in further processes, which read the table from a file",
            fix="write the table to a CSV or Parquet file, and give its path",
        )
    made = train_best(
        asked.schema,
        cast(Recipe, asked.recipe),
        os.fspath(table),
        output=next_run() if run is None else run,
        time_limit=None if time_limit is None else parse_seconds(time_limit),
        reading=reading,
        machine=asked.machine,
        on_progress=listener,
        on_note=log,
    )
    return load_run(made.path)


def lr(
    schema: object,
    recipe: Recipe | None = None,
    table: object = None,
    *,
    image: Images = None,
    category: Names = None,
    number: Names = None,
    target: Targets = None,
    steps: int | None = None,
    quiet: bool = False,
    reading: Reading | None = None,
    machine: Machine | None = None,
    on_progress: Listener | None = None,
    on_note: Log | None = None,
    **choices: object,
) -> RateCurve:
    """Look for a learning rate of a network, and keep nothing (fast.ai's ``lr_find``).

    The rate grows with every optimizer step; ``.steepest`` of the answer is where the loss falls fastest, a
    good highest rate: ``tenfold.fit(..., lr=curve.steepest)``. A notebook draws the curve.

    schema, recipe, table, the columns and choices: as `tenfold.fit` takes them.
    steps: optimizer steps, by default those of one and a half epochs, 100 at most.
    Raises SchemaError for ratings.
    """
    from tenfold.networks.rates import find_learning_rate

    words = ColumnWords(image, category, number, target)
    asked = asked_training(schema, recipe, table, words, choices, machine)
    if asked.schema.rated:
        raise SchemaError(
            "a learning rate is looked for of networks of pictures and tables, not of ratings",
            fix="tenfold.tune('lr', schema, recipe, table) tries several",
        )
    with showing(quiet, on_progress, on_note) as (listener, log):
        return find_learning_rate(
            asked.schema,
            cast(Recipe, asked.recipe),
            asked.table,
            steps=steps,
            reading=reading,
            machine=asked.machine,
            on_progress=listener,
            on_note=log,
        )


@dataclass(frozen=True)
class AskedTraining:
    """What a training is asked for."""

    schema: Schema
    recipe: AnyRecipe
    table: object
    machine: Machine | None


def other_columns(
    schema: object, words: ColumnWords, choices: Mapping[str, object]
) -> tuple[ColumnWords, dict[str, object]]:
    """The columns, with those that stand among the choices (as ``group=``), and the other choices.

    ``split`` is a column of a network's table, and of ratings a choice.
    """
    if isinstance(schema, Schema | Sample):  # which name their columns themselves
        return words, dict(choices)
    rated = words.user is not None or words.item is not None
    names = set(vars(words)) - (set(FactorRecipe.model_fields) if rated else set())
    columns: Any = {name: value for name, value in choices.items() if name in names}
    rest = {name: value for name, value in choices.items() if name not in columns}
    return replace(words, **columns), rest


def asked_training(
    schema: object,
    recipe: AnyRecipe | None,
    table: object,
    words: ColumnWords,
    choices: Mapping[str, object],
    machine: Machine | None,
    preset: str | None = None,
) -> AskedTraining:
    """Sort out the two ways of calling: a schema and a table, or a table and the names of its columns, some
    of which may stand among the choices."""
    words, choices = other_columns(schema, words, choices)
    if isinstance(schema, Schema):
        if words.given:
            raise SchemaError(
                f"{words.given[0]}= is given beside a Schema, which names the columns",
                fix="leave it out, or give the table and the names of its columns without a Schema",
            )
        if table is None:
            raise SchemaError("no table is given", fix="tenfold.fit(schema, recipe, table)")
        settled, source = schema, table
    else:
        if table is not None:
            raise SchemaError(
                f"the first of three arguments is a Schema, not {type(schema).__name__}",
                fix="tenfold.fit(schema, recipe, table), or tenfold.fit(table, target='COLUMN', ...)",
            )
        settled, source = _named(schema, words)
    if recipe is None and isinstance(source, Sample):
        recipe = source.recipe if settled == source.schema else None
    of_machine = {name: value for name, value in choices.items() if name in _MACHINE}
    of_recipe = {name: value for name, value in choices.items() if name not in _MACHINE}
    if recipe is None:
        network = bool(of_recipe) and not set(of_recipe) <= set(FactorRecipe.model_fields)
        recipe = recipe_class(settled, network=network and "body" in of_recipe)()
    strange = [name for name in of_recipe if name not in type(recipe).model_fields]
    if strange:
        known = [*type(recipe).model_fields, *_MACHINE, *vars(words)]
        raise RecipeError(
            f"there is no choice {strange[0]!r} of a {type(recipe).__name__}",
            fix=did_you_mean(strange[0], known),
        )
    chosen = preset_choices(preset, settled) if preset and preset != "best" else {}
    if of_recipe or chosen:
        # Only what was given before counts as given, so that defaults still depend on the table.
        before = {name: getattr(recipe, name) for name in recipe.model_fields_set}
        recipe = type(recipe)(**{**chosen, **before, **of_recipe})
    if of_machine:
        machine = replace(machine or Machine(), **of_machine)
    return AskedTraining(settled, recipe, source, machine)


def _named(source: object, words: ColumnWords) -> tuple[Schema, object]:
    """The schema of a table by the names of its columns; samples and folders of classes have their own."""
    if not words.given and isinstance(source, Sample):
        return source.schema, source
    if not words.given and isinstance(source, str | os.PathLike) and Path(source).is_dir():
        from tenfold.networks.inputs import folder_schema, read_image_folder

        return folder_schema(os.fspath(source)), read_image_folder(source, labels=True)
    return words.schema(), source
