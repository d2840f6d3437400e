"""Parts of a page agree with the numbers that they show, of few classes and of very many."""

from __future__ import annotations

import math

import numpy as np

from tenfold.engine.schedule import one_cycle
from tenfold.reports.html import Cell, Clickable, Grid
from tenfold.reports.parts import (
    calibration_charts,
    confusion_part,
    curve_charts,
    memory_parts,
    rate_chart,
    scores_grid,
)
from tenfold.runs.heldout import evaluate_target
from tenfold.runs.record import RunRecord
from tenfold.schema import CategoryTarget, MultiLabelTarget, NumberTarget
from tenfold.targets.base import TargetStats
from tenfold.targets.kinds import kind_of


def judged(classes: int, rows: int = 400, seed: int = 0):
    rng = np.random.default_rng(seed)
    names = [f"class {one}" for one in range(classes)]
    chance = rng.dirichlet(np.ones(classes) * 0.1, rows)
    labels = [names[rng.choice(classes, p=one)] for one in chance]
    labels[0] = None
    columns = {"id": [f"r{row}" for row in range(rows)], "y": labels}
    columns |= {"y:predicted": [names[one] for one in chance.argmax(1)]}
    columns |= {f"y:{name}": chance[:, place] for place, name in enumerate(names)}
    return evaluate_target(columns, CategoryTarget(name="y"), names), columns["id"]


def test_a_matrix_counts_every_labelled_row_once() -> None:
    one, ids = judged(4)
    [part] = confusion_part(one, ids)
    assert isinstance(part, Clickable)
    counts = [[int(cell.text or 0) for cell in row[2:] if isinstance(cell, Cell)] for row in part.grid.rows]
    assert sum(map(sum, counts)) == 399
    right = sum(counts[place][place] for place in range(4))
    assert right == one.right.sum()
    for key, rows in part.lists.items():
        label, guess = map(int, key.split(":"))
        assert len(rows) == min(counts[label][guess], 50)
        assert {(row[1], row[2]) for row in rows} == {(f"class {label}", f"class {guess}")}
        losses = [float(row[4]) for row in rows]
        assert losses == sorted(losses, reverse=True)


def test_what_is_right_of_a_label_stands_beside_it_and_long_names_are_cut() -> None:
    one, ids = judged(4)
    [part] = confusion_part(one, ids)
    assert list(part.grid.headings[:3]) == ["label", "right", "class 0"] and 0 < part.grid.cut < 60
    own = (one.codes == 0) & one.known
    assert part.grid.rows[0][1].text == f"{one.right[own].mean():.0%}" and not part.grid.upright


def test_of_very_many_classes_the_worst_pairs_are_shown() -> None:
    one, ids = judged(120, rows=3000)
    [part] = confusion_part(one, ids)
    assert len(part.grid.headings) == 5 and 1 <= len(part.grid.rows) <= 40
    wrong = [int(row[2].text) for row in part.grid.rows]
    assert wrong == sorted(wrong, reverse=True) and wrong[0] >= 1
    assert all(row[2].key in part.lists for row in part.grid.rows)


def test_tags_are_counted_one_by_one() -> None:
    columns = {
        "id": list("abcd"), "t": ["x;y", "x", "", "y"], "t:predicted": ["x", "x;y", "x", "y"],
        "t:x": [0.9, 0.9, 0.9, 0.1], "t:y": [0.2, 0.9, 0.1, 0.9],
    }  # fmt: skip
    one = evaluate_target(columns, MultiLabelTarget(name="t", separator=";"), ("x", "y"))
    [part] = confusion_part(one, columns["id"])
    assert [[cell.text for cell in row[1:]] for row in part.grid.rows] == [
        ["2", "0", "0", "1"],
        ["1", "1", "1", "0"],
    ]
    assert len(calibration_charts(one)) == 1


def test_a_number_is_a_cloud_of_points() -> None:
    columns = {"id": ["a", "b"], "n": [1.0, None], "n:predicted": [1.5, 2.0]}
    one = evaluate_target(columns, NumberTarget(name="n"), ())
    [part] = confusion_part(one, columns["id"])
    assert [*part.charts[0].lines[0].names] == ["a"] and not calibration_charts(one)


def test_a_numbers_validation_loss_is_counted_in_its_deviation() -> None:
    history = [
        {"epoch": epoch, "train": {"age": {"loss": 1.0}}, "valid": {"age": {"rmse": 6.0 - 2 * epoch}}}
        for epoch in range(2)
    ]
    without, _ = curve_charts(history, ["age"])
    chart, _ = curve_charts(
        history, ["age"], {"age": kind_of(NumberTarget(name="age"), (), TargetStats(deviation=2.0))}
    )
    assert [line.name for line in without.lines] == ["training"]
    assert [line.name for line in chart.lines] == ["training", "validation"]
    assert list(np.asarray(chart.lines[1].y)) == [9, 4]


def test_curves_of_epochs_with_and_without_validation() -> None:
    history = [
        {"epoch": epoch, "stage": "all", "steps": 5 * (epoch + 1), "train": {"y": {"loss": 1 / (epoch + 1)}},
         "valid": {"y": {"log_loss": 0.5, "error_rate": math.nan}} if epoch else {},
         "task_weights": {"y": 1.0 + epoch}}
        for epoch in range(3)
    ]  # fmt: skip
    charts = curve_charts(history, ["y"])
    assert len(charts) == 3 and charts[0].lines[1].name == "validation"
    assert "learnt weights" in charts[2].title
    recipe = {"lr": 0.1, "warmup": 0.2, "epochs": 3, "frozen_epochs": 0}
    [line] = rate_chart(history, recipe).lines
    assert list(np.asarray(line.y)) == [0.1 * one_cycle(step, 15, warmup=0.2) for step in range(15)]
    assert rate_chart([], recipe) is None and rate_chart(history, {}) is None


def test_scores_and_memory_in_words() -> None:
    grid = scores_grid({"y": {"error_rate": 0.125, "scored": 8, "labels": {}}, "n": {"rmse": math.nan}})
    assert [row[-1].text for row in grid.rows] == ["12.50%", "8", "no labels"]
    counted = scores_grid({"y": {"scored": 8, "unscored": 0}, "z": {"scored": 7, "unscored": 1}})
    assert [row[1] for row in counted.rows] == ["scored", "scored", "unscored"]
    plan = {"micro_batch": 8, "accumulation": 4, "predicted_bytes": 2**30, "measured_bytes": 2**30 * 1.1,
            "band_bytes": [2**29, 2**31], "parts": {"weights": 2**28, "nothing": 0}}  # fmt: skip
    parts = memory_parts(RunRecord({"plan": plan, "peak_bytes": 2**30}), ())
    text = str(parts)
    assert "8 x 4" in text and "+10.0%" in text and "1.10 GiB" in text and "nothing'" not in text
    assert all(isinstance(part, Grid) for part in parts)
    assert memory_parts(RunRecord({}), ()) == ()
