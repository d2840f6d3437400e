"""Scores of pairs of users and items; of an unknown user or item by a fallback, and marked.

A factor model gives score = clip(link(mean + b_u + c_i + p_u . q_i)), where link is the identity or the
sigmoid over the model's range. An unknown user counts as the average user (the mean of biases and factors
over users, each weighted by how many ratings they gave), an unknown item likewise; a pair with neither known
is the mean rating.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from tenfold.collab.explain import Explainer
from tenfold.collab.ids import (
    as_ids,
    count_listed,
    count_listed_users,
    count_titles,
    count_unknown,
    item_states,
    locate,
    refuse_unknown,
    user_states,
)
from tenfold.collab.scale import sigmoid
from tenfold.collab.times import time_shifts
from tenfold.collab.top import FORBIDDEN, first_columns
from tenfold.data.tables.table import Table
from tenfold.data.tables.times import read_times
from tenfold.errors import RatingsError, RecipeError, RunError, did_you_mean
from tenfold.values import FactorModel, Interactions, PairPredictions, Ratings

__all__ = ["Best", "Cells", "FactorScorer", "PairScorer", "predict_pairs", "refuse_columns"]

#: Pairs at once: enough to amortize the calls, few enough to stay in the cache of a small machine.
CHUNK = 1 << 15
#: Values of further columns by name, (pairs,) each.
Cells = Mapping[str, NDArray[np.generic]]
#: A slice of rows of users -> row within it, and item, of each pair that is not to be listed.
RuledOut = Callable[[slice], tuple[NDArray[np.int64], NDArray[np.int64]]]
#: (user, items, count) -> for each item the titles of rated items that moved its score most, with how far.
Reasons = Callable[[int, NDArray[np.int64], int], list[tuple[tuple[str, float], ...]]]


#: (ids of users, ids of items, ratings) -> a scorer that has learned these ratings too, and messages.
class FoldIn(Protocol):
    """Learns further ratings without a new fit."""

    def __call__(
        self,
        users: NDArray[np.object_],
        items: NDArray[np.object_],
        ratings: NDArray[np.float32],
        times: NDArray[np.float64] | None = None,
        /,
    ) -> tuple[PairScorer, list[str]]:
        """The scorer with the ratings (users[k], items[k], ratings[k]), and messages.

        times: numbers that rise in time, in the unit of `Interactions.seen_times`. Without them, ratings come
        after all that are known.
        """
        ...


class Best(NamedTuple):
    """The items of a list, best first: row of the users that were asked for, item, score, deviation.

    rank: what decides the order, where it is not the score.
    """

    row: NDArray[np.int64]
    item: NDArray[np.int64]
    score: NDArray[np.float32]
    deviation: NDArray[np.float32]
    rank: NDArray[np.float32] | None = None


class PairScorer(Protocol):
    """Scores pairs of users and items by their indices in `interactions`; -1 is unknown."""

    @property
    def interactions(self) -> Interactions:
        """Who and what is known, and who rated what."""
        ...

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of a table that a score needs besides user and item."""
        ...

    @property
    def reasons(self) -> Reasons | None:
        """Why an item is listed; None if this scorer cannot tell."""
        ...

    def cells(self, table: Table, ratings: Ratings | None = None) -> tuple[Cells, list[str]]:
        """Values of further columns for each row, or for each of these ratings; and messages."""
        ...

    def scores(
        self, users: NDArray[np.int64], items: NDArray[np.int64], cells: Cells, /
    ) -> tuple[NDArray[np.floating], NDArray[np.float32]]:
        """(pairs,) scores and their deviations, NaN where unknown."""
        ...

    def means(
        self, users: NDArray[np.int64], items: NDArray[np.int64], cells: Cells, /
    ) -> tuple[NDArray[np.floating], NDArray[np.float32]]:
        """As `scores`, not cut to the scale of the ratings."""
        ...

    def best(
        self, users: NDArray[np.int64], allowed: NDArray[np.bool_], n: int, out: RuledOut, threads: int | None
    ) -> Best:
        """The n allowed items of highest score for each user, without those that are ruled out."""
        ...

    def vectors(self, side: str) -> NDArray[np.float32]:
        """(users or items, n) vectors to compare by cosine. side: ``user`` or ``item``."""
        ...

    @property
    def fold_in(self) -> FoldIn | None:
        """Learns further ratings without a new fit; None if the scorer cannot."""
        ...

    def on(self, device: str) -> PairScorer:
        """The scorer on a device; itself where it computes on the CPU alone."""
        ...


