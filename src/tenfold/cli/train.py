"""Commands that train, plan and ask a network or a recommender, and the demonstration of both."""

from collections.abc import Callable
from typing import Any, ClassVar

import typer

from tenfold.cli.commands import Given, command, show_run, show_written
from tenfold.cli.options import (
    DeviceOptions,
    JobOptions,
    Json,
    ListOutput,
    ReadingOptions,
    ViewOptions,
    argument,
    option,
)
from tenfold.cli.request import (
    asking_of,
    job_of,
    picture_job_of,
    rows_of,
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


class Fit(JobOptions, Json):
    """What ``tenfold fit`` takes."""

    panel: ClassVar = "Output"
    output: str | None = option("run folder to make", "FOLDER", "-o", "--output")
    resume: bool = option("go on with an unfinished run", default=False)
    report: bool = option("leave report.html in the run folder", "", "--report/--no-report", default=True)


@command(
    "fit",
    Fit,
    "tenfold fit train.csv --image photo=photos --target disease -o runs/leaves",
    "tenfold fit train.csv --number height --target yield -o runs/yields",
    "tenfold fit ratings.csv --user user --item film --target stars -o runs/films",
    recipes=(Recipe, FactorRecipe),
)
def _fit(given: Given) -> None:
    """Train on a table and leave a run folder.

    A table with --image and --target makes a classifier; --user and --item make a recommender.
    """
    from tenfold.runs.fitting import fit

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


class Predict(ViewOptions, ReadingOptions, DeviceOptions, ListOutput):
    """What ``tenfold predict`` takes."""

    run: str = argument("run folder", "RUN")
    table: str | None = argument("table, or folder of pictures", "TABLE", optional=True)
    like: str | None = option("sample submission whose ids, order and columns are kept", "FILE")
    probability: list[str] | None = option(
        "column of the sample for a class's probability", "[TARGET:]CLASS=COLUMN"
    )
    column: list[str] | None = option(
        "what fills a column of the sample; COLUMN= keeps its cells", "COLUMN=TARGET"
    )
    fill_missing: str | None = option("what to write for ids of the sample that are not predicted", "TEXT")
    probabilities: bool = option("write every class's probability, too", default=False)
    members: bool = option("ensembles: write each member's answers, too", default=False)
    id: str | None = option("column of the table that names a row, instead of the run's", "COLUMN")
    user: list[str] | None = option("ratings: a user, in place of a table", "ID")
    item: list[str] | None = option("ratings: an item, one to each user", "ID")


@command(
    "predict",
    Predict,
    "tenfold predict runs/leaves test.csv -o answers.csv",
    "tenfold predict runs/leaves test.csv --like sample.csv -o submission.csv",
    "tenfold predict runs/films --user 7 --item 12 --item 40",
)
def _predict(given: Given) -> None:
    """Predict the rows of a table, or the pictures of a folder."""
    from tenfold.cli.write import write_answers
    from tenfold.runs.history import record_submission
    from tenfold.runs.registry import load_run

    run = load_run(given["run"])
    with Display() as display:
        rows = rows_of(run, given)
        found = run.predict(rows, asking_of(run, given, display.progress, display.note))
    written = write_answers(found, given, id_name=given["id"] or run.schema.row_name or "line")
    for note in record_submission(run.path, written.get("output", ""), like=given["like"] or ""):
        say(note)
    show_written(written, as_json=given["as_json"])
    if written["failed"]:
        raise typer.Exit(1)


class Evaluate(ViewOptions, ReadingOptions, DeviceOptions, Json):
    """What ``tenfold evaluate`` takes."""

    run: str = argument("run folder", "RUN")
    table: str = argument("table whose answers are known", "TABLE")
    lists: int | None = option("ratings: score the lists of so many items, too")
    liked: float | None = option("ratings: from which rating on a test item counts as liked")


@command(
    "evaluate",
    Evaluate,
    "tenfold evaluate runs/leaves test.csv",
    "tenfold evaluate runs/films test.csv --lists 10 --liked 4",
)
def _evaluate(given: Given) -> None:
    """Score a run on rows whose answer is known."""
    from tenfold.runs.registry import load_run

    run = load_run(given["run"])
    with Display() as display:
        scores = run.evaluate(given["table"], asking_of(run, given, display.progress, display.note))
    print_json(scores) if given["as_json"] else show_run(scores)


class Lr(JobOptions, Json):
    """What ``tenfold lr`` takes."""

    panel: ClassVar = "Output"
    steps: int = option("optimizer steps to take", default=100)
    output: str | None = option("HTML file for the curve", "FILE", "-o", "--output")


@command(
    "lr",
    Lr,
    "tenfold lr train.csv --image photo=photos --target disease -o rates.html",
    recipes=(Recipe,),
)
def _lr(given: Given) -> None:
    """Look for a learning rate.

    The rate grows with every optimizer step, and the loss over it says which rates are too large.
    """
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


def _own(name: str) -> str:
    return f" [{Recipe.model_fields[name].default}]"


class PlanOptions(Json):
    """What ``tenfold plan`` takes."""

    archs: list[str] = argument("architectures of timm, or one job file (.toml)", "ARCH")
    budget: str = option("memory to use: a size, a card's name as T4, or auto", "SIZE", default="16GiB")
    image_size: str | None = option("in pixels, or one side [224]", "HEIGHTxWIDTH")
    batch_size: int | None = option(f"rows per optimizer step{_own('batch_size')}")
    micro_batch: int | None = option("rows at once; the most that fit where not given")
    checkpoint: bool = option("compute activations again in the backward pass", default=False)
    precision: str | None = option(f"format of numbers{_own('precision')}", "auto|float32|float16|bfloat16")
    optimizer: str | None = option("adamw, or another that the plan knows", "NAME")
    classes: int | None = option("outputs of the last layer [1000]")
    device: str = option("cuda or cpu; it need not be there", "NAME", default="cuda")
    plot: str | None = option("HTML file for the first one's memory over a step", "FILE")
    calibrate: bool = option("first measure this machine's context, and keep it", default=False)


@command(
    "plan",
    PlanOptions,
    "tenfold plan convnext_large --budget T4 --image-size 384",
    "tenfold plan resnet50 tf_efficientnet_b4 --budget 8GiB --batch-size 256",
)
def _plan(given: Given) -> None:
    """Plan the memory of a training, without a GPU. Nothing is trained."""
    from tenfold.networks.plan import calibrate_device, draw_plan, plan_command

    if given["calibrate"]:
        say(calibrate_device())
    found, request = plan_command(given)
    if given["plot"]:
        draw_plan(found[0], request, given["plot"])
    print_json([one.record() for one in found]) if given["as_json"] else show_plans(found, given["plot"])
    if all(not one.record()["fits"] for one in found):
        raise typer.Exit(1)


class Demo(Json):
    """What ``tenfold demo`` takes."""

    folder: str = option("folder to make", "FOLDER", "-o", "--output", default="demo")
    rows: int = option("leaves to draw for training", default=800)
    only: str | None = option("one of both", "leaves|ratings")


@command("demo", Demo, "tenfold demo", "tenfold demo --only ratings -o films")
def _demo(given: Given) -> None:
    """Show both jobs on data that tenfold draws itself.

    They are pictures of leaves, and ratings whose truth is known.
    """
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
