"""One Markov chain of the Gibbs sampler: its state, and a sweep over all unknowns.

A rating of user u for item i, in units of the ratings' deviation, is

    m + b_u + c_i + p_u . q_i + s_u(t) + e,      e ~ N(0, 1 / (alpha g_u h_i))

where biases and factors are a row's own plus those of its features (Rendle 2012, "Factorization machines with
libFM", section 2; Koren 2008, "Factorization meets the neighborhood", section 4, for the implicit ones): p_u
= own_u + sum over features j of x_u y_j with x_u = 1 / sqrt(number of features). All coefficients of one kind
and factor share a normal prior; its mean and precision are drawn, too (Salakhutdinov and Mnih 2008, equations
5 to 8, with a diagonal precision). Some users and items are harder to predict than others: g_u ~ Gamma(v / 2,
v / 2), and h_i alike, with the degrees of freedom v drawn on a grid (Lakshminarayanan, Bouchard and
Archambeau 2011, "Robust Bayesian matrix factorisation"). s_u(t) is the shift of the span of time in which the
rating lies, for spans of several lengths (Koren 2009, "Collaborative filtering with temporal dynamics",
section 3, has days).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import lgamma

import numpy as np
from numpy.typing import NDArray

from tenfold.collab import kernels

__all__ = ["Chain", "Features", "Observations", "Spans"]

#: Errors are updated in place, and computed from scratch every FRESH sweeps.
FRESH = 16
#: Own factors start from N(0, START^2).
START = 0.3
#: The prior of a precision weighs as much as WEIGHT observations. It expects BIAS_PRECISION for biases; for
#: factors a precision that grows with their number, so that products keep their size.
WEIGHT, BIAS_PRECISION = 4.0, 4.0
#: The degrees of freedom that the noise of a side may have.
FREEDOMS = np.geomspace(1.0, 200.0, 60)
_FREEDOM_LOG = np.array([v / 2 * np.log(v / 2) - lgamma(v / 2) for v in FREEDOMS])


@dataclass(frozen=True)
class Features:
    """Sparse features of users or items: the same pairs by feature and by row.

    start (features + 1,) int64, rows uint32: the rows that have each feature.
    row_start (rows + 1,) int64, features uint32: the features of each row.
    scale (rows,) float32: 1 / sqrt of how many features a row has.
    group (features,) uint32, groups: features of one group share a prior.
    biased: whether features have a bias as well as factors.
    """

    start: NDArray[np.int64]
    rows: NDArray[np.uint32]
    row_start: NDArray[np.int64]
    features: NDArray[np.uint32]
    scale: NDArray[np.float32]
    group: NDArray[np.uint32]
    groups: int
    biased: bool


@dataclass(frozen=True)
class Spans:
    """A user's ratings of one span of time, for spans of one length.

    begin (spans + 1,) int64 cuts the ratings. user (spans,) int64: the user of each span.
    part (spans,) int64: the whole part of time / length.
    """

    length: float
    begin: NDArray[np.int64]
    user: NDArray[np.int64]
    part: NDArray[np.int64]


@dataclass(frozen=True)
class Observations:
    """Data that the chains share. Ratings are sorted by user; with spans, by time within a user.

    start (users + 1,) int64, item uint32, target float32: mean 0 and deviation 1.
    """

    start: NDArray[np.int64]
    item: NDArray[np.uint32]
    target: NDArray[np.float32]
    items: int
    user_features: tuple[Features, ...] = ()
    item_features: tuple[Features, ...] = ()
    spans: tuple[Spans, ...] = ()

    @property
    def users(self) -> int:
        """Number of users."""
        return len(self.start) - 1

    @property
    def rated(self) -> Features | None:
        """The implicit features of users, if there are any. They have no bias."""
        return next((features for features in self.user_features if not features.biased), None)

    @property
    def raters(self) -> Features | None:
        """The implicit features of items."""
        return next((features for features in self.item_features if not features.biased), None)


class _Effects:
    """Coefficients of rows or features, in groups, and their priors."""

    def __init__(self, group: NDArray[np.uint32], groups: int, blocks: int, biased: bool) -> None:
        count = len(group)
        self.group, self.sizes, self.biased = group, np.bincount(group, minlength=groups), biased
        self.bias = np.zeros(count, np.float32)
        self.bias_mean, self.bias_precision = np.zeros(groups, np.float32), np.full(groups, 10, np.float32)
        self.factors = np.zeros((blocks, count, 4), np.float32)
        self.mean = np.zeros((blocks, groups, 4), np.float32)
        self.precision = np.full((blocks, groups, 4), 10, np.float32)
        # Sums and sums of squares of each group's four factors, filled as they are drawn.
        self.moments = np.zeros((blocks, groups, 8))
        self.noise = np.empty((count, 4), np.float32)

    def start(self, rng: np.random.Generator) -> None:
        """Factors from N(0, START^2)."""
        rng.standard_normal(self.factors.shape, np.float32, self.factors)
        self.factors *= np.float32(START)
        for factors, moments in zip(self.factors, self.moments, strict=True):
            moments[0] = np.concatenate([factors.sum(axis=0), np.square(factors).sum(axis=0)])

    def draw_priors(self, rng: np.random.Generator) -> None:
        total, squares = self.moments[..., :4], self.moments[..., 4:]
        expected = 2 * np.sqrt(4 * len(self.factors))
        self.mean[:], self.precision[:] = _draw_prior(
            rng, self.sizes[:, None], total, squares, self.mean, expected
        )
        if self.biased:
            bias = self.bias.astype(np.float64)
            total, squares = (np.bincount(self.group, bias**k, len(self.sizes)).astype(float) for k in (1, 2))
            self.bias_mean[:], self.bias_precision[:] = _draw_prior(
                rng, self.sizes, total, squares, self.bias_mean, BIAS_PRECISION
            )

    def draw_noise(self, rng: np.random.Generator) -> NDArray[np.float32]:
        return rng.standard_normal(self.noise.shape, np.float32, self.noise)


def _draw_prior(
    rng: np.random.Generator,
    count: NDArray[np.int64],
    total: NDArray[np.float64],
    squares: NDArray[np.float64],
    mean: NDArray[np.float32],
    expected: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw mean and precision of the normal prior of `count` numbers with this sum and sum of squares.

    A priori the precision is Gamma(1/2, 1/2) and the mean N(0, 1 / precision). The precision is drawn given
    the old mean, and then the mean given the precision.
    """
    spread = squares - 2 * mean * total + (count + 1) * np.square(mean, dtype=np.float64)
    shape = total.shape
    precision = rng.standard_gamma(0.5 * (WEIGHT + count + 1), shape)
    precision /= 0.5 * (WEIGHT / expected + np.maximum(spread, 0))
    return total / (count + 1) + rng.standard_normal(shape) / np.sqrt((count + 1) * precision), precision


