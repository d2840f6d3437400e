"""Which rank keeps what of a training whose optimizer is split over the ranks.

The optimizer's state, the averaged weights and the copies of the best ones are kept by one rank a parameter.
Every rank has the whole weights, and while a step runs its whole gradients: they are summed once a step, on
the rank that keeps the parameter, which updates it and gives it to the others (stage 2 of Rajbhandari and
others 2020, "ZeRO", arXiv 1910.02054, with the sum at the end of the step). No rank waits for another within
its forward and backward passes, so that each may cut its part of a batch as it likes, and memory that runs
out on one of them can be agreed on. PyTorch's FSDP2 gathers weights layer by layer: there, ranks with
different numbers of micro-batches, or one that runs out of memory, leave the others waiting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from jaxtyping import Shaped
from torch import Tensor, nn

from tenfold.engine.ranks import ONE_RANK, Ranks

Value = TypeVar("Value")


@dataclass(frozen=True)
class Shards:
    """Which rank keeps each parameter's part of the optimizer; without keepers every rank keeps all.

    keepers: name of a parameter -> number of a rank. What is not named, as buffers, all of them keep.
    number: of this rank.
    """

    ranks: Ranks = ONE_RANK
    keepers: Mapping[str, int] = field(default_factory=dict)
    number: int = 0

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

    def trained(self, network: nn.Module) -> tuple[list[nn.Parameter], list[int]]:
        """The parameters that are trained, and the keeper of each; no keepers where all keep all."""
        named = [(name, each) for name, each in network.named_parameters() if each.requires_grad]
        return [each for _, each in named], [self.keepers[name] for name, _ in named if self.split]

    def share(self, network: nn.Module, *, trained: bool = False) -> None:
        """Fill the network's parameters with those of their keepers. trained: only those that are trained."""
        if self.split:
            named = [(name, p) for name, p in network.named_parameters() if p.requires_grad or not trained]
            self.ranks.share([p.detach() for _, p in named], [self.keepers[name] for name, _ in named])

    def fill(self, network: nn.Module, weights: Mapping[str, Shaped[Tensor, " ..."]]) -> None:
        """Load weights, of which each rank has those that it keeps, into every rank's network."""
        if not self.split:
            network.load_state_dict(weights)
            return
        there = network.state_dict()
        for name, value in weights.items():
            there[name].copy_(value)
        self.share(network)


#: Every rank keeps everything.
UNSPLIT = Shards()


def split_parameters(network: nn.Module, ranks: Ranks) -> Shards:
    """Share out the parameters, the largest first, each to the rank that has the least so far.

    A parameter is not cut: optimizers that look at a whole one, as LAMB does, find it whole.
    """
    if ranks.count == 1:
        return UNSPLIT
    return Shards(ranks, keepers_of(network, ranks.count), ranks.number)


def keepers_of(network: nn.Module, count: int) -> dict[str, int]:
    """Name of a parameter -> which of `count` ranks keeps it; a tied one has all of its names."""
    loads, keeper = [0] * count, {}
    for parameter in sorted(network.parameters(), key=lambda each: -each.numel()):
        least = loads.index(min(loads))
        loads[least] += parameter.numel()
        keeper[id(parameter)] = least
    named = network.named_parameters(remove_duplicate=False)
    return {name: keeper[id(parameter)] for name, parameter in named}


def largest_shard(network: nn.Module, count: int) -> Shards:
    """The part of the rank that keeps the most, without the other ranks: for a plan."""
    keepers = keepers_of(network, count)
    loads: Sequence[int] = [
        sum(p.numel() for name, p in network.named_parameters() if keepers[name] == number)
        for number in range(count)
    ]
    return Shards(ONE_RANK, keepers, loads.index(max(loads)))
