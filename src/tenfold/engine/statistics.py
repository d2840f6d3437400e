"""BatchNorm statistics estimated from training rows, for the very weights that will be used."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Int64

from tenfold.data.encode import Examples
from tenfold.engine.batches import Preparation, read_ahead
from tenfold.engine.predict import evaluation_mode, plain_inputs
from tenfold.engine.step import Training
from tenfold.nn.exact import GroupedBatchNorm, group_sizes, move_statistics
from tenfold.nn.network import Network

#: Most training rows that statistics are estimated from.
STATISTICS_ROWS = 512


def statistics_rows(
    train: Int64[np.ndarray, " train"], *, most: int, seed: int
) -> Int64[np.ndarray, " rows"]:
    """The training rows that statistics are estimated from: at most `most`, drawn once by the seed."""
    return np.random.default_rng([seed, 2]).permutation(train)[:most]


def estimated_norms(network: Network, *, head_only: bool) -> list[GroupedBatchNorm]:
    """BatchNorm layers whose statistics follow the training: none that is frozen or in a frozen backbone."""
    kept: set[int] = set()
    if head_only:
        kept = {id(module) for encoder in network.backbones.values() for module in encoder.modules()}
    norms = (norm for norm in network.context.norms if not norm.frozen and id(norm) not in kept)
    return [norm for norm in norms if norm.track_running_stats]


def estimate_statistics(
    network: Network,
    norms: list[GroupedBatchNorm],
    examples: Examples,
    rows: Int64[np.ndarray, " rows"],
    preparation: Preparation,
    *,
    group: int,
    autocast: torch.dtype | None = None,
    workers: int = 2,
) -> None:
    """Replace the running statistics of `norms` by those of `rows`, unaugmented, without dropout.

    Running averages lag behind the weights: they move once per step, by a tenth of the way, so that after
    nine steps 39 % of what stood there before is left. Here every group of rows is normalised by its own
    mean and variance, as in training, and the pooled mean and variance over all groups are kept (the
    "precise" statistics of Wu and Johnson 2021, arXiv 2105.07576, section 3).

    group: rows of a BatchNorm group. One group passes at a time, whatever the micro-batch is: the
    statistics do not depend on the memory plan, to the last bit.
    """
    if not norms or not len(rows):
        return
    groups = np.split(rows, np.cumsum(group_sizes(len(rows), group))[:-1])
    pictures = read_ahead(
        groups,
        lambda index: [reader.read(index) for reader in examples.images],
        workers if examples.images else 0,
    )
    context = network.context
    with evaluation_mode(network, preparation, autocast):
        for norm in norms:
            norm.train()
        for index, stored in zip(groups, pictures, strict=True):
            inputs = plain_inputs(examples, index, stored, preparation)
            context.begin(0, torch.from_numpy(index).to(preparation.device), (len(index),))
            network.features(inputs)
            context.end_forward()
        move_statistics(norms, 1.0)


def estimate_for(
    training: Training, examples: Examples, train: Int64[np.ndarray, " train"], *, most: int, workers: int = 2
) -> bool:
    """Estimate the statistics of a training for the weights that its network holds now, from at most `most`
    of its rows. False where there are none: BatchNorm is frozen, or running averages are kept (most = 0).
    """
    norms = estimated_norms(training.network, head_only=training.head_only) if most else []
    if not norms or training.group is None:
        return False
    with training.shards.reachable():
        if training.ranks.first:
            estimate_statistics(
                training.network,
                norms,
                examples,
                statistics_rows(train, most=most, seed=training.recipe.seed),
                training.preparation,
                group=training.group,
                autocast=training.autocast,
                workers=workers,
            )
    training.ranks.copy_first(buffer for norm in norms for buffer in norm.buffers())
    if training.averaged is not None:
        training.averaged.take_buffers(training.network)
    return True
