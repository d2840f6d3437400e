"""The table of methods: each takes choices of its own, and says which it ignores."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from collab.some_ratings import known_ratings
from tenfold.events import Event, SweepEnded
from tenfold.recipe import FactorRecipe
from tenfold.recommenders.methods import METHODS, fit_model, side_notes, unused_choices
from tenfold.values import SideFeatures

RATINGS, _ = known_ratings(users=30, items=20, count=300)


def test_every_word_of_the_recipe_is_a_method_and_its_choices_are_fields() -> None:
    assert set(METHODS) == set(get_args(FactorRecipe.model_fields["method"].annotation))
    for method in METHODS.values():
        assert set(method.takes) | set(method.grids) <= set(FactorRecipe.model_fields)


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.fit])
def test_a_method_fits_with_what_stands_in_for_its_fields(name: str) -> None:
    heard: list[Event] = []
    recipe = FactorRecipe(method=name, sweeps=4, epochs=2)
    model = fit_model(RATINGS, recipe, {}, heard.append)
    assert model.method == name and len(model.users) == 30
    assert model.item_factors.shape[1] >= METHODS[name].default("factors", recipe, RATINGS)
    assert all(isinstance(event, SweepEnded) and event.done <= event.total for event in heard)
    for field, grid in METHODS[name].grids.items():
        assert grid == tuple(sorted(grid)) and METHODS[name].default(field, recipe, RATINGS) > 0


def test_choices_of_other_methods_are_told_and_what_side_columns_are_for() -> None:
    said = unused_choices(FactorRecipe(method="als", sweeps=9, epochs=3, lr=0.1, use_bias=True))
    assert sorted(said) == [
        "lr is of method sgd: als has no use for it",
        "sweeps is of method gibbs: als has no use for it",
    ]
    assert unused_choices(FactorRecipe(method="gibbs", epochs=3)) == [
        "epochs is of method als and sgd: gibbs has no use for it"
    ]
    none = np.zeros(0, np.uint32)
    sides = {"item": SideFeatures((), none, ("kind", "year"), np.zeros(1, np.int64), none)}
    assert side_notes(FactorRecipe(method="gibbs"), sides) == side_notes(FactorRecipe(method="als"), {}) == []
    said = side_notes(FactorRecipe(method="sgd"), sides)
    assert said == ["method sgd: side columns (kind, year) score those without ratings, and no others"]
    sides["user"] = SideFeatures((), none, ("age",), np.zeros(1, np.int64), none)
    assert side_notes(FactorRecipe(method="ease"), sides) == [
        "method ease does not use columns of users (age): --method als does",
        "method ease: side columns (kind, year) score those without ratings, and no others",
    ]
