"""Kinds of fault about runs: what is kept, what is gone on from, what is opened again."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import tenfold
from command import tenfold as command
from photos import QUICK, write_photo, write_photos, write_table
from tenfold.data.images.cache import build_image_cache
from tenfold.errors import RunError, TrainingError
from tenfold.events import StepEnded
from tenfold.files.tables import write_predictions
from tenfold.recipe import FactorRecipe, RatingNetworkRecipe, Recipe
from tenfold.runs.described import sealed
from tenfold.runs.folder import file_digest
from tenfold.runs.history import read_history, record_submission
from tenfold.runs.registry import load_run
from tenfold.schema import (
    CategoryTarget,
    IdColumn,
    ImageColumn,
    NumberColumn,
    RatingTarget,
    Schema,
)

CELLS = Schema(inputs=(NumberColumn(name="x"),), targets=(CategoryTarget(name="y"),))
RATED = Schema(inputs=(IdColumn(name="user"), IdColumn(name="item")), targets=(RatingTarget(name="rating"),))
SMALL = Recipe(epochs=4, batch_size=10, frozen_epochs=0, ema=0.9, seed=1)


def cells(rows: int = 60) -> dict[str, list[Any]]:
    x = np.random.default_rng(0).normal(size=rows)
    return {"x": x.round(4).tolist(), "y": np.where(x > 0, "up", "down").tolist()}


def ratings(rows: int = 60) -> dict[str, list[Any]]:
    rng = np.random.default_rng(0)
    pairs = rng.permutation(100)[:rows]
    return {
        "user": [f"u{one // 10}" for one in pairs],
        "item": [f"i{one % 10}" for one in pairs],
        "rating": rng.integers(1, 6, rows).tolist(),
    }


def fit(kind: str, run: Path, **options: Any) -> Any:
    """A small run of a kind."""
    if kind == "network":
        recipe = options.pop("recipe", SMALL)
        return tenfold.fit(CELLS, recipe, cells(), run=run, report=False, **options)
    if kind == "pairs":
        recipe = RatingNetworkRecipe(body="dot", epochs=2, batch_size=16, seed=1)
    else:
        recipe = FactorRecipe(method=kind, factors=2, seed=1)
    return tenfold.fit(RATED, recipe, ratings(), run=run, report=False, **options)


# --- 18 ----------------------------------------------------------------------------------------------


@pytest.mark.case("18", "an edited table of the same size and time gives the classes that it has now")
def test_edited_labels_are_read_anew(tmp_path: Path) -> None:
    columns = write_photos(tmp_path, 12, ("cat", "dog"))
    table = {"id": columns["id"], "label": columns["label"]}
    schema = Schema(
        inputs=(ImageColumn(name="id", folder=str(tmp_path / "photos")),),
        targets=(CategoryTarget(name="label"),),
    )
    recipe = Recipe(**{**QUICK.model_dump(), "epochs": 1, "valid": 0.25})
    file = write_table(tmp_path / "train.csv", table)
    first = tenfold.fit(schema, recipe, str(file), run=tmp_path / "run", report=False)
    assert first.encoding.classes["label"] == ("cat", "dog")
    before = file.stat()
    labels = ["fox" if number % 3 == 0 else label for number, label in enumerate(table["label"])]
    write_table(file, {**table, "label": labels})
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_size == before.st_size
    second = tenfold.fit(schema, recipe, str(file), run=tmp_path / "run", report=False)
    assert second.encoding.classes["label"] == ("cat", "dog", "fox")
    assert load_run(tmp_path / "run").encoding.classes["label"] == ("cat", "dog", "fox")


@pytest.mark.case("18", "neighbour: a picture that is replaced under its name, size and time is read anew")
def test_a_replaced_picture_is_read_anew(tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    write_photo(picture, "cat", 0)
    build_image_cache([picture], size=(4, 4), cache_dir=tmp_path / "cache")
    before = picture.stat()
    write_photo(picture, "dog", 0)
    with open(picture, "ab") as stream:
        stream.truncate(max(before.st_size, picture.stat().st_size))
    os.utime(picture, ns=(before.st_atime_ns, before.st_mtime_ns))
    cache, problems, _ = build_image_cache([picture], size=(4, 4), cache_dir=tmp_path / "cache")
    assert problems or cache.read(np.array([0]))[0].mean(axis=(0, 1)).argmax() == 1  # green, as a dog is


# --- 39 ----------------------------------------------------------------------------------------------


def stop_after(epoch: int) -> Callable[[dict[str, Any]], None]:
    def tell(event: dict[str, Any]) -> None:
        if isinstance(event, StepEnded) and event.epoch == epoch:
            raise KeyboardInterrupt

    return tell


def weights(run: Any) -> dict[str, bytes]:
    return {name: one.tobytes() for name, one in load_file(run.path / "weights.safetensors").items()}


@pytest.mark.case("39", "stopped after two of four epochs and gone on with: the same weights and records")
def test_a_resumed_training_ends_where_one_in_one_go_does(tmp_path: Path) -> None:
    whole = fit("network", tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt) as caught:
        fit("network", tmp_path / "run", on_progress=stop_after(2))
    assert "goes on from its last checkpoint" in caught.value.__notes__[0]
    with pytest.raises(RunError, match="of another training") as refused:
        fit("network", tmp_path / "run", resume=True, recipe=SMALL.model_copy(update={"batch_size": 12}))
    assert refused.value.problems == ("recipe.batch_size: 10 -> 12",)
    again = fit("network", tmp_path / "run", resume=True)
    assert weights(again) == weights(whole)
    quiet = ("seconds", "peak_bytes")
    told = [
        [{name: value for name, value in one.items() if name not in quiet} for one in run.history]
        for run in (again, whole)
    ]
    assert told[0] == told[1] and len(told[0]) == 4


@pytest.mark.case("39", "neighbour: a run that has finished but for its name is not trained again")
@pytest.mark.parametrize("kind", ["network", "pairs", "gibbs", "als"])
def test_the_last_moment_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    real = os.replace

    def full(source: Any, target: Any) -> None:
        if Path(target).name == "run.json":
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(RunError, match="No space left") as caught:
        fit(kind, tmp_path / "run")
    assert "--resume" in caught.value.labels["fix"]
    monkeypatch.undo()

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr("tenfold.engine.train.train_step", never)
    monkeypatch.setattr("tenfold.recommenders.factors.fit_model", never)
    again = fit(kind, tmp_path / "run", resume=True)
    monkeypatch.undo()
    whole = fit(kind, tmp_path / "whole")
    name = "weights.safetensors" if kind in ("network", "pairs") else "model.safetensors"
    assert (again.path / name).read_bytes() == (whole.path / name).read_bytes()


@pytest.mark.case("T5", "Ctrl-C in a fit that writes no checkpoint says that nothing was kept")
def test_ctrl_c_promises_no_checkpoint_that_is_not_there(tmp_path: Path) -> None:
    def stop(event: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    for kind in ("gibbs", "network"):
        with pytest.raises(KeyboardInterrupt) as caught:
            fit(kind, tmp_path / "run", on_progress=stop)
        assert "nothing was kept" in caught.value.__notes__[0]
        assert list(tmp_path.iterdir()) == []


# --- 42 ----------------------------------------------------------------------------------------------


@pytest.mark.case("42", "a loss that is no number ends the training, with finite weights or none")
def test_a_rate_that_is_far_too_high(tmp_path: Path) -> None:
    recipe = Recipe(**{**SMALL.model_dump(), "lr": 1e30, "epochs": 6, "patience": 5})
    with pytest.raises(TrainingError, match="not finite") as caught:
        fit("network", tmp_path / "run", recipe=recipe)
    assert "a lower --lr" in caught.value.labels["fix"]
    kept = [*tmp_path.rglob("weights.safetensors")]
    assert all(np.isfinite(one).all() for file in kept for one in load_file(file).values())


# --- 73 ----------------------------------------------------------------------------------------------


@pytest.mark.case("73", "every method's run answers the same bits when it is opened again")
@pytest.mark.parametrize("kind", ["gibbs", "als", "sgd", "pairs"])
def test_a_recommender_opens_as_it_was_saved(tmp_path: Path, kind: str) -> None:
    run = fit(kind, tmp_path / "run")
    users, items = ([f"u{one // 10}" for one in range(100)], [f"i{one % 10}" for one in range(100)])
    again = load_run(shutil.copytree(run.path, tmp_path / "copy"))
    scores = [one.predict_pairs(users, items).score for one in (run, again)]
    assert len(scores[0]) == 100 and scores[0].tobytes() == scores[1].tobytes()
    about = json.loads((again.path / "run.json").read_text())
    about["format"], about["versions"]["tenfold"] = 99, "9.9"
    (again.path / "run.json").write_text(json.dumps(about))
    with pytest.raises(RunError, match=r"made by tenfold 9\.9, this is "):
        load_run(again.path)
    model = run.path / "model.safetensors"
    model.write_bytes(model.read_bytes()[: model.stat().st_size // 2])
    with pytest.raises(RunError, match="is damaged"):
        load_run(run.path)


# --- 76 ----------------------------------------------------------------------------------------------


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


@pytest.mark.case("76", "neighbour: a pickle in place of any file of a run or its checkpoint runs no code")
def test_no_file_of_a_run_can_run_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    trap = pickle.dumps({"state_dict": Trap(tmp_path / "ran")})
    run = fit("pairs", tmp_path / "run")
    about = json.loads((run.path / "run.json").read_text())
    for name in about["files"]:
        copy = Path(shutil.copytree(run.path, tmp_path / "copies" / name))
        (copy / name).write_bytes(trap)
        with pytest.raises(RunError, match="is damaged"):
            load_run(copy)
        if name.endswith(".safetensors"):  # with sums that agree, too
            files = {**about["files"], name: file_digest(copy / name)}
            (copy / "run.json").write_text(json.dumps(sealed({**about, "files": files})))
            with pytest.raises(RunError, match="damaged, or is not a tensor file"):
                opened = load_run(copy)
                opened.predict_pairs(["u1"], ["i1"])
                opened.recommend(["u1"])  # by weights of its own
    with pytest.raises(KeyboardInterrupt):
        fit("network", tmp_path / "stopped", on_progress=stop_after(1))
    (tmp_path / "stopped.part" / "checkpoint.safetensors").write_bytes(trap)
    with pytest.raises(RunError, match="is not a tensor file"):
        fit("network", tmp_path / "stopped", resume=True)
    assert not (tmp_path / "ran").exists()


# ------------------------------------------------------------------------------------- names that are no text


@pytest.fixture(scope="module")
def under_odd_names(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures under a name of bytes that are no text, and a run of them under another."""
    folder = tmp_path_factory.mktemp("odd")
    pictures = folder / os.fsdecode(b"p\xfccs")
    try:
        columns = write_photos(folder, 12)
        (folder / "photos").rename(pictures)
    except OSError:
        pytest.skip("this file system knows text only")
    table = write_table(folder / "t.csv", {name: columns[name] for name in ("id", "label")})
    table.rename(folder / os.fsdecode(b"t\xfc.csv"))
    schema = Schema(
        inputs=[ImageColumn(name="id", folder=str(pictures))], targets=[CategoryTarget(name="label")]
    )
    recipe = Recipe(**{**QUICK.model_dump(), "epochs": 1})
    tenfold.fit(
        schema,
        recipe,
        str(folder / os.fsdecode(b"t\xfc.csv")),
        run=folder / os.fsdecode(b"r\xfcn"),
        report=False,
    )
    return folder


