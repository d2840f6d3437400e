"""What is predicted: a table or pairs, and where the answers go, before they are made."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from cli.test_request import PICTURE_RUN, RATINGS_RUN, predict_options
from tenfold.cli.ask import rows_of
from tenfold.errors import RecipeError, SchemaError


def test_rows_are_a_table_or_pairs() -> None:
    assert rows_of(PICTURE_RUN, predict_options(table=["t.csv"])) == "t.csv"
    one = rows_of(RATINGS_RUN, predict_options(user=["007"], item=["a", "b"]))
    assert one == {"user": ["007", "007"], "item": ["a", "b"]}
    by_words = rows_of(RATINGS_RUN, predict_options(user=["1"], item=["sun"]))
    assert by_words == {"user": ["1"], "item": ["i0"]}
    two = rows_of(RATINGS_RUN, predict_options(user=["1", "2"], item=["a", "b"]))
    assert two == {"user": ["1", "2"], "item": ["a", "b"]}


@pytest.mark.parametrize(
    ("run", "given", "words"),
    [
        (PICTURE_RUN, {}, "no table is given"),
        (PICTURE_RUN, {"user": ["1"], "item": ["a"]}, "stand for a table of pairs"),
        (RATINGS_RUN, {"table": "t.csv", "user": ["1"], "item": ["a"]}, "stand for a table of pairs"),
        (RATINGS_RUN, {"user": ["1", "2"], "item": ["a", "b", "c"]}, "2 --user and 3 --item make no pairs"),
        (RATINGS_RUN, {"user": ["1", "2"]}, "2 --user and 0 --item make no pairs"),
        (RATINGS_RUN, {"user": ["1"]}, "1 --user and 0 --item make no pairs"),
        (RATINGS_RUN, {"item": ["a"]}, "0 --user and 1 --item make no pairs"),
    ],
)
def test_what_makes_no_pairs_is_refused(run: Any, given: dict[str, Any], words: str) -> None:
    with pytest.raises(SchemaError) as caught:
        rows_of(run, predict_options(**given))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("run", "given", "words"),
    [
        (PICTURE_RUN, {"output": None}, "no output file is given"),
        (PICTURE_RUN, {"output": ""}, "no output file is given"),
        (
            PICTURE_RUN,
            {"like": "s.csv", "probabilities": True},
            "is not an option beside --like",
        ),
        (PICTURE_RUN, {"like": "s.csv", "spreadsheet_safe": True}, "--spreadsheet-safe is not an option"),
        (RATINGS_RUN, {"like": "s.csv"}, "--like is not an option where ratings"),
        (RATINGS_RUN, {"probabilities": True}, "--probabilities is not an option where ratings"),
    ],
)
def test_where_answers_go_is_checked_before_they_are_made(
    run: Any, given: dict[str, Any], words: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        rows_of(run, predict_options(table=["t.csv"], **given))
    assert words in str(caught.value)
    assert rows_of(RATINGS_RUN, predict_options(table=["t.csv"], output=None)) == "t.csv"


def test_members_are_of_an_ensemble() -> None:
    run = SimpleNamespace(schema=PICTURE_RUN.schema, members=(), path="runs/one")
    with pytest.raises(RecipeError, match="runs/one is a single run"):
        rows_of(run, predict_options(table=["t.csv"], members=True))
