"""Search for weight decay, learning rate or the number of factors: the same seeds and split for every value.

What is chosen is chosen on the validation rows alone: no test table is ever looked at. Serves both wings, and
loads that of the networks only when it is one that is tuned.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

from tenfold.collab.evaluate import evaluate
from tenfold.collab.predict import FactorScorer
from tenfold.errors import RecipeError, TrainingError, did_you_mean
from tenfold.events import Listener
from tenfold.metrics import score_text
from tenfold.recipe import AnyRecipe, FactorRecipe, RatingNetworkRecipe, Recipe, with_defaults_for
from tenfold.recommenders.methods import METHODS, fit_model
from tenfold.recommenders.prepare import prepare_ratings
from tenfold.reports.charts import tuning_chart
from tenfold.reports.html import Cell, Charts, Grid, Section
from tenfold.runs.fitting import fit_options, run_fit
from tenfold.runs.job import Notes
from tenfold.runs.options import FitOptions, Machine, Reading
from tenfold.runs.registry import fitting_recipe, job_for
from tenfold.schema import Schema
from tenfold.studies.trials import RunPlace, Trial, Tuned, seeds_from, without_epochs
from tenfold.targets.kinds import KINDS
from tenfold.targets.words import HIGHER_IS_BETTER
from tenfold.values import Log

__all__ = ["parse_values", "tune", "tuning_page"]

#: What is typed -> the recipe's field.
FIELDS = {
    "wd": "weight_decay",
    "weight_decay": "weight_decay",
    "weight-decay": "weight_decay",
    "lr": "lr",
    "factors": "factors",
}
#: Values to try where none are given: powers of ten (of the rate, half powers; of factors, powers of two).
GRIDS: Mapping[tuple[str, str], tuple[float, ...]] = {
    ("network", "weight_decay"): (0, 1e-4, 1e-3, 1e-2, 1e-1, 1),
    ("network", "lr"): (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
    ("pairs", "weight_decay"): (0, 1e-2, 1e-1, 1, 10),
    ("pairs", "lr"): (3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
}
#: Of ratings, what is held out where the recipe holds out nothing.
HELD_OUT = 0.1


def parse_values(text: str, field: str) -> tuple[float, ...]:
    """``0,0.01,0.1`` or ``1e-4:1``, which is all powers of ten (of factors: of two) between the two."""
    found: list[float] = []
    for part in text.replace(";", ",").split(","):
        low, colon, high = part.strip().partition(":")
        try:
            ends = [float(low), *([float(high)] if colon else [])]
        except ValueError:
            raise RecipeError(
                f"--values {text!r}: {part.strip()!r} is no number",
                fix="write for example --values 0,0.01,0.1 or --values 1e-4:1",
            ) from None
        if colon:
            base = 2.0 if field == "factors" else 10.0
            if not 0 < ends[0] < ends[1] < math.inf:
                raise RecipeError(f"--values {text!r}: no range from above 0 upwards", fix="write 1e-4:1")
            steps = math.floor(math.log(ends[1] / ends[0], base) + 1e-9)
            # Through text, so that 1e-4 x 10 x 10 is 0.01 to the last bit.
            ends = [float(f"{ends[0] * base**step:.12g}") for step in range(steps + 1)]
        found += ends
    return tuple(found)


def tune(
    what: str,
    schema: Schema,
    recipe: AnyRecipe,
    table: Any,
    *,
    values: Sequence[float] | None = None,
    repeats: int | None = None,
    runs: str | os.PathLike[str] | None = None,
    reading: Reading | None = None,
    table_options: Mapping[str, Any] | None = None,
    skip_bad: bool | None = None,
    time_format: str | None = None,
    machine: Machine | None = None,
    on_progress: Listener | None = None,
    on_note: Log | None = None,
) -> Tuned:
    """Train once per value and seed on one split, and compare what the validation rows say.

    what: ``wd``, ``lr`` or ``factors``.  values: those to try; powers of ten where not given. The recipe's
    own value is always among them.
    repeats: seeds per value, counted up from the recipe's; the split stays that of the first. 3 where not
        given for ratings, 1 for networks.
    runs: keep the networks' trainings in this folder, and go on with those that have finished there.
    Other parameters as of `fit`.
    Ratings whose method is not said are fitted by ``sgd``, since the default has neither decay nor rate.
    Raises RecipeError for what there is not to tune, and where no rows are held out to choose by.
    """
    started = time.monotonic()
    if what not in FIELDS:
        raise RecipeError(f"{what!r} cannot be tuned", fix=did_you_mean(what, ("wd", "lr", "factors")))
    if repeats is not None and repeats < 1:
        raise RecipeError(f"repeats = {repeats}", fix="give 1 or more")
    name, notes = FIELDS[what], list[str]()

    def note(text: str) -> None:
        notes.append(text)
        if on_note is not None:
            on_note(text)

    options = fit_options(
        reading, machine, table_options=table_options, skip_bad=skip_bad, time_format=time_format
    )
    recipe = fitting_recipe(schema, recipe)
    work = _Work(name, schema, table, note, replace(options, on_progress=on_progress), runs)
    plan = _PLANS[type(recipe)](work, recipe)
    chosen = _values(name, plan, values)
    seeds = seeds_from(recipe, repeats or plan.repeats)
    trials = []
    with plan.place:
        # A seed after the other, so that a first picture of all values is there early.
        for seed in seeds:
            for value in chosen:
                trials.append(_trial(plan, value, seed))
                last = trials[-1]
                said = last.failed or f"{plan.score} {score_text(last.score)}"
                note(f"{name} {value:g}, seed {seed}: {said}")
    found = Tuned(
        name,
        plan.score,
        plan.higher,
        plan.own,
        tuple(trials),
        *plan.rows(),
        round(time.monotonic() - started, 3),
        tuple(notes),
        plan.beside,
    )
    found.best  # noqa: B018 - raises where nothing could be trained
    return found


@dataclass
class _Plan:
    """How a value is tried.

    train: (value, seed) -> (score, scores by target).  own: the recipe's value.  place: open while it trains.
    """

    grid: tuple[float, ...]
    own: float | None
    score: str
    higher: bool
    repeats: int
    check: Callable[[float], Any]
    train: Callable[[float, int], tuple[float, Mapping[str, Any]]]
    rows: Callable[[], tuple[int, int]]
    place: Any = field(default_factory=nullcontext)
    beside: str = ""


def _values(name: str, plan: _Plan, given: Sequence[float] | None) -> list[float]:
    wanted = [*(plan.grid if given is None else given), *([] if plan.own is None else [plan.own])]
    if name == "factors" and any(value != int(value) for value in wanted):
        raise RecipeError("factors are whole numbers", found=", ".join(map(str, wanted)), fix="give such")
    found: list[float] = sorted({int(value) if name == "factors" else float(value) for value in wanted})
    for value in found:
        plan.check(value)  # a value that the recipe refuses is told of before anything is trained
    if len(found) < 2:
        raise RecipeError(f"one {name} leaves nothing to compare", fix="give --values A,B,C")
    return found


def _trial(plan: _Plan, value: float, seed: int) -> Trial:
    started = time.monotonic()
    try:
        score, targets = plan.train(value, seed)
    except TrainingError as error:
        # A rate at which the loss leaves all bounds is an answer, too.
        return Trial(value, seed, math.nan, {}, time.monotonic() - started, error.headline)
    failed = "" if math.isfinite(score) else f"its {plan.score} is not defined on the validation rows"
    return Trial(value, seed, score, targets, time.monotonic() - started, failed)


# --- ratings ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Work:
    """What is tuned, on what. runs: the folder where trainings are kept."""

    name: str
    schema: Schema
    table: object
    note: Log
    options: FitOptions
    runs: str | os.PathLike[str] | None


def _ratings_plan(work: _Work, recipe: FactorRecipe) -> _Plan:
    name, note, options = work.name, work.note, work.options
    if work.runs is not None:
        raise RecipeError(
            "--runs keeps trainings of networks, and fits of ratings are not kept", fix="leave it out"
        )
    if "method" in recipe.model_fields_set:
        _refuse_method(name, recipe.method)
    recipe = _holding_out(recipe, note)

    rated = prepare_ratings(work.schema, recipe, work.table, options, Notes(note))
    recipe, beside = rated.recipe, ""
    if recipe.method == "gibbs" and name != "factors":
        # Nobody asked for the method that has nothing to tune; the lesson's model has.
        recipe, beside = recipe.model_copy(update={"method": "sgd"}), "--method sgd "
        note(f"method sgd, since gibbs, the default, has no {name.replace('_', ' ')} to tune (--method)")
    _refuse_method(name, recipe.method)
    held = rated.held_out()
    if held is None:
        raise RecipeError("no ratings are held out to choose by", fix="give --valid 0.1")
    cells = {} if held.times is None else {"time": held.times}
    events, method = rated.ratings.implicit, METHODS[recipe.method]
    given = getattr(recipe, name)

    def train(value: float, seed: int) -> tuple[float, Mapping[str, Any]]:
        trained = recipe.model_copy(update={name: value, "seed": seed})
        model = fit_model(rated.train, trained, rated.sides, options.on_progress)
        scores = evaluate(FactorScorer(model), held, cells).scores
        score = scores["lists"]["ndcg"] if events else scores["rmse"]
        return score, {rated.schema.targets[0].name or "event": scores}

    return _Plan(
        grid=(method.event_grids if events else method.grids)[name],
        own=method.default(name, recipe, rated.train) if given is None else given,
        score="ndcg" if events else "rmse",
        higher=events,
        repeats=3,
        check=lambda value: FactorRecipe(**dict[str, Any]({name: value})),
        train=train,
        rows=lambda: (len(rated.split.train), len(rated.split.valid)),
        beside=beside,
    )


def _holding_out(recipe: Any, note: Log) -> Any:
    """A recipe of ratings that leaves some to choose by."""
    if recipe.valid or recipe.split == "last" or getattr(recipe, "fold", None):
        return recipe
    note(f"{HELD_OUT:.0%} of the ratings are held out to choose by (--valid)")
    return recipe.model_copy(update={"valid": HELD_OUT})


def _refuse_method(name: str, method: str) -> None:
    if name in METHODS[method].grids:
        return
    if name == "weight_decay":
        raise RecipeError(
            f"method {method} has no weight decay to tune: it draws the strength of its priors in each sweep",
            fix="tune factors, or give --method als or --method sgd",
        )
    raise RecipeError(f"method {method} has no learning rate to tune", fix="give --method sgd")


# --- networks --------------------------------------------------------------------------------------


def _network_plan(work: _Work, recipe: Recipe) -> _Plan:
    name, schema = work.name, work.schema
    from tenfold.engine.monitor import monitored
    from tenfold.nn.network import build_heads

    if name == "factors":
        raise RecipeError("a network has no factors to tune", fix="tune wd or lr, or give --user and --item")
    if recipe.valid == 0 and schema.split is None and recipe.fold is None:
        raise RecipeError("no rows are held out to choose by", fix="give --valid 0.2")
    target, colon, word = recipe.monitor.rpartition(":")
    told = bool(colon) and any(word in kind.score_names for kind in KINDS.values()) and bool(target)
    higher = told and word in HIGHER_IS_BETTER

    def score_of(run: Any) -> float:
        score = monitored(recipe, build_heads(run.encoding, run.schema, run.recipe), run.scores)
        return -score if higher else score

    return _trained_plan(
        work,
        recipe,
        score_of,
        grid=GRIDS["network", name],
        own=getattr(with_defaults_for(recipe, schema), name),
        score=recipe.monitor if told else "loss" if recipe.monitor == "mean" else f"{recipe.monitor}:loss",
        higher=higher,
    )


def _rating_network_plan(work: _Work, recipe: RatingNetworkRecipe) -> _Plan:
    """A network of ratings, which is compared by its error on the ratings held out."""
    name = work.name
    if name == "factors":
        raise RecipeError(
            "a network of ratings has no factors to tune", fix="tune wd or lr, or leave out --body"
        )
    recipe = _holding_out(recipe, work.note)

    def score_of(run: Any) -> float:
        if not run.scores:
            raise RecipeError("no ratings are held out to choose by", fix="give --valid 0.1")
        return run.scores[run.record.target]["rmse"]

    return _trained_plan(
        work,
        recipe,
        score_of,
        grid=GRIDS["pairs", name],
        own=getattr(recipe, name),
        score="rmse",
        higher=False,
    )


def _trained_plan(
    work: _Work,
    recipe: Recipe | RatingNetworkRecipe,
    score_of: Callable[[Any], float],
    *,
    grid: tuple[float, ...],
    own: float,
    score: str,
    higher: bool,
) -> _Plan:
    """Trainings of networks that differ in one setting and in the seed.

    score_of: what decides of a run, less being better.  The other parameters are those of `_Plan`.
    """
    # What is not said stays so: it may follow from the table, in every training.
    said = recipe.model_dump(exclude_unset=True)
    # Other seeds train differently on the same rows, so that what they differ by is not the split's doing.
    settled = {"split_seed": recipe.seed if recipe.split_seed is None else recipe.split_seed}
    name, place = work.name, RunPlace(work.runs)
    options = replace(work.options, on_progress=without_epochs(work.options.on_progress))
    seen: dict[str, int] = {}

    def train(value: float, seed: int) -> tuple[float, Mapping[str, Any]]:
        with place.told():
            chosen = type(recipe)(**{**said, **settled, name: value, "seed": seed})
            run = run_fit(
                job_for(work.schema, chosen, work.table, options),
                place.folder / f"{name}-{value:g}-seed-{seed}",
                resume=work.runs is not None,
                # What was decided of the rows is the same each time, and is told once.
                log=None if seen else work.note,
            )
        seen.update(train=run.record.train_rows, valid=run.record.valid_rows)
        return score_of(run), run.scores

    return _Plan(
        repeats=1,
        check=lambda value: type(recipe)(**{**said, name: value}),
        train=train,
        rows=lambda: (seen.get("train", 0), seen.get("valid", 0)),
        place=place,
        grid=grid,
        own=own,
        score=score,
        higher=higher,
    )


#: Class of a recipe -> how its settings are tuned.
_PLANS: Mapping[type[AnyRecipe], Callable[[_Work, Any], _Plan]] = {
    Recipe: _network_plan,
    FactorRecipe: _ratings_plan,
    RatingNetworkRecipe: _rating_network_plan,
}


# --- what is shown ---------------------------------------------------------------------------------


def _figure(value: float) -> str:
    return score_text(value) if math.isfinite(value) else ""


def tuning_page(found: Tuned) -> tuple[str, list[Section]]:
    """Title and sections of the page: the verdict, the curve, and every value with its scores."""
    word = found.field.replace("_", " ")
    better = "higher" if found.higher_is_better else "lower"
    chart = tuning_chart(
        [one.value for one in found.settings],
        [[trial.score for trial in one.trials] for one in found.settings],
        best=found.best,
        recipe_value=found.recipe_value,
        labels=(word, f"{found.score} on the validation rows ({better} is better)"),
    )
    rows = [
        [
            f"{one.value:g}" + (" (the recipe's)" if one.value == found.recipe_value else ""),
            Cell(_figure(one.mean), strong=one.value == found.best),
            Cell(_figure(one.deviation)),
            Cell(_figure(one.behind)),
            Cell("yes" if one.near else ""),
            Cell("" if len(one.trials) < 2 or one.value == found.best else "no" if one.even else "yes"),
        ]
        for one in found.settings
    ]
    headings = [word, found.score, "between seeds", "behind the best", "within 1 %", "told apart"]
    seeds = ", ".join(map(str, found.seeds))
    lead = f"{found.train_rows} rows trained, {found.valid_rows} decided; seeds {seeds}; one split for all."
    said = " ".join(f"{line[0].upper()}{line[1:]}." for line in found.verdict())
    return f"Tuning {word}", [
        Section("What the validation rows say", said, [Charts([chart])]),
        Section("Every value", lead, [Grid(headings, rows)]),
    ]
