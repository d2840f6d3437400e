"""Live spreadsheets of a run of either wing: how a loss, or a predicted rating, comes about."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tenfold.collab.explain import item_labels
from tenfold.collab.predict import Scorer, as_ids, find_titles, locate, near_items, ratings_between
from tenfold.errors import OutputError, RatingsError, RecipeError, did_you_mean
from tenfold.studies.predict import load_run
from tenfold.targets.questions import NO_TAG
from tenfold.values import FactorModel
from tenfold.workbooks.ratings import ExplainedRatings, build_ratings_book
from tenfold.workbooks.rows import NO_LABEL, TargetRows

if TYPE_CHECKING:
    from tenfold.workbooks.blend import ExplainedBlend
    from tenfold.workbooks.lastlayer import ExplainedRows

__all__ = ["explain", "explain_ratings", "explained_rows"]

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
    options: of `networks.explain.explain_network`: ``reading``, ``device``; of a network of ratings those of
        `pairsexplain.explain_pairs`: ``table_options``, ``skip_bad``.
    Returns what ``tenfold explain --json`` prints (docs/formats.md).
    """
    run = load_run(run) if isinstance(run, (str, os.PathLike)) else run
    path = Path(output) if output is not None else Path(run.path) / NAME
    if path.suffix.lower() != ".xlsx":
        raise OutputError(f"{path}: workbooks are written as .xlsx", fix="name it book.xlsx")
    if n is not None and n < 1:
        raise RecipeError(f"n = {n}: one row at least is explained", fix="give n = 12")
    if run.schema.rated:
        return _explain_rated(run, rows, items, table, n or 12, path, **options)
    if items:
        raise RecipeError("this run has no items", fix="leave out --item")
    if run.about["kind"] == "blend":
        from tenfold.ensembles.explain import explain_blend
        from tenfold.workbooks.blend import build_blend_book

        blend_found = explain_blend(run, rows, table=table, n=n or 12, **options)
        book, record = build_blend_book(blend_found), _blend_record(blend_found, run)
    else:
        from tenfold.networks.explain import explain_network
        from tenfold.workbooks.lastlayer import build_loss_book

        rows_found = explain_network(run, rows, table=table, n=n or 12, **options)
        book, record = build_loss_book(rows_found), _rows_record(rows_found, run)
    book.write(path)
    return {**record, "output": str(path), "sheets": [one.name for one in book.sheets]}


def _explain_rated(
    run: Any, users: Sequence[str], items: Sequence[str], table: Any, n: int, path: Path, **options: Any
) -> dict[str, Any]:
    """A ratings run, a network of ratings, or the refusal of a blend of them."""
    kind, found = run.about["kind"], None
    if kind == "blend":
        raise RecipeError(
            f"{run.path} blends runs of ratings, each with factors of its own",
            fix=f"explain a member: {', '.join(os.path.normpath(one.path) for one in run.runs)}",
        )
    if kind == "pairs":
        from tenfold.recommenders.explain import explain_pairs, is_dot

        if not is_dot(run):
            places = [
                _places(what, wanted, known, None, n) if wanted else None
                for what, wanted, known in (
                    ("users", users, run.known.users),
                    ("items", items, run.known.items),
                )
            ]
            found = explain_pairs(run, *places, table=table, n=n, **options)
    if found is not None:
        from tenfold.workbooks.lastlayer import build_loss_book

        book, record = build_loss_book(found), _rows_record(found, run)
    else:
        if table is not None:
            raise RecipeError("a ratings run is explained by its own factors", fix="leave out --table")
        shown = explain_ratings(run, users, items, n=n)
        book, record = build_ratings_book(shown), _ratings_record(shown, run)
    book.write(path)
    return {**record, "output": str(path), "sheets": [one.name for one in book.sheets]}


