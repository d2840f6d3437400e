"""Blocks of a network whose weights rest with their keepers, and are brought together while a block computes.

Of each parameter of a block one rank, its keeper, has the values; on the others something without memory is
in its place. Before a block computes, its weights are sent to the ranks that ask for them; afterwards they
are dropped. A training pass keeps nothing of a block but its inputs: the backward pass asks for the weights
again, computes the block again, and sums the gradients on the keepers (stage 3 of Rajbhandari and others
2020, "ZeRO", arXiv 1910.02054; and Chen and others 2016, arXiv 1604.06174).

Ranks need not be in step. What a rank wants next it says in a *round*, in which all ranks take part: all do
their part of whatever any of them wants, and a rank that has nothing left to do takes part until no rank
wants anything. So ranks may have different numbers of micro-batches, and one alone may use the network. A
rank whose memory runs out says so in the next round, to all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten
from torch.utils.checkpoint import get_device_states, set_device_states

from tenfold.engine.device import is_out_of_memory
from tenfold.engine.ranks import Ranks
from tenfold.errors import RecipeError
from tenfold.nn.blocks import find_blocks

#: What a rank may want in a round: nothing; that all know that its memory has run out; and from `FIRST` on,
#: of each block in turn, its weights or the sum of its gradients.
IDLE, SHORT, FIRST = 0, 1, 2
_OPTIMIZER_ALONE = "leave out --shard-weights; --shard splits the optimizer alone"


def block_parameters(network: nn.Module) -> dict[str, dict[str, nn.Parameter]]:
    """Name of a block -> its parameters by their names in the network; a tied one has all of its names.

    Left out are parameters that are tied to one outside of the block, and what is in no block.
    Raises RecipeError for a network without blocks.
    """
    # A dictionary of parts has no forward pass before which its weights could come.
    every = find_blocks(network).items()
    first = {id(block): name for name, block in every if type(block).forward is not nn.Module.forward}
    named = network.named_modules(remove_duplicate=False)
    blocks = {name: first[id(module)] for name, module in named if id(module) in first}
    found: dict[int, set[str]] = {}
    inside: list[tuple[str, str, nn.Parameter]] = []
    for name, parameter in network.named_parameters(remove_duplicate=False):
        parts = name.split(".")
        paths = (".".join(parts[:end]) for end in range(1, len(parts)))
        block = next((blocks[path] for path in paths if path in blocks), "")
        found.setdefault(id(parameter), set()).add(block)
        inside.append((block, name, parameter))
    kept: dict[str, dict[str, nn.Parameter]] = {}
    for block, name, parameter in inside:
        if block and len(found[id(parameter)]) == 1:
            kept.setdefault(block, {})[name] = parameter
    if not kept:
        raise RecipeError(
            "this network has no blocks whose weights could be split",
            found="no list of parts with several layers of weights each",
            fix=_OPTIMIZER_ALONE,
        )
    return kept


@dataclass(frozen=True)
class _Away:
    """A parameter that another rank keeps. size, stride: of its values."""

    parameter: nn.Parameter
    size: torch.Size
    stride: tuple[int, ...]

    def bring(self, device: torch.device) -> None:
        """Give it memory for its values."""
        dtype = self.parameter.dtype
        self.parameter.data = torch.empty_strided(self.size, self.stride, dtype=dtype, device=device)


def _placeholder(
    tensor: Shaped[Tensor, "*any"], dtype: torch.dtype, device: torch.device
) -> Shaped[Tensor, "*any"]:
    # Of its shape, without its memory; and whoever reads it by mistake sees it.
    return torch.full((), torch.nan, dtype=dtype, device=device).expand(tensor.shape)


@dataclass(frozen=True)
class _Block:
    name: str
    module: nn.Module
    parameters: list[nn.Parameter]
    keepers: list[int]
    away: list[_Away]
    #: The forward pass of its class.
    compute: Callable[..., Any]


class SplitBlocks:
    """The blocks of a network whose weights and gradients are split over the ranks.

    keepers: name of a parameter -> number of the rank that keeps it.
    names: of the parameters that are split.
    Raises RecipeError for a network without blocks.
    """

    def __init__(self, network: nn.Module, ranks: Ranks, keepers: Mapping[str, int]) -> None:
        found = block_parameters(network)
        self.names = frozenset(name for block in found.values() for name in block)
        self._ranks, self._network = ranks, network
        # Whether all ranks take part in rounds now, and whether all know that memory has run out.
        self._open = self._told = False
        self._device = torch.device("cpu")
        modules = dict(network.named_modules())
        self._blocks: list[_Block] = []
        for block, named in found.items():
            own = {id(parameter): keepers[name] for name, parameter in named.items()}
            each = list({id(parameter): parameter for parameter in named.values()}.values())
            away = [_Away(p, p.shape, p.stride()) for p in each if own[id(p)] != ranks.number]
            module = modules[block]
            held = each, [own[id(p)] for p in each], away
            self._blocks.append(_Block(block, module, *held, module.forward))

    def begin(self, device: torch.device, dtype: torch.dtype) -> None:
        """Move the network to a device, without the weights that others keep."""
        self._device = device
        away = {id(each.parameter) for block in self._blocks for each in block.away}

        def moved(tensor: Shaped[Tensor, "*any"]) -> Shaped[Tensor, "*any"]:
            kind = dtype if tensor.is_floating_point() else tensor.dtype
            held = id(tensor) in away
            return _placeholder(tensor, kind, device) if held else tensor.to(device=device, dtype=kind)

        self._network._apply(moved)
        self._ranks.reserve([parameter for block in self._blocks for parameter in block.parameters])
        for number, block in enumerate(self._blocks):
            block.module.forward = _Forward(self, number)

    @torch.no_grad()
    def end(self) -> None:
        """Move the network to the CPU, whole on every rank."""
        for block in self._blocks:
            for each in block.away:
                each.bring(torch.device("cpu"))
            self._ranks.share([each.detach() for each in block.parameters], block.keepers)
            del block.module.forward
        self._network.to("cpu")

    @contextmanager
    def reachable(self) -> Iterator[None]:
        """A block in which every rank may use the network, as often as it likes or not at all. All ranks
        enter it, and none leaves it before the others; they say nothing else to each other within it.

        Raises torch.OutOfMemoryError on all ranks where memory runs out on one of them.
        """
        self._open, self._told = True, False
        try:
            yield
            while any(self._round(IDLE)):
                pass
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if is_out_of_memory(error) and not self._told:
                with suppress(torch.OutOfMemoryError):
                    self._round(SHORT)
            raise
        finally:
            self._open = False

    def _round(self, wish: int) -> list[int]:
        """Say what this rank wants, and do this rank's part of what all want; returns their wishes."""
        ranks = self._ranks
        if not self._open:
            raise RuntimeError("a network whose weights are split is used where the other ranks are not")
        told = ranks.add(float(wish) if number == ranks.number else 0.0 for number in range(ranks.count))
        wishes = list(map(int, told))
        if SHORT in wishes:
            self._told = True
            short = ", ".join(str(number) for number, each in enumerate(wishes) if each == SHORT)
            raise torch.OutOfMemoryError(f"memory ran out on rank {short}")
        for each in sorted({*wishes} - {IDLE}):
            number, sums = divmod(each - FIRST, 2)
            block = self._blocks[number]
            if sums:
                self._add_gradients(block)
            else:
                tensors = [parameter.detach() for parameter in block.parameters]
                ranks.share(tensors, block.keepers, take=each == wish)
        return wishes

    def _add_gradients(self, block: _Block) -> None:
        pairs = zip(block.parameters, block.keepers, strict=True)
        trained = [(parameter, keeper) for parameter, keeper in pairs if parameter.requires_grad]
        try:
            self._ranks.add_gradients([p for p, _ in trained], [keeper for _, keeper in trained])
        except (torch.OutOfMemoryError, RuntimeError) as error:
            self._told = is_out_of_memory(error)
            raise

    @contextmanager
    def weights(self, number: int) -> Iterator[Callable[..., Any]]:
        """The forward pass of a block, while all of its weights are here."""
        block = self._blocks[number]
        placeholders = [each.parameter.data for each in block.away]
        try:
            for each in block.away:
                each.bring(self._device)
            self._round(FIRST + 2 * number)
            yield block.compute
        finally:
            for each, placeholder in zip(block.away, placeholders, strict=True):
                each.parameter.data = placeholder

    def sum_gradients(self, number: int) -> None:
        """Add the gradients of a block to those that its keepers have, and drop what others keep."""
        self._round(FIRST + 2 * number + 1)

    def is_trained(self, number: int) -> bool:
        """Whether a parameter of a block is."""
        return any(parameter.requires_grad for parameter in self._blocks[number].parameters)

    def name_of(self, number: int) -> str:
        """The block's name in the network."""
        return self._blocks[number].name


