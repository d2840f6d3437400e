"""One run: the schema chooses the wing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenfold.errors import SchemaError
from tenfold.recipe import AnyRecipe, FactorRecipe, RatingNetworkRecipe, Recipe
from tenfold.reports.report import report_finished
from tenfold.runs.history import record_run
from tenfold.schema import Schema

if TYPE_CHECKING:
    from tenfold.networks.run import NetworkRun
    from tenfold.recommenders.factors import RatingsRun


def fit(
    schema: Schema,
    recipe: AnyRecipe,
    table: Any,
    *,
    run: str | os.PathLike[str] | None = None,
    report: bool = True,
    **options: Any,
) -> NetworkRun | RatingsRun:
    """Train on the rows of a table and leave a run folder.

    schema: two id columns and a rating make a recommender; other inputs are for networks.
    recipe: a `FactorRecipe` for ratings, or a `RatingNetworkRecipe` for a network of them; else a `Recipe`.
    table: a path, a data frame, a mapping of columns, a folder of pictures, or a `Table`.
    run: the folder to make; an older run of that name stays until this one has finished. Where it is not
        given, the next free number under ``runs/``.
    report: leave the run's page in its folder, too: ``report.html``.
    options: as the wing takes them: ``resume``, ``reading``, ``machine``, ``on_progress``, ``on_note``.
    """
    run = _next_run() if run is None else run
    if schema.rated and isinstance(recipe, Recipe | RatingNetworkRecipe):
        from tenfold.recommenders.network_fit import fit_pair_run

        return _recorded(fit_pair_run(schema, recipe, table, run=run, **options), options, report)
    if schema.rated:
        if not isinstance(recipe, FactorRecipe):
            raise SchemaError("a schema of ratings is fitted by a FactorRecipe", fix="give a FactorRecipe()")
        from tenfold.recommenders.factors_fit import fit_ratings_run

        return _recorded(fit_ratings_run(schema, recipe, table, run=run, **options), options, report)
    if not isinstance(recipe, Recipe):
        raise SchemaError("a schema without id columns is fitted by a Recipe", fix="give a Recipe()")
    from tenfold.networks.fit import fit_network_run

    return _recorded(fit_network_run(schema, recipe, table, run=run, **options), options, report)


def _recorded(run: Any, options: Mapping[str, Any], report: bool) -> Any:
    """The run, after it is added to the history beside it and its page is written."""
    tell = options.get("on_note")
    notes = [*record_run(run.path), *(report_finished(run) if report else ())]
    for note in notes if tell is not None else ():
        tell(note)
    return run


def _next_run() -> Path:
    taken = {entry.name.partition(".")[0] for entry in Path("runs").glob("*")}
    return Path("runs") / next(name for name in (f"{number:03d}" for number in count(1)) if name not in taken)
