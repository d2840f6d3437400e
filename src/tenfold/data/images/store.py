"""Resized pictures on disk, by the content of the files they were made from.

For each way of resizing there are two files in the cache folder, shared by all data sets and runs:

    KEY.pixels    height x width x 3 bytes for each picture
    KEY.index     a header, then a line of JSON for each picture: content, index, checksum, facts

Both only grow, and no row is written twice, so a process that reads is never disturbed by one that writes.
A line of the index is written after its pixels, and a row with a wrong checksum (power failure) is not
believed. Processes take turns to append, and each sees what the others have added.

A third file, ``files-*.json``, remembers the content of files by path, device, inode, size and both times, so
that a warm start need not read every picture. Programs can set a file's mtime, but not its ctime; a file that
was changed in the last seconds before it was read is not remembered, since a clock tick could hide a change.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import sys
import tempfile
import threading
import time
import weakref
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass, fields, replace
from io import BufferedReader
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

#: Version of the files' layout.
LAYOUT = 1
#: Bytes that are left free on the disk for everything else, such as the run folder.
RESERVE_BYTES = 128 << 20
#: A file younger than this, in nanoseconds, is read again next time.
SETTLED = 2_000_000_000


def find_cache_folder() -> Path:
    """``$TENFOLD_CACHE``, or the platform's folder for a user's caches; made only when it is used.

    Raises OSError where this user has no home folder, as a number without a name in a container has none.
    """
    given = os.environ.get("TENFOLD_CACHE")
    if given:
        return Path(given)
    try:
        if sys.platform == "win32":
            base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
        elif sys.platform == "darwin":
            base = Path.home() / "Library" / "Caches"
        else:
            base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:
        why = "this user has no home folder; TENFOLD_CACHE may name a folder for caches"
        raise FileNotFoundError(errno.ENOENT, why) from None
    return Path(base) / "tenfold"


def digest_content(file: BufferedReader) -> str:
    """Hex digest of all bytes of an open file; equal digests are equal files."""
    file.seek(0)
    return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


@dataclass(frozen=True)
class Entry:
    """A line of the index.

    content: digest of the picture's file.
    white: the white that was used.  deep: what the values ask for as white. Both 0 where the format says it.
    width, height: of the picture in the file.  frames: true where it holds several.
    index: row in the file of pixels, -1 if it is in none.  check: checksum of the row.
    pixels: digest of the decoded picture before it was resized, as `images.Picture` has it.
    """

    content: str
    white: float
    deep: float
    width: int
    height: int
    frames: bool
    index: int = -1
    check: int = 0
    pixels: str = ""


class PixelStore:
    """The two open files of a way of resizing, which `key` names.

    Raises OSError: the folder cannot be made, written or locked.
    """

    def __init__(self, folder: Path, key: str, row_bytes: int) -> None:
        self.folder = folder
        self.row_bytes = row_bytes
        self._entries: dict[tuple[str, float], Entry] = {}
        self._deep: dict[str, float] = {}
        self._header = json.dumps({"tenfold": "images", "layout": LAYOUT, "rows": key}).encode() + b"\n"
        self._read_to = 0
        self._seeking = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)
        self._index = self._open(folder / f"{key}-{LAYOUT}.index")
        self._pixels = self._open(folder / f"{key}-{LAYOUT}.pixels")
        with self._turn():
            self._refresh()

    def _open(self, path: Path) -> int:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
        file = os.open(path, flags, 0o644)
        weakref.finalize(self, os.close, file)
        return file

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """One process at a time."""
        if sys.platform == "win32":
            os.lseek(self._index, 0, os.SEEK_SET)
            msvcrt.locking(self._index, msvcrt.LK_LOCK, 1)
            try:
                yield
            finally:
                os.lseek(self._index, 0, os.SEEK_SET)
                msvcrt.locking(self._index, msvcrt.LK_UNLCK, 1)
        else:
            fcntl.flock(self._index, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._index, fcntl.LOCK_UN)

    def _refresh(self) -> None:
        """Read what has been added to the index since the last time."""
        text = _read_from(self._index, self._read_to)
        if self._read_to == 0:
            if self._header.startswith(text):  # new, or its maker was killed at once
                _write_at(self._index, self._header, 0)
                text = self._header
            if not text.startswith(self._header):
                raise OSError(errno.EINVAL, "its index is damaged: delete that folder")
            self._read_to = len(self._header)
            text = text[self._read_to :]
        whole = text.rfind(b"\n") + 1
        for line in text[:whole].splitlines():
            # What a killed process left of a line is not JSON; the next line began afresh.
            with suppress(ValueError, TypeError):
                told = json.loads(line)
                # A line of an older version lacks the last facts, and so is not believed.
                if len(told) == len(fields(Entry)):
                    self._learn(Entry(*told))
        self._read_to += whole

    def _learn(self, entry: Entry) -> None:
        self._entries[entry.content, entry.white] = entry
        self._deep[entry.content] = entry.deep

    def find(self, content: str, white: float | None) -> Entry | None:
        """The picture with that content, at the given white if its values need one (None: their own)."""
        deep = self._deep.get(content)
        if deep is None:
            return None
        return self._entries.get((content, (white or deep) if deep else 0.0))

    def add(self, rows: Sequence[tuple[Entry, NDArray[np.uint8]]]) -> None:
        """Append the pictures that are not there yet.

        Raises OSError when the disk is full or fails; what had room is kept then.
        """
        with self._turn():
            self._refresh()
            # A row that a killed process left half is skipped over, never completed.
            index = -(-os.fstat(self._pixels).st_size // self.row_bytes)
            added: dict[tuple[str, float], Entry] = {}
            failure: OSError | None = None
            for entry, pixels in rows:
                key = (entry.content, entry.white)
                if key in self._entries or key in added:
                    continue
                try:
                    self._write_row(index, pixels)
                except OSError as error:
                    failure = error
                    break
                added[key] = replace(entry, index=index, check=zlib.crc32(pixels.data))
                index += 1
            self._append(list(added.values()))
            if failure is not None:
                raise failure

    def describe(self, entries: Sequence[Entry]) -> None:
        """Append what is newly known of pictures that are there. Raises OSError when the disk is full."""
        with self._turn():
            self._refresh()
            self._append(entries)

    def _append(self, entries: Sequence[Entry]) -> None:
        lines = [json.dumps(astuple(entry), separators=(",", ":")) + "\n" for entry in entries]
        end = os.fstat(self._index).st_size
        text = ("" if end == self._read_to else "\n") + "".join(lines)  # end a line that was left half
        _write_at(self._index, text.encode(), end)
        self._read_to = end + len(text)
        for entry in entries:
            self._learn(entry)

    def _write_row(self, index: int, pixels: NDArray[np.uint8]) -> None:
        if shutil.disk_usage(self.folder).free < RESERVE_BYTES + self.row_bytes:
            raise OSError(errno.ENOSPC, f"less than {RESERVE_BYTES >> 20} MB would be left on the disk")
        start = index * self.row_bytes
        try:
            _write_at(self._pixels, pixels.data.cast("B"), start)
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._pixels, start)
            raise

    def read(self, index: int, check: int | None, out: NDArray[np.uint8]) -> bool:
        """Fill `out` with a row; false if it is not whole. check: its checksum, None to trust it."""
        view = out.data.cast("B")
        start, done = index * self.row_bytes, 0
        while done < len(view):
            count = self._read_part(view[done:], start + done)
            if count == 0:
                return False
            done += count
        return check is None or zlib.crc32(view) == check

    def _read_part(self, view: memoryview, start: int) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(self._pixels, [view], start)
        with self._seeking:  # Windows reads only from where the file stands
            os.lseek(self._pixels, start, os.SEEK_SET)
            part = os.read(self._pixels, len(view))
        view[: len(part)] = part
        return len(part)


def _read_from(file: int, start: int) -> bytes:
    os.lseek(file, start, os.SEEK_SET)
    parts = []
    while part := os.read(file, 1 << 24):
        parts.append(part)
    return b"".join(parts)


def _write_at(file: int, data: bytes | memoryview, start: int) -> None:
    os.lseek(file, start, os.SEEK_SET)
    view = memoryview(data)
    while view:
        # A disk that fills up may take a part and refuse only then.
        view = view[os.write(file, view) :]


class SeenFiles:
    """Content of files by path and status, kept between runs in `folder` (None: not kept)."""

    def __init__(self, folder: Path | None, paths: Sequence[Path]) -> None:
        self._file: Path | None = None
        self._known: dict[str, object] = {}
        self._added = False
        # On Windows ctime is the time of creation, which a later change leaves alone.
        if folder is None or not paths or sys.platform == "win32":
            return
        parent = os.path.commonpath({os.path.abspath(path.parent) for path in paths})
        name = hashlib.blake2b(os.fsencode(parent), digest_size=10).hexdigest()
        self._file = folder / f"files-{name}.json"
        with suppress(OSError, ValueError):
            known = json.loads(self._file.read_bytes())
            self._known = known if isinstance(known, dict) else {}

    @staticmethod
    def _status(of: os.stat_result) -> list[int]:
        return [of.st_dev, of.st_ino, of.st_size, of.st_mtime_ns, of.st_ctime_ns]

    def get(self, path: Path) -> str | None:
        """The content, if the file is certainly unchanged."""
        known = self._known.get(os.path.abspath(path))
        if not isinstance(known, list) or len(known) != 6 or not isinstance(known[5], str):
            return None
        try:
            return known[5] if self._status(os.stat(path)) == known[:5] else None
        except OSError:
            return None

    def read(self, path: Path, file: BufferedReader) -> str:
        """The content of an open file; remembered if the file has been left alone for a while."""
        before = self._status(os.fstat(file.fileno()))
        content = digest_content(file)
        settled = time.time_ns() - max(before[3:]) > SETTLED
        if self._file is not None and settled and self._status(os.fstat(file.fileno())) == before:
            self._known[os.path.abspath(path)] = [*before, content]
            self._added = True
        return content

    def save(self) -> None:
        """Write what was added, whole or not at all. Raises OSError."""
        if self._file is None or not self._added:
            return
        handle, made = tempfile.mkstemp(dir=self._file.parent, prefix="files-")
        try:
            with open(handle, "wb") as file:
                file.write(json.dumps(self._known).encode())
            os.replace(made, self._file)
        except OSError:
            with suppress(OSError):
                os.unlink(made)
            raise
