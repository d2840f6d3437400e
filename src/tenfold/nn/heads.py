"""Last layers: what turns features into a target's raw outputs, its loss and its decoded answer.

One class per target kind. A loss here is always a *sum over rows*, never a mean: the training loop
divides by the batch's own denominator (docs/memory.md), so that the cut into micro-batches cannot matter.
docs/losses.md says which kind suits which target.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float64, Int, Int64, Num, Shaped
from torch import Tensor

from tenfold.metrics import expected_calibration_error, majority_class
from tenfold.schema import (
    CategoryTarget,
    MultiLabelTarget,
    NetworkTarget,
    NumberTarget,
    OpenTarget,
    OrderedTarget,
)
from tenfold.targets import decisions
from tenfold.targets.labels import TargetStats, known_rows
from tenfold.targets.scores import class_scores, open_scores, ordered_scores, quantity_scores, tag_scores
from tenfold.values import TargetPrediction

#: Probabilities, or of a number the number itself.
Answers = Float64[np.ndarray, "rows answers"]
#: Labels of any kind, as `data.labels` has them.
Labels = Num[np.ndarray, " rows *questions"]
#: What each row counts in a score; None where all count alike.
RowWeights = Float64[np.ndarray, " rows"] | None


@runtime_checkable
class Head(Protocol):
    """What every target kind must offer. `outputs` is its share of the last layer's width.

    facts: what was decided of the target.
    classes: class names; empty for numbers.  answers: columns of what `probabilities` returns.
    doubts: whether it answers less surely where a row is like none of training's (`nn.familiar`).
    variance: what its loss is to a Gaussian or Gibbs likelihood of variance 1: 1, or 1/2 for squared errors.
    """

    name: str
    kind: str
    classes: tuple[str, ...]
    outputs: int
    answers: int
    doubts: bool
    variance: float
    facts: TargetStats

    def loss_sum(
        self,
        raw: Float[Tensor, "rows outputs"],
        labels: Num[Tensor, " rows *questions"],
        weights: Float[Tensor, " rows *asked"],
    ) -> Float[Tensor, ""]:
        """Sum over rows (and questions) of weight x loss, exactly 0 where nothing is known.

        raw: (rows, outputs).  labels, weights: as `data.labels` says; any label where the weight is 0.
        """
        ...

    def probabilities(self, raw: Float[Tensor, "rows outputs"]) -> Float64[Tensor, "rows answers"]:
        """Raw outputs (rows, outputs) -> (rows, answers) float64: probabilities, or the number itself."""
        ...

    def calibrated(self, probabilities: Answers) -> Answers:
        """Probabilities with the stored temperature; numbers as they are."""
        ...

    def decode(self, probabilities: Answers) -> TargetPrediction:
        """Probabilities (rows, answers) -> the answer in the user's words."""
        ...

    def baseline(self, labels: Labels, weights: RowWeights = None) -> Any:
        """What one would answer without a model, from training labels, in JSON's types; None without any."""
        ...

    def scores(
        self, probabilities: Answers, labels: Labels, *, baseline: Any = None, weights: RowWeights = None
    ) -> dict[str, Any]:
        """Everything that is shown of the target, as in `scores`; `baseline` adds the baseline.

        weights: here and below, what each row counts; 1 where they are not given.
        """
        ...

    def primary_loss(self, scores: Mapping[str, Any]) -> float:
        """The one figure that stands for all scores, of which less is better."""
        ...

    def tuned(self, probabilities: Answers, labels: Labels, weights: RowWeights = None) -> TargetStats:
        """The facts with thresholds tuned on these rows, which did not train."""
        ...

    def temperature(self, probabilities: Answers, labels: Labels, weights: RowWeights = None) -> float | None:
        """The temperature that suits these rows best; None where the kind has none, or nothing is known."""
        ...

    def calibration_error(self, probabilities: Answers, labels: Labels, weights: RowWeights = None) -> float:
        """Expected calibration error of probabilities; NaN where the kind has none."""
        ...


class _Listed:
    """What the kinds with a list of classes have in common: an output and an answer for each."""

    doubts = False
    variance = 1.0

    def __init__(
        self,
        name: str,
        classes: tuple[str, ...],
        *,
        label_smoothing: float = 0.0,
        facts: TargetStats | None = None,
    ) -> None:
        self.name, self.classes = name, classes
        self.outputs = self.answers = len(classes)
        self.label_smoothing = label_smoothing
        self.facts = facts or TargetStats()


