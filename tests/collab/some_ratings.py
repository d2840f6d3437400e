"""Small tables of ratings for the tests of fitters."""

from __future__ import annotations

from typing import Any

import numpy as np

from tenfold.collab.pack import pack_factor_model
from tenfold.values import FactorModel, Ratings


def make_ratings(user, item, rating, times=None, *, users=None, items=None, **changes: Any) -> Ratings:
    """Ratings of index arrays, sorted; ids are u0, u1, ... and i0, i1, ..."""
    user, item, rating = np.asarray(user), np.asarray(item), np.asarray(rating, np.float32)
    order = np.lexsort((item, user))
    values: dict[str, Any] = {
        "users": np.array([f"u{n}" for n in range(users or user.max() + 1)], object),
        "items": np.array([f"i{n}" for n in range(items or item.max() + 1)], object),
        "user_index": user[order].astype(np.uint32),
        "item_index": item[order].astype(np.uint32),
        "ratings": rating[order],
        "times": None if times is None else np.asarray(times, np.float64)[order],
        "scale": (float(rating.min()), float(rating.max())) if len(rating) else (0.0, 1.0),
    }
    return Ratings(**{**values, **changes})


def some_pairs(rng: np.random.Generator, users: int, items: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """`count` different pairs in which every user and every item stands at least once."""
    base = np.arange(max(users, items))
    must = np.unique((base % users) * items + base % items)
    rest = np.setdiff1d(rng.permutation(users * items)[: count + len(must)], must)
    cells = np.concatenate([must, rng.permutation(rest)[: max(count - len(must), 0)]])
    return cells // items, cells % items


def known_ratings(
    *, users=120, items=80, factors=2, count=4000, noise=0.3, seed=0, user_noise=None
) -> tuple[Ratings, np.ndarray]:
    """Ratings drawn from known biases and factors, and the whole (users, items) matrix behind them."""
    rng = np.random.default_rng(seed)
    p, q = rng.normal(0, 1, (users, factors)), rng.normal(0, 0.7, (items, factors))
    truth = 3 + rng.normal(0, 0.5, (users, 1)) + rng.normal(0, 0.5, items) + p @ q.T
    user, item = some_pairs(rng, users, items, count)
    deviation = noise if user_noise is None else np.asarray(user_noise)[user]
    ratings = truth[user, item] + deviation * rng.normal(size=len(user))
    return make_ratings(user, item, ratings), truth


def checkerboard(size: int = 20) -> Ratings:
    """Even users love even items and hate odd ones, odd users do the opposite; the diagonal is unrated."""
    user, item = np.divmod(np.arange(size * size), size)
    off = user != item
    return make_ratings(user[off], item[off], np.where((user + item) % 2 == 0, 5, 1)[off])


def all_scores(model: FactorModel) -> np.ndarray:
    """(users, items): what a model says of every pair, not clipped."""
    raw = model.mean + model.user_bias[:, None] + model.item_bias + model.user_factors @ model.item_factors.T
    if model.sigmoid_range is None:
        return raw
    low, high = model.sigmoid_range
    return low + (high - low) / (1 + np.exp(-raw))


def same_bytes(one: FactorModel, other: FactorModel) -> bool:
    """Whether all arrays and numbers of two models are the same, bit for bit."""
    names = ("user_bias", "item_bias", "user_factors", "item_factors")
    equal = [getattr(one, name).tobytes() == getattr(other, name).tobytes() for name in names]
    packed = (pack_factor_model(model)[0] for model in (one, other))
    equal += [
        left.tobytes() == right.tobytes()
        for left, right in zip(*(arrays.values() for arrays in packed), strict=True)
    ]
    return all(equal) and one.mean == other.mean and one.noise_precision == other.noise_precision
