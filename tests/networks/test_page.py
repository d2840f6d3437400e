"""A run's page, in a real browser: what is in it, that it is quiet, and that names in it stay text."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tenfold
from asked import write_run_report
from shown import NAMES, ODD, needs_browser, opened, point_at, rated, trained
from tenfold.errors import RunError
from tenfold.reports.page import read_library
from tenfold.runs.described import sealed

SECTIONS = [
    "Samples", *(f"{name}: right and wrong" for name in (ODD, "size", "grade", "age", "tags", "known")),
    "The highest losses", "Calibration", "Curves", "Learning rate", "Maps", "Memory", "All scores",
    "What was trained on what",
]  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    found = write_run_report(trained()[1], path)
    assert found["sections"] == SECTIONS and found["kind"] == "network" and not found["notes"]
    assert found["bytes"] == path.stat().st_size < 2_000_000
    return path


def test_every_fit_leaves_it_and_it_can_be_left_out(tmp_path: Path) -> None:
    _, run = trained()
    assert (run.path / "report.html").stat().st_size > 10_000
    folder, ratings = rated()
    assert (ratings.path / "report.html").exists()
    again = tenfold.fit(
        ratings.schema, ratings.recipe, folder / "ratings.csv", run=tmp_path / "r", report=False
    )
    assert not (again.path / "report.html").exists()
    # It may be written again without harm to the run's checksums.
    assert write_run_report(run.path)["output"] == str(run.path / "report.html")
    tenfold.load_run(run.path)


@needs_browser
@pytest.mark.parametrize(("width", "dark"), [(1200, False), (360, True)])
def test_in_a_browser(page: Path, width: int, dark: bool) -> None:
    with opened(page, width=width, dark=dark) as (view, said):
        assert view.evaluate("document.documentElement.scrollWidth") <= width
        paper = view.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (paper == "rgb(255, 255, 255)") is not dark
        text = view.inner_text("body")
        for name in (*NAMES.values(), ODD):
            assert name in text
        charts = view.evaluate("Object.values(Chart.instances).map(one => [one.width, one.height])")
        assert len(charts) >= 12 and sum(wide > 250 and high > 200 for wide, high in charts) >= 10
        assert view.locator(".photos img").count() >= 12
        broken = "[...document.images].filter(one => !one.naturalWidth).length"
        assert view.evaluate(broken) == 0
        assert "training: " in point_at(view, "size: loss")
        assert not said


@needs_browser
def test_a_click_on_a_number_lists_its_rows(page: Path) -> None:
    with opened(page) as (view, said):
        box = view.locator("[data-lists]").first
        for place in range(min(3, box.locator("button").count())):
            button = box.locator("button").nth(place)
            button.click()
            rows = box.locator(".listed tbody tr")
            assert rows.count() == rows.locator("img").count() == int(button.inner_text().split()[0])
            label, answer = rows.first.locator("td").nth(1), rows.first.locator("td").nth(2)
            caption = box.locator(".listed caption").inner_text()
            assert label.inner_text() in NAMES.values() and answer.inner_text() in NAMES.values()
            assert f"label {label.inner_text()}, answer {answer.inner_text()}" in caption
            assert button.get_attribute("aria-pressed") == "true"
        assert not said


def test_no_name_stands_in_it_as_markup(page: Path) -> None:
    text = page.read_text("utf-8")
    for name in (*NAMES.values(), ODD):
        assert not ("<" in name and name in text), name
    text = text.replace(read_library(), "")
    assert "http://" not in text and "https://" not in text


def test_a_ratings_run_has_scores_and_maps(tmp_path: Path) -> None:
    _, run = rated()
    found = write_run_report(run, tmp_path / "r.html")
    assert found["kind"] == "ratings" and "Maps of the factors" in found["sections"]
    text = (tmp_path / "r.html").read_text("utf-8")
    assert "&lt;m3&gt;" in text and "<m3>" not in text and "global mean" in text
    assert f"{run.scores['rating']['rmse']:.4f}" in text


def test_pictures_that_are_gone_are_said(tmp_path: Path) -> None:
    folder, run = trained()
    moved = folder / "elsewhere"
    (folder / "photos").rename(moved)
    try:
        found = write_run_report(run, tmp_path / "r.html")
        assert any("not in" in note and "--image id=FOLDER" in note for note in found["notes"])
        assert "no picture" in (tmp_path / "r.html").read_text("utf-8")
        found = write_run_report(run, tmp_path / "r.html", folders={"id": str(moved)})
        assert not found["notes"] and "no picture</span>" not in (tmp_path / "r.html").read_text("utf-8")
    finally:
        moved.rename(folder / "photos")


def test_members_of_an_ensemble_stand_in_a_table(tmp_path: Path) -> None:
    _, run = trained()
    copy = tmp_path / "blend"
    shutil.copytree(run.path, copy)
    about = json.loads((copy / "run.json").read_text())
    scores = {"size": {"error_rate": 0.25, "log_loss": 0.5}}
    about |= {
        "kind": "blend",
        "members": [
            {"name": "<b>one</b>", "weight": 1.0, "status": "finished", "scores": scores, "seconds": 2.0,
             "peak_bytes": 2**30},
            {"name": "two", "weight": 2.0, "status": "failed", "error": "x", "scores": {}},
        ],
    }  # fmt: skip
    (copy / "run.json").write_text(json.dumps(sealed(about)))
    found = write_run_report(copy, tmp_path / "r.html")
    assert "Members" in found["sections"]
    text = (tmp_path / "r.html").read_text("utf-8")
    assert "&lt;b&gt;one&lt;/b&gt;" in text and "0.2500" in text and "failed" in text


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError):
        write_run_report(tmp_path)


def test_no_torch_is_loaded_for_it(tmp_path: Path) -> None:
    _, run = trained()
    code = (
        "import sys; from tenfold.runs.registry import load_run; "
        f"load_run({str(run.path)!r}).write_page({str(tmp_path / 'r.html')!r}); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
