"""A run folder: what a run leaves behind, written so that it is whole or not there.

While a run is made, its files are in ``NAME.part`` beside the final folder, which is renamed when it has
finished. A run that was there before stays whole until then. Every file is written under another name,
flushed, and renamed. Nothing is pickled. docs/formats.md lists the files.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from tenfold.errors import RunError, did_you_mean
from tenfold.files.atomic import sync
from tenfold.runs.described import FORMAT, is_inside, package_versions, read_description, sealed
from tenfold.runs.place import (
    CHECKPOINT,
    DESCRIBED,
    FILES,
    INSIDE,
    LOCK,
    RunPaths,
    being_used,
    drop_aside,
    drop_temporaries,
    find_paths,
    give_name,
    in_use,
    lock_folder,
    other_files,
    remove_work,
    strangers,
    temporary_name,
)
from tenfold.runs.record import RunRecord

#: Arrays by name.
Arrays = Mapping[str, NDArray[np.generic]]

_SUM = "sha256:"
#: Files that keep the folder of an unfinished run from being removed.
_WORTH_KEEPING = (CHECKPOINT, DESCRIBED, "weights.safetensors", "model.safetensors")
_AGAIN = "free some space, or mend what is named; then --resume finishes without training again"


class RunFolder:
    """A run that is being made, in ``NAME.part``; `finish` gives it its name.

    resumes: whether it goes on with what was begun there.
    """

    def __init__(
        self, final: Path, work: Path, lock: int, paths: RunPaths | None = None, *, resumes: bool = False
    ) -> None:
        self.final, self.path, self._lock, self.resumes = final, work, lock, resumes
        self._paths = paths or RunPaths(final, final, work)

    def file(self, name: str) -> Path:
        """The path of a file while the run is made."""
        return self.path / name

    def write_text(self, name: str, text: str) -> None:
        """Write a text file, whole or not at all."""
        with replacing(self.file(name)) as temporary:
            # File names in it may hold bytes that are not text.
            temporary.write_bytes(text.encode("utf-8", "surrogateescape"))

    def write_arrays(self, name: str, arrays: Arrays, about: Mapping[str, object]) -> None:
        """Write arrays with a JSON description, whole or not at all, as safetensors."""
        self._write_arrays(name, arrays, json.dumps(about))

    def _write_arrays(self, name: str, arrays: Arrays, text: str) -> None:
        whole = {key: np.asarray(value, order="C") for key, value in arrays.items()}
        with replacing(self.file(name)) as temporary:
            save_file(whole, temporary, metadata={"about": text})

    def write_checkpoint(self, arrays: Arrays, about: Mapping[str, object]) -> None:
        """Write a checkpoint, whole or not at all, with a sum over all of it.

        about: in JSON's types; its ``identity`` is that of the training.
        """
        text = json.dumps(about)
        self._write_arrays(CHECKPOINT, arrays, f"{_SUM}{_sum_of(arrays, text)} {text}")

    def recipe_so_far(self) -> Mapping[str, object]:
        """The recipe of the run that is to go on or has finished; empty where there is none to be read."""
        try:
            if self.file(CHECKPOINT).exists():
                text = _read_arrays(self.file(CHECKPOINT))[1]
                identity = json.loads(text[text.index("{") :])["identity"]
            else:
                identity = read_description(self.final / DESCRIBED, self.final).identity
            return dict(identity["recipe"])
        except (RunError, OSError, ValueError, KeyError, TypeError, RecursionError):
            return {}  # whoever reads it next says what is wrong

    def read_checkpoint(self, identity: Mapping[str, object], what: str) -> Checkpoint | None:
        """Read the checkpoint; None where it is missing.

        what: fit, or training. Raises RunError where it is damaged, or another training's: then with the
        differences.
        """
        file = self.file(CHECKPOINT)
        if not file.exists():
            return None
        arrays, text = _read_arrays(file)
        checked = text.startswith(_SUM)
        if checked:
            length = len(_SUM) + 64
            kept, text = text[len(_SUM) : length], text[length + 1 :]
            if kept != _sum_of(arrays, text):
                raise _lost(file, "it does not have the sum that stands in it")
        try:
            about = json.loads(text)
            changed = differences(about["identity"], identity)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise _lost(file, "it does not name its training") from None
        if changed:
            raise RunError(
                f"the unfinished run in {self.final} is of another {what}",
                problems=changed,
                fix="give the same options as before, or leave --resume out to start anew",
            )
        return Checkpoint(arrays, about, checked)

    def finish(self, about: Mapping[str, object]) -> RunRecord:
        """Write ``run.json`` with a checksum of every file, and give the run its name; returns the record.

        The checkpoint is removed last: wherever this stops, ``--resume`` finishes without training again.
        """
        try:
            drop_temporaries(self.path)
            files = {}
            for path in sorted(self.path.rglob("*")):
                name = path.relative_to(self.path).as_posix()
                if path.is_file() and name not in (LOCK, CHECKPOINT, DESCRIBED):
                    files[name] = file_digest(path)
                    sync(path)
            record = self.describe(about, files)
            sync(self.path)
            if sys.platform == "win32":
                self.close()  # an open file keeps its folder from being renamed there
            give_name(self._paths, files, _own_files(self._paths.final))
        except OSError as error:
            raise _unnamed(self.final, error) from None
        except RunError as error:
            raise RunError(error.headline, found=error.labels.get("found", ""), fix=_AGAIN) from None
        self.close()
        return record

    def describe(self, about: Mapping[str, object], files: Mapping[str, str]) -> RunRecord:
        """Write ``run.json``, whole or not at all. files: name -> checksum."""
        described = {
            "format": FORMAT,
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": package_versions(),
            **about,
            "files": files,
        }
        text = described_text(described)
        self.write_text(DESCRIBED, text)
        return RunRecord(json.loads(text))

    def leave(self) -> str:
        """Stop working on the run, finished or not; returns a message on what was kept.

        What a later ``--resume`` can use is kept; everything else is removed.
        """
        if self._lock < 0 or not self.path.is_dir():
            self.close()
            return f"{self.final} has finished" if (self.final / DESCRIBED).exists() else "nothing was kept"
        if self.file(CHECKPOINT).exists() or self.file(DESCRIBED).exists():
            self.close()
            return f"{self.final} goes on from its last checkpoint: the same command with --resume"
        if not any(self.file(name).exists() for name in _WORTH_KEEPING):
            remove_work(self.path)
        self.close()
        return "nothing was kept: there was no checkpoint yet"

    def close(self) -> None:
        """Let another process work on this run."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


