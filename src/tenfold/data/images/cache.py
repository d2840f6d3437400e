"""Pictures resized once: filled while every file is checked, then read by row at the speed of the disk."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from io import BufferedReader
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from tenfold.data.images.decode import (
    PILLOW,
    RULE,
    SMALL,
    Progress,
    check_pixels,
    check_resize,
    decode_file,
    digest_whole,
    pillow_settings,
)
from tenfold.data.images.files import open_picture, read_name
from tenfold.data.images.store import Entry, PixelStore, SeenFiles, digest_content, find_cache_folder
from tenfold.errors import LISTED, ImageError
from tenfold.values import MAX_PIXELS

#: Bytes and pictures that wait at most to be written together.
WAITING_BYTES = 8 << 20
WAITING_ROWS = 256
#: A picture with a side this many times the other is pointed out.
EXTREME = 20

Result = TypeVar("Result")


@dataclass(frozen=True)
class _Decoding:
    """Which files, and how they become rows."""

    paths: Sequence[Path | None]
    names: Sequence[str]
    size: tuple[int, int]
    resize: str
    interpolation: str
    max_pixels: int
    workers: int

    @property
    def key(self) -> str:
        height, width = self.size
        # A decoder of another version may round otherwise, so its rows are kept apart.
        return f"{height}x{width}-{self.resize}-{self.interpolation}-rule{RULE}-pillow{PILLOW}"

    def decode(
        self, file: BufferedReader, row: int, content: str, white: float | None
    ) -> tuple[Entry, NDArray[np.uint8]]:
        done = decode_file(
            file,
            self.size,
            self.resize,
            interpolation=self.interpolation,
            max_pixels=self.max_pixels,
            white=white,
            name=self.names[row],
        )
        used = (white or done.deep) if done.deep else 0.0
        entry = Entry(content, used, done.deep, done.width, done.height, done.frames, pixels=done.digest)
        return entry, done.pixels


class ImageCache:
    """Pictures of a column at a size, read by row; safe to read from several threads.

    size: (height, width).
    content: (rows,) hex digest of each file's bytes, "" where it could not be read; equal digests are equal
        files, whatever their names.
    white: what counts as white in float and 32-bit grey pictures, None where there are none. It is decided
        from all pictures together, so give it again when predicting.
    decoded: how many pictures were decoded in the filling; the others were there.
    folder: where the rows are kept, None where pictures are decoded at each reading, or held in memory.
    """

    def __init__(
        self,
        decoding: _Decoding,
        store: PixelStore | None,
        entries: Mapping[int, Entry],
        content: NDArray[np.object_],
        *,
        white: float | None,
        decoded: int,
        held: Mapping[str, NDArray[np.uint8]],
    ) -> None:
        self.size = decoding.size
        self.content = content
        self.white = white
        self.decoded = decoded
        self.folder = None if store is None else store.folder
        self._decoding = decoding
        self._store = store
        self._held = held
        self._entries = dict(entries)
        rows = len(decoding.paths)
        self._index = np.full(rows, -1, np.int64)
        self._checks = np.zeros(rows, np.int64)
        self._usable = np.zeros(rows, bool)
        self._trusted = np.zeros(rows, bool)
        for row, entry in entries.items():
            self._usable[row] = True
            self._index[row], self._checks[row] = entry.index, entry.check

    def __len__(self) -> int:
        return len(self._index)

    def read(self, rows: NDArray[np.int64] | Sequence[int]) -> NDArray[np.uint8]:
        """(rows, height, width, 3) uint8; zeros for rows with a problem.

        Raises ImageError if a picture has to be decoded again and has changed.
        """
        index: list[int] = np.asarray(rows, np.int64).tolist()
        out = np.zeros((len(index), *self.size, 3), np.uint8)
        missing = [
            at for at, row in enumerate(index) if self._usable[row] and not self._read_row(row, out[at])
        ]
        if missing:
            workers = max(1, min(self._decoding.workers, len(missing)))
            with pillow_settings(self._decoding.max_pixels), ThreadPoolExecutor(workers) as pool:
                for at, pixels in zip(missing, pool.map(self._decode_again, [index[at] for at in missing])):
                    out[at] = pixels
        return out

    def sizes(self) -> set[tuple[int, int]]:
        """(width, height) of the files that were decoded wholly."""
        entries = self._entries.values()
        return {(entry.width, entry.height) for entry in entries if not entry.pixels.startswith(SMALL)}

    def pictures(self, sizes: Set[tuple[int, int]] = frozenset()) -> NDArray[np.object_]:
        """(rows,) digest of each picture as decoded, "" where it cannot be used; equal digests are equal
        pictures, in whatever file format.

        sizes: (width, height) of pictures elsewhere whose digests are compared with these.
        A JPEG that was decoded at a part of its size is decoded wholly where a picture of another format has
        its size, and once: the cache keeps the digest. Raises ImageError as `read` does.
        """
        entries = self._entries
        whole = sizes | self.sizes()
        unsure = {
            entry.content: row
            for row, entry in entries.items()
            if entry.pixels.startswith(SMALL) and (entry.width, entry.height) in whole
        }
        with ThreadPoolExecutor(max(1, self._decoding.workers)) as pool:
            settled = dict(zip(unsure, pool.map(self._digest_whole, unsure.values()), strict=True))
        kept = [
            replace(entries[row], pixels=settled[content])
            for content, row in unsure.items()
            if entries[row].index >= 0
        ]
        if kept and self._store is not None:
            with suppress(OSError):  # only a shortcut: without it they are decoded again next time
                self._store.describe(kept)
        digests = np.full(len(self), "", object)
        for row, entry in entries.items():
            digests[row] = settled.get(entry.content, entry.pixels)
        return digests

    def _digest_whole(self, row: int) -> str:
        with self._unchanged(row) as (file, _):
            return digest_whole(file, max_pixels=self._decoding.max_pixels, name=self._decoding.names[row])

    def _read_row(self, row: int, out: NDArray[np.uint8]) -> bool:
        if (pixels := self._held.get(self.content[row])) is not None:
            out[:] = pixels
            return True
        if self._store is None or self._index[row] < 0:
            return False
        # The checksum costs about as much as the reading: once in a process is enough.
        check = None if self._trusted[row] else int(self._checks[row])
        whole = self._store.read(int(self._index[row]), check, out)
        if not whole:
            self._index[row] = -1
        self._trusted[row] = whole
        return whole

    def _decode_again(self, row: int) -> NDArray[np.uint8]:
        with self._unchanged(row) as (file, content):
            return self._decoding.decode(file, row, content, self.white)[1]

    @contextmanager
    def _unchanged(self, row: int) -> Iterator[tuple[BufferedReader, str]]:
        """The row's file, open, and its content, which must be what it was."""
        path, name = self._decoding.paths[row], self._decoding.names[row]
        if path is None:
            raise ImageError(f"{name} has no file")
        with open_picture(path, name) as file:
            content = digest_content(file)
            if content != self.content[row]:
                raise ImageError(f"{name} was changed while it was in use.", fix="run again")
            yield file, content


