"""Charts as plain SVG, a few kilobytes each: lines, stacked areas, reliability, points with names.

Every text that comes from outside is escaped here; colours are those of the page (`reports.page`), so that
they follow light and dark.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tenfold.errors import printable
from tenfold.runs.history import Recorded

Floats = NDArray[np.float64]

#: A chart's size in its own units: about pixels on a phone, so that its letters can be read there.
WIDTH, HEIGHT = 400, 250
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 14, 40
#: Width of a letter of a tick or a mark; height of a line of marks, and lines of them at most.
LETTER, MARK, MOST_MARKS = 6.0, 12, 3
#: The most points of a line that are drawn; a longer line is thinned.
MOST_POINTS = 400
#: Colours of lines (`reports.page`); beyond, they come again, dashed, and then dotted.
COLOURS = 10
#: Seconds between ticks of an axis of times.
TIME_STEPS = (60, 300, 900, *(3600 * hours for hours in (1, 3, 6, 12, 24, 48, 168, 672, 2184)))


@dataclass(frozen=True)
class Line:
    """A line of a chart; NaN values are gaps.

    dots: mark its points.  joined: draw the line itself.  dashed: for a line that is beside the others.
    filled: an area on top of the filled lines before it, which have the same x.
    notes: what is shown of each dot, instead of its numbers.
    """

    name: str
    x: ArrayLike
    y: ArrayLike
    dots: bool = False
    joined: bool = True
    dashed: bool = False
    filled: bool = False
    notes: Sequence[str] = ()


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
    for step in (digit * power * scale for scale in (1, 10, 100) for digit in (1, 2, 2.5, 5)):
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < most:
            break
    return [round(multiple * step, 12) for multiple in range(first, last + 1)]


def tick_texts(ticks: Sequence[float]) -> list[str]:
    """The ticks in as few digits, from four up, as tell them apart."""
    texts: list[str] = []
    for digits in range(4, 9):
        texts = [
            f"{value:.{digits}g}" if abs(value) < 10_000 else f"{value:.{digits + 2}g}" for value in ticks
        ]
        if len({*texts}) == len(texts):
            break
    return texts


def power_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Whole powers of ten from 10**low to 10**high, at their logarithms; at most seven."""
    first, last = math.ceil(low - 1e-9), math.floor(high + 1e-9)
    step = max(1, -(-(last - first + 1) // 7))
    return [(float(power), f"1e{power}") for power in range(first, last + 1, step)]


def time_ticks(low: float, high: float, most: int = 5) -> list[tuple[float, str]]:
    """Round times (UTC) from low to high, in seconds since 1970: hours, days and hours, or days."""
    step = next((step for step in TIME_STEPS if (high - low) / step < most), TIME_STEPS[-1])
    while (high - low) / step >= most:
        step *= 2
    within_a_day = low // 86400 == high // 86400
    form = "%Y-%m-%d" if step >= 86400 else "%H:%M" if within_a_day else "%m-%d %H:%M"
    times = [count * step for count in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return [(float(time), datetime.fromtimestamp(time, UTC).strftime(form)) for time in times]


@dataclass(frozen=True)
class _Frame:
    """The scales of both axes, from numbers to places on the picture."""

    low_x: float
    high_x: float
    low_y: float
    high_y: float
    height: int = HEIGHT
    top: int = TOP

    def x(self, value: float) -> float:
        """Across, from the left."""
        span = self.high_x - self.low_x
        fraction = (value - self.low_x) / span if span > 0 else 0.5
        return round(LEFT + fraction * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        """Down, from the top."""
        span = self.high_y - self.low_y
        fraction = (value - self.low_y) / span if span > 0 else 0.5
        return round(self.height - BOTTOM - fraction * (self.height - self.top - BOTTOM), 1)

    def text_x(self, value: float, text: str) -> float:
        """Return the middle of a text at a number, moved so that the text stays within the picture."""
        half = len(text) * LETTER / 2
        return round(min(max(self.x(value), half), WIDTH - half), 1)


def _axes(
    frame: _Frame, x_name: str, y_name: str, ticks: Sequence[tuple[float, str]] | None = None
) -> list[str]:
    """Grid, numbers and names of both axes.  ticks: (x, text); a text that would touch another is omitted."""
    parts = []
    y_ticks = nice_ticks(frame.low_y, frame.high_y)
    for value, text in zip(y_ticks, tick_texts(y_ticks), strict=True):
        y = frame.y(value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{text}</text>')
    if ticks is None:
        x_ticks = nice_ticks(frame.low_x, frame.high_x, 6)
        ticks = [*zip(x_ticks, tick_texts(x_ticks), strict=True)]
    bottom, free = frame.height - BOTTOM, -math.inf
    for value, text in ticks:
        x, middle = frame.x(value), frame.text_x(value, text)
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{frame.top}" y2="{bottom}"/>')
        half = len(text) * LETTER / 2
        if middle - half >= free:
            parts.append(
                f'<text class="tick" x="{middle}" y="{bottom + 16}" text-anchor="middle">{_safe(text)}</text>'
            )
            free = middle + half + LETTER / 2
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(
        f'<text class="axis" x="{middle}" y="{frame.height - 6}" text-anchor="middle">{_safe(x_name)}</text>'
    )
    if y_name:
        parts.append(
            f'<text class="axis" transform="translate(12 {(frame.top + bottom) / 2}) rotate(-90)" '
            f'text-anchor="middle">{_safe(y_name)}</text>'
        )
    return parts


def _marks(frame: _Frame, marks: Sequence[tuple[float, str]]) -> tuple[list[str], int]:
    """Upright lines at numbers, with words above while there is room; and how many lines of words."""
    free: list[float] = []
    parts = []
    for value, word in marks:
        x, middle, half = frame.x(value), frame.text_x(value, word), len(word) * LETTER / 2
        level = next((at for at, end in enumerate(free) if middle - half > end + LETTER), len(free))
        parts.append(f'<line class="mark" x1="{x}" x2="{x}" y1="{frame.top}" y2="{frame.height - BOTTOM}"/>')
        if level < MOST_MARKS:
            y = frame.top - 4 - level * MARK
            free[level : level + 1] = [middle + half]
            parts.append(f'<text class="tick" x="{middle}" y="{y}" text-anchor="middle">{_safe(word)}</text>')
    return parts, len(free)


def _picture(parts: Sequence[str], title: str, height: int = HEIGHT) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{_safe(title)}">'
        f"<title>{_safe(title)}</title>{''.join(parts)}</svg>"
    )


def _range(values: Sequence[Floats], *, pad: float = 0.05) -> tuple[float, float]:
    finite = np.concatenate([some[np.isfinite(some)] for some in values]) if values else np.zeros(0)
    if not len(finite):
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    space = (high - low) * pad or abs(high) * pad or 0.5
    return low - space, high + space


def _stroke(line: Line, index: int) -> str:
    """How a line is drawn, as a further class: whole, dashed or dotted."""
    return ("", " dashed", " dotted")[min(2, index // COLOURS + line.dashed)]


def _thinned(values: Floats) -> NDArray[np.int64]:
    """Indices of the drawn values: of a long line its ends, and each stretch's lowest and highest."""
    if len(values) <= MOST_POINTS:
        return np.arange(len(values))
    low, high = np.nan_to_num(values, nan=np.inf), np.nan_to_num(values, nan=-np.inf)
    edges = np.linspace(0, len(values), MOST_POINTS // 2).astype(int)
    kept = [start + int(at) for start, end in pairwise(edges)
            for at in (low[start:end].argmin(), high[start:end].argmax())]  # fmt: skip
    return np.unique([0, *kept, len(values) - 1])


def _drawn(frame: _Frame, line: Line, index: int, x: Floats, y: Floats) -> list[str]:
    """A line's strokes, broken where a value is missing, and its dots."""
    parts = []
    kept = [int(row) for row in _thinned(y)]
    look = f"c{index % COLOURS}{_stroke(line, index)}"
    stroke: list[str] = []
    for at in [*kept, -1]:
        if at >= 0 and math.isfinite(y[at]):
            stroke.append(f"{frame.x(x[at])},{frame.y(y[at])}")
            continue
        if len(stroke) > 1 and line.joined:
            parts.append(f'<polyline class="{look}" points="{" ".join(stroke)}"/>')
        stroke = []
    for at in kept if line.dots or not line.joined or len(kept) == 1 else ():
        if math.isfinite(y[at]):
            note = line.notes[at] if line.notes else f"{y[at]:.4g} at {x[at]:.4g}"
            parts.append(
                f'<circle class="dot {look}" cx="{frame.x(x[at])}" cy="{frame.y(y[at])}" r="3" '
                f'data-name="{_safe(f"{line.name}: {note}")}"/>'
            )
    return parts


def _areas(frame: _Frame, lines: Sequence[Line], xs: Sequence[Floats], tops: Sequence[Floats]) -> list[str]:
    """The filled lines, each on top of the one below it, drawn at the points of the highest."""
    filled = [index for index, line in enumerate(lines) if line.filled]
    kept = _thinned(tops[filled[-1]]) if filled else np.zeros(0, np.int64)
    parts, below = [], np.zeros(len(kept))
    for index in filled:
        x, top = xs[index][kept], tops[index][kept]
        around = zip([*x, *x[::-1]], [*top, *below[::-1]], strict=True)
        points = " ".join(f"{frame.x(across)},{frame.y(up)}" for across, up in around)
        parts.append(f'<polygon class="area k{index % COLOURS}" points="{points}"/>')
        below = top
    return parts


def line_chart(
    lines: Sequence[Line],
    *,
    title: str,
    x_name: str,
    y_name: str = "",
    zero: bool = False,
    whole: bool = False,
    ticks: Sequence[tuple[float, str]] | None = None,
    marks: Sequence[tuple[float, str]] = (),
) -> str:
    """Lines over a common axis, with their names above.

    zero: the upward axis starts at 0 where no value is below.  whole: the x axis counts things.
    ticks: (x, text) on the x axis, instead of round numbers.  marks: (x, text) of upright lines.
    """
    xs = [np.asarray(line.x, dtype=np.float64) for line in lines]
    ys = [np.asarray(line.y, dtype=np.float64) for line in lines]
    total = np.zeros(1)
    for index, line in enumerate(lines):
        if line.filled:
            total = ys[index] = total + ys[index]
    edge = any(line.joined and len(x) > 1 for line, x in zip(lines, xs, strict=True))
    low_x, high_x = _range(xs, pad=0.0 if edge else 0.05)
    low_y, high_y = _range(ys)
    if zero and all((y[np.isfinite(y)] >= 0).all() for y in ys):
        low_y = 0.0
    if whole:
        counts = [value for value in nice_ticks(low_x, high_x, 6) if value == round(value)]
        ticks = [*zip(counts, tick_texts(counts), strict=True)]
    levels = _marks(_Frame(low_x, high_x, low_y, high_y), marks)[1]
    frame = _Frame(low_x, high_x, low_y, high_y, HEIGHT + levels * MARK, TOP + levels * MARK)
    parts = [*_areas(frame, lines, xs, ys), *_axes(frame, x_name, y_name, ticks), *_marks(frame, marks)[0]]
    for index, (line, x, y) in enumerate(zip(lines, xs, ys, strict=True)):
        if not line.filled:
            parts += _drawn(frame, line, index, x, y)
    keys = "".join(
        f'<span class="key"><i class="k{index % COLOURS}{_stroke(line, index)}"></i>{_safe(line.name)}</span>'
        for index, line in enumerate(lines)
    )
    caption = _safe(title) + (keys if len(lines) > 1 else "")
    return f"<figure><figcaption>{caption}</figcaption>{_picture(parts, title, frame.height)}</figure>"


def rates_chart(rates: Sequence[float], losses: Sequence[float], steepest: float) -> str:
    """Loss over the logarithm of the learning rate, with a mark at the steepest fall."""
    powers = np.log10(np.asarray(rates, dtype=np.float64))
    return line_chart(
        [Line("loss", powers, losses)],
        title="Loss while the learning rate grows",
        x_name="learning rate of the head",
        y_name="smoothed loss, all targets",
        ticks=power_ticks(float(powers.min()), float(powers.max())),
        marks=[(math.log10(steepest), f"steepest: {steepest:.1e}")],
    )


def tuning_chart(
    values: Sequence[float],
    scores: Sequence[Sequence[float]],
    *,
    best: float,
    recipe_value: float | None,
    labels: tuple[str, str],
) -> str:
    """A score over the values of a setting: the mean as a line, every seed as a dot.

    values: ascending; 0 stands one power of ten left of the others, since it has no logarithm.
    best, recipe_value: values to mark.  labels: of both axes.
    """
    least = min((value for value in values if value > 0), default=1.0)
    powers = [math.log10(value if value > 0 else least / 10) for value in values]
    lines = [Line("mean", powers, [float(np.mean(some)) for some in scores], dots=True)]
    if sum(map(len, scores)) > len(values):
        x = np.repeat(powers, [len(some) for some in scores])
        lines.append(Line("one seed", x, [score for some in scores for score in some], joined=False))
    at = dict(zip(values, powers, strict=True))
    marks = [
        (at[value], f"{word} {value:g}")
        for value, word in ((best, "best"), (recipe_value, "recipe"))
        if value is not None and value in at
    ]
    ticks = [(power, f"{value:g}") for value, power in at.items()]
    title = f"{labels[1]} over {labels[0]}"
    return line_chart(lines, title=title, x_name=labels[0], y_name=labels[1], ticks=ticks, marks=marks)


def memory_chart(
    held: Mapping[str, NDArray[np.int64]],
    reserved: NDArray[np.int64],
    phases: Sequence[tuple[int, str]],
    title: str,
) -> str:
    """Bytes by kind over the events of one optimizer step, stacked, under what the allocator holds.

    held: kind -> bytes after each event.  reserved: the allocator's bytes.  phases: (first event, name).
    """
    events = np.arange(len(reserved))
    lines = [Line(kind, events, size / 2**20, filled=True) for kind, size in held.items() if size.any()]
    return line_chart(
        [*lines, Line("reserved", events, reserved / 2**20, dashed=True)],
        title=f"Memory over one step: {title}",
        x_name="allocations and frees, in order",
        y_name="MiB",
        zero=True,
        marks=phases,
    )


def _seconds(time: str) -> float:
    """Return the seconds since 1970 of a time in ISO 8601, without a zone in UTC; NaN for another text."""
    try:
        moment = datetime.fromisoformat(time)
    except ValueError:
        return math.nan
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def course_charts(runs: Sequence[Recorded]) -> list[str]:
    """Scores of runs over time, a line for each list of targets and their best so far; leaderboard scores."""
    groups: dict[str, list[Recorded]] = {}
    for run in sorted(runs, key=lambda run: run.finished):
        if (not math.isnan(run.score) or run.leaderboard) and not math.isnan(_seconds(run.finished)):
            groups.setdefault(", ".join(sorted(run.targets)) or "no target", []).append(run)
    lines, board = [], []
    for name, group in groups.items():
        times = np.array([_seconds(run.finished) for run in group])
        scores = np.array([run.score for run in group])
        ranks = np.array([run.leaderboard[-1] if run.leaderboard else math.nan for run in group])
        texts = [
            f"{run.run}, {run.finished}" + (f". {'; '.join(run.changed)}" if run.changed else "")
            for run in group
        ]
        for values, into, joined in ((scores, lines, True), (ranks, board, False)):
            if np.isfinite(values).any():
                notes = [f"{value:.4g} by {text}" for value, text in zip(values, texts, strict=True)]
                into.append(Line(name, times, values, dots=True, joined=joined, notes=notes))
        # A step: the best stands until the next run.
        best = np.repeat(np.fmin.accumulate(scores), 2)[:-1]
        lines.append(Line(f"{name}: best", np.repeat(times, 2)[1:], best, dashed=True))
    charts = []
    for shown, title, y_name in (
        (lines, "mean scores on held-out rows", "less is better"),
        (board, "scores of the leaderboard", "score"),
    ):
        if shown:
            ticks = time_ticks(*_range([np.asarray(line.x, dtype=np.float64) for line in shown], pad=0))
            chart = line_chart(shown, title=title, x_name="finished (UTC)", y_name=y_name, ticks=ticks)
            charts.append(chart)
    return charts


def reliability_chart(
    confidence: ArrayLike, right: ArrayLike, rows: ArrayLike, *, title: str, error: float
) -> str:
    """How often answers of each confidence are right, as bars beside the diagonal of the calibrated."""
    sure, share, count = (np.asarray(values, dtype=np.float64) for values in (confidence, right, rows))
    frame = _Frame(0.0, 1.0, 0.0, 1.0)
    parts = _axes(frame, "probability of the answer", "fraction that is right")
    width = (WIDTH - LEFT - RIGHT) / max(1, len(count))
    for index in np.flatnonzero(count > 0):
        x, y = round(LEFT + index * width + 1, 1), frame.y(share[index])
        label = (
            f"{int(count[index])} rows: probability {sure[index]:.1%} on average, {share[index]:.1%} right"
        )
        parts.append(
            f'<rect class="bar" x="{x}" y="{y}" width="{round(width - 2, 1)}" '
            f'height="{round(HEIGHT - BOTTOM - y, 1)}"><title>{label}</title></rect>'
            f'<circle class="dot c1" cx="{frame.x(sure[index])}" cy="{y}" r="3">'
            f"<title>{label}</title></circle>"
        )
    ends = [(frame.x(end), frame.y(end)) for end in (0.0, 1.0)]
    parts.append(f'<polyline class="c3 dashed" points="{" ".join(f"{x},{y}" for x, y in ends)}"/>')
    name = "" if error != error else f": expected calibration error {error:.3f}"
    return f"<figure><figcaption>{_safe(title + name)}</figcaption>{_picture(parts, title)}</figure>"


def point_chart(
    points: ArrayLike,
    names: Sequence[str],
    *,
    title: str,
    axes: tuple[str, str],
    sizes: ArrayLike | None = None,
    notes: Sequence[str] = (),
    diagonal: bool = False,
) -> str:
    """Points with a name each, which shows on hover and on touch; some are written where there is room.

    points: (points, 2).  sizes: any numbers from 0 on.  notes: what is shown of a point after its name.
    diagonal: draw where both axes are equal, which then have the same ends.
    """
    at = np.asarray(points, dtype=np.float64).reshape(-1, 2)
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
    """Return the points whose names have room: no name covers an earlier name."""
    written: list[tuple[float, float, float]] = []
    rows = []
    for row in range(min(len(at), 300)):
        x, y = frame.x(at[row, 0]), frame.y(at[row, 1])
        half = min(len(names[row]), 18) * (3.2 if WIDTH * 0.2 <= x <= WIDTH * 0.8 else 6.0)
        if all(abs(x - a) > half + b or abs(y - c) > 12 for a, b, c in written):
            written.append((x, half, y))
            rows.append(row)
        if len(rows) == most:
            break
    return rows
