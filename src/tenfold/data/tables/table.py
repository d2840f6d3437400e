"""Tables: text in any form, Parquet, a data frame or a mapping of columns, read as a `Table`.

Every cell is text (data/columns.py says how it is kept). So ``007`` stays ``007``, ids never become
floating-point numbers, and the meaning of a column does not depend on a sample of rows. Only an empty cell is
missing, or a word that the user listed. Parquet is written and read here for the other rooms too.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any, Protocol, TypeGuard, runtime_checkable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tenfold.data.tables.cells import judge_kind, parse_numbers, writes_decimal_comma
from tenfold.data.tables.columns import (
    Column,
    cast_numbers,
    coarseness,
    code_column,
    comma_cells,
    drop_words,
    inexact,
    is_floating,
    is_padded,
    keep_column,
    letter_span,
    pc,
    rows_where,
    to_column,
    trim_column,
)
from tenfold.data.tables.delimited import Parsed, parse_columns
from tenfold.data.tables.layout import Layout, find_layout, is_usual_name
from tenfold.data.tables.text import Decoded, decode_bytes, leave_out_lines, open_text, read_bytes, read_start
from tenfold.errors import LISTED, SchemaError, TableError, did_you_mean, shortened
from tenfold.events import Detail
from tenfold.frames import RowTable
from tenfold.values import id_text

#: The first letter: digits, signs and blanks come before it, letters of all languages do not.
_LETTER = ord("A")


@dataclass(frozen=True, eq=False, repr=False)
class Table(RowTable):
    """Columns of text with equally many rows.

    names: the columns.  rows: how many rows.  source: the file's name, for messages.
    notes: decisions of the reader, one a line.  header: did the source name its columns?
    unit: what `lines` counts: ``line`` of a file, or ``row`` of a data frame or Parquet file.
    path: the file or folder that it was read from, or "".
    options: the arguments of `read_table` that were given.
    unread: columns whose cells are not text, numbers or times, as pictures or lists in Parquet -> why. They
        are left out, and asking for them is a TableError.
    index: that of a pandas data frame, unless it only counts.
    """

    names: tuple[str, ...]
    rows: int
    source: str
    notes: tuple[str, ...]
    header: bool
    unit: str
    _columns: Mapping[str, Column]
    _lines: NDArray[np.int64] | int
    _decimal_commas: frozenset[str] = frozenset()
    path: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    _index: NDArray[np.object_] | None = None
    unread: Mapping[str, str] = field(default_factory=dict)
    index: Any = None

    def __repr__(self) -> str:
        return f"Table({self.source!r}, rows={self.rows}, names={self.names})"

    def __len__(self) -> int:
        return self.rows

    def columns(self) -> dict[str, NDArray[np.generic]]:
        """Name -> (rows,) texts, "" where missing."""
        return {name: self.text(name, ids=False) for name in self.names}

    @property
    def row_index(self) -> object:
        return self.index

    @property
    def headline(self) -> str:
        return f"{self.source}: {self.rows} rows"

    @property
    def known(self) -> tuple[str, ...]:
        """All columns of the source: those that were read and those that cannot be."""
        return (*self.names, *self.unread)

    @property
    def lines(self) -> NDArray[np.int64]:
        """The line of the file in which each row begins, the header being line 1; rows from 1 otherwise."""
        if isinstance(self._lines, int):
            return np.arange(self._lines, self._lines + self.rows, dtype=np.int64)
        return self._lines

    def column(self, name: str) -> str:
        """The name as the table spells it; SchemaError with the nearest name if there is no such column."""
        if name in self._columns:
            return name
        # A name may be written in two Unicode forms, and outer blanks never matter.
        same = [known for known in self.names if _plain_name(known) == _plain_name(str(name))]
        if len(same) == 1:
            return same[0]
        if name in self.unread:
            raise TableError(
                f"{self.source}: column {name!r} cannot be read ({self.unread[name]})",
                fix="turn the column into text or numbers first, or do without it",
            )
        unnamed = "" if self.header else "; it has no header: give --header if line 1 names the columns"
        raise SchemaError(
            f"{self.source} has no column {name!r}",
            found=shortened(self.names),
            fix=did_you_mean(str(name), self.names) + unnamed,
        )

    def row_names(self, name: str | None) -> NDArray[np.object_]:
        """(rows,) the name of each row: from a column, a data frame's index, or its line or row."""
        if name is not None:
            return self.text(name)
        if self._index is not None:
            return self._index
        return np.array([str(line) for line in self.lines], dtype=object)

    @property
    def indexed(self) -> bool:
        """Does the source have an index that names its rows by more than numbers?"""
        return self._index is not None and not all(str(label).isdecimal() for label in self._index)

    @property
    def cells(self) -> Mapping[str, NDArray[np.object_]]:
        """The columns by name, as `text` returns them; each is made when it is asked for."""
        return _Cells(self)

    def text(self, name: str, *, ids: bool = True) -> NDArray[np.object_]:
        """(rows,) the cells as text without outer blanks, "" where missing. ids: see `codes`."""
        codes, texts = self.codes(name, ids=ids)
        return texts[codes]

    def missing(self, name: str) -> NDArray[np.bool_]:
        """(rows,) true where the cell is empty or holds a word given in `missing_values`."""
        return self._columns[self.column(name)].is_null().to_numpy()

    def codes(self, name: str, *, ids: bool = True) -> tuple[NDArray[np.uint32], NDArray[np.object_]]:
        """(rows,) codes, and the different texts that they number, in the order of their first row.

        Missing cells are the text "". TableError for a column of a data frame whose ids were rounded.
        ids: the texts are names; false if they are used as numbers, which may be large.
        """
        name = self.column(name)
        if ids and is_floating(self._columns[name]):
            self._check_exact(name)
        return code_column(self._columns[name])

    def numbers(self, name: str, *, otherwise: str = "") -> NDArray[np.float64]:
        """(rows,) the cells as numbers, NaN where missing.

        TableError with line, column and value of the cells that are not finite numbers, up to ten.
        otherwise: a further remedy.
        """
        name = self.column(name)
        values, bad = self.try_numbers(name)
        if bad.any():
            count = int(bad.sum())
            problems = [f"{cell} is not a number" for cell in self.places(name, np.flatnonzero(bad))]
            raise TableError(
                f"{self.source}: {count} cell{'s' if count > 1 else ''} of column {name!r} "
                f"{'are not numbers' if count > 1 else 'is not a number'}",
                problems=problems,
                fix=self._number_fix(name, bad) + ("" if self._words_only(name, bad) else otherwise),
            )
        return values

    def try_numbers(self, name: str) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """(rows,) numbers, NaN where the cell is missing or not a finite number; and a mask of the latter."""
        name = self.column(name)
        column = self._columns[name]
        comma = name in self._decimal_commas
        values = None if comma else cast_numbers(column)
        missing = column.is_null().to_numpy()
        if values is not None and np.isfinite(values[~missing]).all():
            return values, np.zeros(self.rows, np.bool_)
        codes, texts = self.codes(name, ids=False)
        parsed, wrong = parse_numbers(texts.tolist(), decimal_comma=comma)
        return parsed[codes], wrong[codes] & ~missing

    def padded(self, name: str) -> bool:
        """Does a cell begin with a redundant zero, as in 007?"""
        return is_padded(self._columns[self.column(name)])

    def take(self, index: NDArray[np.integer] | NDArray[np.bool_] | Sequence[int]) -> Table:
        """The rows with these indices, in this order; or the rows where a mask is true."""
        rows = np.asarray(index)
        rows = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows.astype(np.int64)
        columns = {name: column.take(pa.array(rows)) for name, column in self._columns.items()}
        labels = None if self._index is None else self._index[rows]
        kept = None if self.index is None else self.index[rows]
        return replace(
            self, rows=len(rows), _columns=columns, _lines=self.lines[rows], _index=labels, index=kept
        )

    def noted(self, *notes: str) -> Table:
        """The same table with further notes."""
        return replace(self, notes=(*self.notes, *(note for note in notes if note not in self.notes)))

    def blank(self, name: str, where: NDArray[np.bool_]) -> Table:
        """The same table with these cells of a column missing. where: (rows,)."""
        name = self.column(name)
        kept = self._columns[name].take(pa.array(np.arange(self.rows), mask=where))
        return replace(self, _columns={**self._columns, name: kept})

    def places(self, name: str, rows: Iterable[int]) -> list[str]:
        """``line 702, column rating: 'four'`` for each row; "" past the eleventh, which is never listed."""
        name = self.column(name)
        rows = np.asarray(rows, np.int64)
        shown = self.take(rows[: LISTED + 1])
        cells = [
            f"{self.unit} {line}, column {name}: {text!r}"
            for line, text in zip(shown.lines, shown.text(name, ids=False), strict=True)
        ]
        return cells + [""] * (len(rows) - len(cells))

    def _number_fix(self, name: str, bad: NDArray[np.bool_]) -> str:
        words = list(dict.fromkeys(text for text in self.take(bad).text(name, ids=False) if text))
        if any("," in word for word in words):
            return "write all numbers of the column as 1234.5, or all as 1234,5: no thousands separators"
        if self._words_only(name, bad):
            kinds = f"--category {name} as an input, --target {name}:category as a target"
            return f"correct these cells, or take the column for words: {kinds}"
        listed = f", or list the words that mean missing: --missing-values {words[0]}" if words else ""
        return f"correct these cells{listed}"

    def _words_only(self, name: str, bad: NDArray[np.bool_]) -> bool:
        return bool((bad | self.missing(name)).all()) and not any(
            map(str.isdigit, "".join(self.text(name, ids=False)))
        )

    def coarseness(self, name: str) -> float:
        """The least difference of the column's largest numbers if it is floating point, else 0."""
        return coarseness(self._columns[self.column(name)])

    def _check_exact(self, name: str) -> None:
        where = inexact(self._columns[name])
        if where.size:
            raise TableError(
                f"{self.source}: column {name!r} holds {where.size} numbers too long for floating point: "
                "digits of ids are lost",
                problems=[f"{self.unit} {self.lines[row]}" for row in where],
                fix="read ids as text before they come here",
            )


