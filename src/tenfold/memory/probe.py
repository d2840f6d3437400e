"""Steps taken on the real device before a training: their memory and their time."""

from __future__ import annotations

import time

import numpy as np
import torch
from jaxtyping import Int64

from tenfold.data.encode import Encoding, Examples
from tenfold.engine.batches import training_batches
from tenfold.engine.device import free_memory, process_peak, reset_peak
from tenfold.engine.ranks import ONE_RANK, Ranks
from tenfold.engine.shards import split_parameters
from tenfold.engine.train import begin_training, train_step
from tenfold.nn.network import Network, recompute
from tenfold.recipe import Recipe
from tenfold.values import MemoryPlan, Sharding


def measure_peak(
    network: Network,
    encoding: Encoding,
    examples: Examples,
    *,
    train: Int64[np.ndarray, " rows"],
    recipe: Recipe,
    plan: MemoryPlan,
    device: torch.device,
    precision: str,
    ranks: Ranks = ONE_RANK,
    shard: Sharding = Sharding.NOTHING,
) -> int:
    """Bytes that this process held at most while it took two steps of a full batch; of several that share
    the training, the one that held most.

    The second step is the first with the optimizer's state in place.
    """
    order = [np.resize(train, min(recipe.batch_size, len(train)))] * 2
    reset_peak(device)
    take_steps(
        network,
        encoding,
        examples,
        order,
        recipe=recipe,
        plan=plan,
        device=device,
        precision=precision,
        ranks=ranks,
        shard=shard,
    )
    return ranks.most(process_peak(device))[0]


def take_steps(
    network: Network,
    encoding: Encoding,
    examples: Examples,
    order: list[Int64[np.ndarray, " rows"]],
    *,
    recipe: Recipe,
    plan: MemoryPlan,
    device: torch.device,
    precision: str,
    ranks: Ranks = ONE_RANK,
    shard: Sharding = Sharding.NOTHING,
) -> list[float]:
    """Seconds of each optimizer step on some batches, with what it waits for its pictures.

    order: rows of each batch.  ranks, shard: as in `engine.train.fit_network`.
    The network's weights are put back, and nothing of the steps is kept.
    """
    kept = {name: value.detach().clone() for name, value in network.state_dict().items()}
    training = begin_training(
        network,
        encoding,
        recipe,
        device=device,
        precision=precision,
        micro_batch=plan.micro_batch,
        ranks=ranks,
        shards=split_parameters(network, ranks, shard),
        offload=plan.offload,
    )
    again = plan.checkpoint and not training.shards.apart
    if again:
        recompute(network, blocks=plan.blocks)
    network.train()
    batches = training_batches(
        examples,
        order,
        recipe,
        training.preparation,
        epoch=0,
        first_step=0,
        workers=plan.workers,
        group=training.group,
        ranks=ranks,
    )
    seconds, started = [], time.monotonic()
    for step, batch in enumerate(batches):
        train_step(training, batch, step)  # its losses are numbers: a GPU has finished it
        seconds.append(time.monotonic() - started)
        started = time.monotonic()
    network.zero_grad(set_to_none=True)
    training.shards.leave()
    network.load_state_dict(kept)
    for parameter in network.parameters():
        parameter.requires_grad_(True)
    if again:
        recompute(network, False)
    del training
    free_memory()
    return seconds
