"""The image wing: one run, from a table to a run folder."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.data.encode import (
    Encoding,
    Examples,
    PickedImages,
    decide_targets,
    encode,
    fit_encoding,
    with_class_weights,
)
from tenfold.data.split import Split, given, holdout
from tenfold.data.table import write_parquet
from tenfold.engine.batches import Preparation
from tenfold.engine.cards import parse_bytes, show_bytes
from tenfold.engine.checkpoint import to_array
from tenfold.engine.device import (
    free_memory,
    keep_freed_memory,
    peak_bytes,
    pick_device,
    pick_precision,
    reset_peak,
)
from tenfold.engine.memory import plan_to_fit
from tenfold.engine.predict import predict_network
from tenfold.engine.probe import measure_peak
from tenfold.engine.train import HALF, Trained, fit_network
from tenfold.errors import ImageError, RunError, SplitError, TrainingError, listed
from tenfold.jobs.inputs import Machine, Reading, Rows, prepare_rows, read_source
from tenfold.jobs.netrun import NetworkRun, open_network_run
from tenfold.jobs.plan import recipe_options
from tenfold.metrics import category_scores, majority_class
from tenfold.nn.encoders import preprocessing_of
from tenfold.nn.network import Network, build_network, uses_channels_last
from tenfold.recipe import Recipe
from tenfold.schema import Schema
from tenfold.store.run import RunFolder, begin_run, differences, read_run
from tenfold.store.weights import read_weights
from tenfold.values import MemoryPlan

Teller = Callable[[dict[str, Any]], None]


def fit_network_run(
    schema: Schema,
    recipe: Recipe,
    table: Any,
    *,
    run: str | os.PathLike[str],
    resume: bool = False,
    reading: Reading | None = None,
    machine: Machine | None = None,
    on_progress: Teller | None = None,
    on_note: Callable[[str], None] | None = None,
) -> NetworkRun:
    """Train on the rows of a table and leave a run folder.

    table: a path, a data frame, a mapping of columns or a `Table`.
    run: the folder to make; an older run of that name stays until this one has finished.
    resume: go on with an unfinished run there, to the same weights as if it had never stopped.
    reading: how tables and pictures are read.  machine: how this machine is used.
    on_progress: told of pictures, steps and epochs.  on_note: told what was decided, one line at a time.
    Raises a TenfoldError that names what is wrong with the input before anything is trained.
    """
    recipe.check()
    started = time.monotonic()
    reading, machine = reading or Reading(), machine or Machine()
    if on_progress is not None and reading.on_progress is None:
        reading = replace(reading, on_progress=on_progress)
    notes = Notes(on_note)
    device = pick_device(machine.device)
    precision = pick_precision(recipe.precision, device)
    if device.type == "cpu":
        keep_freed_memory()
    reset_peak(device)
    with _begun(run, resume, notes) as folder:
        work = prepare_training(schema, recipe, table, reading, notes)
        if _already(folder, work.identity, resume, notes):
            folder.discard()
            return open_network_run(*read_run(folder.final))
        plan = plan_training(recipe, machine, work, device, precision)
        notes.add(_describe(work, recipe, device, precision, plan))
        if machine.probe:
            notes.add([_probe(work, recipe, plan, device, precision)])
        trained = fit_network(
            work.network,
            work.encoding,
            work.examples,
            train=work.split.train,
            valid=work.split.valid,
            recipe=recipe,
            plan=plan,
            device=device,
            precision=precision,
            folder=folder,
            identity=work.identity,
            on_progress=on_progress,
        )
        notes.add(trained.notes)
        about = {
            "kind": "network",
            "rows": len(work.examples.ids),
            "targets": _write_validation(folder, work, recipe, device, precision),
            "majority": _majority(work),
            "precision": precision,
            "device": str(device),
            "plan": _plan_record(plan, trained.micro_batch),
            "train_rows": len(work.split.train),
            "valid_rows": len(work.split.valid),
            "identity": work.identity,
            "peak_bytes": peak_bytes(device),
            "seconds": round(time.monotonic() - started, 3),
            "notes": notes.lines,
        }
        path = _write_run(folder, work, recipe, trained, about)
    del work.network
    free_memory()
    if trained.stopped:
        raise TrainingError(
            trained.stopped,
            found=f"{path} holds the weights of the last good epoch",
            fix="a lower --lr, or --precision bfloat16 where float16 was used",
        )
    return open_network_run(*read_run(path))


class Notes:
    """What was decided: kept for the run folder, and told once, as it happens."""

    def __init__(self, tell: Callable[[str], None] | None) -> None:
        self.lines: list[str] = []
        self._tell = tell

    def add(self, lines: list[str] | tuple[str, ...]) -> None:
        """Keep these lines and tell them."""
        for line in lines:
            self.lines.append(line)
            if self._tell is not None:
                self._tell(line)


@contextmanager
def _begun(run: str | os.PathLike[str], resume: bool, notes: Notes) -> Iterator[RunFolder]:
    folder, said = begin_run(run, resume=resume)
    notes.add(said)
    try:
        yield folder
    finally:
        folder.close()
        # What never reached a checkpoint is no run to go on with.
        if folder.path.exists() and not folder.file("checkpoint.safetensors").exists():
            folder.discard()


@dataclass
class TrainingWork:
    """What a training is made of."""

    schema: Schema
    encoding: Encoding
    examples: Examples
    split: Split
    network: Network
    identity: dict[str, Any]
    summary: list[str]


def prepare_training(
    schema: Schema, recipe: Recipe, source: Any, reading: Reading, notes: Notes
) -> TrainingWork:
    """Read, check, split and encode the rows, and build the network; nothing is trained yet."""
    preprocessing = preprocessing_of(recipe.arch)
    table, reading = read_source(source, schema, reading)
    schema.check_columns(table.names, table.source)
    schema = decide_targets(schema, table)
    encoding, said = fit_encoding(
        schema,
        recipe,
        table,
        mean=preprocessing.mean,
        std=preprocessing.std,
        interpolation=preprocessing.interpolation,
    )
    weights = read_weights(recipe.weights) if recipe.weights not in ("hub", "none") else None
    # Built before the pictures are decoded: a wrong size or weights file is refused in a second.
    network, built = build_network(
        encoding, schema, recipe, weights=weights, weights_name=Path(recipe.weights).name
    )
    rows = prepare_rows(table, schema, encoding, reading, targets=True)
    notes.add([*rows.notes, *said])
    rows = _usable(rows)
    encoding = encoding.model_copy(update={"white": rows.white})
    examples, said = encode(encoding, schema, rows.table, rows.caches, ids=rows.ids)
    notes.add([*said, *_conflicts(rows, schema, examples)])
    split = _split(schema, recipe, rows, examples, encoding)
    notes.add(split.notes)
    if recipe.class_weights == "balanced":
        examples, said = with_class_weights(examples, schema, encoding, split.train)
        notes.add(said)
    return TrainingWork(
        schema, encoding, examples, split, network, _identity(schema, recipe, encoding, rows, examples), built
    )


def _usable(rows: Rows) -> Rows:
    if not rows.bad:
        if not len(rows.ids):
            raise ImageError(f"{rows.table.source} has no rows", fix="give a table with at least two rows")
        return rows
    good = np.array([row for row in range(len(rows.ids)) if row not in rows.bad], dtype=np.int64)
    if not len(good):
        raise ImageError(f"{rows.table.source}: no row has a usable picture", fix="check the image folder")
    return Rows(
        rows.table.take(good),
        rows.ids[good],
        tuple(PickedImages(cache, good) for cache in rows.caches),
        rows.white,
        {},
        tuple(content[good] for content in rows.contents),
        rows.notes,
    )


def _conflicts(rows: Rows, schema: Schema, examples: Examples) -> list[str]:
    """Repeats of one picture, counted; and those whose labels contradict each other, by name."""
    _, place, counts = np.unique(rows.content, return_inverse=True, return_counts=True)
    repeated = np.flatnonzero(counts[place] > 1)
    if not len(repeated):
        return []
    notes = [
        f"{len(repeated)} rows show {int((counts > 1).sum())} pictures more than once; "
        "a picture's rows stay on one side of the split"
    ]
    for target in schema.targets:
        words = rows.table.text(target.name)
        known = examples.labels[target.name] >= 0
        seen: dict[int, dict[str, str]] = {}
        for row in repeated:
            if known[row]:
                seen.setdefault(int(place[row]), {}).setdefault(str(words[row]), str(rows.ids[row]))
        clashes = [names for names in seen.values() if len(names) > 1]
        told = [f"{next(iter(names.values()))}: {', '.join(sorted(names))}" for names in clashes]
        if told:
            notes.append(f"{target.name}: {len(told)} pictures have labels that contradict each other")
            notes += listed(told)
    return notes


def _split(schema: Schema, recipe: Recipe, rows: Rows, examples: Examples, encoding: Encoding) -> Split:
    # A row without a group (an empty cell) stands for itself.
    groups = [rows.content, *(rows.table.text(name) for name in schema.group)]
    classes = {name: encoding.classes[name] for name in examples.labels}
    if schema.split is not None:
        return given(
            rows.table.text(schema.split),
            column=schema.split,
            source=rows.table.source,
            lines=rows.table.lines,
            labels=examples.labels,
            classes=classes,
        )
    split = holdout(
        len(rows.ids),
        fraction=recipe.valid,
        seed=recipe.seed,
        labels=examples.labels,
        classes=classes,
        groups=groups,
    )
    if not len(split.train):
        raise SplitError(
            f"no row is left to train on: {len(rows.ids)} rows, {recipe.valid} of them held out",
            fix="a smaller --valid, or more rows",
        )
    return split


def plan_training(
    recipe: Recipe, machine: Machine, work: TrainingWork, device: Any, precision: str
) -> MemoryPlan:
    """How this training fits this machine: planned before the first step, without running any of it.

    On a CPU without a budget nothing is planned: up to 32 rows go through at once.
    Raises MemoryBudgetError with the parts and what would help where nothing fits.
    """
    rows = len(work.split.train)
    batch = min(recipe.batch_size, rows)
    if machine.budget is None and device.type != "cuda":
        micro = min(machine.micro_batch or min(batch, 32), batch)
        return MemoryPlan(micro, accumulation=-(-batch // micro), checkpoint=machine.checkpoint)
    size = parse_bytes(machine.budget or "auto")
    return plan_to_fit(
        recipe.arch,
        **{**recipe_options(recipe), "batch_size": batch, "precision": precision},
        budget_bytes=size.size_bytes,
        micro_batch=machine.micro_batch,
        classes=work.network.last.out_features,
        checkpoint=machine.checkpoint,
        device=device.type,
        card=size.card,
    )


def _probe(work: TrainingWork, recipe: Recipe, plan: MemoryPlan, device: Any, precision: str) -> str:
    """Prediction and truth side by side, from two steps of the largest batch on the real device."""
    found = measure_peak(
        work.network,
        work.encoding,
        work.examples,
        train=work.split.train,
        recipe=recipe,
        plan=plan,
        device=device,
        precision=precision,
    )
    predicted = show_bytes(plan.predicted_bytes) if plan.predicted_bytes else "not planned (give --budget)"
    return f"probe: predicted peak {predicted}, measured {show_bytes(found)}"


def _plan_record(plan: MemoryPlan, micro_batch: int) -> dict[str, Any]:
    """The plan and what it foresaw, for the run folder; the truth stands beside it as `peak_bytes`."""
    return {
        "micro_batch": micro_batch,
        "accumulation": plan.accumulation,
        "checkpoint": plan.checkpoint,
        "predicted_bytes": plan.predicted_bytes,
        "band_bytes": list(plan.band_bytes),
        "parts": dict(plan.parts),
    }


def _describe(work: TrainingWork, recipe: Recipe, device: Any, precision: str, plan: MemoryPlan) -> list[str]:
    everything = sum(parameter.numel() for parameter in work.network.parameters())
    head = sum(parameter.numel() for parameter in work.network.last.parameters())
    trained = everything if recipe.body_lr > 0 and recipe.epochs else head
    columns = [f"{column.name} ({column.kind})" for column in work.schema.inputs]
    targets = [f"{target.name} ({target.kind})" for target in work.schema.targets]
    return [
        f"columns: {', '.join(columns)} -> {', '.join(targets)}",
        f"rows: {len(work.split.train)} train, {len(work.split.valid)} validation",
        *work.summary,
        f"parameters: {trained:,} trained, {everything - trained:,} frozen"
        + (f"; the {head:,} of the last layer alone at first" if recipe.frozen_epochs else ""),
        f"device {device}, {precision}; {plan.micro_batch} rows at once x {plan.accumulation}"
        + (", activations computed again" if plan.checkpoint else ""),
        *([f"planned peak: {show_bytes(plan.predicted_bytes)}"] if plan.predicted_bytes else []),
        *plan.notes,
    ]


def _identity(
    schema: Schema, recipe: Recipe, encoding: Encoding, rows: Rows, examples: Examples
) -> dict[str, Any]:
    """Everything that decides the weights, in JSON's types; data and weights files by their checksums."""
    digest = hashlib.sha256()
    for text in (*rows.ids, *rows.content):
        digest.update(str(text).encode("utf-8", "surrogateescape") + b"\0")
    for name in sorted(examples.labels):
        digest.update(name.encode() + examples.labels[name].tobytes() + examples.weights[name].tobytes())
    chosen = recipe.model_dump(mode="json")
    if Path(recipe.weights).is_file():
        with open(recipe.weights, "rb") as stream:
            chosen["weights"] = hashlib.file_digest(stream, "sha256").hexdigest()
    inputs = [{"name": column.name, "kind": column.kind} for column in schema.inputs]
    settled = {"inputs": inputs, "classes": {name: list(words) for name, words in encoding.classes.items()}}
    return {"recipe": chosen, "schema": settled, "data": digest.hexdigest()}


