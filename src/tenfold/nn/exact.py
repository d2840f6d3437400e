"""Exact accumulation: the same outputs and gradients, however a batch is cut into micro-batches.

Two kinds of layer depend on the cut: BatchNorm averages over rows, and dropout draws in the order of calls.
`make_batch_exact` gives BatchNorm fixed groups of rows (ghost batch norm: Hoffer, Hubara and Soudry 2017,
arXiv 1705.08741, section 4), and makes dropout draw from (seed, step, layer, row). A micro-batch of whole
groups then computes exactly what the undivided batch computes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, cast

import torch
from jaxtyping import Float, Float32, Float64, Int64
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

_MIX_1, _MIX_2, _GOLDEN = -0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15, -0x61C8864680B583EB


def _shifted(x: Int64[Tensor, "*any"], bits: int) -> Int64[Tensor, "*any"]:
    """Logical right shift of int64, which torch itself shifts arithmetically."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mixed(x: Int64[Tensor, "*any"]) -> Int64[Tensor, "*any"]:
    # SplitMix64's finaliser: Steele, Lea and Flood 2014, doi 10.1145/2660193.2660195, figure 16.
    x = (x ^ _shifted(x, 30)) * _MIX_1
    x = (x ^ _shifted(x, 27)) * _MIX_2
    return x ^ _shifted(x, 31)


def _wrapped(number: int) -> int:
    """A Python integer modulo 2^64, as int64."""
    return (number + 2**63) % 2**64 - 2**63


def uniform(rows: Int64[Tensor, " rows"], width: int, *key: int) -> Float32[Tensor, "rows {width}"]:
    """Uniform numbers in [0, 1) that depend on the row and the key only.

    width: numbers per row.  key: seed, step, layer, ...
    They are on the rows' device, with the same values on every device.
    """
    state = torch.zeros((), dtype=torch.int64, device=rows.device)
    for part in key:
        state = _mixed(state + _wrapped((part + 1) * _GOLDEN))
    start = _mixed(state + (rows + 1) * _GOLDEN)
    counter = torch.arange(1, width + 1, dtype=torch.int64, device=rows.device) * _GOLDEN
    bits = _mixed(start[:, None] + counter[None, :])
    return _shifted(bits, 40).to(torch.float32) * 2.0**-24


