"""The caching allocator of a CUDA device, as arithmetic: what a list of requests reserves.

A model of ``c10/cuda/CUDACachingAllocator.cpp`` of PyTorch in its default configuration, on one stream.
Requests are rounded, served best-fit from blocks that were freed before, split where the rest is worth
keeping, and merged with their free neighbours when they come back; only what no block can serve is asked
of the driver, in segments of 2 MiB, 20 MiB or the size itself. What a process holds is the sum of its
segments, not of its tensors: the difference is what this module is for.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass

MIB = 1 << 20
#: Constants of CUDACachingAllocator.cpp, by their names there.
MIN_BLOCK_BYTES = 512  # kMinBlockSize
SMALL_BYTES = MIB  # kSmallSize: larger requests go to the large pool
SMALL_SEGMENT_BYTES = 2 * MIB  # kSmallBuffer
LARGE_SEGMENT_BYTES = 20 * MIB  # kLargeBuffer
MIN_LARGE_BYTES = 10 * MIB  # kMinLargeAlloc: from here on a segment is as large as its request
ROUND_LARGE_BYTES = 2 * MIB  # kRoundLarge


class OutOfBudget(Exception):
    """A request that the device could not serve, even after all that is free was given back."""

    def __init__(self, needed_bytes: int, reserved_bytes: int) -> None:
        super().__init__(f"{needed_bytes} bytes more than {reserved_bytes} reserved")
        self.needed_bytes, self.reserved_bytes = needed_bytes, reserved_bytes


class _Block:
    __slots__ = ("address", "before", "after", "free", "large", "size")

    def __init__(self, address: int, size: int, large: bool) -> None:
        self.address, self.size, self.large = address, size, large
        self.free = False
        self.before: _Block | None = None
        self.after: _Block | None = None


class CachingAllocator:
    """Serves requests as a CUDA device's allocator would; see the module's docstring.

    reserved_bytes: what the driver sees.  allocated_bytes: what tensors hold, rounded.
    limit_bytes: what the device has for segments; None for no limit.
    """

    def __init__(self, limit_bytes: int | None = None) -> None:
        self.limit_bytes = limit_bytes
        self.reserved_bytes = self.allocated_bytes = 0
        # Free blocks of the small and of the large pool, ordered by size and then by address.
        self._free: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])
        self._blocks: dict[int, _Block] = {}
        self._next_address = 0

    def allocate(self, size_bytes: int) -> int:
        """Address of a block for `size_bytes` > 0; OutOfBudget where the limit does not allow it."""
        size = max(MIN_BLOCK_BYTES, -(-size_bytes // MIN_BLOCK_BYTES) * MIN_BLOCK_BYTES)
        large = size > SMALL_BYTES
        pool = self._free[large]
        index = bisect_left(pool, (size, -1))
        if index < len(pool):
            block = self._blocks[pool.pop(index)[1]]
        else:
            block = self._new_segment(size, large)
        rest = block.size - size
        # A large block keeps a rest of up to 1 MiB to itself (should_split).
        if rest > SMALL_BYTES if large else rest >= MIN_BLOCK_BYTES:
            tail = self._blocks[block.address + size] = _Block(block.address + size, rest, large)
            tail.before, tail.after, tail.free = block, block.after, True
            if block.after is not None:
                block.after.before = tail
            block.after, block.size = tail, size
            insort(pool, (rest, tail.address))
        block.free = False
        self.allocated_bytes += block.size
        return block.address

    def release(self, address: int) -> None:
        """Give back the block at `address`; it merges with its free neighbours."""
        block = self._blocks[address]
        pool = self._free[block.large]
        self.allocated_bytes -= block.size
        before, after = block.before, block.after
        if after is not None and after.free:
            self._take(pool, after)
            self._join(block, after)
        if before is not None and before.free:
            self._take(pool, before)
            self._join(before, block)
            block = before
        block.free = True
        insort(pool, (block.size, block.address))

    def empty_cache(self) -> None:
        """Give whole free segments back to the driver, as ``torch.cuda.empty_cache()`` does."""
        for pool in self._free:
            kept = []
            for size, address in pool:
                block = self._blocks[address]
                if block.before is None and block.after is None:
                    self.reserved_bytes -= size
                    del self._blocks[address]
                else:
                    kept.append((size, address))
            pool[:] = kept

    def _new_segment(self, size: int, large: bool) -> _Block:
        if not large:
            segment = SMALL_SEGMENT_BYTES
        elif size < MIN_LARGE_BYTES:
            segment = LARGE_SEGMENT_BYTES
        else:
            segment = -(-size // ROUND_LARGE_BYTES) * ROUND_LARGE_BYTES
        if self.limit_bytes is not None and self.reserved_bytes + segment > self.limit_bytes:
            self.empty_cache()
            if self.reserved_bytes + segment > self.limit_bytes:
                raise OutOfBudget(segment, self.reserved_bytes)
        # Segments are never neighbours: a gap keeps the order of addresses and forbids merging.
        block = self._blocks[self._next_address] = _Block(self._next_address, segment, large)
        self._next_address += segment + MIB
        self.reserved_bytes += segment
        return block

    @staticmethod
    def _take(pool: list[tuple[int, int]], block: _Block) -> None:
        del pool[bisect_left(pool, (block.size, block.address))]

    def _join(self, left: _Block, right: _Block) -> None:
        left.size += right.size
        left.after = right.after
        if right.after is not None:
            right.after.before = left
        del self._blocks[right.address]


@dataclass(frozen=True)
class Usage:
    """Peaks of a replay, in bytes.

    live: what tensors asked for.  allocated: the same, rounded as the allocator does.
    reserved: what the driver sees.  live_at: index of the event at which `live` peaked first.
    """

    live: int
    allocated: int
    reserved: int
    live_at: int


def replay(events: Sequence[int], sizes: Sequence[int], allocator: CachingAllocator | None) -> Usage:
    """Run requests through an allocator; without one nothing is rounded or kept, as on a CPU.

    events: +k where allocation k is made, -k where it is freed, k from 1.
    sizes: bytes of allocation k at index k; index 0 is not used.
    """
    live = peak_live = live_at = peak_allocated = peak_reserved = 0
    addresses: dict[int, int] = {}
    for index, event in enumerate(events):
        if event > 0:
            size = sizes[event]
            if size <= 0:
                continue
            live += size
            if live > peak_live:
                peak_live, live_at = live, index
            if allocator is not None:
                addresses[event] = allocator.allocate(size)
                if allocator.allocated_bytes > peak_allocated:
                    peak_allocated = allocator.allocated_bytes
                if allocator.reserved_bytes > peak_reserved:
                    peak_reserved = allocator.reserved_bytes
        elif sizes[-event] > 0:
            live -= sizes[-event]
            if allocator is not None:
                allocator.release(addresses.pop(-event))
    if allocator is None:
        peak_allocated = peak_reserved = peak_live
    return Usage(peak_live, peak_allocated, peak_reserved, live_at)
