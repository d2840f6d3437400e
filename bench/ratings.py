"""Ratings: accuracy, speed and memory, beside other libraries on the same ratings in the same run.

    python bench/ratings.py [--only NAME ...] [--peers PYTHON] [--folds N]

NAME is one of the parts below (none: all of them). PYTHON is an interpreter that has the other libraries;
without it, or where one of them is not installed, that is said and nothing stands in its place. Real
ratings are read from the folder TENFOLD_DATA. Every part prints the rows of a Markdown table.

Accuracy is that of `tenfold fit` with default settings: the same functions on the same table, no file
written.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

DATA = Path(os.environ.get("TENFOLD_DATA", "../shared/data"))
HERE = Path(__file__).parent
LARGE = 10_000_000


class Part(NamedTuple):
    """Ratings as columns of text ids, and the test pairs."""

    train: dict[str, np.ndarray]
    test: dict[str, np.ndarray]


class Peers:
    """Other libraries, run by another interpreter."""

    def __init__(self, python: str | None) -> None:
        self.python = python

    def ask(self, name: str, folder: str, **options: Any) -> dict[str, Any] | str:
        """What `ratings_peers.py` found, or why there is nothing."""
        if self.python is None:
            return "no --peers given"
        command = [self.python, str(HERE / "ratings_peers.py"), name, folder, json.dumps(options)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            return f"did not run: {said[-1]}"
        return json.loads(done.stdout.strip().splitlines()[-1])


def row(*cells: Any) -> None:
    shown = [f"{cell:.4f}" if isinstance(cell, float) else str(cell) for cell in cells]
    print("| " + " | ".join(shown) + " |", flush=True)


def say_peer(name: str, answers: list[dict[str, Any] | str]) -> None:
    """Mean over the folds of what a peer reached."""
    failed = [one for one in answers if isinstance(one, str)]
    if failed:
        return row(name, "-", "-", "-", failed[0])
    good = [one for one in answers if not isinstance(one, str)]
    means = (float(np.mean([one[key] for one in good])) for key in ("rmse", "mae", "seconds"))
    return row(f"{name} {good[0]['version']}", *means, "")


# --- the ratings ----------------------------------------------------------------------------------------


def movielens_100k() -> Iterator[Part]:
    """The official folds u1 to u5."""
    for fold in range(1, 6):
        yield Part(
            *(_columns(np.loadtxt(DATA / f"ml-100k/u{fold}.{end}", dtype=str)) for end in ("base", "test"))
        )


def _columns(cells: np.ndarray) -> dict[str, np.ndarray]:
    names = ("user", "item", "rating", "time")[: cells.shape[1]]
    found = {name: cells[:, k].astype(object) for k, name in enumerate(names)}
    return found | {"rating": cells[:, 2].astype(np.float64)}


def _file(name: str) -> dict[str, np.ndarray]:
    path = {
        "ml1m": "ml-1m/ratings.csv",
        "filmtrust": "filmtrust/ratings.csv",
        "jester": "jester5k/ratings.csv",
        "movietweetings": "movietweetings-100k/ratings.dat",
    }[name]
    lines = (DATA / path).read_text().splitlines()
    mark = "::" if path.endswith(".dat") else ","
    cells = np.array([line.split(mark) for line in lines[0 if mark == "::" else 1 :]])
    columns = _columns(cells)
    # A pair counts once, by its last line, before the folds are cut: else it could be on both sides.
    pair = np.char.add(np.char.add(cells[:, 0], "\t"), cells[:, 1])
    keep = np.sort(len(pair) - 1 - np.unique(pair[::-1], return_index=True)[1])
    return {key: column[keep] for key, column in columns.items()}


def five_folds(name: str) -> Iterator[Part]:
    """Five random folds, drawn with seed 0."""
    columns = _file(name)
    order = np.random.default_rng(0).permutation(len(columns["rating"]))
    for fold in np.array_split(order, 5):
        yield _held_out(columns, fold)


def one_tenth(name: str) -> Iterator[Part]:
    """The first tenth of a random permutation with seed 0 is the test."""
    columns = _file(name)
    count = len(columns["rating"])
    yield _held_out(columns, np.random.default_rng(0).permutation(count)[: count // 10])


def _held_out(columns: dict[str, np.ndarray], test: np.ndarray) -> Part:
    rest = np.ones(len(columns["rating"]), bool)
    rest[test] = False
    return Part({k: v[rest] for k, v in columns.items()}, {k: v[test] for k, v in columns.items()})


def by_index(part: Part, folder: str) -> None:
    """The same ratings for the peers, as arrays in a folder."""
    for side, short in (("user", "u"), ("item", "i")):
        known, index = np.unique(part.train[side].astype(str), return_inverse=True)
        asked = part.test[side].astype(str)
        place = np.minimum(np.searchsorted(known, asked), len(known) - 1)
        np.save(f"{folder}/{short}.npy", index.astype(np.int32))
        np.save(f"{folder}/t{short}.npy", np.where(known[place] == asked, place, -1).astype(np.int32))
    np.save(f"{folder}/r.npy", part.train["rating"].astype(np.float32))
    np.save(f"{folder}/tr.npy", part.test["rating"])


def large(count: int = LARGE) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """User, item and rating of synthetic ratings: 70,000 users, 10,700 items, popular ones rated most."""
    rng = np.random.default_rng(0)
    users, items = 70_000, 10_700
    # Drawn with room for repeated pairs, which are then taken out.
    draw = int(1.3 * count)
    user = (users * rng.random(draw) ** 1.5).astype(np.int64)
    item = (items * rng.random(draw) ** 2).astype(np.int64)
    pair = np.unique(user * items + item)
    pair = np.sort(rng.permutation(pair)[:count])
    user, item = pair // items, pair % items
    p, q = (
        rng.normal(0, 0.5, (users, 4)).astype(np.float32),
        rng.normal(0, 0.5, (items, 4)).astype(np.float32),
    )
    score = 3.5 + (p[user] * q[item]).sum(axis=1) + rng.normal(0, 0.8, len(user)).astype(np.float32)
    return (
        user.astype(np.int32),
        item.astype(np.int32),
        np.clip(np.rint(2 * score) / 2, 0.5, 5).astype(np.float32),
    )


def as_ratings(user: np.ndarray, item: np.ndarray, rating: np.ndarray) -> Any:
    """tenfold's `Ratings` of arrays that are sorted already."""
    from tenfold.values import Ratings

    ids = [np.arange(index.max() + 1).astype(str).astype(object) for index in (user, item)]
    return Ratings(*ids, user.astype(np.uint32), item.astype(np.uint32), rating, None, (0.5, 5.0))


