"""Small pictures of some rows of a run, from the folder of its training; notes on missing ones."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tenfold.data.images.decode import read_thumbnail
from tenfold.data.images.files import find_images, system_name
from tenfold.errors import TenfoldError
from tenfold.runs.reading import read_as_trained
from tenfold.schema import Schema

#: Pixels of the longer side, and the quality of the JPEG files: about 6 KB each.
SIDE, QUALITY = 160, 80


def find_thumbnails(
    schema: Schema,
    about: Mapping[str, object],
    ids: Sequence[str],
    rows: Sequence[int],
    folders: Mapping[str, str],
    *,
    white: float | None = None,
) -> tuple[dict[int, bytes], list[str]]:
    """Row -> the bytes of a small JPEG of its first picture, and messages on those that are missing.

    ids: names of all rows.  rows: indices of some.  folders: image column -> folder, if not the schema's.
    white: of float and 32-bit grey, as the run kept it.
    """
    column = schema.images[0]
    folder = Path(system_name(folders.get(column.name, column.folder)))
    names, notes = _picture_names(schema, about, ids, rows)
    if names is None:
        return {}, notes
    if not folder.is_dir():
        return {}, [*notes, f"The pictures are not in {folder} any more: give --image {column.name}=FOLDER."]
    text = np.array(names, dtype=object)
    try:
        images = find_images(
            text, folder, lines=None, source="the report", column=column.name, allow_outside=False
        )
    except TenfoldError as error:
        return {}, [*notes, f"The pictures cannot be shown: {error.headline}."]
    photos: dict[int, bytes] = {}
    for index, row in enumerate(rows):
        path = images.paths[index] if index not in images.problems else None
        if not path:
            continue
        try:
            photos[row] = read_thumbnail(path, SIDE, white=white, quality=QUALITY)
        except TenfoldError:
            continue
    lost = len(rows) - len(photos)
    return photos, [*notes, *([f"{lost} of {len(rows)} pictures cannot be read any more."] if lost else [])]


def _picture_names(
    schema: Schema, about: Mapping[str, object], ids: Sequence[str], rows: Sequence[int]
) -> tuple[list[str] | None, list[str]]:
    """Return the names of the pictures of these rows: their ids, or cells of the training's table."""
    column = schema.images[0].name
    if schema.row_name == column:
        return [ids[row] for row in rows], []
    known = about.get("table")
    if not isinstance(known, str) or not os.path.isfile(known):
        return None, ["The training's table is not there any more, so the pictures' names are not known."]
    try:
        table = read_as_trained(known, about, {})
        keys = table.row_names(schema.row_name)
        names = dict(zip(map(str, keys), table.text(column), strict=True))
        return [str(names.get(ids[row], "")) for row in rows], []
    except TenfoldError as error:
        return None, [f"The training's table cannot be read: {error.headline}."]
