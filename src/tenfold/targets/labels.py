"""Labels: what a target's cells mean, decided from the whole table; labels and their weights as arrays.

Labels of one target are, by its kind:

- ``category``, ``ordered``: (rows,) int64 class index, -1 where missing or no class of the run;
- ``open``: the same, and the number of classes where the row belongs to none of them;
- ``multilabel``: (rows, classes) int64 of 0 and 1, -1 where not known;
- ``number``: (rows,) float64, NaN where missing.

Weights are (rows,), or (rows, classes) where each class is a question of its own; 0 where nothing is known.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tenfold.data.tables.cells import alike_known, natural_order, respelled, shortened
from tenfold.data.tables.table import Table, guess_kind, look_alikes
from tenfold.errors import LISTED, SchemaError, TableError
from tenfold.schema import (
    CategoryTarget,
    Frozen,
    MultiLabelTarget,
    NetworkTarget,
    NumberTarget,
    OpenTarget,
    OrderedTarget,
    Schema,
    UndecidedTarget,
    target_columns,
)

#: What may stand between the tags of a cell, in the order in which it is looked for.
SEPARATORS = (";", "|", ",", " ")
#: A column with more different numbers has no step that its range could be stretched by half of.
MOST_STEPS = 50
#: Numbers of a larger size, or all of a smaller one than its inverse, leave no room to calculate in.
LARGEST = 1e300
#: How a column of a class says yes and no.
YES, NO = ("1", "1.0", "true", "yes"), ("0", "0.0", "false", "no")

Classes = Mapping[str, tuple[str, ...]]
Labels = NDArray[Any]
Weights = NDArray[np.float64]


class TargetStats(Frozen):
    """What was decided of one target besides its classes, and is needed to read an answer again.

    separator: between the tags of a cell.
    mean, deviation: of a number's training labels, which are standardised by them.
    low, high: where the sigmoid of a bounded number ends: its range and the stretch.
    thresholds: per class, the least probability of a yes; 0.5 where there are none (not tuned yet).
    temperature: what the raw outputs are divided by, so that probabilities are calibrated.
    yes_weights: per class, what a row of it, or a yes to it, counts in the loss; 1 where there are none.
    no_weights: where each class is a question of its own, what a no counts.
    """

    refusal: ClassVar = SchemaError

    separator: str = ""
    mean: float = 0.0
    deviation: float = 1.0
    low: float | None = None
    high: float | None = None
    thresholds: tuple[float, ...] = ()
    temperature: float = 1.0
    yes_weights: tuple[float, ...] = ()
    no_weights: tuple[float, ...] = ()


# --- kinds -------------------------------------------------------------------------------------------


def decide_targets(schema: Schema, table: Table) -> Schema:
    """Settle the kind of every target whose kind was not said, from the whole column.

    Raises SchemaError where a column could as well be a number as a class, and for a schema without a target
    or with one that a network cannot have.
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
    """Classes and facts of every target, decided from the whole table, before any split; and notes.

    classes: target -> class names, of the kinds that have any.
    Raises SchemaError for a target without labels, or with one class only where two are needed.
    """
    classes: dict[str, tuple[str, ...]] = {}
    facts: dict[str, TargetStats] = {}
    notes: list[str] = []
    for target in schema.answers:
        if isinstance(target, NumberTarget):
            facts[target.name], said = _fit_number(target, table)
        elif isinstance(target, MultiLabelTarget):
            classes[target.name], facts[target.name], said = _fit_tags(target, table)
        else:
            classes[target.name], said = _class_list(target, table)
            facts[target.name] = TargetStats()
        notes += said
    return classes, facts, notes


# --- classes -----------------------------------------------------------------------------------------


