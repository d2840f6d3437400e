"""Prepare and check a table and its pictures for a training."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from pathlib import Path
from typing import TypedDict, Unpack

import numpy as np
import torch
from numpy.typing import NDArray

from tenfold.data.encode import (
    Encoding,
    Examples,
    PickedImages,
    encode,
    encode_columns,
    fit_columns,
    fit_encoding,
)
from tenfold.data.split.groups import linked_groups
from tenfold.data.split.holdout import (
    Classes,
    Labels,
    Split,
    by_time,
    folds_by_time,
    given,
    holdout,
    kfold,
    number_codes,
)
from tenfold.data.split.leaks import leak_notes
from tenfold.data.split.stratify import strata, strata_names
from tenfold.data.tables.cells import look_alikes
from tenfold.data.tables.table import Table
from tenfold.data.tables.times import read_times
from tenfold.engine.monitor import check_defined, check_monitor
from tenfold.errors import (
    LISTED,
    ImageError,
    RecipeError,
    SchemaError,
    SplitError,
    did_you_mean,
    listed,
    shortened,
)
from tenfold.functions import load_function
from tenfold.networks.extra import ExtraPhotos, read_extra
from tenfold.networks.inputs import Rows, open_source, prepare_rows
from tenfold.networks.opened import learned_from, may_have_trained
from tenfold.networks.start import start_columns, start_from
from tenfold.nn.body import body_kind
from tenfold.nn.encoders import preprocessing_of
from tenfold.nn.heads import Head
from tenfold.nn.network import Network, build_heads, build_network
from tenfold.recipe import Recipe, with_defaults_for_rows
from tenfold.runs.folder import file_digest
from tenfold.runs.job import Notes
from tenfold.runs.options import Reading, SplitRule
from tenfold.runs.place import DESCRIBED
from tenfold.runs.rowjoin import row_fingerprints, table_fingerprint
from tenfold.runs.weights import read_weights, weights_file
from tenfold.schema import Schema, target_columns
from tenfold.targets.classweights import (
    ClassWeights,
    check_class_weights,
    class_weighted,
    decide_class_weights,
)
from tenfold.targets.labels import decide_targets, known_rows, standardise, weightless
from tenfold.values import id_text


@dataclass
class TrainingWork:
    """The inputs of a training.

    fingerprints: (rows,) as of `rowjoin.row_fingerprints`.  fingerprint: of `rowjoin.table_fingerprint`.
    extra: photos without labels to learn from, too.
    """

    schema: Schema
    recipe: Recipe
    encoding: Encoding
    examples: Examples
    split: Split
    network: Network
    identity: dict[str, object]
    summary: list[str]
    fingerprints: NDArray[np.object_]
    fingerprint: dict[str, object]
    extra: ExtraPhotos | None = None

    @property
    def rows_per_epoch(self) -> int:
        """How many rows an epoch has: those to train on, and extra photos."""
        return len(self.split.train) + (0 if self.extra is None else len(self.extra.names))


#: What to do instead of naming the format of times.
WITHOUT_TIMES = "leave out --time, and split at random"


def prepare_training(
    schema: Schema,
    recipe: Recipe,
    source: object,
    reading: Reading,
    notes: Notes,
    *,
    split_rule: SplitRule | None = None,
) -> TrainingWork:
    """Read, check, split and encode the rows, and build the network; nothing is trained yet.

    split_rule: splits the rows instead of the recipe's ``valid`` and ``seed``; a split that the table states
    stands all the same.
    """
    # Checked here although the network comes later: a wrong name is refused before a picture is decoded.
    preprocessing = preprocessing_of(recipe.arch)
    table, reading = open_source(schema, source, reading)
    schema = decide_targets(schema, table)
    _check_task_weights(schema, recipe)
    _check_fold(schema, recipe)
    encoding, said = fit_encoding(
        schema,
        recipe,
        table,
        mean=preprocessing.mean,
        std=preprocessing.std,
        interpolation=preprocessing.interpolation,
    )
    class_weights = _class_weights(schema, recipe, encoding)
    build = _builder(recipe)
    body_kind(schema, recipe)
    # Built before the pictures are decoded: a wrong size or weights file is refused in a second.
    early = None if schema.columns else build(encoding, schema, recipe)
    rows = prepare_rows(table, schema, encoding, reading, targets=True)
    notes.add([*rows.notes, *_small_items(recipe), *said])
    rows = _usable(rows)
    encoding = encoding.model_copy(update={"white": rows.white})
    examples, said = encode(encoding, schema, rows.table, rows.caches, ids=rows.ids)
    kin = _kin(schema, rows)
    notes.add([*said, *_conflicts(rows, kin, schema, examples), *kin.linked, *_alike(kin.groups)])
    split = _split(schema, recipe, rows, kin, examples, encoding, split_rule)
    extra, said = read_extra(recipe, schema, encoding, reading, rows, split)
    notes.add([*split.notes, *_straddlers(schema, rows, kin, split), *said])
    recipe = with_defaults_for_rows(recipe, len(split.train))
    if early is None:
        encoding, examples = _with_columns(encoding, schema, recipe, rows.table, split, examples, notes)
    network, built = early or build(encoding, schema, recipe)
    if recipe.batchnorm_group == "frozen":
        network.context.freeze_norms()
    check_monitor(recipe, network.heads, len(split.valid))
    _check_labelled(schema, examples, split)
    if schema.weight is not None and len(split.valid):
        weights = examples.weigh(split.valid)
        notes.add([f"scores are weighted by {schema.weight}"])
        for name, labels in examples.labels.items():
            notes.add(weightless(name, labels[split.valid], weights))
    facts, said = decide_class_weights(
        class_weights, encoding.classes, encoding.targets, examples.labels, examples.weights, split.train
    )
    notes.add(said)
    examples = replace(examples, weights=class_weighted(facts, examples.labels, examples.weights))
    facts = standardise(facts, examples.labels, split.train, examples.weigh(np.arange(examples.rows)))
    encoding = encoding.model_copy(update={"targets": facts})
    # The training rows decided settings of the heads: these are built anew, the layers stay.
    network.heads = build_heads(encoding, schema, recipe)
    _try_own_losses(network.heads, examples, split)
    built = [*built, *start_from(network, recipe, schema, encoding.columns)]
    watched = {name: labels[split.valid] for name, labels in examples.labels.items()}
    check_defined(recipe, network.heads, watched, examples.weigh(split.valid))
    marks = row_fingerprints(rows.table, schema, rows.contents)
    fingerprint = table_fingerprint(rows.table, schema, rows.ids, marks, split.valid)
    notes.add(leak_notes(rows.table, schema, rows.ids, marks, split))
    notes.add(may_have_trained(learned_from(recipe), marks, split.valid, fingerprint))
    return TrainingWork(
        schema,
        recipe,
        encoding,
        examples,
        split,
        network,
        _identity(schema, recipe, encoding, rows, examples, split, extra),
        built,
        marks,
        fingerprint,
        extra,
    )


def _with_columns(
    encoding: Encoding,
    schema: Schema,
    recipe: Recipe,
    table: Table,
    split: Split,
    examples: Examples,
    notes: Notes,
) -> tuple[Encoding, Examples]:
    """The encoding and the rows with the columns of the table itself, whose training rows decide how wide the
    first layers are."""
    columns, said = fit_columns(schema, table, split.train, examples.weigh(split.train))
    columns, known = start_columns(columns, recipe, schema)
    cells, strange = encode_columns(columns, schema, table)
    notes.add([*said, *known, *strange])
    return encoding.model_copy(update={"columns": columns}), replace(examples, columns=cells)


def _builder(recipe: Recipe) -> Callable[[Encoding, Schema, Recipe], tuple[Network, list[str]]]:
    """`build_network` with the weights that the recipe names."""
    file = weights_file(recipe.weights, recipe.arch)
    weights = read_weights(file) if file else None
    return partial(build_network, weights=weights, weights_name=Path(file or "").name)


def _small_items(recipe: Recipe) -> list[str]:
    """A message where pictures are kept smaller than the network sees them."""
    kept, seen = recipe.item_size or recipe.image_size, recipe.image_size
    if kept[0] >= seen[0] and kept[1] >= seen[1]:
        return []
    sides = [f"{height}x{width}" for height, width in (kept, seen)]
    return [f"pictures are kept at {sides[0]} and enlarged to {sides[1]}: a larger --item-size keeps detail"]


def check_choices(schema: Schema, recipe: Recipe, encoding: Encoding) -> None:
    """Refuse a recipe that names unknown targets, classes or scores."""
    _check_task_weights(schema, recipe)
    _check_fold(schema, recipe)
    _class_weights(schema, recipe, encoding)
    check_monitor(
        recipe, build_heads(encoding, schema, recipe), int(recipe.valid > 0 or recipe.fold is not None)
    )


def _check_fold(schema: Schema, recipe: Recipe) -> None:
    if recipe.fold and schema.split is not None:
        raise RecipeError(
            f"fold {recipe.fold[0]} of {recipe.fold[1]} is to be held out, but column {schema.split!r} "
            "states which rows are",
            fix="give either of them",
        )


def _check_task_weights(schema: Schema, recipe: Recipe) -> None:
    if isinstance(recipe.task_weights, str):
        return
    names = [target.name for target in schema.answers]
    strange = [name for name in recipe.task_weights if name not in names]
    if strange:
        raise RecipeError(
            f"task_weights names {strange[0]!r}, which is not a target", fix=did_you_mean(strange[0], names)
        )
    if all(recipe.task_weights.get(name) == 0 for name in names):
        raise RecipeError("task_weights gives no target any weight", fix="weigh at least 1 target above 0")


def _class_weights(schema: Schema, recipe: Recipe, encoding: Encoding) -> ClassWeights:
    """The recipe's class weights with every target by its name."""
    wanted: ClassWeights = recipe.class_weights
    if isinstance(wanted, dict) and "" in wanted:
        names = list(encoding.classes)
        if len(names) != 1:
            raise RecipeError(
                "class_weights does not say of which target",
                found=", ".join(names),
                fix="write TARGET:CLASS=WEIGHT,... and ';' between targets",
            )
        wanted = {name or names[0]: weights for name, weights in wanted.items()}
    check_class_weights(wanted, schema, encoding.classes)
    return wanted


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


