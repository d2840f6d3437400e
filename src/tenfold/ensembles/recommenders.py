"""Blends of recommenders: ratings are averaged, lists of events are fused by reciprocal rank.

Members may be scorers of any kinds. The blend knows each user and item that a member knows.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from tenfold.collab.ids import locate
from tenfold.collab.predict import Best, Cells, FactorScorer, FoldIn, PairScorer, Reasons, RuledOut
from tenfold.data.tables.table import Table, write_parquet
from tenfold.ensembles.weights import (
    METHODS,
    Evidence,
    fit_weights,
    fuse_ranks,
    nested_weights,
    random_parts,
)
from tenfold.errors import RecipeError, RunError
from tenfold.files.graph import Exported
from tenfold.metrics import number_scores
from tenfold.recipe import FactorRecipe, RatingNetworkRecipe
from tenfold.recommenders.page import blend_page
from tenfold.recommenders.run import HELD_OUT, RecommenderRun, held_out_names, peak_bytes
from tenfold.reports.html import Page
from tenfold.reports.members import contributions_section, leave_out
from tenfold.runs.bundle import open_members
from tenfold.runs.folder import RunFolder
from tenfold.runs.options import SOME_ROWS, ExplainOptions, ExportOptions
from tenfold.runs.record import RunRecord, nan_to_none
from tenfold.runs.run import Blended, Ensemble, Explanation, Member
from tenfold.values import FactorModel, Interactions, Ratings, Scores, TargetScores

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
#: Weights are learned from at least so many ratings that all members held out.
LEAST_ROWS = 10
#: Each member proposes WIDER * n items for a list of n, but at least LEAST.
WIDER, LEAST = 10, 200


@dataclass(frozen=True, repr=False)
class RecommenderBlend(RecommenderRun, Ensemble):
    """A run that averages the ratings of its members, or fuses their lists."""

    kind: ClassVar = "blend of ratings"
    words: ClassVar = "a blend of recommenders"
    takes: ClassVar = RecommenderRun.takes | {"device"}
    blended_by: ClassVar = ""
    summarised: ClassVar = ("targets", "weights", "blends", "members", "seconds", "peak_bytes")

    @classmethod
    def open(cls, path: Path, record: RunRecord) -> RecommenderBlend:
        """Open the blend in a checked folder, and check its members."""
        members = open_members(path, record, RecommenderRun, "a run of ratings")
        if not members:
            raise RunError(f"no member of {path} has finished", fix="blend its runs again")
        return cls.of(path, record, members)

    @classmethod
    def of(cls, path: Path, record: RunRecord, members: Sequence[Member[RecommenderRun]]) -> RecommenderBlend:
        """Join members. Raises RunError where only some have events, or scales differ."""
        problems: list[str] = []
        first = members[0].runs[0].interactions
        for member, run in _each(members):
            own = run.interactions
            if own.implicit != first.implicit:
                kind = "events" if own.implicit else "ratings"
                problems.append(f"{member.name} was fitted to {kind}, {members[0].name} was not")
            elif not first.implicit and tuple(own.scale) != tuple(first.scale):
                problems.append(f"{member.name} rates from {own.scale[0]:g} to {own.scale[1]:g}")
        if problems:
            fix = "blend runs of one kind and scale"
            raise RunError("these runs cannot be blended", problems=problems, fix=fix)
        return cls(path, members[0].runs[0].schema, record, members=members)

    @classmethod
    def blend(
        cls, folder: RunFolder, members: Sequence[Member[RecommenderRun]], *, method: str, seed: int
    ) -> Blended:
        """Blend by stated weights, or by those with the least error on ratings that all members held out.

        Learned weights are scored by parts: a rating's blend has weights that were learned without its part.
        """
        blend = cls.of(folder.path, RunRecord({}), members)
        shared = _find_shared(members)
        if method != "weights" and shared is None:
            raise RecipeError(
                f"--method {method} learns from ratings that all members held out, and there are none",
                fix="fit them with the same --valid and --split-seed, or give --weights",
            )
        notes, scores, blends = [], {}, {}
        names, weights = [member.name for member in members], _weights(members)
        if shared is not None:
            ways = shared.ways([member.weight for member in members], seed)
            blends = {way: found.record(names) for way, found in ways.items()}
            chosen = min(ways, key=lambda way: ways[way].loss) if method == "best" else method
            weights = ways[chosen].weights
            shared.write(folder, blend, ways[chosen].answers)
            scores = {blend.target: number_scores(shared.truth, ways[chosen].answers)}
            most = max(sum(len(run.held_out().ids) for run in member.runs) for member in members)
            if len(shared.truth) < most:
                notes.append(f"scored on {len(shared.truth)} ratings that all members held out")
        shares = dict(zip(names, map(float, weights), strict=True))
        record = {
            "of": "ratings",
            "weights": {blend.target: shares},
            **({"blends": {blend.target: blends}} if len(blends) > 1 else {}),
            "targets": nan_to_none(scores),
            "valid_rows": len(shared.truth) if shared else 0,
            "target": blend.target,
            "peak_bytes": peak_bytes(),
        }
        own = {
            member.name: member.runs[0].scores if len(member.runs) == 1 else _scores_of(blend, shared, place)
            for place, member in enumerate(members)
        }
        return Blended(blend.schema, record, own, notes)

    @cached_property
    def recipe(self) -> FactorRecipe | RatingNetworkRecipe:
        """The first member's recipe."""
        return self.members[0].runs[0].recipe

    @cached_property
    def trained(self) -> MeanScorer:
        """The mean of the members' scorers."""
        runs = list(_each(self.members))
        weight = self._weight_of
        return MeanScorer(
            tuple(run.scorer for _, run in runs),
            tuple(weight[member.name] / len(member.runs) for member, _ in runs),
        )

    @property
    def _weight_of(self) -> Mapping[str, float]:
        """Member -> its weight, as stated or as it was learned."""
        learned = self.record.method not in ("", "weights")
        shares = self.record.weights.get(self.target, {}) if learned else {}
        return {member.name: shares.get(member.name, member.weight) for member in self.members}

    def member_runs(self) -> dict[str, RecommenderRun]:
        """Member -> its run; of several folds, the mean of their runs."""
        record = RunRecord({})
        return {
            member.name: member.runs[0]
            if len(member.runs) == 1
            else RecommenderBlend.of(
                self.path, record, [Member(run.path.name, 1.0, (run,)) for run in member.runs]
            )
            for member in self.members
        }

    def _by_interest(self) -> tuple[PairScorer, str] | None:
        """The members' lists by interest, fused by reciprocal rank; None if a member keeps none."""
        scorer = self.scorer
        assert isinstance(scorer, MeanScorer)
        kept = [run.lists for _, run in _each(self.members)]
        own = [lists.scorer(one) for lists, one in zip(kept, scorer.scorers, strict=True) if lists]
        if len(own) < len(kept):
            return None
        words = "interest: the members' lists, fused by reciprocal rank"
        return MeanScorer(scorer.scorers, scorer.weights, tuple(own)), words

    @property
    def model(self) -> FactorModel:
        """Raises RunError: each member has factors of its own."""
        raise RunError(
            f"{self.path} is a blend; its members have factors of their own",
            fix=f"inspect a member: {', '.join(os.path.normpath(run.path) for run in self._readers)}",
        )

    def explain(self, rows: Sequence[str] = (), options: ExplainOptions = SOME_ROWS) -> Explanation:
        """Raises RecipeError: each member has factors of its own."""
        raise RecipeError(
            f"{self.path} blends runs of ratings, each with factors of its own",
            fix=f"explain a member: {', '.join(os.path.normpath(run.path) for run in self._readers)}",
        )

    def write_graph(self, output: str, options: ExportOptions) -> Exported:
        """See `Run.export`: the members' factors, and a graph that scores pairs by their mean."""
        from tenfold.recommenders.export import export_factors

        if self.interactions.implicit:
            raise RunError(
                f"{self.path} blends lists of events, and their scores have no common unit",
                fix="export its members one by one",
            )
        return export_factors(self, self.factor_scorers(), output, options)

    def factor_scorers(self) -> list[tuple[float, FactorScorer]]:
        """The scorers of all members, with their shares."""
        scorer = self.scorer
        assert isinstance(scorer, MeanScorer)
        own = [one for one in scorer.scorers if isinstance(one, FactorScorer)]
        if len(own) < len(scorer.scorers):
            return super().factor_scorers()
        total = sum(scorer.weights)
        return [(weight / total, one) for weight, one in zip(scorer.weights, own, strict=True)]

    def page(self, *, folders: Mapping[str, str] | None = None, worst: int = 12) -> Page:
        """Build its page: the members, what each adds, held-out ratings, lists."""
        shared = _find_shared(self.members)
        found = []
        if shared is not None:
            names = [member.name for member in self.members]

            def scores(weights: NDArray[np.float64]) -> Scores:
                return number_scores(shared.truth, shared.mean(weights / weights.sum()))

            weights = np.array([self._weight_of[name] for name in names], np.float64)
            weights /= weights.sum()
            found = [leave_out(self.target, "rmse", names, weights, len(shared.truth), scores)]
        lists = all(isinstance(run.scorer, FactorScorer) for _, run in _each(self.members))
        return blend_page(self, contributions_section(found, False), worst=worst, lists=lists)


