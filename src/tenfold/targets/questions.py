"""Targets that ask a yes-or-no question of each class: open categories, and tags."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tenfold.data.tables.cells import natural_order, respelled
from tenfold.data.tables.table import Table
from tenfold.errors import TableError, shortened
from tenfold.metrics import SMALLEST
from tenfold.schema import MultiLabelTarget
from tenfold.targets import decisions
from tenfold.targets.base import (
    Baseline,
    Bools,
    Cells,
    Floats,
    Ints,
    Labels,
    RowWeights,
    TargetEvaluation,
    TargetStats,
    Weights,
    as_codes,
    cell_numbers,
    cell_words,
    counting_rows,
    no_labels,
)
from tenfold.targets.classes import SEPARATORS, ListedKind, OneClassKind, word_counts
from tenfold.targets.scores import open_scores, tag_scores
from tenfold.values import Scores, TargetPrediction

#: How a column of a class says yes and no.
YES, NO = ("1", "1.0", "true", "yes"), ("0", "0.0", "false", "no")
#: The answer without any tag, where the schema has no word of its own.
NO_TAG = "no tag"


class QuestionsKind(ListedKind):
    """Base of the kinds that ask a question of each class: probabilities need not sum to 1."""

    @property
    def cuts(self) -> tuple[float, ...]:
        return self.stats.thresholds or (0.5,) * self.answers

    @property
    def thresholds(self) -> Floats:
        """Of each class, the least probability of a yes."""
        return np.array(self.cuts)

    @property
    def smoothed_over(self) -> int:
        """Answers that label smoothing spreads its fraction over: yes and no."""
        return 2

    @abstractmethod
    def asked(self, labels: Labels) -> Ints:
        """(rows, classes) 1 yes, 0 no, -1 not known."""

    def truth(self, labels: Labels) -> Floats:
        asked = self.asked(labels)
        return np.where(asked >= 0, asked, np.nan)

    def tempered(self, probabilities: Floats) -> Floats:
        return decisions.tempered_questions(probabilities, self.stats.temperature)

    def temperature(self, probabilities: Floats, labels: Labels, weights: RowWeights = None) -> float | None:
        asked = np.where(counting_rows(labels, weights)[:, None], self.asked(labels), -1)
        if not (asked >= 0).any():
            return None
        return decisions.question_temperature(probabilities, asked, weights)

    def calibration_error(self, probabilities: Floats, labels: Labels, weights: RowWeights = None) -> float:
        """Expected calibration error over all questions."""
        return decisions.question_calibration_error(probabilities, self.asked(labels), weights)

    def tuned(self, probabilities: Floats, labels: Labels, weights: RowWeights = None) -> TargetStats:
        there = counting_rows(labels, weights)
        thresholds = decisions.tune_thresholds(
            probabilities[there],
            self.asked(labels[there]),
            reject=self.doubts,
            weights=None if weights is None else weights[there],
        )
        return self.stats.model_copy(update={"thresholds": tuple(thresholds.tolist())})

    def row_losses(self, probabilities: Floats, labels: Labels) -> Floats:
        """Mean over the questions of -log of the right answer's probability."""
        truth = self.truth(labels)
        asked = ~np.isnan(truth)
        right = np.abs(1 - np.nan_to_num(truth) - probabilities)
        loss = np.where(asked, -np.log(np.maximum(right, SMALLEST)), 0)
        return loss.sum(1) / np.maximum(asked.sum(1), 1)

    def loss_counts(self, truth: Floats) -> Floats:
        yes, no = (
            np.array(weights or np.ones(truth.shape[1]))
            for weights in (self.stats.yes_weights, self.stats.no_weights)
        )
        return np.nan_to_num(truth * yes + (1 - truth) * no)

    def evidence(self, given: Floats, labels: Labels) -> tuple[Floats, Ints, Floats | None]:
        asked = self.asked(labels)
        row, column = np.nonzero(asked >= 0)
        yes = given[:, row, column].T
        return np.where(asked[row, column, None] == 1, yes, 1 - yes), row, None

    def margin(self, chance: Floats) -> Floats:
        """(rows,) how near the nearest question is to 0.5."""
        return np.abs(chance - 0.5).min(axis=1)


