"""The head of a run's page: each target's main score, its baseline and its standard error; what it cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tenfold.metrics import score_text
from tenfold.reports.html import Card
from tenfold.reports.parts import tags_in
from tenfold.runs.heldout import HeldOutRows
from tenfold.runs.record import RunRecord
from tenfold.targets.base import TargetEvaluation
from tenfold.targets.words import BESIDE_MEAN, HEADINGS
from tenfold.values import Scores, read_score, read_scores

__all__ = ["cost_card", "headline_cards", "score_error"]

Floats = NDArray[np.float64]

#: Scores that stand in large letters, the first that a target has.
MAIN = ("error_rate", "micro_f1", "rmse", "poisson_deviance")
#: Further scores that a card names.
BESIDE = ("log_loss", "macro_f1", "auc", "quadratic_kappa", "macro_ap", "mae", "r2")
#: How far a score that is computed again from the file of held-out rows may be from the recorded one.
SAME = 1e-4


def headline_cards(record: RunRecord, held: HeldOutRows | None) -> list[Card]:
    """A card for each target with scores.

    held: the held-out rows, from which standard errors come; a score has none where they give another value.
    """
    evaluations = {one.name: one for one in held.evaluations} if held else {}
    weights = held.weights if held else None
    cards = []
    for name, scores in record.targets.items():
        main = next((score for score in MAIN if not math.isnan(read_score(scores, score))), "")
        if main:
            evaluation = evaluations.get(name)
            error = (
                score_error(main, read_score(scores, main), evaluation, weights) if evaluation else math.nan
            )
            cards.append(_card(name, main, scores, error))
        lists = read_scores(scores, "lists")
        if not math.isnan(read_score(lists, "ndcg")):
            cards.append(_lists_card(name, lists))
    return cards


def _card(name: str, main: str, scores: Scores, error: float) -> Card:
    value, rows = read_score(scores, main), read_score(scores, "scored")
    spread = "" if math.isnan(error) else f" ± {error:.2g}"
    counted = f"over {rows:.0f} held-out rows" if rows == rows else "on held-out rows"
    lines = [f"standard error {counted}" if spread else counted]
    beside = [
        f"{HEADINGS[score]} {score_text(read_score(scores, score))}" for score in BESIDE if score in scores
    ]
    if main == "error_rate":
        majority = read_score(scores, "majority_error_rate")
        spread = "" if math.isnan(error) else f" ± {error:.1%}"
        if majority == majority:
            lines.insert(0, f"always the commonest answer: {1 - majority:.1%}")
        mark = None if majority != majority else 1 - majority
        return Card(name, f"{1 - value:.1%}", f"right{spread}", [*lines, *_line(beside)], 1 - value, mark)
    if main == "micro_f1":
        return Card(name, score_text(value), f"micro F1{spread}", [*lines, *_line(beside)], value)
    for who, others in read_scores(scores, "baselines").items():
        if isinstance(others, Mapping):
            lines.insert(0, f"{who.replace('_', ' ')}: {score_text(read_score(others, main))}")
    mean = read_score(scores, BESIDE_MEAN[main])
    if mean == mean:
        lines.insert(0, f"always the mean: {score_text(mean)}")
    return Card(name, score_text(value), f"{HEADINGS[main]}{spread}", [*lines, *_line(beside)])


def _lists_card(name: str, lists: Scores) -> Card:
    """The lists of a recommender, beside those of the most popular items."""
    n, ndcg, users = (read_score(lists, score) for score in ("n", "ndcg", "users"))
    popular = read_score(read_scores(read_scores(lists, "baselines"), "most_popular"), "ndcg")
    lines = [f"the most popular items: {popular:.4f}"] if popular == popular else []
    lines.append(f"over {users:.0f} users" if users == users else "")
    beside = [f"{score} {score_text(read_score(lists, score))}" for score in ("hit", "recall", "coverage")]
    return Card(f"{name}: lists of {n:.0f}", f"{ndcg:.4f}", "NDCG", [*lines, *_line(beside)])


def _line(words: Sequence[str]) -> list[str]:
    return [" · ".join(words)] if words else []


def cost_card(record: RunRecord) -> Card:
    """How long a run took, on what, and the most memory that it held."""
    seconds = record.seconds
    if seconds < 120:
        big, unit = f"{seconds:.0f}", "seconds"
    elif seconds < 7200:
        big, unit = f"{seconds / 60:.0f}", "minutes"
    else:
        big, unit = f"{seconds / 3600:.1f}", "hours"
    lines = [f"{record.peak_bytes / 2**30:.2f} GiB of memory at most"] if record.peak_bytes else []
    lines += [f"on {record.device}"] if record.device else []
    lines += [f"finished {record.finished[:16].replace('T', ' ')}"] if record.finished else []
    return Card("time", big, unit, lines)


def score_error(name: str, recorded: float, of: TargetEvaluation, weights: Floats | None) -> float:
    """The standard error of a score over held-out rows, by leaving each out in turn (the jackknife).

    Rows count as independent. NaN for other scores than `MAIN`, with a single row, or where the rows
    give another value than the recorded one.
    """
    known = of.known
    count = np.ones(int(known.sum())) if weights is None else np.asarray(weights, dtype=np.float64)[known]
    if name == "error_rate":
        top, bottom = count * ~of.right[known], count
        finish: Callable[[Floats], Floats] = np.asarray
    elif name == "rmse" and of.truth is not None and of.guess is not None:
        top, bottom, finish = count * (of.guess - of.truth)[known] ** 2, count, np.sqrt
    elif name == "micro_f1" and of.yes is not None:
        answer = np.array([[word in tags for word in of.classes] for tags in map(tags_in, of.predicted)])
        truth, asked = of.yes[known] == 1, ~np.isnan(of.yes[known])
        answer = answer[known] & asked
        top = 2 * count * (truth & answer).sum(axis=1)
        bottom, finish = count * (truth.sum(axis=1) + answer.sum(axis=1)), np.asarray
    else:
        return math.nan
    rows = len(top)
    with np.errstate(invalid="ignore", divide="ignore"):
        whole = float(finish(top.sum() / bottom.sum()))
        each = np.asarray(finish((top.sum() - top) / (bottom.sum() - bottom)), dtype=np.float64)
    if (
        rows < 2
        or not math.isclose(whole, recorded, rel_tol=SAME, abs_tol=SAME)
        or not np.isfinite(each).all()
    ):
        return math.nan
    return float(np.sqrt((rows - 1) / rows * ((each - each.mean()) ** 2).sum()))
