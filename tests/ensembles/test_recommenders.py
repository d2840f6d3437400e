"""Runs of ratings as one: what is refused, and how known users and items are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tenfold
from collab.small_models import by_hand, texts
from pairs import RECIPE, ratings_of, schema_of
from tenfold.collab.predict import FactorScorer
from tenfold.collab.recommend import recommend
from tenfold.ensembles.blend import blend_runs
from tenfold.ensembles.recommenders import RecommenderBlend, joined_interactions
from tenfold.errors import RatingsError, RecipeError, RunError
from tenfold.recipe import FactorRecipe
from tenfold.recommenders.factors import FactorRun
from tenfold.runs.record import RunRecord
from tenfold.runs.run import Member
from tenfold.schema import NumberColumn
from tenfold.values import FactorModel


def member(name: str, weight: float, model: FactorModel) -> Member[FactorRun]:
    schema = schema_of()
    return Member(name, weight, (FactorRun(Path(name), schema, RunRecord({}), folded=FactorScorer(model)),))


def model_of(score: float, user: str, **changes: Any) -> FactorModel:
    """One user, one item, and that score; a rating deviates from it by 1."""
    names = {"users": texts([user]), "items": texts(["i"])}
    return by_hand([[0.0]], [[0.0]], [[0]], mean=score, noise_precision=1.0, **{**names, **changes})


def blend(*models: FactorModel, weights: tuple[float, ...] = (1.0, 1.0)) -> RecommenderBlend:
    parts = zip(("one", "two"), weights, models, strict=True)
    return RecommenderBlend.of(Path("b"), RunRecord({}), [member(*part) for part in parts])


def test_mean_and_deviation_are_those_of_the_mixture() -> None:
    found = blend(model_of(2.0, "u"), model_of(4.0, "u")).predict_pairs(["u"], ["i"])
    assert found.score[0] == 3.0 and found.deviation[0] == pytest.approx(np.sqrt(2.0))
    assert found.known_user[0] and found.known_item[0] and found.item_state[0] == "rated"
    uneven = blend(model_of(2.0, "u"), model_of(4.0, "u"), weights=(3, 1))
    assert uneven.predict_pairs("u", "i").score[0] == 2.5


def test_whoever_is_known_to_one_member_is_known() -> None:
    found = blend(model_of(2.0, "u"), model_of(4.0, "v")).predict_pairs(["u", "v", "w"], ["i", "i", "j"])
    assert found.known_user.tolist() == [True, True, False]
    assert found.known_item.tolist() == [True, True, False]
    assert found.notes[0].startswith("1 of 3 users unknown")


def test_kinds_and_scales_are_compared() -> None:
    with pytest.raises(RunError) as caught:
        blend(model_of(1, "u"), model_of(1, "u", scale=(0, 10)))
    assert "two rates from 0 to 10" in str(caught.value)
    with pytest.raises(RunError, match="cannot be blended"):
        blend(model_of(1, "u"), model_of(1, "u", implicit=True))


def test_what_a_blend_has_not() -> None:
    one = blend(model_of(1, "u"), model_of(1, "u"))
    with pytest.raises(RunError, match="factors of their own"):
        one.similar()
    with pytest.raises(RunError, match="inspect a member"):
        one.model  # noqa: B018
    with pytest.raises(RecipeError, match="no option members"):
        one.predict("t.csv", members=True)


def test_what_members_know_is_joined() -> None:
    one = by_hand(
        [[0.0]] * 2, [[0.0]] * 2, [[0, 1], [0]], users=texts(["1", "b"]), items=texts(["x", "y"]),
        held_users=np.array([1], np.uint32), held_items=np.array([1], np.uint32),
        item_names={"x": "", "q": "Q"},
    )  # fmt: skip
    other = by_hand(
        [[0.0]] * 2, [[0.0]] * 2, [[1], [0]], users=texts(["c", "1.0"]), items=texts(["z", "x"]),
        item_names={"x": "X"}, listed_items=0,
    )  # fmt: skip
    both = joined_interactions([one, other])
    assert both.users.tolist() == ["1", "b", "c"] and both.items.tolist() == ["x", "y", "z"]
    assert both.seen_start.tolist() == [0, 3, 4, 5] and both.seen_items.tolist() == [0, 1, 2, 0, 0]
    assert both.held_users is not None and both.held_items is not None
    assert (both.held_users.tolist(), both.held_items.tolist()) == ([1], [1])
    assert both.item_names == {"x": "X", "q": "Q"}
    same = joined_interactions([one, one])
    for name in ("users", "items", "seen_start", "seen_items", "seen_ratings", "held_users", "held_items"):
        assert getattr(same, name).tolist() == getattr(one, name).tolist()


# --- networks among them --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two networks and a run of factors; the second network knows other users and items than the first."""
    folder = tmp_path_factory.mktemp("members")
    rows = ratings_of()
    more = {"user": ["late", "late"], "item": ["99", "01"], "stars": ["5", "1"]}
    few = {name: [*cells[40:], *more[name]] for name, cells in rows.items()}
    short = {**RECIPE.model_dump(), "epochs": 3}
    tenfold.fit(schema_of(), type(RECIPE)(**short), rows, run=folder / "mlp")
    tenfold.fit(schema_of(), type(RECIPE)(**{**short, "body": "dot"}), few, run=folder / "dot")
    tenfold.fit(schema_of(), FactorRecipe(method="als", factors=2, epochs=3), rows, run=folder / "als")
    hours = {**rows, "hour": [str(number % 24) for number in range(len(rows["user"]))]}
    tenfold.fit(schema_of(NumberColumn(name="hour")), type(RECIPE)(**short), hours, run=folder / "hour")
    return folder


