"""Does a second target help the first? Trainings with and without the other targets, fold by fold.

All trainings of a fold see the same rows in the same batches with the same random draws, and differ in the
targets only: a target's scores are compared in pairs.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Unpack

from numpy.typing import ArrayLike

from tenfold.data.split.groups import Classes, Labels
from tenfold.data.split.holdout import Folds, Split, kfold
from tenfold.errors import RecipeError, SchemaError, SplitError, did_you_mean
from tenfold.events import Listener, TrialBegan
from tenfold.metrics import score_text
from tenfold.recipe import Recipe
from tenfold.runs.fitting import fit
from tenfold.runs.job import Notes
from tenfold.runs.options import FitChanges, SplitRule
from tenfold.schema import Schema
from tenfold.spread import PairedDifference, paired_difference
from tenfold.studies.trials import RunsFolder, mean_defined, seeds_from, without_epochs
from tenfold.targets.kinds import KINDS
from tenfold.targets.words import HIGHER_IS_BETTER
from tenfold.values import Log, Scores, TargetScores, read_score

__all__ = ["Compared", "Pair", "TargetCompared", "compare_targets"]


@dataclass(frozen=True)
class Pair:
    """A target's scores on the held-out rows of a fold, trained alone and together with the others."""

    repeat: int
    fold: int
    seed: int
    alone: Scores
    together: Scores


@dataclass(frozen=True)
class TargetCompared:
    """A target, over all folds and repeats.

    score: the score that decides, first of the `score_names` of its kind.  others: the further targets.
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

    @property
    def scores(self) -> list[str]:
        """The scores that some fold has."""
        names = KINDS[self.kind].score_names
        return [score for score in names if any(score in pair.alone for pair in self.pairs)]

    def difference(self, score: str) -> PairedDifference:
        """Together minus alone, paired."""
        alone = [read_score(pair.alone, score) for pair in self.pairs]
        together = [read_score(pair.together, score) for pair in self.pairs]
        return paired_difference(alone, together, overlap=self.overlap)

    def mean(self, arm: str, score: str) -> float:
        """Mean of ``alone`` or ``together``, over the pairs in which both are defined."""
        both = [pair for pair in self.pairs if _defined(pair.alone, score) and _defined(pair.together, score)]
        return mean_defined(read_score(getattr(pair, arm), score) for pair in both)

    @property
    def answer(self) -> str:
        """``helps``, ``harms``, ``not told apart`` if the interval contains 0, or ``not defined``."""
        difference = self.difference(self.score)
        if not difference.pairs:
            return "not defined"
        if not difference.clear:
            return "not told apart"
        better = difference.mean > 0 if self.score in HIGHER_IS_BETTER else difference.mean < 0
        return "helps" if better else "harms"

    def record(self) -> dict[str, object]:
        """The target's part of the output of ``--json`` (docs/formats.md)."""
        scores = {}
        for score in self.scores:
            difference = self.difference(score)
            scores[score] = {
                "alone": self.mean("alone", score),
                "together": self.mean("together", score),
                "pairs": difference.pairs,
                "difference": difference.mean,
                "deviation": difference.deviation,
                "standard_error": difference.error,
                "interval": [difference.low, difference.high],
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
                    "alone": {score: read_score(pair.alone, score) for score in self.scores},
                    "together": {score: read_score(pair.together, score) for score in self.scores},
                    "difference": read_score(pair.together, self.score) - read_score(pair.alone, self.score),
                }
                for pair in self.pairs
            ],
        }


@dataclass(frozen=True)
class Compared:
    """The comparison of all targets that were asked for."""

    targets: tuple[TargetCompared, ...]
    rows: int
    folds: int
    repeats: int
    seconds: float
    notes: tuple[str, ...] = ()

    def record(self) -> dict[str, object]:
        """The output of ``--json`` (docs/formats.md)."""
        return {
            "rows": self.rows,
            "folds": self.folds,
            "repeats": self.repeats,
            "targets": {target.name: target.record() for target in self.targets},
            "seconds": self.seconds,
            "notes": list(self.notes),
        }


def compare_targets(
    schema: Schema,
    recipe: Recipe,
    table: object,
    *,
    of: Sequence[str] = (),
    folds: int = 5,
    repeats: int = 1,
    runs: str | os.PathLike[str] | None = None,
    on_progress: Listener | None = None,
    on_note: Log | None = None,
    **options: Unpack[FitChanges],
) -> Compared:
    """Train on all targets together and on each alone, on the same folds under the same seeds.

    of: the targets to compare; by default all.  folds: each row is held out once per repeat.
    repeats: each with new folds and the next seed, from the recipe's on.
    runs: keep the trainings in this folder, and skip those that have finished there.
    options: as `fit` takes them.
    Raises SchemaError for fewer than two targets, RecipeError for choices that make the comparison unfair.
    """
    started = time.monotonic()
    asked = _check(schema, recipe, of, folds, repeats)
    notes = Notes(on_note)
    if recipe.keeps_best:
        notes.add(["the best epoch is chosen on the scored rows: all scores are a little too good"])
    if "valid" in recipe.model_fields_set:
        notes.add([f"valid = {recipe.valid:g} is not used: folds decide which rows are held out"])
    total = repeats * folds * (1 + len(asked))
    arms = _Arms(schema, recipe, table, asked, RunsFolder(runs), on_progress, notes, options, total)
    pairs: dict[str, list[Pair]] = {name: [] for name in asked}
    with arms.folder:
        for repeat, seed in enumerate(seeds_from(recipe, repeats)):
            # The first training of a repeat has all targets: its folds are stratified on each of them.
            split = _SameFolds(folds, seed, by_time=schema.time is not None)
            for fold in range(folds):
                together = arms.train(None, split, fold)
                for name in asked:
                    alone = arms.train(name, split, fold)[name]
                    pairs[name].append(Pair(repeat, fold, seed, alone, together[name]))
                    score = KINDS[arms.kinds[name]].score_names[0]
                    values = [_text(read_score(scores, score)) for scores in (alone, together[name])]
                    notes.add(
                        [
                            f"repeat {repeat + 1}, fold {fold + 1}: {name} {score} "
                            f"{values[0]} alone, {values[1]} together"
                        ]
                    )
    targets = []
    for name in asked:
        others = tuple(other for other in arms.kinds if other != name)
        targets.append(TargetCompared(name, arms.kinds[name], others, tuple(pairs[name]), 1 / (folds - 1)))
    seconds = round(time.monotonic() - started, 3)
    return Compared(tuple(targets), arms.rows, folds, repeats, seconds, tuple(notes.lines))


