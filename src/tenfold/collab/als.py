"""Alternating least squares: with the items held, every user is a ridge regression, and the other way round.

Ratings: Zhou, Wilkinson, Schreiber and Pan 2008, "Large-scale parallel collaborative filtering for the
Netflix Prize", equations 3 and 4, where weight decay counts once a rating; biases are solved for beside the
factors (Koren, Bell and Volinsky 2009, equation 5). Events: Hu, Koren and Volinsky 2008, "Collaborative
filtering for implicit feedback datasets", equations 4 and 5: everything not seen counts too, with confidence
1.

A row that comes later is the same regression on factors that stay as they are: `fold_in`.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tenfold.collab import kernels
from tenfold.collab.scale import (
    Scale,
    check_choices,
    choose_factors,
    constant_model,
    measure,
    plain_model,
    thread_pool,
)
from tenfold.errors import RatingsError, RecipeError, TrainingError
from tenfold.values import FactorModel, Ratings

__all__ = ["FoldedIn", "fit_als", "fold_in"]

#: Chosen on MovieLens 100K; weight decay in units of the ratings' variance, once a rating.
EPOCHS, WEIGHT_DECAY = 12, 0.12
#: For events: of the whole row, as in the paper; and the confidence that a mean event adds.
IMPLICIT_WEIGHT_DECAY, CONFIDENCE = 10.0, 10.0
#: Rows are cut into this many parts, whatever the threads.
PARTS = 16
#: Factors start from N(0, START^2).
START = 0.1
#: Least ridge of any row: so that a row of few ratings and no weight decay has one answer too.
FLOOR = 1e-4
#: Newton steps of a fold-in through the sigmoid, and least slope it takes for true.
NEWTON, SLOPE = 20, 1e-2


def fit_als(
    ratings: Ratings,
    *,
    factors: int | None = None,
    epochs: int | None = None,
    weight_decay: float | None = None,
    seed: int = 0,
    threads: int | None = None,
) -> FactorModel:
    """Biases and factors by alternating least squares; for events, factors that rank.

    factors: see `choose_factors`.  epochs: how often both sides are solved for (12).
    weight_decay: of ratings, per rating and in units of their variance (0.12); of events, per row (10).

    The same seed gives the same bytes, on any number of threads. Raises RecipeError for impossible choices,
    TrainingError where the factors are no numbers in the end.
    """
    check_choices(factors=factors, epochs=epochs, threads=threads)
    if weight_decay is not None and not 0 <= weight_decay < np.inf:
        raise RecipeError(f"weight_decay = {weight_decay!r} is not a number from 0 on", fix="leave it out")
    scale = measure(ratings)
    factors = choose_factors(len(ratings.ratings)) if factors is None else factors
    if scale.spread == 0 and not ratings.implicit:
        return constant_model(ratings, "als", scale.center, factors)
    rng = np.random.Generator(np.random.SFC64(seed))
    epochs = EPOCHS if epochs is None else epochs
    with thread_pool(threads, PARTS) as pool:
        fit = partial(_fit_ratings, ratings, scale) if not ratings.implicit else partial(_fit_events, ratings)
        model = fit(factors, epochs, weight_decay, rng, pool)
    # Without decay a row of few ratings has a regression that single precision cannot solve.
    if not all(np.isfinite(one).all() for one in (model.user_factors, model.item_factors)):
        raise TrainingError(
            f"the factors left all bounds at weight_decay {float(model.extra['weight_decay']):g}",
            fix=f"a larger one, or leave it out ({WEIGHT_DECAY:g} for ratings)",
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
    base = FLOOR * np.eye(factors + 1, dtype=np.float32)
    # A row's last number is its bias; to the other side it is 1, and the bias is taken out of the targets.
    users, items = _start(rng, len(ratings.users), factors), _start(rng, len(ratings.items), factors)
    for _ in range(epochs):
        for pairs, own, others in ((by_item, items, users), (by_user, users, items)):
            bias = others[:, -1].copy()
            others[:, -1] = 1
            own[:] = _solve(pool, pairs, None, pairs.values - bias[pairs.index], others, base, decay)
            others[:, -1] = bias
    root = np.float32(np.sqrt(scale.spread))
    return plain_model(
        ratings,
        "als",
        mean=scale.center,
        user_bias=users[:, -1] * np.float32(scale.spread),
        item_bias=items[:, -1] * np.float32(scale.spread),
        user_factors=users[:, :-1] * root,
        item_factors=items[:, :-1] * root,
        sigmoid_range=None,
        extra={"weight_decay": np.array(float(decay)), "spread": np.array(scale.spread)},
        notes=ratings.notes,
    )


def _fit_events(
    ratings: Ratings,
    factors: int,
    epochs: int,
    weight_decay: float | None,
    rng: np.random.Generator,
    pool: ThreadPoolExecutor,
) -> FactorModel:
    decay = IMPLICIT_WEIGHT_DECAY if weight_decay is None else weight_decay
    mean = float(np.abs(ratings.ratings).mean(dtype=np.float64))
    confidence = CONFIDENCE / mean if mean > 0 else 0.0
    by_user, by_item = _both_ways(ratings, np.float32(confidence) * ratings.ratings)
    users, items = (_start(rng, len(ids), factors)[:, :-1].copy() for ids in (ratings.users, ratings.items))
    for _ in range(epochs):
        for pairs, own, others in ((by_item, items, users), (by_user, users, items)):
            base = others.T @ others + np.float32(max(decay, FLOOR)) * np.eye(factors, dtype=np.float32)
            own[:] = _solve(pool, pairs, pairs.values, 1 + pairs.values, others, base, 0.0)
    return plain_model(
        ratings,
        "als",
        mean=0.0,
        user_bias=np.zeros(len(users), np.float32),
        item_bias=np.zeros(len(items), np.float32),
        user_factors=users,
        item_factors=items,
        sigmoid_range=None,
        extra={"weight_decay": np.array(max(decay, FLOOR)), "confidence": np.array(confidence)},
        notes=ratings.notes,
    )


class _Pairs(NamedTuple):
    """The ratings of one side: those of row r are start[r] to start[r + 1], with the other side's index."""

    start: NDArray[np.int64]
    index: NDArray[np.uint32]
    values: NDArray[np.float32]


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
    """All rows of one side, in parts of about equally many ratings."""
    rows, width = len(pairs.start) - 1, others.shape[1]
    solved = np.empty((rows, width), np.float32)
    none, unwanted = np.empty(0, np.float32), np.empty((0, width), np.float32)
    cuts = np.searchsorted(pairs.start, np.linspace(0, len(pairs.index), PARTS + 1).astype(np.int64))
    cuts[0], cuts[-1] = 0, rows

    def part(one: int) -> None:
        given = (
            none if weight is None else weight,
            pull,
            others,
            base,
            np.float32(each),
            np.zeros(width, np.float32),
        )
        kernels.solve_rows(cuts[one], cuts[one + 1], pairs.start, pairs.index, *given, solved, unwanted)

    list(pool.map(part, range(PARTS)))
    return solved


