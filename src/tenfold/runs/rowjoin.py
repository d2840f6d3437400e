"""Which rows of several runs are the same: joined by id, or by a fingerprint of what a row holds."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.data.tables.table import Table
from tenfold.errors import RunError, shortened
from tenfold.schema import ImageColumn, NumberColumn, Schema, target_columns
from tenfold.targets.kinds import kind_of
from tenfold.values import Ratings

__all__ = [
    "JoinedRows",
    "RowMarks",
    "join_rows",
    "ratings_fingerprint",
    "row_fingerprints",
    "rows_digest",
    "table_fingerprint",
]

Ints = NDArray[np.int64]
Texts = NDArray[np.object_]


def row_fingerprints(table: Table, schema: Schema, contents: Sequence[Texts]) -> Texts:
    """(rows,) hex digests of what a row's inputs hold, whatever the file format and the order.

    contents: per image column, (rows,) what identifies a row's picture; a name that stands for it does not.
    """
    pictures = iter(contents)
    words: list[Texts] = []
    numbers: list[NDArray[np.float64]] = []
    for column in schema.inputs:
        if isinstance(column, ImageColumn):
            words.append(next(pictures))
        elif isinstance(column, NumberColumn):
            # One form of zero and of what is missing, whose bits may differ.
            values = table.numbers(column.name) + 0.0
            numbers.append(np.where(np.isnan(values), np.nan, values))
        else:
            words.append(np.where(table.missing(column.name), "", table.text(column.name)))
    matrix = np.column_stack([*numbers, np.zeros(table.rows)]).astype("<f8")
    found = np.empty(table.rows, dtype=object)
    for row in range(table.rows):
        digest = hashlib.blake2b(matrix[row].tobytes(), digest_size=12)
        for column in words:
            digest.update(str(column[row]).encode("utf-8", "surrogateescape") + b"\0")
        found[row] = digest.hexdigest()
    return found


def table_fingerprint(table: Table, schema: Schema, ids: Texts, prints: Texts, valid: Ints) -> dict[str, Any]:
    """What a run keeps of its table, in which the order of the rows does not count.

    ids: (rows,) names.  prints: (rows,) of `row_fingerprints`.  valid: numbers of the held-out rows.
    Returns ``rows`` (of ids and inputs), ``unique_ids`` (whether a column names each row) and ``scored`` (of
    rows by name, their labels and weights, and which were held out: what scores must share to be compared).
    """
    unique = schema.row_name is not None and len(set(ids)) == len(ids)
    numbers = [target.name for target in schema.answers if kind_of(target).numeric]
    numbers += [schema.weight] if schema.weight else []
    words = [name for target in schema.answers for name in target_columns(target) if name not in numbers]
    columns = [table.text(name, ids=False) for name in words]
    # Another file may write the same number with other digits.
    columns += [table.try_numbers(name)[0].astype(object) for name in numbers]
    held = np.full(table.rows, "train", dtype=object)
    held[valid] = "valid"
    scored = _unordered(held, ids if unique else prints, *columns)
    return {"rows": rows_digest(schema, ids, prints), "unique_ids": unique, "scored": scored}


def rows_digest(schema: Schema, ids: Texts, prints: Texts) -> str:
    """What all rows of a table are, in any order: ``rows`` of `table_fingerprint`."""
    # Without names the numbers of lines stand there, which another order changes.
    return _unordered(ids if schema.row_name else np.full(len(ids), "", dtype=object), prints)


def _unordered(*columns: Texts) -> str:
    lines = sorted("\0".join(map(str, cells)) + "\n" for cells in zip(*columns, strict=True))
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def ratings_fingerprint(ratings: Ratings, valid: Ints) -> dict[str, Any]:
    """As `table_fingerprint` of ratings: ``scored``, of all pairs, their ratings, and which were held out."""
    users, items = (_hashes(one) for one in (ratings.users, ratings.items))
    held = np.ones(len(ratings.ratings), dtype=np.uint64)
    held[valid] = 2
    # A sum does not depend on the order; what is added is mixed, so that sums of parts do not meet by chance.
    mixed = users[ratings.user_index] * np.uint64(0x9E3779B97F4A7C15) + items[ratings.item_index]
    mixed = mixed * np.uint64(0xBF58476D1CE4E5B9) + _bits(ratings.ratings) * np.uint64(4) + held
    for shift in (30, 27, 31):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(0x94D049BB133111EB)
    return {"scored": f"{len(mixed)}-{int(mixed.sum(dtype=np.uint64)):016x}"}


def _bits(values: NDArray[np.float32]) -> NDArray[np.uint64]:
    return np.ascontiguousarray(values).view(np.uint32).astype(np.uint64)


def _hashes(names: Texts) -> NDArray[np.uint64]:
    found = [
        hashlib.blake2b(str(name).encode("utf-8", "surrogatepass"), digest_size=8).digest() for name in names
    ]
    return np.frombuffer(b"".join(found), dtype="<u8").astype(np.uint64)


@dataclass(frozen=True)
class RowMarks:
    """What tells some rows of a member's training table from each other.

    rows: (rows,) numbers in its table.  ids: (rows,) names, None where no column has them (a line number
    names nothing in another table).  id_column: where they stand.  unique: whether no row of the table
    repeats another's id.  prints: (rows,) of `row_fingerprints`, None of runs that were written without.
    words: target column -> (rows,) its cells.  data: what the training itself was made of, row by row.
    table: what all rows of the table are, in any order; "" where it is not known.
    """

    rows: Ints
    ids: Texts | None
    id_column: str
    unique: bool
    prints: Texts | None
    words: Mapping[str, Sequence[Any] | NDArray[Any]]
    data: frozenset[str]
    table: frozenset[str]


@dataclass(frozen=True)
class JoinedRows:
    """Rows of several members as one list, in the order of the first table that has each.

    row: (rows,) number in that table.  place: member -> (its rows,) where they stand in the list.
    order: (rows,) places of the list, sorted by what the rows are and not by where they stand.
    """

    row: Ints
    place: Mapping[str, Ints]
    order: Ints

    @property
    def met(self) -> int:
        """Rows that all members have."""
        times = np.zeros(len(self.row), dtype=np.int64)
        for places in self.place.values():
            times[places] += 1
        return int((times == len(self.place)).sum())


def join_rows(members: Mapping[str, RowMarks], *, one_table: bool = False) -> JoinedRows:
    """Find the rows that members share.

    Where all name their rows by the same column, and none repeats an id, the id decides. Else it is the id,
    the fingerprint of the inputs and the labels of common targets; rows that are alike in all this are
    numbered in the order of their table.

    one_table: all were trained on the very same table, whose row numbers say enough where nothing else does.
    Raises RunError where runs without fingerprints cannot be joined, or a member of another table meets none.
    """
    keys = _keys(members, one_table)
    places: dict[tuple[Any, ...], int] = {}
    first: list[int] = []
    for name, own in keys.items():
        for key, row in zip(own, members[name].rows.tolist(), strict=True):
            if places.setdefault(key, len(places)) == len(first):
                first.append(row)
    found = {name: np.array([places[key] for key in own], dtype=np.int64) for name, own in keys.items()}
    if not one_table:
        _check_met(members, found)
    row = np.array(first, dtype=np.int64)
    turn = np.argsort(row, kind="stable")
    back = np.empty_like(turn)
    back[turn] = np.arange(len(turn))
    order = np.array([back[places[key]] for key in sorted(places)], dtype=np.int64)
    return JoinedRows(row[turn], {name: back[own] for name, own in found.items()}, order)


def _keys(members: Mapping[str, RowMarks], one_table: bool) -> dict[str, list[tuple[Any, ...]]]:
    marks = list(members.values())
    named = all(one.ids is not None for one in marks) and len({one.id_column for one in marks}) == 1
    if named and all(one.unique for one in marks):
        return {name: [(str(cell),) for cell in one.ids] for name, one in members.items()}  # type: ignore[union-attr]
    lacking = [name for name, one in members.items() if one.prints is None]
    if lacking:
        if one_table or (len({one.data for one in marks}) == 1 and marks[0].data):
            return {name: [(row,) for row in one.rows.tolist()] for name, one in members.items()}
        why = "repeat an id in their tables" if named else "have no ids in common"
        raise RunError(
            f"it cannot be told which rows of these runs are the same: they {why}, and "
            f"{shortened(lacking)} kept no fingerprints of their rows",
            fix="fit them again with tenfold fit, which keeps fingerprints now",
        )
    common = sorted(set.intersection(*(set(one.words) for one in marks)))
    return {name: _numbered(one, common, named) for name, one in members.items()}


def _numbered(one: RowMarks, common: Sequence[str], named: bool) -> list[tuple[Any, ...]]:
    """Keys of a member's rows; those that are alike in everything are numbered in their table's order."""
    ids = one.ids if named and one.ids is not None else np.full(len(one.rows), "", dtype=object)
    cells = zip(*(one.words[name] for name in common), strict=True) if common else [()] * len(one.rows)
    prints = [] if one.prints is None else one.prints
    base = [
        (str(name), str(mark), *("" if word is None else str(word) for word in words))
        for name, mark, words in zip(ids, prints, cells, strict=True)
    ]
    seen: Counter[tuple[str, ...]] = Counter()
    found: list[tuple[Any, ...]] = [()] * len(base)
    for place in np.argsort(one.rows, kind="stable").tolist():
        found[place] = (*base[place], seen[base[place]])
        seen[base[place]] += 1
    return found


def _check_met(members: Mapping[str, RowMarks], found: Mapping[str, Ints]) -> None:
    """Refuse a member that shares no row with any other, unless its table is known to be the same."""
    problems = []
    for name, own in members.items():
        others = [other for other in members if other != name]
        alike = any(own.table & members[other].table or own.data & members[other].data for other in others)
        if others and not alike and not any(np.intersect1d(found[name], found[one]).size for one in others):
            problems.append(f"{name}: 0 of its {len(own.rows)} held-out rows are among those of the others")
    if problems:
        raise RunError(
            "these runs hold out no rows in common, and were not fitted to one table",
            problems=problems,
            fix="fit them again to one table, and with one split: tenfold fit --split-seed",
        )
