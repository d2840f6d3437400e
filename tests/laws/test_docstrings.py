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
    """Everything public without a docstring, or with one that only repeats its name.

    A method that overrides one of a class of the package means what that one says.
    """
    faults = []
    trees = {file: parse(source) for file, source in sources.items()}
    classes = {
        node.name: node
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    for file, tree in trees.items():
        for name, node in _public_nodes(tree):
            text = ast.get_docstring(node)
            line = getattr(node, "lineno", 1)
            if not text and _overrides(name, classes):
                continue
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


def _overrides(name: str, classes: Mapping[str, ast.ClassDef]) -> bool:
    """Whether a method, as ``Class.method``, overrides a documented one."""
    owner, _, method = name.rpartition(".")
    seen, waiting = set(), [owner]
    while waiting:
        found = classes.get(waiting.pop())
        if found is None or found.name in seen:
            continue
        seen.add(found.name)
        own = (node for node in found.body if isinstance(node, ast.FunctionDef) and node.name == method)
        if any(ast.get_docstring(node) for node in own):
            return True
        waiting += [ast.unparse(base).split("[")[0].split(".")[-1] for base in found.bases]
    return False


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
            '"""M."""\nclass A:\n    """B."""\nclass C(A):\n    """D."""\n    def e(self): ...',
            "C.e has no doc",
        ),
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


def test_a_method_that_overrides_a_documented_one_needs_none() -> None:
    base = '"""M."""\nclass A:\n    """B."""\n    def e(self):\n        """Says what."""\n'
    heir = '"""M."""\nclass C(A):\n    """D."""\n    def e(self): ...'
    assert check_docstrings({"data/a": base, "data/c": heir}) == []


def test_private_names_and_the_frameworks_methods_need_none() -> None:
    source = '"""M."""\ndef _f(): ...\nclass Net:\n    """It mixes."""\n    def forward(self): ...'
    assert check_docstrings({"nn/body": source}) == []
