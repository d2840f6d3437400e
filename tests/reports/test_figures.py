"""Figures hold the numbers they are given, and show names letter by letter."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from tenfold.reports.figures import (
    escaped,
    figure_html,
    map_figure,
    memory_figure,
    rate_figure,
    tuning_figure,
    write_figure,
)


def test_a_rate_curve_has_its_points_and_a_line_at_the_steepest_fall(tmp_path) -> None:
    figure = rate_figure([1e-4, 1e-3, 1e-2], [2.0, 1.0, 3.0], 5e-4)
    assert figure.data[0].x == (1e-4, 1e-3, 1e-2) and figure.data[0].y == (2.0, 1.0, 3.0)
    assert figure.layout.shapes[0].x0 == 5e-4 and figure.layout.xaxis.type == "log"
    # plotly wants the place of words on such an axis as a logarithm.
    label = figure.layout.annotations[0]
    assert label.x == pytest.approx(np.log10(5e-4)) and label.text == "steepest: 5.0e-04"
    write_figure(figure, tmp_path / "curve.html")
    page = (tmp_path / "curve.html").read_text("utf-8")
    assert "<script src=" not in page and "Plotly.newPlot(" in page


def test_memory_is_stacked_by_kind_and_kinds_without_bytes_are_left_out() -> None:
    held = np.array([[2**20, 0, 0], [2**20, 0, 2**21]])
    line = SimpleNamespace(
        kinds=("weights", "none", "gradients"),
        held=held,
        reserved=np.array([2**20, 2**22]),
        phases=((1, "b"),),
    )
    figure = memory_figure(line, "net")
    assert [one.name for one in figure.data] == ["weights", "gradients", "reserved"]
    assert figure.data[1].y == (0, 2) and figure.data[2].y == (1, 4)


def test_items_lie_where_they_are_put_and_the_most_rated_are_largest() -> None:
    figure = map_figure(np.array([[0.0, 2.0], [1.0, -1.0]]), ["a", "b"], [9, 1], (0.6, 0.4))
    assert figure.data[0].x == (0.0, 1.0) and figure.data[0].y == (2.0, -1.0)
    assert figure.data[0].marker.size[0] > figure.data[0].marker.size[1]
    assert "60%" in figure.layout.xaxis.title.text and "40%" in figure.layout.yaxis.title.text


def test_a_part_of_a_page_has_the_program_only_where_asked() -> None:
    figure = map_figure(np.eye(2), ["a", "b"], [1, 1], (0.5, 0.5))
    alone, part = figure_html(figure, program=True), figure_html(figure, program=False)
    assert len(alone) > 1_000_000 > 20_000 > len(part)
    assert "<html" not in part


def test_hover_texts_are_escaped_for_the_figures_own_markup() -> None:
    # The figure reads tags and entities in its labels, so what is meant by the letter is escaped.
    assert escaped("<b>&lt;</b>") == "&lt;b&gt;&amp;lt;&lt;/b&gt;"
    assert escaped('Don\'t "look"') == 'Don\'t "look"'
    figure = map_figure(np.array([[0.0, 0.0], [1.0, 1.0]]), ["<b>a</b>", "\ud83d"], [3, 1], (0.6, 0.4))
    assert figure.data[0].hovertext[0] == "&lt;b&gt;a&lt;/b&gt;<br>3 ratings"
    assert figure.data[0].text[0] == "&lt;b&gt;a&lt;/b&gt;"
    assert figure.data[0].hovertext[1] == "?<br>1 ratings"


def test_names_are_written_only_where_they_cover_no_other() -> None:
    place = np.array([[0.0, 0.0], [0.001, 0.0], [1.0, 1.0]])
    figure = map_figure(place, ["first", "second", "third"], [3, 2, 1], (1.0, 0.0))
    assert list(figure.data[0].text) == ["first", "", "third"]


def test_a_tuning_has_a_place_for_nought_and_a_dot_per_seed() -> None:
    values, scores = [0.0, 0.01, 0.1], [[1.0, 1.2], [0.8, 0.9], [2.0, float("nan")]]
    drawn = tuning_figure(values, scores, best=0.01, own=0.1, labels=("weight decay", "<b>rmse"))
    line, dots = drawn.data
    assert list(line.x) == [-3.0, -2.0, -1.0] and line.y[0] == 1.1
    assert len(dots.x) == 6
    assert list(drawn.layout.xaxis.ticktext) == ["0", "0.01", "0.1"]
    assert "&lt;b&gt;" in drawn.layout.yaxis.title.text
    assert {one.text for one in drawn.layout.annotations} == {"best 0.01", "recipe 0.1"}
    assert drawn.layout.xaxis.zeroline is False  # the logarithm of 1 is no nought


def test_the_recipes_value_beside_another_is_named_once() -> None:
    drawn = tuning_figure([0.1, 0.12, 1.0], [[1.0], [1.1], [2.0]], best=0.1, own=0.12, labels=("x", "y"))
    assert list(drawn.layout.xaxis.ticktext) == ["0.1", "", "1"]
    above = {one.text: one.yshift for one in drawn.layout.annotations}
    assert set(above) == {"best 0.1", "recipe 0.12"} and len(set(above.values())) == 2


def test_a_tuning_with_one_seed_is_a_line() -> None:
    drawn = tuning_figure([0.0], [[1.0]], best=0.0, own=None, labels=("x", "y"))
    assert len(drawn.data) == 1
