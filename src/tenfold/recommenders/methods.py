"""The methods that find latent factors: what fits each, which choices it takes, what can be tuned of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from tenfold.collab.outside import WIDTH
from tenfold.errors import RecipeError
from tenfold.events import Listener
from tenfold.recipe import FactorRecipe
from tenfold.values import FactorModel, Interactions, Ratings, SideFeatures

if TYPE_CHECKING:
    from tenfold.collab.item_scorer import ItemScorer
    from tenfold.collab.predict import PairScorer

__all__ = [
    "METHODS",
    "Method",
    "fit_items",
    "fit_model",
    "fit_scorer",
    "side_notes",
    "size_notes",
    "unused_choices",
]

Sides = Mapping[str, SideFeatures]
#: Factors to try where none are given.
FACTORS = (2, 4, 8, 16, 32, 64)
#: Ridges of weights between items to try.
RIDGES = (20, 50, 100, 200, 400, 800)


@dataclass(frozen=True)
class Method:
    """One way to find latent factors.

    fit: (ratings, recipe, side features, on_progress) -> model; None: it finds no factors (`fit_items`).
    takes: the fields of the recipe that only this method uses; it ignores those of the other methods.
    side: whether its factors learn from side features. The others use them for rows without ratings only.
    grids: field -> values to try when it is tuned.  event_grids: the same, of events.
    default: (field, recipe, ratings) -> the value of a field that is not given.
    """

    fit: Callable[[Ratings, FactorRecipe, Sides, Listener | None], FactorModel] | None
    takes: tuple[str, ...]
    default: Callable[[str, FactorRecipe, Ratings], float]
    side: bool = False
    grids: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    event_grids: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


# Each method is loaded only when it is asked for: compiled kernels take their time even from the cache.


def _fit_gibbs(
    ratings: Ratings, recipe: FactorRecipe, sides: Sides, on_progress: Listener | None
) -> FactorModel:
    from tenfold.collab.gibbs import fit_gibbs

    return fit_gibbs(
        ratings,
        factors=recipe.factors,
        sweeps=recipe.sweeps,
        implicit=recipe.implicit,
        use_time=recipe.use_time,
        user_side=sides.get("user"),
        item_side=sides.get("item"),
        seed=recipe.seed,
        threads=recipe.threads,
        on_sweep=on_progress,
    )


def _fit_als(
    ratings: Ratings, recipe: FactorRecipe, sides: Sides, on_progress: Listener | None
) -> FactorModel:
    from tenfold.collab.als import fit_als

    return fit_als(
        ratings,
        factors=recipe.factors,
        epochs=recipe.epochs,
        weight_decay=recipe.weight_decay,
        unobserved=recipe.unobserved,
        use_strength=recipe.use_strength is not False,
        shown=recipe.shown,
        seed=recipe.seed,
        threads=recipe.threads,
    )


def _fit_sgd(
    ratings: Ratings, recipe: FactorRecipe, sides: Sides, on_progress: Listener | None
) -> FactorModel:
    from tenfold.collab.sgd import fit_sgd

    return fit_sgd(
        ratings,
        factors=recipe.factors,
        epochs=recipe.epochs,
        lr=recipe.lr,
        weight_decay=recipe.weight_decay,
        sigmoid_range=recipe.range,
        use_range=recipe.use_range,
        use_bias=recipe.use_bias,
        seed=recipe.seed,
        threads=recipe.threads,
        on_epoch=on_progress,
    )


def _default_of_gibbs(name: str, recipe: FactorRecipe, ratings: Ratings) -> float:
    from tenfold.collab.scale import choose_factors

    return choose_factors(len(ratings.ratings))


def _default_of_als(name: str, recipe: FactorRecipe, ratings: Ratings) -> float:
    from tenfold.collab import als

    if name == "factors":
        return als.choose_als_factors(ratings)
    return als.choose_event_decay(ratings) if ratings.implicit else als.WEIGHT_DECAY


def _default_of_sgd(name: str, recipe: FactorRecipe, ratings: Ratings) -> float:
    from tenfold.collab import sgd

    if name == "factors":
        return sgd.choose_sgd_factors(len(ratings.ratings))
    if name == "lr":
        return sgd.RATE
    return sgd.WEIGHT_DECAY if recipe.use_range else sgd.PLAIN_WEIGHT_DECAY


def _default_of_ease(name: str, recipe: FactorRecipe, ratings: Ratings) -> float:
    from tenfold.collab import item_item

    return item_item.RIDGE


#: A recipe's `method` -> what it is. A new method stands here and in the recipe's list of words.
METHODS: Mapping[str, Method] = {
    "gibbs": Method(
        _fit_gibbs,
        ("sweeps", "implicit", "use_time"),
        _default_of_gibbs,
        side=True,
        grids={"factors": FACTORS},
        event_grids={"factors": FACTORS},
    ),
    "als": Method(
        _fit_als,
        ("epochs", "weight_decay", "unobserved", "use_strength", "half_life", "shown"),
        _default_of_als,
        grids={"factors": FACTORS, "weight_decay": (0, 1e-3, 1e-2, 1e-1, 1, 10)},
        event_grids={"factors": FACTORS, "weight_decay": (1, 3, 10, 30, 100)},
    ),
    "ease": Method(
        None,
        ("core_items", "weight_decay", "use_strength", "half_life", "shown"),
        _default_of_ease,
        event_grids={"weight_decay": RIDGES},
    ),
    "sgd": Method(
        _fit_sgd,
        ("epochs", "weight_decay", "lr", "range", "use_range", "use_bias"),
        _default_of_sgd,
        grids={
            "factors": FACTORS,
            "weight_decay": (0, 1e-3, 1e-2, 1e-1, 1),
            "lr": (3e-3, 1e-2, 3e-2, 1e-1, 3e-1),
        },
    ),
}


def fit_model(
    ratings: Ratings, recipe: FactorRecipe, sides: Sides, on_progress: Listener | None = None
) -> FactorModel:
    """Fit the factors of the recipe's method to these ratings; nothing is written."""
    fit = METHODS[recipe.method].fit
    if fit is None:
        raise RecipeError(f"method {recipe.method} finds no factors", fix="--method als does, for events")
    return fit(ratings, recipe, sides, on_progress)


