"""The ratings wing: one run, from a table of ratings or events to a run folder. Never loads torch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.collab.pack import pack_factor_model, unpack_factor_model
from tenfold.collab.recommend import with_held_out
from tenfold.data.ratings.index import index_ratings, take_ratings
from tenfold.data.ratings.roles import find_column, find_key, find_roles
from tenfold.data.ratings.side import encode_side
from tenfold.data.split.holdout import (
    Split,
    by_time,
    folds_by_time,
    holdout_ratings,
    kfold_ratings,
    leave_last_out,
)
from tenfold.data.tables.table import Table, read_table, write_parquet
from tenfold.errors import RecipeError, SchemaError
from tenfold.events import Listener, SweepEnded
from tenfold.recipe import FactorRecipe
from tenfold.recommenders.factors import (
    ITEMS,
    MODEL,
    NO_TIME,
    peak_bytes,
    score_ratings,
)
from tenfold.runs.folder import RunFolder
from tenfold.runs.job import Fitted, Notes, PeakMemory
from tenfold.runs.options import FitOptions
from tenfold.runs.reading import kept_options
from tenfold.runs.rowjoin import ratings_fingerprint
from tenfold.schema import IdColumn, RatingTarget, Schema
from tenfold.values import FactorModel, Ratings, SideFeatures

__all__ = ["FactorFit", "RatingsWork", "fit_model", "prepare_ratings"]


class FactorFit:
    """The fit of factors to a table of ratings or events.

    schema: two id columns, the user's first, and a rating; names that are "" or None are found.
    table: a path, a data frame, a mapping of columns or a `Table`.
    """

    word = "fit"

    def __init__(self, schema: Schema, recipe: FactorRecipe, table: object, options: FitOptions) -> None:
        self.schema, self.recipe, self.table, self.options = schema, recipe, table, options

    @contextmanager
    def machine(self) -> Iterator[PeakMemory]:
        """Nothing is to be set for factors."""
        yield peak_bytes

    def prepare(self, notes: Notes) -> _Prepared:
        """Read, check and split the ratings."""
        how = self.options.reading
        work = prepare_ratings(
            self.schema,
            self.recipe,
            self.table,
            table_options=how.table,
            skip_bad=how.skip_bad,
            time_format=self.options.time_format,
            on_notes=notes.add,
        )
        identity = _identity(work.schema, work.recipe, work.train, work.sides)
        return _Prepared(self, work, kept_options(self.table, how.table), identity)


@dataclass(frozen=True)
class _Prepared:
    job: FactorFit
    work: RatingsWork
    reading: Mapping[str, Any]
    identity: Mapping[str, Any]

    def train(self, folder: RunFolder, notes: Notes) -> Fitted:
        """Fit, score the held-out ratings, and write the model."""
        work = self.work
        schema, recipe, ratings, split = work.schema, work.recipe, work.ratings, work.split
        model = _kept_model(folder, self.identity)
        if model is None:
            model = fit_model(work.train, recipe, work.sides, self.job.options.on_progress)
            arrays, described = pack_factor_model(model)
            folder.write_checkpoint(arrays, {"identity": self.identity, "model": described})
        notes.add([note for note in model.notes if note not in notes.lines])
        for note in kernel_notes():
            notes.tell(note)
        model, said = _with_listed(model, work)
        notes.add(said)
        scores: dict[str, Any] = {}
        if len(split.valid):
            held = take_ratings(ratings, split.valid)
            scores, said = score_ratings(model, held)
            notes.add(said)
            model = with_held_out(model, held)
        items = work.tables.get("item")
        folder.write_arrays(MODEL, *pack_factor_model(model))
        if items is not None:
            write_parquet(folder.file(ITEMS), {name: items.text(name) for name in items.names})
        record = {
            "kind": "ratings",
            "rows": len(ratings.ratings),
            "users": len(ratings.users),
            "items": len(ratings.items),
            "method": recipe.method,
            "kind_of_ratings": "implicit" if ratings.implicit else "explicit",
            "scale": list(ratings.scale),
            "train_rows": len(split.train),
            "valid_rows": len(split.valid),
            "targets": {schema.targets[0].name or "event": scores} if scores else {},
            "time_format": self.job.options.time_format or schema.time_format,
            "reading": self.reading,
            "times_ignored": work.times_ignored,
            "item_key": None if items is None else find_key(items, "item", _key(items, schema.ids[1].name)),
            "fingerprint": ratings_fingerprint(ratings, split.valid),
        }
        return Fitted(schema, recipe, record)


@dataclass(frozen=True)
class RatingsWork:
    """What a fit is made of.

    schema, recipe: with what was found in the table.  ratings: all of them.  train: those to fit, of which
    `sides` describes users and items.  tables: the side tables by role, ``user`` and ``item``.
    times_ignored: whether it was said that there are no times to be read.
    """

    schema: Schema
    recipe: FactorRecipe
    ratings: Ratings
    split: Split
    train: Ratings
    sides: Mapping[str, SideFeatures]
    tables: Mapping[str, Table]
    times_ignored: bool = False


def prepare_ratings(
    schema: Schema,
    recipe: FactorRecipe,
    table: object,
    *,
    table_options: Mapping[str, Any] | None = None,
    skip_bad: bool = False,
    time_format: str | None = None,
    keep_rows: bool = False,
    fold: tuple[int, int] | None = None,
    on_notes: Callable[[Sequence[str]], None],
) -> RatingsWork:
    """Read, check and split the ratings; nothing is fitted yet. table_options, skip_bad: as of
    `Reading`.

    fold: (K, N), the K-th of N parts is held out, in place of the recipe's `valid`.
    """
    schema.check_uses()
    time_format = time_format or schema.time_format
    # Ratings are sorted by user and item: which one is the last of its user, their rows tell.
    rows = keep_rows or recipe.split == "last"
    options = {"skip_bad": skip_bad, "time_format": time_format, "keep_rows": rows}
    held = fold is not None or recipe.valid > 0 or recipe.split == "last"
    table = read_table(table, **(table_options or {}))
    ignored = (schema.time or "").casefold() == NO_TIME and NO_TIME not in table.names
    schema, ratings, tables = _read(schema, recipe, table, options, held, ignored, on_notes)
    del table
    if ratings.implicit and "method" not in recipe.model_fields_set:
        recipe = recipe.model_copy(update={"method": "als"})
        on_notes(["method als, since it is the one for events"])
    on_notes(_passed_over(recipe))
    split = _split(ratings, recipe, fold)
    on_notes(split.notes)
    ratings = ratings if keep_rows else replace(ratings, rows=None)
    train = take_ratings(ratings, split.train) if len(split.valid) else ratings
    sides = _encode_sides(schema, train, tables, on_notes)
    if schema.time is None:
        # Times that nobody asked for still say which of two ratings is the last, but teach nothing.
        train = replace(train, times=None)
    return RatingsWork(schema, recipe, ratings, split, train, sides, tables, ignored)


#: Options of one method or of some, and which of them take it.
TAKEN_BY = {
    "sweeps": ("gibbs",),
    "implicit": ("gibbs",),
    "use_time": ("gibbs",),
    "epochs": ("als", "sgd"),
    "weight_decay": ("als", "sgd"),
    "lr": ("sgd",),
    "range": ("sgd",),
    "use_range": ("sgd",),
    "use_bias": ("sgd",),
}


def _passed_over(recipe: FactorRecipe) -> list[str]:
    """Choices that were made and that the method has no use for, so that none is dropped without a word."""
    return [
        f"{name} is of method {' and '.join(methods)}: {recipe.method} has no use for it"
        for name, methods in TAKEN_BY.items()
        if name in recipe.model_fields_set
        and recipe.method not in methods
        and getattr(recipe, name) != type(recipe).model_fields[name].default
    ]


def fit_model(
    ratings: Ratings,
    recipe: FactorRecipe,
    sides: Mapping[str, SideFeatures],
    on_progress: Listener | None = None,
) -> FactorModel:
    """The recipe's method on these ratings; nothing is written."""
    common: dict[str, Any] = {"factors": recipe.factors, "seed": recipe.seed, "threads": recipe.threads}
    # Each method is loaded only when it is asked for: compiled kernels take their time even from the cache.
    if recipe.method == "gibbs":
        from tenfold.collab.gibbs import fit_gibbs

        def tell(record: Any) -> None:
            if on_progress is not None:
                extra = f"error {record.deviation:.4f}"
                on_progress(SweepEnded(record.sweep, record.sweeps, extra))

        return fit_gibbs(
            ratings,
            sweeps=recipe.sweeps,
            implicit=recipe.implicit,
            use_time=recipe.use_time,
            user_side=sides.get("user"),
            item_side=sides.get("item"),
            on_sweep=tell,
            **common,
        )
    if sides:
        raise RecipeError(
            f"method {recipe.method} learns nothing from side columns",
            fix="--method gibbs, or leave out --side",
        )
    if recipe.method == "als":
        from tenfold.collab.als import fit_als

        return fit_als(ratings, epochs=recipe.epochs, weight_decay=recipe.weight_decay, **common)
    from tenfold.collab.sgd import fit_sgd

    def tell_epoch(record: Any) -> None:
        if on_progress is not None:
            on_progress(SweepEnded(record.epoch, record.epochs))

    return fit_sgd(
        ratings,
        epochs=recipe.epochs,
        lr=recipe.lr,
        weight_decay=recipe.weight_decay,
        sigmoid_range=recipe.range,
        use_range=recipe.use_range,
        use_bias=recipe.use_bias,
        on_epoch=tell_epoch,
        **common,
    )


