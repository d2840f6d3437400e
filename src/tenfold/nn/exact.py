"""Exact accumulation: the same outputs and gradients, however a batch is cut into micro-batches.

Two kinds of layer depend on the cut: BatchNorm averages over rows, and dropout draws in the order of calls.
`make_batch_exact` gives BatchNorm fixed groups of rows (ghost batch norm: Hoffer, Hubara and Soudry 2017,
arXiv 1705.08741, section 4), and makes dropout draw from (seed, step, layer, row). A micro-batch of whole
groups then computes exactly what the undivided batch computes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import zip_longest
from typing import Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float32, Float64, Int64
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
    counter = torch.arange(1, width + 1, dtype=torch.int64, device=rows.device)
    return _drawn(rows[:, None], _state(key), counter)


def _drawn(
    rows: Int64[Tensor, "*rows"],
    state: int | Int64[Tensor, "*states"],
    counter: int | Int64[Tensor, " width"] = 1,
) -> Float32[Tensor, "*any"]:
    bits = _mixed(_mixed((rows + 1) * _GOLDEN + state) + counter * _GOLDEN)
    return _shifted(bits, 40).to(torch.float32) * 2.0**-24


def _state(key: Sequence[int]) -> int:
    """The state that a key leads to, as int64. In Python: on a GPU each of these steps would be a kernel."""
    state = 0
    for part in key:
        state = (state + (part + 1) * _GOLDEN) % 2**64
        for shift, factor in ((30, _MIX_1), (27, _MIX_2)):
            state = (state ^ (state >> shift)) * factor % 2**64
        state ^= state >> 31
    return _wrapped(state)


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
        #: Layer -> probability, of those that drop whole rows.
        self.paths: dict[int, float] = {}
        self._kept: dict[int, Bool[Tensor, " rows"]] = {}

    def begin(self, step: int, rows: Int64[Tensor, " rows"], groups: Sequence[int]) -> None:
        """Set the rows (int64 ids) of the next micro-batch, and its BatchNorm groups."""
        self.step, self.rows, self.groups = step, rows, tuple(groups)
        self.recording = True
        self._kept = {}

    def end_forward(self) -> None:
        """Stop recording statistics: checkpointing recomputes activations, which must not count twice."""
        self.recording = False
        self._kept = {}

    def commit_statistics(self) -> None:
        """Update all running statistics once, by the pooled mean and variance of the whole batch."""
        seen = (norm.num_batches_tracked for norm in self.norms if norm.recorded)
        if counters := [counter for counter in seen if counter is not None]:
            torch._foreach_add_(counters, 1)  # pyright: ignore[reportPrivateImportUsage]
        move_statistics(self.norms)

    def discard_statistics(self) -> None:
        """Drop the statistics recorded since the last commit."""
        for norm in self.norms:
            norm.recorded.clear()

    def freeze_norms(self) -> None:
        """Let all BatchNorm layers use the running statistics that they have, and keep them."""
        for norm in self.norms:
            norm.__dict__["frozen"] = True

    def _rows_of(self, x: Float[Tensor, " parts *rest"]) -> Int64[Tensor, " rows"]:
        if self.rows is None or x.shape[0] % len(self.rows):
            raise RuntimeError("dropout saw a batch without a call of RowContext.begin")
        return self.rows

    def keep_mask(
        self, x: Float[Tensor, " parts *rest"], drop: float, layer: int
    ) -> Float[Tensor, " parts *rest"]:
        """Mask (0 or 1/(1-drop)) of the shape of x, drawn from (seed, step, layer, row)."""
        rows = self._rows_of(x)
        drawn = uniform(rows, x.numel() // len(rows), self.seed, self.step, layer)
        return ((drawn >= drop).to(x.dtype) / (1.0 - drop)).reshape(x.shape)

    def keep_rows(
        self, x: Float[Tensor, " parts *rest"], drop: float, layer: int
    ) -> Float[Tensor, " parts *ones"]:
        """Mask (0 or 1/(1-drop)) of whole rows that broadcasts to x, drawn from (seed, step, layer, row)."""
        rows = self._rows_of(x)
        if self.recording and not self._kept:
            # The draws of all layers at once: on a GPU each layer's own would be some forty kernels.
            states = [_state((self.seed, self.step, layer)) for layer in self.paths]
            drawn = _drawn(rows, torch.tensor(states, device=rows.device)[:, None])
            drops = torch.tensor(list(self.paths.values()), device=rows.device)[:, None]
            self._kept = dict(zip(self.paths, drawn >= drops, strict=True))
        kept = self._kept.get(layer)
        if kept is None:  # an activation that is computed again
            kept = uniform(rows, 1, self.seed, self.step, layer)[:, 0] >= drop
        keep = kept.to(x.dtype) / (1.0 - drop)
        # A layer may see several consecutive windows of a row: they share the row's mask.
        windows = x.shape[0] // len(rows)
        keep = keep.repeat_interleave(windows, 0) if windows > 1 else keep
        return keep.reshape(-1, *(1,) * (x.ndim - 1))

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
        keep = self.context.keep_rows if self.whole_rows else self.context.keep_mask
        return x * keep(x, self.drop, self.layer)

    def extra_repr(self) -> str:
        return f"drop={self.drop}, whole_rows={self.whole_rows}"


class GroupedBatchNorm(_BatchNorm):
    """Mixed into a BatchNorm of any subclass: normalises group by group, and defers running statistics."""

    context: RowContext
    frozen: bool
    #: Of each group since the last commit: values per channel, and their mean and unbiased variance.
    recorded: list[tuple[int, Float[Tensor, "2 channels"]]]

    def forward(self, input: Float[Tensor, "parts channels *rest"]) -> Float[Tensor, "parts channels *rest"]:
        context = self.context
        if not self.training or not self.track_running_stats:
            return super().forward(input)
        if self.frozen or sum(context.groups) < 2:
            # A batch of one row has no variance: use the running statistics.
            return self._with_running_statistics(input)
        sizes = self._sizes(len(input))
        parts = input.split(sizes) if len(sizes) > 1 else (input,)
        dtype = input.dtype if self.running_mean is None else self.running_mean.dtype
        # Zeros, not empty: the kernel multiplies them by 0, and 0 x NaN would still be NaN.
        statistics = torch.zeros(len(sizes), 2, input.shape[1], dtype=dtype, device=input.device).unbind()
        if context.recording:
            values = input.numel() // (len(input) * input.shape[1])
            self.recorded += [(size * values, group) for size, group in zip(sizes, statistics, strict=True)]
        kind = type(self).__mro__[2]
        of_timm = kind.__name__ == "BatchNormAct2d" and kind.__module__.startswith("timm.")
        if kind.forward is _BatchNorm.forward or of_timm:
            out = _joined([self._normalised(*pair) for pair in zip(parts, statistics, strict=True)])
            return cast(nn.Module, self.act)(cast(nn.Module, self.drop)(out)) if of_timm else out
        return _joined([self._as_its_class(*pair) for pair in zip(parts, statistics, strict=True)])

    def rate(self) -> float:
        """How far the running statistics move towards a batch's."""
        return self.momentum if self.momentum is not None else 1.0 / float(self.num_batches_tracked or 1)

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

    def _normalised(
        self, x: Float[Tensor, "parts channels *rest"], statistics: Float[Tensor, "2 channels"]
    ) -> Float[Tensor, "parts channels *rest"]:
        # With momentum 1 the kernel writes this group's own statistics into the buffers that it is given,
        # without a second pass over the activations.
        mean, var = statistics.unbind()
        return F.batch_norm(x, mean, var, self.weight, self.bias, True, 1.0, self.eps)

    def _as_its_class(
        self, x: Float[Tensor, "parts channels *rest"], statistics: Float[Tensor, "2 channels"]
    ) -> Float[Tensor, "parts channels *rest"]:
        """As `_normalised`, for a class with a forward pass that is not known."""
        kept, momentum = dict(self._buffers), self.momentum
        mean, var = statistics.unbind()
        self._buffers.update(running_mean=mean, running_var=var, num_batches_tracked=None)
        self.momentum = 1.0
        try:
            return super().forward(x)
        finally:
            self._buffers.update(kept)
            self.momentum = momentum


