"""Alternating least squares: with the items held, every user is a ridge regression, and the other way round.

Ratings: Zhou, Wilkinson, Schreiber and Pan 2008, "Large-scale parallel collaborative filtering for the
Netflix Prize", equations 3 and 4, where weight decay counts once per rating; biases are solved for beside the
factors (Koren, Bell and Volinsky 2009, equation 5). Events: Hu, Koren and Volinsky 2008, "Collaborative
filtering for implicit feedback datasets", in the form of Rendle, Krichene, Zhang and Koren 2022,
"Revisiting the performance of iALS on item recommendation benchmarks", equations 1 to 5: with a weight u of
all pairs beside that of the events, and weight decay of a row in proportion to its number of events and of
all pairs, weighed. `fold_in` solves the same regression for a row that comes later, on factors that stay as
they are.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tenfold.collab import kernels
from tenfold.collab.events import FLOOR, event_weights
from tenfold.collab.scale import (
    Scale,
    check_choices,
    choose_factors,
    constant_model,
    measure,
    plain_model,
    thread_pool,
)
from tenfold.errors import RecipeError, TrainingError
from tenfold.values import Extra, FactorModel, Ratings

__all__ = ["choose_als_factors", "choose_event_decay", "fit_als"]

#: Chosen on MovieLens 100K; weight decay per rating, in units of the ratings' variance.
EPOCHS, WEIGHT_DECAY = 12, 0.12
#: For events, where one of middling strength weighs 1: weight decay of an average row, beside the root of its
#: number of events. Chosen with `UNOBSERVED` on inner splits (bench/results/lists.md).
EVENT_DECAY = 1.1
#: All pairs weigh together so many times what the events weigh, but each at most 1.
UNOBSERVED = 16.0
#: Rows are cut into this many parts, whatever the threads.
PARTS = 16
#: Factors start from N(0, START^2).
START = 0.1


def fit_als(
    ratings: Ratings,
    *,
    factors: int | None = None,
    epochs: int | None = None,
    weight_decay: float | None = None,
    unobserved: float | None = None,
    use_strength: bool = True,
    shown: float | None = None,
    seed: int = 0,
    threads: int | None = None,
) -> FactorModel:
    """Biases and factors by alternating least squares; for events, factors that rank.

    factors: see `choose_factors`.  epochs: how often both sides are solved (12).
    weight_decay: for ratings, per rating and in units of their variance (0.12); for events, of an average
        row (see `choose_event_decay`).
    unobserved: for events, the weight of a pair of which nothing is known, where an event of middling
        strength weighs 1 (see `UNOBSERVED`).
    use_strength: for events, weigh each by its strength; otherwise each weighs 1.
    shown: for events, the weight of the pairs of `ratings.shown`, beside that of a pair of which nothing is
        known: both are to score 0.

    The same seed gives the same bytes, on any number of threads. Raises RecipeError for impossible choices,
    TrainingError if the factors are not finite in the end.
    """
    check_choices(factors=factors, epochs=epochs, threads=threads)
    if weight_decay is not None and not 0 <= weight_decay < np.inf:
        raise RecipeError(f"weight_decay = {weight_decay!r} is not a number from 0 on", fix="leave it out")
    if unobserved is not None and not 0 < unobserved < np.inf:
        raise RecipeError(f"unobserved = {unobserved!r} is not a number above 0", fix="leave it out")
    scale = measure(ratings)
    factors = choose_als_factors(ratings) if factors is None else factors
    if scale.spread == 0 and not ratings.implicit:
        return constant_model(ratings, "als", scale.center, factors)
    rng = np.random.Generator(np.random.SFC64(seed))
    epochs = EPOCHS if epochs is None else epochs
    with thread_pool(threads, PARTS) as pool:
        fit = (
            partial(_fit_ratings, ratings, scale)
            if not ratings.implicit
            else partial(_fit_events, ratings, unobserved, use_strength, shown or 0.0)
        )
        model = fit(factors, epochs, weight_decay, rng, pool)
    # Without weight decay, single precision cannot solve the regression of a row of few ratings.
    if not (np.isfinite(model.user_factors).all() and np.isfinite(model.item_factors).all()):
        raise TrainingError(
            f"the factors left all bounds at weight_decay {float(model.extra.weight_decay or 0):g}",
            fix=f"give a larger one, or leave it out ({WEIGHT_DECAY:g} for ratings)",
        )
    return model


def _fit_ratings(
    ratings: Ratings,
    scale: Scale,
    factors: int,
    epochs: int,
    weight_decay: float | None,
    rng: np.random.Generator,
    pool: ThreadPoolExecutor,
) -> FactorModel:
    decay = np.float32(WEIGHT_DECAY if weight_decay is None else weight_decay)
    by_user, by_item = _both_ways(ratings, scale.targets(ratings.ratings))
    base = np.diag(np.full(factors + 1, FLOOR, np.float32))
    # A row's last number is its bias. The other side sees 1 there, and targets without the bias.
    users, items = _start(rng, len(ratings.users), factors), _start(rng, len(ratings.items), factors)
    for _ in range(epochs):
        for pairs, own, others in ((by_item, items, users), (by_user, users, items)):
            bias = others[:, -1].copy()
            others[:, -1] = 1
            own[:] = _solve(pool, pairs, None, pairs.values - bias[pairs.column], others, base, decay)
            others[:, -1] = bias
    root = np.float32(np.sqrt(scale.spread))
    return plain_model(
        ratings,
        "als",
        scale.center,
        (users[:, -1] * np.float32(scale.spread), items[:, -1] * np.float32(scale.spread)),
        (users[:, :-1] * root, items[:, :-1] * root),
        extra=Extra(weight_decay=float(decay), spread=scale.spread),
    )


def _fit_events(
    ratings: Ratings,
    unobserved: float | None,
    use_strength: bool,
    shown: float,
    factors: int,
    epochs: int,
    weight_decay: float | None,
    rng: np.random.Generator,
    pool: ThreadPoolExecutor,
) -> FactorModel:
    # Without strengths the confidence is 0, of which `event_weights` makes 1 for each event.
    confidence = 1 / max(float(np.median(ratings.ratings)), 1e-30) if use_strength else 0.0
    weights = event_weights(ratings.ratings, confidence)
    rows = np.array([len(ratings.users), len(ratings.items)])
    pairs = float(rows.prod(dtype=np.float64))
    if unobserved is None:
        unobserved = min(1.0, UNOBSERVED * float(weights.sum(dtype=np.float64)) / pairs)
    decay = choose_event_decay(ratings) if weight_decay is None else weight_decay
    by_user, by_item = _both_ways(*_with_shown(ratings, weights, shown))
    # A row of n pairs, taken or shown, has the weight decay each x (n + unobserved x rows of the other side).
    each = max(decay * float(rows.sum()) / (2 * (len(by_user.values) + unobserved * pairs)), FLOOR)
    users, items = (_start(rng, count, factors)[:, :-1] / np.sqrt(np.float32(factors)) for count in rows)
    for _ in range(epochs):
        for pairs_of, own, others in ((by_item, items, users), (by_user, users, items)):
            base = np.float32(unobserved) * (others.T @ others)
            base += np.diag(np.full(factors, each * unobserved * len(others), np.float32))
            pull = np.maximum(pairs_of.values, 0)
            own[:] = _solve(pool, pairs_of, np.abs(pairs_of.values), pull, others, base, each)
    return plain_model(
        ratings,
        "als",
        0.0,
        (np.zeros(len(users), np.float32), np.zeros(len(items), np.float32)),
        (users, items),
        extra=Extra(weight_decay=each, confidence=confidence, unobserved=unobserved),
    )


def choose_event_decay(ratings: Ratings) -> float:
    """Weight decay of an average row of events: 1.1 times the root of how many events it has."""
    rows = len(ratings.users) + len(ratings.items)
    return EVENT_DECAY * float(np.sqrt(2 * len(ratings.ratings) / max(1, rows)))


def choose_als_factors(ratings: Ratings) -> int:
    """Of ratings as `choose_factors`; of events twice as many."""
    return choose_factors(len(ratings.ratings)) * (2 if ratings.implicit else 1)


class _Pairs(NamedTuple):
    """The ratings of a side: row r has start[r] to start[r + 1]. column: the row on the other side."""

    start: NDArray[np.int64]
    column: NDArray[np.uint32]
    values: NDArray[np.float32]


def _with_shown(
    ratings: Ratings, weights: NDArray[np.float32], shown: float
) -> tuple[Ratings, NDArray[np.float32]]:
    """The events with what was shown among them, in order, and weights: below 0 where it was not taken."""
    pairs = ratings.shown
    if pairs is None or not shown or not len(pairs.user_index):
        return ratings, weights
    user = np.concatenate([ratings.user_index, pairs.user_index])
    item = np.concatenate([ratings.item_index, pairs.item_index])
    values = np.concatenate([weights, np.full(len(pairs.user_index), -shown, np.float32)])
    order = np.lexsort((item, user))
    return replace(ratings, user_index=user[order], item_index=item[order]), values[order]


def _both_ways(ratings: Ratings, values: NDArray[np.float32]) -> tuple[_Pairs, _Pairs]:
    start = np.searchsorted(ratings.user_index, np.arange(len(ratings.users) + 1)).astype(np.int64)
    by_user = _Pairs(start, ratings.item_index, values)
    by_item = _Pairs(
        np.empty(len(ratings.items) + 1, np.int64), np.empty_like(ratings.item_index), np.empty_like(values)
    )
    kernels.turn(*by_user, *by_item)
    return by_user, by_item


def _start(rng: np.random.Generator, rows: int, factors: int) -> NDArray[np.float32]:
    start = rng.standard_normal((rows, factors + 1), np.float32) * np.float32(START)
    start[:, -1] = 0
    return start


def _solve(
    pool: ThreadPoolExecutor,
    pairs: _Pairs,
    weight: NDArray[np.float32] | None,
    pull: NDArray[np.float32],
    others: NDArray[np.float32],
    base: NDArray[np.float32],
    each: float | np.float32,
) -> NDArray[np.float32]:
    """Solve all rows of a side, in parts of about equally many ratings."""
    rows, width = len(pairs.start) - 1, others.shape[1]
    solved = np.empty((rows, width), np.float32)
    none, unwanted = np.empty(0, np.float32), np.empty((0, width), np.float32)
    cuts = np.searchsorted(pairs.start, np.linspace(0, len(pairs.column), PARTS + 1).astype(np.int64))
    cuts[0], cuts[-1] = 0, rows

    given = none if weight is None else weight, pull, others, base, np.float32(each)
    base_pull = np.zeros(width, np.float32)

    def solve(begin: int, end: int) -> None:
        kernels.solve_rows(begin, end, pairs.start, pairs.column, *given, base_pull, solved, unwanted)

    list(pool.map(solve, cuts[:-1], cuts[1:]))
    return solved
