"""Frozen values that all rooms exchange: arrays and how they are spelt, without input or output."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tenfold.frames import RowTable, frame_of

if TYPE_CHECKING:
    from tenfold.frames import Frame

__all__ = [
    "AnswerPart",
    "Extra",
    "FactorModel",
    "Interactions",
    "Log",
    "MemoryPlan",
    "Neighbours",
    "PairPredictions",
    "Predictions",
    "Ratings",
    "Recommendations",
    "Score",
    "Scores",
    "Sharding",
    "Shown",
    "SideFeatures",
    "TargetPrediction",
    "TargetScores",
    "TimeSpans",
    "answer_table",
    "answer_words",
    "cell_text",
    "id_text",
    "of_blocks",
    "savings",
    "other_spelling",
    "read_score",
    "read_scores",
]

#: Default limit of a picture's width x height.
MAX_PIXELS = 200_000_000

#: Called with each message: what was decided or noticed, one line at a time.
Log = Callable[[str], None]

#: A figure, or the figures of each class, baseline or list.
Score: TypeAlias = "float | Mapping[str, Score]"
#: Score -> value, NaN where nothing was measured; ``labels`` holds the scores of each class.
Scores = Mapping[str, Score]
#: Target -> its scores.
TargetScores = Mapping[str, Scores]

#: Blanks and zero-width characters at the ends of a cell, such as a byte-order mark.
_ENDS = re.compile(r"^[\s\u200b\u2060\ufeff]+|[\s\u200b\u2060\ufeff]+$")


def read_score(scores: Scores, name: str) -> float:
    """Return a score that is a figure; NaN where there is none."""
    value = scores.get(name)
    return value if isinstance(value, int | float) else math.nan


def read_scores(scores: Scores, name: str) -> Scores:
    """Return scores within scores; nothing where there are none."""
    value = scores.get(name)
    return value if isinstance(value, Mapping) else {}


def id_text(value: object) -> str:
    """The canonical spelling of an id: text in Unicode's composed form (NFC), without outer blanks.

    As `cell_text`, without zero-width characters at the ends. Two ids are the same exactly if these texts are
    equal: "007" and "7", "Ann" and "ann" differ. The empty text is not an id.
    """
    text = cell_text(value)
    return text if text.isascii() else unicodedata.normalize("NFC", _ENDS.sub("", text))


def other_spelling(text: str) -> str:
    """The other spelling of a whole number, ``1`` for ``1.0`` and back; "" for any other text."""
    whole = text.removesuffix(".0")
    if not (whole.isascii() and whole.removeprefix("-").isdigit()):
        return ""
    return whole if whole != text else f"{text}.0"


def cell_text(value: object) -> str:
    """A cell as text, without outer blanks.

    1, np.int64(1), 1.0, np.float32(1), b"1" and " 1 " are all "1"; other text stays as it is. None and NaN
    are the empty text.
    """
    if isinstance(value, np.generic) and not isinstance(value, np.floating):
        value = value.item()
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").strip()
    if isinstance(value, float | np.floating):
        # A column of whole numbers becomes floating point if a cell is empty.
        if value != value:
            return ""
        return str(int(value)) if float(value).is_integer() else str(value)
    return "" if value is None else str(value).strip()


@dataclass(frozen=True)
class AnswerPart:
    """What a network adds to an ensemble's answer to a target.

    weight: its share; those of a target sum to 1.
    columns: of the ensemble's classes, in the network's order; of a number 0.
    """

    target: str
    weight: float
    columns: tuple[int, ...]


@dataclass(frozen=True)
class TargetPrediction:
    """A target's answer for all rows.

    kind: the target's kind, as in the schema.
    classes: class names in the order of `probabilities`' columns; empty for numbers.
    probabilities: (rows, classes) float64; rows sum to 1 for ``category`` and ``ordered``; classes are
        independent for ``open`` and ``multilabel``; None for numbers.
    values: (rows,) the decoded answer: class names (object), `none` for ``open`` where no class is sure
        enough, tuples of class names (object) for ``multilabel``, or numbers (float64).
    thresholds: (classes,) the least probability of a yes, for ``open`` and ``multilabel``.
    separator: joins the names of a tuple in a cell.
    none: how an answer without any class is written.
    columns: for ``multilabel`` read from several columns of 0 and 1: their names, which are the classes.
    """

    kind: str
    classes: tuple[str, ...]
    probabilities: NDArray[np.float64] | None
    values: NDArray[np.generic]
    thresholds: tuple[float, ...] = ()
    separator: str = " "
    none: str = ""
    columns: tuple[str, ...] = ()

    @property
    def many(self) -> bool:
        """Whether a row's answer is a tuple of classes."""
        return any(isinstance(value, tuple) for value in self.values[:1])


