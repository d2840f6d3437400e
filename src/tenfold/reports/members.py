"""Parts of the page of many runs: its members, their curves, ways of blending them, and their memory."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from tenfold.events import EpochRecord
from tenfold.metrics import score_text
from tenfold.reports.charts import Chart, Line, line_chart
from tenfold.reports.html import Cell, Charts, Grid, Part, Section
from tenfold.reports.parts import DOTTED, gib, read_history
from tenfold.runs.folder import file_digest
from tenfold.runs.record import BlendWay, MemberRecord, RunRecord
from tenfold.targets.words import HEADINGS, LOSSES, MEMBERS
from tenfold.values import Scores, read_score, read_scores

#: The most members whose curves share a chart.
DRAWN = 10

Read = TypeVar("Read")


def members_section(record: RunRecord, folder: Path) -> Section:
    """Members of an ensemble, or of a blend: weight, scores, time and memory; ways of blending; curves.

    folder: the ensemble's, from which the paths of its members' runs lead.
    """
    members = record.members
    names = dict.fromkeys(
        (target, score)
        for member in members
        for target in member.scores
        for score in MEMBERS
        if score in read_scores(member.scores, target)
    )
    shown = list(names)[:8]
    learnt = {name: weights for name, weights in record.weights.items() if isinstance(weights, Mapping)}
    heads = (
        "member",
        "state",
        "weight" if len(learnt) < 2 else f"weight: {', '.join(learnt)}",
        *(f"{target}: {score.replace('_', ' ')}" for target, score in shown),
    )
    rows: list[list[Cell | str]] = []
    for member in members:
        weights = [weights[member.name] for weights in learnt.values() if member.name in weights]
        given = f"{member.weight:g}" if "weight" in member.values else ""
        scores = (read_score(read_scores(member.scores, target), score) for target, score in shown)
        cells = (
            ", ".join(f"{weight:.3f}" for weight in weights) or given,
            *(score_text(score, nothing="") for score in scores),
            f"{member.seconds:.0f}",
            f"{member.peak_bytes / 2**30:.2f}",
        )
        rows.append([member.name, member.status, *map(Cell, cells)])
    text = "Each member by itself"
    text += "; the scores above are those of their blend." if any(record.targets.values()) else "."
    lost = _lost_members(members, folder)
    if lost:
        text += (
            f" Not the runs that were blended, any more: {', '.join(lost)} (gone, damaged or changed since). "
            "Their scores are those of then; the blend cannot be asked."
        )
    ways = ways_grid(record.blends)
    charts = member_charts(dict(_member_runs(record, folder, read_history)))
    parts: list[Part] = [Grid((*heads, "seconds", "GiB"), rows), *([ways] if ways else [])]
    return Section("Members", text, (*parts, *([Charts(charts)] if charts else [])))


@dataclass(frozen=True)
class Contribution:
    """What a member is to a blend, by losses of which less is better, all on the same rows.

    alone: of the member.  without: of the blend without it, the others' weights as they were.
    """

    member: str
    weight: float
    alone: float
    without: float


@dataclass(frozen=True)
class Contributions:
    """What the members add to a blend's answers to a target.

    score: what is measured.  rows: how many are scored.  whole: of the blend.
    """

    target: str
    score: str
    rows: int
    whole: float
    members: Sequence[Contribution]


def leave_out(
    target: str,
    score: str,
    names: Sequence[str],
    weights: NDArray[np.float64],
    rows: int,
    scores: Callable[[NDArray[np.float64]], Scores],
) -> Contributions:
    """Score a blend, each member alone, and the blend without it.

    names, weights: (members,).  rows: how many are scored.  scores: weights -> scores of a blend by them.
    """

    def loss(chosen: NDArray[np.float64]) -> float:
        return read_score(scores(chosen), score)

    members = []
    for index, name in enumerate(names):
        own = np.arange(len(names)) == index
        others = np.where(own, 0.0, weights)
        # Where the others have no weight, there is no blend without this member.
        without = loss(others) if others.any() else math.nan
        members.append(Contribution(name, float(weights[index]), loss(own * 1.0), without))
    return Contributions(target, HEADINGS[score], rows, loss(weights), members)


def contributions_section(found: Sequence[Contributions], learned: bool) -> list[Section]:
    """What each member adds: a table for each target.

    learned: whether the weights were learned on these rows.
    """
    parts: list[Part] = []
    for own in found:
        known = [abs(one.without - own.whole) for one in own.members if one.without == one.without]
        most = max(known, default=0) or 1
        rows: list[list[Cell | str]] = []
        for one in own.members:
            adds = one.without - own.whole
            added = Cell("") if adds != adds else Cell(f"{adds:+.4f}", heat=abs(adds) / most, bad=adds < 0)
            figures = (f"{one.weight:.3f}", score_text(one.alone), score_text(one.without, nothing=""))
            rows.append([one.member, *map(Cell, figures), added])
        rows.append(["the blend", Cell(""), Cell(score_text(own.whole), strong=True), Cell(""), Cell("")])
        title = f"{own.target}: {own.score} on {own.rows} rows"
        parts.append(Grid(("member", "weight", "alone", "blend without it", "adds"), rows, title=title))
    if not parts:
        return []
    text = (
        "On the held-out rows that all members share, so that all figures can be compared. A member adds by "
        "how much the blend is worse without it; less than 0 means that the blend is better without it."
    )
    text += " The weights were learned on these rows, which flatters the blend a little." if learned else ""
    return [Section("What each member adds", text, parts)]


def _lost_members(members: Sequence[MemberRecord], folder: Path) -> list[str]:
    """Return the members with a run whose `run.json` has another checksum than the blend keeps."""
    lost = {}
    for member in members:
        for run in member.runs:
            try:
                digest = file_digest(folder / run["path"] / "run.json")
            except OSError:
                digest = ""
            if run.get("sha256") and digest != run["sha256"]:
                lost[member.name] = True
    return list(lost)


def what_it_is_of(record: RunRecord, folder: Path) -> str:
    """Return in a line how many members there are, and of which architectures."""
    runs = _member_runs(record, folder, _read_record)
    archs = dict.fromkeys(str(run.trained_recipe.get("arch", "")) for _, run in runs)
    named = ", ".join(filter(None, archs))
    return f"{len(record.members)} members" + (f" ({named})" if named else "")


def ways_grid(blends: Mapping[str, Mapping[str, BlendWay]]) -> Grid | None:
    """Ways of blending each target, with their loss on rows that chose no weights; None if all have one."""
    rows: list[list[Cell | str]] = []
    for name, ways in blends.items():
        shown = name
        for way, blend in ways.items() if len(ways) > 1 else ():
            weights = ", ".join(f"{member} {value:.2f}" for member, value in blend["weights"].items())
            loss = blend["loss"]
            rows.append([shown, way, Cell("" if loss is None else score_text(loss)), weights])
            shown = ""
    title = "Ways of blending, by their loss on rows that chose no weights"
    return Grid(("target", "way", "loss", "weights"), rows, title=title) if rows else None


def member_charts(histories: Mapping[str, Sequence[EpochRecord]]) -> list[Chart]:
    """A chart for each target: the loss of every member on its validation rows, by epoch.

    histories: run -> its epochs.
    """
    targets = dict.fromkeys(
        name for history in histories.values() for epoch in history for name in epoch.get("valid", {})
    )
    charts = []
    for target in targets:
        lines, word = [], "loss"
        for name, history in list(histories.items())[:DRAWN]:
            scores = [epoch.get("valid", {}).get(target, {}) for epoch in history]
            key = next((key for key in LOSSES if any(key in epoch for epoch in scores)), "")
            losses = np.array([read_score(epoch, key) for epoch in scores])
            if np.isfinite(losses).any():
                word = LOSSES[key]
                epochs = np.array([epoch["epoch"] + 1 for epoch in history], dtype=np.float64)
                lines.append(Line(name, epochs, losses, dots=len(epochs) <= DOTTED))
        if lines:
            title = f"{target}: {word} on validation rows"
            title += f" of {lines[0].name}" if len(lines) == 1 else ""
            charts.append(line_chart(lines, title=title, x_name="epoch", whole=True))
    return charts


def member_memory(record: RunRecord, folder: Path) -> tuple[Part, ...]:
    """A row for each run: how its batch was cut, what was planned, and what was measured."""
    rows: list[list[Cell | str]] = []
    for name, run in _member_runs(record, folder, _read_record):
        plan = run.plan
        planned, measured = plan.get("predicted_bytes"), plan.get("measured_bytes") or run.peak_bytes
        cut = f"{plan['micro_batch']} x {plan['accumulation']}" if "micro_batch" in plan else ""
        sizes = (gib(size) if size else "not planned" for size in (planned, measured))
        rows.append([name, cut, *map(Cell, sizes)])
    heads = ("run", "rows at once x micro-batches", "planned peak", "measured peak")
    return (Grid(heads, rows),) if rows else ()


def _member_runs(record: RunRecord, folder: Path, read: Callable[[Path], Read]) -> Iterator[tuple[str, Read]]:
    """Yield what is read of each run that exists, by its member's name, or of several by its folder's."""
    for member in record.members:
        for run in member.runs:
            name = member.name if len(member.runs) == 1 else Path(run["path"]).name
            try:
                yield name, read(folder / run["path"])
            except (OSError, ValueError):
                continue


def _read_record(run: Path) -> RunRecord:
    return RunRecord(json.loads((run / "run.json").read_text(encoding="utf-8")))
