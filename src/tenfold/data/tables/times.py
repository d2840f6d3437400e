"""Times of a table as seconds since 1970, in a stated or unambiguous format."""

from __future__ import annotations

import math
import re
import time
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from tenfold.data.tables.cells import is_number
from tenfold.data.tables.table import Table
from tenfold.errors import RecipeError, TableError, did_you_mean

#: Units of time with their upper limits: seconds stay below 1e11 until the year 5138.
UNITS = (
    ("seconds", 1.0, 1e11),
    ("milliseconds", 1e3, 1e14),
    ("microseconds", 1e6, 1e17),
    ("nanoseconds", 1e9, 1e20),
)

COUNTED = tuple(name for name, _, _ in UNITS)
FORMATS = (*COUNTED, "iso")
#: Seconds: a note says when times are stored no finer than this.
COARSE = 0.5
#: A sample that tells whether to examine all times.
SAMPLE = 1000

#: Letters of a stretch of time -> seconds.
SPANS = {"s": 1, "min": 60, "h": 3600, "d": 86400, "w": 604800, "y": 31557600}

FIX = "give --time-format seconds, milliseconds, iso or a pattern as %d/%m/%Y, or "


def parse_span(text: str) -> float:
    """``90d`` -> seconds; s, min, h, d, w (weeks), y (365.25 days). RecipeError for anything else."""
    parts = re.fullmatch(r"(\d+(?:\.\d+)?) *([a-z]+)", text.strip().casefold())
    if parts is not None and parts[2] in SPANS and 0 < float(parts[1]) < math.inf:
        return float(parts[1]) * SPANS[parts[2]]
    raise RecipeError(f"{text!r} is not a stretch of time", fix="write 12h, 90d, 8w or 2y, for instance")


