"""From a table, a data frame or a folder to rows with checked pictures."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial, reduce
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tenfold.data.encode import Encoding, PictureFiles
from tenfold.data.images.cache import ImageCache, build_image_cache
from tenfold.data.images.deepgrey import UNTRAINED
from tenfold.data.images.files import FoundImages, find_images, list_image_folder, system_name
from tenfold.data.images.store import find_cache_folder
from tenfold.data.tables.table import Table, read_table
from tenfold.errors import ImageError, SchemaError, did_you_mean, listed
from tenfold.events import ImagesRead
from tenfold.networks.asked import asked_rows
from tenfold.runs.options import Reading
from tenfold.runs.reading import read_as_trained
from tenfold.runs.record import RunRecord
from tenfold.schema import CategoryTarget, ImageColumn, NumberColumn, Schema
from tenfold.targets.kinds import kind_of
from tenfold.values import id_text

#: Names of the columns of a table made from a folder.
FOLDER_IMAGE, FOLDER_LABEL = "image", "label"
#: The remedy for pictures that cannot be used.
#: Pictures that a person asks about and that are held in memory instead of the cache on disk.
HELD_ROWS = 64
SKIP = "mend these rows, or leave them out with --skip-bad"


@dataclass(frozen=True)
class Rows:
    """A table and its pictures.

    table: all rows, also those that are bad.  ids: (rows,) the text that names each row.
    caches: one reader per image column, in the schema's order.  white: see `Encoding.white`.
    bad: row -> why it cannot be used.
    contents: per image column, (rows,) what identifies a row's file of a picture.
    id_name: the column that names the rows, if one does.
    """

    table: Table
    ids: NDArray[np.object_]
    caches: tuple[PictureFiles, ...]
    white: tuple[float | None, ...]
    bad: Mapping[int, str]
    contents: tuple[NDArray[np.object_], ...]
    notes: tuple[str, ...]
    numbered: bool = False
    id_name: str | None = None

    @property
    def content(self) -> NDArray[np.object_]:
        """(rows,) the identity of all pictures of a row together."""
        return reduce(np.add, self.contents, np.full(len(self.ids), "", dtype=object))


def folder_schema(folder: str) -> Schema:
    """The schema of a folder whose sub-folders name the classes."""
    return Schema(
        inputs=(ImageColumn(name=FOLDER_IMAGE, folder=folder),), targets=(CategoryTarget(name=FOLDER_LABEL),)
    )


def read_image_folder(
    folder: str | os.PathLike[str], *, labels: bool, allow_outside: bool = False, name: str = FOLDER_IMAGE
) -> Table:
    """A folder of pictures as a table of two columns, `image` and `label`, or of `image` alone.

    labels: the sub-folders name the classes; a picture outside any is refused.
    allow_outside: follow links that lead out of the folder.  name: of the column of pictures.
    """
    ids, _, classes = list_image_folder(Path(folder), allow_outside=allow_outside)
    columns = {name: list(ids)}
    if labels:
        if classes is None or any(not name for name in classes):
            loose = [name for name in map(str, ids) if "/" not in name][:3]
            raise ImageError(
                f"{folder}: every picture must lie in a sub-folder that names its class",
                found=", ".join(loose),
                fix="move them into sub-folders, or give a table and --image COLUMN=FOLDER",
            )
        columns[FOLDER_LABEL] = list(classes)
    # Messages speak of the folder, not of columns that nobody gave.
    return replace(read_table(columns), source=str(folder), path=str(folder))


def read_source(
    source: object, schema: Schema, reading: Reading, trained: RunRecord | None = None
) -> tuple[Table, Reading]:
    """A table from a path, a data frame, a mapping, a `Table`, or a folder of pictures.

    A folder stands for its pictures, with their paths in it as ids; it replaces the folder of the only image
    column. A finished run is also asked about a photo or a row, see `asked_rows`.
    trained: the record of a finished run; the table is read as its own was.
    """
    if trained is not None and (asked := asked_rows(source, schema, reading)) is not None:
        return asked
    if isinstance(source, Table) and trained is None:
        return read_table(source, **reading.table), reading
    # os.path.isdir is false for a name that the system refuses; read_table then says what it is.
    if isinstance(source, (str, os.PathLike)) and os.path.isdir(source):
        if len(schema.images) != 1:
            raise SchemaError(
                f"{source} is a folder, but this run has {len(schema.images)} image columns",
                fix="give a table with these columns",
            )
        name = schema.images[0].name
        outside = reading.allow_outside
        table = read_image_folder(source, labels=False, name=name, allow_outside=outside)
        has_labels = any(target.name == FOLDER_LABEL for target in schema.targets)
        if has_labels and any("/" in str(path) for path in table.text(name)):
            try:
                table = read_image_folder(source, labels=True, name=name, allow_outside=outside)
            except ImageError:
                pass  # a plain folder with sub-folders: there is simply nothing to compare with
        return table, replace(reading, folders={**reading.folders, name: str(source)})
    wanted = [column.name for column in schema.inputs]
    read = partial(read_table, source) if trained is None else partial(_as_trained, source, trained, wanted)
    table = read(**reading.table)
    if reading.table.get("header") is None and not table.header and _begins_with_names(table, wanted):
        table = read(**{**reading.table, "header": True})
    return table, reading


def _as_trained(source: object, trained: RunRecord, wanted: Sequence[str], **options: object) -> Table:
    return read_as_trained(source, trained.values, options, wanted)


def open_source(schema: Schema, source: object, reading: Reading) -> tuple[Table, Reading]:
    """As `read_source`; a table without the columns of a schema, or without its pictures, is refused."""
    schema.check_uses()
    table, reading = read_source(source, schema, reading)
    schema.check_columns(table.known, table.source)
    check_pictures(table, schema, reading)
    return table, reading


def cache_folder(reading: Reading) -> Path | None:
    """The folder of caches; None where this user has none."""
    try:
        return Path(reading.cache) if reading.cache else find_cache_folder()
    except OSError:
        return None


def _begins_with_names(table: Table, wanted: Sequence[str]) -> bool:
    """Whether the first row's cells are the columns that are asked for, as in a table of words alone."""
    first = {id_text(table.take([0]).text(name, ids=False)[0]) for name in table.names}
    return bool(wanted) and {id_text(name) for name in wanted} <= first and not set(wanted) & set(table.names)


