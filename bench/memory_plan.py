"""The memory planner against what was measured and published, without a GPU.

    python bench/memory_plan.py --lesson          the eight settings of fast.ai's lesson 7, on three machines
    python bench/memory_plan.py --brackets 40     timm's table for an RTX 3090: what ran and what did not
    python bench/memory_plan.py --coverage 100    how many of timm's names get a plan or a reason
    python bench/memory_plan.py --time            seconds to a plan of each of the lesson's models
    python bench/memory_plan.py --steps           what more than two optimizer steps change
    python bench/memory_plan.py --context         what a CPU process holds beside its tensors
    python bench/memory_plan.py --heap            trainings on this CPU: predicted and measured
    python bench/memory_plan.py --ranks           the same of trainings that several processes share
    python bench/memory_plan.py --peers           beside other tools; see bench/memory_peers.py

The lesson's notebook prints the memory of the *process*: what the allocator reserved, and a context that
differs from machine to machine. One context per machine is read off one setting (convnext_small, 16 rows at
once); the other seven are predictions. Its training is fastai's: Adam one parameter at a time, a float16
scaler, all layers trained, batches augmented on the card.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
import torch.nn.functional as F
from timm.layers import LayerNorm2d, set_fused_attn
from torch import Tensor, nn

from tenfold.memory.allocator import CachingAllocator, replay
from tenfold.memory.cards import GIB, MIB, Band
from tenfold.memory.fake import build_untouched
from tenfold.memory.forecast import Forecaster
from tenfold.memory.phases import Phases, StepAllocations
from tenfold.memory.reductions import UNKNOWN_CARD, Kernels
from tenfold.memory.trace import WEIGHTS
from tenfold.recipe import Recipe
from tenfold.studies.demo import write_demo_data

DATA = Path(os.environ.get("TENFOLD_DATA", "../shared/data"))

#: Architecture, (height, width), rows at once, accumulation; MiB of the process on a 24 GB card and on two
#: runs of a 16 GB cloud card, as the notebook printed them.
LESSON = (
    ("convnext_small", (128, 128), 64, 1, (5173, 4281, 4281)),
    ("convnext_small", (128, 128), 32, 2, (4069, 3165, 3165)),
    ("convnext_small", (128, 128), 16, 4, (3513, 2609, 2605)),
    ("convnext_large", (224, 224), 32, 2, (12191, 11291, 11269)),
    ("convnext_large", (320, 240), 32, 2, (15561, 14697, 14723)),
    ("vit_large_patch16_224", (224, 224), 32, 2, (16251, 15343, 15319)),
    ("swinv2_large_window12_192", (192, 192), 32, 2, (14373, 13523, 13483)),
    ("swin_large_patch4_window7_224", (224, 224), 32, 2, (12773, 11883, 11827)),
)
#: The setting that each machine's context is read off.
CALIBRATED = 2


class BothPools(nn.Module):
    """fastai's pooling: the largest and the mean value of each map, side by side."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([F.adaptive_max_pool2d(x, 1), F.adaptive_avg_pool2d(x, 1)], 1)


class NormOfThen(nn.LayerNorm):
    """timm's norm over channels as it was in 2022, version 0.6: where the maps lie channels-last it was taken
    apart into steps that keep two more maps for the backward pass. Today's is one kernel."""

    def forward(self, x: Tensor) -> Tensor:
        if x.is_contiguous():
            last = F.layer_norm(x.movedim(1, -1), self.normalized_shape, self.weight, self.bias, self.eps)
            return last.movedim(-1, 1)
        variance, mean = torch.var_mean(x, 1, correction=0, keepdim=True)
        scaled = (x - mean) * (variance + self.eps).rsqrt()
        return scaled * self.weight.view(-1, 1, 1) + self.bias.view(-1, 1, 1)


