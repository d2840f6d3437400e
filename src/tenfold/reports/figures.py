"""Figures as plotly draws them. The only plotting room."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import printable
from tenfold.files.atomic import replacing

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def rate_figure(rates: Sequence[float], losses: Sequence[float], steepest: float) -> Figure:
    """Loss over the logarithm of the learning rate, with a line at the steepest fall."""
    from plotly.graph_objects import Figure, Scatter

    figure = Figure(Scatter(x=list(rates), y=list(losses), mode="lines", name="loss"))
    figure.add_vline(x=steepest, line_dash="dot")
    # Words on an axis of logarithms stand at the logarithm; a line there stands at the value.
    figure.add_annotation(
        x=math.log10(steepest), y=1, yref="paper", text=f"steepest: {steepest:.1e}", showarrow=False
    )
    figure.update_layout(template="plotly_white", title="Loss while the learning rate grows")
    figure.update_xaxes(type="log", title="learning rate of the head", exponentformat="power")
    figure.update_yaxes(title="smoothed loss, all targets")
    return figure


def tuning_figure(
    values: Sequence[float],
    scores: Sequence[Sequence[float]],
    *,
    best: float,
    own: float | None,
    labels: tuple[str, str],
) -> Figure:
    """A score over the values of a setting: the mean as a line, every seed as a dot.

    values: ascending; nought stands one step left of the others, since a logarithm has no place for it.
    best, own: values to mark.  labels: of both axes.
    """
    from plotly.graph_objects import Figure, Scatter

    above = [value for value in values if value > 0]
    least = min(above, default=1.0)
    places = [math.log10(value if value > 0 else least / 10) for value in values]
    means = [float(np.mean(some)) for some in scores]
    figure = Figure(Scatter(x=places, y=means, mode="lines+markers", name="mean", line={"color": _DOT}))
    dots = [(place, one) for place, some in zip(places, scores, strict=True) for one in some]
    if len(dots) > len(values):
        marks = {"color": _INK, "size": 6, "opacity": 0.85}
        x, y = [list(one) for one in zip(*dots, strict=True)]
        figure.add_trace(Scatter(x=x, y=y, mode="markers", name="one seed", marker=marks))
    # Both words above the picture, one over the other, since the two values may be neighbours.
    for value, word, up in ((own, "recipe", 14), (best, "best", 0)):
        if value is not None and value in values:
            x = places[list(values).index(value)]
            figure.add_vline(x=x, line_dash="dot", line_color=_INK)
            label = {"text": f"{word} {value:g}", "showarrow": False, "yshift": up, "yanchor": "bottom"}
            figure.add_annotation(x=x, y=1, yref="paper", **label)
    figure.update_layout(
        template="none",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": _INK, "size": 12},
        margin={"l": 64, "r": 16, "t": 48, "b": 48},
        height=440,
        showlegend=len(dots) > len(values),
        legend={"orientation": "h", "x": 1, "xanchor": "right", "y": -0.2, "yanchor": "top"},
    )
    ticks = [f"{value:g}" for value in values]
    if own is not None and own in values:
        place = list(values).index(own)
        beside = [abs(places[place] - one) for one in places if one != places[place]]
        # The dotted line names it already, so a neighbour need not share its room.
        ticks[place] = ticks[place] if min(beside, default=1) > 0.5 else ""
    axis = {"gridcolor": _GRID, "zeroline": False, "automargin": True}
    title = {"text": escaped(labels[0]), "standoff": 12}
    figure.update_xaxes(title=title, tickvals=places, ticktext=ticks, **axis)
    figure.update_yaxes(title=escaped(labels[1]), **axis)
    return figure


def memory_figure(timeline: Any, title: str) -> Figure:
    """Bytes by kind over the events of one optimizer step, stacked, under what the allocator holds.

    timeline: kinds (names), held (events, kinds), reserved (events,), phases ((first event, name), ...).
    """
    from plotly.graph_objects import Figure, Scatter

    figure = Figure()
    events = list(range(len(timeline.reserved)))
    for place, kind in enumerate(timeline.kinds):
        held = (timeline.held[:, place] / 2**20).tolist()
        if any(held):
            figure.add_trace(Scatter(x=events, y=held, name=kind, stackgroup="held", line={"width": 0}))
    reserved = (timeline.reserved / 2**20).tolist()
    figure.add_trace(Scatter(x=events, y=reserved, name="reserved", line={"dash": "dot", "color": "black"}))
    for start, name in timeline.phases:
        figure.add_vline(x=start, line_width=1, line_color="lightgrey", annotation_text=name)
    figure.update_layout(
        template="plotly_white", title=f"Memory over one step: {title}", hovermode="x unified"
    )
    figure.update_xaxes(title="allocations and frees, in order")
    figure.update_yaxes(title="MiB")
    return figure


def write_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """One self-contained HTML file, which needs no network."""
    page = figure.to_html(include_plotlyjs=True, full_html=True, div_id=_mark(figure))
    with replacing(path) as stream:
        stream.write(page.encode())


#: A grey and a blue that are read on white and on black, since the page follows the reader's setting.
_INK, _GRID, _DOT = "#76808b", "rgba(128,136,149,0.25)", "#3d8fd1"


def map_figure(place: Any, names: Sequence[str], ratings: Sequence[int], share: Sequence[float]) -> Figure:
    """Items as dots on two directions of their factors, larger the more they are rated; names on hover.

    place: (items, 2).  share: part of the variance along each direction.  Names are written where there is
    room, those of the most rated items first.
    """
    from plotly.graph_objects import Figure, Scatter

    most = max([1, *ratings])
    written = [name if len(name) <= 24 else name[:23] + "…" for name in names]
    room = _with_room(np.asarray(place, dtype=np.float64), [len(one) for one in written])
    figure = Figure(
        Scatter(
            x=[float(one) for one in place[:, 0]],
            y=[float(one) for one in place[:, 1]],
            mode="markers+text",
            text=[escaped(one) if clear else "" for one, clear in zip(written, room, strict=True)],
            textposition="top center",
            textfont={"size": 10},
            hovertext=[
                f"{escaped(one)}<br>{count} ratings" for one, count in zip(names, ratings, strict=True)
            ],
            hoverinfo="text",
            marker={
                "size": [5 + 13 * (count / most) ** 0.5 for count in ratings],
                "color": _DOT,
                "opacity": 0.55,
                "line": {"width": 0},
            },
            cliponaxis=False,
        )
    )
    figure.update_layout(
        template="none",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": _INK, "size": 12},
        margin={"l": 48, "r": 16, "t": 16, "b": 48},
        height=560,
        showlegend=False,
    )
    for update, part, word in (
        (figure.update_xaxes, share[0], "first"),
        (figure.update_yaxes, share[1], "second"),
    ):
        update(title=f"{word} direction: {part:.0%} of the variance", gridcolor=_GRID, zerolinecolor=_GRID)
    return figure


def _with_room(place: NDArray[np.float64], letters: Sequence[int]) -> NDArray[np.bool_]:
    """Which labels can be written, so that none covers one before it, on a picture of 700 x 480 pixels."""
    span = np.ptp(place, axis=0) if len(place) else np.ones(2)
    at = (place / np.where(span > 0, span, 1)) * (700, 480)
    half = np.array(letters) * 3.0
    written: list[int] = []
    for one in range(min(len(at), 200)):
        away = np.abs(at[written] - at[one])
        if not ((away[:, 0] < half[written] + half[one]) & (away[:, 1] < 14)).any():
            written.append(one)
    clear = np.zeros(len(at), np.bool_)
    clear[written[:30]] = True
    return clear


def escaped(text: str) -> str:
    """A text as plotly shows it letter by letter: in labels it takes tags and entities for markup.

    Quotes stay, since it knows no entity for them; it puts labels into no attribute.
    """
    import html

    return html.escape(printable(text.encode("utf-8", "replace").decode()), quote=False)


def figure_html(figure: Figure, *, program: bool) -> str:
    """A figure as a part of a page, as wide as the page; with plotly's own program or without."""
    return figure.to_html(
        full_html=False,
        include_plotlyjs=program,
        include_mathjax=False,
        config={"responsive": True, "displayModeBar": False, "typesetMath": False},
        div_id=_mark(figure),
    )


