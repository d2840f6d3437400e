"""Results of many trainings that differ in a setting, and the folder of these trainings."""

from __future__ import annotations

import dataclasses
import math
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import RecipeError, RunError, TrainingError
from tenfold.events import EpochEnded, Listener
from tenfold.frames import RowTable
from tenfold.metrics import score_text
from tenfold.recipe import AnyRecipe

__all__ = [
    "RunsFolder",
    "Setting",
    "Trial",
    "Tuned",
    "mean_defined",
    "mean_scores",
    "without_epochs",
    "seeds_from",
]

#: Seeds are below this.
MOST_SEEDS = 2**63
#: A setting is near the best if its score is within this fraction of it.
NEAR = 0.01


@dataclass(frozen=True)
class Trial:
    """A training with a value and a seed, its score, and all of its scores by target.

    score: NaN if the training failed; `failed` says why.
    """

    value: float
    seed: int
    score: float
    targets: Mapping[str, Mapping[str, object]] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0
    failed: str = ""


@dataclass(frozen=True)
class Setting:
    """A value over all seeds.

    deviation: of the score between seeds, NaN for one.  behind: how much worse than the best mean, from 0.
    near: within 1 % of the best.  even: not distinguishable from the best; false for one seed.
    mean: over the trainings with a defined score.  defined: how many these are.
    """

    value: float
    trials: tuple[Trial, ...]
    mean: float
    deviation: float
    behind: float
    near: bool
    even: bool
    defined: int = 0