class _Cells(Mapping[str, NDArray[np.object_]]):
    """A table's columns as texts."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def __getitem__(self, name: str) -> NDArray[np.object_]:
        if name not in self._table.names:
            raise KeyError(name)
        return self._table.text(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._table.names)

    def __len__(self) -> int:
        return len(self._table.names)


def read_table(
    source: object,
    *,
    separator: str | None = None,
    encoding: str | None = None,
    header: bool | None = None,
    missing_values: Iterable[str] = (),
    names: Sequence[str] | None = None,
    likely: str | None = None,
    skip_lines: int | None = None,
    comment: str | None = None,
) -> Table:
    """Read a table; its `notes` say what the reader found and decided.

    source: a path (comma, tab, ``::``, ``|``, semicolon or blanks between cells, or Parquet; ``.gz`` too), a
        data frame (pandas, polars, anything that speaks Arrow), a mapping of names to columns (or to the
        cells of one row), a list of rows as mappings, or a structured array. A data frame's index names its
        rows, unless it only counts them; an index with a name is also a column. A `Table` is returned with
        `missing_values` applied.
    separator, encoding, header: None finds them.  missing_values: words that mean missing beside the empty
        cell.  names: names of the columns of a file without a header, or in place of those in the header.
    likely: the encoding to assume for a file that is not UTF-8 if `encoding` is not given.
    skip_lines: lines above the header to leave out.  comment: the start of lines that are not rows.

    Raises TableError, with file, line, column, value and remedy, for a table that cannot be read.
    """
    words = (missing_values,) if isinstance(missing_values, str) else tuple(missing_values)
    if isinstance(source, Table):
        return _drop_missing(source, words)
    if isinstance(source, RowTable):
        table = read_table(source.columns(), names=names, missing_values=words)
        return replace(table, source=f"the {type(source).__name__}")
    options = {"separator": separator, "encoding": encoding, "header": header, "names": names}
    options |= {"skip_lines": skip_lines or None, "comment": comment or None, "missing_values": words or None}
    options = {name: value for name, value in options.items() if value is not None}
    if isinstance(source, str | PathLike):
        path = Path(source)
        if read_start(path, 4) == b"PAR1":
            table = _from_parquet(path, names)
        else:
            if skip_lines or comment:
                text = decode_bytes(read_bytes(path), name=path.name, encoding=encoding, likely=likely)
                text = leave_out_lines(text, path.name, skip=skip_lines or 0, comment=comment)
            else:
                text = open_text(path, encoding=encoding, likely=likely)
            layout, parsed = _parse(text, path.name, separator, header, names)
            if parsed is None:  # only the beginning of a large file was clean
                text = decode_bytes(read_bytes(path), name=path.name, encoding=encoding, likely=likely)
                layout, parsed = _parse(text, path.name, separator, header, names)
            assert parsed is not None  # a text in memory is parsed, or refused
            table = _from_text(*parsed, text.notes, layout, path.name)
        return replace(_finish(table, words), path=str(source), options=options)
    if isinstance(source, Mapping):
        table = _from_mapping(source, names)
    elif isinstance(source, list | tuple) and source and all(isinstance(row, Mapping) for row in source):
        keys = dict.fromkeys(key for row in source for key in row)
        table = _from_mapping({key: [row.get(key) for row in source] for key in keys}, names)
    elif isinstance(source, np.ndarray) and source.dtype.names:
        table = _from_mapping({name: source[name].tolist() for name in source.dtype.names}, names)
    else:
        table = _from_frame(source, names)
    return replace(_finish(table, words), options=options)


def guess_kind(table: Table, column: str) -> tuple[str, str]:
    """The kind of a column from all its cells, and a message that says why (see `judge_kind`)."""
    name = table.column(column)
    kept = table._columns[name]
    if is_floating(kept):
        low, high = (value.as_py() for value in pc.min_max(kept).values())
        return "number", f"{name}: a number from {low:g} to {high:g}"
    codes, texts = table.codes(name)
    counts = np.bincount(codes, minlength=len(texts))
    known = texts != ""
    comma = name in table._decimal_commas
    return judge_kind(name, list(texts[known]), counts[known].tolist(), decimal_comma=comma)


def write_parquet(path: str | PathLike[str], columns: Mapping[str, Iterable[object]]) -> None:
    """Write columns of one length as Parquet; object columns hold text, or None for missing."""
    import pyarrow.parquet as parquet

    table = pa.table({name: pa.array(values) for name, values in columns.items()})
    # Opened here: Arrow itself cannot encode every name in every locale.
    with open(path, "wb") as stream:
        # Empty metadata rather than none: the same columns are the same bytes.
        parquet.write_table(table.replace_schema_metadata({}), stream, compression="zstd")


def read_parquet_columns(path: str | PathLike[str]) -> dict[str, np.ndarray]:
    """Columns of a Parquet file as arrays: text as objects, None where missing."""
    table = _open_parquet(Path(path))
    return {name: table[name].to_numpy() for name in table.column_names}


def _drop_missing(table: Table, words: Sequence[str]) -> Table:
    """The table with the user's words missing, and these words in its options."""
    if not words:
        return table
    stripped = [word.strip() for word in words]
    columns = {name: drop_words(column, stripped) for name, column in table._columns.items()}
    known = tuple(dict.fromkeys((*table.options.get("missing_values", ()), *words)))
    return replace(table, _columns=columns, options={**table.options, "missing_values": known})


