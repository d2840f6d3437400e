"""A folder of many runs: its own files, and beside them its members, which stay when it changes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tenfold.errors import RunError
from tenfold.store.described import FORMAT, package_versions, read_description
from tenfold.store.place import DESCRIBED, LOCK, drop_temporaries, find_place, lock_folder, other_files
from tenfold.store.run import RunFolder, described_text, file_digest

#: Folder of what members printed that failed.
LOGS = "logs"
#: Files that are written before ``run.json``.
FIRST = ("schema.toml", "oof.parquet")
#: What a bundle calls itself in ``run.json``.
KIND = "blend"


def begin_bundle(path: str | os.PathLike[str]) -> tuple[RunFolder, dict[str, Any]]:
    """Open a bundle for writing; returns it and what its ``run.json`` says, or {} where it is new.

    Raises RunError where the folder is somebody else's, is in use, or cannot be written.
    """
    place = find_place(path)
    final = place.final
    about = _about(final)
    others = other_files(final, (LOCK,)) if final.is_dir() else []
    if others and about.get("kind") != KIND and not _only_logs(final, others) and not _begun(final, others):
        what = f"a run of kind {about['kind']!r}" if "kind" in about else "a folder with other files in it"
        raise RunError(
            f"{path} is {what}, not a folder of runs",
            found=", ".join(others[:5]),
            fix="give another name with -o",
        )
    try:
        lock = lock_folder(final, path)
        drop_temporaries(final, tensors=False)
    except OSError as error:
        raise RunError(
            f"{path} cannot be written: {error.strerror}", fix="give a writable place with -o"
        ) from None
    return RunFolder(place.named, final, lock), about


def leave_bundle(folder: RunFolder) -> None:
    """Stop working on a bundle; of one in which nothing was begun, nothing is left."""
    final = folder.path
    with suppress(OSError):
        (final / LOGS).rmdir()  # what a failed member printed is kept
    others = other_files(final, (LOCK,)) if final.is_dir() else [LOCK]
    if not others or (_only_logs(final, others) and _about(final) == {}):
        with suppress(OSError):
            (final / LOCK).unlink()
    folder.close()


def _begun(final: Path, others: Sequence[str]) -> bool:
    """Whether a folder holds nothing but what a bundle writes before its description: it was killed there."""
    return (final / LOCK).is_file() and {*others} <= {*FIRST, LOGS}


def _only_logs(final: Path, others: Sequence[str]) -> bool:
    """Whether a folder holds nothing but what members printed, of an ensemble that never began."""
    logs = final / LOGS
    return [*others] == [LOGS] and logs.is_dir() and all(one.suffix == ".txt" for one in logs.iterdir())


def _about(folder: Path) -> dict[str, Any]:
    """What a folder's description says; of a damaged one only its kind: the rest is made again."""
    file = folder / DESCRIBED
    if not file.exists():
        return {}
    try:
        return read_description(file, folder)
    except RunError:
        kind = KIND if (folder / "members").is_dir() else None
        with suppress(OSError, ValueError, KeyError, TypeError):
            kind = str(json.loads(file.read_text(encoding="utf-8"))["kind"])
        return {} if kind is None else {"kind": kind}


def describe_bundle(folder: RunFolder, about: Mapping[str, Any], files: Sequence[str]) -> None:
    """Write ``run.json``, whole or not at all, with checksums of the bundle's own files that there are."""
    there = [name for name in files if folder.file(name).exists()]
    described = {
        "format": FORMAT,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": package_versions(),
        "kind": KIND,
        **about,
        "files": {name: file_digest(folder.file(name)) for name in there},
    }
    folder.write_text(DESCRIBED, described_text(described))
