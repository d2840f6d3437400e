"""Side tables as sparse ones: one row per id asked, whatever the table holds."""

from __future__ import annotations

import numpy as np
import pytest

from tenfold.data.ratings.side import choose_ids, encode_side
from tenfold.data.tables.table import read_table
from tenfold.errors import RecipeError, SchemaError, TableError
from tenfold.values import SideFeatures


def ids(*texts):
    found = np.empty(len(texts), object)
    found[:] = texts
    return found


def features(side: SideFeatures) -> list[list[str]]:
    """The names of each row's features."""
    return [
        [side.names[f] for f in side.feature[side.start[row] : side.start[row + 1]]]
        for row in range(len(side.start) - 1)
    ]


ITEMS = read_table(
    {
        "item": ["1", "2", "3", "4", "5"],
        "genre": ["Drama|War", "Drama", "", "War|Drama|War", "Sport"],
        "colour": ["0", "1", "1", "", "0"],
        "land": ["NA", "NA", "US", "US", ""],
    }
)


def test_categories_several_values_and_flags():
    side = encode_side(ITEMS, ["genre", "colour", "land"], ids("1", "2", "3", "4", "5"))
    assert side.names == ("genre=Drama", "genre=War", "colour", "land=NA", "land=US")
    assert features(side) == [
        ["genre=Drama", "genre=War", "land=NA"],
        ["genre=Drama", "colour", "land=NA"],
        ["colour", "land=US"],
        ["genre=Drama", "genre=War", "land=US"],
        [],
    ]
    assert side.group.tolist() == [0, 0, 1, 2, 2] and side.columns == ("genre", "colour", "land")
    assert any("1 values of one id alone left out" in note for note in side.notes)  # Sport


def test_rows_follow_the_ids_asked_not_the_table():
    side = encode_side(ITEMS, ["land"], ids("4", "new", "1", "2", "3"))
    assert features(side) == [["land=US"], [], ["land=NA"], ["land=NA"], ["land=US"]]
    assert any("does not list 1 of 5 ids: new" in note for note in side.notes)


def test_an_id_listed_twice_counts_by_its_first_row():
    twice = read_table({"item": ["1", "1", "2", ""], "land": ["a", "b", "a", "b"]})
    side = encode_side(twice, ["land"], ids("1", "2"))
    assert features(side) == [["land=a"], ["land=a"]] and "2 rows" in side.notes[0]


def test_numbers_are_cut_into_bins_of_equal_count():
    ages = [str(age) for age in range(18, 68)]
    users = read_table({"user": [f"u{n}" for n in range(51)], "age": [*ages, ""]})
    side = encode_side(users, ["age"], ids(*[f"u{n}" for n in range(51)]), role="user")
    assert len(side.names) == 10 and side.names[0] == "age 18 to 22" and side.names[-1] == "age 63 to 67"
    assert np.bincount(side.feature).tolist() == [5] * 10
    assert features(side)[50] == [] and features(side)[0] == ["age 18 to 22"]


def test_a_skewed_column_of_numbers_keeps_what_can_be_told_apart():
    values = ["0"] * 90 + [str(n) for n in range(1, 31)]
    users = read_table({"user": [f"u{n}" for n in range(120)], "n": values})
    side = encode_side(users, ["n"], ids(*[f"u{n}" for n in range(120)]), role="user")
    assert side.names[0] == "n 0 to 0" and np.bincount(side.feature)[0] == 90


def test_few_numbers_are_categories():
    users = read_table({"user": ["a", "b", "c", "d"], "level": ["1", "2", "2", "1"]})
    side = encode_side(users, ["level"], ids("a", "b", "c", "d"), role="user")
    assert side.names == ("level=1", "level=2")


def test_what_cannot_be_encoded_is_refused():
    with pytest.raises(TableError, match="lists none of the 2 ids"):
        encode_side(ITEMS, ["land"], ids("x", "y"))
    with pytest.raises(SchemaError, match="no column 'lant'"):
        encode_side(ITEMS, ["lant"], ids("1"))
    with pytest.raises(RecipeError, match="no column of"):
        encode_side(ITEMS, [], ids("1"))


@pytest.mark.parametrize(
    ("conditions", "chosen"),
    [
        (["genre=Drama"], "124"),
        (["genre = War"], "14"),
        (["genre!=War"], "235"),
        (["genre=War|Drama|War"], "4"),
        (["genre=Drama", "land=NA"], "12"),
        (["GENRE=Drama", "land!=NA"], "4"),
        ([], "12345"),
    ],
)
def test_items_are_chosen_by_their_columns(conditions, chosen):
    asked = ids("5", "4", "3", "2", "1", "new")
    found = choose_ids(ITEMS, conditions, asked)
    assert "".join(sorted(asked[found])) == chosen


def test_conditions_that_cannot_be_met_are_refused():
    with pytest.raises(TableError, match="column 'genre' has no 'drama'") as error:
        choose_ids(ITEMS, ["genre=drama"], ids("1"))
    assert "did you mean 'Drama'?" in str(error.value)
    for condition in ("genre", "=Drama", "!=Drama", ""):
        with pytest.raises(RecipeError, match="is not COLUMN=VALUE"):
            choose_ids(ITEMS, [condition], ids("1"))


@pytest.mark.real
def test_the_side_tables_of_a_real_set(data_folder):
    users = read_table(data_folder / "ml-100k/u.user", header=False)
    name = users.names
    side = encode_side(users, [name[1], name[2], name[3]], users.codes(name[0])[1], role="user")
    assert len(side.start) == 944 and len(side.names) == 10 + 2 + 21
    assert (np.diff(side.start) == 3).all()
