"""Charts as data: lines, stacked areas, bars, points with names. `assets/page.js` draws them by Chart.js.

Colours are those of the page, so that they follow light and dark. No text here is markup: a chart goes into
the page as JSON, and its texts onto a canvas.
"""

from __future__ import annotations

import json
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

#: The most points of a line that are drawn; a longer line is thinned.
MOST_POINTS = 600
#: Colours of lines (`assets/page.css`); beyond, they come again, dashed, and then dotted.
COLOURS = 10
#: Significant digits of what is drawn; of x more, which may be seconds since 1970.
DIGITS, X_DIGITS = 6, 11


@dataclass(frozen=True)
class Line:
    """A line of a chart; NaN values are gaps.

    dots: mark its points.  joined: draw the line itself.  dashed: for a line that is beside the others.
    filled: an area on top of the filled lines before it, which have the same x.  bars: bars instead.
    step: a value stands until the next.  plain: without a name in the legend.  colour: as that of a line of
    this index.  names, notes: (points,) shown of each instead of its numbers.  sizes: (points,) radii.
    """

    name: str
    x: ArrayLike
    y: ArrayLike
    dots: bool = False
    joined: bool = True
    dashed: bool = False
    filled: bool = False
    bars: bool = False
    step: bool = False
    plain: bool = False
    colour: int | None = None
    names: Sequence[str] = ()
    notes: Sequence[str] = ()
    sizes: Sequence[float] = ()


@dataclass(frozen=True)
class Axis:
    """An axis.  log: of the logarithm.  zero: begins at 0.  whole: counts things.  time: seconds since 1970.

    ticks: (value, text) instead of round numbers.  ends: lowest and highest value.  pad: room at both ends.
    """

    name: str = ""
    log: bool = False
    zero: bool = False
    whole: bool = False
    time: bool = False
    pad: bool = False
    ticks: Sequence[tuple[float, str]] = ()
    ends: tuple[float, float] | None = None

    def record(self) -> dict[str, object]:
        """What the page's program takes."""
        given = {**vars(self), "ends": self.ends and [*self.ends], "ticks": [[*tick] for tick in self.ticks]}
        return {name: value for name, value in given.items() if value}


@dataclass(frozen=True)
class Chart:
    """A chart of a page.

    marks: (x, text) of upright lines.  levels: (y, text) of lines across.
    tall: higher than others.  labels: names of points that are written at most.
    """

    title: str
    lines: Sequence[Line]
    x: Axis
    y: Axis
    marks: Sequence[tuple[float, str]] = ()
    levels: Sequence[tuple[float, str]] = ()
    tall: bool = False
    labels: int = 0

    def record(self) -> dict[str, object]:
        """What the page's program takes; NaN is null."""
        filled = [np.nan_to_num(np.asarray(line.y, dtype=np.float64)) for line in self.lines if line.filled]
        kept = _thinned(np.sum(filled, axis=0)) if filled else None
        return {
            "series": [_series(line, index, kept) for index, line in enumerate(self.lines)],
            "x": self.x.record(),
            "y": self.y.record(),
            "marks": [*map(list, self.marks), *([*level, True] for level in self.levels)],
            "labels": self.labels,
        }

    @property
    def data(self) -> str:
        """The chart as JSON that can stand in a page."""
        return json_in_page(self.record())


