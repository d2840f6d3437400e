"""A workbook of factors: how a predicted rating comes about."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tenfold.collab.explain import item_labels
from tenfold.collab.ids import as_ids, find_items, locate, near_items, ratings_between
from tenfold.errors import RatingsError, RecipeError, did_you_mean
from tenfold.recommenders.run import RecommenderRun
from tenfold.runs.options import ExplainOptions
from tenfold.runs.run import Explanation
from tenfold.workbooks.ratings import ExplainedRatings, build_ratings_book

__all__ = ["explain_factors", "explain_ratings", "find_indices"]

Ints = NDArray[np.int64]


def explain_factors(run: RecommenderRun, users: Sequence[str], options: ExplainOptions) -> Explanation:
    """The workbook of some users and items of a run with scores that are products of factors.

    Raises RecipeError if a table is given: factors are explained by themselves.
    """
    if options.table is not None:
        raise RecipeError("a ratings run is explained by its own factors", fix="leave out --table")
    shown = explain_ratings(run, users, options.items, n=options.n)
    return Explanation(build_ratings_book(shown), shown.record(run.kind))


def explain_ratings(
    run: RecommenderRun, users: Sequence[str] = (), items: Sequence[str] = (), *, n: int = 12
) -> ExplainedRatings:
    """Some users and items: those that are asked for, else the most active and the most rated, n of each.

    Raises RatingsError with the ids that the run does not know.
    """
    model = run.model
    rows = find_indices("users", users, model.users, model.given, n)
    named, notes = find_items(model, as_ids(list(items)))
    near = partial(near_items, model)
    columns = find_indices("items", named.tolist(), model.items, model.received, n, near)
    if model.implicit:
        notes.append("a run of events: scores rank items and are not ratings; errors mean little")
    if model.extra.times is not None:
        notes.append("the run knows of times; these predictions are of no certain moment")
    predicted, _ = run.scorer.on("cpu").scores(np.repeat(rows, len(columns)), np.tile(columns, len(rows)), {})
    low, high = model.scale
    factors = model.item_factors.shape[1]
    return ExplainedRatings(
        run=str(run.path),
        trained=[
            f"method {run.record.method}; {len(model.seen_items)} ratings of {len(model.items)} items by "
            f"{len(model.users)} users; {factors} factors",
            f"shown are {len(rows)} users by {len(columns)} items"
            + ("" if users else ", the most active ones")
            + ("" if items else ", the most rated ones"),
        ],
        users=[str(user) for user in model.users[rows]],
        items=[str(item) for item in model.items[columns]],
        names=[*map(item_labels(model), model.items[columns])],
        rating=ratings_between(model, rows, columns),
        mean=float(model.mean),
        user_bias=model.user_bias[rows].astype(np.float64),
        item_bias=model.item_bias[columns].astype(np.float64),
        user_factors=model.user_factors[rows].astype(np.float64),
        item_factors=model.item_factors[columns].astype(np.float64),
        range=model.sigmoid_range,
        # Where all ratings are alike, nothing is cut.
        scale=None if model.implicit or not low < high else (float(low), float(high)),
        predicted=predicted.reshape(len(rows), len(columns)).astype(np.float64),
        notes=tuple(notes),
    )


def find_indices(
    what: str,
    wanted: Sequence[str],
    known: NDArray[np.object_],
    count: Ints,
    n: int,
    near: Callable[[str], str] | None = None,
) -> Ints:
    """Indices of the ids asked for, each once; else of the n that have most ratings.

    near: a suggestion for an unknown id; by default, the id that is spelled most like it.
    """
    near = near or partial(did_you_mean, choices=known)
    if not wanted:
        # Sorting is stable: of equally busy users the first in the file comes first, on every machine.
        return np.argsort(-count, kind="stable")[:n]
    ids = as_ids(list(wanted))
    index = locate(ids, known)
    unknown = [str(name) for name in ids[index < 0]]
    if unknown:
        raise RatingsError(
            f"{len(unknown)} of {len(ids)} {what} are unknown to this run",
            problems=[f"{name!r}: {near(name)}" for name in unknown],
            fix=f"give ids of {what} that it was trained on",
        )
    return np.array(list(dict.fromkeys(index.tolist())), dtype=np.int64)
