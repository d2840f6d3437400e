"""Training: epochs of exact optimizer steps, which can be stopped anywhere and resumed."""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64, Shaped
from torch import Tensor

from tenfold.data.encode import Encoding, Examples
from tenfold.engine.batches import KnownAnswers, Teacher, epoch_order, steps_per_epoch, training_batches
from tenfold.engine.checkpoint import (
    Progress,
    Unfinished,
    damaged_checkpoint,
    peek_checkpoint,
    restore_checkpoint,
    save_checkpoint,
    spread_checkpoint,
    tensors_under,
    to_array,
)
from tenfold.engine.device import peak_bytes
from tenfold.engine.linear import fit_head
from tenfold.engine.loss import task_weights_of
from tenfold.engine.monitor import is_gain, monitored
from tenfold.engine.optim import build_optimizer, set_rate, swapped_weights
from tenfold.engine.predict import predict_views
from tenfold.engine.ranks import ONE_RANK, Ranks
from tenfold.engine.schedule import one_cycle
from tenfold.engine.shards import UNSPLIT, Shards, split_parameters
from tenfold.engine.statistics import STATISTICS_ROWS, estimate_for
from tenfold.engine.step import StepResult, Training, begin_training, train_step
from tenfold.errors import TrainingError
from tenfold.events import EpochEnded, Event, Listener, RowsPredicted, StepEnded, begin_stage
from tenfold.nn.network import Network, recompute
from tenfold.recipe import Recipe
from tenfold.runs.folder import RunFolder
from tenfold.values import MemoryPlan, Sharding, TargetScores

#: Seconds between checkpoints inside a long epoch.
CHECKPOINT_SECONDS = 60.0
#: Updates in a row that half precision may leave out before the training is given up.
MOST_SKIPPED = 25
#: Fraction by which an epoch's figure must be better than the last one's to be worth a message.
CLEARLY = 0.1
#: What helps where they overflow.
HALVED = "a lower --lr, or --precision bfloat16"


@dataclass(frozen=True)
class Trained:
    """What a training leaves. The network holds the final weights (the averaged ones where they are on).

    history: one record per epoch.  micro_batch: rows that went through at once in the end.
    stopped: what went wrong, or "".  kept: the epoch, from 0, whose weights these are.
    linear: scores of the linear layer on frozen features that the training started from, if it did.
    shards: what each rank has of the weights, until `Shards.leave`.
    """

    history: list[EpochEnded]
    micro_batch: int
    notes: list[str]
    stopped: str = ""
    kept: int = -1
    linear: TargetScores = field(default_factory=dict)
    shards: Shards = UNSPLIT