# --- tenfold --------------------------------------------------------------------------------------------


def fit_ours(part: Part, *, timed: bool = False, side: bool = False, **recipe: Any) -> dict[str, Any]:
    """As `tenfold fit` and `tenfold evaluate` do it; seconds are those of the fit, without reading."""
    from tenfold.collab.predict import FactorScorer, predict_pairs
    from tenfold.data.ratings.index import index_ratings
    from tenfold.data.ratings.side import encode_side
    from tenfold.data.tables.table import read_table
    from tenfold.recipe import FactorRecipe
    from tenfold.recommenders.methods import fit_model

    ratings = index_ratings(read_table(part.train), time=None if timed else False, kind="explicit")
    sides = {}
    if side:
        table = read_table(DATA / "ml-100k/u.user")
        sides["user"] = encode_side(table, ["column_2", "column_3", "column_4"], ratings.users, role="user")
        table = read_table(DATA / "ml-100k/u.item")
        sides["item"] = encode_side(table, [f"column_{k}" for k in range(6, 25)], ratings.items)
    started, spent = time.perf_counter(), time.process_time()
    model = fit_model(ratings, FactorRecipe(**recipe), sides)
    seconds, spent = time.perf_counter() - started, time.process_time() - spent
    times = part.test["time"].astype(float) if timed else None
    found = predict_pairs(
        FactorScorer(model), part.test["user"], part.test["item"], {} if times is None else {"time": times}
    )
    error = found.score - part.test["rating"]
    return {
        "rmse": float(np.sqrt(np.mean(error**2))),
        "mae": float(np.abs(error).mean()),
        "inside": float((np.abs(error) <= 1.645 * found.deviation).mean()),
        "seconds": seconds,
        "cpu": spent,
    }


def warm_up() -> None:
    """Load or compile the kernels, which is no part of any figure but the cold one."""
    rng = np.random.default_rng(0)
    cells = {
        "user": rng.integers(0, 30, 600),
        "item": rng.integers(0, 30, 600),
        "time": rng.integers(0, 9**6, 600),
    }
    columns = {name: values.astype(str).astype(object) for name, values in cells.items()}
    part = Part(columns | {"rating": rng.integers(1, 6, 600).astype(float)}, {})
    part = part._replace(test=part.train)
    for recipe in ({"sweeps": 8}, {"method": "sgd"}, {"method": "als"}):
        fit_ours(part, timed=True, **recipe)


