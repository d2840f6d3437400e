"""What a process holds beside its tensors on this machine, read from a process that trains a little.

    python -m tenfold.memory.calibrate observe     prints {"name": ..., "bytes": ...}
    python -m tenfold.memory.calibrate train       trains, prints what it reserved, and waits to be ended

On a GPU this takes two processes: a process cannot see its own context, but another sees the device's free
memory shrink by it.
"""

from __future__ import annotations

import json
import subprocess
import sys

from tenfold.errors import TenfoldError
from tenfold.memory.cards import find_card, store_context
from tenfold.processes import module_command, module_environment

#: Seconds until a calibration is given up.
PATIENCE = 300


def calibrate() -> tuple[str, int]:
    """Measure and keep the context of this machine's device; returns its name and the bytes.

    Later plans for a card of that name, or for a CPU, use it instead of a named constant.
    """
    try:
        ran = subprocess.run(
            module_command("tenfold.memory.calibrate", "observe"),
            env=module_environment(),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        )
        measured = json.loads(ran.stdout.splitlines()[-1])
        name, size = str(measured["name"]), int(measured["bytes"])
    except (OSError, subprocess.SubprocessError, ValueError, LookupError) as error:
        tail = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1:]
        raise TenfoldError(
            "the context of this machine could not be measured", found="".join(tail), fix="plan without it"
        ) from None
    card = find_card(name)
    store_context(card.name if card else name, size)
    return name, size


def _observe() -> dict[str, object]:
    import torch

    from tenfold.engine.device import process_bytes

    if not torch.cuda.is_available():
        _train("cpu")
        # What is left when the tensors are gone again: code, interpreter, kernels, thread stacks.
        return {"name": "cpu", "bytes": process_bytes()}
    torch.zeros(1, device="cuda")
    before, _ = torch.cuda.mem_get_info()
    command = module_command("tenfold.memory.calibrate", "train")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        reserved = int(other.stdout.readline()) if other.stdout else 0
        after, _ = torch.cuda.mem_get_info()
        other.communicate("\n")
    return {"name": torch.cuda.get_device_name(), "bytes": before - after - reserved}


def _train(device: str) -> None:
    """One small step with the kernels that trainings use: convolution, norms, attention, matrices."""
    import torch

    from tenfold.nn.encoders import build_backbone

    half = torch.float16 if device == "cuda" else None
    for arch in ("test_resnet", "test_vit", "test_convnext"):
        network = build_backbone(arch, image_size=(160, 160)).to(device).train()
        optimizer = torch.optim.AdamW(network.parameters())
        with torch.autocast(device, half or torch.bfloat16, enabled=half is not None):
            loss = network(torch.zeros(4, 3, 160, 160, device=device)).float().square().mean()
        loss.backward()
        optimizer.step()


def _main(what: str) -> None:
    if what == "observe":
        sys.stdout.write(json.dumps(_observe()) + "\n")
        return
    import torch

    _train("cuda")
    torch.cuda.synchronize()
    sys.stdout.write(f"{torch.cuda.memory_reserved()}\n")
    sys.stdout.flush()
    sys.stdin.readline()


if __name__ == "__main__":
    _main(sys.argv[1])
