"""Which epoch is the best, by a figure per epoch; and early stopping."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from tenfold.errors import RecipeError, did_you_mean
from tenfold.nn.heads import Head
from tenfold.recipe import Recipe
from tenfold.targets.base import Labels, RowWeights
from tenfold.targets.words import HIGHER_IS_BETTER
from tenfold.values import TargetScores, read_score


def check_monitor(recipe: Recipe, heads: Sequence[Head], valid_rows: int) -> None:
    """Refuse a recipe that watches what there is not: a target, a score, or validation rows."""
    wishes = {
        "patience": recipe.patience > 0,
        "keep = 'best'": recipe.keeps_best,
        "calibrate_probabilities": recipe.calibrate_probabilities,
    }
    wanting = [name for name, wished in wishes.items() if wished]
    if wanting and not valid_rows:
        raise RecipeError(f"{wanting[0]} needs validation rows", fix="give --valid 0.2")
    name, score = _parts(recipe.monitor, heads)
    named = {head.name: head for head in heads}
    if name is None:
        return
    if name not in named:
        raise RecipeError(
            f"monitor names {name!r}, which is not a target", fix=did_you_mean(name, [*named, "mean"])
        )
    if score and score not in named[name].score_names:
        raise RecipeError(
            f"monitor names {score!r}, which is not a score of {name!r} ({named[name].kind})",
            fix=did_you_mean(score, named[name].score_names),
        )


def check_defined(
    recipe: Recipe, heads: Sequence[Head], labels: Mapping[str, Labels], weights: RowWeights = None
) -> None:
    """Refuse a figure that is not defined on these rows, whatever the answers are.

    labels: target -> of the validation rows.  weights: what each row counts. Raises RecipeError.
    """
    if not recipe.patience and not recipe.keeps_best:
        return
    # Whether a score is defined depends on the labels alone, so any answers will do.
    scores = {}
    for head in heads:
        wide = max(1, len(head.classes))
        answers = np.full((len(labels[head.name]), wide), 1 / wide)
        scores[head.name] = head.scores(answers, labels[head.name], weights=weights)
    if not math.isfinite(monitored(recipe, heads, scores)):
        rows = len(next(iter(labels.values())))
        raise RecipeError(
            f"{recipe.monitor} is not defined on the {rows} validation rows, so no epoch can be the best",
            fix="watch another score with --monitor, or hold out rows with labels of several classes",
        )


def monitored(recipe: Recipe, heads: Sequence[Head], scores: TargetScores) -> float:
    """The epoch's figure, of which less is better; NaN where no label is known.

    scores: target -> scores on the validation rows.
    ``mean`` is the plain mean over targets of what stands for each: log loss, or for a number the mean
    squared error in units of the training labels' variance, which are the losses that training weighs
    against each other. ``TARGET`` is one of these, ``TARGET:SCORE`` any score of it.
    """
    name, score = _parts(recipe.monitor, heads)
    if name is not None and score:
        value = read_score(scores[name], score)
        return -value if score in HIGHER_IS_BETTER else value
    found = [head.primary_loss(scores[head.name]) for head in heads if name in (None, head.name)]
    there = [value for value in found if not math.isnan(value)]
    return sum(there) / len(there) if there else math.nan


def is_gain(value: float, best: float | None) -> bool:
    """Whether a figure is better than the best one; NaN and infinity never are."""
    return math.isfinite(value) and (best is None or value < best)


def _parts(monitor: str, heads: Sequence[Head]) -> tuple[str | None, str]:
    """(target, or None for the mean; score, or "" for what stands for the target)."""
    if monitor in {head.name for head in heads}:
        return monitor, ""
    if monitor == "mean":
        return None, ""
    name, colon, score = monitor.rpartition(":")
    return (name, score) if colon else (monitor, "")
