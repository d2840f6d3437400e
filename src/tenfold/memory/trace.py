"""What a training step asks of the memory, request by request, without running it.

A fake copy of the network (see `memory.fake`) runs forward through PyTorch's own dispatcher: autocast, the
saving of activations and every temporary tensor are the real ones. Then this module walks its graph backward
as the autograd engine does, because the engine itself refuses a device that is not there. A `Recorder` notes
each storage as it comes and goes. The result is an `AllocationLog`: a list of requests that
`memory.allocator` can replay.
"""

from __future__ import annotations

import heapq
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol, cast

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from tenfold.memory.quick import DEVICE_OF
from tenfold.memory.reductions import Reduction
from tenfold.memory.scratch import Rule, convolution_bytes, is_unbounded

#: What an allocation is for; the index is its code on a log.
KINDS = ("weights", "gradients", "optimizer", "activations", "inputs", "workspace")
WEIGHTS, GRADIENTS, OPTIMIZER, ACTIVATIONS, INPUTS, WORKSPACE = range(len(KINDS))


@dataclass(frozen=True)
class Span:
    """The forward pass of a block on a log. Of events and costs: the first, and the one after the last.

    outputs: numbers of the allocations that it returns.
    """

    name: str
    events: tuple[int, int]
    costs: tuple[int, int]
    outputs: frozenset[int]


@dataclass
class AllocationLog:
    """Requests in order.

    events: +k where allocation k is made, -k where it is freed, 0 where a parameter's gradient arrives.
    sizes, kinds: bytes and kind of allocation k at index k; index 0 is not used.
    arrivals: for each 0 among the events, in order: (parameter, allocation that holds its gradient,
    whether the parameter may keep it or must copy it).
    widest: bytes of the tensors of the largest convolution.
    bounded: whether the scratch space of every kernel is known within bounds.
    costs: operations of arithmetic, and bytes read and written, of every operator.
    reductions: the sums whose scratch space an allocation is.
    crossed: bytes that copies bring from one device to another.
    values_read: how often the step asked for the value of a tensor, which a trace does not know.
    spans: where its blocks are (`nn.blocks`).
    """

    events: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=lambda: [0])
    kinds: list[int] = field(default_factory=lambda: [WEIGHTS])
    arrivals: list[tuple[int, int, bool]] = field(default_factory=list)
    widest: int = 0
    values_read: int = 0
    bounded: bool = True
    costs: list[tuple[float, float]] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    crossed: float = 0.0
    reductions: dict[int, Reduction] = field(default_factory=dict)

    def between(self, other: AllocationLog, mine: int, theirs: int, rows: int) -> AllocationLog | None:
        """The log at `rows`, given this one at `mine` and another at `theirs` rows.

        None unless both list the same requests, and every size is a whole number of bytes per row.
        """
        if self.events != other.events or self.arrivals != other.arrivals:
            return None
        if len(self.costs) != len(other.costs):
            return None
        low, high = np.array(self.sizes, dtype=np.int64), np.array(other.sizes, dtype=np.int64)
        per_row, rest = np.divmod(high - low, theirs - mine)
        # Scratch space may be rounded by its kernel; no tensor is.
        if np.any(rest[np.array(self.kinds) != WORKSPACE]):
            return None
        sizes = low + (rows - mine) * per_row + np.where(rest > 0, abs(rows - mine), 0)
        widest = self.widest + (rows - mine) * (other.widest - self.widest) // (theirs - mine)
        sized = np.maximum(sizes, 0).tolist()
        part, reductions = (rows - mine) / (theirs - mine), dict[int, Reduction]()
        for number, one in self.reductions.items():
            # What a sum takes does not grow evenly with its inputs.
            reductions[number] = one.between(other.reductions[number], part)
            sized[number] = reductions[number].size
        costs, others = (np.array(each.costs).reshape(-1, 2) for each in (self, other))
        costs = costs + part * (others - costs)
        counted = self.values_read, self.bounded, list(map(tuple, np.maximum(costs, 0).tolist()))
        log = AllocationLog(self.events, sized, self.kinds, self.arrivals, widest, *counted, self.spans)
        log.reductions = reductions
        return log

    def kept_by(self, span: Span) -> int:
        """Bytes that a block keeps for its backward pass, beside its outputs and the weights' copies."""
        inside = set(self.events[slice(*span.events)])
        kept = {event for event in inside if event > 0 and -event not in inside} - span.outputs
        return sum(self.sizes[number] for number in kept if self.kinds[number] == ACTIVATIONS)

    def left(self) -> list[int]:
        """Allocations that are never freed."""
        return sorted({event for event in self.events if event > 0} - {-event for event in self.events})


