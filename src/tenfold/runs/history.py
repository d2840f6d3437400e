"""The history of runs: a line each, kept beside the runs and only added to; and what each change gained."""

from __future__ import annotations

import errno
import json
import math
import os
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from tenfold.errors import RunError, did_you_mean
from tenfold.runs.described import (
    Kind,
    is_count,
    is_number,
    is_scores,
    is_table,
    is_text,
    list_of,
    misfits,
    package_versions,
    read_description,
    sum_of,
)
from tenfold.runs.folder import differences, file_digest, holds_run, read_object
from tenfold.runs.record import RunRecord, nan_to_none
from tenfold.targets.words import primary_score
from tenfold.values import Log, Scores, TargetScores

#: The history of all runs in a folder.
FILE = ".tenfold-runs.jsonl"
#: The key of the sum over a line's other values. Earlier versions wrote none.
SUM = "sum"
#: Fields of a recipe that explain no gain.
_QUIET = ("seed", "split_seed")
#: Most names that only one of two descriptions has that are listed singly.
ONE_SIDED = 4

#: Keys of a line, and what each value is.
_TYPES: dict[str, Kind] = {
    **dict.fromkeys(
        ("event", "run", "digest", "finished", "kind", "data", "version", "scored"), ("a text", is_text)
    ),
    **dict.fromkeys(("file", "sha256", "like", "when"), ("a text", is_text)),
    "recipe": ("a table", is_table),
    "targets": ("scores by target", is_scores),
    "seconds": ("a number", is_number),
    "peak_bytes": ("a whole number", is_count),
    "members": ("names", list_of(is_text)),
    "value": ("a number", is_number),
}
#: Keys that cannot be missing, by kind of line.
_NEEDED = {
    "run": ("finished", "kind", "data", "recipe", "version", "targets", "seconds", "peak_bytes"),
    "score": ("value",),
    "submission": ("file", "sha256", "when"),
}


def _silent(note: str) -> None:
    """Drop a note."""


@dataclass(frozen=True)
class Recorded:
    """A run, as it was when it finished.

    run: its folder's name.  digest: of its ``run.json``.  finished: UTC, ISO 8601.
    data: fingerprint of rows, labels, pictures and split.  recipe: all settings.  version: of tenfold.
    targets: target -> scores on the held-out rows.  score: `main_score` of these; NaN without any.
    parent: the last run before it with the same targets, rows and split; else the last with the same targets;
        or "".  changed: the differences from it.
    gain: the parent's score minus this one; NaN where either is missing, or rows or split differ.
    leaderboard: scores that were added by hand.  submissions: files that it made.  there: false where its
        folder is gone, or holds a later run.
    scored: fingerprint of row names, labels and split alone, "" for older runs.
    """

    run: str
    digest: str
    finished: str
    kind: str
    data: str
    recipe: Mapping[str, object]
    version: str
    targets: TargetScores
    score: float
    seconds: float
    peak_bytes: int
    members: tuple[str, ...] = ()
    parent: str = ""
    changed: tuple[str, ...] = ()
    gain: float = math.nan
    leaderboard: tuple[float, ...] = ()
    submissions: tuple[Mapping[str, str], ...] = ()
    there: bool = True
    scored: str = ""

    def record(self) -> dict[str, object]:
        """The run as ``tenfold runs --json`` prints it (docs/formats.md)."""
        return {
            **{name: value for name, value in vars(self).items() if name != "recipe"},
            "seed": self.recipe.get("seed"),
            "recipe": dict(self.recipe),
        }


#: Fields of a run in a line of the history, in their order.
_WRITTEN = ("run", "digest", "finished", "kind", "data", "scored", "recipe", "version", "targets", "seconds")
_WRITTEN += ("peak_bytes", "members")


class Submission(TypedDict):
    """A line of the history about a file of predictions. members: of the ensemble that made it."""

    run: str
    digest: str
    file: str
    sha256: str
    when: str
    members: NotRequired[list[str]]


@dataclass
class _Lines:
    """The lines of a history. runs, scores and submissions by the digest of the run."""

    runs: dict[str, Recorded] = field(default_factory=dict)
    scores: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    submissions: defaultdict[str, list[Submission]] = field(default_factory=lambda: defaultdict(list))


# --- writing -----------------------------------------------------------------------------------------


