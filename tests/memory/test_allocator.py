"""The model of the caching allocator against its rules, and what must hold for any list of requests."""

from __future__ import annotations

import numpy as np
import pytest

from tenfold.memory.allocator import MIB, CachingAllocator, OutOfBudget, replay


@pytest.mark.parametrize(
    ("size", "allocated", "reserved"),
    [
        (1, 512, 2 * MIB),
        (513, 1024, 2 * MIB),
        (MIB, MIB, 2 * MIB),
        (MIB + 1, MIB + 512, 20 * MIB),
        (10 * MIB - 512, 10 * MIB - 512, 20 * MIB),
        (10 * MIB, 10 * MIB, 10 * MIB),
        # A rest of up to 1 MiB of a large segment stays with the block.
        (11 * MIB + 1, 12 * MIB, 12 * MIB),
        (13 * MIB + 512, 14 * MIB, 14 * MIB),
        (12 * MIB + 512, 12 * MIB + 512, 14 * MIB),
    ],
)
def test_one_request_is_rounded_as_the_device_rounds(size: int, allocated: int, reserved: int) -> None:
    allocator = CachingAllocator()
    allocator.allocate(size)
    assert (allocator.allocated_bytes, allocator.reserved_bytes) == (allocated, reserved)


def test_small_and_large_requests_never_share_a_segment() -> None:
    allocator = CachingAllocator()
    allocator.release(allocator.allocate(16 * MIB))
    allocator.allocate(4096)
    assert allocator.reserved_bytes == 18 * MIB


def test_the_best_fitting_block_serves() -> None:
    allocator = CachingAllocator()
    large, _, fitting = (allocator.allocate(size * MIB) for size in (40, 30, 20))
    allocator.release(large)
    allocator.release(fitting)
    assert allocator.allocate(18 * MIB) == fitting
    assert allocator.reserved_bytes == 90 * MIB


def test_neighbours_merge_when_they_come_back_in_any_order() -> None:
    for order in ((0, 1, 2), (2, 0, 1), (1, 2, 0), (0, 2, 1)):
        allocator = CachingAllocator()
        allocator.release(allocator.allocate(30 * MIB))
        thirds = [allocator.allocate(10 * MIB) for _ in range(3)]
        assert allocator.reserved_bytes == 30 * MIB
        for index in order:
            allocator.release(thirds[index])
        allocator.allocate(30 * MIB)
        assert allocator.reserved_bytes == 30 * MIB


def test_a_limit_is_met_by_giving_back_what_is_free() -> None:
    allocator = CachingAllocator(limit_bytes=50 * MIB)
    allocator.release(allocator.allocate(30 * MIB))
    allocator.allocate(40 * MIB)
    assert allocator.reserved_bytes == 40 * MIB
    with pytest.raises(OutOfBudget) as caught:
        allocator.allocate(12 * MIB)
    assert (caught.value.needed_bytes, caught.value.reserved_bytes) == (12 * MIB, 40 * MIB)


def test_a_segment_that_is_partly_used_is_not_given_back() -> None:
    allocator = CachingAllocator()
    allocator.release(allocator.allocate(30 * MIB))
    kept = allocator.allocate(10 * MIB)
    allocator.empty_cache()
    assert allocator.reserved_bytes == 30 * MIB
    allocator.release(kept)
    allocator.empty_cache()
    assert (allocator.reserved_bytes, allocator.allocated_bytes) == (0, 0)


@pytest.mark.parametrize("seed", range(5))
def test_blocks_never_overlap_and_all_memory_comes_back(seed: int) -> None:
    random = np.random.default_rng(seed)
    allocator, held = CachingAllocator(), {}
    for _ in range(2000):
        if held and random.random() < 0.48:
            allocator.release(held_address := random.choice(list(held)))
            del held[held_address]
        else:
            size = int(2 ** random.uniform(0, 26))
            held[allocator.allocate(size)] = size
        edges = sorted((address, address + size) for address, size in held.items())
        assert all(before[1] <= after[0] for before, after in zip(edges, edges[1:], strict=False))
        assert sum(held.values()) <= allocator.allocated_bytes <= allocator.reserved_bytes
    for address in held:
        allocator.release(address)
    assert allocator.allocated_bytes == 0
    allocator.empty_cache()
    assert allocator.reserved_bytes == 0


def test_replay_counts_what_is_alive_and_skips_what_is_empty() -> None:
    sizes = [0, 100, 0, 700, 50]
    usage = replay([1, 2, 3, -1, 4, -2, -3, -4], sizes, CachingAllocator())
    assert (usage.live, usage.live_at) == (800, 2)
    assert (usage.allocated, usage.reserved) == (512 + 1024, 2 * MIB)
    plain = replay([1, 2, 3, -1, 4, -2, -3, -4], sizes, None)
    assert (plain.live, plain.allocated, plain.reserved) == (800, 800, 800)
