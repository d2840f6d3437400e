"""Tables of many runs: the members while they train, blends, and the history."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Self

import typer
from rich.live import Live
from rich.table import Table as Grid
from rich.text import Text

from tenfold.cli.screen import (
    Scores,
    as_text,
    figure,
    gib,
    grid_of,
    output_grid,
    print_json,
    progress_console,
    say,
    show_scores,
    signed,
    tell,
)
from tenfold.events import Event, MemberRow, MembersChanged, StageBegan
from tenfold.targets.words import SHORT, short_score

if TYPE_CHECKING:
    from tenfold.ensembles.train import Finished
    from tenfold.runs.history import Recorded

#: Seconds between two drawings of the live table.
OFTEN = 0.25


class MembersDisplay:
    """A live table of members on standard error; without a terminal, a line when a member ends."""

    def __init__(self) -> None:
        self._console = progress_console()
        self._live = Live(Text(""), console=self._console, auto_refresh=False, transient=True)
        self._told: dict[str, str] = {}
        self._drawn = 0.0

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def note(self, text: str) -> None:
        """Print a message above the table."""
        say(text)

    def progress(self, event: Event) -> None:
        """Show an event."""
        if isinstance(event, StageBegan) and not self._console.is_terminal:
            self.note(event.name)
        if not isinstance(event, MembersChanged):
            return
        if self._console.is_terminal:
            if time.monotonic() - self._drawn >= OFTEN:
                self._drawn = time.monotonic()
                self._live.update(members_grid(event.rows), refresh=True)
            return
        for row in event.rows:
            if self._told.get(row.member, "waiting") != row.status:
                self._told[row.member] = row.status
                self.note(f"{row.member}: {_line(row)}")


def _line(row: MemberRow) -> str:
    if row.status != "finished":
        return row.stage or row.status
    return f"finished, {short_scores(row.scores)}, {row.seconds:.0f} s, {gib(row.peak_bytes)}"


def members_grid(rows: Sequence[MemberRow]) -> Grid:
    """Return a table of members: stage, scores, memory, and the time that is left."""
    heads = ("member", "stage", "score", "peak", "left")
    grid = grid_of(heads, left=heads[:3])
    for row in rows:
        grid.add_row(
            as_text(row.member),
            as_text((row.stage or row.status)[:60]),
            as_text(short_scores(row.scores)),
            gib(row.peak_bytes),
            minutes(row.seconds_left),
        )
    known = [row.seconds for row in rows if row.status == "finished" and row.seconds]
    waiting = sum(row.status == "waiting" for row in rows)
    now = [row.seconds_left or 0.0 for row in rows if row.status == "running"]
    if known and (waiting or now):
        grid.add_row("", "", "", "all", minutes(sum(now) + waiting * sum(known) / len(known)))
    return grid


def short_scores(targets: Mapping[str, Scores]) -> str:
    """Return every target's most telling score."""
    parts = []
    for name, scores in targets.items():
        score = short_score(scores)
        value = scores.get(score)
        if isinstance(value, (int, float)) and value == value:
            shown = f"{value:.1%}" if score == "error_rate" else figure(value, digits=3)
            parts.append(f"{name} {SHORT[score].format(shown)}")
    return ", ".join(parts)


def minutes(seconds: float | None) -> str:
    """Return a time in seconds or minutes; "" where it is not known."""
    if seconds is None:
        return ""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


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
    heads = ("member", "weight", "score", "peak", "time")
    grid = grid_of(heads, left=("member", "score"))
    for member in record.members:
        weights = [weights.get(member.name) for weights in record.weights.values()]
        grid.add_row(
            as_text(member.name),
            "/".join("" if weight is None else f"{weight:.2f}" for weight in weights),
            as_text(short_scores(member.scores) if member.status == "finished" else member.status),
            gib(member.peak_bytes),
            minutes(member.seconds or None),
        )
    output_grid(grid)
    for target, ways in record.blends.items():
        losses = [
            f"{way} {figure(blend['loss'])}" for way, blend in ways.items() if blend["loss"] is not None
        ]
        if losses:
            tell(f"{target}: loss of blends on rows that chose no weights: {', '.join(losses)}")
    if record.targets:
        tell("\nthe blend, on rows that were held out:")
        show_scores(record.targets)
    else:
        tell(
            "\nthe blend has no score of its own: its members kept no answers to held-out rows, and the "
            f"scores above are of what each held out. To measure it: tenfold evaluate {summary['run']} TABLE"
        )
    if record.without_views:
        tell("\nthe same from the plain views alone:")
        show_scores(record.without_views)
    tell(f"run: {summary['run']}")


def show_history(runs: Sequence[Recorded]) -> None:
    """Print a line for each run, best first, with what changed since its parent and the gain."""
    heads = ("run", "score", "gain", "board", "targets", "time", "peak", "since its parent")
    grid = grid_of(heads, left=("run", "targets", "since its parent"))
    for run in runs:
        since = f"{run.parent}: {'; '.join(run.changed)}" if run.parent else "the first"
        grid.add_row(
            as_text(run.run + ("" if run.there else " (gone)")),
            figure(run.score) if math.isfinite(run.score) else "",
            signed(run.gain) if math.isfinite(run.gain) else "",
            f"{run.leaderboard[-1]:g}" if run.leaderboard else "",
            as_text(short_scores(run.targets)),
            minutes(run.seconds),
            gib(run.peak_bytes),
            as_text(since),
        )
    output_grid(grid)
    for run in runs:
        for made in run.submissions:
            tell(f"{made['file']} was made by {run.run} on {made['when']}")
