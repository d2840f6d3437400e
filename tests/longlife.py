"""Many fits and predictions in one process: ``python -m tests.longlife --fits 200 --predictions 100000``.

Fits networks of tables and factors of ratings in turn, and asks each kind of run for its predictions. Told
is, at even distances, what the process holds: resident memory, threads, open files. A process that forgets
nothing grows: the second half is compared with the first.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "support"))

from tiny import write_data

#: Predictions that one call asks for.
AT_ONCE = 40


@dataclass(frozen=True)
class Held:
    """What the process holds. memory: resident, in bytes."""

    memory: int
    threads: int
    files: int

    @classmethod
    def now(cls) -> Held:
        gc.collect()
        lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        memory = int(lines["VmRSS"].split()[0]) * 1024
        return cls(memory, int(lines["Threads"]), len(os.listdir("/proc/self/fd")))


def live(work: Callable[[int], Any], times: int, looks: int = 10) -> list[Held]:
    """Do the work so many times; what is held at even distances, the first time after a tenth."""
    found = []
    for number in range(times):
        work(number)
        if (number + 1) % max(1, times // looks) == 0:
            found.append(Held.now())
    return found


def fitter(folder: Path) -> Callable[[int], Any]:
    """Fits of a network of a table and of factors of ratings, in turn, each with another seed."""
    import tenfold
    from tenfold.recipe import FactorRecipe
    from tenfold.schema import CategoryColumn, IdColumn, NumberColumn, RatingTarget, UndecidedTarget

    table = tenfold.Schema(
        inputs=(CategoryColumn(name="job"), NumberColumn(name="age")),
        targets=(UndecidedTarget(name="label"),),
    )
    pairs = tenfold.Schema(
        inputs=(IdColumn(name="user"), IdColumn(name="item")), targets=(RatingTarget(name="stars"),)
    )

    def fit(number: int) -> Any:
        if number % 2:
            recipe = FactorRecipe(
                method=("als", "gibbs", "sgd")[number // 2 % 3], factors=2, seed=number, **_SHORT
            )
            return tenfold.fit(pairs, recipe, str(folder / "ratings.csv"), run=folder / "runs" / "stars")
        network = tenfold.Recipe(epochs=2, batch_size=16, hidden=(8,), seed=number)
        return tenfold.fit(table, network, str(folder / "rows.csv"), run=folder / "runs" / "rows")

    return fit


_SHORT = {"valid": 0.2}


def growth(found: list[Held]) -> dict[str, float]:
    """How much more the second half holds at its end than at its beginning: MiB, threads, files."""
    middle, last = found[len(found) // 2 - 1], found[-1]
    return {
        "MiB": (last.memory - middle.memory) / 2**20,
        "threads": last.threads - middle.threads,
        "files": last.files - middle.files,
    }


def main() -> int:
    """Fit, predict, and tell what was held."""
    parser = argparse.ArgumentParser(prog="python -m tests.longlife", description=__doc__.splitlines()[0])
    parser.add_argument("--fits", type=int, default=200)
    parser.add_argument("--predictions", type=int, default=100_000)
    given = parser.parse_args()
    warnings.simplefilter("error")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tenfold-longlife-") as name:
        folder = Path(name)
        os.environ["TENFOLD_CACHE"] = str(folder / "cache")
        write_data(folder)
        fit = fitter(folder)
        kinds = {f"{given.fits} fits": live(fit, given.fits)}
        runs = {"rows": fit(0), "stars": fit(3)}
        for kind, file in (("rows", "rows.csv"), ("stars", "ratings.csv")):
            table = _first(folder / file)
            calls = given.predictions // 2 // AT_ONCE
            kinds[f"{calls * AT_ONCE} predictions of {kind}"] = live(
                lambda number, run=runs[kind], table=table: run.predict(table), calls
            )
    bad = 0
    for what, found in kinds.items():
        more = growth(found)
        bad += more["MiB"] > 8 or more["threads"] > 0 or more["files"] > 0
        print(
            f"{what}: "
            + ", ".join(f"{name} {value:+.4g}" for name, value in more.items())
            + " in the second half"
        )
        for held in found:
            print(f"    {held.memory / 2**20:.1f} MiB, {held.threads} threads, {held.files} files")
    print(f"{time.monotonic() - began:.0f} s")
    return int(bad > 0)


def _first(path: Path) -> dict[str, list[str]]:
    """The first rows of a table as a mapping of columns, `AT_ONCE` of them."""
    header, *rows = [line.split(",") for line in path.read_text().splitlines()]
    return {name: [row[place] for row in rows[:AT_ONCE]] for place, name in enumerate(header)}


if __name__ == "__main__":
    sys.exit(main())
