"""The main job on data that the package draws itself: leaf pictures with two targets."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenfold.data.images import encode_png
from tenfold.data.synthetic import draw_leaves
from tenfold.recipe import Recipe
from tenfold.schema import CategoryTarget, ImageColumn, Schema

#: Small enough for a CPU, trained from random weights since nothing is fetched for a demo.
RECIPE = Recipe(
    arch="test_resnet",
    weights="none",
    image_size=96,
    epochs=30,
    frozen_epochs=0,
    batch_size=32,
    lr=4e-3,
    body_lr=1.0,
    drop_path=0.0,
    dropout=0.1,
    flip="both",
    views=4,
    min_scale=0.7,
    ema=0.98,
    seed=1,
)


@dataclass(frozen=True)
class DemoData:
    """Where the drawn data lie.

    train, test: tables.  photos: folder of all pictures.  sample: a submission file to fill in.
    truth: the test rows' answers, which a competition would keep to itself.
    """

    train: Path
    test: Path
    sample: Path
    truth: Path
    photos: Path
    columns: dict[str, list[Any]]


def write_demo_data(folder: Path, *, rows: int = 800, test_rows: int = 160, seed: int = 1) -> DemoData:
    """Draw leaves and write them as a competition would give them: pictures, tables, a sample."""
    photos = folder / "photos"
    photos.mkdir(parents=True, exist_ok=True)
    images, columns = draw_leaves(rows + test_rows, seed=seed)
    for name, pixels in zip(columns["image_id"], images, strict=True):
        (photos / str(name)).write_bytes(encode_png(pixels))
    data = DemoData(
        folder / "train.csv",
        folder / "test.csv",
        folder / "sample_submission.csv",
        folder / "test_answers.csv",
        photos,
        {name: [str(cell) for cell in cells[:rows]] for name, cells in columns.items()},
    )
    names = list(columns)
    table = list(zip(*columns.values(), strict=True))
    _write(data.train, names, table[:rows])
    _write(data.test, ["image_id"], [row[:1] for row in table[rows:]])
    # In an order of its own, as such files have it.
    _write(data.sample, ["image_id", "disease"], [(row[0], "healthy") for row in reversed(table[rows:])])
    _write(data.truth, names, table[rows:])
    return data


def _write(path: Path, names: list[str], rows: list[Any]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(rows)


def fit_demo(
    folder: Path,
    data: DemoData,
    *,
    on_progress: Callable[[dict[str, Any]], None] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> Any:
    """Train a small network on the drawn leaves, both targets at once; returns the run."""
    from tenfold.jobs.netfit import fit_network_run

    schema = Schema(
        inputs=(ImageColumn(name="image_id", folder=str(data.photos)),),
        targets=(CategoryTarget(name="disease"), CategoryTarget(name="variety")),
    )
    return fit_network_run(
        schema, RECIPE, str(data.train), run=folder / "run", on_progress=on_progress, on_note=on_note
    )


def predict_demo(run: Any, folder: Path, data: DemoData) -> tuple[Path, dict[str, Any]]:
    """Predict the test table into a submission file; returns it and the scores against the answers."""
    from tenfold.out.tables import write_submission

    submission = folder / "submission.csv"
    write_submission(submission, run.predict(str(data.test)), like=data.sample)
    return submission, run.evaluate(str(data.truth))
