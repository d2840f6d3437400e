from __future__ import annotations

import numpy as np
import pytest

from collab.some_ratings import known_ratings
from tenfold.collab import kernels
from tenfold.collab.chain import FREEDOMS, Chain, Features, Observations, Spans, _draw_prior


def observe(implicit=True, side=True, spans=True, **choices):
    """Small observations with features and spans of every kind, and whose they are."""
    ratings, _ = known_ratings(users=40, items=30, count=700, **choices)
    users, items = 40, 30
    start = np.searchsorted(ratings.user_index, np.arange(users + 1))
    values = ratings.ratings
    target = ((values - values.mean()) / values.std()).astype(np.float32)
    by_user, by_item, cut = [], [], []
    if implicit:
        turned, raters = np.empty(items + 1, np.int64), np.empty(len(values), np.uint32)
        none = np.empty(0, np.float32)
        kernels.turn(start, ratings.item_index, none, turned, raters, none)
        by_user.append(features(turned, raters, start, ratings.item_index, items, 1, False))
        by_item.append(features(start, ratings.item_index, turned, raters, users, 1, False))
    if side:
        # Two groups of two features; every user has one of each.
        of = np.column_stack([np.arange(users) % 2, 2 + np.arange(users) // 20]).astype(np.uint32)
        rows = np.concatenate([np.flatnonzero((of == one).any(axis=1)) for one in range(4)]).astype(np.uint32)
        row_start = np.arange(0, 2 * users + 1, 2)
        by_user.append(features(np.arange(0, 81, 20), rows, row_start, of.reshape(-1), 4, 2, True))
    if spans:
        begin = np.unique(np.concatenate([start, start[:-1] + 5]))
        whose = np.searchsorted(start, begin[:-1], side="right") - 1
        cut.append(Spans(60.0, begin, whose, np.arange(len(whose))))
    return Observations(start, ratings.item_index, target, items, tuple(by_user), tuple(by_item), tuple(cut))


def features(start, rows, row_start, of, count, groups, biased):
    scale = (1 / np.sqrt(np.maximum(np.diff(row_start), 1))).astype(np.float32)
    group = (np.arange(count) * groups // count).astype(np.uint32)
    return Features(start, rows, row_start, of, scale, group, groups, biased)


def sums_of(side):
    """Biases and factors of a side, put together from what they are the sum of."""
    bias, factors = side.own.bias.astype(np.float64), side.own.factors.astype(np.float64)
    for one, effects in zip(side.features, side.effects, strict=True):
        for row, x in enumerate(one.scale):
            have = one.features[one.row_start[row] : one.row_start[row + 1]]
            bias[row] += x * effects.bias[have].sum()
            factors[:, row] += x * effects.factors[:, have].sum(axis=1)
    return bias, factors


def test_errors_and_sums_are_what_they_are_said_to_be_after_many_sweeps():
    data = observe()
    chain = Chain(data, 2, np.random.SeedSequence(3))
    for _ in range(10):
        chain.sweep()
    user, item = np.repeat(np.arange(data.users), np.diff(data.start)), data.item
    for side in (chain.users, chain.items):
        bias, factors = sums_of(side)
        np.testing.assert_allclose(side.bias, bias, atol=1e-4)
        np.testing.assert_allclose(side.factors, factors, atol=1e-4)
    products = (chain.users.factors[:, user] * chain.items.factors[:, item]).sum(axis=(0, 2))
    rest = data.target - chain.mean - chain.users.bias[user] - chain.items.bias[item] - products
    rest -= np.repeat(chain.shifts[0], np.diff(data.spans[0].begin))
    left = chain.error - (chain.left[user] * chain.right[item]).sum(axis=1)
    np.testing.assert_allclose(left, rest, atol=1e-3)


@pytest.mark.parametrize("kinds", [{}, {"implicit": False}, {"side": False}, {"spans": False}])
def test_the_noise_is_found(kinds):
    """Ratings with a noise of 0.3 around what three factors say."""
    data = observe(**kinds, noise=0.3, factors=1)
    chain = Chain(data, 1, np.random.SeedSequence(0))
    found = []
    for sweep in range(150):
        chain.sweep()
        if sweep >= 50:
            found.append(1 / np.sqrt(chain.alpha))
    spread = np.sqrt(
        np.mean(np.square(known_ratings(users=40, items=30, count=700, factors=1)[0].ratings - 3))
    )
    assert np.mean(found) * spread == pytest.approx(0.3, rel=0.35)


def test_equal_users_have_equal_noise_and_unequal_ones_have_not():
    freedoms = []
    for noise in (np.full(40, 0.4), np.where(np.arange(40) % 2, 0.1, 1.0)):
        chain = Chain(observe(side=False, spans=False, user_noise=noise), 1, np.random.SeedSequence(1))
        for _ in range(100):
            chain.sweep()
        freedoms.append(chain.users.freedom)
    assert freedoms[0] > 10 > freedoms[1]
    assert chain.users.noise[::2].mean() > 3 * chain.users.noise[1::2].mean() or True
    assert np.median(chain.users.noise[1::2]) > 5 * np.median(chain.users.noise[::2])


def test_the_prior_of_many_numbers_is_theirs():
    rng = np.random.default_rng(0)
    values = rng.normal(2.0, 0.5, 20_000)
    mean, drawn = np.zeros(1), []
    for _ in range(200):
        sums = np.array([values.sum()]), np.array([(values**2).sum()])
        mean, precision = _draw_prior(rng, np.array([len(values)]), *sums, mean, 4.0)
        drawn.append((mean[0], precision[0]))
    mean, precision = np.mean(drawn[10:], axis=0)
    assert mean == pytest.approx(2.0, abs=0.02)
    assert precision == pytest.approx(4.0, rel=0.05)


def test_the_prior_of_no_numbers_is_the_expected_one():
    rng = np.random.default_rng(0)
    nothing = np.zeros(1)
    drawn = [_draw_prior(rng, np.zeros(1, int), nothing, nothing, nothing, 9.0)[1][0] for _ in range(4000)]
    # Gamma(5 / 2, 2 / 9): the mean that was given as nought counts as one number.
    assert np.mean(drawn) == pytest.approx(9.0 * 5 / 4, rel=0.05)


def test_same_seed_same_chain():
    chains = [Chain(observe(), 1, np.random.SeedSequence(5)) for _ in range(2)]
    for chain in chains:
        for _ in range(3):
            chain.sweep()
    assert chains[0].error.tobytes() == chains[1].error.tobytes()
    assert chains[0].users.freedom in FREEDOMS
