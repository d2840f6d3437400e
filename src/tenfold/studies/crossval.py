"""Cross-validation: every row is held out once, by each of several recipes, on the same folds."""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Unpack, cast

import numpy as np
from numpy.typing import NDArray

from tenfold.data.tables.table import read_table
from tenfold.errors import RecipeError, RunError, SchemaError, did_you_mean
from tenfold.events import Listener, TrialBegan
from tenfold.frames import RowTable
from tenfold.metrics import score_text
from tenfold.recipe import AnyRecipe, FactorRecipe, RatingNetworkRecipe, ratings_recipe
from tenfold.recommenders.methods import METHODS
from tenfold.recommenders.prepare import prepare_ratings
from tenfold.runs.fitting import fit, fit_options
from tenfold.runs.job import Notes
from tenfold.runs.options import FitChanges, PredictOptions
from tenfold.runs.registry import fitting_recipe
from tenfold.runs.run import Run
from tenfold.schema import Schema
from tenfold.spread import PairedDifference, paired_difference
from tenfold.studies.trials import RunsFolder, seeds_from, without_epochs
from tenfold.targets.words import HEADINGS, HIGHER_IS_BETTER
from tenfold.values import Log, TargetScores

if TYPE_CHECKING:
    from tenfold.recommenders.run import RecommenderRun

__all__ = ["CrossValidated", "FoldScores", "Validated", "cross_validate", "recipes_of_methods"]

#: Networks of ratings by their bodies, as methods beside those of factors.
BODIES = ("mlp", "dot", "linear")
#: Scores of lists that are compared, and their headings: more is better.
LISTS = {"ndcg": "NDCG", "recall": "recall", "precision": "precision", "hit": "hit", "mrr": "MRR"}
#: Counts, and what was not fitted: in the record alone.
_ASIDE = ("scored", "fallback", "mean_rmse", "majority_error_rate", "baseline_deviance")
#: Scores that are shown, the one that decides first.
_SHOWN = (*(name for name in HEADINGS if name not in _ASIDE), *(f"lists.{name}" for name in LISTS))


@dataclass(frozen=True)
class FoldScores:
    """The scores of a training on its held-out rows.

    scores: target -> score -> value; scores within scores are joined by a dot, as ``lists.ndcg``.
    repeat, fold: from 0.  seconds: of the fit, reading included.
    """

    repeat: int
    fold: int
    seed: int
    scores: Mapping[str, Mapping[str, float]]
    train_rows: int
    valid_rows: int
    seconds: float


@dataclass(frozen=True)
class Validated:
    """A recipe, with its scores on every fold. name: of its method, or as it was given."""

    name: str
    folds: tuple[FoldScores, ...]

    def values(self, target: str, score: str) -> list[float]:
        """The score of each fold, NaN where it is not defined."""
        return [fold.scores.get(target, {}).get(score, math.nan) for fold in self.folds]

    def mean(self, target: str, score: str) -> float:
        """The mean over the folds in which the score is defined; NaN without any."""
        return _mean(self.values(target, score))

    @property
    def seconds(self) -> float:
        """The mean time of a fit."""
        return _mean([fold.seconds for fold in self.folds])

    def deviation(self, target: str, score: str) -> float:
        """The standard deviation between folds (n - 1); NaN for fewer than two."""
        finite = [value for value in self.values(target, score) if math.isfinite(value)]
        return float(np.std(finite, ddof=1)) if len(finite) > 1 else math.nan


