"""Search for weight decay, learning rate or the number of factors: the same seeds and split for every value.

Only the validation rows decide, never a test table. Torch is imported only to tune a network.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Real

from tenfold.errors import RecipeError, did_you_mean
from tenfold.events import Listener, TrialBegan
from tenfold.metrics import score_text
from tenfold.recipe import AnyRecipe
from tenfold.reports.charts import tuning_chart
from tenfold.reports.html import Cell, Charts, Grid, Section
from tenfold.runs.fitting import fit_options
from tenfold.runs.job import Notes
from tenfold.runs.options import Machine, Reading
from tenfold.runs.registry import fitting_recipe
from tenfold.schema import Schema
from tenfold.studies.scored import Asked, Plan, Study, Work, plan_of, run_here, run_on
from tenfold.studies.trials import RunsFolder, Trial, Tuned, seeds_from
from tenfold.values import Log

__all__ = ["parse_values", "tune", "tuning_page"]

#: The user's word -> the recipe's field.
FIELDS = {
    "wd": "weight_decay",
    "weight_decay": "weight_decay",
    "weight-decay": "weight_decay",
    "lr": "lr",
    "factors": "factors",
}


def parse_values(text: str, field: str) -> tuple[float, ...]:
    """``0,0.01,0.1`` or ``1e-4:1``, which is all powers of ten (for factors: of two) between the two."""
    values: list[float] = []
    for part in text.replace(";", ",").split(","):
        low, colon, high = part.strip().partition(":")
        try:
            ends = [float(low), *([float(high)] if colon else [])]
        except ValueError:
            raise RecipeError(
                f"--values {text!r}: {part.strip()!r} is not a number",
                fix="write for example --values 0,0.01,0.1 or --values 1e-4:1",
            ) from None
        if colon:
            base = 2.0 if field == "factors" else 10.0
            if not 0 < ends[0] < ends[1] < math.inf:
                raise RecipeError(f"--values {text!r}: not a rising range above 0", fix="write 1e-4:1")
            steps = math.floor(math.log(ends[1] / ends[0], base) + 1e-9)
            # Rounded by text: 1e-4 x 10 x 10 is exactly 0.01.
            ends = [float(f"{ends[0] * base**step:.12g}") for step in range(steps + 1)]
        values += ends
    return tuple(values)


def tune(
    what: str,
    schema: Schema,
    recipe: AnyRecipe,
    table: object,
    *,
    values: Sequence[float] | None = None,
    repeats: int | None = None,
    runs: str | os.PathLike[str] | None = None,
    on: str | None = None,
    reading: Reading | None = None,
    table_options: Mapping[str, object] | None = None,
    skip_bad: bool | None = None,
    time_format: str | None = None,
    machine: Machine | None = None,
    on_progress: Listener | None = None,
    on_note: Log | None = None,
) -> Tuned:
    """Train once per value and seed on one split, and compare scores on the validation rows.

    what: ``wd``, ``lr`` or ``factors``.  values: those to try; by default powers of ten. The recipe's own
        value is always among them.
    repeats: seeds per value, from the recipe's on; the split stays that of the first. By default 3 for factor
        models, 1 for networks.
    runs: keep the networks' trainings in this folder, and skip those that have finished there.
    on: train on a Ray cluster: see `ensembles.places.tasks_on`.
    Other parameters as of `fit`.
    Ratings without a given method are fitted by ``sgd``: the default has neither weight decay nor rate.
    Raises RecipeError if there is nothing to tune, or no rows are held out.
    """
    started = time.monotonic()
    if what not in FIELDS:
        raise RecipeError(f"{what!r} cannot be tuned", fix=did_you_mean(what, ("wd", "lr", "factors")))
    if repeats is not None and repeats < 1:
        raise RecipeError(f"repeats = {repeats}", fix="give 1 or more")
    name, notes = FIELDS[what], Notes(on_note)
    options = fit_options(
        reading, machine, table_options=table_options, skip_bad=skip_bad, time_format=time_format
    )
    recipe = fitting_recipe(schema, recipe)
    study = Study([name], schema, table, RunsFolder(runs), replace(options, on_progress=on_progress), notes)
    if study.folder.is_kept and recipe.of_ratings == "factors":
        raise RecipeError(
            "--runs keeps trainings of networks, and fits of ratings are not kept", fix="leave it out"
        )
    plan = plan_of(study, recipe)
    chosen = _values(name, plan, values)
    trials: dict[tuple[int, float], Trial] = {}
    # Seed by seed: the first scores of all values come early.
    asked = [(seed, value) for seed in seeds_from(recipe, repeats or plan.repeats) for value in chosen]

    def work(seed: int, value: float) -> Work:
        if on_progress is not None:
            on_progress(TrialBegan(len(trials), len(asked)))
        trial = trials[seed, value] = yield Asked({name: value}, seed)
        result = trial.failed or f"{plan.score} {score_text(trial.score)}"
        notes.add([f"{name} {value:g}, seed {seed}: {result}"])

    with study.folder:
        works = [work(seed, value) for seed, value in asked]
        run_here(plan, works) if on is None else run_on(on, study, recipe, works)
    tuned = Tuned(
        name,
        plan.score,
        plan.higher,
        plan.own[name],
        tuple(trials[each] for each in asked),
        *plan.rows(),
        round(time.monotonic() - started, 3),
        tuple(notes.lines),
        plan.beside,
        {value: plan.recipe({name: value}, recipe.seed) for value in chosen},
    )
    tuned.best  # noqa: B018 - raises if nothing could be trained
    return tuned


def _values(name: str, plan: Plan, given: Sequence[float] | None) -> list[float]:
    own = plan.own[name]
    if given is not None and not all(isinstance(value, Real) for value in given):
        raise RecipeError(f"values of {name} are numbers", found=str(list(given)), fix="give such")
    wanted = [*(plan.grids[name] if given is None else given), *([] if own is None else [own])]
    if name == "factors" and any(value != int(value) for value in wanted):
        raise RecipeError("factors are whole numbers", found=", ".join(map(str, wanted)), fix="give such")
    values: list[float] = sorted({int(value) if name == "factors" else float(value) for value in wanted})
    for value in values:
        plan.check({name: value})  # before anything is trained
    if len(values) < 2:
        raise RecipeError(f"one {name} leaves nothing to compare", fix="give --values A,B,C")
    return values


# --- the page --------------------------------------------------------------------------------------


def _text(value: float) -> str:
    return score_text(value) if math.isfinite(value) else ""


def tuning_page(tuned: Tuned) -> tuple[str, list[Section]]:
    """Title and sections of the page: conclusions, the curve, and every value with its scores."""
    word = tuned.field.replace("_", " ")
    better = "higher" if tuned.higher_is_better else "lower"
    chart = tuning_chart(
        [setting.value for setting in tuned.settings],
        [[trial.score for trial in setting.trials] for setting in tuned.settings],
        best=tuned.best,
        recipe_value=tuned.recipe_value,
        labels=(word, f"{tuned.score} on the validation rows ({better} is better)"),
    )
    rows = [
        [
            f"{s.value:g}" + (" (the recipe's)" if s.value == tuned.recipe_value else ""),
            Cell(_text(s.mean), strong=s.value == tuned.best),
            Cell(_text(s.deviation)),
            Cell(_text(s.behind)),
            Cell("yes" if s.near else ""),
            Cell("" if len(s.trials) < 2 or s.value == tuned.best else "no" if s.even else "yes"),
        ]
        for s in tuned.settings
    ]
    headings = [word, tuned.score, "between seeds", "behind the best", "within 1 %", "told apart"]
    seeds = ", ".join(map(str, tuned.seeds))
    lead = f"{tuned.train_rows} rows trained, {tuned.valid_rows} decided; seeds {seeds}; one split for all."
    text = " ".join(f"{line[0].upper()}{line[1:]}." for line in tuned.conclusions())
    return f"Tuning {word}", [
        Section("What the validation rows say", text, [Charts([chart])]),
        Section("Every value", lead, [Grid(headings, rows)]),
    ]
