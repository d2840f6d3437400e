"""Scratch space of sums on a GPU: where few outputs have many inputs, several blocks of threads share an
output, and leave their parts in memory. How many depends on the card's multiprocessors.

The arithmetic follows PyTorch's ATen/native/cuda/Reduce.cuh (`setReduceConfig`, `global_memory_size`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from jaxtyping import Shaped
from torch import Tensor

#: Threads of a block, and of a warp; values that a thread sums at least and at most before blocks share.
BLOCK, WARP = 512, 32
LEAST_VALUES, MOST_VALUES = 16, 256
#: Values that a thread loads at once.
VECTOR = 4
#: Threads that a multiprocessor runs at once, where these are not 2048 (CUDA programming guide, compute
#: capabilities).
THREADS = {(7, 5): 1024, (8, 6): 1536, (8, 9): 1536}


@dataclass(frozen=True)
class Kernels:
    """What of a card decides the scratch space of its kernels.

    processors: multiprocessors.  threads: that each of them runs at once.  capability: compute capability.
    """

    processors: int
    threads: int
    capability: tuple[int, int]


#: A card that nothing is known of is taken for an A100.
UNKNOWN_CARD = Kernels(108, 2048, (8, 0))


@dataclass(frozen=True)
class Reduction:
    """A sum over some axes.

    outputs: of the sum.  inputs: to each of them.
    along: whether the axis whose values lie next to each other is summed over.
    vector: values that are loaded at once.  item: bytes of a sum.
    """

    kernels: Kernels
    outputs: int
    inputs: int
    along: bool
    vector: int
    item: int

    @property
    def size(self) -> int:
        """Bytes of the parts; 0 where no output is shared."""
        first, second = (self.inputs, self.outputs) if self.along else (self.outputs, self.inputs)
        first //= self.vector
        most = BLOCK // (1 if self.along else self.vector)
        widest, highest = (min(most, _power(each)) for each in (first, second))
        height = min(highest, most // min(widest, WARP))
        width = min(widest, most // height)
        lanes, rows = (width, 1) if self.along else (1, width)
        if -(-self.inputs // lanes) < min(height * 16, MOST_VALUES):
            return 0  # each warp has an output of its own
        values = -(-self.inputs // (lanes * height))
        grid = -(-(self.outputs // (1 if self.along else self.vector)) // rows)
        wanted = self.kernels.processors * (self.kernels.threads // (width * height))
        if values < MOST_VALUES or grid > wanted:
            return 0
        shared = max(-(-values // MOST_VALUES), min(-(-wanted // grid), -(-values // LEAST_VALUES)))
        return self.item * self.outputs * shared * (1 if self.along else width * self.vector)

    def between(self, other: Reduction, part: float) -> Reduction:
        """The same sum at another number of rows. part: of the way to the other one, which may be beyond."""
        outputs, inputs = (
            max(1, round(mine + part * (theirs - mine)))
            for mine, theirs in ((self.outputs, other.outputs), (self.inputs, other.inputs))
        )
        return replace(self, outputs=outputs, inputs=inputs)


def reduction_of(
    tensor: Shaped[Tensor, " ..."], axes: Collection[int] | None, kernels: Kernels
) -> Reduction | None:
    """The sum of a tensor over some axes, all where None; None where there is nothing to sum."""
    summed = {axis % tensor.ndim for axis in axes} if axes else set(range(tensor.ndim))
    layout = [
        (stride, size, axis in summed)
        for axis, (size, stride) in enumerate(zip(tensor.shape, tensor.stride(), strict=True))
        if size > 1
    ]
    gone = _joined([(stride, size) for stride, size, over in layout if over])
    kept = _joined([(stride, size) for stride, size, over in layout if not over])
    if not gone:
        return None
    outputs, inputs = (math.prod(size for _, size in some) for some in (kept, gone))
    along = not kept or gone[0][0] < kept[0][0]
    vector = 1
    if along and gone[0][0] == 1 and inputs >= 128 and len(gone) == 1:
        vector = VECTOR
    elif not along and kept[0][0] == 1:
        strides = [stride for stride, _ in [*gone, *kept[1:]]]
        vector = math.gcd(VECTOR, kept[0][1], *strides)
    item = 8 if tensor.element_size() == 8 else 4
    return Reduction(kernels, outputs, inputs, along, vector, item)


def _joined(layout: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Strides and sizes from the innermost on, with those that follow each other made one."""
    joined: list[tuple[int, int]] = []
    for stride, size in sorted(layout):
        if joined and stride == joined[-1][0] * joined[-1][1]:
            joined[-1] = joined[-1][0], joined[-1][1] * size
        else:
            joined.append((stride, size))
    return joined


def _power(number: int) -> int:
    """The largest power of two that is not above a number; 1 for less."""
    return 1 << max(0, number.bit_length() - 1)
