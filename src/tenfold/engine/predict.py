"""Probabilities of rows, which do not depend on the other rows of a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64, Num, UInt8
from torch import Tensor

from tenfold.data.encode import Examples
from tenfold.engine.batches import Preparation, column_inputs, read_ahead
from tenfold.nn.augment import PLAIN, Views, each_view, row_keys
from tenfold.nn.network import Network, input_name

#: Rows that pass through the network together at prediction.
ROWS_AT_ONCE = {"cpu": 16, "cuda": 64}
#: The same where there are no pictures.
CELLS_AT_ONCE = 1024


def _at_once(examples: Examples, device: torch.device) -> int:
    return ROWS_AT_ONCE.get(device.type, 16) if examples.images else CELLS_AT_ONCE


#: Half-precision types of the forward pass, by the recipe's word.
HALF = {"float16": torch.float16, "bfloat16": torch.bfloat16}


def prediction_autocast(precision: str, device: torch.device) -> torch.dtype | None:
    """Half-precision type of a run's predictions, the one rule for all of them: only a GPU gains by it."""
    return HALF.get(precision) if device.type == "cuda" else None


Answers = dict[str, Float64[np.ndarray, "rows _"]]


def predict_views(
    network: Network,
    examples: Examples,
    rows: Int64[np.ndarray, " rows"],
    preparation: Preparation,
    *,
    views: Views = PLAIN,
    autocast: torch.dtype | None = None,
    workers: int = 2,
    at_once: int | None = None,
    on_rows: Callable[[int], None] | None = None,
) -> tuple[Answers, Answers]:
    """The answers of all views together, and those of the plain view alone: target -> (rows, answers) float64
    probabilities (of a number: the number), in the order of `rows`.

    views: the weighted mean of their *probabilities* is taken.  at_once: rows to a batch.
    on_rows: told how many rows are done.
    The last batch is filled up with repeated rows, so that a row meets the same arithmetic at any index.
    """
    answers: list[dict[str, list[Float64[np.ndarray, "_ _"]]]] = [
        {head.name: [] for head in network.heads} for _ in "ab"
    ]
    done = 0
    with evaluation_mode(network, preparation, autocast):
        for count, full, stored in _full_batches(examples, rows, preparation, workers, at_once):
            both = batch_answers(network, preparation, examples, full, views, stored)
            for kept, parts in zip(answers, both, strict=True):
                for head, part in zip(network.heads, parts, strict=True):
                    kept[head.name].append(part.cpu().numpy()[:count])
            done += count
            if on_rows is not None:
                on_rows(done)
    return _joined(network, answers[0]), _joined(network, answers[1])


@contextmanager
def evaluation_mode(
    network: Network, preparation: Preparation, autocast: torch.dtype | None
) -> Iterator[None]:
    """The network in evaluation, without gradients; afterwards as it was."""
    training = network.training
    # Setting hundreds of layers takes as long as some networks take for a picture.
    if any(layer.training for layer in network.modules()):
        network.eval()
    try:
        with (
            torch.no_grad(),
            torch.autocast(preparation.device.type, autocast or torch.bfloat16, enabled=autocast is not None),
        ):
            yield
    finally:
        if training:
            network.train()


def _full_batches(
    examples: Examples,
    rows: Int64[np.ndarray, " rows"],
    preparation: Preparation,
    workers: int,
    at_once: int | None = None,
) -> Iterator[tuple[int, Int64[np.ndarray, " full"], list[UInt8[np.ndarray, "full height width 3"]]]]:
    """How many rows are meant, the rows of a full batch, and their pictures as they are stored."""
    size = at_once or _at_once(examples, preparation.device)
    reads = [rows[start : start + size] for start in range(0, len(rows), size)]

    def read(index: Int64[np.ndarray, " _"]) -> list[UInt8[np.ndarray, "rows height width 3"]]:
        full = np.resize(index, size)
        return [reader.read(full) for reader in examples.images]

    # Without pictures there is nothing to wait for.
    stored = read_ahead(reads, read, workers if examples.images else 0)
    for index, pictures in zip(reads, stored, strict=True):
        yield len(index), np.resize(index, size), pictures


