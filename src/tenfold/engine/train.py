"""Training: one exact optimizer step, whole trainings that can be stopped anywhere, and the rate finder."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tenfold.data.encode import Encoding, Examples
from tenfold.engine.batches import Batch, Preparation, epoch_order, steps_per_epoch, training_batches
from tenfold.engine.checkpoint import (
    Progress,
    peek_checkpoint,
    restore_checkpoint,
    save_checkpoint,
    tensors_under,
)
from tenfold.engine.device import free_memory, peak_bytes
from tenfold.engine.optim import AveragedWeights, build_optimizer, clip_gradients, one_cycle, set_rate
from tenfold.engine.predict import predict_network
from tenfold.errors import MemoryBudgetError, TrainingError
from tenfold.metrics import category_scores
from tenfold.nn.network import Network, recompute, uses_channels_last
from tenfold.recipe import Recipe
from tenfold.store.run import RunFolder
from tenfold.values import MemoryPlan

#: Seconds between checkpoints inside a long epoch.
CHECKPOINT_SECONDS = 60.0
#: Updates in a row that half precision may leave out before the training is given up.
MOST_SKIPPED = 25

#: Half-precision types of the forward pass, by the recipe's word.
HALF = {"float16": torch.float16, "bfloat16": torch.bfloat16}


def prediction_autocast(precision: str, device: torch.device) -> torch.dtype | None:
    """Half-precision type of a run's predictions, the one rule for all of them: only a GPU gains by it."""
    return HALF.get(precision) if device.type == "cuda" else None


@dataclass
class Training:
    """What one training needs at every step; made by `fit_network`, and by tests that look inside.

    micro_batch: rows that go through the network at once; shrinks when memory runs out.
    head_only: the body is kept as it is and needs no gradients.
    """

    network: Network
    recipe: Recipe
    preparation: Preparation
    precision: str
    micro_batch: int
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    head_only: bool = False
    notes: list[str] = field(default_factory=list)

    @property
    def autocast(self) -> torch.dtype | None:
        """Half-precision type of the forward pass, or None."""
        return HALF.get(self.precision)

    @property
    def group(self) -> int | None:
        """Rows to a BatchNorm group, or None where no layer looks beyond its row."""
        group = self.recipe.batchnorm_group
        return group if isinstance(group, int) and self.network.context.norms else None


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
    """
    while True:
        try:
            return _attempt(training, batch, step)
        except torch.OutOfMemoryError as error:
            message = (str(error).splitlines() or ["out of memory"])[0]
        # Out of the except block: while it is open, the error holds the frames and they the tensors.
        training.optimizer.zero_grad(set_to_none=True)
        training.network.context.discard_statistics()
        free_memory()
        smallest = max(batch.groups)
        largest = max(len(part) for part in batch.split(training.micro_batch))
        if largest <= smallest:
            raise MemoryBudgetError(
                f"memory ran out with the smallest possible micro-batch, {largest} rows",
                found=message,
                fix="a smaller image_size or batchnorm_group, --checkpoint, or another architecture",
            )
        training.micro_batch = max(smallest, largest // 2)
        training.notes.append(
            f"step {step}: memory ran out; taken again with a micro-batch of {training.micro_batch} rows"
        )


def _attempt(training: Training, batch: Batch, step: int) -> StepResult:
    network, recipe, optimizer = training.network, training.recipe, training.optimizer
    optimizer.zero_grad(set_to_none=True)
    sums = {head.name: 0.0 for head in network.heads}
    for micro in batch.split(training.micro_batch):
        network.context.begin(step, micro.rows, micro.groups)
        with _autocast(training):
            if training.head_only:
                with torch.no_grad():
                    features = network.features(micro.inputs)
                raw = network.raw(features)
            else:
                raw = network(micro.inputs)
        network.context.end_forward()
        total = batch_loss(network, raw, micro, recipe.task_weights, sums)
        if total.requires_grad:
            training.scaler.scale(total).backward()
        del raw, total
    losses = {
        name: value / batch.denominators[name] if batch.denominators[name] > 0 else math.nan
        for name, value in sums.items()
    }
    trained = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    if not trained:
        # No label in the whole batch: nothing moves, and a scaler would miss the gradients it looks for.
        network.context.commit_statistics()
        return StepResult(losses, 0.0, True)
    training.scaler.unscale_(optimizer)
    norm = float(clip_gradients(trained, recipe.clip_norm))
    finite = math.isfinite(norm)
    if finite or training.scaler.is_enabled():
        training.scaler.step(optimizer)
    if training.scaler.is_enabled():
        training.scaler.update()
    if finite:
        network.context.commit_statistics()
    else:
        network.context.discard_statistics()
    return StepResult(losses, norm, finite)


def batch_loss(
    network: Network,
    raw: tuple[Tensor, ...],
    micro: Batch,
    task_weights: Mapping[str, float],
    sums: dict[str, float],
) -> Tensor:
    """The micro-batch's part of its batch's loss: sum over targets of task weight x sum of row losses
    / the batch's denominator. Adds the unweighted sums to `sums`. A target without labels adds 0."""
    total = raw[0].new_zeros(()).float()
    for head, outputs in zip(network.heads, raw, strict=True):
        denominator = micro.denominators[head.name]
        if denominator <= 0:
            continue
        for one in micro.targets[head.name]:
            loss = head.loss_sum(outputs, one.labels, one.weights)
            sums[head.name] += float(loss.detach())
            total = total + loss * (task_weights.get(head.name, 1.0) / denominator)
    return total


