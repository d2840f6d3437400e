"""Ratings made ready for a fit: read, checked, split, and joined with side tables. Nothing is fitted yet."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.collab.protocol import SPLITS
from tenfold.data.ratings.index import index_ratings, take_ratings
from tenfold.data.ratings.roles import find_column, find_key, find_roles, read_listed_ids
from tenfold.data.ratings.side import encode_side
from tenfold.data.split.holdout import (
    Split,
    by_time,
    folds_by_time,
    holdout_ratings,
    holdout_users,
    kfold_ratings,
    kfold_users,
    leave_last_out,
)
from tenfold.data.tables.table import Table, read_table, write_parquet
from tenfold.data.tables.times import parse_span
from tenfold.errors import RecipeError, SchemaError
from tenfold.recipe import FactorRecipe
from tenfold.recommenders.methods import unused_choices
from tenfold.recommenders.run import ITEMS, NO_TIME, column_in
from tenfold.runs.folder import RunFolder
from tenfold.runs.job import Notes
from tenfold.runs.options import FitOptions
from tenfold.runs.reading import kept_options
from tenfold.runs.rowjoin import ratings_fingerprint
from tenfold.schema import IdColumn, RatingTarget, Schema
from tenfold.values import Ratings, SideFeatures

__all__ = ["RatingsWork", "prepare_ratings", "recent_record"]


@dataclass(frozen=True)
class RatingsWork:
    """What a fit is made of.

    schema, recipe: completed from the table.  ratings: all of them.  train: those to fit, of which
    `sides` describes users and items.  tables: the side tables by role, ``user`` and ``item``.
    times_ignored: whether times are not to be read.  time_format: of the column of times.
    how: how ratings are held out, a key of `collab.protocol.SPLITS`; "" where none are.
    decay: of events that age, their `half_life` in seconds and `until` when, a time.
    reading: how the table was read, for ``run.json``.
    """

    schema: Schema
    recipe: FactorRecipe
    ratings: Ratings
    split: Split
    train: Ratings
    sides: Mapping[str, SideFeatures]
    tables: Mapping[str, Table]
    times_ignored: bool = False
    time_format: str | None = None
    reading: Mapping[str, object] = field(default_factory=dict)
    how: str = ""
    decay: Mapping[str, float] | None = None

    def held_out(self) -> Ratings | None:
        """The ratings that are held out, if any."""
        return take_ratings(self.ratings, self.split.valid) if len(self.split.valid) else None

    def listed_side(self, role: str = "item") -> tuple[NDArray[np.object_], SideFeatures] | None:
        """Items of the item table that no training rating is of; features of the rated ones, then of these.

        role: ``item``, or ``user`` for users likewise. None where no side column describes them, or all that
        are listed have ratings.
        """
        side, table = self.sides.get(role), self.tables.get(role)
        if side is None or table is None or not side.names:
            return None
        rated = self.train.items if role == "item" else self.train.users
        key = _key(table, self.schema.ids[0 if role == "user" else 1].name)
        ids: Iterable[str] = self.ratings.item_names
        if role == "user":
            ids = read_listed_ids(table, find_key(table, role, key), self.ratings.users)[1]
        known = set(rated)
        new = [one for one in dict.fromkeys(ids) if one and one not in known]
        if not new:
            return None
        every = np.array([*rated, *new], object)
        return every[len(rated) :], encode_side(table, side.columns, every, role=role, key=key)

    @cached_property
    def identity(self) -> dict[str, object]:
        """Everything that decides a model, for JSON; the data by a checksum."""
        ratings, sides = self.train, self.sides
        digest = hashlib.sha256()
        for text in (*ratings.users, *ratings.items):
            digest.update(str(text).encode("utf-8", "surrogatepass") + b"\0")
        arrays = [ratings.user_index, ratings.item_index, ratings.ratings, np.array(ratings.scale)]
        arrays += [] if ratings.times is None else [ratings.times]
        arrays += [] if ratings.order is None or ratings.times is not None else [ratings.order]
        if ratings.shown is not None:
            arrays += [ratings.shown.user_index, ratings.shown.item_index]
        for role in sorted(sides):
            arrays += [sides[role].start, sides[role].feature]
            digest.update(" ".join(sides[role].names).encode("utf-8", "surrogatepass"))
        for array in arrays:
            digest.update(np.ascontiguousarray(array).data)
        return {
            "recipe": self.recipe.model_dump(mode="json"),
            "schema": self.schema.model_dump(mode="json"),
            "implicit": ratings.implicit,
            "data": digest.hexdigest(),
        }

    def write_items(self, folder: RunFolder) -> None:
        """Write the item table, by which lists can be filtered."""
        items = self.tables.get("item")
        if items is not None:
            write_parquet(folder.file(ITEMS), {name: items.text(name) for name in items.names})

    def record(self) -> dict[str, object]:
        """What ``run.json`` says of the ratings, however they are learned."""
        ratings, items = self.ratings, self.tables.get("item")
        key = None if items is None else find_key(items, "item", _key(items, self.schema.ids[1].name))
        return {
            "rows": len(ratings.ratings),
            "users": len(ratings.users),
            "items": len(ratings.items),
            "kind_of_ratings": "implicit" if ratings.implicit else "explicit",
            "scale": list(ratings.scale),
            "train_rows": len(self.split.train),
            "valid_rows": len(self.split.valid),
            **({"decay": dict(self.decay)} if self.decay else {}),
            **({"split": {"how": self.how, "name": SPLITS[self.how]}} if self.how else {}),
            "time_format": self.time_format,
            "reading": self.reading,
            "times_ignored": self.times_ignored,
            "item_key": key,
            "fingerprint": ratings_fingerprint(ratings, self.split.valid),
        }


def prepare_ratings(
    schema: Schema,
    recipe: FactorRecipe,
    source: object,
    options: FitOptions,
    notes: Notes,
    *,
    keep_rows: bool = False,
    before: str | None = None,
) -> RatingsWork:
    """Read, check and split the ratings; nothing is fitted yet.

    schema: two id columns, the user's first, and a rating; names that are "" or None are looked for.
    keep_rows: keep the row that each rating came from.  before: the method of events where none is given, of
    a run that goes on.
    """
    schema.check_uses()
    if recipe.engine != "local":
        raise RecipeError(
            f"engine {recipe.engine} is for tenfold fit and cross-validate", fix="leave --engine out"
        )
    half_life = None if recipe.half_life is None else parse_span(recipe.half_life)
    if half_life is not None and recipe.use_strength is False:
        raise RecipeError(
            "a half-life is of the strength of events, which is not to count", fix="leave out one of them"
        )
    time_format = options.time_format or schema.time_format
    table = read_table(source, **options.reading.table)
    ignored = (schema.time or "").casefold() == NO_TIME and NO_TIME not in table.names
    # Ratings are sorted by user and item: their rows say which is the last of a user.
    rows = keep_rows or recipe.split == "last" or recipe.in_order
    held = recipe.fold is not None or recipe.valid > 0 or recipe.split == "last"
    schema, ratings, tables = _read(
        schema, recipe, table, options, notes, no_time=ignored, keep_rows=rows, held=held
    )
    del table
    if ratings.implicit and "method" not in recipe.model_fields_set:
        factors = [name for name in ("factors", "epochs") if getattr(recipe, name) is not None]
        why = f"since {factors[0]} is a choice of it" if factors else "since it is the one for events"
        method = "als" if factors else before or "ease"
        recipe = recipe.model_copy(update={"method": method})
        notes.add([f"method {recipe.method}, {why}"])
    if recipe.method == "ease" and not ratings.implicit:
        raise RecipeError(
            "method ease learns which items are taken, and these are ratings",
            fix="--kind implicit takes each rating as an event; any other method has such lists beside its "
            "ratings: leave out --method",
        )
    notes.add(unused_choices(recipe))
    split, how = _split(ratings, recipe)
    notes.add([*([f"held out: {SPLITS[how]}"] if how else []), *split.notes])
    ratings, said = _ordered(ratings, schema, recipe, how)
    notes.add(said)
    ratings = ratings if keep_rows else replace(ratings, rows=None)
    decay = None
    if half_life is not None and ratings.times is not None:
        decay = {"half_life": half_life, "until": float(np.nanmax(ratings.times))}
    train = take_ratings(_known_then(ratings, split, how), split.train) if len(split.valid) else ratings
    sides = _encode_sides(schema, train, tables, notes)
    if schema.time is None:
        # Times that nobody asked for still say which of two ratings is the last, but teach nothing.
        train = replace(train, times=None)
    kept = kept_options(source, options.reading.table)
    return RatingsWork(
        schema, recipe, ratings, split, train, sides, tables, ignored, time_format, kept, how, decay
    )


def _read(
    schema: Schema,
    recipe: FactorRecipe,
    table: Table,
    options: FitOptions,
    notes: Notes,
    *,
    no_time: bool,
    keep_rows: bool,
    held: bool,
) -> tuple[Schema, Ratings, dict[str, Table]]:
    """The schema with the columns of the table, the ratings, and the side tables.

    no_time: whether times are ignored.  held: whether some ratings are held out.
    """
    # A table of users or items is of the same origin, though its separator and header are its own.
    words, likely = table.options.get("missing_values", ()), table.options.get("encoding")
    tables = {
        role: read_table(path, missing_values=words, likely=likely)
        for role, path in (("user", schema.user_table), ("item", schema.item_table))
        if path is not None
    }
    for side in tables.values():
        notes.add([note for note in side.notes if note.startswith(side.source)])
        notes.add([f"{side.source}: {note}" for note in side.notes if note.endswith("left out")])
    kind = None if recipe.kind == "auto" else recipe.kind
    columns: dict[str, Any] = {
        "user": schema.ids[0].name or None,
        "item": schema.ids[1].name or None,
        "rating": schema.targets[0].name or None,
        "time": False if no_time else schema.time,
        "kind": kind,
    }
    ratings = index_ratings(
        table,
        **columns,
        item_table=tables.get("item"),
        item_key=_key(tables.get("item"), schema.ids[1].name),
        item_name=schema.item_name,
        scale=recipe.scale,
        duplicates=recipe.duplicates,
        time_format=options.time_format or schema.time_format,
        skip_bad=options.reading.skip_bad,
        keep_rows=keep_rows,
        half_life=None if recipe.half_life is None else parse_span(recipe.half_life),
        shown=recipe.shown is not None,
    )
    notes.add(ratings.notes)
    if no_time and held:
        unread = find_roles(table, **{**columns, "time": None}).time
        if unread is not None:
            said = "score is optimistic, since training sees what came after a held-out row"
            notes.add([f"times ignored ({unread}): {said}"])
    roles = find_roles(table, **columns)
    assert roles.user is not None
    completed = schema.model_copy(
        update={
            "inputs": (IdColumn(name=roles.user), IdColumn(name=roles.item), *schema.columns[2:]),
            "targets": (RatingTarget(name=roles.rating),),
            "time": None if no_time or schema.time is None else roles.time,
        }
    )
    return completed, ratings, tables


def _key(table: Table | None, name: str) -> str | None:
    """The id column's own name if the side table has it; None leaves it to be looked for."""
    return None if table is None or not table.header else column_in(table, name)


