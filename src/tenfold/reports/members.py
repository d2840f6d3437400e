"""Parts of the page of many runs: its members, their curves, ways of blending them, and their memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tenfold.metrics import score_text
from tenfold.reports.charts import Line, line_chart
from tenfold.reports.html import Cell, Charts, Grid, Part, Section
from tenfold.reports.parts import gib, read_history
from tenfold.runs.folder import file_digest
from tenfold.targets.words import LOSSES, MEMBERS

__all__ = ["member_charts", "member_memory", "members_section", "what_it_is_of", "ways_grid"]

#: Members whose curves share a chart at most.
DRAWN = 10


def members_section(about: Mapping[str, Any], folder: Path) -> Section:
    """Members of an ensemble, or of a blend: weight, scores, time and memory; ways of blending; curves.

    folder: the ensemble's, beside which its members' folders are looked for.
    """
    members = about["members"]
    names: dict[tuple[str, str], None] = {}
    for one in members:
        for target, scores in (one.get("scores") or {}).items():
            for score in MEMBERS:
                if isinstance(scores, Mapping) and score in scores:
                    names[target, score] = None
    shown = list(names)[:8]
    learnt = {name: one for name, one in (about.get("weights") or {}).items() if isinstance(one, Mapping)}
    heads = (
        "member",
        "state",
        "weight" if len(learnt) < 2 else f"weight: {', '.join(learnt)}",
        *(f"{target}: {score.replace('_', ' ')}" for target, score in shown),
    )
    rows: list[list[Cell | str]] = []
    for one in members:
        weight = one.get("weight")
        found = [weights.get(one["name"]) for weights in learnt.values()]
        said = ", ".join(f"{value:.3f}" for value in found if isinstance(value, (int, float)))
        row: list[Cell | str] = [str(one["name"]), str(one.get("status", "finished"))]
        row.append(Cell(said or ("" if weight is None else f"{weight:g}")))
        for target, score in shown:
            value = ((one.get("scores") or {}).get(target) or {}).get(score)
            row.append(Cell("" if value is None else score_text(value)))
        row.append(Cell(f"{one.get('seconds') or 0:.0f}"))
        row.append(Cell(f"{(one.get('peak_bytes') or 0) / 2**30:.2f}"))
        rows.append(row)
    scored = any(about.get("targets", {}).values())
    text = "Each member by itself" + ("; the scores above are those of their blend." if scored else ".")
    lost = _lost_members(members, folder)
    if lost:
        text += (
            f" Not the runs that were blended, any more: {', '.join(lost)} (gone, damaged or changed since). "
            "Their scores are those of then; the blend cannot be asked."
        )
    ways = ways_grid(about.get("blends") or {})
    charts = member_charts(dict(_member_runs(about, folder, read_history)))
    parts: list[Part] = [Grid((*heads, "seconds", "GiB"), rows), *([ways] if ways else [])]
    return Section("Members", text, (*parts, *([Charts(charts)] if charts else [])))


def _lost_members(members: Sequence[Mapping[str, Any]], folder: Path) -> list[str]:
    """Members of which a run's description is not the one whose sum the blend keeps."""
    lost = []
    for one in members:
        for run in one.get("runs") or ():
            try:
                there = file_digest(folder / run["path"] / "run.json")
            except OSError:
                there = ""
            if run.get("sha256") and there != run["sha256"]:
                lost.append(str(one["name"]))
    return list(dict.fromkeys(lost))


def what_it_is_of(about: Mapping[str, Any], folder: Path) -> str:
    """A line: how many members, and of which architectures."""
    kinds = dict.fromkeys(
        str(one.get("identity", {}).get("recipe", {}).get("arch", ""))
        for _, one in _member_runs(about, folder, _described)
    )
    named = ", ".join(one for one in kinds if one)
    return f"{len(about['members'])} members" + (f" ({named})" if named else "")


def ways_grid(blends: Mapping[str, Mapping[str, Any]]) -> Grid | None:
    """Ways in which weights were found, target by target: their loss on rows that chose no weights.

    None where there was one way only.
    """
    rows: list[list[Cell | str]] = []
    for name, ways in blends.items():
        shown = name
        for way, found in ways.items() if len(ways) > 1 else ():
            weights = ", ".join(f"{member} {value:.2f}" for member, value in found["weights"].items())
            loss = found.get("loss")
            rows.append([shown, way, Cell("" if loss is None else score_text(loss)), weights])
            shown = ""
    title = "Ways of blending, by their loss on rows that chose no weights"
    return Grid(("target", "way", "loss", "weights"), rows, title=title) if rows else None


def member_charts(histories: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """A chart a target: the loss of every member on its validation rows, epoch by epoch.

    histories: run -> what it told of its epochs.
    """
    targets = dict.fromkeys(
        name for history in histories.values() for record in history for name in record.get("valid", {})
    )
    charts = []
    for target in targets:
        lines, word = [], "loss"
        for name, history in list(histories.items())[:DRAWN]:
            scores = [record.get("valid", {}).get(target, {}) for record in history]
            word = next((LOSSES[key] for one in scores for key in LOSSES if key in one), word)
            losses = [next((one[key] for key in LOSSES if key in one), None) for one in scores]
            values = np.array([np.nan if one is None else float(one) for one in losses])
            if np.isfinite(values).any():
                epochs = np.array([record["epoch"] + 1 for record in history], dtype=np.float64)
                lines.append(Line(name, epochs, values, dots=len(epochs) < 60))
        if lines:
            title = f"{target}: {word} on validation rows"
            charts.append(line_chart(lines, title=title, x_name="epoch", whole=True))
    return charts


def member_memory(about: Mapping[str, Any], folder: Path) -> tuple[Part, ...]:
    """A line to each run: how its batch was cut, what was planned, and what was measured."""
    rows: list[list[Cell | str]] = []
    for name, one in _member_runs(about, folder, _described):
        plan = one.get("plan") or {}
        planned, measured = plan.get("predicted_bytes"), plan.get("measured_bytes") or one.get("peak_bytes")
        cut = f"{plan['micro_batch']} x {plan['accumulation']}" if "micro_batch" in plan else ""
        told = (Cell(gib(size) if size else "not planned") for size in (planned, measured))
        rows.append([name, cut, *told])
    heads = ("run", "rows at once x micro-batches", "planned peak", "measured peak")
    return (Grid(heads, rows),) if rows else ()


def _member_runs(
    about: Mapping[str, Any], folder: Path, read: Callable[[Path], Any]
) -> list[tuple[str, Any]]:
    """What is read of each run that is still there, by its member's name, or its folder's where there are
    several."""
    found = []
    for one in about["members"]:
        for run in one.get("runs") or ():
            name = str(one["name"]) if len(one["runs"]) == 1 else Path(run["path"]).name
            try:
                found.append((name, read(folder / run["path"])))
            except (OSError, ValueError):
                continue
    return found


def _described(run: Path) -> dict[str, Any]:
    return json.loads((run / "run.json").read_text(encoding="utf-8"))
