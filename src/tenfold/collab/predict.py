"""One prediction a pair of user and item; for unknown ones the best that is known of them, marked as such.

score = clip(link(mean + b_u + c_i + p_u . q_i)), where link is the identity or the sigmoid over the model's
range. An unknown user counts as the average one (the mean of biases and factors over users, each weighted by
how many ratings they gave), an unknown item likewise; a pair with neither known is the mean rating.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.collab.times import time_shifts
from tenfold.errors import LISTED, RatingsError, RecipeError, did_you_mean
from tenfold.values import FactorModel, PairPredictions, id_text, other_spelling

__all__ = [
    "LISTED_ITEMS",
    "Scorer",
    "as_ids",
    "count_listed",
    "count_titles",
    "count_unknown",
    "find_titles",
    "item_states",
    "locate",
    "near_items",
    "predict_pairs",
    "ratings_between",
    "refuse_unknown",
    "unrated_items",
]

#: In `extra` of a model that holds items that nobody has rated: how many were added.
LISTED_ITEMS = "listed_items"
#: Pairs at once: enough to amortize the calls, few enough to stay in the cache of a small machine.
CHUNK = 1 << 15


def predict_pairs(
    model: FactorModel,
    users: Any,
    items: Any,
    *,
    times: NDArray[np.float64] | None = None,
    unknown: str = "fallback",
    ranking: bool = False,
) -> PairPredictions:
    """Scores of the pairs (users[k], items[k]); a single user or item goes with all of the other side.

    users, items: ids in any spelling (1, "1", np.int64(1), 1.0), one or many.
    times: (pairs,) seconds since 1970 of the ratings asked for; a model that was fitted with times uses them.
    unknown: ``fallback`` answers pairs with an unknown user or item as the module says and marks them;
        ``raise`` is a RatingsError that lists them.
    ranking: a model of events ranks but predicts no ratings: asking it for some is a RatingsError, unless
        one asks for its ranking scores.
    """
    if unknown not in ("fallback", "raise"):
        raise RecipeError(
            f"unknown = {unknown!r} is not known", fix=did_you_mean(unknown, ("fallback", "raise"))
        )
    if model.implicit and not ranking:
        raise RatingsError(
            "this run was fitted to events, so it ranks items and predicts no ratings",
            fix="ask for recommendations (tenfold recommend), or for ranking scores (ranking=True)",
        )
    user_ids, item_ids = _paired(as_ids(users), as_ids(items))
    user_index, item_index = locate(user_ids, model.users), locate(item_ids, model.items)
    if unknown == "raise":
        refuse_unknown(user_ids, user_index, item_ids, item_index)
    scorer = Scorer(model)
    score, deviation = scorer.scores(user_index, item_index, times)
    state = item_states(model, item_ids, item_index)
    notes = [
        *count_unknown("users", user_ids, user_index, model.users),
        *count_listed(item_ids, item_index, state),
        *count_unknown("items", item_ids, np.where(state == "listed", 0, item_index), model.items),
        *count_titles(model, item_ids),
    ]
    return PairPredictions(
        users=user_ids,
        items=item_ids,
        score=score,
        deviation=deviation,
        known_user=user_index >= 0,
        known_item=item_index >= 0,
        item_state=state,
        notes=tuple(notes),
    )


def unrated_items(model: FactorModel) -> NDArray[np.bool_]:
    """(items,) those that nobody has rated, and that their columns gave a row."""
    if LISTED_ITEMS not in model.extra:
        return np.zeros(len(model.items), np.bool_)
    return np.bincount(model.seen_items, minlength=len(model.items)) == 0


def item_states(
    model: FactorModel, items: NDArray[np.object_], index: NDArray[np.int64]
) -> NDArray[np.object_]:
    """(pairs,) ``rated``, ``listed`` or ``unknown``, of ids and their places in the model."""
    state = np.full(len(items), "rated", object)
    if len(model.items):
        state[(index >= 0) & unrated_items(model)[index]] = "listed"
    for row in np.flatnonzero(index < 0):
        state[row] = "listed" if items[row] in model.item_names else "unknown"
    return state


def count_listed(
    items: NDArray[np.object_], index: NDArray[np.int64], state: NDArray[np.object_]
) -> list[str]:
    """How many items nobody has rated, and what they are answered by."""
    notes = []
    for there, how in ((index >= 0, "by their columns"), (index < 0, "as the average item")):
        mine = items[(state == "listed") & there]
        if len(mine):
            shown = ", ".join(repr(one) for one in list(dict.fromkeys(mine))[:3])
            many = f"{len(set(mine))} of {len(set(items))} items are listed and rated by nobody"
            notes.append(f"{many}, in {len(mine)} of {len(items)} pairs: answered {how}: {shown}")
    return notes


def ratings_between(
    model: FactorModel, users: NDArray[np.int64], items: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(users, items) what these users have given these items; NaN where nothing."""
    ratings = np.full((len(users), len(items)), np.nan)
    column_of = np.full(len(model.items), -1)
    column_of[items] = np.arange(len(items))
    for row, user in enumerate(users):
        own = slice(model.seen_start[user], model.seen_start[user + 1])
        columns = column_of[model.seen_items[own]]
        ratings[row, columns[columns >= 0]] = model.seen_ratings[own][columns >= 0]
    return ratings


