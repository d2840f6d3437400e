"""Options of a training and of a finished run: how to read, where to compute, which views."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypedDict

from tenfold.data.split.holdout import Split
from tenfold.errors import RecipeError
from tenfold.events import Listener
from tenfold.values import MAX_PIXELS, Log, Sharding

#: Splits rows: called as `data.split.holdout` is, less fraction and seed.
SplitRule = Callable[..., Split]


@dataclass(frozen=True)
class Reading:
    """How tables and pictures are read. These options may change what is refused, never an answer.

    skip_bad: leave out rows whose picture, number, id or rating cannot be used, instead of stopping.
    folders: image column -> folder, instead of the schema's.
    table: options of `read_table` (separator, encoding, header, missing_values).
    workers: threads that decode.  cache: folder of the resized-image cache.
    on_progress: called with each decoded image (`ImagesRead`).
    asked: the rows are a few that a person waits for: they go through a network as they are, where rows of a
        table go in batches of one size, so that none depends on how many there are.
    """

    skip_bad: bool = False
    allow_outside: bool = False
    folders: Mapping[str, str] = field(default_factory=dict)
    table: Mapping[str, Any] = field(default_factory=dict)
    max_pixels: int = MAX_PIXELS
    workers: int = 2
    cache: str | None = None
    on_progress: Listener | None = None
    asked: bool = False

    def __post_init__(self) -> None:
        _refuse_below("workers", self.workers, 0)
        _refuse_below("max_pixels", self.max_pixels, 1)


def _refuse_below(name: str, value: int, least: int) -> None:
    if value < least:
        raise RecipeError(f"{name} = {value}", fix=f"give {least} or more")


@dataclass(frozen=True)
class Machine:
    """How this machine is used. May change time, never the answer.

    device: ``auto``, ``cpu``, ``cuda``, ...  micro_batch: rows at once; planned where None.
    budget: memory for the process: a size such as ``16GiB``, a card's name, or ``auto``. By default a GPU's
        free memory is planned for, and a CPU takes up to 32 rows at once.
    checkpoint: recompute activations in the backward pass.
    offload: keep the optimizer's state and averaged weights in the host's memory between updates of a GPU.
    probe: take two steps of the largest batch first, and report their memory beside the prediction.
    shard: of several devices that share a training, each keeps only a part of the optimizer's state and of
        the averaged weights.  shard_weights: and of weights and gradients.
    """

    device: str = "auto"
    micro_batch: int | None = None
    budget: str | None = None
    checkpoint: bool = False
    probe: bool = False
    shard: bool = False
    shard_weights: bool = False
    offload: bool = False

    def __post_init__(self) -> None:
        if self.micro_batch is not None:
            _refuse_below("micro_batch", self.micro_batch, 1)

    @property
    def sharding(self) -> Sharding:
        """What each of several devices keeps only a part of."""
        return Sharding.WEIGHTS if self.shard_weights else Sharding(self.shard)


@dataclass(frozen=True)
class PredictOptions:
    """Options of `Run.predict` and `Run.evaluate`. Each kind of run takes some of these.

    reading: how to read the rows.  device: where to compute.
    views, tta, plain_weight: views of a picture (test-time augmentation); None for those of the recipe.
    members: also the answers of each member, as targets called ``target@member``.
    id: the column that names a row, instead of that of the training.
    unknown: ``fallback`` or ``raise``, for unknown users and items.  ranking: scores that rank only.
    n: also score lists of this many items.  rank_by: their order.
    relevant_from: rating from which a test item counts as liked.
    candidates: the items that lists are made of: ids, or a table of items, or of users and their items.
    negatives: make the lists of so many items drawn at random, and the test items.
    fold_in: fraction of each new user's ratings to learn before the others are looked for.
    log: called with every message.
    """

    reading: Reading = Reading()
    device: str = "auto"
    views: int | None = None
    tta: int | None = None
    plain_weight: float | None = None
    members: bool = False
    id: str | None = None
    unknown: str = "fallback"
    ranking: bool = False
    n: int | None = None
    relevant_from: float | None = None
    rank_by: str | None = None
    candidates: object = None
    negatives: int | None = None
    fold_in: float | None = None
    log: Log | None = None


#: The options of the run's own recipe and table.
AS_TRAINED = PredictOptions()


class PredictChanges(TypedDict, total=False):
    """The fields of `PredictOptions` as keywords, and three fields of its reading.

    image: folders of the pictures, by column, or the folder alone where there is one column of them.
    """

    reading: Reading | None
    image: str | os.PathLike[str] | Mapping[str, str] | None
    table_options: Mapping[str, object] | None
    skip_bad: bool
    device: str
    views: int | None
    tta: int | None
    plain_weight: float | None
    members: bool
    id: str | None
    unknown: str
    ranking: bool
    n: int | None
    relevant_from: float | None
    rank_by: str | None
    candidates: object
    negatives: int | None
    fold_in: float | None
    on_note: Log | None


class FitChanges(TypedDict, total=False):
    """How to read and compute, as keywords of `fit`."""

    reading: Reading | None
    table_options: Mapping[str, object] | None
    skip_bad: bool | None
    time_format: str | None
    machine: Machine | None


@dataclass(frozen=True)
class ExplainOptions:
    """Options of `Run.explain`.

    table: that holds the rows, if not the training's.  items: of a recommender.
    n: most rows, or users and items.  reading, device: as in `PredictOptions`.
    """

    table: object = None
    items: Sequence[str] = ()
    n: int = 12
    reading: Reading = Reading()
    device: str = "auto"


@dataclass(frozen=True)
class ExportOptions:
    """Options of `Run.export`.

    table: rows to check the graph on, instead of the run's held-out ones.  n: how many, at most.
    reading: how to read them.
    resize: the graph takes pictures of any size; otherwise at the size of the network's.
    views, tta: as in `PredictOptions`.
    """

    table: object = None
    n: int = 32
    reading: Reading = Reading()
    resize: bool = True
    views: int | None = None
    tta: int | None = None

    def __post_init__(self) -> None:
        _refuse_below("n", self.n, 1)


class ExportChanges(TypedDict, total=False):
    """The fields of `ExportOptions` as keywords."""

    table: object
    n: int
    reading: Reading
    resize: bool
    views: int | None
    tta: int | None


#: A graph of all that the run does, checked on its held-out rows.
WHOLE_GRAPH = ExportOptions()
#: Rows that the run chooses.
SOME_ROWS = ExplainOptions()


@dataclass(frozen=True)
class FitOptions:
    """Options of a training beside schema, recipe and table.

    reading: how to read.  machine: how to use this machine.  time_format: of the times of ratings.
    time_limit: seconds from now in which a network's training ends: epochs and a size of pictures that the
        recipe does not give are planned by measured steps, and no epoch begins that would end too late.
    split_rule: for networks: splits the rows instead of the recipe.
    on_progress: called with steps and epochs.
    """

    reading: Reading = Reading()
    machine: Machine = Machine()
    time_format: str | None = None
    time_limit: float | None = None
    split_rule: SplitRule | None = None
    on_progress: Listener | None = None


def parse_seconds(text: str | float) -> float:
    """``"90"``, ``"90s"``, ``"20min"``, ``"1.5h"``, ``"1h30min"`` or a number of seconds -> seconds.

    Raises RecipeError for anything else.
    """
    parts = re.fullmatch(
        r"(?:([\d.]+)h)?(?:([\d.]+)m(?:in)?)?(?:([\d.]+)s?)?", str(text).strip().replace(" ", "")
    )
    with suppress(ValueError):
        if parts is not None:
            hours, minutes, seconds = (float(part or 0) for part in parts.groups())
            total = 3600 * hours + 60 * minutes + seconds
            if 0 < total < math.inf:
                return total
    raise RecipeError(
        f"a limit of {text!r} is not a time", fix="write 90s, 20min, 1.5h or a number of seconds"
    )
