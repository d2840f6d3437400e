"""What a person sees of many runs: the table of members while they train, blends, and the history."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, Self

from rich.live import Live
from rich.table import Table as Grid
from rich.text import Text

from tenfold.cli.screen import as_text, figure, output_grid, progress_console, say, show_scores, signed, tell
from tenfold.events import Event, MemberRow, MembersChanged, StageBegan
from tenfold.targets.words import SHORT

#: Seconds between two drawings of the live table.
OFTEN = 0.25


class MembersDisplay:
    """A live table of members on standard error; where that is no window, one line when something ends."""

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
        """A decision, above the table."""
        say(text)

    def progress(self, event: Event) -> None:
        """What every member is doing."""
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
    """Members, what they do, their scores, the memory that they held, and the time that is left."""
    grid = Grid(box=None, pad_edge=False)
    for name in ("member", "stage", "score", "peak", "left"):
        grid.add_column(name, justify="right" if name in ("peak", "left") else "left")
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


def short_scores(targets: Mapping[str, Mapping[str, Any]]) -> str:
    """Every target's most telling score."""
    told = []
    for name, scores in targets.items():
        score = next((one for one in SHORT if one in scores), "")
        value = scores.get(score)
        if isinstance(value, (int, float)) and value == value:
            shown = f"{value:.1%}" if score == "error_rate" else figure(value, digits=3)
            told.append(f"{name} {SHORT[score].format(shown)}")
    return ", ".join(told)


def gib(size: int) -> str:
    """Bytes as GiB; nothing where they are not known."""
    return f"{size / 2**30:.2f} GiB" if size else ""


def minutes(seconds: float | None) -> str:
    """A time that is left, as people say it."""
    if seconds is None:
        return ""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def show_blend(summary: Mapping[str, Any]) -> None:
    """Members and their scores, the ways of blending, and the blend's own scores."""
    grid = Grid(box=None, pad_edge=False)
    for name in ("member", "weight", "score", "peak", "time"):
        grid.add_column(name, justify="left" if name in ("member", "score") else "right")
    for one in summary["members"]:
        weights = [each.get(one["name"]) for each in summary.get("weights", {}).values()]
        said = "/".join("" if each is None else f"{each:.2f}" for each in weights)
        score = short_scores(one.get("scores", {})) if one["status"] == "finished" else one["status"]
        time_taken = minutes(one["seconds"]) if one.get("seconds") else ""
        grid.add_row(as_text(one["name"]), said, as_text(score), gib(one.get("peak_bytes", 0)), time_taken)
    output_grid(grid)
    for target, ways in summary.get("blends", {}).items():
        told = [f"{way} {figure(one['loss'])}" for way, one in ways.items() if _is_number(one["loss"])]
        if told:
            tell(f"{target}: loss of blends on rows that chose no weights: {', '.join(told)}")
    if summary.get("targets"):
        tell("\nthe blend, on rows that were held out:")
        show_scores(summary["targets"])
    else:
        tell(
            "\nthe blend has no score of its own: its members kept no answers to held-out rows, and the "
            f"scores above are of what each held out. To measure it: tenfold evaluate {summary['run']} TABLE"
        )
    if summary.get("without_views"):
        tell("\nthe same from the plain views alone:")
        show_scores(summary["without_views"])
    tell(f"run: {summary['run']}")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def show_history(runs: Sequence[Any]) -> None:
    """One line a run, best first, with what changed since the run before it and what that gave."""
    grid = Grid(box=None, pad_edge=False)
    for name in ("run", "score", "gain", "board", "targets", "time", "peak", "since its parent"):
        numbers = ("score", "gain", "board", "time", "peak")
        grid.add_column(name, justify="right" if name in numbers else "left")
    for one in runs:
        since = f"{one.parent}: {'; '.join(one.changed)}" if one.parent else "the first"
        grid.add_row(
            as_text(one.run + ("" if one.there else " (gone)")),
            _figure(one.score),
            signed(one.gain) if _is_number(one.gain) else "",
            f"{one.leaderboard[-1]:g}" if one.leaderboard else "",
            as_text(short_scores(one.targets)),
            minutes(one.seconds),
            gib(one.peak_bytes),
            as_text(since),
        )
    output_grid(grid)
    for one in runs:
        for made in one.submissions:
            tell(f"{made['file']} was made by {one.run} on {made['when']}")


def _figure(value: float) -> str:
    return figure(value) if _is_number(value) else ""


__all__ = [
    "MembersDisplay",
    "gib",
    "members_grid",
    "minutes",
    "short_scores",
    "show_blend",
    "show_history",
]
