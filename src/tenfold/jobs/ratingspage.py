"""The page of a ratings run: its scores, what it was fitted to, and maps of its items and users."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tenfold.collab.pack import unpack_factor_model
from tenfold.jobs.reportparts import memory_parts
from tenfold.jobs.weightmaps import named_map
from tenfold.out.charts import Line, line_chart
from tenfold.out.report import Cell, Charts, Grid, Notes, Part, Section
from tenfold.schema import Schema
from tenfold.store.run import or_nan, read_arrays
from tenfold.values import FactorModel

__all__ = ["ratings_page"]

#: Items and users that a map holds: those with most ratings.
MAPPED = 600


def ratings_page(folder: Path, about: Mapping[str, Any]) -> tuple[str, str, list[Section], list[str]]:
    """Title, line below it, sections, and what is to be said."""
    model = unpack_factor_model(*read_arrays(folder / "model.safetensors"))
    schema = Schema.from_toml((folder / "schema.toml").read_text(encoding="utf-8"))
    received = np.bincount(model.seen_items, minlength=len(model.items))
    given = np.diff(model.seen_start)
    sections = [
        _scores_section(about),
        _fitted_section(about, schema, model),
        _counts_section(given, received),
    ]
    maps = []
    for what, factors, ids, count in (
        ("items", model.item_factors, model.items, received),
        ("users", model.user_factors, model.users, given),
    ):
        most = np.argsort(-count, kind="stable")[:MAPPED]
        if len(most) < 2 or factors.shape[1] < 1 or not np.ptp(factors[most], axis=0).any():
            continue
        names = [str(model.item_names.get(one) or one) if what == "items" else str(one) for one in ids[most]]
        notes = [f"{int(count[one])} ratings" for one in most]
        title = f"{what}: the {len(most)} with most ratings"
        maps.append(named_map(factors[most], names, title, sizes=count[most], notes=notes))
    if maps:
        text = (
            "Factors on the two directions in which they differ most (principal components). Items near each "
            "other please the same people. Point at a dot for its name."
        )
        sections.append(Section("Maps of the factors", text, (Charts(maps),)))
    memory = memory_parts({"peak_bytes": about.get("peak_bytes")}, ())
    if memory:
        grid = Grid(("", ""), [["most that the process held", f"{about['peak_bytes'] / 2**30:.2f} GiB"]])
        sections.append(Section("Memory", "What was measured.", (grid,)))
    lead = (
        f"method {about['method']}; {len(model.seen_items)} ratings of {len(model.items)} items by "
        f"{len(model.users)} users"
    )
    return f"Report of {folder.name}", lead, sections, []


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
    number = or_nan(value)
    return Cell("" if number != number else f"{number:.4f}")


def _fitted_section(about: Mapping[str, Any], schema: Schema, model: FactorModel) -> Section:
    recipe = about.get("identity", {}).get("recipe", {})
    facts = {
        "ratings": about.get("rows"),
        "to fit": about.get("train_rows"),
        "held out": about.get("valid_rows"),
        "users": about.get("users"),
        "items": about.get("items"),
        "kind": about.get("kind_of_ratings"),
        "scale": " to ".join(f"{one:g}" for one in about.get("scale", ())),
        "method": about.get("method"),
        "factors": model.item_factors.shape[1],
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


def _counts_section(given: Any, received: Any) -> Section:
    """How unequal ratings are spread over users and items."""
    charts = []
    for what, count in (("users", given), ("items", received)):
        order = np.sort(count)[::-1]
        place = np.unique(np.geomspace(1, max(1, len(order)), 200).astype(int)) - 1 if len(order) else []
        line = Line(what, np.asarray(place) + 1, order[place] if len(order) else [])
        title = f"ratings of the {what}, the busiest first"
        charts.append(line_chart([line], title=title, x_name=f"{what}, in this order", zero=True))
    return Section("Who has rated, and what", "A few have many ratings, most have few.", (Charts(charts),))
