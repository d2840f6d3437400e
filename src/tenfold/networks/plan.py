"""Plan memory before a training: for architectures by name, for a job file, or for a training at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from tenfold.data.tables.jobfile import read_job
from tenfold.errors import RecipeError
from tenfold.events import Listener, begin_stage
from tenfold.memory.calibrate import calibrate
from tenfold.memory.cards import parse_bytes, show_bytes
from tenfold.memory.choose import Refusal, plan_each
from tenfold.memory.plan import Plan, PlanRequest, timeline
from tenfold.recipe import Recipe
from tenfold.reports.pages import write_plan


def plan(
    archs: str | Sequence[str],
    *,
    budget: str | int = "16GiB",
    recipe: Recipe | None = None,
    device: str = "cuda",
    **options: object,
) -> list[Plan | Refusal]:
    """How trainings of these architectures fit a budget; no GPU is needed.

    archs: names of timm.  budget: a size, a card's name (``T4``) or ``auto`` (this machine's free memory).
    recipe: what is trained.  options: fields of the recipe, or of `PlanRequest`, that replace it.
    device: ``cuda`` or ``cpu``, which need not be there.
    Returns a plan per architecture, or the reason why there is none, in one line.
    """
    names = [archs] if isinstance(archs, str) else list(archs)
    return plan_each(names, _request_of(budget, device, recipe or Recipe(), options))


def _request_of(budget: str | int, device: str, recipe: Recipe, options: Mapping[str, object]) -> PlanRequest:
    """Return what a plan is made for. options: see `plan`."""
    size = parse_bytes(budget)
    chosen = {name: value for name, value in options.items() if name in Recipe.model_fields}
    others = {name: value for name, value in options.items() if name not in chosen}
    recipe = Recipe(**{**recipe.model_dump(exclude_unset=True), **chosen})
    return replace(PlanRequest(size.size_bytes, recipe, device, size.card), **others)


class PlanOptions(Protocol):
    """What ``tenfold plan`` takes."""

    archs: list[str]
    budget: str
    device: str
    image_size: str | None
    batch_size: int | None
    micro_batch: int | None
    precision: str | None
    optimizer: str | None
    classes: int | None
    checkpoint: bool
    offload: bool
    devices: int | None
    shard: bool
    shard_weights: bool


def plan_command(
    asked: PlanOptions, on_progress: Listener | None = None
) -> tuple[list[Plan | Refusal], PlanRequest]:
    """Plans as ``tenfold plan`` asks for them, and what they are made for.

    Its architectures, or a job file; the options replace fields of its recipe. on_progress: told of each.
    """
    archs, recipe = asked.archs, Recipe()
    if archs[0].lower().endswith(".toml"):
        if len(archs) > 1:
            raise RecipeError("a plan takes a single job file", fix="leave out the other names")
        recipe = Recipe(**read_job(archs[0]).recipe)
        archs = [recipe.arch]
    names = ("image_size", "batch_size", "micro_batch", "precision", "optimizer", "classes", "checkpoint")
    names += ("offload", "devices", "shard", "shard_weights")
    options = {name: getattr(asked, name) for name in names}
    options = {name: value for name, value in options.items() if value is not None and value is not False}
    request = _request_of(asked.budget, asked.device, recipe, options)
    plans = []
    for number, arch in enumerate(archs, start=1):
        begin_stage(on_progress, f"planning {arch} ({number} of {len(archs)})")
        plans += plan_each([arch], request)
    return plans, request


def draw_plan(plan: Plan | Refusal, request: PlanRequest, path: str) -> None:
    """Write the chart of memory over a step of a plan.

    Raises RecipeError where there is no plan to draw.
    """
    if isinstance(plan, Refusal):
        raise RecipeError(f"{plan.arch} has no plan: {plan.reason}", fix="choose another architecture")
    drawn = timeline(plan.arch, plan, request)
    held = {kind: drawn.held[:, index] for index, kind in enumerate(drawn.kinds)}
    size = "x".join(map(str, plan.image_size))
    recipe = [f"batches of {plan.batch_size} rows, pictures of {size}, {plan.precision}, on {plan.device}"]
    step = held, drawn.reserved, drawn.phases
    write_plan(path, plan.arch, plan, request.budget_bytes, step, plan.fits, recipe)


def calibrate_device() -> str:
    """Measure what a process holds beside its tensors on this machine, and keep it; returns a message."""
    name, size = calibrate()
    return f"{name}: a process holds {show_bytes(size)} beside its tensors"
