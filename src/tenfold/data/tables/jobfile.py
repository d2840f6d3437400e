"""A whole job, or a whole ensemble, in one TOML file: table, schema, recipe, and where the run goes."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tenfold.data.tables.text import decode_bytes
from tenfold.errors import RecipeError, TableError, did_you_mean, home_path, no_file
from tenfold.schema import Schema, toml_text

_Sections = Mapping[str, tuple[type, str]]

#: Sections of a job file, with the type of each in TOML's words.
_SECTIONS: _Sections = {
    "table": (str, "text"),
    "output": (str, "text"),
    "schema": (dict, "a table"),
    "recipe": (dict, "a table"),
}
_EXAMPLE = "docs/formats.md has an example"


@dataclass(frozen=True)
class Job:
    """table: path of the table or image folder.  output: the run folder, or "".
    schema: what the columns are.  recipe: values of the recipe's fields, not yet checked."""

    table: str
    output: str
    schema: Schema
    recipe: dict[str, Any] = field(default_factory=dict)


def job_text(job: Job) -> str:
    """The text of a job file; `read_job` reads it."""
    values = {"table": job.table, "output": job.output}
    given = {name: value for name, value in values.items() if value}
    return toml_text({**given, "schema": job.schema.model_dump(mode="json", exclude_none=True),
                      "recipe": job.recipe})  # fmt: skip


def _read(path: str | os.PathLike[str], sections: _Sections) -> dict[str, Any]:
    """The checked sections of a file, with home folders in its paths, and its schema."""
    if what := no_file(path):
        raise RecipeError(f"{path} is {what}, not a file", fix="write its content to a file first")
    try:
        text = decode_bytes(Path(path).read_bytes(), name=Path(path).name, encoding="utf-8")
        values = tomllib.loads(text.data.decode())
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {error.strerror}", fix="check the name") from None
    except TableError as error:
        raise RecipeError(error.headline, problems=error.problems, fix="save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{path} is not TOML: {error}", fix=_EXAMPLE) from None
    except RecursionError:
        raise RecipeError(f"{path} is nested too deeply", fix=_EXAMPLE) from None
    unknown = [name for name in values if name not in sections]
    if unknown:
        raise RecipeError(f"{path}: unknown section {unknown[0]!r}", fix=did_you_mean(unknown[0], sections))
    if isinstance(values.get("grid"), dict):
        values["grid"] = [values["grid"]]
    missing = [name for name in ("table", "schema") if name not in values]
    if missing:
        raise RecipeError(f"{path} has no {missing[0]!r}", fix=_EXAMPLE)
    wrong = [name for name, value in values.items() if not isinstance(value, sections[name][0])]
    if wrong:
        problems = [f"{name} = {values[name]!r}: give {sections[name][1]}" for name in wrong]
        raise RecipeError(f"{path} holds values of the wrong kind", problems=problems, fix=_EXAMPLE)
    paths = {name: home_path(values.get(name, "")) for name in ("table", "output")}
    return {**values, **paths, "schema": Schema(**values["schema"])}


def read_job(path: str | os.PathLike[str]) -> Job:
    """Read a job file; relative names in it are relative to the current folder, as on the command line.

    Raises RecipeError for a file that is not TOML, or has unknown sections or sections of the wrong kind, and
    SchemaError for its schema.
    """
    values = _read(path, _SECTIONS)
    return Job(values["table"], values["output"], values["schema"], values.get("recipe", {}))


#: Sections of an ensemble's file.
_ENSEMBLE: _Sections = {
    **_SECTIONS,
    "ensemble": (dict, "a table"),
    "member": (list, "tables: [[member]]"),
    "grid": (list, "tables: [grid] or [[grid]]"),
}


@dataclass(frozen=True)
class EnsembleFile:
    """table, output, schema: as of a `Job`.  how: its section ``[ensemble]``.

    sections: ``recipe``, ``member`` and ``grid``, not yet checked.
    """

    table: str
    output: str
    schema: Schema
    how: dict[str, Any]
    sections: dict[str, Any]


def read_ensemble(path: str | os.PathLike[str]) -> EnsembleFile:
    """Read an ensemble's file, as `read_job` reads a job file, with the same errors."""
    values = _read(path, _ENSEMBLE)
    for name in ("member", "grid"):
        strange = [entry for entry in values.get(name, ()) if not isinstance(entry, dict)]
        if strange:
            raise RecipeError(
                f"{path}: {name} holds {strange[0]!r}", fix=f"write [[{name}]] and fields below"
            )
    sections = {name: values[name] for name in ("recipe", "member", "grid") if name in values}
    return EnsembleFile(
        values["table"], values["output"], values["schema"], values.get("ensemble", {}), sections
    )
