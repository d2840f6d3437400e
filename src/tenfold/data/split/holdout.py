"""Which rows train and which are held out: index arrays drawn from a seed.

A split never fails and never loses a class because something is rare: its notes name the class. Rows of a
group (of a picture, of a sender) never stand on both sides. A split makes as many folds as asked, or raises a
SplitError.

Messages count folds from 1; the arrays count them from 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tenfold.data.split.groups import Classes, Labels, class_name, join_groups
from tenfold.data.split.stratify import deal_folds, deal_holdout, label_table
from tenfold.errors import SplitError, listed, shortened

Ints = NDArray[np.int64]

#: The note where rows that have times are split without them.
TIMES_IGNORED = "times ignored: score is optimistic, since training sees what came after a held-out row"

TRUE_WORDS = ("1", "true", "yes", "y", "t", "valid", "validation")
FALSE_WORDS = ("0", "false", "no", "n", "f", "train", "training")


@dataclass(frozen=True)
class Split:
    """Row numbers in ascending order, each row at most once, and messages."""

    train: Ints
    valid: Ints
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Folds:
    """The fold that holds out each row.

    fold: (rows,) from 0; -1 for a row that always trains.
    forward: training for a fold uses earlier folds only (folds by time).
    """

    fold: Ints
    folds: int
    notes: tuple[str, ...] = ()
    forward: bool = False

    def __len__(self) -> int:
        return self.folds

    def split(self, fold: int) -> Split:
        """The training and held-out rows of one fold, from 0."""
        train = self.fold < fold if self.forward else self.fold != fold
        return Split(np.flatnonzero(train), np.flatnonzero(self.fold == fold))

    def __iter__(self) -> Iterator[Split]:
        return (self.split(fold) for fold in range(self.folds))


# --- at random, every class spread evenly ------------------------------------------------------------


def holdout(
    rows: int,
    *,
    fraction: float,
    seed: int,
    labels: Labels | None = None,
    groups: Sequence[ArrayLike] = (),
    classes: Classes | None = None,
) -> Split:
    """Hold out a fraction of the rows, stratified on every target together.

    labels: target -> class codes (rows,), -1 where missing; or a (rows, classes) table of 0 and 1.
    groups: keys, each (rows,) of numbers or text; rows that share any key stay together. A negative
        number and the empty text are not keys.
    classes: target -> class names for messages; a target that is not in it (number codes) is balanced
        but not mentioned. Without `classes` messages mention all targets, by code.

    Without groups, exactly round(fraction * rows) rows are held out, but at least one. A class with a single
    example trains. fraction = 0 holds out nothing.
    """
    fraction = _check_fraction(fraction)
    if fraction == 0:
        return Split(np.arange(rows), np.zeros(0, np.int64), ("no rows are held out: nothing is validated",))
    table = label_table(rows, labels or {})
    unit = join_groups(groups, rows)
    units = int(unit.max(initial=-1)) + 1
    if units < 2:
        raise SplitError(
            f"a part of {rows} rows cannot be held out",
            found=f"{rows} rows in {units} groups" if groups else f"{rows} rows",
            fix="give more rows, or hold out nothing (valid = 0)",
        )
    held = deal_holdout(table, unit, fraction, np.random.default_rng(seed))
    if not held.any():
        raise SplitError(
            f"no {'group' if units < rows else 'row'} can be held out: each has a class that no other has",
            found=f"{rows} rows{f' in {units} groups' if units < rows else ''}, {len(table.names)} classes",
            fix="hold out nothing (valid = 0), or give more examples of each class",
        )
    notes = _side_notes(held, labels, classes, unit)
    if groups and units < rows:
        notes.insert(0, f"{rows} rows in {units} groups: {held.mean():.1%} held out, {fraction:.1%} asked")
    return _split(held, notes)


def kfold(
    rows: int,
    *,
    folds: int,
    seed: int,
    labels: Labels | None = None,
    groups: Sequence[ArrayLike] = (),
    classes: Classes | None = None,
) -> Folds:
    """Deal all rows over folds, stratified on every target together; parameters as for `holdout`.

    With one target and no groups, class counts and sizes of folds differ by at most 1. SplitError if there
    are fewer rows, or groups, than folds.
    """
    if folds < 2:
        raise SplitError(f"folds = {folds}", fix="give 2 or more")
    table = label_table(rows, labels or {})
    unit = join_groups(groups, rows)
    units = int(unit.max(initial=-1)) + 1
    if units < folds:
        what = "groups" if groups and units < rows else "rows"
        raise SplitError(
            f"{folds} folds cannot be made of {units} {what}",
            found=f"{rows} rows in {units} groups" if groups else f"{rows} rows",
            fix=f"ask for at most {units} folds" if units > 1 else f"give more {what}",
        )
    fold = deal_folds(table, unit, folds, np.random.default_rng(seed))
    notes = []
    if groups and units < rows:
        sizes = np.bincount(fold, minlength=folds)
        notes.append(f"{rows} rows in {units} groups: folds of {sizes.min()} to {sizes.max()} rows")
    return Folds(fold, folds, (*notes, *_fold_notes(fold, folds, labels, classes)))


def number_codes(values: ArrayLike, parts: int = 10) -> Ints:
    """Numbers as codes of about equally many rows, so that a number target can be stratified; NaN is -1."""
    numbers = np.asarray(values, dtype=np.float64)
    known = np.isfinite(numbers)
    codes = np.full(len(numbers), -1, dtype=np.int64)
    if known.any():
        edges = np.unique(np.quantile(numbers[known], np.linspace(0, 1, parts + 1)[1:-1]))
        # A number that many rows share is an edge; its code must differ from those of its neighbours.
        below = np.searchsorted(edges, numbers[known], side="left")
        upto = np.searchsorted(edges, numbers[known], side="right")
        codes[known] = np.unique(below + upto, return_inverse=True)[1]
    return codes


# --- as the table says, and by time ------------------------------------------------------------------


def given(
    is_valid: ArrayLike,
    *,
    column: str = "is_valid",
    source: str = "the table",
    lines: ArrayLike | None = None,
    unit: str = "line",
    labels: Labels | None = None,
    classes: Classes | None = None,
) -> Split:
    """The split in a column: 1, true, yes or valid for held-out rows, 0, false, no or train for the others.

    Other cells are a SplitError with their lines. unit: what `lines` counts.
    """
    values = np.asarray(is_valid)
    at = np.arange(2, len(values) + 2) if lines is None else np.asarray(lines)
    words = [*map(_word, values.tolist())]
    wrong = [row for row, word in enumerate(words) if word not in TRUE_WORDS + FALSE_WORDS]
    if wrong:
        raise SplitError(
            f"{source}: column {column!r} does not say for every row whether it is held out",
            problems=[f"{unit} {at[row]}: {str(values[row])!r} is neither 1 nor 0" for row in wrong],
            fix="write 1 (or true) for validation rows and 0 (or false) for training rows",
        )
    held = np.array([word in TRUE_WORDS for word in words], dtype=bool)
    if held.all() or not held.any():
        raise SplitError(
            f"{source}: column {column!r} leaves the {'training' if held.any() else 'validation'} part empty",
            found=f"{int(held.sum())} of {len(held)} rows are marked for validation",
            fix=f"mark some rows and not all, or split at random (without {column!r})",
        )
    note = f"{column}: {int((~held).sum())} rows train, {int(held.sum())} are held out"
    return _split(held, [note, *_side_notes(held, labels, classes)])


def _word(cell: object) -> str:
    if isinstance(cell, float) and cell == int(cell if math.isfinite(cell) else 0):
        cell = int(cell)
    return str(cell).strip().casefold().removesuffix(".0")


def by_time(
    times: ArrayLike,
    *,
    fraction: float,
    labels: Labels | None = None,
    classes: Classes | None = None,
    groups: Sequence[ArrayLike] = (),
    source: str = "the table",
    lines: ArrayLike | None = None,
) -> Split:
    """Cut the rows by time: every training row is earlier than the cut, and so is its whole group.

    times: (rows,) seconds since 1970, or any numbers that grow with time. Rows of the same moment stay
    together, so the fraction of held-out rows is the nearest possible to `fraction`.
    groups: as for `holdout`. A group is as old as its newest row: one that reaches over the cut is held out
    as a whole, with its earlier rows.
    """
    own = _check_times(times, source, lines)
    moments = _newest(own, groups)
    fraction = _check_fraction(fraction)
    if fraction == 0:
        return holdout(len(moments), fraction=0, seed=0)
    cuts, count = np.unique(moments, return_counts=True)
    if len(cuts) < 2:
        raise SplitError(
            f"{source} cannot be cut by time: "
            + ("all groups reach to the same" if len(np.unique(own)) > 1 else "all rows have the same"),
            found=f"{len(moments)} rows at {_moment(cuts[0])}" if len(cuts) else "no rows",
            fix="split at random instead",
        )
    before = np.cumsum(count)[:-1]  # training rows if the cut is at cuts[1], cuts[2], ...
    best = int(np.argmin(np.abs(before - (1 - fraction) * len(moments))))
    held = moments >= cuts[best + 1]
    earlier = int((own[held] < cuts[best + 1]).sum())
    after = "from then on"
    if earlier:
        after = f"held out, {earlier} of which are earlier and of a group that reaches over the cut"
    note = f"cut at {_moment(cuts[best + 1])}: {int((~held).sum())} rows before, {int(held.sum())} {after}"
    return _split(held, [note, *_side_notes(held, labels, classes)])


def _newest(moments: NDArray[np.float64], groups: Sequence[ArrayLike]) -> NDArray[np.float64]:
    """(rows,) the time of the newest row of each row's group."""
    if not groups:
        return moments
    unit = join_groups(groups, len(moments))
    newest = np.full(int(unit.max(initial=-1)) + 1, -np.inf)
    np.maximum.at(newest, unit, moments)
    return newest[unit]


