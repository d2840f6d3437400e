"""Small tables with targets of every kind, and what is decided of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from tenfold.data.encode import Encoding, encode, fit_encoding
from tenfold.data.tables.table import Table, read_table
from tenfold.recipe import Recipe
from tenfold.schema import (
    CategoryTarget,
    ImageColumn,
    RatingTarget,
    Schema,
    UndecidedTarget,
    parse_target,
)
from tenfold.targets.base import TargetStats, known_rows
from tenfold.targets.kinds import kind_of
from tenfold.targets.labels import (
    decide_targets,
    fit_targets,
    label_arrays,
)

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


def kinds(table: Table, text: str) -> tuple[Any, TargetStats, list[str]]:
    """Labels, facts and notes of one target, as a training would have them."""
    schema = Schema(inputs=(IMAGE,), targets=(parse_target(text),))
    classes, facts, notes = fit_targets(schema, table)
    name = schema.answers[0].name
    labels, weights, said = label_arrays(classes, facts, schema, table)
    known = known_rows(labels[name])
    assert np.array_equal(known, weights[name].reshape(table.rows, -1).max(axis=1) > 0)
    words = kind_of(schema.answers[0], classes.get(name, ()), facts[name]).label_columns(labels[name])
    for column, cells in words.items():
        if cells.dtype == object:
            assert [cell or "" for cell in cells] == table.text(column).tolist()
        else:
            assert np.array_equal(cells, table.numbers(column), equal_nan=True)
    return labels[name], facts[name], notes + said
