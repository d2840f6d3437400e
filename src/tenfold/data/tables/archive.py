"""Archives from elsewhere: every member is checked before the first is written, and all appear or none."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tenfold.errors import OutputError

__all__ = ["MOST_FILES", "MOST_GROWTH", "SMALL", "unpack_files"]

#: An archive may become so many times its own size, ...
MOST_GROWTH = 100
#: ... or so many bytes, whichever is more.
SMALL = 64 * 2**20
#: Members of all archives together.
MOST_FILES = 2_000_000
#: Bytes of a name between two slashes, on nearly every system.
_LONGEST = 255
#: Ways of packing that Python reads everywhere: stored, deflated, bzip2, LZMA.
_READABLE = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


def unpack_files(paths: Sequence[Path], place: Path, *, most: int | None = None) -> list[str]:
    """Put files into a folder, zip archives unpacked; returns the names below it.

    most: bytes that all may take together; by default `MOST_GROWTH` times their own size, `SMALL` at least.
    Raises OutputError that names members which would write outside the folder or over each other, are no
    plain files, or are more or larger than the limit. Nothing is written then.
    """
    archives = [path for path in paths if zipfile.is_zipfile(path)]
    members = [(path, one) for path in archives for one in _members(path)]
    plain = [path for path in paths if path not in archives]
    if len(members) > MOST_FILES:
        raise OutputError(
            f"{archives[0].name} has {len(members)} members, more than {MOST_FILES}", fix="unpack it by hand"
        )
    names = [one.orig_filename for _, one in members] + [path.name for path in plain]
    problems = [f"{one.orig_filename!r} {why}" for _, one in members if (why := _fault(one))]
    problems += [] if problems else _clashes(names, place)
    if problems:
        raise OutputError(
            f"{', '.join(path.name for path in archives)}: refused before anything was written",
            problems=problems,
            fix="look at it first, and unpack it by hand",
        )
    _check_size(archives, [one for _, one in members], place, most)
    with _written(place), tempfile.TemporaryDirectory(dir=place, prefix=".unpacking-") as made:
        found = _extract(archives, Path(made)) + [path.name for path in plain]
        for path in plain:
            os.replace(path, Path(made) / path.name)
        for name in found:
            target = place / name
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(Path(made) / name, target)
    return found


def _members(path: Path) -> list[zipfile.ZipInfo]:
    with _read(path), zipfile.ZipFile(path) as packed:
        return packed.infolist()


def _fault(one: zipfile.ZipInfo) -> str:
    """Why a member is refused, whatever stands beside it; "" where it may be unpacked."""
    # As it stands in the archive: what Python makes of it ends at the first NUL.
    name = one.orig_filename
    parts = name.removesuffix("/").split("/")
    kind = stat.S_IFMT(one.external_attr >> 16)
    if name.startswith("/") or ".." in parts or "\\" in name or ":" in name:
        return "would be written outside the folder"
    if any(part in ("", ".") for part in parts) or any(
        unicodedata.category(one) in ("Cc", "Cs") for one in name
    ):
        return "is not a file name"
    if any(len(os.fsencode(part)) > _LONGEST for part in parts):
        return "is too long a name"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link" if stat.S_ISLNK(kind) else "is a device or a pipe"
    if one.flag_bits & 0x1:
        return "is encrypted"
    if one.compress_type not in _READABLE:
        return f"is packed in a way (number {one.compress_type}) that cannot be read here"
    return ""


def _clashes(names: Sequence[str], place: Path) -> list[str]:
    """Names that are one file on some system, or a file and a folder at once; and those that stand there."""
    problems: list[str] = []
    files: dict[str, str] = {}
    folders: dict[str, str] = {}
    for name in names:
        path = name.rstrip("/")
        key = _folded(path)
        above = [path[:at] for at in range(len(path)) if path[at] == "/"]
        for folder in [*above, *([path] if name.endswith("/") else [])]:
            folders.setdefault(_folded(folder), name)
            other = folders[_folded(folder)]
            if not other.startswith(folder):
                problems.append(f"{name!r} and {other!r} are in one folder on some systems")
        if not name.endswith("/"):
            if key in files:
                same = files[key] == name
                problems.append(f"{name!r} is there twice" if same else f"{name!r} and {files[key]!r} clash")
            files[key] = name
    problems += [
        f"{files[key]!r} is a file, and a folder of {folders[key]!r}" for key in files.keys() & folders.keys()
    ]
    for name in [name for name in names if not name.endswith("/")] if place.exists() else []:
        target = place / name
        if target.is_dir():
            problems.append(f"{name!r} is a folder in {place}")
        wrong = [one for one in target.relative_to(place).parents if (place / one).is_file()]
        problems += [f"{str(one)!r} is a file in {place}, and a folder of {name!r}" for one in wrong]
    return list(dict.fromkeys(problems))


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _check_size(
    archives: Sequence[Path], members: Sequence[zipfile.ZipInfo], place: Path, most: int | None
) -> None:
    size = sum(one.file_size for one in members)
    packed = sum(path.stat().st_size for path in archives)
    limit = max(SMALL, MOST_GROWTH * packed) if most is None else most
    free = shutil.disk_usage(_there(place)).free
    if size > limit:
        why = f"{MOST_GROWTH} times its size" if most is None else "--max-size"
        raise OutputError(
            f"{', '.join(path.name for path in archives)}: {_said(packed)} would become {_said(size)}, "
            f"more than {_said(limit)} ({why}); nothing was unpacked",
            fix=f"--max-size {-(-size // 2**20)}MiB, if you trust it",
        )
    if size > free:
        raise OutputError(
            f"{', '.join(path.name for path in archives)} needs {_said(size)}, and {place} has {_said(free)}",
            fix="give a place with more room",
        )


def _there(place: Path) -> Path:
    return next(one for one in (place, *place.absolute().parents) if one.exists())


def _said(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"


def _extract(archives: Sequence[Path], folder: Path) -> list[str]:
    found = []
    for path in archives:
        with _read(path), zipfile.ZipFile(path) as packed:
            for one in packed.infolist():
                if one.is_dir():
                    continue
                target = folder / one.filename
                target.parent.mkdir(parents=True, exist_ok=True)
                # Python reads no more of a member than its header says, which was counted.
                with packed.open(one) as source, open(target, "xb") as sink:
                    shutil.copyfileobj(source, sink)
                found.append(one.filename)
    return found


@contextmanager
def _read(path: Path) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise OutputError(
            f"{path.name} is damaged, and nothing was unpacked: {error}", fix="fetch it again"
        ) from None


@contextmanager
def _written(place: Path) -> Iterator[None]:
    new = not place.exists()
    try:
        place.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise OutputError(
            f"{place} cannot be written: {error.strerror or error}", fix="give another place with -o"
        ) from None
    finally:
        if new and place.is_dir() and not any(place.iterdir()):
            place.rmdir()
