"""What every fitter does first: checks its choices, and brings the ratings to mean 0 and deviation 1.

So priors, weight decay and learning rates mean the same for stars, percents and jokes from -10 to 10.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from tenfold.errors import RatingsError, RecipeError
from tenfold.values import FactorModel, Ratings

__all__ = [
    "Scale",
    "check_choices",
    "choose_factors",
    "constant_model",
    "measure",
    "plain_model",
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
    """Mean and standard deviation; RatingsError where there is nothing to learn from or no number."""
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


def check_choices(**choices: Any) -> None:
    """RecipeError for choices that are given and are not whole numbers from 1 on."""
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
    """Threads that work at once, each on linear algebra of its own.

    numpy's products of matrices would start threads in every one of them; products as small as these then
    wait for each other longer than they take, and their last bits would depend on the processors.
    """
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(threads_for(threads, most)) as pool:
        yield pool


def plain_model(ratings: Ratings, method: str, **parts: Any) -> FactorModel:
    """A model of these ratings, with what every model takes over from them."""
    return FactorModel(
        method=method,
        users=ratings.users,
        items=ratings.items,
        scale=ratings.scale,
        seen_start=np.searchsorted(ratings.user_index, np.arange(len(ratings.users) + 1)).astype(np.int64),
        seen_items=ratings.item_index,
        seen_ratings=ratings.ratings,
        item_names=ratings.item_names,
        implicit=ratings.implicit,
        **parts,
    )


def constant_model(ratings: Ratings, method: str, value: float, factors: int) -> FactorModel:
    """The model of ratings that are all alike."""
    users, items = len(ratings.users), len(ratings.items)
    return plain_model(
        ratings,
        method,
        mean=value,
        user_bias=np.zeros(users, np.float32),
        item_bias=np.zeros(items, np.float32),
        user_factors=np.zeros((users, factors), np.float32),
        item_factors=np.zeros((items, factors), np.float32),
        sigmoid_range=None,
        notes=(*ratings.notes, f"all ratings are {value:g}: nothing to learn"),
    )
