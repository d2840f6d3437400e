"""Where trainings run: in worker processes of this machine, or on the nodes of a Ray cluster."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from tenfold.ensembles.children import Children, Needs, Tell

__all__ = ["Ended", "Tasks", "tasks_on"]


class Ended(Protocol):
    """A task. answer: the ``done`` or ``failed`` event of its worker, {} without one."""

    name: str
    answer: dict[str, Any]

    @property
    def seconds(self) -> float:
        """Seconds since its start."""
        ...

    def failure(self) -> str:
        """Why it did not finish, in a line; "" if it did."""
        ...


class Tasks(Protocol):
    """Running tasks by name. Leaving the block ends them."""

    @property
    def running(self) -> Mapping[str, object]:
        """Those that have not ended."""
        ...

    def __enter__(self) -> Self:
        """Ready to start tasks."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """End all."""
        ...

    def start(self, name: str, request: Mapping[str, object], errors: Path, needs: Needs) -> object:
        """Start a task on a request. errors: file for what it writes to standard error."""
        ...

    def next_finished(self) -> Ended | None:
        """Wait for the end of a task, and pass on the events of all; None where none runs any more."""
        ...

    def cancel(self, name: str) -> None:
        """End a task."""
        ...


def tasks_on(on: str | None, tell: Tell) -> Tasks:
    """Tasks of this machine's own processes, or with an address those of a Ray cluster."""
    if on is None:
        return Children(tell)
    from tenfold.ensembles.cluster import RayTasks

    return RayTasks(on, tell)
