"""What every command has: its options in one dictionary, its answer, and the one place that exits."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer

from tenfold.errors import TenfoldError
from tenfold.screen import print_json, say, show_records, show_scores, tell

app = typer.Typer(
    name="tenfold",
    help="Trains more model than the machine seems to hold.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Given = dict[str, Any]


def command(name: str, *parameters: inspect.Parameter) -> Callable[[Callable[[Given], None]], Any]:
    """A command with these options; its function gets them as one dictionary."""

    def register(function: Callable[[Given], None]) -> Callable[[Given], None]:
        def run(**given: Any) -> None:
            with answered():
                function(given)

        run.__name__, run.__doc__ = name, function.__doc__
        run.__signature__ = inspect.Signature(list(parameters))  # type: ignore[attr-defined]
        run.__annotations__ = {one.name: one.annotation for one in parameters}
        app.command(name)(run)
        return function

    return register


@contextmanager
def answered() -> Iterator[None]:
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


def show_run(summary: dict[str, Any]) -> None:
    """A run's scores and where it lies, for a person."""
    show_scores(summary.get("targets", {}))
    if summary.get("without_views"):
        tell("\nthe same from the plain view alone, without the other views:")
        show_scores(summary["without_views"])
    peak, foreseen = summary["peak_bytes"], summary.get("plan", {}).get("predicted_bytes")
    if foreseen:
        peak = summary["plan"]["measured_bytes"]
    told = f"{summary['rows']} rows, {summary['seconds']:.0f} s, {peak / 2**30:.2f} GiB at most"
    tell(told + (f" (planned: {foreseen / 2**30:.2f} GiB)" if foreseen else ""))
    tell(f"run: {summary['run']}")


def show_written(written: Given, given: Given) -> None:
    """What was answered: the rows, or where they were written."""
    if given["as_json"]:
        return print_json(written)
    for note in written["notes"]:
        say(note)
    if "output" in written:
        return tell(f"{written['rows']} rows: {written['output']}")
    return show_records(written["rows"])