def answer_words(answer: TargetPrediction) -> NDArray[np.generic]:
    """(rows,) a cell per row: numbers and class names as they are, several names joined."""
    if not answer.many:
        return answer.values
    words = [answer.separator.join(names) or answer.none for names in answer.values]
    return np.array(words, dtype=object)


def answer_table(answer: TargetPrediction) -> NDArray[np.int64]:
    """(rows, classes) 1 where a class is the row's answer or among its answers."""
    table = np.zeros((len(answer.values), len(answer.classes)), dtype=np.int64)
    for index, name in enumerate(answer.classes):
        chosen = [name in names for names in answer.values] if answer.many else answer.values == name
        table[:, index] = chosen
    return table


@dataclass(frozen=True, repr=False)
class Predictions(RowTable):
    """An output row per input row, in input order.

    ids: (rows,) the text that names each row.
    targets: target name -> its answer.
    failed: (rows,) true where the row could not be predicted (an unreadable picture).
    reasons: row index -> why it failed.
    notes: what was noticed (unknown categories, several frames, ...), a line each.
    numbered: no column names the rows, and `ids` are numbers of lines or rows.
    cells: the columns of the predicted table by name: (rows,) texts.
    id_name: the column that names the rows, if one does.
    index: that of the predicted data frame, if it has one of its own.
    """

    ids: NDArray[np.object_]
    targets: Mapping[str, TargetPrediction]
    failed: NDArray[np.bool_]
    reasons: Mapping[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    numbered: bool = False
    cells: Mapping[str, NDArray[np.object_]] = field(default_factory=dict, repr=False)
    id_name: str | None = None
    index: object = field(default=None, compare=False)

    def columns(self, *, probabilities: bool = False) -> dict[str, NDArray[np.generic]]:
        """Name -> (rows,) cells: the id if a column names the rows, each target's answer as in a file, and
        the reason where rows failed.

        probabilities: a column of each class, too, named ``target:class``.
        """
        columns: dict[str, NDArray[np.generic]] = {}
        if self.id_name is not None:
            columns[self.id_name] = self.ids
        for name, answer in self.targets.items():
            if answer.columns:
                columns |= dict(zip(answer.columns, answer_table(answer).T, strict=True))
            else:
                columns[name] = answer_words(answer)
        more: list[tuple[str, NDArray[np.generic]]] = []
        if self.failed.any():
            reasons = [self.reasons.get(row, "") for row in range(len(self.failed))]
            more.append(("failed", np.array(reasons, dtype=object)))
        for name, answer in self.targets.items():
            if probabilities and answer.probabilities is not None:
                words = (f"{name}:{word}" for word in answer.classes)
                more += zip(words, answer.probabilities.T, strict=True)
        for name, cells in more:
            while name in columns:  # a target may have that name
                name += "_"
            columns[name] = cells
        return columns

    def _shown(self) -> dict[str, NDArray[np.generic]]:
        return {**({} if self.id_name else {"": self.ids}), **self.columns()}

    @property
    def row_index(self) -> object:
        return self.index

    @property
    def headline(self) -> str:
        failed = f", {int(self.failed.sum())} failed" if self.failed.any() else ""
        return f"Predictions of {', '.join(self.targets)} for {len(self)} rows{failed}"

    def to_frame(self, *, probabilities: bool = False) -> Frame:
        """The answers as a pandas data frame with the index of the data frame that was predicted.

        probabilities: a column of each class, too, named ``target:class``.
        Raises DependencyError without pandas.
        """
        return frame_of(self.columns(probabilities=probabilities), self.index)

    def __len__(self) -> int:
        return len(self.ids)


def of_blocks(blocks: Sequence[str]) -> str:
    """`` of 5 blocks``; nothing where all are meant."""
    return f" of {len(blocks)} block{'s' if len(blocks) > 1 else ''}" if blocks else ""


def savings(checkpoint: bool, blocks: Sequence[str], offload: bool) -> list[str]:
    """What a plan does to save memory, in words. The arguments are as of `MemoryPlan`."""
    again = [f"activations{of_blocks(blocks)} computed again"] if checkpoint else []
    return again + (["optimizer's state in the host's memory"] if offload else [])


class Sharding(IntEnum):
    """What devices that share a training split among them.

    OPTIMIZER: its state and the averaged weights.  WEIGHTS: weights and gradients of blocks, too.
    """

    NOTHING = 0
    OPTIMIZER = 1
    WEIGHTS = 2


@dataclass(frozen=True)
class MemoryPlan:
    """How a training fits this machine. It may change time, never the answer.

    micro_batch: rows that go through the network at once.
    accumulation: micro-batches to an optimizer step of a full batch.
    checkpoint: recompute activations in the backward pass.
    blocks: names of the blocks whose activations are recomputed; all that the architecture has if empty.
    workers: threads that read rows.
    predicted_bytes: expected peak of process memory, 0 where not planned.
    band_bytes: low and high end of the prediction.
    parts: name -> bytes at the peak.
    notes: how the plan was reached, a line each.
    offload: keep the optimizer's state and averaged weights in the host's memory between updates.
    """

    micro_batch: int
    accumulation: int = 1
    checkpoint: bool = False
    workers: int = 2
    predicted_bytes: int = 0
    band_bytes: tuple[int, int] = (0, 0)
    parts: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    blocks: tuple[str, ...] = ()
    offload: bool = False


@dataclass(frozen=True)
class Shown:
    """Pairs that were shown to a user who did not take them, by indices into vocabularies; each pair once.

    user_index, item_index: (pairs,) uint32, sorted by user and then by item.  times: as of `Ratings`.
    """

    user_index: NDArray[np.uint32]
    item_index: NDArray[np.uint32]
    times: NDArray[np.float64] | None

    def take(self, pairs: NDArray[np.bool_]) -> Shown:
        """Some of the pairs."""
        times = None if self.times is None else self.times[pairs]
        return Shown(self.user_index[pairs], self.item_index[pairs], times)

    def within(self, users: NDArray[np.uint32], items: NDArray[np.uint32], sizes: tuple[int, int]) -> Shown:
        """The pairs of these users and items, by their places in `numpy.unique` of each.

        sizes: how many users and items there are.
        """
        places = []
        for index, count in ((users, sizes[0]), (items, sizes[1])):
            used = np.zeros(count, np.bool_)
            used[index] = True
            places.append(np.where(used, np.cumsum(used) - 1, -1))
        user, item = places[0][self.user_index], places[1][self.item_index]
        kept = (user >= 0) & (item >= 0)
        some = self.take(kept)
        return replace(some, user_index=user[kept].astype(np.uint32), item_index=item[kept].astype(np.uint32))


@dataclass(frozen=True)
class Ratings:
    """Ratings as arrays, sorted by user and then by item; each pair once.

    users, items: vocabularies: (n,) object arrays of ids as text, in first-seen order.
    user_index, item_index: (ratings,) uint32 into the vocabularies.
    ratings: (ratings,) float32.
    times: (ratings,) float64 seconds since 1970, or None.
    scale: lowest and highest rating, as given or as found.
    implicit: true where the table is a log of events and not a table of ratings.
    rows: (ratings,) row of each in the table, or None where nobody asked for it.
    item_names: item id -> title, empty where no item table was given.
    notes: what was decided or resolved, a line each.
    shown: of events, pairs of these users and items that were shown and not taken, where they are asked for.
    order: (ratings,) float64, times or rows, where lists may weigh the recent ones; NaN is the earliest.
    """

    users: NDArray[np.object_]
    items: NDArray[np.object_]
    user_index: NDArray[np.uint32]
    item_index: NDArray[np.uint32]
    ratings: NDArray[np.float32]
    times: NDArray[np.float64] | None
    scale: tuple[float, float]
    implicit: bool = False
    item_names: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    rows: NDArray[np.int64] | None = None
    shown: Shown | None = None
    order: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class SideFeatures:
    """The features of each user or each item from a side table: a sparse matrix of ones, in CSR form.

    names: of the features, as ``genre=Drama`` or ``age 25 to 31``.
    group: (features,) uint32: the column of the side table that a feature came from.
    columns: the names of those columns.
    start: (rows + 1,) int64; row r has features `feature[start[r]:start[r + 1]]`, sorted, each once.
    feature: uint32.
    """

    names: tuple[str, ...]
    group: NDArray[np.uint32]
    columns: tuple[str, ...]
    start: NDArray[np.int64]
    feature: NDArray[np.uint32]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Interactions:
    """Which users and items are known, and who rated what; no parameters.

    users, items: (n,) object arrays of ids as text.
    seen_start (users + 1,) int64, seen_items uint32: items that each user has rated, sorted.
    seen_ratings: float32 beside seen_items.
    scale: lowest and highest rating; predictions are clipped to it.
    item_names: item id -> title, of an item table; it may list items that nobody has rated.
    implicit: true where the ratings are counts of events.
    listed_items: how many of `items`, the last ones, nobody has rated: their columns describe them.
    listed_users: how many of `users` rated nothing when they came: their columns describe them.
    held_users, held_items: (held,) uint32 indices of ratings that the fit held out, sorted by user.
    seen_times: float64 beside seen_items, from `Ratings.order`, where lists weigh the recent ones.
    """

    users: NDArray[np.object_]
    items: NDArray[np.object_]
    scale: tuple[float, float]
    seen_start: NDArray[np.int64]
    seen_items: NDArray[np.uint32]
    seen_ratings: NDArray[np.float32]
    item_names: Mapping[str, str] = field(default_factory=dict)
    implicit: bool = False
    listed_items: int = 0
    listed_users: int = 0
    held_users: NDArray[np.uint32] | None = None
    held_items: NDArray[np.uint32] | None = None
    seen_times: NDArray[np.float64] | None = None

    @cached_property
    def given(self) -> NDArray[np.int64]:
        """(users,) how many ratings each user gave."""
        return np.diff(self.seen_start)

    @cached_property
    def received(self) -> NDArray[np.int64]:
        """(items,) how many ratings each item received."""
        return np.bincount(self.seen_items, minlength=len(self.items))

    @cached_property
    def owners(self) -> NDArray[np.int64]:
        """(ratings,) the user, by index, of each entry of `seen_items`."""
        return np.repeat(np.arange(len(self.users)), self.given)


@dataclass(frozen=True, kw_only=True)
class FactorModel(Interactions):
    """Biases and factors fitted to interactions: mean + b_u + c_i + p_u . q_i, or its sigmoid over a range.

    user_bias (users,), item_bias (items,) float32.
    user_factors (users, factors), item_factors (items, factors) float32.
    mean: the global mean (before the sigmoid where there is one).  sigmoid_range: (low, high) or None.
    noise_precision: alpha of the residuals (0 where unknown).
    extra: further parameters of some methods.
    """

    method: str
    mean: float
    user_bias: NDArray[np.float32]
    item_bias: NDArray[np.float32]
    user_factors: NDArray[np.float32]
    item_factors: NDArray[np.float32]
    sigmoid_range: tuple[float, float] | None
    noise_precision: float = 0.0
    extra: Extra = field(default_factory=lambda: Extra())
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Extra:
    """Further parameters of some methods, for new rows, deviations and times. None: not known.

    weight_decay: of als (its ridge) and sgd.  spread: of als, the standard deviation of ratings.
    confidence, unobserved: of als for events, 1 / the middling strength, and the weight of pairs without an
        event; see `collab.events.event_regression`, also for earlier models, which lack the latter.
    user_bias_variance, item_bias_variance: (rows,), of the posterior.
    user_factors_variance, item_factors_variance: (rows, factors), of the posterior.
    user_noise, item_noise: (rows,) factors of the variance of a rating.
    noise_freedom: (2,), how alike these are.
    user_prior_mean, item_prior_mean: (1 + factors,), of bias and factors of a new row.
    user_prior_covariance, item_prior_covariance: (1 + factors, 1 + factors), of the same.
    rated_factors (items, factors), rater_factors (users, factors): what having rated, or being rated, adds.
    times: shifts of users' ratings over time.
    """

    weight_decay: float | None = None
    spread: float | None = None
    confidence: float | None = None
    unobserved: float | None = None
    user_bias_variance: NDArray[np.float32] | None = None
    item_bias_variance: NDArray[np.float32] | None = None
    user_factors_variance: NDArray[np.float32] | None = None
    item_factors_variance: NDArray[np.float32] | None = None
    user_noise: NDArray[np.float32] | None = None
    item_noise: NDArray[np.float32] | None = None
    noise_freedom: NDArray[np.float32] | None = None
    user_prior_mean: NDArray[np.float32] | None = None
    user_prior_covariance: NDArray[np.float32] | None = None
    item_prior_mean: NDArray[np.float32] | None = None
    item_prior_covariance: NDArray[np.float32] | None = None
    rated_factors: NDArray[np.float32] | None = None
    rater_factors: NDArray[np.float32] | None = None
    times: TimeSpans | None = None


@dataclass(frozen=True)
class TimeSpans:
    """Shifts of users' ratings within spans of time, by level.

    lengths: (levels,) seconds of a span.  start: of each level, (users + 1,) int64 that cuts `part` (whole
    parts of time / length, rising within a user) and `shift` into a list per user.
    """

    lengths: NDArray[np.float64]
    start: tuple[NDArray[np.int64], ...]
    part: tuple[NDArray[np.int64], ...]
    shift: tuple[NDArray[np.float32], ...]


@dataclass(frozen=True, repr=False)
class Recommendations(RowTable):
    """Ranked items, a row per (user, rank).

    order: what they are ranked by, in words.  ranking: (rows,) float32, the number that ranks, where it is
    not the score.

    users, items, names: (rows,) object.  rank: (rows,) from 1.  score, deviation: (rows,) float32.
    known_user: (rows,) bool.  reasons: per row, the rated items that moved the score most.
    item_state: (rows,) object, ``rated`` or ``listed``; None where the run answers rated items alone.
    user_state: (rows,) object, ``rated``, ``listed`` or ``unknown``; None where no user is known by columns
        only.
    """

    users: NDArray[np.object_]
    items: NDArray[np.object_]
    names: NDArray[np.object_]
    rank: NDArray[np.int64]
    score: NDArray[np.float32]
    deviation: NDArray[np.float32]
    known_user: NDArray[np.bool_]
    reasons: tuple[tuple[tuple[str, float], ...], ...] = ()
    notes: tuple[str, ...] = ()
    item_state: NDArray[np.object_] | None = None
    order: str = ""
    ranking: NDArray[np.float32] | None = None
    user_state: NDArray[np.object_] | None = None

    def columns(self) -> dict[str, NDArray[np.generic]]:
        """Name -> (rows,) cells, as in a file; names, deviations and states only where there are any."""
        columns: dict[str, NDArray[np.generic]] = {"user": self.users, "rank": self.rank, "item": self.items}
        if (self.names != self.items).any():
            columns["name"] = self.names
        columns["score"] = self.score
        columns |= _where_known("deviation", self.deviation)
        if not self.known_user.all():
            columns["known_user"] = self.known_user
        if self.item_state is not None:
            columns["item_state"] = self.item_state
        if self.user_state is not None:
            columns["user_state"] = self.user_state
        if any(self.reasons):
            because = [", ".join(name for name, _ in row) for row in self.reasons]
            columns["because of"] = np.array(because, dtype=object)
        return columns

    @property
    def headline(self) -> str:
        users = len(dict.fromkeys(self.users.tolist()))
        return f"Recommendations of {len(self)} items to {users} user{'' if users == 1 else 's'}"

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True, repr=False)
class PairPredictions(RowTable):
    """An answer per asked pair, in the order asked.

    users, items: (pairs,) object, ids as text.
    score: (pairs,) float32, in the model's scale (for implicit models: a ranking score, not a rating).
    deviation: (pairs,) float32, standard deviation of a rating around `score`; NaN where unknown.
    known_user, known_item: (pairs,) bool, false where the fallback answered.
    item_state: (pairs,) object: ``rated``, ``listed`` (in the item table only) or ``unknown``.
    user_state: (pairs,) object: ``rated``, ``listed`` (in the user table only) or ``unknown``; None where no
        user is known by columns only.
    index: that of the predicted data frame, if it has one of its own.
    """

    users: NDArray[np.object_]
    items: NDArray[np.object_]
    score: NDArray[np.float32]
    deviation: NDArray[np.float32]
    known_user: NDArray[np.bool_]
    known_item: NDArray[np.bool_]
    item_state: NDArray[np.object_]
    user_state: NDArray[np.object_] | None = None
    notes: tuple[str, ...] = ()
    index: object = field(default=None, compare=False)

    def columns(self) -> dict[str, NDArray[np.generic]]:
        """Name -> (pairs,) cells; deviations and what is known only where that differs."""
        columns: dict[str, NDArray[np.generic]] = {
            "user": self.users,
            "item": self.items,
            "score": self.score,
        }
        columns |= _where_known("deviation", self.deviation)
        known = {"known_user": self.known_user, "known_item": self.known_item}
        return columns | {name: cells for name, cells in known.items() if not cells.all()}

    @property
    def row_index(self) -> object:
        return self.index

    @property
    def headline(self) -> str:
        return f"Predictions of {len(self)} pairs of a user and an item"

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True, repr=False)
class Neighbours(RowTable):
    """Nearest users or items by the cosine of their factors, a row per (asked, rank).

    asked, found, names: (rows,) object.  rank: (rows,) from 1.  cosine: (rows,) float32 in -1..1.
    """

    asked: NDArray[np.object_]
    found: NDArray[np.object_]
    names: NDArray[np.object_]
    rank: NDArray[np.int64]
    cosine: NDArray[np.float32]
    notes: tuple[str, ...] = ()

    def columns(self) -> dict[str, NDArray[np.generic]]:
        """Name -> (rows,) cells; names only where there are any."""
        columns: dict[str, NDArray[np.generic]] = {
            "asked": self.asked,
            "rank": self.rank,
            "found": self.found,
        }
        if (self.names != self.found).any():
            columns["name"] = self.names
        return {**columns, "cosine": self.cosine}

    @property
    def headline(self) -> str:
        asked = len(dict.fromkeys(self.asked.tolist()))
        return f"Neighbours of {asked} asked, {len(self)} found"

    def __len__(self) -> int:
        return len(self.found)


def _where_known(name: str, values: NDArray[np.float32]) -> dict[str, NDArray[np.generic]]:
    return {} if np.isnan(values).all() else {name: values}
