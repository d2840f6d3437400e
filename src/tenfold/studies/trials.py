"""What comes of many trainings that differ in one thing, and where they are kept while they run."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tenfold.errors import RecipeError, RunError, TrainingError
from tenfold.events import EpochEnded, Listener
from tenfold.metrics import score_text

__all__ = [
    "RunPlace",
    "Setting",
    "Trial",
    "Tuned",
    "mean_defined",
    "mean_scores",
    "without_epochs",
    "seeds_from",
]

#: A seed is less than this.
MOST_SEEDS = 2**63
#: A setting is near the best if its score is within this part of it.
NEAR = 0.01


@dataclass(frozen=True)
class Trial:
    """One training: its value and seed, its score, and all of its scores by target.

    score: NaN where the training failed; `failed` says why.
    """

    value: float
    seed: int
    score: float
    targets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    seconds: float = 0.0
    failed: str = ""


@dataclass(frozen=True)
class Setting:
    """One value over all seeds.

    deviation: of the score between seeds, NaN for one.  behind: how much worse than the best mean, from 0.
    near: within 1 % of the best.  even: not told apart from the best by these seeds; false for one seed.
    mean: over the trainings whose score is defined.  defined: how many these are.
    """

    value: float
    trials: tuple[Trial, ...]
    mean: float
    deviation: float
    behind: float
    near: bool
    even: bool
    defined: int = 0


@dataclass(frozen=True)
class Tuned:
    """What was tried and what came of it.

    field: of the recipe.  score: what was compared: ``loss``, ``rmse``, ``ndcg``, or TARGET:SCORE.
    recipe_value: the recipe's own value, which is always among those tried.
    beside: options that must stand beside the best value, where they were chosen here.
    """

    field: str
    score: str
    higher_is_better: bool
    recipe_value: float | None
    trials: tuple[Trial, ...]
    train_rows: int
    valid_rows: int
    seconds: float
    notes: tuple[str, ...] = ()
    beside: str = ""

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds, each of which trained every value."""
        return tuple(dict.fromkeys(trial.seed for trial in self.trials))

    @property
    def settings(self) -> tuple[Setting, ...]:
        """One entry per value, smallest first."""
        groups, means = self._by_value(), self._means()
        best, sign = means[self.best], -1.0 if self.higher_is_better else 1.0
        found = []
        for value, some in sorted(groups.items()):
            there = [one.score for one in some if math.isfinite(one.score)]
            deviation = float(np.std(there, ddof=1)) if len(there) > 1 else math.nan
            behind = sign * (means[value] - best) + 0.0  # no minus nought
            near, even = behind <= NEAR * abs(best), behind <= self.resolution
            found.append(Setting(value, tuple(some), means[value], deviation, behind, near, even, len(there)))
        return tuple(found)

    def _by_value(self) -> dict[float, list[Trial]]:
        groups: dict[float, list[Trial]] = {}
        for trial in self.trials:
            groups.setdefault(trial.value, []).append(trial)
        return groups

    def _means(self) -> dict[float, float]:
        return {value: mean_defined([one.score for one in some]) for value, some in self._by_value().items()}

    @property
    def best(self) -> float:
        """The value with the best mean score on the validation rows, of those that never failed if there are
        any; of equals the recipe's or the least."""
        groups = self._by_value()
        finite = {value: score for value, score in self._means().items() if math.isfinite(score)}
        # A value that fails with some seeds wins only where all do.
        sound = {
            value: score
            for value, score in finite.items()
            if all(math.isfinite(one.score) for one in groups[value])
        }
        finite = sound or finite
        if not finite:
            failed = dict.fromkeys(trial.failed for trial in self.trials)
            raise TrainingError(
                "no value that was tried could be trained and scored",
                problems=[one for one in failed if one],
                fix="try other --values, a lower --lr, or hold out rows whose labels are known",
            )
        sign = -1.0 if self.higher_is_better else 1.0
        return min(finite, key=lambda value: (sign * finite[value], value != self.recipe_value, value))

    @property
    def noise(self) -> float:
        """What seeds alone do to the score: root mean square of the deviations between seeds, over the values
        within 1 % of the best; NaN for one seed. (Where training all but fails, seeds differ wildly.)
        """
        if len(self.seeds) < 2:
            return math.nan
        means, best = self._means(), self._means()[self.best]
        near = [
            [one.score for one in group if math.isfinite(one.score)]
            for value, group in self._by_value().items()
            if abs(means[value] - best) <= NEAR * abs(best)
        ]
        some = [np.var(scores, ddof=1) for scores in near if len(scores) > 1]
        return float(np.sqrt(np.mean(some))) if some else math.nan

    @property
    def resolution(self) -> float:
        """Means that differ by less are not told apart: twice the standard error of a difference of two means
        of so many seeds, 2 x noise x sqrt(2 / seeds); NaN for one seed.
        """
        return 2 * self.noise * math.sqrt(2 / len(self.seeds))

    def verdict(self) -> list[str]:
        """The suggestion, and how flat the curve around it is, one sentence a line."""
        flag = f"--{self.field.replace('_', '-')}"
        settings, best = self.settings, self.best
        tried = [one.value for one in settings]
        top = next(one for one in settings if one.value == best)
        of = "" if top.defined == len(top.trials) else f", mean of {top.defined} of {len(top.trials)} seeds"
        score = f"{self.score} {score_text(top.mean)}{of}"
        said = [f"best on the validation rows: {self.beside}{flag} {best:g} ({score})"]
        some = [
            f"{one.value:g} ({one.defined} of {len(one.trials)})"
            for one in settings
            if 0 < one.defined < len(one.trials)
        ]
        if some:
            said.append(f"means are of the seeds that have a score: {', '.join(some)}")
        near = [one.value for one in settings if one.near and one.value != best]
        said.append(
            f"flat: {_listed(near)} within {NEAR:.0%} of it"
            if near
            else f"steep: no other value is within {NEAR:.0%} of it"
        )
        if len(self.seeds) > 1:
            even = [one.value for one in settings if one.even and one.value != best]
            apart = f"{_listed(even)} not told apart from it" if even else "told apart from all others"
            moved = (
                f"move the score by {score_text(self.noise)}"
                if math.isfinite(self.noise)
                else "have one score"
            )
            said.append(f"{len(self.seeds)} seeds {moved}; {apart}")
        else:
            said.append("one seed each: --repeats 3 shows how much of this is chance")
        if best in (tried[0], tried[-1]) and best != 0 and not self._beside(best).near:
            side = "smallest" if best == tried[0] else "largest"
            said.append(f"it is the {side} value tried: look beyond it with --values")
        return said

    def _beside(self, value: float) -> Setting:
        """The neighbour of a value at an end."""
        found = self.settings
        return found[min(1, len(found) - 1)] if found[0].value == value else found[-2]

    def record(self) -> dict[str, Any]:
        """What ``--json`` prints (docs/formats.md)."""
        return {
            "tuned": self.field,
            "score": self.score,
            "higher_is_better": self.higher_is_better,
            "best": self.best,
            "recipe_value": self.recipe_value,
            "settings": [_setting_record(one) for one in self.settings],
            "noise": self.noise,
            "resolution": self.resolution,
            "seeds": list(self.seeds),
            "train_rows": self.train_rows,
            "valid_rows": self.valid_rows,
            "verdict": self.verdict(),
            "seconds": self.seconds,
            "notes": list(self.notes),
        }


