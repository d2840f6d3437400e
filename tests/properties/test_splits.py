"""What holds of all splits and scores: groups stay whole, no row is lost, a weight is a number of rows."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tenfold.data.split.groups import join_groups
from tenfold.data.split.holdout import by_time, folds_by_time, holdout, kfold
from tenfold.errors import SplitError
from tenfold.nn.heads import build_head
from tenfold.schema import (
    CategoryTarget,
    MultiLabelTarget,
    NetworkTarget,
    NumberTarget,
    OpenTarget,
    OrderedTarget,
)

WAYS = ("random", "fold", "time", "fold of time")


@st.composite
def tables(draw: st.DrawFn) -> tuple[int, list[NDArray[np.object_]], NDArray[np.float64], NDArray[np.int64]]:
    """Rows, keys that tie some of them, times and classes."""
    rows = draw(st.integers(2, 30))
    key = st.lists(st.sampled_from(["", *"abcdefghij"]), min_size=rows, max_size=rows)
    keys = [np.array(one, dtype=object) for one in draw(st.lists(key, max_size=2))]
    times = draw(st.lists(st.integers(0, 9), min_size=rows, max_size=rows))
    classes = draw(st.lists(st.integers(-1, 3), min_size=rows, max_size=rows))
    return rows, keys, np.array(times, dtype=np.float64), np.array(classes, dtype=np.int64)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(tables(), st.sampled_from(WAYS), st.integers(2, 3), st.integers(0, 3))
def test_no_split_parts_a_group(table, way: str, folds: int, seed: int) -> None:
    rows, keys, times, classes = table
    facts = {"labels": {"kind": classes}, "groups": keys}
    try:
        if way == "random":
            splits = [holdout(rows, fraction=0.3, seed=seed, **facts)]
        elif way == "time":
            splits = [by_time(times, fraction=0.3, **facts)]
        elif way == "fold":
            splits = list(kfold(rows, folds=folds, seed=seed, **facts))
        else:
            splits = list(folds_by_time(times, folds=folds, groups=keys))
    except SplitError as error:
        assert error.labels["fix"]
        return
    unit = join_groups(keys, rows)
    for split in splits:
        assert len(split.train) and len(split.valid)
        assert set(unit[split.train]).isdisjoint(unit[split.valid])
        assert np.array_equal(np.union1d(split.train, split.valid), np.arange(rows)) or "time" in way
        if "time" in way:
            # What trains, and all of its group, is older than the newest row of every group held out.
            newest = {one: times[unit == one].max() for one in set(unit)}
            oldest = min(newest[one] for one in unit[split.valid])
            assert max(newest[one] for one in unit[split.train]) < oldest


HEADS: dict[str, tuple[NetworkTarget, tuple[str, ...]]] = {
    "category": (CategoryTarget(name="y"), ("a", "b", "c")),
    "two": (CategoryTarget(name="y"), ("a", "b")),
    "ordered": (OrderedTarget(name="y"), ("a", "b", "c")),
    "open": (OpenTarget(name="y", none="none"), ("a", "b", "c")),
    "multilabel": (MultiLabelTarget(name="y"), ("a", "b", "c")),
    "number": (NumberTarget(name="y"), ()),
}


@settings(max_examples=120, deadline=None, derandomize=True)
@given(
    st.sampled_from(sorted(HEADS)), st.lists(st.integers(0, 3), min_size=1, max_size=12), st.integers(0, 99)
)
def test_a_weight_counts_rows_in_every_score(kind: str, weights: list[int], seed: int) -> None:
    target, classes = HEADS[kind]
    rng = np.random.default_rng(seed)
    rows, width = len(weights), max(1, len(classes))
    answers = rng.integers(1, 5, (rows, width)).astype(np.float64)
    answers /= answers.sum(axis=1, keepdims=True) if kind != "number" else 1.0
    if kind == "multilabel":
        labels = rng.integers(-1, 2, (rows, width))
    elif kind == "number":
        labels = np.where(rng.random(rows) < 0.2, np.nan, rng.integers(0, 5, rows).astype(np.float64))
    else:
        labels = rng.integers(-1, width + (kind == "open"), rows)
    head = build_head(target, classes, label_smoothing=0.0)
    counted = np.repeat(np.arange(rows), weights)
    baseline = head.baseline(labels, np.array(weights, dtype=np.float64))
    assert baseline == head.baseline(labels[counted]) or np.isclose(baseline, head.baseline(labels[counted]))
    weighed = head.scores(answers, labels, baseline=baseline, weights=np.array(weights, dtype=np.float64))
    repeated = head.scores(answers[counted], labels[counted], baseline=baseline)
    assert set(weighed) == set(repeated)
    for name, value in weighed.items():
        if name not in ("labels", "scored", "unscored"):
            assert np.isclose(value, repeated[name], equal_nan=True), name
    for word, found in weighed.get("labels", {}).items():
        for name in ("ap", "f1"):
            assert np.isclose(found[name], repeated["labels"][word][name], equal_nan=True)
