"""Which rows are telling, and what the file of validation rows says of each target."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tenfold.jobs.telling import judge_target, telling_rows
from tenfold.schema import CategoryTarget, MultiLabelTarget, NumberTarget, OpenTarget

COLUMNS = {
    "id": ["a", "b", "c", "d", "e"],
    "y": ["no", "yes", "yes", None, "no"],
    "y:predicted": ["no", "no", "yes", "yes", "no"],
    "y:no": [0.99, 0.9, 0.48, 0.2, 0.6],
    "y:yes": [0.01, 0.1, 0.52, 0.8, 0.4],
}
CLASSES = {"y": ("no", "yes")}


def test_right_and_sure_wrong_and_sure_undecided() -> None:
    found = dict(telling_rows(COLUMNS, [CategoryTarget(name="y")], CLASSES, 3))
    assert found == {"a": "right and sure", "b": "wrong and sure", "c": "undecided"}


def test_of_several_targets_each_says_its_name_and_no_row_comes_twice() -> None:
    columns = {**COLUMNS, "n": [1.0, 2.0, 3.0, 4.0, None], "n:predicted": [1.0, 2.5, 9.0, 4.0, 5.0]}
    targets = [CategoryTarget(name="y"), NumberTarget(name="n")]
    found = telling_rows(columns, targets, CLASSES, 6)
    assert len({row for row, _ in found}) == len(found) <= 5
    assert found[0] == ("a", "y: right and sure") and any(why.startswith("n: ") for _, why in found)


def test_judgement_of_a_category() -> None:
    one = judge_target(COLUMNS, CategoryTarget(name="y"), CLASSES["y"])
    assert one is not None
    assert one.known.tolist() == [True, True, True, False, True]
    assert one.right.tolist() == [True, False, True, False, True]
    assert one.loss[1] == pytest.approx(-math.log(0.1)) and math.isnan(one.loss[3])
    assert one.sure.tolist() == [0.99, 0.9, 0.52, 0.8, 0.6]
    assert judge_target({"id": []}, CategoryTarget(name="y"), CLASSES["y"]) is None


def test_judgement_of_open_tags_and_numbers() -> None:
    open_columns = {"id": ["a", "b"], "o": ["none", "x"], "o:predicted": ["none", "none"], "o:x": [0.1, 0.3]}
    one = judge_target(open_columns, OpenTarget(name="o", none="none"), ("x",))
    assert one is not None and one.right.tolist() == [True, False]
    assert one.loss.tolist() == pytest.approx([-math.log(0.9), -math.log(0.3)])
    tags = {
        "id": ["a", "b"],
        "t": ["x;y", ""],
        "t:predicted": ["x", "y"],
        "t:x": [0.8, 0.2],
        "t:y": [0.4, 0.9],
    }
    two = judge_target(tags, MultiLabelTarget(name="t", separator=";"), ("x", "y"))
    assert two is not None and two.known.tolist() == [True, False] and not two.right.any()
    assert two.loss[0] == pytest.approx(-(math.log(0.8) + math.log(0.4)) / 2)
    assert np.isnan(two.loss[1])
