"""All commands are registered, and an output that cannot be written is a failure."""

from __future__ import annotations

import subprocess
import sys

import pytest
import typer

import tenfold.cli.main
from tenfold.cli.commands import app

COMMANDS = ["fit", "predict", "evaluate", "recommend", "similar", "explain", "report", "ensemble", "runs"]


def test_every_command_is_registered() -> None:
    names = list(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    assert set(COMMANDS) <= set(names) and len(names) == len(set(names)) >= 18


def test_an_output_that_cannot_be_written_is_said_at_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ended(prog_name: str) -> None:
        assert prog_name == "tenfold"
        raise SystemExit(0)

    monkeypatch.setattr(tenfold.cli.main, "app", ended)
    monkeypatch.setattr(tenfold.cli.main, "untold", lambda: "No space left on device")
    with pytest.raises(SystemExit) as end:
        tenfold.cli.main.main()
    assert end.value.code == 2
    assert "standard output cannot be written: No space left on device" in capsys.readouterr().err


def test_help_loads_no_arrays_and_no_network() -> None:
    code = (
        "import sys, tenfold.cli.main; "
        "print([one for one in ('numpy', 'pyarrow', 'numba', 'torch') if one in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
