"""Each kernel against the same arithmetic written slowly, rating by rating, in double precision."""

from __future__ import annotations

import numpy as np
import pytest
from numba.core import config

from collab.some_ratings import some_pairs
from tenfold.collab import kernels

USERS, ITEMS, COUNT = 7, 6, 25


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


@pytest.fixture
def pairs(rng):
    """start, user, item of some ratings sorted by user."""
    user, item = some_pairs(rng, USERS, ITEMS, COUNT)
    order = np.lexsort((item, user))
    user, item = user[order], item[order].astype(np.uint32)
    return np.searchsorted(user, np.arange(USERS + 1)).astype(np.int64), user, item


def normal(rng, *shape):
    return rng.normal(0, 1, shape).astype(np.float32)


def line_of(matrix, vector):
    """A line: the diagonals of a symmetric matrix, then a vector."""
    places = [(0, 0), (1, 1), (2, 2), (3, 3), (0, 1), (1, 2), (2, 3), (3, 0), (0, 2), (1, 3), (2, 0), (3, 1)]
    return np.array([*(matrix[place] for place in places), *vector], np.float32)


def close(one, other):
    np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-5)


def test_the_switches_of_numba_are_as_before_after_compiling(pairs):
    start, user, item = pairs
    before = config.SLP_VECTORIZE, config.LOOP_VECTORIZE
    sums = np.empty((3, ITEMS), np.float32)
    error, one = np.ones(len(item), np.float32), np.ones(USERS, np.float32)
    kernels.moments_by_item(start, item, error, one, one, sums)
    assert (config.SLP_VECTORIZE, config.LOOP_VECTORIZE) == before


def test_errors_are_what_biases_and_factors_leave(rng, pairs):
    start, user, item = pairs
    target, user_bias, item_bias = normal(rng, len(item)), normal(rng, USERS), normal(rng, ITEMS)
    p, q = normal(rng, 2, USERS, 4), normal(rng, 2, ITEMS, 4)
    error = np.empty_like(target)
    kernels.residuals(start, item, target, np.float32(0.5), user_bias, item_bias, p, q, error)
    products = (p[:, user] * q[:, item]).sum(axis=(0, 2))
    close(error, target - 0.5 - user_bias[user] - item_bias[item] - products)


def test_moments_by_user_and_by_item(rng, pairs):
    start, user, item = pairs
    error, left, right = normal(rng, len(item)), normal(rng, USERS, 4), normal(rng, ITEMS, 4)
    weight, sums = rng.random(ITEMS).astype(np.float32), np.empty((3, USERS), np.float32)
    rest = error - (left[user] * right[item]).sum(axis=1)
    kernels.moments_by_user(start, item, error, left, right, weight, sums)
    close(error, rest)
    close(sums, [np.bincount(user, weight[item] * rest**k, USERS) for k in range(3)])

    steps, weight = normal(rng, USERS), rng.random(USERS).astype(np.float32)
    sums = np.empty((3, ITEMS), np.float32)
    rest = error - steps[user]
    kernels.moments_by_item(start, item, error, steps, weight, sums)
    close(error, rest)
    close(sums, [np.bincount(item, weight[user] * rest**k, ITEMS) for k in range(3)])


def test_lines_hold_products_by_their_diagonals(rng):
    factors, weight = normal(rng, 3, 4), rng.random(3).astype(np.float32)
    lines = np.empty((3, kernels.LINE), np.float32)
    kernels.build_lines(factors, weight, lines)
    close(lines, [line_of(w * np.outer(f, f), w * f) for f, w in zip(factors, weight, strict=True)])


@pytest.mark.parametrize("by", ["user", "item"])
def test_sums_of_lines(rng, pairs, by):
    start, user, item = pairs
    error, left, right = normal(rng, len(item)), normal(rng, USERS, 4), normal(rng, ITEMS, 4)
    rest = error - (left[user] * right[item]).sum(axis=1)
    rows, of, whose = (USERS, item, user) if by == "user" else (ITEMS, user, item)
    lines = normal(rng, ITEMS if by == "user" else USERS, kernels.LINE)
    sums = np.full((rows, kernels.LINE), np.nan, np.float32)
    work = kernels.sum_by_user if by == "user" else kernels.sum_by_item
    work(start, item, error, left, right, lines, sums)
    parts = lines[of].astype(np.float64)
    parts[:, 12:] *= rest[:, None]
    expected = np.zeros((rows, kernels.LINE))
    np.add.at(expected, whose, parts)
    close(error, rest)
    close(sums, expected)


