"""A run folder is whole or not there, is locked while it is made, and cannot run code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tenfold.errors import RunError
from tenfold.runs.folder import (
    FORMAT,
    begin_run,
    differences,
    read_arrays,
    read_run,
    replacing,
)


def make_run(path: Path, text: str = "one") -> Path:
    folder, _ = begin_run(path)
    folder.write_text("note.txt", text)
    folder.write_arrays("weights.safetensors", {"w": np.arange(6.0).reshape(2, 3)}, {"arch": "x"})
    folder.finish({"kind": "network"})
    return folder.final


def test_a_finished_run_reads_back(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run")
    folder, about = read_run(path)
    assert about.kind == "network" and about.values["format"] == FORMAT
    assert (folder / "note.txt").read_text() == "one"
    arrays, described = read_arrays(folder / "weights.safetensors")
    assert arrays["w"].tolist() == [[0, 1, 2], [3, 4, 5]] and described == {"arch": "x"}
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["run"]


def test_the_old_run_stays_until_the_new_one_has_finished(tmp_path: Path) -> None:
    make_run(tmp_path / "run", "old")
    folder, _ = begin_run(tmp_path / "run")
    folder.write_text("note.txt", "new")
    assert (read_run(tmp_path / "run")[0] / "note.txt").read_text() == "old"
    folder.finish({"kind": "network"})
    assert (read_run(tmp_path / "run")[0] / "note.txt").read_text() == "new"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["run"]


def test_an_unfinished_run_is_gone_on_with_or_started_anew(tmp_path: Path) -> None:
    folder, _ = begin_run(tmp_path / "run")
    folder.write_text("schema.toml", "half")
    folder.close()
    with pytest.raises(RunError, match="has not finished"):
        read_run(tmp_path / "run")
    again, notes = begin_run(tmp_path / "run", resume=True)
    assert again.file("schema.toml").read_text() == "half" and notes == []
    again.close()
    anew, notes = begin_run(tmp_path / "run")
    assert not anew.file("schema.toml").exists() and "--resume" in notes[0]
    anew.close()


def test_what_a_killed_process_was_writing_enters_no_run(tmp_path: Path) -> None:
    folder, _ = begin_run(tmp_path / "run")
    for name in (".checkpoint.safetensors.7.tmp", ".tmpnIjszi"):  # the second is how safetensors calls it
        folder.file(name).write_bytes(b"half")
    folder.close()
    folder, _ = begin_run(tmp_path / "run", resume=True)
    folder.write_text("schema.toml", "whole")
    folder.finish({"kind": "network"})
    assert sorted(one.name for one in (tmp_path / "run").iterdir()) == ["run.json", "schema.toml"]


def test_a_finished_run_that_is_to_be_replaced_and_what_an_unfinished_one_left_are_said(
    tmp_path: Path,
) -> None:
    folder, notes = begin_run(tmp_path / "run")
    assert notes == []
    (folder.path / "x").write_text("x")
    with pytest.raises(RunError) as caught:
        read_run(tmp_path / "run.part")
    assert "has not finished" in str(caught.value) and f"{tmp_path / 'run'} --resume" in str(caught.value)
    folder.finish({"kind": "test"})
    folder.close()
    again, notes = begin_run(tmp_path / "run")
    again.close()
    assert notes == [f"{tmp_path / 'run'} holds a finished run, which this one replaces once it has finished"]


def test_a_second_process_is_told_that_the_run_is_in_use(tmp_path: Path) -> None:
    folder, _ = begin_run(tmp_path / "run")
    code = (
        "import sys; from tenfold.runs.folder import begin_run\n"
        "try: begin_run(sys.argv[1])\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "run")], capture_output=True, text=True, check=True
    )
    assert "RunError" in done.stdout and "in use" in done.stdout
    folder.close()


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(b"x")
    with pytest.raises(RunError, match=r"a\.png"):
        begin_run(tmp_path / "photos")
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="is a file"):
        begin_run(tmp_path / "file")


def test_damage_is_named(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run")
    weights = path / "weights.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RunError, match=r"weights\.safetensors: changed or damaged"):
        read_run(path)
    weights.unlink()
    with pytest.raises(RunError, match=r"weights\.safetensors: missing"):
        read_run(path)


def test_a_later_version_is_named(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run")
    about = json.loads((path / "run.json").read_text())
    about["format"], about["versions"]["tenfold"] = FORMAT + 1, "9.9"
    (path / "run.json").write_text(json.dumps(about))
    with pytest.raises(RunError, match=r"made by tenfold 9\.9"):
        read_run(path)


def test_a_run_cannot_point_outside_itself(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run")
    about = json.loads((path / "run.json").read_text())
    about["files"]["../secret"] = "0"
    del about["sha256"], about["kind"]
    (path / "run.json").write_text(json.dumps(about))
    with pytest.raises(RunError, match="outside"):
        read_run(path)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"format": "x"}'])
def test_a_damaged_description_is_named(tmp_path: Path, text: str) -> None:
    path = make_run(tmp_path / "run")
    (path / "run.json").write_text(text)
    with pytest.raises(RunError, match="damaged"):
        read_run(path)


def test_no_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="does not exist"):
        read_run(tmp_path / "nothing")
    with pytest.raises(RunError, match="holds no run"):
        read_run(tmp_path)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(target) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert target.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]
    with pytest.raises(RunError, match="No space left"), replacing(target) as temporary:
        temporary.write_text("half")
        raise OSError(28, "No space left on device")
    assert target.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_files_that_are_no_tensors_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    file.write_bytes(b"\x80\x04\x95pickle")
    with pytest.raises(RunError, match="is not a tensor file"):
        read_arrays(file)


def test_differences_name_every_change() -> None:
    before = {"recipe": {"batch_size": 64, "lr": 1.0}, "data": "a"}
    now = {"recipe": {"batch_size": 32, "lr": 1.0}, "data": "a"}
    assert differences(before, now) == ["recipe.batch_size: 64 -> 32"]
    assert differences(before, before) == []


@pytest.mark.parametrize("path", ["/", "//"])
def test_a_place_without_a_name_is_refused(path: str) -> None:
    with pytest.raises(RunError, match="no place for a run"):
        begin_run(path)


# --- what an unfinished run is gone on from ----------------------------------------------------------

IDENTITY = {"data": "abc", "recipe": {"lr": 0.1}}
ARRAYS = {
    "a/w": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a/n": np.array(3),
    "empty": np.zeros((0, 4)),
    "half": np.array([1.5, -2], np.float16),
    "mask": np.array([True, False]),
}


def equal(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(
        one[name].dtype == other[name].dtype and np.array_equal(one[name], other[name]) for name in one
    )


def test_no_flipped_bit_in_a_checkpoint_is_gone_on_with(tmp_path: Path) -> None:
    folder, _ = begin_run(tmp_path / "run")
    about = {"identity": IDENTITY, "progress": {"epoch": 3}}
    folder.write_checkpoint(ARRAYS, about)
    found = folder.read_checkpoint(IDENTITY, "training")
    assert found is not None and found.checked and found.about == about and equal(found.arrays, ARRAYS)
    file = folder.file("checkpoint.safetensors")
    whole = file.read_bytes()
    refused = 0
    bits = np.random.default_rng(0).integers(0, 8, len(whole)).tolist()
    for place, bit in enumerate(bits):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << bit
        file.write_bytes(damaged)
        try:
            again = folder.read_checkpoint(IDENTITY, "training")
        except RunError as error:
            refused += 1
            assert "is damaged" in error.headline and error.labels["fix"]
        else:  # another blank in the header, which says nothing
            assert again is not None and again.about == about and equal(again.arrays, ARRAYS)
    assert refused > 0.95 * len(whole)
    file.write_bytes(whole[:-1])
    with pytest.raises(RunError, match="is damaged"):
        folder.read_checkpoint(IDENTITY, "training")
    folder.close()


def test_a_checkpoint_without_a_sum_is_taken_and_known_to_be_one(tmp_path: Path) -> None:
    folder, _ = begin_run(tmp_path / "run")
    folder.write_arrays("checkpoint.safetensors", ARRAYS, {"identity": IDENTITY})
    found = folder.read_checkpoint(IDENTITY, "training")
    assert found is not None and not found.checked and equal(found.arrays, ARRAYS)
    for about in ({}, {"identity": 3}, {"identity": None}):
        folder.write_arrays("checkpoint.safetensors", ARRAYS, about)
        with pytest.raises(RunError, match="damaged"):
            folder.read_checkpoint(IDENTITY, "training")
    folder.close()


@pytest.mark.parametrize("text", ["[]", "3", "{", "[" * 100_000])
def test_arrays_whose_description_is_none_are_damaged(tmp_path: Path, text: str) -> None:
    from safetensors.numpy import save_file

    save_file({"a": np.arange(3)}, tmp_path / "a.safetensors", metadata={"about": text})
    with pytest.raises(RunError, match="is damaged"):
        read_arrays(tmp_path / "a.safetensors")


def test_a_mistyped_run_is_answered_with_the_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("leaves", "films"):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        (folder / "run.json").write_text("{}")
    (tmp_path / "runs" / "laeves2").mkdir()  # holds no run
    monkeypatch.chdir(tmp_path)
    for typed, near in (
        ("runs/laeves", "did you mean 'runs/leaves'?"),
        ("rusn/films", "did you mean 'runs/films'?"),
        ("films", "did you mean 'runs/films'?"),
        ("runs/zzz", "there is: runs/films, runs/leaves"),
    ):
        with pytest.raises(RunError) as caught:
            read_run(typed)
        assert near in str(caught.value), typed
    with pytest.raises(RunError) as caught:
        read_run("nowhere/zzz")
    assert "did you mean" not in str(caught.value)
