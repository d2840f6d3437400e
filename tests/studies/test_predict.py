"""Runs are opened by what they are, and asked by name or by themselves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tenfold.errors import RunError
from tenfold.runs.folder import begin_run
from tenfold.schema import IdColumn, ImageColumn, RatingTarget, Schema
from tenfold.studies.predict import evaluate, load_run, open_recommender, predict


def make(path: Path, kind: str) -> Path:
    folder, _ = begin_run(path)
    folder.write_text("note.txt", kind)
    folder.finish({"kind": kind})
    return folder.final


@pytest.fixture
def wings(monkeypatch: pytest.MonkeyPatch) -> None:
    schemas = {
        "networks.run.open_network_run": Schema(inputs=(ImageColumn(name="id", folder="x"),), targets=()),
        "recommenders.factors.open_ratings_run": Schema(
            inputs=(IdColumn(name="u"), IdColumn(name="i")), targets=(RatingTarget(name="r"),)
        ),
    }
    for name, schema in schemas.items():

        def opened(folder: Path, about: Any, schema: Schema = schema) -> Any:
            return SimpleNamespace(
                path=folder,
                kind=about["kind"],
                schema=schema,
                predict=lambda source, **options: ("predicted", folder, source, options),
                evaluate=lambda source, **options: ("evaluated", folder, source, options),
            )

        monkeypatch.setattr(f"tenfold.{name}", opened)


@pytest.mark.usefixtures("wings")
@pytest.mark.parametrize("kind", ["network", "ratings"])
def test_a_run_opens_in_its_wing(tmp_path: Path, kind: str) -> None:
    path = make(tmp_path / "run", kind)
    for form in (path, str(path)):
        run: Any = load_run(form)
        assert (run.kind, run.path) == (kind, path)


@pytest.mark.usefixtures("wings")
def test_a_run_is_asked_by_its_folder_or_itself(tmp_path: Path) -> None:
    path = make(tmp_path / "run", "network")
    for run in (path, str(path), load_run(path)):
        assert predict(run, "t.csv", views=2) == ("predicted", path, "t.csv", {"views": 2})
        assert evaluate(run, "t.csv") == ("evaluated", path, "t.csv", {})


@pytest.mark.usefixtures("wings")
def test_only_ratings_recommend(tmp_path: Path) -> None:
    assert open_recommender(make(tmp_path / "one", "ratings")).path == tmp_path / "one"
    with pytest.raises(RunError, match="is not a run of ratings"):
        open_recommender(make(tmp_path / "two", "network"))


def test_a_run_of_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="unknown kind") as caught:
        load_run(make(tmp_path / "run", "cluster"))
    assert caught.value.labels == {"found": "'cluster'", "fix": "upgrade tenfold"}


def test_a_run_that_is_not_there_or_changed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="does not exist"):
        predict(tmp_path / "nowhere", "t.csv")
    path = make(tmp_path / "run", "network")
    (path / "note.txt").write_text("other")
    with pytest.raises(RunError, match="note.txt: changed"):
        evaluate(path, "t.csv")


def test_opening_ratings_needs_no_torch(tmp_path: Path) -> None:
    path = make(tmp_path / "run", "ratings")
    code = (
        "import sys\nfrom tenfold.studies.predict import load_run\n"
        "from tenfold.errors import RunError\n"
        "try: load_run(sys.argv[1])\nexcept RunError: pass\n"  # it holds no schema
        "print('torch' in sys.modules, 'tenfold.recommenders.factors' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert done.stdout == "False True\n", done.stderr
