"""Pictures: read by stated rules whatever their format, or refused by name before anything is learnt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from photos import QUICK, write_photo, write_photos, write_table
from pictures import grained
from tenfold.cli import app
from tenfold.errors import ImageError
from tenfold.jobs.inputs import Reading
from tenfold.jobs.netfit import fit_network_run
from tenfold.jobs.netrun import NetworkRun
from tenfold.recipe import Recipe
from tenfold.schema import ImageColumn, Schema, parse_targets

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
FEW = Recipe(**{**QUICK.model_dump(), "epochs": 2})


def schema_of(folder: Path) -> Schema:
    return Schema(
        inputs=[ImageColumn(name="id", folder=str(folder))], targets=parse_targets(["label:category"])
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> NetworkRun:
    """A run that met pictures of 8 bits only."""
    folder = tmp_path_factory.mktemp("trained")
    columns = write_photos(folder, 15)
    table = write_table(folder / "train.csv", {name: columns[name] for name in ("id", "label")})
    return fit_network_run(schema_of(folder / "photos"), FEW, str(table), run=folder / "run")


@pytest.fixture(scope="module")
def trained_on_floats(tmp_path_factory: pytest.TempPathFactory) -> NetworkRun:
    """A run that met float pictures whose white is 255, though that of most alone would be 1."""
    folder = tmp_path_factory.mktemp("floats")
    (folder / "photos").mkdir()
    names = []
    for number in range(12):
        bright = 200.0 if number % 2 else 0.5
        write_float(folder / "photos" / f"{number}.tif", bright, number)
        names.append(f"{number}.tif")
    table = write_table(
        folder / "train.csv", {"id": names, "label": ["a" if one % 2 else "b" for one in range(12)]}
    )
    return fit_network_run(schema_of(folder / "photos"), FEW, str(table), run=folder / "run")


def write_float(path: Path, bright: float, seed: int = 0) -> None:
    values = np.random.default_rng(seed).uniform(0.2, 1, (32, 32)).astype(np.float32) * bright
    Image.fromarray(values).save(path)


def ask(run: NetworkRun, folder: Path, names: list[str], **options: Any) -> dict[str, Any]:
    """Name -> probabilities of a row, None where it cannot be used."""
    found = run.predict({"id": names}, reading=Reading(folders={"id": str(folder)}, **options))
    chances = found.targets["label"].probabilities
    assert chances is not None
    return {
        name: None if row in found.reasons else chances[row].round(5).tolist()
        for row, name in enumerate(map(str, found.ids))
    }


def command(folder: Path, words: str, monkeypatch: pytest.MonkeyPatch, code: int = 0) -> str:
    monkeypatch.chdir(folder)
    done = CliRunner().invoke(app, words.split())
    assert done.exit_code == code, done.output
    return done.output


# ---------------------------------------------------------------------------------- neighbours in the batch


def strange(folder: Path) -> list[str]:
    """Pictures of every depth, some of which cannot be used."""
    write_photo(folder / "eight.png", "cat", 1)
    Image.fromarray(grained()[..., 0].astype(np.uint16) * 100).save(folder / "sixteen.png")
    write_float(folder / "dark.tif", 0.01)
    write_float(folder / "one.tif", 1.0)
    write_float(folder / "byte.tif", 255.0)
    write_float(folder / "huge.tif", 60000.0)
    for name, value in (("nan.tif", np.nan), ("inf.tif", np.inf), ("minus.tif", -np.inf)):
        values = np.full((8, 8), 0.5, np.float32)
        values[3, 3] = value
        Image.fromarray(values).save(folder / name)
    Image.fromarray(np.array([[0, 40000]], np.int32)).save(folder / "whole.tif")
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.metamorphic("a picture's answer does not depend on the pictures beside it, whatever their depth")
@pytest.mark.parametrize("kind", ["trained", "trained_on_floats"])
def test_an_answer_does_not_depend_on_the_neighbours(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    run = request.getfixturevalue(kind)
    names = strange(tmp_path)
    together = ask(run, tmp_path, names, skip_bad=True)
    assert ask(run, tmp_path, names[::-1], skip_bad=True) == together
    for name in names:
        try:
            assert ask(run, tmp_path, [name]) == {name: together[name]}
        except ImageError as error:
            assert together[name] is None and f"{name} has " in str(error)
    refused = {name for name, answer in together.items() if answer is None}
    never = {"nan.tif", "inf.tif", "minus.tif", "whole.tif", "huge.tif"}
    assert refused == (never if kind == "trained_on_floats" else never | {"byte.tif"})


def test_white_is_what_the_training_took(trained: NetworkRun, trained_on_floats: NetworkRun) -> None:
    assert trained.encoding.white == (None,) and trained_on_floats.encoding.white == (255.0,)
