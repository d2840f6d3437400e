"""Baselines of lists, against plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from collab.small_models import by_hand
from tenfold.collab import baselines, item_item
from tenfold.collab.baselines import fit_neighbours, most_popular, neighbour_lists
from tenfold.collab.recommend import seen_pairs


def drawn():
    rng = np.random.default_rng(3)
    seen = [sorted(rng.choice(25, rng.integers(2, 9), False)) for _ in range(40)]
    return by_hand(np.zeros((40, 1)), np.zeros((25, 1)), seen)


def test_neighbours_are_cosines_of_who_took_both(monkeypatch: pytest.MonkeyPatch) -> None:
    known = drawn()
    took = np.zeros((40, 25))
    took[known.owners, known.seen_items] = 1
    both, count = took.T @ took, np.maximum(took.sum(axis=0), 1)
    cosine = both / np.sqrt(np.outer(count, count))
    np.fill_diagonal(cosine, 0)
    model = fit_neighbours(known)
    assert model is not None
    assert model.weights == pytest.approx(cosine[np.ix_(model.core, model.core)], abs=1e-6)
    users, allowed = np.arange(40), np.ones(25, np.bool_)
    allowed[7] = False
    lists = neighbour_lists(known, model, users, allowed, lambda part: seen_pairs(known, users[part]), 4)
    for user in users:
        score = took[user] @ cosine
        score[(took[user] > 0) | ~allowed] = -1
        own = lists.items[lists.start[user] : lists.start[user + 1]]
        assert np.sort(score[own])[::-1] == pytest.approx(np.sort(score)[::-1][:4], abs=1e-6)
    monkeypatch.setattr(baselines, "NEIGHBOURS", 3)
    cut = fit_neighbours(known)
    assert cut is not None
    for item in range(25):
        kept = np.flatnonzero(cut.weights[:, item])
        least = np.sort(model.weights[:, item])[-3]
        assert set(kept) == set(
            np.flatnonzero((model.weights[:, item] >= least) & (model.weights[:, item] > 0))
        )


def test_neighbours_that_memory_does_not_hold_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(item_item, "_free_bytes", lambda: 1000)
    assert fit_neighbours(drawn()) is None


def test_the_most_popular_are_listed_by_how_many_took_them() -> None:
    known = drawn()
    users = np.array([3, -1, 17])
    allowed = np.ones(25, np.bool_)
    allowed[int(np.argmax(known.received))] = False
    lists = most_popular(known, users, allowed, lambda part: seen_pairs(known, users[part]), 6)
    for row, user in enumerate(users):
        mine = (
            set() if user < 0 else set(known.seen_items[known.seen_start[user] : known.seen_start[user + 1]])
        )
        order = [i for i in np.argsort(-known.received, kind="stable") if allowed[i] and i not in mine]
        assert lists.items[lists.start[row] : lists.start[row + 1]].tolist() == order[:6]
