"""Charts are data: whole, true to their numbers, and text that stays text."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import numpy as np
import pytest

from tenfold.reports.charts import (
    COLOURS,
    MOST_POINTS,
    Chart,
    Line,
    course_charts,
    line_chart,
    memory_chart,
    point_chart,
    rates_chart,
    reliability_chart,
    tuning_chart,
)
from tenfold.reports.page import read_asset
from tenfold.runs.history import Recorded

BAD = '</script><img src=x onerror="alert(1)">&lt;\ud83d'


def drawn(chart: Chart) -> dict[str, Any]:
    """What the page's program reads, which must be JSON without NaN."""
    return json.loads(chart.data)


def test_lines_have_gaps_where_nothing_is_known() -> None:
    y = [1.0, 2.0, np.nan, 4.0, math.inf]
    [line] = drawn(line_chart([Line("a", range(5), y, dots=True)], title="t", x_name="x"))["series"]
    assert line["x"] == [0, 1, 2, 3, 4] and line["y"] == [1, 2, None, 4, None] and line["dots"]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_few_points_or_none(count: int) -> None:
    values = np.arange(count, dtype=float)
    [line] = drawn(line_chart([Line("a", values, values)], title="t", x_name="x"))["series"]
    assert len(line["x"]) == count and line.get("dots", False) == (count == 1)
    points = point_chart(np.zeros((count, 2)), ["n"] * count, title="t", axes=("a", "b"), diagonal=True)
    assert len(drawn(points)["series"][0]["x"]) == count


def test_an_axis_from_0_is_only_one_where_nothing_is_below() -> None:
    for low, zero in ((0.5, True), (-0.5, False)):
        chart = drawn(line_chart([Line("a", [1, 2], [low, 1.0])], title="t", x_name="x", zero=True))
        assert chart["y"].get("zero", False) == zero


def test_many_lines_can_be_told_apart_in_light_and_in_dark() -> None:
    lines = [Line(f"l{index}", [1, 2], [1, index]) for index in range(3 * COLOURS)]
    series = drawn(line_chart(lines, title="t", x_name="x"))["series"]
    assert len({(line["colour"] % COLOURS, line.get("dash", 0)) for line in series}) == 3 * COLOURS
    light, dark = read_asset("page.css").split("prefers-color-scheme: dark")
    for part in (light, dark.split("}")[0]):
        colours = [
            np.array([int(one[at : at + 2], 16) for at in (0, 2, 4)], dtype=float)
            for one in re.findall(r"--c\d: #([0-9a-f]{6})", part)
        ]
        assert len(colours) == COLOURS == 10
        apart = [np.linalg.norm(a - b) for at, a in enumerate(colours) for b in colours[:at]]
        assert min(apart) > 40


def test_names_stay_text_wherever_they_stand() -> None:
    charts = [
        line_chart([Line(BAD, [1], [1]), Line("b", [1], [2])], title=BAD, x_name=BAD, y_name=BAD),
        point_chart([[0, 0], [1, 1]], [BAD, "b"], title=BAD, axes=(BAD, BAD), notes=[BAD, ""], sizes=[1, 2]),
        reliability_chart([0.5], [0.4], [3], title=BAD, error=0.1),
    ]
    for chart in charts:
        assert "<" not in chart.data and "&" not in chart.data
    assert drawn(charts[1])["series"][0]["names"] == [BAD.replace("\ud83d", "?"), "b"]


def test_a_long_line_keeps_its_ends_its_highest_and_its_lowest() -> None:
    values = np.full(100_000, 2.0)
    values[[0, 33_333, 66_667, -1]] = 1.0, 9.0, -5.0, 3.0
    [line] = drawn(line_chart([Line("a", range(len(values)), values)], title="t", x_name="x"))["series"]
    kept = dict(zip(line["x"], line["y"], strict=True))
    assert len(kept) <= MOST_POINTS
    assert [kept[at] for at in (0, 33_333, 66_667, 99_999)] == [1, 9, -5, 3]


def test_a_bar_is_as_high_as_its_rows_are_right() -> None:
    chart = reliability_chart([np.nan, 0.6], [np.nan, 0.5], [0, 4], title="t", error=0.1)
    bars, points, diagonal = drawn(chart)["series"]
    assert bars["y"] == [None, 0.5] and bars["x"] == [0.25, 0.75] and points["x"] == [None, 0.6]
    assert bars["notes"] == ["", "4 rows: probability 60.0% on average, 50.0% right"]
    assert diagonal["x"] == diagonal["y"] == [0, 1] and "0.100" in chart.title


