"""The image wing: a table and its pictures made ready for a training, and checked before it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tenfold.data.encode import Encoding, Examples, PickedImages, encode, fit_encoding
from tenfold.data.labels import balanced_weights, decide_targets, shortened
from tenfold.data.split import Split, given, holdout
from tenfold.errors import (
    ImageError,
    RecipeError,
    SplitError,
    did_you_mean,
    listed,
)
from tenfold.jobs.inputs import Reading, Rows, prepare_rows, read_source
from tenfold.nn.encoders import preprocessing_of
from tenfold.nn.network import Network, build_network
from tenfold.recipe import Recipe
from tenfold.schema import Schema
from tenfold.store.weights import read_weights


class Notes:
    """What was decided: kept for the run folder, and told once, as it happens."""

    def __init__(self, tell: Callable[[str], None] | None) -> None:
        self.lines: list[str] = []
        self._tell = tell

    def add(self, lines: list[str] | tuple[str, ...]) -> None:
        """Keep these lines and tell them."""
        for line in lines:
            self.lines.append(line)
            if self._tell is not None:
                self._tell(line)


@dataclass
class TrainingWork:
    """What a training is made of."""

    schema: Schema
    encoding: Encoding
    examples: Examples
    split: Split
    network: Network
    identity: dict[str, Any]
    summary: list[str]


def prepare_training(
    schema: Schema, recipe: Recipe, source: Any, reading: Reading, notes: Notes
) -> TrainingWork:
    """Read, check, split and encode the rows, and build the network; nothing is trained yet."""
    preprocessing = preprocessing_of(recipe.arch)
    table, reading = read_source(source, schema, reading)
    schema.check_columns(table.names, table.source)
    schema = decide_targets(schema, table)
    _check_task_weights(schema, recipe)
    encoding, said = fit_encoding(
        schema,
        recipe,
        table,
        mean=preprocessing.mean,
        std=preprocessing.std,
        interpolation=preprocessing.interpolation,
    )
    weights = read_weights(recipe.weights) if recipe.weights not in ("hub", "none") else None
    # Built before the pictures are decoded: a wrong size or weights file is refused in a second.
    network, built = build_network(
        encoding, schema, recipe, weights=weights, weights_name=Path(recipe.weights).name
    )
    rows = prepare_rows(table, schema, encoding, reading, targets=True)
    notes.add([*rows.notes, *said])
    rows = _usable(rows)
    encoding = encoding.model_copy(update={"white": rows.white})
    examples, said = encode(encoding, schema, rows.table, rows.caches, ids=rows.ids)
    notes.add([*said, *_conflicts(rows, schema, examples)])
    split = _split(schema, recipe, rows, examples, encoding)
    notes.add(split.notes)
    if recipe.class_weights == "balanced":
        weights, said = balanced_weights(examples.labels, examples.weights, encoding.classes, split.train)
        examples = replace(examples, weights=weights)
        notes.add(said)
    return TrainingWork(
        schema,
        encoding,
        examples,
        split,
        network,
        _identity(schema, recipe, encoding, rows, examples, split),
        built,
    )


def _check_task_weights(schema: Schema, recipe: Recipe) -> None:
    names = [target.name for target in schema.categories]
    strange = [name for name in recipe.task_weights if name not in names]
    if strange:
        raise RecipeError(
            f"task_weights names {strange[0]!r}, which is no target", fix=did_you_mean(strange[0], names)
        )
    if all(recipe.task_weights.get(name) == 0 for name in names):
        raise RecipeError("task_weights gives no target any weight", fix="weigh one target at least above 0")


def _usable(rows: Rows) -> Rows:
    if not rows.bad:
        if not len(rows.ids):
            raise ImageError(f"{rows.table.source} has no rows", fix="give a table with at least two rows")
        return rows
    good = np.array([row for row in range(len(rows.ids)) if row not in rows.bad], dtype=np.int64)
    if not len(good):
        raise ImageError(f"{rows.table.source}: no row has a usable picture", fix="check the image folder")
    return Rows(
        rows.table.take(good),
        rows.ids[good],
        tuple(PickedImages(cache, good) for cache in rows.caches),
        rows.white,
        {},
        tuple(content[good] for content in rows.contents),
        rows.notes,
    )


def _conflicts(rows: Rows, schema: Schema, examples: Examples) -> list[str]:
    """Repeats of one picture, counted; and those whose labels contradict each other, by name."""
    _, place, counts = np.unique(rows.content, return_inverse=True, return_counts=True)
    repeated = np.flatnonzero(counts[place] > 1)
    if not len(repeated):
        return []
    # Where a column states the split, `_straddlers` says which do not.
    stay = "" if schema.split else "; a picture's rows stay on one side of the split"
    notes = [f"{len(repeated)} rows show {int((counts > 1).sum())} pictures more than once{stay}"]
    for target in schema.targets:
        words = rows.table.text(target.name)
        known = examples.labels[target.name] >= 0
        seen: dict[int, dict[str, str]] = {}
        for row in repeated:
            if known[row]:
                seen.setdefault(int(place[row]), {}).setdefault(str(words[row]), str(rows.ids[row]))
        clashes = [names for names in seen.values() if len(names) > 1]
        told = [f"{next(iter(names.values()))}: {', '.join(sorted(names))}" for names in clashes]
        if told:
            notes.append(f"{target.name}: {len(told)} pictures have labels that contradict each other")
            notes += listed(told)
    return notes


def _split(schema: Schema, recipe: Recipe, rows: Rows, examples: Examples, encoding: Encoding) -> Split:
    # A row without a group (an empty cell) stands for itself.
    groups = [*rows.contents, *(rows.table.text(name) for name in schema.group)]
    classes = {name: encoding.classes[name] for name in examples.labels}
    if schema.split is not None:
        split = given(
            rows.table.text(schema.split),
            column=schema.split,
            source=rows.table.source,
            lines=rows.table.lines,
            labels=examples.labels,
            classes=classes,
        )
        return replace(split, notes=(*split.notes, *_straddlers(schema, rows, split)))
    split = holdout(
        len(rows.ids),
        fraction=recipe.valid,
        seed=recipe.seed,
        labels=examples.labels,
        classes=classes,
        groups=groups,
    )
    if not len(split.train):
        raise SplitError(
            f"no row is left to train on: {len(rows.ids)} rows, {recipe.valid} of them held out",
            fix="a smaller --valid, or more rows",
        )
    return split


def _straddlers(schema: Schema, rows: Rows, split: Split) -> list[str]:
    """What stands on both sides of a split that the table states, and so makes the score too good."""
    keys = [
        (f"pictures of column {column.name!r}", rows.contents[place], rows.table.text(column.name))
        for place, column in enumerate(schema.images)
    ]
    keys += [
        (f"values of column {name!r}", cells, cells)
        for name in schema.group
        for cells in [rows.table.text(name)]
    ]
    notes = []
    for what, key, names in keys:
        known = set(key[split.train]) - {""}
        both = {key[row]: str(names[row]) for row in split.valid if key[row] in known}
        if both:
            notes.append(
                f"{len(both)} {what} stand on both sides of the split, so that its score is too good: "
                f"{shortened(list(both.values()))}"
            )
    return notes


def _identity(
    schema: Schema, recipe: Recipe, encoding: Encoding, rows: Rows, examples: Examples, split: Split
) -> dict[str, Any]:
    """Everything that decides the weights, in JSON's types; data and weights files by their checksums."""
    digest = hashlib.sha256()
    for text in (*rows.ids, *rows.content):
        digest.update(str(text).encode("utf-8", "surrogateescape") + b"\0")
    for name in sorted(examples.labels):
        digest.update(name.encode() + examples.labels[name].tobytes() + examples.weights[name].tobytes())
    digest.update(split.train.tobytes() + b"\0" + split.valid.tobytes())
    chosen = recipe.model_dump(mode="json")
    if Path(recipe.weights).is_file():
        with open(recipe.weights, "rb") as stream:
            chosen["weights"] = hashlib.file_digest(stream, "sha256").hexdigest()
    inputs = [{"name": column.name, "kind": column.kind} for column in schema.inputs]
    settled = {
        "inputs": inputs,
        "classes": {name: list(words) for name, words in encoding.classes.items()},
        "group": list(schema.group),
        "split": schema.split,
        "weight": schema.weight,
    }
    return {"recipe": chosen, "schema": settled, "data": digest.hexdigest()}
