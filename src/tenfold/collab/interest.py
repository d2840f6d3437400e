"""What a run keeps for its lists: weights between items, and how much the rating counts beside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tenfold.collab.ids import locate
from tenfold.collab.item_item import (
    Fitted,
    ItemItem,
    fit_item_item,
    pack_item_item,
    unpack_item_item,
    weight_of,
)
from tenfold.collab.item_scorer import JOINED, InterestScorer, Taste, joint
from tenfold.collab.predict import PairScorer
from tenfold.collab.recency import recent_words, with_recent
from tenfold.errors import RunError
from tenfold.values import Ratings

__all__ = ["Lists", "fit_lists", "pack_lists", "unpack_lists"]

Ints = NDArray[np.int64]
#: Shares of the rating to choose from. None is large: a scorer that has seen the hidden ratings of a few
#: users looks a little too good.
SHARES = (0.0, 0.025, 0.05, 0.1)
#: Held-out users to learn by: at most, of each fold this fraction, and at least; ratings that one has.
MOST_USERS, FRACTION, LEAST_USERS, LEAST_RATINGS = 500, 0.2, 50, 10
#: Fraction of a held-out user's ratings that the lists are scored by; length of these lists.
HIDDEN, LENGTH = 0.2, 10
#: Latest version of the layout of files (docs/formats.md).
FORMAT = 4


@dataclass(frozen=True, eq=False)
class Lists:
    """Weights between items, and what joins the predicted rating to them (see `InterestScorer`).

    learned: how the share was chosen, in words.
    """

    model: ItemItem
    share: float
    mean: float
    spread: float
    learned: str

    def scorer(self, rating: PairScorer) -> InterestScorer:
        """The order of a scorer's lists."""
        return InterestScorer(rating, self.model, self.share, self.mean, self.spread)

    @property
    def order(self) -> str:
        """The order in words."""
        joined = f", times exp({self.share:g} z) of the predicted rating" if self.share else ""
        recent = f"; {recent_words(self.model.recent)}" if self.model.recent else ""
        return f"interest: what goes with the items that the user rated{joined}{recent}"


def fit_lists(
    scorer: PairScorer,
    held: Ratings | None,
    *,
    core: int | None = None,
    recent: float | None = None,
    threads: int = 1,
    seed: int = 0,
) -> tuple[Lists, list[str]]:
    """Weights between the items of a scorer of ratings, the share of the rating, and messages.

    held: ratings that were held out, to learn the share by. Without them up to 500 users are left out of the
    weights, and folded into the scorer from four fifths of their ratings; the rest score the lists. The
    scorer's items have seen these ratings, but of some hundred or thousand users a single one weighs little.
    A scorer that cannot fold in has share 0 then. The rating joins only if its gain is above the standard
    error of the gain.
    recent: of `ItemItem`; None is chosen where the scorer's interactions have times (`choose_recent`). The
        share is learned where all rows count the same.
    """
    known = scorer.interactions
    fitted = fit_item_item(known, core=core, threads=threads)
    ratings = known.seen_ratings.astype(np.float64)
    mean, spread = float(ratings.mean()), max(float(ratings.std()), 1e-6)
    share, learned = 0.0, "the rating does not join: there are too few users to learn its share by"
    trials = _of_held(scorer, fitted, held) if held is not None else _of_users(scorer, fitted, seed)
    if trials is None and held is None and scorer.fold_in is None:
        learned = "the rating does not join: hold out ratings (--valid) to learn its share by"
    if trials is not None:
        rating, model, users, hidden = trials
        share, learned = _choose(InterestScorer(rating, model, 1.0, mean, spread), users, hidden)
    model, said = with_recent(fitted, known, recent)
    lists = Lists(model, share, mean, spread, learned)
    core_size, items = len(fitted.model.core), int((known.received > 0).sum())
    joined = 0 if fitted.model.joined is None else len(fitted.model.joined.items)
    some = "" if core_size == items else f" of {items:,}, the most rated"
    some += f"; {joined:,} more are joined to these" if joined else ""
    some += "; the others follow by popularity" if core_size + joined < items else ""
    return lists, [
        f"lists: weights between {core_size:,} items{some}; {learned}",
        *(f"lists: {note}" for note in said),
    ]


#: A scorer, weights between items, users, and for each user item -> gain of the ratings to be found.
_Trials = tuple[PairScorer, ItemItem, list[int], list[dict[int, float]]]


