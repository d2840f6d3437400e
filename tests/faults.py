"""A disk that is full, broken or forbidden, at every write in turn: ``python -m tests.faults --faults 1000``.

A trial plays a scene (`scenes.py`) in a fork in which one event that changes the disk, or all from there on,
ends in ENOSPC, EIO or EACCES, in which no file may grow beyond a size, or in which a file cannot be read; or
a picture vanishes or changes in the middle. The command must end well or in an error by name, harm nothing
that was there, and the same command on a sound disk must leave what an undisturbed one leaves.
"""

from __future__ import annotations

import argparse
import errno
import math
import os
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent / "support"))

from crash import pick
from forked import Done, failing_at, limited_to, load_everything, run, watch
from photos import write_photo
from scenes import HISTORY, LOST, Outcome, Scene, Stage, again, differences, snapshot, untouched

CODES = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO, "EACCES": errno.EACCES}
PICTURE = "photos/0003.png"
#: How a picture comes to grief, told as a fault.
PICTURES = ("vanish", "change")


@dataclass(frozen=True)
class Fault:
    """What goes wrong.

    kind: a code, ``READ`` and a code, ``full`` (beyond that many bytes), ``vanish`` or ``change``.
    at: the number of the event, or a size in bytes.  lasting: all later events fail, too.
    """

    kind: str
    at: int
    lasting: bool = False

    def __str__(self) -> str:
        return f"{self.kind}:{self.at}" + (":lasting" if self.lasting else "")

    @classmethod
    def read(cls, text: str) -> Fault:
        kind, at, *more = text.split(":")
        return cls(kind, int(at), bool(more))

    def prepare(self) -> Callable[[], None]:
        """What the fork does before its command."""
        if self.kind == "full":
            return limited_to(self.at, kill=False)
        if self.kind in PICTURES:
            return watch(self._spoil)
        code = CODES[self.kind.removeprefix("READ")]
        return failing_at(self.at, code, lasting=self.lasting, reading=self.kind.startswith("READ"))

    def _spoil(self, number: int, what: str, path: str) -> None:
        if number == self.at:
            spoil(Path.cwd(), self.kind)


def spoil(place: Path, kind: str) -> None:
    """Let a picture vanish, or let it be another one."""
    if kind == "vanish":
        os.unlink(place / PICTURE)
    else:
        write_photo(place / PICTURE, "dog", 99)


def play(stage: Stage, scene: Scene, fault: Fault) -> tuple[str, list[str]]:
    """One trial: how the command ended, and what was not as it must be."""
    expected = stage.undisturbed(scene)
    before = snapshot(stage.begin(scene))
    picture = (stage.place / PICTURE).read_bytes()
    done = run(scene.words, stage.place, fault.prepare())
    after = snapshot(stage.place)
    if fault.kind in PICTURES:
        faults = _picture_faults(stage, scene, fault, done, expected, after)
        (stage.place / PICTURE).write_bytes(picture)
        if done.code == 0:
            return "ended well", faults
    else:
        faults = _faults(scene, done, expected, before, after)
    had = f"{scene.target}.part/checkpoint.safetensors" in after
    more = again(scene, stage.place, resume=True)
    if more.code or not more.tidy:
        faults.append(f"again: {more.told()}")
    if had and any(said in more.err for said in LOST):
        faults.append("again: what the checkpoint held was lost")
    found = differences(expected.files, snapshot(stage.place))
    # A member that has finished is not asked again for its page, which could not be written.
    faults += [
        f"again: {line}" for line in found if not re.search("/members/.*report.html is missing$", line)
    ]
    return "ended well" if done.code == 0 else "refused", faults


def _faults(
    scene: Scene, done: Done, expected: Outcome, before: dict[str, bytes], after: dict[str, bytes]
) -> list[str]:
    found = [] if done.tidy else [f"first: {done.told()}"]
    if done.code and done.tidy and "Error: " not in done.err and "failed" not in done.err:
        found.append(f"first: no error by name: {done.told()}")
    found += [f"first: {line}" for line in untouched(before, after, scene)]
    if done.code == 0:
        # What is a help only (the history, a page, the cache) may be missing, if that is said.
        main = {name: data for name, data in expected.files.items() if _is_main(scene, name)}
        found += [
            f"first, exit 0: {line}" for line in differences(main, after) if not line.endswith("behind")
        ]
    elif scene.over:
        old, new = (_under(files, scene.target) for files in (before, expected.files))
        now = _under(after, scene.target)
        if now != old and differences(new, now) and scene.words[0] != "ensemble":
            found.append(f"first: {scene.target} is neither as it was nor new: {differences(old, now)[:3]}")
    return found


