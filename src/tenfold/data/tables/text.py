"""Text files as clean UTF-8: every text file is decoded here.

These functions read tables, class lists, sample submissions and TOML files. They remove byte-order marks,
write line ends as ``\\n``, unpack ``.gz`` files, and detect an encoding other than UTF-8 or ask for it.

Detected are marks of UTF-8, UTF-16 and UTF-32, and UTF-16 without a mark by its zero bytes. A file that is
not UTF-8 is read as cp1252 (which includes Latin-1) if all bytes beyond ASCII look like Western European
letters within words; a note shows a word, so that the user sees a wrong guess. Any other file, also a mix of
UTF-8 with other bytes, is an error that names the lines.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tenfold.errors import LISTED, TableError, did_you_mean, no_file

#: Marks at the start of a file, the longer ones first: UTF-32's begins with UTF-16's.
MARKS = (
    (b"\xff\xfe\x00\x00", "utf-32-le"),
    (b"\x00\x00\xfe\xff", "utf-32-be"),
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)

#: The start of files that are not text, whatever their name.
FOREIGN = (
    (b"PK\x03\x04", "a spreadsheet or zip file", "save the sheet as CSV (UTF-8), or unpack it first"),
    (b"\xd0\xcf\x11\xe0", "an old spreadsheet file", "save the sheet as CSV (UTF-8)"),
    (b"%PDF", "a PDF file", "give a CSV file"),
    (b"BZh91AY&SY", "a bzip2 file", "unpack it first: bunzip2"),
    (b"\xfd7zXZ", "an xz file", "unpack it first: unxz"),
    (b"\x28\xb5\x2f\xfd", "a zstd file", "unpack it first: unzstd"),
    (b"\x89PNG", "a picture", "give the table that names the pictures"),
    (b"\xff\xd8\xff", "a picture", "give the table that names the pictures"),
    (b"SQLite format 3", "a database", "export the table as CSV"),
    (b"\x89HDF", "an HDF5 file", "export the table as CSV or Parquet"),
    (b"ARROW1", "an Arrow file", "write it as Parquet"),
)

GZIP = b"\x1f\x8b"
_STARTS = (GZIP, *(mark for mark, _ in MARKS), *(start for start, _, _ in FOREIGN))
ENCODINGS = (
    "cp1252 (Western Europe), cp1250 (Central Europe), cp1251 (Cyrillic), gb18030, shift_jis or utf-16"
)

# Bytes are checked in pieces, so that memory never holds a large file a second time as text.
PIECE = 1 << 24
_HEAD = 1 << 20

# Bytes that Western text in cp1252 has: letters, quotes, dashes and common signs.
_WESTERN = re.compile(
    rb"[\xc0-\xff\x80\x85\x8a\x8c\x8e\x91-\x97\x99\x9a\x9c\x9e\x9f\xa0-\xa5\xa7-\xab\xae\xb0-\xb5\xb7\xba-\xbf]"
)
_SIGNS = b"\x80\x85\x91\x92\x93\x94\x95\x96\x97\x99\xa0\xa1\xa9\xab\xae\xb0\xb7\xbb\xbf"
_HIGH = re.compile(rb"[\x80-\xff]+")
_UTF8_PAIR = re.compile(rb"[\xc3-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_CAPITAL_WITHIN = re.compile(rb"[a-z][\xc0-\xde\x8a\x8c\x8e\x9f]")


@dataclass(frozen=True)
class Decoded:
    """A file's text as UTF-8 without a mark; every line ends in ``\\n``, the last one perhaps not.

    data: the text; with `path`, only the beginning of a file that seems to need no decoding: the rest must
        be checked while it is read.
    notes: what was detected, one a line.
    """

    data: bytes
    notes: tuple[str, ...] = ()
    path: Path | None = None


def open_text(path: Path, *, encoding: str | None = None, likely: str | None = None) -> Decoded:
    """A text file of any size: its beginning if that needs no decoding, else all of it, decoded."""
    head = read_start(path, _HEAD)
    # Names in the header may be quoted; quoted values need the careful parser.
    odd = b'"' in head[head.find(b"\n") :] or b"\r" in head or b"\0" in head or head.startswith(_STARTS)
    end = head.rfind(b"\n") + 1
    if encoding is None and likely is None and not odd and end and _first_invalid(head[:end]) is None:
        return Decoded(head[:end] if len(head) == _HEAD else head, path=path)
    return decode_bytes(read_bytes(path), name=path.name, encoding=encoding, likely=likely)


def read_start(path: Path, size: int) -> bytes:
    """The first bytes of a file. TableError if it cannot be read."""
    with _explained(path), path.open("rb") as file:
        return file.read(size)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Raise a TableError with a fix if a file cannot be opened."""
    if what := no_file(path):
        raise TableError(f"{path} is {what}, not a file", fix="write its content to a file first")
    try:
        yield
    except FileNotFoundError:
        folder = path.parent
        near = [file.name for file in sorted(folder.iterdir()) if file.is_file()] if folder.is_dir() else []
        fix = did_you_mean(path.name, near) or f"the folder {folder} does not exist or has no files"
        raise TableError(f"there is no file {path}", fix=fix) from None
    except IsADirectoryError:
        raise TableError(f"{path} is a folder, not a table", fix="give a file in it") from None
    except OSError as error:
        raise TableError(f"{path} cannot be read: {error.strerror}", fix="check name and rights") from None
    except ValueError as error:  # a name with a zero byte in it
        raise TableError(f"{str(path)!r} is not the name of a file: {error}", fix="check the name") from None