class _Side:
    """Users or items: their biases, factors, effects, noise, and scratch space."""

    def __init__(
        self, rng: np.random.Generator, counts: NDArray[np.int64], features: Sequence[Features], blocks: int
    ) -> None:
        size = len(counts)
        self.counts, self.features = counts, features
        self.own = _Effects(np.zeros(size, np.uint32), 1, blocks, biased=True)
        self.own.start(rng)
        self.effects = [_Effects(f.group, f.groups, blocks, f.biased) for f in features]
        self.bias, self.factors = self.own.bias.copy(), self.own.factors.copy()
        # The weight of a rating of this row: alpha g_u for users, h_i for items.
        self.noise, self.weight = np.ones(size, np.float32), np.ones(size, np.float32)
        self.freedom = 8.0
        self.moments = np.empty((3, size), np.float32)
        self.lines, self.sums = (np.zeros((size, kernels.LINE), np.float32) for _ in range(2))
        self.steps, self.bias_steps = np.zeros((size, 4), np.float32), np.zeros(size, np.float32)

    def draw_priors(self, rng: np.random.Generator) -> None:
        for effects in (self.own, *self.effects):
            effects.draw_priors(rng)
        noise = self.noise.astype(np.float64)
        log = (
            len(noise) * _FREEDOM_LOG + (FREEDOMS / 2 - 1) * np.log(noise).sum() - FREEDOMS / 2 * noise.sum()
        )
        chance = np.cumsum(np.exp(log - log.max()))
        self.freedom = float(
            FREEDOMS[min(np.searchsorted(chance, rng.random() * chance[-1]), len(chance) - 1)]
        )

    def draw_noise(self, rng: np.random.Generator, alpha: float) -> None:
        """Draw the noise of each row given its errors; multiply the moments by the full weights."""
        drawn = rng.standard_gamma(0.5 * (self.freedom + self.counts))
        self.noise[:] = drawn / (0.5 * (self.freedom + alpha * self.moments[2].astype(np.float64)))
        np.multiply(self.noise, np.float32(alpha), out=self.weight)
        self.moments[:2] *= self.weight

    def draw_biases(self, rng: np.random.Generator) -> None:
        weights, pulls = self.moments[0], self.moments[1]
        own, prior = self.own, self.own.bias_precision[0]
        precision = weights + prior
        step = (pulls - prior * (own.bias - own.bias_mean[0])) / precision
        step += rng.standard_normal(len(step), np.float32) / np.sqrt(precision)
        own.bias += step
        self.bias += step
        pulls -= step * weights
        self.bias_steps[:] = step
        for f, effects in zip(self.features, self.effects, strict=True):
            if f.biased:
                noise = rng.standard_normal(len(f.group), np.float32)
                priors = f.group, effects.bias, effects.bias_mean, effects.bias_precision, noise
                moved = self.bias, self.bias_steps
                kernels.draw_feature_biases(f.start, f.rows, f.scale, weights, pulls, *priors, *moved)

    def draw_factors(self, rng: np.random.Generator, block: int) -> None:
        """Draw four factors of all rows and features, from the lines in `sums`."""
        own, factors = self.own, self.factors[block]
        priors = own.group, own.mean[block], own.precision[block], own.draw_noise(rng), own.moments[block]
        kernels.draw_rows(self.sums, self.weight, own.factors[block], factors, self.steps, *priors)
        for f, effects in zip(self.features, self.effects, strict=True):
            steps = np.empty((len(f.group), 4), np.float32)
            priors = effects.mean[block], effects.precision[block], effects.draw_noise(rng)
            drawn = f.group, effects.factors[block], steps, *priors, effects.moments[block]
            kernels.draw_features(f.start, f.rows, f.scale, self.sums, *drawn)
            kernels.move_rows(f.row_start, f.features, f.scale, steps, self.sums, factors, self.steps)


