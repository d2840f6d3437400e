"""A small network that learns a finished run's answers, beside the same trained on the labels alone."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from tenfold.errors import RunError
from tenfold.events import Listener
from tenfold.networks.opened import ALONE, OpenedNetwork, networks_of, open_teacher
from tenfold.recipe import Recipe
from tenfold.runs.fitting import fit
from tenfold.runs.heldout import remembered_rows
from tenfold.runs.options import Machine, Reading
from tenfold.runs.registry import load_run
from tenfold.runs.run import Run
from tenfold.values import Log, TargetScores

#: Choices that follow the teacher's first network where they are not given: the split, and what pictures are.
INHERITED = ("seed", "split_seed", "valid", "fold", "resize", "flip")
#: Pictures that the time of an answer is measured on, and how often.
TIMED, TIMES = 16, 3


class Measured(TypedDict):
    """A run of a distillation: its weights in bytes, seconds to answer a picture, scores on held-out rows."""

    name: str
    run: str
    arch: str
    bytes: int
    seconds_per_row: float | None
    targets: TargetScores


@dataclass(frozen=True)
class Distilled:
    """A distillation. run: the small network.  measured: teacher, distilled, and on labels alone."""

    run: Run
    measured: Sequence[Measured]
    notes: Sequence[str]

    def record(self) -> dict[str, object]:
        """What ``tenfold distill --json`` prints (docs/formats.md)."""
        return {"run": str(self.run.path), "models": list(self.measured), "notes": list(self.notes)}


def distill(
    teacher: str | os.PathLike[str],
    recipe: Recipe,
    *,
    output: str | os.PathLike[str],
    table: object = None,
    compare: bool = True,
    reading: Reading | None = None,
    machine: Machine | None = None,
    resume: bool = False,
    on_progress: Listener | None = None,
    on_note: Log | None = None,
) -> Distilled:
    """Train a small network on the answers of a finished run of pictures, a network or an ensemble.

    recipe: of the small network; its split, seeds, resizing and mirroring are the teacher's unless given.
    output: its folder.  table: instead of the one that the teacher was trained on.
    compare: train the same network on the labels alone, too, with the same seeds, in ``OUTPUT-labels``.
    resume: go on with unfinished trainings; finished ones are taken as they are.

    Raises RunError where the teacher's table is gone, RecipeError where the run cannot teach.
    """
    whole = load_run(teacher)
    first = networks_of(whole)
    own = {name: getattr(first[0].recipe, name) for name in INHERITED} if first else {}
    given = recipe.model_fields_set
    changes = {name: value for name, value in own.items() if name not in given}
    if "fold" in given or "valid" in given:
        changes = {name: value for name, value in changes.items() if name not in ("fold", "valid")}
    recipe = Recipe(**{**recipe.model_dump(exclude_unset=True), **changes, "teacher": os.fspath(teacher)})
    open_teacher(recipe, whole.schema)
    source = table if table is not None else _table_of(whole, first)
    how = {"reading": reading, "machine": machine, "resume": resume}
    tell = {"on_progress": on_progress, "on_note": on_note}
    small = fit(whole.schema, recipe, source, run=output, **how, **tell)
    runs = [("teacher", whole), ("distilled", small)]
    notes = _leaks(first, small)
    if compare:
        if on_note is not None:
            on_note("the same network on the labels alone")
        kept = networks_of(small)[0].encoding.image_size
        alone = recipe.model_dump(exclude_unset=True) | {"teacher": "", "extra": "", "item_size": kept}
        folder = Path(f"{os.fspath(output).rstrip('/')}{ALONE}")
        runs.append(("labels alone", fit(whole.schema, Recipe(**alone), source, run=folder, **how, **tell)))
    rows = _timed_rows(small)
    measured = [_measured(name, run, rows, reading or Reading()) for name, run in runs]
    return Distilled(small, measured, notes)


def _table_of(run: Run, networks: Sequence[OpenedNetwork]) -> str:
    known = [one.record.table for one in (run, *networks) if one.record.table]
    there = [path for path in known if path and os.path.exists(path)]
    if not there:
        raise RunError(
            f"the table that {run.path} was trained on is not there",
            found=", ".join(dict.fromkeys(map(str, known))) or "it was in memory",
            fix="give it: --table TABLE",
        )
    return str(there[0])


def _leaks(networks: Sequence[OpenedNetwork], small: Run) -> list[str]:
    """A note where some of the teacher's networks have seen the labels of the held-out rows."""
    own = small.record.fingerprint.get("scored")
    others = [one for one in networks if one.record.fingerprint.get("scored") != own]
    if not others or not small.record.valid_rows:
        return []
    return [
        f"{len(others)} of {len(networks)} of the teacher's networks held out other rows, and know labels "
        "of the rows that are scored here: the scores of teacher and distilled network are too good"
    ]


def _timed_rows(run: Run) -> dict[str, list[object]] | None:
    """Some held-out rows; None where a row needs more than its picture."""
    kept = remembered_rows(run.path, "validation.parquet", run.schema, networks_of(run)[0].encoding.classes)
    return None if kept is None else {name: cells[:TIMED] for name, cells in kept.items()}


def _measured(name: str, run: Run, rows: dict[str, list[object]] | None, reading: Reading) -> Measured:
    """Size, time and scores of a run. The least of some times: the machine may have had other work."""
    seconds = None
    if rows is not None:
        taken = []
        for _ in range(TIMES + 1):
            started = time.perf_counter()
            run.predict(rows, reading=reading)
            taken.append((time.perf_counter() - started) / max(1, len(next(iter(rows.values())))))
        seconds = min(taken[1:])
    networks = networks_of(run)
    return {
        "name": name,
        "run": str(run.path),
        "arch": ", ".join(dict.fromkeys(one.recipe.arch for one in networks)),
        "bytes": sum((one.path / "weights.safetensors").stat().st_size for one in networks),
        "seconds_per_row": seconds,
        "targets": run.scores,
    }
