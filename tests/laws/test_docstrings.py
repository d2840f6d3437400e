"""Every module, class, function and method that others can call says what it means."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping

import pytest

from laws.source import assert_none, parse, public, read_sources

#: Methods whose meaning is the framework's: torch calls them, readers know them.
FRAMEWORK = ("forward", "extra_repr")


def check_docstrings(sources: Mapping[str, str]) -> list[str]:
    """Everything public without a docstring, or with one that only repeats its name."""
    faults = []
    for file, source in sources.items():
        for name, node in _public_nodes(parse(source)):
            text = ast.get_docstring(node)
            line = getattr(node, "lineno", 1)
            if not text or not text.strip():
                faults.append(f"{file}.py:{line}: {name or 'the module'} has no docstring")
            elif name and _words(text) <= _words(name):
                faults.append(f"{file}.py:{line}: the docstring of {name} only repeats the name")
    return faults


def _public_nodes(
    node: ast.Module | ast.ClassDef, prefix: str = ""
) -> Iterator[tuple[str, ast.Module | ast.ClassDef | ast.FunctionDef]]:
    if isinstance(node, ast.Module):
        yield "", node
    for child in node.body:
        if isinstance(child, ast.ClassDef) and public(child.name):
            yield prefix + child.name, child
            yield from _public_nodes(child, f"{prefix}{child.name}.")
        elif isinstance(child, ast.FunctionDef) and public(child.name):
            decorated = {ast.unparse(one).split(".")[-1] for one in child.decorator_list}
            if child.name not in FRAMEWORK and not decorated & {"overload", "setter", "override"}:
                yield prefix + child.name, child


def _words(text: str) -> set[str]:
    split = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).replace("_", " ")
    return {word.lower().rstrip("s") for word in re.findall(r"[A-Za-z]+", split)} - {"the", "a", "an", "of"}


def test_everything_public_has_a_docstring() -> None:
    assert_none(check_docstrings(read_sources()))


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("x = 1", "the module has no docstring"),
        ('"""M."""\ndef fit(): ...', "fit has no docstring"),
        ('"""M."""\nclass Run: ...', "Run has no docstring"),
        (
            '"""M."""\nclass Run:\n    """A run\'s folder."""\n    def path(self): ...',
            "Run.path has no docstring",
        ),
        ('"""M."""\ndef fit():\n    """   """', "fit has no docstring"),
        ('"""M."""\ndef read_table():\n    """Reads the table."""', "only repeats the name"),
    ],
)
def test_a_missing_docstring_is_found(source: str, fault: str) -> None:
    found = check_docstrings({"data/table": source})
    assert len(found) == 1 and fault in found[0] and found[0].startswith("data/table.py:")


def test_private_names_and_the_frameworks_methods_need_none() -> None:
    source = '"""M."""\ndef _f(): ...\nclass Net:\n    """It mixes."""\n    def forward(self): ...'
    assert check_docstrings({"nn/body": source}) == []
