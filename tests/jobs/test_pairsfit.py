"""The neural route of ratings, from a table to a run folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tenfold
from pairs import RECIPE, ratings_of, schema_of
from tenfold.errors import RatingsError, RunError, TenfoldError
from tenfold.jobs.inputs import Machine
from tenfold.recipe import PairRecipe, Recipe
from tenfold.schema import Schema
from tenfold.store.run import read_arrays

SHORT = PairRecipe(**{**RECIPE.model_dump(), "epochs": 2})


def fit(
    folder: Path, recipe: Recipe = SHORT, schema: Schema | None = None, rows: object = None, **options: object
):
    return tenfold.fit(schema or schema_of(), recipe, rows or ratings_of(), run=folder, **options)


def weights(run: object) -> dict[str, np.ndarray]:
    return read_arrays(run.path / "weights.safetensors")[0]  # type: ignore[attr-defined]


def test_the_same_seed_gives_the_same_bytes_whatever_the_cut(tmp_path: Path) -> None:
    one, two = weights(fit(tmp_path / "a")), weights(fit(tmp_path / "b"))
    assert all((one[name] == two[name]).all() for name in one)
    cut = weights(fit(tmp_path / "c", machine=Machine(micro_batch=7)))
    assert max(float(np.abs(one[name] - cut[name]).max()) for name in one) < 1e-4
    other = weights(fit(tmp_path / "d", PairRecipe(**{**SHORT.model_dump(), "seed": 1})))
    assert any((one[name] != other[name]).any() for name in one)


def test_the_range_goes_half_a_step_beyond_the_scale(tmp_path: Path) -> None:
    run = fit(tmp_path / "a")
    facts = run.encoding.targets["stars"]
    assert (facts.low, facts.high) == (-1.0, 7.0)  # 1 and 5 alone: a step of 4
    wide = fit(tmp_path / "b", PairRecipe(**{**SHORT.model_dump(), "scale": (1, 5), "range": (0.5, 5.5)}))
    assert (wide.encoding.targets["stars"].low, wide.encoding.targets["stars"].high) == (0.5, 5.5)
    with pytest.raises(RatingsError, match="does not hold the scale"):
        fit(tmp_path / "c", PairRecipe(**{**SHORT.model_dump(), "range": (2, 4)}))


def test_held_out_ratings_are_scored_and_not_learnt(tmp_path: Path) -> None:
    notes: list[str] = []
    run = fit(tmp_path / "a", PairRecipe(**{**SHORT.model_dump(), "valid": 0.25}), on_note=notes.append)
    rows = len(ratings_of()["user"])
    assert run.about["train_rows"] + run.about["valid_rows"] == rows and run.about["valid_rows"] > rows / 8
    assert run.scores["stars"]["scored"] == run.about["valid_rows"]
    assert len(run.known.seen_items) == run.about["train_rows"]


def test_a_repeated_pair_is_one_fact(tmp_path: Path) -> None:
    rows = {name: [*cells, cells[0]] for name, cells in ratings_of().items()}
    rows["stars"][-1] = "3"
    notes: list[str] = []
    run = fit(tmp_path / "a", rows=rows, on_note=notes.append)
    assert any("1 repeated pair: last" in note for note in notes)
    assert run.about["train_rows"] == len(rows["user"]) - 1


@pytest.mark.parametrize("stars", [["3"] * 4, ["0", "1", "0", "1"]])
def test_no_spread_gives_finite_answers(tmp_path: Path, stars: list[str]) -> None:
    rows = {"user": ["a", "a", "b", "c"], "item": ["x", "y", "x", "y"], "stars": stars}
    found = fit(tmp_path / "a", rows=rows).predict(rows)
    low, high = min(map(float, stars)), max(map(float, stars))
    assert np.isfinite(found.score).all()
    assert low - 1e-6 <= found.score.min() and (found.score.max() <= high + 1e-6)


def test_a_finished_run_is_opened_again(tmp_path: Path) -> None:
    first = fit(tmp_path / "a")
    assert fit(tmp_path / "a", resume=True).about["seconds"] == first.about["seconds"]
    with pytest.raises(RunError, match="another fit"):
        fit(tmp_path / "a", RECIPE, resume=True)


def test_a_plain_recipe_brings_what_it_says(tmp_path: Path) -> None:
    run = fit(tmp_path / "a", Recipe(epochs=1, hidden=(4,)))
    assert (run.recipe.epochs, run.recipe.hidden, run.recipe.batch_size) == (1, (4,), PairRecipe().batch_size)


def test_events_are_no_ratings(tmp_path: Path) -> None:
    rows = {"user": ["a", "b"], "item": ["x", "y"]}
    with pytest.raises(TenfoldError):
        fit(tmp_path / "a", schema=Schema(inputs=schema_of().inputs, targets=schema_of().targets), rows=rows)
    assert not (tmp_path / "a").exists()
