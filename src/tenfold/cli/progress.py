"""What a person sees while they wait: a bar, a line for each epoch, a table of members."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Self

from rich.cells import cell_len, set_cell_size
from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TaskID, TextColumn
from rich.spinner import Spinner
from rich.table import Column
from rich.text import Text

from tenfold.cli.console import cell_text, progress_console, say, tell_withheld
from tenfold.cli.screen import gib, minutes, score_cell, short_scores
from tenfold.errors import printable
from tenfold.events import (
    EpochEnded,
    Event,
    ImagesRead,
    MemberRow,
    MembersChanged,
    RowsPredicted,
    StageBegan,
    StepEnded,
    SweepEnded,
    TrialBegan,
)
from tenfold.targets.words import EPOCH

#: Seconds between two lines of progress where there is no terminal.
SECONDS_BETWEEN_LINES = 15.0
#: The width of lines where there is no terminal.
WIDTH = 80
#: Headings of columns, of 7 letters at most, that stand for words of `EPOCH`.
_HEADINGS = {
    "validation": "valid",
    "ranks off": "ranks",
    "micro F1": "F1",
    "validation RMSE": "RMSE",
    "validation deviance": "dev",
}
#: The stage in which the last layer alone is trained.
_HEAD = "last layer"


class Display:
    """A progress bar and the lines above it."""

    def __init__(self) -> None:
        self._console = progress_console()
        self._bar = Progress(
            SpinnerColumn(style=""),
            TextColumn("{task.description}", markup=False),
            _Bar(bar_width=12),
            TextColumn("{task.fields[count]}"),
            _Pace(),
            TextColumn(
                "{task.fields[extra]}",
                markup=False,
                table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1),
            ),
            console=self._console,
            transient=True,
        )
        self._task: TaskID | None = None
        self._trials: TaskID | None = None
        self._name = ""
        self._shown = time.monotonic()
        self._epochs: EpochTable | None = None

    def __enter__(self) -> Self:
        self._begin("loading", None)
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._bar.stop()

    def note(self, text: str) -> None:
        """Print a message above the bar."""
        say(text)

    def progress(self, event: Event) -> None:
        """Show an event."""
        match event:
            case StageBegan():
                self._begin(event.name, None)
            case ImagesRead():
                self._show(f"reading {event.column}", event.done, event.total)
            case RowsPredicted():
                self._show(event.what, event.done, event.total)
            case StepEnded():
                self._step(event)
            case EpochEnded():
                self._epoch(event)
            case TrialBegan():
                self._trial(event)
            case SweepEnded():
                tell_withheld()
                self._show("sweeps", event.done, event.total, event.extra)

    def _trial(self, event: TrialBegan) -> None:
        """Show how many trainings of several have ended, above the bar of this one."""
        if self._trials is None:
            self._trials = self._add("trainings", event.total)
            self._begin("starting", None)
        self._bar.update(self._trials, completed=event.done, count=f"{event.done}/{event.total}")

    def _step(self, event: StepEnded) -> None:
        tell_withheld()
        losses = " ".join(score_cell("loss", {"loss": loss}) for loss in event.losses.values())
        name = {"head": _HEAD, "": "rates"}.get(event.stage, "epoch")
        done, total = event.epoch * event.steps + event.step, event.epochs * event.steps
        shown = f"{name} {event.epoch + 1}/{event.epochs}" if event.stage else name
        # How long all layers take is not known while the last one trains alone.
        self._show(name, done, total, f"loss {losses}", shown, ends=event.stage != "head")

    def _epoch(self, event: EpochEnded) -> None:
        if self._epochs is None or event.epoch == 0:
            width = self._console.width if self._console.is_terminal else WIDTH
            self._epochs = EpochTable(event, width)
            for line in self._epochs.heads:
                self._above(line)
        for line in self._epochs.lines(event):
            self._above(line)

    def _above(self, line: str) -> None:
        self._console.print(Text(printable(line)))

    def _begin(self, name: str, total: int | None, done: int = 0) -> TaskID:
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._name = name
        self._task = self._add(name, total, done)
        return self._task

    def _add(self, name: str, total: int | None, done: int = 0) -> TaskID:
        return self._bar.add_task(printable(name), total=total, completed=done, count="", extra="", ends=True)

    def _show(
        self, name: str, done: int, total: int, extra: str = "", shown: str = "", *, ends: bool = True
    ) -> None:
        """Show how far a part of the work is. shown: its name now.  ends: whether it has a time left."""
        extra, shown = printable(extra), printable(shown or name)
        if self._task is None or name != self._name:
            self._begin(name, total, done - 1)
        assert self._task is not None
        self._bar.update(
            self._task,
            completed=done,
            total=total,
            extra=extra,
            description=shown,
            count=f"{done}/{total}",
            ends=ends,
        )
        if not self._console.is_terminal and time.monotonic() - self._shown >= SECONDS_BETWEEN_LINES:
            self._shown = time.monotonic()
            task = next(task for task in self._bar.tasks if task.id == self._task)
            self.note("  ".join(part for part in (f"{shown}: {done}/{total}", pace(task), extra) if part))


class _Bar(BarColumn):
    """A bar where it is known how much there is to do."""

    def render(self, task: Task) -> Text:  # type: ignore[override]
        """The bar, or nothing."""
        return Text("") if task.total is None else super().render(task)  # type: ignore[return-value]


class _Pace(ProgressColumn):
    """How fast it goes, and how long it will take; or for how long it has been at work."""

    def render(self, task: Task) -> Text:
        """Return the words."""
        return Text(pace(task))


def pace(task: Task) -> str:
    """Return how many a second, and the time left; of a task without an end, the time that has passed."""
    if task.total is None:
        return f"{task.elapsed or 0:.0f} s"
    speed = task.speed
    if not speed:
        return ""
    rate = f"{speed:.0f}/s" if speed >= 10 else f"{speed:.1f}/s" if speed >= 1 else f"{1 / speed:.1f} s each"
    left = (task.remaining or 0) / speed
    return f"{rate}, {minutes(left)} left" if task.fields["ends"] else rate


#: Between two columns, and between two targets.
_GAP, _WIDE_GAP = "  ", "   "


class EpochTable:
    """A line for each epoch, in columns: each target's training loss, and its scores on the validation rows.

    Where the window is too narrow for all, columns of less weight are left out, the training loss first; the
    run's ``history.jsonl`` has them all.
    """

    def __init__(self, first: EpochEnded, width: int) -> None:
        self._groups: dict[str, list[tuple[str, str]]] = {}
        for name in dict.fromkeys([*first.train, *first.valid]):
            scores = first.valid.get(name, {})
            columns = [(_HEADINGS.get(word, word), key) for key, word in EPOCH.items() if key in scores]
            weight = [("weight", "weight")] * (first.task_weights.get(name, 1.0) != 1.0)
            self._groups[name] = [("train", "loss"), *columns, *weight]
        self._left_out = 0
        while self._width() > width and self._drop():
            pass
        self.heads = self._heads()

    def _drop(self) -> bool:
        """Leave out what matters least; returns whether anything was left to leave out."""
        for unwanted in ("weight", "loss", "r2", "log_loss", "rank_error"):
            # Each kind of target has one score that stays.
            wide = [group for group in self._groups.values() if len(group) > 1]
            holders = [group for group in wide if any(key == unwanted for _, key in group)]
            if holders:
                for group in holders:
                    group[:] = [column for column in group if column[1] != unwanted]
                return True
        if len(self._groups) > 1:
            self._groups.popitem()
            self._left_out += 1
            return True
        return False

    def _width(self) -> int:
        return max(map(cell_len, self._heads()))

    def _heads(self) -> list[str]:
        """The names of targets over their columns, and the headings."""
        names, words = [" " * len(_epoch_cell(0, ""))], [f"{'epoch':<{len(_epoch_cell(0, ''))}}"]
        for name, group in self._groups.items():
            line = _GAP.join(_cell(word) for word, _ in group)
            names.append(cut(name, len(line)))
            words.append(line)
        names.append(f"+{self._left_out} more" if self._left_out else "")
        words.append(f"{'time':>6}")
        return [_WIDE_GAP.join(names).rstrip(), _WIDE_GAP.join(words)]

    def lines(self, epoch: EpochEnded) -> list[str]:
        """The line of an epoch; and another one where updates were skipped."""
        parts = [_epoch_cell(epoch.epoch, epoch.stage)]
        for name, group in self._groups.items():
            cells = [self._score(epoch, name, key) for _, key in group]
            parts.append(_GAP.join(map(_cell, cells)))
        seconds = f"{epoch.seconds:.0f} s" if epoch.seconds < 600 else minutes(epoch.seconds)
        lines = [_WIDE_GAP.join([*parts, f"{seconds:>6}"])]
        steps = epoch.epoch_steps or 0
        skipped = 0 if epoch.updates is None else steps - epoch.updates
        if skipped:
            lines.append(f"  {skipped} of {steps} updates skipped (half precision overflowed)")
        return lines

    def _score(self, epoch: EpochEnded, name: str, key: str) -> str:
        if key == "weight":
            return f"{epoch.task_weights.get(name, 1.0):.2f}"
        if key == "r2":
            value = epoch.valid.get(name, {}).get(key)
            return f"{value:.3f}" if isinstance(value, float) and math.isfinite(value) else "-"
        scores = (epoch.train if key == "loss" else epoch.valid).get(name, {})
        return score_cell(key, scores, nothing="-") or "-"


def _epoch_cell(epoch: int, stage: str) -> str:
    """The first column: an epoch's number, and whether the last layer alone was trained."""
    return f"{epoch + 1:>3} {_HEAD if stage == 'head' else '':<{len(_HEAD)}}"