@pytest.mark.case(
    "V6", "tables, picture folders and runs under names of bytes that are no text work throughout"
)
def test_names_of_bytes(under_odd_names: Path, tmp_path: Path) -> None:
    run = under_odd_names / os.fsdecode(b"r\xfcn")
    table = str(under_odd_names / os.fsdecode(b"t\xfc.csv"))
    found = load_run(run).predict(table)
    write_predictions(tmp_path / os.fsdecode(b"\xfc.csv"), found)
    assert not record_submission(run, tmp_path / os.fsdecode(b"\xfc.csv"))
    told: list[str] = []
    (one,) = read_history(under_odd_names, on_note=told.append)
    assert one.run == run.name and len(one.submissions) == 1 and not told
    # Another name of the run does not matter.
    shutil.copytree(run, tmp_path / "copy")
    again = load_run(tmp_path / "copy").predict(table)
    assert np.array_equal(again.targets["label"].probabilities, found.targets["label"].probabilities)


@pytest.mark.case(
    "V6", "neighbour: what was written in a locale of plain ASCII reads the same in UTF-8, and back"
)
def test_names_in_another_locale(tmp_path: Path) -> None:
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    (tmp_path / "t.csv").write_text("x,y\n" + "".join(f"{one},{'ab'[one % 2]}\n" for one in range(20)))
    fit = "fit t.csv --number x --target y --epochs 1 --no-report -o r\u00fcn".split()
    command(*fit, cwd=tmp_path, **ascii_only)
    command("predict", "r\u00fcn", "t.csv", "-o", "\u00fc.csv", cwd=tmp_path, **ascii_only)
    told: list[str] = []
    (one,) = read_history(tmp_path, on_note=told.append)
    assert one.run == "r\u00fcn" and one.there and not told
    assert [line["file"] for line in one.submissions] == [str(tmp_path / "\u00fc.csv")]


