"""The one-cycle schedule: up to the top once, down to the end last."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tenfold.engine.schedule import one_cycle


def test_one_cycle_rises_and_falls() -> None:
    shape = [one_cycle(step, 100, warmup=0.25) for step in range(100)]
    assert max(shape) == shape[25] == 1.0
    assert all(a < b for a, b in zip(shape[:25], shape[1:26], strict=True))
    assert all(a > b for a, b in zip(shape[25:-1], shape[26:], strict=True))
    assert shape[0] == pytest.approx(0.04)
    assert shape[-1] == pytest.approx(1e-3)


@pytest.mark.parametrize("warmup", [0.001, 0.2, 0.5, 0.999])
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 7, 50])
def test_one_cycle_reaches_its_top_once_and_its_end_last(steps: int, warmup: float) -> None:
    shape = [one_cycle(step, steps, warmup=warmup) for step in range(steps)]
    assert shape.count(1.0) == 1 and min(shape) >= 1e-3 * (1 - 1e-12)
    if steps > 1:
        assert shape[-1] == pytest.approx(1e-3)


def test_it_needs_no_torch() -> None:
    code = "import sys, tenfold.engine.schedule; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
