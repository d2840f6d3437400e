"""SIGKILL at any moment, then the same command again: ``python -m tests.crash --kills 1000 --seed 1``.

A trial plays a scene (`scenes.py`) in a fork, kills it, runs the command again and compares every byte with
the undisturbed outcome, less what rightly differs (`scenes.OWN`). Moments are drawn: a part of the command's
time, the number of an event that changes the disk, or a size in bytes at which a file is torn. ``--all`` goes
through every event of every scene. ``--only "fit table" --moment event:17`` repeats one trial.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent / "support"))

from forked import Fork, end_orphans, killed_at, limited_to, load_everything
from scenes import LOST, Scene, Stage, again, differences, scenes, snapshot, untouched


@dataclass(frozen=True)
class Moment:
    """When it is killed. kind: time (a part of the seconds it takes), event (its number), size (in bytes)."""

    kind: str
    value: float

    def __str__(self) -> str:
        return f"{self.kind}:{self.value:g}"


def play(stage: Stage, scene: Scene, moment: Moment, *, resume: bool) -> tuple[str, list[str]]:
    """One trial: how far the command had come when it was killed, and what was not as it must be."""
    expected = stage.undisturbed(scene)
    before = snapshot(stage.begin(scene))
    prepare = {
        "time": lambda: None,
        "event": killed_at(int(moment.value)),
        "size": limited_to(int(moment.value), kill=True),
    }[moment.kind]
    fork = Fork(scene.words, stage.place, prepare)
    if moment.kind == "time":
        time.sleep(moment.value * expected.seconds)
        fork.kill()
    killed = fork.wait()
    end_orphans(stage.place)
    if killed.code >= 0:
        reached = "not killed"
    else:
        reached = _stage_of(stage.place, scene)
    after = snapshot(stage.place)
    faults = [f"killed: {line}" for line in untouched(before, after, scene)]
    part = f"{scene.target}.part"
    had = f"{part}/checkpoint.safetensors" in after or f"{part}/run.json" in after
    done = again(scene, stage.place, resume=resume)
    if done.code or not done.tidy:
        faults.append(f"again: {done.told()}")
    if had and resume and any(said in done.err for said in LOST):
        faults.append("again: what the checkpoint held was lost")
    faults += [f"again: {line}" for line in differences(expected.files, snapshot(stage.place))]
    return reached, faults


def _stage_of(place: Path, scene: Scene) -> str:
    if not scene.fits:
        return "writing"
    part = place / f"{scene.target}.part"
    if not part.exists():
        return "start" if scene.over or not (place / scene.target).exists() else "after the finish"
    if (part / "run.json").exists() or (part / "weights.safetensors").exists():
        return "finish"
    if any(part.glob(".checkpoint*")):
        return "checkpoint"
    return "step" if (part / "checkpoint.safetensors").exists() else "start"


def draw(
    chosen: Sequence[Scene], stage: Stage, kills: int, seed: int
) -> Iterator[tuple[Scene, Moment, bool]]:
    """Trials drawn from a seed: half by time, the rest by events and sizes."""
    rng = np.random.default_rng(seed)
    for number in range(kills):
        scene = chosen[number % len(chosen)]
        draw = rng.random()
        if draw < 0.5:
            moment = Moment("time", round(float(rng.uniform(0, 1.05)), 4))
        elif draw < 0.9:
            moment = Moment("event", int(rng.integers(len(stage.undisturbed(scene).events))))
        else:
            moment = Moment("size", int(10 ** rng.uniform(1, 5)))
        yield scene, moment, bool(rng.random() < 0.7)


def every(chosen: Sequence[Scene], stage: Stage) -> Iterator[tuple[Scene, Moment, bool]]:
    """Every event of every scene, gone on with and begun anew in turn."""
    for scene in chosen:
        for event in range(len(stage.undisturbed(scene).events)):
            yield scene, Moment("event", event), event % 3 > 0


def pick(names: Sequence[str]) -> list[Scene]:
    """The scenes of these names, or whose names begin so; all where none is given."""
    found = [
        one for name, one in scenes().items() if not names or any(name.startswith(some) for some in names)
    ]
    if not found:
        raise SystemExit(f"no such scene; there are: {', '.join(scenes())}")
    return found


def main(words: Sequence[str] | None = None) -> int:
    """Play, tell the trials that went wrong with the command that repeats each, and count."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", default=[], help="a scene, or how its name begins")
    parser.add_argument("--moment", help="one trial: time:PART, event:NUMBER or size:BYTES")
    parser.add_argument("--anew", action="store_true", help="with --moment: without --resume")
    parser.add_argument("--all", action="store_true", help="every event of every scene")
    parser.add_argument("--seconds", type=float, default=math.inf, help="longest that it may take")
    given = parser.parse_args(words)
    load_everything()
    chosen = pick(given.only)
    began, reached, bad = time.monotonic(), Counter(), 0
    with tempfile.TemporaryDirectory(prefix="tenfold-crash-") as folder:
        stage = Stage(Path(folder))
        stage.build(chosen)
        if given.moment:
            kind, _, value = given.moment.partition(":")
            trials: Iterator = iter([(chosen[0], Moment(kind, float(value)), not given.anew)])
        elif given.all:
            trials = every(chosen, stage)
        else:
            trials = draw(chosen, stage, given.kills, given.seed)
        for scene, moment, resume in takewhile(lambda _: time.monotonic() - began < given.seconds, trials):
            how, faults = play(stage, scene, moment, resume=resume)
            reached[how] += 1
            bad += bool(faults)
            if faults:
                anew = "" if resume else " --anew"
                print(
                    f'python -m tests.crash --only "{scene.name}" --moment {moment}{anew}',
                    *faults,
                    sep="\n  ",
                    flush=True,
                )
    kills = sum(reached.values()) - reached["not killed"]
    parts = ", ".join(f"{name} {count}" for name, count in sorted(reached.items()))
    print(f"{kills} kills, {bad} with a difference ({parts}), {time.monotonic() - began:.0f} s")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
