"""Small tables of ratings for the neural route, whose answer is known."""

from __future__ import annotations

import numpy as np

from tenfold.recipe import RatingNetworkRecipe
from tenfold.schema import IdColumn, RatingTarget, Schema

PAIR = (IdColumn(name="user"), IdColumn(name="item"))
RECIPE = RatingNetworkRecipe(
    epochs=40, batch_size=64, embedding=6, hidden=(16,), lr=2e-2, weight_decay=0.0,
    dropout=0.0, body_dropout=0.0, ema=0.0,
)  # fmt: skip


def ratings_of(users: int = 24, items: int = 16, seed: int = 0) -> dict[str, list[str]]:
    """A checkerboard: who and what are of one parity like each other. A pair in four is left out."""
    rng = np.random.default_rng(seed)
    pairs = [(u, i) for u in range(users) for i in range(items) if rng.random() < 0.75]
    return {
        "user": [f"u{u:02d}" for u, _ in pairs],
        "item": [f"{i:02d}" for _, i in pairs],
        "stars": [str(5 if u % 2 == i % 2 else 1) for u, i in pairs],
    }


def schema_of(*cells: object, **values: object) -> Schema:
    return Schema(inputs=(*PAIR, *cells), targets=(RatingTarget(name="stars"),), **values)