def _joined(parts: list[Float[Tensor, " _ *rest"]]) -> Float[Tensor, " parts *rest"]:
    return torch.cat(parts) if len(parts) > 1 else parts[0]


@torch.no_grad()
def recorded_sums(norms: Sequence[GroupedBatchNorm]) -> tuple[list[int], Float64[Tensor, "2 channels"]]:
    """What layers recorded: values per channel of each, and over all channels the sums of values and squares.

    norms: at least one, which follow statistics; those that recorded nothing have sums of 0.
    All layers at once: on a GPU the arithmetic of each would be some thirty kernels.
    """
    device = cast(Tensor, norms[0].running_mean).device
    widths = [norm.num_features for norm in norms]
    sums = torch.zeros(2, sum(widths), dtype=torch.float64, device=device)
    groups = list(zip_longest(*(norm.recorded for norm in norms)))
    if not groups:
        return [0] * len(norms), sums
    # Values per channel by group and layer; 0 where a layer saw fewer groups than others.
    counts = np.array([[part[0] if part else 0 for part in group] for group in groups], dtype=np.float64)
    factors = np.concatenate([counts, (counts - 1) / np.maximum(counts, 1)])
    table = torch.from_numpy(np.repeat(factors, widths, 1)).to(device)
    for group, count, factor in zip(groups, *table.split(len(groups)), strict=True):
        parts = [
            part[1] if part else torch.zeros(2, width, device=device)
            for part, width in zip(group, widths, strict=True)
        ]
        mean, variance = torch.cat(parts, 1).double()
        sums[0] += count * mean
        sums[1] += count * (variance * factor + mean.square())
    return counts.sum(0).astype(int).tolist(), sums