def batch_answers(
    network: Network,
    preparation: Preparation,
    examples: Examples,
    rows: Int64[np.ndarray, " rows"],
    views: Views,
    stored: list[UInt8[np.ndarray, "rows height width 3"]] | None = None,
) -> tuple[list[Float64[Tensor, "rows _"]], list[Float64[Tensor, "rows _"]]]:
    """Per head, the weighted mean over the views, and the plain view's answer.

    stored: the rows' pictures, where they have been read already.
    """
    cells = column_inputs(examples, rows, preparation)
    stored = [reader.read(rows) for reader in examples.images] if stored is None else stored
    names = examples.ids[rows]
    keys = row_keys(names) if views.drawn else torch.zeros(len(names), dtype=torch.int64)
    columns = []
    for column, pixels in enumerate(stored):
        plain = preparation.pixels(pixels)
        wide = preparation.pixels(pixels, min_scale=views.min_scale) if views.drawn else plain
        columns.append(each_view(plain, wide, keys, views, column=column))
    sums: list[Float64[Tensor, "rows _"]] = []
    first: list[Float64[Tensor, "rows _"]] = []
    # Without a picture all views are the plain one.
    every = zip(*columns, strict=True) if columns else [()] * len(views.weights)
    for weight, seen in zip(views.weights, every, strict=True):
        pictures = {input_name(column): preparation.normalised(images) for column, images in enumerate(seen)}
        inputs = {**cells, **pictures}
        parts = network.answers(inputs)
        # Equal weights divide once, at the end, so that one plain view is itself to the last bit.
        weighed = [part * weight for part in parts] if views.drawn else parts
        sums = [a + b for a, b in zip(sums, weighed, strict=True)] if sums else weighed
        first = first or parts
    return (sums if views.drawn else [total / views.mirrored for total in sums]), first


def plain_inputs(
    examples: Examples,
    rows: Int64[np.ndarray, " rows"],
    stored: list[UInt8[np.ndarray, "rows height width 3"]],
    preparation: Preparation,
) -> dict[str, Num[Tensor, " rows *_"]]:
    """Inputs of the network for some rows, as they are: cells, and the plain view of the stored pictures."""
    inputs = column_inputs(examples, rows, preparation)
    for column, pixels in enumerate(stored):
        inputs[input_name(column)] = preparation.normalised(preparation.pixels(pixels))
    return inputs


def predict_features(
    network: Network,
    examples: Examples,
    rows: Int64[np.ndarray, " rows"],
    preparation: Preparation,
    *,
    autocast: torch.dtype | None = None,
    workers: int = 2,
    at_once: int | None = None,
    on_rows: Callable[[int], None] | None = None,
) -> Float32[np.ndarray, "rows {network.last.in_features}"]:
    """What the last layer sees of the plain view, in the order of `rows`.

    at_once: rows to a batch.  on_rows: told how many are done.
    """
    done = 0
    features = [np.zeros((0, network.last.in_features), dtype=np.float32)]

    with evaluation_mode(network, preparation, autocast):
        for count, full, stored in _full_batches(examples, rows, preparation, workers, at_once):
            inputs = plain_inputs(examples, full, stored, preparation)
            features.append(network.features(inputs).float().cpu().numpy()[:count])
            done += count
            if on_rows is not None:
                on_rows(done)
    return np.concatenate(features)


def _joined(network: Network, parts: Mapping[str, list[Float64[np.ndarray, "_ _"]]]) -> Answers:
    # Calibrated after the views are averaged, so that what is calibrated is what is answered.
    return {
        head.name: head.calibrated(
            np.concatenate(parts[head.name]) if parts[head.name] else np.zeros((0, head.answers))
        )
        for head in network.heads
    }
