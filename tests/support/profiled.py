"""What PyTorch's profiler sees of a step."""

from __future__ import annotations

import gc
from collections.abc import Callable

import torch


def profiled_peak(step: Callable[[], object]) -> int:
    """Bytes that a step asks for at its highest."""
    gc.collect()
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as seen:
        step()
    now = peak = 0
    for event in seen.profiler.kineto_results.events():  # type: ignore[union-attr]
        if event.name() == "[memory]":
            now += event.nbytes()
            peak = max(peak, now)
    return peak
