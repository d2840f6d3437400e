"""The fastest plan that fits: which cuts are looked at, which is taken, and that nothing else changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from torch import nn

from tenfold.engine import offload
from tenfold.errors import MemoryBudgetError, RecipeError
from tenfold.memory import plan as module
from tenfold.memory.cards import GIB, MIB
from tenfold.memory.choose import LEAST_GAIN, Refusal, plan_each, plan_fastest, plan_to_fit
from tenfold.memory.plan import Choice, Plan, PlanRequest, Plans, plan_memory
from tenfold.memory.speed import Rates
from tenfold.recipe import Recipe

SMALL: dict[str, Any] = {
    "batch_size": 24, "image_size": 64, "batchnorm_group": 8, "device": "cpu", "precision": "float32",
    "classes": 5, "evaluated": 4, "cached": False,
}  # fmt: skip
#: The same on a card.
CARD: dict[str, Any] = {"image_size": 96, "batch_size": 24, "classes": 5, "card": "T4", "cached": False}


def request(**options: Any) -> PlanRequest:
    recipe = {name: value for name, value in options.items() if name in Recipe.model_fields}
    others = {name: value for name, value in options.items() if name not in recipe}
    return PlanRequest(recipe=Recipe(**recipe), **others)


def rates(small: float = 1e-11, large: float = 1e-11, operator: float = 1e-6, beside: bool = False) -> Rates:
    """Of a device whose memory has one speed for small tensors and another for those of 16 MiB."""
    return Rates(1e11, (2.0**10, 2.0**24), (small, large), operator, beside, "a test")


def planned(
    monkeypatch: pytest.MonkeyPatch, known: Rates | None, arch: str = "test_convnext", **asked: Any
) -> Plan:
    monkeypatch.setattr(module, "rates_of", lambda *_: known)
    return plan_fastest(arch, request(**{**SMALL, "budget_bytes": 4 * GIB, **asked}))


def test_a_machine_whose_caches_count_gets_smaller_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    flat = planned(monkeypatch, rates())
    assert flat.micro_batch == 24 and flat.seconds == min(each.seconds for each in flat.choices)
    steep = planned(monkeypatch, rates(large=1e-8))
    assert steep.micro_batch < 24 and steep.seconds == min(each.seconds for each in steep.choices)
    assert steep.accumulation == -(-24 // steep.micro_batch)
    assert "s a step are predicted" in steep.notes[-1]
    assert {each.micro_batch for each in steep.choices} == {24, 12, 6, 3}


def test_what_is_slow_to_start_is_started_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(monkeypatch, rates(large=1e-8, operator=1.0))
    assert plan.micro_batch == 24


def test_the_plan_that_is_taken_fits_and_is_the_fastest_of_those(monkeypatch: pytest.MonkeyPatch) -> None:
    largest = planned(monkeypatch, None, batch_size=96)
    for budget in np.linspace(largest.band_bytes[0], largest.band_bytes[1], 3).astype(int):
        for known in (rates(), rates(large=1e-9)):
            plan = planned(monkeypatch, known, batch_size=96, budget_bytes=int(budget))
            fit = [each for each in plan.choices if each.high_bytes <= budget]
            assert plan.fits == bool(fit)
            if fit:
                assert plan.seconds <= min(each.seconds for each in fit) / (1 - LEAST_GAIN)


def test_batchnorm_groups_are_not_cut_for_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(monkeypatch, rates(large=1e-8), "test_resnet")
    assert {each.micro_batch % 8 for each in plan.choices} == {0}


@pytest.mark.parametrize(("again", "taken"), [(3.0, 64), (3.99, 16), (4.5, 16)])
def test_a_card_that_waits_for_its_processor_may_compute_again(
    monkeypatch: pytest.MonkeyPatch, again: float, taken: int
) -> None:
    kept = Choice(16, 4, False, 5, 5, 4.0, True)
    recomputed = Choice(64, 1, True, 5, 5, again, True)

    def answer(_: object, asked: PlanRequest) -> Plan:
        if asked.blocks:
            raise AssertionError("no block is known of this network")
        found = recomputed if asked.checkpoint else kept
        how = {"checkpoint": found.checkpoint, "seconds": found.seconds, "choices": (found,)}
        return Plan(found.micro_batch, found.accumulation, fits=True, **how)

    monkeypatch.setattr(Plans, "plan", answer)
    plan = plan_fastest("any", request(**{**SMALL, "batch_size": 64, "device": "cuda", "budget_bytes": GIB}))
    assert plan.micro_batch == taken and plan.checkpoint == (taken == 64)
    assert {each.micro_batch for each in plan.choices} == {16, 64}
    assert plan.choices[0].seconds == min(4.0, again)


def test_a_card_that_waits_for_its_processor_computes_as_few_blocks_again_as_are_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arch = "test_convnext"
    monkeypatch.setattr(module, "rates_of", lambda *_: rates(operator=1e-3, beside=True))
    asked = {**CARD, "budget_bytes": 4 * GIB}
    whole = plan_memory(arch, request(**asked))
    assert whole.fits_whole
    plan = plan_fastest(arch, request(**{**asked, "budget_bytes": whole.band_bytes[1] - MIB}))
    every = next(each for each in plan.choices if each.checkpoint and not each.blocks)
    assert (plan.micro_batch, plan.checkpoint, plan.fits) == (24, True, True)
    assert plan.blocks and plan.blocks == plan.choices[0].blocks
    assert plan.band_bytes[1] <= plan.budget_bytes and plan.seconds < every.seconds
    assert "block" in plan.notes[-1] and plan.record()["blocks"] == list(plan.blocks)


def test_what_fits_only_with_recomputing_gets_it_in_some_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "rates_of", lambda *_: rates(beside=True))
    # Rows of one BatchNorm group, which is not cut.
    asked = {**CARD, "image_size": 160, "batchnorm_group": 24, "evaluated": 0, "budget_bytes": GIB}
    need = plan_memory("test_resnet", request(**asked)).band_bytes[1]
    plan = plan_to_fit("test_resnet", request(**{**asked, "budget_bytes": need - 4 * MIB}))
    assert plan.fits and plan.checkpoint and len(plan.blocks) == 2
    assert "activations of 2 blocks" in plan.notes[-1] and "not one" in plan.notes[-1]


def test_what_is_asked_for_is_planned_and_unknown_devices_get_the_largest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = planned(monkeypatch, rates(large=1e-8), micro_batch=12)
    assert asked.micro_batch == 12 and len(asked.choices) == 1
    unknown = planned(monkeypatch, None)
    assert unknown.micro_batch == 24 and unknown.choices == () and unknown.seconds == 0.0


def test_choices_are_kept_with_the_plan(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path))
    first = planned(monkeypatch, rates(large=1e-8), cached=True)
    assert planned(monkeypatch, rates(large=1e-8), cached=True) == first
    assert first.record()["choices"][0]["seconds"] == first.choices[0].seconds


def test_activations_are_computed_again_where_nothing_else_fits() -> None:
    options = {**CARD, "batch_size": 16, "image_size": 224, "evaluated": 0}
    one = {**options, "batch_size": 1, "image_size": 448}
    need = plan_memory("vit_tiny_patch16_224", request(**one, budget_bytes=GIB)).band_bytes[1]
    enough = plan_to_fit("vit_tiny_patch16_224", request(**one, budget_bytes=need))
    assert enough.fits and not enough.checkpoint
    less = plan_to_fit("vit_tiny_patch16_224", request(**one, budget_bytes=need - 8 * MIB))
    assert less.fits and less.checkpoint and "computed again" in less.notes[-1]
    assert not less.offload


def wide() -> nn.Module:
    """A network whose optimizer's state, 70 MB, is what a card holds, not a picture."""
    pictures = [nn.Conv2d(3, 64, 3, padding=1), nn.ReLU(), nn.AvgPool2d(32), nn.Flatten()]
    layers = [nn.Linear(576, 1024), *(nn.Linear(1024, 1024) for _ in range(5)), nn.Linear(1024, 5)]
    return nn.Sequential(*pictures, *layers)


