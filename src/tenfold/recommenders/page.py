"""The page of a recommender: scores, what was fitted, maps, members."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tenfold.collab.explain import item_labels
from tenfold.data.tables.table import read_parquet_columns
from tenfold.recommenders.run import RecommenderRun, held_out_names
from tenfold.reports.charts import Line, line_chart
from tenfold.reports.html import Cell, Charts, Grid, Page, Part, Section
from tenfold.reports.maps import named_map
from tenfold.reports.members import members_section
from tenfold.reports.parts import confusion_part, curve_sections, facts_parts, top_losses, top_losses_grid
from tenfold.runs.heldout import TargetEvaluation, evaluate_target
from tenfold.runs.record import RunRecord
from tenfold.schema import NumberTarget
from tenfold.values import Interactions, read_score, read_scores

__all__ = ["blend_page", "network_sections", "ratings_page"]

#: Items and users of a map, and of a table: those with most ratings.
MAPPED, LISTED = 600, 10
#: Different ratings up to which each has a line.
FEW = 12


def ratings_page(
    run: RecommenderRun,
    how: str,
    vectors: Mapping[str, NDArray[np.float32]],
    what: str,
    own_sections: Sequence[Section] = (),
) -> Page:
    """The page of a single recommender.

    how: its method in words.  vectors: side -> vectors; what: their name.  own_sections: of this kind of run.
    """
    known, record = run.interactions, run.record
    sections = [
        _scores_section(record),
        _fitted_section(run, what, vectors["item"].shape[1]),
        *own_sections,
        _counts_section(known),
        *_map_sections(known, vectors, what),
    ]
    if record.peak_bytes:
        grid = Grid(("", ""), [["most that the process held", f"{record.peak_bytes / 2**30:.2f} GiB"]])
        sections.append(Section("Memory", "What was measured.", (grid,)))
    lead = f"{how}; {len(known.seen_items)} ratings of {len(known.items)} items by {len(known.users)} users"
    return Page(f"Report of {run.path.name}", lead, sections)


def network_sections(run: RecommenderRun, worst: int) -> list[Section]:
    """Of a network: its curves, and held-out ratings with their predictions.

    worst: how many held-out ratings with the highest error to list.
    """
    curves = curve_sections(run.history, run.record.trained_recipe, [run.record.target])
    return [*curves, *_held_out_sections(run, worst)]


def _map_sections(
    known: Interactions, vectors: Mapping[str, NDArray[np.float32]], what: str
) -> list[Section]:
    """Maps of the items and users that have most ratings."""
    maps = []
    for side, ids, count in (("item", known.items, known.received), ("user", known.users, known.given)):
        own, most = vectors[side], np.argsort(-count, kind="stable")[:MAPPED]
        if len(most) < 2 or own.shape[1] < 1 or not np.ptp(own[most], axis=0).any():
            continue
        names = [*map(item_labels(known) if side == "item" else str, ids[most])]
        notes = [f"{int(count[row])} ratings" for row in most]
        title = f"{side}s: the {len(most)} with most ratings"
        maps.append(named_map(own[most], names, title, sizes=count[most], notes=notes))
    if not maps:
        return []
    text = (
        f"{what.capitalize()} on the two directions in which they differ most (principal components). Items "
        "near each other please the same people. Point at a dot for its name."
    )
    return [Section(f"Maps of the {what}", text, (Charts(maps),))]


def _held_out_sections(run: RecommenderRun, worst: int) -> list[Section]:
    """Held-out ratings with their predictions, if the run keeps them."""
    path, target = run.path / "validation.parquet", run.record.target
    if not path.exists():
        return []
    columns = read_parquet_columns(path)
    name, _, label, answer, *both = held_out_names(run.schema, target)
    # Evaluated under a name that nothing else has, and shown under its own.
    renamed = {"rating": label, "rating:predicted": answer}
    judged = {new: columns[old] for new, old in renamed.items() if old in columns}
    rating = evaluate_target(judged, NumberTarget(name="rating"), ())
    if rating is None or rating.truth is None or not rating.known.any():
        return []
    rating = replace(rating, name=target)
    users, items = (columns.get(column) for column in both)
    ids = [str(text) for text in columns[name]]
    if users is not None and items is not None:
        label_of = item_labels(run.interactions)
        ids = [f"user {user}, {label_of(item)}" for user, item in zip(users, items, strict=True)]
    parts = [*confusion_part(rating, ids), *_by_rating(rating)]
    text = f"Predictions of {len(ids)} ratings that did not train (at most 1000 are drawn)."
    missed = top_losses_grid(rating, top_losses(rating, worst), ids)
    return [
        Section("Right and wrong", text, parts),
        Section("The highest losses", "The held-out ratings that were missed most.", (missed,)),
    ]


def _by_rating(rating: TargetEvaluation) -> list[Part]:
    """How far off predictions are at each rating, if there are few different ratings."""
    assert rating.truth is not None and rating.guess is not None
    rows: list[list[Cell | str]] = []
    for value in np.unique(rating.truth[rating.known]):
        own = rating.truth == value
        numbers = (rating.guess[own].mean(), rating.loss[own].mean())
        rows.append([f"{value:g}", Cell(str(int(own.sum()))), *(Cell(f"{number:.2f}") for number in numbers)])
    heads = ("rating", "rows", "mean answer", "off by")
    return [Grid(heads, rows, title="by rating")] if len(rows) <= FEW else []


def blend_page(run: RecommenderRun) -> Page:
    """The page of a blend: its members; `evaluate` measures a blend of ratings."""
    rows: list[list[Cell | str]] = []
    for member in run.members:
        path, own = os.path.normpath(member.runs[0].path), member.runs[0].record
        counts = (Cell(str(count)) for count in (own.rows, own.valid_rows))
        rows.append([member.name, own.method, *counts, path])
    scored = (
        "Runs of factors keep no held-out answers, and each run may have held out others, so the blend is "
        "not scored here: tenfold evaluate scores it, and each member, on ratings that none has seen."
    )
    heads = ("member", "method", "ratings", "held out", "run folder")
    what = Section("What they are", "Each has a report of its own.", (Grid(heads, rows),))
    members = members_section(run.record, run.path)
    sections = [Section(members.title, f"{members.text} {scored}", members.parts), what]
    lead = f"blend of {len(rows)} runs of ratings: the weighted mean of their answers"
    return Page(f"Report of {run.path.name}", lead, sections)


def _scores_section(record: RunRecord) -> Section:
    """Errors and lists on the held-out ratings, beside the baselines."""
    parts: list[Part] = []
    for name, scores in record.targets.items():
        ranking = ("precision", "recall", "hit", "ndcg", "coverage")
        lists = read_scores(scores, "lists")
        for own, wanted, title in (
            (scores, {"rmse": "RMSE", "mae": "MAE"}, name),
            (lists, {metric: metric for metric in ranking}, f"lists of {lists.get('n')}"),
        ):
            baselines = read_scores(own, "baselines")
            compared = {"this run": own, **{who: read_scores(baselines, who) for who in baselines}}
            kept = [metric for metric in wanted if any(metric in other for other in compared.values())]
            rows = [
                [who.replace("_", " "), *(_cell(read_score(other, metric)) for metric in kept)]
                for who, other in compared.items()
            ]
            if kept:
                parts.append(Grid(("", *(wanted[metric] for metric in kept)), rows, title=title))
    if not parts:
        return Section(
            "Scores", "No ratings were held out, so nothing was measured. Fit with --valid 0.1 to see."
        )
    text = f"On {record.valid_rows} ratings that did not train, beside the baselines."
    return Section("Scores", text, tuple(parts))


def _cell(value: float) -> Cell:
    return Cell("" if value != value else f"{value:.4f}")


def _fitted_section(run: RecommenderRun, what: str, width: int) -> Section:
    record, recipe = run.record, run.record.trained_recipe
    facts = {
        "ratings": record.rows,
        "to fit": record.train_rows,
        "held out": record.valid_rows,
        "users": record.users,
        "items": record.items,
        "kind": record.kind_of_ratings,
        "scale": " to ".join(f"{end:g}" for end in record.scale),
        "method": record.method,
        "body": recipe.get("body"),
        "hidden layers": ", ".join(map(str, recipe.get("hidden", ())))
        if recipe.get("body") == "mlp"
        else None,
        what: width,
        "batch": recipe.get("batch_size"),
        "epochs": recipe.get("epochs"),
        "device": record.device,
        "time": f"{record.seconds:.1f} s",
        "finished": record.finished,
        "made by": ", ".join(f"{name} {version}" for name, version in record.versions.items()),
    }
    chosen = {name: value for name, value in recipe.items() if value is not None}
    columns = [f"{column.name}: {column.kind}" for column in run.schema.inputs]
    columns += [f"{target.name or 'event'}: {target.kind}" for target in run.schema.targets]
    parts = facts_parts(facts, chosen, record.notes)
    return Section("What was fitted to what", "; ".join(columns), parts)


def _counts_section(known: Interactions) -> Section:
    """How ratings are spread over users and items, and who and what has most of them."""
    received, given, owner = known.received, known.given, known.owners
    charts, tables = [], []
    for what, count, where in (("users", given, owner), ("items", received, known.seen_items)):
        order = np.sort(count)[::-1]
        ranks = np.unique(np.geomspace(1, max(1, len(order)), 200).astype(int))[: len(order)]
        line = Line(what, ranks, order[ranks - 1])
        title = f"ratings of the {what}, the busiest first"
        charts.append(line_chart([line], title=title, x_name=f"{what}, in this order", zero=True))
        total = np.bincount(where, weights=known.seen_ratings, minlength=len(count))
        ids, name_of = (known.users, str) if what == "users" else (known.items, item_labels(known))
        rows: list[list[Cell | str]] = []
        for index in np.argsort(-count, kind="stable")[:LISTED].tolist():
            mean = [] if known.implicit else [Cell(f"{total[index] / max(1, count[index]):.2f}")]
            rows.append([name_of(str(ids[index])), Cell(str(int(count[index]))), *mean])
        heads = (what[:-1], "ratings", *([] if known.implicit else ["mean"]))
        tables.append(Grid(heads, rows, title=f"{what} with most ratings"))
    text = "A few have many ratings, most have few. Counted are those of the training."
    return Section("Who has rated, and what", text, (Charts(charts), *tables))
