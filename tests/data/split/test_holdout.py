"""Splits: nothing straddles, nothing is lost, and what is rare is named."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest

from tenfold.data.split.holdout import (
    TIMES_IGNORED,
    by_time,
    folds_by_time,
    given,
    holdout,
    holdout_ratings,
    holdout_users,
    kfold,
    kfold_ratings,
    kfold_users,
    leave_last_out,
    number_codes,
)
from tenfold.errors import SplitError

ABC = {"label": ("a", "b", "c")}
SIX_FIVE_ONE = {"label": np.repeat([0, 1, 2], [6, 5, 1])}


def _whole(split, rows):
    """Each row is on exactly one side, in ascending order."""
    assert np.array_equal(np.sort(np.concatenate([split.train, split.valid])), np.arange(rows))
    assert np.all(np.diff(split.train) > 0) and np.all(np.diff(split.valid) > 0)


# --- hold-out --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(10))
def test_a_class_with_one_example_trains_and_is_named(seed):
    # Case 8.
    split = holdout(12, fraction=0.25, seed=seed, labels=SIX_FIVE_ONE, classes=ABC)
    _whole(split, 12)
    assert len(split.valid) == 3
    assert 11 in split.train
    assert split.notes == ("label: class c has 1 example: it cannot be in both parts",)


@pytest.mark.parametrize("seed", range(10))
def test_a_rare_pair_of_common_values_does_not_matter(seed):
    # Case 8, two targets: (0, 1) occurs once, each value often.
    a, b = np.array([0] * 6 + [1] * 6), np.array([1] + [0] * 5 + [1] * 6)
    split = holdout(12, fraction=0.25, seed=seed, labels={"a": a, "b": b})
    _whole(split, 12)
    assert len(split.valid) == 3
    assert split.notes == ()


@pytest.mark.parametrize("seed", range(10))
def test_rows_of_one_picture_stay_on_one_side(seed):
    # Case 16: 20 rows, each written twice.
    path = np.repeat(np.arange(20), 2)
    split = holdout(40, fraction=0.2, seed=seed, labels={"label": path % 2}, groups=[path])
    _whole(split, 40)
    assert not set(path[split.train]) & set(path[split.valid])
    assert len(split.valid) == 8
    folds = kfold(40, folds=5, seed=seed, labels={"label": path % 2}, groups=[path])
    for one in folds:
        _whole(one, 40)
        assert not set(path[one.train]) & set(path[one.valid])


def test_several_keys_keep_rows_together():
    sender = np.array(["s", "s", "", "", "", "", "", ""], dtype=object)
    content = np.array(["x", "y", "y", "u", "v", "w", "q", "r"], dtype=object)
    for seed in range(20):
        side = np.zeros(8, bool)
        side[holdout(8, fraction=0.4, seed=seed, groups=[sender, content]).valid] = True
        assert len(set(side[:3])) == 1


def test_a_group_says_what_part_it_made():
    groups = np.repeat([0, 1, 2], [6, 3, 1])
    split = holdout(10, fraction=0.2, seed=0, groups=[groups])
    assert split.notes[0].startswith("10 rows in 3 groups: ") and "20.0% asked" in split.notes[0]
    alone = holdout(10, fraction=0.3, seed=0, labels={"t": np.repeat([0, 1, 0], [6, 3, 1])}, groups=[groups])
    assert "t: class 1 has 3 examples in one group: it cannot be in both parts" in alone.notes


def test_many_single_classes_are_listed_up_to_ten():
    labels = {"name": np.concatenate([np.arange(15), np.full(20, 15)])}
    notes = holdout(35, fraction=0.2, seed=0, labels=labels).notes
    assert sum("has 1 example" in note for note in notes) == 10
    assert notes[-1] == "name: and 5 more"


def test_a_number_target_is_balanced_and_not_spoken_of():
    price = np.random.default_rng(0).lognormal(size=200)
    labels = {"price": number_codes(price), "label": np.zeros(200, int)}
    split = holdout(200, fraction=0.2, seed=1, labels=labels, classes={"label": ("x",)})
    assert abs(np.median(price[split.valid]) - np.median(price)) < 0.25
    assert split.notes == ()


def test_number_codes_are_about_equally_many():
    assert np.bincount(number_codes(np.arange(100.0))).tolist() == [10] * 10
    assert number_codes([math.nan]).tolist() == [-1]
    for zeros in (90, 10):
        assert number_codes([0.0] * zeros + [5.0] * (100 - zeros), parts=4).tolist() == [0] * zeros + [1] * (
            100 - zeros
        )


def test_nothing_is_held_out_on_request():
    split = holdout(3, fraction=0, seed=0)
    assert (split.train.tolist(), split.valid.tolist()) == ([0, 1, 2], [])
    assert "nothing is validated" in split.notes[0]


@pytest.mark.parametrize("fraction", [-0.1, 1, 1.5, math.nan])
def test_a_fraction_that_is_none_is_refused(fraction):
    with pytest.raises(SplitError, match="cannot be held out"):
        holdout(10, fraction=fraction, seed=0)


@pytest.mark.parametrize(
    ("rows", "extra"),
    [
        (1, {}),
        (0, {}),
        (4, {"groups": [[7, 7, 7, 7]]}),
        (3, {"labels": {"label": [0, 1, 2]}}),
    ],
)
def test_a_part_that_would_be_empty_is_refused(rows, extra):
    with pytest.raises(SplitError) as caught:
        holdout(rows, fraction=0.3, seed=0, **extra)
    assert "valid = 0" in str(caught.value)


def test_the_same_seed_is_the_same_split():
    labels = {"label": np.arange(100) % 3}
    first, again, other = (holdout(100, fraction=0.2, seed=seed, labels=labels) for seed in (3, 3, 4))
    assert np.array_equal(first.valid, again.valid)
    assert not np.array_equal(first.valid, other.valid)


# --- folds -----------------------------------------------------------------------------------------


def test_a_fold_without_a_class_is_named():
    # Case 52.
    folds = kfold(12, folds=3, seed=0, labels=SIX_FIVE_ONE, classes=ABC)
    assert len(folds) == 3 and len(folds.fold) == 12
    home = int(folds.fold[11])
    assert folds.notes == (f"label: fold {home + 1} trained without c",)
    for split in folds:
        _whole(split, 12)


@pytest.mark.parametrize("seed", range(5))
def test_eight_folds_of_seven_rows_a_class(seed):
    # Case 59: as many as asked, class counts at most 1 apart.
    codes = np.repeat(np.arange(8), 7)
    folds = kfold(56, folds=8, seed=seed, labels={"label": codes})
    assert set(folds.fold) == set(range(8))
    table = np.zeros((8, 8), int)
    np.add.at(table, (codes, folds.fold), 1)
    assert np.ptp(table, axis=1).max() == 1
    assert np.bincount(folds.fold).tolist() == [7] * 8


@pytest.mark.parametrize("groups", [14, 8])
def test_eight_folds_by_group(groups):
    # Case 59 by group: each group holds rows of several classes.
    group = np.arange(56) % groups
    folds = kfold(56, folds=8, seed=0, labels={"label": np.repeat(np.arange(8), 7)}, groups=[group])
    assert set(folds.fold) == set(range(8))
    for one in folds:
        assert not set(group[one.train]) & set(group[one.valid])


def test_more_folds_than_rows_or_groups_is_an_error():
    with pytest.raises(SplitError, match="8 folds cannot be made of 7 groups") as caught:
        kfold(56, folds=8, seed=0, groups=[np.arange(56) % 7])
    assert "at most 7" in str(caught.value)
    with pytest.raises(SplitError, match="4 folds cannot be made of 3 rows"):
        kfold(3, folds=4, seed=0)
    for folds in (1, 0, -2):
        with pytest.raises(SplitError, match="2 or more|folds ="):
            kfold(10, folds=folds, seed=0)


def test_every_row_is_held_out_once():
    # Case 57.
    folds = kfold(23, folds=4, seed=1, labels={"label": np.arange(23) % 5})
    held = np.concatenate([split.valid for split in folds])
    assert np.array_equal(np.sort(held), np.arange(23))
    for number, split in enumerate(folds):
        assert set(folds.fold[split.valid]) == {number}


# --- as the table says -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cells",
    [
        [True, False, False, True],
        [1, 0, 0, 1],
        [1.0, 0.0, 0.0, 1.0],
        np.array(["True", " false", "no", "1"], dtype=object),
        np.array(["valid", "train", "0.0", "YES"], dtype=object),
    ],
)
def test_a_column_says_what_is_held_out(cells):
    split = given(cells)
    assert (split.train.tolist(), split.valid.tolist()) == ([1, 2], [0, 3])
    assert split.notes == ("is_valid: 2 rows train, 2 are held out",)


def test_a_class_that_only_validation_has_is_named():
    # Case 58.
    labels = {"label": np.array([0, 0, 1, 1, 2])}
    split = given([0, 0, 0, 1, 1], labels=labels, classes={"label": ("a", "b", "z")})
    assert "label: class z occurs only in validation (1 row)" in split.notes
    assert "label: only in training: a (2 rows)" in split.notes


def test_cells_that_say_neither_are_listed_by_line():
    with pytest.raises(SplitError) as caught:
        given(
            np.array(["1", "", "maybe", "0"], dtype=object),
            column="is_valid",
            source="t.csv",
            lines=[2, 3, 5, 6],
        )
    text = str(caught.value)
    assert "t.csv" in text and "'is_valid'" in text
    assert "line 3: ''" in text and "line 5: 'maybe'" in text and "line 2" not in text


@pytest.mark.parametrize(
    ("cells", "part"), [([1, 1], "training"), ([0, 0], "validation"), ([], "validation")]
)
def test_a_column_that_empties_a_part_is_refused(cells, part):
    with pytest.raises(SplitError, match=f"{part} part empty"):
        given(cells)


# --- by time ---------------------------------------------------------------------------------------


def test_one_cut_through_time():
    # Case 70: 20 users, 10 ratings each, times 1..200 in a mixed order.
    times = np.random.default_rng(0).permutation(200) + 1
    split = by_time(times, fraction=0.25)
    _whole(split, 200)
    assert times[split.train].max() == 150 and times[split.valid].min() == 151
    assert split.notes == ("cut at 151: 150 rows before, 50 from then on",)


def test_rows_of_one_moment_stay_together():
    split = by_time([1, 1, 1, 2, 2, 2, 2, 3], fraction=0.3)
    assert split.valid.tolist() == [7]
    assert by_time([5, 5, 5, 9], fraction=0.9).valid.tolist() == [3]


def test_a_cut_in_seconds_is_shown_as_a_date():
    note = by_time([1300000100, 1300000160], fraction=0.5).notes[0]
    assert "1300000160 (2011-03-13T07:09:20 UTC)" in note


def test_times_that_cannot_be_cut_are_refused():
    with pytest.raises(SplitError, match="all rows have the same"):
        by_time([4, 4, 4], fraction=0.2)
    with pytest.raises(SplitError) as caught:
        by_time([1, math.nan, 3], fraction=0.2, source="r.csv", lines=[2, 3, 4])
    assert "r.csv" in str(caught.value) and "line 3" in str(caught.value)


def test_a_class_of_the_future_is_named():
    split = by_time(
        [1, 2, 3, 4], fraction=0.25, labels={"item": [0, 0, 0, 1]}, classes={"item": ("old", "new")}
    )
    assert "item: class new occurs only in validation (1 row)" in split.notes


def test_folds_by_time_never_train_on_the_future():
    times = np.random.default_rng(1).integers(0, 50, 120)
    folds = folds_by_time(times, folds=4)
    assert len(folds) == 4
    for split in folds:
        assert len(split.train) and len(split.valid)
        assert times[split.train].max() < times[split.valid].min()
    assert (folds.fold == -1).sum() > 0 and "always train" in folds.notes[0]
    assert np.bincount(folds.fold + 1).min() > 12


def test_folds_by_time_need_moments_enough():
    assert [len(split.valid) for split in folds_by_time([1, 1, 1, 1, 2, 3], folds=2)] == [1, 1]
    with pytest.raises(SplitError, match="3 different times|cannot be cut"):
        folds_by_time([1, 2, 3], folds=3)


# --- ratings ---------------------------------------------------------------------------------------

#: Case 71: ten users with one rating, five with four.
USERS = np.concatenate([np.arange(10), np.repeat(np.arange(10, 15), 4)])
SINGLE = "10 users have 1 rating and are not evaluated"


@pytest.mark.parametrize("seed", range(5))
def test_users_with_one_rating_train(seed):
    split = holdout_ratings(USERS, fraction=0.2, seed=seed)
    _whole(split, 30)
    assert len(split.valid) == 6
    assert set(USERS[split.train]) == set(range(15))
    assert split.notes == (SINGLE,)

    folds = kfold_ratings(USERS, folds=5, seed=seed)
    assert (folds.fold[:10] == -1).all() and set(folds.fold[10:]) == set(range(5))
    assert folds.notes == (SINGLE,)
    for one in folds:
        assert len(one.valid) == 4
        assert set(USERS[one.train]) == set(range(15))

    last = leave_last_out(USERS, times=np.arange(30))
    assert last.valid.tolist() == [13, 17, 21, 25, 29]
    assert SINGLE in last.notes


def test_a_users_ratings_are_spread_over_folds():
    users = np.random.default_rng(0).permutation(np.repeat(np.arange(50), 7))
    folds = kfold_ratings(users, folds=5, seed=3)
    table = np.zeros((50, 5), int)
    np.add.at(table, (users, folds.fold), 1)
    assert np.ptp(table, axis=1).max() <= 1
    assert np.ptp(np.bincount(folds.fold)) <= 1


def test_only_single_ratings_cannot_be_evaluated():
    for call in (
        lambda: holdout_ratings(np.arange(5), fraction=0.2, seed=0),
        lambda: kfold_ratings(np.arange(5), folds=2, seed=0),
        lambda: leave_last_out(np.arange(5)),
    ):
        with pytest.raises(SplitError, match="evaluation is not possible") as caught:
            call()
        assert "train without holding out" in str(caught.value)


def test_a_random_split_of_timed_ratings_warns():
    times = np.arange(30.0)
    assert TIMES_IGNORED in holdout_ratings(USERS, fraction=0.2, seed=0, times=times).notes
    assert TIMES_IGNORED in kfold_ratings(USERS, folds=2, seed=0, times=times).notes
    assert TIMES_IGNORED.startswith("times ignored: score is optimistic")


def test_the_last_rating_by_time_and_not_by_place():
    users, times = np.array([0, 0, 0, 1, 1]), np.array([30.0, 10.0, 30.0, 5.0, 1.0])
    split = leave_last_out(users, times=times)
    assert split.valid.tolist() == [2, 3]  # of equal times the later row
    assert any("later than a held-out rating" in note for note in split.notes)
    placed = leave_last_out(users)
    assert placed.valid.tolist() == [2, 4] and "no times" in placed.notes[0]


def test_one_rating_of_each_user_trains_whatever_the_fraction():
    split = holdout_ratings(USERS, fraction=0.9, seed=0)
    assert set(USERS[split.train]) == set(range(15))
    assert len(split.valid) == 15
    assert "15 ratings held out, 27 asked: one of each user trains" in split.notes
    with pytest.raises(SplitError):
        kfold_ratings([0, 0, 1], folds=3, seed=0)


def test_a_user_number_without_ratings_is_nobody():
    split = holdout_ratings(np.array([3, 3, 3, 9], dtype=np.uint32), fraction=0.3, seed=0)
    assert len(split.valid) == 1 and split.notes == ("1 user has 1 rating and is not evaluated",)


@pytest.mark.real
def test_no_sender_of_the_clothing_photos_straddles(data_folder):
    with open(data_folder / "clothing" / "train.csv", encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    sender = np.array([row["sender_id"] for row in rows], dtype=object)
    labels = {}
    for target in ("label", "kids"):
        labels[target] = np.unique([row[target] for row in rows], return_inverse=True)[1]
    split = holdout(len(rows), fraction=0.2, seed=0, labels=labels, groups=[sender])
    _whole(split, len(rows))
    assert not set(sender[split.train]) & set(sender[split.valid])
    assert abs(len(split.valid) / len(rows) - 0.2) < 0.02
    for codes in labels.values():
        total, held = np.bincount(codes), np.bincount(codes[split.valid], minlength=codes.max() + 1)
        assert (
            held.min() > 0 and np.abs(held / total - 0.2)[total > 100].max() < 0.15
        )  # some senders have most of a class


# --- whole users -----------------------------------------------------------------------------------


def test_whole_users_are_held_out():
    users = np.array([0, 0, 1, 1, 1, 2, 3, 3, 4, 4, 4, 4])  # user 2 has one rating, and trains
    split = holdout_users(users, fraction=0.4, seed=1)
    held = set(users[split.valid])
    assert len(held) == 2 and 2 not in held and not held & set(users[split.train])
    assert any("2 users are held out with all" in note for note in split.notes)
    assert sorted([*split.train, *split.valid]) == list(range(12))
    folds = kfold_users(users, folds=2, seed=0)
    assert folds.fold[5] == -1 and all(len(set(folds.fold[users == user])) == 1 for user in range(5))
    with pytest.raises(SplitError, match="5 folds cannot be made of 4 users"):
        kfold_users(users, folds=5, seed=0)
    with pytest.raises(SplitError, match="nothing trains"):
        holdout_users(np.array([0, 0]), fraction=0.5, seed=0)
