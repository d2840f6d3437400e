"""The last layer by itself: its weights, and losses of rows one by one."""

from __future__ import annotations

import numpy as np
import torch

from tenfold.engine.lastlayer import read_last_layer
from tenfold.recipe import Recipe
from training import CLASSES, make_training


def test_losses_are_those_of_the_heads_and_missing_labels_cost_nothing() -> None:
    recipe = Recipe(arch="test_convnext", weights="none", image_size=32, task_weights="learned", dropout=0.5)
    network = make_training(recipe, micro_batch=4).network
    network.train()
    rng = np.random.default_rng(0)
    features = rng.normal(size=(5, network.last.in_features)).astype(np.float32)
    labels = {name: (rng.integers(0, len(words), 5), np.ones(5)) for name, words in CLASSES.items()}
    labels["disease"][1][2] = 0
    found = read_last_layer(network, features, labels)
    assert network.training, "left as it was"
    assert found.weight.shape == (5, network.last.in_features) and found.bias.shape == (5,)
    raw = features.astype(np.float64) @ found.weight.T + found.bias
    logs = torch.log_softmax(torch.from_numpy(raw[:, :3]), 1).numpy()
    own, weights = labels["disease"]
    e = recipe.label_smoothing
    wanted = (-(1 - e) * logs[np.arange(5), own] - e * logs.mean(1)) * weights
    np.testing.assert_allclose(found.losses["disease"], wanted, atol=1e-9)
    assert set(found.learnt) == set(CLASSES) and not found.familiar