def folds_by_time(
    times: ArrayLike,
    *,
    folds: int,
    groups: Sequence[ArrayLike] = (),
    source: str = "the table",
    lines: ArrayLike | None = None,
) -> Folds:
    """Blocks of time of about equally many rows: each fold trains on all earlier blocks.

    The first block always trains, so its rows are never predicted. Groups as for `by_time`.
    """
    own = _check_times(times, source, lines)
    moments = _newest(own, groups)
    if folds < 1:
        raise SplitError(f"folds = {folds}", fix="give 1 or more")
    cuts, code, count = np.unique(moments, return_inverse=True, return_counts=True)
    if len(cuts) <= folds:
        raise SplitError(
            f"{source} cannot be cut into {folds} folds and a first block by time",
            found=f"{len(cuts)} different times" + (" of the newest rows of groups" if len(groups) else ""),
            fix=f"ask for at most {max(len(cuts) - 1, 1)} folds",
        )
    # A block ends where its share of the rows is reached, but leaves a moment for each block to come.
    block, reached, done = np.zeros(len(cuts), dtype=np.int64), 0, 0
    for moment in range(len(cuts)):
        block[moment] = done
        reached += int(count[moment])
        must = len(cuts) - 1 - moment == folds - done
        if done < folds and (must or reached >= (done + 1) * len(moments) / (folds + 1)):
            done += 1
    first = np.array([cuts[np.argmax(block == number)] for number in range(folds + 1)])
    starts = ", ".join(map(_moment, first[1:]))
    notes = [f"folds begin at {starts}; {int(count[block == 0].sum())} earlier rows always train"]
    earlier = int((own < first[block[code]]).sum())
    if earlier:
        notes.append(
            f"{earlier} rows are in a later fold than their time says, with the newest of their group"
        )
    return Folds((block - 1)[code].astype(np.int64), folds, tuple(notes), forward=True)


