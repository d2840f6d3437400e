"""Taking an update back that ran out of memory half-way.

A forward or backward pass changes nothing that a retry could not drop. An optimizer that asks for scratch
memory between two parameters does: some have moved, some have not. So a copy of what it changes is kept,
in the host's memory, where memory is scarce. Hundreds of copies from a GPU take longer than a small
network's step, so they are made where they may be needed and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from jaxtyping import Shaped
from torch import Tensor

from tenfold.engine.offload import OffloadedOptimizer
from tenfold.memory.cards import MIB

Value = TypeVar("Value")

#: On a CPU a copy up to this size is always kept: it is made in a few milliseconds.
SMALL_COPY = 64 * MIB
#: An update of this many times the parameters' bytes is taken to need scratch memory: PyTorch's foreach
#: AdamW holds one temporary of all parameters of a group, and a second while it divides.
SCRATCH = 2
#: Tensors of a parameter's size in an optimizer's state, at most.
STATES = 2


class Undo:
    """What an optimizer was about to change; `take_back` puts it there again."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = optimizer
        self._parameters = [
            (parameter, parameter.detach().to("cpu", copy=True)) for parameter in _moved(optimizer)
        ]
        self._states = {
            parameter: {name: _copied(value) for name, value in optimizer.state[parameter].items()}
            for parameter, _ in self._parameters
            if parameter in optimizer.state
        }
        self._steps = [_copied(group.get("step")) for group in optimizer.param_groups]

    @torch.no_grad()
    def take_back(self) -> None:
        """Parameters and the optimizer's state as they were. Allocates nothing on the device."""
        for group, step in zip(self._optimizer.param_groups, self._steps, strict=True):
            group.pop("step", None)
            group.update({} if step is None else {"step": step})
        for parameter, value in self._parameters:
            parameter.copy_(value)
            if parameter not in self._states:
                self._optimizer.state.pop(parameter, None)
                continue
            state = self._optimizer.state[parameter]
            for name, kept in self._states[parameter].items():
                if isinstance(kept, Tensor):
                    state[name].copy_(kept)
                else:
                    state[name] = kept


def keep_undo(optimizer: torch.optim.Optimizer, agreed: Callable[[bool], bool] = bool) -> Undo | None:
    """A copy for `Undo` where the update may run out of memory; else None.

    On a GPU: where less is free than the update takes. On a CPU, where nobody can tell: where it is small.
    agreed: whether any of the processes that share the training needs a copy, so that all keep one.
    """
    return Undo(optimizer) if agreed(_may_run_short(optimizer)) else None


def _may_run_short(optimizer: torch.optim.Optimizer) -> bool:
    moved = _moved(optimizer)
    if moved and moved[0].device.type == "cuda":
        if isinstance(optimizer, OffloadedOptimizer):
            return _is_scarce(optimizer.largest_piece(), SCRATCH + STATES)
        return _is_scarce(moved, SCRATCH)
    changed = sum(_bytes(p) + sum(map(_bytes, optimizer.state.get(p, {}).values())) for p in moved)
    return changed <= SMALL_COPY


def _is_scarce(moved: list[Shaped[Tensor, " ..."]], times: int) -> bool:
    device = moved[0].device
    free, _ = torch.cuda.mem_get_info(device)
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return free < times * sum(map(_bytes, moved))


def _moved(optimizer: torch.optim.Optimizer) -> list[Shaped[Tensor, " ..."]]:
    return [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]


def _bytes(value: object) -> int:
    return value.nbytes if isinstance(value, Tensor) else 0


def _copied(value: Value) -> Value | Shaped[Tensor, " ..."]:
    return value.detach().to("cpu", copy=True) if isinstance(value, Tensor) else value
