"""The device at hand: which it is, how much memory it has and has used, and giving memory back."""

from __future__ import annotations

import ctypes
import ctypes.util
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from tenfold.errors import RecipeError

#: For type hints of code that does not import torch.
Device = torch.device
_STATUS = Path("/proc/self/status")
# glibc's mallopt parameters (malloc.h): a freed block above the mmap threshold goes back to the system
# at once, and its pages are zeroed again at the next allocation.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3

#: What a process holds on a card beside its tensors: about, and never more than.
_CONTEXT, _MOST_CONTEXT = 512 * 2**20, 1536 * 2**20


@dataclass(frozen=True)
class DeviceReport:
    """What a device holds now. All in bytes.

    used: by live tensors (CUDA), or by the process (CPU).  reserved: kept by the allocator.
    free: of the device.  peak: highest use since `reset_peak`.
    """

    device: str
    used: int
    reserved: int
    free: int
    total: int
    peak: int

    def __str__(self) -> str:
        gib = 2.0**30
        return (
            f"{self.device}: {self.used / gib:.2f} GiB used, {self.reserved / gib:.2f} GiB reserved, "
            f"{self.free / gib:.2f} of {self.total / gib:.2f} GiB free, peak {self.peak / gib:.2f} GiB"
        )


def pick_device(name: str = "auto") -> torch.device:
    """The device of that name; ``auto`` takes CUDA, then Apple's GPU, then the CPU.

    Raises RecipeError for an unknown device, or one that this machine does not have.
    """
    if name != "auto":
        return _named_device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def _named_device(name: str) -> torch.device:
    fix = "give auto, cpu, cuda, cuda:1, ... or mps"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise RecipeError(f"{name!r} is not a device", fix=fix) from None
    try:
        # A number is put there and read back: the meta device cannot do that either.
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:
        raise RecipeError(
            f"this machine has no device {name!r}", found=(str(error).splitlines() or [""])[0], fix=fix
        ) from None
    return device


def use_threads(threads: int) -> None:
    """How many threads this process gives to an operation on the CPU from now on."""
    torch.set_num_threads(threads)


def pick_precision(precision: str, device: torch.device) -> str:
    """What ``auto`` means on this device: bfloat16 or float16 autocast on a GPU, float32 on a CPU.

    On a CPU autocast is left off: for convolution networks it was slower than float32 wherever it was
    measured (bench/precision.py).
    Raises RecipeError where the device cannot do what is asked.
    """
    if precision == "auto":
        if device.type != "cuda":
            return "float32"
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    if precision == "float64" and device.type == "mps":
        raise RecipeError("Apple's GPU has no float64", fix="train with --device cpu")
    return precision


def keep_freed_memory() -> bool:
    """Let the C library keep large freed blocks for the next step instead of returning them to the system.

    A training step frees and takes the same large blocks again and again; with glibc's defaults each
    is returned and faulted in anew, which bench/training.py shows as a good part of a step's time.
    `free_memory` gives them back. Returns whether the library has such a switch.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    most = 2**31 - 1
    return all(
        [mallopt(_M_MMAP_THRESHOLD, most), mallopt(_M_TRIM_THRESHOLD, most), mallopt(_M_TOP_PAD, 2**26)]
    )


@contextmanager
def one_thread() -> Iterator[None]:
    """Within the block torch computes on one thread: for small networks several only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: of a GPU, or of the CPU, whose allocator has no error of its own."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def free_memory() -> None:
    """Give back all memory that no live object holds, to the device and to the system."""
    gc.collect()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    if sys.platform.startswith("linux"):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def reset_peak(device: torch.device) -> None:
    """Start measuring the peak anew."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif _STATUS.exists():
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:
            pass  # some containers forbid it: the peak then counts from the process's start


def peak_bytes(device: torch.device) -> int:
    """Highest use since `reset_peak`: reserved by the allocator (CUDA), or of the process (CPU)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    return process_bytes("VmHWM")


def process_peak(device: torch.device) -> int:
    """`peak_bytes` with what the process holds on the device beside its tensors: what a plan predicts."""
    if device.type != "cuda":
        return peak_bytes(device)
    # The driver's view less the allocator's. Where that is more than a process holds, others share the card.
    free, total = torch.cuda.mem_get_info(device)
    beside = max(0, total - free - torch.cuda.memory_reserved(device))
    return peak_bytes(device) + (beside if beside <= _MOST_CONTEXT else _CONTEXT)


def process_bytes(line: str = "VmRSS") -> int:
    """Resident memory of this process, now (``VmRSS``) or at its highest (``VmHWM``)."""
    if _STATUS.exists():
        for entry in _STATUS.read_text().splitlines():
            if entry.startswith(line + ":"):
                return int(entry.split()[1]) * 1024
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def report(device: torch.device | None = None) -> DeviceReport:
    """Free what is free, then say what the device holds."""
    device = device or pick_device()
    free_memory()
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        used, reserved = torch.cuda.memory_allocated(device), torch.cuda.memory_reserved(device)
        return DeviceReport(
            torch.cuda.get_device_name(device), used, reserved, free, total, peak_bytes(device)
        )
    free, total = system_memory()
    used = process_bytes()
    return DeviceReport(str(device), used, used, free, total, peak_bytes(device))


def system_memory() -> tuple[int, int]:
    """(available, total) bytes of the machine, or of the container it runs in where that is less."""
    available = total = 0
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        table = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
        available = int(table["MemAvailable"].split()[0]) * 1024
        total = int(table["MemTotal"].split()[0]) * 1024
    elif hasattr(os, "sysconf"):
        total = available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.exists() and (text := limit.read_text().strip()).isdecimal() and int(text) < total:
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        total, available = int(text), max(0, min(available, int(text) - used))
    return available, total


def compute_threads() -> int:
    """Threads that a computation on the CPU is cut into in this process."""
    return torch.get_num_threads()
