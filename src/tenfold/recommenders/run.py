"""A finished recommender, whatever its scorer: lists, predictions, neighbours and scores."""

from __future__ import annotations

import os
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self, Unpack, cast

import numpy as np
from numpy.typing import NDArray

from tenfold.collab import evaluate as scoring
from tenfold.collab import predict as predicting
from tenfold.collab import recommend as listing
from tenfold.collab.ids import find_titles, locate, near_items, unrated_items
from tenfold.collab.interest import Lists, unpack_lists
from tenfold.collab.item_scorer import RatingOrder
from tenfold.collab.pack import Packed
from tenfold.collab.predict import FactorScorer, PairScorer
from tenfold.collab.protocol import fold_in_part
from tenfold.collab.recency import recent_words
from tenfold.data.ratings.index import index_ratings
from tenfold.data.ratings.roles import find_column, find_roles, names_users
from tenfold.data.ratings.side import choose_ids
from tenfold.data.tables.table import Table, read_parquet_columns, read_table, write_parquet
from tenfold.errors import LISTED, RatingsError, RecipeError, RunError, SchemaError, did_you_mean
from tenfold.recipe import FactorRecipe, RatingNetworkRecipe
from tenfold.recommenders.candidates import read_ranking
from tenfold.recommenders.update import NewRatings, update_run
from tenfold.runs.folder import RunFolder, read_arrays, read_text
from tenfold.runs.heldout import HeldOutRows, evaluate_target, free_names
from tenfold.runs.job import log_all
from tenfold.runs.options import AS_TRAINED, PredictChanges, PredictOptions
from tenfold.runs.reading import read_as_trained
from tenfold.runs.record import RunRecord
from tenfold.runs.run import Member, Run
from tenfold.schema import NumberTarget, Schema
from tenfold.values import (
    FactorModel,
    Interactions,
    Log,
    Neighbours,
    PairPredictions,
    Ratings,
    Recommendations,
    Scores,
    id_text,
)

__all__ = [
    "HELD_OUT",
    "ITEMS",
    "LISTS",
    "MODEL",
    "NO_TIME",
    "RecommenderRun",
    "column_in",
    "held_out_names",
    "peak_bytes",
]

#: Files of a run: interactions with factors or embeddings, weights between items, the item table for filters.
MODEL, LISTS, ITEMS = "model.safetensors", "lists.safetensors", "items.parquet"
#: The held-out ratings with their predictions; older runs of factors have none.
HELD_OUT = "validation.parquet"
#: Orders of lists: what a user will take and like; the highest predicted ratings.
ORDERS = ("interest", "rating")

#: Instead of a time column: it is not to be read.
NO_TIME = "none"


