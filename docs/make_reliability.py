"""Write docs/reliability.md from the marks of the tests: ``python docs/make_reliability.py``."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = Path(__file__).with_name("reliability.md")
HEAD = """\
# Reliability

<!-- Written by docs/make_reliability.py from the marks of the tests; `make docs` writes it anew. -->

An answer is right, or it is refused with a message that names the cause. This page lists the tests of that:
kinds of fault that users of such tools have reported in public, and changes of the input that must not change
the answer. `make test` runs them all.

"""
CASES = """\
## Kinds of fault

Most stand for public reports of such tools. A number is a kind of a first list. Of the letters, C are
recommenders, I images, P predictions and ensembles, T tables and training, B and F what trials of tenfold
met, and N, R and V later finds in tables, in recommenders, and in pictures and runs. A test asserts the right
value of the input that was met; a *neighbour* asserts it for another input of the same kind.

"""
LAWS = """\
## Metamorphic laws

Nobody knows the right answer of a trained network, but the *difference* of two answers has one: the input is
changed in a way that must not matter, and the answers are compared.

"""
HARNESSES = """\
## Harnesses

Four programs look for faults that nobody has named. They run the commands in forks of one process that has
loaded everything, so that a trial takes tenths of a second. Each tells what went wrong with the command
that repeats it, counts, and ends with 1 if anything did. `tests/properties/test_crash.py` runs all four
with a small budget.

- `python -m tests.crash --kills 1000`: SIGKILL at a moment, at an event that changes the disk, or in the
  middle of a file, of every command that writes; `--all` goes through every event. The same command again
  (a training with `--resume`) must leave every byte that an undisturbed one leaves, and nothing else; other
  files are as they were, and no checkpoint is lost.
- `python -m tests.faults --faults 1000`: ENOSPC, EIO or EACCES at an event or from there on, a size beyond
  which no file grows, files that cannot be read, a picture that vanishes or changes in the middle. The
  command must end in an error by name, or well; nothing that was there is harmed, and on a sound disk the
  same command leaves what it should.
- `python -m tests.damage --files 1000`: every region of every file of every kind of run flipped, zeroed or
  cut; files emptied, doubled, removed; values of JSON replaced; also checkpoints, caches, histories,
  samples, job files and tables. Every command that opens one must refuse it by name, or give the answer of
  the sound file.
- `python -m tests.longlife`: 200 fits and 100,000 predictions in one process. Memory, threads and open
  files stay as they are.

What may differ between two runs of one command is listed in `tests/support/scenes.py` (`OWN`): times, dates,
measured memory, and sums of files in which those stand. What was measured is in
[bench/results/reliability.md](../bench/results/reliability.md).
"""


@dataclass(frozen=True)
class Mark:
    """One mark of a test. words: its arguments.  place: ``tests/cases/test_tables.py::test_name``."""

    name: str
    words: tuple[str, ...]
    place: str


def read_marks(folder: Path = ROOT / "tests") -> Iterator[Mark]:
    """Every mark ``case`` and ``metamorphic`` of the tests, read from the source without importing it."""
    for path in sorted(folder.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.FunctionDef):
                continue
            for one in node.decorator_list:
                if isinstance(one, ast.Call) and ast.unparse(one.func) in MARKS:
                    words = tuple(str(ast.literal_eval(argument)) for argument in one.args)
                    place = f"{path.relative_to(folder.parent).as_posix()}::{node.name}"
                    yield Mark(ast.unparse(one.func).rpartition(".")[2], words, place)


MARKS = ("pytest.mark.case", "pytest.mark.metamorphic")


def reliability_page(marks: list[Mark]) -> str:
    """The whole page as Markdown."""
    cases = _grouped(mark for mark in marks if mark.name == "case")
    laws = _grouped(mark for mark in marks if mark.name == "metamorphic")
    lines = [HEAD + CASES, "| kind | what is asserted | where |", "|---|---|---|"]
    lines += [
        _row(words[0], words[1], places)
        for words, places in sorted(cases.items(), key=lambda one: _order(*one[0]))
    ]
    lines += ["\n" + LAWS, "| law | where |", "|---|---|"]
    lines += [_row(words[0], places) for words, places in sorted(laws.items())]
    return "\n".join(lines) + "\n\n" + HARNESSES


def _grouped(marks: Iterator[Mark]) -> dict[tuple[str, ...], list[str]]:
    found: dict[tuple[str, ...], list[str]] = {}
    for mark in marks:
        found.setdefault(mark.words, []).append(mark.place)
    return found


def _order(number: str, what: str) -> tuple[str, int, str]:
    letters, digits = re.fullmatch(r"([A-Za-z -]*)(\d*)", number).groups()  # type: ignore[union-attr]
    return letters, int(digits or 0), what


def _row(*cells: str | list[str]) -> str:
    shown = [one if isinstance(one, str) else "<br>".join(f"`{place}`" for place in one) for one in cells]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in shown) + " |"


def main() -> None:
    """Write the page, or print it with --print."""
    page = reliability_page(list(read_marks()))
    if "--print" in sys.argv:
        sys.stdout.write(page)
    else:
        PAGE.write_text(page, "utf-8")


if __name__ == "__main__":
    main()
