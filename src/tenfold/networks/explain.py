"""Some rows as the last layer sees them, for a workbook that shows the arithmetic of a loss."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tenfold.data.encode import encode
from tenfold.engine.batches import Preparation
from tenfold.engine.device import pick_device, pick_precision
from tenfold.engine.lastlayer import read_last_layer
from tenfold.engine.loss import task_weights_of
from tenfold.engine.predict import predict_features, predict_views, prediction_autocast
from tenfold.errors import RunError, SchemaError
from tenfold.networks.inputs import Rows, prepare_rows
from tenfold.networks.opened import OpenedNetwork
from tenfold.networks.predict import load_network
from tenfold.networks.rows import choose_rows, row_labels, rows_source
from tenfold.nn.augment import views_of
from tenfold.nn.heads import Head
from tenfold.nn.network import uses_channels_last
from tenfold.runs.options import SOME_ROWS, ExplainOptions, Reading
from tenfold.targets.base import Labels
from tenfold.targets.classweights import class_weighted
from tenfold.targets.labels import row_weights as column_weights
from tenfold.workbooks.lastlayer import ExplainedRows
from tenfold.workbooks.rows import TargetRows

VALIDATION = "validation.parquet"
Floats = NDArray[np.float64]


def explain_network(
    run: OpenedNetwork, rows: Sequence[str] = (), options: ExplainOptions = SOME_ROWS
) -> ExplainedRows:
    """Features, raw outputs, answers and losses of rows, for `workbooks.lastlayer.build_loss_book`.

    rows: their ids; representative validation rows where none is given.
    Raises RunError where the rows cannot be read any more, SchemaError for an unknown id.
    """
    strange = [target for target in run.schema.answers if target.loss is not None]
    if strange:
        raise RunError(
            f"{strange[0].name} was trained by a loss of its own, which has no formulas",
            found=str(strange[0].loss),
            fix="see the run's page: tenfold report",
        )
    classes, own = run.encoding.classes, options.table is None
    source, reading, notes = rows_source(run, VALIDATION, classes, options.table, options.reading)
    wanted = [str(row) for row in rows]
    index, why, said = choose_rows(run, VALIDATION, classes, source, wanted, options.n, own=own)
    notes += said
    schema = run.schema.model_copy(update={"group": (), "split": None, "weight": None, "time": None})
    prepared = prepare_rows(source.take(index), schema, run.encoding, reading, targets=False)
    good = np.array([row for row in range(len(prepared.ids)) if row not in prepared.bad], dtype=np.int64)
    if not len(good):
        raise SchemaError("none of these rows can be read", fix="choose others, or mend their pictures")
    return _explained(run, prepared, good, [why[row] for row in good], notes, reading, options.device)


def _explained(
    run: OpenedNetwork,
    rows: Rows,
    good: NDArray[np.int64],
    why: list[str],
    notes: list[str],
    reading: Reading,
    device: str,
) -> ExplainedRows:
    where = pick_device(device)
    precision = run.record.precision or pick_precision(run.recipe.precision, where)
    network = load_network(run).to(where)
    examples, _ = encode(run.encoding, run.schema, rows.table, rows.caches, ids=rows.ids, targets=False)
    dtype = next(network.parameters()).dtype
    preparation = Preparation(run.encoding, where, dtype, channels_last=uses_channels_last(network))
    autocast, workers = prediction_autocast(precision, where), reading.workers
    features = predict_features(network, examples, good, preparation, autocast=autocast, workers=workers)
    answers, _ = predict_views(network, examples, good, preparation, autocast=autocast, workers=workers)
    labels: dict[str, Labels] = {}
    words: dict[str, list[str]] = {}
    row_weights, messages = _row_weights(run, rows, good)
    notes += messages
    for head in network.heads:
        labels[head.name], words[head.name], messages = row_labels(head, rows, good)
        notes += messages
    last = read_last_layer(network, features, _weighed(network.heads, labels))
    raw = features.astype(np.float64) @ last.weight.T + last.bias
    weights = task_weights_of(network, run.recipe)
    targets, start = [], 0
    for head in network.heads:
        name = head.name
        targets.append(
            TargetRows(
                kind=head,
                raw=raw[:, start : start + head.outputs],
                labels=labels[name],
                label_words=words[name],
                answers=answers[name],
                losses=last.losses[name],
                smoothing=head.label_smoothing,
                task_weight=weights[name],
                familiar=last.familiar.get(name),
                huber=head.huber,
                row_weights=row_weights,
            )
        )
        start += head.outputs
    if views_of(run.recipe).count > 1:
        notes.append("the run averages several views of a picture; explained is the plain view alone")
    if run.recipe.class_weights != "none" and not any(head.stats.yes_weights for head in network.heads):
        notes.append("the run does not remember its class weights: here every row counts the same")
    return ExplainedRows(
        run=str(run.path),
        trained=_trained(run),
        ids=[str(name) for name in rows.ids[good]],
        why=why,
        features=features.astype(np.float64),
        weight=last.weight,
        bias=last.bias,
        targets=targets,
        learnt=dict(last.learnt),
        notes=tuple(dict.fromkeys(notes)),
    )


def _trained(run: OpenedNetwork) -> list[str]:
    rows = f"{run.record.train_rows} rows to train, {run.record.valid_rows} to validate"
    what = run.recipe.arch if run.schema.images else "a network of a table"
    return [f"{what}: {run.schema.described}", rows]


def _row_weights(run: OpenedNetwork, rows: Rows, good: NDArray[np.int64]) -> tuple[Floats | None, list[str]]:
    """What each row counts, as its table says; None where all count the same."""
    if run.schema.weight is None:
        return None, []
    if run.schema.weight not in rows.table.names:
        return None, [f"{rows.table.source} has no column {run.schema.weight!r}: every row counts the same"]
    return column_weights(run.schema, rows.table)[good], []


def _weighed(heads: Iterable[Head], labels: Mapping[str, Labels]) -> dict[str, tuple[Labels, Floats]]:
    """Labels, and the weight of each question in the loss of its row; a single label has the whole loss."""
    weighed = {}
    for head in heads:
        codes, known = head.loss_labels(labels[head.name])
        if known.ndim == 2:
            known = class_weighted({"": head.stats}, {"": codes}, {"": known})[""]
        weighed[head.name] = codes, known
    return weighed
