"""Labels: what a target's cells mean, decided from the whole table; labels and their weights as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tenfold.data.table import Table, guess_kind, look_alikes
from tenfold.errors import LISTED, SchemaError, TableError
from tenfold.schema import CategoryTarget, Schema, UndecidedTarget


def decide_targets(schema: Schema, table: Table) -> Schema:
    """Settle the kind of every target whose kind was not said, from the whole column.

    Raises SchemaError where a column could as well be a number as a class, and for a schema without a target
    or with one that a network cannot have.
    """
    if not schema.targets:
        raise SchemaError("what to predict is not said", fix="name a target: --target COLUMN")
    decided: list[CategoryTarget] = []
    for target in schema.targets:
        if isinstance(target, UndecidedTarget):
            kind, sentence = guess_kind(table, target.name)
            # A column without any label is refused below, with a better word.
            if kind != "category" and not table.missing(target.name).all():
                raise SchemaError(
                    f"{table.source}: target {sentence}",
                    fix=f"give --target {target.name}:category to predict its values as classes",
                )
            target = CategoryTarget(name=target.name)
        if not isinstance(target, CategoryTarget):
            raise SchemaError(
                f"target {target.name!r} is a {target.kind}, which needs two id columns",
                fix="give --user and --item for a recommender, or a target of kind category",
            )
        decided.append(target)
    return schema.model_copy(update={"targets": tuple(decided)})


def fit_classes(schema: Schema, table: Table) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """Target -> class names, decided from the whole table, before any split; and notes, one a line.

    Raises SchemaError for a target without labels or with one class only.
    """
    classes: dict[str, tuple[str, ...]] = {}
    notes: list[str] = []
    for target in schema.categories:
        names, said = _class_list(target, table)
        classes[target.name] = names
        notes += said
    return classes, notes


def _class_list(target: CategoryTarget, table: Table) -> tuple[tuple[str, ...], list[str]]:
    codes, words = table.codes(target.name)
    missing = table.missing(target.name)
    counts = np.bincount(codes[~missing], minlength=len(words))
    found = {str(word): int(count) for word, count in zip(words, counts, strict=True) if count}
    absent = int(missing.sum())
    if not found:
        raise SchemaError(
            f"{table.source}: column {target.name!r} (target) has no label in any of {table.rows} rows",
            fix="name another target, or fill the column",
        )
    names = target.classes or tuple(sorted(found, key=_natural))
    unlisted = [name for name in found if name not in names]
    if unlisted:
        raise SchemaError(
            f"{table.source}: column {target.name!r} has labels outside its class list",
            problems=[f"{name!r}: {found[name]} rows" for name in unlisted],
            found=f"the list is {', '.join(names)}",
            fix="mend the labels, or add them to the list",
        )
    if len(names) < 2:
        raise SchemaError(
            f"{table.source}: column {target.name!r} (target) has one class only: {', '.join(names)!r}",
            fix="name a target that differs between rows",
        )
    notes = [f"{target.name}: {len(names)} classes: {shortened(names)}"]
    if absent:
        notes.append(f"{target.name}: {absent} of {table.rows} labels missing")
    for group in look_alikes(list(found)):
        notes.append(f"{target.name}: look-alikes {' / '.join(group)} are kept as different classes")
    single = [name for name, count in found.items() if count == 1]
    if single:
        notes.append(f"{target.name}: 1 row only: {shortened(single)}")
    return names, notes


def _natural(name: str) -> tuple[int, float, str]:
    """Whole numbers in order of size, before all other names in order of spelling."""
    plain = name.lstrip("-")
    if plain.isascii() and plain.isdecimal():
        # As a float: one of hundreds of digits is then infinite, where int would refuse or overflow.
        return 0, float(name) if name.count("-") <= 1 else 0.0, name
    return 1, 0.0, name


def shortened(names: Sequence[str]) -> str:
    """The names, or the first ten and how many more."""
    rest = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(str(name) for name in names[:LISTED]) + rest


def label_arrays(
    classes: Mapping[str, tuple[str, ...]], schema: Schema, table: Table
) -> tuple[dict[str, NDArray[np.int64]], dict[str, NDArray[np.float64]], list[str]]:
    """Labels and weights of every target, and notes on labels that are no class of the run.

    Row weights are relative: they are scaled by a power of two, which is exact, so that the largest is in
    [1, 2) and no loss overflows or vanishes; what is then below 2**-100 is 0.
    """
    labels: dict[str, NDArray[np.int64]] = {}
    weights: dict[str, NDArray[np.float64]] = {}
    notes: list[str] = []
    row_weights = _row_weights(schema, table)
    for target in schema.categories:
        codes, unknown = class_codes(table, target.name, classes[target.name])
        for word, count in unknown.items():
            notes.append(f"{target.name}: {word!r} is no class of this run ({count} rows)")
        counts = np.bincount(codes[codes >= 0], minlength=len(classes[target.name]))
        if not counts.any():
            raise SchemaError(
                f"{table.source}: no usable row has a label of column {target.name!r} (target)",
                fix="mend the rows that have one, or name another target",
            )
        absent = [name for name, rows in zip(classes[target.name], counts, strict=True) if not rows]
        if absent:
            notes.append(f"{target.name}: no row is labelled {shortened(absent)}")
        labels[target.name] = codes
        weights[target.name] = np.where(codes >= 0, row_weights, 0.0)
    return labels, weights, notes


def class_codes(
    table: Table, column: str, classes: Sequence[str]
) -> tuple[NDArray[np.int64], dict[str, int]]:
    """Class index of each row by name, -1 where missing or unknown; and the unknown names with counts."""
    codes, words = table.codes(column)
    place = {name: position for position, name in enumerate(classes)}
    lookup = np.array([place.get(str(word), -1) for word in words], dtype=np.int64)
    missing = table.missing(column)
    labels = np.where(missing, -1, lookup[codes]) if len(words) else np.full(table.rows, -1, dtype=np.int64)
    counts = np.bincount(codes[~missing], minlength=len(words))
    unknown = {
        str(word): int(count)
        for word, count in zip(words, counts, strict=True)
        if count and str(word) not in place
    }
    return labels, unknown


def _row_weights(schema: Schema, table: Table) -> NDArray[np.float64]:
    if schema.weight is None:
        return np.ones(table.rows)
    weights = table.numbers(schema.weight)
    bad = np.flatnonzero(~np.isfinite(weights) | (weights < 0))
    if len(bad):
        raise TableError(
            f"{table.source}: column {schema.weight!r} (weight) needs numbers from 0 up",
            problems=table.places(schema.weight, bad),
            fix="mend these cells, or leave the weight column out",
        )
    largest = weights.max(initial=0.0)
    if not largest > 0:
        raise TableError(
            f"{table.source}: column {schema.weight!r} (weight) is 0 in every row: nothing would be learnt",
            fix="give some rows a weight, or leave the weight column out",
        )
    scaled = np.ldexp(weights, 1 - np.frexp(largest)[1])
    return np.where(scaled < 2.0**-100, 0.0, scaled)


def balanced_weights(
    labels: Mapping[str, NDArray[np.int64]],
    weights: Mapping[str, NDArray[np.float64]],
    classes: Mapping[str, tuple[str, ...]],
    train: NDArray[np.int64],
) -> tuple[dict[str, NDArray[np.float64]], list[str]]:
    """Multiply each row's weight by rows / (classes x rows of its class), counted on the training rows.

    A class without a training row keeps weight 1: it can meet no training row, and validation must
    stay finite. Returns the weights and notes that name such classes.
    """
    balanced, notes = dict(weights), []
    for target, codes in labels.items():
        names = classes[target]
        known = codes[train]
        counts = np.bincount(known[known >= 0], minlength=len(names))
        balance = np.where(counts > 0, counts.sum() / (len(names) * np.maximum(counts, 1)), 1.0)
        for name in np.array(names, dtype=object)[counts == 0]:
            notes.append(f"{target}: class {name!r} has no training row; its weight stays 1")
        balanced[target] = balanced[target] * np.where(codes >= 0, balance[codes], 0.0)
    return balanced, notes
