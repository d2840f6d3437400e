"""Picture files by name: what a file is by its first bytes, what a folder holds, and which file a name means.

Names are Unicode text, whatever the system's locale or its form of accents; a folder is listed once; and
no file outside the folder is opened, or even looked into, unless that is allowed.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import stat
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import LISTED, ImageError, did_you_mean

#: Endings of picture files, for ids that leave them out. What a file is, its content says.
ENDINGS = frozenset(
    ".jpg .jpeg .jpe .jfif .mpo .png .apng .gif .bmp .dib .tif .tiff .webp .avif .jp2 .j2k .j2c .jpc .jpx"
    " .jpf .ppm .pgm .pbm .pnm .pfm .tga .pcx .sgi .rgb .qoi .heic .heif .hif .jxl".split()
)

#: First bytes (offset, bytes) -> the format that they announce.
SIGNATURES = (
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"GIF8", "GIF"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"II+\0", "TIFF"),
    (0, b"MM\0+", "TIFF"),
    (8, b"WEBP", "WebP"),
    (0, b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"qoif", "QOI"),
)

#: The same, in lower case, for files that are not pictures or that are not supported.
OTHERS = (
    (0, b"<!doctype html", "a web page"),
    (0, b"<html", "a web page"),
    (0, b"<svg", "an SVG drawing"),
    (0, b"<?xml", "an XML file"),
    (0, b"version https://git-lfs", "a Git LFS pointer: fetch the picture itself"),
    (0, b"%pdf", "a PDF document"),
    (0, b"%!ps", "a PostScript drawing"),
    (0, b"8bps", "a Photoshop document"),
    (0, b"pk\3\4", "a zip archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"\xff\x0a", "a JPEG XL picture, which is not supported: convert it to JPEG or PNG"),
    (0, b"\0\0\0\x0cjxl ", "a JPEG XL picture, which is not supported: convert it to JPEG or PNG"),
    (128, b"dicm", "a DICOM file: convert it to 16-bit PNG"),
    (0, b"\0\0\1\0", "an icon file: convert it to PNG"),
    (0, b"\x93numpy", "a NumPy array"),
    (4, b"ftyp", "a video"),
)

HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
HEIC_HINT = "which needs an extra package: install pillow-heif, or convert it to JPEG or PNG"

#: Folders that systems and editors make beside pictures; hidden ones are left out besides.
SYSTEM_FOLDERS = ("__MACOSX", "@eaDir", "$RECYCLE.BIN")
SYSTEM_FILES = ("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r")


def recognise(head: bytes) -> str:
    """Format that a file's first bytes (32 or more) announce, or "".

    Formats without a sure signature (PPM, TGA, PCX, SGI) are not recognised here, though they are read.
    """
    if head[4:8] == b"ftyp":
        brands = {head[8:12], *(head[at : at + 4] for at in range(16, 32, 4))}
        if b"avif" in brands or b"avis" in brands:
            return "AVIF"
        return "HEIC" if head[8:12] in HEIC_BRANDS else ""
    if head[:2] == b"BM" and head[6:10] == bytes(4):
        return "BMP"
    return next((name for at, mark, name in SIGNATURES if head[at : at + len(mark)] == mark), "")


def describe_stranger(head: bytes) -> str:
    """What to say of a file, by its first bytes, when no decoder takes it for a picture."""
    kind = recognise(head)
    if kind:
        return f"is a {kind} picture that is damaged, cut off or of a kind that cannot be decoded"
    if not head.strip(b"\0"):
        return "is not a picture: it begins with nothing but zero bytes"
    low = head.lower()
    text = low.removeprefix(b"\xef\xbb\xbf").lstrip()
    for at, mark, what in OTHERS:
        if mark in (low[at : at + len(mark)], text[at : at + len(mark)]):
            return f"is not a picture: it is {what}"
    return "is not a picture, or of a format that is not supported: convert it to JPEG or PNG"


def read_name(name: str) -> str:
    """A name as the system gives it, as text: UTF-8 in any locale; other bytes as ``\\xe9``."""
    return name if name.isascii() else os.fsencode(name).decode("utf-8", "backslashreplace")


@contextmanager
def open_picture(path: str | os.PathLike[str], name: str = "") -> Iterator[BufferedReader]:
    """An ordinary file, not empty, open for reading.

    Raises ImageError: it is missing, empty, no file or may not be read.
    """
    name = name or read_name(Path(path).name)
    try:
        # A pipe or a device would block or never end, so it is not even opened.
        if os.path.exists(path) and (kind := _kind(os.fspath(path))) != FILE:
            raise ImageError(f"{name} is {kind}, not a picture")
        file = open(path, "rb")
    except (OSError, ValueError) as error:
        missing = isinstance(error, FileNotFoundError)
        said = "is missing" if missing else f"cannot be read ({getattr(error, 'strerror', None) or error})"
        raise ImageError(f"{name} {said}") from error
    with file:
        if os.fstat(file.fileno()).st_size == 0:
            raise ImageError(f"{name} is empty (0 bytes)")
        yield file


@dataclass(frozen=True)
class FoundImages:
    """Which file each row's name means.

    paths: (rows,) the real file, or None where there is a problem.
    problems: row -> what is wrong, after the table's name and line: ``train.csv line 2: p4 is not in a/``.
    respelt: name in the table -> file's name, where they are spelt otherwise than by case, accents or ending.
    source, column, lines: where the names stand, for `locate`.
    """

    paths: list[Path | None]
    problems: dict[int, str]
    respelt: Mapping[str, str]
    source: str = ""
    column: str = ""
    lines: NDArray[np.int64] | None = field(default=None, repr=False)

    @property
    def notes(self) -> list[str]:
        """Messages about names that matched in another spelling."""
        if not self.respelt:
            return []
        pairs = [f"{name!r} is {file!r}" for name, file in self.respelt.items()]
        what = "name was" if len(pairs) == 1 else "names were"
        rest = f" and {len(pairs) - LISTED} more" if len(pairs) > LISTED else ""
        return [f"{len(pairs)} {what} found in another spelling: {', '.join(pairs[:LISTED])}{rest}"]

    @property
    def lost(self) -> bool:
        """Whether no name was found at all: it is the wrong folder."""
        return bool(self.paths) and len(self.problems) == len(self.paths)

    def locate(self, reasons: Mapping[int, str]) -> dict[int, str]:
        """Reasons of rows (as of a cache's filling), each with the table's name and line before it."""
        return {row: f"{_where(self.source, self.lines, row)}: {reason}" for row, reason in reasons.items()}

    def error(self, problems: Mapping[int, str], fix: str = "") -> ImageError:
        """One error for located problems, in row order."""
        count, rows = len(problems), len(self.paths)
        what = "picture" if rows == 1 else "pictures"
        return ImageError(
            f"{self.source}: {count} of {rows} {what} of column {self.column!r} cannot be used.",
            problems=[problems[row] for row in sorted(problems)],
            fix=fix,
        )


def _where(source: str, lines: NDArray[np.int64] | None, row: int) -> str:
    return f"{source} row {row + 1}" if lines is None else f"{source} line {lines[row]}"


def find_images(
    names: NDArray[np.object_] | Sequence[str],
    folder: str | os.PathLike[str],
    *,
    lines: NDArray[np.int64] | None,
    source: str,
    column: str,
    allow_outside: bool = False,
) -> FoundImages:
    """The picture file that each name of a table means.

    A name is a path relative to `folder`, with or without its ending, with ``/`` or ``\\``. The exact name
    wins; then another Unicode form, then another case, then any picture ending; then, for a name without a
    folder, the same in sub-folders; then, which is said, a name encoded for the web (``%20``), with other
    blanks or with signs that are not seen. What fits several files is a problem, never a choice.

    Raises ImageError if the folder cannot be listed. What is wrong with single names is in `problems`.
    """
    listing = _Listing(Path(folder), allow_outside=allow_outside, column=column)
    matches: dict[str, Path | str] = {}
    paths: list[Path | None] = []
    problems: dict[int, str] = {}
    for row, name in enumerate(map(str, names)):
        if name not in matches:
            matches[name] = listing.find(name)
        result = matches[name]
        paths.append(None if isinstance(result, str) else result)
        if isinstance(result, str):
            problems[row] = f"{_where(source, lines, row)}: {result}"
    return FoundImages(paths, problems, listing.respelt, source, column, lines)


def list_image_folder(
    folder: str | os.PathLike[str], *, allow_outside: bool = False
) -> tuple[NDArray[np.object_], list[Path], NDArray[np.object_] | None]:
    """All pictures of a folder and its sub-folders, in the order of their ids (by code point).

    Returns ids (paths relative to the folder, with ``/``), files, and the class of each: the name of the
    sub-folder directly under `folder` that holds it, "" for a picture that lies in `folder` itself; or None
    where no picture lies in a sub-folder. Hidden files, system files and other files are left out;
    a file with a strange ending, or none, is a picture if it begins like one.

    Raises ImageError: no folder, no picture in it, only HEIC without its package, or links that lead out.
    """
    listing = _Listing(Path(folder), allow_outside=allow_outside)
    if listing.outside:
        raise ImageError(
            f"{listing.shown} has {len(listing.outside)} links that lead outside it.",
            problems=sorted(listing.outside),
            fix="allow them with --allow-outside",
        )
    # With accents in the same form, so that the order is the same on every system.
    # Something else named like a picture (a pipe, a link to nothing) is a row, which is then refused.
    pictures = [
        name
        for name in (*listing.files, *listing.strange)
        if PurePosixPath(name).suffix.lower() in ENDINGS or _head_kind(listing.files.get(name, ""))
    ]
    ids = sorted(pictures, key=_nfc)
    if not ids:
        raise _no_pictures(listing)
    unreadable = importlib.util.find_spec("pillow_heif") is None and all(
        name.lower().endswith((".heic", ".heif", ".hif"))
        and _head_kind(listing.files.get(name, "")) == "HEIC"
        for name in ids
    )
    if unreadable:
        raise ImageError(
            f"{listing.shown} holds {len(ids)} HEIC pictures and no others.",
            problems=ids,
            fix="install pillow-heif, or convert them to JPEG or PNG",
        )
    paths = [Path(listing.files.get(name) or listing.path(name)) for name in ids]
    classes = [_nfc(name.partition("/")[0]) if "/" in name else "" for name in ids]
    return np.array(ids, object), paths, np.array(classes, object) if any(classes) else None


def _no_pictures(listing: _Listing) -> ImageError:
    endings = Counter(PurePosixPath(name).suffix.lower() or "no ending" for name in listing.files)
    other = ", ".join(f"{ending} ({count})" for ending, count in endings.most_common(LISTED))
    return ImageError(
        f"there is no picture in {listing.shown} or its sub-folders.",
        found=other or "no files at all",
        fix="give the folder that holds the pictures",
    )


def _head_kind(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return recognise(file.read(32))
    except OSError:
        return ""


def _nfc(name: str) -> str:
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def _fold(name: str) -> str:
    return _nfc(_nfc(name).casefold())


def _loose(name: str) -> str:
    """What is left of a name that was encoded for the web, copied from a document or typed anew."""
    name = unicodedata.normalize("NFKC", unquote(name, errors="replace"))
    return _fold(" ".join("".join(char for char in name if unicodedata.category(char) != "Cf").split()))


def _stem(name: str) -> str:
    """The name without a picture's ending; "" where it has another ending or none."""
    path, _, ending = name.rpartition(".")
    return path if f".{ending.lower()}" in ENDINGS else ""


def _base(name: str) -> str:
    return name.rpartition("/")[2]


def _base_stem(name: str) -> str:
    return _stem(_base(name))


def system_name(name: str) -> str:
    """A name as text, as the system takes it: the opposite of `read_name`, and the same for what it gave."""
    try:
        return name if name.isascii() else os.fsdecode(name.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:  # of half a character, which no file name holds
        return name.encode("utf-8", "replace").decode()


def _shown(name: str) -> str:
    """A foreign name as it may be printed: no control characters, no endless lines."""
    return name if name.isprintable() and len(name) < 300 else repr(name[:300])


FILE, FOLDER = "a file", "a folder"


def _kind(path: str) -> str:
    """What a name stands for, its links followed; nothing is opened, since a pipe would block."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            return "a link that leads to no file"
        loop = error.errno == errno.ELOOP
        return "a link that leads to itself" if loop else f"not readable ({error.strerror})"
    kinds = {
        stat.S_IFREG: FILE,
        stat.S_IFDIR: FOLDER,
        stat.S_IFIFO: "a named pipe",
        stat.S_IFSOCK: "a socket",
    }
    return kinds.get(stat.S_IFMT(mode), "a device")


class _Listing:
    """The files under a folder, and the tables by which names find them."""

    def __init__(self, folder: Path, *, allow_outside: bool, column: str = "") -> None:
        self.folder = folder = Path(system_name(str(folder)))
        self.shown = f"{read_name(folder.as_posix()).rstrip('/')}/"
        self.root = os.path.realpath(folder)
        self.allow_outside = allow_outside
        self.files: dict[str, str] = {}  # relative name as text -> path for the system
        self.outside: set[str] = set()  # links, to files or folders, that lead out and are not followed
        self.unread: list[str] = []
        self.respelt: dict[str, str] = {}  # name asked for -> file that it means in another spelling
        self.strange: dict[str, str] = {}  # what is neither file nor folder -> what it is
        self._tables: dict[tuple[Callable[[str], str], Callable[[str], str]], dict[str, list[str]]] = {}
        self._walk(column)

    def _walk(self, column: str) -> None:
        seen = {self.root}
        folders = [(self.root, "")]
        while folders:
            folder, prefix = folders.pop()
            try:
                entries = list(os.scandir(folder))
            except OSError as error:
                if not prefix:
                    raise self._no_folder(error, column) from error
                self.unread.append(prefix)
                continue
            for entry in entries:
                name = prefix + read_name(entry.name)
                if entry.name.startswith(".") or entry.name.lower() in SYSTEM_FILES:
                    continue
                linked = entry.is_symlink()
                if linked and not self.allow_outside and not self._inside(entry.path):
                    self.outside.add(name)
                try:
                    plain, deeper = entry.is_file(), entry.is_dir()
                except OSError:  # a link to itself
                    plain = deeper = False
                if plain:
                    self.files[name] = entry.path
                elif not deeper:
                    self.strange[name] = _kind(entry.path)
                elif name not in self.outside and entry.name not in SYSTEM_FOLDERS:
                    real = os.path.realpath(entry.path) if linked else entry.path
                    # A link to a folder is followed once, so a ring of links comes to an end.
                    if real not in seen:
                        seen.add(real)
                        folders.append((entry.path, f"{name}/"))

    def _no_folder(self, error: OSError, column: str) -> ImageError:
        which = f" (column {column!r})" if column else ""
        if isinstance(error, NotADirectoryError):
            return ImageError(
                f"{self.shown.rstrip('/')} is a file, not a folder of pictures{which}.",
                fix="give the folder that it lies in",
            )
        if not isinstance(error, FileNotFoundError):
            return ImageError(
                f"{self.shown} cannot be listed{which}: {error.strerror}.",
                fix="make the folder readable, or copy it to where it is",
            )
        parent = self.folder.absolute().parent
        near = [read_name(path.name) for path in parent.iterdir() if path.is_dir()] if parent.is_dir() else []
        return ImageError(
            f"there is no folder {self.shown} for the pictures{which}.",
            fix=did_you_mean(read_name(self.folder.name), sorted(near)),
        )

    def _inside(self, path: str) -> bool:
        real = os.path.realpath(path)
        return real == self.root or real.startswith(self.root.rstrip(os.sep) + os.sep)

    def path(self, key: str) -> str:
        """A relative name as text -> the system's path, in any locale."""
        return os.path.join(self.root, *map(system_name, key.split("/")))

    def find(self, name: str) -> Path | str:
        """The file that the name means, or what is wrong with it."""
        if not name.strip():
            return "the image name is empty"
        if "\0" in name:
            return f"{name!r} holds a zero character, which no file name does"
        tried = dict.fromkeys((name, name.strip(), name.strip().replace("\\", "/")))
        for form in tried:
            result = self._find(form)
            if result is not None:
                return result
        respelt = self._fits([*tried][-1], loosely=True)
        if respelt:
            self.respelt |= {name: respelt[0]} if len(respelt) == 1 else {}
            return self._chosen(name, respelt)
        return self._missing(*tried)

    def _find(self, name: str) -> Path | str | None:
        if name in self.files and name not in self.outside:
            return Path(self.files[name])
        key = name
        if "/" in name or os.sep in name or name in (".", ".."):
            # Dots are resolved in the text: `ok/../a.png` needs no folder `ok` and cannot climb by a link.
            key = os.path.normpath(name).replace(os.sep, "/")
        if os.path.isabs(name):
            real = os.path.realpath(system_name(name))
            key = read_name(real[len(self.root) :].strip(os.sep)) if self._inside(real) else name
        if key == ".." or key.startswith("../") or os.path.isabs(key):
            return self._find_outside(name, key)
        fits = [key] if key in self.files else self._fits(key)
        if fits or self._under_link(key):
            return self._chosen(name, fits)
        return self._unlisted(name, key)

    def _chosen(self, name: str, fits: Sequence[str]) -> Path | str:
        """The file that fits, or what is wrong: there are several, or none but under a link."""
        if len(fits) > 1:
            rest = f" and {len(fits) - 3} more" if len(fits) > 3 else ""
            return f"{_shown(name)} fits {len(fits)} files: {', '.join(sorted(fits)[:3])}{rest}"
        if fits and fits[0] not in self.outside:
            return Path(self.files[fits[0]])
        return f"{_shown(name)} leads outside {self.shown} by a link; allow with --allow-outside"

    def _under_link(self, key: str) -> bool:
        parts = key.split("/")
        return any("/".join(parts[:count]) in self.outside for count in range(1, len(parts)))

    def _fits(self, key: str, *, loosely: bool = False) -> list[str]:
        """Files that the name can mean, by the first rule under which there is any."""
        rules = [(str, _loose), (_stem, _loose)] if loosely else [(str, _nfc), (str, _fold), (_stem, _fold)]
        if "/" not in key:
            rules += (
                [(_base, _loose), (_base_stem, _loose)]
                if loosely
                else [(_base, _nfc), (_base, _fold), (_base_stem, _fold)]
            )
        for part, form in rules:
            wanted = form(key)
            fits = self._table(part, form).get(wanted) if wanted else None
            if fits:
                return fits
        return []

    def _table(self, part: Callable[[str], str], form: Callable[[str], str]) -> dict[str, list[str]]:
        """Made when first asked for: most tables name their files exactly."""
        table = self._tables.get((part, form))
        if table is None:
            table = self._tables[part, form] = {}
            for name in self.files:
                table.setdefault(form(part(name)), []).append(name)
        return table

    def _unlisted(self, name: str, key: str) -> Path | str | None:
        """Files under hidden folders are not listed, but may be named."""
        path = self.path(key)
        if not os.path.isfile(path):
            return None
        if self._inside(path) or self.allow_outside:
            return Path(path)
        return f"{_shown(name)} leads outside {self.shown} by a link; allow with --allow-outside"

    def _find_outside(self, name: str, key: str) -> Path | str | None:
        if not self.allow_outside:
            return f"{_shown(name)} lies outside {self.shown}; allow with --allow-outside"
        path = os.path.normpath(system_name(name) if os.path.isabs(name) else self.path(key))
        if os.path.isfile(path):
            return Path(path)
        folder, base = os.path.split(path)
        if not os.path.isdir(folder):
            return None
        near = [entry.name for entry in os.scandir(folder) if _fold(_stem(entry.name)) == _fold(base)]
        if len(near) > 1:
            return f"{_shown(name)} fits {len(near)} files: {', '.join(sorted(near))}"
        return Path(folder, near[0]) if near else None

    def _missing(self, name: str, *others: str) -> str:
        said = f"{_shown(name)} is not in {self.shown}"
        key = (others or (name,))[-1].removeprefix("./")
        first, _, rest = key.partition("/")
        near = self._table(_stem, _fold).get(_fold(_stem(key)), []) if _stem(key) else []
        if near:
            return f"{said} (but {', '.join(sorted(near)[:3])} is)"
        if rest and _fold(first) == _fold(_base(self.shown.rstrip("/"))) and self._fits(rest):
            return f"{said} (the name repeats the folder: give the folder above)"
        if key in self.strange:
            return f"{_shown(name)} is {self.strange[key]}, not a picture"
        if os.path.isdir(self.path(key)):
            return f"{_shown(name)} is {FOLDER}, not a picture"
        if self.unread:
            return f"{said} ({self.unread[0]} in it cannot be listed)"
        return said
