"""A photo, several, or a row as they are typed or held in memory, as a table."""

from __future__ import annotations

import os
import tempfile
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath

import numpy as np

from tenfold.data.images.decode import picture_bytes
from tenfold.data.images.files import ENDINGS, recognise
from tenfold.data.tables.table import Table, read_table
from tenfold.errors import ImageError, SchemaError
from tenfold.runs.options import Reading
from tenfold.schema import Schema

#: What `recognise` needs of a file.
HEAD_BYTES = 256
#: Folders of pictures from memory, one a question; the oldest is removed for a new one.
_HELD: deque[tempfile.TemporaryDirectory[str]] = deque(maxlen=16)


def asked_rows(source: object, schema: Schema, reading: Reading) -> tuple[Table, Reading] | None:
    """What a person asks about, as a table: a photo's file, a picture in memory (Pillow's, or height x width
    x 3 uint8), a row (column -> value), or a list of any of these. None for what is a table or a folder.

    A path of a picture is taken from the current folder, as it was typed.
    Raises SchemaError where a photo alone is not all that the run needs, ImageError where one is missing.
    """
    rows: Sequence[object]
    if isinstance(source, Mapping):
        if not source or any(_is_column(value) for value in source.values()):
            return None
        rows = [source]
    elif is_photo(source):
        rows = [source]
    elif isinstance(source, list | tuple) and source:
        rows = source
    else:
        return None
    if all(isinstance(row, Mapping) for row in rows):
        return _cells([dict(row) for row in rows if isinstance(row, Mapping)], schema, reading)
    if not all(is_photo(row, any_path=True) for row in rows):
        return None
    needed = [column.name for column in (*schema.images, *schema.columns)]
    if len(needed) != 1 or not schema.images:
        raise SchemaError(
            "a photo alone is not all that this run needs",
            found=f"its inputs are {', '.join(needed)}",
            fix="give a row: {" + ", ".join(f"{name!r}: ..." for name in needed) + "}",
        )
    for row in rows:
        if isinstance(row, str | os.PathLike) and not os.path.isfile(row):
            raise ImageError(
                f"there is no picture {os.fspath(row)!r}",
                found=f"searched from {Path.cwd()}",
                fix="check the name, or give its whole path",
            )
    return _cells([{needed[0]: row} for row in rows], schema, reading)


def _is_column(value: object) -> bool:
    """Whether it holds the cells of many rows, and not of one."""
    if isinstance(value, str | bytes | os.PathLike) or _is_picture(value):
        return False
    return hasattr(value, "__len__") or hasattr(value, "__iter__")


def _is_picture(value: object) -> bool:
    if isinstance(value, np.ndarray):
        return value.ndim == 3 and value.dtype == np.uint8 and value.shape[2] in (1, 3, 4)
    return all(hasattr(value, name) for name in ("getexif", "convert", "save"))


def is_photo(value: object, *, any_path: bool = False) -> bool:
    """Whether it is a picture. any_path: a path counts as one, since a list of paths cannot be a table."""
    if not isinstance(value, str | os.PathLike):
        return _is_picture(value)
    if any_path:
        return True
    path = Path(value)
    named = path.suffix.lower() in ENDINGS
    try:
        if not path.is_file():  # a pipe would wait for its writer
            return named and not path.exists()
        with open(path, "rb") as file:
            return named or bool(recognise(file.read(HEAD_BYTES)))
    except (OSError, ValueError):
        return named


def _cells(rows: list[dict[str, object]], schema: Schema, reading: Reading) -> tuple[Table, Reading]:
    """The rows as a table, and a reading that finds their pictures."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns: dict[str, list[object]] = {name: [row.get(name) for row in rows] for name in names}
    folders = dict(reading.folders)
    own = schema.id
    for column in schema.images:
        given = columns.get(column.name)
        if given is None:
            continue
        if own is not None and own not in columns:
            columns[own] = [str(cell) if isinstance(cell, str | os.PathLike) else f"picture {number}"
                            for number, cell in enumerate(given, start=1)]  # fmt: skip
        held = _held_folder() if any(map(_is_picture, given)) else None
        paths = [_path(cell, held, number) for number, cell in enumerate(given)]
        there = [path for path in paths if path is not None]
        if len(there) == len(paths):
            root = Path(os.path.commonpath([path.parent for path in there]))
            columns[column.name] = [PurePath(path.relative_to(root)).as_posix() for path in there]
            folders[column.name] = str(root)
    if own is not None and own not in columns:
        columns[own] = [str(number) for number in range(1, len(rows) + 1)]
    table = replace(read_table(columns), source="the given rows")
    return table, replace(reading, folders=folders, allow_outside=True, asked=True)


def _held_folder() -> Path:
    """A folder for the pictures from memory of one question, which outlives the answer."""
    if len(_HELD) == _HELD.maxlen:
        _HELD.popleft().cleanup()
    _HELD.append(tempfile.TemporaryDirectory(prefix="tenfold-"))
    return Path(_HELD[-1].name)


def _path(cell: object, held: Path | None, number: int) -> Path | None:
    """The file of a picture, absolute; None where there is none of this name. held: for one from memory."""
    if isinstance(cell, str | os.PathLike):
        path = Path(os.path.abspath(cell))
        return path if path.is_file() else None
    if cell is None or held is None:
        return None
    path = held / f"picture-{number}.png"
    path.write_bytes(picture_bytes(cell))
    return path
