"""The neural route of ratings: one run, from a table of ratings to a network in a run folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.collab.pack import pack_factor_model
from tenfold.collab.predict import LISTED_ITEMS, locate
from tenfold.collab.recommend import with_held_out
from tenfold.data.encode import ColumnStats, Encoding, Examples, encode_columns, fit_columns
from tenfold.data.ratings.index import take_ratings
from tenfold.data.ratings.roles import find_column, find_key
from tenfold.data.tables.table import Table, read_table, write_parquet
from tenfold.engine.checkpoint import to_array
from tenfold.engine.device import pick_device, pick_precision
from tenfold.engine.monitor import check_monitor
from tenfold.engine.train import Trained, fit_network
from tenfold.errors import RatingsError, RecipeError, SchemaError
from tenfold.networks.fit import training_on, write_network
from tenfold.nn.encoders import embedding_width
from tenfold.nn.network import Network, build_network
from tenfold.recipe import RatingNetworkRecipe, with_dot_weight_decay
from tenfold.recommenders.factors import ITEMS
from tenfold.recommenders.factors_fit import RatingsWork, listed_side, prepare_ratings
from tenfold.recommenders.network import (
    KNOWN,
    PairRun,
    network_schema,
    score_test,
)
from tenfold.recommenders.page import held_out_names
from tenfold.runs.folder import RunFolder, nan_to_none
from tenfold.runs.job import Fitted, Notes, PeakMemory
from tenfold.runs.options import FitOptions
from tenfold.runs.reading import kept_options
from tenfold.runs.record import RunRecord
from tenfold.runs.rowjoin import ratings_fingerprint
from tenfold.schema import Schema
from tenfold.targets.base import TargetStats
from tenfold.targets.labels import standardise
from tenfold.targets.number import half_step
from tenfold.values import FactorModel, MemoryPlan, Ratings, SideFeatures


@dataclass
class _Work:
    """What a training is made of.

    recipe: with what follows from the table.  examples: the ratings that train, in their order, then those
    held out.
    """

    recipe: RatingNetworkRecipe
    ratings: RatingsWork
    table: Table
    encoding: Encoding
    examples: Examples
    network: Network
    about: dict[str, Any]


class RatingNetworkFit:
    """The training of embeddings of users and items, and a body, to predict ratings within their scale.

    schema: two id columns, the user's first, then columns of categories and numbers of the same table; and a
    rating. Side columns describe users and items as for factor models.
    """

    word = "fit"

    def __init__(
        self, schema: Schema, recipe: RatingNetworkRecipe, table: object, options: FitOptions
    ) -> None:
        self.schema, self.recipe, self.table, self.options = schema, recipe, table, options
        self.device = pick_device(options.machine.device)

    def machine(self) -> AbstractContextManager[PeakMemory]:
        """One thread on a CPU, where the layers are too small for two."""
        return training_on(self.device, small=True)

    def prepare(self, notes: Notes) -> _Prepared:
        """The ratings as rows of arrays, and the network."""
        how = self.options.reading
        work = _prepare(self.schema, self.recipe, self.table, how.table, how.skip_bad, notes.add)
        return _Prepared(self, work, _identity(work, work.recipe))


@dataclass(frozen=True)
class _Prepared:
    job: RatingNetworkFit
    work: _Work
    identity: Mapping[str, Any]

    def train(self, folder: RunFolder, notes: Notes) -> Fitted:
        """Train, score the held-out ratings, and write the network with what is known of its ids."""
        work, device, options = self.work, self.job.device, self.job.options
        recipe = work.recipe
        precision = pick_precision(recipe.precision, device)
        rows = len(work.ratings.train.ratings)
        batch = min(recipe.batch_size, rows)
        micro = min(options.machine.micro_batch or batch, batch)
        notes.add([_describe(work, rows, str(device), precision)])
        trained = fit_network(
            work.network,
            work.encoding,
            work.examples,
            train=np.arange(rows),
            valid=np.arange(rows, work.examples.rows),
            recipe=recipe.network(),
            plan=MemoryPlan(micro, accumulation=-(-batch // micro), workers=0),
            device=device,
            precision=precision,
            folder=folder,
            identity={**self.identity, "precision": precision},
            on_progress=options.on_progress,
        )
        notes.add(trained.notes)
        _place_listed(work)
        record = {
            **work.about,
            "reading": kept_options(self.job.table, options.reading.table),
            "epochs": len(trained.history),
            "kept_epoch": trained.kept + 1,
            "fingerprint": ratings_fingerprint(work.ratings.ratings, work.ratings.split.valid),
            "device": str(device),
            "precision": precision,
        }
        scores = _write(folder, work, trained, record, notes)
        record["targets"] = nan_to_none({record["target"]: scores}) if scores else {}
        return Fitted(work.ratings.schema, recipe, record, trained.stopped, "a lower --lr")


def _prepare(
    schema: Schema,
    recipe: RatingNetworkRecipe,
    source: object,
    table_options: Mapping[str, Any],
    skip_bad: bool,
    add: Callable[[Sequence[str]], None],
) -> _Work:
    table = read_table(source, **table_options)
    cells_schema = Schema(inputs=schema.columns[2:], targets=())
    cells_schema.check_columns(table.known, table.source)
    ratings = prepare_ratings(
        schema, recipe.ratings(), table, skip_bad=skip_bad, keep_rows=True, fold=recipe.fold, on_notes=add
    )
    train = ratings.train
    if not len(train.ratings):
        raise RatingsError("no rating is left to train on", fix="hold out fewer: --valid")
    asked, recipe = recipe, with_dot_weight_decay(recipe, len(train.users), len(train.items))
    if recipe != asked:
        add([f"weight decay {recipe.weight_decay:g}, by how many ids there are to a batch"])
    low, high = train.scale
    found = ratings.schema
    about: dict[str, Any] = {
        "kind": "pairs",
        "rows": len(ratings.ratings.ratings),
        "users": len(ratings.ratings.users),
        "items": len(ratings.ratings.items),
        "method": "network",
        "kind_of_ratings": "explicit",
        "scale": [low, high],
        "target": found.targets[0].name or "rating",
        "train_rows": len(train.ratings),
        "valid_rows": len(ratings.split.valid),
        "item_key": _item_key(ratings),
        "times_ignored": ratings.times_ignored,
    }
    items, sides = train.items, dict(ratings.sides)
    listed = listed_side(ratings)
    if listed is not None:
        items, sides["item"] = np.concatenate([items, listed[0]]), listed[1]
        named = ", ".join(listed[1].columns)
        add([f"{len(listed[0])} listed items that nobody has rated are scored by their columns ({named})"])
    own = table.take(train.rows)  # type: ignore[arg-type]
    cells, said = fit_columns(cells_schema, own, np.arange(own.rows))
    add(said)
    user, item = (column.name for column in found.columns[:2])
    columns = {
        user: _id_facts(train.users, sides.get("user")),
        item: _id_facts(items, sides.get("item")),
        **cells,
    }
    values = train.ratings.astype(np.float64)
    target = about["target"]
    facts = _range(recipe, values, low, high)
    facts = standardise({target: facts}, {target: values}, np.arange(len(values)))[target]
    encoding = Encoding(classes={}, targets={target: facts}, columns=columns)
    parts = [train]
    if len(ratings.split.valid):
        parts.append(take_ratings(ratings.ratings, ratings.split.valid))
    examples = _examples(parts, table, encoding, cells_schema)
    _check_widths(recipe, sides)
    network, said = build_network(encoding, network_schema(found, about), recipe.network())
    check_monitor(recipe.network(), network.heads, len(ratings.split.valid))
    add(said)
    if facts.low is not None and facts.high is not None:
        _start_at_mean(network, facts)
        add([f"{target}: answers from {low:g} to {high:g}, sigmoid from {facts.low:g} to {facts.high:g}"])
    return _Work(recipe, ratings, table, encoding, examples, network, about)


def _examples(parts: Sequence[Ratings], table: Table, encoding: Encoding, cells_schema: Schema) -> Examples:
    """Ratings as rows of arrays, part after part; the first is the one whose users and items are known.

    Whoever is not among them has code 0, the row of what is unknown, as when the finished run is asked.
    """
    known = parts[0]
    user, item = list(encoding.columns)[:2]
    columns: dict[str, list[NDArray[Any]]] = {name: [] for name in encoding.columns}
    for part in parts:
        columns[user].append(locate(part.users, known.users)[part.user_index].astype(np.int64) + 1)
        columns[item].append(locate(part.items, known.items)[part.item_index].astype(np.int64) + 1)
        cells, _ = encode_columns(encoding.columns, cells_schema, table.take(part.rows))  # type: ignore[arg-type]
        for name, values in cells.items():
            columns[name].append(values)
    labels = np.concatenate([part.ratings.astype(np.float64) for part in parts])
    [target] = encoding.targets
    return Examples(
        np.full(len(labels), "", object),
        (),
        {target: labels},
        {target: np.ones(len(labels))},
        {name: np.concatenate(values) for name, values in columns.items()},
    )


def _check_widths(recipe: RatingNetworkRecipe, sides: Mapping[str, SideFeatures]) -> None:
    """Refuse side columns that make one embedding of a dot product wider than the other."""
    wide = {role: embedding_width(len(side.names)) for role, side in sides.items()}
    if recipe.body == "dot" and len({wide.get(role, 0) for role in ("user", "item")}) > 1:
        raise RecipeError(
            "body = 'dot' multiplies embeddings of one width, and side columns widen one of them",
            found=", ".join(f"{role}: {len(side.names)} features" for role, side in sides.items()),
            fix="set body = 'mlp', or leave out --side",
        )


def _id_facts(words: Any, side: SideFeatures | None) -> ColumnStats:
    if side is None:
        return ColumnStats(words=tuple(str(word) for word in words))
    about = tuple(
        tuple(int(one) for one in side.feature[side.start[row] : side.start[row + 1]])
        for row in range(len(words))
    )
    return ColumnStats(words=tuple(str(word) for word in words), features=tuple(side.names), about=about)


def _range(recipe: RatingNetworkRecipe, values: Any, low: float, high: float) -> TargetStats:
    """Where the sigmoid ends: as given, or half a step of the ratings beyond their scale."""
    if recipe.range is not None:
        ends = (min(recipe.range), max(recipe.range))
        if not (ends[0] <= low and high <= ends[1] and ends[0] < ends[1]):
            raise RatingsError(
                f"range {ends[0]:g} to {ends[1]:g} does not hold the scale {low:g} to {high:g}",
                fix="give a wider one, or leave it out",
            )
        return TargetStats(low=ends[0], high=ends[1])
    if not low < high:
        return TargetStats()
    step = half_step(values, low, high)
    return TargetStats(low=low - step, high=high + step)


def _start_at_mean(network: Network, facts: TargetStats) -> None:
    """The last layer's bias where the sigmoid gives the mean rating."""
    part = (facts.mean - facts.low) / (facts.high - facts.low)  # type: ignore[operator]
    network.last.bias.data.fill_(float(np.log(part / (1 - part))))


