"""How good a scorer is: errors of its ratings and hits of its lists, always beside the baselines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tenfold.collab.baselines import fit_neighbours, most_popular, neighbour_lists
from tenfold.collab.ids import as_ids, locate
from tenfold.collab.predict import Cells, PairScorer, refuse_columns
from tenfold.collab.protocol import FULL, Ranking, build_pools, fold_in_part
from tenfold.collab.recommend import checked_count, seen_pairs
from tenfold.errors import RatingsError
from tenfold.metrics import ItemLists, number_scores, ranking_scores
from tenfold.values import Interactions, Ratings, Score, Scores, read_score, read_scores

__all__ = [
    "BiasBaseline",
    "Evaluation",
    "evaluate",
    "evaluate_held_out",
    "evaluate_lists",
    "evaluate_ratings",
    "fit_biases",
]

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
    test: what was scored.
    """

    scores: Scores
    predicted: NDArray[np.floating] | None
    notes: list[str]
    test: Ratings

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
    ranking: Ranking = FULL,
) -> Evaluation:
    """Errors of ratings, and lists of n where n is given or the scorer knows of events alone (n = 10).

    cells: of the test pairs, as `PairScorer.cells` gives them.  lister: orders the lists, if not the scorer.
    ranking: what the lists are made of.
    """
    known = scorer.interactions
    scores: dict[str, Score] = {}
    predicted, notes = None, []
    if not known.implicit:
        of_ratings, predicted, notes = evaluate_ratings(scorer, test, cells)
        scores |= of_ratings
    if n is not None or known.implicit:
        n = 10 if n is None else n
        lists, messages = evaluate_lists(
            lister or scorer, test, n=n, relevant_from=relevant_from, ranking=ranking
        )
        notes += [note for note in messages if note not in notes]
        scores["lists"] = {"n": n, **lists}
    return Evaluation(scores, predicted, notes, test)


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
    scorer: PairScorer,
    test: Ratings,
    *,
    n: int = 10,
    relevant_from: float | None = None,
    ranking: Ranking = FULL,
) -> tuple[Scores, list[str]]:
    """Precision, recall, hit, NDCG, MRR, coverage and novelty of the lists of n (see `tenfold.metrics`).

    Returns the scores, and messages.
    relevant_from: a test item counts as liked from this rating on; None takes every test item.
    ranking: what the lists are made of; ``ranking`` of the scores says it: how many items (of candidates by
        user: the mean), and how many test pairs are not among them and so do not count (`left_out`).
    users: how many users are averaged: those with a relevant test item that they did not rate in training. Of
    these, `unknown_users` are answered with the average user's list. Test items that nobody rated in training
    cannot be hit, and count as missed. Coverage is over the lists of the test's users.
    baselines: ``most_popular`` lists the items with most training ratings, without those that the user has
    rated; ``item_neighbours`` what the users of the user's items took as well (`collab.baselines`).
    """
    known, n = scorer.interactions, checked_count(n)
    refuse_columns(scorer, "a list of items")
    users, items = _locate_pairs(known, test)
    relevant = np.ones(len(users), np.bool_) if relevant_from is None else test.ratings >= relevant_from
    if not relevant.any():
        raise RatingsError(
            f"no test rating is {relevant_from:g} or above"
            if relevant_from is not None
            else "no test ratings",
            fix="lower the rating from which an item counts as liked",
        )
    asked = np.unique(test.user_index[relevant])
    index = locate(as_ids(test.users[asked]), known.users)
    tested = np.isin(test.user_index, asked)
    row = np.searchsorted(asked, test.user_index[tested])
    pools, about, notes = build_pools(known, ranking, test.users[asked], index, row, items[tested])
    row = np.searchsorted(asked, test.user_index[relevant])
    # Unknown items are numbered after the known ones: each counts as missed.
    unknown = np.unique(test.item_index[items < 0])
    numbered = np.where(items < 0, len(known.items) + np.searchsorted(unknown, test.item_index), items)
    count = np.ones(len(row), np.bool_)
    if ranking.items is not None:
        count = pools.hold(row, items[relevant])
        about["left_out"] = int((~count).sum())
    truth = _lists(row[count], numbered[relevant][count], len(asked))
    seen = _lists(*seen_pairs(known, index), len(index))
    out = pools.without(lambda part: seen_pairs(known, index[part]))
    best = scorer.best(index, pools.allowed, n, out, None)
    ranked = {"own": _lists(best.row, best.item, len(asked))}
    ranked["most_popular"] = most_popular(known, index, pools.allowed, out, n)
    neighbours = fit_neighbours(known)
    if neighbours is None:
        notes.append("no neighbours beside: cosines between these items do not fit the memory that is free")
    else:
        ranked["item_neighbours"] = neighbour_lists(known, neighbours, index, pools.allowed, out, n)
    taken = known.received / max(1, len(known.users))
    scores = {
        name: ranking_scores(each, truth, n=n, seen=seen, items=len(known.items), taken=taken)
        for name, each in ranked.items()
    }
    own = scores.pop("own")
    notes += _notes(known, test, users, items)
    if not own["users"]:
        notes.append("no list is scored: all test items that count were rated in training")
    notes += _behind(own["ndcg"], {name: each["ndcg"] for name, each in scores.items()})
    unknown_users = int((index < 0).sum())
    said: Scores = {**own, "unknown_users": unknown_users, "baselines": scores}
    return {**said, "ranking": {ranking.word: about}}, notes


def _behind(own: float, baselines: Mapping[str, float]) -> list[str]:
    """A message for each baseline that makes better lists."""
    words = {
        "most_popular": "the most popular items",
        "item_neighbours": "plain neighbours of the user's items",
    }
    return [
        f"these lists are worse than {words[name]}: NDCG {own:.4f} against {ndcg:.4f}"
        for name, ndcg in baselines.items()
        if ndcg > own
    ]


def evaluate_held_out(scorer: PairScorer, held: Ratings, how: str) -> Evaluation:
    """As `evaluate`, of ratings that a fit held out. how: in which way (`protocol.SPLITS`).

    Of users that were held out wholly a part is learned first, and the rest scored (`protocol.fold_in_part`).
    """
    notes: list[str] = []
    if how == "users":
        scorer, held, notes = fold_in_part(scorer, held)
    found = evaluate(scorer, held, {} if held.times is None else {"time": held.times})
    return replace(found, notes=[*notes, *found.notes], test=held)


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
