"""From columns of text to what a network is given."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.data.encode import (
    Encoding,
    PickedImages,
    encode,
    fit_encoding,
)
from tenfold.data.labels import decide_targets
from tenfold.data.table import Table, read_table
from tenfold.recipe import Recipe
from tenfold.schema import CategoryTarget, ImageColumn, RatingTarget, Schema, UndecidedTarget

IMAGE = ImageColumn(name="id", folder="photos")
RECIPE = Recipe(arch="test_resnet", weights="none", image_size="32x48")


def table_of(**columns: Any) -> Table:
    rows = len(next(iter(columns.values())))
    return read_table({"id": [f"{row}.png" for row in range(rows)], **columns})


def schema_of(*targets: str | CategoryTarget | RatingTarget, **values: Any) -> Schema:
    made = [UndecidedTarget(name=one) if isinstance(one, str) else one for one in targets]
    return Schema(inputs=(IMAGE,), targets=tuple(made), **values)


def fitted(table: Table, *targets: str | CategoryTarget) -> tuple[Schema, Encoding, list[str]]:
    schema = decide_targets(schema_of(*targets), table)
    encoding, notes = fit_encoding(
        schema, RECIPE, table, mean=(0.4, 0.5, 0.6), std=(0.1, 0.2, 0.3), interpolation="bilinear"
    )
    return schema, encoding, notes


def encoded(table: Table, *targets: str | CategoryTarget, **values: Any) -> tuple[Any, list[str]]:
    _, encoding, _ = fitted(table, *targets)
    schema = decide_targets(schema_of(*targets, **values), table)
    return encode(encoding, schema, table, ())


def test_the_preparation_belongs_to_the_encoding() -> None:
    _, encoding, _ = fitted(table_of(label=["cat", "dog"]), "label")
    assert (encoding.mean, encoding.std) == ((0.4, 0.5, 0.6), (0.1, 0.2, 0.3))
    assert (encoding.image_size, encoding.interpolation) == ((32, 48), "bilinear")
    assert Encoding.model_validate_json(encoding.model_dump_json()) == encoding


# Rows as arrays


def test_ids_are_the_pictures_names_the_id_column_or_the_lines() -> None:
    table = table_of(label=["cat", "dog"], code=["007", "7"])
    _, encoding, _ = fitted(table, "label")
    schema = schema_of(CategoryTarget(name="label"))
    assert encode(encoding, schema, table, ())[0].ids.tolist() == ["0.png", "1.png"]
    named = schema_of(CategoryTarget(name="label"), id="code")
    assert encode(encoding, named, table, ())[0].ids.tolist() == ["007", "7"]
    nameless = Schema(inputs=(), targets=schema.targets)
    assert encode(encoding, nameless, table, ())[0].ids.tolist() == ["1", "2"]
    given = np.array(["x", "y"], dtype=object)
    assert encode(encoding, schema, table, (), ids=given)[0].ids is given


def test_prediction_needs_no_target_column() -> None:
    _, encoding, _ = fitted(table_of(label=["cat", "dog"]), "label")
    schema = schema_of(CategoryTarget(name="label"), weight="w")
    examples, notes = encode(encoding, schema, read_table({"id": ["5.png"]}), (), targets=False)
    assert examples.rows == 1 and examples.labels == {} and examples.weights == {} and notes == []


def test_picked_rows_are_read_under_new_numbers() -> None:
    class Numbered:
        def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
            return rows.astype(np.uint8)[:, None, None, None]

    picked = PickedImages(Numbered(), np.array([4, 1, 3]))
    assert picked.read(np.array([2, 0, 0])).ravel().tolist() == [3, 4, 4]
