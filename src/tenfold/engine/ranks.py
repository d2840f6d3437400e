"""The processes that share a training, each with a device of its own: whose part of a batch is whose.

Every rank reads the whole table and knows the order of its batches: the denominators of a loss need no
communication. Each rank puts its part of a batch through the network, in as many micro-batches as it needs;
then the gradients are summed over the ranks, once a step (`engine.shards` says on which of them). Sums and
not means: the denominators are the whole batch's already.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import groupby
from operator import itemgetter
from time import sleep
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from jaxtyping import Shaped
from torch import Tensor

from tenfold.engine.device import is_out_of_memory, pick_device
from tenfold.errors import RecipeError, TrainingError
from tenfold.memory.cards import MIB
from tenfold.nn.exact import GroupedBatchNorm, recorded_sums
from tenfold.processes import this_rank

Value = TypeVar("Value")

#: Gradients cross the network in pieces of this size, as those of DistributedDataParallel do.
BUCKET_BYTES = 25 * MIB
#: Longest that a rank waits for another: the first one may decode pictures for hours. A rank that has died is
#: noticed at once, by its connection and by the launcher.
LONGEST_WAIT = timedelta(days=1)
#: In place of the rank that keeps a sum: every one does.
EVERY = -1
#: Seconds in which the launcher ends the ranks that are left when one has died, and names that one.
LAUNCHER_SECONDS = 5.0


@dataclass(frozen=True)
class Ranks:
    """This process among those that share a training; alone, nothing below does anything.

    number: from 0.  count: how many there are.
    """

    number: int = 0
    count: int = 1
    _buckets: dict[torch.dtype, Shaped[Tensor, " elements"]] = field(default_factory=dict, repr=False)

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes, scores and talks."""
        return self.number == 0

    def part(self, groups: Sequence[int]) -> tuple[slice, tuple[int, ...]]:
        """This rank's rows of a batch, and the sizes of their groups; both may be empty.

        groups: rows of each BatchNorm group of the batch. A group is never cut.
        """
        first, last = (len(groups) * number // self.count for number in (self.number, self.number + 1))
        start = sum(groups[:first])
        own = tuple(groups[first:last])
        return slice(start, start + sum(own)), own

    def largest_part(self, groups: Sequence[int]) -> tuple[int, ...]:
        """The groups of the rank that has the most rows of a batch."""
        return max((Ranks(number, self.count).part(groups)[1] for number in range(self.count)), key=sum)

    def add(self, numbers: Iterable[float]) -> list[float]:
        """Each number, summed over the ranks."""
        own = list(numbers)
        if self.count == 1 or not own:
            return own
        total = torch.tensor(own, dtype=torch.float64)
        _joined(lambda: dist.all_reduce(total))
        return total.tolist()

    def most(self, *numbers: int) -> list[int]:
        """The largest of each number over the ranks."""
        if self.count == 1:
            return list(numbers)
        largest = torch.tensor(numbers, dtype=torch.int64)
        _joined(lambda: dist.all_reduce(largest, dist.ReduceOp.MAX))
        return largest.tolist()

    def any(self, here: bool) -> bool:
        """Whether it is so on any rank."""
        return bool(self.most(int(here))[0])

    def wait(self) -> None:
        """Wait until every rank is here."""
        self.most(0)

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """A block that the first rank runs, then the first one of every other machine, then all others.

        What one of them leaves on a disk, the next ones find.
        """
        waits = 2 if self.count > 1 else 0
        before = min(waits, 0 if self.first else 1 if this_rank().local == 0 else 2)
        for _ in range(before):
            self.wait()
        yield
        for _ in range(waits - before):
            self.wait()

    def from_first(self, value: Value) -> Value:
        """The first rank's value."""
        if self.count == 1:
            return value
        held: list[Any] = [value if self.first else None]
        _joined(lambda: dist.broadcast_object_list(held, src=0))
        return held[0]

    def to_first(self, value: Value) -> list[Value]:
        """All ranks' values in their order, on the first rank; elsewhere nothing."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        _joined(lambda: dist.gather_object(value, values if self.first else None, dst=0))
        return values if self.first else []

    def copy_first(self, tensors: Iterable[Shaped[Tensor, " ..."]]) -> None:
        """Fill these tensors with the first rank's."""
        if self.count == 1:
            return
        for tensor in tensors:
            whole = tensor.detach().contiguous()
            _joined(lambda whole=whole: dist.broadcast(whole, src=0))
            tensor.detach().copy_(whole)

    @contextmanager
    def together(self) -> Iterator[None]:
        """A block that every rank runs: where memory runs out on one of them, it has run out on all.

        Raises torch.OutOfMemoryError on the others, too, which then keep nothing of the attempt either.
        """
        if self.count == 1:
            yield
            return
        try:
            yield
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if is_out_of_memory(error):
                self._short(True)
            raise
        short = self._short(False)
        if short:
            raise torch.OutOfMemoryError(f"memory ran out on rank {', '.join(map(str, short))}")

    def _short(self, here: bool) -> list[int]:
        """The ranks that have run out of memory."""
        flags = self.add(float(here and number == self.number) for number in range(self.count))
        return [number for number, flag in enumerate(flags) if flag]

    def whole(self, parts: Mapping[str, Shaped[Tensor, " ..."]]) -> dict[str, Shaped[Tensor, " ..."]]:
        """On the first rank: its own tensors, and those of the others brought to the CPU; elsewhere nothing.

        No name may be that of two ranks.
        """
        whole = dict(parts)
        if self.count == 1:
            return whole
        told = self.to_first([(name, tuple(part.shape), part.dtype) for name, part in parts.items()])
        if not self.first:
            for part in parts.values():
                sent = part.detach().cpu().contiguous()
                _joined(lambda sent=sent: dist.send(sent, dst=0))
            return {}
        for number, theirs in enumerate(told[1:], start=1):
            for name, shape, kind in theirs:
                whole[name] = torch.empty(shape, dtype=kind)
                _joined(lambda got=whole[name], number=number: dist.recv(got, src=number))
        return whole

    def spread(
        self, arrays: Mapping[str, Shaped[np.ndarray, " ..."]], wanted: Callable[[str], bool]
    ) -> dict[str, Shaped[np.ndarray, " ..."]]:
        """The first rank's arrays, sent one after the other; each of the others keeps those that it wants."""
        if self.count == 1:
            return dict(arrays)
        kept = {}
        for name, shape, kind in self.from_first([(n, a.shape, a.dtype) for n, a in arrays.items()]):
            array = np.array(arrays[name], order="C") if self.first else np.empty(shape, kind)
            raw = torch.from_numpy(array.reshape(-1).view(np.uint8))
            if raw.numel():
                _joined(lambda raw=raw: dist.broadcast(raw, src=0))
            if self.first or wanted(name):
                kept[name] = array
        return kept

    def reserve(self, parameters: Sequence[Shaped[Tensor, " ..."]]) -> None:
        """Take the memory that `add_gradients` and `share` need, so that it cannot run out in the middle."""
        if self.count == 1:
            return
        for kind in {parameter.dtype for parameter in parameters}:
            sizes = [parameter.numel() for parameter in parameters if parameter.dtype == kind]
            size = bucket_size(sizes, kind.itemsize)
            if kind not in self._buckets or len(self._buckets[kind]) < size:
                self._buckets[kind] = torch.empty(size, dtype=kind, device=parameters[0].device)

    def add_gradients(self, parameters: Sequence[torch.nn.Parameter], keepers: Sequence[int] = ()) -> None:
        """Sum the gradients over the ranks, in place.

        A parameter has a gradient where it has one on any rank: a part without a label has none of its own.
        Call `reserve` before.
        keepers: of each parameter the rank that gets the sum; the others drop their part. None: all get it.
        """
        if self.count == 1:
            return
        have = self.add(float(parameter.grad is not None) for parameter in parameters)
        if any(0 < ranks < self.count for ranks in have):
            with self.together():
                for parameter, ranks in zip(parameters, have, strict=True):
                    if ranks and parameter.grad is None:
                        parameter.grad = torch.zeros_like(parameter)
        owners = keepers or (EVERY,) * len(parameters)
        there = [(p.grad, owner) for p, owner in zip(parameters, owners, strict=True) if p.grad is not None]
        for gradients, owner in self._bucketed(there):
            with self._bucket(gradients, fill=True, read=owner in (EVERY, self.number)) as flat:
                if owner == EVERY:
                    _joined(lambda flat=flat: dist.all_reduce(flat))
                else:
                    _joined(lambda flat=flat, owner=owner: dist.reduce(flat, owner))
        for parameter, owner in zip(parameters, owners, strict=True):
            if owner not in (EVERY, self.number):
                parameter.grad = None

    @torch.no_grad()
    def share(
        self, tensors: Sequence[Shaped[Tensor, " ..."]], keepers: Sequence[int], *, take: bool = True
    ) -> None:
        """Fill each tensor with what its keeper, a rank, has in it. take: false on a rank that needs none."""
        if self.count == 1:
            return
        self.reserve(tensors)
        for some, keeper in self._bucketed(zip(tensors, keepers, strict=True)):
            own = keeper == self.number
            with self._bucket(some, fill=own, read=take and not own) as flat:
                _joined(lambda flat=flat, keeper=keeper: dist.broadcast(flat, src=keeper))

    def _bucketed(
        self, kept: Iterable[tuple[Shaped[Tensor, " ..."], int]]
    ) -> Iterator[tuple[list[Shaped[Tensor, " ..."]], int]]:
        """Tensors with the same keeper, as many together as a bucket holds."""
        for keeper, some in groupby(sorted(kept, key=itemgetter(1)), key=itemgetter(1)):
            held: list[Shaped[Tensor, " ..."]] = []
            for tensor, _ in some:
                room = len(self._buckets[tensor.dtype])
                if held and (
                    held[0].dtype != tensor.dtype or sum(map(torch.numel, held)) + tensor.numel() > room
                ):
                    yield held, keeper
                    held = []
                held.append(tensor)
            if held:
                yield held, keeper

    @contextmanager
    def _bucket(
        self, tensors: list[Shaped[Tensor, " ..."]], *, fill: bool, read: bool
    ) -> Iterator[Shaped[Tensor, " elements"]]:
        """The tensors as one. fill: copied there before the block.  read: copied back after it."""
        sizes = [tensor.numel() for tensor in tensors]
        flat = self._buckets[tensors[0].dtype][: sum(sizes)]
        pieces = list(zip(tensors, flat.split(sizes), strict=True))
        # By logical order: another rank may hold a tensor in another memory layout.
        for tensor, piece in pieces if fill else ():
            piece.view(tensor.shape).copy_(tensor)
        yield flat
        for tensor, piece in pieces if read else ():
            tensor.copy_(piece.view(tensor.shape))

    def add_statistics(self, norms: Sequence[GroupedBatchNorm]) -> None:
        """Pool the statistics that BatchNorm layers have recorded of each rank's groups."""
        followed = [norm for norm in norms if norm.track_running_stats]
        if self.count == 1 or not followed:
            return
        recorded, sums = recorded_sums(followed)
        counts = self.add(recorded)
        _joined(lambda: dist.all_reduce(sums))
        parts = sums.split([norm.num_features for norm in followed], 1)
        for norm, count, part in zip(followed, counts, parts, strict=True):
            if count:
                mean, square = part / count
                variance = (square - mean.square()).clamp(min=0.0) * (count / max(count - 1, 1))
                norm.recorded[:] = [(int(count), torch.stack([mean, variance]))]

    def check_same(self, mark: str, what: str) -> None:
        """Refuse to go on where the ranks differ. mark: of what must be the same everywhere."""
        marks = self.from_first(self.to_first(mark))
        strange = [number for number, other in enumerate(marks) if other != marks[0]]
        if strange:
            raise TrainingError(
                f"rank {strange[0]} has other {what} than rank 0",
                fix="the same command, files, versions and kind of device for all ranks",
            )


def bucket_size(sizes: Sequence[int], itemsize: int) -> int:
    """Elements of the buffer through which gradients of these sizes cross; the largest crosses whole."""
    return max(min(sum(sizes), BUCKET_BYTES // itemsize), *sizes, 1)


#: A training in one process.
ONE_RANK = Ranks()


def _joined(collective: Callable[[], object]) -> None:
    """Run a collective. Where another rank is gone, wait for the launcher, which names that rank."""
    try:
        collective()
    except RuntimeError as error:
        sleep(LAUNCHER_SECONDS)
        why = (str(error).splitlines() or [""])[0]
        raise TrainingError(
            "another rank of this training has ended", found=why, fix="go on with --resume"
        ) from None


def rank_device(name: str) -> torch.device:
    """The device of this rank: of several, GPU number `LOCAL_RANK` of its machine.

    Raises RecipeError where there are fewer GPUs than ranks.
    """
    rank = this_rank()
    if rank.count > 1 and ":" in name:
        raise RecipeError(
            f"--device {name} is one device, and there are {rank.count} ranks", fix="--device cuda"
        )
    device = pick_device(name)
    if rank.count == 1 or device.type == "cpu":
        return device
    check_devices(rank.local + 1, device)
    return torch.device(device.type, rank.local)


def check_devices(count: int, device: torch.device) -> None:
    """Refuse more ranks than there are devices; on a CPU any number of processes share its cores."""
    there = {"cpu": math.inf, "cuda": torch.cuda.device_count()}.get(device.type, 1)
    if count > there:
        raise RecipeError(
            f"{count} devices of kind {device.type!r} are asked for, and this machine has {there}",
            fix=f"--devices {there}, or --device cpu for {count} processes on the CPU",
        )


@contextmanager
def joined_ranks(device: torch.device) -> Iterator[Ranks]:
    """The group of the ranks that `torchrun` or ``--devices`` has started; `ONE_RANK` without them."""
    rank = this_rank()
    if rank.count == 1:
        yield ONE_RANK
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    # What is agreed on goes through gloo, gradients of a GPU through NCCL.
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=LONGEST_WAIT)
    yield Ranks(rank.number, rank.count)
    dist.destroy_process_group()
