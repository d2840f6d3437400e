from __future__ import annotations

import numpy as np
import pytest

from collab.some_ratings import all_scores, checkerboard, known_ratings, make_ratings, same_bytes
from tenfold.collab.gibbs import choose_burn_in, choose_sweeps, fit_gibbs
from tenfold.collab.predict import FactorScorer, predict_pairs
from tenfold.errors import RatingsError, RecipeError
from tenfold.values import SideFeatures


def side_features(of, names):
    """One feature a row."""
    rows = len(of)
    group = np.zeros(len(names), np.uint32)
    return SideFeatures(tuple(names), group, ("kind",), np.arange(rows + 1), np.asarray(of, np.uint32))


@pytest.mark.parametrize("implicit", [True, False])
def test_known_factors_are_recovered(implicit):
    ratings, truth = known_ratings(noise=0.3)
    scores = all_scores(fit_gibbs(ratings, implicit=implicit))
    # Half of the cells were never rated; what is left of error there is far below the noise.
    assert np.sqrt(np.mean((scores - truth) ** 2)) < 0.6 * 0.3


def test_the_diagonal_of_a_checkerboard_is_recommended():
    scores = all_scores(fit_gibbs(checkerboard()))
    even = np.add.outer(np.arange(20), np.arange(20)) % 2 == 0
    assert np.diag(scores).min() > 4
    assert scores[even].min() > scores[~even].max()


def test_more_sweeps_average_more():
    """The same chain cut short knows less."""
    ratings, truth = known_ratings(count=1500, noise=0.6)
    errors = [np.mean((all_scores(fit_gibbs(ratings, sweeps=n)) - truth) ** 2) for n in (4, 40, 400)]
    assert errors[0] > errors[1] > errors[2]


@pytest.mark.parametrize("sweeps", [1, 3, 40])
def test_same_seed_same_bytes_on_any_number_of_threads(sweeps):
    ratings, _ = known_ratings(count=1500)
    models = [fit_gibbs(ratings, sweeps=sweeps, seed=7, threads=threads) for threads in (1, 2, 8, 2)]
    assert all(same_bytes(models[0], other) for other in models[1:])
    assert not same_bytes(models[0], fit_gibbs(ratings, sweeps=sweeps, seed=8))


def test_ratings_in_another_unit_give_scores_in_that_unit():
    ratings, _ = known_ratings(count=1500)
    other = make_ratings(ratings.user_index, ratings.item_index, 50 + 8 * ratings.ratings)
    one, two = (all_scores(fit_gibbs(each, sweeps=200)) for each in (ratings, other))
    np.testing.assert_allclose(50 + 8 * one, two, atol=0.5)


@pytest.mark.parametrize(("value", "scale"), [(3.0, (3.0, 3.0)), (0.0, (0.0, 5.0))])
def test_ratings_all_alike(value, scale):
    ratings = make_ratings(*np.divmod(np.arange(12), 3), [value] * 12, scale=scale)
    model = fit_gibbs(ratings)
    assert (all_scores(model) == value).all()
    assert any("nothing to learn" in note for note in model.notes)
    assert predict_pairs(FactorScorer(model), "u0", model.items).score.tolist() == [value] * 3


@pytest.mark.parametrize(
    ("user", "item", "rating"),
    [
        ([0, 1, 1], [0, 0, 1], [0, 1, 0]),
        ([0], [0], [4]),
        ([0, 0, 0], [0, 1, 2], [1, 5, 3]),
        ([0, 1, 2], [0, 0, 0], [1, 5, 3]),
        (list(range(10)), [n % 3 for n in range(10)], [n % 5 + 1 for n in range(10)]),
        ([0, 0, 0, 0, 1, 1, 1, 1], [0, 1, 2, 3] * 2, [1, 1, 1, 1, 5, 5, 5, 5]),
        ([0, 1], [0, 1], [1e30, -1e30]),
    ],
)
@pytest.mark.parametrize("implicit", [True, False])
def test_a_handful_of_ratings_gives_finite_scores_in_scale(user, item, rating, implicit):
    ratings = make_ratings(user, item, rating)
    model = fit_gibbs(ratings, implicit=implicit)
    found = predict_pairs(FactorScorer(model), model.users[0], model.items)
    assert np.isfinite(all_scores(model)).all()
    assert np.isfinite(found.score).all() and np.isfinite(found.deviation[:1]).all() or len(rating) == 1
    assert found.score.min() >= ratings.scale[0] and found.score.max() <= ratings.scale[1]


def test_constant_users_are_believed():
    """One user rates all 5, one all 1, the others 3."""
    user, item = np.divmod(np.arange(48), 8)
    model = fit_gibbs(make_ratings(user, item, np.array([5, 1, 3, 3, 3, 3])[user]))
    scores = all_scores(model).mean(axis=1)
    assert scores[0] > 4 > scores[2] > 2 > scores[1]


def test_deviations_tell_where_errors_are_large():
    rng = np.random.default_rng(4)
    noise = np.where(np.arange(120) % 3 == 0, 1.2, 0.3)
    ratings, truth = known_ratings(count=5000, user_noise=noise)
    model = fit_gibbs(ratings)
    user, item = np.divmod(np.arange(120 * 80), 80)
    fresh = truth[user, item] + noise[user] * rng.normal(size=len(user))
    found = predict_pairs(FactorScorer(model), model.users[user], model.items[item])
    error = np.abs(all_scores(model).reshape(-1) - fresh)
    quarter = np.argsort(np.argsort(found.deviation)) * 4 // len(user)
    means = [error[quarter == one].mean() for one in range(4)]
    assert means[3] > 2 * means[0]
    assert means[3] == max(means)


