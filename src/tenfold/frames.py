"""Answers row by row: as dictionaries, a data frame, and the first rows as text or HTML.

The only room of pandas, which is loaded when a data frame is asked for.
"""

from __future__ import annotations

import html
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import DependencyError, printable

if TYPE_CHECKING:
    import pandas

    #: What `to_frame` returns.
    Frame: TypeAlias = pandas.DataFrame

#: Rows that a `repr` shows, and that a notebook shows.
FEW_ROWS, SOME_ROWS = 5, 10
#: Letters of a cell, and of a line, in a `repr`.
CELL, LINE = 28, 100

Columns = Mapping[str, NDArray[np.generic]]

#: Styles that take their colours from the notebook, light or dark. They stand in the elements, since a
#: notebook may drop style sheets.
_TABLE = "border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:13px;margin:4px 0"
_CELL = "padding:3px 10px 3px 0;border-bottom:1px solid rgba(128,128,128,.3)"


class RowTable(ABC):
    """An answer of some rows: ``len``, iteration over dictionaries, `to_frame`, and a short `repr`."""

    @abstractmethod
    def columns(self) -> dict[str, NDArray[np.generic]]:
        """Name -> (rows,) cells."""

    @property
    def row_index(self) -> object:
        """The index of the data frame that the rows came from, or None."""
        return None

    @property
    def headline(self) -> str:
        """The line above the rows."""
        return f"{type(self).__name__} of {len(self)} row{'' if len(self) == 1 else 's'}"

    def to_frame(self) -> Frame:
        """The rows as a pandas data frame. Rows that came from a data frame keep its index.

        Raises DependencyError without pandas.
        """
        return frame_of(self.columns(), self.row_index)

    def __len__(self) -> int:
        return len(next(iter(self.columns().values()), ()))

    def __iter__(self) -> Iterator[dict[str, object]]:
        columns = self.columns()
        for cells in zip(*(column.tolist() for column in columns.values()), strict=True):
            yield dict(zip(columns, cells, strict=True))

    def _shown(self) -> dict[str, NDArray[np.generic]]:
        """The columns that a `repr` shows."""
        return self.columns()

    def _first(self, most: int) -> tuple[list[str], list[list[str]]]:
        columns = self._shown()
        cells = (map(cell_words, column[:most].tolist()) for column in columns.values())
        return list(columns), [list(row) for row in zip(*cells, strict=True)]

    def __repr__(self) -> str:
        return text_table(self.headline, *self._first(FEW_ROWS), more=max(0, len(self) - FEW_ROWS))

    def _repr_html_(self) -> str:
        return html_table(self.headline, *self._first(SOME_ROWS), more=max(0, len(self) - SOME_ROWS))


def frame_of(columns: Columns, index: object = None) -> Frame:
    """Columns as a data frame. index: of its rows, as pandas takes it; None numbers them.

    Raises DependencyError without pandas.
    """
    try:
        import pandas
    except ImportError:
        raise DependencyError(
            "a data frame needs pandas, which is not installed",
            fix="pip install pandas; without it: .columns() gives the arrays by name, and "
            "polars.DataFrame(answer.columns()) a frame of polars",
        ) from None
    return pandas.DataFrame(dict(columns), index=index)  # pyright: ignore[reportArgumentType]


def cell_words(cell: object) -> str:
    """A cell in a few letters: numbers with four digits, "" for NaN and None."""
    if cell is None or cell != cell:
        return ""
    if isinstance(cell, bool | np.bool_):
        return "yes" if cell else "no"
    if isinstance(cell, float | np.floating):
        return f"{cell:.0f}" if float(cell).is_integer() and abs(cell) < 1e6 else f"{cell:.4g}"
    return printable(str(cell)).replace("\n", " ").replace("\t", " ")


def text_table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]], *, more: int = 0) -> str:
    """A title and rows of words as lines of text, cut to a terminal's width. more: rows that are left out."""
    columns = [[_cut(name), *(_cut(row[at]) for row in rows)] for at, name in enumerate(headings)]
    widths = [max(map(len, cells)) for cells in columns]
    while len(widths) > 2 and sum(widths) + 2 * len(widths) > LINE - 4:
        widths.pop()
    cut = ["..."] if len(widths) < len(columns) else []
    lines = [
        "  ".join([*(cells[at].ljust(width) for cells, width in zip(columns, widths, strict=False)), *cut])
        for at in range(len(rows) + 1)
    ]
    last = [f"  ... {more} more"] if more else []
    return "\n".join([title, *(f"  {line}".rstrip() for line in lines if rows), *last])


def _cut(text: str) -> str:
    return text if len(text) <= CELL else f"{text[: CELL - 1]}…"


def html_table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]], *, more: int = 0) -> str:
    """The same as HTML, every text escaped. It has the colours of the notebook around it."""
    head = "".join(f'<th style="{_CELL};text-align:left">{html.escape(name)}</th>' for name in headings)
    body = "".join(
        "<tr>"
        + "".join(f'<td style="{_CELL};text-align:left">{html.escape(cell)}</td>' for cell in row)
        + "</tr>"
        for row in rows
    )
    table = f'<table style="{_TABLE}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    last = f'<div style="opacity:.7">and {more} more</div>' if more else ""
    return f"<div><b>{html.escape(printable(title))}</b>{table if rows else ''}{last}</div>"
