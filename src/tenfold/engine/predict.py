"""Probabilities of rows, the same whatever stands beside them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from tenfold.data.encode import Examples
from tenfold.engine.batches import Preparation, read_ahead
from tenfold.nn.augment import views
from tenfold.nn.network import Network, input_name

#: Rows that pass through the network together at prediction.
ROWS_AT_ONCE = {"cpu": 16, "cuda": 64}


def predict_network(
    network: Network,
    examples: Examples,
    rows: NDArray[np.int64],
    preparation: Preparation,
    *,
    view_count: int = 1,
    autocast: torch.dtype | None = None,
    workers: int = 2,
    on_rows: Callable[[int], None] | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Target -> (rows, outputs) float64 probabilities, in the order of `rows`.

    view_count: mirrored views whose *probabilities* are averaged, each with the same weight; one view
    is the plain picture.  on_rows: told how many rows are done.
    The last batch is filled up with repeated rows, so that a row meets the same arithmetic wherever it
    stands in the table.
    """
    size = ROWS_AT_ONCE.get(preparation.device.type, 16)
    reads = [rows[start : start + size] for start in range(0, len(rows), size)]
    found: dict[str, list[NDArray[np.float64]]] = {head.name: [] for head in network.heads}
    training = network.training
    network.eval()
    done = 0

    def read(index: NDArray[np.int64]) -> list[NDArray[np.uint8]]:
        full = np.resize(index, size)
        return [reader.read(full) for reader in examples.images]

    try:
        with (
            torch.no_grad(),
            torch.autocast(preparation.device.type, autocast or torch.bfloat16, enabled=autocast is not None),
        ):
            for index, stored in zip(reads, read_ahead(reads, read, workers), strict=True):
                columns = [views(preparation.pixels(pixels), view_count) for pixels in stored]
                sums: list[torch.Tensor] = []
                for seen in zip(*columns, strict=True):
                    inputs = {
                        input_name(column): preparation.normalised(images)
                        for column, images in enumerate(seen)
                    }
                    raw = network(inputs)
                    parts = [head.probabilities(part) for head, part in zip(network.heads, raw, strict=True)]
                    sums = [a + b for a, b in zip(sums, parts, strict=True)] if sums else parts
                for head, total in zip(network.heads, sums, strict=True):
                    found[head.name].append((total / view_count).cpu().numpy()[: len(index)])
                done += len(index)
                if on_rows is not None:
                    on_rows(done)
    finally:
        network.train(training)
    return {
        head.name: np.concatenate(found[head.name]) if found[head.name] else np.zeros((0, head.outputs))
        for head in network.heads
    }
