"""From what the user names to rows whose pictures are known to be good."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from photos import COLOURS, write_photo, write_photos, write_table
from tenfold.data.encode import Encoding
from tenfold.data.tables.table import read_table
from tenfold.errors import ImageError, SchemaError, TableError
from tenfold.events import ImagesRead
from tenfold.networks.inputs import Rows, folder_schema, prepare_rows, read_image_folder, read_source
from tenfold.runs.options import Reading
from tenfold.schema import CategoryTarget, ImageColumn, NumberColumn, NumberTarget, Schema

ENCODING = Encoding(classes={"label": ("bird", "cat", "dog")}, image_size=(16, 24))


def schema_of(folder: Path, *columns: str, **values: Any) -> Schema:
    inputs = tuple(ImageColumn(name=name, folder=str(folder / name)) for name in columns or ("photos",))
    return Schema(inputs=inputs, targets=(CategoryTarget(name="label"),), **values)


def prepare(schema: Schema, source: Any, *, targets: bool = False, **reading: Any) -> Rows:
    table, how = read_source(source, schema, Reading(**reading))
    return prepare_rows(table, schema, ENCODING, how, targets=targets)


@pytest.fixture
def place(tmp_path: Path) -> tuple[Path, dict[str, list[str]]]:
    columns = write_photos(tmp_path, 6)
    return tmp_path, {"photos": columns["id"], "label": columns["label"]}


def colour(rows: Rows, row: int, column: int = 0) -> str:
    """Which class's colour a row's picture has."""
    mean = rows.caches[column].read(np.array([row]))[0].reshape(-1, 3).mean(axis=0)
    return min(COLOURS, key=lambda name: float(np.abs(mean - COLOURS[name]).sum()))


# Rows


def test_rows_have_their_pictures_in_order(place) -> None:
    folder, columns = place
    order = [4, 0, 0, 5]
    rows = prepare(schema_of(folder), {"photos": [columns["photos"][row] for row in order]})
    assert rows.ids.tolist() == [columns["photos"][row] for row in order]
    assert [colour(rows, row) for row in range(4)] == [columns["label"][row] for row in order]
    assert rows.caches[0].read(np.array([3, 1])).shape == (2, 16, 24, 3)
    assert rows.content[1] == rows.content[2] != rows.content[0] and rows.bad == {}


def test_the_same_picture_under_another_name_is_the_same_content(place) -> None:
    folder, columns = place
    (folder / "photos" / "copy.png").write_bytes((folder / "photos" / "0003.png").read_bytes())
    rows = prepare(schema_of(folder), {"photos": ["copy.png", "0003.png", "0002.png"]})
    assert rows.content[0] == rows.content[1] != rows.content[2]


def test_two_image_columns_have_their_own_pictures_and_contents(tmp_path: Path) -> None:
    for name, labels in (("front", ("cat", "dog")), ("back", ("bird", "fox"))):
        for number, label in enumerate(labels):
            write_photo(tmp_path / name / f"{number}.png", label, 10 * len(name) + number)
    rows = prepare(schema_of(tmp_path, "front", "back"), {"front": ["0", "0", "1"], "back": ["0", "1", "1"]})
    assert [colour(rows, row, 0) for row in range(3)] == ["cat", "cat", "dog"]
    assert [colour(rows, row, 1) for row in range(3)] == ["bird", "fox", "fox"]
    front, back = rows.contents
    assert front[0] == front[1] != front[2] and back[0] != back[1] == back[2]
    assert len(set(rows.content)) == 3


def test_a_row_is_named_by_its_id_column(place) -> None:
    folder, columns = place
    table = {**columns, "code": ["007", "7", "1e3", "NA", "é", "="]}
    assert prepare(schema_of(folder, id="code"), table).ids.tolist() == table["code"]


def test_bad_pictures_are_all_named_with_their_lines_or_skipped(place) -> None:
    folder, columns = place
    (folder / "photos" / "0001.png").write_bytes(b"")
    names = ["0000.png", "0001.png", "gone.png", "", "0005.png"]
    table = write_table(folder / "t.csv", {"photos": names, "x": "abcde"})
    with pytest.raises(ImageError) as caught:
        prepare(schema_of(folder), table)
    text = str(caught.value)
    for words in (
        "t.csv line 3: 0001.png is empty (0 bytes)",
        "t.csv line 4: gone.png",
        "t.csv line 5",
        "--skip-bad",
    ):
        assert words in text
    rows = prepare(schema_of(folder), table, skip_bad=True)
    assert sorted(rows.bad) == [1, 2, 3] and len(rows.ids) == rows.table.rows == 5
    assert colour(rows, 4) == columns["label"][5]
    assert "3 of 5 rows left out, which cannot be used" in rows.notes
    assert sum("t.csv line" in note for note in rows.notes) == 3


def test_cells_that_are_no_numbers_are_all_named_with_their_lines_or_skipped(tmp_path: Path) -> None:
    schema = Schema(
        inputs=(NumberColumn(name="age"), NumberColumn(name="fare")), targets=(NumberTarget(name="price"),)
    )
    columns = {"age": ["1", "old", "", "4"], "fare": ["x", "y", "3", "4"], "price": ["1", "2", "n", "4"]}
    table = write_table(tmp_path / "t.csv", columns)
    with pytest.raises(TableError) as caught:
        prepare(schema, table)
    assert "line 3, column age: 'old'" in str(caught.value) and "--skip-bad" in caught.value.labels["fix"]
    rows = prepare(schema, table, skip_bad=True)
    assert rows.bad == {
        0: "line 2, column fare: 'x' is not a number",
        1: "line 3, column age: 'old' is not a number",
    }
    assert np.isnan(rows.table.numbers("age")).tolist() == [False, True, True, False]
    # Where labels are read, a label that is not a number is a fault like any other.
    assert sorted(prepare(schema, table, skip_bad=True, targets=True).bad) == [0, 1, 2]


def test_a_row_with_two_bad_pictures_is_one_bad_row(tmp_path: Path) -> None:
    write_photo(tmp_path / "front" / "0.png", "cat", 0)
    write_photo(tmp_path / "back" / "0.png", "dog", 0)
    schema, table = schema_of(tmp_path, "front", "back"), {"front": ["0", "x", "0"], "back": ["0", "y", "z"]}
    rows = prepare(schema, table, skip_bad=True)
    assert sorted(rows.bad) == [1, 2] and "x" in rows.bad[1] and "z" in rows.bad[2]


def test_names_that_lead_outside_are_not_opened(place) -> None:
    folder, _ = place
    write_photo(folder / "secret.png", "cat", 1)
    table = {"photos": ["../secret.png", "/etc/hostname", "sub/../../secret.png", "ok/../0000.png"]}
    with pytest.raises(ImageError) as caught:
        prepare(schema_of(folder), table)
    assert len(caught.value.problems) == 3 and "--allow-outside" in str(caught.value)
    assert prepare(schema_of(folder), {"photos": ["../secret.png"]}, allow_outside=True).bad == {}


def test_the_folder_may_be_another_one_at_prediction(place, tmp_path: Path) -> None:
    folder, _ = place
    (folder / "photos").rename(folder / "moved")
    with pytest.raises(ImageError, match="there is no folder") as caught:
        prepare(schema_of(folder), {"photos": ["0000.png"]})
    assert "--image photos=FOLDER" in caught.value.labels["fix"]
    (folder / "photo").mkdir()
    with pytest.raises(ImageError, match="there is no folder") as caught:
        prepare(schema_of(folder), {"photos": ["0000.png"]})
    assert f"did you mean '{folder / 'photo'}'?" in caught.value.labels["fix"]
    assert (
        prepare(schema_of(folder), {"photos": ["0000.png"]}, folders={"photos": str(folder / "moved")}).bad
        == {}
    )
    with pytest.raises(SchemaError, match="no image column 'photo'") as caught2:
        prepare(schema_of(folder), {"photos": ["0000.png"]}, folders={"photo": str(folder / "moved")})
    assert "did you mean 'photos'?" in caught2.value.labels["fix"]


def test_columns_that_are_not_there_are_named(place) -> None:
    folder, columns = place
    with pytest.raises(SchemaError, match="no column 'photos'"):
        prepare(schema_of(folder), {"photo": columns["photos"]})
    with pytest.raises(SchemaError, match="no column 'label'"):
        prepare(schema_of(folder), {"photos": columns["photos"]}, targets=True)


def test_reading_tells_of_every_picture(place) -> None:
    folder, columns = place
    told: list[Any] = []
    prepare(schema_of(folder), columns, on_progress=told.append, cache=str(folder / "cache"))
    assert all(isinstance(event, ImagesRead) and event.column == "photos" for event in told)
    assert told[-1].done == told[-1].total == 6


def test_workers_change_nothing(place) -> None:
    folder, columns = place
    every = np.arange(6)
    found = [
        prepare(schema_of(folder), columns, workers=workers, cache=str(folder / f"cache{workers}"))
        for workers in (0, 1, 4)
    ]
    for one in found[1:]:
        assert np.array_equal(one.caches[0].read(every), found[0].caches[0].read(every))
        assert one.content.tolist() == found[0].content.tolist()


# Sources


def test_a_table_in_any_form(place) -> None:
    folder, columns = place
    path = write_table(folder / "t.csv", columns)
    forms = [
        path,
        str(path),
        columns,
        read_table(columns),
        {k: np.array(v, object) for k, v in columns.items()},
    ]
    for form in forms:
        table, _ = read_source(form, schema_of(folder), Reading())
        assert table.text("label").tolist() == columns["label"]


@pytest.mark.parametrize(
    "source",
    ["nowhere.csv", "x" * 5000, "a\0b", "", None, 5, ["0000.png"], object()],
    ids=lambda one: str(one)[:20],
)
def test_what_is_no_table_is_refused_in_words(place, source: Any) -> None:
    with pytest.raises(TableError) as caught:
        read_source(source, schema_of(place[0]), Reading())
    assert caught.value.labels["fix"]


def test_a_folder_stands_for_its_pictures(tmp_path: Path) -> None:
    for name in ("b.png", "a.png", "sub/c.png"):
        write_photo(tmp_path / "new" / name, "cat", 1)
    for name in (".DS_Store", "Thumbs.db", "._a.png", "notes.txt"):
        (tmp_path / "new" / name).write_bytes(b"x")
    table, reading = read_source(tmp_path / "new", schema_of(tmp_path), Reading(workers=1))
    assert table.names == ("photos",) and table.text("photos").tolist() == ["a.png", "b.png", "sub/c.png"]
    assert reading.folders == {"photos": str(tmp_path / "new")} and reading.workers == 1
    assert table.source == str(tmp_path / "new")


def test_sub_folders_are_labels_where_a_target_is_called_so(tmp_path: Path) -> None:
    for name in ("cat/1.png", "90/2.png"):
        write_photo(tmp_path / "test" / name, "cat", 1)
    schema = Schema(
        inputs=(ImageColumn(name="image", folder="elsewhere"),),
        targets=(CategoryTarget(name="kind"), CategoryTarget(name="label")),
    )
    table, _ = read_source(tmp_path / "test", schema, Reading())
    assert table.text("label").tolist() == ["90", "cat"] and table.text("image").tolist() == [
        "90/2.png",
        "cat/1.png",
    ]
    write_photo(tmp_path / "test" / "loose.png", "cat", 1)
    assert read_source(tmp_path / "test", schema, Reading())[0].names == ("image",)


def test_a_folder_cannot_stand_for_two_columns(tmp_path: Path) -> None:
    write_photo(tmp_path / "new" / "a.png", "cat", 1)
    with pytest.raises(SchemaError, match="2 image columns"):
        read_source(tmp_path / "new", schema_of(tmp_path, "front", "back"), Reading())


def test_a_folder_of_classes(tmp_path: Path) -> None:
    for name in ("cat/1.png", "cat/deep/2.png", "dog/1.png"):
        write_photo(tmp_path / "train" / name, "cat", 1)
    table = read_image_folder(tmp_path / "train", labels=True)
    assert table.text("image").tolist() == ["cat/1.png", "cat/deep/2.png", "dog/1.png"]
    assert table.text("label").tolist() == ["cat", "cat", "dog"]
    schema = folder_schema(str(tmp_path / "train"))
    assert schema.row_name == "image" and [target.name for target in schema.targets] == ["label"]
    write_photo(tmp_path / "train" / "loose.png", "cat", 1)
    with pytest.raises(ImageError, match="in a sub-folder that names its class") as caught:
        read_image_folder(tmp_path / "train", labels=True)
    assert caught.value.labels["found"] == "loose.png"


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for labels in (True, False):
        with pytest.raises(ImageError, match="no picture"):
            read_image_folder(tmp_path / "empty", labels=labels)


def test_links_that_lead_outside_are_followed_only_when_allowed(tmp_path: Path) -> None:
    write_photo(tmp_path / "else" / "a.png", "cat", 1)
    (tmp_path / "new").mkdir()
    os.symlink(tmp_path / "else" / "a.png", tmp_path / "new" / "link.png")
    schema = schema_of(tmp_path)
    with pytest.raises(ImageError, match="--allow-outside"):
        read_source(tmp_path / "new", schema, Reading())
    rows = prepare(schema, tmp_path / "new", allow_outside=True)
    assert rows.ids.tolist() == ["link.png"] and colour(rows, 0) == "cat"
