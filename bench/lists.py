"""Lists: how well runs with default settings rank what users take, beside the most popular items.

    python bench/lists.py [--data NAME ...] [--method NAME ...] [--events] [--inner]
        [--core-items N] [--alone]

A random fifth of each user's ratings (of users with five or more) is held out, seed 0; `tenfold evaluate
--lists 10` scores the run. ``--events`` takes only ratings that count as liked, as events. ``--inner`` holds
out a fifth of the training part instead, with which the constants in `tenfold.collab.item_item` were chosen.
``--core-items N`` has N items in the core, and ``--alone`` joins no others to it.
Every line is a row of a Markdown table: data, method, NDCG@10 where every held-out item counts and where only
liked ones do, the same of the most popular items, RMSE, seconds of the processors (of the fit, with reading).
"""

from __future__ import annotations

import argparse
import csv
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import tenfold
from tenfold.collab import item_item
from tenfold.recipe import FactorRecipe, RatingNetworkRecipe
from tenfold.schema import IdColumn, RatingTarget, Schema

DATA = Path(os.environ.get("TENFOLD_DATA", "../shared/data"))
#: Data set -> file, separator, whether it has a header, the rating from which an item counts as liked.
SETS: dict[str, tuple[str, str, bool, float]] = {
    "ml-1m": ("ml-1m/ratings.csv", ",", True, 4),
    "ml-100k": ("ml-100k/u.data", "\t", False, 4),
    "filmtrust": ("filmtrust/ratings.csv", ",", True, 3.5),
    "movietweetings-100k": ("movietweetings-100k/ratings.dat", "::", False, 8),
}


def read(name: str) -> list[tuple[str, str, float]]:
    """User, item and rating; of a repeated pair the last one."""
    file, separator, header, _ = SETS[name]
    lines = (DATA / file).read_text().splitlines()[header:]
    rows = (
        csv.reader(lines, delimiter=separator) if len(separator) == 1 else (x.split(separator) for x in lines)
    )
    return [
        (user, item, rating) for (user, item), rating in {(r[0], r[1]): float(r[2]) for r in rows}.items()
    ]


def split(rows: list[tuple[str, str, float]], seed: int) -> tuple[list[Any], list[Any]]:
    """The rows to fit, and a random fifth of each user's rows, of users with five or more."""
    rng, by_user = np.random.default_rng(seed), {}
    for row in rows:
        by_user.setdefault(row[0], []).append(row)
    train, test = [], []
    for own in by_user.values():
        order = rng.permutation(len(own))
        cut = len(own) // 5 if len(own) >= 5 else 0
        test += [own[at] for at in order[:cut]]
        train += [own[at] for at in order[cut:]]
    return train, test


def columns(rows: list[tuple[str, str, float]], *, events: bool) -> dict[str, list[Any]]:
    user, item, rating = (list(column) for column in zip(*rows, strict=True))
    return {"user": user, "item": item} | ({} if events else {"rating": rating})


def measure(name: str, method: str, *, events: bool, inner: bool, core: int | None = None) -> None:
    """Fit, score, and print a row."""
    liked = SETS[name][3]
    rows = [row for row in read(name) if not events or row[2] >= liked]
    train, test = split(rows, 0)
    if inner:
        train, test = split(train, 1)
    schema = Schema(
        inputs=(IdColumn(name="user"), IdColumn(name="item")),
        targets=(RatingTarget(name=None if events else "rating"),),
    )
    recipe: FactorRecipe | RatingNetworkRecipe
    recipe = (
        RatingNetworkRecipe()
        if method == "network"
        else FactorRecipe(core_items=core, **({"method": method} if method else {}))
    )
    held = columns(test, events=events)
    with tempfile.TemporaryDirectory() as folder:
        wall, processors = time.monotonic(), time.process_time()
        run = tenfold.fit(
            schema, recipe, columns(train, events=events), run=f"{folder}/run", report=False, history=False
        )
        wall, processors = time.monotonic() - wall, time.process_time() - processors
        scores = run.evaluate(held, n=10)
        only = scores if events else run.evaluate(held, n=10, relevant_from=liked)
        size = sum(file.stat().st_size for file in Path(folder, "run").iterdir()) / 1e6
        ranked = [
            (one["lists"]["ndcg"], one["lists"]["baselines"]["most_popular"]["ndcg"])
            for one in (scores, only)
        ]
    shown = [f"{value:.4f}" for pair in (ranked[:1] if events else ranked) for value in pair]
    rmse = "" if events else f"{scores['rmse']:.4f}"
    what = "events" if events else "ratings"
    cells = (
        name,
        what,
        run.record.method,
        *shown,
        rmse,
        f"{processors:.1f}",
        f"{wall:.1f}",
        f"{size:.0f} MB",
    )
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)
    for note in run.record.notes:
        if note.startswith(("lists:", "weights")):
            print(f"  {note}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="*", default=list(SETS))
    parser.add_argument("--method", nargs="*", default=["gibbs", "als", "sgd"])
    parser.add_argument("--events", action="store_true")
    parser.add_argument("--inner", action="store_true")
    parser.add_argument("--core-items", type=int)
    parser.add_argument("--alone", action="store_true")
    asked = parser.parse_args()
    if asked.alone:
        item_item.JOINED_ITEMS = 0
    for name in asked.data:
        for method in [""] if asked.events else asked.method:
            measure(name, method, events=asked.events, inner=asked.inner, core=asked.core_items)


if __name__ == "__main__":
    main()