@dataclass(frozen=True, repr=False)
class Tuned(RowTable):
    """The trials of a search over a field of the recipe.

    score: the compared score: ``loss``, ``rmse``, ``ndcg``, or TARGET:SCORE.
    recipe_value: the recipe's own value, which is always among those tried.
    beside: options that `tune` chose and that the best value needs.
    recipes: value -> the recipe with it, which holds out the same rows.
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
    recipes: Mapping[float, AnyRecipe] = dataclasses.field(default_factory=dict)

    @property
    def recipe(self) -> AnyRecipe:
        """The recipe with the best value, which holds out the same rows."""
        return self.recipes[self.best]

    def columns(self) -> dict[str, NDArray[np.generic]]:
        """Name -> a cell per value: its mean score, the deviation between seeds, and whether it is near."""
        settings = self.settings
        numbers = {
            self.field: [setting.value for setting in settings],
            self.score: [setting.mean for setting in settings],
            "deviation": [setting.deviation for setting in settings],
        }
        near = {"near the best": np.array([setting.near for setting in settings])}
        return {**{name: np.array(cells) for name, cells in numbers.items()}, **near}

    @property
    def headline(self) -> str:
        return f"Tuned {'; '.join(self.conclusions())}"

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds; every value was trained with each."""
        return tuple(dict.fromkeys(trial.seed for trial in self.trials))

    @property
    def settings(self) -> tuple[Setting, ...]:
        """An entry per value, smallest first."""
        groups, means = self._by_value(), self._means()
        best, sign = means[self.best], -1.0 if self.higher_is_better else 1.0
        settings = []
        for value, trials in sorted(groups.items()):
            scores = [trial.score for trial in trials if math.isfinite(trial.score)]
            deviation = float(np.std(scores, ddof=1)) if len(scores) > 1 else math.nan
            behind = sign * (means[value] - best) + 0.0  # never -0.0
            near, even = behind <= NEAR * abs(best), behind <= self.resolution
            settings.append(
                Setting(value, tuple(trials), means[value], deviation, behind, near, even, len(scores))
            )
        return tuple(settings)

    def _by_value(self) -> dict[float, list[Trial]]:
        groups: dict[float, list[Trial]] = {}
        for trial in self.trials:
            groups.setdefault(trial.value, []).append(trial)
        return groups

    def _means(self) -> dict[float, float]:
        groups = self._by_value().items()
        return {value: mean_defined(trial.score for trial in trials) for value, trials in groups}

    @property
    def best(self) -> float:
        """The value with the best mean score on the validation rows.

        Values that fail with a seed count only if all values do. Of equals, it is the recipe's or the least.
        """
        finite = {value: score for value, score in self._means().items() if math.isfinite(score)}
        failed = {trial.value for trial in self.trials if not math.isfinite(trial.score)}
        finite = {value: score for value, score in finite.items() if value not in failed} or finite
        if not finite:
            raise TrainingError(
                "no value that was tried could be trained and scored",
                problems=list(dict.fromkeys(trial.failed for trial in self.trials if trial.failed)),
                fix="try other --values, a lower --lr, or hold out labelled rows",
            )
        sign = -1.0 if self.higher_is_better else 1.0
        return min(finite, key=lambda value: (sign * finite[value], value != self.recipe_value, value))

    @property
    def noise(self) -> float:
        """Standard deviation of the score between seeds: root mean square over the values within 1 % of the
        best (seeds differ wildly if training nearly fails); NaN for one seed.
        """
        if len(self.seeds) < 2:
            return math.nan
        means, best = self._means(), self._means()[self.best]
        near = [
            [trial.score for trial in trials if math.isfinite(trial.score)]
            for value, trials in self._by_value().items()
            if abs(means[value] - best) <= NEAR * abs(best)
        ]
        variances = [np.var(scores, ddof=1) for scores in near if len(scores) > 1]
        return float(np.sqrt(np.mean(variances))) if variances else math.nan

    @property
    def resolution(self) -> float:
        """The smallest difference of means that these seeds can tell from chance; NaN for one seed.

        It is twice the standard error of the difference of two means: 2 x noise x sqrt(2 / seeds).
        """
        return 2 * self.noise * math.sqrt(2 / len(self.seeds))

    def conclusions(self) -> list[str]:
        """The suggested value, and how flat the curve around it is, a sentence per line."""
        flag = f"--{self.field.replace('_', '-')}"
        settings, best = self.settings, self.best
        tried = [setting.value for setting in settings]
        top = next(setting for setting in settings if setting.value == best)
        of = "" if top.defined == len(top.trials) else f", mean of {top.defined} of {len(top.trials)} seeds"
        score = f"{self.score} {score_text(top.mean)}{of}"
        lines = [f"best on the validation rows: {self.beside}{flag} {best:g} ({score})"]
        partial = [
            f"{setting.value:g} ({setting.defined} of {len(setting.trials)})"
            for setting in settings
            if 0 < setting.defined < len(setting.trials)
        ]
        if partial:
            lines.append(f"means are of the seeds that have a score: {', '.join(partial)}")
        near = [setting.value for setting in settings if setting.near and setting.value != best]
        lines.append(
            f"flat: {_listed(near)} within {NEAR:.0%} of it"
            if near
            else f"steep: no other value is within {NEAR:.0%} of it"
        )
        if len(self.seeds) > 1:
            even = [setting.value for setting in settings if setting.even and setting.value != best]
            apart = f"{_listed(even)} as good, as far as they tell" if even else "others are worse by more"
            moved = (
                f"move the score by {score_text(self.noise)}"
                if math.isfinite(self.noise)
                else "have one score"
            )
            lines.append(f"{len(self.seeds)} seeds {moved}: {apart}")
        else:
            lines.append("one seed each: --repeats 3 shows how much of this is chance")
        for side, end, inner in (("smallest", 0, 1), ("largest", -1, -2)):
            if len(tried) > 1 and best == tried[end] and best != 0 and not settings[inner].near:
                lines.append(f"it is the {side} value tried: look beyond it with --values")
        return lines

    def record(self) -> dict[str, object]:
        """What ``--json`` prints (docs/formats.md)."""
        return {
            "tuned": self.field,
            "score": self.score,
            "higher_is_better": self.higher_is_better,
            "best": self.best,
            "recipe_value": self.recipe_value,
            "settings": [_setting_record(setting) for setting in self.settings],
            "noise": self.noise,
            "resolution": self.resolution,
            "seeds": list(self.seeds),
            "train_rows": self.train_rows,
            "valid_rows": self.valid_rows,
            "verdict": self.conclusions(),
            "seconds": self.seconds,
            "notes": list(self.notes),
        }