@contextmanager
def _autocast(training: Training) -> Iterator[None]:
    kind = training.preparation.device.type
    with torch.autocast(kind, training.autocast or torch.bfloat16, enabled=training.autocast is not None):
        yield


@dataclass(frozen=True)
class Trained:
    """What a training leaves. The network holds the final weights (the averaged ones where they are on).

    history: one record per epoch.  micro_batch: rows that went through at once in the end.
    stopped: why it ended early, or "".
    """

    history: list[dict[str, Any]]
    micro_batch: int
    notes: list[str]
    stopped: str = ""


def fit_network(
    network: Network,
    encoding: Encoding,
    examples: Examples,
    *,
    train: NDArray[np.int64],
    valid: NDArray[np.int64],
    recipe: Recipe,
    plan: MemoryPlan,
    device: torch.device,
    precision: str,
    folder: RunFolder | None = None,
    identity: Mapping[str, Any] | None = None,
    on_progress: Callable[[dict[str, Any]], None] | None = None,
) -> Trained:
    """Train a network: first its head alone for `frozen_epochs`, then all of it.

    train, valid: row numbers.  precision: as `device.pick_precision` returns it.
    identity: describes the training, see `save_checkpoint`.
    folder: where checkpoints go; an unfinished training found there is gone on with, to the same end.
    on_progress: told of every step (``{"event": "step", ...}``) and epoch (``{"event": "epoch", ...}``).
    Raises TrainingError where the loss, of a step or of the validation rows, is no longer finite before one
    epoch is done; later, the training ends with the last good epoch's weights and says so in `stopped`.
    """
    found = peek_checkpoint(folder, identity or {}) if folder is not None else None
    progress = found[0] if found else Progress(micro_batch=plan.micro_batch)
    training = begin_training(
        network,
        encoding,
        recipe,
        device=device,
        precision=precision,
        micro_batch=progress.micro_batch,
        head_only=progress.epoch < recipe.frozen_epochs,
    )
    if plan.checkpoint and not recompute(network):
        training.notes.append(f"{recipe.arch} cannot compute activations again: all are kept")
    averaged = AveragedWeights(network, recipe.ema) if recipe.ema else None
    if found:
        # At the seam between the stages the next optimizer starts afresh, resumed or not.
        seam = progress.epoch == recipe.frozen_epochs and progress.epoch_step == 0
        restore_checkpoint(found[1], network, None if seam else training.optimizer, averaged)
        training.scaler.load_state_dict(found[2])
    good = tensors_under(found[1], "good/") if found else {}
    del found
    loop = _Loop(
        training, examples, train, valid, plan, averaged, progress, folder, identity or {}, on_progress, good
    )
    stopped = loop.run()
    if averaged is not None and not stopped:
        network.load_state_dict(averaged.state)
    return Trained(progress.history, training.micro_batch, loop.training.notes, stopped)


