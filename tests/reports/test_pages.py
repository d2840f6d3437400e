"""Pages of plans, rates and the course of runs: their figures, their budget, links that lead to reports."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from shown import needs_browser, opened
from tenfold.reports.pages import write_course, write_plan, write_rates
from tenfold.runs.history import Recorded
from tenfold.values import MemoryPlan

GIB = 2**30


def recorded(run: str, day: int, score: float, scored: str = "rows") -> Recorded:
    when = f"2026-01-0{day}T10:00:00Z"
    return Recorded(run, "", when, "network", "", {}, "", {"y": {}}, score, 1.0, 1, scored=scored)


@needs_browser
def test_the_mark_of_a_rate_stands_at_the_rate(tmp_path: Path) -> None:
    write_rates(tmp_path / "r.html", [1e-5, 1e-4, 1e-3, 1e-2], [3.0, 2.0, 1.5, 4.0], 2e-4)
    with opened(tmp_path / "r.html", width=390) as (view, said):
        assert view.locator(".card .big").all_inner_texts() == ["2.0e-04", "1.5", "4"]
        ends = view.evaluate("(({min, max}) => [min, max])(Object.values(Chart.instances)[0].scales.x)")
        assert ends == [1e-5, 1e-2] and not said
        assert view.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_plan_has_its_budget_and_what_it_is_for(tmp_path: Path) -> None:
    plan = MemoryPlan(8, 4, predicted_bytes=3 * GIB, band_bytes=(2 * GIB, 4 * GIB),
                      parts={"context": GIB, "weights": 2 * GIB, "none": 0}, notes=("a note",))  # fmt: skip
    step = {"weights": np.full(3, 2 * GIB)}, np.full(3, 2 * GIB), [(1, "backward")]
    write_plan(tmp_path / "p.html", "<net>", plan, 16 * GIB, step, True, ["32 rows"])
    page = (tmp_path / "p.html").read_text("utf-8")
    assert "budget 16 GiB" in page and "2.00 GiB to 4.00 GiB, in a budget of 16.00 GiB" in page
    assert "&lt;net&gt;" in page and "<net>" not in page and "the process itself" in page
    assert "67%" in page and ">none<" not in page and "a note" in page


@needs_browser
def test_runs_of_other_rows_stand_apart_and_names_lead_to_reports(tmp_path: Path) -> None:
    (tmp_path / "a b?").mkdir()
    (tmp_path / "a b?" / "report.html").write_text("<title>of a</title>")
    runs = [recorded("a b?", 1, 0.5), recorded("b", 2, 0.4), recorded("c", 3, 0.1, "others")]
    write_course(tmp_path / "h.html", tmp_path, [*runs, recorded("unscored", 4, math.nan)])
    with opened(tmp_path / "h.html") as (view, said):
        assert view.locator("canvas").count() == 1
        tables = view.locator("table")
        first = [row.inner_text().split("\t")[0] for row in tables.first.locator("tbody tr").all()]
        assert first == ["b", "a b?"] and "c" in tables.nth(1).inner_text()
        assert "unscored" in view.locator("details").text_content()
        view.locator("table a").click()
        assert view.title() == "of a" and not said
