"""Charts are plain pictures: escaped, whole, and true to their numbers."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from tenfold.reports.charts import (
    COLOURS,
    HEIGHT,
    WIDTH,
    Line,
    line_chart,
    nice_ticks,
    point_chart,
    reliability_chart,
    tick_texts,
)
from tenfold.reports.page import STYLE

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
