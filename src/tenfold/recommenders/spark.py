"""Ratings that Spark holds: biases, and Spark's ALS on what they leave; the only room of Spark.

What comes back is what a local fit makes: pairs as numbers, biases and factors. Spark reads the table, joins
it with the numbers of its ids and solves the factors; this process never holds a text per rating.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tenfold.data.ratings.index import take_ratings
from tenfold.data.split.holdout import Split
from tenfold.errors import DependencyError, RatingsError, RecipeError, SchemaError, did_you_mean
from tenfold.recipe import FactorRecipe
from tenfold.recommenders.prepare import RatingsWork
from tenfold.runs.job import Notes
from tenfold.runs.options import FitOptions
from tenfold.schema import IdColumn, RatingTarget, Schema
from tenfold.values import Extra, FactorModel, Ratings, id_text

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession  # pyright: ignore[reportMissingImports]

__all__ = ["SparkRatings", "fit_spark", "read_spark"]

#: Ratings that count as 0 beside those of an item, and of a user: Koren 2010, "Factor in the neighbors",
#: section 2.1.
ITEM_DAMPING, USER_DAMPING = 25.0, 10.0
#: Ratings that come to this process at once.
AT_ONCE = 5_000_000
#: What is cut into so many parts to hold some out.
PARTS = 1_000_000
#: The columns of ratings.
_ROLES = ("user", "item", "rating")


@dataclass(frozen=True)
class SparkRatings:
    """Ratings in Spark, and what this process keeps of them.

    frame: columns u, i (rows of the vocabularies of `work.ratings`), rating, and held (bool).
    """

    work: RatingsWork
    frame: DataFrame


@contextmanager
def spark_session() -> Iterator[SparkSession]:
    """The session that is there, or one of this machine for the duration of the block."""
    try:
        from pyspark.core.context import Py4JError  # pyright: ignore[reportMissingImports, reportPrivateImportUsage]
        from pyspark.errors.exceptions.base import PySparkException  # pyright: ignore[reportMissingImports]
        from pyspark.sql import SparkSession  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise DependencyError(
            "--engine spark needs PySpark, which is not installed", fix="pip install 'tenfold[spark]'"
        ) from None
    active = SparkSession.getActiveSession()
    if active is None and not (os.environ.get("JAVA_HOME") or shutil.which("java")):
        raise DependencyError(
            "Spark needs Java, which is not here",
            fix="on Debian or Ubuntu: apt-get install default-jre-headless",
        )
    try:
        session = active or _started(SparkSession.builder)
        before = session.sparkContext.getConf().get("spark.log.level", "WARN")
        session.sparkContext.setLogLevel("ERROR")
        try:
            yield session
        finally:
            with suppress(Py4JError, OSError):  # Java may be gone
                session.sparkContext.setLogLevel(before or "WARN")
                if active is None:
                    session.stop()
    except (PySparkException, Py4JError) as error:
        raise _stopped(error) from None
    except ConnectionError as error:
        raise _stopped(error, "its Java process has ended") from None


def _stopped(error: Exception, why: str = "") -> RatingsError:
    """What Spark, or the Java process behind it, died of, in a line."""
    lines = [line.strip().removeprefix(": ") for line in str(error).splitlines() if line.strip()]
    memory = next((line for line in lines if "OutOfMemoryError" in line), "")
    if memory:
        return RatingsError(
            "Spark ran out of memory",
            found=memory.removeprefix("Caused by: "),
            fix="spark.driver.memory 8g in the spark-defaults.conf of SPARK_CONF_DIR; on a cluster "
            "spark.executor.memory, too",
        )
    # Py4J's first line names the call alone, and what Java threw follows.
    called = len(lines) > 1 and lines[0].startswith("An error occurred while calling")
    why = why or next(iter(lines[called:]), type(error).__name__)
    return RatingsError(
        f"Spark stopped: {why}", fix="Spark's log says why; spark.driver.memory is often too small"
    )


def _started(builder: Any) -> SparkSession:
    cores = os.cpu_count() or 1
    builder = builder.appName("tenfold").config("spark.ui.enabled", "false")
    builder = builder.config("spark.ui.showConsoleProgress", "false").config("spark.log.level", "ERROR")
    if "MASTER" not in os.environ and not os.environ.get("SPARK_CONF_DIR"):
        builder = builder.master("local[*]").config("spark.sql.shuffle.partitions", 4 * cores)
    return builder.getOrCreate()


# --- reading ---------------------------------------------------------------------------------------


def read_spark(
    session: SparkSession,
    schema: Schema,
    recipe: FactorRecipe,
    source: object,
    options: FitOptions,
    notes: Notes,
) -> SparkRatings:
    """Read, check and split the ratings; ids are numbered in the order of their texts.

    source: a path or pattern of Parquet or CSV files, or a Spark data frame.
    Raises SchemaError for columns that are not there, RatingsError for cells that are no ids or numbers.
    """
    _refuse(schema, recipe, options)
    recipe = recipe.model_copy(update={"method": "als"})
    from pyspark.sql import functions as F  # pyright: ignore[reportMissingImports]

    table = _frame(session, source)
    columns = _columns(schema, table)
    plain = table.select(*(_cell(table, name, role) for name, role in zip(columns, _ROLES, strict=True)))
    plain = _checked(plain, options.reading.skip_bad, columns, notes)
    plain = _once(plain, recipe.duplicates, notes)
    users, items = _vocabulary(plain, "user"), _vocabulary(plain, "item")
    held, how = _held(recipe, notes)
    numbered = (
        plain.join(_numbers(session, users, "user", "u"), "user")
        .join(_numbers(session, items, "item", "i"), "item")
        .select("u", "i", "rating", held.alias("held") if held is not None else F.lit(False).alias("held"))
        .persist()
    )
    ratings, is_held = _collected(numbered, users, items, recipe)
    split = Split(np.flatnonzero(~is_held), np.flatnonzero(is_held))
    if how and not (len(split.train) and len(split.valid)):
        raise RecipeError("the held-out part or the rest is empty", fix="give another --valid or --fold")
    notes.add([f"{len(users)} users, {len(items)} items, {len(ratings.ratings)} ratings, read by Spark"])
    low, high = ratings.scale
    notes.add([f"scale {low:g} to {high:g}, {'as given' if recipe.scale else 'from the data'}"])
    completed = schema.model_copy(
        update={
            "inputs": (IdColumn(name=columns[0]), IdColumn(name=columns[1])),
            "targets": (RatingTarget(name=columns[2]),),
        }
    )
    train = take_ratings(ratings, split.train) if len(split.valid) else ratings
    work = RatingsWork(completed, recipe, ratings, split, train, {}, {}, how=how)
    return SparkRatings(work, numbered)


def _refuse(schema: Schema, recipe: FactorRecipe, options: FitOptions) -> None:
    """Refuse what Spark's part does not do, instead of leaving it out."""
    given = recipe.model_fields_set
    if "method" in given and recipe.method != "als":
        raise RecipeError(f"engine spark fits by als, not by {recipe.method}", fix="leave --method out")
    if recipe.kind == "implicit" or schema.targets[0].name is None:
        raise RecipeError(
            "engine spark fits ratings, and these are events",
            fix="name the rating with --target, or leave --engine out",
        )
    if recipe.split not in ("auto", "random"):
        raise RecipeError(
            f"engine spark holds out at random, not by {recipe.split}", fix="give --split random"
        )
    further = [str(path) for path in (schema.user_table, schema.item_table) if path is not None]
    if further or schema.side or schema.columns[2:] or schema.time:
        raise SchemaError(
            "engine spark learns from users, items and ratings alone",
            fix="leave out further columns, side tables and times, or leave --engine out",
        )
    options_given = {name: value for name, value in options.reading.table.items() if value}
    if options_given:
        raise RecipeError(
            f"{', '.join(options_given)} is for tables that tenfold reads itself",
            fix="write the table as Parquet, or as CSV with a header",
        )
    if recipe.recent or recipe.in_order:
        raise RecipeError(
            "rows in Spark have no order, of which any could be recent",
            fix="leave --recent and --in-order out",
        )
    if recipe.duplicates in ("first", "last"):
        raise RecipeError(
            f"rows in Spark have no order, of which duplicates = {recipe.duplicates!r} could be",
            fix="give --duplicates mean, max, min or sum",
        )


