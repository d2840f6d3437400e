"""Blocks whose weights come and go; `test_ranks.py` trains with several processes."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import nn

from tenfold.engine.gather import SplitBlocks, block_parameters
from tenfold.engine.ranks import ONE_RANK
from tenfold.engine.shards import largest_shard
from tenfold.errors import RecipeError
from tenfold.values import Sharding

CPU = torch.device("cpu")


class Block(nn.Module):
    """Takes and returns more than a tensor."""

    def __init__(self, *, in_place: bool = False) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 6)
        self.in_place, self.draws = in_place, False

    def forward(self, x: Any, pair: Any = (None, 2.0), *, scale: Any = None) -> Any:
        if self.in_place:
            x.mul_(2.0)
        inner = torch.nn.functional.gelu(self.first(x))
        if self.draws:
            inner = torch.nn.functional.dropout(inner, 0.5, self.training)
        out = x + self.second(inner) * pair[1]
        if pair[0] is not None:
            out = out + pair[0]
        return {"out": out if scale is None else out * scale, "none": None, "more": [self.first(x).sum()]}


class Blocks(nn.Module):
    def __init__(self, *, in_place: bool = False) -> None:
        super().__init__()
        self.start = nn.Linear(4, 6)
        self.blocks = nn.ModuleList([Block(in_place=in_place) for _ in range(3)])
        self.scale = nn.Parameter(torch.full((6,), 1.5))
        self.parts = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})

    def forward(self, x: Any) -> Any:
        x, more = self.start(x), 0.0
        for number, block in enumerate(self.blocks):
            answer = block(x, (x * 0.5 if number else None, 1.0 + number), scale=self.scale)
            x, more = answer["out"], more + answer["more"][0]
            assert answer["none"] is None
        return x.square().sum() + more


def split(network: nn.Module, *, away: bool = False) -> SplitBlocks:
    """The blocks of a network, all of them kept by this process, or by none."""
    keepers = {name: int(away) for name, _ in network.named_parameters(remove_duplicate=False)}
    return SplitBlocks(network, ONE_RANK, keepers)


def made(**options: Any) -> Blocks:
    torch.manual_seed(0)
    return Blocks(**options).double()


def test_parameters_of_blocks_are_those_that_a_block_alone_has() -> None:
    network = made()
    found = block_parameters(network)
    assert list(found) == ["blocks.0", "blocks.1", "blocks.2"]
    assert list(found["blocks.1"]) == [
        "blocks.1.first.weight", "blocks.1.first.bias", "blocks.1.second.weight", "blocks.1.second.bias"
    ]  # fmt: skip
    network.blocks[2].first.weight = network.blocks[0].first.weight
    network.blocks[1].second.bias = network.start.bias
    found = block_parameters(network)
    assert "blocks.0.first.weight" not in found["blocks.0"] and "blocks.0.first.bias" in found["blocks.0"]
    assert "blocks.1.second.bias" not in found["blocks.1"]


def test_a_block_under_two_names_is_one() -> None:
    network = made()
    network.blocks.append(network.blocks[0])
    found = block_parameters(network)
    assert len(found) == 3
    assert {"blocks.0.first.weight", "blocks.3.first.weight"} <= found["blocks.0"].keys()


def test_a_network_without_blocks_is_refused() -> None:
    # A dictionary of parts has no forward pass of its own, though its parts have weights.
    alone = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    for network in (alone, nn.ModuleDict({"a": nn.ModuleDict({"b": alone}), "c": nn.ModuleDict()})):
        with pytest.raises(RecipeError, match="no blocks whose weights could be split"):
            split(network)


@pytest.mark.parametrize("half", [None, torch.bfloat16])
def test_the_same_outputs_and_gradients(half: torch.dtype | None) -> None:
    plain = made().float() if half else made()
    network = deepcopy(plain)
    x = torch.randn(5, 4, dtype=plain.scale.dtype, generator=torch.Generator().manual_seed(1))
    x.requires_grad_()
    with torch.autocast("cpu", half or torch.bfloat16, enabled=half is not None):
        whole = plain(x)
    whole.backward()
    expected, x.grad = x.grad, None
    # A layer that is used twice rounds its gradient twice where no copy of its weight is kept.
    close = {"rtol": 1e-12} if half is None else {"rtol": 2e-2, "atol": 2e-2}
    blocks = split(network)
    blocks.begin(CPU, plain.scale.dtype)
    with blocks.reachable():
        for _ in range(2):  # twice: gradients add up
            with torch.autocast("cpu", half or torch.bfloat16, enabled=half is not None):
                loss = network(x)
            assert loss.equal(whole)
            loss.backward()
        if half is None:
            with torch.no_grad():
                assert network(x).equal(whole)
    blocks.end()
    assert x.grad is not None and expected is not None
    assert x.grad.allclose(2 * expected, **close)
    for one, other in zip(plain.parameters(), network.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None)
        if one.grad is not None and other.grad is not None:
            assert other.grad.allclose(2 * one.grad, **close)
    assert all("forward" not in vars(block) for block in network.blocks)


def test_a_layer_that_draws_by_itself_draws_the_same_again() -> None:
    plain = made()
    for block in plain.blocks:
        block.draws = True
    network, x = deepcopy(plain), torch.ones(5, 4, dtype=torch.float64)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        plain(x).backward()
        before = torch.get_rng_state()
    blocks = split(network)
    blocks.begin(CPU, torch.float64)
    with torch.random.fork_rng(), blocks.reachable():
        torch.manual_seed(5)
        network(x).backward()
        assert torch.get_rng_state().equal(before)
    for one, other in zip(plain.blocks.parameters(), network.blocks.parameters(), strict=True):
        assert one.grad is not None and other.grad is not None and other.grad.allclose(one.grad, rtol=1e-12)


def test_what_others_keep_takes_no_memory_and_is_no_number() -> None:
    network = made()
    shapes = [each.shape for each in network.parameters()]
    blocks = split(network, away=True)
    blocks.begin(CPU, torch.float32)
    assert [each.shape for each in network.parameters()] == shapes
    apart = [each for name, each in network.named_parameters() if name in blocks.names]
    assert len(apart) == 12 and all(each.untyped_storage().nbytes() == 4 for each in apart)
    assert all(each.isnan().all() and each.dtype == torch.float32 for each in apart)
    assert network.start.weight.isfinite().all() and network.start.weight.dtype == torch.float32
    with blocks.reachable(), blocks.weights(0):
        held = [each.untyped_storage().nbytes() for each in network.blocks[0].parameters()]
        assert held == [4 * each.numel() for each in network.blocks[0].parameters()]
        assert network.blocks[1].first.weight.isnan().all()
    assert all(each.untyped_storage().nbytes() == 4 for each in apart)


def test_memory_layouts_come_back() -> None:
    block = Block()
    block.first = nn.Conv2d(3, 4, 3)  # type: ignore[assignment]
    network = nn.Sequential(block)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    blocks = split(network, away=True)
    blocks.begin(CPU, torch.float32)
    with blocks.reachable(), blocks.weights(0):
        assert network[0].first.weight.is_contiguous(memory_format=torch.channels_last)


def test_a_block_that_changes_its_inputs_is_refused() -> None:
    network = made(in_place=True)
    blocks = split(network)
    blocks.begin(CPU, torch.float64)
    with pytest.raises(RecipeError, match=r"blocks\.0 changes its inputs in place"), blocks.reachable():
        network(torch.ones(2, 4, dtype=torch.float64))


def test_no_block_computes_where_the_other_ranks_are_not() -> None:
    network = made()
    blocks = split(network)
    blocks.begin(CPU, torch.float64)
    with pytest.raises(RuntimeError, match="used where the other ranks are not"):
        network(torch.ones(2, 4, dtype=torch.float64))
    with blocks.reachable():
        loss = network(torch.ones(2, 4, dtype=torch.float64))
    with pytest.raises(RuntimeError, match="used where the other ranks are not"):
        loss.backward()


def test_a_frozen_block_computes_once() -> None:
    network = made()
    calls: list[int] = []
    network.blocks[0].first.register_forward_hook(lambda *_: calls.append(1))
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(not name.startswith(("start", "blocks.0", "scale")))
    blocks = split(network)
    blocks.begin(CPU, torch.float64)
    with blocks.reachable():
        network(torch.ones(2, 4, dtype=torch.float64)).backward()
    assert len(calls) == 2  # the layer is called twice by the block
    assert network.blocks[0].first.weight.grad is None and network.blocks[1].first.weight.grad is not None


def test_the_largest_part_of_a_plan() -> None:
    network = made()
    shards = largest_shard(network, 2, Sharding.WEIGHTS)
    assert shards.apart == split(network).names and shards.blocks is None
    assert not largest_shard(network, 2).apart and not largest_shard(network, 2, Sharding.NOTHING).split
