"""How a run's tables are read: the options of the training's table hold for later tables, too.

Words that mean missing hold for every table. The separator, the header and the encoding are those of one
file: they hold for the training's table, and are tried first for another.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from tenfold.data.tables.layout import is_usual_name
from tenfold.data.tables.table import Table, read_table
from tenfold.errors import SchemaError, TableError
from tenfold.runs.record import RunRecord

__all__ = ["kept_options", "read_as_trained", "reading_notes", "table_facts"]

#: How the note begins that names the run's options with which a table was read.
_AS_TRAINED = "read as the training's table was"

#: Options of `read_table` that describe a single file, and how the command line spells them.
_LAYOUT = {
    "separator": "--sep {!r}",
    "header": "",
    "names": "names = {!r}",
    "skip_lines": "--skip-lines {}",
    "comment": "--comment {!r}",
}


def table_facts(table: object, options: Mapping[str, object]) -> dict[str, object]:
    """The training's table for ``run.json``: its path, None without a file, and how it was read.

    table: as the training was given it.  options: of `read_table`.
    """
    path = table.path or None if isinstance(table, Table) else None
    path = str(table) if isinstance(table, str | os.PathLike) else path
    return {"table": path, "reading": kept_options(table, options)}


def kept_options(table: object, options: Mapping[str, object]) -> dict[str, object]:
    """How the training's table was read, in JSON's types, for ``run.json``: only the options that were given.

    table: as the training was given it.  options: of `read_table`.
    """
    own = table.options if isinstance(table, Table) else {}
    words = tuple(dict.fromkeys((*_words(own), *_words(options))))
    given = {**own, **options, "missing_values": words}
    kept = {name: value for name, value in given.items() if value is not None and value != ()}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in kept.items()}


def _words(options: Mapping[str, object]) -> tuple[str, ...]:
    words = options.get("missing_values", ())
    return (words,) if isinstance(words, str) else tuple(words) if isinstance(words, Iterable) else ()


def read_as_trained(
    source: object,
    about: Mapping[str, object],
    options: Mapping[str, object],
    wanted: Sequence[str] = (),
    *,
    usual_names: bool = False,
) -> Table:
    """Read a table as the run's own was read, unless `options` differ; a note says so.

    about: the ``run.json``; that of earlier versions does not say how tables were read.
    options: of `read_table`.  wanted: columns that the run needs of every table.
    usual_names: columns may have usual names, too, as those of ratings.

    The run's words for missing are always missing. Its separator, header and names are ignored where they do
    not fit the file and the file's own do; its encoding where the file is UTF-8. The training's own table is
    read as it was. Raises as `read_table` does.
    """
    record = RunRecord(about)
    kept, own = record.reading or {}, _is_own(source, record.table)
    given = {name: value for name, value in options.items() if value is not None and name != "missing_values"}
    words = tuple(dict.fromkeys((*_words(kept), *_words(options))))
    common = {**given, "missing_values": words}
    told = [f"--missing-values {word}" for word in _words(kept) if word not in _words(options)]
    layout = {name: kept[name] for name in _LAYOUT if name in kept and name not in given}
    if not isinstance(source, str | os.PathLike):
        layout = {name: value for name, value in layout.items() if name == "names"}
    encoding = kept.get("encoding") if "encoding" not in given else None
    if encoding is not None:
        common["encoding" if own else "likely"] = encoding
        told += [f"--encoding {encoding}"] if own else []
    if isinstance(source, Table) or not layout:
        return _noted(_read(source, common), told)
    as_run, fault = _attempt(source, {**common, **layout})
    if not own and as_run is not None and not as_run.header and layout.pop("skip_lines", None):
        # Without a header nothing tells a title from a row, and no row is skipped silently.
        as_run, fault = _attempt(source, {**common, **layout})
    fits = as_run is not None and _fits(as_run, wanted)
    headed = not own and as_run is not None and _names_columns(as_run, layout)
    if as_run is not None and fits and headed and not usual_names:
        # Without a header columns are known by their order, and a line of names above them changes nothing.
        as_run = _read(source, {**common, **layout, "header": True, "names": as_run.names})
        return _noted(as_run, told).noted(
            f"{as_run.source} names its columns, which are taken by their order"
        )
    # A table that names its columns as the run does needs no names by order.
    if as_run is not None and (own or (fits and not headed and "names" not in layout)):
        return _noted(as_run, [*told, *_spelled(layout)])
    plain, _ = _attempt(source, common)
    better = (usual_names or not wanted) and (as_run is None or headed or len(as_run.names) == 1)
    if plain is not None and (better or _fits(plain, wanted)):
        misfit = f"{plain.source} does not fit the run's {' '.join(_spelled(layout))}"
        return _noted(plain, told).noted(f"{misfit}: it is read as its own lines say")
    if as_run is None:
        assert fault is not None
        raise fault
    return _noted(as_run, [*told, *_spelled(layout)])


def _read(source: object, options: Mapping[str, object]) -> Table:
    given: dict[str, Any] = {**options}  # `read_table` checks them
    return read_table(source, **given)


def _attempt(source: object, options: Mapping[str, object]) -> tuple[Table | None, TableError | None]:
    try:
        return _read(source, options), None
    except TableError as error:
        return None, error


def _is_own(source: object, known: str | None) -> bool:
    """Whether this is the file that the run was trained from."""
    with suppress(OSError, ValueError):
        return isinstance(source, str | os.PathLike) and bool(known) and os.path.samefile(source, str(known))
    return False


def _fits(table: Table, wanted: Sequence[str]) -> bool:
    try:
        return all(table.column(name) for name in wanted)
    except SchemaError:
        return False


def _names_columns(table: Table, layout: Mapping[str, object]) -> bool:
    """Whether line 1, which is data by the run's option, is plainly a line of names."""
    if layout.get("header") is not False or "names" in layout:
        return False
    first = [str(table.take([0]).text(name)[0]) for name in table.names]
    return any(map(is_usual_name, first)) and not any(cell[:1].isdigit() for cell in first)


def _spelled(layout: Mapping[str, object]) -> list[str]:
    header = "--header" if layout.get("header") else "--no-header"
    return [header if name == "header" else _LAYOUT[name].format(value) for name, value in layout.items()]


def _noted(table: Table, told: Sequence[str]) -> Table:
    """The table with a note on the run's options that it was read with."""
    return table.noted(f"{_AS_TRAINED}: {' '.join(told)}") if told else table


def reading_notes(table: Table) -> list[str]:
    """The notes of `read_as_trained` on a table."""
    return [note for note in table.notes if note.startswith(_AS_TRAINED)]
