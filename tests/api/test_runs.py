"""Runs in Python: opened with their type, blended, explained and listed."""

from __future__ import annotations

from pathlib import Path

import pytest

import tenfold
from tenfold.api import runs as of_runs
from tenfold.errors import RecipeError, RunError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small recommenders; `ship` adds a network of a table."""
    folder = tmp_path_factory.mktemp("runs")
    films = tenfold.sample("films", rows=600)
    for name, factors in (("two", 2), ("three", 3)):
        tenfold.fit(films, factors=factors, sweeps=6, run=folder / name, quiet=True)
    return folder


@pytest.fixture(scope="module")
def ship(folder: Path) -> tenfold.Run:
    """A network of a table, as it comes from `fit`."""
    return tenfold.fit(tenfold.sample("passengers", rows=60), epochs=1, run=folder / "ship", quiet=True)


def test_a_run_is_opened_as_its_kind(folder: Path, ship: tenfold.Run) -> None:
    run = of_runs.load_run(folder / "two", tenfold.RecommenderRun)
    assert len(run.recommend("u1", n=2)) == 2
    assert isinstance(of_runs.load_run(folder / "ship"), tenfold.NetworkRun)
    with pytest.raises(RunError, match="a NetworkRun is asked for"):
        of_runs.load_run(folder / "two", tenfold.NetworkRun)


def test_runs_show_themselves_in_a_few_lines(folder: Path, ship: tenfold.Run) -> None:
    shown = repr(ship)
    assert len(shown.splitlines()) <= 5 and "survived" in shown and "error rate" in shown
    assert str(folder / "ship" / "report.html") in shown
    html = of_runs.load_run(folder / "two")._repr_html_()
    assert f'href="{folder / "two" / "report.html"}"' in html and "RMSE" in html and len(html) < 4000


def test_lists_and_neighbours_show_themselves_in_a_few_lines(folder: Path) -> None:
    run = of_runs.load_run(folder / "two", tenfold.RecommenderRun)
    lists = run.recommend(["u1", "u2"], n=4)
    for answer in (
        lists,
        run.similar(lists.items[0]),
        run.predict({"user": ["u1"], "film": [lists.items[0]]}),
    ):
        assert len(repr(answer).splitlines()) <= 8 and max(map(len, repr(answer).splitlines())) <= 104
        assert len(answer) == len(list(answer))
    assert list(lists)[0]["user"] == "u1" and list(lists)[0]["rank"] == 1


def test_a_blend_of_opened_runs(folder: Path, tmp_path: Path) -> None:
    members = [of_runs.load_run(folder / "two"), folder / "three"]
    run = of_runs.blend(members, output=tmp_path / "both", weights=[2, 1], quiet=True)
    assert [member.weight for member in run.members] == [2, 1]


def test_workbooks_reports_and_the_look_inside(folder: Path, ship: tenfold.Run, tmp_path: Path) -> None:
    # Its table is in memory, and it still knows it.
    assert of_runs.explain(ship, n=3, output=tmp_path / "book.xlsx").stat().st_size > 1000
    assert of_runs.report(folder / "two", tmp_path / "page.html").read_text("utf-8").startswith("<!")
    assert len(of_runs.inspect(folder / "two", n=4).crosstab.users) == 4
    with pytest.raises(RunError):
        of_runs.inspect(ship)


def test_the_runs_of_a_folder_are_a_table(folder: Path, ship: tenfold.Run) -> None:
    listed = of_runs.list_runs(folder)
    assert sorted(listed.columns()["run"]) == ["ship", "three", "two"] and len(listed) == 3
    assert "RMSE" in repr(listed) and listed.runs[0].run == listed.columns()["run"][0]


def test_an_ensemble_without_a_recipe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no-such.toml"):
        of_runs.ensemble(tmp_path / "no-such.toml", output=tmp_path / "top", quiet=True)