def _already(folder: RunFolder, identity: dict[str, Any], resume: bool, notes: Notes) -> bool:
    """Whether the run has finished and is to be gone on with: then there is nothing left to do."""
    if (
        not resume
        or not (folder.final / "run.json").exists()
        or folder.file("checkpoint.safetensors").exists()
    ):
        return False
    _, about = read_run(folder.final)
    changed = differences(about.get("identity", {}), identity)
    if changed:
        raise RunError(
            f"the finished run in {folder.final} is of another training",
            problems=changed,
            fix="give the same options as before, another -o, or leave --resume out to replace it",
        )
    notes.add([f"{folder.final} has finished already: nothing to go on with"])
    return True


def _majority(work: TrainingWork) -> dict[str, int]:
    found = {}
    for name, labels in work.examples.labels.items():
        answer = majority_class(labels[work.split.train])
        if answer is not None:
            found[name] = int(answer)
    return found


def _write_validation(
    folder: RunFolder, work: TrainingWork, recipe: Recipe, device: Any, precision: str
) -> dict[str, dict[str, float]]:
    """Predict the validation rows, write them with their labels, and score them."""
    valid, labels = work.split.valid, work.examples.labels
    if not len(valid):
        return {}
    network = work.network
    found = predict_network(
        network,
        work.examples,
        valid,
        Preparation(
            work.encoding, device, next(network.parameters()).dtype, channels_last=uses_channels_last(network)
        ),
        view_count=recipe.views,
        autocast=HALF.get(precision),
    )
    columns: dict[str, NDArray[Any]] = {"id": work.examples.ids[valid], "row": valid}
    scores = {}
    for head in network.heads:
        probabilities = found[head.name]
        names = np.array([*work.encoding.classes[head.name], None], dtype=object)
        columns[head.name] = names[labels[head.name][valid]]
        columns[f"{head.name}:predicted"] = head.decode(probabilities).values
        for position, name in enumerate(work.encoding.classes[head.name]):
            columns[f"{head.name}:{name}"] = probabilities[:, position]
        scores[head.name] = category_scores(
            probabilities, labels[head.name][valid], train_labels=labels[head.name][work.split.train]
        )
    write_parquet(folder.file("validation.parquet"), columns)
    return scores


def _write_run(
    folder: RunFolder, work: TrainingWork, recipe: Recipe, trained: Trained, about: dict[str, Any]
) -> Path:
    folder.write_text("schema.toml", work.schema.to_toml())
    folder.write_text("recipe.toml", recipe.to_toml())
    folder.write_text("encoding.json", work.encoding.model_dump_json(indent=2) + "\n")
    folder.write_text("history.jsonl", "".join(json.dumps(record) + "\n" for record in trained.history))
    weights = {name: to_array(value) for name, value in work.network.state_dict().items()}
    folder.write_arrays("weights.safetensors", weights, {"arch": recipe.arch})
    return folder.finish(about)
