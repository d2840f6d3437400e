"""Rows of a table, as a training reads them, for a notebook."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypedDict, TypeGuard, Unpack

import numpy as np

from tenfold.data.images.decode import decode_image, encode_png
from tenfold.data.images.files import find_images
from tenfold.data.tables.table import Table, read_table
from tenfold.errors import ImageError, RecipeError, RunError, TenfoldError
from tenfold.networks.inputs import read_image_folder
from tenfold.recipe import Recipe
from tenfold.reports.html import Grid, Photo, Photos, Section, Shown, report_html
from tenfold.runs.heldout import remembered_rows
from tenfold.runs.reading import read_as_trained
from tenfold.runs.run import OpenedRun
from tenfold.schema import Schema

#: File of a run folder with its held-out rows.
VALIDATION = "validation.parquet"


class TableOptions(TypedDict, total=False):
    """Keywords of `read_table`."""

    separator: str | None
    encoding: str | None
    header: bool | None
    missing_values: Iterable[str]
    names: Sequence[str] | None
    skip_lines: int | None
    comment: str | None


def show_batch(
    schema: Schema,
    table: object,
    *,
    recipe: Recipe | None = None,
    n: int = 9,
    seed: int = 0,
    **options: Unpack[TableOptions],
) -> Shown:
    """Some rows of a table, drawn from the seed: pictures at the size that the network gets, or cells.

    schema: names the pictures, targets and ids.  table: as `tenfold.fit` takes it.
    recipe: gives the size of pictures, and how they are resized.  options: of `read_table`.
    """
    if n < 1:
        raise RecipeError(f"n = {n}: one row at least is shown", fix="give n = 9")
    recipe = recipe or Recipe.model_validate({})
    source = _table(schema, table, options)
    rows = np.sort(np.random.default_rng(seed).permutation(source.rows)[:n])
    targets = [str(target.name) for target in schema.targets if target.name in source.names]
    title = f"{len(rows)} of {source.rows} rows of {source.source}"
    if not schema.images:
        names = [column.name for column in schema.inputs] + targets
        grid = Grid(names, [[str(source.text(name, ids=False)[row]) for name in names] for row in rows])
        return Shown(title, report_html(title, [Section("", "", (grid,))]), 60 + 34 * (len(rows) + 2))
    parts = []
    for column in schema.images:
        photos = _photos(source, column.name, Path(column.folder), rows.tolist(), recipe, targets)
        parts.append(Photos(photos, title=column.name if len(schema.images) > 1 else ""))
    size = "x".join(str(side) for side in recipe.image_size)
    text = f"As the network gets them: {size} pixels ({recipe.resize}), before augmentation."
    return Shown(title, report_html(title, [Section("", text, tuple(parts))]), 640)


def show_run_batch(
    run: OpenedRun,
    recipe: Recipe,
    classes: Mapping[str, Sequence[str]],
    table: object = None,
    *,
    n: int = 9,
    seed: int = 0,
    **options: Unpack[TableOptions],
) -> Shown:
    """`show_batch` of a run, by default of its training's table, which is read as the training read it.

    Raises RunError if the run knows neither a file of its table nor its rows.
    """
    source = table if table is not None else run.source if run.source is not None else run.record.table
    if source is None:
        source = remembered_rows(run.path, VALIDATION, run.schema, classes)
    if source is None:
        raise RunError(
            "the run was fitted to a table in memory, so it knows no file of it",
            fix="give the table: run.show_batch(table)",
        )
    if not _is_folder(source):
        wanted = [column.name for column in run.schema.inputs]
        source = read_as_trained(source, run.record.values, options, wanted)
    return show_batch(run.schema, source, recipe=recipe, n=n, seed=seed)


def _is_folder(table: object) -> TypeGuard[str | os.PathLike[str]]:
    return isinstance(table, (str, os.PathLike)) and os.path.isdir(table)


def _table(schema: Schema, table: object, options: TableOptions) -> Table:
    if isinstance(table, Table):
        return table
    if _is_folder(table):
        labels = any(target.name == "label" for target in schema.targets)
        return read_image_folder(table, labels=labels, name=schema.images[0].name)
    return read_table(table, **options)


def _photos(
    table: Table, column: str, folder: Path, rows: list[int], recipe: Recipe, targets: list[str]
) -> list[Photo]:
    names = table.text(column)[rows]
    if not folder.is_dir():
        raise ImageError(f"there is no folder {str(folder)!r}", fix=f"give the folder of column {column!r}")
    images = find_images(names, folder, lines=table.lines[rows], source=table.source, column=column)
    shown = []
    for index, row in enumerate(rows):
        name, path, png = str(names[index]), images.paths[index], None
        lines = [f"{target}: {table.text(target, ids=False)[row] or 'missing'}" for target in targets]
        try:
            if path is None:
                lines.append(str(images.problems[index]))
            else:
                png = encode_png(decode_image(path, recipe.image_size, recipe.resize, name=name))
        except TenfoldError as error:
            lines.append(error.headline)
        shown.append(Photo(name, png, lines))
    return shown
