"""What a notebook shows, without a notebook: a page to each."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import tenfold
from pairs import RECIPE, ratings_of, schema_of
from shown import NAMES, ODD, needs_browser, opened, rated, trained
from tenfold.ensembles.blend import blend_runs
from tenfold.errors import RecipeError, RunError
from tenfold.reports.notebook import show_batch


def test_a_run_shows_its_page_and_its_losses() -> None:
    _, run = trained()
    page = run.show().page
    assert "right and wrong" in page and page.count("<canvas") > 10
    losses = run.plot_losses()
    assert f"{len(run.schema.targets)}" and losses.page.count("<canvas") >= 2 * len(run.schema.targets)
    assert losses._repr_html_().startswith("<iframe id=") and "<canvas" not in losses._repr_html_()
    assert "Maps of the factors" in rated()[1].show().page
    with pytest.raises(RunError, match="no epochs"):
        rated()[1].plot_losses()


def test_a_network_of_ratings_shows_both_and_what_has_no_epochs_says_what_to_do(tmp_path: Path) -> None:
    recipe = type(RECIPE)(**{**RECIPE.model_dump(), "epochs": 2})
    run = tenfold.fit(schema_of(), recipe, ratings_of(), run=tmp_path / "run")
    assert "Maps of the embeddings" in run.show().page
    assert "stars: loss" in run.plot_losses().page and "learning rate" in run.plot_losses().page
    blend = blend_runs([rated()[1].path, rated("als")[1].path], output=tmp_path / "blend")
    assert "Members" in blend.show().page
    for one, said in ((rated()[1], "run.show()"), (blend, str(rated("als")[1].path))):
        with pytest.raises(RunError, match="no epochs") as caught:
            one.plot_losses()
        assert said in str(caught.value)


def test_a_batch_of_pictures_has_labels_and_is_the_same_again() -> None:
    folder, run = trained()
    shown = run.show_batch(n=5, seed=3)
    assert shown.page.count("data:image/png") == 5 and "32x32" in shown.page
    assert shown.page == run.show_batch(n=5, seed=3).page != run.show_batch(n=5, seed=4).page
    assert "<img src=x" not in shown.page
    other = tenfold.show_batch(run.schema, folder / "train.csv", n=60)
    assert other.page.count("data:image/png") == 60 and "missing" in other.page and ODD not in other.page
    assert all(name not in other.page for name in NAMES.values() if "<" in name)


def test_a_batch_of_ratings_is_a_table(tmp_path: Path) -> None:
    folder, run = rated()
    page = show_batch(run.schema, folder / "ratings.csv", n=4).page
    assert page.count("<tr>") == 5 and "&lt;m" in page


def test_a_picture_that_is_gone_is_said_and_nonsense_refused() -> None:
    _, run = trained()
    page = show_batch(run.schema, {"id": ["nowhere.png"], "size": ["big"]}).page
    assert "no picture" in page and "nowhere.png" in page
    with pytest.raises(RecipeError, match="n = 0"):
        show_batch(run.schema, {"id": []}, n=0)


def test_augmented_versions_differ_and_are_the_same_again() -> None:
    _, run = trained()
    strong = run.recipe.model_copy(update={"augment": "strong"})
    shown = show_batch(run.schema, run.path.parent / "train.csv", recipe=strong, n=3, augmented=4)
    assert shown.inline.count("<img") == 12 and "changed at random (strong" in shown.inline
    sources = set(re.findall(r'src="(data:[^"]+)"', shown.inline))
    assert len(sources) == 12
    assert (
        shown.inline
        == show_batch(run.schema, run.path.parent / "train.csv", recipe=strong, n=3, augmented=4).inline
    )
    with pytest.raises(RecipeError, match="augmented = -1"):
        run.show_batch(augmented=-1)


def test_pictures_and_tables_stand_in_the_notebook_itself() -> None:
    _, run = trained()
    for shown in (run.show_batch(n=4), run.top_losses(3, "size"), run.show_results(3), run.confusion("size")):
        html = shown._repr_html_()
        assert (
            "<iframe" not in html
            and "<script" not in html
            and "onerror=alert" not in html.replace("&lt;img src=x onerror=alert", "")
        )


@needs_browser
@pytest.mark.parametrize("dark", [False, True])
def test_a_frame_fits_its_page_and_has_the_colours_of_the_notebook(tmp_path: Path, dark: bool) -> None:
    _, run = trained()
    ground = "#111" if dark else "#fff"
    page = tmp_path / "notebook.html"
    page.write_text(f"<body style='background:{ground}'>{run.plot_losses()._repr_html_()}</body>", "utf-8")
    # The operating system has the other side of light and dark.
    with opened(page, dark=not dark) as (view, said):
        first = run.plot_losses().height
        view.wait_for_function(f"document.querySelector('iframe').offsetHeight !== {first}", timeout=30_000)
        view.wait_for_timeout(300)
        frame = view.frames[-1]
        inner = frame.evaluate("document.documentElement.offsetHeight")
        outer = view.evaluate("document.querySelector('iframe').offsetHeight")
        assert 0 <= outer - inner <= 4
        colour = frame.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", colour)[:3])) < 200) == dark
        assert said == []
