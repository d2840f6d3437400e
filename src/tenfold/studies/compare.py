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
from pathlib import Path
from typing import NamedTuple, Unpack

from tenfold.data.split.shared import SharedFolds
from tenfold.ensembles.requests import FitRequest
from tenfold.errors import RecipeError, SchemaError, did_you_mean
from tenfold.events import Listener, TrialBegan
from tenfold.metrics import score_text
from tenfold.recipe import Recipe
from tenfold.runs.fitting import fit, fit_options
from tenfold.runs.job import Notes
from tenfold.runs.options import FitChanges
from tenfold.runs.registry import load_run
from tenfold.runs.run import Run
from tenfold.schema import Schema
from tenfold.spread import PairedDifference, paired_difference
from tenfold.studies.remote import table_path, train_on
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
    on: str | None = None,
    on_progress: Listener | None = None,
    on_note: Log | None = None,
    **options: Unpack[FitChanges],
) -> Compared:
    """Train on all targets together and on each alone, on the same folds under the same seeds.

    of: the targets to compare; by default all.  folds: each row is held out once per repeat.
    repeats: each with new folds and the next seed, from the recipe's on.
    runs: keep the trainings in this folder, and skip those that have finished there.
    on: train on a Ray cluster: see `ensembles.places.tasks_on`.
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
    arms = _Arms(schema, recipe, table, asked, RunsFolder(runs), on_progress, notes, options, total, on)
    pairs: dict[str, list[Pair]] = {name: [] for name in asked}
    with arms.folder:
        for repeat, seed in enumerate(seeds_from(recipe, repeats)):
            # The first training of a repeat has all targets: its folds are stratified on each of them.
            arms.begin(SharedFolds(folds, seed))
            units = [_Unit(repeat, fold, name) for fold in range(folds) for name in (None, *asked)]
            arms.train(units[:1])
            arms.train(units[1:])
            for fold in range(folds):
                together = arms.scores[_Unit(repeat, fold, None)]
                for name in asked:
                    alone = arms.scores[_Unit(repeat, fold, name)][name]
                    pairs[name].append(Pair(repeat, fold, seed, alone, together[name]))
    targets = []
    for name in asked:
        others = tuple(other for other in arms.kinds if other != name)
        targets.append(TargetCompared(name, arms.kinds[name], others, tuple(pairs[name]), 1 / (folds - 1)))
    seconds = round(time.monotonic() - started, 3)
    return Compared(tuple(targets), arms.rows, folds, repeats, seconds, tuple(notes.lines))


class _Unit(NamedTuple):
    """A training of a comparison. name: of the only target, or None for all of them together."""

    repeat: int
    fold: int
    name: str | None


@dataclass
class _Arms:
    """The arms of the comparison on a fold: all targets together, or a target alone.

    kinds, rows: target -> kind, and rows of the table; known after the first training.
    total: trainings.  on: the cluster that trains.  scores: of the trainings that have ended.
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
    on: str | None
    kinds: dict[str, str] = field(default_factory=dict)
    rows: int = 0
    scores: dict[_Unit, TargetScores] = field(default_factory=dict)
    split: SharedFolds = field(default_factory=lambda: SharedFolds(0, 0))

    def begin(self, split: SharedFolds) -> None:
        """Begin a repeat with its folds, which its first training makes."""
        self.split = split

    def train(self, units: Sequence[_Unit]) -> None:
        """Train these: one after the other here, or all at once on a cluster."""
        # One that is there already is looked at here, where its table and recipe are compared.
        here = [unit for unit in units if self.on is None or self._is_there(unit)]
        if self.on is not None and len(here) < len(units):
            self._train_on(self.on, [unit for unit in units if unit not in here])
        for unit in here:
            self._tell_progress()
            split = self.split.of(unit.fold)
            with self.folder.advised():
                run = fit(
                    self._schema(unit),
                    self._recipe(unit),
                    self.table,
                    run=self._path(unit),
                    history=False,
                    report=False,
                    resume=self.folder.is_kept,
                    split_rule=None if self._by_time else split,
                    on_progress=without_epochs(self.on_progress),
                    on_note=None if self.kinds else lambda line: self.notes.add([line]),
                    **self.options,
                )
            self.split.dealt = split.dealt
            self._ended(unit, run)

    def _is_there(self, unit: _Unit) -> bool:
        return self.folder.is_kept and (self._path(unit) / "run.json").is_file()

    def _train_on(self, on: str, units: Sequence[_Unit]) -> None:
        how = fit_options(**self.options)
        requests = {
            self._path(unit).name: FitRequest(
                schema=self._schema(unit),
                table=table_path(self.table),
                reading=how.reading,
                machine=how.machine,
                recipe=self._recipe(unit),
                run=str(self._path(unit)),
                page=False,
                folds=None if self._by_time else self.split.of(unit.fold).record(),
            )
            for unit in units
        }
        named = {self._path(unit).name: unit for unit in units}
        self._tell_progress()
        for name, answer in train_on(on, requests, self.notes):
            folds = answer.get("folds")
            if isinstance(folds, Mapping):
                self.split.dealt = SharedFolds.read(folds).dealt
            self._ended(named[name], load_run(self._path(named[name])))
            self._tell_progress()

    def _ended(self, unit: _Unit, run: Run) -> None:
        self.scores[unit] = run.scores
        if unit.name is None:
            self.kinds = {target.name: target.kind for target in run.schema.answers}
            self.rows = run.record.rows
        for name in self.asked if unit.name is None else (unit.name,):
            units = (unit._replace(name=name), unit._replace(name=None))
            if all(each in self.scores for each in units):
                score = KINDS[self.kinds[name]].score_names[0]
                alone, together = (_text(read_score(self.scores[each][name], score)) for each in units)
                where = f"repeat {unit.repeat + 1}, fold {unit.fold + 1}"
                self.notes.add([f"{where}: {name} {score} {alone} alone, {together} together"])

    def _tell_progress(self) -> None:
        if self.on_progress is not None:
            self.on_progress(TrialBegan(len(self.scores), self.total))

    @property
    def _by_time(self) -> bool:
        # Folds by time do not depend on targets: the recipe's own rule makes the same for all.
        return self.schema.time is not None

    def _schema(self, unit: _Unit) -> Schema:
        return self.schema if unit.name is None else _alone(self.schema, unit.name)

    def _recipe(self, unit: _Unit) -> Recipe:
        fold = (unit.fold + 1, self.split.folds) if self._by_time else None
        return _recipe_of(self.recipe, unit.name, {"seed": self.split.seed, "fold": fold})

    def _path(self, unit: _Unit) -> Path:
        name = unit.name
        arm = "together" if name is None else f"alone-{_plain(name)}-{self.asked.index(name)}"
        return self.folder.path / f"seed-{self.split.seed}-fold-{unit.fold + 1}-{arm}"


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
