"""Search for weight decay, learning rate or the number of factors: the same seeds and split for every value.

Only the validation rows decide, never a test table. Torch is imported only to tune a network.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

from tenfold.collab.evaluate import evaluate_held_out
from tenfold.errors import RecipeError, TrainingError, did_you_mean
from tenfold.events import Listener, TrialBegan
from tenfold.metrics import score_text
from tenfold.networks.opened import resolved_recipe
from tenfold.recipe import AnyRecipe, FactorRecipe, RatingNetworkRecipe, Recipe
from tenfold.recommenders.methods import METHODS, fit_scorer
from tenfold.recommenders.prepare import prepare_ratings
from tenfold.reports.charts import tuning_chart
from tenfold.reports.html import Cell, Charts, Grid, Section
from tenfold.runs.fitting import fit_options, run_fit
from tenfold.runs.job import Notes
from tenfold.runs.options import FitOptions, Machine, Reading
from tenfold.runs.registry import fitting_recipe, job_for
from tenfold.runs.run import Run
from tenfold.schema import Schema
from tenfold.studies.trials import RunsFolder, Trial, Tuned, seeds_from, without_epochs
from tenfold.targets.kinds import KINDS
from tenfold.targets.words import HIGHER_IS_BETTER
from tenfold.values import Log, TargetScores, read_score

if TYPE_CHECKING:
    from tenfold.networks.run import NetworkRun

__all__ = ["parse_values", "tune", "tuning_page"]

#: The user's word -> the recipe's field.
FIELDS = {
    "wd": "weight_decay",
    "weight_decay": "weight_decay",
    "weight-decay": "weight_decay",
    "lr": "lr",
    "factors": "factors",
}
#: Values to try by default: powers of ten, half powers for the rate, powers of two for factors.
GRIDS: Mapping[tuple[str, str], tuple[float, ...]] = {
    ("network", "weight_decay"): (0, 1e-4, 1e-3, 1e-2, 1e-1, 1),
    ("network", "lr"): (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
    ("pairs", "weight_decay"): (0, 1e-2, 1e-1, 1, 10),
    ("pairs", "lr"): (3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
}
#: Fraction of the ratings to hold out if the recipe holds out none.
HELD_OUT = 0.1


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
    search = _Search(name, schema, table, RunsFolder(runs), replace(options, on_progress=on_progress), notes)
    plan = _PLANS[type(recipe)](search, recipe)
    chosen = _values(name, plan, values)
    trials = []
    with search.folder:
        # Seed by seed: the first scores of all values come early.
        seeds = seeds_from(recipe, repeats or plan.repeats)
        for seed in seeds:
            for value in chosen:
                if on_progress is not None:
                    on_progress(TrialBegan(len(trials), len(seeds) * len(chosen)))
                trial = _trial(plan, value, seed)
                trials.append(trial)
                result = trial.failed or f"{plan.score} {score_text(trial.score)}"
                notes.add([f"{name} {value:g}, seed {seed}: {result}"])
    tuned = Tuned(
        name,
        plan.score,
        plan.higher,
        plan.own,
        tuple(trials),
        *plan.rows(),
        round(time.monotonic() - started, 3),
        tuple(notes.lines),
        plan.beside,
    )
    tuned.best  # noqa: B018 - raises if nothing could be trained
    return tuned


@dataclass
class _Search:
    """What all trials share. name: the recipe's field."""

    name: str
    schema: Schema
    table: object
    folder: RunsFolder
    options: FitOptions
    notes: Notes


@dataclass
class _Plan:
    """How a kind of recipe is tuned.

    check: raises RecipeError for a value that the recipe refuses.  train: (value, seed) -> (score, scores by
    target).  own: the recipe's value.  rows: of training and validation, after the first trial.
    """

    grid: tuple[float, ...]
    own: float | None
    score: str
    higher: bool
    repeats: int
    check: Callable[[float], object]
    train: Callable[[float, int], tuple[float, TargetScores]]
    rows: Callable[[], tuple[int, int]]
    beside: str = ""


