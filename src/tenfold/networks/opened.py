"""What is known of a finished network. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tenfold.data.encode import Encoding
from tenfold.recipe import Recipe
from tenfold.runs.folder import read_object, read_text
from tenfold.runs.record import RunRecord
from tenfold.runs.run import OpenedRun
from tenfold.schema import Schema


@dataclass(frozen=True, repr=False)
class OpenedNetwork(OpenedRun):
    """A finished network's recipe, and how its inputs are encoded."""

    recipe: Recipe
    encoding: Encoding

    @classmethod
    def open(cls, path: Path, record: RunRecord) -> Self:
        """Open the network in a checked folder. Loads no weights."""
        return cls(
            path,
            Schema.from_toml(read_text(path, "schema.toml")),
            record,
            Recipe.from_toml(read_text(path, "recipe.toml")),
            Encoding(**read_object(path, "encoding.json")),
        )