class LessonNet(nn.Module):
    """A timm body with fastai's head for one class; bodies that pool for themselves keep their way."""

    def __init__(self, arch: str) -> None:
        super().__init__()
        self.body = timm.create_model(arch, num_classes=0)
        for module in self.body.modules():
            if isinstance(module, LayerNorm2d):
                module.__class__ = NormOfThen
        self.maps = self.body.default_cfg.get("pool_size") is not None and not arch.startswith("swin")
        width = self.body.num_features * (2 if self.maps else 1)
        self.head = nn.Sequential(
            *([BothPools()] if self.maps else []),
            *(nn.Flatten(), nn.BatchNorm1d(width), nn.Dropout(0.25), nn.Linear(width, 512, bias=False)),
            *(nn.ReLU(True), nn.BatchNorm1d(512), nn.Dropout(0.5), nn.Linear(512, 1, bias=False)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body.forward_features(x) if self.maps else self.body(x))


class LessonTraining:
    """The notebook's training, as `memory.training.TracedTraining` asks for it."""

    dtype = None

    def __init__(self, arch: str, size: tuple[int, int]) -> None:
        self.size = size
        self.network = build_untouched(lambda: LessonNet(arch))

    def begin(self, network: nn.Module, device: str) -> None:
        self.copy, self.device = network, device

    def structure(self, rows: int) -> int:
        return 0

    def prepare(self, rows: int) -> Any:
        # 480 x 480 items, brought to their size and relit on the card, as `aug_transforms` does.
        raw = torch.empty(rows, 3, 480, 480, dtype=torch.uint8, device=self.device)
        grid = torch.empty(rows, *self.size, 2, device=self.device)
        images = F.grid_sample(raw.float().div_(255), grid, padding_mode="reflection", align_corners=True)
        images = torch.sigmoid(torch.logit(images) + 1.0)
        images = (images - torch.zeros(1, 3, 1, 1, device=self.device)) / torch.ones(
            1, 3, 1, 1, device=self.device
        )
        return raw, images, torch.zeros(rows, dtype=torch.long, device=self.device)

    def slices(self, rows: int) -> Any:
        images = torch.empty(rows, 3, *self.size, device=self.device)
        return images, torch.zeros(rows, dtype=torch.long, device=self.device)

    def forward(self, given: Any, rows: int) -> Tensor:
        with torch.autocast(self.device, torch.float16):
            out = self.copy(given[0]).float()
            loss = F.cross_entropy(out, given[1])
        return loss * torch.ones((), device=given[0].device)

    def update(self) -> Callable[[], object]:
        return torch.optim.Adam(self.copy.parameters(), foreach=False).step

    def evaluate(self) -> None:
        pass


def lesson_reserved(
    arch: str, size: tuple[int, int], rows: int, passes: int, kernels: Kernels, steps: int = 3
) -> int:
    """Bytes that the allocator reserves in the notebook's training; each micro-batch is loaded by itself."""
    phases = Phases(LessonTraining(arch, size), "cuda", "native", kernels)
    script, trained = StepAllocations(), phases.trained()
    for held in phases.weights():
        script.hold(held, WEIGHTS)
    batch, micro, updates = phases.batch(rows), phases.micro_batch(rows), phases.updates()
    gradients: dict[int, int] = {}
    before: list[int] = []
    for step in range(steps):
        for _ in range(passes):
            now = script.play(batch)
            script.drop(before)
            before = now
            script.play_micro(micro, gradients, trained)
        script.play(updates[0 if step == 0 else 1])
    return replay(script.events, script.sizes, CachingAllocator()).reserved


def show_lesson() -> None:
    set_fused_attn(False)  # as timm was then
    # A's card is not known; 16,280 MiB, as on B and C, are those of a P100.
    unknown, cloud = (
        [lesson_reserved(*setting[:4], kernels) for setting in LESSON]
        for kernels in (UNKNOWN_CARD, Kernels(56, 2048, (6, 0)))
    )
    machines = unknown, cloud, cloud
    contexts = [LESSON[CALIBRATED][4][m] - machines[m][CALIBRATED] / MIB for m in range(3)]
    print("contexts read off convnext_small, 16 rows at once: " + ", ".join(f"{c:.0f} MiB" for c in contexts))
    print(f"{'architecture':<32}{'size':>9}{'rows':>6}{'reserved':>10}   error on A, B, C, %")
    worst = 0.0
    for (arch, size, rows, _, truth), *found in zip(LESSON, *machines, strict=True):
        ways = zip(found, contexts, truth, strict=True)
        errors = [100 * (reserved / MIB + context - held) / held for reserved, context, held in ways]
        worst = max(worst, *(abs(error) for error in errors))
        shown = "  ".join(f"{error:+5.1f}" for error in errors)
        print(f"{arch:<32}{size[0]:>4}x{size[1]:<4}{rows:>6}{found[1] / MIB:>10.0f}   {shown}")
    print(f"worst: {worst:.1f} %")


class TimmTraining:
    """timm's benchmark of training: SGD with momentum, mixed precision, cross-entropy of 1000 classes."""

    dtype = None

    def __init__(self, arch: str, side: int, *, last: bool) -> None:
        self.side, self.layout = side, torch.channels_last if last else torch.contiguous_format
        self.network = build_untouched(lambda: timm.create_model(arch)).to(memory_format=self.layout)

    def begin(self, network: nn.Module, device: str) -> None:
        self.copy, self.device = network, device

    def structure(self, rows: int) -> int:
        return 0

    def prepare(self, rows: int) -> Any:
        return self.slices(rows)

    def slices(self, rows: int) -> Any:
        images = torch.empty(rows, 3, self.side, self.side, device=self.device)
        labels = torch.zeros(rows, dtype=torch.long, device=self.device)
        return images.contiguous(memory_format=self.layout), labels

    def forward(self, given: Any, rows: int) -> Tensor:
        with torch.autocast(self.device, torch.float16):
            out = self.copy(given[0])
        return F.cross_entropy((out[0] if isinstance(out, (tuple, list)) else out).float(), given[1])

    def update(self) -> Callable[[], object]:
        return torch.optim.SGD(self.copy.parameters(), lr=0.1, momentum=0.9, foreach=False).step

    def evaluate(self) -> None:
        pass


#: A context of PyTorch 1.12 with CUDA 11.3, which loads every kernel at once: those of the lesson's machines.
THEN = Band(1159 * MIB, 1500 * MIB, 2067 * MIB)
#: Part of what is reserved that differs between the kernels of 2022 and those that are traced today: the
#: lesson's first five settings, traced with today's norm, are up to 6.0 % below what its notebook reserved.
SPREAD_OF_THEN = 0.06
#: Batches that the benchmark tries, and what an RTX 3090 has.
LADDER = (512, 384, 256, 192, 128, 96, 64, 48, 32, 24, 16, 12, 8, 6, 4, 3, 2, 1)
CARD = int(23.69 * GIB)


def show_brackets(count: int, layout: str) -> None:
    set_fused_attn(False)
    name = f"benchmark-train-amp-{layout}-pt112-cu113-rtx3090.csv"
    with open(DATA / "timm-results" / name, encoding="utf-8") as stream:
        table = [row for row in csv.DictReader(stream) if timm.is_model(row["model"])]
    random.Random(1).shuffle(table)
    table = [row for row in table if int(row["train_batch_size"]) in LADDER][:count]
    ran = failed = refused = allowed = untraced = unbounded = 0
    for row in table:
        rows, side = int(row["train_batch_size"]), int(row["train_img_size"])
        place = LADDER.index(rows)
        try:
            program = TimmTraining(row["model"], side, last=layout == "nhwc")
            phases = Phases(program, "cuda", "native")
            forecaster = Forecaster(phases, context=THEN, workspace=0, spread=SPREAD_OF_THEN)
            low = forecaster.forecast(rows, [rows]).band.low
            above = forecaster.forecast(LADDER[place - 1], [LADDER[place - 1]]) if place else None
        except (RuntimeError, AssertionError, ValueError, TypeError, AttributeError, LookupError) as error:
            untraced += 1
            print(f"  {row['model']}: {type(error).__name__}: {str(error).splitlines()[0][:90]}")
            continue
        ran += 1
        if low > CARD:
            refused += 1
            print(f"  {row['model']} {side} px: {rows} rows ran, planned at {low / GIB:.1f} GiB or more")
        if above is not None:
            high, failed = above.band.high, failed + 1
            if high <= CARD and not above.bounded:
                unbounded += 1
                print(
                    f"  {row['model']} {side} px: {LADDER[place - 1]} rows failed; the plan says it may fit"
                )
            elif high <= CARD:
                allowed += 1
                more = LADDER[place - 1]
                print(
                    f"  {row['model']} {side} px: {more} rows failed, planned at {high / GIB:.1f} GiB or less"
                )
    print(f"{layout}: {ran} batches that ran, {refused} of them planned as impossible;")
    print(
        f"      {failed} that did not, {allowed} of them planned as fitting, {unbounded} as one that may fit;"
    )
    print(f"      {untraced} not traced")


def show_coverage(count: int, seed: int) -> None:
    from tenfold.memory.choose import Refusal, plan_each
    from tenfold.memory.plan import PlanRequest

    sample = sorted(random.Random(seed).sample(timm.list_models(), count))
    planned, reasons = 0, []
    started = time.perf_counter()
    for arch in sample:
        config = timm.get_pretrained_cfg(arch, allow_unregistered=True)
        size = tuple(config.input_size[1:]) if config else (224, 224)
        found = plan_each(
            [arch],
            PlanRequest(16 * GIB, Recipe(image_size=size, batch_size=8), micro_batch=4, cached=False),
        )[0]
        if isinstance(found, Refusal):
            reasons.append(f"  {arch}: {found.reason}")
            print(reasons[-1], flush=True)
        else:
            planned += 1
    seconds = time.perf_counter() - started
    print(f"{planned} of {count} planned, {len(reasons)} with a reason; {seconds / count:.1f} s to each")


def show_time() -> None:
    from tenfold.memory.plan import PlanRequest, plan_memory

    total = 0.0
    for arch, size in (
        *((a, s) for a, s, _, _, _ in LESSON[2:]),
        ("resnet50", (224, 224)),
        ("resnet18", (224, 224)),
    ):
        started = time.perf_counter()
        plan = plan_memory(arch, PlanRequest(16 * GIB, Recipe(image_size=size), cached=False))
        seconds = time.perf_counter() - started
        total += seconds
        cut = f"{plan.micro_batch} x {plan.accumulation}"
        peak = f"{plan.predicted_bytes / GIB:.1f} GiB"
        print(f"{arch:<32}{size[0]:>4}x{size[1]:<4} {cut:>8} {peak:>9} {seconds:6.1f} s")
    print(f"together {total:.1f} s")


def show_steps() -> None:
    for arch, size, rows, passes, _ in LESSON[1:5]:
        found = [
            lesson_reserved(arch, size, rows, passes, UNKNOWN_CARD, steps) / MIB for steps in (1, 2, 3, 4)
        ]
        print(f"{arch:<20} after 1, 2, 3, 4 steps: " + ", ".join(f"{one:.0f} MiB" for one in found))


def show_context() -> None:
    from tenfold.memory.calibrate import calibrate

    name, size = calibrate()
    print(f"{name}: {size / MIB:.0f} MiB beside the tensors")


#: Architecture and side of trainings that are run, of drawn leaves, 64 rows to a batch.
TRAINED = (
    ("test_convnext", 64), ("test_vit", 96), ("test_resnet", 160), ("convnext_atto", 96),
    ("resnet18", 128), ("vit_tiny_patch16_224", 224), ("tf_efficientnet_lite0", 128),
)  # fmt: skip


#: Architecture and side of trainings that several processes share, and how many: with more parameters to a
#: row than those above.
SHARED = (("convnext_atto", 96), ("resnet18", 64), ("vit_small_patch16_224", 64), ("resnet50", 64))
#: Processes, and what they split.
COUNTS = ((1, ""), (2, ""), (2, "--shard"), (3, "--shard"), (2, "--shard-weights"), (3, "--shard-weights"))


def show_ranks() -> None:
    """`tenfold fit --budget 8GiB --devices N`, `--shard` and `--shard-weights`: the plan of rank 0 beside the
    peak of each rank."""
    heads = ("predicted", "high end", "rank 0", "others")
    print(f"{'architecture':<24}{'side':>5} devices" + "".join(f"{head:>10}" for head in heads) + "  growth")
    errors = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = write_demo_data(folder, rows=160)
        for (arch, side), (count, shard) in itertools.product(SHARED, COUNTS):
            run = folder / f"{arch}-{count}-{shard}"
            words = [str(data.train), "--image", f"image_id={data.photos}", "--target", "disease"]
            words += ["--arch", arch, "--weights", "none", "--image-size", str(side), "--batch-size", "48"]
            words += ["--epochs", "2", "--frozen-epochs", "0", "--budget", "8GiB", "-o", str(run)]
            words += [*(["--devices", str(count)] if count > 1 else []), *shard.split()]
            words += ["--device", "cpu"]
            peaks = peaks_of([sys.executable, "-m", "tenfold", "fit", *words])
            plan = json.loads((run / "run.json").read_text(encoding="utf-8"))["plan"]
            context = plan["parts"]["context"]
            others = max((peak for number, peak in peaks.items() if number), default=0)
            most = max(plan["measured_bytes"], others)
            growth = (most - context) / (plan["predicted_bytes"] - context)
            errors.append(abs(most - plan["predicted_bytes"]) / most)
            shown = [plan["predicted_bytes"], plan["band_bytes"][1], plan["measured_bytes"], others]
            sizes = "".join(f"{size / MIB:>10.0f}" for size in shown)
            how = f"{count} {shard}"
            print(f"{arch:<24}{side:>5} {how:<18}{sizes}  {growth:.2f}", flush=True)
    print(f"error of the prediction: median {np.median(errors):.1%}, worst {max(errors):.1%}")


def peaks_of(command: list[str]) -> dict[int, int]:
    """Run a command; returns the peak of each of its ranks, as far as it is seen every tenth of a second."""
    peaks: dict[int, int] = {}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            for folder in Path("/proc").iterdir():
                try:
                    parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
                    if int(parent) != process.pid:
                        continue
                    told = dict(
                        pair.partition("=")[::2] for pair in (folder / "environ").read_text().split("\0")
                    )
                    held = (folder / "status").read_text().partition("VmHWM:")[2].split()[0]
                    number = int(told["RANK"])
                    peaks[number] = max(peaks.get(number, 0), int(held) * 1024)
                except (OSError, ValueError, LookupError):
                    continue
            time.sleep(0.1)
        assert process.stderr is not None
        assert not process.returncode, process.stderr.read()[-2000:]
    return peaks


def show_heap() -> None:
    """`tenfold fit --budget 8GiB` of each, in a process of its own: the plan beside the process's peak."""
    heads = ("tensors", "predicted", "high end", "measured")
    print(f"{'architecture':<24}{'side':>5}" + "".join(f"{head:>10}" for head in heads) + "  growth")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = write_demo_data(folder, rows=160)
        for arch, side in TRAINED:
            run = folder / arch
            words = [str(data.train), "--image", f"image_id={data.photos}", "--target", "disease"]
            words += ["--arch", arch, "--weights", "none", "--image-size", str(side)]
            words += ["--epochs", "1", "--frozen-epochs", "0", "--budget", "8GiB", "-o", str(run)]
            subprocess.run([sys.executable, "-m", "tenfold", "fit", *words], check=True, capture_output=True)
            plan = json.loads((run / "run.json").read_text(encoding="utf-8"))["plan"]
            tensors = plan["predicted_bytes"] - plan["parts"]["context"]
            growth = (plan["measured_bytes"] - plan["parts"]["context"]) / tensors
            shown = [tensors, plan["predicted_bytes"], plan["band_bytes"][1], plan["measured_bytes"]]
            sizes = "".join(f"{size / MIB:>10.0f}" for size in shown)
            print(f"{arch:<24}{side:>5}{sizes}  {growth:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name in ("lesson", "time", "steps", "context", "heap", "ranks", "peers"):
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--brackets", type=int, default=0)
    parser.add_argument("--layout", choices=("nchw", "nhwc"), default="nchw")
    parser.add_argument("--coverage", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print(f"torch {torch.__version__}, timm {timm.__version__}")
    asked = vars(given)
    if given.lesson or not any(
        asked[name] for name in ("time", "steps", "context", "heap", "ranks", "peers", "brackets", "coverage")
    ):
        show_lesson()
    if given.time:
        show_time()
    if given.steps:
        show_steps()
    if given.brackets:
        show_brackets(given.brackets, given.layout)
    if given.coverage:
        show_coverage(given.coverage, given.seed)
    if given.context:
        show_context()
    if given.heap:
        show_heap()
    if given.ranks:
        show_ranks()
    if given.peers:
        from memory_peers import show_peers

        show_peers()


if __name__ == "__main__":
    main()
