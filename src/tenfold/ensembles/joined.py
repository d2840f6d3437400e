"""Networks joined as one, and what their run folders keep of held-out rows. Loads no torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.data.tables.table import Table, read_table
from tenfold.ensembles.weights import by_name, joined_classes
from tenfold.errors import RunError
from tenfold.networks.opened import OpenedNetwork
from tenfold.runs.heldout import held_out_columns
from tenfold.runs.record import RunRecord
from tenfold.runs.rowjoin import RowMarks
from tenfold.runs.run import Member, OpenedRun
from tenfold.schema import NetworkTarget
from tenfold.targets.base import TargetStats
from tenfold.targets.kinds import kind_of

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class JoinedNetworks(OpenedRun):
    """Many networks as one.

    schema: the inputs, and the targets of all members.  classes: target -> joined classes.
    weights: target -> member -> its share.  notes: what was noticed when the members were joined.
    """

    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    weights: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    members: Sequence[Member[OpenedNetwork]] = field(default=(), kw_only=True)


def blend_of(
    folder: Path,
    members: Sequence[Member[OpenedNetwork]],
    record: RunRecord,
) -> JoinedNetworks:
    """Members as one. Raises RunError where their inputs, or the kinds of a target, differ.

    A target that some members lack is answered by the others. Classes are joined by name; a member gives 0 to
    those that it does not know.
    """
    first = members[0].runs[0]
    problems: list[str] = []
    targets: dict[str, NetworkTarget] = {}
    classes: dict[str, tuple[str, ...]] = {}
    lists: dict[str, dict[str, tuple[str, ...]]] = {}
    for member in members:
        for run in member.runs:
            if [(one.kind, one.name) for one in run.schema.inputs] != [
                (one.kind, one.name) for one in first.schema.inputs
            ]:
                names = ", ".join(one.name for one in run.schema.inputs)
                problems.append(f"{member.name} has the inputs {names}")
            for target in run.schema.answers:
                known = targets.setdefault(target.name, target)
                if known.kind != target.kind:
                    problems.append(
                        f"{member.name}: target {target.name!r} is a {target.kind}, elsewhere a {known.kind}"
                    )
                if target.name in run.encoding.classes:
                    lists.setdefault(target.name, {})[member.name] = run.encoding.classes[target.name]
    notes = []
    for name, each in lists.items():
        classes[name], said = joined_classes(each)
        notes += [f"{name}: {one}" for one in said]
        if said and kind_of(targets[name]).ranked:
            problems.append(f"target {name!r} is ordered, and its members know different classes")
    if problems:
        raise RunError(
            "these runs cannot be blended",
            problems=list(dict.fromkeys(problems)),
            fix="blend runs of the same inputs, whose targets of one name are of one kind",
        )
    for name in targets:
        lacking = [one.name for one in members if name not in _targets(one)]
        if lacking:
            notes.append(f"{name} is answered without {', '.join(lacking)}, which have no such target")
    columns = list(dict.fromkeys(run.schema.weight for member in members for run in member.runs))
    weight = columns[0] if len(columns) == 1 else None
    if len(columns) > 1:
        told = ", ".join("none" if one is None else repr(one) for one in columns)
        notes.append(f"members have row weights of different columns ({told}): no score is weighted")
    schema = first.schema.model_copy(update={"targets": tuple(targets.values()), "weight": weight})
    stated = {name: {one.name: one.weight for one in members if name in _targets(one)} for name in targets}
    chosen = {name: dict(record.weights.get(name, stated[name])) for name in targets}
    joined = tuple(dict.fromkeys(notes))
    return JoinedNetworks(folder, schema, record, classes, chosen, joined, members=tuple(members))


def _targets(member: Member[OpenedNetwork]) -> set[str]:
    return {target.name for target in member.runs[0].schema.answers}


# --- held-out rows of the members ----------------------------------------


@dataclass(frozen=True)
class HeldOut:
    """A member's answers to rows that it did not train on.

    marks: what tells its rows from each other.  ids: (rows,) their names.  fold: (rows,) from 1, or 0.
    labels, answers: target -> as `targets.labels` and `Head.probabilities` have them, classes of the blend.
    words: columns of the labels as the table has them.
    weights: (rows,) what each row counts, None of runs that do not say so.
    """

    marks: RowMarks
    ids: NDArray[np.object_]
    fold: NDArray[np.int64]
    labels: Mapping[str, NDArray[Any]]
    answers: Mapping[str, Floats]
    words: Mapping[str, NDArray[Any]]
    weights: Floats | None = None


def held_out(blend: JoinedNetworks, member: Member[OpenedNetwork], *, plain: bool = False) -> HeldOut | None:
    """What the member's run folders keep of their validation rows; None where there are none.

    plain: from the plain view alone, where there were several.
    """
    parts = [one for one in (_of_run(blend, run, plain) for run in member.runs) if one is not None]
    if not parts:
        return None
    names = parts[0].labels

    def joined(pick: Callable[[HeldOut], Any]) -> Any:
        return np.concatenate([pick(one) for one in parts])

    words = {name: joined(lambda one, name=name: one.words[name]) for name in parts[0].words}
    return HeldOut(
        _joined_marks([one.marks for one in parts], words),
        joined(lambda one: one.ids),
        joined(lambda one: one.fold),
        {name: joined(lambda one, name=name: one.labels[name]) for name in names},
        {name: joined(lambda one, name=name: one.answers[name]) for name in names},
        words,
        None if any(one.weights is None for one in parts) else joined(lambda one: one.weights),
    )


def _joined_marks(parts: Sequence[RowMarks], words: Mapping[str, NDArray[Any]]) -> RowMarks:
    """Of a member's folds together."""
    ids = [one.ids for one in parts if one.ids is not None]
    prints = [one.prints for one in parts if one.prints is not None]
    names = np.concatenate(ids) if len(ids) == len(parts) else None
    return RowMarks(
        np.concatenate([one.rows for one in parts]),
        names,
        parts[0].id_column,
        all(one.unique for one in parts) and names is not None and len(set(names)) == len(names),
        np.concatenate(prints) if len(prints) == len(parts) else None,
        words,
        frozenset().union(*(one.data for one in parts)),
        frozenset().union(*(one.table for one in parts)),
    )


