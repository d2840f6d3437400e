"""The demo on synthetic data: pictures of leaves with two targets, and ratings of films."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, cast

import numpy as np
from numpy.typing import NDArray

from tenfold.data.images.decode import encode_png
from tenfold.data.synthetic import DrawnRatings, draw_leaves, draw_ratings
from tenfold.errors import RecipeError, did_you_mean
from tenfold.events import Listener
from tenfold.recipe import FactorRecipe, Recipe
from tenfold.runs.fitting import fit
from tenfold.runs.record import RunRecord
from tenfold.runs.run import Run
from tenfold.schema import CategoryTarget, IdColumn, ImageColumn, RatingTarget, Schema
from tenfold.values import Log, Predictions, read_score, read_scores

if TYPE_CHECKING:
    from tenfold.recommenders.factors import FactorRun

#: Small enough for a CPU, trained from random weights: a demo downloads nothing.
RECIPE = Recipe(
    arch="test_resnet",
    weights="none",
    image_size=(96, 96),
    epochs=30,
    frozen_epochs=0,
    batch_size=32,
    lr=4e-3,
    body_lr=1.0,
    drop_path=0.0,
    dropout=0.1,
    flip="both",
    views=4,
    min_scale=0.7,
    ema=0.98,
    seed=1,
)

#: The demo's acts, in their order.
ACTS = ("leaves", "ratings")
#: Number of neighbours, and of recommended items.
NEIGHBOURS = 10
#: Standard deviation of the noise of a rating, before it is rounded.
NOISE = 0.4


def chosen_acts(only: str | None) -> tuple[str, ...]:
    """All acts, or the given one."""
    if only is None:
        return ACTS
    if only not in ACTS:
        raise RecipeError(
            f"the demo has no act {only!r}", found=" and ".join(ACTS), fix=did_you_mean(only, ACTS)
        )
    return (only,)


@dataclass(frozen=True)
class DemoData:
    """Files of the synthetic data.

    train, test: tables.  photos: folder of all pictures.  sample: a submission file to fill in.
    truth: the labels of the test rows, which a competition would not publish.
    columns: of the training table.
    """

    train: Path
    test: Path
    sample: Path
    truth: Path
    photos: Path
    columns: dict[str, list[str]]


def write_demo_data(
    folder: str | os.PathLike[str], *, rows: int = 800, test_rows: int = 160, seed: int = 1
) -> DemoData:
    """Draw leaves and write them as a competition would: pictures, tables, a sample."""
    folder = Path(folder)
    photos = folder / "photos"
    photos.mkdir(parents=True, exist_ok=True)
    images, columns = draw_leaves(rows + test_rows, seed=seed)
    for name, pixels in zip(columns["image_id"], images, strict=True):
        (photos / str(name)).write_bytes(encode_png(pixels))
    data = DemoData(
        folder / "train.csv",
        folder / "test.csv",
        folder / "sample_submission.csv",
        folder / "test_answers.csv",
        photos,
        {name: [str(cell) for cell in cells[:rows]] for name, cells in columns.items()},
    )
    names = list(columns)
    table = list(zip(*columns.values(), strict=True))
    _write(data.train, names, table[:rows])
    _write(data.test, ["image_id"], [row[:1] for row in table[rows:]])
    # In another order, as in real competitions.
    _write(data.sample, ["image_id", "disease"], [(row[0], "healthy") for row in reversed(table[rows:])])
    _write(data.truth, names, table[rows:])
    return data


def _write(path: Path, names: list[str], rows: Iterable[Sequence[object]]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(rows)


def fit_demo(
    folder: Path,
    data: DemoData,
    *,
    on_progress: Listener | None = None,
    on_note: Log | None = None,
) -> Run:
    """Train a small network on the drawn leaves, both targets at once."""
    schema = Schema(
        inputs=(ImageColumn(name="image_id", folder=str(data.photos)),),
        targets=(CategoryTarget(name="disease"), CategoryTarget(name="variety")),
    )
    return fit(
        schema,
        RECIPE,
        str(data.train),
        run=folder / "run",
        history=False,
        report=False,
        on_progress=on_progress,
        on_note=on_note,
    )


def predict_demo(run: Run, folder: Path, data: DemoData) -> tuple[Path, dict[str, object]]:
    """Predict the test table into a submission file; returns the file and the scores on the test rows."""
    from tenfold.files.submission import write_submission

    submission = folder / "submission.csv"
    write_submission(submission, cast(Predictions, run.predict(str(data.test))), like=data.sample)
    return submission, run.evaluate(str(data.truth))


# --- the second act: ratings -----------------------------------------------------------------------


@dataclass(frozen=True)
class DemoRatings:
    """Files of the drawn ratings, and the truth behind them.

    ratings: table of user, item and rating.  films: of item and title.  held_out: ratings of the test.
    """

    ratings: Path
    films: Path
    held_out: Path
    truth: DrawnRatings


def write_demo_ratings(
    folder: Path, *, users: int = 1000, items: int = 300, ratings: int = 40_000, seed: int = 1
) -> DemoRatings:
    """Draw ratings from known factors; write nine tenths as a training table, one tenth as a test table."""
    folder.mkdir(parents=True, exist_ok=True)
    truth = draw_ratings(users, items, ratings, seed=seed, noise=NOISE)
    data = DemoRatings(folder / "ratings.csv", folder / "films.csv", folder / "held_out.csv", truth)
    rows = list(zip(truth["user"], truth["item"], truth["rating"].astype(int).tolist(), strict=True))
    held = np.random.default_rng(seed).random(len(rows)) < 0.1
    names = ["user", "item", "rating"]
    _write(data.ratings, names, [row for row, out in zip(rows, held, strict=True) if not out])
    _write(data.held_out, names, [row for row, out in zip(rows, held, strict=True) if out])
    _write(data.films, ["item", "title"], list(zip(truth["items"], truth["titles"], strict=True)))
    return data


def fit_demo_ratings(
    folder: Path,
    data: DemoRatings,
    *,
    on_progress: Listener | None = None,
    on_note: Log | None = None,
) -> FactorRun:
    """Fit the drawn ratings with the default method."""
    schema = Schema(
        inputs=(IdColumn(name="user"), IdColumn(name="item")),
        targets=(RatingTarget(name="rating"),),
        item_table=str(data.films),
        item_name="title",
    )
    run = fit(
        schema,
        FactorRecipe(),
        str(data.ratings),
        run=folder / "run",
        history=False,
        report=False,
        on_progress=on_progress,
        on_note=on_note,
    )
    return cast("FactorRun", run)


class RatingsScores(TypedDict):
    """A run beside the truth: errors, nearest neighbours, and ten films for a critical user.

    `rmse` is on the held-out ratings; `truth_rmse` is that of the drawn factors, a lower bound in
    expectation. The true neighbours of a film are the ten of highest cosine of the drawn factors:
    `neighbours_found` of them are among the run's ten on average, `neighbours_by_chance` among ten random
    films; `nearest_found` counts the films whose true nearest neighbour is found.
    """

    run: str
    rmse: float
    truth_rmse: float
    baselines: dict[str, float]
    scored: int
    films: int
    neighbours: int
    neighbours_found: float
    neighbours_by_chance: float
    nearest_found: int
    user: str
    recommended: list[dict[str, object]]
    seconds: float


def evaluate_demo_ratings(run: FactorRun, data: DemoRatings) -> RatingsScores:
    """Compare the run with the truth."""
    scores = RunRecord(run.evaluate(str(data.held_out))).targets[run.target]
    baselines = read_scores(scores, "baselines")
    # Unrated films have no factors to compare.
    row_of = {item: row for row, item in enumerate(data.truth["items"])}
    known = np.array([row_of[item] for item in run.model.items])
    count = min(NEIGHBOURS, len(known) - 1)
    true = _nearest(data.truth["item_factors"][known], count)
    row_of = {item: row for row, item in enumerate(run.model.items)}
    near = np.array([row_of[item] for item in run.similar(n=count).found]).reshape(len(known), count)
    hits = (true[:, :, None] == near[:, None, :]).any(axis=2)
    # The lowest mean among users of at least median activity: few of their scores are at the maximum.
    given = np.diff(run.model.seen_start)
    means = np.add.reduceat(run.model.seen_ratings, run.model.seen_start[:-1]) / given
    user = str(run.model.users[np.where(given >= np.median(given), means, np.inf).argmin()])
    return {
        "run": str(run.path),
        "rmse": read_score(scores, "rmse"),
        "truth_rmse": _truth_rmse(data),
        "baselines": {name: read_score(read_scores(baselines, name), "rmse") for name in baselines},
        "scored": int(read_score(scores, "scored")),
        "films": len(known),
        "neighbours": count,
        "neighbours_found": float(hits.sum(axis=1).mean()),
        "neighbours_by_chance": count * count / (len(known) - 1),
        "nearest_found": int(hits[:, 0].sum()),
        "user": user,
        "recommended": _recommended(run, data, user),
        "seconds": run.record.seconds,
    }


def _nearest(factors: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """(items, count) the other items of highest cosine with each."""
    unit = factors / np.linalg.norm(factors, axis=1, keepdims=True)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -2)
    return np.argsort(-cosine, axis=1, kind="stable")[:, :count]


def _true_scores(
    truth: DrawnRatings, users: NDArray[np.object_], items: NDArray[np.object_]
) -> NDArray[np.float64]:
    """Ratings without noise, clipped to the scale."""
    rows = {user: row for row, user in enumerate(truth["users"])}
    columns = {item: row for row, item in enumerate(truth["items"])}
    user, item = np.array([rows[user] for user in users]), np.array([columns[item] for item in items])
    score = truth["mean"] + truth["user_bias"][user] + truth["item_bias"][item]
    score += (truth["user_factors"][user] * truth["item_factors"][item]).sum(axis=1)
    return np.clip(score, 1, 5)


def _truth_rmse(data: DemoRatings) -> float:
    with open(data.held_out, encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    columns = {name: np.array([row[name] for row in rows], object) for name in ("user", "item")}
    away = _true_scores(data.truth, columns["user"], columns["item"]) - [float(row["rating"]) for row in rows]
    return float(np.sqrt(np.mean(away**2)))


def _recommended(run: FactorRun, data: DemoRatings, user: str) -> list[dict[str, object]]:
    """Ten films for a user, with reasons and the true scores."""
    films = run.recommend(user, n=10)
    truth = _true_scores(data.truth, films.users, films.items)
    reasons = films.reasons or ((),) * len(films.items)
    return [
        {
            "rank": int(films.rank[row]),
            "film": str(films.names[row]),
            "score": float(films.score[row]),
            "truth": float(truth[row]),
            "reasons": [{"name": name, "moved": round(moved, 4)} for name, moved in reasons[row]],
        }
        for row in range(len(films.items))
    ]
