"""A recommender that learns further ratings for good: its folder is whole, as it was or as it is now."""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from tenfold.collab.evaluate import evaluate_lists, evaluate_ratings
from tenfold.collab.ids import locate
from tenfold.collab.pack import Packed
from tenfold.collab.predict import PairScorer
from tenfold.data.ratings.index import take_ratings
from tenfold.errors import LISTED, RatingsError, RunError
from tenfold.recipe import FactorRecipe, RatingNetworkRecipe
from tenfold.runs.folder import RunFolder, making_run
from tenfold.runs.job import Notes
from tenfold.runs.place import CHECKPOINT, find_paths
from tenfold.runs.record import RunRecord
from tenfold.runs.registry import load_run, open_run
from tenfold.runs.run import Run
from tenfold.values import Interactions, Log, Ratings, Scores, id_text, read_score, read_scores

__all__ = ["NewRatings", "Updatable", "advice", "update_run"]

Floats = NDArray[np.float64]
#: Ratings from which a shift against the predictions is judged, and the largest, as a fraction of the scale.
JUDGED, SHIFT = 30, 0.25
#: Pairs of a run of events from which a table that holds them all is taken for the whole log.
WHOLE = 20
#: Users whose lists are scored before their events are learned.
LISTED_USERS = 200
#: A full fit is advised where the error beside the baseline's has grown by this fraction and by twice its
#: standard error, over the last updates; or where so many ratings were learned, beside those of the fit.
DRIFT, LAST_UPDATES, GROWN = 0.01, 5, 0.5


