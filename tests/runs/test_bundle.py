"""A folder of many runs: whose it is, and what its description covers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tenfold.errors import RunError
from tenfold.runs.bundle import begin_bundle, describe_bundle, making_bundle
from tenfold.runs.folder import read_run


def test_a_bundle_is_described_again_and_again_and_its_members_stay(tmp_path: Path) -> None:
    folder, about = begin_bundle(tmp_path / "top")
    assert about.values == {}
    (tmp_path / "top" / "members").mkdir()
    folder.write_text("schema.toml", "x = 1\n")
    describe_bundle(folder, {"members": []})
    folder.close()
    _, found = read_run(tmp_path / "top")
    assert found.kind == "blend" and list(found.files) == ["schema.toml"]
    again, about = begin_bundle(tmp_path / "top")
    assert about.members == [] and (tmp_path / "top" / "members").is_dir()
    again.close()


def test_the_page_of_what_it_was_before_goes(tmp_path: Path) -> None:
    folder, _ = begin_bundle(tmp_path / "top")
    describe_bundle(folder, {"members": []})
    folder.write_text("report.html", "old")
    describe_bundle(folder, {"members": []})
    folder.close()
    assert not (tmp_path / "top" / "report.html").exists()


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
    describe_bundle(again, {"members": []})
    again.close()
    assert about.values == {} and not again.file(".run.json.1.tmp").exists()


def test_two_processes_do_not_share_it(tmp_path: Path) -> None:
    folder, _ = begin_bundle(tmp_path / "top")
    with pytest.raises(RunError, match="in use"):
        begin_bundle(tmp_path / "top")
    folder.close()
    begin_bundle(tmp_path / "top")[0].close()


def test_a_changed_file_of_its_own_is_found(tmp_path: Path) -> None:
    folder, _ = begin_bundle(tmp_path / "top")
    folder.write_text("schema.toml", "x = 1\n")
    describe_bundle(folder, {})
    folder.close()
    (tmp_path / "top" / "schema.toml").write_text("x = 2\n")
    with pytest.raises(RunError, match="damaged"):
        read_run(tmp_path / "top")


@pytest.mark.parametrize("error", [RunError("x"), KeyboardInterrupt()])
def test_an_attempt_that_came_to_nothing_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, making_bundle(tmp_path / "top") as (folder, _):
        (folder.path / "logs").mkdir()
        if isinstance(error, KeyboardInterrupt):
            folder.file("logs/check.txt").write_text("")
        raise error
    notes = getattr(caught.value, "__notes__", [])
    assert list(tmp_path.iterdir()) == []
    assert notes == (["nothing was kept"] if isinstance(error, KeyboardInterrupt) else [])


@pytest.mark.parametrize(
    "names",
    [
        ["lock"], ["lock", "logs/check.txt"], ["logs/check.txt"], ["lock", "schema.toml", "oof.parquet"],
        ["lock", ".run.json.12.tmp"],
    ],
)  # fmt: skip
def test_what_a_stopped_beginning_left_does_not_block_the_next(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / "top" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "top" / name).write_text("x")
    with making_bundle(tmp_path / "top") as (folder, about):
        assert about.values == {} and not list(folder.path.glob("*.tmp"))
        describe_bundle(folder, {})


@pytest.mark.parametrize("names", [["lock", "mine.txt"], ["schema.toml"], ["lock", "logs/photo.png"]])
def test_files_of_somebody_else_block_a_bundle_and_stay(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / "top" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "top" / name).write_text("x")
    with pytest.raises(RunError, match="other files in it"), making_bundle(tmp_path / "top"):
        pass
    assert all((tmp_path / "top" / name).exists() for name in names)


def test_a_bundle_with_a_damaged_description_is_made_again(tmp_path: Path) -> None:
    with making_bundle(tmp_path / "top") as (folder, _):
        (folder.path / "members").mkdir()
        describe_bundle(folder, {"members": [], "units": {"one": {}}})
    text = (tmp_path / "top" / "run.json").read_text()
    for damaged in (text.replace('"units"', '"unots"'), text[:40]):
        (tmp_path / "top" / "run.json").write_text(damaged)
        with making_bundle(tmp_path / "top") as (_, about):
            assert about.values == {"kind": "blend"}


def test_a_bundle_goes_where_a_link_leads(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    with making_bundle(tmp_path / "link") as (folder, _):
        describe_bundle(folder, {"members": []})
    assert read_run(tmp_path / "link")[1].kind == "blend" and (tmp_path / "disk").is_dir()
