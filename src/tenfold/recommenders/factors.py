"""The ratings wing: a finished run, asked for lists, predictions, neighbours and scores."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar, Unpack

import numpy as np
from numpy.typing import NDArray

from tenfold.collab.evaluate import evaluate_lists, evaluate_ratings
from tenfold.collab.pack import unpack_factor_model
from tenfold.collab.predict import find_titles, locate, near_items, predict_pairs
from tenfold.collab.recommend import nearest_users, recommend, similar
from tenfold.data.ratings.index import index_ratings
from tenfold.data.ratings.roles import Roles, find_column, find_roles, names_users
from tenfold.data.ratings.side import choose_ids
from tenfold.data.tables.table import Table, read_table
from tenfold.data.tables.times import read_times
from tenfold.errors import LISTED, RatingsError, SchemaError
from tenfold.recipe import FactorRecipe
from tenfold.reports.html import Page
from tenfold.runs.folder import read_arrays, read_text
from tenfold.runs.job import log_all
from tenfold.runs.options import AS_TRAINED, SOME_ROWS, ExplainOptions, PredictChanges, PredictOptions
from tenfold.runs.reading import read_as_trained
from tenfold.runs.record import RunRecord
from tenfold.runs.run import Explanation, Run
from tenfold.schema import Schema
from tenfold.values import FactorModel, Neighbours, PairPredictions, Ratings, Recommendations, id_text

__all__ = ["MODEL", "NO_TIME", "RatingsRun", "peak_bytes", "read_own_ratings"]

#: Files of a run: the model, and the item table for filters.
MODEL, ITEMS = "model.safetensors", "items.parquet"

#: Said in the place of a time column: there is one, but it is not to be read.
NO_TIME = "none"

#: What the summary of a recommender shows.
SUMMARISED = ("rows", "users", "items", "method", "kind_of_ratings", "targets", "seconds", "peak_bytes")


@dataclass(frozen=True)
class RatingsRun(Run):
    """A finished factor model."""

    kind: ClassVar = "ratings"
    words: ClassVar = "a run of ratings"
    takes: ClassVar = frozenset({"unknown", "ranking", "n", "relevant_from"})
    summarised: ClassVar = SUMMARISED
    blended_by: ClassVar = "blend of ratings"

    recipe: FactorRecipe

    @classmethod
    def open(cls, path: Path, record: RunRecord) -> RatingsRun:
        """The run in a folder whose files have been checked."""
        schema = Schema.from_toml(read_text(path, "schema.toml"))
        return cls(path, schema, record, FactorRecipe.from_toml(read_text(path, "recipe.toml")))

    @cached_property
    def model(self) -> FactorModel:
        """The factors, biases and what each user has rated."""
        return unpack_factor_model(*read_arrays(self.path / MODEL))

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
        """The n items of highest score for each user, best first; see `collab.recommend.recommend`.

        users: ids in any spelling, one or many; None is everyone.
        where: conditions on the item table, as ``genre=Drama``; all must hold.
        reasons: rated items to name with each row; 3 where not given, or none for everyone.
        """
        found = recommend(
            self.model,
            users,
            n=n,
            include_seen=include_seen,
            candidates=candidates,
            exclude=exclude,
            allowed=self.items_where(where) if where else None,
            reasons=(0 if users is None else 3) if reasons is None else reasons,
            threads=threads,
        )
        return replace(found, notes=(*self.record.added_notes, *found.notes))

    def with_ratings(
        self,
        source: Any,
        *,
        user: str = "me",
        columns: Mapping[str, str | None] | None = None,
        time_format: str | None = None,
        skip_bad: bool = False,
        **options: Any,
    ) -> RatingsRun:
        """This run with the ratings of a table learnt, without a new fit (see `collab.fold_in`).

        source: a path, data frame or mapping with items and ratings, and with users where they are not all of
            one new user, who is called `user`. A title in place of an item's id is looked up.
        columns: role (user, item, rating, time) -> column, where it is not that of the run's own table.
        time_format, skip_bad: as of the fit.  options: of `read_table`.

        Of a repeated pair counts what the run's rule says. Nothing is written. The result's ``record`` has
        what is to be said (``notes``; of these ratings alone ``added_notes``, which its lists carry) and
        whose ratings these were (``added_users``). Raises RatingsError where no item is known to the run.
        """
        from tenfold.collab import kernels
        from tenfold.collab.fold_in import add_ratings

        wanted = [one for one in (self.schema.ids[1].name, self.schema.targets[0].name) if one]
        table = read_as_trained(source, self.about, options, wanted, usual_names=True)
        found = read_own_ratings(
            self, table, columns=columns, time_format=time_format, skip_bad=skip_bad, one_user=user
        )
        items, said = find_titles(self.model, found.items)
        refuse_twice(self.model, table, found, items)
        notes = [*found.notes, *said]
        if list(found.users) == [id_text(user)] and locate(found.users, self.model.users)[0] >= 0:
            notes.append(f"{user!r} is a user of the run, whose ratings these are added to")
        model, said = add_ratings(
            self.model, found.users[found.user_index], items[found.item_index], found.ratings
        )
        refuse_strangers(self.model, model, table, found, items)
        notes += [*said, *kernels.notes()]
        kept = [*self.record.notes, *notes]
        changes = {"notes": kept, "added_notes": notes, "added_users": list(found.users)}
        run = replace(self, record=self.record.with_values(**changes))
        run.__dict__["model"] = model  # in place of the one that would be read from the folder
        return run

    def items_where(self, where: str | Sequence[str]) -> NDArray[np.bool_]:
        """(items,) which items meet all conditions on the item table (see `data.side.choose_ids`)."""
        return items_where(self.path, where, self.model.items, key=self.about["item_key"])

    def similar(self, items: Any = None, *, n: int = 10, where: str | Sequence[str] = ()) -> Neighbours:
        """The n items nearest to each by the cosine of their factors; see `collab.recommend.similar`."""
        return similar(self.model, items, n=n, candidates=self.items_where(where) if where else None)

    def nearest_users(self, users: Any = None, *, n: int = 10) -> Neighbours:
        """The n users nearest to each by the cosine of their factors."""
        return nearest_users(self.model, users, n=n)

    def predict_pairs(
        self, users: Any, items: Any, *, unknown: str = "fallback", ranking: bool = False
    ) -> PairPredictions:
        """Scores of pairs of ids; see `collab.predict.predict_pairs`."""
        return predict_pairs(self.model, users, items, unknown=unknown, ranking=ranking)

    def predict(
        self, source: object, options: PredictOptions = AS_TRAINED, **changes: Unpack[PredictChanges]
    ) -> PairPredictions:
        """Scores of the pairs in a table (path, data frame, mapping), one per row, in its order."""
        options = self.options(options, changes)
        table = read_as_trained(
            source, self.about, options.reading.table, id_names(self.schema), usual_names=True
        )
        roles = find_roles(
            table, kind="implicit", time=False, **found_names(self.schema, table, rating=False)
        )
        times, said = self._times(table)
        found = predict_pairs(
            self.model,
            table.text(roles.user),
            table.text(roles.item),
            times=times,
            unknown=options.unknown,
            ranking=options.ranking,
        )
        log_all(options.log, [*table.notes, *columns_said(source, roles), *said, *found.notes])
        return found

    def _times(self, table: Table) -> tuple[NDArray[np.float64] | None, Sequence[str]]:
        """When the ratings that are asked for are given, where the model and the table know of times."""
        name = self.schema.time
        if name is None or "time_lengths" not in self.model.extra or name not in table.names:
            return None, ()
        return read_times(table, name, self.about["time_format"])

    def evaluate(
        self, source: object, options: PredictOptions = AS_TRAINED, **changes: Unpack[PredictChanges]
    ) -> dict[str, Any]:
        """Scores on ratings that were not trained on: errors, and (n given, or a run of events) lists of n.

        Returns the keys that ``--json`` prints (docs/formats.md).
        """
        started, options = time.monotonic(), self.options(options, changes)
        table = read_as_trained(
            source, self.about, options.reading.table, id_names(self.schema), usual_names=True
        )
        test = read_own_ratings(self, table, skip_bad=options.reading.skip_bad)
        scores, notes = score_ratings(self.model, test, n=options.n, relevant_from=options.relevant_from)
        log_all(options.log, [*test.notes, *notes])
        return {
            "run": str(self.path),
            **scores,
            "rows": len(test.ratings),
            "targets": {self.schema.targets[0].name or "event": scores},
            "seconds": round(time.monotonic() - started, 3),
            "peak_bytes": peak_bytes(),
        }

    def explain(self, rows: Sequence[str] = (), options: ExplainOptions = SOME_ROWS) -> Explanation:
        """A workbook of the factors of some users, `rows`, and items."""
        from tenfold.recommenders.explain_factors import explain_factors, factor_parts

        return explain_factors(self, self.model, partial(factor_parts, self.model), rows, options)

    def page(self, *, folders: Mapping[str, str] | None = None, worst: int = 12) -> Page:
        """Its page: scores, counts, maps of the factors."""
        from tenfold.recommenders.page import ratings_page

        return ratings_page(self, worst=worst)


def items_where(
    folder: Path, where: str | Sequence[str], items: NDArray[np.object_], *, key: str | None
) -> NDArray[np.bool_]:
    """(items,) which items meet all conditions on the item table that a run's folder keeps."""
    path = folder / ITEMS
    if not path.exists():
        raise SchemaError(
            "this run knows no columns of items, so they cannot be filtered",
            fix="fit with --item-table, whose columns then can be asked for",
        )
    conditions = [where] if isinstance(where, str) else list(where)
    return choose_ids(read_table(path), conditions, items, key=key)


