"""Spans of time: a user's ratings of one sitting, one hour, one day resemble each other.

A span of a length holds all times with the same whole part of time / length. Each belongs to a user, and
comes from training ratings; at a time outside of all spans the shift is 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tenfold.values import TimeSpans

__all__ = ["LENGTHS", "choose_lengths", "span_starts", "time_shifts"]

#: Seconds: from one page of ratings to a day.
LENGTHS = (180.0, 600.0, 2400.0, 86400.0)
#: A length is used if this fraction of ratings shares its span with another,
SHARED = 0.1
#: and if it has fewer spans than the length before, by this fraction.
FEWER = 0.02


def span_starts(user: NDArray[np.integer], times: NDArray[np.float64], length: float) -> NDArray[np.int64]:
    """(spans + 1,) boundaries of the spans of this length in ratings sorted by user and then by time."""
    part = np.floor(times / length)
    new = np.ones(len(user) + 1, np.bool_)
    new[1:-1] = (user[1:] != user[:-1]) | (part[1:] != part[:-1])
    return np.flatnonzero(new)


def choose_lengths(user: NDArray[np.integer], times: NDArray[np.float64]) -> list[float]:
    """The LENGTHS to use for these ratings, which are sorted by user and then by time."""
    chosen: list[float] = []
    before = np.inf
    for length in LENGTHS:
        sizes = np.diff(span_starts(user, times, length))
        shared = sizes[sizes > 1].sum() >= SHARED * len(user)
        if shared and len(sizes) <= (1 - FEWER) * before:
            chosen.append(length)
            before = len(sizes)
    return chosen


def time_shifts(
    spans: TimeSpans | None, user_index: NDArray[np.int64], times: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Shifts that a model with times adds to the scores of users (by index, -1 is unknown) at these times.

    0 if the model has no times, the time is unknown (NaN), or no training rating shares the span.
    """
    total = np.zeros(len(user_index))
    known = (user_index >= 0) & np.isfinite(times)
    who, when = user_index[known], times[known]
    if spans is None:
        return total
    for length, start, part, shift in zip(spans.lengths, spans.start, spans.part, spans.shift, strict=True):
        wanted = np.floor(when / length).astype(np.int64)
        # Parts rise within a user, so (user, part) rises throughout: one search for all.
        first = min(int(part.min(initial=0)), int(wanted.min(initial=0)))
        width = max(int(part.max(initial=0)), int(wanted.max(initial=0))) - first + 1
        keys = np.repeat(np.arange(len(start) - 1), np.diff(start)) * width + (part - first)
        asked = who * width + (wanted - first)
        index = np.minimum(np.searchsorted(keys, asked), max(len(keys) - 1, 0))
        if len(keys):
            total[known] += np.where(keys[index] == asked, shift[index], 0.0)
    return total