def build_image_cache(
    paths: Sequence[Path | None],
    *,
    size: tuple[int, int],
    resize: str = "squish",
    interpolation: str = "bicubic",
    workers: int = 2,
    max_pixels: int = MAX_PIXELS,
    on_progress: Progress | None = None,
    cache_dir: Path | None = None,
    names: Sequence[str] | None = None,
    white: float | None = None,
    hold: bool = False,
) -> tuple[ImageCache, dict[int, str], list[str]]:
    """Check, decode and resize the pictures that the cache does not hold yet.

    paths: of each row; None for a row without a picture, which reads as zeros.  size: (height, width).
    workers: threads; with 0 all happens on the caller's.
    cache_dir: default `find_cache_folder()`; if it cannot be used or the disk is full, pictures are decoded
        at each reading, which a note says.
    names: how to call the pictures (default: their files' names).
    white: see `ImageCache.white`; None takes the white that fits all pictures.
    hold: keep the pixels in memory, and nothing on disk: of a few pictures that are asked about once.

    Returns the cache; row -> why its picture cannot be used, by name; and messages.
    Raises ImageError if the size or a mode is impossible.
    """
    decoding = _Decoding(
        paths,
        names or [read_name(path.name) if path is not None else "" for path in paths],
        check_resize(size, resize, interpolation),
        resize,
        interpolation,
        max_pixels,
        workers,
    )
    notes: list[str] = []
    store = None if hold else _open_store(cache_dir, decoding, notes)
    seen = SeenFiles(None if store is None else store.folder, [path for path in paths if path is not None])
    filling = _Filling(decoding, store, seen, white, notes, hold)
    with pillow_settings(max_pixels):
        filling.fill([row for row, path in enumerate(paths) if path is not None], on_progress)
        if white is None and any(entry.deep for entry in filling.entries.values()):
            # One white for all: a picture that is dark beside the others must not be stretched to its own.
            filling.white = white = max(entry.deep for entry in filling.entries.values())
            own = [row for row, entry in filling.entries.items() if entry.white not in (0.0, white)]
            filling.fill(own, None)
    with suppress(OSError):  # only a shortcut: without it the files are read again
        seen.save()
    entries = filling.entries
    if store is not None:
        entries = {row: store.find(entry.content, entry.white) or entry for row, entry in entries.items()}
    cache = ImageCache(
        decoding,
        store,
        entries,
        filling.content,
        white=white,
        decoded=filling.decoded,
        held=filling.held,
    )
    return cache, dict(sorted(filling.problems.items())), notes + _describe(entries, decoding.names, white)


