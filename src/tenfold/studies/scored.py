"""A recipe with some choices changed: trained, and scored on the validation rows, which alone decide.

Torch is imported only for networks.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from tenfold.collab.evaluate import evaluate_held_out
from tenfold.ensembles.places import Ended, tasks_on
from tenfold.ensembles.requests import ScoreAnswer, ScoreRequest
from tenfold.errors import RecipeError, TrainingError
from tenfold.events import EpochEnded, Event, Listener, NoteAdded
from tenfold.networks.opened import resolved_recipe
from tenfold.recipe import AnyRecipe, FactorRecipe, RatingNetworkRecipe, Recipe
from tenfold.recommenders.methods import METHODS, fit_scorer
from tenfold.recommenders.prepare import prepare_ratings
from tenfold.runs.fitting import run_fit
from tenfold.runs.job import Notes
from tenfold.runs.options import FitOptions
from tenfold.runs.record import none_to_nan
from tenfold.runs.registry import job_for
from tenfold.runs.run import Run
from tenfold.schema import Schema
from tenfold.studies.remote import needs_of, table_path
from tenfold.studies.trials import RunsFolder, Trial, without_epochs
from tenfold.targets.kinds import KINDS
from tenfold.targets.words import HIGHER_IS_BETTER
from tenfold.values import TargetScores, read_score

if TYPE_CHECKING:
    from tenfold.networks.run import NetworkRun

__all__ = [
    "PRUNED",
    "Asked",
    "Plan",
    "Pruned",
    "Study",
    "Work",
    "answer_score",
    "plan_of",
    "run_here",
    "run_on",
    "train_trial",
]

#: Values to try by default: powers of ten, half powers for the rate, powers of two for factors.
GRIDS: Mapping[tuple[str, str], tuple[float, ...]] = {
    ("network", "weight_decay"): (0, 1e-4, 1e-3, 1e-2, 1e-1, 1),
    ("network", "lr"): (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
    ("pairs", "weight_decay"): (0, 1e-2, 1e-1, 1, 10),
    ("pairs", "lr"): (3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
}
#: Fraction of the ratings to hold out if the recipe holds out none.
HELD_OUT = 0.1

Changes = Mapping[str, object]
#: The score that decides, and all scores by target.
Scored = tuple[float, TargetScores]


#: Why a training that was not worth its end has no score.
PRUNED = "pruned"


class Pruned(Exception):
    """A listener raises it to stop a training whose scores are not worth its end."""


@dataclass(frozen=True)
class Asked:
    """A training to score: fields of the recipe with their values, and the seed."""

    changes: Changes
    seed: int

    @property
    def value(self) -> float:
        """The value of the only setting that is a number; NaN where there is none."""
        values = list(self.changes.values())
        return values[0] if len(values) == 1 and isinstance(values[0], int | float) else math.nan


@dataclass
class Study:
    """What all trainings share. names: the fields that change.

    rows: of training and validation, of networks known after the first training.
    """

    names: Sequence[str]
    schema: Schema
    table: object
    folder: RunsFolder
    options: FitOptions
    notes: Notes
    rows: list[int] = field(default_factory=lambda: [0, 0])


@dataclass
class Plan:
    """How a kind of recipe is trained with changes, and scored.

    grids: field -> values to try by default.  own: field -> the recipe's value, None where it has none.
    score: its name.  repeats: seeds by default.  check: raises RecipeError for changes that it refuses.
    recipe: of (changes, seed).  train: (changes, seed, listener) -> scores.  rows: of training and
    validation, after the first training.  beside: options that were chosen and that the best values need.
    """

    grids: Mapping[str, tuple[float, ...]]
    own: Mapping[str, float | None]
    score: str
    higher: bool
    repeats: int
    recipe: Callable[[Changes, int], AnyRecipe]
    train: Callable[[Changes, int, Listener | None], Scored]
    rows: Callable[[], tuple[int, int]]
    beside: str = ""
    check: Callable[[Changes], object] = field(default=lambda changes: None)


def plan_of(study: Study, recipe: AnyRecipe) -> Plan:
    """How this recipe's changes are scored. Raises RecipeError for fields that it has no use for."""
    return _PLANS[type(recipe)](study, recipe)


