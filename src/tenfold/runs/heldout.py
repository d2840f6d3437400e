"""Rows worth looking at: right and sure, wrong and sure, undecided; and those with the highest loss."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.data.tables.table import read_parquet_columns
from tenfold.schema import Schema
from tenfold.values import TargetPrediction, answer_table, answer_words

__all__ = ["TargetEvaluation", "free_names", "evaluate_target", "remembered_rows", "representative_rows"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TargetEvaluation:
    """One target of the validation rows.

    label, predicted: (rows,) words, "" where missing.  known: (rows,) whether there is a label.
    right: (rows,).  sure: (rows,) probability of the answer; of a number minus its error.
    loss: (rows,) -log probability of the label (of tags the mean over the questions; of a number its
    absolute error), NaN where there is no label.
    chance: (rows, classes), None of a number.  codes: (rows,) class of the label, -1 without, or None.
    truth, guess: (rows,) a number's label and answer, or None.  yes: (rows, classes) 0 and 1, or NaN.
    """

    name: str
    kind: str
    classes: Sequence[str]
    label: Sequence[str]
    predicted: Sequence[str]
    known: NDArray[np.bool_]
    right: NDArray[np.bool_]
    sure: Floats
    loss: Floats
    chance: Floats | None = None
    codes: NDArray[np.int64] | None = None
    guesses: NDArray[np.int64] | None = None
    truth: Floats | None = None
    guess: Floats | None = None
    yes: Floats | None = None


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


def held_out_columns(targets: Iterable[Any], classes: Mapping[str, Sequence[str]]) -> HeldOutColumns:
    """How a file of held-out rows names its columns; classes: target -> class list."""
    columns = {one.name: tuple(getattr(one, "columns", ()) or (one.name,)) for one in targets}
    wanted = ["id", "row", "fold"]
    for name, own in columns.items():
        wanted += [*own, *(f"{one}:predicted" for one in own)]
        wanted += [f"{name}:{word}" for word in classes.get(name, ())]
    # The last, so that runs that were written without them keep their names.
    *rest, fingerprint, weight = free_names([*wanted, "fingerprint", "weight"])
    names = iter(rest)
    fixed = [next(names) for _ in range(3)]
    label: dict[str, str] = {}
    predicted: dict[str, str] = {}
    chances: dict[str, Sequence[str]] = {}
    for name, own in columns.items():
        label |= {one: next(names) for one in own}
        predicted |= {one: next(names) for one in own}
        chances[name] = tuple(next(names) for _ in classes.get(name, ()))
    return HeldOutColumns(*fixed, label, predicted, chances, fingerprint, weight)


def evaluate_target(
    columns: Mapping[str, Any], target: Any, classes: Sequence[str], names: HeldOutColumns | None = None
) -> TargetEvaluation | None:
    """What the file of validation rows says of a target; None where it lacks its columns.

    names: those of the file's columns; where not given, the target is the file's only one.
    """
    name = target.name
    names = names or held_out_columns([target], {name: classes})
    if target.kind == "number":
        return _judge_number(columns, name, names)
    chance = _chances(columns, names.chances.get(name, ()))
    if chance is None:
        return None
    if target.kind == "multilabel":
        return _judge_tags(columns, target, classes, chance, names)
    words, said = _words(columns.get(names.label[name])), _words(columns.get(names.predicted[name]))
    if not words:
        return None
    place = {one: code for code, one in enumerate(classes)}
    none = len(classes)
    known = np.array([bool(one) for one in words])
    codes = np.array([place.get(one, none if one else -1) for one in words], dtype=np.int64)
    guesses = np.array([place.get(one, none) for one in said], dtype=np.int64)
    rows = np.arange(len(codes))
    own = np.where((codes >= 0) & (codes < none), chance[rows, np.clip(codes, 0, none - 1)], np.nan)
    stranger = codes == none
    # Of an open target, "none of these" is the more likely the less likely every class is.
    none_of_these = 1 - chance.max(axis=1, initial=0.0)
    own = np.where(stranger, none_of_these, own)
    sure = np.where(guesses < none, chance[rows, np.clip(guesses, 0, none - 1)], none_of_these)
    return TargetEvaluation(
        name, target.kind, classes, words, said, known, known & (codes == guesses), sure,
        -np.log(np.maximum(own, 1e-15)), chance, codes, guesses,
    )  # fmt: skip


def _judge_number(columns: Mapping[str, Any], name: str, names: HeldOutColumns) -> TargetEvaluation | None:
    label, answer = columns.get(names.label[name]), columns.get(names.predicted[name])
    if label is None or answer is None:
        return None
    truth = np.array([np.nan if one in (None, "") else float(one) for one in label], dtype=np.float64)
    guess = np.array([np.nan if one in (None, "") else float(one) for one in answer], dtype=np.float64)
    error = np.abs(guess - truth)
    words = [["" if one != one else f"{one:g}" for one in values] for values in (truth, guess)]
    known = ~np.isnan(truth)
    middle = np.nanmedian(error) if known.any() else 0.0
    return TargetEvaluation(
        name, "number", (), words[0], words[1], known, known & (error <= middle), -error, error,
        truth=truth, guess=guess,
    )  # fmt: skip


def _judge_tags(
    columns: Mapping[str, Any], target: Any, classes: Sequence[str], chance: Floats, names: HeldOutColumns
) -> TargetEvaluation | None:
    if target.columns:
        both = (names.label, names.predicted)
        cells, said = ([columns.get(which[one]) for one in target.columns] for which in both)
        if any(one is None for one in (*cells, *said)):
            return None
        yes, guess = (_matrix(one) for one in (cells, said))
        label, predicted = (_tag_words(one, classes) for one in (yes, guess))
    else:
        name = target.name
        label, predicted = _words(columns.get(names.label[name])), _words(columns.get(names.predicted[name]))
        if not label:
            return None
        yes, guess = (_split_tags(one, classes, target) for one in (label, predicted))
        yes[np.array([not one for one in label])] = np.nan
    asked = ~np.isnan(yes)
    known = asked.any(axis=1)
    p = np.clip(chance, 1e-15, 1 - 1e-15)
    loss = np.where(asked, -(yes * np.log(p) + (1 - yes) * np.log(1 - p)), 0).sum(1)
    loss = np.where(known, loss / np.maximum(asked.sum(1), 1), np.nan)
    right = known & ((yes == guess) | ~asked).all(axis=1)
    sure = np.maximum(chance, 1 - chance).min(axis=1, initial=1.0)
    return TargetEvaluation(
        target.name, "multilabel", classes, label, predicted, known, right, sure, loss, chance, yes=yes
    )


def _split_tags(words: Sequence[str], classes: Sequence[str], target: Any) -> Floats:
    """Words of tags as 0 and 1; any class whose name stands between separators counts."""
    found = np.zeros((len(words), len(classes)))
    for row, text in enumerate(words):
        parts = {text.strip()}
        for mark in (target.separator,) if target.separator else (";", "|", ",", " "):
            parts |= {part.strip() for part in text.split(mark)}
        for place, name in enumerate(classes):
            found[row, place] = name in parts
    return found


def _matrix(columns: Sequence[Any]) -> Floats:
    cells = [[np.nan if one in (None, "") else float(one) for one in column] for column in columns]
    return np.array(cells, dtype=np.float64).T


def _tag_words(yes: Floats, classes: Sequence[str]) -> list[str]:
    return [", ".join(classes[place] for place in np.flatnonzero(row == 1)) for row in yes]


def _chances(columns: Mapping[str, Any], names: Sequence[str]) -> Floats | None:
    found = [columns.get(one) for one in names]
    if not found or any(one is None for one in found):
        return None
    return np.array([np.asarray(one, dtype=np.float64) for one in found]).T


def _words(cells: Any) -> list[str]:
    return [] if cells is None else ["" if one is None else str(one) for one in cells]


def representative_rows(
    columns: Mapping[str, Any], targets: Sequence[Any], classes: Mapping[str, Sequence[str]], n: int
) -> list[tuple[str, str]]:
    """Ids of n validation rows at most, and why each is telling: of every target the most sure of the right
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

    if one.kind == "number":
        middle = np.abs(one.loss - np.nanmedian(one.loss))
        return [
            ("nearest to its label", sorted_by(one.loss, one.known)),
            ("farthest from its label", sorted_by(-one.loss, one.known)),
            ("an error in the middle", sorted_by(middle, one.known)),
        ]
    wrong = one.known & ~one.right
    chance = one.chance if one.chance is not None else np.zeros((len(one.known), 1))
    if one.kind in ("open", "multilabel") or chance.shape[1] < 2:
        margin = np.abs(chance - 0.5).min(axis=1)
    else:
        top = np.sort(chance, axis=1)
        margin = top[:, -1] - top[:, -2]
    return [
        ("right and sure", sorted_by(-one.sure, one.right)),
        ("wrong and sure", sorted_by(-one.sure, wrong)),
        ("undecided", sorted_by(margin, one.known)),
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
