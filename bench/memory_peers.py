"""The same trainings planned by tenfold, torch-kitsune and PyTorch's MemTracker, beside what was measured.

Run by `bench/memory_plan.py --peers`. torch-kitsune is needed for this alone:

    pip install --no-deps --target /tmp/kitsune torch-kitsune
    PYTHONPATH=/tmp/kitsune python bench/memory_plan.py --peers

*Card*: the trainings in bfloat16 of `bench/card.py` with tenfold's own step (AdamW, averaged weights,
clipping, two passes in most), against what PyTorch's allocator reserved on that card (`results/card.json`).
*CPU*: a plain PyTorch loop in float32 (AdamW, two steps), against the most that PyTorch's allocator gave out,
by its profiler. No figure has the context of the process in it.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests" / "support"))

import timm  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402
from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402
from torch.distributed._tools.mem_tracker import MemTracker  # noqa: E402
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn  # noqa: E402

from profiled import profiled_peak  # noqa: E402
from tenfold.memory.cards import GIB, MIB  # noqa: E402
from tenfold.memory.module import plan_module  # noqa: E402
from tenfold.memory.plan import PlanRequest, plan_memory  # noqa: E402
from tenfold.recipe import Recipe  # noqa: E402

CLASSES = 10
#: Architecture and side of the plain loops on this CPU, and the rows of each.
LOOPS = (
    ("test_vit", 160), ("resnet18", 128), ("resnet50", 128), ("convnext_atto", 96),
    ("vit_tiny_patch16_224", 224), ("tf_efficientnet_lite0", 128), ("regnety_002", 96),
)  # fmt: skip
ROWS = (8, 32)


@dataclass(frozen=True)
class Setting:
    """A training. rows: at once.  passes: to an optimizer step.  held: bytes that were measured."""

    arch: str
    size: tuple[int, int]
    rows: int
    passes: int
    precision: str
    held: int
    card: bool

    def network(self) -> nn.Module:
        sized = {"img_size": self.size} if "vit" in self.arch or "swin" in self.arch else {}
        return timm.create_model(self.arch, num_classes=CLASSES, **sized)


#: What a tool says: expected bytes, and the bytes from which on it says that the training fits.
Answer = tuple[int, int]


def by_tenfold(setting: Setting) -> Answer:
    if setting.card:
        recipe = Recipe(
            image_size=setting.size, batch_size=setting.rows * setting.passes, precision=setting.precision
        )
        request = PlanRequest(
            80 * GIB, recipe, card="H200", micro_batch=setting.rows, classes=CLASSES, cached=False
        )
        plan = plan_memory(setting.arch, request)
    else:
        batch = torch.zeros(setting.rows, 3, *setting.size), torch.zeros(setting.rows, dtype=torch.long)
        with torch.device("meta"):
            network = setting.network()
        plan = plan_module(
            network, batch, F.cross_entropy, budget=80 * GIB, micro_batch=setting.rows, device="cpu"
        )
        context, _ = PlanRequest(80 * GIB, device="cpu").known_context()
        return plan.live_bytes, plan.band_bytes[1] - context.high
    context, _ = request.known_context()
    return plan.reserved_bytes, plan.band_bytes[1] - context.high


def by_kitsune(setting: Setting) -> Answer:
    """It knows no averaged weights: they are added to what it says.

    In float32 it runs the network on real rows, and holds what a training would.
    """
    import kitsune.predict  # pyright: ignore[reportMissingImports]

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        found = kitsune.predict.predict_memory(
            setting.network(),
            (3, *setting.size),
            batch_size=setting.rows,
            dtype=setting.precision,
            optimizer="adamw",
        )
    total = found.total_bytes + (found.param_bytes if setting.card else 0)
    return total, total


def by_tracker(setting: Setting) -> Answer:
    """Its backward pass needs the device that tensors name, so that they are a CPU's."""
    with torch.device("meta"):
        network = setting.network()  # timm's own code reads values, which a fake does not have
    with FakeTensorMode(allow_non_fake_inputs=True):
        network = network.to_empty(device="cpu")
        images = torch.empty(setting.rows, 3, *setting.size)
        labels = torch.zeros(setting.rows, dtype=torch.long)
        tracker = MemTracker()
        step = steps_of(setting, network)
        tracker.track_external(network, images, labels, *step.holds)
        with tracker:
            for _ in range(2):
                for _ in range(setting.passes):
                    step.micro_batch(images, labels)
                    tracker.reset_mod_stats()
                step.update()
        total = tracker.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"]
    return total, total


