"""The page of several runs side by side: scores, differences on shared rows, curves, settings."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import RunError
from tenfold.metrics import score_text
from tenfold.reports.headline import MAIN, score_error
from tenfold.reports.html import Card, Cell, Charts, Clickable, Grid, Link, Page, Part, Section, write_page
from tenfold.reports.members import member_charts
from tenfold.runs.heldout import HeldOutRows
from tenfold.runs.place import PAGE
from tenfold.runs.run import Run, WrittenPage
from tenfold.targets.base import TargetEvaluation
from tenfold.targets.words import HEADINGS, HIGHER_IS_BETTER
from tenfold.values import read_score

__all__ = ["Difference", "compare_rows", "comparison_page", "write_comparison"]

Floats = NDArray[np.float64]

#: Beginnings of the names of figures that are not better or worse.
BARE = ("majority", "mean_", "baseline", "scored", "fallback", "none_rate")
#: Rows of a list, and letters of a setting.
LISTED, LETTERS = 50, 60
#: How many standard errors a difference is from 0, from which on it counts as clear.
CLEAR = 1.96


@dataclass(frozen=True)
class Difference:
    """A run against another on the rows that both held out.

    score: what is compared, of which less is better.  rows: how many.  first, second: of each run.
    difference: second - first.  error: its standard error over the rows, which count as independent.
    sides: (2, 2) rows by whether the first and the second run are wrong; None of numbers.
    """

    score: str
    rows: int
    first: float
    second: float
    error: float
    sides: NDArray[np.int64] | None
    split: NDArray[np.int64]

    @property
    def difference(self) -> float:
        """Second - first."""
        return self.second - self.first

    @property
    def clear(self) -> bool:
        """Whether it is more than the rows would give by chance."""
        return abs(self.difference) > CLEAR * self.error


def write_comparison(runs: Sequence[Run], output: str | os.PathLike[str] | None = None) -> WrittenPage:
    """Write the page; by default ``comparison.html`` beside the first run."""
    path = runs[0].path.parent / "comparison.html" if output is None else Path(output)
    page = comparison_page(runs, path)
    write_page(path, page)
    return {
        "run": ", ".join(str(run.path) for run in runs),
        "output": str(path),
        "kind": "comparison",
        "sections": [section.title for section in page.sections],
        "bytes": path.stat().st_size if path.is_file() else 0,
        "notes": list(page.notes),
    }


def comparison_page(runs: Sequence[Run], path: Path | None = None) -> Page:
    """The page of several runs. path: of the page, from which links lead to the runs' own reports.

    Raises RunError where two runs are the same.
    """
    if len({run.path.resolve() for run in runs}) < len(runs):
        raise RunError("a run is named twice", fix="name each run once")
    names = _names(runs)
    held = [run.held_out() for run in runs]
    targets = list(dict.fromkeys(name for run in runs for name in run.scores))
    sections = [_overview(runs, names, held, targets, path)]
    cards = []
    for target in targets:
        part, card = _target_parts(target, runs, names, held)
        sections.append(Section(target if len(targets) > 1 else "All scores and differences", "", part))
        cards += card
    charts = member_charts({name: run.history for name, run in zip(names, runs, strict=True)})
    if charts:
        sections.append(Section("Curves", "Each run on its own validation rows.", (Charts(charts),)))
    sections.append(_settings(runs, names))
    lead = "The first run is the one that the others are compared with. Less is better of errors and losses."
    return Page(f"{' against '.join(names)}", lead, sections, (), cards)


def _names(runs: Sequence[Run]) -> list[str]:
    """The folders' names, or their paths where two are the same."""
    names = [run.path.resolve().name for run in runs]
    return names if len({*names}) == len(names) else [str(run.path) for run in runs]


def _overview(
    runs: Sequence[Run],
    names: Sequence[str],
    held: Sequence[HeldOutRows],
    targets: Sequence[str],
    path: Path | None,
) -> Section:
    """A row for each run: its main scores, rows, time and memory."""
    rows: list[Sequence[Cell | Link | str]] = []
    for run, name, own in zip(runs, names, held, strict=True):
        cells = []
        for target in targets:
            scores, evaluation = run.scores.get(target, {}), own.of(target)
            main = next((score for score in MAIN if not math.isnan(read_score(scores, score))), "")
            value = read_score(scores, main)
            error = score_error(main, value, evaluation, own.weights) if evaluation else math.nan
            spread = "" if math.isnan(error) else f"\u00b1 {error:.2g} {HEADINGS[main]}"
            cells.append(Cell(score_text(value, nothing=""), small=spread))
        record = run.record
        cells += [Cell(str(record.valid_rows or len(own.ids))), Cell(f"{record.seconds:.0f}")]
        cells += [Cell(f"{record.peak_bytes / 2**30:.2f}"), Cell(record.finished[:16].replace("T", " "))]
        rows.append([_link(run, name, path), *cells])
    heads = ("run", *targets, "held out", "seconds", "GiB", "finished")
    text = "Main scores with their standard errors, each on the rows that its run held out."
    return Section("Runs", text, (Grid(heads, rows),))


