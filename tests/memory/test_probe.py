"""The probe takes two steps, says what they held, and leaves everything as it was."""

from __future__ import annotations

import numpy as np
import torch

from tenfold.memory.probe import measure_peak
from tenfold.nn.network import build_network
from tenfold.recipe import Recipe
from tenfold.values import MemoryPlan
from training import SCHEMA, make_encoding, make_examples, state_of

RECIPE = Recipe(arch="test_resnet", weights="none", image_size=64, batch_size=16)


def test_a_probe_leaves_weights_and_gradients_as_they_were() -> None:
    network, _ = build_network(make_encoding(RECIPE), SCHEMA, RECIPE, fetch=False)
    before = state_of(network)
    peak = measure_peak(
        network,
        make_encoding(RECIPE),
        make_examples(20, size=64),
        train=np.arange(20),
        recipe=RECIPE,
        plan=MemoryPlan(micro_batch=8, workers=0),
        device=torch.device("cpu"),
        precision="float32",
    )
    assert peak > 1e7
    after = state_of(network)
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert all(p.grad is None and p.requires_grad for p in network.parameters())
