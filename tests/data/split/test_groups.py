"""Rows that belong together: joined over several keys, repeats counted, contradictions named."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tenfold.data.split.groups import class_name, group_codes, join_groups


def test_no_key_means_every_row_by_itself():
    assert join_groups([], 3).tolist() == [0, 1, 2]
    assert join_groups([], 0).tolist() == []


def test_sharing_any_key_is_sharing_a_group():
    path = np.array(["a", "a", "b", "c", "d", ""], dtype=object)
    content = np.array(["x", "y", "y", "z", "w", ""], dtype=object)
    assert join_groups([path, content], 6).tolist() == [0, 0, 0, 1, 2, 3]
    assert join_groups([path], 6).tolist() == [0, 0, 1, 2, 3, 4]


def test_sharing_is_passed_on_along_a_long_chain():
    # Rows 0-1 share the first key, 1-2 the second, 2-3 the first, ...: one group of a thousand.
    rows = 1000
    order = np.random.default_rng(0).permutation(rows)
    first, second = np.empty(rows, int), np.empty(rows, int)
    first[order] = np.arange(rows) // 2
    second[order] = (np.arange(rows) + 1) // 2
    assert set(join_groups([first, second], rows)) == {0}


@pytest.mark.parametrize("seed", range(5))
def test_groups_equal_a_slow_second_writing(seed):
    rng = np.random.default_rng(seed)
    keys = [rng.integers(-1, 60, 80) for _ in range(3)]
    fast = join_groups(keys, 80)
    group = {row: {row} for row in range(80)}
    for key in keys:
        for a in range(80):
            for b in range(a):
                if key[a] == key[b] >= 0 and group[a] is not group[b]:
                    joined = group[a] | group[b]
                    group.update(dict.fromkeys(joined, joined))
    for a in range(80):
        assert {b for b in range(80) if fast[b] == fast[a]} == group[a]


@pytest.mark.parametrize(
    ("key", "codes"),
    [
        ([3, -1, 3], [1, -1, 1]),
        (np.array(["7", "007", None], dtype=object), [2, 0, -1]),
        ([2.5, math.nan, 2.0], [1, -1, 0]),
        (np.array([1, 0], dtype=np.uint32), [1, 0]),
        ([True, False], [1, 0]),
    ],
)
def test_keys_of_any_type(key, codes):
    found = group_codes(key, len(key))
    assert (found < 0).tolist() == [one < 0 for one in codes]
    assert len(set(found)) == len(set(codes))


def test_a_key_has_one_value_to_a_row():
    with pytest.raises(ValueError, match="one value per row"):
        join_groups([[1, 2]], 3)


def test_a_class_without_a_name_is_called_by_its_number():
    assert class_name("t", 1, {"t": ("a", "b")}) == "b"
    assert class_name("t", 1, None) == "1"
