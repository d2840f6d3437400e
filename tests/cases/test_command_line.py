"""Kinds of fault of a command line: streams that fail, names that a terminal would obey, wrong arguments."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

import tenfold.cli  # noqa: F401 - the commands register themselves
from tenfold.errors import SchemaError, printable
from tenfold.screen import Display, Outlet, print_json, say, show_records, show_rows, show_scores, tell

TENFOLD = f"{sys.executable} -m tenfold"
#: What moves a cursor, colours, rings, turns the reading order; and rich's own markup.
EVIL = "a\x1b[31mb\x07c\x9b2Jd\x7fe\u202ef\u2066g[red]h[/red]\r"
SEEN = "a\\x1b[31mb\\x07c\\x9b2Jd\\x7fe\\u202ef\\u2066g[red]h[/red]\\r"


def test_what_a_terminal_would_obey_is_shown_instead(capsys: pytest.CaptureFixture[str]) -> None:
    assert printable(EVIL) == SEEN and printable("é\t图\n\u200f") == "é\t图\n\u200f"
    tell(EVIL)
    say(EVIL)
    show_rows({EVIL: [EVIL, "two\nlines"]})
    show_scores({EVIL: {"error_rate": 0.5, "log_loss": 1.0, "scored": 2}})
    show_records([{"title": EVIL, EVIL: 1.0}])
    with Display() as display:
        display.note(EVIL)
        display.progress({"event": "images", "column": EVIL, "done": 1, "total": 2})
    said = capsys.readouterr()
    told = said.out + said.err
    assert told.count(SEEN) >= 7 and "two\\nlines" in told
    assert not set(told) & set("\x1b\x07\x9b\x7f\u202e\u2066\r")
    error = str(SchemaError(f"no column {EVIL}", problems=[EVIL], found=EVIL, fix="rename it"))
    assert error.count(SEEN) == 3 and not set(error) & set("\x1b\x9b\u202e\r")


def test_json_has_no_sign_that_a_terminal_obeys(capsys: pytest.CaptureFixture[str]) -> None:
    import json

    print_json({EVIL: [EVIL, "é"]})
    out = capsys.readouterr().out
    assert json.loads(out) == {EVIL: [EVIL, "é"]} and "é" in out
    assert not set(out) & set("\x1b\x07\x9b\x7f\u202e\u2066\r")


class Full(io.StringIO):
    """A stream on a full disk, whose file number is somebody's."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number, self.tries = number, 0

    def fileno(self) -> int:
        return self.number

    def flush(self) -> None:
        self.tries += 1
        raise OSError(28, "No space left on device")


def test_a_stream_that_fails_ends_nothing() -> None:
    number = os.open(os.devnull, os.O_WRONLY)
    full = Full(number)
    outlet = Outlet(full)
    assert outlet.write("a") == 1
    outlet.flush()
    assert isinstance(outlet.fault, OSError) and full.tries == 1
    os.close(number)


@pytest.mark.parametrize(
    ("redirected", "code", "said"),
    [
        (">/dev/full", 2, "standard output cannot be written: No space left on device"),
        (">&-", 0, ""),
        (">&- 2>&-", 0, ""),
        ("2>/dev/full >/dev/null", 0, ""),
        ("| head -n 1", 0, ""),
    ],
)
def test_the_answer_is_given_whoever_listens(redirected: str, code: int, said: str, tmp_path: Path) -> None:
    words = f"set -o pipefail; {TENFOLD} ensemble --example {redirected}"
    done = subprocess.run(["bash", "-c", words], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert said in done.stderr and "Traceback" not in done.stderr and "Exception" not in done.stderr


def test_no_file_becomes_standard_output(tmp_path: Path) -> None:
    script = (
        "from tenfold.screen import take_any_text, tell; take_any_text(); "
        "file = open('table.csv', 'w'); tell('words'); file.write('rows'); file.close()"
    )
    words = f'{sys.executable} -c "{script}" >&- 2>&-'
    done = subprocess.run(["bash", "-c", words], cwd=tmp_path, check=False)
    assert done.returncode == 0 and (tmp_path / "table.csv").read_text("utf-8") == "rows"
