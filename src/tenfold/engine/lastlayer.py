"""The last layer by itself: its weights, and its losses of features, for a workbook that shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32, Float64, Num

from tenfold.nn.network import Network


@dataclass(frozen=True)
class LastLayer:
    """weight (outputs, width), bias (outputs,): of all targets, in their order.

    learnt: target -> log variance where the targets' weights are learnt.
    familiar: open target -> (rows,) what its probabilities are multiplied by.
    losses: target -> (rows,) the heads' own loss of each row, the weighted mean over its known questions, in
    double precision.
    """

    weight: Float64[np.ndarray, "outputs width"]
    bias: Float64[np.ndarray, " outputs"]
    learnt: Mapping[str, float]
    familiar: Mapping[str, Float64[np.ndarray, " rows"]]
    losses: Mapping[str, Float64[np.ndarray, " rows"]]


@torch.no_grad()
def read_last_layer(
    network: Network,
    features: Float32[np.ndarray, "rows width"],
    labels: Mapping[str, tuple[Num[np.ndarray, " rows *_"], Float64[np.ndarray, " rows *_"]]],
) -> LastLayer:
    """Return the network's last layer, and its losses of features (rows, width).

    labels: target -> labels and weights, as `targets.labels` describes them.
    """
    training = network.training
    network.eval()
    last = network.last
    try:
        seen = torch.from_numpy(features).to(last.weight.device, last.weight.dtype)
        # In double precision: a loss of many squared deviations would show single precision's last digits.
        raw = F.linear(seen.double(), last.weight.double(), last.bias.double()).cpu()
        outputs = raw.split([head.outputs for head in network.heads], dim=1)
        losses, familiar = {}, {}
        for index, (head, raw) in enumerate(zip(network.heads, outputs, strict=True)):
            own, weights = labels[head.name]
            row_losses = np.zeros(len(features))
            for row in range(len(features)):
                alone = slice(row, row + 1)
                parts = (torch.from_numpy(np.ascontiguousarray(some[alone])) for some in (own, weights))
                total = float(head.loss_sum(raw[alone], *parts))
                row_losses[row] = total / (float(weights[alone].sum()) or 1.0)
            losses[head.name] = row_losses
            if str(index) in network.familiar:
                familiar[head.name] = network.familiar[str(index)](seen)[:, 0].cpu().numpy()
        spreads = network.log_variances
        logs = [] if spreads is None else spreads.double().cpu().tolist()
        return LastLayer(
            weight=last.weight.double().cpu().numpy(),
            bias=last.bias.double().cpu().numpy(),
            learnt=dict(zip((head.name for head in network.heads), logs, strict=False)),
            familiar=familiar,
            losses=losses,
        )
    finally:
        network.train(training)
