"""What a person sees of many runs: blends, and the history."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import typer

from tenfold.cli.console import print_json, say, show_table, tell
from tenfold.cli.screen import BEST, FAILED, figure, gib, minutes, short_scores, show_scores, signed

if TYPE_CHECKING:
    from tenfold.ensembles.train import Finished
    from tenfold.runs.history import Recorded


def show_ensemble(run: Finished, *, as_json: bool) -> None:
    """Print an ensemble that has been trained; the command fails where a member did."""
    print_json(run.summary) if as_json else show_blend(run.summary)
    if run.failed:
        say(f"{len(run.failed)} members failed and are not in the blend: {', '.join(run.failed)}")
        raise typer.Exit(1)


def show_blend(summary: Mapping[str, object]) -> None:
    """Print members and their scores, the ways of blending, and the blend's own scores."""
    from tenfold.runs.record import RunRecord

    record = RunRecord(summary)
    by_target = {
        target: [weights.get(member.name) for member in record.members]
        for target, weights in record.weights.items()
    }
    alike = len({tuple(weights) for weights in by_target.values()}) == 1
    named = [*by_target][:1] if alike else [*by_target]
    heads = ("member", "weight" if alike else f"weight for {', '.join(named)}", "score", "peak", "time")
    rows = []
    for number, member in enumerate(record.members):
        weights = [by_target[target][number] for target in named]
        rows.append(
            [
                member.name,
                ", ".join("-" if weight is None else f"{weight:.2f}" for weight in weights),
                short_scores(member.scores) if member.status == "finished" else member.status,
                gib(member.peak_bytes),
                minutes(member.seconds or None),
            ]
        )
    looks = {row: FAILED for row, member in enumerate(record.members) if member.status == "failed"}
    show_table(heads, rows, left=("member", "score"), below="score", marks=looks)
    if record.targets:
        tell("\nthe blend, on rows that were held out:")
        show_scores(record.targets)
    else:
        tell(
            "\nthe blend has no score of its own: its members share no answers to held-out rows, and the "
            f"scores above are of what each held out. To measure it: tenfold evaluate {summary['run']} TABLE"
        )
    if record.without_views:
        tell("\nthe same from the plain views alone:")
        show_scores(record.without_views)
    tell(f"run: {summary['run']}")


def show_history(runs: Sequence[Recorded]) -> None:
    """Print a line for each run, best first, with what changed since its parent and the gain."""
    heads = ("run", "score", "gain", "board", "targets", "time", "peak", "since its parent")
    rows = []
    for run in runs:
        since = f"{run.parent}: {'; '.join(run.changed)}" if run.parent else "the first"
        rows.append(
            [
                run.run + ("" if run.there else " (gone)"),
                figure(run.score) if math.isfinite(run.score) else "",
                signed(run.gain) if math.isfinite(run.gain) else "",
                f"{run.leaderboard[-1]:g}" if run.leaderboard else "",
                short_scores(run.targets),
                minutes(run.seconds),
                gib(run.peak_bytes),
                since,
            ]
        )
    left = ("run", "targets", "since its parent")
    first = {tuple(sorted(run.targets)): row for row, run in reversed([*enumerate(runs)])}
    best = {row: BEST for row in first.values() if math.isfinite(runs[row].score)}
    show_table(heads, rows, left=left, below="since its parent", marks=best)
    for run in runs:
        for made in run.submissions:
            tell(f"{made['file']} was made by {run.run} on {made['when']}")
