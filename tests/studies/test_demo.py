"""The demo's data are what a shop or a competition would give; its figures are measured against the truth."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from tenfold.errors import RecipeError
from tenfold.recommenders import factors as ratingsfit
from tenfold.studies.demo import (
    ACTS,
    DemoRatings,
    chosen_acts,
    evaluate_demo_ratings,
    fit_demo_ratings,
    write_demo_data,
    write_demo_ratings,
)
from tenfold.values import FactorModel


def read(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_sample_asks_for_the_test_rows_in_an_order_of_its_own(tmp_path) -> None:
    data = write_demo_data(tmp_path, rows=6, test_rows=4)
    train, test, sample, truth = (read(one) for one in (data.train, data.test, data.sample, data.truth))
    assert (len(train), len(test)) == (6, 4) and [set(row) for row in test] == [{"image_id"}] * 4
    assert [row["image_id"] for row in sample] == [row["image_id"] for row in reversed(test)]
    assert [row["image_id"] for row in truth] == [row["image_id"] for row in test]
    assert all((data.photos / row["image_id"]).is_file() for row in (*train, *test))


def test_acts_are_all_or_the_one_named() -> None:
    assert chosen_acts(None) == ACTS and chosen_acts("ratings") == ("ratings",)
    with pytest.raises(RecipeError, match="did you mean 'leaves'"):
        chosen_acts("leafs")


@pytest.fixture
def drawn(tmp_path) -> DemoRatings:
    return write_demo_ratings(tmp_path, users=60, items=40, ratings=1200, seed=5)


def test_a_tenth_of_the_ratings_is_kept_from_the_fit(drawn) -> None:
    fitted, held = read(drawn.ratings), read(drawn.held_out)
    assert len(fitted) + len(held) == 1200 and 80 < len(held) < 160
    pairs = {(row["user"], row["item"]) for row in (*fitted, *held)}
    assert len(pairs) == 1200
    assert [row["item"] for row in read(drawn.films)] == list(drawn.truth["items"])


def judged(drawn: DemoRatings, folder: Path, monkeypatch: pytest.MonkeyPatch, turn) -> dict:
    """The demo's figures for a model made of the truth, its item factors changed by `turn`."""
    truth = drawn.truth

    def fit(ratings, recipe, sides, on_progress=None) -> FactorModel:
        def rows(known, ids):
            place = {one: row for row, one in enumerate(known)}
            return np.array([place[one] for one in ids])

        user, item = rows(truth["users"], ratings.users), rows(truth["items"], ratings.items)
        return FactorModel(
            method="gibbs",
            users=ratings.users,
            items=ratings.items,
            mean=truth["mean"],
            user_bias=truth["user_bias"][user].astype(np.float32),
            item_bias=truth["item_bias"][item].astype(np.float32),
            user_factors=truth["user_factors"][user].astype(np.float32),
            item_factors=turn(truth["item_factors"][item]).astype(np.float32),
            scale=ratings.scale,
            sigmoid_range=None,
            seen_start=np.searchsorted(ratings.user_index, np.arange(len(user) + 1)).astype(np.int64),
            seen_items=ratings.item_index,
            seen_ratings=ratings.ratings,
            item_names=ratings.item_names,
        )

    monkeypatch.setattr(ratingsfit, "fit_model", fit)
    return evaluate_demo_ratings(fit_demo_ratings(folder, drawn), drawn)


def test_the_truth_finds_all_its_neighbours_and_misses_by_its_noise(drawn, tmp_path, monkeypatch) -> None:
    found = judged(drawn, tmp_path, monkeypatch, lambda factors: factors)
    # Films of few ratings stand lower among neighbours than the truth has them.
    assert 9 < found["neighbours_found"] <= found["neighbours"] == 10
    assert found["films"] - 2 <= found["nearest_found"] <= found["films"]
    assert found["rmse"] == pytest.approx(found["truth_rmse"], abs=1e-5)
    # Noise of 0.4, and what rounding to whole stars adds; the ends of the scale take a little away.
    assert 0.35 < found["truth_rmse"] < (0.4**2 + 1 / 12) ** 0.5 + 0.08
    assert all(one["truth"] == pytest.approx(one["score"], abs=1e-5) for one in found["recommended"])
    assert len(found["recommended"]) == 10 and all(one["reasons"] for one in found["recommended"])


def test_a_run_that_learnt_nothing_finds_neighbours_by_chance(drawn, tmp_path, monkeypatch) -> None:
    rng = np.random.default_rng(0)
    found = judged(drawn, tmp_path, monkeypatch, lambda factors: rng.permutation(factors))
    assert found["neighbours_found"] == pytest.approx(found["neighbours_by_chance"], abs=1.2)
    assert found["rmse"] > 1.5 * found["truth_rmse"] and found["nearest_found"] < 25