@dataclass(frozen=True)
class NewRatings:
    """Ratings of a table, read for a run.

    items: (items,) the run's ids that `ratings.items` stand for.  notes: messages.  source: the table's name.
    order: (n,) times, or places after all that the run knows, if its rows stand in order; None: not known.
    """

    ratings: Ratings
    items: NDArray[np.object_]
    notes: list[str]
    source: str
    order: Floats | None = None

    @property
    def pairs(self) -> tuple[NDArray[np.object_], NDArray[np.object_], Floats]:
        """(n,) ids of users and items, and ratings."""
        own = self.ratings
        return own.users[own.user_index], self.items[own.item_index], own.ratings.astype(np.float64)

    def take(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> Ratings:
        """Some of the ratings, by the run's ids of items."""
        return take_ratings(
            replace(self.ratings, items=self.items), np.arange(len(self.ratings.ratings))[rows]
        )


class Updatable(Protocol):
    """What an update needs of a run."""

    path: Path
    record: RunRecord

    @property
    def recipe(self) -> FactorRecipe | RatingNetworkRecipe:
        """How ratings were read, with the rule for repeated pairs."""
        ...

    @property
    def scorer(self) -> PairScorer:
        """What scores pairs, with what is known."""
        ...

    @property
    def target(self) -> str:
        """What scores are of."""
        ...

    def new_ratings(
        self,
        source: object,
        table_options: Mapping[str, object],
        *,
        columns: Mapping[str, str | None] | None = None,
        time_format: str | None = None,
        skip_bad: bool = False,
        one_user: str | None = None,
    ) -> NewRatings:
        """Ratings of a table, read as those of the fit."""
        ...

    def learn(
        self,
        users: NDArray[np.object_],
        items: NDArray[np.object_],
        ratings: Floats,
        before: Floats,
        times: Floats | None = None,
    ) -> tuple[PairScorer, list[str]]:
        """A scorer with further ratings learned, and messages."""
        ...

    def packed(self, scorer: PairScorer) -> tuple[str, Packed]:
        """A scorer's file, and its arrays with what is said of them."""
        ...


def update_run(
    path: str | os.PathLike[str],
    source: object,
    *,
    columns: Mapping[str, str | None] | None = None,
    time_format: str | None = None,
    skip_bad: bool = False,
    again: bool = False,
    accept_shift: bool = False,
    table_options: Mapping[str, object] | None = None,
    on_note: Log | None = None,
) -> Run:
    """Learn the ratings of a table, and write the run anew; returns it. See `RecommenderRun.update`."""
    started = time.monotonic()
    notes = Notes(on_note)
    if (find_paths(path).work / CHECKPOINT).exists():
        raise RunError(
            f"a fit of {path} has not finished, and an update would end it",
            fix="finish it with tenfold fit ... --resume, or remove the folder beside it",
        )
    with making_run(path) as folder:
        # Opened here, with the folder's lock: no other update comes in between.
        run = cast(Updatable, load_run(path))
        new = run.new_ratings(
            source, table_options or {}, columns=columns, time_format=time_format, skip_bad=skip_bad
        )
        notes.add(new.notes)
        _refuse_outside(run, new)
        _refuse_titles(run, new)
        _refuse_timeless(run, new)
        chosen = _resolve(run, new)
        if not chosen.rows.any():
            notes.add([f"all {len(chosen.rows)} ratings are in the run already: nothing was changed"])
            return cast(Run, run)
        digest = _digest(new)
        if not again:
            _refuse_again(run, new, digest)
        error = _error_before(run, new, chosen, accept_shift)
        users, items, _ = new.pairs
        rows = chosen.rows
        order = None if new.order is None else new.order[rows]
        scorer, said = run.learn(users[rows], items[rows], chosen.value[rows], chosen.before[rows], order)
        notes.add(said)
        entry = {
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
            "table": new.source,
            **_counts(run.scorer.interactions, scorer.interactions, chosen, items),
            "error": error,
            "digest": digest,
        }
        notes.add(_held_notes(run.scorer.interactions, new, chosen))
        if not entry["learned"]:
            raise RatingsError(
                f"{new.source}: none of {len(rows)} ratings could be learned",
                problems=said[1:],
                fix="name items and users by their ids in the run, or fit again",
            )
        about = _described(run, scorer.interactions, entry, started)
        notes.add(advice(about["updates"], run.record, run.target))
        record = _write(folder, run, scorer, about)
    return open_run(folder.final, record)


# --- which ratings -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Chosen:
    """What is learned of each new rating.

    rows: (n,) which.  value: (n,) the rating, or what is added to an event's strength.
    before: (n,) the rating that the run has, NaN where it has none.
    """

    rows: NDArray[np.bool_]
    value: Floats
    before: Floats


def _resolve(run: Updatable, new: NewRatings) -> _Chosen:
    """Repeated pairs by the run's rule. Raises RatingsError where the rule is an error."""
    known = run.scorer.interactions
    users, items, value = new.pairs
    user, item = locate(users, known.users), locate(items, known.items)
    before = _of_pairs(known, known.seen_ratings, user, item)
    there = ~np.isnan(before)
    rule = run.recipe.duplicates or ("sum" if known.implicit else "last")
    if rule == "error" and there.any():
        first = np.flatnonzero(there)[:LISTED]
        raise RatingsError(
            f"{new.source}: {int(there.sum())} pairs are in the run already",
            problems=[f"user {users[row]!r}, item {items[row]!r}: {before[row]:g}" for row in first],
            fix="leave them out, since the run was fitted with this rule (duplicates error)",
        )
    wanted = {
        "last": value,
        "first": before,
        "mean": (before + value) / 2,
        "max": np.fmax(before, value),
        "min": np.fmin(before, value),
        "sum": before + value,
    }.get(rule, value)
    wanted = np.where(there, wanted, value)
    changed = ~there | (wanted.astype(np.float32) != before.astype(np.float32))
    if known.seen_times is not None and new.order is not None and rule != "first":
        # The same rating again is the more recent one.
        had = _of_pairs(known, known.seen_times, user, item)
        changed |= there & ((new.order > had) | (np.isnan(had) & ~np.isnan(new.order)))
    if known.implicit:
        wanted = np.where(there, wanted - before, wanted)
        if (wanted[changed] < 0).any():
            raise RatingsError(
                f"{new.source}: by the run's rule (duplicates {rule}) events would be taken back",
                fix="fit again, or give stronger events only",
            )
    if rule == "mean" and (there & changed).any():
        new.notes.append("a mean of a repeated pair counts the rating in the run as one rating")
    return _Chosen(changed, wanted, before)


def _refuse_outside(run: Updatable, new: NewRatings) -> None:
    """Raises RatingsError for ratings that the run's scale does not have."""
    known = run.scorer.interactions
    users, items, value = new.pairs
    low, high = known.scale
    outside = np.flatnonzero((value < low) | (value > high))
    if known.implicit or not len(outside):
        return
    raise RatingsError(
        f"{new.source}: {len(outside)} ratings lie outside the run's scale {low:g} to {high:g}",
        problems=[f"user {users[row]!r}, item {items[row]!r}: {value[row]:g}" for row in outside[:LISTED]],
        fix="bring them to the run's scale, or fit again with all ratings and --scale",
    )


def _refuse_titles(run: Updatable, new: NewRatings) -> None:
    """Raises RatingsError for a title that several items have, which would become an item of its own."""
    known = run.scorer.interactions
    ids: dict[str, list[str]] = {}
    for item, title in known.item_names.items():
        ids.setdefault(id_text(title).casefold(), []).append(item)
    unknown = new.items[locate(new.items, known.items) < 0]
    unclear = [item for item in unknown if len(ids.get(item.casefold(), ())) > 1]
    if unclear:
        raise RatingsError(
            f"{new.source}: {len(unclear)} items are titles that several items have",
            problems=[f"{item!r}: {', '.join(ids[item.casefold()][:LISTED])}" for item in unclear[:LISTED]],
            fix="name them by their ids",
        )


def _refuse_timeless(run: Updatable, new: NewRatings) -> None:
    """Raises RatingsError where lists weigh recent rows, and the new ones have no times."""
    if run.scorer.interactions.seen_times is None:
        return
    if new.order is None or np.isnan(new.order).all():
        raise RatingsError(
            f"{new.source} has no times, and the lists of this run weigh recent rows",
            fix="name the column of times with --time COLUMN, or fit again with --recent 0",
        )


def _of_pairs(
    known: Interactions, values: NDArray[np.floating], user: NDArray[np.int64], item: NDArray[np.int64]
) -> Floats:
    """(pairs,) the value of each pair that is known, of those beside `seen_items`; NaN for others."""
    width = max(1, len(known.items))
    keys = known.owners * width + known.seen_items
    order = np.argsort(keys, kind="stable")
    wanted = np.where((user < 0) | (item < 0), -1, user * width + item)
    place = np.minimum(np.searchsorted(keys[order], wanted), max(0, len(keys) - 1))
    found = np.full(len(user), math.nan)
    if len(keys):
        row = order[place]
        hit = keys[row] == wanted
        found[hit] = values[row[hit]]
    return found


def _digest(new: NewRatings) -> str:
    """Of what is given, whatever its order and the file's format."""
    users, items, value = new.pairs
    lines = sorted(
        f"{user}\0{item}\0{number:.9g}" for user, item, number in zip(users, items, value, strict=True)
    )
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogatepass")).hexdigest()


def _refuse_again(run: Updatable, new: NewRatings, digest: str) -> None:
    """Raises RunError for ratings that would count twice."""
    for number, update in enumerate(run.record.updates, start=1):
        if update.get("digest") == digest:
            raise RunError(
                f"{new.source} was learned already: update {number}, {update.get('when')}",
                fix="leave it out, or --again to count it twice",
            )
    known = run.scorer.interactions
    if not known.implicit or len(known.seen_items) < WHOLE:
        return
    users, items, value = new.pairs
    had = _of_pairs(known, known.seen_ratings, locate(users, known.users), locate(items, known.items))
    if int((value >= had).sum()) >= len(known.seen_items):
        raise RunError(
            f"{new.source} holds every event of the run: they would count twice",
            fix="give the new events alone, or fit again; --again counts them twice",
        )


def _held_notes(known: Interactions, new: NewRatings, chosen: _Chosen) -> list[str]:
    if known.held_users is None or known.held_items is None:
        return []
    users, items, _ = new.pairs
    width = len(known.items)
    held = known.held_users.astype(np.int64) * width + known.held_items
    user, item = locate(users, known.users), locate(items, known.items)
    both = chosen.rows & (user >= 0) & (item >= 0)
    count = int(np.isin((user * width + item)[both], held).sum())
    if not count:
        return []
    return [f"{count} of these ratings were held out by the fit, whose scores are not of the updated run"]


# --- before they are learned ---------------------------------------------------------------------------


def _error_before(run: Updatable, new: NewRatings, chosen: _Chosen, accept_shift: bool) -> dict[str, float]:
    """How well the run predicted the new ratings of users and items that it knows; {} where there are none.

    Raises RatingsError where ratings lie far above or below the predictions: they may be of another scale.
    """
    known, scorer = run.scorer.interactions, run.scorer
    users, items, value = new.pairs
    user, item = locate(users, known.users), locate(items, known.items)
    fresh = chosen.rows & np.isnan(chosen.before) & (item >= 0)
    if known.implicit:
        return _lists_before(scorer, new, fresh & (user >= 0))
    if int(fresh.sum()) >= JUDGED and not accept_shift:
        predicted, _ = scorer.scores(user[fresh], item[fresh], {})
        shift, (low, high) = float((value[fresh] - predicted).mean()), known.scale
        if abs(shift) > SHIFT * (high - low):
            where = "above" if shift > 0 else "below"
            raise RatingsError(
                f"{new.source}: ratings lie {abs(shift):.2f} {where} what the run expects, on average",
                found=f"from {value.min():g} to {value.max():g}; the run's scale is {low:g} to {high:g}",
                fix="bring them to the run's scale; or --accept-shift if they are what people gave",
            )
    fresh &= user >= 0
    if not fresh.any():
        return {}
    test = new.take(fresh)
    cells = {} if test.times is None else {"time": test.times}
    scores, _, _ = evaluate_ratings(scorer, test, cells)
    baseline = read_scores(read_scores(scores, "baselines"), "biases")
    return {
        "scored": int(fresh.sum()),
        "rmse": read_score(scores, "rmse"),
        "biases_rmse": read_score(baseline, "rmse"),
    }


def _lists_before(scorer: PairScorer, new: NewRatings, fresh: NDArray[np.bool_]) -> dict[str, float]:
    """NDCG of lists of 10 for some users of these events, and of the most popular items."""
    user = new.ratings.user_index
    some = np.unique(user[fresh])[:LISTED_USERS]
    fresh = fresh & np.isin(user, some)
    if not fresh.any():
        return {}
    scores, _ = evaluate_lists(scorer, new.take(fresh), n=10)
    popular = read_scores(read_scores(scores, "baselines"), "most_popular")
    return {
        "scored": int(read_score(scores, "users")),
        "ndcg": read_score(scores, "ndcg"),
        "popular_ndcg": read_score(popular, "ndcg"),
    }


def advice(updates: Sequence[Mapping[str, Any]], record: RunRecord, target: str) -> list[str]:
    """A message where a full fit would pay: the error has drifted, or many ratings were learned.

    updates: of the run, oldest first.  record: of the run, with the scores of its fit.
    """
    learned = sum(int(update["learned"]) for update in updates)
    fitted = int(record.values.get("fitted_rows") or record.train_rows or record.rows)
    if learned > GROWN * fitted:
        return [f"a full fit would pay: {learned:,} ratings were learned since it had {fitted:,}"]
    scored = [update["error"] for update in updates if update["error"].get("rmse") is not None]
    if not scored:
        return []
    scores: Scores = record.targets.get(target, {})
    rest = scored
    if "baselines" in scores:
        known, biases = read_scores(scores, "known"), read_scores(read_scores(scores, "baselines"), "biases")
        start = read_score(known, "rmse") / read_score(biases, "rmse")
    else:
        start, rest = scored[0]["rmse"] / scored[0]["biases_rmse"], scored[1:]
    if not rest:
        return []
    last = rest[-LAST_UPDATES:]
    count = sum(one["scored"] for one in last)
    own, beside = (math.sqrt(sum(one["scored"] * one[key] ** 2 for one in last) / count) for key in _BOTH)
    drift = own / beside / start - 1
    if not drift > max(DRIFT, 2 / math.sqrt(2 * count)):
        return []
    return [
        f"a full fit would pay: over the last {len(last)} updates the error of new ratings is "
        f"{own / beside:.3f} of the baseline's, and it was {start:.3f}"
    ]


_BOTH = ("rmse", "biases_rmse")


# --- writing -------------------------------------------------------------------------------------------


def _counts(
    before: Interactions, after: Interactions, chosen: _Chosen, items: NDArray[np.object_]
) -> dict[str, int]:
    learned = chosen.rows & (locate(items, after.items) >= 0)
    return {
        "rows": len(chosen.rows),
        "learned": int((learned & np.isnan(chosen.before)).sum())
        + int((learned & ~np.isnan(chosen.before)).sum()),
        "changed": int((learned & ~np.isnan(chosen.before)).sum()),
        "already": int((~chosen.rows).sum()),
        "left_out": int((chosen.rows & ~learned).sum()),
        "new_users": len(after.users) - len(before.users),
        "new_items": len(after.items) - len(before.items),
    }


def _described(run: Updatable, known: Interactions, entry: dict[str, Any], started: float) -> dict[str, Any]:
    """``run.json`` of the updated run."""
    record = run.record
    entry["seconds"] = round(time.monotonic() - started, 3)
    updates = [*record.updates, entry]
    grown = len(known.seen_items) - len(run.scorer.interactions.seen_items)
    kept = {
        name: value
        for name, value in record.values.items()
        if name not in ("format", "finished", "versions", "files", "sha256")
    }
    return {
        **kept,
        "rows": record.rows + grown,
        "train_rows": record.train_rows + grown,
        "users": max(record.users, len(known.users)),
        "items": max(record.items, len(known.items)),
        # What was fitted; `--resume` of that fit does not take the updated run for it.
        "fitted": record.values.get("fitted") or record.finished,
        "fitted_rows": record.values.get("fitted_rows") or record.train_rows,
        "identity": {**record.identity, "updates": len(updates)},
        "updates": updates,
    }


def _write(folder: RunFolder, run: Updatable, scorer: PairScorer, about: Mapping[str, object]) -> RunRecord:
    model, packed = run.packed(scorer)
    for name in run.record.files:
        if name != model:
            folder.file(name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(run.path / name, folder.file(name))
    folder.write_arrays(model, *packed)
    return folder.finish(about)
