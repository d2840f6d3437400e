"""Tables are read as the training's table was, where that fits them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tenfold.data.tables.table import read_table
from tenfold.errors import TableError
from tenfold.runs.reading import kept_options, read_as_trained, reading_notes, table_facts


def write(path: Path, text: str, encoding: str = "utf-8") -> str:
    path.write_bytes(text.encode(encoding))
    return str(path)


def cells(table: Any) -> list[list[str]]:
    return [list(map(str, table.text(name))) for name in table.names]


def test_only_what_was_said_is_kept(tmp_path: Path) -> None:
    none = {"separator": None, "encoding": None, "header": None, "missing_values": ()}
    assert kept_options("x.csv", none) == {}
    assert kept_options("x.csv", {**none, "header": False, "missing_values": "?"}) == {
        "header": False,
        "missing_values": ["?"],
    }
    path = write(tmp_path / "x.csv", "a;b\n1;?\n")
    table = read_table(path, separator=";", missing_values=["?"])
    assert table_facts(table, {"missing_values": ("-",)}) == {
        "table": path,
        "reading": {"separator": ";", "missing_values": ["?", "-"]},
    }
    assert table_facts({"a": [1]}, {}) == {"table": None, "reading": {}}


def test_words_for_missing_are_added_to() -> None:
    about = {"reading": {"missing_values": ["?"]}}
    table = read_as_trained({"a": ["?", "-", "x"]}, about, {"missing_values": ("-",)})
    assert table.missing("a").tolist() == [True, True, False]
    assert reading_notes(table) == ["read as the training's table was: --missing-values ?"]
    assert reading_notes(read_as_trained({"a": ["?"]}, {}, {})) == []


@pytest.mark.parametrize(
    ("text", "encoding"),
    [("é^1\n", "cp1252"), ("ø^1\n", "cp1252"), ("é^1\n", "utf-8"), ("é^1\n", "utf-8-sig")],
)
def test_the_encoding_is_that_of_files_that_are_not_utf8(tmp_path: Path, text: str, encoding: str) -> None:
    about = {"reading": {"encoding": "cp1252", "separator": "^", "header": False}}
    table = read_as_trained(write(tmp_path / "t.csv", text, encoding), about, {}, ["column_1"])
    assert cells(table) == [[text[0]], ["1"]]


def test_an_encoding_of_escapes(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "名,n\n東京,1\n", "iso2022_jp")
    assert cells(read_as_trained(path, {"reading": {"encoding": "iso2022_jp"}}, {})) == [["東京"], ["1"]]
    plain = write(tmp_path / "p.csv", "a,n\nx,1\n")
    for encoding in ("iso2022_jp", "utf-16", "utf-16-le", "no-such"):
        assert cells(read_as_trained(plain, {"reading": {"encoding": encoding}}, {})) == [["x"], ["1"]]


def test_the_trainings_own_table_is_read_as_it_was(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "user,é\nx,1\n")
    how = {"encoding": "latin-1", "header": False, "separator": ","}
    table = read_as_trained(path, {"table": path, "reading": how}, {}, ["column_1"])
    assert cells(table) == [["user", "x"], ["Ã©", "1"]]


def test_a_layout_that_does_not_fit_is_passed_over(tmp_path: Path) -> None:
    about = {"reading": {"separator": "^"}}
    path = write(tmp_path / "t.csv", "a;b\n1^2;3\n")
    table = read_as_trained(path, about, {}, ["a", "b"])
    assert cells(table) == [["1^2"], ["3"]] and "does not fit the run's --sep '^'" in table.notes[-1]
    # What is said now comes before what the run says.
    assert cells(read_as_trained(path, about, {"separator": ";"}, ["a"])) == [["1^2"], ["3"]]
    # Nothing fits: the fault of the run's own way is told.
    with pytest.raises(TableError, match="do not fit|does not fit"):
        read_as_trained(write(tmp_path / "u.csv", "a^b\n1^2^3\n"), about, {}, ["a", "b"])


def test_a_line_of_names_over_columns_that_are_known_by_place(tmp_path: Path) -> None:
    about = {"reading": {"header": False}}
    wanted = ["column_1", "column_2"]
    path = write(tmp_path / "t.csv", "user,item\nu1,m1\nu2,m2\n")
    assert cells(read_as_trained(path, about, {}, wanted)) == [["u1", "u2"], ["m1", "m2"]]
    # Columns of ratings are found by their usual names.
    assert read_as_trained(path, about, {}, wanted, usual_names=True).names == ("user", "item")
    plain = write(tmp_path / "u.csv", "x,y\nu1,m1\n")
    assert cells(read_as_trained(plain, about, {}, wanted)) == [["x", "u1"], ["y", "m1"]]


def test_names_by_order_give_way_to_names_in_the_file(tmp_path: Path) -> None:
    about = {"reading": {"names": ["a", "b"]}}
    path = write(tmp_path / "t.csv", "b,a\n1,x\n2,y\n")
    assert read_as_trained(path, about, {}, ["a", "b"]).text("a").tolist() == ["x", "y"]
    assert read_as_trained({"b": [1], "a": ["x"]}, about, {}, ["a", "b"]).text("a").tolist() == ["x"]
    bare = write(tmp_path / "u.csv", "1,x\n2,y\n")
    assert read_as_trained(bare, about, {}, ["a", "b"]).text("b").tolist() == ["x", "y"]
