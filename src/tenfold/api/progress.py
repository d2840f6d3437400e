"""Progress of a training in Python: lines and a bar in a terminal, a table that grows in a notebook."""

from __future__ import annotations

import html
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from tenfold.errors import printable
from tenfold.events import EpochEnded, Event, ImagesRead, Listener, RowsPredicted, StepEnded, SweepEnded
from tenfold.frames import cell_words, html_table
from tenfold.targets.words import EPOCH
from tenfold.values import Log, Scores

#: Seconds between two drawings of a notebook's table.
PAUSE = 0.2


class _Handle(Protocol):
    def update(self, shown: object) -> None: ...


class NotebookProgress:
    """What a notebook shows of a training: a bar, a row per epoch, and messages that are folded away."""

    def __init__(self) -> None:
        self.rows: list[dict[str, str]] = []
        self.notes: list[str] = []
        self.bar = ""
        self._handle: _Handle | None = None
        self._drawn = 0.0

    def progress(self, event: Event) -> None:
        """Show an event."""
        match event:
            case ImagesRead():
                self._advance(f"reading {event.column}", event.done, event.total)
            case RowsPredicted():
                self._advance(event.what, event.done, event.total)
            case StepEnded():
                self._advance(f"epoch {event.epoch + 1}/{event.epochs}", event.step, event.steps)
            case SweepEnded():
                self._advance("sweeps", event.done, event.total, event.extra)
            case EpochEnded():
                self.rows.append(epoch_row(event))
                self.draw()

    def note(self, text: str) -> None:
        """Add a message."""
        self.notes.append(text)

    def finish(self) -> None:
        """Take the bar away, and draw for the last time."""
        self.bar = ""
        if self._handle is not None or self.rows or self.notes:
            self.draw()

    def _advance(self, name: str, done: int, total: int, extra: str = "") -> None:
        words = html.escape(printable(f"{name}: {done} of {total} {extra}"))
        self.bar = f'<div><progress value="{done}" max="{max(total, 1)}"></progress> {words}</div>'
        if time.monotonic() - self._drawn >= PAUSE:
            self.draw()

    def draw(self) -> None:
        """Draw it, in the place where it was drawn before."""
        self._drawn = time.monotonic()
        display = getattr(sys.modules.get("IPython.display"), "display", None)
        if display is None:
            return
        if self._handle is None:
            self._handle = display(self, display_id=True)
        else:
            self._handle.update(self)

    def __repr__(self) -> str:
        return f"{len(self.rows)} epochs, {len(self.notes)} messages"

    def _repr_html_(self) -> str:
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        table = html_table("", names, [[row.get(name, "") for name in names] for row in self.rows])
        lines = "".join(f"<div>{html.escape(printable(note))}</div>" for note in self.notes)
        notes = f"<details><summary>{len(self.notes)} messages</summary>{lines}</details>" if lines else ""
        return f"{table if self.rows else ''}{self.bar}{notes}"


def epoch_row(epoch: EpochEnded) -> dict[str, str]:
    """An epoch as the row of a table: each target's losses and scores, and the time."""
    row = {"epoch": f"{epoch.epoch + 1}" + (" (head)" if epoch.stage == "head" else "")}
    names = list(dict.fromkeys([*epoch.train, *epoch.valid]))
    for name in names:
        prefix = f"{name} " if len(names) > 1 else ""
        train, valid = epoch.train.get(name, {}), epoch.valid.get(name, {})
        row[f"{prefix}training loss"] = cell_words(train.get("loss"))
        row |= {f"{prefix}{word}": _score(key, valid) for key, word in EPOCH.items() if key in valid}
    return {**row, "seconds": f"{epoch.seconds:.0f}"}


def _score(name: str, scores: Scores | Mapping[str, object]) -> str:
    value = scores[name]
    if name == "error_rate" and isinstance(value, float) and value == value:
        return f"{value:.1%}"
    return cell_words(value)


def in_notebook() -> bool:
    """Whether the code runs in a notebook, whose cells show HTML."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


@contextmanager
def showing(
    quiet: bool, on_progress: Listener | None = None, on_note: Log | None = None
) -> Iterator[tuple[Listener | None, Log | None]]:
    """Yield who is told of progress and of messages: the given ones, or else what shows them here.

    quiet: show nothing.
    """
    if quiet or on_progress is not None or on_note is not None:
        yield on_progress, on_note
    elif in_notebook():
        shown = NotebookProgress()
        try:
            yield shown.progress, shown.note
        finally:
            shown.finish()
    else:
        from tenfold.cli.progress import Display

        with Display() as display:
            yield display.progress, display.note