def _item_key(work: RatingsWork) -> str | None:
    table = work.tables.get("item")
    if table is None:
        return None
    try:
        return find_key(table, "item", find_column(table, work.schema.ids[1].name))
    except SchemaError:
        return find_key(table, "item")


def _describe(work: _Work, rows: int, device: str, precision: str) -> str:
    count = sum(parameter.numel() for parameter in work.network.parameters())
    return f"{rows} ratings to train on; {count:,} parameters; device {device}, {precision}"


def _identity(work: _Work, recipe: RatingNetworkRecipe) -> dict[str, Any]:
    """Everything that decides the weights, in JSON's types; the data by a checksum."""
    import hashlib

    digest = hashlib.sha256()
    for name, values in (*work.examples.columns.items(), *work.examples.labels.items()):
        digest.update(name.encode("utf-8", "surrogatepass") + values.tobytes())
    digest.update(work.encoding.model_dump_json().encode("utf-8", "surrogatepass"))
    schema = work.ratings.schema.model_dump(mode="json")
    return {"recipe": recipe.identity(), "schema": schema, "data": digest.hexdigest()}


def _place_listed(work: _Work) -> None:
    """What an item that nobody has rated is beside its columns: the average of the rated ones."""
    train = work.ratings.train
    table = work.network.encoders["column1"].table.weight.data
    first = 1 + len(train.items)
    if len(table) > first:
        count = table.new_tensor(np.bincount(train.item_index, minlength=len(train.items)))
        table[first:] = (count / count.sum()) @ table[1:first]


