"""A photo, a row, or a few of them are answered as the same rows of a table are."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import tenfold
from command import TENFOLD
from command import tenfold as command
from photos import QUICK, write_photos, write_table
from tenfold.errors import ImageError, RunError, SchemaError
from tenfold.schema import CategoryTarget, ImageColumn, NumberColumn, NumberTarget, Schema


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("asked")
    table = write_table(folder / "train.csv", write_photos(folder, 40))
    schema = Schema(
        inputs=[ImageColumn(name="id", folder=str(folder / "photos"))],
        targets=[CategoryTarget(name="label"), CategoryTarget(name="size")],
    )
    return folder, tenfold.fit(
        schema, QUICK.model_copy(update={"epochs": 3}), table, run=folder / "run", quiet=True
    )


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Any:
    x = np.linspace(-1, 1, 40)
    return tenfold.fit(
        {"x": x, "kind": ["a", "b"] * 20, "y": 3 * x},
        number="x",
        category="kind",
        target="y:number",
        epochs=5,
        run=tmp_path_factory.mktemp("cells") / "run",
        quiet=True,
    )


def chances(answers: Any) -> np.ndarray:
    return np.concatenate([own.probabilities for own in answers.targets.values()], axis=1)


def test_a_photo_is_answered_as_in_its_table(
    photos: tuple[Path, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, run = photos
    names = sorted(path.name for path in (folder / "photos").iterdir())[:6]
    table = chances(run.predict({"id": names}))
    paths = [folder / "photos" / name for name in names]
    assert np.allclose(chances(run.predict(paths)), table, atol=1e-6)
    assert [*run.predict(paths).ids] == names
    monkeypatch.chdir(folder)
    for row, path in enumerate(paths[:2]):
        with Image.open(path) as picture:
            forms = [str(path), path, f"photos/{path.name}", {"id": str(path)}, picture, np.asarray(picture)]
            for form in forms:
                assert np.allclose(chances(run.predict(form)), table[row : row + 1], atol=1e-6)
    # A turned picture in memory is seen as a viewer shows it.
    with Image.open(paths[0]) as picture:
        exif = Image.Exif()
        exif[0x0112] = 6
        turned = io.BytesIO()
        picture.convert("RGB").rotate(90, expand=True).save(turned, "PNG", exif=exif)
    with Image.open(turned) as picture:
        assert np.allclose(chances(run.predict(picture)), table[:1], atol=1e-6)


def test_what_is_asked_once_stays_in_memory(
    photos: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, run = photos
    names = sorted(path.name for path in (folder / "photos").iterdir())[:6]
    table = chances(run.predict({"id": names}))
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path / "cache"))
    paths = [folder / "photos" / name for name in names]
    shutil.copy(paths[0], tmp_path / "twin.png")
    answers = run.predict([*paths, tmp_path / "twin.png"])
    assert np.allclose(chances(answers), np.concatenate([table, table[:1]]), atol=1e-6)
    assert list(answers.notes) == [] and not (tmp_path / "cache").exists()


def test_what_is_no_photo_is_named(photos: tuple[Path, Any], tmp_path: Path) -> None:
    folder, run = photos
    with pytest.raises(ImageError, match="there is no picture 'lost.jpg'"):
        run.predict("lost.jpg")
    (tmp_path / "page.jpg").write_text("<html>")
    with pytest.raises(ImageError, match="page.jpg is not a picture: it is a web page"):
        run.predict(tmp_path / "page.jpg")
    with pytest.raises(SchemaError, match="id"):
        run.predict({"x": 1})


def test_a_row_of_values_is_answered_as_in_its_table(cells: Any, photos: tuple[Path, Any]) -> None:
    table = cells.predict({"x": [0.5, -0.25], "kind": ["a", "b"]}).targets["y"].values
    assert np.allclose(cells.predict({"x": 0.5, "kind": "a"}).targets["y"].values, table[:1], atol=1e-6)
    rows = [{"kind": "a", "x": "0.5"}, {"x": -0.25, "kind": "b"}]
    assert np.allclose(cells.predict(rows).targets["y"].values, table, atol=1e-6)
    with pytest.raises(SchemaError, match="kind"):
        cells.predict({"x": 0.5})
    photo = next((photos[0] / "photos").iterdir())
    with pytest.raises(SchemaError):
        cells.predict(str(photo))


def test_a_photo_and_values_together(tmp_path: Path) -> None:
    columns = write_photos(tmp_path, 24)
    table = {**columns, "weight": np.arange(24.0), "y": np.arange(24.0)}
    schema = Schema(
        inputs=[ImageColumn(name="id", folder=str(tmp_path / "photos")), NumberColumn(name="weight")],
        targets=[NumberTarget(name="y")],
    )
    run = tenfold.fit(schema, QUICK.model_copy(update={"epochs": 1}), table, run=tmp_path / "run", quiet=True)
    name = str(columns["id"][0])
    known = run.predict({"id": [name], "weight": [3.0]}).targets["y"].values
    for cell in (name, str(tmp_path / "photos" / name)):
        assert np.allclose(run.predict({"id": cell, "weight": 3}).targets["y"].values, known, atol=1e-6)
    with pytest.raises(SchemaError, match="a photo alone is not all that this run needs"):
        run.predict(tmp_path / "photos" / name)


def test_a_folder_that_another_run_has_taken_is_not_asked(photos: tuple[Path, Any], tmp_path: Path) -> None:
    folder, run = photos
    shutil.copytree(run.path, tmp_path / "run")
    mine = tenfold.load_run(tmp_path / "run")
    photo = next((folder / "photos").iterdir())
    mine.predict(photo)
    other = QUICK.model_copy(update={"epochs": 1})
    tenfold.fit(run.schema, other, folder / "train.csv", run=tmp_path / "run", quiet=True)
    with pytest.raises(RunError, match="was replaced by another run"):
        mine.predict(photo)
    tenfold.load_run(tmp_path / "run").predict(photo)


def test_the_command_prints_the_answers_to_a_few(photos: tuple[Path, Any], cells: Any) -> None:
    folder, run = photos
    photo = sorted((folder / "photos").iterdir())[0]
    known = run.predict(photo)
    done = command("predict", run.path, photo, photo, "--json", cwd=folder)
    rows = json.loads(done.stdout)["rows"]
    assert rows[0]["answers"]["label"] == known.targets["label"].values[0] and rows[0] == rows[1]
    assert abs(sum(rows[0]["probabilities"]["label"].values()) - 1) < 1e-9
    shown = command("predict", run.path, photo, cwd=folder).stdout
    assert photo.name in shown and "%" in shown and max(map(len, shown.splitlines())) <= 80
    typed = command("predict", cells.path, "--row", "x=0.5", "--row", "kind=a", "--json", cwd=folder)
    known = cells.predict({"x": 0.5, "kind": "a"})
    answer = json.loads(typed.stdout)["rows"][0]["answers"]["y"]
    assert abs(answer - known.targets["y"].values[0]) < 1e-6
    for words, text in (
        (("--row", "x:0.5"), "is not COLUMN=VALUE"),
        (("--row", "x=1", "--row", "kind=a", "--row", "x=2"), "--row gives x more than once"),
        (("--row", "x=1", str(photo)), "--row stands for a table"),
    ):
        assert text in command("predict", cells.path, *words, cwd=folder, code=2).stderr


def test_more_pictures_than_questions_that_are_held(photos: tuple[Path, Any]) -> None:
    folder, run = photos
    files = sorted((folder / "photos").iterdir())
    opened = [Image.open(files[k % len(files)]) for k in range(20)]
    known = run.predict([files[k % len(files)] for k in range(20)]).targets["label"].probabilities
    assert np.array_equal(run.predict(opened).targets["label"].probabilities, known)


def test_a_photo_or_rows_come_from_standard_input(photos: tuple[Path, Any], cells: Any) -> None:
    folder, run = photos
    words = [*TENFOLD, "predict", str(cells.path), "-", "--json"]
    done = subprocess.run(words, input=b"kind,x\na,0.5\nb,0.1\n", capture_output=True, check=True)
    told = [row["answers"]["y"] for row in json.loads(done.stdout)["rows"]]
    known = cells.predict({"x": [0.5, 0.1], "kind": ["a", "b"]}).targets["y"].values
    assert np.allclose(told, known, atol=1e-6)
    photo = sorted((folder / "photos").iterdir())[0]
    words = [*TENFOLD, "predict", str(run.path), "-", "--json"]
    done = subprocess.run(words, input=photo.read_bytes(), capture_output=True, check=True)
    row = json.loads(done.stdout)["rows"][0]
    assert row["answers"]["label"] == run.predict(photo).targets["label"].values[0]
