"""How trainings stand: time that is left, marks of the data, and all faults as one error."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tenfold.data.tables.jobfile import EnsembleFile
from tenfold.ensembles.status import MemberStatus, data_mark, refusal_of, unit_mark
from tenfold.errors import RecipeError
from tenfold.members import FoldTraining
from tenfold.recipe import Recipe
from tenfold.runs.options import Reading
from tenfold.schema import CategoryTarget, ImageColumn, Schema


def test_time_left_comes_from_the_steps_taken() -> None:
    one = MemberStatus(FoldTraining("one", 0, Recipe()))
    assert one.seconds_left is None and one.row().status == "waiting"
    one.status, one.fraction, one.began = "running", 0.25, time.monotonic() - 10
    assert one.seconds_left == pytest.approx(30, rel=0.1)


def file_of(folder: Path) -> EnsembleFile:
    image = ImageColumn(name="id", folder=str(folder / "photos"))
    schema = Schema(inputs=(image,), targets=(CategoryTarget(name="label"),))
    return EnsembleFile(str(folder / "train.csv"), "", schema, {}, {})


def test_a_mark_changes_with_table_pictures_and_weights(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(b"x")
    table = tmp_path / "train.csv"
    table.write_text("id,label\na.png,cat\n")
    reading = Reading()
    first = data_mark(file_of(tmp_path), reading)
    assert first == data_mark(file_of(tmp_path), reading)
    # The same size and time, other bytes.
    status = table.stat()
    table.write_text("id,label\na.png,dog\n")
    os.utime(table, ns=(status.st_atime_ns, status.st_mtime_ns))
    second = data_mark(file_of(tmp_path), reading)
    (tmp_path / "photos" / "b.png").write_bytes(b"y")
    third = data_mark(file_of(tmp_path), reading)
    assert len({first, second, third, data_mark(file_of(tmp_path), Reading(skip_bad=True))}) == 4
    weights = tmp_path / "w.pth"
    weights.write_bytes(b"1")
    before = unit_mark(first, Recipe(weights=str(weights)))
    weights.write_bytes(b"2")
    assert before != unit_mark(first, Recipe(weights=str(weights)))
    assert data_mark(EnsembleFile("none.csv", "", file_of(tmp_path).schema, {}, {}), reading)


def test_all_faults_become_one_error() -> None:
    fault = {"member": "one", "message": "no such size", "problems": ["a"], "fix": "take 224"}
    error = refusal_of([fault, {**fault, "member": "", "message": "no column", "fix": ""}])
    assert isinstance(error, RecipeError)
    assert error.problems == ("one: no such size (take 224)", "one: a", "no column", "a")
