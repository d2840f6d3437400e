"""Predictions of a finished network, and its scores on labelled rows."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tenfold.data.encode import encode, encode_columns
from tenfold.engine.batches import Preparation
from tenfold.engine.checkpoint import tensors_under
from tenfold.engine.device import peak_bytes, pick_device, pick_precision, reset_peak
from tenfold.engine.predict import Answers, predict_views, prediction_autocast
from tenfold.errors import RunError, SchemaError
from tenfold.events import RowsPredicted
from tenfold.networks.inputs import Rows, prepare_rows, read_source
from tenfold.networks.opened import OpenedNetwork
from tenfold.nn.augment import views_of
from tenfold.nn.encoders import feature_width
from tenfold.nn.heads import Head
from tenfold.nn.network import Network, build_network, column_name, input_name, undrawn, uses_channels_last
from tenfold.nn.traced import trace_answers
from tenfold.recipe import Recipe
from tenfold.runs.described import package_versions
from tenfold.runs.folder import read_arrays, read_object
from tenfold.runs.job import log_all
from tenfold.runs.options import PredictOptions
from tenfold.runs.place import DESCRIBED
from tenfold.runs.record import RunRecord
from tenfold.runs.rowjoin import row_fingerprints, rows_digest
from tenfold.schema import NumberColumn, Schema
from tenfold.targets.base import TargetKind
from tenfold.targets.labels import relative_weights, row_weights, weightless
from tenfold.values import Predictions, TargetPrediction

#: Rows up to which what a person asks goes through the network row by row.
ALONE_ROWS = 4
#: Rows up to which a run keeps its network in memory after it has answered.
FEW_ROWS = 64


def load_network(run: OpenedNetwork) -> Network:
    """The run's network with its weights, on the CPU.

    Raises RunError where the installed timm builds another network of that name than the run was made with.
    """
    arrays, _ = read_arrays(run.path / "weights.safetensors")
    plain = not run.schema.columns and len(run.schema.images) == 1 and run.recipe.body in ("auto", "linear")
    last = arrays.get("last.weight")

    def width_of(backbone: nn.Module, arch: str, size: tuple[int, int]) -> int:
        # The last layer of a single picture tells it without a forward pass.
        return last.shape[1] if plain and last is not None else feature_width(backbone, arch, size)

    with undrawn():
        network, _ = build_network(run.encoding, run.schema, run.recipe, fetch=False, width_of=width_of)
    if any(value.dtype == np.float64 for name, value in arrays.items() if name.startswith("last.")):
        network.double()
    load_weights(network, arrays, run.path, run.recipe.arch, run.record.versions)
    return network


def load_weights(
    network: Network,
    arrays: Mapping[str, NDArray[np.generic]],
    path: Path,
    what: str,
    versions: Mapping[str, str],
) -> None:
    """Put a run's weights into the network that was built for it.

    what: their architecture.  versions: that the run was made with.
    Raises RunError that names the layers that do not fit, and the versions that have changed.
    """
    try:
        network.load_state_dict(tensors_under(arrays, ""), strict=True)
    except RuntimeError as error:
        now = package_versions()
        changed = [
            f"{name} {made}, here {now.get(name)}" for name, made in versions.items() if made != now.get(name)
        ]
        raise RunError(
            f"the weights of {path} do not fit {what} as it is built here",
            problems=[line.strip() for line in str(error).splitlines()[1:]],
            found="made with " + ("; ".join(changed) or "the versions that are installed here"),
            fix="install the versions that the run was made with, or train it again",
        ) from None


def predict_rows(run: OpenedNetwork, source: object, options: PredictOptions) -> Predictions:
    """One answer per row of a table (path, data frame, mapping) or per picture of a folder, in its order.

    Raises ImageError that names unusable pictures; with ``Reading(skip_bad=True)`` those rows stay, marked.
    A row whose probabilities are not numbers is marked likewise, and is never a class.
    """
    schema = run.schema if options.id is None else run.schema.model_copy(update={"id": options.id})
    table, reading = read_source(source, schema, options.reading, run.record)
    rows = prepare_rows(table, schema, run.encoding, reading, targets=False)
    rows = _note_unseen_values(run, rows)
    log_all(options.log, rows.notes)
    heads, answers, _ = answer_rows(run, rows, replace(options, reading=reading))
    return decoded(
        rows, rows.bad, {head.name: (head, answers[head.name]) for head in heads}, answers.values()
    )


def decoded(
    rows: Rows,
    bad: Mapping[int, str],
    answers: Mapping[str, tuple[TargetKind, NDArray[np.float64]]],
    needed: Iterable[NDArray[np.float64]],
) -> Predictions:
    """Answers in the user's words; those of rows that cannot be used, or have no number, are empty.

    bad: row -> why it cannot be used.  answers: target -> its kind and probabilities.
    needed: the probabilities without which a row has no answer.
    """
    spoilt = np.any([np.isnan(chances).any(axis=1) for chances in needed], axis=0)
    bad = {**dict.fromkeys(np.flatnonzero(spoilt).tolist(), "its answer is not a number"), **bad}
    told = {
        name: without_rows(kind.decode(chances), sorted(bad)) for name, (kind, chances) in answers.items()
    }
    failed = np.zeros(len(rows.ids), dtype=bool)
    failed[sorted(bad)] = True
    table = rows.table
    return Predictions(
        rows.ids, told, failed, bad, rows.notes, rows.numbered, table.cells, rows.id_name, table.index
    )


def _note_unseen_values(run: OpenedNetwork, rows: Rows) -> Rows:
    """The rows with notes on values that training did not see."""
    _, notes = encode_columns(run.encoding.columns, run.schema, rows.table)
    return replace(rows, notes=(*rows.notes, *notes))


def without_rows(answer: TargetPrediction, bad: list[int]) -> TargetPrediction:
    """The answer without the `bad` rows, which get an empty value and NaN probabilities."""
    if not bad:
        return answer
    values, probabilities = answer.values.copy(), answer.probabilities
    for row in bad:
        values[row] = () if isinstance(values[row], tuple) else "" if values.dtype == object else np.nan
    if probabilities is not None:
        probabilities = probabilities.copy()
        probabilities[bad] = np.nan
    return replace(answer, values=values, probabilities=probabilities)


def with_views(recipe: Recipe, options: PredictOptions) -> Recipe:
    """Return the recipe with these views. Raises RecipeError for views that do not exist."""
    asked = ("views", "tta", "plain_weight")
    given = {name: value for name in asked if (value := getattr(options, name)) is not None}
    # Mirrored and augmented views exclude each other: asking for either turns the other off.
    if (options.views or 1) > 1 and options.tta is None:
        given["tta"] = 0
    if options.tta and options.views is None:
        given["views"] = 1
    # Built anew, so that it is validated.
    chosen = Recipe(**{**recipe.model_dump(), **given}) if given else recipe
    chosen.check()
    return chosen


def answer_rows(
    run: OpenedNetwork, rows: Rows, options: PredictOptions
) -> tuple[tuple[Head, ...], Answers, Answers]:
    """The run's heads, their probabilities of prepared rows, and those from the plain view alone."""
    recipe = with_views(run.recipe, options)
    device = pick_device(options.device)
    precision = run.record.precision or pick_precision(recipe.precision, device)
    network = kept_network(run, device, few=len(rows.ids) <= FEW_ROWS)
    examples, _ = encode(run.encoding, run.schema, rows.table, rows.caches, ids=rows.ids, targets=False)
    tell = options.reading.on_progress
    total = len(rows.ids)
    answers, plain = predict_views(
        network,
        examples,
        np.arange(total),
        Preparation(
            run.encoding, device, next(network.parameters()).dtype, channels_last=uses_channels_last(network)
        ),
        views=views_of(recipe),
        autocast=prediction_autocast(precision, device),
        workers=options.reading.workers,
        at_once=_at_once(total, device, pictures=bool(run.schema.images)) if options.reading.asked else None,
        on_rows=None if tell is None else lambda done: tell(RowsPredicted(done, total)),
    )
    return network.heads, answers, plain