def _setting_record(one: Setting) -> dict[str, Any]:
    failed = [trial.failed for trial in one.trials if trial.failed]
    return {
        "value": one.value,
        "mean": one.mean,
        "defined": one.defined,
        "deviation": one.deviation,
        "behind": one.behind,
        "near": one.near,
        "even": one.even,
        "scores": [trial.score for trial in one.trials],
        "targets": mean_scores([trial.targets for trial in one.trials]),
        "seconds": round(sum(trial.seconds for trial in one.trials), 3),
        "failed": failed[0] if failed else None,
    }


def mean_scores(trials: Sequence[Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, float]]:
    """Target -> score -> mean over the trainings in which it is defined, of the scores that are numbers."""
    found: dict[str, dict[str, float]] = {}
    for name in dict.fromkeys(name for one in trials for name in one):
        some = [one[name] for one in trials if name in one]
        keys = dict.fromkeys(
            key for one in some for key, value in one.items() if isinstance(value, int | float)
        )
        found[name] = {key: mean_defined([one.get(key) for one in some]) for key in keys}
    return found


def mean_defined(values: Sequence[Any]) -> float:
    """The mean of those that are finite numbers; NaN where none is."""
    there = [value for value in values if isinstance(value, int | float) and math.isfinite(value)]
    return float(np.mean(there)) if there else math.nan


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values) + (" is" if len(values) == 1 else " are")


def without_epochs(on_progress: Listener | None) -> Listener | None:
    """Progress without a line per epoch: there are many trainings."""
    if on_progress is None:
        return None
    return lambda event: None if isinstance(event, EpochEnded) else on_progress(event)


def seeds_from(recipe: Any, repeats: int) -> list[int]:
    """The recipe's seed and those after it; RecipeError, before anything is trained, where there are none."""
    if recipe.seed + repeats > MOST_SEEDS:
        raise RecipeError(
            f"seed {recipe.seed} and {repeats} repeats ask for seeds above {MOST_SEEDS - 1}",
            fix="give a smaller --seed, or fewer --repeats",
        )
    return [recipe.seed + turn for turn in range(repeats)]


class RunPlace:
    """The folder of the trainings: one that stays where it is given, else one that goes with the block."""

    def __init__(self, given: str | os.PathLike[str] | None) -> None:
        self._given, self._temporary = given, None
        self.folder = Path()

    def __enter__(self) -> None:
        if self._given is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="tenfold-")
            self.folder = Path(self._temporary.name)
        else:
            self.folder = Path(self._given)

    @contextmanager
    def told(self) -> Iterator[None]:
        """Trainings in the folder: what is refused there is advised in the words of these commands."""
        try:
            yield
        except RunError as error:
            if self._given is None:
                raise
            kept = {name: text for name, text in error.labels.items() if name != "fix"}
            fix = "give another folder with --runs, or table and options as they were"
            raise RunError(error.headline, problems=error.problems, **kept, fix=fix) from None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, KeyboardInterrupt):
            # What a single training says of itself is of no use to whoever asked for many.
            kept = self._temporary is None
            error.__notes__ = [
                "run the same command again: it goes on where it was" if kept else "nothing was kept"
            ]
        if self._temporary is not None:
            self._temporary.cleanup()
