"""Commands for many runs, as a person types them: in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from command import TENFOLD, tenfold
from photos import QUICK_OPTIONS, write_photos, write_table

RECIPE = """\
table = "train.csv"
output = "runs/top"
[schema]
inputs = [{ kind = "image", name = "id", folder = "photos" }]
targets = [{ kind = "category", name = "label" }]
[ensemble]
split = "same"
[recipe]
weights = "none"
arch = "test_resnet"
image_size = 32
batch_size = 8
frozen_epochs = 0
epochs = EPOCHS
[[member]]
name = "one"
[[member]]
name = "two"
epochs = 1
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    write_table(folder / "train.csv", write_photos(folder, 40))
    image = ["--image", "id=photos", "--target", "label"]
    for name, more in {"first": ["--epochs", 1], "second": ["--epochs", 2]}.items():
        tenfold("fit", "train.csv", *image, *QUICK_OPTIONS, *more, "-o", f"runs/{name}", cwd=folder)
    return folder


def test_stopped_by_ctrl_c_it_goes_on_where_it_was(place: Path) -> None:
    (place / "recipe.toml").write_text(RECIPE.replace("EPOCHS", "400"))
    process = subprocess.Popen(
        [*TENFOLD, "ensemble", "recipe.toml"], cwd=place, stderr=subprocess.PIPE, text=True
    )
    checkpoint = place / "runs" / "top" / "members" / "one.part" / "checkpoint.safetensors"
    for _ in range(1200):
        if checkpoint.exists() or process.poll() is not None:
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130 and "it goes on where it was" in errors and "Traceback" not in errors
    assert checkpoint.exists()
    refused = tenfold("predict", "runs/top", "photos", "-o", "x.csv", cwd=place, code=2)
    assert "no member of runs/top has finished" in refused.stderr
    # The same recipe goes on; here a shorter one, which starts this member anew and says why.
    (place / "recipe.toml").write_text(RECIPE.replace("EPOCHS", "1"))
    done = tenfold("ensemble", "recipe.toml", "--json", cwd=place)
    found = json.loads(done.stdout)
    assert [one["status"] for one in found["members"]] == ["finished"] * 2 and found["failed"] == []
    assert "recipe.epochs: 400 -> 1" in done.stderr
    assert set(found) == {
        *("run", "rows", "targets", "without_views", "weights", "blends", "members", "failed", "seconds"),
        "peak_bytes",
    }
    (place / "sample.csv").write_bytes(b"id,label\r\n0003.png,x\r\n0001.png,x\r\n")
    tenfold("predict", "runs/top", "photos", "--like", "sample.csv", "-o", "sub.csv", cwd=place)
    lines = (place / "sub.csv").read_bytes().split(b"\r\n")
    assert [line.partition(b",")[0] for line in lines] == [b"id", b"0003.png", b"0001.png", b""]
    made = json.loads(tenfold("runs", "--made", "sub.csv", "--json", cwd=place).stdout)
    assert made["made"][0]["run"] == "top" and made["made"][0]["members"] == ["one", "two"]


def test_runs_are_listed_scored_and_drawn(place: Path) -> None:
    tenfold("runs", "--score", "runs/first", "0.9876", cwd=place)
    found = json.loads(tenfold("runs", "--json", cwd=place).stdout)
    runs = {one["run"]: one for one in found["runs"]}
    assert runs["first"]["leaderboard"] == [0.9876]
    assert runs["second"]["parent"] == "first" and runs["second"]["changed"] == ["epochs: 1 -> 2"]
    assert runs["second"]["seed"] == 1 and runs["second"]["data"] == runs["first"]["data"]
    tenfold("runs", "--plot", cwd=place)
    page = (place / "runs" / "history.html").read_text("utf-8")
    assert "epochs: 1 -&gt; 2" in page and ": leaderboard" in page
    assert "epochs: 1 -> 2" in tenfold("runs", "runs", cwd=place).stdout
    tenfold("runs", "nowhere", cwd=place, code=2)


def test_a_blend_of_runs(place: Path) -> None:
    done = tenfold(
        "blend", "runs/first", "runs/second", "--weights", "1,3", "-o", "runs/blend", "--json", cwd=place
    )
    found = json.loads(done.stdout)
    assert found["weights"]["label"] == {"first": 0.25, "second": 0.75}
    tenfold("predict", "runs/blend", "train.csv", "--members", "--probabilities", "-o", "all.csv", cwd=place)
    header = (place / "all.csv").read_text().splitlines()[0]
    assert header.startswith("id,label,label:bird,label:cat,label:dog,label@first,label@first:bird")
    single = tenfold("predict", "runs/first", "train.csv", "--members", "-o", "x.csv", cwd=place, code=2)
    assert "single run" in single.stderr


def test_the_example_needs_nothing(tmp_path: Path) -> None:
    example = tenfold("ensemble", "--example", cwd=tmp_path).stdout
    assert "convnext_large" in example and "vit_large_patch16_224" in example and os.listdir(tmp_path) == []
    assert "no recipe" in tenfold("ensemble", cwd=tmp_path, code=2).stderr


def test_competitions_say_what_is_missing(tmp_path: Path) -> None:
    for words in (["data", "paddy-disease-classification"], ["submit", "sub.csv", "paddy"]):
        (tmp_path / "sub.csv").write_text("id,label\n")
        done = tenfold(*words, cwd=tmp_path, code=2)
        assert done.stderr.startswith("DependencyError: ") and "fix" in done.stderr


def test_a_blend_says_what_is_missing(tmp_path: Path) -> None:
    assert "no folder is given" in tenfold("blend", "a", "b", cwd=tmp_path, code=2).stderr
    wrong = tenfold("blend", "a", "b", "-o", "x", "--weights", "1,b", cwd=tmp_path, code=2)
    assert "--weights '1,b' are not numbers" in wrong.stderr