def _open_store(folder: Path | None, decoding: _Decoding, notes: list[str]) -> PixelStore | None:
    height, width = decoding.size
    try:
        folder = folder or find_cache_folder()
        return PixelStore(folder / "images", decoding.key, height * width * 3)
    except OSError as error:
        why = f" {folder} cannot be used: {error.strerror or error}" if folder else f": {error.strerror}"
        notes.append(f"image cache{why}")
    notes.append("there is no image cache: pictures are decoded each time they are read")
    return None


class _Filling:
    """Rows on their way into a cache: what is known of each, or what is wrong with it."""

    def __init__(
        self,
        decoding: _Decoding,
        store: PixelStore | None,
        seen: SeenFiles,
        white: float | None,
        notes: list[str],
        hold: bool,
    ) -> None:
        self.decoding = decoding
        self.store = store
        self.seen = seen
        self.white = white
        self.notes = notes
        self.entries: dict[int, Entry] = {}
        self.problems: dict[int, str] = {}
        self.content: NDArray[np.object_] = np.full(len(decoding.paths), "", object)
        self.decoded = 0
        self.held: dict[str, NDArray[np.uint8]] = {}  # content -> pixels
        self._hold = hold
        self._full = store is None
        self._waiting: list[tuple[Entry, NDArray[np.uint8]]] = []
        self._taken: dict[str, int] = {}  # content -> the row that decodes it
        self._lock = threading.Lock()

    def fill(self, rows: Sequence[int], on_progress: Progress | None) -> None:
        """Settle each of the rows."""
        self._taken.clear()
        same = []
        work = _in_order(self._prepare, rows, self.decoding.workers)
        for done, (row, result) in enumerate(work, start=1):
            if isinstance(result, str):
                self.problems[row] = result
            elif result is None:
                same.append(row)
            else:
                self.entries[row], pixels = result
                if pixels is not None:
                    self._keep(self.entries[row], pixels)
            if on_progress is not None:
                on_progress(done, len(rows))
        self._write()
        for row in same:
            self._copy(row, self._taken[str(self.content[row])])

    def _prepare(self, row: int) -> tuple[Entry, NDArray[np.uint8] | None] | str | None:
        """In a worker: the entry, with pixels if the row was decoded; or a problem; or None for a repeat."""
        path, name = self.decoding.paths[row], self.decoding.names[row]
        try:
            if path is None:
                raise ImageError(f"{name} has no file")
            entry = self._find(row, self.seen.get(path))
            if entry is None:
                with open_picture(path, name) as file:
                    before = os.fstat(file.fileno())
                    content = self.seen.read(path, file)
                    entry = self._find(row, content)
                    if entry is None:
                        with self._lock:
                            if self._taken.setdefault(content, row) != row:
                                return None
                        decoded = self.decoding.decode(file, row, content, self.white)
                        after = os.fstat(file.fileno())
                        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
                            # These pixels may be those of other bytes, and would be kept under their name.
                            raise ImageError(f"{name} was changed while it was read")
                        return decoded
            # It may have been decoded under a higher limit.
            check_pixels(entry.width * entry.height, name, self.decoding.max_pixels)
        except ImageError as error:
            return error.headline
        return entry, None

    def _find(self, row: int, content: str | None) -> Entry | None:
        if content is None:
            return None
        self.content[row] = content
        return None if self.store is None else self.store.find(content, self.white)

    def _keep(self, entry: Entry, pixels: NDArray[np.uint8]) -> None:
        self.decoded += 1
        if self._hold:
            self.held[entry.content] = pixels
        elif not self._full:
            self._waiting.append((entry, pixels))
            rows = len(self._waiting)
            if rows >= WAITING_ROWS or rows * pixels.nbytes >= WAITING_BYTES:
                self._write()

    def _write(self) -> None:
        if self.store is not None and self._waiting:
            try:
                self.store.add(self._waiting)
            except OSError as error:
                self._full = True
                self.notes.append(
                    f"image cache {self.store.folder} takes no more ({error.strerror or error}): the pictures"
                    " that are not in it are decoded each time they are read"
                )
        self._waiting.clear()

    def _copy(self, row: int, first: int) -> None:
        """Take the result of an earlier row with the same content."""
        if first in self.problems:
            old, new = self.decoding.names[first], self.decoding.names[row]
            self.problems[row] = new + self.problems[first].removeprefix(old)
        else:
            self.entries[row] = self.entries[first]