def _setting_record(setting: Setting) -> dict[str, object]:
    failed = [trial.failed for trial in setting.trials if trial.failed]
    return {
        "value": setting.value,
        "mean": setting.mean,
        "defined": setting.defined,
        "deviation": setting.deviation,
        "behind": setting.behind,
        "near": setting.near,
        "even": setting.even,
        "scores": [trial.score for trial in setting.trials],
        "targets": mean_scores([trial.targets for trial in setting.trials]),
        "seconds": round(sum(trial.seconds for trial in setting.trials), 3),
        "failed": failed[0] if failed else None,
    }


def mean_scores(trials: Sequence[Mapping[str, Mapping[str, object]]]) -> dict[str, dict[str, float]]:
    """Target -> score -> mean over the trainings in which it is defined, of the scores that are numbers."""
    values: dict[str, dict[str, list[object]]] = {}
    for trial in trials:
        for name, scores in trial.items():
            own = values.setdefault(name, {})
            for score, value in scores.items():
                if isinstance(value, int | float):
                    own.setdefault(score, []).append(value)
    return {
        name: {score: mean_defined(each) for score, each in scores.items()} for name, scores in values.items()
    }


def mean_defined(values: Iterable[object]) -> float:
    """The mean of the finite numbers among the values; NaN if there is none."""
    numbers = [value for value in values if isinstance(value, int | float) and math.isfinite(value)]
    return float(np.mean(numbers)) if numbers else math.nan


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values) + (" is" if len(values) == 1 else " are")


def without_epochs(on_progress: Listener | None) -> Listener | None:
    """The listener without events of epochs: there are many trainings."""
    if on_progress is None:
        return None
    return lambda event: None if isinstance(event, EpochEnded) else on_progress(event)


def seeds_from(recipe: AnyRecipe, repeats: int) -> list[int]:
    """The recipe's seed and the next ones. Raises RecipeError if they exceed the largest seed."""
    if recipe.seed + repeats > MOST_SEEDS:
        raise RecipeError(
            f"seed {recipe.seed} and {repeats} repeats ask for seeds above {MOST_SEEDS - 1}",
            fix="give a smaller --seed, or fewer --repeats",
        )
    return [recipe.seed + repeat for repeat in range(repeats)]


#: Options of a single training.
_SINGLE = re.compile(r"(?<![\w-])(-o|--resume)\b")


class RunsFolder:
    """The folder of the trainings: the given one, or a temporary one for the duration of the block."""

    def __init__(self, given: str | os.PathLike[str] | None) -> None:
        self.is_kept, self.path, self._temporary = given is not None, Path(given or ""), None

    def __enter__(self) -> None:
        if not self.is_kept:
            self._temporary = tempfile.TemporaryDirectory(prefix="tenfold-")
            self.path = Path(self._temporary.name)

    @contextmanager
    def advised(self) -> Iterator[None]:
        """Train in the folder; a RunError's fix speaks of ``--runs``, not of a single training's options."""
        try:
            yield
        except RunError as error:
            if not self.is_kept or not _SINGLE.search(error.labels.get("fix", "")):
                raise
            kept = {name: text for name, text in error.labels.items() if name != "fix"}
            fix = "give another folder with --runs, or table and options as they were"
            raise RunError(error.headline, problems=error.problems, **kept, fix=fix) from None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, KeyboardInterrupt):
            # In place of the advice of a single training.
            again = "run the same command again: it goes on where it was"
            error.__notes__ = [again if self.is_kept else "nothing was kept"]
        if self._temporary is not None:
            self._temporary.cleanup()
