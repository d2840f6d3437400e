"""One training step as requests to an allocator: phases traced once, then put together for any batch.

A phase (preparing a batch, a micro-batch forward and backward, the optimizer, an evaluation) is traced on
a ghost at one or two sizes. Two traces of one phase are the same list of requests whose sizes are affine in
the rows, so that every other size follows exactly, without a further trace. Where the lists differ, as with
BatchNorm in groups, the phase is traced at the very size that is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_leaves

from tenfold.memory.fake import fake_device, to_fake
from tenfold.memory.program import Program
from tenfold.memory.scratch import scratch_rules
from tenfold.memory.trace import (
    GRADIENTS,
    INPUTS,
    OPTIMIZER,
    WEIGHTS,
    WORKSPACE,
    Backward,
    Recorder,
    Tape,
)


@dataclass
class Phases:
    """The traced phases of a program on a device.

    attention: see `ghost.fake_device`.
    """

    program: Program
    device: str
    attention: str = "flash"

    def __post_init__(self) -> None:
        self._mode = FakeTensorMode(allow_non_fake_inputs=True)
        self._scratch = scratch_rules(self.device)
        self._cast = Autocast(self.device, self.program.autocast)
        with self._region():
            self._network = to_fake(self.program.network, self._mode, self.device, self.program.dtype).train()
        self._trained = [p for p in self._network.parameters() if p.requires_grad]
        self._place = {id(parameter): index for index, parameter in enumerate(self._trained)}
        self._micro: dict[Any, dict[int, Tape]] = {}
        self._batch: dict[int, Tape] = {}
        self._updates: tuple[Tape, Tape] | None = None
        self._evaluation: Tape | None = None

    def _region(self) -> Any:
        return fake_device(self._mode, self.device, self.attention)

    def _recorder(self, **options: Any) -> Recorder:
        there = [*self._network.parameters(), *self._network.buffers()]
        return Recorder(self.device, self._scratch, there=there, **options)

    def weights(self) -> list[int]:
        """Bytes of every parameter and buffer."""
        storages = {}
        for tensor in [*self._network.parameters(), *self._network.buffers()]:
            storage = tensor.untyped_storage()
            storages[storage._cdata] = storage.nbytes()
        return list(storages.values())

    def trained(self) -> list[int]:
        """Bytes of every trained parameter, by the numbers of `Tape.arrivals`."""
        return [parameter.numel() * parameter.element_size() for parameter in self._trained]

    def micro_batch(self, rows: int) -> Tape:
        """Forward and backward of so many rows, every gradient added to one that exists."""
        structure = self.program.structure(rows)
        known = self._micro.setdefault(structure, {})
        return _at(rows, known, self._trace_micro, alone=structure is not None)

    def batch(self, rows: int) -> Tape:
        """Preparation of a batch of so many rows; what is left at the end lives through the step."""
        return _at(rows, self._batch, self._trace_batch, alone=False)

    def updates(self) -> tuple[Tape, Tape]:
        """The optimizer's first step, which makes its state, and its later ones."""
        if self._updates is None:
            self._updates = self._trace_updates()
        return self._updates

    def evaluation(self) -> Tape:
        """An evaluation between epochs; an empty tape where the program has none."""
        if self._evaluation is None:
            self._evaluation = self._trace_evaluation()
        return self._evaluation

    def _trace_micro(self, rows: int) -> Tape:
        walk = Backward()
        with self._region():
            given = self.program.slices(rows, self.device)
            there = [each for each in tree_leaves(given) if isinstance(each, Tensor)]
            recorder = self._recorder(parameters=self._trained)
            recorder.outside(there)
            with recorder:
                with walk.saving():
                    loss = self.program.forward(self._network, given, rows, self._cast)
                walk.run(
                    loss,
                    lambda parameter, gradient, keeps: recorder.arrival(
                        self._place[id(parameter)], gradient, keeps
                    ),
                )
                del loss
            return recorder.close()

    def _trace_batch(self, rows: int) -> Tape:
        recorder = self._recorder(kind=INPUTS)
        with self._region():
            with recorder:
                kept = self.program.prepare(rows, self.device)
            tape = recorder.close()
            del kept
        return tape

    def _trace_updates(self) -> tuple[Tape, Tape]:
        with self._region():
            for parameter in self._trained:
                parameter.grad = torch.empty_like(parameter)
            gradients = [parameter.grad for parameter in self._trained]
            first = self._recorder(kind=WORKSPACE)
            first.outside(gradients)
            with first:
                step = self.program.update(self._network, self._trained)
                step()
            first.close(OPTIMIZER)
            later = self._recorder(kind=WORKSPACE, after=first)
            with later:
                step()
            later.close(OPTIMIZER)
            for parameter in self._trained:
                parameter.grad = None
        return first.tape, later.tape

    def _trace_evaluation(self) -> Tape:
        recorder = self._recorder()
        with self._region(), torch.no_grad():
            with recorder:
                kept = self.program.evaluate(self._network, self.device, self._cast)
                del kept
            self._network.train()
        return recorder.close()


class Autocast:
    """Autocast for a device that need not be there; may be entered several times, one after another."""

    def __init__(self, device: str, dtype: torch.dtype | None) -> None:
        self._device, self._dtype = device, dtype

    def __enter__(self) -> None:
        dtype = self._dtype or torch.bfloat16
        self._context = torch.autocast(self._device, dtype, enabled=self._dtype is not None)
        self._context.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._context.__exit__(*error)


def _at(rows: int, known: dict[int, Tape], trace: Callable[[int], Tape], *, alone: bool) -> Tape:
    """The tape at so many rows: known, between two that are alike, or traced.

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
class Script:
    """Phases put together, as one list of requests with what each is for.

    events, sizes, kinds: as on a tape.  marks: (index of an event, name of the phase that begins there).
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

    def play(self, tape: Tape) -> list[int]:
        """Go through a tape without gradients; returns the numbers of what it leaves."""
        start = len(self.sizes) - 1
        self.sizes.extend(tape.sizes[1:])
        self.kinds.extend(tape.kinds[1:])
        self.events.extend(event + start if event > 0 else event - start for event in tape.events)
        return [number + start for number in tape.left()]

    def play_micro(self, tape: Tape, gradients: dict[int, int], trained: Sequence[int]) -> None:
        """Go through a micro-batch.

        gradients: parameter -> number of its gradient; those that are missing are made.
        trained: bytes of each parameter.
        """
        start = len(self.sizes) - 1
        self.sizes.extend(tape.sizes[1:])
        self.kinds.extend(tape.kinds[1:])
        arrivals, kept = iter(tape.arrivals), set()
        for event in tape.events:
            if event > 0:
                self.events.append(event + start)
            elif event < 0:
                if -event not in kept:
                    self.events.append(event - start)
            else:
                parameter, number, keeps = next(arrivals)
                if parameter in gradients:
                    continue
                if keeps and number not in kept:
                    kept.add(number)
                    gradients[parameter] = number + start
                else:
                    gradients[parameter] = self.hold(trained[parameter], GRADIENTS)