@dataclass(frozen=True)
class _Autocast:
    """The half precision of a forward pass, for the same one later. A copy of a weight would outlive it."""

    kind: str
    dtype: torch.dtype
    enabled: bool

    @classmethod
    def now(cls, kind: str) -> _Autocast:
        return cls(kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind))

    def again(self) -> torch.autocast:
        return torch.autocast(self.kind, self.dtype, enabled=self.enabled, cache_enabled=False)


class _Forward:
    """In place of a block's forward pass: with its weights brought here, which are dropped after it."""

    def __init__(self, blocks: SplitBlocks, number: int) -> None:
        self.blocks, self.number = blocks, number

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """What the block returns."""
        leaves, form = tree_flatten((inputs, options))
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        call = _Call(self.blocks, self.number, leaves, form, _Autocast.now(self.blocks._device.type))
        trained = self.blocks.is_trained(self.number) or any(each.requires_grad for each in tensors)
        if not (torch.is_grad_enabled() and trained):
            return call.run(tensors)
        # A gradient flows through, whether that of the inputs is wanted or not.
        flag = torch.zeros((), device=self.blocks._device, requires_grad=True)
        out = _Recomputed.apply(call, flag, *tensors)
        return tree_unflatten(list(out), call.out_form)


class _Call:
    """A call of a block. leaves, form: its arguments, as a tree."""

    out_form: TreeSpec

    def __init__(
        self, blocks: SplitBlocks, number: int, leaves: list[Any], form: TreeSpec, autocast: _Autocast
    ) -> None:
        self.blocks, self.number, self.autocast = blocks, number, autocast
        # Tensors are given again: autograd keeps them, if anyone.
        self._leaves = [None if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        self._places = [index for index, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
        self._form = form

    def run(self, tensors: Sequence[Shaped[Tensor, " ..."]]) -> Any:
        """What the block returns; its weights come and go."""
        with self.blocks.weights(self.number) as compute:
            return self.compute(compute, tensors)

    def compute(self, compute: Callable[..., Any], tensors: Sequence[Shaped[Tensor, " ..."]]) -> Any:
        """What the block returns, its weights being here."""
        leaves = list(self._leaves)
        for place, tensor in zip(self._places, tensors, strict=True):
            leaves[place] = tensor
        inputs, options = tree_unflatten(leaves, self._form)
        with self.autocast.again():
            return compute(*inputs, **options)


class _Recomputed(torch.autograd.Function):
    """A block that is computed again, with its weights brought here again, in the backward pass."""

    @staticmethod
    def forward(ctx: Any, call: _Call, flag: Shaped[Tensor, ""], *tensors: Shaped[Tensor, " ..."]) -> Any:
        """The block's output as a flat tuple, and a form on the call."""
        ctx.call = call
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors)
        # A layer that draws from the global generators draws the same again.
        ctx.drawn = torch.get_rng_state(), *get_device_states(flag)
        versions = [tensor._version for tensor in tensors]
        out = call.run(tensors)
        if versions != [tensor._version for tensor in tensors]:
            raise RecipeError(
                f"{call.blocks.name_of(call.number)} changes its inputs in place, so that it cannot be "
                "computed again",
                fix=_OPTIMIZER_ALONE,
            )
        leaves, call.out_form = tree_flatten(out)
        return tuple(leaves)

    @staticmethod
    def backward(ctx: Any, *gradients: Shaped[Tensor, " ..."] | None) -> Any:
        """Gradients of the inputs; those of the weights are summed on their keepers."""
        call: _Call = ctx.call
        tensors = [each.detach().requires_grad_(each.requires_grad) for each in ctx.saved_tensors]
        state, devices, states = ctx.drawn
        with call.blocks.weights(call.number) as compute:
            with torch.random.fork_rng(devices), torch.enable_grad():
                torch.set_rng_state(state)
                set_device_states(devices, states)
                out = tree_flatten(call.compute(compute, tensors))[0]
            pairs = [
                (leaf, gradient)
                for leaf, gradient in zip(out, gradients, strict=True)
                if gradient is not None and isinstance(leaf, Tensor) and leaf.requires_grad
            ]
            if pairs:
                torch.autograd.backward([leaf for leaf, _ in pairs], [given for _, given in pairs])
            del out, pairs
        call.blocks.sum_gradients(call.number)
        return None, None, *(each.grad for each in tensors)