def _class_list(
    target: CategoryTarget | OpenTarget | OrderedTarget, table: Table
) -> tuple[tuple[str, ...], list[str]]:
    codes, words = table.codes(target.name)
    missing = table.missing(target.name)
    counts = np.bincount(codes[~missing], minlength=len(words))
    found = {str(word): int(count) for word, count in zip(words, counts, strict=True) if count}
    absent = int(missing.sum())
    if not found:
        raise _no_labels(target.name, table)
    none = target.none if isinstance(target, OpenTarget) else ""
    nothing = found.pop(none, 0)
    numbers = isinstance(target, OrderedTarget) and all(map(_NUMBER.fullmatch, found))
    names = target.classes or tuple(sorted(found, key=float if numbers else natural_order))
    _check_list(target, table, names, found)
    notes = [f"{target.name}: {len(names)} classes: {shortened(names)}"]
    if isinstance(target, OrderedTarget):
        notes = [f"{target.name}: {len(names)} classes in order: {' < '.join(names[:LISTED])}"]
    if none:
        notes.append(f"{target.name}: {nothing} rows belong to none of them ({none!r})")
    if absent:
        notes.append(f"{target.name}: {absent} of {table.rows} labels missing")
    return names, notes + _class_notes(target.name, found)


def _check_list(
    target: CategoryTarget | OpenTarget | OrderedTarget,
    table: Table,
    names: Sequence[str],
    found: Mapping[str, int],
) -> None:
    name = target.name
    _check_unlisted(name, table, names, found)
    if len(names) < (1 if isinstance(target, OpenTarget) else 2):
        raise SchemaError(
            f"{table.source}: column {name!r} (target) has one class only: {', '.join(names)!r}",
            fix="name a target that differs between rows",
        )
    if isinstance(target, CategoryTarget) and target.two and len(names) != 2:
        raise SchemaError(
            f"{table.source}: column {name!r} (target) has {len(names)} classes, not two",
            found=shortened(names),
            fix=f"give --target {name}:category, or mend the labels",
        )
    if isinstance(target, OrderedTarget) and target.classes is None:
        words = [one for one in names if not _NUMBER.fullmatch(one)]
        if words:
            raise SchemaError(
                f"{table.source}: the order of column {name!r} (target) is not known: "
                f"{shortened(list(map(repr, words)))} is no number",
                fix=f"say it, the lowest first: --target '{name}:ordered[{'<'.join(names[:LISTED])}]'",
            )


def _check_unlisted(name: str, table: Table, names: Sequence[str], found: Mapping[str, int]) -> None:
    unlisted = [one for one in found if one not in names]
    if unlisted:
        raise SchemaError(
            f"{table.source}: column {name!r} has labels outside its class list",
            problems=[f"{one!r}: {found[one]} rows" for one in unlisted],
            found=f"the list is {', '.join(names)}",
            fix="mend the labels, or add them to the list",
        )


def _class_notes(target: str, found: Mapping[str, int]) -> list[str]:
    notes = [
        f"{target}: look-alikes {' / '.join(group)} are kept as different classes"
        for group in look_alikes(list(found))
    ]
    for mark in SEPARATORS[:2]:
        if 2 * sum(mark in name for name in found) > len(found):
            notes.append(
                f"{target}: most labels hold {mark!r}; if each lists several, give "
                f"--target {target}:multilabel"
            )
    single = [name for name, count in found.items() if count == 1]
    return [*notes, f"{target}: 1 row only: {shortened(single)}"] if single else notes


def _no_labels(target: str, table: Table) -> SchemaError:
    return SchemaError(
        f"{table.source}: column {target!r} (target) has no label in any of {table.rows} rows",
        fix="name another target, or fill the column",
    )


_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")


# --- tags --------------------------------------------------------------------------------------------


