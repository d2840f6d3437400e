"""A linear layer on frozen features: its weights by L-BFGS, its weight decay by inner folds."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64, Num
from torch import Tensor

from tenfold.data.encode import Examples
from tenfold.engine.batches import Preparation
from tenfold.engine.device import one_thread
from tenfold.engine.features import kept_features
from tenfold.nn.heads import Head
from tenfold.nn.network import Network

#: Most rows that a linear layer is fitted to, and most products of a row's feature and an output: about a
#: minute of work. From a tenth of these on, inner folds are left out.
MOST_ROWS, MOST_PRODUCTS = 4_000, 2_000_000_000
#: Seconds of the whole path of weight decays, per product.
SECONDS_OF_PRODUCT = 3e-8
#: Weight decay without inner folds.
USUAL_STRENGTH = 0.1
#: Weight decays that are tried, strongest first: each fit starts from the one before.
STRENGTHS = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003)
FOLDS = 3


@dataclass(frozen=True)
class LinearLayer:
    """A last layer for raw features.

    weight: (outputs, features).  bias: (outputs,).  strengths: target -> chosen weight decay.
    """

    weight: Float64[Tensor, "outputs features"]
    bias: Float64[Tensor, " outputs"]
    strengths: Mapping[str, float]

    def raw(self, features: Float32[np.ndarray, "rows features"]) -> Float64[Tensor, "rows outputs"]:
        """Raw outputs of all heads."""
        return torch.from_numpy(features).double() @ self.weight.T + self.bias


def fit_head(
    network: Network,
    examples: Examples,
    train: Int64[np.ndarray, " train"],
    preparation: Preparation,
    *,
    seed: int,
    autocast: torch.dtype | None = None,
    workers: int = 2,
    cache: Path | None = None,
    on_rows: Callable[[int, int], None] | None = None,
) -> LinearLayer:
    """Set the last layer to the best linear one on the features of some training rows (see `MOST_ROWS`).

    Training that starts there never has to unlearn what an untrained head did to the body (Kumar et al.
    2022, arXiv 2202.10054). BatchNorm's statistics must be those that training will see.
    cache: folder that keeps the features, see `kept_features`.  on_rows: told of how many rows how many have
    passed the body.
    """
    rows, most = train, min(MOST_ROWS, max(1, MOST_PRODUCTS // network.last.weight.numel()))
    if len(train) > most:
        rows = np.sort(np.random.default_rng([seed, 4]).permutation(train)[:most])
    features = kept_features(
        cache,
        network,
        examples,
        rows,
        preparation,
        autocast=autocast,
        workers=workers,
        on_rows=None if on_rows is None else lambda done: on_rows(done, len(rows)),
    )
    labels = {name: values[rows] for name, values in examples.labels.items()}
    weights = {name: values[rows] for name, values in examples.weights.items()}
    with one_thread():
        layer = fit_linear(network.heads, features, labels, weights, seed=seed)
    with torch.no_grad():
        network.last.weight.copy_(layer.weight)
        network.last.bias.copy_(layer.bias)
    return layer


def head_seconds(rows: int, network: Network) -> float:
    """About how many seconds `fit_head` computes after it has the features of some rows."""
    products = min(rows, MOST_ROWS) * network.last.weight.numel()
    return SECONDS_OF_PRODUCT * products * (1.0 if products > MOST_PRODUCTS // 10 else 1.0 + 2.0 * FOLDS)


def fit_linear(
    heads: Sequence[Head],
    features: Float32[np.ndarray, "rows features"],
    labels: Mapping[str, Num[np.ndarray, " rows *questions"]],
    weights: Mapping[str, Float64[np.ndarray, " rows *asked"]],
    *,
    seed: int,
) -> LinearLayer:
    """Fit one linear layer per head to the labels of some rows, by each head's own loss without smoothing.

    labels, weights: target -> of the rows of `features`.  The weight decay (L2 on standardised features, per
    row; biases have none) is the one of `STRENGTHS` with the least loss on held-out inner folds; of very many
    classes `USUAL_STRENGTH`.
    """
    wide = torch.from_numpy(features).double()
    mean, spread = wide.mean(0), wide.std(0, correction=0)
    spread = torch.where(spread > 0, spread, 1.0)
    x = torch.cat([(wide - mean) / spread, torch.ones(len(wide), 1, dtype=torch.float64)], 1)
    fold = np.random.default_rng([seed, 3]).permutation(len(features)) % FOLDS
    blocks, chosen = [], {}
    for head in heads:
        plain = copy.copy(head)
        plain.label_smoothing = 0.0
        y, w = torch.from_numpy(labels[head.name]), torch.from_numpy(weights[head.name])
        best = _best_strength(plain, x, y, w, fold)
        chosen[head.name] = STRENGTHS[best]
        blocks.append(_path(plain, x, y, w, STRENGTHS[: best + 1])[-1])
    joined = torch.cat(blocks)
    weight = joined[:, :-1] / spread
    return LinearLayer(weight, joined[:, -1] - weight @ mean, chosen)


def _best_strength(
    head: Head,
    x: Float64[Tensor, "rows inputs"],
    labels: Num[Tensor, " rows *questions"],
    weights: Float64[Tensor, " rows *asked"],
    fold: Int64[np.ndarray, " rows"],
) -> int:
    """The index in `STRENGTHS` of the one with the least loss on the folds, each held out in turn."""
    if len(x) * x.shape[1] * head.outputs > MOST_PRODUCTS // 10:
        return STRENGTHS.index(USUAL_STRENGTH)
    losses = np.zeros(len(STRENGTHS))
    for held in range(FOLDS):
        train, valid = (torch.from_numpy(np.flatnonzero(rows)) for rows in (fold != held, fold == held))
        for index, w in enumerate(_path(head, x[train], labels[train], weights[train], STRENGTHS)):
            losses[index] += float(head.loss_sum(x[valid] @ w.T, labels[valid], weights[valid]))
    return int(np.argmin(losses))


def _path(
    head: Head,
    x: Float64[Tensor, "rows inputs"],
    labels: Num[Tensor, " rows *questions"],
    weights: Float64[Tensor, " rows *asked"],
    strengths: Sequence[float],
) -> list[Float64[Tensor, "outputs inputs"]]:
    """The weights for each strength, each started from the one before. The last input is the bias."""
    total = float(weights.sum())
    w = torch.zeros(head.outputs, x.shape[1], dtype=torch.float64, requires_grad=True)
    found = []
    for strength in strengths:
        optimizer = torch.optim.LBFGS(
            [w], max_iter=60, history_size=10, tolerance_grad=1e-5, line_search_fn="strong_wolfe"
        )

        def closure(strength: float = strength) -> Float64[Tensor, ""]:
            optimizer.zero_grad()  # noqa: B023
            loss = head.loss_sum(x @ w.T, labels, weights) / max(total, 1e-12)
            loss = loss + 0.5 * strength * w[:, :-1].square().sum()
            loss.backward()
            return loss

        optimizer.step(closure)
        found.append(w.detach().clone())
    return found
