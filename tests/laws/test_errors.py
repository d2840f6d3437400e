"""The tree of errors is the one that is drawn, and every error says how to mend it."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Mapping

import pytest

from laws.source import assert_none, parse, read_sources
from tenfold import errors

ERRORS = {
    name: one
    for name, one in vars(errors).items()
    if inspect.isclass(one) and issubclass(one, errors.TenfoldError)
}
#: Parameters that help the reader of an error to mend it.
REMEDIES = ("fix", "problems")


def drawn_tree(docstring: str) -> dict[str, str]:
    """Error -> its parent, as drawn with branches in a docstring."""
    parents: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for line in docstring.splitlines():
        found = re.match(r"(    [ │├└─]*)(\w+Error)\b(?!:)", line)
        if not found:
            continue
        depth = len(found[1])
        above = [(d, name) for d, name in above if d < depth]
        parents[found[2]] = above[-1][1] if above else "Exception"
        above.append((depth, found[2]))
    return parents


def check_errors(sources: Mapping[str, str]) -> list[str]:
    """Errors made without a remedy, or declared outside of errors.py."""
    faults = []
    for file, source in sources.items():
        for node in ast.walk(parse(source)):
            if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in ERRORS:
                given = {keyword.arg for keyword in node.keywords}
                # None: **labels that come from elsewhere
                if not given & {*REMEDIES, None} and not _is_one_fault(node):
                    faults.append(f"{file}.py:{node.lineno}: {ast.unparse(node.func)} says no fix=")
            elif isinstance(node, ast.ClassDef) and file != "errors":
                # A plain Exception may be a signal between two rooms; what ends in Error reaches people.
                if any(ast.unparse(one).endswith("Error") for one in (ast.Name(node.name), *node.bases)):
                    faults.append(f"{file}.py:{node.lineno}: errors are declared in errors.py only")
            elif isinstance(node, ast.Raise) and isinstance(node.exc, ast.Name) and node.exc.id in ERRORS:
                faults.append(f"{file}.py:{node.lineno}: {node.exc.id} is raised without a word")
    return faults


def _is_one_fault(node: ast.Call) -> bool:
    """``ImageError(f"{name} is cut off")``: a single fault, listed with a remedy by another error."""
    text = node.args[0] if node.args else None
    if ast.unparse(node.func) != "ImageError" or not isinstance(text, ast.JoinedStr):
        return False
    first = text.values[0]
    return isinstance(first, ast.FormattedValue) and ast.unparse(first.value) == "name"


def test_the_drawn_tree_is_the_real_one() -> None:
    real = {name: one.__base__.__name__ for name, one in ERRORS.items()}
    assert drawn_tree(errors.__doc__ or "") == real
    assert real["TenfoldError"] == "Exception" and len(real) > 5


def test_a_tree_of_two_levels_is_read() -> None:
    drawn = """
    AError
    ├── BError   words
    │   └── CError   words
    └── DError  words

    BError: an example
    """
    assert drawn_tree(drawn) == {
        "AError": "Exception",
        "BError": "AError",
        "CError": "BError",
        "DError": "AError",
    }


def test_every_error_says_how_to_mend_it() -> None:
    assert_none(check_errors(read_sources()))


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("raise TableError('bad')", "TableError says no fix="),
        ("fault = errors.TableError('bad', found='x')\nraise fault", "errors.TableError says no fix="),
        ("raise TableError", "raised without a word"),
        ("class MyError(ValueError): ...", "declared in errors.py only"),
        ("class MyError(Exception): ...", "declared in errors.py only"),
        ("raise ImageError(f'{folder} is empty')", "ImageError says no fix="),
        ("raise TableError(f'{name} is empty')", "TableError says no fix="),
    ],
)
def test_an_error_without_a_remedy_is_found(source: str, fault: str) -> None:
    found = check_errors({"data/table": source})
    assert len(found) == 1 and fault in found[0]


@pytest.mark.parametrize(
    "source",
    ["raise TableError('x', fix='y')", "raise TableError('x', problems=p)", "raise TableError('x', **more)"],
)
def test_an_error_with_a_remedy_passes(source: str) -> None:
    assert check_errors({"data/table": source}) == []


@pytest.mark.parametrize("name", sorted(ERRORS))
def test_every_error_prints_in_the_drawn_form(name: str) -> None:
    error = ERRORS[name](
        "train.csv has no column 'lable' (target).", found="image_id, label", fix="did you mean 'label'?"
    )
    assert str(error) == (
        "train.csv has no column 'lable' (target).\n  found  image_id, label\n  fix    did you mean 'label'?"
    )


def test_an_error_lists_ten_faults_and_counts_the_others() -> None:
    text = str(
        errors.TableError("t.csv cannot be read", problems=[f"line {n}" for n in range(2, 25)], fix="mend it")
    )
    assert text.count("  - line ") == 10
    assert "  - and 13 more\n  fix    mend it" in text


def test_ten_names_are_listed_and_the_rest_counted() -> None:
    assert errors.shortened(["a", "b"]) == "a, b"
    assert errors.shortened([str(n) for n in range(12)]).endswith("9 and 2 more")