def _frame(session: SparkSession, source: object) -> DataFrame:
    from pyspark.sql import DataFrame  # pyright: ignore[reportMissingImports]

    if isinstance(source, DataFrame):
        return source
    path = os.fspath(source) if isinstance(source, str | os.PathLike) else ""
    if path.rstrip("/*").lower().endswith((".csv", ".csv.gz", ".tsv")):
        return session.read.csv(path, header=True, sep="\t" if ".tsv" in path.lower() else ",")
    if path:
        return session.read.parquet(path)
    raise SchemaError(
        "engine spark reads Parquet or CSV files, or a Spark data frame",
        found=type(source).__name__,
        fix="write the table as Parquet",
    )


def _columns(schema: Schema, table: DataFrame) -> tuple[str, str, str]:
    names = (schema.ids[0].name, schema.ids[1].name, str(schema.targets[0].name))
    for role, name in zip(_ROLES, names, strict=True):
        if name not in table.columns:
            raise SchemaError(f"there is no column {name!r} ({role})", fix=did_you_mean(name, table.columns))
    return names


def _cell(table: DataFrame, name: str, role: str) -> Any:
    """A column as its role has it: an id as text, a rating as a number, null where it is neither."""
    from pyspark.sql import functions as F  # pyright: ignore[reportMissingImports]

    cell = table[f"`{name.replace('`', '``')}`"]
    kind = table.schema[name].dataType.typeName()
    if role == "rating":
        return cell.try_cast("double").alias(role)
    if kind in ("float", "double", "decimal"):
        # Whole numbers that a gap has made floating are read without '.0', as elsewhere.
        cell = F.when(cell == F.floor(cell), cell.cast("bigint"))
    text = F.trim(cell.cast("string"))
    return F.when(text != "", text).alias(role)


