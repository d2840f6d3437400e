"""Further processes run nothing of the folder that they are started in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from command import tenfold
from tenfold.ensembles.children import ask
from tenfold.processes import module_command, module_environment, without_current_folder


@pytest.fixture
def trapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of work in which files of the user's have the names of modules."""
    for name in ("numpy", "json", "torch", "typer", "tenfold_user", "secrets"):
        (tmp_path / f"{name}.py").write_text("open('trapped', 'w').close()\nraise SystemExit('trapped')\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.case("F2", "a process of an ensemble runs no numpy.py of the current folder")
def test_a_member_is_started_without_the_current_folder(trapped: Path) -> None:
    request = {
        "task": "check",
        "table": "none.csv",
        "members": [{"name": "one", "recipe": {}}],
        "schema": {"inputs": [{"kind": "number", "name": "x"}], "targets": [{"kind": "number", "name": "y"}]},
    }
    answer = ask(request, trapped / "errors.txt", lambda name, event: None)
    assert "none.csv" in answer["faults"][0]["message"]
    assert not (trapped / "trapped").exists()


@pytest.mark.case("F2", "neighbour: python -m tenfold, and the processes of its processes")
def test_the_command_is_started_without_the_current_folder(trapped: Path) -> None:
    assert "Usage" in tenfold("--help", cwd=trapped).stdout
    code = "import os, sys; print(os.environ['PYTHONSAFEPATH'], sys.flags.safe_path)"
    (trapped / "elsewhere").mkdir()
    (trapped / "elsewhere" / "asked.py").write_text(code)
    # What the user puts on the path counts as ever.
    environment = module_environment(PYTHONPATH=str(trapped / "elsewhere"))
    done = subprocess.run(module_command("asked"), env=environment, capture_output=True, text=True)
    assert done.stdout.split() == ["1", "True"], done.stderr
    again = subprocess.run([sys.executable, "-m", "asked"], env=environment, capture_output=True, text=True)
    assert again.stdout.split() == ["1", "True"], again.stderr
    assert not (trapped / "trapped").exists()


def test_a_package_that_is_not_installed_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from tenfold import processes

    (tmp_path / "lying").mkdir()
    (tmp_path / "lying" / "lonely.py").write_text("import sys; print(sys.argv[1:], sys.path[-1])")
    monkeypatch.setattr(processes, "_ROOT", str(tmp_path / "lying"))
    done = subprocess.run(module_command("lonely", "a b"), capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.strip() == f"['a b'] {tmp_path / 'lying'}"


def test_the_current_folder_leaves_the_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from tenfold import processes

    monkeypatch.chdir(tmp_path)
    path: list[Any] = [str(tmp_path), "other"]
    monkeypatch.setattr(sys, "path", path)
    monkeypatch.setattr(processes, "_ROOT", str(tmp_path))
    without_current_folder()
    assert path == [str(tmp_path), "other"]
    monkeypatch.setattr(processes, "_ROOT", "/elsewhere")
    without_current_folder()
    without_current_folder()
    assert path == ["other"]
