"""A network of ratings as a graph of ONNX, checked against the run."""

from __future__ import annotations

import numpy as np

from tenfold.collab.ids import as_ids, locate
from tenfold.errors import RunError
from tenfold.files.graph import Exported, check_graph_path
from tenfold.networks.export import Checks, export_graph, graph_inputs
from tenfold.nn.augment import PLAIN
from tenfold.nn.graph import AnswerGraph
from tenfold.recommenders.export import checked_pairs
from tenfold.recommenders.network_scorer import NetworkScorer, network_schema
from tenfold.recommenders.run import RecommenderRun
from tenfold.runs.options import ExportOptions


def export_rating_network(
    run: RecommenderRun, scorer: NetworkScorer, output: str, options: ExportOptions
) -> Exported:
    """Write a network of ratings as a graph that scores pairs, and a description; see `Run.export`.

    Raises RunError where a score needs columns beside the user and the item.
    """
    check_graph_path(output)
    if scorer.columns:
        raise RunError(
            f"a score of {run.path} needs {', '.join(scorer.columns)}, too, and such a run is not exported",
            fix="predict tables of pairs: tenfold predict",
        )
    schema = network_schema(run.schema, run.record.target, run.record.scale)
    graph = AnswerGraph(scorer.network.eval(), scorer.encoding, schema, PLAIN, None).eval()
    users, items = checked_pairs(run, options)
    known = run.interactions
    index = locate(as_ids(users), known.users), locate(as_ids(items), known.items)
    predicted, _ = scorer.on("cpu").scores(*index, {})
    names = [column.name for column in schema.columns]
    feeds = {names[0]: np.array(users, object), names[1]: np.array(items, object)}
    checks = Checks(feeds, {scorer.network.heads[0].name: predicted[:, None]})
    inputs = graph_inputs(schema, scorer.encoding, options)
    return export_graph(run, output, graph, inputs, scorer.network.heads, checks)
