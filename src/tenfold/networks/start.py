"""A training that starts from a finished run: its layers, by the names of columns, categories and classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from tenfold.data.encode import ColumnStats
from tenfold.data.tables.cells import alike_known, respelled
from tenfold.errors import WeightsError, listed, shortened
from tenfold.networks.opened import OpenedNetwork
from tenfold.nn.encoders import CodeEncoder, NumberEncoder, load_weights
from tenfold.nn.heads import Head
from tenfold.nn.network import Network, build_heads, column_name, input_name
from tenfold.recipe import Recipe
from tenfold.runs.folder import read_arrays, read_run
from tenfold.schema import NumberColumn, Schema

#: The first layer that sees all columns, where the body has one.
FIRST = "body.layers.0.weight"
Floats: TypeAlias = NDArray[np.float64]


def start_columns(
    columns: dict[str, ColumnStats], recipe: Recipe, schema: Schema
) -> tuple[dict[str, ColumnStats], list[str]]:
    """The statistics of a table's columns with those of the run that a recipe starts from; and what is new.

    Its numbers keep their scale, and its categories stay beside new ones.
    """
    if not recipe.start:
        return columns, []
    run = OpenedNetwork.open(*read_run(recipe.start))
    settled, notes = dict(columns), []
    for column in schema.columns:
        before, now = run.encoding.columns.get(column.name), columns[column.name]
        if before is None:
            continue
        if isinstance(column, NumberColumn):
            if _learned(before):
                settled[column.name] = before.model_copy(update={"gaps": before.gaps or now.gaps})
            continue
        known = {*before.words, *respelled(now.words, before.words)}
        new = [word for word in now.words if word not in known]
        words = tuple(sorted({*before.words, *new}))
        settled[column.name] = now.model_copy(update={"words": words, "gaps": "" in words})
        if any(new):
            notes.append(
                f"{column.name}: values that {recipe.start} does not know: {shortened([*filter(None, new)])}"
            )
    return settled, notes


def _learned(number: ColumnStats) -> bool:
    """Whether a training has learned anything from a number."""
    return not number.empty and number.deviation > 0


def start_from(
    network: Network, recipe: Recipe, schema: Schema, columns: Mapping[str, ColumnStats]
) -> list[str]:
    """Put the weights of the run that a recipe starts from into a network; returns what was taken.

    columns: of `start_columns`. Embeddings go by the value of a category, features by the name of their
    column, and rows of the last layer by the names of classes; the raw output of a number is brought to the
    scale of the new labels. A new column changes no answer at first, and a new value answers as an unknown
    one did.
    What the run does not know starts anew. Raises WeightsError where the architectures differ.
    """
    if not recipe.start:
        return []
    run = OpenedNetwork.open(*read_run(recipe.start))
    arrays, _ = read_arrays(run.path / "weights.safetensors")
    encoders, notes = _encoders(run, schema)
    try:
        _take_backbones(network, run, arrays, encoders)
    except WeightsError:
        if run.recipe.arch == recipe.arch:
            raise
        raise WeightsError(
            f"{run.path} is of another architecture",
            found=f"{run.recipe.arch}; here {recipe.arch}",
            fix=f"give --arch {run.recipe.arch}",
        ) from None
    for index, column in enumerate(schema.columns):
        name = column_name(index)
        encoder = network.encoders[name]
        if name in encoders and isinstance(encoder, CodeEncoder):
            table = arrays[f"encoders.{encoders[name]}.table.weight"].astype(np.float64)
            _take_words(encoder, table, run.encoding.columns[column.name], columns[column.name])
    last = _take_body(network, run, arrays, schema, encoders)
    old, first = _rows(run, *last), 0
    for head in network.heads:
        before = old.get(head.name)
        notes.append(f"{run.path}: {_take(network, head, first, before)}")
        first += head.outputs
        strange = {*head.classes} - {*before[0].classes} if before else ()
        notes += alike_known(head.name, sorted(strange), before[0].classes) if before else []
    return notes


def _encoders(run: OpenedNetwork, schema: Schema) -> tuple[dict[str, str], list[str]]:
    """Encoder -> that of the run with the same column; and the names of columns that only one of them has."""
    matches, pictures = {}, [column.name for column in run.schema.images]
    for index, image in enumerate(schema.images if pictures else ()):
        # Whatever the name of a column, pictures are seen by a backbone that knows pictures.
        place = pictures.index(image.name) if image.name in pictures else min(index, len(pictures) - 1)
        matches[input_name(index)] = input_name(place)
    places = {column.name: column_name(index) for index, column in enumerate(run.schema.columns)}
    for index, column in enumerate(schema.columns):
        numeric = isinstance(column, NumberColumn)
        if column.name in places and not (numeric and not _learned(run.encoding.columns[column.name])):
            matches[column_name(index)] = places[column.name]
    here, there = {column.name for column in schema.columns}, set(places)
    notes = []
    for word, names in (("does not know", here - there), ("had more columns", there - here)):
        if names:
            notes.append(f"{run.path} {word}: {shortened(sorted(names))}")
    return matches, notes


def _take_backbones(
    network: Network,
    run: OpenedNetwork,
    arrays: Mapping[str, NDArray[np.generic]],
    encoders: Mapping[str, str],
) -> None:
    state = {name: torch.from_numpy(value) for name, value in arrays.items()}
    for name, backbone in network.backbones.items():
        if name in encoders:
            own = f"encoders.{encoders[name]}."
            part = {key.removeprefix(own): value for key, value in state.items() if key.startswith(own)}
            load_weights(backbone, part, str(run.path))


def _take_words(encoder: CodeEncoder, table: Floats, before: ColumnStats, now: ColumnStats) -> None:
    """Fill the embeddings of known words; new ones begin as the unknown word."""
    known = {word: row for row, word in enumerate(before.words, start=1)}
    rows = table[[0, *(known.get(word, 0) for word in now.words)]]
    with torch.no_grad():
        _put(encoder.table.weight[:, : rows.shape[1]], rows)


def _take_body(
    network: Network,
    run: OpenedNetwork,
    arrays: Mapping[str, NDArray[np.generic]],
    schema: Schema,
    encoders: Mapping[str, str],
) -> tuple[Floats, Floats]:
    """Fill the dense layers between the columns and the last one; returns weights and biases of the run's
    last layer, as they are for these columns."""
    kept = {name: value.astype(np.float64) for name, value in arrays.items()}
    with torch.no_grad():
        for name, value in network.body.named_parameters(prefix="body"):
            if name != FIRST:
                _put(value, kept[name])
        first = dict(network.body.named_parameters(prefix="body")).get(FIRST)
        weight, bias = kept["last.weight"], kept["last.bias"]
        if run.recipe.body_for(run.schema) == "dot":
            return weight, bias
        spread = _Spread(run, kept, network, schema, encoders)
        if first is None:
            return spread(weight, network.last.in_features), bias
        _put(first, spread(kept[FIRST], first.shape[1]))
        return weight, bias


@dataclass(frozen=True)
class _Spread:
    """Weights of the columns' features, from a run's order of columns to a network's; 0 for new features."""

    run: OpenedNetwork
    kept: Mapping[str, Floats]
    network: Network
    schema: Schema
    encoders: Mapping[str, str]

    def __call__(self, weight: Floats, width: int) -> Floats:
        """(outputs, features of the run) -> (outputs, width)."""
        before = _places(self.run.schema, self._widths(), weight.shape[1])
        encoders = self.network.encoders.items()
        own = {name: one.width for name, one in encoders if isinstance(one, CodeEncoder)}
        now = _places(self.schema, own, width)
        spread = np.zeros((len(weight), width))
        for name, other in self.encoders.items():
            first, start = now[name].start, before[other].start
            count = before[other].stop - start
            if other in self._without_marks:
                count = 1  # the weight of its missing-indicator, always 0 in training, means nothing
            spread[:, first : first + count] = weight[:, start : start + count]
        return spread

    def _widths(self) -> dict[str, int]:
        names = (column_name(index) for index in range(len(self.run.schema.columns)))
        tables = {name: self.kept.get(f"encoders.{name}.table.weight") for name in names}
        return {name: table.shape[1] for name, table in tables.items() if table is not None}

    @property
    def _without_marks(self) -> set[str]:
        return {
            column_name(index)
            for index, column in enumerate(self.run.schema.columns)
            if isinstance(column, NumberColumn) and not self.run.encoding.columns[column.name].gaps
        }


