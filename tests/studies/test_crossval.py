"""Cross-validation: every row held out once, the same rows for every recipe, means and paired differences."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

import tenfold
from tenfold.data.synthetic import draw_ratings
from tenfold.data.tables.table import read_parquet_columns
from tenfold.errors import RecipeError, RunError, SchemaError
from tenfold.recipe import FactorRecipe, RatingNetworkRecipe, Recipe
from tenfold.schema import IdColumn, NumberColumn, NumberTarget, RatingTarget, Schema
from tenfold.studies.crossval import CrossValidated, cross_validate, recipes_of_methods
from tenfold.studies.trials import RunsFolder

RATED = Schema(inputs=(IdColumn(name="user"), IdColumn(name="item")), targets=(RatingTarget(name="rating"),))
Table = Mapping[str, object]


@pytest.fixture(scope="module")
def table() -> Table:
    drawn = draw_ratings(60, 40, 900, seed=2)
    return {name: drawn[name] for name in ("user", "item", "rating")}


@pytest.fixture(scope="module")
def found(table: Table, tmp_path_factory: pytest.TempPathFactory) -> tuple[CrossValidated, Path]:
    kept = tmp_path_factory.mktemp("folds")
    recipes = recipes_of_methods(RATED, ["als", "sgd", "als:factors=2"], {"epochs": 2})
    return cross_validate(RATED, recipes, table, folds=2, runs=kept), kept


def held_pairs(run: Path) -> list[tuple[str, str]]:
    columns = read_parquet_columns(run / "validation.parquet")
    return sorted(zip(columns["user"].tolist(), columns["item"].tolist(), strict=True))


def test_every_rating_is_held_out_once_and_by_every_method(
    found: tuple[CrossValidated, Path], table: Table
) -> None:
    made, kept = found
    every: list[tuple[str, str]] = []
    for fold in (1, 2):
        arms = [held_pairs(kept / f"{name}-seed-0-fold-{fold}") for name in ("als", "sgd", "als_factors_2")]
        assert arms[0] == arms[1] == arms[2]
        every += arms[0]
    assert sorted(every) == sorted(zip(table["user"], table["item"], strict=True))  # type: ignore[arg-type]
    assert [own.name for own in made.recipes] == ["als", "sgd", "als:factors=2"]
    assert (made.rows, made.folds, made.repeats) == (900, 2, 1)


def test_means_deviations_and_paired_differences(found: tuple[CrossValidated, Path]) -> None:
    made, _ = found
    als, sgd = (made[name].values("rating", "rmse") for name in ("als", "sgd"))
    assert made["als"].mean("rating", "rmse") == pytest.approx(np.mean(als))
    assert made["als"].deviation("rating", "rmse") == pytest.approx(np.std(als, ddof=1))
    paired = made.difference("rating", "rmse", "sgd")
    assert paired.mean == pytest.approx(np.mean(np.subtract(sgd, als))) and paired.pairs == 2
    # Folds share training rows: the error is larger than that of independent differences.
    assert paired.error == pytest.approx(paired.deviation * math.sqrt(1 / 2 + 450 / 450))
    back = made.difference("rating", "rmse", "als", "sgd")
    assert back.mean == pytest.approx(-paired.mean)
    frame = made.columns()
    assert list(frame)[:5] == ["target", "score", "method", "mean", "deviation"]
    assert frame["fold 2"][0] == als[1] and made.targets == ["rating"]
    record = made.record()
    assert record["methods"]["sgd"]["targets"]["rating"]["rmse"]["per_fold"] == sgd  # type: ignore[index]
    assert len(made.conclusions()) == 2


def test_a_fold_by_itself_is_the_fold_of_the_cross_validation(
    found: tuple[CrossValidated, Path], table: Table, tmp_path: Path
) -> None:
    made, _ = found
    recipe = FactorRecipe(method="als", epochs=2, fold="2/2")
    run = tenfold.fit(RATED, recipe, table, run=tmp_path / "run", quiet=True, report=False)
    assert run.scores["rating"]["rmse"] == made["als"].values("rating", "rmse")[1]
    assert run.record.notes.count("fold 2 of 2 is held out") == 1


def test_kept_trainings_are_not_repeated(found: tuple[CrossValidated, Path], table: Table) -> None:
    made, kept = found
    before = {path: path.stat().st_mtime_ns for path in kept.glob("*/model.safetensors")}
    again = cross_validate(
        RATED, recipes_of_methods(RATED, ["als"], {"epochs": 2}), table, folds=2, runs=kept
    )
    assert again["als"].values("rating", "rmse") == made["als"].values("rating", "rmse")
    assert {path: path.stat().st_mtime_ns for path in kept.glob("*/model.safetensors")} == before
    with pytest.raises(RunError, match="is not that of this fit|other|differ") as refused:
        cross_validate(RATED, recipes_of_methods(RATED, ["als"], {"epochs": 3}), table, folds=2, runs=kept)
    assert "--runs" in refused.value.labels["fix"]
    folder = RunsFolder(kept)
    with folder, pytest.raises(RunError) as full, folder.advised():
        raise RunError("a cannot be written: No space left on device", fix="free some space")
    assert full.value.labels["fix"] == "free some space"  # what helps is not another folder


def test_a_network_sees_the_same_folds(found: tuple[CrossValidated, Path], table: Table) -> None:
    made, kept = found
    recipes = recipes_of_methods(RATED, ["dot"], {"epochs": 1, "embedding": 4})
    network = cross_validate(RATED, recipes, table, folds=2, runs=kept)
    assert held_pairs(kept / "dot-seed-0-fold-1") == held_pairs(kept / "als-seed-0-fold-1")
    assert network.recipes[0].name == "dot" and network["dot"].mean("rating", "rmse") > 0
    assert [fold.valid_rows for fold in network["dot"].folds] == [
        fold.valid_rows for fold in made["als"].folds
    ]


def test_lists_and_events(table: Table) -> None:
    events = {"user": table["user"], "item": table["item"]}
    made = tenfold.cross_validate(
        events, user="user", item="item", methods=["ease", "als"], kind="implicit", folds=2, quiet=True
    )
    assert made.scores("event")[0] == "lists.ndcg"
    assert all(own.mean("event", "lists.ndcg") > 0 for own in made.recipes)
    words = {"user": "user", "item": "item", "target": "rating"}
    lists = tenfold.cross_validate(table, **words, method="als", epochs=2, folds=2, lists=5, quiet=True)
    assert lists.recipes[0].name == "als"
    assert {"rmse", "lists.ndcg", "lists.recall"} <= set(lists.scores("rating"))
    assert all(fold.scores["rating"]["lists.n"] == 5 for fold in lists.recipes[0].folds)


def test_a_table_of_numbers(table: Table) -> None:
    rng = np.random.default_rng(0)
    rows = {"x": rng.normal(size=60).tolist()}
    rows["y"] = [2 * x for x in rows["x"]]
    schema = Schema(inputs=(NumberColumn(name="x"),), targets=(NumberTarget(name="y"),))
    recipes = {"one": Recipe(epochs=1), "two": Recipe(epochs=2)}
    made = cross_validate(schema, recipes, rows, folds=2)
    assert made.scores("y")[0] == "rmse" and sum(fold.valid_rows for fold in made["one"].folds) == 60


def test_recipes_that_hold_out_other_ratings_are_refused(table: Table) -> None:
    twice = {name: [*table[name], *table[name][:50]] for name in ("user", "item")}  # type: ignore[index, misc]
    rating = np.asarray(table["rating"], float)
    twice["rating"] = [*rating, *(6 - rating[:50])]
    with pytest.raises(RunError, match="holds out other rows"):
        cross_validate(
            RATED, recipes_of_methods(RATED, ["als", "als:duplicates=mean"], {"epochs": 1}), twice, folds=2
        )


def test_methods_take_the_choices_that_are_theirs() -> None:
    recipes = recipes_of_methods(RATED, ["gibbs", "als", "mlp"], {"epochs": 4, "factors": 8, "sweeps": 20})
    assert recipes["gibbs"] == FactorRecipe(method="gibbs", factors=8, sweeps=20)
    assert recipes["als"] == FactorRecipe(method="als", factors=8, epochs=4)
    assert recipes["mlp"] == RatingNetworkRecipe(body="mlp", epochs=4)
    own = recipes_of_methods(RATED, ["als:factors=3", "als"], {"factors": 8})
    assert own["als:factors=3"] == FactorRecipe(method="als", factors=3)


@pytest.mark.parametrize(
    ("methods", "choices", "fault"),
    [
        (["gibs"], {}, "no method 'gibs'"),
        (["als", "als"], {}, "given twice"),
        (["als"], {"sweeps": 3}, "--sweeps is not a choice of als"),
        (["als:factor=3"], {}, "factor"),
        (["als:factors"], {}, "is not clear"),
    ],
)
def test_faults_of_methods(methods: list[str], choices: dict[str, object], fault: str) -> None:
    with pytest.raises(RecipeError) as refused:
        recipes_of_methods(RATED, methods, choices)
    assert fault in str(refused.value)


def test_faults_of_folds(table: Table) -> None:
    with pytest.raises(RecipeError, match="folds = 1"):
        cross_validate(RATED, FactorRecipe(), table, folds=1)
    with pytest.raises(SchemaError, match="methods are of ratings"):
        recipes_of_methods(
            Schema(inputs=(NumberColumn(name="x"),), targets=(NumberTarget(name="y"),)), ["als"], {}
        )