def prepare_rows(
    table: Table, schema: Schema, encoding: Encoding, reading: Reading, *, targets: bool
) -> Rows:
    """Find every picture of a table, and fill the cache, which decodes and so checks each of them.

    table, reading: as `read_source` has returned them.
    targets: the target columns must be there too.
    Raises ImageError that names up to ten bad pictures with line and reason, and TableError that names cells
    of number columns that are not numbers, unless they are skipped.
    """
    strange = [name for name in reading.folders if name not in {column.name for column in schema.images}]
    if strange:
        raise SchemaError(
            f"there is no image column {strange[0]!r} to take from {reading.folders[strange[0]]!r}",
            fix=did_you_mean(strange[0], [column.name for column in schema.images]),
        )
    schema.check_columns(table.known, table.source, targets=targets)
    name = schema.row_name
    ids = table.row_names(name)
    table, bad = _check_numbers(table, schema, skip_bad=reading.skip_bad, targets=targets)
    caches: list[ImageCache] = []
    notes = list(table.notes)
    contents: list[NDArray[np.object_]] = []
    for position, column in enumerate(schema.images):
        files = picture_files(table, column, reading)
        notes += files.notes
        cache, problems, said = build_image_cache(
            files.paths,
            size=encoding.image_size,
            resize=encoding.resize,
            interpolation=encoding.interpolation,
            workers=reading.workers,
            max_pixels=reading.max_pixels,
            cache_dir=Path(reading.cache) if reading.cache else None,
            names=[str(name) for name in table.text(column.name)],
            # Decided once, by a training: pictures of a prediction do not decide for each other.
            white=(encoding.white[position] or UNTRAINED) if encoding.white else None,
            on_progress=_teller(reading, column.name),
            hold=reading.asked and table.rows <= HELD_ROWS,
        )
        problems = {**files.locate(problems), **files.problems}
        if problems and not reading.skip_bad:
            raise files.error(problems, fix=SKIP)
        bad |= {row: reason for row, reason in problems.items() if row not in bad}
        notes += said
        contents.append(np.asarray(cache.content, dtype=object))
        caches.append(cache)
    if bad:
        notes.append(f"{len(bad)} of {table.rows} rows left out, which cannot be used")
        notes += listed([reason for _, reason in sorted(bad.items())])
    white = tuple(cache.white for cache in caches)
    numbered = name is None and not table.indexed
    return Rows(table, ids, tuple(caches), white, bad, tuple(contents), tuple(notes), numbered, name)