def _checked(plain: DataFrame, skip_bad: bool, columns: tuple[str, str, str], notes: Notes) -> DataFrame:
    """Rows whose three cells can be used. RatingsError where others are not to be left out."""
    from pyspark.sql import functions as F  # pyright: ignore[reportMissingImports]

    good = {role: F.col(role).isNotNull() for role in _ROLES}
    good["rating"] &= ~F.isnan("rating") & (F.abs("rating") < F.lit(float("inf")))
    counts = plain.agg(F.count(F.lit(1)).alias("rows"),
                       *(F.sum((~F.coalesce(own, F.lit(False))).cast("long")).alias(role)
                         for role, own in good.items())).first()  # fmt: skip
    assert counts is not None
    if not counts["rows"]:
        raise RatingsError("the table has no rows", fix="check the name of the files")
    words = {"user": "id", "item": "id", "rating": "number"}
    bad = [
        f"{name}: {counts[role]} of {counts['rows']} cells are no {words[role]}"
        for name, role in zip(columns, _ROLES, strict=True)
        if counts[role]
    ]
    if bad and not skip_bad:
        raise RatingsError(
            "some ratings cannot be used", problems=bad, fix="mend them, or leave them out: --skip-bad"
        )
    if bad:
        notes.add([f"left out: {line}" for line in bad])
        plain = plain.where(good["user"] & good["item"] & good["rating"])
    return plain


