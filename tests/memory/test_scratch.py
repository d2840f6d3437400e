"""Scratch space that no trace sees: each rule against what its source says. tests of traces compare the
CPU's rules with the real allocator."""

from __future__ import annotations

import pytest
import torch

from tenfold.memory.reductions import Kernels, Reduction
from tenfold.memory.scratch import convolution_bytes, scratch_rules

aten = torch.ops.aten
CUDA = scratch_rules("cuda")


def half(*shape: int, layout: torch.memory_format = torch.contiguous_format) -> torch.Tensor:
    return torch.zeros(shape, dtype=torch.float16).contiguous(memory_format=layout)


def test_half_precision_convolutions_copy_what_is_not_channels_last() -> None:
    picture, weight, out = half(2, 8, 16, 16), half(4, 8, 3, 3), half(2, 4, 16, 16)
    rule = CUDA[aten.convolution.default]
    assert list(rule(out, picture, weight)) == [2 * (2 * 8 * 256 + 4 * 8 * 9 + 2 * 4 * 256)]
    last = picture.contiguous(memory_format=torch.channels_last)
    assert list(rule(out, last, weight)) == []
    assert list(rule(out.float(), picture.float(), weight.float())) == []


def test_the_way_back_asks_for_the_gradients_that_are_wanted() -> None:
    gradient, picture, weight = half(2, 4, 16, 16), half(2, 8, 16, 16), half(4, 8, 3, 3)
    rule = CUDA[aten.convolution_backward.default]
    how = [4], [1, 1]
    both = rule((picture, weight, None), gradient, picture, weight, *how)
    assert len(both) == 2
    assert list(rule((None, weight, None), gradient, picture, weight, *how)) == list(both[1:])
    summed = rule((None, weight, torch.zeros(4)), gradient, picture, weight, *how)[1]
    assert isinstance(summed, Reduction) and (summed.outputs, summed.inputs) == (4, 2 * 256)


@pytest.mark.parametrize(("side", "parts"), [(32, 64), (20, 8), (8, 8), (7, 8), (5, 1)])
def test_depthwise_gradients_are_summed_in_parts_on_a_recent_card(side: int, parts: int) -> None:
    last = torch.channels_last
    picture, weight = half(2, 16, side, side, layout=last), half(16, 1, 7, 7, layout=last)
    sizes = {}
    for capability in ((8, 0), (9, 0)):
        rule = scratch_rules("cuda", Kernels(132, 2048, capability))[aten.convolution_backward.default]
        for stride in (1, 2):
            sizes[capability, stride] = sum(
                rule((None, weight, None), picture, picture, weight, [0], [stride] * 2)
            )
    assert sizes.pop(((9, 0), 1)) == 4 * 16 * 49 * 2 * parts
    assert set(sizes.values()) == {0}


def test_flash_attention_pads_rows_and_columns() -> None:
    query = half(2, 3, 197, 40)
    rule = CUDA[aten._scaled_dot_product_flash_attention_backward.default]
    assert list(rule(None, None, query)) == [2 * 3 * 256 * (64 + 1) * 4]


def test_layer_norm_copies_what_is_not_contiguous() -> None:
    rule = CUDA[aten.native_layer_norm.default]
    x = torch.zeros(4, 6, 8)
    assert list(rule(None, x)) == []
    assert list(rule(None, x.transpose(0, 1))) == [4 * 6 * 8 * 4]


def test_several_axes_are_rolled_one_after_another() -> None:
    rule, out = CUDA[aten.roll.default], torch.zeros(10)
    assert list(rule(out, out, [1])) == [] and list(rule(out, out, [1, 1])) == [40]


def test_copies_that_an_unknown_algorithm_may_need() -> None:
    picture, weight, out = half(1, 2, 4, 4), half(2, 2, 1, 1), half(1, 2, 4, 4)
    assert convolution_bytes(aten.convolution.default, (picture, weight), out) == 2 * (32 + 4 + 32)
    assert convolution_bytes(aten.relu.default, (picture,), out) == 0


def test_the_devices_have_rules_of_their_own() -> None:
    assert aten.convolution.default in scratch_rules("cpu")
    assert aten._scaled_dot_product_flash_attention_backward.default not in scratch_rules("cpu")