def accuracy(
    title: str,
    parts: Callable[[], Iterator[Part]],
    peers: Peers,
    folds: int,
    ours: dict[str, dict[str, Any]],
    theirs: dict[str, tuple[str, dict[str, Any]]],
) -> None:
    print(f"\n### {title}\n")
    row("", "RMSE", "MAE", "fit, s", "")
    row(*["---"] * 5)
    chosen = [part for _, part in zip(range(folds), parts(), strict=False)]
    for name, options in ours.items():
        found = [fit_ours(part, **options) for part in chosen]
        means = [float(np.mean([one[key] for one in found])) for key in ("rmse", "mae", "seconds", "cpu")]
        each = " ".join(f"{one['rmse']:.4f}" for one in found)
        inside = 100 * float(np.mean([one["inside"] for one in found]))
        held = f"; 90 % intervals hold {inside:.1f} %" if inside else ""
        row(f"tenfold, {name}", *means[:3], f"{means[3]:.2f} s of processors; folds {each}{held}")
    for name, (library, options) in theirs.items():
        answers = []
        for part in chosen if peers.python else chosen[:1]:
            with tempfile.TemporaryDirectory() as folder:
                by_index(part, folder)
                answers.append(peers.ask(library, folder, **options))
            if isinstance(answers[-1], str):
                break
        say_peer(name, answers)


TUNED = {"factors": 100, "epochs": 80, "reg": 0.1}


def ml100k(peers: Peers, folds: int) -> None:
    ours = {
        "ids only (--no-implicit)": {"implicit": False},
        "default": {},
        "default + side columns": {"side": True},
        "default + time": {"timed": True},
        "als": {"method": "als"},
        "sgd": {"method": "sgd"},
    }
    theirs = {
        "myFM, ids, 200 sweeps:": ("myfm", {"sweeps": 200}),
        "myFM, implicit and flipped, 300 sweeps:": ("myfm", {"sweeps": 300, "implicit": True}),
        "SVD, 100 factors, 80 epochs, reg 0.1: Surprise": ("scikit-surprise", TUNED),
        "MF, 50 factors, 20 epochs: Cornac": ("cornac", {}),
        "BiasedMF, 50 factors: LensKit": ("lenskit", {}),
    }
    accuracy("MovieLens 100K, official folds u1 to u5", movielens_100k, peers, folds, ours, theirs)


def ml1m(peers: Peers, folds: int) -> None:
    theirs = {"SVD, 100 factors, 80 epochs, reg 0.1: Surprise": ("scikit-surprise", TUNED)}
    theirs["MF, 50 factors, 20 epochs: Cornac"] = ("cornac", {})
    accuracy(
        "MovieLens 1M, random 90/10, seed 0", lambda: one_tenth("ml1m"), peers, 1, {"default": {}}, theirs
    )


def others(name: str, title: str) -> Callable[[Peers, int], None]:
    theirs = {
        "myFM, ids, rank 10, 200 sweeps:": ("myfm", {"sweeps": 200}),
        "myFM, implicit and flipped, 200 sweeps:": ("myfm", {"sweeps": 200, "implicit": True}),
        "SVD, 100 factors, 80 epochs, reg 0.1: Surprise": ("scikit-surprise", TUNED),
        "SVD, defaults: Surprise": ("scikit-surprise", {}),
        "baseline: Surprise": ("scikit-surprise", {"kind": "BaselineOnly"}),
        "MF, 50 factors, 20 epochs: Cornac": ("cornac", {}),
        "BiasedMF, 50 factors: LensKit": ("lenskit", {}),
    }

    def run(peers: Peers, folds: int) -> None:
        accuracy(
            f"{title}, five random folds, seed 0",
            lambda: five_folds(name),
            peers,
            folds,
            {"default": {}},
            theirs,
        )

    return run


