"""What is kept of a sampler's draws, and the model that is their mean."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tenfold.collab.average import ProductMean, shorten
from tenfold.collab.chain import Chain, Features, Observations, Spans
from tenfold.collab.scale import Scale, plain_model
from tenfold.errors import TrainingError
from tenfold.values import FactorModel, Ratings

__all__ = ["RANK", "Draws", "build_model"]

#: Factors of the mean for every four that are sampled: the mean of products has a few directions more.
RANK = 6


class _Sample(NamedTuple):
    """Factors (rows, factors) of one sweep; (0, factors) where there are no implicit features.

    rated: what having rated each item adds to a user; raters: what each user adds to the items they rated.
    """

    users: NDArray[np.float32]
    items: NDArray[np.float32]
    rated: NDArray[np.float32]
    raters: NDArray[np.float32]


class Draws:
    """Sums over the kept sweeps of one chain, and some sweeps whole."""

    def __init__(self, data: Observations, blocks: int) -> None:
        self.product = ProductMean(RANK * blocks)
        self.count = 0
        self.mean, self.noise = 0.0, 0.0
        # Of biases the sum and the sum of squares.
        self.user_bias, self.item_bias = np.zeros((2, data.users)), np.zeros((2, data.items))
        self.user_noise, self.item_noise = np.zeros(data.users), np.zeros(data.items)
        self.freedom = np.zeros(2)
        self.shifts = [np.zeros(len(one.user)) for one in data.spans]
        self.samples: list[_Sample] = []

    def add(self, chain: Chain, whole: bool) -> None:
        """Count the chain's newest sweep; keep it whole where asked."""
        self.product.add(_columns(chain.users.factors), _columns(chain.items.factors))
        self.count += 1
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
            effects = (side.effects[0].factors if chain.data.rated else side.factors[:, :0] for side in sides)
            self.samples.append(_Sample(*(_columns(side.factors) for side in sides), *map(_columns, effects)))


def _columns(factors: NDArray[np.float32]) -> NDArray[np.float32]:
    """(blocks, n, 4) as (n, factors), copied."""
    blocks, rows, _ = factors.shape
    return factors.transpose(1, 0, 2).reshape(rows, 4 * blocks).copy()


def build_model(ratings: Ratings, data: Observations, draws: list[Draws], scale: Scale) -> FactorModel:
    """The mean of all draws as one plain model.

    `extra` holds, beside the posterior variances: `user_noise` (users,) and `item_noise` (items,), which
    multiply 1 / noise_precision to the variance of a rating; `noise_freedom` (2,), how alike these are; for
    new rows `user_prior_mean` (1 + factors,) and `user_prior_covariance` of a user's bias and factors, to
    which having rated n items adds the sum of their `rated_factors` (items, factors) / sqrt(n); the same for
    items, with `rater_factors` (users, factors); and what `times.time_shifts` needs.
    """
    spread = scale.spread
    count = sum(one.count for one in draws)
    shares = [np.float32(np.sqrt(one.count / count)) for one in draws]
    parts = [one.product.product() for one in draws]
    users, items = shorten(
        *(
            np.hstack([share * part[side] for share, part in zip(shares, parts, strict=True)])
            for side in (0, 1)
        ),
        draws[0].product.rank,
    )
    extra = _in_frame([sample for one in draws for sample in one.samples], users, items)
    root = float(np.sqrt(spread))
    users, items = users * np.float32(root), items * np.float32(root)
    for name in extra:
        extra[name] *= spread if name.endswith("variance") else root
    bias = {}
    for side in ("user", "item"):
        total, squares = sum(getattr(one, f"{side}_bias") for one in draws) / count
        bias[side] = spread * total
        extra[f"{side}_bias_variance"] = spread**2 * np.maximum(squares - total**2, 0)
        extra[f"{side}_noise"] = sum(getattr(one, f"{side}_noise") for one in draws) / count
    extra["noise_freedom"] = sum(one.freedom for one in draws) / count
    for level, spans in enumerate(data.spans):
        shift = spread * sum(one.shifts[level] for one in draws) / count
        bias["user"] += _center(shift, spans, data)
        extra[f"time_shift.{level}"] = shift
    extra |= _prior("user", bias["user"], users, extra, data.rated)
    extra |= _prior("item", bias["item"], items, extra, data.raters)
    # A variance is a square: of ratings beyond 1e19 it would not fit into float32.
    most = float(np.finfo(np.float32).max)
    arrays = {
        name: np.ascontiguousarray(np.clip(array, -most, most), np.float32) for name, array in extra.items()
    }
    if data.spans:
        arrays["time_lengths"] = np.array([spans.length for spans in data.spans])
    for level, spans in enumerate(data.spans):
        arrays[f"time_start.{level}"] = np.searchsorted(spans.user, np.arange(data.users + 1))
        arrays[f"time_part.{level}"] = spans.part
    model = plain_model(
        ratings,
        "gibbs",
        mean=float(scale.center + spread * sum(one.mean for one in draws) / count),
        user_bias=bias["user"].astype(np.float32),
        item_bias=bias["item"].astype(np.float32),
        # In one order in memory, as they are read back: else a product's last bits could differ.
        user_factors=np.ascontiguousarray(users),
        item_factors=np.ascontiguousarray(items),
        sigmoid_range=None,
        noise_precision=float(count / (spread**2 * sum(one.noise for one in draws))),
        extra=arrays,
        notes=ratings.notes,
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
    """Variances of factors over the samples, and the mean of the implicit ones, in the model's own frame.

    A sample is turned into the frame by what it predicts: a user's row of its predictions, P_u Q^T, has in
    the frame of `items` V the coordinates P_u (Q^T V) (V^T V)^-1, and V^T V is diagonal.
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


def _center(shift: NDArray[np.float64], spans: Spans, data: Observations) -> NDArray[np.float64]:
    """Each user's mean shift over their ratings, taken out of `shift`: it belongs to their bias."""
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
    """Mean and covariance of bias and own factors over the rows: what is known of a new one.

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
