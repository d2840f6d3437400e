"""Answers row by row: dictionaries, data frames, and the first rows as text and HTML."""

from __future__ import annotations

import builtins
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

from tenfold.errors import DependencyError
from tenfold.frames import LINE, RowTable, cell_words, html_table, text_table


class Rows(RowTable):
    def __init__(self, **columns: list[object]) -> None:
        self.cells = {name: np.array(cells) for name, cells in columns.items()}

    def columns(self) -> dict[str, np.ndarray]:
        return self.cells


SEVEN = Rows(name=list("abcdefg"), score=[0.5, 1.0, float("nan"), 1e-7, 12345678.0, 3.14159265, -2.0])


def test_rows_are_counted_and_come_as_dictionaries_of_plain_values() -> None:
    assert len(SEVEN) == 7 and len(Rows()) == 0
    rows = list(SEVEN)
    assert rows[0] == {"name": "a", "score": 0.5}
    assert type(rows[0]["score"]) is float


def test_a_repr_shows_the_first_rows_and_counts_the_rest() -> None:
    lines = repr(SEVEN).splitlines()
    assert lines[0] == "Rows of 7 rows" and lines[-1] == "  ... 2 more"
    assert lines[1].split() == ["name", "score"] and lines[3].split() == ["b", "1"]
    assert lines[4].split() == ["c"]  # NaN is empty
    assert "1.235e+07" in lines[6]


def test_a_repr_stays_within_a_terminals_width() -> None:
    wide = Rows(**{f"column number {number}": ["x" * 60] for number in range(20)})
    assert max(map(len, repr(wide).splitlines())) <= LINE + 4
    assert "..." in repr(wide)


def test_html_escapes_every_text_and_is_well_formed() -> None:
    evil = "<script>alert(1)</script>"
    shown = Rows(**{evil: [evil, "\x1b[31m"]})._repr_html_() + html_table(evil, [evil], [[evil]], more=3)
    assert "<script" not in shown and "\x1b" not in shown and "&lt;script&gt;" in shown
    depth = 0

    class Tags(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            nonlocal depth
            depth += 1

        def handle_endtag(self, tag: str) -> None:
            nonlocal depth
            depth -= 1

    Tags().feed(shown)
    assert depth == 0


def test_html_takes_its_colours_from_the_notebook() -> None:
    shown = SEVEN._repr_html_()
    assert "background" not in shown and "color:" not in shown.replace("border-bottom", "")


def test_an_empty_answer_is_a_headline() -> None:
    assert text_table("Nothing", ["a"], []) == "Nothing"
    assert "<table" not in html_table("Nothing", ["a"], [])


@pytest.mark.parametrize(
    ("cell", "words"),
    [(None, ""), (float("nan"), ""), (True, "yes"), (np.False_, "no"), (3.0, "3"), (0.123456, "0.1235"),
     (np.float32(0.5), "0.5"), (1e9, "1e+09"), ("a\tb\n", "a b "), (7, "7")],
)  # fmt: skip
def test_a_cell_in_a_few_letters(cell: object, words: str) -> None:
    assert cell_words(cell) == words


def test_a_data_frame_has_the_columns_and_the_rows() -> None:
    pandas = pytest.importorskip("pandas")
    frame = SEVEN.to_frame()
    assert list(frame.columns) == ["name", "score"] and len(frame) == 7
    assert frame.score.dtype == np.float64
    assert pandas.DataFrame(SEVEN).equals(frame)


def test_without_pandas_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: object, **more: object) -> object:
        if name.partition(".")[0] == "pandas":
            raise ImportError(name)
        return real(name, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.delitem(sys.modules, "pandas", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DependencyError, match="pip install pandas"):
        SEVEN.to_frame()
