"""A search over several settings at once, whose proposals Optuna makes.

Each trial is proposed from the scores of those before it, stopped early where the others did better, and kept
in the study's file, from which a search goes on.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from tenfold.errors import RecipeError, did_you_mean
from tenfold.events import EpochEnded, Event, Listener, TrialBegan
from tenfold.metrics import score_text
from tenfold.recipe import AnyRecipe
from tenfold.runs.fitting import fit_options
from tenfold.runs.folder import file_digest
from tenfold.runs.job import Notes
from tenfold.runs.options import Machine, Reading
from tenfold.runs.registry import fitting_recipe
from tenfold.schema import Schema
from tenfold.studies.proposals import Proposal, Proposals, quiet
from tenfold.studies.scored import PRUNED, Asked, Plan, Pruned, Study, Work, plan_of, run_here, run_on
from tenfold.studies.searched import Range, Searched, SearchTrial, Space, best_trial, value_text
from tenfold.studies.trials import RunsFolder, Trial, mean_defined, mean_scores, seeds_from
from tenfold.studies.tune import FIELDS
from tenfold.values import Log, read_score

__all__ = ["search"]

#: Fraction of the epochs before which no trial is pruned.
UNJUDGED = 0.3
#: Fields that decide which rows are compared, or how: no setting.
_FIXED = frozenset(
    ("seed", "split_seed", "valid", "split", "fold", "monitor", "kind", "scale", "duplicates", "threads")
)
#: What stands for a target while it trains.
_LOSSES = ("log_loss", "rmse", "poisson_deviance")
#: Fields that change how far a training is after an epoch.
_PACE = frozenset(("epochs", "frozen_epochs", "batch_size", "warmup"))


def search(
    names: Sequence[str],
    schema: Schema,
    recipe: AnyRecipe,
    table: object,
    *,
    trials: int = 20,
    within: Sequence[str] = (),
    prune: bool = True,
    at_once: int = 1,
    repeats: int | None = None,
    runs: str | os.PathLike[str] | None = None,
    on: str | None = None,
    reading: Reading | None = None,
    machine: Machine | None = None,
    time_format: str | None = None,
    on_progress: Listener | None = None,
    on_note: Log | None = None,
) -> Searched:
    """Look for the best values of several settings, by their score on the validation rows.

    names: fields of the recipe, or ``wd``.  trials: how many are made; the first has the recipe's own values.
    within: ``NAME=LOW:HIGH`` or ``NAME=WORD,WORD``; of ``lr``, ``wd`` and ``factors`` there are defaults.
    prune: stop trainings that are behind the median of earlier ones at the same epoch, or seed.
    at_once: trials that are proposed together; it may change what is proposed, wherever they run.
    repeats: seeds per trial, from the recipe's on, by default 1.
    runs: keep the study and the networks' trainings in this folder, and go on from them.
    on: train on a Ray cluster: see `ensembles.places.tasks_on`.
    Other parameters as of `fit`.
    Raises RecipeError for what cannot be searched, DependencyError without Optuna, and RunError where the
    folder holds the search of another recipe or table.
    """
    started = time.monotonic()
    _check_numbers(trials, at_once, repeats)
    notes = Notes(on_note)
    options = replace(fit_options(reading, machine, time_format=time_format), on_progress=on_progress)
    recipe = fitting_recipe(schema, recipe)
    fields = _fields(names, recipe)
    study = Study(fields, schema, table, RunsFolder(runs), options, notes)
    plan = plan_of(study, recipe)
    space = _space(fields, within, recipe, plan)
    pace = [name for name in fields if name in _PACE]
    if prune and pace:
        notes.add([f"nothing is pruned: {', '.join(pace)} decides how far a training is after an epoch"])
    seeds = seeds_from(recipe, repeats or 1)
    unjudged = 0
    if recipe.of_ratings != "factors":
        unjudged = max(1, round(UNJUDGED * (getattr(recipe, "epochs", None) or 1)))
    judged = None if pace or not prune else unjudged
    with study.folder, quiet():
        kept = Proposals.open(study.folder.path, higher=plan.higher, seed=recipe.seed, unjudged=judged)
        kept.check(_identity(schema, recipe, space, seeds, at_once, table))
        rows = _Search(study, plan, space, kept, seeds, recipe, at_once, on).run(trials)
        found = kept.ended()
    best = best_trial(found, plan.higher)
    return Searched(
        tuple(fields),
        plan.score,
        plan.higher,
        plan.own,
        found,
        plan.recipe(best.choices, recipe.seed),
        {name: str(own) if isinstance(own, Range) else ",".join(own) for name, own in space.items()},
        tuple(seeds),
        *rows,
        round(time.monotonic() - started, 3),
        tuple(notes.lines),
        plan.beside,
    )


def _check_numbers(trials: int, at_once: int, repeats: int | None) -> None:
    for name, value in (("trials", trials), ("at_once", at_once), ("repeats", repeats)):
        if value is not None and value < 1:
            raise RecipeError(f"{name} = {value}", fix="give 1 or more")


# --- what is tried ---------------------------------------------------------------------------------


def _fields(names: Sequence[str], recipe: AnyRecipe) -> list[str]:
    """The fields that are meant, each once."""
    known = [name for name in type(recipe).model_fields if name not in _FIXED and name != "method"]
    fields = []
    for name in names:
        field = FIELDS.get(name, name.replace("-", "_"))
        if field == "method":
            raise RecipeError("methods are compared fold by fold", fix="tenfold cross-validate --method ...")
        if field in _FIXED:
            raise RecipeError(
                f"{name} decides which rows are compared, so it cannot be searched", fix="leave it out"
            )
        if field not in known and field not in FIELDS.values():
            raise RecipeError(f"{name!r} cannot be tuned", fix=did_you_mean(name, [*FIELDS, *known]))
        if field in fields:
            raise RecipeError(f"{name} is named twice", fix="name it once")
        fields.append(field)
    return fields


def _types(annotation: object) -> Iterator[object]:
    parts = get_args(annotation)
    if not parts:
        yield annotation
    for part in parts:
        yield from _types(part)


def _space(fields: Sequence[str], within: Sequence[str], recipe: AnyRecipe, plan: Plan) -> Space:
    given = {}
    for text in within:
        name, equals, values = text.partition("=")
        field = FIELDS.get(name.strip(), name.strip().replace("-", "_"))
        if not equals or not values.strip():
            raise RecipeError(f"--within {text!r} is not clear", fix="write NAME=LOW:HIGH or NAME=WORD,WORD")
        if field not in fields:
            raise RecipeError(
                f"--within {text!r}: {name} is not searched", fix=f"name it: {','.join([*fields, name])}"
            )
        if field in given:
            raise RecipeError(f"--within names {name} twice", fix="give it once")
        given[field] = values
    space = {}
    for field in fields:
        kinds = list(_types(type(recipe).model_fields[field].annotation))
        whole = int in kinds and float not in kinds
        if field in given:
            space[field] = _parsed(field, given[field], whole)
        elif field in plan.grids:
            grid = [value for value in plan.grids[field] if value > 0]
            space[field] = Range(min(grid), max(grid), whole)
        else:
            raise RecipeError(
                f"{field} has no range by default",
                fix=f"give --within {field}=LOW:HIGH, or words with commas",
            )
        tried = space[field]
        ends = (tried.low, tried.high) if isinstance(tried, Range) else tried
        for value in ends:
            plan.check({field: int(value) if whole and isinstance(tried, Range) else value})
    return space


def _parsed(field: str, text: str, whole: bool) -> Range | tuple[str, ...]:
    low, colon, high = text.partition(":")
    if not colon:
        words = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
        if len(words) < 2:
            raise RecipeError(
                f"--within {field}={text}: one value leaves nothing to search", fix="give two or more"
            )
        return words
    try:
        ends = float(low), float(high)
    except ValueError:
        raise RecipeError(
            f"--within {field}={text}: not two numbers", fix="write LOW:HIGH, as 1e-4:1e-2"
        ) from None
    if not -math.inf < ends[0] < ends[1] < math.inf:
        raise RecipeError(f"--within {field}={text}: not a rising range", fix="write LOW:HIGH, as 1e-4:1e-2")
    if whole and any(end != int(end) for end in ends):
        raise RecipeError(f"{field} is a whole number", found=text, fix="give whole ends")
    return Range(*ends, whole)


def _identity(
    schema: Schema, recipe: AnyRecipe, space: Space, seeds: Sequence[int], at_once: int, table: object
) -> dict[str, object]:
    """What a search that goes on must share with the one before."""
    path = os.fspath(table) if isinstance(table, str | os.PathLike) else ""
    return {
        "recipe": recipe.model_dump(mode="json", exclude_unset=True),
        "schema": schema.model_dump(mode="json"),
        "within": {name: str(own) for name, own in space.items()},
        "seeds": list(seeds),
        "at once": at_once,
        "table": file_digest(Path(path)) if os.path.isfile(path) else "",
    }


@dataclass
class _Trial:
    """A trial that runs. number: in order.  steps: figures that were reported."""

    number: int
    proposal: Proposal
    choices: Mapping[str, object]
    steps: int = 0
    end: SearchTrial | None = None

    def ended(self, status: str, made: Sequence[Trial] = (), failed: str = "") -> SearchTrial:
        """Its end. made: the trainings."""
        finished = status == "finished"
        return SearchTrial(
            self.number,
            self.choices,
            mean_defined(each.score for each in made) if finished else math.nan,
            status,
            sum(each.seconds for each in made),
            failed,
            self.proposal.is_own,
            mean_scores([each.targets for each in made]) if finished else {},
        )


@dataclass
class _Search:
    """A search that runs."""

    study: Study
    plan: Plan
    space: Space
    kept: Proposals
    seeds: Sequence[int]
    recipe: AnyRecipe
    at_once: int
    on: str | None

    def run(self, trials: int) -> tuple[int, int]:
        """Make trials until there are so many. Returns the rows of training and validation."""
        done = len(self.kept.ended())
        if done:
            self.study.notes.add([f"{done} trials are there already"])
        while done < trials:
            asked = [self._ask(number) for number in range(done, min(done + self.at_once, trials))]

            def listen(place: int, event: Event, asked: Sequence[_Trial] = asked) -> None:
                if isinstance(event, EpochEnded):
                    self._judge(asked[place], self._figure(event))

            works = [self._work(trial, trials) for trial in asked]
            if self.on is None:
                run_here(self.plan, works, listen)
            else:
                run_on(self.on, self.study, self.recipe, works, listen)
            # In the order of their proposals, whichever ended first.
            for trial in asked:
                if trial.end is not None:
                    self.kept.tell(trial.proposal, trial.end)
            self.kept.keep_rows(self.plan.rows())
            done += len(asked)
        return self.kept.rows()

    def _ask(self, number: int) -> _Trial:
        own = self._own() if number == 0 else None
        if number == 0 and own is None:
            self.study.notes.add(["the recipe's own values are not within what is searched, and not tried"])
        proposal = self.kept.ask(self.space, number, own)
        choices: dict[str, object] = {}
        for name, tried in self.space.items():
            drawn = proposal.drawn[name]
            # The recipe's own value keeps all its digits.
            if isinstance(tried, Range) and not proposal.is_own:
                choices[name] = tried.value(float(str(drawn)))
            else:
                choices[name] = drawn
        return _Trial(number, proposal, choices)

    def _own(self) -> dict[str, object] | None:
        """The recipe's own values in the search's words; None where one is outside."""
        own: dict[str, object] = {}
        for name, tried in self.space.items():
            value = self.plan.own[name]
            if isinstance(tried, Range):
                word = value if tried.holds(value) else None
            else:
                read = {word: getattr(self.plan.recipe({name: word}, 0), name) for word in tried}
                word = next((word for word, read in read.items() if read == value), None)
            if word is None:
                return None
            own[name] = word
        return own

    def _work(self, trial: _Trial, trials: int) -> Work:
        if self.study.options.on_progress is not None:
            self.study.options.on_progress(TrialBegan(trial.number, trials))
        trial.end = end = yield from self._train(trial)
        words = ", ".join(f"{name} {value_text(value)}" for name, value in trial.choices.items())
        result = f"{self.plan.score} {score_text(end.score)}" if end.status == "finished" else end.failed
        self.study.notes.add([f"trial {trial.number + 1}: {words}: {result or end.status}"])

    def _train(self, trial: _Trial) -> Generator[Asked, Trial, SearchTrial]:
        """The trainings of a trial, seed after seed."""
        made: list[Trial] = []
        try:
            self.plan.check(trial.choices)
        except RecipeError as error:
            # Choices that exclude each other.
            return trial.ended("failed", failed=error.headline)
        for seed in self.seeds:
            made.append((yield Asked(trial.choices, seed)))
            if made[-1].failed:
                pruned = made[-1].failed == PRUNED
                return trial.ended("pruned" if pruned else "failed", made, "" if pruned else made[-1].failed)
            try:
                if self.recipe.of_ratings == "factors" and seed != self.seeds[-1]:
                    self._judge(trial, mean_defined(each.score for each in made))
            except Pruned:
                return trial.ended("pruned", made)
        return trial.ended("finished", made)

    def _judge(self, trial: _Trial, figure: float) -> None:
        """Report a figure; raise `Pruned` where the trial is not worth its end."""
        if math.isfinite(figure):
            trial.steps += 1
            if trial.proposal.is_behind(figure, trial.steps - 1):
                raise Pruned

    def _figure(self, event: EpochEnded) -> float:
        """An epoch's figure on the validation rows, to be compared with other trials' of that epoch.

        The score that `monitor` names, or the mean of the logarithms of the targets' losses, so that no
        target's unit counts.
        """
        target, colon, score = getattr(self.recipe, "monitor", "mean").rpartition(":")
        if colon and score in event.valid.get(target, {}):
            return read_score(event.valid[target], score)
        losses = []
        for scores in event.valid.values():
            own = (read_score(scores, name) for name in _LOSSES if name in scores)
            losses.append(next(own, math.nan))
        if not losses or not all(loss > 0 and math.isfinite(loss) for loss in losses):
            return math.nan
        return sum(map(math.log, losses)) / len(losses)
