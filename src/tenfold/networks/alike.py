"""Training photos by how alike they are to a photo: by the features that the last layer sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tenfold.data.encode import encode
from tenfold.data.images.decode import read_thumbnail
from tenfold.data.images.files import system_name
from tenfold.engine.batches import Preparation
from tenfold.engine.device import pick_device, pick_precision
from tenfold.engine.features import kept_features
from tenfold.engine.predict import prediction_autocast
from tenfold.errors import RunError
from tenfold.networks.inputs import Rows, cache_folder, find_pictures, prepare_rows, read_source
from tenfold.networks.opened import OpenedNetwork
from tenfold.networks.predict import kept_network
from tenfold.networks.rows import rows_source
from tenfold.nn.network import uses_channels_last
from tenfold.runs.options import Reading

#: Pixels of the longer side of the photos that are shown.
SIDE = 240


@dataclass(frozen=True)
class Alike:
    """A training photo. cosine: of its features with those that were asked for.  labels: target -> label.
    picture: a small JPEG."""

    id: str
    cosine: float
    labels: Mapping[str, str]
    picture: bytes


@dataclass(frozen=True, eq=False)
class Gallery:
    """The photos of a training.

    run: the network.  ids: (photos,) names of rows.  files: (photos,) their files.
    features: (photos, width) of length 1.  labels: target -> (photos,) text.
    """

    run: OpenedNetwork
    device: str
    ids: NDArray[np.object_]
    files: list[Path]
    features: NDArray[np.float32]
    labels: Mapping[str, NDArray[np.object_]]

    def alike(self, source: object, n: int, reading: Reading) -> list[Alike]:
        """The n photos most alike to a photo, the most alike first; source: as of `Run.predict`."""
        table, reading = read_source(source, self.run.schema, reading, self.run.record)
        rows = prepare_rows(table, self.run.schema, self.run.encoding, reading, targets=False)
        cosines = self.features @ _features(self.run, rows, self.device, None, at_once=1)[0]
        return [
            Alike(
                str(self.ids[photo]),
                float(cosines[photo]),
                {name: str(words[photo]) for name, words in self.labels.items()},
                read_thumbnail(self.files[photo], SIDE, white=rows.white[0], quality=80),
            )
            for photo in np.argsort(-cosines, kind="stable")[:n].tolist()
        ]


def build_gallery(run: OpenedNetwork, device: str = "auto") -> Gallery:
    """The photos that a run was trained with, and held out. Features are kept in the cache.

    Raises RunError where the run does not read single pictures, or where its photos are not there any more.
    """
    if len(run.schema.images) != 1 or run.schema.columns:
        raise RunError(f"{run.path} does not read single photos", fix="leave out --alike")
    table, reading, _ = rows_source(
        run, "validation.parquet", run.encoding.classes, None, Reading(skip_bad=True)
    )
    reading = replace(reading, skip_bad=True)
    rows = prepare_rows(table, run.schema, run.encoding, reading, targets=False)
    [column] = run.schema.images
    folder = Path(system_name(reading.folders.get(column.name, column.folder)))
    files = find_pictures(table, column, folder, reading).paths
    good = [row for row in range(len(rows.ids)) if row not in rows.bad and files[row] is not None]
    if not good:
        raise RunError(f"the photos of {run.path} are not there any more", fix="leave out --alike")
    return Gallery(
        run,
        device,
        rows.ids[good],
        [path for row in good if (path := files[row]) is not None],
        _features(run, rows, device, good),
        {
            target.name: table.text(target.name, ids=False)[good]
            for target in run.schema.answers
            if target.name in table.names
        },
    )


def _features(
    run: OpenedNetwork, rows: Rows, device: str, good: list[int] | None, *, at_once: int | None = None
) -> NDArray[np.float32]:
    """Features of length 1. good: of these rows alone."""
    where = pick_device(device)
    network = kept_network(run, where, few=True)
    examples, _ = encode(run.encoding, run.schema, rows.table, rows.caches, ids=rows.ids, targets=False)
    dtype = next(network.parameters()).dtype
    features = kept_features(
        cache_folder(Reading()) if at_once is None else None,
        network,
        examples,
        np.arange(len(rows.ids)) if good is None else np.array(good),
        Preparation(run.encoding, where, dtype, channels_last=uses_channels_last(network)),
        autocast=prediction_autocast(
            run.record.precision or pick_precision(run.recipe.precision, where), where
        ),
        at_once=at_once,
    )
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return (features / np.where(length > 0, length, 1)).astype(np.float32)
