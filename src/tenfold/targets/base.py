"""What a kind of target does without torch: labels, answers, words, scores and losses of rows."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, SupportsFloat

import numpy as np
from numpy.typing import NDArray

from tenfold.data.tables.table import Table
from tenfold.errors import SchemaError
from tenfold.functions import imported_function
from tenfold.schema import Frozen, NetworkTarget, target_columns
from tenfold.values import Scores, TargetPrediction, read_score

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
#: Labels as `TargetKind.read` makes them: int64 codes or answers, or float64 numbers.
Labels = NDArray[np.int64 | np.float64]
#: (rows,), or (rows, classes) where each class is a question of its own.
Weights = NDArray[np.float64]
#: What each row counts in a score; None where all count alike.
RowWeights = NDArray[np.float64] | None
#: The answer without a model: a class, the mean, or 0 and 1 for each class.
Baseline = int | float | list[int] | None
#: Cells of a column of a file of held-out rows.
Cells = Sequence[object] | NDArray[np.generic]


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


@dataclass(frozen=True)
class TargetEvaluation:
    """One target of the validation rows, as their file has them.

    label, predicted: (rows,) words, "" where missing.  known: (rows,) whether there is a label.
    right: (rows,).  sure: (rows,) probability of the answer; of a number minus its error.
    loss: (rows,) -log probability of the label (of tags the mean over the questions; of a number its
    absolute error), NaN where there is no label.  loss_word: what this is called.
    chance: (rows, classes), None of a number.  margin: (rows,) how far the answer is from another.
    names: of the rows and columns of a confusion matrix.  codes, guesses: (rows,) label and answer among
    them, -1 without a label; None where an answer is not one class.
    truth, guess: (rows,) a number's label and answer, or None.
    yes: (rows, classes) 0 and 1, NaN where not known; None where classes are not questions.
    """

    name: str
    classes: Sequence[str]
    label: Sequence[str]
    predicted: Sequence[str]
    known: Bools
    right: Bools
    sure: Floats
    loss: Floats
    loss_word: str = "loss"
    chance: Floats | None = None
    margin: Floats | None = None
    names: Sequence[str] = ()
    codes: Ints | None = None
    guesses: Ints | None = None
    truth: Floats | None = None
    guess: Floats | None = None
    yes: Floats | None = None


class TargetKind(ABC):
    """One target of one kind, with what was decided of it. `nn.heads` adds what needs torch.

    target: as the schema has it.  classes: class names; empty for numbers.  stats: what was decided.
    kind: the word in the schema.  score_names: its scores, the most telling one first.
    numeric: its column holds numbers.  exclusive: each row has exactly one class.
    ranked: its classes have an order, which members of an ensemble must share.
    doubts: it answers less surely where a row is like none of training's (`nn.ood`).
    variance: what its loss is to a likelihood of variance 1: 1, or 1/2 for squared errors.
    moved: why its answers may change with the temperature; "" where they do not.
    outputs: raw outputs, its share of the last layer's width.  answers: columns of its probabilities.
    limits: what the answer, a number, is cut to.
    """

    kind: ClassVar[str]
    score_names: ClassVar[tuple[str, ...]]
    numeric: ClassVar[bool] = False
    exclusive: ClassVar[bool] = False
    ranked: ClassVar[bool] = False
    doubts: ClassVar[bool] = False
    variance: ClassVar[float] = 1.0
    moved: ClassVar[str] = ""
    outputs: int
    answers: int

    def __init__(
        self, target: NetworkTarget, classes: tuple[str, ...] = (), stats: TargetStats | None = None
    ) -> None:
        self.target, self.name, self.classes = target, target.name, tuple(classes)
        self.stats = stats or TargetStats()
        self.columns = target_columns(target)
        self.limits: tuple[float, float] | None = None

    @property
    @abstractmethod
    def output_names(self) -> list[str]:
        """A name for each raw output."""

    # --- labels ---------------------------------------------------------------------------------------

    @abstractmethod
    def fit(self, table: Table) -> tuple[tuple[str, ...], TargetStats, list[str]]:
        """Classes and stats, decided from the whole table before any split, and notes.

        Raises SchemaError for a column without labels, or with a single class where two are needed.
        """

    @abstractmethod
    def read(self, table: Table) -> tuple[Labels, dict[str, int], Bools]:
        """Labels, words that are not a class of the run with counts, and the rows that hold such a word."""

    @abstractmethod
    def scoring_labels(self, table: Table) -> tuple[Labels, list[str]]:
        """Labels of rows that a finished run is measured on, and notes that name unknown classes.

        A word that is not a class of the run is beyond the class list: wrong whatever is answered, and for an
        open target right where the answer is none of its classes. An unknown tag is a further column, never
        answered.
        """

    @abstractmethod
    def unlabelled(self, rows: int) -> Labels:
        """Labels of rows of which none is known."""

    def label_weights(self, labels: Labels, rows: Floats) -> Weights:
        """What each label counts. rows: (rows,) what each row counts."""
        return np.where(known_rows(labels), rows, 0.0)

    @abstractmethod
    def loss_labels(self, labels: Labels) -> tuple[Labels, Weights]:
        """Labels as the loss takes them, and 1 where something is known of them, else 0."""

    @abstractmethod
    def truth(self, labels: Labels) -> Floats:
        """(rows, answers) 1 for the label's class, or a yes, and 0 elsewhere, or the number; NaN where not
        known."""

    @abstractmethod
    def label_columns(self, labels: Labels) -> dict[str, NDArray[np.generic]]:
        """Column -> labels as the table would have them: words (None where missing), or numbers (NaN)."""

    @abstractmethod
    def label_words(self, labels: Labels, cells: NDArray[np.object_] | None) -> list[str]:
        """(rows,) labels in words, classes as the run spells them; "" where missing.

        cells: (rows,) texts of the target's column; None where the table has no such column.
        """

    def stratum_names(self) -> tuple[str, ...]:
        """What a split calls the classes that it deals out; none for numbers."""
        return self.classes

    # --- answers --------------------------------------------------------------------------------------

    def calibrated(self, probabilities: Floats) -> Floats:
        """Probabilities with the stored temperature; numbers as they are."""
        return probabilities

    @abstractmethod
    def decode(self, probabilities: Floats) -> TargetPrediction:
        """Probabilities (rows, answers) -> the answer in the user's words."""

    @abstractmethod
    def answer_record(self, answer: Floats) -> dict[str, float | dict[str, float]]:
        """One row's answer (answers,), as ``--json`` prints it."""

    @abstractmethod
    def baseline(self, labels: Labels, weights: RowWeights = None) -> Baseline:
        """The answer without a model, from training labels, in JSON's types; None without any label."""

    def scores(
        self, probabilities: Floats, labels: Labels, *, baseline: Baseline = None, weights: RowWeights = None
    ) -> Scores:
        """All scores that are shown; `baseline` adds those of the answer without a model.

        The target's own metric is among them where this process has imported it: nothing is imported here,
        since the name may come from a run of somebody else.
        weights: here and below, what each row counts; 1 where they are not given.
        """
        scores = self.kind_scores(probabilities, labels, baseline=baseline, weights=weights)
        own = self.own_score(probabilities, labels)
        return scores if own is None else {**scores, **own}

    @abstractmethod
    def kind_scores(
        self, probabilities: Floats, labels: Labels, *, baseline: Baseline = None, weights: RowWeights = None
    ) -> Scores:
        """The scores of its kind, as `scores`."""

    def own_score(self, probabilities: Floats, labels: Labels) -> dict[str, float] | None:
        """The target's own metric by its function's name; NaN without labels, None where it has none here.

        It gets probabilities (rows, classes), or numbers (rows,), and the labels of these rows, each of which
        has one: class numbers, 0 and 1 of each question (-1 not known), or numbers.
        Raises SchemaError where it does not return a number.
        """
        metric = None if self.target.metric is None else imported_function(self.target.metric)
        if metric is None:
            return None
        known = known_rows(labels)
        value: object = math.nan
        if known.any():
            answers = probabilities[known]
            value = metric(answers[:, 0] if self.numeric else answers, labels[known])
        if isinstance(value, bool) or not isinstance(value, SupportsFloat) or np.ndim(value):  # pyright: ignore
            raise SchemaError(
                f"{self.name}: {self.target.metric} returns {type(value).__name__}, not a number",
                fix="return float(...)",
            )
        return {str(self.target.metric).rpartition(":")[2]: float(value)}

    @abstractmethod
    def primary_loss(self, scores: Scores) -> float:
        """The figure that stands for all scores, of which less is better."""

    def curve_loss(self, scores: Scores) -> float:
        """The validation loss of an epoch's scores, in the unit of the training loss; NaN without any."""
        return read_score(scores, "log_loss")

    def tuned(self, probabilities: Floats, labels: Labels, weights: RowWeights = None) -> TargetStats:
        """The stats with thresholds tuned on these rows, which did not train."""
        return self.stats

    def temperature(self, probabilities: Floats, labels: Labels, weights: RowWeights = None) -> float | None:
        """The temperature that suits these rows best; None where the kind has none, or nothing is known."""
        return None

    def calibration_error(self, probabilities: Floats, labels: Labels, weights: RowWeights = None) -> float:
        """Expected calibration error of probabilities; NaN where the kind has none."""
        return float("nan")

    # --- single rows ------------------------------------------------------------------------------

    @abstractmethod
    def row_losses(self, probabilities: Floats, labels: Labels) -> Floats:
        """(rows,) the loss of decoded answers (rows, answers); 0 where nothing is known."""

    @abstractmethod
    def loss_counts(self, truth: Floats) -> Floats:
        """(rows, questions) what each cell of `truth` counts in the training loss, with class weights."""

    @abstractmethod
    def evidence(self, given: Floats, labels: Labels) -> tuple[Floats, Ints, Floats | None]:
        """What members' answers say of labels, from which weights of a blend are learned.

        given: (members, rows, answers).  labels: of rows that all have some.
        Returns (questions, members) the probability that each gave to what happened, (questions,) the row of
        each, and None; or numbers, their rows, and the numbers that it was, in units of their deviation.
        """

    @abstractmethod
    def evaluate(
        self, labels: Sequence[Cells], answers: Sequence[Cells], chance: Floats | None
    ) -> TargetEvaluation | None:
        """What a file of held-out rows says of the target; None where it lacks something.

        labels, answers: an entry for each of the target's columns.  chance: (rows, classes) probabilities.
        """