def score_ratings(
    model: FactorModel, test: Ratings, *, n: int | None = None, relevant_from: float | None = None
) -> tuple[dict[str, Any], list[str]]:
    """Errors of a model of ratings, and its lists where they are asked for; and what is to be said."""
    scores: dict[str, Any] = {}
    notes: list[str] = []
    if not model.implicit:
        scores = evaluate_ratings(model, test)
        notes += scores.pop("notes")
    if n is not None or model.implicit:
        lists = evaluate_lists(model, test, n=10 if n is None else n, relevant_from=relevant_from)
        notes += [note for note in lists.pop("notes") if note not in notes]
        scores["lists"] = {"n": 10 if n is None else n, **lists}
    return scores, notes


def read_own_ratings(
    run: Any,
    table: Table,
    *,
    columns: Mapping[str, str | None] | None = None,
    time_format: str | None = None,
    skip_bad: bool = False,
    keep_rows: bool = False,
    one_user: str | None = None,
) -> Ratings:
    """Ratings of a table for a finished run, of factors or of a network: to be scored, or to be learnt.

    They are of the run's kind, and repeated pairs count by its rule: times are read wherever its fit would
    have read them.  columns: role -> column, where it is said; the others are the run's own, or found by
    well-known names.  one_user: who all rows are of, where the table has no column of users.
    """
    said = {role: name for role, name in (columns or {}).items() if name}
    own = {
        "user": run.schema.ids[0].name,
        "item": run.schema.ids[1].name,
        "rating": run.schema.targets[0].name,
        "time": run.schema.time,
    }
    names: dict[str, Any] = {**found_names(run.schema, table, rating=True), **said}
    if "time" not in said:
        names["time"] = False if run.about.get("times_ignored") else _there(table, own["time"])
    elif said["time"].casefold() == NO_TIME and NO_TIME not in table.names:
        names["time"] = False
    if names["user"] is not None or one_user is None or names_users(table):
        one_user = None
    return index_ratings(
        table,
        **names,
        time_format=time_format or run.about.get("time_format"),
        kind=run.about["kind_of_ratings"],
        duplicates=run.recipe.duplicates,
        skip_bad=skip_bad,
        keep_rows=keep_rows,
        one_user=one_user,
        of_run=own,
    )


