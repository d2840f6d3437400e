"""The harnesses with a small budget, in a process of their own: threads do not survive its forks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from longlife import fitter, growth, live
from tiny import write_data

TESTS = Path(__file__).resolve().parents[1]


#: Some scenes of each harness, and how many trials: all in one process, which has loaded everything once.
BUDGETS = """
import crash, damage, faults
bad = crash.main(['--kills=6', '--seed=7', '--only=fit table', '--only=predict table'])
bad += faults.main(['--faults=6', '--seed=7', '--only=recommend gibbs', '--only=fit als'])
bad += damage.main(['--files=12', '--seed=7', '--kinds=table', '--only=table'])
raise SystemExit(bad)
"""


def test_nothing_is_lost_and_nothing_silent() -> None:
    done = subprocess.run([sys.executable, "-c", BUDGETS], cwd=TESTS, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    ends = [line for line in done.stdout.splitlines() if line.endswith(" s")]
    assert len(ends) == 3 and all(", 0 " in line for line in ends)  # none of those counted went wrong


def test_a_process_that_fits_and_predicts_for_long_holds_no_more(tmp_path: Path) -> None:
    write_data(tmp_path)
    fit = fitter(tmp_path)
    tables = [str(tmp_path / name) for name in ("rows.csv", "ratings.csv")]
    found = live(lambda number: fit(number).predict(tables[number % 2]), 8, 4)
    more = growth(found)
    assert more["threads"] <= 0 and more["files"] <= 0 and more["MiB"] < 32
