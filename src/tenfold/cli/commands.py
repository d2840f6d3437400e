"""What every command has: its options in one dictionary, its answer, and the one place that exits."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand

from tenfold.cli.options import Request, options_of, parameters_of
from tenfold.cli.screen import print_json, say, show_records, show_scores, tell
from tenfold.errors import OutputError, TenfoldError, home_path, of_machine
from tenfold.recipe import AnyRecipe
from tenfold.remedies import Offer, offering

app = typer.Typer(
    name="tenfold",
    help="Trains more model than the machine seems to hold.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Asked = TypeVar("Asked", bound=Request)

#: Every command's options, as they are typed.
OPTIONS: dict[str, frozenset[str]] = {}


class Command(TyperCommand):
    """A command whose help shows its options in panels."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The words of the line that says how to use it."""
        return [re.sub("[{}]", "", piece) for piece in super().collect_usage_pieces(ctx)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Arguments, then the options by panel, all in columns of one width."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                argument = parameter.param_type_name == "argument"
                panel = getattr(parameter, "rich_help_panel", None) or "Output"
                name = record[0].partition(" <")[0] if argument else record[0]
                again = "..." if getattr(parameter, "multiple", False) else ""
                panels.setdefault(panel, []).append((name + again, record[1]))
        for panel, rows in panels.items():
            with formatter.section(panel):
                # The widest column there may be, whatever stands in it.
                formatter.write_dl([(f"{name:<26}", help) for name, help in rows], col_max=26)


def offer_of(name: str) -> Offer:
    """What messages may advise while this command runs."""
    owners = {flag: other for other in reversed(OPTIONS) for flag in OPTIONS[other]}
    return Offer(name, OPTIONS[name], owners)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        tell(f"tenfold {version('tenfold')}")
        raise typer.Exit


@app.callback()
def _start(
    asked: bool = typer.Option(
        False, "--version", help="print the version", callback=_version, is_eager=True
    ),
) -> None:
    pass


def command(
    name: str,
    request: type[Asked],
    *examples: str,
    recipes: tuple[type[AnyRecipe], ...] = (),
    without: tuple[str, ...] = (),
) -> Callable[[Callable[[Asked], None]], Callable[[Asked], None]]:
    """A command with the options of a request and of recipes, without some; its function gets the request.

    examples: command lines, for its help.
    """
    parameters = parameters_of(request, recipes, without)
    own = options_of(request).keys() - set(without)

    def register(function: Callable[[Asked], None]) -> Callable[[Asked], None]:
        def run(**values: Any) -> None:
            with offering(offer_of(name)), answered():
                given = {key: _at_home(metavars[key], value) for key, value in values.items()}
                _keep_inputs(given)
                choices = {key: value for key, value in given.items() if key not in own and value is not None}
                function(
                    request(**{key: given[key] for key in own}, **({"choices": choices} if recipes else {}))
                )

        metavars = {one.name: str(one.default.metavar) for one in parameters}
        run.__dict__["__signature__"] = inspect.Signature(parameters)
        run.__annotations__ = {one.name: one.annotation for one in parameters}
        lines = "\n".join(f"  {line}" for one in examples for line in one.split("\n"))
        help = f"{inspect.cleandoc(function.__doc__ or '')}\n\n\b\nExamples:\n{lines}"
        app.command(name, cls=Command, help=help)(run)
        flags = (flag for one in parameters for flag in getattr(one.default, "param_decls", None) or ())
        words = (word for flag in flags for word in flag.split("/"))
        OPTIONS[name] = frozenset(("--help", *(word for word in words if word.startswith("--"))))
        return function

    return register


def _at_home(metavar: str, value: Any) -> Any:
    """``~/runs`` as the home folder: a shell leaves it where it stands behind ``=`` or within quotes."""
    if isinstance(value, list | tuple):
        return type(value)(_at_home(metavar, one) for one in value)
    if not isinstance(value, str) or not re.search("FILE|FOLDER|RUN|TABLE", metavar):
        return value
    column, equals, path = value.rpartition("=" if "=" in metavar else "\0")
    return f"{column}{equals}{home_path(path)}"


def _keep_inputs(given: Mapping[str, Any]) -> None:
    """Refuse to write over what is read: a table, a sample submission, a file of the run that is asked."""
    target = given.get("output")
    if not target or not os.path.exists(target) or os.path.isdir(target):
        return
    run = given.get("run") or ""
    own = [os.path.join(run, name) for name in os.listdir(run)] if os.path.isdir(run) else []
    read = [value for name, value in given.items() if name != "output" and isinstance(value, str)]
    for path in (*read, *(path for path in own if not path.endswith((".html", ".xlsx")))):
        if os.path.isfile(path) and os.path.samefile(path, target):
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


def show_run(summary: Mapping[str, Any]) -> None:
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


def show_written(written: Mapping[str, Any], *, as_json: bool) -> None:
    """What was answered: the rows, or where they were written."""
    if as_json:
        return print_json(written)
    for note in written["notes"]:
        say(note)
    if "output" in written:
        return tell(f"{written['rows']} rows: {written['output']}")
    return show_records(written["rows"])
