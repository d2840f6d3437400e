"""Which rows of several runs are the same: joined by id, or by a fingerprint of a row's values."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
#: Identifies a row of any member.
Key = tuple[str | int, ...]


def row_fingerprints(table: Table, schema: Schema, contents: Sequence[Texts]) -> Texts:
    """(rows,) hex digests of the inputs of each row, whatever the file format and the order.

    contents: per image column, (rows,) digests of the pictures themselves, not their names.
    """
    pictures = iter(contents)
    words: list[Texts] = []
    numbers: list[NDArray[np.float64]] = []
    for column in schema.inputs:
        if isinstance(column, ImageColumn):
            words.append(next(pictures))
        elif isinstance(column, NumberColumn):
            values = table.numbers(column.name) + 0.0  # one form of zero, and below of NaN
            numbers.append(np.where(np.isnan(values), np.nan, values))
        else:
            words.append(np.where(table.missing(column.name), "", table.text(column.name)))
    matrix = np.column_stack([*numbers, np.zeros(table.rows)]).astype("<f8")
    digests = np.empty(table.rows, dtype=object)
    for row in range(table.rows):
        digest = hashlib.blake2b(matrix[row].tobytes(), digest_size=12)
        for column in words:
            digest.update(str(column[row]).encode("utf-8", "surrogateescape") + b"\0")
        digests[row] = digest.hexdigest()
    return digests


def table_fingerprint(
    table: Table, schema: Schema, ids: Texts, prints: Texts, valid: Ints
) -> dict[str, object]:
    """The fingerprint of a table for ``run.json``, whatever the order of its rows.

    ids: (rows,) names.  prints: (rows,) of `row_fingerprints`.  valid: indices of the held-out rows.
    Returns ``rows`` (digest of ids and inputs), ``unique_ids`` (whether a column names each row) and
    ``scored`` (digest of row names, labels, weights and split, which comparable scores must share).
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
    """Digest of all rows of a table, in any order: ``rows`` of `table_fingerprint`."""
    # Without names, ids are numbers of lines, which another order changes.
    return _unordered(ids if schema.row_name else np.full(len(ids), "", dtype=object), prints)


def _unordered(*columns: Texts) -> str:
    lines = sorted("\0".join(map(str, cells)) + "\n" for cells in zip(*columns, strict=True))
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def ratings_fingerprint(ratings: Ratings, valid: Ints) -> dict[str, object]:
    """``scored`` of `table_fingerprint` for ratings: of all pairs, their ratings and the split."""
    users, items = _hashes(ratings.users), _hashes(ratings.items)
    held = np.ones(len(ratings.ratings), dtype=np.uint64)
    held[valid] = 2
    # A sum does not depend on the order; its terms are hashes, so that equal sums by chance are unlikely.
    mixed = users[ratings.user_index] * np.uint64(0x9E3779B97F4A7C15) + items[ratings.item_index]
    mixed = mixed * np.uint64(0xBF58476D1CE4E5B9) + _bits(ratings.ratings) * np.uint64(4) + held
    for shift in (30, 27, 31):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(0x94D049BB133111EB)
    return {"scored": f"{len(mixed)}-{int(mixed.sum(dtype=np.uint64)):016x}"}


def _bits(values: NDArray[np.float32]) -> NDArray[np.uint64]:
    return np.ascontiguousarray(values).view(np.uint32).astype(np.uint64)


def _hashes(names: Texts) -> NDArray[np.uint64]:
    texts = (str(name).encode("utf-8", "surrogatepass") for name in names)
    digests = b"".join(hashlib.blake2b(text, digest_size=8).digest() for text in texts)
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


@dataclass(frozen=True)
class RowMarks:
    """What identifies the held-out rows of a member.

    rows: (rows,) indices in its training table.  ids: (rows,) names, None without a column of ids.
    id_column: its name.  unique: whether the ids of the table are unique.  prints: (rows,) of
    `row_fingerprints`, None for older runs.  words: target column -> (rows,) its cells.
    data: digests of the training's rows in their order.  table: of the rows of its table in any order.
    """

    rows: Ints
    ids: Texts | None
    id_column: str
    unique: bool
    prints: Texts | None
    words: Mapping[str, Sequence[object] | NDArray[np.generic]]
    data: frozenset[str]
    table: frozenset[str]


