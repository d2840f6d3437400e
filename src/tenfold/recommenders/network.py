"""The neural route of ratings: a finished run, asked for predictions, lists, neighbours and scores."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Unpack

import numpy as np
from numpy.typing import NDArray

from tenfold.collab.evaluate import locate_pairs, score_pairs
from tenfold.collab.explain import titles
from tenfold.collab.pack import unpack_factor_model
from tenfold.collab.predict import (
    as_ids,
    count_listed,
    count_titles,
    count_unknown,
    item_states,
    locate,
    refuse_unknown,
)
from tenfold.collab.recommend import (
    allowed_items,
    checked_count,
    count_lists,
    list_states,
    rated_pairs,
    similar,
)
from tenfold.data.encode import Encoding, Examples, encode_columns
from tenfold.data.ratings.roles import find_roles
from tenfold.data.tables.table import Table
from tenfold.engine.batches import Preparation
from tenfold.engine.device import one_thread, peak_bytes, pick_device
from tenfold.engine.predict import predict_network
from tenfold.errors import RatingsError, RecipeError, RunError, did_you_mean
from tenfold.networks.predict import load_weights
from tenfold.nn.network import Network, build_network
from tenfold.recipe import RatingNetworkRecipe
from tenfold.recommenders.factors import (
    MODEL,
    SUMMARISED,
    columns_said,
    found_names,
    id_names,
    items_where,
    read_own_ratings,
)
from tenfold.reports.html import Page
from tenfold.runs.folder import read_arrays, read_object, read_text
from tenfold.runs.job import log_all
from tenfold.runs.options import AS_TRAINED, SOME_ROWS, ExplainOptions, PredictChanges, PredictOptions
from tenfold.runs.reading import read_as_trained
from tenfold.runs.record import RunRecord
from tenfold.runs.run import Explanation, Run
from tenfold.schema import NumberTarget, Schema
from tenfold.values import FactorModel, Neighbours, PairPredictions, Ratings, Recommendations

#: File of a run beside those of every network: vocabularies and what was rated.
KNOWN = MODEL


@dataclass(frozen=True)
class PairRun(Run):
    """A finished network of ratings. schema: the user's column, the item's, and others."""

    kind: ClassVar = "pairs"
    words: ClassVar = "a network of ratings"
    takes: ClassVar = frozenset({"unknown", "ranking", "device", "n", "relevant_from"})
    blended_by: ClassVar = "blend of ratings"

    recipe: RatingNetworkRecipe
    encoding: Encoding

    @classmethod
    def open(cls, path: Path, record: RunRecord) -> PairRun:
        """The run in a folder whose files have been checked."""
        return cls(
            path,
            Schema.from_toml(read_text(path, "schema.toml")),
            record,
            RatingNetworkRecipe.from_toml(read_text(path, "recipe.toml")),
            Encoding(**read_object(path, "encoding.json")),
        )

    @property
    def summarised(self) -> tuple[str, ...]:  # type: ignore[override]
        """Values of the record in its summary."""
        watched = self.recipe.patience or self.recipe.keeps_best
        return (*SUMMARISED, "epochs", "kept_epoch") if watched else SUMMARISED

    @cached_property
    def known(self) -> FactorModel:
        """Who and what is known, and what each user has rated; as factors, the embeddings of the items."""
        return unpack_factor_model(*read_arrays(self.path / KNOWN))

    @cached_property
    def network(self) -> Network:
        """The network with its weights, on the CPU."""
        schema = network_schema(self.schema, self.about)
        network, _ = build_network(self.encoding, schema, self.recipe.network())
        arrays, _ = read_arrays(self.path / "weights.safetensors")
        if any(value.dtype == np.float64 for value in arrays.values()):
            network.double()
        load_weights(network, arrays, self.path, f"the body {self.recipe.body!r}", self.record.versions)
        return network

    @property
    def model(self) -> FactorModel:
        """Raises RunError: a network's score is not a sum of factors; `inspect` knows a dot product's."""
        raise RunError(
            f"{self.path} is a network of ratings, whose scores are no products of factors",
            fix="predict, evaluate, recommend and similar work; for factors: --body dot, or no --body",
        )

    def with_ratings(self, source: Any, **options: Any) -> PairRun:
        """Raises RunError: the embeddings of a new user are learnt in a training."""
        raise RunError(
            f"{self.path} is a network of ratings, which learns a new user in a training only",
            fix="fit again with these ratings, or fit without --body, where newcomers are folded in",
        )

    def predict(
        self, source: object, options: PredictOptions = AS_TRAINED, **changes: Unpack[PredictChanges]
    ) -> PairPredictions:
        """Scores of the pairs in a table (path, data frame, mapping), one per row, in its order.

        Unknown users and items are answered through the row that training kept for them, and marked;
        ``unknown="raise"`` refuses them.
        """
        options = self.options(options, changes)
        table = read_as_trained(
            source, self.about, options.reading.table, id_names(self.schema), usual_names=True
        )
        roles = find_roles(table, kind="implicit", time=False, **found_names(self.schema, table))
        users, items = as_ids(table.text(roles.user)), as_ids(table.text(roles.item))
        cells, said = self.cells(table)
        found = self.answers(users, items, cells, unknown=options.unknown, device=options.device)
        notes = [*found.notes, *said]
        log_all(options.log, [*table.notes, *columns_said(source, roles), *notes])
        return replace(found, notes=tuple(notes))

    def predict_pairs(
        self, users: Any, items: Any, *, unknown: str = "fallback", ranking: bool = False
    ) -> PairPredictions:
        """Scores of the pairs (users[k], items[k]); a single user or item goes with all of the other side.

        Raises RunError where a score needs cells of further columns; else see `predict`.
        """
        self.refuse_cells("a pair of ids")
        who, what = as_ids(users), as_ids(items)
        if len(who) != len(what) and 1 not in (len(who), len(what)):
            raise RatingsError(
                f"{len(who)} users and {len(what)} items make no pairs", fix="give one item to each user"
            )
        count = max(len(who), len(what)) if len(who) and len(what) else 0
        who, what = (np.resize(ids, count) for ids in (who, what))
        return self.answers(who, what, {}, unknown=unknown)

    def refuse_cells(self, what: str) -> None:
        """Raises RunError where a score needs more than a user and an item. what: that which has no more."""
        if len(self.schema.columns) > 2:
            others = ", ".join(column.name for column in self.schema.columns[2:])
            raise RunError(
                f"a score of this run needs {others}, too, which {what} does not have",
                fix="predict a table of pairs with these columns",
            )

    def answers(
        self,
        users: NDArray[np.object_],
        items: NDArray[np.object_],
        cells: Mapping[str, NDArray[Any]],
        *,
        unknown: str = "fallback",
        device: str = "auto",
    ) -> PairPredictions:
        """Scores of pairs of ids as text, with encoded cells of further columns; see `predict`."""
        if unknown not in ("fallback", "raise"):
            raise RecipeError(
                f"unknown = {unknown!r} is not known", fix=did_you_mean(unknown, ("fallback", "raise"))
            )
        index = locate(users, self.known.users), locate(items, self.known.items)
        known, state = self.known, item_states(self.known, items, index[1])
        if unknown == "raise":
            refuse_unknown(users, index[0], items, index[1])
        notes = [
            *count_unknown("users", users, index[0], known.users),
            *count_listed(items, index[1], state),
            *count_unknown("items", items, np.where(state == "listed", 0, index[1]), known.items),
            *count_titles(known, items),
        ]
        score = self.score(*index, cells, device=device)
        return PairPredictions(
            users=users,
            items=items,
            score=score.astype(np.float32),
            deviation=np.full(len(score), np.nan, np.float32),
            known_user=index[0] >= 0,
            known_item=index[1] >= 0,
            item_state=state,
            notes=tuple(notes),
        )

    def cells(self, table: Table) -> tuple[dict[str, NDArray[Any]], list[str]]:
        """The cells of further columns, encoded, and what is to be said of them."""
        schema = Schema(inputs=self.schema.columns[2:], targets=())
        schema.check_columns(table.known, table.source)
        return encode_columns(self.encoding.columns, schema, table)

    def score(
        self,
        users: NDArray[np.int64],
        items: NDArray[np.int64],
        cells: Mapping[str, NDArray[Any]],
        *,
        device: str = "auto",
    ) -> NDArray[np.float64]:
        """(pairs,) ratings of pairs of places in `known`, -1 for what is not there."""
        place = pick_device(device)
        self.network.to(place)
        examples, preparation = self.inputs(users, items, cells, place)
        with single_thread_on_cpu(place):
            found = predict_network(self.network, examples, np.arange(len(users)), preparation)
        return next(iter(found.values()))[:, 0]

    def inputs(
        self,
        users: NDArray[np.int64],
        items: NDArray[np.int64],
        cells: Mapping[str, NDArray[Any]],
        place: Any,
    ) -> tuple[Examples, Preparation]:
        """Pairs as the network takes them, on a device."""
        names = [column.name for column in self.schema.columns[:2]]
        columns = {names[0]: users + 1, names[1]: items + 1, **cells}
        dtype = next(self.network.parameters()).dtype
        examples = Examples(np.full(len(users), "", object), (), {}, {}, columns)
        return examples, Preparation(self.encoding, place, dtype, channels_last=False)

    def evaluate(
        self, source: object, options: PredictOptions = AS_TRAINED, **changes: Unpack[PredictChanges]
    ) -> dict[str, Any]:
        """Errors on ratings that were not trained on. Returns the keys that ``--json`` prints."""
        options = self.options(options, changes)
        if options.n is not None or options.relevant_from is not None:
            raise RecipeError(
                "a network of ratings is scored by its errors, not by its lists", fix="leave out --lists"
            )
        started = time.monotonic()
        table = read_as_trained(
            source, self.about, options.reading.table, id_names(self.schema), usual_names=True
        )
        test = read_own_ratings(self, table, skip_bad=options.reading.skip_bad, keep_rows=True)
        scores, _, notes = score_test(self, test, table)
        log_all(options.log, [*test.notes, *notes])
        return {
            "run": str(self.path),
            **scores,
            "rows": len(test.ratings),
            "targets": {self.about["target"]: scores},
            "seconds": round(time.monotonic() - started, 3),
            "peak_bytes": peak_bytes(pick_device(options.device)),
        }

    def recommend(
        self,
        users: Any = None,
        *,
        n: int = 10,
        include_seen: bool = False,
        where: str | Sequence[str] = (),
        candidates: Any = None,
        exclude: Any = None,
        reasons: int | None = None,
        threads: int | None = None,
    ) -> Recommendations:
        """The n items of highest score for each user, best first, without those that they have rated.

        Options as of `collab.recommend.recommend`; a network works on one thread. It gives no reasons.
        Raises RunError where a score needs cells of further columns.
        """
        n = checked_count(n)
        self.refuse_cells("a list of items")
        known = self.known
        asked = known.users if users is None else as_ids(users)
        index = locate(asked, known.users)
        allowed, notes = allowed_items(known, candidates, exclude)
        if where:
            allowed = allowed & self.items_where(where)
        rows: list[tuple[int, int, float, int]] = []
        notes += ["a network gives no reasons"] if reasons else []
        for place, user in enumerate(index):
            open_items = allowed.copy()
            if user >= 0 and not include_seen:
                open_items[rated_pairs(known, index[place : place + 1])[1]] = False
            items = np.flatnonzero(open_items)
            score = self.score(np.full(len(items), user), items, {})
            best = np.lexsort((items, -score))[:n]
            rows += [(place, int(items[one]), float(score[one]), rank + 1) for rank, one in enumerate(best)]
        where_user = np.array([row[0] for row in rows], dtype=np.int64)
        items = np.array([row[1] for row in rows], dtype=np.int64)
        counts = np.bincount(where_user, minlength=len(asked))
        notes += count_lists(asked, index, counts, int(allowed.sum()))
        return Recommendations(
            users=asked[where_user],
            items=known.items[items],
            names=titles(known, items),
            rank=np.array([row[3] for row in rows], dtype=np.int64),
            score=np.array([row[2] for row in rows], dtype=np.float32),
            deviation=np.full(len(rows), np.nan, np.float32),
            known_user=(index >= 0)[where_user],
            **list_states(known, items, notes),
        )

    def items_where(self, where: str | Sequence[str]) -> NDArray[np.bool_]:
        """(items,) which items meet all conditions on the item table (see `data.side.choose_ids`)."""
        return items_where(self.path, where, self.known.items, key=self.about["item_key"])

    def similar(self, items: Any = None, *, n: int = 10, where: str | Sequence[str] = ()) -> Neighbours:
        """The n items nearest to each by the cosine of their embeddings, of a dot product without biases."""
        known = self.known
        if self.recipe.body == "dot":
            # The first entry is the bias (`nn.body.DotBody`): how well liked, not what an item is like.
            known = replace(
                known, user_factors=known.user_factors[:, 1:], item_factors=known.item_factors[:, 1:]
            )
        return similar(known, items, n=n, candidates=self.items_where(where) if where else None)

    def explain(self, rows: Sequence[str] = (), options: ExplainOptions = SOME_ROWS) -> Explanation:
        """A workbook: of a dot product its factors, of another body its last layer on held-out ratings."""
        from tenfold.recommenders.explain import explain_pair_run

        return explain_pair_run(self, rows, options)

    def page(self, *, folders: Mapping[str, str] | None = None, worst: int = 12) -> Page:
        """Its page: scores, curves, the ratings that were missed most, maps of the embeddings."""
        from tenfold.recommenders.page import ratings_page

        return ratings_page(self, worst=worst)


def network_schema(schema: Schema, about: Mapping[str, Any]) -> Schema:
    """What the network sees of a schema of ratings: the same inputs, and a number in its scale."""
    low, high = about["scale"]
    target = NumberTarget(name=about["target"], **({"low": low, "high": high} if low < high else {}))
    return Schema(inputs=schema.columns, targets=(target,))


def score_test(
    run: PairRun, test: Ratings, table: Table
) -> tuple[dict[str, Any], NDArray[np.float64], list[str]]:
    """Errors over all test pairs, on how many they stand, and the same of the baselines; answers; and notes.

    test: with its rows in `table`. Keys as of `collab.evaluate.evaluate_ratings`.
    """
    users, items = locate_pairs(run.known, test)
    cells, notes = run.cells(table.take(test.rows))  # type: ignore[arg-type]
    predicted = run.score(users, items, cells)
    scores = score_pairs(run.known, test, predicted, users, items)
    notes += scores.pop("notes")
    return scores, predicted, notes


@contextmanager
def single_thread_on_cpu(device: Any) -> Iterator[None]:
    """On a CPU one thread: the layers are too small for two."""
    with one_thread() if device.type == "cpu" else nullcontext():
        yield
