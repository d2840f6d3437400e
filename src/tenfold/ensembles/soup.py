"""Soups: a network from the averaged weights of several, as a further member of a blend."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from tenfold.data.tables.table import read_table, write_parquet
from tenfold.errors import RunError
from tenfold.networks.inputs import prepare_rows, read_source
from tenfold.networks.opened import OpenedNetwork
from tenfold.networks.predict import answer_rows
from tenfold.runs.folder import RunFolder, making_run, read_arrays, read_shapes
from tenfold.runs.heldout import HeldOutColumns, held_out_columns
from tenfold.runs.options import PredictOptions, Reading
from tenfold.runs.run import Member

Dtype = TypeVar("Dtype", bound=np.generic)

WEIGHTS = "weights.safetensors"
#: Fields of a recipe that must be equal beside the shapes of the layers.
_SAME = ("arch", "image_size", "item_size", "resize", "precision")


def soup_groups(members: Sequence[Member[OpenedNetwork]]) -> list[list[Member[OpenedNetwork]]]:
    """Groups of two or more members that have equal layers, classes and held-out rows, fold by fold."""
    groups: dict[str, list[Member[OpenedNetwork]]] = {}
    for member in members:
        key = [
            [
                *(str(getattr(run.recipe, name)) for name in _SAME),
                read_shapes(run.path / WEIGHTS),
                run.encoding.classes,
                run.recipe.fold,
                sorted(read_table(run.path / "validation.parquet").text(_names(run).row).tolist()),
            ]
            for run in member.runs
            if (run.path / "validation.parquet").exists()
        ]
        if len(key) == len(member.runs):
            groups.setdefault(json.dumps(key), []).append(member)
    return [group for group in groups.values() if len(group) > 1]


def make_soup(
    group: Sequence[Member[OpenedNetwork]],
    folder: Path,
    source: object,
    reading: Reading,
    device: str = "auto",
) -> Member[OpenedNetwork]:
    """Make the uniform soup of some members (Wortsman et al. 2022, arXiv 2203.05482): a run per fold.

    folder: of the new runs.  source: the training table, to predict the held-out rows.
    """
    name = "soup-" + group[0].runs[0].recipe.arch.replace("/", "_")
    runs = []
    for own in zip(*(member.runs for member in group), strict=True):
        fold = own[0].recipe.fold
        path = folder / (f"{name}-fold{fold[0]}" if fold else name)
        runs.append(_soup_run(own, path, source, reading, device))
    return Member(name, sum(member.weight for member in group) / len(group), tuple(runs))


def _soup_run(
    runs: Sequence[OpenedNetwork], path: Path, source: object, reading: Reading, device: str
) -> OpenedNetwork:
    first = runs[0]
    each = [read_arrays(run.path / WEIGHTS)[0] for run in runs]
    with making_run(path) as folder:
        for name in ("schema.toml", "recipe.toml", "encoding.json", "history.jsonl"):
            shutil.copyfile(first.path / name, folder.file(name))
        folder.write_arrays(WEIGHTS, averaged(each), {"arch": first.recipe.arch})
        # It is not finished before its own network has answered.
        soup = replace(first, path=folder.path)
        _write_answers(soup, first.path, folder, source, PredictOptions(reading=reading, device=device))
        # Runs of earlier versions lack some of these.
        kept = ("kind", "rows", "majority", "epochs", "precision", "train_rows", "valid_rows")
        kept += ("table", "reading", "fingerprint")
        known = {name: first.record.values[name] for name in kept if name in first.record.values}
        # The blend keeps its scores.
        rest = {"targets": {}, "identity": {}, "seconds": 0.0, "peak_bytes": first.record.peak_bytes}
        record = folder.finish({**known, **rest, "notes": []})
    return replace(first, path=folder.final, record=record)


def averaged(states: Sequence[Mapping[str, NDArray[Dtype]]]) -> dict[str, NDArray[Dtype]]:
    """Return the mean of networks' weights and statistics; counts and tables are the first network's.

    Raises RunError where the networks have different layers.
    """
    shapes = [{name: value.shape for name, value in state.items()} for state in states]
    if any(other != shapes[0] for other in shapes):
        raise RunError("networks of different layers have no mean", fix="set soup = false")
    means = dict(states[0])
    for name, value in means.items():
        if value.dtype.kind == "f":
            mean = np.mean([state[name].astype(np.float64) for state in states], axis=0)
            means[name] = mean.astype(value.dtype)
    return means


def _write_answers(
    run: OpenedNetwork, first: Path, folder: RunFolder, source: object, options: PredictOptions
) -> None:
    """Predict the held-out rows in the folder `first` of a member, and write them."""
    table, reading = read_source(source, run.schema, options.reading)
    rows = prepare_rows(table, run.schema, run.encoding, reading, targets=False)
    heads, all_views, plain = answer_rows(run, rows, options)
    good = np.array([row for row in range(len(rows.ids)) if row not in rows.bad], dtype=np.int64)
    names = _names(run)
    for name, answers in (("validation.parquet", all_views), ("validation_plain.parquet", plain)):
        if not (first / name).exists():
            continue
        table = read_table(first / name)
        columns: dict[str, NDArray[np.generic]] = {}
        columns |= {column: table.text(column, ids=False) for column in table.names}
        held = columns[names.row] = table.numbers(names.row).astype(np.int64)
        for head in heads:
            own = answers[head.name][good][held]
            columns |= names.answered(head.name, head.decode(own), own)
        write_parquet(folder.file(name), columns)


def _names(run: OpenedNetwork) -> HeldOutColumns:
    return held_out_columns(run.schema.answers, run.encoding.classes)
