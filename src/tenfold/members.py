"""Many trainings for one answer: the members of an ensemble, and their folds."""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count, product
from typing import ClassVar, Literal, TypedDict

from pydantic import Field

from tenfold.errors import RecipeError
from tenfold.recipe import AnyRecipe, FactorRecipe, RatingNetworkRecipe, Recipe
from tenfold.schema import Frozen


class EnsembleRecipe(Frozen):
    """How members are split, and how their answers are blended: ``[ensemble]`` in its file.

    split: each member's own random split, or the same for all. With folds it is the same for all.
    folds: parts of a cross-validation, each held out once by every member; 0 is a single split.
    blend: ``weights`` as the members state them; ``greedy`` or ``convex``, learned from held-out rows; or the
        ``best`` of these by nested folds.
    soup: try the averaged weights of members of equal architecture, kept only if held-out rows gain.
    """

    refusal: ClassVar = RecipeError

    split: Literal["different", "same"] = "different"
    folds: int = Field(default=0, ge=0, le=100)
    blend: Literal["weights", "greedy", "convex", "best"] = "weights"
    soup: bool = False


@dataclass(frozen=True)
class Member:
    """A model of an ensemble.

    name: of its folder.  weight: how often its answer counts.  recipe: without its fold.
    """

    name: str
    weight: float
    recipe: AnyRecipe


@dataclass(frozen=True)
class FoldTraining:
    """A training of an ensemble: a member, and a fold of it, from 1 (0 without folds)."""

    member: str
    fold: int
    recipe: AnyRecipe

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"{self.member}-fold{self.fold}" if self.fold else self.member


def expand(members: Sequence[Member], how: EnsembleRecipe) -> tuple[FoldTraining, ...]:
    """Members x folds, in the order in which they are trained: all folds of a member together."""
    units = []
    for member in members:
        for fold in range(1, how.folds + 1) if how.folds else (0,):
            changes = {"fold": (fold, how.folds)} if fold else {}
            units.append(FoldTraining(member.name, fold, member.recipe.model_copy(update=changes)))
    return tuple(units)


#: Fields of a recipe as a file gives them, not checked yet.
Settings = Mapping[str, object]


class Sections(TypedDict, total=False):
    """The tables of an ensemble's file that describe its members."""

    recipe: Settings
    member: Sequence[Settings]
    grid: Sequence[Settings]


def read_members(sections: Sections, how: EnsembleRecipe, *, rated: bool = False) -> tuple[Member, ...]:
    """Return the members of ``[[member]]`` and ``[[grid]]``, each with the settings of ``[recipe]``.

    rated: they are recommenders: networks where they have a body, else factors by a method; of the shared
    settings each takes those that it has.

    A grid gives lists for some fields, and makes a member of every combination. A member's seed, and so its
    own split, comes from the shared seed and its name: adding or removing a member changes no other.
    Raises RecipeError with the faults of all members.
    """
    shared = dict(sections.get("recipe", {}))
    kinds: tuple[type[AnyRecipe], ...] = (FactorRecipe, RatingNetworkRecipe) if rated else (Recipe,)
    problems, hint = _faults("[recipe]", shared, kinds)
    wanted = [(f"member {number}", own) for number, own in enumerate(sections.get("member", ()), start=1)]
    for index, grid in enumerate(sections.get("grid", ()), start=1):
        cells = _grid(grid)
        wanted += [(f"grid {index}, member {number}", own) for number, own in enumerate(cells, start=1)]
    if not wanted:
        problems.append("there is no member: give [[member]] or [[grid]]")
    if "fold" in shared:
        problems.append("[recipe]: members do not set fold; set folds in [ensemble]")
    members: list[Member] = []
    for where, own in wanted:
        called = own.get("arch") or own.get("method") or own.get("body")
        where += f" ({called})" if isinstance(called, str) else ""
        kind = _kind(own, shared, kinds)
        try:
            members.append(_member(own, shared, how, {member.name for member in members}, kind))
        except RecipeError as error:
            given = {key: own[key] for key in own if key not in ("name", "weight")}
            faults, fix = _faults(where, given, (kind,))
            hint = hint or fix
            problems += faults
            # Wrong only together with the shared settings, or in its name or weight.
            if not faults and not problems:
                problems += [f"{where}: {problem}" for problem in error.problems or (error.headline,)]
                hint = hint or error.labels.get("fix", "")
    if problems:
        raise RecipeError("the ensemble's recipe has faults", problems=problems, fix=hint)
    return tuple(members)


def _faults(where: str, values: Settings, kinds: Sequence[type[AnyRecipe]]) -> tuple[list[str], str]:
    """Faults of settings, each by the first kind of recipe that has it."""
    problems, hint, left = [], "", dict(values)
    for kind in kinds:
        last = kind is kinds[-1]
        mine = {name: left.pop(name) for name in [*left] if last or name in kind.model_fields}
        try:
            kind.model_validate(mine)
        except RecipeError as error:
            problems += [f"{where}: {problem}" for problem in error.problems]
            hint = hint or error.labels.get("fix", "")
    return problems, hint


def _kind(own: Settings, shared: Settings, kinds: Sequence[type[AnyRecipe]]) -> type[AnyRecipe]:
    """The class of a member's recipe."""
    if Recipe in kinds:
        return Recipe
    network = "body" in own or ("body" in shared and "method" not in own)
    return RatingNetworkRecipe if network else FactorRecipe


def _grid(grid: Settings) -> list[Settings]:
    """Every combination of the listed values, the last field changing fastest."""
    choices = [value if isinstance(value, list) else [value] for value in grid.values()]
    return [dict(zip(grid, cells, strict=True)) for cells in product(*choices)]


def _member(
    own: Settings, shared: Settings, how: EnsembleRecipe, taken: set[str], kind: type[AnyRecipe]
) -> Member:
    common = {name: value for name, value in shared.items() if kind is Recipe or name in kind.model_fields}
    values = {**common, **own}
    weight, name = values.pop("weight", 1.0), values.pop("name", None)
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight < math.inf:
        raise RecipeError("a weight is a number of 0 or more", problems=[f"weight = {weight!r}"])
    if "fold" in own:
        raise RecipeError("members do not set fold", fix="set folds in [ensemble]")
    recipe = kind.model_validate(values)
    recipe.check()
    if name is not None and not (isinstance(name, str) and re.fullmatch(r"[\w][\w.+-]{0,99}", name)):
        raise RecipeError(f"name = {name!r} cannot name a folder", fix="use letters, digits, - and _")
    if name in taken:
        raise RecipeError(f"two members have the name {name!r}", fix="give each its own")
    name = name or _name(recipe, taken)
    changes: dict[str, int] = {}
    if "seed" not in own:
        changes["seed"] = (recipe.seed + zlib.crc32(name.encode())) % 2**31
    if (how.split == "same" or how.folds) and recipe.split_seed is None:
        shared_seed = shared.get("seed", 0)
        assert isinstance(shared_seed, int | str)  # Recipe has checked it
        changes["split_seed"] = recipe.seed if "seed" not in own else int(shared_seed)
    return Member(name, float(weight), recipe.model_copy(update=changes))


def _name(recipe: AnyRecipe, taken: set[str]) -> str:
    """A folder's name that says what is inside, with a number where members share it."""
    plain = re.sub(r"[^\w.+-]", "_", "-".join(recipe.words))
    numbered = (f"{plain}-{number}" for number in count(2))
    return plain if plain not in taken else next(name for name in numbered if name not in taken)