def _in_order(
    work: Callable[[int], Result], rows: Sequence[int], workers: int
) -> Iterator[tuple[int, Result]]:
    """Results of a few threads, in row order, without running far ahead of what is taken."""
    if len(rows) < 2 or workers < 1:
        yield from ((row, work(row)) for row in rows)
        return
    pool = ThreadPoolExecutor(workers)
    try:
        running: deque[tuple[int, Future[Result]]] = deque()
        for row in rows:
            running.append((row, pool.submit(work, row)))
            if len(running) > 4 * workers:
                first, future = running.popleft()
                yield first, future.result()
        for first, future in running:
            yield first, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _describe(entries: Mapping[int, Entry], names: Sequence[str], white: float | None) -> list[str]:
    """Messages about the files."""
    notes = []
    framed = sum(entry.frames for entry in entries.values())
    if framed:
        notes.append(f"{framed} {'file has' if framed == 1 else 'files have'} several frames; first is used")
    sizes = {row: (entry.width, entry.height) for row, entry in sorted(entries.items())}
    long = [row for row, size in sizes.items() if max(size) >= EXTREME * min(size)]
    if long:
        shown = [f"{names[row]} {entries[row].width}x{entries[row].height}" for row in long[:LISTED]]
        rest = f" and {len(long) - LISTED} more" if len(long) > LISTED else ""
        what = "picture has" if len(long) == 1 else "pictures have"
        notes.append(f"{len(long)} {what} an extreme shape: {', '.join(shown)}{rest}")
    deep = sum(entry.deep > 0 for entry in entries.values())
    if deep and white is not None:
        what = "picture has" if deep == 1 else "pictures have"
        notes.append(f"{deep} {what} float or 32-bit grey values: 0 is black, {white:.0f} is white")
    return notes
