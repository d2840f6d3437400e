"""Pictures of other kinds shown to classifiers of three colours: softmax, one-vs-rest, and with familiarity.

    .venv/bin/python bench/strangers.py

Draws everything from seeds and prints a table; half a minute on one core.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import tenfold
from tenfold.data.images import encode_png
from tenfold.recipe import Recipe
from tenfold.schema import ImageColumn, Schema

COLOURS = {"red": (210, 30, 30), "green": (30, 210, 30), "blue": (30, 30, 210)}
ARCHITECTURES = ("test_resnet", "test_convnext", "test_efficientnet")
#: What is asked, and the options that go with it.
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "softmax": ("category", {}),
    "one-vs-rest": ("open", {"familiarity": False}),
    "one-vs-rest with familiarity": ("open", {}),
}
TRAIN, NEW = 240, 600


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_png(pixels.clip(0, 255).astype(np.uint8)))


def draw_known(folder: Path, rows: int, seed: int) -> dict[str, list[str]]:
    """Pictures of the three colours at five levels of brightness."""
    rng = np.random.default_rng(seed)
    table: dict[str, list[str]] = {"id": [], "colour": []}
    for row in range(rows):
        colour = list(COLOURS)[row % 3]
        level = 0.3 + 0.15 * rng.integers(0, 5)
        save(folder / f"{row:04d}.png", np.array(COLOURS[colour]) * level + rng.integers(-6, 6, (32, 32, 3)))
        table["id"].append(f"{row:04d}.png")
        table["colour"].append(colour)
    return table


def draw_strangers(folder: Path) -> int:
    """Eight kinds of other pictures, ten of each; returns how many."""
    rng = np.random.default_rng(9)
    ones = np.ones((32, 32, 3))
    plain = {"grey": 128, "white": 240, "black": 5, "yellow": (210, 210, 30), "purple": (150, 30, 150)}
    for number in range(10):
        for name, colour in plain.items():
            save(folder / f"{name}{number}.png", ones * colour + rng.integers(-6, 6, (32, 32, 3)))
        save(folder / f"noise{number}.png", rng.integers(0, 256, (32, 32, 3)))
        stripes = ones * 30 + rng.integers(-6, 6, (32, 32, 3))
        stripes[:, :: 2 + number % 4] = 220
        save(folder / f"stripes{number}.png", stripes)
        halves = ones * COLOURS["red"] + rng.integers(-6, 6, (32, 32, 3))
        halves[: 8 + number] = COLOURS["green"]
        save(folder / f"halves{number}.png", halves)
    return 80


def measure(folder: Path) -> list[dict[str, Any]]:
    table = draw_known(folder / "train", TRAIN, 0)
    new = draw_known(folder / "new", NEW, 1)
    strangers = draw_strangers(folder / "strangers")
    right = dict(zip(new["id"], new["colour"], strict=True))
    found = []
    for arch in ARCHITECTURES:
        for way, (kind, options) in WAYS.items():
            recipe = Recipe(
                arch=arch,
                weights="none",
                image_size=32,
                batch_size=16,
                epochs=10,
                frozen_epochs=0,
                lr=1e-2,
                body_lr=1.0,
                augment="off",
                drop_path=0.0,
                dropout=0.0,
                seed=1,
                **options,
            )
            schema = Schema(
                inputs=(ImageColumn(name="id", folder=str(folder / "train")),),
                targets=(f"colour:{kind}",),  # type: ignore[arg-type]
            )
            run = tenfold.fit(schema, recipe, table, run=folder / arch / way)
            asked = run.predict(folder / "strangers").targets["colour"].values
            known = run.predict(folder / "new")
            wrong = [
                right[str(one)] != said
                for one, said in zip(known.ids, known.targets["colour"].values, strict=True)
            ]
            found.append(
                {
                    "arch": arch,
                    "way": way,
                    "strangers": strangers,
                    "strangers_named": int(sum(bool(one) for one in asked)),
                    "new": NEW,
                    "new_wrong_or_unnamed": int(sum(wrong)),
                }
            )
    return found


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder))
    print("| network | way | strangers named | new ones missed |\n|---|---|---|---|")
    for one in found:
        named, missed = one["strangers_named"], one["new_wrong_or_unnamed"]
        print(f"| {one['arch']} | {one['way']} | {named} of {one['strangers']} | {missed} of {one['new']} |")


if __name__ == "__main__":
    main()
