from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from collab.some_ratings import all_scores, checkerboard, known_ratings, make_ratings, same_bytes
from tenfold.collab import als
from tenfold.collab.als import FLOOR, fit_als
from tenfold.collab.gibbs import fit_gibbs
from tenfold.collab.sgd import fit_sgd
from tenfold.errors import RecipeError, TrainingError
from tenfold.values import Shown


def seen(model, user):
    part = slice(model.seen_start[user], model.seen_start[user + 1])
    return model.seen_items[part].astype(int), model.seen_ratings[part]


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


def test_events_weigh_by_strength_beside_all_pairs():
    """Rendle et al. 2022, equations 1 to 5, with weights log2(1 + strength / median)."""
    rng = np.random.default_rng(3)
    user, item = np.nonzero(rng.random((30, 20)) < 0.2)
    ratings = make_ratings(user, item, rng.integers(1, 5, len(user)), users=30, items=20, implicit=True)
    model = fit_als(ratings, factors=4, epochs=3, weight_decay=2.0, unobserved=0.4)
    y = model.item_factors.astype(np.float64)
    median = np.median(ratings.ratings)
    each = 2.0 * 50 / (2 * (len(user) + 0.4 * 600))
    for u in (0, 11, 29):
        weight = np.zeros(20)
        items, values = seen(model, u)
        weight[items] = np.log2(1 + values / median)
        a = (y.T * (0.4 + weight)) @ y + each * (len(items) + 0.4 * 20) * np.eye(4)
        np.testing.assert_allclose(model.user_factors[u], np.linalg.solve(a, y.T @ weight), atol=2e-4)
    assert model.implicit
    scores = all_scores(model)
    known = np.zeros((30, 20), bool)
    known[user, item] = True
    assert scores[known].mean() > 1.4 * scores[~known].mean()
    with pytest.raises(RecipeError, match="unobserved = 0"):
        fit_als(ratings, unobserved=0)


def test_what_was_shown_and_not_taken_is_to_score_nothing():
    """The same regression with the pairs that were shown: target 0, and their weight beside the others."""
    rng = np.random.default_rng(3)
    user, item = np.nonzero(rng.random((30, 20)) < 0.3)
    away = rng.random(len(user)) < 0.4
    shown = Shown(user[away].astype(np.uint32), item[away].astype(np.uint32), None)
    ratings = make_ratings(
        user[~away], item[~away], np.ones((~away).sum()), users=30, items=20, implicit=True, shown=shown
    )
    choices = {"factors": 4, "epochs": 3, "weight_decay": 2.0, "unobserved": 0.1}
    model, plain = fit_als(ratings, **choices, shown=0.5), fit_als(ratings, **choices)
    y = model.item_factors.astype(np.float64)
    each = 2.0 * 50 / (2 * (len(user) + 0.1 * 600))
    for u in (0, 11, 29):
        weight, target = np.zeros(20), np.zeros(20)
        items = seen(model, u)[0]
        weight[items], target[items] = 1, 1
        weight[item[away][user[away] == u]] = 0.5
        a = (y.T * (0.1 + weight)) @ y + each * ((weight > 0).sum() + 0.1 * 20) * np.eye(4)
        wanted = np.linalg.solve(a, y.T @ (weight * target))
        np.testing.assert_allclose(model.user_factors[u], wanted, atol=2e-4)
    refused = user[away], item[away]
    assert all_scores(model)[refused].mean() < 0.8 * all_scores(plain)[refused].mean()
    # Without a weight it is as if nothing had been shown.
    alone = fit_als(replace(ratings, shown=None), **choices)
    assert plain.user_factors.tobytes() == alone.user_factors.tobytes()


def test_the_unit_of_strength_does_not_matter():
    rng = np.random.default_rng(4)
    user, item = np.nonzero(rng.random((30, 20)) < 0.2)
    seconds = rng.integers(1, 4000, len(user))
    fits = [
        fit_als(make_ratings(user, item, values, users=30, items=20, implicit=True), factors=3, epochs=4)
        for values in (seconds, seconds / 60, seconds * 1000)
    ]
    for other in fits[1:]:
        np.testing.assert_allclose(all_scores(other), all_scores(fits[0]), atol=1e-4)


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


def test_ratings_all_alike():
    model = fit_als(make_ratings([0, 0, 1], [0, 1, 1], [3, 3, 3]))
    assert (all_scores(model) == 3).all()


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


def test_factors_that_are_no_numbers_are_an_error(monkeypatch):
    # On real ratings without decay the floor may be too low for single precision; without it, any few are.
    monkeypatch.setattr(als, "FLOOR", 0.0)
    with pytest.raises(TrainingError, match="weight_decay 0"):
        fit_als(known_ratings(count=300)[0], factors=16, weight_decay=0.0)
