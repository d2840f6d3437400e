"""What is known of a finished network, and of a training that starts from one. Loads no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tenfold.data.encode import Encoding
from tenfold.errors import RecipeError
from tenfold.recipe import START_DEFAULTS, Recipe, with_defaults_for
from tenfold.runs.folder import read_object, read_text
from tenfold.runs.record import RunRecord
from tenfold.runs.registry import load_run
from tenfold.runs.run import OpenedRun, Run
from tenfold.schema import Schema


@dataclass(frozen=True, repr=False)
class OpenedNetwork(OpenedRun):
    """A finished network's recipe, and how its inputs are encoded."""

    recipe: Recipe
    encoding: Encoding

    @classmethod
    def open(cls, path: Path, record: RunRecord) -> Self:
        """Open the network in a checked folder. Loads no weights."""
        return cls(
            path,
            Schema.from_toml(read_text(path, "schema.toml")),
            record,
            Recipe.from_toml(read_text(path, "recipe.toml")),
            Encoding(**read_object(path, "encoding.json")),
        )


#: Behind the folder of a run: the same training on the labels alone.
ALONE = "-labels"
#: Choices that a training takes from the run that it starts from, where they are not given.
INHERITED = ("arch", "image_size", "item_size", "resize", "flip", "views")


def open_start(recipe: Recipe, schema: Schema) -> OpenedNetwork | None:
    """The run that a recipe starts from, with its files checked; None without one.

    Raises RunError where there is no such run, RecipeError where it cannot be gone on from.
    """
    if not recipe.start:
        return None
    run = load_run(recipe.start)
    if not isinstance(run, OpenedNetwork) or run.members:
        raise RecipeError(
            f"{recipe.start} is not a network, and a training starts from a network",
            fix="give a run of pictures; of an ensemble give a member's folder",
        )
    if schema.columns or run.schema.columns or not (schema.images and run.schema.images):
        raise RecipeError(
            "a training starts from a run where both have pictures alone as inputs",
            found=f"{recipe.start}: {run.schema.described}",
            fix="leave --from out",
        )
    if "weights" in recipe.model_fields_set:
        raise RecipeError(
            f"weights = {recipe.weights!r} and start = {recipe.start!r} say two things",
            fix="give one of them",
        )
    return run


def with_start(recipe: Recipe, schema: Schema) -> Recipe:
    """The recipe with `INHERITED` choices of the run that it starts from, and `START_DEFAULTS`."""
    run = open_start(recipe, schema)
    if run is None:
        return recipe
    given = recipe.model_fields_set
    mine: dict[str, object] = {
        name: getattr(run.recipe, name) for name in INHERITED if name in run.recipe.model_fields_set
    }
    mine = {**START_DEFAULTS, **mine}
    return recipe.model_copy(
        update={**{name: value for name, value in mine.items() if name not in given}, "weights": "none"}
    )


def open_teacher(recipe: Recipe, schema: Schema) -> Run | None:
    """The run whose answers a recipe learns, with its files checked; None without one.

    Raises RunError where there is no such run, RecipeError where nothing can be learned from it.
    """
    if not recipe.teacher:
        return None
    run = load_run(recipe.teacher)
    if run.schema.rated or run.schema.columns or schema.columns or not schema.images:
        raise RecipeError(
            "a teacher, and who learns from it, have pictures alone as inputs",
            found=f"{recipe.teacher}: {run.schema.described}",
            fix="give a run of pictures",
        )
    if len(run.schema.images) != len(schema.images):
        raise RecipeError(
            f"{recipe.teacher} takes {len(run.schema.images)} pictures a row, and here are "
            f"{len(schema.images)}",
            fix="name the same columns of pictures",
        )
    names = [str(target.name) for target in run.schema.targets]
    lacking = [str(target.name) for target in schema.answers if target.name not in names]
    if lacking:
        raise RecipeError(
            f"{recipe.teacher} does not answer {', '.join(lacking)}",
            found=f"its targets are {', '.join(names)}",
            fix="name targets that it answers",
        )
    return run


def networks_of(run: Run) -> list[OpenedNetwork]:
    """The networks of a run of pictures: itself, or its members."""
    own: Sequence[object] = [one for member in run.members for one in member.runs] or [run]
    return [one for one in own if isinstance(one, OpenedNetwork)]


def teacher_size(run: Run) -> tuple[int, int]:
    """(height, width) that the largest network of a teacher sees."""
    sizes = [one.encoding.final_size or one.encoding.image_size for one in networks_of(run)]
    return max(height for height, _ in sizes), max(width for _, width in sizes)


def with_teacher(recipe: Recipe, schema: Schema) -> Recipe:
    """The recipe with pictures kept as large as its teacher sees them, and labels that are not smoothed."""
    run = open_teacher(recipe, schema)
    if run is None:
        return recipe
    size = recipe.item_size or recipe.image_size
    kept = tuple(max(own, other) for own, other in zip(size, teacher_size(run), strict=True))
    mine: dict[str, object] = {"item_size": kept}
    if "label_smoothing" not in recipe.model_fields_set:
        mine["label_smoothing"] = 0.0
    return recipe.model_copy(update=mine)


def resolved_recipe(recipe: Recipe, schema: Schema) -> Recipe:
    """The recipe with all defaults but those that follow from the number of training rows."""
    return with_defaults_for(with_teacher(with_start(recipe, schema), schema), schema)
