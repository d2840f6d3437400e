"""New ratings in a fitted model: who is new is known at once, and nobody else changes."""

from __future__ import annotations

import numpy as np
import pytest

from collab.some_ratings import all_scores, known_ratings, make_ratings
from collab.test_explain import drawn_ratings
from tenfold.collab.als import fit_als
from tenfold.collab.fold_in import add_ratings, fold_in
from tenfold.collab.gibbs import fit_gibbs
from tenfold.collab.pack import pack_factor_model, unpack_factor_model
from tenfold.collab.predict import FactorScorer, predict_pairs
from tenfold.collab.recommend import recommend
from tenfold.collab.sgd import fit_sgd
from tenfold.data.ratings.index import take_ratings
from tenfold.errors import RatingsError
from tenfold.values import FactorModel


@pytest.fixture(scope="module", params=["als", "gibbs"])
def fitted(request) -> FactorModel:
    if request.param == "als":
        return fit_als(drawn_ratings(), factors=3, epochs=15)
    return fit_gibbs(drawn_ratings(), factors=4, sweeps=60)


def seen(model: FactorModel, user: str) -> dict[str, float]:
    row = int(np.flatnonzero(model.users == user)[0])
    part = slice(model.seen_start[row], model.seen_start[row + 1])
    return dict(zip(model.items[model.seen_items[part]], model.seen_ratings[part].tolist(), strict=True))


def test_a_new_user_gets_a_list_of_their_own(fitted):
    items, values = ["i3", "i1", "i7", "i3"], [1, 5, 4, 2]
    model, notes = add_ratings(fitted, "me", items, values)
    assert notes == ["3 new ratings, 1 new users, 0 new items"]
    assert seen(model, "me") == {"i1": 5, "i3": 2, "i7": 4}
    found = recommend(FactorScorer(model), ["me", "u3"], n=20, reasons=2)
    mine = found.items[found.users == "me"]
    assert len(mine) == 15 and not {"i1", "i3", "i7"} & set(mine) and found.known_user.all()
    assert len(found.reasons[0]) == 2
    other = recommend(FactorScorer(fitted), "u3", n=20)
    assert list(found.items[found.users == "u3"]) == list(other.items)
    low, high = (
        predict_pairs(FactorScorer(add_ratings(fitted, "me", items[:3], v)[0]), "me", "i5").score[0]
        for v in ([1] * 3, [5] * 3)
    )
    assert low < high


def test_a_known_user_who_rates_more_never_gets_that_again(fitted):
    item = recommend(FactorScorer(fitted), "u4", n=1).items[0]
    model, notes = add_ratings(fitted, "u4", item, 2)
    assert notes == ["1 new ratings, 0 new users, 0 new items"]
    assert seen(model, "u4") == {**seen(fitted, "u4"), item: 2}
    assert item not in recommend(FactorScorer(model), "u4", n=20).items
    others = [user for user in fitted.users if user != "u4"]
    same = [list(recommend(FactorScorer(one), others, n=5).items) for one in (fitted, model)]
    assert same[0] == same[1]
    again, _ = add_ratings(model, "u4", item, 5)  # a changed mind is one rating still
    assert seen(again, "u4")[item] == 5 and len(again.seen_items) == len(model.seen_items)


def test_a_new_item_is_learnt_from_those_who_know_it(fitted):
    raters = [f"u{n}" for n in range(10)]
    liked, notes = add_ratings(fitted, raters, ["new"] * 10, [5] * 10)
    assert "1 new items" in notes[0]
    hated, _ = add_ratings(fitted, raters, ["new"] * 10, [1] * 10)
    # One user's taste may run against the raters'; that of all users together does not.
    high, low = (
        predict_pairs(FactorScorer(model), fitted.users, ["new"] * len(fitted.users))
        for model in (liked, hated)
    )
    assert (high.score[:10] > low.score[:10]).all() and high.score.mean() > low.score.mean() + 0.3
    assert high.known_item.all()
    assert np.isfinite(high.deviation).all() == (fitted.noise_precision > 0)
    assert (
        "new" in recommend(FactorScorer(liked), "u15", n=20).items
        and "new" not in recommend(FactorScorer(liked), "u3", n=20).items
    )


def test_what_nobody_known_has_rated_stays_unknown(fitted):
    model, notes = add_ratings(fitted, ["me", "me"], ["odd", "i2"], [5, 1])
    assert "1 items are known to no user" in notes[1] and "'odd'" in notes[1]
    assert seen(model, "me") == {"i2": 1} and "odd" not in model.items


def test_the_grown_model_can_be_packed(fitted):
    model, _ = add_ratings(fitted, ["me", "u1", "you"], ["i1", "new", "i2"], [5, 1, 3])
    again = unpack_factor_model(*pack_factor_model(model))
    assert again.user_factors.tobytes() == model.user_factors.tobytes()
    sizes = {len(model.users), len(model.items)}
    for name, array in vars(model.extra).items():
        if array is not None and name.startswith(
            ("user_bias", "user_factors", "user_noise", "item_bias", "item_factors", "item_noise")
        ):
            assert len(array) in sizes, name
    assert np.isfinite(recommend(FactorScorer(again), n=3).score).all()
    assert len(fitted.users) == 25 and "new" not in fitted.items  # the model given is untouched


def test_folding_in_comes_near_to_fitting_again():
    ratings = drawn_ratings()
    without = take_ratings(ratings, np.flatnonzero(ratings.user_index != 24))
    mine = ratings.user_index == 24
    model, _ = add_ratings(
        fit_als(without, factors=3), "u24", ratings.items[ratings.item_index[mine]], ratings.ratings[mine]
    )
    whole = fit_als(ratings, factors=3)
    one, other = (predict_pairs(FactorScorer(each), "u24", ratings.items).score for each in (model, whole))
    assert np.abs(one - other).mean() < 0.35 and np.corrcoef(one, other)[0, 1] > 0.8


def test_events_add_up():
    model = fit_als(drawn_ratings(implicit=True), factors=3)
    before = seen(model, "u0")
    item = next(iter(before))
    more, _ = add_ratings(model, "u0", item, 2)
    assert seen(more, "u0")[item] == before[item] + 2
    new, _ = add_ratings(model, "me", ["i1", "i2"], [1, 3])
    assert "me" in recommend(FactorScorer(new)).users


def test_what_cannot_be_learnt_is_refused(fitted):
    with pytest.raises(RatingsError, match="2 new ratings") as error:
        add_ratings(fitted, ["me", "me", "u1"], ["i1", "i2", "i3"], [6, 3, np.nan])
    assert "item 'i1': 6" in str(error.value)
    with pytest.raises(RatingsError, match="no user"):
        add_ratings(fitted, "", "i1", 3)
    with pytest.raises(RatingsError, match="2 users, 2 items and 1 ratings"):
        add_ratings(fitted, ["a", "b"], ["i1", "i2"], 3)


# --- one row --------------------------------------------------------------------------------------------


def rated(model, user):
    part = slice(model.seen_start[user], model.seen_start[user + 1])
    return model.seen_items[part].astype(int), model.seen_ratings[part]


def raters(ratings, item):
    there = ratings.item_index == item
    return ratings.user_index[there].astype(int), ratings.ratings[there]


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
        row = fold_in(model, *rated(model, user))
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
        found = fold_in(model, *(rated(model, row) if side == "user" else raters(ratings, row)), side=side)
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


def test_a_row_folded_into_ratings_all_alike_is_zero():
    row = fold_in(fit_als(make_ratings([0, 0, 1], [0, 1, 1], [3, 3, 3])), [0], [3.0])
    assert row.bias == 0 and not row.factors.any()
