"""Predictions made by hand, and files of them read back."""

from __future__ import annotations

import csv

import numpy as np

from tenfold.values import Predictions, TargetPrediction


def text_of(values) -> np.ndarray:
    made = np.empty(len(values), dtype=object)
    made[:] = values
    return made


def category_of(values, classes=None, probabilities=None) -> TargetPrediction:
    classes = tuple(classes or sorted(set(values)))
    if probabilities is None:
        probabilities = np.array([[float(one == word) for word in classes] for one in values])
    return TargetPrediction("category", classes, np.asarray(probabilities, dtype=float), text_of(values))


def number_of(values) -> TargetPrediction:
    return TargetPrediction("number", (), None, np.asarray(values, dtype=float))


def predictions_of(ids, failed=(), reasons=None, **targets) -> Predictions:
    flags = np.zeros(len(ids), dtype=bool)
    flags[list(failed)] = True
    return Predictions(text_of(ids), targets, flags, reasons or {})


def read_of(path, **options) -> list[list[str]]:
    with open(path, encoding="utf-8", newline="") as stream:
        return list(csv.reader(stream, **options))
