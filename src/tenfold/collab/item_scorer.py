"""Users' lists from weights between items: of events by themselves, of ratings joined with the rating."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tenfold.collab.explain import item_labels
from tenfold.collab.ids import locate
from tenfold.collab.item_item import ItemItem
from tenfold.collab.predict import Best, Cells, FoldIn, PairScorer, Reasons, RuledOut
from tenfold.data.tables.table import Table
from tenfold.errors import RunError
from tenfold.values import Interactions, Ratings

__all__ = ["InterestScorer", "ItemScorer", "RatingOrder", "Taste", "joint"]

Ints = NDArray[np.int64]
#: Of items with the same score, the one that more users took comes first.
TIE = 1e-9
#: Items of highest interest, beside n, whose ratings join the order of a list; and of highest rating.
JOINED, LOOKED_AT = 200, 1000
#: Pairs at once.
CHUNK = 1 << 16
#: How many standard deviations below its mean the lower end of a 90 % interval is.
LOWER = 1.645


@dataclass(frozen=True, eq=False)
class Taste:
    """What users are likely to take: the weights between items, of the interactions that are known."""

    model: ItemItem
    known: Interactions

    def __post_init__(self) -> None:
        self.model.places(self.known)  # refuses weights of another run
        if self.model.recent and self.known.seen_times is None:
            raise RunError(
                "the lists weigh recent rows, and the run has lost its times",
                fix="fit again, or restore the run's folder",
            )

    @cached_property
    def taken(self) -> NDArray[np.float64]:
        """(items,) the fraction of the users that took each item."""
        return self.known.received / max(1, len(self.known.users))

    @cached_property
    def _outside(self) -> NDArray[np.bool_]:
        outside = np.ones(len(self.known.items), np.bool_)
        outside[self.model.items] = False
        return outside

    @cached_property
    def _nobody(self) -> NDArray[np.float64]:
        """(items,) interest of a user of whom nothing is known; of new items, that of the average user."""
        interest = np.where(self._outside, self.taken - 1, self.taken)
        new = self.model.new
        if new is not None:
            core = np.arange(len(self.model.core))
            average = new.sums(core, self.taken[self.model.core].astype(np.float32))
            # Below every item that somebody took.
            interest[new.items] = -2 + np.clip(average, -1, 1)
        return interest

    def interest(self, user: int) -> NDArray[np.float64]:
        """(items,) how likely the user is to take each: by what the user took.

        Of a user of whom nothing is known, the fraction of users that took it. Items without weights have
        this fraction less 1, and so come after the others.
        """
        row = self.model.row(self.known, user)
        if not len(row[0]):
            return self._nobody.copy()
        interest = self.taken * TIE
        interest[self.model.items] += self.model.sums(row)
        interest[self._outside] = self.taken[self._outside] - 1
        return interest

    def first(
        self, user: int, allowed: NDArray[np.bool_], out: NDArray[np.int64], n: int
    ) -> tuple[Ints, NDArray[np.float64]]:
        """The n allowed items of highest interest without `out`, best first, and their interest."""
        interest = self.interest(user)
        interest[~allowed] = -np.inf
        interest[out] = -np.inf
        return _first(interest, n)

    def reasons(self, user: int, items: Ints, count: int = 3) -> list[tuple[tuple[str, float], ...]]:
        """For each item: what the user took that adds most to the interest in it, and how much."""
        place, value = self.model.row(self.known, user)
        places = self.model.places(self.known)[items]
        moved = self.model.between(place, np.maximum(places, 0)) * value[:, None]
        names = [self._label(item) for item in self.known.items[self.model.items[place]]]
        reasons: list[tuple[tuple[str, float], ...]] = []
        for column, there in enumerate(places >= 0):
            order = np.argsort(-moved[:, column], kind="stable")[:count] if there else []
            reasons.append(tuple((names[j], float(moved[j, column])) for j in order if moved[j, column] > 0))
        return reasons

    @cached_property
    def _label(self) -> Callable[[str], str]:
        return item_labels(self.known)


def _first(score: NDArray[np.float64], n: int) -> tuple[Ints, NDArray[np.float64]]:
    """The n highest scores above minus infinity, best first; of equal ones the first item."""
    n = min(n, len(score))
    if n == 0:
        return np.zeros(0, np.int64), np.zeros(0)
    least = np.partition(score, len(score) - n)[len(score) - n]
    near = np.flatnonzero((score >= least) & (score > -np.inf))
    order = near[np.lexsort((near, -score[near]))][:n]
    return order, score[order]


@dataclass(frozen=True, eq=False)
class ItemScorer:
    """Scores of events: how likely a user is to take an item, by the weights between items.

    kept: side -> vectors of the users and items that were fitted, for neighbours and maps.
    """

    interactions: Interactions
    model: ItemItem
    kept: dict[str, NDArray[np.float32]]
    columns: tuple[str, ...] = field(default=(), init=False)

    @cached_property
    def taste(self) -> Taste:
        """What users are likely to take."""
        return Taste(self.model, self.interactions)

    @property
    def reasons(self) -> Reasons:
        """What the user took that adds most to an item's score."""
        return self.taste.reasons

    def on(self, device: str) -> ItemScorer:
        """Itself: it computes on the CPU."""
        return self

    def cells(self, table: Table, ratings: Ratings | None = None) -> tuple[Cells, list[str]]:
        """None."""
        return {}, []

    def scores(
        self, users: Ints, items: Ints, cells: Cells
    ) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """Interest in each pair; an unknown item has the lowest, -1. Deviations are not known."""
        scores = np.full(len(users), -1.0)
        for user in np.unique(users):
            rows = np.flatnonzero((users == user) & (items >= 0))
            scores[rows] = self.taste.interest(int(user))[items[rows]] if len(rows) else -1.0
        return scores, np.full(len(users), np.nan, np.float32)

    means = scores

    def best(
        self, users: Ints, allowed: NDArray[np.bool_], n: int, out: RuledOut, threads: int | None
    ) -> Best:
        """The n items of highest interest for each user."""
        lists = [self.taste.first(user, allowed, own, n) for user, own in _each(users, out)]
        row, item, score = _flat(lists)
        return Best(row, item, score.astype(np.float32), np.full(len(row), np.nan, np.float32))

    def vectors(self, side: str) -> NDArray[np.float32]:
        """Directions in which items that are taken together lie near each other."""
        return self.kept[side]

    def with_items(self, items: NDArray[np.object_]) -> ItemScorer:
        """The scorer with these items known, as far as they are not: they have no weights."""
        known = self.interactions
        new = list(dict.fromkeys(items[locate(items, known.items) < 0]))
        more = replace(known, items=np.concatenate([known.items, np.array(new, object)]))
        own = self.kept["item"]
        vectors = np.vstack([own, np.zeros((len(new), own.shape[1]), np.float32)])
        return replace(self, interactions=more, kept={**self.kept, "item": vectors})

    def fold_in(
        self,
        users: NDArray[np.object_],
        items: NDArray[np.object_],
        ratings: NDArray[np.float32],
        times: NDArray[np.float64] | None = None,
    ) -> tuple[ItemScorer, list[str]]:
        """The scorer with further events: a user's row is all that a score needs, so nothing is fitted."""
        from tenfold.collab.fold_in import grown_interactions  # with compiled code, which lists do without

        known, notes = grown_interactions(self.interactions, users, items, ratings, times)
        grown = replace(self, interactions=known)
        own = self.kept["user"]
        vectors = np.zeros((len(known.users), own.shape[1]), np.float32)
        vectors[: len(own)] = own
        items_of = self.kept["item"]
        changed = np.flatnonzero(np.diff(known.seen_start)[: len(own)] != self.interactions.given)
        for user in [*changed, *range(len(own), len(known.users))]:
            place, value = self.model.row(known, int(user), recency=False)
            vectors[user] = value @ items_of[self.model.items[place]]
        return replace(grown, kept={"user": vectors, "item": items_of}), notes


