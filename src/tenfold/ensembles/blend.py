"""One run of several that are there already: what ``tenfold blend`` makes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenfold.ensembles.weights import METHODS
from tenfold.errors import RecipeError, RunError, did_you_mean
from tenfold.reports.report import report_finished
from tenfold.runs.bundle import describe_bundle, making_bundle
from tenfold.runs.folder import file_digest
from tenfold.runs.history import record_run
from tenfold.studies.predict import load_run

Tell = Callable[[str], None]


def blend_request(given: Mapping[str, Any], on_note: Tell | None = None) -> Any:
    """Make the blend that the options of ``tenfold blend`` ask for."""
    if not given["output"]:
        raise RecipeError("no folder is given", fix="give one with -o, for example -o runs/blend")
    weights = None
    if given["weights"] is not None:
        try:
            weights = [float(part) for part in given["weights"].split(",")]
        except ValueError:
            raise RecipeError(
                f"--weights {given['weights']!r} are no numbers", fix="write one a run, as 1,2,1"
            ) from None
    return blend_runs(
        given["runs"],
        output=given["output"],
        weights=weights,
        method=given["method"],
        seed=given["seed"],
        on_note=on_note,
    )


@dataclass(frozen=True)
class _Part:
    name: str
    weight: float
    path: Path
    run: Any


def blend_runs(
    runs: Sequence[str | os.PathLike[str]],
    *,
    output: str | os.PathLike[str],
    weights: Sequence[float] | None = None,
    method: str = "weights",
    seed: int = 0,
    on_note: Tell | None = None,
) -> Any:
    """Make one run of several, of pictures or of ratings; they stay where they are and are referred to.

    weights: one a run, all alike where not given.  method: as `ensembles.evaluate.evaluate_blend` has it;
    ratings know
    ``weights`` only, since their runs keep no held-out answers.  seed: of the parts that learned weights are
    scored in. Raises RunError for runs that do not fit together.
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
        _Part(name, weight, Path(path).absolute(), load_run(path))
        for name, weight, path in zip(_names(runs), stated, runs, strict=True)
    ]
    kinds = {bool(part.run.schema.ids) for part in parts}
    if len(kinds) > 1 or any(hasattr(part.run, "members") for part in parts):
        found = ", ".join(f"{part.name}: {_kind(part.run)}" for part in parts)
        fix = "blend single runs of one kind"
        raise RunError("these runs cannot be blended", found=found, fix=fix)
    make = _ratings if kinds == {True} else _networks
    with making_bundle(output) as (folder, _):
        about, notes = make(folder, parts, method, seed)
        about |= {"seconds": round(time.monotonic() - started, 3)}
        about["recipe"] = {"blend": method, "members": {one.name: {"weight": one.weight} for one in parts}}
        folder.write_text("schema.toml", about.pop("schema"))
        describe_bundle(folder, about)
    notes += [*record_run(folder.path), *report_finished(folder.path)]
    for note in notes if on_note is not None else ():
        on_note(note)  # type: ignore[misc]
    return load_run(folder.path)


def _kind(run: Any) -> str:
    if hasattr(run, "members"):
        return "a blend"
    return "ratings" if run.schema.ids else "pictures"


def _names(runs: Sequence[str | os.PathLike[str]]) -> list[str]:
    """What members are called: their folders' names, and whole paths where two are alike."""
    short = [Path(os.path.abspath(run)).name for run in runs]
    return [name if short.count(name) == 1 else str(run) for name, run in zip(short, runs, strict=True)]


def _member(folder: Any, part: _Part, scores: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": part.name,
        "weight": part.weight,
        "status": "finished",
        "runs": [
            {
                "path": os.path.relpath(part.path, folder.path),
                "sha256": file_digest(part.path / "run.json"),
            }
        ],
        "scores": scores,
        "seconds": part.run.about["seconds"],
        "peak_bytes": part.run.about["peak_bytes"],
    }


def _networks(
    folder: Any, parts: Sequence[_Part], method: str, seed: int
) -> tuple[dict[str, Any], list[str]]:
    from tenfold.engine.device import peak_bytes, pick_device
    from tenfold.ensembles.evaluate import evaluate_blend
    from tenfold.ensembles.networks import BlendMember, blend_of

    members = [BlendMember(part.name, part.weight, (part.run,)) for part in parts]
    blend = blend_of(folder.path, members, {}, {})
    judged = evaluate_blend(folder, blend, method=method, seed=seed)
    tables = {part.run.about.get("table") for part in parts}
    about = {
        "of": "network",
        "table": tables.pop() if len(tables) == 1 else None,
        "reading": parts[0].run.about.get("reading") or {},
        "members": [_member(folder, part, judged.members.get(part.name, {})) for part in parts],
        **judged.record(),
        "rows": max(part.run.about["rows"] for part in parts),
        "majority": parts[0].run.about.get("majority", {}),
        "method": method,
        "peak_bytes": peak_bytes(pick_device("auto")),
        "schema": blend.schema.to_toml(),
    }
    return about, [*blend.about["joining"], *judged.notes]


def _ratings(folder: Any, parts: Sequence[_Part], method: str, seed: int) -> tuple[dict[str, Any], list[str]]:
    from tenfold.ensembles.recommenders import ratings_blend_of
    from tenfold.recommenders.factors import peak_bytes

    if method != "weights":
        raise RecipeError(
            f"--method {method} learns from held-out answers, which runs of ratings do not keep",
            fix="give --weights, and compare by tenfold evaluate",
        )
    blend = ratings_blend_of(
        folder.path,
        [one.name for one in parts],
        [one.weight for one in parts],
        [one.run for one in parts],
        {},
    )
    target = blend.schema.targets[0].name or "event"
    shares = {part.name: part.weight / sum(one.weight for one in parts) for part in parts}
    about = {
        "of": "ratings",
        "members": [_member(folder, part, part.run.scores) for part in parts],
        "weights": {target: shares},
        "targets": {},
        "method": method,
        "peak_bytes": peak_bytes(),
        "schema": blend.schema.to_toml(),
    }
    return about, []