def json_in_page(value: object) -> str:
    """JSON no letter of which ends a script or begins a tag."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=str)
    text = printable(text.encode("utf-8", "replace").decode())
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _series(line: Line, index: int, kept: NDArray[np.int64] | None) -> dict[str, object]:
    x, y = (np.asarray(values, dtype=np.float64) for values in (line.x, line.y))
    rows = kept if line.filled and kept is not None else _thinned(y) if line.joined else np.arange(len(y))
    given: dict[str, object] = {
        "dots": line.dots or not line.joined or len(y) == 1,
        "dash": min(2, index // COLOURS + line.dashed),
        "fill": line.filled,
        "step": line.step,
        "plain": line.plain,
        "sizes": _numbers(np.asarray(line.sizes, dtype=np.float64)),
    }
    for name, texts in (("names", line.names), ("notes", line.notes)):
        given[name] = [str(texts[row]) for row in rows.tolist()] if texts else []
    return {
        "name": line.name,
        "kind": "bars" if line.bars else "line" if line.joined else "points",
        "colour": index if line.colour is None else line.colour,
        "x": _numbers(x[rows], X_DIGITS),
        "y": _numbers(y[rows]),
        **{name: value for name, value in given.items() if value},
    }


def _numbers(values: Floats, digits: int = DIGITS) -> list[float | int | None]:
    """Numbers in few digits; None for NaN and infinities."""
    rounded = [float(f"{value:.{digits}g}") if math.isfinite(value) else None for value in values.tolist()]
    return [int(value) if value is not None and value.is_integer() else value for value in rounded]


def _thinned(values: Floats) -> NDArray[np.int64]:
    """Indices of the drawn values: of a long line its ends, and each stretch's lowest and highest."""
    if len(values) <= MOST_POINTS:
        return np.arange(len(values))
    low, high = np.nan_to_num(values, nan=np.inf), np.nan_to_num(values, nan=-np.inf)
    edges = np.linspace(0, len(values), MOST_POINTS // 2).astype(int)
    kept = [start + int(at) for start, end in pairwise(edges)
            for at in (low[start:end].argmin(), high[start:end].argmax())]  # fmt: skip
    return np.unique([0, *kept, len(values) - 1])


def line_chart(
    lines: Sequence[Line],
    *,
    title: str,
    x_name: str,
    y_name: str = "",
    zero: bool = False,
    whole: bool = False,
    ticks: Sequence[tuple[float, str]] = (),
    marks: Sequence[tuple[float, str]] = (),
    levels: Sequence[tuple[float, str]] = (),
) -> Chart:
    """Lines over a common axis.

    zero: the upward axis starts at 0 where no value is below.  whole: the x axis counts things.
    ticks, marks, levels: as of `Axis` and `Chart`.
    """
    below = any((np.nan_to_num(np.asarray(line.y, dtype=np.float64)) < 0).any() for line in lines)
    y = Axis(y_name, zero=zero and not below, pad=not zero)
    return Chart(title, lines, Axis(x_name, whole=whole, ticks=ticks), y, marks, levels)


def rates_chart(rates: Sequence[float], losses: Sequence[float], steepest: float) -> Chart:
    """Loss over the logarithm of the learning rate, with a mark at the steepest fall."""
    return Chart(
        "Loss while the learning rate grows",
        [Line("loss", rates, losses)],
        Axis("learning rate of the head", log=True),
        Axis("smoothed loss, all targets", pad=True),
        marks=[(steepest, f"steepest: {steepest:.1e}")],
        tall=True,
    )


def tuning_chart(
    values: Sequence[float],
    scores: Sequence[Sequence[float]],
    *,
    best: float,
    recipe_value: float | None,
    labels: tuple[str, str],
) -> Chart:
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
    budget: int = 0,
    context: int = 0,
) -> Chart:
    """Bytes by kind over the events of one optimizer step, stacked, under what the allocator holds.

    held: kind -> bytes after each event.  reserved: the allocator's bytes.  phases: (first event, name).
    budget: bytes that the process may hold, a line across.  context: what it holds beside its tensors, which
    lies below them all.
    """
    events, unit = np.arange(len(reserved)), 2.0**30
    below = {"the process itself": np.full(len(reserved), context)} if context else {}
    lines = [
        Line(kind, events, size / unit, filled=True) for kind, size in {**below, **held}.items() if size.any()
    ]
    total = (reserved + context) / unit
    return Chart(
        title,
        [*lines, Line("reserved by the allocator", events, total, dashed=True, colour=3)],
        Axis("allocations and frees of one step, in their order", ends=(0, max(1, len(reserved) - 1))),
        Axis("GiB", zero=True, ends=(0, 1.06 * max(budget / unit, float(total.max(initial=0)), 1e-3))),
        marks=phases,
        levels=[(budget / unit, f"budget {budget / unit:.3g} GiB")] if budget else [],
        tall=True,
    )


