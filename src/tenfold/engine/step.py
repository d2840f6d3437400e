"""One exact optimizer step: as many micro-batches as the plan asks for, the whole batch's gradient."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from tenfold.data.encode import Encoding
from tenfold.engine.batches import Batch, Preparation
from tenfold.engine.device import free_memory, is_out_of_memory
from tenfold.engine.loss import batch_loss
from tenfold.engine.optim import AveragedWeights, build_optimizer, clip_gradients
from tenfold.engine.predict import HALF
from tenfold.engine.ranks import ONE_RANK, Ranks
from tenfold.engine.shards import UNSPLIT, Shards
from tenfold.engine.undo import keep_undo
from tenfold.errors import MemoryBudgetError
from tenfold.nn.network import Network, uses_channels_last
from tenfold.recipe import Recipe

#: Scale of float16 gradients at first. PyTorch's own, 65,536, overflows in every step of a short training.
FIRST_SCALE = 1024.0


@dataclass
class Training:
    """What a training needs at every step.

    micro_batch: rows that go through the network at once; shrinks when memory runs out.
    head_only: backbones are kept as they are and need no gradients.
    averaged: the moving average of the weights, or None.
    ranks: the processes that share this training, each with its part of every batch.
    shards: what each of them keeps of the optimizer, and of the weights.
    offload: the optimizer's state and averaged weights rest in the host's memory.
    """

    network: Network
    recipe: Recipe
    preparation: Preparation
    precision: str
    micro_batch: int
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    head_only: bool = False
    averaged: AveragedWeights | None = None
    ranks: Ranks = ONE_RANK
    shards: Shards = UNSPLIT
    offload: bool = False
    notes: list[str] = field(default_factory=list)

    @property
    def autocast(self) -> torch.dtype | None:
        """Half-precision type of the forward pass, or None."""
        return HALF.get(self.precision)

    @property
    def group(self) -> int | None:
        """Rows to a BatchNorm group, or None where no layer mixes rows."""
        group = self.recipe.batchnorm_group
        return group if isinstance(group, int) and self.network.context.norms else None

    def weights(self) -> Mapping[str, Shaped[Tensor, " ..."]]:
        """The weights that count, the averaged ones where they are on: those that this rank keeps."""
        return self.averaged.state if self.averaged else self.shards.own(self.network.state_dict())

    def restart_scaler(self) -> None:
        """Forget how far a step had come that was thrown away; the scale stays what it was."""
        if self.scaler.is_enabled():
            state = self.scaler.state_dict()
            self.scaler = _scaler(self.preparation.device, self.shards, enabled=True)
            self.scaler.load_state_dict(state)


@dataclass(frozen=True)
class StepResult:
    """losses: target -> loss of the batch, NaN where it has no label.  norm: gradient norm before clipping.
    updated: false where half precision overflowed and the whole update was left out."""

    losses: dict[str, float]
    norm: float
    updated: bool


def train_step(training: Training, batch: Batch, step: int) -> StepResult:
    """One optimizer step on a batch, through as many micro-batches as the plan asks for.

    Each micro-batch adds its *sum* of losses divided by the *batch's* denominator, so the gradient is
    the undivided batch's (docs/memory.md). If memory runs out, nothing of the attempt is kept, the
    micro-batch is halved, and the same step is taken again from the same state and the same draws.
    batch: this rank's part of it, where several ranks share the training; it may have no row.
    """
    while True:
        try:
            result = _attempt(training, batch, step)
            break
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            message = (str(error).splitlines() or ["out of memory"])[0]
        # Out of the except block: while it is open, the error holds the frames and they the tensors.
        training.network.zero_grad(set_to_none=True)
        training.network.context.discard_statistics()
        training.restart_scaler()
        free_memory()
        cut = [len(part) for part in batch.split(training.micro_batch)]
        smallest, largest = training.ranks.most(max(batch.groups, default=0), max(cut, default=0))
        if largest <= smallest:
            raise MemoryBudgetError(
                f"memory ran out with the smallest possible micro-batch, {largest} rows",
                found=message,
                fix="a smaller image_size or batchnorm_group, --checkpoint, --offload, another architecture",
            )
        training.micro_batch = max(smallest, largest // 2)
        training.notes.append(
            f"step {step}: memory ran out; taken again with a micro-batch of {training.micro_batch} rows"
            + (f" on each rank ({message})" if training.ranks.count > 1 else "")
        )
    if result.updated:
        average_weights(training, step)
    return result


def average_weights(training: Training, step: int) -> None:
    """Take the weights after optimizer step `step` into their moving average."""
    if training.averaged is not None:
        training.averaged.update(training.network, step)


def _attempt(training: Training, batch: Batch, step: int) -> StepResult:
    training.network.zero_grad(set_to_none=True)
    sums: dict[str, float | Float[Tensor, ""]] = {head.name: 0.0 for head in training.network.heads}
    parameters, keepers = training.shards.trained(training.network)
    with training.shards.together(training.ranks):
        training.ranks.reserve(parameters)
        for micro in batch.split(training.micro_batch):
            loss = micro_batch_loss(training, micro, step, sums)
            if loss.requires_grad:
                loss.backward()
            del loss
    training.ranks.add_gradients(parameters, keepers)
    norm, updated = update_weights(training)
    # Read last: until here a GPU works on while the processor is ahead of it.
    totals = training.ranks.add(map(float, sums.values()))
    losses = {
        name: value / batch.denominators[name] if batch.denominators[name] > 0 else math.nan
        for name, value in zip(sums, totals, strict=True)
    }
    return StepResult(losses, norm, updated)


def micro_batch_loss(
    training: Training, micro: Batch, step: int, sums: dict[str, float | Float[Tensor, ""]]
) -> Float[Tensor, ""]:
    """The scaled loss that a micro-batch's backward pass starts from. Adds each target's sum to `sums`."""
    network = training.network
    network.context.begin(step, micro.rows, micro.groups)
    with _autocast(training):
        if training.head_only:
            raw = network.raw(network.features(micro.inputs, frozen=True))
        else:
            raw = network(micro.inputs)
    network.context.end_forward()
    total = batch_loss(network, raw, micro, training.recipe.task_weights, sums)
    return training.scaler.scale(total) if total.requires_grad else total


def update_weights(training: Training) -> tuple[float, bool]:
    """Clip the gradients that are there and move the weights; returns the norm before clipping, and whether
    the weights moved. Out of memory, all is as before."""
    network, optimizer, shards = training.network, training.optimizer, training.shards
    trained = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    training.ranks.add_statistics(network.context.norms)
    if not (training.ranks.any(bool(trained)) if shards.split else trained):
        # No label in the whole batch: nothing moves, and a scaler would miss the gradients it looks for.
        network.context.commit_statistics()
        return 0.0, True
    training.scaler.unscale_(optimizer)
    norm = clip_gradients(trained, training.recipe.clip_norm, shards)
    finite = math.isfinite(norm)
    if finite or training.scaler.is_enabled():
        undo = keep_undo(optimizer, training.ranks.any)
        try:
            with training.ranks.together():
                training.scaler.step(optimizer)
        except (torch.OutOfMemoryError, RuntimeError):
            if undo is not None:
                undo.take_back()
            raise
    if training.scaler.is_enabled():
        training.scaler.update()
    if finite:
        shards.share(network, trained=True)
        network.context.commit_statistics()
    else:
        network.context.discard_statistics()
    return norm, finite


@contextmanager
def _autocast(training: Training) -> Iterator[None]:
    kind, enabled = training.preparation.device.type, training.autocast is not None
    # Copies of weights that are not here for long would fill what their split has freed.
    cached = not training.shards.apart
    with torch.autocast(kind, training.autocast or torch.bfloat16, enabled=enabled, cache_enabled=cached):
        yield


def begin_training(
    network: Network,
    encoding: Encoding,
    recipe: Recipe,
    *,
    device: torch.device,
    precision: str,
    micro_batch: int,
    head_only: bool = False,
    averaged: bool = True,
    move: bool = True,
    ranks: Ranks = ONE_RANK,
    shards: Shards = UNSPLIT,
    offload: bool = False,
) -> Training:
    """Make what the steps of a network need, and move it to its device.

    precision: as `device.pick_precision` returns it.  head_only: train the last layers only.
    averaged: keep the moving average of the weights that the recipe asks for.
    move: false where the network is on its device already, as a fake one is.
    ranks: the processes that share the training.  shards: what each of them keeps of the optimizer
        and of the weights; the network is whole again after `Shards.leave`.
    offload: the optimizer's state and the averaged weights rest in the host's memory.
    """
    dtype = torch.float64 if precision == "float64" else torch.float32
    if move:
        shards.move(network, device, dtype)
    return Training(
        network,
        recipe,
        Preparation(encoding, device, dtype, channels_last=uses_channels_last(network)),
        precision,
        micro_batch,
        build_optimizer(network, recipe, part="head" if head_only else "all", shards=shards, offload=offload),
        _scaler(device, shards, enabled=precision == "float16"),
        head_only,
        AveragedWeights(network, recipe.ema, shards, offload=offload) if averaged and recipe.ema else None,
        ranks,
        shards,
        offload,
    )


def _scaler(device: torch.device, shards: Shards, *, enabled: bool) -> torch.amp.GradScaler:
    """Keeps small float16 gradients from vanishing; where ranks keep parts of them, an overflow in one part
    is one in all."""
    if enabled and shards.ranks.count > 1:
        from torch.distributed.fsdp.sharded_grad_scaler import ShardedGradScaler

        scaler: torch.amp.GradScaler = ShardedGradScaler(device.type, init_scale=FIRST_SCALE)
    else:
        scaler = torch.amp.GradScaler(device.type, init_scale=FIRST_SCALE, enabled=enabled)
    # Its scale comes with its first loss, and the first part of a rank may have no row.
    scaler.scale(torch.zeros((), device=device))
    return scaler
