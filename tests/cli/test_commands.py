"""What every command does with a mistake, a Ctrl-C and a reader that has gone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import typer

from tenfold.cli.commands import answered
from tenfold.errors import RecipeError, TrainingError


def raised_by(error: BaseException) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


def stopped(note: str) -> KeyboardInterrupt:
    stop = KeyboardInterrupt()
    stop.add_note(note)
    return stop


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (RecipeError("no such size", fix="give 224"), 2, "RecipeError: no such size"),
        (TrainingError("the loss is no number", fix="lower --lr"), 2, "fix    lower --lr"),
        (
            MemoryError("Unable to allocate 7 TiB"),
            2,
            "MemoryBudgetError: there is not enough memory.\n  found",
        ),
        (
            PermissionError(13, "Permission denied", "runs/a/recipe.toml"),
            2,
            "runs/a/recipe.toml: Permission denied",
        ),
        (OSError(5, "Input/output error"), 2, "MachineError: a file: Input/output error"),
        (KeyboardInterrupt(), 130, "stopped.\n"),
        (stopped("run goes on with --resume"), 130, "stopped: run goes on with --resume\n"),
    ],
)
def test_a_mistake_is_told_and_ends_with_its_code(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as ended, answered():
        raised_by(error)()
    assert ended.value.exit_code == code
    told = capsys.readouterr()
    assert said in told.err and not told.out


def test_a_fault_of_the_program_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError), answered():
        raised_by(ZeroDivisionError())()


def test_a_command_gets_its_options_as_one_dictionary() -> None:
    from typer.testing import CliRunner

    import tenfold.cli.main  # noqa: F401 - the commands register themselves
    from tenfold.cli.commands import app, command
    from tenfold.cli.options import argument, option

    got: dict[str, Any] = {}
    before = list(app.registered_commands)
    command("probe", argument("run", "a run"), option("n", int, "how many", "-n", default=3))(got.update)
    try:
        done = CliRunner().invoke(app, ["probe", "here", "-n", "5"])
    finally:
        app.registered_commands[:] = before
    assert done.exit_code == 0, done.output
    assert got == {"run": "here", "n": 5}