def train_trial(plan: Plan, asked: Asked, listener: Listener | None = None) -> Trial:
    """Train once in this process. A rate at which the loss diverges is a result, too.

    listener: may raise `Pruned`, which ends the training.
    """
    started, value = time.monotonic(), asked.value
    try:
        score, targets = plan.train(asked.changes, asked.seed, listener)
    except TrainingError as error:
        return Trial(value, asked.seed, math.nan, {}, time.monotonic() - started, error.headline)
    except Pruned:
        return Trial(value, asked.seed, math.nan, {}, time.monotonic() - started, PRUNED)
    failed = "" if math.isfinite(score) else f"its {plan.score} is not defined on the validation rows"
    return Trial(value, asked.seed, score, targets, time.monotonic() - started, failed)


def run_name(changes: Changes, seed: int) -> str:
    """The name of the folder of a training."""
    words = [
        f"{name}-{value:g}" if isinstance(value, int | float) else f"{name}-{value}"
        for name, value in changes.items()
    ]
    plain = re.sub(r"[^\w.+-]", "_", "-".join(words))
    return f"{plain[:120]}-seed-{seed}"


#: The trainings of a study that follow each other: yields what to train, and is sent its trial.
Work = Generator[Asked, Trial, None]


def run_here(plan: Plan, works: Sequence[Work], listen: Callable[[int, Event], None] | None = None) -> None:
    """Train in this process, work after work. listen: called with a work's number and event."""
    for number, work in enumerate(works):
        asked = next(work, None)
        while asked is not None:
            heard = None if listen is None else partial(listen, number)
            trial = train_trial(plan, asked, heard)
            try:
                asked = work.send(trial)
            except StopIteration:
                asked = None


def run_on(
    on: str, study: Study, recipe: AnyRecipe, works: Sequence[Work],
    listen: Callable[[int, Event], None] | None = None,
) -> None:  # fmt: skip
    """Train on a cluster, all works at once.

    recipe: that the study changes.  listen: as of `run_here`; events of a work come in their order.
    Raises TrainingError for what is wrong with all trainings: their table, or their versions.
    """
    asked: dict[str, tuple[int, Asked]] = {}

    def tell(name: str, event: Event | None) -> None:
        if isinstance(event, NoteAdded) and "node was lost" in event.text:
            study.notes.tell(event.text)
        if event is None or listen is None or name not in asked:
            return
        if isinstance(event, EpochEnded):
            event = replace(event, valid=none_to_nan(event.valid))
        try:
            listen(asked[name][0], event)
        except Pruned:
            tasks.cancel(name)
            number, one = asked.pop(name)
            follow(number, Trial(one.value, one.seed, math.nan, {}, 0.0, PRUNED))

    def follow(number: int, trial: Trial | None = None) -> None:
        """Start what a work asks for next. trial: of what it asked for before."""
        with suppress(StopIteration):
            one = next(works[number]) if trial is None else works[number].send(trial)
            path = study.folder.path / run_name(one.changes, one.seed)
            request = ScoreRequest(
                schema=study.schema,
                table=table_path(study.table),
                reading=study.options.reading,
                machine=study.options.machine,
                recipe=recipe,
                names=study.names,
                changes=one.changes,
                seed=one.seed,
                run=str(path),
                time_format=study.options.time_format,
            )
            name = f"trial {number + 1}, seed {one.seed}"
            asked[name] = number, one
            tasks.start(name, request.to_json(), Path(f"{path}.txt"), needs_of(recipe))

    with tasks_on(on, tell) as tasks:
        for number in range(len(works)):
            follow(number)
        while asked:
            ended = tasks.next_finished()
            if ended is not None and ended.name in asked:
                number, one = asked.pop(ended.name)
                if any(ended.answer.get("rows") or ()):
                    study.rows[:] = ended.answer["rows"]
                follow(number, _trial_of(one, ended))


