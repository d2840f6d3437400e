"""`tune`, `search`, `cross_validate` and `compare_targets` for Python: columns by name, and progress."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

from tenfold.api.columns import ColumnWords, Images, Names, Targets
from tenfold.api.fitting import asked_training, other_columns
from tenfold.api.progress import showing
from tenfold.errors import RecipeError
from tenfold.events import Listener
from tenfold.recipe import AnyRecipe, Recipe
from tenfold.runs.options import Machine, Reading
from tenfold.values import Log

if TYPE_CHECKING:
    from tenfold.studies.compare import Compared
    from tenfold.studies.crossval import CrossValidated
    from tenfold.studies.searched import Searched
    from tenfold.studies.tune import Tuned


def tune(
    what: str,
    schema: object,
    recipe: AnyRecipe | None = None,
    table: object = None,
    *,
    values: Sequence[float] | None = None,
    repeats: int | None = None,
    runs: str | os.PathLike[str] | None = None,
    on: str | None = None,
    image: Images = None,
    category: Names = None,
    number: Names = None,
    target: Targets = None,
    user: str | None = None,
    item: str | None = None,
    quiet: bool = False,
    reading: Reading | None = None,
    machine: Machine | None = None,
    time_format: str | None = None,
    on_progress: Listener | None = None,
    on_note: Log | None = None,
    **choices: object,
) -> Tuned:
    """Train once per value and seed on one split, and compare scores on the validation rows.

    ``tenfold.tune("wd", "train.csv", number=["age"], target="height")``; ``.best`` of the answer is the best
    value.

    what: ``wd``, ``lr`` or ``factors``.  values: those to try; by default powers of ten. The recipe's own
        value is always among them.
    repeats: seeds per value, from the recipe's on; the split stays that of the first. By default 3 for factor
        models, 1 for networks.
    runs: keep the networks' trainings in this folder, and skip those that have finished there.
    on: train on a Ray cluster: ``local``, ``auto`` or its address.
    schema, recipe, table, the columns, quiet and choices: as `tenfold.fit` takes them.
    Ratings without a given method are fitted by ``sgd``: the default has neither weight decay nor rate.
    Raises RecipeError if there is nothing to tune, or no rows are held out.
    """
    from tenfold.studies.tune import tune as run_study

    words = ColumnWords(image, category, number, target, user, item)
    asked = asked_training(schema, recipe, table, words, choices, machine)
    with showing(quiet, on_progress, on_note) as (listener, log):
        return run_study(
            what,
            asked.schema,
            asked.recipe,
            asked.table,
            values=values,
            repeats=repeats,
            runs=runs,
            on=on,
            reading=reading,
            machine=asked.machine,
            time_format=time_format,
            on_progress=listener,
            on_note=log,
        )


def search(
    settings: Names,
    schema: object,
    recipe: AnyRecipe | None = None,
    table: object = None,
    *,
    trials: int = 20,
    within: Mapping[str, str] | None = None,
    prune: bool = True,
    at_once: int = 1,
    repeats: int | None = None,
    runs: str | os.PathLike[str] | None = None,
    on: str | None = None,
    image: Images = None,
    category: Names = None,
    number: Names = None,
    target: Targets = None,
    user: str | None = None,
    item: str | None = None,
    quiet: bool = False,
    reading: Reading | None = None,
    machine: Machine | None = None,
    time_format: str | None = None,
    on_progress: Listener | None = None,
    on_note: Log | None = None,
    **choices: object,
) -> Searched:
    """Look for the best values of several settings at once, by their score on the validation rows.

    ``tenfold.search(["lr", "wd"], "train.csv", number=["age"], target="height", trials=30)``; ``.recipe`` of
    the answer is the best recipe, ``.best`` its trial.

    settings: fields of the recipe.  within: setting -> ``LOW:HIGH``, or words with commas.
    trials, prune, at_once, repeats, runs, on: see `studies.search.search`.
    schema, recipe, table, the columns, quiet and choices: as `tenfold.fit` takes them.
    Raises DependencyError without Optuna, RecipeError for what cannot be searched.
    """
    from tenfold.studies.search import search as run_study

    words = ColumnWords(image, category, number, target, user, item)
    asked = asked_training(schema, recipe, table, words, choices, machine)
    with showing(quiet, on_progress, on_note) as (listener, log):
        return run_study(
            [settings] if isinstance(settings, str) else list(settings or ()),
            asked.schema,
            asked.recipe,
            asked.table,
            trials=trials,
            within=[f"{name}={text}" for name, text in (within or {}).items()],
            prune=prune,
            at_once=at_once,
            repeats=repeats,
            runs=runs,
            on=on,
            reading=reading,
            machine=asked.machine,
            time_format=time_format,
            on_progress=listener,
            on_note=log,
        )


def cross_validate(
    schema: object,
    recipe: AnyRecipe | Mapping[str, AnyRecipe] | None = None,
    table: object = None,
    *,
    category: Names = None,
    number: Names = None,
    image: Images = None,
    target: Targets = None,
    user: str | None = None,
    item: str | None = None,
    time: str | None = None,
    methods: Names = None,
    folds: int = 5,
    repeats: int = 1,
    lists: int | None = None,
    liked: float | None = None,
    runs: str | os.PathLike[str] | None = None,
    quiet: bool = False,
    reading: Reading | None = None,
    time_format: str | None = None,
    machine: Machine | None = None,
    on_progress: Listener | None = None,
    on_note: Log | None = None,
    **choices: object,
) -> CrossValidated:
    """Hold out every row once, and score what was trained on the others (``tenfold cross-validate``).

    ::

        tenfold.cross_validate("ratings.csv", user="user", item="film", target="stars",
                               methods=["gibbs", "als"])

    schema, recipe, table, the columns and choices: as `tenfold.fit` takes them. recipe may also be name ->
        recipe, to compare several.
    methods: of ratings, to compare: ``gibbs``, ``als``, ``sgd``, ``ease``, or a network's body, ``mlp``,
        ``dot`` or ``linear``; with choices of its own as ``"als:factors=8"``.
    folds, repeats, lists, liked, runs: see `studies.crossval.cross_validate`.

    Returns a table of means and deviations; ``.difference(target, score, name)`` compares two by fold.
    """
    from tenfold.studies.crossval import cross_validate, recipes_of_methods

    words = ColumnWords(image, category, number, target, user, item, time=time)
    words, rest = other_columns(schema, words, choices)
    several = recipe if isinstance(recipe, Mapping) else None
    single = None if isinstance(recipe, Mapping) else recipe
    unused = "a recipe" if methods and recipe is not None else next(iter(rest), "") if several else ""
    if unused:
        beside = "methods" if methods else "several recipes"
        raise RecipeError(
            f"{unused} is given beside {beside}, and would not be used",
            fix=f"leave it out, or write it into {beside}",
        )
    asked = asked_training(schema, single, table, words, {} if methods or several else rest, machine)
    recipes: AnyRecipe | Mapping[str, AnyRecipe] = asked.recipe if several is None else several
    if methods:
        named = [methods] if isinstance(methods, str) else list(methods)
        recipes = recipes_of_methods(asked.schema, named, rest)
    with showing(quiet, on_progress, on_note) as (listener, log):
        return cross_validate(
            asked.schema,
            recipes,
            asked.table,
            folds=folds,
            repeats=repeats,
            lists=lists,
            liked=liked,
            runs=runs,
            reading=reading,
            time_format=time_format,
            machine=asked.machine,
            on_progress=listener,
            on_note=log,
        )


def compare_targets(
    schema: object,
    recipe: Recipe | None = None,
    table: object = None,
    *,
    of: Sequence[str] = (),
    folds: int = 5,
    repeats: int = 1,
    runs: str | os.PathLike[str] | None = None,
    on: str | None = None,
    image: Images = None,
    category: Names = None,
    number: Names = None,
    target: Targets = None,
    quiet: bool = False,
    reading: Reading | None = None,
    machine: Machine | None = None,
    on_progress: Listener | None = None,
    on_note: Log | None = None,
    **choices: object,
) -> Compared:
    """Train on all targets together and on each alone, on the same folds under the same seeds.

    of: the targets to compare; by default all.  folds: each row is held out once per repeat.
    repeats: each with new folds and the next seed, from the recipe's on.
    runs: keep the trainings in this folder, and skip those that have finished there.
    on: train on a Ray cluster: ``local``, ``auto`` or its address.
    schema, recipe, table, the columns, quiet and choices: as `tenfold.fit` takes them.
    Raises SchemaError for fewer than two targets, RecipeError for choices that make the comparison unfair.
    """
    from tenfold.studies.compare import compare_targets as run_study

    words = ColumnWords(image, category, number, target)
    asked = asked_training(schema, recipe, table, words, choices, machine)
    with showing(quiet, on_progress, on_note) as (listener, log):
        return run_study(
            asked.schema,
            cast(Recipe, asked.recipe),
            asked.table,
            of=of,
            folds=folds,
            repeats=repeats,
            runs=runs,
            on=on,
            reading=reading,
            machine=asked.machine,
            on_progress=listener,
            on_note=log,
        )
