"""A training that starts from a finished run: its backbone, and the last layer's rows of what it knows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from tenfold.errors import listed
from tenfold.networks.opened import OpenedNetwork
from tenfold.nn.encoders import load_weights
from tenfold.nn.heads import Head
from tenfold.nn.network import Network, build_heads
from tenfold.recipe import Recipe
from tenfold.runs.folder import read_arrays, read_run


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


def _take(network: Network, head: Head, first: int, old: LastRows | None) -> str:
    """Fill a target's rows of the last layer; returns a message on it."""
    width = network.last.in_features
    if old is None or old[0].kind != head.kind or old[1].shape[1] != width:
        return f"{head.name} is new, and its last layer starts anew"
    before, weight, bias = old
    if head.outputs == len(head.classes) and before.outputs == len(before.classes):
        known = {name: index for index, name in enumerate(before.classes)}
        new = [name for name in head.classes if name not in known]
        both = np.column_stack([weight, bias])
        # A new class is as likely as those that are known, on the mean.
        kept = [both[known[name]] for name in head.classes if name in known]
        mean = np.mean(kept, axis=0) if kept else np.zeros(width + 1)
        taken = np.array([both[known[name]] if name in known else mean for name in head.classes])
        rows = taken[:, :-1], taken[:, -1]
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
