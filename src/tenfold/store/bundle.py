"""A folder of many runs: its own files, and beside them its members, which stay when it changes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tenfold.errors import RunError
from tenfold.store.run import FORMAT, RunFolder, file_digest, lock_folder, package_versions

#: What a bundle calls itself in ``run.json``.
KIND = "blend"


def begin_bundle(path: str | os.PathLike[str]) -> tuple[RunFolder, dict[str, Any]]:
    """Open a bundle for writing; returns it and what its ``run.json`` says, or {} where it is new.

    Raises RunError where the folder is somebody else's, is in use, or cannot be written.
    """
    final = Path(path).absolute()
    if not final.name or (final.exists() and not final.is_dir()):
        raise RunError(f"{path} is no place for a folder of runs", fix="give another name with -o")
    about = _about(final)
    others = final.is_dir() and any(entry.name != "lock" for entry in final.iterdir())
    if others and about.get("kind") != KIND:
        what = f"a run of kind {about['kind']!r}" if "kind" in about else "a folder with other files in it"
        raise RunError(f"{path} is {what}, no folder of runs", fix="give another name with -o")
    try:
        final.mkdir(parents=True, exist_ok=True)
        lock = lock_folder(final, path)
    except OSError as error:
        raise RunError(
            f"{path} cannot be written: {error.strerror}", fix="give a writable place with -o"
        ) from None
    return RunFolder(final, final, lock), about


def _about(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


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
    folder.write_text("run.json", json.dumps(described, indent=2, ensure_ascii=False) + "\n")