def _finish(table: Table, words: Sequence[str]) -> Table:
    """Apply the user's words for missing and detect decimal commas, with a note of each."""
    columns = dict(_drop_missing(table, words)._columns)
    notes = list(table.notes)
    decimal = set()
    for name, column in columns.items():
        if column.null_count:
            notes.append(Detail(f"{name}: {column.null_count} of {table.rows} cells missing"))
        commas = comma_cells(column)
        # A thousand cells tell most other commas from decimal commas, without a look at all cells.
        if commas and writes_decimal_comma([*commas[:1000], "0,5"]):
            if writes_decimal_comma([text for text in code_column(column)[1] if text]):
                decimal.add(name)
                read = commas[0].replace(",", ".")
                notes.append(f"{name}: decimal commas, {commas[0]!r} is read as {read}")
    return replace(table, notes=tuple(notes), _columns=columns, _decimal_commas=frozenset(decimal))


def _plain_name(name: str) -> str:
    return unicodedata.normalize("NFC", name.strip())


# Text


def _parse(
    text: Decoded, name: str, separator: str | None, header: bool | None, names: Sequence[str] | None
) -> tuple[Layout, Parsed | None]:
    layout = find_layout(text.data, name=name, separator=separator, header=header, names=names)
    return layout, parse_columns(text, layout, name)


