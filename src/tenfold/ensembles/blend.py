"""One run of several that are there already: what ``tenfold blend`` makes."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tenfold.ensembles.weights import METHODS
from tenfold.errors import RecipeError, RunError, did_you_mean
from tenfold.runs.bundle import describe_bundle, describe_member, making_bundle
from tenfold.runs.fitting import finish_run
from tenfold.runs.folder import RunFolder
from tenfold.runs.job import log_all
from tenfold.runs.registry import ensemble_class, load_run, open_run
from tenfold.runs.run import Member, Run
from tenfold.values import Log


def blend_runs(
    runs: Sequence[str | os.PathLike[str]],
    *,
    output: str | os.PathLike[str],
    weights: Sequence[float] | None = None,
    method: str = "weights",
    seed: int = 0,
    on_note: Log | None = None,
) -> Run:
    """Make one run of several of one kind; they stay where they are and are referred to.

    weights: one a run, all alike where not given.  method: as `ensembles.evaluate.evaluate_blend` has it;
    ratings know ``weights`` only, since their runs keep no held-out answers.
    seed: of the parts that learned weights are scored in.
    Raises RunError for runs that do not fit together.
    """
    started = time.monotonic()
    if method not in (*METHODS, "best"):
        raise RecipeError(f"there is no method {method!r}", fix=did_you_mean(method, (*METHODS, "best")))
    if len(runs) < 2:
        raise RecipeError("a blend is of two runs or more", fix="give further run folders")
    stated = [1.0] * len(runs) if weights is None else list(weights)
    if len(stated) != len(runs) or not all(0 <= one < float("inf") for one in stated) or not sum(stated):
        raise RecipeError(
            f"{len(stated)} weights for {len(runs)} runs: {', '.join(f'{one:g}' for one in stated)}",
            fix="give one to each run, from 0 up and not all 0",
        )
    twice = {os.path.realpath(run) for run in runs}
    if len(twice) < len(runs):
        raise RecipeError("a run is named twice", fix="give it a weight instead: --weights 2,1")
    parts = [
        Member(name, weight, (load_run(path),))
        for name, weight, path in zip(_names(runs), stated, runs, strict=True)
    ]
    kinds = {run.blended_by for part in parts for run in part.runs}
    if len(kinds) > 1 or "" in kinds:
        found = ", ".join(f"{part.name}: {part.runs[0].words}" for part in parts)
        fix = "blend single runs of one kind"
        raise RunError("these runs cannot be blended", found=found, fix=fix)
    with making_bundle(output) as (folder, _):
        made = ensemble_class(kinds.pop()).blend(folder, parts, method=method, seed=seed)
        folder.write_text("schema.toml", made.schema.to_toml())
        chosen = {part.name: {"weight": part.weight} for part in parts}
        record = describe_bundle(
            folder,
            {
                **made.record,
                "members": [_member(folder, part, made.scores.get(part.name, {})) for part in parts],
                "method": method,
                "seconds": round(time.monotonic() - started, 3),
                "recipe": {"blend": method, "members": chosen},
            },
        )
    log_all(on_note, made.notes)
    blend = open_run(folder.path, record)
    finish_run(blend, log=on_note)
    return blend


def _names(runs: Sequence[str | os.PathLike[str]]) -> list[str]:
    """What members are called: their folders' names, and whole paths where two are alike."""
    short = [Path(os.path.abspath(run)).name for run in runs]
    return [name if short.count(name) == 1 else str(run) for name, run in zip(short, runs, strict=True)]


def _member(folder: RunFolder, part: Member[Run], scores: Mapping[str, Any]) -> dict[str, Any]:
    [run] = part.runs
    return describe_member(
        folder,
        part.name,
        part.weight,
        [run.path.absolute()],
        scores=scores,
        seconds=run.record.seconds,
        peak_bytes=run.record.peak_bytes,
    )