def test_a_diagonal_has_equal_ends() -> None:
    chart = drawn(point_chart([[0, 5], [10, 20]], ["a", "b"], title="t", axes=("l", "a"), diagonal=True))
    points, equal = chart["series"]
    assert points["kind"] == "points" and equal["x"] == equal["y"] == chart["x"]["ends"] == chart["y"]["ends"]
    assert chart["x"]["ends"][0] < 0 and chart["x"]["ends"][1] > 20


def test_a_rate_curve_has_powers_of_ten_and_its_mark_stands_at_the_rate() -> None:
    chart = drawn(rates_chart([1e-4, 1e-3, 1e-2], [2.0, 1.0, 3.0], 1e-3))
    assert chart["x"]["log"] and chart["series"][0]["x"] == [1e-4, 1e-3, 1e-2]
    assert chart["marks"] == [[1e-3, "steepest: 1.0e-03"]]


def test_memory_is_stacked_by_kind_above_the_process_under_the_budget() -> None:
    gib = 2**30
    held = {"weights": np.array([gib, gib]), "none": np.zeros(2, int), "gradients": np.array([0, 2 * gib])}
    reserved = np.array([gib, 4 * gib])
    chart = drawn(memory_chart(held, reserved, ((1, "backward"),), "net", budget=8 * gib, context=gib))
    process, weights, gradients, total = chart["series"]
    assert [line["name"] for line in chart["series"][:3]] == ["the process itself", "weights", "gradients"]
    assert process["y"] == weights["y"] == [1, 1] and gradients["y"] == [0, 2] and total["y"] == [2, 5]
    assert [line.get("fill", False) for line in chart["series"]] == [True, True, True, False]
    assert chart["marks"] == [[1, "backward"], [8, "budget 8 GiB", True]] and chart["y"]["ends"][1] > 8


def test_the_highest_point_of_a_long_stack_is_drawn() -> None:
    lower, upper = np.ones(50_000), np.ones(50_000)
    lower[20_001], upper[20_001] = 50, 50
    lines = [Line(name, range(50_000), y, filled=True) for name, y in (("a", lower), ("b", upper))]
    a, b = drawn(line_chart(lines, title="t", x_name="x", zero=True))["series"]
    assert a["x"] == b["x"] and len(a["x"]) <= MOST_POINTS and max(a["y"]) == max(b["y"]) == 50


def test_a_tuning_has_room_for_0_and_a_dot_per_seed() -> None:
    values, scores = [0.0, 0.01, 0.1], [[1.0, 1.2], [0.8, 0.9], [2.0, float("nan")]]
    chart = drawn(tuning_chart(values, scores, best=0.01, recipe_value=0.1, labels=("weight decay", BAD)))
    mean, seeds = chart["series"]
    assert mean["x"] == [-3, -2, -1] and mean["y"][2] is None and mean["y"][0] == pytest.approx(1.1)
    assert seeds["kind"] == "points" and len(seeds["x"]) == 6
    assert [text for _, text in chart["x"]["ticks"]] == ["0", "0.01", "0.1"]
    assert chart["marks"] == [[-2, "best 0.01"], [-1, "recipe 0.1"]]
    [line] = drawn(tuning_chart([0.0], [[1.0]], best=0.0, recipe_value=None, labels=("x", "y")))["series"]
    assert line["y"] == [1]


def test_a_course_has_its_best_so_far_the_leaderboard_apart_and_never_joins_other_rows() -> None:
    days = [f"2026-01-0{day}T10:00:00Z" for day in (1, 2, 3)]
    runs = [
        Recorded(
            name, "", day, "network", rows, {}, "", {}, score, 1.0, 1, changed=changed, leaderboard=board
        )
        for name, day, rows, score, changed, board in (
            ("c", days[2], "", 0.3, (BAD,), ()), ("b", days[1], "", 0.2, ("lr",), (0.1, 0.9)),
            ("a", days[0], "", 0.5, (), ()), ("d", "never", "", 0.1, (), ()),
            ("e", days[0], "", math.nan, (), ()), ("f", days[1], "other rows", 0.01, (), ()),
        )
    ]  # fmt: skip
    scores, board, other = map(drawn, course_charts(runs))
    points, best = scores["series"]
    assert points["names"] == ["a", "b", "c"] and points["y"] == [0.5, 0.2, 0.3]
    assert best["y"] == [0.5, 0.2, 0.2] and best["step"] and scores["x"]["time"]
    assert points["notes"][1] == "0.2, 2026-01-02T10:00:00Z. lr"
    assert [y for y in board["series"][0]["y"] if y is not None] == [0.9]
    assert other["series"][0]["names"] == ["f"] and other["series"][1]["plain"] and course_charts([]) == []
