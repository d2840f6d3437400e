"""From options to what a job takes: no option is passed over without a word."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import tenfold.cli.main  # noqa: F401 - the commands in their order
from collab.small_models import by_hand
from photos import write_photo
from tenfold.cli import request
from tenfold.cli.ask import Evaluate, Predict
from tenfold.cli.commands import offer_of
from tenfold.cli.options import ColumnOptions, options_of
from tenfold.cli.ratings import Recommend, recommender_of
from tenfold.cli.request import fit_keywords, picture_job_of, table_options
from tenfold.cli.request import predict_options as options_for
from tenfold.cli.train import Fit
from tenfold.data.tables.table import Table
from tenfold.errors import ImageError, RecipeError, SchemaError, TenfoldError
from tenfold.events import ImagesRead
from tenfold.recipe import FactorRecipe, Recipe
from tenfold.remedies import offering
from tenfold.schema import (
    CategoryTarget,
    IdColumn,
    ImageColumn,
    RatingTarget,
    Schema,
    UndecidedTarget,
)
from tenfold.values import MAX_PIXELS

PICTURES = {"table": "train.csv", "image": ["id=photos"], "target": ["label"], "output": "run"}
RATINGS = {"table": "ratings.csv", "user": "u", "item": "i", "target": ["r"], "output": "run"}


def fit_options(**given: Any) -> Fit:
    """What ``tenfold fit`` hands over: every option, with those that were given."""
    own = options_of(Fit)
    choices = {name: value for name, value in given.items() if name not in own}
    assert set(choices) <= Recipe.model_fields.keys() | FactorRecipe.model_fields.keys()
    return Fit(choices=choices, **{name: value for name, value in given.items() if name in own})


def job_of(asked: Fit) -> Any:
    return request.job_of(asked, asked.output)


def predict_options(**given: Any) -> Predict:
    return Predict(**{"run": "r", "table": None, "output": "out.csv", **given})


def run_of(schema: Schema) -> Any:
    return SimpleNamespace(schema=schema)


PICTURE_RUN = run_of(
    Schema(inputs=(ImageColumn(name="id", folder="photos"),), targets=(CategoryTarget(name="label"),))
)
RATINGS_RUN = run_of(
    Schema(inputs=(IdColumn(name="u"), IdColumn(name="i")), targets=(RatingTarget(name="r"),))
)
RATINGS_RUN.interactions = by_hand([[0.0]], [[0.0]] * 3, item_names={"i0": "Sun, The (1999)"})


# Jobs


def test_pictures_and_targets_make_a_classifier() -> None:
    job = job_of(
        fit_options(
            **{**PICTURES, "target": ["label", "size:category"]},
            id="code",
            group=["farm", "year"],
            split_column="is_valid",
            weight="w",
            image_size="160x320",
            batchnorm_group="frozen",
            task_weights="label=2",
            seed=7,
        )
    )
    assert job.schema == Schema(
        inputs=(ImageColumn(name="id", folder="photos"),),
        targets=(UndecidedTarget(name="label"), CategoryTarget(name="size")),
        id="code",
        group=("farm", "year"),
        split="is_valid",
        weight="w",
    )
    assert job.recipe == Recipe(
        image_size=(160, 320), batchnorm_group="frozen", task_weights={"label": 2.0}, seed=7
    )
    assert (job.table, job.output) == ("train.csv", "run")


def test_users_and_items_make_a_recommender() -> None:
    job = job_of(
        fit_options(**RATINGS, time="t", item_table="items.csv", item_name="title", side=["genre"], factors=5)
    )
    assert job.schema.ids == (IdColumn(name="u"), IdColumn(name="i"))
    assert job.schema.targets == (RatingTarget(name="r"),)
    assert (job.schema.time, job.schema.item_table, job.schema.item_name) == ("t", "items.csv", "title")
    assert job.schema.side == ("genre",) and job.recipe == FactorRecipe(factors=5)
    assert job_of(fit_options(**{**RATINGS, "target": None})).schema.targets == (RatingTarget(name=None),)


def test_a_folder_makes_its_own_table(tmp_path: Path) -> None:
    for name in ("cat/1.png", "dog/2.png"):
        write_photo(tmp_path / "train" / name, "cat", 1)
    job = job_of(fit_options(image_folder=str(tmp_path / "train"), output="run"))
    assert isinstance(job.table, Table) and job.table.text("label").tolist() == ["cat", "dog"]
    assert job.schema.targets == (CategoryTarget(name="label"),)
    os.symlink(tmp_path / "train" / "cat" / "1.png", tmp_path / "link.png")
    (tmp_path / "other" / "cat").mkdir(parents=True)
    os.symlink(tmp_path / "train" / "cat" / "1.png", tmp_path / "other" / "cat" / "1.png")
    with pytest.raises(ImageError, match="--allow-outside"):
        job_of(fit_options(image_folder=str(tmp_path / "other"), output="run"))
    job = job_of(fit_options(image_folder=str(tmp_path / "other"), output="run", allow_outside=True))
    assert job.table.text("image").tolist() == ["cat/1.png"]


JOB = """
table = "train.csv"
output = "runs/job"
[schema]
inputs = [{kind = "image", name = "id", folder = "photos"}]
targets = [{kind = "category", name = "label"}]
[recipe]
epochs = 3
lr = 0.5
"""


def test_options_beside_a_job_file_replace_its_values(tmp_path: Path) -> None:
    (tmp_path / "JOB.TOML").write_text(JOB)
    job = job_of(fit_options(table=str(tmp_path / "JOB.TOML"), lr=0.25))
    assert (job.table, job.output, job.recipe) == ("train.csv", "runs/job", Recipe(epochs=3, lr=0.25))
    assert job_of(fit_options(table=str(tmp_path / "JOB.TOML"), output="other")).output == "other"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "no inputs are given"),
        ({"table": "t.csv", "image": ["id=photos"]}, "no target is given"),
        ({**PICTURES, "table": None}, "no table is given"),
        ({**PICTURES, "output": None}, "no run folder is given"),
        ({**PICTURES, "output": ""}, "no run folder is given"),
        ({**PICTURES, "image": ["id"]}, "COLUMN=FOLDER"),
        ({**PICTURES, "target": ["label:categry"]}, "did you mean 'category'?"),
        ({**PICTURES, "lr": -1.0}, "lr"),
        ({**PICTURES, "factors": 3}, "the options are: arch, weights"),  # as Python spells them
        ({**PICTURES, "factors": 3}, "--factors is not an option of a training from pictures"),
        ({**PICTURES, "duplicates": "mean", "epochs": 2}, "--duplicates is not an option"),
        ({**RATINGS, "arch": "resnet18"}, "--arch is not an option of a training from ratings"),
        ({**RATINGS, "target": ["r", "s"]}, "ratings have one target"),
        (
            {"table": "t.csv", "image_folder": "photos", "output": "run"},
            "--image-folder stands for the table",
        ),
    ],
    ids=str,
)
def test_what_is_not_said_or_does_not_fit_is_named(given: dict[str, Any], words: str) -> None:
    with pytest.raises(TenfoldError) as caught:
        job_of(fit_options(**given))
    assert words in str(caught.value) and caught.value.labels["fix"]


@pytest.mark.parametrize("name", ["user_table", "item_table", "item_name"])
def test_columns_of_ratings_are_no_option_for_pictures(name: str) -> None:
    with pytest.raises(RecipeError, match=f"--{name.replace('_', '-')} is not an option"):
        job_of(fit_options(**PICTURES, **{name: "x"}))
    with pytest.raises(RecipeError, match="--side is not an option"):
        job_of(fit_options(**PICTURES, side=["x"]))


@pytest.mark.parametrize(
    ("name", "value"),
    [("id", "x"), ("group", ["x"]), ("split_column", "x"), ("weight", "x"), ("image", ["a=b"])],
)
def test_columns_of_pictures_are_no_option_for_ratings(name: str, value: Any) -> None:
    with pytest.raises(RecipeError, match=f"--{name.replace('_', '-')} is not an option"):
        job_of(fit_options(**RATINGS, **{name: value}))


@pytest.mark.parametrize("place", ["job", "folder"])
@pytest.mark.parametrize(
    "name", [one for one in options_of(ColumnOptions) if one not in ("image_folder", "time_format")]
)
def test_columns_are_named_in_one_place(tmp_path: Path, place: str, name: str) -> None:
    (tmp_path / "job.toml").write_text(JOB)
    value = ["id=photos"] if name in ("image", "target", "group", "side") else "x"
    given = (
        {"table": str(tmp_path / "job.toml")}
        if place == "job"
        else {"image_folder": str(tmp_path), "output": "r"}
    )
    with pytest.raises(RecipeError, match=f"--{name.replace('_', '-')} is not an option beside"):
        job_of(fit_options(**given, **{name: value}))


def test_a_command_for_pictures_refuses_ratings() -> None:
    assert picture_job_of(fit_options(**PICTURES)).table == "train.csv"
    with pytest.raises(SchemaError, match="this command is for pictures") as caught:
        picture_job_of(fit_options(**RATINGS))
    assert "--user" in str(caught.value)
    with pytest.raises(SchemaError, match="not for ratings") as caught:
        picture_job_of(fit_options(**RATINGS), "tenfold tune")
    assert "fix    tenfold tune" in str(caught.value)


def test_a_run_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(SchemaError, match="is a finished run") as caught:
        job_of(fit_options(**{**PICTURES, "table": str(tmp_path)}))
    assert "tenfold report" in str(caught.value)


# Reading and the machine


def test_reading_and_machine_of_a_classifier() -> None:
    given = fit_options(
        **PICTURES, sep=";", encoding="cp1252", header=False, missing_values=["-", "?"], skip_bad=True,
        max_pixels=5, workers=0, cache="c", device="cpu", micro_batch=3,
    )  # fmt: skip
    found = fit_keywords(job_of(given).schema, given)
    reading, machine = found["reading"], found["machine"]
    assert reading.table == table_options(given)
    assert reading.table == {
        "separator": ";", "encoding": "cp1252", "header": False, "missing_values": ("-", "?"),
    }  # fmt: skip
    assert (reading.skip_bad, reading.max_pixels, reading.workers, reading.cache) == (True, 5, 0, "c")
    assert (machine.device, machine.micro_batch, machine.checkpoint) == ("cpu", 3, False)
    plain = fit_keywords(PICTURE_RUN.schema, fit_options(**PICTURES))
    assert (plain["reading"].max_pixels, plain["reading"].workers) == (MAX_PIXELS, 2)
    assert (plain["machine"].device, plain["machine"].micro_batch) == ("auto", None)


@pytest.mark.parametrize(
    ("name", "value"), [("workers", -1), ("max_pixels", -5), ("micro_batch", 0), ("micro_batch", -2)]
)
def test_numbers_that_nothing_can_have_are_refused(name: str, value: int) -> None:
    with pytest.raises(RecipeError, match=f"{name} = {value}"):
        fit_keywords(PICTURE_RUN.schema, fit_options(**PICTURES, **{name: value}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("workers", 0), ("max_pixels", 9), ("cache", "c"), ("allow_outside", True), ("device", "cuda"),
        ("micro_batch", 2), ("budget", "1GiB"), ("checkpoint", True), ("probe", True),
    ],
)  # fmt: skip
def test_ratings_take_no_option_of_pictures(name: str, value: Any) -> None:
    with pytest.raises(RecipeError, match=f"--{name.replace('_', '-')} is not an option where ratings"):
        fit_keywords(RATINGS_RUN.schema, fit_options(**RATINGS, **{name: value}))


def test_ratings_take_their_own_options() -> None:
    found = fit_keywords(
        RATINGS_RUN.schema, fit_options(**RATINGS, skip_bad=True, time_format="iso", sep="|")
    )
    assert found["reading"].skip_bad is True
    assert found["reading"].table["separator"] == "|"


def test_the_format_of_times_beside_pictures_is_part_of_the_schema() -> None:
    given = fit_options(**PICTURES, time="taken", time_format="iso")
    assert job_of(given).schema.time_format == "iso"
    assert fit_keywords(PICTURE_RUN.schema, given)
    with pytest.raises(SchemaError, match="no column of times"):
        job_of(fit_options(**PICTURES, time_format="iso"))


def test_prediction_reads_from_other_folders_and_tells() -> None:
    told: list[Any] = []
    found = options_for(PICTURE_RUN, predict_options(image=["id=new"], views=2), told.append, print)
    assert (found.reading.folders, found.views, found.device) == ({"id": "new"}, 2, "auto")
    assert found.reading.on_progress is not None
    found.reading.on_progress(ImagesRead("id", 1, 2))
    assert told == [ImagesRead("id", 1, 2)]
    with pytest.raises(RecipeError, match="--views is not an option where ratings"):
        options_for(RATINGS_RUN, predict_options(views=2), told.append, print)


def test_scoring_of_lists_is_for_ratings() -> None:
    assert options_for(RATINGS_RUN, Evaluate(lists=5, liked=4.0), print, print).reading.skip_bad is False
    with pytest.raises(RecipeError, match="--lists is not an option where pictures"):
        options_for(PICTURE_RUN, Evaluate(lists=5), print, print)


# For whom to recommend


def test_for_whom_to_recommend_is_said_once() -> None:
    given = Recommend
    assert recommender_of(RATINGS_RUN, given(user=["1"])) == (RATINGS_RUN, ["1"])
    assert recommender_of(RATINGS_RUN, given(everyone=True)) == (RATINGS_RUN, None)
    for values in ({}, {"user": ["1"], "everyone": True}):
        with pytest.raises(RecipeError):
            recommender_of(RATINGS_RUN, given(**values))
    added = SimpleNamespace(record=SimpleNamespace(added_users=["new"]))
    asked: dict[str, Any] = {}

    def learn(path: str, **options: Any) -> Any:
        asked.update(options, path=path)
        return added

    run = SimpleNamespace(with_ratings=learn)
    assert recommender_of(run, given(ratings="mine.csv")) == (added, ["new"])
    assert recommender_of(run, given(ratings="mine.csv", user=["1"])) == (added, ["1"])
    assert recommender_of(run, given(ratings="mine.csv", everyone=True)) == (added, None)
    recommender_of(run, given(ratings="mine.csv", target="note", item_column="film", sep=";", time="none"))
    assert asked["columns"] == {"user": None, "item": "film", "rating": "note", "time": "none"}
    assert asked["path"] == "mine.csv" and asked["separator"] == ";"
    with pytest.raises(RecipeError, match="--target is not an option without --ratings"):
        recommender_of(RATINGS_RUN, given(user=["1"], target="note"))


def test_a_command_names_options_as_they_are_typed() -> None:
    with offering(offer_of("fit")):
        with pytest.raises(RecipeError) as caught:
            job_of(fit_options(**PICTURES, factors=3))
        assert "the options are: --arch, --weights, --image-size" in str(caught.value)
        with pytest.raises(RecipeError) as caught:
            job_of(fit_options(**PICTURES, label_smoothing=2.0))
        assert "--label-smoothing = 2.0: " in str(caught.value)
