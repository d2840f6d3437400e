"""Charts as plain SVG, a few kilobytes each: lines, reliability, points with names. No program draws them.

Every text that comes from outside is escaped here; colours are those of the page (`reports.html`), so that
they
follow light and dark.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tenfold.errors import printable

__all__ = ["Line", "line_chart", "point_chart", "reliability_chart"]

#: A chart's size in its own units: about pixels on a phone, so that its letters can be read there.
WIDTH, HEIGHT = 400, 250
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 14, 40
#: Points of a line that are drawn; a longer one is thinned.
MOST_POINTS = 400
#: Colours of lines (`reports.page`); beyond, they come again, dashed, and then dotted.
COLOURS = 10


@dataclass(frozen=True)
class Line:
    """A line of a chart; NaN values are gaps.  dots: mark its points.  dashed: for what is beside it."""

    name: str
    x: ArrayLike
    y: ArrayLike
    dots: bool = False
    dashed: bool = False


def _safe(text: str) -> str:
    return html.escape(printable(str(text).encode("utf-8", "replace").decode()), quote=True)


def nice_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers from low to high, at most so many."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return []
    if high <= low:
        return [low]
    step, first, last = 1.0, 0, -1
    power = 10.0 ** (math.floor(math.log10((high - low) / most)) - 1)
    for step in (one * power * scale for scale in (1, 10, 100) for one in (1, 2, 2.5, 5)):
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < most:
            break
    return [round(place * step, 12) for place in range(first, last + 1)]


def tick_texts(ticks: Sequence[float]) -> list[str]:
    """The ticks in as few digits, from four up, as tell them apart."""
    texts: list[str] = []
    for digits in range(4, 9):
        texts = [f"{value:.{digits}g}" for value in ticks]
        if len({*texts}) == len(texts):
            break
    return texts


@dataclass(frozen=True)
class _Frame:
    """Where numbers stand on the picture."""

    low_x: float
    high_x: float
    low_y: float
    high_y: float
    height: int = HEIGHT

    def x(self, value: Any) -> float:
        """Across, from the left."""
        span = self.high_x - self.low_x
        part = (value - self.low_x) / span if span > 0 else 0.5
        return round(LEFT + part * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: Any) -> float:
        """Down, from the top."""
        span = self.high_y - self.low_y
        part = (value - self.low_y) / span if span > 0 else 0.5
        return round(self.height - BOTTOM - part * (self.height - TOP - BOTTOM), 1)


def _axes(frame: _Frame, x_name: str, y_name: str, *, whole: bool = False) -> list[str]:
    found = []
    ticks = nice_ticks(frame.low_y, frame.high_y)
    for value, text in zip(ticks, tick_texts(ticks), strict=True):
        y = frame.y(value)
        found.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        found.append(f'<text class="tick" x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{text}</text>')
    for value in nice_ticks(frame.low_x, frame.high_x, 6):
        if whole and value != round(value):
            continue
        x = frame.x(value)
        end = frame.height - BOTTOM
        found.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{TOP}" y2="{end}"/>')
        found.append(f'<text class="tick" x="{x}" y="{end + 16}" text-anchor="middle">{value:.4g}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    found.append(
        f'<text class="axis" x="{middle}" y="{frame.height - 6}" text-anchor="middle">{_safe(x_name)}</text>'
    )
    if y_name:
        found.append(
            f'<text class="axis" transform="translate(12 {(TOP + frame.height - BOTTOM) / 2}) rotate(-90)" '
            f'text-anchor="middle">{_safe(y_name)}</text>'
        )
    return found


def _picture(parts: Sequence[str], title: str, height: int = HEIGHT) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{_safe(title)}">'
        f"<title>{_safe(title)}</title>{''.join(parts)}</svg>"
    )


def _range(values: Sequence[np.ndarray], *, pad: float = 0.05) -> tuple[float, float]:
    finite = np.concatenate([one[np.isfinite(one)] for one in values]) if values else np.zeros(0)
    if not len(finite):
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    space = (high - low) * pad or abs(high) * pad or 0.5
    return low - space, high + space


def _stroke(line: Line, place: int) -> str:
    """How a line is drawn, as a further class: whole, dashed or dotted."""
    return ("", " dashed", " dotted")[min(2, place // COLOURS + line.dashed)]


def line_chart(
    lines: Sequence[Line],
    *,
    title: str,
    x_name: str,
    y_name: str = "",
    zero: bool = False,
    whole: bool = False,
) -> str:
    """Lines over a common axis, with their names above.

    zero: the upward axis starts at 0 where no value is below.  whole: the other one counts things.
    """
    xs = [np.asarray(one.x, dtype=np.float64) for one in lines]
    ys = [np.asarray(one.y, dtype=np.float64) for one in lines]
    low_x, high_x = _range(xs, pad=0.0 if any(len(one) > 1 for one in xs) else 0.05)
    low_y, high_y = _range(ys)
    if zero and all((one[np.isfinite(one)] >= 0).all() for one in ys):
        low_y = 0.0
    frame = _Frame(low_x, high_x, low_y, high_y)
    parts = _axes(frame, x_name, y_name, whole=whole)
    for place, (one, x, y) in enumerate(zip(lines, xs, ys, strict=True)):
        keep = np.unique(np.linspace(0, len(x) - 1, min(len(x), MOST_POINTS)).astype(int)) if len(x) else []
        look = f"c{place % COLOURS}{_stroke(one, place)}"
        run: list[str] = []
        for at in [*keep, -1]:
            if at >= 0 and math.isfinite(y[at]):
                run.append(f"{frame.x(x[at])},{frame.y(y[at])}")
                continue
            if len(run) > 1:
                parts.append(f'<polyline class="{look}" points="{" ".join(run)}"/>')
            run = []
        for at in keep if one.dots or len(keep) == 1 else ():
            if math.isfinite(y[at]):
                label = f"{_safe(one.name)}: {y[at]:.4g} at {x[at]:.4g}"
                parts.append(
                    f'<circle class="dot {look}" cx="{frame.x(x[at])}" cy="{frame.y(y[at])}" r="3">'
                    f"<title>{label}</title></circle>"
                )
    keys = "".join(
        f'<span class="key"><i class="k{place % COLOURS}{_stroke(one, place)}"></i>{_safe(one.name)}</span>'
        for place, one in enumerate(lines)
    )
    caption = _safe(title) + (keys if len(lines) > 1 else "")
    return f"<figure><figcaption>{caption}</figcaption>{_picture(parts, title)}</figure>"


def reliability_chart(
    confidence: ArrayLike, right: ArrayLike, rows: ArrayLike, *, title: str, error: float
) -> str:
    """How often answers of each confidence are right, as bars beside the diagonal of the calibrated."""
    sure, share, count = (np.asarray(one, dtype=np.float64) for one in (confidence, right, rows))
    frame = _Frame(0.0, 1.0, 0.0, 1.0)
    parts = _axes(frame, "probability of the answer", "part that is right")
    width = (WIDTH - LEFT - RIGHT) / max(1, len(count))
    for place in np.flatnonzero(count > 0):
        x, y = round(LEFT + place * width + 1, 1), frame.y(share[place])
        label = (
            f"{int(count[place])} rows: probability {sure[place]:.1%} on average, {share[place]:.1%} right"
        )
        parts.append(
            f'<rect class="bar" x="{x}" y="{y}" width="{round(width - 2, 1)}" '
            f'height="{round(HEIGHT - BOTTOM - y, 1)}"><title>{label}</title></rect>'
            f'<circle class="dot c1" cx="{frame.x(sure[place])}" cy="{y}" r="3">'
            f"<title>{label}</title></circle>"
        )
    ends = [(frame.x(one), frame.y(one)) for one in (0.0, 1.0)]
    parts.append(f'<polyline class="c3 dashed" points="{" ".join(f"{x},{y}" for x, y in ends)}"/>')
    name = "" if error != error else f": expected calibration error {error:.3f}"
    return f"<figure><figcaption>{_safe(title + name)}</figcaption>{_picture(parts, title)}</figure>"


def point_chart(
    place: ArrayLike,
    names: Sequence[str],
    *,
    title: str,
    axes: tuple[str, str],
    sizes: ArrayLike | None = None,
    notes: Sequence[str] = (),
    diagonal: bool = False,
) -> str:
    """Points with a name each, which shows on hover and on touch; some are written where there is room.

    place: (points, 2).  sizes: any numbers from 0 on.  notes: what is said of a point after its name.
    diagonal: draw where both axes are equal, which then have the same ends.
    """
    at = np.asarray(place, dtype=np.float64).reshape(-1, 2)
    ends = [_range([at[:, axis]], pad=0.08) for axis in (0, 1)]
    if diagonal:
        both = _range([at.ravel()])
        ends = [both, both]
    height = HEIGHT if diagonal else 330
    frame = _Frame(*ends[0], *ends[1], height=height)
    parts = _axes(frame, *axes)
    if diagonal:
        parts.append(
            f'<line class="c3 dashed" x1="{frame.x(ends[0][0])}" x2="{frame.x(ends[0][1])}" '
            f'y1="{frame.y(ends[1][0])}" y2="{frame.y(ends[1][1])}"/>'
        )
    size = np.ones(len(at)) if sizes is None else np.asarray(sizes, dtype=np.float64)
    radius = 2.5 + 4.5 * np.sqrt(size / max(size.max(initial=0), 1e-12))
    for row in range(len(at)):
        extra = f' data-note="{_safe(notes[row])}"' if row < len(notes) else ""
        parts.append(
            f'<circle class="point" cx="{frame.x(at[row, 0])}" cy="{frame.y(at[row, 1])}" '
            f'r="{radius[row] if sizes is not None else 3:.1f}" data-name="{_safe(names[row])}"{extra}/>'
        )
    for row in [] if diagonal else _with_room(at, names, frame):
        short = names[row] if len(names[row]) <= 18 else names[row][:17] + "…"
        x = frame.x(at[row, 0])
        side = "end" if x > WIDTH * 0.8 else "start" if x < WIDTH * 0.2 else "middle"
        parts.append(
            f'<text class="label" x="{x}" y="{round(frame.y(at[row, 1]) - 7, 1)}" '
            f'text-anchor="{side}">{_safe(short)}</text>'
        )
    return f"<figure><figcaption>{_safe(title)}</figcaption>{_picture(parts, title, height)}</figure>"


def _with_room(at: np.ndarray, names: Sequence[str], frame: _Frame, most: int = 24) -> list[int]:
    """Points whose names can be written, so that none covers one before it."""
    written: list[tuple[float, float, float]] = []
    found = []
    for row in range(min(len(at), 300)):
        x, y = frame.x(at[row, 0]), frame.y(at[row, 1])
        half = min(len(names[row]), 18) * (3.2 if WIDTH * 0.2 <= x <= WIDTH * 0.8 else 6.0)
        if all(abs(x - a) > half + b or abs(y - c) > 12 for a, b, c in written):
            written.append((x, half, y))
            found.append(row)
        if len(found) == most:
            break
    return found
