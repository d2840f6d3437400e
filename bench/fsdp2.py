"""Whether PyTorch's FSDP2 keeps the laws of a shared training: two processes on gloo, a small network.

    python bench/fsdp2.py

Each case compares the gradients with those of one process, in float64. A case that waits is ended by the time
limit of the process group. See docs/exactness.md, "When the optimizer does not fit".
"""

from __future__ import annotations

import os
import socket
import time
from copy import deepcopy
from datetime import timedelta

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.distributed.fsdp import FSDPModule, fully_shard

#: Seconds after which a process that waits for the other one gives up.
LIMIT = 15
#: Rows of each process, and what goes wrong.
CASES = {
    "as many micro-batches on both": ((8, 8), False),
    "two micro-batches and one": ((8, 4), False),
    "memory runs out on one": ((8, 8), True),
}
#: Rows of a micro-batch.
MICRO = 4


def make_network() -> nn.Sequential:
    blocks = [nn.Sequential(nn.Linear(16, 16), nn.GELU()) for _ in range(3)]
    return nn.Sequential(*blocks, nn.Linear(16, 3)).double()


def gradients(network: nn.Module, rows: torch.Tensor, count: int, *, short: bool = False) -> None:
    """Add up the gradients of the loss over micro-batches. short: memory runs out in the first one."""
    micros = rows.split(MICRO)
    for number, micro in enumerate(micros):
        if isinstance(network, FSDPModule):
            network.set_requires_gradient_sync(number == len(micros) - 1)
        if short:
            raise torch.OutOfMemoryError("in a test")
        (network(micro).square().sum() / count).backward()


def play(rank: int, port: int, case: str, alone: nn.Sequential) -> None:
    parts, short = CASES[case]
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="localhost", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=2, timeout=timedelta(seconds=LIMIT))
    count, started = sum(parts), time.monotonic()
    rows = torch.randn(count, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    network = deepcopy(alone)
    gradients(alone, rows, count)
    for module in [*list(network)[:3], network]:
        fully_shard(module).set_gradient_divide_factor(1.0)
    try:
        try:
            gradients(network, rows.split(parts)[rank], count, short=short and rank == 1)
        except torch.OutOfMemoryError:
            dist.all_reduce(torch.ones(1))  # so would the ranks agree on a smaller micro-batch
        pairs = zip(alone.parameters(), network.parameters(), strict=True)
        worst = max((one.grad - other.grad.full_tensor()).abs().max().item() for one, other in pairs)
        said = f"largest difference of a gradient {worst:.1e}"
    except RuntimeError:
        said = f"waited for the other process, {time.monotonic() - started:.0f} s"
    if rank == 0:
        print(f"{case}: {said}", flush=True)
    os._exit(0)


if __name__ == "__main__":
    print(f"torch {torch.__version__}")
    begun = make_network()
    for name in CASES:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            where = probe.getsockname()[1]
        mp.start_processes(play, (where, name, begun), nprocs=2, start_method="fork")
