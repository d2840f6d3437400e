"""Time of a training epoch: tenfold against a bare PyTorch loop over tensors in memory, and against fastai.

    python bench/training.py [--rows 256] [--rounds 5] [--photos FOLDER] [--fastai PYTHON]

Each contestant is timed in a process of its own, in turn, round after round; medians and ratios are
printed. The bare loop runs twice: as PyTorch is by default, and with the C library keeping freed blocks, as
tenfold sets it (see `engine.device.keep_freed_memory`). The second is the fair measure of tenfold's own
overhead. Validation is left out everywhere. fastai is run by another interpreter that has it.

The cold figure is from nothing to the end of the first epoch: finding and decoding the photos (tenfold's
cache is empty), building the network, and one epoch.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CASES = {"tf_efficientnet_lite0": (224, 32), "test_convnext": (160, 32)}
CONTESTANTS = ("tenfold", "bare", "bare, memory kept")
PHOTOS = Path(os.environ.get("TENFOLD_DATA", "../shared/data")) / "coffee-leaf" / "images"


def names(photos: str, rows: int) -> list[str]:
    found = sorted(entry.name for entry in Path(photos).iterdir())[:rows]
    return (found * (rows // len(found) + 1))[:rows]


def time_bare(arch: str, photos: str, rows: int, *, keep: bool) -> list[float]:
    """Seconds of each of three epochs of the plainest loop: float tensors in memory, mirrored, AdamW."""
    import numpy as np
    import timm
    import torch

    from tenfold.data.images.decode import decode_image
    from tenfold.engine.device import keep_freed_memory

    if keep:
        keep_freed_memory()
    size, batch = CASES[arch]
    pixels = [decode_image(Path(photos) / name, (size, size), "squish") for name in names(photos, rows)]
    x = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float().div_(255).sub_(0.5).div_(0.5)
    x = x.contiguous(memory_format=torch.channels_last)
    y = torch.arange(rows) % 5
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


def time_tenfold(arch: str, photos: str, rows: int) -> list[float]:
    """Seconds of each of three epochs of `tenfold.fit`, and before them the cold time."""
    began = time.perf_counter()
    import tenfold
    from tenfold.events import EpochEnded, Event
    from tenfold.schema import CategoryTarget, ImageColumn

    size, batch = CASES[arch]
    marks: list[float] = []
    cold: list[float] = []

    def note(event: Event) -> None:
        if isinstance(event, EpochEnded):
            marks.append(event.seconds)
            cold.append(time.perf_counter() - began)

    table = {"id": names(photos, rows), "label": [f"c{row % 5}" for row in range(rows)]}
    schema = tenfold.Schema(
        inputs=[ImageColumn(name="id", folder=photos)], targets=[CategoryTarget(name="label")]
    )
    recipe = tenfold.Recipe(
        arch=arch, weights="none", image_size=size, batch_size=batch, epochs=3, frozen_epochs=0,
        augment="off", dropout=0.0, drop_path=0.1, valid=0.0, ema=0.0, batchnorm_group=batch,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TENFOLD_CACHE"] = f"{folder}/cache"
        tenfold.fit(schema, recipe, table, run=f"{folder}/run", on_progress=note)
    return [cold[0], *(after - before for before, after in zip(marks, marks[1:], strict=False))]


FASTAI = """
import sys, json, time
began = time.perf_counter()
import timm, fastai
from fastai.vision.all import *
arch, photos = sys.argv[1], sys.argv[5]
size, batch, rows = map(int, sys.argv[2:5])
table = pd.DataFrame({"id": json.loads(sys.argv[6]), "label": [f"c{row % 5}" for row in range(rows)]})
block = DataBlock((ImageBlock, CategoryBlock),
                  get_x=ColReader("id", pref=photos + "/"), get_y=ColReader("label"),
                  splitter=IndexSplitter([0]), item_tfms=Resize(size, "squish"), batch_tfms=[Flip()])
dls = block.dataloaders(table, bs=batch, num_workers=2)
model = timm.create_model(arch, num_classes=5, drop_path_rate=0.1)
marks = []
class Clock(Callback):
    def before_train(self): self.t = time.perf_counter()
    def after_train(self):
        now = time.perf_counter()
        marks.append(now - (self.t if marks else began))
learn = Learner(dls, model, loss_func=CrossEntropyLossFlat(label_smoothing=0.1), opt_func=Adam, cbs=[Clock()])
with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(3, 1e-3)
print(json.dumps({"seconds": marks, "version": fastai.__version__}))
"""


def time_fastai(python: str, arch: str, photos: str, rows: int) -> tuple[list[float], str]:
    size, batch = CASES[arch]
    words = [arch, str(size), str(batch), str(rows), photos, json.dumps(names(photos, rows))]
    done = subprocess.run(
        [python, "-W", "ignore", "-c", FASTAI, *words], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    return found["seconds"], found["version"]


def run_child(contestant: str, arch: str, photos: str, rows: int) -> list[float]:
    words = [sys.executable, __file__, "--child", contestant, "--arch", arch, "--rows", str(rows)]
    done = subprocess.run([*words, "--photos", photos], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def show(title: str, seconds: dict[str, list[float]]) -> None:
    print(f"\n{title}")
    own = statistics.median(seconds["tenfold"])
    for name, found in seconds.items():
        middle = statistics.median(found)
        print(f"  {name:<20} {middle:7.2f} s   tenfold takes {own / middle:.3f} of it")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--photos", default=str(PHOTOS))
    parser.add_argument("--fastai", default="")
    parser.add_argument("--arch", default="")
    parser.add_argument("--child", default="")
    given = parser.parse_args()
    if given.child == "tenfold":
        print(json.dumps(time_tenfold(given.arch, given.photos, given.rows)))
        return
    if given.child:
        keep = "kept" in given.child
        print(json.dumps(time_bare(given.arch, given.photos, given.rows, keep=keep)))
        return
    import timm
    import torch

    print(f"torch {torch.__version__}, timm {timm.__version__}, {torch.get_num_threads()} threads")
    for arch in [given.arch] if given.arch else CASES:
        warm: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
        cold: dict[str, list[float]] = {"tenfold": []}
        for _ in range(given.rounds):
            for name in CONTESTANTS:
                first, *later = run_child(name, arch, given.photos, given.rows)
                warm[name].append(min(later))
                if name == "tenfold":
                    cold[name].append(first)
            if given.fastai:
                (first, *later), version = time_fastai(given.fastai, arch, given.photos, given.rows)
                warm.setdefault(f"fastai {version}", []).append(min(later))
                cold.setdefault(f"fastai {version}", []).append(first)
        size, batch = CASES[arch]
        show(f"{arch}, {size} px, batch {batch}, {given.rows} photos: an epoch, from the second on", warm)
        show("from nothing to the end of the first epoch", cold)


if __name__ == "__main__":
    main()
