"""How the laws read the package: as text and syntax trees, without importing it."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src" / "tenfold"


def read_sources() -> dict[str, str]:
    """``data/table`` -> its text, for every Python file of the package."""
    files = sorted(SRC.rglob("*.py"))
    return {path.relative_to(SRC).with_suffix("").as_posix(): path.read_text("utf-8") for path in files}


@dataclass(frozen=True)
class Import:
    """One import as written: `target` dotted, `name` taken from it or "", and when it runs."""

    target: str
    name: str
    line: int
    when: str  # "load" as the module loads, "call" inside a function, "typing" never

    def text(self) -> str:
        """As one would write it."""
        return f"from {self.target} import {self.name}" if self.name else f"import {self.target}"


def read_imports(source: str, module: str) -> Iterator[Import]:
    """Every import of a file: lazy ones, those for type checkers, and importlib's by constant names.

    module: the file's name such as ``data/table``; relative imports count from there. An
    ``import_module`` whose argument is no constant has the target "?".
    """
    yield from _read_imports(source, module)


@cache
def parse(source: str) -> ast.Module:
    """The syntax tree of a file; every law reads the same one."""
    return ast.parse(source)


@cache
def _read_imports(source: str, module: str) -> tuple[Import, ...]:
    return tuple(_imports(parse(source), module, "load"))


def _imports(node: ast.AST, module: str, when: str) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        yield from (Import(alias.name, "", node.lineno, when) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = _absolute(node, module)
        yield from (Import(base, alias.name, node.lineno, when) for alias in node.names)
    elif isinstance(node, ast.Call) and _called(node) in ("import_module", "__import__"):
        constant = node.args and isinstance(node.args[0], ast.Constant)
        yield Import(str(node.args[0].value) if constant else "?", "", node.lineno, when)
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        for child in node.body:
            yield from _imports(child, module, "typing")
        for child in node.orelse:
            yield from _imports(child, module, when)
        return
    inside = "call" if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) else when
    for child in ast.iter_child_nodes(node):
        yield from _imports(child, module, "typing" if when == "typing" else inside)


def _called(node: ast.Call) -> str:
    """``import_module`` for ``importlib.import_module(...)``."""
    return getattr(node.func, "id", "") or getattr(node.func, "attr", "")


def _absolute(node: ast.ImportFrom, module: str) -> str:
    if not node.level:
        return node.module or ""
    package = ["tenfold", *module.split("/")][: -node.level]
    return ".".join([*package, *([node.module] if node.module else [])])


def find_module(one: Import, known: Mapping[str, str]) -> str | None:
    """The file of the package that an import reaches, such as ``data/table``; None if it is not ours."""
    if one.target.split(".")[0] != "tenfold":
        return None
    inner = one.target.split(".")[1:]
    candidates = [[*inner, one.name]] if one.name else []
    for parts in [*candidates, inner]:
        for path in ("/".join(parts), "/".join([*parts, "__init__"])):
            if path in known:
                return path
    return None if not inner else "/".join(inner)  # a file that is not there


def load_script(path: Path) -> ModuleType:
    """A script of `docs/` as a module."""
    spec = importlib.util.spec_from_file_location(f"docs_{path.stem}", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def public(name: str) -> bool:
    """A name without a leading underscore."""
    return not name.startswith("_")


def assert_none(faults: Sequence[str]) -> None:
    """Fail with all faults, one a line."""
    if faults:
        pytest.fail(f"{len(faults)} breaches:\n" + "\n".join(faults), pytrace=False)