def _check_times(times: ArrayLike, source: str, lines: ArrayLike | None) -> NDArray[np.float64]:
    moments = np.asarray(times, dtype=np.float64)
    at = np.arange(2, len(moments) + 2) if lines is None else np.asarray(lines)
    wrong = np.flatnonzero(~np.isfinite(moments))
    if len(wrong):
        raise SplitError(
            f"{source} cannot be split by time: {len(wrong)} of {len(moments)} rows have none",
            problems=[f"line {at[row]}: no time" for row in wrong],
            fix="give the times, leave those rows out, or split at random",
        )
    return moments


def _moment(time: float) -> str:
    number = str(int(time)) if float(time).is_integer() else str(float(time))
    if not 1e8 <= abs(time) < 1e11:  # not seconds: 1e8 is 1973, 1e11 the year 5138
        return number
    return f"{number} ({np.datetime64(int(time), 's')} UTC)"


# --- ratings: every tested user has a past -----------------------------------------------------------


def holdout_ratings(users: ArrayLike, *, fraction: float, seed: int, times: ArrayLike | None = None) -> Split:
    """Hold out ratings at random. A random rating of each user always trains.

    users: (ratings,) codes. times: only to warn that they are ignored.
    """
    codes, count = _user_counts(users)
    fraction = _check_fraction(fraction)
    rows = len(codes)
    if fraction == 0:
        return holdout(rows, fraction=0, seed=0)
    order = np.random.default_rng(seed).permutation(rows)
    first = np.full(len(count), -1, dtype=np.int64)
    first[codes[order[::-1]]] = order[::-1]  # the last write wins: the first of each user in `order`
    free = np.ones(rows, dtype=bool)
    free[first[count > 0]] = False
    wanted = max(1, round(fraction * rows))
    held = np.zeros(rows, dtype=bool)
    held[order[free[order]][:wanted]] = True
    notes = [] if times is None else [TIMES_IGNORED]
    if held.sum() < wanted:
        notes.append(f"{int(held.sum())} ratings held out, {wanted} asked: one of each user trains")
    return _split(held, [*notes, *_single_users(count)])


