"""A folder of many runs: whose it is, and what its description covers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tenfold.errors import RunError
from tenfold.store.bundle import begin_bundle, describe_bundle
from tenfold.store.run import read_run


def test_a_bundle_is_described_again_and_again_and_its_members_stay(tmp_path: Path) -> None:
    folder, about = begin_bundle(tmp_path / "top")
    assert about == {}
    (tmp_path / "top" / "members").mkdir()
    folder.write_text("schema.toml", "x = 1\n")
    describe_bundle(folder, {"members": []}, ("schema.toml", "oof.parquet"))
    folder.close()
    _, found = read_run(tmp_path / "top")
    assert found["kind"] == "blend" and list(found["files"]) == ["schema.toml"]
    again, about = begin_bundle(tmp_path / "top")
    assert about["members"] == [] and (tmp_path / "top" / "members").is_dir()
    again.close()


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(RunError, match="other files in it"):
        begin_bundle(tmp_path)
    other = tmp_path / "run"
    other.mkdir()
    (other / "run.json").write_text(json.dumps({"kind": "network"}))
    with pytest.raises(RunError, match="'network'"):
        begin_bundle(other)
    with pytest.raises(RunError, match="is a file"):
        begin_bundle(tmp_path / "notes.txt")


def test_one_that_was_killed_before_its_description_is_begun_again(tmp_path: Path) -> None:
    folder, _ = begin_bundle(tmp_path / "top")
    for name in ("schema.toml", "oof.parquet", ".run.json.1.tmp"):
        folder.file(name).write_text("half")
    folder.close()
    again, about = begin_bundle(tmp_path / "top")
    describe_bundle(again, {"members": []}, ())
    again.close()
    assert about == {} and not again.file(".run.json.1.tmp").exists()


def test_two_processes_do_not_share_it(tmp_path: Path) -> None:
    folder, _ = begin_bundle(tmp_path / "top")
    with pytest.raises(RunError, match="in use"):
        begin_bundle(tmp_path / "top")
    folder.close()
    begin_bundle(tmp_path / "top")[0].close()


def test_a_changed_file_of_its_own_is_found(tmp_path: Path) -> None:
    folder, _ = begin_bundle(tmp_path / "top")
    folder.write_text("schema.toml", "x = 1\n")
    describe_bundle(folder, {}, ("schema.toml",))
    folder.close()
    (tmp_path / "top" / "schema.toml").write_text("x = 2\n")
    with pytest.raises(RunError, match="damaged"):
        read_run(tmp_path / "top")