def group_sizes(rows: int, group: int) -> tuple[int, ...]:
    """Sizes of the BatchNorm groups of a batch: at most `group` rows each, and as even as possible.

    Depends on the batch alone, never on the memory plan. No group has one row unless the batch has; with
    ``group=2`` and an odd batch, groups have one row more instead.
    """
    count = max(1, math.ceil(rows / group))
    if rows // count < 2:
        count = max(1, rows // 2)
    least, more = divmod(rows, count)
    return (least + 1,) * more + (least,) * (count - more)


def cut_groups(groups: Sequence[int], micro: int) -> list[int]:
    """Rows of each micro-batch, at most `micro`, unless a single group is larger: groups are never cut."""
    cut: list[int] = []
    for group in groups:
        if cut and cut[-1] + group <= micro:
            cut[-1] += group
        else:
            cut.append(group)
    return cut


class RowContext:
    """The rows that the network sees now; shared by all layers that depend on them.

    Call `begin` before each micro-batch, `commit_statistics` once after each optimizer step.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.step = 0
        self.rows: Int64[Tensor, " rows"] | None = None
        self.groups: tuple[int, ...] = ()
        self.recording = False
        self.norms: list[GroupedBatchNorm] = []

    def begin(self, step: int, rows: Int64[Tensor, " rows"], groups: Sequence[int]) -> None:
        """Set the rows (int64 ids) of the next micro-batch, and its BatchNorm groups."""
        self.step, self.rows, self.groups = step, rows, tuple(groups)
        self.recording = True

    def end_forward(self) -> None:
        """Stop recording statistics: checkpointing recomputes activations, which must not count twice."""
        self.recording = False

    def commit_statistics(self) -> None:
        """Update all running statistics once, by the pooled mean and variance of the whole batch."""
        for norm in self.norms:
            norm.commit()

    def discard_statistics(self) -> None:
        """Drop the statistics recorded since the last commit."""
        for norm in self.norms:
            norm.discard()

    def freeze_norms(self) -> None:
        """Let all BatchNorm layers use the running statistics that they have, and keep them."""
        for norm in self.norms:
            norm.__dict__["frozen"] = True

    def keep_mask(
        self, x: Float[Tensor, " parts *rest"], drop: float, layer: int, *, whole_rows: bool
    ) -> Float[Tensor, " parts *kept"]:
        """Mask (0 or 1/(1-drop)) that broadcasts to x, drawn from (seed, step, layer, row)."""
        if self.rows is None or x.shape[0] % len(self.rows):
            raise RuntimeError("dropout saw a batch without a call of RowContext.begin")
        rows = len(self.rows)
        width = 1 if whole_rows else x.numel() // rows
        drawn = uniform(self.rows, width, self.seed, self.step, layer)
        keep = (drawn >= drop).to(x.dtype) / (1.0 - drop)
        if not whole_rows:
            return keep.reshape(x.shape)
        # A layer may see several consecutive windows of a row: they share the row's mask.
        per_row = x.shape[0] // rows
        return keep.repeat_interleave(per_row, 0).reshape(-1, *(1,) * (x.ndim - 1))

    def keep_table(self, x: Float[Tensor, "*table"], drop: float, layer: int) -> Float[Tensor, "*table"]:
        """Mask for a table x that all rows share, drawn from (seed, step, layer, index)."""
        index = torch.arange(len(x), device=x.device)
        drawn = uniform(index, x.numel() // len(x), self.seed, self.step, layer)
        return ((drawn >= drop).to(x.dtype) / (1.0 - drop)).reshape(x.shape)


class RowDropout(nn.Module):
    """Dropout with a mask drawn per row; with `whole_rows`, stochastic depth (Huang et al. 2016).

    table: its input is a table of positions that all rows share, without an axis of rows.
    """

    def __init__(
        self, context: RowContext, drop: float, layer: int, *, whole_rows: bool, table: bool = False
    ) -> None:
        super().__init__()
        self.context, self.drop, self.layer, self.whole_rows = context, drop, layer, whole_rows
        self.table = table

    def forward(self, x: Float[Tensor, " parts *rest"]) -> Float[Tensor, " parts *rest"]:
        if not self.training or self.drop == 0.0:
            return x
        if self.table:
            return x * self.context.keep_table(x, self.drop, self.layer)
        return x * self.context.keep_mask(x, self.drop, self.layer, whole_rows=self.whole_rows)

    def extra_repr(self) -> str:
        return f"drop={self.drop}, whole_rows={self.whole_rows}"


class GroupedBatchNorm(_BatchNorm):
    """Mixed into a BatchNorm of any subclass: normalises group by group, and defers running statistics."""

    context: RowContext
    frozen: bool

    def forward(self, input: Float[Tensor, "parts channels *rest"]) -> Float[Tensor, "parts channels *rest"]:
        context = self.context
        if not self.training or not self.track_running_stats:
            return super().forward(input)
        if self.frozen or sum(context.groups) < 2:
            # A batch of one row has no variance: use the running statistics.
            return self._with_running_statistics(input)
        sizes = self._sizes(len(input))
        if len(sizes) == 1:
            return self._group(input)
        return torch.cat([self._group(part) for part in input.split(sizes)])

    def _sizes(self, rows: int) -> list[int]:
        total = sum(self.context.groups)
        if rows % total:
            raise RuntimeError(f"BatchNorm saw {rows} rows, but the batch has {total}")
        return [size * (rows // total) for size in self.context.groups]

    def _with_running_statistics(
        self, x: Float[Tensor, "parts channels *rest"]
    ) -> Float[Tensor, "parts channels *rest"]:
        self.training = False
        try:
            return super().forward(x)
        finally:
            self.training = True

    def _group(self, x: Float[Tensor, "parts channels *rest"]) -> Float[Tensor, "parts channels *rest"]:
        # With momentum 1 the kernel writes this group's own statistics into the running buffers, without a
        # second pass over the activations.
        kept, momentum = dict(self._buffers), self.momentum
        # Zeros, not empty: the kernel multiplies them by 0, and 0 x NaN would still be NaN.
        running = self.running_mean, self.running_var
        mean, var = (torch.zeros_like(buffer) for buffer in running if buffer is not None)
        self._buffers.update(running_mean=mean, running_var=var, num_batches_tracked=None)
        self.momentum = 1.0
        try:
            out = super().forward(x)
        finally:
            self._buffers.update(kept)
            self.momentum = momentum
        if self.context.recording:
            count = x.numel() // x.shape[1]
            self._record(count, mean.detach().double(), var.detach().double())
        return out

    def _record(
        self, count: int, mean: Float64[Tensor, " channels"], unbiased: Float64[Tensor, " channels"]
    ) -> None:
        square = unbiased * ((count - 1) / count) + mean.square()
        held = self.__dict__.get("_held")
        if held is None:
            self.__dict__["_held"] = [count, count * mean, count * square]
        else:
            held[0] += count
            held[1] += count * mean
            held[2] += count * square

    def commit(self) -> None:
        """Update the running statistics by those recorded since the last time."""
        if "_held" not in self.__dict__:
            return
        tracked = self.num_batches_tracked
        if tracked is not None:
            tracked.add_(1)
        self._move_statistics(self.momentum if self.momentum is not None else 1.0 / float(tracked or 1))

    def replace_statistics(self) -> None:
        """Set the running statistics to those recorded since the last time."""
        if "_held" in self.__dict__:
            self._move_statistics(1.0)

    @torch.no_grad()
    def _move_statistics(self, rate: float) -> None:
        count, total, squares = self.__dict__.pop("_held")
        mean = total / count
        var = (squares / count - mean.square()).clamp_(min=0.0) * (count / max(count - 1, 1))
        for running, value in ((self.running_mean, mean), (self.running_var, var)):
            if running is not None:
                running.lerp_(value.to(running.dtype), rate)

    def discard(self) -> None:
        """Drop the recorded statistics."""
        self.__dict__.pop("_held", None)


def _grouped(kind: type[_BatchNorm]) -> type[_BatchNorm]:
    # The mixin comes first: its forward wraps that of timm's and others' subclasses.
    return type(f"Grouped{kind.__name__}", (GroupedBatchNorm, kind), {})


def make_batch_exact(
    network: nn.Module, *, seed: int, batchnorm_group: int | Literal["frozen"]
) -> RowContext:
    """Replace layers that depend on the cut of a batch, in place; see this module's docstring.

    Returns the context; the training loop must call its `begin` before every micro-batch.
    """
    context = RowContext(seed)
    layer = 0
    tables = {
        id(inner)
        for path, module in network.named_modules()
        if path.rpartition(".")[2] == "meta_mlp" or type(module).__name__ == "RelPosMlp"
        for inner in module.modules()
    }
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            drop, whole = _drop_of(child)
            if drop:
                table = id(child) in tables
                setattr(parent, name, RowDropout(context, drop, layer, whole_rows=whole, table=table))
                layer += 1
            elif isinstance(child, _BatchNorm):
                child.__class__ = _grouped(type(child))
                child.__dict__ |= {"context": context, "frozen": batchnorm_group == "frozen"}
                context.norms.append(cast(GroupedBatchNorm, child))
    return context


def _drop_of(module: nn.Module) -> tuple[float, bool]:
    """(probability, whole rows) of a dropout layer; (0, False) for any other.

    Layers of probability 0 are not replaced: some attention layers read their `p`.
    """
    if isinstance(module, nn.modules.dropout._DropoutNd):
        return float(module.p), False
    if type(module).__name__ in ("DropPath", "StochasticDepth"):
        return float(getattr(module, "drop_prob", None) or getattr(module, "p", 0.0) or 0.0), True
    return 0.0, False