@dataclass(frozen=True)
class JoinedRows:
    """The rows of several members as one list, in the order of the first table that has each.

    row: (rows,) index in that table.  place: member -> (its rows,) indices in the list.
    order: (rows,) indices in the list, sorted by the keys of the rows, whatever the order of tables.
    """

    row: Ints
    place: Mapping[str, Ints]
    order: Ints

    @property
    def met(self) -> int:
        """The number of rows that all members have."""
        times = np.zeros(len(self.row), dtype=np.int64)
        for indices in self.place.values():
            times[indices] += 1
        return int((times == len(self.place)).sum())


def join_rows(members: Mapping[str, RowMarks], *, one_table: bool = False) -> JoinedRows:
    """Find the rows that members share.

    Where all name their rows by the same column of unique ids, the id decides. Else the id, the fingerprint
    of the inputs and the labels of common targets do; rows that are equal in all this are numbered in the
    order of their table.

    one_table: all were trained on the same table, whose row indices decide where nothing else does.
    Raises RunError where runs without fingerprints cannot be joined, or a member of another table shares no
    row.
    """
    keys = _keys(members, one_table)
    indices: dict[Key, int] = {}
    first: list[int] = []
    for name, own in keys.items():
        for key, row in zip(own, members[name].rows.tolist(), strict=True):
            if indices.setdefault(key, len(indices)) == len(first):
                first.append(row)
    joined = {name: np.array([indices[key] for key in own], dtype=np.int64) for name, own in keys.items()}
    if not one_table:
        _check_met(members, joined)
    row = np.array(first, dtype=np.int64)
    turn = np.argsort(row, kind="stable")
    back = np.argsort(turn)
    order = np.array([back[indices[key]] for key in sorted(indices)], dtype=np.int64)
    return JoinedRows(row[turn], {name: back[own] for name, own in joined.items()}, order)


def _keys(members: Mapping[str, RowMarks], one_table: bool) -> dict[str, list[Key]]:
    marks = list(members.values())
    named = all(mark.ids is not None for mark in marks) and len({mark.id_column for mark in marks}) == 1
    if named and all(mark.unique for mark in marks):
        ids = {name: mark.ids for name, mark in members.items() if mark.ids is not None}
        return {name: [(str(cell),) for cell in own] for name, own in ids.items()}
    lacking = [name for name, mark in members.items() if mark.prints is None]
    if lacking:
        if one_table or (len({mark.data for mark in marks}) == 1 and marks[0].data):
            return {name: [(row,) for row in mark.rows.tolist()] for name, mark in members.items()}
        why = "repeat an id in their tables" if named else "have no ids in common"
        raise RunError(
            f"it cannot be told which rows of these runs are the same: they {why}, and "
            f"{shortened(lacking)} kept no fingerprints of their rows",
            fix="fit them again with tenfold fit, which keeps fingerprints now",
        )
    common = sorted(set.intersection(*(set(mark.words) for mark in marks)))
    return {name: _numbered(mark, common, named) for name, mark in members.items()}


def _numbered(mark: RowMarks, common: Sequence[str], named: bool) -> list[Key]:
    """Keys of a member's rows; those that are equal in everything are numbered in their table's order."""
    ids = mark.ids if named and mark.ids is not None else np.full(len(mark.rows), "", dtype=object)
    cells = zip(*(mark.words[name] for name in common), strict=True) if common else [()] * len(mark.rows)
    prints = [] if mark.prints is None else mark.prints
    base = [
        (str(name), str(digest), *("" if word is None else str(word) for word in words))
        for name, digest, words in zip(ids, prints, cells, strict=True)
    ]
    seen: Counter[tuple[str, ...]] = Counter()
    keys: list[Key] = [()] * len(base)
    for index in np.argsort(mark.rows, kind="stable").tolist():
        keys[index] = (*base[index], seen[base[index]])
        seen[base[index]] += 1
    return keys


def _check_met(members: Mapping[str, RowMarks], joined: Mapping[str, Ints]) -> None:
    """Refuse a member that shares no row with any other, unless its table is known to be the same."""
    problems = []
    for name, own in members.items():
        others = [other for other in members if other != name]
        alike = any(own.table & members[other].table or own.data & members[other].data for other in others)
        if others and not alike and not any(np.isin(joined[name], joined[other]).any() for other in others):
            problems.append(f"{name}: 0 of its {len(own.rows)} held-out rows are among those of the others")
    if problems:
        raise RunError(
            "these runs hold out no rows in common, and were not fitted to one table",
            problems=problems,
            fix="fit them again to one table, and with one split: tenfold fit --split-seed",
        )
