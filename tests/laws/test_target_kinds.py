"""Who asks which kind a target is: the rooms that know kinds, and nobody else. All others ask `kind_of`."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping

import pytest

from laws.source import assert_none, parse, read_sources

#: Files that may ask: what declares kinds, what a kind is, and its sheet.
ROOMS = ("schema", "targets/", "nn/heads", "workbooks/")


def read_kinds(schema: str) -> dict[str, str]:
    """Class -> word of every kind of a network's targets, as the schema declares them."""
    tree = ast.parse(schema)
    words = {
        node.name: ast.literal_eval(field.value)
        for node in tree.body
        if isinstance(node, ast.ClassDef)
        for field in node.body
        if isinstance(field, ast.AnnAssign)
        and ast.unparse(field.target) == "kind"
        and field.value is not None
    }
    union = next(
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "NetworkTarget"
    )
    return {node.id: words[node.id] for node in ast.walk(union) if isinstance(node, ast.Name)}


def check_kinds(sources: Mapping[str, str], kinds: Mapping[str, str]) -> list[str]:
    """Every branch on the kind of a target outside the rooms that may, one a line."""
    return [
        f"{file}.py:{node.lineno}: {ast.unparse(node)}: ask kind_of(target)"
        for file, source in sources.items()
        if not file.startswith(ROOMS)
        for node in _branches(parse(source), kinds)
    ]


def _branches(tree: ast.Module, kinds: Mapping[str, str]) -> Iterator[ast.expr | ast.pattern]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            about = any("kind" in name for side in sides for name in _names(side))
            words = {one.value for side in sides for one in ast.walk(side) if isinstance(one, ast.Constant)}
            if (about and words & {*kinds.values()}) or (_classes(sides) & {*kinds}):
                yield node
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("isinstance", "issubclass"):
            if _classes(node.args[1:]) & {*kinds}:
                yield node
        elif isinstance(node, ast.MatchClass) and _classes([node.cls]) & {*kinds}:
            yield node


def _classes(nodes: list[ast.expr]) -> set[str]:
    """Names in expressions that are not called: classes themselves, and not targets that are made."""
    made = {call.func for node in nodes for call in ast.walk(node) if isinstance(call, ast.Call)}
    return {name for node in nodes for name in _names(node, made)}


def _names(node: ast.AST, left_out: Collection[ast.AST] = ()) -> Iterator[str]:
    """Names and attributes in an expression."""
    for one in ast.walk(node):
        if one not in left_out and isinstance(one, ast.Name | ast.Attribute):
            yield one.id if isinstance(one, ast.Name) else one.attr


def test_only_the_rooms_of_targets_ask_for_a_kind() -> None:
    sources = read_sources()
    assert_none(check_kinds(sources, read_kinds(sources["schema"])))


@pytest.mark.parametrize(
    "source",
    [
        'if target.kind == "number": ...',
        'x = "multilabel" == one.rows.kind',
        'if head.kind in ("open", "multilabel"): ...',
        'if kinds.get(name) != "ordered": ...',
        "if isinstance(target, MultiLabelTarget): ...",
        "if isinstance(target, (str, schema.NumberTarget)): ...",
        "if type(target) is OpenTarget: ...",
        "match target:\n    case CategoryTarget(): ...",
    ],
)
def test_a_breach_is_found(source: str) -> None:
    kinds = read_kinds(read_sources()["schema"])
    [found] = check_kinds({"reports/parts": source, "targets/base": source}, kinds)
    assert found.startswith("reports/parts.py:")


@pytest.mark.parametrize(
    "source",
    [
        'target = NumberTarget(name="rating")',
        "if kind_of(target).numeric: ...",
        'if column.kind == "image": ...',
        'if values.dtype.kind == "f": ...',
        "if isinstance(target, RatingTarget): ...",
        'if targets == (NumberTarget(name="a"),): ...',
    ],
)
def test_what_does_not_ask_for_a_kind_is_allowed(source: str) -> None:
    assert check_kinds({"reports/parts": source}, read_kinds(read_sources()["schema"])) == []
