"""Signatures say what they take and give: `Any` is rare, and no bag of keys goes from room to room."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

import pytest

from laws.source import Import, parse, public, read_imports, read_sources

#: Share of signatures that may contain `Any`, by name or within an alias. It only falls.
MOST_ANY = 0.02
#: Public functions and methods that may take or return a dict or mapping of `Any`. It only falls.
MOST_BAGS = 10


def read_signatures(sources: Mapping[str, str]) -> Iterator[tuple[str, str, list[ast.expr]]]:
    """Where each function is, its name, and the annotations of its parameters and of its return."""
    for file, source in sources.items():
        for node in ast.walk(parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                given = node.args
                parameters = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
                annotations = [parameter.annotation for parameter in parameters if parameter]
                written = [one for one in (*annotations, node.returns) if one is not None]
                yield f"{file}.py:{node.lineno}: {node.name}", node.name, written


def find_aliases(source: str) -> set[str]:
    """Names such as ``Facts = Mapping[str, Any]``, which hide an `Any`, that a file defines."""
    return {
        target.id
        for node in parse(source).body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript)
        if "Any" in _names(node.value)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def find_any(sources: Mapping[str, str]) -> list[str]:
    """Signatures that contain `Any`."""
    aliases = {file: find_aliases(source) for file, source in sources.items()}
    loose = {
        file: {"Any"}
        | aliases[file]
        | {one.name for one in read_imports(source, file) if _hides(one, aliases)}
        for file, source in sources.items()
    }
    return [
        where
        for where, _, annotations in read_signatures(sources)
        if any(loose[where.partition(".py:")[0]] & _names(annotation) for annotation in annotations)
    ]


def _hides(one: Import, aliases: Mapping[str, set[str]]) -> bool:
    return one.name in aliases.get(one.target.removeprefix("tenfold.").replace(".", "/"), ())


def find_bags(sources: Mapping[str, str]) -> list[str]:
    """Public functions that take or return a ``dict[str, Any]`` or a ``Mapping[str, Any]``."""
    return [
        where
        for where, name, annotations in read_signatures(sources)
        if public(name) and any(_holds_bag(annotation) for annotation in annotations)
    ]


def _holds_bag(annotation: ast.expr) -> bool:
    texts = (ast.unparse(node) for node in ast.walk(annotation) if isinstance(node, ast.Subscript))
    return any(text in ("dict[str, Any]", "Mapping[str, Any]") for text in texts)


def _names(annotation: ast.expr) -> set[str]:
    return {getattr(node, "id", "") or getattr(node, "attr", "") for node in ast.walk(annotation)}


def test_few_signatures_contain_any() -> None:
    sources = read_sources()
    loose, total = find_any(sources), sum(1 for _ in read_signatures(sources))
    assert len(loose) <= MOST_ANY * total, f"{len(loose)} of {total} signatures:\n" + "\n".join(loose)


def test_few_bags_of_keys_go_from_room_to_room() -> None:
    bags = find_bags(read_sources())
    assert len(bags) <= MOST_BAGS, f"{len(bags)} public signatures:\n" + "\n".join(bags)


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("def f(x: Any): ...", 1),
        ("def f() -> dict[str, Any]: ...", 1),
        ("def f(*x: int, **y: typing.Any): ...", 1),
        ("def f(x: Callable[..., NDArray[Any]]): ...", 1),
        ("Facts = Mapping[str, Any]\ndef f(x: Facts | None): ...", 1),
        ("def f(x: object) -> int: ...", 0),
        ("class A:\n    async def f(self, *, x: Any = 1): ...", 1),
        ("x: Any = 1", 0),
    ],
)
def test_any_is_found_in_every_part_of_a_signature(source: str, count: int) -> None:
    assert len(find_any({"data/table": source})) == count


def test_an_alias_counts_where_it_is_imported() -> None:
    alias = "Facts = Mapping[str, Any]"
    user = "from tenfold.runs.record import Facts\ndef f(x: Facts): ..."
    other = "from tenfold.data.table import Facts\ndef f(x: Facts): ..."
    sources = {"runs/record": alias, "cli/show": user, "cli/main": other}
    assert find_any(sources) == ["cli/show.py:2: f"]


def test_a_bag_is_found_in_public_signatures() -> None:
    source = "def f(x: list[dict[str, Any]] | None): ...\ndef _g(x: dict[str, Any]): ...\ndef h(x: Bag): ..."
    assert find_bags({"data/table": source}) == ["data/table.py:1: f"]
