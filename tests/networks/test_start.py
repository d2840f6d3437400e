"""A training that starts from a finished run begins where that one ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tenfold
from photos import QUICK, write_photos
from tenfold.errors import RecipeError, RunError
from tenfold.networks import timing
from tenfold.runs.history import read_history
from tenfold.schema import CategoryTarget, CountTarget, ImageColumn, NumberTarget, Schema

#: Steps so small that a network answers as it began.
STILL = {"epochs": 1, "lr": 1e-12, "weight_decay": 0.0, "batch_size": 8, "augment": "off", "quiet": True}


def schema_of(folder: Path, *targets: Any) -> Schema:
    return Schema(inputs=[ImageColumn(name="id", folder=str(folder / "photos"))], targets=targets)


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], Any]:
    folder = tmp_path_factory.mktemp("start")
    columns: dict[str, Any] = {**write_photos(folder, 60), "weight": np.linspace(10, 50, 60)}
    columns["spots"] = np.arange(60) % 9
    targets = CategoryTarget(name="label"), NumberTarget(name="weight"), CountTarget(name="spots")
    schema = schema_of(folder, *targets)
    recipe = QUICK.model_copy(update={"epochs": 4})
    return folder, columns, tenfold.fit(schema, recipe, columns, run=folder / "runs/one", quiet=True)


def test_it_begins_with_the_answers_of_its_parent_whatever_the_labels_scale(parent: Any) -> None:
    folder, columns, one = parent
    known = one.predict(columns)
    # Other labels have another mean and deviation, and their order is another one.
    other = {**columns, "weight": columns["weight"][::-1] * 3 + 100, "spots": columns["spots"] * 5}
    two = tenfold.fit(one.schema, None, other, run=folder / "runs/two", start=str(one.path), **STILL)
    assert (two.recipe.arch, two.recipe.image_size) == (one.recipe.arch, one.recipe.image_size)
    again = two.predict(columns)
    assert np.allclose(again.targets["label"].probabilities, known.targets["label"].probabilities, atol=1e-4)
    for name in ("weight", "spots"):
        assert np.allclose(again.targets[name].values, known.targets[name].values, rtol=1e-3)
    assert any("3 of 3 classes of label are known" in note for note in two.record.values["notes"])
    lines = {line.run: line.parent for line in read_history(folder / "runs")}
    assert lines["two"] == "one"


def test_classes_are_kept_by_name_added_and_removed(parent: Any) -> None:
    folder, columns, one = parent
    known = one.predict(columns).targets["label"]
    names = known.classes
    # The first class is gone, a new one stands before the others.
    relabelled = [f"aaa {names[0]}" if label == names[0] else label for label in columns["label"]]
    table = {"id": columns["id"], "label": relabelled}
    two = tenfold.fit(
        schema_of(folder, CategoryTarget(name="label")),
        *(None, table),
        run=folder / "runs/three",
        start=str(one.path),
        **STILL,
    )
    answer = two.predict(columns).targets["label"]
    assert answer.classes == (f"aaa {names[0]}", *names[1:])
    assert known.probabilities is not None and answer.probabilities is not None
    odds = [
        np.log(chances[:, -1] / chances[:, -2]) for chances in (known.probabilities, answer.probabilities)
    ]
    assert np.allclose(*odds, atol=1e-3)
    (note,) = [note for note in two.record.values["notes"] if "classes of label are known" in note]
    assert f"new: aaa {names[0]}" in note and f"no longer there: {names[0]}" in note


def test_it_learns_on(parent: Any) -> None:
    folder, columns, one = parent
    wider = {name: values for name, values in columns.items() if name in ("id", "label")}
    run = tenfold.fit(
        schema_of(folder, CategoryTarget(name="label")),
        *(None, wider),
        run=folder / "runs/four",
        start=str(one.path),
        epochs=2,
        quiet=True,
    )
    assert run.scores["label"]["log_loss"] <= one.scores["label"]["log_loss"] + 0.05
    assert run.recipe.batchnorm_group == "frozen" and run.recipe.lr == 1e-3


def test_what_cannot_be_gone_on_from_is_refused(parent: Any, tmp_path: Path) -> None:
    folder, columns, one = parent
    own = {"run": tmp_path / "run", "quiet": True}
    with pytest.raises(RunError, match="lost"):
        tenfold.fit(one.schema, None, columns, start=str(folder / "runs/lost"), **own)
    with pytest.raises(RecipeError, match="say two things"):
        tenfold.fit(one.schema, None, columns, start=str(one.path), weights="none", **own)
    with pytest.raises(RecipeError, match="pictures alone"):
        tenfold.fit(
            {"x": [1.0, 2.0] * 9, "y": [1.0, 2.0] * 9},
            number="x",
            target="y:number",
            start=str(one.path),
            **own,
        )
    assert not (tmp_path / "run").exists()


def test_a_limit_of_time_leaves_its_identity_as_it_is(parent: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, columns, one = parent
    monkeypatch.setattr(timing, "time_rows", lambda *_: timing.RowSeconds(1.0, 0.0))
    options: dict[str, Any] = {**STILL, "start": str(one.path)}
    del options["epochs"]
    # 48 rows of a second each.
    limited = tenfold.fit(one.schema, None, columns, run=folder / "runs/five", time_limit=80, **options)
    assert limited.recipe.epochs == 1
    again = tenfold.fit(one.schema, None, columns, run=folder / "runs/six", epochs=1, **options)
    assert limited.record.identity == again.record.identity
    assert (limited.path / "weights.safetensors").read_bytes() == (
        again.path / "weights.safetensors"
    ).read_bytes()
