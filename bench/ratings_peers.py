"""What other libraries make of the same ratings; run by `bench/ratings.py` with a Python that has them.

    PEERS bench/ratings_peers.py NAME FOLDER ['{"option": value}']

FOLDER holds u.npy, i.npy, r.npy, the training ratings by index (int32, int32, float32), and for an accuracy
tu.npy, ti.npy, tr.npy, the test pairs, -1 where training knows no such id. One JSON object is printed.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

warnings.simplefilter("ignore")


def one_hot(u, i, users, items):
    import scipy.sparse as sp

    rows = np.concatenate([np.flatnonzero(u >= 0), np.flatnonzero(i >= 0)])
    columns = np.concatenate([u[u >= 0], i[i >= 0] + users])
    return sp.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(u), users + items))


def with_implicit(u, i, users, items):
    """One block a side: the id, and the normalised list of what it was rated with; the last row is nobody."""
    import scipy.sparse as sp
    from myfm import RelationBlock

    seen = sp.csr_matrix((np.ones(len(u), np.float64), (u, i)), shape=(users, items))
    seen.data[:] = 1
    blocks = []
    for table, count in ((seen, users), (seen.T.tocsr(), items)):
        counts = np.maximum(np.asarray(table.sum(axis=1)).ravel(), 1)
        block = sp.hstack([sp.identity(count), sp.diags(1 / np.sqrt(counts)) @ table])
        blocks.append(sp.vstack([block, sp.csr_matrix((1, block.shape[1]))]).tocsr())
    return lambda a, b: [
        RelationBlock(np.where(a < 0, users, a), blocks[0]),
        RelationBlock(np.where(b < 0, items, b), blocks[1]),
    ]


def fit_myfm(data, *, rank=10, sweeps=200, implicit=False, curve=()):
    """curve: numbers of sweeps; one whole fit of each is timed and scored."""
    import myfm

    u, i, r, tu, ti, tr, users, items = data

    def fit(sweeps):
        model = myfm.MyFMGibbsRegressor(rank=rank, random_seed=0)
        started = time.perf_counter()
        if implicit:
            blocks = with_implicit(u, i, users, items)
            shapes = [users, items, items, users]
            model.fit(None, r, X_rel=blocks(u, i), n_iter=sweeps, group_shapes=shapes)
            seconds = time.perf_counter() - started
            return model.predict(None, blocks(tu, ti)), seconds
        model.fit(one_hot(u, i, users, items), r, n_iter=sweeps, group_shapes=[users, items])
        seconds = time.perf_counter() - started
        return model.predict(one_hot(tu, ti, users, items)), seconds

    if curve:
        found = []
        for count in curve:
            score, seconds = fit(count)
            found.append({"sweeps": count, "seconds": seconds, **errors(score, r, tr)})
        return {"curve": found}
    return fit(sweeps)


def fit_surprise(data, *, factors=100, epochs=20, reg=0.02, kind="SVD"):
    import pandas as pd
    import surprise

    u, i, r, tu, ti, _, _, _ = data
    frame = pd.DataFrame({"u": u, "i": i, "r": r.astype(np.float64)})
    reader = surprise.Reader(rating_scale=(float(r.min()), float(r.max())))
    table = surprise.Dataset.load_from_df(frame, reader).build_full_trainset()
    if kind == "SVD":
        model = surprise.SVD(n_factors=factors, n_epochs=epochs, reg_all=reg, random_state=0)
    else:
        model = getattr(surprise, kind)()
    started = time.perf_counter()
    model.fit(table)
    seconds = time.perf_counter() - started
    score = [model.predict(int(a), int(b)).est for a, b in zip(tu, ti, strict=True)]
    return np.array(score), seconds


def fit_cornac(data, *, factors=50, epochs=20, lr=0.01, reg=0.02):
    import cornac
    from cornac.models import MF

    u, i, r, tu, ti, _, users, items = data
    table = cornac.data.Dataset.build(zip(u.tolist(), i.tolist(), r.tolist(), strict=True))
    settings = {"k": factors, "max_iter": epochs, "learning_rate": lr, "lambda_reg": reg}
    model = MF(**settings, use_bias=True, num_threads=2, seed=0)
    started = time.perf_counter()
    model.fit(table)
    seconds = time.perf_counter() - started
    user_of, item_of = np.full(users + 1, -1), np.full(items + 1, -1)
    for raw, own in table.uid_map.items():
        user_of[raw] = own
    for raw, own in table.iid_map.items():
        item_of[raw] = own
    a, b = user_of[tu], item_of[ti]
    score = (
        table.global_mean + np.where(a >= 0, model.u_biases[a], 0) + np.where(b >= 0, model.i_biases[b], 0)
    )
    both = (a >= 0) & (b >= 0)
    score += np.where(both, (model.u_factors[a] * model.i_factors[b]).sum(axis=1), 0)
    return score, seconds


def fit_lenskit(data, *, factors=50):
    import pandas as pd
    from lenskit.als import BiasedMFScorer
    from lenskit.data import ItemList, RecQuery, from_interactions_df

    u, i, r, tu, ti, _, _, _ = data
    frame = pd.DataFrame({"user_id": u, "item_id": i, "rating": r.astype(np.float64)})
    table = from_interactions_df(frame)
    model = BiasedMFScorer(embedding_size=factors)
    started = time.perf_counter()
    model.train(table)
    seconds = time.perf_counter() - started
    score = np.full(len(tu), np.nan)
    for user in np.unique(tu):
        rows = np.flatnonzero(tu == user)
        found = model(RecQuery(user_id=int(user)), ItemList(item_ids=ti[rows])).scores("numpy")
        score[rows] = found
    return np.where(np.isnan(score), r.mean(), score), seconds


def time_libmf(data, *, factors=50, epochs=6):
    """Seconds of one epoch: the difference of fits of 1 and of `epochs` epochs."""
    import libmf.mf as libmf

    u, i, r, _, _, _, _, _ = data
    table = np.column_stack([u, i, r]).astype(np.float32)

    def fit(count):
        model = libmf.MF(k=factors, nr_threads=2, nr_iters=count, nr_bins=26, quiet=True, copy_data=False)
        started = time.perf_counter()
        model.fit(table)
        return time.perf_counter() - started

    fit(1)
    once = fit(1)
    return {"epoch_s": (fit(epochs) - once) / (epochs - 1)}


def time_myfm_sweep(data, *, rank=32, sweeps=3):
    import myfm

    u, i, r, _, _, _, users, items = data
    table = one_hot(u, i, users, items)

    def fit(count):
        started = time.perf_counter()
        model = myfm.MyFMGibbsRegressor(rank=rank, random_seed=0)
        model.fit(table, r, n_iter=count, n_kept_samples=1, group_shapes=[users, items])
        return time.perf_counter() - started

    once = fit(1)
    return {"sweep_s": (fit(sweeps) - once) / (sweeps - 1)}


def time_implicit(data, *, factors=32, rounds=5):
    """Seconds of the ten best unseen items of every user."""
    import scipy.sparse as sp
    from implicit.cpu.als import AlternatingLeastSquares

    u, i, r, _, _, _, users, items = data
    table = sp.csr_matrix((r, (u, i)), shape=(users, items))
    found = {}
    for threads in (1, 2):
        model = AlternatingLeastSquares(factors=factors, num_threads=threads, iterations=1)
        model.fit(table, show_progress=False)
        best = np.inf
        for _ in range(rounds):
            started = time.perf_counter()
            model.recommend(np.arange(users), table, N=10)
            best = min(best, time.perf_counter() - started)
        found[f"threads_{threads}_s"] = best
    return found


def read_with(library: str, path: str) -> dict[str, Any]:
    """Seconds to read a CSV of user, item, rating with the ids as text."""
    started = time.perf_counter()
    if library == "polars":
        import polars as pl

        loaded = time.perf_counter()
        table = pl.read_csv(path, schema={"user": pl.String, "item": pl.String, "rating": pl.Float32})
        read = time.perf_counter()
        table = table.with_columns(pl.col("user").cast(pl.Categorical), pl.col("item").cast(pl.Categorical))
    else:
        import pandas as pd

        loaded = time.perf_counter()
        table = pd.read_csv(path, dtype={"user": str, "item": str, "rating": np.float32})
        read = time.perf_counter()
        table["user"], table["item"] = table["user"].astype("category"), table["item"].astype("category")
    return {
        "rows": len(table),
        "import_s": loaded - started,
        "read_s": read - loaded,
        "with_codes_s": time.perf_counter() - loaded,
    }


def errors(score, r, tr) -> dict[str, float]:
    """Of scores that are cut to the scale."""
    error = np.clip(np.asarray(score, float), r.min(), r.max()) - tr
    return {"rmse": float(np.sqrt(np.mean(error**2))), "mae": float(np.abs(error).mean())}


FITS = {"myfm": fit_myfm, "scikit-surprise": fit_surprise, "cornac": fit_cornac, "lenskit": fit_lenskit}
TIMES = {
    "libmf-epoch": time_libmf,
    "myfm-sweep": time_myfm_sweep,
    "implicit-lists": time_implicit,
}


def load(folder: str) -> tuple:
    arrays = {path.stem: np.load(path) for path in Path(folder).glob("*.npy")}
    u, i = arrays["u"], arrays["i"]
    test = (arrays.get(name) for name in ("tu", "ti", "tr"))
    return u, i, arrays["r"], *test, int(u.max()) + 1, int(i.max()) + 1


def main(name: str, where: str, options: str = "{}") -> dict[str, Any]:
    if name.startswith("read-"):
        library = name.removeprefix("read-")
        return {"version": version(library), **read_with(library, where)}
    chosen = json.loads(options)
    data = load(where)
    if name in TIMES:
        return {"version": version(name.split("-")[0]), **TIMES[name](data, **chosen)}
    found = FITS[name](data, **chosen)
    if isinstance(found, dict):
        return {"version": version(name), **found}
    return {"version": version(name), "seconds": found[1], **errors(found[0], data[2], data[5])}


if __name__ == "__main__":
    print("\n" + json.dumps(main(*sys.argv[1:])))