def slow_half_step(user, item, target, weight, p, q, prior_mean, prior_precision, noise):
    """Draw every factor of every user from its conditional, with all errors computed anew each time.

    Given the rest, factor k of user u has the precision l = prior + sum w q_k^2 and the mean
    (prior * prior_mean + sum w q_k (target without this factor's part)) / l.
    """
    p = p.astype(np.float64)
    for u in range(len(p)):
        mine = user == u
        for k in range(4):
            other = target[mine] - q[item[mine]] @ p[u] + q[item[mine], k] * p[u, k]
            precision = prior_precision[k] + (weight[mine] * q[item[mine], k] ** 2).sum()
            pull = prior_precision[k] * prior_mean[k] + (weight[mine] * q[item[mine], k] * other).sum()
            p[u, k] = pull / precision + noise[u, k] / np.sqrt(precision)
    return p


def test_a_half_step_of_the_sampler(rng, pairs):
    start, user, item = pairs
    target, p, q = normal(rng, len(item)), normal(rng, USERS, 4), normal(rng, ITEMS, 4)
    user_weight, item_weight = rng.random(USERS).astype(np.float32), rng.random(ITEMS).astype(np.float32)
    mean, precision, noise = (
        normal(rng, 1, 4),
        rng.random((1, 4)).astype(np.float32) + 1,
        normal(rng, USERS, 4),
    )
    weight = user_weight[user] * item_weight[item]
    expected = slow_half_step(user, item, target, weight, p, q, mean[0], precision[0], noise)

    lines, sums = np.empty((ITEMS, kernels.LINE), np.float32), np.empty((USERS, kernels.LINE), np.float32)
    error, zero = np.empty_like(target), np.float32(0)
    none = np.zeros(USERS, np.float32), np.zeros(ITEMS, np.float32)
    kernels.residuals(start, item, target, zero, *none, p[None], q[None], error)
    kernels.build_lines(q, item_weight, lines)
    nothing = np.zeros((USERS, 4), np.float32), np.zeros((ITEMS, 4), np.float32)
    kernels.sum_by_user(start, item, error, *nothing, lines, sums)
    own, before, steps, moments = p.copy(), p.copy(), np.empty_like(p), np.empty((1, 8))
    group = np.zeros(USERS, np.uint32)
    kernels.draw_rows(sums, user_weight, own, p, steps, group, mean, precision, noise, moments)
    close(own, expected)
    close(p, expected)
    close(steps, expected - before)
    close(moments[0], np.concatenate([expected.sum(axis=0), (expected**2).sum(axis=0)]))
    # What is left in E is the gradient at the new factors: it goes on to the features.
    rest = target - (expected[user] * q[item]).sum(axis=1)
    pulls = np.zeros((USERS, 4))
    np.add.at(pulls, user, (weight * rest)[:, None] * q[item])
    close(sums[:, 12:], pulls)


