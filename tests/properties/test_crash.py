"""The harnesses with a small budget: each is a process of its own, since threads do not survive its forks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from longlife import Held, fitter, growth, live
from tiny import write_data

ROOT = Path(__file__).resolve().parents[2]


#: Some scenes of each harness, and how many trials.
BUDGETS = {
    "crash": "--kills 8 --seed 7 --only=fit+table --only=predict+table",
    "faults": "--faults 8 --seed 7 --only=fit+gibbs --only=recommend+gibbs",
    "damage": "--files 24 --seed 7 --kinds table --only=table --only=checkpoint+of+table",
}


@pytest.mark.parametrize("harness", BUDGETS)
def test_nothing_is_lost_and_nothing_silent(harness: str) -> None:
    words = [word.replace("+", " ") for word in BUDGETS[harness].split()]
    done = subprocess.run(
        [sys.executable, "-m", f"tests.{harness}", *words], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert ", 0 " in done.stdout.splitlines()[-1]  # none went wrong, of those that are counted


def test_a_process_that_fits_and_predicts_for_long_holds_no_more(tmp_path: Path) -> None:
    write_data(tmp_path)
    fit = fitter(tmp_path)
    tables = [str(tmp_path / name) for name in ("rows.csv", "ratings.csv")]
    found = live(lambda number: fit(number).predict(tables[number % 2]), 12, 6)
    more = growth(found)
    assert more["threads"] <= 0 and more["files"] <= 0 and more["MiB"] < 32
