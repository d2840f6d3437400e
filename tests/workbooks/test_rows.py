"""Blocks of rows under each other, and what other sheets take from them."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

from losses import rows_of
from office import assert_recomputes, column_number, needs_office, read_book, step
from tenfold.workbooks import rows
from tenfold.workbooks.lastlayer import build_loss_book
from tenfold.workbooks.rows import BAND, COLUMN, LABEL, NAME, RowsSheet, Side
from tenfold.workbooks.workbook import Book


def test_blocks_stand_below_each_other_with_rows_and_side(tmp_path: Path) -> None:
    book = Book("t")
    sheet = book.sheet("s")
    made = RowsSheet(sheet, ["a", "b"], lambda row, column: None)
    made.words = ["x", ""]
    values = np.array([[1.0, 2.0], [3.0, 4.0]])
    one, side = made.block("one", "note", values, None)
    two, side = made.block(
        "two", "", values * 2, lambda r, c: f"2*{one.at(r, c)}",
        Side("sum", lambda block, row: f"SUM({block.row(row)})", (values * 2).sum(1)),
    )  # fmt: skip
    mean = made.mean("mean", side, side, np.array([6.0, 14.0]), np.array([1.0, 0.0]))
    book.write(tmp_path / "b.xlsx")
    cells = read_book(tmp_path / "b.xlsx")["s"]
    assert two.top == one.below + 2 and cells[f"B{one.top + 1}"] == "x"
    assert [cells[f"{letter}{two.top + 1}"] for letter in "ABCDE"] == ["a", "x", 6.0, 2.0, 4.0]
    assert mean == 6.0 and cells[f"C{two.below + 1}"] == 6.0
    assert made.last_result == f"'s'!$C${two.below + 1}"


def test_raw_outputs_have_names() -> None:
    found = rows_of("category", "ordered", "number").targets
    assert list(found[0].kind.output_names) == list(found[0].classes)
    assert len(found[1].kind.output_names) == len(found[1].classes) - 1
    assert found[2].kind.output_names == ["number 2"]


def test_steps_of_few_classes_stand_side_by_side_in_bands_that_fit_a_page(tmp_path: Path) -> None:
    build_loss_book(rows_of("category")).write(tmp_path / "b.xlsx")
    cells = read_book(tmp_path / "b.xlsx")["category 0"]
    places = [step(cells, title) for title in ("raw outputs z", "exp(z)", "softmax = exp(z) / sum")]
    lines = {re.sub("[A-Z]", "", place) for place in places}
    assert len(lines) == 1 and places == sorted(places)  # as in the lesson, from left to right
    widest = max(column_number(re.sub(r"\d", "", cell)) for cell in cells)
    assert NAME + LABEL + (widest - 1) * COLUMN <= BAND
    # Each band repeats the rows and their labels.
    bands = [int(cell[1:]) for cell, value in cells.items() if cell[0] == "B" and value == "label"]
    assert len(bands) > 3
    for line in bands:
        assert [cells.get(f"A{line + 1 + row}") for row in range(2)] == ["@0.png", "@1.png"], line
    with zipfile.ZipFile(tmp_path / "b.xlsx") as archive:
        sheet = archive.read("xl/worksheets/sheet3.xml").decode()
    assert 'fitToHeight="0"' in sheet and 'state="frozen"' in sheet and 'orientation="landscape"' in sheet


@needs_office
def test_of_more_classes_steps_stand_under_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "ACROSS", 3)
    build_loss_book(rows_of("category")).write(tmp_path / "b.xlsx")
    cells = read_book(tmp_path / "b.xlsx")["category 0"]
    at = {value: cell for cell, value in cells.items()}
    assert at["raw outputs z"][0] == at["exp(z)"][0] == "A"
    assert int(at["exp(z)"][1:]) > int(at["raw outputs z"][1:])
    assert_recomputes(tmp_path / "b.xlsx")