def _values(name: str, plan: _Plan, given: Sequence[float] | None) -> list[float]:
    wanted = [*(plan.grid if given is None else given), *([] if plan.own is None else [plan.own])]
    if name == "factors" and any(value != int(value) for value in wanted):
        raise RecipeError("factors are whole numbers", found=", ".join(map(str, wanted)), fix="give such")
    values: list[float] = sorted({int(value) if name == "factors" else float(value) for value in wanted})
    for value in values:
        plan.check(value)  # before anything is trained
    if len(values) < 2:
        raise RecipeError(f"one {name} leaves nothing to compare", fix="give --values A,B,C")
    return values


def _trial(plan: _Plan, value: float, seed: int) -> Trial:
    started = time.monotonic()
    try:
        score, targets = plan.train(value, seed)
    except TrainingError as error:
        # A rate at which the loss diverges is a result, too.
        return Trial(value, seed, math.nan, {}, time.monotonic() - started, error.headline)
    failed = "" if math.isfinite(score) else f"its {plan.score} is not defined on the validation rows"
    return Trial(value, seed, score, targets, time.monotonic() - started, failed)


# --- factor models ---------------------------------------------------------------------------------


def _factors_plan(search: _Search, recipe: FactorRecipe) -> _Plan:
    name, options = search.name, search.options
    if search.folder.is_kept:
        raise RecipeError(
            "--runs keeps trainings of networks, and fits of ratings are not kept", fix="leave it out"
        )
    given = "method" in recipe.model_fields_set
    if given:
        _refuse_method(name, recipe.method)
    recipe = _holding_out(recipe, search.notes)
    work = prepare_ratings(search.schema, recipe, search.table, options, search.notes)
    recipe, beside = work.recipe, ""
    if recipe.method == "gibbs" and name != "factors":
        # The default method has nothing to tune.
        recipe, beside = recipe.model_copy(update={"method": "sgd"}), "--method sgd "
        search.notes.add(
            [f"method sgd, since gibbs, the default, has no {name.replace('_', ' ')} to tune (--method)"]
        )
    if recipe.method == "ease" and name == "factors" and not given:
        recipe, beside = recipe.model_copy(update={"method": "als"}), "--method als "
        search.notes.add(["method als, since ease, the default of events, has no factors to tune (--method)"])
    _refuse_method(name, recipe.method)
    held = work.held_out()
    if held is None:
        raise RecipeError("no ratings are held out to choose by", fix="give --valid 0.1")
    events, method = work.ratings.implicit, METHODS[recipe.method]
    own = getattr(recipe, name)

    def train(value: float, seed: int) -> tuple[float, TargetScores]:
        changed = recipe.model_copy(update={name: value, "seed": seed})
        scorer = fit_scorer(work.train, changed, work.sides, options.on_progress)
        evaluation = evaluate_held_out(scorer, held, work.how)
        return evaluation.primary, {work.schema.targets[0].name or "event": evaluation.scores}

    return _Plan(
        grid=(method.event_grids if events else method.grids)[name],
        own=method.default(name, recipe, work.train) if own is None else own,
        score="ndcg" if events else "rmse",
        higher=events,
        repeats=3,
        check=lambda value: FactorRecipe.model_validate({name: value}),
        train=train,
        rows=lambda: (len(work.split.train), len(work.split.valid)),
        beside=beside,
    )


OfRatings = TypeVar("OfRatings", FactorRecipe, RatingNetworkRecipe)


def _holding_out(recipe: OfRatings, notes: Notes) -> OfRatings:
    """The recipe, with ratings held out to choose by."""
    if recipe.valid or recipe.split == "last" or recipe.fold:
        return recipe
    notes.add([f"{HELD_OUT:.0%} of the ratings are held out to choose by (--valid)"])
    return recipe.model_copy(update={"valid": HELD_OUT})


