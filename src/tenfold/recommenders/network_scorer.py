"""Pairs of users and items scored by a network: embeddings, further columns, a body."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tenfold.collab.predict import Best, Cells, RuledOut
from tenfold.data.encode import Encoding, Examples, encode_columns
from tenfold.data.tables.table import Table
from tenfold.engine.batches import Preparation
from tenfold.engine.device import Device, one_thread, pick_device
from tenfold.engine.predict import predict_views
from tenfold.networks.predict import load_weights
from tenfold.nn.network import Network, build_network
from tenfold.recipe import RatingNetworkRecipe
from tenfold.runs.folder import read_arrays
from tenfold.runs.record import RunRecord
from tenfold.schema import NumberTarget, Schema
from tenfold.values import Interactions, Ratings

__all__ = ["NetworkScorer", "network_schema", "open_network", "single_thread_on_cpu"]

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class NetworkScorer:
    """Scores of a network, on a single thread of a CPU or on a GPU.

    schema: of the ratings, with the user's and the item's column first.
    embeddings: side -> vectors to compare by cosine.
    An unknown user or item has the row that training kept for them.
    """

    interactions: Interactions
    network: Network
    encoding: Encoding
    schema: Schema
    embeddings: dict[str, NDArray[np.float32]]
    device: str = "auto"
    reasons: None = field(default=None, init=False)
    fold_in: None = field(default=None, init=False)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the table of ratings beside the user's and the item's."""
        return tuple(str(column.name) for column in self.schema.columns[2:])

    def on(self, device: str) -> NetworkScorer:
        """The scorer on a device."""
        return replace(self, device=device)

    def cells(self, table: Table, ratings: Ratings | None = None) -> tuple[Cells, list[str]]:
        """The cells of further columns, encoded, and messages about them."""
        if not self.columns:
            return {}, []
        if ratings is not None:
            assert ratings.rows is not None
            table = table.take(ratings.rows)
        schema = Schema(inputs=self.schema.columns[2:], targets=())
        schema.check_columns(table.known, table.source)
        return encode_columns(self.encoding.columns, schema, table)

    def scores(
        self, users: Ints, items: Ints, cells: Cells
    ) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """(pairs,) ratings; a network knows no deviation of them."""
        device = pick_device(self.device)
        self.network.to(device)
        examples, preparation = self.inputs(users, items, cells, device)
        with single_thread_on_cpu(device):
            answers = predict_views(self.network, examples, np.arange(len(users)), preparation)[0]
        return next(iter(answers.values()))[:, 0], np.full(len(users), np.nan, np.float32)

    means = scores

    def inputs(self, users: Ints, items: Ints, cells: Cells, device: Device) -> tuple[Examples, Preparation]:
        """Pairs as the network takes them, on a device."""
        names = [column.name for column in self.schema.columns[:2]]
        columns = {names[0]: users + 1, names[1]: items + 1, **cells}
        dtype = next(self.network.parameters()).dtype
        examples = Examples(np.full(len(users), "", object), (), {}, {}, columns)
        return examples, Preparation(self.encoding, device, dtype, channels_last=False)

    def best(
        self, users: Ints, allowed: NDArray[np.bool_], n: int, out: RuledOut, threads: int | None
    ) -> Best:
        """The n items of highest score, user after user; of equal scores the first item."""
        parts = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))]
        for row, user in enumerate(users):
            allowed_here = allowed.copy()
            allowed_here[out(slice(row, row + 1))[1]] = False
            items = np.flatnonzero(allowed_here)
            score, _ = self.scores(np.full(len(items), user), items, {})
            best = np.lexsort((items, -score))[:n]
            parts.append((np.full(len(best), row), items[best], score[best]))
        row, item, score = (np.concatenate(part) for part in zip(*parts, strict=True))
        return Best(row, item, score.astype(np.float32), np.full(len(row), np.nan, np.float32))

    def vectors(self, side: str) -> NDArray[np.float32]:
        """Embeddings."""
        return self.embeddings[side]


def open_network(
    path: Path, schema: Schema, record: RunRecord, recipe: RatingNetworkRecipe, encoding: Encoding
) -> Network:
    """The network in a run's folder, on the CPU. Raises RunError where its weights do not fit."""
    network, _ = build_network(
        encoding, network_schema(schema, record.target, record.scale), recipe.network()
    )
    arrays, _ = read_arrays(path / "weights.safetensors")
    if any(value.dtype == np.float64 for value in arrays.values()):
        network.double()
    load_weights(network, arrays, path, f"the body {recipe.body!r}", record.versions)
    return network


def network_schema(schema: Schema, target: str, scale: tuple[float, float]) -> Schema:
    """What the network sees of a schema of ratings: the same inputs, and a number in its scale."""
    low, high = scale if scale[0] < scale[1] else (None, None)
    return Schema(inputs=schema.columns, targets=(NumberTarget(name=target, low=low, high=high),))


@contextmanager
def single_thread_on_cpu(device: Device) -> Iterator[None]:
    """A single thread on a CPU: the layers are too small for two."""
    with one_thread() if device.type == "cpu" else nullcontext():
        yield
