"""A network that learns a finished run's answers sees what the run sees, and no labels."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from tenfold.data.encode import Encoding
from tenfold.data.images.decode import decode_image
from tenfold.engine.batches import Preparation
from tenfold.ensembles.blend import blend_runs
from tenfold.errors import RecipeError
from tenfold.networks.prepare import prepare_training
from tenfold.networks.teacher import NetworkTeacher, load_teacher
from tenfold.recipe import Recipe
from tenfold.runs.fitting import fit
from tenfold.runs.job import Notes
from tenfold.runs.options import Reading
from tenfold.runs.registry import load_run
from tenfold.runs.run import Run
from tenfold.schema import CategoryTarget, ImageColumn, Schema

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "edition2"
SCHEMA = Schema(
    inputs=(ImageColumn(name="image_id", folder="photos"),), targets=(CategoryTarget(name="disease"),)
)
CHOICES = {
    "arch": "test_resnet",
    "weights": "none",
    "image_size": 24,
    "epochs": 1,
    "batch_size": 8,
    "seed": 1,
}


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = Path(shutil.copytree(GOLDEN, tmp_path / "kept"))
    monkeypatch.chdir(folder)
    return folder


def read_rows() -> dict[str, list[str]]:
    with open("photos.csv", encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    return {name: [row[name] for row in rows] for name in rows[0]}


def student(name: str, table: object = "photos.csv", **choices: object) -> Run:
    schema = SCHEMA.model_copy(
        update={"split": "held" if isinstance(table, dict) and "held" in table else None}
    )
    return fit(schema, Recipe(**{**CHOICES, **choices}), table, run=f"runs/{name}", history=False)


def teacher_of(path: str, precision: str = "float32") -> tuple[NetworkTeacher, Encoding]:
    recipe = Recipe(**{**CHOICES, "teacher": path, "item_size": load_run("runs/photos").recipe.image_size})
    work = prepare_training(SCHEMA, recipe, "photos.csv", Reading(), Notes(None))
    return load_teacher(work, torch.device("cpu"), precision), work.encoding


def test_its_labels_are_the_runs_answers(kept: Path) -> None:
    shutil.copytree("runs/photos", "runs/again")
    blend_runs(["runs/photos", "runs/again"], output="runs/two", weights=[3.0, 1.0])
    run = load_run("runs/photos")
    wanted = run.predict("photos.csv", views=1).targets["disease"]
    files = read_rows()["image_id"]
    for path in ("runs/photos", "runs/two"):
        teacher, encoding = teacher_of(path)
        assert teacher.size == run.encoding.image_size
        stored = np.stack([decode_image(f"photos/{name}", teacher.size) for name in files])
        plain = Preparation(encoding, torch.device("cpu"), torch.float32, channels_last=False)
        sets = teacher.label_sets([plain.seen_at(teacher.size).pixels(stored)])["disease"]
        given = np.stack([share.numpy() for _, share in sets], axis=1)
        for index, (labels, _) in enumerate(sets):
            assert (labels == index).all()
        order = [list(wanted.classes).index(word) for word in encoding.classes["disease"]]
        np.testing.assert_allclose(given, wanted.probabilities[:, order], atol=1e-6)


def test_it_answers_in_the_trainings_precision(kept: Path) -> None:
    full, half = (teacher_of("runs/photos", precision)[0] for precision in ("float32", "bfloat16"))
    views = [torch.rand(3, 3, *full.size)]
    before, after = ([share for _, share in each.label_sets(views)["disease"]] for each in (full, half))
    change = max(float((one - other).abs().max()) for one, other in zip(before, after, strict=True))
    assert 0 < change < 0.02


def test_labels_of_training_rows_are_not_looked_at(kept: Path) -> None:
    table = read_rows()
    # A stated split, since drawn ones go by the labels.
    table["held"] = ["1" if row % 4 == 0 else "0" for row in range(len(table["image_id"]))]
    first = student("small", table, teacher="runs/photos")
    alone = student("alone", table)
    words = sorted({*table["disease"]} - {""})
    table["disease"] = [
        word if held == "1" or not word else words[(words.index(word) + 1) % len(words)]
        for word, held in zip(table["disease"], table["held"], strict=True)
    ]
    other = student("other", table, teacher="runs/photos")
    weights = [load_file(run.path / "weights.safetensors") for run in (first, other, alone)]
    for name, value in weights[0].items():
        np.testing.assert_array_equal(value, weights[1][name], err_msg=name)
    assert any((value != weights[2][name]).any() for name, value in weights[0].items())
    assert "teacher" in (first.path / "recipe.toml").read_text("utf-8")
    assert "teacher" not in (alone.path / "recipe.toml").read_text("utf-8")


def test_what_cannot_teach_is_refused_by_name(kept: Path) -> None:
    with pytest.raises(RecipeError, match="pictures alone"):
        student("a", teacher="runs/table")
    table = read_rows()
    table["disease"][:2] = ["new", "new"]
    with pytest.raises(RecipeError, match="knows other classes of disease"):
        student("a", table, teacher="runs/photos")
    schema = SCHEMA.model_copy(update={"targets": (CategoryTarget(name="sort"),)})
    with pytest.raises(RecipeError, match="does not answer sort"):
        table["sort"] = table["disease"]
        fit(schema, Recipe(**CHOICES, teacher="runs/photos"), table, run="runs/a")
    assert not Path("runs/a").exists()