def _trial_of(asked: Asked, ended: Ended) -> Trial:
    failure, answer = ended.failure(), ended.answer
    if failure and answer.get("kind") != "TrainingError":
        raise TrainingError(f"{ended.name}: {failure}", problems=answer.get("problems", []))
    if failure:
        return Trial(asked.value, asked.seed, math.nan, {}, ended.seconds, answer["message"])
    score = math.nan if answer["score"] is None else answer["score"]
    return Trial(asked.value, asked.seed, score, none_to_nan(answer["targets"]), ended.seconds)


def answer_score(request: ScoreRequest, tell: Listener) -> ScoreAnswer:
    """Train in a worker process, as `train_trial` does."""
    options = FitOptions(request.reading, request.machine, request.time_format)
    run = Path(request.run)
    study = Study(request.names, request.schema, request.table, RunsFolder(run.parent), options, Notes())
    plan = plan_of(study, request.recipe)
    score, targets = plan.train(request.changes, request.seed, tell)
    return ScoreAnswer(score=score, targets=dict(targets), rows=plan.rows())


# --- factor models ---------------------------------------------------------------------------------


def _factors_plan(study: Study, recipe: FactorRecipe) -> Plan:
    options = study.options
    given = "method" in recipe.model_fields_set
    if given:
        _refuse_method(study.names, recipe.method)
    recipe = holding_out(recipe, study.notes)
    work = prepare_ratings(study.schema, recipe, study.table, options, study.notes)
    recipe, beside = work.recipe, ""
    others = [name for name in study.names if name != "factors"]
    if recipe.method == "gibbs" and not given and any(_belongs_to_others(name, "gibbs") for name in others):
        # The default method has nothing to tune.
        recipe, beside = recipe.model_copy(update={"method": "sgd"}), "--method sgd "
        name = others[0].replace("_", " ")
        study.notes.add([f"method sgd, since gibbs, the default, has no {name} to tune (--method)"])
    if recipe.method == "ease" and "factors" in study.names and not given:
        recipe, beside = recipe.model_copy(update={"method": "als"}), "--method als "
        study.notes.add(["method als, since ease, the default of events, has no factors to tune (--method)"])
    _refuse_method(study.names, recipe.method)
    held = work.held_out()
    if held is None:
        raise RecipeError("no ratings are held out to choose by", fix="give --valid 0.1")
    events, method = work.ratings.implicit, METHODS[recipe.method]

    def changed(changes: Changes, seed: int) -> FactorRecipe:
        checked = FactorRecipe.model_validate(changes)
        return recipe.model_copy(update={name: getattr(checked, name) for name in changes} | {"seed": seed})

    def train(changes: Changes, seed: int, listener: Listener | None) -> Scored:
        scorer = fit_scorer(work.train, changed(changes, seed), work.sides, listener or options.on_progress)
        evaluation = evaluate_held_out(scorer, held, work.how)
        return evaluation.primary, {work.schema.targets[0].name or "event": evaluation.scores}

    def own(name: str) -> float | None:
        value = getattr(recipe, name)
        return method.default(name, recipe, work.train) if value is None and name in grids else value

    grids = method.event_grids if events else method.grids
    return Plan(
        grids=grids,
        own={name: own(name) for name in study.names},
        score="ndcg" if events else "rmse",
        higher=events,
        repeats=3,
        recipe=changed,
        check=lambda changes: FactorRecipe.model_validate(changes),
        train=train,
        rows=lambda: (len(work.split.train), len(work.split.valid)),
        beside=beside,
    )


OfRatings = TypeVar("OfRatings", FactorRecipe, RatingNetworkRecipe)


def holding_out(recipe: OfRatings, notes: Notes) -> OfRatings:
    """The recipe, with ratings held out to choose by."""
    if recipe.valid or recipe.split == "last" or recipe.fold:
        return recipe
    notes.add([f"{HELD_OUT:.0%} of the ratings are held out to choose by (--valid)"])
    return recipe.model_copy(update={"valid": HELD_OUT})


def _belongs_to_others(name: str, method: str) -> bool:
    """Whether only other methods have such a choice."""
    return name not in METHODS[method].takes and any(name in other.takes for other in METHODS.values())


