"""A small network learns from a run, and stands beside the same network trained on the labels alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from photos import write_photo
from tenfold.cli.main import app
from tenfold.errors import RecipeError, RunError
from tenfold.recipe import Recipe
from tenfold.runs.registry import load_run
from tenfold.studies.distill import distill

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "edition2"
SMALL = "--arch test_resnet --weights none --image-size 16 --epochs 1 --batch-size 8"


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = Path(shutil.copytree(GOLDEN, tmp_path / "kept"))
    monkeypatch.chdir(folder)
    return folder


def test_three_networks_side_by_side(kept: Path) -> None:
    line = f"distill runs/photos {SMALL} --table photos.csv -o runs/small".split()
    done = CliRunner().invoke(app, [*line, "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    names = [model["name"] for model in told["models"]]
    assert names == ["teacher", "distilled", "labels alone"]
    teacher, small, alone = told["models"]
    assert small["bytes"] == alone["bytes"] and all(model["seconds_per_row"] > 0 for model in told["models"])
    assert teacher["targets"].keys() == small["targets"].keys() == alone["targets"].keys()
    runs = [load_run(path) for path in ("runs/photos", "runs/small", "runs/small-labels")]
    # The same split, and the teacher's at that.
    assert runs[0].record.fingerprint.get("scored") in (None, runs[1].record.fingerprint["scored"])
    assert runs[1].record.fingerprint["scored"] == runs[2].record.fingerprint["scored"]
    recipes = [(run.path / "recipe.toml").read_text("utf-8") for run in runs[1:]]
    assert 'teacher = "runs/photos"' in recipes[0] and "teacher" not in recipes[1]
    # Once more, with the finished trainings as they are, for a person.
    done = CliRunner().invoke(app, [*line, "--resume"])
    assert done.exit_code == 0 and "labels alone" in done.output and "MB" in done.output, done.output


def test_extra_photos_are_answered_by_the_teacher(kept: Path) -> None:
    extra = kept / "more"
    extra.mkdir()
    for number in range(4):
        write_photo(extra / f"{number}.png", "cat", number)
    shutil.copy(next((kept / "photos").iterdir()), extra)
    line = f"distill runs/photos {SMALL} --table photos.csv --extra more -o runs/small".split()
    done = CliRunner().invoke(app, line)
    assert done.exit_code == 0, done.output
    small, alone = load_run("runs/small"), load_run("runs/small-labels")
    assert small.record.extra_rows == 4 and not alone.record.extra_rows
    assert small.record.fingerprint == alone.record.fingerprint
    assert not Path("runs/small-labels-labels").exists()
    assert any("1 of 5 extra photos are in the table" in note for note in small.record.notes)


def test_what_cannot_be_distilled_is_refused(kept: Path) -> None:
    recipe = Recipe(arch="test_resnet", weights="none", image_size=16, epochs=1)
    with pytest.raises(RecipeError, match="pictures alone"):
        distill("runs/table", recipe, output="runs/small", table="table.csv")
    Path("photos.csv").rename("elsewhere.csv")
    with pytest.raises(RunError, match="trained on is not there"):
        distill("runs/photos", recipe, output="runs/small")
    assert not Path("runs/small").exists()
