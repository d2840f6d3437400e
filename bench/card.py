"""The truth about a card: what tenfold promises of a GPU, measured on one in a few minutes.

    python bench/card.py [--json bench/results/card.json] [--only plan,largest]
    python bench/card.py --small        the same code on a CPU with tiny networks, as the tests run it

Promises that are checked; the exit code is 1 where one is broken:

    context     bytes that the process holds on the card beside its tensors
    plan        predicted memory against what was held, for the settings of fast.ai's lesson 7 with tenfold's
                own training (AdamW, averaged weights, clipping, augmentation on the card, evaluation)
    largest     a batch that is planned as fitting fits; how far the largest one that fits is above it
    exact       the gradient of a batch does not depend on how it is cut
    offload     with the optimizer's state in the host's memory the weights are the same to the bit, and the
                training fits its plan; what a step takes
    recovery    memory that runs out in the middle of a step changes nothing but the micro-batch
    speed       a step against a bare PyTorch loop, what accumulation and the copy for an undo cost
    targets     every kind of target gives the same losses as on the CPU
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests" / "support")]
os.environ.setdefault("TENFOLD_CACHE", tempfile.mkdtemp(prefix="tenfold-card-"))

import numpy as np  # noqa: E402
import timm  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402

from tenfold.data.encode import Encoding, Examples  # noqa: E402
from tenfold.engine.batches import Batch, training_batches  # noqa: E402
from tenfold.engine.device import free_memory, keep_freed_memory, process_peak, reset_peak  # noqa: E402
from tenfold.engine.step import Training, begin_training, train_step  # noqa: E402
from tenfold.engine.train import Trained, fit_network  # noqa: E402
from tenfold.engine.undo import Undo  # noqa: E402
from tenfold.memory.cards import GIB, MIB, Band, find_card  # noqa: E402
from tenfold.memory.plan import PlanRequest, plan_memory  # noqa: E402
from tenfold.nn.network import Network, build_network  # noqa: E402
from tenfold.recipe import Recipe  # noqa: E402
from tenfold.schema import CategoryTarget, ImageColumn, Schema  # noqa: E402
from tenfold.values import MemoryPlan  # noqa: E402
from training import Pictures, kinds_schema, make_encoding, make_kinds  # noqa: E402

CLASSES = tuple("abcdefghij")
SCHEMA = Schema(inputs=(ImageColumn(name="x", folder="x"),), targets=(CategoryTarget(name="y"),))


@dataclass(frozen=True)
class Profile:
    """What is measured, on a card or in small.

    plans: architecture, (height, width), rows at once, accumulation.
    largest: architecture, side, bytes that the process may hold.
    exact: architecture, side, rows of a batch, and the micro-batches that it is cut into.
    offload: architecture, (height, width), rows at once, accumulation.
    recovery: architecture, side, rows of a batch.
    speed: architecture, side, rows of a batch, rows at once when it is cut.
    """

    device: str
    precisions: tuple[str, ...]
    plans: tuple[tuple[str, tuple[int, int], int, int], ...]
    largest: tuple[tuple[str, int, int], ...]
    exact: tuple[tuple[str, int, int, tuple[int, ...]], ...]
    offload: tuple[tuple[str, tuple[int, int], int, int], ...]
    recovery: tuple[str, int, int]
    speed: tuple[tuple[str, int, int, int], ...]
    rounds: int


CARD = Profile(
    "cuda",
    ("bfloat16", "float16"),
    (
        ("convnext_small", (128, 128), 64, 1),
        ("convnext_small", (128, 128), 32, 2),
        ("convnext_small", (128, 128), 16, 4),
        ("convnext_large", (224, 224), 32, 2),
        ("convnext_large", (320, 240), 32, 2),
        ("vit_large_patch16_224", (224, 224), 32, 2),
        ("swinv2_large_window12_192", (192, 192), 32, 2),
        ("swin_large_patch4_window7_224", (224, 224), 32, 2),
        ("resnet50", (224, 224), 32, 2),
        ("tf_efficientnet_lite0", (224, 224), 64, 1),
    ),
    (
        ("resnet50", 224, 6 * GIB),
        ("convnext_small", 224, 8 * GIB),
        ("vit_small_patch16_224", 224, 5 * GIB),
    ),
    (
        ("resnet50", 128, 64, (32, 16)),
        ("convnext_tiny", 128, 64, (32, 8, 5)),
        ("vit_tiny_patch16_224", 224, 64, (16, 7)),
    ),
    (
        ("convnext_base", (160, 160), 16, 2),
        ("resnet50", (160, 160), 16, 2),
        ("vit_large_patch16_224", (224, 224), 8, 4),
    ),
    ("convnext_tiny", 160, 64),
    (("resnet50", 224, 64, 16), ("convnext_tiny", 224, 64, 16), ("vit_small_patch16_224", 224, 64, 16)),
    15,
)  # fmt: skip
SMALL = Profile(
    "cpu",
    ("float32",),
    (("test_convnext", (32, 32), 4, 2), ("test_resnet", (32, 32), 16, 2)),
    (("test_vit", 160, 900 * MIB),),
    (("test_resnet", 32, 32, (16,)), ("test_convnext", 32, 16, (8, 5)), ("test_vit", 160, 8, (3,))),
    (("test_convnext", (32, 32), 4, 2),),
    ("test_convnext", 32, 16),
    (("test_convnext", 32, 16, 8),),
    3,
)
#: Optimizer steps of a training whose memory is measured: the second is the first that finds the optimizer's
#: state. With float16 the first updates overflow and are left out, until the scale has come down.
STEPS = {"float32": 2, "bfloat16": 2, "float16": 8}
#: Largest difference of gradients by precision, as a fraction of the gradient's norm. Half precision rounds
#: each product, and which kernel makes it depends on the number of rows; float32 sums in another order.
NEARNESS = {"float64": 1e-10, "float32": 1e-4, "bfloat16": 5e-2}


@dataclass
class Findings:
    """Every measured figure, by section, and the promises that were broken."""

    figures: dict[str, Any] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    def add(self, section: str, **figures: Any) -> None:
        self.figures.setdefault(section, []).append(figures)
        shown = "   ".join(f"{name} {_shown(value)}" for name, value in figures.items())
        print(f"{section:<9} {shown}", flush=True)

    def promise(self, kept: bool, what: str) -> None:
        if not kept:
            self.broken.append(what)
            print(f"BROKEN    {what}", flush=True)


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= MIB:
        return f"{value / MIB:,.0f} MiB"
    return str(value)


# --- small trainings in memory -------------------------------------------------------------------------


def recipe_of(arch: str, size: tuple[int, int], batch: int, **more: Any) -> Recipe:
    """A recipe without pretrained weights; the rest are tenfold's defaults."""
    told = {"weights": "none", "epochs": 1, "frozen_epochs": 0, "valid": 0.0, **more}
    return Recipe(arch=arch, image_size=size, batch_size=batch, **told)


