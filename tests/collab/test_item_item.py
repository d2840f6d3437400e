"""Weights between items: against the definition, whatever the blocks, and what may not change them."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import numpy as np
import pytest

from collab.small_models import by_hand, seen_of
from tenfold.collab import item_item as module
from tenfold.collab.item_item import (
    ItemItem,
    fit_item_item,
    item_vectors,
    pack_item_item,
    row_weights,
    unpack_item_item,
)
from tenfold.errors import RecipeError, RunError
from tenfold.values import Interactions, Shown


def events(users: int = 60, items: int = 24, seed: int = 0, *, ratings: bool = False) -> Interactions:
    """Two tastes: even users take even items, odd users odd ones, with a few exceptions."""
    rng = np.random.default_rng(seed)
    taken = rng.random((users, items)) < np.where(
        (np.arange(users)[:, None] + np.arange(items)) % 2, 0.05, 0.4
    )
    user, item = np.nonzero(taken)
    values = rng.integers(1, 6, len(user)).astype(np.float32) if ratings else np.ones(len(user))
    model = by_hand(np.zeros((users, 1)), np.zeros((items, 1)), implicit=not ratings)
    return replace(model, **seen_of(user, item, values, users))


def matrix(known: Interactions) -> np.ndarray:
    rows = np.zeros((len(known.users), len(known.items)))
    rows[known.owners, known.seen_items] = row_weights(known)
    return rows


def by_definition(known: Interactions, core: np.ndarray, ridge: float) -> np.ndarray:
    """Each item's weights by a regression of its column on the others, with the penalty of each."""
    rows = matrix(known)[:, core]
    mean = ((rows * rows.sum(1, keepdims=True).clip(1e-12) ** -0.25) ** 2).sum() / (rows**2).sum()
    rows = rows * rows.sum(1, keepdims=True).clip(1e-12) ** -0.25
    gram = rows.T @ rows
    penalty = np.diag(gram) + ridge * mean
    weights = np.zeros_like(gram)
    for item in range(len(core)):
        others = np.delete(np.arange(len(core)), item)
        inner = gram[np.ix_(others, others)] + np.diag(penalty[others])
        weights[others, item] = np.linalg.solve(inner, gram[others, item])
    return weights


