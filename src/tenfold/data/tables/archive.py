"""Untrusted archives: every member is checked before the first is written, and all appear or none."""

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

#: An archive may become this many times its own size, or `SMALL` bytes, whichever is more.
MOST_GROWTH = 100
SMALL = 64 * 2**20
#: The most members of all archives together.
MOST_FILES = 2_000_000
#: The most bytes of a name between two slashes, on nearly every system.
_LONGEST = 255
#: Compression that Python reads everywhere.
_READABLE = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


def unpack_files(paths: Sequence[Path], folder: Path, *, most: int | None = None) -> list[str]:
    """Move files into a folder, unpack zip archives, and return the names below it.

    most: limit of their total size; by default `MOST_GROWTH` times their own size, `SMALL` at least.
    Raises OutputError that names members which would write outside the folder or over each other, are not
    plain files, or are more or larger than the limit. Nothing is written then.
    """
    archives = [path for path in paths if zipfile.is_zipfile(path)]
    members = [member for path in archives for member in _members(path)]
    plain = [path for path in paths if path not in archives]
    if len(members) > MOST_FILES:
        raise OutputError(
            f"{archives[0].name} has {len(members)} members, more than {MOST_FILES}", fix="unpack it by hand"
        )
    names = [member.orig_filename for member in members] + [path.name for path in plain]
    problems = [f"{member.orig_filename!r} {why}" for member in members if (why := _fault(member))]
    problems = problems or _clashes(names, folder)
    if problems:
        raise OutputError(
            f"{', '.join(path.name for path in archives)}: refused before anything was written",
            problems=problems,
            fix="look at it first, and unpack it by hand",
        )
    _check_size(archives, members, folder, most)
    with _written(folder), tempfile.TemporaryDirectory(dir=folder, prefix=".unpacking-") as made:
        files = _extract(archives, Path(made)) + [path.name for path in plain]
        for path in plain:
            os.replace(path, Path(made) / path.name)
        for name in files:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(Path(made) / name, target)
    return files


def _members(path: Path) -> list[zipfile.ZipInfo]:
    with _read(path), zipfile.ZipFile(path) as packed:
        return packed.infolist()


def _fault(member: zipfile.ZipInfo) -> str:
    """Why a member is refused, whatever the other members are; "" if it may be unpacked."""
    # As written in the archive: Python cuts `filename` at the first NUL.
    name = member.orig_filename
    parts = name.removesuffix("/").split("/")
    kind = stat.S_IFMT(member.external_attr >> 16)
    if name.startswith("/") or ".." in parts or "\\" in name or ":" in name:
        return "would be written outside the folder"
    if any(part in ("", ".") for part in parts) or any(
        unicodedata.category(letter) in ("Cc", "Cs") for letter in name
    ):
        return "is not a file name"
    if any(len(os.fsencode(part)) > _LONGEST for part in parts):
        return "is too long a name"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link" if stat.S_ISLNK(kind) else "is a device or a pipe"
    if member.flag_bits & 0x1:
        return "is encrypted"
    if member.compress_type not in _READABLE:
        return f"is packed in a way (number {member.compress_type}) that cannot be read here"
    return ""


def _clashes(names: Sequence[str], target: Path) -> list[str]:
    """Names that are the same file on some system, are both a file and a folder, or clash with old files."""
    problems: list[str] = []
    files: dict[str, str] = {}
    folders: dict[str, str] = {}
    for name in names:
        path = name.rstrip("/")
        key = _folded(path)
        above = [path[:index] for index, letter in enumerate(path) if letter == "/"]
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
    for name in [name for name in names if not name.endswith("/")] if target.exists() else []:
        if (target / name).is_dir():
            problems.append(f"{name!r} is a folder in {target}")
        wrong = [str(folder) for folder in Path(name).parents if (target / folder).is_file()]
        problems += [f"{folder!r} is a file in {target}, and a folder of {name!r}" for folder in wrong]
    return list(dict.fromkeys(problems))


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _check_size(
    archives: Sequence[Path], members: Sequence[zipfile.ZipInfo], folder: Path, most: int | None
) -> None:
    names = ", ".join(path.name for path in archives)
    size = sum(member.file_size for member in members)
    packed = sum(path.stat().st_size for path in archives)
    limit = max(SMALL, MOST_GROWTH * packed) if most is None else most
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if size > limit:
        why = f"{MOST_GROWTH} times its size" if most is None else "--max-size"
        raise OutputError(
            f"{names}: {_size(packed)} would become {_size(size)}, more than {_size(limit)} ({why}); "
            "nothing was unpacked",
            fix=f"--max-size {-(-size // 2**20)}MiB, if you trust it",
        )
    if size > free:
        raise OutputError(
            f"{names} needs {_size(size)}, and {folder} has {_size(free)}",
            fix="give a folder on a disk with more space",
        )


def _size(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"


def _extract(archives: Sequence[Path], folder: Path) -> list[str]:
    files = []
    for path in archives:
        with _read(path), zipfile.ZipFile(path) as packed:
            for member in packed.infolist():
                if member.is_dir():
                    continue
                target = folder / member.filename
                target.parent.mkdir(parents=True, exist_ok=True)
                # Python reads at most as many bytes as the header states, which `_check_size` counted.
                with packed.open(member) as source, open(target, "xb") as sink:
                    shutil.copyfileobj(source, sink)
                files.append(member.filename)
    return files


@contextmanager
def _read(path: Path) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise OutputError(
            f"{path.name} is damaged, and nothing was unpacked: {error}", fix="fetch it again"
        ) from None


@contextmanager
def _written(folder: Path) -> Iterator[None]:
    new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise OutputError(
            f"{folder} cannot be written: {error.strerror or error}", fix="give another folder with -o"
        ) from None
    finally:
        if new and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
