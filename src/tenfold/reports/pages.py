"""Pages of commands that leave no run: a plan of memory, a search for a learning rate, the course of runs."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from tenfold.metrics import score_text
from tenfold.reports.charts import course_charts, course_groups, memory_chart, rates_chart
from tenfold.reports.html import Card, Cell, Charts, Grid, Link, Notes, Page, Part, Section, write_page
from tenfold.reports.parts import gib
from tenfold.runs.history import Recorded
from tenfold.runs.place import PAGE
from tenfold.values import MemoryPlan, savings

__all__ = ["write_course", "write_plan", "write_rates"]


def write_rates(
    path: str | os.PathLike[str], rates: Sequence[float], losses: Sequence[float], steepest: float
) -> None:
    """Write the page of a search for a learning rate. losses: smoothed, at each rate."""
    lowest = rates[int(np.nanargmin(np.asarray(losses, dtype=np.float64)))]
    cards = [
        Card("learning rate to try", f"{steepest:.1e}", lines=["where the loss falls fastest"]),
        Card("lowest smoothed loss", f"{np.nanmin(losses):.4g}", lines=[f"at a rate of {lowest:.1e}"]),
        Card("optimizer steps", str(len(rates)), lines=[f"from {rates[0]:.1e} to {rates[-1]:.1e}"]),
    ]
    text = (
        "The rate grows with every optimizer step, from far too small to far too large. Take a rate where "
        "the loss falls fastest, left of its lowest point: the highest that the schedule will reach."
    )
    chart = rates_chart(rates, losses, steepest)
    lead = f"Nothing was kept of this training. Next: tenfold fit ... --lr {steepest:.1e}"
    write_page(
        path, Page("Search for a learning rate", lead, [Section("", text, (Charts([chart]),))], (), cards)
    )


def write_plan(
    path: str | os.PathLike[str],
    arch: str,
    plan: MemoryPlan,
    budget: int,
    step: tuple[Mapping[str, NDArray[np.int64]], NDArray[np.int64], Sequence[tuple[int, str]]],
    fits: bool,
    recipe: Sequence[str],
) -> None:
    """Write the page of a memory plan.

    budget: bytes that the process may hold.  step: as `memory_chart` takes them, without the process itself.
    fits: whether the high end of the plan is within the budget.  recipe: lines on what is trained.
    """
    low, high = plan.band_bytes
    rows = f"{plan.micro_batch} x {plan.accumulation}"
    again = savings(plan.checkpoint, plan.blocks, plan.offload)
    cards = [
        Card(
            "expected peak of the process",
            *gib(plan.predicted_bytes).split(" "),
            lines=[f"{gib(low)} to {gib(high)}, in a budget of {gib(budget)}"],
            share=min(1.0, plan.predicted_bytes / budget) if budget else None,
        ),
        Card("rows at once x micro-batches", rows, lines=["the gradient is that of the whole batch", *again]),
        Card(
            "fits",
            "yes" if fits else "no",
            lines=["by the high end of the plan" if fits else "not even by a row"],
        ),
    ]
    held, reserved, phases = step
    text = (
        "What an optimizer step holds, by kind, as it allocates and frees: traced on the real network "
        "without its device, and played through a model of the allocator. Below lies what the process holds "
        "beside its tensors. Drag over a part of the chart to see it larger."
    )
    chart = memory_chart(held, reserved, phases, "memory over a step", budget, plan.parts.get("context", 0))
    total = sum(plan.parts.values())
    shares: list[Sequence[Cell | str]] = [
        [name, Cell(gib(size)), Cell(f"{size / total:.0%}", heat=size / total)]
        for name, size in plan.parts.items() if size
    ]  # fmt: skip
    parts: list[Part] = [Grid(("at the highest moment", "size", "share"), shares)] if shares else []
    parts.append(Notes("how the plan was reached", [*recipe, *plan.notes]))
    sections = [Section("", text, (Charts([chart]),)), Section("What it is for", "", parts)]
    write_page(
        path,
        Page(f"Memory plan of {arch}", "Made before the first step, without a GPU.", sections, (), cards),
    )


def write_course(
    path: str | os.PathLike[str], folder: str | os.PathLike[str], runs: Sequence[Recorded]
) -> None:
    """Write the page of the runs of a folder: for those scored on the same rows a chart and a table."""
    sections = []
    groups = course_groups(runs)
    names = [name for name, _ in groups]
    for number, ((name, _), group) in enumerate(groups.items(), 1):
        # Of equal targets, the sets of held-out rows are numbered.
        name += f", rows {number}" if names.count(name) > 1 else ""
        rows: list[Sequence[Cell | str | Link]] = []
        for run in sorted(group, key=lambda run: (math.isnan(run.score), run.score)):
            gain = "" if math.isnan(run.gain) else f"{run.gain:+.4f} against {run.parent}"
            board = f"{run.leaderboard[-1]:g}" if run.leaderboard else ""
            rows.append(
                [
                    _link(Path(path), Path(folder), run),
                    Cell(score_text(run.score, nothing="")),
                    Cell(board),
                    Cell(f"{run.seconds:.0f}"),
                    Cell(run.finished[:16].replace("T", " ")),
                    gain,
                    "; ".join(run.changed),
                ]
            )
        heads = ("run", "score", "leaderboard", "seconds", "finished", "gain", "changed since its parent")
        charts = course_charts(group) if len(group) > 1 else []
        sections.append(Section(name, "", (Charts(charts), Grid(heads, rows))))
    scored = [run for group in groups.values() for run in group]
    others: list[Sequence[Cell | str | Link]] = [
        [_link(Path(path), Path(folder), run), run.finished[:16].replace("T", " "), "; ".join(run.changed)]
        for run in runs if run not in scored
    ]  # fmt: skip
    if others:
        grid = Grid(("run", "finished", "changed since"), others)
        sections.append(Section("Without a score", "These held out no rows.", (grid,), folded=True))
    lead = (
        "A section for each list of targets and set of held-out rows: runs of different sections cannot be "
        "compared. Scores are losses: less is better (error rate, 1 - F1, or a fraction of the mean's error)."
    )
    write_page(path, Page(f"Runs of {folder}", lead, sections))


def _link(page: Path, folder: Path, run: Recorded) -> Link | str:
    """The run's name, as a link to its report where it has one."""
    report = folder / run.run / PAGE
    if not run.there or not report.is_file():
        return run.run
    way = os.path.relpath(report.absolute(), page.absolute().parent).replace(os.sep, "/")
    return Link(run.run, "./" + quote(way))
