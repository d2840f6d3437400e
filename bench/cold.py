"""Items and users without ratings, predicted from their columns: MovieLens 100K, a tenth removed wholly.

    TENFOLD_DATA=FOLDER python bench/cold.py [--draws N] [--methods NAME ...] [--inner] [--events]

Of each draw (`default_rng(seed).permutation` of the sorted ids, seeds 0, 1, 2) a tenth of the items has no
rating in training. Items have genres and a year (of the title), users age, gender and occupation. Beside:
the mean, and the better of the users' plain means and of the same shrunk by five ratings. With --inner a
further tenth of the items is removed from the training part, and scored instead: to choose by. With --events
ratings of 4 and more are events, and the removed items are ranked among each other (`--new-items`): NDCG at
10, beside the cosine of an item's columns and the sum of those of what the user took, and a random order.
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


def ndcg(lists: dict[str, list[str]], test: dict[str, Any]) -> float:
    """Over the users of the lists who took one of the removed items."""
    wanted: dict[str, set[str]] = {}
    for user, item in zip(test["user"], test["item"], strict=True):
        wanted.setdefault(user, set()).add(item)
    discount = 1 / np.log2(np.arange(10) + 2)
    found = []
    for user, own in wanted.items():
        if user in lists:
            gain = np.array([item in own for item in lists[user][:10]], float)
            found.append(gain @ discount[: len(gain)] / discount[: min(10, len(own))].sum())
    return float(np.mean(found))


def by_content(folder: Path, train: dict[str, Any], users: list[str], items: list[str]) -> dict[str, Any]:
    """Lists by the cosine of an item's genres and year and the sum of those of what the user took."""
    lines = [line.split(",") for line in (folder / "items.csv").read_text().splitlines()[1:]]
    words = {item: {*genres.split("|"), year} for item, genres, year in lines}
    names = sorted(set().union(*words.values()))
    place = {name: number for number, name in enumerate(names)}
    vector = {}
    for item, own in words.items():
        vector[item] = np.zeros(len(names))
        vector[item][[place[name] for name in own]] = len(own) ** -0.5
    new = np.stack([vector[item] for item in items])
    profile = {user: np.zeros(len(names)) for user in users}
    for user, item in zip(train["user"], train["item"], strict=True):
        profile[user] += vector[item]
    return {user: [items[k] for k in np.argsort(-new @ own, kind="stable")] for user, own in profile.items()}


def events(folder: Path, table: dict[str, np.ndarray], draws: int, inner: bool) -> None:
    """A row for each draw: NDCG at 10 of lists of the removed items alone."""
    liked = {name: table[name][table["rating"] >= 4] for name in ("user", "item")}
    row("events", "draw", "`ease`", "`als`", "columns' cosine", "random")
    row(*["---"] * 6)
    every = []
    for seed in range(draws):
        train, test = without(liked, "item", seed)
        if inner:
            train, test = without(train, "item", 1000 + seed)
        users, items = sorted(set(train["user"])), sorted(set(test["item"]))
        rng = np.random.default_rng(seed)
        found = []
        for method in ("ease", "als"):
            run = tenfold.fit(
                train, user="user", item="item", method=method, side=("genre", "year"),
                item_table=str(folder / "items.csv"), run=folder / f"{method}{seed}",
            )  # fmt: skip
            lists = run.recommend(n=10, new_items=True, candidates=items)
            found.append(ndcg({user: list(lists.items[lists.users == user]) for user in users}, test))
        found.append(ndcg(by_content(folder, train, users, items), test))
        found.append(ndcg({user: list(rng.permutation(items)) for user in users}, test))
        every.append(found)
        row("", seed, *found)
    row("", "mean", *np.mean(every, axis=0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--methods", nargs="+", default=["gibbs", "als", "sgd"])
    parser.add_argument("--inner", action="store_true", help="score items of the training part")
    parser.add_argument("--events", action="store_true", help="rank removed items by liked events")
    given = parser.parse_args()
    cells = np.loadtxt(DATA / "ml-100k/u.data", dtype=str)
    table = {"user": cells[:, 0].astype(object), "item": cells[:, 1].astype(object)}
    table["rating"] = cells[:, 2].astype(np.float64)
    print(f"tenfold {tenfold.__version__}, {'inner items' if given.inner else 'test items'}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        side_tables(folder)
        if given.events:
            events(folder, table, given.draws, given.inner)
            return
        names = ("without ratings", "seed", "mean", "the other side's mean")
        row(*names, *given.methods, "best of these: gain, %")
        row(*["---"] * (5 + len(given.methods)))
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