@dataclass(frozen=True)
class _Kin:
    """What keeps rows together, whatever the split.

    pictures: per image column, (rows,) equal where the pictures are, in whatever file format.
    groups: column of groups -> (rows,) its texts; a row without one (an empty cell) stands for itself.
    linked: which groups belong together, since pictures link them.
    """

    pictures: tuple[NDArray[np.object_], ...]
    groups: dict[str, NDArray[np.object_]]
    linked: tuple[str, ...]

    @property
    def keys(self) -> list[NDArray[np.object_]]:
        return [*self.pictures, *self.groups.values()]


def _spelled(table: Table, name: str) -> NDArray[np.object_]:
    codes, texts = table.codes(name)
    return np.array([*map(id_text, texts)], dtype=object)[codes]


def _kin(schema: Schema, rows: Rows) -> _Kin:
    pictures = tuple(cache.pictures() for cache in rows.caches)
    # One spelling to a group, as to an id.
    groups = {name: _spelled(rows.table, name) for name in schema.group}
    if schema.split is not None or not groups:
        return _Kin(pictures, groups, ())
    shown = [rows.table.text(column.name) for column in schema.images]
    names = np.array([", ".join(cells) for cells in zip(*shown, strict=True)] or rows.ids, dtype=object)
    return _Kin(pictures, groups, tuple(linked_groups(groups, pictures, names)))