def _cell(text: str) -> str:
    return " " * (7 - cell_len(text)) + text


class MembersDisplay:
    """A live table of members; without a terminal, a line when a member ends."""

    def __init__(self) -> None:
        self._console = progress_console()
        self._spinner = Spinner("dots")
        self._rows: Sequence[MemberRow] = ()
        self._stage, self._began = "loading", time.monotonic()
        self._told: dict[str, str] = {}
        self._live = Live(
            console=self._console, get_renderable=self._draw, refresh_per_second=4, transient=True
        )

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def _draw(self) -> Group:
        lines = members_lines(self._rows, self._console.width) if self._rows else []
        self._spinner.update(text=Text(f"{self._stage}  {minutes(time.monotonic() - self._began)}"))
        return Group(*lines, self._spinner)

    def note(self, text: str) -> None:
        """Print a message above the table."""
        say(text)

    def progress(self, event: Event) -> None:
        """Show an event."""
        if isinstance(event, StageBegan):
            self._stage = printable(event.name)
            if not self._console.is_terminal:
                self.note(event.name)
        if not isinstance(event, MembersChanged):
            return
        if any(row.status == "running" for row in event.rows):
            self._stage = "training"
        self._rows = event.rows
        if self._console.is_terminal:
            return
        for row in event.rows:
            if self._told.get(row.member, "waiting") != row.status:
                self._told[row.member] = row.status
                self.note(f"{row.member}: {_line(row)}")


