"""Tuning of both wings: the same rows for every value, the validation rows alone decide."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asked import fit_alone
from photos import QUICK, write_photos, write_table
from shown import needs_browser, opened, point_at
from tenfold.data.synthetic import draw_ratings
from tenfold.data.tables.table import read_parquet_columns
from tenfold.errors import RecipeError
from tenfold.recipe import TABLE_DEFAULTS, FactorRecipe, RatingNetworkRecipe, Recipe
from tenfold.reports.html import report_html, write_report
from tenfold.runs.registry import load_run
from tenfold.schema import (
    CategoryTarget,
    IdColumn,
    ImageColumn,
    NumberColumn,
    RatingTarget,
    Schema,
    UndecidedTarget,
)
from tenfold.studies.tune import parse_values, tune, tuning_page

RATINGS = Schema(
    inputs=(IdColumn(name="user"), IdColumn(name="item")), targets=(RatingTarget(name="rating"),)
)
EVENTS = RATINGS.model_copy(update={"targets": (RatingTarget(name=None),)})


@pytest.fixture(scope="module")
def drawn() -> dict[str, Any]:
    found = draw_ratings(150, 80, 2500, seed=4)
    return {name: found[name] for name in ("user", "item", "rating")}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> tuple[Schema, Path]:
    folder = tmp_path_factory.mktemp("tune")
    table = write_table(folder / "train.csv", write_photos(folder, 40))
    image = ImageColumn(name="id", folder=str(folder / "photos"))
    return Schema(inputs=(image,), targets=(UndecidedTarget(name="label"),)), table


@pytest.mark.parametrize(("method", "good"), [("als", 0.1), ("sgd", 0.02)])
def test_too_little_and_too_much_weight_decay_are_worse(
    drawn: dict[str, Any], method: str, good: float
) -> None:
    recipe = FactorRecipe(method=method, epochs=40)
    found = tune("wd", RATINGS, recipe, drawn, values=(0, good, 10), repeats=2)
    means = {one.value: one.mean for one in found.settings}
    assert means[good] < min(means[0], means[10])
    assert found.field == "weight_decay" and found.score == "rmse"
    assert found.seeds == (0, 1)
    assert found.recipe_value in means  # the default is always among them
    assert (found.train_rows, found.valid_rows) == (2250, 250)


def test_a_value_scores_as_a_fit_with_it_does(drawn: dict[str, Any], tmp_path: Path) -> None:
    recipe = FactorRecipe(method="als", valid=0.2, seed=3)
    found = tune("wd", RATINGS, recipe, drawn, values=(0.02, 0.5), repeats=1)
    chosen = recipe.model_copy(update={"weight_decay": 0.5})
    run = fit_alone(RATINGS, chosen, drawn, run=tmp_path / "run")
    (setting,) = [one for one in found.settings if one.value == 0.5]
    assert setting.mean == pytest.approx(run.scores["rating"]["rmse"], abs=1e-12)


def test_the_rows_that_decide_never_train(drawn: dict[str, Any]) -> None:
    # Ratings held out are drawn at random: with every weight gone, the score is that of a mean of the others.
    found = tune("wd", RATINGS, FactorRecipe(method="als", valid=0.2), drawn, values=(1e6, 2e6), repeats=1)
    flat = [one for one in found.settings if one.value >= 1e6]
    spread = float(np.std(drawn["rating"]))
    assert all(abs(one.mean - spread) < 0.1 for one in flat)


def test_rates_and_factors(drawn: dict[str, Any]) -> None:
    rate = tune("lr", RATINGS, FactorRecipe(method="sgd"), drawn, values=(1e-5, 0.1), repeats=1)
    assert rate.best >= 0.05 and rate.recipe_value == 0.05
    factors = tune("factors", RATINGS, FactorRecipe(method="als"), drawn, values=(2.0, 4.0), repeats=1)
    assert all(isinstance(one.value, int) for one in factors.settings)
    assert factors.recipe_value == 8


@pytest.mark.parametrize("what", ["wd", "lr"])
def test_the_default_has_nothing_to_tune_and_gives_way(drawn: dict[str, Any], what: str) -> None:
    notes: list[str] = []
    found = tune(what, RATINGS, FactorRecipe(), drawn, values=(0.1,), repeats=1, on_note=notes.append)
    assert any("method sgd, since gibbs" in note for note in notes)
    assert "--method sgd --" in found.conclusions()[0]
    assert found.recipe_value == {"wd": 0.06, "lr": 0.05}[what]


def test_events_are_ranked(drawn: dict[str, Any]) -> None:
    events = {name: drawn[name] for name in ("user", "item")}
    found = tune("wd", EVENTS, FactorRecipe(epochs=3), events, values=(1, 100), repeats=1)
    assert found.higher_is_better and found.score == "ndcg"
    # The rule of `als` for so many events lies between the values that are tried.
    assert 1 < found.recipe_value < 100 and found.recipe_value in [one.value for one in found.settings]
    assert found.best == max(found.settings, key=lambda one: one.mean).value


@pytest.mark.parametrize("body", ["mlp", "dot"])
def test_a_network_of_ratings_shares_a_split_and_not_a_seed(
    drawn: dict[str, Any], body: str, tmp_path: Path
) -> None:
    recipe = RatingNetworkRecipe(body=body, epochs=2, embedding=4, lr=3e-3, seed=3)
    kept, notes = tmp_path / "kept", list[str]()
    found = tune(
        "lr", RATINGS, recipe, drawn, values=(1e-6, 1e-2), repeats=2, runs=kept, on_note=notes.append
    )
    assert found.score == "rmse" and not found.higher_is_better and found.seeds == (3, 4)
    assert found.best != 1e-6 and found.recipe_value == recipe.lr  # at 1e-6 nothing is learnt
    assert (found.train_rows, found.valid_rows) == (2250, 250)
    assert any("10% of the ratings are held out" in note for note in notes)
    rows = {tuple(read_parquet_columns(one / "validation.parquet")["row"]) for one in kept.iterdir()}
    assert len(rows) == 1 and len(list(kept.iterdir())) == 6
    scores = {trial.seed: trial.score for trial in found.trials if trial.value == recipe.lr}
    assert scores[3] != scores[4]
    run = load_run(kept / "lr-0.003-seed-4")
    assert run.scores["rating"]["rmse"] == scores[4] and run.recipe.split_seed == 3
    again = tune("lr", RATINGS, recipe, drawn, values=(1e-6, 1e-2), repeats=2, runs=kept)
    assert [one.mean for one in again.settings] == [one.mean for one in found.settings]


def test_a_network_of_ratings_has_no_factors(drawn: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match="no factors"):
        tune("factors", RATINGS, RatingNetworkRecipe(), drawn)


@pytest.mark.parametrize(
    ("what", "recipe", "said"),
    [
        ("wd", FactorRecipe(method="gibbs"), "gibbs has no weight decay"),
        ("lr", FactorRecipe(method="als"), "als has no learning rate"),
        ("depth", FactorRecipe(), "'depth' cannot be tuned"),
    ],
)
def test_what_there_is_not_to_tune_is_refused(
    drawn: dict[str, Any], what: str, recipe: FactorRecipe, said: str
) -> None:
    with pytest.raises(RecipeError, match=said):
        tune(what, RATINGS, recipe, drawn)


def test_choices_that_leave_nothing_are_refused(drawn: dict[str, Any]) -> None:
    als = FactorRecipe(method="als")
    with pytest.raises(RecipeError, match="repeats = 0"):
        tune("wd", RATINGS, als, drawn, repeats=0)
    with pytest.raises(RecipeError, match="nothing to compare"):
        tune("wd", RATINGS, als, drawn, values=(0.12,))
    with pytest.raises(RecipeError, match="values of weight_decay are numbers"):
        tune("wd", RATINGS, als, drawn, values=("a",))  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="whole numbers"):
        tune("factors", RATINGS, als, drawn, values=(2.5,))
    with pytest.raises(RecipeError, match="weight_decay = -1"):
        tune("wd", RATINGS, als, drawn, values=(-1.0,))
    with pytest.raises(RecipeError, match="not kept"):
        tune("wd", RATINGS, als, drawn, runs="kept")


def test_networks_share_a_split_and_not_a_seed(pictures: tuple[Schema, Path], tmp_path: Path) -> None:
    schema, table = pictures
    recipe = Recipe(**{**QUICK.model_dump(), "epochs": 3, "valid": 0.3})
    kept = tmp_path / "kept"
    found = tune("lr", schema, recipe, str(table), values=(1e-6,), repeats=2, runs=kept)
    assert found.score == "loss" and not found.higher_is_better
    assert found.best == recipe.lr == found.recipe_value  # at 1e-6 nothing is learnt
    assert [trial.seed for trial in found.trials] == [1, 1, 2, 2]
    folders = sorted(kept.iterdir())
    assert len(folders) == 4
    rows = {tuple(read_parquet_columns(one / "validation.parquet")["row"]) for one in folders}
    assert len(rows) == 1 and found.valid_rows == 12
    # A second time all of it is there already.
    notes: list[str] = []
    again = tune("lr", schema, recipe, str(table), values=(1e-6,), repeats=2, runs=kept, on_note=notes.append)
    assert [one.mean for one in again.settings] == [one.mean for one in found.settings]
    assert any("finished already" in note for note in notes)


def test_a_table_without_pictures_is_tuned_around_its_own_defaults(tmp_path: Path) -> None:
    lines = [f"{row % 7},{'ab'[row % 2]}" for row in range(24)]
    (tmp_path / "t.csv").write_text("\n".join(["x,two", *lines]) + "\n", encoding="utf-8")
    schema = Schema(inputs=(NumberColumn(name="x"),), targets=(CategoryTarget(name="two"),))
    table, kept = str(tmp_path / "t.csv"), tmp_path / "runs"
    found = tune("wd", schema, Recipe(batch_size=24), table, values=(0.5,), repeats=1, runs=kept)
    assert found.recipe_value == TABLE_DEFAULTS["weight_decay"]
    recipe = Recipe.from_toml((kept / "weight_decay-0.5-seed-0" / "recipe.toml").read_text())
    assert recipe.epochs == TABLE_DEFAULTS["epochs"] and recipe.weight_decay == 0.5


def test_a_rate_that_breaks_everything_is_an_answer(pictures: tuple[Schema, Path]) -> None:
    schema, table = pictures
    recipe = Recipe(**{**QUICK.model_dump(), "epochs": 1, "clip_norm": 0.0, "monitor": "label:error_rate"})
    found = tune("lr", schema, recipe, str(table), values=(1e30,))
    broken = found.settings[-1]
    assert math.isnan(broken.mean) and "finite" in broken.trials[0].failed
    assert found.best == recipe.lr and found.score == "label:error_rate"


def test_networks_need_rows_to_choose_by(pictures: tuple[Schema, Path]) -> None:
    schema, table = pictures
    with pytest.raises(RecipeError, match="held out"):
        tune("wd", schema, Recipe(**{**QUICK.model_dump(), "valid": 0.0}), str(table))
    with pytest.raises(RecipeError, match="no factors"):
        tune("factors", schema, QUICK, str(table))


@pytest.mark.parametrize(
    ("text", "field", "values"),
    [
        ("0, 0.01,1", "weight_decay", (0.0, 0.01, 1.0)),
        ("1e-3:1", "weight_decay", (0.001, 0.01, 0.1, 1.0)),
        ("0,1e-2:0.5", "lr", (0.0, 0.01, 0.1)),
        ("2:32", "factors", (2.0, 4.0, 8.0, 16.0, 32.0)),
    ],
)
def test_values_are_read(text: str, field: str, values: tuple[float, ...]) -> None:
    assert parse_values(text, field) == values


@pytest.mark.parametrize("text", ["", "a,b", "1:0.1", "0:1", "1,,2", "1:inf"])
def test_values_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(RecipeError, match="--values"):
        parse_values(text, "lr")


def test_the_page_shows_every_value(drawn: dict[str, Any]) -> None:
    found = tune("wd", RATINGS, FactorRecipe(method="als", epochs=3), drawn, values=(0, 0.1), repeats=2)
    title, sections = tuning_page(found)
    page = report_html(title, sections)
    assert "Tuning weight decay" in page
    for word in ("behind the best", "one split for all"):
        assert word in page
    assert [row[0] for row in sections[1].parts[0].rows] == ["0", "0.1", "0.12 (the recipe's)"]
    best = [row for row in sections[1].parts[0].rows if row[1].strong]
    assert [row[-1].text for row in best] == [""]  # nothing is told apart from itself
    assert sections[0].text.startswith("Best on the validation rows")


@needs_browser
@pytest.mark.parametrize(("width", "dark"), [(1280, True), (390, False)])
def test_the_picture_is_as_wide_as_the_window_and_nothing_covers_its_words(
    drawn: dict[str, Any], tmp_path: Path, width: int, dark: bool
) -> None:
    found = tune("wd", RATINGS, FactorRecipe(method="als", epochs=3), drawn, values=(0.1, 1), repeats=2)
    write_report(tmp_path / "t.html", *tuning_page(found))
    with opened(tmp_path / "t.html", width=width, dark=dark) as (view, said):
        view.wait_for_selector("figure.chart canvas")
        assert view.evaluate("document.documentElement.scrollWidth") <= width
        wide = view.evaluate("Object.values(Chart.instances)[0].width")
        assert wide > 0.6 * width - 60
        shown = point_at(view, view.locator("canvas").get_attribute("aria-label"))
        assert "weight decay: 0.1" in shown and "mean: " in shown
        assert not said