def read_times(
    table: Table,
    column: str,
    time_format: str | None = None,
    *,
    without: str = "leave times out: --time none",
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """The column as seconds since 1970 in UTC (NaN where missing), and notes of what was decided.

    time_format: ``seconds``, ``milliseconds``, ``microseconds``, ``nanoseconds``, ``iso``, a strptime pattern
        such as ``%d/%m/%Y``, or None to detect it from the whole column.
    without: the remedy instead of a format.

    Numbers are seconds or a finer unit by their size; text must be ISO 8601, in UTC unless it names a zone. A
    column that mixes units or mixes numbers and dates, and digits that may be a calendar date, are a
    TableError with example lines. A note counts times later than today, since their unit or year may be
    wrong.
    """
    try:
        seconds, notes = _read(table, column, time_format)
    except TableError as error:
        if error.labels.get("fix") == FIX:
            error.labels["fix"] = FIX + without
        raise
    return seconds, (*notes, *_later_than_now(table, column, seconds))


def _read(table: Table, column: str, time_format: str | None) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    if time_format is not None and time_format not in FORMATS and "%" not in time_format:
        raise RecipeError(
            f"time format {time_format!r} is not known",
            fix=f"{did_you_mean(time_format, FORMATS)}, or a pattern as %d/%m/%Y",
        )
    if time_format is not None and time_format not in COUNTED:
        return _written(table, column, time_format)
    try:
        numbers = table.numbers(column)
    except TableError:
        if time_format is not None:
            raise
        return _written(table, column, None)
    return _counted(table, column, numbers, time_format)


def _later_than_now(table: Table, column: str, seconds: NDArray[np.float64]) -> list[str]:
    # A day is allowed for fast clocks and for times without a zone.
    later = np.flatnonzero(seconds > time.time() + 86400)
    if not len(later):
        return []
    what = "times lies" if len(later) == 1 else "times lie"
    first = f"{table.unit} {table.take(later[:1]).lines[0]} ({format_time(float(seconds[later[0]]))})"
    return [f"{column}: {len(later)} of {len(seconds)} {what} in the future, first at {first}"]


def format_time(seconds: float) -> str:
    """``2011-03-13 07:08:20`` (UTC), or the number if it is outside the calendar."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return f"{seconds:g}"


def _counted(
    table: Table, column: str, values: NDArray[np.float64], time_format: str | None
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    missing = table.missing(column)
    known = values[~missing] if missing.any() else values
    if not known.size:
        return values, (f"{column} holds no time",)
    if not np.isfinite(known).all():
        raise _refusal(table, column, np.flatnonzero(~missing & ~np.isfinite(values)), "is not a time")
    # 051125 is not a number of seconds: those are not padded with zeros.
    if time_format is None and (table.padded(column) or _calendar(known)):
        first = np.flatnonzero(~missing)[:1]
        raise _refusal(table, column, first, "may be a date or a count of seconds")
    unit = COUNTED.index(time_format) if time_format is not None else _unit(table, column, known, values)
    name, per_second, _ = UNITS[unit]
    notes = [f"{column} is read as {name} since 1970"]
    step = table.coarseness(column) / per_second
    if step >= COARSE:
        notes.append(
            f"{column} is stored in single precision, in steps of {step:g} s: nearer times are equal"
        )
    return values if unit == 0 else values / per_second, tuple(notes)


def _unit(table: Table, column: str, known: NDArray[np.float64], values: NDArray[np.float64]) -> int:
    """The unit of all times, by their size; TableError if they differ."""
    limits = [limit for _, _, limit in UNITS[:-1]]
    sizes = np.abs(known)
    # Zero is the same moment in every unit.
    sizes = sizes if sizes.min() > 0 else sizes[sizes > 0]
    if not sizes.size:
        return 0
    least, most = np.searchsorted(limits, [sizes.min(), sizes.max()], side="right")
    if least != most:
        kinds = np.where(values == 0, -1, np.searchsorted(limits, np.abs(values), side="right"))
        kinds[np.isnan(values)] = -1
        mixed, first = np.unique(kinds, return_index=True)
        units = " and ".join(COUNTED[kind] for kind in mixed[mixed >= 0])
        raise _refusal(table, column, first[mixed >= 0], "", headline=f"the times mix {units}")
    return int(least)


def _calendar(values: NDArray[np.float64]) -> bool:
    """May every number be a date: ddmmyyyy, mmddyyyy or yyyymmdd, six digits, or a date with a clock time?"""
    if values.min() < 1e5 or values.max() >= 1e14:
        return False
    if len(values) > SAMPLE and not _calendar(values[:SAMPLE]):
        return False
    if (values != np.floor(values)).any():
        return False
    whole = values.astype(np.int64)
    if whole.min() >= 190_001_010_000 and whole.max() < 1_000_000_000_000:
        whole *= 100  # hours and minutes, without seconds
    if whole.min() >= 19_000_101_000_000:
        clock = whole % 1_000_000
        if (clock // 10_000 > 23).any() or (clock // 100 % 100 > 59).any() or (clock % 100 > 59).any():
            return False
        whole //= 1_000_000
    if whole.max() < 1_000_000:
        return _short_calendar(whole)
    first, second, last = whole // 1_000_000, whole // 10_000 % 100, whole % 10_000
    year, month, day = whole // 10_000, whole // 100 % 100, whole % 100
    return any(
        bool(((1900 <= y) & (y <= 2100) & (1 <= m) & (m <= 12) & (1 <= d) & (d <= 31)).all())
        for y, m, d in ((last, second, first), (last, first, second), (year, month, day))
    )


def _short_calendar(whole: NDArray[np.int64]) -> bool:
    """May all numbers of six digits be dates: ddmmyy, mmddyy, yymmdd or yyyymm?"""
    first, second, last = whole // 10_000, whole // 100 % 100, whole % 100
    year = whole // 100
    return bool(((1900 <= year) & (year <= 2100) & (1 <= last) & (last <= 12)).all()) or any(
        bool(((1 <= m) & (m <= 12) & (1 <= d) & (d <= 31)).all())
        for m, d in ((second, first), (first, second), (second, last))
    )


def _written(
    table: Table, column: str, time_format: str | None
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    codes, texts = table.codes(column)
    pattern = time_format if time_format and "%" in time_format else None
    seconds = np.full(len(texts), np.nan)
    counts = np.zeros(len(texts), np.bool_)
    for code, text in enumerate(texts):
        if time_format is None and is_number(str(text)):
            counts[code] = True
        else:
            seconds[code] = _parsed(str(text), pattern)
    dates = np.isfinite(seconds)
    if counts.any() and dates.any():
        rows = np.array([np.flatnonzero(group[codes])[0] for group in (dates, counts)])
        raise _refusal(table, column, rows, "", headline="the times mix dates and numbers")
    bad = np.flatnonzero(~dates[codes] & ~table.missing(column))
    if bad.size:
        wanted = f"does not fit {pattern!r}" if pattern else "is not ISO 8601"
        raise _refusal(table, column, bad, wanted)
    return seconds[codes], (f"{column} is read as {pattern or 'ISO 8601'}, UTC unless it names a zone",)


def _parsed(text: str, pattern: str | None) -> float:
    """Seconds since 1970, or NaN for a text that does not fit."""
    try:
        moment = datetime.strptime(text, pattern) if pattern else datetime.fromisoformat(text)
    except ValueError:
        return float("nan")
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _refusal(
    table: Table, column: str, rows: NDArray[np.int64], what: str, *, headline: str = ""
) -> TableError:
    if not headline:
        headline = f"cannot tell the format of {table.take(rows[:1]).text(column, ids=False)[0]!r}"
        headline += f" and {len(rows) - 1} more times" if len(rows) > 1 else ""
    return TableError(
        f"{table.source}, column {column}: {headline}",
        problems=[f"{cell} {what}".strip() for cell in table.places(column, rows)],
        fix=FIX,
    )
