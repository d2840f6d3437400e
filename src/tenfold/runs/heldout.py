"""Rows worth looking at: right and sure, wrong and sure, undecided; and those with the highest loss."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.data.tables.table import read_parquet_columns
from tenfold.schema import NetworkTarget, Schema, target_columns
from tenfold.targets.base import Cells, TargetEvaluation
from tenfold.targets.kinds import kind_of
from tenfold.values import TargetPrediction, answer_table, answer_words

__all__ = ["evaluate_target", "free_names", "held_out_columns", "remembered_rows", "representative_rows"]

Floats = NDArray[np.float64]


def free_names(names: Sequence[str]) -> list[str]:
    """What columns of these names are called in one table: a name that is taken gets an underscore.

    Whoever reads such a table asks again, with the same names in the same order.
    """
    found: list[str] = []
    for name in names:
        while name in found:
            name += "_"
        found.append(name)
    return found


@dataclass(frozen=True)
class HeldOutColumns:
    """Names of the columns of a file of held-out rows: a name that is taken gets underscores.

    A target may be called row, and a class predicted.  label, predicted: column of the table -> name.
    chances: target -> (classes,) names.  weight: what a row counts, where rows have weights.
    """

    id: str
    row: str
    fold: str
    label: Mapping[str, str]
    predicted: Mapping[str, str]
    chances: Mapping[str, Sequence[str]]
    fingerprint: str
    weight: str

    def answered(self, target: str, answer: TargetPrediction, chances: Floats) -> dict[str, NDArray[Any]]:
        """A target's answers: in words, or as 0 and 1 where each class has a column; then the chances.

        chances: (rows, classes) probabilities; of a number they are not written.
        """
        if answer.columns:
            yes = answer_table(answer)
            found = {self.predicted[name]: yes[:, place] for place, name in enumerate(answer.columns)}
        else:
            found = {self.predicted[target]: answer_words(answer)}
        return found | {name: chances[:, place] for place, name in enumerate(self.chances[target])}


def held_out_columns(
    targets: Iterable[NetworkTarget], classes: Mapping[str, Sequence[str]]
) -> HeldOutColumns:
    """How a file of held-out rows names its columns; classes: target -> class list."""
    columns = {target.name: target_columns(target) for target in targets}
    wanted = ["id", "row", "fold"]
    for name, own in columns.items():
        wanted += [*own, *(f"{one}:predicted" for one in own)]
        wanted += [f"{name}:{word}" for word in classes.get(name, ())]
    # The last, so that runs that were written without them keep their names.
    *rest, fingerprint, weight = free_names([*wanted, "fingerprint", "weight"])
    names = iter(rest)
    id, row, fold = (next(names) for _ in range(3))
    label: dict[str, str] = {}
    predicted: dict[str, str] = {}
    chances: dict[str, Sequence[str]] = {}
    for name, own in columns.items():
        label |= {one: next(names) for one in own}
        predicted |= {one: next(names) for one in own}
        chances[name] = tuple(next(names) for _ in classes.get(name, ()))
    return HeldOutColumns(id, row, fold, label, predicted, chances, fingerprint, weight)


def evaluate_target(
    columns: Mapping[str, Cells],
    target: NetworkTarget,
    classes: Sequence[str],
    names: HeldOutColumns | None = None,
) -> TargetEvaluation | None:
    """What the file of validation rows says of a target; None where it lacks its columns.

    names: those of the file's columns; where not given, the target is the file's only one.
    """
    kind = kind_of(target, tuple(classes))
    names = names or held_out_columns([target], {target.name: classes})
    labels, answers, chances = (
        [columns[name] for name in wanted if name in columns]
        for wanted in (
            [names.label[name] for name in kind.columns],
            [names.predicted[name] for name in kind.columns],
            names.chances.get(target.name, ()),
        )
    )
    if len(labels) < len(kind.columns) or len(answers) < len(kind.columns) or len(chances) < len(classes):
        return None
    chance = np.array([np.asarray(one, dtype=np.float64) for one in chances]).T if chances else None
    return kind.evaluate(labels, answers, chance)


def representative_rows(
    columns: Mapping[str, Cells],
    targets: Sequence[NetworkTarget],
    classes: Mapping[str, Sequence[str]],
    n: int,
) -> list[tuple[str, str]]:
    """Ids of n validation rows at most, and why each is chosen: of every target the most sure of the right
    and of the wrong ones, and those between two answers; of a number the best, the worst and the middle."""
    names = held_out_columns(targets, classes)
    judged = [evaluate_target(columns, target, classes.get(target.name, ()), names) for target in targets]
    there = [one for one in judged if one is not None and one.known.any()]
    hands = [_orders(one) for one in there]
    # Dealt one by one, so that many targets share few rows. Every target begins with another reason than the
    # one before it, or a row to each would show nothing but right answers.
    turns = [[(place + shift) % len(hand) for shift in range(len(hand))] for place, hand in enumerate(hands)]
    chosen: dict[int, tuple[int, int]] = {}
    dealt = -1
    while dealt != len(chosen) < n:
        dealt = len(chosen)
        for place, hand in enumerate(hands):
            row, reason = _next_row(hand, turns[place], chosen)
            if row >= 0 and len(chosen) < n:
                chosen[row] = place, reason
    ids = [str(one) for one in columns[names.id]]
    found = []
    for row, (place, reason) in sorted(chosen.items(), key=lambda one: one[1]):
        prefix = f"{there[place].name}: " if len(targets) > 1 else ""
        found.append((ids[row], prefix + hands[place][reason][0]))
    return found


def _next_row(
    hand: Sequence[tuple[str, NDArray[np.int64]]], turns: list[int], taken: Mapping[int, Any]
) -> tuple[int, int]:
    """The best row that is not taken, of the first reason that has one, and this reason, which goes to the
    end of the turns; -1 where there is none."""
    for reason in turns:
        for row in hand[reason][1].tolist():
            if row not in taken:
                turns.append(turns.pop(turns.index(reason)))
                return row, reason
    return -1, -1


def _orders(one: TargetEvaluation) -> list[tuple[str, NDArray[np.int64]]]:
    def sorted_by(keys: Floats, which: NDArray[np.bool_]) -> NDArray[np.int64]:
        rows = np.flatnonzero(which)
        return rows[np.argsort(keys[rows], kind="stable")]

    if one.margin is None:
        middle = np.abs(one.loss - np.nanmedian(one.loss))
        return [
            ("nearest to its label", sorted_by(one.loss, one.known)),
            ("farthest from its label", sorted_by(-one.loss, one.known)),
            ("an error in the middle", sorted_by(middle, one.known)),
        ]
    return [
        ("right and sure", sorted_by(-one.sure, one.right)),
        ("wrong and sure", sorted_by(-one.sure, one.known & ~one.right)),
        ("undecided", sorted_by(one.margin, one.known)),
    ]


def remembered_rows(
    folder: Path, held: str, schema: Schema, classes: Mapping[str, Sequence[str]]
) -> dict[str, list[Any]] | None:
    """The held-out rows as a table of names of pictures and labels, as a run's folder keeps them.

    held: file of the folder with its held-out rows.  classes: target -> class list.
    None where the id of a row is not all that its answer needs.
    """
    name = schema.row_name
    if not (folder / held).exists() or [column.name for column in schema.inputs] != [name]:
        return None
    columns = read_parquet_columns(folder / held)
    names = held_out_columns(schema.answers, classes)
    there = {one: columns[kept] for one, kept in names.label.items() if kept in columns and one != name}
    kept = {str(name): columns[names.id], **there}
    return {one: ["" if cell is None else cell for cell in values] for one, values in kept.items()}
