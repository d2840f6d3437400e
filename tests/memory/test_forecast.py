"""Forecasts: numbers that agree with each other, a timeline that ends where it began, and a band."""

from __future__ import annotations

from typing import Any

import pytest

from tenfold.memory.cards import MIB, Band
from tenfold.memory.forecast import Forecaster
from tenfold.memory.phases import Phases
from tenfold.memory.training import NetworkTraining
from tenfold.recipe import Recipe

CONTEXT = Band(100 * MIB, 200 * MIB, 300 * MIB)


def forecaster(arch: str = "test_convnext", *, device: str = "cuda", workspace: int = 0, **values: Any):
    recipe = Recipe(**{"image_size": (64, 64), **values})
    training = NetworkTraining(arch, recipe, precision="float16", classes=5)
    phases = Phases(training, device, "flash" if device == "cuda" else "native")
    return Forecaster(phases, context=CONTEXT, workspace=workspace)


def test_the_parts_sum_to_the_process() -> None:
    found = forecaster().forecast(16, [8, 8])
    assert sum(found.parts.values()) == found.process == found.reserved + CONTEXT.expected
    assert found.live <= found.reserved
    assert found.band.low <= found.process <= found.band.high
    assert found.parts["context"] == CONTEXT.expected and found.parts["weights"] > 0


def test_smaller_micro_batches_need_less_and_more_rows_more() -> None:
    made = forecaster(image_size=(160, 160))
    live = [made.forecast(64, [rows] * (64 // rows)).live for rows in (64, 32, 16)]
    assert live[0] > live[1] > live[2]
    assert made.forecast(128, [64, 64]).live > live[0]


def test_the_workspace_of_the_matrix_library_is_counted() -> None:
    plain, more = forecaster().forecast(8, [8]), forecaster(workspace=8 * MIB).forecast(8, [8])
    assert more.live - plain.live == 8 * MIB
    assert more.parts["workspace"] - plain.parts["workspace"] == 8 * MIB


def test_many_micro_batches_are_as_three() -> None:
    made = forecaster()
    five, nine = made.forecast(40, [4] * 10), made.forecast(40, [4] * 9 + [4])
    assert five == nine


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_the_timeline_is_the_forecast_event_by_event(device: str) -> None:
    made = forecaster(device=device, precision="float32" if device == "cpu" else "float16")
    found, drawn = made.forecast(16, [8, 8]), made.timeline(16, [8, 8])
    assert drawn.held.shape == (len(drawn.reserved), len(drawn.kinds))
    assert (drawn.held >= 0).all()
    assert int(drawn.held.sum(axis=1).max()) <= found.live
    assert int(drawn.reserved.max()) <= found.reserved
    starts = [start for start, _ in drawn.phases]
    assert starts == sorted(starts) and 0 <= starts[0] and starts[-1] < len(drawn.reserved)
    weights = drawn.held[:, drawn.kinds.index("weights")]
    assert weights[0] == weights.min() and weights[0] > 0


def test_a_cpu_has_no_caching_allocator() -> None:
    found = forecaster(device="cpu", precision="float32").forecast(8, [8])
    assert found.reserved == found.live and found.parts["allocator slack"] == 0
