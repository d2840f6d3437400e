"""Trainings of a study as tasks: the same answers, told in whatever order the tasks end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest

from photos import write_table
from tenfold.data.synthetic import draw_ratings
from tenfold.ensembles.children import Needs, Tell
from tenfold.ensembles.requests import request_of
from tenfold.ensembles.worker import _answer
from tenfold.errors import SchemaError, TenfoldError, TrainingError
from tenfold.events import Event, event_of
from tenfold.recipe import FactorRecipe, Recipe
from tenfold.runs.record import nan_to_none
from tenfold.runs.registry import load_run
from tenfold.schema import CategoryTarget, IdColumn, NumberColumn, RatingTarget, Schema
from tenfold.studies import remote, scored
from tenfold.studies.compare import compare_targets
from tenfold.studies.remote import table_path
from tenfold.studies.search import search
from tenfold.studies.tune import tune

RATINGS = Schema(
    inputs=(IdColumn(name="user"), IdColumn(name="item")), targets=(RatingTarget(name="rating"),)
)
CELLS = Schema(inputs=(NumberColumn(name="a"),), targets=(CategoryTarget(name="y"), CategoryTarget(name="z")))


class Cancelled(Exception):
    pass


class InThisProcess:
    """Tasks that run here when somebody waits for them, the last that was started first."""

    def __init__(self, on: str | None, tell: Tell) -> None:
        self.running: dict[str, Mapping[str, object]] = {}
        self.tell = tell

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.running.clear()

    def start(self, name: str, request: Mapping[str, object], errors: Path, needs: Needs) -> None:
        assert needs.threads >= 1
        self.running[name] = request

    def cancel(self, name: str) -> None:
        del self.running[name]

    def next_finished(self) -> Any:
        while self.running:
            name = list(self.running)[-1]

            def hear(event: Event, name: str = name) -> None:
                # As a worker writes it.
                self.tell(name, event_of(nan_to_none(event.to_dict())))
                if name not in self.running:
                    raise Cancelled

            ended = Ended(name)
            try:
                ended.answer = {"event": "done", **nan_to_none(_answer(request_of(self.running[name]), hear))}
            except Cancelled:
                continue
            except TenfoldError as error:
                ended.answer = {"event": "failed", "kind": type(error).__name__, "message": error.headline}
                ended.answer["problems"] = list(error.problems)
            del self.running[name]
            return ended
        return None


class Ended:
    seconds = 1.0

    def __init__(self, name: str) -> None:
        self.name, self.answer = name, dict[str, Any]()

    def failure(self) -> str:
        return "" if self.answer["event"] == "done" else self.answer["message"]


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (remote, scored):
        monkeypatch.setattr(module, "tasks_on", InThisProcess)


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> str:
    a = np.random.default_rng(0).normal(size=120).round(4)
    columns = {"a": list(a), "y": ["far" if abs(x) > 0.6 else "near" for x in a], "z": ["p", "q"] * 60}
    return str(write_table(tmp_path_factory.mktemp("cells") / "cells.csv", columns))


@pytest.mark.metamorphic("trials that run as tasks, in any order, are those that run here")
def test_a_search_prunes_and_proposes_as_it_does_here(cells: str, tmp_path: Path) -> None:
    schema = CELLS.model_copy(update={"targets": CELLS.targets[:1]})
    recipe = Recipe(epochs=4, lr=0.02, hidden=(16,), seed=1)
    how: dict[str, Any] = {"trials": 9, "at_once": 3, "within": ["lr=1e-6:0.05"]}
    found = [search(["lr"], schema, recipe, cells, on=on, **how) for on in (None, "tasks")]
    told = [[(t.choices, t.status, repr(t.score), repr(t.targets)) for t in one.trials] for one in found]
    assert told[0] == told[1] and "pruned" in {trial.status for trial in found[0].trials}
    assert found[0].best == pytest.approx(found[1].best, abs=0) or found[0].best.score == found[1].best.score
    assert found[1].train_rows == 96


def test_values_and_seeds_are_told_in_their_order(tmp_path: Path) -> None:
    drawn = draw_ratings(60, 40, 900, seed=4)
    table = write_table(tmp_path / "r.csv", {name: list(drawn[name]) for name in ("user", "item", "rating")})
    als = FactorRecipe(method="als", factors=4, epochs=3)
    found = [
        tune("wd", RATINGS, als, str(table), values=(0.1, 1), repeats=2, on=on) for on in (None, "tasks")
    ]
    assert [(t.value, t.seed, t.score, t.targets) for t in found[0].trials] == [
        (t.value, t.seed, t.score, t.targets) for t in found[1].trials
    ]
    assert found[0].train_rows == found[1].train_rows


def test_a_rate_at_which_the_loss_diverges_is_a_result_and_another_fault_is_not(
    cells: str, tmp_path: Path
) -> None:
    schema = CELLS.model_copy(update={"targets": CELLS.targets[:1]})
    recipe = Recipe(epochs=1, hidden=(8,), clip_norm=0)
    found = [tune("lr", schema, recipe, cells, values=(1e30,), on=on) for on in (None, "tasks")]
    assert found[0].trials[-1].failed == found[1].trials[-1].failed != ""
    unknown = schema.model_copy(update={"inputs": (NumberColumn(name="b"),)})
    with pytest.raises(TrainingError, match="no column 'b'"):
        tune("lr", unknown, recipe, cells, values=(0.1,), on="tasks")
    with pytest.raises(SchemaError, match="in memory"):
        table_path({"a": [1]})


def test_a_comparison_deals_the_same_folds_and_looks_at_what_is_there(cells: str, tmp_path: Path) -> None:
    how: dict[str, Any] = {"of": ["y"], "folds": 2}
    recipe = Recipe(epochs=1, hidden=(8,))
    found = [
        compare_targets(CELLS, recipe, cells, runs=tmp_path / str(on), on=on, **how) for on in (None, "tasks")
    ]
    assert found[0].targets == found[1].targets and found[0].rows == found[1].rows == 120
    for run in (tmp_path / "None").iterdir():
        other = tmp_path / "tasks" / run.name
        assert (run / "weights.safetensors").read_bytes() == (other / "weights.safetensors").read_bytes()
        assert load_run(run).record.fingerprint == load_run(other).record.fingerprint
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "tasks").glob("*/run.json")}
    again = compare_targets(CELLS, recipe, cells, runs=tmp_path / "tasks", on="tasks", **how)
    assert again.targets == found[0].targets
    assert times == {path: path.stat().st_mtime_ns for path in times}
    with pytest.raises(TenfoldError):
        compare_targets(CELLS, Recipe(epochs=2), cells, runs=tmp_path / "tasks", on="tasks", **how)
