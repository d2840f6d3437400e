"""Tables: any text form, Parquet, a data frame or a mapping of columns to one `Table`.

Every cell is text (data/columns.py says how it is kept). So ``007`` stays ``007``, ids never pass through a
floating-point number, and what a column is does not depend on which rows were looked at. Only an empty cell
is missing, or a word that the user listed. Parquet is written and read here for the other rooms too.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from tenfold.data.tables.cells import group_look_alikes, judge_kind, parse_numbers, writes_decimal_comma
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
    rows_where,
    to_column,
    trim_column,
)
from tenfold.data.tables.delimited import Parsed, parse_columns
from tenfold.data.tables.layout import Layout, find_layout, is_usual_name
from tenfold.data.tables.text import Decoded, decode_bytes, leave_out_lines, open_text, read_bytes, read_start
from tenfold.errors import LISTED, SchemaError, TableError, did_you_mean
from tenfold.values import id_text

# Arrow makes its functions as it loads, so no checker of types can see them.
pc: Any = pyarrow.compute

__all__ = ["Table", "guess_kind", "look_alikes", "read_parquet_columns", "read_table", "write_parquet"]


@dataclass(frozen=True, eq=False, repr=False)
class Table:
    """Columns of text, of one length.

    names: the columns.  rows: how many rows.  source: the file's name, for messages.
    notes: what the reader decided, one a line.  header: did the source name its columns?
    unit: what `lines` counts: ``line`` of a file, or ``row`` of a data frame or Parquet file.
    path: the file or folder that it was read from, "" where there is none.
    options: how it was read, as `read_table` takes it; only what was given.
    unread: columns whose cells are no text, number or time, as pictures or lists in Parquet -> why. They are
        left out, and refused where they are asked for.
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

    def __repr__(self) -> str:
        return f"Table({self.source!r}, rows={self.rows}, names={self.names})"

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
        """The name as the table spells it; SchemaError with the nearest name where there is none such."""
        if name in self._columns:
            return name
        # One name may be written in two Unicode forms, and outer blanks never matter.
        same = [one for one in self.names if _plain_name(one) == _plain_name(str(name))]
        if len(same) == 1:
            return same[0]
        if name in self.unread:
            raise TableError(
                f"{self.source}: column {name!r} cannot be read ({self.unread[name]})",
                fix="turn the column into text or numbers first, or do without it",
            )
        more = f" and {len(self.names) - LISTED} more" if self.names[LISTED:] else ""
        unnamed = "" if self.header else "; it has no header: give --header if line 1 names the columns"
        raise SchemaError(
            f"{self.source} has no column {name!r}",
            found=", ".join(self.names[:LISTED]) + more,
            fix=did_you_mean(str(name), self.names) + unnamed,
        )

    def row_names(self, name: str | None) -> NDArray[np.object_]:
        """(rows,) what each row is called: by a column, a data frame's index, or its line or row."""
        if name is not None:
            return self.text(name)
        if self._index is not None:
            return self._index
        return np.array([str(line) for line in self.lines], dtype=object)

    @property
    def indexed(self) -> bool:
        """Has the source an index that names its rows by more than numbers?"""
        return self._index is not None and not all(str(one).isdecimal() for one in self._index)

    @property
    def cells(self) -> Mapping[str, NDArray[np.object_]]:
        """The columns by name, as `text` has them; nothing is made before it is asked for."""
        return _Cells(self)

    def text(self, name: str, *, ids: bool = True) -> NDArray[np.object_]:
        """(rows,) the cells as text without outer blanks, "" where missing. ids: see `codes`."""
        codes, texts = self.codes(name, ids=ids)
        return texts[codes]

    def missing(self, name: str) -> NDArray[np.bool_]:
        """(rows,) true where the cell is empty, or holds a word that was given as missing."""
        return self._columns[self.column(name)].is_null().to_numpy()

    def codes(self, name: str, *, ids: bool = True) -> tuple[NDArray[np.uint32], NDArray[np.object_]]:
        """(rows,) codes, and the different texts that they number, in the order of their first row.

        Missing cells are the text "". TableError for a column of a data frame whose ids were rounded.
        ids: the texts name something; false where they are looked at as numbers, which may be large.
        """
        name = self.column(name)
        if ids and is_floating(self._columns[name]):
            self._check_exact(name)
        return code_column(self._columns[name])

    def numbers(self, name: str, *, otherwise: str = "") -> NDArray[np.float64]:
        """(rows,) the cells as numbers, NaN where missing.

        TableError with line, column and value of the cells that are not finite numbers, up to ten.
        otherwise: a further remedy, where there is one.
        """
        name = self.column(name)
        values, bad = self.try_numbers(name)
        if bad.any():
            count = int(bad.sum())
            problems = [f"{place} is no number" for place in self.places(name, np.flatnonzero(bad))]
            raise TableError(
                f"{self.source}: {count} cell{'s' if count > 1 else ''} of column {name!r} "
                f"{'are no numbers' if count > 1 else 'is no number'}",
                problems=problems,
                fix=self._number_fix(name, bad) + ("" if self._words_only(name, bad) else otherwise),
            )
        return values

    def try_numbers(self, name: str) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """(rows,) numbers, NaN where the cell is missing or no finite number; and where it is the latter."""
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
        """Does a cell begin with a zero that its number does not need, as in 007?"""
        return is_padded(self._columns[self.column(name)])

    def take(self, index: NDArray[Any] | Sequence[int]) -> Table:
        """The rows at these places, in this order; or those where a mask is true."""
        places = np.asarray(index)
        places = np.flatnonzero(places) if places.dtype == np.bool_ else places.astype(np.int64)
        chosen = pa.array(places)
        columns = {name: column.take(chosen) for name, column in self._columns.items()}
        labels = None if self._index is None else self._index[places]
        return replace(self, rows=len(places), _columns=columns, _lines=self.lines[places], _index=labels)

    def noted(self, *notes: str) -> Table:
        """The same table with further notes."""
        return replace(self, notes=(*self.notes, *(note for note in notes if note not in self.notes)))

    def blank(self, name: str, where: NDArray[np.bool_]) -> Table:
        """The same table with these cells of a column missing. where: (rows,)."""
        name = self.column(name)
        kept = self._columns[name].take(pa.array(np.arange(self.rows), mask=where))
        return replace(self, _columns={**self._columns, name: kept})

    def places(self, name: str, rows: Iterable[int]) -> list[str]:
        """``line 702, column rating: 'four'`` for each row; "" past the eleventh, which nobody lists."""
        name = self.column(name)
        rows = np.asarray(rows, np.int64)
        shown = self.take(rows[: LISTED + 1])
        said = [
            f"{self.unit} {line}, column {name}: {text!r}"
            for line, text in zip(shown.lines, shown.text(name, ids=False), strict=True)
        ]
        return said + [""] * (len(rows) - len(said))

    def _number_fix(self, name: str, bad: NDArray[np.bool_]) -> str:
        words = list(dict.fromkeys(text for text in self.take(bad).text(name, ids=False) if text))
        if any("," in word for word in words):
            return "write all numbers of the column as 1234.5, or all as 1234,5: no thousands separators"
        if self._words_only(name, bad):
            return f"they are words: --category {name} as an input, --target {name}:category as a target"
        listed = f", or list the words that mean missing: --missing-values {words[0]}" if words else ""
        return f"correct these cells{listed}"

    def _words_only(self, name: str, bad: NDArray[np.bool_]) -> bool:
        return bool((bad | self.missing(name)).all()) and not any(
            map(str.isdigit, "".join(self.text(name, ids=False)))
        )

    def coarseness(self, name: str) -> float:
        """How far apart the column's largest numbers are at least, where it is floating point; else 0."""
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
    """A table's columns as texts, each made when it is asked for."""

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
    source: Any,
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
    """Read a table; `notes` of the result says what was found and decided.

    source: a path (comma, tab, ``::``, ``|``, semicolon or blanks between cells, or Parquet; ``.gz`` too), a
        data frame (pandas, polars, anything that speaks Arrow), a mapping of names to columns (or to the
        cells of one row), a list of rows as mappings, or a structured array. A data frame's index names its
        rows, unless it only counts them; an index with a name is a column, too. Of a `Table`, which is read
        already, `missing_values` alone is looked at.
    separator, encoding, header: None finds them.  missing_values: words that mean missing beside the empty
        cell.  names: the columns' names where the file has none, or in place of those it has.
    likely: the encoding of a file that is not UTF-8 and whose encoding is not given.
    skip_lines: lines above the header that are left out.  comment: what lines begin with that are no rows.

    Raises TableError, with file, line, column, value and remedy, for what cannot be read as it stands.
    """
    words = (missing_values,) if isinstance(missing_values, str) else tuple(missing_values)
    if isinstance(source, Table):
        return _drop_missing(source, words)
    said = {"separator": separator, "encoding": encoding, "header": header, "names": names}
    said |= {"skip_lines": skip_lines or None, "comment": comment or None}
    options = {name: value for name, value in said.items() if value is not None}
    options |= {"missing_values": words} if words else {}
    if isinstance(source, str | PathLike):
        path = Path(source)
        if read_start(path, 4) == b"PAR1":
            table = _from_parquet(read_bytes(path), path.name, names)
        else:
            if skip_lines or comment:
                text = decode_bytes(read_bytes(path), name=path.name, encoding=encoding, likely=likely)
                text = leave_out_lines(text, path.name, skip=skip_lines or 0, comment=comment)
            else:
                text = open_text(path, encoding=encoding, likely=likely)
            layout, parsed = _parse(text, path.name, separator, header, names)
            if parsed is None:  # a large file with a clean beginning only
                text = decode_bytes(read_bytes(path), name=path.name, encoding=encoding, likely=likely)
                layout, parsed = _parse(text, path.name, separator, header, names)
            assert parsed is not None  # what is in memory is parsed, or refused
            table = _from_text(*parsed, text.notes, layout, path.name)
        return replace(_finish(table, words), path=str(source), options=options)
    if isinstance(source, Mapping):
        table = _from_mapping(source, names)
    elif isinstance(source, list | tuple) and source and all(isinstance(one, Mapping) for one in source):
        keys = dict.fromkeys(key for one in source for key in one)
        table = _from_mapping({key: [one.get(key) for one in source] for key in keys}, names)
    elif isinstance(source, np.ndarray) and source.dtype.names:
        table = _from_mapping({name: source[name].tolist() for name in source.dtype.names}, names)
    else:
        table = _from_frame(source, names)
    return replace(_finish(table, words), options=options)


