"""Does a second target help the first? Trainings with and without the other targets, fold by fold.

Every training of a fold sees the same rows in the same batches with the same draws; what differs is which
targets are learnt. So a target's scores are compared in pairs.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from tenfold.data.split.holdout import Folds, Split, kfold
from tenfold.errors import RecipeError, SchemaError, SplitError, did_you_mean
from tenfold.events import Listener
from tenfold.metrics import score_text
from tenfold.recipe import Recipe
from tenfold.runs.fitting import fit
from tenfold.schema import NetworkTarget, Schema
from tenfold.spread import PairedDifference, paired_difference
from tenfold.studies.trials import RunPlace, mean_defined, seeds_from, without_epochs
from tenfold.targets.kinds import KINDS
from tenfold.targets.words import HIGHER_IS_BETTER
from tenfold.values import Log

__all__ = ["Compared", "Pair", "TargetCompared", "compare_targets"]

Scores = Mapping[str, Any]


@dataclass(frozen=True)
class Pair:
    """A target's scores on one fold's held-out rows, learnt alone and together with the others."""

    repeat: int
    fold: int
    seed: int
    alone: Scores
    together: Scores


@dataclass(frozen=True)
class TargetCompared:
    """One target, over all folds and repeats.

    score: the one that decides, first of the `score_names` of its kind.  others: the further targets.
    overlap: held-out rows over training rows (see `spread.paired_difference`).
    """

    name: str
    kind: str
    others: tuple[str, ...]
    pairs: tuple[Pair, ...]
    overlap: float

    @property
    def score(self) -> str:
        """The score that decides."""
        return KINDS[self.kind].score_names[0]

    def difference(self, score: str) -> PairedDifference:
        """Together less alone, paired."""
        alone = [pair.alone.get(score, math.nan) for pair in self.pairs]
        together = [pair.together.get(score, math.nan) for pair in self.pairs]
        return paired_difference(alone, together, overlap=self.overlap)

    def _mean(self, arm: str, score: str) -> float:
        """Of one arm, over the pairs that the difference is made of."""
        both = [pair for pair in self.pairs if _defined(pair.alone, score) and _defined(pair.together, score)]
        return mean_defined([getattr(pair, arm)[score] for pair in both])

    @property
    def answer(self) -> str:
        """``helps``, ``harms``, ``not told apart`` where the interval holds 0, or ``not defined``."""
        found = self.difference(self.score)
        if not found.pairs:
            return "not defined"
        if not found.clear:
            return "not told apart"
        better = found.mean > 0 if self.score in HIGHER_IS_BETTER else found.mean < 0
        return "helps" if better else "harms"

    def record(self) -> dict[str, Any]:
        """A target's part of what ``--json`` prints (docs/formats.md)."""
        names = KINDS[self.kind].score_names
        there = [score for score in names if any(score in pair.alone for pair in self.pairs)]
        scores = {}
        for score in there:
            found = self.difference(score)
            scores[score] = {
                "alone": self._mean("alone", score),
                "together": self._mean("together", score),
                "pairs": found.pairs,
                "difference": found.mean,
                "deviation": found.deviation,
                "standard_error": found.error,
                "interval": [found.low, found.high],
                "higher_is_better": score in HIGHER_IS_BETTER,
            }
        return {
            "score": self.score,
            "answer": self.answer,
            "others": list(self.others),
            **scores[self.score],
            "scores": scores,
            "per_fold": [
                {
                    "repeat": pair.repeat + 1,
                    "fold": pair.fold + 1,
                    "seed": pair.seed,
                    "alone": {score: pair.alone.get(score, math.nan) for score in there},
                    "together": {score: pair.together.get(score, math.nan) for score in there},
                    "difference": pair.together[self.score] - pair.alone[self.score],
                }
                for pair in self.pairs
            ],
        }


@dataclass(frozen=True)
class Compared:
    """All targets that were asked about."""

    targets: tuple[TargetCompared, ...]
    rows: int
    folds: int
    repeats: int
    seconds: float
    notes: tuple[str, ...] = ()

    def record(self) -> dict[str, Any]:
        """What ``--json`` prints (docs/formats.md)."""
        return {
            "rows": self.rows,
            "folds": self.folds,
            "repeats": self.repeats,
            "targets": {one.name: one.record() for one in self.targets},
            "seconds": self.seconds,
            "notes": list(self.notes),
        }


