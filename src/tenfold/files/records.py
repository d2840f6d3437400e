"""Answers as dictionaries in JSON's types, a row to each (docs/formats.md)."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from tenfold.runs.record import nan_to_none
from tenfold.values import Neighbours, PairPredictions, Predictions, Recommendations

__all__ = ["answer_records", "list_records"]


def answer_records(answers: Predictions, id_name: str) -> list[dict[str, object]]:
    """A dictionary for each row: its id, each target's answer, and the probabilities of its classes.

    id_name: the key of the id.
    """
    rows: list[dict[str, object]] = []
    for index, row in enumerate(answers.ids):
        values = {target: own.values[index] for target, own in answers.targets.items()}
        told = {name: own.item() if isinstance(own, np.generic) else own for name, own in values.items()}
        chances = {
            target: dict(zip(own.classes, own.probabilities[index].tolist(), strict=True))
            for target, own in answers.targets.items()
            if own.probabilities is not None
        }
        rows.append(nan_to_none({id_name: str(row), "answers": told, "probabilities": chances}))
    return rows


def list_records(answers: Recommendations | Neighbours | PairPredictions) -> list[dict[str, object]]:
    """A dictionary for each row, by the headings of the files; of a list with its reasons."""
    headings = {"users": "user", "items": "item", "names": "name"}
    columns = {
        headings.get(field.name, field.name): _plain(getattr(answers, field.name))
        for field in fields(answers)
        if isinstance(getattr(answers, field.name), np.ndarray)
    }
    rows: list[dict[str, object]] = [
        dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
    ]
    reasons = answers.reasons if isinstance(answers, Recommendations) else ()
    for row, items in zip(rows, reasons, strict=False):
        row["reasons"] = [{"name": name, "moved": round(moved, 4)} for name, moved in items]
    return rows


def _plain(values: NDArray[np.generic]) -> list[object]:
    """Return numbers with as few digits as they need: 4.13 and not 4.130000114440918."""
    if values.dtype == np.float32:
        return [float(str(value)) for value in values]
    return values.tolist()