@pytest.mark.parametrize("names", [("mlp", "dot"), ("als", "mlp"), ("dot", "als", "mlp")])
def test_networks_and_factors_are_averaged_by_id(place: Path, names: tuple[str, ...], tmp_path: Path) -> None:
    weights = [1.0, 3.0, 2.0][: len(names)]
    blend = blend_runs([place / name for name in names], output=tmp_path / "blend", weights=weights)
    blend = tenfold.load_run(blend.path)
    pairs = {"user": ["u05", "u00", "late", "nobody"], "item": ["99", "03", "02", "01"]}
    each = [tenfold.load_run(place / name).predict(pairs) for name in names]
    wanted = np.average([one.score for one in each], axis=0, weights=weights)
    found = blend.predict(pairs)
    np.testing.assert_allclose(found.score, wanted, atol=1e-6)
    assert found.known_user.tolist() == [True, True, "dot" in names, False]
    assert found.known_item.tolist() == ["dot" in names, True, True, True]
    assert np.isnan(found.deviation).all()
    np.testing.assert_allclose(blend.predict_pairs(*pairs.values()).score, wanted, atol=1e-6)
    scored = blend.evaluate({**pairs, "stars": ["5", "1", "4", "2"]})
    error = wanted - np.array([5, 1, 4, 2])
    assert scored["rmse"] == pytest.approx(np.sqrt((error**2).mean()), rel=1e-5)
    own = each[0].score - np.array([5, 1, 4, 2])
    assert scored["members"][names[0]]["stars"]["mae"] == pytest.approx(np.abs(own).mean(), rel=1e-5)


def test_lists_of_such_a_blend_are_the_best_of_the_mean(place: Path, tmp_path: Path) -> None:
    blend = blend_runs([place / name for name in ("mlp", "als")], output=tmp_path / "blend")
    rows = ratings_of()
    seen = {item for user, item in zip(rows["user"], rows["item"], strict=True) if user == "u04"}
    free = [f"{item:02d}" for item in range(16) if f"{item:02d}" not in seen]
    score = blend.predict_pairs("u04", free).score
    assert blend.recommend("u04", n=3, reasons=1).reasons[0]
    found = recommend(blend.scorer, ["u04", "nobody"], n=3)
    mine = found.users == "u04"
    assert found.items[mine].tolist() == [free[one] for one in np.argsort(-score, kind="stable")[:3]]
    np.testing.assert_allclose(found.score[mine], np.sort(score)[::-1][:3], atol=1e-6)
    assert found.known_user.tolist() == [True] * 3 + [False] * 3
    assert "report.html" in {one.name for one in blend.path.iterdir()}


def test_a_member_that_needs_further_columns_gets_them_from_the_table(place: Path, tmp_path: Path) -> None:
    blend = blend_runs([place / name for name in ("als", "hour")], output=tmp_path / "blend")
    rows = {"user": ["u01", "u02"], "item": ["03", "04"], "hour": ["3", "20"]}
    each = [tenfold.load_run(place / name).predict(rows).score for name in ("als", "hour")]
    np.testing.assert_allclose(blend.predict(rows).score, np.mean(each, axis=0), atol=1e-6)
    scored = blend.evaluate({**rows, "stars": ["1", "5"]})
    assert scored["mae"] == pytest.approx(np.abs(np.mean(each, axis=0) - [1, 5]).mean(), rel=1e-5)
    for ask in (lambda: blend.recommend(["u01"]), lambda: blend.predict_pairs(["u01"], ["03"])):
        with pytest.raises(RunError, match="needs hour, too"):
            ask()


def test_pairs_of_ids_are_paired_as_those_of_factors(place: Path) -> None:
    run = tenfold.load_run(place / "mlp")
    wide = run.predict_pairs("u01", ["03", "04", "05"])
    assert wide.users.tolist() == ["u01"] * 3 and len(set(wide.score)) == 3
    np.testing.assert_array_equal(
        wide.score, run.predict({"user": ["u01"] * 3, "item": ["03", "04", "05"]}).score
    )
    with pytest.raises(RatingsError, match="make no pairs"):
        run.predict_pairs(["u01", "u02"], ["03", "04", "05"])
    with pytest.raises(RatingsError, match="unknown user or item"):
        run.predict_pairs("nobody", "03", unknown="raise")