def _at_once(rows: int, device: torch.device, *, pictures: bool) -> int | None:
    """How many of a few rows that a person asks about go through the network together; None as of a table.

    Pictures go one by one through a CPU, which has no gain from more, and filled up to a power of two through
    other devices.
    """
    if rows <= ALONE_ROWS:
        return 1
    if not pictures or rows > FEW_ROWS:
        return None
    return 1 if device.type == "cpu" else 1 << (rows - 1).bit_length()


def kept_network(run: OpenedNetwork, device: torch.device, *, few: bool) -> Network:
    """The run's network on a device; for a few rows it stays with the run, so that the next answer is quick.

    Raises RunError where another run has taken the folder since this one was opened.
    """
    described = run.path / DESCRIBED
    if described.exists() and read_object(run.path, DESCRIBED).get("files") != run.record.files:
        raise RunError(f"{run.path} was replaced by another run since it was opened", fix="open it again")
    kept = run.__dict__.get("_network")
    if kept is not None and kept[0] == str(device):
        return kept[1]
    network = load_network(run).to(device).eval()
    object.__setattr__(run, "_network", (str(device), network) if few else None)
    return network


def trace_kept(run: OpenedNetwork, device: str) -> bool:
    """Let a run of pictures answer through a graph from now on, row by row on a CPU; see `nn.traced`.

    False where it goes on layer by layer.
    """
    where = pick_device(device)
    if where.type != "cpu" or not run.schema.images:
        return False
    network = kept_network(run, where, few=True)
    how = Preparation(
        run.encoding, where, next(network.parameters()).dtype, channels_last=uses_channels_last(network)
    )
    blank = np.zeros((1, *run.encoding.image_size, 3), np.uint8)
    inputs = {input_name(place): how.normalised(how.pixels(blank)) for place in range(len(run.schema.images))}
    for place, column in enumerate(run.schema.columns):
        shape, dtype = ((1, 2), how.dtype) if isinstance(column, NumberColumn) else ((1,), torch.int64)
        inputs[column_name(place)] = torch.zeros(shape, dtype=dtype)
    return trace_answers(network, inputs)


