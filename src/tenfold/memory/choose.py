"""The fastest of the plans that fit: how a batch is cut, and which activations are computed again.

The answer of a training is the same for all of them; what they differ in is memory and time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

from tenfold.errors import MemoryBudgetError, RecipeError, TenfoldError
from tenfold.memory.cards import show_bytes
from tenfold.memory.plan import Choice, Plan, PlanRequest, Plans, plan_memory
from tenfold.memory.training import Trainable
from tenfold.values import savings

#: Part of a step's seconds that another cut must save before it is taken instead of the largest micro-batch:
#: less is within the error of what is predicted.
LEAST_GAIN = 0.02


@dataclass(frozen=True)
class Refusal:
    """Why there is no plan for an architecture, in one line."""

    arch: str
    reason: str

    def record(self) -> dict[str, object]:
        """The refusal as it is printed with ``--json``."""
        return {"arch": self.arch, "reason": self.reason, "fits": False}


def plan_fastest(network: Trainable, request: PlanRequest) -> Plan:
    """The plan with the least predicted seconds of a step, of those that fit; the largest micro-batch where
    no other saves a fiftieth, where a micro-batch is asked for, and where the device's rates are not known.

    Its `choices` are all that were looked at. Raises as `plan_memory`.
    """
    plans = Plans(network)
    return plans.kept(request, "fastest", lambda: _fastest_of(plans, request))


def _fastest_of(plans: Plans, request: PlanRequest) -> Plan:
    plan = plans.plan(request)
    if request.micro_batch is not None or not plan.choices:
        return plan
    choices = list(plan.choices)
    own = plan.choices[0]
    if not request.checkpoint and not plan.fits_whole:
        again: Sequence[Choice] = ()
        if request.device == "cuda" or not plan.fits:
            # A processor that has to start every kernel may be faster with fewer passes of more arithmetic.
            try:
                again = plans.plan(replace(request, checkpoint=True)).choices
            except RecipeError:
                pass  # this backbone has no blocks to recompute
        least = _fastest(again) or _fastest(choices)
        some = _some_blocks(plans, request, plan, least.seconds if least else inf)
        choices += [*again, *(some.choices if some else ())]
    choices += _offloaded(plans, request, plan, _fastest(choices))
    fastest = _fastest(choices)
    if plan.fits and fastest is not None and fastest.seconds < own.seconds * (1 - LEAST_GAIN):
        note = f"{fastest.words}: {fastest.seconds:.3g} s a step are predicted, "
        note += f"{own.seconds:.3g} s with {own.words}"
        found = plans.plan(_as_chosen(request, fastest))
        plan = replace(found, largest_batch=plan.largest_batch, notes=(*found.notes, note))
    return replace(plan, choices=tuple(sorted(choices, key=lambda each: (not each.fits, each.seconds))))


def _some_blocks(plans: Plans, request: PlanRequest, plan: Plan, seconds: float) -> Plan | None:
    """The plan with some blocks recomputed that takes the least, if that is less than these seconds.

    plan: the one without. What a block keeps is known from its trace; the plan that comes of it is traced.
    """
    rates = request.rates
    if rates is None:
        return None
    planner = plans.planner(request)
    cuts = planner.larger(plan.micro_batch) + ([] if plan.fits else [plan.micro_batch])
    looked = [(found, micro) for micro in cuts if (found := planner.recomputed(micro, rates)) is not None]
    for (predicted, blocks), micro in sorted(looked):
        if predicted >= seconds:
            break
        how = replace(request, micro_batch=micro, checkpoint=True, blocks=blocks)
        some = plans.plan(how)
        if some.fits and some.seconds < seconds:
            return some
    return None


def _offloaded(plans: Plans, request: PlanRequest, plan: Plan, fastest: Choice | None) -> Sequence[Choice]:
    """Cuts with the optimizer's state in the host's memory, where these may be faster than what fits, or
    nothing fits. plan: the one without.  fastest: of what was looked at."""
    rates = request.rates
    if rates is None or not rates.bus or request.offload or plan.fits_whole:
        return ()
    if fastest is not None and plans.planner(request).offloaded(rates) >= fastest.seconds:
        return ()
    ways = [replace(request, offload=True)]
    if fastest is None and not request.checkpoint:
        ways.append(replace(ways[0], checkpoint=True))
    found = list[Choice]()
    for way in ways:
        try:
            found += plans.plan(way).choices
        except RecipeError:
            pass  # this backbone has no blocks to recompute
        if _fastest(found):
            break
    return found


def _as_chosen(request: PlanRequest, choice: Choice) -> PlanRequest:
    how = choice.micro_batch, choice.checkpoint, choice.blocks, choice.offload
    return replace(request, micro_batch=how[0], checkpoint=how[1], blocks=how[2], offload=how[3])


def _fastest(choices: Sequence[Choice]) -> Choice | None:
    return min((each for each in choices if each.fits), key=lambda each: each.seconds, default=None)


def plan_each(archs: Sequence[str], request: PlanRequest) -> list[Plan | Refusal]:
    """`plan_fastest` of several architectures; a refused one does not stop the others."""
    plans: list[Plan | Refusal] = []
    for arch in archs:
        try:
            plans.append(plan_fastest(arch, request))
        except TenfoldError as error:
            plans.append(Refusal(arch, error.headline))
    return plans


def _ways_to_save(request: PlanRequest) -> list[PlanRequest]:
    """What saves more and more memory beyond a request, and how."""
    ways = [request]
    if not request.checkpoint:
        ways.append(replace(request, checkpoint=True, blocks=()))
    if not request.offload and request.device == "cuda":
        ways += [replace(way, offload=True) for way in ways]
    return ways[1:]


def _saving(plan: Plan) -> Plan:
    """The plan with a note that says what it does to fit."""
    saved = " and ".join(savings(plan.checkpoint, plan.blocks, plan.offload))
    return replace(plan, notes=(*plan.notes, f"{saved}: otherwise not one micro-batch fits"))


def plan_to_fit(network: Trainable, request: PlanRequest) -> Plan:
    """A plan that fits: as `plan_fastest`, with activations recomputed, the optimizer's state in the host's
    memory, or both, where it does not fit otherwise.

    Raises MemoryBudgetError with the parts of the smallest possible micro-batch, and what would help.
    """
    plan = plan_fastest(network, request)
    if plan.fits or request.micro_batch is not None:
        return plan
    if (choice := _fastest(plan.choices)) is not None:
        return _saving(replace(plan_memory(network, _as_chosen(request, choice)), choices=plan.choices))
    remedies = []
    for way in _ways_to_save(request):
        try:
            saving = plan_memory(network, way)
        except RecipeError:
            continue  # this backbone has no blocks to recompute
        if saving.fits:
            return _saving(saving)
        how = " and ".join(f"{name}=true" for name in ("checkpoint", "offload") if getattr(way, name))
        remedies = [f"even with {how} it needs {show_bytes(saving.band_bytes[1])}"]
    rows = "one row" if plan.micro_batch == 1 else f"a micro-batch of {plan.micro_batch} rows"
    height, width = plan.image_size
    raise MemoryBudgetError(
        f"{rows} of {plan.arch or 'the network'} at {height}x{width} needs "
        f"{show_bytes(plan.band_bytes[1])}; budget {show_bytes(plan.budget_bytes)}.",
        parts="  ".join(f"{name} {show_bytes(size)}" for name, size in plan.parts.items() if size),
        fix=", ".join(
            [*remedies, "a smaller image_size", f"or a budget of {show_bytes(plan.band_bytes[1] * 1.01)}"]
        ),
    )
