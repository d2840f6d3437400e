"""The memory plan: how a training is cut so that it fits, known before it starts and without its device.

The training step of the real network is traced with fake tensors, its requests are played through a model of
the allocator, and the largest micro-batch whose *high* end fits the budget is taken. A plan may change the
time of a training, never its answer, image size or batch size.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from importlib.metadata import version
from typing import Any, Protocol

import torch

from tenfold.engine.predict import ROWS_AT_ONCE
from tenfold.engine.ranks import Ranks, bucket_size
from tenfold.errors import RecipeError, TenfoldError
from tenfold.frames import html_table
from tenfold.memory.cache import digest, recall, remember
from tenfold.memory.cards import CPU_CONTEXT, CUDA_CONTEXT, Band, Card, find_card, show_bytes, stored_context
from tenfold.memory.forecast import Forecast, Forecaster, Timeline, matrix_workspace
from tenfold.memory.phases import Phases
from tenfold.memory.reductions import THREADS, UNKNOWN_CARD, Kernels
from tenfold.memory.speed import Rates, rates_of
from tenfold.memory.training import NetworkTraining, Trainable, first_line
from tenfold.nn.exact import cut_groups
from tenfold.recipe import Recipe
from tenfold.values import MemoryPlan, Sharding, savings

#: Largest batch that is looked for.
MOST_ROWS = 4096
#: Parts of the largest micro-batch that are looked at, too, on a CPU.
SMALLER = (2, 4, 8)
#: Numbers of passes that are looked at below one that fits.
NEAR = 3
#: Part of what a budget leaves for rows that is enough, where every number of them is a trace of its own.
ENOUGH = 0.95
#: Of a plan that may be exceeded by kernels that nothing is known of.
UNBOUNDED = (
    "grouped convolutions in half precision with channels first may need much more than the plan says: "
    "bring the network and its pictures to torch.channels_last"
)
#: What a network that cannot be traced may raise: its own code's errors, and those of fake tensors.
_UNTRACEABLE = (
    RuntimeError,
    AssertionError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    NotImplementedError,
)


@dataclass(frozen=True)
class Choice:
    """A way to cut a batch: what it is predicted to take.

    process_bytes, high_bytes: of the process, expected and at most.  seconds: of an optimizer step.
    blocks, offload: as of `MemoryPlan`.
    """

    micro_batch: int
    accumulation: int
    checkpoint: bool
    process_bytes: int
    high_bytes: int
    seconds: float
    fits: bool
    blocks: tuple[str, ...] = ()
    offload: bool = False

    @property
    def words(self) -> str:
        """``16 rows at once``."""
        saved = savings(self.checkpoint, self.blocks, self.offload)
        return ", ".join([f"{self.micro_batch} rows at once", *saved])


@dataclass(frozen=True, repr=False)
class Plan(MemoryPlan):
    """A memory plan and what it was made for.

    arch: name, or "" where a network was given.
    image_size: (height, width); (0, 0) of a user's own module, whose inputs may be no pictures.
    live_bytes, reserved_bytes: expected peaks of tensors and of the allocator.
    fits: whether the high end of the band is within the budget.
    fits_whole: whether the batch would fit undivided.
    largest_batch: rows that fit undivided; 0 if none do, or if that was not asked.
    seconds: predicted, of an optimizer step; 0 where the device's rates are not known (`memory.speed`).
    choices: cuts that were looked at, this one among them; empty where seconds are not known.
    """

    arch: str = ""
    image_size: tuple[int, int] = (0, 0)
    batch_size: int = 0
    budget_bytes: int = 0
    precision: str = "float32"
    device: str = "cuda"
    live_bytes: int = 0
    reserved_bytes: int = 0
    fits: bool = False
    fits_whole: bool = False
    largest_batch: int = 0
    seconds: float = 0.0
    choices: tuple[Choice, ...] = ()

    def _lines(self) -> tuple[str, list[tuple[str, str]]]:
        """A headline, and names with sizes."""
        size = f" at {'x'.join(map(str, self.image_size))}" if any(self.image_size) else ""
        within = ("may fit" if UNBOUNDED in self.notes else "fits") if self.fits else "does not fit"
        head = f"Plan of {self.arch or 'a network'}{size}, {self.precision} on {self.device}: "
        head += f"batch {self.batch_size} = {self.accumulation} x {self.micro_batch} rows"
        head = ", ".join([head, *savings(self.checkpoint, self.blocks, self.offload)])
        low, high = (show_bytes(size) for size in self.band_bytes)
        sizes = [("process", show_bytes(self.predicted_bytes)), ("low to high", f"{low} to {high}")]
        sizes += [("budget", f"{show_bytes(self.budget_bytes)} ({within})")]
        if self.largest_batch:
            sizes += [("largest batch at once", f"{self.largest_batch} rows")]
        if self.seconds:
            sizes += [("a step, predicted", f"{self.seconds:.3g} s")]
        return head, sizes

    def __repr__(self) -> str:
        head, sizes = self._lines()
        return "\n".join([head, *(f"  {name:<22} {text}" for name, text in sizes)])

    def _repr_html_(self) -> str:
        head, sizes = self._lines()
        parts = [(name, show_bytes(size)) for name, size in self.parts.items() if size]
        return html_table(head, ["", "memory"], [*sizes, *parts])

    def record(self) -> dict[str, object]:
        """The plan as it is printed with ``--json``."""
        return {
            "arch": self.arch,
            "image_size": list(self.image_size),
            "batch_size": self.batch_size,
            "micro_batch": self.micro_batch,
            "accumulation": self.accumulation,
            "checkpoint": self.checkpoint,
            "blocks": list(self.blocks),
            "offload": self.offload,
            "precision": self.precision,
            "device": self.device,
            "live_bytes": self.live_bytes,
            "reserved_bytes": self.reserved_bytes,
            "process_bytes": self.predicted_bytes,
            "band_bytes": list(self.band_bytes),
            "budget_bytes": self.budget_bytes,
            "parts": dict(self.parts),
            "fits": self.fits,
            "fits_whole": self.fits_whole,
            "largest_batch": self.largest_batch,
            "seconds": self.seconds,
            "choices": [asdict(choice) for choice in self.choices],
            "notes": list(self.notes),
        }


#: Choices of a recipe that decide nothing of its memory.
_NOT_OF_MEMORY = {
    *("arch", "weights", "resize", "epochs", "frozen_epochs", "lr", "weight_decay", "warmup", "seed"),
    *("split_seed", "valid", "fold", "patience", "keep", "monitor", "views", "tta", "plain_weight"),
    *("class_weights", "calibrate_probabilities", "familiarity", "unknown_rate", "embedding"),
}


@dataclass(frozen=True)
class PlanRequest:
    """What a plan is made for.

    recipe: its `precision` ``auto`` is bfloat16 or float16 as the card has it, and float32 on a CPU.
    budget_bytes: what the whole process may hold.
    device: ``cuda`` or ``cpu``; it need not be there.  card: or its name, where it is known.
    micro_batch: take this many rows, and report what they need.
    classes: outputs of the last layer, where only the architecture is given.
    checkpoint: recompute activations in the backward pass.  blocks, offload: as of `MemoryPlan`.
    evaluated: rows that are evaluated together between epochs; as many as `engine.predict` takes where None.
    context: what the process that will train holds beside its tensors, where that is known.
    cached: look up and keep the plans of architectures in the user's cache folder.
    devices: how many share each batch; the plan is of the one with the most rows.
    shard: each of them keeps only a part of the optimizer's state and of the averaged weights; the plan is of
        the largest part.  shard_weights: and of weights and gradients.
    largest: look for the largest batch that fits undivided, too.
    """

    budget_bytes: int
    recipe: Recipe = field(default_factory=Recipe)
    device: str = "cuda"
    card: Card | str | None = None
    micro_batch: int | None = None
    classes: int = 1000
    checkpoint: bool = False
    evaluated: int | None = None
    context: Band | None = None
    cached: bool = True
    devices: int = 1
    shard: bool = False
    shard_weights: bool = False
    blocks: tuple[str, ...] = ()
    offload: bool = False
    largest: bool = True

    def __post_init__(self) -> None:
        if self.shard_weights:
            object.__setattr__(self, "checkpoint", True)  # blocks that are split compute again
        problems = []
        batch = self.recipe.batch_size
        if self.device not in ("cuda", "cpu"):
            problems.append(f"no plan for device {self.device!r}: give cuda or cpu")
        if isinstance(self.card, str) and find_card(self.card) is None:
            problems.append(f"no card {self.card!r} is known: leave it out, and give a budget in GiB")
        if self.micro_batch is not None and not 1 <= self.micro_batch <= batch:
            problems.append(f"micro_batch is {self.micro_batch}; it must be 1 to {batch}")
        if self.budget_bytes < 1:
            problems.append(f"budget_bytes is {self.budget_bytes}; it must be positive")
        if self.devices < 1:
            problems.append(f"devices is {self.devices}; it must be at least 1")
        if self.sharding and self.devices == 1:
            what = "_weights splits weights" if self.shard_weights else " splits the optimizer's state"
            problems.append(f"shard{what} over several devices: say how many")
        if self.offload and self.device == "cpu":
            problems.append("offload saves nothing on a CPU, whose memory is the host's: leave it out")
        if self.classes < 1:
            problems.append(f"classes is {self.classes}; it must be at least 1")
        if problems:
            raise RecipeError("a memory plan cannot be made of this", problems=problems)

    @property
    def sharding(self) -> Sharding:
        """What each device keeps only a part of."""
        return Sharding.WEIGHTS if self.shard_weights else Sharding(self.shard)

    @property
    def known_card(self) -> Card | None:
        """The card, where it is known."""
        return find_card(self.card) if isinstance(self.card, str) else self.card

    @property
    def precision(self) -> str:
        """Precision of the training, ``auto`` decided."""
        if self.recipe.precision != "auto":
            return self.recipe.precision
        if self.device == "cpu":
            return "float32"
        card = self.known_card
        return "float16" if card is not None and card.capability[0] < 8 else "bfloat16"

    @property
    def capability(self) -> tuple[int, int] | None:
        """The card's compute capability, (8, 0) where it is not known; None on a CPU."""
        if self.device != "cuda":
            return None
        return self.known_card.capability if self.known_card else (8, 0)

    @property
    def attention(self) -> str:
        """The kernels of attention, as `fake.fake_device` takes them."""
        return "flash" if self.capability is None or self.capability[0] >= 8 else "efficient"

    @property
    def kernels(self) -> Kernels:
        """What of the card decides the scratch space of its kernels."""
        card = self.known_card
        if card is None:
            return UNKNOWN_CARD
        threads = THREADS.get(card.capability, 2048)
        return Kernels(card.processors, threads, card.capability)

    def known_context(self) -> tuple[Band, str]:
        """What the process holds beside its tensors, and how that is known."""
        if self.context is None:
            return known_context(self.device, self.known_card)
        return self.context, f"this process holds {show_bytes(self.context.low)} before its training"

    def key(self, arch: str, what: str = "plan") -> str:
        """Digest of everything that decides the plan of an architecture. what: plan it is."""
        context, _ = self.known_context()
        card = self.known_card
        decides = {
            **{each.name: getattr(self, each.name) for each in fields(self)},
            "recipe": self.recipe.model_dump(mode="json", exclude=_NOT_OF_MEMORY),
            "card": asdict(card) if card else None,
            "context": asdict(context),
            "threads": torch.get_num_threads() if self.device == "cpu" else 0,
        }
        versions = torch.__version__, version("timm"), torch.backends.cpu.get_cpu_capability()
        return digest([what, arch, self.precision, decides, *versions])

    def traced(self, network: Trainable) -> Traced:
        """The step of a network, which is traced as far as a planner asks."""
        training = NetworkTraining(
            network,
            self.recipe,
            precision=self.precision,
            classes=self.classes,
            checkpoint=self.checkpoint,
            blocks=self.blocks,
            evaluated=ROWS_AT_ONCE[self.device] if self.evaluated is None else self.evaluated,
            parts=self.devices,
            sharding=self.sharding,
            offload=self.offload,
        )
        context, _ = self.known_context()
        phases = Phases(training, self.device, self.attention, self.kernels)
        workspace = matrix_workspace(self.capability) + self._shared_bytes(training)
        forecaster = Forecaster(
            phases,
            context=context,
            workspace=workspace,
            dropped=training.dropped(),
            absent=training.absent,
            others=training.others,
        )
        return training, forecaster

    def _shared_bytes(self, training: NetworkTraining) -> int:
        """What a device holds because others share the batch: the buffer through which gradients cross, and
        pictures of other devices' rows that mixup takes, before and after their augmentation; and of a block
        that computes the weights that others keep, and their gradients."""
        if self.devices == 1:
            return 0
        itemsize = 8 if self.precision == "float64" else 4
        sizes = [parameter.numel() for parameter in training.network.parameters()]
        height, width = self.recipe.image_size
        rows = part_of(training, self.recipe.batch_size, self.devices) if self.recipe.mixup else 0
        pictures = 2 * rows * 3 * height * width
        return itemsize * (bucket_size(sizes, itemsize) + pictures + 2 * training.gathered)

    @property
    def rates(self) -> Rates | None:
        """What the device does at most, where that is known."""
        return rates_of(self.device, self.known_card, self.precision)


