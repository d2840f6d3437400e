"""Last layers: what turns features into a target's raw outputs, and its loss.

One class per target kind, which adds torch to that of `targets`. A loss here is always a *sum over rows*,
never a mean: the training loop divides by the batch's own denominator (docs/memory.md), so that the cut into
micro-batches cannot matter. docs/losses.md says which kind suits which target.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float64, Int64, Num, Shaped
from torch import Tensor

from tenfold.errors import SchemaError
from tenfold.functions import load_function
from tenfold.metrics import SMALLEST
from tenfold.schema import NetworkTarget
from tenfold.targets.base import TargetKind, TargetStats
from tenfold.targets.classes import CategoryKind, OrderedKind
from tenfold.targets.count import CountKind
from tenfold.targets.number import NumberKind
from tenfold.targets.questions import MultiLabelKind, OpenKind, QuestionsKind


class Head(TargetKind):
    """A target's kind with its share of the last layer.

    label_smoothing: of classes.  huber: the loss of a number goes over into straight lines.
    """

    label_smoothing: float = 0.0
    huber: bool = False
    #: Whether each class is a question of its own, with a raw output and a loss.
    wide: ClassVar[bool] = False

    def loss_sum(
        self,
        raw: Float[Tensor, "rows outputs"],
        labels: Num[Tensor, " rows *questions"],
        weights: Float[Tensor, " rows *asked"],
    ) -> Float[Tensor, ""]:
        """Sum over rows (and questions) of weight x loss, exactly 0 where nothing is known.

        raw: (rows, outputs).  labels, weights: as `targets.labels` says; any label where the weight is 0.
        """
        # Unknown rows are left out, not multiplied by 0: 0 x NaN would still be NaN.
        known = weights > 0
        wide = raw[known]
        wide = wide.float() if wide.dtype in (torch.float16, torch.bfloat16) else wide
        asked = self.asked_of(labels)[known]
        loss = self.losses(wide, asked) if self.target.loss is None else self.own_losses(wide, asked)
        return (weights[known].to(loss.dtype) * loss).sum()

    def own_losses(
        self, raw: Float[Tensor, " known *outputs"], labels: Shaped[Tensor, " known"]
    ) -> Float[Tensor, " known"]:
        """Losses of rows by the target's own function, as `losses`."""
        loss = load_function(str(self.target.loss))(self.own_outputs(raw), labels.to(self.own_labels(raw)))
        if not isinstance(loss, Tensor) or loss.shape != labels.shape:
            shape = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
            raise SchemaError(
                f"{self.name}: {self.target.loss} returns {shape} for {len(labels)} rows",
                found="a loss of each row is needed, whose batches tenfold averages itself",
                fix="return a tensor of shape (rows,): no mean, reduction='none'",
            )
        return loss

    def own_outputs(self, raw: Float[Tensor, " known *outputs"]) -> Float[Tensor, " known *answers"]:
        """What an own loss gets of raw outputs: these themselves, of classes and of questions."""
        return raw

    def rescaled(self, before: Head) -> tuple[float, float] | None:
        """(factor, shift) that bring raw outputs of another training of this target to those of the same
        answers here; None where nothing does."""
        return 1.0, 0.0

    def own_labels(self, raw: Float[Tensor, " known *outputs"]) -> torch.dtype:
        """The type of the labels that an own loss gets: that of `raw`, but for class numbers."""
        return raw.dtype

    def check_own_loss(
        self, labels: Num[Tensor, " rows *questions"], weights: Float[Tensor, " rows *asked"]
    ) -> None:
        """Try the target's own loss on some labels and random outputs, row by row and all at once.

        Raises SchemaError where it has the wrong shape, does not depend on the outputs, or makes a row's loss
        depend on other rows: the cut into micro-batches would then change the answer.
        """
        if self.target.loss is None:
            return
        asked = self.asked_of(labels)
        shape = asked.shape if self.wide else (len(asked), self.outputs)
        raw = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        known = weights > 0
        rows, truth = raw[known].requires_grad_(), asked[known]
        if not len(truth):
            return
        whole = self.own_losses(rows, truth)
        if not whole.requires_grad:
            raise SchemaError(
                f"{self.name}: {self.target.loss} does not depend on the outputs: nothing would be learned",
                fix="calculate with torch alone: no numpy, no detach()",
            )
        with torch.no_grad():
            each = torch.cat(
                [self.own_losses(rows[at : at + 1], truth[at : at + 1]) for at in range(len(truth))]
            )
        if not torch.allclose(whole, each, rtol=1e-6, atol=1e-9, equal_nan=True):
            raise SchemaError(
                f"{self.name}: {self.target.loss} gives a row another loss where other rows are beside it",
                found="batches are cut to fit into memory, so a row's loss must be its own",
                fix="let row i of the answer depend on row i of outputs and labels only",
            )

    def soft_labels(
        self, answers: Float64[Tensor, "rows answers"]
    ) -> list[tuple[Num[Tensor, " rows *questions"], Float64[Tensor, " rows *asked"]]]:
        """Somebody's answers as labels and what each counts: together a row counts 1.

        answers: probabilities, or numbers. The loss of all is the cross-entropy of these probabilities.
        """
        return [(answers[:, 0], torch.ones_like(answers[:, 0]))]

    def asked_of(self, labels: Num[Tensor, " rows *questions"]) -> Shaped[Tensor, " rows *asked"]:
        """Labels in the shape of their weights."""
        return labels

    @abstractmethod
    def losses(
        self, raw: Float[Tensor, " known *outputs"], labels: Shaped[Tensor, " known"]
    ) -> Float[Tensor, " known"]:
        """Losses of rows, or questions, with a label. raw: in float32 at least."""

    @abstractmethod
    def probabilities(self, raw: Float[Tensor, "rows outputs"]) -> Float64[Tensor, "rows answers"]:
        """Raw outputs (rows, outputs) -> (rows, answers) float64: probabilities, or the number itself."""

    def calibrated_tensor(
        self, probabilities: Float64[Tensor, "rows answers"]
    ) -> Float64[Tensor, "rows answers"]:
        """What `calibrated` does, as tensor operations."""
        return probabilities


