"""`FitJob`: what `fitting.run_fit` needs of a training; and its messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

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
        """Log a line about this process alone, which is not kept."""
        log_all(self._log, [line])


def log_all(log: Log | None, lines: Iterable[str]) -> None:
    """Log each line, unless `log` is None."""
    if log is not None:
        for line in lines:
            log(line)


class PeakMemory(Protocol):
    """The peak memory since a training began, in bytes."""

    def __call__(self) -> int: ...


class FitJob(Protocol):
    """A training, with its schema, recipe, table and options."""

    #: Its name in messages: ``training`` or ``fit``.
    word: str

    def machine(self) -> AbstractContextManager[PeakMemory]:
        """Set up the machine (threads, memory), and count its peak memory from here on."""
        ...

    def continues(self, recipe: Mapping[str, object]) -> None:
        """Take the default of an earlier version where the run that goes on, of this recipe, has it."""
        ...

    def prepare(self, notes: Notes) -> Prepared:
        """Read and check everything. Raises a TenfoldError for what is wrong with the input."""
        ...


class SharedJob(FitJob, Protocol):
    """A training that several processes may share, each with a device of its own."""

    def take_part(self) -> Path | None:
        """Share the training that the first process makes a run of; returns that run's folder in the end.
        None where it had finished already."""
        ...


class Prepared(Protocol):
    """A training that is ready to start."""

    @property
    def identity(self) -> Mapping[str, object]:
        """All that decides the answer, except this machine's precision, in JSON's types."""
        ...

    def train(self, folder: RunFolder, notes: Notes) -> Fitted:
        """Train, from the folder's checkpoint if any, and write the files of this kind of run."""
        ...


@dataclass(frozen=True)
class Fitted:
    """The result of a training.

    schema, recipe: with what follows from the table.  record: for ``run.json``; `run_fit` adds the rest.
    stopped: why it stopped early, with the weights of its last good epoch; "" if it did not.  fix: of that.
    """

    schema: Schema
    recipe: AnyRecipe
    record: Mapping[str, object]
    stopped: str = ""
    fix: str = ""