def _alike(groups: Mapping[str, NDArray[np.object_]]) -> list[str]:
    return [
        f"{name}: look-alikes {' / '.join(same)} are different groups"
        for name, cells in groups.items()
        for same in look_alikes([str(word) for word in np.unique(cells) if word])[:LISTED]
    ]


def _conflicts(rows: Rows, kin: _Kin, schema: Schema, examples: Examples) -> list[str]:
    """Count repeated pictures, and name those with labels that contradict each other."""
    if not schema.images:
        # Rows of a few columns are often alike, and that says nothing.
        return []
    _, picture, counts = np.unique(reduce(np.add, kin.pictures), return_inverse=True, return_counts=True)
    repeated = np.flatnonzero(counts[picture] > 1)
    if not len(repeated):
        return []
    notes = [f"{len(repeated)} rows show {int((counts > 1).sum())} pictures more than once"]
    for target in schema.answers:
        columns = [rows.table.text(name, ids=False) for name in target_columns(target)]
        words = [", ".join(cells) for cells in zip(*columns, strict=True)]
        known = known_rows(examples.labels[target.name])
        seen: dict[int, dict[str, str]] = {}
        for row in repeated:
            if known[row]:
                seen.setdefault(int(picture[row]), {}).setdefault(str(words[row]), str(rows.ids[row]))
        clashes = [names for names in seen.values() if len(names) > 1]
        told = [f"{next(iter(names.values()))}: {', '.join(sorted(names))}" for names in clashes]
        if told:
            notes.append(f"{target.name}: {len(told)} pictures have labels that contradict each other")
            notes += listed(told)
    return notes