def _once(plain: DataFrame, duplicates: str | None, notes: Notes) -> DataFrame:
    """Each pair once. RatingsError where one is twice and nothing says what it counts as."""
    from pyspark.sql import functions as F  # pyright: ignore[reportMissingImports]

    pairs = plain.groupBy("user", "item")
    twice = pairs.count().where("count > 1").count()
    if not twice:
        return plain
    if duplicates in (None, "error"):
        raise RatingsError(
            f"{twice} pairs of user and item occur more than once, and rows in Spark have no order",
            fix="give --duplicates mean, max, min or sum",
        )
    joined: dict[str, Callable[[str], Any]] = {"mean": F.avg, "max": F.max, "min": F.min, "sum": F.sum}
    notes.add([f"{twice} pairs occur more than once: their {duplicates} counts"])
    return pairs.agg(joined[duplicates]("rating").alias("rating"))


def _vocabulary(plain: DataFrame, role: str) -> NDArray[np.object_]:
    """The ids in the order of their texts."""
    found = plain.select(role).distinct().toArrow().column(role).to_pylist()
    ids = np.array(sorted(found), object)
    spelled = {id_text(one) for one in found}
    if len(spelled) != len(found) or any(id_text(one) != one for one in found):
        strange = next(one for one in found if id_text(one) != one)
        raise RatingsError(
            f"the {role} {strange!r} is not spelled as ids are: composed (NFC), without blanks around it",
            fix="write the column in one spelling before it is read",
        )
    return ids


def _numbers(session: SparkSession, ids: NDArray[np.object_], role: str, number: str) -> DataFrame:
    rows = list(zip(ids.tolist(), range(len(ids)), strict=True))
    return session.createDataFrame(rows, f"{role} string, {number} int")


def _held(recipe: FactorRecipe, notes: Notes) -> tuple[Any, str]:
    """A condition that holds rows out, by a hash of user, item and seed; None where none are."""
    from pyspark.sql import functions as F  # pyright: ignore[reportMissingImports]

    seed = recipe.seed if recipe.split_seed is None else recipe.split_seed
    drawn = F.pmod(F.xxhash64("user", "item", F.lit(seed)), F.lit(PARTS))
    if recipe.fold is not None:
        fold, folds = recipe.fold
        notes.add([f"fold {fold} of {folds} is held out, at random"])
        return F.pmod(drawn, F.lit(folds)) == fold - 1, "random"
    if recipe.valid:
        notes.add([f"held out: {recipe.valid:g} of the ratings, at random"])
        return drawn < round(recipe.valid * PARTS), "random"
    notes.add(["no ratings are held out: nothing is validated"])
    return None, ""


def _collected(
    numbered: DataFrame, users: NDArray[np.object_], items: NDArray[np.object_], recipe: FactorRecipe
) -> tuple[Ratings, NDArray[np.bool_]]:
    """The pairs by user and item, some users at a time; and which are held out."""
    counts = numbered.groupBy("u").count().toArrow()
    sizes = np.zeros(len(users), np.int64)
    sizes[counts.column("u").to_numpy()] = counts.column("count").to_numpy()
    start = np.concatenate([[0], np.cumsum(sizes)])
    columns = {"u": np.uint32, "i": np.uint32, "rating": np.float32, "held": np.bool_}
    found: dict[str, NDArray[Any]] = {name: np.empty(start[-1], kind) for name, kind in columns.items()}
    first = 0
    while first < len(users):
        last = max(first + 1, int(np.searchsorted(start, start[first] + AT_ONCE, side="right")) - 1)
        part = numbered.where((numbered.u >= first) & (numbered.u < last)).orderBy("u", "i").toArrow()
        for name, array in found.items():
            array[start[first] : start[last]] = part.column(name).to_numpy(zero_copy_only=False)
        first = last
    low, high = float(found["rating"].min()), float(found["rating"].max())
    if recipe.scale and not recipe.scale[0] <= low <= high <= recipe.scale[1]:
        raise RatingsError(f"ratings run from {low:g} to {high:g}, outside the scale", fix="mend --scale")
    ratings = Ratings(
        users, items, found["u"], found["i"], found["rating"], None, recipe.scale or (low, high)
    )
    return ratings, found["held"]


