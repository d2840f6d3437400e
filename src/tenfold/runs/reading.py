"""How a run's tables are read: the options of the training's table hold for later ones, too.

Words that mean missing mean it everywhere. The separator, the header and the encoding are those of one file:
they hold for the training's table, and are tried first for another one, where they may not fit.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from tenfold.data.tables.layout import is_usual_name
from tenfold.data.tables.table import Table, read_table
from tenfold.errors import SchemaError, TableError

__all__ = ["kept_options", "read_as_trained", "reading_notes", "table_facts"]

#: How the note begins that says with what options of the run a table was read.
_AS_TRAINED = "read as the training's table was"

#: Options of `read_table` that describe one file, and how the command line spells them.
_LAYOUT = {
    "separator": "--sep {!r}",
    "header": "",
    "names": "names = {!r}",
    "skip_lines": "--skip-lines {}",
    "comment": "--comment {!r}",
}


def table_facts(table: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """What ``run.json`` says of the training's table: its path, None without one, and how it was read.

    table: what the training was given.  options: as `read_table` takes them.
    """
    path = table.path or None if isinstance(table, Table) else None
    path = str(table) if isinstance(table, str | os.PathLike) else path
    return {"table": path, "reading": kept_options(table, options)}


def kept_options(table: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """How the training's table was read, in JSON's types, for ``run.json``: only what was said.

    table: what the training was given.  options: as `read_table` takes them.
    """
    own = table.options if isinstance(table, Table) else {}
    words = dict.fromkeys((*own.get("missing_values", ()), *_words(options)))
    said = {**own, **options, "missing_values": tuple(words)}
    kept = {name: value for name, value in said.items() if value is not None and value != ()}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in kept.items()}


def _words(options: Mapping[str, Any]) -> tuple[str, ...]:
    words = options.get("missing_values", ())
    return (words,) if isinstance(words, str) else tuple(words)


def read_as_trained(
    source: Any,
    about: Mapping[str, Any],
    options: Mapping[str, Any],
    wanted: Sequence[str] = (),
    *,
    usual_names: bool = False,
) -> Table:
    """A table read as the run's own was, where `options` does not say otherwise; a note says so.

    about: what ``run.json`` says; runs of earlier versions do not say how they read.
    options: as `read_table` takes them.  wanted: columns that the run needs of every table.
    usual_names: whether columns are found by usual names, too, as those of ratings are.

    The run's words for missing are always missing. Its separator, header and names are passed over where
    they do not fit the file and what is found there does; its encoding where the file is UTF-8. The
    training's own table is read as it was. Raises as `read_table` does.
    """
    kept = about.get("reading") or {}
    said = {name: value for name, value in options.items() if value is not None and name != "missing_values"}
    words = tuple(dict.fromkeys((*_words(kept), *_words(options))))
    common = {**said, "missing_values": words}
    told = [f"--missing-values {word}" for word in _words(kept) if word not in _words(options)]
    layout = {name: kept[name] for name in _LAYOUT if name in kept and name not in said}
    if not isinstance(source, str | os.PathLike):
        layout = {name: value for name, value in layout.items() if name == "names"}
    own = _is_own(source, about)
    encoding = kept.get("encoding") if "encoding" not in said else None
    if encoding is not None and own:
        common["encoding"] = encoding
        told.append(f"--encoding {encoding}")
    elif encoding is not None:
        common["likely"] = encoding
    if isinstance(source, Table) or not layout:
        return _noted(read_table(source, **common), told)
    as_run, fault = _attempt(source, {**common, **layout})
    if not own and as_run is not None and not as_run.header and layout.pop("skip_lines", None):
        # Without a header nothing tells a title from a row, and no row is passed over unseen.
        as_run, fault = _attempt(source, {**common, **layout})
    fits = as_run is not None and _fits(as_run, wanted)
    headed = not own and as_run is not None and _names_columns(as_run, layout)
    if as_run is not None and fits and headed and not usual_names:
        # Without a header columns are known by their place, and a line of names above them changes none.
        as_run = read_table(source, **{**common, **layout, "header": True, "names": as_run.names})
        return _noted(as_run, told).noted(
            f"{as_run.source} names its columns, which are taken by their place"
        )
    # What names its columns as the run does needs no names by their order.
    if as_run is not None and (own or (fits and not headed and "names" not in layout)):
        return _noted(as_run, [*told, *_spelled(layout)])
    found, _ = _attempt(source, common)
    better = (usual_names or not wanted) and (as_run is None or headed or len(as_run.names) == 1)
    if found is not None and (better or _fits(found, wanted)):
        said_not = f"{found.source} does not fit the run's {' '.join(_spelled(layout))}"
        return _noted(found, told).noted(f"{said_not}: it is read as its own lines say")
    if as_run is None:
        assert fault is not None
        raise fault
    return _noted(as_run, [*told, *_spelled(layout)])


def _attempt(source: Any, options: Mapping[str, Any]) -> tuple[Table | None, TableError | None]:
    try:
        return read_table(source, **options), None
    except TableError as error:
        return None, error


def _is_own(source: Any, about: Mapping[str, Any]) -> bool:
    """Is this the file that the run was trained from?"""
    known = about.get("table")
    try:
        return bool(known) and os.path.samefile(source, known)
    except (OSError, TypeError, ValueError):
        return False


def _fits(table: Table, wanted: Sequence[str]) -> bool:
    try:
        return all(table.column(name) for name in wanted)
    except SchemaError:
        return False


def _names_columns(table: Table, layout: Mapping[str, Any]) -> bool:
    """Is line 1, which is data as the run's option says, plainly a line of names?"""
    if layout.get("header") is not False or "names" in layout:
        return False
    first = [str(table.take([0]).text(name)[0]) for name in table.names]
    return any(map(is_usual_name, first)) and not any(cell[:1].isdigit() for cell in first)


def _spelled(layout: Mapping[str, Any]) -> list[str]:
    header = {True: "--header", False: "--no-header"}.get(layout.get("header"), "")  # type: ignore[call-overload]
    return [header if name == "header" else _LAYOUT[name].format(value) for name, value in layout.items()]


def _noted(table: Table, told: Sequence[str]) -> Table:
    """The table with a note of what of the run's options it was read with."""
    return table.noted(f"{_AS_TRAINED}: {' '.join(told)}") if told else table


def reading_notes(table: Table) -> list[str]:
    """The notes of `read_as_trained` on a table."""
    return [note for note in table.notes if note.startswith(_AS_TRAINED)]
