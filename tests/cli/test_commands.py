"""What every command does with a mistake, a Ctrl-C and a reader that has gone."""

import os
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import tenfold.cli.main  # noqa: F401 - the commands register themselves
from command import TENFOLD
from laws.test_cli_docs import check_use, commands_of
from tenfold.cli.commands import OPTIONS, answered, app, command
from tenfold.cli.options import PANELS, Request, argument, option
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


class Probe(Request):
    run: str = argument("a run", "RUN")
    n: int = option("how many", "", "-n", default=3)


def test_a_command_gets_its_options_as_a_request() -> None:
    got: dict[str, Any] = {}
    before = list(app.registered_commands)
    command("probe", Probe, "tenfold probe here")(lambda asked: got.update(vars(asked)))
    try:
        done = CliRunner().invoke(app, ["probe", "here", "-n", "5"])
    finally:
        app.registered_commands[:] = before
        OPTIONS.pop("probe")
    assert done.exit_code == 0, done.output
    assert got == {"run": "here", "n": 5}


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_help_opens_with_examples_and_fits_a_window(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    done = CliRunner().invoke(app, [name, "--help"], prog_name="tenfold")
    lines = done.output.splitlines()
    assert done.exit_code == 0 and max(map(len, lines)) <= 80
    start = lines.index("  Examples:")
    panels = [line for line in lines if line.removesuffix(":") in PANELS]
    assert start < lines.index(panels[0]) and panels[-1] == "Output:"
    examples = "\n".join(lines[start + 1 : lines.index(panels[0])]).replace("\\\n", " ").split("\n")
    examples = [line.strip() for line in examples if line.strip()]
    assert examples and all(line.startswith(f"tenfold {name}") for line in examples)
    commands = commands_of(typer.main.get_command(app))
    assert not [fault for line in examples if (fault := check_use(line, commands))]
    assert "<" not in done.output.replace("[LOW<...<HIGH]", "") and (name != "fit" or len(examples) == 3)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_is_made(shell: str) -> None:
    env = {**os.environ, "_TENFOLD_COMPLETE": f"source_{shell}"}
    done = subprocess.run([*TENFOLD], env=env, capture_output=True, text=True, check=True)
    assert "_TENFOLD_COMPLETE" in done.stdout and "tenfold" in done.stdout


def test_options_and_values_are_completed() -> None:
    def completed(words: str) -> list[str]:
        env = {
            **os.environ,
            "_TENFOLD_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split(" ")) - 1),
        }
        return subprocess.run([*TENFOLD], env=env, capture_output=True, text=True, check=True).stdout.split()

    assert completed("tenfold re") == ["recommend", "report"]
    assert "--image-size" in completed("tenfold fit --im") and completed("tenfold fit --resize ") == [
        "squish", "crop", "pad",
    ]  # fmt: skip