def guess_kind(table: Table, column: str) -> tuple[str, str]:
    """What a column's cells are, from all of them, and the sentence that says so.

    ``image``, ``category``, ``number``, ``id`` (texts that differ in every row), ``empty``, or
    ``undecided``: whole numbers that may be classes or a quantity, for the user to say.
    """
    name = table.column(column)
    column_ = table._columns[name]
    if is_floating(column_):
        low, high = (value.as_py() for value in pc.min_max(column_).values())
        return "number", f"{name}: a number from {low:g} to {high:g}"
    codes, texts = table.codes(name)
    counts = np.bincount(codes, minlength=len(texts))
    there = texts != ""
    comma = name in table._decimal_commas
    return judge_kind(name, list(texts[there]), counts[there].tolist(), decimal_comma=comma)


def look_alikes(names: Iterable[str]) -> list[list[str]]:
    """Groups of names that a reader would take for one: ``Cat`` and ``cat``, ``1`` and ``1.0``."""
    return group_look_alikes(names)


def write_parquet(path: str | PathLike[str], columns: Mapping[str, Any]) -> None:
    """Write columns of one length as Parquet; object columns hold text, or None for missing."""
    import pyarrow.parquet as parquet

    table = pa.table({name: pa.array(values) for name, values in columns.items()})
    # Opened here: Arrow itself cannot encode every name in every locale.
    with open(path, "wb") as stream:
        # With empty metadata rather than none, as ever: the same columns are the same bytes.
        parquet.write_table(table.replace_schema_metadata({}), stream, compression="zstd")


