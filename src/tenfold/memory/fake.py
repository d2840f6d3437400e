"""A network without its memory: every shape, type and layout is there, no number is.

`build_untouched` builds the real network but leaves the pages of its large tensors untouched, then `to_fake`
puts fake tensors (of PyTorch's FakeTensorMode) in their place on the device to be planned for. `fake_device`
is the region in which such a network can run forward on a machine that does not have that device.

Everything here is bound to the calling thread. A few functions of PyTorch are replaced for as long as the
region lasts, by ones that answer other threads as before: a program may plan while it trains.
"""

from __future__ import annotations

import copy
import gc
import math
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial, wraps
from types import SimpleNamespace
from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.optim.optimizer import _foreach_supported_types as _of_optimizers
from torch.overrides import TorchFunctionMode
from torch.utils._foreach_utils import _foreach_supported_types as _of_clipping

#: Elements from which the filling of a new tensor is skipped: values cannot matter to memory, and below
#: this the tables that steer control flow (indices, schedules) are computed as usual.
SKIPPED_ELEMENTS = 1 << 14

_FILLS = frozenset(
    getattr(Tensor, name)
    for name in (
        "normal_ uniform_ erfinv_ exponential_ log_normal_ bernoulli_ random_ trunc_normal_ "
        "clamp_ mul_ add_ sub_ div_ fill_ zero_ copy_"
    ).split()
    if hasattr(Tensor, name)
)
_FACTORIES = frozenset((torch.zeros, torch.ones, torch.full, torch.rand, torch.randn))
#: Classes of tensors that an optimizer updates, and gradients that are clipped, many at a time on a GPU.
_MANY_AT_ONCE = (_of_optimizers, _of_clipping)
#: One region at a time: two threads must not restore each other's replacements.
_REGION = threading.RLock()


class _Untouched(TorchFunctionMode):
    """Leaves large floating tensors as the allocator gives them, so that no page of them is used."""

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        kwargs = kwargs or {}
        if func in _FILLS:
            if _is_large(args[0]):
                return args[0]
        elif func in _FACTORIES:
            shape = kwargs.get("size", args[0] if args and not isinstance(args[0], int) else args)
            sides = cast("tuple[int, ...]", shape)
            taken: dict[str, Any] = {
                name: kwargs[name] for name in ("dtype", "device", "requires_grad") if name in kwargs
            }
            with torch._C.DisableTorchFunction():
                if math.prod(sides) >= SKIPPED_ELEMENTS:
                    return torch.empty(sides, **taken)
        elif getattr(func, "__module__", "") == "torch.nn.init":
            tensor = kwargs.get("tensor", args[0] if args else None)
            if _is_large(tensor):
                return tensor
        return func(*args, **kwargs)


def _is_large(value: object) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.numel() >= SKIPPED_ELEMENTS


def build_untouched(build: Callable[[], nn.Module]) -> nn.Module:
    """What `build` returns, on the CPU, with the values of its large tensors left undefined.

    Takes address space but hardly any memory, and a fraction of the time. The global random state is
    left as it was.
    """
    with _REGION, ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[]))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        # PyTorch draws a truncated normal again until all is within its bounds: with draws left out, never.
        drawn = getattr(nn.init, "_no_grad_trunc_normal_", None)
        if drawn is not None:
            stack.enter_context(
                _in_this_thread(nn.init, "_no_grad_trunc_normal_", partial(_unless_large, drawn))
            )
        stack.enter_context(_Untouched())
        return build()


def _unless_large(
    fill: Callable[..., Shaped[Tensor, "*any"]],
    tensor: Shaped[Tensor, "*any"],
    *args: object,
    **kwargs: object,
) -> Shaped[Tensor, "*any"]:
    return tensor if _is_large(tensor) else fill(tensor, *args, **kwargs)


def to_fake(network: nn.Module, mode: FakeTensorMode, device: str, dtype: torch.dtype | None) -> nn.Module:
    """A copy of `network` whose parameters and buffers are fakes on `device`; the network is not touched.

    dtype: what floating tensors become; None leaves them.
    """
    fakes: dict[int, object] = {}
    with mode:
        for tensor in [*network.parameters(), *network.buffers()]:
            kind = dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype
            fake: Shaped[Tensor, " ..."] = torch.empty_strided(
                tensor.shape, tensor.stride(), dtype=kind, device=device
            )
            if isinstance(tensor, nn.Parameter):
                fake = nn.Parameter(fake, requires_grad=tensor.requires_grad)
            fakes[id(tensor)] = fake
    # The memo makes deepcopy put the fakes where the tensors were, tied ones included.
    return copy.deepcopy(network, fakes)


