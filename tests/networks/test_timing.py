"""Epochs and sizes that fit a limit of time: the arithmetic, the choice, and what a training makes of it."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest
import torch

import tenfold
from photos import write_photos, write_table
from tenfold.errors import RecipeError
from tenfold.networks import fit as fitting
from tenfold.networks import timing
from tenfold.networks.timing import RowSeconds, show_seconds, size_within, training_costs
from tenfold.recipe import Recipe
from tenfold.runs.options import parse_seconds
from tenfold.schema import CategoryTarget, ImageColumn, NumberColumn, Schema

CPU = torch.device("cpu")


def test_the_costs_of_a_training_are_its_rows_in_steps_and_in_predictions() -> None:
    plain = Recipe(batchnorm_group="frozen")
    costs = training_costs(plain, RowSeconds(3.0, 1.0), train=100, valid=10)
    assert (costs.once, costs.epoch) == (20.0, 310.0)
    grouped = training_costs(Recipe(views=2), RowSeconds(3.0, 1.0), train=100, valid=10)
    assert (grouped.once, grouped.epoch) == (30.0, 410.0)
    assert costs.epochs(20 + 2.9 * 310) == 2 and costs.epochs(10) == 0
    assert costs.epochs(1e9) == timing.MOST_EPOCHS


@pytest.mark.parametrize(
    "seconds, side", [(1e6, 224), (6.1 * 100 * 192**2, 192), (6.1 * 100 * 128**2, 128), (1.0, 96)]
)
def test_pictures_get_smaller_until_there_are_enough_epochs(
    seconds: float, side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def area(recipe: Recipe, device: torch.device) -> RowSeconds:
        return RowSeconds(float(recipe.image_size[0] ** 2), 0.0)

    monkeypatch.setattr(timing, "time_architecture", area)
    recipe = Recipe(arch="test_resnet", weights="none", valid=0.0)
    assert size_within(recipe, seconds * (1e3 if seconds == 1e6 else 1), 100, CPU)[0] == (side, side)


def test_a_limit_chooses_the_epochs_and_the_weights_are_those_of_as_many_epochs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "size_within", lambda *_: ((32, 32), "32"))
    monkeypatch.setattr(timing, "time_rows", lambda *_: RowSeconds(1.0, 0.0))
    write_table(tmp_path / "train.csv", write_photos(tmp_path, 24))
    schema = Schema(
        inputs=[ImageColumn(name="id", folder=str(tmp_path / "photos"))],
        targets=[CategoryTarget(name="label")],
    )
    plain = Recipe(arch="test_resnet", weights="none", frozen_epochs=0, batch_size=8)
    notes: list[str] = []
    limited = tenfold.fit(
        schema,
        plain,
        str(tmp_path / "train.csv"),
        run=tmp_path / "limited",
        time_limit=100,
        on_note=notes.append,
    )
    # 19 rows of a second each, 85 of the 100 seconds less what preparing took.
    epochs = limited.recipe.epochs
    assert epochs in (3, 4) and limited.recipe.image_size == (32, 32)
    assert any(f"--epochs {epochs} --image-size 32x32 --resume" in note for note in notes)
    again = tenfold.fit(
        schema,
        plain.model_copy(update={"epochs": epochs, "image_size": (32, 32)}),
        str(tmp_path / "train.csv"),
        run=tmp_path / "given",
    )
    first, second = ((run.path / "weights.safetensors").read_bytes() for run in (limited, again))
    assert first == second
    assert limited.record.identity == again.record.identity

    monkeypatch.setattr(timing, "time_rows", lambda *_: RowSeconds(60.0, 0.0))
    with pytest.raises(RecipeError, match="no epoch fits into a limit of 100s") as refused:
        tenfold.fit(schema, plain, str(tmp_path / "train.csv"), run=tmp_path / "none", time_limit=100)
    assert "--time-limit 2" in refused.value.labels["fix"]


def test_a_training_that_is_late_ends_after_an_epoch_and_says_so(tmp_path: Path) -> None:
    rows = [{"x": number % 7, "y": "ab"[number % 7 > 3]} for number in range(60)]
    schema = Schema(inputs=[NumberColumn(name="x")], targets=[CategoryTarget(name="y")])
    table = {name: [row[name] for row in rows] for name in ("x", "y")}
    run = tenfold.fit(schema, Recipe(epochs=30), table, run=tmp_path / "late", time_limit=1e-3)
    assert run.record.values["epochs"] == 1
    assert any("stopped after epoch 1 of 30" in note for note in run.record.values["notes"])
    quick = tenfold.fit(schema, Recipe(), table, run=tmp_path / "whole", time_limit="1h")
    assert quick.record.values["epochs"] == 40
    with pytest.raises(RecipeError, match="goes on with its own number of epochs"):
        tenfold.fit(schema, Recipe(), table, run=tmp_path / "whole", time_limit="1h", resume=True)


def test_a_steps_time_is_measured_and_grows_with_the_picture() -> None:
    recipe = Recipe(arch="test_resnet", weights="none", batch_size=4)
    started = time.monotonic()
    small, large = (
        timing.time_architecture(recipe.model_copy(update={"image_size": (side, side)}), CPU)
        for side in (32, 256)
    )
    assert 0 < small.train < large.train < time.monotonic() - started


def test_times_are_read_as_they_are_shown() -> None:
    assert [parse_seconds(text) for text in ("90", "90s", "20min", "1.5h", "1h30min", 45)] == [
        *(90.0, 90.0, 1200.0, 5400.0, 5400.0, 45.0)
    ]
    for seconds in (45.0, 600.0, 9000.0):
        assert math.isclose(parse_seconds(show_seconds(seconds)), seconds, rel_tol=0.01)
    for wrong in ("", "soon", "0", "-5", "1.2.3s", "5 days", "nan", "inf"):
        with pytest.raises(RecipeError, match="is not a time"):
            parse_seconds(wrong)
