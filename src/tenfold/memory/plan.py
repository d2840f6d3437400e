"""The memory plan: how a training is cut so that it fits, known before it starts and without its device.

The training step of the real network is traced on ghosts, its requests are played through a model of the
allocator, and the largest micro-batch whose *high* end fits the budget is taken. A plan may change the
time of a training, never its answer, image size or batch size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from importlib.metadata import version
from typing import Any, Literal

import torch
from torch import nn

from tenfold.errors import MemoryBudgetError, RecipeError, TenfoldError, did_you_mean
from tenfold.memory.cache import digest, recall, remember
from tenfold.memory.calibrate import calibrate
from tenfold.memory.cards import (
    CPU_CONTEXT,
    CUDA_CONTEXT,
    Band,
    Card,
    find_card,
    show_bytes,
    stored_context,
)
from tenfold.memory.forecast import Forecast, Forecaster, Timeline, matrix_workspace
from tenfold.memory.program import OPTIMIZERS, ImageProgram, Settings, first_line
from tenfold.nn.exact import cut_groups
from tenfold.recipe import parse_size
from tenfold.values import MemoryPlan

__all__ = [
    "Plan",
    "Refusal",
    "calibrate",
    "known_context",
    "plan_each",
    "plan_memory",
    "plan_to_fit",
    "timeline",
]

#: Rows that are evaluated together between epochs (see `engine.predict`).
EVALUATED = {"cpu": 16, "cuda": 64}
#: Largest batch that is looked for.
MOST_ROWS = 4096
#: Numbers of passes that are looked at below one that fits.
NEAR = 3
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

Trained = str | Callable[[], nn.Module] | nn.Module


@dataclass(frozen=True)
class Plan(MemoryPlan):
    """A memory plan and what it was made for.

    arch: name, or "" where a network was given.  image_size: (height, width).
    live_bytes, reserved_bytes: expected peaks of tensors and of the allocator.
    fits: whether the high end of the band is within the budget.
    fits_whole: whether the batch would fit undivided.
    largest_batch: rows that fit undivided, 0 if none do.
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

    def record(self) -> dict[str, Any]:
        """The plan as it is printed with ``--json``."""
        return {
            "arch": self.arch,
            "image_size": list(self.image_size),
            "batch_size": self.batch_size,
            "micro_batch": self.micro_batch,
            "accumulation": self.accumulation,
            "checkpoint": self.checkpoint,
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
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class Refusal:
    """Why there is no plan for an architecture, in one line."""

    arch: str
    reason: str

    def record(self) -> dict[str, Any]:
        """The refusal as it is printed with ``--json``."""
        return {"arch": self.arch, "reason": self.reason, "fits": False}


def plan_memory(
    arch: Trained,
    *,
    image_size: int | str | tuple[int, int] = 224,
    batch_size: int = 64,
    budget_bytes: int,
    micro_batch: int | None = None,
    precision: str = "auto",
    optimizer: str = "adamw",
    checkpoint: bool = False,
    classes: int = 1000,
    clip_norm: float = 1.0,
    ema: float = 0.99,
    dropout: float = 0.2,
    drop_path: float = 0.1,
    label_smoothing: float = 0.1,
    augment: str = "light",
    batchnorm_group: int | Literal["frozen"] = 16,
    device: str = "cuda",
    card: str | Card | None = None,
    evaluated: int | None = None,
    context: Band | None = None,
    cached: bool = True,
) -> Plan:
    """The largest micro-batch with which a training fits the budget, and what it will hold.

    arch: architecture of timm; or a function that builds, or a network that is (see `ImageProgram`).
    budget_bytes: what the whole process may hold.  micro_batch: take this many rows, and say what they need.
    precision: as in a recipe; ``auto`` is bfloat16 or float16 as the card has it, float32 on a CPU.
    device: ``cuda`` or ``cpu``; it need not be there.  card: name, where it is known.
    context: what the process that will train holds beside its tensors, where that is known.
    cached: look up and keep answers for architectures in the user's cache folder.
    Raises RecipeError where the network refuses the size or cannot be traced, with the reason.
    """
    if device not in ("cuda", "cpu"):
        raise RecipeError(f"no plan for device {device!r}", fix="give cuda or cpu")
    known = find_card(card) if isinstance(card, str) else card
    if isinstance(card, str) and known is None:
        raise RecipeError(f"no card {card!r} is known", fix="leave it out, and give a budget in GiB")
    settings = Settings(
        image_size=_size(image_size),
        precision=_precision(precision, device, known),
        classes=classes,
        optimizer=optimizer,
        checkpoint=checkpoint,
        batchnorm_group=batchnorm_group,
        clip_norm=clip_norm,
        ema=ema,
        dropout=dropout,
        drop_path=drop_path,
        label_smoothing=label_smoothing,
        augment=augment,
        evaluated=EVALUATED[device] if evaluated is None else evaluated,
    )
    asked = _Asked(settings, batch_size, budget_bytes, micro_batch, device, known, context)
    asked.check()
    if not isinstance(arch, str):
        return _plan(arch, asked)
    key = _key(arch, asked) if cached else ""
    found = _recall(key)
    if found is None:
        found = _plan(arch, asked)
        remember(key, asdict(found))
    return found


def plan_each(archs: Sequence[str], **options: Any) -> list[Plan | Refusal]:
    """`plan_memory` of several architectures; one that cannot be planned does not stop the others."""
    found: list[Plan | Refusal] = []
    for arch in archs:
        try:
            found.append(plan_memory(arch, **options))
        except TenfoldError as error:
            found.append(Refusal(arch, error.headline))
    return found


def plan_to_fit(arch: Trained, **options: Any) -> Plan:
    """A plan that fits: as `plan_memory`, with activations recomputed where it does not fit otherwise.

    Raises MemoryBudgetError with the parts of the smallest possible micro-batch, and what would help.
    """
    plan = plan_memory(arch, **options)
    if plan.fits or options.get("micro_batch") is not None:
        return plan
    remedies = []
    if not plan.checkpoint:
        try:
            recomputed = plan_memory(arch, **{**options, "checkpoint": True})
        except RecipeError:
            pass  # this backbone has no blocks to recompute
        else:
            if recomputed.fits:
                said = "activations are recomputed in the backward pass: otherwise not one micro-batch fits"
                return replace(recomputed, notes=(*recomputed.notes, said))
            remedies.append(f"even checkpoint=true needs {show_bytes(recomputed.band_bytes[1])}")
    rows = "one row" if plan.micro_batch == 1 else f"a micro-batch of {plan.micro_batch} rows"
    height, width = plan.image_size
    raise MemoryBudgetError(
        f"{rows} of {plan.arch or 'the network'} at {height}x{width} needs "
        f"{show_bytes(plan.band_bytes[1])}; budget {show_bytes(plan.budget_bytes)}.",
        parts="  ".join(f"{name} {show_bytes(size)}" for name, size in plan.parts.items() if size),
        fix=", ".join(
            [*remedies, "a smaller image_size", f"or a budget of {show_bytes(plan.band_bytes[1] * 1.01)}"]
        ),
    )


def timeline(arch: Trained, plan: Plan, **options: Any) -> Timeline:
    """Memory over one step of a plan. options: those of `plan_memory` that the plan was made with."""
    options.pop("cached", None)
    known = options.pop("card", None)
    known = find_card(known) if isinstance(known, str) else known
    names = {one.name for one in fields(Settings)} - {"image_size", "precision", "checkpoint"}
    settings = Settings(
        plan.image_size,
        plan.precision,
        checkpoint=plan.checkpoint,
        **{"evaluated": EVALUATED[plan.device], **{k: v for k, v in options.items() if k in names}},
    )
    asked = _Asked(settings, plan.batch_size, plan.budget_bytes, plan.micro_batch, plan.device, known)
    with _traced(plan.arch or "the network"):
        return asked.planner(arch).timeline(plan.micro_batch)


@dataclass(frozen=True)
class _Asked:
    """What decides a plan, beside the network."""

    settings: Settings
    batch_size: int
    budget_bytes: int
    micro_batch: int | None
    device: str
    card: Card | None
    context: Band | None = None

    def check(self) -> None:
        problems = []
        if self.batch_size < 1:
            problems.append(f"batch_size is {self.batch_size}; it must be at least 1")
        if self.micro_batch is not None and not 1 <= self.micro_batch <= self.batch_size:
            problems.append(f"micro_batch is {self.micro_batch}; it must be 1 to {self.batch_size}")
        if self.budget_bytes < 1:
            problems.append(f"budget_bytes is {self.budget_bytes}; it must be positive")
        if self.settings.classes < 1:
            problems.append(f"classes is {self.settings.classes}; it must be at least 1")
        if self.settings.optimizer not in OPTIMIZERS:
            hint = did_you_mean(self.settings.optimizer, OPTIMIZERS)
            problems.append(f"optimizer {self.settings.optimizer!r} is not known: {hint}")
        if problems:
            raise RecipeError("a memory plan cannot be made of this", problems=problems)

    def known_context(self) -> tuple[Band, str]:
        if self.context is None:
            return known_context(self.device, self.card)
        return self.context, f"this process holds {show_bytes(self.context.low)} before its training"

    def planner(self, arch: Trained) -> _Planner:
        program = ImageProgram(arch, self.settings, device=self.device)
        capability = (self.card.capability if self.card else (8, 0)) if self.device == "cuda" else None
        context, said = self.known_context()
        forecaster = Forecaster(
            program,
            device=self.device,
            attention="flash" if capability is None or capability[0] >= 8 else "efficient",
            context=context,
            workspace=matrix_workspace(capability),
        )
        return _Planner(program, forecaster, self, said)


def known_context(device: str, card: Card | None) -> tuple[Band, str]:
    """What a process holds beside its tensors, and how that is known."""
    name = card.name if card else device
    measured = stored_context(name)
    if measured is not None:
        return Band(measured, measured, measured), f"context of {name}: {show_bytes(measured)}, calibrated"
    band = CUDA_CONTEXT if device == "cuda" else CPU_CONTEXT
    return band, f"context of {name}: {show_bytes(band.expected)}, a named constant, not measured here"


class _Planner:
    """Looks for the cut of one batch."""

    def __init__(self, program: ImageProgram, forecaster: Forecaster, asked: _Asked, said: str) -> None:
        self._program, self._forecaster, self._asked = program, forecaster, asked
        self._notes = [said]
        self._known: dict[tuple[int, int], Forecast] = {}

    def plan(self, arch: str) -> Plan:
        asked = self._asked
        groups = self._program.groups(asked.batch_size)
        if asked.micro_batch is not None:
            micro = self._whole_groups(asked.micro_batch)
            if micro != asked.micro_batch:
                self._notes.append(f"a micro-batch of {micro} rows: BatchNorm groups are not cut")
            whole = self._fits(asked.batch_size, asked.batch_size)
        else:
            whole = self._fits(asked.batch_size, asked.batch_size)
            passes = 1 if whole else self._fewest_passes(groups)
            micro = _rows(groups, passes)
        forecast = self._forecast(asked.batch_size, micro)
        return Plan(
            micro_batch=micro,
            accumulation=len(cut_groups(groups, micro)),
            checkpoint=asked.settings.checkpoint,
            predicted_bytes=forecast.process,
            band_bytes=(forecast.band.low, forecast.band.high),
            parts=forecast.parts,
            notes=tuple(self._notes),
            arch=arch,
            image_size=asked.settings.image_size,
            batch_size=asked.batch_size,
            budget_bytes=asked.budget_bytes,
            precision=asked.settings.precision,
            device=asked.device,
            live_bytes=forecast.live,
            reserved_bytes=forecast.reserved,
            fits=forecast.band.high <= asked.budget_bytes,
            fits_whole=whole,
            largest_batch=self._largest_batch(),
        )

    def timeline(self, micro: int) -> Timeline:
        batch = self._asked.batch_size
        return self._forecaster.timeline(batch, cut_groups(self._program.groups(batch), micro))

    def _whole_groups(self, micro: int) -> int:
        """The most rows of at most `micro` that are whole groups; one group if it is larger."""
        return max(cut_groups(self._program.groups(self._asked.batch_size), micro))

    def _forecast(self, batch: int, micro: int) -> Forecast:
        if (batch, micro) not in self._known:
            cut = cut_groups(self._program.groups(batch), micro)
            self._known[batch, micro] = self._forecaster.forecast(batch, cut)
        return self._known[batch, micro]

    def _high(self, batch: int, micro: int) -> int:
        return self._forecast(batch, micro).band.high

    def _fits(self, batch: int, micro: int) -> bool:
        return self._high(batch, micro) <= self._asked.budget_bytes

    def _fewest_passes(self, groups: Sequence[int]) -> int:
        """The smallest number of micro-batches that fit; all there are where none does."""
        batch, most = self._asked.batch_size, len(groups)
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
        for fewer in range(max(low, high - NEAR), 1, -1) if not self._program.grouped else ():
            if self._fits(batch, _rows(groups, fewer)):
                high = fewer
        return high

    def _guess(self, groups: Sequence[int], low: int, high: int) -> int:
        """Where between `low` and `high` passes the budget is met, need being linear in the rows."""
        batch, budget = self._asked.batch_size, self._asked.budget_bytes
        large, small = _rows(groups, low), _rows(groups, high)
        over, under = self._high(batch, large), self._high(batch, small)
        if over <= under:
            return (low + high) // 2
        rows = small + (large - small) * (budget - under) / (over - under)
        passes = next((k for k in range(low + 1, high) if _rows(groups, k) <= rows), high - 1)
        return min(max(passes, low + 1), high - 1)

    def _largest_batch(self) -> int:
        """Rows that fit at once: found by secants, since what is needed is nearly linear in them."""
        group = self._asked.settings.batchnorm_group
        step = group if self._program.grouped and isinstance(group, int) else 1
        most = max(MOST_ROWS // step, 1)
        if not self._fits(step, step):
            return 0
        # A first guess from one step of rows and from the batch, both of which are known by now.
        second = max(2, self._asked.batch_size // step)
        guess = self._secant(1, second, step)
        if step > 1:
            # Every further group makes the trace longer, so that the guess is only made sure of nearby.
            return step * (int(guess * 0.97) if guess > 8 else self._down_to_fit(guess, step))
        for _ in range(3):
            other = max(1, guess - max(1, guess // 8))
            guess = self._secant(other, min(guess, most), step)
        return self._down_to_fit(min(guess, most), step)

    def _secant(self, first: int, second: int, step: int) -> int:
        low, high = (self._high(count * step, count * step) for count in (first, second))
        if second <= first or high <= low:
            return first
        found = first + int((second - first) * (self._asked.budget_bytes - low) / (high - low))
        return min(max(found, 1), max(MOST_ROWS // step, 1))

    def _down_to_fit(self, count: int, step: int) -> int:
        while count > 1 and not self._fits(count * step, count * step):
            count -= max(1, count // 64)
        return count


def _rows(groups: Sequence[int], passes: int) -> int:
    """Rows to a micro-batch when groups are shared out among so many, as evenly as can be."""
    return sum(groups[: -(-len(groups) // passes)])


def _plan(arch: Trained, asked: _Asked) -> Plan:
    name = arch if isinstance(arch, str) else ""
    with _traced(name or "the network"):
        return asked.planner(arch).plan(name)


@contextmanager
def _traced(name: str) -> Iterator[None]:
    """Turns what a network raises while it is traced into one line about it."""
    try:
        yield
    except TenfoldError:
        raise
    except _UNTRACEABLE as error:
        raise RecipeError(
            f"{name} cannot be planned: {first_line(error)[:200]}",
            found=f"{type(error).__name__} while its training step was traced",
            fix="give --micro-batch, and let the training find out",
        ) from error


def _size(image_size: int | str | tuple[int, int]) -> tuple[int, int]:
    try:
        return parse_size(image_size)
    except ValueError as error:
        raise RecipeError(f"image size {image_size!r} is not understood", fix=str(error)) from None


def _precision(precision: str, device: str, card: Card | None) -> str:
    if precision == "auto":
        if device == "cpu":
            return "float32"
        return "float16" if card is not None and card.capability[0] < 8 else "bfloat16"
    known = ("float32", "float16", "bfloat16", "float64")
    if precision not in known:
        raise RecipeError(f"precision {precision!r} is not known", fix=did_you_mean(precision, known))
    return precision


def _key(arch: str, asked: _Asked) -> str:
    """Digest of everything that decides the plan of an architecture."""
    context, _ = asked.known_context()
    threads = torch.get_num_threads() if asked.device == "cpu" else 0
    decides = [arch, asdict(asked), asdict(context), threads]
    return digest([*decides, torch.__version__, version("timm"), torch.backends.cpu.get_cpu_capability()])


def _recall(key: str) -> Plan | None:
    kept = recall(key)
    if kept is None:
        return None
    try:
        for name in ("band_bytes", "image_size", "notes"):
            kept[name] = tuple(kept[name])
        return Plan(**kept)
    except (KeyError, TypeError):
        return None  # another version's: it is made anew