def kfold_ratings(users: ArrayLike, *, folds: int, seed: int, times: ArrayLike | None = None) -> Folds:
    """Deal ratings over folds, each user's as evenly as possible; a user's only rating always trains."""
    if folds < 2:
        raise SplitError(f"folds = {folds}", fix="give 2 or more")
    codes, count = _user_counts(users)
    several = count[codes] > 1
    if several.sum() < folds:
        raise SplitError(
            f"{folds} folds cannot be made of {int(several.sum())} ratings of users with 2 or more",
            fix=f"ask for at most {int(several.sum())} folds",
        )
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(codes))
    # Users in random order and their ratings in random order, dealt like cards: neighbours in the row
    # never share a fold, so neither do a user's two ratings.
    turn = rng.permutation(len(count))[codes[shuffled]]
    order = shuffled[np.argsort(turn, kind="stable")]
    order = order[several[order]]
    fold = np.full(len(codes), -1, dtype=np.int64)
    fold[order] = np.arange(len(order)) % folds
    notes = [] if times is None else [TIMES_IGNORED]
    return Folds(fold, folds, (*notes, *_single_users(count)))


def holdout_users(users: ArrayLike, *, fraction: float, seed: int) -> Split:
    """Hold out all ratings of a random fraction of the users, rounded, but of one user at least.

    users: (ratings,) codes. Only users with two ratings and more are held out: with one nothing can be
    scored.
    """
    codes, count = _user_counts(users)
    several = np.flatnonzero(count > 1)
    wanted = min(max(1, round(_check_fraction(fraction) * int((count > 0).sum()))), len(several))
    chosen = np.zeros(len(count), dtype=bool)
    chosen[np.random.default_rng(seed).permutation(several)[:wanted]] = True
    held = chosen[codes]
    if held.all():
        raise SplitError(
            "all users would be held out, so nothing trains",
            found=f"{wanted} users with 2 ratings",
            fix="give more users, or hold out ratings (split random)",
        )
    return _split(held, [f"{wanted} users are held out with all of their {int(held.sum())} ratings"])


def kfold_users(users: ArrayLike, *, folds: int, seed: int) -> Folds:
    """Deal users over folds at random, all ratings of a user to one; a user of one rating always trains."""
    codes, count = _user_counts(users)
    several = np.flatnonzero(count > 1)
    if not 2 <= folds <= len(several):
        raise SplitError(
            f"{folds} folds cannot be made of {len(several)} users with 2 ratings or more",
            fix="give 2 folds or more, and more users than folds",
        )
    fold = np.full(len(count), -1, dtype=np.int64)
    fold[np.random.default_rng(seed).permutation(several)] = np.arange(len(several)) % folds
    return Folds(fold[codes], folds, tuple(_single_users(count)))


def leave_last_out(
    users: ArrayLike, *, times: ArrayLike | None = None, rows: ArrayLike | None = None
) -> Split:
    """Hold out the last rating of each user who has two or more: by time, or by row without times.

    rows: the row of the table that each rating came from, where ratings stand in another order.
    Of ratings at the same moment the later row is the last. A rating without a time is the earliest.
    """
    codes, count = _user_counts(users)
    keys = [np.arange(len(codes)) if rows is None else np.asarray(rows), codes]
    moments = np.zeros(0)
    if times is not None:
        moments = np.array(times, dtype=np.float64)
        none = np.isnan(moments)
        moments[none] = moments[~none].min() - 1 if not none.all() else 0.0
        keys.insert(1, _check_times(moments, "the table", None))
    ends = np.cumsum(count) - 1
    held = np.zeros(len(codes), dtype=bool)
    held[np.lexsort(keys)[ends[count > 1]]] = True
    notes = ["no times: the last row of each user is held out"] if times is None else []
    if times is not None and moments[~held].max() > moments[held].min():
        notes.append("training holds ratings of other users that are later than a held-out rating")
    return _split(held, [*notes, *_single_users(count)])


