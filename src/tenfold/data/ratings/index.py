"""A table of ratings or events as `Ratings`: sorted, each pair once, with a message for every choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.data.ratings.roles import OF_RUN, Roles, find_roles, item_titles, read_ids
from tenfold.data.tables.table import Table
from tenfold.data.tables.times import format_time, read_times
from tenfold.errors import LISTED, RatingsError, RecipeError, TableError, did_you_mean
from tenfold.values import Ratings, Shown, id_text

__all__ = ["DUPLICATE_RULES", "index_ratings", "take_ratings"]

#: Rules for a pair that occurs in the table more than once.
DUPLICATE_RULES = ("last", "first", "mean", "max", "min", "sum", "error")
#: Least size of a rating that is not 0, and least spread of all, as a fraction of the largest.
TINY, LEAST_SPREAD = 1e-30, 1e-4
#: From this fraction of 0 or -1 on, a message asks whether these are ratings.
MANY_MARKS = 0.2
#: Above this, numbers of which half are at most a tenth of the largest are taken for ratings only on request.
MOST_STARS = 100
#: Ratings by yes and no.
YES_AND_NO = {"true", "false", "yes", "no", "t", "f", "y", "n"}


@dataclass
class _Rows:
    """The table on its way to `Ratings`: an entry for each kept row.

    row: indices in the table, or None if all rows are kept.  notes: messages about the ids.
    span: the lowest and the highest rating in double precision.
    """

    table: Table
    users: NDArray[np.object_]
    items: NDArray[np.object_]
    user_index: NDArray[np.uint32]
    item_index: NDArray[np.uint32]
    values: NDArray[np.float32] | None = None
    times: NDArray[np.float64] | None = None
    row: NDArray[np.int64] | None = None
    notes: tuple[str, ...] = ()
    span: tuple[float, float] | None = None

    @classmethod
    def of(cls, table: Table, roles: Roles, one_user: str | None) -> _Rows:
        """Users and items of all rows of the table."""
        if roles.user is None:
            user_index, users = np.zeros(table.rows, np.uint32), np.array([id_text(one_user)], object)
            notes: tuple[str, ...] = ()
        else:
            user_index, users, notes = read_ids(table, roles.user)
        item_index, items, also = read_ids(table, roles.item)
        return cls(table, users, items, user_index, item_index, notes=(*notes, *also))

    def line(self, row: int) -> str:
        in_table = row if self.row is None else int(self.row[row])
        return f"{self.table.unit} {self.table.take([in_table]).lines[0]}"

    def pair(self, row: int) -> str:
        user, item = self.users[self.user_index[row]], self.items[self.item_index[row]]
        return f"user {user!r}, item {item!r}"


def index_ratings(
    table: Table,
    *,
    user: str | None = None,
    item: str | None = None,
    rating: str | None = None,
    time: str | bool | None = None,
    item_table: Table | None = None,
    item_key: str | None = None,
    item_name: str | None = None,
    scale: tuple[float, float] | None = None,
    kind: str | None = None,
    duplicates: str | None = None,
    time_format: str | None = None,
    skip_bad: bool = False,
    keep_rows: bool = False,
    one_user: str | None = None,
    half_life: float | None = None,
    until: float | None = None,
    of_run: Mapping[str, str | None] | None = None,
    shown: bool = False,
) -> Ratings:
    """Read users, items, ratings and times out of a table.

    user, item, rating, time: column names. Those not given are looked for by well-known names, or by position
        in a table without header; `notes` says which were taken, with an example row.
        time=False leaves times out.
    item_table: catalogue of items: ids in column `item_key`, titles in column `item_name`.
    scale: lowest and highest rating. Given, a rating outside it is an error; otherwise it is the data's own.
    kind: ``explicit`` (a rating says how much the item is liked) or ``implicit`` (a log of events). Not
        given, a table without ratings, with nothing but ones, or with skewed counts is implicit, and `notes`
        says so.
    duplicates: the rule for repeated pairs, of `DUPLICATE_RULES`; by default ``last`` for
        ratings (by time where there are times, else by line) and ``sum`` for events.
    skip_bad: rows with an empty id or without a finite rating are left out and counted, not an error.
    keep_rows: keep the row that each rating came from, to read other columns of it.
    one_user: all rows are of this user; no column of users is looked for.
    half_life: of events, the seconds in which the strength of each halves, up to `until`; this is the latest
        time of the table where it is not given. An event without a time is as old as the oldest.
    of_run: role -> name of its column in the table of a finished run that these ratings are for. Messages
        for a training are left out then, and so is an unreadable column of times that nobody named.
    shown: of events, keep pairs of strength 0 as shown and not taken; otherwise they are left out.

    Raises SchemaError for columns, TableError for cells, RatingsError for what contradicts itself.
    """
    _check_choice("kind", kind, ("explicit", "implicit"))
    _check_choice("duplicates", duplicates, DUPLICATE_RULES)
    scale = _checked_scale(scale)
    if table.rows == 0:
        raise RatingsError(f"{table.source} holds no ratings", fix="give a table with one row per rating")
    columns: dict[str, Any] = {"user": user, "item": item, "rating": rating, "time": time}
    roles = find_roles(table, **columns, kind=kind, one_user=one_user is not None, of_run=of_run)
    notes = [*table.notes, *roles.notes]
    rows = _Rows.of(table, roles, one_user)
    named, finished = time is not None, of_run is not None
    rows.times, said = _read_times(table, roles, time_format, named=named, of_run=finished)
    notes += said
    rows, said = _usable_rows(rows, roles, skip_bad, scale)
    notes += said
    implicit, said = _decide_kind(rows, kind, scale, roles.rating)
    notes += said if of_run is None else []
    if not implicit and rows.span is not None and not finished:
        _check_spread(table, roles.rating, *rows.span)
    notes += _weigh_events(rows, half_life, until, implicit, shown)
    rule = duplicates or ("sum" if implicit else "last")
    if rule == "sum" and not implicit:
        raise RatingsError(
            "the sum of two ratings is not a rating",
            fix="choose duplicates last, first, mean, max or min, or kind implicit if they count events",
        )
    chosen, values, said = _one_per_pair(rows, rule, finished)
    chosen, values, pairs, more = _without_nothing(rows, chosen, values, implicit, finished, shown)
    notes += [*said, *more]
    rows.values = None
    # The table's order is freed as soon as the sorted index exists.
    rows.user_index = rows.user_index[chosen]
    rows.item_index = rows.item_index[chosen]
    user_index, users = _compact(rows.user_index, rows.users)
    item_index, items = _compact(rows.item_index, rows.items)
    ends = (float(values.min()), float(values.max()))
    what = "pairs" if implicit else "ratings"
    notes.append(f"{len(users)} users, {len(items)} items, {len(values)} {what}")
    if of_run is None:
        notes += _of_training(ends, scale, implicit, user_index, users)
        notes += [] if implicit else _marks(values)
    names: dict[str, str] = {}
    if item_table is not None:
        names, said = item_titles(item_table, items, key=item_key, name=item_name, item=roles.item)
        notes += said
    return Ratings(
        users=users,
        items=items,
        user_index=user_index,
        item_index=item_index,
        ratings=values,
        times=None if rows.times is None else rows.times[chosen],
        scale=ends if scale is None else scale,
        implicit=implicit,
        item_names=names,
        notes=tuple(notes),
        rows=None if not keep_rows else chosen.astype(np.int64) if rows.row is None else rows.row[chosen],
        shown=pairs,
    )


# --- rows ------------------------------------------------------------------------------------------


def _read_times(
    table: Table, roles: Roles, time_format: str | None, *, named: bool, of_run: bool
) -> tuple[NDArray[np.float64] | None, list[str]]:
    """Times of all rows, if there are any; and messages. named: whether the caller named their column."""
    if roles.time is None:
        return None, []
    try:
        times, said = read_times(table, roles.time, time_format)
    except TableError as error:
        if not of_run:
            raise
        if named:
            fix = f"write {roles.time} {OF_RUN}"
            cells = error.labels.get("found", "")
            raise TableError(error.headline, problems=error.problems, found=cells, fix=fix) from None
        return None, [f"{roles.time} is not read as times, so of a repeated pair the last line counts"]
    absent = int(np.isnan(times).sum())
    late = [f"{absent} of {table.rows} times are missing and count as the earliest"] if absent else []
    return times, [*said, *late]


def _usable_rows(
    rows: _Rows, roles: Roles, skip_bad: bool, scale: tuple[float, float] | None
) -> tuple[_Rows, list[str]]:
    """Rows with ids and with their ratings, and messages."""
    table = rows.table
    notes = list(rows.notes)
    of_role = ((roles.user, rows.user_index, rows.users), (roles.item, rows.item_index, rows.items))
    faults = {name: (ids == "")[index] for name, index, ids in of_role if name and (ids == "").any()}
    values = None
    if roles.rating is not None:
        # Checked as they are written: in single precision 4.7 is above a scale that ends at 4.7.
        values = table.try_numbers(roles.rating)[0]
        if not np.isfinite(values).all():
            faults[roles.rating] = ~np.isfinite(values)
        rows.values = _single(rows, values)
    bad = np.logical_or.reduce(list(faults.values())) if faults else np.zeros(0, np.bool_)
    if faults and not skip_bad:
        raise _bad_cells(table, faults, int(bad.sum()), roles.rating)
    if values is not None and scale is not None:
        _check_values(rows, values, scale)
    if faults:
        counts = ", ".join(f"{int(mask.sum())} by {name}" for name, mask in faults.items())
        notes.append(f"{int(bad.sum())} of {table.rows} rows left out as unusable ({counts})")
        keep = np.flatnonzero(~bad)
        if not len(keep):
            raise RatingsError(
                f"{table.source} holds no usable rating", found=notes[-1], fix="give a table of ratings"
            )
        rows = replace(
            rows,
            user_index=rows.user_index[keep],
            item_index=rows.item_index[keep],
            values=None if rows.values is None else rows.values[keep],
            times=None if rows.times is None else rows.times[keep],
            row=keep,
        )
        values = None if values is None else values[keep]
    if values is not None:
        rows.span = (float(values.min()), float(values.max()))
    return rows, [_example(rows), *notes]


def _single(rows: _Rows, values: NDArray[np.float64]) -> NDArray[np.float32]:
    """The ratings in single precision, for all calculations. Raises RatingsError if it cannot hold them."""
    with np.errstate(over="ignore", under="ignore"):
        single = values.astype(np.float32)
    lost = np.isfinite(values) & (~np.isfinite(single) | ((np.abs(single) < TINY) & (values != 0)))
    if lost.any():
        row = int(np.flatnonzero(lost)[0])
        many = "1 rating is" if lost.sum() == 1 else f"{int(lost.sum())} ratings are"
        raise RatingsError(
            f"{rows.table.source}: {many} too large or too small to calculate with",
            found=f"first at {rows.line(row)} ({values[row]:g})",
            fix=f"mend them, or give all in another unit, between {TINY:g} and {1 / TINY:g}",
        )
    return single


def _check_spread(table: Table, column: str | None, low: float, high: float) -> None:
    """Refuse ratings that differ too little for single precision."""
    size = max(abs(low), abs(high))
    if low < high and high - low < LEAST_SPREAD * size:
        raise RatingsError(
            f"{table.source}: the ratings differ by too little for their size to learn from",
            found=f"{column}: {low:.12g} to {high:.12g}",
            fix=f"take {low:.12g} off all of them, or name the column of ratings: --target COLUMN",
        )


def _bad_cells(
    table: Table, faults: dict[str, NDArray[np.bool_]], count: int, rating: str | None
) -> TableError:
    bad: list[tuple[int, str]] = []
    for name, mask in faults.items():
        rows = np.flatnonzero(mask)[:LISTED]
        for row, cell in zip(rows.tolist(), table.places(name, rows), strict=True):
            empty = cell.endswith("''")
            bad.append((row, f"{cell} {'is empty' if empty else 'is not a finite number'}"))
    cells = sum(int(mask.sum()) for mask in faults.values())
    fix = "mend these cells, or leave such rows out: --skip-bad"
    if count == table.rows:  # Nothing would be left.
        fix = "mend these cells"
    if rating in faults and faults[rating].all():
        words = {str(text).casefold() for text in table.codes(rating)[1]}
        fix = "write ratings as numbers" + (", as 1 for yes and 0 for no" if words <= YES_AND_NO else "")
    problems = [text for _, text in sorted(bad)][: LISTED + 1]
    return TableError(
        f"{table.source}: {count} of {table.rows} rows have no user, no item or no rating",
        problems=problems + [""] * (cells - len(problems)),
        fix=fix,
    )


def _example(rows: _Rows) -> str:
    text = f"{rows.line(0)} reads: {rows.pair(0)}"
    if rows.values is not None:
        text += f", rating {rows.values[0]:g}"
    if rows.times is not None and not np.isnan(rows.times[0]):
        text += f", time {format_time(float(rows.times[0]))}"
    return text


# --- explicit or implicit, and the scale -----------------------------------------------------------


def _weigh_events(
    rows: _Rows, half_life: float | None, until: float | None, implicit: bool, shown: bool
) -> list[str]:
    """Check strengths of events, and halve them per half-life of age, in place; and a message."""
    if shown and not implicit:
        raise RecipeError(
            "rows that were shown are of events, and these are ratings", fix="give --kind implicit"
        )
    if half_life is not None and not implicit:
        raise RecipeError("a half-life is of events, and these are ratings", fix="give --kind implicit")
    if implicit and rows.values is not None:
        _check_values(rows, rows.values, (0.0, np.inf))
    if half_life is None:
        return []
    times = rows.times
    if times is None or np.isnan(times).all():
        raise RatingsError(
            f"{rows.table.source} has no times, so the age of its events is not known",
            fix="name the column with --time COLUMN, or leave out --half-life",
        )
    latest = float(np.nanmax(times)) if until is None else until
    age = np.maximum(latest - np.nan_to_num(times, nan=float(np.nanmin(times))), 0)
    strength = np.ones(len(times)) if rows.values is None else rows.values.astype(np.float64)
    aged = (strength * np.exp2(-age / half_life)).astype(np.float32)
    # However old, an event has happened.
    rows.values = np.where(strength > 0, np.maximum(aged, np.finfo(np.float32).tiny), 0).astype(np.float32)
    return [f"the strength of an event halves in {half_life:g} seconds of age, up to {format_time(latest)}"]


def _check_choice(name: str, value: str | None, choices: Sequence[str]) -> None:
    if value is not None and value not in choices:
        raise RecipeError(f"{name} = {value!r} is not known", fix=did_you_mean(value, choices))


def _checked_scale(scale: tuple[float, float] | None) -> tuple[float, float] | None:
    if scale is None:
        return None
    low, high = (float(end) for end in scale)
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise RecipeError(f"scale {low:g} to {high:g} is empty", fix="give the lowest and the highest rating")
    return low, high


def _decide_kind(
    rows: _Rows, kind: str | None, scale: tuple[float, float] | None, column: str | None
) -> tuple[bool, list[str]]:
    values = rows.values
    if values is None:
        return True, ["implicit: there is no rating column, so each row counts as one event"]
    ones = float((values == 1).mean())
    if kind is not None:
        notes = [f"{kind}, as given"]
        if kind == "implicit" and scale is None and len(np.unique(values[:100_000])) > 1 and ones < 0.5:
            notes.append(
                f"{column} counts as strength of interest: a low one means weak interest, not dislike"
            )
        return kind == "implicit", notes
    if scale is not None:
        return False, ["explicit: a scale is given"]
    if ones == 1:
        return True, [
            f"implicit: {column} is always 1, so each row counts as one event (--kind explicit otherwise)"
        ]
    counts = ones >= 0.5 and values.min() >= 1 and bool((values == np.floor(values)).all())
    if counts and values.max() > 10:
        return True, [
            f"implicit: {column} holds counts (1 in {ones:.0%} of the rows, up to {values.max():g}), "
            "so it says how often and not how good (--kind explicit otherwise)"
        ]
    low, middle, high = float(values.min()), float(np.median(values)), float(values.max())
    if low >= 0 and high > MOST_STARS and middle <= high / 10:
        raise RatingsError(
            f"{rows.table.source}: {column} looks like counts or seconds, and not like ratings",
            found=f"{low:g} to {high:g}, half of them at most {middle:g}",
            fix="--kind implicit takes them as strengths of events; --kind explicit as ratings all the same",
        )
    hint = "; most are 1: if they count events, give --kind implicit" if counts else ""
    return False, [f"explicit: {column} holds ratings (--kind implicit for events){hint}"]


def _check_values(rows: _Rows, values: NDArray[np.floating], bounds: tuple[float, float]) -> None:
    """Refuse ratings outside the scale, or events that happened less than never."""
    low, high = bounds
    problems = []
    for outside, side, end in ((values > high, "above", high), (values < low, "below", low)):
        count = int(outside.sum())
        if count:
            row = int(np.flatnonzero(outside)[0])
            what = "rating" if count == 1 else "ratings"
            problems.append(
                f"{count} {what} {side} {end:g}, first at {rows.line(row)} ({float(values[row]):g})"
            )
    if problems and high == np.inf:
        raise RatingsError(
            f"{rows.table.source} is read as a log of events, and no event happens less than never",
            problems=problems,
            fix="for ratings give --kind explicit",
        )
    if problems:
        raise RatingsError(
            f"{rows.table.source} contradicts the scale {low:g} to {high:g}: {'; '.join(problems)}",
            found=f"ratings from {np.nanmin(values):g} to {np.nanmax(values):g}",
            fix="mend the ratings, or give their true scale (none: the scale of the data)",
        )


# --- an entry for each pair, sorted --------------------------------------------------------------------


def _sorted_pairs(rows: _Rows) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
    """Rows in the order of user, item, row of the table; and (rows,) where in that order a pair begins."""
    count = len(rows.user_index)
    fresh = np.ones(count, np.bool_)
    item_bits = (len(rows.items) - 1).bit_length()
    row_bits = (count - 1).bit_length()
    if (len(rows.users) - 1).bit_length() + item_bits + row_bits <= 64:
        # User, item and row fit into a word: sorting the words sorts the rows, stably and in place.
        words = rows.user_index.astype(np.uint64)
        words <<= np.uint64(item_bits)
        words |= rows.item_index
        words <<= np.uint64(row_bits)
        order = np.arange(count, dtype=np.uint32)
        words |= order
        words.sort()
        np.bitwise_and(words, np.uint64((1 << row_bits) - 1), out=order, casting="unsafe")
        words >>= np.uint64(row_bits)
        np.not_equal(words[1:], words[:-1], out=fresh[1:])
    else:
        order = np.lexsort((rows.item_index, rows.user_index)).astype(np.uint32)
        user, item = rows.user_index[order], rows.item_index[order]
        fresh[1:] = (user[1:] != user[:-1]) | (item[1:] != item[:-1])
    return order, fresh


def _one_per_pair(
    rows: _Rows, rule: str, of_run: bool
) -> tuple[NDArray[np.uint32], NDArray[np.float32], list[str]]:
    """The row that stands for each pair, its rating by the rule, and what was resolved."""
    order, fresh = _sorted_pairs(rows)
    values = np.ones(len(order), np.float32) if rows.values is None else rows.values
    if fresh.all():
        return order, values[order], []
    last = np.append(fresh[1:], True)
    # All that follows works on the rows of repeated pairs alone, which are few in most tables.
    repeated = np.flatnonzero(~(fresh & last))
    begins = np.flatnonzero(fresh[repeated])
    lines = " and ".join(rows.line(int(row)) for row in order[repeated[:2]])
    example = f"first: {rows.pair(int(order[repeated[0]]))}, {lines}"
    what = "1 repeated pair" if len(begins) == 1 else f"{len(begins)} repeated pairs"
    if rule == "error":
        raise RatingsError(
            f"{rows.table.source} has {what} of user and item ({example})",
            fix="leave a single row of each, since the run was fitted with this rule (duplicates error)"
            if of_run
            else "choose a rule: --duplicates last, first, mean, max or min",
        )
    if rows.times is not None:
        own = order[repeated]
        # A row without a time comes before all others of its pair.
        when = np.nan_to_num(rows.times[own], nan=-np.inf, posinf=np.inf, neginf=-np.inf)
        order[repeated] = own[np.lexsort((own, when, np.cumsum(fresh[repeated])))]
    chosen = order[fresh if rule == "first" else last]
    answer = values[chosen]
    if rule in ("last", "first"):
        done = f"{rule} by {rows.table.unit if rows.times is None else 'time'} kept"
    else:
        combine = {"mean": np.add, "sum": np.add, "max": np.maximum, "min": np.minimum}[rule]
        combined = combine.reduceat(values[order[repeated]].astype(np.float64), begins)
        if rule == "mean":
            combined /= np.diff(np.append(begins, len(repeated)))
        answer[(np.cumsum(fresh) - 1)[repeated[begins]]] = combined
        done = {"mean": "mean taken", "sum": "sum taken", "max": "highest kept", "min": "lowest kept"}[rule]
    return chosen, answer, [f"{what}: {done} ({example})"]


def _without_nothing(
    rows: _Rows,
    chosen: NDArray[np.uint32],
    values: NDArray[np.float32],
    implicit: bool,
    of_run: bool,
    shown: bool,
) -> tuple[NDArray[np.uint32], NDArray[np.float32], Shown | None, list[str]]:
    """Events without those of strength 0, where nothing happened; with `shown` these pairs; and messages."""
    if not implicit:
        return chosen, values, None, []
    kept = values > 0
    if not kept.any():
        other = "" if of_run else ", or --kind explicit for ratings"
        raise RatingsError(
            f"{rows.table.source} holds no event: every strength is 0",
            fix=f"give events of a strength above 0{other}",
        )
    if shown:
        pairs, notes = _shown_pairs(rows, chosen[~kept], chosen[kept])
        return chosen[kept], values[kept], pairs, notes
    if kept.all():
        return chosen, values, None, []
    gone = f"{int((~kept).sum())} of {len(values)} pairs have the strength 0"
    note = f"{gone}: nothing happened, so they are left out"
    return chosen[kept], values[kept], None, [note]


def _shown_pairs(
    rows: _Rows, nothing: NDArray[np.uint32], chosen: NDArray[np.uint32]
) -> tuple[Shown, list[str]]:
    """Pairs that were shown, of users and items with an event; and a message. Both are rows of pairs."""
    every = Shown(
        rows.user_index[nothing],
        rows.item_index[nothing],
        None if rows.times is None else rows.times[nothing],
    )
    sizes = len(rows.users), len(rows.items)
    pairs = every.within(rows.user_index[chosen], rows.item_index[chosen], sizes)
    many, rest = len(pairs.user_index), len(nothing) - len(pairs.user_index)
    if not len(nothing):
        return pairs, ["no pair has the strength 0, so none was shown and not taken"]
    gone = f" ({rest} more, of users or items without any event, are left out)" if rest else ""
    return pairs, [f"{many} pairs have the strength 0: shown and not taken{gone}"]


def _compact(
    index: NDArray[np.uint32], ids: NDArray[np.object_]
) -> tuple[NDArray[np.uint32], NDArray[np.object_]]:
    """Leave out ids without a rating."""
    used = np.zeros(len(ids), np.bool_)
    used[index] = True
    if used.all():
        return index, ids
    return (np.cumsum(used, dtype=np.uint32) - np.uint32(1))[index], ids[used]


def _of_training(
    ends: tuple[float, float],
    scale: tuple[float, float] | None,
    implicit: bool,
    user_index: NDArray[np.uint32],
    users: NDArray[np.object_],
) -> list[str]:
    """Messages for a training on these ratings. ends: the lowest and the highest rating."""
    notes = []
    if not implicit:
        low, high = ends if scale is None else scale
        notes.append(f"scale {low:g} to {high:g}, {'from the data' if scale is None else 'as given'}")
        if ends[0] == ends[1]:
            notes.append(f"all ratings are {ends[0]:g}: nothing to learn")
    if len(users) == 1:
        notes.append("one user only: there are no others to learn from")
    # Sorted by user, so that counting needs no copy of the index as wider integers.
    last_rows = np.flatnonzero(user_index[1:] != user_index[:-1])
    single = int((np.diff(last_rows, prepend=-1, append=len(user_index) - 1) == 1).sum())
    if single:
        are = "user has" if single == 1 else "users have"
        notes.append(f"{single} {are} 1 rating and cannot be evaluated")
    return notes


def _marks(values: NDArray[np.float32]) -> list[str]:
    """Messages on numbers that may mean "not rated": many a 0 or -1 beside stars from 1 on, or a lone 99."""
    notes = []
    for end in dict.fromkeys((float(values.min()), float(values.max()))):
        marked = values == end
        rest = values[~marked]
        if not len(rest) or len(np.unique(rest[:100_000])) < 3:
            continue
        low, high, share = float(rest.min()), float(rest.max()), float(marked.mean())
        below = end in (0, -1) and low >= 1 and share >= MANY_MARKS
        beyond = abs(end) in (99, 999, 9999) and abs(end) > 4 * max(abs(low), abs(high))
        if below or beyond:
            notes.append(
                f"{int(marked.sum())} of {len(values)} ratings are {end:g}, and the others lie between "
                f"{low:g} and {high:g}: if {end:g} means not rated, leave these rows out, "
                "since they are learnt as ratings"
            )
    return notes


# --- parts of ratings ------------------------------------------------------------------------------


def take_ratings(ratings: Ratings, rows: NDArray[np.int64]) -> Ratings:
    """The ratings of these rows (ascending), with only their users and items in the vocabularies.

    Scale, titles and kind stay those of the whole; of what was shown, the pairs of these users and items.
    """
    user_index, users = _compact(ratings.user_index[rows], ratings.users)
    item_index, items = _compact(ratings.item_index[rows], ratings.items)
    return replace(
        ratings,
        users=users,
        items=items,
        user_index=user_index,
        item_index=item_index,
        ratings=ratings.ratings[rows],
        times=None if ratings.times is None else ratings.times[rows],
        order=None if ratings.order is None else ratings.order[rows],
        notes=(),
        rows=None if ratings.rows is None else ratings.rows[rows],
        shown=None
        if ratings.shown is None
        else ratings.shown.within(
            ratings.user_index[rows], ratings.item_index[rows], (len(ratings.users), len(ratings.items))
        ),
    )
