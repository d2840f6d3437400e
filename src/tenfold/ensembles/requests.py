"""Requests to a worker, and its answers: JSON objects on its standard input and output."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, TypedDict

from tenfold.recipe import AnyRecipe, FactorRecipe, RatingNetworkRecipe, Recipe
from tenfold.runs.options import Machine, Reading
from tenfold.schema import Schema
from tenfold.values import Scores


@dataclass(frozen=True)
class MemberRecipe:
    """A member to check."""

    name: str
    recipe: AnyRecipe


@dataclass(frozen=True)
class MemberRuns:
    """A finished member. runs: paths relative to the ensemble's folder."""

    name: str
    weight: float
    runs: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Request:
    """The part that all requests share."""

    task: ClassVar[str]

    table: str
    reading: Reading = field(default_factory=Reading)
    machine: Machine = field(default_factory=Machine)

    def to_json(self) -> dict[str, object]:
        """The request in JSON's types."""
        return {"task": self.task, **_written(self)}


@dataclass(frozen=True, kw_only=True)
class CheckRequest(Request):
    """Check all that can be refused before the first training.

    folds: of a cross-validation, or 0.  plan: how many trainings share the memory; 0 makes no plans.
    method: of the blend.
    """

    task = "check"
    schema: Schema
    members: Sequence[MemberRecipe]
    folds: int = 0
    plan: int = 0
    method: str = "weights"


@dataclass(frozen=True, kw_only=True)
class TimeRequest(Request):
    """Measure how long the trainings of members take."""

    task = "time"
    schema: Schema
    members: Sequence[MemberRecipe]


@dataclass(frozen=True, kw_only=True)
class FitRequest(Request):
    """Train one member. run: its folder.  time_limit: seconds, after which no epoch begins.

    time_format: of the times of ratings.  page: write its page, and add it to the history beside it.
    folds: the rows that it holds out, as `data.split.shared.SharedFolds.record` writes them.
    """

    task = "fit"
    schema: Schema
    recipe: AnyRecipe
    run: str
    time_limit: float | None = None
    time_format: str | None = None
    page: bool = True
    folds: Mapping[str, object] | None = None


@dataclass(frozen=True, kw_only=True)
class ScoreRequest(Request):
    """Train with some choices changed, and score on the validation rows: see `studies.scored`.

    names: the fields that a study changes.  changes: those of this training.  run: its folder.
    """

    task = "score"
    schema: Schema
    recipe: AnyRecipe
    names: Sequence[str]
    changes: Mapping[str, object]
    seed: int
    run: str
    time_format: str | None = None


class ScoreAnswer(TypedDict):
    """score: NaN where it is not defined.  rows: of training and validation."""

    score: float
    targets: dict[str, Scores]
    rows: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class BlendRequest(Request):
    """Blend the finished members. folder: the ensemble's.  soup: whether to try averaged weights."""

    task = "blend"
    folder: str
    members: Sequence[MemberRuns]
    method: str
    seed: int
    soup: bool = False


class Fault(TypedDict):
    """An error that a check found. member: "" where it is of the table or schema."""

    member: str
    message: str
    problems: list[str]
    fix: str


class CheckAnswer(TypedDict):
    """All faults, and without any the plans.

    plans: member -> bytes that its training needs, None where they exceed its share of `budget_bytes`.
    threads: of a training's arithmetic on this machine.
    """

    faults: list[Fault]
    plans: dict[str, int | None]
    budget_bytes: int
    threads: int


class TimeAnswer(TypedDict):
    """Member -> seconds of a training that are due once, and of each epoch."""

    once: dict[str, float]
    epoch: dict[str, float]


class Soup(TypedDict):
    """A soup that is kept as a member. runs: paths relative to the ensemble's folder."""

    name: str
    weight: float
    runs: list[str]


class BlendAnswer(TypedDict):
    """The blend of an ensemble.

    evaluation: for its ``run.json``.  scores: member -> target -> scores.  schema: as TOML.
    """

    evaluation: dict[str, object]
    scores: dict[str, dict[str, Scores]]
    soups: list[Soup]
    schema: str
    notes: list[str]


def reading_values(reading: Reading) -> dict[str, object]:
    """The fields of a reading by name, without its listener and what only a person's question has."""
    return {name: value for name, value in asdict(reading).items() if name not in ("on_progress", "asked")}


#: Fields that are not in JSON's types -> how to write and read them.
_FORMS: Mapping[str, tuple[Callable[[Any], object], Callable[[Any], object]]] = {
    "schema": (lambda own: own.model_dump(mode="json", exclude_none=True), lambda values: Schema(**values)),
    "recipe": (lambda own: _recipe_values(own), lambda values: _recipe_of(values)),
    "reading": (reading_values, lambda values: Reading(**values)),
    "machine": (asdict, lambda values: Machine(**values)),
    "members": (
        lambda members: [_written(member) for member in members],
        lambda members: [
            (MemberRecipe if "recipe" in member else MemberRuns)(**_read(member)) for member in members
        ],
    ),
}


#: Recipes of ratings by name, in a request under this key beside their fields.
_OF_RATINGS = {"factors": FactorRecipe, "network": RatingNetworkRecipe}
_KIND = "of ratings"


def _recipe_values(recipe: AnyRecipe) -> dict[str, object]:
    values = recipe.model_dump(mode="json", exclude_unset=True)
    return {**values, _KIND: recipe.of_ratings} if recipe.of_ratings else values


def _recipe_of(values: Mapping[str, object]) -> AnyRecipe:
    kind = values.get(_KIND)
    return _OF_RATINGS.get(str(kind), Recipe)(**{name: own for name, own in values.items() if name != _KIND})


def _written(value: Request | MemberRecipe | MemberRuns) -> dict[str, object]:
    given = {each.name: getattr(value, each.name) for each in fields(value)}
    return {name: _FORMS[name][0](own) if name in _FORMS else own for name, own in given.items()}


def _read(given: Mapping[str, object]) -> dict[str, Any]:
    return {name: _FORMS[name][1](own) if name in _FORMS else own for name, own in given.items()}


def request_of(given: Mapping[str, object]) -> Request:
    """Read the request that `Request.to_json` wrote."""
    kinds = {kind.task: kind for kind in (CheckRequest, TimeRequest, FitRequest, ScoreRequest, BlendRequest)}
    return kinds[str(given["task"])](**_read({name: own for name, own in given.items() if name != "task"}))