class OpenKind(QuestionsKind, OneClassKind):
    """One of several classes or none of them: one-vs-rest, so that every class may say no.

    Labels are those of a category, and the number of classes where the row belongs to none of them.
    """

    kind = "open"
    score_names = ("error_rate", "log_loss", "macro_f1", "macro_ap", "micro_ap", "none_rate")
    doubts = True

    @property
    def smoothed_over(self) -> int:
        """All classes, as of a category; of a single class two, as of any question."""
        return max(2, self.answers)

    def check_list(self, table: Table, names: Sequence[str], least: int = 1) -> None:
        super().check_list(table, names, least)

    def read(self, table: Table) -> tuple[Labels, dict[str, int], Bools]:
        codes, unknown, _ = super().read(table)
        if self.none:
            codes = np.where((table.text(self.name) == self.none) & (codes < 0), len(self.classes), codes)
            unknown.pop(self.none, None)
        return codes, unknown, (codes < 0) & ~table.missing(self.name)

    def unknown_notes(self, unknown: Mapping[str, int], *, wrong: bool = False) -> list[str]:
        return super().unknown_notes(unknown, wrong=wrong)

    def label_weights(self, labels: Labels, rows: Floats) -> Weights:
        # One weight to all questions of a row, without the memory of as many.
        weights = super().label_weights(labels, rows)
        return np.broadcast_to(weights[:, None], (len(labels), len(self.classes)))

    def loss_labels(self, labels: Labels) -> tuple[Labels, Weights]:
        known = labels >= 0
        return np.where(known, labels, 0), np.repeat(known[:, None].astype(float), len(self.classes), 1)

    def stratum_names(self) -> tuple[str, ...]:
        """ "None of these" is dealt out as a class is."""
        return (*self.classes, self.none)

    def asked(self, labels: Labels) -> Ints:
        yes = (labels[:, None] == np.arange(self.answers)).astype(np.int64)
        return np.where(labels[:, None] >= 0, yes, -1)

    def best(self, probabilities: Floats) -> Ints:
        """The most probable class that reaches its threshold, or none."""
        sure = np.where(probabilities >= self.thresholds, probabilities, -1.0)
        return np.where((sure >= 0).any(axis=1), sure.argmax(axis=1), self.answers)

    def kind_scores(
        self, probabilities: Floats, labels: Labels, *, baseline: Baseline = None, weights: RowWeights = None
    ) -> Scores:
        """Error rate with "none" as an answer; log loss and precision of the questions."""
        codes, best = as_codes(labels), self.answered(probabilities)
        return open_scores(
            probabilities, codes, best, self.classes, self.thresholds, baseline=baseline, weights=weights
        )

    def evaluate(
        self, labels: Sequence[Cells], answers: Sequence[Cells], chance: Floats | None
    ) -> TargetEvaluation | None:
        made = super().evaluate(labels, answers, chance)
        if made is None or made.codes is None:
            return None
        yes = (made.codes[:, None] == np.arange(len(self.classes))).astype(np.float64)
        yes[~made.known] = np.nan
        return replace(made, names=(*self.classes, "none of these"), yes=yes)


