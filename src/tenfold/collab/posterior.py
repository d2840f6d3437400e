"""Sums over a sampler's draws, and the model that is their mean."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tenfold.collab.chain import Chain, Features, Observations, Spans
from tenfold.collab.products import ProductMean, shorten
from tenfold.collab.scale import Scale, plain_model
from tenfold.errors import TrainingError
from tenfold.values import Extra, FactorModel, Ratings, TimeSpans

__all__ = ["RANK", "Draws", "build_model"]

#: Factors of the mean for every four that are sampled: the mean of products has a higher rank.
RANK = 6


class _Sample(NamedTuple):
    """Factors (rows, factors) of one sweep; (0, factors) without implicit features.

    rated: what each rated item adds to a user's factors; raters: what each user adds to the rated items'.
    """

    users: NDArray[np.float32]
    items: NDArray[np.float32]
    rated: NDArray[np.float32]
    raters: NDArray[np.float32]


class Draws:
    """Sums over the kept sweeps of one chain, and some sweeps whole.

    probes: (2, pairs) users and items whose scores' variance is measured.
    """

    def __init__(self, data: Observations, blocks: int, probes: NDArray[np.int64]) -> None:
        self.probes, self.probed = probes, np.zeros((2, probes.shape[1]))
        self.product = ProductMean(RANK * blocks)
        self.count = 0
        self.mean, self.noise = 0.0, 0.0
        # Sums and sums of squares.
        self.user_bias, self.item_bias = np.zeros((2, data.users)), np.zeros((2, data.items))
        self.user_noise, self.item_noise = np.zeros(data.users), np.zeros(data.items)
        self.freedom = np.zeros(2)
        self.shifts = [np.zeros(len(spans.user)) for spans in data.spans]
        self.samples: list[_Sample] = []

    def add(self, chain: Chain, whole: bool) -> None:
        """Add the chain's newest sweep to the sums. whole: keep its factors, too."""
        self.product.add(_columns(chain.users.factors), _columns(chain.items.factors))
        self.count += 1
        score = _scores(chain, *self.probes)
        self.probed[0] += score
        self.probed[1] += score * score
        self.mean += chain.mean
        self.noise += 1 / chain.alpha
        self.freedom += chain.users.freedom, chain.items.freedom
        for total, side in ((self.user_bias, chain.users), (self.item_bias, chain.items)):
            total[0] += side.bias
            total[1] += np.square(side.bias, dtype=np.float64)
        self.user_noise += 1 / chain.users.noise
        self.item_noise += 1 / chain.items.noise
        for total, shift in zip(self.shifts, chain.shifts, strict=True):
            total += shift
        if whole:
            sides = chain.users, chain.items
            implicit = [s.effects[0].factors if chain.data.rated else s.factors[:, :0] for s in sides]
            self.samples.append(_Sample(*map(_columns, (*(s.factors for s in sides), *implicit))))


def _scores(chain: Chain, users: NDArray[np.int64], items: NDArray[np.int64]) -> NDArray[np.float64]:
    """(pairs,) the newest draw's scores, without shifts of time."""
    score = chain.mean + chain.users.bias[users].astype(np.float64) + chain.items.bias[items]
    for p, q in zip(chain.users.factors, chain.items.factors, strict=True):
        score += np.einsum("rk,rk->r", p[users], q[items])
    return score


def _columns(factors: NDArray[np.float32]) -> NDArray[np.float32]:
    """(blocks, n, 4) -> (n, factors), a copy."""
    blocks, rows, _ = factors.shape
    return factors.transpose(1, 0, 2).reshape(rows, 4 * blocks).copy()


def build_model(ratings: Ratings, data: Observations, draws: list[Draws], scale: Scale) -> FactorModel:
    """The mean of all draws as one model.

    `extra` holds, beside the posterior variances: `user_noise` (users,) and `item_noise` (items,), factors of
    a rating's variance 1 / noise_precision; `noise_freedom` (2,), their degrees of freedom; for new rows
    `user_prior_mean` (1 + factors,) and `user_prior_covariance` of a user's bias and factors, to which n
    rated items add the sum of their `rated_factors` (items, factors) / sqrt(n); the same for items, with
    `rater_factors` (users, factors); and the arrays that `times.time_shifts` needs.
    """
    spread = scale.spread
    count = sum(chain.count for chain in draws)
    weights = [np.float32(np.sqrt(chain.count / count)) for chain in draws]
    parts = [chain.product.product() for chain in draws]
    left, right = (
        np.hstack([weight * part[side] for weight, part in zip(weights, parts, strict=True)])
        for side in (0, 1)
    )
    users, items = shorten(left, right, draws[0].product.rank)
    extra = _in_frame([sample for chain in draws for sample in chain.samples], users, items)
    root = float(np.sqrt(spread))
    users, items = users * np.float32(root), items * np.float32(root)
    for name in extra:
        extra[name] *= spread if name.endswith("variance") else root
    bias = {}
    for side in ("user", "item"):
        total, squares = np.sum([getattr(chain, f"{side}_bias") for chain in draws], axis=0) / count
        bias[side] = spread * total
        extra[f"{side}_bias_variance"] = spread**2 * np.maximum(squares - total**2, 0)
        extra[f"{side}_noise"] = np.sum([getattr(chain, f"{side}_noise") for chain in draws], axis=0) / count
    extra["noise_freedom"] = np.sum([chain.freedom for chain in draws], axis=0) / count
    shifts = []
    for level, spans in enumerate(data.spans):
        shift = spread * np.sum([chain.shifts[level] for chain in draws], axis=0) / count
        bias["user"] += _center(shift, spans, data)
        shifts.append(shift)
    extra |= _prior("user", bias["user"], users, extra, data.rated)
    extra |= _prior("item", bias["item"], items, extra, data.raters)
    shrunk = _shrinkage(draws, users, items, extra, spread)
    for name in extra:
        if name.endswith("_variance"):
            extra[name] *= shrunk
    # The variance of ratings beyond 1e19 would overflow float32.
    most = float(np.finfo(np.float32).max)

    def kept(array: NDArray[np.float64]) -> NDArray[np.float32]:
        return np.ascontiguousarray(np.clip(array, -most, most), np.float32)

    arrays: dict[str, Any] = {name: kept(array) for name, array in extra.items()}
    if data.spans:
        arrays["times"] = TimeSpans(
            np.array([spans.length for spans in data.spans]),
            tuple(np.searchsorted(spans.user, np.arange(data.users + 1)) for spans in data.spans),
            tuple(spans.part for spans in data.spans),
            tuple(map(kept, shifts)),
        )
    model = plain_model(
        ratings,
        "gibbs",
        float(scale.center + spread * sum(chain.mean for chain in draws) / count),
        (bias["user"].astype(np.float32), bias["item"].astype(np.float32)),
        # In one order in memory, as they are read back: else a product's last bits could differ.
        (np.ascontiguousarray(users), np.ascontiguousarray(items)),
        noise_precision=float(count / (spread**2 * sum(chain.noise for chain in draws))),
        extra=Extra(**arrays),
    )
    for name in ("user_bias", "item_bias", "user_factors", "item_factors"):
        if not np.isfinite(getattr(model, name)).all():
            raise TrainingError(
                f"{name} are not all finite after sampling", fix="please report these ratings"
            )
    return model