def _seconds(time: str) -> float:
    """Return the seconds since 1970 of a time in ISO 8601, without a zone in UTC; NaN for another text."""
    try:
        moment = datetime.fromisoformat(time)
    except ValueError:
        return math.nan
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def course_groups(runs: Sequence[Recorded]) -> dict[tuple[str, str], list[Recorded]]:
    """Scored runs by targets and held-out rows, in the order in which they finished."""
    groups: dict[tuple[str, str], list[Recorded]] = {}
    for run in sorted(runs, key=lambda run: run.finished):
        if (not math.isnan(run.score) or run.leaderboard) and not math.isnan(_seconds(run.finished)):
            name = ", ".join(sorted(run.targets)) or "no target"
            groups.setdefault((name, run.scored or run.data), []).append(run)
    return groups


def course_charts(runs: Sequence[Recorded]) -> list[Chart]:
    """Scores of runs over time, and the best so far: a chart for each group of `course_groups`.

    Scores of a leaderboard have a chart of their own.
    """
    charts = []
    for (name, _), group in course_groups(runs).items():
        times = [_seconds(run.finished) for run in group]
        texts = [run.finished + (f". {'; '.join(run.changed)}" if run.changed else "") for run in group]
        boards = [run.leaderboard[-1] if run.leaderboard else math.nan for run in group]
        for values, what in (([run.score for run in group], "score"), (boards, "leaderboard")):
            if not np.isfinite(values).any():
                continue
            notes = [f"{value:.4g}, {text}" for value, text in zip(values, texts, strict=True)]
            names = [run.run for run in group]
            lines = [Line("run", times, values, joined=False, names=names, notes=notes)]
            if what == "score":
                best = np.fmin.accumulate(values)
                lines.append(Line("best so far", times, best, dashed=True, step=True, plain=len(group) < 2))
            y = Axis("less is better" if what == "score" else "score", pad=True)
            x = Axis("finished (UTC)", time=True, pad=True)
            charts.append(Chart(f"{name}: {what}", lines, x, y, labels=12))
    return charts


def reliability_chart(
    confidence: ArrayLike, right: ArrayLike, rows: ArrayLike, *, title: str, error: float
) -> Chart:
    """How often answers of each confidence are right, as bars beside the diagonal of the calibrated."""
    sure, share, count = (np.asarray(values, dtype=np.float64) for values in (confidence, right, rows))
    middle = (np.arange(len(count)) + 0.5) / max(1, len(count))
    share = np.where(count > 0, share, np.nan)
    notes = [
        f"{int(rows)} rows: probability {p:.1%} on average, {s:.1%} right" if rows else ""
        for rows, p, s in zip(count, sure, share, strict=True)
    ]
    axis = Axis("probability of the answer", ends=(0, 1))
    return Chart(
        title + ("" if error != error else f": expected calibration error {error:.3f}"),
        [
            Line("fraction that is right", middle, share, bars=True, notes=notes),
            Line("mean probability", sure, share, joined=False, notes=notes, colour=1),
            Line("as it should be", [0, 1], [0, 1], dashed=True, colour=3),
        ],
        axis,
        Axis("fraction that is right", ends=(0, 1)),
    )


def point_chart(
    points: ArrayLike,
    names: Sequence[str],
    *,
    title: str,
    axes: tuple[str, str],
    sizes: ArrayLike | None = None,
    notes: Sequence[str] = (),
    diagonal: bool = False,
) -> Chart:
    """Points with a name each, which shows on hover and on touch; some are written where there is room.

    points: (points, 2).  sizes: any numbers from 0 on.  notes: what is shown of a point after its name.
    diagonal: draw where both axes are equal, which then have the same ends.
    """
    at = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    radii: list[float] = []
    if sizes is not None:
        size = np.asarray(sizes, dtype=np.float64)
        radii = (2.5 + 4.5 * np.sqrt(size / max(size.max(initial=0), 1e-12))).round(1).tolist()
    lines = [Line("", at[:, 0], at[:, 1], joined=False, names=names, notes=notes, sizes=radii)]
    ends = None
    if diagonal and len(at):
        low, high = float(np.nanmin(at)), float(np.nanmax(at))
        space = (high - low) * 0.05 or 0.5
        ends = (low - space, high + space)
        lines.append(Line("equal", ends, ends, dashed=True, plain=True, colour=3))
    x, y = (Axis(name, pad=True, ends=ends) for name in axes)
    return Chart(title, lines, x, y, tall=not diagonal, labels=0 if diagonal else 24)
