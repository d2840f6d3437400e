"""Parts of a run's page: scores, curves, the rate, confusion, calibration, memory."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tenfold.engine.schedule import one_cycle
from tenfold.events import EpochRecord
from tenfold.metrics import calibration_bins, expected_calibration_error, score_text
from tenfold.reports.charts import Chart, Line, line_chart, point_chart, reliability_chart
from tenfold.reports.html import Cell, Charts, Clickable, Grid, Notes, Part, Section
from tenfold.runs.folder import read_text
from tenfold.runs.record import RunRecord, none_to_nan
from tenfold.targets.base import TargetEvaluation, TargetKind
from tenfold.targets.words import ERRORS, FRACTIONS, HEADINGS
from tenfold.values import Scores, TargetScores, of_blocks, read_score

#: Classes up to which a confusion matrix is drawn whole; of more, the pairs that are confused most.
WHOLE = 30
#: Pairs that are shown then, and rows of a list.
PAIRS, LISTED = 40, 50
#: Classes up to which a confusion matrix has percentages; rows of a table of classes at most.
PERCENT, CLASSES = 12, 200
#: Different labels of a number up to which its points are spread.
FEW = 12
#: Epochs up to which each has a dot; colours of scores, which are not those of losses.
DOTTED, SCORES = 15, (2, 4, 5, 6, 7, 8, 9)
HINT = "Click a number to list its rows here, those with the highest loss first."
#: Letters of a class that a confusion table shows, so that its numbers stay in sight.
CLASS_LETTERS = 28


def scores_grid(targets: TargetScores) -> Grid:
    """A row for each score of a target, so that many scores do not widen the page."""
    rows: list[list[Cell | str]] = []
    for name, scores in targets.items():
        shown = name
        for score, value in scores.items():
            if score == "unscored" and not value:
                continue  # all rows have an answer, as they should
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                text = _number(score, float(value), labels=bool(scores.get("scored")))
                rows.append([shown, score.replace("_", " "), Cell(text)])
                shown = ""  # the first row alone names the target
    return Grid(("target", "score", "value"), rows)


def _number(score: str, value: float, *, labels: bool) -> str:
    if value != value:
        return "undefined" if labels else "no labels"
    if score in ("scored", "unscored", "fallback"):
        return f"{value:.0f}"
    return f"{value:.2%}" if score.endswith("error_rate") else score_text(value)


def read_history(folder: Path) -> list[EpochRecord]:
    """Return the epochs of a training, with NaN for null; of a run without epochs an empty list."""
    name = "history.jsonl"
    lines = read_text(folder, name).splitlines() if (folder / name).exists() else []
    return [none_to_nan(json.loads(line)) for line in lines]


def curve_charts(
    history: Sequence[EpochRecord],
    targets: Sequence[str | None],
    kinds: Mapping[str, TargetKind] | None = None,
) -> list[Chart]:
    """Charts of each target's losses, and of its scores, by epoch.

    kinds: targets whose validation loss can be in the unit of the training loss.
    """
    epochs = np.array([record["epoch"] + 1 for record in history], dtype=np.float64)
    charts = []
    for name in map(str, targets):
        train = [record.get("train", {}).get(name, {}) for record in history]
        valid = [record.get("valid", {}).get(name, {}) for record in history]
        kind = (kinds or {}).get(name)
        loss = [kind.curve_loss(scores) if kind else read_score(scores, "log_loss") for scores in valid]
        lines = [Line("training", epochs, _series(train, "loss"), dots=len(epochs) <= DOTTED)]
        if np.isfinite(loss).any():
            lines.append(Line("validation", epochs, loss, dots=len(epochs) <= DOTTED))
        charts.append(line_chart(lines, title=f"{name}: loss", x_name="epoch", zero=True, whole=True))
        numbers = dict.fromkeys(
            score for scores in valid for score, value in scores.items() if isinstance(value, (int, float))
        )
        for group, title in ((FRACTIONS, "scores on validation rows"), (ERRORS, "error on validation rows")):
            lines = [
                Line(
                    HEADINGS.get(score, score),
                    epochs,
                    _series(valid, score),
                    dots=len(epochs) <= DOTTED,
                    colour=SCORES[index % len(SCORES)],
                )  # fmt: skip
                for index, score in enumerate(score for score in numbers if score in group)
            ]
            if lines:
                title = f"{name}: {title}"
                charts.append(line_chart(lines, title=title, x_name="epoch", zero=True, whole=True))
    moved = []
    for name in dict.fromkeys(map(str, targets)):
        weights = [record.get("task_weights", {}).get(name, math.nan) for record in history]
        if len(set(weights)) > 1:
            moved.append(Line(name, epochs, weights))
    if moved:
        charts.append(line_chart(moved, title="learnt weights of the targets", x_name="epoch", whole=True))
    return charts


def _series(history: Sequence[Scores], score: str) -> NDArray[np.float64]:
    return np.array([read_score(scores, score) for scores in history], dtype=np.float64)


def rate_chart(
    history: Sequence[EpochRecord], recipe: Mapping[str, object], *, what: str = "the head"
) -> Chart | None:
    """The rate over the optimizer steps that were taken, by the recipe's schedule; None if unknown.

    what: the part that has this rate, if there are several.
    """
    numbers = {name: value for name, value in recipe.items() if isinstance(value, (int, float))}
    if not history or not {"lr", "warmup", "epochs", "frozen_epochs"} <= numbers.keys():
        return None
    each = max(1, int(history[0].get("steps") or 1))
    steps: list[float] = []
    stages = Counter(record.get("stage") for record in history)
    for stage, length in (("head", int(numbers["frozen_epochs"])), ("all", int(numbers["epochs"]))):
        taken = stages.get(stage, 0) * each
        whole = max(1, length) * each
        steps += [numbers["lr"] * one_cycle(step, whole, warmup=numbers["warmup"]) for step in range(taken)]
    line = Line("rate", np.arange(1, len(steps) + 1), steps)
    title = f"learning rate of {what}" if what else "learning rate"
    return line_chart([line], title=title, x_name="optimizer step", zero=True, whole=True)


def curve_sections(
    history: Sequence[EpochRecord],
    recipe: Mapping[str, object],
    targets: Sequence[str | None],
    *,
    backbone: bool = False,
    kinds: Mapping[str, TargetKind] | None = None,
) -> list[Section]:
    """The curves of a training, and its learning rate; of a run without epochs nothing.

    backbone: whether the body has a learning rate of its own.  kinds: as of `curve_charts`.
    """
    if not history:
        return []
    validated = any(epoch.get("valid") for epoch in history)
    beside = ", and on the validation rows, and its scores there" if validated else ""
    text = (
        f"Each target's loss in training (with whatever makes it harder there: dropout, smoothing){beside}."
    )
    sections = [Section("Curves", text, (Charts(curve_charts(history, targets, kinds)),))]
    chart = rate_chart(history, recipe, what="the head" if backbone else "")
    if chart:
        part = "head's rate at every optimizer step; the body's is a part of it."
        text = f"The {part if backbone else 'rate at every optimizer step.'}"
        sections.append(Section("Learning rate", text, (Charts([chart]),), folded=True))
    return sections


# --- right and wrong -----------------------------------------------------------------------------------


def sample_rows(evaluations: Sequence[TargetEvaluation], most: int) -> list[int]:
    """Rows drawn at random, always the same: so many with right answers only, and with a wrong one.

    Of a number no answer is right or wrong, so that its rows are drawn alike.
    """
    if not evaluations:
        return []
    known = np.any([own.known for own in evaluations], axis=0)
    judged = [own for own in evaluations if own.truth is None]
    wrong = (
        np.any([own.known & ~own.right for own in judged], axis=0) if judged else np.zeros(len(known), bool)
    )
    rng, rows = np.random.default_rng(0), []
    for which in (known & ~wrong, known & wrong):
        found = np.flatnonzero(which)
        rows += np.sort(rng.permutation(found)[:most]).tolist()
    return rows


def listed_rows(evaluations: Sequence[TargetEvaluation]) -> list[int]:
    """Rows in the order in which they get a picture: by their highest loss over all targets that click."""
    losses = [np.nan_to_num(own.loss, nan=-1.0) for own in evaluations if own.truth is None]
    return np.argsort(-np.max(losses, axis=0), kind="stable").tolist() if losses else []


def answer_line(target: TargetEvaluation, row: int, *, named: bool = False) -> str:
    """Label -> answer of a row, with the probability of the answer.  named: begin with the target's name."""
    label, answer = target.label[row] or "no label", _answer(target, row) or "none"
    sure = f", {target.sure[row]:.0%}" if target.codes is not None else ""
    missed = named and target.truth is None and target.known[row] and not target.right[row]
    wrong = " \u2717" if missed else ""
    return f"{f'{target.name}: ' if named else ''}{label} \u2192 {answer}{sure}{wrong}"