def compare_targets(
    schema: Schema,
    recipe: Recipe,
    table: Any,
    *,
    of: Sequence[str] = (),
    folds: int = 5,
    repeats: int = 1,
    runs: str | os.PathLike[str] | None = None,
    on_progress: Listener | None = None,
    on_note: Log | None = None,
    **options: Any,
) -> Compared:
    """Train on all targets together and on each alone, on the same folds under the same seeds.

    of: the targets to ask about; all where not given.  folds: each row is held out once per repeat.
    repeats: each with folds dealt anew and a seed of its own, counted up from the recipe's.
    runs: keep the trainings in this folder, and go on with those that have finished there.
    options: as `fit` takes them.
    Raises SchemaError for fewer than two targets, RecipeError for choices that would make it unfair.
    """
    started = time.monotonic()
    asked = _check(schema, recipe, of, folds, repeats)
    seeds = seeds_from(recipe, repeats)
    notes: list[str] = []

    def note(text: str) -> None:
        notes.append(text)
        if on_note is not None:
            on_note(text)

    if recipe.keeps_best:
        note("the best epoch is chosen on the rows that it is scored on: all scores are a little too good")
    if "valid" in recipe.model_fields_set:
        note(f"valid = {recipe.valid:g} is not looked at: folds decide what is held out")
    place = RunPlace(runs)
    pairs: dict[str, list[Pair]] = {name: [] for name in asked}
    kinds: dict[str, NetworkTarget] = {}
    rows: list[int] = []

    def train(name: str | None, seed: int, fold: int, dealt: _SameFolds) -> Mapping[str, Scores]:
        arm = "together" if name is None else f"alone-{_plain(name)}-{asked.index(name)}"
        with place.told():
            run = fit(
                schema if name is None else _alone(schema, name),
                _recipe_of(recipe, name, seed=seed, **dealt.choices(fold)),
                table,
                run=place.folder / f"seed-{seed}-fold-{fold + 1}-{arm}",
                resume=runs is not None,
                history=False,
                report=False,
                split_rule=dealt.of(fold),
                on_progress=without_epochs(on_progress),
                on_note=None if kinds else note,
                **options,
            )
        if name is None:
            kinds.update({target.name: target for target in run.schema.answers})
            rows.append(run.record.rows)
        return run.scores

    with place:
        for repeat, seed in enumerate(seeds):
            # The first training of a repeat has all targets, so that folds are even in every one of them.
            dealt = _SameFolds(folds, seed, by_time=schema.time is not None)
            for fold in range(folds):
                together = train(None, seed, fold, dealt)
                for name in asked:
                    alone = train(name, seed, fold, dealt)[name]
                    pairs[name].append(Pair(repeat, fold, seed, alone, together[name]))
                    score = KINDS[kinds[name].kind].score_names[0]
                    note(
                        f"repeat {repeat + 1}, fold {fold + 1}: {name} {score} "
                        f"{_told(alone[score])} alone, {_told(together[name][score])} together"
                    )
    targets = tuple(
        TargetCompared(
            name,
            kinds[name].kind,
            tuple(other for other in kinds if other != name),
            tuple(pairs[name]),
            1 / (folds - 1),
        )
        for name in asked
    )
    seconds = round(time.monotonic() - started, 3)
    return Compared(targets, rows[0], folds, repeats, seconds, tuple(notes))


def _defined(scores: Scores, score: str) -> bool:
    value = scores.get(score)
    return isinstance(value, int | float) and math.isfinite(value)


def _told(value: float) -> str:
    return score_text(value) if math.isfinite(value) else "not defined"


def _check(schema: Schema, recipe: Recipe, of: Sequence[str], folds: int, repeats: int) -> tuple[str, ...]:
    names = [target.name or "" for target in schema.targets]
    if schema.ids:
        raise SchemaError("ratings have one target, so there is none to compare with", fix="see tenfold tune")
    if len(names) < 2:
        raise SchemaError(
            "one target alone is nothing to compare",
            found=", ".join(names),
            fix="give --target twice or more often: each is learnt alone and with the others",
        )
    strange = [name for name in of if name not in names]
    if strange:
        raise SchemaError(f"--of {strange[0]!r} is no target", fix=did_you_mean(strange[0], names))
    if schema.split is not None:
        raise SchemaError(
            f"the table states a split (column {schema.split!r}), and folds are another",
            fix="leave out --split-column: every row is held out once",
        )
    if folds < 2 or repeats < 1:
        raise RecipeError(
            f"folds = {folds}, repeats = {repeats}", fix="give 2 folds or more, and 1 repeat or more"
        )
    return tuple(dict.fromkeys(of)) or tuple(names)


def _plain(name: str) -> str:
    """A target's name as a part of a folder's."""
    return "".join(letter if letter.isalnum() else "_" for letter in name)[:40]


def _alone(schema: Schema, name: str) -> Schema:
    targets = tuple(target for target in schema.targets if target.name == name)
    return schema.model_copy(update={"targets": targets})


def _recipe_of(recipe: Recipe, name: str | None, **choices: Any) -> Recipe:
    """The recipe for all targets, or for one without what it says of the others."""
    # What was not said stays so: a table without pictures has defaults of its own.
    chosen = {**recipe.model_dump(exclude_unset=True), **choices}
    if name is not None:
        # Of a single target a weight scales the whole loss, and would only shift what clipping does.
        chosen["task_weights"], classes = {}, recipe.class_weights
        if isinstance(classes, dict):
            chosen["class_weights"] = {one: value for one, value in classes.items() if one == name} or "none"
        if recipe.monitor != "mean" and recipe.monitor != name and not recipe.monitor.startswith(f"{name}:"):
            chosen["monitor"] = "mean"
    return Recipe(**chosen)


@dataclass
class _SameFolds:
    """Folds that are dealt once, with the labels of all targets, and kept for every training after that.

    by_time: folds of time, which no target has a say in: the recipe's own way makes the same for all.
    """

    folds: int
    seed: int
    by_time: bool = False
    dealt: Folds | None = None

    def choices(self, fold: int) -> dict[str, Any]:
        """What the recipe says of folds."""
        return {"fold": (fold + 1, self.folds) if self.by_time else None}

    def of(self, fold: int) -> Callable[..., Split] | None:
        """The rule that splits off this fold."""
        return None if self.by_time else partial(self._split, fold)

    def _split(self, fold: int, rows: int, **facts: Any) -> Split:
        if self.dealt is None:
            self.dealt = kfold(rows, folds=self.folds, seed=self.seed, **facts)
        if rows != len(self.dealt.fold):
            raise SplitError(
                f"{rows} rows, and {len(self.dealt.fold)} when the folds were dealt",
                fix="leave table and pictures as they are while trainings are compared",
            )
        split = self.dealt.split(fold)
        return Split(split.train, split.valid, self.dealt.notes)
