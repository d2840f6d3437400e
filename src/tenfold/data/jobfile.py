"""A whole job in one TOML file: the table, the schema, the recipe, and where the run goes."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tenfold.errors import RecipeError, did_you_mean
from tenfold.schema import Schema

#: What a job file holds, with the type of each in TOML's words.
_SECTIONS = {
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


def read_job(path: str | os.PathLike[str]) -> Job:
    """Read a job file; relative names in it are taken from the current folder, as on the command line.

    Raises RecipeError for a file that is no TOML, or has unknown sections or sections of the wrong kind, and
    SchemaError for its schema.
    """
    try:
        values = tomllib.loads(Path(path).read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {error.strerror}", fix="check the name") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RecipeError(f"{path} is not TOML: {error}", fix=_EXAMPLE) from None
    except RecursionError:
        raise RecipeError(f"{path} is nested too deeply", fix=_EXAMPLE) from None
    unknown = [name for name in values if name not in _SECTIONS]
    if unknown:
        raise RecipeError(f"{path}: unknown section {unknown[0]!r}", fix=did_you_mean(unknown[0], _SECTIONS))
    missing = [name for name in ("table", "schema") if name not in values]
    if missing:
        raise RecipeError(f"{path} has no {missing[0]!r}", fix=_EXAMPLE)
    wrong = [name for name, value in values.items() if not isinstance(value, _SECTIONS[name][0])]
    if wrong:
        problems = [f"{name} = {values[name]!r}: give {_SECTIONS[name][1]}" for name in wrong]
        raise RecipeError(f"{path} holds values of the wrong kind", problems=problems, fix=_EXAMPLE)
    schema = Schema(**values["schema"])
    return Job(values["table"], values.get("output", ""), schema, dict(values.get("recipe", {})))