@torch.no_grad()
def move_statistics(norms: Sequence[GroupedBatchNorm], rate: float | None = None) -> None:
    """Move running statistics by those recorded since the last time, and forget these.

    rate: how far they move towards the pooled mean and variance; each layer's own momentum if not given.
    """
    norms = [norm for norm in norms if norm.recorded]
    if not norms:
        return
    counts, sums = recorded_sums(norms)
    widths, whole = [norm.num_features for norm in norms], np.array(counts, dtype=np.float64)
    factors = np.repeat([whole, whole / np.maximum(whole - 1, 1)], widths, 1)
    number, unbiased = torch.from_numpy(factors).to(sums.device)
    mean, square = sums / number
    variance = (square - mean.square()).clamp_(min=0.0) * unbiased
    moves: dict[float, tuple[list[Float[Tensor, " _"]], list[Float[Tensor, " _"]]]] = {}
    for norm, *fresh in zip(norms, mean.split(widths), variance.split(widths), strict=True):
        running, towards = moves.setdefault(norm.rate() if rate is None else rate, ([], []))
        for buffer, value in zip((norm.running_mean, norm.running_var), fresh, strict=True):
            if buffer is not None:
                running.append(buffer)
                towards.append(value.to(buffer.dtype))
        norm.recorded.clear()
    for step, (running, towards) in moves.items():
        torch._foreach_lerp_(running, towards, step)  # pyright: ignore[reportPrivateImportUsage]


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
                if whole:
                    context.paths[layer] = drop
                layer += 1
            elif isinstance(child, _BatchNorm):
                child.__class__ = _grouped(type(child))
                child.__dict__ |= {"context": context, "frozen": batchnorm_group == "frozen", "recorded": []}
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
