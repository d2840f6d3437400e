"""Titanic: who survived, by tenfold's defaults, by logistic regression and by gradient boosting.

    python bench/titanic.py ../shared/data/titanic/train.csv [--folds 10] [--seeds 3] [--output FILE]

All see the same columns and the same folds, dealt out by tenfold's stratified k-fold, anew for every seed.
Nothing is chosen by a test fold: tenfold trains with its defaults to the last epoch, scikit-learn's models
with theirs. `--choose` compares settings by folds *inside* each training part.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
from sklearn.compose import make_column_transformer
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

import tenfold
from tenfold.data.split.holdout import kfold
from tenfold.data.tables.table import Table, read_table
from tenfold.recipe import TABLE_DEFAULTS, Recipe
from tenfold.runs.fitting import fit
from tenfold.schema import CategoryColumn, NumberColumn, Schema

CATEGORIES = ("Sex", "Pclass", "Embarked")
NUMBERS = ("Age", "Fare", "SibSp", "Parch")
TARGET, SPLIT = "Survived", "held out"


def network_errors(table: Table, test: np.ndarray, rows: np.ndarray, **values: Any) -> np.ndarray:
    """Of the rows of the table, tenfold trains on those that are no test rows; true where it is wrong."""
    part = table.take(rows)
    marks = np.isin(rows, test).astype(int).astype(str)
    cells = {name: part.text(name) for name in (*CATEGORIES, *NUMBERS, TARGET)}
    schema = Schema(
        inputs=(
            *(CategoryColumn(name=name) for name in CATEGORIES),
            *(NumberColumn(name=n) for n in NUMBERS),
        ),
        targets=(f"{TARGET}:category",),
        split=SPLIT,
    )
    with tempfile.TemporaryDirectory() as folder:
        run = fit(schema, Recipe(**values), {**cells, SPLIT: marks}, run=Path(folder) / "run", report=False)
        rest = table.take(test)
        found = run.predict({name: rest.text(name) for name in (*CATEGORIES, *NUMBERS)})
    return found.targets[TARGET].values != rest.text(TARGET)


def peers(seed: int) -> dict[str, Any]:
    """scikit-learn's models with their defaults, behind the usual preparation."""
    words = list(range(len(CATEGORIES)))
    numbers = list(range(len(CATEGORIES), len(CATEGORIES) + len(NUMBERS)))
    wide = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), words),
        (make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler()), numbers),
        sparse_threshold=0,
    )
    codes = make_column_transformer(
        (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), words),
        ("passthrough", numbers),
    )
    histogram = HistGradientBoostingClassifier(categorical_features=words, random_state=seed)
    return {
        "logistic regression": make_pipeline(wide, LogisticRegression(max_iter=1000)),
        "gradient boosting": make_pipeline(wide, GradientBoostingClassifier(random_state=seed)),
        "histogram gradient boosting": make_pipeline(codes, histogram),
    }


def folds_of(labels: np.ndarray, folds: int, seed: int) -> list[np.ndarray]:
    """Rows of each fold."""
    codes = np.unique(labels.astype(str), return_inverse=True)[1]
    dealt = kfold(len(labels), folds=folds, seed=seed, labels={TARGET: codes})
    return [dealt.split(number).valid for number in range(folds)]


def compare(table: Table, folds: int, seeds: int) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Model -> accuracy of each seed over all folds, and seconds to a fit."""
    labels = table.text(TARGET)
    matrix = np.stack(
        [table.text(name) for name in CATEGORIES] + [table.numbers(name).astype(object) for name in NUMBERS],
        1,
    )
    every = np.arange(table.rows)
    right: dict[str, list[float]] = {}
    spent: dict[str, float] = {}
    for seed in range(seeds):
        wrong: dict[str, int] = {}
        for test in folds_of(labels, folds, seed):
            train = np.setdiff1d(every, test)
            started = time.monotonic()
            found = {"tenfold": network_errors(table, test, every, seed=seed)}
            spent["tenfold"] = spent.get("tenfold", 0.0) + time.monotonic() - started
            for name, model in peers(seed).items():
                started = time.monotonic()
                found[name] = model.fit(matrix[train], labels[train]).predict(matrix[test]) != labels[test]
                spent[name] = spent.get(name, 0.0) + time.monotonic() - started
            for name, errors in found.items():
                wrong[name] = wrong.get(name, 0) + int(errors.sum())
        for name, count in wrong.items():
            right.setdefault(name, []).append(1 - count / table.rows)
        print(
            f"seed {seed}: " + ", ".join(f"{name} {one[-1]:.4f}" for name, one in right.items()), flush=True
        )
    return right, {name: total / folds / seeds for name, total in spent.items()}


def choose(table: Table, settings: list[dict[str, Any]]) -> None:
    """Accuracy of each setting on folds inside the training parts of five outer folds."""
    labels = table.text(TARGET)
    for values in settings:
        wrong = rows = 0
        for number, outer in enumerate(folds_of(labels, 5, 100)):
            train = np.setdiff1d(np.arange(table.rows), outer)
            for inner in folds_of(labels[train], 3, number)[:2]:
                wrong += int(network_errors(table, train[inner], train, **values).sum())
                rows += len(inner)
        print(f"{1 - wrong / rows:.4f}  {values}", flush=True)


def report(right: dict[str, list[float]], seconds: dict[str, float], folds: int, rows: int) -> str:
    """The results as Markdown."""
    best = max(statistics.fmean(values) for name, values in right.items() if name != "tenfold")
    lines = [
        "# Titanic: who survived",
        "",
        f"`python bench/titanic.py TABLE --folds {folds} --seeds {len(right['tenfold'])}`; {rows} "
        f"passengers, {folds} stratified folds, dealt out anew for each of the seeds; columns "
        f"{', '.join(CATEGORIES)} (categories) and {', '.join(NUMBERS)} (numbers). "
        f"tenfold {tenfold.__version__} with its defaults, scikit-learn {sklearn.__version__} with its own. "
        "The machine (2 cores) was shared with other work, so that seconds are no more than a size.",
        "",
        "| | accuracy, mean over seeds | lowest | highest | seconds to a fit and its predictions |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, values in right.items():
        lines.append(
            f"| {name} | {statistics.fmean(values):.4f} | {min(values):.4f} | {max(values):.4f} "
            f"| {seconds[name]:.2f} |"
        )
    behind = statistics.fmean(right["tenfold"]) - best
    lines += ["", f"tenfold against the best of the others: {behind * 100:+.2f} points of accuracy.", ""]
    lines += [
        "The defaults of tables (`tenfold.recipe.TABLE_DEFAULTS`) are "
        + ", ".join(f"{name} {value}" for name, value in TABLE_DEFAULTS.items())
        + ". They were set before these folds were scored; `--choose` compares others inside the "
        "training parts.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table")
    parser.add_argument("--folds", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--output")
    parser.add_argument("--choose", action="store_true")
    given = parser.parse_args()
    table = read_table(given.table)
    if given.choose:
        grid = itertools.product((20, 40, 80), ((64,), (128, 64)), (2e-3, 5e-3))
        choose(table, [{"epochs": epochs, "hidden": hidden, "lr": lr} for epochs, hidden, lr in grid])
        return
    right, seconds = compare(table, given.folds, given.seeds)
    text = report(right, seconds, given.folds, table.rows)
    print(text)
    if given.output:
        Path(given.output).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
