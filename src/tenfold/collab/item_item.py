"""Which items go together: from the items that a user took, how likely is each other one. In closed form.

EASE (Steck 2019, "Embarrassingly shallow autoencoders for sparse data", arXiv 1905.03375): the weights W with
a diagonal of 0 that reproduce each user's row x from the row itself, |X - X W|^2 + the penalty of each item's
weights, are W_ji = -P_ji / P_ii with P = (X'X + diag(penalty))^-1. The penalty of an item is what leaving out
half of all entries at random amounts to (Steck 2020, "Autoencoders that don't overfit towards the identity",
NeurIPS 33: count x p / (1 - p), p = 1/2) and a constant ridge, `RIDGE`, times the mean weight of a row. Users
count n^(-1/4) in X, so that the busiest do not decide alone. These three numbers were chosen on inner splits
of the training ratings of four data sets (bench/results/lists.md). The inverse holds the most taken items,
the *core*; `collab.outside` joins others to it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tenfold.collab.outside import AT_ONCE, WIDTH, ByColumns, Joined, join_items, pack_outside, unpack_outside
from tenfold.collab.scale import algebra_threads
from tenfold.errors import RecipeError, RunError
from tenfold.values import Interactions, Shown

__all__ = [
    "CORE",
    "Fitted",
    "ItemItem",
    "core_of",
    "fit_item_item",
    "fits_in_memory",
    "item_vectors",
    "pack_item_item",
    "planned_bytes",
    "recency_weights",
    "row_weights",
    "unpack_item_item",
    "weight_of",
]

#: Ridge of an item, in rows of mean weight; the exponent of a user's activity; weight of the lowest rating.
RIDGE, ACTIVITY, LOWEST = 200.0, 0.25, 0.2
#: Where recent rows count more: the fraction of the weight that all rows share (bench/results/lists.md).
EVEN = 0.3
#: Items in the core: the most taken ones. The memory and time of the fit grow with their square and cube.
CORE = 8000
#: Items that are joined to the core: the most taken ones of the others; bytes of the fit for each of their
#: weights.
JOINED_ITEMS, JOINED_BYTES = 100_000, 24
#: Arrays of items x items in single precision that the fit holds at its highest.
HELD_AT_ONCE = 5
#: Rows and columns of a block that is inverted at once.
BLOCK = 256
#: Vectors of items for maps and neighbours: how many, and steps of the iteration that finds them.
DIRECTIONS, STEPS = 32, 6
#: Users whose scores are summed before compiled code, which takes its time to load, is worth it.
FEW_USERS = 16
_ASKED = count()
#: Version of the layout of files (docs/formats.md).
FORMAT = 1


@dataclass(frozen=True, eq=False)
class ItemItem:
    """Weights between items.

    recent: where a user's recent rows count more, see `recency_weights`; 0: all count the same.
    core: (core,) rising indices of the items that have weights among each other.
    weights: (core, core) float32: row j is what having taken j adds to the score of each item.
    confidence: 1 / the middling strength of events, by which they count; 0 where each counts 1.
    joined: further items, each with weights from and to some of the core.
    new: items that nobody took, with weights from the core.
    """

    core: NDArray[np.int64]
    weights: NDArray[np.float32]
    confidence: float = 0.0
    joined: Joined | None = None
    new: ByColumns | None = None
    recent: float = 0.0

    @cached_property
    def items(self) -> NDArray[np.int64]:
        """(scored,) indices of all items that are scored: of the core, joined and new ones."""
        others = [part.items for part in (self.joined, self.new) if part is not None]
        return np.concatenate([self.core, *others])

    @property
    def inputs(self) -> int:
        """How many of `items`, the first ones, add to scores."""
        return len(self.core) + (len(self.joined.items) if self.joined else 0)

    def row(
        self, known: Interactions, user: int, *, recency: bool = True
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Places in `items` of what a user took, and how much each counts; nothing for an unknown user.

        recency: the recent ones count more, where the model says so.
        """
        if user < 0:
            return np.zeros(0, np.int64), np.zeros(0, np.float32)
        part = slice(int(known.seen_start[user]), int(known.seen_start[user + 1]))
        place = self._place_of(known.seen_items[part].astype(np.int64))
        there = place >= 0
        value = row_weights(known, part, self.confidence)
        if self.recent and recency and known.seen_times is not None:
            value = value * recency_weights(known.seen_times[part], self.recent)
        return place[there], value[there]

    def _place_of(self, items: NDArray[np.int64]) -> NDArray[np.int64]:
        order, first = self._sorted
        where = np.minimum(np.searchsorted(first, items), max(len(first) - 1, 0))
        return np.where(first[where] == items, order[where], -1) if len(first) else np.full(len(items), -1)

    @cached_property
    def _sorted(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        own = self.items[: self.inputs]
        order = np.argsort(own, kind="stable")
        return order, own[order]

    def places(self, known: Interactions) -> NDArray[np.int64]:
        """(items,) the place of each item in `items`, -1 for others. RunError where the items are others."""
        if len(self.items) and self.items.max() >= len(known.items):
            raise _damaged()
        place = np.full(len(known.items), -1)
        place[self.items] = np.arange(len(self.items))
        return place

    def sums(self, row: tuple[NDArray[np.int64], NDArray[np.float32]]) -> NDArray[np.float64]:
        """(scored,) scores of the items for a user's row: the same alone and among others."""
        size = len(self.core)
        inner = row[0] < size
        own = row if self.joined is None else (row[0][inner], row[1][inner])
        total = np.zeros(size)
        if next(_ASKED) >= FEW_USERS:
            from tenfold.collab import kernels

            kernels.add_lines(*own, self.weights, total)
        else:
            for place, value in zip(*own, strict=True):  # the same sums, to the bit
                total += np.float64(value) * self.weights[place]
        if self.joined is None and self.new is None:
            return total
        parts = [total]
        if self.joined is not None:
            self.joined.add_to_core(row[0][~inner] - size, row[1][~inner], total)
            parts.append(self.joined.to_joined(*own))
        if self.new is not None:
            parts.append(self.new.sums(*own))
        return np.concatenate(parts)

    def between(self, given: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.float32]:
        """(given, wanted) what items add to others, by their places in `items`."""
        size, inputs = len(self.core), self.inputs
        weights = np.zeros((len(given), len(wanted)), np.float32)
        from_core, to_core = np.flatnonzero(given < size), np.flatnonzero(wanted < size)
        weights[np.ix_(from_core, to_core)] = self.weights[np.ix_(given[from_core], wanted[to_core])]
        if self.joined is not None:
            to = np.flatnonzero((wanted >= size) & (wanted < inputs))
            lines = self.joined.lines(wanted[to] - size, size, given=True)
            weights[np.ix_(from_core, to)] = lines[:, given[from_core]].T
            own = np.flatnonzero(given >= size)
            lines = self.joined.lines(given[own] - size, size, given=False)
            weights[np.ix_(own, to_core)] = lines[:, wanted[to_core]]
        if self.new is not None:
            to = np.flatnonzero(wanted >= inputs)
            weights[np.ix_(from_core, to)] = self.new.lines(wanted[to] - inputs)[:, given[from_core]].T
        return weights


def row_weights(
    known: Interactions, part: slice = slice(None), confidence: float = 0.0
) -> NDArray[np.float32]:
    """How much each entry of `known.seen_items` says that its item is to the user's liking, 0 to 1.

    An event counts 1; by its strength s, where a confidence is given, 2 x / (1 + x) with x = s confidence: 1
    at middling strength, and 2 at most. A rating counts 0.2 to 1, by its place in the scale: also what a user
    did not like was taken, and what goes with it is more likely to be taken than what does not.
    """
    ratings = known.seen_ratings[part]
    if known.implicit and confidence:
        x = ratings.astype(np.float64) * confidence
        return (2 * x / (1 + x)).astype(np.float32)
    return np.ones(len(ratings), np.float32) if known.implicit else weight_of(ratings, known.scale)


def recency_weights(times: NDArray[np.float64], recent: float) -> NDArray[np.float32]:
    """What each of a user's rows counts, 1 on average: `EVEN` whatever its place, the rest by recency.

    That rest halves with every `recent` rows that are later.
    times: (rows,) numbers that rise in time. Rows of one moment count the same, and NaN is the earliest.
    """
    if not len(times):
        return np.zeros(0, np.float32)
    when = np.nan_to_num(times, nan=-np.inf, posinf=np.inf, neginf=-np.inf)
    later = len(when) - np.searchsorted(np.sort(when), when, side="right")
    fading = np.exp2(-later / recent)
    return (EVEN + (1 - EVEN) * fading / fading.mean()).astype(np.float32)


def weight_of(ratings: NDArray[np.float32], scale: tuple[float, float]) -> NDArray[np.float32]:
    """The weights of ratings in a scale: 0.2 at its lower end, 1 at the upper one, straight in between."""
    low, high = scale
    if not low < high:
        return np.ones(len(ratings), np.float32)
    return (LOWEST + (1 - LOWEST) * np.clip((ratings - low) / (high - low), 0, 1)).astype(np.float32)


def planned_bytes(core: int, joined: int = 0) -> int:
    """The most memory that a fit of so many items holds beside the ratings, in bytes."""
    return HELD_AT_ONCE * 4 * core**2 + JOINED_BYTES * min(WIDTH, core) * joined


class Fitted(NamedTuple):
    """A model and what it was made of.

    inverse: (core, core) float32, P.  start, place, value: the rows of X, in CSR form, in the core's places.
    """

    model: ItemItem
    inverse: NDArray[np.float32]
    start: NDArray[np.int64]
    place: NDArray[np.int64]
    value: NDArray[np.float32]

    def without(self, users: NDArray[np.int64]) -> ItemItem:
        """The core of the model as if these users had not been there (their counts stay in the penalty).

        By the identity of Woodbury: (A - Z'Z)^-1 = P + P Z' (I - Z P Z')^-1 Z P, with the users' rows Z.
        """
        rows = np.zeros((len(users), len(self.model.core)), np.float32)
        for row, user in enumerate(users):
            part = slice(self.start[user], self.start[user + 1])
            rows[row, self.place[part]] = self.value[part]
        across = rows @ self.inverse
        small = np.eye(len(users)) - (rows @ across.T).astype(np.float64)
        added = across.T @ np.linalg.solve(small, across.astype(np.float64)).astype(np.float32)
        return replace(self.model, weights=_weights(self.inverse + added), joined=None)


def fit_item_item(
    known: Interactions,
    *,
    ridge: float | None = None,
    core: int | None = None,
    use_strength: bool = False,
    shown: tuple[Shown, float] | None = None,
    threads: int = 1,
) -> Fitted:
    """Fit the weights between the most taken items, and join others to them.

    ridge: see `RIDGE`.  core: at most so many items (8000), of those that two users took, if there are any.
        Of the others, at most 100,000 are joined to these, as far as two users took them.
    use_strength: events count by their strength (`row_weights`), not 1 each.
    shown: pairs that were shown and not taken, and how much each counts against it: below 0 in X. In the fit
        alone: a user's score is by what the user took.
    The same interactions and threads give the same bytes. Raises RecipeError for impossible choices, and
    RunError where the memory that this machine has free does not hold the fit.
    """
    ridge = RIDGE if ridge is None else ridge
    if not 0 <= ridge < np.inf:
        raise RecipeError(f"weight_decay = {ridge!r} is not a number from 0 on", fix="leave it out")
    most = CORE if core is None else core
    chosen = core_of(known.received, most)
    further = (
        np.setdiff1d(core_of(known.received, most + JOINED_ITEMS), chosen)
        if len(chosen) == most
        else chosen[:0]
    )
    _check_memory(len(chosen), len(further), len(known.items))
    confidence = 1 / max(float(np.median(known.seen_ratings)), 1e-30) if use_strength else 0.0
    rows = _rows(known, np.concatenate([chosen, further]), confidence, shown)
    within = rows.place < len(chosen)
    start, place, scaled = rows.take(within)
    gram = np.zeros((len(chosen), len(chosen)), np.float32)
    from tenfold.collab import kernels

    kernels.add_pairs(start, place, scaled, gram)
    gram += np.triu(gram, 1).T
    counts = np.diag(gram).copy()
    square = float((rows.value[within].astype(np.float64) ** 2).sum())
    mean = counts.sum(dtype=np.float64) / max(square, 1e-12)
    penalty = np.float32(max(ridge, 1e-3) * mean)
    gram[np.diag_indices(len(gram))] += counts + penalty
    with algebra_threads(threads):
        inverse = _inverted(gram)
        del gram
        joined = None
        if len(further):
            taken = rows.by_item(~within, len(chosen), len(further))
            joined = join_items(further, inverse, (start, place, scaled), taken, float(penalty))
    # Half precision is what the run's folder keeps: the fit is scored as it will be opened.
    weights = _weights(inverse).astype(np.float16).astype(np.float32)
    return Fitted(ItemItem(chosen, weights, confidence, joined), inverse, start, place, scaled)


class _Rows(NamedTuple):
    """The entries of X, by user: owner, place of the item, its weight, and this times that of the user."""

    owner: NDArray[np.int64]
    place: NDArray[np.int64]
    value: NDArray[np.float32]
    scaled: NDArray[np.float32]
    users: int

    def take(
        self, entries: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """Some of the entries in CSR form: start of each user, places, scaled values."""
        counts = np.bincount(self.owner[entries], minlength=self.users)
        start = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return start, self.place[entries], self.scaled[entries]

    def by_item(
        self, entries: NDArray[np.bool_], first: int, count: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """Some of the entries by item, of `count` places from `first` on: start, users, scaled values."""
        place = self.place[entries] - first
        order = np.argsort(place, kind="stable")
        start = np.searchsorted(place[order], np.arange(count + 1))
        return start, self.owner[entries][order], self.scaled[entries][order]


def _rows(
    known: Interactions,
    items: NDArray[np.int64],
    confidence: float,
    shown: tuple[Shown, float] | None,
) -> _Rows:
    """Entries of these items; of each user in the order of the items' indices."""
    where = np.full(len(known.items), -1)
    where[items] = np.arange(len(items))
    place = where[known.seen_items]
    there = place >= 0
    owner, place = known.owners[there], place[there]
    value = row_weights(known, confidence=confidence)[there]
    given = np.bincount(owner, value, len(known.users))
    if shown is not None:
        user, item = (index.astype(np.int64) for index in (shown[0].user_index, shown[0].item_index))
        user, item = user[where[item] >= 0], where[item][where[item] >= 0]
        owner, place = np.concatenate([owner, user]), np.concatenate([place, item])
        value = np.concatenate([value, np.full(len(user), -shown[1], np.float32)])
        order = np.lexsort((place, owner))
        owner, place, value = owner[order], place[order], value[order]
    scaled = value * (np.maximum(given, 1e-12) ** -ACTIVITY).astype(np.float32)[owner]
    return _Rows(owner, place, value, scaled, len(known.users))


def core_of(received: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Rising indices of the most taken items, without those that a single user took, if there are others."""
    least = 2 if (received >= 2).any() else 1
    order = np.argsort(-received, kind="stable")[:most]
    return np.sort(order[received[order] >= least])


def _weights(inverse: NDArray[np.floating]) -> NDArray[np.float32]:
    weights = (inverse / -np.diag(inverse)).astype(np.float32, copy=False)
    np.fill_diagonal(weights, 0)
    return weights


def _inverted(matrix: NDArray[np.floating]) -> NDArray[np.float32]:
    """The inverse of a symmetric positive definite matrix: by halves, so that most of it are products.

    With A, B and C its blocks and S = (C - B' A^-1 B)^-1: A^-1 + T S T', -T S and S, where T = A^-1 B (Golub
    and Van Loan 2013, section 2.1.4).
    """
    size = len(matrix)
    if size <= BLOCK:
        return np.linalg.inv(matrix).astype(np.float32, copy=False)
    half = size // 2
    corner = _inverted(matrix[:half, :half])
    across = corner @ matrix[:half, half:]
    other = _inverted(matrix[half:, half:] - across.T @ matrix[:half, half:])
    result = np.empty(matrix.shape, np.float32)
    result[half:, half:] = other
    side = across @ other
    result[:half, half:] = -side
    result[half:, :half] = -side.T
    result[:half, :half] = corner + side @ across.T
    return result


def fits_in_memory(core: int) -> bool:
    """Whether a fit of so many items fits the memory that is free, as far as the system tells."""
    return not 0 < _free_bytes() < planned_bytes(core)


def _check_memory(core: int, joined: int, items: int) -> None:
    free, needed = _free_bytes(), planned_bytes(core, joined)
    if free and needed > free:
        both = core + joined
        sizes = (n for n in range(core, 0, -1) if planned_bytes(n, min(both - n, JOINED_ITEMS)) <= free)
        fits = next(sizes, 0)
        raise RunError(
            f"weights between {core:,} of {items:,} items need {needed / 2**30:.1f} GiB, and "
            f"{free / 2**30:.1f} GiB are free",
            fix=f"--core-items {max(1, fits // 100 * 100 or fits)} takes only the most taken items",
        )


def _free_bytes() -> int:
    """Memory that can be had without swapping, in bytes; 0 where the system does not tell."""
    try:
        with open("/proc/meminfo", encoding="ascii") as stream:
            table = dict(line.split(":", 1) for line in stream)
        return int(table["MemAvailable"].split()[0]) * 1024
    except (OSError, ValueError, KeyError, IndexError):
        return 0


def item_vectors(known: Interactions, fitted: Fitted, *, seed: int) -> dict[str, NDArray[np.float32]]:
    """Side -> vectors of users and items whose cosines say who takes the same, for maps and neighbours.

    Of the co-occurrences of two items over the root of both counts, the eigenvectors of the largest
    eigenvalues after the first, which says only how often an item is taken. A user's vector is the sum of the
    vectors of what the user took in the core. A joined item's is the sum of those of the core, by their
    weights; other items have a vector of zeros.
    """
    core = fitted.model.core
    gram = np.zeros((len(core), len(core)), np.float32)
    from tenfold.collab import kernels

    kernels.add_pairs(fitted.start, fitted.place, fitted.value, gram)
    gram += np.triu(gram, 1).T
    length = np.sqrt(np.maximum(np.diag(gram), 1e-12))
    gram /= length
    gram /= length[:, None]
    width = min(DIRECTIONS + 1, len(core))
    rng = np.random.Generator(np.random.SFC64(seed))
    basis = rng.standard_normal((len(core), min(width + 8, len(core)))).astype(np.float32)
    for _ in range(STEPS):
        basis = np.linalg.qr(gram @ basis)[0]
    values, turn = np.linalg.eigh((basis.T @ (gram @ basis)).astype(np.float64))
    order = np.argsort(-values)[1:width]
    found = (basis @ turn[:, order]) * np.sqrt(np.maximum(values[order], 0))
    items = np.zeros((len(known.items), max(1, width - 1)), np.float32)
    items[core, : found.shape[1]] = found
    joined = fitted.model.joined
    for begin in range(0, 0 if joined is None else len(joined.items), AT_ONCE):
        assert joined is not None
        some = np.arange(begin, min(begin + AT_ONCE, len(joined.items)))
        items[joined.items[some]] = joined.lines(some, len(core), given=True) @ items[core]
    users = np.zeros((len(known.users), items.shape[1]), np.float32)
    owner = np.repeat(np.arange(len(known.users)), np.diff(fitted.start))
    for direction in range(items.shape[1]):
        taken = items[core[fitted.place], direction]
        users[:, direction] = np.bincount(owner, fitted.value * taken, len(known.users))
    return {"user": users, "item": items}


def pack_item_item(model: ItemItem) -> dict[str, NDArray[np.generic]]:
    """Named arrays of a model: places of the core, weights in half precision, and the items outside."""
    core, weights = model.core.astype(np.uint32), model.weights.astype(np.float16)
    return {"core": core, "weights": weights, **pack_outside(model.joined, model.new)}


def unpack_item_item(
    arrays: dict[str, NDArray[np.generic]], confidence: float = 0.0, recent: float = 0.0
) -> ItemItem:
    """The model of `pack_item_item`, with these numbers. Raises RunError where it is damaged."""
    if not {"core", "weights"} <= arrays.keys():
        raise _damaged()
    core, weights = arrays["core"], arrays["weights"]
    good = (
        core.dtype == np.uint32
        and weights.dtype == np.float16
        and weights.shape == (len(core), len(core))
        and bool((np.diff(core.astype(np.int64)) > 0).all())
        and bool(np.isfinite(weights.astype(np.float32)).all())
    )
    if not good:
        raise _damaged()
    try:
        joined, new = unpack_outside(arrays, len(core))
    except ValueError:
        raise _damaged() from None
    return ItemItem(core.astype(np.int64), weights.astype(np.float32), confidence, joined, new, recent)


def _damaged() -> RunError:
    return RunError(
        "the weights between items are damaged, or another run's",
        fix="fit again, or restore the run's folder",
    )