@pytest.mark.case(
    "V8", "a run that was renamed is listed under its new name, with its scores and submissions"
)
def test_a_renamed_run(tmp_path: Path) -> None:
    fit("network", tmp_path / "first")
    found = load_run(tmp_path / "first").predict(cells())
    write_predictions(tmp_path / "p.csv", found)
    record_submission(tmp_path / "first", tmp_path / "p.csv")
    (tmp_path / "first").rename(tmp_path / "second")
    (one,) = read_history(tmp_path)
    assert one.run == "second" and one.there and len(one.submissions) == 1
    # Of a run that was copied, the name stays that it had.
    shutil.copytree(tmp_path / "second", tmp_path / "first")
    (one,) = read_history(tmp_path)
    assert one.run == "first"
    shutil.rmtree(tmp_path / "first")
    shutil.rmtree(tmp_path / "second")
    (one,) = read_history(tmp_path)
    assert one.run == "first" and not one.there


@pytest.mark.case("V11", "a run.json and a weights.safetensors of somebody else are left alone")
def test_somebody_elses_files_of_these_names(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    for name in ("run.json", "weights.safetensors"):
        (tmp_path / "run" / name).write_text('{"name": "mine"}')
        with pytest.raises(RunError, match="is a folder with other files in it, not a run"):
            fit("network", tmp_path / "run")
        assert (tmp_path / "run" / name).read_text() == '{"name": "mine"}'


@pytest.mark.case(
    "V11", "neighbour: a run within a run, and files of yours there, outlast the next fit of that name"
)
def test_a_run_within_a_run(tmp_path: Path) -> None:
    fit("network", tmp_path / "run")
    fit("network", tmp_path / "run" / "inner")
    (tmp_path / "run" / "notes.txt").write_text("mine")
    sums = {one.name: file_digest(one) for one in (tmp_path / "run" / "inner").iterdir()}
    fit("network", tmp_path / "run", recipe=SMALL.model_copy(update={"seed": 2}))
    assert {one.name: file_digest(one) for one in (tmp_path / "run" / "inner").iterdir()} == sums
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"
    assert (
        load_run(tmp_path / "run" / "inner").recipe.seed == 1 and load_run(tmp_path / "run").recipe.seed == 2
    )
