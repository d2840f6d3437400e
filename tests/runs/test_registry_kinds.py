"""Runs are opened by what they are, and asked by name or by themselves."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import pytest

from tenfold.errors import RunError
from tenfold.runs.folder import begin_run
from tenfold.runs.registry import KINDS, evaluate, load_run, open_recommender, predict
from tenfold.schema import IdColumn, ImageColumn, RatingTarget, Schema


def make(path: Path, kind: str) -> Path:
    folder, _ = begin_run(path)
    folder.write_text("note.txt", kind)
    folder.finish({"kind": kind})
    return folder.final


@pytest.mark.parametrize("name", ["network", "ratings"])
def test_a_run_is_opened_by_its_kind_and_asked_by_its_folder_or_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = make(tmp_path / "run", name)
    module, _, found = KINDS[name].partition(":")
    opened = getattr(import_module(module), found)
    schema = Schema(inputs=(IdColumn(name="u"), IdColumn(name="i")), targets=(RatingTarget(name="r"),))
    plain = Schema(inputs=(ImageColumn(name="id", folder="x"),), targets=())
    parts = [None] * (sum(not one.kw_only for one in fields(opened)) - 3)
    make_run = lambda path, record: opened(path, schema if name == "ratings" else plain, record, *parts)  # noqa: E731
    monkeypatch.setattr(opened, "open", make_run)
    monkeypatch.setattr(opened, "predict", lambda self, source, options, **words: (self.path, source, words))
    for run in (path, str(path), load_run(path)):
        assert predict(run, "t.csv", views=2) == (path, "t.csv", {"views": 2})
    if name == "ratings":
        assert open_recommender(path).path == path
    else:
        with pytest.raises(RunError, match="is not a run of ratings"):
            open_recommender(path)


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
        "import sys\nfrom tenfold.runs.registry import load_run\n"
        "from tenfold.errors import RunError\n"
        "try: load_run(sys.argv[1])\nexcept RunError: pass\n"  # it holds no schema
        "print('torch' in sys.modules, 'tenfold.recommenders.factors' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert done.stdout == "False True\n", done.stderr
