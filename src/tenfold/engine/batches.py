"""Batches: rows on the device, with the denominators of their losses; and their cut into micro-batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64, Num, UInt8
from torch import Tensor

from tenfold.data.encode import Encoding, Examples
from tenfold.engine.ranks import ONE_RANK, Ranks
from tenfold.nn.augment import Mix, augment, draw_mix, mixed, resized
from tenfold.nn.exact import group_sizes, uniform
from tenfold.nn.network import column_name, input_name
from tenfold.recipe import Recipe


@dataclass(frozen=True)
class Labels:
    """A set of labels of a target, as `targets.labels` describes them: 0 in both where nothing is known."""

    labels: Num[Tensor, " rows *questions"]
    weights: Float[Tensor, " rows *asked"]


@dataclass(frozen=True)
class Batch:
    """Rows of an optimizer step, or of one of its micro-batches.

    rows: (rows,) int64 ids of the rows, which random draws depend on.
    inputs: encoder name -> tensor, first axis rows.
    targets: target -> 1 label set, or 2 after mixup (each row's own and its partner's).
    denominators: target -> sum of all weights *of the whole batch*, the same in every micro-batch.
    size: rows of the whole batch, likewise.
    groups: sizes of the BatchNorm groups, in row order; they sum to the number of rows.
    """

    rows: Int64[Tensor, " rows"]
    inputs: Mapping[str, Num[Tensor, " rows *_"]]
    targets: Mapping[str, tuple[Labels, ...]]
    denominators: Mapping[str, float]
    groups: tuple[int, ...]
    size: int = 0

    def __len__(self) -> int:
        return len(self.rows)

    def split(self, micro_batch: int) -> Iterator[Batch]:
        """Micro-batches of at most `micro_batch` rows, each a whole number of groups.

        A group larger than `micro_batch` still comes whole: a plan may not cut it.
        """
        start = 0
        while start < len(self.groups):
            stop, rows = start + 1, self.groups[start]
            while stop < len(self.groups) and rows + self.groups[stop] <= micro_batch:
                rows += self.groups[stop]
                stop += 1
            first = sum(self.groups[:start])
            yield self._slice(first, first + rows, self.groups[start:stop])
            start = stop

    def _slice(self, first: int, last: int, groups: tuple[int, ...]) -> Batch:
        if first == 0 and last == len(self):
            return self
        part = slice(first, last)
        return Batch(
            self.rows[part],
            {name: value[part] for name, value in self.inputs.items()},
            {
                name: tuple(Labels(labels.labels[part], labels.weights[part]) for labels in sets)
                for name, sets in self.targets.items()
            },
            self.denominators,
            groups,
            self.size or len(self),
        )


def epoch_order(
    rows: Int64[np.ndarray, " rows"], *, batch_size: int, seed: int, epoch: int
) -> list[Int64[np.ndarray, " _"]]:
    """An epoch's training rows, shuffled by (seed, epoch) and cut into batches; the last may be shorter."""
    order = np.random.default_rng([seed, 1, epoch]).permutation(rows)
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def steps_per_epoch(rows: int, batch_size: int) -> int:
    """Optimizer steps in an epoch."""
    return math.ceil(rows / batch_size)


def read_ahead(
    reads: list[Int64[np.ndarray, " _"]],
    read: Callable[[Int64[np.ndarray, " rows"]], list[UInt8[np.ndarray, "rows height width 3"]]],
    workers: int,
) -> Iterator[list[UInt8[np.ndarray, "rows height width 3"]]]:
    """Call `read` for each of `reads`, in order, one or two ahead of the caller on other threads.

    With 0 workers, or a single read, everything happens on the caller's thread. Threads, not processes:
    reading releases the interpreter, needs no shared memory and can be interrupted at once.
    """
    if workers <= 0 or len(reads) < 2:
        yield from (read(rows) for rows in reads)
        return
    with ThreadPoolExecutor(max_workers=workers, thread_name_prefix="tenfold-read") as pool:
        ahead = min(2, len(reads))
        waiting = [pool.submit(read, rows) for rows in reads[:ahead]]
        for position in range(len(reads)):
            yield waiting.pop(0).result()
            if position + ahead < len(reads):
                waiting.append(pool.submit(read, reads[position + ahead]))