def record_run(path: str | os.PathLike[str]) -> list[str]:
    """Add a finished run to the history beside it; returns notes if that fails."""
    folder = Path(path).absolute()
    run = _read_finished(folder)
    if run is None or run.digest in _read_lines(folder.parent).runs:
        return []
    line = {name: getattr(run, name) for name in _WRITTEN}
    return _append(folder.parent, {"event": "run", **line, "code": package_versions().get("tenfold", "")})


def record_score(path: str | os.PathLike[str], value: float) -> str:
    """Add a score from a leaderboard to a run; returns a message. RunError where there is no run."""
    folder = Path(path).absolute()
    run = _read_finished(folder)
    known = {own.run: own.digest for own in _read_lines(folder.parent).runs.values()}
    if run is None and folder.name not in known:
        raise RunError(f"{path} is not a run", fix=did_you_mean(folder.name, known) or "give a run's folder")
    if not math.isfinite(value):
        raise RunError(f"{value} is not a score", fix="give the number that the leaderboard shows")
    if run is not None:
        record_run(folder)
    digest = known[folder.name] if run is None else run.digest
    line = {"event": "score", "run": folder.name, "digest": digest, "value": value, "when": _now()}
    if notes := _append(folder.parent, line):
        raise RunError(notes[0], fix="give a folder that you may write to")
    return f"{folder.name}: leaderboard {value:g}"


