"""The command line: thin commands, and the one place that exits."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer

from tenfold.errors import TenfoldError
from tenfold.jobs.request import (
    job_of,
    picture_job_of,
    reading_of,
    recommender_of,
    rows_of,
    scoring_of,
    wing_options,
)
from tenfold.options import (
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
from tenfold.recipe import FactorRecipe, Recipe
from tenfold.screen import (
    Display,
    print_json,
    say,
    show_demo,
    show_demo_ratings,
    show_inspection,
    show_plans,
    show_rates,
    show_records,
    show_rows,
    show_scores,
    take_any_text,
    tell,
)

app = typer.Typer(
    name="tenfold",
    help="Trains more model than the machine seems to hold.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Given = dict[str, Any]


def _command(name: str, *parameters: inspect.Parameter) -> Callable[[Callable[[Given], None]], Any]:
    """A command with these options; its function gets them as one dictionary."""

    def register(function: Callable[[Given], None]) -> Callable[[Given], None]:
        def run(**given: Any) -> None:
            with _answered():
                function(given)

        run.__name__, run.__doc__ = name, function.__doc__
        run.__signature__ = inspect.Signature(list(parameters))  # type: ignore[attr-defined]
        run.__annotations__ = {one.name: one.annotation for one in parameters}
        app.command(name)(run)
        return function

    return register


@contextmanager
def _answered() -> Iterator[None]:
    """A user's mistake is told without a traceback and ends with exit code 2, a Ctrl-C with 130."""
    try:
        yield
    except TenfoldError as error:
        say(f"{type(error).__name__}: {error}")
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        say("stopped. A training goes on from its last checkpoint with --resume.")
        raise typer.Exit(130) from None
    except BrokenPipeError:
        # The reader (head, less) has gone: there is nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None


@_command(
    "fit",
    argument("table", "table, folder of pictures, or job file (.toml)", optional=True),
    *COLUMNS,
    *recipe_options(Recipe, FactorRecipe),
    *READING,
    *MACHINE,
    OUTPUT,
    option("resume", bool, "go on with an unfinished run", "--resume", default=False),
    JSON,
)
def _fit(given: Given) -> None:
    """Train on a table and leave a run folder.

    A table with --image and --target makes a classifier; --user and --item make a recommender.
    """
    from tenfold.jobs.fit import fit

    job = job_of(given)
    with Display() as display:
        run = fit(
            job.schema,
            job.recipe,
            job.table,
            run=job.output,
            resume=given["resume"],
            on_progress=display.progress,
            on_note=display.note,
            **wing_options(job.schema, given),
        )
    print_json(run.summary) if given["as_json"] else _show_run(run.summary)


def _show_run(summary: dict[str, Any]) -> None:
    show_scores(summary.get("targets", {}))
    tell(
        f"{summary['rows']} rows, {summary['seconds']:.0f} s, {summary['peak_bytes'] / 2**30:.2f} GiB at most"
    )
    tell(f"run: {summary['run']}")


@_command(
    "predict",
    argument("run", "run folder"),
    argument("table", "table, or folder of pictures", optional=True),
    PICTURES,
    option("user", list[str] | None, "ratings: a user's id, in place of a table", "--user"),
    option("item", list[str] | None, "ratings: an item's id, one to each user", "--item"),
    option("like", str | None, "sample submission whose ids, order and columns are kept"),
    option("probabilities", bool, "write every class's probability, too", "--probabilities", default=False),
    SAFE,
    VIEWS,
    *READING,
    DEVICE,
    OUTPUT,
    JSON,
)
def _predict(given: Given) -> None:
    """Predict the rows of a table, or the pictures of a folder, in their order."""
    from tenfold.jobs.predict import load_run
    from tenfold.jobs.write import write_answers

    run = load_run(given["run"])
    with Display() as display:
        found = run.predict(
            rows_of(run, given), **reading_of(run, given, display.progress), on_note=display.note
        )
    written = write_answers(found, given, id_name=run.schema.row_name or "line")
    _show_written(written, given)
    if written["failed"]:
        raise typer.Exit(1)


@_command(
    "evaluate",
    argument("run", "run folder"),
    argument("table", "table whose answers are known"),
    PICTURES,
    VIEWS,
    *READING,
    DEVICE,
    option("lists", int | None, "ratings: score the lists of so many items, too"),
    option("liked", float | None, "ratings: from which rating on a test item counts as liked"),
    JSON,
)
def _evaluate(given: Given) -> None:
    """Score a run on rows whose answer is known."""
    from tenfold.jobs.predict import load_run

    run = load_run(given["run"])
    with Display() as display:
        scores = run.evaluate(
            given["table"], **scoring_of(run, given, display.progress), on_note=display.note
        )
    print_json(scores) if given["as_json"] else _show_run(scores)


def _show_written(written: Given, given: Given) -> None:
    if given["as_json"]:
        return print_json(written)
    for note in written["notes"]:
        say(note)
    if "output" in written:
        return tell(f"{written['rows']} rows: {written['output']}")
    return show_records(written["rows"])


