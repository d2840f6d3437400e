"""A network, or several, as a graph of ONNX that answers as the run does; checked before it is written."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from tenfold.data.encode import Encoding, encode_columns
from tenfold.data.images.decode import decode_within, resizes_down_first
from tenfold.data.tables.table import Table
from tenfold.errors import RecipeError, RunError, SchemaError
from tenfold.files.graph import (
    CODE,
    OPSET,
    Arrays,
    Exported,
    GraphInput,
    GraphOutput,
    check_graph_path,
    describe_graph,
    finished_graph,
    largest_difference,
    refuse_difference,
    write_exported,
)
from tenfold.networks.inputs import Rows, picture_files, prepare_rows
from tenfold.networks.opened import OpenedNetwork
from tenfold.networks.predict import answer_rows, load_network, predict_rows, with_views
from tenfold.networks.rows import choose_rows, rows_source
from tenfold.nn.augment import views_of
from tenfold.nn.graph import AnswerGraph, JoinedGraph
from tenfold.nn.resize import SUPPORT
from tenfold.runs.described import package_versions
from tenfold.runs.options import ExportOptions, PredictOptions, Reading
from tenfold.runs.run import OpenedRun
from tenfold.schema import NumberColumn, Schema
from tenfold.targets.base import TargetKind
from tenfold.targets.labels import Classes
from tenfold.values import Predictions, TargetPrediction

Floats = NDArray[np.float64]
VALIDATION = "validation.parquet"
#: Photos of their own size that a graph is checked on.
PHOTOS = 8
#: A text that no table has: an unknown value.
UNKNOWN = "\0"


@dataclass(frozen=True)
class Checks:
    """What a graph is held against before it is written.

    rows, answers: input -> what the graph takes, and target -> (rows, answers) of the run.
    photos: the same of single rows, with pictures of their own sizes.
    """

    rows: Arrays
    answers: Mapping[str, Floats]
    photos: Sequence[tuple[Arrays, Mapping[str, Floats]]] = ()
    notes: Sequence[str] = ()


def export_network(run: OpenedNetwork, output: str, options: ExportOptions) -> Exported:
    """Write a network as a graph of ONNX, with its description beside it; see `Run.export`."""
    check_graph_path(output)
    graph = answer_graph(run, options)
    chosen = chosen_rows(run, run.encoding.classes, options, run.encoding)
    _, answers, _ = answer_rows(run, chosen.rows, asked_options(options, chosen.reading))
    feeds: dict[str, NDArray[np.generic]] = {
        column.name: cache.read(chosen.good)
        for column, cache in zip(run.schema.images, chosen.rows.caches, strict=True)
    }
    checks = Checks(
        feeds | cell_feeds(run.schema, run.encoding, chosen.table),
        {name: own[chosen.good] for name, own in answers.items()},
        photo_checks(partial(predict_rows, run), run.schema, run.encoding, chosen, options),
        chosen.notes,
    )
    inputs = graph_inputs(run.schema, run.encoding, options)
    return export_graph(run, output, graph, inputs, graph.network.heads, checks)


def answer_graph(run: OpenedNetwork, options: ExportOptions) -> AnswerGraph:
    """A run's network with what stands before and behind it. Raises RecipeError for what no graph says."""
    recipe = with_views(run.recipe, PredictOptions(views=options.views, tta=options.tta))
    if recipe.tta:
        raise RecipeError(
            f"{run.path} averages {recipe.tta} random views, drawn from rows' names; a graph has no names",
            fix="export its answers without them: --tta 0; mirrored views can be exported: --views 2",
        )
    how = run.encoding.interpolation
    if options.resize and run.schema.images and how not in SUPPORT:
        raise RecipeError(
            f"{run.path} resizes pictures by {how!r}, which a graph does not",
            fix="export a graph for pictures of its size: --no-resize",
        )
    down_first = resizes_down_first() if options.resize else None
    network = load_network(run).eval()
    return AnswerGraph(network, run.encoding, run.schema, views_of(recipe), down_first).eval()


