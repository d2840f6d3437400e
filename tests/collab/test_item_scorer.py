"""Lists by weights between items: the definition, unknown users, new users; and the two orders of ratings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from collab.small_models import by_hand, fit_small
from collab.test_item_item import events, matrix
from tenfold.collab.item_item import fit_item_item, item_vectors
from tenfold.collab.item_scorer import InterestScorer, ItemScorer, RatingOrder, Taste, joint
from tenfold.collab.predict import FactorScorer
from tenfold.collab.recommend import recommend, similar


@pytest.fixture(scope="module")
def scorer() -> ItemScorer:
    known = events()
    fitted = fit_item_item(known, core=20)
    alone = replace(fitted.model, joined=None)  # items outside the core have no weights
    return ItemScorer(known, alone, item_vectors(known, fitted, seed=0))


def test_lists_are_by_the_sum_of_weights_and_the_same_alone_and_among_all(scorer):
    known, core = scorer.interactions, scorer.model.core
    every = recommend(scorer, n=24)
    for user in (0, 5, 33):
        name = known.users[user]
        interest = matrix(known)[user][core] @ scorer.model.weights.astype(float)
        interest[matrix(known)[user][core] > 0] = -np.inf
        wanted = [known.items[core[place]] for place in np.argsort(-interest, kind="stable")]
        wanted = wanted[: int(np.isfinite(interest).sum())]
        mine = recommend(scorer, name, n=24)
        assert mine.items.tolist()[: len(wanted)] == wanted
        assert mine.items.tolist() == every.items[every.users == name].tolist()
        assert mine.score.tolist() == every.score[every.users == name].tolist()
        rated = set(known.items[known.seen_items[known.seen_start[user] : known.seen_start[user + 1]]])
        assert not rated & set(mine.items) and len(mine.items) == 24 - len(rated)
        # Outside the core items follow, the most taken first.
        rest = [known.received[list(known.items).index(item)] for item in mine.items[len(wanted) :]]
        assert rest == sorted(rest, reverse=True)


def test_an_unknown_user_gets_the_most_taken(scorer):
    known = scorer.interactions
    found = recommend(scorer, "nobody", n=3)
    received = known.received[scorer.model.core]
    best = scorer.model.core[np.argsort(-received, kind="stable")[:3]]
    assert found.items.tolist() == known.items[best].tolist() and not found.known_user.any()


def test_reasons_add_up_to_the_score(scorer):
    found = recommend(scorer, "u4", n=3, reasons=99)
    assert all(moved > 0 for reason in found.reasons for _, moved in reason)
    place, value = scorer.model.row(scorer.interactions, 4)
    core = scorer.model.places(scorer.interactions)
    for item, reason, score in zip(found.items, found.reasons, found.score, strict=True):
        column = core[list(scorer.interactions.items).index(item)]
        terms = scorer.model.weights[place, column] * value
        assert sum(moved for _, moved in reason) == pytest.approx(terms[terms > 0].sum(), abs=1e-5)
        assert terms.sum() == pytest.approx(score, abs=1e-5)


def test_a_new_user_has_the_list_of_a_known_one_with_the_same_row(scorer):
    known = scorer.interactions
    mine = known.items[known.seen_items[known.seen_start[6] : known.seen_start[7]]]
    grown, notes = scorer.fold_in(np.full(len(mine), "me", object), mine, np.ones(len(mine), np.float32))
    assert "1 new users" in notes[0] and grown.interactions.users[-1] == "me"
    one, other = recommend(grown, "me", n=9), recommend(scorer, "u6", n=9)
    assert one.items.tolist() == other.items.tolist()
    np.testing.assert_allclose(one.score, other.score, rtol=1e-6)
    # The order of the rows does not matter, and nobody else changes.
    turned, _ = scorer.fold_in(np.full(len(mine), "me", object), mine[::-1], np.ones(len(mine), np.float32))
    assert recommend(turned, "me", n=9).items.tolist() == one.items.tolist()
    assert recommend(grown, "u3").items.tolist() == recommend(scorer, "u3").items.tolist()
    assert grown.vectors("user").shape[0] == 61 and grown.vectors("user")[-1].any()
    _, notes = scorer.fold_in(
        np.array(["me", "me"], object), np.array(["zzz", mine[0]], object), np.ones(2, np.float32)
    )
    assert "'zzz'" in notes[1]


def test_similar_items_are_taken_by_the_same_users(scorer):
    known = events(200)
    fitted = fit_item_item(known)
    many = ItemScorer(known, fitted.model, item_vectors(known, fitted, seed=0))
    assert all(int(item[1:]) % 2 == 0 for item in similar(many, "i4", n=5).found)


def test_similar_items_of_few_ratings_do_not_lead():
    # i1 points the same way as i0 and has a single rating; i2 is near, and has fifty.
    seen = [[0, 2] for _ in range(50)] + [[1]]
    model = by_hand(np.ones((51, 2)), [[1.0, 0.0], [1.0, 0.0], [1.0, 0.3]], seen)
    found = similar(FactorScorer(model), "i0", n=2)
    assert found.found.tolist() == ["i2", "i1"]
    assert found.cosine[1] == pytest.approx(1.0)


def rated():
    """Users like one of two kinds of items, and all have rated one that they do not like."""
    rows = [
        (u, i, 5 if i % 2 == u % 2 else 1) for u in range(30) for i in range(12) if (u * 7 + i * 3) % 5 < 3
    ]
    return FactorScorer(fit_small(rows))


def test_interest_joins_the_rating_and_is_not_cut():
    scorer = rated()
    model = fit_item_item(scorer.interactions).model
    plain, joined = (InterestScorer(scorer, model, share, 3.0, 1.5) for share in (0.0, 5.0))
    taste = Taste(model, scorer.interactions)
    one, other = recommend(plain, "4", n=5), recommend(joined, "4", n=5)
    index = list(scorer.interactions.users).index("4")
    interest = dict(zip(scorer.interactions.items, taste.interest(index), strict=True))
    np.testing.assert_allclose(one.ranking, [interest[item] for item in one.items], rtol=1e-6)
    assert (np.diff(one.ranking) <= 0).all() and (np.diff(other.ranking) <= 0).all()
    # Both tell the rating, and a large share puts what is rated higher first.
    assert set(one.items) == set(other.items) and other.score[0] == other.score.max()
    items = [list(scorer.interactions.items).index(item) for item in other.items]
    mean, deviation = scorer.means(np.full(len(items), index), np.array(items), {})
    wanted = joint(np.array([interest[item] for item in other.items]), (mean - 3.0) / deviation, 5.0)
    np.testing.assert_allclose(other.ranking, wanted, rtol=1e-4)


def test_a_low_rating_never_helps():
    standing = np.array([-2.0, 0.0, 2.0])
    for interest in (0.5, -0.5, 0.0):
        assert (np.diff(joint(np.full(3, interest), standing, 0.3)) >= 0).all()


def test_ratings_are_ranked_by_the_lower_end_of_their_interval():
    scorer = rated()
    found = recommend(RatingOrder(scorer, 1.5), None, n=4)
    for row in range(0, len(found.items), 3):
        user = list(scorer.interactions.users).index(found.users[row])
        item = list(scorer.interactions.items).index(found.items[row])
        mean, deviation = scorer.means(np.array([user]), np.array([item]), {})
        assert found.ranking[row] == pytest.approx(mean[0] - 1.645 * deviation[0], rel=1e-5)
        assert found.score[row] == pytest.approx(mean[0], rel=1e-6)
    alone = recommend(RatingOrder(scorer, 1.5), "7", n=4)
    assert alone.items.tolist() == found.items[found.users == "7"].tolist()


def test_without_deviations_few_ratings_do_not_lead():
    # i0 has five ratings and the highest bias, i1 fifty and nearly the same.
    seen = [[0, 1] for _ in range(5)] + [[1] for _ in range(45)] + [[]]
    model = by_hand(np.ones((51, 1)), np.zeros((2, 1)), seen, item_bias=np.array([1.9, 1.8], np.float32))
    plain = recommend(FactorScorer(model), "u50", n=2)
    assert plain.items.tolist() == ["i0", "i1"]
    assert recommend(RatingOrder(FactorScorer(model), 1.0), "u50", n=2).items.tolist() == ["i1", "i0"]
    far = FactorScorer(replace(model, item_bias=np.array([9.0, 8.0], np.float32)))
    # Both are beyond the scale: the order and the score are not cut.
    assert recommend(RatingOrder(far, 1.0), "u50", n=2).score.tolist() == [12.0, 11.0]
