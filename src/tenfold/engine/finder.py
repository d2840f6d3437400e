"""The rate finder: how the loss answers to a learning rate that grows with every optimizer step."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from tenfold.engine.batches import Batch
from tenfold.engine.optim import set_rate
from tenfold.engine.train import Training, train_step
from tenfold.errors import RecipeError, TrainingError
from tenfold.events import Listener, StepEnded

#: Fewer optimizer steps show no curve.
LEAST_STEPS = 10


@dataclass(frozen=True, repr=False)
class RateCurve:
    """rates: the head's rate at each optimizer step.  losses: smoothed loss there.
    steepest: the rate where the loss falls fastest, a good highest rate for one cycle.
    stopped: the rate at which the loss had grown to four times its best, or the last one."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    steepest: float
    stopped: float

    def __repr__(self) -> str:
        return (
            f"RateCurve of {len(self.rates)} steps: the loss falls fastest at {self.steepest:.2g} "
            f"and has grown at {self.stopped:.2g}; try lr={self.steepest:.1g}"
        )

    def _repr_html_(self) -> str:
        from tenfold.reports.charts import rates_chart
        from tenfold.reports.html import Charts, Section, Shown, report_html

        chart = rates_chart(self.rates, self.losses, self.steepest)
        page = report_html("", [Section("", repr(self), (Charts([chart]),))])
        return Shown(repr(self), page, 360)._repr_html_()


def find_rate(
    training: Training,
    batches: Iterable[Batch],
    *,
    steps: int = 100,
    low: float = 1e-6,
    high: float = 1.0,
    on_step: Listener | None = None,
) -> RateCurve:
    """Train for `steps` optimizer steps with a rate that grows from `low` to `high` (Smith 2017,
    arXiv 1506.01186, section 3.3), then put the weights back.

    A step is a whole batch however many micro-batches it takes, so accumulation does not change the curve.
    The loss is the sum over targets, smoothed with decay 0.9 and corrected for its start. A batch without any
    label, and an update that half precision left out, do not become points of the curve.
    Raises RecipeError for fewer steps than show a curve, TrainingError where there is no loss to show.
    """
    if steps < LEAST_STEPS:
        raise RecipeError(f"steps = {steps} show no curve", fix=f"take {LEAST_STEPS} or more")
    kept = {name: value.clone() for name, value in training.network.state_dict().items()}
    top = max(group["peak_lr"] for group in training.optimizer.param_groups)
    rates: list[float] = []
    losses: list[float] = []
    average, best = 0.0, math.inf
    training.network.train()
    for step, batch in zip(range(steps), batches, strict=False):
        rate = low * (high / low) ** (step / max(1, steps - 1))
        set_rate(training.optimizer, rate / top)
        result = train_step(training, batch, step)
        known = [loss for loss in result.losses.values() if not math.isnan(loss)]
        if not all(math.isfinite(loss) for loss in known):
            break
        if not result.updated and not training.scaler.is_enabled():
            break
        if not known or not result.updated:
            continue
        average = 0.9 * average + 0.1 * sum(known)
        smooth = average / (1 - 0.9 ** (len(losses) + 1))
        rates.append(rate)
        losses.append(smooth)
        best = min(best, smooth)
        if on_step is not None:
            on_step(StepEnded(0, 1, "", step + 1, steps, rate, result.losses))
        if step > 10 and smooth > 4 * best:
            break
    training.network.load_state_dict(kept)
    if not rates:
        raise TrainingError(
            f"no step from a rate of {low:g} on had a finite loss",
            fix="see that rows have labels, and for float16 try --precision bfloat16 or float32",
        )
    return RateCurve(tuple(rates), tuple(losses), _steepest(rates, losses), rates[-1])


def _steepest(rates: list[float], losses: list[float]) -> float:
    """Return the rate at the steepest fall of the loss over the logarithm of the rate, before its minimum."""
    lowest = int(np.argmin(losses))
    if lowest < 3:
        return rates[lowest]
    slopes = np.gradient(np.array(losses[: lowest + 1]), np.log(np.array(rates[: lowest + 1])))
    # The first steps' average is of few losses: what they show is noise.
    return rates[int(np.argmin(slopes[2:])) + 2]
