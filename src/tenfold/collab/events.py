"""What events weigh: by their strength, and beside the pairs of which nothing is known."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tenfold.values import Extra

__all__ = ["FLOOR", "event_regression", "event_weights"]

#: Least ridge of any row: a row of few ratings and no weight decay has one solution, too.
FLOOR = 1e-4


def event_weights(strength: NDArray[np.floating], confidence: float) -> NDArray[np.float32]:
    """What events of a strength weigh: log2(1 + strength x confidence), 1 where the product is 1.

    With a confidence of 0 each weighs 1, whatever its strength.
    """
    if confidence == 0:
        return np.ones(len(strength), np.float32)
    return np.log2(1 + np.asarray(strength, np.float64) * confidence).astype(np.float32)


def event_regression(
    extra: Extra, strength: NDArray[np.float64], gram: NDArray[np.floating], others: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Of a row of events: weights and pulls of its events, and what its matrix has beside them.

    strength: (events,).  gram: (factors, factors), the products of the factors of the other side, of `others`
    rows. Models of earlier versions have no weight of unobserved pairs: theirs is 1, an event adds
    confidence x strength, and weight decay is of a whole row.
    """
    ridge = np.eye(len(gram)) * (1.0 if extra.weight_decay is None else extra.weight_decay)
    confidence = 1.0 if extra.confidence is None else extra.confidence
    if extra.unobserved is None:
        weight = confidence * strength
        return weight, 1 + weight, (gram + np.maximum(ridge, FLOOR * np.eye(len(gram)))).astype(np.float64)
    weight = event_weights(strength, confidence).astype(np.float64)
    beside = extra.unobserved * gram.astype(np.float64) + ridge * (len(strength) + extra.unobserved * others)
    return weight, weight, beside