class Chain:
    """The state of one chain, in units of the ratings' standard deviation. `sweep` updates it."""

    def __init__(self, data: Observations, blocks: int, seed: np.random.SeedSequence) -> None:
        self.data, self.blocks = data, blocks
        self.rng = np.random.Generator(np.random.SFC64(seed))
        item_counts = np.bincount(data.item, minlength=data.items)
        self.users = _Side(self.rng, np.diff(data.start), data.user_features, blocks)
        self.items = _Side(self.rng, item_counts, data.item_features, blocks)
        self.mean, self.alpha, self.sweeps = 0.0, 1.0, 0
        self.shifts = [np.zeros(len(spans.user), np.float32) for spans in data.spans]
        self.error = np.empty_like(data.target)
        # The last step, left_u . right_i: the next pass subtracts it from the errors.
        self.left = np.zeros((data.users, 4), np.float32)
        self.right = np.zeros((data.items, 4), np.float32)

    def sweep(self) -> None:
        """Draw every unknown once, given the newest values of all others."""
        rng, users, items = self.rng, self.users, self.items
        data, error = self.data, self.error
        if self.sweeps % FRESH == 0:
            self._compute_errors()
        self.sweeps += 1
        users.draw_priors(rng)
        items.draw_priors(rng)
        ratings = data.start, data.item, error
        kernels.moments_by_user(*ratings, self.left, self.right, items.weight, users.moments)
        users.draw_noise(rng, self.alpha)
        users.draw_biases(rng)
        kernels.moments_by_item(*ratings, users.bias_steps, users.weight, items.moments)
        items.draw_noise(rng, 1.0)
        self._draw_mean()
        items.draw_biases(rng)
        self._draw_shifts()
        for block in range(self.blocks):
            p, q = users.factors[block], items.factors[block]
            kernels.build_lines(q, items.weight, items.lines)
            kernels.sum_by_user(*ratings, self.left, self.right, items.lines, users.sums)
            users.draw_factors(rng, block)
            kernels.build_lines(p, users.weight, users.lines)
            kernels.sum_by_item(*ratings, users.steps, q, users.lines, items.sums)
            items.draw_factors(rng, block)
            self.left[:], self.right[:] = p, items.steps

    def _draw_mean(self) -> None:
        """Draw the mean and the noise's precision. The errors get the mean's step with the items' biases."""
        items = self.items
        squares = float(items.noise.astype(np.float64) @ items.moments[2]) / self.alpha
        weights, pulls = items.moments[0], items.moments[1]
        total = float(weights.sum(dtype=np.float64))
        step = float(pulls.sum(dtype=np.float64)) / total + self.rng.standard_normal() / np.sqrt(total)
        self.mean += step
        pulls -= np.float32(step) * weights
        self._step = np.float32(step)
        self.alpha = self.rng.standard_gamma(0.5 * (1 + len(self.error))) / (0.5 * (1 + squares))

    def _draw_shifts(self) -> None:
        data, users, items = self.data, self.users, self.items
        items_step = items.bias_steps + self._step
        for spans, shift in zip(data.spans, self.shifts, strict=True):
            precision = self.rng.standard_gamma(0.5 * (1 + len(shift))) / (0.5 * (1 + float(shift @ shift)))
            noise = self.rng.standard_normal(len(shift), np.float32)
            weights = users.weight, items.weight, np.float32(precision)
            cuts = spans.begin, spans.user, data.item
            kernels.draw_spans(*cuts, self.error, items_step, *weights, shift, noise)
            items_step = np.zeros_like(items_step)
        self.left[:], self.right[:] = 0, 0
        self.left[:, 0], self.right[:, 0] = 1, items_step

    def _compute_errors(self) -> None:
        data, users, items = self.data, self.users, self.items
        sides = users.bias, items.bias, users.factors, items.factors
        kernels.residuals(data.start, data.item, data.target, np.float32(self.mean), *sides, self.error)
        for spans, shift in zip(data.spans, self.shifts, strict=True):
            self.error -= np.repeat(shift, np.diff(spans.begin))
        self.left[:], self.right[:] = 0, 0
