"""Blocks of rows under each other, and what other sheets take from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from losses import rows_of
from office import read_book
from tenfold.workbooks.rows import RowsSheet, Side
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
