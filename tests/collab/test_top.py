"""The best columns of a row: as by sorting all, in blocks of any size, on any number of threads."""

from __future__ import annotations

import numpy as np
import pytest

from tenfold.collab import top
from tenfold.collab.top import FORBIDDEN, first_columns, ranks


def best(rows: np.ndarray, columns: np.ndarray, offset: np.ndarray, n: int, threads: int = 1) -> np.ndarray:
    """(rows, n) columns, best first."""
    row, column = first_columns(
        len(rows),
        columns,
        offset,
        factors_of=lambda part: rows[part],
        ruled_out=lambda part: (np.arange(len(rows[part])), np.arange(len(rows))[part] % len(columns)),
        exact=lambda row, column: (rows[row] * columns[column]).sum(axis=1) + offset[column],
        n=n,
        threads=threads,
    )
    assert np.bincount(row).tolist() == [n] * len(rows)
    return column.reshape(len(rows), n)


@pytest.mark.parametrize("threads", [1, 8])
@pytest.mark.parametrize(("block", "tile"), [(1 << 21, 1 << 13), (1000, 17)])
def test_they_are_those_of_sorting_all(threads, block, tile, monkeypatch):
    rng = np.random.default_rng(0)
    rows, columns = rng.normal(size=(90, 4)), rng.normal(size=(60, 4)).astype(np.float32)
    offset = np.where(np.arange(60) < 5, FORBIDDEN, rng.normal(size=60)).astype(np.float32)
    monkeypatch.setattr(top, "BLOCK", block)
    monkeypatch.setattr(top, "TILE", tile)
    scores = rows @ columns.T.astype(float) + offset
    scores[np.arange(90), np.arange(90) % 60] = -np.inf
    wanted = np.argsort(-scores, axis=1, kind="stable")[:, :7]
    np.testing.assert_array_equal(best(rows, columns, offset, 7, threads), wanted)


def test_ranks_start_again_in_every_row():
    assert ranks(np.array([2, 0, 3])).tolist() == [1, 2, 1, 2, 3]