def as_ids(values: Any) -> NDArray[np.object_]:
    """One id or many, in any spelling, as (n,) texts."""
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        values = [values]
    texts = [id_text(value) for value in values]
    ids = np.empty(len(texts), object)
    ids[:] = texts
    return ids


def locate(ids: NDArray[np.object_], known: NDArray[np.object_]) -> NDArray[np.int64]:
    """Place of each id among the known ones, -1 where it is none of them.

    A whole number that passed through floating point is found too: ``1.0`` is the known ``1``, and ``1`` the
    known ``1.0``, where the spelling itself is no known id.
    """
    places = {one: place for place, one in enumerate(known)}
    found = np.fromiter((places.get(one, -1) for one in ids), np.int64, len(ids))
    for row in np.flatnonzero(found < 0):
        found[row] = places.get(other_spelling(ids[row]), -1) if ids[row] else -1
    return found


def find_titles(model: FactorModel, items: NDArray[np.object_]) -> tuple[NDArray[np.object_], list[str]]:
    """Items with the ids of those that are titles, and what is to be said of it.

    A text that is not an id of the model, listed items among them, is looked up as a title, whatever its
    case. One that several items have stays as it is.
    """
    strange = [
        row for row in np.flatnonzero(locate(items, model.items) < 0) if items[row] not in model.item_names
    ]
    if not strange or not model.item_names:
        return items, []
    called: dict[str, list[str]] = {}
    for one, title in model.item_names.items():
        called.setdefault(id_text(title).casefold(), []).append(one)
    found, looked_up, unclear = items.copy(), [], []
    for row in strange:
        ids = called.get(items[row].casefold(), [])
        if len(ids) == 1:
            found[row] = ids[0]
            looked_up.append(f"{items[row]!r} is {ids[0]}")
        elif ids:
            unclear.append(f"{items[row]!r} is the title of {', '.join(ids[:LISTED])}: give the id")
    notes = [f"{len(looked_up)} items looked up by title: {', '.join(looked_up[:3])}"] if looked_up else []
    return found, [*notes, *unclear[:LISTED]]


def near_items(model: FactorModel, item: str) -> str:
    """What may have been meant by a text that is neither an id nor one item's title."""
    titles: dict[str, list[str]] = {}
    for one, title in model.item_names.items():
        if title:
            titles.setdefault(title, []).append(one)
    folded = {title.casefold(): title for title in titles}
    near = difflib.get_close_matches(item.casefold(), folded, n=1)
    if not near:
        return did_you_mean(item, model.items)
    title = folded[near[0]]
    return f"did you mean {title!r} ({' or '.join(titles[title][:LISTED])})?"


