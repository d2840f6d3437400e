"""Cells are what they were written as, whatever they look like; sheets have names that can be had."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from office import needs_office, read_book, read_formulas, recompute
from tenfold.errors import OutputError
from tenfold.workbooks.workbook import Block, Book, column_letters, sheet_name

RISKY = [
    "=1+1",
    "+x",
    "-30-",
    "@SUM(A1)",
    "\t=1",
    "＝1",
    "'quoted",
    "http://x.example",
    "007",
    "1e5",
    "<b>&amp;",
]


@pytest.mark.parametrize(
    ("wanted", "taken", "found"),
    [
        ("disease", (), "disease"),
        ("a[b]:c*d?e/f\\g", (), "a b c d e f g"),
        ("", (), "Sheet"),
        ("'quoted'", (), "quoted"),
        ("it's", (), "it's"),
        ("History", (), "History (2)"),
        ("Loss", ("loss", "LOSS (2)"), "Loss (3)"),
        ("x" * 40, (), "x" * 31),
        ("x" * 40, ("X" * 31,), "x" * 27 + " (2)"),
        ("🌱" * 20, (), "🌱" * 15),
        ("tab\tand\nline", (), "tab and line"),
        ("half \ud83d", (), "half"),
    ],
)
def test_sheet_names(wanted: str, taken: tuple[str, ...], found: str) -> None:
    assert sheet_name(wanted, taken) == found


def test_column_letters() -> None:
    assert [column_letters(one) for one in (0, 25, 26, 701, 702, 16383)] == [
        "A",
        "Z",
        "AA",
        "ZZ",
        "AAA",
        "XFD",
    ]


def test_no_text_becomes_a_formula_a_link_or_a_number(tmp_path: Path) -> None:
    book = Book("=title")
    sheet = book.sheet("=1+1")
    for row, text in enumerate(RISKY):
        sheet.text(row, 0, text)
    book.write(tmp_path / "b.xlsx")
    cells = read_book(tmp_path / "b.xlsx")["=1+1"]
    assert [cells[f"A{row + 1}"] for row in range(len(RISKY))] == RISKY
    assert not read_formulas(tmp_path / "b.xlsx")["=1+1"]
    with zipfile.ZipFile(tmp_path / "b.xlsx") as archive:
        assert b"quotePrefix" in archive.read("xl/styles.xml")
        assert b"hyperlink" not in archive.read("xl/worksheets/sheet1.xml")


@needs_office
def test_formulas_across_sheets_with_odd_names_are_computed(tmp_path: Path) -> None:
    book = Book("t")
    one, two = book.sheet("it's [a] sheet"), book.sheet("two")
    block = Block.put(one, 1, 1, np.array([[1.0, 2.0], [3.0, np.nan]]), None)
    two.formula(0, 0, f"SUM({block.all(outside=True)})", 6.0)
    two.formula(1, 0, f"{one.at(2, 1, outside=True)}*2", 6.0)
    two.formula(2, 0, '"a"&"b"', "ab")
    book.write(tmp_path / "b.xlsx")
    found = recompute(tmp_path / "b.xlsx", {(one.name, "B2"): 11.0})["two"]
    assert found == {"A1": 16.0, "A2": 6.0, "A3": "ab"}
    assert read_book(tmp_path / "b.xlsx")["two"]["A1"] == 6.0


def test_what_is_no_number_is_an_empty_cell_or_an_error(tmp_path: Path) -> None:
    book = Book("t")
    sheet = book.sheet("s")
    sheet.number(0, 0, float("nan"))
    sheet.number(0, 1, -0.25)
    sheet.formula(0, 2, "EXP(1000)", float("inf"))
    sheet.text(0, 3, "x" * 40000)
    book.write(tmp_path / "b.xlsx")
    cells = read_book(tmp_path / "b.xlsx")["s"]
    assert "A1" not in cells and cells["B1"] == -0.25 and cells["C1"] == "#NUM!"
    assert len(str(cells["D1"])) == 32767


def test_equal_contents_are_equal_files_and_a_bad_place_is_said(tmp_path: Path) -> None:
    for name in ("a.xlsx", "b.xlsx"):
        book = Book("t")
        book.sheet("s").text(0, 0, "x")
        book.write(tmp_path / name)
    assert (tmp_path / "a.xlsx").read_bytes() == (tmp_path / "b.xlsx").read_bytes()
    with pytest.raises(OutputError):
        Book("t").write(tmp_path)
