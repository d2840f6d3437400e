"""Folds that the first of many trainings makes from the labels of all targets, and that the others share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypedDict, cast

import numpy as np
from numpy.typing import ArrayLike

from tenfold.data.split.groups import Classes, Labels
from tenfold.data.split.holdout import Folds, Split, kfold
from tenfold.errors import SplitError

__all__ = ["SharedFolds"]


class _Dealt(TypedDict):
    fold: list[int]
    notes: list[str]


class _Record(TypedDict):
    folds: int
    seed: int
    fold: int
    dealt: _Dealt | None


@dataclass
class SharedFolds:
    """folds: how many.  fold: the one that is held out, from 0.  dealt: once they are made."""

    folds: int
    seed: int
    fold: int = 0
    dealt: Folds | None = None

    def of(self, fold: int) -> SharedFolds:
        """The same folds, of which another is held out."""
        return replace(self, fold=fold)

    def record(self) -> dict[str, object]:
        """In JSON's types."""
        dealt = self.dealt and {"fold": self.dealt.fold.tolist(), "notes": list(self.dealt.notes)}
        return {"folds": self.folds, "seed": self.seed, "fold": self.fold, "dealt": dealt}

    @classmethod
    def read(cls, text: Mapping[str, object]) -> SharedFolds:
        """What `record` wrote."""
        about = cast(_Record, text)
        dealt = about["dealt"]
        made = dealt and Folds(np.array(dealt["fold"]), about["folds"], tuple(dealt["notes"]))
        return cls(about["folds"], about["seed"], about["fold"], made)

    def __call__(
        self,
        rows: int,
        *,
        labels: Labels | None = None,
        groups: Sequence[ArrayLike] = (),
        classes: Classes | None = None,
    ) -> Split:
        """Split the rows. Raises SplitError where there are others than when the folds were made."""
        if self.dealt is None:
            self.dealt = kfold(
                rows, folds=self.folds, seed=self.seed, labels=labels, groups=groups, classes=classes
            )
        if rows != len(self.dealt.fold):
            raise SplitError(
                f"{rows} rows, and {len(self.dealt.fold)} when the folds were dealt",
                fix="leave table and pictures as they are while trainings are compared",
            )
        split = self.dealt.split(self.fold)
        return Split(split.train, split.valid, self.dealt.notes)
