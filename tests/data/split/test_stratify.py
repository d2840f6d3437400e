"""Dealing: even for every class, never an empty part, never a lost class."""

from __future__ import annotations

import numpy as np
import pytest

from tenfold.data.split.stratify import deal_folds, deal_holdout, label_table


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def _draw(rows: int, classes: tuple[int, ...], missing: float, seed: int) -> dict[str, np.ndarray]:
    rng = _rng(seed)
    labels = {}
    for place, many in enumerate(classes):
        codes = np.minimum(rng.geometric(0.3, rows) - 1, many - 1)
        codes[rng.random(rows) < missing] = -1
        labels[f"t{place}"] = codes
    return labels


def _worst(labels: dict[str, np.ndarray], fold: np.ndarray, folds: int) -> int:
    """The largest difference of a class's counts between two folds."""
    worst = 0
    for codes in labels.values():
        table = np.zeros((codes.max() + 1, folds), dtype=int)
        np.add.at(table, (codes[codes >= 0], fold[codes >= 0]), 1)
        worst = max(worst, int(np.ptp(table, axis=1).max()))
    return worst


def test_the_label_table_counts_through_all_targets():
    table = label_table(3, {"a": [1, -1, 0], "tags": [[0, 1], [1, 1], [0, 0]]})
    assert table.names == (("a", 0), ("a", 1), ("tags", 0), ("tags", 1))
    assert list(zip(table.row.tolist(), table.label.tolist(), strict=True)) == [
        (0, 1),
        (0, 3),
        (1, 2),
        (1, 3),
        (2, 0),
    ]


@pytest.mark.parametrize("codes", [[0, 1], [0.0, 1.0, 2.0], ["a", "b", "c"], np.zeros((3, 1, 1), dtype=int)])
def test_labels_that_are_no_codes_of_the_rows_are_refused(codes):
    with pytest.raises(ValueError, match="labels of 'a'"):
        label_table(3, {"a": codes})


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("folds", [2, 3, 5, 8, 10])
@pytest.mark.parametrize(("rows", "classes", "missing"), [(56, 8, 0.0), (97, 4, 0.0), (200, 30, 0.3)])
def test_one_target_is_even_to_the_row(rows, classes, missing, folds, seed):
    labels = _draw(rows, (classes,), missing, seed)
    fold = deal_folds(label_table(rows, labels), np.arange(rows), folds, _rng(seed))
    assert _worst(labels, fold, folds) <= 1
    assert np.ptp(np.bincount(fold, minlength=folds)) <= 1


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("rows", "classes", "missing"), [(300, (5, 5), 0.0), (40, (3, 3), 0.0), (400, (12, 6, 4), 0.3)]
)
def test_several_targets_are_even_to_two_rows(rows, classes, missing, seed):
    labels = _draw(rows, classes, missing, seed)
    fold = deal_folds(label_table(rows, labels), np.arange(rows), 5, _rng(seed))
    assert _worst(labels, fold, 5) <= 2
    assert np.ptp(np.bincount(fold, minlength=5)) <= 1
    held = deal_holdout(label_table(rows, labels), np.arange(rows), 0.2, _rng(seed))
    assert held.sum() == round(0.2 * rows)
    for codes in labels.values():
        total, part = np.bincount(codes[codes >= 0]), np.bincount(codes[held & (codes >= 0)])
        assert np.abs(part - 0.2 * total[: len(part)]).max() < 1.5


def test_many_labels_a_row_are_even_too():
    tags = (_rng().random((500, 12)) < np.linspace(0.02, 0.6, 12)).astype(np.int8)
    fold = deal_folds(label_table(500, {"tags": tags}), np.arange(500), 5, _rng())
    counts = np.array([tags[fold == one].sum(axis=0) for one in range(5)])
    assert np.ptp(counts, axis=0).max() <= 3
    assert np.ptp(np.bincount(fold)) <= 2


def test_rows_without_any_label_are_dealt_by_size():
    fold = deal_folds(label_table(20, {"a": np.full(20, -1)}), np.arange(20), 4, _rng())
    assert np.bincount(fold).tolist() == [5, 5, 5, 5]
    assert deal_holdout(label_table(20, {}), np.arange(20), 0.25, _rng()).sum() == 5


def test_many_classes_of_two_rows_still_fill_the_held_out_part():
    # Each class by itself would hold out round(0.4) = 0 rows; together it must be 40.
    labels = {"a": np.repeat(np.arange(100), 2)}
    held = deal_holdout(label_table(200, labels), np.arange(200), 0.2, _rng())
    assert held.sum() == 40
    assert set(labels["a"][~held]) == set(range(100))


@pytest.mark.parametrize("fraction", [0.01, 0.25, 0.5, 0.9, 0.99])
def test_no_class_is_lost_from_training(fraction):
    labels = _draw(60, (12, 5), 0.1, 1)
    held = deal_holdout(label_table(60, labels), np.arange(60), fraction, _rng())
    for codes in labels.values():
        assert set(codes[~held]) | {-1} == set(codes) | {-1}
    assert 1 <= held.sum() < 60


def test_nothing_is_held_out_where_nothing_can_be_spared():
    held = deal_holdout(label_table(3, {"a": [0, 1, 2]}), np.arange(3), 0.3, _rng())
    assert not held.any()


@pytest.mark.parametrize("seed", range(5))
def test_groups_stay_whole_and_are_balanced(seed):
    rng = _rng(seed)
    unit = np.sort(rng.integers(0, 40, 600))
    unit = np.unique(unit, return_inverse=True)[1]
    labels = {"a": rng.integers(0, 4, 600)}
    fold = deal_folds(label_table(600, labels), unit, 5, rng)
    assert all(len(set(fold[unit == one])) == 1 for one in range(unit.max() + 1))
    sizes = np.bincount(fold, minlength=5)
    assert sizes.min() > 90 and sizes.max() < 150
    assert _worst(labels, fold, 5) < 22


def test_one_big_group_is_met_by_the_single_rows():
    unit = np.concatenate([np.zeros(50, int), np.arange(1, 51)])
    labels = {"a": np.tile([0, 1], 50)}
    fold = deal_folds(label_table(100, labels), unit, 2, _rng())
    assert np.bincount(fold).tolist() == [50, 50]
    assert _worst(labels, fold, 2) == 0


@pytest.mark.parametrize("folds", [5, 4])
def test_no_fold_is_empty_however_the_groups_are(folds):
    unit = np.repeat(np.arange(5), [100, 1, 1, 1, 1])
    fold = deal_folds(label_table(104, {"a": np.zeros(104, int)}), unit, folds, _rng())
    assert set(fold) == set(range(folds))


def test_the_seed_decides():
    labels = _draw(100, (4, 3), 0.1, 0)
    table, unit = label_table(100, labels), np.arange(100)
    first, again, other = (deal_folds(table, unit, 5, _rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_which_row_goes_where_is_chance_and_not_place():
    # Equal rows: over many seeds each must be held out about as often as any other.
    table, unit = label_table(10, {"a": np.zeros(10, int)}), np.arange(10)
    times = sum(deal_holdout(table, unit, 0.2, _rng(seed)).astype(int) for seed in range(500))
    assert times.sum() == 1000
    assert times.min() > 60 and times.max() < 140
