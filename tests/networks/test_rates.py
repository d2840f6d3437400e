"""A learning rate looked for, for the training that would follow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from photos import QUICK, write_photos, write_table
from tenfold.errors import ImageError, RecipeError, SchemaError
from tenfold.events import StepEnded
from tenfold.networks.rates import find_learning_rate
from tenfold.recipe import Recipe
from tenfold.runs.options import Machine, Reading
from tenfold.schema import ImageColumn, Schema, UndecidedTarget


def schema_of(folder: Path, target: str = "label") -> Schema:
    return Schema(
        inputs=(ImageColumn(name="id", folder=str(folder / "photos")),),
        targets=(UndecidedTarget(name=target),),
    )


def quick(**values: Any) -> Recipe:
    return Recipe(**{**QUICK.model_dump(), **values})


def test_a_curve_that_no_micro_batch_changes_and_that_leaves_nothing(tmp_path: Path) -> None:
    table = write_table(tmp_path / "train.csv", write_photos(tmp_path, 24))
    recipe, notes, told = quick(precision="float64"), [], []
    whole = find_learning_rate(
        schema_of(tmp_path), recipe, table, steps=12, on_note=notes.append, on_progress=told.append
    )
    cut = find_learning_rate(schema_of(tmp_path), recipe, table, steps=12, machine=Machine(micro_batch=8))
    # 19 training rows are two batches an epoch: the steps go on through the epochs that follow.
    assert len(whole.rates) == 12 and whole.rates[-1] == pytest.approx(1.0)
    assert cut.losses == pytest.approx(whole.losses, rel=1e-9)
    assert "label: 3 classes: bird, cat, dog" in notes
    assert [event.step for event in told if isinstance(event, StepEnded)] == list(range(1, 13))
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["photos", "train.csv"]


def test_what_a_training_would_refuse_is_refused(tmp_path: Path) -> None:
    columns = write_photos(tmp_path, 12, ("cat", "dog"))
    with pytest.raises(SchemaError, match="did you mean 'label'"):
        find_learning_rate(schema_of(tmp_path, "lable"), QUICK, columns)
    with pytest.raises(RecipeError, match="show no curve"):
        find_learning_rate(schema_of(tmp_path), QUICK, columns, steps=1)
    with pytest.raises(RecipeError, match="'gpu' is not a device"):
        find_learning_rate(schema_of(tmp_path), QUICK, columns, machine=Machine(device="gpu"))
    with pytest.raises(RecipeError, match="task_weights names 'labl'"):
        find_learning_rate(schema_of(tmp_path), quick(task_weights={"labl": 2.0}), columns)
    columns["id"][3] = "gone.png"
    with pytest.raises(ImageError, match="1 of 12"):
        find_learning_rate(schema_of(tmp_path), QUICK, columns)
    reading = Reading(skip_bad=True, workers=0)
    curve = find_learning_rate(schema_of(tmp_path), QUICK, columns, steps=10, reading=reading)
    assert len(curve.losses) == 10


@pytest.mark.parametrize(("batch_size", "steps"), [(64, 15), (2, 15), (1, 28)])
def test_two_epochs_are_enough(tmp_path: Path, batch_size: int, steps: int) -> None:
    columns, notes, told = write_photos(tmp_path, 24), [], []
    find_learning_rate(
        schema_of(tmp_path),
        quick(batch_size=batch_size, clip_norm=1e-9),
        columns,
        on_note=notes.append,
        on_progress=told.append,
    )
    # 19 training rows.
    assert sum(isinstance(event, StepEnded) for event in told) == steps
    assert any(note.startswith(f"{steps} optimizer steps") for note in notes)