class MultiLabelKind(QuestionsKind):
    """Any number of classes at once (tags). Labels are (rows, classes) of 0 and 1, -1 where not known."""

    kind = "multilabel"
    score_names = ("micro_f1", "macro_f1", "macro_ap", "micro_ap", "subset_accuracy", "log_loss")

    def __init__(
        self, target: MultiLabelTarget, classes: tuple[str, ...] = (), stats: TargetStats | None = None
    ) -> None:
        super().__init__(target, classes, stats)
        self.split, self.separator = bool(target.columns), target.separator

    def fit(self, table: Table) -> tuple[tuple[str, ...], TargetStats, list[str]]:
        name = self.name
        if self.split:
            labels = self._yes_and_no(table)
            if not (labels >= 0).any():
                raise no_labels(", ".join(self.columns), table)
            known, yes = (labels >= 0).sum(axis=0), (labels == 1).sum(axis=0)
            counts = [f"{column} {a} of {b}" for column, a, b in zip(self.columns, yes, known, strict=True)]
            return self.columns, TargetStats(), [f"{name}: yes in {shortened(counts)}"]
        cells = word_counts(*table.codes(name), table.missing(name))
        if not cells:
            raise no_labels(name, table)
        nothing = cells.pop(self.none, 0)
        separator = self.separator or next(
            (mark for mark in SEPARATORS if any(mark in cell for cell in cells)), ""
        )
        rows_of: dict[str, int] = {}
        for cell, count in cells.items():
            for tag in _tags(cell, separator):
                rows_of[tag] = rows_of.get(tag, 0) + count
        names = self.listed or tuple(sorted(rows_of, key=natural_order))
        self.check_unlisted(table, names, rows_of)
        if not names:
            raise no_labels(name, table)
        how = "nothing stands between two tags: one a cell"
        if separator:
            how = f"tags are separated by {'blanks' if separator == ' ' else repr(separator)}"
        notes = [f"{name}: {len(names)} classes: {shortened(names)}; {how}"]
        if self.none:
            notes.append(f"{name}: {nothing} rows have no tag ({self.none!r})")
        if absent := int(table.missing(name).sum()):
            more = "" if self.none else "; an empty cell is a missing label (give none=WORD for 'no tag')"
            notes.append(f"{name}: {absent} of {table.rows} labels missing{more}")
        return names, TargetStats(separator=separator), notes + self.class_notes(rows_of)

    def _yes_and_no(self, table: Table) -> Ints:
        """(rows, columns) 0, 1, or -1 where the cell is empty."""
        labels, problems = np.full((table.rows, len(self.columns)), -1, dtype=np.int64), []
        for index, column in enumerate(self.columns):
            codes, words = table.codes(column)
            known = {**dict.fromkeys(NO, 0), **dict.fromkeys(YES, 1), "": -1}
            lookup = np.array([known.get(str(word).lower(), -2) for word in words], dtype=np.int64)
            values = lookup[codes] if len(words) else np.full(table.rows, -1, dtype=np.int64)
            labels[:, index] = np.where(table.missing(column), -1, values)
            problems += table.places(column, np.flatnonzero(labels[:, index] == -2))
        if problems:
            raise TableError(
                f"{table.source}: columns of a multilabel target hold 0 and 1 "
                "(or yes and no, true and false)",
                problems=problems,
                fix="mend these cells; leave those empty that are not known",
            )
        return labels

    def read(self, table: Table) -> tuple[Labels, dict[str, int], Bools]:
        if self.split:
            return self._yes_and_no(table), {}, np.zeros(table.rows, dtype=bool)
        codes, words = table.codes(self.name)
        counts = np.bincount(codes, minlength=len(words))
        index = {name: position for position, name in enumerate(self.classes)}
        tags = {tag for word in words for tag in _tags(str(word), self.stats.separator)}
        index |= {tag: index[name] for tag, name in respelled(tags, self.classes).items()}
        rows = np.zeros((len(words), len(self.classes)), dtype=np.int64)
        strange = np.zeros(len(words), dtype=bool)
        unknown: dict[str, int] = {}
        for number, word in enumerate(words):
            if word in ("", self.none):
                continue
            for tag in _tags(str(word), self.stats.separator):
                if tag in index:
                    rows[number, index[tag]] = 1
                elif counts[number]:
                    unknown[tag] = unknown.get(tag, 0) + int(counts[number])
                    strange[number] = True
        if not len(words):
            return self.unlabelled(table.rows), {}, np.zeros(table.rows, dtype=bool)
        missing = table.missing(self.name)
        return np.where(missing[:, None], -1, rows[codes]), unknown, strange[codes] & ~missing

    def scoring_labels(self, table: Table) -> tuple[Labels, list[str]]:
        labels, unknown, strange = self.read(table)
        if strange.any():
            labels = np.column_stack([labels, strange.astype(np.int64)])
        return labels, self.unknown_notes(unknown)

    def unlabelled(self, rows: int) -> Labels:
        return np.full((rows, len(self.classes)), -1, dtype=np.int64)

    def label_weights(self, labels: Labels, rows: Floats) -> Weights:
        return np.where(labels >= 0, rows[:, None], 0.0)

    def loss_labels(self, labels: Labels) -> tuple[Labels, Weights]:
        own = self.asked(labels)
        return own, (own >= 0).astype(np.float64)

    def label_columns(self, labels: Labels) -> dict[str, NDArray[np.generic]]:
        if self.split:
            return {
                name: np.where(labels[:, index] >= 0, labels[:, index].astype(float), np.nan)
                for index, name in enumerate(self.columns)
            }
        names = np.array(self.classes, dtype=object)
        join = self.stats.separator or SEPARATORS[0]
        words = [join.join(names[row == 1]) or self.none if (row >= 0).all() else None for row in labels]
        return {self.name: np.array(words, dtype=object)}

    def label_words(self, labels: Labels, cells: NDArray[np.object_] | None) -> list[str]:
        own = self.asked(labels)
        # Nothing known is not an answer; known to have none is one.
        return [
            (words or self.none or NO_TAG) if (row >= 0).any() else ""
            for words, row in zip(self.joined(own == 1), own, strict=True)
        ]

    def joined(self, yes: Bools) -> list[str]:
        """(rows,) the names of the classes that are true, joined by commas. yes: (rows, classes)."""
        return [", ".join(self.classes[index] for index in np.flatnonzero(row)) for row in yes]

    def asked(self, labels: Labels) -> Ints:
        """Without the column of unknown tags."""
        return as_codes(labels)[:, : self.answers]

    def decode(self, probabilities: Floats) -> TargetPrediction:
        """The classes that reach their threshold, in the order of the class list."""
        values = np.empty(len(probabilities), dtype=object)
        for row, yes in enumerate(probabilities >= self.thresholds):
            values[row] = tuple(self.classes[index] for index in np.flatnonzero(yes))
        return TargetPrediction(
            self.kind,
            self.classes,
            probabilities,
            values,
            thresholds=self.cuts,
            separator=self.stats.separator or " ",
            none=self.none,
            columns=self.columns if self.split else (),
        )

    def baseline(self, labels: Labels, weights: RowWeights = None) -> Baseline:
        """The most common set of classes among the wholly known rows, as 0 and 1."""
        whole = (labels >= 0).all(axis=1) & counting_rows(labels, weights)
        if not whole.any():
            return None
        sets, index = np.unique(labels[whole], axis=0, return_inverse=True)
        counts = np.bincount(index.ravel(), weights=None if weights is None else weights[whole])
        return sets[counts.argmax()].tolist()

    def kind_scores(
        self, probabilities: Floats, labels: Labels, *, baseline: Baseline = None, weights: RowWeights = None
    ) -> Scores:
        """F1 and average precision, micro, macro and of each class; and how often all is right."""
        return tag_scores(
            probabilities, as_codes(labels), self.classes, self.thresholds, baseline=baseline, weights=weights
        )

    def evaluate(
        self, labels: Sequence[Cells], answers: Sequence[Cells], chance: Floats | None
    ) -> TargetEvaluation | None:
        if chance is None:
            return None
        if self.split:
            yes, guess = (
                np.array([cell_numbers(cells) for cells in columns]).T for columns in (labels, answers)
            )
            words, guessed = self.joined(yes == 1), self.joined(guess == 1)
        else:
            words, guessed = cell_words(labels[0]), cell_words(answers[0])
            if not words:
                return None
            yes, guess = self._split_words(words), self._split_words(guessed)
            yes[np.array([not word for word in words])] = np.nan
        asked = ~np.isnan(yes)
        known = np.asarray(asked.any(axis=1))
        p = np.clip(chance, SMALLEST, 1 - SMALLEST)
        loss = np.where(asked, -(yes * np.log(p) + (1 - yes) * np.log(1 - p)), 0).sum(1)
        loss = np.where(known, loss / np.maximum(asked.sum(1), 1), np.nan)
        right = np.asarray(known & ((yes == guess) | ~asked).all(axis=1))
        sure = np.maximum(chance, 1 - chance).min(axis=1, initial=1.0)
        return TargetEvaluation(
            self.name, self.classes, words, guessed, known, right, sure, loss,
            chance=chance, margin=self.margin(chance), yes=yes,
        )  # fmt: skip

    def _split_words(self, words: Sequence[str]) -> Floats:
        """Words of tags as 0 and 1; any class whose name stands between separators counts."""
        tags = np.zeros((len(words), len(self.classes)))
        for row, text in enumerate(words):
            parts = {text.strip()}
            for mark in (self.separator,) if self.separator else SEPARATORS:
                parts |= {part.strip() for part in text.split(mark)}
            for index, name in enumerate(self.classes):
                tags[row, index] = name in parts
        return tags


def _tags(cell: str, separator: str) -> list[str]:
    if not separator:
        return [cell]
    parts = cell.split() if separator == " " else cell.split(separator)
    return list(dict.fromkeys(part.strip() for part in parts if part.strip()))