def samples_grid(
    evaluations: Sequence[TargetEvaluation], rows: Sequence[int], ids: Sequence[str], *, title: str
) -> Grid:
    """Rows with the label and the answer of each target, where there are no pictures of them."""
    cells: list[list[Cell | str]] = [
        [str(ids[row]), *(answer_line(own, row) for own in evaluations)] for row in rows
    ]
    return Grid(("row", *(own.name for own in evaluations)), cells, title=title)


def class_grid(target: TargetEvaluation) -> list[Part]:
    """Each class with its rows, recall, precision and F1; nothing for numbers."""
    if target.truth is not None:
        return []
    if target.yes is not None:
        names, truth = target.classes, target.yes == 1
        tags = [tags_in(text) for text in target.predicted]
        guess = np.array([[name in own for name in names] for own in tags]) & ~np.isnan(target.yes)
    elif target.codes is not None and target.guesses is not None:
        names, every = target.names, np.arange(len(target.names))
        truth = target.known[:, None] & (target.codes[:, None] == every)
        guess = target.known[:, None] & (target.guesses[:, None] == every)
    else:
        return []
    rows: list[list[Cell | str]] = []
    counts = zip(names, truth.sum(axis=0), guess.sum(axis=0), (truth & guess).sum(axis=0), strict=True)
    for name, labels, answers, hits in counts:
        shares = [hits / whole if whole else math.nan for whole in (labels, answers, (labels + answers) / 2)]
        shown = [Cell("" if share != share else f"{share:.0%}", heat=None if share != share else share)
                 for share in shares]  # fmt: skip
        rows.append([str(name), Cell(str(labels)), Cell(str(answers)), *shown])
    heads = ("class", "rows", "answers", "recall", "precision", "F1")
    return [Grid(heads, rows[:CLASSES], title=_title("each class", len(rows)), cut=CLASS_LETTERS)]