@pytest.mark.parametrize("ratings", [False, True])
@pytest.mark.parametrize("block", [4, 256])
def test_weights_are_regressions_of_each_item_on_the_others(ratings, block, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", block)
    known = events(ratings=ratings)
    fitted = fit_item_item(known, ridge=3.0)
    core = fitted.model.core
    assert (known.received[core] >= 2).all() and (np.diff(core) > 0).all()
    np.testing.assert_allclose(fitted.model.weights, by_definition(known, core, 3.0), atol=1e-3)
    rows = matrix(known)[:, core]
    for user in (0, 7):
        found = fitted.model.sums(fitted.model.row(known, user))
        np.testing.assert_allclose(found, rows[user] @ fitted.model.weights, atol=1e-6)


def test_the_same_interactions_give_the_same_bytes_and_users_in_another_order_the_same_weights():
    known = events()
    first, again = (fit_item_item(known).model.weights for _ in range(2))
    assert first.tobytes() == again.tobytes()
    rows = [known.seen_items[a:b] for a, b in zip(known.seen_start, known.seen_start[1:], strict=False)][::-1]
    user = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    items = np.concatenate(rows).astype(np.int64)
    turned = replace(known, **seen_of(user, items, np.ones(len(items)), len(rows)))
    np.testing.assert_allclose(fit_item_item(turned).model.weights, first, atol=1e-3)


def test_a_fit_without_users_is_a_fit_of_the_others():
    known = events()
    away = np.array([3, 8, 21])
    fitted = fit_item_item(known, ridge=3.0)
    kept = ~np.isin(known.owners, away)
    less = seen_of(known.owners[kept], known.seen_items[kept].astype(int), known.seen_ratings[kept], 60)
    # The penalty stays that of all users: a large ridge hides the counts that are in it.
    large = fit_item_item(known, ridge=3000.0)
    wanted = fit_item_item(replace(known, **less), ridge=3000.0).model
    assert wanted.core.tolist() == large.model.core.tolist()
    assert np.abs(large.without(away).weights - wanted.weights).max() < 0.1 * np.abs(wanted.weights).max()
    assert np.abs(fitted.without(away).weights - fitted.model.weights).max() > 1e-3


def test_the_core_is_the_most_taken_items():
    known = events()
    small = fit_item_item(known, core=5).model
    least = np.sort(known.received)[-5]
    assert len(small.core) == 5 and (known.received[small.core] >= least).all()
    assert small.joined is not None and not set(small.joined.items) & set(small.core)
    assert (known.received[small.joined.items] >= 2).all() and fit_item_item(known).model.joined is None


def test_ratings_count_by_their_place_in_the_scale():
    known = events(ratings=True)
    assert np.allclose(row_weights(known), 0.2 + 0.8 * (known.seen_ratings - 1) / 4)
    assert (row_weights(replace(known, scale=(3.0, 3.0))) == 1).all()
    assert (row_weights(replace(known, implicit=True)) == 1).all()


@pytest.mark.parametrize("core", [None, 12])
def test_what_was_shown_and_not_taken_counts_against_it_in_the_fit(core):
    known = events()
    rng = np.random.default_rng(5)
    user, item = np.nonzero((matrix(known) == 0) & (rng.random((60, 24)) < 0.3) & (np.arange(24) % 2 == 1))
    pairs = Shown(user.astype(np.uint32), item.astype(np.uint32), None)
    found = fit_item_item(known, core=core, ridge=3.0, shown=(pairs, 0.5)).model
    plain = fit_item_item(known, core=core, ridge=3.0).model
    if core is None:
        rows = matrix(known)
        scale = rows.sum(1, keepdims=True).clip(1e-12) ** -0.25
        rows[user, item] = -0.5
        mean = ((rows * scale) ** 2).sum() / (rows**2).sum()
        gram = (rows * scale).T @ (rows * scale)
        inverse = np.linalg.inv(gram + np.diag(np.diag(gram)) + 3.0 * mean * np.eye(24))
        wanted = -inverse / np.diag(inverse)
        np.fill_diagonal(wanted, 0)
        np.testing.assert_allclose(found.weights, wanted, atol=1e-3)
    # What was shown in vain goes less with what these users took.
    places = found.places(known)
    taken, vain = places[::2][places[::2] >= 0], places[1::2][places[1::2] >= 0]
    assert found.between(taken, vain).mean() < plain.between(taken, vain).mean()
    # A score is by what was taken: the row of a user holds nothing else.
    assert (found.row(known, 3)[1] == 1).all() and len(found.row(known, 3)[0]) <= known.given[3]


def test_what_cannot_be_is_refused(monkeypatch):
    for ridge in (-1.0, float("nan"), float("inf")):
        with pytest.raises(RecipeError, match="weight_decay"):
            fit_item_item(events(), ridge=ridge)
    monkeypatch.setattr(module, "_free_bytes", lambda: 1000)
    with pytest.raises(RunError, match="GiB are free") as caught:
        fit_item_item(events())
    assert "--core-items" in caught.value.labels["fix"]
    # It says how many would fit.
    monkeypatch.setattr(module, "_free_bytes", lambda: module.planned_bytes(7, 17))
    with pytest.raises(RunError, match="--core-items 7"):
        fit_item_item(events())
    assert len(fit_item_item(events(), core=7).model.core) == 7


def test_vectors_of_items_that_are_taken_together_lie_near_each_other():
    known = events(200)
    vectors = item_vectors(known, fit_item_item(known), seed=0)
    unit = vectors["item"][:, :1] / np.linalg.norm(vectors["item"], axis=1, keepdims=True)
    assert (np.sign(unit[::2, 0]) == np.sign(unit[0, 0])).all()
    assert (np.sign(unit[1::2, 0]) == -np.sign(unit[0, 0])).all()
    near = vectors["user"] @ vectors["item"].T
    assert near[::2, ::2].mean() > near[::2, 1::2].mean() and near[1::2, 1::2].mean() > near[1::2, ::2].mean()


def test_a_model_is_packed_and_damage_is_refused():
    model = fit_item_item(events()).model
    arrays = pack_item_item(model)
    again = unpack_item_item(arrays)
    assert again.weights.tobytes() == model.weights.tobytes() and again.core.tolist() == model.core.tolist()
    for damaged in (
        {},
        {**arrays, "core": arrays["core"][:-1]},
        {**arrays, "core": arrays["core"][::-1]},
        {**arrays, "weights": np.full_like(arrays["weights"], np.nan)},
        {**arrays, "weights": arrays["weights"].astype(np.float32)},
    ):
        with pytest.raises(RunError, match="damaged"):
            unpack_item_item(damaged)
    with pytest.raises(RunError, match="another run's"):
        ItemItem(np.array([99]), np.zeros((1, 1), np.float32)).places(events())


def test_sums_are_the_same_with_and_without_compiled_code(monkeypatch):
    known = events(ratings=True)
    model = fit_item_item(known, core=12).model
    rows = [model.row(known, user) for user in range(len(known.users))]
    sums = []
    for few in (0, len(rows)):
        monkeypatch.setattr(module, "_ASKED", count())
        monkeypatch.setattr(module, "FEW_USERS", few)
        sums.append([model.sums(row).tobytes() for row in rows])
    assert sums[0] == sums[1]
    every = np.arange(len(model.items))
    for row, found in zip(rows[:5], sums[0], strict=False):
        between = model.between(row[0], every).astype(float)
        np.testing.assert_allclose(np.frombuffer(found), row[1] @ between, atol=1e-6)
