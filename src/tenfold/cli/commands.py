"""What every command has: how it is registered, how it prints its answer, and how it ends on an error."""

from __future__ import annotations

import inspect
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import typer
from typer.core import TyperCommand

from tenfold.cli.console import print_json, say, say_error, show_details, tell
from tenfold.cli.options import Request, options_of, parameters_of
from tenfold.cli.screen import show_answers, show_records, show_scores
from tenfold.errors import OutputError, RecipeError, TenfoldError, home_path, of_machine
from tenfold.processes import this_rank
from tenfold.recipe import AnyRecipe
from tenfold.remedies import Offer, offering

if TYPE_CHECKING:
    from typer._click import Context, HelpFormatter

    from tenfold.cli.write import Written

app = typer.Typer(
    name="tenfold",
    help="Trains more model than the machine seems to hold.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Asked = TypeVar("Asked", bound=Request)

#: Seconds that a further rank of a training waits before it says why it failed.
FIRST_SAYS = 2.0
#: Every command's options, as they are typed.
OPTIONS: dict[str, frozenset[str]] = {}


class Command(TyperCommand):
    """A command whose help shows its options in panels."""

    def collect_usage_pieces(self, ctx: Context) -> list[str]:
        """Return the words of the usage line."""
        return [re.sub("[{}]", "", piece) for piece in super().collect_usage_pieces(ctx)]

    def format_options(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Write arguments, then options by panel, all in columns of the same width."""
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
                # The column has its greatest width whatever it holds.
                formatter.write_dl([(f"{name:<26}", help) for name, help in rows], col_max=26)


def offer_of(name: str) -> Offer:
    """Return the options that messages may advise while this command runs."""
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
    """Register a command with the options of a request and of recipes; its function gets the request.

    examples: command lines, for its help.  without: names of options that it does not have.
    """
    parameters = parameters_of(request, recipes, without)
    own = options_of(request).keys() - set(without)

    def register(function: Callable[[Asked], None]) -> Callable[[Asked], None]:
        def run(**values: object) -> None:
            with offering(offer_of(name)), answered():
                if this_rank().count > 1 and name != "fit":
                    raise RecipeError(
                        f"several processes share one training, and tenfold {name} is none",
                        fix="start it without torchrun",
                    )
                given = {key: _at_home(metavars[key], value) for key, value in values.items()}
                _keep_inputs(given)
                show_details(bool(given.get("verbose")))
                choices = {key: value for key, value in given.items() if key not in own and value is not None}
                function(
                    request(**{key: given[key] for key in own}, **({"choices": choices} if recipes else {}))
                )

        metavars = {parameter.name: str(parameter.default.metavar) for parameter in parameters}
        run.__dict__["__signature__"] = inspect.Signature(parameters)
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        lines = "\n".join(f"  {line}" for example in examples for line in example.split("\n"))
        help = f"{inspect.cleandoc(function.__doc__ or '')}\n\n\b\nExamples:\n{lines}"
        app.command(name, cls=Command, help=help)(run)
        declared = (getattr(parameter.default, "param_decls", None) or () for parameter in parameters)
        words = (word for flags in declared for flag in flags for word in flag.split("/"))
        OPTIONS[name] = frozenset(("--help", *(word for word in words if word.startswith("--"))))
        return function

    return register


def _at_home(metavar: str, value: object) -> object:
    """Return a path with ``~`` expanded, which a shell leaves alone behind ``=`` or within quotes."""
    if isinstance(value, list | tuple):
        return type(value)(_at_home(metavar, part) for part in value)
    if not isinstance(value, str) or not re.search("FILE|FOLDER|RUN|TABLE", metavar):
        return value
    column, equals, path = value.rpartition("=" if "=" in metavar else "\0")
    return f"{column}{equals}{home_path(path)}"


def _keep_inputs(given: Mapping[str, object]) -> None:
    """Refuse to overwrite a file that the command reads: a table, a sample submission, a file of its run."""
    run, written = given.get("run"), ("output", "best")
    targets = [given[name] for name in written if name in given]
    read = [value for name, value in given.items() if name not in written and isinstance(value, str)]
    several = given.get("table")
    read += [str(word) for word in several] if isinstance(several, list) else []
    if isinstance(run, str) and os.path.isdir(run):
        read += [os.path.join(run, name) for name in os.listdir(run) if not name.endswith((".html", ".xlsx"))]
    for target in targets:
        if not isinstance(target, str) or not os.path.isfile(target):
            continue
        if any(os.path.isfile(path) and os.path.samefile(path, target) for path in read):
            raise OutputError(f"{target} is read by this command, and would be lost", fix="give another name")


@contextmanager
def answered() -> Iterator[None]:
    """Print an error of the user or the system without a traceback, and exit with 2; on Ctrl-C with 130."""
    try:
        yield
    except (TenfoldError, OSError, MemoryError) as error:
        shown = error if isinstance(error, TenfoldError) else of_machine(error)
        rank = this_rank().number
        if rank:
            # Where rank 0 fails, too, it says so, and whoever started the ranks ends this one meanwhile.
            time.sleep(FIRST_SAYS)
            say(f"rank {rank}:", style="")
        say_error(shown)
        raise typer.Exit(2) from None
    except KeyboardInterrupt as stop:
        # The interrupted work has noted what is kept.
        notes = getattr(stop, "__notes__", ())
        if not this_rank().number:
            say(f"stopped: {'; '.join(notes)}" if notes else "stopped.", style="")
        raise typer.Exit(130) from None


def show_run(summary: Mapping[str, object]) -> None:
    """Print a run's scores, rows, time, memory and folder. summary: as `Run.summary` or `Run.evaluate`."""
    from tenfold.runs.record import RunRecord

    record = RunRecord(summary)
    show_scores(record.targets)
    if record.without_views:
        tell("\nthe same from the plain view alone, without the other views:")
        show_scores(record.without_views)
    planned = record.plan.get("predicted_bytes")
    peak = record.plan["measured_bytes"] if planned else record.peak_bytes
    line = f"{record.rows} rows, {record.seconds:.0f} s, {peak / 2**30:.2f} GiB at most"
    tell(line + (f" (planned: {planned / 2**30:.2f} GiB)" if planned else ""))
    tell(f"run: {summary['run']}")


def show_written(written: Written, *, as_json: bool) -> None:
    """Print answers, or the file to which they were written."""
    if as_json:
        return print_json(written)
    for note in written["notes"]:
        say(note)
    rows = written["rows"]
    if isinstance(rows, list):
        return show_answers(rows) if rows and "answers" in rows[0] else show_records(rows)
    return tell(f"{rows} rows: {written.get('output')}")
