"""Photos without labels that a training learns from, too, and answers for them by a network that has not seen
the held-out rows.

The answers are soft, of the photos as they are, and the training sees changed views of them: Xie, Luong, Hovy
and Le 2020, "Self-training with Noisy Student improves ImageNet classification" (arXiv 1911.04252).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tenfold.data.encode import Encoding, Examples, JoinedImages, PickedImages, PictureFiles
from tenfold.data.images.files import list_image_folder
from tenfold.data.split.holdout import Split
from tenfold.engine.batches import Preparation
from tenfold.engine.predict import predict_views, prediction_autocast
from tenfold.errors import ImageError, RecipeError, RunError, shortened
from tenfold.networks.inputs import Rows, prepare_rows, read_image_folder
from tenfold.networks.opened import OpenedNetwork
from tenfold.networks.predict import load_network
from tenfold.nn.augment import views_of
from tenfold.nn.heads import Head
from tenfold.nn.network import uses_channels_last
from tenfold.recipe import Recipe
from tenfold.runs.options import Reading
from tenfold.schema import Schema

Number = TypeVar("Number", bound=np.generic)


@dataclass(frozen=True)
class ExtraPhotos:
    """Photos without labels. names: (photos,) paths in their folder.  content: (photos,) of their files."""

    names: NDArray[np.object_]
    images: PictureFiles
    content: NDArray[np.object_]


def check_extra(recipe: Recipe, schema: Schema, time_limit: float | None, reading: Reading) -> None:
    """Refuse extra photos of a schema that cannot learn from them, and a folder without any.

    Raises RecipeError, or ImageError as `list_image_folder` does.
    """
    if not recipe.extra:
        return
    if len(schema.images) != 1 or schema.columns:
        raise RecipeError(
            "extra photos are for trainings whose only input is one picture",
            found=schema.described,
            fix="leave --extra out",
        )
    if time_limit is not None:
        raise RecipeError(
            "a limit of time plans one training, and with --extra there are two",
            fix="give --epochs instead of --time-limit",
        )
    list_image_folder(Path(recipe.extra), allow_outside=reading.allow_outside)


def read_extra(
    recipe: Recipe, schema: Schema, encoding: Encoding, reading: Reading, rows: Rows, split: Split
) -> tuple[ExtraPhotos | None, list[str]]:
    """The photos of the recipe's folder that are not in the table, each once; and what was left out.

    rows: of the table, and the encoding that is fitted to them.
    Raises ImageError where no photo is left, and for broken ones as `prepare_rows` does.
    """
    if not recipe.extra:
        return None, []
    (column,), folder = schema.images, recipe.extra
    table = read_image_folder(folder, labels=False, allow_outside=reading.allow_outside, name=column.name)
    own = Schema(inputs=(column.model_copy(update={"folder": folder}),), targets=schema.targets)
    found = prepare_rows(table, own, encoding, replace(reading, folders={column.name: folder}), targets=False)
    names, (photos,), (known,) = table.text(column.name), found.caches, rows.caches
    marks, others = photos.pictures(known.sizes()), known.pictures(photos.sizes())
    usable = np.array([row not in found.bad for row in range(len(names))])
    inside = usable & np.isin(marks, others[others != ""])
    _, first = np.unique(marks, return_index=True)
    once = np.zeros(len(names), dtype=bool)
    once[first] = True
    repeated = usable & ~inside & ~once
    kept = np.flatnonzero(usable & ~inside & once)
    notes = [f"{folder}: {note}" for note in found.notes]
    if inside.any():
        held = int((usable & np.isin(marks, others[split.valid])).sum())
        notes.append(
            f"{int(inside.sum())} of {len(names)} extra photos are in the table, too ({held} in held-out "
            f"rows), and are left out: {shortened([*map(str, names[inside])])}"
        )
    if repeated.any():
        notes.append(
            f"{int(repeated.sum())} extra photos repeat another one, and are left out: "
            f"{shortened([*map(str, names[repeated])])}"
        )
    if not len(kept):
        raise ImageError(
            f"no photo of {folder} is left to learn from",
            found=f"{int(inside.sum())} of {len(names)} are in the table, too",
            fix="give a folder with other photos, or leave --extra out",
        )
    notes.append(f"{len(kept)} extra photos without labels are learned from, too")
    content = np.asarray(found.contents[0], dtype=object)
    return ExtraPhotos(names[kept], PickedImages(photos, kept), content[kept]), notes


def with_extra(
    examples: Examples, extra: ExtraPhotos, train: NDArray[np.int64]
) -> tuple[Examples, NDArray[np.int64]]:
    """The rows with extra photos behind them, whose labels are unknown; and the numbers of these.

    train: rows to train on: an extra photo counts as much as they do on average.
    """
    count, more = examples.rows, len(extra.names)

    def longer(arrays: Mapping[str, NDArray[Number]]) -> dict[str, NDArray[Number]]:
        return {
            name: np.concatenate([array, np.zeros((more, *array.shape[1:]), array.dtype)])
            for name, array in arrays.items()
        }

    importance = examples.importance
    if importance is not None:
        importance = np.concatenate([importance, np.full(more, importance[train].mean())])
    joined = Examples(
        np.concatenate([examples.ids, extra.names]),
        (JoinedImages(examples.images[0], extra.images, count),),
        longer(examples.labels),
        longer(examples.weights),
        importance=importance,
    )
    return joined, np.arange(count, count + more)


@dataclass(frozen=True)
class ExtraAnswers:
    """What extra photos learn, as `engine.batches.KnownAnswers`.

    answers: target -> (photos, answers) float64.  counts: target -> what a photo counts.
    first: number of the first photo's row.
    """

    heads: Sequence[Head]
    answers: Mapping[str, NDArray[np.float64]]
    counts: Mapping[str, float]
    first: int

    def label_sets(
        self, index: NDArray[np.int64]
    ) -> dict[str, list[tuple[NDArray[np.generic], NDArray[np.float64]]]]:
        """See `engine.batches.KnownAnswers`."""
        extra = index >= self.first
        places = np.where(extra, index - self.first, 0)
        sets = {}
        for head in self.heads:
            own = head.soft_labels(torch.from_numpy(self.answers[head.name][places]))
            counted = extra * self.counts[head.name]
            sets[head.name] = [
                (labels.numpy(), shares.numpy() * counted.reshape(-1, *[1] * (shares.ndim - 1)))
                for labels, shares in own
            ]
        return sets


def answer_extra(
    run: OpenedNetwork,
    examples: Examples,
    extra: NDArray[np.int64],
    heads: Sequence[Head],
    *,
    train: NDArray[np.int64],
    device: torch.device,
    precision: str,
) -> ExtraAnswers:
    """A run's answers for extra photos, by all of its views, without what was fitted to its held-out rows:
    temperatures, and how much a row is unlike those of training.

    examples, extra: as `with_extra` returns them.  heads: of the network that learns them.
    Raises RunError where the run knows other classes.
    """
    network = load_network(run).to(device)
    preparation = Preparation(
        run.encoding, device, next(network.parameters()).dtype, channels_last=uses_channels_last(network)
    )
    for head in heads:
        if run.encoding.classes.get(head.name, ()) != head.classes:
            raise RunError(
                f"{run.path} knows other classes of {head.name}", fix="train anew, without --resume"
            )
    network.heads, network.familiar = tuple(heads), nn.ModuleDict()
    answers, _ = predict_views(
        network,
        examples,
        extra,
        preparation,
        views=views_of(run.recipe),
        autocast=prediction_autocast(precision, device),
    )
    counts = {}
    for head in heads:
        weights = examples.weights[head.name][train]
        counts[head.name] = float(weights[weights > 0].mean())
    return ExtraAnswers(heads, answers, counts, int(extra[0]))
