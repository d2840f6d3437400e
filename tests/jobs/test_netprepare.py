"""A training made ready: checked, split and encoded, with everything said, before anything is trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from photos import QUICK, write_photos, write_table
from tenfold.errors import TenfoldError
from tenfold.jobs.inputs import Reading
from tenfold.jobs.netprepare import Notes, prepare_training
from tenfold.recipe import Recipe
from tenfold.schema import ImageColumn, Schema, UndecidedTarget


def schema_of(folder: Path, **values: object) -> Schema:
    return Schema(
        inputs=(ImageColumn(name="id", folder=str(folder / "photos")),),
        targets=(UndecidedTarget(name="label"),),
        **values,
    )


def prepare(folder: Path, columns: dict, recipe: Recipe = QUICK, **values: object):
    table = write_table(folder / "train.csv", columns)
    notes = Notes(None)
    work = prepare_training(schema_of(folder, **values), recipe, str(table), Reading(), notes)
    return work, notes.lines


def test_rows_are_split_and_kinds_settled(tmp_path: Path) -> None:
    work, _ = prepare(tmp_path, write_photos(tmp_path, 30))
    assert sorted([*work.split.train, *work.split.valid]) == list(range(30))
    assert len(work.split.valid) == 6
    assert [target.kind for target in work.schema.targets] == ["category"]


def test_a_class_with_one_row_trains_and_is_named(tmp_path: Path) -> None:
    columns = write_photos(tmp_path, 12, ("cat", "dog"))
    columns["label"][4] = "fox"
    work, notes = prepare(tmp_path, columns)
    assert 4 in work.split.train
    assert any("fox" in note and "1" in note for note in notes)


def test_the_identity_changes_with_what_decides_the_weights(tmp_path: Path) -> None:
    columns = write_photos(tmp_path, 20)
    first, _ = prepare(tmp_path, columns)
    again, _ = prepare(tmp_path, columns)
    assert first.identity == again.identity
    columns["label"][0] = "dog"
    edited, _ = prepare(tmp_path, columns)
    assert edited.identity["data"] != first.identity["data"]
    other, _ = prepare(tmp_path, columns, Recipe(**{**QUICK.model_dump(), "lr": 0.5}))
    assert other.identity["recipe"]["lr"] == 0.5 and other.identity["data"] == edited.identity["data"]


def test_row_weights_reach_the_loss(tmp_path: Path) -> None:
    columns = write_photos(tmp_path, 12)
    columns["w"] = [str(number) for number in range(12)]
    work, _ = prepare(tmp_path, columns, weight="w")
    weights = work.examples.weights["label"]  # relative: only their ratios count
    assert (weights / weights[1]).tolist() == list(map(float, range(12)))
    columns["w"][3] = "-1"
    with pytest.raises(TenfoldError, match="line 5"):
        prepare(tmp_path, columns, weight="w")


def test_notes_are_kept_and_told_in_order() -> None:
    told: list[str] = []
    notes = Notes(told.append)
    notes.add(["a", "b"])
    notes.add(("c",))
    assert notes.lines == told == ["a", "b", "c"]


def test_balanced_weights_of_the_training_rows(tmp_path: Path) -> None:
    columns = write_photos(tmp_path, 40, ("cat", "cat", "cat", "dog"))
    work, _ = prepare(tmp_path, columns, Recipe(**{**QUICK.model_dump(), "class_weights": "balanced"}))
    labels = work.examples.labels["label"][work.split.train]
    weights = work.examples.weights["label"][work.split.train]
    sums = np.bincount(labels, weights=weights)
    assert sums == pytest.approx([sums.mean()] * 2)
