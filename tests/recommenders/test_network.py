"""A network of ratings, asked for predictions, lists, neighbours and scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tenfold
from pairs import RECIPE, ratings_of, schema_of
from tenfold.errors import RecipeError, RunError, SchemaError
from tenfold.recipe import RatingNetworkRecipe
from tenfold.recommenders.network import RatingNetworkRun
from tenfold.schema import CategoryColumn, NumberColumn


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RatingNetworkRun:
    return tenfold.fit(schema_of(), RECIPE, ratings_of(), run=tmp_path_factory.mktemp("pairs") / "run")


def test_it_learns_the_checkerboard(run: RatingNetworkRun) -> None:
    rows = ratings_of()
    held = {(u, i) for u in range(24) for i in range(16)}
    held -= {(int(u[1:]), int(i)) for u, i in zip(rows["user"], rows["item"], strict=True)}
    pairs = sorted(held)
    found = run.predict({"user": [f"u{u:02d}" for u, _ in pairs], "item": [f"{i:02d}" for _, i in pairs]})
    likes = np.array([u % 2 == i % 2 for u, i in pairs])
    assert found.score[likes].mean() > 4 and found.score[~likes].mean() < 2
    assert found.score.min() >= 1 and found.score.max() <= 5


def test_it_opens_again_and_answers_alike(run: RatingNetworkRun) -> None:
    pairs = {"user": ["u01", "u02", "new"], "item": ["03", "new", "05"]}
    again = tenfold.load_run(run.path)
    assert isinstance(again, RatingNetworkRun)
    np.testing.assert_array_equal(again.predict(pairs).score, run.predict(pairs).score)


def test_unknown_pairs_are_answered_marked_and_counted(run: RatingNetworkRun) -> None:
    notes: list[str] = []
    pairs = {"user": ["u01", "new", "u02"], "item": ["03", "03", "zz"]}
    found = run.predict(pairs, on_note=notes.append)
    assert found.known_user.tolist() == [True, False, True]
    assert found.known_item.tolist() == [True, True, False]
    assert np.isfinite(found.score).all() and 1 <= found.score.min() and found.score.max() <= 5
    assert "1 of 3 users unknown, in 1 of 3 pairs: 'new'" in notes
    # All that is unknown has one row.
    other = run.predict({"user": ["newer"], "item": ["03"]})
    assert other.score[0] == pytest.approx(found.score[1], abs=1e-6)


def test_scores_are_those_of_the_predictions(run: RatingNetworkRun) -> None:
    test = {"user": ["u00", "u01", "nobody"], "item": ["01", "01", "02"], "stars": ["1", "5", "3"]}
    found = run.evaluate(test)
    error = run.predict(test).score - np.array([1, 5, 3])
    assert found["rmse"] == pytest.approx(np.sqrt((error**2).mean()), rel=1e-5)
    assert found["mae"] == pytest.approx(np.abs(error).mean(), rel=1e-5)
    assert (found["scored"], found["fallback"]) == (3, 1)
    assert set(found["baselines"]) == {"global_mean", "biases"}


def test_lists_hold_nothing_that_was_rated_and_are_ordered(run: RatingNetworkRun) -> None:
    rows = ratings_of()
    seen = {item for user, item in zip(rows["user"], rows["item"], strict=True) if user == "u04"}
    found = run.recommend("u04", n=20, rank_by="rating")
    assert set(found.items) == {f"{i:02d}" for i in range(16)} - seen
    assert (np.diff(found.score) <= 0).all() and found.rank.tolist() == list(range(1, len(found.items) + 1))
    assert set(run.recommend("u04", n=20, include_seen=True).items) == {f"{i:02d}" for i in range(16)}
    every = run.recommend(n=20, rank_by="rating")
    mine = every.users == "u04"
    assert every.items[mine].tolist() == found.items.tolist()
    with pytest.raises(RecipeError, match="1 item or more"):
        run.recommend("u04", n=0)


def test_neighbours_are_of_the_same_colour(run: RatingNetworkRun) -> None:
    found = run.similar("03", n=4)
    assert all(int(item) % 2 == 1 for item in found.found)


def test_a_bias_is_no_direction_in_which_items_are_alike(tmp_path: Path) -> None:
    recipe = RatingNetworkRecipe(**{**RECIPE.model_dump(), "epochs": 2, "body": "dot"})
    run = tenfold.fit(schema_of(), recipe, ratings_of(), run=tmp_path / "run")
    before = run.similar(n=15)
    embeddings = run._kept[1]["item"]
    factors = embeddings[:, 1:].astype(float)
    unit = factors / np.linalg.norm(factors, axis=1, keepdims=True)
    place = {item: row for row, item in enumerate(run.interactions.items)}
    wanted = [
        unit[place[one]] @ unit[place[two]] for one, two in zip(before.asked, before.found, strict=True)
    ]
    np.testing.assert_allclose(before.cosine, wanted, atol=1e-6)
    embeddings[:, 0] = 9.0  # every item much liked: nothing that they have in common
    after = run.similar(n=15)
    assert after.found.tolist() == before.found.tolist()
    np.testing.assert_array_equal(after.cosine, before.cosine)


def test_what_it_cannot_do_is_said(run: RatingNetworkRun) -> None:
    with pytest.raises(RunError, match="not products of factors"):
        _ = run.model
    with pytest.raises(RunError, match="new user"):
        run.with_ratings(ratings_of())


def test_columns_of_the_rating_and_side_tables_join_in(tmp_path: Path) -> None:
    rows = ratings_of()
    rows["device"] = ["tv" if number % 3 else "phone" for number in range(len(rows["user"]))]
    rows["hour"] = [str(number % 24) for number in range(len(rows["user"]))]
    items = tmp_path / "items.csv"
    kinds = ("even|old", "odd")
    lines = [f"{i:02d},{kinds[i % 2]},t{i}" for i in range(16)]
    items.write_text("\n".join(["item,kind,title", *lines]) + "\n")
    schema = schema_of(
        CategoryColumn(name="device"), NumberColumn(name="hour"), item_table=str(items), side=("kind",)
    )
    run = tenfold.fit(
        schema, RatingNetworkRecipe(**{**RECIPE.model_dump(), "epochs": 3}), rows, run=tmp_path / "run"
    )
    assert run.encoding.columns["item"].features and run.encoding.columns["device"].words == ("phone", "tv")
    notes: list[str] = []
    pairs = {"user": ["u01"], "item": ["02"], "device": ["radio"], "hour": [""]}
    assert np.isfinite(tenfold.load_run(run.path).predict(pairs, on_note=notes.append).score).all()
    assert any("device: 1 value not seen in training (radio)" in note for note in notes)
    with pytest.raises(SchemaError, match="hour"):
        run.predict({"user": ["u01"], "item": ["02"], "device": ["tv"]})
    with pytest.raises(RunError, match="device, hour"):
        run.recommend("u01")
