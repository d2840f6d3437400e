"""What ``run.json`` says: sealed by a sum over itself, or held to the types of its values."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath
from typing import Any

from tenfold.errors import RunError

#: Number of the format that this version writes, and the oldest it reads.
FORMAT, OLDEST = 1, 1
#: The member that holds the sum over all others.
SEAL = "sha256"
_PACKAGES = ("tenfold", "torch", "timm", "numpy", "pillow", "numba", "pyarrow")

_REMEDY = "copy it again, or train the run again"

Check = Callable[[Any], bool]
#: What a value is, in words, and the check of that.
Kind = tuple[str, Check]


def sealed(about: Mapping[str, Any]) -> dict[str, Any]:
    """The description with a sum over its values, however they are spelled and ordered."""
    rest = {name: value for name, value in about.items() if name != SEAL}
    return {**rest, SEAL: sum_of(rest)}


def sum_of(rest: Mapping[str, Any]) -> str:
    """A sum over values of JSON's types, however they are spelled and ordered: SHA-256, in hexadecimal."""
    # As it reads back: a tuple is a list then, and a key is text.
    plain = json.loads(json.dumps(rest))
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def read_description(file: Path, path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a ``run.json`` says, if it is whole.

    path: how the run is called in messages. Raises RunError where it is damaged or was changed, or a later
    version made it; of one that an earlier version wrote without a sum, where a value is of the wrong type.
    """
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(file, getattr(error, "strerror", None) or "it is not JSON") from None
    if not isinstance(about, dict):
        raise _damaged(file, f"it holds a {type(about).__name__}, not an object")
    made = about.get("format")
    if isinstance(made, int) and made > FORMAT:
        versions = about.get("versions")
        by = versions.get("tenfold") if isinstance(versions, dict) else None
        raise RunError(
            f"{path} was made by tenfold {by or 'unknown'}, this is {package_versions()['tenfold']}",
            found=f"format {made}; this version reads {OLDEST} to {FORMAT}",
            fix="upgrade tenfold",
        )
    if SEAL in about:
        if about[SEAL] != sealed(about)[SEAL]:
            raise _damaged(file, "its values do not have the sum that stands in it")
        return about
    problems = faults_of(about)
    if problems:
        raise RunError(
            f"{file} is damaged", problems=problems[:10], fix="copy it again, or train the run again"
        )
    return about


def _damaged(file: Path, why: str) -> RunError:
    return RunError(f"{file} is damaged", found=why, fix=_REMEDY)


def package_versions() -> dict[str, str]:
    """Installed versions of what decides a run's answer."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return {"python": ".".join(str(part) for part in sys.version_info[:3]), **found}


def looks_like_run(about: Any) -> bool:
    """Whether a JSON value is a run's description, of whatever version."""
    return isinstance(about, dict) and {"format", "files"} <= about.keys()


def is_inside(name: str) -> bool:
    """Whether a file's name stays within the folder that it is relative to."""
    parts = PurePosixPath(name).parts
    return bool(parts) and not name.startswith(("/", "\\")) and ".." not in parts and ":" not in name


# --- the types of values -----------------------------------------------------------------------------


def is_text(value: object) -> bool:
    """Whether a value of JSON is a string."""
    return isinstance(value, str)


def _maybe_text(value: object) -> bool:
    return value is None or isinstance(value, str)


def is_number(value: object) -> bool:
    """Whether a value of JSON counts or measures; true and false do not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_count(value: object) -> bool:
    """A whole number from 0 up."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def list_of(check: Check) -> Check:
    """Whether a value is a list of such."""
    return lambda value: isinstance(value, list) and all(check(one) for one in value)


def table_of(check: Check) -> Check:
    """Whether a value is a table of such."""
    return lambda value: isinstance(value, dict) and all(check(one) for one in value.values())


def _anything(value: object) -> bool:
    return True


def _figures(value: object) -> bool:
    """Numbers, and tables and lists of them; null where nothing was measured."""
    if isinstance(value, dict):
        return all(_figures(one) for one in value.values())
    if isinstance(value, list):
        return all(_figures(one) for one in value)
    return value is None or isinstance(value, (int, float))


def _table(**checks: Check) -> Check:
    """A table with at least these entries."""
    return lambda value: (
        isinstance(value, dict)
        and all(name in value and check(value[name]) for name, check in checks.items())
    )


def _fingerprint(value: object) -> bool:
    texts = ("rows", "scored")
    return isinstance(value, dict) and all(isinstance(value.get(name, ""), str) for name in texts)


def _plan(value: object) -> bool:
    if not isinstance(value, dict):
        return False
    whole = ("micro_batch", "accumulation", "predicted_bytes", "measured_bytes")
    band = value.get("band_bytes", [])
    return (
        all(value.get(name) is None or is_count(value[name]) for name in whole)
        and list_of(is_number)(band)
        and len(band) in (0, 2)
        and table_of(is_number)(value.get("parts", {}))
    )


def _member(value: Any) -> bool:
    runs = list_of(_table(path=is_text, sha256=is_text))
    return _table(name=is_text, weight=is_number, status=is_text, runs=runs)(value) and (
        _figures(value.get("scores", {})) and isinstance(value.get("scores", {}), dict)
    )


def is_scores(value: object) -> bool:
    """Figures by name, by target."""
    return table_of(lambda one: isinstance(one, dict) and _figures(one))(value)


_COUNTS = ("rows", "train_rows", "valid_rows", "users", "items", "epochs", "kept_epoch", "peak_bytes")
#: What a run's description may say, and what each is.
_TYPES: dict[str, Kind] = {
    "format": ("a whole number", is_count),
    "files": ("names with sums", table_of(is_text)),
    "kind": ("a text", is_text),
    "of": ("a text", is_text),
    "finished": ("a text", is_text),
    "versions": ("texts by name", table_of(is_text)),
    **dict.fromkeys(_COUNTS, ("a whole number", is_count)),
    "seconds": ("a number", is_number),
    **dict.fromkeys(("table", "time_format", "item_key"), ("a text or null", _maybe_text)),
    **dict.fromkeys(("method", "kind_of_ratings", "target", "precision", "device"), ("a text", is_text)),
    "scale": ("two numbers", lambda value: list_of(is_number)(value) and len(value) == 2),
    "targets": ("scores by target", is_scores),
    "without_views": ("scores by target", is_scores),
    "calibration": ("figures by target", is_scores),
    "majority": ("a table", table_of(_anything)),
    "plan": ("a plan's figures", _plan),
    "reading": ("a table or null", lambda value: value is None or isinstance(value, dict)),
    "fingerprint": ("a table with its texts", _fingerprint),
    "identity": ("a table", table_of(_anything)),
    "recipe": ("a table", table_of(_anything)),
    "notes": ("texts", list_of(is_text)),
    "members": ("members with their runs", list_of(_member)),
    "weights": ("parts by target", table_of(table_of(is_number))),
    "classes": ("names by target", table_of(list_of(is_text))),
    "facts": ("a table by target", table_of(table_of(_anything))),
    "units": ("a table by name", table_of(table_of(_anything))),
}
_OF_ALL = ("format", "files")
_OF_RATINGS = ("rows", "users", "items", "method", "kind_of_ratings", "targets", "seconds", "peak_bytes")
#: What cannot be missing, by kind.
_NEEDED: dict[str, tuple[str, ...]] = {
    "network": ("rows", "targets", "seconds", "peak_bytes", "majority"),
    "ratings": _OF_RATINGS,
    "pairs": (*_OF_RATINGS, "scale", "target"),
    "blend": ("members",),
}
#: Files that cannot be missing among those that have sums, by kind.
_FILES = {
    "network": ("schema.toml", "recipe.toml", "encoding.json", "weights.safetensors"),
    "ratings": ("schema.toml", "recipe.toml", "model.safetensors"),
    "pairs": ("schema.toml", "recipe.toml", "encoding.json", "weights.safetensors", "model.safetensors"),
    "blend": ("schema.toml",),
}


def faults_of(about: Mapping[str, Any]) -> list[str]:
    """What is missing in a description, and which values are not what they stand for."""
    kind = about.get("kind")
    needed = (*_OF_ALL, *_NEEDED.get(kind, ())) if isinstance(kind, str) else _OF_ALL
    found = misfits(about, _TYPES, needed)
    sums = about.get("files")
    if isinstance(kind, str) and isinstance(sums, dict):
        found += [f"{name} has no sum in it" for name in _FILES.get(kind, ()) if name not in sums]
    return found


def misfits(about: Mapping[str, Any], types: Mapping[str, Kind], needed: Iterable[str]) -> list[str]:
    """What is missing of the needed values, and which are not what they stand for.

    types: name -> what its value is.
    """
    found = [f"{name} is missing" for name in needed if name not in about]
    for name, (what, check) in types.items():
        if name in about and not check(about[name]):
            text = json.dumps(about[name])
            found.append(f"{name} is {text if len(text) <= 40 else text[:37] + '...'}, not {what}")
    return found
