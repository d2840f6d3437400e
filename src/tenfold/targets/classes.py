"""Targets with a class in each row: categories, and ordered classes."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tenfold.data.tables.cells import alike_known, look_alikes, natural_order, respelled
from tenfold.data.tables.table import Table
from tenfold.errors import LISTED, SchemaError, shortened
from tenfold.metrics import SMALLEST, expected_calibration_error, majority_class
from tenfold.schema import CategoryTarget, MultiLabelTarget, OpenTarget, OrderedTarget
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
    TargetKind,
    TargetStats,
    Weights,
    as_codes,
    cell_words,
    counting_rows,
    no_labels,
)
from tenfold.targets.scores import class_scores, ordered_scores
from tenfold.values import Scores, TargetPrediction

#: What may stand between the tags of a cell, in the order in which it is looked for.
SEPARATORS = (";", "|", ",", " ")
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")


class ListedKind(TargetKind):
    """Base of the kinds with a list of classes: a probability for each, and the log loss."""

    def __init__(
        self,
        target: CategoryTarget | OrderedTarget | OpenTarget | MultiLabelTarget,
        classes: tuple[str, ...] = (),
        stats: TargetStats | None = None,
    ) -> None:
        super().__init__(target, classes, stats)
        self.listed: tuple[str, ...] | None = target.classes
        self.none: str = getattr(target, "none", "")
        self.outputs = self.answers = len(self.classes)

    @property
    def cuts(self) -> tuple[float, ...]:
        """Of each class, the least probability of a yes; nothing where classes are not questions."""
        return ()

    @property
    def output_names(self) -> list[str]:
        return list(self.classes)

    def class_notes(self, counts: Mapping[str, int]) -> list[str]:
        """Return notes on the classes of a column. counts: class -> rows."""
        name = self.name
        notes = [
            f"{name}: look-alikes {' / '.join(group)} are kept as different classes"
            for group in look_alikes(list(counts))
        ]
        for mark in SEPARATORS[:2]:
            if 2 * sum(mark in word for word in counts) > len(counts):
                notes.append(
                    f"{name}: most labels hold {mark!r}; if each lists several, give "
                    f"--target {name}:multilabel"
                )
        single = [word for word, rows in counts.items() if rows == 1]
        return [*notes, f"{name}: 1 row only: {shortened(single)}"] if single else notes

    def check_unlisted(self, table: Table, names: Sequence[str], counts: Mapping[str, int]) -> None:
        """Refuse labels that are not in the class list that was given."""
        unlisted = [word for word in counts if word not in names]
        if unlisted:
            raise SchemaError(
                f"{table.source}: column {self.name!r} has labels outside its class list",
                problems=[f"{word!r}: {counts[word]} rows" for word in unlisted],
                found=f"the list is {', '.join(names)}",
                fix="mend the labels, or add them to the list",
            )

    def unknown_notes(self, unknown: Mapping[str, int], *, wrong: bool = True) -> list[str]:
        """Notes on words that are not a class of the run. wrong: they count as wrong."""
        notes = [
            f"{self.name}: {word!r} is not a class of this run: its {count} rows count as wrong"
            if wrong
            else f"{self.name}: {word!r} is not a class of this run ({count} rows): right is to answer none"
            for word, count in unknown.items()
        ]
        return notes + alike_known(self.name, unknown, self.classes)

    def calibrated(self, probabilities: Floats) -> Floats:
        cold = self.stats.temperature == 1.0
        return probabilities if cold else self.tempered(probabilities)

    @abstractmethod
    def tempered(self, probabilities: Floats) -> Floats:
        """Probabilities (rows, classes) as if the raw outputs had been divided by the temperature."""

    def answer_record(self, answer: Floats) -> dict[str, float | dict[str, float]]:
        return {"probabilities": dict(zip(self.classes, answer.tolist(), strict=True))}

    def baseline(self, labels: Labels, weights: RowWeights = None) -> Baseline:
        """The most common class; of an open target the number of classes means none of them."""
        majority = majority_class(labels, weights=weights)
        return None if majority is None else int(majority)

    def primary_loss(self, scores: Scores) -> float:
        """The log loss."""
        return self.curve_loss(scores)


class OneClassKind(ListedKind):
    """Base of the kinds that read a single column of words.

    Labels are (rows,) class indices, -1 where missing or not a class of the run.
    """

    def fit(self, table: Table) -> tuple[tuple[str, ...], TargetStats, list[str]]:
        counts = word_counts(*table.codes(self.name), table.missing(self.name))
        if not counts:
            raise no_labels(self.name, table)
        nothing = counts.pop(self.none, 0)
        names = self.listed or tuple(self.sort(counts))
        self.check_unlisted(table, names, counts)
        self.check_list(table, names)
        notes = [self.list_note(names)]
        if self.none:
            notes.append(f"{self.name}: {nothing} rows belong to none of them ({self.none!r})")
        if absent := int(table.missing(self.name).sum()):
            notes.append(f"{self.name}: {absent} of {table.rows} labels missing")
        return names, TargetStats(), notes + self.class_notes(counts)

    def sort(self, names: Iterable[str]) -> list[str]:
        """Sort class names."""
        return sorted(names, key=natural_order)

    def list_note(self, names: Sequence[str]) -> str:
        """How many classes there are, and which."""
        return f"{self.name}: {len(names)} classes: {shortened(names)}"

    def check_list(self, table: Table, names: Sequence[str], least: int = 2) -> None:
        """Refuse a class list that the kind cannot have."""
        if len(names) < least:
            raise SchemaError(
                f"{table.source}: column {self.name!r} (target) has one class only: {', '.join(names)!r}",
                fix="name a target that differs between rows",
            )

    def read(self, table: Table) -> tuple[Labels, dict[str, int], Bools]:
        codes, unknown = class_codes(table, self.name, self.classes)
        return codes, unknown, (codes < 0) & ~table.missing(self.name)

    def scoring_labels(self, table: Table) -> tuple[Labels, list[str]]:
        labels, unknown, strange = self.read(table)
        return np.where(strange, len(self.classes), labels), self.unknown_notes(unknown)

    def unlabelled(self, rows: int) -> Labels:
        return np.full(rows, -1, dtype=np.int64)

    def loss_labels(self, labels: Labels) -> tuple[Labels, Weights]:
        known = (labels >= 0) & (labels < len(self.classes))
        return np.where(known, labels, 0), known.astype(np.float64)

    def truth(self, labels: Labels) -> Floats:
        hot = (labels[:, None] == np.arange(len(self.classes))).astype(np.float64)
        return np.where(self.loss_labels(labels)[1].reshape(len(labels), -1)[:, :1] > 0, hot, np.nan)

    def label_columns(self, labels: Labels) -> dict[str, NDArray[np.generic]]:
        words = np.array([*self.classes, self.none, None], dtype=object)
        return {self.name: words[np.where(labels < 0, -1, labels)]}

    def label_words(self, labels: Labels, cells: NDArray[np.object_] | None) -> list[str]:
        if cells is None:
            return [""] * len(labels)
        known = (labels >= 0) & (labels < len(self.classes))
        return [
            self.classes[int(code)] if fine else str(cell)
            for code, fine, cell in zip(labels, known, cells, strict=True)
        ]

    def evaluate(
        self, labels: Sequence[Cells], answers: Sequence[Cells], chance: Floats | None
    ) -> TargetEvaluation | None:
        words, guessed = cell_words(labels[0]), cell_words(answers[0])
        if not words or chance is None:
            return None
        none = len(self.classes)
        code_of = {word: code for code, word in enumerate(self.classes)}
        known = np.array([bool(word) for word in words])
        codes = np.array([code_of.get(word, none if word else -1) for word in words], dtype=np.int64)
        guesses = np.array([code_of.get(word, none) for word in guessed], dtype=np.int64)
        rows = np.arange(len(codes))
        own = np.where((codes >= 0) & (codes < none), chance[rows, np.clip(codes, 0, none - 1)], np.nan)
        # "None of these" is the more likely the less likely every class is.
        none_of_these = 1 - chance.max(axis=1, initial=0.0)
        own = np.where(codes == none, none_of_these, own)
        sure = np.where(guesses < none, chance[rows, np.clip(guesses, 0, none - 1)], none_of_these)
        return TargetEvaluation(
            self.name, self.classes, words, guessed, known, known & (codes == guesses), sure,
            -np.log(np.maximum(own, SMALLEST)), chance=chance, margin=self.margin(chance),
            names=self.classes, codes=codes, guesses=guesses,
        )  # fmt: skip

    @abstractmethod
    def best(self, probabilities: Floats) -> Ints:
        """(rows,) the class that is answered; the number of classes for none of them."""

    def answered(self, probabilities: Floats) -> Ints:
        """(rows,) `best`, and -1 where there are no probabilities."""
        return np.where(np.isnan(probabilities).any(axis=1), -1, self.best(probabilities))

    def decode(self, probabilities: Floats) -> TargetPrediction:
        """The class that is answered, by name."""
        names = np.array([*self.classes, self.none], dtype=object)
        values = names[self.best(probabilities)]
        return TargetPrediction(
            self.kind, self.classes, probabilities, values, thresholds=self.cuts, none=self.none
        )

    @abstractmethod
    def margin(self, chance: Floats) -> Floats:
        """(rows,) how far the answer is from another class."""


class ExclusiveKind(OneClassKind):
    """Kinds whose rows always have exactly one class: probabilities sum to 1."""

    exclusive = True

    def tempered(self, probabilities: Floats) -> Floats:
        return decisions.tempered(probabilities, self.stats.temperature)

    def temperature(self, probabilities: Floats, labels: Labels, weights: RowWeights = None) -> float | None:
        known = (labels >= 0) & (labels < self.answers) & counting_rows(labels, weights)
        if not known.any():
            return None
        own = None if weights is None else weights[known]
        return decisions.class_temperature(probabilities[known], as_codes(labels)[known], own)

    def calibration_error(self, probabilities: Floats, labels: Labels, weights: RowWeights = None) -> float:
        """Mean gap between the answer's probability and how often it is right."""
        return expected_calibration_error(probabilities, labels, weights=weights)

    def row_losses(self, probabilities: Floats, labels: Labels) -> Floats:
        """-log of the probability of the label's class."""
        truth = self.truth(labels)
        right = (np.nan_to_num(truth) * probabilities).sum(1)
        return np.where(~np.isnan(truth).any(1), -np.log(np.maximum(right, SMALLEST)), 0)

    def loss_counts(self, truth: Floats) -> Floats:
        return np.nan_to_num(truth * np.array(self.stats.yes_weights or np.ones(truth.shape[1])))

    def evidence(self, given: Floats, labels: Labels) -> tuple[Floats, Ints, Floats | None]:
        codes = as_codes(labels)
        rows = np.flatnonzero(codes < given.shape[2])
        return given[:, rows, codes[rows]].T, rows, None

    def margin(self, chance: Floats) -> Floats:
        if chance.shape[1] < 2:
            return np.abs(chance - 0.5).min(axis=1)
        top = np.sort(chance, axis=1)
        return top[:, -1] - top[:, -2]