def _fit_tags(target: MultiLabelTarget, table: Table) -> tuple[tuple[str, ...], TargetStats, list[str]]:
    name = target.name
    if target.columns:
        labels = _yes_and_no(target, table)
        if not (labels >= 0).any():
            raise _no_labels(", ".join(target.columns), table)
        known, yes = (labels >= 0).sum(axis=0), (labels == 1).sum(axis=0)
        counts = [f"{one} {a} of {b}" for one, a, b in zip(target.columns, yes, known, strict=True)]
        return target.columns, TargetStats(), [f"{name}: yes in {shortened(counts)}"]
    codes, words = table.codes(name)
    counts = np.bincount(codes[~table.missing(name)], minlength=len(words))
    cells = {str(word): int(count) for word, count in zip(words, counts, strict=True) if count}
    if not cells:
        raise _no_labels(name, table)
    nothing = cells.pop(target.none, 0)
    separator = target.separator or next(
        (one for one in SEPARATORS if any(one in cell for cell in cells)), ""
    )
    found: dict[str, int] = {}
    for cell, count in cells.items():
        for tag in _tags(cell, separator):
            found[tag] = found.get(tag, 0) + count
    names = target.classes or tuple(sorted(found, key=natural_order))
    _check_unlisted(name, table, names, found)
    if not names:
        raise _no_labels(name, table)
    how = "nothing stands between two tags: one a cell"
    if separator:
        how = f"tags are separated by {'blanks' if separator == ' ' else repr(separator)}"
    notes = [f"{name}: {len(names)} classes: {shortened(names)}; {how}"]
    if target.none:
        notes.append(f"{name}: {nothing} rows have no tag ({target.none!r})")
    absent = int(table.missing(name).sum())
    if absent:
        said = "" if target.none else "; an empty cell is a missing label (give none=WORD for 'no tag')"
        notes.append(f"{name}: {absent} of {table.rows} labels missing{said}")
    return names, TargetStats(separator=separator), notes + _class_notes(name, found)


def _tags(cell: str, separator: str) -> list[str]:
    if not separator:
        return [cell]
    parts = cell.split() if separator == " " else cell.split(separator)
    return list(dict.fromkeys(part.strip() for part in parts if part.strip()))


def _yes_and_no(target: MultiLabelTarget, table: Table) -> NDArray[np.int64]:
    """(rows, columns) 0, 1, or -1 where the cell is empty."""
    found, problems = np.full((table.rows, len(target.columns)), -1, dtype=np.int64), []
    for place, column in enumerate(target.columns):
        codes, words = table.codes(column)
        known = {**dict.fromkeys(NO, 0), **dict.fromkeys(YES, 1), "": -1}
        lookup = np.array([known.get(str(word).lower(), -2) for word in words], dtype=np.int64)
        values = lookup[codes] if len(words) else np.full(table.rows, -1, dtype=np.int64)
        found[:, place] = np.where(table.missing(column), -1, values)
        problems += table.places(column, np.flatnonzero(found[:, place] == -2))
    if problems:
        raise TableError(
            f"{table.source}: columns of a multilabel target hold 0 and 1 (or yes and no, true and false)",
            problems=problems,
            fix="mend these cells; leave those empty that are not known",
        )
    return found


def _tag_table(
    target: MultiLabelTarget, facts: TargetStats, classes: Sequence[str], table: Table
) -> tuple[NDArray[np.int64], dict[str, int], NDArray[np.bool_]]:
    """(rows, classes) labels; tags that are no class, with counts; and the rows that have one of these."""
    if target.columns:
        return _yes_and_no(target, table), {}, np.zeros(table.rows, dtype=bool)
    codes, words = table.codes(target.name)
    counts = np.bincount(codes, minlength=len(words))
    place = {name: position for position, name in enumerate(classes)}
    tags = {tag for word in words for tag in _tags(str(word), facts.separator)}
    place |= {tag: place[one] for tag, one in respelled(tags, classes).items()}
    rows = np.zeros((len(words), len(classes)), dtype=np.int64)
    strange = np.zeros(len(words), dtype=bool)
    unknown: dict[str, int] = {}
    for number, word in enumerate(words):
        if word in ("", target.none):
            continue
        for tag in _tags(str(word), facts.separator):
            if tag in place:
                rows[number, place[tag]] = 1
            elif counts[number]:
                unknown[tag] = unknown.get(tag, 0) + int(counts[number])
                strange[number] = True
    if not len(words):
        return np.full((table.rows, len(classes)), -1, dtype=np.int64), {}, np.zeros(table.rows, dtype=bool)
    missing = table.missing(target.name)
    return np.where(missing[:, None], -1, rows[codes]), unknown, strange[codes] & ~missing


# --- numbers -----------------------------------------------------------------------------------------