@pytest.mark.parametrize("groups", [1, 2])
def test_features_are_drawn_one_after_the_other(rng, pairs, groups):
    """Features of users, against conditionals computed from all ratings anew each time."""
    start, user, item = pairs
    target, q = normal(rng, len(item)), normal(rng, ITEMS, 4)
    weight = rng.random(USERS).astype(np.float32)
    have = rng.random((USERS, 5)) < 0.5
    have[0] = False
    row, feature = np.nonzero(have)
    scale = (1 / np.sqrt(np.maximum(have.sum(axis=1), 1))).astype(np.float32)
    effects, p = normal(rng, 5, 4), normal(rng, USERS, 4)
    group = (np.arange(5) % groups).astype(np.uint32)
    mean, precision = normal(rng, groups, 4), rng.random((groups, 4)).astype(np.float32) + 1
    noise = normal(rng, 5, 4)

    y, expected = effects.astype(np.float64), p.astype(np.float64)
    for j in range(5):
        for k in range(4):
            rest = target - (expected[user] * q[item]).sum(axis=1)
            x = weight[user] * q[item, k] * scale[user] * have[user, j]
            prior = precision[group[j], k]
            total = prior + (x * q[item, k] * scale[user] * have[user, j]).sum()
            d = ((x * rest).sum() - prior * (y[j, k] - mean[group[j], k])) / total + noise[j, k] / np.sqrt(
                total
            )
            y[j, k] += d
            expected[:, k] += d * scale * have[:, j]

    ones, lines = np.ones(ITEMS, np.float32), np.empty((ITEMS, kernels.LINE), np.float32)
    sums = np.empty((USERS, kernels.LINE), np.float32)
    error, zero = np.empty_like(target), np.float32(0)
    kernels.residuals(
        start, item, target, zero, np.zeros(USERS, np.float32), 0 * ones, p[None], q[None], error
    )
    kernels.build_lines(q, ones, lines)
    nothing = np.zeros((USERS, 4), np.float32), np.zeros((ITEMS, 4), np.float32)
    kernels.sum_by_user(start, item, error, *nothing, lines, sums)
    sums *= weight[:, None]
    feature_start, rows = np.empty(6, np.int64), np.empty(len(row), np.uint32)
    row_start, features = np.searchsorted(row, np.arange(USERS + 1)), feature.astype(np.uint32)
    none = np.empty(0, np.float32)
    kernels.turn(row_start, features, none, feature_start, rows, none)
    feature_steps, steps, moments = (
        np.empty_like(effects),
        np.zeros((USERS, 4), np.float32),
        np.empty((groups, 8)),
    )
    kept, before = sums.copy(), p.copy()
    given = group, effects, feature_steps, mean, precision, noise, moments
    kernels.draw_features(feature_start, rows, scale, sums, *given)
    kernels.move_rows(row_start, features, scale, feature_steps, sums, p, steps)
    close(effects, y)
    close(p, expected)
    close(steps, expected - before)
    close(sums[:, :12], kept[:, :12])
    for one in range(groups):
        close(moments[one], np.concatenate([y[group == one].sum(axis=0), (y[group == one] ** 2).sum(axis=0)]))


def test_biases_of_features(rng):
    have = rng.random((8, 4)) < 0.6
    have[2] = False
    row, feature = np.nonzero(have)
    scale = (1 / np.sqrt(np.maximum(have.sum(axis=1), 1))).astype(np.float32)
    weights, errors, effects = rng.random(8).astype(np.float32), normal(rng, 8), normal(rng, 4)
    group, mean, precision = np.array([0, 0, 1, 1], np.uint32), normal(rng, 2), np.float32([1.5, 3])
    noise, bias, steps = normal(rng, 4), normal(rng, 8), np.zeros(8, np.float32)
    pulls, before = weights * errors, bias.copy()

    y, moved = effects.astype(np.float64), np.zeros(8)
    for j in range(4):
        x, prior = scale * have[:, j], precision[group[j]]
        total = prior + (x * x * weights).sum()
        d = ((x * weights * (errors - moved)).sum() - prior * (y[j] - mean[group[j]])) / total
        d += noise[j] / np.sqrt(total)
        y[j] += d
        moved += d * x

    start, rows, none = np.empty(5, np.int64), np.empty(len(row), np.uint32), np.empty(0, np.float32)
    kernels.turn(np.searchsorted(row, np.arange(9)), feature.astype(np.uint32), none, start, rows, none)
    priors = group, effects, mean, precision, noise
    kernels.draw_feature_biases(start, rows, scale, weights, pulls, *priors, bias, steps)
    close(effects, y)
    close(bias, before + moved)
    close(steps, moved)
    close(pulls, weights * (errors - moved))


def test_shifts_of_spans(rng, pairs):
    start, user, item = pairs
    cuts = np.unique(np.concatenate([start, [1, 9, 14]]))
    whose = user[cuts[:-1]]
    error, steps, shift = normal(rng, len(item)), normal(rng, ITEMS), normal(rng, len(whose))
    user_weight, item_weight = rng.random(USERS).astype(np.float32), rng.random(ITEMS).astype(np.float32)
    noise, prior = normal(rng, len(whose)), np.float32(2.5)
    rest, expected = error - steps[item], shift.copy()
    for s, u in enumerate(whose):
        part = slice(cuts[s], cuts[s + 1])
        w = user_weight[u] * item_weight[item[part]]
        total = w.sum() + prior
        expected[s] = (w * (rest[part] + shift[s])).sum() / total + noise[s] / np.sqrt(total)
        rest[part] -= expected[s] - shift[s]
    kernels.draw_spans(cuts, whose, item, error, steps, user_weight, item_weight, prior, shift, noise)
    close(shift, expected)
    close(error, rest)


