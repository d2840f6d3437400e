"""The neural route of ratings, from a table to a run folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tenfold
from pairs import RECIPE, ratings_of, schema_of
from tenfold.data.tables.table import read_table
from tenfold.errors import RatingsError, RecipeError, RunError, TenfoldError
from tenfold.events import EpochEnded
from tenfold.recipe import RatingNetworkRecipe, Recipe
from tenfold.recommenders import network_fit as pairsfit
from tenfold.runs.folder import read_arrays
from tenfold.runs.options import Machine
from tenfold.schema import IdColumn, NumberColumn, RatingTarget, Schema

SHORT = RatingNetworkRecipe(**{**RECIPE.model_dump(), "epochs": 2})


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
    other = weights(fit(tmp_path / "d", RatingNetworkRecipe(**{**SHORT.model_dump(), "seed": 1})))
    assert any((one[name] != other[name]).any() for name in one)


def test_the_range_goes_half_a_step_beyond_the_scale(tmp_path: Path) -> None:
    run = fit(tmp_path / "a")
    facts = run.encoding.targets["stars"]
    assert (facts.low, facts.high) == (-1.0, 7.0)  # 1 and 5 alone: a step of 4
    wide = fit(
        tmp_path / "b", RatingNetworkRecipe(**{**SHORT.model_dump(), "scale": (1, 5), "range": (0.5, 5.5)})
    )
    assert (wide.encoding.targets["stars"].low, wide.encoding.targets["stars"].high) == (0.5, 5.5)
    with pytest.raises(RatingsError, match="does not hold the scale"):
        fit(tmp_path / "c", RatingNetworkRecipe(**{**SHORT.model_dump(), "range": (2, 4)}))


def test_held_out_ratings_are_scored_and_not_learnt(tmp_path: Path) -> None:
    notes: list[str] = []
    run = fit(
        tmp_path / "a", RatingNetworkRecipe(**{**SHORT.model_dump(), "valid": 0.25}), on_note=notes.append
    )
    rows = len(ratings_of()["user"])
    assert run.about["train_rows"] + run.about["valid_rows"] == rows and run.about["valid_rows"] > rows / 8
    assert run.scores["stars"]["scored"] == run.about["valid_rows"]
    assert len(run.interactions.seen_items) == run.about["train_rows"]


def with_strangers() -> dict[str, list[str]]:
    """Ratings with times; among the last ones are a user and an item that no earlier one has."""
    rows = ratings_of()
    rows["time"] = [str(number) for number in range(len(rows["user"]))]
    for user, item, stars in (("u01", "99", "5"), ("late", "03", "1"), ("late", "99", "1")):
        for name, cell in (("user", user), ("item", item), ("stars", stars), ("time", "9999")):
            rows[name].append(cell)
    return rows


def history_of(run: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run.path / "history.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("changes", [{}, {"ema": 0.9, "body_dropout": 0.2}, {"body": "dot"}])
def test_each_epoch_scores_the_held_out_ratings_as_the_end_does(tmp_path: Path, changes: Any) -> None:
    told: list[Any] = []
    recipe = RatingNetworkRecipe(**{**SHORT.model_dump(), "valid": 0.1, **changes})
    run = fit(tmp_path / "a", recipe, schema_of(time="time"), rows=with_strangers(), on_progress=told.append)
    found, epochs = run.scores["stars"], history_of(run)
    assert found["fallback"] >= 3  # answered through the unknown rows, which the epochs must use, too
    for score in ("rmse", "mae", "scored"):
        assert epochs[-1]["valid"]["stars"][score] == pytest.approx(found[score], rel=1e-6)
    assert epochs[0]["valid"]["stars"]["rmse"] != epochs[1]["valid"]["stars"]["rmse"]
    assert "on the validation rows, and its scores there" in (run.path / "report.html").read_text()
    shown = [one.valid["stars"]["rmse"] for one in told if isinstance(one, EpochEnded)]
    assert shown == [one["valid"]["stars"]["rmse"] for one in epochs]


def test_held_out_ratings_change_no_weight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {**with_strangers(), "hour": [str(number % 7) for number in range(len(ratings_of()["user"]) + 3)]}
    schema = schema_of(NumberColumn(name="hour"), time="time")
    recipe = RatingNetworkRecipe(**{**SHORT.model_dump(), "valid": 0.25, "ema": 0.9, "dropout": 0.1})
    seen = fit(tmp_path / "a", recipe, schema, rows=rows)
    unseen_fit = pairsfit.fit_network

    def blind(*given: Any, **named: Any) -> Any:
        """A training that is given the training ratings and nothing else."""
        examples, train = given[2], named["train"]
        assert train.tolist() == list(range(seen.about["train_rows"])) and examples.rows > len(train)
        alone = pairsfit.Examples(
            examples.ids[train],
            (),
            {name: values[train] for name, values in examples.labels.items()},
            {name: values[train] for name, values in examples.weights.items()},
            {name: values[train] for name, values in examples.columns.items()},
        )
        return unseen_fit(*given[:2], alone, **{**named, "valid": train[:0]})

    monkeypatch.setattr(pairsfit, "fit_network", blind)
    unseen = fit(tmp_path / "b", recipe, schema, rows=rows)
    assert not history_of(unseen)[0]["valid"] and history_of(seen)[0]["valid"]
    one, two = ((run.path / "weights.safetensors").read_bytes() for run in (seen, unseen))
    assert one == two


def test_the_best_epoch_is_kept_and_patience_ends_a_training(tmp_path: Path) -> None:
    # Ratings of no pattern: what is learnt of them is wrong elsewhere, so that a middle epoch is the best.
    rows = ratings_of()
    rng = np.random.default_rng(3)
    rows["stars"] = [str(one) for one in rng.integers(1, 6, len(rows["user"]))]
    recipe = RatingNetworkRecipe(**{**RECIPE.model_dump(), "epochs": 30, "valid": 0.3, "keep": "best"})
    run = fit(tmp_path / "a", recipe, rows=rows)
    errors = [one["valid"]["stars"]["rmse"] for one in history_of(run)]
    assert run.about["kept_epoch"] == 1 + int(np.argmin(errors)) < len(errors) == 30
    assert run.scores["stars"]["rmse"] == pytest.approx(min(errors), rel=1e-6) and min(errors) < errors[-1]
    assert (run.summary["epochs"], run.summary["kept_epoch"]) == (30, run.about["kept_epoch"])
    patient = fit(
        tmp_path / "b",
        RatingNetworkRecipe(**{**recipe.model_dump(), "keep": "auto", "patience": 3}),
        rows=rows,
    )
    assert patient.about["epochs"] < 30 and patient.about["epochs"] == patient.about["kept_epoch"] + 3
    by_mae = fit(
        tmp_path / "c", RatingNetworkRecipe(**{**recipe.model_dump(), "monitor": "stars:mae"}), rows=rows
    )
    wanted = 1 + int(np.argmin([one["valid"]["stars"]["mae"] for one in history_of(by_mae)]))
    assert by_mae.about["kept_epoch"] == wanted


def test_what_is_watched_must_be_there(tmp_path: Path) -> None:
    for changes, said in (
        ({"keep": "best"}, "needs validation rows"),
        ({"patience": 2}, "needs validation rows"),
        ({"valid": 0.2, "monitor": "starz"}, "not a target"),
        ({"valid": 0.2, "monitor": "stars:f1"}, "not a score"),
    ):
        with pytest.raises(RecipeError, match=said):
            fit(tmp_path / "a", RatingNetworkRecipe(**{**SHORT.model_dump(), **changes}))
    assert not (tmp_path / "a").exists()


def test_folds_hold_out_every_rating_once(tmp_path: Path) -> None:
    rows = ratings_of()
    held: list[str] = []
    for fold in (1, 2, 3):
        run = fit(
            tmp_path / f"{fold}",
            RatingNetworkRecipe(**{**SHORT.model_dump(), "epochs": 1, "fold": (fold, 3)}),
        )
        assert any(f"fold {fold} of 3 is held out" in note for note in run.about["notes"])
        held += read_table(run.path / "validation.parquet").text("id").tolist()
    assert sorted(held) == sorted(
        f"user {user}, item {item}" for user, item in zip(rows["user"], rows["item"], strict=True)
    )


def test_folds_by_time_train_on_what_came_before(tmp_path: Path) -> None:
    rows = with_strangers()
    recipe = RatingNetworkRecipe(**{**SHORT.model_dump(), "epochs": 1, "fold": (2, 3)})
    run = fit(tmp_path / "a", recipe, schema_of(time="time"), rows=rows)
    held = read_table(run.path / "validation.parquet").text("row").astype(int)
    assert run.about["train_rows"] == held.min() and run.about["train_rows"] + len(held) < len(rows["user"])
    with pytest.raises(RecipeError, match="makes no folds") as caught:
        fit(
            tmp_path / "b", RatingNetworkRecipe(**{**recipe.model_dump(), "split": "last"}), rows=ratings_of()
        )
    assert "--split random" in str(caught.value)


@pytest.mark.parametrize("names", [("user", "item", "id"), ("user", "item", "row"), ("id", "row", "stars")])
def test_a_column_called_as_the_runs_own_keeps_its_values(tmp_path: Path, names: tuple[str, ...]) -> None:
    rows = dict(zip(names, ratings_of().values(), strict=True))
    schema = Schema(
        inputs=(IdColumn(name=names[0]), IdColumn(name=names[1])), targets=(RatingTarget(name=names[2]),)
    )
    run = fit(tmp_path / "a", RatingNetworkRecipe(**{**SHORT.model_dump(), "valid": 0.25}), schema, rows)
    table = read_table(run.path / "validation.parquet")
    own = {name: f"{name}_" if name in ("id", "row") else name for name in names}
    for row, name, *cells in zip(
        table.text("row"), table.text("id"), *(table.text(own[one]) for one in names), strict=True
    ):
        user, item, rating = (rows[one][int(row)] for one in names)
        assert (cells[0], cells[1], float(cells[2])) == (user, item, float(rating))
        assert name == f"user {user}, item {item}"
    errors = table.numbers(own[names[2]]) - table.numbers(f"{names[2]}:predicted")
    assert np.sqrt((errors**2).mean()) == pytest.approx(run.scores[names[2]]["rmse"], rel=1e-6)
    page = (run.path / "report.html").read_text()
    worst = int(np.argmax(np.abs(errors)))
    assert f"user {table.text(own[names[0]])[worst]}, {table.text(own[names[1]])[worst]}" in page


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
    assert (run.recipe.epochs, run.recipe.hidden, run.recipe.batch_size) == (
        1,
        (4,),
        RatingNetworkRecipe().batch_size,
    )


def test_events_are_no_ratings(tmp_path: Path) -> None:
    rows = {"user": ["a", "b"], "item": ["x", "y"]}
    with pytest.raises(TenfoldError):
        fit(tmp_path / "a", schema=Schema(inputs=schema_of().inputs, targets=schema_of().targets), rows=rows)
    assert not (tmp_path / "a").exists()


def test_the_weight_decay_of_a_dot_product_is_found_and_kept(tmp_path: Path) -> None:
    notes: list[str] = []
    run = fit(tmp_path / "a", RatingNetworkRecipe(body="dot", epochs=1, batch_size=10), on_note=notes.append)
    wanted = 1.1 * (10 / (24 * 16) ** 0.5) ** 0.5
    assert run.recipe.weight_decay == pytest.approx(wanted, abs=1e-4)
    assert any(
        note.startswith(f"weight decay {run.recipe.weight_decay:g}, by how many ids") for note in notes
    )
    stated = RatingNetworkRecipe(body="dot", epochs=1, batch_size=10, weight_decay=run.recipe.weight_decay)
    again = fit(tmp_path / "b", stated)
    assert (run.path / "weights.safetensors").read_bytes() == (
        again.path / "weights.safetensors"
    ).read_bytes()
    assert (
        fit(tmp_path / "a", RatingNetworkRecipe(body="dot", epochs=1, batch_size=10), resume=True).path
        == run.path
    )