class _Classes(_Listed):
    """What the kinds with one class a row have in common: softmax-like probabilities that sum to 1."""

    kind = "category"

    def logs(self, raw: Float[Tensor, "rows {self.outputs}"]) -> Float[Tensor, "rows {self.answers}"]:
        """Raw outputs (rows, outputs) -> log probabilities (rows, classes), in the precision of `raw`."""
        raise NotImplementedError

    def loss_sum(
        self,
        raw: Float[Tensor, "rows outputs"],
        labels: Int64[Tensor, " rows"],
        weights: Float[Tensor, " rows"],
    ) -> Float[Tensor, ""]:
        """Sum over rows with weight > 0 of weight x smoothed cross-entropy; exactly 0 where there is none.

        raw: (rows, outputs).  labels: (rows,) int64 class index, anything where the weight is 0.
        weights: (rows,), 0 where the label is missing.
        """
        # Unknown rows are left out, not multiplied by 0: 0 x NaN would still be NaN.
        known = weights > 0
        raw, labels, weights = _wide(raw[known]), labels[known], weights[known]
        logs = self.logs(raw)
        loss = -logs.gather(1, labels[:, None]).squeeze(1)
        if self.label_smoothing:
            loss = (1.0 - self.label_smoothing) * loss - self.label_smoothing * logs.mean(dim=1)
        return (weights.to(loss.dtype) * loss).sum()

    def calibrated(self, probabilities: Answers) -> Answers:
        """Probabilities (rows, classes) with the stored temperature."""
        cold = self.facts.temperature == 1.0
        return probabilities if cold else decisions.tempered(probabilities, self.facts.temperature)

    def primary_loss(self, scores: Mapping[str, Any]) -> float:
        """The log loss."""
        return scores["log_loss"]

    def baseline(self, labels: Int[np.ndarray, " rows"], weights: RowWeights = None) -> Any:
        """The most common class."""
        found = majority_class(labels, weights=weights)
        return None if found is None else int(found)

    def tuned(
        self, probabilities: Answers, labels: Int[np.ndarray, " rows"], weights: RowWeights = None
    ) -> TargetStats:
        """The facts as they are: one class is answered in any case."""
        return self.facts

    def temperature(
        self, probabilities: Answers, labels: Int[np.ndarray, " rows"], weights: RowWeights = None
    ) -> float | None:
        """The temperature that suits these rows best."""
        known = (labels >= 0) & (labels < self.answers) & _counting(labels, weights)
        if not known.any():
            return None
        own = None if weights is None else weights[known]
        return decisions.class_temperature(probabilities[known], labels[known], own)

    def calibration_error(
        self, probabilities: Answers, labels: Int[np.ndarray, " rows"], weights: RowWeights = None
    ) -> float:
        """Mean gap between the answer's probability and how often it is right."""
        return expected_calibration_error(probabilities, labels, weights=weights)


class CategoryHead(_Classes):
    """One of several classes: softmax cross-entropy straight from the raw outputs.

    With smoothing e the loss of a row of class y is (1-e)(-log p_y) + e mean_c(-log p_c)
    (Szegedy et al. 2016, arXiv 1512.00567, section 7). The log of the softmax is taken in one step, in
    at least float32, so that no probability is ever rounded to zero before its logarithm.
    """

    def logs(self, raw: Float[Tensor, "rows {self.outputs}"]) -> Float[Tensor, "rows {self.answers}"]:
        """Log of the softmax of raw outputs (rows, classes)."""
        return F.log_softmax(raw, dim=1)

    def probabilities(
        self, raw: Float[Tensor, "rows {self.outputs}"]
    ) -> Float64[Tensor, "rows {self.answers}"]:
        """Softmax of raw outputs (rows, classes), in float64."""
        return torch.softmax(raw.double(), dim=1)

    def decode(self, probabilities: Answers) -> TargetPrediction:
        """The most probable class of each row, by name; the first of equals."""
        names = np.array(self.classes, dtype=object)
        return TargetPrediction(self.kind, self.classes, probabilities, names[probabilities.argmax(axis=1)])

    def scores(
        self,
        probabilities: Answers,
        labels: Int[np.ndarray, " rows"],
        *,
        baseline: Any = None,
        weights: RowWeights = None,
    ) -> dict[str, Any]:
        """Error rate, log loss, macro F1, and AUC of two classes."""
        return class_scores(probabilities, labels, baseline=baseline, weights=weights)


