"""What scored lists are made of, and users that a fit has not seen: against counting by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from collab.small_models import by_hand, texts
from collab.test_evaluate import ratings_of
from tenfold.collab.evaluate import evaluate_lists
from tenfold.collab.predict import FactorScorer
from tenfold.collab.protocol import Ranking, fold_in_part
from tenfold.errors import RatingsError, RecipeError, RunError


def drawn(users: int = 12, items: int = 30, seed: int = 0):
    """A model with random factors, whose users have seen five items each."""
    rng = np.random.default_rng(seed)
    seen = [sorted(rng.choice(items, 5, False)) for _ in range(users)]
    return by_hand(rng.normal(size=(users, 3)), rng.normal(size=(items, 3)), seen)


def hit_by_hand(model, test, pools, n):
    """Fraction of users with a hit among the n best of their pool, and the mean NDCG."""
    hits, gains = [], []
    for user in dict.fromkeys(test.users):
        u = int(user[1:])
        seen = set(model.seen_items[model.seen_start[u] : model.seen_start[u + 1]])
        scores = model.item_factors @ model.user_factors[u]
        pool = [i for i in pools[user] if i not in seen]
        ranked = sorted(pool, key=lambda i: -scores[i])[:n]
        rows = np.flatnonzero(test.users[test.user_index] == user)
        wanted = {int(test.items[test.item_index[row]][1:]) for row in rows} - seen
        wanted &= set(pools[user])
        if wanted:
            found = [i in wanted for i in ranked]
            hits.append(any(found))
            gain = 1 / np.log2(np.arange(n) + 2)
            gains.append(np.dot(found, gain[: len(found)]) / gain[: min(n, len(wanted))].sum())
    return np.mean(hits), np.mean(gains)


def a_test(model):
    rng = np.random.default_rng(5)
    return ratings_of([(u, f"i{i}", 5) for u in model.users for i in rng.choice(30, 4, False)])


def test_all_items_are_ranked_unless_others_are_asked_for():
    model = drawn()
    scores, notes = evaluate_lists(FactorScorer(model), a_test(model), n=5)
    assert scores["ranking"] == {"full": {"items": 30}}
    assert not any("drawn" in note for note in notes)
    hit, ndcg = hit_by_hand(model, a_test(model), {user: range(30) for user in model.users}, 5)
    assert (scores["hit"], scores["ndcg"]) == (pytest.approx(hit), pytest.approx(ndcg))


def test_candidates_of_all_users_and_of_each():
    model, test = drawn(), a_test(drawn())
    few = [0, 3, 4, 9, 12, 20, 21, 29]
    shared = Ranking(texts([f"i{i}" for i in few] + ["nobody-knows"]))
    scores, notes = evaluate_lists(FactorScorer(model), test, n=3, ranking=shared)
    hit, ndcg = hit_by_hand(model, test, dict.fromkeys(model.users, few), 3)
    assert (scores["hit"], scores["ndcg"]) == (pytest.approx(hit), pytest.approx(ndcg))
    outside = sum(int(test.items[i][1:]) not in few for i in test.item_index)
    assert scores["ranking"] == {"candidates": {"items": 8, "left_out": outside}}
    text = " ".join(notes)
    assert f"{outside} of 48 test pairs are not candidates" in text and "'nobody-knows'" in text

    rng = np.random.default_rng(1)
    pools = {user: sorted(rng.choice(30, 12, False)) for user in model.users}
    pairs = [(user, f"i{i}") for user, own in pools.items() for i in own]
    rng.shuffle(pairs)
    pairs += pairs[:5]  # a repeated candidate changes nothing
    each = Ranking(texts([item for _, item in pairs]), texts([user for user, _ in pairs]))
    scores, _ = evaluate_lists(FactorScorer(model), test, n=3, ranking=each)
    hit, ndcg = hit_by_hand(model, test, pools, 3)
    assert (scores["hit"], scores["ndcg"]) == (pytest.approx(hit), pytest.approx(ndcg))
    for baseline in scores["baselines"].values():
        assert baseline["users"] == scores["users"]


def test_drawn_negatives_make_an_easier_question_and_say_so():
    model, test = drawn(), a_test(drawn())
    full, _ = evaluate_lists(FactorScorer(model), test, n=3)
    scores, notes = evaluate_lists(FactorScorer(model), test, n=3, ranking=Ranking(negatives=5))
    assert scores["ranking"] == {"sampled": {"items": 5, "seed": 0}} and scores["hit"] > full["hit"]
    assert any("drawn at random" in note and "higher than over all items" in note for note in notes)
    again = evaluate_lists(FactorScorer(model), test, n=3, ranking=Ranking(negatives=5))[0]
    other = evaluate_lists(FactorScorer(model), test, n=3, ranking=Ranking(negatives=5, seed=1))[0]
    assert again == scores and other != scores
    everything, notes = evaluate_lists(FactorScorer(model), test, n=3, ranking=Ranking(negatives=1000))
    assert everything["ndcg"] == full["ndcg"] and any("fewer than 1000" in note for note in notes)


def test_candidates_that_cannot_be_are_refused():
    model, test = drawn(), a_test(drawn())
    with pytest.raises(RatingsError, match="no test item is a candidate"):
        evaluate_lists(FactorScorer(model), test, ranking=Ranking(texts(["x", "y"])))
    with pytest.raises(RecipeError, match="leave it out"):
        Ranking(negatives=0)
    with pytest.raises(RecipeError, match="negatives are to be drawn as well"):
        Ranking(texts(["i1"]), negatives=3)


class Learner(FactorScorer):
    """Notes what it is given to learn."""

    given: list = []

    def fold_in(self, users, items, ratings, times=None):
        self.given[:] = zip(users, items, ratings, strict=True)
        return super().fold_in(users, items, ratings)


def test_a_part_of_each_new_user_is_learned_and_the_rest_looked_for():
    model = drawn()
    rng = np.random.default_rng(2)
    rows = [(f"new{u}", f"i{i}", 4) for u in range(6) for i in rng.choice(30, 10, False)]
    rows += [("single", "i3", 4), ("pair", "i3", 4), ("pair", "i4", 2)]
    grown, hidden, notes = fold_in_part(Learner(model), ratings_of(rows), 0.8)
    learned = {(user, item) for user, item, _ in Learner.given}
    looked = {(hidden.users[u], hidden.items[i]) for u, i in zip(hidden.user_index, hidden.item_index)}
    assert learned | looked | {("single", "i3")} == {(user, item) for user, item, _ in rows}
    assert not learned & looked and len(looked) == 6 * 2 + 1
    assert all(sum(user == f"new{u}" for user, _ in looked) == 2 for u in range(6))
    assert {f"new{u}" for u in range(6)} | {"pair"} == set(grown.interactions.users[12:])
    assert any("7 users that the fit has not seen" in note for note in notes)
    assert any("1 test users have 1 rating" in note for note in notes)
    # The order of the rows decides nothing but which of a user's are drawn: as many of each.
    back = fold_in_part(Learner(model), ratings_of(rows[::-1]), 0.8)[1]
    assert len(back.ratings) == len(hidden.ratings)


def test_known_users_and_impossible_parts_are_refused():
    model = drawn()
    with pytest.raises(RatingsError, match="1 of 2 test users were in the training"):
        fold_in_part(FactorScorer(model), ratings_of([("u1", "i1", 3), ("new", "i1", 3), ("new", "i2", 3)]))
    with pytest.raises(RatingsError, match="no test user has 2 ratings"):
        fold_in_part(FactorScorer(model), ratings_of([("new", "i1", 3)]))
    two = ratings_of([("new", "i1", 3), ("new", "i2", 3)])
    for fraction in (0.0, 1.0, float("nan")):
        with pytest.raises(RecipeError, match="between 0 and 1"):
            fold_in_part(FactorScorer(model), two, fraction)

    class Fixed(FactorScorer):
        fold_in = None

    with pytest.raises(RunError, match="cannot be folded in"):
        fold_in_part(Fixed(model), replace(two))
