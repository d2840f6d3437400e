"""What exact accumulation costs: one optimizer step in k micro-batches, against k bare passes of that size.

    python bench/accumulation.py [--rounds 7]

The bare loop is the least that PyTorch needs: the same network of timm, k times forward, cross-entropy and
backward, then clipping and AdamW. tenfold's step does the same in its exact form: sums divided by the batch's
denominators, BatchNorm statistics pooled over the whole batch, stochastic depth drawn per row. Both run in
turn in one process, with the same threads and with freed memory kept; medians and ratios are printed.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import timm
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from tenfold.data.encode import Encoding, Examples
from tenfold.engine.batches import Batch, training_batches
from tenfold.engine.device import keep_freed_memory
from tenfold.engine.step import Training, begin_training, train_step
from tenfold.nn.network import build_network
from tenfold.recipe import Recipe
from tenfold.schema import CategoryTarget, ImageColumn, Schema

#: Architecture, side in pixels, rows of the batch, rows at once.
CASES = (
    ("tf_efficientnet_lite0", 128, 64, 16),
    ("resnet18", 128, 64, 16),
    ("convnext_atto", 128, 64, 16),
    ("vit_tiny_patch16_224", 224, 32, 8),
)
CLASSES = ("a", "b", "c", "d", "e")


class Pictures:
    """Pictures in memory."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self.pixels = pixels

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        return self.pixels[rows]


def exact_step(arch: str, side: int, rows: int, micro: int) -> tuple[Training, Batch]:
    recipe = Recipe(
        arch=arch, weights="none", image_size=side, batch_size=rows, batchnorm_group=micro, augment="off",
        flip="none", dropout=0.0, drop_path=0.1, ema=0.0,
    )  # fmt: skip
    schema = Schema(inputs=(ImageColumn(name="x", folder="x"),), targets=(CategoryTarget(name="y"),))
    encoding = Encoding(classes={"y": CLASSES}, image_size=(side, side))
    network, _ = build_network(encoding, schema, recipe, fetch=False)
    training = begin_training(
        network, encoding, recipe, device=torch.device("cpu"), precision="float32", micro_batch=micro
    )
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (rows, side, side, 3), dtype=np.uint8)
    ids = np.array([str(row) for row in range(rows)], dtype=object)
    examples = Examples(ids, (Pictures(pixels),), {"y": np.arange(rows) % 5}, {"y": np.ones(rows)})
    batches = training_batches(
        examples, [np.arange(rows)], recipe, training.preparation, epoch=0, first_step=0, workers=0,
        group=training.group,
    )  # fmt: skip
    network.train()
    return training, next(iter(batches))


def time_case(arch: str, side: int, rows: int, micro: int, rounds: int) -> None:
    training, batch = exact_step(arch, side, rows, micro)
    images = next(iter(batch.inputs.values()))
    labels = torch.arange(rows) % 5
    bare = timm.create_model(arch, num_classes=5, drop_path_rate=0.1).train()
    if images.is_contiguous(memory_format=torch.channels_last):
        bare = bare.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(bare.parameters(), lr=1e-3)
    seconds: dict[str, list[float]] = {"tenfold": [], "bare": []}
    for number in range(rounds + 1):
        started = time.perf_counter()
        train_step(training, batch, number)
        middle = time.perf_counter()
        optimizer.zero_grad()
        for start in range(0, rows, micro):
            part = slice(start, start + micro)
            loss = F.cross_entropy(bare(images[part]), labels[part], label_smoothing=0.1) * (micro / rows)
            loss.backward()
        torch.nn.utils.clip_grad_norm_(bare.parameters(), 1.0)
        optimizer.step()
        if number:  # the first round warms up
            seconds["tenfold"].append(middle - started)
            seconds["bare"].append(time.perf_counter() - middle)
    ratios = [a / b for a, b in zip(seconds["tenfold"], seconds["bare"], strict=True)]
    medians = {name: statistics.median(found) for name, found in seconds.items()}
    spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
    print(
        f"{arch:<24}{side:>5} px {rows // micro} x {micro:<3} tenfold {medians['tenfold']:6.3f} s   "
        f"bare {medians['bare']:6.3f} s   median ratio {statistics.median(ratios):.3f} ({spread})",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    keep_freed_memory()
    print(f"torch {torch.__version__}, timm {timm.__version__}, {torch.get_num_threads()} threads")
    for case in CASES:
        time_case(*case, given.rounds)


if __name__ == "__main__":
    main()