@dataclass(frozen=True, repr=False)
class RecommenderRun(Run):
    """A finished recommender. A subclass says what scores its pairs.

    folded: the scorer with further ratings learned (`with_ratings`), instead of that in the folder.
    """

    takes: ClassVar = frozenset(
        {"unknown", "ranking", "n", "relevant_from", "rank_by", "candidates", "negatives", "fold_in"}
    )
    blended_by: ClassVar = "blend of ratings"
    summarised: ClassVar = (
        *("rows", "users", "items", "method", "kind_of_ratings", "targets", "seconds", "peak_bytes"),
    )

    members: Sequence[Member[RecommenderRun]] = field(default=(), kw_only=True)
    folded: PairScorer | None = field(default=None, kw_only=True)

    @classmethod
    def open(cls, path: Path, record: RunRecord) -> Self:
        """The run in a folder; its files have been checked."""
        return cls(path, Schema.from_toml(read_text(path, "schema.toml")), record)

    @cached_property
    @abstractmethod
    def recipe(self) -> FactorRecipe | RatingNetworkRecipe:
        """How ratings were read and learned; of a blend, by its first member."""

    @cached_property
    @abstractmethod
    def trained(self) -> PairScorer:
        """What scores pairs, as the folder has it."""

    @property
    @abstractmethod
    def model(self) -> FactorModel:
        """Factors; their products are the scores. Raises RunError if scores are not such products."""

    @property
    def scorer(self) -> PairScorer:
        """What scores pairs: as trained, or with further ratings learned."""
        return self.folded or self.trained

    @property
    def interactions(self) -> Interactions:
        """Who and what is known, and who rated what; no parameters."""
        return self.scorer.interactions

    @property
    def target(self) -> str:
        """What scores are of: the column of ratings, or ``event``."""
        return self.schema.targets[0].name or "event"

    def factor_scorers(self) -> list[tuple[float, FactorScorer]]:
        """The factor models whose weighted mean its scores are. Raises RunError where there are none."""
        raise RunError(
            f"{self.path} is {self.words}: its scores are not products of factors",
            fix="export the members of a blend one by one",
        )

    def held_out_pairs(self) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
        """(pairs,) users and items, as ids, of the rows of `held_out`."""
        columns = read_parquet_columns(self.path / HELD_OUT)
        *_, user, item = held_out_names(self.schema, self._rated)
        return np.array(columns.get(user, ()), object), np.array(columns.get(item, ()), object)

    @property
    def _rated(self) -> str:
        """What the file of held-out ratings calls the rating."""
        return self.record.target or self.target

    def held_out(self) -> HeldOutRows:
        """The ratings that it held out, with their predictions; without rows where it keeps none."""
        path = self.path / HELD_OUT
        if not path.exists():
            return HeldOutRows((), ())
        columns = read_parquet_columns(path)
        name, _, label, answer, *_ = held_out_names(self.schema, self._rated)
        # Evaluated under a name that nothing else has, and shown under its own.
        renamed = {"rating": label, "rating:predicted": answer}
        own = {new: columns[old] for new, old in renamed.items() if old in columns}
        rating = evaluate_target(own, NumberTarget(name="rating"), ())
        if rating is None or rating.truth is None or not rating.known.any():
            return HeldOutRows((), ())
        return HeldOutRows([str(text) for text in columns[name]], [replace(rating, name=self._rated)])

    # --- lists and neighbours

    @cached_property
    def lists(self) -> Lists | None:
        """Weights between items, and how ratings join them; None where the run keeps none, as older runs."""
        path = self.path / LISTS
        if not path.exists():
            return None
        return unpack_lists(*read_arrays(path))

    def lister(self, rank_by: str | None = None) -> tuple[PairScorer, str]:
        """What orders the lists, and this order in words.

        rank_by: ``interest`` or ``rating``; None is interest where the run keeps weights between items.
        Raises RunError where it keeps none and they are asked for, RecipeError for another word.
        """
        if rank_by not in (None, *ORDERS):
            raise RecipeError(f"rank_by = {rank_by!r} is not known", fix=did_you_mean(str(rank_by), ORDERS))
        if self.interactions.implicit:
            if rank_by == "rating":
                raise RecipeError(
                    f"{self.path} was fitted to events, and has no ratings to rank by", fix="leave it out"
                )
            order = "events: how likely each item is to be taken"
            return self.scorer, order + (f"; {recent_words(self.recent)}" if self.recent else "")
        by_interest = self._by_interest()
        if by_interest is not None and rank_by != "rating":
            return by_interest
        if rank_by == "interest":
            raise RunError(
                f"{self.path} keeps no weights between items, so its lists are by rating",
                fix="fit again: runs of this version keep them, unless a score needs further columns",
            )
        if rank_by is None:
            return self.scorer, "rating: the highest predicted ratings; fit again for lists that rank better"
        spread = max(float(self.interactions.seen_ratings.std(dtype=np.float64)), 1e-6)
        return RatingOrder(self.scorer, spread), "rating: the lower end of each rating's 90 % interval"

    @property
    def recent(self) -> float:
        """What lists do with a user's recent rows, see `ItemItem.recent`; 0: all count the same."""
        return 0.0 if self.lists is None else self.lists.model.recent

    def _by_interest(self) -> tuple[PairScorer, str] | None:
        if self.lists is None:
            return None
        return self.lists.scorer(self.scorer), self.lists.order

    def recommend(
        self,
        users: object = None,
        *,
        n: int = 10,
        include_seen: bool = False,
        where: str | Sequence[str] = (),
        candidates: object = None,
        exclude: object = None,
        reasons: int | None = None,
        rank_by: str | None = None,
        new_items: bool = False,
        threads: int | None = None,
    ) -> Recommendations:
        """The n items that rank highest for each user, best first; see `collab.recommend.recommend`.

        users: ids in any spelling, a single id or many; None is everyone.
        where: conditions on the item table, as ``genre=Drama``; all must hold.
        reasons: rated items to name with each row; 3 where not given, or none for everyone, and none where
            the scorer can tell none.
        rank_by: ``interest``, what a user will take and like, or ``rating``; see `lister`. `order` of the
            result says which it is.
        new_items: only items that nobody has rated, ranked by what their columns foretell.

        Raises RunError where new items are asked for and the run knows none by their columns.
        """
        allowed = self.items_where(where) if where else None
        if new_items:
            allowed = self._new_items() if allowed is None else allowed & self._new_items()
            if rank_by is None and not self.interactions.implicit:
                rank_by = "rating"
        scorer, order = self.lister(rank_by)
        if reasons is None:
            reasons = 3 if users is not None and scorer.reasons is not None else 0
        lists = listing.recommend(
            scorer,
            users,
            n=n,
            include_seen=include_seen,
            candidates=candidates,
            exclude=exclude,
            allowed=allowed,
            reasons=reasons,
            threads=threads,
        )
        notes = [*self.record.added_notes, *lists.notes]
        if self.interactions.listed_items and order.startswith("interest"):
            notes.append(
                f"{self.interactions.listed_items} items that nobody has rated come last in this order; "
                "--new-items lists them by their predicted ratings"
            )
        return replace(lists, order=order, notes=tuple(notes))

    def _new_items(self) -> NDArray[np.bool_]:
        """(items,) which items nobody has rated, and their columns are known."""
        new = unrated_items(self.interactions)
        if not new.any():
            raise RunError(
                f"{self.path} knows no item by its columns alone",
                fix="fit with --item-table FILE, which lists items that nobody has rated, and --side COLUMN",
            )
        return new

    def items_where(self, where: str | Sequence[str]) -> NDArray[np.bool_]:
        """(items,) which items meet all conditions on an item table (see `data.ratings.side.choose_ids`)."""
        allowed = np.zeros(len(self.interactions.items), np.bool_)
        conditions = [where] if isinstance(where, str) else list(where)
        for run in self._readers:
            path = run.path / ITEMS
            if not path.exists():
                raise SchemaError(
                    "this run knows no columns of items, so they cannot be filtered",
                    fix="fit with --item-table to filter by its columns",
                )
            key = run.record.item_key
            allowed |= choose_ids(read_table(path), conditions, self.interactions.items, key=key)
        return allowed

    def similar(self, items: object = None, *, n: int = 10, where: str | Sequence[str] = ()) -> Neighbours:
        """The n items nearest to each by cosine; see `collab.recommend.similar`."""
        allowed = self.items_where(where) if where else None
        return listing.similar(self.scorer, items, n=n, candidates=allowed)

    def nearest_users(self, users: object = None, *, n: int = 10) -> Neighbours:
        """The n users nearest to each by cosine."""
        return listing.nearest_users(self.scorer, users, n=n)

    # --- predictions and scores

    def predict_pairs(
        self, users: object, items: object, *, unknown: str = "fallback", ranking: bool = False
    ) -> PairPredictions:
        """Scores of pairs of ids; see `collab.predict.predict_pairs`."""
        return predicting.predict_pairs(self.scorer, users, items, unknown=unknown, ranking=ranking)

    def predict(
        self, source: object, options: PredictOptions = AS_TRAINED, **changes: Unpack[PredictChanges]
    ) -> PairPredictions:
        """Scores of the pairs in a table (path, data frame, mapping), row by row."""
        options = self.options(options, changes)
        table = self._read(source, options.reading.table)
        names = _names_in(self.schema, table)
        roles = find_roles(table, user=names["user"], item=names["item"], kind="implicit", time=False)
        assert roles.user is not None
        scorer = self.scorer.on(options.device)
        cells, messages = scorer.cells(table)
        pairs = predicting.predict_pairs(
            scorer,
            table.text(roles.user),
            table.text(roles.item),
            cells,
            unknown=options.unknown,
            ranking=options.ranking,
        )
        pairs = replace(pairs, notes=(*pairs.notes, *messages), index=table.index)
        columns_taken = [] if isinstance(source, Mapping) else roles.notes[:1]
        log_all(options.log, [*table.notes, *columns_taken, *pairs.notes])
        return pairs

    def evaluate(
        self, source: object, options: PredictOptions = AS_TRAINED, **changes: Unpack[PredictChanges]
    ) -> dict[str, object]:
        """Scores on ratings that were not trained on: errors, and (n given, or a run of events) lists of n.

        Returns the keys that ``--json`` prints (docs/formats.md); of an ensemble its members' scores, too.
        """
        options = self.options(options, changes)
        started = time.monotonic()
        table = self._read(source, options.reading.table)
        test = self.read_ratings(
            table, skip_bad=options.reading.skip_bad, keep_rows=bool(self.scorer.columns)
        )
        messages = list(test.notes)
        scores = self.score_ratings(table, test, options, messages)
        targets = {self.target: scores}
        each = {
            name: {self.target: run.score_ratings(table, test, options, messages)}
            for name, run in self.member_runs().items()
        }
        log_all(options.log, dict.fromkeys(messages))
        return {
            "run": str(self.path),
            **scores,
            "rows": len(test.ratings),
            "targets": targets,
            **({"members": each} if each else {}),
            "seconds": round(time.monotonic() - started, 3),
            "peak_bytes": self.peak_bytes(options.device),
        }

    def score_ratings(
        self, table: Table, test: Ratings, options: PredictOptions, messages: list[str]
    ) -> Scores:
        """Scores on ratings of a table that have been read; adds to the messages."""
        listed = options.n is not None or self.interactions.implicit
        if not listed and (options.candidates is not None or options.negatives is not None):
            raise RecipeError("candidates are of lists, which are not asked for", fix="give --lists 10")
        run, first = self, self._readers[0]
        if options.fold_in is not None:
            grown, test, said = fold_in_part(self.scorer, test, options.fold_in)
            messages += said
            run = replace(self, folded=grown)
        scorer = run.scorer.on(options.device)
        cells, own = scorer.cells(table, test)
        lister, order = run.lister(options.rank_by) if listed and not scorer.columns else (scorer, "")
        evaluation = scoring.evaluate(
            scorer,
            test,
            cells,
            n=options.n,
            relevant_from=options.relevant_from,
            lister=lister.on(options.device),
            ranking=read_ranking(
                options.candidates, options.negatives, first.schema, first.record.values, messages
            ),
        )
        messages += [*own, *evaluation.notes]
        if order and "lists" in evaluation.scores:
            messages.append(f"order of the lists: {order}")
        return evaluation.scores

    def peak_bytes(self, device: str) -> int:
        """The most memory that was held; of a GPU where the scorer computes there."""
        return peak_bytes()

    def member_runs(self) -> dict[str, RecommenderRun]:
        """Member -> the run that answers for it; {} for a single run."""
        return {member.name: member.runs[0] for member in self.members}

    # --- further ratings

    def with_ratings(
        self,
        source: object,
        *,
        user: str = "me",
        columns: Mapping[str, str | None] | None = None,
        time_format: str | None = None,
        skip_bad: bool = False,
        **table_options: object,
    ) -> RecommenderRun:
        """This run with the ratings of a table learned, without a new fit (see `collab.fold_in`).

        source: a path, data frame or mapping with items and ratings, and with users where they are not all of
            a single new user, called `user`. A title instead of an item's id is looked up.
        columns: role (user, item, rating, time) -> column, if it is not that of the run's own table.
        time_format, skip_bad: as of the fit.  table_options: of `read_table`.

        Repeated pairs follow the run's rule. Nothing is written. The result's record has the messages
        (``notes``; of these ratings alone ``added_notes``, which its lists carry) and the users of these
        ratings (``added_users``). Raises RunError if the scorer cannot learn without a new fit, and
        RatingsError if the run knows none of the items.
        """
        fold_in = self.scorer.fold_in
        if fold_in is None:
            raise RunError(
                f"{self.path} is {self.words}, which learns a new user in a training only",
                fix="fit again with these ratings, or fit without --body, where new users are folded in",
            )
        known = self.interactions
        how = {"columns": columns, "time_format": time_format, "skip_bad": skip_bad}
        new = self.new_ratings(source, table_options, **how, one_user=user)
        ratings, items, notes = new.ratings, new.items, new.notes
        if list(ratings.users) == [id_text(user)] and locate(ratings.users, known.users)[0] >= 0:
            notes.append(f"{user!r} is a user of the run: these ratings are added to the user's own")
        scorer, messages = fold_in(
            ratings.users[ratings.user_index], items[ratings.item_index], ratings.ratings, new.order
        )
        _refuse_unknown_items(known, scorer.interactions, new.source, items)
        notes += messages
        record = self.record.with_values(
            notes=[*self.record.notes, *notes], added_notes=notes, added_users=list(ratings.users)
        )
        return replace(self, record=record, folded=scorer)

    def update(
        self,
        source: object,
        *,
        columns: Mapping[str, str | None] | None = None,
        time_format: str | None = None,
        skip_bad: bool = False,
        again: bool = False,
        accept_shift: bool = False,
        on_note: Log | None = None,
        **table_options: object,
    ) -> Self:
        """Learn the ratings of a table for good, without a new fit (``tenfold update``); returns the run.

        The folder is written anew, and takes the run's place when it is whole: an update that is interrupted
        leaves the run as it was. `record.updates` says what each update learned, and how well the run
        predicted it. A message says when a full fit would pay.

        source, columns, time_format, skip_bad, table_options: as `with_ratings` takes them, with users.
        again: ratings of an earlier update, or all events of the run, may count twice.
        accept_shift: ratings may lie far above or below the predictions, as those of another scale do.

        Repeated pairs follow the run's rule, and a rating that is in the run already changes nothing. Raises
        RunError for networks and blends, RatingsError for ratings that cannot be learned.
        """
        how = {"columns": columns, "time_format": time_format, "skip_bad": skip_bad, "again": again}
        options = {**how, "accept_shift": accept_shift, "on_note": on_note}
        if self.members or self.scorer.fold_in is None:
            raise self._no_update()
        return cast(Self, update_run(self.path, source, table_options=table_options, **options))

    def learn(
        self,
        users: NDArray[np.object_],
        items: NDArray[np.object_],
        ratings: NDArray[np.float64],
        before: NDArray[np.float64],
        times: NDArray[np.float64] | None = None,
    ) -> tuple[PairScorer, list[str]]:
        """The scorer with ratings learned, and messages; see `collab.learn.update_ratings`."""
        raise self._no_update()

    def packed(self, scorer: PairScorer) -> tuple[str, Packed]:
        """The file that holds a scorer of such a run, and what it holds."""
        raise self._no_update()

    def _no_update(self) -> RunError:
        fix = "fit again with all ratings"
        if self.members:
            fix = f"update its members, and blend them again: {', '.join(map(str, self._readers))}"
        return RunError(f"{self.path} is {self.words}, which learns in a training only", fix=fix)

    # --- reading

    def new_ratings(
        self,
        source: object,
        table_options: Mapping[str, object],
        *,
        columns: Mapping[str, str | None] | None = None,
        time_format: str | None = None,
        skip_bad: bool = False,
        one_user: str | None = None,
    ) -> NewRatings:
        """Further ratings of a table; see `with_ratings`. one_user: of all rows, if no column has users."""
        wanted = [name for name in (self.schema.ids[1].name, self.schema.targets[0].name) if name]
        about = self._readers[0].record.values
        table = read_as_trained(source, about, table_options, wanted, usual_names=True)
        ratings = self.read_ratings(
            table,
            columns=columns,
            time_format=time_format,
            skip_bad=skip_bad,
            one_user=one_user,
            aged=True,
            keep_rows=True,
        )
        items, messages = find_titles(self.interactions, ratings.items)
        _refuse_twice(self.interactions, table, ratings, items)
        order = self._order_of(ratings)
        if order is None and any(run.recent for run in self._readers):
            messages.append(
                "no times: these rows count as later than all that the run knows, and as one moment"
            )
        return NewRatings(ratings, items, [*ratings.notes, *messages], table.source, order)

    def _order_of(self, ratings: Ratings) -> NDArray[np.float64] | None:
        """What says which of new ratings are recent, in the unit of the run's own; None if nothing does."""
        known = self.interactions.seen_times
        if known is not None and self._readers[0].recipe.ratings().in_order:
            assert ratings.rows is not None
            return ratings.rows + 1 + known.max(initial=-1.0)
        return ratings.times

    @property
    def _readers(self) -> list[RecommenderRun]:
        """The runs that say how tables are read: the run itself, or its members."""
        return [run for member in self.members for run in member.runs] or [self]

    def _read(self, source: object, table_options: Mapping[str, object]) -> Table:
        names = [column.name for column in self.schema.ids[:2]]
        first, *others = self._readers
        table = read_as_trained(source, first.record.values, table_options, names, usual_names=True)
        for run in others:
            for name, column in zip(names, run.schema.ids[:2], strict=True):
                if name == column.name or not {name, column.name} <= set(table.names):
                    continue
                if not np.array_equal(table.text(name), table.text(column.name)):
                    raise RunError(
                        f"{first.path.name} and {run.path.name} read other users and items from this table",
                        fix="name the columns alike in all runs, and in the table",
                    )
        return table

    def read_ratings(
        self,
        table: Table,
        *,
        columns: Mapping[str, str | None] | None = None,
        time_format: str | None = None,
        skip_bad: bool = False,
        keep_rows: bool = False,
        one_user: str | None = None,
        aged: bool = False,
    ) -> Ratings:
        """Ratings of a table, to score or to learn, of the run's kind and by its rules.

        Times are read wherever its fit would have read them; of several members, by the first with times.
        columns: role -> column, if given; otherwise the run's own, or by well-known names.
        one_user: the user of all rows, if the table has no column of users.
        aged: events with times weigh by their age, as in the fit.
        """
        decay: dict[str, Any] = dict(self.record.values.get("decay") or {}) if aged else {}
        readers = self._readers
        timed = [run for run in readers if run.schema.time in table.names]
        reader = (timed or readers)[0]
        schema, record = reader.schema, reader.record
        given: dict[str, str] = {role: name for role, name in (columns or {}).items() if name}
        own = {
            "user": schema.ids[0].name,
            "item": schema.ids[1].name,
            "rating": schema.targets[0].name,
            "time": schema.time,
        }
        names: dict[str, Any] = {**_names_in(schema, table, rating=True), **given}
        if "time" not in given:
            names["time"] = False if record.times_ignored else column_in(table, own["time"])
        elif given["time"].casefold() == NO_TIME and NO_TIME not in table.names:
            names["time"] = False
        if names["user"] is not None or one_user is None or names_users(table):
            one_user = None
        ratings = index_ratings(
            table,
            **names,
            time_format=time_format or record.time_format,
            kind=record.kind_of_ratings,
            duplicates=reader.recipe.duplicates,
            skip_bad=skip_bad,
            keep_rows=keep_rows,
            one_user=one_user,
            of_run=own,
            **(decay if names["time"] not in (None, False) else {}),
        )
        rules = list(dict.fromkeys(run.recipe.duplicates or "last" for run in readers))
        if len(rules) > 1:
            rule = reader.recipe.duplicates or "last"
            note = f"members resolve repeated pairs by different rules ({', '.join(rules)}): here by {rule}"
            ratings = replace(ratings, notes=(*ratings.notes, note))
        return ratings