def kernel_notes() -> list[str]:
    """What is to be said of compiled code, where a fit has loaded it."""
    from tenfold.collab import kernels

    return kernels.notes()


def _read(
    schema: Schema,
    recipe: FactorRecipe,
    table: Table,
    options: Mapping[str, Any],
    held: bool,
    no_time: bool,
    on_notes: Callable[[Sequence[str]], None],
) -> tuple[Schema, Ratings, dict[str, Table]]:
    """The ratings, the schema with the columns as they were found, and the side tables.

    held: whether ratings are held out, of which it is said what makes their score too good.
    no_time: whether it was said that no times are to be read.
    """
    # A table of users or items is of the same origin, though its separator and header are its own.
    words, likely = table.options.get("missing_values", ()), table.options.get("encoding")
    tables = {
        role: read_table(path, missing_values=words, likely=likely)
        for role, path in (("user", schema.user_table), ("item", schema.item_table))
        if path is not None
    }
    for side in tables.values():
        on_notes([note for note in side.notes if note.startswith(side.source)])
        on_notes([f"{side.source}: {note}" for note in side.notes if note.endswith("left out")])
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
        **options,
    )
    on_notes(ratings.notes)
    if no_time and held:
        unread = find_roles(table, **{**columns, "time": None}).time
        if unread is not None:
            said = "score is optimistic, since training sees what came after a held-out row"
            on_notes([f"times ignored ({unread}): {said}"])
    roles = find_roles(table, **columns)
    found = schema.model_copy(
        update={
            "inputs": (IdColumn(name=roles.user), IdColumn(name=roles.item), *schema.columns[2:]),
            "targets": (RatingTarget(name=roles.rating),),
            "time": None if no_time or schema.time is None else roles.time,
        }
    )
    return found, ratings, tables