def _in_frame(
    samples: list[_Sample], users: NDArray[np.float32], items: NDArray[np.float32]
) -> dict[str, NDArray[np.float64]]:
    """Variances of factors over the samples, and means of the implicit ones, in the model's own frame.

    Predictions bring a sample into the frame: a user's row of them, P_u Q^T, has in the frame of `items` V
    the coordinates P_u (Q^T V) (V^T V)^-1, and V^T V is diagonal.
    """
    lengths = np.square(items, dtype=np.float64).sum(axis=0)
    inverse = np.divide(1, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    sums = {
        "user_factors_variance": np.zeros(users.shape),
        "item_factors_variance": np.zeros(items.shape),
        "rated_factors": np.zeros((len(samples[0].rated), len(lengths))),
        "rater_factors": np.zeros((len(samples[0].raters), len(lengths))),
    }
    for sample in samples:
        to_users = ((sample.items.T @ items) * inverse).astype(np.float32)
        to_items = ((sample.users.T @ users) * inverse).astype(np.float32)
        sums["user_factors_variance"] += np.square(sample.users @ to_users - users)
        sums["item_factors_variance"] += np.square(sample.items @ to_items - items)
        sums["rated_factors"] += sample.rated @ to_users
        sums["rater_factors"] += sample.raters @ to_items
    return {name: total / len(samples) for name, total in sums.items() if len(total)}


def _shrinkage(
    draws: list[Draws],
    users: NDArray[np.float32],
    items: NDArray[np.float32],
    extra: dict[str, NDArray[np.float64]],
    spread: float,
) -> float:
    """What to multiply variances of biases and factors by, so that scores vary as much as over the draws.

    A user's and an item's factors move together from draw to draw: taken as independent, as
    `FactorScorer.deviation` takes them, their variances would make that of a score too large.
    """
    count = sum(chain.count for chain in draws)
    total, squares = np.sum([chain.probed for chain in draws], axis=0) / count
    measured = spread**2 * float(np.maximum(squares - total**2, 0).mean())
    user, item = draws[0].probes
    p, q = users[user].astype(np.float64), items[item].astype(np.float64)
    own, other = extra["user_factors_variance"][user], extra["item_factors_variance"][item]
    once = float((extra["user_bias_variance"][user] + extra["item_bias_variance"][item]).mean())
    once += float((own * q * q + p * p * other).sum(axis=1).mean())
    twice = float((own * other).sum(axis=1).mean())
    # The positive root of measured = once x + twice x^2.
    root = once + np.sqrt(once**2 + 4 * twice * measured)
    return min(1.0, 2 * measured / root) if root > 0 else 1.0


def _center(shift: NDArray[np.float64], spans: Spans, data: Observations) -> NDArray[np.float64]:
    """Each user's mean shift over their ratings, which is a bias; subtracts it from `shift`."""
    sizes = np.diff(spans.begin)
    total = np.bincount(spans.user, shift * sizes, minlength=data.users)
    mean = total / np.maximum(np.diff(data.start), 1)
    shift -= mean[spans.user]
    return mean


def _prior(
    side: str,
    bias: NDArray[np.float64],
    factors: NDArray[np.float32],
    extra: dict[str, NDArray[np.float64]],
    implicit: Features | None,
) -> dict[str, NDArray[np.float64]]:
    """Mean and covariance of bias and own factors over the rows: the prior of a new row.

    The covariance is that of the rows' posterior means, plus the mean of their posterior variances.
    """
    own = np.column_stack([bias, factors])
    if implicit is not None:
        given = extra["rated_factors" if side == "user" else "rater_factors"]
        for row, x in enumerate(implicit.scale):
            have = implicit.features[implicit.row_start[row] : implicit.row_start[row + 1]]
            own[row, 1:] -= x * given[have].sum(axis=0)
    variance = np.append(
        extra[f"{side}_bias_variance"].mean(), extra[f"{side}_factors_variance"].mean(axis=0)
    )
    covariance = np.atleast_2d(np.cov(own.T, bias=True)) + np.diag(variance)
    return {f"{side}_prior_mean": own.mean(axis=0), f"{side}_prior_covariance": covariance}