def cornac(peers: Peers, folds: int) -> None:
    """sgd against Cornac's MF on MovieLens 100K: the best of five fits of each, in turn."""
    warm_up()
    print("\n### sgd and Cornac, MovieLens 100K u1 to u5, compiled\n")
    row("", "RMSE", "MAE", "fit, s", "")
    row(*["---"] * 5)
    chosen = [part for _, part in zip(range(folds), movielens_100k(), strict=False)]
    ours, theirs = [], []
    for part in chosen:
        with tempfile.TemporaryDirectory() as folder:
            by_index(part, folder)
            rounds = [(fit_ours(part, method="sgd"), peers.ask("cornac", folder)) for _ in range(5)]
        ours.append(min((one for one, _ in rounds), key=lambda one: one["seconds"]))
        good = [one for _, one in rounds if not isinstance(one, str)]
        theirs.append(min(good, key=lambda one: one["seconds"]) if good else rounds[0][1])
    means = [float(np.mean([one[key] for one in ours])) for key in ("rmse", "mae", "seconds", "cpu")]
    row("tenfold, sgd", *means[:3], f"{means[3]:.3f} s of processors")
    say_peer("Cornac", theirs)


def reach(peers: Peers, folds: int) -> None:
    """Time of the default method, and of myFM, to RMSE 0.8815 (mean of the folds)."""
    warm_up()
    print("\n### Time to RMSE, MovieLens 100K, default method against myFM with implicit features\n")
    row("", "sweeps", "RMSE", "fit, s", "")
    row(*["---"] * 5)
    chosen = [part for _, part in zip(range(folds), movielens_100k(), strict=False)]
    for sweeps in (60, 120, 200, 400):
        found = [fit_ours(part, sweeps=sweeps) for part in chosen]
        rmse, seconds, cpu = (
            float(np.mean([one[key] for one in found])) for key in ("rmse", "seconds", "cpu")
        )
        row("tenfold", sweeps, rmse, seconds, f"{cpu:.2f} s of processors")
    answers = []
    for part in chosen if peers.python else chosen[:1]:
        with tempfile.TemporaryDirectory() as folder:
            by_index(part, folder)
            answers.append(peers.ask("myfm", folder, implicit=True, curve=[50, 100, 300]))
    if isinstance(answers[0], str):
        return row("myFM", "-", "-", "-", answers[0])
    for place in range(3):
        point = [one["curve"][place] for one in answers]
        means = (float(np.mean([one[key] for one in point])) for key in ("rmse", "seconds"))
        row(f"myFM {answers[0]['version']}", point[0]["sweeps"], *means, "")
    return None


# --- the lesson's ladder --------------------------------------------------------------------------------

LADDER = {
    "dot product alone": {"use_range": False, "use_bias": False, "weight_decay": 0.0},
    "+ range": {"use_bias": False, "weight_decay": 0.0},
    "+ bias": {"weight_decay": 0.0},
    "+ weight decay": {},
}


def ladder(peers: Peers, folds: int) -> None:
    """The lesson's model part by part: method sgd with its switches."""
    ours = {name: {"method": "sgd", **switches} for name, switches in LADDER.items()}
    accuracy(
        "The lesson's ladder, MovieLens 100K, 31 factors, 20 epochs", movielens_100k, peers, folds, ours, {}
    )
    ours = {f"{count} factors": {"method": "sgd", "factors": count} for count in (5, 15, 31, 63, 127)}
    accuracy("Number of factors, all parts on", movielens_100k, peers, folds, ours, {})


# --- speed and memory -----------------------------------------------------------------------------------


READ = """
import json, sys, time
from tenfold.data.tables.table import read_table
started = time.perf_counter()
table = read_table(sys.argv[1])
read = time.perf_counter() - started
table.codes("user"), table.codes("item"), table.numbers("rating")
print(json.dumps([table.rows, read, time.perf_counter() - started]))
"""
FIT = """
import sys
import numpy as np
sys.path.insert(0, {here!r})
from ratings import as_ratings
from tenfold.collab.{method} import fit_{method}
def peak():
    # Not of getrusage, where a new process starts with the peak of the one that started it.
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM"))
ratings = as_ratings(*(np.load({folder!r} + "/" + name + ".npy") for name in "uir"))
before = peak()
{call}
print(before, peak())
"""


def speed(title: str, name: str, value: float, unit: str, answers: dict[str, Any], key: str) -> None:
    """One of tenfold's figures and the same of others, with ratios."""
    print(f"\n### {title}\n")
    row("", unit, "tenfold takes of it")
    row(*["---"] * 3)
    row(f"tenfold, {name}", float(value), "1")
    for peer, answer in answers.items():
        if isinstance(answer, str):
            row(peer, "-", answer)
        else:
            row(f"{peer} {answer['version']}", float(answer[key]), f"{value / answer[key]:.2f}")