def _split(ratings: Ratings, recipe: FactorRecipe) -> tuple[Split, str]:
    """The split, a fold in place of a fraction, and how it was made; see `RatingsWork.how`."""
    rows, users, fold = len(ratings.ratings), ratings.user_index, recipe.fold
    if fold is None and recipe.valid == 0 and recipe.split != "last":
        none = np.zeros(0, np.int64)
        return Split(np.arange(rows), none, ("no ratings are held out: nothing is validated",)), ""
    timed = ratings.times is not None and not np.isnan(ratings.times).any()
    how = recipe.split if recipe.split != "auto" else ("time" if timed else "random")
    if how == "last":
        if fold is not None:
            raise RecipeError(
                "split = 'last' holds out each user's last rating, which makes no folds",
                found=f"fold = {fold[0]}/{fold[1]}",
                fix="--split random or --split time, or leave out --fold",
            )
        some = ratings.times is not None and not np.isnan(ratings.times).all()
        return leave_last_out(users, times=ratings.times if some else None, rows=ratings.rows), how
    if how == "time" and ratings.times is None:
        raise SchemaError(
            "there is no time column, so the ratings cannot be split by time",
            fix="name it with --time COLUMN, or choose --split random",
        )
    seed = recipe.seed if recipe.split_seed is None else recipe.split_seed
    times = ratings.times
    if fold is None:
        fraction = recipe.valid
        if how == "time" and times is not None:
            return by_time(times, fraction=fraction), how
        if how == "users":
            return holdout_users(users, fraction=fraction, seed=seed), how
        return holdout_ratings(users, fraction=fraction, seed=seed, times=times), how
    if how == "time" and times is not None:
        folds = folds_by_time(times, folds=fold[1])
    elif how == "users":
        folds = kfold_users(users, folds=fold[1], seed=seed)
    else:
        folds = kfold_ratings(users, folds=fold[1], seed=seed, times=times)
    note = f"fold {fold[0]} of {fold[1]} is held out"
    return replace(folds.split(fold[0] - 1), notes=(note, *folds.notes)), how