class steps_of:
    """The plain step of a setting: on a card with autocast, clipping and averaged weights."""

    def __init__(self, setting: Setting, network: nn.Module) -> None:
        self.setting, self.network = setting, network
        self.optimizer = torch.optim.AdamW(network.parameters())
        self.averaged = (
            AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.99)) if setting.card else None
        )
        self.holds: list[Any] = [self.optimizer, *([self.averaged] if self.averaged else [])]

    def micro_batch(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        setting = self.setting
        dtype = getattr(torch, setting.precision)
        with torch.autocast("cpu", dtype, enabled=setting.precision != "float32"):
            loss = F.cross_entropy(self.network(images).float(), labels) / setting.passes
        loss.backward()

    def update(self) -> None:
        if self.averaged is not None:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0, foreach=False)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.averaged is not None:
            self.averaged.update_parameters(self.network)


TOOLS: tuple[tuple[str, Callable[[Setting], Answer]], ...] = (
    ("tenfold", by_tenfold),
    ("torch-kitsune", by_kitsune),
    ("MemTracker", by_tracker),
)


def measured_loop(setting: Setting) -> int:
    """Bytes that two steps of a plain loop on this CPU take at their highest."""

    def run() -> None:
        network = setting.network()
        step = steps_of(setting, network)
        images, labels = (
            torch.zeros(setting.rows, 3, *setting.size),
            torch.zeros(setting.rows, dtype=torch.long),
        )
        for _ in range(2):
            step.micro_batch(images, labels)
            step.update()

    return profiled_peak(run)


def on_the_card() -> list[Setting]:
    kept = json.loads((ROOT / "bench" / "results" / "card.json").read_text(encoding="utf-8"))["plan"]
    settings = []
    for row in kept:
        if row.get("precision") == "bfloat16":
            height, width = map(int, row["size"].split("x"))
            how = row["rows"], row["passes"], row["precision"], row["reserved"], True
            settings.append(Setting(row["arch"], (height, width), *how))
    return settings


def on_this_cpu() -> list[Setting]:
    settings = []
    for arch, side in LOOPS:
        for rows in ROWS:
            blank = Setting(arch, (side, side), rows, 1, "float32", 0, False)
            settings.append(Setting(arch, (side, side), rows, 1, "float32", measured_loop(blank), False))
    return settings


def show(name: str, settings: list[Setting]) -> None:
    print(f"\n{name}: MiB held, and error in % (*: says that it fits where it does not)")
    errors: dict[str, list[float]] = {tool: [] for tool, _ in TOOLS}
    seconds: dict[str, list[float]] = {tool: [] for tool, _ in TOOLS}
    false: dict[str, int] = {tool: 0 for tool, _ in TOOLS}
    failed: dict[str, int] = {tool: 0 for tool, _ in TOOLS}
    for setting in settings:
        shown = []
        for tool, answer in TOOLS:
            started = time.process_time()
            try:
                expected, fits_from = answer(setting)
            except Exception as error:  # noqa: BLE001 - whatever a tool raises is its answer
                failed[tool] += 1
                shown.append(f"{tool} {type(error).__name__}: {str(error).splitlines()[0][:60]}")
                continue
            seconds[tool].append(time.process_time() - started)
            errors[tool].append((expected - setting.held) / setting.held)
            wrong = fits_from < setting.held
            false[tool] += wrong
            shown.append(f"{tool} {100 * errors[tool][-1]:+.1f}{'*' if wrong else ''}")
        size = "x".join(map(str, setting.size))
        rows = f"{setting.rows} x {setting.passes}"
        print(
            f"  {setting.arch:<30}{size:>8}{rows:>7}{setting.held / MIB:>8.0f}   {', '.join(shown)}",
            flush=True,
        )
    heads = ("median error", "worst", "false fits", "failed", "median s", "most s")
    print("\n  " + " " * 24 + "".join(f"{head:>14}" for head in heads))
    for tool, _ in TOOLS:
        if not errors[tool]:
            continue
        sizes = [abs(error) for error in errors[tool]]
        worst = max(errors[tool], key=abs)
        told = [f"{100 * statistics.median(sizes):.1f}%", f"{100 * worst:+.1f}%"]
        told += [f"{false[tool]}/{len(sizes)}", str(failed[tool])]
        told += [f"{statistics.median(seconds[tool]):.2f}", f"{max(seconds[tool]):.2f}"]
        print(f"  {tool:<24}" + "".join(f"{each:>14}" for each in told))


def show_peers() -> None:
    torch.set_num_threads(1)
    import kitsune  # noqa: F401 - its import is not timed # pyright: ignore[reportMissingImports]

    print(f"torch-kitsune {version('torch-kitsune')}; seconds of the processor, one thread")
    show("CPU", on_this_cpu())
    show("Card (H200)", on_the_card())
