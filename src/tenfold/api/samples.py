"""Data that the package draws itself, ready to be fitted: nothing is downloaded."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tenfold.data.images.decode import encode_png
from tenfold.data.synthetic import draw_leaves, draw_passengers, draw_ratings
from tenfold.errors import RecipeError, did_you_mean
from tenfold.frames import RowTable
from tenfold.recipe import AnyRecipe, FactorRecipe, Recipe
from tenfold.schema import (
    CategoryColumn,
    CategoryTarget,
    IdColumn,
    ImageColumn,
    NumberColumn,
    RatingTarget,
    Schema,
)


@dataclass(frozen=True, repr=False)
class Sample(RowTable):
    """A drawn table with the schema and the recipe that suit it: ``tenfold.fit(sample)`` takes seconds.

    cells: column -> its cells.  folder: of the pictures, where there are any.
    """

    name: str
    cells: Mapping[str, NDArray[np.generic]]
    schema: Schema
    recipe: AnyRecipe
    folder: Path | None = None

    def columns(self) -> dict[str, NDArray[np.generic]]:
        """Column -> (rows,) cells."""
        return dict(self.cells)

    @property
    def headline(self) -> str:
        """The line above the rows: what they are, and where the pictures are."""
        where = f", pictures in {self.folder}" if self.folder else ""
        return f"Sample of {len(self)} {self.name}{where}"


def sample(
    name: str, *, rows: int | None = None, seed: int = 1, folder: str | os.PathLike[str] | None = None
) -> Sample:
    """Draw a data set with known structure; nothing is downloaded.

    name: ``leaves`` (pictures with two targets, disease and variety), ``films`` (ratings by people with five
        tastes) or ``passengers`` (a table of words and numbers with holes, and who survived).
    rows: leaves [400], ratings [9000] or passengers [900].
    seed: equal seeds draw equal data. Another seed draws new leaves and passengers of the same kind, to test
        on; and other films and people.
    folder: where the pictures go; by default a temporary folder that is removed when Python ends.

    The answer is a table that `tenfold.fit`, `predict` and ``to_frame`` take, with its own `schema` and
    `recipe`::

        leaves = tenfold.sample("leaves")
        run = tenfold.fit(leaves)
        run.evaluate(tenfold.sample("leaves", rows=100, seed=2), image=...)
    """
    if name not in _SAMPLES:
        raise RecipeError(
            f"there is no sample {name!r}", found=", ".join(_SAMPLES), fix=did_you_mean(name, _SAMPLES)
        )
    if rows is not None and rows < 10:
        raise RecipeError(f"rows = {rows}: a sample has 10 or more", fix="give rows = 100")
    if folder is not None and name != "leaves":
        raise RecipeError(f"folder is for pictures, and {name} have none", fix="leave it out")
    return _SAMPLES[name](rows, seed, folder)


def _leaves(rows: int | None, seed: int, folder: str | os.PathLike[str] | None) -> Sample:
    pictures, cells = draw_leaves(400 if rows is None else rows, seed=seed)
    place = Path(folder) if folder is not None else Path(tempfile.mkdtemp(prefix="tenfold-leaves-"))
    if folder is None:
        atexit.register(shutil.rmtree, place, ignore_errors=True)
    place.mkdir(parents=True, exist_ok=True)
    for picture, pixels in zip(cells["image_id"], pictures, strict=True):
        (place / str(picture)).write_bytes(encode_png(pixels))
    schema = Schema(
        inputs=(ImageColumn(name="image_id", folder=str(place)),),
        targets=(CategoryTarget(name="disease"), CategoryTarget(name="variety")),
    )
    return Sample("leaves", cells, schema, LEAVES, place)


#: A small network from random weights.
LEAVES = Recipe(
    arch="test_resnet",
    weights="none",
    image_size=(64, 64),
    epochs=20,
    frozen_epochs=0,
    batch_size=16,
    lr=6e-3,
    body_lr=1.0,
    drop_path=0.0,
    dropout=0.1,
    flip="both",
    min_scale=0.7,
    ema=0.95,
    seed=1,
)


def _films(rows: int | None, seed: int, _: object) -> Sample:
    count = 9000 if rows is None else rows
    people, films = max(20, count // 30), max(20, count // 75)
    films = max(films, 2 * count // people + 1)  # nobody has rated more than half of them
    drawn = draw_ratings(people, films, count, seed=seed)
    titles = dict(zip(drawn["items"], drawn["titles"], strict=True))
    order = np.random.default_rng(seed).permutation(count)
    cells = {
        "user": drawn["user"],
        "film": np.array([titles[item] for item in drawn["item"]], dtype=object),
        "stars": drawn["rating"].astype(np.int64),
    }
    cells = {name: column[order] for name, column in cells.items()}
    inputs = (IdColumn(name="user"), IdColumn(name="film"))
    schema = Schema(inputs=inputs, targets=(RatingTarget(name="stars"),))
    return Sample("films", cells, schema, FactorRecipe(valid=0.1))


def _passengers(rows: int | None, seed: int, _: object) -> Sample:
    cells = draw_passengers(900 if rows is None else rows, seed=seed)
    schema = Schema(
        inputs=(
            *(CategoryColumn(name=name) for name in ("sex", "class", "port")),
            *(NumberColumn(name=name) for name in ("age", "relatives", "fare")),
        ),
        targets=(CategoryTarget(name="survived"),),
        id="name",
    )
    return Sample("passengers", cells, schema, Recipe(epochs=20))


_SAMPLES: Mapping[str, Callable[[int | None, int, str | os.PathLike[str] | None], Sample]] = {
    "leaves": _leaves,
    "films": _films,
    "passengers": _passengers,
}
