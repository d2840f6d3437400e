"""`tenfold.fit` from strings is that from a schema, and a run knows the table that it was fitted to."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import tenfold
from tenfold.api.fitting import fit, lr
from tenfold.errors import RecipeError, SchemaError, TenfoldError

ROWS = 40


@pytest.fixture(scope="module")
def cells() -> dict[str, list[object]]:
    rng = np.random.default_rng(0)
    size = rng.normal(size=ROWS).round(3)
    return {
        "name": [f"row {number}" for number in range(ROWS)],
        "size": size.tolist(),
        "shape": ["round", "square"] * (ROWS // 2),
        "heavy": np.where(size > 0, "yes", "no").tolist(),
    }


def test_names_of_columns_give_the_same_run_as_a_schema(cells: dict, tmp_path: Path) -> None:
    schema = tenfold.Schema(
        inputs=(tenfold.CategoryColumn(name="shape"), tenfold.NumberColumn(name="size")),
        targets=("heavy",),
        id="name",
    )
    recipe = tenfold.Recipe(epochs=2, hidden=(8,))
    one = fit(schema, recipe, cells, run=tmp_path / "one", quiet=True)
    two = fit(
        cells, category="shape", number=["size"], target="heavy", id="name", epochs=2, hidden=(8,),
        run=tmp_path / "two", quiet=True,
    )  # fmt: skip
    assert one.record.values["identity"] == two.record.values["identity"]
    assert (tmp_path / "one/weights.safetensors").read_bytes() == (
        tmp_path / "two/weights.safetensors"
    ).read_bytes()
    assert isinstance(two, tenfold.NetworkRun)


def test_choices_replace_fields_of_the_recipe_and_say_how_to_compute(cells: dict, tmp_path: Path) -> None:
    made = fit(
        cells, tenfold.Recipe(epochs=9, hidden=(8,)), number="size", target="heavy", epochs=1, device="cpu",
        micro_batch=4, run=tmp_path / "run", quiet=True,
    )  # fmt: skip
    assert made.recipe.epochs == 1 and made.recipe.hidden == (8,)
    assert made.recipe.weight_decay == 0.1  # the default for tables is still one
    assert made.record.plan["micro_batch"] == 4


def test_a_run_shows_the_table_in_memory_that_it_was_fitted_to(cells: dict, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(cells)
    made = fit(frame, number="size", target="heavy", epochs=1, run=tmp_path / "run", quiet=True)
    assert made.source is frame
    assert f"of {ROWS} rows" in repr(made.show_batch(n=3))
    assert tenfold.load_run(tmp_path / "run").source is None


def test_samples_and_folders_of_classes_need_no_names(tmp_path: Path) -> None:
    films = fit(tenfold.sample("films", rows=300), factors=2, sweeps=4, run=tmp_path / "films", quiet=True)
    assert films.recipe.factors == 2 and films.recipe.valid == 0.1
    assert isinstance(films, tenfold.RecommenderRun) and len(films.recommend("u1", n=2)) == 2
    leaves = tenfold.sample("leaves", rows=24, folder=tmp_path / "drawn")
    for name, disease in zip(leaves.cells["image_id"], leaves.cells["disease"], strict=True):
        (tmp_path / "photos" / disease).mkdir(parents=True, exist_ok=True)
        (tmp_path / "drawn" / name).rename(tmp_path / "photos" / disease / name)
    made = fit(tmp_path / "photos", leaves.recipe, epochs=1, run=tmp_path / "leaves", quiet=True)
    assert [target.name for target in made.schema.targets] == ["label"]


def test_it_shows_its_epochs_unless_it_is_quiet(
    cells: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(cells, number="size", target="heavy", epochs=1, run=tmp_path / "run", quiet=True)
    assert capsys.readouterr() == ("", "")
    fit(cells, number="size", target="heavy", epochs=1, run=tmp_path / "run")
    shown = capsys.readouterr()
    assert "\n  1  " in shown.err and shown.out == ""


def test_a_learning_rate_is_found_and_drawn(cells: dict) -> None:
    curve = lr(cells, number="size", target="heavy", hidden=(8,), steps=12, quiet=True)
    assert 0 < curve.steepest <= 1 and f"lr={curve.steepest:.1g}" in repr(curve)
    assert "&lt;canvas" in curve._repr_html_()
    with pytest.raises(SchemaError, match="not of ratings"):
        lr(tenfold.sample("films", rows=100), quiet=True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"schema": {"a": [1]}, "target": "a"}, "the inputs are not given"),
        ({"schema": {"a": [1]}, "number": "a", "target": "b", "epoch": 3}, "did you mean 'epochs'"),
        ({"schema": {"a": [1]}, "number": "a", "target": "b", "targets": 3}, "did you mean 'target'"),
        ({"schema": {"a": [1]}, "recipe": None, "table": {"a": [1]}}, "is a Schema, not dict"),
        ({"schema": tenfold.Schema(inputs=(), targets=("a",))}, "no table is given"),
        (
            {"schema": tenfold.Schema(inputs=(), targets=("a",)), "table": {}, "number": "a"},
            "beside a Schema",
        ),
        ({"schema": "no-such.csv", "number": "a", "target": "b"}, "no-such.csv"),
    ],
)
def test_what_cannot_be_fitted_is_refused_with_a_remedy(arguments: dict, said: str, tmp_path: Path) -> None:
    with pytest.raises(TenfoldError, match=said):
        fit(**arguments, run=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_choice_of_another_kind_of_recipe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="'image_size' of a FactorRecipe"):
        fit(tenfold.sample("films", rows=100), image_size=32, run=tmp_path / "run", quiet=True)


def test_help_names_every_argument() -> None:
    import inspect

    text = inspect.getdoc(fit) or ""
    names = [name for name in inspect.signature(fit).parameters if name not in ("table",)]
    assert [name for name in names if name not in text] == []
    assert json.dumps(sorted(names))  # all of them are plain words


def test_presets_give_what_is_not_given(cells: dict, tmp_path: Path) -> None:
    words: dict = {"number": "size", "target": "heavy", "hidden": (8,), "quiet": True}
    made = fit(cells, preset="quick", run=tmp_path / "quick", **words)
    assert made.recipe.epochs == 10
    assert fit(cells, preset="quick", epochs=2, run=tmp_path / "two", **words).recipe.epochs == 2
    assert fit(cells, preset="good", epochs=1, run=tmp_path / "good", **words).recipe.epochs == 1
    with pytest.raises(RecipeError, match="no preset 'goood'") as refused:
        fit(cells, preset="goood", run=tmp_path / "no", **words)
    assert "good" in refused.value.labels["fix"]
    with pytest.raises(RecipeError, match="read the table from a file"):
        fit(cells, preset="best", run=tmp_path / "best", **words)
    ratings = {"user": ["a", "b"] * 5, "item": list("pqrstuvwxy"), "stars": [1, 2, 3, 4, 5] * 2}
    for options in ({"preset": "quick"}, {"time_limit": "1min"}):
        with pytest.raises(RecipeError, match="not for ratings"):
            fit(ratings, user="user", item="item", target="stars", run=tmp_path / "no", quiet=True, **options)