def examples_of(rows: int, size: tuple[int, int]) -> Examples:
    """Noise as pictures, in memory, with labels."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (rows, *size, 3), dtype=np.uint8)
    ids = np.array([str(row) for row in range(rows)], dtype=object)
    return Examples(ids, (Pictures(pixels),), {"y": np.arange(rows) % len(CLASSES)}, {"y": np.ones(rows)})


def encoding_of(size: tuple[int, int]) -> Encoding:
    return Encoding(classes={"y": CLASSES}, image_size=size)


def network_of(recipe: Recipe) -> Network:
    """A network whose last layer is not zero, so that every gradient counts from the first step."""
    network, _ = build_network(encoding_of(recipe.image_size), SCHEMA, recipe, fetch=False)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in network.last.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return network


def training_of(
    recipe: Recipe, device: str, precision: str, micro: int, *, offload: bool = False
) -> tuple[Training, Batch]:
    """A training that is about to take its first step, and the batch of that step."""
    network, encoding = network_of(recipe), encoding_of(recipe.image_size)
    training = begin_training(
        network, encoding, recipe, device=torch.device(device), precision=precision, micro_batch=micro,
        offload=offload,
    )  # fmt: skip
    return training, batch_of(training)


def batch_of(training: Training, rows: int | None = None) -> Batch:
    recipe = training.recipe
    rows = rows or recipe.batch_size
    examples = examples_of(rows, recipe.image_size)
    batches = training_batches(
        examples, [np.arange(rows)], recipe, training.preparation, epoch=0, first_step=0, workers=0,
        group=training.group,
    )  # fmt: skip
    training.network.train()
    return next(iter(batches))


@contextmanager
def limited(device: str, process_bytes: int, context: int) -> Iterator[None]:
    """Within the block this process may hold no more than that on its card. On a CPU nothing limits it."""
    if device != "cuda":
        yield
        return
    free_memory()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((process_bytes - context) / total)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        free_memory()


# --- what is measured ----------------------------------------------------------------------------------


def measure_context(found: Findings, profile: Profile) -> int:
    """Bytes of a process on its card that are no tensor's, after its libraries have been loaded."""
    if profile.device != "cuda":
        found.add("context", bytes=0, device="cpu")
        return 0
    x = torch.randn(8, 16, 32, 32, device="cuda", requires_grad=True)
    maps = F.conv2d(x, torch.randn(16, 16, 3, 3, device="cuda"), padding=1)
    (maps.flatten(1) @ torch.randn(maps[0].numel(), 64, device="cuda")).mean().backward()
    del x, maps
    free_memory()
    free, total = torch.cuda.mem_get_info()
    context = total - free - torch.cuda.memory_reserved()
    name, major = torch.cuda.get_device_name(), torch.cuda.get_device_capability()
    found.add("context", bytes=context, device=name, total=total, capability=f"{major[0]}.{major[1]}")
    return context


