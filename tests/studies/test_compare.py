"""Targets alone and together: the same rows and draws, so that only the targets differ."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import tenfold
from asked import fit_alone
from photos import QUICK, write_photos, write_table
from tenfold.data.tables.table import read_parquet_columns
from tenfold.errors import RecipeError, SchemaError
from tenfold.recipe import TABLE_DEFAULTS, Recipe
from tenfold.runs.folder import read_run
from tenfold.schema import (
    CategoryTarget,
    IdColumn,
    ImageColumn,
    NumberColumn,
    RatingTarget,
    Schema,
    UndecidedTarget,
)
from tenfold.studies.compare import Pair, TargetCompared, compare_targets


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Schema, Path]:
    folder = tmp_path_factory.mktemp("compare")
    columns = write_photos(folder, 36)
    columns["grade"] = [str(number % 4) if number % 5 else "" for number in range(36)]
    table = write_table(folder / "train.csv", columns)
    targets = tuple(UndecidedTarget(name=name) for name in ("label", "size"))
    schema = Schema(inputs=(ImageColumn(name="id", folder=str(folder / "photos")),), targets=targets)
    return folder, schema, table


def quick(**values: object) -> Recipe:
    given = {name: getattr(QUICK, name) for name in QUICK.model_fields_set}
    return Recipe(**{**given, "epochs": 1, **values})


def rows_of(run: Path) -> list[int]:
    return read_parquet_columns(run / "validation.parquet")["row"].tolist()


def test_every_arm_holds_out_the_same_rows_and_every_row_once(place: tuple[Path, Schema, Path]) -> None:
    folder, schema, table = place
    kept = folder / "kept"
    found = compare_targets(schema, quick(), str(table), folds=3, runs=kept)
    assert (found.rows, found.folds, found.repeats) == (36, 3, 1)
    arms = ("together", "alone-label-0", "alone-size-1")
    held = []
    for fold in (1, 2, 3):
        rows = [rows_of(kept / f"seed-1-fold-{fold}-{arm}") for arm in arms]
        assert rows[0] == rows[1] == rows[2]
        held += rows[0]
    assert sorted(held) == list(range(36))
    again = compare_targets(schema, quick(), str(table), folds=3, runs=kept)  # goes on from what is there
    drop = {"seconds", "notes"}
    one, two = (
        {key: value for key, value in each.record().items() if key not in drop} for each in (found, again)
    )
    assert json.dumps(one, default=str) == json.dumps(two, default=str)


def test_alone_is_a_plain_training_of_that_target(place: tuple[Path, Schema, Path]) -> None:
    folder, schema, table = place
    found = compare_targets(schema, quick(), str(table), of=("label",), folds=2, runs=folder / "plain")
    run = folder / "plain" / "seed-1-fold-2-alone-label-0"
    held = set(rows_of(run))
    single = Schema(inputs=schema.inputs, targets=schema.targets[:1], split="held")
    lines = table.read_text().splitlines()
    stated = [f"{line},{int(row in held)}" for row, line in enumerate(lines[1:])]
    split = folder / "split.csv"
    split.write_text("\n".join([f"{lines[0]},held", *stated]) + "\n")
    own = fit_alone(single, quick(), str(split), run=folder / "own")
    (target,) = found.targets
    assert target.pairs[1].alone == own.scores["label"]
    assert target.others == ("size",)


def test_a_repeat_deals_other_folds_under_another_seed(place: tuple[Path, Schema, Path]) -> None:
    folder, schema, table = place
    twice = folder / "twice"
    found = compare_targets(schema, quick(), str(table), of=("size",), folds=2, repeats=2, runs=twice)
    pairs = found.targets[0].pairs
    assert [(one.repeat, one.fold, one.seed) for one in pairs] == [(0, 0, 1), (0, 1, 1), (1, 0, 2), (1, 1, 2)]
    first, second = (rows_of(twice / f"seed-{seed}-fold-1-together") for seed in (1, 2))
    assert first != second


def test_what_the_recipe_says_of_other_targets_is_left_out(place: tuple[Path, Schema, Path]) -> None:
    folder, schema, table = place
    recipe = quick(
        task_weights={"size": 0.5},
        class_weights={"size": {"big": 2.0}},
        monitor="size:error_rate",
        keep="best",
    )
    notes: list[str] = []
    kept = folder / "others"
    compare_targets(schema, recipe, str(table), folds=2, runs=kept, on_note=notes.append)
    recipes = {
        arm: Recipe.from_toml((kept / f"seed-1-fold-1-{arm}" / "recipe.toml").read_text())
        for arm in ("together", "alone-label-0", "alone-size-1")
    }
    assert recipes["together"].task_weights == {"size": 0.5}
    assert recipes["alone-label-0"].task_weights == {} == recipes["alone-size-1"].task_weights
    assert recipes["alone-label-0"].class_weights == "none"
    assert recipes["alone-size-1"].class_weights == {"size": {"big": 2.0}}
    assert recipes["alone-label-0"].monitor == "mean"
    assert recipes["alone-size-1"].monitor == "size:error_rate"
    assert any("best epoch is chosen" in note for note in notes)


def test_missing_labels_and_folds_of_time(place: tuple[Path, Schema, Path]) -> None:
    folder, schema, table = place
    graded = Schema(inputs=schema.inputs, targets=(schema.targets[0], UndecidedTarget(name="grade")))
    found = compare_targets(graded, quick(valid=0.3), str(table), of=("grade",), folds=2)
    assert sum(pair.alone["scored"] for pair in found.targets[0].pairs) == 28  # each known label once
    assert any("valid = 0.3 is not used" in note for note in found.notes)


def compared(differences: list[float], kind: str = "category") -> TargetCompared:
    score = {"category": "error_rate", "multilabel": "micro_f1"}[kind]
    pairs = tuple(
        Pair(0, fold, 0, {score: 0.5, "scored": 9}, {score: 0.5 + one, "scored": 9})
        for fold, one in enumerate(differences)
    )
    return TargetCompared("a", kind, ("b",), pairs, 0.5)


@pytest.mark.parametrize(
    ("differences", "kind", "answer"),
    [
        ([-0.10, -0.11, -0.09], "category", "helps"),
        ([0.10, 0.11, 0.09], "category", "harms"),
        ([0.10, 0.11, 0.09], "multilabel", "helps"),  # of an F1 more is better
        ([-0.10, 0.11, -0.09], "category", "not told apart"),
        ([-0.10], "category", "not told apart"),
    ],
)
def test_the_answer_follows_the_interval(differences: list[float], kind: str, answer: str) -> None:
    found = compared(differences, kind)
    assert found.answer == answer
    assert found.record()["difference"] == pytest.approx(np.mean(differences))


def test_the_error_knows_that_folds_share_rows() -> None:
    record = compared([-0.1, 0.0, 0.1]).record()
    assert record["deviation"] == pytest.approx(0.1)
    assert record["standard_error"] == pytest.approx(0.1 * np.sqrt(1 / 3 + 1 / 2))
    assert [one["fold"] for one in record["per_fold"]] == [1, 2, 3]


def test_what_cannot_be_compared_is_refused(place: tuple[Path, Schema, Path]) -> None:
    _, schema, table = place
    one = Schema(inputs=schema.inputs, targets=schema.targets[:1])
    ids = Schema(inputs=(IdColumn(name="u"), IdColumn(name="i")), targets=(RatingTarget(name="r"),))
    for wrong, options, error, said in (
        (one, {}, SchemaError, "a single target has nothing"),
        (ids, {}, SchemaError, "ratings have one target"),
        (schema, {"of": ("lable",)}, SchemaError, "did you mean 'label'"),
        (schema, {"folds": 1}, RecipeError, "2 folds or more"),
        (schema, {"repeats": 0}, RecipeError, "1 repeat or more"),
        (schema.model_copy(update={"split": "held"}), {}, SchemaError, "states a split"),
    ):
        with pytest.raises(error) as caught:
            compare_targets(wrong, quick(), str(table), **options)
        assert said in str(caught.value)


def test_the_kept_trainings_are_runs_like_any_other(place: tuple[Path, Schema, Path]) -> None:
    folder, schema, table = place
    compare_targets(schema, quick(), str(table), of=("label",), folds=2, runs=folder / "runs")
    for entry in (folder / "runs").iterdir():
        _, about = read_run(entry)
        assert about.train_rows + about.valid_rows == 36


TWO = CategoryTarget(name="two")


def write_cells(path: Path, rows: int) -> Path:
    """A number, and two targets."""
    lines = [f"{row % 7},{'ab'[row % 2]},{'cd'[row // 2 % 2]}" for row in range(rows)]
    path.write_text("\n".join(["x,two,other", *lines]) + "\n", encoding="utf-8")
    return path


def test_a_table_without_pictures_is_trained_as_fit_trains_it(tmp_path: Path) -> None:
    table = write_cells(tmp_path / "t.csv", 24)
    schema = Schema(inputs=(NumberColumn(name="x"),), targets=(TWO, CategoryTarget(name="other")))
    compare_targets(schema, Recipe(batch_size=24, lr=0.01), str(table), folds=2, runs=tmp_path / "runs")
    kept = Recipe.from_toml((tmp_path / "runs" / "seed-0-fold-1-alone-two-0" / "recipe.toml").read_text())
    own = tenfold.fit(schema, Recipe(batch_size=24, lr=0.01), str(table), run=tmp_path / "own").recipe
    assert kept.epochs == own.epochs == TABLE_DEFAULTS["epochs"]
    assert all(getattr(kept, name) == value for name, value in TABLE_DEFAULTS.items())
