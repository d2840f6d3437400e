"""What every command has: its options in one dictionary, its answer, and the one place that exits."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import typer

from tenfold.cli.screen import print_json, say, show_records, show_scores, tell
from tenfold.errors import OutputError, TenfoldError, home_path, of_machine
from tenfold.remedies import Offer, offering

app = typer.Typer(
    name="tenfold",
    help="Trains more model than the machine seems to hold.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Given = dict[str, Any]

#: Every command's options, as they are typed.
OPTIONS: dict[str, frozenset[str]] = {}


def _flags(parameters: Iterable[inspect.Parameter]) -> Iterator[str]:
    for one in parameters:
        for spelled in getattr(one.default, "param_decls", None) or ():
            yield from (flag for flag in spelled.split("/") if flag.startswith("--"))


def offer_of(name: str) -> Offer:
    """What messages may advise while this command runs."""
    owners = {flag: other for other in reversed(OPTIONS) for flag in OPTIONS[other]}
    return Offer(name, OPTIONS[name], owners)


def _version(asked: bool) -> None:
    if asked:
        tell(f"tenfold {version('tenfold')}")
        raise typer.Exit


@app.callback()
def _start(
    asked: bool = typer.Option(
        False, "--version", help="print the version", callback=_version, is_eager=True
    ),
) -> None:
    pass


def command(name: str, *parameters: inspect.Parameter) -> Callable[[Callable[[Given], None]], Any]:
    """A command with these options; its function gets them as one dictionary."""

    def register(function: Callable[[Given], None]) -> Callable[[Given], None]:
        def run(**given: Any) -> None:
            with offering(offer_of(name)), answered():
                given = {name: _at_home(name, value) for name, value in given.items()}
                _keep_inputs(given)
                function(given)

        run.__name__, run.__doc__ = name, function.__doc__
        run.__signature__ = inspect.Signature(list(parameters))  # type: ignore[attr-defined]
        run.__annotations__ = {one.name: one.annotation for one in parameters}
        app.command(name)(run)
        OPTIONS[name] = frozenset(("--help", *_flags(parameters)))
        return function

    return register


#: Options that name a file or a folder.
PLACES = frozenset(
    ("table", "run", "runs", "output", "folder", "like", "cache", "weights", "ratings", "image_folder")
    + ("user_table", "item_table", "recipe", "file", "plot", "of", "made")
)


def _at_home(name: str, value: Any) -> Any:
    """``~/runs`` as the home folder: a shell leaves it where it stands behind ``=`` or within quotes."""
    if isinstance(value, list | tuple):
        return type(value)(_at_home(name, one) for one in value)
    if name == "image" and isinstance(value, str):
        column, equals, folder = value.partition("=")
        return f"{column}{equals}{home_path(folder)}"
    return home_path(value) if name in PLACES and isinstance(value, str) else value


def _keep_inputs(given: Given) -> None:
    """Refuse to write over what is read: a table, a sample submission, a file of the run that is asked."""
    target = given.get("output")
    if not target or not os.path.exists(target) or os.path.isdir(target):
        return
    run = given.get("run") or ""
    own = [os.path.join(run, name) for name in os.listdir(run)] if os.path.isdir(run) else []
    read = [one for name, one in given.items() if name != "output" and isinstance(one, str)]
    for one in (*read, *(path for path in own if not path.endswith((".html", ".xlsx")))):
        if os.path.isfile(one) and os.path.samefile(one, target):
            raise OutputError(f"{target} is read by this command, and would be lost", fix="give another -o")


@contextmanager
def answered() -> Iterator[None]:
    """A user's mistake, or what the system refuses, is told without a traceback and ends with exit code 2, a
    Ctrl-C with 130.
    """
    try:
        yield
    except (TenfoldError, OSError, MemoryError) as error:
        told = error if isinstance(error, TenfoldError) else of_machine(error)
        say(f"{type(told).__name__}: {told}")
        raise typer.Exit(2) from None
    except KeyboardInterrupt as stop:
        # Whoever was at work says what is kept.
        notes = getattr(stop, "__notes__", ())
        say(f"stopped: {'; '.join(notes)}" if notes else "stopped.")
        raise typer.Exit(130) from None


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
