"""How lists are scored: which items a user's list is made of, and users that the fit has not seen.

Full ranking, over every item that the user has not taken in training, is what a list will face. Ranking
among a few items drawn at random is easier and can turn the order of two methods around (Krichene and
Rendle 2020, "On sampled metrics for item recommendation", KDD 26), so it is done only when asked for.
Strong generalisation (Marlin 2004; Liang et al. 2018, "Variational autoencoders for collaborative
filtering", WWW 27) asks about users of
whom the fit has seen nothing: a part of what each took is given to the finished model, and the rest is
looked for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tenfold.collab.ids import as_ids, find_titles, locate
from tenfold.collab.predict import PairScorer, RuledOut
from tenfold.data.ratings.index import take_ratings
from tenfold.errors import RatingsError, RecipeError, RunError, listed
from tenfold.metrics import ItemLists
from tenfold.values import Interactions, Ratings, Score

__all__ = ["FULL", "GIVEN", "SPLITS", "Pools", "Ranking", "build_pools", "fold_in_part"]

Ints = NDArray[np.int64]
#: Fraction of a new user's events that are given to the model; the rest is looked for (Liang et al. 2018).
GIVEN = 0.8
#: How ratings are held out -> the name of this in the literature.
SPLITS = {
    "random": "random per user",
    "time": "by time",
    "last": "leave-last-out",
    "users": "strong generalisation",
}


@dataclass(frozen=True, eq=False)
class Ranking:
    """Which items the lists of test users are made of, without what they took in training.

    items: ids of the candidates; None is every item.  users: the user of each, where every user has their
    own.
    negatives: so many items that the user never took, drawn at random, and the user's test items; seed: of
    these.
    """

    items: NDArray[np.object_] | None = None
    users: NDArray[np.object_] | None = None
    negatives: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.negatives is not None and self.negatives < 1:
            raise RecipeError(
                f"negatives = {self.negatives}", fix="give 1 or more, or leave it out: all items"
            )
        if self.negatives is not None and self.items is not None:
            raise RecipeError(
                "candidates are given, and negatives are to be drawn as well", fix="leave one of them out"
            )

    @property
    def word(self) -> str:
        """``full``, ``sampled`` or ``candidates``."""
        return "sampled" if self.negatives else "full" if self.items is None else "candidates"


#: Every item that the user has not taken in training.
FULL = Ranking()


@dataclass(frozen=True, eq=False)
class Pools:
    """Candidates of each asked user.

    allowed: (items,) those of every user.  own: per user, where each has other ones.
    """

    allowed: NDArray[np.bool_]
    own: ItemLists | None = None

    def without(self, out: RuledOut) -> RuledOut:
        """What is not to be listed: these pairs, and every item that is not the user's candidate."""
        own, count = self.own, len(self.allowed)
        if own is None:
            return out

        def ruled_out(part: slice) -> tuple[Ints, Ints]:
            row, item = out(part)
            rows, items = [row], [item]
            for place, user in enumerate(range(part.start, min(part.stop, own.users))):
                free = np.ones(count, np.bool_)
                free[own.items[own.start[user] : own.start[user + 1]]] = False
                items.append(np.flatnonzero(free))
                rows.append(np.full(len(items[-1]), place))
            return np.concatenate(rows), np.concatenate(items)

        return ruled_out

    def hold(self, row: Ints, item: Ints) -> NDArray[np.bool_]:
        """Which of these pairs are candidates; -1 stands for an unknown item, and is none."""
        there = (item >= 0) & self.allowed[item]
        if self.own is None:
            return there
        width = len(self.allowed)
        return there & np.isin(row * width + item, self.own.owner() * width + self.own.items)


