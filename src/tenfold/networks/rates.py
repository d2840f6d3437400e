"""Look for a learning rate before a training."""

from __future__ import annotations

from collections.abc import Iterator

from tenfold.engine.batches import Batch, epoch_order, steps_per_epoch, training_batches
from tenfold.engine.device import keep_freed_memory, pick_device, pick_precision
from tenfold.engine.finder import LEAST_STEPS, RateCurve, find_rate
from tenfold.engine.linear import fit_head
from tenfold.engine.statistics import STATISTICS_ROWS, estimate_for
from tenfold.engine.step import begin_training
from tenfold.errors import RecipeError
from tenfold.events import Listener
from tenfold.networks.fit import plan_training
from tenfold.networks.inputs import cache_folder
from tenfold.networks.opened import resolved_recipe
from tenfold.networks.prepare import Notes, prepare_training
from tenfold.recipe import Recipe
from tenfold.runs.options import Machine, Reading
from tenfold.schema import Schema
from tenfold.values import Log

#: Steps that show a smooth curve.
MOST_STEPS = 100


def find_learning_rate(
    schema: Schema,
    recipe: Recipe,
    table: object,
    *,
    steps: int | None = None,
    reading: Reading | None = None,
    machine: Machine | None = None,
    on_progress: Listener | None = None,
    on_note: Log | None = None,
) -> RateCurve:
    """The loss over a growing learning rate, for the training that `fit` would run; nothing is kept.

    steps: optimizer steps, each a whole batch; without a number those of one and a half epochs, at most
        `MOST_STEPS`. Where these would be fewer than `LEAST_STEPS`, the batches are smaller.
    """
    reading, machine = reading or Reading(), machine or Machine()
    if recipe.teacher or recipe.extra:
        raise RecipeError("rates are looked for with labels alone", fix="leave --teacher and --extra out")
    recipe = resolved_recipe(recipe, schema)
    device = pick_device(machine.device)
    precision = pick_precision(recipe.precision, device)
    if device.type == "cpu":
        keep_freed_memory()
    notes = Notes(on_note)
    work = prepare_training(schema, recipe, table, reading, notes)
    recipe = work.recipe
    if steps is None:
        rows = len(work.split.train)
        # With the fit of the head, which is half an epoch, no more than two.
        batch = max(1, min(recipe.batch_size, 3 * rows // (2 * LEAST_STEPS)))
        steps = max(LEAST_STEPS, min(3 * steps_per_epoch(rows, batch) // 2, MOST_STEPS))
        smaller = (
            f", of {batch} rows each, so as to take no more than two epochs"
            if batch < recipe.batch_size
            else ""
        )
        notes.add([f"{steps} optimizer steps{smaller}"])
        recipe = recipe.model_copy(update={"batch_size": batch})
    plan = plan_training(recipe, machine, work, device, precision)
    training = begin_training(
        work.network,
        work.encoding,
        recipe,
        device=device,
        precision=precision,
        micro_batch=plan.micro_batch,
        averaged=False,
        offload=plan.offload,
    )
    if recipe.fit_head:
        # The steps normalise by the statistics of their rows, not by those of the first weights.
        estimate_for(training, work.examples, work.split.train, most=STATISTICS_ROWS)
        fit_head(
            work.network,
            work.examples,
            work.split.train,
            training.preparation,
            seed=recipe.seed,
            cache=cache_folder(reading),
        )

    def batches() -> Iterator[Batch]:
        epoch = 0
        while True:
            order = epoch_order(work.split.train, batch_size=recipe.batch_size, seed=recipe.seed, epoch=epoch)
            yield from training_batches(
                work.examples,
                order,
                recipe,
                training.preparation,
                epoch=epoch,
                first_step=epoch * len(order),
                workers=plan.workers,
                group=training.group,
            )
            epoch += 1

    return find_rate(training, batches(), steps=steps, on_step=on_progress)
