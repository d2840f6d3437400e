"""What is known of a finished network, and of a training that starts from one. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tenfold.data.encode import Encoding
from tenfold.errors import RecipeError
from tenfold.recipe import START_DEFAULTS, Recipe, with_defaults_for
from tenfold.runs.folder import read_object, read_text
from tenfold.runs.heldout import held_out_marks
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
INHERITED = ("arch", "image_size", "item_size", "resize", "flip", "views", "hidden", "embedding")


def open_start(recipe: Recipe, schema: Schema) -> OpenedNetwork | None:
    """The run that a recipe starts from, with its files checked; None without one.

    Raises RunError where there is no such run, RecipeError where it cannot be gone on from.
    """
    if not recipe.start:
        return None
    run = load_run(recipe.start)
    if not isinstance(run, OpenedNetwork) or run.members:
        raise RecipeError(
            f"{recipe.start} is not a network of pictures or tables, and a training starts from one",
            fix="give such a run; of an ensemble give a member's folder",
        )
    _check_inputs(run, schema)
    if "weights" in recipe.model_fields_set:
        raise RecipeError(
            f"weights = {recipe.weights!r} and start = {recipe.start!r} say two things",
            fix="give one of them",
        )
    given = recipe.model_fields_set
    if "body" in given and recipe.body_for(schema) != run.recipe.body_for(run.schema):
        raise _other_layers(recipe, "body", recipe.body, run.recipe.body_for(run.schema))
    mlp = run.recipe.body_for(run.schema) == "mlp"
    if mlp and "hidden" in given and recipe.hidden != run.recipe.hidden:
        raise _other_layers(recipe, "hidden", recipe.hidden, run.recipe.hidden)
    if schema.columns and "embedding" in given and recipe.embedding != run.recipe.embedding:
        raise _other_layers(recipe, "embedding", recipe.embedding, run.recipe.embedding)
    return run


def _check_inputs(run: OpenedNetwork, schema: Schema) -> None:
    """Refuse inputs that have nothing in common with those of a run, or a name for two kinds of column."""
    kinds = {column.name: column.kind for column in run.schema.inputs}
    wrong = [
        f"{column.name} is of kind {column.kind} here, and of kind {kinds[column.name]} in the run"
        for column in schema.inputs
        if kinds.get(column.name, column.kind) != column.kind
    ]
    if wrong:
        raise RecipeError(
            f"columns of {run.path} are of other kinds here",
            problems=wrong,
            fix="give them as the run has them, or leave --from out",
        )
    # Pictures have one backbone, whatever the names of their columns.
    known = {column.name for column in schema.inputs} & set(kinds)
    if not known and not (schema.images and run.schema.images):
        raise RecipeError(
            f"{run.path} and this table have no input column in common",
            found=f"{', '.join(kinds)}; here {', '.join(column.name for column in schema.inputs)}",
            fix="name its columns, or leave --from out",
        )


def _other_layers(recipe: Recipe, name: str, here: object, there: object) -> RecipeError:
    return RecipeError(
        f"{name} = {here!r} here, and {there!r} in {recipe.start}: its layers do not fit",
        fix=f"leave {name} out",
    )


def with_start(recipe: Recipe, schema: Schema) -> Recipe:
    """The recipe with `INHERITED` choices of the run that it starts from, and `START_DEFAULTS`."""
    run = open_start(recipe, schema)
    if run is None:
        return recipe
    given = recipe.model_fields_set
    mine: dict[str, object] = {
        name: getattr(run.recipe, name) for name in INHERITED if name in run.recipe.model_fields_set
    }
    if recipe.body_for(schema) != run.recipe.body_for(run.schema):
        mine["body"] = run.recipe.body_for(run.schema)
    mine = {**START_DEFAULTS, **mine}
    return recipe.model_copy(
        update={**{name: value for name, value in mine.items() if name not in given}, "weights": "none"}
    )


def may_have_trained(
    networks: Sequence[OpenedNetwork],
    marks: NDArray[np.object_],
    valid: NDArray[np.int64],
    fingerprint: Mapping[str, object],
) -> list[str]:
    """A note where networks that a training learns from have been trained on its held-out rows.

    marks: (rows,) of `row_fingerprints`.  valid: rows that are held out.  fingerprint: of the table.
    """
    notes = []
    for run in networks:
        own = run.record.fingerprint
        if own.get("scored") == fingerprint["scored"] or not len(valid):
            continue
        held = held_out_marks(run.path, run.schema, run.encoding.classes)
        same = own.get("rows") == fingerprint["rows"]
        # Rows of another table are only known where the run held them out.
        if same or not held.isdisjoint(marks):
            rows = sum(mark not in held for mark in marks[valid])
            verb = "trained" if same else "may have trained"
            if rows:
                notes.append(
                    f"{rows} of {len(valid)} held-out rows {verb} {run.path}: their scores are then too good"
                )
    return notes


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


def learned_from(recipe: Recipe) -> list[OpenedNetwork]:
    """The networks of a recipe's start and teacher."""
    return [one for path in (recipe.start, recipe.teacher) if path for one in networks_of(load_run(path))]


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
