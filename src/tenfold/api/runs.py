"""Finished runs in a Python program or a notebook: opened, blended, explained and listed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast, overload

import numpy as np
from numpy.typing import NDArray

from tenfold.api.progress import in_notebook, showing
from tenfold.errors import RunError
from tenfold.events import Listener
from tenfold.frames import RowTable
from tenfold.metrics import score_text
from tenfold.runs.history import Recorded, read_history
from tenfold.runs.options import ExplainOptions, Machine, Reading
from tenfold.runs.registry import load_run as open_run
from tenfold.runs.registry import open_recommender, opened
from tenfold.runs.run import Run
from tenfold.targets.words import SHORT, short_score
from tenfold.values import Log, read_score

if TYPE_CHECKING:
    from tenfold.recommenders.inspect import Inspection
    from tenfold.recommenders.run import RecommenderRun

AnyRun = TypeVar("AnyRun", bound=Run)


@overload
def load_run(path: str | os.PathLike[str]) -> Run: ...
@overload
def load_run(path: str | os.PathLike[str], kind: type[AnyRun]) -> AnyRun: ...
def load_run(path: str | os.PathLike[str], kind: type[Run] = Run) -> Run:
    """Open a finished run folder. Its files are checked against their checksums and cannot run code.

    kind: the class that the run must have, as `tenfold.NetworkRun` or `tenfold.RecommenderRun`. A type
        checker then knows what it can do:
        ``tenfold.load_run("runs/films", tenfold.RecommenderRun).recommend("u7")``.

    Raises RunError where there is no run, it is damaged, unfinished or of a later version, or is of another
    kind.
    """
    run = open_run(path)
    if not isinstance(run, kind):
        raise RunError(
            f"{path} is {run.words}, and a {kind.__name__} is asked for",
            fix=f"tenfold.load_run({os.fspath(path)!r}) opens a run of any kind",
        )
    return run


def blend(
    runs: Sequence[str | os.PathLike[str] | Run],
    *,
    output: str | os.PathLike[str],
    weights: Sequence[float] | None = None,
    method: str = "weights",
    seed: int = 0,
    quiet: bool = False,
    on_note: Log | None = None,
) -> Run:
    """Make a run that answers with the mean of several runs of one kind (``tenfold blend``).

    runs: folders, or opened runs; they stay where they are, and the blend refers to them.
    output: the folder to make.  weights: a number for each run, equal by default.
    method: ``weights``, or ``greedy``, ``convex`` or ``best``, which learn the weights from held-out rows.
    seed: of the parts in which learned weights are scored.  quiet: show no messages.

    Raises RunError for runs that do not fit together.
    """
    from tenfold.ensembles.blend import blend_runs

    with showing(quiet, on_note=on_note) as (_, log):
        return blend_runs(runs, output=output, weights=weights, method=method, seed=seed, on_note=log)


def ensemble(
    recipe: str | os.PathLike[str],
    *,
    output: str | os.PathLike[str],
    jobs: int | str | None = None,
    on: str | None = None,
    reading: Reading | None = None,
    machine: Machine | None = None,
    quiet: bool = False,
    on_progress: Listener | None = None,
    on_note: Log | None = None,
) -> Run:
    """Train the members of an ensemble, each in a fresh process, and blend them (``tenfold ensemble``).

    recipe: the ensemble's file (docs/formats.md; ``tenfold ensemble --example`` prints one).
    output: the folder to make; run again, it skips members that have finished.
    jobs: members at once, or ``"auto"``: by default 1, on a cluster all.  quiet: show nothing.
    on: train on a Ray cluster: ``local``, ``auto`` or its address.

    Raises RecipeError with all faults before anything is trained, and TrainingError if a member fails.
    """
    from tenfold.data.tables.jobfile import read_ensemble
    from tenfold.ensembles.train import train_ensemble

    file = read_ensemble(recipe)
    with ExitStack() as stack:
        log = on_note if quiet or on_note is not None else print_note
        if not (quiet or in_notebook() or on_progress is not None or on_note is not None):
            from tenfold.cli.progress import MembersDisplay

            display = stack.enter_context(MembersDisplay())
            on_progress, log = display.progress, display.note
        finished = train_ensemble(
            file,
            output=output,
            jobs=None if jobs is None else str(jobs),
            on=on,
            reading=reading,
            machine=machine,
            on_progress=on_progress,
            on_note=log,
        )
    return open_run(finished.path)


def print_note(text: str) -> None:
    """Show a message below a notebook's cell."""
    from tenfold.cli.console import say

    say(text)


def explain(
    run: str | os.PathLike[str] | Run,
    rows: Sequence[str] = (),
    *,
    items: Sequence[str] = (),
    table: object = None,
    n: int = 12,
    output: str | os.PathLike[str] | None = None,
) -> Path:
    """Write a workbook whose formulas compute a run's answers again; returns its path.

    rows: ids of rows, or users of a recommender; by default representative ones.  items: of a recommender.
    table: that holds the rows, if not the training's.  n: most rows.
    output: an ``.xlsx`` file, by default ``explain.xlsx`` in the run's folder.
    """
    run = opened(run)
    options = ExplainOptions(table=run.source if table is None else table, items=items, n=n)
    return Path(str(run.write_explanation(rows, options, output)["output"]))


def report(
    run: str | os.PathLike[str] | Run, output: str | os.PathLike[str] | None = None, *, worst: int = 12
) -> Path:
    """Write a run's page, a single HTML file; returns its path.

    output: by default ``report.html`` in the run's folder.  worst: rows of the highest loss per target.
    """
    return Path(opened(run).write_page(output, worst=worst)["output"])


def inspect(run: str | os.PathLike[str] | Run, *, n: int = 15) -> Inspection:
    """Look into a recommender: biases, a crosstab of users and items, maps of factors (``tenfold inspect``).

    n: users, and items, in the crosstab. Raises RunError for a run whose scores are not products of factors.
    """
    from tenfold.recommenders.inspect import inspect_run

    return inspect_run(cast("RecommenderRun", open_recommender(run)), n=n)


class RunList(RowTable):
    """The runs of a folder, best first, as ``tenfold runs`` lists them.

    runs: with all that the history keeps of each.
    """

    def __init__(self, folder: str, runs: Sequence[Recorded]) -> None:
        self.folder, self.runs = folder, tuple(runs)

    def columns(self) -> dict[str, NDArray[np.generic]]:
        """Name -> (runs,) cells: the run, its score in words, the gain over its parent, and what changed."""
        scores = []
        for run in self.runs:
            words = []
            for name, own in run.targets.items():
                key = short_score(own)
                words += [f"{name}: {SHORT[key].format(score_text(read_score(own, key)))}"] if key else []
            scores.append("; ".join(words))
        texts = {
            "run": [run.run for run in self.runs],
            "score": scores,
            "parent": [run.parent for run in self.runs],
        }
        columns: dict[str, NDArray[np.generic]] = {
            name: np.array(cells, dtype=object) for name, cells in texts.items()
        }
        columns["gain"] = np.array([run.gain for run in self.runs], dtype=np.float64)
        columns["changed"] = np.array(["; ".join(run.changed) for run in self.runs], dtype=object)
        columns["seconds"] = np.array([run.seconds for run in self.runs], dtype=np.float64)
        return columns

    @property
    def headline(self) -> str:
        return f"{len(self)} runs of {self.folder}"


def list_runs(folder: str | os.PathLike[str] = "runs") -> RunList:
    """The runs of a folder, best first, with what changed since the run before (``tenfold runs``)."""
    return RunList(os.fspath(folder), read_history(folder))