def _ordered(ratings: Ratings, schema: Schema, recipe: FactorRecipe, how: str) -> tuple[Ratings, list[str]]:
    """The ratings with what says which of a user's are recent, where lists may weigh these; and messages."""
    timed = ratings.times is not None and not np.isnan(ratings.times).all()
    if recipe.in_order and timed:
        raise RecipeError(
            "the table has times, so its rows need no order", fix="leave out --in-order, or give --time none"
        )
    if recipe.recent == 0:
        return ratings, []
    if ratings.implicit and recipe.method != "ease":
        said = f"recent is of lists by weights between items: {recipe.method} of events has no use for it"
        return ratings, [said] if recipe.recent else []
    if recipe.recent and not (timed or recipe.in_order):
        raise SchemaError(
            "there are no times, so which rows are recent is not known",
            fix="name their column with --time COLUMN, or give --in-order if each user's rows stand in order",
        )
    if not recipe.recent and (timed or recipe.in_order):
        if how in ("random", "users"):
            said = (
                "a split at random is not of what comes next, so recent rows count as all others (--recent)"
            )
            return ratings, [said] if schema.time or recipe.in_order else []
        if timed and schema.time is None:
            return ratings, ["recent rows count as all others: lists weigh them where --time names the times"]
    if timed:
        return replace(ratings, order=ratings.times), []
    if recipe.in_order and ratings.rows is not None:
        return replace(ratings, order=ratings.rows.astype(np.float64)), []
    return ratings, []


