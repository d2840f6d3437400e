"""What a search over several settings found: its trials, its best recipe, and its page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import RecipeError
from tenfold.frames import RowTable
from tenfold.metrics import score_text
from tenfold.recipe import AnyRecipe
from tenfold.reports.charts import Axis, Chart, Line
from tenfold.reports.html import Cell, Charts, Grid, Section

__all__ = ["Range", "SearchTrial", "Searched", "Space", "best_trial", "search_page", "value_text"]

#: Significant digits of a proposed number.
DIGITS = 3


@dataclass(frozen=True)
class Range:
    """Numbers from low to high. log: drawn by their logarithm.  whole: whole numbers only."""

    low: float
    high: float
    whole: bool = False

    @property
    def log(self) -> bool:
        """By the logarithm from a tenfold range on."""
        return self.low > 0 and self.high >= 10 * self.low

    def holds(self, value: object) -> bool:
        """Whether a value lies in it."""
        return isinstance(value, int | float) and self.low <= value <= self.high

    def value(self, drawn: float) -> float:
        """A drawn number as it is tried: with few digits."""
        return int(drawn) if self.whole else min(max(float(f"{drawn:.{DIGITS}g}"), self.low), self.high)

    def __str__(self) -> str:
        return f"{self.low:g}:{self.high:g}"


#: Field -> what is tried of it: a range, or some words that the recipe reads.
Space = Mapping[str, Range | tuple[str, ...]]


@dataclass(frozen=True)
class SearchTrial:
    """A proposal. status: ``finished``, ``pruned`` or ``failed``.  score: mean over the seeds, NaN
    unless it finished.  is_own: of the recipe's own values."""

    number: int
    choices: Mapping[str, object]
    score: float
    status: str
    seconds: float = 0.0
    failed: str = ""
    is_own: bool = False
    targets: Mapping[str, Mapping[str, object]] | None = None


@dataclass(frozen=True, repr=False)
class Searched(RowTable):
    """The trials of a search, in their order.

    names: the fields.  score: the compared score.  own: the recipe's own values.
    recipe: the best recipe, with the held-out rows of the search.  space: field -> what was tried, in words.
    beside: options that the search chose and that the best values need.
    """

    names: tuple[str, ...]
    score: str
    higher_is_better: bool
    own: Mapping[str, object]
    trials: tuple[SearchTrial, ...]
    recipe: AnyRecipe
    space: Mapping[str, str]
    seeds: tuple[int, ...]
    train_rows: int
    valid_rows: int
    seconds: float
    notes: tuple[str, ...] = ()
    beside: str = ""

    def columns(self) -> dict[str, NDArray[np.generic]]:
        """Name -> a cell per trial: its choices, score and status."""
        cells = {name: np.array([trial.choices[name] for trial in self.trials]) for name in self.names}
        scores = np.array([trial.score for trial in self.trials])
        return {**cells, self.score: scores, "status": np.array([trial.status for trial in self.trials])}

    @property
    def best(self) -> SearchTrial:
        """The finished trial of the best score; of equals the first."""
        return best_trial(self.trials, self.higher_is_better)

    def ranked(self) -> list[SearchTrial]:
        """The trials, best first, those without a score last."""
        sign = -1.0 if self.higher_is_better else 1.0
        return sorted(
            self.trials,
            key=lambda trial: (
                trial.status != "finished",
                0.0 if trial.status != "finished" else sign * trial.score,
            ),
        )

    @property
    def headline(self) -> str:
        return f"Searched {'; '.join(self.conclusions())}"

    def conclusions(self) -> list[str]:
        """The best choices, and what their score is worth, a sentence per line."""
        best = self.best
        flags = " ".join(
            f"--{name.replace('_', '-')} {value_text(best.choices[name])}" for name in self.names
        )
        lines = [f"best on the validation rows: {self.beside}{flags} ({self.score} {score_text(best.score)})"]
        own = next((trial for trial in self.trials if trial.is_own), None)
        if own is not None and own is not best and own.status == "finished":
            gain = abs(best.score - own.score)
            lines.append(f"the recipe's own values: {score_text(own.score)}, {score_text(gain)} worse")
        elif own is best:
            lines.append("these are the recipe's own values: no other was better")
        counts = {word: sum(t.status == word for t in self.trials) for word in ("pruned", "failed")}
        more = "".join(f", {count} {word}" for word, count in counts.items() if count)
        lines.append(f"{len(self.trials)} trials{more}: the best of many is a little too good")
        for name, text in self.space.items():
            low, colon, high = text.partition(":")
            value = best.choices[name]
            if colon and isinstance(value, int | float) and value in (float(low), float(high)):
                lines.append(f"{name} {value:g} is an end of what was tried: look beyond it with --within")
        return lines

    def record(self) -> dict[str, object]:
        """What ``--json`` prints (docs/formats.md)."""
        return {
            "tuned": list(self.names),
            "score": self.score,
            "higher_is_better": self.higher_is_better,
            "best": dict(self.best.choices),
            "best_score": self.best.score,
            "recipe_value": dict(self.own),
            "within": dict(self.space),
            "trials": [
                {
                    "number": trial.number,
                    "choices": dict(trial.choices),
                    "score": trial.score,
                    "status": trial.status,
                    "targets": trial.targets,
                    "seconds": round(trial.seconds, 3),
                    "failed": trial.failed or None,
                }
                for trial in self.trials
            ],
            "seeds": list(self.seeds),
            "train_rows": self.train_rows,
            "valid_rows": self.valid_rows,
            "verdict": self.conclusions(),
            "seconds": self.seconds,
            "notes": list(self.notes),
        }