# --- the fit ---------------------------------------------------------------------------------------


def fit_spark(data: SparkRatings, recipe: FactorRecipe) -> FactorModel:
    """Biases, and Spark's ALS on what they leave of the training ratings."""
    from pyspark.ml.recommendation import ALS  # pyright: ignore[reportMissingImports]
    from pyspark.sql import functions as F  # pyright: ignore[reportMissingImports]

    from tenfold.collab.als import EPOCHS, WEIGHT_DECAY
    from tenfold.collab.scale import choose_factors, constant_model, measure, plain_model

    train = data.work.train
    scale = measure(train)
    factors = choose_factors(len(train.ratings)) if recipe.factors is None else recipe.factors
    if scale.spread == 0:
        return constant_model(train, "als", scale.center, factors)
    decay = WEIGHT_DECAY if recipe.weight_decay is None else recipe.weight_decay
    frame = data.frame.where(~data.frame.held).withColumn("left", F.col("rating") - F.lit(scale.center))
    frame, item_bias = _without_bias(frame, "i", ITEM_DAMPING)
    frame, user_bias = _without_bias(frame, "u", USER_DAMPING)
    # Its weight decay counts once per rating, in squared ratings where the local method's is in deviations.
    model = ALS(
        userCol="u",
        itemCol="i",
        ratingCol="left",
        rank=factors,
        maxIter=EPOCHS if recipe.epochs is None else recipe.epochs,
        regParam=decay * scale.spread,
        seed=recipe.seed % 2**31,
    ).fit(frame)
    places = {
        "u": _places(train.users, data.work.ratings.users),
        "i": _places(train.items, data.work.ratings.items),
    }
    return plain_model(
        train,
        "als",
        scale.center,
        (_by_place(user_bias, places["u"]), _by_place(item_bias, places["i"])),
        (
            _factors(model.userFactors, places["u"], factors),
            _factors(model.itemFactors, places["i"], factors),
        ),
        extra=Extra(weight_decay=float(decay), spread=scale.spread),
        notes=("factors by Spark's ALS on what the biases leave (engine spark)",),
    )


def _without_bias(frame: DataFrame, row: str, damping: float) -> tuple[DataFrame, DataFrame]:
    """What a side's biases leave, and the biases: sums over counts, with some ratings of 0 beside."""
    from pyspark.sql import functions as F  # pyright: ignore[reportMissingImports]

    bias = frame.groupBy(row).agg((F.sum("left") / (F.count("left") + F.lit(damping))).alias("bias"))
    rest = frame.join(bias, row).withColumn("left", F.col("left") - F.col("bias")).drop("bias")
    return rest, bias


def _places(own: NDArray[np.object_], all_ids: NDArray[np.object_]) -> NDArray[np.int64]:
    """(rows of all ids,) the place of each among the training's, -1 where it is not there."""
    known = {one: place for place, one in enumerate(own)}
    return np.array([known.get(one, -1) for one in all_ids], np.int64)


def _by_place(bias: DataFrame, places: NDArray[np.int64]) -> NDArray[np.float32]:
    found = bias.toArrow()
    row = next(name for name in found.column_names if name != "bias")
    made = np.zeros(int(places.max()) + 1, np.float32)
    made[places[found.column(row).to_numpy()]] = found.column("bias").to_numpy()
    return made


def _factors(side: DataFrame, places: NDArray[np.int64], factors: int) -> NDArray[np.float32]:
    found = side.toArrow()
    made = np.zeros((int(places.max()) + 1, factors), np.float32)
    flat = found.column("features").combine_chunks().flatten().to_numpy(zero_copy_only=False)
    made[places[found.column("id").to_numpy()]] = flat.reshape(-1, factors)
    return made
