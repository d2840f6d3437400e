"""Deal rows over parts so that every class of every target is spread as evenly as possible.

The order is that of iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011, figure 1): rows with the
rarest class are dealt first, while there is most freedom left. As in its second-order form (Szymański and
Kajdanowicz 2017) classes of several targets are dealt together, here as whole combinations; and a row goes
where all of its classes are short, not only the rarest, since otherwise part sizes drift. A last pass moves
or swaps units while the worst spread shrinks.

With one target and no groups, counts per class and sizes of folds differ by at most 1.

The code deals *units*: a row, or all rows of a group. Equal units (same classes, same size) form a *pattern*
and are dealt at once, so that time grows with the number of patterns and not of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tenfold.schema import Schema
from tenfold.targets.base import as_codes, as_numbers
from tenfold.targets.kinds import kinds_of
from tenfold.targets.labels import Classes, Labels

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

#: Tries of the last pass, and how many in a row may fail.
TRIES, STALE = 400, 30


@dataclass(frozen=True)
class LabelTable:
    """The classes of each row, for all targets together.

    row, label: an entry per row and class, sorted by row; `label` counts through all targets.
    names: (target, class number) of each label.
    """

    row: Ints
    label: Ints
    names: tuple[tuple[str, int], ...]


def label_table(rows: int, labels: Mapping[str, ArrayLike]) -> LabelTable:
    """From target -> class codes (rows,), negative where missing, or a (rows, classes) table of 0 and 1."""
    at, label, names = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], []
    for target, values in labels.items():
        codes = np.asarray(values)
        if codes.shape[:1] != (rows,) or codes.ndim > 2 or codes.dtype.kind not in "iub":
            raise ValueError(
                f"labels of {target!r}: wanted {rows} class codes, found shape {codes.shape} of {codes.dtype}"
            )
        if codes.ndim == 2:
            where, code = np.nonzero(codes > 0)
            classes = codes.shape[1]
        else:
            where = np.flatnonzero(codes >= 0)
            code = codes[where].astype(np.int64)
            classes = int(code.max()) + 1 if len(code) else 0
        at.append(where)
        label.append(code + len(names))
        names += [(target, number) for number in range(classes)]
    row, code = np.concatenate(at), np.concatenate(label)
    order = np.lexsort([code, row])
    return LabelTable(row[order], code[order], tuple(names))


@dataclass
class _Units:
    """Patterns of equal units, as sparse counts: entries start[p]:start[p + 1] belong to pattern p.

    label, count: a label, and how many rows of a unit have it. The last label is "a row", so that sizes are
    balanced by the same rule.
    many: units of each pattern.  members: unit numbers ordered by pattern.
    totals: (labels + 1,) rows with each label.
    """

    start: Ints
    label: Ints
    count: Floats
    many: Ints
    members: Ints
    totals: Floats

    def of(self, pattern: int) -> slice:
        return slice(self.start[pattern], self.start[pattern + 1])

    def pattern_of(self) -> Ints:
        """The pattern of each entry."""
        return np.repeat(np.arange(len(self.many)), np.diff(self.start))


def _units(table: LabelTable, unit: Ints, rng: np.random.Generator) -> _Units:
    """Count labels per unit, and join equal units into patterns. `unit`: the unit of each row."""
    labels, units = len(table.names) + 1, int(unit.max()) + 1
    key = np.concatenate([unit[table.row] * labels + table.label, unit * labels + labels - 1])
    key, count = np.unique(key, return_counts=True)
    owner, label = key // labels, key % labels
    begin = np.searchsorted(owner, np.arange(units + 1))
    # Equal units have equal signatures: a sum of a random 64-bit number per label and count. Signatures of
    # different units are equal by chance once in 2^64, and would only make the spread a little worse.
    mark = rng.integers(0, 2**63, labels, dtype=np.uint64) | np.uint64(1)
    signature = np.add.reduceat(mark[label] * (count.astype(np.uint64) ** np.uint64(3)), begin[:-1])
    shuffled = rng.permutation(units)  # chance decides between equal units
    _, sample, pattern, many = np.unique(
        signature[shuffled], return_index=True, return_inverse=True, return_counts=True
    )
    members = shuffled[np.argsort(pattern, kind="stable")]
    model = shuffled[sample]  # a representative of each pattern
    length = begin[model + 1] - begin[model]
    start = np.concatenate([[0], np.cumsum(length)])
    entry = np.repeat(begin[model] - start[:-1], length) + np.arange(start[-1])
    totals = np.bincount(label, weights=count, minlength=labels).astype(float)
    return _Units(start, label[entry], count[entry].astype(float), many, members, totals)


class _Deal:
    """Units on their way into parts.

    placed: (patterns, parts) how many units of a pattern each part has.
    excess: (labels + 1, parts) rows dealt to a part beyond its share of what was dealt so far.
    fixed: patterns that must stay where they are.
    keep: part 0 (training) must not lose the last unit of any label.
    """

    def __init__(self, units: _Units, share: Floats, rng: np.random.Generator) -> None:
        self.units, self.share, self.rng = units, share, rng
        self.placed = np.zeros((len(units.many), len(share)), dtype=np.int64)
        self.excess = np.zeros((len(units.totals), len(share)))
        self.fixed = np.zeros(len(units.many), dtype=bool)
        self.keep = False
        self.pattern_of = units.pattern_of()
        # Single rows balance a class to the row, rare or not. Groups cannot: their deviations are divided by
        # the size of the class, as in a chi-square.
        single = bool(np.all(units.count == 1))
        self.weight = np.ones(len(units.totals)) if single else 1 / np.maximum(units.totals, 1)
        self.size = len(units.totals) - 1

    def put(self, pattern: int, amount: Ints) -> None:
        """Give each part this many units of a pattern (negative: take back)."""
        entry = self.units.of(pattern)
        self.placed[pattern] += amount
        dealt = amount - self.share * amount.sum()
        self.excess[self.units.label[entry]] += self.units.count[entry, None] * dealt

    def deal(self) -> None:
        """Deal every pattern that is not fixed: large groups first, then the rarest class first."""
        units = self.units
        labelled = np.where(units.label == self.size, np.inf, units.totals[units.label])
        rarest = np.minimum.reduceat(labelled, units.start[:-1])
        rows = units.count[units.start[1:] - 1]  # the last label of a unit is its size
        chance = self.rng.random(len(rows))
        for pattern in np.lexsort([chance, units.many, rarest, -rows]):
            if not self.fixed[pattern]:
                self.put(pattern, self._level(pattern))

    def _level(self, pattern: int) -> Ints:
        """The amounts that bring all labels of a pattern nearest to their shares."""
        entry = self.units.of(pattern)
        label, count = self.units.label[entry], self.units.count[entry]
        many = self.units.many[pattern]
        if len(label) > 1 and count[-1] == 1:
            label, count = label[:-1], count[:-1]  # size comes second: see `hint`
        # Least squares over the labels: sum_i w_i (excess_ij + n_i (x_j - share_j many))^2, sum x = many.
        pull = self.weight[label] * count
        want = self.share * many - pull @ self.excess[label] / (pull @ count)
        want = np.maximum(want, 0)
        want *= many / want.sum()
        amount = np.floor(want + 1e-9).astype(np.int64)
        left = int(many - amount.sum())
        if left:
            hint = 1e-3 * self.excess[self.size] / max(1.0, float(np.abs(self.excess[self.size]).max()))
            rank = want - amount - hint + 1e-6 * self.rng.random(len(want))
            amount[np.argsort(-rank)[:left]] += 1
        return amount

    def _cost(self, source: int, goal: int) -> Floats:
        """Half the change of the squared excess if a unit of each pattern moved from source to goal."""
        units = self.units
        gap = units.count + self.excess[units.label, goal] - self.excess[units.label, source]
        cost = np.add.reduceat(self.weight[units.label] * units.count * gap, units.start[:-1])
        cost[(self.placed[:, source] == 0) | self.fixed] = np.inf
        if self.keep and source == 0:
            last = self.training()[units.label] <= 1
            cost[self.pattern_of[last]] = np.inf
        return cost

    def training(self) -> Ints:
        """Count the units with each label in part 0."""
        units = self.placed[self.pattern_of, 0]
        return np.bincount(self.units.label, weights=units, minlength=len(self.units.totals)).astype(np.int64)

    def move(self, pattern: int, source: int, goal: int) -> None:
        """Move a unit from source to goal."""
        amount = np.zeros(len(self.share), dtype=np.int64)
        amount[source], amount[goal] = -1, 1
        self.put(pattern, amount)

    def even_out(self) -> None:
        """Move or swap units while that shrinks the spread of the worst label."""
        units, stale = self.units, 0
        for _ in range(TRIES):
            spread = self.excess.max(axis=1) - self.excess.min(axis=1)
            if spread.max() <= 1 + 1e-9 or stale >= STALE:
                return
            # After a failure another label gets its turn, the worst ones most likely.
            worst = spread * np.sqrt(self.weight) * (spread > 1 + 1e-9)
            if stale:
                worst = worst * (1 - 0.5 * self.rng.random(len(worst)))
            label = int(worst.argmax())
            source, goal = int(self.excess[label].argmax()), int(self.excess[label].argmin())
            cost = self._cost(source, goal)
            without = np.ones(len(units.many), dtype=bool)
            without[self.pattern_of[units.label == label]] = False
            cost[without] = np.inf
            best = int(cost.argmin())
            stale += 1
            if not np.isfinite(cost[best]):
                continue
            self.move(best, source, goal)
            if cost[best] < -1e-9:
                stale = 0
                continue
            back = self._cost(goal, source)
            again = int(back.argmin())
            if cost[best] + back[again] < -1e-9:
                self.move(again, goal, source)
                stale = 0
            else:
                self.move(best, goal, source)

    def even_sizes(self) -> None:
        """Bring the sizes of parts within a row of each other, by the moves that harm the classes least."""
        rows = self.units.count[self.units.start[1:] - 1]
        for _ in range(TRIES):
            size = self.excess[self.size]
            source, goal = int(size.argmax()), int(size.argmin())
            cost = self._cost(source, goal)
            cost[rows > 1] = np.inf  # groups are not balanced to the row
            best = int(cost.argmin())
            if size[source] - size[goal] <= 1 + 1e-9 or not np.isfinite(cost[best]):
                return
            self.move(best, source, goal)

    def fill(self, part: int, taken_from: Sequence[int]) -> bool:
        """Give an empty part the unit whose move costs least; false if no unit can move."""
        costs = [(self._cost(source, part), source) for source in taken_from]
        best = min(((cost.min(), int(cost.argmin()), source) for cost, source in costs), default=None)
        if best is None or not np.isfinite(best[0]):
            return False
        self.move(best[1], best[2], part)
        return True

    def parts(self) -> Ints:
        """The part of each unit."""
        part = np.zeros(len(self.units.members), dtype=np.int64)
        columns = np.tile(np.arange(len(self.share)), len(self.placed))
        part[self.units.members] = np.repeat(columns, self.placed.ravel())
        return part


def deal_folds(table: LabelTable, unit: Ints, folds: int, rng: np.random.Generator) -> Ints:
    """The fold of each row. There are at least as many units as folds, and no fold is empty."""
    deal = _Deal(_units(table, unit, rng), np.full(folds, 1 / folds), rng)
    deal.deal()
    deal.even_out()
    deal.even_sizes()
    for fold in np.flatnonzero(deal.placed.sum(axis=0) == 0):
        deal.fill(int(fold), np.flatnonzero(deal.placed.sum(axis=0) > 1).tolist())
    return deal.parts()[unit]


def deal_holdout(
    table: LabelTable, unit: Ints, fraction: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """True for held-out rows. Every class keeps a unit in training; all false if no unit can be spared."""
    units = _units(table, unit, rng)
    deal = _Deal(units, np.array([1 - fraction, fraction]), rng)
    # The only unit with a label stays in training, whatever else it has.
    alone = _only_unit(units)
    for pattern in np.unique(alone[alone >= 0]):
        deal.put(pattern, np.array([1, 0]))
        deal.fixed[pattern] = True
    deal.deal()
    for label in np.flatnonzero(deal.training() == 0):  # a large held-out part can take a class's last unit
        holders = deal.pattern_of[units.label == label]
        if len(holders) and deal.training()[label] == 0:
            deal.move(int(holders[np.argmin(units.count[units.start[holders + 1] - 1])]), 1, 0)
    deal.keep = True
    deal.even_out()
    deal.even_sizes()
    if deal.placed[:, 1].sum() == 0 and deal.placed[:, 0].sum() > 1:
        deal.fill(1, [0])
    return deal.parts()[unit] == 1


def _only_unit(units: _Units) -> Ints:
    """Per label but the last: the pattern of its only unit, or -1."""
    pattern_of = units.pattern_of()
    holders = np.bincount(units.label, weights=units.many[pattern_of], minlength=len(units.totals))
    only = np.full(len(units.totals), -1, dtype=np.int64)
    single = holders[units.label] == 1
    only[units.label[single]] = pattern_of[single]
    return only[:-1]


def strata(labels: Mapping[str, Labels], codes: Callable[[NDArray[np.float64]], Ints]) -> dict[str, Ints]:
    """Labels as codes that `data.split` can stratify on. codes: numbers -> codes of equal shares."""
    return {
        name: codes(as_numbers(values)) if values.dtype.kind == "f" else as_codes(values)
        for name, values in labels.items()
    }


def strata_names(schema: Schema, classes: Classes) -> dict[str, tuple[str, ...]]:
    """Names of the classes for a split's messages, which do not mention numbers."""
    return {kind.name: kind.stratum_names() for kind in kinds_of(schema, classes, {}) if kind.classes}