def build_pools(
    known: Interactions, ranking: Ranking, asked: NDArray[np.object_], index: Ints, row: Ints, item: Ints
) -> tuple[Pools, dict[str, Score], list[str]]:
    """Candidates of the asked users, what the scores say of them, and messages.

    asked, index: users by id and by index.  row, item: of every test pair, -1 for unknown items.
    """
    everything = Pools(np.ones(len(known.items), np.bool_))
    if ranking.negatives is not None:
        return _drawn(known, ranking.negatives, ranking.seed, index, row, item)
    if ranking.items is None:
        return everything, {"items": len(known.items)}, []
    names, place = np.unique(as_ids(ranking.items).astype(str), return_inverse=True)
    ids, notes = find_titles(known, names.astype(object))
    found = locate(ids, known.items)
    absent = [*map(repr, ids[found < 0])]
    if absent:
        shown = ", ".join(listed(absent))
        notes.append(f"{len(absent)} candidates are not known to this run, so no list has them: {shown}")
    if ranking.users is None:
        everything.allowed[:] = False
        everything.allowed[found[found >= 0]] = True
        pools, count = everything, float(everything.allowed.sum())
    else:
        items, own = found[place], locate(as_ids(ranking.users), as_ids(asked))
        keep = (own >= 0) & (items >= 0)
        pairs = np.unique(own[keep] * len(known.items) + items[keep])
        sizes = np.bincount(pairs // len(known.items), minlength=len(asked))
        start = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        pools = Pools(everything.allowed, ItemLists(start, pairs % len(known.items)))
        count = float(sizes.mean())
        if not sizes.all():
            notes.append(f"{int((sizes == 0).sum())} of {len(asked)} test users have no candidate")
    there = pools.hold(row, item)
    if not there.any():
        raise RatingsError(
            "no test item is a candidate, so no list can have one",
            found=f"{len(names)} candidates",
            fix="give candidates that hold the test items, under the same ids",
        )
    if not there.all():
        notes.append(f"{int((~there).sum())} of {len(there)} test pairs are not candidates, and do not count")
    return pools, {"items": count}, notes


def _drawn(
    known: Interactions, negatives: int, seed: int, index: Ints, row: Ints, item: Ints
) -> tuple[Pools, dict[str, Score], list[str]]:
    rng = np.random.default_rng(seed)
    order = np.argsort(row, kind="stable")
    ends = np.searchsorted(row[order], np.arange(len(index) + 1))
    lists, short = [], 0
    for place, user in enumerate(index):
        tested = item[order[ends[place] : ends[place + 1]]]
        tested = np.unique(tested[tested >= 0])
        free = np.ones(len(known.items), np.bool_)
        free[tested] = False
        if user >= 0:
            free[known.seen_items[known.seen_start[user] : known.seen_start[user + 1]]] = False
        others = np.flatnonzero(free)
        short += len(others) < negatives
        drawn = rng.choice(others, min(negatives, len(others)), replace=False)
        lists.append(np.sort(np.concatenate([tested, drawn])))
    notes = [
        f"lists are made of each user's test items and {negatives} others drawn at random: scores are higher "
        "than over all items, and can put methods in another order"
    ]
    if short:
        notes.append(f"{short} users have fewer than {negatives} other items: all of them are candidates")
    pools = Pools(np.ones(len(known.items), np.bool_), ItemLists.of(lists))
    return pools, {"items": float(negatives), "seed": float(seed)}, notes


def fold_in_part(
    scorer: PairScorer, test: Ratings, fraction: float = GIVEN, *, seed: int = 0
) -> tuple[PairScorer, Ratings, list[str]]:
    """The scorer with a random part of each test user's ratings learned, the other ratings, and messages.

    fraction: of each user's ratings, rounded, at least one; one at least is kept to be looked for. Users of a
    single rating are left out. Raises RatingsError where the scorer knows some of the users, whom it has
    learned in its fit, and RunError if it cannot learn a user without a new fit.
    """
    if not 0 < fraction < 1:
        raise RecipeError(
            f"fold_in = {fraction!r}", fix="give the fraction to learn from, between 0 and 1: 0.8"
        )
    known = scorer.interactions
    there = [*test.users[locate(test.users, known.users) >= 0]]
    if there:
        raise RatingsError(
            f"{len(there)} of {len(test.users)} test users were in the training, so they are not new",
            problems=[f"user {user!r}" for user in there],
            fix="hold out whole users in the fit (--split users --valid 0.1), or leave out --fold-in",
        )
    learn = scorer.fold_in
    if learn is None:
        raise RunError(
            "this run learns a new user in a training only, so new users cannot be folded in",
            fix="factors (--method) and weights between items fold in; or leave out --fold-in",
        )
    rng = np.random.default_rng(seed)
    users, count = test.user_index.astype(np.int64), np.bincount(test.user_index, minlength=len(test.users))
    order = np.lexsort((rng.random(len(users)), users))
    place = np.empty(len(users), np.int64)
    place[order] = np.arange(len(users)) - np.repeat(np.cumsum(count) - count, count)
    given = place < np.clip(np.round(fraction * count), 1, count - 1)[users]
    several = count[users] > 1
    if not several.any():
        raise RatingsError(
            "no test user has 2 ratings: one to learn from, and one to look for",
            found=f"{len(test.users)} test users",
            fix="give more of each user, or leave out --fold-in",
        )
    part = take_ratings(test, np.flatnonzero(given & several))
    hidden = take_ratings(test, np.flatnonzero(~given & several))
    grown, said = learn(part.users[part.user_index], part.items[part.item_index], part.ratings, part.times)
    single = int((count == 1).sum())
    note = (
        f"strong generalisation: {len(part.users)} users that the fit has not seen, {len(part.ratings)} of "
        f"their ratings learned, {len(hidden.ratings)} looked for"
    )
    notes = [note, *([f"{single} test users have 1 rating and are left out"] if single else [])]
    if known.seen_times is not None and part.times is None:
        notes.append("the test has no times: what is learned of a user counts as one moment")
    return grown, hidden, [*notes, *(line for line in said if "new ratings" not in line)]