@contextmanager
def fake_device(mode: FakeTensorMode, device: str, attention: str) -> Iterator[None]:
    """The region in which a fake network can run: fakes, no warnings, no random draws, no garbage collection.

    attention: ``flash`` or ``efficient`` as the device's kernels are, or ``native`` to let PyTorch choose.
    """
    collecting = gc.isenabled()
    with _REGION, ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        stack.enter_context(torch.random.fork_rng(devices=[]))
        if device == "cuda":
            if attention != "native":
                fused = partial(_attention, kind=attention)
                stack.enter_context(_in_this_thread(F, "scaled_dot_product_attention", fused))
            # Autocast asks whether there is a card before it switches itself on; here there is none to ask.
            stack.enter_context(
                _in_this_thread(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
            )
            stack.enter_context(_in_this_thread(torch.cuda, "is_bf16_supported", lambda *_, **__: True))
            # As much is free as an update may want: see `engine.undo`.
            stack.enter_context(_in_this_thread(torch.cuda, "mem_get_info", lambda *_: (1 << 60, 1 << 60)))
            # timm may cut an update to fit a card's cache. A whole update needs most, and stays whole.
            whole = SimpleNamespace(L2_cache_size=0)
            stack.enter_context(_in_this_thread(torch.cuda, "get_device_properties", lambda *_: whole))
            for name in ("memory_reserved", "memory_allocated"):
                stack.enter_context(_in_this_thread(torch.cuda, name, lambda *_: 0))
        # Recomputed activations are told apart by the engine's run, and the walk backward is none of its.
        stack.enter_context(_in_this_thread(torch._C, "_current_graph_task_id", lambda: 1))
        stack.enter_context(_many_tensors_at_once())
        stack.enter_context(mode)
        # A collection in the middle would free what a training that is short of memory keeps.
        gc.disable()
        try:
            yield
        finally:
            if collecting:
                gc.enable()


@contextmanager
def _many_tensors_at_once() -> Iterator[None]:
    """Within the block an optimizer takes fakes, too, for tensors whose update it may do many at a time."""
    for kinds in _MANY_AT_ONCE:
        kinds.append(FakeTensor)
    try:
        yield
    finally:
        for kinds in _MANY_AT_ONCE:
            kinds.remove(FakeTensor)


@contextmanager
def _in_this_thread(owner: object, name: str, replacement: Callable[..., object]) -> Iterator[None]:
    original, thread = getattr(owner, name), threading.get_ident()

    @wraps(original)
    def choose(*args: object, **kwargs: object) -> object:
        called = replacement if threading.get_ident() == thread else original
        return called(*args, **kwargs)

    setattr(owner, name, choose)
    try:
        yield
    finally:
        setattr(owner, name, original)


def _attention(
    query: Float[Tensor, "*heads queries width"],
    key: Float[Tensor, "*groups keys width"],
    value: Float[Tensor, "*groups keys depth"],
    attn_mask: Shaped[Tensor, "*_ _ keys"] | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    *,
    kind: str,
) -> Float[Tensor, "*heads queries depth"]:
    """The kernel that PyTorch's own choice comes down to on a card (aten/.../cuda/sdp_utils.cpp).

    The choice itself asks the driver, so it cannot be made here: flash attention takes half precision
    without a mask, the memory-efficient kernel everything else.
    """
    if torch.is_autocast_enabled("cuda"):
        low = torch.get_autocast_dtype("cuda")
        query, key, value = query.to(low), key.to(low), value.to(low)
        if attn_mask is not None and attn_mask.is_floating_point():
            attn_mask = attn_mask.to(low)
    width = query.shape[-1]
    if enable_gqa and key.shape[-3] != query.shape[-3]:
        times = query.shape[-3] // key.shape[-3]
        key, value = key.repeat_interleave(times, -3), value.repeat_interleave(times, -3)
    if query.ndim != 4 or key.shape[-1] != value.shape[-1]:
        return torch.ops.aten._scaled_dot_product_attention_math(
            query, key, value, attn_mask, dropout_p, is_causal, scale=scale
        )[0]
    if kind == "flash" and attn_mask is None and query.dtype != torch.float32 and width <= 256:
        if width % 8:
            query, key, value = (F.pad(each, (0, 8 - width % 8)) for each in (query, key, value))
        output = torch.ops.aten._scaled_dot_product_flash_attention(
            query, key, value, dropout_p, is_causal, False, scale=scale or width**-0.5
        )[0]
        return output[..., :width]
    if attn_mask is not None:
        if attn_mask.dtype == torch.bool:
            attn_mask = torch.zeros_like(attn_mask, dtype=query.dtype)
        if attn_mask.shape[-1] % 8:
            # The kernel wants aligned rows: PyTorch pads the mask (pad_bias) and uses a slice of it.
            columns = attn_mask.shape[-1]
            attn_mask = F.pad(attn_mask, (0, 8 - columns % 8))[..., :columns]
        attn_mask = attn_mask.expand(*query.shape[:2], query.shape[2], key.shape[2])
    return torch.ops.aten._scaled_dot_product_efficient_attention(
        query, key, value, attn_mask, True, dropout_p, is_causal, scale=scale
    )[0]