def _title(what: str, rows: int) -> str:
    return what if rows <= CLASSES else f"{what}: the first {CLASSES} of {rows}"


def confusion_part(
    target: TargetEvaluation, ids: Sequence[str], photos: Mapping[str, bytes] | None = None
) -> list[Part]:
    """A table of labels by answers whose numbers show their rows; of a number its answers by its labels.

    photos: row's name -> a small picture of it, where there is one.
    """
    photos = photos or {}
    if target.truth is not None:
        return _scatter(target, ids)
    if target.codes is None or target.guesses is None:
        return [_tag_table(target, ids, photos)]
    names = target.names
    known = target.known & (target.codes < len(names)) & (target.guesses < len(names))
    rows = np.flatnonzero(known)
    counts = np.zeros((len(names), len(names)), dtype=np.int64)
    np.add.at(counts, (target.codes[rows], target.guesses[rows]), 1)
    lists, titles = {}, {}
    for label, guess in np.argwhere(counts > 0):
        own = rows[(target.codes[rows] == label) & (target.guesses[rows] == guess)]
        key = f"{label}:{guess}"
        lists[key] = _listed(target, own, ids)
        titles[key] = f"{len(own)} rows: label {names[label]}, answer {names[guess]}{_first(len(own))}"
    grid = _matrix(target, names, counts) if len(names) <= WHOLE else _pairs(target, names, counts)
    return [
        Clickable(
            grid, ("row", "label", "answer", "probability", "loss"), lists, titles, HINT, photos
        )
    ]  # fmt: skip


def _first(count: int) -> str:
    return f"; the {LISTED} with the highest loss" if count > LISTED else ""


def _listed(target: TargetEvaluation, rows: NDArray[np.int64], ids: Sequence[str]) -> list[list[str]]:
    loss = np.nan_to_num(target.loss[rows], nan=-1.0)
    order: list[int] = rows[np.argsort(-loss, kind="stable")][:LISTED].tolist()
    return [
        [
            str(ids[row]),
            str(target.label[row]) or "none",
            str(target.predicted[row]) or "none",
            f"{target.sure[row]:.1%}",
            score_text(float(target.loss[row]), digits=3),
        ]
        for row in order
    ]


def _matrix(target: TargetEvaluation, names: Sequence[str], counts: NDArray[np.int64]) -> Grid:
    rows: list[list[Cell | str]] = []
    for label, name in enumerate(names):
        total = max(1, int(counts[label].sum()))
        # What a label is right stands first, where a narrow screen shows it.
        right = counts[label, label] / total
        row: list[Cell | str] = [name, Cell(f"{right:.0%}" if counts[label].sum() else "", faint=True)]
        for guess in range(len(names)):
            count, same = int(counts[label, guess]), label == guess
            shown = Cell(
                str(count), heat=count / total, bad=not same, strong=same, key=f"{label}:{guess}",
                small=f"{count / total:.0%}" if len(names) <= PERCENT else "",
            )  # fmt: skip
            row.append(shown if count else Cell("", strong=same))
        rows.append(row)
    upright = len(names) > 5 or max(map(len, names), default=0) > CLASS_LETTERS // 2
    heads = ("label", "right", *names)
    return Grid(heads, rows, title="label by answer", upright=upright, cut=CLASS_LETTERS)


