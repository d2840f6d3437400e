"""Runs of ratings as one: what is refused, and how known users and items are told."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import tenfold
from pairs import RECIPE, ratings_of, schema_of
from tenfold.ensembles.blend import blend_runs
from tenfold.ensembles.recommenders import RatingsBlend, ratings_blend_of
from tenfold.errors import RatingsError, RunError
from tenfold.recipe import FactorRecipe
from tenfold.runs.record import RunRecord
from tenfold.schema import NumberColumn, Schema
from tenfold.values import PairPredictions


def run_of(score: float, known: bool, *, implicit: bool = False, scale: tuple[float, float] = (1, 5)) -> Any:
    found = PairPredictions(
        np.array(["u"], dtype=object),
        np.array(["i"], dtype=object),
        np.array([score], dtype=np.float32),
        np.array([1.0], dtype=np.float32),
        np.array([known]),
        np.array([known]),
        np.array(["rated" if known else "unknown"], dtype=object),
        ("note",),
    )
    return SimpleNamespace(
        about={"kind": "ratings"},
        schema=Schema(inputs=(), targets=()),
        model=SimpleNamespace(implicit=implicit, scale=scale),
        predict_pairs=lambda users, items: found,
    )


def blend(*runs: Any, weights: tuple[float, ...] = (1.0, 1.0)) -> RatingsBlend:
    return ratings_blend_of(Path("b"), ["one", "two"], weights, runs, RunRecord({}))


def test_mean_and_deviation_are_those_of_the_mixture() -> None:
    found = blend(run_of(2.0, False), run_of(4.0, True)).predict_pairs(["u"], ["i"])
    assert found.score[0] == 3.0 and found.deviation[0] == pytest.approx(np.sqrt(2.0))
    assert found.known_user[0] and found.known_item[0] and found.item_state[0] == "rated"
    assert found.notes == ("note",)
    assert blend(run_of(2.0, True), run_of(4.0, True), weights=(3, 1)).predict_pairs("u", "i").score[0] == 2.5


def test_kinds_and_scales_are_compared() -> None:
    with pytest.raises(RunError) as caught:
        blend(run_of(1, True), run_of(1, True, scale=(0, 10)))
    assert "two rates from 0 to 10" in str(caught.value)
    with pytest.raises(RunError, match="cannot be blended"):
        blend(run_of(1, True), run_of(1, True, implicit=True))


def test_what_a_blend_has_not() -> None:
    one = blend(run_of(1, True), run_of(1, True))
    with pytest.raises(RunError, match="factors of their own"):
        one.similar()
    with pytest.raises(RunError, match="not scored"):
        one.evaluate("t.csv", n=5)
    with pytest.raises(RunError, match="asked of the members"):
        one.predict("t.csv", members=True)


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
    found = blend.recommend(["u04", "nobody"], n=3)
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