class OrderedHead(_Classes):
    """One of several classes that have an order: is it higher than this one, class by class.

    Output k is the logit of "higher than class k, given that it is at least class k", so that
    p_y = prod_{k<y} s(z_k) x (1 - s(z_y)) and the probabilities of all classes sum to 1 whatever the outputs
    (continuation ratios: Fienberg 1980; for networks Shi, Cao and Raschka 2021, arXiv 2111.08851). The loss
    is -log p_y, smoothed as that of a category; the logarithms of s and 1 - s are taken in one step.
    """

    kind = "ordered"

    def __init__(
        self,
        name: str,
        classes: tuple[str, ...],
        *,
        label_smoothing: float = 0.0,
        facts: TargetStats | None = None,
    ) -> None:
        super().__init__(name, classes, label_smoothing=label_smoothing, facts=facts)
        self.outputs = len(classes) - 1

    def logs(self, raw: Float[Tensor, "rows {self.outputs}"]) -> Float[Tensor, "rows {self.answers}"]:
        """Log probabilities (rows, classes) of raw outputs (rows, classes - 1)."""
        passed = F.pad(F.logsigmoid(raw).cumsum(dim=1), (1, 0))
        return passed + F.pad(F.logsigmoid(-raw), (0, 1))

    def probabilities(
        self, raw: Float[Tensor, "rows {self.outputs}"]
    ) -> Float64[Tensor, "rows {self.answers}"]:
        """Probabilities (rows, classes) in float64."""
        return self.logs(raw.double()).exp()

    def decode(self, probabilities: Answers) -> TargetPrediction:
        """The median class, which has the smallest expected distance in ranks."""
        names = np.array(self.classes, dtype=object)
        return TargetPrediction(self.kind, self.classes, probabilities, names[self._medians(probabilities)])

    def _medians(self, probabilities: Answers) -> Int[np.ndarray, " rows"]:
        # The last column is left out, so that rounding of the sum cannot lead beyond the list.
        return (probabilities.cumsum(axis=1)[:, :-1] < 0.5).sum(axis=1)

    def scores(
        self,
        probabilities: Answers,
        labels: Int[np.ndarray, " rows"],
        *,
        baseline: Any = None,
        weights: RowWeights = None,
    ) -> dict[str, Any]:
        """As of a category, and how far off in ranks."""
        bad = np.isnan(probabilities).any(axis=1)
        median = np.where(bad, -1, self._medians(probabilities))
        return ordered_scores(probabilities, labels, median, baseline=baseline, weights=weights)