class Recorder(TorchDispatchMode):
    """Writes the storages that appear and vanish on a device to a log.

    scratch: operator -> the rule of what it takes inside its kernel.
    kind: what the allocations of the moment are for.
    parameters: tensors; their copies in half precision count as weights.
    there: tensors that exist already and are no part of the log.  after: a recorder whose tensors are so.
    """

    def __init__(
        self,
        device: str,
        scratch: Mapping[object, Rule],
        *,
        kind: int = ACTIVATIONS,
        parameters: Sequence[Shaped[Tensor, " ..."]] = (),
        there: Iterable[Shaped[Tensor, " ..."]] = (),
        after: Recorder | None = None,
    ) -> None:
        super().__init__()
        self.log, self.kind = AllocationLog(), kind
        self._device, self._scratch_of = device, scratch
        self._live: dict[int, tuple[int, weakref.ref[torch.UntypedStorage]]] = {}
        self._parameters = frozenset(id(tensor) for tensor in parameters)
        self._outside = {tensor.untyped_storage()._cdata for tensor in there}
        if after is not None:
            self._outside |= after._outside | after._left
        self._left: set[int] = set()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # see `quick.QuickFakes`

    def __torch_dispatch__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        if func is DEVICE_OF and type(args[0]) is FakeTensor:
            return args[0].fake_device
        if func is torch.ops.aten._local_scalar_dense.default:
            self.log.values_read += not (isinstance(args[0], FakeTensor) and args[0].constant is not None)
            return _value_of(args[0])
        if func is torch.ops.aten.index.Tensor:
            args = (args[0], _without_masks(args[1]))
        out = func(*args, **(kwargs or {}))
        if isinstance(out, FakeTensor):
            copied = func is torch.ops.aten._to_copy.default and id(args[0]) in self._parameters
            self._note(out, WEIGHTS if copied else self.kind)
        elif isinstance(out, (tuple, list)):
            for each in out:
                if isinstance(each, FakeTensor):
                    self._note(each, self.kind)
        if not _is_view(func):
            self.log.costs.append((_operations(func, args, kwargs, out), _bytes_of(args, out)))
            self.log.crossed += _crossed(func, args, out)
        rule = self._scratch_of.get(func)
        if rule is not None:
            for size in rule(out, *args):
                self._note_scratch(size)
            self.log.widest = max(self.log.widest, convolution_bytes(func, args, out))
            self.log.bounded &= self._device == "cpu" or not is_unbounded(func, args)
        return out

    def outside(self, tensors: Iterable[Shaped[Tensor, " ..."]]) -> None:
        """Note that these exist already and are no part of the log."""
        self._outside |= {tensor.untyped_storage()._cdata for tensor in tensors}

    @contextmanager
    def blocks(self, blocks: Mapping[str, nn.Module]) -> Iterator[None]:
        """Note where the forward passes of these are."""
        log = self.log
        begun: dict[str, tuple[int, int]] = dict.fromkeys(blocks, (0, 0))

        def begin(name: str) -> None:
            begun[name] = len(log.events), len(log.costs)

        def end(name: str, out: object) -> None:
            storages = [
                each.untyped_storage()._cdata for each in tree_leaves(out) if isinstance(each, Tensor)
            ]
            numbers = frozenset(self._live[key][0] for key in storages if key in self._live)
            events, costs = begun[name]
            log.spans.append(Span(name, (events, len(log.events)), (costs, len(log.costs)), numbers))

        hooks = []
        for name, block in blocks.items():
            hooks.append(block.register_forward_pre_hook(lambda *_, name=name: begin(name)))
            hooks.append(block.register_forward_hook(lambda _, __, out, name=name: end(name, out)))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def arrival(self, parameter: int, gradient: Float[Tensor, " ..."], keeps: bool) -> None:
        """Note that the gradient of parameter number `parameter` is complete."""
        number = self._live.get(gradient.untyped_storage()._cdata, (0,))[0]
        self.log.events.append(0)
        self.log.arrivals.append((parameter, number, keeps))
        self.log.kinds[number] = GRADIENTS

    def close(self, kind: int | None = None) -> AllocationLog:
        """End the log. What is still there was for `kind`."""
        for number, _ in self._live.values():
            if kind is not None:
                self.log.kinds[number] = kind
        self._left = set(self._live)
        self._live.clear()  # with the references go their callbacks
        self.log.events = _ordered(self.log.events)
        return self.log

    def _note(self, tensor: FakeTensor, kind: int) -> None:
        if tensor.fake_device.type != self._device:
            return
        storage = tensor.untyped_storage()
        key = storage._cdata
        log, live = self.log, self._live
        if key in live or key in self._outside:
            return
        number = len(log.sizes)
        log.sizes.append(storage.nbytes())
        log.kinds.append(kind)
        log.events.append(number)

        def gone(_: object) -> None:
            del live[key]
            log.events.append(-number)

        live[key] = number, weakref.ref(storage, gone)

    def _note_scratch(self, size: int | Reduction) -> None:
        number = len(self.log.sizes)
        if isinstance(size, Reduction):
            self.log.reductions[number] = size
            size = size.size
        self.log.sizes.append(size)
        self.log.kinds.append(WORKSPACE)
        self.log.events += (number, -number)


