"""Answers as JSON: plain types, figures with the digits that they have, nothing that JSON cannot say."""

from __future__ import annotations

import json

import numpy as np

from tenfold.files.records import answer_records, list_records
from tenfold.runs.record import nan_to_none
from tenfold.values import Predictions, Recommendations, TargetPrediction


def words(*texts: str) -> np.ndarray:
    return np.array(texts, dtype=object)


def test_answers_are_rows_of_plain_values() -> None:
    chances = np.array([[0.25, 0.75], [np.nan, np.nan]])
    targets = {
        "kind": TargetPrediction("category", ("a", "b"), chances, words("b", "")),
        "size": TargetPrediction("number", (), None, np.array([1.5, np.nan])),
    }
    made = answer_records(Predictions(words("r1", "r2"), targets, np.array([False, True])), "id")
    assert json.loads(json.dumps(made, allow_nan=False)) == [
        {
            "id": "r1",
            "answers": {"kind": "b", "size": 1.5},
            "probabilities": {"kind": {"a": 0.25, "b": 0.75}},
        },
        {
            "id": "r2",
            "answers": {"kind": "", "size": None},
            "probabilities": {"kind": {"a": None, "b": None}},
        },
    ]


def test_lists_have_reasons_and_no_missing_numbers() -> None:
    lists = Recommendations(
        users=words("u"),
        items=words("i"),
        names=words("Title"),
        rank=np.array([1]),
        score=np.array([4.13], np.float32),
        deviation=np.array([np.nan], np.float32),
        known_user=np.array([True]),
        reasons=((("Other", 0.12345),),),
    )
    [row] = json.loads(json.dumps([nan_to_none(one) for one in list_records(lists)], allow_nan=False))
    assert row == {
        "user": "u",
        "item": "i",
        "name": "Title",
        "rank": 1,
        "score": 4.13,
        "deviation": None,
        "known_user": True,
        "reasons": [{"name": "Other", "moved": 0.1235}],
    }