def _large_in(folder: str) -> Any:
    user, item, rating = large()
    order = np.random.default_rng(1).permutation(len(user))
    for name, column in (("u", user), ("i", item), ("r", rating)):
        np.save(f"{folder}/{name}.npy", column[order])
    return as_ratings(user, item, rating)


def sgd10m(peers: Peers, folds: int) -> None:
    """One epoch, the first one left out, as with LIBMF."""
    from tenfold.collab.sgd import fit_sgd

    warm_up()
    with tempfile.TemporaryDirectory() as folder:
        ratings, ends = _large_in(folder), []
        fit_sgd(
            ratings, factors=50, epochs=8, threads=2, on_epoch=lambda record: ends.append(time.perf_counter())
        )
        answers = {"LIBMF": peers.ask("libmf-epoch", folder)}
    best = float(np.diff(ends).mean())
    speed(
        "An epoch of SGD, 10 M ratings, 50 factors, 2 threads",
        "sgd (50 padded to 64)",
        best,
        "s",
        answers,
        "epoch_s",
    )


def gibbs10m(peers: Peers, folds: int) -> None:
    """One sweep: two chains work at once, so half the time in which each does one."""
    from tenfold.collab.gibbs import fit_gibbs

    warm_up()
    with tempfile.TemporaryDirectory() as folder:
        ratings, ends = _large_in(folder), []
        fit_gibbs(
            ratings, factors=32, sweeps=12, burn_in=5, implicit=False, threads=2,
            on_sweep=lambda record: ends.append(time.perf_counter()),
        )  # fmt: skip
        answers = {"myFM": peers.ask("myfm-sweep", folder)}
    best = float((ends[-1] - ends[1]) / (len(ends) - 2))
    speed("A sweep of Gibbs sampling, 10 M ratings, K = 32, ids only", "gibbs", best, "s", answers, "sweep_s")


def lists(peers: Peers, folds: int) -> None:
    """recommend --all -n 10, with 32 factors in each library."""
    from tenfold.collab.predict import FactorScorer
    from tenfold.collab.recommend import recommend

    columns = _file("ml1m")
    part = Part(columns, columns)
    with tempfile.TemporaryDirectory() as folder:
        by_index(part, folder)
        answers = {"implicit": peers.ask("implicit-lists", folder)}
    from tenfold.data.ratings.index import index_ratings
    from tenfold.data.tables.table import read_table
    from tenfold.recipe import FactorRecipe
    from tenfold.recommenders.methods import fit_model

    ratings = index_ratings(read_table(columns), time=False, kind="explicit")
    model = fit_model(ratings, FactorRecipe(method="als", factors=32, epochs=2), {})
    for threads in (1, 2):
        best = np.inf
        for _ in range(5):
            started = time.perf_counter()
            recommend(FactorScorer(model), None, n=10, threads=threads, reasons=0)
            best = min(best, time.perf_counter() - started)
        key = f"threads_{threads}_s"
        speed(
            f"Ten items for every user, MovieLens 1M, {threads} threads",
            "ids, scores",
            best,
            "s",
            answers,
            key,
        )


