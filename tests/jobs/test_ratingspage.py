"""The page of a ratings run says what the run says."""

from __future__ import annotations

from shown import rated
from tenfold.jobs.ratingspage import ratings_page
from tenfold.out.report import report_html
from tenfold.store.run import read_run


def test_scores_facts_and_maps() -> None:
    _, run = rated()
    title, lead, sections, notes = ratings_page(*read_run(run.path))
    page = report_html(title, sections, lead=lead)
    assert "method sgd" in lead and not notes
    assert [one.title for one in sections] == [
        "Scores", "What was fitted to what", "Who has rated, and what", "Maps of the factors", "Memory",
    ]  # fmt: skip
    assert page.count('class="point"') == len(run.model.users) + len(run.model.items)
    assert f"{run.scores['rating']['rmse']:.4f}" in page
    assert f"{run.scores['rating']['baselines']['biases']['rmse']:.4f}" in page
