"""A training that starts from a finished run: its backbone, and the last layer's rows of what it knows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from tenfold.errors import RecipeError, listed
from tenfold.networks.opened import OpenedNetwork
from tenfold.nn.encoders import load_weights
from tenfold.nn.heads import Head
from tenfold.nn.network import Network, build_heads
from tenfold.recipe import START_DEFAULTS, Recipe
from tenfold.runs.folder import read_arrays, read_run
from tenfold.runs.registry import load_run
from tenfold.schema import Schema

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


def start_from(network: Network, recipe: Recipe) -> list[str]:
    """Put the weights of the run that a recipe starts from into a network; returns what was taken.

    Rows of the last layer go by the names of classes; the raw output of a number is brought to the scale of
    the new labels. What the run does not know starts anew.
    Raises WeightsError where the architectures differ.
    """
    if not recipe.start:
        return []
    run = OpenedNetwork.open(*read_run(recipe.start))
    arrays, _ = read_arrays(run.path / "weights.safetensors")
    state = {name: torch.from_numpy(value) for name, value in arrays.items()}
    notes: list[str] = []
    for name, backbone in network.backbones.items():
        own = f"encoders.{name}."
        part = {key.removeprefix(own): value for key, value in state.items() if key.startswith(own)}
        load_weights(backbone, part or state, str(run.path))
    old, first = _rows(run, arrays), 0
    for head in network.heads:
        notes.append(f"{run.path}: {_take(network, head, first, old.get(head.name))}")
        first += head.outputs
    return notes


#: A target's head, and its rows of the last layer: (outputs, features) and (outputs,).
LastRows = tuple[Head, NDArray[np.float64], NDArray[np.float64]]


def _rows(run: OpenedNetwork, arrays: Mapping[str, NDArray[np.generic]]) -> dict[str, LastRows]:
    """Target -> its rows in the run."""
    weight, bias = (arrays[f"last.{name}"].astype(np.float64) for name in ("weight", "bias"))
    rows, first = {}, 0
    for head in build_heads(run.encoding, run.schema, run.recipe):
        rows[head.name] = head, weight[first : first + head.outputs], bias[first : first + head.outputs]
        first += head.outputs
    return rows


def _take(
    network: Network,
    head: Head,
    first: int,
    old: LastRows | None,
) -> str:
    """Fill a target's rows of the last layer; returns a message on it."""
    width = network.last.in_features
    if old is None or old[0].kind != head.kind or old[1].shape[1] != width:
        return f"{head.name} is new, and its last layer starts anew"
    before, weight, bias = old
    rows = np.zeros((head.outputs, width)), np.zeros(head.outputs)
    if head.outputs == len(head.classes) and before.outputs == len(before.classes):
        known = {name: index for index, name in enumerate(before.classes)}
        new = [name for name in head.classes if name not in known]
        for index, name in enumerate(head.classes):
            if name in known:
                rows[0][index], rows[1][index] = weight[known[name]], bias[known[name]]
        if new:
            # As likely as the classes that are known, on the mean.
            kept = [known[name] for name in head.classes if name in known]
            for index in (head.classes.index(name) for name in new) if kept else ():
                rows[0][index], rows[1][index] = weight[kept].mean(0), bias[kept].mean()
        gone = [name for name in before.classes if name not in head.classes]
        told = f"{len(head.classes) - len(new)} of {len(head.classes)} classes of {head.name} are known"
        told += f"; new: {', '.join(listed(new))}" if new else ""
        told += f"; no longer there: {', '.join(listed(gone))}" if gone else ""
    elif before.classes == head.classes and before.outputs == head.outputs:
        scale = head.rescaled(before)
        if scale is None:
            return f"{head.name} has another range, and its last layer starts anew"
        rows, told = (weight * scale[0], bias * scale[0] + scale[1]), f"{head.name} is known"
    else:
        return f"{head.name} has other classes, whose last layer starts anew"
    with torch.no_grad():
        last = slice(first, first + head.outputs)
        network.last.weight[last] = torch.from_numpy(rows[0]).to(network.last.weight.dtype)
        network.last.bias[last] = torch.from_numpy(rows[1]).to(network.last.bias.dtype)
    return told
