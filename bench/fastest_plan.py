"""The fastest plan of those that fit, on this CPU: predicted and measured seconds of every cut of a batch.

    python bench/fastest_plan.py [--rounds 3] [--only resnet18]
    python bench/fastest_plan.py --tight         within a budget that the whole batch does not quite fit

Measured: CPU seconds of whole optimizer steps (`engine.step.train_step`) on one thread, all plans of a
network in turn within one process, the least of all rounds.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace

import numpy as np
import torch

from tenfold.data.encode import Encoding, Examples
from tenfold.engine.batches import Batch, training_batches
from tenfold.engine.device import keep_freed_memory
from tenfold.engine.step import Training, begin_training, train_step
from tenfold.memory.cards import GIB
from tenfold.memory.choose import plan_fastest
from tenfold.memory.plan import PlanRequest, Plans, plan_memory
from tenfold.nn.network import build_network, recompute
from tenfold.recipe import Recipe
from tenfold.schema import CategoryTarget, ImageColumn, Schema

#: Architecture, side, rows to a batch.
NETWORKS = (
    ("resnet18", 64, 64),
    ("convnext_atto", 64, 64),
    ("vit_tiny_patch16_224", 96, 64),
    ("tf_efficientnet_lite0", 64, 64),
    ("regnety_002", 96, 64),
    ("mobilenetv3_small_100", 96, 64),
)
CLASSES = 10


@dataclass(frozen=True)
class Drawn:
    """A reader of random pictures."""

    pictures: np.ndarray

    def read(self, rows: np.ndarray) -> np.ndarray:
        return self.pictures[rows]


def begin(arch: str, side: int, rows: int) -> tuple[Training, Batch]:
    """A training and one batch of it."""
    recipe = Recipe(arch=arch, weights="none", image_size=(side, side), batch_size=rows)
    encoding = Encoding(classes={"target": tuple(map(str, range(CLASSES)))}, image_size=(side, side))
    schema = Schema(inputs=(ImageColumn(name="image", folder="."),), targets=(CategoryTarget(name="target"),))
    network, _ = build_network(encoding, schema, recipe, fetch=False)
    device = torch.device("cpu")
    training = begin_training(network, encoding, recipe, device=device, precision="float32", micro_batch=rows)
    rng = np.random.default_rng(0)
    head = network.heads[0]
    labels = {"target": rng.integers(CLASSES, size=rows).astype(head.unlabelled(rows).dtype)}
    examples = Examples(
        ids=np.zeros(rows, dtype=object),
        images=(Drawn(rng.integers(255, size=(rows, side, side, 3), dtype=np.uint8)),),
        labels=labels,
        weights={"target": np.ones_like(head.label_weights(labels["target"], np.ones(rows)))},
        columns={},
    )
    batches = training_batches(
        examples,
        [np.arange(rows)],
        recipe,
        training.preparation,
        epoch=0,
        first_step=0,
        workers=0,
        group=training.group,
    )
    return training, next(batches)


#: Rows at once, whether activations are computed again, and in which blocks alone.
Way = tuple[int, bool, tuple[str, ...]]


def seconds(training: Training, batch: Batch, way: Way, step: int) -> float:
    """CPU seconds of one optimizer step."""
    micro, checkpoint, blocks = way
    recompute(training.network, checkpoint, blocks)
    training.network.train()
    training.micro_batch = micro
    started = time.process_time()
    train_step(training, batch, step)
    return time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="")
    parser.add_argument("--tight", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()  # as a training does
    for arch, side, rows in NETWORKS:
        if given.only not in arch:
            continue
        training, batch = begin(arch, side, rows)
        cuts = sorted({rows // passes for passes in (1, 2, 4, 8, 16) if rows % passes == 0}, reverse=True)
        group = training.group or 1
        recipe = Recipe(image_size=(side, side), batch_size=rows)
        request = PlanRequest(64 * GIB, recipe, "cpu", classes=CLASSES, cached=False)
        plans: list[Way] = [(micro, False, ()) for micro in cuts if micro % group == 0]
        if given.tight:
            tight = plan_memory(arch, request).band_bytes[1] - 1
            request = replace(request, budget_bytes=tight)
            planner, rates = Plans(arch).planner(request), request.rates
            some = planner.recomputed(rows, rates) if rates else None
            plans = [*plans[1:], *([(rows, True, some[1])] if some else [])]
        plans += [(cuts[0], True, ())] if given.tight else [(cuts[0], True, ()), (plans[-1][0], True, ())]
        best = dict.fromkeys(plans, float("inf"))
        for step in range(given.rounds + 1):
            for plan in plans:
                taken = seconds(training, batch, plan, step)
                if step:
                    best[plan] = min(best[plan], taken)
        plan = plan_fastest(arch, request)
        shown = "  ".join(f"{m}{_star(c, b)}: {best[m, c, b]:.3f}" for m, c, b in plans)
        predicted = "  ".join(
            f"{each.micro_batch}{_star(each.checkpoint, each.blocks)}: {each.seconds:.3f}"
            for each in plan.choices
        )
        ratio = best[plan.micro_batch, plan.checkpoint, plan.blocks] / min(best.values())
        print(f"{arch} {side} px, {rows} rows; *: activations computed again; N: of N blocks")
        print(f"  measured   {shown}\n  predicted  {predicted}")
        print(f"  taken: {plan.micro_batch} rows, {ratio:.3f} of the fastest", flush=True)


def _star(checkpoint: bool, blocks: tuple[str, ...]) -> str:
    return ("*" + (str(len(blocks)) if blocks else "")) if checkpoint else ""


if __name__ == "__main__":
    main()
