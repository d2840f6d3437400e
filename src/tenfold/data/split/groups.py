"""Rows that belong together: of the same picture, sender or content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tenfold.errors import LISTED, listed

Ints = NDArray[np.int64]
#: Target -> class codes (rows,), -1 where missing; or a (rows, classes) table of 0 and 1.
Labels = Mapping[str, ArrayLike]
#: Target -> class names, in the order of the codes.
Classes = Mapping[str, Sequence[str]]


def join_groups(keys: Sequence[ArrayLike], rows: int) -> Ints:
    """One group number per row, from 0 in order of appearance: rows that share any key are in one group.

    Sharing is transitive: if rows 1 and 2 share a picture, and rows 2 and 3 a sender, all three are together.
    """
    # Every row points at a row of its group with a lower number. Each round hooks the row that a row points
    # at to the lowest row that any row with the same key points at, until nothing changes.
    head = np.arange(rows)
    every = [group_codes(key, rows) for key in keys]
    known = [(codes >= 0, codes[codes >= 0]) for codes in every]
    while True:
        before = head.copy()
        for keyed, codes in known:
            lowest = np.full(int(codes.max(initial=-1)) + 1, rows)
            np.minimum.at(lowest, codes, head[keyed])
            np.minimum.at(head, head[keyed], lowest[codes])
            head[keyed] = np.minimum(head[keyed], lowest[codes])
        head = head[head]
        if np.array_equal(before, head):
            return np.unique(head, return_inverse=True)[1].astype(np.int64)


def linked_groups(
    columns: Mapping[str, NDArray[np.object_]],
    pictures: Sequence[NDArray[np.object_]],
    names: NDArray[np.object_],
) -> list[str]:
    """Messages about groups that become one since their rows show the same picture.

    columns: name of a column of groups -> (rows,) its texts, "" where a row has no group.
    pictures: keys, each (rows,), "" for a row without a picture.  names: (rows,) their names for messages.
    """
    rows = len(names)
    grouped = np.any([cells != "" for cells in columns.values()] or [np.zeros(rows, bool)], axis=0)
    own = join_groups(list(columns.values()), rows)
    linked = join_groups([own, *pictures], rows)
    words = [" ".join(filter(None, map(str, cells))) for cells in zip(*columns.values(), strict=True)]
    problems = []
    for key in pictures:
        codes = np.where(grouped, group_codes(key, rows), -1)
        keyed = np.flatnonzero(codes >= 0)
        order = keyed[np.argsort(codes[keyed], kind="stable")]
        for same in np.split(order, np.flatnonzero(np.diff(codes[order])) + 1):
            if len(np.unique(own[same])) > 1:
                firsts = np.sort(np.unique(own[same], return_index=True)[1])
                members = [words[row] for row in same[firsts]]
                files = list(dict.fromkeys(str(names[row]) for row in same))
                problems.append(f"{' and '.join(members[:LISTED])} by {', '.join(files[:LISTED])}")
    if not problems:
        return []
    before, after = len(np.unique(own[grouped])), len(np.unique(linked[grouped]))
    what = f"{'column' if len(columns) == 1 else 'columns'} {', '.join(map(repr, columns))}"
    note = f"{before} groups of {what} are {after} for the split, since rows of several show one picture"
    return [note, *listed(problems)]


def group_codes(key: ArrayLike, rows: int) -> Ints:
    """Group keys as numbers, -1 for a row without a key."""
    values = np.asarray(key)
    if values.shape != (rows,):
        raise ValueError(f"a group key has one value per row: wanted {rows}, found shape {values.shape}")
    if values.dtype.kind in "iub":
        none = values < 0 if values.dtype.kind == "i" else np.zeros(rows, dtype=bool)
    else:
        # 2.0 and 2.5 of a column of floats are two groups, and NaN is not a group.
        missing = [value is None or value != value or value == "" for value in values.tolist()]
        none, values = np.array(missing, dtype=bool), values.astype(str)
    codes = np.unique(values, return_inverse=True)[1].astype(np.int64)
    codes[none] = -1
    return codes


def class_name(target: str, code: int, classes: Classes | None) -> str:
    """The name of a class for messages; its number if it has no name."""
    names = (classes or {}).get(target, ())
    return str(names[code]) if code < len(names) else str(code)
