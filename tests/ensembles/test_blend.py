"""`tenfold blend`: of runs that are there already, of either wing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from photos import QUICK, write_photos
from tenfold.ensembles.blend import blend_runs
from tenfold.errors import RatingsError, RecipeError, RunError
from tenfold.recipe import FactorRecipe, Recipe
from tenfold.runs.fitting import fit
from tenfold.runs.registry import load_run
from tenfold.schema import CategoryTarget, IdColumn, ImageColumn, RatingTarget, Schema


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("blendruns")
    columns = write_photos(folder, 60)
    image = ImageColumn(name="id", folder=str(folder / "photos"))
    schema = Schema(inputs=(image,), targets=(CategoryTarget(name="label"),))
    for name, seed in (("one", 1), ("two", 2)):
        recipe = Recipe(**{**QUICK.model_dump(), "epochs": 1, "seed": seed, "split_seed": 5, "valid": 0.5})
        fit(schema, recipe, columns, run=folder / name)
    rng = np.random.default_rng(0)
    ratings: dict[str, Any] = {
        "user": [f"u{row % 12}" for row in range(120)],
        "item": [f"i{(row * 7 + row // 12) % 20}" for row in range(120)],
        "rating": rng.integers(1, 6, 120).tolist(),
    }
    stars = Schema(
        inputs=(IdColumn(name="user"), IdColumn(name="item")), targets=(RatingTarget(name="rating"),)
    )
    for name, factors in (("stars", 2), ("more", 3)):
        fit(stars, FactorRecipe(method="als", factors=factors, epochs=3), ratings, run=folder / name)
    events = {name: ratings[name] for name in ("user", "item")}
    log = Schema(inputs=stars.inputs, targets=(RatingTarget(),))
    for name in ("log", "log2"):
        fit(log, FactorRecipe(method="als", factors=len(name), epochs=3), events, run=folder / name)
    return folder


def make(place: Path, *names: str, **options: Any) -> Any:
    return blend_runs([place / name for name in names], output=place / f"blend-{'-'.join(names)}", **options)


def test_weights_are_learned_from_rows_that_both_held_out(place: Path) -> None:
    notes: list[str] = []
    blend = make(place, "one", "two", method="best", on_note=notes.append)
    assert set(blend.about["blends"]["label"]) == {"weights", "greedy", "convex"}
    assert sum(blend.weights["label"].values()) == pytest.approx(1)
    assert blend.scores["label"]["scored"] == 30
    again = load_run(blend.path)
    rows = {"id": ["0001.png", "0002.png"]}
    assert (
        again.predict(rows).targets["label"].probabilities
        == blend.predict(rows).targets["label"].probabilities
    ).all()
    assert any("taken: " in note for note in notes)


def test_ratings_are_averaged(place: Path) -> None:
    blend = make(place, "stars", "more", weights=[1, 3])
    pairs = {"user": ["u1", "u2", "nobody"], "item": ["i1", "i5", "i3"]}
    each = [load_run(place / name).predict(pairs).score for name in ("stars", "more")]
    assert blend.predict(pairs).score == pytest.approx((each[0] + 3 * each[1]) / 4, rel=1e-5)
    lists = blend.recommend(["u1"], n=4)
    assert lists.rank.tolist() == [1, 2, 3, 4] and len(set(lists.items)) == 4
    pairs = blend.predict_pairs(["u1"] * 4, lists.items)
    assert pairs.score == pytest.approx(lists.score)
    scored = blend.evaluate({"user": ["u1", "u3"], "item": ["i1", "i2"], "rating": [4, 2]})
    assert scored["scored"] == 2 and set(scored["members"]) == {"stars", "more"}


def test_lists_of_events_are_fused_by_rank(place: Path) -> None:
    blend = make(place, "log", "log2")
    lists = blend.recommend(["u1"], n=3)
    best = {name: load_run(place / name).recommend(["u1"], n=1).items[0] for name in ("log", "log2")}
    assert len(lists.items) == 3 and set(best.values()) & set(lists.items)
    with pytest.raises(RatingsError, match="tenfold recommend"):
        blend.predict({"user": ["u1"], "item": ["i1"]})


@pytest.mark.parametrize(
    ("names", "options", "said"),
    [
        (("one",), {}, "two runs or more"),
        (("one", "one"), {}, "named twice"),
        (("one", "stars"), {}, "one: a network, stars: a run of ratings"),
        (("stars", "log"), {}, "log was fitted to events"),
        (("one", "two"), {"weights": [1]}, "1 weights for 2 runs"),
        (("one", "two"), {"weights": [0, 0]}, "not all 0"),
        (("one", "two"), {"method": "greddy"}, "did you mean 'greedy'"),
        (("stars", "more"), {"method": "greedy"}, "learns from ratings that all members held out"),
        (("one", "missing"), {}, "does not exist"),
    ],
)
def test_what_cannot_be_blended(place: Path, names: Any, options: Any, said: str) -> None:
    with pytest.raises((RecipeError, RunError)) as caught:
        make(place, *names, **options)
    assert said in str(caught.value)


def test_a_blend_of_a_blend_is_refused(place: Path) -> None:
    blend = blend_runs([place / "one", place / "two"], output=place / "inner")
    with pytest.raises(RunError, match="cannot be blended"):
        blend_runs([blend.path, place / "one"], output=place / "outer")
