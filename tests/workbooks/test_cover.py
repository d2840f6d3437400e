"""The first sheets of a workbook: its contents, and the rows with what is said of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from losses import rows_of
from office import read_book
from tenfold.workbooks.lastlayer import build_loss_book


def test_the_first_sheet_names_every_other_and_compares_every_target(tmp_path: Path) -> None:
    build_loss_book(rows_of("category", "number")).write(tmp_path / "b.xlsx")
    book = read_book(tmp_path / "b.xlsx")
    first = list(book["Read me"].values())
    assert {name for name in book if name != "Read me"} <= set(first)
    assert "=trained" in first and "+note" in first
    at = first.index("largest difference")
    assert {"category 0", "number 1"} <= set(first[at:])


def test_a_row_has_its_reason_label_answer_and_loss(tmp_path: Path) -> None:
    found = rows_of("category", smoothing=0.0)
    build_loss_book(found).write(tmp_path / "b.xlsx")
    cells, target = read_book(tmp_path / "b.xlsx")["Rows"], found.targets[0]
    best = [target.classes[place] for place in target.answers.argmax(1)]
    for row in range(5):
        assert [cells.get(f"{letter}{5 + row}", "") for letter in "ABCD"] == [
            found.ids[row], "asked for", target.label_words[row], best[row],
        ]  # fmt: skip
        loss = cells[f"F{5 + row}"]
        assert loss == (pytest.approx(target.losses[row]) if target.label_words[row] else "no label")
    assert [cells[f"{letter}4"] for letter in "EF"] == ["probability", "training loss"]