def scoring_weights(schema: Schema, rows: Rows) -> tuple[NDArray[np.float64] | None, list[str]]:
    """(rows,) the weight of each row in scores, None where all count alike; and notes."""
    if schema.weight is None:
        return None, []
    if schema.weight not in rows.table.names:
        return None, [f"scores are not weighted: {rows.table.source} has no column {schema.weight!r}"]
    weights = relative_weights(row_weights(schema, rows.table))
    return weights, [f"scores are weighted by {schema.weight}"]


def trained_on(
    records: Sequence[RunRecord], schema: Schema, rows: Rows, good: NDArray[np.int64]
) -> list[str]:
    """Return a note where the rows are those of a training: their scores are too good.

    records: one per run.  good: numbers of the rows that are scored.
    """
    same = [record for record in records if record.rows == len(good) and record.fingerprint]
    if not same:
        return []
    table, contents = rows.table.take(good), [content[good] for content in rows.contents]
    digest = rows_digest(schema, rows.ids[good], row_fingerprints(table, schema, contents))
    counts = [record.train_rows for record in same if record.fingerprint.get("rows") == digest]
    if not counts:
        return []
    if len(records) > 1:
        return [f"members were trained on up to {max(counts)} of these {len(good)} rows: scores are too good"]
    return [f"{counts[0]} of {len(good)} rows were trained on: their scores are too good"]


def evaluate_rows(run: OpenedNetwork, source: object, options: PredictOptions) -> dict[str, object]:
    """Return the scores of a run on labelled rows. The table needs the inputs and the targets only, not
    the columns of groups, splits and weights that the training had. Where it has that of weights, the scores
    are weighted, and say so.

    A label that is not a class of the run counts as wrong in the error rate and with probability 0 in the
    log loss; a missing label is left out. Returns the keys that ``--json`` prints (docs/formats.md).
    """
    started = time.monotonic()
    device = pick_device(options.device)
    reset_peak(device)
    schema = run.schema.model_copy(update={"group": (), "split": None, "weight": None, "time": None})
    table, reading = read_source(source, schema, options.reading, run.record)
    rows = prepare_rows(table, schema, run.encoding, reading, targets=True)
    good = np.array([row for row in range(len(rows.ids)) if row not in rows.bad], dtype=np.int64)
    if not len(good):
        raise SchemaError(f"{rows.table.source} has no usable row", fix="mend its pictures")
    notes = list(_note_unseen_values(run, rows).notes)
    weights, said = scoring_weights(run.schema, rows)
    notes += [*said, *trained_on([run.record], run.schema, rows, good)]
    weights = None if weights is None else weights[good]
    heads, answers, plain = answer_rows(run, rows, replace(options, reading=reading))
    several = views_of(with_views(run.recipe, options)).count > 1
    targets, without = {}, {}
    for head in heads:
        labels, said = head.scoring_labels(rows.table)
        notes += [*said, *weightless(head.name, labels[good], weights)]
        targets[head.name] = head.scores(
            answers[head.name][good],
            labels[good],
            baseline=run.record.majority.get(head.name),
            weights=weights,
        )
        if several:
            without[head.name] = head.scores(plain[head.name][good], labels[good], weights=weights)
    log_all(options.log, notes)
    return {
        "run": str(run.path),
        "rows": len(good),
        **({} if weights is None else {"weighted_by": run.schema.weight}),
        "targets": targets,
        **({"without_views": without} if several else {}),
        "seconds": round(time.monotonic() - started, 3),
        "peak_bytes": peak_bytes(device),
    }
