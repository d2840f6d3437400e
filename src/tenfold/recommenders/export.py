"""Recommenders as graphs of ONNX and arrays, checked against the run. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tenfold.collab.item_scorer import TIE, ItemScorer, Taste
from tenfold.collab.predict import FactorScorer
from tenfold.errors import RunError
from tenfold.files.graph import (
    OPSET,
    Exported,
    check_graph_path,
    largest_difference,
    refuse_difference,
    write_exported,
)
from tenfold.files.scorers import FactorTables, ItemTables, factor_graph, item_graph, write_tables
from tenfold.recommenders.run import HELD_OUT, RecommenderRun
from tenfold.runs.described import package_versions
from tenfold.runs.options import ExportOptions

Arrays = Mapping[str, NDArray[np.generic]]
#: An id that nobody has, for the check of what is unknown.
NOBODY = "\0"
#: Users whose lists are checked.
USERS = 8
#: Bytes of weights between items that a graph, whose files are below 2 GiB, holds with room to spare.
MOST_BYTES = 3 << 29


def export_factors(
    run: RecommenderRun,
    scorers: Sequence[tuple[float, FactorScorer]],
    output: str,
    options: ExportOptions,
) -> Exported:
    """Write factor models as a graph that scores pairs, as ``.npz`` and a description; see `Run.export`.

    scorers: each with its weight.
    """
    check_graph_path(output)
    models = [factor_tables(scorer, weight) for weight, scorer in scorers]
    users, items = checked_pairs(run, options)
    predicted = run.predict_pairs(users, items, ranking=True)
    names = _pair_names(run)
    notes = []
    if any(scorer.model.extra.times is not None for _, scorer in scorers):
        notes.append("the graph knows no times: its answers are those of tenfold predict without a time")
    about = {
        "format": 1,
        "run": run.path.name,
        "opset": OPSET,
        "inputs": [{"name": name, "kind": "text", "type": "string", "shape": ["rows"]} for name in names[:2]],
        "outputs": [{"name": names[2], "kind": "score", "type": "float32", "shape": ["rows"]}],
        "arrays": f"{Path(output).stem}.npz",
        "versions": package_versions(),
    }
    arrays = {
        f"{number}.{name}" if len(models) > 1 else name: value
        for number, model in enumerate(models)
        for name, value in model.arrays().items()
    }
    feeds = {names[0]: np.array(users, object), names[1]: np.array(items, object)}
    return _checked(run, output, factor_graph(models, names, about), about, arrays, feeds,
                    {names[2]: predicted.score}, {"rows": len(users)}, notes)  # fmt: skip


def export_items(run: RecommenderRun, scorer: ItemScorer, output: str, options: ExportOptions) -> Exported:
    """Write weights between items as a graph that scores lists, as ``.npz`` and a description."""
    check_graph_path(output)
    known = scorer.interactions
    recent = scorer.model.recent
    taste = Taste(replace(scorer.model, recent=0.0), known)
    scored = scorer.model.items
    if 4 * scorer.model.inputs * len(scored) > MOST_BYTES:
        raise RunError(
            f"{run.path} has weights between {len(scored):,} items, and a graph holds 1.5 GiB of them",
            fix="fit with a smaller --core-items, or ask the run itself (tenfold serve)",
        )
    weights = scorer.model.between(np.arange(scorer.model.inputs), np.arange(len(scored)))
    nobody = taste.interest(-1)
    model = ItemTables(tuple(map(str, known.items)), taste.taken, nobody, scored, weights, TIE)
    names = (run.schema.ids[1].name, "interest")
    about = {
        "format": 1,
        "run": run.path.name,
        "opset": OPSET,
        "inputs": [{"name": names[0], "kind": "text", "type": "string", "shape": ["rows", "taken"]}],
        "outputs": [
            {"name": names[1], "kind": "score", "type": "float32", "shape": ["rows", len(model.items)]}
        ],
        "items": list(model.items),
        "arrays": f"{Path(output).stem}.npz",
        "versions": package_versions(),
    }
    users = np.argsort(-known.given, kind="stable")[:: max(1, len(known.users) // USERS)][:USERS]
    rows = [known.seen_items[known.seen_start[u] : known.seen_start[u + 1]] for u in users]
    # Of nobody, too; and an item twice.
    rows = [*rows, rows[0][:0]]
    wide = 1 + max(len(row) for row in rows)
    taken = np.full((len(rows), wide), "", object)
    for place, row in enumerate(rows):
        taken[place, : len(row)] = known.items[row.astype(np.int64)]
        taken[place, -1] = taken[place, 0]
    notes = []
    if recent:
        notes.append(
            "the graph knows no order of what a user took: it counts all the same, as with --recent 0"
        )
    expected = np.stack([taste.interest(int(user)) for user in (*users, -1)])
    return _checked(run, output, item_graph(model, names, about), about, model.arrays(), {names[0]: taken},
                    {names[1]: expected}, {"rows": len(rows)}, notes)  # fmt: skip


def factor_tables(scorer: FactorScorer, weight: float = 1.0) -> FactorTables:
    """A factor model with the average user and item as its first rows."""
    model = scorer.model
    average = scorer.average_user, scorer.average_item
    biases = [
        np.concatenate([[own[0]], bias]).astype(np.float32)
        for own, bias in zip(average, (model.user_bias, model.item_bias), strict=True)
    ]
    factors = [
        np.concatenate([own[1][None], rows]).astype(np.float32)
        for own, rows in zip(average, (model.user_factors, model.item_factors), strict=True)
    ]
    return FactorTables(
        tuple(map(str, model.users)),
        tuple(map(str, model.items)),
        biases[0],
        biases[1],
        factors[0],
        factors[1],
        float(model.mean),
        model.sigmoid_range,
        None if model.implicit else model.scale,
        None if model.implicit else scorer.mean_rating,
        weight,
    )


def checked_pairs(run: RecommenderRun, options: ExportOptions) -> tuple[list[str], list[str]]:
    """Users and items of the pairs that a graph is checked on: of a table, held-out ones, or those of
    training; and of unknown ones."""
    known = run.interactions
    if options.table is not None:
        asked = run.predict(options.table, reading=options.reading, ranking=True)
        users, items = asked.users, asked.items
    else:
        kept = (run.path / HELD_OUT).exists()
        users, items = run.held_out_pairs() if kept else (known.users[:0], known.items[:0])
        if not len(users):
            users = np.repeat(known.users, np.diff(known.seen_start))
            items = known.items[known.seen_items.astype(np.int64)]
    step = max(1, len(users) // options.n)
    users, items = list(map(str, users[::step])), list(map(str, items[::step]))
    strange = [(NOBODY, str(known.items[0])), (str(known.users[0]), NOBODY), (NOBODY, NOBODY)]
    return users + [user for user, _ in strange], items + [item for _, item in strange]


def _pair_names(run: RecommenderRun) -> tuple[str, str, str]:
    ids = [column.name for column in run.schema.ids]
    return str(ids[0]), str(ids[1]), run.target


def _checked(
    run: RecommenderRun,
    output: str,
    model: bytes,
    about: Mapping[str, object],
    arrays: Arrays,
    feeds: Arrays,
    expected: Arrays,
    check: dict[str, float],
    notes: list[str],
) -> Exported:
    difference = largest_difference(model, feeds, expected)
    refuse_difference(difference, f"{check['rows']:.0f} rows")
    check = {**check, "largest_difference": difference}
    write_tables(str(Path(output).with_suffix(".npz")), arrays)
    return write_exported(run.path, output, model, about, ([*feeds], [*expected]), check, notes)