def best_trial(trials: Sequence[SearchTrial], higher: bool) -> SearchTrial:
    """The finished trial of the best score, of equals the first. RecipeError where there is none."""
    finished = [trial for trial in trials if trial.status == "finished"]
    if not finished:
        raise RecipeError(
            "no trial could be trained and scored",
            problems=list(dict.fromkeys(trial.failed for trial in trials if trial.failed)),
            fix="search in other ranges with --within, or hold out labelled rows",
        )
    return min(finished, key=lambda trial: -trial.score if higher else trial.score)


def value_text(value: object) -> str:
    """A choice in few letters."""
    return f"{value:g}" if isinstance(value, float) else str(value)


# --- the page --------------------------------------------------------------------------------------


def search_page(found: Searched) -> tuple[str, list[Section]]:
    """Title and sections of the page: conclusions, the best score so far, each setting, every trial."""
    better = "higher" if found.higher_is_better else "lower"
    label = f"{found.score} on the validation rows ({better} is better)"
    done = [trial for trial in found.trials if trial.status == "finished"]
    scores = [trial.score for trial in done]
    best = np.maximum.accumulate(scores) if found.higher_is_better else np.minimum.accumulate(scores)
    numbers = [trial.number + 1 for trial in done]
    charts = [
        Chart(
            "Trials in their order",
            [
                Line("a trial", numbers, scores, joined=False),
                Line("the best so far", numbers, best, step=True),
            ],
            Axis("trial", whole=True),
            Axis(label, pad=True),
        )
    ]
    for name, text in found.space.items():
        if ":" in text:
            low, _, high = (float(part) if part != ":" else 0.0 for part in text.partition(":"))
            values = [float(str(trial.choices[name])) for trial in done]
            line = Line("a trial", values, scores, joined=False)
            charts.append(
                Chart(
                    name.replace("_", " "),
                    [line],
                    Axis(name, log=Range(low, high).log),
                    Axis(label, pad=True),
                )
            )
    rows = [
        [
            str(trial.number + 1),
            *(value_text(trial.choices[name]) for name in found.names),
            Cell(score_text(trial.score) if trial.status == "finished" else "", strong=trial is found.best),
            trial.failed or trial.status,
        ]
        for trial in found.ranked()
    ]
    text = " ".join(f"{line[0].upper()}{line[1:]}." for line in found.conclusions())
    seeds = ", ".join(map(str, found.seeds))
    lead = f"{found.train_rows} rows trained, {found.valid_rows} decided; seeds {seeds}; one split for all."
    words = ", ".join(name.replace("_", " ") for name in found.names)
    return f"Searching {words}", [
        Section("What the validation rows say", text, [Charts(charts)]),
        Section("Every trial", lead, [Grid(["trial", *found.names, found.score, ""], rows)]),
    ]
