"""How long a training takes, measured before it begins; and what fits a limit of time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from tenfold.engine.device import pick_precision
from tenfold.engine.linear import head_seconds
from tenfold.engine.predict import HALF, predict_features
from tenfold.engine.ranks import ONE_RANK, Ranks
from tenfold.engine.shards import split_parameters
from tenfold.engine.statistics import STATISTICS_ROWS
from tenfold.engine.step import begin_training
from tenfold.errors import RecipeError
from tenfold.memory.probe import take_steps
from tenfold.networks.prepare import TrainingWork
from tenfold.nn.encoders import build_backbone, has_convolutions
from tenfold.recipe import Recipe
from tenfold.values import MemoryPlan, Sharding

#: Fraction of a limit that is planned for: what is measured in seconds differs from what takes minutes.
PLANNED = 0.85
#: Fraction of a limit at which a training ends whatever was planned.
LATEST = 1.05
#: Sides of pictures that are tried where none is given, largest first. The largest is taken that leaves
#: `ENOUGH_EPOCHS` (bench/results/few-epochs.md); else the smallest.
SIDES = (224, 192, 160, 128, 96)
ENOUGH_EPOCHS = 6
#: Most epochs of pictures that a limit is filled with; tables take their usual number at most.
MOST_EPOCHS = 36
#: Rows of a step that is timed, at most; and features that are taken for the outputs of a last layer.
TIMED_ROWS, TIMED_OUTPUTS = 16, 10


@dataclass(frozen=True)
class RowSeconds:
    """Seconds of a row in an optimizer step, and in a prediction of its plain view.

    Where several devices share the training, a step is shared, and a prediction is one device's.
    """

    train: float
    evaluate: float


@dataclass(frozen=True)
class Costs:
    """Seconds of a training: what is due once, and what every epoch takes."""

    once: float
    epoch: float

    def epochs(self, seconds: float, most: int = MOST_EPOCHS) -> int:
        """How many epochs fit into some seconds, 0 where none does."""
        return max(0, min(most, int((seconds - self.once) / max(self.epoch, 1e-9))))


def training_costs(
    recipe: Recipe, rows: RowSeconds, *, train: int, valid: int, head: float = 0.0, devices: int = 1
) -> Costs:
    """Costs of a training of so many rows. head: seconds of the solver that fits the last layer.

    devices: that share the training; what is due once, one of them does.
    """
    views = max(recipe.views, 1 + recipe.tta)
    # The last epoch's weights are scored by all views, and for the thresholds and the report once more.
    once = valid * rows.evaluate * (1 + views)
    if recipe.fit_head:
        once += head + (train + valid) * rows.evaluate
    pass_over = min(STATISTICS_ROWS, train) if isinstance(recipe.batchnorm_group, int) else 0
    return Costs(once, train * rows.train + (valid / devices + pass_over) * rows.evaluate)


def time_architecture(recipe: Recipe, device: torch.device) -> RowSeconds:
    """Seconds of a row of random pictures, by a backbone of random weights, on this machine.

    Raises RecipeError for a size that the architecture refuses.
    """
    body = build_backbone(recipe.arch, image_size=recipe.image_size).to(device)
    if has_convolutions(body):
        body = body.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    pictures = torch.rand(min(recipe.batch_size, TIMED_ROWS), 3, *recipe.image_size, device=device)
    kind = HALF.get(pick_precision(recipe.precision, device))
    optimizer = torch.optim.AdamW(body.parameters())
    labels = torch.zeros(len(pictures), dtype=torch.long, device=device)

    def step() -> None:
        with torch.autocast(device.type, kind or torch.bfloat16, enabled=kind is not None):
            raw = body(pictures)[:, :TIMED_OUTPUTS]
        optimizer.zero_grad(set_to_none=True)
        functional.cross_entropy(raw.float(), labels).backward()
        optimizer.step()

    def evaluate() -> None:
        with torch.no_grad():
            body(pictures)

    body.train()
    train = _seconds(step, device) / len(pictures)
    body.eval()
    return RowSeconds(train, _seconds(evaluate, device) / len(pictures))


def _seconds(act: Callable[[], None], device: torch.device) -> float:
    """The least seconds of two calls, after a first one."""
    times = []
    for _ in range(3):
        started = time.monotonic()
        act()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.monotonic() - started)
    return min(times[1:])


def time_rows(
    work: TrainingWork,
    plan: MemoryPlan,
    device: torch.device,
    precision: str,
    ranks: Ranks = ONE_RANK,
    shard: Sharding = Sharding.NOTHING,
) -> RowSeconds:
    """Seconds of a row of this very training, by steps whose results are thrown away.

    ranks, shard: as in `engine.train.fit_network`.
    """
    recipe, train = work.recipe, work.split.train
    most = TIMED_ROWS * ranks.count if work.schema.images else recipe.batch_size
    several = min(recipe.batch_size, len(train), most)
    steps = take_steps(
        work.network,
        work.encoding,
        work.examples,
        [np.resize(train, several)] * 3,
        recipe=recipe,
        plan=plan,
        device=device,
        precision=precision,
        ranks=ranks,
        shard=shard,
    )
    training = begin_training(
        *(work.network, work.encoding, recipe),
        device=device,
        precision=precision,
        micro_batch=several,
        shards=split_parameters(work.network, ranks, shard),
        offload=plan.offload,
    )
    started = time.monotonic()
    with training.shards.reachable():
        predict_features(
            work.network,
            work.examples,
            np.resize(train, several),
            training.preparation,
            autocast=training.autocast,
            workers=plan.workers,
        )
    seconds = time.monotonic() - started
    training.shards.leave()
    return RowSeconds(float(np.mean(steps[1:])) / several, seconds / several)


def size_within(
    recipe: Recipe, seconds: float, rows: int, device: torch.device, devices: int = 1
) -> tuple[tuple[int, int], str]:
    """The size of pictures that leaves enough epochs in some seconds, and a message; see `SIDES`.

    The largest size that the architecture takes is measured; of others the time goes with the area.
    rows: of the table, of which `recipe.valid` are held out.  devices: like this, that share the training.
    """
    started = time.monotonic()
    train = round(rows * (1 - recipe.valid))
    measured: tuple[int, RowSeconds] | None = None
    chosen: tuple[tuple[int, int], str] = recipe.image_size, ""
    for side in SIDES:
        smaller = recipe.model_copy(update={"image_size": (side, side)})
        try:
            if measured is None:
                measured = side, time_architecture(smaller, device)
            else:
                build_backbone(recipe.arch, image_size=smaller.image_size)
        except RecipeError:
            continue
        area = (side / measured[0]) ** 2
        each = RowSeconds(measured[1].train * area / devices, measured[1].evaluate * area)
        cost = training_costs(smaller, each, train=train, valid=rows - train, devices=devices)
        chosen = smaller.image_size, f"pictures of {side}x{side}: about {cost.epoch:.0f} s per epoch"
        if cost.epochs(seconds - (time.monotonic() - started)) >= ENOUGH_EPOCHS:
            break
    return chosen


def epochs_within(
    work: TrainingWork,
    plan: MemoryPlan,
    device: torch.device,
    precision: str,
    *,
    left: float,
    limit: float,
    ranks: Ranks = ONE_RANK,
    shard: Sharding = Sharding.NOTHING,
) -> tuple[int, str]:
    """How many epochs of this training end within a limit, and a message that says so; for all ranks, what
    the first one finds.

    left: seconds until the planned end.  ranks, shard: as in `engine.train.fit_network`.
    Raises RecipeError where not a single epoch fits.
    """
    train, valid = len(work.split.train), len(work.split.valid)
    started = time.monotonic()
    head = head_seconds(train, work.network) if work.recipe.fit_head else 0.0
    rows = time_rows(work, plan, device, precision, ranks, shard)
    costs = training_costs(work.recipe, rows, train=train, valid=valid, head=head, devices=ranks.count)
    most = MOST_EPOCHS if work.schema.images else work.recipe.epochs
    costs, epochs = ranks.from_first((costs, costs.epochs(left - (time.monotonic() - started), most)))
    if not epochs:
        least = (limit - left) + costs.once + costs.epoch
        raise RecipeError(
            f"no epoch fits into a limit of {show_seconds(limit)}",
            found=f"an epoch takes about {show_seconds(costs.epoch)}, and what is around the epochs "
            f"{show_seconds(costs.once + limit * PLANNED - left)}",
            fix=f"--time-limit {show_seconds(least / PLANNED * 1.1)}, or a smaller --image-size",
        )
    size = "x".join(map(str, work.recipe.image_size))
    shape = f" --image-size {size}" if work.schema.images else ""
    return epochs, (
        f"time limit {show_seconds(limit)}: {epochs} epochs of about {show_seconds(costs.epoch)} "
        f"(after a stop, go on with --epochs {epochs}{shape} --resume)"
    )


def show_seconds(seconds: float) -> str:
    """As ``--time-limit`` reads it: ``45s``, ``20min``, ``2.5h``."""
    if seconds < 120:
        return f"{max(1, round(seconds))}s"
    return f"{seconds / 60:.3g}min" if seconds < 7200 else f"{seconds / 3600:.3g}h"
