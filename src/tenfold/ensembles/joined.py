"""Networks joined in a blend, and the held-out rows that their run folders keep. Loads no torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

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
from tenfold.targets.base import Labels, TargetStats
from tenfold.targets.kinds import kind_of
from tenfold.values import AnswerPart

Floats = NDArray[np.float64]
Cell = TypeVar("Cell", bound=np.generic)


@dataclass(frozen=True, repr=False)
class JoinedNetworks(OpenedRun):
    """A blend of networks.

    schema: the inputs, and the targets of all members.  classes: target -> joined classes.
    weights: target -> member -> weight.  notes: messages from joining the members.
    """

    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    weights: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    members: Sequence[Member[OpenedNetwork]] = field(default=(), kw_only=True)

    def parts(self) -> list[tuple[OpenedNetwork, list[AnswerPart]]]:
        """Each network, and what it adds to the answers to its targets."""
        return [
            (run, [self._part(member, run, target.name) for target in run.schema.answers])
            for member in self.members
            for run in member.runs
        ]

    def _part(self, member: Member[OpenedNetwork], run: OpenedNetwork, target: str) -> AnswerPart:
        owners = [
            other.name
            for other in self.members
            if target in {answer.name for answer in other.runs[0].schema.answers}
        ]
        weights = self.weights[target]
        total = sum(weights.get(name, 0.0) for name in owners)
        # If all that answer have the weight 0, they count alike.
        share = weights.get(member.name, 0.0) / total if total else 1 / len(owners)
        joined = self.classes.get(target, ())
        columns = tuple(joined.index(word) for word in run.encoding.classes.get(target, ()))
        return AnswerPart(target, share / len(member.runs), columns or (0,))


def blend_of(folder: Path, members: Sequence[Member[OpenedNetwork]], record: RunRecord) -> JoinedNetworks:
    """Join members. Raises RunError where their inputs, or the kinds of a target, differ.

    A target that some members lack is answered by the others. Classes are joined by name; a member gives 0 to
    those that it does not know.
    """
    first = members[0].runs[0]
    problems: list[str] = []
    targets: dict[str, NetworkTarget] = {}
    owners: dict[str, list[str]] = {}
    class_lists: dict[str, dict[str, tuple[str, ...]]] = {}
    for member in members:
        for run in member.runs:
            if _inputs(run) != _inputs(first):
                problems.append(f"{member.name} has the inputs {', '.join(name for _, name in _inputs(run))}")
            for target in run.schema.answers:
                known = targets.setdefault(target.name, target)
                if known.kind != target.kind:
                    problems.append(
                        f"{member.name}: target {target.name!r} is a {target.kind}, elsewhere a {known.kind}"
                    )
                if target.name in run.encoding.classes:
                    class_lists.setdefault(target.name, {})[member.name] = run.encoding.classes[target.name]
        for target in member.runs[0].schema.answers:
            owners.setdefault(target.name, []).append(member.name)
    notes: list[str] = []
    classes: dict[str, tuple[str, ...]] = {}
    for name, class_list in class_lists.items():
        classes[name], messages = joined_classes(class_list)
        notes += [f"{name}: {message}" for message in messages]
        if messages and kind_of(targets[name]).ranked:
            problems.append(f"target {name!r} is ordered, and its members know different classes")
    if problems:
        raise RunError(
            "these runs cannot be blended",
            problems=list(dict.fromkeys(problems)),
            fix="blend runs of the same inputs, and with targets of equal names of equal kinds",
        )
    for name in targets:
        lacking = [member.name for member in members if member.name not in owners.get(name, ())]
        if lacking:
            notes.append(f"{name} is answered without {', '.join(lacking)}, which have no such target")
    columns = list(dict.fromkeys(run.schema.weight for member in members for run in member.runs))
    if len(columns) > 1:
        words = ", ".join("none" if column is None else repr(column) for column in columns)
        notes.append(f"members have row weights of different columns ({words}): no score is weighted")
    weight = columns[0] if len(columns) == 1 else None
    schema = first.schema.model_copy(update={"targets": tuple(targets.values()), "weight": weight})
    weights = {
        name: record.weights.get(name)
        or {member.name: member.weight for member in members if member.name in owners.get(name, ())}
        for name in targets
    }
    joined = tuple(dict.fromkeys(notes))
    return JoinedNetworks(folder, schema, record, classes, weights, joined, members=tuple(members))


def _inputs(run: OpenedNetwork) -> list[tuple[str, str]]:
    return [(column.kind, column.name) for column in run.schema.inputs]


# --- held-out rows of the members ----------------------------------------


@dataclass(frozen=True)
class HeldOut:
    """A member's answers to rows that it did not train on.

    marks: what tells its rows apart.  ids: (rows,) their names.  fold: (rows,) from 1, or 0.
    labels, answers: target -> as `targets.labels` and `Head.probabilities` return them, classes of the blend.
    words: columns of the labels as in the table.  weights: (rows,) row weights; None where a run has none.
    """

    marks: RowMarks
    ids: NDArray[np.object_]
    fold: NDArray[np.int64]
    labels: Mapping[str, Labels]
    answers: Mapping[str, Floats]
    words: Mapping[str, NDArray[np.object_]]
    weights: Floats | None = None


def held_out(blend: JoinedNetworks, member: Member[OpenedNetwork], *, plain: bool = False) -> HeldOut | None:
    """Read the validation rows that the member's runs keep; None where they keep none.

    plain: answers to the plain view alone, where there were several views.
    """
    parts = [part for run in member.runs if (part := _of_run(blend, run, plain)) is not None]
    if not parts:
        return None

    def joined(pick: Callable[[HeldOut], NDArray[Cell]]) -> NDArray[Cell]:
        return np.concatenate([pick(part) for part in parts])

    first = parts[0]
    words = {name: joined(lambda part, name=name: part.words[name]) for name in first.words}
    weights = [part.weights for part in parts if part.weights is not None]
    return HeldOut(
        _joined_marks([part.marks for part in parts], words),
        joined(lambda part: part.ids),
        joined(lambda part: part.fold),
        {name: joined(lambda part, name=name: part.labels[name]) for name in first.labels},
        {name: joined(lambda part, name=name: part.answers[name]) for name in first.labels},
        words,
        np.concatenate(weights) if len(weights) == len(parts) else None,
    )


def _joined_marks(folds: Sequence[RowMarks], words: Mapping[str, NDArray[np.object_]]) -> RowMarks:
    """The marks of a member's folds together."""
    ids = [marks.ids for marks in folds if marks.ids is not None]
    prints = [marks.prints for marks in folds if marks.prints is not None]
    names = np.concatenate(ids) if len(ids) == len(folds) else None
    return RowMarks(
        np.concatenate([marks.rows for marks in folds]),
        names,
        folds[0].id_column,
        all(marks.unique for marks in folds) and names is not None and len(set(names)) == len(names),
        np.concatenate(prints) if len(prints) == len(folds) else None,
        words,
        frozenset().union(*(marks.data for marks in folds)),
        frozenset().union(*(marks.table for marks in folds)),
    )