@dataclass(frozen=True, repr=False)
class CrossValidated(RowTable):
    """The scores of several recipes on the same folds. In a notebook it is a table; `to_frame` gives rows."""

    recipes: tuple[Validated, ...]
    rows: int
    folds: int
    repeats: int
    seconds: float
    notes: tuple[str, ...] = ()

    @property
    def targets(self) -> list[str]:
        """The targets that have scores."""
        return list(self.recipes[0].folds[0].scores)

    def scores(self, target: str) -> list[str]:
        """The scores of a target that are shown, the one that decides first."""
        names = {name for own in self.recipes for fold in own.folds for name in fold.scores.get(target, ())}
        return [name for name in _SHOWN if name in names]

    def difference(self, target: str, score: str, name: str, beside: str | None = None) -> PairedDifference:
        """A recipe's score minus that of another (the first, if not given), paired by fold.

        The interval allows for folds that share training rows (`spread.paired_difference`).
        """
        mine, other = self[name], self[beside or self.recipes[0].name]
        overlap = _mean([fold.valid_rows / max(1, fold.train_rows) for fold in mine.folds])
        return paired_difference(other.values(target, score), mine.values(target, score), overlap=overlap)

    def __getitem__(self, name: str) -> Validated:
        names = [own.name for own in self.recipes]
        if name not in names:
            raise RecipeError(f"there is no recipe {name!r}", fix=did_you_mean(name, names))
        return self.recipes[names.index(name)]

    def lines(self) -> Iterator[tuple[str, str, Validated]]:
        """Target, score and recipe of every line of the table."""
        for target in self.targets:
            for score in self.scores(target):
                for own in self.recipes:
                    yield target, score, own

    def columns(self) -> dict[str, NDArray[np.generic]]:
        """Name -> a cell for each target, score and recipe: mean, deviation, and each fold's value."""
        lines = list(self.lines())
        texts = {
            "target": [target for target, _, _ in lines],
            "score": [score for _, score, _ in lines],
            "method": [own.name for _, _, own in lines],
        }
        numbers = {
            "mean": [own.mean(target, score) for target, score, own in lines],
            "deviation": [own.deviation(target, score) for target, score, own in lines],
        }
        for place, fold in enumerate(self.recipes[0].folds):
            name = f"fold {fold.fold + 1}" + (f", repeat {fold.repeat + 1}" if self.repeats > 1 else "")
            numbers[name] = [own.values(target, score)[place] for target, score, own in lines]
        columns: dict[str, NDArray[np.generic]] = {
            name: np.array(cells, object) for name, cells in texts.items()
        }
        return columns | {name: np.array(cells, np.float64) for name, cells in numbers.items()}

    @property
    def headline(self) -> str:
        """How many folds, of how many rows."""
        return f"{self.folds} folds of {self.rows:,} rows" + (
            f", {self.repeats} times" if self.repeats > 1 else ""
        )

    def conclusions(self) -> list[str]:
        """A sentence for each recipe after the first: whether it is better, and by how much."""
        sentences = []
        for target in self.targets:
            for score in self.scores(target)[:1]:
                word = heading(score)
                for own in self.recipes[1:]:
                    found = self.difference(target, score, own.name)
                    first = self.recipes[0].name
                    if not found.clear:
                        sentences.append(f"{own.name} and {first} cannot be told apart by {word}")
                        continue
                    better = (found.mean > 0) == higher_is_better(score)
                    by = f"{word} {score_text(abs(found.mean))} {'higher' if found.mean > 0 else 'lower'}"
                    sentences.append(f"{own.name} is {'better' if better else 'worse'} than {first}: {by}")
        return sentences

    def record(self) -> dict[str, object]:
        """The output of ``--json`` (docs/formats.md)."""
        return {
            "rows": self.rows,
            "folds": self.folds,
            "repeats": self.repeats,
            "methods": {own.name: self._record_of(own) for own in self.recipes},
            "verdict": self.conclusions(),
            "seconds": self.seconds,
            "notes": list(self.notes),
        }

    def _record_of(self, own: Validated) -> dict[str, object]:
        targets: dict[str, object] = {}
        for target in self.targets:
            scores: dict[str, object] = {}
            for score in own.folds[0].scores.get(target, {}):
                scores[score] = {
                    "mean": own.mean(target, score),
                    "deviation": own.deviation(target, score),
                    "per_fold": own.values(target, score),
                }
                if own is not self.recipes[0] and score in self.scores(target):
                    found = self.difference(target, score, own.name)
                    scores[score] = {
                        **cast(dict[str, object], scores[score]),
                        "difference": found.mean,
                        "standard_error": found.error,
                        "interval": [found.low, found.high],
                    }
            targets[target] = scores
        return {"targets": targets, "seconds": [fold.seconds for fold in own.folds]}


def higher_is_better(score: str) -> bool:
    """Whether more of a score is better."""
    return score.startswith("lists.") or score in HIGHER_IS_BETTER


def heading(score: str) -> str:
    """A score's heading in tables."""
    return HEADINGS.get(score) or LISTS.get(score.removeprefix("lists."), score)


