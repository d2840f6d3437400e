"""The one-cycle schedule, in a file without torch, so that a page can draw it."""

from __future__ import annotations

import math


def one_cycle(step: int, steps: int, *, warmup: float) -> float:
    """The rate at a step as a fraction of its highest: up in a half cosine, then down in one (Smith 2018,
    arXiv 1803.09820). Counts optimizer steps; the top of the rise has the highest rate and, of two steps
    or more, the last has 1/1000 of it.

    step: 0 .. steps - 1.
    """
    low, end = 0.04, 1e-3
    # However long the rise, the highest step and the last one stay: a training of two steps has no other.
    top = min(max(1, round(warmup * steps)), max(0, steps - 2))
    if step < top:
        return low + (1 - low) * 0.5 * (1 - math.cos(math.pi * step / top))
    done = (step - top) / max(1, steps - 1 - top)
    return end + (1 - end) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