def asked_options(options: ExportOptions, reading: Reading) -> PredictOptions:
    """How the run is asked for the answers that its graph must give."""
    return PredictOptions(reading=reading, device="cpu", views=options.views, tta=options.tta)


def graph_inputs(schema: Schema, encoding: Encoding, options: ExportOptions) -> list[GraphInput]:
    """The inputs of a graph, in the order in which `nn.graph` takes them."""
    size = None if options.resize else encoding.image_size
    inputs = [GraphInput(column.name, "picture", size) for column in schema.images]
    for column in schema.columns:
        if isinstance(column, NumberColumn):
            inputs.append(GraphInput(column.name, "number"))
        else:
            inputs.append(GraphInput(column.name, "text", words=encoding.columns[column.name].words))
    return inputs


@dataclass(frozen=True)
class ChosenRows:
    """Rows for a check, prepared by an encoding. table: those that can be used, the `good` ones of `rows`."""

    table: Table
    rows: Rows
    good: NDArray[np.int64]
    reading: Reading
    notes: Sequence[str]


def chosen_rows(run: OpenedRun, classes: Classes, options: ExportOptions, encoding: Encoding) -> ChosenRows:
    """Held-out rows of a run, or rows of the table that is given. Raises RunError where none can be read."""
    source, reading, notes = rows_source(run, VALIDATION, classes, options.table, options.reading)
    index, _, said = choose_rows(run, VALIDATION, classes, source, [], options.n, own=options.table is None)
    changes: dict[str, object] = {"group": (), "split": None, "weight": None, "time": None}
    schema = run.schema.model_copy(update=changes)
    rows = prepare_rows(source.take(index), schema, encoding, reading, targets=False)
    good = np.array([row for row in range(len(rows.ids)) if row not in rows.bad], dtype=np.int64)
    if not len(good):
        raise SchemaError(
            "none of the rows to check the graph on can be read", fix="give others with --table"
        )
    said = [note.replace("are explained", "are checked") for note in (*notes, *said)]
    return ChosenRows(rows.table.take(good), rows, good, reading, said)


def cell_feeds(schema: Schema, encoding: Encoding, table: Table) -> dict[str, NDArray[np.generic]]:
    """Cells of a table as a graph takes them: texts as training spells them."""
    encoded, _ = encode_columns(encoding.columns, schema, table)
    feeds: dict[str, NDArray[np.generic]] = {}
    for column in schema.columns:
        if isinstance(column, NumberColumn):
            feeds[column.name] = table.numbers(column.name)
            continue
        words = encoding.columns[column.name].words
        codes = encoded[column.name].tolist()
        feeds[column.name] = np.array([words[code - 1] if code else UNKNOWN for code in codes], dtype=object)
    return feeds


def photo_checks(
    predict: Callable[[object, PredictOptions], Predictions],
    schema: Schema,
    encoding: Encoding,
    chosen: ChosenRows,
    options: ExportOptions,
) -> list[tuple[Arrays, Mapping[str, Floats]]]:
    """Single rows with pictures of their own sizes, and the run's answers to them.

    The pictures are decoded first, and shrunk to three times the network's size where they are larger: a JPEG
    that is larger still is shrunk by its decoder, which no graph does.
    """
    if not schema.images or not options.resize:
        return []
    table = chosen.table.take(np.arange(min(PHOTOS, chosen.table.rows)))
    files = {column.name: picture_files(table, column, chosen.reading) for column in schema.images}
    largest = (3 * encoding.image_size[0], 3 * encoding.image_size[1])
    feeds, checks = cell_feeds(schema, encoding, table), []
    for row in range(table.rows):
        paths = {name: path for name, found in files.items() if (path := found.paths[row]) is not None}
        if len(paths) < len(files):
            continue
        pictures = {name: decode_within(path, largest) for name, path in paths.items()}
        single = table.take([row])
        cells = {
            column.name: None if single.missing(column.name)[0] else single.text(column.name, ids=False)[0]
            for column in schema.columns
        }
        reading = replace(chosen.reading, folders={})
        answers = predict([{**pictures, **cells}], asked_options(options, reading))
        given = {name: values[row : row + 1] for name, values in feeds.items()}
        given |= {name: pixels[None] for name, pixels in pictures.items()}
        checks.append((given, {name: given_answers(own) for name, own in answers.targets.items()}))
    return checks


