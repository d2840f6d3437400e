"""Ratings fitted in Spark: an ordinary run, whose parts are what the arithmetic says."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tenfold.collab.als import WEIGHT_DECAY
from tenfold.data.synthetic import draw_ratings
from tenfold.data.tables.table import write_parquet
from tenfold.errors import RatingsError, RecipeError, SchemaError
from tenfold.recipe import FactorRecipe
from tenfold.runs.fitting import fit
from tenfold.runs.registry import load_run
from tenfold.schema import IdColumn, RatingTarget, Schema
from tenfold.studies.tune import tune

pytest.importorskip("pyspark", reason="pyspark is not installed: pip install 'tenfold[spark]'")
pytestmark = [
    pytest.mark.skipif(
        not (shutil.which("java") or os.environ.get("JAVA_HOME")),
        reason="there is no java: apt-get install default-jre-headless",
    ),
    # Spark's own: sockets, and what it says of pandas.
    pytest.mark.filterwarnings("ignore"),
]
SCHEMA = Schema(inputs=(IdColumn(name="user"), IdColumn(name="item")), targets=(RatingTarget(name="rating"),))
SMALL = FactorRecipe(engine="spark", factors=3, epochs=4, valid=0.2)


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
    for name, value in (("ui.showConsoleProgress", "false"), ("sql.shuffle.partitions", "1")):
        builder = builder.config(f"spark.{name}", value)
    session = builder.config("spark.default.parallelism", "1").getOrCreate()
    yield session
    session.stop()


@pytest.fixture(scope="module")
def drawn() -> dict[str, Any]:
    found = draw_ratings(60, 40, 900, seed=4)
    return {name: found[name] for name in ("user", "item", "rating")}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, drawn: dict[str, Any]) -> Path:
    folder = tmp_path_factory.mktemp("spark") / "ratings"
    folder.mkdir()
    for number, rows in enumerate((slice(0, 400), slice(400, None))):
        write_parquet(folder / f"{number}.parquet", {name: own[rows] for name, own in drawn.items()})
    return folder


@pytest.fixture(scope="module")
def run(spark: Any, files: Path) -> Any:
    return fit(SCHEMA, SMALL, f"{files}/*.parquet", run=files.parent / "run", history=False)


def test_the_run_is_an_ordinary_one_and_beats_its_biases(run: Any, drawn: dict[str, Any]) -> None:
    opened = load_run(run.path)
    scores = opened.scores["rating"]
    assert scores["rmse"] < scores["baselines"]["global_mean"]["rmse"]
    record = opened.record
    assert (record.rows, record.train_rows + record.valid_rows) == (900, 900)
    assert 120 < record.valid_rows < 240 and record.method == "als"
    assert len(opened.recommend([drawn["user"][0]], n=3)) == 3
    known = opened.predict({name: drawn[name][:50] for name in ("user", "item")})
    error = np.asarray(known.score) - np.asarray(drawn["rating"][:50], float)
    assert float(np.sqrt(np.mean(error**2))) < float(np.std(drawn["rating"]))
    assert (run.path / "report.html").exists() and 'engine = "spark"' in (
        run.path / "recipe.toml"
    ).read_text()


def test_biases_are_damped_means_of_the_training_ratings(run: Any, drawn: dict[str, Any]) -> None:
    model = run.model
    users = np.repeat(np.arange(len(model.users)), np.diff(model.seen_start))
    left = model.seen_ratings - model.mean
    assert model.mean == pytest.approx(float(model.seen_ratings.mean()), abs=1e-6)
    for place in (0, 7):
        mine = left[model.seen_items == place]
        assert model.item_bias[place] == pytest.approx(mine.sum() / (len(mine) + 25), abs=1e-5)
    rest = left - model.item_bias[model.seen_items]
    for place in (0, 9):
        mine = rest[users == place]
        assert model.user_bias[place] == pytest.approx(mine.sum() / (len(mine) + 10), abs=1e-5)
    # What every pair is said to be rated is what the table has.
    table = {(u, i): float(r) for u, i, r in zip(*drawn.values(), strict=True)}
    pairs = zip(model.users[users], model.items[model.seen_items], model.seen_ratings, strict=True)
    assert all(table[user, item] == float(rating) for user, item, rating in pairs)


def test_factors_solve_the_ridge_regression_of_their_ratings(run: Any) -> None:
    # The users are solved for last: each row is the ridge regression on the items' factors.
    model, extra = run.model, run.model.extra
    assert extra.weight_decay == WEIGHT_DECAY
    start, q = model.seen_start, model.item_factors.astype(np.float64)
    own = []
    for side in (0, 3):
        rows = slice(start[side], start[side + 1])
        items = model.seen_items[rows]
        left = model.seen_ratings[rows] - model.mean - model.user_bias[side] - model.item_bias[items]
        decay = extra.weight_decay * extra.spread * len(items) * np.eye(3)
        own.append(np.linalg.solve(q[items].T @ q[items] + decay, q[items].T @ left))
    assert np.allclose(model.user_factors[[0, 3]], own, atol=2e-4)


@pytest.mark.metamorphic("rows of a Spark table in another order, or as whole numbers, are the same ratings")
def test_the_order_of_rows_and_the_type_of_ids_do_not_matter(
    spark: Any, drawn: dict[str, Any], tmp_path: Path
) -> None:
    rows = [(int(u[1:]), int(i[1:]), float(r)) for u, i, r in zip(*drawn.values(), strict=True)]
    recipe = SMALL.model_copy(update={"epochs": 1})
    fits = []
    for name, table, kind in (("whole", rows, "int"), ("floating", rows[::-1], "double")):
        cells = [(float(u), float(i), r) for u, i, r in table] if kind == "double" else table
        frame = spark.createDataFrame(cells, f"user {kind}, item {kind}, rating double")
        fits.append(fit(SCHEMA, recipe, frame, run=tmp_path / name, history=False, report=False))
    one, two = (made.model for made in fits)
    assert list(one.users) == list(two.users) and all("." not in user for user in one.users)
    assert np.array_equal(one.seen_items, two.seen_items) and np.array_equal(
        one.seen_ratings, two.seen_ratings
    )
    assert np.allclose(one.user_bias, two.user_bias, atol=1e-6)


def test_pairs_that_occur_twice_and_cells_that_are_none_are_refused(spark: Any, tmp_path: Path) -> None:
    kinds = "user string, item string, rating string"
    rows = [("a", "x", "1"), ("a", "y", "5"), ("b", "x", "3"), ("b", "y", "4"), ("c", "x", "2")]

    def fitted(more: list[tuple[Any, ...]], recipe: FactorRecipe = SMALL, skip: bool = False) -> Any:
        frame = spark.createDataFrame([*rows, *more], kinds)
        chosen = recipe.model_copy(update={"valid": 0.0, "epochs": 1})
        return fit(SCHEMA, chosen, frame, run=tmp_path / "run", history=False, report=False, skip_bad=skip)

    with pytest.raises(RatingsError, match="1 pairs of user and item occur more than once"):
        fitted([("a", "x", "3")])
    mean = fitted([("a", "x", "3")], SMALL.model_copy(update={"duplicates": "mean"})).model
    assert mean.seen_ratings[0] == 2.0
    with pytest.raises(RatingsError) as caught:
        fitted([("d", "x", "much"), ("", "x", "1"), (None, "y", "NaN"), ("d", "y", "Infinity")])
    assert caught.value.problems == (
        "user: 2 of 9 cells are no id", "rating: 3 of 9 cells are no number"
    )  # fmt: skip
    left = fitted([("d", "x", "much"), ("d", " x", "2")], skip=True).model
    assert list(left.users) == ["a", "b", "c", "d"] and list(left.items) == ["x", "y"]
    with pytest.raises(RatingsError, match="not spelled as ids are"):
        fitted([("e\u0301", "x", "1")])


@pytest.mark.parametrize(
    ("schema", "recipe", "error", "said"),
    [
        (SCHEMA, {"method": "gibbs"}, RecipeError, "fits by als, not by gibbs"),
        (SCHEMA, {"kind": "implicit"}, RecipeError, "these are events"),
        (SCHEMA, {"split": "time"}, RecipeError, "at random, not by time"),
        (SCHEMA, {"duplicates": "last"}, RecipeError, "have no order"),
        (SCHEMA, {"recent": 5.0}, RecipeError, "any could be recent"),
        (SCHEMA, {"in_order": True}, RecipeError, "any could be recent"),
        ({"inputs": (*SCHEMA.inputs[:1], IdColumn(name="film"))}, {}, SchemaError, "no column 'film'"),
        ({"time": "when"}, {}, SchemaError, "users, items and ratings alone"),
        ({"side": ("age",), "user_table": "u.csv"}, {}, SchemaError, "users, items and ratings alone"),
    ],
)
def test_what_spark_does_not_do_is_refused(
    spark: Any, files: Path, tmp_path: Path, schema: Any, recipe: dict[str, Any], error: Any, said: str
) -> None:
    asked = SCHEMA.model_copy(update=schema) if isinstance(schema, dict) else schema
    chosen = FactorRecipe(engine="spark", **recipe)
    with pytest.raises(error, match=said):
        fit(asked, chosen, f"{files}/*.parquet", run=tmp_path / "run", history=False)


def test_what_java_throws_in_the_middle_of_a_job_is_told_in_a_line(spark: Any) -> None:
    from tenfold.recommenders.spark import spark_session

    with pytest.raises(RatingsError, match="Spark ran out of memory") as caught, spark_session():
        spark.sparkContext._jvm.java.util.ArrayList(2**31 - 1)
    assert "java.lang.OutOfMemoryError" in str(caught.value) and "spark.driver.memory" in str(caught.value)
    with pytest.raises(RatingsError, match="Spark stopped: java.util.NoSuchElementException"):
        with spark_session():
            spark.sparkContext._jvm.java.util.ArrayDeque().removeFirst()
    # The session is the caller's, and goes on.
    assert spark.range(3).count() == 3


def test_a_java_process_that_ended_is_told_in_a_line(spark: Any) -> None:
    from py4j.protocol import Py4JNetworkError

    from tenfold.recommenders.spark import spark_session

    for error in (Py4JNetworkError("Answer from Java side is empty"), ConnectionRefusedError(111, "refused")):
        with pytest.raises(RatingsError, match="Spark stopped: (its Java process|Answer from Java)"):
            with spark_session():
                raise error


def test_other_commands_refuse_the_engine(files: Path) -> None:
    with pytest.raises(RecipeError, match="engine spark is for tenfold fit"):
        tune("wd", SCHEMA, SMALL.model_copy(update={"method": "als"}), str(files / "0.parquet"))
    assert FactorRecipe().model_dump().get("engine") is None