def plan_of(told: dict[str, Any]) -> dict[str, Any]:
    """A plan, made in a process that sees no card."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    context = told.pop("context")
    band = Band(context, context, context) if context is not None else None
    started = time.monotonic()
    recipe = Recipe(**told.pop("recipe"))
    plan = plan_memory(recipe.arch, PlanRequest(recipe=recipe, context=band, cached=False, **told))
    return {**plan.record(), "seconds": time.monotonic() - started}


def asked(
    recipe: Recipe, device: str, context: int, budget: int, precision: str = "", **more: Any
) -> dict[str, Any]:
    """What a plan of a recipe is asked with."""
    return {
        "recipe": {**recipe.model_dump(), **({"precision": precision} if precision else {})},
        "device": device,
        "classes": len(CLASSES),
        "budget_bytes": budget,
        "context": context if device == "cuda" else None,
        "card": find_card(torch.cuda.get_device_name()) if device == "cuda" else None,
        **more,
    }


def measure_plans(found: Findings, profile: Profile, context: int, pool: ProcessPoolExecutor) -> None:
    """Predicted and held memory of whole small trainings."""
    cases = [(case, precision) for case in profile.plans for precision in profile.precisions]
    waiting = []
    for (arch, size, rows, passes), precision in cases:
        recipe = recipe_of(arch, size, rows * passes, precision=precision)
        told = asked(recipe, profile.device, context, 80 * GIB, micro_batch=rows, precision=precision)
        waiting.append(pool.submit(plan_of, told))
    errors = []
    for ((arch, size, rows, passes), precision), one in zip(cases, waiting, strict=True):
        recipe = recipe_of(arch, size, rows * passes, precision=precision)
        trained, held = short_training(recipe, profile.device, precision, MemoryPlan(rows, passes))
        reserved = torch.cuda.max_memory_reserved() if profile.device == "cuda" else 0
        plan = one.result()
        error = (plan["process_bytes"] - held) / held
        low, high = plan["band_bytes"]
        found.add(
            "plan", arch=arch, size=f"{size[0]}x{size[1]}", rows=rows, passes=passes, precision=precision,
            planned=plan["process_bytes"], held=held, reserved=reserved,
            planned_reserved=plan["reserved_bytes"], error=round(error, 4), high=high,
            seconds=round(plan["seconds"], 2),
        )  # fmt: skip
        if profile.device == "cuda":
            errors.append(abs(error))
            what = f"held {held / MIB:,.0f} MiB, planned at most {high / MIB:,.0f}"
            found.promise(held <= high, f"{arch} {rows} rows {precision}: {what}")
        found.promise(trained.micro_batch == rows, f"{arch}: the micro-batch shrank to {trained.micro_batch}")
    if errors:
        found.add("plan", worst=max(errors), median=statistics.median(errors), settings=len(errors))


def short_training(recipe: Recipe, device: str, precision: str, plan: MemoryPlan) -> tuple[Trained, int]:
    """A whole training of a few steps: what it found, and bytes that the process held."""
    network, batch, size = network_of(recipe), recipe.batch_size, recipe.image_size
    free_memory()
    reset_peak(torch.device(device))
    rows = STEPS[precision] * batch
    trained = fit_network(
        network, encoding_of(size), examples_of(rows, size), train=np.arange(rows),
        valid=np.arange(min(batch, 64)), recipe=recipe, plan=replace(plan, workers=0),
        device=torch.device(device), precision=precision,
    )  # fmt: skip
    held = process_peak(torch.device(device))
    del network
    free_memory()
    return trained, held


def measure_offload(found: Findings, profile: Profile, context: int, pool: ProcessPoolExecutor) -> None:
    """Memory, weights and seconds of a step with the optimizer's state in the host's memory and without."""
    precision = profile.precisions[0]
    recipes = [
        recipe_of(arch, size, rows * passes, precision=precision)
        for arch, size, rows, passes in profile.offload
    ]
    waiting = []
    for recipe, (_, _, rows, _) in zip(recipes, profile.offload, strict=True):
        told = asked(recipe, profile.device, context, 80 * GIB, micro_batch=rows, precision=precision)
        # On a CPU a plan refuses it, since it saves nothing there.
        waiting.append(pool.submit(plan_of, {**told, "offload": profile.device == "cuda"}))
    for recipe, (arch, _, rows, passes), one in zip(recipes, profile.offload, waiting, strict=True):
        held, weights, seconds = {}, {}, {}
        for offload in (False, True):
            plan = MemoryPlan(rows, passes, offload=offload)
            _, held[offload] = short_training(recipe, profile.device, precision, plan)
            seconds[offload] = statistics.median(_steps(recipe, profile.device, rows, offload, 6)[1][2:])
            # The backward pass of attention adds in any order unless it is told not to.
            torch.use_deterministic_algorithms(True, warn_only=True)
            weights[offload] = _steps(recipe, profile.device, rows, offload, 3)[0]
            torch.use_deterministic_algorithms(False)
        same = all(torch.equal(value, weights[True][name]) for name, value in weights[False].items())
        plan, state = one.result(), 12 * sum(value.numel() for value in weights[False].values())
        found.add(
            "offload", arch=arch, rows=rows, passes=passes, precision=precision, held=held[False],
            offloaded=held[True], planned=plan["process_bytes"], high=plan["band_bytes"][1], state=state,
            seconds=round(seconds[False], 4), offloaded_seconds=round(seconds[True], 4), same=same,
        )  # fmt: skip
        found.promise(same, f"{arch}: other weights with the optimizer's state in the host's memory")
        if profile.device == "cuda":
            what = f"held {held[True] / MIB:,.0f} MiB, planned at most {plan['band_bytes'][1] / MIB:,.0f}"
            found.promise(held[True] <= plan["band_bytes"][1], f"{arch}, offloaded: {what}")


def _steps(
    recipe: Recipe, device: str, rows: int, offload: bool, count: int
) -> tuple[dict[str, torch.Tensor], list[float]]:
    """The weights after some steps, and the seconds of each."""
    training, batch = training_of(recipe, device, str(recipe.precision), rows, offload=offload)
    seconds = []
    for step in range(count):
        _wait(device)
        started = time.perf_counter()
        train_step(training, batch, step)
        _wait(device)
        seconds.append(time.perf_counter() - started)
    weights = {name: value.detach().cpu() for name, value in training.network.state_dict().items()}
    del training, batch
    free_memory()
    return weights, seconds


def measure_largest(found: Findings, profile: Profile, context: int, pool: ProcessPoolExecutor) -> None:
    """The largest undivided batch that is planned as fitting, and the largest that fits."""
    waiting = []
    precision = profile.precisions[0]
    for arch, side, budget in profile.largest:
        recipe = recipe_of(arch, (side, side), 16, precision=precision)
        waiting.append(
            pool.submit(plan_of, asked(recipe, profile.device, context, budget, precision=precision))
        )
    for (arch, side, budget), one in zip(profile.largest, waiting, strict=True):
        planned = one.result()["largest_batch"]
        step = 16 if planned % 16 == 0 else 1  # whole groups of BatchNorm

        def fits(rows: int, arch: str = arch, side: int = side, budget: int = budget) -> bool:
            recipe = recipe_of(arch, (side, side), rows, precision=precision)
            network = network_of(recipe)
            with limited(profile.device, budget, context):
                trained = fit_network(
                    network, encoding_of((side, side)), examples_of(2 * rows, (side, side)),
                    train=np.arange(2 * rows), valid=np.arange(min(rows, 64)), recipe=recipe,
                    plan=MemoryPlan(rows, 1, workers=0), device=torch.device(profile.device),
                    precision=precision,
                )  # fmt: skip
                del network
            return trained.micro_batch == rows

        found.promise(planned >= 1, f"{arch}: no row is planned as fitting {budget / GIB:.0f} GiB")
        found.promise(fits(planned), f"{arch}: {planned} rows are planned as fitting and do not")
        most = planned
        if profile.device == "cuda":
            for part in (1.02, 1.05, 1.1, 1.15, 1.2, 1.3):
                rows = -(-int(planned * part) // step) * step
                if rows > most:
                    if not fits(rows):
                        break
                    most = rows
        found.add("largest", arch=arch, side=side, budget=budget, planned=planned, fitted=most)


def measure_exactness(found: Findings, profile: Profile) -> None:
    """How far the gradients of one batch are apart when it is cut differently."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    for arch, side, rows, cuts in profile.exact:
        for precision in ("float64", "float32", "bfloat16"):
            recipe = recipe_of(arch, (side, side), rows, precision=precision, ema=0.0, clip_norm=0.0)
            whole = _gradients(recipe, profile.device, precision, rows)
            norm = float(sum(value.double().square().sum() for value in whole).sqrt())  # type: ignore[union-attr]
            for micro in cuts:
                cut = _gradients(recipe, profile.device, precision, micro)
                apart = sum((a - b).double().square().sum() for a, b in zip(whole, cut, strict=True))
                apart = float(apart.sqrt()) / norm  # type: ignore[union-attr]
                found.add("exact", arch=arch, precision=precision, rows=rows, cut=micro, apart=apart)
                what = f"gradients of {rows} rows, and of {micro} at a time, are {apart:.2g} apart"
                found.promise(apart <= NEARNESS[precision], f"{arch} {precision}: {what}")


