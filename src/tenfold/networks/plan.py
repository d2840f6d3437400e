"""Plan memory before a training: for architectures by name, for a job file, or for a training at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tenfold.data.tables.jobfile import read_job
from tenfold.errors import RecipeError
from tenfold.memory.calibrate import calibrate
from tenfold.memory.cards import parse_bytes, show_bytes
from tenfold.memory.plan import Plan, Refusal, plan_each, timeline
from tenfold.recipe import Recipe
from tenfold.reports.charts import memory_chart
from tenfold.reports.html import write_charts


def plan(
    archs: str | Sequence[str],
    *,
    budget: str | int = "16GiB",
    recipe: Recipe | None = None,
    device: str = "cuda",
    **options: Any,
) -> list[Plan | Refusal]:
    """How trainings of these architectures fit a budget; no GPU is needed.

    archs: names of timm.  budget: a size, a card's name (``T4``) or ``auto`` (this machine's free memory).
    recipe: what is trained; its fields that matter to memory are used, and `options` replace them.
    device: ``cuda`` or ``cpu``, which need not be there.
    Returns a plan per architecture, or the reason why there is none, in one line.
    """
    size = parse_bytes(budget)
    chosen = {**recipe_options(recipe), **options} if recipe else options
    names = [archs] if isinstance(archs, str) else list(archs)
    return plan_each(names, budget_bytes=size.size_bytes, device=device, card=size.card, **chosen)


def plan_job(path: str, *, budget: str | int = "16GiB", **options: Any) -> list[Plan | Refusal]:
    """The plan of a job file's training."""
    recipe = Recipe(**read_job(path).recipe)
    return plan(recipe.arch, budget=budget, recipe=recipe, **options)


def recipe_options(recipe: Recipe) -> dict[str, Any]:
    """The choices of a recipe that memory depends on, as `plan_memory` names them."""
    names = (
        "image_size", "batch_size", "precision", "clip_norm", "ema", "dropout", "drop_path",
        "label_smoothing", "augment", "batchnorm_group",
    )  # fmt: skip
    return {name: getattr(recipe, name) for name in names}


def plan_request(given: Mapping[str, Any]) -> list[Plan | Refusal]:
    """Plans as ``tenfold plan`` asks for them: architectures, or a job file; what is given replaces it."""
    options = _asked(given)
    first = given["archs"][0]
    if first.lower().endswith(".toml"):
        if len(given["archs"]) > 1:
            raise RecipeError("one job file at a time", fix="leave out the other names")
        return plan_job(first, budget=given["budget"], device=given["device"], **options)
    return plan(given["archs"], budget=given["budget"], device=given["device"], **options)


def draw_plan(found: Plan | Refusal, given: Mapping[str, Any]) -> None:
    """Write the picture of memory over one step of a plan to the file that was asked for.

    Raises RecipeError where there is no plan to draw.
    """
    if isinstance(found, Refusal):
        raise RecipeError(f"{found.arch} has no plan: {found.reason}", fix="choose another architecture")
    size = parse_bytes(given["budget"])
    drawn = timeline(found.arch, found, card=size.card, **_asked(given))
    held = {kind: drawn.held[:, index] for index, kind in enumerate(drawn.kinds)}
    title = f"{found.arch}, {found.micro_batch} rows at once"
    write_charts(given["plot"], "Memory", [memory_chart(held, drawn.reserved, drawn.phases, title)])


def calibrate_device() -> str:
    """Measure what a process holds beside its tensors on this machine, and keep it; one line that says it."""
    name, size = calibrate()
    return f"{name}: a process holds {show_bytes(size)} beside its tensors"


def _asked(given: Mapping[str, Any]) -> dict[str, Any]:
    names = ("image_size", "batch_size", "micro_batch", "precision", "optimizer", "classes", "checkpoint")
    return {name: given[name] for name in names if given[name] not in (None, False)}
