"""One training step as requests to an allocator: phases traced once, then put together for any batch.

A phase (preparing a batch, a micro-batch forward and backward, the optimizer, an evaluation) is traced with
fake tensors at one or two sizes. Two traces of a phase are the same list of requests, and sizes are affine
in the rows, so that every other size follows exactly, without a further trace. Where the lists differ, as
with BatchNorm in groups, the phase is traced at the very size that is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from tenfold.memory.fake import fake_device, to_fake
from tenfold.memory.quick import QuickFakes
from tenfold.memory.reductions import UNKNOWN_CARD, Kernels
from tenfold.memory.scratch import scratch_rules
from tenfold.memory.trace import (
    ACTIVATIONS,
    GRADIENTS,
    INPUTS,
    OPTIMIZER,
    WEIGHTS,
    WORKSPACE,
    AllocationLog,
    Backward,
    Recorder,
)
from tenfold.memory.training import TracedTraining
from tenfold.nn.blocks import find_blocks


@dataclass
class Phases:
    """The traced phases of a training on a device.

    attention: see `fake.fake_device`.  kernels: of the card.
    """

    training: TracedTraining[Any]
    device: str
    attention: str = "flash"
    kernels: Kernels = UNKNOWN_CARD

    def __post_init__(self) -> None:
        self._mode = QuickFakes()
        self._scratch = scratch_rules(self.device, self.kernels)
        with self._region():
            network = to_fake(self.training.network, self._mode, self.device, self.training.dtype)
            self._network = network.train()
            self.training.begin(self._network, self.device)
        self._blocks = find_blocks(self._network)
        self._trained = [p for p in self._network.parameters() if p.requires_grad]
        self._index = {id(parameter): index for index, parameter in enumerate(self._trained)}
        self._micro: dict[Hashable, dict[int, AllocationLog]] = {}
        self._batch: dict[int, AllocationLog] = {}
        self._updates: tuple[AllocationLog, AllocationLog] | None = None
        self._evaluation: AllocationLog | None = None

    def _region(self) -> AbstractContextManager[None]:
        return fake_device(self._mode, self.device, self.attention)

    def _recorder(
        self, kind: int = ACTIVATIONS, parameters: Sequence[nn.Parameter] = (), after: Recorder | None = None
    ) -> Recorder:
        there = [*self._network.parameters(), *self._network.buffers()]
        return Recorder(
            self.device, self._scratch, kind=kind, parameters=parameters, there=there, after=after
        )

    def weights(self, absent: Collection[str] = ()) -> list[int]:
        """Bytes of every parameter and buffer. absent: names of parameters that are elsewhere."""
        storages = {}
        there = [each for name, each in self._network.named_parameters() if name not in absent]
        for tensor in [*there, *self._network.buffers()]:
            storage = tensor.untyped_storage()
            storages[storage._cdata] = storage.nbytes()
        return list(storages.values())

    def trained(self) -> list[int]:
        """Bytes of every trained parameter, by the numbers of `AllocationLog.arrivals`."""
        return [parameter.numel() * parameter.element_size() for parameter in self._trained]

    def micro_batch(self, rows: int) -> AllocationLog:
        """Forward and backward of so many rows, every gradient added to an existing one."""
        structure = self.training.structure(rows)
        known = self._micro.setdefault(structure, {})
        return _at(rows, known, self._trace_micro, alone=structure is not None)

    def batch(self, rows: int) -> AllocationLog:
        """Preparation of a batch of so many rows; what is left at the end lives through the step."""
        return _at(rows, self._batch, self._trace_batch, alone=False)

    def updates(self) -> tuple[AllocationLog, AllocationLog]:
        """The optimizer's first step, which makes its state, and its later ones."""
        if self._updates is None:
            self._updates = self._trace_updates()
        return self._updates

    def evaluation(self) -> AllocationLog:
        """An evaluation between epochs; an empty log where the training has none."""
        if self._evaluation is None:
            self._evaluation = self._trace_evaluation()
        return self._evaluation

    def _trace_micro(self, rows: int) -> AllocationLog:
        walk = Backward()
        with self._region():
            with self._recorder():
                given = self.training.slices(rows)
            there = [each for each in tree_leaves(given) if isinstance(each, Tensor)]
            recorder = self._recorder(parameters=self._trained)
            recorder.outside(there)
            with recorder:
                with walk.saving(), recorder.blocks(self._blocks):
                    loss = self.training.forward(given, rows)
                walk.run(
                    loss,
                    lambda parameter, gradient, keeps: recorder.arrival(
                        self._index[id(parameter)], gradient, keeps
                    ),
                )
                del loss
            return recorder.close()

    def _trace_batch(self, rows: int) -> AllocationLog:
        recorder = self._recorder(kind=INPUTS)
        with self._region():
            with recorder:
                kept = self.training.prepare(rows)
            log = recorder.close()
            del kept
        return log

    def _trace_updates(self) -> tuple[AllocationLog, AllocationLog]:
        with self._region():
            gradients = [torch.empty_like(parameter) for parameter in self._trained]
            for parameter, gradient in zip(self._trained, gradients, strict=True):
                parameter.grad = gradient
            first = self._recorder(kind=WORKSPACE)
            first.outside(gradients)
            with first:
                step = self.training.update()
                step()
            first.close(OPTIMIZER)
            later = self._recorder(kind=WORKSPACE, after=first)
            with later:
                step()
            later.close(OPTIMIZER)
            for parameter in self._trained:
                parameter.grad = None
        return first.log, later.log

    def _trace_evaluation(self) -> AllocationLog:
        recorder = self._recorder()
        with self._region(), torch.no_grad():
            with recorder:
                self.training.evaluate()
            self._network.train()
        return recorder.close()