def fit_network(
    network: Network,
    encoding: Encoding,
    examples: Examples,
    *,
    train: Int64[np.ndarray, " train"],
    valid: Int64[np.ndarray, " valid"],
    recipe: Recipe,
    plan: MemoryPlan,
    device: torch.device,
    precision: str,
    folder: RunFolder | None = None,
    identity: Mapping[str, object] | None = None,
    on_progress: Listener | None = None,
    deadline: float = math.inf,
    cache: Path | None = None,
    teacher: Teacher | None = None,
    extra: Int64[np.ndarray, " extra"] | None = None,
    answers: KnownAnswers | None = None,
    ranks: Ranks = ONE_RANK,
    shard: Sharding = Sharding.NOTHING,
) -> Trained:
    """Train a network: first its head alone for `frozen_epochs`, then all of it.

    train, valid: row numbers.  precision: as `device.pick_precision` returns it.
    identity: describes the training, see `save_checkpoint`.
    folder: where checkpoints go; an unfinished training found there is resumed, to the same end.
    on_progress: told of every step (`StepEnded`) and epoch (`EpochEnded`).
    deadline: of `time.monotonic`: no epoch begins that would end after it, except the first.
    cache: folder that keeps frozen features, see `kept_features`.
    teacher: gives the labels, in place of those of the rows.
    extra: numbers of rows without labels that are trained on, too.  answers: what these learn.
    ranks: the processes that share the training; all call this, and only the first one has a folder.
    shard: what of the training each of them keeps only a part of.
    Raises TrainingError where the loss, of a step or of the validation rows, is no longer finite before one
    epoch is done; later, the training ends with the last good epoch's weights and says so in `stopped`.
    """
    found = peek_checkpoint(folder, identity or {}) if folder is not None else None
    kept = ranks.from_first(replace(found, arrays={}) if found is not None else None)
    progress = kept.progress if kept else Progress(micro_batch=plan.micro_batch, statistics=STATISTICS_ROWS)
    ranks.copy_first(network.state_dict().values())
    training = begin_training(
        network,
        encoding,
        recipe,
        device=device,
        precision=precision,
        micro_batch=progress.micro_batch,
        head_only=progress.epoch < recipe.frozen_epochs,
        ranks=ranks,
        shards=split_parameters(network, ranks, shard),
        offload=plan.offload,
    )
    # Blocks whose weights are split compute all of their activations again.
    again = plan.checkpoint and not training.shards.apart
    if again and not recompute(network, blocks=plan.blocks):
        training.notes.append(f"{recipe.arch} cannot compute activations again: all are kept")
    good, best = _resumed(training, found or kept, folder) if kept else ({}, {})
    fresh = kept is None
    del kept, found
    loop = _Loop(
        *(training, examples, train, valid, plan, progress, folder, identity or {}),
        *(on_progress, good, best, deadline, cache, teacher, answers),
        taught=train if extra is None else np.concatenate([train, extra]),
    )
    if fresh and recipe.fit_head:
        loop.fit_head()
    stopped = loop.run()
    last = loop.leave_weights(stopped)
    return Trained(
        *(progress.history, training.micro_batch, loop.training.notes, stopped, last, progress.linear),
        shards=training.shards,
    )