def _refuse_twice(known: Interactions, table: Table, ratings: Ratings, items: NDArray[np.object_]) -> None:
    """Raises RatingsError where a user rates an item under two names, of which no rule says which counts.

    items: (items,) the ids that `ratings.items` stand for.
    """
    index = locate(items, known.items)[ratings.item_index]
    pairs = ratings.user_index.astype(np.int64) * len(known.items) + index
    _, first, count = np.unique(pairs[index >= 0], return_index=True, return_counts=True)
    twice = np.flatnonzero(index >= 0)[first[count > 1]]
    if not len(twice):
        return
    spelled = {
        int(row): [str(ratings.items[k]) for k in ratings.item_index[pairs == pairs[row]]]
        for row in twice[:LISTED]
    }
    raise RatingsError(
        f"{table.source}: {len(twice)} items are rated under two names",
        problems=[
            f"user {str(ratings.users[ratings.user_index[row]])!r}: {' and '.join(map(repr, names))}, "
            f"which is {known.items[index[row]]}"
            for row, names in spelled.items()
        ],
        fix="leave a single rating of each",
    )


def _refuse_unknown_items(
    before: Interactions, after: Interactions, source: str, items: NDArray[np.object_]
) -> None:
    """Raises RatingsError where no item of new ratings is known, so that nothing was learned of anybody."""
    if (locate(items, after.items) >= 0).any():
        return
    raise RatingsError(
        f"{source}: none of {len(items)} items is known to this run",
        problems=[f"{item!r}: {near_items(before, item)}" for item in items[:LISTED]],
        fix="name items by their ids or titles in the run",
    )


