"""Answers into the file that was asked for, and what is said of them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tenfold.cli.options import AnswerOutput
from tenfold.cli.write import write_answers, write_lists
from tenfold.errors import OutputError
from tenfold.values import Neighbours, PairPredictions, Predictions, Recommendations, TargetPrediction


def words(*values: str) -> Any:
    return np.array(values, dtype=object)


def predictions(*, failed: tuple[int, ...] = ()) -> Predictions:
    chance = np.array([[0.25, 0.75], [1.0, 0.0], [0.125, 0.875]])
    chance[list(failed)] = np.nan
    values = words("dog", "cat", "dog")
    values[list(failed)] = ""
    mask = np.isin(np.arange(3), failed)
    target = TargetPrediction("category", ("cat", "dog"), chance, values)
    return Predictions(words("007", "7", "=x"), {"label": target}, mask, dict.fromkeys(failed, "gone"))


def given(path: Path | None, **values: Any) -> AnswerOutput:
    return AnswerOutput(output=None if path is None else str(path), **values)


def read(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_predictions_are_counted_and_failures_with_them(tmp_path: Path) -> None:
    written = write_answers(predictions(failed=(1,)), given(tmp_path / "o.csv"), id_name="code")
    assert {name: written[name] for name in ("output", "rows", "failed")} == {
        "output": str(tmp_path / "o.csv"),
        "rows": 3,
        "failed": 1,
    }
    assert any("'=x'" in note for note in written["notes"])
    rows = read(tmp_path / "o.csv")
    assert [row["code"] for row in rows] == ["007", "7", "=x"]
    assert [row["label"] for row in rows] == ["dog", "", "dog"]
    assert [row["reason"] for row in rows] == ["", "gone", ""]
    json.dumps(written)


def test_probabilities_and_inert_cells_on_request(tmp_path: Path) -> None:
    write_answers(
        predictions(), given(tmp_path / "o.csv", probabilities=True, spreadsheet_safe=True), id_name="id"
    )
    rows = read(tmp_path / "o.csv")
    assert rows[2] == {"id": "'=x", "label": "dog", "label:cat": "0.125", "label:dog": "0.875"}


def test_a_sample_is_filled_in(tmp_path: Path) -> None:
    (tmp_path / "sample.csv").write_text("id,label\n7,x\n007,x\n=x,x\n")
    written = write_answers(
        predictions(), given(tmp_path / "o.csv", like=str(tmp_path / "sample.csv")), id_name="id"
    )
    assert (tmp_path / "o.csv").read_text() == "id,label\n7,cat\n007,dog\n=x,dog\n"
    assert written["rows"] == 3 and written["failed"] == 0
    (tmp_path / "o.csv").unlink()
    with pytest.raises(OutputError, match="gone"):
        write_answers(
            predictions(failed=(1,)),
            given(tmp_path / "o.csv", like=str(tmp_path / "sample.csv")),
            id_name="id",
        )
    assert not (tmp_path / "o.csv").exists()


def pairs() -> PairPredictions:
    return PairPredictions(
        users=words("1", "1", "new"),
        items=words("a", "zz", "a"),
        score=np.array([4.13, 3.0, 3.5], np.float32),
        deviation=np.array([0.5, np.nan, np.nan], np.float32),
        known_user=np.array([True, True, False]),
        known_item=np.array([True, False, True]),
        item_state=words("rated", "unknown", "rated"),
        notes=("told when it was predicted",),
    )


def test_pairs_say_how_many_stand_on_the_fallback(tmp_path: Path) -> None:
    written = write_answers(pairs(), given(tmp_path / "o.csv"), id_name="line")
    assert written == {"output": str(tmp_path / "o.csv"), "rows": 3, "notes": [], "failed": 0, "fallback": 2}
    assert [row["score"] for row in read(tmp_path / "o.csv")] == ["4.13", "3.0", "3.5"]


def test_pairs_without_a_file_are_the_rows_themselves() -> None:
    written = write_answers(pairs(), given(None), id_name="line")
    assert written["fallback"] == 2 and written["notes"] == []
    first = written["rows"][0]
    assert first == {
        "user": "1", "item": "a", "score": 4.13, "deviation": 0.5, "known_user": True, "known_item": True,
        "item_state": "rated",
    }  # fmt: skip


def lists() -> Recommendations:
    return Recommendations(
        users=words("1", "1"),
        items=words("a", "b"),
        names=words("Sun", "-Moon-"),
        rank=np.array([1, 2]),
        score=np.array([4.13, 4.0], np.float32),
        deviation=np.array([0.25, 0.5], np.float32),
        known_user=np.array([True, True]),
        reasons=((("Star", 0.31234567),), ()),
        notes=("1 of 2 users known",),
    )


def test_lists_as_rows_or_as_a_file(tmp_path: Path) -> None:
    written = write_lists(lists(), given(None))
    assert written["notes"] == ["1 of 2 users known"]
    assert written["rows"][0]["name"] == "Sun" and written["rows"][0]["score"] == 4.13
    assert written["rows"][0]["reasons"] == [{"name": "Star", "moved": 0.3123}]
    assert written["rows"][1]["reasons"] == [] and written["rows"][1]["rank"] == 2
    json.dumps(written)
    filed = write_lists(lists(), given(tmp_path / "o.csv"))
    assert (filed["output"], filed["rows"]) == (str(tmp_path / "o.csv"), 2)
    assert filed["notes"][0] == "1 of 2 users known" and "'-Moon-'" in filed["notes"][1]
    assert [row["name"] for row in read(tmp_path / "o.csv")] == ["Sun", "-Moon-"]


def test_neighbours_as_rows_or_as_a_file(tmp_path: Path) -> None:
    found = Neighbours(
        asked=words("a"),
        found=words("b"),
        names=words("Moon"),
        rank=np.array([1]),
        cosine=np.array([-0.5], np.float32),
    )
    row = {"asked": "a", "found": "b", "name": "Moon", "rank": 1, "cosine": -0.5}
    assert write_lists(found, given(None)) == {"rows": [row], "notes": []}
    assert write_lists(found, given(tmp_path / "o.csv"))["rows"] == 1
    assert read(tmp_path / "o.csv") == [{name: str(value) for name, value in row.items()}]