def check_pictures(table: Table, schema: Schema, reading: Reading) -> None:
    """Refuse a missing folder, or a folder without any of a column's pictures. Raises ImageError."""
    for column in schema.images:
        picture_files(table, column, reading)


def find_pictures(table: Table, column: ImageColumn, folder: Path, reading: Reading) -> FoundImages:
    """The files in a folder that the cells of a column name, and which of them are lost."""
    return find_images(
        table.text(column.name),
        folder,
        lines=table.lines,
        source=table.source,
        column=column.name,
        allow_outside=reading.allow_outside,
    )


def picture_files(table: Table, column: ImageColumn, reading: Reading) -> FoundImages:
    """The files of a column's pictures, in the reading's folder or the schema's. Raises ImageError."""
    folder = Path(system_name(reading.folders.get(column.name, column.folder)))
    if reading.asked and reading.folders.get(column.name) is not None:
        # Files that `asked_rows` has seen: a walk through their folder, for other spellings, takes longer
        # than an answer.
        paths = [folder / system_name(str(name)) for name in table.text(column.name, ids=False)]
        if all(path.is_file() for path in paths):
            return FoundImages([*paths], {}, {}, table.source, column.name, table.lines)
    if not folder.is_dir():
        beside: list[str] = []
        with suppress(OSError):
            beside = [str(path) for path in sorted(folder.parent.iterdir()) if path.is_dir()]
        near = did_you_mean(str(folder), beside)
        near = f"; {near}" if near.startswith("did you mean") else ""
        raise ImageError(
            f"there is no folder {str(folder)!r} (pictures of column {column.name!r})",
            found=f"searched from {Path.cwd()}",
            fix=f"give --image {column.name}=FOLDER{near}",
        )
    files = find_pictures(table, column, folder, reading)
    if files.lost and not reading.skip_bad:
        raise files.error(files.problems, fix=f"give --image {column.name}=FOLDER, or mend these names")
    return files


def _check_numbers(
    table: Table, schema: Schema, *, skip_bad: bool, targets: bool
) -> tuple[Table, dict[int, str]]:
    """Return the table without cells that should be numbers and are not, and row -> what is wrong."""
    names = [column.name for column in schema.columns if isinstance(column, NumberColumn)]
    names += [target.name for target in schema.answers if targets and kind_of(target).numeric]
    bad: dict[int, str] = {}
    for name in dict.fromkeys(names):
        if not skip_bad:
            table.numbers(name, otherwise="; or leave out these rows: --skip-bad")
            continue
        _, wrong = table.try_numbers(name)
        rows = np.flatnonzero(wrong)
        part = table.take(rows)
        for row, line, text in zip(rows.tolist(), part.lines, part.text(name, ids=False), strict=True):
            bad.setdefault(row, f"{table.unit} {line}, column {name}: {text!r} is not a number")
        table = table.blank(name, wrong) if len(rows) else table
    return table, bad


def _teller(reading: Reading, column: str) -> Callable[[int, int], None] | None:
    tell = reading.on_progress
    if tell is None:
        return None
    return lambda done, total: tell(ImagesRead(column, done, total))