def as_codes(labels: Labels) -> Ints:
    """Labels of classes, with their own type."""
    return np.asarray(labels, dtype=np.int64)


def as_numbers(labels: Labels) -> Floats:
    """Labels that are numbers, with their own type."""
    return np.asarray(labels, dtype=np.float64)


def known_rows(labels: Labels) -> Bools:
    """(rows,) true where anything is known of the row's label."""
    known = known_cells(labels)
    return np.asarray(known.any(axis=1)) if labels.ndim == 2 else known


def known_cells(labels: Labels) -> Bools:
    """Where something is known, cell by cell: numbers that are not NaN, codes from 0."""
    return ~np.isnan(labels) if labels.dtype.kind == "f" else labels >= 0


def counting_rows(labels: Labels, weights: RowWeights) -> Bools:
    """(rows,) which rows count at all."""
    return np.ones(len(labels), dtype=bool) if weights is None else weights > 0


def class_counts(labels: Labels, classes: int) -> Ints:
    """(classes,) rows that are labelled with each class."""
    if labels.ndim == 2:
        return (labels == 1).sum(axis=0)
    if labels.dtype.kind == "f":
        return np.zeros(classes, dtype=np.int64)
    return np.bincount(labels[(labels >= 0) & (labels < classes)], minlength=classes)


def no_labels(column: str, table: Table) -> SchemaError:
    """The error for a target without any label."""
    return SchemaError(
        f"{table.source}: column {column!r} (target) has no label in any of {table.rows} rows",
        fix="name another target, or fill the column",
    )


def cell_words(cells: Cells) -> list[str]:
    """Cells of a column as words; "" where missing."""
    return ["" if cell is None else str(cell) for cell in cells]


def cell_numbers(cells: Cells) -> Floats:
    """Cells of a column as numbers; NaN where missing."""
    return np.array([np.nan if cell in (None, "") else cell for cell in cells], dtype=np.float64)