def _key(table: Table | None, name: str) -> str | None:
    """The id column's own name where the side table has it and it is a name; None leaves it to be found."""
    if table is None or not table.header or not name:
        return None
    try:
        return find_column(table, name)
    except SchemaError:
        return None


def _split(ratings: Ratings, recipe: FactorRecipe, fold: tuple[int, int] | None) -> Split:
    rows = len(ratings.ratings)
    if fold is None and recipe.valid == 0 and recipe.split != "last":
        return Split(
            np.arange(rows), np.zeros(0, np.int64), ("no ratings are held out: nothing is validated",)
        )
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
        return leave_last_out(ratings.user_index, times=ratings.times if some else None, rows=ratings.rows)
    if how == "time":
        if ratings.times is None:
            raise SchemaError(
                "there is no time column, so the ratings cannot be split by time",
                fix="name it with --time COLUMN, or choose --split random",
            )
        if fold is None:
            return by_time(ratings.times, fraction=recipe.valid)
        folds = folds_by_time(ratings.times, folds=fold[1])
    elif fold is None:
        return holdout_ratings(
            ratings.user_index, fraction=recipe.valid, seed=recipe.seed, times=ratings.times
        )
    else:
        folds = kfold_ratings(ratings.user_index, folds=fold[1], seed=recipe.seed, times=ratings.times)
    note = f"fold {fold[0]} of {fold[1]} is held out"
    return replace(folds.split(fold[0] - 1), notes=(note, *folds.notes))


