"""One way to make a run: its messages, its record, its name, and what is hashed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tenfold.errors import RunError, TrainingError
from tenfold.recipe import Recipe
from tenfold.runs import fitting, folder
from tenfold.runs.fitting import run_fit
from tenfold.runs.folder import RunFolder, read_run
from tenfold.runs.job import Fitted, Notes
from tenfold.runs.record import RunRecord
from tenfold.schema import Schema

SCHEMA = Schema(inputs=(), targets=())


class Job:
    """A training of nothing."""

    word = "training"

    def __init__(self, identity: dict[str, Any], stopped: str = "") -> None:
        self.identity, self.stopped, self.trained = identity, stopped, 0

    @contextmanager
    def machine(self) -> Iterator[Callable[[], int]]:
        yield lambda: 77

    def continues(self, recipe: object) -> None:
        """Nothing depends on what was begun."""

    def prepare(self, notes: Notes) -> Job:
        notes.add(["prepared"])
        return self

    def train(self, made: RunFolder, notes: Notes) -> Fitted:
        self.trained += 1
        made.write_text("weights.safetensors", "many")
        notes.add(["trained"])
        return Fitted(SCHEMA, Recipe(), {"kind": "network", "rows": 2}, self.stopped, "a lower --lr")


@pytest.fixture(autouse=True)
def opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "open_run", lambda path, record: (path, record))


def make(job: Job, path: Path, **options: Any) -> tuple[Path, RunRecord]:
    return run_fit(job, path, **options)  # type: ignore[return-value]


def test_a_run_is_described_and_returned_as_it_was_written(tmp_path: Path) -> None:
    heard: list[str] = []
    path, record = make(Job({"data": "x"}), tmp_path / "run", log=heard.append)
    assert read_run(path)[1] == record and heard == record.notes == ["prepared", "trained"]
    assert (record.kind, record.rows, record.peak_bytes, record.identity) == ("network", 2, 77, {"data": "x"})


def test_weights_are_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []
    digest = folder.file_digest
    monkeypatch.setattr(folder, "file_digest", lambda path: hashed.append(path.name) or digest(path))
    make(Job({"data": "x"}), tmp_path / "run")
    assert hashed.count("weights.safetensors") == 1


def test_what_has_finished_is_not_trained_again(tmp_path: Path) -> None:
    make(Job({"data": "x"}), tmp_path / "run")
    again, heard = Job({"data": "x", "precision": "float16"}), list[str]()
    _, record = make(again, tmp_path / "run", resume=True, log=heard.append)
    assert again.trained == 0 and record.rows == 2 and "has finished already" in heard[-1]


def test_another_training_is_not_taken_for_it(tmp_path: Path) -> None:
    make(Job({"data": "x"}), tmp_path / "run")
    with pytest.raises(RunError, match="is of another training"):
        make(Job({"data": "y"}), tmp_path / "run", resume=True)


def test_a_training_that_stopped_early_leaves_its_run_and_says_so(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="the loss is NaN") as caught:
        make(Job({"data": "x"}, stopped="the loss is NaN"), tmp_path / "run")
    assert caught.value.labels["fix"] == "a lower --lr" and read_run(tmp_path / "run")[1].rows == 2


def test_a_run_without_a_name_gets_the_next_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fitting, "job_for", lambda *_: None)
    monkeypatch.setattr(fitting, "run_fit", lambda job, path, **_: path)
    asked = {"report": False, "history": False}
    fit_anywhere = partial(fitting.fit, SCHEMA, Recipe(), "t.csv", **asked)
    assert fit_anywhere() == Path("runs/001")  # type: ignore[comparison-overlap]
    # A run that is being made, one that has a name, and one that has a number.
    for name in ("001.part", "first", "002", "004"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    assert fit_anywhere() == Path("runs/003")  # type: ignore[comparison-overlap]
