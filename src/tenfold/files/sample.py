"""A sample submission, kept to the byte, and the same file with other values in it.

Ids, header, order of rows and columns, separator, quoting, line ends and encoding stay those of the sample;
only cells of the filled columns change.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tenfold.data.tables.cells import is_number
from tenfold.data.tables.text import MARKS, read_bytes
from tenfold.errors import OutputError, SchemaError, TableError, did_you_mean
from tenfold.files.atomic import replacing
from tenfold.values import id_text, other_spelling

__all__ = ["Sample", "match_ids", "read_sample", "write_sample"]

SEPARATORS = (",", "\t", ";", "|")
INTEGER = re.compile(r"[+-]?\d+")
FLOAT = re.compile(r"[+-]?\d+\.0")
WHOLE_FLOAT = re.compile(r"([+-]?\d+)\.0*")
COMMA_NUMBER = re.compile(r"[+-]?\d+(,\d+)?")
SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,4}$")


@dataclass(frozen=True)
class Sample:
    """A small text table as its file has it.

    names: column names without quotes and outer blanks.
    rows: cells as texts, without quotes.  raw: the same cells as the file has them.
    lines: the line of the file of each row; the header is line 1.
    header: as the file has it.  ending: line end.  closed: whether the last line has it.
    mark: byte-order mark.
    """

    name: str
    path: Path
    names: tuple[str, ...]
    rows: list[list[str]]
    raw: list[list[str]]
    lines: list[int]
    header: str
    separator: str
    ending: str
    closed: bool
    encoding: str
    mark: bytes
    notes: tuple[str, ...] = ()

    def column(self, name: str) -> int:
        """The index of a column; SchemaError with the nearest name where it is missing."""
        if name not in self.names:
            raise SchemaError(
                f"{self.name} has no column {name!r}",
                found=", ".join(self.names),
                fix=did_you_mean(name, self.names),
            )
        return self.names.index(name)

    def cells(self, column: int) -> list[str]:
        """The texts of one column, without outer blanks."""
        return [row[column].strip() for row in self.rows]


def read_sample(path: str | os.PathLike[str]) -> Sample:
    """Read a submission, such as a sample. TableError where it is not a table of two or more columns."""
    path = Path(path)
    text, encoding, mark, notes = _decode(path)
    separator = _find_separator(text)
    raw, lines, ending = _cut(text, separator)
    if len(raw) < 2:
        raise TableError(
            f"{path.name} has no rows" if raw else f"{path.name} is empty",
            fix="give a file with a header and a row for each id",
        )
    head, raw, lines = raw[0], raw[1:], lines[1:]
    names = tuple(_unquote(cell).strip() for cell in head)
    if len(names) < 2:
        raise TableError(
            f"{path.name} has 1 column; a submission has an id and something to fill in",
            found=", ".join(names),
            fix="give the sample submission, separated by comma, tab, semicolon or |",
        )
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise TableError(f"{path.name} has the column {twice[0]!r} twice", fix="give each column one name")
    wrong = [row for row, cells in enumerate(raw) if len(cells) != len(names)]
    if wrong:
        raise TableError(
            f"{path.name} has rows of different lengths",
            problems=[
                f"line {lines[row]} has {len(raw[row])} cells, the header has {len(names)}" for row in wrong
            ],
            fix="quote cells that hold the separator",
        )
    return Sample(
        name=path.name,
        path=path,
        names=names,
        rows=[[_unquote(cell) for cell in cells] for cells in raw],
        raw=raw,
        lines=lines,
        header=separator.join(head),
        separator=separator,
        ending=ending,
        closed=text.endswith(("\n", "\r")),
        encoding=encoding,
        mark=mark,
        notes=notes,
    )


def _decode(path: Path) -> tuple[str, str, bytes, tuple[str, ...]]:
    """Text, encoding, byte-order mark, and notes on what was guessed.

    Unlike the text of a table it keeps every byte, so that it can be written again in the same encoding.
    """
    data = read_bytes(path)
    for mark, encoding in MARKS:
        if data.startswith(mark):
            try:
                return data[len(mark) :].decode(encoding), encoding, mark, ()
            except UnicodeDecodeError:
                raise TableError(
                    f"{path.name} is not {encoding}, as it begins", fix="fetch it again"
                ) from None
    if b"\x00" in data:
        raise TableError(f"{path.name} is not a text file", fix="give the sample as CSV")
    text = encoding = ""
    for encoding in ("utf-8", "cp1252", "latin-1"):  # the last decodes any bytes
        with suppress(UnicodeDecodeError):
            text = data.decode(encoding)
            break
    notes = () if encoding == "utf-8" else (f"{path.name} is not UTF-8: read and answered in {encoding}",)
    return text, encoding, b"", notes


def _find_separator(text: str) -> str:
    """The separator that gives the first lines equally many cells, and the most of them."""
    head = text[:65536]

    def fit(separator: str) -> tuple[bool, int]:
        rows = _cut(head, separator)[0][:20]
        widths = [len(row) for row in (rows[:-1] if len(text) > len(head) else rows)] or [1]
        return widths[0] > 1 and len(set(widths)) == 1, widths[0]

    return max(SEPARATORS, key=fit)


def _cut(text: str, separator: str) -> tuple[list[list[str]], list[int], str]:
    """Rows of raw cells (quotes kept), their lines, and the first line end. Empty lines are left out."""
    rows: list[list[str]] = []
    lines: list[int] = []
    ending = "\r\n" if "\r\n" in text else "\n" if "\n" in text or "\r" not in text else "\r"
    if '"' not in text:
        for number, line in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), 1):
            if line.strip():
                rows.append(line.split(separator))
                lines.append(number)
        return rows, lines, ending
    mark = re.escape(separator)
    cell = re.compile(rf'("(?:[^"]|"")*"|[^{mark}\r\n]*)({mark}|\r\n|\n|\r|\Z)')
    row: list[str] = []
    position, line, start = 0, 1, 1
    while position < len(text):
        match = cell.match(text, position)
        assert match is not None  # a cell may be empty, and the end of the text ends it
        row.append(match[1])
        position = match.end()
        line += match[1].count("\n")
        if match[2] != separator or position == len(text):
            if match[2] == separator:
                row.append("")
            if any(cell_text.strip() for cell_text in row):
                rows.append(row)
                lines.append(start)
            line += 1
            row, start = [], line
    return rows, lines, ending


def _unquote(cell: str) -> str:
    if len(cell) > 1 and cell[0] == cell[-1] == '"':
        return cell[1:-1].replace('""', '"')
    return cell


def write_sample(
    path: str | os.PathLike[str], sample: Sample, filled: Mapping[int, Sequence[str]]
) -> tuple[str, ...]:
    """Write the sample with some columns filled: index of the column -> a text per row. Returns notes.

    Filled cells look as the column does: whole numbers where the sample has them, its words for true and
    false, its decimal comma, its quotes.
    """
    if os.path.realpath(path) == os.path.realpath(sample.path):
        raise OutputError(f"{path} is the sample itself", fix="give the submission another name")
    columns = {}
    for column, texts in filled.items():
        styled = _style(texts, sample.cells(column), sample.separator)
        always = all(row[column].startswith('"') for row in sample.raw)
        columns[column] = [_quote(text, sample.separator, always) for text in styled]
    rows = []
    for row, raw in enumerate(sample.raw):
        cells = [columns[column][row] if column in columns else cell for column, cell in enumerate(raw)]
        rows.append(sample.separator.join(cells))
    text = sample.ending.join([sample.header, *rows]) + (sample.ending if sample.closed else "")
    try:
        data = text.encode(sample.encoding)
    except UnicodeEncodeError as error:
        raise OutputError(
            f"{sample.name} is written in {sample.encoding}, which cannot hold {error.object[error.start]!r}",
            fix="save the sample as UTF-8",
        ) from None
    with replacing(path) as stream:
        stream.write(sample.mark + data)
    return sample.notes


def _quote(text: str, separator: str, always: bool) -> str:
    if always or separator in text or any(mark in text for mark in '"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


def _style(texts: Sequence[str], cells: Sequence[str], separator: str) -> list[str]:
    """Texts in the style of the sample's own cells of that column."""
    shown = {cell for cell in cells if cell}
    if shown and all(INTEGER.fullmatch(cell) for cell in shown):
        return [_whole(text) for text in texts]
    if shown and all(FLOAT.fullmatch(cell) for cell in shown):
        return [f"{text}.0" if INTEGER.fullmatch(text) else text for text in texts]
    words = {cell.casefold(): cell for cell in shown}
    if shown and set(words) <= {"true", "false"}:
        return [_truth(text, next(iter(shown))) for text in texts]
    if separator != "," and any("," in cell for cell in shown):
        if all(COMMA_NUMBER.fullmatch(cell) for cell in shown):
            return [text.replace(".", ",") if is_number(text) else text for text in texts]
    return list(texts)


