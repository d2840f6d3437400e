"""Text tables to columns: fast where the file is clean, carefully where it is not.

Arrow reads the file, and a count of bytes proves that the columns hold what the file says. Files that Arrow
cannot read are split cell by cell, which either succeeds or names the lines at fault.

Whole numbers are kept as numbers where the proof allows. With all columns as text, 5 million ratings took 1.5
times the time to read, 5 times to use, and 1.6 times the memory; with all columns as dictionaries of text, 9
times the time and 6 times the memory (pyarrow 26).
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
from numpy.typing import NDArray

from tenfold.data.tables.cells import whole_number
from tenfold.data.tables.columns import CODED, Column, count_letters, holds_quotes, pc, unify_codes
from tenfold.data.tables.layout import (
    BLANKS,
    LITERAL,
    Layout,
    Quotes,
    collect_cells,
    iterate_records,
    row_lines,
    survey_quotes,
)
from tenfold.data.tables.text import Decoded
from tenfold.errors import TableError

#: Rows that decide how a column is kept; its meaning never depends on them.
_SAMPLE = 1000
#: Pieces that fit into the processor's cache are read fastest.
_BLOCK = 1 << 20
_SAMPLE_BYTES = 1 << 18
_TAIL = 1 << 12
_LINE_END = ord("\n")
#: Candidates for a separator of one byte in place of a longer one.
_CONTROLS = b"\x1f\x1e\x1d\x1c\x02\x03\x04\x05"


def _open_file(path: Path) -> pa.NativeFile:
    # As bytes: Arrow itself cannot encode every name in every locale.
    return pa.OSFile(os.fsencode(path))


#: Columns, and the line of each row, or of the first row if each row is one line.
Parsed = tuple[list[Column], NDArray[np.int64] | int]


@dataclass(frozen=True)
class _Body:
    """The rows of a table: ``data[start:]``, or all of a file whose beginning is `data`.

    separator: one byte.  wide: the longer separator of the file that it replaces.
    size: bytes up to the last line end.  quotes: None for a table without quotes.
    """

    data: bytes
    path: Path | None
    start: int
    separator: bytes
    size: int
    quotes: Quotes | None = None
    wide: bytes = b""

    def open(self) -> pa.NativeFile:
        """The rows as a stream for Arrow."""
        if self.path is None:
            return pa.BufferReader(pa.py_buffer(self.data).slice(self.start))
        stream = _open_file(self.path)
        stream.seek(self.start)
        return pa.PythonFile(_Narrow(stream, self.wide, self.separator), "r") if self.wide else stream

    def sample(self) -> str:
        """The first rows."""
        head = self.data[self.start : self.start + _SAMPLE_BYTES]
        return (head.replace(self.wide, self.separator) if self.wide else head).decode("utf-8", "ignore")


class _Narrow:
    """A stream that replaces a longer separator by one byte."""

    closed = False

    def __init__(self, stream: pa.NativeFile, wide: bytes, narrow: bytes) -> None:
        self._stream, self._wide, self._narrow, self._rest = stream, wide, narrow, b""

    def read(self, size: int) -> bytes:
        """At most `size` bytes; none at the end."""
        while piece := self._stream.read(size - len(self._rest)):
            piece = (self._rest + piece).replace(self._wide, self._narrow)
            # A separator may be cut in two by the end of the piece.
            cut = next((n for n in range(len(self._wide) - 1, 0, -1) if piece.endswith(self._wide[:n])), 0)
            piece, self._rest = piece[: len(piece) - cut], piece[len(piece) - cut :]
            if piece:
                return piece
        piece, self._rest = self._rest, b""
        return piece

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


def parse_columns(text: Decoded, layout: Layout, name: str) -> Parsed | None:
    """The columns of a text table, and the line of each row.

    A file consists of the bytes of its cells, separators, line ends and quotes. Spare bytes come from empty
    lines, or from whole numbers such as ``007``: then all is read again as text. None if a file of which only
    the beginning was examined turns out not to be clean. Raises TableError with the lines of rows that do not
    fit.
    """
    body = _find_body(text, layout, name)
    if body is None:
        return None
    if body.quotes and layout.separator in LITERAL:
        literal = _parse_literal(body, layout)
        if literal is not None:
            return literal
    if body.quotes and not body.quotes.regular:
        return _parse_carefully(body, layout, name)
    types = _storage(body, layout)
    while True:
        try:
            columns = _read_arrow(body, types)
        except pa.ArrowInvalid as error:
            if _widen_type(types, str(error)):
                continue
            return None if body.path else _parse_carefully(body, layout, name)
        if body.path and any(map(holds_quotes, columns)):
            return None
        spare = _spare_bytes(columns, body)
        inside = body.quotes.line_ends if body.quotes else 0
        if not spare and not inside:
            return [unify_codes(column) for column in columns], layout.line
        rows = len(columns[0])
        if (
            not body.path
            and spare == body.data.count(b"\n", body.start, body.start + body.size) + 1 - rows - inside
        ):
            lines = row_lines(body.data, body.start, layout.line, quoted=body.quotes is not None)
            return [unify_codes(column) for column in columns], lines
        if all(kind in (CODED, pa.string()) for kind in types):
            return None if body.path else _parse_carefully(body, layout, name)
        types = [kind if kind == pa.string() else CODED for kind in types]


def _spare_bytes(columns: Sequence[Column], body: _Body) -> int:
    """Count the bytes that are not in a cell, a separator, a quote or the line end of a row."""
    rows = len(columns[0])
    marks = body.quotes.count - body.quotes.doubled if body.quotes else 0
    between = rows * (len(columns) - 1) * max(1, len(body.wide)) + max(rows - 1, 0)
    return body.size - sum(map(count_letters, columns)) - between - marks


def _find_body(text: Decoded, layout: Layout, name: str) -> _Body | None:
    """The rows of a table; one byte replaces a longer separator or runs of blanks."""
    data, start, separator = text.data, layout.start, layout.separator.encode()
    wide = b""
    if layout.separator == BLANKS or len(separator) > 1:
        unused = [bytes([mark]) for mark in _CONTROLS if mark not in data]
        if not unused:
            raise TableError(f"{name} holds control characters of every kind", fix="remove them")
        if text.path and layout.separator == BLANKS:
            return None
        if text.path:
            wide, separator = separator, unused[0]
        elif layout.separator == BLANKS:
            data = re.sub(rb"(?m)^[ \t]+|[ \t]+$", b"", data[start:])
            data, start, separator = re.sub(rb"[ \t]+", unused[0], data), 0, unused[0]
        else:
            data, start, separator = data[start:].replace(separator, unused[0]), 0, unused[0]
    if text.path:
        with _open_file(text.path) as file:
            size = file.size()
            file.seek(max(start, size - _TAIL))
            tail = file.read(_TAIL)
        size -= start + len(tail) - len(tail.rstrip(b"\n"))
        return _Body(data, text.path, start, separator, size, wide=wide)
    quoted = layout.quoting and data.find(b'"', start) >= 0
    quotes = survey_quotes(data, start, separator) if quoted else None
    end = len(data)
    while end > start and data[end - 1] == _LINE_END:
        end -= 1
    return _Body(data, None, start, separator, end - start, quotes)


def _parse_literal(body: _Body, layout: Layout) -> Parsed | None:
    """Columns of a tab or pipe file that needs no quotes: strip them, or keep them all if some are text."""
    try:
        columns = _read_arrow(replace(body, quotes=None), [pa.string()] * len(layout.names))
    except pa.ArrowInvalid:
        return None
    begins = [pc.fill_null(pc.starts_with(column, '"'), False) for column in columns]
    whole = [pc.fill_null(pc.match_substring_regex(column, r'^"(?:[^"]|"")*"$'), False) for column in columns]
    if all(opened.equals(closed) for opened, closed in zip(begins, whole, strict=True)):
        columns = [
            pc.if_else(rows, pc.replace_substring(pc.utf8_slice_codeunits(column, 1, -1), '""', '"'), column)
            for rows, column in zip(whole, columns, strict=True)
        ]
    return columns, row_lines(body.data, body.start, layout.line, quoted=False)


def _parse_carefully(body: _Body, layout: Layout, name: str) -> Parsed:
    """Split the table cell by cell where Arrow fails, with the lines of rows that do not fit."""
    pieces: list[list[pa.Array]] = [[] for _ in layout.names]
    lines: list[int] = []
    text, separator = body.data[body.start :].decode(), body.separator.decode()
    for cells, numbers in collect_cells(text, layout, name, separator=separator):
        lines += numbers
        for piece, column in zip(pieces, cells, strict=True):
            piece.append(pa.array(column, pa.string()))
    return [pa.chunked_array(piece, pa.string()) for piece in pieces], np.array(lines, np.int64)


def _storage(body: _Body, layout: Layout) -> list[pa.DataType]:
    """The type to keep each column in, from its first cells. A wrong guess costs only time."""
    records = iterate_records(body.sample(), body.separator.decode(), quoting=body.quotes is not None)
    rows = [row.cells for row in islice(records, _SAMPLE) if len(row.cells) == len(layout.names)]
    types: list[pa.DataType] = []
    for column in range(len(layout.names)):
        cells = [row[column] for row in rows if row[column]]
        if cells and all(map(whole_number, cells)):
            large = max(abs(int(cell)) for cell in cells) >= 1 << 31
            types.append(pa.int64() if large else pa.int32())
        else:
            # Codes save memory and later work, except for texts of a few letters.
            pays = len(set(cells)) <= len(cells) / 2 and sum(map(len, cells)) > 4 * len(cells)
            types.append(CODED if pays else pa.string())
    return types


def _read_arrow(body: _Body, types: Sequence[pa.DataType]) -> list[Column]:
    """The columns in pieces; pa.ArrowInvalid where rows are ragged or a cell is not a whole number."""
    names = [*map(str, range(len(types)))]
    size = min(_BLOCK, body.size + 1)
    while True:
        try:
            table = csv.read_csv(
                body.open(),
                read_options=csv.ReadOptions(column_names=names, block_size=size),
                parse_options=csv.ParseOptions(
                    delimiter=body.separator.decode(),
                    quote_char='"' if body.quotes else False,
                    double_quote=True,
                    newlines_in_values=body.quotes is not None and body.quotes.line_ends > 0,
                ),
                convert_options=csv.ConvertOptions(
                    column_types=dict(zip(names, types, strict=True)),
                    null_values=[""],
                    strings_can_be_null=True,
                    check_utf8=body.path is not None,  # else decoding has checked it
                ),
            )
        except pa.ArrowInvalid as error:
            if "block size" not in str(error) or size > body.size:
                raise
            size *= 16
            continue
        return [table[name] for name in names]


def _widen_type(types: list[pa.DataType], message: str) -> bool:
    """After a cell that is not a whole number, keep its column as text; false for any other fault."""
    match = re.match(r"In CSV column #(\d+): CSV conversion error to (int\d+): invalid value '(.*)'", message)
    if match:
        types[int(match[1])] = pa.int64() if match[2] == "int32" and whole_number(match[3]) else CODED
    return match is not None
