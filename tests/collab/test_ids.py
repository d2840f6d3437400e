"""Ids: one spelling everywhere, titles in their place, and what is said of unknown ones."""

from __future__ import annotations

import numpy as np
import pytest

from collab.small_models import by_hand, texts
from tenfold.collab.ids import as_ids, find_titles, item_states, locate, near_items, titles


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


def test_listed_items_are_those_that_nobody_rated():
    known = by_hand([[0.0]], [[0.0]] * 3, [[0]], item_names={"m": "Mars"})
    ids, index = texts(["i0", "i2", "m", "x"]), np.array([0, 2, -1, -1])
    assert item_states(known, ids, index).tolist() == ["rated", "rated", "listed", "unknown"]
    known = by_hand([[0.0]], [[0.0]] * 3, [[0, 1]], listed_items=1, item_names={"m": "Mars"})
    assert item_states(known, ids, index).tolist() == ["rated", "listed", "listed", "unknown"]
