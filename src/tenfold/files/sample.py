"""A sample submission, kept to the byte, and the same file with other values in it.

Identifiers, header, order of rows and columns, separator, quoting, line ends and encoding stay those of the
sample; only cells of the columns that are filled change.
"""

from __future__ import annotations

import gzip
import os
import re
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from tenfold.errors import LISTED, OutputError, SchemaError, TableError, did_you_mean, no_file
from tenfold.files.atomic import replacing
from tenfold.values import id_text

__all__ = ["Sample", "join_by_id", "match_ids", "read_sample", "write_sample"]

MARKS = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\x00\x00", "utf-32-le"),
    (b"\x00\x00\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
SEPARATORS = (",", "\t", ";", "|")
INTEGER = re.compile(r"[+-]?\d+")
FLOAT = re.compile(r"[+-]?\d+\.0")
WHOLE_FLOAT = re.compile(r"([+-]?\d+)\.0*")
COMMA_NUMBER = re.compile(r"[+-]?\d+(,\d+)?")
SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,4}$")


@dataclass(frozen=True)
class Sample:
    """A small text table as it stands in its file.

    names: column names without quotes and outer blanks.
    rows: cells as texts, without quotes.  raw: the same cells as they stand in the file.
    lines: the line of the file of each row; the header is line 1.
    header: the header as it stands.  ending: line end.  closed: whether the last line has one.
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
    notes: tuple[str, ...] = field(default=())

    def column(self, name: str) -> int:
        """The place of a column; SchemaError with the nearest name where there is none."""
        if name not in self.names:
            raise SchemaError(
                f"{self.name} has no column {name!r}",
                found=", ".join(self.names),
                fix=did_you_mean(name, self.names),
            )
        return self.names.index(name)

    def cells(self, place: int) -> list[str]:
        """The texts of one column, without outer blanks."""
        return [row[place].strip() for row in self.rows]


def read_sample(path: str | os.PathLike[str]) -> Sample:
    """Read a sample submission, or any submission. TableError where it is no table of two or more columns."""
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
            f"{path.name} is not one table",
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
    """Text, encoding, byte-order mark, and what was found rather than known."""
    if what := no_file(path):
        raise TableError(f"{path} is {what}, not a file", fix="write its content to a file first")
    try:
        data = path.read_bytes()
        if data.startswith(b"\x1f\x8b"):
            data = gzip.decompress(data)
    except FileNotFoundError:
        near = [one.name for one in sorted(path.parent.iterdir())] if path.parent.is_dir() else []
        fix = did_you_mean(path.name, near) or f"the folder {path.parent} is not there, or empty"
        raise TableError(f"there is no file {path}", fix=fix) from None
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise TableError(f"{path} cannot be read: {reason}", fix="give a CSV file that is whole") from None
    if data.startswith((b"PK\x03\x04", b"PAR1")) or (b"\x00" in data and not data.startswith(_marks())):
        raise TableError(
            f"{path.name} is not a text file", fix="give the sample as CSV; unpack it if it is a zip"
        )
    for mark, encoding in MARKS:
        if data.startswith(mark):
            try:
                return data[len(mark) :].decode(encoding), encoding, mark, ()
            except UnicodeDecodeError:
                raise TableError(
                    f"{path.name} is not {encoding}, as it begins", fix="fetch it again"
                ) from None
    for encoding in ("utf-8", "cp1252"):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        break
    else:
        text, encoding = data.decode("latin-1"), "latin-1"  # which gives every byte a letter
    notes = () if encoding == "utf-8" else (f"{path.name} is not UTF-8: read and answered in {encoding}",)
    return text, encoding, b"", notes


def _marks() -> tuple[bytes, ...]:
    return tuple(mark for mark, encoding in MARKS if encoding != "utf-8")


def _find_separator(text: str) -> str:
    """The separator that gives the first lines equally many cells, and the most of them."""
    head, found = text[:65536], []
    for separator in SEPARATORS:
        rows = _cut(head, separator)[0][:20]
        widths = [len(row) for row in (rows[:-1] if len(text) > len(head) else rows)]
        found.append((min(widths, default=1) > 1 and len(set(widths)) == 1, widths[0] if widths else 1))
    return SEPARATORS[found.index(max(found))]


def _cut(text: str, separator: str) -> tuple[list[list[str]], list[int], str]:
    """Rows of raw cells (quotes kept), their lines, and the first line end. Empty lines are left out."""
    rows: list[list[str]] = []
    lines: list[int] = []
    ending = "\r\n" if "\r\n" in text else "\n" if "\n" in text or "\r" not in text else "\r"
    if '"' not in text:
        for line, one in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), 1):
            if one.strip():
                rows.append(one.split(separator))
                lines.append(line)
        return rows, lines, ending
    mark = re.escape(separator)
    cell = re.compile(rf'("(?:[^"]|"")*"|[^{mark}\r\n]*)({mark}|\r\n|\n|\r|\Z)')
    row: list[str] = []
    place, line, start = 0, 1, 1
    while place < len(text):
        found = cell.match(text, place)
        if found is None:
            break  # cannot be: a cell may be empty, and the end of the text ends it
        row.append(found[1])
        place = found.end()
        line += found[1].count("\n")
        if found[2] != separator or place == len(text):
            if found[2] == separator:
                row.append("")
            if any(one.strip() for one in row):
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
    """Write the sample with some columns filled: place of the column -> a text per row.

    Filled cells take on the look of the column: whole numbers where the sample has them, its words for true
    and false, its decimal comma, its quotes.
    """
    if os.path.realpath(path) == os.path.realpath(sample.path):
        raise OutputError(f"{path} is the sample itself", fix="give the submission another name")
    columns = {}
    for place, texts in filled.items():
        dressed = _dress(texts, sample.cells(place), sample.separator)
        always = all(row[place].startswith('"') for row in sample.raw)
        columns[place] = [_quote(text, sample.separator, always) for text in dressed]
    rows = []
    for number, raw in enumerate(sample.raw):
        cells = [columns[place][number] if place in columns else cell for place, cell in enumerate(raw)]
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
    if always or separator in text or any(one in text for one in '"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


def _dress(texts: Sequence[str], cells: Sequence[str], separator: str) -> list[str]:
    """Texts in the look of the sample's own cells of that column."""
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
            return [text.replace(".", ",") if _is_number(text) else text for text in texts]
    return list(texts)


