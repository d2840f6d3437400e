"""How much the recent rows of a user count in lists: chosen on what each took last.

Weights between items say what goes together; which of the user's items speak for the next one is another
matter. Of what a user's rows count, 0.7 goes to the recent ones: it halves with every `ItemItem.recent` rows
that are later (`recency_weights`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tenfold.collab.item_item import EVEN, Fitted, ItemItem
from tenfold.collab.item_scorer import Taste
from tenfold.values import Interactions

__all__ = ["RECENT", "choose_recent", "recent_words", "with_recent"]

#: What `ItemItem.recent` is chosen from, beside 0.
RECENT = (1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0)
#: Users to choose by: at most, and at least; rows that each has; length of their lists.
MOST_USERS, LEAST_USERS, LEAST_ROWS, LENGTH = 1000, 50, 5, 10
#: Fraction of all users that is taken out of the weights at once.
FRACTION = 0.2


class _Trial(NamedTuple):
    """Users with all but their last rows, and for each these rows: (items,) indices."""

    known: Interactions
    last: list[NDArray[np.int64]]


def recent_words(recent: float) -> str:
    """What lists do with recent rows, for a message; "" where all count the same."""
    later = "later one" if recent == 1 else f"{recent:g} later ones"
    said = f"what a user took last counts most: {1 - EVEN:g} of the weight halves with every {later}"
    return said if recent else ""


def with_recent(fitted: Fitted, known: Interactions, recent: float | None) -> tuple[ItemItem, list[str]]:
    """The model whose lists weigh recent rows, and messages. recent: None is chosen (`choose_recent`).

    Without times in `known` all rows count the same.
    """
    if known.seen_times is None:
        return fitted.model, []
    if recent is not None:
        return replace(fitted.model, recent=recent), [recent_words(recent)] if recent else []
    recent, said = choose_recent(known, fitted)
    return replace(fitted.model, recent=recent), [said]


def choose_recent(known: Interactions, fitted: Fitted) -> tuple[float, str]:
    """The `recent` whose lists have the highest NDCG of what users took last, and how it was chosen.

    Up to 1000 users are taken out of the weights, at most a fifth of all at once, and ranked by all but the
    rows of their last moment. It is 0, where all rows count the same, unless the gain over that is above its
    standard error. The order of the table and of its rows does not matter.
    """
    users = _users(known)
    if len(users) < LEAST_USERS:
        return 0.0, f"all rows of a user count the same: {len(users)} users are too few to choose by"
    parts = int(np.ceil(len(users) / (FRACTION * len(known.users))))
    each = [_gains(known, fitted, np.sort(users[part::parts])) for part in range(parts)]
    found = np.concatenate(each, axis=1)
    best = int(np.argmax(found.mean(axis=1)))
    gains = found[best] - found[0]
    by = f"by what {len(users)} users took last (NDCG {found[0].mean():.4f} where all count the same"
    if gains.mean() <= gains.std() / np.sqrt(len(users)):
        return 0.0, f"all rows of a user count the same, {by}, and no gain above its noise otherwise)"
    recent = (0.0, *RECENT)[best]
    return recent, f"{recent_words(recent)}, {by}, {found[best].mean():.4f} so)"


def _gains(known: Interactions, fitted: Fitted, users: NDArray[np.int64]) -> NDArray[np.float64]:
    """(1 + RECENT, users) NDCG of what these users took last, where all rows count the same and otherwise."""
    trial, model = _hidden(known, users), fitted.without(users)
    tastes = (Taste(replace(model, recent=recent), trial.known) for recent in (0.0, *RECENT))
    return np.stack([_scores(taste, trial) for taste in tastes])


def _users(known: Interactions) -> NDArray[np.int64]:
    """Users of five and more rows, half of them before the last moment: evenly from their ids, in order."""
    assert known.seen_times is not None
    last = _last(known)
    count = np.bincount(known.owners[last], minlength=len(known.users))
    usable = np.flatnonzero((known.given >= LEAST_ROWS) & (2 * count <= known.given))
    order = usable[np.argsort(known.users[usable], kind="stable")]
    return order[:: max(1, -(-len(order) // MOST_USERS))]


def _last(known: Interactions) -> NDArray[np.bool_]:
    """(rows,) which rows are of their user's last moment."""
    assert known.seen_times is not None
    when = np.nan_to_num(known.seen_times, nan=-np.inf, posinf=np.inf, neginf=-np.inf)
    latest = np.full(len(known.users), -np.inf)
    np.maximum.at(latest, known.owners, when)
    return when == latest[known.owners]


def _hidden(known: Interactions, users: NDArray[np.int64]) -> _Trial:
    """These users alone, without the rows of their last moment."""
    assert known.seen_times is not None
    last, own = _last(known), np.isin(known.owners, users)
    kept = own & ~last
    sizes = np.bincount(known.owners[kept], minlength=len(known.users))[users]
    hidden = own & last
    cuts = np.cumsum(np.bincount(known.owners[hidden], minlength=len(known.users))[users])[:-1]
    some = replace(
        known,
        users=known.users[users],
        seen_start=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        seen_items=known.seen_items[kept],
        seen_ratings=known.seen_ratings[kept],
        seen_times=known.seen_times[kept],
    )
    return _Trial(some, np.split(known.seen_items[hidden].astype(np.int64), cuts))


def _scores(taste: Taste, trial: _Trial) -> NDArray[np.float64]:
    """(users,) NDCG of the lists, of what each took last."""
    known = taste.known
    allowed, discount = np.ones(len(known.items), np.bool_), 1 / np.log2(np.arange(LENGTH) + 2)
    found = np.zeros(len(trial.last))
    for user, last in enumerate(trial.last):
        seen = known.seen_items[known.seen_start[user] : known.seen_start[user + 1]].astype(np.int64)
        items, _ = taste.first(user, allowed, seen, LENGTH)
        hit = np.isin(items, last)
        found[user] = discount[: len(items)][hit].sum() / discount[: len(last)].sum()
    return found
