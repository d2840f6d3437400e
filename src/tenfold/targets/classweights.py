"""Class weights: what a row, or a yes of a class, counts in a target's loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import RecipeError, did_you_mean
from tenfold.schema import Schema
from tenfold.targets.labels import Classes, Labels, TargetStats, Weights, class_counts

#: ``none``, ``balanced``, or target -> ``balanced`` or class -> weight (1 where none is given).
ClassWeights = str | Mapping[str, str | Mapping[str, float]]


def check_class_weights(given: ClassWeights, schema: Schema, classes: Classes) -> None:
    """Refuse weights of unknown targets and classes."""
    if given != "none" and not classes:
        raise RecipeError("class_weights are given, and no target has classes", fix="leave them out")
    if isinstance(given, str):
        return
    for name, wanted in given.items():
        if name not in classes:
            known = [target.name for target in schema.answers if target.name in classes]
            raise RecipeError(
                f"class_weights names {name!r}, which is not a target with classes",
                fix=did_you_mean(name, known),
            )
        for word in () if isinstance(wanted, str) else wanted:
            if word not in classes[name]:
                raise RecipeError(
                    f"class_weights of {name!r} names {word!r}, which is not a class of it",
                    fix=did_you_mean(word, classes[name]),
                )


def decide_class_weights(
    given: ClassWeights,
    classes: Classes,
    facts: Mapping[str, TargetStats],
    labels: Mapping[str, Labels],
    weights: Mapping[str, Weights],
    train: NDArray[np.int64],
) -> tuple[dict[str, TargetStats], list[str]]:
    """Return the facts with the weight of each class, and notes on classes without a training row.

    A balanced class has weight rows / (classes x rows of the class). Where each class is a question of its
    own (open, multilabel), yes and no are balanced against each other in the same way, and a given weight is
    that of the yes. A class without a training row keeps weight 1, so that validation stays finite.
    """
    decided, notes = dict(facts), []
    for target, own_labels in labels.items():
        wanted = given if isinstance(given, str) else given.get(target, "none")
        if target not in classes or wanted == "none":
            continue
        names = classes[target]
        rows, no = class_counts(own_labels[train], len(names)), None
        if weights[target].ndim == 2:
            yes, no = _question_weights(wanted, names, rows, weights[target][train])
        else:
            yes = _given_weights(wanted, names, rows)
        own = {"yes_weights": tuple(yes.tolist()), "no_weights": () if no is None else tuple(no.tolist())}
        decided[target] = decided.get(target, TargetStats()).model_copy(update=own)
        for name in np.array(names, dtype=object)[rows == 0] if wanted == "balanced" else ():
            notes.append(f"{target}: class {name!r} has no training row; its weight stays 1")
    return decided, notes


def class_weighted(
    facts: Mapping[str, TargetStats], labels: Mapping[str, Labels], weights: Mapping[str, Weights]
) -> dict[str, Weights]:
    """Weights times those of the classes, as `decide_class_weights` settled them."""
    weighted = dict(weights)
    for target, codes in labels.items():
        own = facts.get(target, TargetStats())
        if not own.yes_weights:
            continue
        yes = np.array(own.yes_weights)
        if own.no_weights:
            present = codes == 1 if codes.ndim == 2 else codes[:, None] == np.arange(len(yes))
            factor = np.where(present, yes, np.array(own.no_weights))
        else:
            # A missing label has no class, nor has a label that is not a class of the run.
            known = (codes >= 0) & (codes < len(yes))
            factor = np.where(known, yes[np.where(known, codes, 0)], 0.0)
        weighted[target] = weights[target] * factor
    return weighted


def _given_weights(
    wanted: str | Mapping[str, float], names: Sequence[str], rows: NDArray[np.int64]
) -> NDArray[np.float64]:
    if isinstance(wanted, str):
        return np.where(rows > 0, rows.sum() / (len(names) * np.maximum(rows, 1)), 1.0)
    return np.array([wanted.get(name, 1.0) for name in names])


def _question_weights(
    wanted: str | Mapping[str, float], names: Sequence[str], yes: NDArray[np.int64], weights: Weights
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights of yes and of no per class.

    yes: (classes,) training rows that say yes.  weights: (training rows, classes).
    """
    if not isinstance(wanted, str):
        return _given_weights(wanted, names, yes), np.ones(len(names))
    known = (weights > 0).sum(axis=0)
    no = known - yes
    both = (yes > 0) & (no > 0)
    return (
        np.where(both, known / (2 * np.maximum(yes, 1)), 1.0),
        np.where(both, known / (2 * np.maximum(no, 1)), 1.0),
    )
