from __future__ import annotations

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from collab.some_ratings import make_ratings
from tenfold.collab.scale import (
    check_choices,
    choose_factors,
    constant_model,
    measure,
    thread_pool,
    threads_for,
)
from tenfold.errors import RatingsError, RecipeError


def test_targets_have_mean_0_and_deviation_1():
    ratings = make_ratings([0, 0, 1, 1], [0, 1, 0, 1], [80, 84, 82, 90])
    scale = measure(ratings)
    targets = scale.targets(ratings.ratings)
    assert targets.dtype == np.float32
    assert targets.mean() == pytest.approx(0, abs=1e-6)
    assert targets.std() == pytest.approx(1, abs=1e-6)
    assert scale.center + scale.spread * targets == pytest.approx(ratings.ratings)


@pytest.mark.parametrize("value", [0.0, 3.0, -1e30, 1e-30])
def test_ratings_that_are_all_alike_have_no_spread(value):
    assert measure(make_ratings([0, 1, 2], [0, 0, 1], [value] * 3)).spread == 0


def test_very_large_ratings_have_a_finite_spread():
    scale = measure(make_ratings([0, 1], [0, 0], [1e30, 3e30]))
    assert np.isfinite(scale.spread)
    assert scale.spread == pytest.approx(1e30, rel=1e-5)


def test_nothing_and_no_number_are_refused():
    with pytest.raises(RatingsError, match="no ratings"):
        measure(make_ratings(np.empty(0, int), np.empty(0, int), [], users=1, items=1))
    with pytest.raises(RatingsError, match="1 ratings are not finite"):
        measure(make_ratings([0, 1], [0, 0], [np.nan, 1]))


@pytest.mark.parametrize(("ratings", "factors"), [(1, 8), (80_000, 16), (900_000, 32), (10**8, 32)])
def test_factors_grow_with_ratings(ratings, factors):
    assert choose_factors(ratings) == factors


@pytest.mark.parametrize("value", [0, -1, 2.5, True, "8"])
def test_choices_are_whole_numbers_from_1_on(value):
    check_choices(factors=None, sweeps=3, epochs=np.int64(1))
    with pytest.raises(RecipeError, match="factors"):
        check_choices(factors=value)


def test_threads_are_as_many_as_asked_and_as_there_is_work():
    assert threads_for(8, 2) == 2
    assert threads_for(1, 2) == 1
    assert threads_for(None, 64) >= 1


def test_the_constant_model_says_the_constant():
    ratings = make_ratings([0, 1], [0, 1], [3, 3])
    model = constant_model(ratings, "als", 3.0, 4)
    assert model.mean == 3.0
    assert model.user_factors.shape == model.item_factors.shape == (2, 4)
    assert not model.user_factors.any() and not model.user_bias.any()
    assert any("all ratings are 3: nothing to learn" in note for note in model.notes)


def test_threads_of_a_pool_start_no_threads_of_their_own() -> None:
    def threads_of_blas() -> set[int]:
        np.dot(np.ones((2, 2)), np.ones((2, 2)))
        return {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}

    before = threads_of_blas()
    with thread_pool(2, 4) as pool:
        assert pool._max_workers == 2
        assert pool.submit(threads_of_blas).result() == {1}
    assert threads_of_blas() == before
