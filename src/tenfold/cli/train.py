"""Commands that train and plan, and the demonstration."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, cast

import typer

from tenfold.cli.commands import command, show_run
from tenfold.cli.console import print_json, say
from tenfold.cli.options import BudgetOptions, DevicesOptions, JobOptions, Json, argument, option
from tenfold.cli.progress import Display, MembersDisplay
from tenfold.cli.request import TrainingRequest, fit_keywords, job_of, picture_job_of, refuse
from tenfold.cli.screen import show_demo, show_demo_ratings, show_next, show_plans, show_rates, show_rows
from tenfold.cli.screen_many import show_ensemble
from tenfold.errors import RecipeError
from tenfold.processes import this_rank
from tenfold.recipe import FactorRecipe, Recipe


class Fit(BudgetOptions, DevicesOptions, JobOptions, Json):
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
def _fit(asked: Fit) -> None:
    """Train on a table and leave a run folder.

    A table with --image and --target makes a classifier; --user and --item make a recommender.
    """
    from tenfold.runs.fitting import fit

    job = job_of(asked, asked.output, asked.preset)
    if asked.preset == "best":
        return _fit_best(asked, job)
    keywords = fit_keywords(job.schema, asked, job.recipe, image=asked.image)
    rank = this_rank()
    if asked.devices is not None and asked.devices != rank.count:
        raise typer.Exit(_fit_shared(asked, asked.devices, rank.count))
    sharding = {"shard": asked.shard, "shard_weights": asked.shard_weights}
    keywords["machine"] = replace(keywords["machine"], **sharding)
    with Display() as display:
        run = fit(
            job.schema,
            job.recipe,
            job.table,
            run=job.output,
            resume=asked.resume,
            report=asked.report,
            on_progress=None if rank.number else display.progress,
            on_note=None if rank.number else display.note,
            time_format=asked.time_format if job.schema.rated else None,
            time_limit=asked.time_limit,
            **keywords,
        )
    if rank.number:
        return None
    if asked.as_json:
        return print_json(run.summary)
    show_run(run.summary)
    return show_next(run)


def _fit_shared(asked: Fit, devices: int, ranks: int) -> int:
    """Train with several devices: this command again, once for each of them. Returns the exit code."""
    if devices < 1 or ranks > 1:
        there = f"torchrun has started {ranks} processes" if ranks > 1 else "one device at least trains"
        raise RecipeError(f"--devices {devices}: {there}", fix="leave out --devices")
    from tenfold.networks.launch import launch_ranks

    return launch_ranks(devices, asked.device, sys.argv[1:])


def _fit_best(asked: Fit, job: TrainingRequest) -> None:
    from tenfold.ensembles.preset import train_best
    from tenfold.runs.options import parse_seconds

    alone = ("probe", "devices", "shard", "shard_weights")
    refuse(asked, alone, "of the preset 'best', which trains in further processes")
    with MembersDisplay() as display:
        run = train_best(
            job.schema,
            cast(Recipe, job.recipe),
            asked.image_folder or str(job.table),
            output=job.output,
            time_limit=parse_seconds(asked.time_limit) if asked.time_limit else None,
            on_progress=display.progress,
            on_note=display.note,
            **fit_keywords(job.schema, asked, job.recipe, image=asked.image),
        )
    show_ensemble(run, as_json=asked.as_json)


class Lr(JobOptions, Json):
    """What ``tenfold lr`` takes."""

    panel: ClassVar = "Output"
    steps: int | None = option("optimizer steps to take [those of 1.5 epochs, 100 at most]")
    output: str | None = option("HTML file for the curve", "FILE", "-o", "--output")


@command(
    "lr", Lr, "tenfold lr train.csv --image photo=photos --target disease -o rates.html", recipes=(Recipe,)
)
def _lr(asked: Lr) -> None:
    """Look for a learning rate.

    The rate grows with every optimizer step, and the loss over it says which rates are too large.
    """
    from tenfold.reports.pages import write_rates

    job = picture_job_of(asked)
    with Display() as display:
        from tenfold.networks.rates import find_learning_rate

        curve = find_learning_rate(
            job.schema,
            cast(Recipe, job.recipe),
            job.table,
            steps=asked.steps,
            on_progress=display.progress,
            on_note=display.note,
            **fit_keywords(job.schema, asked, image=asked.image),
        )
    if asked.output:
        write_rates(asked.output, curve.rates, curve.losses, curve.steepest)
    show_rates(curve, asked.output) if not asked.as_json else print_json(vars(curve))


def _own(name: str) -> str:
    return f" [{Recipe.model_fields[name].default}]"


class PlanOptions(Json):
    """What ``tenfold plan`` takes."""

    archs: list[str] = argument("architectures of timm, or one job file (.toml)", "ARCH")
    budget: str = option("memory to use: a size, a card's name as T4, or auto", "SIZE", default="16GiB")
    image_size: str | None = option("in pixels, or one side [224]", "HEIGHTxWIDTH")
    batch_size: int | None = option(f"rows per optimizer step{_own('batch_size')}")
    micro_batch: int | None = option("rows at once; the most that fit if not given")
    checkpoint: bool = option("compute activations again in the backward pass", default=False)
    offload: bool = option("keep the optimizer's state in the host's memory", default=False)
    precision: str | None = option(f"format of numbers{_own('precision')}", "auto|float32|float16|bfloat16")
    optimizer: str | None = option("adamw, or another that the plan knows", "NAME")
    classes: int | None = option("outputs of the last layer [1000]")
    device: str = option("cuda or cpu; it need not be there", "NAME", default="cuda")
    devices: int | None = option("devices that share each batch; the plan is of one of them [1]")
    shard: bool = option("each of them keeps only a part of the optimizer's state", default=False)
    shard_weights: bool = option("and only a part of the weights and gradients", default=False)
    plot: str | None = option("HTML file for the memory of the first architecture over a step", "FILE")
    calibrate: bool = option("first measure this machine's context, and keep it", default=False)


@command(
    "plan",
    PlanOptions,
    "tenfold plan convnext_large --budget T4 --image-size 384",
    "tenfold plan resnet50 tf_efficientnet_b4 --budget 8GiB --batch-size 256",
)
def _plan(asked: PlanOptions) -> None:
    """Plan the memory of a training, without a GPU. Nothing is trained."""
    with Display() as display:
        from tenfold.networks.plan import calibrate_device, draw_plan, plan_command

        if asked.calibrate:
            say(calibrate_device())
        plans, request = plan_command(asked, display.progress)
        if asked.plot:
            draw_plan(plans[0], request, asked.plot)
    records = [plan.record() for plan in plans]
    print_json(records) if asked.as_json else show_plans(plans, asked.plot)
    if not any(record["fits"] for record in records):
        raise typer.Exit(1)


class Demo(Json):
    """What ``tenfold demo`` takes."""

    folder: str = option("folder to make", "FOLDER", "-o", "--output", default="demo")
    rows: int = option("leaves to draw for training", default=800)
    only: str | None = option("leaves or ratings alone", "leaves|ratings")


@command("demo", Demo, "tenfold demo", "tenfold demo --only ratings -o films")
def _demo(asked: Demo) -> None:
    """Show both jobs on data that tenfold draws itself.

    They are pictures of leaves, and ratings drawn from known factors.
    """
    from tenfold.studies.demo import chosen_acts

    acts = {"leaves": _leaves, "ratings": _ratings}
    scores: dict[str, object] = {}
    for act in chosen_acts(asked.only):
        scores |= acts[act](Path(asked.folder), asked)
    if asked.as_json:
        print_json(scores)


def _leaves(folder: Path, asked: Demo) -> dict[str, object]:
    from tenfold.studies.demo import fit_demo, predict_demo, write_demo_data

    say("drawing leaves with two targets: disease and variety")
    data = write_demo_data(folder, rows=asked.rows)
    if not asked.as_json:
        show_rows(data.columns)
    with Display() as display:
        run = fit_demo(folder, data, on_progress=display.progress, on_note=display.note)
    submission, scores = predict_demo(run, folder, data)
    if not asked.as_json:
        show_demo(data, run, submission, scores)
    return scores


def _ratings(folder: Path, asked: Demo) -> dict[str, object]:
    from tenfold.studies.demo import evaluate_demo_ratings, fit_demo_ratings, write_demo_ratings

    say("drawing ratings of films by people whose taste is known")
    data = write_demo_ratings(folder / "ratings")
    with Display() as display:
        run = fit_demo_ratings(folder / "ratings", data, on_progress=display.progress, on_note=display.note)
    scores = evaluate_demo_ratings(run, data)
    if not asked.as_json:
        show_demo_ratings(data, scores)
    return {"ratings": scores}