# --- new rows -------------------------------------------------------------------------------------------


class FoldedIn(NamedTuple):
    """A row that the model was not fitted to: what `FactorModel` has of every row.

    variances: of the posterior, 0 where the model has no noise. noise: factor of the variance of its ratings.
    """

    bias: float
    factors: NDArray[np.float32]
    bias_variance: float
    factors_variance: NDArray[np.float32]
    noise: float


def fold_in(model: FactorModel, index: ArrayLike, ratings: ArrayLike, *, side: str = "user") -> FoldedIn:
    """Bias and factors of a new user (or item, with side="item") from a few ratings; the model stays as it
    is.

    index: the rated items (or the users who rated), as places in `model.items` (`model.users`).
    ratings: in the model's unit; for events, how often.

    A model of `als` gives what its own half-step would. Of any other, the row is the mode of its posterior
    under the prior that the model's rows follow, a normal one; through a sigmoid, found by Newton's method.
    """
    if side not in ("user", "item"):
        raise RecipeError(f"side = {side!r}", fix="give user or item")
    index = np.asarray(index, np.int64).reshape(-1)
    values = np.asarray(ratings, np.float64).reshape(-1)
    count = len(model.items if side == "user" else model.users)
    if len(index) != len(values):
        raise RatingsError(f"{len(index)} places for {len(values)} ratings", fix="give one rating to each")
    if len(index) and not (0 <= index.min() and index.max() < count and np.isfinite(values).all()):
        raise RatingsError(
            "a place is not in the model, or a rating is not finite", fix="leave such ratings out"
        )
    if model.implicit:
        return _fold_events(model, index, values, side)
    if model.method == "als" and "weight_decay" in model.extra:
        return _fold_als(model, index, values, side)
    return _fold_bayes(model, index, values, side)


def _fold_als(
    model: FactorModel, index: NDArray[np.int64], values: NDArray[np.float64], side: str
) -> FoldedIn:
    spread = float(model.extra["spread"])
    bias, factors = _other_side(model, side)
    known = np.column_stack([factors[index] / np.sqrt(spread), np.ones(len(index))])
    pull = (values - model.mean - bias[index]) / spread
    base = FLOOR * np.eye(known.shape[1])
    row, _ = _regress(known, None, pull, base, None, float(model.extra["weight_decay"]))
    return _folded(row * np.append(np.full(len(row) - 1, np.sqrt(spread)), spread))


def _fold_events(
    model: FactorModel, index: NDArray[np.int64], values: NDArray[np.float64], side: str
) -> FoldedIn:
    _, factors = _other_side(model, side)
    weight = float(model.extra["confidence"]) * values
    base = factors.T @ factors + float(model.extra["weight_decay"]) * np.eye(
        factors.shape[1], dtype=np.float32
    )
    row, _ = _regress(factors[index], weight, 1 + weight, base, None, 0.0)
    return _folded(np.append(row, 0.0))


