"""Small updates of a finished recommender beside a full fit: error, and processor time.

A tenth of MovieLens 1M is the test. A run is fitted to four fifths; twenty updates of 0.5 % each bring in the
rest, through `run.update` on a file: reading, learning and writing counted. The full fit has all nine tenths.

    TENFOLD_DATA=... python bench/updates.py [--seed 0] [--method gibbs als sgd] [--data ml-1m]
"""

from __future__ import annotations

import argparse
import csv
import os
import resource
import tempfile
from pathlib import Path

import numpy as np

import tenfold

DATA = Path(os.environ.get("TENFOLD_DATA", "data"))
UPDATES, EACH = 20, 0.005


def main() -> None:
    """Print a line per update that is scored, and one per fit."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--method", nargs="+", default=["gibbs"])
    parser.add_argument("--data", default="ml-1m", choices=["ml-1m", "ml-100k"])
    asked = parser.parse_args()
    rows = _rows(asked.data)
    order = np.random.default_rng(asked.seed).permutation(len(rows))
    tenth, each = len(rows) // 10, round(EACH * len(rows))
    test, stream, rest = np.split(order, [tenth, tenth + UPDATES * each])
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for name, chosen in (("test", test), ("some", rest), ("all", np.concatenate([rest, stream]))):
            _write(place / f"{name}.csv", rows, chosen)
        for number, chosen in enumerate(np.array_split(stream, UPDATES)):
            _write(place / f"new-{number}.csv", rows, chosen)
        for method in asked.method:
            _compare(place, method)


def _compare(place: Path, method: str) -> None:
    columns = {"user": "user", "item": "item", "target": "rating"}
    options = {**columns, "method": method, "threads": 1, "report": False, "history": False, "quiet": True}
    before = _cpu()
    whole = tenfold.fit(place / "all.csv", run=place / f"{method}-all", **options)
    full = _cpu() - before
    best = whole.evaluate(place / "test.csv")["rmse"]
    print(f"{method}: a full fit has RMSE {best:.4f} and takes {full:.1f} s of processor time", flush=True)
    run = tenfold.fit(place / "some.csv", run=place / f"{method}-some", **options)
    print(f"{method}, 0 updates: RMSE {run.evaluate(place / 'test.csv')['rmse']:.4f}", flush=True)
    times = []
    for number in range(UPDATES):
        before = _cpu()
        notes: list[str] = []
        run = run.update(place / f"new-{number}.csv", on_note=notes.append)
        times.append(_cpu() - before)
        told = [note for note in notes if note.startswith("a full fit")]
        if number + 1 in (1, 5, 10, 15, UPDATES) or told:
            rmse = run.evaluate(place / "test.csv")["rmse"]
            spent = f"{np.mean(times):.2f} s each, {100 * np.mean(times) / full:.1f} % of the fit"
            print(
                f"{method}, {number + 1} updates: RMSE {rmse:.4f} ({rmse - best:+.4f}); {spent}; {told}",
                flush=True,
            )


def _rows(data: str) -> list[list[str]]:
    if data == "ml-100k":
        with open(DATA / "ml-100k/u.data", encoding="utf-8") as stream:
            return [line.split("\t")[:3] for line in stream]
    with open(DATA / "ml-1m/ratings.csv", encoding="utf-8", newline="") as stream:
        return [row[:3] for row in csv.reader(stream)][1:]


def _write(path: Path, rows: list[list[str]], chosen: np.ndarray) -> None:
    with open(path, "w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([["user", "item", "rating"], *(rows[row] for row in chosen)])


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
