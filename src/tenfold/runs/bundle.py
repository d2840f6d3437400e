"""A folder of many runs: its own files, and beside them its members, which stay when it changes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tenfold.errors import RunError
from tenfold.runs.described import FORMAT, package_versions, read_description
from tenfold.runs.folder import RunFolder, described_text, file_digest, nan_to_none, read_run
from tenfold.runs.place import DESCRIBED, LOCK, PAGE, drop_temporaries, find_place, lock_folder, other_files
from tenfold.runs.record import RunRecord
from tenfold.runs.registry import open_run
from tenfold.runs.run import AnyRun, Member

#: Files of the bundle itself.
OWN = ("schema.toml", "oof.parquet")
#: Folder of what members printed that failed.
LOGS = "logs"
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
    if others and about.get("kind") != KIND and not _begun(final, others):
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


@contextmanager
def making_bundle(path: str | os.PathLike[str]) -> Iterator[tuple[RunFolder, dict[str, Any]]]:
    """A bundle to work on, and what its ``run.json`` says. Where nothing was begun, nothing is left.

    A Ctrl-C carries a note on what is kept. Raises as `begin_bundle`.
    """
    made = not os.path.lexists(path)
    folder, about = begin_bundle(path)
    try:
        yield folder, about
    except KeyboardInterrupt as stop:
        begun = folder.file(DESCRIBED).exists()
        stop.add_note("run the same command again: it goes on where it was" if begun else "nothing was kept")
        for printed in () if begun else folder.file(LOGS).glob("*.txt"):
            printed.unlink()
        raise
    finally:
        _leave(folder.path, made)
        folder.close()


def _leave(final: Path, made: bool) -> None:
    with suppress(OSError):
        (final / LOGS).rmdir()  # what a failed member printed is kept
        drop_temporaries(final)
    if final.is_dir() and not other_files(final, (LOCK,)):
        with suppress(OSError):
            (final / LOCK).unlink()
            if made:
                final.rmdir()


def _begun(final: Path, others: Sequence[str]) -> bool:
    """Whether a folder holds no more than what is written of a bundle before its description."""
    logs = final / LOGS
    printed = not logs.is_dir() or all(one.suffix == ".txt" for one in logs.iterdir())
    first = {LOGS} if not (final / LOCK).exists() else {LOGS, *OWN}
    return set(others) <= first and printed


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


def describe_bundle(folder: RunFolder, about: Mapping[str, Any]) -> RunRecord:
    """Write ``run.json``, whole or not at all, with checksums of the bundle's own files that there are.

    The page of what the bundle was before goes first: a page that is there is of what ``run.json`` says.
    """
    folder.file(PAGE).unlink(missing_ok=True)
    there = [name for name in OWN if folder.file(name).exists()]
    described = {
        "format": FORMAT,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": package_versions(),
        "kind": KIND,
        **about,
        "files": {name: file_digest(folder.file(name)) for name in there},
    }
    text = described_text(described)
    folder.write_text(DESCRIBED, text)
    return RunRecord(json.loads(text))


def describe_member(
    folder: RunFolder,
    name: str,
    weight: float,
    paths: Sequence[Path],
    *,
    scores: Mapping[str, Any],
    seconds: float = 0.0,
    peak_bytes: int = 0,
    status: str = "finished",
    **more: Any,
) -> dict[str, Any]:
    """What ``run.json`` says of a member; see `MemberRecord`. paths: of its runs, one a fold."""
    runs = [
        {
            "path": Path(os.path.relpath(path, folder.path)).as_posix(),
            "sha256": file_digest(path / DESCRIBED),
        }
        for path in paths
    ]
    about = {"name": name, "weight": weight, "status": status, **more, "runs": runs}
    return {**about, "scores": nan_to_none(scores), "seconds": seconds, "peak_bytes": peak_bytes}


@dataclass(frozen=True)
class KeptMember:
    """A member of a bundle that has finished.

    runs: folder and record of each of its runs, one a fold.
    """

    name: str
    weight: float
    runs: tuple[tuple[Path, RunRecord], ...]


def read_members(folder: Path, record: RunRecord) -> list[KeptMember]:
    """The members that have finished, every file of their runs checked against its sum.

    Raises RunError that names every member that is missing, damaged, or not the one that was blended.
    """
    members, problems = [], []
    for member in record.members:
        if not member.is_finished:
            continue
        runs = []
        for kept in member.runs:
            try:
                path, about = read_run(folder / kept["path"])
                if kept["sha256"] and file_digest(path / DESCRIBED) != kept["sha256"]:
                    raise RunError(f"{path} has changed since it was blended", fix="blend it again")
                runs.append((path, RunRecord(about)))
            except RunError as error:
                problems.append(f"{member.name}: {error.headline}")
        members.append(KeptMember(member.name, member.weight, tuple(runs)))
    if problems:
        raise RunError(f"{folder} lacks members", problems=problems, fix="make it again, or blend the others")
    return members


def open_members(folder: Path, record: RunRecord, of: type[AnyRun], words: str) -> tuple[Member[AnyRun], ...]:
    """The members that have finished, opened and checked.

    of: the class of their runs, in words: ``words``.  Raises RunError for runs of other classes, too.
    """
    members = []
    for kept in read_members(folder, record):
        runs = []
        for path, own in kept.runs:
            run = open_run(path, own)
            if not isinstance(run, of):
                raise RunError(f"{path} is not {words}", fix="blend runs of one kind")
            runs.append(run)
        members.append(Member(kept.name, kept.weight, tuple(runs)))
    return tuple(members)
