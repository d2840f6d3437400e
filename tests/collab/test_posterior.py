from __future__ import annotations

import numpy as np
import pytest

from collab.some_ratings import all_scores, known_ratings, make_ratings
from tenfold.collab.gibbs import fit_gibbs
from tenfold.collab.pack import pack_factor_model, unpack_factor_model
from tenfold.collab.times import time_shifts
from tenfold.values import FactorModel


def arrays_of(model: FactorModel) -> dict[str, np.ndarray]:
    """What a sampler knows beside biases and factors, without times."""
    return {name: array for name, array in vars(model.extra).items() if isinstance(array, np.ndarray)}


@pytest.fixture(scope="module")
def model():
    return fit_gibbs(known_ratings(count=3000)[0], factors=4, seed=1)


def test_shapes_and_types(model):
    shapes = {
        "user_bias_variance": (120,),
        "item_bias_variance": (80,),
        "user_factors_variance": (120, 6),
        "item_factors_variance": (80, 6),
        "user_noise": (120,),
        "item_noise": (80,),
        "noise_freedom": (2,),
        "rated_factors": (80, 6),
        "rater_factors": (120, 6),
        "user_prior_mean": (7,),
        "user_prior_covariance": (7, 7),
        "item_prior_mean": (7,),
        "item_prior_covariance": (7, 7),
    }
    arrays = arrays_of(model)
    assert {name: array.shape for name, array in arrays.items()} == shapes
    assert all(array.dtype == np.float32 for array in arrays.values())
    assert all((arrays[name] >= 0).all() for name in shapes if name.endswith(("_variance", "_noise")))
    assert model.user_factors.shape == (120, 6) and model.item_factors.shape == (80, 6)
    assert model.user_factors.dtype == model.item_bias.dtype == np.float32


def test_arrays_survive_being_stored_bit_for_bit(model):
    again = unpack_factor_model(*pack_factor_model(model))
    assert all_scores(again).tobytes() == all_scores(model).tobytes()
    assert {name: array.tobytes() for name, array in arrays_of(again).items()} == {
        name: array.tobytes() for name, array in arrays_of(model).items()
    }


def test_the_noise_is_in_the_unit_of_the_ratings():
    ratings, _ = known_ratings(count=6000, noise=0.3)
    large = make_ratings(ratings.user_index, ratings.item_index, 100 + 10 * ratings.ratings)
    small, large = fit_gibbs(ratings, factors=4), fit_gibbs(large, factors=4)
    assert 1 / np.sqrt(small.noise_precision) == pytest.approx(0.3, rel=0.15)
    assert small.noise_precision == pytest.approx(100 * large.noise_precision, rel=0.05)
    for name in ("user_bias_variance", "user_factors_variance"):
        power = 100 if "bias" in name else 10
        assert power * arrays_of(small)[name].mean() == pytest.approx(arrays_of(large)[name].mean(), rel=0.2)


def test_little_rated_rows_vary_more():
    rng = np.random.default_rng(0)
    ratings, _ = known_ratings(count=6000)
    keep = (ratings.user_index >= 40) | (rng.random(len(ratings.ratings)) < 0.1)
    user, item = ratings.user_index[keep], ratings.item_index[keep]
    model = fit_gibbs(make_ratings(user, item, ratings.ratings[keep]), factors=4)
    for name in ("user_bias_variance", "user_factors_variance"):
        variance = arrays_of(model)[name].reshape(120, -1).sum(axis=1)
        assert np.median(variance[:40]) > 2 * np.median(variance[40:])


def test_shifts_in_time_are_found_and_belong_to_the_user_on_average():
    """Users are 0.8 kinder on one of two days: that is the shift, and the bias is the mean of both."""
    rng = np.random.default_rng(0)
    ratings, truth = known_ratings(count=6000, noise=0.2)
    user, item = ratings.user_index, ratings.item_index
    day = rng.integers(0, 2, len(user))
    kind = np.where((user + day) % 2 == 0, 0.4, -0.4)
    times = day * 86400.0 * 3 + 1000
    timed = make_ratings(user, item, ratings.ratings + kind, times)
    model = fit_gibbs(timed, factors=4)
    users = np.arange(120)
    for when in (0, 1):
        shift = time_shifts(model.extra.times, users, np.full(120, when * 86400.0 * 3 + 1000))
        expected = np.where((users + when) % 2 == 0, 0.4, -0.4)
        assert np.corrcoef(shift, expected)[0, 1] > 0.9
        assert np.abs(shift - expected).mean() < 0.15
    plain = fit_gibbs(timed, factors=4, use_time=False)
    assert plain.extra.times is None
    assert model.noise_precision > 3 * plain.noise_precision
    # Without a time a score is the one at the user's usual times.
    np.testing.assert_allclose(all_scores(model).mean(axis=1), all_scores(plain).mean(axis=1), atol=0.2)