def recent_record(recent: float) -> dict[str, object]:
    """What ``run.json`` says of how much recent rows count in lists."""
    return {"recent": recent} if recent else {}


def _known_then(ratings: Ratings, split: Split, how: str) -> Ratings:
    """The ratings without pairs that were shown after what is held out by time, of all or of each user."""
    shown = ratings.shown
    if how not in ("time", "last") or shown is None or shown.times is None or ratings.times is None:
        return ratings
    when = np.nan_to_num(ratings.times[split.valid], nan=-np.inf)
    limit = np.full(len(ratings.users), np.inf if how == "last" else when.min())
    if how == "last":
        np.minimum.at(limit, ratings.user_index[split.valid], when)
    return replace(ratings, shown=shown.take(~(shown.times > limit[shown.user_index])))


def _encode_sides(
    schema: Schema, ratings: Ratings, tables: Mapping[str, Table], notes: Notes
) -> dict[str, SideFeatures]:
    """Side features of users and of items, each column from the table that has it."""
    if schema.side and not tables:
        raise SchemaError(
            "side columns are named, but no table that has them", fix="give --user-table or --item-table"
        )
    wanted: dict[str, list[str]] = {role: [] for role in tables}
    for column in schema.side:
        missing: list[SchemaError] = []
        for role, table in tables.items():
            try:
                wanted[role].append(find_column(table, column))
            except SchemaError as error:
                missing.append(error)
        if len(missing) == len(tables):
            raise missing[-1]
    sides = {}
    for role, columns in wanted.items():
        if columns:
            name, ids = (
                (schema.ids[0].name, ratings.users) if role == "user" else (schema.ids[1].name, ratings.items)
            )
            key = find_key(tables[role], role, _key(tables[role], name))
            if key in columns:
                raise SchemaError(
                    f"{key!r} is the column of ids of {tables[role].source}, and says nothing beside them",
                    fix="leave it out of --side",
                )
            sides[role] = encode_side(tables[role], columns, ids, role=role, key=key)
            notes.add(sides[role].notes)
    return sides
