"""What a user's mood of the day is worth if only earlier ratings may speak for it.

    python bench/earlier_ratings.py [--folds 5]

MovieLens 100K, official folds. `fit --time` lets a user's ratings within one span of time share a shift,
and in a random fold some of those are later than the rating that is predicted. Here the default without
times makes the prediction, and its errors on ratings of the same user before that moment move it: a
Gaussian process over the spans' lengths of `collab.times`, with the errors of training ratings out of five
inner folds. Its variances are chosen on the training rows, each predicted from earlier ones. The same with
all of the user's training ratings, later ones too, stands beside it. Factors and biases come from all
training ratings in both.
"""

from __future__ import annotations

import argparse
import itertools

import numpy as np
from ratings import Part, movielens_100k

from tenfold.collab.predict import FactorScorer, predict_pairs
from tenfold.collab.times import LENGTHS
from tenfold.data.ratings.index import index_ratings
from tenfold.data.tables.table import read_table
from tenfold.recipe import FactorRecipe
from tenfold.recommenders.methods import fit_model

#: Lengths of spans, in seconds, and the variances of the shifts of each that are tried.
SPANS = (*LENGTHS, 14 * 86400.0)
TRIED = ((0.0, 0.03, 0.06), (0.0, 0.03), (0.0, 0.03), (0.0, 0.02, 0.05), (0.0, 0.02))


def predicted(train: dict[str, np.ndarray], rows: dict[str, np.ndarray]) -> np.ndarray:
    """What the default without times predicts for rows."""
    ratings = index_ratings(read_table(train), time=False, kind="explicit")
    model = fit_model(ratings, FactorRecipe(), {})
    return predict_pairs(FactorScorer(model), rows["user"], rows["item"], {}).score


def errors_of(train: dict[str, np.ndarray]) -> np.ndarray:
    """Errors of the training rows, each predicted by a fit without its fifth."""
    error = np.empty(len(train["rating"]))
    for fold in np.array_split(np.random.default_rng(1).permutation(len(error)), 5):
        rest = np.setdiff1d(np.arange(len(error)), fold)
        parts = ({key: values[each] for key, values in train.items()} for each in (rest, fold))
        known, asked = parts
        error[fold] = asked["rating"] - predicted(known, asked)
    return error


def shared(times: np.ndarray, others: np.ndarray, variances: tuple[float, ...]) -> np.ndarray:
    """(times, others) covariance of the shifts at two moments of a user."""
    covariance = np.zeros((len(times), len(others)))
    for length, variance in zip(SPANS, variances, strict=True):
        covariance += variance * (np.floor(times / length)[:, None] == np.floor(others / length))
    return covariance


def shifts(
    known: tuple[np.ndarray, np.ndarray],
    asked: np.ndarray,
    variances: tuple[float, ...],
    noise: float,
    later: bool,
) -> np.ndarray:
    """Expected shifts of one user at the asked times.

    known: times, which rise, and errors of training rows.  later: use all of them, not just those before.
    """
    times, errors = known
    if not len(times):
        return np.zeros(len(asked))
    root = np.linalg.cholesky(shared(times, times, variances) + noise * np.eye(len(times)))
    solved = np.linalg.solve(root, errors)
    covariance = np.linalg.solve(root, shared(times, asked, variances))
    # The first rows of a Cholesky factor are those of the first ratings: a sum cut early is of these alone.
    sums = np.cumsum(np.vstack([np.zeros(len(asked)), covariance * solved[:, None]]), axis=0)
    before = np.full(len(asked), len(times)) if later else np.searchsorted(times, asked, side="left")
    return sums[before, np.arange(len(asked))]


def moved(
    train: dict[str, np.ndarray],
    error: np.ndarray,
    rows: dict[str, np.ndarray],
    variances: tuple[float, ...],
    noise: float,
    later: bool = False,
) -> np.ndarray:
    """Shifts of the rows by the errors of their users' training ratings."""
    found = np.zeros(len(rows["time"]))
    by_user = {user: np.flatnonzero(train["user"] == user) for user in np.unique(rows["user"])}
    for user, own in by_user.items():
        own = own[np.argsort(train["time"][own].astype(float), kind="stable")]
        asked = np.flatnonzero(rows["user"] == user)
        known = train["time"][own].astype(float), error[own]
        found[asked] = shifts(known, rows["time"][asked].astype(float), variances, noise, later)
    return found


def chosen(train: dict[str, np.ndarray], error: np.ndarray) -> tuple[float, ...]:
    """The variances whose shifts leave the least squared error of training rows, by earlier rows alone."""
    users = np.unique(train["user"])
    some = np.isin(train["user"], np.random.default_rng(2).permutation(users)[:250])
    rows = {key: values[some] for key, values in train.items()}
    left = {}
    for variances in itertools.product(*TRIED):
        noise = max(float(np.var(error[some])) - sum(variances), 0.3)
        left[variances] = np.mean((error[some] - moved(rows, error[some], rows, variances, noise)) ** 2)
    return min(left, key=lambda each: left[each])


def rmse(part: Part, found: np.ndarray) -> float:
    return float(np.sqrt(np.mean((np.clip(found, 1, 5) - part.test["rating"]) ** 2)))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folds", type=int, default=5)
    folds = parser.parse_args().folds
    scores = []
    for number, part in zip(range(folds), movielens_100k(), strict=False):
        error, plain = errors_of(part.train), predicted(part.train, part.test)
        variances = chosen(part.train, error)
        noise = max(float(np.var(error)) - sum(variances), 0.3)
        found = [
            plain + moved(part.train, error, part.test, variances, noise, later) for later in (False, True)
        ]
        scores.append([rmse(part, each) for each in (plain, *found)])
        print(f"u{number + 1}", variances, *(f"{score:.4f}" for score in scores[-1]), flush=True)
    means = np.mean(scores, axis=0)
    print("without times {:.4f}; earlier ratings {:.4f}; all ratings {:.4f}".format(*means))


if __name__ == "__main__":
    main()