def _encode_sides(
    schema: Schema,
    ratings: Ratings,
    tables: Mapping[str, Table],
    on_notes: Callable[[Sequence[str]], None],
) -> dict[str, SideFeatures]:
    """Side features of users and of items, each column from the table that has it."""
    if schema.side and not tables:
        raise SchemaError(
            "side columns are named, but no table that has them", fix="give --user-table or --item-table"
        )
    wanted: dict[str, list[str]] = {role: [] for role in tables}
    for column in schema.side:
        homes = []
        for role, table in tables.items():
            try:
                wanted[role].append(find_column(table, column))
                homes.append(role)
            except SchemaError as error:
                missing = error
        if not homes:
            raise missing
    sides = {}
    for role, columns in wanted.items():
        if columns:
            name, ids = (
                (schema.ids[0].name, ratings.users) if role == "user" else (schema.ids[1].name, ratings.items)
            )
            sides[role] = encode_side(tables[role], columns, ids, role=role, key=_key(tables[role], name))
            on_notes(sides[role].notes)
    return sides


def listed_side(work: RatingsWork) -> tuple[NDArray[np.object_], SideFeatures] | None:
    """Items of the item table that no training rating is of; and features of the rated ones, then of these.

    None where no side column describes items, or all that are listed have ratings.
    """
    side, rated = work.sides.get("item"), set(work.train.items)
    ids = [one for one in work.ratings.item_names if one not in rated]
    if side is None or not side.names or not ids:
        return None
    table = work.tables["item"]
    key = _key(table, work.schema.ids[1].name)
    every = np.array([*work.train.items, *ids], object)
    return every[len(rated) :], encode_side(table, side.columns, every, role="item", key=key)


def _with_listed(model: FactorModel, work: RatingsWork) -> tuple[FactorModel, Sequence[str]]:
    """The model with the items that side columns describe and that nobody has rated."""
    found = listed_side(work)
    if found is None:
        return model, ()
    from tenfold.collab.listed import add_listed_items

    return add_listed_items(model, *found)


def _identity(
    schema: Schema, recipe: FactorRecipe, ratings: Ratings, sides: Mapping[str, SideFeatures]
) -> dict[str, Any]:
    """Everything that decides the model, in JSON's types; the data by a checksum."""
    digest = hashlib.sha256()
    for text in (*ratings.users, *ratings.items):
        digest.update(str(text).encode("utf-8", "surrogatepass") + b"\0")
    arrays = [ratings.user_index, ratings.item_index, ratings.ratings, np.array(ratings.scale)]
    arrays += [] if ratings.times is None else [ratings.times]
    for role in sorted(sides):
        arrays += [sides[role].start, sides[role].feature]
        digest.update(" ".join(sides[role].names).encode("utf-8", "surrogatepass"))
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return {
        "recipe": recipe.model_dump(mode="json"),
        "schema": schema.model_dump(mode="json"),
        "implicit": ratings.implicit,
        "data": digest.hexdigest(),
    }


def _kept_model(folder: RunFolder, identity: Mapping[str, Any]) -> FactorModel | None:
    """The model of this very fit, where it was stopped after its last sweep; None where it was not."""
    found = folder.read_checkpoint(identity, "fit")
    return None if found is None else unpack_factor_model(found.arrays, found.about["model"])
