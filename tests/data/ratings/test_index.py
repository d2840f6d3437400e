"""Ratings are read as they are meant: what is decided is said, what cannot be right is refused by line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tenfold.data.ratings.index import DUPLICATE_RULES, _Rows, _sorted_pairs, index_ratings, take_ratings
from tenfold.data.tables.table import read_table
from tenfold.errors import RatingsError, RecipeError, SchemaError, TableError
from tenfold.values import Ratings


@pytest.fixture
def write(tmp_path: Path):
    """Write lines joined by " / " and read them as a table."""

    def from_lines(lines: str, name: str = "ratings.csv", **options):
        path = tmp_path / name
        path.write_text("\n".join(lines.split(" / ")) + "\n", "utf-8")
        return read_table(path, **options)

    return from_lines


def pairs(ratings: Ratings) -> dict[tuple[str, str], float]:
    """(user, item) -> rating."""
    users, items = ratings.users[ratings.user_index], ratings.items[ratings.item_index]
    return {(u, i): float(r) for u, i, r in zip(users, items, ratings.ratings, strict=True)}


def said(ratings: Ratings, text: str) -> bool:
    return any(text in note for note in ratings.notes)


# --- columns ---------------------------------------------------------------------------------------


def test_a_header_is_recognised_and_the_columns_are_said(write):
    table = write("userId,movieId,rating,timestamp / 4,17,2.5,1300000100 / 4,905,3.0,1300000160")
    found = index_ratings(table)
    assert pairs(found) == {("4", "17"): 2.5, ("4", "905"): 3.0}
    assert found.times is not None and found.times.tolist() == [1300000100, 1300000160]
    assert found.scale == (2.5, 3.0)
    assert said(found, "userId is the user, movieId is the item, rating is the rating, timestamp is the time")
    assert said(found, "line 2 reads: user '4', item '17', rating 2.5, time 2011-03-13 07:08:20")


def test_without_a_header_the_place_decides_and_one_line_is_shown(write):
    found = index_ratings(write("10\t20\t3\t890000001 / 11\t21\t4\t890000002"))
    assert pairs(found) == {("10", "20"): 3, ("11", "21"): 4}
    assert said(found, "by their place") and said(found, "line 1 reads: user '10', item '20', rating 3")


def test_double_colons(write):
    found = index_ratings(write("1::10::5::97830 / 2::11::3::97831"))
    assert pairs(found) == {("1", "10"): 5, ("2", "11"): 3}


def test_the_header_decides_whatever_the_order(write):
    found = index_ratings(write("item,user,rating / i1,u1,5 / i2,u1,3"))
    assert pairs(found) == {("u1", "i1"): 5, ("u1", "i2"): 3}


def test_columns_can_be_named(write):
    table = write("wer,was,wieviel,wann / u1,i1,5,10 / u1,i2,3,20")
    with pytest.raises(SchemaError, match="no column is known as the user") as error:
        index_ratings(table)
    assert "wer, was, wieviel, wann" in str(error.value) and "--user COLUMN" in str(error.value)
    found = index_ratings(table, user="wer", item="was", rating="wieviel", time="wann")
    assert pairs(found)[("u1", "i2")] == 3 and said(found, "as given")
    with pytest.raises(SchemaError, match="did you mean 'wieviel'"):
        index_ratings(table, user="wer", item="was", rating="wievil")
    with pytest.raises(SchemaError, match="named as user and as item"):
        index_ratings(table, user="wer", item="wer", rating="wieviel")


def test_an_unknown_column_of_numbers_is_not_passed_over_in_silence(write):
    with pytest.raises(SchemaError, match="no column is known as the rating") as error:
        index_ratings(write("user,item,liking / u1,i1,5 / u1,i2,3"))
    assert "--target liking" in str(error.value)
    assert index_ratings(write("user,item,liking / u1,i1,5 / u1,i2,3"), kind="implicit").implicit
    with pytest.raises(SchemaError, match="no column is known as the rating"):
        index_ratings(write("user,item / u1,i1 / u1,i2"), kind="explicit")


def test_a_third_column_of_moments_is_no_rating(write):
    found = index_ratings(write("1\t2\t881250949 / 1\t3\t881250950 / 2\t3\t881250951"))
    assert found.implicit and found.times is not None and set(found.ratings) == {1.0}


def test_ids_are_text(write):
    found = index_ratings(write("user,item,rating / 007,1,5 / 7,1,1 / NA,1,2 / null,01,3"))
    assert list(found.users) == ["007", "7", "NA", "null"] and list(found.items) == ["1", "01"]
    long = index_ratings(write("user,item,rating / 9007199254740993,1,3 / 9007199254740992,2,4"))
    assert list(long.users) == ["9007199254740993", "9007199254740992"]


def test_one_column_has_one_type_for_the_whole_table():
    rows = 3000
    table = read_table(
        {
            "user": ["007"] * rows + ["x9"],
            "item": [str(row) for row in range(rows)] + ["3"],
            "rating": ["3"] * rows + ["5"],
        }
    )
    assert list(index_ratings(table).users) == ["007", "x9"]


# --- cells -----------------------------------------------------------------------------------------


def test_bad_cells_are_listed_by_line_column_and_value(write):
    lines = ["user,item,rating"] + [f"u{n},i,4" for n in range(699)] + ["u9,i9,", "u9,i8,four", "", ""]
    table = write(" / ".join(lines))
    with pytest.raises(TableError) as error:
        index_ratings(table)
    text = str(error.value)
    assert "ratings.csv" in text and "2 of 701 rows" in text
    assert "line 701, column rating: '' is empty" in text
    assert "line 702, column rating: 'four' is not a finite number" in text
    kept = index_ratings(table, skip_bad=True)
    assert len(kept.ratings) == 699 and "u9" in kept.users and "i8" not in kept.items
    assert said(kept, "2 of 701 rows left out as unusable (2 by rating)")


def test_an_empty_id_is_no_user(write):
    table = write("user,item,rating / 9007199254740993,1,3 / 9007199254740992,2,4 / ,3,5")
    with pytest.raises(TableError, match="line 4, column user: '' is empty"):
        index_ratings(table)
    assert list(index_ratings(table, skip_bad=True).users) == ["9007199254740993", "9007199254740992"]


@pytest.mark.parametrize("cell", ["inf", "-inf", "Infinity", "nan", "NaN", "1e999"])
def test_ratings_that_are_not_finite_are_named(write, cell):
    table = write(f"user,item,rating / u1,i1,5 / u2,i1,{cell} / u3,i1,1")
    with pytest.raises(TableError, match="line 3, column rating"):
        index_ratings(table)
    assert pairs(index_ratings(table, skip_bad=True)) == {("u1", "i1"): 5, ("u3", "i1"): 1}


def test_at_most_ten_cells_are_listed_with_the_count_of_all(write):
    table = write("user,item,rating / " + " / ".join(f"u{n},i,x" for n in range(25)))
    with pytest.raises(TableError) as error:
        index_ratings(table)
    assert str(error.value).count("  - line") == 10 and "and 15 more" in str(error.value)
    assert "25 of 25 rows" in str(error.value)
    with pytest.raises(RatingsError, match="no usable rating"):
        index_ratings(table, skip_bad=True)


def test_an_empty_table_is_refused(write):
    with pytest.raises((RatingsError, TableError)) as error:
        index_ratings(write("user,item,rating"))
    assert "ratings.csv" in str(error.value)


# --- explicit or implicit, and the scale -----------------------------------------------------------


def test_ones_or_no_ratings_are_a_log_of_events(write):
    headed = [write("user,item / u1,i1 / u2,i1"), write("user,item,rating / u1,i1,1 / u2,i1,1")]
    for table in [*headed, write("u1,i1 / u2,i1", header=False)]:
        found = index_ratings(table)
        assert found.implicit and said(found, "implicit: ")
        assert not said(found, "ratings are")
    assert not index_ratings(write("user,item,rating / u1,i1,1 / u2,i1,1"), kind="explicit").implicit
    assert not index_ratings(write("user,item,rating / u1,i1,1 / u2,i1,1"), scale=(1, 5)).implicit


def test_counts_given_as_ratings_are_recognised(write):
    rows = [f"u{n},i{n % 3},{count}" for n, count in enumerate([1] * 8 + [2, 57])]
    table = write("user,item,rating / " + " / ".join(rows))
    found = index_ratings(table)
    assert found.implicit and said(found, "implicit: rating holds counts")
    assert not index_ratings(table, kind="explicit").implicit


def test_stars_are_explicit_and_it_is_said(write):
    found = index_ratings(write("user,item,rating / a,x,5 / a,y,1 / b,x,5 / b,y,1 / c,x,5 / d,y,1 / d,z,5"))
    assert not found.implicit and said(found, "explicit: rating holds ratings")
    with pytest.raises(RecipeError, match="kind = 'explizit'"):
        index_ratings(write("user,item / u1,i1"), kind="explizit")


def test_events_are_not_negative(write):
    with pytest.raises(RatingsError, match="log of events") as error:
        index_ratings(write("user,item,rating / a,x,1 / a,y,-2"), kind="implicit")
    assert "line 3" in str(error.value)


def test_the_scale_is_the_datas_and_is_said(write):
    rows = " / ".join(f"u{n},i{n % 2},{80 + n}" for n in range(9))
    found = index_ratings(write(f"user,item,rating / {rows}"))
    assert found.scale == (80, 88) and said(found, "scale 80 to 88, from the data")
    found = index_ratings(write("user,item,rating / u1,i1,-1 / u1,i2,0.5 / u2,i1,1"))
    assert found.scale == (-1, 1) and said(found, "scale -1 to 1, from the data")


def test_ratings_outside_the_given_scale_are_an_error(write):
    rows = " / ".join(f"u{n},i1,{n}" for n in [1, 6, 7, 8, 9, 2, 0])
    with pytest.raises(RatingsError) as error:
        index_ratings(write(f"user,item,rating / {rows}"), scale=(1, 5))
    assert "4 ratings above 5, first at line 3" in str(error.value)
    assert "1 rating below 1, first at line 8" in str(error.value)
    inside = index_ratings(write("user,item,rating / u1,i1,3 / u1,i2,4"), scale=(1, 5))
    assert inside.scale == (1, 5) and said(inside, "scale 1 to 5, as given")
    with pytest.raises(RecipeError, match="scale 5 to 1"):
        index_ratings(write("user,item,rating / u1,i1,3"), scale=(5, 1))


def test_equal_ratings_and_lonely_users_are_pointed_out(write):
    rows = " / ".join(f"u{u},i{i},3" for u in range(4) for i in range(3))
    found = index_ratings(write(f"user,item,rating / {rows}"))
    assert said(found, "all ratings are 3: nothing to learn") and found.scale == (3, 3)
    one = index_ratings(write("user,item,rating / u,i1,3 / u,i2,4"))
    assert said(one, "one user only")
    single = " / ".join(
        [f"s{n},i0,4" for n in range(10)] + [f"m{u},i{i},3" for u in range(5) for i in range(4)]
    )
    assert said(index_ratings(write(f"user,item,rating / {single}")), "10 users have 1 rating")
    lonely = index_ratings(write("user,item,rating / u,i,4"))
    assert len(lonely.ratings) == 1 and lonely.scale == (4, 4)


# --- repeated pairs --------------------------------------------------------------------------------

REPEATED = "user,item,rating / u,a,5 / u,a,4 / v,a,3"
TIMED = "user,item,rating,time / u,a,5,20 / u,a,4,10 / v,a,3,15"


@pytest.mark.parametrize(
    ("lines", "rule", "rating", "note"),
    [
        (REPEATED, None, 4, "1 repeated pair: last by line kept"),
        (TIMED, None, 5, "1 repeated pair: last by time kept"),
        (TIMED, "first", 4, "first by time kept"),
        (REPEATED, "first", 5, "first by line kept"),
        (REPEATED, "mean", 4.5, "mean taken"),
        (REPEATED, "max", 5, "highest kept"),
        (REPEATED, "min", 4, "lowest kept"),
    ],
)
def test_a_repeated_pair_is_one_fact_by_a_stated_rule(write, lines, rule, rating, note):
    found = index_ratings(write(lines), duplicates=rule)
    assert pairs(found) == {("u", "a"): rating, ("v", "a"): 3}
    assert said(found, note) and said(found, "user 'u', item 'a', line 2 and line 3")


def test_two_ratings_are_never_summed_but_events_are(write):
    with pytest.raises(RatingsError, match="not a rating"):
        index_ratings(write(REPEATED), duplicates="sum")
    log = index_ratings(write("user,item / u,a / u,a / v,a / u,a"))
    assert pairs(log) == {("u", "a"): 3, ("v", "a"): 1} and said(log, "1 repeated pair: sum taken")
    with pytest.raises(RatingsError, match="1 repeated pair of user and item"):
        index_ratings(write(REPEATED), duplicates="error")
    with pytest.raises(RecipeError):
        index_ratings(write(REPEATED), duplicates="lst")
    assert set(DUPLICATE_RULES) >= {"last", "mean", "sum"}


def test_a_row_without_a_time_is_the_earliest(write):
    found = index_ratings(write("user,item,rating,time / u,a,5,10 / u,a,4, / v,a,3,15"))
    assert pairs(found)[("u", "a")] == 5 and said(found, "1 of 3 times are missing")


def test_outer_blanks_never_make_a_second_user():
    found = index_ratings(
        read_table({"user": ["u", " u", "v"], "item": ["a", "b", "a "], "rating": [1, 2, 3]})
    )
    assert list(found.users) == ["u", "v"] and list(found.items) == ["a", "b"]


# --- order -----------------------------------------------------------------------------------------


def test_ratings_are_sorted_by_user_then_item_each_pair_once():
    rng = np.random.default_rng(3)
    users, items = rng.integers(0, 40, 2000), rng.integers(0, 60, 2000)
    values = rng.integers(1, 6, 2000)
    table = read_table({"user": users.astype(str), "item": items.astype(str), "rating": values.astype(str)})
    found = index_ratings(table)
    words = found.user_index.astype(np.int64) * len(found.items) + found.item_index
    assert (np.diff(words) > 0).all()
    last = {(str(u), str(i)): float(r) for u, i, r in zip(users, items, values, strict=True)}
    assert pairs(found) == last
    assert list(found.users) == list(dict.fromkeys(users.astype(str)))
    assert found.user_index.dtype == np.uint32 and found.ratings.dtype == np.float32


def test_ids_too_many_for_one_word_are_sorted_alike(write):
    rng = np.random.default_rng(4)
    rows = _Rows(
        write("user,item / u,i"),
        np.empty(40, object),
        np.empty(60, object),
        rng.integers(0, 40, 500).astype(np.uint32),
        rng.integers(0, 60, 500).astype(np.uint32),
        None,
    )
    packed = _sorted_pairs(rows)
    rows.users = np.broadcast_to(np.array([True]), 1 << 60)  # no memory: one element seen many times
    for one, other in zip(packed, _sorted_pairs(rows), strict=True):
        assert np.array_equal(one, other)
    assert not packed[1].all()


def test_single_precision_moves_no_rating_out_of_its_scale(write):
    found = index_ratings(write("user,item,rating / u,a,4.7 / v,a,0.1"), scale=(0.1, 4.7))
    assert found.ratings.dtype == np.float32 and found.scale == (0.1, 4.7)


def test_many_repeats_by_time_against_a_dictionary():
    rng = np.random.default_rng(8)
    users, items = rng.integers(0, 9, 600), rng.integers(0, 9, 600)
    values, times = rng.integers(1, 6, 600), rng.integers(1, 30, 600)
    columns = {"user": users, "item": items, "rating": values, "time": times}
    table = read_table({name: one.astype(str) for name, one in columns.items()})
    groups: dict[tuple[str, str], list[tuple[int, int, int]]] = {}
    for row, (u, i, r, t) in enumerate(zip(users, items, values, times, strict=True)):
        groups.setdefault((str(u), str(i)), []).append((t, row, r))
    expected = {
        "last": lambda rows: max(rows)[2],
        "first": lambda rows: min(rows)[2],
        "mean": lambda rows: sum(r for *_, r in rows) / len(rows),
        "max": lambda rows: max(r for *_, r in rows),
        "min": lambda rows: min(r for *_, r in rows),
    }
    for rule, resolve in expected.items():
        found = index_ratings(table, duplicates=rule)
        assert pairs(found) == pytest.approx({pair: float(resolve(rows)) for pair, rows in groups.items()})
        latest = [max(groups[pair])[0] if rule != "first" else min(groups[pair])[0] for pair in pairs(found)]
        assert found.times is not None and found.times.tolist() == latest


# --- the item table --------------------------------------------------------------------------------


def test_items_are_rated_listed_or_unknown(write):
    ratings = write("user,item,rating / u1,1,5 / u1,2,3 / u2,1,4 / u2,5,1")
    catalogue = write("item,title,genre / 1,Sun,Drama / 2,,Comedy / 3,Moon,", name="items.csv")
    found = index_ratings(ratings, item_table=catalogue)
    assert found.item_names == {"1": "Sun", "2": "", "3": "Moon"}
    assert list(found.items) == ["1", "2", "5"]
    assert said(found, "items.csv lists 3 items (item is the id, title the title): 2 rated, 1 only listed")
    named = index_ratings(ratings, item_table=catalogue, item_name="genre")
    assert named.item_names["1"] == "Drama"
    with pytest.raises(SchemaError, match="did you mean 'title'"):
        index_ratings(ratings, item_table=catalogue, item_name="titel")


def test_an_item_table_of_other_ids_is_pointed_out(write):
    ratings = write("user,item,rating / u1,m1,5 / u1,m2,3")
    found = index_ratings(ratings, item_table=write("movieId,title / 1,Sun / 2,Moon", name="items.csv"))
    assert said(found, "no rated item is listed")


def test_a_part_knows_its_own_users_and_items_alone(write):
    whole = index_ratings(write("user,item,rating,time / u,a,1,7 / u,b,5,8 / v,c,3,9 / w,a,2,4"))
    part = take_ratings(whole, np.array([0, 3]))
    assert pairs(part) == {("u", "a"): 1, ("w", "a"): 2}
    assert list(part.users) == ["u", "w"] and list(part.items) == ["a"]
    assert part.scale == (1, 5) and part.times is not None and part.times.tolist() == [7, 4]


# --- real tables -----------------------------------------------------------------------------------


@pytest.mark.real
@pytest.mark.parametrize(
    ("file", "users", "items", "count", "scale", "times"),
    [
        ("ml-100k/u.data", 943, 1682, 100_000, (1, 5), True),
        ("filmtrust/ratings.csv", 1508, 2071, 35_494, (0.5, 4), False),
        ("movietweetings-100k/ratings.dat", 16554, 10506, 100_000, (0, 10), True),
    ],
)
def test_real_tables_are_read_with_nothing_said_by_the_user(
    data_folder, file, users, items, count, scale, times
):
    found = index_ratings(read_table(data_folder / file))
    assert (len(found.users), len(found.items), len(found.ratings)) == (users, items, count)
    assert found.scale == scale and (found.times is not None) == times and not found.implicit


@pytest.mark.real
def test_the_repeated_pairs_of_a_real_table_are_counted(data_folder):
    found = index_ratings(read_table(data_folder / "filmtrust/ratings.csv"))
    assert said(found, "3 repeated pairs: last by line kept")


# --- counts, and the age of events -----------------------------------------------------------------


def test_counts_are_not_taken_for_stars():
    rows = [("u", f"i{k}", value) for k, value in enumerate([2, 3, 5, 8, 40, 900, 250_000])]
    table = {"user": [r[0] for r in rows], "item": [r[1] for r in rows], "plays": [r[2] for r in rows]}
    read = read_table(table)
    with pytest.raises(RatingsError, match="plays looks like counts or seconds") as caught:
        index_ratings(read, rating="plays")
    assert "--kind implicit" in caught.value.labels["fix"] and "2 to 250000" in caught.value.labels["found"]
    assert index_ratings(read, rating="plays", kind="implicit").implicit
    assert index_ratings(read, rating="plays", kind="explicit").scale == (2, 250_000)
    assert not index_ratings(read, rating="plays", scale=(0, 300_000)).implicit
    percent = {**table, "plays": [1, 2, 3, 5, 6, 7, 100]}  # a scale that ends at 100 stays one
    assert not index_ratings(read_table(percent), rating="plays").implicit


def test_events_lose_strength_by_age():
    day = 86400
    table = {
        "user": ["a", "a", "a", "b"],
        "item": ["x", "x", "y", "y"],
        "strength": [1, 4, 2, 8],
        "time": [0, 10 * day, 20 * day, ""],
    }
    given = {"rating": "strength", "kind": "implicit", "time_format": "seconds"}
    found = index_ratings(read_table(table), **given, half_life=10 * day)
    # a, x: 1/4 + 4/2; a, y: 2, the latest; b, y: without a time as old as the oldest.
    assert found.ratings.tolist() == [2.25, 2, 2]
    later = index_ratings(read_table(table), **given, half_life=10 * day, until=30.0 * day)
    assert later.ratings.tolist() == [1.125, 1, 1]
    assert index_ratings(read_table(table), **given, half_life=10 * day, until=0.0).ratings.tolist() == [
        5,
        2,
        8,
    ]
    with pytest.raises(RecipeError, match="a half-life is of events"):
        index_ratings(read_table(table), rating="strength", kind="explicit", half_life=1.0)
    del table["time"]
    with pytest.raises(RatingsError, match="has no times"):
        index_ratings(read_table(table), rating="strength", kind="implicit", half_life=1.0)


SHOWN = {
    "user": ["a", "a", "b", "b", "c", "a", "b"],
    "item": ["x", "y", "y", "z", "x", "x", "x"],
    "clicks": [1, 0, 1, 1, 0, 0, 0],
}


def test_what_was_shown_and_not_taken_is_kept_on_request():
    found = index_ratings(read_table(SHOWN), rating="clicks", kind="implicit", shown=True)
    pairs = found.shown
    assert pairs is not None and pairs.times is None
    # An event wins over a row of 0; c and its row are of nobody who took anything.
    assert [
        (found.users[u], found.items[i]) for u, i in zip(pairs.user_index, pairs.item_index, strict=True)
    ] == [
        ("a", "y"),
        ("b", "x"),
    ]
    assert any(
        note
        == "2 pairs have the strength 0: shown and not taken (1 more, of users or items without any event, "
        "are left out)"
        for note in found.notes
    )
    plain = index_ratings(read_table(SHOWN), rating="clicks", kind="implicit")
    assert plain.shown is None and plain.ratings.tolist() == found.ratings.tolist()
    turned = {name: values[::-1] for name, values in SHOWN.items()}
    again = index_ratings(read_table(turned), rating="clicks", kind="implicit", shown=True)
    assert again.shown is not None and len(again.shown.user_index) == 2
    some = take_ratings(found, np.array([0, 1]))
    assert some.shown is not None and some.users.tolist() == ["a", "b"] and some.items.tolist() == ["x", "y"]
    assert some.shown.user_index.tolist() == [0, 1] and some.shown.item_index.tolist() == [1, 0]
    assert take_ratings(found, np.array([0])).shown.user_index.tolist() == []
    with pytest.raises(RecipeError, match="are of events"):
        index_ratings(read_table(SHOWN), rating="clicks", kind="explicit", shown=True)
    none = index_ratings(
        read_table({**SHOWN, "clicks": [1] * 7}), rating="clicks", kind="implicit", shown=True
    )
    assert "no pair has the strength 0, so none was shown and not taken" in none.notes


def test_an_event_has_happened_however_old_it_is():
    table = {"user": ["a", "b"], "item": ["x", "x"], "clicks": [1, 1], "time": [0, 10**9]}
    given = {"rating": "clicks", "kind": "implicit", "time_format": "seconds", "half_life": 1.0}
    found = index_ratings(read_table(table), **given)
    assert found.users.tolist() == ["a", "b"] and (found.ratings > 0).all()
