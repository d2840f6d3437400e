"""What a step of a given cut needs: its phases played through the allocator, named by what they are for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from tenfold.memory.allocator import CachingAllocator, Usage, replay
from tenfold.memory.cards import MIB, Band
from tenfold.memory.phases import Phases, StepAllocations
from tenfold.memory.speed import Rates
from tenfold.memory.trace import KINDS, OPTIMIZER, WEIGHTS, WORKSPACE, AllocationLog

#: Optimizer steps that are played: the second is the first that finds the optimizer's state and the
#: segments of a whole step. More change nothing (bench/memory_plan.py --steps).
STEPS = 2
#: Micro-batches to a step that are played: gradients made, gradients added to, and the last, shorter one.
MICRO_BATCHES = 3
#: Part of what is reserved that the model may be wrong by; see docs/memory.md and bench/results/card.md.
SPREAD = 0.03
#: The same for the C library's heap on a CPU, which keeps freed blocks between live ones: the process grew
#: by up to 1.43 times its tensors in `bench/memory_plan.py --heap` (docs/memory.md).
HEAP_SPREAD = 0.5


@dataclass(frozen=True)
class Forecast:
    """What a process holds at its highest. All in bytes.

    live: by tensors.  reserved: by the allocator.  process: with the context.
    band: of `process`.  parts: what for, at the moment when tensors are most; they sum to `process`.
    bounded: whether the high end is one: see `scratch.is_unbounded`.
    """

    live: int
    reserved: int
    process: int
    band: Band
    parts: Mapping[str, int]
    bounded: bool = True


@dataclass(frozen=True)
class Timeline:
    """Memory over the events of an optimizer step.

    kinds: what bytes are for, in the order of `held`'s columns.
    held: bytes of tensors after each event.
    reserved: bytes that the allocator has.
    phases: (first event, name) of every phase.
    """

    kinds: tuple[str, ...]
    held: Int64[np.ndarray, "events kinds"]
    reserved: Int64[np.ndarray, " events"]
    phases: tuple[tuple[int, str], ...]


class Forecaster:
    """Forecasts for the phases of a training on a device.

    context: what the process holds beside its tensors.
    workspace: bytes that the matrix library keeps through the allocator.
    spread: part of what is reserved on a GPU that the model may be wrong by.
    dropped: trained parameters, by number, whose gradients are gone when the weights are updated; true of
        those that are gone at once.
    absent: names of parameters that are elsewhere.
    others: what others keep of the optimizer, as a multiple of what this device keeps.
    """

    def __init__(
        self,
        phases: Phases,
        *,
        context: Band,
        workspace: int,
        spread: float = SPREAD,
        dropped: Mapping[int, bool] = {},
        absent: Collection[str] = (),
        others: float = 0.0,
    ) -> None:
        self.spread = spread if phases.device != "cpu" else HEAP_SPREAD
        self._dropped, self._absent, self._others = dropped, absent, others
        self._phases, self._device, self._context, self._workspace = phases, phases.device, context, workspace

    def forecast(self, batch: int, micro_batches: Sequence[int]) -> Forecast:
        """What a step on `batch` rows needs that is cut into micro-batches of these rows."""
        requests = self._requests(batch, micro_batches)
        usage = replay(requests.events, requests.sizes, self._allocator())
        logs = [self._phases.micro_batch(rows) for rows in set(micro_batches)]
        # Of a CPU's convolutions the scratch space is known.
        widest = max(log.widest for log in logs) if self._device != "cpu" else 0
        context, spread = self._context, self.spread
        band = Band(
            context.low + usage.allocated,
            context.expected + usage.reserved,
            context.high + int(usage.reserved * (1 + spread)) + widest,
        )
        return Forecast(
            usage.live,
            usage.reserved,
            band.expected,
            band,
            _parts(requests, usage, context.expected),
            all(log.bounded for log in logs),
        )

    def seconds(self, micro_batches: Sequence[int], rates: Rates, again: Collection[str] = ()) -> float:
        """Predicted seconds of a step that is cut into micro-batches of these rows: see `memory.speed`.

        again: names of blocks whose forward pass runs a second time.
        """
        update = self._phases.updates()[1]
        total = rates.seconds(_costs(update)) + rates.crossing(update.crossed)
        # Every further pass adds to the gradients: two are read, and one written.
        added = np.array([(0.0, 3.0 * size) for size in self._phases.trained()]).reshape(-1, 2)
        total += (len(micro_batches) - 1) * rates.seconds(added)
        for rows, times in Counter(micro_batches).items():
            log = self._phases.micro_batch(rows)
            costs = _costs(log)
            twice = [costs[slice(*span.costs)] for span in log.spans if span.name in again]
            total += times * rates.seconds(np.concatenate([costs, *twice]))
        return total

    def crossing(self, rates: Rates) -> float:
        """Seconds in which all that the optimizer keeps on the device goes to the host's memory and back."""
        first = self._phases.updates()[0]
        return rates.crossing(2.0 * sum(first.sizes[number] for number in first.left()))

    def blocks(self, rows: int, rates: Rates) -> dict[str, tuple[int, float]]:
        """Of each block of the network, with so many rows: bytes that it keeps for its backward pass, and
        seconds of its forward pass."""
        log, found = self._phases.micro_batch(rows), dict[str, tuple[int, float]]()
        costs = _costs(log)
        for span in log.spans:
            kept, seconds = found.get(span.name, (0, 0.0))
            seconds += rates.seconds(costs[slice(*span.costs)])
            found[span.name] = kept + log.kept_by(span), seconds
        return found

    def timeline(self, batch: int, micro_batches: Sequence[int]) -> Timeline:
        """The last step that `forecast` plays, event by event."""
        requests = self._requests(batch, micro_batches)
        first = [index for index, name in requests.marks if name == "batch"][-1]
        changes = np.zeros((len(requests.events), len(KINDS)), dtype=np.int64)
        reserved = np.zeros(len(requests.events), dtype=np.int64)
        allocator, addresses, live = self._allocator(), {}, 0
        for index, event in enumerate(requests.events):
            number = abs(event)
            size = requests.sizes[number]
            changes[index, requests.kinds[number]] = size if event > 0 else -size
            live += size if event > 0 else -size
            if allocator is not None and size:
                if event > 0:
                    addresses[number] = allocator.allocate(size)
                else:
                    allocator.release(addresses.pop(number))
            reserved[index] = live if allocator is None else allocator.reserved_bytes
        marks = tuple((index - first, name) for index, name in requests.marks if index >= first)
        return Timeline(KINDS, changes.cumsum(axis=0)[first:], reserved[first:], marks)

    def _allocator(self) -> CachingAllocator | None:
        return None if self._device == "cpu" else CachingAllocator()

    def _requests(self, batch: int, micro_batches: Sequence[int]) -> StepAllocations:
        phases, requests = self._phases, StepAllocations()
        trained, updates = phases.trained(), phases.updates()
        requests.mark("weights")
        passing = {number for number, at_once in self._dropped.items() if at_once}
        for size in phases.weights(self._absent):
            requests.hold(size, WEIGHTS)
        if self._workspace:
            requests.hold(self._workspace, WORKSPACE)
        gradients: dict[int, int] = {}
        before: list[int] = []
        for step in range(STEPS):
            requests.mark("batch")
            prepared = requests.play(phases.batch(batch))
            requests.drop(before)
            before = prepared
            # Gradients of the step before are still there while the next batch is prepared.
            requests.drop(gradients.values())
            gradients.clear()
            for rows in _played(micro_batches):
                requests.mark("micro-batch")
                requests.play_micro(phases.micro_batch(rows), gradients, trained, passing)
            requests.mark("update")
            requests.drop(gradients.pop(number) for number in self._dropped if number in gradients)
            requests.play(updates[min(step, 1)])
        if self._others and self._device == "cpu":
            requests.mark("checkpoint")
            requests.drop([requests.hold(self._checkpoint_bytes(updates[0]), OPTIMIZER)])
        requests.mark("evaluation")
        requests.drop(before)
        requests.drop(requests.play(phases.evaluation()))
        return requests

    def _checkpoint_bytes(self, update: AllocationLog) -> int:
        """What the first rank brings together of others' for a checkpoint, in the memory of its machine."""
        kept = sum(update.sizes[number] for number in update.left() if update.kinds[number] == OPTIMIZER)
        elsewhere = sum(self._phases.weights()) - sum(self._phases.weights(self._absent))
        return int(self._others * kept) + elsewhere


def _costs(log: AllocationLog) -> Float64[np.ndarray, "operators 2"]:
    return np.array(log.costs, dtype=np.float64).reshape(-1, 2)


def _played(micro_batches: Sequence[int]) -> list[int]:
    if len(micro_batches) <= MICRO_BATCHES:
        return list(micro_batches)
    return [*micro_batches[: MICRO_BATCHES - 1], micro_batches[-1]]


def _parts(requests: StepAllocations, usage: Usage, context: int) -> dict[str, int]:
    held = [0] * len(KINDS)
    for event in requests.events[: usage.live_at + 1]:
        size = requests.sizes[abs(event)]
        held[requests.kinds[abs(event)]] += size if event > 0 else -size
    return dict(zip(KINDS, held, strict=True)) | {
        "allocator slack": usage.reserved - usage.live,
        "context": context,
    }


def matrix_workspace(capability: tuple[int, int] | None) -> int:
    """Bytes that PyTorch gives cuBLAS through its allocator (ATen/cuda/CublasHandlePool.cpp).

    On Hopper each of the two threads of a step, forward and backward, took its own (bench/card.py).
    """
    if capability is None:
        return 0
    return 2 * 32 * MIB if capability[0] >= 9 else 8320 * 1024
