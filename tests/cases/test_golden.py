"""Runs, checkpoints, job files and ensembles of earlier versions open, answer and resume as they did.

tests/golden/make.py made them. Networks may differ in the last digits between processors.
"""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from typer.testing import CliRunner

from golden.make import PHOTOS, RATINGS, TABLE
from tenfold.cli.main import app
from tenfold.recipe import RatingNetworkRecipe

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
FACTORS = ("gibbs", "als", "sgd", "ratings_blend")


@pytest.fixture(scope="module", params=["edition1", "edition2"])
def golden(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(GOLDEN / request.param, tmp_path_factory.mktemp("golden") / "kept"))


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(GOLDEN / "edition2", tmp_path_factory.mktemp("golden") / "kept"))


def ask(folder: Path, words: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a command there; returns what it says."""
    monkeypatch.chdir(folder)
    done = CliRunner().invoke(app, words.split())
    assert done.exit_code == 0, done.output
    return done.output


def read_cells(path: Path) -> list[list[str]]:
    with open(path, encoding="utf-8", newline="") as stream:
        return list(csv.reader(stream))


def assert_same_answers(found: Path, wanted: Path) -> None:
    """Equal texts; numbers equal within what processors differ by."""
    rows, kept = read_cells(found), read_cells(wanted)
    # A later version may add columns; those that were there stay, in their order.
    columns = [rows[0].index(name) for name in kept[0]]
    assert columns == sorted(columns) and len(rows) == len(kept)
    for row, other in zip(rows[1:], kept[1:], strict=True):
        for cell, was in zip([row[column] for column in columns], other, strict=True):
            if "." in was and was.replace(".", "").replace("-", "").replace("e", "").isdigit():
                assert float(cell) == pytest.approx(float(was), rel=1e-4, abs=1e-5)
            else:
                assert cell == was


@pytest.mark.parametrize("name", ["table", "blend", "photos"])
def test_networks_answer_as_before(name: str, golden: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = "photos.csv" if name == "photos" else "table.csv"
    ask(golden, f"predict runs/{name} {table} --probabilities -o new/{name}.csv", monkeypatch)
    assert_same_answers(golden / "new" / f"{name}.csv", golden / "answers" / f"{name}.csv")


@pytest.mark.parametrize("name", [*FACTORS, "dot", "mlp"])
def test_ratings_are_predicted_as_before(name: str, golden: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ask(golden, f"predict runs/{name} ratings.csv -o new/{name}.csv", monkeypatch)
    assert_same_answers(golden / "new" / f"{name}.csv", golden / "answers" / f"{name}.csv")


@pytest.mark.parametrize("name", [*FACTORS, "events", "dot", "mlp"])
def test_lists_are_as_before(name: str, golden: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ask(golden, f"recommend runs/{name} --all -n 4 -o new/{name}_lists.csv", monkeypatch)
    assert_same_answers(golden / "new" / f"{name}_lists.csv", golden / "answers" / f"{name}_lists.csv")


@pytest.mark.parametrize(
    "name", ["table", "photos", "blend", "gibbs", "events", "dot", "mlp", "ratings_blend"]
)
def test_runs_have_a_report(name: str, golden: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ask(golden, f"report runs/{name} -o new/{name}.html", monkeypatch)
    assert "</html>" in (golden / "new" / f"{name}.html").read_text("utf-8")


@pytest.mark.parametrize("name", ["dot", "mlp"])
def test_a_rating_networks_recipe_has_the_same_identity(name: str, golden: Path) -> None:
    # It holds choices of pictures, which such recipes no longer have.
    folder = golden / "runs" / name
    recipe = RatingNetworkRecipe.from_toml((folder / "recipe.toml").read_text("utf-8"))
    assert "arch" not in recipe.model_fields_set
    assert recipe.identity() == json.loads((folder / "run.json").read_text("utf-8"))["identity"]["recipe"]


def test_a_training_left_half_way_goes_on_to_the_same_weights(
    golden: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = ask(golden, f"fit {TABLE} --epochs 3 -o runs/stopped --no-report --resume", monkeypatch)
    assert re.search(r"^  3 ", said, re.M) and not re.search(r"^  1 ", said, re.M)
    lines = (golden / "runs" / "stopped" / "history.jsonl").read_text("utf-8").splitlines()
    epochs = [json.loads(line) for line in lines]
    # The first edition's checkpoint does not keep the steps and updates of an epoch.
    assert [epoch["epoch_steps"] for epoch in epochs] == [epoch["updates"] for epoch in epochs] == [1, 1, 1]
    weights = load_file(golden / "runs" / "stopped" / "weights.safetensors")
    kept = load_file(golden / "runs" / "table" / "weights.safetensors")
    assert weights.keys() == kept.keys()
    for name, value in kept.items():
        np.testing.assert_allclose(weights[name], value, rtol=1e-4, atol=1e-6, err_msg=name)


def test_a_rating_network_left_half_way_goes_on_to_the_same_weights(
    second: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    what = f"fit {RATINGS} --body mlp --hidden 8 --valid 0.2 --epochs 3 --no-report"
    said = ask(second, f"{what} -o runs/stopped_mlp --resume", monkeypatch)
    assert re.search(r"^  3 ", said, re.M) and not re.search(r"^  1 ", said, re.M)
    ask(second, f"{what} -o new/mlp", monkeypatch)
    weights = load_file(second / "runs" / "stopped_mlp" / "weights.safetensors")
    for name, value in load_file(second / "new" / "mlp" / "weights.safetensors").items():
        np.testing.assert_allclose(weights[name], value, rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    "words",
    [
        f"fit {TABLE} --epochs 3 -o runs/table",
        f"fit {PHOTOS} --image-size 32 --epochs 1 --frozen-epochs 0 -o runs/photos",
        f"fit {RATINGS} --time time --method gibbs --factors 3 --valid 0.2 -o runs/gibbs",
        f"fit {RATINGS} --body mlp --hidden 8 --epochs 2 --valid 0.2 -o runs/mlp",
        "fit job.toml",
        "ensemble ensemble.toml",
    ],
)
def test_what_an_earlier_version_finished_is_not_trained_again(
    words: str, second: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = " --resume --no-report" if words.startswith("fit") else ""
    assert "finished already" in ask(second, words + flags, monkeypatch)


@pytest.mark.parametrize("name", ["job", "ensemble"])
def test_job_files_and_ensembles_answer_as_before(
    name: str, second: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(second, f"predict runs/{name} table.csv --probabilities -o new/{name}.csv", monkeypatch)
    assert_same_answers(second / "new" / f"{name}.csv", second / "answers" / f"{name}.csv")