@dataclass(frozen=True)
class Plans:
    """Plans of one network: the step of each way to recompute activations is traced once for all of them."""

    network: Trainable
    _traced: dict[tuple[bool, tuple[str, ...], bool], Traced] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The architecture, or "" of a network that was given."""
        return self.network if isinstance(self.network, str) else ""

    def plan(self, request: PlanRequest) -> Plan:
        """See `plan_memory`."""
        return self.kept(request, "plan", lambda: self.planner(request).plan(self.name))

    def kept(self, request: PlanRequest, what: str, make: Callable[[], Plan]) -> Plan:
        """A plan that was made before, or is made now, and kept under this word."""
        key = request.key(self.network, what) if isinstance(self.network, str) and request.cached else ""
        plan = _recall(key)
        if plan is None:
            with tracing(self.name or "the network"):
                plan = make()
            remember(key, asdict(plan))
        return plan

    def planner(self, request: PlanRequest) -> Planner:
        """Looks for the plan asked for; requests differ in their cut and in what is recomputed alone."""
        way = request.checkpoint, request.blocks, request.offload
        if way not in self._traced:
            self._traced[way] = request.traced(self.network)
        return Planner(*self._traced[way], request, request.known_context()[1])


def plan_memory(network: Trainable, request: PlanRequest) -> Plan:
    """The largest micro-batch with which a training fits the budget, and what it will hold.

    Raises RecipeError where the network refuses the size or cannot be traced, with the reason.
    """
    return Plans(network).plan(request)


def timeline(network: Trainable, plan: Plan, request: PlanRequest) -> Timeline:
    """Memory over one step of a plan that was made for this request."""
    with tracing(plan.arch or "the network"):
        how = replace(request, checkpoint=plan.checkpoint, blocks=plan.blocks, offload=plan.offload)
        return Plans(network).planner(how).timeline(plan.micro_batch)


def known_context(device: str, card: Card | None) -> tuple[Band, str]:
    """What a process holds beside its tensors, and how that is known."""
    name = card.name if card else device
    measured = stored_context(name)
    if measured is not None:
        return Band(measured, measured, measured), f"context of {name}: {show_bytes(measured)}, calibrated"
    band = CUDA_CONTEXT if device == "cuda" else CPU_CONTEXT
    return band, f"context of {name}: {show_bytes(band.expected)}, a named constant, not measured here"


class CutTraining(Protocol):
    """What a planner asks a training, beside what it traces."""

    @property
    def grouped(self) -> bool:
        """Whether a micro-batch must be a whole number of groups of several rows."""
        ...

    def groups(self, rows: int) -> tuple[int, ...]:
        """Sizes of the groups of so many rows that are not cut."""
        ...


#: A training and the forecasts of its step.
Traced = tuple[CutTraining, Forecaster]


def part_of(training: CutTraining, rows: int, devices: int) -> int:
    """Rows of a batch of so many that a device has, at most, where several share it."""
    return sum(Ranks(0, devices).largest_part(training.groups(rows)))


class Planner:
    """Looks for the cut of a batch."""

    def __init__(
        self, training: CutTraining, forecaster: Forecaster, request: PlanRequest, note: str
    ) -> None:
        self._training, self._forecaster, self._request = training, forecaster, request
        self._batch = request.recipe.batch_size
        self._notes = [note]
        if request.devices > 1:
            whole, self._batch = self._batch, part_of(training, self._batch, request.devices)
            part = "the optimizer's state"
            part = "weights, gradients and " * (request.sharding == Sharding.WEIGHTS) + part
            part = f" and the largest part of {part}" if request.sharding else ""
            self._notes.append(
                f"{request.devices} devices share each batch of {whole} rows; this plan is of one with "
                f"{self._batch} rows{part}. What NCCL holds beside PyTorch's tensors is not counted"
            )
        self._known: dict[tuple[int, int], Forecast] = {}

    def plan(self, arch: str) -> Plan:
        """The plan, for a network of this name."""
        request, batch = self._request, self._batch
        groups = self._training.groups(batch)
        if request.micro_batch is not None:
            micro = self._whole_groups(request.micro_batch)
            if micro != request.micro_batch:
                self._notes.append(f"a micro-batch of {micro} rows: BatchNorm groups are not cut")
            whole = self._fits(batch, batch)
        else:
            whole = self._fits(batch, batch)
            passes = 1 if whole else self._fewest_passes(groups)
            micro = _rows(groups, passes)
        forecast, choices = self._forecast(batch, micro), self._choices(micro)
        if not forecast.bounded:
            self._notes.append(UNBOUNDED)
        return Plan(
            micro_batch=micro,
            accumulation=len(cut_groups(groups, micro)),
            checkpoint=request.checkpoint,
            predicted_bytes=forecast.process,
            band_bytes=(forecast.band.low, forecast.band.high),
            parts=forecast.parts,
            notes=tuple(self._notes),
            blocks=request.blocks,
            offload=request.offload,
            arch=arch,
            image_size=request.recipe.image_size,
            batch_size=batch,
            budget_bytes=request.budget_bytes,
            precision=request.precision,
            device=request.device,
            live_bytes=forecast.live,
            reserved_bytes=forecast.reserved,
            fits=forecast.band.high <= request.budget_bytes,
            fits_whole=whole,
            largest_batch=self._largest_batch() if request.largest else 0,
            seconds=choices[0].seconds if choices else 0.0,
            choices=choices,
        )

    def _choices(self, micro: int) -> tuple[Choice, ...]:
        """This cut and, where a CPU's caches may like them better, smaller ones; none without rates."""
        rates, batch = self._request.rates, self._batch
        if rates is None:
            return ()
        wanted = [micro]
        if not rates.beside and self._request.micro_batch is None:
            wanted += [self._whole_groups(max(1, micro // part)) for part in SMALLER]
        choices = []
        for rows in dict.fromkeys(wanted):
            forecast, cut = self._forecast(batch, rows), cut_groups(self._training.groups(batch), rows)
            fits = forecast.band.high <= self._request.budget_bytes
            how = rows, len(cut), self._request.checkpoint, forecast.process, forecast.band.high
            seconds = self._forecaster.seconds(cut, rates)
            choices.append(Choice(*how, seconds, fits, self._request.blocks, self._request.offload))
        return tuple(choices)

    def larger(self, micro: int) -> list[int]:
        """Some cuts of the batch into fewer passes than with `micro` rows at once.

        Where groups are not cut, every number of them is a trace of its own, and few are looked at.
        """
        groups = self._training.groups(self._batch)
        passes = range(1, len(cut_groups(groups, micro)))
        looked = {*passes[: 2 if self._training.grouped else NEAR], *passes[-1:]}
        return sorted({_rows(groups, count) for count in looked} - {micro}, reverse=True)

    def recomputed(self, micro: int, rates: Rates) -> tuple[float, tuple[str, ...]] | None:
        """Seconds and blocks with which so many rows at once should fit, without a further trace; None where
        no blocks are enough.

        Those that keep most for a second of their forward pass are recomputed first, as PyTorch's partitioner
        does with its memory budget (torch._functorch.partitioners); while one is recomputed it is there.
        """
        batch, forecaster, named = self._batch, self._forecaster, list[str]()
        over = self._high(batch, micro) - self._request.budget_bytes
        freed = most = 0
        blocks = forecaster.blocks(micro, rates)
        worth = sorted(blocks, key=lambda name: blocks[name][0] / max(blocks[name][1], 1e-12), reverse=True)
        for name in worth:
            if freed - most >= over:
                break
            kept = int(blocks[name][0] * (1 + forecaster.spread))
            freed, most = freed + kept, max(most, kept)
            named.append(name)
        if freed - most < over:
            return None
        cut = cut_groups(self._training.groups(batch), micro)
        return forecaster.seconds(cut, rates, named), tuple(named)

    def offloaded(self, rates: Rates) -> float:
        """The least seconds of a step with the optimizer's state in the host's memory, without a further
        trace: the batch goes through at once."""
        return self._forecaster.seconds([self._batch], rates) + self._forecaster.crossing(rates)

    def timeline(self, micro: int) -> Timeline:
        """Memory over a step with micro-batches of so many rows."""
        batch = self._batch
        return self._forecaster.timeline(batch, cut_groups(self._training.groups(batch), micro))

    def _whole_groups(self, micro: int) -> int:
        """The most rows of at most `micro` that are whole groups; one group if it is larger."""
        return max(cut_groups(self._training.groups(self._batch), micro))

    def _forecast(self, batch: int, micro: int) -> Forecast:
        if (batch, micro) not in self._known:
            cut = cut_groups(self._training.groups(batch), micro)
            self._known[batch, micro] = self._forecaster.forecast(batch, cut)
        return self._known[batch, micro]

    def _high(self, batch: int, micro: int) -> int:
        return self._forecast(batch, micro).band.high

    def _fits(self, batch: int, micro: int) -> bool:
        return self._high(batch, micro) <= self._request.budget_bytes

    def _fewest_passes(self, groups: Sequence[int]) -> int:
        """The smallest number of micro-batches that fit; all there are where none does."""
        batch, most = self._batch, len(groups)
        low, high = 1, most  # `low` passes do not fit; `high` is the answer if nothing before it fits
        if not self._fits(batch, _rows(groups, most)):
            return most
        while high - low > 1:
            middle = self._guess(groups, low, high)
            if self._fits(batch, _rows(groups, middle)):
                high = middle
            else:
                low = middle
        # What is reserved is not quite monotone in the rows: a little fewer passes may fit after all.
        for fewer in range(max(low, high - NEAR), 1, -1) if not self._training.grouped else ():
            if self._fits(batch, _rows(groups, fewer)):
                high = fewer
        return high

    def _guess(self, groups: Sequence[int], low: int, high: int) -> int:
        """Where between `low` and `high` passes the budget is met, need being linear in the rows."""
        batch, budget = self._batch, self._request.budget_bytes
        large, small = _rows(groups, low), _rows(groups, high)
        over, under = self._high(batch, large), self._high(batch, small)
        if over <= under:
            return (low + high) // 2
        rows = small + (large - small) * (budget - under) / (over - under)
        passes = next((k for k in range(low + 1, high) if _rows(groups, k) <= rows), high - 1)
        return min(max(passes, low + 1), high - 1)

    def _largest_batch(self) -> int:
        """A number of rows that fits at once, near to one that does not: secants, for memory is nearly linear
        in the rows. The number that is returned was looked at: small batches say little of large ones, which
        leave no room for the workspaces of the fastest kernels.
        """
        group, budget = self._request.recipe.batchnorm_group, self._request.budget_bytes
        grouped = self._training.grouped and isinstance(group, int)
        step = group if grouped and isinstance(group, int) else 1
        most = max(MOST_ROWS // step, 1)

        def high(count: int) -> int:
            return self._high(count * step, count * step)

        if high(1) > budget:
            return 0
        fits, over, before = 1, most + 1, 1
        count = self._batch // step
        # Where groups are not cut, every number of them is a trace of its own.
        for _ in range(6 if grouped else 16):
            if over - fits <= max(1, fits // (16 if grouped else 64)):
                break
            if grouped and fits > 1 and high(fits) - high(1) > ENOUGH * (budget - high(1)):
                break
            count = min(max(count, fits + 1), over - 1)
            if high(count) > budget:
                over = count
            else:
                before, fits = fits, count
            low, up = (fits, over) if over <= most else (before, fits)
            slope = (high(up) - high(low)) / max(up - low, 1)
            count = fits + int((budget - high(fits)) / slope) if slope > 0 else 2 * fits
            if over <= most:
                # What few rows need is nearly flat: a line from there may come nearer too slowly.
                count = max(count, fits + (over - fits) // 8)
        return fits * step


def _rows(groups: Sequence[int], passes: int) -> int:
    """Rows to a micro-batch when groups are shared out among so many, as evenly as can be."""
    return sum(groups[: -(-len(groups) // passes)])


@contextmanager
def tracing(name: str, fix: str = "give --micro-batch, and let the training find out") -> Iterator[None]:
    """Turns what a network raises while it is traced into one line about it, and what to do.

    Garbage is collected afterwards, not between the phases, each of which leaves a network's graph behind.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    except TenfoldError:
        raise
    except _UNTRACEABLE as error:
        raise RecipeError(
            f"{name} cannot be planned: {first_line(error)[:200]}",
            found=f"{type(error).__name__} while its training step was traced",
            fix=fix,
        ) from error
    finally:
        if collecting:
            gc.enable()


def _recall(key: str) -> Plan | None:
    kept = recall(key)
    if kept is None or set(kept) != {each.name for each in fields(Plan)}:
        return None  # nothing, or another version's: it is made anew
    choices: list[dict[str, Any]] = kept["choices"]  # pyright: ignore[reportAssignmentType]
    kept["choices"] = [Choice(**{**each, "blocks": tuple(each["blocks"])}) for each in choices]
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in kept.items()}
    return replace(Plan(0), **values)
