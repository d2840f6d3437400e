"""The two streams of a command: notes and progress on standard error, answers on standard output."""

from __future__ import annotations

import codecs
import io
import json
import math
import os
import re
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from tenfold.errors import UNSEEN, TenfoldError, printable
from tenfold.events import Detail
from tenfold.remedies import advice, option

_errors = Console(stderr=True, highlight=False, soft_wrap=True)
# A pipe or a file has no width of its own; tables are cut to a person's window only.
_output = Console(highlight=False, soft_wrap=True, width=None if sys.stdout and sys.stdout.isatty() else 140)

#: How notes look at a terminal: behind the answer.
NOTE = "dim"


class Outlet:
    """Standard output or error that never ends a command. After the first failure (a full disk, a closed
    pipe), which `fault` keeps, it writes nothing more.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.fault: OSError | None = None

    def write(self, text: str) -> int:
        """As any text stream."""
        return self._try(self._stream.write, text) or 0

    def flush(self) -> None:
        """As any text stream."""
        self._try(self._stream.flush)

    def _try(self, do: Callable[..., int | None], *given: str) -> int | None:
        try:
            return do(*given)
        except OSError as error:
            self.fault = self.fault or error
            # The text in the buffer goes where it cannot fail, now and when Python ends.
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())
            return None

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


def take_any_text() -> None:
    """Let standard output and error take any text, whatever the locale, so that no file name ends a command.

    Letters that the encoding lacks are shown as ``\\u56fe``; undecodable bytes of file names are written as
    they are. A closed or full stream does not end a command either.
    """
    codecs.register_error("tenfold", _shown_anyhow)
    for number in (0, 1, 2):
        # Otherwise the next file that is opened, a table for example, would be standard output.
        try:
            os.fstat(number)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name) or open(os.devnull, "w", encoding="utf-8")
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="tenfold")
        setattr(sys, name, Outlet(stream))


def untold() -> str:
    """Return why standard output did not take the answer; "" if it did, or if its reader closed the pipe."""
    sys.stdout.flush()
    fault = getattr(sys.stdout, "fault", None)
    return "" if fault is None or isinstance(fault, BrokenPipeError) else str(fault.strerror)


def _shown_anyhow(error: UnicodeError) -> tuple[bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    shown = b""
    for letter in error.object[error.start : error.end]:
        raw = 0xDC80 <= ord(letter) <= 0xDCFF  # a byte that Python could not decode (PEP 383)
        shown += bytes([ord(letter) - 0xDC00]) if raw else letter.encode("ascii", "backslashreplace")
    return shown, error.end


class _Details:
    """Whether details are shown (``-v``), and how many were not."""

    shown = False
    withheld = 0


def show_details(wanted: bool) -> None:
    """Show details from now on, or withhold and count them."""
    _Details.shown, _Details.withheld = wanted, 0


def tell_withheld() -> None:
    """Say how many details were withheld since this was last said; not in Python, which has no ``-v``."""
    many, _Details.withheld = _Details.withheld, 0
    if many and option("verbose").startswith("--"):
        say(f"{many} more detail{'s' if many > 1 else ''}: -v")


def say(text: str, style: str = NOTE) -> None:
    """Print lines on standard error, with advice that names options of the running command (`remedies`)."""
    if isinstance(text, Detail) and not _Details.shown:
        _Details.withheld += 1
        return
    _print(_errors, Text(printable(advice(text)), style))


def say_error(error: TenfoldError) -> None:
    """Print an error on standard error."""
    name = type(error).__name__
    text = Text(printable(advice(f"{name}: {error}")))
    text.stylize("bold red", 0, len(name) + 1)
    _print(_errors, text)


def tell(text: str, style: str = "") -> None:
    """Print a line on standard output."""
    _print(_output, Text(printable(text), style))


def _print(console: Console, text: Text) -> None:
    """Print lines; in a window they are wrapped between words."""
    for line in text.split("\n", allow_blank=True):
        parts = wrapped(line, console.width) if console.is_terminal else [line]
        for part in parts:
            console.print(part)


def wrapped(line: Text, width: int) -> list[Text]:
    """A line as lines of `width` letters, of which the further ones are indented. No word is cut."""
    plain, hang = line.plain, _hang(line.plain)
    offsets, begin = [], 0
    for word in re.finditer(r"\S+", plain[hang:]):
        start, end = word.start() + hang, word.end() + hang
        indent = hang if offsets else 0
        if cell_len(plain[begin:end]) + indent > width and plain[begin:start].strip():
            offsets.append(start)
            begin = start
    first, *others = line.divide(offsets)
    parts = [first, *(Text(" " * hang).append_text(part) for part in others)]
    for part in parts:
        part.rstrip()
    return parts


def _hang(line: str) -> int:
    """How far the further lines of a wrapped line are indented."""
    text = line.lstrip(" ")
    indent = len(line) - len(text)
    for label in ("found  ", "parts  ", "fix    ", "- "):
        if text.startswith(label):
            return indent + len(label)
    return indent + 2 * (indent == 0)


def progress_console() -> Console:
    """Return the console of standard error, where progress goes."""
    return _errors


def output_width() -> int:
    """The width of standard output, in letters."""
    return _output.width


# --- tables

#: Between two columns.
_GAP = 2
#: A column of text is not made narrower than this many letters.
_NARROWEST = 16


def cell_text(value: object) -> str:
    """Return a cell in one line, without control characters."""
    return printable(str(value)).replace("\n", "\\n").replace("\t", "\\t")


def show_table(
    heads: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    left: Collection[str] = (),
    below: str = "",
    marks: Mapping[int, str] | None = None,
) -> None:
    """Print a table on standard output, so that it fits the window and no word is cut.

    heads: headings of its columns.  left: those of columns of text; the others are of numbers, to the right.
    below: a heading; where the window is too narrow its cells stand under their rows.  marks: row -> style.
    """
    for text in table_lines(heads, rows, _output.width, left=left, below=below, marks=marks):
        _output.print(text)


def table_lines(
    heads: Sequence[str],
    rows: Sequence[Sequence[object]],
    width: int,
    *,
    left: Collection[str] = (),
    below: str = "",
    marks: Mapping[int, str] | None = None,
) -> list[Text]:
    """The lines of a table of at most `width` letters; see `show_table`."""
    texts = [[cell_text(cell) for cell in row] for row in rows]
    names = [cell_text(head) for head in heads]
    under: list[str] = [""] * len(texts)
    if below in heads and _needed(_widths(names, texts)) > width:
        at = list(heads).index(below)
        under = [row[at] for row in texts]
        names, texts = names[:at] + names[at + 1 :], [row[:at] + row[at + 1 :] for row in texts]
    is_left = [name in {cell_text(head) for head in left} for name in names]
    widths = _fitted(names, texts, is_left, width)
    styles = marks or {}
    if widths is None:
        return _blocks(names, texts, under, width, styles)
    lines = [Text(line) for line in _row(names, widths, is_left)]
    for number, (row, more) in enumerate(zip(texts, under, strict=True)):
        style = styles.get(number, "")
        lines += [Text(line, style) for line in _row(row, widths, is_left)]
        lines += [Text(f"  {line}", NOTE) for line in _folded(more, width - 2) if more]
    return lines


def _widths(names: Sequence[str], texts: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(cell_len, column)) for column in zip(names, *texts, strict=True)]


def _needed(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)


def _fitted(
    names: Sequence[str], texts: Sequence[Sequence[str]], is_left: Sequence[bool], width: int
) -> list[int] | None:
    """Widths of columns that fit together; None where there are none."""
    widths = _widths(names, texts)
    if _needed(widths) <= width:
        return widths
    # Headings may be wrapped between their words, and cells of text, too.
    words = [max((cell_len(word) for word in name.split()), default=0) for name in names]
    bodies = [max(map(cell_len, column), default=0) for column in zip(*texts, strict=True)] or words
    widths = [max(word, body) for word, body in zip(words, bodies, strict=True)]
    least = [
        min(each, max(word, _NARROWEST)) if text else each
        for each, word, text in zip(widths, words, is_left, strict=True)
    ]
    if _needed(least) > width:
        return None
    while _needed(widths) > width:
        widest = max((at for at in range(len(widths)) if widths[at] > least[at]), key=lambda at: widths[at])
        widths[widest] -= 1
    return widths


def _row(cells: Sequence[str], widths: Sequence[int], is_left: Sequence[bool]) -> list[str]:
    """The lines of a row."""
    parts = [_folded(cell, width) for cell, width in zip(cells, widths, strict=True)]
    lines = []
    for number in range(max(map(len, parts))):
        line = []
        for part, width, text in zip(parts, widths, is_left, strict=True):
            cell = part[number] if number < len(part) else ""
            space = " " * max(0, width - cell_len(cell))
            line.append(cell + space if text else space + cell)
        lines.append((" " * _GAP).join(line).rstrip())
    return lines


def _folded(cell: str, width: int) -> list[str]:
    """A cell in lines of at most `width` letters, wrapped between words where it has any."""
    if cell_len(cell) <= width:
        return [cell]
    return [line.plain.rstrip() for line in Text(cell).wrap(_output, width, overflow="fold", no_wrap=False)]


def _blocks(
    names: Sequence[str],
    texts: Sequence[Sequence[str]],
    under: Sequence[str],
    width: int,
    styles: Mapping[int, str],
) -> list[Text]:
    """A table with more columns than the window has room for: each row as lines of headings and cells."""
    lines = []
    for number, (row, more) in enumerate(zip(texts, under, strict=True)):
        lines += [Text(part, styles.get(number, "")) for part in _folded(f"{names[0]} {row[0]}", width)]
        paragraphs = [""]
        for name, cell in zip(names[1:], row[1:], strict=True):
            pair = f"{name} {cell}".strip() if cell else ""
            longer = f"{paragraphs[-1]}{' ' * _GAP}{pair}".strip()
            if cell_len(longer) <= width - 2 or not paragraphs[-1]:
                paragraphs[-1] = longer
            else:
                paragraphs.append(pair)
        lines += [Text(f"  {part}") for line in paragraphs if line for part in _folded(line, width - 2)]
        lines += [Text(f"  {part}", NOTE) for part in _folded(more, width - 2) if more]
    return lines


# --- JSON


def print_json(value: object) -> None:
    """Print a JSON object on standard output; NaN is null."""
    plain = _finite(value)
    text = UNSEEN.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(plain, ensure_ascii=False))
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(plain)  # the same object in ASCII letters
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _finite(value: object) -> object:
    value = getattr(value, "tolist", lambda: value)()  # numbers and arrays of numpy
    if isinstance(value, Mapping):
        return {
            str(key): [advice(str(note)) for note in cell] if key == "notes" else _finite(cell)
            for key, cell in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_finite(cell) for cell in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
