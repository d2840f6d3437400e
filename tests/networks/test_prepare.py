"""A training made ready: checked, split and encoded, with everything said, before anything is trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from photos import QUICK, write_photo, write_photos, write_table
from tenfold.errors import RecipeError, SchemaError, TenfoldError
from tenfold.networks.prepare import prepare_training
from tenfold.recipe import Recipe
from tenfold.runs.job import Notes
from tenfold.runs.options import Reading
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


def test_a_weight_for_what_is_no_target_is_refused(tmp_path: Path) -> None:
    columns = write_photos(tmp_path, 12)
    for weights, words in (({"labl": 2.0}, "did you mean 'label'"), ({"label": 0.0}, "gives no target any")):
        with pytest.raises(RecipeError, match=words):
            prepare(tmp_path, columns, Recipe(**{**QUICK.model_dump(), "task_weights": weights}))


def test_the_identity_knows_the_split_and_what_it_was_made_of(tmp_path: Path) -> None:
    columns: dict = write_photos(tmp_path, 20)
    columns |= {"farm": [row // 4 for row in range(20)], "held": [row % 2 for row in range(20)]}
    plain, _ = prepare(tmp_path, columns)
    grouped, _ = prepare(tmp_path, columns, group=("farm",))
    stated, _ = prepare(tmp_path, columns, split="held")
    columns["held"] = columns["held"][::-1]
    moved, _ = prepare(tmp_path, columns, split="held")
    assert grouped.identity["schema"]["group"] == ["farm"] != plain.identity["schema"]["group"]
    assert stated.identity["schema"]["split"] == "held"
    assert moved.identity["schema"] == stated.identity["schema"]
    assert moved.identity["data"] != stated.identity["data"]


def test_what_stands_on_both_sides_of_a_stated_split_is_said(tmp_path: Path) -> None:
    columns: dict = write_photos(tmp_path, 12, ("cat", "dog"))
    columns |= {"held": [row // 8 for row in range(12)], "farm": ["", *"aabbccdd", "c", "e", ""]}
    columns["id"][9] = columns["id"][1]
    _, notes = prepare(tmp_path, columns, split="held", group=("farm",))
    text = "\n".join(notes)
    assert (
        "1 pictures of column 'id' stand on both sides of the split" in text and "too good: 0001.png" in text
    )
    assert "2 values of column 'farm' stand on both sides" in text and "too good: d, c" in text
    assert "rows stay on one side" not in text
    _, notes = prepare(
        tmp_path, write_photos(tmp_path, 12, ("cat", "dog")) | {"held": columns["held"]}, split="held"
    )
    assert "both sides" not in "\n".join(notes)


def test_a_picture_of_any_column_keeps_its_rows_together(tmp_path: Path) -> None:
    for number in range(24):
        write_photo(tmp_path / "back" / f"{number}.png", "fox", 100 + number)
    columns = write_photos(tmp_path, 24, ("cat", "dog"))
    # Four rows to a front picture; the back pictures are all different.
    columns["id"] = [columns["id"][number // 4] for number in range(24)]
    columns["back"] = [f"{number}.png" for number in range(24)]
    table = write_table(tmp_path / "train.csv", columns)
    schema = Schema(
        inputs=(*schema_of(tmp_path).inputs, ImageColumn(name="back", folder=str(tmp_path / "back"))),
        targets=(UndecidedTarget(name="label"),),
    )
    work = prepare_training(schema, QUICK, str(table), Reading(), Notes(None))
    assert set(work.split.train // 4).isdisjoint(work.split.valid // 4)
    assert len(work.examples.images) == 2


def test_labels_that_only_bad_pictures_have_are_said_or_refused(tmp_path: Path) -> None:
    columns = write_photos(tmp_path, 12, ("cat", "dog"))
    columns["label"][5] = "fox"
    columns["id"][5] = "gone.png"
    table = write_table(tmp_path / "train.csv", columns)
    notes = Notes(None)
    work = prepare_training(schema_of(tmp_path), QUICK, str(table), Reading(skip_bad=True), notes)
    assert "label: no row is labelled fox" in notes.lines and "1 of 12 rows left out" in "\n".join(
        notes.lines
    )
    assert work.encoding.classes["label"] == ("cat", "dog", "fox") and len(work.examples.ids) == 11
    columns["rare"] = ["", "", "", "", "a", "b", *[""] * 6]
    columns["id"][4] = "lost.png"
    table = write_table(tmp_path / "train.csv", columns)
    schema = Schema(inputs=schema_of(tmp_path).inputs, targets=(UndecidedTarget(name="rare"),))
    with pytest.raises(SchemaError, match="no usable row has a label of column 'rare'"):
        prepare_training(schema, QUICK, str(table), Reading(skip_bad=True), notes)