def _ordered(events: list[int]) -> list[int]:
    """The events with every run of frees in the order of their numbers.

    Autocast drops its copies of the weights in the order of a hash table, which changes from run to run.
    To an allocator the order of frees does not matter as long as nothing is asked for in between.
    """
    ordered: list[int] = []
    run: list[int] = []
    for event in events:
        if event < 0:
            run.append(event)
            continue
        ordered += sorted(run, reverse=True)
        run.clear()
        ordered.append(event)
    return ordered + sorted(run, reverse=True)


@cache
def _is_view(func: object) -> bool:
    """Whether an operator only looks at its argument's memory in another way."""
    results = func._schema.returns if isinstance(func, torch._ops.OpOverload) else ()
    return any(each.alias_info is not None and not each.alias_info.is_write for each in results)


def _operations(func: object, args: Sequence[Any], kwargs: Mapping[str, Any] | None, out: object) -> float:
    """Operations of arithmetic of a product of matrices, a convolution or attention; 0 of any other."""
    if func is torch.ops.aten.convolution.default:
        return 2.0 * _elements(out) * _elements(args[1]) / args[1].shape[0]
    if func is torch.ops.aten.convolution_backward.default:
        gradients = sum(each is not None for each in cast("Sequence[object]", out)[:2])
        return 2.0 * gradients * _elements(args[0]) * _elements(args[2]) / args[2].shape[0]
    count = flop_registry.get(func._overloadpacket) if isinstance(func, torch._ops.OpOverload) else None
    return 0.0 if count is None else float(count(*args, **(kwargs or {}), out_val=out))


def _crossed(func: object, args: Sequence[Any], out: object) -> float:
    """Bytes that a copy brings from one device to another; 0 of any other operator."""
    if func not in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default):
        return 0.0
    ends = args[0], args[1] if func is torch.ops.aten.copy_.default else out
    kinds = {each.fake_device.type for each in ends if isinstance(each, FakeTensor)}
    return _bytes_of(ends[1]) if len(kinds) > 1 else 0.0


def _elements(value: object) -> int:
    return value.numel() if isinstance(value, Tensor) else 0


def _bytes_of(*values: object) -> float:
    total = 0.0
    for value in values:
        if isinstance(value, (list, tuple)):
            total += _bytes_of(*value)
        elif isinstance(value, Tensor):
            total += value.numel() * value.element_size()
    return total


def _value_of(tensor: object) -> float:
    """What `item` answers for a fake: its value where that is known, as of a step counter, else 0 or True.

    With 0 for losses, norms and the mark of an overflow a step goes on as if its numbers were finite.
    """
    if isinstance(tensor, FakeTensor) and tensor.constant is not None:
        return tensor.constant.item()
    return isinstance(tensor, Tensor) and tensor.dtype is torch.bool


def _without_masks(indices: object) -> list[object]:
    """Indices with the positions of all elements in place of a mask: the most that it can select."""
    whole: list[object] = []
    for index in indices if isinstance(indices, (list, tuple)) else ():
        if not isinstance(index, Tensor) or index.dtype is not torch.bool:
            whole.append(index)
            continue
        positions = torch.arange(index.numel(), device=index.device)
        for side in reversed(index.shape[1:]):
            whole.append(positions % side)
            positions = positions // side
        whole.append(positions)
    return whole


class _Metadata(Protocol):
    """What autograd knows of an input of a node."""

    shape: torch.Size
    dtype: torch.dtype


class _Node(Protocol):
    """A node of autograd's graph, which PyTorch's types tell little of. variable: of AccumulateGrad alone."""

    variable: Tensor
    next_functions: Sequence[tuple[_Node | None, int]]
    _input_metadata: Sequence[_Metadata]

    def __call__(self, *gradients: Tensor | None) -> Tensor | None | tuple[Tensor | None, ...]: ...
    def name(self) -> str: ...
    def _sequence_nr(self) -> int: ...


class _Saved:
    """A tensor that the graph keeps for its way back, in a box that can be emptied."""

    __slots__ = ("tensor",)

    def __init__(self, tensor: Shaped[Tensor, " ..."] | None) -> None:
        self.tensor = tensor


