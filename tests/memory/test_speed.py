"""Predicted seconds: the roofline by hand, operations counted as they are, and a machine measured once."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tenfold.memory import speed
from tenfold.memory.cards import CARDS, find_card
from tenfold.memory.phases import Phases
from tenfold.memory.speed import DATASHEETS, Rates, measured_rates, rates_of
from tenfold.memory.training import NetworkTraining
from tenfold.recipe import Recipe

BY_HAND = Rates(1e9, (1e3, 1e5), (1e-9, 3e-9), 1e-6, False, "by hand")


def test_an_operator_waits_for_the_slower_of_its_two() -> None:
    assert BY_HAND.seconds(np.array([[5e6, 1e3]])) == pytest.approx(5e-3 + 1e-6)
    assert BY_HAND.seconds(np.array([[1.0, 1e5]])) == pytest.approx(3e-4 + 1e-6)
    assert BY_HAND.seconds(np.array([[0.0, 1e4]])) == pytest.approx(1e4 * 2e-9 + 1e-6)
    assert BY_HAND.seconds(np.zeros((0, 2))) == 0.0


def test_a_card_works_while_its_processor_starts_the_next_kernel() -> None:
    card = replace(BY_HAND, beside=True)
    assert card.seconds(np.array([[0.0, 1e5]] * 3)) == pytest.approx(9e-4)
    assert card.seconds(np.array([[0.0, 1.0]] * 3)) == pytest.approx(3e-6)


def test_every_card_has_its_datasheet() -> None:
    assert set(DATASHEETS) == {card.name for card in CARDS}
    half, single = (rates_of("cuda", find_card("A100"), kind) for kind in ("bfloat16", "float32"))
    assert half is not None and single is not None and half.operations == 16 * single.operations
    assert rates_of("cuda", None, "bfloat16") is None


def test_products_and_convolutions_are_counted_as_they_are() -> None:
    recipe = Recipe(image_size=(64, 64), batchnorm_group="frozen")
    phases = Phases(NetworkTraining("test_resnet", recipe, precision="float32", classes=5), "cpu")
    found = {rows: np.array(phases.micro_batch(rows).costs).sum(axis=0) for rows in (4, 8, 16)}
    assert found[16][0] - found[8][0] == pytest.approx(2 * (found[8][0] - found[4][0]))
    network = phases.training.network
    seen: list[float] = []

    def count(module: Any, given: Any, out: Any) -> None:
        window = module.weight[0].numel() if isinstance(module, torch.nn.Conv2d) else module.in_features
        seen.append(2.0 * out.numel() * window)

    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            module.register_forward_hook(count)
    network.eval()({next(iter(network.encoders)): torch.zeros(4, 3, 64, 64)})
    # Backward: a product for the weights, and one for the input, which pictures do not need.
    assert found[4][0] == pytest.approx(3 * sum(seen) - seen[0], rel=1e-6)


def test_grouped_convolutions_count_their_own_channels() -> None:
    from tenfold.memory.trace import _operations

    picture, weight = torch.zeros(2, 32, 8, 8), torch.zeros(32, 1, 3, 3)
    out = torch.zeros(2, 32, 8, 8)
    forward = _operations(torch.ops.aten.convolution.default, (picture, weight), None, out)
    assert forward == 2 * out.numel() * 9
    back = _operations(
        torch.ops.aten.convolution_backward.default, (out, picture, weight), None, (picture, weight, None)
    )
    assert back == 2 * forward


def test_a_machine_is_measured_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path))
    calls: list[torch.dtype] = []
    monkeypatch.setattr(speed, "_measure", lambda dtype: calls.append(dtype) or BY_HAND)
    for _ in range(2):
        measured_rates.cache_clear()
        assert measured_rates(1, "float32") == BY_HAND
    assert calls == [torch.float32]
    (tmp_path / "memory" / "rates.json").write_text("[]")
    measured_rates.cache_clear()
    assert measured_rates(1, "float32") == BY_HAND and len(calls) == 2
    assert list(json.loads((tmp_path / "memory" / "rates.json").read_text()))
    measured_rates.cache_clear()


def test_what_is_measured_is_a_machine() -> None:
    before = torch.random.get_rng_state()
    found = speed._measure(torch.float32)
    assert torch.equal(torch.random.get_rng_state(), before)  # no training draws other numbers for it
    assert 1e8 < found.operations < 1e14 and 0 < found.operator < 1e-3
    assert all(0 <= each < 1e-8 for each in found.seconds_per_byte)