WIDE: dict[str, Any] = {**CARD, "batch_size": 24, "evaluated": 1}


@pytest.fixture
def least(monkeypatch: pytest.MonkeyPatch) -> Plan:
    """The plan of a single row."""
    monkeypatch.setattr(offload, "PIECE_BYTES", 4 * MIB)
    return plan_memory(wide, request(**WIDE, budget_bytes=GIB, micro_batch=1))


@pytest.mark.parametrize("known", [None, replace(rates(beside=True), bus=1e9)])
def test_the_optimizers_state_goes_to_the_host_where_nothing_else_fits(
    monkeypatch: pytest.MonkeyPatch, least: Plan, known: Rates | None
) -> None:
    away = plan_memory(wide, request(**WIDE, budget_bytes=GIB, micro_batch=1, offload=True))
    state = least.parts["optimizer"]
    assert away.offload and state > 60 * MIB and away.parts["optimizer"] < state // 10
    assert away.band_bytes[1] < least.band_bytes[1] - state // 2
    monkeypatch.setattr(module, "rates_of", lambda *_: known)
    plan = plan_to_fit(wide, request(**WIDE, budget_bytes=least.band_bytes[1] - 20 * MIB))
    assert plan.fits and plan.offload and not plan.checkpoint
    assert "optimizer's state in the host's memory: otherwise not one" in plan.notes[-1]
    plain = plan_to_fit(wide, request(**WIDE, budget_bytes=2 * GIB))
    assert not plain.offload and not any(each.offload for each in plain.choices)