def predict_pairs(
    scorer: PairScorer,
    users: object,
    items: object,
    cells: Cells | None = None,
    *,
    unknown: str = "fallback",
    ranking: bool = False,
) -> PairPredictions:
    """Scores of the pairs (users[k], items[k]); a single user or item goes with all of the other side.

    users, items: ids in any spelling (1, "1", np.int64(1), 1.0), a single id or many.
    cells: of `PairScorer.cells`. Where they are None and the scorer needs some, it is a RunError.
    unknown: ``fallback`` answers pairs with an unknown user or item as the module says and marks them;
        ``raise`` is a RatingsError that lists them.
    ranking: a model of events ranks items but predicts no ratings: without ranking=True it is a
        RatingsError.
    """
    if unknown not in ("fallback", "raise"):
        raise RecipeError(
            f"unknown = {unknown!r} is not known", fix=did_you_mean(unknown, ("fallback", "raise"))
        )
    known = scorer.interactions
    if known.implicit and not ranking:
        raise RatingsError(
            "this run was fitted to events, so it ranks items and predicts no ratings",
            fix="ask for recommendations (tenfold recommend), or for ranking scores (ranking=True)",
        )
    if cells is None:
        refuse_columns(scorer, "a pair of ids")
    user_ids, item_ids = _paired(as_ids(users), as_ids(items))
    user_index, item_index = locate(user_ids, known.users), locate(item_ids, known.items)
    if unknown == "raise":
        refuse_unknown(user_ids, user_index, item_ids, item_index)
    score, deviation = scorer.scores(user_index, item_index, cells or {})
    state, user_state = item_states(known, item_ids, item_index), user_states(known, user_index)
    notes = [
        *count_unknown("users", user_ids, user_index, known.users),
        *count_listed_users(user_ids, user_state),
        *count_listed(item_ids, item_index, state),
        *count_unknown("items", item_ids, np.where(state == "listed", 0, item_index), known.items),
        *count_titles(known, item_ids),
    ]
    return PairPredictions(
        users=user_ids,
        items=item_ids,
        score=score.astype(np.float32),
        deviation=deviation,
        known_user=user_index >= 0,
        known_item=item_index >= 0,
        item_state=state,
        user_state=user_state,
        notes=tuple(notes),
    )


def refuse_columns(scorer: PairScorer, what: str) -> None:
    """Raise RunError if a score needs more than a user and an item. what: the thing without more."""
    if scorer.columns:
        raise RunError(
            f"a score of this run needs {', '.join(scorer.columns)}, too, which {what} does not have",
            fix="predict a table of pairs with these columns",
        )


