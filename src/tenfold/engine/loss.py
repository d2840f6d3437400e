"""The loss of a micro-batch: every target's sum over the batch's denominator, times the target's weight."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold.engine.batches import Batch
from tenfold.nn.network import Network
from tenfold.recipe import Recipe


def batch_loss(
    network: Network,
    raw: tuple[Float[Tensor, "rows _"], ...],
    micro: Batch,
    task_weights: Mapping[str, float] | str,
    sums: dict[str, float | Float[Tensor, ""]],
) -> Float[Tensor, ""]:
    """The micro-batch's part of its batch's loss: sum over targets of task weight x sum of row losses
    / the batch's denominator. Adds the unweighted sums to `sums`, without waiting for the device. A target
    without labels adds 0.

    Learnt weights are c exp(-s) for a log variance s, and s / 2 is added to the batch's loss so that no
    weight vanishes (Kendall, Gal and Cipolla 2018, arXiv 1705.07115, equation 10); c is 1/2 for squared
    errors, else 1. Each micro-batch adds its rows' part of s / 2: these do not depend on the cut either.
    """
    total = raw[0].new_zeros(()).float()
    for index, (head, outputs) in enumerate(zip(network.heads, raw, strict=True)):
        denominator = micro.denominators[head.name]
        if denominator <= 0:
            continue
        weight: float | Float[Tensor, ""] = 1.0
        if network.log_variances is not None:
            spread = network.log_variances[index]
            weight = head.variance * torch.exp(-spread)
            total = total + spread * (0.5 * len(micro) / (micro.size or len(micro)))
        elif not isinstance(task_weights, str):
            weight = task_weights.get(head.name, 1.0)
        for labels in micro.targets[head.name]:
            loss = head.loss_sum(outputs, labels.labels, labels.weights)
            sums[head.name] = sums[head.name] + loss.detach().double()
            total = total + loss * (weight / denominator)
    return total


def task_weights_of(network: Network, recipe: Recipe) -> dict[str, float]:
    """Target -> what its loss is multiplied by now."""
    if network.log_variances is not None:
        spreads = network.log_variances.detach().double().exp().tolist()
        return {
            head.name: head.variance / spread for head, spread in zip(network.heads, spreads, strict=True)
        }
    given = {} if isinstance(recipe.task_weights, str) else recipe.task_weights
    return {head.name: given.get(head.name, 1.0) for head in network.heads}
