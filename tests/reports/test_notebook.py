"""What a notebook shows, without a notebook: a page to each."""

from __future__ import annotations

from pathlib import Path

import pytest

import tenfold
from pairs import RECIPE, ratings_of, schema_of
from shown import NAMES, ODD, rated, trained
from tenfold.ensembles.blend import blend_runs
from tenfold.errors import RecipeError, RunError
from tenfold.reports.notebook import show_batch


def test_a_run_shows_its_page_and_its_losses() -> None:
    _, run = trained()
    page = run.show().page
    assert "right and wrong" in page and page.count("<canvas") > 10
    losses = run.plot_losses()
    assert f"{len(run.schema.targets)}" and losses.page.count("<canvas") >= 2 * len(run.schema.targets)
    assert losses._repr_html_().startswith("<iframe srcdoc=") and "<canvas" not in losses._repr_html_()
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