def read_parquet_columns(path: str | PathLike[str]) -> dict[str, NDArray[Any]]:
    """Columns of a Parquet file as arrays: text as objects, None where missing."""
    table = _open_parquet(read_bytes(Path(path)), Path(path).name)
    return {name: table[name].to_numpy() for name in table.column_names}


def _drop_missing(table: Table, words: Sequence[str]) -> Table:
    """The table with the user's words missing, and the words among how it was read."""
    if not words:
        return table
    stripped = [word.strip() for word in words]
    columns = {name: drop_words(column, stripped) for name, column in table._columns.items()}
    known = tuple(dict.fromkeys((*table.options.get("missing_values", ()), *words)))
    return replace(table, _columns=columns, options={**table.options, "missing_values": known})


def _finish(table: Table, words: Sequence[str]) -> Table:
    """Take the user's words for missing, and say what is missing and how numbers are written."""
    columns = dict(_drop_missing(table, words)._columns)
    notes = list(table.notes)
    decimal = set()
    for name, column in columns.items():
        if column.null_count:
            notes.append(f"{name}: {column.null_count} of {table.rows} cells missing")
        commas = comma_cells(column)
        # Whoever has a comma elsewhere than a decimal one is soon seen, which spares a look at all cells.
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
    said = [*notes, *layout.notes]
    if len(named) == 1 and not isinstance(lines, int) and lines[-1] - lines[0] >= rows:
        said.append(f"{lines[-1] - lines[0] + 1 - rows} empty lines are left out")
    if layout.trailing:
        _check_trailing(named[layout.names[-1]], lines, layout, name)
    empty = [layout.names[place] for place in layout.unnamed]
    empty = [column for column in empty if named[column].null_count == rows and len(named) > 1]
    for column in empty:  # the separator at the end of every line, header included
        del named[column]
        said.append(f"{column} has no name and no value: left out")
    table = Table(tuple(named), rows, name, tuple(said), layout.header, "line", named, lines)
    return _tell_marks(_drop_headers(_drop_empty_rows(table), layout))


