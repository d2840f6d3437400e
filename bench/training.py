"""Time of a training epoch: tenfold against a bare PyTorch loop over tensors in memory, and against fastai.

    python bench/training.py [--rows 256] [--rounds 5] [--fastai PYTHON]

Each contestant is timed in a process of its own, in turn, round after round; medians and ratios are
printed. The bare loop runs twice: as PyTorch is by default, and with the C library keeping freed blocks, as
tenfold sets it (see `engine.device.keep_freed_memory`). The second is the fair measure of tenfold's own
overhead. Validation is left out everywhere. fastai is run by another interpreter that has it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CASES = {"tf_efficientnet_lite0": (224, 32), "test_convnext": (160, 32)}
CONTESTANTS = ("tenfold", "bare", "bare, memory kept")


def pictures(rows: int, size: int):
    import numpy as np

    rng = np.random.default_rng(0)
    return rng.integers(0, 255, (rows, size, size, 3), dtype=np.uint8), rng.integers(0, 5, rows)


def time_bare(arch: str, rows: int, *, keep: bool) -> list[float]:
    """Seconds of each of three epochs of the plainest loop: float tensors in memory, mirrored, AdamW."""
    import timm
    import torch

    from tenfold.engine.device import keep_freed_memory

    if keep:
        keep_freed_memory()
    size, batch = CASES[arch]
    pixels, labels = pictures(rows, size)
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div_(255).sub_(0.5).div_(0.5)
    x = x.contiguous(memory_format=torch.channels_last)
    y = torch.from_numpy(labels)
    model = timm.create_model(arch, num_classes=5, drop_path_rate=0.1)
    model = model.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    loss_of = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        order = torch.randperm(rows)
        for start in range(0, rows, batch):
            index = order[start : start + batch]
            images = x[index]
            mirrored = torch.rand(len(index)) < 0.5
            images[mirrored] = images[mirrored].flip(3)
            images = images.contiguous(memory_format=torch.channels_last)
            optimizer.zero_grad()
            loss = loss_of(model(images), y[index])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            loss.item()
        seconds.append(time.perf_counter() - started)
    return seconds


def time_tenfold(arch: str, rows: int) -> list[float]:
    """Seconds of each of three epochs of `fit_network`, its pictures in the resized-image cache."""
    import numpy as np

    import tenfold
    from tenfold.data.images import encode_png
    from tenfold.schema import CategoryTarget, ImageColumn

    size, batch = CASES[arch]
    pixels, labels = pictures(rows, size)
    marks: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for row, image in enumerate(pixels):
            (Path(folder) / f"{row}.png").write_bytes(encode_png(image))
        table = {"id": [f"{row}.png" for row in range(rows)], "label": [f"c{label}" for label in labels]}
        schema = tenfold.Schema(
            inputs=[ImageColumn(name="id", folder=folder)], targets=[CategoryTarget(name="label")]
        )
        recipe = tenfold.Recipe(
            arch=arch, weights="none", image_size=size, batch_size=batch, epochs=3, frozen_epochs=0,
            augment="off", dropout=0.0, drop_path=0.1, valid=0.0, ema=0.0, batchnorm_group=batch,
        )  # fmt: skip
        started = [0.0]

        def note(event: dict) -> None:
            if event["event"] == "epoch":
                marks.append(event["seconds"])

        tenfold.fit(schema, recipe, table, run=Path(folder) / "run", on_progress=note)
        del started
    assert np.all(np.diff([0.0, *marks]) > 0)
    return np.diff([0.0, *marks]).tolist()


FASTAI = """
import sys, json, time, numpy as np, torch, timm
from fastai.vision.all import *
arch, folder = sys.argv[1], sys.argv[5]
size, batch, rows = map(int, sys.argv[2:5])
import fastai
rng = np.random.default_rng(0)
files = [Path(folder) / f"{row}.png" for row in range(rows)]
labels = {f.name: f"c{k}" for f, k in zip(files, rng.integers(0, 5, rows))}
block = DataBlock((ImageBlock, CategoryBlock), get_y=lambda f: labels[f.name],
                  splitter=IndexSplitter([0]), batch_tfms=[Flip()])
dls = block.dataloaders(files, bs=batch, num_workers=2)
model = timm.create_model(arch, num_classes=5, drop_path_rate=0.1)
class Clock(Callback):
    def before_train(self): self.t = time.perf_counter()
    def after_train(self): marks.append(time.perf_counter() - self.t)
marks = []
learn = Learner(dls, model, loss_func=CrossEntropyLossFlat(label_smoothing=0.1), opt_func=Adam, cbs=[Clock()])
with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(3, 1e-3)
print(json.dumps({"seconds": marks, "version": fastai.__version__}))
"""


def time_fastai(python: str, arch: str, rows: int) -> tuple[list[float], str]:
    from tenfold.data.images import encode_png

    size, batch = CASES[arch]
    with tempfile.TemporaryDirectory() as folder:
        for row, image in enumerate(pictures(rows, size)[0]):
            (Path(folder) / f"{row}.png").write_bytes(encode_png(image))
        words = [python, "-W", "ignore", "-c", FASTAI, arch, str(size), str(batch), str(rows), folder]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    return found["seconds"], found["version"]


def run_child(contestant: str, arch: str, rows: int) -> list[float]:
    words = [sys.executable, __file__, "--child", contestant, "--arch", arch, "--rows", str(rows)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--fastai", default="")
    parser.add_argument("--arch", default="")
    parser.add_argument("--child", default="")
    given = parser.parse_args()
    if given.child:
        if given.child == "tenfold":
            print(json.dumps(time_tenfold(given.arch, given.rows)))
        else:
            print(json.dumps(time_bare(given.arch, given.rows, keep="kept" in given.child)))
        return
    import timm
    import torch

    print(f"torch {torch.__version__}, timm {timm.__version__}, {torch.get_num_threads()} threads")
    for arch in [given.arch] if given.arch else CASES:
        best: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
        version = ""
        for _ in range(given.rounds):
            for name in CONTESTANTS:
                # The first epoch warms caches and compiles kernels; the later two count.
                best[name].append(min(run_child(name, arch, given.rows)[1:]))
            if given.fastai:
                seconds, version = time_fastai(given.fastai, arch, given.rows)
                best.setdefault(f"fastai {version}", []).append(min(seconds[1:]))
        size, batch = CASES[arch]
        print(f"\n{arch}, {size} px, batch {batch}, {given.rows} rows: seconds to an epoch")
        own = statistics.median(best["tenfold"])
        for name, seconds in best.items():
            middle = statistics.median(seconds)
            print(f"  {name:<20} {middle:7.2f}   tenfold takes {own / middle:.3f} of it")


if __name__ == "__main__":
    main()
