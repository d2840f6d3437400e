"""Where a run is made and how it gets its name: whose a folder is, who works in it, links, mount points."""

from __future__ import annotations

import errno
import os
import re
import shutil
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tenfold.errors import RunError
from tenfold.files.atomic import sync

#: Files of an unfinished run alone: who works on it, and what it goes on from.
LOCK, CHECKPOINT = "lock", "checkpoint.safetensors"
#: What describes a finished run, and its page, which is written after it.
DESCRIBED, PAGE = "run.json", "report.html"
#: All that a run leaves in its folder (docs/formats.md).
FILES = frozenset(
    (
        LOCK,
        CHECKPOINT,
        DESCRIBED,
        PAGE,
        "schema.toml",
        "recipe.toml",
        "encoding.json",
        "history.jsonl",
        "weights.safetensors",
        "model.safetensors",
        "items.parquet",
        "validation.parquet",
        "validation_plain.parquet",
    )
)
#: The folder of an unfinished run inside a final one that cannot be renamed.
INSIDE = ".tenfold-part"
#: What systems put into folders by themselves.
_NOTHING = re.compile(r"\.DS_Store|Thumbs\.db|desktop\.ini|lost\+found|\.nfs[0-9a-f]+", re.IGNORECASE)
#: Files that are being written, of a run and by whoever writes its page.
_TEMPORARY = re.compile(r"\..+\.\d+\.tmp|\.tenfold-[0-9a-f-]+\.tmp")
#: And what safetensors calls it, in a folder of an unfinished run.
_TENSORS = re.compile(rf"{_TEMPORARY.pattern}|\.tmp[0-9A-Za-z]{{6}}")
#: What a system says of a folder that cannot be renamed where its files can be.
_FIXED = (errno.EBUSY, errno.EXDEV, errno.EACCES, errno.EPERM, errno.EROFS)


@dataclass(frozen=True)
class Place:
    """Where a run goes.

    named: as it was asked for.  final: where that leads, through links.  work: where the run is made.
    """

    named: Path
    final: Path
    work: Path

    @property
    def aside(self) -> Path:
        """Where the run that was there before waits until the new one has its name."""
        return self.final.with_name(f".{self.final.name}.tenfold-old")


def find_place(path: str | os.PathLike[str]) -> Place:
    """Where a run of that name goes, and where it is made: beside it, or inside a folder that has to stay.

    A folder has to stay where it is a mount point, where this process stands in it, and where its parent
    cannot be written. Raises RunError where no folder can be.
    """
    named = final = Path(path).absolute()
    if named.is_symlink() or ".." in named.parts:
        final = Path(os.path.realpath(named))
    if not final.name:
        raise RunError(f"{path} is no place for a run", fix="give the name of a folder with -o")
    if final.is_symlink():
        raise RunError(f"{path} is a link that leads back to itself", fix="give another name with -o")
    if final.exists() and not final.is_dir():
        raise RunError(f"{path} is a file, not a folder", fix="give another name with -o")
    beside, inside = final.with_name(final.name + ".part"), final / INSIDE
    stays = final.is_dir() and (
        os.path.ismount(final) or _stands_in(final) or not os.access(final.parent, os.W_OK | os.X_OK)
    )
    begun = beside.is_dir() and not strangers(beside) and any(beside.iterdir())
    return Place(named, final, inside if inside.is_dir() or (stays and not begun) else beside)


def _stands_in(folder: Path) -> bool:
    try:
        here = Path(os.path.realpath(os.getcwd()))
    except OSError:
        return False
    return here.is_relative_to(os.path.realpath(folder))


def strangers(work: Path) -> list[str]:
    """Names in a folder of an unfinished run that no run leaves: then the folder is somebody else's.

    Where nothing says that a run was ever made in it, all names are.
    """
    names = [one.name for one in work.iterdir() if not _NOTHING.fullmatch(one.name)]
    if not {LOCK, DESCRIBED} & {*names} and not _is_checkpoint(work / CHECKPOINT):
        return sorted(names)
    return sorted(name for name in names if name not in FILES and not _TENSORS.fullmatch(name))


def _is_checkpoint(file: Path) -> bool:
    """Whether a file begins as those do that a training writes to be gone on from."""
    try:
        with open(file, "rb") as stream:
            return stream.read(64)[8:].startswith(b'{"__metadata__":{"about":')
    except OSError:
        return False


def other_files(folder: Path, own: Iterable[str] = ()) -> list[str]:
    """Names in a folder beside a run's own, and beside what systems put there by themselves."""
    known = {*own, INSIDE}
    names = [one.name for one in folder.iterdir() if one.name not in known]
    return sorted(one for one in names if not _NOTHING.fullmatch(one) and not _TEMPORARY.fullmatch(one))


