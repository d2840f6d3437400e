"""Text tables to columns: quickly where the file is clean, carefully where it is not.

Arrow's reader does the work, and counting bytes proves that it read what the file says. What it cannot read
is taken apart cell by cell, which either succeeds or names the lines at fault.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv as csv
from numpy.typing import NDArray

from tenfold.data.cells import whole_number
from tenfold.data.columns import CODED, Column, count_letters, single_piece
from tenfold.data.layout import (
    BLANKS,
    Layout,
    collect_cells,
    iterate_records,
    row_lines,
    survey_quotes,
)
from tenfold.errors import TableError

# Arrow makes its functions as it loads, so no checker of types can see them.
pc: Any = pyarrow.compute

__all__ = ["parse_columns"]

#: Rows that decide how a column is kept; what it means never depends on them.
_SAMPLE = 1000
#: Reading is fastest in pieces that fit into the processor's cache.
_BLOCK = 1 << 22
#: Stand between cells where the file has longer separators.
_CONTROLS = b"\x1f\x1e\x1d\x1c\x02\x03\x04\x05"


def parse_columns(data: bytes, layout: Layout, name: str) -> tuple[list[Column], NDArray[np.int64] | int]:
    """The columns of a text table, and the line of each row (or of the first, if the others follow on).

    The bytes of a file are those of all cells, of the separators, line ends and quotes. Bytes to spare are
    empty lines, or whole numbers that are not written in the plain way (``007``): then all is read again
    as text. Raises TableError with the lines of rows that do not fit.
    """
    start, separator = layout.start, layout.separator.encode()
    if layout.separator == BLANKS or len(separator) > 1:
        data, separator = _narrow(data, start, layout, name)
        start = 0
    quotes = None
    if layout.quoting and data.find(b'"', start) >= 0:
        literal = _parse_literal(data, start, separator, layout) if separator in (b"\t", b"|") else None
        if literal is not None:
            return literal
        quotes = survey_quotes(data, start, separator)
        if not quotes.regular:
            return _parse_carefully(data, layout, name)
    types = _storage(data[start : start + _BLOCK], separator, layout)
    inside = quotes.line_ends if quotes else 0
    while True:
        try:
            columns = _read_arrow(
                data, start, separator, types, quoting=quotes is not None, inside=inside > 0
            )
        except pa.ArrowInvalid as error:
            if not _give_way(types, str(error)):
                return _parse_carefully(data, layout, name, separator)
            continue
        rows = len(columns[0])
        cells = sum(count_letters(column) for column in columns) + rows * (len(columns) - 1)
        ends = rows - (not data.endswith(b"\n"))
        spare = len(data) - start - cells - ends - (quotes.count - quotes.doubled if quotes else 0)
        if not spare and not inside:
            return columns, layout.line
        blank = data.count(b"\n", start) - ends - inside
        if spare == blank:
            return columns, row_lines(data, start, layout.line, quoted=quotes is not None)
        if all(kind in (CODED, pa.string()) for kind in types):
            return _parse_carefully(data, layout, name, separator)
        types = [kind if kind == pa.string() else CODED for kind in types]


def _narrow(data: bytes, start: int, layout: Layout, name: str) -> tuple[bytes, bytes]:
    """The rows with one byte between cells in place of a longer separator or of runs of blanks."""
    unused = [bytes([mark]) for mark in _CONTROLS if mark not in data]
    if not unused:
        raise TableError(f"{name} holds control characters of every kind", fix="remove them")
    if layout.separator == BLANKS:
        body = re.sub(rb"(?m)^[ \t]+|[ \t]+$", b"", data[start:])
        return re.sub(rb"[ \t]+", unused[0], body), unused[0]
    return data[start:].replace(layout.separator.encode(), unused[0]), unused[0]


def _parse_literal(
    data: bytes, start: int, separator: bytes, layout: Layout
) -> tuple[list[Any], NDArray[np.int64]] | None:
    """Quotes in tab and pipe files: if no cell needs them, they are taken off, or kept if some are text."""
    types = [pa.string()] * len(layout.names)
    try:
        columns = _read_arrow(data, start, separator, types, quoting=False, inside=False)
    except pa.ArrowInvalid:
        return None
    begins = [pc.fill_null(pc.starts_with(column, '"'), False) for column in columns]
    whole = [pc.match_substring_regex(column, r'^"(?:[^"]|"")*"$') for column in columns]
    whole = [pc.fill_null(one, False) for one in whole]
    if all(one.equals(other) for one, other in zip(begins, whole, strict=True)):
        columns = [
            pc.if_else(one, pc.replace_substring(pc.utf8_slice_codeunits(column, 1, -1), '""', '"'), column)
            for one, column in zip(whole, columns, strict=True)
        ]
    return columns, row_lines(data, start, layout.line, quoted=False)


def _parse_carefully(
    data: bytes, layout: Layout, name: str, separator: bytes | None = None
) -> tuple[list[Any], NDArray[np.int64]]:
    """Cell by cell: the authority where the quick way fails, and the one that names lines."""
    start = layout.start
    if separator is not None and separator != layout.separator.encode():
        layout, start = replace(layout, separator=separator.decode(), quoting=False), 0
    pieces: list[list[Any]] = [[] for _ in layout.names]
    lines: list[int] = []
    for cells, there in collect_cells(data[start:].decode(), layout, name):
        lines += there
        for piece, column in zip(pieces, cells, strict=True):
            piece.append(pa.array(column, pa.string()))
    columns = [pa.chunked_array(piece, pa.string()) for piece in pieces]
    return columns, np.array(lines, np.int64)


def _storage(head: bytes, separator: bytes, layout: Layout) -> list[Any]:
    """How to keep each column, from its first cells. A wrong guess costs time and nothing else."""
    text = head.decode("utf-8", "ignore")
    records = iterate_records(text, separator.decode(), quoting=layout.quoting)
    rows = [one.cells for one in islice(records, _SAMPLE) if len(one.cells) == len(layout.names)]
    types: list[Any] = []
    for place in range(len(layout.names)):
        cells = [row[place] for row in rows if row[place]]
        if cells and all(map(whole_number, cells)):
            large = max(abs(int(cell)) for cell in cells) >= 1 << 31
            types.append(pa.int64() if large else pa.int32())
        else:
            types.append(CODED if len(set(cells)) <= len(cells) / 2 else pa.string())
    return types


def _read_arrow(
    data: bytes, start: int, separator: bytes, types: Sequence[Any], *, quoting: bool, inside: bool
) -> list[Any]:
    """The columns of ``data[start:]``; pa.ArrowInvalid where rows are ragged or a number is none.

    inside: are there line ends within quotes?
    """
    names = [str(place) for place in range(len(types))]
    size = min(max(_BLOCK, 1), len(data) - start + 1)
    while True:
        try:
            table = csv.read_csv(
                pa.BufferReader(pa.py_buffer(data).slice(start)),
                read_options=csv.ReadOptions(column_names=names, block_size=size),
                parse_options=csv.ParseOptions(
                    delimiter=separator.decode(),
                    quote_char='"' if quoting else False,
                    double_quote=True,
                    newlines_in_values=inside,
                ),
                convert_options=csv.ConvertOptions(
                    column_types=dict(zip(names, types, strict=True)),
                    null_values=[""],
                    strings_can_be_null=True,
                    check_utf8=False,  # the decoding has seen to that
                ),
            )
        except pa.ArrowInvalid as error:
            if "block size" not in str(error) or size > len(data) - start:
                raise
            size *= 16
            continue
        return [single_piece(table[name]) for name in names]


def _give_way(types: list[Any], message: str) -> bool:
    """After a cell that is no whole number, keep its column as text; false for any other fault."""
    found = re.match(r"In CSV column #(\d+): CSV conversion error to (int\d+): invalid value '(.*)'", message)
    if not found:
        return False
    place, kind, value = int(found[1]), found[2], found[3]
    if kind == "int32" and whole_number(value):
        types[place] = pa.int64()
        return True
    types[place] = CODED
    return True