def _is_main(scene: Scene, name: str) -> bool:
    return name.startswith(scene.target) and not name.endswith("report.html") and HISTORY not in name


def _under(files: dict[str, bytes], target: str) -> dict[str, bytes]:
    return {
        name: data
        for name, data in files.items()
        if (name == target or name.startswith(f"{target}/")) and not name.endswith(("report.html", ".tmp"))
    }


def _picture_faults(
    stage: Stage, scene: Scene, fault: Fault, done: Done, expected: Outcome, after: dict[str, bytes]
) -> list[str]:
    """A run is of the pictures that were, or of those that are, and never of some mixture."""
    if not done.tidy:
        return [f"first: {done.told()}"]
    if done.code:
        return [] if "Error: " in done.err else [f"first: no error by name: {done.told()}"]
    found = differences(_under(expected.files, scene.target), _under(after, scene.target))
    if fault.kind == "change" and found:
        stage.begin(scene)
        spoil(stage.place, fault.kind)
        run(scene.words, stage.place)
        found = differences(_under(snapshot(stage.place), scene.target), _under(after, scene.target))
    return [f"first, exit 0: {line}" for line in found]


def draw(chosen: Sequence[Scene], stage: Stage, count: int, seed: int) -> Iterator[tuple[Scene, Fault]]:
    """Trials drawn from a seed."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        scene = chosen[number % len(chosen)]
        events = len(stage.undisturbed(scene).events)
        kind = str(rng.choice(["ENOSPC", "EIO", "EACCES", "READEIO", "READEACCES", "full"]))
        if "photos" in scene.name and scene.words[0] == "fit" and rng.random() < 0.4:
            yield scene, Fault(str(rng.choice(PICTURES)), int(rng.integers(events)))
        elif kind == "full":
            yield scene, Fault(kind, int(10 ** rng.uniform(0, 5.5)))
        else:
            # As many files are read as events change the disk, about; beyond the last nothing happens.
            yield scene, Fault(kind, int(rng.integers(events)), bool(rng.random() < 0.5))


def every(chosen: Sequence[Scene], stage: Stage) -> Iterator[tuple[Scene, Fault]]:
    """Every code at every event of every scene; lasting and not in turn."""
    for scene in chosen:
        for event in range(len(stage.undisturbed(scene).events)):
            for number, kind in enumerate(CODES):
                yield scene, Fault(kind, event, (event + number) % 2 > 0)


def main(words: Sequence[str] | None = None) -> int:
    """Play, tell the trials that went wrong with the command that repeats each, and count."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__.splitlines()[0])
    parser.add_argument("--faults", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", default=[], help="a scene, or how its name begins")
    parser.add_argument("--fault", help="one trial: KIND:NUMBER, or KIND:NUMBER:lasting")
    parser.add_argument("--all", action="store_true", help="every code at every event of every scene")
    parser.add_argument("--seconds", type=float, default=math.inf, help="longest that it may take")
    given = parser.parse_args(words)
    load_everything()
    chosen = pick(given.only)
    began, ends, bad = time.monotonic(), Counter(), 0
    with tempfile.TemporaryDirectory(prefix="tenfold-faults-") as folder:
        stage = Stage(Path(folder))
        stage.build(chosen)
        if given.fault:
            trials: Iterator = iter([(chosen[0], Fault.read(given.fault))])
        else:
            trials = every(chosen, stage) if given.all else draw(chosen, stage, given.faults, given.seed)
        for scene, fault in takewhile(lambda _: time.monotonic() - began < given.seconds, trials):
            how, faults = play(stage, scene, fault)
            ends[how] += 1
            bad += bool(faults)
            if faults:
                print(
                    f'python -m tests.faults --only "{scene.name}" --fault {fault}',
                    *faults,
                    sep="\n  ",
                    flush=True,
                )
    parts = ", ".join(f"{name} {count}" for name, count in sorted(ends.items()))
    print(f"{sum(ends.values())} faults, {bad} that went wrong ({parts}), {time.monotonic() - began:.0f} s")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