class _Classes(Head):
    """Base of the exclusive kinds: cross-entropy of probabilities that sum to 1, smoothed."""

    def own_outputs(self, raw: Float[Tensor, "known outputs"]) -> Float[Tensor, "known answers"]:
        """Raw outputs of a category; log probabilities of ordered classes, which have an output less."""
        return raw if self.outputs == self.answers else self.logs(raw)

    def own_labels(self, raw: Float[Tensor, "known outputs"]) -> torch.dtype:
        return torch.int64

    @abstractmethod
    def logs(self, raw: Float[Tensor, "rows {self.outputs}"]) -> Float[Tensor, "rows {self.answers}"]:
        """Raw outputs (rows, outputs) -> log probabilities (rows, classes), in the precision of `raw`."""

    def losses(
        self, raw: Float[Tensor, "known outputs"], labels: Int64[Tensor, " known"]
    ) -> Float[Tensor, " known"]:
        logs = self.logs(raw)
        loss = -logs.gather(1, labels[:, None]).squeeze(1)
        if self.label_smoothing:
            loss = (1.0 - self.label_smoothing) * loss - self.label_smoothing * logs.mean(dim=1)
        return loss

    def calibrated_tensor(
        self, probabilities: Float64[Tensor, "rows answers"]
    ) -> Float64[Tensor, "rows answers"]:
        """`decisions.tempered`, as tensor operations."""
        if self.stats.temperature == 1.0:
            return probabilities
        smallest = torch.finfo(torch.float64).tiny
        return torch.softmax(probabilities.clamp(min=smallest).log() / self.stats.temperature, dim=1)

    def soft_labels(
        self, answers: Float64[Tensor, "rows answers"]
    ) -> list[tuple[Int64[Tensor, " rows"], Float64[Tensor, " rows"]]]:
        """Each class as a label, by its probability."""
        rows = torch.ones(len(answers), dtype=torch.int64, device=answers.device)
        return [(rows * index, answers[:, index]) for index in range(answers.shape[1])]


class CategoryHead(_Classes, CategoryKind):
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


