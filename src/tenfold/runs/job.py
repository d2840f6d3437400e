"""What a way of fitting must say, so that `fitting.run_fit` can make a run of it; and its messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from tenfold.recipe import AnyRecipe
from tenfold.runs.folder import RunFolder
from tenfold.schema import Schema
from tenfold.values import Log


class Notes:
    """Messages of a training: kept for the run folder, and logged once, as they come."""

    def __init__(self, log: Log | None = None) -> None:
        self.lines: list[str] = []
        self._log = log

    def add(self, lines: Iterable[str]) -> None:
        """Keep these lines and log them."""
        for line in lines:
            self.lines.append(line)
            self.tell(line)

    def tell(self, line: str) -> None:
        """Log a line that is true of this process alone, and so is not kept."""
        if self._log is not None:
            self._log(line)


def log_all(log: Log | None, lines: Iterable[str]) -> None:
    """Log each line, where anybody listens."""
    for line in lines if log is not None else ():
        log(line)  # type: ignore[misc]


class PeakMemory(Protocol):
    """The most memory that was held since a training began."""

    def __call__(self) -> int:
        """In bytes."""
        ...


class FitJob(Protocol):
    """One way of fitting, with its schema, recipe, table and options."""

    #: What messages call it: ``training`` or ``fit``.
    word: str

    def machine(self) -> AbstractContextManager[PeakMemory]:
        """The machine as the job wants it (threads, memory), with its peak counted from here on."""
        ...

    def prepare(self, notes: Notes) -> Prepared:
        """Read and check everything. Raises a TenfoldError that names what is wrong with the input."""
        ...


class Prepared(Protocol):
    """A training that is ready to start."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """All that decides the answer, in JSON's types, but for this machine's precision."""
        ...

    def train(self, folder: RunFolder, notes: Notes) -> Fitted:
        """Train, from the folder's checkpoint where there is one, and write the files of this kind of run."""
        ...


@dataclass(frozen=True)
class Fitted:
    """What a training has come to.

    schema, recipe: with what follows from the table.  record: for ``run.json``, `run_fit` adds what all have.
    stopped: why it stopped early, with the weights of its last good epoch; "" where it did not. fix: of that.
    """

    schema: Schema
    recipe: AnyRecipe
    record: Mapping[str, Any]
    stopped: str = ""
    fix: str = ""
