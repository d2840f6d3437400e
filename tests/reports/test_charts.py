"""Charts are plain pictures: escaped, whole, and true to their numbers."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from tenfold.reports.charts import (
    COLOURS,
    HEIGHT,
    MARK,
    TOP,
    WIDTH,
    Line,
    course_charts,
    line_chart,
    memory_chart,
    nice_ticks,
    point_chart,
    power_ticks,
    rates_chart,
    reliability_chart,
    tick_texts,
    time_ticks,
    tuning_chart,
)
from tenfold.reports.page import STYLE
from tenfold.runs.history import Recorded

BAD = '<img src=x onerror="alert(1)">&lt;\ud83d'


def parsed(chart: str) -> ElementTree.Element:
    return ElementTree.fromstring(chart)  # a stray < or & would be no XML


def test_ticks_are_round_and_within() -> None:
    assert nice_ticks(0, 1) == [0, 0.25, 0.5, 0.75, 1]
    assert nice_ticks(0, 97) == [0, 20, 40, 60, 80]
    assert nice_ticks(-0.003, 0.0011) == [-0.003, -0.002, -0.001, 0, 0.001]
    assert nice_ticks(2, 2) == [2] and nice_ticks(float("nan"), 1) == []


def test_ticks_that_are_near_each_other_have_the_digits_that_tell_them_apart() -> None:
    assert tick_texts([1.386, 1.3861, 1.3862]) == ["1.386", "1.3861", "1.3862"]
    assert tick_texts([0, 0.25, 0.5]) == ["0", "0.25", "0.5"] and tick_texts([]) == []
    chart = line_chart([Line("a", [1, 2], [1.38612, 1.38631])], title="t", x_name="x")
    texts = [one.text for one in parsed(chart).iter("text")]
    assert len(texts) == len({*texts})


def test_lines_have_gaps_where_nothing_is_known() -> None:
    y = [1.0, 2.0, np.nan, 4.0, 5.0, np.nan, 7.0]
    chart = parsed(line_chart([Line("a", range(7), y, dots=True)], title="t", x_name="x"))
    lines = [one.get("points").split() for one in chart.iter("polyline")]
    assert [len(one) for one in lines] == [2, 2]
    assert len(list(chart.iter("circle"))) == 5
    for point in lines[0]:
        x, y_place = (float(one) for one in point.split(","))
        assert 0 <= x <= WIDTH and 0 <= y_place <= HEIGHT


def test_higher_is_up_and_later_is_right() -> None:
    chart = parsed(line_chart([Line("a", [1, 2], [1.0, 3.0])], title="t", x_name="x", zero=True, whole=True))
    (x0, y0), (x1, y1) = (
        map(float, one.split(",")) for one in next(chart.iter("polyline")).get("points").split()
    )
    assert x1 > x0 and y1 < y0


@pytest.mark.parametrize("count", [0, 1, 3])
def test_few_points_or_none(count: int) -> None:
    values = np.arange(count, dtype=float)
    parsed(line_chart([Line("a", values, values)], title="t", x_name="x"))
    parsed(point_chart(np.zeros((count, 2)), ["n"] * count, title="t", axes=("a", "b")))


def test_many_lines_can_be_told_apart_in_light_and_in_dark() -> None:
    lines = [Line(f"l{place}", [1, 2], [1, place], dashed=place == 29) for place in range(30)]
    chart = parsed(line_chart(lines, title="t", x_name="x"))
    looks = [one.get("class") for one in chart.iter("polyline")]
    keys = [one.get("class") for one in chart.iter("i")]
    assert len({*looks}) == 30 and [one.replace("k", "c", 1) for one in keys] == looks
    light, dark = STYLE.split("prefers-color-scheme: dark")
    for part in (light, dark.split("}")[0]):
        colours = [
            np.array([int(one[at : at + 2], 16) for at in (0, 2, 4)], dtype=float)
            for one in re.findall(r"--c\d: #([0-9a-f]{6})", part)
        ]
        assert len(colours) == COLOURS == 10
        apart = [np.linalg.norm(a - b) for at, a in enumerate(colours) for b in colours[:at]]
        assert min(apart) > 40
    for place in range(COLOURS):
        assert f".c{place} {{ stroke: var(--c{place}); }}" in STYLE and f".k{place} {{" in STYLE


def test_a_long_line_is_thinned() -> None:
    chart = parsed(line_chart([Line("a", range(100_000), np.arange(1e5))], title="t", x_name="x"))
    assert len(next(chart.iter("polyline")).get("points").split()) <= 400


def test_names_stay_text_wherever_they_stand() -> None:
    charts = [
        line_chart([Line(BAD, [1], [1]), Line("b", [1], [2])], title=BAD, x_name=BAD, y_name=BAD),
        point_chart([[0, 0], [1, 1]], [BAD, "b"], title=BAD, axes=(BAD, BAD), notes=[BAD, ""], sizes=[1, 2]),
        reliability_chart([0.5], [0.4], [3], title=BAD, error=0.1),
    ]
    for chart in charts:
        assert "<img" not in chart and not any(one.tag == "img" for one in parsed(chart).iter())
    points = list(parsed(charts[1]).iter("circle"))
    assert points[0].get("data-name") == BAD.replace("\ud83d", "?")


def test_a_bar_is_as_high_as_its_rows_are_right() -> None:
    chart = parsed(reliability_chart([np.nan, 0.6], [np.nan, 0.5], [0, 4], title="t", error=0.1))
    bars = list(chart.iter("rect"))
    assert (
        len(bars) == 1
        and "50.0% right" in bars[0].find("title").text
        and "0.100" in chart.find("figcaption").text
    )


def test_a_diagonal_has_equal_ends() -> None:
    chart = parsed(point_chart([[0, 5], [10, 20]], ["a", "b"], title="t", axes=("l", "a"), diagonal=True))
    assert sum("dashed" in (one.get("class") or "") for one in chart.iter("line")) == 1


def texts_of(chart: ElementTree.Element, kind: str = "text") -> list[str]:
    return [text.text or "" for text in chart.iter("text") if kind == "text" or text.get("class") == kind]


def marked(chart: ElementTree.Element) -> list[float]:
    """Where upright marks stand."""
    return [float(line.get("x1", "")) for line in chart.iter("line") if line.get("class") == "mark"]


def polygon(area: ElementTree.Element) -> list[tuple[float, ...]]:
    return [tuple(map(float, point.split(","))) for point in area.get("points", "").split()]


def test_a_long_line_keeps_its_ends_its_highest_and_its_lowest() -> None:
    values = np.full(100_000, 2.0)
    values[[0, 33_333, 66_667, -1]] = 1.0, 9.0, -5.0, 3.0
    chart = parsed(line_chart([Line("a", range(len(values)), values)], title="t", x_name="x"))
    points = polygon(next(chart.iter("polyline")))
    ups = [up for _, up in points]
    assert len(points) <= 400 and ups.count(min(ups)) == ups.count(max(ups)) == 1
    assert points[0][1] != points[1][1] and points[-1][1] != points[-2][1]


def test_ticks_of_powers_and_of_times() -> None:
    assert power_ticks(-3.2, -0.9) == [(-3.0, "1e-3"), (-2.0, "1e-2"), (-1.0, "1e-1")]
    assert len(power_ticks(-20, 1)) <= 7
    assert time_ticks(0, 7200) == [(0, "00:00"), (3600, "01:00"), (7200, "02:00")]
    assert time_ticks(80_000, 90_000)[0] == (82_800, "01-01 23:00")
    assert [text for _, text in time_ticks(0, 5 * 86400)] == [f"1970-01-0{day}" for day in range(1, 6)][::2]
    for years in (1, 20):
        assert 1 <= len(time_ticks(1e9, 1e9 + years * 3.15e7)) <= 5


def test_a_rate_curve_has_powers_of_ten_and_a_mark_at_the_steepest_fall() -> None:
    chart = parsed(rates_chart([1e-4, 1e-3, 1e-2], [2.0, 1.0, 3.0], 1e-3))
    across = [point[0] for point in polygon(next(chart.iter("polyline")))]
    assert marked(chart) == [across[1]] and across[1] - across[0] == pytest.approx(across[2] - across[1])
    assert {"1e-4", "1e-3", "1e-2", "steepest: 1.0e-03"} <= set(texts_of(chart))


def test_memory_is_stacked_by_kind_and_kinds_without_bytes_are_left_out() -> None:
    held = {"weights": np.array([2**20, 2**20]), "none": np.zeros(2, int), "gradients": np.array([0, 2**21])}
    chart = parsed(memory_chart(held, np.array([2**20, 2**22]), ((1, "backward"),), "net"))
    weights, gradients = map(polygon, chart.iter("polygon"))
    assert weights[:2] == gradients[:-3:-1]  # the second lies on the first
    assert gradients[0] == weights[0] and gradients[1][1] < weights[1][1]
    reserved = polygon(next(chart.iter("polyline")))
    assert reserved[1][1] < gradients[1][1] and reserved[0][1] == weights[0][1]
    assert "backward" in texts_of(chart) and "none" not in "".join(chart.itertext())


def test_the_highest_point_of_a_long_stack_is_drawn() -> None:
    lower, upper = np.ones(50_000), np.ones(50_000)
    lower[20_001], upper[20_001] = 50, 50
    lines = [Line(name, range(50_000), y, filled=True) for name, y in (("a", lower), ("b", upper))]
    chart = parsed(line_chart(lines, title="t", x_name="x", zero=True))
    a, b = map(polygon, chart.iter("polygon"))
    tops = [min(up for _, up in area) for area in (a, b)]
    base = max(up for _, up in a)
    assert (base - tops[1]) / (base - tops[0]) == pytest.approx(2, rel=0.01)


def test_words_above_marks_stand_over_each_other_where_they_would_touch() -> None:
    line = Line("a", [0, 100], [0, 1])
    marks = [(10, "first word"), (11, "second word"), (90, "far"), (10.5, "third word"), (10.2, "no room")]
    chart = parsed(line_chart([line], title="t", x_name="x", marks=marks))
    heights = {text.text: float(text.get("y", "")) for text in chart.iter("text")}
    assert heights["first word"] == heights["far"] == heights["second word"] + MARK
    assert "no room" not in heights and len(marked(chart)) == 5 and min(heights.values()) > 0
    assert TOP + 3 * MARK - 4 == heights["first word"]


def test_a_tuning_has_room_for_0_and_a_dot_per_seed() -> None:
    values, scores = [0.0, 0.01, 0.1], [[1.0, 1.2], [0.8, 0.9], [2.0, float("nan")]]
    drawn = tuning_chart(values, scores, best=0.01, recipe_value=0.1, labels=("weight decay", BAD))
    chart = parsed(drawn)
    mean = polygon(next(chart.iter("polyline")))
    assert len(mean) == 2 and mean[1][0] in marked(chart)
    dots = [dot for dot in chart.iter("circle") if "c1" in (dot.get("class") or "")]
    assert len(dots) == 5 and "<img" not in drawn
    ticks = texts_of(chart, "tick")
    assert {"0", "0.01", "0.1", "best 0.01", "recipe 0.1"} <= set(ticks)


def test_ticks_that_would_touch_are_left_out() -> None:
    drawn = tuning_chart(
        [0.1, 0.12, 1.0], [[1.0], [1.1], [2.0]], best=0.1, recipe_value=0.12, labels=("x", "y")
    )
    chart = parsed(drawn)
    bottom = max(float(text.get("y", "")) for text in chart.iter("text") if text.get("class") == "tick")
    at_bottom = [text.text for text in chart.iter("text") if float(text.get("y") or 0) == bottom]
    assert at_bottom == ["0.1", "1"]
    above = {text.text: text.get("y") for text in chart.iter("text") if " 0.1" in (text.text or "")}
    assert set(above) == {"best 0.1", "recipe 0.12"} and len(set(above.values())) == 2


def test_a_tuning_with_one_seed_is_a_line() -> None:
    chart = parsed(tuning_chart([0.0], [[1.0]], best=0.0, recipe_value=None, labels=("x", "y")))
    assert len(list(chart.iter("circle"))) == 1 and not list(chart.iter("i"))


def test_a_course_has_its_best_so_far_and_the_leaderboard_apart() -> None:
    days = [f"2026-01-0{day}T10:00:00Z" for day in (1, 2, 3)]
    runs = [
        Recorded(name, "", day, "network", "", {}, "", {}, score, 1.0, 1, changed=changed, leaderboard=board)
        for name, day, score, changed, board in (
            ("c", days[2], 0.3, (BAD,), ()), ("b", days[1], 0.2, ("lr",), (0.1, 0.9)),
            ("a", days[0], 0.5, (), ()), ("d", "never", 0.1, (), ()), ("e", days[0], math.nan, (), ()),
        )
    ]  # fmt: skip
    charts = course_charts(runs)
    scores, board = map(parsed, charts)
    line, best = (polygon(line) for line in scores.iter("polyline"))
    assert len(line) == 3 and [up for _, up in best] == [line[0][1]] * 2 + [line[1][1]] * 3
    names = [dot.get("data-name") for dot in scores.iter("circle")]
    assert names[1] == "no target: 0.2 by b, 2026-01-02T10:00:00Z. lr" and "<img" not in charts[0]
    assert [dot.get("data-name") for dot in board.iter("circle")] == [names[1].replace("0.2", "0.9")]
    assert {"01-02 00:00", "finished (UTC)"} <= set(texts_of(scores)) and course_charts([]) == []