def _split(
    schema: Schema,
    recipe: Recipe,
    rows: Rows,
    kin: _Kin,
    examples: Examples,
    encoding: Encoding,
    rule: SplitRule | None,
) -> Split:
    classes = strata_names(schema, encoding.classes)
    labels = strata(examples.labels, number_codes)
    if schema.split is not None:
        stated = given(
            rows.table.text(schema.split),
            column=schema.split,
            source=rows.table.source,
            lines=rows.table.lines,
            unit=rows.table.unit,
            labels=labels,
            classes=classes,
        )
        if schema.time is None:
            return stated
        return replace(
            stated, notes=(*stated.notes, f"{schema.time} is not used: {schema.split} says the split")
        )
    if rule is None:
        rule = partial(_drawn, schema, recipe, rows)
    try:
        split = rule(len(rows.ids), labels=labels, classes=classes, groups=kin.keys)
    except SplitError as error:
        if not kin.linked:
            raise
        raise SplitError(error.headline, problems=[*error.problems, *kin.linked], **error.labels) from None
    if not len(split.train):
        raise SplitError(
            f"no row is left to train on: {len(rows.ids)} rows, {recipe.valid} of them held out",
            fix="a smaller --valid, or more rows",
        )
    return split


#: Rows that an own loss is tried on.
TRIED_ROWS = 8


def _try_own_losses(heads: Iterable[Head], examples: Examples, split: Split) -> None:
    """Try every target's own loss and metric on some labelled training rows before anything is trained."""
    for head in heads:
        weights = examples.weights[head.name]
        labelled = np.asarray((weights > 0).reshape(len(weights), -1).any(axis=1))
        rows = split.train[labelled[split.train]][:TRIED_ROWS]
        labels = examples.labels[head.name][rows]
        head.check_own_loss(torch.from_numpy(labels), torch.from_numpy(weights[rows]))
        if head.target.metric is not None:
            if examples.importance is not None:
                raise SchemaError(
                    f"{head.name} has a metric of its own, which knows no weights of rows",
                    fix="leave out the metric, or the column of weights",
                )
            load_function(head.target.metric)
            answers = head.probabilities(torch.zeros(len(rows), head.outputs)).numpy()
            head.own_score(answers, labels)


def _check_labelled(schema: Schema, examples: Examples, split: Split) -> None:
    """Refuse a target without any label among the training rows."""
    for target in schema.answers:
        counts = examples.weights[target.name] > 0
        if counts[split.train].any():
            continue
        known = int(known_rows(examples.labels[target.name])[split.train].sum())
        raise SplitError(
            f"target {target.name!r} has no label in any of {len(split.train)} training rows"
            + (f" of a weight above 0 ({known} of weight 0)" if known else ""),
            found=f"{int(counts.reshape(len(counts), -1).any(axis=1).sum())} labelled rows are held out",
            fix="split the rows in another way, or leave that target out",
        )


class _Facts(TypedDict):
    """What a way of splitting is told of the rows; see `holdout`."""

    labels: Labels | None
    classes: Classes | None
    groups: Sequence[NDArray[np.object_]]