def _user_counts(users: ArrayLike) -> tuple[Ints, Ints]:
    codes = np.asarray(users).astype(np.int64)
    count = np.bincount(codes)
    if not (count > 1).any():
        raise SplitError(
            "evaluation is not possible: no user has 2 ratings",
            found=f"{len(codes)} ratings of {int((count > 0).sum())} users",
            fix="train without holding out (valid = 0), or give more ratings",
        )
    return codes, count


def _single_users(count: Ints) -> list[str]:
    single = int((count == 1).sum())
    who = "user has" if single == 1 else "users have"
    return [f"{single} {who} 1 rating and {'is' if single == 1 else 'are'} not evaluated"] if single else []


def _split(held: NDArray[np.bool_], notes: Iterable[str]) -> Split:
    return Split(np.flatnonzero(~held), np.flatnonzero(held), tuple(notes))


# --- messages ----------------------------------------------------------------------------------------


def _check_fraction(fraction: float) -> float:
    if not 0 <= fraction < 1:
        raise SplitError(f"a fraction of {fraction} cannot be held out", fix="give a part such as 0.2, or 0")
    return float(fraction)


def _named_labels(labels: Labels | None, classes: Classes | None) -> Iterator[tuple[str, Ints]]:
    """Targets that messages mention, as (rows, classes) or (rows,) arrays."""
    for target, values in (labels or {}).items():
        if classes is None or target in classes:
            yield target, np.asarray(values)


def _counts(values: Ints, rows: NDArray[np.bool_], classes: int) -> Ints:
    """Count the rows of each class among some rows."""
    if values.ndim == 2:
        return (values[rows] > 0).sum(axis=0).astype(np.int64)
    return np.bincount(values[rows & (values >= 0)].astype(np.int64), minlength=classes)


def _width(target: str, values: Ints, classes: Classes | None) -> int:
    top = values.shape[1] if values.ndim == 2 else int(values.max(initial=-1)) + 1
    return max(top, len((classes or {}).get(target, ())))


def _side_notes(
    held: NDArray[np.bool_], labels: Labels | None, classes: Classes | None, unit: Ints | None = None
) -> list[str]:
    """Notes on classes that occur on one side only."""
    notes = []
    for target, values in _named_labels(labels, classes):
        width = _width(target, values, classes)
        train, valid = _counts(values, ~held, width), _counts(values, held, width)
        alone, absent, foreign = [], [], []
        for code in np.flatnonzero((train == 0) != (valid == 0)).tolist():
            name, total = class_name(target, code, classes), int(train[code] + valid[code])
            rows = "1 row" if total == 1 else f"{total} rows"
            if train[code] == 0:
                foreign.append(f"class {name} occurs only in validation ({rows})")
            elif total == 1:
                alone.append(f"class {name} has 1 example: it cannot be in both parts")
            elif unit is not None and _one_group(values, code, unit):
                alone.append(f"class {name} has {total} examples in one group: it cannot be in both parts")
            else:
                absent.append(f"{name} ({rows})")
        for lines in (foreign, alone):
            notes += [f"{target}: {line}" for line in listed(lines)]
        if absent:
            notes.append(f"{target}: only in training: {shortened(absent)}")
    return notes


def _one_group(values: Ints, code: int, unit: Ints) -> bool:
    holds = values[:, code] > 0 if values.ndim == 2 else values == code
    return len(np.unique(unit[holds])) == 1


def _fold_notes(fold: Ints, folds: int, labels: Labels | None, classes: Classes | None) -> list[str]:
    """Notes on classes that a fold does not train on."""
    notes = []
    for target, values in _named_labels(labels, classes):
        width = _width(target, values, classes)
        total = _counts(values, np.ones(len(fold), bool), width)
        for number in range(folds):
            lost = np.flatnonzero((total > 0) & (_counts(values, fold == number, width) == total)).tolist()
            if lost:
                names = shortened([class_name(target, code, classes) for code in lost])
                notes.append(f"{target}: fold {number + 1} trained without {names}")
    return notes
