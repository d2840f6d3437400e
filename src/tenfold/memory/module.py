"""The memory plan of a user's own network and training step, without its device."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from tenfold.errors import RecipeError
from tenfold.memory.cards import parse_bytes
from tenfold.memory.forecast import Forecaster, matrix_workspace
from tenfold.memory.phases import Phases
from tenfold.memory.plan import Plan, Planner, PlanRequest, tracing
from tenfold.recipe import Recipe

__all__ = ["plan_module"]

#: Precision -> what autocast computes in.
AUTOCAST = {"float32": None, "float16": torch.float16, "bfloat16": torch.bfloat16}

#: Makes an optimizer of parameters, as ``torch.optim.AdamW`` does.
MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


def plan_module(
    module: nn.Module,
    example_batch: object,
    loss: Callable[..., Tensor],
    *,
    optimizer: MakeOptimizer = torch.optim.AdamW,
    budget: str | int = "16GiB",
    batch_size: int | None = None,
    micro_batch: int | None = None,
    device: str = "cuda",
    precision: str = "float32",
) -> Plan:
    """How a training of any PyTorch network fits a budget; neither a GPU nor the memory is needed.

    ::

        plan = tenfold.plan_module(net, (images, labels), F.cross_entropy, budget="T4", batch_size=64)
        plan.micro_batch, plan.accumulation, plan.fits

    module: the network; it is neither changed nor run.
    example_batch: what a data loader yields, tensors on the CPU with the rows as their first dimension.
        Of a pair (inputs, targets) the step is ``loss(module(inputs), targets)``, of anything else
        ``loss(module(batch), batch)``. The network gets a tuple or list as arguments, a mapping as keywords.
    loss: a function or module that returns the scalar from which the step goes backward.
    optimizer: makes the optimizer: ``torch.optim.SGD``, ``lambda p: torch.optim.Adam(p, lr=1e-3)``.
    budget: a size, a card's name (``T4``) or ``auto`` (this machine's free memory).
    batch_size: rows of an optimizer step, by default those of the example.
    micro_batch: plan for this cut; by default the largest that fits.
    device: ``cuda`` or ``cpu``, which need not be there.
    precision: ``float32``, or autocast to ``float16`` or ``bfloat16``.

    Planned is the plain step: the batch is on the device, forward and backward for each micro-batch,
    gradients added up, one optimizer step. What the network decides by the *values* of tensors is not known
    to a plan, which says so in its notes; so does BatchNorm, whose statistics depend on the micro-batch.
    Raises RecipeError for a batch without rows, or a network that cannot be traced.
    """
    rows = _rows(example_batch)
    if precision not in AUTOCAST:
        raise RecipeError(f"precision = {precision!r}", fix="give float32, float16 or bfloat16")
    size = parse_bytes(budget)
    request = PlanRequest(
        size.size_bytes,
        Recipe(
            batch_size=rows if batch_size is None else batch_size,
            precision=cast(Literal["float32", "float16", "bfloat16"], precision),
        ),
        device,
        size.card,
        micro_batch=micro_batch,
    )
    context, note = request.known_context()
    name = type(module).__name__
    with tracing(name, "see that a step on the example batch runs; docs/memory.md says what has no plan"):
        training = ModuleTraining(module, example_batch, loss, optimizer, AUTOCAST[precision])
        phases = Phases(training, device, request.attention, request.kernels)
        forecaster = Forecaster(phases, context=context, workspace=matrix_workspace(request.capability))
        planner = Planner(training, forecaster, request, note)
        plan = planner.plan(name)
        looked = phases.micro_batch(plan.micro_batch).values_read
    notes = list(plan.notes)
    if looked:
        notes.append(
            f"the step reads values of tensors ({looked} times): the plan follows what it does where they "
            "are 0 or true"
        )
    norms = sum(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in module.modules())
    if norms and plan.accumulation > 1:
        notes.append(f"{norms} BatchNorm layers see {plan.micro_batch} rows at a time, not the whole batch")
    return replace(plan, image_size=(0, 0), notes=tuple(notes))


class ModuleTraining:
    """The plain training step of a user's network, as `TracedTraining` asks for it.

    Parameters as of `plan_module`. cast: what autocast computes in; None is off.
    """

    dtype: torch.dtype | None = None
    #: A micro-batch may have any number of rows.
    grouped = False

    def __init__(
        self,
        module: nn.Module,
        example: object,
        loss: Callable[..., Tensor],
        optimizer: MakeOptimizer,
        cast: torch.dtype | None,
    ) -> None:
        self.network: nn.Module = _Step(module, loss)
        self._example, self._optimizer, self._cast = example, optimizer, cast

    def begin(self, network: nn.Module, device: str) -> None:
        """See `TracedTraining`."""
        self._copy, self._device = network, device

    def groups(self, rows: int) -> tuple[int, ...]:
        """Rows that cannot be cut: each by itself."""
        return (1,) * rows

    def structure(self, rows: int) -> Hashable:
        """See `TracedTraining`."""
        return None

    def prepare(self, rows: int) -> object:
        """The batch, with other rows than the example's."""

        def blank(leaf: object) -> object:
            if not isinstance(leaf, Tensor):
                return leaf
            shape = (rows, *leaf.shape[1:]) if leaf.ndim else ()
            made = torch.zeros(shape, dtype=leaf.dtype, device=self._device)
            last = leaf.ndim == 4 and leaf.is_contiguous(memory_format=torch.channels_last)
            return made.contiguous(memory_format=torch.channels_last) if last else made

        return tree_map(blank, self._example)

    def slices(self, rows: int) -> object:
        """See `TracedTraining`."""
        return self.prepare(rows)

    def forward(self, given: object, rows: int) -> Float[Tensor, ""]:
        """See `TracedTraining`."""
        with torch.autocast(self._device, self._cast or torch.bfloat16, enabled=self._cast is not None):
            value = self._copy(given)
        if not isinstance(value, Tensor) or value.numel() != 1:
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise RecipeError(
                "the loss is no scalar", found=f"it returns {shape}", fix="reduce it: loss.mean()"
            )
        return value.reshape(())

    def update(self) -> Callable[[], object]:
        """See `TracedTraining`."""
        own = getattr(self._copy, "module")  # noqa: B009 - the fake copy of the network within `_Step`
        return self._optimizer([each for each in own.parameters() if each.requires_grad]).step

    def evaluate(self) -> None:
        """Nothing: a plan is of the training alone."""


class _Step(nn.Module):
    """A network and its loss, which may have tensors of its own, as weights of classes."""

    def __init__(self, module: nn.Module, loss: Callable[..., Tensor]) -> None:
        super().__init__()
        self.module, self.loss = module, loss

    def forward(self, batch: Any) -> Any:
        pair = isinstance(batch, tuple | list) and len(batch) == 2
        inputs, targets = batch if pair else (batch, batch)
        if isinstance(inputs, Mapping):
            out = self.module(**inputs)
        elif isinstance(inputs, tuple | list):
            out = self.module(*inputs)
        else:
            out = self.module(inputs)
        return self.loss(out, targets)


def _rows(batch: object) -> int:
    """The rows of a batch, which all of its tensors have."""
    tensors = [leaf for leaf in tree_leaves(batch) if isinstance(leaf, Tensor) and leaf.ndim]
    counts = sorted({len(leaf) for leaf in tensors})
    if len(counts) != 1 or not counts[0]:
        shapes = ", ".join(str(tuple(leaf.shape)) for leaf in tensors)
        raise RecipeError(
            "the tensors of the example batch have no common number of rows",
            found=shapes or "no tensor with rows",
            fix="give what a data loader yields: tensors whose first dimension counts the rows",
        )
    return counts[0]
