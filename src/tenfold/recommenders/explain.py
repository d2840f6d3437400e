"""The neural route of ratings for a workbook: a dot product as factors, any other body as rows of pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.collab.predict import locate, ratings_between
from tenfold.data.tables.table import Table
from tenfold.engine.batches import column_inputs
from tenfold.engine.checkpoint import to_array
from tenfold.engine.device import one_thread, pick_device
from tenfold.engine.lastlayer import read_last_layer
from tenfold.engine.predict import predict_features
from tenfold.errors import RatingsError, RunError
from tenfold.nn.body import DotBody
from tenfold.nn.network import column_name
from tenfold.recommenders.explain_factors import explain_factors, find_places
from tenfold.recommenders.factors import id_names, read_own_ratings
from tenfold.runs.heldout import representative_rows
from tenfold.runs.options import ExplainOptions
from tenfold.runs.reading import read_as_trained
from tenfold.runs.run import Explanation
from tenfold.schema import NumberTarget
from tenfold.workbooks.lastlayer import ExplainedRows, build_loss_book
from tenfold.workbooks.rows import TargetRows

__all__ = ["dot_factors", "explain_pairs", "is_dot"]

Floats = NDArray[np.float64]
Places = NDArray[np.int64]

#: Of the busiest users and items, so many are looked through for telling pairs, and at most so many pairs.
BUSIEST, MOST_PAIRS = 60, 20_000


def explain_pair_run(run: Any, rows: Sequence[str], options: ExplainOptions) -> Explanation:
    """The workbook of a network of ratings: factors of a dot product, else the last layer. rows: users."""
    if is_dot(run):
        return explain_factors(run, run.known, partial(dot_factors, run), rows, options)
    users, items = (
        find_places(what, wanted, known, None, options.n) if wanted else None
        for what, wanted, known in (
            ("users", rows, run.known.users),
            ("items", options.items, run.known.items),
        )
    )
    how = options.reading
    found = explain_pairs(
        run,
        users,
        items,
        table=options.table,
        n=options.n,
        table_options=how.table,
        skip_bad=how.skip_bad,
    )
    return Explanation(build_loss_book(found), found.record(run.kind))


def is_dot(run: Any) -> bool:
    """Whether its score is a product of factors, so that it can stand in a crosstab."""
    return isinstance(run.network.body, DotBody)


def dot_factors(run: Any, users: Places, items: Places) -> dict[str, Any]:
    """Factors, biases, mean and range of some users and items, as `workbooks.ratings.ExplainedRatings` has
    them.

    The last layer makes w x (a + b + p . q) + v of two embeddings: w goes into the biases and the users'
    factors, and v is the mean. What side columns say of an id stands beside its own factors. All is exact.
    """
    network, head = run.network, run.network.heads[0]
    place = pick_device("cpu")
    network.to(place)
    # Encoders look at their own column only: one is filled up with what is unknown.
    examples, preparation = run.inputs(
        np.concatenate([users, np.full(len(items), -1)]),
        np.concatenate([np.full(len(users), -1), items]),
        {},
        place,
    )
    inputs = column_inputs(examples, np.arange(len(examples.ids)), preparation)
    user, item = (
        to_array(network.encoders[column_name(column)](inputs[column_name(column)])).astype(np.float64)[which]
        for column, which in ((0, slice(0, len(users))), (1, slice(len(users), None)))
    )
    weight, shift = (float(to_array(one).reshape(-1)[0]) for one in (network.last.weight, network.last.bias))
    facts = head.stats
    ends = None if facts.low is None or facts.high is None else (facts.low, facts.high)
    if ends is None:  # no sigmoid: the answer is the raw output in units of the labels' deviation
        weight, shift = weight * facts.deviation, facts.mean + shift * facts.deviation
    predicted = run.score(np.repeat(users, len(items)), np.tile(items, len(users)), {}, device="cpu")
    return {
        "mean": shift,
        "user_bias": weight * user[:, 0],
        "item_bias": weight * item[:, 0],
        "user_factors": weight * user[:, 1:],
        "item_factors": item[:, 1:],
        "range": ends,
        "scale": _scale(run),
        "predicted": predicted.reshape(len(users), len(items)),
    }


def _scale(run: Any) -> tuple[float, float] | None:
    """What answers are cut to; nothing where all ratings are alike."""
    low, high = run.known.scale
    return (float(low), float(high)) if low < high else None


@dataclass(frozen=True)
class _Pairs:
    """Pairs that may be explained. users, items: places, -1 where unknown.  names: their ids."""

    users: Places
    items: Places
    names: list[tuple[str, str]]
    ratings: Floats
    cells: dict[str, NDArray[Any]]
    notes: list[str]

    def take(self, rows: Places) -> _Pairs:
        """Some of them, in this order."""
        names = [self.names[row] for row in rows]
        cells = {name: values[rows] for name, values in self.cells.items()}
        return _Pairs(self.users[rows], self.items[rows], names, self.ratings[rows], cells, self.notes)


def explain_pairs(
    run: Any,
    users: Places | None,
    items: Places | None,
    *,
    table: Any = None,
    n: int = 12,
    table_options: Mapping[str, Any] | None = None,
    skip_bad: bool = False,
) -> ExplainedRows:
    """Pairs of users and items as the last layer sees them, for `workbooks.lastlayer.build_loss_book`.

    users, items: places in `PairRun.known`; with both, all their pairs are explained, rated or not. Else n of
    the rated ones at most, telling ones: near to their ratings, far from them, and in the middle.
    table: ratings to choose from, with all columns that a score needs; those of the training where not given.
    table_options: as `read_table` takes them.  skip_bad: leave out its rows without an id or a rating.
    Raises RunError where a score needs cells that only a table has.
    """
    others = ", ".join(column.name for column in run.schema.columns[2:])
    if others and table is None:
        raise RunError(
            f"a score of this run needs {others}, too, which the run does not keep",
            fix="give a table of ratings with these columns: --table ratings.csv",
        )
    both = users is not None and items is not None
    if table is None:
        found = _known_pairs(run, users, items)
    else:
        table = read_as_trained(table, run.about, table_options or {}, id_names(run.schema), usual_names=True)
        found = _table_pairs(run, table, users, items, skip_bad)
    why = ["asked for"] * len(found.names)
    if not both:
        rows, why = _telling(run, found, n)
        found = found.take(rows)
    return _explained(run, found, why)


def _known_pairs(run: Any, users: Places | None, items: Places | None) -> _Pairs:
    """All pairs of both, else the training's ratings of one, or among the busiest of both."""
    known = run.known
    given = np.diff(known.seen_start)
    owner = np.repeat(np.arange(len(known.users)), given)
    seen, ratings = known.seen_items.astype(np.int64), known.seen_ratings.astype(np.float64)
    if users is not None and items is not None:
        pairs = np.repeat(users, len(items)), np.tile(items, len(users))
        return _named(run, *pairs, ratings_between(known, users, items).ravel())
    if users is None and items is None:
        received = np.bincount(seen, minlength=len(known.items))
        users, items = (np.argsort(-count, kind="stable")[:BUSIEST] for count in (given, received))
        among = np.isin(owner, users) & np.isin(seen, items)
        # Of ratings that are spread very thinly, none may be among the busiest of both.
        rows = np.flatnonzero(among if among.any() else np.isin(owner, users))
    else:
        rows = np.flatnonzero(np.isin(owner, users) if users is not None else np.isin(seen, items))
    rows = rows[:MOST_PAIRS]
    return _named(run, owner[rows], seen[rows], ratings[rows])