def _resumed(
    training: Training, kept: Unfinished, folder: RunFolder | None
) -> tuple[dict[str, Shaped[Tensor, " ..."]], dict[str, Shaped[Tensor, " ..."]]]:
    """Put a training where the other one stopped; returns its last good weights and its best ones."""
    kept = spread_checkpoint(kept, training)
    progress, recipe = kept.progress, training.recipe
    if not kept.checked:
        training.notes.append("the checkpoint has no sum, since an earlier version wrote it: taken as it is")
    # At the seam between the stages the next optimizer starts afresh, resumed or not.
    seam = progress.epoch == recipe.frozen_epochs and progress.epoch_step == 0
    try:
        restore_checkpoint(kept, training, without_optimizer=seam)
    except (RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
        why = (str(error).splitlines() or [""])[0]
        run = folder.final if folder else "this run"
        raise damaged_checkpoint(run, f"it does not fit this network: {why}") from None
    good, best = (tensors_under(kept.arrays, f"{kind}/") for kind in ("good", "best"))
    return training.shards.own(good), training.shards.own(best)


def _sum_of(weights: Mapping[str, Shaped[Tensor, " ..."]]) -> str:
    """A checksum of weights on the CPU."""
    total = 0
    for value in weights.values():
        total = zlib.crc32(np.ascontiguousarray(to_array(value)).reshape(-1).view(np.uint8).data, total)
    return f"{total:08x}"


@dataclass
class _Loop:
    """The epochs of a training."""

    training: Training
    examples: Examples
    train: Int64[np.ndarray, " train"]
    valid: Int64[np.ndarray, " valid"]
    plan: MemoryPlan
    progress: Progress
    folder: RunFolder | None
    identity: Mapping[str, object]
    on_progress: Listener | None
    #: Weights at the end of the last epoch, which was good; empty before the first one has ended.
    #: Of these and the best, a rank has what it keeps.
    good: dict[str, Shaped[Tensor, " ..."]]
    #: Weights of the best epoch so far, where they are to be kept.
    best: dict[str, Shaped[Tensor, " ..."]]
    deadline: float = math.inf
    cache: Path | None = None
    teacher: Teacher | None = None
    answers: KnownAnswers | None = None
    #: Rows of an epoch: those with labels, and others.
    taught: Int64[np.ndarray, " taught"] = field(kw_only=True)

    def fit_head(self) -> None:
        """Start from the best linear layer on the body's features; the one on frozen features is scored."""
        begin_stage(self.on_progress, "fitting the last layer")
        self._fit_head()
        self.progress.linear = self._scores() if len(self.valid) else {}
        if self._estimate_statistics():
            # Training normalises by the statistics of its rows: its features are others.
            self._fit_head()
        if self.training.averaged is not None:
            self.training.averaged.restart(self.training.network)

    def _fit_head(self) -> None:
        training = self.training
        with training.shards.reachable():
            if training.ranks.first:
                fit_head(
                    training.network,
                    self.examples,
                    self.train,
                    training.preparation,
                    seed=training.recipe.seed,
                    autocast=training.autocast,
                    workers=self.plan.workers,
                    # What is kept there has its name from the weights, of which this rank has a part.
                    cache=None if training.shards.apart else self.cache,
                    on_rows=lambda done, total: self._tell(RowsPredicted(done, total, "last layer")),
                )
        training.ranks.copy_first(training.shards.common(training.network).values())

    def run(self) -> str:
        recipe, progress = self.training.recipe, self.progress
        if progress.history and not progress.epoch_step:
            self.good = self._weights()
        while progress.epoch < recipe.frozen_epochs + recipe.epochs:
            if self._out_of_patience() or self._out_of_time():
                break
            if self.training.head_only and progress.epoch >= recipe.frozen_epochs:
                old = self.training
                every = build_optimizer(
                    old.network, recipe, part="all", shards=old.shards, offload=old.offload
                )
                self.training = replace(old, optimizer=every, head_only=False)
            try:
                self._epoch()
                self._check_epoch()
            except TrainingError as error:
                if not self.good or progress.skipped >= progress.step:
                    raise
                self.training.shards.fill(self.training.network, self.good)
                return str(error)
            self.good = self._weights()
            if self.training.ranks.count > 1:
                # Where each rank keeps a part of the weights that count, those that it trains on.
                shards = self.training.shards
                weights = shards.common(self.training.network) if shards.split else self.good
                self.training.ranks.check_same(_sum_of(weights), f"weights after epoch {progress.epoch}")
            self._keep_best()
            self._save()
        if progress.step and progress.skipped == progress.step:
            raise TrainingError(f"all {progress.step} updates overflowed: nothing was trained", fix=HALVED)
        return ""

    def _keep_best(self) -> None:
        """Keep the epoch that has just ended if it is the best so far."""
        recipe, progress, record = self.training.recipe, self.progress, self.progress.history[-1]
        if not record.valid:
            return
        value = monitored(recipe, self.training.network.heads, record.valid)
        if is_gain(value, progress.best):
            progress.best, progress.best_epoch = value, record.epoch
            self.best = self.good if recipe.keeps_best else {}

    def _out_of_patience(self) -> bool:
        # Epochs of the head alone do not count towards patience.
        recipe, progress = self.training.recipe, self.progress
        since = progress.epoch - max(progress.best_epoch + 1, recipe.frozen_epochs)
        return 0 < recipe.patience <= since and not progress.epoch_step

    def _out_of_time(self) -> bool:
        progress = self.progress
        if not progress.history or progress.epoch_step:
            return False
        seconds = [record.seconds for record in progress.history[-2:]]
        late = time.monotonic() + (seconds[-1] - (seconds[0] if len(seconds) > 1 else 0.0)) > self.deadline
        late = self.training.ranks.from_first(late)
        if late:
            epochs = self.training.recipe.frozen_epochs + self.training.recipe.epochs
            self.training.notes.append(
                f"stopped after epoch {progress.epoch} of {epochs}, each longer than planned: the time limit"
            )
        return late

    def leave_weights(self, stopped: str) -> int:
        """Fill the network with the weights to keep; returns their epoch. After a failure they are there."""
        training, progress = self.training, self.progress
        last = len(progress.history) - 1
        if self._out_of_patience():
            watched = f"no gain in {training.recipe.patience} epochs"
            if progress.best is None:
                watched = f"{training.recipe.monitor} was not defined after any of them"
            training.notes.append(f"stopped after epoch {progress.epoch}: {watched}")
        if training.recipe.keeps_best and self.best:
            training.shards.fill(training.network, self.best)
            training.notes.append(
                f"kept: epoch {progress.best_epoch + 1}, the best by {training.recipe.monitor} "
                f"({abs(progress.best or 0.0):.4g})"
            )
            return progress.best_epoch
        if training.averaged is not None and not stopped:
            training.shards.fill(training.network, training.averaged.state)
        training.notes.extend(self._better_epoch(last))
        return last

    def _better_epoch(self, last: int) -> list[str]:
        """A message where an earlier epoch was clearly better than the last, whose weights are kept."""
        recipe, best, epoch = self.training.recipe, self.progress.best, self.progress.best_epoch
        if best is None or epoch >= last or last < 0:
            return []
        value = monitored(recipe, self.training.network.heads, self.progress.history[last].valid)
        if not value - best > CLEARLY * abs(best):
            return []
        return [
            f"epoch {epoch + 1} was better by {recipe.monitor}: {abs(best):.4g}, and {abs(value):.4g} after "
            "the last: --keep best keeps it"
        ]

    def _check_epoch(self) -> None:
        """Refuse an epoch whose last update spoilt the weights, which no later loss would show."""
        scores = self.progress.history[-1].valid
        spoilt = not all(
            math.isfinite(head.primary_loss(scores[head.name]))
            for head in self.training.network.heads
            # A prediction that is not a number is not scored, although its label is known.
            if head.name in scores and (scores[head.name]["scored"] or scores[head.name].get("unscored"))
        )
        state = self.training.weights()
        # Parameters only: a buffer may be infinite by design, as a mask of attention is.
        names = [name for name, _ in self.training.network.named_parameters() if name in state]
        lost = not all(bool(torch.isfinite(state[name]).all()) for name in names)
        if spoilt or self.training.ranks.any(lost):
            del self.progress.history[-1]
            what = "the validation loss is" if spoilt else "weights are"
            raise TrainingError(
                f"{what} not finite since epoch {self.progress.epoch}, update {self.progress.step}",
                fix="a lower --lr",
            )

    def _weights(self) -> dict[str, Shaped[Tensor, " ..."]]:
        return {name: value.detach().cpu().clone() for name, value in self.training.weights().items()}

    def _save(self) -> None:
        self.progress.micro_batch = self.training.micro_batch
        save_checkpoint(
            self.folder,
            self.progress,
            self.training,
            self.identity,
            # Between epochs the good weights are those of the training itself.
            self.good if self.progress.epoch_step else {},
            self.best,
        )

    def _is_due(self, saved: float) -> bool:
        """Whether it is time for a checkpoint inside an epoch. saved: when there was one last."""
        due = time.monotonic() - saved > CHECKPOINT_SECONDS
        # A rank that keeps nothing alone has nothing to add, and need not know.
        return self.training.ranks.from_first(due) if self.training.shards.split else due

    def _epoch(self) -> None:
        training, progress, recipe = self.training, self.progress, self.training.recipe
        batch_size, epoch = recipe.batch_size, progress.epoch
        per_epoch = steps_per_epoch(len(self.taught), batch_size)
        first, length = (
            (0, recipe.frozen_epochs) if training.head_only else (recipe.frozen_epochs, recipe.epochs)
        )
        stage = "head" if training.head_only else "all"
        order = epoch_order(self.taught, batch_size=batch_size, seed=recipe.seed, epoch=epoch)
        started = saved = time.monotonic()
        seconds_before = progress.seconds
        # Updates left out before this stage, and before this epoch: the plan counts what was done.
        skipped = [0, *(record.skipped for record in progress.history)]
        self._train_mode()
        rate = 0.0
        batches = training_batches(
            self.examples,
            order[progress.epoch_step :],
            recipe,
            training.preparation,
            epoch=epoch,
            first_step=progress.step,
            workers=self.plan.workers,
            group=training.group,
            teacher=self.teacher,
            answers=self.answers,
            ranks=training.ranks,
        )
        for batch in batches:
            done = (epoch - first) * per_epoch + progress.epoch_step - (progress.skipped - skipped[first])
            rate = set_rate(training.optimizer, one_cycle(done, length * per_epoch, warmup=recipe.warmup))
            result = train_step(training, batch, progress.step)
            self._count(result, epoch)
            progress.step += 1
            progress.epoch_step += 1
            progress.seconds = seconds_before + time.monotonic() - started
            epochs, losses = recipe.frozen_epochs + recipe.epochs, self._mean_losses()
            self._tell(StepEnded(epoch, epochs, stage, progress.epoch_step, per_epoch, rate, losses))
            if progress.epoch_step < per_epoch and self._is_due(saved):
                self._save()
                saved = time.monotonic()
        valid, peak = self._validate(), peak_bytes(training.preparation.device)
        progress.seconds = seconds_before + time.monotonic() - started
        record = EpochEnded(
            epoch=epoch,
            stage=stage,
            steps=progress.step,
            epoch_steps=per_epoch,
            updates=per_epoch - (progress.skipped - skipped[-1]),
            rows=len(self.taught),
            rate=rate,
            micro_batch=training.micro_batch,
            skipped=progress.skipped,
            train={name: {"loss": value} for name, value in self._mean_losses().items()},
            task_weights=task_weights_of(training.network, recipe),
            valid=valid,
            peak_bytes=peak,
            seconds=round(progress.seconds, 3),
        )
        progress.history.append(record)
        progress.epoch += 1
        progress.epoch_step, progress.totals = 0, {}
        self._tell(record)

    def _train_mode(self) -> None:
        self.training.network.train()
        if self.training.head_only:
            for encoder in self.training.network.backbones.values():
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
                    fix=HALVED if half else "a lower --lr",
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

    def _estimate_statistics(self) -> bool:
        """Estimate BatchNorm's statistics for the weights that the network holds now; False without any."""
        most, workers = self.progress.statistics, self.plan.workers
        return estimate_for(self.training, self.examples, self.train, most=most, workers=workers)

    def _validate(self) -> TargetScores:
        training = self.training
        with swapped_weights(training.network, training.averaged):
            self._estimate_statistics()
            return self._scores() if len(self.valid) else {}

    def _scores(self) -> TargetScores:
        """Scores of the validation rows by the weights of now; each rank predicts some of the rows."""
        training, ranks = self.training, self.training.ranks
        with training.shards.reachable():
            parts = predict_views(
                training.network,
                self.examples,
                np.array_split(self.valid, ranks.count)[ranks.number],
                training.preparation,
                autocast=training.autocast,
                workers=self.plan.workers,
            )[0]
        scores: TargetScores = {}
        gathered = ranks.to_first(parts)
        if gathered:
            labels, weights = self.examples.labels, self.examples.weigh(self.valid)
            for head in training.network.heads:
                answers = np.concatenate([part[head.name] for part in gathered])
                scores[head.name] = head.scores(answers, labels[head.name][self.valid], weights=weights)
        return ranks.from_first(scores)

    def _tell(self, event: Event) -> None:
        if self.on_progress is not None:
            self.on_progress(event)