def _each(
    members: Sequence[Member[RecommenderRun]],
) -> Iterator[tuple[Member[RecommenderRun], RecommenderRun]]:
    """Every run, with its member: a run per fold."""
    return ((member, run) for member in members for run in member.runs)


def _scores_of(blend: RecommenderBlend, shared: _Shared | None, place: int) -> TargetScores:
    """A member's scores, of its folds together."""
    return {} if shared is None else {blend.target: number_scores(shared.truth, shared.answers[place])}


def _weights(members: Sequence[Member[RecommenderRun]]) -> NDArray[np.float64]:
    """(members,) weights that sum to 1."""
    weights = np.array([member.weight for member in members], dtype=np.float64)
    return weights / weights.sum()


@dataclass(frozen=True)
class _Shared:
    """Ratings that all members held out.

    users, items: (pairs,) ids.  truth: (pairs,).  answers: (members, pairs).
    """

    users: NDArray[np.object_]
    items: NDArray[np.object_]
    truth: NDArray[np.float64]
    answers: NDArray[np.float64]

    def mean(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """(pairs,) the blend's answers. weights: (members,), of sum 1."""
        return weights @ self.answers

    def ways(self, stated: Sequence[float], seed: int) -> dict[str, _Way]:
        """Each way of blending: weights from all ratings, and answers by weights that did not see them."""
        rows = np.arange(len(self.truth))
        evidence = Evidence(self.answers.T, rows, self.truth)
        part = random_parts(len(rows), seed=seed)
        found = {}
        for method in METHODS if len(rows) >= LEAST_ROWS else METHODS[:1]:
            weights = fit_weights(evidence, method, stated)
            if method == "weights":
                answers = self.mean(weights)
            else:
                nested = nested_weights(evidence, part, method, stated)[part]
                answers = np.einsum("rm,mr->r", nested, self.answers)
            found[method] = _Way(weights, answers, float(np.mean((answers - self.truth) ** 2)), self.truth)
        return found

    def write(self, folder: RunFolder, blend: RecommenderBlend, answers: NDArray[np.float64]) -> None:
        """Write them, with the blend's answers (pairs,), as its held-out ratings."""
        pairs = zip(self.users, self.items, strict=True)
        ids = np.array([f"user {user}, item {item}" for user, item in pairs], object)
        columns = [ids, np.full(len(ids), -1), self.truth, answers, self.users, self.items]
        names = held_out_names(blend.schema, blend.target)
        write_parquet(folder.file(HELD_OUT), dict(zip(names, columns, strict=True)))


@dataclass(frozen=True)
class _Way:
    """A way of blending. weights: (members,).  answers: (pairs,), by weights learned without them.

    loss: their mean squared error.  truth: (pairs,) the ratings.
    """

    weights: NDArray[np.float64]
    answers: NDArray[np.float64]
    loss: float
    truth: NDArray[np.float64]

    def record(self, names: Sequence[str]) -> dict[str, object]:
        """For ``run.json``."""
        weights = dict(zip(names, map(float, self.weights), strict=True))
        return {"weights": weights, "loss": self.loss, "scores": number_scores(self.truth, self.answers)}


def _find_shared(members: Sequence[Member[RecommenderRun]]) -> _Shared | None:
    """The ratings that every member held out, as equal ratings of a pair once each; None without any.

    Of a member with folds they are those of all folds, each answered by the run that held it out.
    """
    tables: list[tuple[NDArray[np.object_], NDArray[np.object_], Floats, Floats]] = []
    for member in members:
        parts = []
        for run in member.runs:
            held = run.held_out()
            if not held.evaluations or held.evaluations[0].guess is None or held.evaluations[0].truth is None:
                return None
            parts.append((*run.held_out_pairs(), held.evaluations[0].truth, held.evaluations[0].guess))
        users, items, truth, guess = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        tables.append((users, items, truth, guess))
    known = [
        {name: place for place, name in enumerate(dict.fromkeys(n for own in tables for n in own[side]))}
        for side in (0, 1)
    ]
    width = len(known[1])
    keys = [
        np.fromiter((known[0][user] for user in users), np.int64, len(users)) * width
        + np.fromiter((known[1][item] for item in items), np.int64, len(items))
        for users, items, _, _ in tables
    ]
    if any(len(np.unique(own)) != len(own) for own in keys):
        return None
    users, items, truth, _ = tables[0]
    kept = np.ones(len(keys[0]), np.bool_)
    answers = []
    for own, (_, _, rating, guess) in zip(keys, tables, strict=True):
        order = np.argsort(own)
        place = order[np.minimum(np.searchsorted(own[order], keys[0]), len(own) - 1)]
        kept &= (own[place] == keys[0]) & (rating[place] == truth)
        answers.append(guess[place])
    if not kept.any():
        return None
    return _Shared(users[kept], items[kept], truth[kept], np.array(answers)[:, kept])


@dataclass(frozen=True, eq=False)
class MeanScorer:
    """The weighted mean of several scorers' ratings, over all users and items that any of them knows.

    The deviation is that of their mixture, NaN if a scorer has none. Scores of events have no common unit:
    their lists are fused by reciprocal rank, and so are those of `listers`, which order the lists of each
    scorer, where they are given.
    """

    scorers: tuple[PairScorer, ...]
    weights: tuple[float, ...]
    listers: tuple[PairScorer, ...] = ()

    @property
    def reasons(self) -> Reasons | None:
        """Those of the first lister, for its users and items; scores of several scorers have none."""
        if not self.listers or self.listers[0].reasons is None:
            return None
        explain, users, items = self.listers[0].reasons, self.user_index[0], self.item_index[0]

        def reasons(user: int, asked: Ints, count: int) -> list[tuple[tuple[str, float], ...]]:
            own = items[asked]
            told = explain(int(users[user]) if user >= 0 else -1, np.maximum(own, 0), count)
            return [reason if item >= 0 else () for reason, item in zip(told, own, strict=True)]

        return reasons

    @property
    def interactions(self) -> Interactions:
        """The users, items and pairs that any of the scorers knows."""
        return self._joined

    @cached_property
    def _joined(self) -> Interactions:
        return joined_interactions([scorer.interactions for scorer in self.scorers])

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that any of the scorers needs."""
        return tuple(dict.fromkeys(name for scorer in self.scorers for name in scorer.columns))

    @cached_property
    def user_index(self) -> list[Ints]:
        """Per scorer: (users,) its own index of each user, -1 for unknown users."""
        return [locate(self.interactions.users, scorer.interactions.users) for scorer in self.scorers]

    @cached_property
    def item_index(self) -> list[Ints]:
        """Per scorer: (items,) its own index of each item, -1 for unknown items."""
        return [locate(self.interactions.items, scorer.interactions.items) for scorer in self.scorers]

    def cells(self, table: Table, ratings: Ratings | None = None) -> tuple[Cells, list[str]]:
        """The cells of each scorer; its number is a prefix of the column's name."""
        cells: dict[str, NDArray[np.generic]] = {}
        notes: list[str] = []
        for number, scorer in enumerate(self.scorers):
            own, messages = scorer.cells(table, ratings)
            cells |= {f"{number}.{name}": values for name, values in own.items()}
            notes += messages
        return cells, list(dict.fromkeys(notes))

    def scores(
        self, users: Ints, items: Ints, cells: Cells
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The weighted mean, and the deviation of the mixture."""
        return self._mixed(users, items, cells, cut=True)

    def means(
        self, users: Ints, items: Ints, cells: Cells
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The same of ratings that are not cut to the scale."""
        return self._mixed(users, items, cells, cut=False)

    def _mixed(
        self, users: Ints, items: Ints, cells: Cells, *, cut: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        if self.interactions.implicit:
            raise RunError(
                "this run blends lists of events, and their scores have no common unit",
                fix="ask it for lists: tenfold recommend",
            )
        scores, spread = np.empty((2, len(self.scorers), len(users)))
        for number, scorer in enumerate(self.scorers):
            named = [(*name.split(".", 1), values) for name, values in cells.items()]
            own = {name: values for prefix, name, values in named if prefix == str(number)}
            index = _at(self.user_index[number], users), _at(self.item_index[number], items)
            score, spread[number] = (scorer.scores if cut else scorer.means)(*index, own)
            scores[number] = score.astype(np.float32)
        share = np.array(self.weights) / sum(self.weights)
        mean = share @ scores
        variance = share @ (spread**2 + scores**2) - mean**2
        return mean.astype(np.float32), np.sqrt(np.maximum(variance, 0)).astype(np.float32)

    def best(
        self, users: Ints, allowed: NDArray[np.bool_], n: int, out: RuledOut, threads: int | None
    ) -> Best:
        """The best n items that the scorers propose, by mean rating; of events by reciprocal rank."""
        each: list[list[Ints]] = []
        for number, scorer in enumerate(self.listers or self.scorers):
            own_items = self.item_index[number]
            own_allowed = np.zeros(len(scorer.interactions.items), np.bool_)
            own_allowed[own_items[allowed & (own_items >= 0)]] = True

            def own_out(part: slice, own_items: Ints = own_items) -> tuple[Ints, Ints]:
                row, item = out(part)
                known = own_items[item] >= 0
                return row[known], own_items[item[known]]

            index = _at(self.user_index[number], users)
            best = scorer.best(index, own_allowed, max(LEAST, WIDER * n), own_out, threads)
            common = locate(scorer.interactions.items, self.interactions.items)[best.item]
            cuts = np.searchsorted(best.row, np.arange(1, len(users)))
            each.append(np.split(common, cuts))
        rows = [
            self._best_of(int(user), [lists[row].tolist() for lists in each], n)
            for row, user in enumerate(users)
        ] or [self._best_of(-1, [], 0)]
        item, score, deviation = (np.concatenate(parts) for parts in zip(*rows, strict=True))
        return Best(np.repeat(np.arange(len(rows)), [len(row[0]) for row in rows]), item, score, deviation)

    def _best_of(
        self, user: int, ranked: list[list[int]], n: int
    ) -> tuple[Ints, NDArray[np.float32], NDArray[np.float32]]:
        """A user's items, best first, with score and deviation. ranked: per scorer, best first."""
        if self.interactions.implicit or self.listers:
            fused = fuse_ranks(ranked, self.weights, n)
            items, score = np.array([item for item, _ in fused], np.int64), [score for _, score in fused]
            if self.listers:
                return items, *self.scores(np.full(len(items), user), items, {})
            return items, np.array(score, np.float32), np.full(len(score), np.nan, "f4")
        items = np.array(list(dict.fromkeys(item for own in ranked for item in own)), np.int64)
        score, deviation = self.scores(np.full(len(items), user), items, {})
        best = np.argsort(-score, kind="stable")[:n]
        return items[best], score[best], deviation[best]

    def vectors(self, side: str) -> NDArray[np.float32]:
        """Raises RunError: factors of different members have no common directions."""
        raise RunError("this run is a blend; its members have factors of their own", fix="ask a member")

    @property
    def fold_in(self) -> FoldIn | None:
        """Fold in with every scorer; None if a scorer cannot."""
        learners = [scorer.fold_in for scorer in self.scorers]
        if any(learner is None for learner in learners):
            return None

        def fold_in(
            users: NDArray[np.object_],
            items: NDArray[np.object_],
            ratings: NDArray[np.float32],
            times: NDArray[np.float64] | None = None,
            /,
        ) -> tuple[PairScorer, list[str]]:
            made = [learner(users, items, ratings, times) for learner in learners if learner is not None]
            notes = list(dict.fromkeys(note for _, messages in made for note in messages))
            return MeanScorer(tuple(scorer for scorer, _ in made), self.weights), notes

        return fold_in

    def on(self, device: str) -> MeanScorer:
        """Move every scorer to the device."""
        listers = tuple(lister.on(device) for lister in self.listers)
        return MeanScorer(tuple(scorer.on(device) for scorer in self.scorers), self.weights, listers)


def _at(index: Ints, keys: Ints) -> Ints:
    """index[keys], -1 where the key is -1."""
    return np.append(index, -1)[keys]


def joined_interactions(each: Sequence[Interactions]) -> Interactions:
    """Join users, items and rated pairs, each once; a repeated pair has the first rating."""
    first = each[0]
    users, items = first.users, first.items
    for other in each[1:]:
        users = np.concatenate([users, other.users[locate(other.users, users) < 0]])
        items = np.concatenate([items, other.items[locate(other.items, items) < 0]])
    titles: dict[str, str] = {}
    for other in reversed(each):
        titles |= {item: title for item, title in other.item_names.items() if title or item not in titles}
    width, keys, ratings, held = len(items), [], [], []
    for own in each:
        if own is not first and _same_pairs(own, first):
            continue
        user, item = locate(own.users, users), locate(own.items, items)
        keys.append(user[own.owners] * width + item[own.seen_items])
        ratings.append(own.seen_ratings)
        if own.held_users is not None and own.held_items is not None:
            held.append(user[own.held_users] * width + item[own.held_items])
    pairs, first_row = np.unique(np.concatenate(keys), return_index=True)
    counts = np.bincount(pairs // width, minlength=len(users)) if width else np.zeros(len(users), np.int64)
    received = np.bincount(pairs % width, minlength=width) if width else np.zeros(0, np.int64)
    listed = any(own.listed_items for own in each), any(own.listed_users for own in each)
    hidden = np.setdiff1d(np.concatenate(held), pairs) if held else None
    return Interactions(
        users=users,
        items=items,
        scale=first.scale,
        seen_start=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        seen_items=(pairs % max(width, 1)).astype(np.uint32),
        seen_ratings=np.concatenate(ratings)[first_row],
        item_names=titles,
        implicit=first.implicit,
        listed_items=int((received == 0).sum()) if listed[0] else 0,
        listed_users=int((counts == 0).sum()) if listed[1] else 0,
        held_users=None if hidden is None else (hidden // width).astype(np.uint32),
        held_items=None if hidden is None else (hidden % width).astype(np.uint32),
    )


def _same_pairs(left: Interactions, right: Interactions) -> bool:
    """Whether both have the same users, items and pairs, in the same order."""
    names = ("users", "items", "seen_start", "seen_items", "held_users", "held_items")
    return all(np.array_equal(getattr(left, name), getattr(right, name)) for name in names)
