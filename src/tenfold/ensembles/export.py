"""An ensemble of networks as a single graph of ONNX."""

from __future__ import annotations

from functools import partial

from tenfold.ensembles.joined import JoinedNetworks
from tenfold.ensembles.predict import ensemble_kinds, predict_rows
from tenfold.errors import RecipeError
from tenfold.files.graph import Exported, GraphInput, check_graph_path
from tenfold.networks.export import (
    Checks,
    answer_graph,
    asked_options,
    cell_feeds,
    chosen_rows,
    export_graph,
    given_answers,
    graph_inputs,
    photo_checks,
)
from tenfold.networks.opened import OpenedNetwork
from tenfold.nn.graph import JoinedGraph
from tenfold.runs.options import ExportOptions


def export_ensemble(blend: JoinedNetworks, output: str, options: ExportOptions) -> Exported:
    """Write an ensemble as a graph in which all members answer, and their answers are averaged.

    Raises RecipeError where members know other words of a category, or take pictures of other sizes that the
    graph shall not resize.
    """
    check_graph_path(output)
    members = blend.parts()
    first = members[0][0]
    inputs = _inputs([run for run, _ in members], options)
    kinds = ensemble_kinds(blend)
    graph = JoinedGraph(
        [answer_graph(run, options) for run, _ in members],
        [parts for _, parts in members],
        {kind.name: kind.answers for kind in kinds},
    ).eval()
    chosen = chosen_rows(blend, blend.classes, options, first.encoding)
    predict = partial(predict_rows, blend)
    # Members may read pictures at different sizes, so these are checked as photos.
    rows, answers = {}, {}
    if not blend.schema.images or not options.resize:
        answered = predict(chosen.table, asked_options(options, chosen.reading))
        answers = {name: given_answers(own) for name, own in answered.targets.items()}
        rows = cell_feeds(blend.schema, first.encoding, chosen.table)
        for column, cache in zip(blend.schema.images, chosen.rows.caches, strict=True):
            rows[column.name] = cache.read(chosen.good)
    checks = Checks(
        rows, answers, photo_checks(predict, blend.schema, first.encoding, chosen, options), chosen.notes
    )
    return export_graph(blend, output, graph, inputs, kinds, checks)


def _inputs(runs: list[OpenedNetwork], options: ExportOptions) -> list[GraphInput]:
    """The inputs that all members share."""
    first = graph_inputs(runs[0].schema, runs[0].encoding, options)
    for run in runs[1:]:
        own = graph_inputs(run.schema, run.encoding, options)
        strange = [given for given, other in zip(first, own, strict=True) if given != other]
        if strange:
            size = strange[0].size
            what = f"pictures of {size[0]}x{size[1]}" if size else f"the values of {strange[0].name!r}"
            raise RecipeError(
                f"the members take {what} in different ways, so they do not share the inputs of a graph",
                found=f"{runs[0].path} and {run.path}",
                fix="leave out --no-resize" if size else "export the members one by one",
            )
    return first
