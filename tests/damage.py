"""Every file of every kind of run, spoilt, then every command that opens it: ``python -m tests.damage``.

Bytes of every region of a file are flipped, set to zero, cut off; the file is emptied, doubled, removed, made
a folder; values of its JSON are replaced. A command must then refuse by name, or answer as from the sound
file. The same for checkpoints under ``--resume``, caches, job files, samples, tables and histories.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import os
import re
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent / "support"))

from forked import killed_at, load_everything, run, run_well
from scenes import HISTORY, OWN, snapshot, where
from tiny import FITS, Words, asked, fill, make_runs

#: What a JSON value is replaced by.
VALUES = (
    None,
    True,
    0,
    -1,
    1e308,
    10**40,
    "",
    "x",
    "../../x",
    [],
    [[]],
    {},
    {"a": {}},
    ["x"] * 3,
    float("nan"),
)
#: Corruptions that one fork tries, one after the other.
BATCH = 40
ANSWERS = "answers"


@dataclass(frozen=True)
class Damage:
    """One corruption of one file. how: flip, zeros, cut, emptied, doubled, removed, folder, json or key.

    place: the byte at which, or for JSON the keys that lead to the value.  value: what it becomes.
    """

    file: str
    how: str
    place: Any = 0
    value: Any = None

    def __str__(self) -> str:
        return f"{self.file} {self.how} at {self.place}" + (
            f" = {self.value!r}" if self.how == "json" else ""
        )

    def apply(self, folder: Path) -> None:
        """Spoil the file, which is sound."""
        path = folder / self.file
        data = bytearray(path.read_bytes())
        if self.how in ("removed", "folder"):
            path.unlink()
            if self.how == "folder":
                path.mkdir()
            return
        if self.how == "flip":
            data[self.place] ^= self.value
        elif self.how == "zeros":
            data[self.place : self.place + 16] = bytes(len(data[self.place : self.place + 16]))
        elif self.how in ("cut", "emptied"):
            del data[self.place :]
        elif self.how == "doubled":
            data = data + data
        else:
            data = bytearray(_replaced(bytes(data), self))
        path.write_bytes(data)


def _replaced(data: bytes, damage: Damage) -> bytes:
    """The JSON with one value replaced or one key removed; of lines of JSON the first key is the line."""
    lines = damage.file.endswith(".jsonl")
    whole: Any = [json.loads(line) for line in data.splitlines()] if lines else json.loads(data)
    inner = whole
    for key in damage.place[:-1]:
        inner = inner[key]
    if damage.how == "key":
        del inner[damage.place[-1]]
    else:
        inner[damage.place[-1]] = damage.value
    return ("".join(json.dumps(line) + "\n" for line in whole) if lines else json.dumps(whole)).encode()


def damages(folder: Path, file: str, rng: np.random.Generator, regions: int) -> Iterator[Damage]:
    """The corruptions of a file: of bytes in each of its regions, of the whole, and of JSON's values."""
    path = folder / file
    size = path.stat().st_size
    for start in np.unique(np.linspace(0, max(size - 1, 0), regions).astype(int)) if size else ():
        stop = max(start + 1, min(size, start + size // regions))
        yield Damage(file, "flip", int(rng.integers(start, stop)), int(1 << rng.integers(8)))
        yield Damage(file, "zeros", int(start))
        yield Damage(file, "cut", int(start))
    yield Damage(file, "cut", max(0, size - 1))
    for how in ("emptied", "doubled", "removed", "folder"):
        yield Damage(file, how)
    if path.suffix in (".json", ".jsonl"):
        lines = path.suffix == ".jsonl"
        whole = (
            [json.loads(one) for one in path.read_text().splitlines()]
            if lines
            else json.loads(path.read_text())
        )
        places = list(_places(whole))
        for place in [places[k] for k in rng.permutation(len(places))[: 4 * regions]]:
            value = VALUES[rng.integers(len(VALUES))]
            yield Damage(file, "json", place, value)
            yield Damage(file, "key", place)


def _places(value: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield (*before, key)
        yield from _places(one, (*before, key))


# --- asking ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """What a command said. code: its exit code, 70 for a traceback.  found: its answer, without `OWN`."""

    code: int
    err: str
    found: bytes


def ask(words: Sequence[str], place: Path) -> Answer:
    """A command in this process. What it writes under ``answers`` is a part of its answer, and is removed."""
    from tenfold.cli.main import app

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = app(list(words), standalone_mode=False) or 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        except BaseException:  # noqa: BLE001
            err.write(traceback.format_exc())
            code = 70
    files = snapshot(place / ANSWERS) if (place / ANSWERS).exists() else {}
    shutil.rmtree(place / ANSWERS, ignore_errors=True)
    return Answer(code, err.getvalue(), _printed(out.getvalue()) + repr(sorted(files.items())).encode())


def _printed(text: str) -> bytes:
    try:
        return json.dumps(_bare(json.loads(text)), sort_keys=True).encode()
    except ValueError:
        # How long it took, and what the process held, is no part of an answer.
        return re.sub(r"\d+ s, [\d.]+ GiB at most", "", text).encode()


def _bare(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _bare(one) for name, one in value.items() if name not in (*OWN, "notes")}
    return [_bare(one) for one in value] if isinstance(value, list) else value


@dataclass(frozen=True)
class Case:
    """Files of one kind, and the commands that open them.

    words: name -> command.  made: the folder that ``resume`` makes, which is a part of its answer.
    loose: another answer may be right, since the file is what was asked: a traceback alone is a fault.
    """

    name: str
    files: tuple[str, ...]
    words: Mapping[str, Words]
    made: str = ""
    loose: bool = False


def build(base: Path, kinds: Sequence[str]) -> list[Case]:
    """Make runs of these kinds, unfinished trainings, caches and files, and say what opens them."""
    made = make_runs(base, run_well, kinds)
    (base / "job.toml").write_text(_JOB)
    run_well(_PLAN, base)
    for kind in {"table"} & {*made}:
        run_well(fill(asked(kind)["predict"], run=f"runs/{kind}", out="answers/old"), base)
        shutil.rmtree(base / "answers")
    cases = [*_run_cases(base, kinds), *_checkpoint_cases(base, kinds), *_other_cases(base)]
    found = []
    for case in cases:
        words = {
            name: line
            for name, line in case.words.items()
            if all((base / word).exists() for word in line if re.fullmatch("runs/[a-z0-9]+", word))
        }
        if words and case.files:
            found.append(replace(case, words=words))
    return found


_PLAN = "plan test_resnet --image-size 64 --budget 1GiB --json".split()
_JOB = """\
table = "rows.csv"
[schema]
id = "id"
inputs = [{ kind = "category", name = "job" }, { kind = "number", name = "age" }]
targets = ["label", "tall:number"]
[recipe]
epochs = 1
hidden = [4]
"""


def _asked(kind: str) -> dict[str, Words]:
    return {
        name: fill(line, run=f"runs/{kind}", out=f"{ANSWERS}/found") for name, line in asked(kind).items()
    }


def _run_cases(base: Path, kinds: Sequence[str]) -> Iterator[Case]:
    for kind in kinds:
        words = {**_asked(kind), "runs": ["runs", "runs", "--json"]}
        if kind == "table":
            words["predict-blend"] = _asked("blend")["predict"]
        if kind in ("table", "gibbs", "dot"):
            other = {"table": "table2", "gibbs": "als", "dot": "mlp"}[kind]
            words["blend"] = ["blend", f"runs/{kind}", f"runs/{other}", "-o", f"{ANSWERS}/mix"]
        if FITS[kind][0] == "fit":
            words["resume"] = [*fill(FITS[kind], out=f"runs/{kind}"), "--resume"]
        yield Case(kind, _files(base, f"runs/{kind}"), words, f"runs/{kind}")


def _checkpoint_cases(base: Path, kinds: Sequence[str]) -> Iterator[Case]:
    for kind in [kind for kind in ("table", "photos", "dot") if kind in kinds]:
        words = fill(FITS[kind], out=f"left/{kind}")
        part = base / "left" / f"{kind}.part"
        event = 0
        while not (part / "checkpoint.safetensors").exists():
            event += 1
            shutil.rmtree(part, ignore_errors=True)
            run(words, base, killed_at(event))
        yield Case(
            f"checkpoint of {kind}",
            _files(base, f"left/{kind}.part"),
            {"resume": [*words, "--resume"]},
            f"left/{kind}",
        )


def _other_cases(base: Path) -> Iterator[Case]:
    pictures = _asked("photos")["predict"]
    plans = [name for name in _files(base, "cache") if not name.startswith("cache/images")]
    yield Case("cache of pictures", _files(base, "cache/images"), {"predict": pictures})
    yield Case("cache of plans", tuple(plans), {"plan": _PLAN})
    yield Case("pictures", _files(base, "photos"), {"predict": pictures}, loose=True)
    history = {"runs": ["runs", "runs", "--json"], "predict": _asked("table")["predict"]}
    yield Case("history", (f"runs/{HISTORY}",), history)
    samples = {"like": _asked("table")["like"]}
    yield Case("sample", ("sample_rows.csv",), samples, loose=True)
    yield Case("job", ("job.toml",), {"fit": ["fit", "job.toml", "-o", f"{ANSWERS}/job"]}, loose=True)
    yield Case("tables", ("rows.csv",), {"predict": _asked("table")["predict"]}, loose=True)
    lists = {"evaluate": _asked("gibbs")["evaluate"], "recommend": [*_RECOMMEND, "--ratings", "ratings.csv"]}
    yield Case("ratings", ("ratings.csv", "items.csv"), lists, loose=True)


_RECOMMEND = "recommend runs/gibbs --user u01 -n 3 --json".split()


def _files(base: Path, under: str) -> tuple[str, ...]:
    found = [path for path in sorted((base / under).rglob("*")) if path.is_file()]
    return tuple(path.relative_to(base).as_posix() for path in found if path.suffix != ".html")


# --- trials ---------------------------------------------------------------------------------------------


def judge(case: Case, damage: Damage, right: Answer, given: Answer) -> str:
    """What is wrong with an answer from a spoilt file; "" where it is right, or a refusal by name."""
    if given.code == 70 or "Traceback" in given.err:
        return f"traceback: {given.err.strip().splitlines()[-1][:200]}"
    if given.code == 0 and given.found != right.found and not case.loose and not _is_lost(case, damage):
        said = [line for line in given.err.splitlines() if line not in right.err]
        # What a list leaves out is said by name.
        if any(_names(damage, line) for line in said):
            return ""
        return f"another answer without a word {where(right.found, given.found)}"
    if given.code not in (0, 1) and not case.loose and not _names(damage, given.err):
        return f"a refusal that does not name it: {given.err.strip()[-200:]}"
    return ""


def _is_lost(case: Case, damage: Damage) -> bool:
    """Whether a history is gone, or some of its last lines: what is not there cannot be told."""
    return case.name == "history" and damage.how in ("removed", "emptied", "cut", "doubled")


def _names(damage: Damage, text: str) -> bool:
    parts = Path(damage.file).parts
    return any(part in text for part in (parts[-1], parts[-2] if len(parts) > 1 else parts[-1]))


class Trials:
    """A copy of the base in which files are spoilt and mended again."""

    def __init__(self, base: Path, place: Path) -> None:
        self.base, self.place = base, place
        shutil.copytree(base, place)
        os.chdir(place)
        os.environ["TENFOLD_CACHE"] = str(place / "cache")
        self.right: dict[tuple[str, ...], Answer] = {}

    def _mend(self, *names: str) -> None:
        for name in names:
            target, source = self.place / name, self.base / name
            if target.is_dir() and not target.is_symlink():
                shutil.rmtree(target)
            elif target.exists():
                target.unlink()
            if source.is_dir():
                shutil.copytree(source, target)
            elif source.exists():
                shutil.copy2(source, target)

    def _ask(self, case: Case, name: str) -> Answer:
        answer = ask(case.words[name], self.place)
        if name == "resume":
            # What a training was begun with anew is said, and its checkpoint is gone.
            made = snapshot(self.place / case.made) if (self.place / case.made).exists() else {}
            answer = Answer(answer.code, answer.err, answer.found + repr(sorted(made.items())).encode())
        self._mend(f"runs/{HISTORY}", *([case.made, f"{case.made}.part"] if case.made else ()), "cache")
        return answer

    def expect(self, case: Case, name: str) -> Answer:
        """The answer from sound files."""
        key = tuple(case.words[name])
        if key not in self.right:
            self.right[key] = self._ask(case, name)
            if self.right[key].code:
                raise AssertionError(f"{' '.join(key)}: {self.right[key].err}")
        return self.right[key]

    def play(self, case: Case, damage: Damage, names: Sequence[str]) -> Iterator[tuple[str, str, str]]:
        """Spoil, ask and mend: the command's name, how it ended (right, other, refused), and its fault."""
        for name in names:
            right = self.expect(case, name)
            damage.apply(self.place)
            given = self._ask(case, name)
            self._mend(damage.file)
            how = "refused" if given.code else "right" if given.found == right.found else "other"
            yield name, how, judge(case, damage, right, given)


def plan(found: Sequence[Case], base: Path, count: int, seed: int) -> list[tuple[Case, Damage, list[str]]]:
    """Corruptions of every file of every case, as many as asked, each with the commands that then open it."""
    rng = np.random.default_rng(seed)
    every = []
    for case in found:
        for file in case.files:
            for damage in damages(base, file, rng, 12):
                names = list(case.words)
                two = [names[k] for k in rng.permutation(len(names))[:2]]
                every.append((case, damage, two))
    return [every[k] for k in sorted(rng.permutation(len(every))[:count])]


def play_in_fork(
    base: Path, place: Path, trials: Sequence[tuple[Case, Damage, list[str]]]
) -> list[dict[str, Any]]:
    """Trials one after the other in a fork; of one that ends the fork, that."""
    reads, writes = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reads)
        code = 1
        try:
            shutil.rmtree(place, ignore_errors=True)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            stage = Trials(base, place)
            with os.fdopen(writes, "w") as stream:
                for number, (case, damage, names) in enumerate(trials):
                    for name, how, fault in stage.play(case, damage, names):
                        stream.write(json.dumps([number, name, how, fault]) + "\n")
                    stream.flush()
            code = 0
        except BaseException:  # noqa: BLE001
            Path(f"{place}.error").write_text(traceback.format_exc())
        finally:
            os._exit(code)
    os.close(writes)
    with os.fdopen(reads) as stream:
        lines = [json.loads(line) for line in stream]
    _, status = os.waitpid(pid, 0)
    found = [
        {"trial": trials[number], "command": name, "how": how, "fault": fault}
        for number, name, how, fault in lines
    ]
    if status:
        last = lines[-1][0] + 1 if lines else 0
        error = Path(f"{place}.error")
        why = error.read_text()[-600:] if error.exists() else f"ended by {os.waitstatus_to_exitcode(status)}"
        found.append(
            {"trial": trials[min(last, len(trials) - 1)], "command": "", "how": "ended", "fault": why}
        )
    return found


def main(words: Sequence[str] | None = None) -> int:
    """Spoil and ask; tell what went wrong, and count."""
    parser = argparse.ArgumentParser(prog="python -m tests.damage", description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=1000, help="corruptions of files, two commands each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", default=[], help="a case, as table or history")
    parser.add_argument("--kinds", help="kinds of runs to make, with commas between them [all]")
    parser.add_argument("--seconds", type=float, default=math.inf, help="longest that it may take")
    given = parser.parse_args(words)
    load_everything()
    began, ends, bad = time.monotonic(), Counter(), 0
    with tempfile.TemporaryDirectory(prefix="tenfold-damage-") as folder:
        base, place = Path(folder) / "base", Path(folder) / "trial"
        kinds = given.kinds.split(",") if given.kinds else list(FITS)
        found = [case for case in build(base, kinds) if not given.only or case.name in given.only]
        trials = plan(found, base, given.files, given.seed)
        done = 0
        while done < len(trials) and time.monotonic() - began < given.seconds:
            for one in play_in_fork(base, place, trials[done : done + BATCH]):
                ends[one["how"]] += 1
                if one["fault"]:
                    bad += 1
                    case, damage, _ = one["trial"]
                    words = " ".join(case.words.get(one["command"], ()))
                    print(f"{case.name}: {damage}\n  {words}\n  {one['fault']}", flush=True)
            done = min(len(trials), done + BATCH)
    parts = ", ".join(f"{name} {count}" for name, count in sorted(ends.items()))
    told = f"{done} corruptions, {sum(ends.values())} commands, {bad} that went wrong"
    print(f"{told} ({parts}), {time.monotonic() - began:.0f} s")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
