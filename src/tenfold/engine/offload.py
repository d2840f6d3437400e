"""The optimizer's state and the averaged weights in the host's memory, where a device's own is scarce.

Both are used once a step. They come to the device piece by piece, are updated there, and go back: the
arithmetic is the device's own, and the weights are the same to the bit as without. (ZeRO-Offload, Ren and
others 2021, arXiv 2101.06840, updates on the host's processor, which rounds otherwise.)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor

from tenfold.memory.cards import MIB

#: Bytes of parameters that are updated together; a larger parameter is updated alone.
PIECE_BYTES = 64 * MIB
#: A smaller tensor stays on the device: its way there takes longer than its memory is worth.
LEAST_BYTES = 1 << 18


def host_copy(tensor: Shaped[Tensor, " ..."]) -> Shaped[Tensor, " ..."]:
    """A copy in the host's memory, pinned for a GPU; of a small tensor on its own device."""
    value = tensor.detach()
    if not is_offloaded(value):
        return value.clone()
    # The fake tensors of a plan have no memory to pin.
    pinned = value.is_cuda and type(value) is Tensor
    return torch.empty_like(value, device="cpu", pin_memory=pinned).copy_(value)


def is_offloaded(value: object) -> bool:
    """Whether this is a tensor that is worth its way to the host's memory."""
    return isinstance(value, Tensor) and value.nbytes >= LEAST_BYTES


def in_pieces(tensors: Sequence[Shaped[Tensor, " ..."]]) -> Iterator[slice]:
    """Which of the tensors, in their order, are updated together."""
    start = held = 0
    for number, tensor in enumerate(tensors):
        if number > start and held + tensor.nbytes > PIECE_BYTES:
            yield slice(start, number)
            start = number
            held = 0
        held += tensor.nbytes
    if start < len(tensors):
        yield slice(start, len(tensors))


@contextmanager
def on_device(
    tensors: Sequence[Shaped[Tensor, " ..."]], device: torch.device
) -> Iterator[list[Shaped[Tensor, " ..."]]]:
    """Copies, on a device, of tensors that `host_copy` made; what the block does to them is kept."""
    there = [_arrived(each, device) for each in tensors]
    yield there
    for kept, value in zip(tensors, there, strict=True):
        if value is not kept:
            kept.copy_(value)


def _arrived(value: Any, device: torch.device) -> Any:
    return value.to(device, copy=True, non_blocking=True) if is_offloaded(value) else value


class OffloadedOptimizer(torch.optim.Optimizer):
    """An optimizer whose state rests in the host's memory between updates.

    optimizer: updates each piece. The groups are its own; the state is kept here.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        super().__init__(optimizer.param_groups, optimizer.defaults)
        self._optimizer = optimizer

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Update all parameters that have a gradient, piece by piece."""
        for group in self.param_groups:
            moved = [parameter for parameter in group["params"] if parameter.grad is not None]
            # A group without any is counted, too.
            pieces = list(in_pieces(moved)) or [slice(0)]
            counted = [self._update(group, moved[piece]) for piece in pieces]
            group.update(counted[-1])

    def _update(self, group: dict[str, Any], piece: list[torch.nn.Parameter]) -> dict[str, Any]:
        """Update some parameters of a group; returns what the optimizer counts by group."""
        own = {name: value.clone() if isinstance(value, Tensor) else value for name, value in group.items()}
        self._optimizer.param_groups = [{**own, "params": piece}]
        self._optimizer.state = defaultdict(dict)
        for parameter in piece:
            there = {slot: _arrived(value, parameter.device) for slot, value in self.state[parameter].items()}
            self._optimizer.state[parameter] = there
        self._optimizer.step()
        for parameter in piece:
            kept = self.state[parameter]
            for slot, value in self._optimizer.state[parameter].items():
                if is_offloaded(value) and slot in kept:
                    kept[slot].copy_(value)
                else:
                    kept[slot] = host_copy(value) if is_offloaded(value) else value
        after = self._optimizer.param_groups[0]
        return {"step": after["step"]} if "step" in after else {}

    def largest_piece(self) -> list[Shaped[Tensor, " ..."]]:
        """The parameters that need most memory while they are updated."""
        moved = [[p for p in group["params"] if p.grad is not None] for group in self.param_groups]
        pieces = [some[piece] for some in moved for piece in in_pieces(some)]
        return max(pieces, key=lambda piece: sum(each.nbytes for each in piece), default=[])
