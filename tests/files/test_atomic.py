"""A file is either whole or as it was."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from tenfold.errors import OutputError
from tenfold.files.atomic import replacing


def _left(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


def test_folders_are_made_and_names_are_unicode(tmp_path):
    path = tmp_path / "résultats" / "图片 é" / "ß 1.csv"
    with replacing(path) as stream:
        stream.write(b"whole")
    assert path.read_bytes() == b"whole"
    assert _left(path.parent) == ["ß 1.csv"]


@pytest.mark.parametrize(
    "fault", [ValueError("x"), KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left")]
)
def test_a_failure_leaves_the_old_file_and_no_other(tmp_path, fault):
    path = tmp_path / "a.csv"
    path.write_bytes(b"good")
    with pytest.raises(OutputError if isinstance(fault, OSError) else type(fault)):
        with replacing(path) as stream:
            stream.write(b"half")
            raise fault
    assert path.read_bytes() == b"good"
    assert _left(tmp_path) == ["a.csv"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_disk_that_is_full_at_the_end_is_named(tmp_path, monkeypatch, step):
    path = tmp_path / "a.csv"
    path.write_bytes(b"good")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, step, full)
    with pytest.raises(OutputError) as caught, replacing(path) as stream:
        stream.write(b"half")
    assert "a.csv cannot be written: No space left on device" in str(caught.value)
    assert "untouched" in str(caught.value)
    assert path.read_bytes() == b"good"
    assert _left(tmp_path) == ["a.csv"]


def test_permissions_and_links_stay(tmp_path):
    path, link = tmp_path / "a.csv", tmp_path / "link.csv"
    path.write_bytes(b"old")
    path.chmod(0o640)
    link.symlink_to(path)
    with replacing(link) as stream:
        stream.write(b"new")
    assert link.is_symlink() and path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_new_file_has_the_usual_permissions(tmp_path):
    old = os.umask(0o022)
    try:
        with replacing(tmp_path / "a.csv") as stream:
            stream.write(b"x")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a.csv").stat().st_mode) == 0o644


def test_a_device_is_written_to_and_not_replaced():
    with replacing(os.devnull) as stream:
        stream.write(b"x")
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_device_is_an_error_of_ours():
    with pytest.raises(OutputError, match="No space left"), replacing("/dev/full") as stream:
        stream.write(b"x" * 100_000)


def test_places_that_cannot_be_written_are_named(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="is a folder"), replacing(tmp_path) as stream:
        stream.write(b"")
    with (
        pytest.raises(OutputError, match="cannot be written"),
        replacing(tmp_path / "file" / "a.csv") as stream,
    ):
        stream.write(b"")
    with (
        pytest.raises(OutputError, match="cannot be written") as caught,
        replacing(tmp_path / ("x" * 300)) as stream,
    ):
        stream.write(b"")
    assert "another name" in str(caught.value)


def test_the_longest_name_that_fits_is_written(tmp_path):
    path = tmp_path / ("x" * 255)
    with replacing(path) as stream:
        stream.write(b"x")
    assert path.read_bytes() == b"x"


def test_what_a_killed_process_left_is_removed_and_what_another_writes_is_not(tmp_path):
    left = tmp_path / f".tenfold-{'0' * 16}.tmp"
    left.write_bytes(b"half of an answer")
    with replacing(tmp_path / "a.csv") as one:
        one.write(b"one")
        one.flush()
        with replacing(tmp_path / "b.csv") as other:
            other.write(b"two")
    assert _left(tmp_path) == ["a.csv", "b.csv"]
    assert (tmp_path / "a.csv").read_bytes() == b"one"
