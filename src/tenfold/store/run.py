"""A run folder: what a run leaves behind, written so that it is whole or not there.

While a run works, its files stand in ``NAME.part`` beside the final place; when it has finished, that
folder takes the name. A run that was there before stays whole until then. Every file is written
under another name, flushed, and renamed. Nothing is pickled. docs/formats.md lists the files.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from tenfold.errors import RunError

#: Number of the format that this version writes, and the oldest it reads.
FORMAT, OLDEST = 1, 1
_PACKAGES = ("tenfold", "torch", "timm", "numpy", "pillow", "numba", "pyarrow")


class RunFolder:
    """A run that is being made, in ``NAME.part``; `finish` gives it its name."""

    def __init__(self, final: Path, work: Path, lock: int) -> None:
        self.final, self.path, self._lock = final, work, lock

    def file(self, name: str) -> Path:
        """Where a file of that name stands while the run is made."""
        return self.path / name

    def write_text(self, name: str, text: str) -> None:
        """Write a text file, whole or not at all."""
        with replacing(self.file(name)) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="\n")

    def write_arrays(self, name: str, arrays: Mapping[str, NDArray[Any]], about: Mapping[str, Any]) -> None:
        """Write arrays with a JSON description, whole or not at all, as safetensors."""
        whole = {key: np.asarray(value, order="C") for key, value in arrays.items()}
        with replacing(self.file(name)) as temporary:
            save_file(whole, temporary, metadata={"about": json.dumps(about)})

    def read_arrays(self, name: str) -> tuple[dict[str, NDArray[Any]], dict[str, Any]] | None:
        """Arrays and description as written by `write_arrays`, or None where there is no such file."""
        return read_arrays(self.file(name)) if self.file(name).exists() else None

    def finish(self, about: Mapping[str, Any]) -> Path:
        """Describe the run in ``run.json`` with a checksum of every file, and give it its name."""
        for name in ("checkpoint.safetensors", "lock"):
            self.file(name).unlink(missing_ok=True)
        files = {
            path.relative_to(self.path).as_posix(): file_digest(path)
            for path in sorted(self.path.rglob("*"))
            if path.is_file() and path.name != "run.json"
        }
        described = {
            "format": FORMAT,
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": package_versions(),
            **about,
            "files": files,
        }
        self.write_text("run.json", json.dumps(described, indent=2, ensure_ascii=False) + "\n")
        old = self.final.with_name(self.final.name + ".old")
        if old.exists():
            shutil.rmtree(old)
        if self.final.exists():
            os.replace(self.final, old)
        os.replace(self.path, self.final)
        shutil.rmtree(old, ignore_errors=True)
        self.close()
        return self.final

    def discard(self) -> None:
        """Leave nothing of an attempt that turned out to be needless."""
        self.close()
        shutil.rmtree(self.path, ignore_errors=True)

    def close(self) -> None:
        """Let another process work on this run."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def begin_run(path: str | os.PathLike[str], *, resume: bool = False) -> tuple[RunFolder, list[str]]:
    """Open a run folder for writing; returns it and notes on what was found there.

    resume: go on with the unfinished run of that name, where there is one.
    Raises RunError where the folder is somebody else's, is in use, or cannot be written.
    """
    final = Path(path).absolute()
    notes: list[str] = []
    if not final.name:
        raise RunError(f"{path} is no place for a run", fix="give the name of a folder with -o")
    work = final.with_name(final.name + ".part")
    if final.exists() and not final.is_dir():
        raise RunError(f"{path} is a file, not a folder", fix="give another name with -o")
    if final.is_dir() and any(final.iterdir()) and not (final / "run.json").exists():
        raise RunError(
            f"{path} is a folder with other files in it, no run",
            found=", ".join(sorted(entry.name for entry in final.iterdir())[:5]),
            fix="give another name with -o",
        )
    try:
        work.mkdir(parents=True, exist_ok=True)
        lock = lock_folder(work, path)
    except OSError as error:
        raise RunError(
            f"{path} cannot be written: {error.strerror}", fix="give a writable place with -o"
        ) from None
    begun = [entry for entry in work.iterdir() if entry.name != "lock"]
    if begun and not resume:
        notes.append(f"an unfinished run was in {path}: started anew (--resume would have gone on with it)")
        for entry in begun:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    elif resume and not begun:
        notes.append(f"no unfinished run in {path}: started from the beginning")
    if not resume and (final / "run.json").exists():
        notes.append(f"{path} holds a finished run, whose place this one takes once it has finished")
    return RunFolder(final, work, lock), notes