def _line(row: MemberRow) -> str:
    if row.status != "finished":
        return row.stage or row.status
    return f"finished, {short_scores(row.scores)}, {row.seconds:.0f} s, {gib(row.peak_bytes)}"


#: How a member's line looks.
_STYLES = {"waiting": "dim", "failed": "red"}
#: The most letters of a member's name and of its stage in a table of members.
_NAME, _STAGE = 26, 22


def members_lines(rows: Sequence[MemberRow], width: int) -> list[Text]:
    """Return a table of members of at most `width` letters, a line each: stage, scores, and the time left."""
    name = min(max(len("member"), *(cell_len(cell_text(row.member)) for row in rows)), _NAME)
    score = max(width - name - _STAGE - 7 - 3 * len(_GAP), 0)

    def line(cells: Sequence[str], left: str, style: str) -> Text:
        parts = [cut(cell, room) for cell, room in zip(cells, (name, _STAGE, score), strict=True)]
        return Text(_GAP.join([*parts, f"{left:>7}"]).rstrip(), style, no_wrap=True)

    lines = [line(("member", "stage", "score"), "left", "")]
    for row in rows:
        cells = (row.member, row.stage or row.status, short_scores(row.scores))
        lines.append(line(cells, minutes(row.seconds_left), _STYLES.get(row.status, "")))
    known = [row.seconds for row in rows if row.status == "finished" and row.seconds]
    waiting = sum(row.status == "waiting" for row in rows)
    now = [row.seconds_left or 0.0 for row in rows if row.status == "running"]
    if known and (waiting or now):
        lines.append(line(("", "", ""), minutes(sum(now) + waiting * sum(known) / len(known)), ""))
    return lines


def cut(text: str, width: int) -> str:
    """A text in exactly `width` letters; one that is longer ends in three dots."""
    text = cell_text(text)
    fits = cell_len(text) <= width
    return set_cell_size(text, width) if fits or width < 1 else set_cell_size(text, width - 1) + "…"
