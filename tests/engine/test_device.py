"""The device at hand."""

from __future__ import annotations

import re

import pytest
import torch

from tenfold.engine.device import (
    free_memory,
    keep_freed_memory,
    peak_bytes,
    pick_device,
    pick_precision,
    process_bytes,
    process_peak,
    report,
    reset_peak,
    system_memory,
)
from tenfold.errors import RecipeError
from tenfold.memory.cards import GIB, MIB

CPU = torch.device("cpu")


def test_a_device_by_its_name() -> None:
    assert pick_device("cpu") == CPU
    assert pick_device().type in ("cpu", "cuda", "mps")
    assert torch.zeros(1, device=pick_device("auto")).item() == 0


@pytest.mark.parametrize("name", ["gpu", "CPU", "", "cpu:x", "cuda:-1", "cuda 0", "tpu", "meta", "cuda:4095"])
def test_a_device_that_is_not_there_is_refused_in_words(name: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(repr(name))) as caught:
        pick_device(name)
    assert "cpu" in caught.value.labels["fix"] and "auto" in caught.value.labels["fix"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_gpu_that_is_not_there_is_refused_in_words() -> None:
    with pytest.raises(RecipeError, match="this machine has no device 'cuda'"):
        pick_device("cuda")


def test_precision_of_a_cpu() -> None:
    assert pick_precision("auto", CPU) == "float32"
    for given in ("float64", "float32", "float16", "bfloat16"):
        assert pick_precision(given, CPU) == given


def test_a_gpu_without_doubles_says_so() -> None:
    with pytest.raises(RecipeError, match="no float64"):
        pick_precision("float64", torch.device("mps"))


def test_what_the_process_holds_is_measured_and_given_back() -> None:
    # Whatever keep_freed_memory told the C library (a training on the CPU does), free_memory gives it back.
    assert isinstance(keep_freed_memory(), bool)
    free_memory()  # else the block may take what earlier tests let go
    reset_peak(CPU)
    before, block = process_bytes(), torch.ones(2**24)
    held, peak = process_bytes(), peak_bytes(CPU)
    assert held - before > 2**25 and peak > 0.99 * held
    del block
    free_memory()
    assert process_bytes() < held - 2**25
    assert peak_bytes(CPU) > 0.99 * held


def test_memory_of_the_machine() -> None:
    available, total = system_memory()
    assert 0 < available <= total
    found = report(CPU)
    assert found.device == "cpu" and 0 < found.used <= found.peak and found.total == total
    assert re.fullmatch(r"cpu: [\d.]+ GiB used, .* of [\d.]+ GiB free, peak [\d.]+ GiB", str(found))


def test_a_container_has_less_than_its_machine(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tenfold.engine.device as device

    files = {
        "/proc/meminfo": "MemTotal: 8000 kB\nMemAvailable: 6000 kB\n",
        "/sys/fs/cgroup/memory.max": "4096000\n",
        "/sys/fs/cgroup/memory.current": "1024000\n",
    }
    for name, text in files.items():
        (tmp_path / name.replace("/", "_")).write_text(text)

    def path(name: str):
        return tmp_path / name.replace("/", "_")

    monkeypatch.setattr(device, "Path", path)
    assert system_memory() == (4096000 - 1024000, 4096000)
    path("/sys/fs/cgroup/memory.max").write_text("max\n")
    assert system_memory() == (6000 * 1024, 8000 * 1024)


def test_other_processes_of_a_card_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    card, total, own = torch.device("cuda"), 80 * GIB, 4 * GIB
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: own)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: own)
    for others, found in ((0, 700 * MIB), (15 * GIB, 512 * MIB)):
        free = total - own - 700 * MIB - others
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, total))
        assert process_peak(card) == own + found