def _mean(values: Sequence[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return float(np.mean(finite)) if finite else math.nan


def recipes_of_methods(
    schema: Schema, methods: Sequence[str], choices: Mapping[str, object]
) -> dict[str, AnyRecipe]:
    """Recipes of ratings by name: gibbs, als, sgd, ease, and the networks mlp, dot and linear.

    methods: words, or with choices of their own, as ``als:factors=8,epochs=30``; the text is the name.
    choices: of all, as far as a method takes them. Raises RecipeError for what none takes.
    """
    if not schema.rated:
        raise SchemaError("methods are of ratings", fix="leave them out, or give --user and --item")
    recipes: dict[str, AnyRecipe] = {}
    left = set(choices)
    for text in methods:
        word, _, given = text.partition(":")
        own = _own_choices(text, given)
        if word not in (*METHODS, *BODIES):
            raise RecipeError(f"there is no method {word!r}", fix=did_you_mean(word, [*METHODS, *BODIES]))
        if text in recipes:
            raise RecipeError(f"method {text} is given twice", fix="name it once, or with other choices")
        kind = FactorRecipe if word in METHODS else RatingNetworkRecipe
        taken = {name: value for name, value in choices.items() if _takes(kind, word, name)}
        left -= set(taken)
        chosen = {"method" if word in METHODS else "body": word, **taken, **own}
        recipes[text] = kind.model_validate(chosen)
    if left:
        name = sorted(left)[0]
        raise RecipeError(
            f"--{name.replace('_', '-')} is not a choice of {', '.join(methods)}", fix="leave it out"
        )
    return recipes


def _own_choices(text: str, given: str) -> dict[str, object]:
    """``factors=8,epochs=30`` as choices by name."""
    pairs = [part.partition("=") for part in given.split(",") if part.strip()]
    if not all(equals and name.strip() and value.strip() for name, equals, value in pairs):
        raise RecipeError(f"--method {text!r} is not clear", fix="write for example als:factors=8,epochs=30")
    return {name.strip().replace("-", "_"): value.strip() for name, _, value in pairs}


def _takes(kind: type[AnyRecipe], word: str, name: str) -> bool:
    others = {own for other, method in METHODS.items() if other != word for own in method.takes}
    return name in kind.model_fields and not (
        word in METHODS and name in others and name not in METHODS[word].takes
    )


def cross_validate(
    schema: Schema,
    recipes: AnyRecipe | Mapping[str, AnyRecipe],
    table: object,
    *,
    folds: int = 5,
    repeats: int = 1,
    lists: int | None = None,
    liked: float | None = None,
    runs: str | os.PathLike[str] | None = None,
    on_progress: Listener | None = None,
    on_note: Log | None = None,
    **options: Unpack[FitChanges],
) -> CrossValidated:
    """Train each recipe once per fold, and score it on the rows that the fold holds out.

    recipes: a recipe, or name -> recipe; all see the same folds, so that their scores are compared in pairs.
    folds: each row is held out once per repeat; ratings with times are cut into blocks of time, each held out
        after those before it, unless the recipe's `split` is ``random``.
    repeats: each with new folds and the next seed, from the first recipe's on.
    lists: of ratings, also score lists of so many items.  liked: rating from which an item of them counts.
    runs: keep the trainings in this folder, and skip those that have finished there.
    options: as `fit` takes them.
    Raises RecipeError for fewer than two folds, RunError where recipes hold out different rows.
    """
    started = time.monotonic()
    if folds < 2 or repeats < 1:
        raise RecipeError(
            f"folds = {folds}, repeats = {repeats}", fix="give 2 folds or more, and 1 repeat or more"
        )
    if schema.split is not None:
        raise SchemaError(
            f"the table states a split (column {schema.split!r}), and folds are another",
            fix="leave out --split-column: every row is held out once",
        )
    if lists is not None and not schema.rated:
        raise RecipeError("lists are of ratings", fix="leave out --lists")
    given = recipes if isinstance(recipes, Mapping) else {"": recipes}
    given = {name: fitting_recipe(schema, recipe) for name, recipe in given.items()}
    notes = Notes(on_note)
    _tell_choices(schema, given, notes)
    if lists is not None and any(recipe.of_ratings == "factors" for recipe in given.values()):
        notes.add(["how much the rating counts in a list is chosen on the scored rows: a little too good"])
    study = _Study(schema, table, RunsFolder(runs), on_progress, notes, options, lists, liked)
    found: dict[str, list[FoldScores]] = {name: [] for name in given}
    seeds = seeds_from(next(iter(given.values())), repeats)
    done, total = 0, folds * repeats * len(given)
    with study.folder:
        for repeat, seed in enumerate(seeds):
            for fold in range(folds):
                for name, recipe in given.items():
                    if on_progress is not None:
                        on_progress(TrialBegan(done, total))
                    scores = study.train(name, recipe, seed, (fold + 1, folds), repeat)
                    found[name].append(scores)
                    done += 1
    made = tuple(Validated(name or study.named, tuple(own)) for name, own in found.items())
    seconds = round(time.monotonic() - started, 3)
    return CrossValidated(made, study.rows, folds, repeats, seconds, tuple(notes.lines))


def _tell_choices(schema: Schema, recipes: Mapping[str, AnyRecipe], notes: Notes) -> None:
    """Messages about choices that are not used, or that the scores depend on."""
    further = [column.name for column in schema.columns[2:]] if schema.rated else []
    for name, recipe in recipes.items():
        if recipe.keeps_best:
            notes.add(["the best epoch is chosen on the scored rows: all scores are a little too good"])
        if "valid" in recipe.model_fields_set and recipe.valid:
            notes.add([f"valid = {recipe.valid:g} is not used: folds decide which rows are held out"])
        if further and recipe.of_ratings == "factors":
            notes.add(
                [f"{name or recipe.words[0]} learns from users and items alone, without {', '.join(further)}"]
            )


@dataclass
class _Study:
    """What all trainings share.

    rows, named: rows of the table, and the method that was used; known after the first training.
    held: (repeat, fold) -> the digest of the rows that it holds out.
    """

    schema: Schema
    table: object
    folder: RunsFolder
    on_progress: Listener | None
    notes: Notes
    options: FitChanges
    lists: int | None
    liked: float | None
    rows: int = 0
    named: str = ""
    held: dict[tuple[int, int], object] = field(default_factory=dict)

    def train(
        self, name: str, recipe: AnyRecipe, seed: int, fold: tuple[int, int], repeat: int
    ) -> FoldScores:
        """Train a recipe on a fold, and score it on what the fold holds out."""
        # Unset fields stay unset: their defaults may follow from the table.
        chosen = {**recipe.model_dump(exclude_unset=True), "seed": seed, "fold": fold}
        made = type(recipe).model_validate(chosen)
        plain = "".join(letter if letter.isalnum() else "_" for letter in name)[:40] or "run"
        with self.folder.advised():
            run = fit(
                self.schema,
                made,
                self.table,
                run=self.folder.path / f"{plain}-seed-{seed}-fold-{fold[0]}",
                history=False,
                report=False,
                resume=self.folder.is_kept,
                on_progress=without_epochs(self.on_progress),
                # Messages on the table are the same in every training.
                on_note=None if self.rows else lambda line: self.notes.add([line]),
                **self.options,
            )
        self.rows, self.named = run.record.rows, self.named or run.record.method or "network"
        rows = run.record.fingerprint
        if rows and self.held.setdefault((repeat, fold[0]), rows) != rows:
            raise RunError(
                f"{name} holds out other rows than the recipes before it",
                fix="give all recipes the same kind, duplicates and split",
            )
        scores = run.scores if self.lists is None else self._with_lists(run, made)
        flat = {target: dict(_flat(own)) for target, own in scores.items()}
        if not self.folder.is_kept:
            shutil.rmtree(run.path)
        about = run.record
        told = [
            f"{heading(score)} {score_text(own[score])}"
            for own in flat.values()
            for score in _SHOWN
            if score in own
        ]
        self.notes.add([f"fold {fold[0]} of {fold[1]}, {name or self.named}: {', '.join(told[:2])}"])
        return FoldScores(repeat, fold[0] - 1, seed, flat, about.train_rows, about.valid_rows, about.seconds)

    def _with_lists(self, run: Run, recipe: AnyRecipe) -> TargetScores:
        """Scores with those of lists, on the ratings that the recipe holds out."""
        ratings = ratings_recipe(recipe)
        how = fit_options(**self.options)
        table = read_table(self.table, **how.reading.table)
        work = prepare_ratings(self.schema, ratings, table, how, Notes(), keep_rows=True)
        held = work.held_out()
        assert held is not None
        options = PredictOptions(n=self.lists, relevant_from=self.liked, device=how.machine.device)
        recommender = cast("RecommenderRun", run)
        return {recommender.target: recommender.score_ratings(table, held, options, [])}


def _flat(scores: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Scores that are numbers, those within scores under joined names."""
    for name, value in scores.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, int | float):
            yield f"{prefix}{name}", float(value)