def read_bytes(path: Path) -> bytes:
    """A file's bytes, unpacked if it is gzip. TableError for a missing, foreign or damaged file."""
    with _explained(path):
        data = path.read_bytes()
    if data.startswith(GZIP):
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise TableError(
                f"{path.name} is a damaged or incomplete gzip file ({error})", fix="fetch it again"
            ) from None
    for start, what, fix in FOREIGN:
        if data.startswith(start):
            raise TableError(f"{path.name} is {what}, not a text file", fix=fix)
    return data


def decode_bytes(
    data: bytes, *, name: str, encoding: str | None = None, likely: str | None = None
) -> Decoded:
    """Bytes of a text file in any encoding as clean UTF-8.

    name: the file's name, for messages.  encoding: as the user gave it; None detects it.
    likely: the encoding to assume then if it is not UTF-8, as that of files of the same origin.

    Raises TableError, with the line and the byte, if the encoding is wrong or cannot be detected, or if zero
    bytes show that this is not text.
    """
    notes: list[str] = []
    if encoding is not None:
        _check_encoding(encoding, name)
    for mark, marked in MARKS:
        if data.startswith(mark):
            data = data[len(mark) :]
            if encoding is not None and not _same(encoding, marked):
                notes.append(f"{name} begins with the mark of {marked}: --encoding {encoding} is not used")
            elif marked != "utf-8" and encoding is None:
                notes.append(f"{name} begins with the mark of {marked}: read as such")
            encoding = marked
            break
    if encoding is None and (encoding := _find_wide(data)):
        notes.append(f"{name} has a zero byte beside every letter: read as {encoding}")
    if encoding is None and likely is not None and _fits(data, likely):
        notes.append(f"{name} is read as {likely}, as the training's table was; give --encoding otherwise")
        encoding = likely
    if encoding is not None and not _same(encoding, "utf-8"):
        data = _recode(data, encoding, name)
    elif (bad := _first_invalid(data)) is not None:
        if encoding is not None or not _is_western(data):
            raise _not_utf8(data, bad, name)
        notes.append(
            f"{name} is not UTF-8 ({_position(data, bad)}): read as cp1252, as in {_word(data, bad)!r}; "
            "give --encoding if that is wrong"
        )
        data = data.decode("cp1252").encode()
    while data.startswith(b"\xef\xbb\xbf"):  # some programs write the mark twice
        data = data[3:]
    zero = data.find(b"\0")
    if zero >= 0:
        raise TableError(
            f"{name} holds a zero byte (line {_line(data, zero)}): it is damaged, or not a text file",
            fix="write it again as UTF-8 text, or give --encoding utf-16 if it is that",
        )
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return Decoded(data, tuple(notes))


def leave_out_lines(text: Decoded, name: str, *, skip: int = 0, comment: str | None = None) -> Decoded:
    """The text with its first lines and comments empty, so that lines keep their numbers.

    A line within a quoted cell is not a comment. Raises TableError if no line is left.
    """
    if skip < 0:
        raise TableError(f"--skip-lines {skip} is not a number of lines", fix="give 1 or more")
    lines = text.data.split(b"\n")
    notes = list(text.notes)
    if skip:
        gone = [line.decode("utf-8", "replace")[:60] for line in lines[:skip] if line.strip()]
        notes.append(f"{name}: the first {skip} lines are left out, as given: {'; '.join(gone) or 'empty'}")
        lines[:skip] = [b""] * len(lines[:skip])
    if comment:
        mark, within, numbers = comment.encode(), False, []
        for index, line in enumerate(lines):
            if not within and line.lstrip().startswith(mark):
                lines[index] = b""
                numbers.append(index + 1)
            else:
                within ^= line.count(b'"') % 2 == 1
        shown = ", ".join(map(str, numbers[:LISTED])) + (" ..." if numbers[LISTED:] else "")
        if numbers:
            notes.append(f"{name}: {len(numbers)} lines that begin with {comment!r} are left out: {shown}")
    data = b"\n".join(lines)
    if not data.strip():
        raise TableError(f"{name} has no line left", fix="give a smaller --skip-lines, or another --comment")
    return Decoded(data, tuple(notes))


