from __future__ import annotations

import numpy as np
import pytest

from tenfold.collab.products import ProductMean, shorten


def draw(rng, *shape):
    return rng.normal(size=shape).astype(np.float32)


def test_shortening_keeps_the_nearest_product_of_its_rank():
    rng = np.random.default_rng(0)
    left, right = draw(rng, 30, 7), draw(rng, 20, 7)
    u, s, v = np.linalg.svd(left @ right.T)
    for rank in (1, 4):
        a, b = shorten(left, right, rank)
        np.testing.assert_allclose(a @ b.T, (u[:, :rank] * s[:rank]) @ v[:rank], atol=1e-4)
        # Orthogonal columns of equal length on both sides, the longest first.
        np.testing.assert_allclose(a.T @ a, np.diag(s[:rank]), atol=1e-3)
        np.testing.assert_allclose(b.T @ b, np.diag(s[:rank]), atol=1e-3)


def test_a_product_of_smaller_rank_is_kept_and_filled_with_noughts():
    rng = np.random.default_rng(1)
    left, right = draw(rng, 9, 2), draw(rng, 5, 2)
    a, b = shorten(np.hstack([left, left]), np.hstack([right, right]), 6)
    assert a.shape == (9, 6) and b.shape == (5, 6)
    np.testing.assert_allclose(a @ b.T, 2 * left @ right.T, atol=1e-4)
    assert not a[:, 2:].any() and not b[:, 2:].any()


def test_nothing_is_shortened_to_noughts():
    a, b = shorten(np.zeros((3, 2), np.float32), np.zeros((4, 2), np.float32), 2)
    assert not a.any() and not b.any()


@pytest.mark.parametrize("count", [1, 4, 60])
def test_the_mean_of_turned_factors(count):
    """The factors turn freely from draw to draw; their mean would be nought, the mean of products is not."""
    rng = np.random.default_rng(2)
    p, q = draw(rng, 40, 4), draw(rng, 30, 4)
    mean, total = ProductMean(6), np.zeros((40, 30))
    for _ in range(count):
        turn = np.linalg.qr(draw(rng, 4, 4))[0]
        left, right = (p + 0.1 * draw(rng, 40, 4)) @ turn, (q + 0.1 * draw(rng, 30, 4)) @ turn
        total += left @ right.T / count
        mean.add(left, right)
    a, b = mean.product()
    assert a.shape == (40, 6)
    u, s, v = np.linalg.svd(total)
    best = np.linalg.norm(total - (u[:, :6] * s[:6]) @ v[:6])
    assert np.linalg.norm(a @ b.T - total) < 1.5 * best + 1e-3
