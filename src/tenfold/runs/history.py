"""What was run, one line each, and what each change gave: kept beside the runs, and never taken back."""

from __future__ import annotations

import errno
import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tenfold.errors import RunError, did_you_mean
from tenfold.runs.described import (
    Kind,
    is_count,
    is_number,
    is_scores,
    is_text,
    list_of,
    misfits,
    package_versions,
    read_description,
    sum_of,
    table_of,
)
from tenfold.runs.folder import differences, file_digest, holds_run, nan_to_none
from tenfold.targets.words import primary_score
from tenfold.values import Log

#: The history of all runs in a folder.
FILE = ".tenfold-runs.jsonl"
#: The name in a line of the sum over the line's other values. Earlier versions wrote none.
SUM = "sum"
#: Fields of a recipe that say where something lies, or what is drawn, and so explain no gain.
_QUIET = ("seed", "split_seed")
#: Names that only one of two descriptions has, up to which each is told.
ONE_SIDED = 4

#: What a line may hold, and what each value is.
_TYPES: dict[str, Kind] = {
    **dict.fromkeys(
        ("event", "run", "digest", "finished", "kind", "data", "version", "scored"), ("a text", is_text)
    ),
    **dict.fromkeys(("file", "sha256", "like", "when"), ("a text", is_text)),
    "recipe": ("a table", table_of(lambda value: True)),
    "targets": ("scores by target", is_scores),
    "seconds": ("a number", is_number),
    "peak_bytes": ("a whole number", is_count),
    "members": ("names", list_of(is_text)),
    "value": ("a number", is_number),
}
#: What a line of each kind cannot do without.
_NEEDED = {
    "run": ("finished", "kind", "data", "recipe", "version", "targets", "seconds", "peak_bytes"),
    "score": ("value",),
    "submission": ("file", "sha256", "when"),
}


