"""Items outside the core of the weights between items: joined to it one by one, or known by columns only.

An item t outside the core with n users is *joined* to it as if it were the one further item: the inverse P of
the core's matrix, bordered by the co-occurrences g of t (Golub and Van Loan 2013, section 2.1.4), gives in
closed form what each item of the core adds to t, h = P g, and what t adds to item i of the core,
s h_i / (P_ii + s h_i^2), s = 1 / (d - g . h), d the item's own count and penalty. Two items outside the core
add nothing to each other: they are independent given the core, as in the sparse forms of Steck 2019 ("Markov
random fields for collaborative filtering", NeurIPS 32). Of each item the `WIDTH` largest weights are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

__all__ = ["ByColumns", "Joined", "join_items", "pack_outside", "unpack_outside"]

Ints = NDArray[np.int64]
#: Weights that a joined item keeps; joined items at once.
WIDTH, AT_ONCE = 100, 512


@dataclass(frozen=True, eq=False)
class Joined:
    """Items outside the core that some users took.

    items: (joined,) rising indices.  start: (core + 1,); what having taken item c of the core adds to the
    items `item[start[c]:start[c + 1]]` (places in `items`, rising) is `gives` there, and what having taken
    them adds to c is `takes`.
    """

    items: Ints
    start: Ints
    item: NDArray[np.uint32]
    gives: NDArray[np.float32]
    takes: NDArray[np.float32]

    def to_joined(self, place: Ints, value: NDArray[np.float32]) -> NDArray[np.float64]:
        """(joined,) sums of what the taken items of the core add."""
        total = np.zeros(len(self.items))
        for c, own in zip(place, value, strict=True):
            part = slice(self.start[c], self.start[c + 1])
            total[self.item[part]] += np.float64(own) * self.gives[part]
        return total

    def add_to_core(self, place: Ints, value: NDArray[np.float32], total: NDArray[np.float64]) -> None:
        """Add to (core,) sums what the taken joined items add."""
        for t, own in zip(place, value, strict=True):
            entries = self.entries(int(t))
            total[self._owner[entries]] += np.float64(own) * self.takes[entries]

    def entries(self, joined: int) -> Ints:
        """Where the weights of a joined item are."""
        begin, order = self._turned
        return order[begin[joined] : begin[joined + 1]]

    @cached_property
    def _owner(self) -> Ints:
        return np.repeat(np.arange(len(self.start) - 1), np.diff(self.start))

    @cached_property
    def _turned(self) -> tuple[Ints, Ints]:
        order = np.argsort(self.item, kind="stable")
        return np.searchsorted(self.item[order], np.arange(len(self.items) + 1)), order

    def lines(self, joined: Ints, core: int, *, given: bool) -> NDArray[np.float32]:
        """(len(joined), core) what these items add to the core, or (given) are given by it."""
        lines = np.zeros((len(joined), core), np.float32)
        for row, t in enumerate(joined):
            entries = self.entries(int(t))
            lines[row, self._owner[entries]] = (self.gives if given else self.takes)[entries]
        return lines


@dataclass(frozen=True, eq=False)
class ByColumns:
    """Items that nobody took: what the core adds to them is a linear map of their features.

    items: (new,) indices.  slopes: (features + 1, core) float32, the last row for every item.
    start, feature: item k has the features `feature[start[k]:start[k + 1]]`, each 1 / the root of how many.
    """

    items: Ints
    slopes: NDArray[np.float32]
    start: Ints
    feature: NDArray[np.uint32]

    def sums(self, place: Ints, value: NDArray[np.float32]) -> NDArray[np.float64]:
        """(new,) sums of what the taken items of the core add."""
        total = np.zeros(len(self.slopes))
        for c, own in zip(place, value, strict=True):
            total += np.float64(own) * self.slopes[:, c]
        sizes = np.diff(self.start)
        owner = np.repeat(np.arange(len(sizes)), sizes)
        sums = np.bincount(owner, total[:-1][self.feature], len(sizes))
        return total[-1] + sums / np.sqrt(np.maximum(sizes, 1))

    def lines(self, new: Ints) -> NDArray[np.float32]:
        """(len(new), core) what the core adds to these items."""
        lines = np.repeat(self.slopes[-1:], len(new), axis=0)
        for row, k in enumerate(new):
            own = self.feature[self.start[k] : self.start[k + 1]]
            lines[row] += self.slopes[own].sum(axis=0) / np.float32(max(1, len(own)) ** 0.5)
        return lines


def join_items(
    items: Ints,
    inverse: NDArray[np.float32],
    core: tuple[Ints, Ints, NDArray[np.float32]],
    taken: tuple[Ints, Ints, NDArray[np.float32]],
    penalty: float,
) -> Joined:
    """Join items to the core.

    items: (joined,) rising indices.  inverse: (core, core) P.
    core: the users' rows of X in the core, in CSR form: start (users + 1), places in the core, values.
    taken: of each of `items` the users who took it and its value in their rows: start, user, value.
    penalty: a constant ridge; the item's own count is added to it, as in the core.
    """
    from tenfold.collab import kernels

    size, width = len(inverse), min(WIDTH, len(inverse))
    diagonal = np.diag(inverse)
    owner = np.repeat(np.arange(len(items)), np.diff(taken[0]))
    counts = np.bincount(owner, taken[2].astype(np.float64) ** 2, len(items))
    places = np.empty((len(items), width), np.uint32)
    gives, takes = (np.empty((len(items), width), np.float32) for _ in range(2))
    for begin in range(0, len(items), AT_ONCE):
        end = min(begin + AT_ONCE, len(items))
        together = np.zeros((end - begin, size), np.float32)
        kernels.add_cross(begin, *taken, *core, together)
        found = together @ inverse
        explained = np.einsum("tc,tc->t", together, found, dtype=np.float64)
        scale = (1 / np.maximum(2 * counts[begin:end] + penalty - explained, 1e-6))[:, None]
        largest = np.sort(np.argpartition(-np.abs(found), width - 1, axis=1)[:, :width], axis=1)
        kept = np.take_along_axis(found, largest, axis=1).astype(np.float64)
        places[begin:end], gives[begin:end] = largest, kept
        takes[begin:end] = scale * kept / (diagonal[largest] + scale * kept**2)
    joined = np.repeat(np.arange(len(items), dtype=np.uint32), width)
    order = np.argsort(places.ravel(), kind="stable")
    start = np.concatenate([[0], np.cumsum(np.bincount(places.ravel(), minlength=size))]).astype(np.int64)
    # Half precision is what the run's folder keeps.
    halves = [array.ravel()[order].astype(np.float16).astype(np.float32) for array in (gives, takes)]
    return Joined(items, start, joined[order], *halves)


#: Of items outside the core, array -> its type in a file.
JOINED = {
    "items": np.uint32, "start": np.int64, "item": np.uint32, "gives": np.float16, "takes": np.float16,
}  # fmt: skip
NEW = {"items": np.uint32, "slopes": np.float32, "start": np.int64, "feature": np.uint32}


def pack_outside(joined: Joined | None, new: ByColumns | None) -> dict[str, NDArray[np.generic]]:
    """Named arrays of the items outside the core; none where there are no such items."""
    return {
        f"{part}.{name}": getattr(own, name).astype(kind)
        for part, own, kinds in (("joined", joined, JOINED), ("new", new, NEW))
        if own is not None
        for name, kind in kinds.items()
    }


def unpack_outside(
    arrays: Mapping[str, NDArray[np.generic]], core: int
) -> tuple[Joined | None, ByColumns | None]:
    """The items of `pack_outside`. Raises ValueError where they are damaged."""
    joined = new = None
    found = _read(arrays, "joined", JOINED)
    if found is not None:
        items, start, item, gives, takes = found
        _check_rows(start, core, item, len(items))
        if not len(item) == len(gives) == len(takes):
            raise ValueError("weights of joined items")
        halves = gives.astype(np.float32), takes.astype(np.float32)
        joined = Joined(items.astype(np.int64), start.astype(np.int64), item.astype(np.uint32), *halves)
    found = _read(arrays, "new", NEW)
    if found is not None:
        items, slopes, start, feature = found
        _check_rows(start, len(items), feature, len(slopes) - 1)
        if slopes.ndim != 2 or slopes.shape[1] != core:
            raise ValueError("slopes of new items")
        own = slopes.astype(np.float32), start.astype(np.int64), feature.astype(np.uint32)
        new = ByColumns(items.astype(np.int64), *own)
    return joined, new


def _read(
    arrays: Mapping[str, NDArray[np.generic]], part: str, kinds: Mapping[str, type]
) -> list[NDArray[np.generic]] | None:
    """The arrays of a part in order, finite and of the right types; None where there are none."""
    found = [arrays[f"{part}.{name}"] for name in kinds if f"{part}.{name}" in arrays]
    if not found:
        return None
    if [array.dtype for array in found] != [np.dtype(kind) for kind in kinds.values()]:
        raise ValueError(f"arrays of {part} items")
    if not all(np.isfinite(array.astype(np.float64)).all() for array in found):
        raise ValueError(f"numbers of {part} items")
    return found


def _check_rows(start: NDArray[np.generic], rows: int, entries: NDArray[np.generic], values: int) -> None:
    """Raise ValueError unless `start` cuts the entries, each below `values`, into so many rows."""
    ends = start.astype(np.int64)
    good = len(ends) == rows + 1 and ends[0] == 0 and ends[-1] == len(entries) and (np.diff(ends) >= 0).all()
    if not good or (entries.astype(np.int64) >= values).any():
        raise ValueError("rows of items outside the core")
