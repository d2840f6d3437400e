"""What a run keeps for its lists: the share of the rating is learned where it helps, and kept whole."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from collab.some_ratings import make_ratings
from tenfold.collab import interest as module
from tenfold.collab.als import fit_als
from tenfold.collab.evaluate import evaluate_lists
from tenfold.collab.interest import fit_lists, pack_lists, unpack_lists
from tenfold.collab.predict import FactorScorer
from tenfold.errors import RunError
from tenfold.values import Interactions, Ratings


def drawn(users: int = 400, items: int = 60, seed: int = 0) -> tuple[Ratings, Ratings, np.ndarray]:
    """Everybody takes items at random and rates them by a taste of their own; and held-out ratings."""
    rng = np.random.default_rng(seed)
    quality = rng.uniform(1, 5, (users, items))
    taken = rng.random((users, items)) < 0.3
    user, item = np.nonzero(taken)
    rating = np.clip(np.rint(quality[user, item] + rng.normal(0, 0.5, len(item))), 1, 5)
    away = rng.random(len(user)) < 0.2
    parts = (
        make_ratings(user[own], item[own], rating[own], users=users, items=items, scale=(1.0, 5.0))
        for own in (~away, away)
    )
    return *parts, quality


@dataclass
class Known:
    """A scorer that knows everybody's taste, and cannot fold in."""

    interactions: Interactions
    quality: np.ndarray
    columns: tuple[str, ...] = ()
    fold_in: None = field(default=None)

    def means(self, users, items, cells):
        return self.quality[users, items], np.full(len(items), np.nan, np.float32)

    scores = means


def test_the_share_is_learned_where_ratings_help_and_lists_gain_by_it(monkeypatch):
    monkeypatch.setattr(module, "SHARES", (0.0, 0.3, 0.6))
    train, held, quality = drawn()
    model = fit_als(train, factors=2, epochs=3)
    scorer = Known(model, quality)
    lists, notes = fit_lists(scorer, held)
    assert lists.share > 0 and "held-out users" in notes[0]
    without, joined = (
        evaluate_lists(replace(lists, share=share).scorer(scorer), held, relevant_from=4)[0]["ndcg"]
        for share in (0, lists.share)
    )
    assert joined > without
    # Ratings turned upside down do not join.
    lists, notes = fit_lists(Known(model, -quality), held)
    assert lists.share == 0 and "does not join" in notes[0]
    assert "interest" in lists.order


def test_without_held_out_ratings_users_are_left_out_and_folded_in():
    train, _, quality = drawn()
    scorer = FactorScorer(fit_als(train, factors=2, epochs=3))
    lists, notes = fit_lists(scorer, None, seed=1)
    assert re.search(r"by [5-8]\d held-out users", notes[0])
    again, _ = fit_lists(scorer, None, seed=1)
    assert again.share == lists.share and again.model.weights.tobytes() == lists.model.weights.tobytes()
    lists, notes = fit_lists(Known(scorer.model, quality), None)
    assert lists.share == 0 and "--valid" in notes[0]


def test_few_users_learn_no_share():
    train, held, quality = drawn(users=30)
    model = fit_als(train, factors=2, epochs=3)
    for given in (None, held):
        lists, notes = fit_lists(FactorScorer(model), given)
        assert lists.share == 0 and "too few users" in notes[0]


def test_lists_are_packed_and_damage_is_refused():
    train, held, quality = drawn(users=80)
    lists, _ = fit_lists(Known(fit_als(train, factors=2, epochs=3), quality), held)
    arrays, about = pack_lists(lists)
    again = unpack_lists(arrays, about)
    assert (again.share, again.mean, again.spread) == (lists.share, lists.mean, lists.spread)
    for changed in ({"share": None}, {"spread": 0.0}, {"mean": float("nan")}):
        with pytest.raises(RunError, match="damaged"):
            unpack_lists(arrays, {**about, **changed})
    with pytest.raises(RunError, match="reads up to 4"):
        unpack_lists(arrays, {**about, "format": 5})
