"""What a worker does for networks: it checks recipes, measures steps, and blends answers."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from tenfold.data.encode import Encoding, fit_encoding
from tenfold.data.split.holdout import folds_by_time, kfold, number_codes
from tenfold.data.tables.table import Table
from tenfold.data.tables.times import read_times
from tenfold.engine.device import compute_threads, keep_freed_memory, pick_device, pick_precision
from tenfold.ensembles.evaluate import evaluate_blend
from tenfold.ensembles.joined import blend_of
from tenfold.ensembles.requests import (
    BlendAnswer,
    BlendRequest,
    CheckAnswer,
    CheckRequest,
    Fault,
    Soup,
    TimeAnswer,
    TimeRequest,
)
from tenfold.ensembles.soup import make_soup, soup_groups
from tenfold.errors import TenfoldError
from tenfold.events import (
    Listener,
    StageBegan,
)
from tenfold.memory.cards import parse_bytes
from tenfold.memory.plan import PlanRequest, plan_memory
from tenfold.memory.training import check_architecture_size
from tenfold.metrics import score_text
from tenfold.networks.inputs import find_pictures, read_source
from tenfold.networks.opened import OpenedNetwork, resolved_recipe
from tenfold.networks.prepare import WITHOUT_TIMES, check_choices
from tenfold.networks.timing import RowSeconds, time_architecture, training_costs
from tenfold.nn.encoders import load_weights, preprocessing_of
from tenfold.recipe import Recipe, network_recipe
from tenfold.runs.folder import RunFolder, read_run
from tenfold.runs.options import Reading
from tenfold.runs.record import RunRecord
from tenfold.runs.run import Member
from tenfold.runs.weights import read_weights, weights_file
from tenfold.schema import Schema
from tenfold.targets.labels import decide_targets, label_arrays

#: Seconds of a row of a table without pictures in a step, with room.
TABLE_ROW = 5e-5


def measure_members(request: TimeRequest) -> TimeAnswer:
    """Measure a step of every member on random pictures. Steps of tables are not worth measuring."""
    answer = TimeAnswer(once={}, epoch={})
    table, _ = read_source(request.table, request.schema, request.reading)
    device = pick_device(request.machine.device)
    if device.type == "cpu":
        keep_freed_memory()
    for member in request.members:
        recipe = resolved_recipe(network_recipe(member.recipe), request.schema)
        rows = RowSeconds(TABLE_ROW, TABLE_ROW)
        if request.schema.images:
            rows = time_architecture(recipe, device)
        valid = round(table.rows * recipe.valid)
        costs = training_costs(recipe, rows, train=table.rows - valid, valid=valid)
        answer["once"][member.name], answer["epoch"][member.name] = costs.once, costs.epoch
    return answer


def check_networks(request: CheckRequest, tell: Listener) -> CheckAnswer:
    """Find all faults that can be refused before the first training, and make the plans."""
    faults: list[Fault] = []

    @contextmanager
    def collecting(member: str = "") -> Iterator[None]:
        try:
            yield
        except TenfoldError as error:
            faults.append(_fault(error, member))

    schema, reading = request.schema, request.reading
    members = {member.name: network_recipe(member.recipe) for member in request.members}
    table: Table | None = None
    encoding: Encoding | None = None
    with collecting():
        table, reading = read_source(request.table, schema, reading)
        schema.check_columns(table.known, table.source)
        schema = decide_targets(schema, table)
        encoding, _ = fit_encoding(
            schema, next(iter(members.values())), table, mean=(0.5,), std=(0.5,), interpolation="bicubic"
        )
        _check_folds(schema, encoding, table, request.folds)
    if table is not None and not faults:
        faults += [_fault(error) for error in _pictures(table, schema, reading)]
    checked: dict[str, TenfoldError | None] = {}
    for name, recipe in members.items():
        key = f"{recipe.arch} {recipe.image_size} {recipe.weights}"
        if key not in checked and schema.images:
            tell(StageBegan(f"checking {recipe.arch}"))
            checked[key] = _network_fault(recipe)
        error = checked.get(key)
        if error is not None:
            faults.append(_fault(error, name))
        if encoding is not None:
            with collecting(name):
                check_choices(schema, recipe, encoding)
    answer = CheckAnswer(faults=faults, plans={}, budget_bytes=0, threads=compute_threads())
    if request.plan and not faults:
        classes = sum(map(len, encoding.classes.values())) if encoding else 0
        answer["budget_bytes"], answer["plans"] = _plans(request, members, classes or 1)
    return answer


def _fault(error: TenfoldError, member: str = "") -> Fault:
    fix = error.labels.get("fix", "")
    return Fault(member=member, message=error.headline, problems=list(error.problems), fix=fix)


def _check_folds(schema: Schema, encoding: Encoding, table: Table, folds: int) -> None:
    """Refuse folds that cannot be made. Repeated pictures, which only make it harder, are found later."""
    if not folds:
        return
    groups = [table.text(name) for name in schema.group]
    if schema.time is not None:
        times, _ = read_times(table, schema.time, schema.time_format, without=WITHOUT_TIMES)
        folds_by_time(times, folds=folds, groups=groups, source=table.source, lines=table.lines)
        return
    labels, _, _ = label_arrays(encoding.classes, encoding.targets, schema, table)
    codes = {name: number_codes(own) if own.dtype.kind == "f" else own for name, own in labels.items()}
    kfold(table.rows, folds=folds, seed=0, labels=codes, groups=groups)


def _pictures(table: Table, schema: Schema, reading: Reading) -> list[TenfoldError]:
    faults: list[TenfoldError] = []
    for column in schema.images:
        folder = Path(reading.folders.get(column.name, column.folder))
        try:
            images = find_pictures(table, column, folder, reading)
            if images.problems and not reading.skip_bad:
                faults.append(images.error(images.problems, fix="mend these rows, or set skip_bad = true"))
        except TenfoldError as error:
            faults.append(error)
    return faults


def _network_fault(recipe: Recipe) -> TenfoldError | None:
    try:
        preprocessing_of(recipe.arch)
        file = weights_file(recipe.weights, recipe.arch)
        weights = read_weights(file) if file else {}
        body = check_architecture_size(recipe.arch, recipe.image_size)
        if file:
            load_weights(body, weights, Path(file).name)
    except TenfoldError as error:
        return error
    return None


def _plans(
    request: CheckRequest, members: Mapping[str, Recipe], classes: int
) -> tuple[int, dict[str, int | None]]:
    """The budget in bytes, and member -> bytes that its training needs; None where they exceed its share."""
    device = pick_device(request.machine.device)
    size = parse_bytes(request.machine.budget or "auto")
    plans: dict[str, int | None] = {}
    for name, recipe in members.items():
        precision = pick_precision(recipe.precision, device)
        plans[name] = None
        with suppress(TenfoldError):
            chosen = recipe.model_copy(update={"precision": precision})
            share = size.size_bytes // request.plan
            asked = PlanRequest(share, chosen, device.type, size.card, classes=classes, largest=False)
            plan = plan_memory(recipe.arch, asked)
            plans[name] = plan.band_bytes[1] if plan.fits else None
    return size.size_bytes, plans


def blend_networks(request: BlendRequest, tell: Listener) -> BlendAnswer:
    """Blend the finished members, and soups that lower the loss; write the table of held-out answers."""
    tell(StageBegan("blending"))
    folder = Path(request.folder)
    members = [
        Member(member.name, member.weight, tuple(_opened(folder / path) for path in member.runs))
        for member in request.members
    ]
    evaluate = partial(evaluate_blend, method=request.method, seed=request.seed, one_table=True)
    evaluation = evaluate(blend_of(folder, members, RunRecord({})))
    soups: list[Soup] = []
    for group in soup_groups(members) if request.soup else ():
        soup = make_soup(group, folder / "members", request.table, request.reading, request.machine.device)
        wider = evaluate(blend_of(folder, [*members, soup], RunRecord({})))
        names = " and ".join(member.name for member in group)
        losses = f"{score_text(evaluation.loss)} -> {score_text(wider.loss)}"
        kept = wider.loss < evaluation.loss
        if kept:
            wider.notes = evaluation.notes
            members, evaluation = [*members, soup], wider
            paths = [f"members/{run.path.name}" for run in soup.runs]
            soups.append(Soup(name=soup.name, weight=soup.weight, runs=paths))
        else:
            for run in soup.runs:
                shutil.rmtree(run.path, ignore_errors=True)
        evaluation.notes.append(f"soup of {names}: loss {losses}: {'kept' if kept else 'not kept'}")
    # The parent process holds the lock.
    evaluation.write_answers(RunFolder(folder, folder, -1))
    rows = max(run.record.rows for member in members for run in member.runs)
    majority = members[0].runs[0].record.majority
    return BlendAnswer(
        evaluation={**evaluation.record(), "rows": rows, "majority": majority},
        scores=evaluation.members,
        soups=soups,
        schema=evaluation.blend.schema.to_toml(),
        notes=[*evaluation.blend.notes, *evaluation.notes],
    )


def _opened(path: Path) -> OpenedNetwork:
    return OpenedNetwork.open(*read_run(path))
