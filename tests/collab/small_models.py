"""Small factor models for tests: fitted by a plain NumPy alternating least squares, or made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tenfold.values import FactorModel


def texts(values: Sequence[Any]) -> np.ndarray:
    """(n,) object array of the values as text."""
    found = np.empty(len(values), object)
    found[:] = [str(value) for value in values]
    return found


def seen_of(user: np.ndarray, item: np.ndarray, rating: np.ndarray, users: int) -> dict[str, np.ndarray]:
    """The seen arrays of a model, from sorted pairs."""
    order = np.lexsort((item, user))
    return {
        "seen_start": np.concatenate([[0], np.cumsum(np.bincount(user, minlength=users))]).astype(np.int64),
        "seen_items": item[order].astype(np.uint32),
        "seen_ratings": rating[order].astype(np.float32),
    }


def by_hand(user_factors, item_factors, seen: Sequence[Sequence[int]] = (), **changes: Any) -> FactorModel:
    """A model with these factors; users u0, u1, ... have rated the items of `seen`, each with 3."""
    p, q = np.array(user_factors, np.float32), np.array(item_factors, np.float32)
    lists = [*seen, *[()] * (len(p) - len(seen))]
    user = np.repeat(np.arange(len(p)), [len(one) for one in lists])
    item = np.array([i for one in lists for i in one], np.int64)
    values: dict[str, Any] = {
        "method": "hand",
        "users": texts([f"u{n}" for n in range(len(p))]),
        "items": texts([f"i{n}" for n in range(len(q))]),
        "mean": 3.0,
        "user_bias": np.zeros(len(p), np.float32),
        "item_bias": np.zeros(len(q), np.float32),
        "user_factors": p,
        "item_factors": q,
        "scale": (1.0, 5.0),
        "sigmoid_range": None,
        **seen_of(user, item, np.full(len(user), 3.0), len(p)),
    }
    return FactorModel(**{**values, **changes})


def fit_small(
    rows: Sequence[tuple[Any, Any, float]],
    *,
    factors: int = 2,
    ridge: float = 0.1,
    sweeps: int = 50,
    **changes,
) -> FactorModel:
    """Biased alternating least squares of a handful of ratings (user, item, rating)."""
    users, items = (list(dict.fromkeys(str(row[place]) for row in rows)) for place in (0, 1))
    user = np.array([users.index(str(row[0])) for row in rows])
    item = np.array([items.index(str(row[1])) for row in rows])
    rating = np.array([float(row[2]) for row in rows])
    mean = rating.mean()
    rng = np.random.default_rng(0)
    # Columns: bias, factors; the other side sees a 1 where this one has its bias.
    p = np.hstack([np.zeros((len(users), 1)), rng.normal(0, 0.1, (len(users), factors))])
    q = np.hstack([np.zeros((len(items), 1)), rng.normal(0, 0.1, (len(items), factors))])
    for _ in range(sweeps):
        for own, other, mine, theirs in ((p, q, user, item), (q, p, item, user)):
            for row in range(len(own)):
                there = np.flatnonzero(mine == row)
                x = np.hstack([np.ones((len(there), 1)), other[theirs[there], 1:]])
                y = rating[there] - mean - other[theirs[there], 0]
                own[row] = np.linalg.solve(x.T @ x + ridge * np.eye(factors + 1), x.T @ y)
    values: dict[str, Any] = {
        "method": "als",
        "users": texts(users),
        "items": texts(items),
        "mean": float(mean),
        "user_bias": p[:, 0].astype(np.float32),
        "item_bias": q[:, 0].astype(np.float32),
        "user_factors": p[:, 1:].astype(np.float32),
        "item_factors": q[:, 1:].astype(np.float32),
        "scale": (rating.min(), rating.max()),
        "sigmoid_range": None,
        "noise_precision": 4.0,
        **seen_of(user, item, rating, len(users)),
    }
    return FactorModel(**{**values, **changes})
