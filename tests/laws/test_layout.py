"""Sizes, names and places of files: what keeps the project readable on the day it has grown."""

from __future__ import annotations

import ast
import re
import tokenize
from collections.abc import Mapping
from io import StringIO

import pytest

from laws.source import ROOT, SRC, assert_none, parse, read_sources

README_LINES = 120
FILE_LINES = 600  # of code: no blank lines, comments or docstrings
FUNCTION_LINES = 80  # of code, likewise
FILE_NAMES = ("util", "utils", "helper", "helpers", "misc")
LAWFUL = ("errors",)  # tested in tests/laws, since what it promises holds everywhere
OF_NO_FILE = ("laws", "cases", "properties", "golden")  # tests of what holds for the whole, not for one file
CLASS_NAMES = ("Manager", "Handler", "Trainer", "Helper", "Callback", "Factory")


def code_lines(source: str) -> set[int]:
    """The lines that hold code."""
    lines: set[int] = set()
    silent = (
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    )
    for token in tokenize.generate_tokens(StringIO(source).readline):
        if token.type not in silent:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(parse(source)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node):
            text = node.body[0]
            lines.difference_update(range(text.lineno, (text.end_lineno or text.lineno) + 1))
    return lines


def check_sizes(sources: Mapping[str, str]) -> list[str]:
    """Files and functions that are too long, and names that say nothing."""
    faults = []
    for file, source in sources.items():
        lines = code_lines(source)
        if len(lines) > FILE_LINES:
            faults.append(f"{file}.py has {len(lines)} lines of code: is it two rooms?")
        if file.rpartition("/")[2] in FILE_NAMES:
            faults.append(f"{file}.py: the name says nothing about what is in it")
        for node in ast.walk(parse(source)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                length = len(lines & set(range(node.lineno, (node.end_lineno or node.lineno) + 1)))
                if length > FUNCTION_LINES:
                    faults.append(f"{file}.py:{node.lineno}: {node.name} has {length} lines of code")
            elif isinstance(node, ast.ClassDef) and node.name.endswith(CLASS_NAMES):
                faults.append(f"{file}.py:{node.lineno}: {node.name}: say what it is, not that it manages")
    return faults


def check_mirror(sources: Mapping[str, str], tests: Mapping[str, str]) -> list[str]:
    """Tests without a source file, and source files without a test.

    tests: files such as ``data/test_table``; ``test_table_encodings`` is a second one for ``table``.
    """
    faults = []
    tested = set()
    for test in tests:
        room, _, name = test.rpartition("/")
        words = name.removeprefix("test_").split("_")
        starts = ["_".join(words[:count]) for count in range(len(words), 0, -1)]
        files = [f"{room}/{start}" if room else start for start in starts]
        found = next((file for file in files if file in sources), None)
        if found is None:
            faults.append(f"tests/{test}.py mirrors no file of the package")
        else:
            tested.add(found)
    for file in sources:
        if file not in (*tested, *LAWFUL) and not file.rpartition("/")[2].startswith("__"):
            room, _, name = file.rpartition("/")
            faults.append(f"{file}.py has no tests/{room + '/' if room else ''}test_{name}.py")
    return faults


def test_files_functions_and_names_of_the_package() -> None:
    assert_none(check_sizes(read_sources()))


def test_the_tests_mirror_the_package() -> None:
    folder = ROOT / "tests"
    tests = {
        path.relative_to(folder).with_suffix("").as_posix(): ""
        for path in folder.rglob("test_*.py")
        if path.parent.name not in OF_NO_FILE
    }
    assert_none(check_mirror(read_sources(), tests))


def test_the_readme_is_a_newcomers_page() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= README_LINES


def test_every_room_says_what_it_is() -> None:
    rooms = [path for path in SRC.iterdir() if path.is_dir() and any(path.glob("*.py"))]
    assert [room.name for room in rooms if not (room / "__init__.py").exists()] == []


def test_long_files_functions_and_idle_names_are_found() -> None:
    long = "def f():\n" + "    x = 1\n" * 80
    assert check_sizes({"data/table": long})[0].endswith("f has 81 lines of code")
    assert "601 lines of code" in check_sizes({"data/table": "x = 1\n" * 601})[0]
    assert (
        check_sizes({"data/table": '"""A.\n' + "\n" * 500 + '"""\n' + "# c\n" * 500 + "x = 1\n" * 600}) == []
    )
    assert "says nothing" in check_sizes({"data/utils": ""})[0]
    assert "say what it is" in check_sizes({"data/table": "class TableManager: ..."})[0]


@pytest.mark.parametrize(
    ("tests", "faults"),
    [
        (["data/test_table"], []),
        (["data/test_table", "data/test_table_encodings"], []),
        (
            ["data/test_tables", "data/test_table"],
            ["tests/data/test_tables.py mirrors no file of the package"],
        ),
        ([], ["data/table.py has no tests/data/test_table.py"]),
    ],
)
def test_a_test_out_of_place_is_found(tests: list[str], faults: list[str]) -> None:
    sources = {"__init__": "", "data/__init__": "", "data/table": ""}
    assert check_mirror(sources, dict.fromkeys(tests, "")) == faults


def test_no_page_or_source_names_a_machine() -> None:
    """Paths of one machine, and names of one registry, are no part of the project."""
    own = re.compile(r"/(?:root|home|work|tmp/bash)/|https?://(?:pypi\.|files\.pythonhosted)")
    pages = [
        *ROOT.glob("*.*"),
        *ROOT.glob("docs/**/*.md"),
        *SRC.rglob("*.py"),
        ROOT / "Makefile",
        ROOT / ".ci" / "run",
    ]
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in pages
        if path.is_file() and path.name != ".git"  # a file where several work trees share one repository
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if own.search(line)
    ]
    assert found == []
