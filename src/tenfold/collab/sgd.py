"""Biased matrix factorization by stochastic gradients, with scores through a sigmoid over a range.

rating = low + (high - low) sigmoid(m + b_u + c_i + p_u . q_i), fitted to the squared error with weight decay
(Koren, Bell and Volinsky 2009, "Matrix factorization techniques for recommender systems", equations 4 and 5).
Each of these parts can be switched off, to see its effect.

Ratings are cut into blocks by parts of the users and parts of the items; blocks that share neither update
different parameters and run at once (Gemulla, Nijkamp, Haas and Sismanis 2011, "Large-scale matrix
factorization with distributed stochastic gradient descent", section 4). There is no race, and the result does
not depend on the threads.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tenfold.collab import kernels
from tenfold.collab.scale import check_choices, constant_model, measure, plain_model, threads_for
from tenfold.errors import RatingsError, RecipeError, TrainingError
from tenfold.events import Listener, SweepEnded
from tenfold.values import Extra, FactorModel, Ratings

__all__ = ["choose_sgd_factors", "default_range", "fit_sgd"]

#: Chosen on MovieLens 100K. The last two: within a range, and without.
EPOCHS, RATE = 20, 0.05
WEIGHT_DECAY, PLAIN_WEIGHT_DECAY = 0.06, 0.08
#: Factors start from N(0, START^2).
START = 0.05
#: From so many ratings on there are PARTS x PARTS blocks; below, one thread is faster than several.
LARGE, PARTS = 300_000, 8
#: Users with interleaved ratings.
TOGETHER = 16
#: Width of a vector register: rows are padded to a multiple, and the bias is the last number.
LANES = 16


def choose_sgd_factors(ratings: int) -> int:
    """15 below 20,000 ratings, 31 below 500,000, 63 above: with its bias, a row fills whole cache lines."""
    return 15 if ratings < 20_000 else 31 if ratings < 500_000 else 63


def default_range(ratings: Ratings) -> tuple[float, float]:
    """The scale, widened by half a step at both ends: 0.5 to 5.5 for whole stars from 1 to 5.

    A sigmoid never reaches the ends of its range. The step is the least difference of two ratings, and at
    least a twentieth of the scale.
    """
    low, high = ratings.scale
    steps = np.diff(np.unique(ratings.ratings).astype(np.float64))
    half = 0.5 * max(float(steps.min(initial=high - low)), (high - low) / 20)
    return low - half, high + half


def fit_sgd(
    ratings: Ratings,
    *,
    factors: int | None = None,
    epochs: int | None = None,
    lr: float | None = None,
    weight_decay: float | None = None,
    sigmoid_range: tuple[float, float] | None = None,
    use_bias: bool = True,
    use_range: bool = True,
    seed: int = 0,
    threads: int | None = None,
    on_epoch: Listener | None = None,
) -> FactorModel:
    """Biases and factors by stochastic gradients, a rating at a time.

    factors: see `choose_sgd_factors`.  epochs: passes over the ratings (20).
    lr: learning rate at the start, falling linearly to 0 (0.05).  weight_decay: L2 penalty per rating (0.06
    with a range, 0.08 without), in units of the ratings' variance, or of a quarter of the range.
    sigmoid_range: low and high end of the scores; see `default_range`.  use_range=False: no sigmoid.
    use_bias=False: neither biases nor a mean; scores are p_u . q_i, or its sigmoid.

    The same seed gives the same bytes, on any number of threads. Raises RecipeError for impossible choices,
    RatingsError for ratings outside the range and for events.
    """
    check_choices(factors=factors, epochs=epochs, threads=threads)
    for name, value in (("lr", lr), ("weight_decay", weight_decay)):
        if value is not None and not 0 <= value < np.inf:
            raise RecipeError(f"{name} = {value!r} is not a number from 0 on", fix=f"leave {name} out")
    if ratings.implicit:
        raise RatingsError("events are not ratings, and this method is for ratings", fix="choose method als")
    scale = measure(ratings)
    factors = choose_sgd_factors(len(ratings.ratings)) if factors is None else factors
    epochs = EPOCHS if epochs is None else epochs
    rate = RATE if lr is None else lr
    if weight_decay is None:
        weight_decay = WEIGHT_DECAY if use_range else PLAIN_WEIGHT_DECAY
    if scale.spread == 0:
        return constant_model(ratings, "sgd", scale.center, factors)
    bounds = _checked_range(ratings, sigmoid_range) if use_range else None
    if bounds is not None:
        low, high = bounds
        targets = ((ratings.ratings - low) / (high - low)).astype(np.float32)
        middle = (scale.center - low) / (high - low)
        mean, unit = float(np.log(middle / (1 - middle))), 1.0
    elif use_bias:
        targets, mean, unit = scale.targets(ratings.ratings), scale.center, scale.spread
    else:
        targets, mean, unit = (ratings.ratings / scale.spread).astype(np.float32), 0.0, scale.spread
    mean = mean if use_bias else 0.0
    rng = np.random.Generator(np.random.SFC64(seed))
    blocks = _cut(ratings, targets, PARTS if len(targets) >= LARGE else 1)
    users, items = (_start(rng, len(ids), factors) for ids in (ratings.users, ratings.items))
    settings = np.float32(mean if use_range else 0.0), np.float32(weight_decay), use_range, use_bias
    with ThreadPoolExecutor(threads_for(threads, blocks.parts)) as pool:
        for epoch in range(epochs):
            _pass(blocks, users, items, rate * (1 - epoch / epochs), settings, rng, pool)
            if on_epoch is not None:
                on_epoch(SweepEnded(epoch + 1, epochs, ""))
    root = np.float32(np.sqrt(unit))
    model = plain_model(
        ratings,
        "sgd",
        mean,
        (users[:, -1] * np.float32(unit), items[:, -1] * np.float32(unit)),
        (users[:, :factors] * root, items[:, :factors] * root),
        sigmoid_range=bounds,
        extra=Extra(weight_decay=float(weight_decay)),
    )
    if not (np.isfinite(users).all() and np.isfinite(items).all()):
        raise TrainingError(
            f"the factors left all bounds at learning rate {rate:g}",
            fix=f"give a smaller one, such as lr={rate / 4:.2g}",
        )
    return model


def _checked_range(ratings: Ratings, given: tuple[float, float] | None) -> tuple[float, float]:
    if given is None:
        return default_range(ratings)
    low, high = float(given[0]), float(given[1])
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise RecipeError(f"range {low:g} to {high:g} is empty", fix="give its lower end first")
    outside = (ratings.ratings < low) | (ratings.ratings > high)
    if outside.any():
        raise RatingsError(
            f"{int(outside.sum())} ratings lie outside the range {low:g} to {high:g}",
            found=f"ratings from {ratings.ratings.min():g} to {ratings.ratings.max():g}",
            fix="widen the range, or leave it out",
        )
    return low, high


class _Blocks(NamedTuple):
    """Ratings in the order of the passes; begin (parts * parts + 1,): where block a * parts + b begins."""

    parts: int
    begin: NDArray[np.int64]
    user: NDArray[np.uint32]
    item: NDArray[np.uint32]
    target: NDArray[np.float32]


def _cut(ratings: Ratings, targets: NDArray[np.float32], parts: int) -> _Blocks:
    count = len(targets)
    start = np.searchsorted(ratings.user_index, np.arange(len(ratings.users) + 1)).astype(np.int64)
    user_cut = np.searchsorted(start, np.linspace(0, count, parts + 1).astype(np.int64))
    user_cut[0], user_cut[-1] = 0, len(ratings.users)
    # Items are dealt out by popularity, there and back: the parts have about equally many ratings.
    popular = np.argsort(-np.bincount(ratings.item_index, minlength=len(ratings.items)), kind="stable")
    dealt = np.arange(len(popular)) % (2 * parts)
    item_part = np.empty(len(popular), np.int64)
    item_part[popular] = np.minimum(dealt, 2 * parts - 1 - dealt)
    sizes = np.concatenate(
        [
            np.bincount(item_part[ratings.item_index[start[first] : start[last]]], minlength=parts)
            for first, last in zip(user_cut[:-1], user_cut[1:], strict=True)
        ]
    )
    begin = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    order = np.empty(count, np.uint32 if count < 2**32 else np.int64)
    next_free = begin[:-1].copy().reshape(parts, parts)
    kernels.sgd_order(start, ratings.item_index, user_cut, item_part, TOGETHER, next_free, order)
    return _Blocks(parts, begin, ratings.user_index[order], ratings.item_index[order], targets[order])


def _start(rng: np.random.Generator, rows: int, factors: int) -> NDArray[np.float32]:
    """(rows, width): random factors, padding that stays 0, and the bias last."""
    start = np.zeros((rows, -(-(factors + 1) // LANES) * LANES), np.float32)
    start[:, :factors] = rng.standard_normal((rows, factors), np.float32) * np.float32(START)
    return start


def _pass(
    blocks: _Blocks,
    users: NDArray[np.float32],
    items: NDArray[np.float32],
    rate: float,
    settings: tuple[np.float32, np.float32, bool, bool],
    rng: np.random.Generator,
    pool: ThreadPoolExecutor,
) -> None:
    """Run one epoch: rounds of blocks that share neither users nor items, in a random order of rounds."""
    mean, decay, bounded, biased = settings
    parts = blocks.parts

    def work(block: int) -> None:
        pairs = blocks.begin[block], blocks.begin[block + 1], blocks.user, blocks.item, blocks.target
        kernels.sgd_block(*pairs, users, items, mean, np.float32(rate), decay, bounded, biased)

    if parts == 1:
        work(0)
        return
    for shift in rng.permutation(parts).tolist():
        list(pool.map(work, [a * parts + (a + shift) % parts for a in range(parts)]))