def fit_items(ratings: Ratings, recipe: FactorRecipe) -> tuple[ItemScorer, list[str]]:
    """Fit weights between items to these events, and say what the recent ones count; nothing is written."""
    from tenfold.collab.item_item import fit_item_item, item_vectors
    from tenfold.collab.item_scorer import ItemScorer
    from tenfold.collab.recency import with_recent
    from tenfold.collab.scale import measure

    measure(ratings)
    counts = np.bincount(ratings.user_index, minlength=len(ratings.users))
    known = Interactions(
        users=ratings.users,
        items=ratings.items,
        scale=ratings.scale,
        seen_start=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        seen_items=ratings.item_index,
        seen_ratings=ratings.ratings,
        seen_times=ratings.order,
        item_names=ratings.item_names,
        implicit=True,
    )
    strong = recipe.half_life is not None if recipe.use_strength is None else recipe.use_strength
    choices = {"ridge": recipe.weight_decay, "core": recipe.core_items, "use_strength": strong}
    shown = None
    if ratings.shown is not None and recipe.shown is not None:
        shown = ratings.shown, recipe.shown
    fitted = fit_item_item(known, **choices, shown=shown, threads=recipe.threads)
    vectors = item_vectors(known, fitted, seed=recipe.seed)
    model, notes = with_recent(fitted, known, recipe.recent)
    if not model.recent:
        known = replace(known, seen_times=None)
    return ItemScorer(known, model, vectors), notes


def fit_scorer(
    ratings: Ratings, recipe: FactorRecipe, sides: Sides, on_progress: Listener | None = None
) -> PairScorer:
    """Fit the recipe's method; what scores pairs."""
    if METHODS[recipe.method].fit is None:
        return fit_items(ratings, recipe)[0]
    from tenfold.collab.predict import FactorScorer

    return FactorScorer(fit_model(ratings, recipe, sides, on_progress))


def side_notes(recipe: FactorRecipe, sides: Sides) -> list[str]:
    """A message where the method's factors do not learn from side columns."""
    if not sides or METHODS[recipe.method].side:
        return []
    notes, scored = [], list(sides)
    if METHODS[recipe.method].fit is None and "user" in sides:
        columns = ", ".join(sides["user"].columns)
        notes = [f"method {recipe.method} does not use columns of users ({columns}): --method als does"]
        scored.remove("user")
    columns = ", ".join(name for role in scored for name in sides[role].columns)
    said = f"method {recipe.method}: side columns ({columns}) score those without ratings, and no others"
    return [*notes, *([said] if columns else [])]


def size_notes(scorer: ItemScorer) -> list[str]:
    """How many items have weights, and which."""
    model, items = scorer.model, len(scorer.interactions.items)
    core, joined = len(model.core), 0 if model.joined is None else len(model.joined.items)
    rest = items - core - joined
    notes = f"weights between {core:,} items" + (f" of {items:,}" if core < items else "")
    if joined:
        each = min(WIDTH, core)
        notes += f"; {joined:,} more are joined to these, each by its {each} largest weights"
    return [notes + (f"; {rest:,} others follow by popularity" if rest else "")]


def unused_choices(recipe: FactorRecipe) -> list[str]:
    """Messages about choices that were made and that the method ignores."""
    takers: dict[str, list[str]] = {}
    for word in sorted(METHODS):
        for name in METHODS[word].takes:
            takers.setdefault(name, []).append(word)
    return [
        f"{name} is of method {' and '.join(methods)}: {recipe.method} has no use for it"
        for name, methods in takers.items()
        if name in recipe.model_fields_set
        and recipe.method not in methods
        and getattr(recipe, name) != type(recipe).model_fields[name].default
    ]