def _silent(note: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Recorded:
    """One run, as it was when it finished.

    run: its folder's name.  digest: of its ``run.json``.  finished: UTC, ISO 8601.
    data: fingerprint of rows, labels, pictures and split.  scored: of rows by name, labels and split alone,
    "" of runs that were written without.  recipe: all settings.  version: of tenfold.
    targets: target -> scores on the held-out rows.  score: one figure for them, of which less is better; NaN.
    parent: the last run before it with the same targets, rows and split; where there is none, the last
    with the same targets; or "".  changed: what differs from it.
    gain: how much less its score is than its parent's; NaN where that has no score, or other rows or another
    split, with which no score can be compared.
    leaderboard: scores that were added by hand.  submissions: files that it made.  there: false where its
        folder is gone, or holds a later run.
    """

    run: str
    digest: str
    finished: str
    kind: str
    data: str
    recipe: Mapping[str, Any]
    version: str
    targets: Mapping[str, Mapping[str, Any]]
    score: float
    seconds: float
    peak_bytes: int
    members: tuple[str, ...] = ()
    parent: str = ""
    changed: tuple[str, ...] = ()
    gain: float = math.nan
    leaderboard: tuple[float, ...] = ()
    submissions: tuple[Mapping[str, Any], ...] = ()
    there: bool = True
    scored: str = ""

    def record(self) -> dict[str, Any]:
        """As ``tenfold runs --json`` prints it (docs/formats.md)."""
        return {
            **{name: value for name, value in vars(self).items() if name != "recipe"},
            "seed": self.recipe.get("seed"),
            "recipe": dict(self.recipe),
        }


# --- writing -----------------------------------------------------------------------------------------


def record_run(path: str | os.PathLike[str]) -> list[str]:
    """Add a finished run to the history beside it; returns notes where that could not be done."""
    folder = Path(path).absolute()
    found = _described(folder)
    known = {one.get("digest") for one in _lines(folder.parent) if one["event"] == "run"}
    if found is None or found["digest"] in known:
        return []
    return _append(folder.parent, {"event": "run", **found})


def record_score(path: str | os.PathLike[str], value: float) -> str:
    """Add a score from a leaderboard to a run; returns a message. RunError where there is no run."""
    folder = Path(path).absolute()
    found = _described(folder)
    known = [one for one in _lines(folder.parent) if one["event"] == "run"]
    own = [one for one in known if one["run"] == folder.name]
    if found is None and not own:
        names = [one["run"] for one in known]
        raise RunError(f"{path} is no run", fix=did_you_mean(folder.name, names) or "give a run's folder")
    if not math.isfinite(value):
        raise RunError(f"{value} is no score", fix="give the number that the leaderboard shows")
    digest = found["digest"] if found is not None else own[-1]["digest"]
    if found is not None:
        record_run(folder)
    notes = _append(
        folder.parent,
        {"event": "score", "run": folder.name, "digest": digest, "value": value, "when": _now()},
    )
    if notes:
        raise RunError(notes[0], fix="give a folder that you may write to")
    return f"{folder.name}: leaderboard {value:g}"


def record_submission(
    path: str | os.PathLike[str], file: str | os.PathLike[str], *, like: str = ""
) -> list[str]:
    """Tie a file of predictions to the run that made it, by the file's checksum; returns notes."""
    folder = Path(path).absolute()
    found = _described(folder)
    made = Path(file)
    if found is None or not made.is_file():
        return []
    record_run(folder)
    line = {
        "event": "submission",
        "run": folder.name,
        "digest": found["digest"],
        "file": str(made.absolute()),
        "sha256": file_digest(made),
        "like": like,
        "members": found["members"],
        "when": _now(),
    }
    return _append(folder.parent, line)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _append(folder: Path, line: Mapping[str, Any]) -> list[str]:
    # As it will be read, whatever this system's encoding made of names: the sum is over that.
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


def _described(folder: Path, tell: Log = _silent, *, known: bool = False) -> dict[str, Any] | None:
    """What a run's ``run.json`` says of it, in the history's words; None where there is none.

    tell: told of one that is damaged.  known: whether there has been a run of this name.
    """
    path = folder / "run.json"
    try:
        about = read_description(path, folder)
        kind, digest = about["kind"], file_digest(path)
    except (RunError, OSError, KeyError) as error:
        if path.exists() and (known or holds_run(folder) or (folder / "members").is_dir()):
            what = "is listed as it was when it finished" if known else "is left out"
            tell(f"{folder.name} {what}: {getattr(error, 'headline', error)}")
        return None
    identity = about.get("identity", {})
    recipe = about.get("recipe") or identity.get("recipe", {})
    members = [one["name"] for one in about.get("members", ()) if one.get("status") == "finished"]
    return {
        "run": folder.name,
        "digest": digest,
        "finished": about.get("finished", ""),
        "kind": kind,
        **_scored_on(folder, about),
        "recipe": recipe,
        "version": about.get("versions", {}).get("tenfold", ""),
        "code": package_versions().get("tenfold", ""),
        "targets": {name: _short(scores) for name, scores in about.get("targets", {}).items()},
        "seconds": about.get("seconds", 0.0),
        "peak_bytes": about.get("peak_bytes", 0),
        "members": members,
    }


def _scored_on(folder: Path, about: Mapping[str, Any]) -> dict[str, str]:
    """Fingerprints of what a run was trained and scored on; of many runs those of its members together."""
    if about["kind"] != "blend":
        identity, known = about.get("identity", {}), about.get("fingerprint", {})
        data = identity.get("data") or identity.get("ratings")
        return {"data": str(data or ""), "scored": str(known.get("scored") or "")}
    found: dict[str, set[str]] = {"data": set(), "scored": set()}
    for one in [run for member in about.get("members", ()) for run in member.get("runs", ())]:
        try:
            told = json.loads((folder / one["path"] / "run.json").read_text("utf-8"))
            for name, value in _scored_on(folder, told).items():
                # What was made of other members' weights has no data of its own.
                found[name] |= {value} if told.get("identity") else set()
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            found = {name: {*values, ""} for name, values in found.items()}
    return {name: "" if "" in values else "+".join(sorted(values)) for name, values in found.items()}


def _short(scores: Mapping[str, Any]) -> dict[str, Any]:
    """Scores without what is told class by class."""
    return {name: value for name, value in scores.items() if name not in ("labels", "known")}


# --- reading -----------------------------------------------------------------------------------------


def read_history(folder: str | os.PathLike[str], *, on_note: Log | None = None) -> tuple[Recorded, ...]:
    """All runs of a folder, best first; among those of one score the earlier comes first.

    Runs that finished before there was a history, and runs copied here, are found in their folders. Runs with
    other targets are not rivals: those of the most runs come first, then the next.
    on_note: told of lines and runs that cannot be read, and are left out.
    Raises RunError where there is no such folder.
    """
    place = Path(folder)
    if not place.is_dir():
        raise RunError(f"there is no folder {folder}", fix="give the folder that holds your runs")
    tell = on_note or _silent
    lines = _lines(place, tell)
    runs = {one["digest"]: one for one in lines if one["event"] == "run"}
    stand: dict[str, list[str]] = {}
    names = {one["run"] for one in runs.values()}
    for entry in sorted(place.iterdir()):
        found = _described(entry, tell, known=entry.name in names) if entry.is_dir() else None
        if found is not None:
            runs.setdefault(found["digest"], found)
            stand.setdefault(found["digest"], []).append(found["run"])
    for digest, folders in stand.items():
        # A run that was moved is called what its folder is called now.
        name = runs[digest]["run"]
        runs[digest] |= {"there": True, "run": name if name in folders else folders[0]}
    ordered = sorted(runs.values(), key=lambda one: one["finished"])
    recorded: list[Recorded] = []
    for one in ordered:
        recorded.append(_recorded(one, _parent_of(one, recorded), lines))
    groups = [_group(one.targets) for one in recorded]
    scored = {group for group, one in zip(groups, recorded, strict=True) if not math.isnan(one.score)}

    def rank(one: Recorded) -> tuple[Any, ...]:
        group = _group(one.targets)
        finished = (math.isnan(one.score), one.score, one.finished)
        return (group not in scored, -groups.count(group), group, *finished)

    return tuple(sorted(recorded, key=rank))


def _lines(folder: Path, tell: Log = _silent) -> list[dict[str, Any]]:
    """The history's lines; one that was cut off in the middle, or is not what it should be, is left out.

    tell: told of each of these.
    """
    try:
        text = (folder / FILE).read_bytes().decode("utf-8", "surrogateescape")
    except OSError:
        return []
    found = []
    # Not splitlines, which cuts at characters that a name may hold.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        one: dict[str, Any] = {}
        try:
            one = json.loads(line)
            faults = _faults_of(one)
        except (ValueError, RecursionError):
            faults = ["it is not whole"]
        if faults:
            tell(f"{folder / FILE}, line {number}, is left out: {'; '.join(faults[:3])}")
        else:
            found.append(one)
    return found


def _parent_of(one: Mapping[str, Any], before: Sequence[Recorded]) -> Recorded | None:
    """The last of the same targets, rows and split; where there is none, the last of these targets."""
    rivals = [other for other in before if _group(other.targets) == _group(one["targets"])]
    same = [other for other in rivals if _comparable(other, one)]
    # What has no score is not measured against another table's.
    told = [other for other in rivals if not math.isnan(other.score)] if one["targets"] else []
    return (same or told or [None])[-1]


def _comparable(other: Recorded, one: Mapping[str, Any]) -> bool:
    """Whether two runs trained and were scored on the same rows with the same labels."""
    if other.scored and one.get("scored"):
        return other.scored == one["scored"]
    return bool(other.data) and other.data == one["data"]


def _faults_of(one: Any) -> list[str]:
    if not isinstance(one, dict):
        return ["it is not a JSON object"]
    if SUM in one and one[SUM] != sum_of({name: value for name, value in one.items() if name != SUM}):
        return ["its values do not have the sum that stands in it"]
    faults = misfits(one, _TYPES, ("event", "run", "digest"))
    return faults or misfits(one, {}, _NEEDED.get(one["event"], ()))


def _gathered(changed: Sequence[str]) -> list[str]:
    """The changes; of more than a few names that only one of two descriptions has, their number alone."""
    one_sided = [line for line in changed if line.endswith(" -> null") or ": null -> " in line]
    if len(one_sided) <= ONE_SIDED:
        return list(changed)
    both = [line for line in changed if line not in one_sided]
    return [*both, f"{len(one_sided)} fields that one of them lacks"]


def _recorded(
    one: Mapping[str, Any], parent: Recorded | None, lines: Sequence[Mapping[str, Any]]
) -> Recorded:
    own = [line for line in lines if line["digest"] == one["digest"]]
    score = main_score(one["targets"])
    changed: list[str] = []
    if parent is not None:
        changed = _gathered(differences(_loud(parent.recipe), _loud(one["recipe"])))
        changed += _other_data(parent, one)
        if parent.version != one["version"]:
            changed.append(f"tenfold {parent.version} -> {one['version']}")
        if not changed:
            changed = _gathered(differences(parent.recipe, one["recipe"])) or ["nothing"]
    return Recorded(
        one["run"],
        one["digest"],
        one["finished"],
        one["kind"],
        one["data"],
        one["recipe"],
        one["version"],
        one["targets"],
        score,
        one["seconds"],
        one["peak_bytes"],
        tuple(one.get("members", ())),
        parent.run if parent else "",
        tuple(changed),
        parent.score - score if parent and _comparable(parent, one) else math.nan,
        tuple(line["value"] for line in own if line["event"] == "score"),
        tuple(
            {name: line[name] for name in ("file", "sha256", "when")}
            for line in own
            if line["event"] == "submission"
        ),
        bool(one.get("there")),
        one.get("scored", ""),
    )


def _other_data(parent: Recorded, one: Mapping[str, Any]) -> list[str]:
    """How the data of two runs differ, as far as it is known."""
    if parent.scored and one.get("scored"):
        if parent.scored != one["scored"]:
            return ["other rows, labels or split: no gain can be told"]
        return [] if parent.data == one["data"] else ["other columns, pictures or side tables"]
    if not parent.data or not one["data"]:
        return ["nothing is known of the data of one of them: no gain can be told"]
    said = "other rows, labels, columns, pictures, side tables or split: no gain can be told"
    return [] if parent.data == one["data"] else [said]


def _loud(recipe: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in recipe.items() if name not in _QUIET}


def main_score(targets: Mapping[str, Mapping[str, Any]]) -> float:
    """One figure for the scores of all targets, of which less is better: their plain mean; NaN without any.

    Of classes it is the error rate, of tags 1 - micro F1, of numbers the RMSE as a part of that of always
    answering the mean, of ratings the RMSE, and of lists 1 - NDCG.
    """
    found = [value for _, value in map(_primary_loss, targets.values()) if value is not None]
    return sum(found) / len(found) if found else math.nan


def _group(targets: Mapping[str, Mapping[str, Any]]) -> tuple[tuple[str, str], ...]:
    """Targets and what stands for each: only runs that share all of it are rivals."""
    return tuple(sorted((name, _primary_loss(scores)[0]) for name, scores in targets.items()))


def _primary_loss(scores: Mapping[str, Any]) -> tuple[str, float | None]:
    """Of a target's scores: what stands for it, and its value, of which less is better."""

    word, value = primary_score(scores)
    if word:
        return word, value
    lists = scores.get("lists")
    ndcg = lists.get("ndcg") if isinstance(lists, Mapping) else None
    return ("NDCG", 1 - ndcg) if isinstance(ndcg, int | float) and math.isfinite(ndcg) else ("", None)


def find_maker(file: str | os.PathLike[str], folder: str | os.PathLike[str]) -> Sequence[Mapping[str, Any]]:
    """The history's lines of a file of predictions, by its checksum: which run made it, of which members.

    Raises RunError where no run of the folder did.
    """
    path = Path(file)
    if not path.is_file():
        raise RunError(f"there is no file {file}", fix="give a file that tenfold predict wrote")
    digest = file_digest(path)
    found = [one for one in _lines(Path(folder)) if one["event"] == "submission" and one["sha256"] == digest]
    if not found:
        raise RunError(
            f"no run in {folder} has made {file}, as it is now",
            fix="give the folder that holds its run, or write it again with tenfold predict",
        )
    return found
