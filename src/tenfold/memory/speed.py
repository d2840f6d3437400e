"""How long a step takes, predicted: every operator waits for its arithmetic or for its memory.

The roofline of Williams, Waterman and Patterson (2009): an operator takes the longer of its operations at the
device's highest rate and its bytes at the memory's rate. Of a card both are in its datasheet; of this
machine's CPU they are measured once, in a few seconds, and kept. What a plan needs is which of several cuts
of a batch is fastest; seconds of their own are within a factor of two.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64
from torch import nn

from tenfold.memory.cards import Card, cache_folder

#: Highest rates as NVIDIA's datasheets have them: 10^12 operations a second in half precision (tensor cores
#: with sums in float32, dense) and in float32, and 10^9 bytes a second of its memory and of its bus, each
#: way (PCI Express of 16 lanes).
DATASHEETS = {
    "T4": (65.0, 8.1, 320.0, 16.0),
    "P100": (18.7, 9.3, 732.0, 16.0),
    "V100": (125.0, 15.7, 900.0, 16.0),
    "V100-32GB": (125.0, 15.7, 900.0, 16.0),
    "GTX 1080 Ti": (11.3, 11.3, 484.0, 16.0),
    "RTX 2080 Ti": (53.8, 13.4, 616.0, 16.0),
    "RTX 3060": (25.6, 12.7, 360.0, 32.0),
    "RTX 3080": (59.5, 29.8, 760.0, 32.0),
    "RTX 3090": (71.0, 35.6, 936.0, 32.0),
    "RTX 4090": (165.2, 82.6, 1008.0, 32.0),
    "RTX A6000": (154.8, 38.7, 768.0, 32.0),
    "A10G": (70.0, 35.0, 600.0, 32.0),
    "L4": (121.0, 30.3, 300.0, 32.0),
    "L40S": (362.0, 91.6, 864.0, 32.0),
    "A100": (312.0, 19.5, 1555.0, 32.0),
    "A100-80GB": (312.0, 19.5, 2039.0, 32.0),
    "H100": (989.0, 67.0, 3350.0, 64.0),
    "H200": (989.0, 67.0, 4800.0, 64.0),
}
#: Seconds in which a processor starts one kernel on a card: 138 ms for the 6,374 of a step of `resnet50`,
#: 70 ms for the 2,633 of `vit_small_patch16_224` (bench/results/card.md).
KERNEL_SECONDS = 22e-6
#: Side of the matrices with which a CPU is measured: the least of many short products is one of a moment with
#: nothing beside it.
SIDE = 320
#: Bytes of the tensors with which it is measured: in its caches, and beyond.
MEASURED_BYTES = (1 << 16, 1 << 19, 1 << 22, 1 << 25)


@dataclass(frozen=True)
class Rates:
    """What a device does at most.

    operations: of arithmetic, a second.
    sizes, seconds_per_byte: of an operator that touches so many bytes; between two sizes by their logarithms.
    operator: seconds that an operator takes however small it is.
    beside: whether that time passes beside the device's own, as where a processor starts a card's kernels.
    source: where this is from.
    bus: bytes a second to the host's memory, or from there; 0 where that is the device's own.
    """

    operations: float
    sizes: tuple[float, ...]
    seconds_per_byte: tuple[float, ...]
    operator: float
    beside: bool
    source: str
    bus: float = 0.0

    def seconds(self, costs: Float64[np.ndarray, "operators 2"]) -> float:
        """Seconds of operators. costs: operations of arithmetic, and bytes, of each."""
        if not len(costs):
            return 0.0
        bytes_ = np.maximum(costs[:, 1], 1.0)
        slow = np.interp(np.log(bytes_), np.log(self.sizes), self.seconds_per_byte)
        device = np.maximum(costs[:, 0] / self.operations, bytes_ * slow)
        started = self.operator * len(costs)
        return max(started, float(device.sum())) if self.beside else started + float(device.sum())

    def crossing(self, size: float) -> float:
        """Seconds in which so many bytes go to the host's memory, or come from there."""
        return size / self.bus if self.bus else 0.0


def rates_of(device: str, card: Card | None, precision: str) -> Rates | None:
    """What is known of a device: a card by its name, this machine's CPU by measuring it; None of others."""
    if device == "cpu":
        return measured_rates(torch.get_num_threads(), "bfloat16" if precision == "bfloat16" else "float32")
    if card is None or card.name not in DATASHEETS or precision == "float64":
        return None
    half, single, memory, bus = DATASHEETS[card.name]
    operations = (half if precision in ("float16", "bfloat16") else single) * 1e12
    return Rates(
        operations, (1.0,), (1e-9 / memory,), KERNEL_SECONDS, True, f"datasheet of {card.name}", bus * 1e9
    )


@cache
def measured_rates(threads: int, precision: str) -> Rates:
    """This machine's CPU: as it was measured before, else measured now, in about a second, and kept."""
    path = cache_folder() / "rates.json"
    name = f"{torch.__version__} {torch.backends.cpu.get_cpu_capability()} {threads} {precision}"
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        kept = {}
    try:
        values: dict[str, Any] = {
            key: tuple(v) if isinstance(v, list) else v for key, v in kept[name].items()
        }
        return Rates(**values)
    except (KeyError, TypeError, AttributeError):
        pass  # another machine's, another version's, or nobody's
    rates = _measure(getattr(torch, precision))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        known = kept if isinstance(kept, dict) else {}
        path.write_text(json.dumps({**known, name: asdict(rates)}, indent=1), encoding="utf-8")
    except OSError:
        pass  # it is measured again next time
    return rates


def _measure(dtype: torch.dtype) -> Rates:
    with torch.no_grad():
        left, right = (torch.ones(SIDE, SIDE, dtype=dtype) for _ in range(2))
        picture = torch.ones(1, 64, 28, 28, dtype=dtype).contiguous(memory_format=torch.channels_last)
        window = torch.ones(64, 64, 3, 3, dtype=dtype).contiguous(memory_format=torch.channels_last)
        products = 2 * SIDE**3 / _least(lambda: left @ right)
        windows = 2 * picture.numel() * 64 * 9 / _least(lambda: torch.conv2d(picture, window, padding=1))
        one, slow = torch.ones(1), []
        bare = _least(lambda: [one * 2.0 for _ in range(100)]) / 100
        for size in MEASURED_BYTES:
            values = torch.ones(size // 8)  # read and written: two tensors of float32
            taken = _least(lambda values=values: values * 2.0) - bare
            slow.append(max(taken, 0.0) / size)
    # Of arithmetic the geometric mean: networks are made of both.
    sizes = tuple(map(float, MEASURED_BYTES))
    return Rates((products * windows) ** 0.5, sizes, tuple(slow), _start(), False, "measured on this machine")


def _start() -> float:
    """Seconds that an operator takes within a step whatever it computes: modules, autograd, kernels' tables.

    Measured on layers so small that nothing else counts; drawn numbers leave the global state as it was.
    """
    with torch.random.fork_rng(devices=[]):
        blocks = [(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()) for _ in range(8)]
    network = nn.Sequential(*(layer for block in blocks for layer in block))
    picture = torch.ones(2, 8, 4, 4)

    def step() -> None:
        network(picture).sum().backward()

    with torch.enable_grad():
        return _least(step) / (2 * len(network))


def _least(act: Callable[[], object]) -> float:
    """The least seconds of calls over a tenth of a second, eight at least."""
    times: list[float] = []
    until = time.perf_counter() + 0.1
    while len(times) < 8 or time.perf_counter() < until:
        started = time.perf_counter()
        act()
        times.append(time.perf_counter() - started)
    return min(times)