def _gradients(recipe: Recipe, device: str, precision: str, micro: int) -> list[torch.Tensor]:
    training, batch = training_of(recipe, device, precision, micro)
    train_step(training, batch, 0)
    return [p.grad.detach().cpu() for p in training.network.parameters() if p.grad is not None]


def measure_recovery(found: Findings, profile: Profile, context: int) -> None:
    """A step that runs out of memory, and the same step cut as small from the start."""
    arch, side, rows = profile.recovery
    recipe = recipe_of(arch, (side, side), rows)
    torch.backends.cudnn.deterministic = True
    device = torch.device(profile.device)
    spared, batch = training_of(recipe, profile.device, "float32", rows // 4)
    free_memory()
    reset_peak(device)
    for step in range(2):
        train_step(spared, batch, step)
    budget = process_peak(device) + 64 * MIB
    del spared
    short, batch = training_of(recipe, profile.device, "float32", rows)
    if profile.device != "cuda":
        _run_out_above(short.network, rows // 4)
    with limited(profile.device, budget, context):
        for step in range(2):
            train_step(short, batch, step)
    got = {name: value.cpu() for name, value in short.network.state_dict().items()}
    again, batch = training_of(recipe, profile.device, "float32", short.micro_batch)
    for step in range(2):
        train_step(again, batch, step)
    wanted = {name: value.cpu() for name, value in again.network.state_dict().items()}
    apart = max(float((got[n] - v).abs().max()) for n, v in wanted.items() if v.is_floating_point())
    found.add("recovery", arch=arch, rows=rows, ended_with=short.micro_batch, apart=apart)
    found.promise(short.micro_batch < rows, "memory did not run out: nothing was tried")
    found.promise(apart <= 1e-6, f"weights are {apart:.2g} apart after memory ran out in a step")
    torch.backends.cudnn.deterministic = False


def _run_out_above(network: Network, most: int) -> None:
    """On a CPU: the forward pass runs out of memory above so many rows."""

    def refuse(module: Any, inputs: Any) -> None:
        if len(next(iter(inputs[0].values()))) > most:
            raise torch.OutOfMemoryError("simulated")

    network.register_forward_pre_hook(refuse)


def measure_speed(found: Findings, profile: Profile) -> None:
    """Seconds of a step: tenfold's and a bare loop's, cut and undivided, in turn."""
    precision = profile.precisions[0]
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    for arch, side, rows, micro in profile.speed:
        recipe = recipe_of(arch, (side, side), rows, ema=0.0, dropout=0.0, augment="off", flip="none")
        whole, batch = training_of(recipe, profile.device, precision, rows)
        cut, _ = training_of(recipe, profile.device, precision, micro)
        channels_last = whole.preparation.channels_last
        bare = {
            layout: _bare_loop(arch, batch, profile.device, precision, layout)
            for layout in ("contiguous", "channels_last")
        }
        parts = rows // micro
        loops: dict[str, Callable[[], object]] = {
            "tenfold": lambda: train_step(whole, batch, 1),  # noqa: B023
            "cut": lambda: train_step(cut, batch, 1),  # noqa: B023
            "bare_cut": _bare_loop(arch, batch, profile.device, precision, same_layout(whole), parts),
            **bare,
            "undo": lambda: Undo(whole.optimizer),  # noqa: B023
        }
        seconds: dict[str, list[float]] = {name: [] for name in loops}
        for number in range(profile.rounds + 2):
            for name, loop in loops.items():
                _wait(profile.device)
                started = time.perf_counter()
                loop()
                _wait(profile.device)
                if number >= 2:  # the first rounds warm up
                    seconds[name].append(time.perf_counter() - started)
        middle = {name: statistics.median(values) for name, values in seconds.items()}
        same = middle[same_layout(whole)]
        found.add(
            "speed", arch=arch, side=side, rows=rows, cut=micro, precision=precision,
            channels_last=channels_last, **{f"{name}_s": round(value, 5) for name, value in middle.items()},
            to_bare=round(middle["tenfold"] / same, 3), to_best_bare=round(
                middle["tenfold"] / min(middle["contiguous"], middle["channels_last"]), 3),
            cut_to_whole=round(middle["cut"] / middle["tenfold"], 3),
            cut_to_bare_cut=round(middle["cut"] / middle["bare_cut"], 3),
        )  # fmt: skip


def same_layout(training: Training) -> str:
    return "channels_last" if training.preparation.channels_last else "contiguous"


def _bare_loop(
    arch: str, batch: Batch, device: str, precision: str, layout: str, parts: int = 1
) -> Callable[[], object]:
    network = timm.create_model(arch, num_classes=len(CLASSES), drop_path_rate=0.1).to(device).train()
    images = next(iter(batch.inputs.values()))
    form = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    network, images = network.to(memory_format=form), images.contiguous(memory_format=form)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    labels = torch.arange(len(images), device=device) % len(CLASSES)
    half = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(precision)

    def step() -> None:
        optimizer.zero_grad()
        for some, answers in zip(images.chunk(parts), labels.chunk(parts), strict=True):
            with torch.autocast(device, half or torch.bfloat16, enabled=half is not None):
                loss = F.cross_entropy(network(some), answers, label_smoothing=0.1) / parts
            loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()

    return step


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def measure_targets(found: Findings, profile: Profile) -> None:
    """Losses of three steps with every kind of target at once, here and on the CPU, in float64."""
    schema = kinds_schema()
    recipe = recipe_of("test_convnext", (32, 32), 24, class_weights={}, augment="off")
    losses = {}
    for device in dict.fromkeys(("cpu", profile.device)):
        encoding = make_encoding(recipe, schema)
        network, _ = build_network(encoding, schema, recipe, fetch=False)
        training = begin_training(
            network, encoding, recipe, device=torch.device(device), precision="float64", micro_batch=7
        )
        examples = make_kinds(24, missing=0.3)
        losses[device] = []
        for step in range(3):
            batches = training_batches(
                examples, [np.arange(24)], recipe, training.preparation, epoch=step, first_step=step,
                workers=0, group=training.group,
            )  # fmt: skip
            network.train()
            losses[device].append(train_step(training, next(iter(batches)), step).losses)
    for name in losses["cpu"][0]:
        ways = zip(losses["cpu"], losses[profile.device], strict=True)
        apart = max(abs(a[name] - b[name]) for a, b in ways)
        found.add("targets", target=name, apart=apart)
        found.promise(apart <= 1e-8, f"losses of target {name} are {apart:.2g} apart from the CPU's")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--small", action="store_true", help="tiny networks on the CPU")
    parser.add_argument("--json", help="file for all figures")
    parser.add_argument("--only", default="", help="sections, with commas between")
    given = parser.parse_args()
    profile = SMALL if given.small else CARD
    if profile.device == "cuda" and not torch.cuda.is_available():
        parser.exit(2, "there is no CUDA device; --small runs the same code on the CPU\n")
    if profile.device == "cpu":
        keep_freed_memory()
    found, started = Findings(), time.monotonic()
    versions = {"torch": torch.__version__, "timm": timm.__version__, "python": sys.version.split()[0]}
    found.add("versions", **versions)
    context = measure_context(found, profile)
    sections: dict[str, Callable[..., None]] = {
        "plan": measure_plans, "largest": measure_largest, "exact": measure_exactness,
        "offload": measure_offload, "recovery": measure_recovery, "speed": measure_speed,
        "targets": measure_targets,
    }  # fmt: skip
    chosen = given.only.split(",") if given.only else list(sections)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(8, os.cpu_count() or 1), mp_context=spawn) as pool:
        for name in chosen:
            planned = (context, pool)
            needs = {"plan": planned, "largest": planned, "offload": planned, "recovery": (context,)}
            began = time.monotonic()
            sections[name](found, profile, *needs.get(name, ()))
            found.add("took", of=name, seconds=round(time.monotonic() - began, 1))
    record = {"broken": found.broken, "seconds": round(time.monotonic() - started, 1), **found.figures}
    if given.json:
        Path(given.json).write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    print(f"{len(found.broken)} promises broken, {record['seconds']} s")
    sys.exit(1 if found.broken else 0)


if __name__ == "__main__":
    main()
