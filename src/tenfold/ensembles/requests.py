"""What a worker is asked: values here, one JSON object on its standard input."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar

from tenfold.recipe import Recipe
from tenfold.runs.options import Machine, Reading
from tenfold.schema import Schema


@dataclass(frozen=True)
class MemberRecipe:
    """A member that is to be checked."""

    name: str
    recipe: Recipe


@dataclass(frozen=True)
class MemberRuns:
    """A member that has finished. runs: its folders, from that of the ensemble."""

    name: str
    weight: float
    runs: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Request:
    """What every request says."""

    task: ClassVar[str]

    table: str
    reading: Reading = field(default_factory=Reading)
    machine: Machine = field(default_factory=Machine)

    def to_json(self) -> dict[str, Any]:
        """In JSON's types."""
        return {"task": self.task, **_written(self)}


@dataclass(frozen=True, kw_only=True)
class CheckRequest(Request):
    """Check all that can be refused before the first training.

    folds: of a cross-validation, or 0.  plan: trainings that share the memory, each planned for, or 0.
    """

    task = "check"
    schema: Schema
    members: Sequence[MemberRecipe]
    folds: int = 0
    plan: int = 0


@dataclass(frozen=True, kw_only=True)
class FitRequest(Request):
    """Train one member. run: its folder."""

    task = "fit"
    schema: Schema
    recipe: Recipe
    run: str


@dataclass(frozen=True, kw_only=True)
class BlendRequest(Request):
    """Blend the members that have finished. folder: the ensemble's.  soup: whether weights are averaged."""

    task = "blend"
    folder: str
    members: Sequence[MemberRuns]
    method: str
    seed: int
    soup: bool = False


def reading_values(reading: Reading) -> dict[str, Any]:
    """A reading by name, without who listens."""
    return {name: value for name, value in asdict(reading).items() if name != "on_progress"}


#: Fields that JSON has no word for -> how they are written, and read.
_FORMS: Mapping[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "schema": (lambda one: one.model_dump(mode="json", exclude_none=True), lambda one: Schema(**one)),
    "recipe": (lambda one: one.model_dump(mode="json", exclude_unset=True), lambda one: Recipe(**one)),
    "reading": (reading_values, lambda one: Reading(**one)),
    "machine": (asdict, lambda one: Machine(**one)),
    "members": (
        lambda members: [_written(member) for member in members],
        lambda members: [
            (MemberRecipe if "recipe" in member else MemberRuns)(**_read(member)) for member in members
        ],
    ),
}


def _written(value: Request | MemberRecipe | MemberRuns) -> dict[str, Any]:
    given = {one.name: getattr(value, one.name) for one in fields(value)}
    return {name: _FORMS[name][0](one) if name in _FORMS else one for name, one in given.items()}


def _read(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _FORMS[name][1](one) if name in _FORMS else one for name, one in given.items()}


def request_of(given: Mapping[str, Any]) -> Request:
    """The request that `Request.to_json` wrote."""
    kinds = {kind.task: kind for kind in (CheckRequest, FitRequest, BlendRequest)}
    return kinds[given["task"]](**_read({name: one for name, one in given.items() if name != "task"}))