@dataclass(frozen=True, eq=False)
class FactorScorer:
    """Scores of a factor model by index; -1 is an unknown user or item.

    time, time_format: the column of times in tables, where the model has shifts by time.
    Sums are taken in double precision, pair by pair: a pair's score is the same whatever is asked with it.
    """

    model: FactorModel
    time: str | None = None
    time_format: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """None: a user and an item have a score."""
        return ()

    @property
    def interactions(self) -> Interactions:
        """The model, which knows the interactions that it was fitted to."""
        return self.model

    @property
    def reasons(self) -> Reasons:
        """See `collab.explain`."""
        return Explainer(self.model).reasons

    def on(self, device: str) -> FactorScorer:
        """Itself: factors are multiplied on the CPU."""
        return self

    def cells(self, table: Table, ratings: Ratings | None = None) -> tuple[Cells, list[str]]:
        """Times in seconds since 1970, where the table has them and the model uses them."""
        if ratings is not None:
            return ({} if ratings.times is None else {"time": ratings.times}), []
        if self.time is None or self.model.extra.times is None or self.time not in table.names:
            return {}, []
        times, said = read_times(table, self.time, self.time_format)
        return {"time": times}, list(said)

    def best(
        self, users: NDArray[np.int64], allowed: NDArray[np.bool_], n: int, out: RuledOut, threads: int | None
    ) -> Best:
        """See `PairScorer.best`. Items of equal score keep the model's order."""
        self._check_finite()
        row, item = first_columns(
            len(users),
            self.model.item_factors,
            np.where(allowed, self.model.item_bias, FORBIDDEN),
            factors_of=lambda part: self.user_side(users[part])[1],
            ruled_out=out,
            exact=lambda row, item: self.raw(users[row], item),
            n=n,
            threads=threads,
        )
        return Best(row, item, *self.scores(users[row], item))

    def vectors(self, side: str) -> NDArray[np.float32]:
        """Factors of users or of items."""
        self._check_finite()
        return self.model.user_factors if side == "user" else self.model.item_factors

    def fold_in(
        self,
        users: NDArray[np.object_],
        items: NDArray[np.object_],
        ratings: NDArray[np.float32],
        times: NDArray[np.float64] | None = None,
    ) -> tuple[FactorScorer, list[str]]:
        """See `collab.fold_in.add_ratings`."""
        from tenfold.collab import kernels
        from tenfold.collab.fold_in import add_ratings

        model, said = add_ratings(self.model, users, items, ratings, times)
        return replace(self, model=model), [*said, *kernels.notes()]

    def _check_finite(self) -> None:
        for name in ("user_bias", "item_bias", "user_factors", "item_factors"):
            bad = int((~np.isfinite(getattr(self.model, name))).sum())
            if bad:
                raise RatingsError(
                    f"{bad} numbers of the model's {name} are not finite, so nothing can be ranked",
                    fix="fit again with a smaller learning rate or more weight decay",
                )

    @cached_property
    def user_weight(self) -> NDArray[np.float64]:
        """(users,) ratings given."""
        return _weights(self.model.given, len(self.model.users))

    @cached_property
    def item_weight(self) -> NDArray[np.float64]:
        """(items,) ratings received."""
        return _weights(self.model.received, len(self.model.items))

    @cached_property
    def mean_rating(self) -> float:
        """Mean of the training ratings; the link of the model's mean where it does not carry them."""
        if len(self.model.seen_ratings) == 0:
            return float(self.link(np.array([self.model.mean]))[0])
        return float(self.model.seen_ratings.mean(dtype=np.float64))

    @cached_property
    def average_user(self) -> tuple[float, NDArray[np.float64]]:
        """Bias and factors of the average user."""
        return float(self.user_weight @ self.model.user_bias), self.user_weight @ self.model.user_factors

    @cached_property
    def average_item(self) -> tuple[float, NDArray[np.float64]]:
        """Bias and factors of the average item."""
        return float(self.item_weight @ self.model.item_bias), self.item_weight @ self.model.item_factors

    def user_side(self, index: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Biases (n,) and factors (n, factors) of users."""
        return _take(self.model.user_bias, self.model.user_factors, index, lambda: self.average_user)

    def item_side(self, index: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Biases (n,) and factors (n, factors) of items."""
        return _take(self.model.item_bias, self.model.item_factors, index, lambda: self.average_item)

    def raw(self, users: NDArray[np.int64], items: NDArray[np.int64]) -> NDArray[np.float64]:
        """The sum mean + b_u + c_i + p_u . q_i, before the link: what ranks a user's items."""
        scores = np.empty(len(users))
        for begin in range(0, len(scores), CHUNK):
            part = slice(begin, begin + CHUNK)
            user_bias, user_factors = self.user_side(users[part])
            item_bias, item_factors = self.item_side(items[part])
            user_factors *= item_factors
            scores[part] = self.model.mean + user_bias + item_bias + user_factors.sum(axis=1)
        return scores

    def link(self, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        """Raw scores in the unit of ratings, inside the scale. Scores of events stay as they are."""
        score = self._stretched(raw)
        return score if self.model.implicit else np.clip(score, *self.model.scale)

    def _stretched(self, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.model.sigmoid_range is None:
            return raw.copy()
        low, high = self.model.sigmoid_range
        return low + (high - low) * sigmoid(raw)

    def scores(
        self, users: NDArray[np.int64], items: NDArray[np.int64], cells: Cells | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Score and deviation of each pair, at the times of the cells where the model knows of times."""
        score, deviation = self.means(users, items, cells)
        return (score if self.model.implicit else np.clip(score, *self.model.scale)).astype(
            np.float32
        ), deviation

    def means(
        self, users: NDArray[np.int64], items: NDArray[np.int64], cells: Cells | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """As `scores`, not cut to the scale."""
        raw = self.raw(users, items)
        if cells and "time" in cells:
            raw += time_shifts(self.model.extra.times, users, np.asarray(cells["time"], np.float64))
        score = self._stretched(raw)
        if not self.model.implicit:
            score[(users < 0) & (items < 0)] = self.mean_rating
        return score, self.deviation(users, items, raw)

    def deviation(
        self, users: NDArray[np.int64], items: NDArray[np.int64], raw: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """Standard deviation of a rating around its score, in the unit of ratings; NaN without known noise.

        Var = g_u h_i / alpha + Var(b_u) + Var(c_i)
              + sum_k (Var p_k q_k^2 + p_k^2 Var q_k + Var p_k Var q_k)

        with the posterior variances and the noise of users and items (g, h) where the model carries them. An
        unknown user varies as users do among themselves, and likewise an unknown item. Within a sigmoid all
        but the noise is scaled by the squared slope.
        """
        model = self.model
        result = np.full(len(raw), np.nan, np.float32)
        if not model.noise_precision > 0 or model.implicit:
            return result
        for begin in range(0, len(raw), CHUNK):
            part = slice(begin, begin + CHUNK)
            own_users, own_items = users[part], items[part]
            _, p = self.user_side(own_users)
            _, q = self.item_side(own_items)
            user_bias, user_factors = self._variance("user", own_users)
            item_bias, item_factors = self._variance("item", own_items)
            variance = user_bias + item_bias
            variance += (user_factors * (q * q + item_factors) + p * p * item_factors).sum(axis=1)
            if model.sigmoid_range is not None:
                low, high = model.sigmoid_range
                inner = sigmoid(raw[part])
                variance *= ((high - low) * inner * (1 - inner)) ** 2
            noise = self._noise("user", own_users) * self._noise("item", own_items) / model.noise_precision
            result[part] = np.sqrt(noise + variance)
        # Whatever lies between two ends deviates by half their distance at most (Popoviciu 1935).
        low, high = model.scale
        return np.minimum(result, np.float32((high - low) / 2))

    def _noise(self, side: str, index: NDArray[np.int64]) -> NDArray[np.float64] | float:
        """How much noisier than average the ratings of a user or an item are; 1 for unknown ones."""
        noise = getattr(self.model.extra, f"{side}_noise")
        if noise is None:
            return 1.0
        weight = self.user_weight if side == "user" else self.item_weight
        return np.where(index < 0, float(weight @ noise), noise[index].astype(np.float64))

    def _variance(
        self, side: str, index: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        model = self.model
        bias, factors = getattr(model, f"{side}_bias"), getattr(model, f"{side}_factors")
        bias_variance = getattr(model.extra, f"{side}_bias_variance")
        factors_variance = getattr(model.extra, f"{side}_factors_variance")
        return _take(
            np.zeros(len(bias)) if bias_variance is None else bias_variance,
            np.zeros_like(factors) if factors_variance is None else factors_variance,
            index,
            lambda: (float(bias.var(dtype=np.float64)), factors.var(axis=0, dtype=np.float64)),
        )


def _weights(counts: NDArray[np.int64], size: int) -> NDArray[np.float64]:
    """Weights that sum to 1; equal weights if nothing was counted."""
    total = counts.sum()
    return counts / total if total > 0 else np.full(size, 1 / max(size, 1))


def _take(
    bias: NDArray[np.floating],
    factors: NDArray[np.floating],
    index: NDArray[np.int64],
    unknown: Callable[[], tuple[float, NDArray[np.float64]]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    absent = index < 0
    rows = np.where(absent, 0, index)
    taken_bias, taken_factors = bias[rows].astype(np.float64), factors[rows].astype(np.float64)
    if absent.any():
        taken_bias[absent], taken_factors[absent] = unknown()
    return taken_bias, taken_factors


def _paired(
    users: NDArray[np.object_], items: NDArray[np.object_]
) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    if len(users) == 1 and len(items) != 1:
        users = np.repeat(users, len(items))
    elif len(items) == 1 and len(users) != 1:
        items = np.repeat(items, len(users))
    if len(users) != len(items):
        raise RatingsError(
            f"{len(users)} users and {len(items)} items make no pairs", fix="give an item to each user"
        )
    return users, items
