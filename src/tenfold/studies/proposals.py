"""Proposals of a search and what became of them, kept in a file: the only room of Optuna."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tenfold.errors import DependencyError, RunError
from tenfold.studies.searched import Range, SearchTrial, Space

if TYPE_CHECKING:
    import optuna

__all__ = ["Proposal", "Proposals", "quiet"]

#: The study's file in the folder of the trainings, and its name in Optuna's words.
STUDY, NAME = "study.log", "tenfold"
#: Trials at random before the first proposal that learns from them, and before the first that is pruned.
AT_RANDOM, UNPRUNED = 8, 5


@contextmanager
def quiet() -> Iterator[None]:
    """Optuna's own lines on the screen are left out."""
    try:
        import optuna
    except ImportError:
        raise DependencyError(
            "a search over several settings needs Optuna, which is not installed",
            fix="pip install 'tenfold[optuna]'",
        ) from None
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


@dataclass
class Proposal:
    """A trial in Optuna's words. is_own: whether it has the recipe's own values."""

    trial: optuna.Trial
    is_own: bool

    @property
    def drawn(self) -> Mapping[str, object]:
        """Field -> the proposed value."""
        return self.trial.params

    def is_behind(self, figure: float, step: int) -> bool:
        """Report a figure of the step; whether it is behind the median of earlier trials there."""
        self.trial.report(figure, step)
        return self.trial.should_prune()


@dataclass
class Proposals:
    """A study in Optuna's words. seed: of all draws."""

    study: optuna.Study
    seed: int

    @classmethod
    def open(cls, folder: Path, *, higher: bool, seed: int, unjudged: int | None) -> Proposals:
        """The study of a folder, or a new one.

        unjudged: steps of a trial before it may be behind; None: it never is.
        """
        import optuna
        from optuna.storages.journal import JournalFileBackend

        folder.mkdir(parents=True, exist_ok=True)
        pruner: optuna.pruners.BasePruner = optuna.pruners.NopPruner()
        if unjudged is not None:
            pruner = optuna.pruners.MedianPruner(n_startup_trials=UNPRUNED, n_warmup_steps=unjudged)
        study = optuna.create_study(
            storage=optuna.storages.JournalStorage(JournalFileBackend(str(folder / STUDY))),
            study_name=NAME,
            load_if_exists=True,
            direction="maximize" if higher else "minimize",
            pruner=pruner,
        )
        return cls(study, seed)

    def check(self, identity: Mapping[str, object]) -> None:
        """Refuse a study of something else; forget trials that were stopped half-way."""
        import optuna

        now = json.loads(json.dumps(identity))
        before = self.study.user_attrs.get("identity")
        if before is None:
            self.study.set_user_attr("identity", now)
        elif before != now:
            changed = [name for name in now if now[name] != before.get(name)]
            raise RunError(
                "the folder holds the search of another question",
                problems=[f"{name} differs" for name in changed],
                fix="give another folder with --runs, or table and options as they were",
            )
        for trial in self.study.get_trials(deepcopy=False):
            if trial.state == optuna.trial.TrialState.RUNNING:
                self.study.tell(trial.number, state=optuna.trial.TrialState.FAIL)

    def keep_rows(self, rows: tuple[int, int]) -> None:
        """Keep the numbers of rows of training and validation."""
        if any(rows):
            self.study.set_user_attr("rows", list(rows))

    def rows(self) -> tuple[int, int]:
        """The rows of training and validation, 0 before the first training."""
        train, valid = self.study.user_attrs.get("rows", (0, 0))
        return train, valid

    def ask(self, space: Space, number: int, own: Mapping[str, object] | None) -> Proposal:
        """A proposal. number: of the trials before it; the same history gives the same proposal.

        own: the values to propose.
        """
        import optuna

        kinds = optuna.distributions
        seed = np.random.SeedSequence([self.seed, number]).generate_state(1)[0]
        self.study.sampler = optuna.samplers.TPESampler(
            seed=int(seed), n_startup_trials=AT_RANDOM, constant_liar=True
        )
        waiting = self.study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.WAITING,))
        if own is not None and not waiting:
            self.study.enqueue_trial(dict(own))
        distributions: dict[str, optuna.distributions.BaseDistribution] = {}
        for name, tried in space.items():
            if not isinstance(tried, Range):
                distributions[name] = kinds.CategoricalDistribution(tried)
            elif tried.whole:
                distributions[name] = kinds.IntDistribution(int(tried.low), int(tried.high), log=tried.log)
            else:
                distributions[name] = kinds.FloatDistribution(tried.low, tried.high, log=tried.log)
        return Proposal(self.study.ask(distributions), own is not None)

    def tell(self, proposal: Proposal, end: SearchTrial) -> None:
        """Keep how a trial ended. A failed one counts as a pruned one without figures: as the worst."""
        import optuna

        about = {
            "choices": dict(end.choices),
            "seconds": end.seconds,
            "failed": end.failed,
            "own": end.is_own,
            "targets": end.targets,
        }
        proposal.trial.set_user_attr("end", about)
        if end.status == "finished":
            self.study.tell(proposal.trial, end.score)
        else:
            self.study.tell(proposal.trial, state=optuna.trial.TrialState.PRUNED)

    def ended(self) -> tuple[SearchTrial, ...]:
        """All trials that have ended by themselves, in their order."""
        import optuna

        states = optuna.trial.TrialState
        found: list[SearchTrial] = []
        for trial in self.study.get_trials(deepcopy=False, states=(states.COMPLETE, states.PRUNED)):
            end = trial.user_attrs["end"]
            finished = trial.state == states.COMPLETE
            found.append(
                SearchTrial(
                    len(found),
                    end["choices"],
                    trial.value if finished and trial.value is not None else math.nan,
                    "finished" if finished else "failed" if end["failed"] else "pruned",
                    end["seconds"],
                    end["failed"],
                    end["own"],
                    end["targets"],
                )
            )
        return tuple(found)