class Backward:
    """The autograd engine's walk, in Python: order, accumulation and the early freeing of saved tensors.

    Use `saving()` around the forward pass and then `run`. Mirrors torch/csrc/autograd/engine.cpp,
    input_buffer.cpp and functions/accumulate_grad.h.
    """

    def __init__(self) -> None:
        self._opened: list[_Saved] = []

    def saving(self) -> saved_tensors_hooks:
        """The context in which a forward pass saves its tensors for this walk."""
        return saved_tensors_hooks(_Saved, self._open)

    def _open(self, box: _Saved) -> Shaped[Tensor, " ..."]:
        self._opened.append(box)
        if box.tensor is None:
            raise RuntimeError("a saved tensor was needed twice in one backward pass")
        return box.tensor

    @torch.no_grad()
    def run(
        self,
        loss: Float[Tensor, ""],
        arrive: Callable[[Float[Tensor, " ..."], Float[Tensor, " ..."], bool], None],
    ) -> None:
        """Walk back from a scalar loss; `arrive(parameter, gradient, keeps)` for every complete gradient.

        The gradient is dropped when `arrive` returns, as when it is added to an existing one.
        """
        root = cast(_Node, loss.grad_fn)
        waiting = _count_inputs(root)
        seeds: dict[_Node, dict[int, Float[Tensor, " ..."]]] = {root: {0: torch.ones_like(loss)}}
        order = [(-_priority(root), 0, root)]
        count = 1
        del root
        while order:
            node = heapq.heappop(order)[2]
            given = seeds.pop(node)
            inputs = [given.pop(index, None) for index in range(len(node._input_metadata))]
            if node.name().endswith("AccumulateGrad"):
                gradient = inputs.pop()
                if gradient is not None:
                    # Two references: this name and getrefcount's own argument.
                    keeps = sys.getrefcount(gradient) <= 2 and _same_layout(gradient, node.variable)
                    arrive(node.variable, gradient, keeps)
                del gradient
                continue
            outputs = node(*inputs)
            inputs.clear()
            for box in self._opened:
                box.tensor = None
            self._opened.clear()
            # A list can give up its items one by one; the tuple would hold all of them to the end.
            outputs = list(outputs) if isinstance(outputs, tuple) else [outputs]
            following = node.next_functions
            del node
            outputs.reverse()
            successor = held = None
            for successor, index in following:
                gradient = outputs.pop()
                if successor is None:
                    continue
                held = seeds.setdefault(successor, {})
                if gradient is not None:
                    gradient = _fitted(gradient, successor._input_metadata[index])
                    _add(held, index, gradient)
                del gradient
                waiting[successor] -= 1
                if not waiting[successor]:
                    heapq.heappush(order, (-_priority(successor), count, successor))
                    count += 1
            del following, successor, held


def _priority(node: _Node) -> int:
    # Gradients are put where they belong as soon as they are complete (sequence number of UINT64_MAX).
    return 1 << 62 if node.name().endswith("AccumulateGrad") else node._sequence_nr()


def _count_inputs(root: _Node) -> dict[_Node, int]:
    waiting: dict[_Node, int] = {root: 0}
    stack = [root]
    while stack:
        for successor, _ in stack.pop().next_functions:
            if successor is None:
                continue
            if successor not in waiting:
                waiting[successor] = 0
                stack.append(successor)
            waiting[successor] += 1
    return waiting


def _fitted(gradient: Float[Tensor, " ..."], meta: _Metadata) -> Float[Tensor, " ..."]:
    """validate_outputs: a gradient is summed to its input's shape and cast to its type."""
    if tuple(gradient.shape) != tuple(meta.shape):
        gradient = gradient.sum_to_size(meta.shape)
    return gradient if gradient.dtype == meta.dtype else gradient.to(meta.dtype)


def _add(held: dict[int, Float[Tensor, " ..."]], index: int, gradient: Float[Tensor, " ..."]) -> None:
    """InputBuffer::accumulate: in place where nobody else can see it, else into a new tensor."""
    old = held.pop(index, None)
    if old is None:
        held[index] = gradient
        return
    storage = old.untyped_storage()
    # References to the tensor: `old` and the argument. To its storage: the tensor and `storage`.
    alone = sys.getrefcount(old) <= 2 and torch._C._storage_Use_Count(storage._cdata) <= 2
    del storage
    held[index] = old.add_(gradient) if alone and _is_dense(old) else old + gradient


def _is_dense(tensor: Shaped[Tensor, " ..."]) -> bool:
    """Whether the strides are those of some order of the axes, without gaps or overlaps."""
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size != 1:
            if stride != expected:
                return False
            expected *= size
    return True


def _same_layout(gradient: Float[Tensor, "*any"], parameter: Float[Tensor, "*any"]) -> bool:
    """utils::obeys_layout_contract: only then may the parameter keep the gradient as it came."""
    if not _is_dense(parameter):
        return gradient.is_contiguous()
    layouts = zip(parameter.shape, gradient.stride(), parameter.stride(), strict=True)
    return all(size == 1 or mine == theirs for size, mine, theirs in layouts)
