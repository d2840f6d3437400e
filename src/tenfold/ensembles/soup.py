"""The image wing: one network from the averaged weights of several, as a further member of a blend."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.data.tables.table import read_table, write_parquet
from tenfold.ensembles.networks import BlendMember
from tenfold.errors import RunError
from tenfold.networks.inputs import prepare_rows
from tenfold.networks.run import NetworkRun, answer_rows, open_network_run
from tenfold.runs.folder import making_run, read_arrays, read_run
from tenfold.runs.heldout import HeldOutColumns, held_out_columns
from tenfold.runs.options import Reading

#: Fields of a recipe that a network's layers depend on: only equal ones can be averaged.
_SAME = ("arch", "image_size", "item_size", "resize", "precision")


def soup_groups(members: Sequence[BlendMember]) -> list[list[BlendMember]]:
    """Members whose networks have the same layers, classes and held-out rows, fold by fold; two or more."""
    groups: dict[str, list[BlendMember]] = {}
    for member in members:
        key = [
            [
                *(str(getattr(run.recipe, name)) for name in _SAME),
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
    group: Sequence[BlendMember], folder: Path, source: Any, reading: Reading, device: str = "auto"
) -> BlendMember:
    """The uniform soup of some members (Wortsman et al. 2022, arXiv 2203.05482), fold by fold, as runs.

    folder: where they go.  source: the training table, of which the held-out rows are predicted.
    """
    name = "soup-" + group[0].runs[0].recipe.arch.replace("/", "_")
    runs = []
    for place, first in enumerate(group[0].runs):
        fold = first.recipe.fold
        made = folder / (f"{name}-fold{fold[0]}" if fold else name)
        runs.append(_soup_run([member.runs[place] for member in group], made, source, reading, device))
    return BlendMember(name, sum(member.weight for member in group) / len(group), tuple(runs))


def _soup_run(
    runs: Sequence[NetworkRun], path: Path, source: Any, reading: Reading, device: str
) -> NetworkRun:
    first = runs[0]
    each = [read_arrays(run.path / "weights.safetensors")[0] for run in runs]
    with making_run(path) as folder:
        for name in ("schema.toml", "recipe.toml", "encoding.json", "history.jsonl"):
            shutil.copyfile(first.path / name, folder.file(name))
        folder.write_arrays("weights.safetensors", averaged(each), {"arch": first.recipe.arch})
        for name in ("validation.parquet", "validation_plain.parquet"):
            if (first.path / name).exists():
                shutil.copyfile(first.path / name, folder.file(name))
        kept = ("kind", "rows", "majority", "epochs", "precision", "train_rows", "valid_rows")
        known = json.loads((first.path / "run.json").read_text("utf-8"))
        about = {name: known[name] for name in kept}
        # Runs of earlier versions lack some of these.
        about |= {name: known[name] for name in ("table", "reading", "fingerprint") if name in known}
        # Its scores stand with the blend that it is a member of.
        sizes = {
            "targets": {},
            "identity": {},
            "seconds": 0.0,
            "peak_bytes": first.about["peak_bytes"],
            "notes": [],
        }
        folder.finish({**about, **sizes})
    # Its network can be asked only once it is a run; then its own answers take the copied ones' place.
    _answer(open_network_run(*read_run(path)), source, reading, device)
    return open_network_run(*read_run(path))


def averaged(states: Sequence[Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """The mean of networks' weights and statistics; counts and tables are the first one's.

    Raises RunError where they are not of one network.
    """
    first = states[0]
    for other in states[1:]:
        if {name: value.shape for name, value in other.items()} != {
            name: value.shape for name, value in first.items()
        }:
            raise RunError("networks of different layers have no mean", fix="set soup = false")
    found = {}
    for name, value in first.items():
        mean = np.mean([state[name].astype(np.float64) for state in states], axis=0)
        found[name] = mean.astype(value.dtype) if value.dtype.kind == "f" else value
    return found


def _answer(run: NetworkRun, source: Any, reading: Reading, device: str) -> None:
    rows = prepare_rows(source, run.schema, run.encoding, reading, targets=False)
    heads, found, plain = answer_rows(run, rows, reading=reading, device=device)
    good = np.array([row for row in range(len(rows.ids)) if row not in rows.bad], dtype=np.int64)
    names = _names(run)
    with making_run(run.path) as folder:
        for path in run.path.iterdir():
            if path.name not in ("run.json", "lock"):
                shutil.copyfile(path, folder.file(path.name))
        for name, answers in (("validation.parquet", found), ("validation_plain.parquet", plain)):
            if not (run.path / name).exists():
                continue
            table = read_table(run.path / name)
            columns: dict[str, Any] = {column: table.text(column, ids=False) for column in table.names}
            held = table.numbers(names.row).astype(np.int64)
            columns[names.row] = held
            for head in heads:
                own = answers[head.name][good][held]
                columns |= names.answered(head.name, head.decode(own), own)
            write_parquet(folder.file(name), columns)
        about = json.loads((run.path / "run.json").read_text("utf-8"))
        folder.finish({name: value for name, value in about.items() if name not in ("files", "format")})


def _names(run: NetworkRun) -> HeldOutColumns:
    return held_out_columns(run.schema.answers, run.encoding.classes)