def _from_text(
    columns: Sequence[Column],
    lines: NDArray[np.int64] | int,
    notes: tuple[str, ...],
    layout: Layout,
    name: str,
) -> Table:
    rows = len(columns[0])
    if not rows:
        raise TableError(
            f"{name} has a header and no rows",
            found=", ".join(layout.names[:LISTED]),
            fix="give a file with rows, or --no-header if line 1 is data",
        )
    named = {column: trim_column(values) for column, values in zip(layout.names, columns, strict=True)}
    told = [*notes, *layout.notes]
    if len(named) == 1 and not isinstance(lines, int) and lines[-1] - lines[0] >= rows:
        told.append(f"{lines[-1] - lines[0] + 1 - rows} empty lines are left out")
    if layout.trailing:
        _check_trailing(named[layout.names[-1]], lines, layout, name)
    unnamed = [layout.names[index] for index in layout.unnamed]
    empty = [column for column in unnamed if named[column].null_count == rows and len(named) > 1]
    for column in empty:  # the separator at the end of every line, header included
        del named[column]
        told.append(f"{column} has no name and no value: left out")
    table = Table(tuple(named), rows, name, tuple(told), layout.header, "line", named, lines)
    return _note_comments(_drop_headers(_drop_empty_rows(table), layout))


def _check_trailing(last: Column, lines: NDArray[np.int64] | int, layout: Layout, name: str) -> None:
    """Raise if rows have a value behind the separator that ends all others."""
    full = np.flatnonzero(~last.is_null().to_numpy())
    if full.size:
        numbers = full + lines if isinstance(lines, int) else lines[full]
        count = len(layout.names)
        raise TableError(
            f"{name}: {full.size} rows do not fit the columns",
            problems=[f"line {line} has {count} cells, the header has {count - 1}" for line in numbers],
            fix="put a cell that holds the separator in double quotes, or name the last column in the header",
        )


