"""Making a run: begin, prepare, finished already?, train, write, history, page."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import cast

from tenfold.errors import RecipeError, TenfoldError, TrainingError
from tenfold.events import Listener, begin_stage
from tenfold.processes import this_rank
from tenfold.runs.folder import has_finished, making_run
from tenfold.runs.history import record_run
from tenfold.runs.job import FitJob, Notes, SharedJob, log_all
from tenfold.runs.options import FitOptions, Machine, Reading, SplitRule, parse_seconds
from tenfold.runs.registry import AnyRecipe, job_for, load_run, open_run
from tenfold.runs.run import Run
from tenfold.schema import Schema
from tenfold.values import Log


def fit(
    schema: Schema,
    recipe: AnyRecipe,
    table: object,
    *,
    run: str | os.PathLike[str] | None = None,
    report: bool = True,
    history: bool = True,
    resume: bool = False,
    reading: Reading | None = None,
    table_options: Mapping[str, object] | None = None,
    skip_bad: bool | None = None,
    time_format: str | None = None,
    time_limit: float | str | None = None,
    machine: Machine | None = None,
    split_rule: SplitRule | None = None,
    on_progress: Listener | None = None,
    on_note: Log | None = None,
) -> Run:
    """Train on the rows of a table and write a run folder.

    schema: two id columns and a rating make a recommender; other inputs are for networks.
    recipe: a `FactorRecipe` for ratings, or a `RatingNetworkRecipe` for a network of them; else a `Recipe`.
    table: a path, a data frame, a mapping of columns, a folder of pictures, or a `Table`.
    run: the folder to make, by default the next free number under ``runs/``. An older run of that name stays
        until this one has finished.
    report: write the run's page, too: ``report.html``.  history: add the run to the history beside it.
    resume: go on with an unfinished run there, to the same weights as if it had never stopped.
    reading: how tables and pictures are read; table_options and skip_bad are its `table` and `skip_bad`.
    time_format: of the times of ratings.  machine: how this machine is used.
    time_limit: for networks: seconds, or a text such as ``20min``. Epochs and a size of pictures that the
        recipe does not give are chosen by measured steps so as to end in time.
    split_rule: for networks: splits the rows instead of the recipe.
    on_progress: called with pictures, steps and epochs.  on_note: called with every message.
    Under `torchrun` all processes call this; rank 0 writes, and the others open what it wrote.
    Raises a TenfoldError for what is wrong with the input before anything is trained.
    """
    options = fit_options(
        reading, machine, table_options=table_options, skip_bad=skip_bad, time_format=time_format
    )
    limit = None if time_limit is None else parse_seconds(time_limit)
    options = replace(options, split_rule=split_rule, on_progress=on_progress, time_limit=limit)
    if limit is not None and resume and "epochs" not in recipe.model_fields_set:
        raise RecipeError(
            "a stopped training goes on with its own number of epochs, not with those that fit a time limit",
            fix="give the epochs and the image size that it printed with 'time limit'",
        )
    job = job_for(schema, recipe, table, options)
    if this_rank().number:
        return load_run(cast(SharedJob, job).take_part() or run or "")
    made = run_fit(job, next_run() if run is None else run, resume=resume, log=on_note)
    if report:
        begin_stage(on_progress, "writing the report")
    finish_run(made, report=report, history=history, log=on_note)
    return made


def fit_options(
    reading: Reading | None = None,
    machine: Machine | None = None,
    *,
    table_options: Mapping[str, object] | None = None,
    skip_bad: bool | None = None,
    time_format: str | None = None,
) -> FitOptions:
    """Options of a training; table_options and skip_bad replace those of the reading where they are given."""
    how = reading or Reading()
    table = how.table if table_options is None else table_options
    how = replace(how, table=table, skip_bad=how.skip_bad if skip_bad is None else skip_bad)
    return FitOptions(how, machine or Machine(), time_format)


def run_fit(
    job: FitJob, path: str | os.PathLike[str], *, resume: bool = False, log: Log | None = None
) -> Run:
    """Make a run; returns it. Its files are hashed once.

    path: the folder to make; an older run of that name stays until this one has finished.
    resume: go on with an unfinished run there; a finished run of the same identity is opened as it is.
    Raises RunError where the folder cannot be written, or the run to be resumed is of another training.
    """
    started = time.monotonic()
    notes = Notes(log)
    with making_run(path, resume=resume, on_notes=notes.add) as folder, job.machine() as peak:
        if resume:
            job.continues(folder.recipe_so_far())
        work = job.prepare(notes)
        identity = work.identity
        record = has_finished(folder, identity, job.word) if resume else None
        if record is not None:
            notes.add([f"{folder.final} has finished already: nothing to go on with"])
            return open_run(folder.final, record)
        fitted = work.train(folder, notes)
        del work
        folder.write_text("schema.toml", fitted.schema.to_toml())
        folder.write_text("recipe.toml", fitted.recipe.to_toml())
        record = folder.finish(
            {
                **fitted.record,
                "identity": identity,
                "seconds": round(time.monotonic() - started, 3),
                "peak_bytes": peak(),
                "notes": notes.lines,
            }
        )
    if fitted.stopped:
        raise TrainingError(
            fitted.stopped, found=f"{folder.final} holds the weights of the last good epoch", fix=fitted.fix
        )
    return open_run(folder.final, record)


def finish_run(run: Run, *, report: bool = True, history: bool = True, log: Log | None = None) -> None:
    """Add a run to the history beside it, and write its page; if that fails the run is not lost."""
    log_all(log, record_run(run.path) if history else ())
    try:
        if report:
            run.write_page()
    except TenfoldError as error:
        log_all(log, [f"no report was written: {error.headline}"])


def next_run() -> Path:
    """The next free number under ``runs/``."""
    taken = {entry.name.partition(".")[0] for entry in Path("runs").glob("*")}
    return Path("runs") / next(name for name in (f"{number:03d}" for number in count(1)) if name not in taken)
