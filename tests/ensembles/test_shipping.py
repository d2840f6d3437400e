"""Files that go to another machine, and the run that comes back under its own names."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tenfold.ensembles import shipping
from tenfold.ensembles.shipping import chunks_of, listed, moved, packed_run, place_run, unpack
from tenfold.errors import RunError
from tenfold.recipe import Recipe
from tenfold.runs.fitting import fit
from tenfold.runs.registry import load_run
from tenfold.schema import CategoryTarget, ImageColumn, NumberColumn, Schema


@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
def test_a_folder_arrives_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(shipping, "CHUNK", chunk)
    source = tmp_path / "phötos of 'x'"
    (source / "deep").mkdir(parents=True)
    contents = {"a.png": b"0123456789", "deep/b.png": b"", "deep/c.png": bytes(range(256)), "é.png": b"x"}
    for name, data in contents.items():
        (source / name).write_bytes(data)
    parcel = listed(3, f"{source}/")
    for _ in range(2):  # a second time it is there
        unpack(parcel, iter(list(chunks_of(parcel))), tmp_path / "node")
    arrived = parcel.at(tmp_path / "node")
    assert arrived.name == source.name
    assert {
        str(p.relative_to(arrived)): p.read_bytes() for p in arrived.rglob("*") if p.is_file()
    } == contents
    file = listed(4, str(source / "a.png"))
    unpack(file, chunks_of(file), tmp_path / "node")
    assert file.at(tmp_path / "node").read_bytes() == contents["a.png"]


def test_an_empty_folder_and_what_cannot_be_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    parcel = listed(0, str(tmp_path / "empty"))
    unpack(parcel, chunks_of(parcel), tmp_path / "node")
    assert parcel.at(tmp_path / "node").is_dir()
    monkeypatch.chdir(tmp_path)
    for path in ("", ".", "none"):
        with pytest.raises(RunError, match="cannot be sent"):
            listed(0, path)


def test_a_file_that_changes_on_its_way_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    for change in (b"longer than before", b"x"):
        file.write_bytes(b"as it was")
        parcel = listed(0, str(file))
        file.write_bytes(change)
        with pytest.raises(RunError, match="has changed"):
            list(chunks_of(parcel))


def request(**more: Any) -> dict[str, Any]:
    schema = Schema(inputs=(ImageColumn(name="photos", folder="photos"),), targets=("y",))
    return {
        "task": "fit", "table": "train.csv", "schema": schema.model_dump(mode="json", exclude_none=True),
        "reading": {"folders": {}, "cache": "/cache"}, "recipe": {"weights": "hub", **more},
    }  # fmt: skip


def test_paths_move_and_names_do_not(tmp_path: Path) -> None:
    weights = tmp_path / "w.pth"
    weights.write_bytes(b"")
    told: Any = moved(request(weights=str(weights), start="runs/a"), lambda path: f"/node/{path}")
    assert told["table"] == "/node/train.csv" and told["reading"]["cache"] is None
    # The column has the name of its folder.
    assert told["schema"]["inputs"][0]["name"] == "photos"
    assert told["schema"]["inputs"][0]["folder"] == "/node/photos"
    assert told["recipe"] == {"weights": f"/node/{weights}", "start": "/node/runs/a"}
    plain: Any = moved(request(), lambda path: f"/node/{path}")
    assert plain["recipe"]["weights"] == "hub"
    given = request()
    given["reading"]["folders"] = {"photos": "elsewhere"}
    told = moved(given, lambda path: f"/node/{path}")
    assert told["reading"]["folders"] == {"photos": "/node/elsewhere"}
    assert told["schema"]["inputs"][0]["folder"] == "photos"


def test_a_run_comes_back_under_its_own_names_with_sums_that_hold(tmp_path: Path) -> None:
    node, home = tmp_path / "tenfold-node" / "0", tmp_path / 'ho"me'
    node.mkdir(parents=True)
    home.mkdir()
    lines = [f"{k % 7},{'near' if k % 7 < 3 else 'far'}" for k in range(40)]
    (node / "t.csv").write_text("a,y\n" + "\n".join(lines))
    schema = Schema(inputs=(NumberColumn(name="a"),), targets=(CategoryTarget(name="y"),))
    run = fit(schema, Recipe(epochs=1, hidden=(8,)), str(node / "t.csv"), run=node / "run", history=False)
    files = packed_run(node / "run")
    assert "run.json" in files and packed_run(node) == {}
    for _ in range(2):  # the second takes the place of the first
        place_run(files, home / "run", {str(node): str(home)})
    back = load_run(home / "run")
    assert back.record.table == str(home / "t.csv") and back.scores == run.scores
    assert str(node) not in json.dumps(dict(back.record.values))
    assert os.listdir(home) == ["run"]
    with pytest.raises(RunError, match="not a file of a run"):
        place_run({"../x": b"", **files}, home / "run", {})
