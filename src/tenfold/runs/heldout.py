"""The file of held-out rows: its columns, the evaluation of a target, and representative rows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tenfold.data.tables.table import read_parquet_columns
from tenfold.schema import NetworkTarget, Schema, target_columns
from tenfold.targets.base import Cells, TargetEvaluation
from tenfold.targets.kinds import kind_of
from tenfold.values import TargetPrediction, answer_table, answer_words

__all__ = [
    "HeldOutRows",
    "evaluate_target",
    "free_names",
    "held_out_columns",
    "read_held_out",
    "remembered_rows",
    "representative_rows",
]

#: Files of the held-out rows of a run, and of an ensemble of runs of folds.
FILES = ("validation.parquet", "oof.parquet")

Floats = NDArray[np.float64]


def free_names(names: Sequence[str]) -> list[str]:
    """The names made unique: a name that is taken gets underscores.

    The same names in the same order give the same result, by which such a table is read again.
    """
    free: list[str] = []
    for name in names:
        while name in free:
            name += "_"
        free.append(name)
    return free


@dataclass(frozen=True)
class HeldOutColumns:
    """Names of the columns of a file of held-out rows, made unique by `free_names`.

    A target may be called row, and a class predicted.  label, predicted: column of the table -> name.
    chances: target -> (classes,) names.  weight: of the rows' weights, if any.
    """

    id: str
    row: str
    fold: str
    label: Mapping[str, str]
    predicted: Mapping[str, str]
    chances: Mapping[str, Sequence[str]]
    fingerprint: str
    weight: str

    def answered(
        self, target: str, answer: TargetPrediction, chances: Floats
    ) -> dict[str, NDArray[np.generic]]:
        """A target's answers, in words or as 0 and 1 where each class has a column; then the chances.

        chances: (rows, classes) probabilities; those of a number are not written.
        """
        columns: dict[str, NDArray[np.generic]] = {}
        if answer.columns:
            names = [self.predicted[name] for name in answer.columns]
            columns.update(zip(names, answer_table(answer).T, strict=True))
        else:
            columns[self.predicted[target]] = answer_words(answer)
        return columns | {name: chances[:, index] for index, name in enumerate(self.chances[target])}


def held_out_columns(
    targets: Iterable[NetworkTarget], classes: Mapping[str, Sequence[str]]
) -> HeldOutColumns:
    """Name the columns of a file of held-out rows; classes: target -> class list."""
    columns = {target.name: target_columns(target) for target in targets}
    wanted = ["id", "row", "fold"]
    for name, own in columns.items():
        wanted += [*own, *(f"{column}:predicted" for column in own)]
        wanted += [f"{name}:{word}" for word in classes.get(name, ())]
    # These come last, so that runs that were written without them keep their names.
    *rest, fingerprint, weight = free_names([*wanted, "fingerprint", "weight"])
    names = iter(rest)
    id, row, fold = (next(names) for _ in range(3))
    label: dict[str, str] = {}
    predicted: dict[str, str] = {}
    chances: dict[str, Sequence[str]] = {}
    for name, own in columns.items():
        label |= {column: next(names) for column in own}
        predicted |= {column: next(names) for column in own}
        chances[name] = tuple(next(names) for _ in classes.get(name, ()))
    return HeldOutColumns(id, row, fold, label, predicted, chances, fingerprint, weight)


def evaluate_target(
    columns: Mapping[str, Cells],
    target: NetworkTarget,
    classes: Sequence[str],
    names: HeldOutColumns | None = None,
) -> TargetEvaluation | None:
    """Evaluate a target by the file of held-out rows; None where its columns are missing.

    names: of the file's columns; by default those of a file of this target alone.
    """
    kind = kind_of(target, tuple(classes))
    names = names or held_out_columns([target], {target.name: classes})
    try:
        labels = [columns[names.label[name]] for name in kind.columns]
        answers = [columns[names.predicted[name]] for name in kind.columns]
        chances = [columns[name] for name in names.chances.get(target.name, ())]
    except KeyError:
        return None
    if len(chances) < len(classes):
        return None
    chance = np.array([np.asarray(column, dtype=np.float64) for column in chances]).T if chances else None
    return kind.evaluate(labels, answers, chance)


@dataclass(frozen=True)
class HeldOutRows:
    """The rows that a run held out.

    ids: (rows,) their names.  weights: (rows,) or None where all count alike.
    classes: target -> class list, of the run or of the file.
    """

    ids: Sequence[str]
    evaluations: Sequence[TargetEvaluation]
    weights: Floats | None = None
    classes: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def of(self, target: str) -> TargetEvaluation | None:
        """The evaluation of a target, if there is one."""
        return next((own for own in self.evaluations if own.name == target), None)


def read_held_out(folder: Path, schema: Schema, classes: Mapping[str, Sequence[str]]) -> HeldOutRows:
    """Read the file of held-out rows of a run of networks; without rows where there is none.

    classes: target -> class list; of targets that it lacks, the classes are those with columns in the file.
    """
    path = next((folder / name for name in FILES if (folder / name).exists()), None)
    if path is None:
        return HeldOutRows((), (), None, classes)
    columns, targets = read_parquet_columns(path), schema.answers
    classes = {**{str(one.name): _classes_in(columns, str(one.name)) for one in targets}, **classes}
    names = held_out_columns(targets, classes)
    evaluations = [evaluate_target(columns, target, classes[target.name], names) for target in targets]
    weights = columns.get(names.weight)
    return HeldOutRows(
        [str(name) for name in columns.get(names.id, ())],
        [evaluation for evaluation in evaluations if evaluation is not None],
        None if weights is None else np.asarray(weights, dtype=np.float64),
        classes,
    )


def held_out_marks(folder: Path, schema: Schema, classes: Mapping[str, Sequence[str]]) -> frozenset[str]:
    """Fingerprints of the rows that a run held out (`rowjoin.row_fingerprints`); empty where it kept none."""
    path = next((folder / name for name in FILES if (folder / name).exists()), None)
    columns = {} if path is None else read_parquet_columns(path)
    names = held_out_columns(schema.answers, {str(one.name): () for one in schema.answers} | dict(classes))
    return frozenset(map(str, columns.get(names.fingerprint, ())))


def _classes_in(columns: Iterable[str], name: str) -> list[str]:
    """Return the classes with a column of probabilities, where no list of them is kept."""
    prefix = f"{name}:"
    words = [column.removeprefix(prefix) for column in columns if column.startswith(prefix)]
    return [word for word in words if word != "predicted"]


def representative_rows(
    columns: Mapping[str, Cells],
    targets: Sequence[NetworkTarget],
    classes: Mapping[str, Sequence[str]],
    n: int,
) -> list[tuple[str, str]]:
    """Ids of at most n validation rows, each with the reason for its choice.

    For every target the surest right and wrong answers, and the least decided; for a number the smallest,
    the largest and median errors.
    """
    names = held_out_columns(targets, classes)
    own = [evaluate_target(columns, target, classes.get(target.name, ()), names) for target in targets]
    evaluations = [evaluation for evaluation in own if evaluation is not None and evaluation.known.any()]
    ranked = [_ranked_rows(evaluation) for evaluation in evaluations]
    # The targets take turns, so that many of them share few rows. Each begins with another reason than the
    # target before it, or a row to each would show only right answers.
    turns = [
        [(target + shift) % len(lists) for shift in range(len(lists))] for target, lists in enumerate(ranked)
    ]
    chosen: dict[int, tuple[int, int]] = {}
    before = -1
    while before != len(chosen) < n:
        before = len(chosen)
        for target, lists in enumerate(ranked):
            row, reason = _next_row(lists, turns[target], chosen)
            if row >= 0 and len(chosen) < n:
                chosen[row] = target, reason
    picked = []
    for row, (target, reason) in sorted(chosen.items(), key=lambda item: item[1]):
        prefix = f"{evaluations[target].name}: " if len(targets) > 1 else ""
        picked.append((str(columns[names.id][row]), prefix + ranked[target][reason][0]))
    return picked


def _next_row(
    lists: Sequence[tuple[str, NDArray[np.int64]]], turns: list[int], taken: Collection[int]
) -> tuple[int, int]:
    """The first row that is not taken, and its reason, which moves to the end of the turns; else -1."""
    for reason in turns:
        for row in lists[reason][1].tolist():
            if row not in taken:
                turns.append(turns.pop(turns.index(reason)))
                return row, reason
    return -1, -1


def _ranked_rows(target: TargetEvaluation) -> list[tuple[str, NDArray[np.int64]]]:
    def sorted_by(keys: Floats, which: NDArray[np.bool_]) -> NDArray[np.int64]:
        rows = np.flatnonzero(which)
        return rows[np.argsort(keys[rows], kind="stable")]

    loss, known = target.loss, target.known
    if target.margin is None:
        return [
            ("nearest to its label", sorted_by(loss, known)),
            ("farthest from its label", sorted_by(-loss, known)),
            ("an error in the middle", sorted_by(np.abs(loss - np.nanmedian(loss)), known)),
        ]
    return [
        ("right and sure", sorted_by(-target.sure, target.right)),
        ("wrong and sure", sorted_by(-target.sure, known & ~target.right)),
        ("undecided", sorted_by(target.margin, known)),
    ]


def remembered_rows(
    folder: Path, held: str, schema: Schema, classes: Mapping[str, Sequence[str]]
) -> dict[str, list[object]] | None:
    """The held-out rows of a run's folder, as a table of names of pictures and labels.

    held: file of the held-out rows.  classes: target -> class list.
    None where a row needs more than its id to be predicted.
    """
    name = schema.row_name
    if not (folder / held).exists() or [column.name for column in schema.inputs] != [name]:
        return None
    columns = read_parquet_columns(folder / held)
    names = held_out_columns(schema.answers, classes)
    labels = {own: kept for own, kept in names.label.items() if kept in columns and own != name}
    table = {str(name): names.id, **labels}
    return {own: ["" if cell is None else cell for cell in columns[kept]] for own, kept in table.items()}