def _each(users: Ints, out: RuledOut) -> Iterator[tuple[int, Ints]]:
    """Each user, and the items that are not to be listed."""
    for row, user in enumerate(users):
        yield int(user), out(slice(row, row + 1))[1]


def _flat(
    lists: list[tuple[Ints, NDArray[np.float64]]],
) -> tuple[Ints, Ints, NDArray[np.float64]]:
    """Row, item and score of lists that stand one after the other."""
    sizes = [len(items) for items, _ in lists]
    row = np.repeat(np.arange(len(lists)), sizes)
    item = np.concatenate([np.zeros(0, np.int64), *(items for items, _ in lists)])
    return row, item, np.concatenate([np.zeros(0), *(scores for _, scores in lists)])


@dataclass(frozen=True, eq=False)
class _Ordered:
    """A scorer of ratings whose lists have another order than that of its scores."""

    rating: PairScorer

    @property
    def interactions(self) -> Interactions:
        """Who and what is known."""
        return self.rating.interactions

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that a score needs."""
        return self.rating.columns

    @property
    def reasons(self) -> Reasons | None:
        """Why a score is high."""
        return self.rating.reasons

    def cells(self, table: Table, ratings: Ratings | None = None) -> tuple[Cells, list[str]]:
        """Values of further columns."""
        return self.rating.cells(table, ratings)

    def scores(
        self, users: Ints, items: Ints, cells: Cells
    ) -> tuple[NDArray[np.floating], NDArray[np.float32]]:
        """Ratings and their deviations."""
        return self.rating.scores(users, items, cells)

    def means(
        self, users: Ints, items: Ints, cells: Cells
    ) -> tuple[NDArray[np.floating], NDArray[np.float32]]:
        """Ratings that are not cut to the scale, and their deviations."""
        return self.rating.means(users, items, cells)

    def vectors(self, side: str) -> NDArray[np.float32]:
        """Vectors to compare by cosine."""
        return self.rating.vectors(side)

    @property
    def fold_in(self) -> FoldIn | None:
        """Not of an order: the run folds into its scorer."""
        return None


@dataclass(frozen=True, eq=False)
class InterestScorer(_Ordered):
    """Lists of what a user will take and like: interest x exp(share x z), z the standing of the rating.

    z = (predicted rating - mean) / deviation, not cut to the scale; it joins for the `JOINED` items of
    highest interest. share: how much it counts, learned on held-out users (`collab.interest`).
    mean, spread: of the training ratings; spread stands in for a deviation that is not known.
    """

    model: ItemItem
    share: float
    mean: float
    spread: float

    @cached_property
    def taste(self) -> Taste:
        """What users are likely to take."""
        return Taste(self.model, self.rating.interactions)

    @property
    def reasons(self) -> Reasons:
        """What the user took that adds most to the interest in an item."""
        return self.taste.reasons

    def on(self, device: str) -> InterestScorer:
        """With the ratings computed on a device."""
        return replace(self, rating=self.rating.on(device))

    def standing(self, users: Ints, items: Ints) -> NDArray[np.float64]:
        """z of each pair."""
        found = np.empty(len(users))
        for begin in range(0, len(users), CHUNK):
            part = slice(begin, begin + CHUNK)
            mean, deviation = self.rating.means(users[part], items[part], {})
            spread = np.where(np.isnan(deviation) | (deviation <= 0), self.spread, deviation)
            found[part] = (mean - self.mean) / spread
        return found

    def best(
        self, users: Ints, allowed: NDArray[np.bool_], n: int, out: RuledOut, threads: int | None
    ) -> Best:
        """The n items of highest interest, joined with the rating, for each user; score: the rating."""
        joined = max(JOINED, 2 * n) if self.share else n
        lists = [self.taste.first(user, allowed, own, joined) for user, own in _each(users, out)]
        row, item, interest = _flat(lists)
        rank = interest.astype(np.float64)
        if self.share:
            rank = joint(interest, self.standing(users[row], item), self.share)
            order = np.lexsort((item, -rank, row))
            row, item, rank = row[order], item[order], rank[order]
            place = np.arange(len(row)) - np.searchsorted(row, row)
            row, item, rank = row[place < n], item[place < n], rank[place < n]
        score, deviation = self.rating.scores(users[row], item, {})
        return Best(row, item, score.astype(np.float32), deviation, rank.astype(np.float32))


def joint(interest: NDArray[np.float64], standing: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """Interest and rating in one number that ranks; a negative interest is farther from 0 if z is low."""
    return interest * np.exp(np.clip(np.sign(interest) * share * standing, -50, 50))


@dataclass(frozen=True, eq=False)
class RatingOrder(_Ordered):
    """Lists by the lower end of the interval of the predicted rating, so that few lucky ratings do not lead.

    Where a scorer knows no deviation, that of an item's n ratings' mean stands in: spread / sqrt(n + 1).
    """

    spread: float

    def on(self, device: str) -> RatingOrder:
        """With the ratings computed on a device."""
        return replace(self, rating=self.rating.on(device))

    def best(
        self, users: Ints, allowed: NDArray[np.bool_], n: int, out: RuledOut, threads: int | None
    ) -> Best:
        """The n items whose rating is highest at the lower end of its interval; score: not cut."""
        each: list[Best] = []
        # Some users at a time: of each, many items are looked at.
        for begin in range(0, max(1, len(users)), 512):
            own = users[begin : begin + 512]

            def own_out(part: slice, begin: int = begin) -> tuple[Ints, Ints]:
                return out(slice(begin + part.start, begin + min(part.stop, 512)))

            near = self.rating.best(own, allowed, max(LOOKED_AT, 20 * n), own_out, threads)
            mean, deviation = self.rating.means(own[near.row], near.item, {})
            stand_in = self.spread / np.sqrt(self.interactions.received[near.item] + 1)
            lower = mean - LOWER * np.where(np.isnan(deviation), stand_in, deviation)
            order = np.lexsort((near.item, -lower, near.row))
            row = near.row[order]
            first = order[np.arange(len(row)) - np.searchsorted(row, row) < n]
            kept = near.row[first] + begin, near.item[first], mean[first].astype(np.float32)
            each.append(Best(*kept, deviation[first], lower[first].astype(np.float32)))
        return Best(
            np.concatenate([best.row for best in each]),
            np.concatenate([best.item for best in each]),
            np.concatenate([best.score for best in each]),
            np.concatenate([best.deviation for best in each]),
            np.concatenate([best.rank for best in each if best.rank is not None]),
        )
