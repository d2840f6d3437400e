"""Which precision is the fastest on this CPU: images a second of a training step, float32 against bfloat16.

python bench/precision.py

Each network and precision runs in the same process, in turn, three rounds; medians are printed. This is what
`--precision auto` stands on for CPUs.
"""

from __future__ import annotations

import statistics
import time

import timm
import torch

from tenfold.engine.device import keep_freed_memory

CASES = (
    ("tf_efficientnet_lite0", 224),
    ("resnet18", 160),
    ("convnext_atto", 160),
    ("vit_tiny_patch16_224", 224),
)
BATCH = 16


def rate(model: torch.nn.Module, images: torch.Tensor, half: bool) -> float:
    """Images a second of one forward and backward pass."""
    started = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        out = model(images)
    out.float().square().mean().backward()
    return len(images) / (time.perf_counter() - started)


def main() -> None:
    keep_freed_memory()
    print(f"torch {torch.__version__}, timm {timm.__version__}, {torch.get_num_threads()} threads")
    print(f"{'network':<24}{'px':>5}{'float32':>10}{'bfloat16':>10}{'ratio':>8}")
    for arch, size in CASES:
        model = timm.create_model(arch).to(memory_format=torch.channels_last).train()
        images = torch.rand(BATCH, 3, size, size).contiguous(memory_format=torch.channels_last)
        rates: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(4):
            for half, found in rates.items():
                found.append(rate(model, images, half))
        full, half = (statistics.median(rates[which][1:]) for which in (False, True))
        print(f"{arch:<24}{size:>5}{full:>10.1f}{half:>10.1f}{half / full:>8.2f}")


if __name__ == "__main__":
    main()
