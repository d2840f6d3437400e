"""Side tables: columns about users or items become sparse features of ones, a row per id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tenfold.data.ratings.roles import find_column, find_key, read_listed_ids
from tenfold.data.tables.table import Table
from tenfold.errors import LISTED, RecipeError, TableError, did_you_mean
from tenfold.values import SideFeatures

__all__ = ["choose_ids", "encode_side"]

#: A column of numbers with more different values than this is cut into `BINS` parts of equal count.
DISTINCT = 20
BINS = 10
#: Parts several values in one cell, as in ``Action|Comedy``.
SEPARATOR = "|"
#: Ends of a name that mean another comparison than = and !=.
OTHER_SIGNS = tuple("<>~^:*+-/%&|=")


@dataclass
class _Column:
    """One column's features: for every row of the side table, the features it has."""

    names: list[str]
    row: NDArray[np.int64]
    feature: NDArray[np.int64]


def encode_side(
    table: Table,
    columns: Sequence[str],
    ids: NDArray[np.object_],
    *,
    role: str = "item",
    key: str | None = None,
) -> SideFeatures:
    """The named columns of a side table as features of ones, row by row for `ids`.

    A category has a feature for each value; a cell ``a|b`` has two; a column of 0 and 1 is a single feature;
    numbers with more than 20 values are cut into ten bins of equal count. A value of a single id is left out:
    the id itself says as much. Empty cells and ids that the table does not list have no feature. An id that
    is listed twice counts by its first row.

    key: the column of ids; by default a well-known name (for `role`), or the first column without a header.
    """
    key = find_key(table, role, key)
    wanted = [find_column(table, column) for column in columns]
    if not wanted:
        raise RecipeError(
            f"no column of {table.source} is named", found=", ".join(table.names), fix="--side COLUMN"
        )
    row_of, notes = _rows_of(table, key, ids)
    listed = np.flatnonzero(row_of >= 0)
    names: list[str] = []
    groups, rows, features = [], [], []
    for group, column in enumerate(wanted):
        part, said = _encode_column(table.take(row_of[listed]), column)
        notes.append(said)
        groups += [group] * len(part.names)
        rows.append(listed[part.row])
        features.append(part.feature + len(names))
        names += part.names
    row, feature = np.concatenate(rows), np.concatenate(features)
    order = np.lexsort((feature, row))
    start = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(ids)))]).astype(np.int64)
    return SideFeatures(
        names=tuple(names),
        group=np.array(groups, np.uint32),
        columns=tuple(wanted),
        start=start,
        feature=feature[order].astype(np.uint32),
        notes=tuple(notes),
    )


def choose_ids(
    table: Table, conditions: Sequence[str], ids: NDArray[np.object_], *, key: str | None = None
) -> NDArray[np.bool_]:
    """Which of the ids meet all conditions ``COLUMN=VALUE`` or ``COLUMN!=VALUE`` in their row of the table.

    A cell ``a|b`` equals a and equals b. An id that the table does not list meets no condition. A value that
    no cell has is a TableError with the nearest value.
    """
    row_of, _ = _rows_of(table, find_key(table, "item", key), ids)
    chosen = np.ones(table.rows, np.bool_)
    for condition in conditions:
        name, equals, value = condition.partition("=")
        if not equals or not name.strip("! "):
            raise RecipeError(f"the condition {condition!r} is not COLUMN=VALUE", fix="write genre=Drama")
        name = name.strip()
        bare = name.rstrip("!").strip()
        # `find_column` forgives signs: year>=1995 would pass for year=1995.
        if bare not in table.names and bare[-1:] in OTHER_SIGNS:
            raise RecipeError(
                f"the condition {condition!r} compares in a way that is not known",
                fix="write COLUMN=VALUE or COLUMN!=VALUE, as genre=Drama",
            )
        column = find_column(table, bare)
        codes, texts = table.codes(column)
        parts = [{part.strip() for part in str(text).split(SEPARATOR)} for text in texts]
        meets = np.array([value.strip() in {*own, text} for own, text in zip(parts, texts, strict=True)])
        if not meets.any():
            raise TableError(
                f"{table.source}: column {column!r} has no {value.strip()!r}",
                fix=did_you_mean(value.strip(), sorted(set().union(*parts) - {""})) or "give a value it has",
            )
        chosen &= meets[codes] != name.endswith("!")
    return np.where(row_of < 0, False, chosen[row_of])