class OrderedHead(_Classes, OrderedKind):
    """One of several classes that have an order: is it higher, class by class.

    Output k is the logit of "higher than class k, given that it is at least class k", so that
    p_y = prod_{k<y} s(z_k) x (1 - s(z_y)) and the probabilities of all classes sum to 1 whatever the outputs
    (continuation ratios: Fienberg 1980; for networks Shi, Cao and Raschka 2021, arXiv 2111.08851). The loss
    is -log p_y, smoothed as that of a category; the logarithms of s and 1 - s are taken in one step.
    """

    def logs(self, raw: Float[Tensor, "rows {self.outputs}"]) -> Float[Tensor, "rows {self.answers}"]:
        """Log probabilities (rows, classes) of raw outputs (rows, classes - 1)."""
        passed = F.pad(F.logsigmoid(raw).cumsum(dim=1), (1, 0))
        return passed + F.pad(F.logsigmoid(-raw), (0, 1))

    def probabilities(
        self, raw: Float[Tensor, "rows {self.outputs}"]
    ) -> Float64[Tensor, "rows {self.answers}"]:
        """Probabilities (rows, classes) in float64."""
        return self.logs(raw.double()).exp()


class _Questions(Head, QuestionsKind):
    """Base of the kinds that ask a yes-or-no question of each class: binary cross-entropy.

    The loss of a question with answer t (1 yes, 0 no) is max(z, 0) - z t + log(1 + exp(-|z|)), which is
    -t log s(z) - (1 - t) log(1 - s(z)) without ever taking the sigmoid. The batch's denominator counts
    questions, so that a target of forty tags weighs no more than one of two.
    """

    wide = True

    def losses(
        self, raw: Float[Tensor, " known"], labels: Shaped[Tensor, " known"]
    ) -> Float[Tensor, " known"]:
        answers = labels.to(raw.dtype)
        if self.label_smoothing:
            answers = answers * (1.0 - self.label_smoothing) + self.label_smoothing / self.smoothed_over
        return F.binary_cross_entropy_with_logits(raw, answers, reduction="none")

    def probabilities(
        self, raw: Float[Tensor, "rows {self.outputs}"]
    ) -> Float64[Tensor, "rows {self.answers}"]:
        """Sigmoid of raw outputs (rows, classes), in float64; rows need not sum to 1."""
        return torch.sigmoid(raw.double())

    def calibrated_tensor(
        self, probabilities: Float64[Tensor, "rows answers"]
    ) -> Float64[Tensor, "rows answers"]:
        """`decisions.tempered_questions`, as tensor operations."""
        if self.stats.temperature == 1.0:
            return probabilities
        sure = probabilities.clamp(SMALLEST, 1 - SMALLEST)
        return torch.sigmoid((sure.log() - torch.log1p(-sure)) / self.stats.temperature)


class OpenHead(_Questions, OpenKind):
    """One of several classes or none of them: one-vs-rest, so that every class may say no.

    Smoothing spreads its part over all classes, as that of a category does. The loss is the mean over the
    classes of each row, since the denominator counts questions.
    """

    def soft_labels(
        self, answers: Float64[Tensor, "rows answers"]
    ) -> list[tuple[Int64[Tensor, " rows"], Float64[Tensor, "rows answers"]]]:
        """For each class the question whether it is that one, by its probability; and none, by the rest."""
        rows = torch.ones(len(answers), dtype=torch.int64, device=answers.device)
        alone = torch.eye(self.answers, dtype=answers.dtype, device=answers.device)
        return [
            *((rows * index, answers * alone[index]) for index in range(self.answers)),
            (rows * self.answers, 1 - answers),
        ]

    def asked_of(self, labels: Int64[Tensor, " rows"]) -> Bool[Tensor, "rows {self.answers}"]:
        """Class index per row (the number of classes for none) -> at most a single yes."""
        return labels[:, None] == torch.arange(self.answers, device=labels.device)


class MultiLabelHead(_Questions, MultiLabelKind):
    """Any number of classes at once."""

    def soft_labels(
        self, answers: Float64[Tensor, "rows answers"]
    ) -> list[tuple[Int64[Tensor, "rows answers"], Float64[Tensor, "rows answers"]]]:
        """Yes to every class by its probability, and no by the rest."""
        yes = torch.ones_like(answers, dtype=torch.int64)
        return [(yes, answers), (1 - yes, 1 - answers)]