def begin_training(
    network: Network,
    encoding: Encoding,
    recipe: Recipe,
    *,
    device: torch.device,
    precision: str,
    micro_batch: int,
    head_only: bool = False,
) -> Training:
    """Move the network to its device and make what its steps need.

    precision: as `device.pick_precision` returns it.  head_only: train the last layers only.
    """
    dtype = torch.float64 if precision == "float64" else torch.float32
    network.to(device=device, dtype=dtype)
    return Training(
        network,
        recipe,
        Preparation(encoding, device, dtype, channels_last=uses_channels_last(network)),
        precision,
        micro_batch,
        build_optimizer(network, recipe, part="head" if head_only else "all"),
        torch.amp.GradScaler(device.type, enabled=precision == "float16"),
        head_only,
    )


@dataclass
class _Loop:
    """The epochs of one training."""

    training: Training
    examples: Examples
    train: NDArray[np.int64]
    valid: NDArray[np.int64]
    plan: MemoryPlan
    averaged: AveragedWeights | None
    progress: Progress
    folder: RunFolder | None
    identity: Mapping[str, Any]
    on_progress: Callable[[dict[str, Any]], None] | None
    #: Weights at the end of the last epoch, which was good; empty before the first one has ended.
    good: dict[str, Tensor]

    def run(self) -> str:
        recipe, progress = self.training.recipe, self.progress
        if progress.history and not progress.epoch_step:
            self.good = self._weights()
        while progress.epoch < recipe.frozen_epochs + recipe.epochs:
            if self.training.head_only and progress.epoch >= recipe.frozen_epochs:
                old = self.training
                self.training = replace(
                    old, optimizer=build_optimizer(old.network, recipe, part="all"), head_only=False
                )
            try:
                self._epoch()
                self._check_epoch()
            except TrainingError as error:
                if not self.good:
                    raise
                self.training.network.load_state_dict(self.good)
                return str(error)
            self.good = self._weights()
            self._save()
        return ""

    def _check_epoch(self) -> None:
        """Refuse an epoch whose last update spoilt the weights, which no later loss would show."""
        scores = self.progress.history[-1]["valid"].values()
        spoilt = not all(math.isfinite(score["log_loss"]) for score in scores if score["scored"])
        state = self.averaged.state if self.averaged else self.training.network.state_dict()
        # Parameters only: a buffer may be infinite by design, as a mask of attention is.
        names = [name for name, _ in self.training.network.named_parameters()]
        if spoilt or not all(bool(torch.isfinite(state[name]).all()) for name in names):
            del self.progress.history[-1]
            what = "the validation loss is" if spoilt else "weights are"
            raise TrainingError(
                f"{what} not finite since epoch {self.progress.epoch}, update {self.progress.step}",
                fix="a lower --lr",
            )

    def _weights(self) -> dict[str, Tensor]:
        state = self.averaged.state if self.averaged else self.training.network.state_dict()
        return {name: value.detach().cpu().clone() for name, value in state.items()}

    def _save(self) -> None:
        if self.folder is not None:
            self.progress.micro_batch = self.training.micro_batch
            save_checkpoint(
                self.folder,
                self.progress,
                self.training.network,
                self.training.optimizer,
                self.averaged,
                self.training.scaler,
                self.identity,
                # Between epochs the good weights are those of the training itself.
                self.good if self.progress.epoch_step else {},
            )

    def _epoch(self) -> None:
        training, progress, recipe = self.training, self.progress, self.training.recipe
        batch_size, epoch = recipe.batch_size, progress.epoch
        per_epoch = steps_per_epoch(len(self.train), batch_size)
        first, length = (
            (0, recipe.frozen_epochs) if training.head_only else (recipe.frozen_epochs, recipe.epochs)
        )
        order = epoch_order(self.train, batch_size=batch_size, seed=recipe.seed, epoch=epoch)
        started = saved = time.monotonic()
        seconds_before = progress.seconds
        self._train_mode()
        batches = training_batches(
            self.examples,
            order[progress.epoch_step :],
            recipe,
            training.preparation,
            epoch=epoch,
            first_step=progress.step,
            workers=self.plan.workers,
            group=training.group,
        )
        for batch in batches:
            place = (epoch - first) * per_epoch + progress.epoch_step
            rate = set_rate(training.optimizer, one_cycle(place, length * per_epoch, warmup=recipe.warmup))
            result = train_step(training, batch, progress.step)
            self._count(result, epoch)
            if self.averaged is not None and result.updated:
                self.averaged.update(training.network, progress.step)
            progress.step += 1
            progress.epoch_step += 1
            progress.seconds = seconds_before + time.monotonic() - started
            self._tell(
                event="step",
                epoch=epoch,
                epochs=recipe.frozen_epochs + recipe.epochs,
                step=progress.epoch_step,
                steps=per_epoch,
                rate=rate,
                losses=self._mean_losses(),
            )
            if time.monotonic() - saved > CHECKPOINT_SECONDS and progress.epoch_step < per_epoch:
                self._save()
                saved = time.monotonic()
        record = {
            "epoch": epoch,
            "stage": "head" if training.head_only else "all",
            "steps": progress.step,
            "rows": len(self.train),
            "rate": rate,
            "micro_batch": training.micro_batch,
            "skipped": progress.skipped,
            "train": {name: {"loss": value} for name, value in self._mean_losses().items()},
            "valid": self._validate(),
            "peak_bytes": peak_bytes(training.preparation.device),
        }
        progress.seconds = seconds_before + time.monotonic() - started
        record["seconds"] = round(progress.seconds, 3)
        progress.history.append(record)
        progress.epoch += 1
        progress.epoch_step, progress.totals = 0, {}
        self._tell(event="epoch", **record)

    def _train_mode(self) -> None:
        self.training.network.train()
        if self.training.head_only:
            for encoder in self.training.network.encoders.values():
                encoder.eval()

    def _count(self, result: StepResult, epoch: int) -> None:
        progress = self.progress
        if not result.updated:
            progress.skipped += 1
            progress.skipped_in_a_row += 1
            half = self.training.scaler.is_enabled()
            if not half or progress.skipped_in_a_row >= MOST_SKIPPED:
                what = f"{MOST_SKIPPED} updates in a row overflowed" if half else "the loss is not finite"
                raise TrainingError(
                    f"{what} since epoch {epoch + 1}, update {progress.step + 1}",
                    found=", ".join(f"{name} {loss:.4g}" for name, loss in result.losses.items()),
                    fix="a lower --lr" + (", or --precision bfloat16" if half else ""),
                )
            return
        progress.skipped_in_a_row = 0
        for name, loss in result.losses.items():
            if math.isfinite(loss):
                total = progress.totals.setdefault(name, [0.0, 0])
                total[0] += loss
                total[1] += 1

    def _mean_losses(self) -> dict[str, float]:
        # Mean over steps, for the eye; what is measured is measured on the validation rows.
        return {name: total / count for name, (total, count) in self.progress.totals.items() if count}

    def _validate(self) -> dict[str, dict[str, float]]:
        if not len(self.valid):
            return {}
        training = self.training
        with swapped_weights(training.network, self.averaged):
            probabilities = predict_network(
                training.network,
                self.examples,
                self.valid,
                training.preparation,
                autocast=training.autocast,
                workers=self.plan.workers,
            )
        labels = self.examples.labels
        return {
            name: category_scores(found, labels[name][self.valid]) for name, found in probabilities.items()
        }

    def _tell(self, **what: Any) -> None:
        if self.on_progress is not None:
            self.on_progress(what)


@contextmanager
def swapped_weights(network: nn.Module, averaged: AveragedWeights | None) -> Iterator[None]:
    """Within the block the network holds the averaged weights; afterwards its own again."""
    if averaged is None:
        yield
        return
    own = {name: value.detach().clone() for name, value in network.state_dict().items()}
    network.load_state_dict(averaged.state)
    try:
        yield
    finally:
        network.load_state_dict(own)