def _drop_headers(table: Table, layout: Layout) -> Table:
    """Leave out rows that name the columns again, as in files that were joined one after another."""
    names = dict(zip(layout.names, layout.heading, strict=False))
    wanted = [_plain_name(names[name].strip("\ufeff")).casefold() for name in table.names if name in names]
    # A number is not a name, so few tables are examined further.
    if len(wanted) < len(table.names) or not all(map(_is_text, table._columns.values())):
        return table
    # Most tables have a column without letters, where no name can stand.
    if all(max(name.encode(), default=0) >= _LETTER for name in wanted) and any(
        letter_span(column)[1] < _LETTER for column in table._columns.values()
    ):
        return table
    # Only texts as long as a name are compared; a byte-order mark may add three bytes.
    sizes = {len(name.encode()) for name in names.values()}
    lengths = pa.array(sorted({*sizes, *(size + 3 for size in sizes)}), pa.int32())
    fits = np.ones(table.rows, np.bool_)
    for name in table.names:
        column = table._columns[name]
        # A cell may be empty if its column has no name.
        fits &= rows_where(column, lambda texts: pc.is_in(pc.binary_length(texts), lengths)) | (
            not all(wanted) and column.is_null().to_numpy()
        )
        if not fits.any():
            return table
    rows = np.flatnonzero(fits)
    near = table.take(rows)
    cells = [
        [_plain_name(text.strip("\ufeff")).casefold() for text in near.text(name)] for name in table.names
    ]
    again = np.array([list(row) == wanted for row in zip(*cells, strict=True)])
    other = np.array([sorted(row) == sorted(wanted) for row in zip(*cells, strict=True)]) & ~again
    if other.any() and (len(wanted) > 2 or any(map(is_usual_name, wanted))):
        raise TableError(
            f"{table.source} names its columns again in another order: files were joined that do not fit",
            problems=[f"line {line}" for line in near.lines[other]],
            fix="bring the columns of the files into one order before they are joined",
        )
    if again.all() and len(rows) == table.rows:
        raise TableError(f"{table.source} has a header and no rows", fix="give a file with rows")
    if not again.any():
        return table
    lines = near.lines[again]
    kept = np.ones(table.rows, np.bool_)
    kept[rows[again]] = False
    words = "row that repeats the header is" if len(lines) == 1 else "rows that repeat the header are"
    where = _shown_lines(lines)
    return table.take(kept).noted(f"{len(lines)} {words} left out, as in joined files (line {where})")


