"""Pictures of other kinds shown to classifiers of three colours: softmax, one-vs-rest, and with familiarity.

    .venv/bin/python bench/strangers.py
    .venv/bin/python bench/strangers.py DATA lite0.pth

Draws everything from seeds and prints a table; half a minute on one core. With a folder of data and the
weights of EfficientNet-lite0 it compares coffee leaves with pictures of clothes: the familiarity of both in
features that were not trained any further.
"""

from __future__ import annotations

import csv
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import tenfold
from tenfold.data.encode import Encoding
from tenfold.data.images.decode import encode_png
from tenfold.nn.network import Network, build_network, input_name
from tenfold.nn.ood import MahalanobisScore
from tenfold.recipe import Recipe
from tenfold.runs.weights import read_weights
from tenfold.schema import ImageColumn, OpenTarget, Schema

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


def measure_leaves(data: Path, weights: str) -> None:
    """MahalanobisScore of held-out leaves and of clothes, by how many leaves are known."""
    rng = np.random.default_rng(0)
    leaves = _rows(data / "coffee-leaf" / "train.csv", 1000, rng)
    clothes = _rows(data / "clothing" / "train.csv", 150, rng)
    classes = tuple(sorted({row["stress"] for row in leaves}))
    labels = np.array([classes.index(row["stress"]) for row in leaves])
    recipe = Recipe(weights=weights, image_size=128)
    encoding = Encoding(classes={"stress": classes}, image_size=(128, 128))
    schema = Schema(
        inputs=(ImageColumn(name="image_id", folder=str(data)),), targets=(OpenTarget(name="stress"),)
    )
    network, _ = build_network(
        encoding, schema, recipe, weights=read_weights(weights), weights_name=Path(weights).name
    )
    known = _features(network, data / "coffee-leaf" / "images", leaves)
    other = torch.from_numpy(_features(network, data / "clothing" / "images", clothes))
    print("| leaves known | least familiar of 140 other leaves | clothes below 1/2 | their median |")
    print("|---|---|---|---|")
    for count in (100, 300, 640):
        familiar = MahalanobisScore(len(classes), known.shape[1])
        familiar.fit(known[:count], labels[:count], known[700 : 700 + count // 4])
        least = float(familiar(torch.from_numpy(known[860:])).min())
        strange = familiar(other)[:, 0]
        below = int((strange < 0.5).sum())
        print(f"| {count} | {least:.2f} | {below} of {len(other)} | {float(strange.median()):.2f} |")


def _rows(table: Path, count: int, rng: np.random.Generator) -> list[dict[str, str]]:
    with open(table, encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    return [rows[place] for place in rng.permutation(len(rows))[:count]]


def _features(network: Network, folder: Path, rows: list[dict[str, str]]) -> np.ndarray:
    network.eval()
    found = []
    for start in range(0, len(rows), 50):
        pixels = np.stack(
            [
                np.asarray(Image.open(folder / row["image_id"]).convert("RGB").resize((128, 128)))
                for row in rows[start : start + 50]
            ]
        )
        images = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
        with torch.no_grad():
            found.append(network.features({input_name(0): images}).numpy())
    return np.concatenate(found)


def main() -> None:
    if len(sys.argv) == 3:
        measure_leaves(Path(sys.argv[1]), sys.argv[2])
        return
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder))
    print("| network | way | strangers named | new ones missed |\n|---|---|---|---|")
    for one in found:
        named, missed = one["strangers_named"], one["new_wrong_or_unnamed"]
        print(f"| {one['arch']} | {one['way']} | {named} of {one['strangers']} | {missed} of {one['new']} |")


if __name__ == "__main__":
    main()
