"""Networks in a process of their own: an ensemble's check, the training of a member, the blend.

``python -m tenfold.ensembles.worker`` reads one JSON request from standard input, and writes one JSON object
a line to standard output. Whatever a library prints goes to standard error. All memory goes with the process.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from tenfold.data.encode import Encoding, fit_encoding
from tenfold.data.split.holdout import folds_by_time, kfold, number_codes
from tenfold.data.tables.table import Table
from tenfold.data.tables.times import read_times
from tenfold.engine.device import pick_device, pick_precision
from tenfold.ensembles.evaluate import BlendEvaluation, evaluate_blend
from tenfold.ensembles.joined import JoinedNetworks, blend_of
from tenfold.ensembles.requests import BlendRequest, CheckRequest, FitRequest, Request, request_of
from tenfold.ensembles.soup import make_soup, soup_groups
from tenfold.errors import RunError, TenfoldError, of_machine
from tenfold.events import (
    Event,
    ImagesRead,
    Listener,
    NoteAdded,
    RowsPredicted,
    StageBegan,
    StepEnded,
    TrainingChanged,
)
from tenfold.memory.cards import parse_bytes
from tenfold.memory.plan import PlanRequest, plan_memory
from tenfold.memory.training import check_architecture_size
from tenfold.metrics import score_text
from tenfold.networks.inputs import find_pictures, read_source
from tenfold.networks.opened import OpenedNetwork
from tenfold.networks.prepare import WITHOUT_TIMES, check_choices
from tenfold.nn.encoders import load_weights, preprocessing_of
from tenfold.recipe import Recipe
from tenfold.runs.fitting import fit
from tenfold.runs.folder import RunFolder, nan_to_none, read_run
from tenfold.runs.options import Reading
from tenfold.runs.record import RunRecord
from tenfold.runs.run import Member
from tenfold.runs.weights import read_weights
from tenfold.schema import Schema
from tenfold.targets.labels import decide_targets, label_arrays

#: Events that come by the thousand, and the least seconds between two of them that are told.
_MANY, OFTEN = (ImagesRead, StepEnded, RowsPredicted), 0.2


def main() -> int:
    """Answer the request on standard input; 0 where it went well, 2 for what a user can mend."""
    # Whoever started it may ignore Ctrl-C, as a shell's background job does; it must stop when it is told to.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with _own_output() as stream:
        write, tell = _writer(stream), _teller(stream)
        request = json.load(sys.stdin)
        try:
            write({"event": "done", **_answer(request_of(request), tell)})
        except KeyboardInterrupt:
            return 130
        except BrokenPipeError:
            # Whoever asked is gone: the checkpoint is there for when it is asked again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            return 130
        except (TenfoldError, OSError, MemoryError) as error:
            told = error if isinstance(error, TenfoldError) else of_machine(error)
            write(
                {
                    "event": "failed",
                    "kind": type(told).__name__,
                    "message": told.headline,
                    "text": str(told),
                    "problems": list(told.problems),
                }
            )
            return 2
    return 0


@contextmanager
def _own_output() -> Iterator[TextIO]:
    """Standard output for this file alone; what others print goes to standard error."""
    handle = os.dup(1)
    os.dup2(2, 1)
    with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as stream:
        yield stream


def _writer(stream: TextIO) -> Callable[[dict[str, Any]], None]:
    def write(line: dict[str, Any]) -> None:
        stream.write(json.dumps(nan_to_none(line), default=str) + "\n")
        stream.flush()

    return write


def _teller(stream: TextIO) -> Listener:
    last, write = 0.0, _writer(stream)

    def tell(event: Event) -> None:
        nonlocal last
        if isinstance(event, _MANY):
            if time.monotonic() - last < OFTEN:
                return
            last = time.monotonic()
        write(event.to_dict())

    return tell


def _answer(request: Request, tell: Listener) -> dict[str, Any]:
    match request:
        case CheckRequest():
            return _check(request, tell)
        case FitRequest():
            return _fit(request, tell)
        case BlendRequest():
            return _blend(request, tell)
    raise NotImplementedError(request.task)


def _fit(request: FitRequest, tell: Listener) -> dict[str, Any]:
    """Train one member, from its checkpoint where there is one of the very same training."""

    def train(resume: bool) -> dict[str, Any]:
        run = fit(
            request.schema,
            request.recipe,
            request.table,
            run=request.run,
            resume=resume,
            reading=request.reading,
            machine=request.machine,
            on_progress=tell,
            on_note=lambda line: tell(NoteAdded(line)),
        )
        return {"summary": run.summary}

    tell(StageBegan("preparing"))
    try:
        return train(resume=True)
    except RunError as error:
        # Problems are named where it is another training's, or damaged; a run that is in use has none.
        if not error.problems:
            raise
        tell(TrainingChanged(error.problems))
    return train(resume=False)


def _check(request: CheckRequest, tell: Listener) -> dict[str, Any]:
    """Everything that can be refused before the first training: all faults at once, and the plans."""
    faults: list[tuple[str, TenfoldError]] = []
    schema, reading = request.schema, request.reading
    members = {member.name: member.recipe for member in request.members}
    table: Table | None = None
    try:
        table, reading = read_source(request.table, schema, reading)
        schema.check_columns(table.known, table.source)
        schema = decide_targets(schema, table)
    except TenfoldError as error:
        faults.append(("", error))
    encoding, notes = None, list[str]()
    try:
        if table is not None and not faults:
            encoding, notes = fit_encoding(
                schema, next(iter(members.values())), table, mean=(0.5,), std=(0.5,), interpolation="bicubic"
            )
            _check_folds(schema, encoding, table, request.folds)
    except TenfoldError as error:
        faults.append(("", error))
    if table is not None and not faults:
        faults += [("", error) for error in _pictures(table, schema, reading)]
    seen: dict[str, TenfoldError | None] = {}
    for name, recipe in members.items():
        key = f"{recipe.arch} {recipe.image_size} {recipe.weights}"
        if key not in seen and schema.images:
            tell(StageBegan(f"checking {recipe.arch}"))
            seen[key] = _network_fault(recipe)
        fault = seen.get(key)
        if fault is not None:
            faults.append((name, fault))
        try:
            if encoding is not None:
                check_choices(schema, recipe, encoding)
        except TenfoldError as error:
            faults.append((name, error))
    if faults:
        return {"faults": [_told(name, error) for name, error in faults]}
    classes = sum(len(words) for words in encoding.classes.values()) if encoding else 0
    return {"notes": notes, "plans": _plans(request, members, classes or 1)}


def _told(name: str, error: TenfoldError) -> dict[str, Any]:
    return {
        "member": name,
        "kind": type(error).__name__,
        "message": error.headline,
        "problems": list(error.problems),
        "found": error.labels.get("found", ""),
        "fix": error.labels.get("fix", ""),
    }


def _check_folds(schema: Schema, encoding: Encoding, table: Table, folds: int) -> None:
    """Refuse folds that cannot be made. Pictures that repeat are found later, and only make it harder."""
    if not folds:
        return
    groups = [table.text(name) for name in schema.group]
    if schema.time is not None:
        times, _ = read_times(table, schema.time, schema.time_format, without=WITHOUT_TIMES)
        folds_by_time(times, folds=folds, groups=groups, source=table.source, lines=table.lines)
        return
    labels, _, _ = label_arrays(encoding.classes, encoding.targets, schema, table)
    dealt = {name: number_codes(one) if one.dtype.kind == "f" else one for name, one in labels.items()}
    kfold(table.rows, folds=folds, seed=0, labels=dealt, groups=groups)


def _pictures(table: Table, schema: Schema, reading: Reading) -> list[TenfoldError]:
    faults: list[TenfoldError] = []
    for column in schema.images:
        folder = Path(reading.folders.get(column.name, column.folder))
        try:
            found = find_pictures(table, column, folder, reading)
            if found.problems and not reading.skip_bad:
                faults.append(found.error(found.problems, fix="mend these rows, or set skip_bad = true"))
        except TenfoldError as error:
            faults.append(error)
    return faults


def _network_fault(recipe: Recipe) -> TenfoldError | None:
    try:
        preprocessing_of(recipe.arch)
        weights = read_weights(recipe.weights) if recipe.weights not in ("hub", "none") else None
        body = check_architecture_size(recipe.arch, recipe.image_size)
        if weights is not None:
            load_weights(body, weights, Path(recipe.weights).name)
    except TenfoldError as error:
        return error
    return None


def _plans(request: CheckRequest, members: Mapping[str, Recipe], classes: int) -> dict[str, Any]:
    """Member -> bytes that its training is foreseen to hold; nothing where no plan is asked for."""
    if not request.plan:
        return {}
    device = pick_device(request.machine.device)
    size = parse_bytes(request.machine.budget or "auto")
    found: dict[str, Any] = {"budget_bytes": size.size_bytes}
    for name, recipe in members.items():
        precision = pick_precision(recipe.precision, device)
        try:
            chosen = recipe.model_copy(update={"precision": precision})
            share = size.size_bytes // request.plan
            asked = PlanRequest(share, chosen, device.type, size.card, classes=classes)
            plan = plan_memory(recipe.arch, asked)
            found[name] = plan.band_bytes[1] if plan.fits else None
        except TenfoldError:
            found[name] = None
    return found


def _blend(request: BlendRequest, tell: Listener) -> dict[str, Any]:
    """Evaluate the blend of the finished members, and write the table of their held-out answers."""
    tell(StageBegan("blending"))
    folder = Path(request.folder)
    members = [
        Member(member.name, member.weight, tuple(_opened(folder / path) for path in member.runs))
        for member in request.members
    ]
    blend = blend_of(folder, members, RunRecord({}))
    # The lock is held by whoever asked.
    evaluation = evaluate_blend(
        RunFolder(folder, folder, -1),
        blend,
        method=request.method,
        seed=request.seed,
        one_table=True,
    )
    soups: list[dict[str, Any]] = []
    if request.soup:
        members, evaluation, blend, soups = _with_soups(request, members, evaluation, blend)
    rows = max(run.record.rows for member in members for run in member.runs)
    majority = members[0].runs[0].record.majority
    return {
        "judged": {**evaluation.record(), "rows": rows, "majority": majority},
        "scores": evaluation.members,
        "soups": soups,
        "schema": blend.schema.to_toml(),
        "notes": [*blend.notes, *evaluation.notes],
    }


def _with_soups(
    request: BlendRequest,
    members: list[Member[OpenedNetwork]],
    evaluation: BlendEvaluation,
    blend: JoinedNetworks,
) -> tuple[list[Member[OpenedNetwork]], BlendEvaluation, JoinedNetworks, list[dict[str, Any]]]:
    """Try a soup of each group of like members, and keep those that lower the blend's loss."""
    folder, kept = Path(request.folder), list[dict[str, Any]]()
    evaluate = partial(evaluate_blend, method=request.method, seed=request.seed, one_table=True)
    for group in soup_groups(members):
        soup = make_soup(group, folder / "members", request.table, request.reading, request.machine.device)
        wider = blend_of(folder, [*members, soup], RunRecord({}))
        tried = evaluate(None, wider)
        before, after = evaluation.loss, tried.loss
        names = " and ".join(member.name for member in group)
        if after < before:
            members, blend = [*members, soup], wider
            notes = evaluation.notes
            evaluation = evaluate(RunFolder(folder, folder, -1), wider)
            evaluation.notes = [
                *notes,
                f"soup of {names}: loss {score_text(before)} -> {score_text(after)}: kept",
            ]
            paths = [f"members/{run.path.name}" for run in soup.runs]
            kept.append({"name": soup.name, "weight": soup.weight, "runs": paths})
            continue
        evaluation.notes.append(
            f"soup of {names}: loss {score_text(before)} -> {score_text(after)}: not kept"
        )
        for run in soup.runs:
            shutil.rmtree(run.path, ignore_errors=True)
    return members, evaluation, blend, kept


def _opened(path: Path) -> OpenedNetwork:
    folder, about = read_run(path)
    return OpenedNetwork.open(folder, RunRecord(about))


if __name__ == "__main__":
    sys.exit(main())
