"""Workbooks of runs of either wing, asked for as a user does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from asked import explain
from office import read_book
from shown import ODD, rated, trained
from tenfold.ensembles.blend import blend_runs
from tenfold.errors import OutputError, RatingsError, RecipeError
from tenfold.recommenders.explain_factors import explain_ratings
from tenfold.workbooks.rows import explained_rows


def test_of_a_network(tmp_path: Path) -> None:
    _, run = trained()
    found = explain(run.path, ["0003.png"], output=tmp_path / "b.xlsx")
    assert found["kind"] == "network" and found["output"] == str(tmp_path / "b.xlsx")
    assert found["sheets"] == list(read_book(tmp_path / "b.xlsx"))
    [row] = found["rows"]
    assert row["id"] == "0003.png" and set(row["targets"]) == {one.name for one in run.schema.targets}
    own = row["targets"][ODD]
    assert sum(own["probabilities"].values()) == pytest.approx(1) and own["loss"] > 0
    assert isinstance(row["targets"]["age"]["number"], float)
    wanted = sum(one["weight"] * one["loss"] for one in found["targets"].values())
    assert found["loss"] == pytest.approx(wanted)
    cells = read_book(tmp_path / "b.xlsx")["Loss"]
    line = next(cell[1:] for cell, value in cells.items() if value == "loss")
    assert cells[f"B{line}"] == pytest.approx(found["loss"], abs=1e-6)


def test_the_answer_is_the_runs_own(tmp_path: Path) -> None:
    _, run = trained()
    names = [f"{row:04d}.png" for row in range(12)]
    found = explain(run, names, output=tmp_path / "b.xlsx")
    predicted = run.predict({"id": names})
    for target in run.schema.targets:
        values = predicted.targets[target.name].values
        for row, value in zip(found["rows"], values, strict=True):
            own = row["targets"][target.name]
            if target.kind == "number":
                assert own["answer"] == own["number"] == pytest.approx(value, abs=1e-4)
            else:
                assert own["answer"] == (list(value) if target.kind == "multilabel" else value)
    lines = explained_rows(found)
    assert len(lines) == 12 * len(run.schema.targets) and "training loss" in lines[0]
    by_target = {(one["row"], one["target"]): one for one in lines}
    assert by_target["0009.png", ODD]["label"] == "no label"
    tags = found["rows"][3]["targets"]["tags"]
    assert by_target["0003.png", "tags"]["answer"] == (", ".join(tags["answer"]) or "no tag")
    assert by_target["0003.png", "grade"]["answer"] in {"0", "1", "2"}


def test_no_tag_and_no_label_are_two_things_and_a_median_is_an_answer() -> None:
    def row(**target: object) -> dict:
        return {"id": "a", "why": "asked for", "targets": {"t": {"label": None, "loss": None, **target}}}

    found = {
        "loss": 0.5,
        "rows": [
            row(answer=[], label="no tag", probabilities={"x": 0.2}, loss=0.5),
            row(answer=["x", "y"], probabilities={"x": 0.9, "y": 0.8}),
            row(answer="b", probabilities={"a": 0.45, "b": 0.1, "c": 0.45}),
            row(answer="", probabilities={"a": 0.1}),
        ],
    }
    lines = explained_rows(found)
    assert [one["answer"] for one in lines] == ["no tag", "x, y", "b", "none of these"]
    assert [one["label"] for one in lines] == ["no tag", "no label", "no label", "no label"]
    assert lines[2]["probability"] == 0.1 and lines[0]["training loss"] == 0.5
    assert "loss" in explained_rows({"rows": found["rows"]})[0]


@pytest.mark.parametrize("method", ["sgd", "als", "gibbs"])
def test_of_ratings_the_cells_are_the_runs_predictions(method: str) -> None:
    _, run = rated(method)
    found = explain_ratings(run, n=5)
    assert len(found.users) == len(found.items) == 5 and found.gap < 1e-6
    given = np.diff(run.model.seen_start)
    assert [given[list(run.model.users).index(one)] for one in found.users] == sorted(given)[::-1][:5]
    wanted = run.predict_pairs(np.repeat(found.users, 5), list(found.items) * 5).score.reshape(5, 5)
    np.testing.assert_allclose(found.answers, wanted, atol=1e-6)
    assert (found.range is not None) == (method == "sgd")


def test_users_and_items_that_are_asked_for(tmp_path: Path) -> None:
    _, run = rated()
    found = explain(run, ["u3", "u1", "u3"], items=["<m2>"], output=tmp_path / "b.xlsx")
    assert found["users"] == ["u3", "u1"] and found["items"] == ["<m2>"]
    assert found["largest_difference"] < 1e-6
    with pytest.raises(RatingsError, match="2 of 2 users"):
        explain(run, ["u99", "nobody"], output=tmp_path / "b.xlsx")


def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    _, run = rated()
    with pytest.raises(OutputError, match=".xlsx"):
        explain(run, output=tmp_path / "b.ods")
    with pytest.raises(RecipeError, match="--table"):
        explain(run, table="x.csv", output=tmp_path / "b.xlsx")
    with pytest.raises(RecipeError, match="n = 0"):
        explain(run, n=0)
    with pytest.raises(RecipeError, match="no items"):
        explain(trained()[1], items=["m1"], output=tmp_path / "b.xlsx")
    assert not list(tmp_path.iterdir())


def test_where_it_goes_when_nothing_is_said() -> None:
    _, run = rated()
    assert explain(run)["output"] == str(run.path / "explain.xlsx")
    assert (run.path / "explain.xlsx").exists()


def test_a_blend_of_ratings_names_the_members_that_can_be_explained(tmp_path: Path) -> None:
    _, run = rated()
    blend = blend_runs([run.path, rated("als")[1].path], output=tmp_path / "blend")
    with pytest.raises(RecipeError, match="factors of its own") as caught:
        explain(blend)
    assert str(run.path) in str(caught.value) and ".." not in str(caught.value)