def _at(
    rows: int, known: dict[int, AllocationLog], trace: Callable[[int], AllocationLog], *, alone: bool
) -> AllocationLog:
    """The log at so many rows: known, between two that are alike, or traced.

    alone: do not trace a second size for the sake of others.
    """
    if rows in known:
        return known[rows]
    if not known and not alone and rows > 1:
        known[-(-rows // 2)] = trace(-(-rows // 2))
        known[rows] = trace(rows)
        return known[rows]
    if len(known) >= 2:
        low, high = sorted(known)[:2]
        between = known[low].between(known[high], low, high, rows)
        if between is not None:
            return between
    known[rows] = trace(rows)
    return known[rows]


@dataclass
class StepAllocations:
    """Phases put together, as one list of requests with what each is for.

    events, sizes, kinds: as on a log.  marks: (index of an event, name of the phase that begins there).
    """

    events: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=lambda: [0])
    kinds: list[int] = field(default_factory=lambda: [WEIGHTS])
    marks: list[tuple[int, str]] = field(default_factory=list)

    def mark(self, name: str) -> None:
        """Say that a phase of that name begins."""
        self.marks.append((len(self.events), name))

    def hold(self, size: int, kind: int) -> int:
        """Ask for memory; returns its number."""
        self.sizes.append(size)
        self.kinds.append(kind)
        self.events.append(len(self.sizes) - 1)
        return self.events[-1]

    def drop(self, numbers: Iterable[int]) -> None:
        """Free memory by number."""
        self.events.extend(-number for number in numbers)

    def play(self, log: AllocationLog) -> list[int]:
        """Go through a log without gradients; returns the numbers of what it leaves."""
        start = len(self.sizes) - 1
        self.sizes.extend(log.sizes[1:])
        self.kinds.extend(log.kinds[1:])
        self.events.extend(event + start if event > 0 else event - start for event in log.events)
        return [number + start for number in log.left()]

    def play_micro(
        self,
        log: AllocationLog,
        gradients: dict[int, int],
        trained: Sequence[int],
        passing: Collection[int] = (),
    ) -> None:
        """Go through a micro-batch.

        gradients: parameter -> number of its gradient; those that are missing are made.
        trained: bytes of each parameter.  passing: parameters whose gradients do not stay.
        """
        start = len(self.sizes) - 1
        self.sizes.extend(log.sizes[1:])
        self.kinds.extend(log.kinds[1:])
        arrivals, kept = iter(log.arrivals), set()
        for event in log.events:
            if event > 0:
                self.events.append(event + start)
            elif event < 0:
                if -event not in kept:
                    self.events.append(event - start)
            else:
                parameter, number, keeps = next(arrivals)
                if parameter in gradients or parameter in passing:
                    continue
                if keeps and number not in kept:
                    kept.add(number)
                    gradients[parameter] = number + start
                else:
                    gradients[parameter] = self.hold(trained[parameter], GRADIENTS)