def given_answers(target: TargetPrediction) -> Floats:
    """(rows, answers) probabilities, or the number."""
    if target.probabilities is not None:
        return target.probabilities
    return np.asarray(target.values, dtype=np.float64)[:, None]


def export_graph(
    run: OpenedRun,
    output: str,
    graph: AnswerGraph | JoinedGraph,
    inputs: Sequence[GraphInput],
    kinds: Sequence[TargetKind],
    checks: Checks,
) -> Exported:
    """Trace a graph, hold it against the run's answers, and write it.

    kinds: of the targets, in the order of the graph's answers.
    Raises RunError, with nothing written, where it cannot be traced or answers otherwise.
    """
    outputs = [GraphOutput(kind.name, kind.kind, kind.classes, kind.stats.thresholds) for kind in kinds]
    about = {
        "format": 1,
        "run": run.path.name,
        **describe_graph(inputs, outputs),
        "versions": package_versions(),
    }
    model = finished_graph(traced(graph, inputs, outputs), inputs, about)
    check: dict[str, float] = {}
    if checks.rows:
        rows = len(next(iter(checks.rows.values())))
        difference = largest_difference(model, checks.rows, checks.answers)
        refuse_difference(difference, f"{rows} rows")
        check |= {"rows": rows, "largest_difference": difference}
    if checks.photos:
        difference = max(largest_difference(model, *photo) for photo in checks.photos)
        refuse_difference(difference, f"{len(checks.photos)} photos of their own size")
        check |= {"photos": len(checks.photos), "photos_difference": difference}
    names = [given.name for given in inputs], [made.name for made in outputs]
    return write_exported(run.path, output, model, about, names, check, checks.notes)


def traced(
    graph: AnswerGraph | JoinedGraph,
    inputs: Sequence[GraphInput],
    outputs: Sequence[GraphOutput],
) -> bytes:
    """The graph as torch traces it; inputs of texts are codes."""
    names = [given.name + (CODE if given.kind == "text" else "") for given in inputs]
    examples: list[torch.Tensor] = []
    for given in inputs:
        if given.kind == "picture":
            # Other sides, and another number of rows, than those that are checked later.
            height, width = given.size or (37, 53)
            examples.append(torch.zeros(2, height, width, 3, dtype=torch.uint8))
        else:
            coded = given.kind == "text"
            examples.append(torch.zeros(2, dtype=torch.int64 if coded else torch.float64))
    dynamic: dict[str, dict[int, str]] = {}
    for name, given in zip(names, inputs, strict=True):
        free = given.kind == "picture" and given.size is None
        dynamic[name] = {0: "rows", **({1: "height", 2: "width"} if free else {})}
    dynamic |= {made.name: {0: "rows"} for made in outputs}
    stream = io.BytesIO()
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # on constants within the tracing, which the check finds
            torch.onnx.export(
                graph,
                tuple(examples),
                stream,  # type: ignore[arg-type]
                input_names=names,
                output_names=[made.name for made in outputs],
                dynamic_axes=dynamic,
                opset_version=OPSET,
                dynamo=False,
            )
    except (RuntimeError, TypeError, ValueError, NotImplementedError, AttributeError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise RunError(
            f"torch {torch.__version__} cannot write this network as a graph: {first}",
            fix="choose another architecture; tenfold predict answers as before",
        ) from None
    return stream.getvalue()
