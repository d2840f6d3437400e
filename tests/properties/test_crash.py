"""The harnesses with a small budget: each is a process of its own, since threads do not survive its forks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from longlife import Held, fitter, growth, live
from tiny import write_data

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "words",
    [
        ["crash", "--kills", "8", "--seed", "7", "--only", "fit table", "--only", "predict table", "--only", "blend stars"],
        ["faults", "--faults", "8", "--seed", "7", "--only", "fit gibbs", "--only", "recommend gibbs"],
        ["damage", "--files", "24", "--seed", "7", "--kinds", "table", "--only", "table", "--only", "checkpoint of table"],
    ],
    ids=lambda words: words[0],
)
def test_nothing_is_lost_and_nothing_silent(words: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", f"tests.{words[0]}", *words[1:]], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ", 0 " in done.stdout  # none went wrong, of those that are counted


def test_a_process_that_fits_and_predicts_for_long_holds_no_more(tmp_path: Path) -> None:
    write_data(tmp_path)
    fit = fitter(tmp_path)
    fit(0), fit(1)  # libraries load
    found = live(lambda number: fit(number).predict(str(tmp_path / ("ratings.csv" if number % 2 else "rows.csv"))), 6, 6)
    more = growth(found)
    assert more["threads"] <= 0 and more["files"] <= 0 and more["MiB"] < 32
    assert Held.now().files <= found[0].files
