"""Phases put together: gradients made once, inputs let go, and sizes that follow from two traces."""

from __future__ import annotations

from typing import Any

import pytest

from tenfold.memory.allocator import replay
from tenfold.memory.phases import Phases, StepAllocations
from tenfold.memory.trace import GRADIENTS, INPUTS, KINDS, WEIGHTS
from tenfold.memory.training import NetworkTraining
from tenfold.recipe import Recipe


def phases(arch: str = "test_convnext", device: str = "cpu", **values: Any) -> Phases:
    precision = values.pop("precision", "float32")
    training = NetworkTraining(
        arch, Recipe(**{"image_size": (64, 64), **values}), precision=precision, classes=5
    )
    return Phases(training, device, "flash" if device == "cuda" else "native")


def peak(script: StepAllocations) -> int:
    return replay(script.events, script.sizes, None).live


def test_a_script_holds_and_drops_by_number() -> None:
    script = StepAllocations()
    one, two = script.hold(100, WEIGHTS), script.hold(50, INPUTS)
    script.drop([one])
    three = script.hold(70, INPUTS)
    assert script.events == [one, two, -one, three]
    assert [script.sizes[n] for n in (one, two, three)] == [100, 50, 70]
    assert peak(script) == 150


def test_the_weights_are_all_there() -> None:
    found = phases()
    network = found.training.network
    expected = sum(t.numel() * t.element_size() for t in [*network.parameters(), *network.buffers()])
    assert sum(found.weights()) == expected
    assert sum(found.trained()) == sum(p.numel() * 4 for p in network.parameters())


@pytest.mark.parametrize("arch", ["test_convnext", "test_vit"])
def test_another_size_follows_from_two_traces(arch: str) -> None:
    size = (160, 160) if arch == "test_vit" else (64, 64)
    known, fresh = (phases(arch, "cuda", image_size=size, precision="float16") for _ in range(2))
    for rows in (8, 4):
        known.micro_batch(rows)
    between, traced = known.micro_batch(6), fresh.micro_batch(6)
    assert list(between.events) == list(traced.events)
    assert list(between.sizes) == list(traced.sizes)


def test_gradients_are_made_once_and_stay() -> None:
    found = phases()
    script, gradients = StepAllocations(), {}
    tape, trained = found.micro_batch(4), found.trained()
    script.play_micro(tape, gradients, trained)
    assert set(gradients) == set(range(len(trained)))
    first = dict(gradients)
    script.play_micro(tape, gradients, trained)
    assert gradients == first
    live: set[int] = set()
    for event in script.events:
        live = live | {event} if event > 0 else live - {-event}
    held = sum(script.sizes[number] for number in live)
    assert held == sum(script.sizes[number] for number in gradients.values()) == sum(trained)


def test_twice_the_micro_batches_need_no_more_than_the_second() -> None:
    found = phases()
    peaks = []
    for count in (1, 2, 3):
        script, gradients = StepAllocations(), {}
        for size in found.weights():
            script.hold(size, WEIGHTS)
        for _ in range(count):
            script.play_micro(found.micro_batch(4), gradients, found.trained())
        peaks.append(peak(script))
    assert peaks[0] <= peaks[1] == peaks[2]


def test_the_optimizers_state_comes_with_the_first_step() -> None:
    first, later = phases(ema=0.0).updates()
    left = sum(first.sizes[number] for number in first.left())
    # AdamW keeps two numbers to a weight (and a counter to a tensor).
    assert left >= 2 * sum(phases().trained())
    assert not later.left()


def test_kinds_have_names() -> None:
    assert KINDS[WEIGHTS] == "weights" and KINDS[GRADIENTS] == "gradients"
