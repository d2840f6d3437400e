"""Blocks of a network whose activations are computed again in the backward pass, each for itself.

Recomputing (Chen et al. 2016, arXiv 1604.06174) trades time for memory. Blocks differ in what they save per
second, so that some of them may be enough. Outputs and gradients stay the same.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def find_blocks(network: nn.Module) -> dict[str, nn.Module]:
    """The innermost parts with several layers of weights that stand in a list, by their names: residual
    blocks, layers of a transformer. Where there is no list, those with a neighbour of their class."""
    return _listed(network, "", in_list=False, alike=False) or _listed(network, "", in_list=False, alike=True)


def _listed(module: nn.Module, path: str, *, in_list: bool, alike: bool) -> dict[str, nn.Module]:
    found: dict[str, nn.Module] = {}
    children = dict(module.named_children())
    kinds = [type(child) for child in children.values()]
    is_list = isinstance(module, nn.Sequential | nn.ModuleList)
    for name, child in children.items():
        counts = is_list or (alike and kinds.count(type(child)) > 1)
        found |= _listed(child, f"{path}.{name}" if path else name, in_list=counts, alike=alike)
    if found or is_list or not in_list or not children:
        return found
    return {path: module} if sum(weight.ndim > 1 for weight in module.parameters()) > 1 else {}


class RecomputedBlock(nn.Module):
    """Mixed into a block of any class: its activations are computed again while it is trained."""

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """What the block's own class returns."""
        if not (self.training and torch.is_grad_enabled()):
            return super().forward(*inputs, **options)
        return checkpoint(super().forward, *inputs, use_reentrant=False, **options)


def recompute_blocks(network: nn.Module, names: Collection[str]) -> None:
    """Compute the activations of these blocks again, and keep those of all others.

    Raises KeyError for a name that is not a block's.
    """
    blocks = find_blocks(network)
    for name in names:
        blocks[name]
    for name, block in blocks.items():
        kind = type(block)
        if name in names and not isinstance(block, RecomputedBlock):
            block.__class__ = _recomputed(kind)
        elif name not in names and isinstance(block, RecomputedBlock):
            block.__class__ = kind.__mro__[2]


@cache
def _recomputed(kind: type[nn.Module]) -> type[nn.Module]:
    # The mixin comes first: its forward wraps the block's own.
    return type(f"Recomputed{kind.__name__}", (RecomputedBlock, kind), {})
