"""Drawn samples: equal seeds give equal data, and each is ready to be fitted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tenfold
from tenfold.api.samples import sample
from tenfold.errors import RecipeError


@pytest.mark.parametrize("name", ["leaves", "films", "passengers"])
def test_a_sample_is_a_table_with_the_columns_of_its_schema(name: str) -> None:
    drawn = sample(name, rows=40)
    table = tenfold.read_table(drawn)
    assert len(drawn) == 40 == table.rows
    drawn.schema.check_columns(table.names, "the sample")
    assert list(drawn)[0].keys() == set(table.names)
    again, other = sample(name, rows=40), sample(name, rows=40, seed=2)
    for column, cells in drawn.columns().items():
        np.testing.assert_array_equal(again.columns()[column], cells)
    assert any((other.columns()[column] != cells).any() for column, cells in drawn.columns().items())


def test_leaves_have_a_folder_of_pictures(tmp_path: Path) -> None:
    drawn = sample("leaves", rows=12, folder=tmp_path / "photos")
    assert drawn.folder == tmp_path / "photos"
    assert {path.name for path in drawn.folder.iterdir()} == set(drawn.columns()["image_id"])
    assert str(drawn.folder) in repr(drawn)


def test_passengers_have_holes_and_unique_names() -> None:
    cells = sample("passengers").columns()
    assert 0.1 < np.isnan(cells["age"].astype(float)).mean() < 0.2
    assert len(set(cells["name"].tolist())) == 900
    women = cells["sex"] == "female"
    yes = cells["survived"] == "yes"
    assert yes[women].mean() > 0.7 and yes[~women].mean() < 0.35


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"name": "leafs"}, "did you mean 'leaves'"),
        ({"name": "films", "rows": 3}, "10 or more"),
        ({"name": "films", "folder": "x"}, "have none"),
    ],
)
def test_what_is_not_a_sample_is_refused(arguments: dict, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        sample(**arguments)
