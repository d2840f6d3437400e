"""Fake tensors, answered from memory: what an operator did to tensors of some shapes, it does again.

PyTorch's own mode for fake tensors has such a memory, too, but spends most of a plan's time on asking it.
Here a key is made of what can differ in a plan (shapes, strides, types, devices), and everything else goes
the usual way: values that are known, operators whose answers depend on values, tensors of other classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Shaped
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, in_kernel_invocation_manager

_aten = torch.ops.aten
#: Asks for the device of a tensor: two fifths of all that PyTorch asks a fake.
DEVICE_OF = torch.ops.prim.device.default
#: What an operator may be given beside tensors, and lists of these.
_PLAIN = (
    *(int, float, bool, str, type(None)),
    *(torch.dtype, torch.device, torch.layout, torch.memory_format),
)
#: Operators whose answer depends on values, or that change what a tensor is, are not remembered.
_NEVER = frozenset((torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape, torch.Tag.inplace_view))
_LIFTED = frozenset((_aten.lift_fresh.default, _aten.lift_fresh_copy.default, _aten.set_.source_Storage))


#: Operators with a kernel for shapes alone, which is asked without PyTorch's detours.
_DIRECT = frozenset(
    (
        *(_aten.add.Tensor, _aten.sub.Tensor, _aten.mul.Tensor, _aten.div.Tensor, _aten.add_.Tensor),
        *(_aten.mul_.Tensor, _aten.ge.Scalar, _aten.lt.Scalar, _aten.bitwise_and.Scalar),
        *(_aten.bitwise_xor.Tensor, _aten.__rshift__.Scalar, _aten.relu_.default, _aten.gelu.default),
        *(_aten.gelu_backward.default, _aten.threshold_backward.default, _aten.addmm.default),
        *(_aten.mm.default, _aten.view.default, _aten.permute.default, _aten.t.default),
        *(_aten.detach.default, _aten.unsqueeze.default, _aten.select.int, _aten.slice.Tensor),
        *(_aten.sum.dim_IntList, _aten.expand.default, _aten._to_copy.default, _aten.clone.default),
        *(_aten.zeros_like.default, _aten.empty_like.default),
    )
)


class _Made(NamedTuple):
    """How a result is made again. source: the argument whose memory it shows, or -1 for its own.

    state: attributes of a fake tensor.
    """

    source: int
    shape: torch.Size
    stride: tuple[int, ...]
    offset: int
    dtype: torch.dtype
    device: torch.device
    state: Mapping[str, object]


class QuickFakes(FakeTensorMode):
    """A mode of fake tensors for a network whose steps are alike."""

    def __init__(self) -> None:
        super().__init__(allow_non_fake_inputs=True)
        self.cache_enabled = False  # PyTorch's own memory: its keys cost more than most answers
        self._known: dict[tuple[object, ...], object] = {}
        self._remembered: dict[object, bool] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here, and PyTorch's guard against it costs as much as an answer

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        if func is DEVICE_OF and type(args[0]) is FakeTensor:
            return args[0].fake_device
        if func is _aten.item.default and type(args[0]) is Tensor:
            return args[0].item()  # the known value of a fake
        remembered = self._remembered.get(func)
        if remembered is None:
            remembered = self._remembered[func] = _can_be_remembered(func)
        key: list[object] = [func]
        tensors: list[FakeTensor] = []
        kwargs = kwargs or {}
        described = remembered and _describe(args, key, tensors)
        if not described or not _describe([*kwargs.items()], key, tensors):
            return super().__torch_dispatch__(func, types, args, kwargs)
        if not func._schema.returns and tensors:
            return None  # what it changes is there, and remains as large as it is
        asked = tuple(key)
        known = self._known.get(asked)
        if known is None:
            out = self._directly(func, args, kwargs, tensors)
            if out is None:
                out = super().__torch_dispatch__(func, types, args, kwargs)
            self._known[asked] = _learn(out, tensors)
            return out
        if known is NotImplemented:
            return super().__torch_dispatch__(func, types, args, kwargs)
        return _again(known, tensors)

    def _directly(
        self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], tensors: Sequence[FakeTensor]
    ) -> object:
        """The answer without PyTorch's detours, or None."""
        if func not in _DIRECT:
            return self._normalized(func, args)
        devices = {each.fake_device for each in tensors}
        if len(devices) != 1 or kwargs.get("device") is not None:
            return None
        with in_kernel_invocation_manager(self):
            out = func(*args, **kwargs)
        return out if type(out) is FakeTensor else FakeTensor(self, out, devices.pop())

    def _normalized(
        self, func: object, args: Sequence[Any]
    ) -> tuple[Shaped[Tensor, " ..."] | None, ...] | None:
        """Results of BatchNorm, which PyTorch works out in a hundred operators; None for anything else."""
        if func is _aten.native_batch_norm.default:
            picture, train = args[0], args[5]
            if not train or not _is_plain(picture):
                return None
            exact = torch.float32 if picture.dtype.itemsize == 2 else picture.dtype
            kept = picture.dtype if picture.fake_device.type == "cpu" else exact
            mean, deviation = (self._new(picture, (picture.shape[1],), (1,), kept) for _ in range(2))
            return self._new(picture, picture.shape, picture.stride(), picture.dtype), mean, deviation
        if func is _aten.native_batch_norm_backward.default:
            gradient, picture, weight, train, asked = args[0], args[1], args[2], args[7], args[9]
            alike = gradient.stride() == picture.stride() and gradient.dtype == picture.dtype
            if not train or weight is None or not alike or not _is_plain(picture):
                return None
            back = self._new(picture, picture.shape, picture.stride(), picture.dtype)
            others = (
                self._new(picture, (picture.shape[1],), (1,), weight.dtype) if wanted else None
                for wanted in asked[1:]
            )
            return back, *others
        return None

    def _new(
        self, like: FakeTensor, shape: Sequence[int], stride: Sequence[int], dtype: torch.dtype
    ) -> Shaped[Tensor, " ..."]:
        made = self.__torch_dispatch__(
            _aten.empty_strided.default,
            (),
            (tuple(shape), tuple(stride)),
            {"dtype": dtype, "device": like.fake_device},
        )
        return cast(Tensor, made)


