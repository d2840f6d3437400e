"""Frozen features from disk are those that would be computed, or are computed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tenfold.engine import features as module
from tenfold.engine.features import features_key, kept_features
from tenfold.engine.step import begin_training
from tenfold.nn.network import build_network
from tenfold.recipe import Recipe
from training import SCHEMA, make_encoding, make_examples

RECIPE = Recipe(arch="test_resnet", weights="none", image_size=64, batch_size=16)
ROWS = np.array([3, 0, 7, 5])


def test_what_decides_features_names_them_and_a_spoilt_file_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, _ = build_network(make_encoding(RECIPE), SCHEMA, RECIPE, fetch=False)
    examples, other = make_examples(20, size=64), make_examples(20, size=64, seed=9)
    training = begin_training(
        network,
        make_encoding(RECIPE),
        RECIPE,
        device=torch.device("cpu"),
        precision="float32",
        micro_batch=8,
    )
    preparation = training.preparation
    calls: list[int] = []
    compute = module.predict_features

    def counted(*args, **options):
        calls.append(1)
        return compute(*args, **options)

    monkeypatch.setattr(module, "predict_features", counted)
    plain = kept_features(None, network, examples, ROWS, preparation)
    first = kept_features(tmp_path, network, examples, ROWS, preparation)
    again = kept_features(tmp_path, network, examples, ROWS, preparation)
    assert len(calls) == 2 and np.array_equal(plain, first) and np.array_equal(first, again)
    # The last layer does not matter; rows, pictures and weights do.
    torch.nn.init.ones_(network.last.weight)
    keys = [features_key(network, examples, ROWS, preparation, None)]
    (file,) = tmp_path.glob("features-*.npy")
    assert keys[0] in file.name
    keys.append(features_key(network, examples, ROWS[::-1].copy(), preparation, None))
    keys.append(features_key(network, other, ROWS, preparation, None))
    keys.append(features_key(network, examples, ROWS, preparation, torch.bfloat16))
    with torch.no_grad():
        next(network.encoders.parameters()).mul_(1.001)
    keys.append(features_key(network, examples, ROWS, preparation, None))
    assert len(set(keys)) == 5
    with torch.no_grad():
        next(network.encoders.parameters()).div_(1.001)
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    for spoilt in (bytes(content), b"", bytes(content[:40])):
        for left in tmp_path.glob("features-*.npy"):
            left.write_bytes(spoilt)
        assert np.array_equal(kept_features(tmp_path, network, examples, ROWS, preparation), first)
    # A folder that cannot be written costs the time only.
    (tmp_path / "taken").write_text("")
    assert np.array_equal(kept_features(tmp_path / "taken", network, examples, ROWS, preparation), first)