def _of_run(blend: JoinedNetworks, run: OpenedNetwork, plain: bool) -> HeldOut | None:
    path = run.path / "validation_plain.parquet"
    if not plain or not path.exists():
        path = run.path / "validation.parquet"
    if not path.exists():
        return None
    table = read_table(path)
    named = held_out_columns(run.schema.answers, run.encoding.classes)
    labels, answers, words = {}, {}, {}
    for target in run.schema.answers:
        own = run.encoding.classes.get(target.name, ())
        facts = run.encoding.targets.get(target.name, TargetStats())
        facts = facts if facts.separator else facts.model_copy(update={"separator": ";"})
        # A member's own class list is a part of the blend's, so that each of its labels is known.
        kind = kind_of(target, blend.classes.get(target.name, ()), facts)
        as_table = read_table({name: _cells(table, named.label[name]) for name in kind.columns})
        words |= {name: as_table.text(name, ids=False) for name in kind.columns}
        labels[target.name], _ = kind.scoring_labels(as_table)
        if own:
            given = np.column_stack([table.numbers(name) for name in named.chances[target.name]])
            answers[target.name] = by_name(given, own, blend.classes[target.name])
        else:
            answers[target.name] = table.numbers(named.predicted[kind.columns[0]])[:, None]
    fold = run.recipe.fold[0] if run.recipe.fold else 0
    ids, known = table.text(named.id), run.record.fingerprint
    marks = RowMarks(
        table.numbers(named.row).astype(np.int64),
        ids if run.schema.row_name else None,
        run.schema.row_name or "",
        # Of runs that do not say so, the held-out rows at least are told apart.
        known.get("unique_ids", run.schema.row_name is not None),
        table.text(named.fingerprint) if named.fingerprint in table.names else None,
        words,
        frozenset(filter(None, [run.record.identity.get("data")])),
        frozenset(filter(None, [known.get("rows")])),
    )
    weights = table.numbers(named.weight) if named.weight in table.names else None
    return HeldOut(marks, ids, np.full(len(ids), fold), labels, answers, words, weights)


def _cells(table: Table, name: str) -> list[Any]:
    return [
        None if gone else cell
        for cell, gone in zip(table.text(name, ids=False), table.missing(name), strict=True)
    ]


def number_scale(blend: JoinedNetworks, target: str) -> float:
    """The deviation of a number's training labels, in whose squares its loss is told; 1 where not known."""
    for member in blend.members:
        for run in member.runs:
            facts = run.encoding.targets.get(target)
            if facts is not None and math.isfinite(facts.deviation) and facts.deviation > 0:
                return facts.deviation
    return 1.0
