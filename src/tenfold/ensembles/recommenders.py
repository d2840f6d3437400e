"""The ratings wing: many runs as one. Ratings are averaged; lists of events are fused by reciprocal rank.

Members are factors or networks, in any mix: both answer pairs of ids, and a blend asks nothing else of them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Unpack

import numpy as np
from numpy.typing import NDArray

from tenfold.collab.evaluate import locate_pairs, score_pairs
from tenfold.collab.predict import as_ids, locate, predict_pairs
from tenfold.collab.recommend import checked_count, rated_pairs
from tenfold.data.tables.table import Table
from tenfold.ensembles.weights import fuse_ranks
from tenfold.errors import RecipeError, RunError
from tenfold.recommenders.factors import id_names, peak_bytes, read_own_ratings
from tenfold.reports.html import Page
from tenfold.runs.bundle import read_members
from tenfold.runs.folder import RunFolder
from tenfold.runs.job import log_all
from tenfold.runs.options import AS_TRAINED, SOME_ROWS, ExplainOptions, PredictChanges, PredictOptions
from tenfold.runs.reading import read_as_trained
from tenfold.runs.record import RunRecord
from tenfold.runs.registry import open_run
from tenfold.runs.run import Blended, Ensemble, Explanation, Member
from tenfold.values import FactorModel, PairPredictions, Ratings, Recommendations, id_text

__all__ = ["RatingsBlend", "ratings_blend_of"]

#: Items that each member puts forward for a list of n: this many times n, but at least so many.
WIDER, LEAST = 10, 200


@dataclass(frozen=True)
class RatingsBlend(Ensemble):
    """Many recommenders as one. schema: the first member's, by whose columns tables are read."""

    kind: ClassVar = "blend of ratings"
    words: ClassVar = "a blend of ratings"
    takes: ClassVar = frozenset({"unknown", "ranking", "n", "relevant_from", "members"})
    summarised: ClassVar = ("targets", "weights", "members", "seconds", "peak_bytes")

    @classmethod
    def open(cls, path: Path, record: RunRecord) -> RatingsBlend:
        """The blend in a folder whose files have been checked. Members are checked, too."""
        kept = read_members(path, record)
        if not kept:
            raise RunError(f"no member of {path} has finished", fix="blend its runs again")
        names, weights = [one.name for one in kept], [one.weight for one in kept]
        runs = [open_run(*one.runs[0]) for one in kept]
        return ratings_blend_of(path, names, weights, runs, record)

    @classmethod
    def blend(cls, folder: RunFolder, members: Sequence[Member[Any]], *, method: str, seed: int) -> Blended:
        """Their weights as stated: runs of ratings keep no held-out answers to learn them from."""
        if method != "weights":
            raise RecipeError(
                f"--method {method} learns from held-out answers, which runs of ratings do not keep",
                fix="give --weights, and compare by tenfold evaluate",
            )
        names, weights = [member.name for member in members], [member.weight for member in members]
        runs = [member.runs[0] for member in members]
        blend = ratings_blend_of(folder.path, names, weights, runs, RunRecord({}))
        shares = {name: weight / sum(weights) for name, weight in zip(names, weights, strict=True)}
        target = blend.schema.targets[0].name or "event"
        record = {"of": "ratings", "weights": {target: shares}, "targets": {}, "peak_bytes": peak_bytes()}
        return Blended(blend.schema, record, {member.name: member.runs[0].scores for member in members}, ())

    @property
    def names(self) -> tuple[str, ...]:
        """The members' names."""
        return tuple(member.name for member in self.members)

    @property
    def weights(self) -> tuple[float, ...]:
        """The members' weights."""
        return tuple(member.weight for member in self.members)

    @property
    def runs(self) -> tuple[Any, ...]:
        """The members' runs."""
        return tuple(member.runs[0] for member in self.members)

    @property
    def implicit(self) -> bool:
        """Whether the members know of events only, and not of stars."""
        return _facts(self.runs[0]).implicit

    def with_ratings(self, source: Any, **options: Any) -> RatingsBlend:
        """This blend with further ratings learnt by every member; see `RatingsRun.with_ratings`."""
        runs = tuple(run.with_ratings(source, **options) for run in self.runs)
        notes = list(dict.fromkeys(note for run in runs for note in run.record.added_notes))
        record = self.record.with_values(added_notes=notes, added_users=runs[0].record.added_users)
        members = zip(self.members, runs, strict=True)
        return replace(
            self, record=record, members=tuple(replace(member, runs=(run,)) for member, run in members)
        )

    def predict_pairs(self, users: Any, items: Any, **options: Any) -> PairPredictions:
        """The weighted mean of the members' ratings; the deviation is that of their mixture.

        Beside a network, which knows of no deviation, there is none.
        """
        self._refuse_events()
        return self._mixed([run.predict_pairs(users, items, **options) for run in self.runs])

    def predict(
        self, source: object, options: PredictOptions = AS_TRAINED, **changes: Unpack[PredictChanges]
    ) -> PairPredictions:
        """Scores of the pairs in a table, one per row, in its order; see `RatingsRun.predict`."""
        options = self.options(options, changes)
        if options.members:
            raise RunError("members' own ratings are asked of the members", fix="predict with each run")
        self._refuse_events()
        said: list[str] = []
        found = [run.predict(source, replace(options, log=said.append)) for run in self.runs]
        log_all(options.log, dict.fromkeys(said))
        return self._mixed(found)

    def _refuse_events(self) -> None:
        if self.implicit:
            raise RunError(
                f"{self.path} blends lists of events, whose scores have no common unit",
                fix="ask it for lists: tenfold recommend",
            )

    def _mixed(self, found: Sequence[PairPredictions]) -> PairPredictions:
        for name, one in zip(self.names[1:], found[1:], strict=True):
            if not (np.array_equal(one.users, found[0].users) and np.array_equal(one.items, found[0].items)):
                raise RunError(
                    f"{self.names[0]} and {name} read other users and items from this table",
                    fix="name the columns alike in all runs, and in the table",
                )
        share = np.array(self.weights) / sum(self.weights)
        scores = np.stack([one.score.astype(np.float64) for one in found])
        mean = share @ scores
        spread = np.stack([one.deviation.astype(np.float64) for one in found])
        variance = share @ (spread**2 + scores**2) - mean**2
        first = found[0]
        known_user = np.any([one.known_user for one in found], axis=0)
        known_item = np.any([one.known_item for one in found], axis=0)
        state = first.item_state.copy()
        for one in found[1:]:
            state = np.where(one.known_item & ~first.known_item, one.item_state, state)
        notes = tuple(dict.fromkeys(note for one in found for note in one.notes))
        deviation = np.sqrt(np.maximum(variance, 0)).astype(np.float32)
        return PairPredictions(
            first.users,
            first.items,
            mean.astype(np.float32),
            deviation,
            known_user,
            known_item,
            state,
            notes,
        )

    def recommend(self, users: Any = None, *, n: int = 10, **options: Any) -> Recommendations:
        """The best n items for each user: by mean rating, or of events by reciprocal rank.

        Every member puts forward more than n; what any of them names is rated by all. What the user has rated
        in any member's table is not listed.
        options: as `RatingsRun.recommend` takes them.
        """
        n = checked_count(n)
        options["reasons"] = 0
        rated = {} if options.get("include_seen") else self._rated(users)
        wide = max(LEAST, WIDER * n) + max(map(len, rated.values()), default=0)
        lists = [run.recommend(users, n=wide, **options) for run in self.runs]
        order = list(dict.fromkeys(str(user) for one in lists for user in one.users))
        titles = {
            item: name for one in lists for item, name in zip(one.items, one.names, strict=True) if name
        }
        known = {user for one in lists for user in one.users[one.known_user]}
        each = [_by_user(one) for one in lists]
        rows: list[tuple[str, Any, int, float, float]] = []
        for user in order:
            mine = rated.get(user, ())
            ranked = [[one for one in own.get(user, []) if one not in mine] for own in each]
            for rank, (item, score, deviation) in enumerate(self._best(user, ranked, n), start=1):
                rows.append((user, item, rank, score, deviation))
        notes = tuple(dict.fromkeys(note for one in lists for note in one.notes))
        columns = list(zip(*rows, strict=True)) or [(), (), (), (), ()]
        return Recommendations(
            np.array(columns[0], dtype=object),
            np.array(columns[1], dtype=object),
            np.array([titles.get(item, "") for item in columns[1]], dtype=object),
            np.array(columns[2], dtype=np.int64),
            np.array(columns[3], dtype=np.float32),
            np.array(columns[4], dtype=np.float32),
            np.array([user in known for user in columns[0]], dtype=bool),
            (),
            notes,
        )

    def _rated(self, users: Any) -> dict[str, set[str]]:
        """User -> what they have rated in the tables of some members and not in those of others."""
        models = [_facts(run) for run in self.runs]
        items = list(dict.fromkeys(item for model in models for item in model.items))
        number = {item: place for place, item in enumerate(items)}
        asked = list(dict.fromkeys(user for model in models for user in model.users))
        if users is not None:
            asked = list(dict.fromkeys(as_ids(users)))
        names, keys = np.array([*asked, None], object)[:-1], []
        for model in models:
            place, own = rated_pairs(model, locate(names, model.users))
            common = np.array([number[item] for item in model.items], np.int64)
            keys.append(np.unique(place * len(items) + common[own]))
        pairs, count = np.unique(np.concatenate(keys), return_counts=True)
        found: dict[str, set[str]] = {}
        for pair in pairs[count < len(models)].tolist():
            found.setdefault(asked[pair // len(items)], set()).add(items[pair % len(items)])
        return found

    def _best(self, user: str, ranked: Sequence[Sequence[Any]], n: int) -> list[tuple[Any, float, float]]:
        if self.implicit:
            return [(item, score, float("nan")) for item, score in fuse_ranks(ranked, self.weights, n)]
        items = list(dict.fromkeys(item for own in ranked for item in own))
        if not items:
            return []
        found = self.predict_pairs([user] * len(items), items)
        best = np.argsort(-found.score, kind="stable")[:n]
        return [(items[one], float(found.score[one]), float(found.deviation[one])) for one in best]

    def similar(self, *_: Any, **__: Any) -> Any:
        """Refused: factors of different members have no common directions."""
        raise RunError(f"{self.path} is a blend, whose members have factors of their own", fix="ask a member")

    def evaluate(
        self, source: object, options: PredictOptions = AS_TRAINED, **changes: Unpack[PredictChanges]
    ) -> dict[str, Any]:
        """Errors of the blend, and of each member, on ratings that none was trained on."""
        started, options = time.monotonic(), self.options(options, changes)
        if options.n is not None or self.implicit:
            raise RunError("the lists of a blend are not scored", fix="leave --lists out, or score a member")
        names = id_names(self.schema)
        table = read_as_trained(source, self.runs[0].about, options.reading.table, names, usual_names=True)
        test = self._read_test(table, options.reading.skip_bad)
        log_all(options.log, test.notes)
        found = [_answers(run, test, table) for run in self.runs]
        truth = test.ratings.astype(np.float64)
        mixed = self._mixed(found)
        scores = self._scores(test, mixed.score, options.log)
        target = self.schema.targets[0].name or "rating"
        each = {
            name: {target: _errors(one.score, truth)} for name, one in zip(self.names, found, strict=True)
        }
        return {
            "run": str(self.path),
            **scores,
            "rows": len(truth),
            "targets": {target: scores},
            "members": each,
            "seconds": round(time.monotonic() - started, 3),
            "peak_bytes": peak_bytes(),
        }

    def _scores(
        self, test: Ratings, score: NDArray[np.float32], on_note: Callable[[str], None] | None
    ) -> dict[str, Any]:
        """As `collab.evaluate.evaluate_ratings`, beside the baselines of the first member's training."""
        each = []
        for model in map(_facts, self.runs):
            each.append(score_pairs(model, test, score, *locate_pairs(model, test)))
        log_all(on_note, dict.fromkeys(note for one in each for note in one.pop("notes")))
        return each[0]

    def _read_test(self, table: Table, skip_bad: bool) -> Ratings:
        """The ratings of a table and the rows that they stand in; their times if a member knows of times."""
        timed = [run for run in self.runs if run.schema.time in table.names]
        first = (timed or self.runs)[0]
        test = read_own_ratings(first, table, skip_bad=skip_bad, keep_rows=True)
        rules = list(dict.fromkeys(run.recipe.duplicates or "last" for run in self.runs))
        if len(rules) > 1:
            rule = first.recipe.duplicates or "last"
            said = f"members resolve repeated pairs by different rules ({', '.join(rules)}): here by {rule}"
            test = replace(test, notes=(*test.notes, said))
        return test

    def explain(self, rows: Sequence[str] = (), options: ExplainOptions = SOME_ROWS) -> Explanation:
        """Refused: each member has factors of its own."""
        raise RecipeError(
            f"{self.path} blends runs of ratings, each with factors of its own",
            fix=f"explain a member: {', '.join(os.path.normpath(run.path) for run in self.runs)}",
        )

    def page(self, *, folders: Mapping[str, str] | None = None, worst: int = 12) -> Page:
        """Its page: the members, and what each is."""
        from tenfold.recommenders.page import blend_page

        return blend_page(self)


def _is_network(run: Any) -> bool:
    return run.about.get("kind") == "pairs"


def _facts(run: Any) -> FactorModel:
    """What is known of a member's users, items and scale; the factors of a network are embeddings."""
    return run.known if _is_network(run) else run.model


def _answers(run: Any, test: Ratings, table: Table) -> PairPredictions:
    """A member's answers to ratings of a table, with whatever it wants to know of their rows."""
    users, items = test.users[test.user_index], test.items[test.item_index]
    if _is_network(run):
        return run.answers(users, items, run.cells(table.take(test.rows))[0])  # type: ignore[arg-type]
    return predict_pairs(run.model, users, items, times=test.times)


def _errors(score: NDArray[np.float32], truth: NDArray[np.float64]) -> dict[str, Any]:
    off = score.astype(np.float64) - truth
    return {
        "rmse": float(np.sqrt((off**2).mean())),
        "mae": float(np.abs(off).mean()),
        "scored": len(truth),
    }


def _by_user(one: Recommendations) -> dict[str, list[Any]]:
    """User -> items, best first."""
    found: dict[str, list[Any]] = {}
    for user, item in zip(one.users, one.items, strict=True):
        found.setdefault(id_text(user), []).append(item)
    return found


def ratings_blend_of(
    folder: Path,
    names: Sequence[str],
    weights: Sequence[float],
    runs: Sequence[Any],
    record: RunRecord,
) -> RatingsBlend:
    """Members as one. Raises RunError where some only know of events, or scales differ."""
    problems: list[str] = []
    first = _facts(runs[0])
    for name, run in zip(names, runs, strict=True):
        own = _facts(run)
        if own.implicit != first.implicit:
            kind = "events" if own.implicit else "ratings"
            problems.append(f"{name} was fitted to {kind}, {names[0]} was not")
        elif not first.implicit and tuple(own.scale) != tuple(first.scale):
            problems.append(f"{name} rates from {own.scale[0]:g} to {own.scale[1]:g}")
    if problems:
        fix = "blend runs of one kind and scale"
        raise RunError("these runs cannot be blended", problems=problems, fix=fix)
    members = zip(names, weights, runs, strict=True)
    joined = tuple(Member(name, weight, (run,)) for name, weight, run in members)
    return RatingsBlend(folder, runs[0].schema, record, members=joined)
