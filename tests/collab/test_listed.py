"""Rows of items that nobody has rated, from the features of their columns."""

from __future__ import annotations

import numpy as np
import pytest

from collab.some_ratings import make_ratings
from tenfold.collab.als import fit_als
from tenfold.collab.ids import unrated_items
from tenfold.collab.listed import add_listed
from tenfold.collab.predict import FactorScorer, predict_pairs
from tenfold.values import SideFeatures


def side_of(feature: np.ndarray) -> SideFeatures:
    """One of three features to each item."""
    names, start = ("kind=a", "kind=b", "kind=c"), np.arange(len(feature) + 1)
    return SideFeatures(names, np.zeros(3, np.uint32), ("kind",), start, feature.astype(np.uint32))


def fitted(kind: np.ndarray, pull: float):
    """30 users by 60 items; `pull` is how much better each kind is than the one before. Half are rated."""
    rng = np.random.default_rng(0)
    user, item = np.nonzero(rng.random((30, 60)) < 0.5)
    rating = 3 + pull * (kind[item].astype(float) - 1) + rng.normal(0, 0.5, len(user))
    return fit_als(make_ratings(user, item, rating, users=30, items=60), factors=2)


NEW = np.array(["x", "y", "z"], object)


def test_a_kind_that_matters_is_found_again() -> None:
    kind = np.append(np.random.default_rng(1).integers(0, 3, 60), [0, 1, 2])
    model = fitted(kind[:60], 1.0)
    found, notes = add_listed(model, NEW, side_of(kind))
    assert notes == ["3 listed items that nobody has rated are scored by their columns (kind)"]
    score = predict_pairs(FactorScorer(found), "u3", NEW).score
    assert score.tolist() == pytest.approx([2, 3, 4], abs=0.35)
    # Whatever was there stays to the bit.
    assert found.item_factors[:60].tobytes() == model.item_factors.tobytes()
    assert unrated_items(found).tolist() == [False] * 60 + [True] * 3 and not unrated_items(model).any()


@pytest.mark.case(
    "C8", "neighbour: columns that foretell nothing leave unrated items at the average item's score"
)
def test_a_kind_that_foretells_nothing() -> None:
    kind = np.append(np.random.default_rng(1).integers(0, 3, 60), [0, 1, 2])
    found, notes = add_listed(fitted(kind[:60], 0.0), NEW, side_of(kind))
    score = predict_pairs(FactorScorer(found), "u3", NEW).score
    average = predict_pairs(FactorScorer(found), "u3", "nothing").score[0]
    assert score.tolist() == pytest.approx([average] * 3, abs=0.1) and notes[0].startswith("3 listed items")


def test_an_item_without_features_is_the_average_one_and_one_kind_alone_teaches_nothing() -> None:
    kind = np.zeros(63, np.int64)
    side = side_of(kind)
    found, notes = add_listed(fitted(kind[:60], 1.0), NEW, side)
    assert notes == [
        "3 listed items that nobody has rated are scored as the average item: kind foretells nothing"
    ]
    assert np.ptp(predict_pairs(FactorScorer(found), "u3", NEW).score) == 0
