"""A file is either whole or as it was: written beside its place, then moved there."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from tenfold.errors import OutputError

__all__ = ["replacing"]


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A binary stream to a new file that takes the place of `path` when the block ends well.

    Missing folders are made. If the block fails (a full disk, an error, Ctrl-C), the file that was there
    before is untouched and nothing is left beside it. A pipe or a device is written to directly.

    Raises OutputError where the place cannot be written.
    """
    target = Path(os.path.realpath(path))  # a link stays a link: the file it names is replaced
    try:
        before = target.stat() if target.exists() else None
        if before is not None and stat.S_ISDIR(before.st_mode):
            raise OutputError(f"{path} is a folder", fix="give the name of a file in it")
        if before is not None and not stat.S_ISREG(before.st_mode):
            with open(target, "wb") as stream:
                yield stream
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        # A short name of its own: the target's may already be as long as the file system allows.
        temporary = target.with_name(f".tenfold-{secrets.token_hex(8)}.tmp")
        try:
            with open(temporary, "xb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            if before is not None:
                os.chmod(temporary, stat.S_IMODE(before.st_mode))
            os.replace(temporary, target)
            _sync_folder(target.parent)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written: {error.strerror or error}",
            found=str(error.filename or "") if str(error.filename or "") != str(path) else "",
            fix=_remedy(error.errno) + "; what was there before is untouched",
        ) from None


def _remedy(code: int | None) -> str:
    if code in (errno.ENOSPC, errno.EDQUOT):
        return "free some space or give another disk"
    if code in (errno.ENAMETOOLONG, errno.EINVAL):
        return "give another name"
    return "give a place that you may write to"


def _sync_folder(folder: Path) -> None:
    """Make the new name last through a power failure, where the system lets a folder be opened."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
