"""Reasons: the parts of a score by what the user rated, and their sum."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from collab.small_models import by_hand, fit_small, seen_of
from tenfold.collab.als import fit_als
from tenfold.collab.explain import Explainer
from tenfold.collab.ids import titles
from tenfold.collab.predict import FactorScorer
from tenfold.collab.recommend import recommend
from tenfold.values import Extra, Ratings


def rated_by_one(q, rated, ratings, **changes):
    """A model of one user with factors (1, 1, ...), who gave these ratings."""
    model = by_hand(np.ones((1, np.shape(q)[1])), q, **changes)
    user = np.zeros(len(rated), int)
    return replace(model, **seen_of(user, np.array(rated), np.array(ratings, float), 1))


def drawn_ratings(implicit=False, users=25, items=18) -> Ratings:
    rng = np.random.default_rng(3)
    there = np.flatnonzero(rng.random(users * items) < 0.6)
    user, item = there // items, there % items
    taste = rng.normal(size=(users, 2)) @ rng.normal(size=(2, items))
    values = rng.integers(1, 9, len(there)) if implicit else np.clip(np.round(3 + taste.ravel()[there]), 1, 5)
    ids = [
        np.array([f"{side}{n}" for n in range(count)], object) for side, count in (("u", users), ("i", items))
    ]
    return Ratings(
        *ids,
        user.astype(np.uint32),
        item.astype(np.uint32),
        values.astype(np.float32),
        None,
        (1.0, 8.0 if implicit else 5.0),
        implicit,
    )


def test_terms_are_the_parts_of_the_ridge_solution():
    rng = np.random.default_rng(4)
    q, bias = rng.normal(size=(6, 3)), rng.normal(0, 0.2, 6).astype(np.float32)
    model = rated_by_one(q, [0, 2, 3, 5], [5, 1, 4, 2], item_bias=bias, noise_precision=2.0)
    rated, terms = Explainer(model).terms(0, np.array([1, 4]))
    assert rated.tolist() == [0, 2, 3, 5]
    known = model.item_factors[rated].astype(float)
    y = np.array([5, 1, 4, 2]) - 3.0 - bias[rated]
    p = np.linalg.solve(
        known.T @ known + 0.5 * np.eye(3), known.T @ y
    )  # noise 1/2, every factor's variance 1
    assert terms.sum(axis=1) == pytest.approx(model.item_factors[[1, 4]].astype(float) @ p)


def test_noisy_items_and_users_weigh_less():
    rng = np.random.default_rng(5)
    q = rng.normal(size=(4, 2))
    item_noise, user_noise = np.array([1, 4, 1, 1], np.float32), np.array([3], np.float32)
    extra = Extra(item_noise=item_noise, user_noise=user_noise)
    model = rated_by_one(q, [0, 1, 2], [5, 1, 4], noise_precision=1.0, extra=extra)
    known, weight = model.item_factors[:3].astype(float), np.array([1, 0.25, 1])
    p = np.linalg.solve((known.T * weight) @ known + 3 * np.eye(2), known.T @ (weight * [2, -2, 1]))
    assert Explainer(model).terms(0, np.array([3]))[1].sum() == pytest.approx(q[3] @ p, rel=1e-5)


@pytest.mark.parametrize("implicit", [False, True])
def test_alternating_least_squares_is_explained_whole(implicit):
    ratings = drawn_ratings(implicit)
    model = fit_als(ratings, factors=3, epochs=20)
    explainer = Explainer(model)
    for user in range(0, 25, 6):
        _, terms = explainer.terms(user, np.arange(18))
        whole = model.item_factors @ model.user_factors[user]
        assert terms.sum(axis=1) == pytest.approx(whole, abs=2e-4)


def test_the_item_that_speaks_for_another_is_named_first():
    rows = [
        (f"u{u}", f"i{i}", 5 if u % 2 == i % 2 else 1)
        for u in range(12)
        for i in range(8)
        if (u, i) != (0, 6)
    ]
    model = replace(fit_small(rows), method="hand", item_names={"i2": "Zwei"})
    found = recommend(FactorScorer(model), "u0", reasons=3)
    assert found.items.tolist() == ["i6"] and len(found.reasons) == 1 and len(found.reasons[0]) == 3
    [moved] = Explainer(model).reasons(0, np.flatnonzero(model.items == "i6"), 99)
    sizes = [abs(part) for _, part in moved]
    assert sizes == sorted(sizes, reverse=True)
    moved = dict(moved)
    assert moved["Zwei"] > 0 and moved["i4"] > 0  # liked, and like it
    assert moved["i1"] > 0  # disliked, and unlike it
    assert sum(moved.values()) > 0.5


def test_within_a_sigmoid_reasons_are_finite_at_the_ends_of_its_range():
    model = rated_by_one([[1.0], [0.5]], [0], [5.0], sigmoid_range=(1.0, 5.0), mean=0.0)
    [[(name, part)]] = recommend(FactorScorer(model), "u0", reasons=1).reasons
    assert name == "i0" and np.isfinite(part) and part > 0


def test_strangers_and_those_without_ratings_have_no_reasons():
    model = by_hand([[1.0]], [[1.0], [0.5]])
    assert Explainer(model).reasons(-1, np.array([0, 1])) == [(), ()]
    assert Explainer(model).reasons(0, np.array([0])) == [()]


def test_what_moved_nothing_is_no_reason():
    model = rated_by_one([[1.0], [1.0], [1.0]], [0, 1], [3.0, 4.0])  # 3 is the mean: it says nothing
    [[(name, _)]] = Explainer(model).reasons(0, np.array([2]))
    assert name == "i1"


def test_titles_where_there_are_any():
    model = by_hand([[1.0]], [[1.0], [2.0], [3.0]], item_names={"i0": "Sun", "i1": ""})
    assert titles(model, np.array([2, 1, 0])).tolist() == ["i2", "i1", "Sun"]
    assert titles(replace(model, item_names={}), np.array([0])).tolist() == ["i0"]
