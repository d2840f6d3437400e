"""Scratch space that operators take inside their kernels, where no trace of operators can see it.

A rule gives the bytes that an operator holds at its highest beyond its results. On a GPU the rules follow
PyTorch's kernels (the file is named beside each) and what cuDNN's documentation says of layouts. On a CPU
they describe oneDNN's convolutions, and tests compare them with the requests that PyTorch's profiler shows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch._prims_common import suggest_memory_format

from tenfold.memory.reductions import UNKNOWN_CARD, Kernels, Reduction, reduction_of

#: From an operator's result and its arguments to the bytes of each request, one after another.
Rule = Callable[..., Sequence[int | Reduction]]
Values = Shaped[Tensor, " ..."]
Picture = Float[Tensor, "rows channels *sides"]
Window = Float[Tensor, "outputs inputs *window"]
#: Stride, padding, dilation, whether transposed, padding of the output, groups.
Geometry = tuple[list[int], list[int], list[int], bool, list[int], int]
_aten = torch.ops.aten


def scratch_rules(device: str, kernels: Kernels = UNKNOWN_CARD) -> Mapping[object, Rule]:
    """Operator -> rule, for ``cuda`` or ``cpu``. kernels: of the card."""
    if device != "cuda":
        return _CPU
    return _CUDA | {
        _aten.convolution_backward.default: partial(_convolution_back, kernels),
        _aten.sum.dim_IntList: partial(_sum, kernels),
        _aten.mean.dim: partial(_sum, kernels),
    }


def tensor_bytes(*values: object) -> int:
    """Bytes of those values that are tensors."""
    return sum(value.numel() * value.element_size() for value in values if isinstance(value, Tensor))


# ------------------------------------------------------------------------------------------------ GPU


def _rolled(out: Values, picture: Values, shifts: Sequence[int], *rest: object) -> Sequence[int]:
    # native/cuda/TensorTransformations.cpp: several axes are rolled one after another.
    return (tensor_bytes(out),) if len(shifts) > 1 else ()


def _layer_norm(out: object, *given: Values) -> Sequence[int]:
    # native/cuda/layer_norm_kernel.cu works on contiguous copies.
    return () if given[0].is_contiguous() else (tensor_bytes(given[0]),)


def _layer_norm_back(out: object, *given: Values) -> Sequence[int]:
    copies = tensor_bytes(*(each for each in given[:2] if not each.is_contiguous()))
    return (copies,) if copies else ()


def _flash_back(
    out: object, gradient: object, query: Float[Tensor, "rows heads length width"], *rest: object
) -> Sequence[int]:
    # native/transformers/cuda/flash_attn/flash_api.cpp, mha_bwd: the gradient of the query is summed in
    # float32, with rows padded to 128 and columns to 32; and a float32 to a row for the softmax.
    rows, heads, length, width = query.shape
    length, width = -(-length // 128) * 128, -(-width // 32) * 32
    return (rows * heads * length * (width + 1) * 4,)


def _efficient_back(out: object, gradient: object, query: Values, *rest: object) -> Sequence[int]:
    # native/transformers/cuda/attention_backward.cu: half-precision gradients are summed in float32.
    return (query.numel() * 4,) if query.element_size() == 2 else ()


def _convolution(out: Picture, picture: Picture, weight: Window, *rest: object) -> Sequence[int]:
    # Tensor cores read channels last: of half-precision tensors in another layout cuDNN makes copies in
    # its workspace (cuDNN developer guide, "Tensor Core operations").
    if picture.element_size() != 2 or _channels_last(picture, weight):
        return ()
    return (tensor_bytes(picture, weight, out),)


def _convolution_back(
    kernels: Kernels,
    out: Sequence[Values | None],
    gradient: Picture,
    picture: Picture,
    weight: Window,
    sizes_of_bias: object,
    stride: Sequence[int],
    *rest: object,
) -> Sequence[int | Reduction]:
    sizes: list[int | Reduction] = []
    if picture.element_size() == 2 and not _channels_last(picture, weight):
        # The gradient of the weights is summed in float32.
        sums = (tensor_bytes(gradient, weight, picture), tensor_bytes(picture, gradient) + weight.numel() * 4)
        sizes += [size for size, result in zip(sums, out, strict=False) if result is not None]
    elif (
        picture.element_size() == 2
        and out[1] is not None
        and max(stride) == 1
        and kernels.capability >= (9, 0)
    ):
        sizes += _depthwise_parts(gradient, picture, weight)
    if out[2] is not None:
        sizes += _sum(kernels, out[2], gradient, [0, *range(2, gradient.ndim)])
    return sizes


def _depthwise_parts(gradient: Picture, picture: Picture, weight: Window) -> Sequence[int]:
    """Of a depthwise convolution with channels last and stride 1: parts of the gradient of its weights.

    Not documented: so many to a picture were found for ten sizes in steps of convnext and
    EfficientNet-Lite on an H200 (bench/results/card.md).
    """
    if weight.shape[1] != 1 or weight.shape[0] != picture.shape[1] or weight.shape[2:].numel() == 1:
        return ()
    places = gradient.shape[2:].numel()
    parts = 64 if places >= 1024 else 8 if places >= 49 else 1
    return (4 * weight.numel() * gradient.shape[0] * parts,)


def _sum(
    kernels: Kernels, out: Values, values: Values, axes: Sequence[int] | None = None, *rest: object
) -> Sequence[Reduction]:
    found = reduction_of(values, axes, kernels)
    return () if found is None else (found,)


def _channels_last(picture: Picture, weight: Window) -> bool:
    """Whether a convolution runs with channels last: one of the two asks for it (ConvUtils.h)."""
    return picture.ndim == 4 and any(
        suggest_memory_format(each) is torch.channels_last for each in (picture, weight)
    )


_CUDA: dict[object, Rule] = {
    _aten.roll.default: _rolled,
    _aten.native_layer_norm.default: _layer_norm,
    _aten.native_layer_norm_backward.default: _layer_norm_back,
    _aten._scaled_dot_product_flash_attention_backward.default: _flash_back,
    _aten._scaled_dot_product_efficient_attention_backward.default: _efficient_back,
    _aten.convolution.default: _convolution,
}


def convolution_bytes(func: object, args: Sequence[object], out: object) -> int:
    """Bytes of the tensors of a convolution or of its way back; 0 for other operators.

    Which algorithm cuDNN takes, and so its workspace, is not known without the card; copies of its
    tensors are what the common ones need, so that this much more may be asked for.
    """
    if func is _aten.convolution.default:
        return tensor_bytes(args[0], args[1], out)
    if func is _aten.convolution_backward.default:
        return tensor_bytes(args[0], args[1], args[2])
    return 0


def is_unbounded(func: object, args: Sequence[Any]) -> bool:
    """Whether no bound is known to the scratch space of a kernel on a GPU.

    Of grouped convolutions in half precision with channels first, cuDNN has kernels that copy the pictures
    into another order, and others that transform every group; which one it takes, and how much that needs,
    is not documented. A batch of 48 of `ig_resnext101_32x32d` ran out of 24 GB where all tensors take 10.
    """
    if func is not _aten.convolution.default and func is not _aten.convolution_backward.default:
        return False
    picture, weight = args[:2] if func is _aten.convolution.default else args[1:3]
    grouped = weight.shape[1] > 1 and weight.shape[1] < picture.shape[1]
    return grouped and picture.element_size() == 2 and not _channels_last(picture, weight)


# ------------------------------------------------------------------------------------------------ CPU


def _is_mkldnn(picture: Picture, weight: Window, *how: *Geometry) -> bool:
    return "Mkldnn" in str(torch._C._select_conv_backend(picture, weight, None, *how, None))


def _filled(channels: int) -> int:
    """Channels of oneDNN's formats nChw16c and nChw8c: blocks as wide as a vector register."""
    block = 16 if _wide_registers() else 8
    return -(-channels // block) * block


def _wide_registers() -> bool:
    return "AVX512" in torch.backends.cpu.get_cpu_capability()


def _blocked(tensor: Picture, groups: int) -> int:
    """Bytes of a picture in a blocked format; 3 channels or fewer are read as they are."""
    channels = tensor.shape[1]
    if channels < 4:
        return 0
    whole = groups in (1, channels)
    return tensor_bytes(tensor) // channels * (_filled(channels) if whole else channels)


def _blocked_weight(weight: Window, groups: int) -> int:
    """Bytes of the weights in a blocked format: a depthwise one fills up its groups, others both axes."""
    outputs, inputs = weight.shape[:2]
    window = tensor_bytes(weight) // (outputs * inputs)
    if groups == 1:
        return window * _filled(outputs) * (_filled(inputs) if inputs > 3 else inputs)
    return window * _filled(outputs) if inputs == 1 and outputs == groups else tensor_bytes(weight)


def _every_group_filled(weight: Window, groups: int) -> int:
    """The same where each group is filled up by itself: kernels that have no depthwise form."""
    outputs, inputs = weight.shape[:2]
    window = tensor_bytes(weight) // (outputs * inputs)
    return window * groups * _filled(outputs // groups) * _filled(inputs)


def _other_order(*tensors: Values) -> int:
    """Bytes of those that are not in the order of channels last, and are copied into it (Convolution.cpp)."""
    last = torch.channels_last
    return tensor_bytes(*(each for each in tensors if not each.is_contiguous(memory_format=last)))


def _cpu_convolution(
    out: Picture, picture: Picture, weight: Window, bias: object, *how: *Geometry
) -> Sequence[int]:
    groups = how[5]
    if picture.ndim != 4 or not _is_mkldnn(picture, weight, *how):
        return ()
    changed = _blocked_weight(weight, groups)
    if _channels_last(picture, weight):
        # Pictures are read as they are; only the weights change their form.
        return (_other_order(picture, weight) + changed,)
    there, back = _blocked(picture, groups), _blocked(out, groups)
    return (max(there + changed + back - tensor_bytes(out), back),)


def _cpu_convolution_back(
    out: Sequence[Values | None],
    gradient: Picture,
    picture: Picture,
    weight: Window,
    sizes: object,
    *how: *tuple[*Geometry, object],
) -> Sequence[int]:
    stride, groups = how[0], how[5]
    if picture.ndim != 4 or not _is_mkldnn(picture, weight, *how[:6]):
        return ()
    kept, changed = tensor_bytes(out[0], out[1]), _blocked_weight(weight, groups)
    depthwise = groups > 1 and weight.shape[1] == 1
    # Depthwise kernels for the gradient of the weights know windows of 3x3; the rest is done without.
    known = groups == 1 or depthwise and weight.shape[2] <= 3
    # Kernels of AVX2 leave windows that are larger than their picture to products of matrices, and of
    # pictures in blocks all that are unknown: four copies of the weights to a thread.
    copies = 4 * torch.get_num_threads() * tensor_bytes(weight)
    if _channels_last(picture, weight):
        summed = changed if known else _every_group_filled(weight, groups)
        if not known and max(weight.shape[2:]) > min(picture.shape[2:]) and not _wide_registers():
            summed = copies - tensor_bytes(weight)
        return (_other_order(gradient, picture, weight) + max(changed, summed + tensor_bytes(weight)),)
    there, back = _blocked(picture, groups), _blocked(gradient, groups)
    phases = [changed, *([copies] if depthwise and not known and not _wide_registers() else [])]
    if out[0] is not None:
        phases += [back + changed + there - kept, there + tensor_bytes(out[0]) - kept]
        if groups == 1 and max(stride) > 1:
            # The gradient comes in another order of axes and is copied into the picture's.
            phases.append(3 * there - kept)
    per_group = (weight.shape[0] // groups, weight.shape[1])
    if known or all(channels % 8 == 0 for channels in per_group):
        # Threads that cannot share out the blocks of outputs sum in copies of their own.
        threads = torch.get_num_threads()
        shared = weight.shape[2] == 1 and _filled(weight.shape[0]) // _filled(1) % threads == 0
        phases.append(there + back + changed * (1 if shared else threads) - tensor_bytes(out[1]))
    return (max(phases),)


_CPU: dict[object, Rule] = {
    _aten.convolution.default: _cpu_convolution,
    _aten.convolution_backward.default: _cpu_convolution_back,
}