def _places(schema: Schema, tables: Mapping[str, int], total: int) -> dict[str, slice]:
    """Encoder -> the features that are its own. tables: widths of embeddings; pictures share what is left."""
    names = [column_name(index) for index in range(len(schema.columns))]
    widths = {name: tables.get(name, NumberEncoder.width) for name in names}
    pictures = [input_name(index) for index in range(len(schema.images))]
    each = (total - sum(widths.values())) // max(1, len(pictures))
    widths = {**dict.fromkeys(pictures, each), **widths}
    ends = np.cumsum([*widths.values()]).tolist()
    return {name: slice(end - widths[name], end) for name, end in zip(widths, ends, strict=True)}


def _put(into: torch.Tensor, values: Floats) -> None:
    into.copy_(torch.from_numpy(np.ascontiguousarray(values)).to(into.dtype))


#: A target's head, and its rows of the last layer: (outputs, features) and (outputs,).
LastRows = tuple[Head, NDArray[np.float64], NDArray[np.float64]]


def _rows(run: OpenedNetwork, weight: Floats, bias: Floats) -> dict[str, LastRows]:
    """Target -> its rows in the run's last layer."""
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
        same = respelled(head.classes, before.classes)
        known |= {name: known[other] for name, other in same.items() if other not in head.classes}
        new = [name for name in head.classes if name not in known]
        both = np.column_stack([weight, bias])
        # A new class is as likely as those that are known, on the mean.
        kept = [both[known[name]] for name in head.classes if name in known]
        mean = np.mean(kept, axis=0) if kept else np.zeros(width + 1)
        taken = np.array([both[known[name]] if name in known else mean for name in head.classes])
        rows = taken[:, :-1], taken[:, -1]
        gone = [name for name in before.classes if name not in {*head.classes, *same.values()}]
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
