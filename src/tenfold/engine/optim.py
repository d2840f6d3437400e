"""Optimizers by name, their parameter groups and rates, and averaged weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from jaxtyping import Shaped
from timm.optim.lamb import Lamb
from timm.optim.lion import Lion
from torch import Tensor, nn

from tenfold.engine.offload import OffloadedOptimizer, host_copy, in_pieces, on_device
from tenfold.engine.shards import UNSPLIT, Shards
from tenfold.nn.network import Network, describe_layers
from tenfold.recipe import Recipe

Groups = list[dict[str, Any]]

#: The optimizers of `Recipe.optimizer`. A recipe's `clip_norm` clips for all of them.
OPTIMIZERS: Mapping[str, Callable[[Groups, Recipe], torch.optim.Optimizer]] = {
    # Loshchilov and Hutter 2019, arXiv 1711.05101, algorithm 2.
    "adamw": lambda groups, recipe: torch.optim.AdamW(groups, betas=(0.9, 0.99), eps=1e-8),
    # Kingma and Ba 2015, arXiv 1412.6980; its weight decay is added to the gradient.
    "adam": lambda groups, recipe: torch.optim.Adam(groups, betas=(0.9, 0.999), eps=1e-8),
    # Nesterov's momentum: Sutskever, Martens, Dahl and Hinton 2013.
    "sgd": lambda groups, recipe: torch.optim.SGD(
        groups, momentum=recipe.momentum, nesterov=recipe.momentum > 0
    ),
    # You et al. 2020, arXiv 1904.00962.
    "lamb": lambda groups, recipe: Lamb(groups, max_grad_norm=None),
    # Chen et al. 2023, arXiv 2302.06675.
    "lion": lambda groups, recipe: Lion(groups, betas=(0.9, 0.99)),
}
#: Rate of learnt task weights as a multiple of the head's.
TASK_RATE = 10.0


def parameter_groups(network: Network, recipe: Recipe, *, part: str) -> Groups:
    """The trained parameters by rate and weight decay, which biases and norms do not have.

    part: ``head`` trains the last layers only; ``all`` trains everything, with the body's rates lower.
    Each group carries its highest rate as ``peak_lr``; the schedule multiplies it.
    """
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    parameters = dict(network.named_parameters())
    for layer in describe_layers(network):
        if layer.part == "body" and (part == "head" or recipe.body_lr == 0):
            continue
        # A handful of numbers that should follow the losses, which fall fast at first.
        rate = recipe.lr * (TASK_RATE if layer.name == "log_variances" else 1.0)
        if layer.part == "body":
            rate *= recipe.body_lr * recipe.layer_decay ** (layer.count - 1 - layer.number)
        groups.setdefault((rate, layer.decays), []).append(parameters[layer.name])
    return [
        {
            "params": members,
            "lr": rate,
            "peak_lr": rate,
            "weight_decay": recipe.weight_decay if decays else 0.0,
        }
        for (rate, decays), members in groups.items()
    ]


def build_optimizer(
    network: Network, recipe: Recipe, *, part: str, shards: Shards = UNSPLIT, offload: bool = False
) -> torch.optim.Optimizer:
    """The recipe's optimizer of `parameter_groups`, and of what this rank keeps of them; gradients of all
    others are off. A group of which it keeps nothing stays, empty: the schedule and LAMB count by group.
    offload: its state rests in the host's memory.
    """
    groups = parameter_groups(network, recipe, part=part)
    trained = {id(parameter) for group in groups for parameter in group["params"]}
    for parameter in network.parameters():
        parameter.requires_grad_(id(parameter) in trained)
    kept = {id(parameter) for parameter in shards.own(dict(network.named_parameters())).values()}
    for group in groups:
        group["params"] = [parameter for parameter in group["params"] if id(parameter) in kept]
    optimizer = OPTIMIZERS[recipe.optimizer](groups, recipe)
    return OffloadedOptimizer(optimizer) if offload else optimizer


def set_rate(optimizer: torch.optim.Optimizer, fraction: float) -> float:
    """Set every group's rate to a fraction of its highest; returns the highest of them."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * fraction
    return max(group["lr"] for group in optimizer.param_groups)


class AveragedWeights:
    """Exponential moving average of all weights and statistics, per optimizer step.

    The decay starts low and grows to `decay`, so that the first steps' weights are forgotten.
    shards: which of them this rank keeps.  offload: they rest in the host's memory.
    """

    def __init__(
        self, network: nn.Module, decay: float, shards: Shards = UNSPLIT, *, offload: bool = False
    ) -> None:
        self.decay, self.shards, self.offload = decay, shards, offload
        self.restart(network)

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take in the weights after optimizer step `step` (0 is the first)."""
        part = 1 - min(self.decay, (1 + step) / (10 + step))
        live = network.state_dict()
        averaged, fresh, counters, counts = [], [], [], []
        for name, value in self.state.items():
            into, taken = (averaged, fresh) if value.is_floating_point() else (counters, counts)
            into.append(value)
            taken.append(live[name])
        for piece in in_pieces(averaged) if self.offload else [slice(None)] if averaged else []:
            into = averaged[piece]
            with on_device(into, fresh[0].device) if self.offload else nullcontext(into) as there:
                torch._foreach_lerp_(there, fresh[piece], part)  # pyright: ignore[reportPrivateImportUsage]
        if counters:
            torch._foreach_copy_(counters, counts)  # pyright: ignore[reportPrivateImportUsage]

    def restart(self, network: nn.Module) -> None:
        """Begin again from the weights that a network holds."""
        self.state = self.own(network)

    def own(self, network: nn.Module) -> dict[str, Shaped[Tensor, " ..."]]:
        """A copy of what a network holds of those that this rank keeps, where they rest."""
        own = self.shards.own(network.state_dict())
        copied = host_copy if self.offload else torch.clone
        return {name: copied(value.detach()) for name, value in own.items()}

    @torch.no_grad()
    def take_buffers(self, network: nn.Module) -> None:
        """Keep the statistics of a network that holds the averaged weights."""
        for name, value in network.named_buffers():
            if name in self.state:
                self.state[name].copy_(value)


@contextmanager
def swapped_weights(network: nn.Module, averaged: AveragedWeights | None) -> Iterator[None]:
    """Within the block the network holds the averaged weights; afterwards its own again."""
    if averaged is None:
        yield
        return
    shards = averaged.shards
    own = averaged.own(network)
    shards.fill(network, averaged.state)
    back = not shards.split
    try:
        yield
        back = True  # after an error the other ranks are elsewhere: to wait for them would never end
    finally:
        if back:
            shards.fill(network, own)


def clip_gradients(parameters: list[nn.Parameter], most: float, shards: Shards = UNSPLIT) -> float:
    """Scale all gradients so that their common norm, over all ranks, is at most `most`; returns the norm
    before. parameters: those that this rank keeps."""
    most = most if most > 0 else math.inf
    if not shards.split:
        return float(nn.utils.clip_grad_norm_(parameters, most))
    own = nn.utils.get_total_norm([each.grad for each in parameters if each.grad is not None])
    ranks = shards.ranks
    norms = ranks.add(float(own) if number == ranks.number else 0.0 for number in range(ranks.count))
    norm = math.hypot(*norms)
    nn.utils.clip_grads_with_norm_(parameters, most, own.new_tensor(norm))
    return norm
