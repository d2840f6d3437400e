"""Last layers: what turns features into a target's raw outputs, its loss and its decoded answer.

One class per target kind. A loss here is always a *sum over rows*, never a mean: the training loop
divides by the batch's own denominator (docs/memory.md), so that the cut into micro-batches cannot matter.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from tenfold.schema import CategoryTarget, Target
from tenfold.values import TargetPrediction


class Head(Protocol):
    """What every target kind must offer. `outputs` is its share of the last layer's width."""

    name: str
    kind: str
    outputs: int

    def loss_sum(self, raw: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        """Sum over rows of weight x loss. raw (rows, outputs), labels (rows,), weights (rows,)."""
        ...

    def probabilities(self, raw: Tensor) -> Tensor:
        """Raw outputs (rows, outputs) -> probabilities, float64."""
        ...

    def decode(self, probabilities: NDArray[np.float64]) -> TargetPrediction:
        """Probabilities (rows, outputs) -> the answer in the user's words."""
        ...


class CategoryHead:
    """One of several classes: softmax cross-entropy straight from the raw outputs.

    With smoothing e the loss of a row of class y is (1-e)(-log p_y) + e mean_c(-log p_c)
    (Szegedy et al. 2016, arXiv 1512.00567, section 7). The log of the softmax is taken in one step, in
    at least float32, so that no probability is ever rounded to zero before its logarithm.
    """

    kind = "category"

    def __init__(self, name: str, classes: tuple[str, ...], *, label_smoothing: float = 0.0) -> None:
        self.name, self.classes, self.outputs = name, classes, len(classes)
        self.label_smoothing = label_smoothing

    def loss_sum(self, raw: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        """Sum over rows with weight > 0 of weight x smoothed cross-entropy; exactly 0 where there is none.

        raw: (rows, classes).  labels: (rows,) int64 class index, anything where the weight is 0.
        weights: (rows,), 0 where the label is missing.
        """
        # Unknown rows are left out, not multiplied by 0: 0 x NaN would still be NaN.
        known = weights > 0
        raw, labels, weights = _wide(raw[known]), labels[known], weights[known]
        logs = F.log_softmax(raw, dim=1)
        loss = -logs.gather(1, labels[:, None]).squeeze(1)
        if self.label_smoothing:
            loss = (1.0 - self.label_smoothing) * loss - self.label_smoothing * logs.mean(dim=1)
        return (weights.to(loss.dtype) * loss).sum()

    def probabilities(self, raw: Tensor) -> Tensor:
        """Softmax of raw outputs (rows, classes), in float64."""
        return torch.softmax(raw.double(), dim=1)

    def decode(self, probabilities: NDArray[np.float64]) -> TargetPrediction:
        """The most probable class of each row, by name; the first of equals."""
        names = np.array(self.classes, dtype=object)
        return TargetPrediction(self.kind, self.classes, probabilities, names[probabilities.argmax(axis=1)])


def build_head(target: Target, classes: tuple[str, ...], *, label_smoothing: float) -> Head:
    """The head of a target's kind."""
    assert isinstance(target, CategoryTarget)
    return CategoryHead(target.name, classes, label_smoothing=label_smoothing)


def _wide(raw: Tensor) -> Tensor:
    return raw.float() if raw.dtype in (torch.float16, torch.bfloat16) else raw
