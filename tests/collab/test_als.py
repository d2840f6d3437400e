from __future__ import annotations

import numpy as np
import pytest

from collab.some_ratings import all_scores, checkerboard, known_ratings, make_ratings, same_bytes
from tenfold.collab import als
from tenfold.collab.als import FLOOR, fit_als, fold_in
from tenfold.collab.gibbs import fit_gibbs
from tenfold.collab.sgd import fit_sgd
from tenfold.errors import RatingsError, RecipeError, TrainingError


def seen(model, user):
    part = slice(model.seen_start[user], model.seen_start[user + 1])
    return model.seen_items[part].astype(int), model.seen_ratings[part]


def raters(ratings, item):
    there = ratings.item_index == item
    return ratings.user_index[there].astype(int), ratings.ratings[there]


def test_known_factors_are_recovered():
    ratings, truth = known_ratings()
    scores = all_scores(fit_als(ratings, factors=2, weight_decay=0.01))
    assert np.sqrt(np.mean((scores - truth) ** 2)) < 0.25 * truth.std()


def test_the_diagonal_of_a_checkerboard_is_recommended():
    scores = all_scores(fit_als(checkerboard(), weight_decay=0.01))
    even = np.add.outer(np.arange(20), np.arange(20)) % 2 == 0
    assert np.diag(scores).min() > 4
    assert scores[even].min() > scores[~even].max()


def test_a_user_is_the_ridge_regression_on_the_items():
    """Zhou et al. 2008, equations 3 and 4, with the bias beside the factors, in units of the deviation."""
    ratings, _ = known_ratings(count=900)
    model = fit_als(ratings, factors=3, epochs=3, weight_decay=0.2)
    spread = ratings.ratings.astype(np.float64).std()
    for user in (0, 17, 119):
        items, values = seen(model, user)
        z = np.column_stack([model.item_factors[items] / np.sqrt(spread), np.ones(len(items))]).astype(
            np.float64
        )
        y = (values - model.mean - model.item_bias[items]) / spread
        x = np.linalg.solve(z.T @ z + (0.2 * len(items) + FLOOR) * np.eye(4), z.T @ y)
        np.testing.assert_allclose(model.user_bias[user], spread * x[3], atol=2e-4)
        np.testing.assert_allclose(model.user_factors[user], np.sqrt(spread) * x[:3], atol=2e-4)


def test_events_rank_by_confidence():
    """Hu, Koren and Volinsky 2008, equation 4: all unseen items count with confidence 1."""
    rng = np.random.default_rng(3)
    user, item = np.nonzero(rng.random((30, 20)) < 0.2)
    ratings = make_ratings(user, item, rng.integers(1, 5, len(user)), users=30, items=20, implicit=True)
    model = fit_als(ratings, factors=4, epochs=3, weight_decay=2.0)
    y = model.item_factors.astype(np.float64)
    rate = 10.0 / ratings.ratings.mean(dtype=np.float64)
    for u in (0, 11, 29):
        counts = np.zeros(20)
        items, values = seen(model, u)
        counts[items] = values
        a = (y.T * (1 + rate * counts)) @ y + 2.0 * np.eye(4)
        x = np.linalg.solve(a, (y.T * (1 + rate * counts)) @ (counts > 0))
        np.testing.assert_allclose(model.user_factors[u], x, atol=2e-4)
    assert model.implicit
    scores = all_scores(model)
    known = np.zeros((30, 20), bool)
    known[user, item] = True
    assert scores[known].mean() > scores[~known].mean() + 0.3


def test_a_disliked_item_is_not_recommended_first():
    """x is rated 5 by all, y 1 by all but d, z 5 by d: for c, who rated x alone, y comes last."""
    ratings = make_ratings([0, 0, 1, 1, 2, 3, 3], [0, 1, 0, 1, 0, 1, 2], [5, 1, 5, 1, 5, 1, 5])
    for model in (fit_als(ratings), fit_sgd(ratings), fit_gibbs(ratings)):
        scores = all_scores(model)[2]
        assert scores[1] < scores[2]


@pytest.mark.parametrize("implicit", [False, True])
def test_same_seed_same_bytes_on_any_number_of_threads(implicit):
    ratings = make_ratings(*np.divmod(np.arange(0, 600, 7), 20), np.arange(86) % 5 + 1, implicit=implicit)
    models = [fit_als(ratings, seed=7, threads=threads) for threads in (1, 2, 8, 2)]
    assert all(same_bytes(models[0], other) for other in models[1:])
    assert not same_bytes(models[0], fit_als(ratings, seed=8))


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize("weight_decay", [None, 0.0])
def test_a_known_user_folded_in_is_as_fitted(implicit, weight_decay):
    ratings, _ = known_ratings(count=1500)
    if implicit:
        ratings = make_ratings(
            ratings.user_index, ratings.item_index, np.ones(len(ratings.ratings)), implicit=True
        )
    model = fit_als(ratings, weight_decay=weight_decay)
    for user in (0, 50, 119):
        row = fold_in(model, *seen(model, user))
        np.testing.assert_allclose(row.factors, model.user_factors[user], atol=2e-3)
        np.testing.assert_allclose(row.bias, model.user_bias[user], atol=2e-3)


