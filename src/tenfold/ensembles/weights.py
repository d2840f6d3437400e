"""Many answers to one: weighted means, weights learned from rows that did not train, and fused lists.

What decides is linear in the weights: the probability that a blend gives to what happened is the weighted
mean of what its members gave to it. So all weights are learned from one matrix, (questions, members).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import RecipeError, did_you_mean
from tenfold.metrics import SMALLEST

__all__ = [
    "METHODS",
    "Evidence",
    "blended",
    "by_name",
    "fit_weights",
    "fuse_ranks",
    "joined_classes",
    "nested_weights",
    "random_parts",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: How weights are found, the simplest first: as they are stated, or learned in one of two ways.
METHODS = ("weights", "greedy", "convex")
#: Rounds of the greedy selection, and steps of the convex fit at most.
ROUNDS, STEPS = 50, 3000
#: What is added to a rank before its reciprocal is taken (Cormack, Clarke and Buettcher 2009).
RANK_OFFSET = 60


@dataclass(frozen=True)
class Evidence:
    """What held-out rows say of the members.

    given: (questions, members) the probability each member gave to what happened; of a number, the number.
    truth: (questions,) the number that it was; None for probabilities, whose loss is the logarithm.
    row: (questions,) the row that each belongs to, counted from 0.
    counts: (questions,) above 0, what each counts; None where all count alike.
    """

    given: Floats
    row: Ints
    truth: Floats | None = None
    counts: Floats | None = None

    def loss(self, weights: Floats) -> float:
        """Mean log loss, or mean squared error, of the blend with these weights."""
        return self.loss_of(self.given @ weights)

    def loss_of(self, mixed: Floats) -> float:
        """The same of a blend's answers (questions,)."""
        if self.truth is not None:
            return float(self.mean((mixed - self.truth) ** 2))
        return float(self.mean(-np.log(np.maximum(mixed, SMALLEST))))

    def mean(self, values: Floats) -> Any:
        """The mean over the questions."""
        return values.mean(axis=0) if self.counts is None else np.average(values, 0, self.counts)

    def of(self, rows: NDArray[np.bool_]) -> Evidence:
        """The questions of some rows. rows: (rows,) which of them."""
        there = rows[self.row]
        truth, counts = (None if one is None else one[there] for one in (self.truth, self.counts))
        return Evidence(self.given[there], self.row[there], truth, counts)


def fit_weights(evidence: Evidence, method: str, stated: Sequence[float]) -> Floats:
    """(members,) weights that sum to 1. Raises RecipeError for a method that there is not.

    stated: the members' own weights, which ``weights`` takes as they are; where there is nothing to learn
    from, the other methods do so, too.
    """
    if method not in METHODS:
        raise RecipeError(f"there is no blend {method!r}", fix=did_you_mean(method, METHODS))
    own = np.array(stated, dtype=np.float64)
    if method == "weights" or not len(evidence.given):
        return own / own.sum()
    if method == "greedy":
        return _greedy(evidence)
    return _convex(evidence) if evidence.truth is None else _convex_squares(evidence)


def _greedy(evidence: Evidence) -> Floats:
    """Selection with replacement (Caruana et al. 2004): add the member that helps most, again and again.

    The best of all rounds is taken, the earliest of equals.
    """
    members = evidence.given.shape[1]
    counts, best_counts = np.zeros(members), np.zeros(members)
    total, best = np.zeros(len(evidence.given)), np.inf
    for chosen in range(1, ROUNDS + 1):
        losses = [evidence.loss_of((total + evidence.given[:, one]) / chosen) for one in range(members)]
        pick = int(np.argmin(losses))
        counts[pick] += 1
        total += evidence.given[:, pick]
        if losses[pick] < best - 1e-12:
            best, best_counts = losses[pick], counts.copy()
    return best_counts / best_counts.sum()


def _convex(evidence: Evidence) -> Floats:
    """The least log loss of all weights on the simplex: a convex problem, solved by expectation
    maximisation of the mixture's proportions (Dempster, Laird and Rubin 1977), which never gets worse."""
    given = np.maximum(evidence.given, SMALLEST)
    weights = np.full(given.shape[1], 1 / given.shape[1])
    before = np.inf
    for _ in range(STEPS):
        mixed = given @ weights
        loss = evidence.loss_of(mixed)
        if before - loss < 1e-10:
            break
        before = loss
        weights = weights * evidence.mean(given / mixed[:, None])
    return _cleaned(weights)