def _pairs(target: TargetEvaluation, names: Sequence[str], counts: NDArray[np.int64]) -> Grid:
    """Of very many classes: the pairs that are confused most, and how often each label is right."""
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:PAIRS]
    rows: list[list[Cell | str]] = []
    for index in order:
        label, guess = divmod(int(index), len(names))
        if not wrong[label, guess]:
            break
        total, right, count = counts[label].sum(), counts[label, label], wrong[label, guess]
        confused = Cell(str(count), heat=float(count / total), bad=True, key=f"{label}:{guess}")
        correct = Cell(str(right), key=f"{label}:{label}" if right else "")
        rows.append([names[label], names[guess], confused, correct, Cell(str(total))])
    title = f"{target.name}: {len(names)} classes; the {len(rows)} pairs that are confused most"
    heads = ("label", "answer", "rows", "rows right", "rows of the label")
    return Grid(heads, rows, title=title, cut=CLASS_LETTERS)


def _tag_table(target: TargetEvaluation, ids: Sequence[str], photos: Mapping[str, bytes]) -> Part:
    """Counts for each tag: found, missed, false alarms and rightly left out."""
    answers = [tags_in(text) for text in target.predicted]
    rows: list[list[Cell | str]] = []
    lists, titles = {}, {}
    assert target.yes is not None
    for index, name in enumerate(target.classes):
        answer = np.array([name in tags for tags in answers])
        truth = target.yes[:, index]
        cells: list[Cell | str] = [name]
        for word, which in (
            ("found", (truth == 1) & answer),
            ("missed", (truth == 1) & ~answer),
            ("false alarm", (truth == 0) & answer),
            ("rightly left out", (truth == 0) & ~answer),
        ):
            own, key = np.flatnonzero(which), f"{index}:{word}"
            cells.append(Cell(str(len(own)), key=key if len(own) else "", strong=word == "found"))
            if len(own):
                lists[key] = _listed(target, own, ids)
                titles[key] = f"{name}: {len(own)} rows {word}{_first(len(own))}"
        rows.append(cells)
    words = ("class", "found", "missed", "false alarm", "rightly left out")
    grid = Grid(words, rows, title=target.name, cut=CLASS_LETTERS)
    heads = ("row", "label", "answer", "surest of all questions", "loss")
    return Clickable(grid, heads, lists, titles, HINT, photos)


def tags_in(text: str) -> set[str]:
    """The tags of an answer in words, whatever separates them."""
    return {part.strip() for part in (text, *(part for mark in ";|, " for part in text.split(mark)))}


def _scatter(target: TargetEvaluation, ids: Sequence[str]) -> list[Part]:
    assert target.truth is not None and target.guess is not None
    known = np.flatnonzero(target.known & np.isfinite(target.guess))
    if not len(known):
        return []
    kept = known[np.linspace(0, len(known) - 1, min(len(known), 1000)).astype(int)]
    truth = target.truth[kept]
    values = np.unique(truth)
    if 1 < len(values) <= FEW:
        # Of few different labels, points would hide each other: they stand beside it, in a fixed pattern.
        truth = truth + 0.6 * np.diff(values).min() * (np.arange(len(kept)) * 0.618034 % 1 - 0.5)
    points = np.column_stack([truth, target.guess[kept]])
    chart = point_chart(
        points,
        [str(ids[row]) for row in kept],
        title=f"{target.name}: answer by label",
        axes=("label", "answer"),
        notes=[f"label {target.label[row]}, answer {target.predicted[row]}" for row in kept],
        diagonal=True,
    )
    return [Charts([chart])]


def top_losses(target: TargetEvaluation, count: int) -> list[int]:
    """Rows with the highest loss, the worst first."""
    loss = [(-value, row) for row, value in enumerate(target.loss.tolist()) if value == value]
    return [row for _, row in sorted(loss)[:count]]


def top_losses_grid(
    target: TargetEvaluation, rows: Sequence[int], ids: Sequence[str], *, title: str = ""
) -> Grid:
    """Rows with their label, answer and loss, where there are no pictures of them."""
    cells: list[list[Cell | str]] = [
        [str(ids[row]), target.label[row], _answer(target, row), Cell(score_text(loss, digits=3))]
        for row, loss in zip(rows, target.loss[list(rows)].tolist(), strict=True)
    ]
    return Grid(("row", "label", "answer", target.loss_word), cells, title=title)


