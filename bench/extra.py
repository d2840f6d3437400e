"""Photos without labels, measured: coffee leaves of which few have a label, and the others are extra photos.

    python bench/extra.py DATA -o WORK [--rows 240] [--seeds 0,1,2] [--epochs 16] [--image-size 128x256]
        [--arch tf_efficientnet_lite0] [--weights package] [--device cuda] [--jobs 3] [--options '...']

DATA: folder with `train.csv` and `images` of coffee leaves, else `coffee-leaf` in that of TENFOLD_DATA. A
seed draws 337 rows to validate on, `rows` others with labels, and all that are left as photos without labels.
Two trainings each by `tenfold fit`: with `--extra`, which brings the same training on the labels alone with
it; and on the labels alone for as many steps as the one with extra photos takes. With --jobs, so many run at
once, in processes of their own. A finished training is not made again. Prints wrong answers and log
losses of the held-out rows, and the differences with their standard errors.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shlex
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from distill import compared, record, tenfold

VALIDATED = 337


def draw(data: Path, rows: int, seed: int, into: Path) -> int:
    """Write a seed's table and copy its extra photos; returns how many these are."""
    with open(data / "train.csv", newline="") as stream:
        lines = list(csv.DictReader(stream))
    order = np.random.default_rng(seed).permutation(len(lines))
    extra = into / "photos"
    extra.mkdir(parents=True, exist_ok=True)
    with open(into / "train.csv", "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image_id", "stress", "severity", "split"])
        for number, row in enumerate(order[: VALIDATED + rows]):
            line = lines[row]
            writer.writerow([line["image_id"], line["stress"], line["severity"], int(number < VALIDATED)])
    names = [lines[row]["image_id"] for row in order[VALIDATED + rows :]]
    for name in names:
        if not (extra / name).exists():
            shutil.copyfile(data / "images" / name, extra / name)
    return len(names)


def main() -> None:
    parser = argparse.ArgumentParser()
    root = Path(os.environ.get("TENFOLD_DATA", "../shared/data"))
    parser.add_argument("data", type=Path, nargs="?", default=root / "coffee-leaf")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=240)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--arch", default="tf_efficientnet_lite0")
    parser.add_argument("--weights", default="package")
    parser.add_argument("--image-size", default="128x256")
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--options", default="", help="further options of tenfold fit")
    asked = parser.parse_args()
    seeds = [int(seed) for seed in asked.seeds.split(",")]
    left = {seed: draw(asked.data, asked.rows, seed, asked.output / str(seed)) for seed in seeds}
    threads = max(1, (os.cpu_count() or 1) // asked.jobs)

    def train(name: str, seed: int) -> None:
        place = asked.output / str(seed)
        more = ["--extra", str(place / "photos"), "--epochs", str(asked.epochs)]
        if name == "longer":
            more = ["--epochs", str(round(asked.epochs * (asked.rows + left[seed]) / asked.rows))]
        run = place / name
        words = ["fit", str(place / "train.csv"), "--image", f"image_id={asked.data / 'images'}"]
        words += ["--target", "stress", "--target", "severity", "--split-column", "split"]
        words += ["--arch", asked.arch, "--weights", asked.weights, "--image-size", asked.image_size]
        words += ["--flip", "both", "--batch-size", "32", "--seed", str(seed), "--device", asked.device]
        words += [*more, "--no-report", *shlex.split(asked.options), "-o", str(run)]
        tenfold(*words, *(["--resume"] if run.exists() else []), threads=threads)
        print(f"{name}, seed {seed}: {record(run)['seconds']:.0f} s", flush=True)

    with ThreadPoolExecutor(asked.jobs) as pool:
        list(
            pool.map(
                lambda one: train(*one), [(name, seed) for seed in seeds for name in ("extra", "longer")]
            )
        )
    runs: dict[str, dict[int, dict[str, Any]]] = {
        "labels alone": {
            seed: record(asked.output / str(seed) / "extra-labels")["targets"] for seed in seeds
        },
        "labels alone, as many steps": {
            seed: record(asked.output / str(seed) / "longer")["targets"] for seed in seeds
        },
        "with extra photos": {seed: record(asked.output / str(seed) / "extra")["targets"] for seed in seeds},
    }
    print(compared(runs, seeds, "with extra photos"))
    (asked.output / "scores.json").write_text(json.dumps(runs), "utf-8")


if __name__ == "__main__":
    main()
