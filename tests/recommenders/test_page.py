"""The page of a ratings run says what the run says."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import tenfold
from pairs import RECIPE, ratings_of, schema_of
from shown import needs_browser, opened, point_at, rated
from tenfold.data.tables.table import read_parquet_columns
from tenfold.ensembles.blend import blend_runs
from tenfold.errors import RunError
from tenfold.recommenders.network import RatingNetworkRun
from tenfold.reports.html import report_html


def test_scores_facts_and_maps() -> None:
    _, run = rated()
    shown = run.page()
    lead, sections, notes = shown.lead, shown.sections, shown.notes
    page = report_html(shown.title, sections, lead=lead)
    assert "method sgd" in lead and not notes
    assert [one.title for one in sections] == [
        "Right and wrong", "Errors", "The highest losses", "Example users", "Lists against popularity",
        "Item neighbours", "Who has rated, and what", "Maps of the factors", "All scores",
        "What was fitted to what",
    ]  # fmt: skip
    maps = [chart.lines[0] for chart in sections[7].parts[0].charts]
    assert [len(one.names) for one in maps] == [len(run.model.items), len(run.model.users)]
    assert f"{run.scores['rating']['rmse']:.4f}" in page
    assert f"{run.scores['rating']['baselines']['biases']['rmse']:.4f}" in page
    given, model = np.diff(run.model.seen_start), run.model
    busiest = int(np.argmax(given))
    mean = model.seen_ratings[model.seen_start[busiest] : model.seen_start[busiest + 1]].mean()
    users = next(
        part for part in sections[6].parts if getattr(part, "title", "") == "users with most ratings"
    )
    assert [users.rows[0][0], *(cell.text for cell in users.rows[0][1:])] == [
        str(model.users[busiest]), str(given[busiest]), f"{mean:.2f}",
    ]  # fmt: skip


@pytest.fixture(scope="module", params=["mlp", "dot"])
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RatingNetworkRun:
    """A network of ratings with a quarter held out, and titles that would run if they were markup."""
    folder = tmp_path_factory.mktemp(request.param)
    lines = ["item,title", *(f"{item:02d},<b>{item}</b>" for item in range(16))]
    (folder / "items.csv").write_text("\n".join(lines) + "\n")
    recipe = type(RECIPE)(**{**RECIPE.model_dump(), "epochs": 5, "valid": 0.25, "body": request.param})
    schema = schema_of(item_table=str(folder / "items.csv"), item_name="title")
    return tenfold.fit(schema, recipe, ratings_of(), run=folder / "run")  # type: ignore[return-value]


def test_a_network_of_ratings_has_curves_and_held_out_ratings(network: RatingNetworkRun) -> None:
    shown = network.page(worst=3)
    lead, sections, notes = shown.lead, shown.sections, shown.notes
    page = report_html(shown.title, sections, lead=lead)
    assert [one.title for one in sections] == [
        "Right and wrong", "Errors", "The highest losses", "Item neighbours", "Curves", "Learning rate",
        "Who has rated, and what", "Maps of the embeddings", "All scores", "What was fitted to what",
    ]  # fmt: skip
    assert f"network ({network.recipe.body})" in lead and not notes
    held = network.about["valid_rows"]
    assert len(sections[0].parts[0].charts[0].lines[0].names) == held
    columns = read_parquet_columns(network.path / "validation.parquet")
    error = columns["stars:predicted"] - columns["stars"]
    assert np.sqrt((error**2).mean()) == pytest.approx(network.scores["stars"]["rmse"])
    pairs = {"user": list(columns["user"]), "item": list(columns["item"])}
    np.testing.assert_allclose(network.predict(pairs).score, columns["stars:predicted"], atol=1e-5)
    worst = sections[2].parts[0].rows
    assert [cell[-1].text for cell in worst] == [f"{one:.3f}" for one in np.sort(np.abs(error))[::-1][:3]]
    by_rating = sections[0].parts[1].rows
    assert sum(int(row[1].text) for row in by_rating) == held and [row[0] for row in by_rating] == ["1", "5"]
    assert "&lt;b&gt;3&lt;/b&gt;" in page and "<b>3</b>" not in page


def test_the_map_of_a_dot_product_leaves_out_the_bias(network: RatingNetworkRun) -> None:
    facts = {row[0]: row[1] for row in network.page().sections[-1].parts[0].rows}
    assert facts["embeddings"] == "6" and facts["body"] == network.recipe.body
    assert ("hidden layers" in facts) == (network.recipe.body == "mlp")


def test_errors_by_activity_are_the_errors(network: RatingNetworkRun) -> None:
    columns = read_parquet_columns(network.path / "validation.parquet")
    square = (columns["stars:predicted"] - columns["stars"]) ** 2
    charts = network.page().sections[1].parts[0].charts
    known = network.interactions
    for chart, word, ids, counts in zip(
        charts, ("user", "item"), (known.users, known.items), (known.given, known.received), strict=False
    ):
        rated_by = dict(zip(ids, counts, strict=True))
        had = np.array([rated_by.get(name, 0) for name in columns[word]])
        shown = {text: y for (_, text), y in zip(chart.x.ticks, chart.lines[0].y, strict=True)}
        for text, value in shown.items():
            low, _, high = text.rstrip("+").partition("-")
            own = (had >= int(low)) & (had <= (int(high or low) if not text.endswith("+") else 10**9))
            assert value == pytest.approx(np.sqrt(square[own].mean())), (word, text)
    assert sum(charts[2].lines[0].y) == len(square)


@needs_browser
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_every_fit_of_a_network_leaves_a_page_that_a_phone_shows(
    network: RatingNetworkRun, width: int, dark: bool
) -> None:
    with opened(network.path / "report.html", width=width, dark=dark) as (view, said):
        assert view.evaluate("document.documentElement.scrollWidth") <= width
        assert re.fullmatch(r"u\d\d · \d+ ratings", point_at(view, "users: the 24 with most ratings"))
        assert not said


def test_a_blend_of_ratings_has_its_members_with_weights_and_scores(tmp_path: Path) -> None:
    runs = [rated()[1], rated("als")[1]]
    blend = blend_runs([run.path for run in runs], output=tmp_path / "blend", weights=[3, 1])
    shown = blend.page()
    sections, notes = shown.sections, shown.notes
    page = report_html(shown.title, sections, lead=shown.lead)
    members, adds, what = (sections[at].parts[0].rows for at in (0, 1, -1))
    assert [row[2].text for row in members] == ["0.750", "0.250"]
    assert [row[3].text for row in members] == [f"{run.scores['rating']['rmse']:.4f}" for run in runs]
    assert (
        [row[1] for row in what] == ["sgd", "als"]
        and str(runs[0].path) in page.replace("<wbr>", "")
        and not notes
    )
    # Both held out the same ratings, so that the blend is scored: as it predicts them.
    users, items = blend.held_out_pairs()
    truth = blend.held_out().evaluations[0].truth
    error = np.sqrt(((blend.predict_pairs(users, items).score - truth) ** 2).mean())
    assert blend.scores["rating"]["rmse"] == pytest.approx(error, rel=1e-5)
    assert adds[-1][2].text == f"{error:.4f}" and f"{error:.4f}" in shown.cards[0].big
    assert [row[2].text for row in adds[:2]] == [f"{run.scores['rating']['rmse']:.4f}" for run in runs]
    assert sections[1].title == "What each member adds" and "not scored" not in page


def test_a_member_that_is_gone_is_said(tmp_path: Path) -> None:
    copies = [shutil.copytree(rated(name)[1].path, tmp_path / name) for name in ("sgd", "als")]
    blend = blend_runs(copies, output=tmp_path / "blend")
    shutil.rmtree(copies[1])
    with pytest.raises(RunError, match="lacks members") as caught:
        tenfold.load_run(blend.path)
    assert caught.value.problems[0].startswith("als: ")
