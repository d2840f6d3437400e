"""What held-out rows say of a blend, on runs whose answers are known."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tenfold.data.encode import Encoding
from tenfold.data.tables.table import read_table, write_parquet
from tenfold.ensembles.evaluate import evaluate_blend, find_contributions
from tenfold.ensembles.joined import blend_of
from tenfold.recipe import Recipe
from tenfold.runs.folder import RunFolder
from tenfold.runs.record import RunRecord
from tenfold.runs.run import Member
from tenfold.schema import CategoryTarget, ImageColumn, MultiLabelTarget, NumberTarget, Schema

LABELS = ["a", "b"] * 20


def member(
    folder: Path, name: str, rows: list[int], right: float, fold: Any = None, weight: float = 1.0
) -> Member:
    """A member that gives the right class `right`; its number is off by 1 - right, its tags likewise."""
    path = folder / f"{name}-{fold}"
    path.mkdir(parents=True)
    labels = [LABELS[row] for row in rows]
    of_a = np.array([right if one == "a" else 1 - right for one in labels])
    tags = {"a": "x;y", "b": "x"}
    columns: dict[str, Any] = {
        "id": np.array([f"r{row}" for row in rows], dtype=object),
        "row": np.array(rows),
        "label": np.array(labels, dtype=object),
        "label:predicted": np.array(labels, dtype=object),
        "label:a": of_a,
        "label:b": 1 - of_a,
        "mass": np.array([float(row) for row in rows]),
        "mass:predicted": np.array([row + 1 - right for row in rows]),
        "tags": np.array([tags[one] for one in labels], dtype=object),
        "tags:predicted": np.array([tags[one] for one in labels], dtype=object),
        "tags:x": np.full(len(rows), right),
        "tags:y": of_a,
    }
    write_parquet(path / "validation.parquet", columns)
    targets = (CategoryTarget(name="label"), NumberTarget(name="mass"), MultiLabelTarget(name="tags"))
    schema = Schema(inputs=(ImageColumn(name="id", folder="photos"),), targets=targets)
    encoding = Encoding(classes={"label": ("a", "b"), "tags": ("x", "y")})
    run: Any = SimpleNamespace(
        path=path, schema=schema, recipe=Recipe(fold=fold), encoding=encoding, record=RunRecord({})
    )
    return Member(name, weight, (run,))


def joined(*parts: Member) -> Member:
    return Member(parts[0].name, parts[0].weight, tuple(part.runs[0] for part in parts))


def whole(folder: Path, name: str, right: float, weight: float = 1.0) -> Member:
    """Held out in two folds, not in the order of the table."""
    first, second = (
        list(range(0, 40, 4)) + list(range(1, 40, 4)),
        list(range(3, 40, 4)) + list(range(2, 40, 4)),
    )
    return joined(
        member(folder, name, first, right, (1, 2), weight),
        member(folder, name, second, right, (2, 2), weight),
    )


def test_the_better_member_is_found_for_every_kind_of_target(tmp_path: Path) -> None:
    blend = blend_of(tmp_path, [whole(tmp_path, "good", 0.9), whole(tmp_path, "bad", 0.4)], RunRecord({}))
    for method in ("greedy", "convex", "best"):
        judged = evaluate_blend(blend, method=method)
        assert all(weights["good"] > 0.98 for weights in judged.weights.values()), method
        assert judged.scores["label"]["log_loss"] == pytest.approx(-np.log(0.9), abs=0.01)
        assert judged.scores["mass"]["rmse"] == pytest.approx(0.1, abs=0.01)
        assert judged.scores["tags"]["micro_f1"] == 1.0
    stated = evaluate_blend(blend)
    assert stated.weights["label"] == {"good": 0.5, "bad": 0.5}
    assert stated.scores["label"]["log_loss"] == pytest.approx(-np.log(0.65))
    assert stated.members["bad"]["label"]["error_rate"] == 1.0
    assert stated.blends["mass"]["weights"]["loss"] == pytest.approx(((0.1 + 0.6) / 2) ** 2)


def test_the_table_is_in_the_order_of_the_rows(tmp_path: Path) -> None:
    blend = blend_of(
        tmp_path, [whole(tmp_path, "one", 0.9), whole(tmp_path, "two", 0.7, weight=3)], RunRecord({})
    )
    evaluate_blend(blend).write_answers(RunFolder(tmp_path, tmp_path, -1))
    table = read_table(tmp_path / "oof.parquet")
    assert table.numbers("row").tolist() == list(range(40))
    assert table.text("id").tolist() == [f"r{row}" for row in range(40)]
    assert table.text("label").tolist() == LABELS == table.text("label:predicted").tolist()
    assert table.numbers("label:a")[0] == pytest.approx((0.9 + 3 * 0.7) / 4)
    assert table.numbers("mass@two")[:3] == pytest.approx([0.3, 1.3, 2.3])
    assert table.text("tags:predicted").tolist() == ["x y" if one == "a" else "x" for one in LABELS]
    assert set(table.numbers("fold").astype(int)) == {1, 2}


def test_splits_of_their_own_are_scored_by_who_held_the_row_out(tmp_path: Path) -> None:
    members = [member(tmp_path, "one", [0, 1, 2, 3], 0.9), member(tmp_path, "two", [2, 3, 4, 5], 0.6)]
    judged = evaluate_blend(blend_of(tmp_path, members, RunRecord({})))
    losses = -np.log([0.9, 0.9, 0.75, 0.75, 0.6, 0.6])
    assert judged.scores["label"]["log_loss"] == pytest.approx(losses.mean())
    assert "6 rows were held out, 2 of them by all 2 members, each by 1.3 of 2" in judged.notes[0]
    learned = evaluate_blend(blend_of(tmp_path, members, RunRecord({})), method="greedy")
    assert learned.weights["label"] == {"one": 0.5, "two": 0.5}
    assert any("too few rows" in note for note in learned.notes)


def test_without_held_out_rows_there_is_no_score(tmp_path: Path) -> None:
    one = member(tmp_path, "one", [0, 1], 0.9)
    (one.runs[0].path / "validation.parquet").unlink()
    judged = evaluate_blend(blend_of(tmp_path, [one], RunRecord({})))
    assert judged.scores == {} and judged.weights["label"] == {"one": 1.0}
    assert "no member held rows out" in judged.notes[0]


def test_what_a_member_adds_is_the_loss_of_the_blend_without_it(tmp_path: Path) -> None:
    members = [whole(tmp_path, name, right) for name, right in (("good", 0.9), ("fair", 0.7), ("bad", 0.2))]
    blend = blend_of(tmp_path, members, RunRecord({}))
    evaluation = evaluate_blend(blend, method="weights")
    found = {one.target: one for one in find_contributions(blend, evaluation.record()["facts"])}
    label = found["label"]
    assert label.score == "log loss" and label.rows == len(LABELS)
    assert label.whole == pytest.approx(evaluation.scores["label"]["log_loss"])
    assert [one.alone for one in label.members] == pytest.approx([-np.log(p) for p in (0.9, 0.7, 0.2)])
    assert [one.without for one in label.members] == pytest.approx([-np.log(p) for p in (0.45, 0.55, 0.8)])
    assert found["mass"].score == "RMSE" and found["mass"].members[0].alone == pytest.approx(0.1)
    assert find_contributions(blend_of(tmp_path, members[:1], RunRecord({})), {}) == []
