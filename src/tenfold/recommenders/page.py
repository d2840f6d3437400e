"""The page of a recommender: scores, predictions, example lists, what was fitted, maps, members."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tenfold.collab.explain import item_labels
from tenfold.collab.ids import locate
from tenfold.recommenders.examples import list_sections, lists_grid, neighbours_section
from tenfold.recommenders.run import RecommenderRun
from tenfold.reports.charts import Axis, Chart, Line
from tenfold.reports.headline import cost_card, headline_cards
from tenfold.reports.html import Cell, Charts, Grid, Page, Part, Section
from tenfold.reports.maps import named_map
from tenfold.reports.members import members_section
from tenfold.reports.parts import confusion_part, curve_sections, facts_parts, top_losses, top_losses_grid
from tenfold.runs.heldout import TargetEvaluation
from tenfold.runs.record import RunRecord
from tenfold.values import Interactions, read_score, read_scores

__all__ = ["blend_page", "ratings_page"]

#: Items and users of a map, and of a table: those with most ratings.
MAPPED, LISTED = 600, 10
#: Different ratings up to which each has a line.
FEW = 12
#: Ratings in training, from which groups of users, and of items, begin.
ACTIVITY = (0, 1, 5, 10, 20, 50, 100, 200, 500)


def ratings_page(
    run: RecommenderRun,
    how: str,
    vectors: Mapping[str, NDArray[np.float32]],
    what: str,
    *,
    worst: int = 12,
    lists: bool = True,
) -> Page:
    """The page of a single recommender.

    how: its method in words.  vectors: side -> vectors; what: their name.  worst: how many held-out ratings
    with the highest error to list.  lists: whether lists are made for it, which networks load torch for.
    """
    known, record = run.interactions, run.record
    sections = [
        *_held_out_sections(run, worst),
        *(list_sections(run) if lists else []),
        *neighbours_section(known, vectors["item"]),
        *curve_sections(run.history, record.trained_recipe, [record.target]),
        _counts_section(known),
        *_map_sections(known, vectors, what),
        _scores_section(record),
        _fitted_section(run, what, vectors["item"].shape[1]),
    ]
    held = f"{record.valid_rows} held out" if record.valid_rows else "none held out: nothing was measured"
    kind = "events" if known.implicit else "ratings"
    sizes = f"{len(known.seen_items)} {kind} of {len(known.items)} items by {len(known.users)} users"
    lead = f"{how}. {sizes}, {held}."
    cards = [*headline_cards(record, run.held_out()), cost_card(record)]
    return Page(f"Report of {run.path.name}", lead, sections, (), cards)


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
        "near each other please the same people. Drag over a part to see more names."
    )
    return [Section(f"Maps of the {what}", text, (Charts(maps),))]


def _held_out_sections(run: RecommenderRun, worst: int) -> list[Section]:
    """Held-out ratings with their predictions, if the run keeps them."""
    held = run.held_out()
    if not held.evaluations:
        return []
    [rating] = held.evaluations
    users, items = run.held_out_pairs()
    label_of, ids = item_labels(run.interactions), list(held.ids)
    if len(users) and len(items):
        ids = [f"user {user}, {label_of(item)}" for user, item in zip(users, items, strict=True)]
    charts = [*_by_activity(run.interactions, rating, users, items), _errors_chart(rating)]
    text = f"Predictions of {len(ids)} ratings that did not train (at most 1000 are drawn)."
    missed = top_losses_grid(rating, top_losses(rating, worst), ids)
    return [
        Section("Right and wrong", text, (*confusion_part(rating, ids), *_by_rating(rating))),
        Section(
            "Errors",
            "By how many ratings the user, and the item, had in training: those who are little known are "
            "predicted worse. And how errors are spread: answer less label.",
            (Charts(charts),),
        ),
        Section("The highest losses", "The held-out ratings that were missed most.", (missed,)),
    ]


def _by_activity(
    known: Interactions, rating: TargetEvaluation, users: NDArray[np.object_], items: NDArray[np.object_]
) -> list[Chart]:
    """RMSE over groups of users, and of items, by their ratings in training; unknown ones have none."""
    assert rating.truth is not None and rating.guess is not None
    square = (rating.guess - rating.truth) ** 2
    charts = []
    for word, ids, known_ids, counts in (
        ("user", users, known.users, known.given), ("item", items, known.items, known.received)
    ):  # fmt: skip
        if len(ids) != len(square):
            continue
        index = locate(ids, known_ids)
        activity = np.where(index < 0, 0, counts[index])
        group = np.searchsorted(ACTIVITY, activity, side="right") - 1
        found = [at for at in range(len(ACTIVITY)) if (group == at).any()]
        rmse = [float(np.sqrt(square[group == at].mean())) for at in found]
        last = {start: end - 1 for start, end in pairwise(ACTIVITY)}
        starts = [ACTIVITY[at] for at in found]
        names = [f"{one}+" if one not in last else str(one) if last[one] == one else f"{one}-{last[one]}"
                 for one in starts]  # fmt: skip
        notes = [f"RMSE {value:.4f} over {int((group == at).sum())} held-out ratings"
                 for at, value in zip(found, rmse, strict=True)]  # fmt: skip
        line = Line("RMSE", np.arange(len(found)), rmse, bars=True, notes=notes, colour=word == "item")
        x = Axis(
            f"ratings of the {word} in training", ticks=[*enumerate(names)], ends=(-0.6, len(found) - 0.4)
        )
        charts.append(Chart(f"errors by {word}", [line], x, Axis("RMSE", zero=True)))
    return charts


def _errors_chart(rating: TargetEvaluation) -> Chart:
    """A histogram of answer less label."""
    assert rating.truth is not None and rating.guess is not None
    errors = (rating.guess - rating.truth)[rating.known & np.isfinite(rating.guess)]
    counts, edges = np.histogram(errors, bins=25)
    middle = (edges[1:] + edges[:-1]) / 2
    notes = [f"{count} ratings: {low:+.2f} to {high:+.2f}"
             for count, low, high in zip(counts, edges[:-1], edges[1:], strict=True)]  # fmt: skip
    line = Line("ratings", middle, counts, bars=True, notes=notes, colour=4)
    x = Axis("answer less label", ends=(float(edges[0]), float(edges[-1])))
    return Chart("spread of the errors", [line], x, Axis("held-out ratings", zero=True))


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


def blend_page(
    run: RecommenderRun, own_sections: Sequence[Section], *, worst: int = 12, lists: bool = True
) -> Page:
    """The page of a blend: its members and what each adds. Other parameters as of `ratings_page`."""
    rows: list[list[Cell | str]] = []
    for member in run.members:
        path, own = os.path.normpath(member.runs[0].path), member.runs[0].record
        counts = (Cell(str(count)) for count in (own.rows, own.valid_rows))
        rows.append([member.name, own.method, *counts, path])
    heads = ("member", "method", "ratings", "held out", "run folder")
    what = Section("What they are", "Each has a report of its own.", (Grid(heads, rows),), folded=True)
    members = members_section(run.record, run.path)
    scored = "" if run.record.targets else (
        " The blend is not scored: its members share no held-out ratings. tenfold evaluate scores it, and "
        "each member, on ratings that none has seen."
    )  # fmt: skip
    sections = [
        Section(members.title, members.text + scored, members.parts),
        *own_sections,
        *_held_out_sections(run, worst),
        *(list_sections(run) if lists else []),
        what,
    ]
    lead = f"blend of {len(rows)} runs of ratings: the weighted mean of their answers"
    cards = [*headline_cards(run.record, run.held_out()), cost_card(run.record)]
    return Page(f"Report of {run.path.name}", lead, sections, (), cards)


def _scores_section(record: RunRecord) -> Section:
    """Errors and lists on the held-out ratings, beside the baselines."""
    parts: list[Part] = []
    for name, scores in record.targets.items():
        baselines, wanted = read_scores(scores, "baselines"), {"rmse": "RMSE", "mae": "MAE"}
        compared = {"this run": scores, **{who: read_scores(baselines, who) for who in baselines}}
        kept = [metric for metric in wanted if any(metric in other for other in compared.values())]
        rows: list[list[Cell | str]] = [
            [who.replace("_", " "), *(_cell(read_score(other, metric)) for metric in kept)]
            for who, other in compared.items()
        ]
        if kept:
            parts.append(Grid(("", *(wanted[metric] for metric in kept)), rows, title=name))
        parts += lists_grid(read_scores(scores, "lists"))
    if not parts:
        words = "No ratings were held out, so nothing was measured. Fit with --valid 0.1 to see."
        return Section("All scores", words, folded=True)
    text = f"On {record.valid_rows} ratings that did not train, beside the baselines."
    return Section("All scores", text, tuple(parts), folded=True)


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
    return Section("What was fitted to what", "; ".join(columns), parts, folded=True)


def _counts_section(known: Interactions) -> Section:
    """How ratings are spread over users and items, and who and what has most of them."""
    received, given, owner = known.received, known.given, known.owners
    lines, tables = [], []
    for what, count, where in (("users", given, owner), ("items", received, known.seen_items)):
        order = np.sort(count[count > 0])[::-1]
        ranks = np.unique(np.geomspace(1, max(1, len(order)), 200).astype(int))[: len(order)]
        lines.append(Line(what, ranks, order[ranks - 1]))
        total = np.bincount(where, weights=known.seen_ratings, minlength=len(count))
        ids, name_of = (known.users, str) if what == "users" else (known.items, item_labels(known))
        rows: list[list[Cell | str]] = []
        for index in np.argsort(-count, kind="stable")[:LISTED].tolist():
            mean = [] if known.implicit else [Cell(f"{total[index] / max(1, count[index]):.2f}")]
            rows.append([name_of(str(ids[index])), Cell(str(int(count[index]))), *mean])
        heads = (what[:-1], "ratings", *([] if known.implicit else ["mean"]))
        tables.append(Grid(heads, rows, title=f"{what} with most ratings"))
    x, y = Axis("rank, the busiest first", log=True), Axis("ratings", log=True)
    text = "A few have many ratings, most have few. Counted are those of the training."
    chart = Chart("ratings by rank", lines, x, y)
    return Section("Who has rated, and what", text, (Charts([chart]), *tables), folded=True)
