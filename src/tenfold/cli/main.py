"""The command line: all commands together, in the order in which ``--help`` lists them."""

from __future__ import annotations

# Each registers its commands when it is imported.
# isort: off
import tenfold.cli.train
import tenfold.cli.ask
import tenfold.cli.ratings
import tenfold.cli.tune
import tenfold.cli.many
import tenfold.cli.show
import tenfold.cli.serve  # noqa: F401

# isort: on
from tenfold.cli.commands import app
from tenfold.cli.console import say, take_any_text, untold


def main() -> None:
    """Run the command that is typed; ends the process with its exit code."""
    take_any_text()
    try:
        app(prog_name="tenfold")
    except SystemExit as end:
        why = untold()
        if why:
            say(f"OutputError: standard output cannot be written: {why}\n  fix    send it to another place")
        raise SystemExit(end.code or (2 if why else 0)) from None
