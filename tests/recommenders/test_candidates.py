"""Candidates read from what a person gives: ids, a column, or a table of users and items."""

from __future__ import annotations

from pathlib import Path

import pytest

from tenfold.errors import RatingsError
from tenfold.recommenders.candidates import read_ranking
from tenfold.schema import IdColumn, RatingTarget, Schema

SCHEMA = Schema(inputs=(IdColumn(name="who"), IdColumn(name="film")), targets=(RatingTarget(name="stars"),))


def read(candidates: object):
    return read_ranking(candidates, None, SCHEMA, {}, [])


def test_ids_and_single_columns(tmp_path: Path) -> None:
    assert read(["a", 2, "a"]).items.tolist() == ["a", "2", "a"]
    file = tmp_path / "films.txt"
    for text, ids in (
        ("tt01\ntt02\n", ["tt01", "tt02"]),  # the first line is an id
        ("film\ntt01\n", ["tt01"]),  # the run's own word
        ("itemid\n5\n7\n", ["5", "7"]),  # a usual one
        ("12\n0012\n", ["12", "0012"]),
    ):
        file.write_text(text)
        ranking = read(str(file))
        assert ranking.items.tolist() == ids and ranking.users is None


def test_tables_of_items_and_of_users_with_their_items(tmp_path: Path) -> None:
    file = tmp_path / "some.csv"
    file.write_text("film,title\n7,Alien\n8,Brazil\n")
    assert (read(file).items.tolist(), read(file).users) == (["7", "8"], None)
    file.write_text("film,who\n7,ann\n8,bob\n")
    ranking = read(file)
    assert (ranking.items.tolist(), ranking.users.tolist()) == (["7", "8"], ["ann", "bob"])
    notes: list[str] = []
    ranking = read_ranking({"who": ["ann"], "film": [7]}, None, SCHEMA, {}, notes)
    assert (ranking.users.tolist(), ranking.items.tolist()) == (
        ["ann"],
        ["7"],
    ) and "film is the item" in notes[0]
    file.write_text("1,7\n1,8\n2,7\n")  # without a header: users, then items
    assert (read(file).users.tolist(), read(file).items.tolist()) == (["1", "1", "2"], ["7", "8", "7"])


def test_a_candidate_without_an_id_is_refused() -> None:
    with pytest.raises(RatingsError, match="1 of 2 candidates have no id"):
        read({"film": ["7", ""]})