def _link(run: Run, name: str, path: Path | None) -> Link | str:
    report = run.path / PAGE
    if path is None or not report.is_file():
        return name
    way = os.path.relpath(report.absolute(), path.absolute().parent).replace(os.sep, "/")
    return Link(name, "./" + quote(way))


def _target_parts(
    target: str, runs: Sequence[Run], names: Sequence[str], held: Sequence[HeldOutRows]
) -> tuple[list[Part], list[Card]]:
    """All scores of a target by run, and each run against the first on shared rows."""
    scores = [run.scores.get(target, {}) for run in runs]
    rows: list[Sequence[Cell | str]] = []
    for score in dict.fromkeys(name for own in scores for name in own):
        values = [read_score(own, score) for own in scores]
        if all(value != value for value in values):
            continue
        best = np.nanmax(values) if score in HIGHER_IS_BETTER else np.nanmin(values)
        told = score in HEADINGS and not score.startswith(BARE)
        counted = all(value != value or value == int(value) for value in values) and not told
        form = (lambda value: "" if value != value else f"{value:.0f}") if counted else _figure
        cells = [Cell(form(value), strong=told and value == best) for value in values]
        rows.append([HEADINGS.get(score, score.replace("_", " ")), *cells])
    parts: list[Part] = [Grid(("", *names), rows, title="scores, each on its own rows")]
    shown: list[Sequence[Cell | str]] = []
    cards, lists = [], []
    for name, run, own in zip(names[1:], runs[1:], held[1:], strict=True):
        found = compare_rows(runs[0], held[0], run, own, target)
        if isinstance(found, str):
            shown.append([name, Cell(""), Cell(""), Cell(""), found])
            continue
        told = "clear" if found.clear else "may be chance"
        better = "better" if found.difference < 0 else "worse" if found.difference > 0 else "equal"
        figure = Cell(f"{found.difference:+.4f}", strong=found.clear, small=f"\u00b1 {found.error:.2g}")
        numbers = (Cell(score_text(found.first)), Cell(score_text(found.second)))
        shown.append([name, *numbers, figure, f"{better}, {told}, on {found.rows} shared rows"])
        verdict = f"{better} than {names[0]}" if found.difference else f"equal to {names[0]}"
        unit = f"{found.score} \u00b1 {found.error:.2g}"
        lines = [f"{name} is {verdict}: {told}", f"over {found.rows} rows that both held out"]
        cards.append(Card(f"{target}: {name}", f"{found.difference:+.4f}", unit, lines))
        lists += _sides(found, (names[0], name), (held[0], own), target)
    heads = ("run", names[0], "this run", "difference", "")
    parts.append(Grid(heads, shown, title=f"against {names[0]}, on the rows that both held out"))
    return [*parts, *lists], cards


def _figure(value: float) -> str:
    return score_text(value, nothing="")


def compare_rows(
    one: Run, first: HeldOutRows, other: Run, second: HeldOutRows, target: str
) -> Difference | str:
    """Compare two runs on a target, row by row; or why they cannot be compared.

    Rows are the same if they have the same name, which must be unique, and the same label. Where rows have no
    names but numbers, only runs with the same table and split are compared.
    """
    a, b = first.of(target), second.of(target)
    if a is None or b is None:
        return "keeps no held-out rows of this target"
    scored = [run.record.fingerprint.get("scored") for run in (one, other)]
    same = bool(scored[0]) and scored[0] == scored[1]
    named = all(run.schema.row_name is not None or run.schema.rated for run in (one, other))
    if not same and not named:
        return "rows have no names, and table or split differ"
    place = {name: row for row, name in enumerate(second.ids)}
    if len(place) < len(second.ids) or len({*first.ids}) < len(first.ids):
        if not same or list(first.ids) != list(second.ids):
            return "names of rows repeat"
        rows = [(row, row) for row in range(len(first.ids))]
    else:
        rows = [(row, place[name]) for row, name in enumerate(first.ids) if name in place]
    rows = [(i, j) for i, j in rows if a.known[i] and b.known[j]]
    if not rows:
        return "held out other rows"
    left, right = (np.array(side) for side in zip(*rows, strict=True))
    if any(a.label[i] != b.label[j] for i, j in rows):
        return "labels of shared rows differ"
    return _difference(a, b, left, right)


