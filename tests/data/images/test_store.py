"""Rows on disk: appended whole or not believed, by any number of processes; files known by their status."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tenfold.data.images import store as imagestore
from tenfold.data.images.cache import build_image_cache
from tenfold.data.images.store import Entry, PixelStore, SeenFiles, digest_content, find_cache_folder
from tenfold.memory import cache as plancache
from tenfold.memory.cards import stored_context

ROW = 12


def row(number: int) -> tuple[Entry, np.ndarray]:
    return Entry(f"{number:032x}", 0.0, 0.0, 5, 4, False), np.full(ROW, number, np.uint8)


def open_store(folder: Path) -> PixelStore:
    return PixelStore(folder, "key", ROW)


def content_of(store: PixelStore, number: int) -> list[int] | None:
    """The row's values, None if it is not there or not whole."""
    entry = store.find(f"{number:032x}", None)
    out = np.zeros(ROW, np.uint8)
    return out.tolist() if entry and store.read(entry.index, entry.check, out) else None


def check(store: PixelStore, there: list[int], missing: list[int]) -> None:
    for number in there:
        assert content_of(store, number) == [number] * ROW
    for number in missing:
        assert store.find(f"{number:032x}", None) is None


def test_rows_come_back_in_this_process_and_the_next(tmp_path: Path) -> None:
    store = open_store(tmp_path / "new" / "folder")
    store.add([row(1), row(2), row(1)])
    store.add([row(2), row(3)])
    for one in (store, open_store(tmp_path / "new" / "folder")):
        check(one, [1, 2, 3], [4])
    assert (tmp_path / "new" / "folder" / "key-1.pixels").stat().st_size == 3 * ROW  # nothing twice


def test_two_that_are_open_see_each_others_rows(tmp_path: Path) -> None:
    first, second = open_store(tmp_path), open_store(tmp_path)
    first.add([row(1)])
    second.add([row(2), row(1)])
    first.add([row(3)])
    second.add([])
    for one in (first, second, open_store(tmp_path)):
        check(one, [1, 2, 3], [])
    assert (tmp_path / "key-1.pixels").stat().st_size == 3 * ROW


@pytest.mark.parametrize("cut", range(2, 60))  # a line that only lacks its end is whole
def test_a_line_left_half_by_a_killed_process_is_not_believed(tmp_path: Path, cut: int) -> None:
    store = open_store(tmp_path)
    store.add([row(1)])
    before = (tmp_path / "key-1.index").stat().st_size
    store.add([row(2)])
    size = (tmp_path / "key-1.index").stat().st_size
    keep = max(before, size - cut)
    os.truncate(tmp_path / "key-1.index", keep)
    after = open_store(tmp_path)
    check(after, [1], [2])
    after.add([row(3)])
    for one in (after, open_store(tmp_path)):
        check(one, [1, 3], [2])
    after.add([row(2)])
    check(open_store(tmp_path), [1, 2, 3], [])


@pytest.mark.parametrize("cut", [0, 1, 20])
def test_a_header_left_half_is_completed(tmp_path: Path, cut: int) -> None:
    open_store(tmp_path)
    os.truncate(tmp_path / "key-1.index", cut)
    open_store(tmp_path).add([row(1)])
    check(open_store(tmp_path), [1], [])


def test_pixels_left_half_are_skipped(tmp_path: Path) -> None:
    open_store(tmp_path).add([row(1)])
    with open(tmp_path / "key-1.pixels", "ab") as file:
        file.write(b"\7" * 5)
    store = open_store(tmp_path)
    store.add([row(2)])
    check(open_store(tmp_path), [1, 2], [])
    entry = store.find(f"{2:032x}", None)
    assert entry is not None and entry.index == 2


def test_pixels_lost_or_changed_are_noticed(tmp_path: Path) -> None:
    open_store(tmp_path).add([row(1), row(2), row(3)])
    with open(tmp_path / "key-1.pixels", "r+b") as file:
        file.write(b"\0")
    os.truncate(tmp_path / "key-1.pixels", 2 * ROW + 3)
    store = open_store(tmp_path)
    assert [content_of(store, number) for number in (1, 2, 3)] == [None, [2] * ROW, None]


def test_an_index_of_something_else_is_refused(tmp_path: Path) -> None:
    open_store(tmp_path)
    (tmp_path / "key-1.index").write_text("something else\n")
    with pytest.raises(OSError, match="its index is damaged"):
        open_store(tmp_path)


def test_lines_of_another_kind_are_passed_over(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.add([row(1)])
    with open(tmp_path / "key-1.index", "a") as file:
        file.write('{"a":1}\n[1,2]\n"x"\nnull\n[' + ",".join("1" * 30) + "]\n\n")
    store.add([row(2)])
    check(open_store(tmp_path), [1, 2], [])


def test_a_full_disk_keeps_what_had_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(tmp_path)
    pixels = (tmp_path / "key-1.pixels").stat().st_ino
    write, room = os.write, [2 * ROW + 5]

    def write_until_full(file: int, data: memoryview) -> int:
        if os.fstat(file).st_ino != pixels:
            return write(file, data)
        if room[0] == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        count = write(file, bytes(data)[: room[0]])
        room[0] -= count
        return count

    monkeypatch.setattr(os, "write", write_until_full)
    with pytest.raises(OSError, match="No space left"):
        store.add([row(number) for number in range(1, 6)])
    monkeypatch.undo()
    for one in (store, open_store(tmp_path)):
        check(one, [1, 2], [3, 4, 5])
    assert (tmp_path / "key-1.pixels").stat().st_size == 2 * ROW
    store.add([row(3)])
    check(open_store(tmp_path), [1, 2, 3], [])


def test_a_full_disk_at_the_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(tmp_path)
    store.add([row(1)])
    index = (tmp_path / "key-1.index").stat().st_ino
    write, calls = os.write, [0]

    def write_a_part(file: int, data: memoryview) -> int:
        if os.fstat(file).st_ino != index:
            return write(file, data)
        calls[0] += 1
        if calls[0] > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, bytes(data)[:9])

    monkeypatch.setattr(os, "write", write_a_part)
    with pytest.raises(OSError, match="No space left"):
        store.add([row(2)])
    monkeypatch.undo()
    check(store, [1], [2])
    store.add([row(3)])
    check(open_store(tmp_path), [1, 3], [2])


