"""``tenfold blend``: a run that blends finished runs."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from tenfold.ensembles.weights import METHODS
from tenfold.errors import RecipeError, RunError, did_you_mean
from tenfold.runs.bundle import describe_bundle, describe_member, making_bundle
from tenfold.runs.fitting import finish_run
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
    """Blend runs of one kind. They stay where they are; the blend refers to them.

    weights: a weight per run; equal by default.  method: as in `ensembles.evaluate.evaluate_blend`; of
    ratings it learns from those that all runs held out, and events take ``weights`` only.
    seed: of the random parts in which learned weights are scored.
    Raises RunError for runs that do not fit together.
    """
    started = time.monotonic()
    if method not in (*METHODS, "best"):
        raise RecipeError(f"unknown method {method!r}", fix=did_you_mean(method, (*METHODS, "best")))
    if len(runs) < 2:
        raise RecipeError("a blend is of two runs or more", fix="give further run folders")
    stated = [1.0] * len(runs) if weights is None else list(weights)
    usable = all(0 <= weight < float("inf") for weight in stated) and sum(stated) > 0
    if len(stated) != len(runs) or not usable:
        raise RecipeError(
            f"{len(stated)} weights for {len(runs)} runs: {', '.join(f'{weight:g}' for weight in stated)}",
            fix="give a weight to each run, from 0 up and not all 0",
        )
    twice = {os.path.realpath(run) for run in runs}
    if len(twice) < len(runs):
        raise RecipeError("a run is named twice", fix="give it a weight instead: --weights 2,1")
    opened = [load_run(path) for path in runs]
    members = [
        Member(name, weight, (run,)) for name, weight, run in zip(_names(runs), stated, opened, strict=True)
    ]
    kinds = {run.blended_by for run in opened}
    if len(kinds) > 1 or "" in kinds:
        found = ", ".join(f"{member.name}: {member.runs[0].words}" for member in members)
        fix = "blend single runs of one kind"
        raise RunError("these runs cannot be blended", found=found, fix=fix)
    with making_bundle(output) as (folder, _):
        made = ensemble_class(kinds.pop()).blend(folder, members, method=method, seed=seed)
        folder.write_text("schema.toml", made.schema.to_toml())
        weight_of = {member.name: {"weight": member.weight} for member in members}
        record = describe_bundle(
            folder,
            {
                **made.record,
                "members": [
                    describe_member(
                        folder,
                        member.name,
                        member.weight,
                        [run.path.absolute()],
                        scores=made.scores.get(member.name, {}),
                        seconds=run.record.seconds,
                        peak_bytes=run.record.peak_bytes,
                    )
                    for member, run in zip(members, opened, strict=True)
                ],
                "method": method,
                "seconds": round(time.monotonic() - started, 3),
                "recipe": {"blend": method, "members": weight_of},
            },
        )
    log_all(on_note, made.notes)
    blend = open_run(folder.path, record)
    finish_run(blend, log=on_note)
    return blend


def _names(runs: Sequence[str | os.PathLike[str]]) -> list[str]:
    """Name the members by their folders, and by whole paths where two folders have equal names."""
    short = [Path(os.path.abspath(run)).name for run in runs]
    return [name if short.count(name) == 1 else str(run) for name, run in zip(short, runs, strict=True)]
