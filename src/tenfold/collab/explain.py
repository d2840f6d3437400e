"""Why an item is recommended: how much each rated item adds to its score.

A user's factors are treated as the solution of a ridge regression on the factors of what they rated,

    p = A^-1 sum_j w_j q_j y_j,      A = sum_j w_j q_j q_j' + R

so that q_i . p is the sum over j of w_j (q_i' A^-1 q_j) y_j, and the term of j is what its rating adds to
the score of i (Hu, Koren and Volinsky 2008, "Collaborative filtering for implicit feedback datasets",
equation 7).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tenfold.collab.events import FLOOR, event_regression
from tenfold.values import FactorModel, Interactions, id_text

__all__ = ["Explainer", "item_labels"]


class Explainer:
    """Explains the scores of a model. What all users share is computed once.

    Ratings: y_j is the rating of j minus mean and biases. For alternating least squares R is that of the fit
    and w_j = 1, and the terms add up to the model's p_u . q_i. For other methods w_j = 1 / noise of item j,
    and R is the noise over the variance of each factor among users: a linear approximation. With a sigmoid,
    ratings go through its inverse first.
    Events: y_j = 1 + the confidence in j, and R includes unobserved pairs, as in the fit.
    """

    def __init__(self, model: FactorModel) -> None:
        self.model = model

    def reasons(
        self, user: int, items: NDArray[np.integer], count: int = 3
    ) -> list[tuple[tuple[str, float], ...]]:
        """For each item: the rated items with the largest terms of its score, and these terms.

        user, items: indices; an unknown user (-1) has no reasons.
        """
        rated, moved = self.terms(user, items)
        if not len(rated):
            return [()] * len(items)
        order = np.argsort(-np.abs(moved), axis=1, kind="stable")[:, :count]
        names = [self._label(item) for item in self.model.items[rated]]
        return [
            tuple((names[j], float(moved[row, j])) for j in best if moved[row, j] != 0)
            for row, best in enumerate(order)
        ]

    def terms(self, user: int, items: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The user's rated items, and (items, rated) how much each of them adds to the score of each item."""
        model = self.model
        if user < 0:
            return np.empty(0, np.int64), np.empty((len(items), 0))
        part = slice(int(model.seen_start[user]), int(model.seen_start[user + 1]))
        rated, ratings = model.seen_items[part].astype(np.int64), model.seen_ratings[part].astype(np.float64)
        q = model.item_factors[rated].astype(np.float64)
        if model.implicit:
            weight, pull, unmet = event_regression(model.extra, ratings, self._gram, len(model.items))
            a = unmet + (q.T * weight) @ q
        else:
            weight, ridge = self._ridge(user, rated)
            a, pull = (q.T * weight) @ q + np.diag(ridge), weight * self._rest(user, rated, ratings)
        influence = model.item_factors[items].astype(np.float64) @ np.linalg.solve(a, q.T)
        return rated, influence * pull

    @cached_property
    def _label(self) -> Callable[[str], str]:
        return item_labels(self.model)

    @cached_property
    def _gram(self) -> NDArray[np.float64]:
        """Products of the factors of all items, as unobserved pairs count too."""
        return (self.model.item_factors.T @ self.model.item_factors).astype(np.float64)

    @cached_property
    def _spread(self) -> NDArray[np.float64]:
        """Noise variance over the variance of each factor among users."""
        model = self.model
        noise = 1 / model.noise_precision if model.noise_precision > 0 else 1.0
        return noise / np.maximum((model.user_factors.astype(np.float64) ** 2).mean(axis=0), 1e-6)

    def _ridge(
        self, user: int, rated: NDArray[np.int64]
    ) -> tuple[float | NDArray[np.float64], NDArray[np.float64]]:
        """Weights w of the rated items, and the diagonal of R."""
        model = self.model
        extra = model.extra
        if model.method == "als" and extra.weight_decay is not None and extra.spread is not None:
            each = max(extra.weight_decay * len(rated), FLOOR)
            return 1.0, np.full(model.item_factors.shape[1], extra.spread * each)
        noise, own = extra.item_noise, extra.user_noise
        weight = 1.0 if noise is None else 1 / noise[rated].astype(np.float64)
        return weight, self._spread * (1.0 if own is None else float(own[user]))

    def _rest(self, user: int, rated: NDArray[np.int64], ratings: NDArray[np.float64]) -> NDArray[np.float64]:
        """The part of each rating that the factors explain."""
        model = self.model
        if model.sigmoid_range is not None:
            low, high = model.sigmoid_range
            inner = np.clip((ratings - low) / (high - low), 1e-3, 1 - 1e-3)
            ratings = np.log(inner / (1 - inner))
        return ratings - model.mean - model.user_bias[user] - model.item_bias[rated]


def item_labels(known: Interactions) -> Callable[[str], str]:
    """A function from an item's id to a unique label: its title, or the id if it has none.

    A title that several items share, or that equals an id, is followed by the id.
    """
    count = Counter(id_text(title) for title in known.item_names.values() if title)
    ids = set(known.items) | set(known.item_names)
    shared = {title for title, many in count.items() if many > 1 or title in ids}

    def label(item: str) -> str:
        title = known.item_names.get(item)
        if not title:
            return str(item)
        return f"{title} ({item})" if id_text(title) in shared else title

    return label
