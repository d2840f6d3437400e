"""Items and users without ratings, predicted from their columns: MovieLens 100K, a tenth removed wholly.

    TENFOLD_DATA=FOLDER python bench/cold.py [--draws N] [--methods NAME ...] [--inner]

Of each draw (`default_rng(seed).permutation` of the sorted ids, seeds 0, 1, 2) a tenth of the items has no
rating in training. Items have genres and a year (of the title), users age, gender and occupation. Beside:
the mean, and the better of the users' plain means and of the same shrunk by five ratings. With --inner a
further tenth of the items is removed from the training part, and scored instead: to choose by.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from ratings import DATA, row

import tenfold


def side_tables(folder: Path) -> None:
    genres = [line.split("|")[0] for line in (DATA / "ml-100k/u.genre").read_text().splitlines() if line]
    lines = ["item,genre,year"]
    for line in (DATA / "ml-100k/u.item").read_text("latin-1").splitlines():
        cells = line.split("|")
        year = re.search(r"\((\d{4})\)\s*$", cells[1])
        own = "|".join(genre for genre, flag in zip(genres, cells[5:], strict=True) if flag == "1")
        lines.append(f"{cells[0]},{own},{year[1] if year else cells[2][-4:]}")
    (folder / "items.csv").write_text("\n".join(lines) + "\n")
    users = [line.split("|") for line in (DATA / "ml-100k/u.user").read_text().splitlines()]
    shown = [",".join(cells[:4]) for cells in users]
    (folder / "users.csv").write_text("\n".join(["user,age,gender,occupation", *shown]) + "\n")


def without(table: dict[str, np.ndarray], side: str, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Training and test: a tenth of the items (or users) is in the test alone."""
    ids = np.unique(table[side])
    gone = np.random.default_rng(seed).permutation(ids)[: len(ids) // 10]
    test = np.isin(table[side].astype(str), gone.astype(str))
    return ({name: cells[there] for name, cells in table.items()} for there in (~test, test))


def rmse(predicted: Any, test: dict[str, Any]) -> float:
    return float(np.sqrt(np.mean((predicted - test["rating"]) ** 2)))


def baselines(train: dict[str, Any], test: dict[str, Any], other: str) -> tuple[float, float]:
    mean = train["rating"].mean()
    known, index = np.unique(train[other].astype(str), return_inverse=True)
    total, count = np.bincount(index, train["rating"] - mean), np.bincount(index)
    place = np.minimum(np.searchsorted(known, test[other].astype(str)), len(known) - 1)
    there = known[place] == test[other].astype(str)
    shrunk = [np.where(there, (total / (count + extra))[place], 0) for extra in (0, 5)]
    return rmse(mean, test), min(rmse(mean + own, test) for own in shrunk)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--methods", nargs="+", default=["gibbs", "als", "sgd"])
    parser.add_argument("--inner", action="store_true", help="score items of the training part")
    given = parser.parse_args()
    cells = np.loadtxt(DATA / "ml-100k/u.data", dtype=str)
    table = {"user": cells[:, 0].astype(object), "item": cells[:, 1].astype(object)}
    table["rating"] = cells[:, 2].astype(np.float64)
    print(f"tenfold {tenfold.__version__}, {'inner items' if given.inner else 'test items'}")
    row("without ratings", "seed", "mean", "the other side's mean", *given.methods, "best of these: gain, %")
    row(*["---"] * (5 + len(given.methods)))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        side_tables(folder)
        for side, other in (("item", "user"), ("user", "item")):
            gains = []
            columns = {"item": ("genre", "year"), "user": ("age", "gender", "occupation")}[side]
            for seed in range(given.draws):
                train, test = without(table, side, seed)
                if given.inner:
                    train, test = without(train, side, 1000 + seed)
                base = baselines(train, test, other)
                found = []
                for method in given.methods:
                    run = tenfold.fit(
                        train, user="user", item="item", target="rating", method=method, side=columns,
                        **{f"{side}_table": str(folder / f"{side}s.csv")},
                        run=folder / f"{method}{side}{seed}",
                    )  # fmt: skip
                    answers = run.predict({"user": test["user"], "item": test["item"]})
                    found.append(rmse(answers.score, test))
                    inside = np.abs(answers.score - test["rating"]) <= 1.645 * answers.deviation
                    if method == "gibbs":
                        print(f"90 % intervals of gibbs hold {100 * inside.mean():.1f} %")
                gains.append([100 * (1 - one / min(base)) for one in found])
                row(side, seed, *base, *found, " ".join(f"{gain:.2f}" for gain in gains[-1]))
            means = " ".join(f"{gain:.2f}" for gain in np.mean(gains, axis=0))
            row(side, "mean", "", "", *[""] * len(given.methods), means)


if __name__ == "__main__":
    main()