def _shown_lines(lines: NDArray[np.int64]) -> str:
    return ", ".join(map(str, lines[:LISTED])) + (" ..." if len(lines) > LISTED else "")


def _note_comments(table: Table) -> Table:
    """Note rows that look like comments, if few rows do."""
    column = table._columns[table.names[0]]
    if not _is_text(column) or letter_span(column)[0] > ord("#"):
        return table
    rows = np.flatnonzero(rows_where(column, lambda texts: pc.starts_with(texts, "#")))
    if not len(rows) or (10 * len(rows) > table.rows and len(rows) > 1):
        return table
    count = "1 row begins" if len(rows) == 1 else f"{len(rows)} rows begin"
    where = ", ".join(map(str, table.lines[rows][:LISTED]))
    return table.noted(
        f"{count} with '#' (line {where}): if that is a comment, leave it out with --comment '#'"
    )


def _is_text(column: Column) -> bool:
    return pa.types.is_string(column.type) or pa.types.is_dictionary(column.type)


def _drop_empty_rows(table: Table) -> Table:
    """Leave out rows that hold only separators, as spreadsheets append them."""
    if not all(column.null_count for column in table._columns.values()):
        return table
    empty = np.logical_and.reduce([table.missing(name) for name in table.names])
    if not empty.any():
        return table
    if empty.all():
        raise TableError(f"{table.source} has rows, but every cell is empty", fix="give a file with values")
    where = _shown_lines(table.lines[empty])
    return table.take(~empty).noted(f"{int(empty.sum())} rows without any value are left out (line {where})")


# Data frames, mappings and Parquet


@runtime_checkable
class _PandasFrame(Protocol):
    iloc: Any
    columns: Iterable[object]


def _from_mapping(source: Mapping[str, object], names: Sequence[str] | None) -> Table:
    several = [str(name) for name, values in source.items() if _is_column(values)]
    if several and len(several) < len(source):
        single = [str(name) for name in source if str(name) not in several]
        raise TableError(
            "the given columns: some are one cell, others are sequences",
            found=f"one cell: {', '.join(single[:LISTED])}; sequences: {', '.join(several[:LISTED])}",
            fix="give one cell per row to each column, or one row of cells alone",
        )
    columns = [
        (str(name), to_column(values if _is_column(values) else [values])) for name, values in source.items()
    ]
    return _from_columns(columns, "the given columns", names)


def _is_column(values: object) -> TypeGuard[Iterable[object]]:
    """Are these the cells of a column rather than the cell of one row?"""
    return isinstance(values, Iterable) and not isinstance(values, str | bytes)


