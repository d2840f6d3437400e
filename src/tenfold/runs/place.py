"""The folders of a run: whether they may be used, locks, links, mount points, and the final rename."""

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

#: Files that only an unfinished run has.
LOCK, CHECKPOINT = "lock", "checkpoint.safetensors"
#: The description of a finished run, and its page, which is written later.
DESCRIBED, PAGE = "run.json", "report.html"
#: All files of a run (docs/formats.md).
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
        "lists.safetensors",
        "items.parquet",
        "validation.parquet",
        "validation_plain.parquet",
    )
)
#: The folder of an unfinished run inside a final folder that cannot be renamed.
INSIDE = ".tenfold-part"
#: Files that operating systems put into folders.
_NOTHING = re.compile(r"\.DS_Store|Thumbs\.db|desktop\.ini|lost\+found|\.nfs[0-9a-f]+", re.IGNORECASE)
#: Temporary files of a run and of its page.
_TEMPORARY = re.compile(r"\..+\.\d+\.tmp|\.tenfold-[0-9a-f-]+\.tmp")
#: The same with those of safetensors, in a folder of an unfinished run.
_TENSORS = re.compile(rf"{_TEMPORARY.pattern}|\.tmp[0-9A-Za-z]{{6}}")
#: Errors of a folder that cannot be renamed though its files can be.
_FIXED = (errno.EBUSY, errno.EXDEV, errno.EACCES, errno.EPERM, errno.EROFS)


@dataclass(frozen=True)
class RunPaths:
    """The folders of a run. named: as given.  final: with links resolved.  work: where the run is made."""

    named: Path
    final: Path
    work: Path

    @property
    def aside(self) -> Path:
        """The folder of the earlier run until the new run has its name."""
        return self.final.with_name(f".{self.final.name}.tenfold-old")


def find_paths(path: str | os.PathLike[str]) -> RunPaths:
    """Find the folders of a run: it is made beside the final folder, or inside if that has to stay.

    A folder has to stay if it is a mount point, the current folder or above it, or its parent cannot be
    written. Raises RunError where there cannot be a folder.
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
    return RunPaths(named, final, inside if inside.is_dir() or (stays and not begun) else beside)


def _stands_in(folder: Path) -> bool:
    try:
        here = Path(os.path.realpath(os.getcwd()))
    except OSError:
        return False
    return here.is_relative_to(os.path.realpath(folder))


def strangers(work: Path) -> list[str]:
    """Names of other files in a folder of an unfinished run; all names if no run was ever made in it."""
    names = [entry.name for entry in work.iterdir() if not _NOTHING.fullmatch(entry.name)]
    if not {LOCK, DESCRIBED} & {*names} and not _is_checkpoint(work / CHECKPOINT):
        return sorted(names)
    return sorted(name for name in names if name not in FILES and not _TENSORS.fullmatch(name))


def _is_checkpoint(file: Path) -> bool:
    """Whether a file begins as a checkpoint."""
    try:
        with open(file, "rb") as stream:
            return stream.read(64)[8:].startswith(b'{"__metadata__":{"about":')
    except OSError:
        return False


def other_files(folder: Path, own: Iterable[str] = ()) -> list[str]:
    """Names in a folder other than `own`, temporary files and those of the operating system."""
    known = {*own, INSIDE}
    names = {entry.name for entry in folder.iterdir()} - known
    return sorted(name for name in names if not _NOTHING.fullmatch(name) and not _TEMPORARY.fullmatch(name))


# --- locks -------------------------------------------------------------------------------------------


def lock_folder(work: Path, path: str | os.PathLike[str]) -> int:
    """Make the folder if necessary, and lock it; returns the handle of the lock.

    path: the folder's name in messages. Raises RunError where another process has locked it.
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
    """The error for a folder in which another process works."""
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
    """Whether the lock is ours now. A file system without locks keeps nobody out."""
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
    """The name of a file while it is written."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def drop_temporaries(folder: Path, *, tensors: bool = True) -> None:
    """Remove temporary files of killed processes. Only with the folder's lock.

    tensors: also those of safetensors, for folders that hold no other files.
    """
    names = _TENSORS if tensors else _TEMPORARY
    for entry in folder.iterdir():
        if names.fullmatch(entry.name) and not entry.is_dir():
            entry.unlink(missing_ok=True)


def remove_work(work: Path) -> None:
    """Remove a folder of an unfinished run, except other files in it."""
    drop_temporaries(work)
    # The lock goes last: until then nobody else begins.
    names = sorted((entry.name for entry in work.iterdir()), key=lambda name: name == LOCK)
    for name in names:
        if name in FILES or _NOTHING.fullmatch(name):
            with suppress(OSError):
                (work / name).unlink(missing_ok=True)
    with suppress(OSError):
        work.rmdir()


# --- the name ----------------------------------------------------------------------------------------


def give_name(paths: RunPaths, files: Iterable[str], before: Iterable[str]) -> None:
    """Give the finished run in `paths.work` its name; only then is the earlier run removed.

    files: the run's, beside ``run.json``.  before: those of the earlier run; other files in its folder stay.
    """
    final, work, aside = paths.final, paths.work, paths.aside
    old = {*before, PAGE} - {*files}
    if work.parent == final:
        return _pour(paths, files, old)
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
        return _pour(paths, files, old)
    sync(final.parent)
    drop_aside(paths, before)
    for name in (CHECKPOINT, LOCK):
        (final / name).unlink(missing_ok=True)
    return None


def drop_aside(paths: RunPaths, own: Iterable[str]) -> None:
    """Remove the run that was replaced; other files in its folder move into the new one."""
    aside = paths.aside
    if not aside.is_dir():
        return
    for name in other_files(aside, {*own, *FILES}):
        if not os.path.lexists(paths.final / name):
            os.replace(aside / name, paths.final / name)
    if not other_files(aside, {*own, *FILES}):
        shutil.rmtree(aside, ignore_errors=True)


def _pour(paths: RunPaths, files: Iterable[str], old: Iterable[str]) -> None:
    """Move the files into a folder that has to stay, ``run.json`` last."""
    final, work = paths.final, paths.work
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
