"""The scratch space of sums: what an H200 asked for, and how it follows from layout and rows."""

from __future__ import annotations

import pytest
import torch

from tenfold.memory.reductions import UNKNOWN_CARD, Kernels, Reduction, reduction_of

MIB = 1 << 20
H200 = Kernels(132, 2048, (9, 0))


def size_of(shape: tuple[int, ...], axes: list[int], kernels: Kernels = H200, **options: object) -> int:
    found = reduction_of(torch.empty(shape, device="meta", **options), axes, kernels)  # type: ignore[arg-type]
    assert found is not None
    return found.size


@pytest.mark.parametrize(
    ("rows", "columns", "mib"), [(65536, 384, 132), (16384, 768, 96), (4096, 1536, 48), (65536, 96, 12)]
)
def test_gradients_of_biases_take_what_an_h200_asked_for(rows: int, columns: int, mib: int) -> None:
    # Requests between two others in a step of `convnext_small`, 64 rows at 128 px (bench/results/card.md).
    assert size_of((rows, columns), [0], dtype=torch.bfloat16) == mib * MIB
    assert size_of((64, rows // 64, columns), [0, 1]) == mib * MIB


def test_the_layout_counts_and_not_the_order_of_axes() -> None:
    last = torch.empty(64, 96, 32, 32, device="meta").contiguous(memory_format=torch.channels_last)
    found = reduction_of(last, [0, 2, 3], H200)
    assert found is not None and found.size == size_of((65536, 96), [0]) and not found.along
    # Channels first: what is summed lies next to each other, and threads share it within a block.
    first = reduction_of(torch.empty(64, 96, 32, 32, device="meta"), [-1, 0, -2], H200)
    assert first is not None and first.along and first.size < found.size // 100


def test_few_values_are_summed_without_scratch() -> None:
    assert size_of((1000, 384), [0]) == 0
    assert size_of((65536, 4), [1]) == 0
    assert size_of((64, 1 << 20), [0]) == 0
    assert reduction_of(torch.empty(1, 5, device="meta"), [0], H200) is None


def test_a_smaller_card_shares_less() -> None:
    shape = (65536, 384)
    small = Kernels(40, 1024, (7, 5))
    assert size_of(shape, [0], small) < size_of(shape, [0], UNKNOWN_CARD) < size_of(shape, [0], H200)


@pytest.mark.parametrize("columns", [48, 50, 51, 96, 384, 1001])
@pytest.mark.parametrize("item", [2, 4, 8])
def test_another_number_of_rows_follows_from_two(columns: int, item: int) -> None:
    kind = {2: torch.float16, 4: torch.float32, 8: torch.float64}[item]
    one, two = (
        reduction_of(torch.empty(rows * 196, columns, device="meta", dtype=kind), [0], H200)
        for rows in (32, 64)
    )
    assert one is not None and two is not None
    for rows in (1, 3, 16, 48, 200, 1000):
        wanted = reduction_of(torch.empty(rows * 196, columns, device="meta", dtype=kind), [0], H200)
        assert one.between(two, (rows - 32) / 32) == wanted


def test_scratch_grows_with_the_values_and_then_no_more() -> None:
    sizes = [
        Reduction(H200, 384, inputs, False, 4, 4).size for inputs in (1 << 10, 1 << 13, 1 << 17, 1 << 18)
    ]
    assert sizes == sorted(sizes) and sizes[0] > 0 and sizes[2] == sizes[3]