class CategoryKind(ExclusiveKind):
    """One of several classes; the answer is the most probable class."""

    kind = "category"
    score_names = ("error_rate", "log_loss", "macro_f1", "auc")

    def __init__(
        self, target: CategoryTarget, classes: tuple[str, ...] = (), stats: TargetStats | None = None
    ) -> None:
        super().__init__(target, classes, stats)
        self.two = target.two

    def best(self, probabilities: Floats) -> Ints:
        """The most probable class; the first of equals."""
        return probabilities.argmax(axis=1)

    def check_list(self, table: Table, names: Sequence[str], least: int = 2) -> None:
        super().check_list(table, names, least)
        if self.two and len(names) != 2:
            raise SchemaError(
                f"{table.source}: column {self.name!r} (target) has {len(names)} classes, not two",
                found=shortened(names),
                fix=f"give --target {self.name}:category, or mend the labels",
            )

    def kind_scores(
        self, probabilities: Floats, labels: Labels, *, baseline: Baseline = None, weights: RowWeights = None
    ) -> Scores:
        """Error rate, log loss, macro F1, and AUC of two classes."""
        return class_scores(probabilities, as_codes(labels), baseline=baseline, weights=weights)


class OrderedKind(ExclusiveKind):
    """One of several classes that have an order; the answer is the median."""

    kind = "ordered"
    score_names = ("error_rate", "log_loss", "macro_f1", "rank_error", "quadratic_kappa")
    ranked = True
    # The largest probability stays the largest; the median of ordered classes may be another.
    moved = "the median class moves with the temperature"

    def __init__(
        self, target: OrderedTarget, classes: tuple[str, ...] = (), stats: TargetStats | None = None
    ) -> None:
        super().__init__(target, classes, stats)
        self.outputs = len(self.classes) - 1

    @property
    def output_names(self) -> list[str]:
        return [f"above {word}" for word in self.classes[:-1]]

    def sort(self, names: Iterable[str]) -> list[str]:
        names = super().sort(names)
        return sorted(names, key=float) if all(map(_NUMBER.fullmatch, names)) else names

    def list_note(self, names: Sequence[str]) -> str:
        return f"{self.name}: {len(names)} classes in order: {' < '.join(names[:LISTED])}"

    def check_list(self, table: Table, names: Sequence[str], least: int = 2) -> None:
        super().check_list(table, names, least)
        words = [] if self.listed is not None else [word for word in names if not _NUMBER.fullmatch(word)]
        if words:
            raise SchemaError(
                f"{table.source}: the order of column {self.name!r} (target) is not known: "
                f"{shortened(list(map(repr, words)))} is not a number",
                fix=f"say it, the lowest first: --target '{self.name}:ordered[{'<'.join(names[:LISTED])}]'",
            )

    def best(self, probabilities: Floats) -> Ints:
        """The median: the first class, from the lowest, up to which half of the probability lies.

        It has the smallest expected distance in ranks.
        """
        # The last column is left out, so that rounding of the sum cannot lead beyond the list.
        return (probabilities.cumsum(axis=1)[:, :-1] < 0.5).sum(axis=1)

    def kind_scores(
        self, probabilities: Floats, labels: Labels, *, baseline: Baseline = None, weights: RowWeights = None
    ) -> Scores:
        """As of a category, and how far off in ranks."""
        median = self.answered(probabilities)
        return ordered_scores(probabilities, as_codes(labels), median, baseline=baseline, weights=weights)


def class_codes(table: Table, column: str, classes: Sequence[str]) -> tuple[Ints, dict[str, int]]:
    """Class index of each row by name, -1 where missing or unknown; and the unknown names with counts.

    A whole number may be written in another way: see `cells.respelled`.
    """
    codes, words = table.codes(column)
    index = {name: position for position, name in enumerate(classes)}
    index |= {word: index[name] for word, name in respelled(map(str, words), classes).items()}
    # The last entry serves missing cells.
    lookup = np.array([*(index.get(str(word), -1) for word in words), -1], dtype=np.int64)
    missing = table.missing(column)
    unknown = {word: rows for word, rows in word_counts(codes, words, missing).items() if word not in index}
    return lookup[np.where(missing, len(words), codes)], unknown


def word_counts(codes: NDArray[np.integer], words: NDArray[np.object_], missing: Bools) -> dict[str, int]:
    """Word -> rows, without missing cells. codes, words: of `Table.codes`."""
    counts = np.bincount(codes[~missing], minlength=len(words)).tolist()
    return {str(word): rows for word, rows in zip(words, counts, strict=True) if rows}
