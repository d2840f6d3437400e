"""Tensors and arrays of `nn` and `engine` say their shapes, and tests hold every call to what they say."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator, Mapping
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch

from laws.source import assert_none, parse, read_sources
from tenfold.engine.batches import epoch_order
from tenfold.nn.exact import uniform

ROOMS = ("nn/", "engine/")
#: What has any number of axes unless a shape stands beside it.
BARE = ("Tensor", "NDArray", "ndarray")
#: Annotations that may be bare: `file.name` -> reason.
ALLOWED: dict[str, str] = {}
#: Files that say shapes and are not held to them -> reason.
UNCHECKED = {
    "engine/trace": "it counts references to tensors and records their end: a check would add to both"
}


def rooms() -> dict[str, str]:
    """The files whose tensors say their shapes."""
    return {file: source for file, source in read_sources().items() if file.startswith(ROOMS)}


def check_shapes(sources: Mapping[str, str]) -> list[str]:
    """Annotations without a shape, parameters without an annotation, and ways around the check."""
    faults = []
    for file, source in sources.items():
        tree = parse(source)
        for name, annotation in _annotations(tree):
            if f"{file}.{name}" in ALLOWED:
                continue
            if annotation is None:
                faults.append(f"{file}.{name} is not annotated")
            elif _is_bare(annotation):
                line = annotation.lineno
                faults.append(f"{file}.py:{line}: {name}: {ast.unparse(annotation)} says no shape")
        if any("no_type_check" in ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Name)):
            faults.append(f"{file}.py leaves something unchecked: say it in UNCHECKED")
    return faults


def _annotations(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.expr | None]]:
    """Every annotation below a node, by the dotted name of its function, class or variable."""
    for child in ast.iter_child_nodes(node):
        inner = prefix
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            inner = f"{prefix}{child.name}."
        if isinstance(child, ast.AnnAssign):
            yield prefix + ast.unparse(child.target), child.annotation
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            given = child.args
            every = [*given.posonlyargs, *given.args, given.vararg, *given.kwonlyargs, given.kwarg]
            for one in every:
                if one is not None and one.arg not in ("self", "cls"):
                    yield inner + one.arg, one.annotation
            if child.returns is not None:
                yield inner + "return", child.returns
        yield from _annotations(child, inner)


def _is_bare(annotation: ast.AST) -> bool:
    if isinstance(annotation, ast.Subscript):
        inner = annotation.slice
        if isinstance(inner, ast.Tuple) and len(inner.elts) == 2 and _says_shape(inner.elts[1]):
            return False
    name = getattr(annotation, "id", "") or getattr(annotation, "attr", "")
    return name in BARE or any(map(_is_bare, ast.iter_child_nodes(annotation)))


def _says_shape(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def test_every_tensor_and_array_says_its_shape() -> None:
    assert_none(check_shapes(rooms()))


def loaded(file: str) -> dict[str, Any]:
    """What a file of the package holds when it is loaded."""
    return vars(importlib.import_module("tenfold." + file.replace("/", ".").removesuffix(".__init__")))


def test_every_shape_can_be_read() -> None:
    """What jaxtyping cannot read it takes for anything at all, without a word."""
    faults = []
    for file, source in rooms().items():
        names = dict(loaded(file))
        for name, annotation in _annotations(parse(source)):
            try:
                eval(ast.unparse(annotation or ast.Constant(None)), names)  # noqa: S307 - our own source
            except Exception as error:  # noqa: BLE001 - whatever it is, it is a fault
                faults.append(f"{file}.{name}: {error}")
    assert_none(faults)


def test_every_file_that_says_shapes_is_held_to_them() -> None:
    said = {file for file, source in rooms().items() if "\nfrom jaxtyping import " in source}
    # The hook of `conftest.py` gives what it checks this import.
    held = {file for file in rooms() if loaded(file).get("jaxtyping") is jaxtyping}
    assert said and held == said - UNCHECKED.keys()


def test_calls_of_a_wrong_shape_are_refused() -> None:
    """Both calls would give an answer if nobody looked: the check is on, in both rooms."""
    assert uniform(torch.arange(3), 2).shape == (3, 2)
    with pytest.raises(jaxtyping.TypeCheckError, match="rows"):
        uniform(torch.zeros(3, 2, dtype=torch.int64), 2)
    assert len(epoch_order(np.arange(4), batch_size=2, seed=0, epoch=0)) == 2
    with pytest.raises(jaxtyping.TypeCheckError, match="rows"):
        epoch_order(np.zeros((4, 2), dtype=np.int64), batch_size=2, seed=0, epoch=0)


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("def f(x: Tensor): ...", "f.x: Tensor says no shape"),
        ("def f() -> list[torch.Tensor]: ...", "f.return: list[torch.Tensor] says no shape"),
        ("class A:\n    rows: NDArray[np.int64]", "A.rows: NDArray[np.int64] says no shape"),
        ("class A:\n    def f(self, x: dict[str, np.ndarray] | None): ...", "A.f.x: dict"),
        ("def f(x): ...", "f.x is not annotated"),
        ("@no_type_check\ndef f(): ...", "leaves something unchecked"),
    ],
)
def test_a_tensor_without_a_shape_is_found(source: str, fault: str) -> None:
    found = check_shapes({"nn/rows": source})
    assert len(found) == 1 and fault in found[0]


def test_shapes_are_found_where_they_stand() -> None:
    source = 'def f(x: Float[Tensor, "rows width"]) -> dict[str, Int64[np.ndarray, " rows"] | None]: ...'
    assert check_shapes({"nn/rows": source}) == []
