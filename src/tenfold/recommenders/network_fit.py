"""The training of a network of ratings, from a table to the files of its run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tenfold.collab.evaluate import evaluate
from tenfold.collab.ids import locate
from tenfold.collab.interest import fit_lists, pack_lists
from tenfold.collab.pack import pack_interactions
from tenfold.collab.recommend import held_out_pairs
from tenfold.data.encode import ColumnStats, Encoding, Examples, Inputs, encode_columns, fit_columns
from tenfold.data.tables.table import Table, read_table
from tenfold.engine.checkpoint import to_array
from tenfold.engine.device import pick_device, pick_precision
from tenfold.engine.monitor import check_monitor
from tenfold.engine.train import fit_network
from tenfold.errors import RatingsError, RecipeError
from tenfold.events import begin_stage
from tenfold.networks.fit import training_on, write_network
from tenfold.nn.encoders import embedding_width
from tenfold.nn.network import Network, build_network
from tenfold.recipe import RatingNetworkRecipe, with_dot_weight_decay
from tenfold.recommenders.network_scorer import NetworkScorer, network_schema
from tenfold.recommenders.prepare import RatingsWork, prepare_ratings, recent_record
from tenfold.recommenders.run import LISTS, MODEL, write_held_out
from tenfold.runs.folder import RunFolder
from tenfold.runs.job import Fitted, Notes, PeakMemory
from tenfold.runs.options import FitOptions
from tenfold.runs.reading import kept_options
from tenfold.runs.record import nan_to_none
from tenfold.schema import Schema
from tenfold.targets.base import TargetStats
from tenfold.targets.labels import standardise
from tenfold.targets.number import half_step
from tenfold.values import Interactions, MemoryPlan, Ratings, Scores, SideFeatures

__all__ = ["RatingNetworkFit"]


class RatingNetworkFit:
    """The training of embeddings of users and items, and a body, to predict ratings within their scale.

    schema: two id columns, the user's first, then columns of categories and numbers of the same table; and a
    rating. Side columns describe users and items as for factor models.
    table: a path, a data frame, a mapping of columns or a `Table`.
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

    def continues(self, recipe: Mapping[str, object]) -> None:
        """Nothing: its defaults are those of earlier versions."""

    def prepare(self, notes: Notes) -> _Prepared:
        """The ratings as rows of arrays, and the network."""
        begin_stage(self.options.on_progress, "reading the ratings")
        return _prepare(self, notes)