@pytest.mark.parametrize("bus", [1e15, 1e7])
def test_a_fast_bus_lets_the_batch_through_at_once(
    monkeypatch: pytest.MonkeyPatch, least: Plan, bus: float
) -> None:
    monkeypatch.setattr(module, "rates_of", lambda *_: replace(rates(operator=1e-3, beside=True), bus=bus))
    plan = plan_fastest(wide, request(**WIDE, budget_bytes=least.band_bytes[1] + 2 * MIB))
    assert plan.fits and plan.offload == (bus > 1e10)
    assert plan.seconds == min(each.seconds for each in plan.choices if each.fits)


def test_offload_is_refused_where_it_saves_nothing() -> None:
    with pytest.raises(RecipeError, match="leave it out"):
        request(**{**SMALL, "budget_bytes": GIB}, offload=True)


@pytest.mark.parametrize("arch", ["test_vit", "test_convnext"])
def test_the_largest_batch_fits_and_a_few_rows_more_do_not(arch: str) -> None:
    # Where few rows need no more than an evaluation does, memory is flat at first.
    plans, options = Plans(arch), {**CARD, "image_size": 160, "evaluated": 64}
    least = plans.plan(request(**options, budget_bytes=GIB, micro_batch=1)).band_bytes[1]
    for budget in (least + 2 * MIB, least + 20 * MIB, least + 200 * MIB):
        largest = plans.plan(request(**options, budget_bytes=budget)).largest_batch
        more = largest + max(2, largest // 32)
        for rows, fits in ((largest, True), (more, False)):
            whole = plans.plan(request(**{**options, "batch_size": rows}, budget_bytes=budget))
            assert whole.fits_whole is fits, (rows, largest)


def test_when_nothing_fits_the_parts_and_the_remedies_are_said() -> None:
    with pytest.raises(MemoryBudgetError) as caught:
        plan_to_fit("test_vit", request(**{**CARD, "image_size": 160}, budget_bytes=300 * MIB))
    text = str(caught.value)
    assert "one row of test_vit at 160x160 needs" in text and "budget 300 MiB" in text
    assert "weights" in text and "context" in text
    assert "checkpoint=true" in text and "a smaller image_size" in text and "a budget of" in text


def test_one_refusal_does_not_stop_the_others() -> None:
    found = plan_each(["test_vit", "no_such_net", "test_resnet"], request(**CARD, budget_bytes=GIB))
    assert [type(each) for each in found] == [Plan, Refusal, Plan]
    assert found[1].record()["fits"] is False and "no_such_net" in found[1].record()["reason"]
