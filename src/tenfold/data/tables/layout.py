"""Layout of a text table: its separator, header and rows, with notes of what was found.

Nothing here knows Arrow or a file. A table is text with ``\\n`` at line ends (see data/text.py);
`find_layout` examines its beginning, `iterate_records` splits it cell by cell, with the line of each row.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import TableError, shortened
from tenfold.events import Detail

#: The beginning of a file that decides its layout.
HEAD_BYTES = 1 << 18
HEAD_ROWS = 200
_PIECE = 1 << 22

#: Tried in this order; a list of genres inside a cell is why "|" comes last.
SEPARATORS = ("\t", "::", ";", ",", "|")
#: With these separators a quote may well be text: it counts only if the rows make no sense otherwise.
LITERAL = ("\t", "|")
#: Stands for any run of blanks between cells.
BLANKS = " "
#: For a file of one column: a control character that text does not contain.
NO_SEPARATOR = "\x1f"
NAMED = {"\t": "tab", BLANKS: "space", ",": "comma", ";": "semicolon", "|": "pipe"}
SPELLINGS = {"\\t": "\t", "\\s+": BLANKS, **{name: mark for mark, name in NAMED.items()}}

#: Names of columns that are hardly ever data, without case, blanks and signs.
KNOWN_NAMES = frozenset(
    "user userid uid username customer customerid member memberid item itemid iid movie movieid product "
    "productid book bookid track trackid artist artistid song songid joke jokeid rating ratings stars score "
    "time times timestamp datetime unixtime date id ids index row rowid key image images imageid imagename "
    "imagepath img photo picture file files filename filepath path label labels class classes classname "
    "target targets category categories name title titles genre genres text caption weight fold split group "
    "sender senderid age sex gender price count quantity".split()
)

#: The start of documents that are not tables, their name, and what to do.
_MARKUP = (
    (re.compile(r"\s*(\[\s*)?\{\s*(\"|\})"), "JSON", "write it as CSV or Parquet first, one row a record"),
    (
        re.compile(r"\s*<(!doctype|html|head|body|table|\?xml)\b", re.IGNORECASE),
        "a web page or XML",
        "export the table as CSV",
    ),
)
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?")
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+")
_FILE = re.compile(r"\S(.*\S)?\.[A-Za-z][A-Za-z0-9]{1,4}")
_DIGIT = re.compile(r"\d")
_SHAPE = ((re.compile(r"[^\W\d_]+"), "a"), (re.compile(r"\d+"), "9"))


class Record(NamedTuple):
    """A row of a text table.

    line: where it begins, from 1.  end: position after its line end.  fault: a fault of its quotes, or "".
    """

    line: int
    cells: list[str]
    end: int
    fault: str = ""


@dataclass(frozen=True)
class Layout:
    """The parts of a text table.

    separator: between cells; one blank stands for any run of blanks.
    quoting: may cells be in double quotes?  header: did the file name its columns?
    names: the columns.  unnamed: indices of columns with an empty cell in the header.
    start: byte where the first row begins.  line: its line.
    notes: decisions, one a line.
    heading: the cells of the header as written in the file.
    trailing: rows, but not the header, end in a separator, so that the last column is empty.
    """

    separator: str
    quoting: bool
    header: bool
    names: tuple[str, ...]
    unnamed: tuple[int, ...]
    start: int
    line: int
    notes: tuple[str, ...]
    heading: tuple[str, ...] = ()
    trailing: bool = False


def is_usual_name(name: str) -> bool:
    """Is this a usual name of a column, which is hardly ever data?"""
    return re.sub(r"[\W_]", "", name.casefold()) in KNOWN_NAMES


def separator_name(separator: str) -> str:
    """``tab``, ``comma`` or the quoted separator itself."""
    return NAMED.get(separator, repr(separator))


def iterate_records(text: str, separator: str, *, quoting: bool, line: int = 1) -> Iterator[Record]:
    """The rows of a table with the lines they begin in; blank lines are left out.

    Quotes count only at the beginning of a cell, after blanks: ``5'6" tall`` is plain text. A row with wrong
    quotes ends with its line, and its `fault` says why.
    """
    cell = _cell_patterns(separator)
    start = 0
    while start < len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        row = text[start:end]
        if not quoting or '"' not in row:
            if row and not row.isspace():
                yield Record(line, _split(row, separator), end + 1)
            start, line = end + 1, line + 1
            continue
        cells, end, fault = _quoted_cells(text, start, end, cell, separator)
        yield Record(line, cells, end + 1, fault)
        line += text.count("\n", start, end) + 1
        start = end + 1


def _split(row: str, separator: str) -> list[str]:
    return row.split() if separator == BLANKS else row.split(separator)


def _cell_patterns(separator: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """A quoted cell with the blanks around it, and a plain cell."""
    mark = re.escape(separator)
    blanks = "[ ]*+" if separator == "\t" else "[ \t]*+"
    quoted = re.compile(rf'{blanks}"((?:[^"]++|"")*+)"{blanks}(?={mark}|\n|\Z)')
    return quoted, re.compile(rf"(?:(?!{mark})[^\n])*+")


def _quoted_cells(
    text: str, start: int, line_end: int, patterns: tuple[re.Pattern[str], re.Pattern[str]], separator: str
) -> tuple[list[str], int, str]:
    """The cells of a row with quotes, its end, and its fault or ""."""
    quoted, plain = patterns
    cells: list[str] = []
    here = start
    while True:
        if match := quoted.match(text, here):
            cells.append(match[1].replace('""', '"'))
        else:
            match = plain.match(text, here)
            if match is None or match[0].lstrip().startswith('"'):
                opening = text.index('"', here)
                closing = re.compile(r'(?:[^"]++|"")*+"').match(text, opening + 1)
                what = "text stands after the closing quote" if closing else "the quote is never closed"
                return cells, line_end, f"cell {len(cells) + 1}: {what}"
            cells.append(match[0])
        here = match.end()
        if not text.startswith(separator, here):
            return cells, here, ""
        here += len(separator)


def find_layout(
    data: bytes,
    *,
    name: str,
    separator: str | None = None,
    header: bool | None = None,
    names: Sequence[str] | None = None,
) -> Layout:
    """Find the separator, the header and the column names of a table.

    data: clean UTF-8 (see data/text.py).  name: the file, for messages.
    separator: as the user gave it, also by name (``tab``, ``space``); None finds it.
    header: does the first row name the columns? None finds out.
    names: names of the columns of a file without a header, or in place of those in the header.

    Raises TableError for an empty file, if no separator fits, and for duplicate names.
    """
    head = _head(data)
    if not head.strip():
        raise TableError(f"{name} is empty ({len(data)} bytes)", fix="give a file with a header and rows")
    skipped = 0
    hint = re.match(r'\s*"?sep=(.[^\n"]?)"?[ ]*\n', head)
    if hint:  # a line that spreadsheets write
        separator = separator if separator is not None else hint[1]
        skipped = hint.end()
    first_line = head[:skipped].count("\n") + 1
    separator, note = _settle_separator(separator, head[skipped:], name)
    # Programs that write '::' files do not quote: a quote in a title is text.
    quoting = separator != BLANKS and len(separator.encode()) == 1
    rows = _first_rows(head[skipped:], separator, quoting, first_line)
    if not rows:
        raise TableError(f"{name} is empty but for its first line", fix="give a file with rows")
    trailing = len(rows) > 1 and all(
        len(row.cells) == len(rows[0].cells) + 1 and not row.cells[-1].strip() for row in rows[1:]
    )
    if trailing:
        rows[0] = rows[0]._replace(cells=[*rows[0].cells, ""])
    first = rows[0]
    has_header, why = (header, "as given") if header is not None else _find_header([r.cells for r in rows])
    columns, unnamed = tuple(f"column_{n}" for n in range(1, len(first.cells) + 1)), ()
    if trailing and not has_header:
        raise TableError(
            f"{name}: line {first.line} has {len(first.cells) - 1} cells, the lines below end in one more",
            fix=f"take the {separator_name(separator)} from their ends, or give --header",
        )
    start, line = skipped, first_line
    if has_header:
        columns, unnamed = _column_names(first, name)
        start = skipped + first.end
        line = first_line + head[skipped:start].count("\n")
    if names is not None:
        columns, unnamed = _given_names(names, columns, name), ()
    _check_once(columns, name, has_header)
    shown = shortened(columns)
    if has_header:
        why = Detail(f"line {first.line} is the header ({why}): {shown}; give --no-header if it is data")
    else:
        why = f"no header ({why}): line {first.line} is data, columns {shown}; give --header if it is not"
    start, heading = len(head[:start].encode()), tuple(first.cells) if has_header else ()
    trailing = trailing and has_header
    return Layout(
        separator, quoting, has_header, columns, unnamed, start, line, (note, why), heading, trailing
    )


def ragged(record: Record, expected: int, against: str, separator: str) -> str:
    """``line 2 has 4 cells, the header has 3 (is a comma inside a title not quoted?)``."""
    count = len(record.cells)
    why = "is the line cut short?"
    if count > expected and not any(cell.strip() for cell in record.cells[expected:]):
        why = f"is there a {separator_name(separator)} too many at its end?"
    elif count > expected:
        why = f"is a {separator_name(separator)} inside a title not quoted?"
    return f"line {record.line} has {count} cell{'s' if count != 1 else ''}, {against} has {expected} ({why})"


def _head(data: bytes) -> str:
    """The beginning of a table, in whole lines."""
    if len(data) <= HEAD_BYTES:
        return data.decode()
    end = data.rfind(b"\n", 0, HEAD_BYTES) + 1 or data.find(b"\n", HEAD_BYTES) + 1 or len(data)
    return data[:end].decode()


def _first_rows(text: str, separator: str, quoting: bool, line: int = 1) -> list[Record]:
    """The first row, and the next ones that can be read: the last may be cut amid quotes."""
    if quoting and separator in LITERAL:
        records = list(islice(iterate_records(text, separator, quoting=False, line=line), HEAD_ROWS))
        if len({len(row.cells) for row in records}) == 1:
            return [row._replace(cells=[*map(_unquoted, row.cells)]) for row in records]
    records = list(islice(iterate_records(text, separator, quoting=quoting, line=line), HEAD_ROWS))
    return records[:1] + [row for row in records[1:] if not row.fault]


def _unquoted(cell: str) -> str:
    return cell[1:-1].replace('""', '"') if re.fullmatch(r'"(?:[^"]|"")*"', cell) else cell


def _settle_separator(given: str | None, head: str, name: str) -> tuple[str, str]:
    """The separator, given or found, and a note that says so."""
    first = head.strip().split("\n")[0][:80]
    if given is None:
        _check_markup(head, name)
        if separator := _find_separator(head):
            return separator, Detail(f"the separator is {separator_name(separator)} (found)")
        _check_single_column(head, name)
        return NO_SEPARATOR, f"{name} has 1 column: no separator was found"
    separator = SPELLINGS.get(given, given)
    if not separator or "\n" in separator or '"' in separator:
        raise TableError(f"{given!r} cannot separate cells", fix="give --sep ',' or tab, '::', space")
    rows = _first_rows(head, separator, len(separator) == 1)
    if any(len(row.cells) > 1 for row in rows):
        return separator, Detail(f"the separator is {separator_name(separator)} (as given)")
    if better := _find_separator(head):
        raise TableError(
            f"found 1 column in {name} with --sep {given!r}; first line is {first!r}",
            fix=f"give --sep {separator_name(better)}, or leave it out",
        )
    return separator, f"{name} has 1 column: it holds no {separator_name(separator)}"


def _find_separator(head: str) -> str:
    """The separator that gives every row, or most rows, the same number of cells; or "".

    Several separators may: decimal commas between semicolons do as well as the semicolons. Then the separator
    with the fewest cells that hold another separator wins, decimal commas aside.
    """
    best: list[tuple[tuple[float, ...], str]] = []
    fallback: list[tuple[tuple[float, ...], str]] = []
    for index, separator in enumerate(SEPARATORS):
        rows = [row.cells for row in _first_rows(head, separator, len(separator) == 1)]
        counts = Counter(map(len, rows))
        cells = [cell for row in rows for cell in row]
        # "|" is allowed in cells: it separates the items of lists.
        others = [other for other in SEPARATORS[:-1] if other != separator]
        foul = sum(
            any(other in cell for other in others) and not _DECIMAL_COMMA.fullmatch(cell.strip())
            for cell in cells
        )
        if len(counts) == 1 and len(rows[0]) > 1:
            best.append(((separator != "|", -foul / len(cells), len(rows[0]), -index), separator))
        length, agree = counts.most_common(1)[0]
        if sum(count for cells_of, count in counts.items() if cells_of > 1) >= len(rows) / 2:
            fallback.append(((length > 1, agree / len(rows), -index), separator))
    if best:
        return max(best)[1]
    if _blanks_separate(head):
        return BLANKS
    return max(fallback)[1] if fallback else ""


def _blanks_separate(head: str) -> bool:
    """Do runs of blanks separate cells? All rows have the same length, and some column holds only numbers."""
    rows = [row.cells for row in _first_rows(head, BLANKS, False)]
    if len(rows[0]) < 2 or len({len(row) for row in rows}) > 1:
        return False
    body = rows[1:] or rows
    return any(all(_NUMBER.fullmatch(row[c]) for row in body) for c in range(len(rows[0])))


def _check_markup(head: str, name: str) -> None:
    """Raise if the text is a document of another kind, in which commas do not separate cells."""
    for start, what, fix in _MARKUP:
        if start.match(head):
            raise TableError(f"{name} holds {what}, not a table of cells", fix=fix)


def _check_single_column(head: str, name: str) -> None:
    """Raise if a file without a known separator has some sign equally often in all its lines."""
    lines = [line.strip() for line in head.split("\n")[:HEAD_ROWS] if line.strip()]
    signs = {sign for sign in lines[0] if not sign.isalnum() and sign not in "._-/'\"()@ "}
    for sign in sorted(signs):
        if len(lines) > 1 and len({line.count(sign) for line in lines}) == 1:
            other = "," if sign != "," else "tab"
            raise TableError(
                f"found 1 column in {name}; first line is {lines[0][:80]!r}",
                found=f"{sign!r} occurs {lines[0].count(sign)} times in every line",
                fix=f"give --sep {sign!r}, or --sep {other!r} if it is one column",
            )


def _find_header(rows: Sequence[Sequence[str]]) -> tuple[bool, str]:
    """Does the first row name the columns, by the votes of all columns; and why."""
    first = [cell.strip() for cell in rows[0]]
    body = [row for row in rows[1:] if len(row) == len(first)]
    header = data = 0
    for column, cell in enumerate(first):
        if cell:
            vote = _vote(cell, [row[column].strip() for row in body if row[column].strip()])
            header += (vote > 0) + is_usual_name(cell)
            data += vote < 0
    if header != data:
        return header > data, "names over values" if header > data else "its cells are like those below"
    if not body:
        return not any(_NUMBER.fullmatch(cell) for cell in first), "one line only"
    if len(first) == 1:
        return False, "it looks like the rows below"
    return True, "nothing contradicts it"


def _vote(cell: str, below: Sequence[str]) -> int:
    """1 if the cell differs from all below it as a name does, -1 if it is of their kind, else 0."""
    number = _NUMBER.fullmatch(cell) is not None
    if number or not below:
        return -number
    if sum(_NUMBER.fullmatch(text) is not None for text in below) >= len(below) / 2:
        return 1
    if cell in below:
        return -1
    shapes = {*map(_shape, below)}
    if len(shapes) == 1 and shapes != {"a"}:
        return -1 if _shape(cell) in shapes else 1
    if all(map(_DIGIT.search, below)):
        return -1 if _DIGIT.search(cell) else 1
    return 0


def _shape(cell: str) -> str:
    """``p12`` -> ``a9``, ``leaf 7.jpg`` -> ``file``: the common form of cells of a kind."""
    if _FILE.fullmatch(cell):
        return "file"
    for pattern, mark in _SHAPE:
        cell = pattern.sub(mark, cell)
    return cell


def _column_names(first: Record, name: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    if first.fault:
        raise TableError(
            f"{name}: the header cannot be read (line {first.line}, {first.fault})",
            fix='write a quote inside quotes twice: "", or give --no-header',
        )
    cells = [cell.strip().strip("\ufeff") for cell in first.cells]
    unnamed = tuple(index for index, cell in enumerate(cells) if not cell)
    return tuple(cell or f"column_{number}" for number, cell in enumerate(cells, start=1)), unnamed


def _given_names(names: Sequence[str], columns: Sequence[str], name: str) -> tuple[str, ...]:
    if len(names) != len(columns):
        raise TableError(
            f"{len(names)} names are given for the {len(columns)} columns of {name}",
            found=shortened(columns),
            fix="give a name for each column, in their order",
        )
    return tuple(str(given).strip() for given in names)


def _check_once(columns: Sequence[str], name: str, header: bool) -> None:
    numbers: dict[str, list[str]] = {}
    for number, column in enumerate(columns, start=1):
        numbers.setdefault(column, []).append(str(number))
    twice = {column: same for column, same in numbers.items() if len(same) > 1}
    if twice:
        raise TableError(
            f"{name} has columns of the same name",
            problems=[
                f"{column!r} is the name of columns {', '.join(same)}" for column, same in twice.items()
            ],
            fix="rename them" + (", or give --no-header if line 1 is data" if header else ""),
        )


def collect_cells(
    text: str, layout: Layout, name: str, *, separator: str, batch: int = 1 << 16
) -> Iterator[tuple[list[list[str]], list[int]]]:
    """All rows, split cell by cell, in batches: the cells column by column, and the line of each row.

    separator: the separator in `text`, which may have replaced that of the file.
    Raises TableError with the lines of rows that have more or fewer cells than there are columns, or wrong
    quotes.
    """
    expected = len(layout.names)
    against = "the header" if layout.header else ""
    rows: list[list[str]] = []
    lines: list[int] = []
    faults: list[str] = []
    bad: list[Record] = []
    quoting = layout.quoting and separator == layout.separator
    for record in iterate_records(text, separator, quoting=quoting, line=layout.line):
        against = against or f"line {record.line}"
        if record.fault:
            faults.append(f"line {record.line}, {record.fault}")
        elif len(record.cells) != expected:
            faults.append(ragged(record, expected, against, layout.separator))
            bad.append(record)
        elif not faults:
            rows.append(record.cells)
            lines.append(record.line)
            if len(rows) == batch:
                yield [list(column) for column in zip(*rows, strict=True)], lines
                rows, lines = [], []
    if faults:
        mark = separator_name(layout.separator)
        raise TableError(
            f"{name}: {len(faults)} {'row does' if len(faults) == 1 else 'rows do'} not fit the columns",
            problems=faults,
            fix=_title_fix(bad, layout)
            or f'put a cell that holds a {mark} or a quote in double quotes ("" for a quote), or give --sep',
        )
    if rows:
        yield [list(column) for column in zip(*rows, strict=True)], lines


def _title_fix(bad: Sequence[Record], layout: Layout) -> str:
    """The fix for lines that are not rows, if these seem to be why rows do not fit; else ""."""
    marks = [record for record in bad if record.cells[0].lstrip()[:1] in ("#", "%", "/")]
    if marks and len(marks) == len(bad):
        return f"if these lines are comments, leave them out: --comment {marks[0].cells[0].lstrip()[0]!r}"
    widths = Counter(len(record.cells) for record in bad)
    if not layout.header or not widths or bad[0].line > layout.line + 20:
        return ""
    width, times = widths.most_common(1)[0]
    if width <= len(layout.names) or times < len(bad) / 2:
        return ""
    first = next(record.line for record in bad if len(record.cells) == width)
    title = layout.heading[0].strip()
    marked = f", or --comment {title[0]!r}" if title[:1] in ("#", "%") else ""
    return (
        f"if line {first} names the columns, leave out what is above it ({title[:40]!r}): "
        f"--skip-lines {first - 1}{marked}"
    )


@dataclass(frozen=True)
class Quotes:
    """The double quotes of a table.

    regular: each opens at the beginning of a cell or closes at its end, or is doubled within.
    count: all quotes.  doubled: pairs that stand for a quote.  line_ends: line ends inside quotes.
    """

    regular: bool
    count: int
    doubled: int
    line_ends: int


def survey_quotes(data: bytes, start: int, separator: bytes) -> Quotes:
    """Count the quotes of ``data[start:]`` without splitting it. separator: one byte."""
    every = np.frombuffer(data, np.uint8)
    around = np.array([ord('"'), ord("\n"), separator[0]], np.uint8)
    count = doubled = line_ends = 0
    regular = True
    for begin in range(start, len(every), _PIECE):
        piece = every[begin : begin + _PIECE]
        here = np.flatnonzero(piece == around[0]) + begin
        opens = (np.arange(len(here)) + count) % 2 == 0
        before = every[here[opens] - 1]
        before[here[opens] == start] = around[1]
        closing = here[~opens] + 1
        after = every[np.minimum(closing, len(every) - 1)]
        after[closing == len(every)] = around[1]
        regular = regular and bool(np.isin(before, around).all() and np.isin(after, around).all())
        doubled += int((after == around[0]).sum())
        ends = np.flatnonzero(piece == around[1]) + begin
        line_ends += int(((np.searchsorted(here, ends) + count) % 2).sum())
        count += len(here)
    return Quotes(regular and count % 2 == 0, count, doubled, line_ends)


def row_lines(data: bytes, start: int, line: int, *, quoted: bool) -> NDArray[np.int64]:
    """The line of the file in which each row of ``data[start:]`` begins, empty lines left out.

    line: the line at `start`.  quoted: do quotes count? They must be regular.
    """
    every = np.frombuffer(data, np.uint8)[start:]
    ends = np.flatnonzero(every == ord("\n"))
    if len(every) and every[-1] != ord("\n"):
        ends = np.append(ends, len(every))
    row_ends = np.arange(len(ends))
    if quoted:
        quotes = np.flatnonzero(every == ord('"'))
        row_ends = row_ends[np.searchsorted(quotes, ends) % 2 == 0]
    begins = np.append(0, row_ends[:-1] + 1)  # lines, counted from `start`
    starts = np.append(0, ends[:-1] + 1)[begins]
    return begins[ends[row_ends] > starts] + line