@dataclass
class _Arms:
    """The arms of the comparison on a fold: all targets together, or a target alone.

    kinds, rows: target -> kind, and rows of the table; known after the first training.
    total, done: trainings.
    """

    schema: Schema
    recipe: Recipe
    table: object
    asked: tuple[str, ...]
    folder: RunsFolder
    on_progress: Listener | None
    notes: Notes
    options: FitChanges
    total: int
    kinds: dict[str, str] = field(default_factory=dict)
    rows: int = 0
    done: int = 0

    def train(self, name: str | None, split: _SameFolds, fold: int) -> TargetScores:
        """Target -> scores on the held-out rows. name: of the only target, or None for all."""
        if self.on_progress is not None:
            self.on_progress(TrialBegan(self.done, self.total))
        arm = "together" if name is None else f"alone-{_plain(name)}-{self.asked.index(name)}"
        with self.folder.advised():
            run = fit(
                self.schema if name is None else _alone(self.schema, name),
                _recipe_of(self.recipe, name, {"seed": split.seed, **split.choices(fold)}),
                self.table,
                run=self.folder.path / f"seed-{split.seed}-fold-{fold + 1}-{arm}",
                history=False,
                report=False,
                resume=self.folder.is_kept,
                split_rule=split.rule(fold),
                on_progress=without_epochs(self.on_progress),
                on_note=None if self.kinds else lambda line: self.notes.add([line]),
                **self.options,
            )
        self.done += 1
        if name is None:
            self.kinds = {target.name: target.kind for target in run.schema.answers}
            self.rows = run.record.rows
        return run.scores


def _defined(scores: Scores, score: str) -> bool:
    return math.isfinite(read_score(scores, score))


def _text(value: float) -> str:
    return score_text(value) if math.isfinite(value) else "not defined"


def _check(schema: Schema, recipe: Recipe, of: Sequence[str], folds: int, repeats: int) -> tuple[str, ...]:
    names = [target.name or "" for target in schema.targets]
    if schema.ids:
        raise SchemaError("ratings have one target, so there is none to compare with", fix="see tenfold tune")
    if len(names) < 2:
        raise SchemaError(
            "a single target has nothing to compare with",
            found=", ".join(names),
            fix="give --target twice or more often: each is trained alone and with the others",
        )
    unknown = [name for name in of if name not in names]
    if unknown:
        raise SchemaError(f"--of {unknown[0]!r} is not a target", fix=did_you_mean(unknown[0], names))
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
    """A target's name as part of a folder's name."""
    return "".join(letter if letter.isalnum() else "_" for letter in name)[:40]


def _alone(schema: Schema, name: str) -> Schema:
    targets = tuple(target for target in schema.targets if target.name == name)
    return schema.model_copy(update={"targets": targets})


def _recipe_of(recipe: Recipe, name: str | None, choices: Mapping[str, object]) -> Recipe:
    """The recipe with these choices; for one target, without settings of the others."""
    # Unset fields stay unset: a table without pictures has defaults of its own.
    chosen = {**recipe.model_dump(exclude_unset=True), **choices}
    if name is not None:
        # The weight of a single target would only change the effect of clipping.
        chosen["task_weights"], classes = {}, recipe.class_weights
        if isinstance(classes, dict):
            chosen["class_weights"] = {name: classes[name]} if name in classes else "none"
        if recipe.monitor != "mean" and recipe.monitor != name and not recipe.monitor.startswith(f"{name}:"):
            chosen["monitor"] = "mean"
    return Recipe(**chosen)


@dataclass
class _SameFolds:
    """Folds that the first training makes, from the labels of all targets, and that all later ones share.

    by_time: folds by time do not depend on targets: the recipe's own rule makes the same for all.
    """

    folds: int
    seed: int
    by_time: bool = False
    dealt: Folds | None = None

    def choices(self, fold: int) -> dict[str, object]:
        """Fields of the recipe for this fold."""
        return {"fold": (fold + 1, self.folds) if self.by_time else None}

    def rule(self, fold: int) -> SplitRule | None:
        """The rule that holds out this fold."""
        return None if self.by_time else partial(self._split, fold)

    def _split(
        self,
        fold: int,
        rows: int,
        *,
        labels: Labels | None = None,
        groups: Sequence[ArrayLike] = (),
        classes: Classes | None = None,
    ) -> Split:
        if self.dealt is None:
            self.dealt = kfold(
                rows, folds=self.folds, seed=self.seed, labels=labels, groups=groups, classes=classes
            )
        if rows != len(self.dealt.fold):
            raise SplitError(
                f"{rows} rows, and {len(self.dealt.fold)} when the folds were dealt",
                fix="leave table and pictures as they are while trainings are compared",
            )
        split = self.dealt.split(fold)
        return Split(split.train, split.valid, self.dealt.notes)
