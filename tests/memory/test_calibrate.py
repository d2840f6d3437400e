"""The context of this machine, measured by a process that trains a little, and kept for later plans."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tenfold.errors import TenfoldError
from tenfold.memory.calibrate import calibrate
from tenfold.memory.cards import stored_context
from tenfold.memory.plan import PlanRequest, plan_memory
from tenfold.recipe import Recipe


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path))


def test_what_is_measured_is_kept_and_used() -> None:
    name, size = calibrate()
    # An interpreter with PyTorch and timm holds more than 100 MiB and less than 4 GiB.
    assert 100 * 2**20 < size < 4 * 2**30
    assert stored_context(name) == size
    recipe = Recipe(image_size=64, batch_size=8)
    plan = plan_memory("test_resnet", PlanRequest(2**33, recipe, device="cpu", classes=4))
    if name == "cpu":
        assert plan.parts["context"] == size
        assert any("calibrated" in note for note in plan.notes)


def test_a_machine_that_cannot_be_measured_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*words: object, **options: object) -> None:
        raise subprocess.CalledProcessError(1, "python", stderr="boom\nno driver\n")

    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(TenfoldError, match="no driver"):
        calibrate()