@dataclass(frozen=True)
class _Prepared:
    """recipe: with what follows from the table.  examples: the ratings that train, then those held out."""

    job: RatingNetworkFit
    recipe: RatingNetworkRecipe
    ratings: RatingsWork
    table: Table
    target: str
    encoding: Encoding
    examples: Examples
    network: Network

    @cached_property
    def identity(self) -> dict[str, object]:
        """Everything that decides the weights, for JSON; the data by a checksum."""
        digest = hashlib.sha256()
        for name, values in (*self.examples.columns.items(), *self.examples.labels.items()):
            digest.update(name.encode("utf-8", "surrogatepass") + values.tobytes())
        digest.update(self.encoding.model_dump_json().encode("utf-8", "surrogatepass"))
        schema = self.ratings.schema.model_dump(mode="json")
        return {"recipe": self.recipe.identity(), "schema": schema, "data": digest.hexdigest()}

    def train(self, folder: RunFolder, notes: Notes) -> Fitted:
        """Train, score the held-out ratings, and write the network with what is known of its ids."""
        device, options, recipe = self.job.device, self.job.options, self.recipe
        precision = pick_precision(recipe.precision, device)
        rows = len(self.ratings.train.ratings)
        batch = min(recipe.batch_size, rows)
        micro = min(options.machine.micro_batch or batch, batch)
        count = sum(parameter.numel() for parameter in self.network.parameters())
        notes.add([f"{rows} ratings to train on; {count:,} parameters; device {device}, {precision}"])
        trained = fit_network(
            self.network,
            self.encoding,
            self.examples,
            train=np.arange(rows),
            valid=np.arange(rows, self.examples.rows),
            recipe=recipe.network(),
            plan=MemoryPlan(micro, accumulation=-(-batch // micro), workers=0),
            device=device,
            precision=precision,
            folder=folder,
            identity={**self.identity, "precision": precision},
            on_progress=options.on_progress,
        )
        notes.add(trained.notes)
        _place_listed(self.network, self.ratings.train)
        known = self._interactions()
        embeddings = _embeddings(self.network)
        scores: Scores = {}
        held = self.ratings.held_out()
        if held is not None:
            scorer = NetworkScorer(known, self.network, self.encoding, self.ratings.schema, embeddings)
            scorer = scorer.on(str(device))
            cells, messages = scorer.cells(self.table, held)
            evaluation = evaluate(scorer, held, cells)
            scores = evaluation.scores
            notes.add([*messages, *evaluation.notes])
            assert evaluation.predicted is not None
            write_held_out(folder, self.ratings.schema, self.target, held, evaluation.predicted)
        recent = 0.0
        if not self.ratings.schema.columns[2:]:
            rating = NetworkScorer(known, self.network, self.encoding, self.ratings.schema, embeddings)
            lists, messages = fit_lists(rating.on(str(device)), held, seed=recipe.seed)
            notes.add(messages)
            recent = lists.model.recent
            folder.write_arrays(LISTS, *pack_lists(lists))
        if not recent:
            known = replace(known, seen_times=None)
        if held is not None:
            known = replace(known, **held_out_pairs(known, held))
        write_network(folder, self.network, self.encoding, trained, {"body": recipe.body}, indent=None)
        folder.write_arrays(MODEL, *pack_interactions(known, embeddings["user"], embeddings["item"]))
        self.ratings.write_items(folder)
        record = {
            "kind": "pairs",
            "method": "network",
            **self.ratings.record(),
            **recent_record(recent),
            "reading": kept_options(self.job.table, options.reading.table),
            "target": self.target,
            "epochs": len(trained.history),
            "kept_epoch": trained.kept + 1,
            "device": str(device),
            "precision": precision,
            "targets": nan_to_none({self.target: scores}) if scores else {},
        }
        return Fitted(self.ratings.schema, recipe, record, trained.stopped, "a lower --lr")

    def _interactions(self) -> Interactions:
        """Who and what is known, listed items among it, and what was rated."""
        train = self.ratings.train
        words = list(self.encoding.columns.values())[1].words
        counts = np.bincount(train.user_index, minlength=len(train.users))
        return Interactions(
            users=train.users,
            items=np.array(words, object),
            scale=train.scale,
            seen_start=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            seen_items=train.item_index,
            seen_ratings=train.ratings,
            seen_times=train.order,
            item_names=self.ratings.ratings.item_names,
            listed_items=len(words) - len(train.items),
        )


def _prepare(job: RatingNetworkFit, notes: Notes) -> _Prepared:
    if job.recipe.split == "users":
        raise RecipeError(
            "split = 'users' holds out whole users, and a network learns a user in its training only",
            fix="--split random or time; or fit without --body, where new users are folded in",
        )
    table = read_table(job.table, **job.options.reading.table)
    cells_schema = Schema(inputs=job.schema.columns[2:], targets=())
    cells_schema.check_columns(table.known, table.source)
    # It has been read.
    asked, options = job.recipe, replace(job.options, reading=replace(job.options.reading, table={}))
    ratings = prepare_ratings(job.schema, asked.ratings(), table, options, notes, keep_rows=True)
    train = ratings.train
    if not len(train.ratings):
        raise RatingsError("no rating is left to train on", fix="hold out fewer: --valid")
    recipe = with_dot_weight_decay(asked, len(train.users), len(train.items))
    if recipe != asked:
        notes.add([f"weight decay {recipe.weight_decay:g}, by how many ids there are to a batch"])
    low, high = train.scale
    schema = ratings.schema
    target = schema.targets[0].name or "rating"
    items, sides = train.items, dict(ratings.sides)
    listed = ratings.listed_side()
    if listed is not None:
        items, sides["item"] = np.concatenate([items, listed[0]]), listed[1]
        named = ", ".join(listed[1].columns)
        notes.add(
            [f"{len(listed[0])} listed items that nobody has rated are scored by their columns ({named})"]
        )
    own = table.take(_rows(train))
    cells, messages = fit_columns(cells_schema, own, np.arange(own.rows))
    notes.add(messages)
    user, item = (column.name for column in schema.columns[:2])
    columns = {
        user: _id_stats(train.users, sides.get("user")),
        item: _id_stats(items, sides.get("item")),
        **cells,
    }
    values = train.ratings.astype(np.float64)
    stats = _range(recipe, values, low, high)
    stats = standardise({target: stats}, {target: values}, np.arange(len(values)))[target]
    encoding = Encoding(classes={}, targets={target: stats}, columns=columns)
    held = ratings.held_out()
    examples = _examples([train, *([] if held is None else [held])], table, encoding, cells_schema)
    _check_widths(recipe, sides)
    network, messages = build_network(encoding, network_schema(schema, target, train.scale), recipe.network())
    check_monitor(recipe.network(), network.heads, len(ratings.split.valid))
    notes.add(messages)
    if stats.low is not None and stats.high is not None:
        # The last layer's bias where the sigmoid gives the mean rating.
        fraction = (stats.mean - stats.low) / (stats.high - stats.low)
        network.last.bias.data.fill_(float(np.log(fraction / (1 - fraction))))
        ends = f"sigmoid from {stats.low:g} to {stats.high:g}"
        notes.add([f"{target}: answers from {low:g} to {high:g}, {ends}"])
    return _Prepared(job, recipe, ratings, table, target, encoding, examples, network)


def _rows(ratings: Ratings) -> NDArray[np.int64]:
    """The row of the table that each rating stands for."""
    assert ratings.rows is not None
    return ratings.rows


def _examples(parts: Sequence[Ratings], table: Table, encoding: Encoding, cells_schema: Schema) -> Examples:
    """Ratings as rows of arrays, part after part. The users and items of the first part are known.

    Others have code 0, the row of what is unknown, as when the finished run is asked.
    """
    known = parts[0]
    user, item = list(encoding.columns)[:2]
    columns: dict[str, list[Inputs]] = {name: [] for name in encoding.columns}
    for part in parts:
        columns[user].append(locate(part.users, known.users)[part.user_index].astype(np.int64) + 1)
        columns[item].append(locate(part.items, known.items)[part.item_index].astype(np.int64) + 1)
        cells, _ = encode_columns(encoding.columns, cells_schema, table.take(_rows(part)))
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
    """Refuse side columns that make the embeddings of a dot product unequally wide."""
    wide = {role: embedding_width(len(side.names)) for role, side in sides.items()}
    if recipe.body == "dot" and len({wide.get(role, 0) for role in ("user", "item")}) > 1:
        raise RecipeError(
            "body = 'dot' multiplies embeddings of equal width, and side columns widen only one",
            found=", ".join(f"{role}: {len(side.names)} features" for role, side in sides.items()),
            fix="set body = 'mlp', or leave out --side",
        )


def _id_stats(words: NDArray[np.object_], side: SideFeatures | None) -> ColumnStats:
    if side is None:
        return ColumnStats(words=tuple(str(word) for word in words))
    about = tuple(
        tuple(side.feature[side.start[row] : side.start[row + 1]].tolist()) for row in range(len(words))
    )
    return ColumnStats(words=tuple(str(word) for word in words), features=tuple(side.names), about=about)


def _range(recipe: RatingNetworkRecipe, values: NDArray[np.float64], low: float, high: float) -> TargetStats:
    """Where the sigmoid ends: as given, or half a step of the ratings beyond their scale."""
    if recipe.range is not None:
        ends = (min(recipe.range), max(recipe.range))
        if not (ends[0] <= low and high <= ends[1] and ends[0] < ends[1]):
            raise RatingsError(
                f"range {ends[0]:g} to {ends[1]:g} does not hold the scale {low:g} to {high:g}",
                fix="give a wider range, or leave it out",
            )
        return TargetStats(low=ends[0], high=ends[1])
    if not low < high:
        return TargetStats()
    step = half_step(values, low, high)
    return TargetStats(low=low - step, high=high + step)


#: Side -> the weights of its embeddings in a network; row 0 is of the unknown.
_TABLES = {"user": "encoders.column0.table.weight", "item": "encoders.column1.table.weight"}


def _place_listed(network: Network, train: Ratings) -> None:
    """Give an item that nobody has rated, beside its columns, the average of the rated ones."""
    table = network.state_dict()[_TABLES["item"]]  # the very tensor, not a copy
    first = 1 + len(train.items)
    if len(table) > first:
        count = table.new_tensor(np.bincount(train.item_index, minlength=len(train.items)))
        table[first:] = (count / count.sum()) @ table[1:first]


def _embeddings(network: Network) -> dict[str, NDArray[np.float32]]:
    """Side -> embeddings of equal width: zeros fill up the narrower side, which changes no cosine."""
    arrays = network.state_dict()
    sides = {side: np.asarray(to_array(arrays[name]), np.float32)[1:] for side, name in _TABLES.items()}
    width = max(rows.shape[1] for rows in sides.values())
    return {side: np.pad(rows, ((0, 0), (0, width - rows.shape[1]))) for side, rows in sides.items()}
