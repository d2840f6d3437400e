from __future__ import annotations

import numpy as np
import pytest

from collab.some_ratings import all_scores, checkerboard, known_ratings, make_ratings, same_bytes
from tenfold.collab import sgd
from tenfold.collab.sgd import choose_sgd_factors, default_range, fit_sgd
from tenfold.errors import RatingsError, RecipeError, TrainingError


def test_known_factors_are_recovered():
    ratings, truth = known_ratings()
    scores = all_scores(fit_sgd(ratings, epochs=60, weight_decay=0.01))
    assert np.sqrt(np.mean((scores - truth) ** 2)) < 0.35 * truth.std()


def test_the_diagonal_of_a_checkerboard_is_recommended():
    scores = all_scores(fit_sgd(checkerboard(), epochs=200))
    even = np.add.outer(np.arange(20), np.arange(20)) % 2 == 0
    assert np.diag(scores).min() > 4
    assert scores[even].min() > scores[~even].max()


def test_scores_stay_within_the_range():
    ratings, _ = known_ratings()
    model = fit_sgd(ratings, epochs=60, weight_decay=0)
    low, high = model.sigmoid_range
    scores = all_scores(model)
    assert low < scores.min() and scores.max() < high


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [([1, 2, 3, 4, 5], 0.5, 5.5), ([0.5, 1, 4], 0.25, 4.25), ([-9.95, 0.01, 0.02, 9.9], -10.446, 10.396)],
)
def test_the_range_goes_half_a_step_past_the_ends(values, low, high):
    ratings = make_ratings(np.arange(len(values)), [0] * len(values), values)
    assert default_range(ratings) == pytest.approx((low, high), abs=1e-3)


def test_every_rung_of_the_ladder_learns():
    """Dot product; + range; + bias; + weight decay: each explains the ratings it was fitted to."""
    ratings, _ = known_ratings(noise=0.1)
    u, i, r = ratings.user_index, ratings.item_index, ratings.ratings
    for choices in (
        {"use_bias": False, "use_range": False, "weight_decay": 0.0},
        {"use_bias": False, "weight_decay": 0.0},
        {"weight_decay": 0.0},
        {},
        {"use_range": False},
    ):
        model = fit_sgd(ratings, epochs=40, **choices)
        assert np.sqrt(np.mean((all_scores(model)[u, i] - r) ** 2)) < 0.5 * r.std()
        if choices.get("use_bias") is False:
            assert not model.user_bias.any() and not model.item_bias.any() and model.mean == 0
        assert (model.sigmoid_range is None) == (choices.get("use_range") is False)


@pytest.mark.parametrize("large", [10**9, 1])
def test_same_seed_same_bytes_on_any_number_of_threads(monkeypatch, large):
    monkeypatch.setattr(sgd, "LARGE", large)
    ratings, _ = known_ratings()
    models = [fit_sgd(ratings, epochs=3, seed=7, threads=threads) for threads in (1, 2, 8, 2)]
    assert all(same_bytes(models[0], other) for other in models[1:])
    assert not same_bytes(models[0], fit_sgd(ratings, epochs=3, seed=8))


def test_blocks_learn_as_well_as_one(monkeypatch):
    monkeypatch.setattr(sgd, "LARGE", 1)
    ratings, truth = known_ratings()
    scores = all_scores(fit_sgd(ratings, epochs=60, weight_decay=0.01))
    assert np.sqrt(np.mean((scores - truth) ** 2)) < 0.35 * truth.std()


def test_more_weight_decay_makes_smaller_factors():
    ratings, _ = known_ratings()
    sizes = [np.square(fit_sgd(ratings, weight_decay=wd).user_factors).sum() for wd in (0.01, 0.1, 1.0)]
    assert sizes[0] > sizes[1] > sizes[2]


def test_one_epoch_is_told_after_the_other():
    told = []
    fit_sgd(known_ratings()[0], epochs=4, lr=0.04, on_epoch=told.append)
    assert [(event.done, event.total) for event in told] == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize(("value", "scale"), [(3.0, (3.0, 3.0)), (0.0, (0.0, 5.0))])
def test_ratings_all_alike(value, scale):
    model = fit_sgd(make_ratings([0, 0, 1, 2], [0, 1, 1, 2], [value] * 4, scale=scale))
    assert (all_scores(model) == value).all()
    assert any("nothing to learn" in note for note in model.notes)


@pytest.mark.parametrize(
    ("user", "item", "rating"),
    [([0, 1, 1], [0, 0, 1], [0, 1, 0]), ([0], [0], [4]), ([0, 0, 0], [0, 1, 2], [1, 5, 3])],
)
def test_a_handful_of_ratings_gives_finite_scores_in_scale(user, item, rating):
    model = fit_sgd(make_ratings(user, item, rating, scale=(0.0, 5.0)))
    scores = all_scores(model)
    assert np.isfinite(scores).all()
    assert (scores > -1).all() and (scores < 6).all()


def test_factors_by_rule():
    assert [choose_sgd_factors(n) for n in (100, 100_000, 10**7)] == [15, 31, 63]


def test_a_rating_outside_the_range_is_refused():
    ratings = make_ratings([0, 0, 1], [0, 1, 1], [1, 5, 3])
    with pytest.raises(RatingsError, match="1 ratings lie outside the range 0 to 4"):
        fit_sgd(ratings, sigmoid_range=(0, 4))
    with pytest.raises(RecipeError, match="range 5 to 1"):
        fit_sgd(ratings, sigmoid_range=(5, 1))


def test_a_learning_rate_that_explodes_is_said():
    with pytest.raises(TrainingError, match="learning rate"):
        fit_sgd(known_ratings()[0], lr=1e4, use_range=False)


@pytest.mark.parametrize("choice", [{"factors": 0}, {"epochs": 0}, {"lr": -1.0}, {"weight_decay": np.nan}])
def test_impossible_choices(choice):
    with pytest.raises(RecipeError, match=next(iter(choice))):
        fit_sgd(known_ratings()[0], **choice)


def test_events_are_refused():
    with pytest.raises(RatingsError, match="als"):
        fit_sgd(make_ratings([0, 1], [0, 1], [1, 1], implicit=True))
