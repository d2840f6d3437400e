"""Ids: one spelling everywhere, titles in their place, and what is said of unknown ones."""

from __future__ import annotations

import numpy as np
import pytest

from collab.small_models import by_hand, texts
from tenfold.collab.ids import as_ids, find_items, find_titles, item_states, locate, near_items, titles
from tenfold.errors import RatingsError


@pytest.mark.parametrize(
    "users",
    [[1, 2], (1.0, 2.0), np.array([1, 2]), np.array([1.0, 2.0]), np.array(["1", "2"], object), iter("12")],
)
def test_many_ids_in_any_container(users):
    assert list(as_ids(users)) == ["1", "2"]


def test_texts_that_are_no_number_stay_what_they_are():
    assert list(as_ids(["007", "7", "1e3", "True", "", None, float("nan"), True])) == [
        *("007", "7", "1e3", "True", "", "", "", "True")
    ]
    known = texts(["007", "1", "x.0", "2.0"])
    assert locate(as_ids(["7", "007", "1.0", "x", "2", "2.0", "1.00", ".0"]), known).tolist() == [
        *(-1, 0, 1, -1, 3, 3, -1, -1)
    ]


def test_the_exact_spelling_comes_first():
    assert locate(as_ids(["1.0", "1"]), texts(["1", "1.0"])).tolist() == [1, 0]


def test_a_title_of_one_item_stands_for_its_id():
    known = by_hand([[0.0]], [[0.0]] * 3, item_names={"i0": "Sun", "i1": "Moon", "i2": "Moon", "i9": "Mars"})
    found, notes = find_titles(known, texts(["sun", "i1", "Moon", "i9", "Sunn"]))
    assert found.tolist() == ["i0", "i1", "Moon", "i9", "Sunn"]
    assert notes == ["1 items looked up by title: 'sun' is i0", "'Moon' is the title of i1, i2: give the id"]
    assert near_items(known, "Sunn") == "did you mean 'Sun' (i0)?"
    assert titles(known, np.array([1, 0])).tolist() == ["Moon", "Sun"]


FILMS = {
    "i0": "Matrix, The (1999)",
    "i1": "Matrix Reloaded, The (2003)",
    "i2": "Apollo 13 (1995)",
    "i3": "Amélie (2001)",
    "i4": "Toy Story (1995)",
    "i5": "Toy Story 2 (1999)",
    "i6": "Toys (1992)",
    "new": "Toy Soldiers (1991)",
}


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("Matrix", "i0"),  # no other title is this word, with its article and year
        ("the matrix", "i0"),
        ("matrix 2003", "i1"),
        ("RELOADED", "i1"),
        ("amelie", "i3"),
        ("toy story", "i4"),
        ("story 2", "i5"),
        ("toys", "i6"),
    ],
)
def test_an_item_is_found_by_words_of_its_title(asked: str, found: str) -> None:
    known = by_hand([[0.0]], [[0.0]] * 7, item_names=FILMS)
    items, notes = find_items(known, texts([asked]))
    assert items.tolist() == [found]
    assert notes == [f"{asked!r} is {FILMS[found]!r} ({found})"]
    # A table of ratings is not read by guesses.
    untouched, notes = find_titles(known, texts([asked]))
    assert untouched.tolist() == [asked] and notes == []


@pytest.mark.parametrize("asked", ["13", "1999", "toy", "the", "matri", "", "matrix toy", "!"])
def test_an_unknown_id_or_several_titles_are_no_item(asked: str) -> None:
    known = by_hand([[0.0]], [[0.0]] * 7, [[4, 5, 5]], item_names=FILMS)
    items, notes = find_items(known, texts([asked]))
    assert items.tolist() == [asked] and notes == []


def test_several_titles_are_listed_the_most_rated_first() -> None:
    known = by_hand([[0.0]] * 2, [[0.0]] * 7, [[5], [4, 5]], item_names=FILMS)
    said = near_items(known, "toy")
    assert said == (
        "2 titles have these words: 'Toy Story 2 (1999)' (i5), 'Toy Story (1995)' (i4): "
        "give the id or more words"
    )
    # One that nobody rated is found where no other has the words.
    assert find_items(known, texts(["soldiers"]))[0].tolist() == ["new"]


def test_listed_items_are_those_that_nobody_rated():
    known = by_hand([[0.0]], [[0.0]] * 3, [[0]], item_names={"m": "Mars"})
    ids, index = texts(["i0", "i2", "m", "x"]), np.array([0, 2, -1, -1])
    assert item_states(known, ids, index).tolist() == ["rated", "rated", "listed", "unknown"]
    known = by_hand([[0.0]], [[0.0]] * 3, [[0, 1]], listed_items=1, item_names={"m": "Mars"})
    assert item_states(known, ids, index).tolist() == ["rated", "listed", "listed", "unknown"]


def test_ids_in_a_frame_are_its_cells_and_names_of_columns_are_no_ids() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"user": [7, 8], "film": [1, 2]})
    assert as_ids(frame[["user"]]).tolist() == as_ids(frame["user"]).tolist() == ["7", "8"]
    for given in (frame, frame.to_numpy(), {"user": 7}):
        with pytest.raises(RatingsError, match="not as a list"):
            as_ids(given)