@dataclass(frozen=True)
class Checkpoint:
    """The checkpoint of an unfinished run. checked: whether it has a sum, which older ones lack."""

    arrays: dict[str, NDArray[Any]]
    about: dict[str, Any]
    checked: bool


def _sum_of(arrays: Arrays, text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = np.asarray(arrays[name], order="C")
        digest.update(json.dumps([name, array.dtype.str, list(array.shape)]).encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _lost(file: Path, why: str) -> RunError:
    return RunError(f"{file} is damaged", problems=[why], fix="leave --resume out to start anew")


def described_text(about: Mapping[str, object]) -> str:
    """The text of a ``run.json`` of these values."""
    # The sum is over the values as they will be read, whatever this system's encoding made of names.
    text = json.dumps(about, ensure_ascii=False).encode("utf-8", "surrogateescape")
    plain = json.loads(text.decode("utf-8", "surrogateescape"))
    described = json.dumps(sealed(plain), indent=2, ensure_ascii=False) + "\n"
    return re.sub("[\ud800-\udfff]", lambda match: f"\\u{ord(match[0]):04x}", described)


def _unnamed(path: Path, error: OSError) -> RunError:
    return RunError(f"{path} cannot be written: {error.strerror or error}", fix=_AGAIN)


def _read_unchecked(folder: Path) -> RunRecord | None:
    """A run's description of whatever version, not checked; None where it is not that of a run."""
    with suppress(OSError, ValueError, RecursionError):
        about = json.loads((folder / DESCRIBED).read_text(encoding="utf-8"))
        if isinstance(about, dict) and "format" in about and isinstance(about.get("files"), dict):
            return RunRecord(about)
    return None


def holds_run(folder: Path) -> bool:
    """Whether a folder holds files of a run, damaged or not."""
    # Where the description is damaged, the other files tell; every run has a schema.
    return _read_unchecked(folder) is not None or {"schema.toml"} <= set(other_files(folder)) <= FILES


def _own_files(folder: Path) -> list[str]:
    """Files of the finished run in a folder, by its own description."""
    record = _read_unchecked(folder)
    return [name for name in record.files if is_inside(name)] if record else []


@contextmanager
def making_run(
    path: str | os.PathLike[str],
    *,
    resume: bool = False,
    on_notes: Callable[[list[str]], None] = lambda notes: None,
) -> Iterator[RunFolder]:
    """A run folder to work in; if the run does not finish, only what ``--resume`` can use is kept.

    on_notes: called with notes on earlier runs there. A KeyboardInterrupt carries a note on what is kept.
    Raises as `begin_run`.
    """
    folder, notes = begin_run(path, resume=resume)
    left = ""
    try:
        try:
            on_notes(notes)
            yield folder
        finally:
            left = folder.leave()
    except KeyboardInterrupt as stop:
        stop.add_note(left)
        raise


def begin_run(path: str | os.PathLike[str], *, resume: bool = False) -> tuple[RunFolder, list[str]]:
    """Open a run folder for writing; returns it and notes on earlier runs there.

    A run that had finished but for its name gets it.
    resume: go on with the unfinished run of that name, if any.
    Raises RunError where the folder holds other files, is in use, or cannot be written.
    """
    notes: list[str] = []
    while True:
        paths = find_paths(path)
        try:
            _check_paths(paths, path)
            lock = lock_folder(paths.work, path)
        except OSError as error:
            raise RunError(
                f"{path} cannot be written: {error.strerror}",
                fix="give another folder with -o",
            ) from None
        folder = RunFolder(paths.named, paths.work, lock, paths, resumes=resume)
        try:
            if not _name_finished(paths):
                return folder, notes + _clear(folder, path, resume)
        except OSError as error:
            folder.close()
            raise _unnamed(paths.named, error) from None
        except BaseException:
            folder.close()
            raise
        folder.close()
        notes.append(f"{path} had finished but for its name, which it has now")


def _check_paths(paths: RunPaths, path: str | os.PathLike[str]) -> None:
    """Refuse to work where other files are."""
    final, work = paths.final, paths.work
    if final.is_dir() and in_use(final):
        raise being_used(path)
    if os.path.lexists(work) and (not work.is_dir() or strangers(work)):
        raise RunError(
            f"{work} is in the way, and is not what a run has left",
            found=", ".join(strangers(work)[:5]) if work.is_dir() else "a file",
            fix="move it, or give another name with -o",
        )
    if not final.is_dir() or (work / DESCRIBED).exists():
        return
    others = other_files(final)
    record = _read_unchecked(final)
    if record and record.kind == "blend" and (final / "members").is_dir():
        raise RunError(
            f"{path} is the folder of an ensemble, with its members in it", fix="give another name with -o"
        )
    # A run whose run.json is damaged may be trained again.
    if others and not (DESCRIBED in others and holds_run(final)):
        raise RunError(
            f"{path} is a folder with other files in it, not a run",
            found=", ".join(others[:5]),
            fix="give another name with -o",
        )


def _name_finished(paths: RunPaths) -> bool:
    """Give a finished run its name that was stopped before it had it; False where there is none."""
    final, work = paths.final, paths.work
    drop_temporaries(work)
    if (final / DESCRIBED).exists():
        drop_temporaries(final)
        drop_aside(paths, _own_files(paths.aside))
        for name in (CHECKPOINT, LOCK):
            (final / name).unlink(missing_ok=True)
    if not (work / DESCRIBED).exists():
        if paths.aside.is_dir() and not final.exists():
            os.replace(paths.aside, final)
        return False
    files: list[str] = []
    try:
        sums = read_description(work / DESCRIBED, work).files
        files = [name for name in sums if is_inside(name)]
        whole = len(files) == len(sums) and all(_is_whole(paths, name, sums[name]) for name in files)
    except RunError:
        whole = False
    if whole:
        give_name(paths, files, _own_files(final) or _own_files(paths.aside))
    else:
        (work / DESCRIBED).unlink()
    return whole


def _is_whole(paths: RunPaths, name: str, checksum: str) -> bool:
    file = paths.work / name
    if not file.exists() and not (paths.final / DESCRIBED).exists():
        file = paths.final / name  # it was moved already, into a folder that has to stay
    return file.is_file() and file_digest(file) == checksum


def _clear(folder: RunFolder, path: str | os.PathLike[str], resume: bool) -> list[str]:
    """Remove an unfinished run that is not resumed; returns notes on earlier runs there."""
    notes = []
    finished = (folder.final / DESCRIBED).exists()
    begun = [entry for entry in folder.path.iterdir() if entry.name in FILES - {LOCK}]
    if begun and not resume:
        notes.append(f"an unfinished run was in {path}: started anew (--resume would have gone on with it)")
        for entry in begun:
            entry.unlink()
    elif resume and not begun and not finished:
        notes.append(f"no unfinished run in {path}: started from the beginning")
    if not resume and finished:
        notes.append(f"{path} holds a finished run, which this one replaces once it has finished")
    return notes


_WORDS = re.compile(r"^Error while serializing: (I/O error: )?| \(os error \d+\)$")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`; renamed to it when the block ends well, removed otherwise."""
    temporary = temporary_name(path)
    try:
        # Made here, so that its mode is the system's default and not a library's.
        with open(temporary, "wb") as stream:
            mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
        yield temporary
        with open(temporary, "rb+") as stream:
            os.fsync(stream.fileno())
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        # safetensors reports a full disk as an error of its own, in a library's words.
        why = getattr(error, "strerror", None) or _WORDS.sub("", str(error))
        raise RunError(
            f"{path.name} cannot be written: {why}",
            found=str(path.parent),
            fix="free some space or give another folder; what was there before is untouched",
        ) from None
    finally:
        with suppress(OSError):  # otherwise it is removed with the next run in the folder
            temporary.unlink(missing_ok=True)


def has_finished(folder: RunFolder, identity: Mapping[str, object], what: str) -> RunRecord | None:
    """The record of a finished run of this identity; None where there is none, or a checkpoint to resume.

    identity: everything that decided the run, as `RunFolder.finish` was given it. The precision, which a
    checkpoint's has, too, is not compared.  what: fit, or training.
    Raises RunError with the differences where there is another run.
    """
    if folder.file(CHECKPOINT).exists() or not (folder.final / DESCRIBED).exists():
        return None
    _, record = read_run(folder.final)
    now = json.loads(json.dumps(identity))
    changed = differences({**record.identity, "precision": None}, {**now, "precision": None})
    if changed:
        raise RunError(
            f"the finished run in {folder.final} is of another {what}",
            problems=changed,
            fix="give the same options as before, another -o, or leave --resume out to replace it",
        )
    return record


def read_run(path: str | os.PathLike[str]) -> tuple[Path, RunRecord]:
    """Return the folder of a finished run and its record; every file is checked against its checksum.

    Raises RunError where there is no run, or it is unfinished, damaged or of a later version.
    """
    folder = Path(path)
    described = folder / DESCRIBED
    if not described.exists():
        raise _no_run(path)
    record = read_description(described, path)
    problems = []
    for name, checksum in record.files.items():
        target = folder / name
        if not is_inside(name) or not target.resolve().is_relative_to(folder.resolve()):
            problems.append(f"{name}: lies outside the run folder")
        elif not target.is_file():
            problems.append(f"{name}: " + ("not a file" if target.exists() else "missing"))
        else:
            problems += _changed(target, name, checksum)
    if problems:
        raise RunError(
            f"the run {path} is damaged", problems=problems, fix="copy it again, or train it again"
        )
    return folder, record


def _changed(file: Path, name: str, checksum: str) -> list[str]:
    try:
        return [] if file_digest(file) == checksum else [f"{name}: changed or damaged"]
    except OSError as error:
        return [f"{name}: cannot be read: {error.strerror}"]


def _no_run(path: str | os.PathLike[str]) -> RunError:
    """The reason why a folder holds no finished run."""
    folder = Path(path).absolute()
    for part in (folder.with_name(f"{folder.name}.part"), folder / INSIDE):
        if part.is_dir() and not strangers(part) and any(part.iterdir()):
            return RunError(f"the run {path} has not finished", fix="go on with it: tenfold fit ... --resume")
    if folder.suffix == ".part" and (folder / LOCK).exists():
        return RunError(
            f"{path} is what a run has left that has not finished",
            fix=f"go on with it: tenfold fit ... -o {Path(path).with_suffix('')} --resume",
        )
    what = "is a file, not a run" if folder.is_file() else "does not exist"
    what = "holds no run" if folder.is_dir() else what
    old = folder.with_name(f"{folder.name}.old")
    found = f"{old} holds the run that was there before" if (old / DESCRIBED).exists() else ""
    fix = "give the folder that tenfold fit -o made"
    near = "" if folder.exists() else _near_run(Path(path))
    return RunError(f"{path} {what}", found=found, fix=f"{fix}; {near}" if near else fix)


def _near_run(folder: Path) -> str:
    """Suggest a run for a folder that does not exist: one beside it, or of its name in ``runs``."""
    usual = Path("runs", folder.name)
    if (usual / DESCRIBED).is_file():
        return f"did you mean '{usual}'?"
    beside: list[Path] = []
    with suppress(OSError):
        # A mistyped parent is as likely.
        inside = folder.parent.is_dir()
        others = sorted((folder.parent if inside else folder.parent.parent).iterdir())
        beside = [path if inside else path / folder.name for path in others]
    return did_you_mean(str(folder), [str(path) for path in beside if (path / DESCRIBED).is_file()])


def read_text(folder: Path, name: str) -> str:
    """Read a text file of a run; RunError where it cannot be read."""
    try:
        return (folder / name).read_bytes().decode("utf-8", "surrogateescape").replace("\r\n", "\n")
    except OSError as error:
        raise RunError(
            f"{folder / name} cannot be read: {error.strerror}", fix="copy the run again"
        ) from None


def read_object(folder: Path, name: str) -> dict[str, Any]:
    """Read a JSON object of a run; RunError where the file is damaged."""
    with suppress(ValueError, RecursionError):
        if isinstance(about := json.loads(read_text(folder, name)), dict):
            return about
    raise RunError(f"{folder / name} is damaged", found="it is not a JSON object", fix="copy the run again")


def differences(before: Mapping[str, object], now: Mapping[str, object], prefix: str = "") -> list[str]:
    """The differences between two descriptions of a training, each as ``name: before -> now``."""
    changed = []
    for name in sorted({*before, *now}):
        old, new = before.get(name), now.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            changed += differences(old, new, f"{prefix}{name}.")
        elif old != new:
            changed.append(f"{prefix}{name}: {_brief(old)} -> {_brief(new)}")
    return changed


def _brief(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def read_arrays(path: Path, *, beginning: str = "") -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Read arrays and their JSON description from a safetensors file. Cannot run code.

    beginning: of the names of the wanted arrays.  Raises RunError where the file is damaged or not of the
    format.
    """
    arrays, text = _read_arrays(path, beginning)
    try:
        about = json.loads(text)
    except (ValueError, RecursionError):
        about = None
    if not isinstance(about, dict):
        raise _no_tensors(path, "its description is not JSON")
    return arrays, about


def read_shapes(path: Path) -> dict[str, list[int]]:
    """Read the shape of each array of a safetensors file, not its values. RunError where it is damaged."""
    try:
        with safe_open(path, framework="numpy") as stream:
            return {name: stream.get_slice(name).get_shape() for name in sorted(stream.keys())}
    except (SafetensorError, OSError) as error:
        raise _no_tensors(path, str(error)) from None


def _read_arrays(path: Path, beginning: str = "") -> tuple[dict[str, NDArray[Any]], str]:
    """Arrays and the text of their description. RunError where the file is damaged."""
    try:
        with safe_open(path, framework="numpy") as stream:
            text = (stream.metadata() or {}).get("about", "{}")
            wanted = [name for name in stream.keys() if name.startswith(beginning)]
            return {name: stream.get_tensor(name) for name in wanted}, text
    except (SafetensorError, ValueError, TypeError, LookupError, AttributeError, OSError) as error:
        raise _no_tensors(path, str(error)) from None


def _no_tensors(path: Path, why: str) -> RunError:
    return RunError(
        f"{path} is damaged, or is not a tensor file: {why}",
        fix="copy it again; files that hold code are never loaded",
    )


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