def _whole(text: str) -> str:
    """``1.0`` and ``True`` as ``1``; anything else as it is."""
    if match := WHOLE_FLOAT.fullmatch(text):
        return match[1] if match[1] not in ("-0", "+0") else "0"
    return {"true": "1", "false": "0"}.get(text.casefold(), text)


def _truth(text: str, like: str) -> str:
    """0, 1, true and false in the case of the sample's word."""
    word = {"0": "false", "1": "true"}.get(_whole(text))
    if word is None:
        return text
    return word.upper() if like.isupper() else word.capitalize() if like[0].isupper() else word


# --- joining by id -----------------------------------------------------------------------------------


def match_ids(wanted: Sequence[str], there: Sequence[str]) -> tuple[list[list[int]], tuple[str, ...]]:
    """For each wanted id the rows of `there` that have it, and messages.

    Ids are compared by `id_text`. If none of them matches, whole numbers are compared whether they passed
    through floating point or not (``1.0`` is ``1``), and then names of pictures without folder and ending,
    as long as that is unambiguous.
    """
    matches = _match(wanted, there, id_text)
    if any(matches) or not wanted or not there:
        return matches, ()
    for key, words in ((_exact, "as whole numbers"), (_bare, "without folder and ending of the file")):
        if any(len(set(map(key, ids))) < len(set(ids)) for ids in (there, wanted)):
            continue
        joined = _match(wanted, there, key)
        if any(joined):
            shown = next((name for name in (*wanted, *there) if key(name) != name), wanted[0])
            return joined, (f"ids joined {words}: {shown!r} is {key(shown)!r}",)
    return matches, ()


def _exact(name: str) -> str:
    text = id_text(name)
    return (text.endswith(".0") and other_spelling(text)) or text


def _match(wanted: Sequence[str], there: Sequence[str], key: Callable[[str], str]) -> list[list[int]]:
    rows = defaultdict[str, list[int]](list)
    for row, name in enumerate(there):
        rows[key(name)].append(row)
    return [rows.get(key(name), []) for name in wanted]


def _bare(name: str) -> str:
    return SUFFIX.sub("", PurePosixPath(id_text(name).replace("\\", "/")).name)
