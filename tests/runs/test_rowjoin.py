"""Rows are told apart by what they hold, whatever the file and the order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tenfold.data.ratings.index import index_ratings
from tenfold.data.tables.table import read_table, write_parquet
from tenfold.errors import RunError
from tenfold.runs.rowjoin import RowMarks, join_rows, ratings_fingerprint, row_fingerprints, table_fingerprint
from tenfold.schema import CategoryColumn, CategoryTarget, NumberColumn, NumberTarget, Schema

SCHEMA = Schema(
    inputs=(NumberColumn(name="x"), CategoryColumn(name="word"), NumberColumn(name="y")),
    targets=(CategoryTarget(name="t"),),
)


def texts(*words: str) -> Any:
    return np.array(words, dtype=object)


def marks(rows: list[int], ids: Any = None, prints: Any = None, **more: Any) -> RowMarks:
    known = {"unique": True, "words": {}, "data": frozenset(), "table": frozenset({"one"}), "id_column": "id"}
    given = {"rows": np.array(rows), "ids": ids, "prints": prints}
    return RowMarks(**given, **(known | more))


def test_equal_inputs_of_any_file_have_equal_fingerprints(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("y;word;x\n2,50;né;-0\n;né;1\n0;a;\n", "utf-8")
    other = {
        "x": np.array([1.0, 0.0, np.nan]),
        "y": np.array([np.nan, 2.5, 0.0]),
        "word": texts("né", "né", "a"),
    }
    write_parquet(tmp_path / "a.parquet", other)
    first, second = (row_fingerprints(read_table(one), SCHEMA, ()) for one in (path, tmp_path / "a.parquet"))
    assert [first[1], first[0], first[2]] == second.tolist() and len(set(first)) == 3


def test_of_a_whole_table_the_order_does_not_count() -> None:
    columns = {
        "n": ["b", "a", "c"],
        "x": [1, 2, 3],
        "y": [0, 0, 1],
        "word": ["u", "v", "w"],
        "t": ["p", "q", "p"],
    }

    def told(order: list[int], valid: list[int], **changes: Any) -> dict[str, Any]:
        given = {name: [cells[row] for row in order] for name, cells in (columns | changes).items()}
        table = read_table(given)
        schema = SCHEMA.model_copy(update={"id": "n"})
        prints = row_fingerprints(table, schema, ())
        return table_fingerprint(table, schema, table.text("n"), prints, np.array(valid))

    plain = told([0, 1, 2], [2])
    assert plain["unique_ids"] and told([2, 0, 1], [0]) == plain
    assert told([0, 1, 2], [1])["scored"] != plain["scored"]
    assert told([0, 1, 2], [2], t=["p", "q", "q"])["scored"] != plain["scored"]
    # Other inputs of the same rows are scored alike.
    other = told([0, 1, 2], [2], x=[1, 2, 4])
    assert other["scored"] == plain["scored"] and other["rows"] != plain["rows"]
    assert not told([0, 1, 2], [2], n=["a", "a", "c"])["unique_ids"]
    # A number is the same number in other digits.
    numbers = {"targets": (NumberTarget(name="t"),)}
    first, second = (
        table_fingerprint(read_table({**columns, "t": cells}), SCHEMA.model_copy(update=numbers), *given)[
            "scored"
        ]
        for given in [(np.array(["b", "a", "c"], dtype=object), texts("p", "q", "r"), np.array([2]))]
        for cells in (["1", "2.50", ""], [1.0, 2.5, None])
    )
    assert first == second


def test_of_ratings_the_order_does_not_count() -> None:
    columns = {"user": ["u", "v", "u", "w"], "item": ["i", "i", "j", "k"], "rating": [1.0, 2.0, 3.5, 4.0]}

    def told(order: list[int], out: str, **changes: Any) -> Any:
        given = {name: [cells[row] for row in order] for name, cells in (columns | changes).items()}
        found = index_ratings(read_table(given), user="user", item="item", rating="rating", kind="explicit")
        held = [row for row, one in enumerate(found.user_index) if found.users[one] == out]
        return ratings_fingerprint(found, np.array(held))["scored"]

    assert told([0, 1, 2, 3], "v") == told([3, 1, 0, 2], "v")
    assert told([0, 1, 2, 3], "v") != told([0, 1, 2, 3], "w")
    assert told([0, 1, 2, 3], "v") != told([0, 1, 2, 3], "v", rating=[1.0, 2.0, 3.0, 4.0])
    assert told([0, 1, 2, 3], "v") != told([0, 1, 2, 3], "v", item=["i", "i", "k", "j"])


def test_rows_stand_in_the_order_of_the_first_table() -> None:
    found = join_rows({"one": marks([4, 1], texts("e", "b")), "two": marks([0, 9, 2], texts("b", "z", "e"))})
    assert found.row.tolist() == [1, 4, 9] and found.met == 2
    assert found.place["one"].tolist() == [1, 0] and found.place["two"].tolist() == [0, 2, 1]
    assert found.order.tolist() == [0, 1, 2]


def test_what_tells_rows_apart_where_ids_do_not() -> None:
    words = {"label": texts("a", "b", "a")}
    one = marks([0, 1, 2], texts("r", "r", "r"), texts("p", "p", "p"), unique=False, words=words)
    two = marks([5, 6], texts("r", "r"), texts("p", "p"), unique=False, words={"label": texts("a", "a")})
    found = join_rows({"one": one, "two": two})
    assert found.place["two"].tolist() == [0, 2] and found.met == 2
    named = join_rows({"one": marks([3], texts("r"), texts("p")), "two": marks([7], None, texts("p"))})
    assert named.met == 1
    with pytest.raises(RunError, match="repeat an id"):
        join_rows({"one": one, "two": marks([5], texts("r"), None, unique=False)})
    assert join_rows({"one": one, "two": marks([2], None)}, one_table=True).met == 1


def test_disjoint_rows_of_one_table_are_no_fault() -> None:
    parts = {"one": marks([0], texts("a")), "two": marks([1], texts("b"))}
    assert join_rows(parts).met == 0
    with pytest.raises(RunError, match="no rows in common"):
        join_rows({**parts, "two": marks([1], texts("b"), table=frozenset({"other"}))})
