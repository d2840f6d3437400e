"""Nobody asks which kind of run or recipe there is: a run answers for itself, the registry chooses."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from laws.source import assert_none, parse, read_sources
from tenfold.recipe import AnyRecipe
from tenfold.runs.registry import KINDS

#: Classes of runs and of recipes, by their names.
RUNS = {address.partition(":")[2] for address in KINDS.values()} | {"Run", "Ensemble", "OpenedRun"}
RECIPES = {recipe.__name__ for recipe in AnyRecipe.__args__}
#: Where ``run.json`` is known as what it is: the kinds of runs are told apart there, and nowhere else.
HOME = "runs/"
#: Where a recipe may ask what it is itself.
OWN = ("runs/", "recipe")
#: What `run.json` says, by the names that it goes by.
RECORDS = ("about", "record", "values", "described")


def find_kinds(source: str, file: str) -> list[str]:
    """Where a file branches on the kind of a run or the class of a recipe, one a line."""
    return [f"{file}.py:{line}: {what}" for line, what in _asked(parse(source), file)]


def _asked(tree: ast.AST, file: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from _called(node, file)
        elif isinstance(node, ast.Subscript) and _constant(node.slice) == "kind" and _is_record(node.value):
            if not file.startswith(HOME):
                yield node.lineno, "asks run.json for the kind of a run"
        elif isinstance(node, ast.Compare | ast.Match):
            parts = [node.left, *node.comparators] if isinstance(node, ast.Compare) else [node.subject]
            yield from ((node.lineno, what) for part in parts if (what := _compared(part, file)))


def _called(node: ast.Call, file: str) -> Iterator[tuple[int, str]]:
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    first = node.args[0] if node.args else None
    second = node.args[1] if len(node.args) > 1 else None
    if name in ("hasattr", "getattr") and _constant(second) == "members" and not file.startswith(HOME):
        yield node.lineno, f"{name}(..., 'members'): every run has members, a single one none"
    if name == "isinstance" and second is not None:
        classes = {part.id for part in ast.walk(second) if isinstance(part, ast.Name)}
        if classes & RUNS and not file.startswith(HOME):
            yield node.lineno, "isinstance of a run: give the run a method"
        if classes & RECIPES and not file.startswith(OWN):
            yield node.lineno, "isinstance of a recipe: ask the registry"
    if isinstance(node.func, ast.Attribute) and node.func.attr == "get" and _constant(first) == "kind":
        if _is_record(node.func.value) and not file.startswith(HOME):
            yield node.lineno, "asks run.json for the kind of a run"


def _compared(part: ast.expr, file: str) -> str:
    """What is wrong with an operand of a comparison, or "" where it is none of these."""
    if isinstance(part, ast.Attribute) and not file.startswith(HOME):
        owner = part.value.attr if isinstance(part.value, ast.Attribute) else getattr(part.value, "id", "")
        if part.attr in ("run_kind", "blended_by") or (part.attr == "kind" and owner in ("run", *RECORDS)):
            return "compares the kind of a run: give the run a method"
    if isinstance(part, ast.Call) and getattr(part.func, "id", "") == "type" and not file.startswith(OWN):
        names = {name.id for name in ast.walk(part) if isinstance(name, ast.Name)}
        if names & {"run", "recipe"}:
            return "compares the type of a run or recipe"
    return ""


def _constant(node: ast.expr | None) -> object:
    return node.value if isinstance(node, ast.Constant) else None


def _is_record(node: ast.expr) -> bool:
    return (node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")) in RECORDS


def test_nobody_asks_which_kind_of_run_there_is() -> None:
    assert_none([fault for file, source in read_sources().items() for fault in find_kinds(source, file)])


@pytest.mark.parametrize(
    "source",
    [
        "if about['kind'] == 'blend': pass",
        "kind = run.about.get('kind')",
        "network = record.values['kind'] == 'pairs'",
        "if run.kind == 'network': pass",
        "if run.record.kind != 'blend': pass",
        "match run.record.run_kind:\n    case 'pairs': pass",
        "blend = hasattr(run, 'members')",
        "members = getattr(run, 'members', ())",
        "if isinstance(run, NetworkRun): pass",
        "if isinstance(run, (str, NetworkEnsemble)): pass",
        "if isinstance(recipe, FactorRecipe | RatingNetworkRecipe): pass",
        "if type(recipe) is Recipe: pass",
    ],
)
def test_a_branch_is_found(source: str) -> None:
    assert len(find_kinds(source, "studies/tune")) == 1


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("runs/registry", "if record.run_kind not in KINDS: pass"),
        ("runs/registry", "if type(recipe) is Recipe: pass"),
        ("recipe", "if isinstance(recipe, Recipe): pass"),
        ("cli/request", "if not run.members: pass"),
        ("networks/explain", "found.record(run.kind)"),
        ("networks/fit", "record = {'kind': 'network'}"),
        ("targets/labels", "if target.kind == 'number': pass"),
        ("data/encode", "if isinstance(column, NumberColumn): pass"),
        ("networks/prepare", "if isinstance(recipe.task_weights, str): pass"),
    ],
)
def test_what_asks_nothing_is_let_be(file: str, source: str) -> None:
    assert find_kinds(source, file) == []