def _difference(
    a: TargetEvaluation, b: TargetEvaluation, left: NDArray[np.int64], right: NDArray[np.int64]
) -> Difference:
    """The difference of error rates, of RMSEs, or of mean losses of tags, with its jackknife error."""
    sides, split, root = None, np.zeros((0, 2), np.int64), False
    if a.truth is not None and a.guess is not None and b.truth is not None and b.guess is not None:
        score, root = "RMSE", True
        costs = (a.guess - a.truth)[left] ** 2, (b.guess - b.truth)[right] ** 2
    elif a.codes is not None and b.codes is not None:
        score, costs = "error rate", ((~a.right[left]).astype(float), (~b.right[right]).astype(float))
        sides = np.zeros((2, 2), np.int64)
        np.add.at(sides, (costs[0].astype(int), costs[1].astype(int)), 1)
        split = np.column_stack([left, right])[costs[0] != costs[1]]
    else:
        score, costs = "mean loss", (a.loss[left], b.loss[right])
    count = len(left)
    sums = [cost.sum() for cost in costs]
    means = [float(np.sqrt(total / count) if root else total / count) for total in sums]
    if count < 2:
        return Difference(score, count, means[0], means[1], math.nan, sides, split)
    each = [(total - cost) / (count - 1) for total, cost in zip(sums, costs, strict=True)]
    each = [np.sqrt(np.maximum(one, 0)) for one in each] if root else each
    gap = each[1] - each[0]
    error = float(np.sqrt((count - 1) / count * ((gap - gap.mean()) ** 2).sum()))
    return Difference(score, count, means[0], means[1], error, sides, split)


def _sides(
    found: Difference, names: tuple[str, str], held: tuple[HeldOutRows, HeldOutRows], target: str
) -> list[Part]:
    """Rows by who is right, and those where one run is right and the other is not."""
    a, b = held[0].of(target), held[1].of(target)
    if found.sides is None or a is None or b is None:
        return []
    lists: dict[str, list[list[str]]] = {"01": [], "10": []}
    for row, other in ((int(one), int(two)) for one, two in found.split):
        key = f"{int(not a.right[row])}{int(not b.right[other])}"
        if len(lists[key]) < LISTED:
            lists[key].append([held[0].ids[row], a.label[row], a.predicted[row], b.predicted[other]])
    (both, first), (second, neither) = found.sides.tolist()
    cells: list[Sequence[Cell | str]] = [
        [f"{names[0]} right", Cell(str(both)), Cell(str(first), key="01" if first else "")],
        [f"{names[0]} wrong", Cell(str(second), key="10" if second else ""), Cell(str(neither))],
    ]
    grid = Grid(("", f"{names[1]} right", f"{names[1]} wrong"), cells, title="rows by who is right")
    titles = {"01": f"only {names[0]} is right", "10": f"only {names[1]} is right"}
    hint = f"Click a number to list rows where one alone is right, {LISTED} at most."
    return [Clickable(grid, ("row", "label", *names), lists, titles, hint)]


def _settings(runs: Sequence[Run], names: Sequence[str]) -> Section:
    """Settings, data and versions that differ."""
    tables: list[Mapping[str, object]] = []
    rows_of = list(dict.fromkeys(run.record.fingerprint.get("scored") for run in runs))
    for run in runs:
        record = run.record
        facts: dict[str, object] = {
            "kind": record.run_kind, "table": record.table, "rows": record.rows,
            "columns": run.schema.described, "device": record.device,
            "held-out rows": f"set {rows_of.index(record.fingerprint.get('scored')) + 1}",
        }  # fmt: skip
        recipe = {f"recipe: {name}": value for name, value in record.trained_recipe.items()}
        versions = {f"version: {name}": value for name, value in record.versions.items()}
        tables.append({**facts, **recipe, **versions})
    rows: list[Sequence[Cell | str]] = []
    for name in dict.fromkeys(name for table in tables for name in table):
        values = ["" if table.get(name) is None else str(table[name])[:LETTERS] for table in tables]
        # What only runs of another kind have is no difference of settings.
        if len({value for table, value in zip(tables, values, strict=True) if name in table}) > 1:
            rows.append([name, *values])
    text = "" if rows else "Nothing that the runs keep differs."
    return Section("What differs", text, (Grid(("", *names), rows),) if rows else ())
