"""Both jobs on data that the package draws itself: leaf pictures with two targets, and ratings of films."""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.data.images.decode import encode_png
from tenfold.data.synthetic import draw_leaves, draw_ratings
from tenfold.errors import RecipeError, did_you_mean
from tenfold.events import Listener
from tenfold.recipe import FactorRecipe, Recipe
from tenfold.runs.fitting import fit
from tenfold.schema import CategoryTarget, IdColumn, ImageColumn, RatingTarget, Schema
from tenfold.values import Log

#: Small enough for a CPU, trained from random weights since nothing is fetched for a demo.
RECIPE = Recipe(
    arch="test_resnet",
    weights="none",
    image_size=96,
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
#: Neighbours that are asked for, and items recommended.
NEIGHBOURS = 10
#: As in the drawing: what is added to a rating before it is rounded.
NOISE = 0.4


def chosen_acts(only: str | None) -> tuple[str, ...]:
    """All acts, or the one that is asked for."""
    if only is None:
        return ACTS
    if only not in ACTS:
        raise RecipeError(
            f"the demo has no act {only!r}", found=" and ".join(ACTS), fix=did_you_mean(only, ACTS)
        )
    return (only,)


@dataclass(frozen=True)
class DemoData:
    """Where the drawn data lie.

    train, test: tables.  photos: folder of all pictures.  sample: a submission file to fill in.
    truth: the test rows' answers, which a competition would keep to itself.
    """

    train: Path
    test: Path
    sample: Path
    truth: Path
    photos: Path
    columns: dict[str, list[Any]]


def write_demo_data(
    folder: str | os.PathLike[str], *, rows: int = 800, test_rows: int = 160, seed: int = 1
) -> DemoData:
    """Draw leaves and write them as a competition would give them: pictures, tables, a sample."""
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
    # In an order of its own, as such files have it.
    _write(data.sample, ["image_id", "disease"], [(row[0], "healthy") for row in reversed(table[rows:])])
    _write(data.truth, names, table[rows:])
    return data


def _write(path: Path, names: list[str], rows: list[Any]) -> None:
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
) -> Any:
    """Train a small network on the drawn leaves, both targets at once; returns the run."""
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


def predict_demo(run: Any, folder: Path, data: DemoData) -> tuple[Path, dict[str, Any]]:
    """Predict the test table into a submission file; returns it and the scores against the answers."""
    from tenfold.files.submission import write_submission

    submission = folder / "submission.csv"
    write_submission(submission, run.predict(str(data.test)), like=data.sample)
    return submission, run.evaluate(str(data.truth))


# --- the second act: ratings -----------------------------------------------------------------------


@dataclass(frozen=True)
class DemoRatings:
    """Where the drawn ratings lie, and the truth that they were drawn from.

    ratings: table of user, item and rating.  films: of item and title.  held_out: ratings kept from the fit.
    truth: what `data.synthetic.draw_ratings` returns.
    """

    ratings: Path
    films: Path
    held_out: Path
    truth: dict[str, Any]


def write_demo_ratings(
    folder: Path, *, users: int = 1000, items: int = 300, ratings: int = 40_000, seed: int = 1
) -> DemoRatings:
    """Draw ratings from known factors; write nine tenths as a table to fit, one tenth as one to be scored."""
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
) -> Any:
    """Fit the drawn ratings with the default method; returns the run."""
    schema = Schema(
        inputs=(IdColumn(name="user"), IdColumn(name="item")),
        targets=(RatingTarget(name="rating"),),
        item_table=str(data.films),
        item_name="title",
    )
    return fit(
        schema,
        FactorRecipe(),
        str(data.ratings),
        run=folder / "run",
        history=False,
        report=False,
        on_progress=on_progress,
        on_note=on_note,
    )


def judge_demo_ratings(run: Any, data: DemoRatings) -> dict[str, Any]:
    """The run against the truth: errors, neighbours found again, and ten films for a user hard to please.

    `rmse` is on the held-out ratings; `truth_rmse` is that of the factors that the ratings were drawn from,
    which no method can be expected to beat. Of each film's ten truly nearest films (by the cosine of the
    drawn factors), `neighbours_found` are among the ten that the run finds, and `nearest_found` says for how
    many films the truly nearest one is; `neighbours_by_chance` is what any ten others would hold.
    """
    scores = run.evaluate(str(data.held_out))
    # Films that nobody rated have no factors to compare.
    place = {one: row for row, one in enumerate(data.truth["items"])}
    known = np.array([place[one] for one in run.model.items])
    factors = data.truth["item_factors"][known]
    count = min(NEIGHBOURS, len(known) - 1)
    wanted = _nearest(factors, count)
    near = run.similar(n=count)
    row_of = {one: row for row, one in enumerate(run.model.items)}
    found = np.array([row_of[one] for one in near.found]).reshape(len(known), count)
    hits = (wanted[:, :, None] == found[:, None, :]).any(axis=2)
    # Of those who gave a fair number: the one whose ratings are lowest, so that few scores end at the best.
    given = np.diff(run.model.seen_start)
    means = np.add.reduceat(run.model.seen_ratings, run.model.seen_start[:-1]) / given
    user = str(run.model.users[np.where(given >= np.median(given), means, np.inf).argmin()])
    return {
        "run": str(run.path),
        "rmse": scores["rmse"],
        "truth_rmse": _truth_rmse(data),
        "baselines": {name: one["rmse"] for name, one in scores["baselines"].items()},
        "scored": scores["scored"],
        "films": len(known),
        "neighbours": count,
        "neighbours_found": float(hits.sum(axis=1).mean()),
        "neighbours_by_chance": count * count / (len(known) - 1),
        "nearest_found": int(hits[:, 0].sum()),
        "user": user,
        "recommended": _recommended(run, data, user),
        "seconds": run.about["seconds"],
    }


def _nearest(factors: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """(items, count) the items of highest cosine with each, itself left out."""
    unit = factors / np.linalg.norm(factors, axis=1, keepdims=True)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -2)
    return np.argsort(-cosine, axis=1, kind="stable")[:, :count]


def _true_scores(truth: dict[str, Any], users: NDArray[Any], items: NDArray[Any]) -> NDArray[np.float64]:
    """What ratings would be without noise, on the scale."""
    rows = {one: row for row, one in enumerate(truth["users"])}
    columns = {one: row for row, one in enumerate(truth["items"])}
    user, item = np.array([rows[one] for one in users]), np.array([columns[one] for one in items])
    score = truth["mean"] + truth["user_bias"][user] + truth["item_bias"][item]
    score += (truth["user_factors"][user] * truth["item_factors"][item]).sum(axis=1)
    return np.clip(score, 1, 5)


def _truth_rmse(data: DemoRatings) -> float:
    with open(data.held_out, encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    columns = {name: np.array([row[name] for row in rows], object) for name in ("user", "item")}
    away = _true_scores(data.truth, columns["user"], columns["item"]) - [float(row["rating"]) for row in rows]
    return float(np.sqrt(np.mean(away**2)))


def _recommended(run: Any, data: DemoRatings, user: str) -> list[dict[str, Any]]:
    """Ten films for one user, why, and what the user would truly give them."""
    found = run.recommend(user, n=10)
    truth = _true_scores(data.truth, found.users, found.items)
    why = found.reasons or ((),) * len(found.items)
    return [
        {
            "rank": int(found.rank[row]),
            "film": str(found.names[row]),
            "score": float(found.score[row]),
            "truth": float(truth[row]),
            "reasons": [{"name": name, "moved": round(moved, 4)} for name, moved in why[row]],
        }
        for row in range(len(found.items))
    ]