class Scorer:
    """Scores of one model by index, where -1 stands for whom the model does not know.

    Sums are taken in double precision, pair by pair: a pair's score is the same whatever is asked with it.
    """

    def __init__(self, model: FactorModel) -> None:
        self.model = model

    @cached_property
    def user_weight(self) -> NDArray[np.float64]:
        """(users,) ratings given."""
        return _weights(np.diff(self.model.seen_start), len(self.model.users))

    @cached_property
    def item_weight(self) -> NDArray[np.float64]:
        """(items,) ratings received."""
        counts = np.bincount(self.model.seen_items, minlength=len(self.model.items))
        return _weights(counts, len(self.model.items))

    @cached_property
    def mean_rating(self) -> float:
        """Mean of the training ratings; the link of the model's mean where it does not carry them."""
        if len(self.model.seen_ratings) == 0:
            return float(self.link(np.array([self.model.mean]))[0])
        return float(self.model.seen_ratings.mean(dtype=np.float64))

    @cached_property
    def average_user(self) -> tuple[float, NDArray[np.float64]]:
        """Bias and factors of the average user."""
        return _average(self.model.user_bias, self.model.user_factors, self.user_weight)

    @cached_property
    def average_item(self) -> tuple[float, NDArray[np.float64]]:
        """Bias and factors of the average item."""
        return _average(self.model.item_bias, self.model.item_factors, self.item_weight)

    def user_side(self, index: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Biases (n,) and factors (n, factors) of users."""
        return _take(self.model.user_bias, self.model.user_factors, index, lambda: self.average_user)

    def item_side(self, index: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Biases (n,) and factors (n, factors) of items."""
        return _take(self.model.item_bias, self.model.item_factors, index, lambda: self.average_item)

    def raw(self, user_index: NDArray[np.int64], item_index: NDArray[np.int64]) -> NDArray[np.float64]:
        """The sum mean + b_u + c_i + p_u . q_i, before the link: what ranks a user's items."""
        scores = np.empty(len(user_index))
        for begin in range(0, len(scores), CHUNK):
            part = slice(begin, begin + CHUNK)
            user_bias, user_factors = self.user_side(user_index[part])
            item_bias, item_factors = self.item_side(item_index[part])
            user_factors *= item_factors
            scores[part] = self.model.mean + user_bias + item_bias + user_factors.sum(axis=1)
        return scores

    def link(self, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        """Raw scores in the unit of ratings, inside the scale. Scores of events stay as they are."""
        if self.model.sigmoid_range is not None:
            low, high = self.model.sigmoid_range
            raw = low + (high - low) * _sigmoid(raw)
        return raw if self.model.implicit else np.clip(raw, *self.model.scale)

    def scores(
        self,
        user_index: NDArray[np.int64],
        item_index: NDArray[np.int64],
        times: NDArray[np.float64] | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Score and deviation of each pair, at these times where the model knows of times."""
        raw = self.raw(user_index, item_index)
        if times is not None:
            raw += time_shifts(self.model.extra, user_index, times)
        score = self.link(raw)
        if not self.model.implicit:
            neither = (user_index < 0) & (item_index < 0)
            score[neither] = np.clip(self.mean_rating, *self.model.scale)
        return score.astype(np.float32), self.deviation(user_index, item_index, raw)

    def deviation(
        self, user_index: NDArray[np.int64], item_index: NDArray[np.int64], raw: NDArray[np.float64]
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
            users, items = user_index[part], item_index[part]
            _, p = self.user_side(users)
            _, q = self.item_side(items)
            user_bias, user_factors = self._variance("user", users)
            item_bias, item_factors = self._variance("item", items)
            variance = user_bias + item_bias
            variance += (user_factors * (q * q + item_factors) + p * p * item_factors).sum(axis=1)
            if model.sigmoid_range is not None:
                low, high = model.sigmoid_range
                inner = _sigmoid(raw[part])
                variance *= ((high - low) * inner * (1 - inner)) ** 2
            noise = self._noise("user", users) * self._noise("item", items) / model.noise_precision
            result[part] = np.sqrt(noise + variance)
        # Whatever lies between two ends deviates by half their distance at most (Popoviciu 1935).
        low, high = model.scale
        return np.minimum(result, np.float32((high - low) / 2))

    def _noise(self, side: str, index: NDArray[np.int64]) -> NDArray[np.float64] | float:
        """How much noisier than others the ratings of a user or an item are; strangers are average."""
        noise = self.model.extra.get(f"{side}_noise")
        if noise is None:
            return 1.0
        weight = self.user_weight if side == "user" else self.item_weight
        return np.where(index < 0, float(weight @ noise), noise[index].astype(np.float64))

    def _variance(
        self, side: str, index: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        model = self.model
        bias, factors = getattr(model, f"{side}_bias"), getattr(model, f"{side}_factors")
        bias_variance = model.extra.get(f"{side}_bias_variance")
        factors_variance = model.extra.get(f"{side}_factors_variance")
        return _take(
            np.zeros(len(bias)) if bias_variance is None else bias_variance,
            np.zeros_like(factors) if factors_variance is None else factors_variance,
            index,
            lambda: (float(bias.var(dtype=np.float64)), factors.var(axis=0, dtype=np.float64)),
        )


def _weights(counts: NDArray[Any], size: int) -> NDArray[np.float64]:
    """Shares that sum to 1; equal ones where nothing was counted."""
    total = counts.sum()
    return counts / total if total > 0 else np.full(size, 1 / max(size, 1))


def _average(
    bias: NDArray[np.float32], factors: NDArray[np.float32], weight: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    return float(weight @ bias), weight @ factors


def _take(
    bias: NDArray[Any],
    factors: NDArray[Any],
    index: NDArray[np.int64],
    unknown: Callable[[], tuple[float, NDArray[np.float64]]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    absent = index < 0
    places = np.where(absent, 0, index)
    taken_bias, taken_factors = bias[places].astype(np.float64), factors[places].astype(np.float64)
    if absent.any():
        taken_bias[absent], taken_factors[absent] = unknown()
    return taken_bias, taken_factors


def _sigmoid(raw: NDArray[np.float64]) -> NDArray[np.float64]:
    # By way of tanh no exponential overflows.
    return 0.5 * (1 + np.tanh(0.5 * raw))


def _paired(
    users: NDArray[np.object_], items: NDArray[np.object_]
) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    if len(users) == 1 and len(items) != 1:
        users = np.repeat(users, len(items))
    elif len(items) == 1 and len(users) != 1:
        items = np.repeat(items, len(users))
    if len(users) != len(items):
        raise RatingsError(
            f"{len(users)} users and {len(items)} items make no pairs", fix="give one item to each user"
        )
    return users, items


def refuse_unknown(
    users: NDArray[np.object_],
    user_index: NDArray[np.int64],
    items: NDArray[np.object_],
    item_index: NDArray[np.int64],
) -> None:
    """Raises RatingsError where a user or an item of a pair is not known: place -1."""
    rows = np.flatnonzero((user_index < 0) | (item_index < 0))
    if not len(rows):
        return
    problems = []
    for row in rows[:LISTED]:
        who = [f"user {users[row]!r}"] if user_index[row] < 0 else []
        who += [f"item {items[row]!r}"] if item_index[row] < 0 else []
        problems.append(f"pair {row + 1}: {' and '.join(who)} unknown")
    raise RatingsError(
        f"{len(rows)} of {len(users)} pairs have an unknown user or item",
        problems=problems,
        fix="take them out, or allow fallbacks (unknown='fallback')",
    )


def count_titles(model: FactorModel, items: NDArray[np.object_]) -> list[str]:
    """How many of the asked items are titles in place of ids, which a prediction does not look up."""
    found, _ = find_titles(model, items)
    there = np.flatnonzero(found != items)
    if not len(there):
        return []
    many, one = len(set(items[there])), there[0]
    are = "is a title" if many == 1 else "are titles"
    return [f"{many} of these {are}, as {items[one]!r} of {found[one]}: give ids"]


def count_unknown(
    what: str, ids: NDArray[np.object_], index: NDArray[np.int64], known: NDArray[np.object_]
) -> list[str]:
    """How many users or items are not known. index: places of the asked ones, -1 for unknown."""
    absent = index < 0
    if not absent.any():
        return []
    distinct = set(ids)
    missing = list(dict.fromkeys(ids[absent]))
    note = f"{len(missing)} of {len(distinct)} {what} unknown, in {int(absent.sum())} of {len(ids)} pairs"
    shown = ", ".join(repr(one) for one in missing[:3])
    if len(missing) == len(distinct):
        some = ", ".join(repr(one) for one in known[:3])
        return [f"{note} - are ids of the same kind? asked {shown}; known {some}"]
    return [f"{note}: {shown}{' ...' if len(missing) > 3 else ''}"]