def _answer(target: TargetEvaluation, row: int) -> str:
    """A row's answer in words; a number in few digits."""
    return target.predicted[row] if target.guess is None else f"{target.guess[row]:.4g}"


def calibration_charts(target: TargetEvaluation) -> list[Chart]:
    """How often answers of each probability are right; of yes-or-no questions, each question a row."""
    if target.chance is None or not target.known.any():
        return []
    if target.yes is not None:
        asked = ~np.isnan(target.yes)
        p, truth = target.chance[asked], target.yes[asked].astype(np.int64)
        chance, labels = np.column_stack([1 - p, p]), truth
        title = f"{target.name}: all its questions"
    else:
        assert target.codes is not None
        own = target.known & (target.codes < target.chance.shape[1])
        chance, labels, title = target.chance[own], target.codes[own], target.name
    if not len(labels) or np.isnan(chance).any():
        return []
    confidence, right, rows = calibration_bins(chance, labels)
    error = expected_calibration_error(chance, labels)
    return [reliability_chart(confidence, right, rows, title=title, error=error)]


def facts_parts(
    facts: Mapping[str, object], recipe: Mapping[str, object], notes: Sequence[object]
) -> list[Part]:
    """Facts of a run, without unknown ones; its recipe and its notes, folded."""
    rows = [[name, str(value)] for name, value in facts.items() if value not in (None, "")]
    parts: list[Part] = [Grid(("", ""), rows)]
    if recipe:
        parts.append(Notes("the whole recipe", [f"{name} = {value}" for name, value in recipe.items()]))
    if notes:
        title = f"{len(notes)} things that were decided or noticed"
        parts.append(Notes(title, [str(note) for note in notes]))
    return parts


# --- memory --------------------------------------------------------------------------------------------


def memory_parts(record: RunRecord, history: Sequence[EpochRecord]) -> tuple[Part, ...]:
    """The plan, its prediction, and what was measured."""
    plan = record.plan
    if not plan and not record.peak_bytes:
        return ()
    low, high = (plan.get("band_bytes") or (0, 0))[:2]
    planned = plan.get("predicted_bytes") or 0
    again = "no"
    if plan.get("checkpoint"):
        again = of_blocks(plan.get("blocks") or ()).strip() or "yes"
    rows: list[list[Cell | str]] = [
        ["rows at once x micro-batches", f"{plan.get('micro_batch', '?')} x {plan.get('accumulation', '?')}"],
        ["activations computed again", again],
        *([["optimizer's state", "in the host's memory"]] if plan.get("offload") else []),
        ["planned peak", gib(planned) if planned else "nothing was planned: no budget was given"],
    ]
    if high:
        rows.append(["planned, from low to high", f"{gib(low)} to {gib(high)}"])
    if plan.get("measured_bytes"):
        rows.append(["measured peak of the training", gib(plan["measured_bytes"])])
    rows.append(["most that the process held", gib(record.peak_bytes)])
    truth = plan.get("measured_bytes") or record.peak_bytes
    if planned and truth:
        rows.append(["measured less planned", f"{(truth - planned) / planned:+.1%}"])
    parts: list[Part] = [Grid(("", ""), rows)]
    named = [(name, size) for name, size in (plan.get("parts") or {}).items() if size]
    if named:
        total = sum(size for _, size in named)
        cells: list[list[Cell | str]] = [
            [name, Cell(gib(size)), Cell(f"{size / total:.0%}", heat=size / total)] for name, size in named
        ]
        parts.append(Grid(("part of the plan", "size", "share"), cells))
    peaks = [epoch.get("peak_bytes") or math.nan for epoch in history]
    if len(peaks) > 1 and len(set(peaks)) > 1:
        epochs = [epoch["epoch"] + 1 for epoch in history]
        lines = [Line("measured", epochs, np.array(peaks, dtype=np.float64) / 2**30, dots=True)]
        if planned:
            lines.append(Line("planned", epochs, np.full(len(epochs), planned / 2**30), dashed=True))
        chart = line_chart(lines, title="peak so far", x_name="epoch", y_name="GiB", zero=True, whole=True)
        parts.append(Charts([chart]))
    return tuple(parts)


def gib(size: float) -> str:
    """Return bytes as a page shows them."""
    return f"{size / 2**30:.2f} GiB" if size >= 2**30 / 10 else f"{size / 2**20:.1f} MiB"