def _drawn(schema: Schema, recipe: Recipe, rows: Rows, count: int, **facts: Unpack[_Facts]) -> Split:
    """Hold out a fold, or a fraction of the rows; by time where the schema names a column of times."""
    seed = recipe.seed if recipe.split_seed is None else recipe.split_seed
    said: Sequence[str] = ()
    if schema.time is not None:
        times, said = read_times(rows.table, schema.time, schema.time_format, without=WITHOUT_TIMES)
        where = {"source": rows.table.source, "lines": rows.table.lines}
        if recipe.fold is None:
            split = by_time(times, fraction=recipe.valid, **facts, **where)
            return replace(split, notes=(*said, *split.notes))
        folds = folds_by_time(times, folds=recipe.fold[1], groups=facts["groups"], **where)
    elif recipe.fold is None:
        return holdout(count, fraction=recipe.valid, seed=seed, **facts)
    else:
        folds = kfold(count, folds=recipe.fold[1], seed=seed, **facts)
    fold, number = recipe.fold
    note = f"fold {fold} of {number} is held out"
    return replace(folds.split(fold - 1), notes=(*said, note, *folds.notes))


def _straddlers(schema: Schema, rows: Rows, kin: _Kin, split: Split) -> list[str]:
    """Name what is on both sides of the split, and so makes its score too good; or say that nothing is."""
    if not len(split.valid):
        return []
    # A picture may stand in several columns; its rows are then not kept together.
    seen = {str(mark) for key in kin.pictures for mark in key[split.train]}
    keys = [
        (f"pictures of column {column.name!r}", kin.pictures[index], rows.table.text(column.name), seen)
        for index, column in enumerate(schema.images)
    ]
    keys += [
        (f"values of column {name!r}", cells, cells, set(cells[split.train]))
        for name, cells in kin.groups.items()
    ]
    notes = []
    for what, key, names, known in keys:
        both = {key[row]: str(names[row]) for row in split.valid if key[row] and key[row] in known}
        if both:
            notes.append(
                f"{len(both)} {what} stand on both sides of the split, so that its score is too good: "
                f"{shortened(list(both.values()))}"
            )
    if notes:
        return notes
    held = ["a picture's rows stay on one side of the split"] if _repeats(kin.pictures) else []
    return [*held, *(f"rows of one {name} stay on one side of the split" for name in kin.groups)]


def _repeats(pictures: Sequence[NDArray[np.object_]]) -> bool:
    return any(len(np.unique(shown[shown != ""])) < int((shown != "").sum()) for shown in pictures)


def _identity(
    schema: Schema,
    recipe: Recipe,
    encoding: Encoding,
    rows: Rows,
    examples: Examples,
    split: Split,
    extra: ExtraPhotos | None,
) -> dict[str, object]:
    """Everything that decides the weights, in JSON's types; data and weights files by their checksums."""
    digest = hashlib.sha256()
    for text in (*rows.ids, *rows.content):
        digest.update(str(text).encode("utf-8", "surrogateescape") + b"\0")
    for name in sorted(examples.labels):
        digest.update(name.encode() + examples.labels[name].tobytes() + examples.weights[name].tobytes())
    for name in sorted(examples.columns):
        digest.update(name.encode() + examples.columns[name].tobytes())
    digest.update(split.train.tobytes() + b"\0" + split.valid.tobytes())
    for content in () if extra is None else extra.content:
        digest.update(str(content).encode() + b"\0")
    inputs = [{"name": column.name, "kind": column.kind} for column in schema.inputs]
    settled = {
        "inputs": inputs,
        "classes": {name: list(words) for name, words in encoding.classes.items()},
        "targets": [target.model_dump(mode="json", exclude_none=True) for target in schema.answers],
        "group": list(schema.group),
        "split": schema.split,
        "weight": schema.weight,
    }
    return {"recipe": choices_identity(schema, recipe), "schema": settled, "data": digest.hexdigest()}


def choices_identity(schema: Schema, recipe: Recipe) -> dict[str, object]:
    """The recipe in JSON's types, with files of weights by their checksums."""
    chosen = recipe.model_dump(mode="json")
    file = weights_file(recipe.weights, recipe.arch) if schema.images else None
    if file and Path(file).is_file():
        chosen["weights"] = file_digest(Path(file))
    if recipe.start:
        chosen["start"] = file_digest(Path(recipe.start) / "weights.safetensors")
    if recipe.teacher:
        chosen["teacher"] = file_digest(Path(recipe.teacher) / DESCRIBED)
    return chosen
