"""Plans that were made before, kept on disk by everything that decides them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from tenfold.memory.cards import cache_folder
from tenfold.runs.described import SEAL, sealed


def digest(decides: Sequence[object]) -> str:
    """A key of these values and of the code that makes plans from them."""
    text = json.dumps([*decides, _sources()], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def _sources() -> str:
    package, digests = Path(__file__).parent.parent, hashlib.sha256()
    for path in sorted(path for room in ("memory", "engine", "nn") for path in (package / room).glob("*.py")):
        digests.update(path.read_bytes())
    return digests.hexdigest()


def recall(key: str) -> dict[str, object] | None:
    """Return the value kept under a key; None where there is none, or it was changed."""
    if not key:
        return None
    try:
        kept = json.loads((cache_folder() / f"{key}.json").read_text(encoding="utf-8"))
        whole = isinstance(kept, dict) and kept.pop(SEAL, "") == sealed(kept)[SEAL]
    except (OSError, ValueError, RecursionError):
        return None
    return kept if whole else None


def remember(key: str, value: Mapping[str, object]) -> None:
    """Keep a value of JSON's types under a key. A folder that cannot be written costs time, not the plan."""
    if not key:
        return
    try:
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f"{key}.{os.getpid()}.part"
        partial.write_text(json.dumps(sealed(value)), encoding="utf-8")
        partial.replace(folder / f"{key}.json")
    except OSError:
        pass
