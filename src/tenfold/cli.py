"""The command line: all commands together, in the order in which ``--help`` lists them."""

from __future__ import annotations

# Each registers its commands when it is imported.
# isort: off
import tenfold.cli_train
import tenfold.cli_ratings
import tenfold.cli_tune
import tenfold.cli_many
import tenfold.cli_show  # noqa: F401

# isort: on
from tenfold.commands import app
from tenfold.screen import take_any_text


def main() -> None:
    """Entry point of ``tenfold``."""
    take_any_text()
    app()
