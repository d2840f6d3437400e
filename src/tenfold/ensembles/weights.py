"""Blending: weighted means, weights learned from held-out rows, and rank fusion of lists.

The probability that a blend gives to the true class is the weighted mean of the members' probabilities. So
all weights are learned from a matrix (questions, members).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import RecipeError, did_you_mean
from tenfold.metrics import SMALLEST

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Item = TypeVar("Item")

#: How weights are made, the simplest first: as stated, or learned by either of two methods.
METHODS = ("weights", "greedy", "convex")
#: Rounds of the greedy selection, and steps of the convex fit at most.
ROUNDS, STEPS = 50, 3000
#: Added to a rank before the reciprocal (Cormack, Clarke and Buettcher 2009).
RANK_OFFSET = 60


@dataclass(frozen=True)
class Evidence:
    """The members' answers to held-out questions.

    given: (questions, members) the probability of the true class, or the predicted number.
    truth: (questions,) the true number; None for probabilities, which have the log loss.
    row: (questions,) the row of each question, counted from 0.
    counts: (questions,) weights above 0; None where all questions count alike.
    """

    given: Floats
    row: Ints
    truth: Floats | None = None
    counts: Floats | None = None

    def loss_of(self, mixed: Floats) -> float:
        """Return the mean log loss, or mean squared error, of a blend's answers (questions,)."""
        if self.truth is not None:
            return float(self.mean((mixed - self.truth) ** 2))
        return float(self.mean(-np.log(np.maximum(mixed, SMALLEST))))

    def mean(self, values: Floats) -> Floats:
        """Return the mean over the questions."""
        return np.asarray(values.mean(axis=0) if self.counts is None else np.average(values, 0, self.counts))

    def of(self, rows: NDArray[np.bool_]) -> Evidence:
        """Return the questions of the rows that the mask (rows,) selects."""
        chosen = rows[self.row]
        truth, counts = (None if values is None else values[chosen] for values in (self.truth, self.counts))
        return Evidence(self.given[chosen], self.row[chosen], truth, counts)


def fit_weights(evidence: Evidence, method: str, stated: Sequence[float]) -> Floats:
    """Return (members,) weights that sum to 1. Raises RecipeError for an unknown method.

    stated: the members' own weights; ``weights`` takes them as they are, and without evidence all methods do.
    """
    if method not in METHODS:
        raise RecipeError(f"unknown blend {method!r}", fix=did_you_mean(method, METHODS))
    own = np.array(stated, dtype=np.float64)
    if method == "weights" or not len(evidence.given):
        return own / own.sum()
    if method == "greedy":
        return _greedy(evidence)
    return _convex(evidence) if evidence.truth is None else _convex_squares(evidence)


def _greedy(evidence: Evidence) -> Floats:
    """Select with replacement (Caruana et al. 2004): add the member that helps most, round by round.

    The best round is taken, the earliest of equals.
    """
    counts, best_counts = np.zeros((2, evidence.given.shape[1]))
    total, best = np.zeros(len(evidence.given)), np.inf
    for chosen in range(1, ROUNDS + 1):
        losses = [evidence.loss_of((total + given) / chosen) for given in evidence.given.T]
        member = int(np.argmin(losses))
        counts[member] += 1
        total += evidence.given[:, member]
        if losses[member] < best - 1e-12:
            best, best_counts = losses[member], counts.copy()
    return best_counts / best_counts.sum()


def _convex(evidence: Evidence) -> Floats:
    """Minimise the log loss on the simplex, by expectation maximisation of the mixture's proportions
    (Dempster, Laird and Rubin 1977): the problem is convex, and no step makes the loss worse."""
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
    """Minimise the squared error on the simplex, by projected gradient steps of length 1 / Lipschitz."""
    truth = np.zeros(len(evidence.given)) if evidence.truth is None else evidence.truth
    # The weights sum to 1, so the error of the blend is the blend of the errors: better conditioned.
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
    """Return (parts, members) weights for each part of the rows, learned from the other parts alone.

    part: (rows,) from 0. The weights of a row's own part did not see the row, so they score it honestly.
    """
    parts = range(int(part.max(initial=0)) + 1)
    return np.stack([fit_weights(evidence.of(part != index), method, stated) for index in parts])


def random_parts(rows: int, parts: int = 5, *, seed: int = 0) -> Ints:
    """Deal rows without folds into parts of about equal size: (rows,)."""
    return np.random.default_rng([seed, 5]).permutation(np.arange(rows) % max(1, min(parts, rows)))


def blended(answers: Floats, weights: Floats) -> Floats:
    """Return the weighted mean of the answers, over the members that answered a row; NaN without any.

    answers: (members, rows, answers), NaN where a member has none.  weights: (members,) or (rows, members).
    """
    answered = np.asarray(~np.isnan(answers).any(axis=2))
    each = np.asarray(np.broadcast_to(weights, (answers.shape[1], len(answers))).T * answered)
    # If every member that answered has the weight 0, they count alike.
    each = np.where(each.sum(axis=0) == 0, answered.astype(np.float64), each)
    with np.errstate(invalid="ignore"):
        shares = each / each.sum(axis=0)
        mean = (shares[:, :, None] * np.where(answered[:, :, None], answers, 0.0)).sum(axis=0)
    return np.where(np.asarray(answered.any(axis=0))[:, None], mean, np.nan)


def fuse_ranks(lists: Sequence[Sequence[Item]], weights: Sequence[float], n: int) -> list[tuple[Item, float]]:
    """Fuse ranked lists by reciprocal rank: an item's score is the sum of weight / (60 + rank).

    lists: a list per member, best first.  Of equal scores, the item with the highest rank in any list leads.
    """
    score: dict[Item, float] = {}
    first: dict[Item, int] = {}
    for items, weight in zip(lists, weights, strict=True):
        for rank, item in enumerate(items, start=1):
            score[item] = score.get(item, 0.0) + weight / (RANK_OFFSET + rank)
            first[item] = min(first.get(item, rank), rank)
    order = sorted(score, key=lambda item: (-score[item], first[item]))
    return [(item, score[item]) for item in order[:n]]


def joined_classes(lists: Mapping[str, Sequence[str]]) -> tuple[tuple[str, ...], list[str]]:
    """Join the classes of all members, in the order of first appearance; and return messages.

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
    """Return (rows, joined) probabilities from a member's own classes, 0 for those that it does not know."""
    if tuple(own) == tuple(joined):
        return answers
    column = {name: index for index, name in enumerate(joined)}
    wide = np.zeros((len(answers), len(joined)))
    wide[:, [column[name] for name in own]] = answers
    # A row that was not predicted is NaN in every class.
    wide[np.isnan(answers).any(axis=1)] = np.nan
    return wide