def _fit_number(target: NumberTarget, table: Table) -> tuple[TargetStats, list[str]]:
    name, values = target.name, table.numbers(target.name)
    there = values[~np.isnan(values)]
    if not len(there):
        raise _no_labels(name, table)
    notes = [f"{name}: a number from {there.min():g} to {there.max():g}"]
    sizes = np.abs(there[there != 0])
    if len(sizes) and (sizes.max() > LARGEST or sizes.max() < 1 / LARGEST):
        raise TableError(
            f"{table.source}: the numbers of column {name!r} (target) reach {sizes.max():g} in size, "
            f"and what is learnt lies from {1 / LARGEST:g} to {LARGEST:g}",
            problems=table.places(name, np.flatnonzero(np.abs(values) == sizes.max())),
            fix="mend these cells, or write the column in another unit",
        )
    facts = TargetStats()
    if target.low is not None and target.high is not None:
        outside = np.flatnonzero((values < target.low) | (values > target.high))
        if len(outside):
            raise TableError(
                f"{table.source}: {name!r} leaves {target.low:g} to {target.high:g} in {len(outside)} rows",
                problems=table.places(name, outside),
                fix="mend these cells, or state a wider range",
            )
        stretch = target.stretch
        if stretch is None:
            stretch = half_step(there, target.low, target.high)
        facts = TargetStats(low=target.low - stretch, high=target.high + stretch)
        notes[0] += (
            f"; answers from {target.low:g} to {target.high:g}, sigmoid from {facts.low:g} to {facts.high:g}"
        )
    if len(there) < table.rows:
        notes.append(f"{name}: {table.rows - len(there)} of {table.rows} labels missing")
    if there.min() == there.max():
        notes.append(f"{name}: all labels are {there.min():g}: nothing to learn")
    return facts, notes


def half_step(values: NDArray[np.float64], low: float, high: float) -> float:
    """Half the smallest step between the column's values; a twentieth of the range where it has no steps."""
    different = np.unique([*values, low, high])
    return float(np.diff(different).min()) / 2 if len(different) <= MOST_STEPS else (high - low) / 20


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
        # Without any spread a unit is as good as another, but for one that is far larger than the number.
        return mean, min(1.0, abs(mean)) or 1.0
    return mean, float(np.ldexp(spread, exponent))


# --- arrays ------------------------------------------------------------------------------------------


def label_arrays(
    classes: Classes, facts: Mapping[str, TargetStats], schema: Schema, table: Table
) -> tuple[dict[str, Labels], dict[str, Weights], list[str]]:
    """Labels and weights of every target, and notes on labels that are no class of the run.

    The weight of a row is that of `relative_weights`.
    """
    labels: dict[str, Labels] = {}
    weights: dict[str, Weights] = {}
    notes: list[str] = []
    own = relative_weights(row_weights(schema, table))
    for target in schema.answers:
        name, names = target.name, classes.get(target.name, ())
        found, unknown, _ = _read(target, names, facts.get(name, TargetStats()), table)
        for word, count in unknown.items():
            notes.append(f"{name}: {word!r} is no class of this run ({count} rows)")
        known = known_rows(found)
        if not known.any():
            column = ", ".join(target_columns(target))
            raise SchemaError(
                f"{table.source}: no usable row has a label of column {column!r} (target)",
                fix="mend the rows that have one, or name another target",
            )
        counts, taught = class_counts(found, len(names)), class_counts(found[own > 0], len(names))
        absent = [one for one, rows in zip(names, counts, strict=True) if not rows]
        if absent:
            notes.append(f"{name}: no row is labelled {shortened(absent)}")
        idle = [one for one, a, b in zip(names, counts, taught, strict=True) if a and not b]
        if idle:
            notes.append(f"{name}: all rows of {shortened(idle)} have weight 0")
        labels[name] = found
        weights[name] = np.where(known, own, 0.0)
        if found.ndim == 2:
            weights[name] = np.where(found >= 0, own[:, None], 0.0)
        elif isinstance(target, OpenTarget):
            # One weight to all questions of a row, without the memory of as many.
            weights[name] = np.broadcast_to(weights[name][:, None], (table.rows, len(names)))
    return labels, weights, notes


