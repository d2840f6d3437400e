"""The columns of highest score in each row of a product of factors: exact, in blocks.

Blocks of rows are scored in single precision to find what can be among the first n, with room for rounding;
those few are scored again pair by pair in double precision and sorted. So one row's list is the same alone
and among all, on one thread and on many, and memory grows with the block, never with rows times columns.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tenfold.collab.scale import thread_pool

__all__ = ["FORBIDDEN", "first_columns", "ranks"]

#: Scores in one block: 8 MB of single precision.
BLOCK = 1 << 21
TALLEST = 1 << 13
#: Columns at once.
TILE = 1 << 13
#: The score of what may not be recommended: finite, so that no product makes it NaN, and below any other.
FORBIDDEN = np.float32(-1e37)


def first_columns(
    rows: int,
    columns: NDArray[np.float32],
    offset: NDArray[np.float32],
    *,
    factors_of: Callable[[slice], NDArray[np.floating]],
    ruled_out: Callable[[slice], tuple[NDArray[np.int64], NDArray[np.int64]]],
    exact: Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float64]],
    n: int,
    threads: int | None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each row the n columns of highest score, factors . columns + offset, best first.

    columns: (columns, factors).  offset: (columns,), FORBIDDEN where a column may not be chosen.
    factors_of(part): (rows of the part, factors).  ruled_out(part): row in the part, and column.
    exact(row, column): the scores in double precision that decide the order; equal ones keep that of columns.
    """
    count = len(columns)
    if count == 0 or rows == 0:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    n = min(n, count)
    tiles = _Tiles(columns, offset, n)
    reach = float(np.sqrt((columns.astype(np.float64) ** 2).sum(axis=1).max()))
    largest = float(np.abs(offset[offset > FORBIDDEN / 2]).max(initial=0))
    height = max(1, min(BLOCK // tiles.width, TALLEST))

    def work(parts: Sequence[slice]) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        desk = tiles.desk(height)
        chosen = []
        for part in parts:
            given = factors_of(part)
            slack = _slack(given, reach, largest)
            row, column = tiles.near_best(desk, given, slack, *ruled_out(part))
            row += part.start
            order = np.lexsort((column, -exact(row, column), row))
            row, column = row[order], column[order]
            keep = ranks(np.bincount(row - part.start, minlength=len(given))) <= n
            chosen.append((row[keep], column[keep]))
        return chosen

    parts = [slice(begin, min(begin + height, rows)) for begin in range(0, rows, height)]
    workers = min(len(parts), threads or os.cpu_count() or 1)
    shares = [parts[len(parts) * w // workers : len(parts) * (w + 1) // workers] for w in range(workers)]
    if workers > 1:
        with thread_pool(workers, workers) as pool:
            answers = [block for share in pool.map(work, shares) for block in share]
    else:
        answers = work(parts)
    return np.concatenate([row for row, _ in answers]), np.concatenate([column for _, column in answers])


class _Desk(NamedTuple):
    """Memory that a worker uses again for every block."""

    own: NDArray[np.float32]
    scores: NDArray[np.float32]
    best: NDArray[np.float32]
    near: NDArray[np.bool_]


class _Tiles:
    """All columns, cut into tiles that stay in the cache while a block of rows meets them."""

    def __init__(self, columns: NDArray[np.float32], offset: NDArray[np.float32], n: int) -> None:
        self.count, self.factors = columns.shape
        self.n = n
        # The n-th of the greatest scores of groups of columns bounds the n-th of all from below, at a
        # fraction of the work of partitioning whole rows; four groups to an answer keep that bound near.
        self.depth = max(1, min(16, self.count // (4 * n)))
        self.groups = -(-min(self.count, TILE) // self.depth)
        self.width = self.groups * self.depth
        self.tables = []
        for begin in range(0, self.count, self.width):
            part = slice(begin, min(begin + self.width, self.count))
            table = np.zeros((self.factors + 1, self.width), np.float32)
            table[:-1, : part.stop - begin] = columns[part].T
            # The offset is one factor more, so that the product of matrices adds it.
            table[-1] = FORBIDDEN
            table[-1, : part.stop - begin] = offset[part]
            self.tables.append(table)

    def desk(self, height: int) -> _Desk:
        """Room for blocks of so many rows."""
        return _Desk(
            np.ones((height, self.factors + 1), np.float32),
            np.empty((height, self.width), np.float32),
            np.empty((height, self.n + self.groups), np.float32),
            np.empty((height, self.width), np.bool_),
        )

    def near_best(
        self,
        desk: _Desk,
        factors: NDArray[np.floating],
        slack: NDArray[np.float64],
        out_row: NDArray[np.int64],
        out_column: NDArray[np.int64],
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Row and column of every score that may be among its row's first n, given the rounding in them."""
        high, n = len(factors), self.n
        own, best = desk.own[:high], desk.best[:high]
        own[:, :-1] = factors
        best[:, :n] = FORBIDDEN
        out_tile = out_column // self.width
        cut = np.empty(high, np.float32)
        candidates = []
        for number, table in enumerate(self.tables):
            block = np.matmul(own, table, out=desk.scores[:high])
            flat = block.reshape(-1)
            mine = out_tile == number if len(self.tables) > 1 else slice(None)
            flat[out_row[mine] * self.width + out_column[mine] - number * self.width] = FORBIDDEN
            # The first n of `best` are the greatest of all groups so far.
            np.max(block.reshape(high, self.depth, self.groups), axis=1, out=best[:, n:])
            best.partition(self.groups, axis=1)
            best[:, :n] = best[:, self.groups :].copy()
            floor = np.maximum(FORBIDDEN / 2, best[:, :n].min(axis=1) - slack)
            cut[:] = np.nextafter(floor.astype(np.float32), np.float32(-np.inf))
            cells = np.flatnonzero(np.greater_equal(block, cut[:, None], out=desk.near[:high]).reshape(-1))
            row, column = np.divmod(cells, self.width)
            candidates.append((row, column + number * self.width, flat[cells]))
        row, column, score = map(np.concatenate, zip(*candidates, strict=True))
        # What passed an earlier tile's bound may lie below the last one.
        keep = score >= cut[row]
        return row[keep], column[keep]


def _slack(factors: NDArray[np.floating], reach: float, offset: float) -> NDArray[np.float64]:
    """Twice the greatest rounding error of a row's scores in single precision.

    A sum of k products is off by at most (k + 1) 2^-24 times the sum of their absolute values, in any order
    (Higham 2002, section 3.1), and that is at most the product of the lengths. Rounding the factors is part.
    """
    length = np.sqrt((factors.astype(np.float64) ** 2).sum(axis=1))
    return (factors.shape[1] + 4) * 2.0**-23 * (length * reach + offset) + 1e-30


def ranks(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """1, 2, ... within each row of `counts` entries."""
    ends = np.cumsum(counts)
    return np.arange(1, int(counts.sum()) + 1) - np.repeat(ends - counts, counts)