class _Questions(_Listed):
    """What the kinds have in common that ask a yes-or-no question of each class: binary cross-entropy.

    The loss of a question with answer t (1 yes, 0 no) is max(z, 0) - z t + log(1 + exp(-|z|)), which is
    -t log s(z) - (1 - t) log(1 - s(z)) without ever taking the sigmoid. The batch's denominator counts
    questions, so that a target of forty tags weighs no more than one of two.
    """

    kind = "multilabel"

    @property
    def thresholds(self) -> Float64[np.ndarray, " {self.answers}"]:
        """Of each class, the least probability of a yes."""
        return np.array(self.facts.thresholds or [0.5] * self.answers)

    def questions(self, labels: Num[Tensor, " rows *questions"]) -> Shaped[Tensor, "rows {self.answers}"]:
        """Labels of the kind -> (rows, classes) of 0 and 1; anything where nothing is known."""
        raise NotImplementedError

    def loss_sum(
        self,
        raw: Float[Tensor, "rows classes"],
        labels: Num[Tensor, " rows *questions"],
        weights: Float[Tensor, "rows classes"],
    ) -> Float[Tensor, ""]:
        """Sum over known questions of weight x binary cross-entropy; exactly 0 where there is none.

        raw: (rows, classes).  labels: of the kind.  weights: (rows, classes), 0 where not known.
        """
        known = weights > 0
        wide = _wide(raw[known])
        answers = self.questions(labels)[known].to(wide.dtype)
        if self.label_smoothing:
            answers = answers * (1.0 - self.label_smoothing) + self.spread
        loss = F.binary_cross_entropy_with_logits(wide, answers, reduction="none")
        return (weights[known].to(loss.dtype) * loss).sum()

    @property
    def spread(self) -> float:
        """What smoothing gives to every answer: half, as yes and no are two classes."""
        return self.label_smoothing / 2

    def probabilities(
        self, raw: Float[Tensor, "rows {self.outputs}"]
    ) -> Float64[Tensor, "rows {self.answers}"]:
        """Sigmoid of raw outputs (rows, classes), in float64; rows need not sum to 1."""
        return torch.sigmoid(raw.double())

    def calibrated(self, probabilities: Answers) -> Answers:
        """Probabilities (rows, classes) with the stored temperature."""
        cold = self.facts.temperature == 1.0
        return probabilities if cold else decisions.tempered_questions(probabilities, self.facts.temperature)

    def primary_loss(self, scores: Mapping[str, Any]) -> float:
        """The log loss."""
        return scores["log_loss"]

    def asked(self, labels: Labels) -> Int[np.ndarray, "rows {self.answers}"]:
        """(rows, classes) 1 yes, 0 no, -1 not known, for scores."""
        raise NotImplementedError

    def temperature(self, probabilities: Answers, labels: Labels, weights: RowWeights = None) -> float | None:
        """The temperature that suits these rows best."""
        asked = np.where(_counting(labels, weights)[:, None], self.asked(labels), -1)
        if not (asked >= 0).any():
            return None
        return decisions.question_temperature(probabilities, asked, weights)

    def calibration_error(self, probabilities: Answers, labels: Labels, weights: RowWeights = None) -> float:
        """Expected calibration error over all questions."""
        return decisions.question_calibration_error(probabilities, self.asked(labels), weights)

    def _thresholds(
        self, probabilities: Answers, labels: Labels, weights: RowWeights, *, reject: bool
    ) -> TargetStats:
        there = _counting(labels, weights)
        found = decisions.tune_thresholds(
            probabilities[there],
            self.asked(labels[there]),
            reject=reject,
            weights=None if weights is None else weights[there],
        )
        return self.facts.model_copy(update={"thresholds": tuple(found.tolist())})


class OpenHead(_Questions):
    """One of several classes or none of them: one-vs-rest, so that every class may say no.

    Smoothing spreads its part over all classes, as that of a category does. The loss is the mean over the
    classes of each row, since the denominator counts questions.
    """

    kind = "open"
    doubts = True

    def __init__(self, target: OpenTarget, classes: tuple[str, ...], **options: Any) -> None:
        super().__init__(target.name, classes, **options)
        self.none = target.none

    def questions(self, labels: Int64[Tensor, " rows"]) -> Bool[Tensor, "rows {self.answers}"]:
        """Class index per row (the number of classes for none) -> one yes at most."""
        return labels[:, None] == torch.arange(self.answers, device=labels.device)

    @property
    def spread(self) -> float:
        """The smoothed part, spread over all classes; of a single class half, as of any question."""
        return self.label_smoothing / max(2, self.answers)

    def asked(self, labels: Int[np.ndarray, " rows"]) -> Int[np.ndarray, "rows {self.answers}"]:
        """(rows, classes) 1 yes, 0 no, -1 not known."""
        yes = (labels[:, None] == np.arange(self.answers)).astype(np.int64)
        return np.where(labels[:, None] >= 0, yes, -1)

    def _best(self, probabilities: Answers) -> Int[np.ndarray, " rows"]:
        sure = np.where(probabilities >= self.thresholds, probabilities, -1.0)
        return np.where((sure >= 0).any(axis=1), sure.argmax(axis=1), self.answers)

    def decode(self, probabilities: Answers) -> TargetPrediction:
        """The most probable of the classes that reach their threshold, or none."""
        names = np.array([*self.classes, self.none], dtype=object)
        return TargetPrediction(
            self.kind,
            self.classes,
            probabilities,
            names[self._best(probabilities)],
            thresholds=tuple(self.thresholds.tolist()),
            none=self.none,
        )

    def baseline(self, labels: Int[np.ndarray, " rows"], weights: RowWeights = None) -> Any:
        """The most common class; the number of classes is none of them."""
        found = majority_class(labels, weights=weights)
        return None if found is None else int(found)

    def tuned(
        self, probabilities: Answers, labels: Int[np.ndarray, " rows"], weights: RowWeights = None
    ) -> TargetStats:
        """Thresholds with the best F1 that still let "none" be an answer."""
        return self._thresholds(probabilities, labels, weights, reject=True)

    def scores(
        self,
        probabilities: Answers,
        labels: Int[np.ndarray, " rows"],
        *,
        baseline: Any = None,
        weights: RowWeights = None,
    ) -> dict[str, Any]:
        """Error rate with "none" as an answer; log loss and precision of the questions."""
        bad = np.isnan(probabilities).any(axis=1)
        best = np.where(bad, -1, self._best(probabilities))
        return open_scores(
            probabilities, labels, best, self.classes, self.thresholds, baseline=baseline, weights=weights
        )


