"""A large log of ratings: read from Parquet and fitted, with seconds and the most memory after each step.

    python bench/large_log.py [--ratings N] [--method sgd] [--epochs N] [--sweeps N] [--folder FOLDER]

N ratings (100 million) of N / 210 users and 17,770 items, popular ones rated most, are drawn in pieces and
written as row groups; a fresh process reads the file and fits it. Nothing else is written.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ITEMS, PER_USER, PIECE = 17_770, 210, 2_000_000
FIT = """
import os, sys, time
from tenfold.data.ratings.index import index_ratings
from tenfold.data.tables.table import read_table
from tenfold.recipe import FactorRecipe
from tenfold.recommenders.methods import fit_model

began, spent = time.perf_counter(), time.process_time()

def tell(what):
    global began, spent
    lines = open("/proc/self/status").read().splitlines()
    most = next(int(line.split()[1]) / 2**20 for line in lines if line.startswith("VmHWM"))
    now, used = time.perf_counter(), time.process_time()
    print(f"| {what} | {now - began:.1f} | {used - spent:.1f} | {most:.2f} |", flush=True)
    began, spent = now, used

tell("start")
table = read_table(sys.argv[1])
tell("read")
ratings = index_ratings(table, time=False, kind="explicit")
del table
tell(f"index: {len(ratings.ratings):,} ratings, {len(ratings.users):,} users, {len(ratings.items):,} items")
model = fit_model(ratings, FactorRecipe(**eval(sys.argv[2])), {})
tell(f"fit {sys.argv[2]}")
"""


def write(path: Path, count: int) -> None:
    """Pieces of users, each pair once; half stars about a product of four factors."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    rng = np.random.default_rng(0)
    users = max(count // PER_USER, 100)
    q = rng.normal(0, 0.5, (ITEMS, 4)).astype(np.float32)
    fields = [("user", pa.int32()), ("item", pa.int32()), ("rating", pa.float32())]
    pieces = max(1, round(count / PIECE))
    with open(path, "wb") as stream, parquet.ParquetWriter(stream, pa.schema(fields)) as writer:
        for piece in np.array_split(np.arange(users), pieces):
            own = count // pieces
            user = (len(piece) * rng.random(int(1.3 * own)) ** 1.5).astype(np.int64)
            item = (ITEMS * rng.random(len(user)) ** 2).astype(np.int64)
            pair = rng.permutation(np.unique(user * ITEMS + item))[:own]
            user, item = pair // ITEMS, pair % ITEMS
            p = rng.normal(0, 0.5, (len(piece), 4)).astype(np.float32)
            score = 3.5 + (p[user] * q[item]).sum(axis=1) + rng.normal(0, 0.8, len(pair))
            rating = np.clip(np.rint(2 * score) / 2, 0.5, 5).astype(np.float32)
            cells = (user + piece[0]).astype(np.int32), item.astype(np.int32), rating
            writer.write_table(pa.table(dict(zip(("user", "item", "rating"), cells, strict=True))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--ratings", type=int, default=100_000_000)
    parser.add_argument("--method", default="sgd")
    parser.add_argument("--factors", type=int)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--sweeps", type=int)
    parser.add_argument("--folder", help="keep the file here, and take it where it is there")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        path = Path(given.folder or name) / f"log-{given.ratings}.parquet"
        if not path.exists():
            write(path, given.ratings)
        print(
            f"{path.stat().st_size / 2**20:.0f} MiB of Parquet\n\n| | s | processors, s | most memory, GiB |"
        )
        print("|---|---|---|---|", flush=True)
        words = ("method", "factors", "epochs", "sweeps")
        recipe = {word: getattr(given, word) for word in words if getattr(given, word) is not None}
        subprocess.run([sys.executable, "-c", FIT, str(path), repr(recipe)], check=True)


if __name__ == "__main__":
    main()