LISTS = (
    option("n", int, "how many", "-n", default=10),
    option(
        "where", list[str] | None, "COLUMN=VALUE of the item table, more than once for several", "--where"
    ),
    SAFE,
    OUTPUT,
    JSON,
)


@_command(
    "recommend",
    argument("run", "run folder"),
    option("user", list[str] | None, "id of a user, more than once for several", "--user"),
    option("ratings", str | None, "table of further ratings, of a new user or of known ones"),
    option("everyone", bool, "for every user", "--all", default=False),
    option("include_seen", bool, "also what the user has rated already", "--include-seen", default=False),
    option("exclude", list[str] | None, "id of an item never to list", "--exclude"),
    option("reasons", int | None, "rated items to name with each row [3, with --all 0]"),
    *LISTS,
)
def _recommend(given: Given) -> None:
    """Rank the items that a user has not rated, best first, and say which rated ones speak for them."""
    from tenfold.jobs.predict import open_recommender
    from tenfold.jobs.write import write_lists

    run, users = recommender_of(open_recommender(given["run"]), given)
    kept = {name: given[name] for name in ("n", "include_seen", "exclude", "reasons")}
    found = run.recommend(users, where=given["where"] or (), **kept)
    written = write_lists(found, given)
    _show_written(written, given)


@_command(
    "similar",
    argument("run", "run folder"),
    option(
        "item", list[str] | None, "id of an item, more than once for several; all where not given", "--item"
    ),
    *LISTS,
)
def _similar(given: Given) -> None:
    """List the items whose factors point the same way: the cosine, from -1 to 1."""
    from tenfold.jobs.predict import open_recommender
    from tenfold.jobs.write import write_lists

    run = open_recommender(given["run"])
    found = run.similar(given["item"] or None, n=given["n"], where=given["where"] or ())
    written = write_lists(found, given)
    _show_written(written, given)


@_command(
    "inspect",
    argument("run", "run folder of ratings"),
    option("n", int, "users and items in the crosstab", "-n", default=15),
    option("output", str | None, "HTML report, one file that needs nothing else", "-o", "--output"),
    JSON,
)
def _inspect(given: Given) -> None:
    """Look into a ratings run: the table and its gaps, biases, a map of the items, look-ups."""
    from tenfold.jobs.inspect import inspect_run, inspection_page
    from tenfold.jobs.predict import open_recommender
    from tenfold.out.report import write_report

    found = inspect_run(open_recommender(given["run"]), n=given["n"])
    if given["output"]:
        write_report(given["output"], found.title, inspection_page(found), lead=found.lead)
    print_json(found.record()) if given["as_json"] else show_inspection(found, given["output"])


@_command(
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
    from tenfold.jobs.rates import find_learning_rate
    from tenfold.out.figures import rate_figure, write_figure

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
        write_figure(rate_figure(curve.rates, curve.losses, curve.steepest), given["output"])
    show_rates(curve, given["output"]) if not given["as_json"] else print_json(vars(curve))


@_command(
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
    from tenfold.jobs.plan import calibrate_device, draw_plan, plan_request

    if given["calibrate"]:
        say(calibrate_device())
    found = plan_request(given)
    if given["plot"]:
        draw_plan(found[0], given)
    print_json([one.record() for one in found]) if given["as_json"] else show_plans(found, given["plot"])
    if all(not one.record()["fits"] for one in found):
        raise typer.Exit(1)


@_command(
    "demo",
    option("folder", str, "folder to make", "-o", "--output", default="demo"),
    option("rows", int, "leaves to draw for training", default=800),
    option("only", str | None, "one act: leaves, or ratings"),
    JSON,
)
def _demo(given: Given) -> None:
    """Both jobs on data that tenfold draws itself: leaf pictures, and ratings whose truth is known."""
    from pathlib import Path

    from tenfold.jobs.demo import chosen_acts

    play: dict[str, Callable[[Path, Given], Given]] = {"leaves": _leaves, "ratings": _ratings}
    found: Given = {}
    for act in chosen_acts(given["only"]):
        found |= play[act](Path(given["folder"]), given)
    if given["as_json"]:
        print_json(found)


def _leaves(folder: Any, given: Given) -> Given:
    from tenfold.jobs.demo import fit_demo, predict_demo, write_demo_data

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
    from tenfold.jobs.demo import fit_demo_ratings, judge_demo_ratings, write_demo_ratings

    say("drawing ratings of films by people whose taste is known")
    data = write_demo_ratings(folder / "ratings")
    with Display() as display:
        run = fit_demo_ratings(folder / "ratings", data, on_progress=display.progress, on_note=display.note)
    found = judge_demo_ratings(run, data)
    if not given["as_json"]:
        show_demo_ratings(data, found)
    return {"ratings": found}


def main() -> None:
    """Entry point of ``tenfold``."""
    take_any_text()
    app()
