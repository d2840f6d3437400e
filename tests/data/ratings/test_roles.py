"""Which column is which: by name, by known names, by place; and never in silence."""

from __future__ import annotations

import pytest

from tenfold.data.ratings.roles import (
    KNOWN_NAMES,
    find_column,
    find_key,
    find_roles,
    item_titles,
    names_users,
)
from tenfold.data.tables.table import read_table
from tenfold.errors import SchemaError


def table(*names, rows=2):
    """A table of small numbers under these names."""
    return read_table({name: [str(row + place) for row in range(rows)] for place, name in enumerate(names)})


@pytest.mark.parametrize(
    "names",
    [
        ("userId", "movieId", "rating", "timestamp"),
        ("user_id", "item_id", "stars", "date"),
        ("User-ID", "ISBN", "Book-Rating", "When"),
        ("reviewerID", "asin", "overall", "unixReviewTime"),
        ("CUSTOMER ID", "Product.Id", "Score", "created_at"),
    ],
)
def test_well_known_names_are_found_whatever_their_spelling(names):
    # The third set's rating has a name of its own, so it is given.
    roles = find_roles(table(*names), rating=names[2])
    assert (roles.user, roles.item, roles.rating, roles.time) == names


def test_the_likelier_name_is_taken():
    roles = find_roles(table("title", "movie", "movieId", "user", "rating"))
    assert roles.item == "movieId" and "columns not used: title, movie" in roles.notes[1]


def test_no_name_stands_for_two_roles():
    for one in ("user", "item", "rating", "time"):
        for other in ("user", "item", "rating", "time"):
            if one != other:
                assert not set(KNOWN_NAMES[one]) & set(KNOWN_NAMES[other])


def test_given_names_leave_the_others_to_be_found():
    roles = find_roles(table("a", "user", "item", "rating"), item="a")
    assert (roles.user, roles.item, roles.rating) == ("user", "a", "rating")
    assert find_roles(table("user", "item", "rating", "time"), time=False).time is None


def test_near_spellings_resolve_and_ambiguous_ones_do_not():
    assert find_column(table("userId", "x"), "user_id") == "userId"
    with pytest.raises(SchemaError):
        find_column(table("userId", "user_id"), "USERID")


def test_without_a_header_a_number_is_a_place(tmp_path):
    path = tmp_path / "ratings.csv"
    path.write_text("7,a,3\n8,b,4\n")
    bare = read_table(path)
    assert find_column(bare, "2") == bare.names[1] == find_column(bare, bare.names[1])
    for name in ("0", "4", "x"):
        with pytest.raises(SchemaError, match="no column"):
            find_column(bare, name)
    with pytest.raises(SchemaError, match="no column '2'"):
        find_column(table("user", "item"), "2")


@pytest.mark.parametrize(
    ("names", "there"),
    [
        (("item", "rating"), False),
        (("movieId", "title", "stars"), False),
        (("who", "item", "rating"), False),
        (("User ID", "item", "rating"), True),
        (("column_1", "column_2"), False),
        (("column_1", "column_2", "column_3"), True),
    ],
)
def test_whether_a_table_names_users(names, there):
    assert names_users(table(*names)) is there


def test_the_key_of_a_side_table():
    assert find_key(table("age", "userId"), "user") == "userId"
    assert find_key(table("age", "who"), "user", "who") == "who"
    assert find_key(table("wer", "age"), "user") == "wer"
    assert find_key(table("title", "id", "genre"), "item") == "id"
    assert find_key(table("id", "movieId", "title"), "item") == "movieId"
    assert find_key(table("age", "id"), "user") == "id"
    with pytest.raises(SchemaError, match="no column 'whom'"):
        find_key(table("age", "who"), "user", "whom")


def test_titles_without_a_known_column_are_left_empty_and_said():
    items = read_table({"item": ["1", "2"], "colour": ["red", "blue"]})
    names, notes = item_titles(items, items.codes("item")[1], key=None, name=None, item="item")
    assert names == {"1": "", "2": ""} and "no column the title" in notes[0]
