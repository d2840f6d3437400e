"""The mean of many matrix products P Q^T, as a product of low rank.

Sampled factors rotate and permute from sweep to sweep, so the mean of the factors predicts worse the longer
one samples. The mean of the predictions P Q^T is well defined: a matrix of low rank, plus noise. It is
computed here without being materialized.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["ProductMean", "shorten"]

#: Products that are kept whole at first, to find the directions to project all others on.
GATHERED = 6


def shorten(
    left: NDArray[np.float32], right: NDArray[np.float32], rank: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The product of this rank nearest to left (n, k) @ right.T (k, m); Eckart and Young 1936.

    The new columns are orthogonal, by falling singular value, and of equal length on both sides. If the
    product has a smaller rank, the last ones are zeros.
    """
    reach, basis = _reach(left)
    other_reach, other_basis = _reach(right)
    # left = U reach^T with orthonormal U = left basis: the SVD of a small matrix is enough.
    first, values, second = np.linalg.svd(reach.T @ other_reach, full_matrices=False)
    root = np.sqrt(values[:rank])
    kept = len(root)
    ends = [np.zeros((len(side), rank), np.float32) for side in (left, right)]
    ends[0][:, :kept] = left @ (basis @ (first[:, :kept] * root)).astype(np.float32)
    ends[1][:, :kept] = right @ (other_basis @ (second[:kept].T * root)).astype(np.float32)
    return ends[0], ends[1]


def _reach(matrix: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """R and B with matrix = U R^T and orthonormal U = matrix B, from the Gram matrix alone."""
    values, vectors = np.linalg.eigh((matrix.T @ matrix).astype(np.float64))
    # Below this a direction is rounding error of the Gram matrix.
    keep = values > max(float(values.max(initial=0.0)) * 1e-7, np.finfo(np.float64).tiny)
    root = np.sqrt(values[keep])
    return vectors[:, keep] * root, vectors[:, keep] / root


class ProductMean:
    """Running mean M of products left @ right.T of equal shape, as a product of at most `rank` columns.

    The first products are shortened together to twice the rank, with directions U and V. Of all products,
    Y = M V and Z = M^T U are summed up; within the span of U and V, M is Y (U^T Y)^-1 Z^T (Tropp, Yurtsever,
    Udell and Cevher 2017, "Practical sketching algorithms for low-rank matrix approximation").
    """

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.count = 0
        self._first: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
        self._basis: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None

    def add(self, left: NDArray[np.float32], right: NDArray[np.float32]) -> None:
        """Add left (n, k) @ right.T (k, m) to the mean. Keeps the arrays: pass copies."""
        self.count += 1
        if self._basis is None:
            self._first.append((left, right))
            if len(self._first) == GATHERED:
                self._settle()
        else:
            u, v = self._basis
            self._y += left @ (right.T @ v)
            self._z += right @ (left.T @ u)

    def product(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """left (n, rank) and right (m, rank) of the mean."""
        if self._basis is None:
            left, right = self._gathered(self.rank)
        else:
            core = (self._basis[0].T @ self._y).astype(np.float64)
            left = self._y @ np.linalg.pinv(core, rcond=1e-4).astype(np.float32)
            left, right = shorten(left, self._z, self.rank)
        root = np.float32(1 / np.sqrt(self.count))
        return left * root, right * root

    def _gathered(self, rank: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return shorten(
            np.hstack([left for left, _ in self._first]), np.hstack([right for _, right in self._first]), rank
        )

    def _settle(self) -> None:
        left, right = self._gathered(2 * self.rank)
        lengths = np.sqrt(np.square(left).sum(axis=0)), np.sqrt(np.square(right).sum(axis=0))
        u, v = (side[:, size > 0] / size[size > 0] for side, size in zip((left, right), lengths, strict=True))
        self._basis = u, v
        self._y, self._z = left @ (right.T @ v), right @ (left.T @ u)
        self._first.clear()