def _known(work: _Work) -> FactorModel:
    """Vocabularies and seen items, and the embeddings for neighbours."""
    train: Ratings = work.ratings.train
    words = list(work.encoding.columns.values())[1].words
    listed = {LISTED_ITEMS: np.array([len(words) - len(train.items)])}
    users, items = (work.network.encoders[f"column{place}"].table.weight for place in range(2))
    counts = np.bincount(train.user_index, minlength=len(train.users))
    wide = max(users.shape[1], items.shape[1])

    def factors(weight: Any) -> Any:
        # Widened by zeros, which change no cosine.
        values = np.asarray(to_array(weight.detach()), dtype=np.float32)[1:]
        return np.pad(values, ((0, 0), (0, wide - values.shape[1])))

    return FactorModel(
        method="network",
        users=train.users,
        items=np.array([*words, None], object)[:-1],
        mean=float(train.ratings.mean()),
        user_bias=np.zeros(len(train.users), np.float32),
        item_bias=np.zeros(len(words), np.float32),
        user_factors=factors(users),
        item_factors=factors(items),
        scale=train.scale,
        sigmoid_range=None,
        seen_start=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        seen_items=train.item_index,
        seen_ratings=train.ratings,
        item_names=work.ratings.ratings.item_names,
        extra=listed if len(words) > len(train.items) else {},
    )