@dataclass(frozen=True)
class Preparation:
    """What turns stored rows into the tensors of a network.

    device, dtype: where and as what the pictures enter the network.
    channels_last: memory layout of the pictures.
    """

    encoding: Encoding
    device: torch.device
    dtype: torch.dtype
    channels_last: bool

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) that enters the network."""
        return self.encoding.final_size or self.encoding.image_size

    def pixels(
        self, stored: UInt8[np.ndarray, "rows height width 3"], *, min_scale: float = 1.0
    ) -> Float[Tensor, "rows 3 new_height new_width"]:
        """Stored pictures as floating point in 0..1, on the device.

        min_scale: smallest fraction of the area that a crop keeps. Pictures kept larger than the network's
        size come as large as such a crop needs to be sharp, and with 1 at the network's size.
        """
        moved = torch.from_numpy(stored).to(self.device, non_blocking=True)
        if self.encoding.final_size is None:
            return self._scaled(moved)
        kept = self.encoding.image_size
        wanted = [math.ceil(side / math.sqrt(min_scale)) for side in self.size]
        if min_scale < 1:
            wanted = [min(side, most) for side, most in zip(wanted, kept, strict=True)]
        # A few rows at a time: large pictures would be four times as large in floating point.
        parts = moved.split(8)
        return torch.cat([resized(self._scaled(part), (wanted[0], wanted[1])) for part in parts])

    def seen_at(self, size: tuple[int, int] | None) -> Preparation:
        """The same for pictures of another size; itself for None."""
        if size is None:
            return self
        final = None if size == self.encoding.image_size else size
        return replace(self, encoding=self.encoding.model_copy(update={"final_size": final}))

    def _scaled(
        self, moved: UInt8[Tensor, "rows height width channels"]
    ) -> Float[Tensor, "rows channels height width"]:
        return moved.permute(0, 3, 1, 2).to(self.dtype).mul_(1 / 255)

    def normalised(
        self, images: Float[Tensor, "rows channels height width"]
    ) -> Float[Tensor, "rows channels height width"]:
        """Pixels in 0..1 -> what the backbone was trained on, in the network's memory layout."""
        mean = torch.tensor(self.encoding.mean, dtype=self.dtype, device=self.device)[:, None, None]
        std = torch.tensor(self.encoding.std, dtype=self.dtype, device=self.device)[:, None, None]
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        return ((images - mean) / std).contiguous(memory_format=layout)


#: Numbers the draws of `unknown_codes`, apart from those of a network's layers, which count from 0.
_UNKNOWN = 1 << 20


def column_inputs(
    examples: Examples, index: Int64[np.ndarray, " rows"], preparation: Preparation
) -> dict[str, Num[Tensor, " rows *_"]]:
    """Encoder name -> codes (rows,) int64 or numbers (rows, 2) of all columns but pictures."""
    inputs = {}
    for position, values in enumerate(examples.columns.values()):
        moved = torch.from_numpy(values[index]).to(preparation.device)
        inputs[column_name(position)] = moved.to(preparation.dtype) if moved.is_floating_point() else moved
    return inputs


def unknown_codes(
    inputs: dict[str, Num[Tensor, " rows *_"]],
    rows: Int64[Tensor, " rows"],
    *,
    rate: float,
    seed: int,
    epoch: int,
) -> dict[str, Num[Tensor, " rows *_"]]:
    """Return the inputs with a fraction of their codes set to 0, so that the row for unknown values trains.

    Drawn from (seed, epoch, column, row): it does not depend on the cut of a batch.
    """
    hidden = dict(inputs)
    for column, (name, codes) in enumerate(inputs.items()):
        if rate and not codes.is_floating_point():
            drawn = uniform(rows, 1, seed, epoch, _UNKNOWN + column)[:, 0]
            hidden[name] = torch.where(drawn.to(codes.device) < rate, 0, codes)
    return hidden