@pytest.mark.parametrize("count", [1200, 2500])
def test_nine_of_ten_new_ratings_lie_in_the_90_percent_interval(count: int) -> None:
    """Few ratings and many factors: a user's and an item's factors are unsure, their product much less."""
    ratings, truth = known_ratings(users=150, items=100, factors=3, count=count, noise=0.6)
    model = fit_gibbs(ratings, factors=12, sweeps=120)
    rated = np.zeros(truth.shape, bool)
    rated[ratings.user_index, ratings.item_index] = True
    user, item = np.nonzero(~rated)
    fresh = truth[user, item] + 0.6 * np.random.default_rng(5).normal(size=len(user))
    mean, deviation = FactorScorer(model).means(user, item)
    inside = (np.abs(mean - fresh) <= 1.645 * deviation).mean()
    assert 0.87 < inside < 0.93


def test_what_a_user_chose_to_rate_tells_of_the_user():
    """All ratings are noise around a taste that shows in which half of the items a user rated."""
    rng = np.random.default_rng(6)
    taste = rng.integers(0, 2, 300)
    user = np.repeat(np.arange(300), 6)
    item = np.concatenate([rng.permutation(30)[:6] + 30 * one for one in taste])
    extra_user, extra_item = np.arange(300), rng.integers(60, 70, 300)
    kind = (extra_item + taste[extra_user]) % 2
    ratings = make_ratings(
        np.concatenate([user, extra_user]),
        np.concatenate([item, extra_item]),
        np.concatenate([3 + 0.1 * rng.normal(size=len(user)), 2 + 2 * kind + 0.1 * rng.normal(size=300)]),
    )
    expected = 2 + 2 * ((np.arange(60, 70) + taste[:, None]) % 2)
    errors = []
    for implicit in (True, False):
        scores = all_scores(fit_gibbs(ratings, implicit=implicit, factors=4))[:, 60:]
        errors.append(np.mean((scores - expected) ** 2))
    assert errors[0] < 0.5 * errors[1]


def test_side_columns_tell_of_items_with_few_ratings():
    rng = np.random.default_rng(8)
    kind = rng.integers(0, 4, 400)
    worth = np.array([1.5, 2.5, 3.5, 4.5])[kind]
    user, item = rng.integers(0, 60, 500), np.concatenate([np.arange(400), rng.integers(0, 400, 100)])
    cells = np.unique(user * 400 + item)
    user, item = cells // 400, cells % 400
    ratings = make_ratings(user, item, worth[item] + rng.normal(size=len(user)), items=400)
    side = side_features(kind, ["kind=a", "kind=b", "kind=c", "kind=d"])
    with_side, without = (fit_gibbs(ratings, item_side=one, factors=4) for one in (side, None))
    errors = [np.mean((all_scores(one).mean(axis=0) - worth) ** 2) for one in (with_side, without)]
    assert errors[0] < 0.4 * errors[1]


def test_side_columns_of_users():
    rng = np.random.default_rng(9)
    kind = rng.integers(0, 2, 200)
    user = np.repeat(np.arange(200), 3)
    item = np.concatenate([rng.permutation(40)[:3] for _ in range(200)])
    worth = 3 + np.where(kind[user] == item % 2, 1, -1)
    ratings = make_ratings(user, item, worth + 0.3 * rng.normal(size=600), items=40)
    side = side_features(kind, ["kind=a", "kind=b"])
    model = fit_gibbs(ratings, user_side=side, factors=4)
    expected = 3 + np.where(kind[:, None] == np.arange(40) % 2, 1, -1)
    assert np.mean((all_scores(model) - expected) ** 2) < 0.2


def test_side_features_of_other_rows_are_refused():
    ratings, _ = known_ratings()
    with pytest.raises(RecipeError, match="side features of 3 rows for 80"):
        fit_gibbs(ratings, item_side=side_features([0, 1, 0], ["a", "b"]))


def test_every_sweep_is_told():
    told = []
    fit_gibbs(known_ratings()[0], sweeps=9, threads=2, on_sweep=told.append)
    assert [event.done for event in told] == list(range(1, 10))
    assert {event.total for event in told} == {9}
    assert all(float(event.extra.removeprefix("error ")) > 0 for event in told)


def test_an_error_of_the_listener_ends_the_fit():
    def listen(record):
        if record.done == 3:
            raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        fit_gibbs(known_ratings()[0], sweeps=100_000, on_sweep=listen)


def test_rules():
    assert choose_sweeps(10) == choose_sweeps(100_000) == 400
    assert 200 == choose_sweeps(10**9) < choose_sweeps(1_000_000) < 400
    assert choose_burn_in(600) == 50
    assert choose_burn_in(40) == 5
    assert choose_burn_in(1) == 0


@pytest.mark.parametrize("choice", [{"factors": 0}, {"sweeps": 0}, {"sweeps": 2.5}, {"threads": -1}])
def test_impossible_choices(choice):
    with pytest.raises(RecipeError, match=next(iter(choice))):
        fit_gibbs(known_ratings()[0], **choice)


def test_events_are_refused():
    with pytest.raises(RatingsError, match="als"):
        fit_gibbs(make_ratings([0, 1], [0, 1], [1, 1], implicit=True))