def refuse_twice(model: FactorModel, table: Table, found: Ratings, items: NDArray[np.object_]) -> None:
    """Raises RatingsError where a user rates an item under two names, of which no rule says which counts.

    items: (items,) the ids that `found.items` stand for.
    """
    place = locate(items, model.items)[found.item_index]
    pairs = found.user_index.astype(np.int64) * len(model.items) + place
    _, first, count = np.unique(pairs[place >= 0], return_index=True, return_counts=True)
    twice = np.flatnonzero(place >= 0)[first[count > 1]]
    if not len(twice):
        return
    spelled = {
        int(one): [str(found.items[k]) for k in found.item_index[pairs == pairs[one]]]
        for one in twice[:LISTED]
    }
    raise RatingsError(
        f"{table.source}: {len(twice)} items are rated under two names",
        problems=[
            f"user {str(found.users[found.user_index[one]])!r}: {' and '.join(map(repr, names))}, "
            f"which is {model.items[place[one]]}"
            for one, names in spelled.items()
        ],
        fix="leave one rating of each",
    )


def refuse_strangers(
    before: FactorModel, after: FactorModel, table: Table, found: Ratings, items: NDArray[np.object_]
) -> None:
    """Raises RatingsError where no item of new ratings is known, so that nothing was learnt of anybody."""
    if (locate(items, after.items) >= 0).any():
        return
    raise RatingsError(
        f"{table.source}: none of {len(items)} items is known to this run",
        problems=[f"{item!r}: {near_items(before, item)}" for item in items[:LISTED]],
        fix="name items by their ids or titles in the run",
    )


def peak_bytes() -> int:
    """Most memory that this process has held so far, in bytes; 0 where the system does not tell."""
    if os.name != "posix":
        return 0
    import resource
    import sys

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def id_names(schema: Schema) -> list[str]:
    """The columns of users and of items that the run was fitted to."""
    return [one.name for one in schema.ids[:2]]


def columns_said(source: Any, roles: Roles) -> tuple[str, ...]:
    """Which columns were taken, where they are those of a table and not named by whoever asks."""
    return () if isinstance(source, Mapping) else roles.notes[:1]


def found_names(schema: Schema, table: Table, *, rating: bool = False) -> dict[str, str | None]:
    """The schema's columns that the table has; the others are for `find_roles` to find."""
    wanted = {"user": schema.ids[0].name, "item": schema.ids[1].name}
    if rating:
        wanted["rating"] = schema.targets[0].name or ""
    return {role: _there(table, name) for role, name in wanted.items()}


def _there(table: Table, name: str | None) -> str | None:
    """The table's column of that name, or None."""
    try:
        return find_column(table, name) if name else None
    except SchemaError:
        return None