@runtime_checkable
class Teacher(Protocol):
    """Whose answers a network learns, in place of labels. size: (height, width) of the views that it sees."""

    @property
    def size(self) -> tuple[int, int]:
        """See the class."""
        ...

    def label_sets(
        self, views: list[Float[Tensor, "rows 3 height width"]]
    ) -> Mapping[str, list[tuple[Num[Tensor, " rows *questions"], Float64[Tensor, " rows *asked"]]]]:
        """Target -> labels, and what each counts, of pictures in 0..1 (see `Head.soft_labels`)."""
        ...


@runtime_checkable
class KnownAnswers(Protocol):
    """Answers that rows without labels learn."""

    def label_sets(
        self, index: Int64[np.ndarray, " rows"]
    ) -> Mapping[
        str, Sequence[tuple[Num[np.ndarray, " rows *questions"], Float64[np.ndarray, " rows *asked"]]]
    ]:
        """Target -> labels of these rows, and what each counts: 0 where a row learns its own label."""
        ...


@dataclass(frozen=True)
class _Lot:
    """What a process needs of a batch.

    index: all rows of the batch.  own: its part of them.  groups: of its part.
    needed: rows whose pictures it reads: its own, then further ones that are mixed into these.
    mix: of the whole batch.  own_mix: of its part, with partners as indices of `needed`.
    """

    index: Int64[np.ndarray, " rows"]
    own: slice
    groups: tuple[int, ...]
    needed: Int64[np.ndarray, " needed"]
    mix: Mix | None = None
    own_mix: Mix | None = None


def _lot(index: Int64[np.ndarray, " rows"], ranks: Ranks, group: int | None, mix: Mix | None) -> _Lot:
    own, groups = ranks.part(group_sizes(len(index), group) if group else (1,) * len(index))
    if mix is None:
        return _Lot(index, own, groups, index[own])
    partner = mix.partner[own].numpy()
    places = np.full(len(index), -1)
    places[own] = np.arange(own.stop - own.start)
    strangers = np.unique(partner[places[partner] < 0])
    places[strangers] = np.arange(len(strangers)) + own.stop - own.start
    own_mix = Mix(torch.from_numpy(places[partner]), mix.share[own])
    return _Lot(index, own, groups, np.concatenate([index[own], index[strangers]]), mix, own_mix)


def training_batches(
    examples: Examples,
    order: list[Int64[np.ndarray, " _"]],
    recipe: Recipe,
    preparation: Preparation,
    *,
    epoch: int,
    first_step: int,
    workers: int,
    group: int | None,
    teacher: Teacher | None = None,
    answers: KnownAnswers | None = None,
    ranks: Ranks = ONE_RANK,
) -> Iterator[Batch]:
    """The batches of one epoch, augmented and mixed, ready to be cut.

    order: rows of each batch (see `epoch_order`).  first_step: number of the first batch's step.
    group: rows to a BatchNorm group, or None where no layer mixes rows.
    teacher: sees the same views as the network, and gives the labels.  answers: beside the rows' labels.
    ranks: each gets its part of every batch, with the denominators of the whole.
    """

    def drawn(position: int) -> Mix | None:
        rows, step = torch.from_numpy(order[position]), first_step + position
        return draw_mix(rows, alpha=recipe.mixup, seed=recipe.seed, step=step) if recipe.mixup else None

    def read(rows: Int64[np.ndarray, " rows"]) -> list[UInt8[np.ndarray, "rows height width 3"]]:
        return [reader.read(rows) for reader in examples.images] if len(rows) else []

    lots = [_lot(index, ranks, group, drawn(position)) for position, index in enumerate(order)]
    # Without pictures there is nothing to wait for.
    workers = workers if examples.images else 0
    looked_at = preparation.seen_at(None if teacher is None else teacher.size)
    for lot, stored in zip(lots, read_ahead([lot.needed for lot in lots], read, workers), strict=True):
        rows = torch.from_numpy(lot.index[lot.own])
        inputs = unknown_codes(
            column_inputs(examples, lot.index[lot.own], preparation),
            rows,
            rate=recipe.unknown_rate,
            seed=recipe.seed,
            epoch=epoch,
        )
        seen = []
        for column, pixels in enumerate(stored):
            images = augment(
                looked_at.pixels(pixels, min_scale=recipe.min_scale),
                torch.from_numpy(lot.needed),
                seed=recipe.seed + column,
                epoch=epoch,
                strength=recipe.augment,
                flip=recipe.flip,
                min_scale=recipe.min_scale,
                size=looked_at.size,
            )
            if lot.own_mix is not None:
                images = mixed(images, lot.own_mix)
            inputs[input_name(column)] = preparation.normalised(resized(images, preparation.size))
            if teacher is not None:
                seen.append(images)
        if teacher is None:
            targets, denominators = _label_sets(
                examples, lot.index, lot.own, lot.mix, preparation.device, answers
            )
        else:
            targets, sums = _taught_sets(teacher, seen, examples, lot.index[lot.own])
            names = sorted(sums)
            denominators = dict(zip(names, ranks.add(sums[name] for name in names), strict=True))
            seen.clear()  # this frame lives on while the batch is trained
        yield Batch(rows.to(preparation.device), inputs, targets, denominators, lot.groups, len(lot.index))