def csv10m(peers: Peers, folds: int) -> None:
    """Reading 10 M ratings, ids as text; each reader in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        user, item, rating = large()
        order = np.random.default_rng(1).permutation(len(user))
        path = f"{folder}/ratings.csv"
        with open(path, "w") as stream:
            stream.write("user,item,rating\n")
            for chunk in np.array_split(order, 50):
                cells = zip(user[chunk].tolist(), item[chunk].tolist(), rating[chunk].tolist(), strict=True)
                stream.write("".join(f"u{a},i{b},{c}\n" for a, b, c in cells))
        done = subprocess.run([sys.executable, "-c", READ, path], capture_output=True, text=True, check=True)
        _, read, coded = json.loads(done.stdout)
        answers = {name: peers.ask(f"read-{name}", path) for name in ("polars", "pandas")}
    title = "Reading 10 M ratings from CSV, ids as text"
    speed(title, "read_table", read, "s", answers, "read_s")
    speed(f"{title}, and each id as a number", "read_table and codes", coded, "s", answers, "with_codes_s")


def memory(peers: Peers, folds: int) -> None:
    """Most memory of a fit of 10 M ratings in a fresh process, the arrays of the ratings included."""
    print("\n### Peak memory of a fit of 10 M ratings, a fresh process\n")
    row("", "peak, MB", "of which before the fit")
    row(*["---"] * 3)
    with tempfile.TemporaryDirectory() as folder:
        for name, column in zip("uir", large(), strict=True):
            np.save(f"{folder}/{name}.npy", column)
        for call in (
            "fit_sgd(ratings, factors=50, epochs=2, threads=2)",
            "fit_gibbs(ratings, factors=32, sweeps=6, burn_in=1, implicit=False, threads=2)",
            "fit_gibbs(ratings, factors=32, sweeps=6, burn_in=1, threads=2)",
            "fit_als(ratings, factors=32, epochs=1, threads=2)",
        ):
            method = call[4 : call.index("(")]
            code = FIT.format(here=str(HERE), folder=folder, method=method, call=call)
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
            before, most = map(float, done.stdout.split())
            row(call.removeprefix("fit_"), f"{most:.0f}", f"{before:.0f}")


def command(peers: Peers, folds: int) -> None:
    """`tenfold fit` on MovieLens 100K from the start of the process to the saved run, cold and warm."""
    print("\n### `tenfold fit` on MovieLens 100K u1, whole command\n")
    row("", "s", "s of processors")
    row(*["---"] * 3)
    with tempfile.TemporaryDirectory() as folder:
        table = [str(DATA / "ml-100k/u1.base"), "--user", "1", "--item", "2", "--target", "3"]
        environment = {**os.environ, "NUMBA_CACHE_DIR": f"{folder}/cache"}
        for name in ("cold (kernels compiled)", "warm", "warm", "warm"):
            started, before = time.perf_counter(), os.times()
            words = [sys.executable, "-m", "tenfold", "fit", *table, "-o", f"{folder}/run"]
            subprocess.run(words, check=True, capture_output=True, env=environment)
            after = os.times()
            spent = (
                after.children_user + after.children_system - before.children_user - before.children_system
            )
            row(name, time.perf_counter() - started, spent)


def spark(peers: Peers, folds: int) -> None:
    """`--engine spark` beside the local als, with the same factors, sweeps and weight decay."""
    from tenfold.data.tables.table import write_parquet
    from tenfold.recipe import FactorRecipe
    from tenfold.runs.fitting import fit
    from tenfold.schema import IdColumn, RatingTarget, Schema

    print("\n### MovieLens 1M, random 90/10, seed 0: Spark's ALS on residuals, and `als` here\n")
    row("", "RMSE", "MAE", "fit, s of the clock")
    row(*["---"] * 4)
    schema = Schema(
        inputs=(IdColumn(name="user"), IdColumn(name="item")), targets=(RatingTarget(name="rating"),)
    )
    part = next(iter(one_tenth("ml1m")))
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "train.parquet"
        write_parquet(table, {name: part.train[name] for name in ("user", "item", "rating")})
        for engine in ("local", "spark"):
            recipe = FactorRecipe(method="als", engine=engine)
            started = time.perf_counter()
            run = fit(schema, recipe, str(table), run=f"{folder}/{engine}", history=False, report=False)
            seconds = time.perf_counter() - started
            found = run.evaluate({name: part.test[name] for name in ("user", "item", "rating")})
            scores = found["targets"]["rating"] if "targets" in found else found
            row(f"`--method als --engine {engine}`", scores["rmse"], scores["mae"], seconds)


PARTS: dict[str, Callable[[Peers, int], None]] = {
    "ml100k": ml100k,
    "spark": spark,
    "ml1m": ml1m,
    "movietweetings": others("movietweetings", "MovieTweetings 100K"),
    "filmtrust": others("filmtrust", "FilmTrust"),
    "jester": others("jester", "Jester, 5,000 users"),
    "ladder": ladder,
    "cornac": cornac,
    "reach": reach,
    "sgd10m": sgd10m,
    "gibbs10m": gibbs10m,
    "lists": lists,
    "csv10m": csv10m,
    "memory": memory,
    "command": command,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=sorted(PARTS), help="parts to run")
    parser.add_argument("--peers", help="an interpreter with the other libraries")
    parser.add_argument("--folds", type=int, default=5, help="folds of each accuracy")
    given = parser.parse_args()
    import numba

    import tenfold

    load = (
        f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors" if hasattr(os, "getloadavg") else ""
    )
    print(f"tenfold {tenfold.__version__}, numpy {np.__version__}, numba {numba.__version__}; {load}")
    for name in given.only or PARTS:
        PARTS[name](Peers(given.peers), given.folds)


if __name__ == "__main__":
    main()
