"""The class that opens each kind of run, and the job that fits each recipe.

Only this file names what lies on higher floors, by text. It loads a class when a run of its kind is opened or
fitted: ratings never wait for torch.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Unpack, cast

from tenfold.errors import RecipeError, RunError, SchemaError
from tenfold.processes import this_rank
from tenfold.recipe import AnyRecipe, FactorRecipe, RatingNetworkRecipe, Recipe
from tenfold.runs.folder import read_run
from tenfold.runs.job import FitJob
from tenfold.runs.options import AS_TRAINED, FitOptions, PredictChanges, PredictOptions, Reading
from tenfold.runs.record import RunRecord
from tenfold.runs.run import Ensemble, Run
from tenfold.runs.weights import check_weights
from tenfold.schema import Schema
from tenfold.values import PairPredictions, Predictions

#: `RunRecord.run_kind` -> the class of such runs.
KINDS = {
    "network": "tenfold.networks.run:NetworkRun",
    "ratings": "tenfold.recommenders.factors:FactorRun",
    "events": "tenfold.recommenders.items:ItemRun",
    "pairs": "tenfold.recommenders.network:RatingNetworkRun",
    "blend of network": "tenfold.ensembles.networks:NetworkEnsemble",
    "blend of ratings": "tenfold.ensembles.recommenders:RecommenderBlend",
}
#: Class of a recipe -> the job that fits it.
JOBS: dict[type[AnyRecipe], str] = {
    Recipe: "tenfold.networks.fit:NetworkFit",
    FactorRecipe: "tenfold.recommenders.factors:FactorFit",
    RatingNetworkRecipe: "tenfold.recommenders.network_fit:RatingNetworkFit",
}
#: Class of a recipe -> fields of `FitOptions`, beside the reading, and of `Machine` that its job takes.
OPTIONS: dict[type[AnyRecipe], tuple[str, ...]] = {
    Recipe: ("device", "micro_batch", "budget", "checkpoint", "offload", "probe"),
    FactorRecipe: ("time_format",),
    RatingNetworkRecipe: ("device", "micro_batch"),
}


def _load(address: str) -> object:
    module, _, name = address.partition(":")
    return getattr(import_module(module), name)


def load_run(path: str | os.PathLike[str]) -> Run:
    """Open a finished run folder. Its files are checked against their checksums and cannot run code.

    Raises RunError where there is no run, or it is damaged, unfinished or of a later version.
    """
    return open_run(*read_run(path))


def open_run(folder: str | os.PathLike[str], record: RunRecord) -> Run:
    """Open the run in a folder whose files have been checked, or were just written."""
    if record.run_kind not in KINDS:
        raise RunError(
            f"{folder} is a run of an unknown kind", found=repr(record.kind), fix="upgrade tenfold"
        )
    return cast("type[Run]", _load(KINDS[record.run_kind])).open(Path(folder), record)


def open_recommender(path: Run | str | os.PathLike[str]) -> Run:
    """Open the recommender in a folder; RunError where it is a run of another kind."""
    run = opened(path)
    if not run.schema.rated:
        raise RunError(
            f"{os.fspath(path)} is not a run of ratings",
            fix="give a run made with: tenfold fit TABLE --user COLUMN --item COLUMN -o RUN",
        )
    return run


def predict(
    run: Run | str | os.PathLike[str],
    source: object,
    options: PredictOptions = AS_TRAINED,
    **changes: Unpack[PredictChanges],
) -> Predictions | PairPredictions:
    """Predict a table or a folder of pictures by a run, or the run in a folder; see `Run.predict`."""
    return opened(run).predict(source, options, **changes)


def evaluate(
    run: Run | str | os.PathLike[str],
    source: object,
    options: PredictOptions = AS_TRAINED,
    **changes: Unpack[PredictChanges],
) -> dict[str, Any]:
    """Score a run, or the run in a folder, on rows whose answer is known; see `Run.evaluate`."""
    return opened(run).evaluate(source, options, **changes)


def opened(run: Run | str | os.PathLike[str]) -> Run:
    """A run as it is, or the run in a folder."""
    return run if isinstance(run, Run) else load_run(run)


def ensemble_class(kind: str) -> type[Ensemble]:
    """The class of ensembles of a kind."""
    return cast("type[Ensemble]", _load(KINDS[kind]))


def recipe_class(schema: Schema, *, network: bool = False) -> type[AnyRecipe]:
    """The class of the recipe that fits a schema. network: for ratings, too, as further columns need."""
    if not schema.rated:
        return Recipe
    return RatingNetworkRecipe if network or len(schema.columns) > 2 else FactorRecipe


def fitting_recipe(schema: Schema, recipe: AnyRecipe) -> AnyRecipe:
    """The recipe as the schema's job takes it: for ratings, the fields that a plain recipe sets."""
    if schema.rated and isinstance(recipe, Recipe):
        return RatingNetworkRecipe(**{name: getattr(recipe, name) for name in recipe.model_fields_set})
    return recipe


def job_for(schema: Schema, recipe: AnyRecipe, table: object, options: FitOptions) -> FitJob:
    """The training of a schema and a recipe. Raises SchemaError where they do not go together."""
    recipe = fitting_recipe(schema, recipe)
    if options.time_limit is not None and not isinstance(recipe, Recipe):
        raise RecipeError("a time limit is for pictures and tables, not for ratings", fix="leave it out")
    if this_rank().count > 1 and not isinstance(recipe, Recipe):
        raise RecipeError(
            "several devices share a training of pictures or tables, not one of ratings",
            fix="leave out --devices, and start it without torchrun",
        )
    if schema.rated != isinstance(recipe, FactorRecipe | RatingNetworkRecipe):
        what, name = ("of ratings", "FactorRecipe") if schema.rated else ("without id columns", "Recipe")
        raise SchemaError(f"a schema {what} is fitted by a {name}", fix=f"give a {name}()")
    if isinstance(recipe, Recipe) and isinstance(table, str | os.PathLike):
        # Before torch is loaded, so that a mistyped column or folder is told at once.
        check = cast(
            Callable[[Schema, object, Reading], object], _load("tenfold.networks.inputs:open_source")
        )
        check(schema, table, options.reading)
        if schema.images:
            check_weights(recipe.weights, recipe.arch)
    make = cast(Callable[..., FitJob], _load(JOBS[type(recipe)]))
    return make(schema, recipe, table, options)
