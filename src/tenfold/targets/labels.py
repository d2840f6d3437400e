"""Labels: what a target's cells mean, decided from the whole table; labels and their weights as arrays.

Labels of one target are, by its kind:

- ``category``, ``ordered``: (rows,) int64 class index, -1 where missing or not a class of the run;
- ``open``: the same, and the number of classes where the row belongs to none of them;
- ``multilabel``: (rows, classes) int64 of 0 and 1, -1 where not known;
- ``number``: (rows,) float64, NaN where missing.

Weights are (rows,), or (rows, classes) where each class is a question of its own; 0 where nothing is known.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tenfold.data.tables.table import Table, guess_kind
from tenfold.errors import SchemaError, TableError, shortened
from tenfold.schema import CategoryTarget, NetworkTarget, NumberTarget, Schema, UndecidedTarget
from tenfold.targets.base import Labels, TargetStats, Weights, as_numbers, class_counts, known_rows
from tenfold.targets.kinds import kind_of, kinds_of

Classes = Mapping[str, tuple[str, ...]]

# --- kinds -------------------------------------------------------------------------------------------


def decide_targets(schema: Schema, table: Table) -> Schema:
    """Settle the kind of every target without a kind, from the whole column.

    Raises SchemaError where a column could as well be a number as a class, and for a schema without a target
    or with a target that a network cannot have.
    """
    if not schema.targets:
        raise SchemaError("what to predict is not said", fix="name a target: --target COLUMN")
    decided: list[NetworkTarget] = []
    for target in schema.targets:
        if isinstance(target, UndecidedTarget):
            target = _decide(target.name, table)
        if not isinstance(target, NetworkTarget):
            raise SchemaError(
                f"target {target.name!r} is a {target.kind}, which needs two id columns",
                fix="give --user and --item for a recommender, or a target of kind category",
            )
        decided.append(target)
    return schema.model_copy(update={"targets": tuple(decided)})


def _decide(name: str, table: Table) -> NetworkTarget:
    kind, sentence = guess_kind(table, name)
    if kind == "number":
        return NumberTarget(name=name)
    # A column without any label is refused later, with a better word.
    if kind != "category" and not table.missing(name).all():
        wish = f"give --target {name}:category to predict its values as classes"
        if kind == "undecided":
            wish += f", {name}:number to predict a quantity, {name}:ordered for grades that have an order"
        raise SchemaError(f"{table.source}: target {sentence}", fix=wish)
    return CategoryTarget(name=name)


def fit_targets(
    schema: Schema, table: Table
) -> tuple[dict[str, tuple[str, ...]], dict[str, TargetStats], list[str]]:
    """Classes and stats of every target, decided from the whole table, before any split; and notes.

    classes: target -> class names, of the kinds that have any.
    Raises SchemaError for a target without labels, or with one class only where two are needed.
    """
    classes: dict[str, tuple[str, ...]] = {}
    stats: dict[str, TargetStats] = {}
    notes: list[str] = []
    for target in schema.answers:
        names, stats[target.name], more = kind_of(target).fit(table)
        classes |= {target.name: names} if names else {}
        notes += more
    return classes, stats, notes


def standardise(
    facts: Mapping[str, TargetStats],
    labels: Mapping[str, Labels],
    train: NDArray[np.int64],
    weights: NDArray[np.float64] | None = None,
) -> dict[str, TargetStats]:
    """The facts with each number's mean and deviation, taken from the training rows alone.

    weights: (rows,) what each row counts; 1 where not given.
    """
    settled = dict(facts)
    for name, values in labels.items():
        if values.dtype.kind == "f":
            values = as_numbers(values)
            rows = train[~np.isnan(values[train])]
            rows = rows if weights is None else rows[weights[rows] > 0]
            if len(rows):
                own = None if weights is None else weights[rows]
                mean, deviation = _mean_and_deviation(values[rows], own)
                settled[name] = facts[name].model_copy(update={"mean": mean, "deviation": deviation})
    return settled


def _mean_and_deviation(
    values: NDArray[np.float64], weights: NDArray[np.float64] | None
) -> tuple[float, float]:
    # Scaled by a power of two, which is exact: squares of 1e200 and of 1e-200 would be infinite and 0.
    exponent = int(np.frexp(np.abs(values).max())[1])
    part = np.ldexp(values, -exponent)
    if weights is None:
        mean, spread = float(part.mean()), float(part.std())
    else:
        mean = float(np.average(part, weights=weights))
        spread = float(np.sqrt(np.average((part - mean) ** 2, weights=weights)))
    mean = float(np.ldexp(mean, exponent))
    if values.min() == values.max() or not spread > 0:
        # Without any spread any unit will do, unless it is far larger than the number.
        return mean, min(1.0, abs(mean)) or 1.0
    return mean, float(np.ldexp(spread, exponent))


# --- arrays ------------------------------------------------------------------------------------------


def label_arrays(
    classes: Classes, facts: Mapping[str, TargetStats], schema: Schema, table: Table
) -> tuple[dict[str, Labels], dict[str, Weights], list[str]]:
    """Labels and weights of every target, and notes on labels that are not a class of the run.

    The weight of a row is that of `relative_weights`.
    """
    labels: dict[str, Labels] = {}
    weights: dict[str, Weights] = {}
    notes: list[str] = []
    own = relative_weights(row_weights(schema, table))
    for kind in kinds_of(schema, classes, facts):
        name, names = kind.name, kind.classes
        own_labels, unknown, _ = kind.read(table)
        for word, count in unknown.items():
            notes.append(f"{name}: {word!r} is not a class of this run ({count} rows)")
        if not known_rows(own_labels).any():
            raise SchemaError(
                f"{table.source}: no usable row has a label of column {', '.join(kind.columns)!r} (target)",
                fix="mend the rows that have a label, or name another target",
            )
        counts, taught = class_counts(own_labels, len(names)), class_counts(own_labels[own > 0], len(names))
        absent = [word for word, rows in zip(names, counts, strict=True) if not rows]
        if absent:
            notes.append(f"{name}: no row is labelled {shortened(absent)}")
        idle = [word for word, a, b in zip(names, counts, taught, strict=True) if a and not b]
        if idle:
            notes.append(f"{name}: all rows of {shortened(idle)} have weight 0")
        labels[name], weights[name] = own_labels, kind.label_weights(own_labels, own)
    return labels, weights, notes


def weightless(name: str, labels: Labels, weights: NDArray[np.float64] | None) -> list[str]:
    """A note where rows have labels of a target, but none of them counts, so that it has no score."""
    known = known_rows(labels)
    if weights is None or not known.any() or weights[known].any():
        return []
    return [f"{name}: all {int(known.sum())} rows that are scored have weight 0: there is no score"]


def row_weights(schema: Schema, table: Table) -> NDArray[np.float64]:
    """(rows,) what each row counts, as its column says; 1 without such a column."""
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
    if len(weights) and not weights.any():
        raise TableError(
            f"{table.source}: every row has weight 0 (column {schema.weight!r}): no row counts",
            fix="give some rows a weight, or leave the weight column out",
        )
    return weights


def relative_weights(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The weights, of which only the ratios count, scaled by a power of two, which is exact: the largest is
    in [1, 2), so that no sum overflows or vanishes, and what is then below 2**-100 is 0."""
    scaled = np.ldexp(weights, 1 - np.frexp(weights.max(initial=0.0))[1])
    return np.where(scaled < 2.0**-100, 0.0, scaled)
