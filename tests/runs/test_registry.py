"""One table says which class opens a run and which job fits a recipe."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from tenfold.errors import RunError, SchemaError
from tenfold.recipe import FactorRecipe, RatingNetworkRecipe, Recipe
from tenfold.runs.options import FitOptions
from tenfold.runs.record import RunRecord
from tenfold.runs.registry import KINDS, job_for, open_run, recipe_class
from tenfold.schema import CategoryTarget, IdColumn, NumberColumn, RatingTarget, Schema

CELLS = Schema(inputs=(NumberColumn(name="x"),), targets=(CategoryTarget(name="y"),))
RATINGS = Schema(inputs=(IdColumn(name="u"), IdColumn(name="i")), targets=(RatingTarget(name="r"),))


@pytest.mark.parametrize("address", KINDS.values())
def test_every_kind_has_its_class(address: str) -> None:
    module, _, name = address.partition(":")
    assert hasattr(import_module(module), name)


def test_a_kind_of_a_later_version_is_named() -> None:
    with pytest.raises(RunError, match="unknown kind"):
        open_run(Path("run"), RunRecord({"kind": "forest"}))


def test_the_schema_says_which_recipe_fits() -> None:
    wide = Schema(inputs=(*RATINGS.inputs, NumberColumn(name="x")), targets=RATINGS.targets)
    assert [recipe_class(CELLS), recipe_class(RATINGS)] == [Recipe, FactorRecipe]
    assert {recipe_class(RATINGS, network=True), recipe_class(wide)} == {RatingNetworkRecipe}


@pytest.mark.parametrize(("schema", "recipe"), [(CELLS, FactorRecipe()), (CELLS, RatingNetworkRecipe())])
def test_a_recipe_of_another_job_is_refused(schema: Schema, recipe: FactorRecipe) -> None:
    with pytest.raises(SchemaError, match="is fitted by a Recipe"):
        job_for(schema, recipe, "table.csv", FitOptions())


def test_the_table_of_kinds_loads_no_torch() -> None:
    code = "import tenfold.runs.registry, tenfold.runs.fitting, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
