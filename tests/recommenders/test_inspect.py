"""What is shown of a ratings run is what the run says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tenfold.collab.predict import FactorScorer, predict_pairs
from tenfold.errors import RecipeError
from tenfold.recommenders.factors import FactorRun
from tenfold.recommenders.inspect import inspect_run, inspection_sections
from tenfold.reports.html import report_html
from tenfold.runs.record import RunRecord
from tenfold.schema import IdColumn, RatingTarget, Schema
from tenfold.values import FactorModel

USERS, ITEMS = 12, 9


def model_of(**changes) -> FactorModel:
    rng = np.random.default_rng(3)
    user, item = np.nonzero(rng.random((USERS, ITEMS)) < 0.6)
    parts = {
        "method": "als",
        "users": np.array([f"u{one}" for one in range(USERS)], object),
        "items": np.array([f"m{one}" for one in range(ITEMS)], object),
        "mean": 3.0,
        "user_bias": rng.normal(0, 0.3, USERS).astype(np.float32),
        "item_bias": rng.normal(0, 0.3, ITEMS).astype(np.float32),
        "user_factors": rng.normal(0.4, 0.5, (USERS, 3)).astype(np.float32),
        "item_factors": rng.normal(0, 0.5, (ITEMS, 3)).astype(np.float32),
        "scale": (1.0, 5.0),
        "sigmoid_range": None,
        "seen_start": np.searchsorted(user, np.arange(USERS + 1)).astype(np.int64),
        "seen_items": item.astype(np.uint32),
        "seen_ratings": rng.integers(1, 6, len(item)).astype(np.float32),
        "item_names": {"m0": "Sun & <Moon>"},
        "noise_precision": 2.0,
    }
    return FactorModel(**{**parts, **changes})


def run_of(model: FactorModel) -> FactorRun:
    schema = Schema(inputs=(IdColumn(name="user"), IdColumn(name="item")), targets=(RatingTarget(name="r"),))
    return FactorRun(Path("runs/x"), schema, RunRecord({}), folded=FactorScorer(model))


def rated(model: FactorModel) -> np.ndarray:
    table = np.full((len(model.users), len(model.items)), np.nan)
    user = np.repeat(np.arange(len(model.users)), np.diff(model.seen_start))
    table[user, model.seen_items] = model.seen_ratings
    return table


def test_the_crosstab_is_of_the_busiest_users_and_the_most_rated_items() -> None:
    model = model_of()
    table, found = rated(model), inspect_run(run_of(model), n=4).crosstab
    users, items = [int(one[1:]) for one in found.users], [int(one[1:]) for one in found.items]
    given, received = (~np.isnan(table)).sum(1), (~np.isnan(table)).sum(0)
    assert sorted(given[users]) == sorted(given)[-4:] and sorted(received[items]) == sorted(received)[-4:]
    np.testing.assert_array_equal(found.rating, table[np.ix_(users, items)])
    for row, user in enumerate(found.users):
        wanted = predict_pairs(FactorScorer(model), user, found.items).score
        np.testing.assert_array_equal(found.predicted[row], wanted)


def test_fewer_than_asked_for_are_shown_where_there_are_fewer() -> None:
    found = inspect_run(run_of(model_of()), n=50)
    assert found.crosstab.rating.shape == (USERS, ITEMS)
    assert len(found.best) == len(found.worst) == ITEMS // 2
    for n in (0, -1, True, 2.5):
        with pytest.raises(RecipeError, match="crosstab"):
            inspect_run(run_of(model_of()), n=n)


def test_items_by_bias_do_not_change_when_factors_and_biases_trade_places() -> None:
    model = model_of()
    move = np.array([0.7, -1.1, 0.4], np.float32)
    # The same scores: p moved by a constant, and item biases that make up for it.
    moved = replace(
        model, user_factors=model.user_factors + move, item_bias=model.item_bias - model.item_factors @ move
    )
    one, two = inspect_run(run_of(model)), inspect_run(run_of(moved))
    assert [item.item for item in one.best] == [item.item for item in two.best]
    np.testing.assert_allclose([item.bias for item in one.best], [item.bias for item in two.best], atol=1e-5)


def test_an_items_audience_is_who_rated_it() -> None:
    model = model_of(scale=(-50.0, 50.0))
    table = rated(model)
    for one in (*inspect_run(run_of(model)).best, *inspect_run(run_of(model)).worst):
        item = int(one.item[1:])
        who = np.flatnonzero(~np.isnan(table[:, item]))
        scores = predict_pairs(FactorScorer(model), model.users[who], one.item).score
        assert one.ratings == len(who) and one.rated == pytest.approx(table[who, item].mean())
        assert one.audience == pytest.approx(float(scores.mean()) - one.bias, abs=1e-5)


def test_an_item_that_pleases_more_than_its_kind_comes_first() -> None:
    bias = np.zeros(ITEMS, np.float32)
    bias[4], bias[7] = 1.5, -1.5
    found = inspect_run(run_of(model_of(item_bias=bias, user_factors=np.zeros((USERS, 3), np.float32))))
    assert found.best[0].item == "m4" and found.worst[0].item == "m7"
    assert found.best[0].bias - found.worst[0].bias == pytest.approx(3.0)


def test_the_map_keeps_the_two_directions_in_which_items_differ_most() -> None:
    rng = np.random.default_rng(0)
    plane, _ = np.linalg.qr(rng.normal(size=(3, 2)))
    flat = rng.normal(size=(ITEMS, 2)) * (3, 1)
    found = inspect_run(run_of(model_of(item_factors=(flat @ plane.T).astype(np.float32)))).map
    assert found is not None and sum(found.share) == pytest.approx(1) and found.share[0] > found.share[1]
    factors = {one: flat[int(one[1:])] for one in found.items}
    wanted = [np.linalg.norm(factors[a] - factors[b]) for a in found.items for b in found.items]
    places = [np.linalg.norm(a - b) for a in found.place for b in found.place]
    np.testing.assert_allclose(places, wanted, atol=1e-5)
    low, high = found.ends(0)
    assert found.place[found.names.index(low[0]), 0] == found.place[:, 0].min()
    assert found.place[found.names.index(high[0]), 0] == found.place[:, 0].max()


def test_one_hot_times_the_runs_own_matrix_is_its_row() -> None:
    model = model_of()
    found = inspect_run(run_of(model))
    for one, factors in zip(found.lookups, (model.user_factors, model.item_factors), strict=True):
        assert one.equal and one.product.tobytes() == factors[one.row].tobytes()
        np.testing.assert_array_equal(one.factors, factors[one.shown])
    terms = found.terms
    parts = [terms[name] for name in ("mean", "user_bias", "item_bias", "dot_product")]
    assert sum(parts) == pytest.approx(terms["sum"])
    score = predict_pairs(FactorScorer(model), found.lookups[0].id, found.lookups[1].id).score[0]
    assert terms["score"] == score
    # The pair is a gap of the crosstab: a score that nobody gave.
    row = found.crosstab.users.index(found.lookups[0].id)
    assert np.isnan(found.crosstab.rating[row, found.crosstab.items.index(found.lookups[1].id)])


@pytest.mark.parametrize(
    "changes",
    [
        {"sigmoid_range": (0.5, 5.5)},
        {"implicit": True},
        {"item_factors": np.zeros((ITEMS, 3), np.float32), "item_bias": np.zeros(ITEMS, np.float32)},
        {"user_factors": np.ones((USERS, 1), np.float32), "item_factors": np.eye(ITEMS, 1, dtype=np.float32)},
        {"item_names": {f"m{one}": "<script>alert(1)</script>" for one in range(ITEMS)}},
    ],
)
def test_every_kind_of_run_has_a_record_and_a_page(changes) -> None:
    found = inspect_run(run_of(model_of(**changes)), n=5)
    again = json.loads(json.dumps(found.record(), allow_nan=False))
    assert np.array(again["crosstab"]["rating"], float).shape == (5, 5)
    assert {"best", "worst", "map", "lookups", "terms", "notes"} <= set(again)
    page = report_html("t", inspection_sections(found), lead=found.lead)
    assert "<script>alert(1)</script>" not in page
    if not found.best:
        assert found.notes and "Items by bias" not in page


def test_one_user_and_one_item_are_enough() -> None:
    model = model_of(
        users=np.array(["u0"], object),
        items=np.array(["m0"], object),
        user_bias=np.zeros(1, np.float32),
        item_bias=np.zeros(1, np.float32),
        user_factors=np.ones((1, 3), np.float32),
        item_factors=np.ones((1, 3), np.float32),
        seen_start=np.array([0, 1]),
        seen_items=np.zeros(1, np.uint32),
        seen_ratings=np.full(1, 4, np.float32),
    )
    found = inspect_run(run_of(model))
    assert found.crosstab.names == ["Sun & <Moon>"] and found.map is None and found.best == []
    assert "Sun &amp; &lt;Moon&gt;" in report_html("t", inspection_sections(found))
