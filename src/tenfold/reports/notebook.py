"""Rows of a table, as a training reads them, for a notebook."""

from __future__ import annotations

import html
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypedDict, TypeGuard, Unpack

import numpy as np
from numpy.typing import NDArray

from tenfold.data.images.decode import decode_image, encode_png
from tenfold.data.images.files import find_images
from tenfold.data.tables.table import Table, read_table
from tenfold.errors import ImageError, RecipeError, RunError, TenfoldError, printable
from tenfold.frames import html_table
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
    augmented: int = 0,
    **options: Unpack[TableOptions],
) -> Shown:
    """Some rows of a table, drawn from the seed: pictures at the size that the network gets, or cells.

    schema: names the pictures, targets and ids.  table: as `tenfold.fit` takes it.
    recipe: gives the size of pictures, how they are resized, and how they are changed at random.
    augmented: of each picture so many changed versions, as training draws them, instead of the picture.
    options: of `read_table`.
    """
    if n < 1 or augmented < 0:
        raise RecipeError(f"n = {n}, augmented = {augmented}: one row at least is shown", fix="give n = 9")
    recipe = recipe or Recipe.model_validate({})
    source = _table(schema, table, options)
    rows = np.sort(np.random.default_rng(seed).permutation(source.rows)[:n])
    targets = [str(target.name) for target in schema.targets if target.name in source.names]
    title = f"{len(rows)} of {source.rows} rows of {source.source}"
    if not schema.images:
        names = [column.name for column in schema.inputs] + targets
        cells = [[str(source.text(name, ids=False)[row]) for name in names] for row in rows]
        page = report_html(title, [Section("", "", (Grid(names, cells),))])
        return Shown(title, page, inline=html_table(title, names, cells))
    parts, grids = [], []
    size = "x".join(str(side) for side in recipe.image_size)
    changed = (
        f"changed at random ({recipe.augment}, flip {recipe.flip})" if augmented else "before augmentation"
    )
    text = f"As the network gets them: {size} pixels ({recipe.resize}), {changed}."
    for column in schema.images:
        folder = Path(column.folder)
        photos = _photos(source, column.name, folder, rows.tolist(), recipe, targets, augmented, seed)
        parts.append(Photos(photos, title=column.name if len(schema.images) > 1 else ""))
        grids.append(photo_grid(f"{title}: {column.name}. {text}", photos))
    return Shown(title, report_html(title, [Section("", text, tuple(parts))]), inline="".join(grids))


#: Edges of pictures with right and with wrong answers.
_EDGES = {"right": "#2a9d8f", "wrong": "#e76f51", "": "rgba(128,128,128,.35)"}


def photo_grid(title: str, photos: Sequence[Photo]) -> str:
    """Small pictures beside each other, each with its lines, as HTML in the colours of the notebook."""
    figures = []
    for photo in photos:
        edge = _EDGES.get(photo.mark, _EDGES[""])
        shown = "display:block;width:100%;height:112px;object-fit:contain"
        name = html.escape(printable(photo.name), quote=True)
        picture = (
            f'<img src="{photo.source}" alt="{name}" style="{shown}">'
            if photo.png
            else (f'<div style="{shown};opacity:.6">no picture</div>')
        )
        lines = "".join(f"<div>{html.escape(printable(line))}</div>" for line in photo.lines)
        figures.append(
            f'<figure title="{name}" style="margin:0;border-top:3px solid {edge};padding-top:4px">{picture}'
            f'<figcaption style="font-size:12px;overflow-wrap:anywhere">{lines}</figcaption></figure>'
        )
    columns = "display:grid;grid-template-columns:repeat(auto-fill,minmax(120px,1fr));gap:12px;margin:6px 0"
    head = html.escape(printable(title))
    return f'<div><b>{head}</b><div style="{columns}">{"".join(figures)}</div></div>'


def confusion_html(title: str, classes: Sequence[str], counts: NDArray[np.int64]) -> str:
    """A table of labels and answers as HTML: right answers blue, wrong ones orange, the more the deeper."""
    cell = "padding:3px 8px;text-align:right;border:1px solid rgba(128,128,128,.25)"
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = [html.escape(printable(name)) for name in classes]
    rows = []
    for row, name in enumerate(names):
        cells = [f'<th style="{cell};text-align:left">{name}</th>']
        for column in range(len(names)):
            colour = "31,119,180" if row == column else "231,111,81"
            shade = (
                f"background:rgba({colour},{0.65 * shares[row, column]:.2f})" if counts[row, column] else ""
            )
            cells.append(f'<td style="{cell};{shade}">{counts[row, column] or ""}</td>')
        rows.append(f"<tr>{''.join(cells)}</tr>")
    heads = "".join(f'<th style="{cell}">{name}</th>' for name in ["", *names])
    table = "border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums;margin:6px 0"
    head = html.escape(printable(title))
    return f'<div><b>{head}</b><table style="{table}"><tr>{heads}</tr>{"".join(rows)}</table></div>'


def show_run_batch(
    run: OpenedRun,
    recipe: Recipe,
    classes: Mapping[str, Sequence[str]],
    table: object = None,
    *,
    n: int = 9,
    seed: int = 0,
    augmented: int = 0,
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
    return show_batch(run.schema, source, recipe=recipe, n=n, seed=seed, augmented=augmented)


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
    table: Table,
    column: str,
    folder: Path,
    rows: list[int],
    recipe: Recipe,
    targets: list[str],
    augmented: int,
    seed: int,
) -> list[Photo]:
    names = table.text(column)[rows]
    if not folder.is_dir():
        raise ImageError(f"there is no folder {str(folder)!r}", fix=f"give the folder of column {column!r}")
    images = find_images(names, folder, lines=table.lines[rows], source=table.source, column=column)
    size = (recipe.item_size or recipe.image_size) if augmented else recipe.image_size
    shown = []
    for index, row in enumerate(rows):
        name, path = str(names[index]), images.paths[index]
        pixels: list[NDArray[np.uint8]] = []
        lines = [f"{target}: {table.text(target, ids=False)[row] or 'missing'}" for target in targets]
        try:
            if path is None:
                lines.append(str(images.problems[index]))
            else:
                pixels = [decode_image(path, size, recipe.resize, name=name)]
        except TenfoldError as error:
            lines.append(error.headline)
        if pixels and augmented:
            from tenfold.nn.augment import augment_picture

            pixels = augment_picture(pixels[0], recipe, versions=augmented, seed=seed + index)
        shown += [Photo(name, encode_png(one), lines) for one in pixels] or [Photo(name, None, lines)]
    return shown
