"""Spreadsheets whose formulas recompute. The only room of XlsxWriter.

A `Book` has sheets, a `Sheet` cells: texts, numbers, and formulas with the value that they have now, so that
a viewer that does not calculate shows it, too. A text is never taken for a formula, a link or a number.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import printable
from tenfold.files.atomic import replacing

if TYPE_CHECKING:
    from xlsxwriter.format import Format
    from xlsxwriter.worksheet import Worksheet

#: What a spreadsheet can hold: columns of a sheet, letters of a cell, letters of a sheet's name.
MOST_COLUMNS, MOST_LETTERS, MOST_NAME = 16384, 32767, 31
#: Letters of a text within a formula.
MOST_CONSTANT = 255
#: A text that begins so is marked as text, so that it stays a text when somebody edits the cell.
RISKY = ("=", "+", "-", "@", "\t", "\r", "\n", "'", "＝", "＋", "－", "＠")

DARK, PALE, LINE = "#1F4E5F", "#EAF3F5", "#C9D6DA"
_BASE = {"font_name": "Calibri", "font_size": 11, "valign": "vcenter"}
_CELL = {"border": 1, "border_color": LINE}
_HEAD = {"bold": True, "font_color": "#FFFFFF", "bg_color": DARK, **_CELL}
_GIVEN = {"bg_color": "#FFF6D6", "font_color": "#1F3D99", **_CELL}
_STYLES: dict[str, dict[str, object]] = {
    "title": {"bold": True, "font_size": 18, "font_color": DARK},
    "lead": {"font_color": "#5B6770", "italic": True},
    "plain": {"text_wrap": True, "valign": "top"},
    "section": {"bold": True, "font_size": 12, "font_color": DARK, "bottom": 2, "bottom_color": DARK},
    "note": {"font_color": "#5B6770", "bottom": 2, "bottom_color": DARK},
    "note_wrapped": {"font_color": "#5B6770", "font_size": 9, "text_wrap": True, "valign": "top"},
    "head": {"align": "center", **_HEAD},
    "head_left": _HEAD,
    "head_wrapped": {"align": "center", "text_wrap": True, **_HEAD, "font_size": 9},
    "id": {"bg_color": PALE, **_CELL},
    "word": {"bg_color": PALE, "align": "center", **_CELL},
    "given": {"num_format": "0.0000", **_GIVEN},
    "given_word": {"align": "center", **_GIVEN},
    "given_percent": {"num_format": "0.00%", **_GIVEN},
    "given_short": {"num_format": "General", **_GIVEN},
    "calc": {"num_format": "0.0000", **_CELL},
    "whole": {"num_format": "0", "align": "center", **_CELL},
    "percent": {"num_format": "0.00%", **_CELL},
    "result": {"num_format": "0.0000", "bold": True, "bg_color": "#DDF0DF", **_CELL},
    "result_word": {"bold": True, "bg_color": "#DDF0DF", "align": "center", **_CELL},
    "tiny": {"num_format": "0.0E+00", "font_color": "#5B6770", **_CELL},
}


def sheet_name(wanted: str, taken: Sequence[str] = ()) -> str:
    """A sheet name that every spreadsheet accepts: no ``[]:*?/\\``, no control letters, 1 to 31 letters,
    no apostrophe at its ends, not ``History``, and none of `taken`, whatever their case."""
    name = re.sub(r"[\[\]:*?/\\\x00-\x1f\x7f\ufffe\uffff]", " ", _whole(wanted))
    name = re.sub(r"\s+", " ", name).strip(" '")
    name = _shortened(name, MOST_NAME).strip(" '") or "Sheet"
    others = {other.casefold() for other in (*taken, "History")}
    count, free = 1, name
    while free.casefold() in others:
        count += 1
        mark = f" ({count})"
        free = _shortened(name, MOST_NAME - len(mark)).strip(" '") + mark
    return free


def _shortened(text: str, units: int) -> str:
    """The longest beginning of so many UTF-16 units, which is what spreadsheets count."""
    while len(text.encode("utf-16-le")) // 2 > units:
        text = text[:-1]
    return text


def _whole(text: str) -> str:
    """The text without halves of letters, which no file can hold; signs that XML forbids are spelled out."""
    return printable(str(text).encode("utf-8", "replace").decode("utf-8"))


def text_constant(text: str) -> str:
    """The text as a part of a formula; a text that is too long for it is cut."""
    return '"' + _shortened(_whole(text), MOST_CONSTANT).replace('"', '""') + '"'


def column_letters(column: int) -> str:
    """0 -> A, 26 -> AA."""
    letters = ""
    column += 1
    while column:
        column, rest = divmod(column - 1, 26)
        letters = chr(65 + rest) + letters
    return letters


class Book:
    """A workbook that is made in memory and written whole, by `write`."""

    def __init__(self, title: str) -> None:
        from xlsxwriter import Workbook

        self._stream = BytesIO()
        options = {"in_memory": True, "nan_inf_to_errors": True}
        # A text stays a text, whatever it looks like.
        options |= {"strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False}
        self._book = Workbook(self._stream, options)
        # One moment for all: equal contents are equal files.
        self._book.set_properties({"title": _whole(title), "created": datetime(2000, 1, 1)})
        self._book.set_calc_mode("auto")
        self._styles: dict[tuple[str, bool], Format] = {}
        self.sheets: list[Sheet] = []

    def sheet(self, name: str, *, colour: str = DARK) -> Sheet:
        """Add a sheet, under this name or the nearest free one."""
        name = sheet_name(name, [sheet.name for sheet in self.sheets])
        raw = self._book.add_worksheet(name)
        raw.set_tab_color(colour)
        raw.hide_gridlines(2)
        raw.set_landscape()
        raw.set_paper(9)
        raw.fit_to_pages(1, 0)
        made = Sheet(name, raw, self)
        self.sheets.append(made)
        return made

    def style(self, name: str, *, text: bool = False) -> Format:
        """A cell's look; text: it is marked as text for whoever edits it."""
        if (name, text) not in self._styles:
            made = self._book.add_format({**_BASE, **_STYLES[name]})
            if text:
                made.set_quote_prefix()
            self._styles[name, text] = made
        return self._styles[name, text]

    def name_range(self, name: str, reference: str) -> None:
        """A name for cells, such as a solver asks for."""
        self._book.define_name(name, f"={reference}")

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the file; what was there before is replaced whole or not at all."""
        self._book.close()
        with replacing(path) as stream:
            stream.write(self._stream.getvalue())


class Sheet:
    """Cells by row and column, both from 0."""

    def __init__(self, name: str, raw: Worksheet, book: Book) -> None:
        self.name, self._book = name, book
        self._raw: Any = raw  # its types know no values of formulas but int

    def text(self, row: int, column: int, text: str, style: str = "plain") -> None:
        """A text, letter by letter."""
        whole = _shortened(_whole(text), MOST_LETTERS)
        self._raw.write_string(row, column, whole, self._book.style(style, text=whole.startswith(RISKY)))

    def number(self, row: int, column: int, value: float, style: str = "given") -> None:
        """A number; what is none is an empty cell."""
        look = self._book.style(style)
        if math.isfinite(value):
            self._raw.write_number(row, column, float(value), look)
        else:
            self._raw.write_blank(row, column, None, look)

    def formula(self, row: int, column: int, formula: str, value: float | str, style: str = "calc") -> None:
        """A formula without its equals sign, and what it comes to now."""
        shown: float | str = _whole(value) if isinstance(value, str) else float(value)
        if not isinstance(shown, str) and not math.isfinite(shown):
            shown = "#NUM!"
        self._raw.write_formula(row, column, f"={formula}", self._book.style(style), shown)

    def texts(self, row: int, column: int, texts: Sequence[str], style: str = "head") -> None:
        """Texts beside each other."""
        for index, text in enumerate(texts):
            self.text(row, column + index, text, style)

    def widths(self, *widths: tuple[int, int, float]) -> None:
        """Columns from, to, and how many letters they are wide."""
        for first, last, width in widths:
            self._raw.set_column(first, last, width)

    def height(self, row: int, points: float) -> None:
        """How high a row is."""
        self._raw.set_row(row, points)

    def freeze(self, row: int, column: int) -> None:
        """Rows above and columns left of this cell stay where they are."""
        self._raw.freeze_panes(row, column)

    def merged(self, row: int, left: int, right: int, text: str, style: str) -> None:
        """A text over several cells of a row."""
        look = self._book.style(style)
        if left < right:
            self._raw.merge_range(row, left, row, right, "", look)
        self.text(row, left, text, style)

    def print_part(self, bottom: int, right: int) -> None:
        """Print the cells up to this one alone, a page wide."""
        self._raw.print_area(0, 0, bottom, right)

    def print_across(self, head: int, breaks: Sequence[int], scale: int, left: int = 1) -> None:
        """Print in pages beside each other, with the columns up to `left` and rows up to `head` on each.

        breaks: columns that begin a page.  scale: in percent.
        """
        self._raw.set_print_scale(scale)
        self._raw.repeat_columns(0, left)
        self._raw.repeat_rows(0, head)
        if breaks:
            self._raw.set_v_pagebreaks(list(breaks))

    def choices(self, row: int, column: int, source: str) -> None:
        """Limit a cell to the values in `source`, a reference."""
        self._raw.data_validation(row, column, row, column, {"validate": "list", "source": f"={source}"})

    def format(self, top: int, left: int, bottom: int, right: int, look: Mapping[str, str]) -> None:
        """Format cells by their values, as XlsxWriter's `conditional_format` does."""
        self._raw.conditional_format(top, left, bottom, right, dict(look))

    def link(self, row: int, column: int, sheet: Sheet) -> None:
        """The name of another sheet, which leads there."""
        self._raw.write_url(
            row, column, f"internal:{sheet.quoted}!A1", self._book.style("id"), sheet.name, "go there"
        )

    @property
    def quoted(self) -> str:
        """The sheet's name as it stands in a formula of another sheet."""
        return "'" + self.name.replace("'", "''") + "'"

    def at(self, row: int, column: int, *, fixed: str = "", outside: bool = False) -> str:
        """A cell's name. fixed: ``row``, ``column`` or ``both`` with a dollar; outside: with the sheet's."""
        letter = "$" if fixed in ("column", "both") else ""
        digit = "$" if fixed in ("row", "both") else ""
        name = f"{letter}{column_letters(column)}{digit}{row + 1}"
        return f"{self.quoted}!{name}" if outside else name

    def range(
        self, top: int, left: int, bottom: int, right: int, *, fixed: str = "", outside: bool = False
    ) -> str:
        """The name of cells from corner to corner."""
        return f"{self.at(top, left, fixed=fixed, outside=outside)}:{self.at(bottom, right, fixed=fixed)}"