def explain_ratings(
    run: Any, users: Sequence[str] = (), items: Sequence[str] = (), *, n: int = 12
) -> ExplainedRatings:
    """Some users and items of a run of factors: those asked for, else the most active and the most rated.

    run: a ratings run, or a network of ratings whose body is a dot product.
    Raises RatingsError with the ids that the run does not know.
    """
    network = run.about["kind"] == "pairs"
    model: FactorModel = run.known if network else run.model
    given, received = np.diff(model.seen_start), np.bincount(model.seen_items, minlength=len(model.items))
    rows = _places("users", users, model.users, np.asarray(given), n)
    named, said = find_titles(model, as_ids(list(items)))
    columns = _places("items", named.tolist(), model.items, received, n, partial(near_items, model))
    if network:
        from tenfold.recommenders.explain import dot_factors

        parts = dot_factors(run, rows, columns)
    else:
        parts = _factors(model, rows, columns)
    notes = said
    if model.implicit:
        notes.append("a run of events: scores rank items, and are no ratings; errors mean little")
    if "time_lengths" in model.extra:
        notes.append("the run knows of times; these predictions are of no certain moment")
    factors = parts["item_factors"].shape[1]
    return ExplainedRatings(
        run=str(run.path),
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
        **parts,
    )  # fmt: skip


def _factors(model: FactorModel, rows: Any, columns: Any) -> dict[str, Any]:
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


def _places(
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


def explained_rows(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What `explain` returned, as a table to look at: a line to each row and the target it was chosen for.

    A label is said to be missing, and an answer without tags to have none, as neither is an empty cell.
    """
    loss_name = "loss" if found["kind"] == "blend" else "training loss"
    lines = []
    for one in found.get("rows", ()):
        for name, target in one["targets"].items():
            # Chosen for one of several targets, a row is shown with that one.
            if ": " in one["why"] and not one["why"].startswith(f"{name}: "):
                continue
            answer, chance, loss = target["answer"], target.get("probabilities", {}), target["loss"]
            tags = isinstance(answer, list)
            said = ", ".join(answer) or NO_TAG if tags else answer
            line = {"row": one["id"], "target": name, "label": target["label"] or NO_LABEL}
            line |= {"answer": "none of these" if said == "" else said}
            line["probability"] = math.nan if tags else chance.get(answer, math.nan)
            line |= {loss_name: math.nan if loss is None else loss, "chosen because": one["why"]}
            lines.append(line)
    return lines


def _ratings_record(found: ExplainedRatings, run: Any) -> dict[str, Any]:
    return {
        "run": str(run.path),
        "kind": run.about["kind"],
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
        own = {
            target.name: {**_answer_record(target, row), "raw": target.raw[row].tolist()}
            for target in found.targets
        }
        rows.append({"id": name, "why": why, "targets": own})
    targets = {
        one.name: {"kind": one.kind.kind, "loss": one.mean_loss, "weight": found.weight_of(one)}
        for one in found.targets
    }
    return {
        "run": str(run.path),
        "kind": run.about["kind"],
        "rows": rows,
        "targets": targets,
        "loss": found.loss,
        "notes": list(found.notes),
    }


def _answer_record(target: TargetRows, row: int) -> dict[str, Any]:
    """What a target is in a row: its label, its answer, and the loss where the label is known."""
    return {
        "label": target.label_words[row] or None,
        "answer": target.decided[row],
        **target.kind.answer_record(target.answers[row]),
        "loss": float(target.losses[row]) if target.weights[row] else None,
    }


def _blend_record(found: ExplainedBlend, run: Any) -> dict[str, Any]:
    rows = []
    for row, (name, why) in enumerate(zip(found.ids, found.why, strict=True)):
        own = {
            one.rows.name: {
                **_answer_record(one.rows, row),
                "members": {
                    member: one.rows.kind.answer_record(given[row])
                    for member, given in zip(one.members, one.given, strict=True)
                },
            }
            for one in found.blended
        }
        rows.append({"id": name, "why": why, "targets": own})
    targets = {
        one.rows.name: {
            "kind": one.rows.kind.kind,
            "loss": one.rows.mean_loss,
            "weights": dict(zip(one.members, one.weights.tolist(), strict=True)),
        }
        for one in found.blended
    }
    return {
        "run": str(run.path),
        "kind": "blend",
        "rows": rows,
        "targets": targets,
        "notes": list(found.notes),
    }