def _refuse_method(name: str, method: str) -> None:
    if name in METHODS[method].grids or name in METHODS[method].event_grids:
        return
    if name == "factors":
        raise RecipeError(f"method {method} has no factors to tune", fix="tune wd, or give --method als")
    if name == "weight_decay":
        raise RecipeError(
            f"method {method} has no weight decay to tune: it draws the strength of its priors in each sweep",
            fix="tune factors, or give --method als or --method sgd",
        )
    raise RecipeError(f"method {method} has no learning rate to tune", fix="give --method sgd")


# --- networks --------------------------------------------------------------------------------------


def _network_plan(search: _Search, recipe: Recipe) -> _Plan:
    from tenfold.engine.monitor import monitored
    from tenfold.nn.network import build_heads

    if search.name == "factors":
        raise RecipeError("a network has no factors to tune", fix="tune wd or lr, or give --user and --item")
    if recipe.valid == 0 and search.schema.split is None and recipe.fold is None:
        raise RecipeError("no rows are held out to choose by", fix="give --valid 0.2")
    target, colon, score = recipe.monitor.rpartition(":")
    is_score = bool(colon) and any(score in kind.score_names for kind in KINDS.values()) and bool(target)
    higher = is_score and score in HIGHER_IS_BETTER

    def score_of(run: Run) -> float:
        network = cast("NetworkRun", run)
        heads = build_heads(network.encoding, network.schema, network.recipe)
        value = monitored(recipe, heads, run.scores)
        return -value if higher else value

    watched = recipe.monitor if is_score else "loss" if recipe.monitor == "mean" else f"{recipe.monitor}:loss"
    own = getattr(resolved_recipe(recipe, search.schema), search.name)
    return _trained_plan(search, recipe, score_of, "network", own, watched, higher)


def _rating_network_plan(search: _Search, recipe: RatingNetworkRecipe) -> _Plan:
    if search.name == "factors":
        raise RecipeError(
            "a network of ratings has no factors to tune", fix="tune wd or lr, or leave out --body"
        )
    recipe = _holding_out(recipe, search.notes)

    def score_of(run: Run) -> float:
        if not run.scores:
            raise RecipeError("no ratings are held out to choose by", fix="give --valid 0.1")
        return read_score(run.scores[run.record.target], "rmse")

    return _trained_plan(search, recipe, score_of, "pairs", getattr(recipe, search.name), "rmse", False)


def _trained_plan(
    search: _Search,
    recipe: Recipe | RatingNetworkRecipe,
    score_of: Callable[[Run], float],
    kind: str,
    own: float | None,
    score: str,
    higher: bool,
) -> _Plan:
    """Trainings of networks. score_of: the score of a run."""
    # Unset fields stay unset: their defaults may follow from the table, in every training.
    fields = recipe.model_dump(exclude_unset=True)
    # All seeds train on the same rows: the split does not add to their spread.
    split = {"split_seed": recipe.seed if recipe.split_seed is None else recipe.split_seed}
    name, rows = search.name, [0, 0]
    options = replace(search.options, on_progress=without_epochs(search.options.on_progress))

    def train(value: float, seed: int) -> tuple[float, TargetScores]:
        with search.folder.advised():
            chosen = type(recipe).model_validate({**fields, **split, name: value, "seed": seed})
            run = run_fit(
                job_for(search.schema, chosen, search.table, options),
                search.folder.path / f"{name}-{value:g}-seed-{seed}",
                resume=search.folder.is_kept,
                # Messages on the rows are the same for every training.
                log=None if any(rows) else lambda line: search.notes.add([line]),
            )
        rows[:] = run.record.train_rows, run.record.valid_rows
        return score_of(run), run.scores

    return _Plan(
        grid=GRIDS[kind, name],
        own=own,
        score=score,
        higher=higher,
        repeats=1,
        check=lambda value: type(recipe).model_validate({**fields, name: value}),
        train=train,
        rows=lambda: (rows[0], rows[1]),
    )


#: Class of a recipe -> how its settings are tuned.
_PLANS: Mapping[type[AnyRecipe], Callable[[_Search, Any], _Plan]] = {
    Recipe: _network_plan,
    FactorRecipe: _factors_plan,
    RatingNetworkRecipe: _rating_network_plan,
}


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