class NumberHead(Head, NumberKind):
    """A number, in units of its training labels' deviation: squared error, whose best answer is the mean.

    Free: mean + deviation x z. Bounded: low + (high - low) s(z), a sigmoid stretched beyond the range, since
    it reaches its ends at infinity only; the answer is cut to the range. With `huber` the squares go over
    into straight lines beyond one deviation (Huber 1964), scaled so that small errors count the same.
    """

    def losses(self, raw: Float[Tensor, "known 1"], labels: Num[Tensor, " known"]) -> Float[Tensor, " known"]:
        answers = self._standardised(raw.squeeze(1))
        # Labels are standardised in float64: years differ little beside their size.
        truth = ((labels.double() - self.stats.mean) / self.stats.deviation).to(answers.dtype)
        if self.huber:
            return 2.0 * F.huber_loss(answers, truth, reduction="none")
        return (answers - truth).square()

    def own_outputs(self, raw: Float[Tensor, "known 1"]) -> Float[Tensor, " known"]:
        """The number itself, in the labels' unit."""
        return self.stats.mean + self.stats.deviation * self._standardised(raw.squeeze(1))

    def rescaled(self, before: Head) -> tuple[float, float] | None:
        old, new = before.stats, self.stats
        if (old.low, old.high) != (new.low, new.high):
            return None
        if new.low is not None:
            return 1.0, 0.0
        return old.deviation / new.deviation, (old.mean - new.mean) / new.deviation

    def _standardised(self, raw: Float[Tensor, "*rows"]) -> Float[Tensor, "*rows"]:
        low, high = self.stats.low, self.stats.high
        if low is None or high is None:
            return raw
        start, width = (low - self.stats.mean) / self.stats.deviation, (high - low) / self.stats.deviation
        return start + width * torch.sigmoid(raw)

    def probabilities(self, raw: Float[Tensor, "rows 1"]) -> Float64[Tensor, "rows 1"]:
        """The number itself (rows, 1), in float64 and in the labels' unit."""
        answers = self.stats.mean + self.stats.deviation * self._standardised(raw.double())
        return answers if self.limits is None else answers.clamp(*self.limits)


class CountHead(Head, CountKind):
    """A count: its mean is exp(z) times the mean of the training labels, so that z = 0 is the baseline.

    The loss is the Poisson deviance, 2 (y log(y / mu) - y + mu): twice Poisson's negative log-likelihood,
    less what the label alone decides, and so with twice its gradient, 2 (mu - y). With u = log(mu / y) it is
    2 y (exp(u) - 1 - u), which keeps its digits where the answer is near.
    """

    #: Where the loss goes on as a straight line: answers e^15 times too high have gradients of equal size.
    steepest = 15.0

    def losses(self, raw: Float[Tensor, "known 1"], labels: Num[Tensor, " known"]) -> Float[Tensor, " known"]:
        means, counts = raw.squeeze(1), labels.double()
        scale = torch.where(counts > 0, counts, self.start)
        # In float64: the logarithms of large counts differ little beside their size.
        ratio = means - (scale / self.start).log().to(means.dtype)
        beyond = F.relu(ratio - self.steepest)
        power = torch.expm1(ratio.clamp(max=self.steepest)) + math.exp(self.steepest) * beyond
        return 2.0 * scale.to(means.dtype) * torch.where(counts > 0, power - ratio, power + 1.0)

    def own_outputs(self, raw: Float[Tensor, "known 1"]) -> Float[Tensor, " known"]:
        """The mean count."""
        return self.start * raw.squeeze(1).clamp(max=self.steepest).exp()

    def rescaled(self, before: Head) -> tuple[float, float] | None:
        old = before.stats.mean if before.stats.mean > 0 else 1.0
        return 1.0, math.log(old / self.start)

    def probabilities(self, raw: Float[Tensor, "rows 1"]) -> Float64[Tensor, "rows 1"]:
        """The mean count (rows, 1), in float64."""
        return self.start * raw.double().clamp(max=700.0).exp()


_HEADS: dict[str, type[Head]] = {
    head.kind: head for head in (CategoryHead, OrderedHead, OpenHead, MultiLabelHead, NumberHead, CountHead)
}


def build_head(
    target: NetworkTarget,
    classes: tuple[str, ...] = (),
    stats: TargetStats | None = None,
    *,
    label_smoothing: float = 0.0,
    huber: bool = False,
) -> Head:
    """The head of a target's kind.

    classes: empty for a number.  stats: what was decided of the target.
    """
    head = _HEADS[target.kind](target, classes, stats)
    head.label_smoothing, head.huber = label_smoothing, huber
    return head
