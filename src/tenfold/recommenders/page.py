"""The page of ratings: factors, a network, or a blend; scores, what was fitted to what, maps, members."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tenfold.collab.explain import item_labels
from tenfold.collab.pack import unpack_factor_model
from tenfold.data.tables.table import read_parquet_columns
from tenfold.reports.charts import Line, line_chart
from tenfold.reports.html import Cell, Charts, Grid, Notes, Page, Part, Section
from tenfold.reports.maps import named_map
from tenfold.reports.members import members_section
from tenfold.reports.parts import (
    confusion_part,
    curve_sections,
    memory_parts,
    top_losses,
    top_losses_grid,
)
from tenfold.runs.folder import none_to_nan, read_arrays
from tenfold.runs.heldout import TargetEvaluation, evaluate_target, free_names
from tenfold.runs.run import Run
from tenfold.schema import NumberTarget, Schema
from tenfold.values import FactorModel

__all__ = ["blend_page", "held_out_names", "ratings_page"]

#: Items and users that a map holds, and that a table lists: those with most ratings.
MAPPED, LISTED = 600, 10
#: Different ratings up to which each has a line.
FEW = 12


def ratings_page(run: Run, *, worst: int = 12) -> Page:
    """The page of factors, or of a network of ratings.

    worst: held-out ratings with the highest error that are listed.
    """
    folder, about, schema = run.path, run.record.values, run.schema
    model = unpack_factor_model(*read_arrays(folder / "model.safetensors"))
    network, recipe = about.get("kind") == "pairs", about.get("identity", {}).get("recipe", {})
    sections = [_scores_section(about), _fitted_section(about, schema, model)]
    if network:
        sections += curve_sections(run.history, recipe, [about["target"]])
        sections += _held_out_sections(folder, about["target"], schema, model, worst)
    sections += [_counts_section(model), *_map_sections(model, network, biased=recipe.get("body") == "dot")]
    memory = memory_parts({"peak_bytes": about.get("peak_bytes")}, ())
    if memory:
        grid = Grid(("", ""), [["most that the process held", f"{about['peak_bytes'] / 2**30:.2f} GiB"]])
        sections.append(Section("Memory", "What was measured.", (grid,)))
    how = f"network ({recipe.get('body')})" if network else f"method {about['method']}"
    lead = f"{how}; {len(model.seen_items)} ratings of {len(model.items)} items by {len(model.users)} users"
    return Page(f"Report of {folder.name}", lead, sections)


def _map_sections(model: FactorModel, network: bool, *, biased: bool) -> list[Section]:
    """Maps of the items and users that have most ratings. biased: a bias stands first in each embedding."""
    received, given = _counts(model)
    maps = []
    for what, factors, ids, count in (
        ("items", model.item_factors, model.items, received),
        ("users", model.user_factors, model.users, given),
    ):
        own = factors[:, 1:] if biased else factors
        most = np.argsort(-count, kind="stable")[:MAPPED]
        if len(most) < 2 or own.shape[1] < 1 or not np.ptp(own[most], axis=0).any():
            continue
        names = [*map(item_labels(model) if what == "items" else str, ids[most])]
        notes = [f"{int(count[one])} ratings" for one in most]
        title = f"{what}: the {len(most)} with most ratings"
        maps.append(named_map(own[most], names, title, sizes=count[most], notes=notes))
    if not maps:
        return []
    kind = "embeddings" if network else "factors"
    text = (
        f"{kind.capitalize()} on the two directions in which they differ most (principal components). Items "
        "near each other please the same people. Point at a dot for its name."
    )
    return [Section(f"Maps of the {kind}", text, (Charts(maps),))]


def _counts(model: FactorModel) -> tuple[Any, Any]:
    """How many ratings each item has, and each user."""
    return np.bincount(model.seen_items, minlength=len(model.items)), np.diff(model.seen_start)


def held_out_names(schema: Schema, target: str) -> list[str]:
    """Columns of a network's held-out ratings: name, row, rating, what was predicted of it, user and item.

    A rating, or a user, may itself be called id or row (see `telling.free_names`).
    """
    return free_names(("id", "row", target, f"{target}:predicted", *(one.name for one in schema.ids)))


def _held_out_sections(
    folder: Path, target: str, schema: Schema, model: FactorModel, worst: int
) -> list[Section]:
    """Held-out ratings beside what was predicted of them, where the run keeps them."""
    path = folder / "validation.parquet"
    if not path.exists():
        return []
    columns = read_parquet_columns(path)
    name, _, label, answer, *both = held_out_names(schema, target)
    # BlendEvaluation under a name that nothing else has, and shown under its own.
    judged = {"rating": columns.get(label), "rating:predicted": columns.get(answer)}
    one = evaluate_target(judged, NumberTarget(name="rating"), ())
    if one is None or one.truth is None or not one.known.any():
        return []
    one = replace(one, name=target)
    users, items = (columns.get(column) for column in both)
    ids = [str(text) for text in columns[name]]
    if users is not None and items is not None:
        called = item_labels(model)
        ids = [f"user {user}, {called(item)}" for user, item in zip(users, items, strict=True)]
    parts = [*confusion_part(one, ids), *_by_rating(one)]
    text = f"What was predicted of {len(ids)} ratings that did not train (at most 1000 are drawn)."
    costly = top_losses_grid(one, top_losses(one, worst), ids)
    return [
        Section("Right and wrong", text, parts),
        Section("The highest losses", "The held-out ratings that were missed most.", (costly,)),
    ]


def _by_rating(one: TargetEvaluation) -> list[Part]:
    """How far off answers are at each rating, where there are few different ones."""
    assert one.truth is not None and one.guess is not None
    rows: list[list[Cell | str]] = []
    for value in np.unique(one.truth[one.known]):
        own = one.truth == value
        numbers = (one.guess[own].mean(), one.loss[own].mean())
        rows.append([f"{value:g}", Cell(str(int(own.sum()))), *(Cell(f"{number:.2f}") for number in numbers)])
    heads = ("rating", "rows", "mean answer", "off by")
    return [Grid(heads, rows, title="by rating")] if len(rows) <= FEW else []


def blend_page(run: Run) -> Page:
    """Members, and what each is; what is measured of a blend of ratings stands in `evaluate`."""
    rows: list[list[Cell | str]] = []
    for member in run.members:
        own = member.runs[0].record
        counts = (Cell(str(count)) for count in (own.rows, own.valid_rows))
        path = os.path.normpath(member.runs[0].path)
        rows.append([member.name, own.method, *counts, path])
    scored = (
        "Runs of factors keep no held-out answers, and each run may have held out others, so the blend is "
        "not scored here: tenfold evaluate scores it, and each member, on ratings that none has seen."
    )
    heads = ("member", "method", "ratings", "held out", "run folder")
    what = Section("What they are", "Each has a report of its own.", (Grid(heads, rows),))
    members = members_section(run.record.values, run.path)
    sections = [Section(members.title, f"{members.text} {scored}", members.parts), what]
    lead = f"blend of {len(rows)} runs of ratings, whose answers are averaged by weight"
    return Page(f"Report of {run.path.name}", lead, sections)


def _scores_section(about: Mapping[str, Any]) -> Section:
    """Errors and lists on the held-out ratings, beside what they must beat."""
    parts: list[Part] = []
    for name, scores in about.get("targets", {}).items():
        beside = {"this run": scores, **scores.get("baselines", {})}
        kept = [one for one in ("rmse", "mae") if any(one in some for some in beside.values())]
        if kept:
            rows = [
                [who.replace("_", " "), *(_cell(some.get(one)) for one in kept)]
                for who, some in beside.items()
            ]
            parts.append(Grid(("", *(one.upper() for one in kept)), rows, title=name))
        if "lists" in scores:
            lists = scores["lists"]
            both = {"this run": lists, **lists.get("baselines", {})}
            kept = [one for one in ("precision", "recall", "hit", "ndcg", "coverage") if one in lists]
            rows = [
                [who.replace("_", " "), *(_cell(some.get(one)) for one in kept)] for who, some in both.items()
            ]
            parts.append(Grid(("", *kept), rows, title=f"lists of {lists['n']}"))
    if not parts:
        return Section(
            "Scores", "No ratings were held out, so nothing was measured. Fit with --valid 0.1 to see."
        )
    text = f"On {about.get('valid_rows', 0)} ratings that did not train, beside what a run has to beat."
    return Section("Scores", text, tuple(parts))


def _cell(value: Any) -> Cell:
    number = none_to_nan(value)
    return Cell("" if number != number else f"{number:.4f}")


def _fitted_section(about: Mapping[str, Any], schema: Schema, model: FactorModel) -> Section:
    recipe, network = about.get("identity", {}).get("recipe", {}), about.get("kind") == "pairs"
    facts = {
        "ratings": about.get("rows"),
        "to fit": about.get("train_rows"),
        "held out": about.get("valid_rows"),
        "users": about.get("users"),
        "items": about.get("items"),
        "kind": about.get("kind_of_ratings"),
        "scale": " to ".join(f"{one:g}" for one in about.get("scale", ())),
        "method": about.get("method"),
        "body": recipe.get("body"),
        "hidden layers": ", ".join(map(str, recipe.get("hidden", ())))
        if recipe.get("body") == "mlp"
        else None,
        "embedding" if network else "factors": model.item_factors.shape[1] - (recipe.get("body") == "dot"),
        "batch": recipe.get("batch_size"),
        "epochs": recipe.get("epochs"),
        "device": about.get("device"),
        "time": f"{about.get('seconds', 0):.1f} s",
        "finished": about.get("finished"),
        "made by": ", ".join(f"{name} {one}" for name, one in about.get("versions", {}).items()),
    }
    rows: list[list[Cell | str]] = [
        [name, str(value)] for name, value in facts.items() if value not in (None, "")
    ]
    chosen = [f"{name} = {value}" for name, value in recipe.items() if value is not None]
    said = [str(one) for one in about.get("notes", ())]
    parts: list[Part] = [Grid(("", ""), rows)]
    parts += [Notes("the whole recipe", chosen)] if chosen else []
    parts += [Notes(f"{len(said)} things that were decided or noticed", said)] if said else []
    columns = [f"{one.name}: {one.kind}" for one in schema.inputs]
    columns += [f"{one.name or 'event'}: {one.kind}" for one in schema.targets]
    return Section("What was fitted to what", "; ".join(columns), tuple(parts))


def _counts_section(model: FactorModel) -> Section:
    """How unequal ratings are spread over users and items, and who and what has most of them."""
    received, given = _counts(model)
    owner = np.repeat(np.arange(len(model.users)), given)
    charts, tables = [], []
    for what, count, where in (("users", given, owner), ("items", received, model.seen_items)):
        order = np.sort(count)[::-1]
        place = np.unique(np.geomspace(1, max(1, len(order)), 200).astype(int)) - 1 if len(order) else []
        line = Line(what, np.asarray(place) + 1, order[place] if len(order) else [])
        title = f"ratings of the {what}, the busiest first"
        charts.append(line_chart([line], title=title, x_name=f"{what}, in this order", zero=True))
        total = np.bincount(where, weights=model.seen_ratings, minlength=len(count))
        ids, called = (model.users, str) if what == "users" else (model.items, item_labels(model))
        rows: list[list[Cell | str]] = [
            [
                called(ids[one]),
                Cell(str(int(count[one]))),
                *([] if model.implicit else [Cell(f"{total[one] / max(1, count[one]):.2f}")]),
            ]
            for one in np.argsort(-count, kind="stable")[:LISTED]
        ]
        heads = (what[:-1], "ratings", *([] if model.implicit else ["mean"]))
        tables.append(Grid(heads, rows, title=f"{what} with most ratings"))
    text = "A few have many ratings, most have few. Counted are those of the training."
    return Section("Who has rated, and what", text, (Charts(charts), *tables))