def record_submission(
    path: str | os.PathLike[str], file: str | os.PathLike[str], *, like: str = ""
) -> list[str]:
    """Tie a file of predictions to the run that made it, by the file's checksum; returns notes."""
    folder = Path(path).absolute()
    run = _read_finished(folder)
    made = Path(file)
    if run is None or not made.is_file():
        return []
    record_run(folder)
    line = {
        "event": "submission",
        "run": folder.name,
        "digest": run.digest,
        "file": str(made.absolute()),
        "sha256": file_digest(made),
        "like": like,
        "members": run.members,
        "when": _now(),
    }
    return _append(folder.parent, line)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _append(folder: Path, line: Mapping[str, object]) -> list[str]:
    # The sum is over the values as they will be read, whatever this system's encoding made of names.
    bare = json.dumps(nan_to_none(line), default=str, ensure_ascii=False)
    plain = json.loads(bare.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape"))
    text = json.dumps({**plain, SUM: sum_of(plain)}, ensure_ascii=False) + "\n"
    try:
        _add_line(folder / FILE, text.encode("utf-8", "surrogateescape"))
    except OSError as error:
        return [f"the history {folder / FILE} cannot be written: {error.strerror or error}"]
    return []


def _add_line(file: Path, line: bytes) -> None:
    """Add a line, wholly or not at all; after one that was cut off it begins a new one."""
    handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o666)
    try:
        if sys.platform != "win32":
            import fcntl

            with suppress(OSError):  # a file system without locks
                fcntl.flock(handle, fcntl.LOCK_EX)
        size = os.lseek(handle, 0, os.SEEK_END)
        if size:
            os.lseek(handle, -1, os.SEEK_END)
            line = line if os.read(handle, 1) == b"\n" else b"\n" + line
        # One write in append mode: two processes that finish together do not mix their lines.
        if os.write(handle, line) < len(line):
            os.ftruncate(handle, size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(handle)
    finally:
        os.close(handle)


def _read_finished(folder: Path, tell: Log = _silent, *, known: bool = False) -> Recorded | None:
    """Read a finished run from its folder; None where it is missing or damaged.

    tell: told of a damaged run.  known: whether the history has a run of this name.
    """
    path = folder / "run.json"
    try:
        record = read_description(path, folder)
        digest = file_digest(path)
    except (RunError, OSError) as error:
        if path.exists() and (known or holds_run(folder) or (folder / "members").is_dir()):
            what = "is listed as it was when it finished" if known else "is left out"
            tell(f"{folder.name} {what}: {getattr(error, 'headline', error)}")
        return None
    # The scores of single classes are left out.
    targets = {
        target: {name: value for name, value in scores.items() if name not in ("labels", "known")}
        for target, scores in record.values.get("targets", {}).items()
    }
    data, scored = _scored_on(folder, record)
    return Recorded(
        run=folder.name,
        digest=digest,
        finished=record.finished,
        kind=record.kind,
        data=data,
        recipe=record.recipe or record.identity.get("recipe", {}),
        version=record.versions.get("tenfold", ""),
        targets=targets,
        score=main_score(targets),
        seconds=record.seconds,
        peak_bytes=record.peak_bytes,
        members=tuple(member.name for member in record.members if member.status == "finished"),
        scored=scored,
    )


def _scored_on(folder: Path, record: RunRecord) -> tuple[str, str]:
    """Fingerprints of the data that a run was trained and scored on; of an ensemble those of its members."""
    if record.kind != "blend":
        data = record.identity.get("data") or record.identity.get("ratings")
        return str(data or ""), str(record.fingerprint.get("scored") or "")
    prints: list[tuple[str, str]] = []
    for run in [run for member in record.members for run in member.runs]:
        try:
            own = RunRecord(read_object(folder / run["path"], "run.json"))
            # What was made of other members' weights has no data of its own.
            prints += [_scored_on(folder, own)] if own.identity else []
        except (RunError, KeyError, TypeError, AttributeError):
            prints.append(("", ""))
    data, scored = (set(own) for own in zip(*prints, strict=True)) if prints else (set(), set())
    return _joined(data), _joined(scored)


def _joined(prints: set[str]) -> str:
    return "" if "" in prints else "+".join(sorted(prints))


# --- reading -----------------------------------------------------------------------------------------


def read_history(folder: str | os.PathLike[str], *, on_note: Log | None = None) -> tuple[Recorded, ...]:
    """Read all runs of a folder, best first; of equal scores the earlier first.

    Runs without a line, such as copied ones, are read from their folders. Runs with other targets cannot be
    compared: those of the most runs come first.
    on_note: told of lines and runs that cannot be read, and are left out.
    Raises RunError where there is no such folder.
    """
    path = Path(folder)
    if not path.is_dir():
        raise RunError(f"there is no folder {folder}", fix="give the folder that holds your runs")
    tell = on_note or _silent
    lines = _read_lines(path, tell)
    runs = dict(lines.runs)
    folders: dict[str, list[str]] = {}
    names = {run.run for run in runs.values()}
    for entry in sorted(path.iterdir()):
        run = _read_finished(entry, tell, known=entry.name in names) if entry.is_dir() else None
        if run is not None:
            runs.setdefault(run.digest, run)
            folders.setdefault(run.digest, []).append(run.run)
    for digest, own in folders.items():
        # A run that was moved is called what its folder is called now.
        name = runs[digest].run
        runs[digest] = replace(runs[digest], there=True, run=name if name in own else own[0])
    recorded: list[Recorded] = []
    for run in sorted(runs.values(), key=lambda run: run.finished):
        recorded.append(_compared(run, _parent_of(run, recorded), lines))
    groups = [_group(run.targets) for run in recorded]
    scored = {group for group, run in zip(groups, recorded, strict=True) if not math.isnan(run.score)}

    def rank(run: Recorded) -> tuple[bool, int, tuple[tuple[str, str], ...], bool, float, str]:
        group, nan = _group(run.targets), math.isnan(run.score)
        return group not in scored, -groups.count(group), group, nan, run.score, run.finished

    return tuple(sorted(recorded, key=rank))


def _read_lines(folder: Path, tell: Log = _silent) -> _Lines:
    """Read the history's lines; a line that was cut off, or is damaged, is left out, and `tell` is told."""
    try:
        text = (folder / FILE).read_bytes().decode("utf-8", "surrogateescape")
    except OSError:
        return _Lines()
    lines = _Lines()
    # Not splitlines, which cuts at characters that a name may hold.
    for number, cells in enumerate(text.split("\n"), 1):
        if not cells.strip():
            continue
        line: Any = None
        try:
            line = json.loads(cells)
            faults = _faults_of(line)
        except (ValueError, RecursionError):
            faults = ["it is not whole"]
        if faults:
            tell(f"{folder / FILE}, line {number}, is left out: {'; '.join(faults[:3])}")
        elif line["event"] == "run":
            own = {name: line[name] for name in _WRITTEN if name in line}
            own |= {"members": tuple(line.get("members", ())), "score": main_score(line["targets"])}
            lines.runs[line["digest"]] = Recorded(**own, there=False)
        elif line["event"] == "score":
            lines.scores[line["digest"]].append(line["value"])
        elif line["event"] == "submission":
            lines.submissions[line["digest"]].append(line)
    return lines


def _parent_of(run: Recorded, before: Sequence[Recorded]) -> Recorded | None:
    """The run that it started from; else the last with the same targets, rows and split, or with the same
    targets."""
    start = str(run.recipe.get("start") or "")
    for other in before if start else ():
        if Path(other.run).name == Path(start).name:
            return other
    rivals = [other for other in before if _group(other.targets) == _group(run.targets)]
    same = [other for other in rivals if _comparable(other, run)]
    # A run without scores is not compared with one of another table.
    scored = [other for other in rivals if not math.isnan(other.score)] if run.targets else []
    return (same or scored or [None])[-1]


def _comparable(other: Recorded, run: Recorded) -> bool:
    """Whether two runs trained and were scored on the same rows with the same labels."""
    if other.scored and run.scored:
        return other.scored == run.scored
    return bool(other.data) and other.data == run.data


def _faults_of(line: object) -> list[str]:
    if not isinstance(line, dict):
        return ["it is not a JSON object"]
    if SUM in line and line[SUM] != sum_of({name: value for name, value in line.items() if name != SUM}):
        return ["its values do not have the sum that stands in it"]
    faults = misfits(line, _TYPES, ("event", "run", "digest"))
    return faults or misfits(line, {}, _NEEDED.get(line["event"], ()))


def _gathered(changed: Sequence[str]) -> list[str]:
    """The changes; more than a few names that only one of two descriptions has are only counted."""
    one_sided = [line for line in changed if line.endswith(" -> null") or ": null -> " in line]
    if len(one_sided) <= ONE_SIDED:
        return list(changed)
    both = [line for line in changed if line not in one_sided]
    return [*both, f"{len(one_sided)} fields that one of them lacks"]


def _compared(run: Recorded, parent: Recorded | None, lines: _Lines) -> Recorded:
    """The run with its parent, the differences from it, and what was added to it later."""
    run = replace(
        run,
        leaderboard=tuple(lines.scores[run.digest]),
        submissions=tuple(
            {"file": line["file"], "sha256": line["sha256"], "when": line["when"]}
            for line in lines.submissions[run.digest]
        ),
    )
    if parent is None:
        return run
    changed = _gathered(differences(_loud(parent.recipe), _loud(run.recipe))) + _other_data(parent, run)
    if parent.version != run.version:
        changed.append(f"tenfold {parent.version} -> {run.version}")
    changed = changed or _gathered(differences(parent.recipe, run.recipe)) or ["nothing"]
    gain = parent.score - run.score if _comparable(parent, run) else math.nan
    return replace(run, parent=parent.run, changed=tuple(changed), gain=gain)


def _other_data(parent: Recorded, run: Recorded) -> list[str]:
    """How the data of two runs differ, as far as it is known."""
    if parent.scored and run.scored:
        if parent.scored != run.scored:
            return ["other rows, labels or split: no gain can be told"]
        return [] if parent.data == run.data else ["other columns, pictures or side tables"]
    if not parent.data or not run.data:
        return ["nothing is known of the data of one of them: no gain can be told"]
    other = "other rows, labels, columns, pictures, side tables or split: no gain can be told"
    return [] if parent.data == run.data else [other]


def _loud(recipe: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in recipe.items() if name not in _QUIET}


def main_score(targets: TargetScores) -> float:
    """The mean over targets of their primary losses, of which less is better; NaN without any.

    For classes the error rate, for tags 1 - micro F1, for numbers the RMSE relative to that of always
    predicting the mean, for ratings the RMSE, and for lists 1 - NDCG.
    """
    losses = [value for _, value in map(_primary_loss, targets.values()) if value is not None]
    return sum(losses) / len(losses) if losses else math.nan


def _group(targets: TargetScores) -> tuple[tuple[str, str], ...]:
    """Targets and the name of their primary loss: only runs that share them can be compared."""
    return tuple(sorted((name, _primary_loss(scores)[0]) for name, scores in targets.items()))


def _primary_loss(scores: Scores) -> tuple[str, float | None]:
    """The name of a target's primary loss, and its value."""
    word, value = primary_score(scores)
    if word:
        return word, value
    lists = scores.get("lists")
    ndcg = lists.get("ndcg") if isinstance(lists, Mapping) else None
    return ("NDCG", 1 - ndcg) if isinstance(ndcg, int | float) and math.isfinite(ndcg) else ("", None)


def find_maker(file: str | os.PathLike[str], folder: str | os.PathLike[str]) -> list[Submission]:
    """Find which runs of a folder made a file of predictions, by its checksum. RunError where none did."""
    path = Path(file)
    if not path.is_file():
        raise RunError(f"there is no file {file}", fix="give a file that tenfold predict wrote")
    digest = file_digest(path)
    lines = _read_lines(Path(folder)).submissions.values()
    makers = [line for own in lines for line in own if line["sha256"] == digest]
    if not makers:
        raise RunError(
            f"no run in {folder} has made {file}, as it is now",
            fix="give the folder that holds its run, or write it again with tenfold predict",
        )
    return makers
