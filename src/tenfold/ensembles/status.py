"""The status of an ensemble's trainings, and marks that tell whether a training is still the same."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tenfold.data.tables.jobfile import EnsembleFile
from tenfold.ensembles.requests import Fault, reading_values
from tenfold.errors import RecipeError, TenfoldError
from tenfold.events import MemberRow
from tenfold.members import FoldTraining
from tenfold.recipe import AnyRecipe, network_recipe
from tenfold.runs.folder import file_digest
from tenfold.runs.options import Reading
from tenfold.runs.record import RunRecord
from tenfold.values import TargetScores


@dataclass
class MemberStatus:
    """A training of a member, and its status: ``waiting``, ``running``, ``finished`` or ``failed``.

    stage: what it does now, or why it failed.  fraction: of its steps that are done.
    mark: identifies the data and the weights file of the training.
    """

    unit: FoldTraining
    mark: str = ""
    status: str = "waiting"
    stage: str = ""
    fraction: float = 0.0
    began: float = 0.0
    seconds: float = 0.0
    overhead: float = 0.0
    peak_bytes: int = 0
    scores: TargetScores = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.unit.name

    @property
    def is_finished(self) -> bool:
        """Whether its run is finished."""
        return self.status == "finished"

    @property
    def seconds_left(self) -> float | None:
        """The estimate from the steps so far; None before the first 2 % of them."""
        if self.status != "running" or self.fraction < 0.02:
            return None
        return (time.monotonic() - self.began) * (1 - self.fraction) / self.fraction

    def finish(self, record: RunRecord) -> None:
        """Take the scores and costs of the finished run."""
        self.status, self.stage, self.fraction = "finished", "finished", 1.0
        self.seconds, self.peak_bytes, self.scores = record.seconds, record.peak_bytes, record.targets

    def row(self) -> MemberRow:
        """The row in the table that is shown while it runs."""
        return MemberRow(
            member=self.name,
            status=self.status,
            stage=self.stage,
            scores=self.scores,
            peak_bytes=self.peak_bytes,
            seconds=self.seconds,
            seconds_left=self.seconds_left,
        )


def refusal_of(faults: Sequence[Fault]) -> TenfoldError:
    """Join the faults of a check in one error."""
    problems, hint = [], ""
    for fault in faults:
        where = f"{fault['member']}: " if fault["member"] else ""
        fix = f" ({fault['fix']})" if fault["fix"] else ""
        problems.append(f"{where}{fault['message']}{fix}")
        problems += [f"{where}{problem}" for problem in fault["problems"]]
        hint = hint or fault["fix"]
    return RecipeError("the ensemble cannot be trained, and nothing was", problems=problems, fix=hint)


def data_mark(file: EnsembleFile, reading: Reading) -> str:
    """Digest the schema, the reading, the table's bytes, and the sizes and times of the pictures.

    Equal marks mean equal data; where marks differ, the worker of a member finds the difference.
    """
    digest = hashlib.sha256(file.schema.to_toml().encode())
    values = sorted((name, str(value)) for name, value in reading_values(reading).items())
    digest.update(repr(values).encode())
    table = Path(file.table)
    sides = [Path(path) for path in (file.schema.user_table, file.schema.item_table) if path is not None]
    for path in (table, *sides):
        if path.is_file():
            digest.update(file_digest(path).encode())
    folders = [table] if table.is_dir() else []
    folders += [Path(reading.folders.get(column.name, column.folder)) for column in file.schema.images]
    for folder in folders:
        for line in _listing(folder):
            digest.update(os.fsencode(line))
    return digest.hexdigest()


def _listing(folder: Path) -> list[str]:
    lines = []
    for root, _, files in os.walk(folder):
        for name in files:
            path = os.path.join(root, name)
            try:
                status = os.stat(path)
            except OSError:
                continue
            lines.append(f"{os.path.relpath(path, folder)} {status.st_size} {status.st_mtime_ns}\n")
    return sorted(lines)


def unit_mark(data: str, recipe: AnyRecipe) -> str:
    """Digest the data's mark and the weights that a member starts from."""
    if recipe.of_ratings:
        return hashlib.sha256(data.encode()).hexdigest()
    given = network_recipe(recipe).weights
    own = file_digest(Path(given)) if Path(given).is_file() else given
    return hashlib.sha256(f"{data} {own}".encode()).hexdigest()
