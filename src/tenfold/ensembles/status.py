"""How an ensemble's trainings stand, and by what it is seen that one is still the same."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tenfold.data.tables.jobfile import EnsembleFile
from tenfold.errors import RecipeError, TenfoldError
from tenfold.events import MemberRow
from tenfold.members import FoldTraining
from tenfold.recipe import Recipe
from tenfold.runs.folder import file_digest
from tenfold.values import TargetScores


@dataclass
class MemberStatus:
    """One training of a member, and how it stands.

    status: ``waiting``, ``running``, ``finished`` or ``failed``.  stage: what it does now, or why it failed.
    mark: identifies the data and weights file that it was, or is to be, trained with.
    """

    unit: FoldTraining
    mark: str = ""
    status: str = "waiting"
    stage: str = ""
    part: float = 0.0
    began: float = 0.0
    seconds: float = 0.0
    overhead: float = 0.0
    peak_bytes: int = 0
    scores: TargetScores = field(default_factory=dict)

    @property
    def seconds_left(self) -> float | None:
        """Foreseen from the steps that it has taken; None where nothing is known yet."""
        if self.status != "running" or self.part < 0.02:
            return None
        return (time.monotonic() - self.began) * (1 - self.part) / self.part

    def row(self) -> MemberRow:
        """For the table that is shown while it runs."""
        return MemberRow(
            member=self.unit.name,
            status=self.status,
            stage=self.stage,
            scores=self.scores,
            peak_bytes=self.peak_bytes,
            seconds=self.seconds,
            seconds_left=self.seconds_left,
        )


def refusal_of(faults: Sequence[Mapping[str, Any]]) -> TenfoldError:
    """All faults that the check has found, as one error."""
    problems, hint = [], ""
    for one in faults:
        where = f"{one['member']}: " if one["member"] else ""
        fix = f" ({one['fix']})" if one["fix"] else ""
        problems.append(f"{where}{one['message']}{fix}")
        problems += [f"{where}{problem}" for problem in one["problems"]]
        hint = hint or one["fix"]
    return RecipeError("the ensemble cannot be trained, and nothing was", problems=problems, fix=hint)


def data_mark(file: EnsembleFile, reading: Mapping[str, Any]) -> str:
    """What table, schema and pictures look like from outside: the table's bytes, sizes and times of the rest.

    Equal marks are equal data; of different ones a member's own process finds out what is different.
    """
    digest = hashlib.sha256(file.schema.to_toml().encode())
    digest.update(repr(sorted((name, str(value)) for name, value in reading.items())).encode())
    table = Path(file.table)
    if table.is_file():
        digest.update(file_digest(table).encode())
    folders = [table] if table.is_dir() else []
    folders += [Path(reading["folders"].get(one.name, one.folder)) for one in file.schema.images]
    for folder in folders:
        for line in _listing(folder):
            digest.update(os.fsencode(line))
    return digest.hexdigest()


def _listing(folder: Path) -> list[str]:
    found = []
    for root, _, files in os.walk(folder):
        for name in files:
            path = os.path.join(root, name)
            try:
                status = os.stat(path)
            except OSError:
                continue
            found.append(f"{os.path.relpath(path, folder)} {status.st_size} {status.st_mtime_ns}\n")
    return sorted(found)


def unit_mark(data: str, recipe: Recipe) -> str:
    """The data's mark together with what a member's first weights are."""
    weights = Path(recipe.weights)
    own = file_digest(weights) if weights.is_file() else recipe.weights
    return hashlib.sha256(f"{data} {own}".encode()).hexdigest()
