"""New ratings of known rows: what is expected moves nothing, what is not moves as a regression would."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from collab.test_explain import drawn_ratings
from tenfold.collab.als import fit_als
from tenfold.collab.fold_in import fold_in, row_prior
from tenfold.collab.gibbs import fit_gibbs
from tenfold.collab.ids import locate
from tenfold.collab.learn import update_ratings
from tenfold.collab.predict import FactorScorer
from tenfold.collab.sgd import fit_sgd
from tenfold.data.ratings.index import index_ratings, take_ratings
from tenfold.data.synthetic import draw_ratings
from tenfold.data.tables.table import read_table
from tenfold.values import FactorModel

NEW = [np.nan]


@pytest.fixture(scope="module", params=["als", "sgd", "gibbs"])
def fitted(request) -> FactorModel:
    if request.param == "als":
        return fit_als(drawn_ratings(), factors=3, epochs=15)
    if request.param == "sgd":
        return fit_sgd(drawn_ratings(), factors=3, epochs=10)
    return fit_gibbs(drawn_ratings(), factors=4, sweeps=60)


def means(model: FactorModel, users: list[str], items: list[str]) -> np.ndarray:
    index = locate(np.array(users, object), model.users), locate(np.array(items, object), model.items)
    return FactorScorer(model).means(*index, {})[0]


def unrated(model: FactorModel, user: str) -> str:
    row = int(np.flatnonzero(model.users == user)[0])
    seen = model.seen_items[model.seen_start[row] : model.seen_start[row + 1]]
    return str(model.items[np.setdiff1d(np.arange(len(model.items)), seen)[0]])


def test_a_rating_moves_its_prediction_towards_it(fitted: FactorModel) -> None:
    item = unrated(fitted, "u4")
    before = means(fitted, ["u4"], [item])[0]
    low, high = (update_ratings(fitted, ["u4"], [item], [value], NEW)[0] for value in (1, 5))
    assert means(low, ["u4"], [item])[0] < before < means(high, ["u4"], [item])[0]
    # The item is known better, too: others feel it, by less.
    others = [user for user in fitted.users if user != "u4"]
    moved = np.abs(means(high, others, [item] * len(others)) - means(fitted, others, [item] * len(others)))
    assert 0 < moved.mean() < abs(means(high, ["u4"], [item])[0] - before)
    assert len(high.seen_items) == len(fitted.seen_items) + 1


def test_what_was_expected_moves_nothing(fitted: FactorModel) -> None:
    if fitted.method == "als":
        return  # its users are solved again
    item = unrated(fitted, "u4")
    expected = float(np.clip(means(fitted, ["u4"], [item])[0], *fitted.scale))
    model, _ = update_ratings(fitted, ["u4"], [item], [expected], NEW)
    assert np.allclose(model.user_factors, fitted.user_factors, atol=2e-3)
    assert np.allclose(model.item_bias, fitted.item_bias, atol=2e-3)


def test_a_changed_rating_stays_one_rating(fitted: FactorModel) -> None:
    row = int(np.flatnonzero(fitted.users == "u4")[0])
    place = int(fitted.seen_start[row])
    item, old = str(fitted.items[fitted.seen_items[place]]), float(fitted.seen_ratings[place])
    new = 5.0 if old < 3 else 1.0
    model, _ = update_ratings(fitted, ["u4"], [item], [new], [old])
    assert len(model.seen_items) == len(fitted.seen_items) and model.seen_ratings[place] == new
    change = means(model, ["u4"], [item])[0] - means(fitted, ["u4"], [item])[0]
    assert change * (new - old) > 0


def test_a_row_that_has_learned_nothing_is_folded_in() -> None:
    """The regression on the mean rows of the other side, from the prior's mean: both ways must agree."""
    model = fit_sgd(drawn_ratings(), factors=3, epochs=10, use_range=False)
    mean, _ = row_prior(model, "user")
    start = np.append(model.seen_start, model.seen_start[-1])
    empty = replace(
        model,
        users=np.append(model.users, "me"),
        user_bias=np.append(model.user_bias, np.float32(mean[-1])),
        user_factors=np.vstack([model.user_factors, mean[:-1]]).astype(np.float32),
        seen_start=start,
    )
    items, values = [3, 5, 9], [1.0, 5.0, 4.0]
    wanted = fold_in(model, items, values)
    own = [str(model.items[item]) for item in items]
    moved, _ = update_ratings(empty, ["me"] * 3, own, values, [np.nan] * 3)
    assert moved.user_bias[-1] == pytest.approx(wanted.bias, abs=0.03)
    assert np.allclose(moved.user_factors[-1], wanted.factors, atol=0.03)


def test_deviations_shrink_with_what_is_learned() -> None:
    model = fit_gibbs(drawn_ratings(), factors=4, sweeps=60)
    item = unrated(model, "u4")
    more, _ = update_ratings(model, ["u4"], [item], [3], NEW)
    row = int(np.flatnonzero(model.users == "u4")[0])
    before, after = (own.extra.user_bias_variance for own in (model, more))
    assert after[row] < before[row] and (np.delete(after, row) == np.delete(before, row)).all()


def test_new_users_and_items_of_one_batch_know_each_other(fitted: FactorModel) -> None:
    users, items = ["me", "me", "you", "u1"], ["i1", "new", "new", "i2"]
    known = unrated(fitted, "u1")
    model, notes = update_ratings(fitted, [*users[:3], "u1"], [*items[:3], known], [5, 4, 2, 3], NEW * 4)
    assert notes[0] == "4 new ratings, 2 new users, 1 new items" and {"me", "you"} <= set(model.users)
    assert np.isfinite(means(model, ["me", "you"], ["new", "i1"])).all()


def test_updates_gain_most_of_what_a_fit_gains() -> None:
    drawn = draw_ratings(150, 80, 6000, seed=5)
    table = {name: drawn[name] for name in ("user", "item", "rating")}
    ratings = index_ratings(read_table(table), user="user", item="item", rating="rating", time=False)
    order = np.random.default_rng(0).permutation(len(ratings.ratings))
    test, stream, rest = (np.sort(part) for part in np.split(order, [600, 1800]))
    users, items = ratings.users[ratings.user_index], ratings.items[ratings.item_index]

    def error(model: FactorModel) -> float:
        guess = means(model, list(users[test]), list(items[test]))
        return float(np.sqrt(np.mean((np.clip(guess, *model.scale) - ratings.ratings[test]) ** 2)))

    model = first = fit_als(take_ratings(ratings, rest), factors=4, epochs=15)
    whole = fit_als(take_ratings(ratings, np.sort(order[600:])), factors=4, epochs=15)
    for part in np.array_split(np.random.default_rng(1).permutation(stream), 12):
        model, _ = update_ratings(model, users[part], items[part], ratings.ratings[part], NEW * len(part))
    assert error(whole) < error(first)
    assert error(model) < error(first) - 0.5 * (error(first) - error(whole))
    assert len(model.seen_items) == len(rest) + len(stream)
