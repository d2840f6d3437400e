"""Live spreadsheets of factors: how a predicted rating comes about."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.collab.explain import item_labels
from tenfold.collab.predict import Scorer, as_ids, find_titles, locate, near_items, ratings_between
from tenfold.errors import RatingsError, RecipeError, did_you_mean
from tenfold.runs.options import ExplainOptions
from tenfold.runs.run import Explanation, OpenedRun
from tenfold.values import FactorModel
from tenfold.workbooks.ratings import ExplainedRatings, build_ratings_book

__all__ = ["explain_factors", "explain_ratings", "factor_parts", "find_places"]

#: (places of users, places of items) -> what `workbooks.ratings.ExplainedRatings` has of them.
Parts = Callable[[NDArray[np.int64], NDArray[np.int64]], dict[str, Any]]


def explain_factors(
    run: OpenedRun, model: FactorModel, parts: Parts, rows: Sequence[str], options: ExplainOptions
) -> Explanation:
    """The workbook of factors. rows: users.  model, parts: as of `explain_ratings`.

    Raises RecipeError where a table is given: factors are explained by themselves.
    """
    if options.table is not None:
        raise RecipeError("a ratings run is explained by its own factors", fix="leave out --table")
    found = explain_ratings(str(run.path), model, parts, rows, options.items, n=options.n)
    return Explanation(build_ratings_book(found), found.record(run.record.kind))


def explain_ratings(
    name: str,
    model: FactorModel,
    parts: Parts,
    users: Sequence[str] = (),
    items: Sequence[str] = (),
    *,
    n: int = 12,
) -> ExplainedRatings:
    """Some users and items of a run of factors: those asked for, else the most active and the most rated.

    model: who and what is known, and what was rated.  parts: what users and items have of the arithmetic.
    Raises RatingsError with the ids that the run does not know.
    """
    given, received = np.diff(model.seen_start), np.bincount(model.seen_items, minlength=len(model.items))
    rows = find_places("users", users, model.users, np.asarray(given), n)
    named, notes = find_titles(model, as_ids(list(items)))
    columns = find_places("items", named.tolist(), model.items, received, n, partial(near_items, model))
    found = parts(rows, columns)
    if model.implicit:
        notes.append("a run of events: scores rank items, and are no ratings; errors mean little")
    if "time_lengths" in model.extra:
        notes.append("the run knows of times; these predictions are of no certain moment")
    factors = found["item_factors"].shape[1]
    return ExplainedRatings(
        run=name,
        trained=[
            f"method {model.method}; {len(model.seen_items)} ratings of {len(model.items)} items by "
            f"{len(model.users)} users; {factors} factors",
            f"shown are {len(rows)} users by {len(columns)} items"
            + ("" if users else ", the most active ones") + ("" if items else ", the most rated ones"),
        ],
        users=[str(one) for one in model.users[rows]],
        items=[str(one) for one in model.items[columns]],
        names=[*map(item_labels(model), model.items[columns])],
        rating=ratings_between(model, rows, columns),
        notes=tuple(notes),
        **found,
    )  # fmt: skip


def factor_parts(model: FactorModel, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> dict[str, Any]:
    """A factor model's part of some users and items, as `workbooks.ratings.ExplainedRatings` has it."""
    predicted, _ = Scorer(model).scores(np.repeat(rows, len(columns)), np.tile(columns, len(rows)))
    return {
        "mean": float(model.mean),
        "user_bias": model.user_bias[rows].astype(np.float64),
        "item_bias": model.item_bias[columns].astype(np.float64),
        "user_factors": model.user_factors[rows].astype(np.float64),
        "item_factors": model.item_factors[columns].astype(np.float64),
        "range": model.sigmoid_range,
        "scale": None if model.implicit else (float(model.scale[0]), float(model.scale[1])),
        "predicted": predicted.reshape(len(rows), len(columns)).astype(np.float64),
    }


def find_places(
    what: str,
    wanted: Sequence[str],
    known: Any,
    count: Any,
    n: int,
    near: Callable[[str], str] | None = None,
) -> Any:
    """Places of the ids asked for, each once; else of the n that have most ratings.

    near: what may have been meant by an unknown one; by default, the id that is spelled most like it.
    """
    near = near or partial(did_you_mean, choices=known)
    if not wanted:
        # Sorting is stable: of equally busy ones the first in the file comes first, on every machine.
        return np.argsort(-count, kind="stable")[:n]
    ids = as_ids(list(wanted))
    found = locate(ids, known)
    strange = [str(one) for one, place in zip(ids, found, strict=True) if place < 0]
    if strange:
        raise RatingsError(
            f"{len(strange)} of {len(ids)} {what} are unknown to this run",
            problems=[f"{one!r}: {near(one)}" for one in strange],
            fix=f"give ids of {what} that it was trained on",
        )
    return np.array(list(dict.fromkeys(found.tolist())), dtype=np.int64)
