"""Write the golden runs: ``python tests/golden/make.py FOLDER``, with the tenfold that is installed.

One small run of each kind, unfinished trainings with their checkpoints, and what the runs answered.
tests/cases/test_golden.py asks later versions for the same. ``edition1`` was made by the last commit of the
first edition (without ensembles and job files), ``edition2`` by the last one before runs shared one protocol.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"blast": (200, 60, 60), "healthy": (60, 200, 60), "rust": (60, 60, 200)}
TABLE = "table.csv --category farm --number height --target label --target yield"
PHOTOS = "photos.csv --image image_id=photos --target disease --arch test_efficientnet --weights none"
RATINGS = "ratings.csv --user user --item item --target rating"
JOB = """table = "table.csv"
output = "runs/job"
[schema]
inputs = [{ kind = "category", name = "farm" }, { kind = "number", name = "height" }]
targets = ["label", "yield"]
[recipe]
epochs = 2
"""
ENSEMBLE = """table = "table.csv"
output = "runs/ensemble"
[schema]
inputs = [{ kind = "category", name = "farm" }, { kind = "number", name = "height" }]
targets = ["label", "yield"]
[ensemble]
blend = "greedy"
split = "same"
soup = true
[recipe]
epochs = 2
[[member]]
name = "fast"
lr = 0.01
[[member]]
name = "other"
seed = 1
"""
#: Each command makes one run, or one file of answers.
COMMANDS = (
    "fit job.toml",
    "ensemble ensemble.toml",
    "predict runs/job table.csv --probabilities -o answers/job.csv",
    "predict runs/ensemble table.csv --probabilities -o answers/ensemble.csv",
    f"fit {TABLE} --epochs 3 -o runs/table",
    f"fit {TABLE} --epochs 3 --seed 1 -o runs/table2",
    f"fit {PHOTOS} --image-size 32 --epochs 1 --frozen-epochs 0 -o runs/photos",
    f"fit {RATINGS} --time time --method gibbs --factors 3 --valid 0.2 -o runs/gibbs",
    f"fit {RATINGS} --time time --method als --factors 3 --valid 0.2 -o runs/als",
    f"fit {RATINGS} --time time --method sgd --factors 3 --valid 0.2 -o runs/sgd",
    "fit ratings.csv --user user --item item --kind implicit --factors 3 -o runs/events",
    f"fit {RATINGS} --body dot --epochs 2 --valid 0.2 -o runs/dot",
    f"fit {RATINGS} --body mlp --hidden 8 --epochs 2 --valid 0.2 -o runs/mlp",
    "blend runs/table runs/table2 --method best -o runs/blend",
    "blend runs/gibbs runs/als -o runs/ratings_blend",
    "predict runs/table table.csv --probabilities -o answers/table.csv",
    "predict runs/blend table.csv --probabilities -o answers/blend.csv",
    "predict runs/photos photos.csv --probabilities -o answers/photos.csv",
    *(
        f"predict runs/{name} ratings.csv -o answers/{name}.csv"
        for name in ("gibbs", "als", "sgd", "dot", "mlp", "ratings_blend")
    ),
    *(
        f"recommend runs/{name} --all -n 4 -o answers/{name}_lists.csv"
        for name in ("gibbs", "als", "sgd", "events", "dot", "mlp", "ratings_blend")
    ),
)


def write_tables(folder: Path) -> None:
    """The tables and pictures that the runs are fitted to."""
    rng = np.random.default_rng(0)
    (folder / "photos").mkdir()
    lines = ["image_id,disease"]
    for row in range(12):
        name = list(COLOURS)[row % 3]
        noise = rng.integers(-8, 8, (16, 16, 3))
        pixels = (np.full((16, 16, 3), COLOURS[name]) + noise).clip(0, 255).astype("uint8")
        Image.fromarray(pixels).save(folder / "photos" / f"{row:02d}.png")
        lines.append(f"{row:02d}.png,{name if row % 7 else ''}")
    (folder / "photos.csv").write_text("\n".join(lines) + "\n")
    lines = ["id,farm,height,label,yield"]
    for row in range(48):
        farm, height = "abc"[row % 3], float(rng.normal())
        label = "yes" if height + (farm == "a") > 0 else "no"
        lines.append(f"r{row},{farm},{height:.3f},{label},{2 * height + 1:.3f}")
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    (folder / "job.toml").write_text(JOB)
    (folder / "ensemble.toml").write_text(ENSEMBLE)
    lines = ["user,item,rating,time"]
    for user in range(20):
        for item in rng.choice(15, 8, replace=False):
            stars = int(np.clip(3 + ((user + item) % 3 - 1) + rng.integers(-1, 2), 1, 5))
            lines.append(f"u{user},m{item},{stars},{1_600_000_000 + int(rng.integers(0, 1_000_000))}")
    (folder / "ratings.csv").write_text("\n".join(lines) + "\n")


def stop_half_way(folder: Path, name: str, what: str) -> None:
    """Leave `name.part`: a training stopped after its second epoch."""
    script = (
        "import sys, tenfold.engine.train as train\n"
        "from tenfold.__main__ import main\n"
        "save = train.save_checkpoint\n"
        "def stop(folder, progress, *rest, **more):\n"
        "    save(folder, progress, *rest, **more)\n"
        "    if progress.epoch == 2: raise KeyboardInterrupt\n"
        "train.save_checkpoint = stop\n"
        "sys.argv[1:] = sys.argv[1:]\n"
        "main()\n"
    )
    words = f"fit {what} --epochs 3 -o runs/{name} --no-report".split()
    done = subprocess.run([sys.executable, "-c", script, *words], cwd=folder, capture_output=True, text=True)
    if done.returncode != 130 or not (folder / "runs" / f"{name}.part" / "checkpoint.safetensors").exists():
        raise SystemExit(f"the training was not stopped half-way:\n{done.stdout}{done.stderr}")


def main() -> None:
    """Write everything into an empty folder."""
    folder = Path(sys.argv[1])
    (folder / "answers").mkdir(parents=True)
    write_tables(folder)
    os.environ["OMP_NUM_THREADS"] = "1"
    for command in COMMANDS:
        words = command.split() + (["--no-report"] if command.startswith("fit") else [])
        subprocess.run(
            [sys.executable, "-m", "tenfold", *words], cwd=folder, check=True, stdout=subprocess.DEVNULL
        )
    stop_half_way(folder, "stopped", TABLE)
    stop_half_way(folder, "stopped_mlp", f"{RATINGS} --body mlp --hidden 8 --valid 0.2")
    for path in [*folder.rglob("report.html"), *folder.rglob(".tenfold-runs.jsonl")]:
        path.unlink()
    shutil.rmtree(folder / "logs", ignore_errors=True)


if __name__ == "__main__":
    main()
