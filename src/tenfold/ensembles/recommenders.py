"""The ratings wing: many runs as one. Ratings are averaged; lists of events are fused by reciprocal rank.

Members are factors or networks, in any mix: both answer pairs of ids, and a blend asks nothing else of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.collab.evaluate import locate_pairs, score_pairs
from tenfold.collab.predict import as_ids, locate, predict_pairs
from tenfold.collab.recommend import checked_count, rated_pairs
from tenfold.data.tables.table import Table
from tenfold.ensembles.weights import fuse_ranks
from tenfold.errors import RunError
from tenfold.recommenders.factors import id_names, open_ratings_run, peak_bytes, read_own_ratings
from tenfold.runs.bundle import read_members
from tenfold.runs.reading import read_as_trained
from tenfold.schema import Schema
from tenfold.values import FactorModel, PairPredictions, Ratings, Recommendations, id_text

__all__ = ["RatingsBlend", "open_ratings_blend", "ratings_blend_of"]

#: Items that each member puts forward for a list of n: this many times n, but at least so many.
WIDER, LEAST = 10, 200


@dataclass(frozen=True)
class RatingsBlend:
    """Many runs of the ratings wing as one.

    path: its folder.  names, weights, runs: one a member, a `jobs.ratings.RatingsRun` or a
    `jobs.pairs.PairRun`.  about: what ``run.json`` says.
    """

    path: Path
    names: tuple[str, ...]
    weights: tuple[float, ...]
    runs: tuple[Any, ...]
    about: Mapping[str, Any]

    @property
    def members(self) -> tuple[str, ...]:
        """The members' names."""
        return self.names

    @property
    def schema(self) -> Schema:
        """The first member's schema, whose columns tables are read by."""
        return self.runs[0].schema

    @property
    def implicit(self) -> bool:
        """Whether the members know of events only, and not of stars."""
        return _facts(self.runs[0]).implicit

    def show(self) -> Any:
        """The blend's page, which a notebook shows; see `jobs.showing.show_run`."""
        from tenfold.reports.notebook import show_run

        return show_run(self)

    def plot_losses(self) -> Any:
        """Raises RunError: its members have the curves, if any; see `jobs.showing.plot_losses`."""
        from tenfold.reports.notebook import plot_losses

        return plot_losses(self)

    @property
    def summary(self) -> dict[str, Any]:
        """What ``tenfold blend --json`` prints (docs/formats.md)."""
        kept = ("targets", "weights", "members", "seconds", "peak_bytes")
        return {"run": str(self.path), **{name: self.about[name] for name in kept if name in self.about}}

    @property
    def scores(self) -> dict[str, Any]:
        """Nothing: members of ratings keep no held-out answers. See `evaluate`."""
        return self.about.get("targets", {})

    def with_ratings(self, source: Any, **options: Any) -> RatingsBlend:
        """This blend with further ratings learnt by every member; see `RatingsRun.with_ratings`."""
        runs = tuple(run.with_ratings(source, **options) for run in self.runs)
        notes = list(dict.fromkeys(note for run in runs for note in run.about["added_notes"]))
        about = {**self.about, "added_notes": notes, "added_users": runs[0].about["added_users"]}
        return replace(self, runs=runs, about=about)

    def predict_pairs(self, users: Any, items: Any, **options: Any) -> PairPredictions:
        """The weighted mean of the members' ratings; the deviation is that of their mixture.

        Beside a network, which knows of no deviation, there is none.
        """
        self._refuse_events()
        return self._mixed([run.predict_pairs(users, items, **options) for run in self.runs])

    def predict(
        self, source: Any, *, members: bool = False, on_note: Any = None, **options: Any
    ) -> PairPredictions:
        """Scores of the pairs in a table, one per row, in its order; see `RatingsRun.predict`."""
        if members:
            raise RunError("members' own ratings are asked of the members", fix="predict with each run")
        self._refuse_events()
        said: list[str] = []
        found = [run.predict(source, on_note=said.append, **options) for run in self.runs]
        for note in dict.fromkeys(said) if on_note is not None else ():
            on_note(note)
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
        self,
        source: Any,
        *,
        n: int | None = None,
        relevant_from: float | None = None,
        table_options: Mapping[str, Any] | None = None,
        skip_bad: bool = False,
        on_note: Callable[[str], None] | None = None,
    ) -> dict[str, Any]:
        """Errors of the blend, and of each member, on ratings that none was trained on."""
        started = time.monotonic()
        if n is not None or self.implicit:
            raise RunError("the lists of a blend are not scored", fix="leave --lists out, or score a member")
        names = id_names(self.schema)
        table = read_as_trained(source, self.runs[0].about, table_options or {}, names, usual_names=True)
        test = self._read_test(table, skip_bad)
        for note in test.notes if on_note is not None else ():
            on_note(note)  # type: ignore[misc]
        found = [_answers(run, test, table) for run in self.runs]
        truth = test.ratings.astype(np.float64)
        mixed = self._mixed(found)
        scores = self._scores(test, mixed.score, on_note)
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
        for note in dict.fromkeys(note for one in each for note in one.pop("notes")):
            if on_note is not None:
                on_note(note)
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


def open_ratings_blend(folder: Path, about: Mapping[str, Any]) -> RatingsBlend:
    """The blend in a folder that `runs.folder.read_run` has checked. Members are checked, too."""
    kept = read_members(folder, about)
    if not kept:
        raise RunError(f"no member of {folder} has finished", fix="blend its runs again")
    names, weights = [one.name for one in kept], [one.weight for one in kept]
    runs = [_open(*one.runs[0]) for one in kept]
    return ratings_blend_of(folder, names, weights, runs, about)


def _open(folder: Path, about: Mapping[str, Any]) -> Any:
    if about.get("kind") != "pairs":
        return open_ratings_run(folder, about)
    # Blends of factors never wait for torch.
    from tenfold.recommenders.network import open_pair_run

    return open_pair_run(folder, about)


def ratings_blend_of(
    folder: Path,
    names: Sequence[str],
    weights: Sequence[float],
    runs: Sequence[Any],
    about: Mapping[str, Any],
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
    return RatingsBlend(folder, tuple(names), tuple(weights), tuple(runs), about)
