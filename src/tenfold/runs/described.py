"""``run.json``: checked by a sum over itself, or by the types of its values."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath

from tenfold.errors import RunError
from tenfold.runs.record import RunRecord

#: Number of the format that this version writes, and the oldest it reads.
FORMAT, OLDEST = 1, 1
#: The key of the sum over all other values.
SEAL = "sha256"
_PACKAGES = ("tenfold", "torch", "timm", "numpy", "pillow", "numba", "pyarrow")

Check = Callable[[object], bool]
#: What a value is, in words, and its check.
Kind = tuple[str, Check]


def sealed(about: Mapping[str, object]) -> dict[str, object]:
    """The description with a sum over its values."""
    rest = {name: value for name, value in about.items() if name != SEAL}
    return {**rest, SEAL: sum_of(rest)}


def sum_of(rest: Mapping[str, object]) -> str:
    """SHA-256 of values of JSON's types, in hexadecimal, however they are spelled and ordered."""
    # As it reads back: a tuple is a list then, and a key is text.
    plain = json.loads(json.dumps(rest))
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def read_description(file: Path, path: str | os.PathLike[str]) -> RunRecord:
    """Read and check a ``run.json``.

    path: the run's name in messages. Raises RunError where the file is damaged or was changed, or a later
    version made it; where an earlier version wrote it without a sum, if a value is of the wrong type.
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
    elif problems := faults_of(about):
        raise _damaged(file, problems=problems[:10])
    return RunRecord(about)


def _damaged(file: Path, found: str = "", problems: Sequence[str] = ()) -> RunError:
    fix = "copy it again, or train the run again"
    return RunError(f"{file} is damaged", problems=problems, found=found, fix=fix)


def package_versions() -> dict[str, str]:
    """Installed versions of what decides a run's answer."""
    versions = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


def is_inside(name: str) -> bool:
    """Whether a relative file name stays within its folder."""
    parts = PurePosixPath(name).parts
    return bool(parts) and not name.startswith(("/", "\\")) and ".." not in parts and ":" not in name


# --- the types of values -----------------------------------------------------------------------------


def is_text(value: object) -> bool:
    """Whether a JSON value is a string."""
    return isinstance(value, str)


def _maybe_text(value: object) -> bool:
    return value is None or isinstance(value, str)


def is_number(value: object) -> bool:
    """Whether a JSON value is a number; true and false are not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_count(value: object) -> bool:
    """Whether a JSON value is a whole number of 0 or more."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def list_of(check: Check) -> Check:
    """The check of a list whose items pass a check."""
    return lambda value: isinstance(value, list) and all(map(check, value))


def table_of(check: Check) -> Check:
    """The check of a table whose values pass a check."""
    return lambda value: isinstance(value, dict) and all(map(check, value.values()))


is_table = table_of(lambda value: True)


def _figures(value: object) -> bool:
    """Numbers, and tables and lists of them; null where nothing was measured."""
    if isinstance(value, dict | list):
        return all(map(_figures, value.values() if isinstance(value, dict) else value))
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


def _scores(value: object) -> bool:
    return isinstance(value, dict) and _figures(value)


def _member(value: object) -> bool:
    runs = list_of(_table(path=is_text, sha256=is_text))
    whole = _table(name=is_text, weight=is_number, status=is_text, runs=runs)(value)
    return whole and isinstance(value, dict) and _scores(value.get("scores", {}))


#: Figures by name, by target.
is_scores = table_of(_scores)


_COUNTS = (
    "rows",
    "train_rows",
    "valid_rows",
    "extra_rows",
    "users",
    "items",
    "epochs",
    "kept_epoch",
    "peak_bytes",
)
#: Keys of a run's description, and what each value is.
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
    "scale": ("two numbers", lambda value: isinstance(value, list) and len(value) == 2 and _figures(value)),
    "targets": ("scores by target", is_scores),
    "without_views": ("scores by target", is_scores),
    "calibration": ("figures by target", is_scores),
    "majority": ("a table", is_table),
    "linear": ("a table by target", table_of(is_table)),
    "without_extra": ("a table by target", table_of(is_table)),
    "plan": ("a plan's figures", _plan),
    "reading": ("a table or null", lambda value: value is None or isinstance(value, dict)),
    "fingerprint": ("a table with its texts", _fingerprint),
    "identity": ("a table", is_table),
    "recipe": ("a table", is_table),
    "notes": ("texts", list_of(is_text)),
    "members": ("members with their runs", list_of(_member)),
    "weights": ("weights by target", table_of(table_of(is_number))),
    "classes": ("names by target", table_of(list_of(is_text))),
    "facts": ("a table by target", table_of(is_table)),
    "units": ("a table by name", table_of(is_table)),
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


def faults_of(about: Mapping[str, object]) -> list[str]:
    """Values that a description lacks, and values of the wrong type."""
    kind, sums = str(about.get("kind")), about.get("files")
    faults = misfits(about, _TYPES, (*_OF_ALL, *_NEEDED.get(kind, ())))
    if isinstance(sums, dict):
        faults += [f"{name} has no sum in it" for name in _FILES.get(kind, ()) if name not in sums]
    return faults


def misfits(about: Mapping[str, object], types: Mapping[str, Kind], needed: Iterable[str]) -> list[str]:
    """Needed values that are missing, and values of the wrong type.

    types: name -> what its value is.
    """
    faults = [f"{name} is missing" for name in needed if name not in about]
    for name, (what, check) in types.items():
        if name in about and not check(about[name]):
            text = json.dumps(about[name])
            faults.append(f"{name} is {text if len(text) <= 40 else text[:37] + '...'}, not {what}")
    return faults
