"""Commands that train, plan and ask a network or a recommender, and the demonstration of both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer

from tenfold.cli.commands import Given, command, show_run, show_written
from tenfold.cli.options import (
    CHECKPOINT,
    COLUMNS,
    DEVICE,
    JSON,
    MACHINE,
    OUTPUT,
    PICTURES,
    READING,
    SAFE,
    VIEWS,
    argument,
    option,
    recipe_options,
)
from tenfold.cli.request import (
    asking_of,
    job_of,
    picture_job_of,
    rows_of,
    scoring_of,
    wing_options,
)
from tenfold.cli.screen import (
    Display,
    print_json,
    say,
    show_demo,
    show_demo_ratings,
    show_plans,
    show_rates,
    show_rows,
)
from tenfold.recipe import FactorRecipe, Recipe


@command(
    "fit",
    argument("table", "table, folder of pictures, or job file (.toml)", optional=True),
    *COLUMNS,
    *recipe_options(Recipe, FactorRecipe),
    *READING,
    *MACHINE,
    OUTPUT,
    option("resume", bool, "go on with an unfinished run", "--resume", default=False),
    option("report", bool, "leave report.html in the run folder [on]", "--report/--no-report", default=True),
    JSON,
)
def _fit(given: Given) -> None:
    """Train on a table and leave a run folder.

    A table with --image and --target makes a classifier; --user and --item make a recommender.
    """
    from tenfold.studies.fit import fit

    job = job_of(given)
    with Display() as display:
        run = fit(
            job.schema,
            job.recipe,
            job.table,
            run=job.output,
            resume=given["resume"],
            report=given["report"],
            on_progress=display.progress,
            on_note=display.note,
            **wing_options(job.schema, given, job.recipe),
        )
    print_json(run.summary) if given["as_json"] else show_run(run.summary)


@command(
    "predict",
    argument("run", "run folder"),
    argument("table", "table, or folder of pictures", optional=True),
    PICTURES,
    option("user", list[str] | None, "ratings: a user's id, in place of a table", "--user"),
    option("item", list[str] | None, "ratings: an item's id, one to each user", "--item"),
    option("like", str | None, "sample submission whose ids, order and columns are kept"),
    option(
        "probability",
        list[str] | None,
        "CLASS=COLUMN: column of the sample for a class's probability (or TARGET:CLASS=COLUMN)",
        "--probability",
    ),
    option(
        "column",
        list[str] | None,
        "COLUMN=TARGET: what fills a column of the sample; COLUMN= keeps its cells",
        "--column",
    ),
    option("fill_missing", str | None, "what to write for ids of the sample that are not predicted"),
    option("id", str | None, "column of the table that names a row, instead of the run's"),
    option("probabilities", bool, "write every class's probability, too", "--probabilities", default=False),
    option("members", bool, "of a blend: write each member's answers, too", "--members", default=False),
    SAFE,
    *VIEWS,
    *READING,
    DEVICE,
    OUTPUT,
    JSON,
)
def _predict(given: Given) -> None:
    """Predict the rows of a table, or the pictures of a folder, in their order."""
    from tenfold.cli.write import write_answers
    from tenfold.runs.history import record_submission
    from tenfold.studies.predict import load_run

    run = load_run(given["run"])
    with Display() as display:
        found = run.predict(
            rows_of(run, given), **asking_of(run, given, display.progress), on_note=display.note
        )
    written = write_answers(found, given, id_name=given["id"] or run.schema.row_name or "line")
    for note in record_submission(run.path, written.get("output", ""), like=given["like"] or ""):
        say(note)
    show_written(written, given)
    if written["failed"]:
        raise typer.Exit(1)


@command(
    "evaluate",
    argument("run", "run folder"),
    argument("table", "table whose answers are known"),
    PICTURES,
    *VIEWS,
    *READING,
    DEVICE,
    option("lists", int | None, "ratings: score the lists of so many items, too"),
    option("liked", float | None, "ratings: from which rating on a test item counts as liked"),
    JSON,
)
def _evaluate(given: Given) -> None:
    """Score a run on rows whose answer is known."""
    from tenfold.studies.predict import load_run

    run = load_run(given["run"])
    with Display() as display:
        scores = run.evaluate(
            given["table"], **scoring_of(run, given, display.progress), on_note=display.note
        )
    print_json(scores) if given["as_json"] else show_run(scores)


@command(
    "lr",
    argument("table", "table, folder of pictures, or job file (.toml)", optional=True),
    *COLUMNS,
    *recipe_options(Recipe),
    *READING,
    *MACHINE,
    option("steps", int, "optimizer steps to take", default=100),
    option("output", str | None, "HTML file for the curve", "-o", "--output"),
    JSON,
)
def _lr(given: Given) -> None:
    """Look for a learning rate: the loss over a rate that grows with every optimizer step."""
    from tenfold.networks.rates import find_learning_rate
    from tenfold.reports.charts import rates_chart
    from tenfold.reports.html import write_charts

    job = picture_job_of({**given, "output": "no run"})
    with Display() as display:
        curve = find_learning_rate(
            job.schema,
            job.recipe,
            job.table,
            steps=given["steps"],
            on_progress=display.progress,
            on_note=display.note,
            **wing_options(job.schema, given),
        )
    if given["output"]:
        chart = rates_chart(curve.rates, curve.losses, curve.steepest)
        write_charts(given["output"], "Learning rate", [chart])
    show_rates(curve, given["output"]) if not given["as_json"] else print_json(vars(curve))


@command(
    "plan",
    argument("archs", "architectures of timm, or one job file (.toml)", many=True),
    option("image_size", str | None, "side, or HEIGHTxWIDTH, in pixels [224]"),
    option("batch_size", int | None, "rows to one optimizer step [64]"),
    option("budget", str, "a size, a card's name (T4), or auto", default="16GiB"),
    option("micro_batch", int | None, "rows at once; the most that fit where not given"),
    option("precision", str | None, "auto, float32, float16, bfloat16 [auto]"),
    option("optimizer", str | None, "adamw, or another that the plan knows"),
    option("classes", int | None, "outputs of the last layer [1000]"),
    CHECKPOINT,
    option("device", str, "cuda or cpu; it need not be there", default="cuda"),
    option("plot", str | None, "HTML file for the first one's memory over a step"),
    option(
        "calibrate", bool, "first measure this machine's context, and keep it", "--calibrate", default=False
    ),
    JSON,
)
def _plan(given: Given) -> None:
    """Plan the memory of a training, without running it and without a GPU."""
    from tenfold.networks.plan import calibrate_device, draw_plan, plan_request

    if given["calibrate"]:
        say(calibrate_device())
    found = plan_request(given)
    if given["plot"]:
        draw_plan(found[0], given)
    print_json([one.record() for one in found]) if given["as_json"] else show_plans(found, given["plot"])
    if all(not one.record()["fits"] for one in found):
        raise typer.Exit(1)


@command(
    "demo",
    option("folder", str, "folder to make", "-o", "--output", default="demo"),
    option("rows", int, "leaves to draw for training", default=800),
    option("only", str | None, "one act: leaves, or ratings"),
    JSON,
)
def _demo(given: Given) -> None:
    """Both jobs on data that tenfold draws itself: leaf pictures, and ratings whose truth is known."""
    from pathlib import Path

    from tenfold.studies.demo import chosen_acts

    play: dict[str, Callable[[Path, Given], Given]] = {"leaves": _leaves, "ratings": _ratings}
    found: Given = {}
    for act in chosen_acts(given["only"]):
        found |= play[act](Path(given["folder"]), given)
    if given["as_json"]:
        print_json(found)


def _leaves(folder: Any, given: Given) -> Given:
    from tenfold.studies.demo import fit_demo, predict_demo, write_demo_data

    say("drawing leaves with two targets: disease and variety")
    data = write_demo_data(folder, rows=given["rows"])
    if not given["as_json"]:
        show_rows(data.columns)
    with Display() as display:
        run = fit_demo(folder, data, on_progress=display.progress, on_note=display.note)
    submission, scores = predict_demo(run, folder, data)
    if not given["as_json"]:
        show_demo(data, run.summary, submission, scores)
    return scores


def _ratings(folder: Any, given: Given) -> Given:
    from tenfold.studies.demo import fit_demo_ratings, judge_demo_ratings, write_demo_ratings

    say("drawing ratings of films by people whose taste is known")
    data = write_demo_ratings(folder / "ratings")
    with Display() as display:
        run = fit_demo_ratings(folder / "ratings", data, on_progress=display.progress, on_note=display.note)
    found = judge_demo_ratings(run, data)
    if not given["as_json"]:
        show_demo_ratings(data, found)
    return {"ratings": found}
