"""Live spreadsheets of a run of either wing: how a loss, or a predicted rating, comes about."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tenfold.collab.predict import Scorer, as_ids, locate
from tenfold.errors import OutputError, RatingsError, RecipeError, did_you_mean
from tenfold.jobs.predict import load_run
from tenfold.jobs.ratings import RatingsRun
from tenfold.out.crosstab import ExplainedRatings, build_ratings_book

if TYPE_CHECKING:
    from tenfold.out.lossbook import ExplainedRows

__all__ = ["explain", "explain_ratings"]

#: Where the workbook goes when nothing is said.
NAME = "explain.xlsx"


def explain(
    run: Any,
    rows: Sequence[str] = (),
    *,
    output: str | os.PathLike[str] | None = None,
    table: Any = None,
    items: Sequence[str] = (),
    n: int | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Write a workbook whose formulas compute a run's answers and losses again.

    run: a run, or its folder.  output: an ``.xlsx`` file; ``explain.xlsx`` in the run folder where not given.
    rows: ids of rows, of a ratings run of users; telling ones where none is given.  items: of a ratings run.
    table: where the rows stand, if not in the training's table.  n: rows, or users and items, at most.
    options: of `netexplain.explain_network`: ``reading``, ``device``.
    Returns what ``tenfold explain --json`` prints (docs/formats.md).
    """
    run = load_run(run) if isinstance(run, (str, os.PathLike)) else run
    path = Path(output) if output is not None else Path(run.path) / NAME
    if path.suffix.lower() != ".xlsx":
        raise OutputError(f"{path}: workbooks are written as .xlsx", fix="name it book.xlsx")
    if n is not None and n < 1:
        raise RecipeError(f"n = {n}: one row at least is explained", fix="give n = 12")
    if isinstance(run, RatingsRun):
        if table is not None:
            raise RecipeError("a ratings run is explained by its own factors", fix="leave out --table")
        found = explain_ratings(run, rows, items, n=n or 12)
        book = build_ratings_book(found)
        book.write(path)
        return {
            **_ratings_record(found, run),
            "output": str(path),
            "sheets": [one.name for one in book.sheets],
        }
    if items:
        raise RecipeError("this run has no items", fix="leave out --item")
    kind = getattr(run, "about", {}).get("kind")
    if kind != "network":
        raise RecipeError(
            f"{run.path} is a run of kind {kind!r}, whose arithmetic is not one last layer's",
            fix="of an ensemble explain a member: RUN/members/NAME; of pairs, a run of --method sgd",
        )
    from tenfold.jobs.netexplain import explain_network
    from tenfold.out.lossbook import build_loss_book

    rows_found = explain_network(run, rows, table=table, n=n or 12, **options)
    book = build_loss_book(rows_found)
    book.write(path)
    return {**_rows_record(rows_found, run), "output": str(path), "sheets": [one.name for one in book.sheets]}


def explain_ratings(
    run: RatingsRun, users: Sequence[str] = (), items: Sequence[str] = (), *, n: int = 12
) -> ExplainedRatings:
    """Some users and items of a ratings run: those asked for, else the most active and the most rated.

    Raises RatingsError with the ids that the run does not know.
    """
    model, scorer = run.model, Scorer(run.model)
    given, received = np.diff(model.seen_start), np.bincount(model.seen_items, minlength=len(model.items))
    rows = _places("users", users, model.users, np.asarray(given), n)
    columns = _places("items", items, model.items, received, n)
    rating = np.full((len(rows), len(columns)), np.nan)
    column_of = np.full(len(model.items), -1)
    column_of[columns] = np.arange(len(columns))
    for row, user in enumerate(rows):
        own = slice(model.seen_start[user], model.seen_start[user + 1])
        place = column_of[model.seen_items[own]]
        rating[row, place[place >= 0]] = model.seen_ratings[own][place >= 0]
    predicted, _ = scorer.scores(np.repeat(rows, len(columns)), np.tile(columns, len(rows)))
    notes = []
    if model.implicit:
        notes.append("a run of events: scores rank items, and are no ratings; errors mean little")
    if "time_lengths" in model.extra:
        notes.append("the run knows of times; these predictions are of no certain moment")
    scale = None if model.implicit else (float(model.scale[0]), float(model.scale[1]))
    return ExplainedRatings(
        run=str(run.path),
        trained=[
            f"method {model.method}; {len(model.seen_items)} ratings of {len(model.items)} items by "
            f"{len(model.users)} users; {model.item_factors.shape[1]} factors",
            f"shown are {len(rows)} users by {len(columns)} items"
            + ("" if users else ", the most active ones") + ("" if items else ", the most rated ones"),
        ],
        users=[str(one) for one in model.users[rows]],
        items=[str(one) for one in model.items[columns]],
        names=[str(model.item_names.get(one) or one) for one in model.items[columns]],
        rating=rating,
        mean=float(model.mean),
        user_bias=model.user_bias[rows].astype(np.float64),
        item_bias=model.item_bias[columns].astype(np.float64),
        user_factors=model.user_factors[rows].astype(np.float64),
        item_factors=model.item_factors[columns].astype(np.float64),
        range=model.sigmoid_range,
        scale=scale,
        predicted=predicted.reshape(rating.shape).astype(np.float64),
        notes=tuple(notes),
    )  # fmt: skip


def _places(what: str, wanted: Sequence[str], known: Any, count: Any, n: int) -> Any:
    """Places of the ids asked for, each once; else of the n that have most ratings."""
    if not wanted:
        # Sorting is stable: of equally busy ones the first in the file comes first, on every machine.
        return np.argsort(-count, kind="stable")[:n]
    ids = as_ids(list(wanted))
    found = locate(ids, known)
    strange = [str(one) for one, place in zip(ids, found, strict=True) if place < 0]
    if strange:
        raise RatingsError(
            f"{len(strange)} of {len(ids)} {what} are unknown to this run",
            problems=[f"{one!r}: {did_you_mean(one, known)}" for one in strange],
            fix=f"give ids of {what} that it was trained on",
        )
    return np.array(list(dict.fromkeys(found.tolist())), dtype=np.int64)


def _ratings_record(found: ExplainedRatings, run: RatingsRun) -> dict[str, Any]:
    return {
        "run": str(run.path),
        "kind": "ratings",
        "users": list(found.users),
        "items": list(found.items),
        "rated": int((~np.isnan(found.rating)).sum()),
        "rmse": found.rmse,
        "largest_difference": found.gap,
        "notes": list(found.notes),
    }


def _rows_record(found: ExplainedRows, run: Any) -> dict[str, Any]:
    rows = []
    for row, (name, why) in enumerate(zip(found.ids, found.why, strict=True)):
        own = {}
        for target in found.targets:
            answer = target.answers[row]
            own[target.name] = {
                "label": target.label_words[row] or None,
                "raw": target.raw[row].tolist(),
                ("number" if target.kind == "number" else "probabilities"): (
                    float(answer[0])
                    if target.kind == "number"
                    else dict(zip(target.classes, answer.tolist(), strict=True))
                ),
                "loss": float(target.losses[row]) if target.weights[row] else None,
            }
        rows.append({"id": name, "why": why, "targets": own})
    targets = {
        one.name: {"kind": one.kind, "loss": one.mean_loss, "weight": found.weight_of(one)}
        for one in found.targets
    }
    return {
        "run": str(run.path),
        "kind": "network",
        "rows": rows,
        "targets": targets,
        "loss": found.loss,
        "notes": list(found.notes),
    }
