"""A small network that learns an ensemble's answers, beside the same network on the labels alone.

    python bench/distill.py DATA -o WORK --teacher 'runs/lite0-{seed}' 'runs/lite1-{seed}' [--seeds 0,1,2]
        [--epochs 48] [--image-size 80x160] [--arch tf_efficientnet_lite0] [--weights package]
        [--device cuda] [--jobs 6] [--options '--batch-size 64']

DATA: folder with `train.csv` and `images` of coffee leaves, else `coffee-leaf` in that of TENFOLD_DATA.
The teacher of a split is the mean of the finished runs named by --teacher, in which `{seed}` stands for the
split's seed; each has to hold out the rows of that seed, as those of bench/results/coffee-leaf.md do. Each
seed gets two trainings by `tenfold fit`, with the same split, seeds, crops and number of steps: with
`--teacher`, and without. With --jobs, so many trainings run at once, in processes of their own. A finished
training is not made again, and one that was stopped goes on. Prints wrong answers and log losses of the
held-out rows, and the differences with their standard errors.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tenfold.networks.opened import networks_of, teacher_size
from tenfold.runs.registry import load_run
from tenfold.spread import paired_difference

SCORES = {"error_rate": ("wrong, %", 100), "log_loss": ("log loss", 1)}


def tenfold(*words: str, threads: int) -> None:
    """Run a command of tenfold; its last words are shown where it fails."""
    settings = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", "tenfold", *words]
    done = subprocess.run(command, capture_output=True, text=True, env=settings)
    if done.returncode:
        raise SystemExit(f"{shlex.join(command)}\n{done.stdout[-500:]}{done.stderr[-2000:]}")


def record(run: Path) -> dict[str, Any]:
    """What `run.json` holds."""
    return json.loads((run / "run.json").read_text("utf-8"))


def blended(given: list[str], seed: int, work: Path) -> Path:
    """The teacher of a split: a single run, or the mean of several with equal weights."""
    runs = [name.replace("{seed}", str(seed)) for name in given]
    for name in runs:
        if any(one.recipe.seed != seed for one in networks_of(load_run(name))):
            raise SystemExit(f"{name} is not of seed {seed}, and holds out other rows")
    if len(runs) == 1:
        return Path(runs[0])
    teacher = work / f"teacher-{seed}"
    if not (teacher / "run.json").exists():
        tenfold("blend", *runs, "-o", str(teacher), threads=1)
    return teacher


def compared(runs: dict[str, dict[int, dict[str, Any]]], seeds: list[int], last: str) -> str:
    """The scores of every split, their means, and the last network's less those on labels alone.

    runs: network -> seed -> target -> score -> value.
    """
    lines = []
    for target in next(iter(runs[last].values())):
        for score, (words, times) in SCORES.items():
            lines += ["", f"| {target}: {words} | {' | '.join(f'seed {seed}' for seed in seeds)} | mean |"]
            lines += ["|---" * (len(seeds) + 2) + "|"]
            found = {name: [times * own[seed][target][score] for seed in seeds] for name, own in runs.items()}
            for name, values in found.items():
                cells = " | ".join(f"{value:.3f}" for value in (*values, sum(values) / len(values)))
                lines.append(f"| {name} | {cells} |")
            for name in [name for name in runs if name.startswith("labels alone")]:
                change = paired_difference(found[name], found[last])
                lines.append(
                    f"\n{last} less {name}: {change.mean:+.3f}, standard error {change.error:.3f} "
                    f"over {change.pairs} splits"
                )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    root = Path(os.environ.get("TENFOLD_DATA", "../shared/data"))
    parser.add_argument("data", type=Path, nargs="?", default=root / "coffee-leaf")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--teacher", nargs="+", required=True)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--arch", default="tf_efficientnet_lite0")
    parser.add_argument("--weights", default="package")
    parser.add_argument("--image-size", default="80x160")
    parser.add_argument("--epochs", default="48")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--options", default="", help="further options of tenfold fit")
    asked = parser.parse_args()
    seeds = [int(seed) for seed in asked.seeds.split(",")]
    asked.output.mkdir(parents=True, exist_ok=True)
    teachers = {seed: blended(asked.teacher, seed, asked.output) for seed in seeds}
    threads = max(1, (os.cpu_count() or 1) // asked.jobs)
    # The labels alone see crops of the same pictures: as large as the largest that the teacher sees.
    kept = "x".join(map(str, teacher_size(load_run(teachers[seeds[0]]))))

    def train(name: str, seed: int) -> Path:
        run = asked.output / f"{name.replace(' ', '-')}-{seed}"
        words = ["fit", str(asked.data / "train.csv"), "--image", f"image_id={asked.data / 'images'}"]
        words += ["--target", "stress", "--target", "severity", "--arch", asked.arch]
        words += ["--weights", asked.weights, "--image-size", asked.image_size, "--item-size", kept]
        words += ["--flip", "both", "--batch-size", "32", "--epochs", asked.epochs, "--seed", str(seed)]
        words += ["--teacher", str(teachers[seed])] if name == "distilled" else []
        words += ["--device", asked.device, "--no-report", *shlex.split(asked.options)]
        begun = run.exists() or run.with_name(f"{run.name}.part").exists()
        tenfold(*words, "-o", str(run), *(["--resume"] if begun else []), threads=threads)
        print(f"{name}, seed {seed}: {record(run)['seconds']:.0f} s", flush=True)
        return run

    wanted = [(name, seed) for seed in seeds for name in ("distilled", "labels alone")]
    with ThreadPoolExecutor(asked.jobs) as pool:
        made = list(pool.map(lambda one: train(*one), wanted))
    runs: dict[str, dict[int, dict[str, Any]]] = {
        "teacher": {seed: record(teachers[seed])["targets"] for seed in seeds},
        "labels alone": {},
        "distilled": {},
    }
    for (name, seed), run in zip(wanted, made, strict=True):
        about = record(run)
        runs[name][seed] = about["targets"]
        for one in networks_of(load_run(teachers[seed])):
            if one.record.fingerprint["scored"] != about["fingerprint"]["scored"]:
                raise SystemExit(f"{one.path} and {run} do not hold out the same rows")
    print(compared(runs, seeds, "distilled"))
    (asked.output / "scores.json").write_text(json.dumps(runs), "utf-8")


if __name__ == "__main__":
    main()