def _fold_bayes(
    model: FactorModel, index: NDArray[np.int64], values: NDArray[np.float64], side: str
) -> FoldedIn:
    bias, factors = _other_side(model, side)
    mean, covariance = _prior(model, side)
    implicit = model.extra.get("rated_factors" if side == "user" else "rater_factors")
    if implicit is not None and len(index):
        mean[:-1] += implicit[index].sum(axis=0) / np.sqrt(len(index))
    precision = np.linalg.inv(covariance)
    known = np.column_stack([factors[index], np.ones(len(index))]).astype(np.float64)
    rest = model.mean + bias[index]
    others_noise = model.extra.get("item_noise" if side == "user" else "user_noise")
    alpha = np.full(len(index), _noise_precision(model))
    if others_noise is not None:
        alpha /= others_noise[index]
    freedom = model.extra.get("noise_freedom")
    row, noise = mean, 1.0
    variance = np.diag(covariance)
    for _ in range(NEWTON if len(index) else 0):
        before = row
        score, slope = _link(model, rest + known @ row)
        # Linearized at the row as it is: the rating as if it were one of the score before the sigmoid.
        weight = alpha * slope**2 / noise
        aim = (values - score) / slope + known @ row
        row, variance = _regress(known, weight, weight * aim, precision, precision @ mean, 0.0)
        if freedom is not None:
            errors = values - _link(model, rest + known @ row)[0]
            v = float(freedom[0 if side == "user" else 1])
            noise = (v + alpha @ errors**2) / (v + len(index))
        if np.abs(row - before).max() < 1e-5 * (1 + np.abs(row).max()):
            break
    if model.noise_precision <= 0:
        variance = np.zeros_like(variance)
    return _folded(row, variance, noise)


def _other_side(model: FactorModel, side: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    if side == "user":
        return model.item_bias, model.item_factors
    return model.user_bias, model.user_factors


def _prior(model: FactorModel, side: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and covariance of factors and bias, the bias last: the sampler's, or those of the fitted rows."""
    mean, covariance = model.extra.get(f"{side}_prior_mean"), model.extra.get(f"{side}_prior_covariance")
    if mean is None or covariance is None:
        bias, factors = getattr(model, f"{side}_bias"), getattr(model, f"{side}_factors")
        rows = np.column_stack([bias, factors]).astype(np.float64)
        mean, covariance = rows.mean(axis=0), np.atleast_2d(np.cov(rows.T, bias=True))
    covariance = covariance.astype(np.float64)
    covariance += max(1e-4 * float(np.diag(covariance).max()), 1e-12) * np.eye(len(covariance))
    return np.roll(mean.astype(np.float64), -1), np.roll(covariance, (-1, -1), axis=(0, 1))


def _noise_precision(model: FactorModel) -> float:
    """The model's, or that of its errors on (at most 100,000 of) the ratings it was fitted to."""
    if model.noise_precision > 0:
        return model.noise_precision
    places = np.linspace(0, len(model.seen_items) - 1, min(len(model.seen_items), 100_000)).astype(np.int64)
    users = np.searchsorted(model.seen_start, places, side="right") - 1
    items = model.seen_items[places]
    products = np.einsum("rk,rk->r", model.user_factors[users], model.item_factors[items])
    score, _ = _link(model, model.mean + model.user_bias[users] + model.item_bias[items] + products)
    return 1 / max(float(np.square(model.seen_ratings[places] - score).mean()), 1e-12)


def _link(model: FactorModel, raw: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scores, and their slope in what stands before the sigmoid."""
    if model.sigmoid_range is None:
        return raw, np.ones_like(raw)
    low, high = model.sigmoid_range
    inner = 0.5 * (1 + np.tanh(0.5 * raw))
    return low + (high - low) * inner, (high - low) * np.maximum(inner * (1 - inner), SLOPE)


def _regress(
    known: NDArray[np.floating],
    weight: NDArray[np.float64] | None,
    pull: NDArray[np.float64],
    base: NDArray[np.floating],
    base_pull: NDArray[np.float64] | None,
    each: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """One row by the kernel of the fit: its solution, and the diagonal of the inverse."""
    count, width = known.shape
    start, index = np.array([0, count]), np.arange(count, dtype=np.uint32)
    w = np.empty(0, np.float32) if weight is None else weight.astype(np.float32)
    given = (pull, known, base, np.zeros(width) if base_pull is None else base_pull)
    pull32, known32, base32, base_pull32 = (np.ascontiguousarray(one, np.float32) for one in given)
    solved, variance = np.empty((1, width), np.float32), np.empty((1, width), np.float32)
    numbers = w, pull32, known32, base32, np.float32(each), base_pull32
    kernels.solve_rows(0, 1, start, index, *numbers, solved, variance)
    return solved[0].astype(np.float64), variance[0].astype(np.float64)


def _folded(
    row: NDArray[np.float64], variance: NDArray[np.float64] | None = None, noise: float = 1.0
) -> FoldedIn:
    variance = np.zeros_like(row) if variance is None else variance
    return FoldedIn(
        float(row[-1]),
        row[:-1].astype(np.float32),
        float(variance[-1]),
        variance[:-1].astype(np.float32),
        noise,
    )
