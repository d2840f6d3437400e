"""A folder of many runs: its own files, and its members, which stay when it changes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tenfold.errors import RunError
from tenfold.runs.described import read_description
from tenfold.runs.folder import RunFolder, file_digest, read_object, read_run
from tenfold.runs.place import DESCRIBED, LOCK, PAGE, drop_temporaries, find_paths, lock_folder, other_files
from tenfold.runs.record import RunRecord, nan_to_none
from tenfold.runs.registry import open_run
from tenfold.runs.run import AnyRun, Member
from tenfold.values import TargetScores

#: Files of the bundle itself.
OWN = ("schema.toml", "oof.parquet")
#: Folder of the output of members that failed.
LOGS = "logs"
#: The kind of a bundle in ``run.json``.
KIND = "blend"


def begin_bundle(path: str | os.PathLike[str]) -> tuple[RunFolder, RunRecord]:
    """Open a bundle for writing; returns it and its record, which is empty where it is new.

    Raises RunError where the folder holds other files, is in use, or cannot be written.
    """
    paths = find_paths(path)
    final = paths.final
    record = _read_record(final)
    others = other_files(final, (LOCK,)) if final.is_dir() else []
    if others and record.kind != KIND and not _begun(final, others):
        what = f"a run of kind {record.kind!r}" if record.kind else "a folder with other files in it"
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
            f"{path} cannot be written: {error.strerror}", fix="give another folder with -o"
        ) from None
    return RunFolder(paths.named, final, lock), record


@contextmanager
def making_bundle(path: str | os.PathLike[str]) -> Iterator[tuple[RunFolder, RunRecord]]:
    """A bundle to work on, and its record. Where nothing was begun, nothing is left.

    A KeyboardInterrupt carries a note on what is kept. Raises as `begin_bundle`.
    """
    made = not os.path.lexists(path)
    folder, record = begin_bundle(path)
    try:
        yield folder, record
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
        (final / LOGS).rmdir()  # unless it holds the output of a failed member
        drop_temporaries(final)
    if final.is_dir() and not other_files(final, (LOCK,)):
        with suppress(OSError):
            (final / LOCK).unlink()
            if made:
                final.rmdir()


def _begun(final: Path, others: Sequence[str]) -> bool:
    """Whether a folder holds only files that a bundle has before its description."""
    logs = final / LOGS
    printed = not logs.is_dir() or all(log.suffix == ".txt" for log in logs.iterdir())
    first = {LOGS} if not (final / LOCK).exists() else {LOGS, *OWN}
    return set(others) <= first and printed


def _read_record(folder: Path) -> RunRecord:
    """The record of a folder; only the kind of a damaged one, whose rest is made again."""
    file = folder / DESCRIBED
    if not file.exists():
        return RunRecord({})
    try:
        return read_description(file, folder)
    except RunError:
        kind = KIND if (folder / "members").is_dir() else ""
        with suppress(RunError, KeyError):
            kind = str(read_object(folder, DESCRIBED)["kind"])
        return RunRecord({"kind": kind})


def describe_bundle(folder: RunFolder, about: Mapping[str, object]) -> RunRecord:
    """Write ``run.json``, whole or not at all, with checksums of the bundle's own files.

    The page of the earlier bundle is removed first, so that a page always fits its ``run.json``.
    """
    folder.file(PAGE).unlink(missing_ok=True)
    files = {name: file_digest(folder.file(name)) for name in OWN if folder.file(name).exists()}
    return folder.describe({"kind": KIND, **about}, files)


def describe_member(
    folder: RunFolder,
    name: str,
    weight: float,
    paths: Sequence[Path],
    *,
    scores: TargetScores,
    seconds: float = 0.0,
    peak_bytes: int = 0,
    status: str = "finished",
    **more: object,
) -> dict[str, object]:
    """A member for ``run.json``; see `MemberRecord`. paths: of its runs, a run per fold."""
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
    """A finished member of a bundle. runs: folder and record of each run, a run per fold."""

    name: str
    weight: float
    runs: tuple[tuple[Path, RunRecord], ...]


def read_members(folder: Path, record: RunRecord) -> list[KeptMember]:
    """Return the finished members; every file of their runs is checked against its checksum.

    Raises RunError with every member that is missing, damaged, or has changed since it was blended.
    """
    members, problems = [], []
    for member in record.members:
        if not member.is_finished:
            continue
        runs = []
        for kept in member.runs:
            try:
                runs.append(read_run(folder / kept["path"]))
                path = runs[-1][0]
                if kept["sha256"] and file_digest(path / DESCRIBED) != kept["sha256"]:
                    raise RunError(f"{path} has changed since it was blended", fix="blend it again")
            except RunError as error:
                problems.append(f"{member.name}: {error.headline}")
        members.append(KeptMember(member.name, member.weight, tuple(runs)))
    if problems:
        raise RunError(f"{folder} lacks members", problems=problems, fix="make it again, or blend the others")
    return members


def open_members(folder: Path, record: RunRecord, of: type[AnyRun], words: str) -> tuple[Member[AnyRun], ...]:
    """Return the finished members, opened and checked.

    of: the class of their runs.  words: its name in messages.  Raises RunError for other runs, too.
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