def _check_encoding(encoding: str, name: str) -> None:
    try:
        b"    ".decode(encoding)
    except UnicodeError:
        return  # an unusual encoding
    except (LookupError, ValueError):
        raise TableError(
            f"there is no encoding {encoding!r} to read {name} with",
            fix=f"known are utf-8, {ENCODINGS}",
        ) from None


def _fits(data: bytes, likely: str) -> bool:
    """Is a file without a mark in this encoding rather than in UTF-8?"""
    wide = _same("utf-16", likely) or _same("utf-32", likely)
    if wide or (_first_invalid(data) is None and not data.isascii()):
        return False
    try:
        text = data.decode(likely)
    except (UnicodeError, LookupError):
        return False
    # Encodings with escapes look like ASCII but decode to other text.
    return not data.isascii() or text.encode() != data


def _same(name: str, other: str) -> bool:
    """Do two names mean the same encoding? UTF-16 without a direction agrees with both directions."""
    name, other = (re.sub("[^a-z0-9]", "", word.casefold()) for word in (name, other))
    return other.startswith(name) or name == f"{other}sig"


def _find_wide(data: bytes) -> str | None:
    """utf-16-le or utf-16-be for a file without a mark that has a zero byte beside each letter."""
    head = data[: 1 << 16]
    half = len(head) // 2
    if not half or len(data) % 2:
        return None
    high, low = head[0::2].count(0) / half, head[1::2].count(0) / half
    if low > 0.4 and high < 0.05:
        return "utf-16-le"
    return "utf-16-be" if high > 0.4 and low < 0.05 else None


def _recode(data: bytes, encoding: str, name: str) -> bytes:
    try:
        return data.decode(encoding).encode()
    except UnicodeDecodeError as error:
        before = data[: error.start].decode(encoding, "ignore")
        raise TableError(
            f"{name} is not {encoding} (line {_line(before.encode(), None)}, byte 0x{data[error.start]:02X})",
            fix=f"leave --encoding out to have it found, or try utf-8, {ENCODINGS}",
        ) from None
    except UnicodeError as error:  # lone halves of UTF-16 pairs; codecs with rules of their own
        raise TableError(f"{name} is not {encoding}: {error}", fix="leave --encoding out") from None


def _first_invalid(data: bytes) -> int | None:
    """The position of the first byte that is not UTF-8, or None."""
    if data.isascii():
        return None
    start = 0
    while start < len(data):
        # A line end is never within a UTF-8 sequence, so pieces that end there can be checked alone.
        end = data.rfind(b"\n", start, start + PIECE) + 1 or data.find(b"\n", start + PIECE) + 1 or len(data)
        try:
            data[start:end].decode()
        except UnicodeDecodeError as error:
            return start + error.start
        start = end
    return None


def _is_western(data: bytes) -> bool:
    """Do all bytes beyond ASCII look like letters of Western European words in cp1252?

    Cyrillic, Greek, Chinese and the like come in runs of high bytes; DOS and Mac files use bytes that are odd
    signs in cp1252, or capitals within words; a file in two encodings holds whole UTF-8 sequences.
    """
    runs = high = foreign = 0
    for run in _HIGH.finditer(data):
        runs += 1
        high += len(run[0])
        letters = len(run[0].translate(None, _SIGNS))
        # Two such letters in a row do occur (größer), but with plain letters beside them.
        beside = data[max(0, run.start() - 1) : run.start()] + data[run.end() : run.end() + 1]
        foreign += letters > 2 or (letters == 2 and not beside.isalpha())
    return (
        foreign <= 0.1 * runs
        and len(_WESTERN.findall(data)) == high
        and len(_UTF8_PAIR.findall(data)) <= 0.2 * runs
        and len(_CAPITAL_WITHIN.findall(data)) <= 0.1 * runs
    )


def _not_utf8(data: bytes, first: int, name: str) -> TableError:
    problems = []
    for number, line in enumerate(data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n"), start=1):
        try:
            line.decode()
        except UnicodeDecodeError as error:
            shown = line.decode("ascii", "backslashreplace")
            problems.append(f"line {number}, byte 0x{line[error.start]:02X}: {shown[:60]}")
    return TableError(
        f"{name} is not UTF-8 ({_position(data, first)})",
        problems=problems,
        fix=f"give --encoding, such as {ENCODINGS}",
    )


def _position(data: bytes, position: int) -> str:
    return f"line {_line(data, position)}, byte 0x{data[position]:02X}"


def _line(data: bytes, position: int | None) -> int:
    """The line of a byte, whatever the line ends are; the last line for None."""
    before = data[:position]
    return 1 + before.count(b"\n") + before.count(b"\r") - before.count(b"\r\n")


def _word(data: bytes, position: int) -> str:
    """The word around a byte, read as cp1252."""
    before, after = data[max(0, position - 30) : position], data[position : position + 30]
    start = re.split(rb"[\s,;|:\"]", before)[-1]
    return (start + re.split(rb"[\s,;|:\"]", after)[0]).decode("cp1252", "replace")
