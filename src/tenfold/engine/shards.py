"""Which rank keeps what of a training whose optimizer, or weights too, are split over the ranks.

The optimizer's state, the averaged weights and the copies of the best ones are kept by one rank a parameter.
With the optimizer split alone, every rank has the whole weights, and while a step runs its whole gradients:
they are summed once a step, on the rank that keeps the parameter, which updates it and gives it to the others
(stage 2 of Rajbhandari and others 2020, "ZeRO", arXiv 1910.02054, with the sum at the end of the step). No
rank waits for another within its forward and backward passes.

The weights and gradients of blocks can be split, too: `engine.gather` brings them together block by block.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from tenfold.engine.gather import SplitBlocks, block_parameters
from tenfold.engine.ranks import ONE_RANK, Ranks
from tenfold.values import Sharding

Value = TypeVar("Value")


@dataclass(frozen=True)
class Shards:
    """Which rank keeps each parameter's part of the optimizer; without keepers every rank keeps all.

    keepers: name of a parameter -> number of a rank. What is not named, as buffers, all of them keep.
    number: of this rank.
    apart: names of parameters whose values the keeper alone has, and the others while a block computes.
    blocks: what brings these together.
    """

    ranks: Ranks = ONE_RANK
    keepers: Mapping[str, int] = field(default_factory=dict)
    number: int = 0
    apart: frozenset[str] = frozenset()
    blocks: SplitBlocks | None = None

    @property
    def split(self) -> bool:
        """Whether this rank keeps a part alone."""
        return bool(self.keepers)

    def keeps(self, name: str) -> bool:
        """Whether this rank keeps a parameter or buffer of that name."""
        return self.keepers.get(name, self.number) == self.number

    def own(self, weights: Mapping[str, Value]) -> dict[str, Value]:
        """Those of some weights, by name, that this rank keeps."""
        return {name: value for name, value in weights.items() if self.keeps(name)}

    def whole(self, weights: Mapping[str, Shaped[Tensor, " ..."]]) -> dict[str, Shaped[Tensor, " ..."]]:
        """On the first rank: all weights, of which each rank gives those that it keeps; elsewhere nothing."""
        if not self.split:
            return dict(weights)
        # What all keep the first one has.
        sent = {name: value for name, value in weights.items() if self.ranks.first or name in self.keepers}
        return self.ranks.whole(sent)

    def move(self, network: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
        """Move a network to a device; where weights are split, those that this rank keeps."""
        if self.blocks is None:
            network.to(device=device, dtype=dtype)
        else:
            self.blocks.begin(device, dtype)

    def leave(self) -> None:
        """Give every rank the whole network, on the CPU, where its weights were split."""
        if self.blocks is not None:
            self.blocks.end()

    def reachable(self) -> AbstractContextManager[None]:
        """A block in which a rank may use the network: all ranks enter it, even those that will not."""
        return nullcontext() if self.blocks is None else self.blocks.reachable()

    def together(self, ranks: Ranks) -> AbstractContextManager[None]:
        """As `Ranks.together`, and `reachable`."""
        return ranks.together() if self.blocks is None else self.blocks.reachable()

    def trained(self, network: nn.Module) -> tuple[list[nn.Parameter], list[int]]:
        """The trained parameters whose gradients are summed once a step, and the keeper of each; no keepers
        where all keep all."""
        named = [(name, each) for name, each in self._joint(network) if each.requires_grad]
        return [each for _, each in named], [self.keepers[name] for name, _ in named if self.split]

    def _joint(self, network: nn.Module) -> list[tuple[str, nn.Parameter]]:
        """The parameters whose values every rank has."""
        return [(name, each) for name, each in network.named_parameters() if name not in self.apart]

    def common(self, network: nn.Module) -> dict[str, Shaped[Tensor, " ..."]]:
        """Of a network's weights and statistics those that every rank has."""
        state = network.state_dict()
        return {name: value for name, value in state.items() if name not in self.apart}

    def everything(self, network: nn.Module) -> dict[str, Shaped[Tensor, " ..."]]:
        """A network's weights and statistics, all of them on the first rank."""
        state = network.state_dict()
        return self.whole(self.own(state)) if self.apart else state

    def share(self, network: nn.Module, *, trained: bool = False) -> None:
        """Fill the parameters that every rank has with those of their keepers. trained: only those that are
        trained."""
        if self.split:
            named = [(name, p) for name, p in self._joint(network) if p.requires_grad or not trained]
            self.ranks.share([p.detach() for _, p in named], [self.keepers[name] for name, _ in named])

    def fill(self, network: nn.Module, weights: Mapping[str, Shaped[Tensor, " ..."]]) -> None:
        """Load weights, of which each rank has those that it keeps at least, into every rank's network.

        Raises KeyError where one is missing.
        """
        if not self.split:
            network.load_state_dict(weights)
            return
        for name, value in self.own(network.state_dict()).items():
            value.copy_(weights[name])
        self.share(network)


#: Every rank keeps everything.
UNSPLIT = Shards()


def split_parameters(network: nn.Module, ranks: Ranks, split: Sharding = Sharding.OPTIMIZER) -> Shards:
    """Share out the parameters, the largest first, each to the rank that has the least so far.

    A parameter is not cut: optimizers that look at a whole one, as LAMB does, find it whole.
    split: what the keeper of a parameter alone has.
    Raises RecipeError where the weights of blocks are to be split, and there are none.
    """
    if ranks.count == 1 or not split:
        return UNSPLIT
    keepers = keepers_of(network, ranks.count)
    if split < Sharding.WEIGHTS:
        return Shards(ranks, keepers, ranks.number)
    blocks = SplitBlocks(network, ranks, keepers)
    return Shards(ranks, keepers, ranks.number, blocks.names, blocks)


def keepers_of(network: nn.Module, count: int) -> dict[str, int]:
    """Name of a parameter -> which of `count` ranks keeps it; a tied one has all of its names."""
    loads, keeper = [0] * count, {}
    for parameter in sorted(network.parameters(), key=lambda each: -each.numel()):
        least = loads.index(min(loads))
        loads[least] += parameter.numel()
        keeper[id(parameter)] = least
    named = network.named_parameters(remove_duplicate=False)
    return {name: keeper[id(parameter)] for name, parameter in named}


def largest_shard(network: nn.Module, count: int, split: Sharding = Sharding.OPTIMIZER) -> Shards:
    """The part of the rank that keeps the most, without the other ranks: for a plan."""
    if count == 1 or not split:
        return UNSPLIT
    keepers = keepers_of(network, count)
    loads: Sequence[int] = [
        sum(p.numel() for name, p in network.named_parameters() if keepers[name] == number)
        for number in range(count)
    ]
    blocks = block_parameters(network) if split == Sharding.WEIGHTS else {}
    apart = frozenset(name for block in blocks.values() for name in block)
    return Shards(ONE_RANK, keepers, loads.index(max(loads)), apart)