@dataclass(frozen=True)
class Block:
    """Rows of equal kind on a sheet: the first cell is (top, left), the last (top + rows - 1, right)."""

    sheet: Sheet
    top: int
    left: int
    rows: int
    columns: int

    @classmethod
    def put(
        cls,
        sheet: Sheet,
        top: int,
        left: int,
        values: NDArray[np.float64] | NDArray[np.object_],
        formula: Callable[[int, int], str | None] | None,
        style: str = "calc",
    ) -> Block:
        """Write (rows, columns) values: as formulas, or where these are None as numbers to change."""
        for row, column in np.ndindex(*values.shape):
            made = None if formula is None else formula(row, column)
            value = values.item(row, column)
            if made is None:
                sheet.number(top + row, left + column, value, "given" if style == "calc" else style)
            else:
                sheet.formula(top + row, left + column, made, value, style)
        return cls(sheet, top, left, *values.shape)

    @property
    def below(self) -> int:
        """The first row below."""
        return self.top + self.rows

    def at(self, row: int, column: int = 0) -> str:
        """A cell's name."""
        return self.sheet.at(self.top + row, self.left + column)

    def fixed(self, column: int) -> str:
        """A cell of the first row, with a dollar at its row."""
        return self.sheet.at(self.top, self.left + column, fixed="row")

    def row(self, row: int, *, last: int | None = None, outside: bool = False) -> str:
        """The name of a row, up to a column where `last` is given; outside: for another sheet."""
        right, line = self.left + (self.columns - 1 if last is None else last), self.top + row
        fixed = "both" if outside else ""
        return self.sheet.range(line, self.left, line, right, fixed=fixed, outside=outside)

    def column(self, column: int = 0, *, outside: bool = False) -> str:
        """The name of a column."""
        at = self.left + column
        return self.sheet.range(self.top, at, self.below - 1, at, fixed="both", outside=outside)

    def all(self, *, outside: bool = False) -> str:
        """The name of all cells."""
        right = self.left + self.columns - 1
        return self.sheet.range(self.top, self.left, self.below - 1, right, fixed="both", outside=outside)

    def heat(self, low: str = "#FFFFFF", high: str = "#7FBFD4") -> None:
        """Colour numbers from the least to the most."""
        look = {"type": "2_color_scale", "min_color": low, "max_color": high}
        self.sheet.format(self.top, self.left, self.below - 1, self.left + self.columns - 1, look)