def test_pairs_are_turned(rng, pairs):
    start, user, item = pairs
    values, turned = normal(rng, len(item)), np.empty(len(item), np.float32)
    other_start, rows = np.empty(ITEMS + 1, np.int64), np.empty(len(item), np.uint32)
    kernels.turn(start, item, values, other_start, rows, turned)
    order = np.lexsort((user, item))
    assert rows.tolist() == user[order].tolist()
    assert turned.tolist() == values[order].tolist()
    assert other_start.tolist() == np.searchsorted(item[order], np.arange(ITEMS + 1)).tolist()


@pytest.mark.parametrize("weighted", [True, False])
def test_least_squares_of_a_row(rng, pairs, weighted):
    start, user, item = pairs
    others, pull = normal(rng, ITEMS, 5), normal(rng, len(item))
    weight = rng.random(len(item) if weighted else 0).astype(np.float32)
    root = normal(rng, 5, 5)
    base, base_pull, each = root @ root.T + np.eye(5, dtype=np.float32), normal(rng, 5), np.float32(0.3)
    solved, variance = np.empty((USERS, 5), np.float32), np.empty((USERS, 5), np.float32)
    given = weight, pull, others, base, each, base_pull
    kernels.solve_rows(0, USERS, start, item, *given, solved, variance)
    for u in range(USERS):
        part = slice(start[u], start[u + 1])
        z = others[item[part]].astype(np.float64)
        w = weight[part] if weighted else np.ones(len(z))
        a = base + each * len(z) * np.eye(5) + (z * w[:, None]).T @ z
        np.testing.assert_allclose(
            solved[u], np.linalg.solve(a, base_pull + z.T @ pull[part]), rtol=1e-3, atol=1e-4
        )
        np.testing.assert_allclose(variance[u], np.diag(np.linalg.inv(a)), rtol=1e-3)


@pytest.mark.parametrize("bounded", [True, False])
@pytest.mark.parametrize("biased", [True, False])
def test_steps_of_stochastic_gradients(rng, pairs, bounded, biased):
    _, user, item = pairs
    target = rng.random(len(item)).astype(np.float32)
    p, q = normal(rng, USERS, 16), normal(rng, ITEMS, 16)
    p[:, -3:-1] = q[:, -3:-1] = 0
    if not biased:
        p[:, -1] = q[:, -1] = 0
    rate, decay, mean = 0.05, 0.1, 0.2
    slow_p, slow_q = p.astype(np.float64), q.astype(np.float64)
    for u, i, t in zip(user, item, target, strict=True):
        f, b, g, c = slow_p[u, :-1].copy(), slow_p[u, -1], slow_q[i, :-1].copy(), slow_q[i, -1]
        y = mean + b + c + f @ g
        x = 1 / (1 + np.exp(-y))
        # Minus the derivative in y of 8 (t - sigmoid(y))^2, and of (t - y)^2 / 2.
        slope = 16 * (t - x) * x * (1 - x) if bounded else t - y
        slow_p[u, :-1] += rate * (slope * g - decay * f)
        slow_q[i, :-1] += rate * (slope * f - decay * g)
        if biased:
            slow_p[u, -1] += rate * (slope - decay * b)
            slow_q[i, -1] += rate * (slope - decay * c)
    numbers = np.float32(mean), np.float32(rate), np.float32(decay)
    users = user.astype(np.uint32)
    kernels.sgd_block(0, len(item), users, item, target, p, q, *numbers, bounded, biased)
    np.testing.assert_allclose(p, slow_p, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(q, slow_q, rtol=1e-3, atol=1e-4)


def test_the_order_of_gradients_is_block_by_block(rng):
    user, item = some_pairs(rng, 40, 30, 500)
    order = np.lexsort((item, user))
    user, item = user[order], item[order].astype(np.uint32)
    start, cut = np.searchsorted(user, np.arange(41)), np.array([0, 11, 25, 40])
    part = rng.integers(0, 3, 30)
    block = (np.searchsorted(cut, user, side="right") - 1) * 3 + part[item]
    ends = np.cumsum(np.bincount(block, minlength=9))
    place, found = np.concatenate([[0], ends[:-1]]).reshape(3, 3), np.empty(len(item), np.uint32)
    kernels.sgd_order(start, item, cut, part, 4, place, found)
    assert sorted(found.tolist()) == list(range(len(item)))
    assert (np.diff(block[found]) >= 0).all()
    assert place.reshape(-1).tolist() == ends.tolist()
    # By turns: seldom the same user twice running, and nearly always by user.
    assert np.mean(np.diff(user[found].astype(int)) == 0) < 0.25
