"""``--preset best``: an ensemble from the options of a single training, as large as time allows."""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from tenfold.data.tables.jobfile import EnsembleFile
from tenfold.ensembles.children import ask
from tenfold.ensembles.requests import MemberRecipe, TimeAnswer, TimeRequest
from tenfold.ensembles.train import Finished, check_recipe, train_ensemble
from tenfold.errors import RecipeError, RunError
from tenfold.events import Listener
from tenfold.members import Settings
from tenfold.networks.opened import resolved_recipe
from tenfold.recipe import Recipe, network_recipe
from tenfold.runs.described import read_description
from tenfold.runs.options import Machine, Reading
from tenfold.runs.place import DESCRIBED
from tenfold.schema import Schema
from tenfold.values import Log

#: The members for pictures where no architecture is given, and each one's own size.
FAMILY = {
    "tf_efficientnet_lite0": (224, 224),
    "tf_efficientnet_lite1": (240, 240),
    "tf_efficientnet_lite2": (260, 260),
}
#: Side of the second member's pictures where the architecture is given, in units of the first one's.
SCALE = 1.25
#: Hidden layers of the members for tables.
BODIES = ((128, 64), (256, 128), (64, 32))
#: Epochs of pictures, and folds, where they are not given.
EPOCHS, FOLDS = 18, 5
#: What a limit of time is spent on, best first: (folds, whether all members are trained, least epochs).
PLANS = ((5, True, 10), (3, True, 10), (0, True, 8), (0, False, 1))
#: Seconds of a process beside its training, and fraction of the limit that is planned for.
OVERHEAD, PLANNED = 12.0, 0.8


def best_ensemble(schema: Schema, recipe: Recipe, table: str) -> EnsembleFile:
    """The file of the ensemble for a table: members, folds, and a blend learned from held-out rows.

    recipe: what it gives is shared by all members.  table: a path, or a folder of pictures.
    Raises RecipeError for ratings, and where the recipe gives a fold.
    """
    if schema.rated:
        raise RecipeError("presets are for pictures and tables, not for ratings", fix="leave it out")
    if recipe.fold is not None:
        raise RecipeError("the preset 'best' makes folds of its own", fix="leave --fold out")
    given = recipe.model_dump(mode="json", exclude_unset=True)
    shared: dict[str, object] = {**given}
    if schema.images:
        shared.setdefault("epochs", EPOCHS)
        if "tta" not in given:
            shared.setdefault("views", {"none": 1, "horizontal": 2, "both": 4}[recipe.flip])
        members = _pictures(recipe, given)
    else:
        members = [{"name": "-".join(map(str, sizes)), "hidden": sizes} for sizes in BODIES]
        members = [{"name": "given"}] if "hidden" in given else members
    folds = FOLDS if schema.split is None else 0
    how = {"folds": folds, "split": "same", "blend": "best", "soup": False}
    return EnsembleFile(table, "", schema, how, {"recipe": shared, "member": members})


def _pictures(recipe: Recipe, given: Mapping[str, object]) -> list[Settings]:
    own_file = recipe.weights not in ("hub", "package", "none")
    if "arch" not in given and not own_file:
        sizes = {} if "image_size" in given else FAMILY
        return [
            {"arch": arch, **({"image_size": list(sizes[arch])} if arch in sizes else {})} for arch in FAMILY
        ]
    larger = [32 * math.ceil(SCALE * side / 32) for side in recipe.image_size]
    return [{"image_size": list(recipe.image_size)}, {"image_size": larger}]


def train_best(
    schema: Schema,
    recipe: Recipe,
    table: str,
    *,
    output: str | os.PathLike[str],
    time_limit: float | None = None,
    reading: Reading | None = None,
    machine: Machine | None = None,
    on_progress: Listener | None = None,
    on_note: Log | None = None,
) -> Finished:
    """Train the ensemble of `best_ensemble`; run again, it goes on where it was.

    time_limit: seconds; folds, members and epochs follow from it by measured steps, and the trainings that
        are late end early. An ensemble that was begun there keeps its plan.
    Raises as `train_ensemble`, and RecipeError where not even one epoch of one member fits.
    """
    started = time.monotonic()
    reading, machine = reading or Reading(), machine or Machine()
    note = on_note or (lambda line: None)
    file = best_ensemble(schema, recipe, table)
    if time_limit is not None:
        file = _begun(file, output, note) or _within(file, recipe, time_limit, reading, machine, note)
        time_limit -= time.monotonic() - started
    return train_ensemble(
        file,
        output=output,
        time_limit=time_limit,
        reading=reading,
        machine=machine,
        on_progress=on_progress,
        on_note=on_note,
    )


def _begun(file: EnsembleFile, output: str | os.PathLike[str], note: Log) -> EnsembleFile | None:
    """The file by the plan of an ensemble that was begun in the folder; None where there is none."""
    described = Path(output) / DESCRIBED
    if not described.exists():
        return None
    try:
        record = read_description(described, Path(output))
    except RunError:
        return None
    made = record.values.get("recipe")
    members = made.get("members") if isinstance(made, Mapping) else None
    if not isinstance(made, Mapping) or not isinstance(members, Mapping) or not members:
        return None
    epochs = next(iter(members.values())).get("epochs", Recipe().epochs)
    note(f"{output} was begun with {made['folds']} folds and {epochs} epochs: it goes on with these")
    return _planned(file, int(made["folds"]), len(members), epochs)


def _planned(file: EnsembleFile, folds: int, members: int, epochs: int) -> EnsembleFile:
    """The file with so many folds (0: a split of its own for each member), members and epochs."""
    split = {} if folds or file.schema.split else {"split": "different", "blend": "weights"}
    sections = {
        "recipe": {**file.sections["recipe"], "epochs": epochs},
        "member": file.sections["member"][:members],
    }
    return replace(file, how={**file.how, "folds": folds, **split}, sections=sections)


def _within(
    file: EnsembleFile, recipe: Recipe, limit: float, reading: Reading, machine: Machine, note: Log
) -> EnsembleFile:
    """The file with the best of `PLANS` that fits a limit."""
    started = time.monotonic()
    _, members = check_recipe(file)
    asked = TimeRequest(
        table=file.table,
        schema=file.schema,
        reading=reading,
        machine=machine,
        members=[MemberRecipe(member.name, member.recipe) for member in members],
    )
    with tempfile.TemporaryDirectory() as folder:
        answer: TimeAnswer = ask(asked.to_json(), Path(folder) / "time.txt", lambda name, event: None)
    left = PLANNED * limit - (time.monotonic() - started)
    plans = PLANS if file.schema.split is None else PLANS[2:]
    for folds, whole, least in plans:
        used = members if whole else members[:1]
        trainings = max(folds, 1)
        once = trainings * sum(OVERHEAD + answer["once"][member.name] for member in used)
        each = trainings * sum(answer["epoch"][member.name] for member in used)
        wanted = resolved_recipe(network_recipe(members[0].recipe), file.schema).epochs
        epochs = min(wanted, int((left - once) / each))
        if epochs >= (wanted if "epochs" in recipe.model_fields_set else min(least, wanted)):
            note(
                f"time limit: {len(used)} members x {trainings} trainings, {epochs} epochs each: about "
                f"{(once + epochs * each) / 60:.0f} min"
            )
            return _planned(file, folds, len(used), epochs)
    raise RecipeError(
        "not even a single member fits into the limit of time",
        found=f"one epoch of {members[0].name} takes about {answer['epoch'][members[0].name]:.0f} s",
        fix="a longer --time-limit, a smaller --image-size, or --preset quick",
    )