def _label_sets(
    examples: Examples,
    index: Int64[np.ndarray, " rows"],
    part: slice,
    mix: Mix | None,
    device: torch.device,
    answers: KnownAnswers | None = None,
) -> tuple[dict[str, tuple[Labels, ...]], dict[str, float]]:
    """The labels and known answers of a part of the rows, and the sum of all rows' weights."""
    targets, denominators = {}, {}
    known_answers = {} if answers is None else answers.label_sets(index)
    for name, all_labels in examples.labels.items():
        labels, weights = all_labels[index], examples.weights[name][index]
        # A missing label becomes 0, which no loss reads.
        seen = weights if labels.ndim == weights.ndim else weights.max(axis=1)
        labels = np.where(seen > 0, labels, 0).astype(labels.dtype)
        sets = [(labels, weights), *known_answers.get(name, ())]
        if mix is not None:
            # A loss is the weighted sum of the losses of both labels; for binary and squared losses its
            # gradient is that of the mixed label.
            partner, share = mix.partner.cpu().numpy(), mix.share.cpu().double().numpy()
            share = share.reshape(-1, *[1] * (weights.ndim - 1))
            own = [(known, weight * share) for known, weight in sets]
            sets = own + [(known[partner], weight[partner] * (1 - share)) for known, weight in sets]
        targets[name] = tuple(
            Labels(torch.from_numpy(known[part]).to(device), torch.from_numpy(weight[part]).to(device))
            for known, weight in sets
        )
        # Known from the table, before the first backward pass: every micro-batch divides by it.
        denominators[name] = float(sum(weight.sum() for _, weight in sets))
    return targets, denominators


def _taught_sets(
    teacher: Teacher,
    views: list[Float[Tensor, "rows 3 height width"]],
    examples: Examples,
    index: Int64[np.ndarray, " rows"],
) -> tuple[dict[str, tuple[Labels, ...]], dict[str, float]]:
    """A teacher's answers as labels, whether the rows have any or not; rows count by their importance."""
    targets, denominators = {}, {}
    importance = examples.importance
    answers = teacher.label_sets(views) if len(index) else dict.fromkeys(examples.labels, [])
    for name, sets in answers.items():
        counted = []
        for labels, shares in sets:
            if importance is not None:
                own = torch.from_numpy(importance[index]).to(shares.device)
                shares = shares * own.reshape(-1, *[1] * (shares.ndim - 1))
            counted.append(Labels(labels, shares))
        targets[name] = tuple(counted)
        denominators[name] = float(sum(float(one.weights.sum()) for one in counted))
    return targets, denominators