@pytest.mark.parametrize("side", ["user", "item"])
@pytest.mark.parametrize("fit", [fit_gibbs, fit_sgd, fit_als])
def test_a_known_row_folded_in_scores_nearly_as_fitted(fit, side):
    ratings, _ = known_ratings(count=5000)
    # Stochastic gradients that have come to rest.
    model = fit(ratings, epochs=200, weight_decay=0.01) if fit is fit_sgd else fit(ratings)
    scores = all_scores(model)
    for row in (3, 40, 77):
        found = fold_in(model, *(seen(model, row) if side == "user" else raters(ratings, row)), side=side)
        if side == "user":
            raw = model.mean + found.bias + model.item_bias + model.item_factors @ found.factors
            fitted = scores[row]
        else:
            raw = model.mean + found.bias + model.user_bias + model.user_factors @ found.factors
            fitted = scores[:, row]
        if model.sigmoid_range is not None:
            low, high = model.sigmoid_range
            raw = low + (high - low) / (1 + np.exp(-raw))
        assert np.sqrt(np.mean((raw - fitted) ** 2)) < 0.2 * scores.std()


@pytest.mark.parametrize("fit", [fit_gibbs, fit_sgd])
def test_a_new_user_is_better_known_with_every_rating(fit):
    ratings, truth = known_ratings(count=5000)
    held = ratings.user_index >= 100
    kept = make_ratings(
        ratings.user_index[~held], ratings.item_index[~held], ratings.ratings[~held], items=80
    )
    model = fit(kept)
    errors = []
    for count in (0, 3, 12, 60):
        wrong = []
        for user in range(100, 120):
            items = np.random.default_rng(user).permutation(80)[:count]
            row = fold_in(model, items, truth[user, items].clip(*model.scale))
            raw = model.mean + row.bias + model.item_bias + model.item_factors @ row.factors
            if model.sigmoid_range is not None:
                low, high = model.sigmoid_range
                raw = low + (high - low) / (1 + np.exp(-raw))
            wrong.append(raw.clip(*model.scale) - truth[user].clip(*model.scale))
        errors.append(np.sqrt(np.mean(np.square(wrong))))
    assert errors[0] > errors[1] > errors[2] > errors[3]


def test_what_is_known_of_a_new_user_has_a_variance_that_shrinks():
    ratings, _ = known_ratings()
    model = fit_gibbs(ratings)
    rows = [fold_in(model, np.arange(n), np.full(n, 3.0)) for n in (0, 2, 50)]
    assert rows[0].bias_variance > rows[1].bias_variance > rows[2].bias_variance > 0
    assert (rows[0].factors_variance >= rows[2].factors_variance).all()


def test_a_user_who_rates_wildly_gets_more_noise():
    ratings, truth = known_ratings(user_noise=np.where(np.arange(120) % 4 == 0, 1.5, 0.2), count=6000)
    model = fit_gibbs(ratings)
    rng, items = np.random.default_rng(0), np.arange(0, 80, 2)
    calm = fold_in(model, items, truth[1, items] + 0.2 * rng.normal(size=40)).noise
    wild = fold_in(model, items, truth[1, items] + 1.5 * rng.normal(size=40)).noise
    assert wild > 4 * calm


def test_ratings_all_alike():
    model = fit_als(make_ratings([0, 0, 1], [0, 1, 1], [3, 3, 3]))
    assert (all_scores(model) == 3).all()
    row = fold_in(model, [0], [3.0])
    assert row.bias == 0 and not row.factors.any()


@pytest.mark.parametrize("weight_decay", [None, 0.0])
def test_users_with_one_rating_have_finite_scores(weight_decay):
    ratings = make_ratings(np.arange(10), np.arange(10) % 3, np.arange(10) % 5 + 1)
    assert np.isfinite(all_scores(fit_als(ratings, weight_decay=weight_decay))).all()


def test_events_that_are_all_nought_are_finite():
    ratings = make_ratings([0, 1, 2], [0, 1, 0], [0, 0, 0], implicit=True)
    assert np.isfinite(all_scores(fit_als(ratings))).all()


@pytest.mark.parametrize("choice", [{"factors": 0}, {"epochs": -1}, {"weight_decay": -1.0}, {"threads": 0}])
def test_impossible_choices(choice):
    with pytest.raises(RecipeError, match=next(iter(choice))):
        fit_als(known_ratings()[0], **choice)


def test_a_fold_in_says_what_it_cannot_use():
    model = fit_als(known_ratings()[0])
    with pytest.raises(RatingsError, match="place"):
        fold_in(model, [80], [3])
    with pytest.raises(RatingsError, match="finite"):
        fold_in(model, [0], [np.nan])
    with pytest.raises(RatingsError, match="2 places for 1 ratings"):
        fold_in(model, [0, 1], [3])
    with pytest.raises(RecipeError, match="side"):
        fold_in(model, [0], [3], side="film")


def test_factors_that_are_no_numbers_are_an_error(monkeypatch):
    # On real ratings without decay the floor may be too low for single precision; without it, any few are.
    monkeypatch.setattr(als, "FLOOR", 0.0)
    with pytest.raises(TrainingError, match="weight_decay 0"):
        fit_als(known_ratings(count=300)[0], factors=16, weight_decay=0.0)