class MultiLabelHead(_Questions):
    """Any number of classes at once."""

    def __init__(self, target: MultiLabelTarget, classes: tuple[str, ...], **options: Any) -> None:
        super().__init__(target.name, classes, **options)
        self.none, self.columns = target.none, target.columns

    def questions(self, labels: Num[Tensor, "rows {self.answers}"]) -> Num[Tensor, "rows {self.answers}"]:
        """(rows, classes) of 0 and 1, as they are."""
        return labels

    def asked(self, labels: Int[np.ndarray, "rows _"]) -> Int[np.ndarray, "rows {self.answers}"]:
        """(rows, classes) without the column of strangers."""
        return labels[:, : self.answers]

    def decode(self, probabilities: Answers) -> TargetPrediction:
        """The classes that reach their threshold, in the order of the class list."""
        values = np.empty(len(probabilities), dtype=object)
        for row, yes in enumerate(probabilities >= self.thresholds):
            values[row] = tuple(self.classes[place] for place in np.flatnonzero(yes))
        return TargetPrediction(
            self.kind,
            self.classes,
            probabilities,
            values,
            thresholds=tuple(self.thresholds.tolist()),
            separator=self.facts.separator or " ",
            none=self.none,
            columns=self.columns,
        )

    def baseline(self, labels: Int[np.ndarray, "rows _"], weights: RowWeights = None) -> Any:
        """The most common set of classes among the wholly known rows, as 0 and 1."""
        whole = (labels >= 0).all(axis=1) & _counting(labels, weights)
        if not whole.any():
            return None
        sets, place = np.unique(labels[whole], axis=0, return_inverse=True)
        counts = np.bincount(place.ravel(), weights=None if weights is None else weights[whole])
        return sets[counts.argmax()].tolist()

    def tuned(
        self, probabilities: Answers, labels: Int[np.ndarray, "rows _"], weights: RowWeights = None
    ) -> TargetStats:
        """Thresholds with the best F1 of each class."""
        return self._thresholds(probabilities, labels, weights, reject=False)

    def scores(
        self,
        probabilities: Answers,
        labels: Int[np.ndarray, "rows _"],
        *,
        baseline: Any = None,
        weights: RowWeights = None,
    ) -> dict[str, Any]:
        """F1 and average precision, micro, macro and of each class; and how often all is right."""
        return tag_scores(
            probabilities, labels, self.classes, self.thresholds, baseline=baseline, weights=weights
        )


