"""What `--shard` and `--shard-weights` cost in time: steps of two processes without and with them, in turn.

    python bench/shard.py [--rounds 8]

On this CPU, over gloo: the sums, copies and updates of a step are seen, a network between machines is not.
"""

from __future__ import annotations

import argparse
import os
import socket
import time
from dataclasses import dataclass

import numpy as np
import torch
import torch.multiprocessing as mp
from numpy.typing import NDArray

from tenfold.data.encode import Encoding, Examples
from tenfold.engine.batches import Batch, training_batches
from tenfold.engine.ranks import Ranks, joined_ranks
from tenfold.engine.shards import split_parameters
from tenfold.engine.step import Training, begin_training, train_step
from tenfold.nn.network import build_network
from tenfold.recipe import Recipe
from tenfold.schema import CategoryTarget, ImageColumn, Schema
from tenfold.values import Sharding

#: Architectures, at 64 pixels, and rows of a batch of both processes together.
NETWORKS, ROWS = ("convnext_atto", "resnet18", "vit_small_patch16_224"), 32


@dataclass(frozen=True)
class Noise:
    """Pictures in memory."""

    pixels: NDArray[np.uint8]

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        return self.pixels[rows]


def begin(arch: str, ranks: Ranks, shard: Sharding) -> tuple[Training, Batch]:
    """A training of drawn noise, and its batch."""
    rng = np.random.default_rng(0)
    recipe = Recipe(arch=arch, weights="none", image_size=(64, 64), batch_size=ROWS, ema=0.99)
    encoding = Encoding(classes={"target": ("a", "b")}, image_size=recipe.image_size)
    schema = Schema(inputs=(ImageColumn(name="image", folder="."),), targets=(CategoryTarget(name="target"),))
    network, _ = build_network(encoding, schema, recipe, fetch=False)
    training = begin_training(
        network,
        encoding,
        recipe,
        device=torch.device("cpu"),
        precision="float32",
        micro_batch=ROWS,
        ranks=ranks,
        shards=split_parameters(network, ranks, shard),
    )
    network.train()
    examples = Examples(
        ids=np.arange(ROWS).astype(object),
        images=(Noise(rng.integers(0, 256, (ROWS, 64, 64, 3), dtype=np.uint8)),),
        labels={"target": rng.integers(0, 2, ROWS)},
        weights={"target": np.ones(ROWS)},
    )
    order = [np.arange(ROWS)]
    kept = {"epoch": 0, "first_step": 0, "workers": 0, "group": training.group, "ranks": ranks}
    return training, next(training_batches(examples, order, recipe, training.preparation, **kept))


def play(rank: int, port: int, rounds: int) -> None:
    told = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": 2,
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": port,
    }
    os.environ.update({name: str(value) for name, value in told.items()})
    torch.set_num_threads(1)
    with joined_ranks(torch.device("cpu")) as ranks:
        for arch in NETWORKS:
            ways = [begin(arch, ranks, shard) for shard in Sharding]
            seconds: list[list[float]] = [[] for _ in ways]
            for step in range(rounds + 1):
                for (training, batch), taken in zip(ways, seconds, strict=True):
                    ranks.wait()
                    started = time.perf_counter()
                    train_step(training, batch, step)
                    taken.append(time.perf_counter() - started)
            # The first step makes the optimizer's state.
            whole, part, weights = (min(taken[1:]) for taken in seconds)
            told = f"{arch:<24} {whole:.3f} s, with --shard {part:.3f} s: {part / whole:.2f}"
            told += f", with --shard-weights {weights:.3f} s: {weights / whole:.2f}"
            if ranks.first:
                print(told, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        where = probe.getsockname()[1]
    mp.start_processes(play, (where, parser.parse_args().rounds), nprocs=2, start_method="fork")
