"""What every method of fitting shares: checks of its choices, standardized ratings, the model it returns.

Ratings get mean 0 and deviation 1: priors, weight decay and learning rates mean the same on every scale.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from tenfold.errors import RatingsError, RecipeError
from tenfold.values import Extra, FactorModel, Ratings

__all__ = [
    "Scale",
    "algebra_threads",
    "check_choices",
    "choose_factors",
    "constant_model",
    "measure",
    "plain_model",
    "sigmoid",
    "thread_pool",
    "threads_for",
]


@dataclass(frozen=True)
class Scale:
    """A rating is center + spread * target; spread is 0 where all ratings are alike."""

    center: float
    spread: float

    def targets(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Ratings as numbers of mean 0 and deviation 1."""
        return ((values - self.center) / self.spread).astype(np.float32)


def measure(ratings: Ratings) -> Scale:
    """Mean and standard deviation. Raises RatingsError if there is no rating, or one is not finite."""
    values = ratings.ratings
    if len(values) == 0:
        raise RatingsError("there are no ratings to learn from", fix="give a table with one row per rating")
    if not np.isfinite(values).all():
        raise RatingsError(
            f"{int((~np.isfinite(values)).sum())} ratings are not finite", fix="leave them out"
        )
    # In double precision: large ratings would overflow their squares.
    center, spread = float(values.mean(dtype=np.float64)), float(values.astype(np.float64).std())
    return Scale(center, spread if spread > 1e-6 * max(abs(center), 1e-30) else 0.0)


def choose_factors(ratings: int) -> int:
    """4 times the nearest whole number to (ratings / 250)^(1/4), 8 to 32: 16 for 80,000, 32 for 900,000."""
    return 4 * int(np.clip(np.rint((ratings / 250) ** 0.25), 2, 8))


def sigmoid(raw: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 / (1 + exp(-raw)); by way of tanh no exponential overflows."""
    return 0.5 * (1 + np.tanh(0.5 * raw))


def check_choices(**choices: object) -> None:
    """Raise RecipeError unless each choice is None or a whole number from 1 on."""
    for name, value in choices.items():
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1
        ):
            raise RecipeError(f"{name} = {value!r} is not a whole number from 1 on", fix=f"leave {name} out")


def threads_for(threads: int | None, most: int) -> int:
    """How many threads work at once; None is all processors."""
    return max(1, min(threads or os.cpu_count() or 1, most))


@contextmanager
def thread_pool(threads: int | None, most: int) -> Iterator[ThreadPoolExecutor]:
    """A pool of threads, each with its own linear algebra.

    numpy's matrix products would start threads in each of them; products as small as these then
    wait for each other longer than they take, and their last bits would depend on the processors.
    """
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(threads_for(threads, most)) as pool:
        yield pool


def algebra_threads(threads: int) -> AbstractContextManager[object]:
    """So many threads within each product of large matrices; the last bits depend on them."""
    return threadpool_limits(threads, "blas")


#: An array of the users and one of the items.
Sides = tuple[NDArray[np.float32], NDArray[np.float32]]


def plain_model(
    ratings: Ratings,
    method: str,
    mean: float,
    biases: Sides,
    factors: Sides,
    *,
    sigmoid_range: tuple[float, float] | None = None,
    noise_precision: float = 0.0,
    extra: Extra | None = None,
    notes: tuple[str, ...] = (),
) -> FactorModel:
    """A model with the vocabularies and notes of these ratings. notes: further notes."""
    return FactorModel(
        method=method,
        users=ratings.users,
        items=ratings.items,
        scale=ratings.scale,
        seen_start=np.searchsorted(ratings.user_index, np.arange(len(ratings.users) + 1)).astype(np.int64),
        seen_items=ratings.item_index,
        seen_ratings=ratings.ratings,
        seen_times=ratings.order,
        item_names=ratings.item_names,
        implicit=ratings.implicit,
        mean=mean,
        user_bias=biases[0],
        item_bias=biases[1],
        user_factors=factors[0],
        item_factors=factors[1],
        sigmoid_range=sigmoid_range,
        noise_precision=noise_precision,
        extra=extra or Extra(),
        notes=(*ratings.notes, *notes),
    )


def constant_model(ratings: Ratings, method: str, value: float, factors: int) -> FactorModel:
    """The model of ratings that are all equal."""
    users, items = len(ratings.users), len(ratings.items)
    return plain_model(
        ratings,
        method,
        value,
        (np.zeros(users, np.float32), np.zeros(items, np.float32)),
        (np.zeros((users, factors), np.float32), np.zeros((items, factors), np.float32)),
        notes=(f"all ratings are {value:g}: nothing to learn",),
    )