def _read(
    target: NetworkTarget, classes: tuple[str, ...], facts: TargetStats, table: Table
) -> tuple[Labels, dict[str, int], NDArray[np.bool_]]:
    """Labels, words that are no class of the run with counts, and the rows that hold such a word."""
    if isinstance(target, NumberTarget):
        return table.numbers(target.name), {}, np.zeros(table.rows, dtype=bool)
    if isinstance(target, MultiLabelTarget):
        return _tag_table(target, facts, classes, table)
    codes, unknown = class_codes(table, target.name, classes)
    if isinstance(target, OpenTarget) and target.none:
        none = table.text(target.name) == target.none
        codes = np.where(none & (codes < 0), len(classes), codes)
        unknown.pop(target.none, None)
    return codes, unknown, (codes < 0) & ~table.missing(target.name)


def scoring_labels(
    target: NetworkTarget, classes: tuple[str, ...], facts: TargetStats, table: Table
) -> tuple[Labels, list[str]]:
    """Labels of rows that a finished run is measured on, where a stranger counts, and notes that name them.

    A word that is no class of the run is beyond the class list: wrong whatever is answered, and for an open
    target right where the answer is none of its classes. An unknown tag is one more column, never answered.
    """
    labels, unknown, strange = _read(target, classes, facts, table)
    says = "right is to answer none" if isinstance(target, OpenTarget) else "count as wrong"
    notes = [
        f"{target.name}: {word!r} is no class of this run: its {count} rows {says}"
        if says == "count as wrong"
        else f"{target.name}: {word!r} is no class of this run ({count} rows): {says}"
        for word, count in unknown.items()
    ]
    notes += alike_known(target.name, unknown, classes)
    if labels.ndim == 2:
        return (np.column_stack([labels, strange.astype(np.int64)]) if strange.any() else labels), notes
    return (np.where(strange, len(classes), labels) if labels.dtype.kind == "i" else labels), notes


def known_rows(labels: Labels) -> NDArray[np.bool_]:
    """(rows,) true where anything is known of the row's label."""
    if labels.dtype.kind == "f":
        return ~np.isnan(labels)
    known = labels >= 0
    return np.asarray(known.any(axis=1)) if labels.ndim == 2 else known


def weightless(name: str, labels: Labels, weights: NDArray[np.float64] | None) -> list[str]:
    """A note where rows have labels of a target, but none of them counts, so that it has no score."""
    known = known_rows(labels)
    if weights is None or not known.any() or weights[known].any():
        return []
    return [f"{name}: all {int(known.sum())} rows that are scored have weight 0: there is no score"]


def class_counts(labels: Labels, classes: int) -> NDArray[np.int64]:
    """(classes,) rows that are labelled with each class."""
    if labels.ndim == 2:
        return (labels == 1).sum(axis=0)
    if labels.dtype.kind == "f":
        return np.zeros(classes, dtype=np.int64)
    return np.bincount(labels[(labels >= 0) & (labels < classes)], minlength=classes)


def label_words(
    target: NetworkTarget, classes: tuple[str, ...], facts: TargetStats, labels: Labels
) -> dict[str, NDArray[Any]]:
    """Column -> labels as the table would have them: words (None where missing), or numbers (NaN)."""
    if labels.dtype.kind == "f":
        return {target.name: labels}
    if isinstance(target, MultiLabelTarget):
        if target.columns:
            return {
                name: np.where(labels[:, place] >= 0, labels[:, place].astype(float), np.nan)
                for place, name in enumerate(target.columns)
            }
        names = np.array(classes, dtype=object)
        join = facts.separator or SEPARATORS[0]
        words = [join.join(names[row == 1]) or target.none if (row >= 0).all() else None for row in labels]
        return {target.name: np.array(words, dtype=object)}
    none = target.none if isinstance(target, OpenTarget) else ""
    return {target.name: np.array([*classes, none, None], dtype=object)[np.where(labels < 0, -1, labels)]}


def class_codes(
    table: Table, column: str, classes: Sequence[str]
) -> tuple[NDArray[np.int64], dict[str, int]]:
    """Class index of each row by name, -1 where missing or unknown; and the unknown names with counts.

    A whole number may be written in another way: see `cells.respelled`.
    """
    codes, words = table.codes(column)
    place = {name: position for position, name in enumerate(classes)}
    place |= {word: place[one] for word, one in respelled(map(str, words), classes).items()}
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
