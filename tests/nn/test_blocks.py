"""Blocks that are computed again: which there are, and that nothing but time and memory changes."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import timm
import torch
from torch import nn

from tenfold.nn.blocks import find_blocks, recompute_blocks


class Block(nn.Module):
    """A residual block that counts how often it runs."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.first, self.second, self.runs = nn.Linear(width, width), nn.Linear(width, width), 0

    def forward(self, x: torch.Tensor, *, scale: float = 1.0) -> torch.Tensor:
        self.runs += 1
        return x + scale * self.second(torch.relu(self.first(x)))


class Net(nn.Module):
    """Blocks in a list, each called with an option."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
        self.blocks = nn.ModuleList(Block() for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x, scale=0.5)
        return x


def runs(network: Net) -> list[int]:
    counted = [block.runs for block in network.blocks]
    for block in network.blocks:
        block.runs = 0
    return counted


def gradients(network: nn.Module, names: Iterable[str]) -> list[torch.Tensor]:
    recompute_blocks(network, list(names))
    network.zero_grad()
    network(torch.linspace(-1, 1, 15).reshape(5, 3)).square().sum().backward()
    return [parameter.grad for parameter in network.parameters() if parameter.grad is not None]


def test_named_blocks_run_twice_and_give_the_same_gradients() -> None:
    torch.manual_seed(0)
    network = Net().train()
    plain = gradients(network, [])
    assert runs(network) == [1, 1, 1]
    for names, expected in (
        (["blocks.1"], [1, 2, 1]),
        (["blocks.0", "blocks.2"], [2, 1, 2]),
        ([], [1, 1, 1]),
    ):
        again = gradients(network, names)
        assert runs(network) == expected
        assert all(map(torch.equal, plain, again))


def test_nothing_is_computed_again_without_a_backward_pass() -> None:
    network = Net()
    recompute_blocks(network, ["blocks.0"])
    network.eval()(torch.zeros(2, 3)).sum().backward()
    with torch.no_grad():
        network.train()(torch.zeros(2, 3))
    assert runs(network) == [2, 2, 2]


def test_switched_off_a_block_is_of_its_own_class_again() -> None:
    network = Net()
    before = list(network.state_dict())
    recompute_blocks(network, ["blocks.2"])
    assert isinstance(network.blocks[2], Block) and type(network.blocks[2]) is not Block
    assert list(network.state_dict()) == before
    recompute_blocks(network, [])
    assert type(network.blocks[2]) is Block


def test_a_name_that_is_not_a_blocks_is_refused_before_anything_changes() -> None:
    network = Net()
    with pytest.raises(KeyError):
        recompute_blocks(network, ["blocks.0", "stem"])
    assert type(network.blocks[0]) is Block


@pytest.mark.parametrize(
    ("arch", "count", "first"),
    [
        ("resnet18", 8, "layer1.0"),
        ("convnext_atto", 12, "stages.0.blocks.0"),
        ("vit_tiny_patch16_224", 12, "blocks.0"),
        ("tf_efficientnet_lite0", 16, "blocks.0.0"),
        ("regnety_002", 13, "s1"),
        ("vgg11", 0, ""),
    ],
)
def test_blocks_of_architectures(arch: str, count: int, first: str) -> None:
    with torch.device("meta"):
        blocks = find_blocks(timm.create_model(arch))
    assert len(blocks) == count and next(iter(blocks), "") == first