def _is_plain(picture: Shaped[Tensor, " ..."]) -> bool:
    """Whether the layout of a picture leaves no choice to what is computed from it."""
    last, first = torch.channels_last, torch.contiguous_format
    laid = picture.is_contiguous(memory_format=first) or (
        picture.ndim == 4 and picture.is_contiguous(memory_format=last)
    )
    return laid and min(picture.shape) > 1 and picture.dtype.is_floating_point


def _can_be_remembered(func: object) -> bool:
    if not isinstance(func, torch._ops.OpOverload) or func in _LIFTED:
        return False
    return func.namespace in ("aten", "prims") and not _NEVER.intersection(func.tags)


def _describe(values: Sequence[object], key: list[object], tensors: list[FakeTensor]) -> bool:
    """Append what decides an answer to `key`; False where that cannot be said in full."""
    for value in values:
        kind = type(value)
        if type(value) is FakeTensor:
            if value.constant is not None or value.dtype.is_complex:
                return False
            try:
                stride = value.stride()
            except RuntimeError:
                return False  # a sparse one
            key += (
                value.shape, stride, value.storage_offset(), value.dtype, value.fake_device,
                value.requires_grad,
            )  # fmt: skip
            tensors.append(value)
        elif kind in _PLAIN:
            key.append(kind)  # 1, 1.0 and True are equal
            key.append(value)
        elif type(value) is list or type(value) is tuple:
            key.append(len(value))
            if not _describe(value, key, tensors):
                return False
        else:
            return False
    return True


def _learn(out: object, tensors: list[FakeTensor]) -> object:
    """How `out` is made again; NotImplemented where that is not known."""
    if isinstance(out, (list, tuple)):
        parts = [_learn(each, tensors) for each in out]
        own = [each.untyped_storage()._cdata for each in out if isinstance(each, Tensor)]
        sources = [part for part in parts if isinstance(part, _Made) and part.source < 0]
        if NotImplemented in parts or len(sources) > len(set(own)):
            return NotImplemented
        return (list if isinstance(out, list) else tuple, parts)
    if not isinstance(out, Tensor):
        return ("value", out) if type(out) in _PLAIN else NotImplemented
    for index, tensor in enumerate(tensors):
        if out is tensor:
            return index
    if type(out) is not FakeTensor or out.constant is not None or out.requires_grad:
        return NotImplemented
    storage = out.untyped_storage()._cdata
    source = next((i for i, each in enumerate(tensors) if each.untyped_storage()._cdata == storage), -1)
    return _Made(
        source,
        out.shape,
        out.stride(),
        int(out.storage_offset()),
        out.dtype,
        out.fake_device,
        dict(vars(out)),
    )


def _again(entry: Any, tensors: list[FakeTensor]) -> object:
    if type(entry) is _Made:
        if entry.source < 0:
            shown = torch.empty_strided(entry.shape, entry.stride, dtype=entry.dtype, device="meta")
        else:
            storage = tensors[entry.source].untyped_storage()
            shown = torch.empty(0, dtype=entry.dtype, device="meta")
            shown.set_(storage, entry.offset, entry.shape, entry.stride)
        made = Tensor._make_subclass(
            FakeTensor, shown, False, dispatch_device=True, device_for_backend_keys=entry.device
        )
        torch._C._set_throw_on_mutable_data_ptr(made)
        vars(made).update(entry.state)
        return made
    if type(entry) is int:
        return tensors[entry]
    kind, value = entry
    if kind == "value":
        return value
    return kind(_again(each, tensors) for each in value)
