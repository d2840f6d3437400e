"""Checkpoints: everything that decides a training's future, in a file that is whole or not there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from tenfold.engine.offload import host_copy
from tenfold.engine.optim import parameter_groups
from tenfold.engine.step import Training
from tenfold.errors import RunError
from tenfold.events import EpochEnded
from tenfold.runs.folder import RunFolder
from tenfold.values import TargetScores


@dataclass
class Progress:
    """Where a training stands. Counted in epochs and optimizer steps; random draws need nothing else,
    since every one depends on seed, epoch, step and row alone.

    epoch: epochs finished.  step: optimizer steps taken in all.  epoch_step: steps taken in this epoch.
    totals: target -> (sum of losses, steps) of this epoch so far.
    best, best_epoch: the best figure so far (see `engine.monitor`) and its epoch, -1 for none.
    skipped: updates left out because a half-precision gradient overflowed.
    statistics: rows that BatchNorm's statistics are estimated from after each epoch; 0 in trainings begun by
        a version that kept running averages, which they end with.
    linear: scores of the linear layer on frozen features that the training started from.
    """

    epoch: int = 0
    step: int = 0
    epoch_step: int = 0
    skipped: int = 0
    skipped_in_a_row: int = 0
    seconds: float = 0.0
    micro_batch: int = 0
    totals: dict[str, list[float]] = field(default_factory=dict)
    history: list[EpochEnded] = field(default_factory=list)
    best: float | None = None
    best_epoch: int = -1
    statistics: int = 0
    linear: TargetScores = field(default_factory=dict)


def save_checkpoint(
    folder: RunFolder | None,
    progress: Progress,
    training: Training,
    identity: Mapping[str, object],
    good: Mapping[str, Shaped[Tensor, " ..."]] | None = None,
    best: Mapping[str, Shaped[Tensor, " ..."]] | None = None,
) -> None:
    """Write the state of a training; what was written before stays until this is whole.

    Where ranks keep parts of it, all of them call this, and only the first one has a folder.
    good: weights to end with if the training fails, where they are not the network's own.
    best: weights of the best epoch, where they are to be kept.
    identity: describes schema, recipe and data in JSON's types, so that another training is never
    resumed by mistake.
    """
    shards = training.shards
    if folder is None and not shards.split:
        return
    arrays = {f"network/{name}": value for name, value in shards.everything(training.network).items()}
    averaged = training.averaged.state if training.averaged is not None else {}
    for kind, weights in {"averaged": averaged, "good": good or {}, "best": best or {}}.items():
        arrays |= {f"{kind}/{name}": value for name, value in shards.whole(weights).items()}
    arrays |= training.ranks.whole(_optimizer_state(training)) if shards.split else _optimizer_state(training)
    if folder is None:
        return
    steps = group_steps(training.optimizer)
    about = {
        "progress": {**vars(progress), "history": [epoch.record() for epoch in progress.history]},
        "scaler": training.scaler.state_dict(),
        "identity": dict(identity),
        **({"group_steps": steps} if steps else {}),
    }
    folder.write_checkpoint({name: to_array(value) for name, value in arrays.items()}, about)


def spread_checkpoint(kept: Unfinished, training: Training) -> Unfinished:
    """The checkpoint with the arrays that this rank's training needs, which the first rank has read.

    kept: on the other ranks, without arrays.
    """
    numbers = {str(number) for number, _ in _numbered(training)}

    def wanted(name: str) -> bool:
        kind, _, rest = name.partition("/")
        if kind == "optimizer":
            return rest.partition("/")[0] in numbers
        return (kind == "network" and rest not in training.shards.apart) or training.shards.keeps(rest)

    return replace(kept, arrays=training.ranks.spread(kept.arrays, wanted))


def _optimizer_state(training: Training) -> dict[str, Shaped[Tensor, " ..."]]:
    """What this rank keeps of the optimizer's state: ``optimizer/NUMBER/SLOT``."""
    return {
        f"optimizer/{number}/{slot}": value
        for number, parameter in _numbered(training)
        for slot, value in training.optimizer.state.get(parameter, {}).items()
        # SGD without momentum keeps a slot with nothing in it.
        if value is not None
    }


def _numbered(training: Training) -> list[tuple[int, torch.nn.Parameter]]:
    """The optimizer's parameters on this rank, each with its number among those of all ranks."""
    part = "head" if training.head_only else "all"
    groups = parameter_groups(training.network, training.recipe, part=part)
    everywhere = [id(parameter) for group in groups for parameter in group["params"]]
    number = {key: index for index, key in enumerate(everywhere)}
    kept = [parameter for group in training.optimizer.param_groups for parameter in group["params"]]
    return [(number[id(parameter)], parameter) for parameter in kept]


