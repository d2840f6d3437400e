"""Small photos whose colour tells their class, and tables of them, for tests of whole jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tenfold.data.images.decode import encode_png
from tenfold.recipe import Recipe

COLOURS = {"cat": (200, 40, 40), "dog": (40, 200, 40), "bird": (40, 40, 200), "fox": (200, 200, 40)}

#: Learns plain colours in a second.
QUICK = Recipe(
    arch="test_resnet",
    weights="none",
    image_size=32,
    batch_size=16,
    epochs=8,
    frozen_epochs=0,
    lr=1e-2,
    body_lr=1.0,
    augment="off",
    drop_path=0.0,
    dropout=0.0,
    seed=1,
)
#: The same as command line options.
QUICK_OPTIONS = (
    "--arch test_resnet --weights none --image-size 32 --batch-size 16 --epochs 8 --frozen-epochs 0 "
    "--lr 1e-2 --body-lr 1.0 --augment off --drop-path 0 --dropout 0 --seed 1"
).split()


def write_photo(path: Path, label: str, seed: int) -> None:
    """One 32x32 PNG of its class's colour, with a little noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(-8, 8, (32, 32, 3))
    path.write_bytes(encode_png((np.array(COLOURS[label]) + noise).clip(0, 255).astype(np.uint8)))


def write_table(path: Path, columns: Mapping[str, Sequence[object]]) -> Path:
    """A CSV file."""
    rows = [
        ",".join(columns),
        *(",".join(str(cell) for cell in row) for row in zip(*columns.values(), strict=True)),
    ]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def write_photos(
    folder: Path, count: int, labels: Sequence[str] = ("cat", "dog", "bird")
) -> dict[str, list[str]]:
    """`count` photos in folder/photos; returns the columns `id`, `label` and `size` of their table."""
    names, kinds = [], []
    for number in range(count):
        label = labels[number % len(labels)]
        write_photo(folder / "photos" / f"{number:04d}.png", label, number)
        names.append(f"{number:04d}.png")
        kinds.append(label)
    return {
        "id": names,
        "label": kinds,
        "size": ["big" if number % 2 else "small" for number in range(count)],
    }
