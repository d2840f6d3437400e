"""Class weights: what a row, or a yes of a class, counts in a target's loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.data.labels import Classes, Labels, Weights, class_counts
from tenfold.errors import RecipeError, did_you_mean
from tenfold.schema import Schema


def check_class_weights(given: Any, schema: Schema, classes: Classes) -> None:
    """Refuse weights of targets and classes that there are not.

    given: as in `Recipe.class_weights`.
    """
    if isinstance(given, str):
        return
    for name, wanted in given.items():
        if name not in classes:
            known = [one.name for one in schema.answers if one.name in classes]
            raise RecipeError(
                f"class_weights names {name!r}, which is no target with classes",
                fix=did_you_mean(name, known),
            )
        for word in () if isinstance(wanted, str) else wanted:
            if word not in classes[name]:
                raise RecipeError(
                    f"class_weights of {name!r} names {word!r}, which is no class of it",
                    fix=did_you_mean(word, classes[name]),
                )


def class_weighted(
    given: Any,
    classes: Classes,
    labels: Mapping[str, Labels],
    weights: Mapping[str, Weights],
    train: NDArray[np.int64],
) -> tuple[dict[str, Weights], list[str]]:
    """Weights times those of the classes, and notes on classes without a training row.

    given: ``none``, ``balanced``, or target -> ``balanced`` or class -> weight (1 where none is given).

    A balanced class has weight rows / (classes x rows of the class). Where each class is a question of its
    own (open, multilabel), yes and no are balanced against each other in the same way, and a given weight is
    one of the yes. A class without a training row keeps weight 1: it can meet no training row, and validation
    must stay finite.
    """
    weighted, notes = dict(weights), []
    for target, found in labels.items():
        wanted = given if isinstance(given, str) else given.get(target, "none")
        if target not in classes or wanted == "none":
            continue
        names = classes[target]
        if weights[target].ndim == 2:
            yes, no, rows = _question_weights(wanted, names, found, weights[target], train)
            present = found == 1 if found.ndim == 2 else found[:, None] == np.arange(len(names))
            factor = np.where(present, yes, no)
        else:
            rows = class_counts(found[train], len(names))
            factor = _given_weights(wanted, names, rows)[np.where(found >= 0, found, 0)]
            factor = np.where(found >= 0, factor, 0.0)
        weighted[target] = weights[target] * factor
        for name in np.array(names, dtype=object)[rows == 0] if wanted == "balanced" else ():
            notes.append(f"{target}: class {name!r} has no training row; its weight stays 1")
    return weighted, notes


def _given_weights(wanted: Any, names: Sequence[str], rows: NDArray[np.int64]) -> NDArray[np.float64]:
    if wanted == "balanced":
        return np.where(rows > 0, rows.sum() / (len(names) * np.maximum(rows, 1)), 1.0)
    return np.array([wanted.get(name, 1.0) for name in names])


def _question_weights(
    wanted: Any, names: Sequence[str], labels: Labels, weights: Weights, train: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Weights of yes and of no per class, and how many training rows say yes."""
    yes = class_counts(labels[train], len(names))
    if wanted != "balanced":
        return _given_weights(wanted, names, yes), np.ones(len(names)), yes
    known = (weights[train] > 0).sum(axis=0)
    no, one = known - yes, np.ones(len(names))
    both = (yes > 0) & (no > 0)
    return (
        np.where(both, known / (2 * np.maximum(yes, 1)), one),
        np.where(both, known / (2 * np.maximum(no, 1)), one),
        yes,
    )
