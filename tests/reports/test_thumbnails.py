"""Small pictures are found by what the table calls them, and never outside their folder."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from photos import write_photo, write_table
from tenfold.reports.thumbnails import find_thumbnails
from tenfold.schema import CategoryTarget, ImageColumn, Schema


def schema_of(folder: Path, **values: object) -> Schema:
    return Schema(
        inputs=(ImageColumn(name="photo", folder=str(folder)),), targets=(CategoryTarget(name="y"),), **values
    )


def test_by_id_by_table_and_not_at_all(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for number in range(3):
        write_photo(photos / f"{number}.png", "cat", number)
    write_photo(tmp_path / "secret.png", "dog", 9)
    ids = ["0.png", "1.png", "../secret.png", "gone.png"]
    found, said = find_thumbnails(schema_of(photos), {}, ids, [1, 2, 3], {})
    assert list(found) == [1] and found[1].startswith(b"\xff\xd8") and "2 of 3 pictures" in said[0]

    named = schema_of(photos, id="key")
    table = write_table(tmp_path / "t.csv", {"key": ["a", "b"], "photo": ["2.png", "0.png"], "y": ["p", "q"]})
    found, said = find_thumbnails(named, {"table": str(table)}, ["b", "a"], [0, 1], {})
    assert sorted(found) == [0, 1] and not said
    for about in ({}, {"table": str(tmp_path / "gone.csv")}):
        found, said = find_thumbnails(named, about, ["b"], [0], {})
        assert not found and "names are not known" in said[0]


def test_another_folder_may_be_given(tmp_path: Path) -> None:
    write_photo(tmp_path / "new" / "0.png", "cat", 0)
    schema = schema_of(tmp_path / "old")
    found, said = find_thumbnails(schema, {}, ["0.png"], [0], {})
    assert not found and "--image photo=FOLDER" in said[0]
    assert list(find_thumbnails(schema, {}, ["0.png"], [0], {"photo": str(tmp_path / "new")})[0]) == [0]


def test_a_dark_float_picture_is_shown_as_the_run_saw_it(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 0.5, np.float32)).save(tmp_path / "0.tif")
    for white, right in ((None, 128), (1.0, 128), (255.0, 1)):
        found, _ = find_thumbnails(schema_of(tmp_path), {}, ["0.tif"], [0], {}, white=white)
        assert (np.asarray(Image.open(io.BytesIO(found[0]))) == right).all()
