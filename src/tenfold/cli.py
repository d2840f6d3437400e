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
from tenfold.jobs.request import job_of, reading_of, wing_options
from tenfold.options import (
    COLUMNS,
    DEVICE,
    JSON,
    MACHINE,
    OUTPUT,
    PICTURES,
    READING,
    VIEWS,
    argument,
    option,
    recipe_options,
)
from tenfold.recipe import FactorRecipe, Recipe
from tenfold.screen import Display, print_json, say, show_demo, show_rates, show_rows, show_scores, tell

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
    argument("table", "table, or folder of pictures"),
    PICTURES,
    option("like", str | None, "sample submission whose ids, order and columns are kept"),
    option("probabilities", bool, "write every class's probability, too", "--probabilities", default=False),
    option(
        "spreadsheet_safe",
        bool,
        "neutralise text cells that a spreadsheet would run",
        "--spreadsheet-safe",
        default=False,
    ),
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
        found = run.predict(given["table"], **reading_of(run, given, display.progress), on_note=display.note)
    written = write_answers(found, given, id_name=run.schema.row_name or "line")
    for note in written["notes"]:
        say(note)
    print_json(written) if given["as_json"] else tell(f"{written['rows']} rows: {written['output']}")
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
    JSON,
)
def _evaluate(given: Given) -> None:
    """Score a run on rows whose answer is known."""
    from tenfold.jobs.predict import load_run

    run = load_run(given["run"])
    with Display() as display:
        scores = run.evaluate(
            given["table"], **reading_of(run, given, display.progress), on_note=display.note
        )
    print_json(scores) if given["as_json"] else _show_run(scores)


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

    job = job_of({**given, "output": "no run"})
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
    "demo",
    option("folder", str, "folder to make", "-o", "--output", default="demo"),
    option("rows", int, "leaves to draw for training", default=800),
    JSON,
)
def _demo(given: Given) -> None:
    """The main job on leaf pictures that tenfold draws itself: train, predict, submit."""
    from pathlib import Path

    from tenfold.jobs.demo import fit_demo, predict_demo, write_demo_data

    folder = Path(given["folder"])
    say("drawing leaves with two targets: disease and variety")
    data = write_demo_data(folder, rows=given["rows"])
    show_rows(data.columns)
    with Display() as display:
        run = fit_demo(folder, data, on_progress=display.progress, on_note=display.note)
    submission, scores = predict_demo(run, folder, data)
    print_json(scores) if given["as_json"] else show_demo(data, run.summary, submission, scores)


def main() -> None:
    """Entry point of ``tenfold``."""
    app()
