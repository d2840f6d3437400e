"""How good a scorer is: errors of its ratings and hits of its lists, always beside the baselines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tenfold.collab.ids import as_ids, locate
from tenfold.collab.predict import Cells, PairScorer
from tenfold.collab.recommend import recommend, seen_pairs
from tenfold.errors import RatingsError
from tenfold.metrics import ItemLists, number_scores, ranking_scores
from tenfold.values import Interactions, Ratings, Score, Scores, read_score, read_scores

__all__ = ["BiasBaseline", "Evaluation", "evaluate", "evaluate_lists", "evaluate_ratings", "fit_biases"]

#: Shrinkage of item and user biases, in ratings (Koren 2010, "Factor in the neighbors", section 2.1).
ITEM_SHRINKAGE = 25.0
USER_SHRINKAGE = 10.0


class BiasBaseline:
    """The training ratings' mean and shrunk biases; index -1 has bias 0.

    b_i = sum_u (r_ui - mean) / (25 + n_i), then b_u = sum_i (r_ui - mean - b_i) / (10 + n_u).
    """

    def __init__(self, mean: float, user_bias: NDArray[np.float64], item_bias: NDArray[np.float64]) -> None:
        self.mean, self.user_bias, self.item_bias = mean, user_bias, item_bias

    def predict(self, users: NDArray[np.int64], items: NDArray[np.int64]) -> NDArray[np.float64]:
        """Mean + b_u + b_i of each pair of indices."""
        user = np.where(users < 0, 0.0, self.user_bias[users])
        return self.mean + user + np.where(items < 0, 0.0, self.item_bias[items])


def fit_biases(known: Interactions) -> BiasBaseline:
    """The baseline from the ratings that were trained on."""
    ratings = known.seen_ratings.astype(np.float64)
    if not len(ratings):
        raise RatingsError(
            "the run carries no training ratings, so it has no baselines",
            fix="evaluate the run that was fitted",
        )
    mean = float(ratings.mean())
    items = known.seen_items.astype(np.int64)
    item_bias = np.bincount(items, ratings - mean, len(known.items)) / (ITEM_SHRINKAGE + known.received)
    rest = ratings - mean - item_bias[items]
    user_bias = np.bincount(known.owners, rest, len(known.users)) / (USER_SHRINKAGE + known.given)
    return BiasBaseline(mean, user_bias, item_bias)


@dataclass(frozen=True)
class Evaluation:
    """Scores on test ratings, and messages.

    scores: of the errors and, under ``lists``, of the lists, as `evaluate_ratings` and `evaluate_lists` say.
    predicted: (ratings,) the score of each test pair; None for events, which have scores of lists alone.
    """

    scores: Scores
    predicted: NDArray[np.floating] | None
    notes: list[str]

    @property
    def primary(self) -> float:
        """NDCG of the lists if there are any, else RMSE."""
        lists = read_scores(self.scores, "lists")
        return read_score(lists, "ndcg") if lists else read_score(self.scores, "rmse")


def evaluate(
    scorer: PairScorer,
    test: Ratings,
    cells: Cells | None = None,
    *,
    n: int | None = None,
    relevant_from: float | None = None,
    lister: PairScorer | None = None,
) -> Evaluation:
    """Errors of ratings, and lists of n where n is given or the scorer knows of events alone (n = 10).

    cells: of the test pairs, as `PairScorer.cells` gives them.  lister: orders the lists, if not the scorer.
    """
    known = scorer.interactions
    scores: dict[str, Score] = {}
    predicted, notes = None, []
    if not known.implicit:
        of_ratings, predicted, notes = evaluate_ratings(scorer, test, cells)
        scores |= of_ratings
    if n is not None or known.implicit:
        n = 10 if n is None else n
        lists, messages = evaluate_lists(lister or scorer, test, n=n, relevant_from=relevant_from)
        notes += [note for note in messages if note not in notes]
        scores["lists"] = {"n": n, **lists}
    return Evaluation(scores, predicted, notes)


def evaluate_ratings(
    scorer: PairScorer, test: Ratings, cells: Cells | None = None
) -> tuple[Scores, NDArray[np.floating], list[str]]:
    """RMSE and MAE over all test pairs and of the baselines; the predictions; and messages.

    scored: how many pairs are averaged; fallback: how many of them have an unknown user or item and were
    answered as `predict_pairs` says. known: the scores over the other pairs alone. baselines: ``global_mean``
    of the training ratings and ``biases`` (see `fit_biases`), over the same pairs.
    """
    known = scorer.interactions
    if known.implicit:
        raise RatingsError(
            "this run was fitted to events, so it has no errors of ratings",
            fix="evaluate its lists (--lists)",
        )
    users, items = _locate_pairs(known, test)
    predicted, _ = scorer.scores(users, items, cells or {})
    fallback = (users < 0) | (items < 0)
    baseline = fit_biases(known)
    biases = np.clip(baseline.predict(users, items), *known.scale)
    scores: Scores = {
        **number_scores(test.ratings, predicted, fallback=fallback),
        "known": number_scores(test.ratings, predicted, mask=~fallback),
        "baselines": {
            "global_mean": number_scores(test.ratings, np.full(len(users), baseline.mean)),
            "biases": number_scores(test.ratings, biases),
        },
    }
    return scores, predicted, _notes(known, test, users, items)


def evaluate_lists(
    scorer: PairScorer, test: Ratings, *, n: int = 10, relevant_from: float | None = None
) -> tuple[Scores, list[str]]:
    """Precision, recall, hit, NDCG, MRR, coverage and novelty of the lists of n (see `tenfold.metrics`).

    Returns the scores, and messages.
    relevant_from: a test item counts as liked from this rating on; None takes every test item.
    users: how many users are averaged: those with a relevant test item that they did not rate in training. Of
    these, `unknown_users` are answered with the average user's list. Test items that nobody rated in training
    cannot be hit, and count as missed. Coverage is over the lists of the test's users.
    baselines: ``most_popular`` lists the items with most training ratings, without those that the user has
    rated.
    """
    known = scorer.interactions
    users, items = _locate_pairs(known, test)
    relevant = np.ones(len(users), np.bool_) if relevant_from is None else test.ratings >= relevant_from
    if not relevant.any():
        raise RatingsError(
            f"no test rating is {relevant_from:g} or above"
            if relevant_from is not None
            else "no test ratings",
            fix="lower the rating from which an item counts as liked",
        )
    # Unknown items are numbered after the known ones: each counts as missed.
    unknown = np.unique(test.item_index[items < 0])
    numbered = np.where(items < 0, len(known.items) + np.searchsorted(unknown, test.item_index), items)
    asked = np.unique(test.user_index[relevant])
    truth = _lists(np.searchsorted(asked, test.user_index[relevant]), numbered[relevant], len(asked))
    index = locate(as_ids(test.users[asked]), known.users)
    seen = _lists(*seen_pairs(known, index), len(index))
    lists = recommend(scorer, test.users[asked], n=n, held_out=True)
    row_of = {user: row for row, user in enumerate(as_ids(test.users))}
    row = np.searchsorted(asked, [row_of[user] for user in lists.users])
    ranked = _lists(row, locate(lists.items, known.items), len(asked))
    popular = _most_popular(known, index, n)
    taken = known.received / max(1, len(known.users))
    own, baseline = (
        ranking_scores(each, truth, n=n, seen=seen, items=len(known.items), taken=taken)
        for each in (ranked, popular)
    )
    notes = _notes(known, test, users, items)
    if not own["users"]:
        notes.append("no list is scored: all test items that count were rated in training")
    if baseline["ndcg"] > own["ndcg"]:
        notes.append(
            f"these lists are worse than the most popular items: NDCG {own['ndcg']:.4f} against "
            f"{baseline['ndcg']:.4f}"
        )
    unknown_users = int((index < 0).sum())
    return {**own, "unknown_users": unknown_users, "baselines": {"most_popular": baseline}}, notes


def _locate_pairs(known: Interactions, test: Ratings) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """User and item index of each test pair, -1 for unknown."""
    if not len(test.ratings):
        raise RatingsError("no test ratings", fix="give pairs with their ratings")
    users, items = locate(as_ids(test.users), known.users), locate(as_ids(test.items), known.items)
    return users[test.user_index], items[test.item_index]


def _lists(owner: NDArray[np.int64], items: NDArray[np.int64], users: int) -> ItemLists:
    """A list for each user, entries kept in their order."""
    order = np.argsort(owner, kind="stable")
    start = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=users))]).astype(np.int64)
    return ItemLists(start, items[order].astype(np.int64))


def _most_popular(known: Interactions, users: NDArray[np.int64], n: int) -> ItemLists:
    """For each user, the n most rated items that the user has not rated in training."""
    order = np.argsort(-known.received, kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    chosen = []
    for user in users:
        mine = known.seen_items[known.seen_start[user] : known.seen_start[user + 1]] if user >= 0 else []
        free = np.ones(min(len(order), n + len(mine)), np.bool_)
        ranks = rank[mine] if len(mine) else np.empty(0, np.int64)
        free[ranks[ranks < len(free)]] = False
        chosen.append(order[: len(free)][free][:n])
    return ItemLists.of(chosen)


def _notes(
    known: Interactions, test: Ratings, users: NDArray[np.int64], items: NDArray[np.int64]
) -> list[str]:
    """Messages: ratings outside the scale, pairs with an unknown user or item, pairs that were trained on."""
    notes = []
    low, high = known.scale
    outside = np.flatnonzero((test.ratings < low) | (test.ratings > high))
    if len(outside) and not known.implicit:
        notes.append(
            f"{len(outside)} of {len(users)} test ratings lie outside the run's scale {low:g} to {high:g}, "
            f"which no score leaves, first {test.ratings[outside[0]]:g} - are they of the same kind?"
        )
    fallback = (users < 0) | (items < 0)
    if fallback.any():
        who, what = int((users < 0).sum()), int((items < 0).sum())
        notes.append(
            f"{len(users)} scored, {int(fallback.sum())} by fallback: "
            f"{who} with an unknown user, {what} with an unknown item"
        )
    if (users < 0).all() or (items < 0).all():
        notes.append("all users or all items of the test are unknown - are ids of the same kind?")
    width = len(known.items)
    trained = known.owners * width + known.seen_items
    twice = int(np.isin((users * width + items)[~fallback], trained).sum())
    if twice:
        notes.append(f"{twice} of {len(users)} test pairs were trained on: their scores are too good")
    return notes