def _frame_index(frame: _PandasFrame) -> tuple[NDArray[np.object_] | None, list[tuple[str, Column]]]:
    """The names of the rows in a pandas index, None if it only counts; and its named levels as columns."""
    index: Any = getattr(frame, "index", None)
    if not hasattr(index, "get_level_values"):
        return None, []
    levels = list(index.names)
    named = all(name is not None for name in levels)
    counts = type(index).__name__ == "RangeIndex" and index.start == 0 and index.step == 1
    if counts and not named:
        return None, []
    labels = np.empty(len(index), dtype=object)
    labels[:] = [
        " ".join(map(id_text, key)) if isinstance(key, tuple) else id_text(key) for key in index.tolist()
    ]
    columns = [
        (str(name), to_column(index.get_level_values(level)))
        for level, name in enumerate(levels)
        if named and str(name) not in map(str, frame.columns)
    ]
    return labels, columns


def _from_frame(source: object, names: Sequence[str] | None) -> Table:
    what = f"the {type(source).__module__.split('.')[0]} {type(source).__name__}"
    index, labels = None, None
    if isinstance(source, _PandasFrame):
        # The cells of a pandas column may differ in type, which Arrow's own conversion refuses.
        labels, levels = _frame_index(source)
        index = None if labels is None else getattr(source, "index")  # noqa: B009
        columns = [(str(name), to_column(source.iloc[:, n])) for n, name in enumerate(source.columns)]
        columns = [*levels, *columns] if names is None else columns
    elif type(source).__name__ == "Series":
        raise TableError(
            f"{what} is one column, or one row, and not a table",
            fix="give a data frame: df[['x']] or series.to_frame() of a column, df.iloc[[0]] of a row",
        )
    elif isinstance(source, pa.Table | pa.RecordBatch) or hasattr(source, "__arrow_c_stream__"):
        table = pa.table(source)
        columns = list(zip(table.column_names, table.columns, strict=True))
    elif isinstance(source, list | tuple) and not source:
        raise TableError("the given list is empty: there are no rows", fix="give a row, or several")
    else:
        raise TableError(
            f"{what} is not a table",
            fix="give a path, a data frame, an Arrow table, a mapping of columns, or a list of mappings",
        )
    return replace(_from_columns(columns, what, names), _index=labels, index=index)


def _from_parquet(path: Path, names: Sequence[str] | None) -> Table:
    table = _open_parquet(path)
    return _from_columns(list(zip(table.column_names, table.columns, strict=True)), path.name, names)


def _open_parquet(path: Path) -> pa.Table:
    import pyarrow.parquet as parquet

    read_start(path, 1)  # says why, where a file cannot be opened
    try:
        # Opened here: Arrow itself cannot encode every name in every locale.
        with open(path, "rb") as stream:
            return parquet.read_table(stream)
    except (pa.ArrowException, OSError) as error:
        raise TableError(
            f"{path.name} is not a Parquet file, or a damaged one ({error})", fix="write it again"
        ) from None


def _from_columns(columns: Sequence[tuple[str, Column]], source: str, names: Sequence[str] | None) -> Table:
    names = [str(name).strip() for name in ([name for name, _ in columns] if names is None else names)]
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    lengths = {len(column) for _, column in columns}
    if not columns or lengths == {0}:
        raise TableError(f"{source}: there are no rows", fix="give a table with rows")
    if len(lengths) > 1:
        counts = [f"{name}: {len(column)} cells" for name, column in columns]
        raise TableError(
            f"{source}: the columns differ in length", problems=counts, fix="give one cell per row"
        )
    if twice or len(names) != len(columns):
        found = f"{', '.join(names[:LISTED])} for {len(columns)} columns"
        raise TableError(f"{source} needs a name per column, each once", found=found, fix="rename them")
    notes: list[str] = []
    kept, unread = {}, {}
    for name, (_, column) in zip(names, columns, strict=True):
        try:
            kept[name] = trim_column(keep_column(column))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            unread[name] = str(error)
            notes.append(f"{name} is left out: {error}")
            continue
        if is_floating(column) and not is_floating(kept[name]):
            notes.append(f"{name}: whole numbers that were stored as floating point are read without '.0'")
    table = Table(tuple(kept), lengths.pop(), source, tuple(notes), True, "row", kept, 1, unread=unread)
    if not kept:
        table.column(names[0])
    return table
