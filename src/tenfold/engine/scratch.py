"""Scratch space that operators take inside their kernels, where no trace of operators can see it.

A rule gives the bytes that an operator holds at its highest beyond its results. On a GPU the rules follow
PyTorch's kernels (the file is named beside each) and what cuDNN's documentation says of layouts. On a CPU
they describe oneDNN's convolutions, whose requests can be read off PyTorch's profiler; tests compare them
with the real ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

Rule = Callable[[Sequence[Any], Any], Sequence[int]]
_aten = torch.ops.aten


def scratch_rules(device: str) -> Mapping[Any, Rule]:
    """Operator -> rule, for ``cuda`` or ``cpu``."""
    return _CUDA if device == "cuda" else _CPU


def _bytes(*tensors: Any) -> int:
    return sum(each.numel() * each.element_size() for each in tensors if isinstance(each, Tensor))


# ------------------------------------------------------------------------------------------------ GPU


def _rolled(args: Sequence[Any], out: Any) -> Sequence[int]:
    # native/cuda/TensorTransformations.cpp: several axes are rolled one after another.
    return (_bytes(out),) if len(args[1]) > 1 else ()


def _layer_norm(args: Sequence[Any], out: Any) -> Sequence[int]:
    # native/cuda/layer_norm_kernel.cu works on contiguous copies.
    return () if args[0].is_contiguous() else (_bytes(args[0]),)


def _layer_norm_back(args: Sequence[Any], out: Any) -> Sequence[int]:
    copies = _bytes(*(each for each in args[:2] if not each.is_contiguous()))
    return (copies,) if copies else ()


def _flash_back(args: Sequence[Any], out: Any) -> Sequence[int]:
    # native/transformers/cuda/flash_attn/flash_api.cpp, mha_bwd: the gradient of the query is summed in
    # float32, with rows padded to 128 and columns to 32; and one float32 to a row for the softmax.
    rows, heads, length, width = args[1].shape
    length, width = -(-length // 128) * 128, -(-width // 32) * 32
    return (rows * heads * length * (width + 1) * 4,)


def _efficient_back(args: Sequence[Any], out: Any) -> Sequence[int]:
    # native/transformers/cuda/attention_backward.cu: half-precision gradients are summed in float32.
    query = args[1]
    return (query.numel() * 4,) if query.element_size() == 2 else ()


def _convolution(args: Sequence[Any], out: Any) -> Sequence[int]:
    # Tensor cores read channels last: of half-precision tensors in another layout cuDNN makes copies in
    # its workspace (cuDNN developer guide, "Tensor Core operations").
    picture, weight = args[0], args[1]
    if picture.element_size() != 2 or _channels_last(picture):
        return ()
    return (_bytes(picture, weight, out),)


def _convolution_back(args: Sequence[Any], out: Any) -> Sequence[int]:
    gradient, picture, weight = args[0], args[1], args[2]
    if picture.element_size() != 2 or _channels_last(picture):
        return ()
    found = []
    if out[0] is not None:
        found.append(_bytes(gradient, weight, picture))
    if out[1] is not None:
        # The gradient of the weights is summed in float32.
        found.append(_bytes(picture, gradient) + weight.numel() * 4)
    return found


def _channels_last(tensor: Tensor) -> bool:
    return tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last)


_CUDA: dict[Any, Rule] = {
    _aten.roll.default: _rolled,
    _aten.native_layer_norm.default: _layer_norm,
    _aten.native_layer_norm_backward.default: _layer_norm_back,
    _aten._scaled_dot_product_flash_attention_backward.default: _flash_back,
    _aten._scaled_dot_product_efficient_attention_backward.default: _efficient_back,
    _aten.convolution.default: _convolution,
    _aten.convolution_backward.default: _convolution_back,
}


def convolution_bytes(func: Any, args: Sequence[Any], out: Any) -> int:
    """Bytes of the tensors of a convolution or of its way back; 0 for other operators.

    Which algorithm cuDNN takes, and so its workspace, is not known without the card; copies of its
    tensors are what the common ones need, so that this much more may be asked for.
    """
    if func is _aten.convolution.default:
        return _bytes(args[0], args[1], out)
    if func is _aten.convolution_backward.default:
        return _bytes(args[0], args[1], args[2])
    return 0


# ------------------------------------------------------------------------------------------------ CPU


def _is_mkldnn(picture: Tensor, weight: Tensor, args: Sequence[Any]) -> bool:
    stride, padding, dilation, transposed, rest, groups = args
    backend = torch._C._select_conv_backend(
        picture,
        weight,
        bias=None,
        stride=stride,
        padding=padding,
        dilation=dilation,
        transposed=transposed,
        output_padding=rest,
        groups=groups,
        bias_sizes=None,
    )
    return "Mkldnn" in str(backend)


def _block() -> int:
    # oneDNN's formats nChw16c and nChw8c: as many channels as a vector register has float32.
    return 16 if "AVX512" in torch.backends.cpu.get_cpu_capability() else 8


def _blocked(tensor: Tensor, groups: int) -> int:
    """Bytes of a picture in a blocked format: channels are filled up; 3 or fewer stay as they are."""
    channels = tensor.shape[1]
    if channels < 4:
        return _bytes(tensor)
    block = _block() if groups == 1 else 1
    return _bytes(tensor) // channels * (-(-channels // block) * block)


def _blocked_weight(weight: Tensor, padded: bool) -> int:
    """Bytes of the weights of all groups in a blocked format, both channel axes filled up."""
    if not padded:
        return _bytes(weight)
    outputs, inputs, *window = weight.shape
    block = _block()
    count = -(-outputs // block) * block * (-(-inputs // block) * block if inputs > 3 else inputs)
    for side in window:
        count *= side
    return count * weight.element_size()


def _filled_groups(weight: Tensor, groups: int) -> int:
    """The same, where each group is filled up by itself: what kernels without a depthwise form do."""
    outputs, inputs, *window = weight.shape
    block = _block()
    per_group = -(-(outputs // groups) // block) * block * (-(-inputs // block) * block)
    for side in window:
        per_group *= side
    return groups * per_group * weight.element_size()


def _cpu_convolution(args: Sequence[Any], out: Any) -> Sequence[int]:
    picture, weight, groups = args[0], args[1], args[8]
    if picture.ndim != 4 or not _is_mkldnn(picture, weight, args[3:9]):
        return ()
    blocked = _blocked_weight(weight, groups == 1)
    if _channels_last(picture):
        # Read as it is; only the weights change their form.
        return (blocked,)
    there, back = _blocked(picture, groups), _blocked(out, groups)
    if picture.shape[1] < 4:
        there = 0
    return (max(there + blocked + back - _bytes(out), back),)


def _cpu_convolution_back(args: Sequence[Any], out: Any) -> Sequence[int]:
    gradient, picture, weight, groups = args[0], args[1], args[2], args[9]
    if picture.ndim != 4 or not _is_mkldnn(picture, weight, args[4:10]):
        return ()
    depthwise = groups > 1 and weight.shape[1] == 1
    kept = _bytes(out[0], out[1])
    blocked = _blocked_weight(weight, groups == 1)
    if _channels_last(picture):
        # oneDNN's depthwise kernel for channels last knows 3x3 windows; others fill every group up.
        small = depthwise and weight.shape[2] <= 3
        changed = blocked if groups == 1 or small else _filled_groups(weight, groups)
        return (max(blocked, changed + _bytes(weight)),)
    there, back = _blocked(picture, groups), _blocked(gradient, groups)
    phases = [blocked]
    if out[0] is not None:
        phases.append(back + blocked + there - kept)
        if max(args[4]) > 1:
            # The gradient comes in another order of axes and is copied into the picture's.
            phases.append(3 * there - kept)
    if groups == 1 or (depthwise and weight.shape[2] <= 3):
        # Each thread but one sums the gradient of the weights in a copy of its own.
        summed = blocked * torch.get_num_threads()
        phases.append(there + back + summed - _bytes(out[1]))
    return (max(phases),)


_CPU: dict[Any, Rule] = {
    _aten.convolution.default: _cpu_convolution,
    _aten.convolution_backward.default: _cpu_convolution_back,
}