class NumberHead:
    """A number, in units of its training labels' deviation: squared error, whose best answer is the mean.

    Free: mean + deviation x z. Bounded: low + (high - low) s(z), a sigmoid stretched beyond the range, since
    it reaches its ends at infinity only; the answer is cut to the range. With `huber` the squares go over
    into straight lines beyond one deviation (Huber 1964), scaled so that small errors count the same.
    """

    kind = "number"
    classes: tuple[str, ...] = ()
    outputs = answers = 1
    doubts = False
    variance = 0.5

    def __init__(self, target: NumberTarget, facts: TargetStats, *, huber: bool = False) -> None:
        self.name, self.facts, self.huber = target.name, facts, huber
        self.range = None if target.low is None or target.high is None else (target.low, target.high)

    def loss_sum(
        self,
        raw: Float[Tensor, "rows 1"],
        labels: Num[Tensor, " rows"],
        weights: Float[Tensor, " rows"],
    ) -> Float[Tensor, ""]:
        """Sum over rows with weight > 0 of weight x squared standardised error; exactly 0 without any.

        raw: (rows, 1).  labels, weights: (rows,), the label anything where the weight is 0.
        """
        known = weights > 0
        found = self._standardised(_wide(raw[known].squeeze(1)))
        # Labels are standardised in float64: years differ little beside their size.
        truth = ((labels[known].double() - self.facts.mean) / self.facts.deviation).to(found.dtype)
        if self.huber:
            loss = 2.0 * F.huber_loss(found, truth, reduction="none")
        else:
            loss = (found - truth).square()
        return (weights[known].to(loss.dtype) * loss).sum()

    def _standardised(self, raw: Float[Tensor, "*rows"]) -> Float[Tensor, "*rows"]:
        low, high = self.facts.low, self.facts.high
        if low is None or high is None:
            return raw
        start, width = (low - self.facts.mean) / self.facts.deviation, (high - low) / self.facts.deviation
        return start + width * torch.sigmoid(raw)

    def probabilities(self, raw: Float[Tensor, "rows 1"]) -> Float64[Tensor, "rows 1"]:
        """The number itself (rows, 1), in float64 and in the labels' unit."""
        found = self.facts.mean + self.facts.deviation * self._standardised(raw.double())
        return found if self.range is None else found.clamp(*self.range)

    def calibrated(self, probabilities: Answers) -> Answers:
        """The number as it is."""
        return probabilities

    def decode(self, probabilities: Answers) -> TargetPrediction:
        """The number of each row."""
        return TargetPrediction(self.kind, (), None, probabilities[:, 0].copy())

    def baseline(self, labels: Num[np.ndarray, " rows"], weights: RowWeights = None) -> Any:
        """The mean."""
        known = known_rows(labels) & _counting(labels, weights)
        if not known.any():
            return None
        return float(np.average(labels[known], weights=None if weights is None else weights[known]))

    def scores(
        self,
        probabilities: Answers,
        labels: Num[np.ndarray, " rows"],
        *,
        baseline: Any = None,
        weights: RowWeights = None,
    ) -> dict[str, Any]:
        """RMSE, MAE and R2, in the labels' unit."""
        return quantity_scores(probabilities[:, 0], labels, baseline=baseline, weights=weights)

    def primary_loss(self, scores: Mapping[str, Any]) -> float:
        """The mean squared error in units of the training labels' variance; infinite if an answer is."""
        return float("inf") if scores.get("unscored") else (scores["rmse"] / self.facts.deviation) ** 2

    def tuned(
        self, probabilities: Answers, labels: Num[np.ndarray, " rows"], weights: RowWeights = None
    ) -> TargetStats:
        """The facts as they are: nothing is decided by a threshold."""
        return self.facts

    def temperature(
        self, probabilities: Answers, labels: Num[np.ndarray, " rows"], weights: RowWeights = None
    ) -> float | None:
        """None: a number has no probabilities."""
        return None

    def calibration_error(
        self, probabilities: Answers, labels: Num[np.ndarray, " rows"], weights: RowWeights = None
    ) -> float:
        """NaN: a number has no probabilities."""
        return float("nan")


def _counting(labels: Labels, weights: RowWeights) -> Bool[np.ndarray, " rows"]:
    """Which rows count at all."""
    return np.ones(len(labels), dtype=bool) if weights is None else weights > 0


def build_head(
    target: NetworkTarget,
    classes: tuple[str, ...],
    *,
    label_smoothing: float,
    facts: TargetStats | None = None,
    huber: bool = False,
) -> Head:
    """The head of a target's kind.

    classes: empty for a number.  facts: what was decided of the target (`data.labels`).
    """
    facts = facts or TargetStats()
    if isinstance(target, NumberTarget):
        return NumberHead(target, facts, huber=huber)
    if isinstance(target, CategoryTarget):
        return CategoryHead(target.name, classes, label_smoothing=label_smoothing, facts=facts)
    if isinstance(target, OrderedTarget):
        return OrderedHead(target.name, classes, label_smoothing=label_smoothing, facts=facts)
    kind = OpenHead if isinstance(target, OpenTarget) else MultiLabelHead
    return kind(target, classes, label_smoothing=label_smoothing, facts=facts)  # type: ignore[arg-type]


def _wide(raw: Float[Tensor, "*rows"]) -> Float[Tensor, "*rows"]:
    return raw.float() if raw.dtype in (torch.float16, torch.bfloat16) else raw