def _convex_squares(evidence: Evidence) -> Floats:
    """The least squared error on the simplex, by projected gradient steps of the safe length."""
    truth = np.zeros(len(evidence.given)) if evidence.truth is None else evidence.truth
    # The weights sum to 1, so the error of the blend is the blend of the errors: a better shape to descend.
    errors = evidence.given - truth[:, None]
    counts = np.ones(len(errors)) if evidence.counts is None else evidence.counts
    gram = (errors * counts[:, None]).T @ errors / counts.sum()
    step = 1 / max(float(np.linalg.norm(gram, 2)), 1e-12)
    weights = np.full(len(gram), 1 / len(gram))
    for _ in range(STEPS):
        new = _on_simplex(weights - step * (gram @ weights))
        if np.abs(new - weights).max() < 1e-10:
            break
        weights = new
    return _cleaned(weights)


def _on_simplex(point: Floats) -> Floats:
    """The nearest weights from 0 up that sum to 1 (Held, Wolfe and Crowder 1974)."""
    falling = np.sort(point)[::-1]
    excess = (np.cumsum(falling) - 1) / np.arange(1, len(point) + 1)
    return np.maximum(point - excess[np.flatnonzero(falling > excess)[-1]], 0)


def _cleaned(weights: Floats) -> Floats:
    weights = np.where(weights < 1e-4, 0.0, weights)
    return weights / weights.sum()


def nested_weights(evidence: Evidence, part: Ints, method: str, stated: Sequence[float]) -> Floats:
    """(parts, members) weights for each part of the rows, learned from the other parts alone.

    part: (rows,) from 0. A blend is scored honestly with each row's own part's weights: these never saw it.
    """
    parts = int(part.max(initial=0)) + 1
    return np.stack([fit_weights(evidence.of(part != one), method, stated) for one in range(parts)])


def random_parts(rows: int, parts: int = 5, *, seed: int = 0) -> Ints:
    """(rows,) parts of about equal size, for rows that no fold divides."""
    return np.random.default_rng([seed, 5]).permutation(np.arange(rows) % max(1, min(parts, rows)))


def blended(answers: Floats, weights: Floats) -> Floats:
    """Weighted mean of answers, row by row over the members that have one; NaN where none has.

    answers: (members, rows, answers), NaN where a member has none.  weights: (members,) or (rows, members).
    """
    there = np.asarray(~np.isnan(answers).any(axis=2))
    each = np.asarray(np.broadcast_to(weights, (answers.shape[1], len(answers))).T * there)
    # Where every member that answers has the weight 0, they count alike.
    each = np.where(np.asarray(each.sum(axis=0) == 0)[None, :], there.astype(np.float64), each)
    with np.errstate(invalid="ignore"):
        shares = each / each.sum(axis=0)
        found = (shares[:, :, None] * np.where(there[:, :, None], answers, 0.0)).sum(axis=0)
    return np.where(np.asarray(there.any(axis=0))[:, None], found, np.nan)


def fuse_ranks(lists: Sequence[Sequence[Any]], weights: Sequence[float], n: int) -> list[tuple[Any, float]]:
    """One ranked list of several, best first: the sum of weight / (60 + rank) (reciprocal rank fusion).

    lists: one a member, best first.  Of equal scores the one comes first that stands higher in some list.
    """
    score: dict[Any, float] = {}
    first: dict[Any, int] = {}
    for items, weight in zip(lists, weights, strict=True):
        for rank, item in enumerate(items, start=1):
            score[item] = score.get(item, 0.0) + weight / (RANK_OFFSET + rank)
            first[item] = min(first.get(item, rank), rank)
    order = sorted(score, key=lambda item: (-score[item], first[item]))
    return [(item, score[item]) for item in order[:n]]


def joined_classes(lists: Mapping[str, Sequence[str]]) -> tuple[tuple[str, ...], list[str]]:
    """All members' classes by name, in the first one's order and then as they come; and messages.

    lists: member -> its classes.
    """
    joined = tuple(dict.fromkeys(name for names in lists.values() for name in names))
    notes = []
    for member, names in lists.items():
        lacking = [name for name in joined if name not in set(names)]
        if lacking:
            notes.append(f"{member} does not know {', '.join(lacking[:10])}: its probability of them is 0")
    return joined, notes


def by_name(answers: Floats, own: Sequence[str], joined: Sequence[str]) -> Floats:
    """(rows, joined) probabilities of a member's own classes, 0 for those that it does not know."""
    if tuple(own) == tuple(joined):
        return answers
    place = {name: number for number, name in enumerate(joined)}
    found = np.zeros((len(answers), len(joined)))
    found[:, [place[name] for name in own]] = answers
    # A row that was not predicted stays so in every class.
    found[np.isnan(answers).any(axis=1)] = np.nan
    return found
