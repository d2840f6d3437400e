"""Figures as plotly draws them. The only plotting room."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tenfold.out.files import replacing

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def rate_figure(rates: Sequence[float], losses: Sequence[float], steepest: float) -> Figure:
    """Loss over the logarithm of the learning rate, with a line at the steepest fall."""
    from plotly.graph_objects import Figure, Scatter

    figure = Figure(Scatter(x=list(rates), y=list(losses), mode="lines", name="loss"))
    figure.add_vline(x=steepest, line_dash="dot", annotation_text=f"steepest: {steepest:.1e}")
    figure.update_layout(template="plotly_white", title="Loss while the learning rate grows")
    figure.update_xaxes(type="log", title="learning rate of the head", exponentformat="power")
    figure.update_yaxes(title="smoothed loss, all targets")
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
    page = figure.to_html(include_plotlyjs=True, full_html=True)
    with replacing(path) as stream:
        stream.write(page.encode())
