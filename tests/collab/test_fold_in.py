"""New ratings in a fitted model: who is new is known at once, and nobody else changes."""

from __future__ import annotations

import numpy as np
import pytest

from collab.test_explain import drawn_ratings
from tenfold.collab.als import fit_als
from tenfold.collab.fold_in import add_ratings
from tenfold.collab.gibbs import fit_gibbs
from tenfold.collab.pack import pack_factor_model, unpack_factor_model
from tenfold.collab.predict import predict_pairs
from tenfold.collab.recommend import recommend
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
    found = recommend(model, ["me", "u3"], n=20, reasons=2)
    mine = found.items[found.users == "me"]
    assert len(mine) == 15 and not {"i1", "i3", "i7"} & set(mine) and found.known_user.all()
    assert len(found.reasons[0]) == 2
    other = recommend(fitted, "u3", n=20)
    assert list(found.items[found.users == "u3"]) == list(other.items)
    low, high = (
        predict_pairs(add_ratings(fitted, "me", items[:3], v)[0], "me", "i5").score[0]
        for v in ([1] * 3, [5] * 3)
    )
    assert low < high


def test_a_known_user_who_rates_more_never_gets_that_again(fitted):
    item = recommend(fitted, "u4", n=1).items[0]
    model, notes = add_ratings(fitted, "u4", item, 2)
    assert notes == ["1 new ratings, 0 new users, 0 new items"]
    assert seen(model, "u4") == {**seen(fitted, "u4"), item: 2}
    assert item not in recommend(model, "u4", n=20).items
    others = [user for user in fitted.users if user != "u4"]
    same = [list(recommend(one, others, n=5).items) for one in (fitted, model)]
    assert same[0] == same[1]
    again, _ = add_ratings(model, "u4", item, 5)  # a changed mind is one rating still
    assert seen(again, "u4")[item] == 5 and len(again.seen_items) == len(model.seen_items)


def test_a_new_item_is_learnt_from_those_who_know_it(fitted):
    raters = [f"u{n}" for n in range(10)]
    liked, notes = add_ratings(fitted, raters, ["new"] * 10, [5] * 10)
    assert "1 new items" in notes[0]
    hated, _ = add_ratings(fitted, raters, ["new"] * 10, [1] * 10)
    # One user's taste may run against the raters'; that of all users together does not.
    high, low = (predict_pairs(model, fitted.users, ["new"] * len(fitted.users)) for model in (liked, hated))
    assert (high.score[:10] > low.score[:10]).all() and high.score.mean() > low.score.mean() + 0.3
    assert high.known_item.all()
    assert np.isfinite(high.deviation).all() == (fitted.noise_precision > 0)
    assert "new" in recommend(liked, "u15", n=20).items and "new" not in recommend(liked, "u3", n=20).items


def test_what_nobody_known_has_rated_stays_unknown(fitted):
    model, notes = add_ratings(fitted, ["me", "me"], ["odd", "i2"], [5, 1])
    assert "1 items are known to no user" in notes[1] and "'odd'" in notes[1]
    assert seen(model, "me") == {"i2": 1} and "odd" not in model.items


def test_the_grown_model_can_be_packed(fitted):
    model, _ = add_ratings(fitted, ["me", "u1", "you"], ["i1", "new", "i2"], [5, 1, 3])
    again = unpack_factor_model(*pack_factor_model(model))
    assert again.user_factors.tobytes() == model.user_factors.tobytes()
    sizes = {len(model.users), len(model.items)}
    for name, array in model.extra.items():
        if name.startswith(
            ("user_bias", "user_factors", "user_noise", "item_bias", "item_factors", "item_noise")
        ):
            assert len(array) in sizes, name
    assert np.isfinite(recommend(again, n=3).score).all()
    assert len(fitted.users) == 25 and "new" not in fitted.items  # the model given is untouched


def test_folding_in_comes_near_to_fitting_again():
    ratings = drawn_ratings()
    without = take_ratings(ratings, np.flatnonzero(ratings.user_index != 24))
    mine = ratings.user_index == 24
    model, _ = add_ratings(
        fit_als(without, factors=3), "u24", ratings.items[ratings.item_index[mine]], ratings.ratings[mine]
    )
    whole = fit_als(ratings, factors=3)
    one, other = (predict_pairs(each, "u24", ratings.items).score for each in (model, whole))
    assert np.abs(one - other).mean() < 0.35 and np.corrcoef(one, other)[0, 1] > 0.8


def test_events_add_up():
    model = fit_als(drawn_ratings(implicit=True), factors=3)
    before = seen(model, "u0")
    item = next(iter(before))
    more, _ = add_ratings(model, "u0", item, 2)
    assert seen(more, "u0")[item] == before[item] + 2
    new, _ = add_ratings(model, "me", ["i1", "i2"], [1, 3])
    assert "me" in recommend(new).users


def test_what_cannot_be_learnt_is_refused(fitted):
    with pytest.raises(RatingsError, match="2 new ratings") as error:
        add_ratings(fitted, ["me", "me", "u1"], ["i1", "i2", "i3"], [6, 3, np.nan])
    assert "item 'i1': 6" in str(error.value)
    with pytest.raises(RatingsError, match="no user"):
        add_ratings(fitted, "", "i1", 3)
    with pytest.raises(RatingsError, match="2 users, 2 items and 1 ratings"):
        add_ratings(fitted, ["a", "b"], ["i1", "i2"], 3)