def _check_trailing(last: Column, lines: NDArray[np.int64] | int, layout: Layout, name: str) -> None:
    """Refuse rows with a value behind the separator that ends all others."""
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
    wanted = [_plain_name(names[one].strip("\ufeff")).casefold() for one in table.names if one in names]
    # A number is no name, so that hardly a table is looked at twice.
    if len(wanted) < len(table.names) or not all(map(_is_text, table._columns.values())):
        return table
    # Names are as long wherever they stand, but for a byte-order mark; the texts of few rows are looked at.
    sizes = {len(name.encode()) for name in names.values()}
    lengths = pa.array(sorted({*sizes, *(size + 3 for size in sizes)}), pa.int32())
    there = np.ones(table.rows, np.bool_)
    for name in table.names:
        column = table._columns[name]
        # A cell may be empty where its column has no name.
        there &= _as_long(column, lengths) | (not all(wanted) and column.is_null().to_numpy())
        if not there.any():
            return table
    rows = np.flatnonzero(there)
    found = table.take(rows)
    cells = [
        [_plain_name(text.strip("\ufeff")).casefold() for text in found.text(name)] for name in table.names
    ]
    again = np.array([list(row) == wanted for row in zip(*cells, strict=True)])
    other = np.array([sorted(row) == sorted(wanted) for row in zip(*cells, strict=True)]) & ~again
    if other.any() and (len(wanted) > 2 or any(map(is_usual_name, wanted))):
        raise TableError(
            f"{table.source} names its columns again in another order: files were joined that do not fit",
            problems=[f"line {line}" for line in found.lines[other]],
            fix="bring the columns of the files into one order before they are joined",
        )
    if again.all() and len(rows) == table.rows:
        raise TableError(f"{table.source} has a header and no rows", fix="give a file with rows")
    if not again.any():
        return table
    lines = found.lines[again]
    where = ", ".join(map(str, lines[:LISTED])) + (" ..." if len(lines) > LISTED else "")
    kept = np.ones(table.rows, np.bool_)
    kept[rows[again]] = False
    count = (
        "1 row that repeats the header is"
        if len(lines) == 1
        else f"{len(lines)} rows that repeat the header are"
    )
    said = f"{count} left out, as in joined files (line {where})"
    return replace(table.take(kept), notes=(*table.notes, said))


def _as_long(column: Column, lengths: Any) -> NDArray[np.bool_]:
    return rows_where(column, lambda texts: pc.is_in(pc.binary_length(texts), lengths))


def _tell_marks(table: Table) -> Table:
    """Point out rows that look like comments among others that do not."""
    column = table._columns[table.names[0]]
    if not _is_text(column):
        return table
    rows = np.flatnonzero(rows_where(column, lambda texts: pc.starts_with(texts, "#")))
    if not len(rows):
        return table
    if 10 * len(rows) > table.rows and len(rows) > 1:
        return table
    where = ", ".join(map(str, table.lines[rows][:LISTED]))
    count = "1 row begins" if len(rows) == 1 else f"{len(rows)} rows begin"
    said = f"{count} with '#' (line {where}): if that is a comment, leave it out with --comment '#'"
    return replace(table, notes=(*table.notes, said))


def _is_text(column: Column) -> bool:
    return pa.types.is_string(column.type) or pa.types.is_dictionary(column.type)


def _drop_empty_rows(table: Table) -> Table:
    """Leave out rows that have separators and nothing else, as spreadsheets append them."""
    if not all(column.null_count for column in table._columns.values()):
        return table
    empty = np.logical_and.reduce([table.missing(name) for name in table.names])
    if not empty.any():
        return table
    if empty.all():
        raise TableError(f"{table.source} has rows, but every cell is empty", fix="give a file with values")
    where = ", ".join(map(str, table.lines[empty][:LISTED])) + (" ..." if empty.sum() > LISTED else "")
    said = f"{int(empty.sum())} rows without any value are left out (line {where})"
    return replace(table.take(~empty), notes=(*table.notes, said))


