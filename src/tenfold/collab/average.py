"""The mean of many products of factors, kept as one product.

The factors of a sampled model turn and change places from sweep to sweep, so their own mean predicts worse the
longer one samples. What is well defined is the mean of the predictions, P Q^T averaged: a matrix of low rank
but for noise. It is kept here without ever being written out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["ProductMean", "shorten"]

#: Columns gathered before they are shortened, in multiples of the rank.
GATHERED = 4


def shorten(
    left: NDArray[np.float32], right: NDArray[np.float32], rank: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The product of given rank nearest to left @ right.T (Eckart and Young 1936), from left (n, k), right (m, k).

    The new columns are orthogonal, those that matter most first, and of equal length on both sides; where the
    product has a smaller rank the last ones are zeros.
    """
    reach, basis = _reach(left)
    other_reach, other_basis = _reach(right)
    # left = U reach^T with orthogonal U = left basis, so all that is left to do is small.
    first, values, second = np.linalg.svd(reach.T @ other_reach)
    root = np.sqrt(values[:rank])
    kept = min(rank, len(root))
    ends = [np.zeros((len(side), rank), np.float32) for side in (left, right)]
    ends[0][:, :kept] = left @ (basis @ (first[:, :kept] * root)).astype(np.float32)
    ends[1][:, :kept] = right @ (other_basis @ (second[:kept].T * root)).astype(np.float32)
    return ends[0], ends[1]


def _reach(matrix: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """R and B with matrix = U R^T and U = matrix B, the columns of U orthonormal; of the Gram matrix alone."""
    values, vectors = np.linalg.eigh((matrix.T @ matrix).astype(np.float64))
    # Below this a direction is rounding error of the Gram matrix.
    keep = values > max(float(values.max(initial=0.0)) * 1e-7, np.finfo(np.float64).tiny)
    root = np.sqrt(values[keep])
    return vectors[:, keep] * root, vectors[:, keep] / root


class ProductMean:
    """Running mean of products left @ right.T, of one shape each, as one product of at most `rank` columns."""

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.count = 0
        self._left: list[NDArray[np.float32]] = []
        self._right: list[NDArray[np.float32]] = []

    def add(self, left: NDArray[np.float32], right: NDArray[np.float32], count: int = 1) -> None:
        """Count left (n, k) @ right.T, k x m, `count` times. The arrays are kept: hand in copies."""
        self.count += count
        # The weights stand on the left, so that a later product needs no new scaling of the earlier ones.
        self._left.append(left if count == 1 else left * np.float32(count))
        self._right.append(right)
        if sum(part.shape[1] for part in self._left) > (1 + GATHERED) * self.rank:
            self._shorten()

    def product(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """left (n, rank) and right (m, rank) of the mean."""
        left, right = self._shorten()
        share = np.float32(1 / np.sqrt(self.count))
        return left * share, right * share

    def _shorten(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        left, right = shorten(np.hstack(self._left), np.hstack(self._right), self.rank)
        self._left, self._right = [left], [right]
        return left, right
