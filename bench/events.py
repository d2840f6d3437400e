"""Events: tenfold beside `implicit`, in one run; and the leave-last-out split of He et al. 2017 (NCF).

    python bench/events.py peers --peers PYTHON     # PYTHON has `pip install implicit scipy`
    python bench/events.py ncf
    python bench/events.py last --data NAME         # of a table with times
    python bench/events.py shown [--data NAME] [--inner]

`peers` fits ratings of 4 and more of MovieLens 1M as events, a random fifth of each user's held out (as
`bench/lists.py --events`); every fit is a process of its own, of whom seconds of the processors, wall
seconds and the most memory are taken around the fit alone and of the whole; NDCG@10 is computed here, by
the same code for all. `ncf` holds out the last row of each user in the log of MovieLens 1M, where every
rating is an event, and ranks it among all items, and among 100 others drawn at random, as the paper does.
`last` holds out by time (each user's last, the latest tenth) and at random, with recent rows counted as all
others (``--recent 0``) and as the fit chooses.
`shown` takes ratings up to 2 as shown and not taken, beside the events of `peers`, with several weights;
``--inner`` holds out a fifth of the training events instead. Every line is a row of a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from lists import DATA, SETS, columns, read, split

import tenfold
from tenfold.metrics import ItemLists, ranking_scores
from tenfold.recipe import FactorRecipe
from tenfold.schema import IdColumn, RatingTarget, Schema

SCHEMA = Schema(inputs=(IdColumn(name="user"), IdColumn(name="item")), targets=(RatingTarget(name=None),))
#: Name -> code that fits `model` to `events` (users x items, CSR, float32 ones).
PEERS = {
    "implicit ALS, its defaults": "model = implicit.als.AlternatingLeastSquares(random_state=0)",
    "implicit ALS, 64 factors, alpha 5, regularization 1": "model = implicit.als.AlternatingLeastSquares("
    "factors=64, regularization=1, alpha=5, random_state=0)",
    "implicit cosine, K 100": "model = implicit.nearest_neighbours.CosineRecommender(K=100)",
    "implicit BPR, its defaults": "model = implicit.bpr.BayesianPersonalizedRanking(random_state=0)",
}
PEER = """
import os
os.environ["OPENBLAS_NUM_THREADS"] = "1"
import json, sys, time
import numpy as np, scipy.sparse as sp, implicit
given = np.load(sys.argv[1])
shape = int(given["users"]), int(given["items"])
events = sp.csr_matrix((np.ones(len(given["user"]), np.float32), (given["user"], given["item"])), shape)
wall, own = time.monotonic(), time.process_time()
{code}
model.fit(events, show_progress=False)
cost = [time.process_time() - own, time.monotonic() - wall]
lists, _ = model.recommend(np.arange(shape[0]), events, N=10)
np.save(sys.argv[2], lists)
# Not ru_maxrss, which counts what the parent held when it forked.
held = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps([*cost, int(held.split()[1]) / 1024]))
"""
OWN = """
import json, sys, time
import numpy as np
from tenfold.collab import kernels
from tenfold.collab.recommend import seen_pairs
from tenfold.recipe import FactorRecipe
from tenfold.recommenders.methods import fit_scorer
from tenfold.values import Ratings
given = np.load(sys.argv[1])
ids = lambda count: np.arange(count).astype(str).astype(object)
events = Ratings(
    users=ids(given["users"]), items=ids(given["items"]),
    user_index=given["user"].astype(np.uint32), item_index=given["item"].astype(np.uint32),
    ratings=np.ones(len(given["user"]), np.float32), times=None, scale=(1.0, 1.0), implicit=True,
)
wall, own = time.monotonic(), time.process_time()
scorer = fit_scorer(events, FactorRecipe(**{choices}), {})
cost = [time.process_time() - own, time.monotonic() - wall]
known = scorer.interactions
users = np.arange(len(known.users))
everything = np.ones(len(known.items), bool)
best = scorer.best(users, everything, 10, lambda part: seen_pairs(known, users[part]), 2)
lists = np.full((len(users), 10), -1)
lists[best.row, np.arange(len(best.row)) - np.searchsorted(best.row, best.row)] = best.item
np.save(sys.argv[2], lists)
# Not ru_maxrss, which counts what the parent held when it forked.
held = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps([*cost, int(held.split()[1]) / 1024]))
"""


def peers(python: str, name: str) -> None:
    """A row for each method: NDCG@10, seconds of the processors and of the wall, most memory."""
    train, test = split([row for row in read(name) if row[2] >= SETS[name][3]], 0)
    users, items = (sorted({row[side] for row in train}) for side in (0, 1))
    place = [{key: k for k, key in enumerate(ids)} for ids in (users, items)]
    pairs = np.array(sorted((place[0][row[0]], place[1][row[1]]) for row in train))
    known = [row for row in test if row[0] in place[0]]
    truth: list[list[int]] = [[] for _ in users]
    for number, row in enumerate(known):
        truth[place[0][row[0]]].append(place[1].get(row[1], len(items) + number))
    seen = ItemLists.of(np.split(pairs[:, 1], np.searchsorted(pairs[:, 0], np.arange(1, len(users)))))
    with tempfile.TemporaryDirectory() as folder:
        given, found = f"{folder}/events.npz", f"{folder}/lists.npy"
        np.savez(given, user=pairs[:, 0], item=pairs[:, 1], users=len(users), items=len(items))
        runs = [
            ("tenfold ease (default)", sys.executable, OWN.replace("{choices}", str({"method": "ease"}))),
            ("tenfold als", sys.executable, OWN.replace("{choices}", str({"method": "als"}))),
            *((who, python, PEER.replace("{code}", code)) for who, code in PEERS.items()),
        ]
        for who, program, code in runs:
            done = subprocess.run(
                [program, "-c", code, given, found], check=True, capture_output=True, text=True
            )
            processors, wall, memory = json.loads(done.stdout.splitlines()[-1])
            scores = ranking_scores(ItemLists.of([*np.load(found)]), truth, n=10, seen=seen)
            figures = f"{scores['ndcg']:.4f} | {processors:.1f} | {wall:.1f} | {memory:.0f} MB"
            print(f"| {name} | {who} | {figures} |", flush=True)


def ncf() -> None:
    """Leave-last-out of MovieLens 1M by the order in the log: hit rate and NDCG at 10."""
    lines = Path(DATA, SETS["ml-1m"][0]).read_text().splitlines()[1:]
    rows = [line.split(",")[:2] for line in lines]
    last = {user: number for number, (user, _) in enumerate(rows)}
    held = set(last.values())
    train, test = (
        {"user": [rows[k][0] for k in part], "item": [rows[k][1] for k in part]}
        for part in ([k for k in range(len(rows)) if k not in held], sorted(held))
    )
    fits: dict[str, dict[str, Any]] = {
        "ease (default)": {},
        "ease --in-order": {"in_order": True},
        "als": {"method": "als"},
    }
    for who, choices in fits.items():
        with tempfile.TemporaryDirectory() as folder:
            began = time.process_time()
            recipe = FactorRecipe(**choices)
            run = tenfold.fit(SCHEMA, recipe, train, run=f"{folder}/run", report=False, history=False)
            seconds = time.process_time() - began
            for negatives in (100, None):
                lists: Any = run.evaluate(test, n=10, negatives=negatives)["lists"]
                each = {who: lists, **({} if choices else lists["baselines"])}
                for name, scores in each.items():
                    among = "100 drawn" if negatives else "all items"
                    cost = f"{seconds:.0f}" if name == who else ""
                    print(
                        f"| {name} | {among} | {scores['hit']:.4f} | {scores['ndcg']:.4f} | {cost} |",
                        flush=True,
                    )


def last(name: str) -> None:
    """Hold out the last of each user, the latest tenth and a random one; every rating is an event."""
    file, separator, header, _ = SETS[name]
    lines = [line.split(separator) for line in Path(DATA, file).read_text().splitlines()[header:]]
    table = dict(zip(("user", "item", "rating", "time"), zip(*lines, strict=True), strict=True))
    table = {column: list(table[column]) for column in ("user", "item", "time")}
    schema = SCHEMA.model_copy(update={"time": "time"})
    for how, recent in ((how, recent) for how in ("last", "time", "random") for recent in (0, None)):
        with tempfile.TemporaryDirectory() as folder:
            recipe = FactorRecipe(split=how, valid=0.1, recent=recent)
            run: Any = tenfold.fit(schema, recipe, table, run=f"{folder}/run", report=False, history=False)
            lists = run.scores["event"]["lists"]
            each = {f"ease, recent {run.recent:g}": lists, **lists["baselines"]}
            for who, scores in each.items() if recent is None else [*each.items()][:1]:
                figures = f"{scores['hit']:.4f} | {scores['ndcg']:.4f}"
                print(f"| {name} | {how} | {who} | {lists['users']} | {figures} |", flush=True)


def shown(name: str, inner: bool) -> None:
    """NDCG@10 with low ratings as weak negatives."""
    rows = read(name)
    train, test = split([row for row in rows if row[2] >= SETS[name][3]], 0)
    if inner:
        train, test = split(train, 1)
    low = [(*row[:2], 0.0) for row in rows if row[2] <= 2]
    table, held = columns([(*row[:2], 1.0) for row in train] + low, events=False), columns(test, events=True)
    schema = SCHEMA.model_copy(update={"targets": (RatingTarget(name="rating"),)})
    for method in ("ease", "als"):
        for weight in (None, 0.05, 0.1, 0.2, 0.5, 1.0):
            with tempfile.TemporaryDirectory() as folder:
                recipe = FactorRecipe(method=method, kind="implicit", shown=weight)
                run = tenfold.fit(schema, recipe, table, run=f"{folder}/run", report=False, history=False)
                lists: Any = run.evaluate({**held, "rating": [1.0] * len(test)}, n=10)["lists"]
                print(f"| {name} | {method} | {weight or 'none'} | {lists['ndcg']:.4f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["peers", "ncf", "last", "shown"])
    parser.add_argument("--peers", default=sys.executable, help="Python that has implicit")
    parser.add_argument("--data", default="ml-1m", choices=list(SETS))
    parser.add_argument("--inner", action="store_true")
    asked = parser.parse_args()
    if asked.what == "peers":
        peers(asked.peers, asked.data)
    elif asked.what == "ncf":
        ncf()
    elif asked.what == "last":
        last(asked.data)
    else:
        shown(asked.data, asked.inner)


if __name__ == "__main__":
    main()
