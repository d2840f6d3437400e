"""Several processes on one training, as a command: who writes, who dies, who goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from command import tenfold
from tenfold.processes import this_rank
from tiny import write_data

ROWS = "fit rows.csv --id id --category job --number age --target label --hidden 8 --batch-size 16".split()


def difference(one: Path, other: Path) -> float:
    """Largest difference between the weights of two runs."""
    first, second = (load_file(run / "weights.safetensors") for run in (one, other))
    return max(float(np.abs(first[name] - second[name]).max()) for name in first)


def test_a_dead_rank_is_named_within_seconds_and_one_process_goes_on(tmp_path: Path) -> None:
    write_data(tmp_path)
    words = [*ROWS, "--epochs", "60", "--device", "cpu", "-o", "run"]
    command = [sys.executable, "-m", "tenfold", *words, "--devices", "2", "--shard"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    launcher = subprocess.Popen(command, cwd=tmp_path, text=True, **pipes)
    kept = tmp_path / "run.part" / "checkpoint.safetensors"
    until = time.monotonic() + 120
    while not kept.exists() and time.monotonic() < until and launcher.poll() is None:
        time.sleep(0.05)
    os.kill(rank_of(launcher.pid, 1), signal.SIGKILL)
    killed = time.monotonic()
    said = launcher.communicate(timeout=60)[1]
    assert time.monotonic() - killed < 15 and launcher.returncode == 2
    assert "TrainingError: rank 1 was ended by SIGKILL" in said and "--resume goes on" in said
    assert "Traceback" not in said
    # One process goes on, with the whole optimizer, of which each rank had a part.
    tenfold(*words, "--resume", cwd=tmp_path)
    tenfold(*words[:-1], "whole", cwd=tmp_path)
    assert difference(tmp_path / "run", tmp_path / "whole") < 1e-3
    history = [(tmp_path / run / "history.jsonl").read_text().splitlines() for run in ("run", "whole")]
    assert len(history[0]) == len(history[1]) == 60


def rank_of(launcher: int, number: int) -> int:
    """The process that is this rank."""
    for folder in Path("/proc").iterdir():
        try:
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            if int(parent) == launcher and f"RANK={number}" in (folder / "environ").read_text().split("\0"):
                return int(folder.name)
        except (OSError, ValueError, IndexError):
            continue
    raise AssertionError(f"there is no rank {number}")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--devices", "0"], "--devices 0: one device at least trains"),
        (["--shard"], "--shard splits the optimizer's state over several devices, and there is one"),
        (["--shard-weights"], "--shard-weights splits weights, gradients and the optimizer's state over"),
        (["--devices", "2", "--preset", "best"], "--devices is not an option of the preset 'best'"),
        (["--devices", "2", "--device", "cpu:0"], "--device cpu:0 is one device"),
    ],
)
def test_what_several_devices_do_not_take(tmp_path: Path, more: list[str], said: str) -> None:
    write_data(tmp_path)
    assert said in tenfold(*ROWS, *more, "-o", "run", cwd=tmp_path, code=2).stderr
    assert not (tmp_path / "run").exists()


def test_ratings_have_one_device(tmp_path: Path) -> None:
    write_data(tmp_path)
    words = "fit ratings.csv --user user --item item --target stars -o run --devices 2".split()
    assert "--devices is not an option where ratings" in tenfold(*words, cwd=tmp_path, code=2).stderr


def test_other_commands_are_not_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_data(tmp_path)
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    assert this_rank().count == 1  # that is some other program's, without an address
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    monkeypatch.setenv("MASTER_PORT", "1")
    assert this_rank().count == 2
    assert "tenfold runs is none" in tenfold("runs", cwd=tmp_path, code=2).stderr
    ratings = "fit ratings.csv --user user --item item --target stars -o run".split()
    assert "not one of ratings" in tenfold(*ratings, cwd=tmp_path, code=2).stderr
    assert (
        "torchrun has started 2" in tenfold(*ROWS, "-o", "run", "--devices", "3", cwd=tmp_path, code=2).stderr
    )
