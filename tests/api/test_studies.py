"""`tenfold.tune` and `tenfold.compare_targets` from Python: columns by name, progress, the same answers."""

from __future__ import annotations

import pytest

import tenfold
from tenfold.studies.tune import tune as run_study

LABELS = {"size": "small", "shade": "dark"}


def rows() -> dict[str, list[object]]:
    return {
        "a": [float(k % 7) for k in range(60)],
        "size": ["small" if k % 7 < 3 else "large" for k in range(60)],
        "shade": ["dark" if k % 2 else "light" for k in range(60)],
    }


def test_tune_takes_columns_by_name_and_shows_each_training(capsys: pytest.CaptureFixture[str]) -> None:
    table = rows()
    named = tenfold.tune("lr", table, number="a", target="size", values=(0.01, 0.1), epochs=1, seed=3)
    shown = capsys.readouterr()
    assert "lr 0.1, seed 3: " in shown.err + shown.out
    schema = tenfold.Schema(inputs=[tenfold.NumberColumn(name="a")], targets=["size"])
    study = run_study("lr", schema, tenfold.Recipe(epochs=1, seed=3), table, values=(0.01, 0.1))
    assert [trial.score for trial in named.trials] == [trial.score for trial in study.trials]
    quiet = tenfold.tune(
        "lr", schema, tenfold.Recipe(epochs=1, seed=3), table, values=(0.01, 0.1), quiet=True
    )
    assert [trial.score for trial in quiet.trials] == [trial.score for trial in study.trials]
    assert capsys.readouterr() == ("", "")


def test_search_takes_columns_by_name() -> None:
    pytest.importorskip("optuna")
    words = {"number": "a", "target": "size", "trials": 2, "quiet": True, "epochs": 1}
    found = tenfold.search(["lr", "dropout"], rows(), within={"dropout": "0:0.5"}, **words)
    assert len(found) == 2 and found.names == ("lr", "dropout") and found.recipe.epochs == 1


def test_compare_targets_takes_columns_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    table = rows()
    found = tenfold.compare_targets(table, number="a", target=list(LABELS), of=["size"], folds=2, epochs=1)
    shown = capsys.readouterr()
    assert "fold 2: size error_rate" in shown.err + shown.out
    assert found.rows == 60 and [target.name for target in found.targets] == ["size"]
    with pytest.raises(tenfold.TenfoldError, match="no choice 'epoch' of a Recipe"):
        tenfold.compare_targets(table, number="a", target=list(LABELS), epoch=1)


def test_choices_that_would_not_be_used_are_refused() -> None:
    table, recipes = rows(), {"few": tenfold.Recipe(epochs=1), "more": tenfold.Recipe(epochs=2)}
    schema = tenfold.Schema(inputs=[tenfold.NumberColumn(name="a")], targets=["size"])
    with pytest.raises(tenfold.TenfoldError, match="epochs is given beside several recipes"):
        tenfold.cross_validate(schema, recipes, table, epochs=3)
    with pytest.raises(tenfold.TenfoldError, match="a recipe is given beside methods"):
        tenfold.cross_validate(schema, tenfold.FactorRecipe(), table, methods=["als"])


def test_studies_take_every_column_of_a_fit() -> None:
    table = {**rows(), "farm": [k // 10 for k in range(60)], "w": [k % 3 for k in range(60)]}
    notes: list[str] = []
    words = {"number": "a", "target": "size", "epochs": 1, "quiet": True, "on_note": notes.append}
    found = tenfold.cross_validate(table, group="farm", weight="w", folds=3, **words)
    assert "rows of one farm stay on one side of the split" in notes and "scores are weighted by w" in notes
    assert [fold.valid_rows for fold in found.recipes[0].folds] == [20, 20, 20]
    notes.clear()
    tenfold.tune("lr", table, values=[0.1], group=["farm"], **words)
    assert "rows of one farm stay on one side of the split" in notes
    # Of ratings, split is a choice of the recipe, as before.
    pairs = {"u": 9, "i": 11, "s": 5}
    ratings = {name: [k % size for k in range(80)] for name, size in pairs.items()}
    of = {"user": "u", "item": "i", "target": "s", "valid": 0.2, "split": "random", "quiet": True}
    assert tenfold.tune("factors", ratings, values=[2], repeats=1, **of).trials