def _of_run(blend: JoinedNetworks, run: OpenedNetwork, plain: bool) -> HeldOut | None:
    path = run.path / "validation_plain.parquet"
    if not plain or not path.exists():
        path = run.path / "validation.parquet"
    if not path.exists():
        return None
    table = read_table(path)
    columns = held_out_columns(run.schema.answers, run.encoding.classes)
    labels, answers, words = {}, {}, {}
    for target in run.schema.answers:
        own = run.encoding.classes.get(target.name, ())
        stats = run.encoding.targets.get(target.name, TargetStats())
        stats = stats if stats.separator else stats.model_copy(update={"separator": ";"})
        # The blend's classes include the member's, so each of its labels is known.
        kind = kind_of(target, blend.classes.get(target.name, ()), stats)
        as_table = read_table({name: _cells(table, columns.label[name]) for name in kind.columns})
        words |= {name: as_table.text(name, ids=False) for name in kind.columns}
        labels[target.name], _ = kind.scoring_labels(as_table)
        if own:
            given = np.column_stack([table.numbers(name) for name in columns.chances[target.name]])
            answers[target.name] = by_name(given, own, blend.classes[target.name])
        else:
            answers[target.name] = table.numbers(columns.predicted[kind.columns[0]])[:, None]
    fold = run.recipe.fold[0] if run.recipe.fold else 0
    ids, known = table.text(columns.id), run.record.fingerprint
    marks = RowMarks(
        table.numbers(columns.row).astype(np.int64),
        ids if run.schema.row_name else None,
        run.schema.row_name or "",
        # Runs of earlier versions do not record it; their held-out rows at least are told apart.
        known.get("unique_ids", run.schema.row_name is not None),
        table.text(columns.fingerprint) if columns.fingerprint in table.names else None,
        words,
        frozenset(filter(None, [run.record.identity.get("data")])),
        frozenset(filter(None, [known.get("rows")])),
    )
    weights = table.numbers(columns.weight) if columns.weight in table.names else None
    return HeldOut(marks, ids, np.full(len(ids), fold), labels, answers, words, weights)


def _cells(table: Table, name: str) -> list[str | None]:
    cells = zip(table.text(name, ids=False), table.missing(name), strict=True)
    return [None if missing else cell for cell, missing in cells]


def number_scale(blend: JoinedNetworks, target: str) -> float:
    """The deviation of a number's training labels, the unit of its loss; 1 where unknown."""
    for member in blend.members:
        for run in member.runs:
            stats = run.encoding.targets.get(target)
            if stats is not None and math.isfinite(stats.deviation) and stats.deviation > 0:
                return stats.deviation
    return 1.0