def _refuse_method(names: Sequence[str], method: str) -> None:
    for name in names:
        if name in METHODS[method].grids or name in METHODS[method].event_grids:
            continue
        if name == "factors":
            raise RecipeError(f"method {method} has no factors to tune", fix="tune wd, or give --method als")
        if name == "weight_decay":
            raise RecipeError(
                f"method {method} has no weight decay to tune: it draws the strength of its priors in each "
                "sweep",
                fix="tune factors, or give --method als or --method sgd",
            )
        if name == "lr":
            raise RecipeError(f"method {method} has no learning rate to tune", fix="give --method sgd")
        if _belongs_to_others(name, method):
            takers = [word for word in METHODS if name in METHODS[word].takes]
            raise RecipeError(
                f"method {method} has no use for {name}", fix=f"give --method {' or '.join(takers)}"
            )


# --- networks --------------------------------------------------------------------------------------


def _network_plan(study: Study, recipe: Recipe) -> Plan:
    from tenfold.engine.monitor import monitored
    from tenfold.nn.network import build_heads

    if "factors" in study.names:
        raise RecipeError("a network has no factors to tune", fix="tune wd or lr, or give --user and --item")
    if recipe.valid == 0 and study.schema.split is None and recipe.fold is None:
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
    resolved = resolved_recipe(recipe, study.schema)
    own = {name: getattr(resolved, name) for name in study.names}
    return _trained_plan(study, recipe, score_of, "network", own, watched, higher)


def _rating_network_plan(study: Study, recipe: RatingNetworkRecipe) -> Plan:
    if "factors" in study.names:
        raise RecipeError(
            "a network of ratings has no factors to tune", fix="tune wd or lr, or leave out --body"
        )
    recipe = holding_out(recipe, study.notes)

    def score_of(run: Run) -> float:
        if not run.scores:
            raise RecipeError("no ratings are held out to choose by", fix="give --valid 0.1")
        return read_score(run.scores[run.record.target], "rmse")

    own = {name: getattr(recipe, name) for name in study.names}
    return _trained_plan(study, recipe, score_of, "pairs", own, "rmse", False)


def _trained_plan(
    study: Study,
    recipe: Recipe | RatingNetworkRecipe,
    score_of: Callable[[Run], float],
    kind: str,
    own: Mapping[str, float | None],
    score: str,
    higher: bool,
) -> Plan:
    """Trainings of networks. score_of: the score of a run."""
    # Unset fields stay unset: their defaults may follow from the table, in every training.
    fields = recipe.model_dump(exclude_unset=True)
    # All seeds train on the same rows: the split does not add to their spread.
    split = {"split_seed": recipe.seed if recipe.split_seed is None else recipe.split_seed}
    rows = study.rows

    def changed(changes: Changes, seed: int) -> Recipe | RatingNetworkRecipe:
        return type(recipe).model_validate({**fields, **split, **changes, "seed": seed})

    def train(changes: Changes, seed: int, listener: Listener | None) -> Scored:
        shown = without_epochs(study.options.on_progress)

        def hear(event: Event) -> None:
            for own in (listener, shown):
                if own is not None:
                    own(event)

        with study.folder.advised():
            run = run_fit(
                job_for(
                    study.schema, changed(changes, seed), study.table,
                    replace(study.options, on_progress=hear),
                ),
                study.folder.path / run_name(changes, seed),
                resume=study.folder.is_kept,
                # Messages on the rows are the same for every training.
                log=None if any(rows) else lambda line: study.notes.add([line]),
            )  # fmt: skip
        rows[:] = run.record.train_rows, run.record.valid_rows
        return score_of(run), run.scores

    return Plan(
        grids={name: GRIDS[kind, name] for name in ("weight_decay", "lr")},
        own=own,
        score=score,
        higher=higher,
        repeats=1,
        recipe=changed,
        check=lambda changes: type(recipe).model_validate({**fields, **changes}),
        train=train,
        rows=lambda: (rows[0], rows[1]),
    )


#: Class of a recipe -> how its changes are scored.
_PLANS: Mapping[type[AnyRecipe], Callable[[Study, Any], Plan]] = {
    Recipe: _network_plan,
    FactorRecipe: _factors_plan,
    RatingNetworkRecipe: _rating_network_plan,
}