def test_the_disk_is_never_filled_to_the_brim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(tmp_path)
    usage = namedtuple("usage", "total used free")
    free = imagestore.RESERVE_BYTES + ROW
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**12, 0, free))
    store.add([row(1)])
    free -= 1
    with pytest.raises(OSError, match="128 MB would be left on the disk"):
        store.add([row(2)])
    check(store, [1], [2])


def test_deep_pictures_are_kept_by_their_white(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    entry, pixels = row(1)
    for white in (1.0, 255.0):
        store.add([(Entry(entry.content, white, 1.0, 5, 4, False), pixels * int(white % 7))])
    for white, right in ((None, 1.0), (1.0, 1.0), (255.0, 255.0)):
        found = open_store(tmp_path).find(entry.content, white)
        assert found is not None and found.white == right
    assert store.find(entry.content, 65535.0) is None
    assert store.find(row(2)[0].content, 65535.0) is None
    store.add([row(2)])
    assert store.find(row(2)[0].content, 65535.0) is not None  # white does not matter to it


# ------------------------------------------------------------------------------------------------------ files

SEEN = pytest.mark.skipif(sys.platform == "win32", reason="no status of files is trusted on Windows")


def read(seen: SeenFiles, path: Path) -> str:
    with open(path, "rb") as file:
        return seen.read(path, file)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file has been left alone for a while."""
    now = imagestore.time.time_ns
    monkeypatch.setattr(imagestore.time, "time_ns", lambda: now() + 10 * imagestore.SETTLED)


@SEEN
@pytest.mark.usefixtures("later")
def test_files_left_alone_are_known_again(tmp_path: Path) -> None:
    path = tmp_path / "é" / "a.jpg"
    path.parent.mkdir()
    path.write_bytes(b"abc")
    seen = SeenFiles(tmp_path, [path])
    assert seen.get(path) is None
    content = read(seen, path)
    with open(path, "rb") as file:
        assert content == digest_content(file)
    seen.save()
    again = SeenFiles(tmp_path, [path])
    assert again.get(path) == content
    assert again.get(tmp_path / "é" / "b.jpg") is None
    assert SeenFiles(None, [path]).get(path) is None
    path.unlink()
    assert again.get(path) is None


@SEEN
@pytest.mark.usefixtures("later")
def test_a_file_replaced_under_the_same_name_size_and_mtime_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"abc")
    status = path.stat()
    seen = SeenFiles(tmp_path, [path])
    content = read(seen, path)
    for replace in (
        lambda: path.write_bytes(b"xyz"),
        lambda: ((tmp_path / "new").write_bytes(b"uvw"), os.replace(tmp_path / "new", path)),
    ):
        replace()
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert path.stat().st_size == 3 and path.stat().st_mtime_ns == status.st_mtime_ns
        assert seen.get(path) is None
        assert read(seen, path) != content


def test_a_file_changed_just_now_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"abc")
    changed = path.stat().st_ctime_ns
    monkeypatch.setattr(imagestore.time, "time_ns", lambda: changed + imagestore.SETTLED)
    seen = SeenFiles(tmp_path, [path])
    read(seen, path)
    assert seen.get(path) is None


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1}', '{"%s": [1, 2, 3, 4, 5, 6]}', "\0"])
@pytest.mark.usefixtures("later")
def test_a_damaged_memory_of_files_is_forgotten(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"abc")
    seen = SeenFiles(tmp_path, [path])
    content = read(seen, path)
    seen.save()
    for memory in tmp_path.glob("files-*.json"):
        memory.write_text(text.replace("%s", str(path)))
    again = SeenFiles(tmp_path, [path])
    assert again.get(path) is None
    assert read(again, path) == content
    again.save()
    assert all(json.loads(memory.read_text()) for memory in tmp_path.glob("files-*.json"))


def test_the_cache_folder_is_the_platforms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path))
    assert find_cache_folder() == tmp_path
    monkeypatch.delenv("TENFOLD_CACHE")
    if sys.platform == "linux":
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
        assert find_cache_folder() == tmp_path / "x" / "tenfold"
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setenv("HOME", str(tmp_path))
        assert find_cache_folder() == tmp_path / ".cache" / "tenfold"


@pytest.mark.skipif(sys.platform == "win32", reason="users without a name")
def test_a_user_without_a_home_has_no_cache_and_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("TENFOLD_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", nowhere)
    with pytest.raises(OSError, match="TENFOLD_CACHE"):
        find_cache_folder()
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    cache, problems, notes = build_image_cache([tmp_path / "a.png"], size=(4, 4))
    assert not problems and cache.read(np.array([0])).shape == (1, 4, 4, 3)
    assert [note for note in notes if "TENFOLD_CACHE" in note] == notes[:1]
    assert plancache.recall("key") is None
    plancache.remember("key", {"a": 1})
    assert stored_context("cpu") is None