def _mark(figure: Figure) -> str:
    """A name for a figure within its page, the same whenever it is drawn: plotly would draw lots."""
    return f"figure-{hashlib.sha256(str(figure.to_json()).encode()).hexdigest()[:16]}"


def course_figure(courses: Mapping[str, Any]) -> Figure:
    """Scores of runs over time, one line for each list of targets, and the best so far as a step.

    courses: targets -> times, scores, names, changes and leaderboard scores, in order of time.
    """
    from plotly.graph_objects import Figure, Scatter

    figure = Figure()
    for targets, course in courses.items():
        said = [f"{name}<br>{change}" for name, change in zip(course.names, course.changes, strict=True)]
        shown = {
            "x": course.times,
            "text": [one.replace("<br>", "\n") for one in said],
            "hoverinfo": "text+y",
        }
        figure.add_trace(Scatter(y=course.scores, mode="lines+markers", name=targets or "no target", **shown))
        best, lowest = [], float("inf")
        for score in course.scores:
            lowest = min(lowest, score) if score == score else lowest
            best.append(lowest if lowest < float("inf") else None)
        line = {"dash": "dot", "shape": "hv"}
        figure.add_trace(Scatter(x=course.times, y=best, mode="lines", name=f"{targets}: best", line=line))
        if any(one is not None for one in course.leaderboard):
            board = {"mode": "markers", "name": f"{targets}: leaderboard", "marker": {"symbol": "star"}}
            figure.add_trace(Scatter(y=course.leaderboard, yaxis="y2", **board, **shown))
            figure.update_layout(yaxis2={"overlaying": "y", "side": "right", "title": "leaderboard"})
    figure.update_layout(template="plotly_white", title="Scores of the runs over time")
    figure.update_xaxes(title="finished (UTC)")
    figure.update_yaxes(title="mean score on held-out rows (less is better)", selector={"anchor": "x"})
    return figure