@dataclass(frozen=True)
class Unfinished:
    """The state of a training that was stopped.

    arrays: as `save_checkpoint` names them.  scaler: the gradient scaler's state.
    group_steps: see `group_steps`.
    checked: whether it has a sum, and so is known to be as it was written.
    """

    progress: Progress
    arrays: dict[str, Shaped[np.ndarray, " ..."]]
    scaler: dict[str, Any]
    checked: bool
    group_steps: Sequence[float] = ()


def peek_checkpoint(folder: RunFolder, identity: Mapping[str, object]) -> Unfinished | None:
    """Return the state of the unfinished training in a folder, if there is one.

    Raises RunError where it is damaged, or belongs to another training, with what differs.
    """
    kept = folder.read_checkpoint(identity, "training")
    if kept is None:
        return None
    try:
        about, steps = dict(kept.about["progress"]), tuple(kept.about.get("group_steps", ()))
        progress = Progress(history=_epochs(about.pop("history")), **about)
        return Unfinished(progress, kept.arrays, dict(kept.about["scaler"]), kept.checked, steps)
    except (KeyError, TypeError, ValueError):
        raise damaged_checkpoint(folder.final, "it does not say how far the training has come") from None


def _epochs(records: Sequence[Mapping[str, Any]]) -> list[EpochEnded]:
    """The epochs of a checkpoint. The first version did not keep how many steps and updates each had."""
    epochs, steps, skipped = [], 0, 0
    for record in records:
        taken, left_out = record["steps"] - steps, record["skipped"] - skipped
        epochs.append(EpochEnded(**{"epoch_steps": taken, "updates": taken - left_out, **record}))
        steps, skipped = record["steps"], record["skipped"]
    return epochs


def damaged_checkpoint(run: object, why: str) -> RunError:
    """Return the error for a checkpoint that cannot be resumed."""
    return RunError(
        f"the checkpoint of {run} is damaged", problems=[why], fix="leave --resume out to start anew"
    )


def group_steps(optimizer: torch.optim.Optimizer) -> list[float]:
    """The step counter of each group, where the optimizer counts by group, as LAMB does; else nothing."""
    return [float(group["step"]) for group in optimizer.param_groups if "step" in group]


def restore_checkpoint(kept: Unfinished, training: Training, *, without_optimizer: bool) -> None:
    """Fill network, averaged weights, scaler and optimizer as `save_checkpoint` left them."""
    weights = tensors_under(kept.arrays, "network/")
    if training.shards.apart:
        training.shards.fill(training.network, weights)
    else:
        training.network.load_state_dict(weights, strict=True)
    if training.averaged is not None:
        for name, value in training.shards.own(tensors_under(kept.arrays, "averaged/")).items():
            training.averaged.state[name].copy_(value)
    training.scaler.load_state_dict(kept.scaler)
    if not without_optimizer:
        _restore_optimizer(training, kept)


def _restore_optimizer(training: Training, kept: Unfinished) -> None:
    optimizer = training.optimizer
    slots: dict[int, dict[str, Shaped[Tensor, " ..."]]] = {}
    for key, value in tensors_under(kept.arrays, "optimizer/").items():
        number, slot = key.split("/")
        slots.setdefault(int(number), {})[slot] = value
    for number, parameter in _numbered(training):
        state = {}
        for slot, value in slots.get(number, {}).items():
            if slot == "step":
                state[slot] = value  # counted on the CPU
                continue
            if value.shape != parameter.shape:
                raise ValueError(f"{slot} of parameter {number} has another shape")
            # Memory layout follows the parameter, as in a training that was never stopped.
            value = torch.empty_like(parameter, device="cpu").copy_(value)
            there = value.to(parameter.device)
            state[slot] = host_copy(there) if training.offload else there
        if state:
            optimizer.state[parameter] = state
    for group, step in zip(optimizer.param_groups, kept.group_steps, strict=False):
        group["step"] = torch.tensor(step)


def to_array(value: Shaped[Tensor, "*any"]) -> Shaped[np.ndarray, "*any"]:
    """A tensor as a contiguous array on the CPU."""
    return value.detach().cpu().contiguous().numpy()


def tensors_under(
    arrays: Mapping[str, Shaped[np.ndarray, " ..."]], prefix: str
) -> dict[str, Shaped[Tensor, " ..."]]:
    """The arrays whose names start with `prefix`, as tensors, by the rest of their names."""
    return {
        name.removeprefix(prefix): torch.from_numpy(np.array(value))
        for name, value in arrays.items()
        if name.startswith(prefix)
    }
