"""Losses and metrics as users write them, in a file that can be imported."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def square(outputs: Tensor, labels: Tensor) -> Tensor:
    return (outputs - labels).square()


def pinball(outputs: Tensor, labels: Tensor) -> Tensor:
    over = labels - outputs
    return torch.maximum(0.9 * over, -0.1 * over)


def cross_entropy(outputs: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(outputs, labels, reduction="none")


def questions(outputs: Tensor, labels: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(outputs, labels, reduction="none")


def averaged(outputs: Tensor, labels: Tensor) -> Tensor:
    return (outputs - labels).square().mean()


def column(outputs: Tensor, labels: Tensor) -> Tensor:
    return (outputs - labels).square()[:, None]


def mixed(outputs: Tensor, labels: Tensor) -> Tensor:
    return (outputs - labels).square() - outputs.mean()


def detached(outputs: Tensor, labels: Tensor) -> Tensor:
    return (outputs.detach() - labels).square()


def arrays(outputs: Tensor, labels: Tensor) -> object:
    return np.abs(labels.numpy())


def median_error(answers: np.ndarray, labels: np.ndarray) -> float:
    return float(np.median(np.abs(answers - labels)))


def wrong(answers: np.ndarray, labels: np.ndarray) -> float:
    return float((answers.argmax(axis=1) != labels).mean())


def words(answers: np.ndarray, labels: np.ndarray) -> str:
    return "good"