def _table_pairs(
    run: Any, table: Table, users: Places | None, items: Places | None, skip_bad: bool
) -> _Pairs:
    """Ratings of a table, of these users and items where they are said."""
    found = read_own_ratings(run, table, skip_bad=skip_bad, keep_rows=True)
    user = locate(found.users, run.known.users)[found.user_index]
    item = locate(found.items, run.known.items)[found.item_index]
    kept = np.ones(len(user), np.bool_)
    for wanted, own in ((users, user), (items, item)):
        if wanted is not None:
            kept &= np.isin(own, wanted)
    rows = np.flatnonzero(kept)[:MOST_PAIRS]
    if not len(rows):
        raise RatingsError(f"{table.source} has no rating of these users and items", fix="ask for others")
    cells, notes = run.cells(table.take(found.rows[rows]))  # type: ignore[index]
    called = [
        (str(found.users[found.user_index[row]]), str(found.items[found.item_index[row]])) for row in rows
    ]
    return _Pairs(user[rows], item[rows], called, found.ratings[rows].astype(np.float64), cells, notes)


def _named(run: Any, users: Places, items: Places, ratings: Floats) -> _Pairs:
    names = [(str(run.known.users[u]), str(run.known.items[i])) for u, i in zip(users, items, strict=True)]
    return _Pairs(users, items, names, ratings, {}, [])


def _telling(run: Any, found: _Pairs, n: int) -> tuple[Places, list[str]]:
    """The n pairs that say most of the run, and why each does."""
    answers = run.score(found.users, found.items, found.cells)
    # The target may be called id, too; here it has a name of its own.
    columns = {"id": list(range(len(answers))), "label": found.ratings, "label:predicted": answers}
    chosen = representative_rows(columns, [NumberTarget(name="label")], {}, n)
    return np.array([int(row) for row, _ in chosen], dtype=np.int64), [why for _, why in chosen]


def _explained(run: Any, found: _Pairs, why: list[str]) -> ExplainedRows:
    network, target = run.network, run.about["target"]
    head = network.heads[0]
    place = pick_device("cpu")
    answers = run.score(found.users, found.items, found.cells, device="cpu")
    examples, preparation = run.inputs(found.users, found.items, found.cells, place)
    with one_thread():
        features = predict_features(network, examples, np.arange(len(answers)), preparation)
    known = ~np.isnan(found.ratings)
    labels = {target: (np.where(known, found.ratings, 0), known.astype(np.float64))}
    last = read_last_layer(network, features, labels)
    rows = TargetRows(
        kind=head,
        raw=features.astype(np.float64) @ last.weight.T + last.bias,
        label_words=["" if one != one else f"{one:g}" for one in found.ratings],
        answers=answers[:, None],
        losses=last.losses[target],
        labels=found.ratings,
        huber=head.huber,
    )
    columns = ", ".join(column.name for column in run.schema.columns)
    return ExplainedRows(
        run=str(run.path),
        trained=[
            f"network of ratings: {columns} -> {target}",
            f"{len(run.known.seen_items)} ratings of {len(run.known.items)} items by "
            f"{len(run.known.users)} users to train",
        ],
        ids=[f"user {user}, item {item}" for user, item in found.names],
        why=why,
        features=features.astype(np.float64),
        weight=last.weight,
        bias=last.bias,
        targets=[rows],
        notes=tuple(found.notes),
    )
