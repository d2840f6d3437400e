"""The schema chooses the wing."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tenfold.errors import SchemaError
from tenfold.recipe import FactorRecipe, Recipe
from tenfold.schema import CategoryTarget, IdColumn, ImageColumn, RatingTarget, Schema
from tenfold.studies.fit import fit

PICTURES = Schema(inputs=(ImageColumn(name="id", folder="photos"),), targets=(CategoryTarget(name="label"),))
RATINGS = Schema(inputs=(IdColumn(name="u"), IdColumn(name="i")), targets=(RatingTarget(name="r"),))


@pytest.fixture
def wings(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """Which wing was called, and for which run folder."""
    called: list[tuple[str, Any]] = []

    def record(name: str) -> Any:
        def wing(schema: Schema, recipe: Any, table: Any, *, run: Any, **options: Any) -> Any:
            called.append((name, Path(run)))
            return SimpleNamespace(path=Path(run), asked=(schema, recipe, table, options))

        return wing

    monkeypatch.setattr("tenfold.studies.fit.record_run", lambda path: [])
    monkeypatch.setattr("tenfold.studies.fit.report_finished", lambda run: [])
    monkeypatch.setattr("tenfold.networks.fit.fit_network_run", record("pictures"))
    monkeypatch.setattr("tenfold.recommenders.factors_fit.fit_ratings_run", record("ratings"))
    return called


def test_pictures_and_ratings_go_their_ways(wings: list, tmp_path: Path) -> None:
    for schema, recipe in ((PICTURES, Recipe()), (RATINGS, FactorRecipe())):
        found = fit(schema, recipe, "t.csv", run=tmp_path / "run", resume=True)
        assert found.asked == (schema, recipe, "t.csv", {"resume": True})
    assert wings == [("pictures", tmp_path / "run"), ("ratings", tmp_path / "run")]


def test_ratings_with_a_recipe_of_networks_go_to_their_network(
    wings: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = lambda *_, run, **__: SimpleNamespace(path=Path(run))  # noqa: E731
    monkeypatch.setattr("tenfold.recommenders.network_fit.fit_pair_run", told)
    assert fit(RATINGS, Recipe(), "t.csv", run=tmp_path / "run").path == tmp_path / "run" and wings == []


def test_a_recipe_of_the_other_wing_is_refused(wings: list) -> None:
    with pytest.raises(SchemaError, match="is fitted by") as caught:
        fit(PICTURES, FactorRecipe(), "t.csv", run="run")
    assert caught.value.labels["fix"].startswith("give a ") and wings == []


def test_a_run_without_a_name_gets_the_next_number(
    wings: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fit(PICTURES, Recipe(), "t.csv")
    # A run that is being made, one that has a name, and one that has a number.
    for name in ("001.part", "first", "002", "004"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    fit(RATINGS, FactorRecipe(), "t.csv")
    assert [path.as_posix() for _, path in wings] == ["runs/001", "runs/003"]
