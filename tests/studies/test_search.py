"""Several settings at once: the same history gives the same proposals, wherever it was stopped."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asked import fit_alone
from tenfold.data.synthetic import draw_ratings
from tenfold.errors import RecipeError, RunError
from tenfold.events import Event
from tenfold.recipe import FactorRecipe, Recipe
from tenfold.schema import CategoryTarget, IdColumn, NumberColumn, RatingTarget, Schema
from tenfold.studies.search import search
from tenfold.studies.searched import Searched, SearchTrial

pytest.importorskip("optuna")

RATINGS = Schema(
    inputs=(IdColumn(name="user"), IdColumn(name="item")), targets=(RatingTarget(name="rating"),)
)
NUMBERS = Schema(inputs=(NumberColumn(name="a"),), targets=(CategoryTarget(name="y"),))
ALS = FactorRecipe(method="als", factors=4, epochs=5)


@pytest.fixture(scope="module")
def drawn() -> dict[str, Any]:
    found = draw_ratings(60, 40, 900, seed=4)
    return {name: found[name] for name in ("user", "item", "rating")}


@pytest.fixture(scope="module")
def cells() -> dict[str, Any]:
    a = np.random.default_rng(0).normal(size=120)
    return {"a": a, "y": np.where(np.abs(a) > 0.6, "far", "near").astype(object)}


def told(found: Searched) -> list[tuple[object, ...]]:
    # Scores of trials that were not finished are NaN, which equals nothing.
    return [(dict(t.choices), t.status, json.dumps(t.score), t.is_own) for t in found.trials]


@pytest.fixture(scope="module")
def whole(drawn: dict[str, Any]) -> Searched:
    return search(["factors", "wd"], RATINGS, ALS, drawn, trials=12, repeats=2)


def test_the_best_scores_as_a_fit_with_its_recipe_does(
    whole: Searched, drawn: dict[str, Any], tmp_path: Path
) -> None:
    assert len(whole.trials) == 12 and whole.trials[0].is_own and whole.seeds == (0, 1)
    assert dict(whole.trials[0].choices) == {"factors": 4, "weight_decay": whole.own["weight_decay"]}
    scores = [
        fit_alone(
            RATINGS, whole.recipe.model_copy(update={"seed": seed}), drawn, run=tmp_path / str(seed)
        ).scores["rating"]["rmse"]
        for seed in (0, 1)
    ]
    # Every seed has its own split where factors are fitted.
    assert scores[0] == pytest.approx(
        search(["factors", "wd"], RATINGS, whole.recipe, drawn, trials=1, repeats=1).best.score
    )
    finished = [trial.score for trial in whole.trials if trial.status == "finished"]
    assert whole.best.score == min(finished) and "best on the validation rows" in whole.conclusions()[0]
    assert all(isinstance(trial.choices["factors"], int) for trial in whole.trials)


@pytest.mark.metamorphic("a search that is stopped and goes on makes the trials of one that was not")
def test_a_search_that_was_stopped_goes_on_to_the_same_trials(
    whole: Searched, drawn: dict[str, Any], tmp_path: Path
) -> None:
    class Stop(Exception):
        pass

    def stop(event: Event) -> None:
        if getattr(event, "done", 0) == 7:
            raise Stop

    how: dict[str, Any] = {"repeats": 2, "runs": tmp_path}
    for trials in (3, 12):
        with pytest.raises(Stop) if trials == 12 else _nothing():
            search(["factors", "wd"], RATINGS, ALS, drawn, trials=trials, on_progress=stop, **how)
    notes: list[str] = []
    again = search(["factors", "wd"], RATINGS, ALS, drawn, trials=12, on_note=notes.append, **how)
    assert "7 trials are there already" in notes
    assert told(again) == told(whole)
    # All is there: nothing is trained, and nothing changes.
    assert told(search(["factors", "wd"], RATINGS, ALS, drawn, trials=12, **how)) == told(whole)


class _nothing:
    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...


def test_the_search_of_another_question_is_refused(drawn: dict[str, Any], tmp_path: Path) -> None:
    search(["wd"], RATINGS, ALS, drawn, trials=1, runs=tmp_path)
    with pytest.raises(RunError, match="another question") as caught:
        search(["wd"], RATINGS, ALS, drawn, trials=2, runs=tmp_path, within=["wd=0.1:1"])
    assert caught.value.problems == ("within differs",)


def test_a_hopeless_training_is_pruned_and_its_score_never_counts(cells: dict[str, Any]) -> None:
    epochs: list[int] = []
    recipe = Recipe(epochs=4, lr=0.02, hidden=(16,), seed=1)
    found = search(
        ["lr"], NUMBERS, recipe, cells, trials=9, within=["lr=1e-6:0.05"],
        on_progress=lambda event: epochs.append(1) if event.kind == "step" else None,
    )  # fmt: skip
    pruned = [trial for trial in found.trials if trial.status == "pruned"]
    assert pruned and all(math.isnan(trial.score) for trial in pruned)
    # No earlier than the sixth trial, and those that are pruned are of small rates.
    assert min(trial.number for trial in pruned) >= 5
    assert max(float(str(trial.choices["lr"])) for trial in pruned) < float(str(found.best.choices["lr"]))
    with_all = search(
        ["lr"], NUMBERS, recipe, cells, trials=6, within=["lr=1e-6:0.05"], prune=False, runs=None
    )
    assert all(trial.status == "finished" for trial in with_all.trials)
    assert told(with_all)[:5] == told(found)[:5]


def test_words_and_whole_numbers_and_rules(cells: dict[str, Any]) -> None:
    notes: list[str] = []
    found = search(
        ["optimizer", "epochs", "hidden"], NUMBERS, Recipe(epochs=2), cells, trials=4, at_once=2,
        within=["optimizer=adamw,lion", "epochs=1:3", "hidden=8,16"], on_note=notes.append,
    )  # fmt: skip
    assert {trial.choices["optimizer"] for trial in found.trials} <= {"adamw", "lion"}
    assert all(trial.choices["epochs"] in (1, 2, 3) for trial in found.trials)
    assert any("nothing is pruned: epochs" in note for note in notes)
    # hidden = 128,64 is not among the words.
    assert any("not within what is searched" in note for note in notes) and not found.trials[0].is_own
    assert isinstance(found.recipe, Recipe) and found.recipe.hidden in ((8,), (16,))
    assert found.train_rows + found.valid_rows == 120


@pytest.mark.parametrize(
    ("names", "within", "said"),
    [
        (["valid"], [], "decides which rows are compared"),
        (["seed"], [], "decides which rows are compared"),
        (["method"], [], "compared fold by fold"),
        (["epochz"], [], "cannot be tuned"),
        (["lr"], [], "als has no learning rate"),
        (["wd", "wd"], [], "named twice"),
        (["epochs"], [], "no range by default"),
        (["wd"], ["wd=1:0.1"], "not a rising range"),
        (["wd"], ["wd=a:b"], "not two numbers"),
        (["wd"], ["wd=0.1"], "one value"),
        (["wd"], ["wd"], "not clear"),
        (["wd"], ["epochs=1:3"], "not searched"),
        (["factors"], ["factors=2:4.5"], "whole number"),
        (["wd"], ["wd=-1:2"], "weight_decay = -1"),
        (["sweeps"], ["sweeps=2:4"], "no use for sweeps"),
    ],
)
def test_what_cannot_be_searched_is_refused(
    drawn: dict[str, Any], names: list[str], within: list[str], said: str
) -> None:
    with pytest.raises(RecipeError, match=said):
        search(names, RATINGS, ALS, drawn, within=within)


def test_a_search_without_a_trial_that_can_be_scored_says_why(cells: dict[str, Any]) -> None:
    never = [SearchTrial(0, {"lr": 1.0}, math.nan, "failed", failed="the loss is not finite")]
    from tenfold.studies.searched import best_trial

    with pytest.raises(RecipeError, match="no trial could be trained") as caught:
        best_trial(never, False)
    assert caught.value.problems == ("the loss is not finite",)
    with pytest.raises(RecipeError, match="trials = 0"):
        search(["lr"], NUMBERS, Recipe(), cells, trials=0)