def lock_folder(work: Path, path: str | os.PathLike[str]) -> int:
    """A handle that keeps every other process out of a folder; RunError where one is in it.

    path: how the folder is called in messages.
    """
    handle = os.open(work / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    if sys.platform == "win32":
        return handle
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise RunError(
            f"{path} is in use by another process", fix="wait for it, or give another name with -o"
        ) from None
    return handle


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`; renamed to it when the block ends well, removed otherwise."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with open(temporary, "rb+") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        # safetensors reports a full disk as an error of its own.
        raise RunError(
            f"{path.name} cannot be written: {getattr(error, 'strerror', None) or error}",
            found=str(path.parent),
            fix="free some space or give another place; what was there before is untouched",
        ) from None
    finally:
        temporary.unlink(missing_ok=True)


def has_finished(folder: RunFolder, identity: Mapping[str, Any], what: str) -> bool:
    """Whether a finished run of this identity stands at the folder's final place already.

    identity: everything that decided the run, as `RunFolder.finish` was given it.  what: fit, or training.
    Raises RunError that names the differences where another run stands there.
    """
    if not (folder.final / "run.json").exists():
        return False
    _, about = read_run(folder.final)
    changed = differences(about.get("identity", {}), json.loads(json.dumps(identity)))
    if changed:
        raise RunError(
            f"the finished run in {folder.final} is of another {what}",
            problems=changed,
            fix="give the same options as before, another -o, or leave --resume out to replace it",
        )
    return True


def read_run(path: str | os.PathLike[str]) -> tuple[Path, dict[str, Any]]:
    """The folder of a finished run and its ``run.json``, every file checked against its checksum.

    Raises RunError where there is no run, an unfinished one, a damaged one or one of a later version.
    """
    folder = Path(path)
    described = folder / "run.json"
    if not described.exists():
        part = folder.with_name(folder.name + ".part")
        if part.is_dir() and any(part.iterdir()):
            raise RunError(f"the run {path} has not finished", fix="go on with it: tenfold fit ... --resume")
        if folder.suffix == ".part" and (folder / "lock").exists():
            whole = folder.with_suffix("")
            raise RunError(
                f"{path} is what a run has left that has not finished",
                fix=f"go on with it: tenfold fit ... -o {whole} --resume",
            )
        what = "holds no run" if folder.is_dir() else "does not exist"
        raise RunError(f"{path} {what}", fix="give the folder that tenfold fit -o made")
    try:
        about = json.loads(described.read_text(encoding="utf-8"))
        made, files = int(about["format"]), dict(about["files"])
    except (ValueError, KeyError, TypeError):
        raise RunError(f"{described} is damaged", fix="train the run again") from None
    if made > FORMAT:
        by = about.get("versions", {}).get("tenfold", "a later version")
        raise RunError(
            f"{path} was made by tenfold {by}, this is {package_versions()['tenfold']}",
            found=f"format {made}; this version reads {OLDEST} to {FORMAT}",
            fix="upgrade tenfold",
        )
    problems = []
    for name, checksum in files.items():
        target = folder / name
        if not target.resolve().is_relative_to(folder.resolve()):
            problems.append(f"{name}: lies outside the run folder")
        elif not target.exists():
            problems.append(f"{name}: missing")
        elif file_digest(target) != checksum:
            problems.append(f"{name}: changed or damaged")
    if problems:
        raise RunError(
            f"the run {path} is damaged", problems=problems, fix="copy it again, or train it again"
        )
    return folder, about


def differences(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> list[str]:
    """What differs between two descriptions of a training, each as ``name: before -> now``."""
    found = []
    for name in sorted({*before, *now}):
        old, new = before.get(name), now.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += differences(old, new, f"{prefix}{name}.")
        elif old != new:
            found.append(f"{prefix}{name}: {_brief(old)} -> {_brief(new)}")
    return found


def or_null(value: Any) -> Any:
    """A value for a JSON file: what is not a number (no labels), for which JSON has no word, becomes null."""
    if isinstance(value, Mapping):
        return {str(name): or_null(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [or_null(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def or_nan(value: Any) -> Any:
    """The opposite of `or_null`, for values that are numbers or hold nothing but numbers and texts."""
    if isinstance(value, Mapping):
        return {name: or_nan(one) for name, one in value.items()}
    return math.nan if value is None else value


def _brief(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def read_arrays(path: Path, *, beginning: str = "") -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Arrays and their JSON description from a safetensors file. Cannot run code.

    beginning: of the names of the arrays that are wanted; all where it is not given.

    Raises RunError where the file is damaged or no such file at all.
    """
    try:
        with safe_open(path, framework="numpy") as stream:
            about = json.loads((stream.metadata() or {}).get("about", "{}"))
            wanted = [name for name in stream.keys() if name.startswith(beginning)]
            return {name: stream.get_tensor(name) for name in wanted}, about
    except (SafetensorError, ValueError) as error:
        raise RunError(
            f"{path} is damaged or no tensor file: {error}",
            fix="copy it again; files that hold code are never loaded",
        ) from None


def package_versions() -> dict[str, str]:
    """Installed versions of what decides a run's answer."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return {"python": ".".join(str(part) for part in sys.version_info[:3]), **found}


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