# Data frames, mappings and Parquet


def _from_mapping(source: Mapping[Any, Any], names: Sequence[str] | None) -> Table:
    single = [str(name) for name, values in source.items() if _is_cell(values)]
    if single and len(single) < len(source):
        several = [str(name) for name, values in source.items() if not _is_cell(values)]
        raise TableError(
            "the given columns: some are one cell, others are sequences",
            found=f"one cell: {', '.join(single[:LISTED])}; sequences: {', '.join(several[:LISTED])}",
            fix="give one cell per row to each column, or one row of cells alone",
        )
    columns = [
        (str(name), to_column([values] if single else _once(values))) for name, values in source.items()
    ]
    return _from_columns(columns, "the given columns", names)


def _is_cell(values: Any) -> bool:
    """Is this the cell of one row rather than a column?"""
    return values is None or isinstance(values, str | bytes) or not hasattr(values, "__iter__")


def _once(values: Any) -> Any:
    """What can be gone through more than once."""
    return list(values) if iter(values) is values else values


def _frame_index(source: Any) -> tuple[NDArray[np.object_] | None, list[tuple[str, Any]]]:
    """What a pandas index calls the rows, and its named levels as columns; None where it only counts."""
    index: Any = getattr(source, "index", None)
    if not hasattr(index, "get_level_values"):
        return None, []
    levels = list(index.names)
    named = all(name is not None for name in levels)
    counts = type(index).__name__ == "RangeIndex" and index.start == 0 and index.step == 1
    if counts and not named:
        return None, []
    labels = np.empty(len(index), dtype=object)
    labels[:] = [
        " ".join(map(id_text, one)) if isinstance(one, tuple) else id_text(one) for one in index.tolist()
    ]
    columns = [
        (str(name), to_column(index.get_level_values(place)))
        for place, name in enumerate(levels)
        if named and str(name) not in map(str, source.columns)
    ]
    return labels, columns


def _from_frame(source: Any, names: Sequence[str] | None) -> Table:
    what = f"the {type(source).__module__.split('.')[0]} {type(source).__name__}"
    index = None
    if hasattr(source, "iloc") and hasattr(source, "columns"):
        # pandas: the cells of one column may differ in type, which Arrow's own way refuses.
        index, levels = _frame_index(source)
        columns = [(str(name), to_column(source.iloc[:, n])) for n, name in enumerate(source.columns)]
        columns = [*levels, *columns] if names is None else columns
    elif type(source).__name__ == "Series":
        raise TableError(
            f"{what} is one column, or one row, and no table",
            fix="give a data frame: df[['x']] or series.to_frame() of a column, df.iloc[[0]] of a row",
        )
    elif isinstance(source, pa.Table | pa.RecordBatch) or hasattr(source, "__arrow_c_stream__"):
        table = pa.table(source)
        columns = list(zip(table.column_names, table.columns, strict=True))
    else:
        raise TableError(
            f"{what} is no table",
            fix="give a path, a data frame, an Arrow table, a mapping of columns, or a list of mappings",
        )
    return replace(_from_columns(columns, what, names), _index=index)


def _from_parquet(data: bytes, name: str, names: Sequence[str] | None) -> Table:
    table = _open_parquet(data, name)
    return _from_columns(list(zip(table.column_names, table.columns, strict=True)), name, names)


def _open_parquet(data: bytes, name: str) -> Any:
    import pyarrow.parquet as parquet

    try:
        return parquet.read_table(pa.BufferReader(data))
    except (pa.ArrowException, OSError) as error:
        raise TableError(
            f"{name} is no Parquet file, or a damaged one ({error})", fix="write it again"
        ) from None


def _from_columns(columns: Sequence[tuple[str, Any]], source: str, names: Sequence[str] | None) -> Table:
    names = [name for name, _ in columns] if names is None else names
    names = [str(name).strip() for name in names]
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    lengths = {len(column) for _, column in columns}
    if not columns or lengths == {0}:
        raise TableError(f"{source}: there are no rows", fix="give a table with rows")
    if len(lengths) > 1:
        told = [f"{name}: {len(column)} cells" for name, column in columns]
        raise TableError(
            f"{source}: the columns differ in length", problems=told, fix="give one cell per row"
        )
    if twice or len(names) != len(columns):
        found = f"{', '.join(names[:LISTED])} for {len(columns)} columns"
        raise TableError(f"{source} needs one name to a column, each once", found=found, fix="rename them")
    notes: list[str] = []
    kept, unread = {}, {}
    for name, (_, column) in zip(names, columns, strict=True):
        column = column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])
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
