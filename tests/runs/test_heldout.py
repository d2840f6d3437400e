"""Which rows are telling, and what the file of validation rows says of each target."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tenfold.runs.heldout import evaluate_target, held_out_columns, representative_rows
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
    found = dict(representative_rows(COLUMNS, [CategoryTarget(name="y")], CLASSES, 3))
    assert found == {"a": "right and sure", "b": "wrong and sure", "c": "undecided"}


def test_of_several_targets_each_says_its_name_and_no_row_comes_twice() -> None:
    columns = {**COLUMNS, "n": [1.0, 2.0, 3.0, 4.0, None], "n:predicted": [1.0, 2.5, 9.0, 4.0, 5.0]}
    targets = [CategoryTarget(name="y"), NumberTarget(name="n")]
    found = representative_rows(columns, targets, CLASSES, 6)
    assert len({row for row, _ in found}) == len(found) <= 5
    assert found[0] == ("a", "y: right and sure") and any(why.startswith("n: ") for _, why in found)


def test_many_targets_share_few_rows() -> None:
    rng = np.random.default_rng(0)
    names = [f"t{one}" for one in range(7)]
    columns: dict = {"id": [f"r{row}" for row in range(60)]}
    for name in names:
        chance = rng.uniform(size=60)
        columns |= {
            name: [("no", "yes")[int(one)] for one in rng.integers(0, 2, 60)],
            f"{name}:predicted": [("no", "yes")[int(one > 0.5)] for one in chance],
            f"{name}:no": 1 - chance,
            f"{name}:yes": chance,
        }
    targets = [CategoryTarget(name=name) for name in names]
    found = representative_rows(columns, targets, dict.fromkeys(names, ("no", "yes")), 12)
    own = [why.partition(": ")[0] for _, why in found]
    assert len({row for row, _ in found}) == 12 and own == sorted(own)
    assert {own.count(name) for name in names} == {1, 2}
    assert {why.partition(": ")[2] for _, why in found} == {"right and sure", "wrong and sure", "undecided"}


def test_where_none_is_wrong_the_others_fill_the_places() -> None:
    found = representative_rows(
        {**COLUMNS, "y": COLUMNS["y:predicted"]}, [CategoryTarget(name="y")], CLASSES, 4
    )
    assert [why for _, why in found] == ["right and sure"] * 2 + ["undecided"] * 2


def test_judgement_of_a_category() -> None:
    one = evaluate_target(COLUMNS, CategoryTarget(name="y"), CLASSES["y"])
    assert one is not None
    assert one.known.tolist() == [True, True, True, False, True]
    assert one.right.tolist() == [True, False, True, False, True]
    assert one.loss[1] == pytest.approx(-math.log(0.1)) and math.isnan(one.loss[3])
    assert one.sure.tolist() == [0.99, 0.9, 0.52, 0.8, 0.6]
    assert evaluate_target({"id": []}, CategoryTarget(name="y"), CLASSES["y"]) is None


def test_judgement_of_open_tags_and_numbers() -> None:
    open_columns = {"id": ["a", "b"], "o": ["none", "x"], "o:predicted": ["none", "none"], "o:x": [0.1, 0.3]}
    one = evaluate_target(open_columns, OpenTarget(name="o", none="none"), ("x",))
    assert one is not None and one.right.tolist() == [True, False]
    assert one.loss.tolist() == pytest.approx([-math.log(0.9), -math.log(0.3)])
    tags = {
        "id": ["a", "b"],
        "t": ["x;y", ""],
        "t:predicted": ["x", "y"],
        "t:x": [0.8, 0.2],
        "t:y": [0.4, 0.9],
    }
    two = evaluate_target(tags, MultiLabelTarget(name="t", separator=";"), ("x", "y"))
    assert two is not None and two.known.tolist() == [True, False] and not two.right.any()
    assert two.loss[0] == pytest.approx(-(math.log(0.8) + math.log(0.4)) / 2)
    assert np.isnan(two.loss[1])


def test_columns_whose_names_are_taken_are_found_again() -> None:
    targets = [NumberTarget(name="row"), CategoryTarget(name="id"), CategoryTarget(name="y")]
    classes = {"id": ("a", "predicted"), "y": ("predicted", "predicted_")}
    names = held_out_columns(targets, classes)
    assert (names.id, names.row, names.fold) == ("id", "row", "fold")
    assert names.label == {"row": "row_", "id": "id_", "y": "y"}
    assert names.predicted == {"row": "row:predicted", "id": "id:predicted", "y": "y:predicted"}
    assert names.chances == {
        "row": (),
        "id": ("id:a", "id:predicted_"),
        "y": ("y:predicted_", "y:predicted__"),
    }
    columns = {
        "id": ["p", "q"], "row": [60, 7], "row_": [0.5, 1.0], "row:predicted": [0.5, 3.0],
        "id_": ["a", "predicted"], "id:predicted": ["a", "a"],
        "id:a": [0.9, 0.8], "id:predicted_": [0.1, 0.2],
    }  # fmt: skip
    number = evaluate_target(columns, targets[0], (), names)
    assert number is not None and number.loss.tolist() == [0.0, 2.0]
    one = evaluate_target(columns, targets[1], classes["id"], names)
    assert one is not None and one.right.tolist() == [True, False]
    assert one.loss == pytest.approx(-np.log([0.9, 0.2]))
    assert {row for row, _ in representative_rows(columns, targets, classes, 6)} <= {"p", "q"}
