"""The image wing: a finished run, asked for predictions, and measured on rows whose answer is known."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.data.encode import Encoding, encode
from tenfold.data.labels import class_codes
from tenfold.engine.batches import Preparation
from tenfold.engine.checkpoint import tensors_under
from tenfold.engine.device import peak_bytes, pick_device, pick_precision, reset_peak
from tenfold.engine.predict import predict_network
from tenfold.engine.train import prediction_autocast
from tenfold.errors import RunError, SchemaError
from tenfold.jobs.inputs import Reading, Rows, prepare_rows
from tenfold.metrics import category_scores
from tenfold.nn.heads import Head
from tenfold.nn.network import Network, build_network, uses_channels_last
from tenfold.recipe import Recipe
from tenfold.schema import Schema
from tenfold.store.run import or_nan, package_versions, read_arrays
from tenfold.values import Predictions, TargetPrediction


@dataclass(frozen=True)
class NetworkRun:
    """A finished run of the image wing.

    path: its folder.  about: what ``run.json`` says: scores, notes, versions.
    """

    path: Path
    schema: Schema
    recipe: Recipe
    encoding: Encoding
    about: Mapping[str, Any]

    def predict(self, source: Any, **options: Any) -> Predictions:
        """Predict the rows of a table or the pictures of a folder; see `predict_rows`."""
        return predict_rows(self, source, **options)

    def evaluate(self, source: Any, **options: Any) -> dict[str, Any]:
        """Scores on rows whose answer is known; see `evaluate_rows`."""
        return evaluate_rows(self, source, **options)

    @property
    def history(self) -> list[dict[str, Any]]:
        """One record per epoch."""
        text = (self.path / "history.jsonl").read_text(encoding="utf-8")
        return [or_nan(json.loads(line)) for line in text.splitlines()]

    @property
    def summary(self) -> dict[str, Any]:
        """What ``tenfold fit --json`` prints (docs/formats.md)."""
        kept = ("rows", "targets", "seconds", "peak_bytes")
        return {"run": str(self.path), **{name: self.about[name] for name in kept}}

    @property
    def scores(self) -> dict[str, dict[str, float]]:
        """Target -> metric -> value on the validation rows."""
        return self.about.get("targets", {})


def open_network_run(folder: Path, about: Mapping[str, Any]) -> NetworkRun:
    """The run in a folder that `store.run.read_run` has checked."""

    def read(name: str) -> str:
        return (folder / name).read_text(encoding="utf-8")

    return NetworkRun(
        folder,
        Schema.from_toml(read("schema.toml")),
        Recipe.from_toml(read("recipe.toml")),
        Encoding(**json.loads(read("encoding.json"))),
        {**about, "targets": or_nan(about["targets"])},
    )


def load_network(run: NetworkRun) -> Network:
    """The run's network with its weights, on the CPU.

    Raises RunError where the installed timm builds another network of that name than the run was made with.
    """
    network, _ = build_network(run.encoding, run.schema, run.recipe, fetch=False)
    arrays, _ = read_arrays(run.path / "weights.safetensors")
    if any(value.dtype == np.float64 for name, value in arrays.items() if name.startswith("last.")):
        network.double()
    try:
        network.load_state_dict(tensors_under(arrays, ""), strict=True)
    except RuntimeError as error:
        made, now = run.about.get("versions", {}), package_versions()
        changed = [
            f"{name} {made[name]}, here {now.get(name)}" for name in made if made[name] != now.get(name)
        ]
        raise RunError(
            f"the weights of {run.path} do not fit {run.recipe.arch} as it is built here",
            problems=[line.strip() for line in str(error).splitlines()[1:]],
            found="made with " + ("; ".join(changed) or "the versions that are installed here"),
            fix="install the versions that the run was made with, or train it again",
        ) from None
    return network


def predict_rows(
    run: NetworkRun,
    source: Any,
    *,
    views: int | None = None,
    reading: Reading | None = None,
    device: str = "auto",
    on_note: Callable[[str], None] | None = None,
) -> Predictions:
    """One answer per row of a table (path, data frame, mapping) or per picture of a folder, in its order.

    views: mirrored views to average, the recipe's where not given.  reading: how to read the rows.
    Raises ImageError that names unusable pictures; with ``Reading(skip_bad=True)`` those rows stay, marked.
    A row whose probabilities are no numbers is marked likewise, and is never a class.
    """
    reading = reading or Reading()
    rows = prepare_rows(source, run.schema, run.encoding, reading, targets=False)
    if on_note is not None:
        for note in rows.notes:
            on_note(note)
    heads, found = _probabilities(run, rows, views, reading, device)
    spoilt = np.any([np.isnan(one).any(axis=1) for one in found.values()], axis=0)
    bad = {**dict.fromkeys(np.flatnonzero(spoilt).tolist(), "its answer is not a number"), **rows.bad}
    answers = {head.name: without_rows(head.decode(found[head.name]), sorted(bad)) for head in heads}
    failed = np.zeros(len(rows.ids), dtype=bool)
    failed[sorted(bad)] = True
    return Predictions(rows.ids, answers, failed, bad, rows.notes)


def without_rows(answer: TargetPrediction, bad: list[int]) -> TargetPrediction:
    """The answer with nothing said of the `bad` rows: an empty value, NaN probabilities."""
    if not bad:
        return answer
    values, probabilities = answer.values.copy(), answer.probabilities
    values[bad] = "" if values.dtype == object else np.nan
    if probabilities is not None:
        probabilities = probabilities.copy()
        probabilities[bad] = np.nan
    return replace(answer, values=values, probabilities=probabilities)


def _probabilities(
    run: NetworkRun, rows: Rows, views: int | None, reading: Reading, device: str
) -> tuple[tuple[Head, ...], dict[str, NDArray[np.float64]]]:
    # Made anew, so that a number of views that there is not is refused as in a recipe.
    recipe = run.recipe if views is None else Recipe(**{**run.recipe.model_dump(), "views": views})
    recipe.check()
    place = pick_device(device)
    precision = run.about.get("precision") or pick_precision(recipe.precision, place)
    network = load_network(run).to(place)
    examples, _ = encode(run.encoding, run.schema, rows.table, rows.caches, ids=rows.ids, targets=False)
    tell = reading.on_progress
    total = len(rows.ids)
    return network.heads, predict_network(
        network,
        examples,
        np.arange(total),
        Preparation(
            run.encoding,
            place,
            next(network.parameters()).dtype,
            channels_last=uses_channels_last(network),
        ),
        view_count=recipe.views,
        autocast=prediction_autocast(precision, place),
        workers=reading.workers,
        on_rows=None if tell is None else lambda done: tell({"event": "rows", "done": done, "total": total}),
    )


def evaluate_rows(
    run: NetworkRun,
    source: Any,
    *,
    views: int | None = None,
    reading: Reading | None = None,
    device: str = "auto",
    on_note: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Scores of a run on rows whose answer is known. The table needs the inputs and the targets only, not
    the columns of groups, splits and weights that the training had.

    A label that is no class of the run counts as wrong in the error rate and with probability 0 in the
    log loss; a missing label is left out. Returns the keys that ``--json`` prints (docs/formats.md).
    """
    started = time.monotonic()
    reading = reading or Reading()
    place = pick_device(device)
    reset_peak(place)
    schema = run.schema.model_copy(update={"group": (), "split": None, "weight": None})
    rows = prepare_rows(source, schema, run.encoding, reading, targets=True)
    good = np.array([row for row in range(len(rows.ids)) if row not in rows.bad], dtype=np.int64)
    if not len(good):
        raise SchemaError(f"{rows.table.source} has no usable row", fix="mend its pictures")
    notes = list(rows.notes)
    _, found = _probabilities(run, rows, views, reading, device)
    targets = {}
    for target in run.schema.targets:
        labels, said = evaluation_labels(rows, target.name, run.encoding.classes[target.name])
        notes += said
        majority = run.about["majority"].get(target.name)
        targets[target.name] = category_scores(
            found[target.name][good],
            labels[good],
            train_labels=None if majority is None else np.array([majority]),
        )
    for note in notes if on_note is not None else ():
        on_note(note)  # type: ignore[misc]
    return {
        "run": str(run.path),
        "rows": len(good),
        "targets": targets,
        "seconds": round(time.monotonic() - started, 3),
        "peak_bytes": peak_bytes(place),
    }


def evaluation_labels(
    rows: Rows, target: str, classes: tuple[str, ...]
) -> tuple[NDArray[np.int64], list[str]]:
    """Class index per row: -1 where missing, beyond the list where it is no class of the run."""
    labels, unknown = class_codes(rows.table, target, classes)
    stranger = (labels < 0) & ~rows.table.missing(target)
    notes = [
        f"{target}: {word!r} is no class of this run: its {count} rows count as wrong"
        for word, count in unknown.items()
    ]
    return np.where(stranger, len(classes), labels), notes
