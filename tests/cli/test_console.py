"""Lines and tables that fit a window of 80 columns, JSON without NaN, text in any encoding."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from tenfold.cli import console
from tenfold.cli.console import (
    print_json,
    say,
    say_error,
    show_details,
    table_lines,
    take_any_text,
    tell,
    tell_withheld,
    wrapped,
)
from tenfold.cli.progress import Display
from tenfold.errors import SchemaError
from tenfold.events import Detail, ImagesRead
from tenfold.remedies import Offer, offering


def test_json_has_null_where_there_is_no_number(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": float("nan"), "b": [1.5, float("inf")], "c": {"d": "é", "e": (1, None)}})
    text = capsys.readouterr().out
    assert json.loads(text) == {"a": None, "b": [1.5, None], "c": {"d": "é", "e": [1, None]}}
    assert "é" in text and text.count("\n") == 1


def test_json_takes_numbers_of_numpy(capsys: pytest.CaptureFixture[str]) -> None:
    print_json(
        {
            "a": np.float32(2.5),
            "b": np.int64(3),
            "c": np.float32("nan"),
            "d": np.array([1.0, np.nan]),
            "e": np.bool_(True),
            5: [np.float64("inf")],
        }
    )
    found = json.loads(capsys.readouterr().out)
    assert found == {"a": 2.5, "b": 3, "c": None, "d": [1.0, None], "e": True, "5": [None]}


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_any_text_can_be_shown_in_any_encoding(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    text = "caf\u00e9 \u56fe \udce9"  # the last is a byte of a file name that is no text
    streams = {name: io.TextIOWrapper(io.BytesIO(), encoding=encoding) for name in ("stdout", "stderr")}
    for name, stream in streams.items():
        monkeypatch.setattr(sys, name, stream)
    take_any_text()
    tell(text)
    print_json({text: [text]})
    say(text)
    with Display() as display:
        display.note(text)
        display.progress(ImagesRead(text, 1, 1))
    for stream in streams.values():
        stream.flush()
    shown, told = streams["stdout"].buffer.getvalue().split(b"\n")[:2]  # type: ignore[attr-defined]
    wanted = {
        "ascii": b"caf\\xe9 \\u56fe \xe9",
        "cp1252": b"caf\xe9 \\u56fe \xe9",
        "utf-8": "café 图 ".encode() + b"\xe9",
    }
    assert shown.strip() == wanted[encoding]
    assert json.loads(told.decode(encoding)) == {text: [text]}
    assert wanted[encoding] in streams["stderr"].buffer.getvalue()  # type: ignore[attr-defined]


def test_a_command_does_not_fail_over_the_letters_of_a_name() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tenfold", "predict", "runs/图", "x.csv"],
        capture_output=True,
        env={**os.environ, "PYTHONUTF8": "1", "PYTHONIOENCODING": "ascii:strict"},
    )
    assert done.returncode == 2 and b"Traceback" not in done.stderr
    assert b"runs/\\u56fe does not exist" in done.stderr


def window(monkeypatch: pytest.MonkeyPatch, name: str = "_errors") -> io.StringIO:
    """A stream of this name that is a terminal of 80 columns."""
    stream = io.StringIO()
    made = Console(file=stream, force_terminal=True, width=80, highlight=False, soft_wrap=True)
    monkeypatch.setattr(console, name, made)
    return stream


def test_lines_are_wrapped_between_words() -> None:
    words = "one two " * 20
    lines = wrapped(Text(words), 40)
    assert all(cell_len(line.plain) <= 40 for line in lines) and len(lines) > 4
    assert all(line.plain.startswith("  ") for line in lines[1:])
    assert " ".join(line.plain.strip() for line in lines).split() == words.split()
    # A path stays whole, to be copied.
    path = "/a" * 60
    assert [line.plain for line in wrapped(Text(f"run: {path}"), 40)] == ["run:", f"  {path}"]
    found = wrapped(Text("  found  " + "name, " * 20), 40)
    assert all(line.plain.startswith(" " * 9) for line in found[1:])
    assert [line.plain for line in wrapped(Text("图" * 10 + " 图图"), 20)] == ["图" * 10, "  图图"]
    assert [line.plain for line in wrapped(Text(""), 20)] == [""]


def test_a_window_gets_whole_words_and_a_pipe_whole_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "columns that are not used: " + ", ".join(f"column{number}" for number in range(20))
    say(text)
    assert capsys.readouterr().err == f"{text}\n"
    stream = window(monkeypatch)
    say(text)
    lines = Text.from_ansi(stream.getvalue()).plain.splitlines()
    assert max(map(len, lines)) <= 80 and " ".join(line.strip() for line in lines) == text


def test_colour_is_for_notes_and_errors_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    errors, output = window(monkeypatch), window(monkeypatch, "_output")
    say("a note")
    say_error(SchemaError("no column", fix="give one"))
    tell("an answer")
    assert "\x1b[2ma note" in errors.getvalue() and "\x1b[1;31mSchemaError:" in errors.getvalue()
    assert "\x1b[0m no column" in errors.getvalue() and "\x1b" not in output.getvalue()


def test_details_are_counted_and_shown_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    show_details(False)
    with offering(Offer("fit", frozenset({"--verbose"}), {"--verbose": "fit"})):
        for text in (Detail("first"), "second", Detail("third")):
            say(text)
        tell_withheld()
        tell_withheld()
    assert capsys.readouterr().err.splitlines() == ["second", "2 more details: -v"]
    say(Detail("first"))
    tell_withheld()  # Python has no -v
    assert capsys.readouterr().err == ""
    show_details(True)
    say(Detail("first"))
    tell_withheld()
    assert capsys.readouterr().err == "first\n"
    show_details(False)
    assert json.dumps([Detail("first")]) == '["first"]' and Detail("first") == "first"


ROWS = [
    ["408", "Close Shave, A (1995)", "1", "5.000", "Wrong Trousers, The (1993) (+0.08); " * 4],
    ["919", "City of Lost Children, The (1995)", "2", "4.902", "Delicatessen (1991) (+0.08)"],
]
HEADS = ["item", "name", "rank", "standard error", "reasons"]
LEFT = ["item", "name", "reasons"]


def lines_of(width: int, below: str = "") -> list[str]:
    return [line.plain for line in table_lines(HEADS, ROWS, width, left=LEFT, below=below)]


def test_a_table_that_fits_has_a_line_to_a_row() -> None:
    lines = lines_of(300, "reasons")
    assert len(lines) == 3 and lines[0].startswith("item  name")
    ends = [line.index(word) + len(word) for line, word in zip(lines, ("rank", " 1 ", " 2 "), strict=True)]
    assert ends[1] == ends[2] == ends[0] + 1  # numbers stand to the right


@pytest.mark.parametrize("width", [120, 100, 80, 60, 50, 40, 30])
def test_a_table_fits_its_window_and_cuts_no_word(width: int) -> None:
    lines = lines_of(width, "reasons")
    assert max(map(cell_len, lines)) <= width
    words = " ".join(lines).split()
    for word in " ".join(cell for row in ROWS for cell in row).split():
        assert word in words
    if width >= 80:
        # The long cell stands below its row.
        assert lines[1].startswith("408   Close Shave, A (1995)") and lines[2].startswith("  Wrong Trousers")


def test_text_is_not_squeezed_into_columns_of_a_few_letters() -> None:
    for width in range(20, 120, 7):
        lines = lines_of(width)
        if "reasons" in lines[0]:  # otherwise each row is a paragraph
            assert width - lines[0].index("reasons") >= console._NARROWEST
        else:
            assert lines[0] == "item 408" and max(map(cell_len, lines)) <= width


def test_marks_and_controls_in_tables() -> None:
    lines = table_lines(["a\x1b"], [["x\ny\t"], ["z"]], 80, left=["a\x1b"], marks={1: "green"})
    assert [line.plain for line in lines] == ["a\\x1b", "x\\ny\\t", "z"]
    assert [str(line.style) for line in lines] == ["", "", "green"]
    assert [line.plain for line in table_lines(["a", "b"], [], 80)] == ["a  b"]