def _of_held(scorer: PairScorer, fitted: Fitted, held: Ratings) -> _Trials | None:
    known = scorer.interactions
    users, items = locate(held.users, known.users), locate(held.items, known.items)
    user, item = users[held.user_index], items[held.item_index]
    gain = weight_of(held.ratings, known.scale)
    hidden: dict[int, dict[int, float]] = {}
    for row in np.flatnonzero((user >= 0) & (item >= 0)):
        hidden.setdefault(int(user[row]), {})[int(item[row])] = float(gain[row])
    if len(hidden) < LEAST_USERS:
        return None
    step = -(-len(hidden) // (2 * MOST_USERS))
    chosen = sorted(hidden)[::step]
    return scorer, fitted.model, chosen, [hidden[user] for user in chosen]


def _of_users(scorer: PairScorer, fitted: Fitted, seed: int) -> _Trials | None:
    known, fold_in = scorer.interactions, scorer.fold_in
    many = np.flatnonzero(known.given >= LEAST_RATINGS)
    count = min(MOST_USERS, int(FRACTION * len(many)))
    if fold_in is None or count < LEAST_USERS:
        return None
    rng = np.random.Generator(np.random.SFC64(seed))
    users = np.sort(rng.choice(many, count, replace=False))
    names, items, ratings, hidden = [], [], [], []
    for user in users:
        part = slice(int(known.seen_start[user]), int(known.seen_start[user + 1]))
        own, values = known.seen_items[part].astype(np.int64), known.seen_ratings[part]
        away = np.zeros(len(own), np.bool_)
        away[rng.choice(len(own), int(HIDDEN * len(own)), replace=False)] = True
        gain = weight_of(values, known.scale)
        hidden.append({int(i): float(g) for i, g in zip(own[away], gain[away], strict=True)})
        names += [f"\0{user}"] * int((~away).sum())
        items.append(known.items[own[~away]])
        ratings.append(values[~away])
    folded, _ = fold_in(np.array(names, object), np.concatenate(items), np.concatenate(ratings))
    first = len(known.users)
    return folded, fitted.without(users), [*range(first, first + count)], hidden


def _choose(scorer: InterestScorer, users: list[int], hidden: list[dict[int, float]]) -> tuple[float, str]:
    """The share with the highest NDCG of graded gains, if it gains more than its standard error."""
    known, taste = scorer.interactions, Taste(scorer.model, scorer.interactions)
    allowed = np.ones(len(known.items), np.bool_)
    discount = 1 / np.log2(np.arange(LENGTH) + 2)
    found = np.zeros((len(users), len(SHARES)))
    for row, (user, wanted) in enumerate(zip(users, hidden, strict=True)):
        part = slice(int(known.seen_start[user]), int(known.seen_start[user + 1]))
        seen = known.seen_items[part].astype(np.int64)
        items, interest = taste.first(user, allowed, seen, JOINED)
        standing = scorer.standing(np.full(len(items), user), items)
        gain = np.array([wanted.get(int(item), 0.0) for item in items])
        best = np.sort(np.fromiter(wanted.values(), np.float64))[::-1][:LENGTH]
        ideal = max(float(best @ discount[: len(best)]), 1e-12)
        for column, share in enumerate(SHARES):
            order = np.argsort(-joint(interest, standing, share), kind="stable")[:LENGTH]
            found[row, column] = gain[order] @ discount[: len(order)] / ideal
    best = int(np.argmax(found.mean(axis=0)))
    gains = found[:, best] - found[:, 0]
    error = float(gains.std() / np.sqrt(len(users)))
    by = f"by {len(users)} held-out users (graded NDCG {found[:, 0].mean():.4f} without it"
    if best == 0 or gains.mean() <= error:
        return 0.0, f"the rating does not join, {by}, and no gain above its noise with it)"
    share = SHARES[best]
    return share, f"the rating joins with share {share:g}, {by}, {found[:, best].mean():.4f} with it)"


def pack_lists(lists: Lists) -> tuple[dict[str, NDArray[np.generic]], dict[str, object]]:
    """Named arrays and what a file says of them."""
    about = {"format": 1, "share": lists.share, "mean": lists.mean, "spread": lists.spread}
    if lists.model.confidence:  # which earlier versions would not heed
        about |= {"format": 2, "confidence": lists.model.confidence}
    if lists.model.joined is not None or lists.model.new is not None:
        about["format"] = 3
    if lists.model.recent:
        about |= {"format": 4, "recent": lists.model.recent}
    return pack_item_item(lists.model), {**about, "learned": lists.learned}


def unpack_lists(arrays: dict[str, NDArray[np.generic]], about: Mapping[str, object]) -> Lists:
    """The lists of `pack_lists`. Raises RunError where they are damaged."""
    version = about.get("format")
    if isinstance(version, int) and version > FORMAT:
        raise RunError(
            f"the weights between items have format {version}, this version of tenfold reads up to {FORMAT}",
            fix="use the version of tenfold that made them, or a later version",
        )
    numbers = [about.get(name) for name in ("share", "mean", "spread")]
    numbers += [about.get(name, 0.0) for name in ("confidence", "recent")]
    share, mean, spread, confidence, recent = (
        float(n) if isinstance(n, int | float) else float("nan") for n in numbers
    )
    whole = np.isfinite([share, mean, spread, confidence, recent]).all()
    if not whole or not spread > 0 or min(confidence, recent) < 0:
        raise RunError("the weights between items are damaged", fix="fit again, or restore the run's folder")
    return Lists(
        unpack_item_item(arrays, confidence, recent), share, mean, spread, str(about.get("learned", ""))
    )