def _rows_of(table: Table, key: str, ids: NDArray[np.object_]) -> tuple[NDArray[np.int64], list[str]]:
    """The first row of each id in the side table, -1 for ids that it does not list."""
    codes, spelled, _ = read_listed_ids(table, key, ids)
    first: dict[str, int] = {}
    for row, code in enumerate(codes):
        first.setdefault(spelled[code], row)
    first.pop("", None)
    repeated = len(codes) - len(first)
    row_of = np.array([first.get(name, -1) for name in ids], np.int64)
    absent = ids[row_of < 0]
    notes = []
    if repeated:
        notes.append(
            f"{table.source}: {repeated} rows without an id or with one that came before are not used"
        )
    if len(absent):
        shown = ", ".join(absent[:LISTED])
        notes.append(f"{table.source} does not list {len(absent)} of {len(ids)} ids: {shown}")
    if len(ids) and len(absent) == len(ids):
        raise TableError(
            f"{table.source} lists none of the {len(ids)} ids",
            found=f"{key}: {', '.join(spelled[:LISTED])}",
            fix="name the column of ids, and see that its ids are spelled as in the ratings",
        )
    return row_of, notes


def _encode_column(table: Table, column: str) -> tuple[_Column, str]:
    codes, texts = table.codes(column)
    texts = np.array([str(text).strip() for text in texts], object)
    numbers = _all_numbers(texts)
    if numbers is not None and len(np.unique(numbers[np.isfinite(numbers)])) > DISTINCT:
        part, how = _bin(column, numbers[codes]), "numbers in bins of equal count"
    elif set(texts) - {""} <= {"0", "1"}:
        rows = np.flatnonzero((texts == "1")[codes])
        part, how = _Column([column], rows, np.zeros(len(rows), np.int64)), "where it is 1"
    else:
        part, how = _spread(column, codes, texts), "one for each value"
    kept = np.bincount(part.feature, minlength=len(part.names)) > 1
    if not kept.all():
        new = np.cumsum(kept) - 1
        there = kept[part.feature]
        part = _Column(
            [name for name, keep in zip(part.names, kept, strict=True) if keep],
            part.row[there],
            new[part.feature[there]],
        )
        how += f"; {int((~kept).sum())} values of one id alone left out"
    return part, f"{column}: {len(part.names)} features, {how}"


def _all_numbers(texts: NDArray[np.object_]) -> NDArray[np.float64] | None:
    numbers = np.full(len(texts), np.nan)
    for code, text in enumerate(texts):
        if text:
            try:
                numbers[code] = float(text)
            except ValueError:
                return None
    return numbers


def _bin(column: str, values: NDArray[np.float64]) -> _Column:
    rows = np.flatnonzero(np.isfinite(values))
    finite = values[rows]
    last = -(-np.arange(1, BINS) * len(finite) // BINS) - 1  # the greatest value of each bin but the last
    edges = np.unique(np.sort(finite)[last])
    feature = np.searchsorted(edges, finite, side="left")
    names = []
    for part in range(len(edges) + 1):
        inside = finite[feature == part]
        names.append(f"{column} {inside.min():g} to {inside.max():g}" if len(inside) else f"{column} none")
    return _Column(names, rows, feature.astype(np.int64))


def _spread(column: str, codes: NDArray[np.uint32], texts: NDArray[np.object_]) -> _Column:
    """A feature for each value; a cell may hold several."""
    number: dict[str, int] = {}
    cells = [filter(None, map(str.strip, text.split(SEPARATOR))) for text in texts]
    of_text = [sorted({number.setdefault(value, len(number)) for value in cell}) for cell in cells]
    sizes = np.array([len(features) for features in of_text], np.int64)
    flat = np.array([feature for features in of_text for feature in features], np.int64)
    begins = np.cumsum(sizes) - sizes
    row = np.repeat(np.arange(len(codes)), sizes[codes])
    within = np.arange(len(row)) - np.repeat(np.cumsum(sizes[codes]) - sizes[codes], sizes[codes])
    return _Column([f"{column}={value}" for value in number], row, flat[begins[codes[row]] + within])
