"""One run: the schema chooses the wing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenfold.errors import SchemaError
from tenfold.jobs.history import record_run
from tenfold.recipe import FactorRecipe, Recipe
from tenfold.schema import Schema

if TYPE_CHECKING:
    from tenfold.jobs.netrun import NetworkRun
    from tenfold.jobs.ratings import RatingsRun


def fit(
    schema: Schema,
    recipe: Recipe | FactorRecipe,
    table: Any,
    *,
    run: str | os.PathLike[str] | None = None,
    **options: Any,
) -> NetworkRun | RatingsRun:
    """Train on the rows of a table and leave a run folder.

    schema: two id columns and a rating make a recommender; image columns make a classifier.
    recipe: a `FactorRecipe` for ratings, a `Recipe` for everything else.
    table: a path, a data frame, a mapping of columns, a folder of pictures, or a `Table`.
    run: the folder to make; an older run of that name stays until this one has finished. Where it is not
        given, the next free number under ``runs/``.
    options: as the wing takes them: ``resume``, ``reading``, ``machine``, ``on_progress``, ``on_note``.
    """
    run = _next_run() if run is None else run
    if schema.ids:
        if not isinstance(recipe, FactorRecipe):
            raise SchemaError(
                "a schema with id columns is fitted by a FactorRecipe", fix="give a FactorRecipe()"
            )
        from tenfold.jobs.ratingsfit import fit_ratings_run

        return _recorded(fit_ratings_run(schema, recipe, table, run=run, **options), options)
    if not isinstance(recipe, Recipe):
        raise SchemaError("a schema without id columns is fitted by a Recipe", fix="give a Recipe()")
    from tenfold.jobs.netfit import fit_network_run

    return _recorded(fit_network_run(schema, recipe, table, run=run, **options), options)


def _recorded(run: Any, options: Mapping[str, Any]) -> Any:
    """The run, after it is added to the history beside it."""
    tell = options.get("on_note")
    for note in record_run(run.path):
        if tell is not None:
            tell(note)
    return run


def _next_run() -> Path:
    taken = {entry.name.partition(".")[0] for entry in Path("runs").glob("*")}
    return Path("runs") / next(name for name in (f"{number:03d}" for number in count(1)) if name not in taken)