# --- one at a time -----------------------------------------------------------------------------------


def lock_folder(work: Path, path: str | os.PathLike[str]) -> int:
    """Make the folder if need be; a handle that keeps every other process out of it.

    path: how the folder is called in messages. Raises RunError where another process is in it.
    """
    while True:
        work.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(work / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:
            continue  # it was given its name in between
        if not _locked(handle):
            os.close(handle)
            raise being_used(path)
        # Whoever had it may have renamed or removed the folder before letting go.
        with suppress(OSError):
            if os.path.samestat(os.fstat(handle), os.stat(work / LOCK)):
                return handle
        os.close(handle)


def being_used(path: str | os.PathLike[str]) -> RunError:
    """What is said where another process works in a folder."""
    return RunError(f"{path} is in use by another process", fix="wait for it, or give another name with -o")


def in_use(folder: Path) -> bool:
    """Whether another process works in a folder."""
    try:
        handle = os.open(folder / LOCK, os.O_RDWR)
    except OSError:
        return False
    try:
        return not _locked(handle)
    finally:
        os.close(handle)


def _locked(handle: int) -> bool:
    """Whether the lock is ours now. A file system that knows no locks keeps nobody out."""
    if sys.platform != "win32":
        import fcntl

        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            return error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
    return True


# --- files -------------------------------------------------------------------------------------------


def temporary_name(path: Path) -> Path:
    """What a file is called while it is written."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def drop_temporaries(folder: Path, *, tensors: bool = True) -> None:
    """Remove what killed processes were writing. For whoever holds the folder's lock.

    tensors: also what safetensors was writing: for folders in which nobody else has files.
    """
    names = _TENSORS if tensors else _TEMPORARY
    for entry in folder.iterdir():
        if names.fullmatch(entry.name) and not entry.is_dir():
            entry.unlink(missing_ok=True)


def remove_work(work: Path) -> None:
    """Remove a folder of an unfinished run, but nothing in it that no run leaves."""
    drop_temporaries(work)
    # The lock goes last: until then nobody else begins.
    names = sorted((one.name for one in work.iterdir()), key=lambda name: name == LOCK)
    for name in names:
        if name in FILES or _NOTHING.fullmatch(name):
            with suppress(OSError):
                (work / name).unlink(missing_ok=True)
    with suppress(OSError):
        work.rmdir()


# --- the name ----------------------------------------------------------------------------------------


def give_name(place: Place, files: Iterable[str], before: Iterable[str]) -> None:
    """Let the finished run in `place.work` take its name; only then is the one before removed.

    files: the run's, beside ``run.json``.  before: those of the run before, if any; whatever else lies in its
    folder is somebody's, and stays.
    """
    final, work, aside = place.final, place.work, place.aside
    old = {*before, PAGE} - {*files}
    if work.parent == final:
        return _pour(place, files, old)
    try:
        # An empty folder gives way by itself, except on Windows.
        if final.exists() and (any(final.iterdir()) or sys.platform == "win32"):
            os.replace(final, aside)
        os.replace(work, final)
    except OSError as error:
        if aside.exists() and not final.exists():
            os.replace(aside, final)
        if not final.is_dir() or error.errno not in _FIXED:
            raise
        return _pour(place, files, old)
    sync(final.parent)
    drop_aside(place, before)
    for name in (CHECKPOINT, LOCK):
        (final / name).unlink(missing_ok=True)
    return None


def drop_aside(place: Place, own: Iterable[str]) -> None:
    """Remove the run that was replaced; what else lay in its folder goes into the new one's."""
    aside = place.aside
    if not aside.is_dir():
        return
    for name in other_files(aside, {*own, *FILES}):
        if not os.path.lexists(place.final / name):
            os.replace(aside / name, place.final / name)
    if not other_files(aside, {*own, *FILES}):
        shutil.rmtree(aside, ignore_errors=True)


def _pour(place: Place, files: Iterable[str], old: Iterable[str]) -> None:
    """File by file into a folder that has to stay; it is a run once ``run.json``, the last, is there."""
    final, work = place.final, place.work
    (final / DESCRIBED).unlink(missing_ok=True)
    for name in files:
        if (work / name).exists():
            (final / name).parent.mkdir(parents=True, exist_ok=True)
            _move(work / name, final / name)
    for name in old:
        with suppress(OSError):
            (final / name).unlink(missing_ok=True)
    sync(final)
    _move(work / DESCRIBED, final / DESCRIBED)
    sync(final)
    remove_work(work)


def _move(source: Path, target: Path) -> None:
    try:
        os.replace(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        temporary = temporary_name(target)
        try:
            shutil.copyfile(source, temporary)
            sync(temporary)
            os.replace(temporary, target)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
        source.unlink()