def _whole(text: str) -> str:
    """``1.0`` and ``True`` as ``1``; anything else as it is."""
    found = WHOLE_FLOAT.fullmatch(text)
    if found:
        return found[1] if found[1] not in ("-0", "+0") else "0"
    return {"true": "1", "false": "0"}.get(text.casefold(), text)


def _truth(text: str, like: str) -> str:
    """0, 1, true and false in the letters of the sample's word."""
    word = {"0": "false", "1": "true"}.get(_whole(text))
    if word is None:
        return text
    return word.upper() if like.isupper() else word.capitalize() if like[0].isupper() else word


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


# --- joining by id -----------------------------------------------------------------------------------


def match_ids(wanted: Sequence[str], there: Sequence[str]) -> tuple[list[list[int]], tuple[str, ...]]:
    """For each wanted id the places where it is among `there`, and what was said.

    Ids are compared as everywhere: in one of Unicode's forms, without outer blanks. If not one of them fits,
    names of pictures are compared without folder and ending, as long as that is no guess.
    """
    places = _places([id_text(one) for one in there])
    found = [places.get(id_text(one), []) for one in wanted]
    if any(found) or not wanted or not there:
        return found, ()
    bare_there, bare_wanted = ({_bare(one) for one in ids} for ids in (there, wanted))
    if len(bare_there) < len(set(there)) or len(bare_wanted) < len(set(wanted)):
        return found, ()
    places = _places([_bare(one) for one in there])
    found = [places.get(_bare(one), []) for one in wanted]
    note = f"ids joined without folder and ending of the file: {wanted[0]!r} is {_bare(wanted[0])!r}"
    return found, ((note,) if any(found) else ())


def _places(ids: Sequence[str]) -> dict[str, list[int]]:
    places: dict[str, list[int]] = {}
    for place, one in enumerate(ids):
        places.setdefault(one, []).append(place)
    return places


def _bare(name: str) -> str:
    return SUFFIX.sub("", PurePosixPath(id_text(name).replace("\\", "/")).name)


def join_by_id(samples: Sequence[Sample], *, id_column: str | None = None) -> list[list[int]]:
    """For each submission, the row that belongs to each row of the first one.

    id_column: its name in all of them; the first column where it is not given. Doubled ids, and ids that
    are in one file and not in another, are an OutputError that names them.
    """
    place = [0 if id_column is None else one.column(id_column) for one in samples]
    ids = [[id_text(cell) for cell in one.cells(at)] for one, at in zip(samples, place, strict=True)]
    problems = []
    for sample, own in zip(samples, ids, strict=True):
        twice = [one for one, count in Counter(own).items() if count > 1]
        problems += [f"{sample.name}: id {one!r} is there {own.count(one)} times" for one in twice[:LISTED]]
    first = set(ids[0])
    for sample, own in zip(samples[1:], ids[1:], strict=True):
        has = set(own)
        lacking = [one for one in ids[0] if one not in has]
        problems += [f"id {one!r} is in {samples[0].name} and not in {sample.name}" for one in lacking]
        problems += [
            f"id {one!r} is in {sample.name} and not in {samples[0].name}" for one in own if one not in first
        ]
    if problems:
        raise OutputError(
            f"{len(samples)} submissions do not have the same ids",
            problems=problems,
            fix="give submissions for the same test table",
        )
    where = [{one: row for row, one in enumerate(own)} for own in ids]
    return [[one[name] for name in ids[0]] for one in where]