def held_out_names(schema: Schema, target: str) -> list[str]:
    """Columns of a run's held-out ratings: name, row, rating, prediction, user and item.

    A rating, or a user, may itself be called id or row (see `runs.heldout.free_names`).
    """
    return free_names(("id", "row", target, f"{target}:predicted", *(column.name for column in schema.ids)))


def write_held_out(
    folder: RunFolder, schema: Schema, target: str, held: Ratings, answers: NDArray[np.floating]
) -> None:
    """Write the held-out ratings with their users, items and predictions (pairs,), for the run's page."""
    users, items = held.users[held.user_index], held.items[held.item_index]
    ids = np.array([f"user {user}, item {item}" for user, item in zip(users, items, strict=True)], object)
    rows = np.full(len(ids), -1) if held.rows is None else held.rows
    columns = [ids, rows, held.ratings.astype(np.float64), answers, users, items]
    names = held_out_names(schema, target)
    write_parquet(folder.file(HELD_OUT), dict(zip(names, columns, strict=True)))


def peak_bytes() -> int:
    """Most memory that this process has held so far, in bytes; 0 where the system does not tell."""
    if os.name != "posix":
        return 0
    import resource
    import sys

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def _names_in(schema: Schema, table: Table, *, rating: bool = False) -> dict[str, str | None]:
    """The schema's columns that the table has; `find_roles` looks for the others."""
    wanted = {"user": schema.ids[0].name, "item": schema.ids[1].name}
    if rating:
        wanted["rating"] = schema.targets[0].name or ""
    return {role: column_in(table, name) for role, name in wanted.items()}


def column_in(table: Table, name: str | None) -> str | None:
    """The table's column of that name, or None."""
    try:
        return find_column(table, name) if name else None
    except SchemaError:
        return None
