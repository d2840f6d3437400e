"""Networks of ratings for a workbook: a dot product as factors, any other body as rows of pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.collab.ids import as_ids, find_items, locate, near_items, ratings_between
from tenfold.collab.predict import Cells
from tenfold.data.tables.table import Table
from tenfold.engine.batches import column_inputs
from tenfold.engine.checkpoint import to_array
from tenfold.engine.device import pick_device
from tenfold.engine.lastlayer import read_last_layer
from tenfold.engine.predict import predict_features
from tenfold.errors import RatingsError, RunError
from tenfold.nn.network import column_name
from tenfold.recommenders.explain_factors import find_indices
from tenfold.recommenders.network_scorer import NetworkScorer, single_thread_on_cpu
from tenfold.recommenders.run import RecommenderRun
from tenfold.runs.heldout import representative_rows
from tenfold.runs.options import ExplainOptions
from tenfold.runs.reading import read_as_trained
from tenfold.schema import NumberTarget
from tenfold.values import FactorModel, Interactions
from tenfold.workbooks.lastlayer import ExplainedRows
from tenfold.workbooks.rows import TargetRows

__all__ = ["dot_model", "explain_pairs"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Of the busiest users and items, so many are looked through for representative pairs; at most so many pairs.
BUSIEST, MOST_PAIRS = 60, 20_000


def dot_model(scorer: NetworkScorer) -> FactorModel:
    """A network with a dot product as its body, as an exact factor model in double precision.

    The last layer makes w x (a + b + p . q) + v of two embeddings: w goes into the biases and the users'
    factors, and v is the mean. What side columns say of an id stands beside its own factors.
    """
    network, known, device = scorer.network, scorer.interactions, pick_device("cpu")
    stats = network.heads[0].stats
    network.to(device)
    users, items = len(known.users), len(known.items)
    # Encoders look at their own column only: the other is filled with unknown ids.
    examples, preparation = scorer.inputs(
        np.append(np.arange(users), np.full(items, -1)),
        np.append(np.full(users, -1), np.arange(items)),
        {},
        device,
    )
    inputs = column_inputs(examples, np.arange(users + items), preparation)
    user, item = (
        to_array(network.encoders[column_name(column)](inputs[column_name(column)])).astype(np.float64)[own]
        for column, own in ((0, slice(0, users)), (1, slice(users, None)))
    )
    weight, shift = (
        float(to_array(part).reshape(-1)[0]) for part in (network.last.weight, network.last.bias)
    )
    ends = None if stats.low is None or stats.high is None else (stats.low, stats.high)
    if ends is None:  # no sigmoid: the answer is the raw output in units of the labels' deviation
        weight, shift = weight * stats.deviation, stats.mean + shift * stats.deviation
    factors: dict[str, Any] = {
        "user_bias": weight * user[:, 0],
        "item_bias": weight * item[:, 0],
        "user_factors": np.ascontiguousarray(weight * user[:, 1:]),
        "item_factors": np.ascontiguousarray(item[:, 1:]),
    }
    return FactorModel(
        **{field.name: getattr(known, field.name) for field in fields(Interactions)},
        method="network (dot)",
        mean=shift,
        **factors,
        sigmoid_range=ends,
    )


@dataclass(frozen=True)
class _Pairs:
    """Pairs that may be explained. users, items: indices, -1 where unknown.  names: their ids."""

    users: Ints
    items: Ints
    names: list[tuple[str, str]]
    ratings: Floats
    cells: Cells
    notes: list[str]

    def take(self, rows: Ints) -> _Pairs:
        """Some of them, in this order."""
        names = [self.names[row] for row in rows]
        cells = {name: values[rows] for name, values in self.cells.items()}
        return _Pairs(self.users[rows], self.items[rows], names, self.ratings[rows], cells, self.notes)


def explain_pairs(
    run: RecommenderRun, scorer: NetworkScorer, users: Sequence[str], options: ExplainOptions
) -> ExplainedRows:
    """Pairs of users and items as the last layer sees them.

    With users and items all their pairs are explained, rated or not. Else `options.n` of the rated ones at
    most, representative ones: near to their ratings, far from them, and in the middle. They are chosen from
    a table with all columns that a score needs, or from the ratings of the training. Raises RunError where
    a score needs cells that only a table has.
    """
    known = run.interactions
    both = bool(users) and bool(options.items)
    rows = find_indices("users", users, known.users, known.given, options.n) if users else None
    named, notes = find_items(known, as_ids(list(options.items)))
    near = partial(near_items, known)
    items = find_indices("items", named.tolist(), known.items, known.received, options.n, near)
    columns = items if options.items else None
    if options.table is None:
        if scorer.columns:
            raise RunError(
                f"a score of this run needs {', '.join(scorer.columns)}, too, which the run does not keep",
                fix="give a table of ratings with these columns: --table ratings.csv",
            )
        pairs = _known_pairs(known, rows, columns)
    else:
        names = [column.name for column in run.schema.ids[:2]]
        reading = options.reading
        table = read_as_trained(options.table, run.about, reading.table, names, usual_names=True)
        pairs = _table_pairs(run, scorer, table, rows, columns, reading.skip_bad)
    pairs.notes.extend(notes)
    why = ["asked for"] * len(pairs.names)
    if not both:
        chosen, why = _representative(scorer, pairs, options.n)
        pairs = pairs.take(chosen)
    return _explained(run, scorer, pairs, why)


def _known_pairs(known: Interactions, users: Ints | None, items: Ints | None) -> _Pairs:
    """All pairs of both, else the training ratings of the given side, or among the busiest of both."""
    seen, ratings = known.seen_items.astype(np.int64), known.seen_ratings.astype(np.float64)
    owner = known.owners
    if users is not None and items is not None:
        pairs = np.repeat(users, len(items)), np.tile(items, len(users))
        return _named(known, *pairs, ratings_between(known, users, items).ravel())
    if users is not None:
        among = np.isin(owner, users)
    elif items is not None:
        among = np.isin(seen, items)
    else:
        of_users, of_items = (
            np.isin(index, np.argsort(-count, kind="stable")[:BUSIEST])
            for index, count in ((owner, known.given), (seen, known.received))
        )
        # Of ratings that are spread very thinly, none may be among the busiest of both.
        among = of_users & of_items if (of_users & of_items).any() else of_users
    rows = np.flatnonzero(among)[:MOST_PAIRS]
    return _named(known, owner[rows], seen[rows], ratings[rows])


def _table_pairs(
    run: RecommenderRun,
    scorer: NetworkScorer,
    table: Table,
    users: Ints | None,
    items: Ints | None,
    skip_bad: bool,
) -> _Pairs:
    """Ratings of a table, of these users and items where some are given."""
    known = run.interactions
    ratings = run.read_ratings(table, skip_bad=skip_bad, keep_rows=True)
    user = locate(ratings.users, known.users)[ratings.user_index]
    item = locate(ratings.items, known.items)[ratings.item_index]
    kept = np.ones(len(user), np.bool_)
    for wanted, own in ((users, user), (items, item)):
        if wanted is not None:
            kept &= np.isin(own, wanted)
    rows = np.flatnonzero(kept)[:MOST_PAIRS]
    if not len(rows):
        raise RatingsError(f"{table.source} has no rating of these users and items", fix="ask for others")
    assert ratings.rows is not None
    cells, notes = scorer.cells(table.take(ratings.rows[rows]))
    called = [
        (str(ratings.users[ratings.user_index[row]]), str(ratings.items[ratings.item_index[row]]))
        for row in rows
    ]
    return _Pairs(user[rows], item[rows], called, ratings.ratings[rows].astype(np.float64), cells, notes)


def _named(known: Interactions, users: Ints, items: Ints, ratings: Floats) -> _Pairs:
    names = [(str(known.users[u]), str(known.items[i])) for u, i in zip(users, items, strict=True)]
    return _Pairs(users, items, names, ratings, {}, [])


def _representative(scorer: NetworkScorer, pairs: _Pairs, n: int) -> tuple[Ints, list[str]]:
    """The n pairs that say most of the run, and why each does."""
    answers, _ = scorer.scores(pairs.users, pairs.items, pairs.cells)
    # The target may be called id, too; here it has a name of its own.
    columns = {"id": list(range(len(answers))), "label": pairs.ratings, "label:predicted": answers}
    chosen = representative_rows(columns, [NumberTarget(name="label")], {}, n)
    return np.array([int(row) for row, _ in chosen], dtype=np.int64), [why for _, why in chosen]


def _explained(run: RecommenderRun, scorer: NetworkScorer, pairs: _Pairs, why: list[str]) -> ExplainedRows:
    network, target = scorer.network, run.record.target
    head = network.heads[0]
    device = pick_device("cpu")
    known = run.interactions
    answers, _ = scorer.on("cpu").scores(pairs.users, pairs.items, pairs.cells)
    examples, preparation = scorer.inputs(pairs.users, pairs.items, pairs.cells, device)
    with single_thread_on_cpu(device):
        features = predict_features(network, examples, np.arange(len(answers)), preparation)
    there = ~np.isnan(pairs.ratings)
    labels = {target: (np.where(there, pairs.ratings, 0), there.astype(np.float64))}
    last = read_last_layer(network, features, labels)
    rows = TargetRows(
        kind=head,
        raw=features.astype(np.float64) @ last.weight.T + last.bias,
        label_words=["" if rating != rating else f"{rating:g}" for rating in pairs.ratings],
        answers=answers[:, None],
        losses=last.losses[target],
        labels=pairs.ratings,
        huber=head.huber,
    )
    columns = ", ".join(column.name for column in run.schema.columns)
    return ExplainedRows(
        run=str(run.path),
        trained=[
            f"network of ratings: {columns} -> {target}",
            f"{len(known.seen_items)} ratings of {len(known.items)} items by "
            f"{len(known.users)} users to train",
        ],
        ids=[f"user {user}, item {item}" for user, item in pairs.names],
        why=why,
        features=features.astype(np.float64),
        weight=last.weight,
        bias=last.bias,
        targets=[rows],
        notes=tuple(pairs.notes),
    )
