"""What the page of many runs says of its members."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tenfold.reports.html import Cell, Charts, Grid
from tenfold.reports.members import (
    contributions_section,
    leave_out,
    member_charts,
    member_memory,
    members_section,
    ways_grid,
    what_it_is_of,
)
from tenfold.runs.folder import file_digest
from tenfold.runs.record import RunRecord

HISTORY = [
    {"epoch": 0, "train": {}, "valid": {"size": {"log_loss": 0.7}, "age": {"rmse": 3.0}}},
    {"epoch": 1, "train": {}, "valid": {"size": {"log_loss": 0.4}, "age": {"rmse": 2.0}}},
]


def bundle(folder: Path) -> RunRecord:
    """An ensemble of two members, of which one has two folds, and one fold is gone."""
    for name, plan in (("a", {}), ("b-fold1", {"micro_batch": 8, "accumulation": 4})):
        path = folder / "members" / name
        path.mkdir(parents=True)
        plan |= {"predicted_bytes": 2**31, "measured_bytes": 2**30} if plan else {}
        about = {"plan": plan, "peak_bytes": 3 * 2**29, "identity": {"recipe": {"arch": f"net_{name[0]}"}}}
        (path / "run.json").write_text(json.dumps(about), encoding="utf-8")
        lines = "".join(json.dumps(one) + "\n" for one in HISTORY)
        (path / "history.jsonl").write_text(lines, encoding="utf-8")
    members = [
        {"name": "a", "weight": 1, "runs": [{"path": "members/a"}], "scores": {"size": {"log_loss": 0.4}}},
        {"name": "b", "weight": 2, "runs": [{"path": "members/b-fold1"}, {"path": "members/b-fold2"}]},
    ]
    values = {
        "members": members,
        "weights": {"size": {"a": 0.25, "b": 0.75}, "age": {"a": 1.0}},
        "targets": {"size": {"log_loss": 0.3}},
        "blends": {
            "size": {
                "weights": {"weights": {"a": 0.33, "b": 0.67}, "loss": 0.35},
                "greedy": {"weights": {"a": 0.25, "b": 0.75}, "loss": 0.3},
            },
            "age": {"weights": {"weights": {"a": 1.0}, "loss": None}},
        },
    }
    return RunRecord(values)


def texts(grid: Grid) -> list[list[str]]:
    return [[cell.text if isinstance(cell, Cell) else cell for cell in row] for row in grid.rows]


def test_members_have_their_weights_scores_and_curves(tmp_path: Path) -> None:
    section = members_section(bundle(tmp_path), tmp_path)
    table, ways, charts = section.parts
    assert isinstance(table, Grid) and isinstance(ways, Grid) and isinstance(charts, Charts)
    assert table.headings[2] == "weight: size, age" and "scores above" in section.text
    assert [row[:4] for row in texts(table)] == [
        ["a", "finished", "0.250, 1.000", "0.4000"],
        ["b", "finished", "0.750", ""],
    ]
    assert texts(ways) == [
        ["size", "weights", "0.3500", "a 0.33, b 0.67"],
        ["", "greedy", "0.3000", "a 0.25, b 0.75"],
    ]
    assert len(charts.charts) == 2 and charts.charts[0].title == "size: loss on validation rows"


def test_one_way_of_blending_is_no_choice() -> None:
    assert ways_grid({"size": {"weights": {"weights": {"a": 1.0}, "loss": 1.0}}}) is None


def test_curves_are_those_of_members_that_held_rows_out() -> None:
    assert member_charts({"a": [{"epoch": 0, "train": {}}]}) == []
    one, two = member_charts({"a": HISTORY, "<b>": HISTORY, "c": [{"epoch": 0, "valid": {"size": {}}}]})
    assert "size" in one.title and "age" in two.title
    assert [line.name for line in one.lines] == ["a", "<b>"] and "<b>" not in one.data


def test_memory_stands_beside_its_plan_and_what_is_gone_is_left_out(tmp_path: Path) -> None:
    about = bundle(tmp_path)
    (grid,) = member_memory(about, tmp_path)
    assert isinstance(grid, Grid)
    assert texts(grid) == [
        ["a", "", "not planned", "1.50 GiB"],
        ["b-fold1", "8 x 4", "2.00 GiB", "1.00 GiB"],
    ]
    assert what_it_is_of(about, tmp_path) == "2 members (net_a, net_b)"
    assert member_memory(about, tmp_path / "elsewhere") == ()
    assert what_it_is_of(about, tmp_path / "elsewhere") == "2 members"


@pytest.mark.case("P4", "neighbour: a blend's page names members that are gone, damaged or other runs now")
def test_members_that_are_not_what_was_blended_are_named(tmp_path: Path) -> None:
    about: Any = {"members": []}
    for name in ("whole", "damaged", "gone"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text("{}")
        runs = [{"path": name, "sha256": file_digest(tmp_path / name / "run.json")}]
        about["members"].append({"name": name, "runs": runs})
    record = RunRecord(about)
    assert "any more" not in members_section(record, tmp_path).text
    (tmp_path / "damaged" / "run.json").write_bytes(b"\0\0")
    (tmp_path / "gone" / "run.json").unlink()
    assert "blended, any more: damaged, gone (" in members_section(record, tmp_path).text


def test_a_member_that_harms_is_marked_and_where_no_blend_is_left_nothing_is_said() -> None:
    found = leave_out(
        "y", "rmse", ["a", "b"], np.array([1.0, 0.0]), 5, lambda w: {"rmse": 1 + w[1] - w[0] / 2}
    )
    assert [(one.alone, one.without) for one in found.members] == [
        (0.5, pytest.approx(math.nan, nan_ok=True)),
        (2, 0.5),
    ]
    [section] = contributions_section([found], True)
    [grid] = section.parts
    assert isinstance(grid, Grid) and texts(grid)[0] == ["a", "1.000", "0.5000", "", ""]
    assert (
        texts(grid)[1][-1] == "+0.0000"
        and "flatters" in section.text
        and contributions_section([], True) == []
    )
    worse = leave_out("y", "rmse", ["a", "b"], np.array([0.5, 0.5]), 5, lambda w: {"rmse": w[1] / w.sum()})
    [grid] = contributions_section([worse], False)[0].parts
    assert [cell.bad for cell in (row[-1] for row in grid.rows[:2])] == [False, True]