def _write_validation(
    folder: RunFolder, schema: Schema, target: str, valid: Ratings, answers: NDArray[Any]
) -> None:
    """The held-out ratings, whose they are, and what was predicted of them, for the run's page."""
    users, items = valid.users[valid.user_index], valid.items[valid.item_index]
    names = [f"user {user}, item {item}" for user, item in zip(users, items, strict=True)]
    columns = (
        np.array(names, dtype=object),
        valid.rows,
        valid.ratings.astype(np.float64),
        answers,
        users,
        items,
    )
    found: dict[str, Any] = dict(zip(held_out_names(schema, target), columns, strict=True))
    write_parquet(folder.file("validation.parquet"), found)


def _write(
    folder: RunFolder, work: _Work, trained: Trained, record: Mapping[str, Any], notes: Notes
) -> dict[str, Any]:
    """Write the files of the run; returns its scores on the held-out ratings."""
    known = _known(work)
    scores: dict[str, Any] = {}
    if len(work.ratings.split.valid):
        live = PairRun(folder.path, work.ratings.schema, RunRecord(record), work.recipe, work.encoding)
        live.__dict__.update(known=known, network=work.network)
        valid = take_ratings(work.ratings.ratings, work.ratings.split.valid)
        scores, answers, said = score_test(live, valid, work.table)
        notes.add(said)
        known = with_held_out(known, valid)
        _write_validation(folder, work.ratings.schema, record["target"], valid, answers)
    write_network(folder, work.network, work.encoding, trained, {"body": work.recipe.body}, indent=None)
    folder.write_arrays(KNOWN, *pack_factor_model(known))
    items = work.ratings.tables.get("item")
    if items is not None:
        write_parquet(folder.file(ITEMS), {name: items.text(name) for name in items.names})
    return scores
