"""Ensembles of recommenders: members of any kind, folds, a blend that is learned, and going on."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import tenfold
from tenfold.data.synthetic import draw_ratings
from tenfold.data.tables.jobfile import read_ensemble
from tenfold.ensembles.train import check_recipe, train_ensemble
from tenfold.errors import RecipeError, TenfoldError
from tenfold.recipe import FactorRecipe, RatingNetworkRecipe
from tenfold.recommenders.run import RecommenderRun

RECIPE = """
table = "{folder}/ratings.csv"

[schema]
inputs = [{{ kind = "id", name = "user" }}, {{ kind = "id", name = "item" }}]
targets = [{{ kind = "rating", name = "stars" }}]

[ensemble]
folds = 2
blend = "convex"

[recipe]
epochs = 3
factors = 3

[[member]]
method = "als"

[[member]]
name = "plain"
method = "sgd"
weight_decay = {decay}

[[member]]
body = "dot"
embedding = 4
epochs = 1
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ensemble")
    drawn = draw_ratings(60, 40, 900, seed=2)
    with open(folder / "ratings.csv", "w", encoding="utf-8", newline="") as stream:
        rows = zip(drawn["user"], drawn["item"], drawn["rating"], strict=True)
        csv.writer(stream).writerows([("user", "item", "stars"), *rows])
    return folder


def write(place: Path, name: str = "recipe.toml", text: str = RECIPE, decay: float = 0.06) -> Path:
    path = place / name
    path.write_text(text.format(folder=place, decay=decay), "utf-8")
    return path


@pytest.fixture(scope="module")
def made(place: Path) -> tuple[Path, list[str]]:
    notes: list[str] = []
    finished = train_ensemble(read_ensemble(write(place)), output=place / "top", on_note=notes.append)
    assert finished.failed == ()
    return finished.path, notes


def test_members_of_every_kind_are_trained_in_folds_and_blended(
    made: tuple[Path, list[str]], place: Path
) -> None:
    run = tenfold.load_run(made[0], RecommenderRun)
    assert [(member.name, len(member.runs)) for member in run.members] == [
        ("als", 2),
        ("plain", 2),
        ("dot", 2),
    ]
    assert [own.record.method for member in run.members for own in member.runs][::2] == [
        "als",
        "sgd",
        "network",
    ]
    shares = run.record.weights["stars"]
    assert sum(shares.values()) == pytest.approx(1) and set(run.record.blends["stars"]) == {
        "weights",
        "greedy",
        "convex",
    }
    # Every rating has an answer by runs that did not see it.
    held = run.held_out().evaluations[0]
    assert len(held.truth) == 900 == run.record.valid_rows  # type: ignore[arg-type]
    error = float(np.sqrt(np.mean((held.truth - held.guess) ** 2)))  # type: ignore[operator]
    assert run.scores["stars"]["rmse"] == pytest.approx(error, rel=1e-5)
    assert error <= min(float(member.scores["stars"]["rmse"]) for member in run.record.members) + 0.01
    # The blend answers with the weighted mean of the means over folds.
    users, items = ["u23", "u53"], ["m18", "m7"]
    each = [[own.predict_pairs(users, items).score for own in member.runs] for member in run.members]
    wanted = sum(
        shares[member.name] * np.mean(own, axis=0) for member, own in zip(run.members, each, strict=True)
    )
    assert np.allclose(run.predict_pairs(users, items).score, wanted, atol=1e-4)
    assert (made[0] / "report.html").exists() and not (made[0] / "logs").exists()
    scores = run.evaluate(place / "ratings.csv")
    assert set(scores["members"]) == {"als", "plain", "dot"} and scores["rmse"] < 1.5


