"""Atomic writing: a file is either whole or as it was."""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from tenfold.errors import OutputError

__all__ = ["replacing", "sync"]


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A binary stream to a new file that takes the place of `path` when the block ends well.

    Missing folders are made. If the block fails (a full disk, an error, Ctrl-C), the file that was there
    before is untouched and nothing is left beside it; the next call removes what a killed process left in
    the folder. A pipe or a device is written to directly.

    Raises OutputError where the file cannot be written.
    """
    target = Path(os.path.realpath(path))  # a link stays a link: the file it names is replaced
    try:
        # Asked of the path itself: what /dev/stdout leads to has no name, where it is a pipe.
        before = os.stat(path) if os.path.exists(path) else None
        if before is not None and stat.S_ISDIR(before.st_mode):
            raise OutputError(f"{path} is a folder", fix="give the name of a file in it")
        if before is not None and not stat.S_ISREG(before.st_mode):
            with open(path, "wb") as stream:
                yield stream
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        _drop_left(target.parent)
        temporary, opened = _temporary(target)
        try:
            with opened as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            if before is not None:
                os.chmod(temporary, stat.S_IMODE(before.st_mode))
            os.replace(temporary, target)
            sync(target.parent)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written: {error.strerror or error}",
            found=str(error.filename or "") if str(error.filename or "") != str(path) else "",
            fix=_remedy(error.errno) + "; what was there before is untouched",
        ) from None


_TEMPORARY = re.compile(r"\.tenfold-[0-9a-f]{16}\.tmp")


def _temporary(target: Path) -> tuple[Path, BinaryIO]:
    """A new file beside the target, held by this process: its name and a stream to it."""
    while True:
        # A short name: the target's may already be as long as the file system allows.
        temporary = target.with_name(f".tenfold-{secrets.token_hex(8)}.tmp")
        stream = open(temporary, "xb")
        # Another process may have removed it as abandoned before it was locked.
        if _hold(stream.fileno()) and not temporary.exists():
            stream.close()
            continue
        return temporary, stream


def _hold(handle: int) -> bool:
    """Lock an open file for as long as this process has it open; False where another process has."""
    if sys.platform == "win32":
        return False
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _drop_left(folder: Path) -> None:
    """Remove the temporary files of killed processes: those that no process has locked."""
    with suppress(OSError):
        left = [entry.path for entry in os.scandir(folder) if _TEMPORARY.fullmatch(entry.name)]
        for path in left:
            with suppress(OSError), open(path, "rb") as stream:
                if _hold(stream.fileno()):
                    os.unlink(path)


def _remedy(code: int | None) -> str:
    if code in (errno.ENOSPC, errno.EDQUOT):
        return "free some space or give another disk"
    if code in (errno.ENAMETOOLONG, errno.EINVAL):
        return "give another name"
    return "give a place that you may write to"


def sync(path: str | os.PathLike[str]) -> None:
    """Flush a file, or the names in a folder, to the disk, where the system can."""
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