def test_run_again_it_goes_on_where_it_was(made: tuple[Path, list[str]], place: Path) -> None:
    notes: list[str] = []
    train_ensemble(read_ensemble(write(place)), output=made[0], on_note=notes.append)
    assert "nothing is left to do" in notes
    before = {path: path.stat().st_mtime_ns for path in made[0].glob("members/*/model.safetensors")}
    notes.clear()
    train_ensemble(read_ensemble(write(place, decay=0.1)), output=made[0], on_note=notes.append)
    again = {path: path.stat().st_mtime_ns for path in made[0].glob("members/*/model.safetensors")}
    changed = {path.parent.name for path in before if before[path] != again[path]}
    assert changed == {"plain-fold1", "plain-fold2"}
    assert any(note.startswith("plain-fold1 is trained again: weight_decay: 0.06 -> 0.1") for note in notes)


def test_members_take_the_shared_settings_that_are_theirs(place: Path) -> None:
    _, members = check_recipe(read_ensemble(write(place, "other.toml")))
    als, plain, dot = (member.recipe for member in members)
    assert isinstance(als, FactorRecipe) and (als.method, als.epochs, als.factors) == ("als", 3, 3)
    assert isinstance(plain, FactorRecipe) and plain.weight_decay == 0.06
    assert isinstance(dot, RatingNetworkRecipe) and (dot.body, dot.epochs, dot.embedding) == ("dot", 1, 4)
    # Each has a seed of its own, and the folds of all.
    assert len({als.seed, plain.seed, dot.seed}) == 3
    assert {als.split_seed, plain.split_seed, dot.split_seed} == {0}


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("folds = 2", "split = 'same'", "als: holds out no ratings"),
        ("folds = 2", "folds = 2\nsoup = true", "soup averages weights of networks"),
        ('method = "als"', 'method = "als"\nfactor = 3', "factor"),
        ('method = "als"', 'arch = "resnet18"', "arch"),
    ],
)
def test_faults_are_told_before_anything_is_trained(place: Path, old: str, new: str, fault: str) -> None:
    path = write(place, "faulty.toml", RECIPE.replace(old, new))
    with pytest.raises(RecipeError) as refused:
        train_ensemble(read_ensemble(path), output=place / "faulty")
    assert fault in str(refused.value) and not (place / "faulty").exists()


def test_faults_of_the_table_are_told_once(place: Path) -> None:
    text = RECIPE.replace('name = "stars"', 'name = "starz"')
    with pytest.raises(TenfoldError) as refused:
        train_ensemble(read_ensemble(write(place, "mistyped.toml", text)), output=place / "mistyped")
    assert str(refused.value).count("did you mean 'stars'") <= 2
    assert "starz" in str(refused.value)


def test_finished_runs_are_blended_by_learned_weights(place: Path, tmp_path: Path) -> None:
    words = {"user": "user", "item": "item", "target": "stars", "quiet": True, "report": False, "valid": 0.2}
    good = tenfold.fit(
        place / "ratings.csv", run=tmp_path / "good", method="als", factors=3, epochs=8, **words
    )
    poor = tenfold.fit(
        place / "ratings.csv",
        run=tmp_path / "poor",
        method="als",
        factors=3,
        epochs=1,
        weight_decay=9.0,
        **words,
    )
    blend = tenfold.blend([good, poor], output=tmp_path / "both", method="best", quiet=True)
    shares = blend.record.weights["stars"]
    assert shares["good"] > shares["poor"] and blend.scores["stars"]["rmse"] <= poor.scores["stars"]["rmse"]
    kept = json.loads((tmp_path / "both/run.json").read_text("utf-8"))["blends"]["stars"]
    assert min(way["loss"] for way in kept.values()) == pytest.approx(
        blend.scores["stars"]["rmse"] ** 2, rel=1e-6
    )
    none = tenfold.fit(place / "ratings.csv", run=tmp_path / "none", method="als", **{**words, "valid": 0.0})
    with pytest.raises(RecipeError, match="that all members held out, and there are none"):
        tenfold.blend([good, none], output=tmp_path / "no", method="convex", quiet=True)
