"""Blends of recommenders: ratings are averaged, lists of events are fused by reciprocal rank.

Members may be scorers of any kinds. The blend knows each user and item that a member knows.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from tenfold.collab.ids import locate
from tenfold.collab.predict import Best, Cells, FactorScorer, FoldIn, PairScorer, Reasons, RuledOut
from tenfold.data.tables.table import Table, write_parquet
from tenfold.ensembles.weights import fuse_ranks
from tenfold.errors import RecipeError, RunError
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
from tenfold.runs.run import Blended, Ensemble, Explanation, Exported, Member
from tenfold.values import FactorModel, Interactions, Ratings, Scores

Ints = NDArray[np.int64]
#: Each member proposes WIDER * n items for a list of n, but at least LEAST.
WIDER, LEAST = 10, 200


@dataclass(frozen=True, repr=False)
class RecommenderBlend(RecommenderRun, Ensemble):
    """A run that averages the ratings of its members, or fuses their lists."""

    kind: ClassVar = "blend of ratings"
    words: ClassVar = "a blend of recommenders"
    takes: ClassVar = RecommenderRun.takes | {"device"}
    blended_by: ClassVar = ""
    summarised: ClassVar = ("targets", "weights", "members", "seconds", "peak_bytes")

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
        for member in members:
            own = member.runs[0].interactions
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
        """Blend by the stated weights: runs of ratings keep no held-out answers to learn from."""
        if method != "weights":
            raise RecipeError(
                f"--method {method} learns from held-out answers, which runs of ratings do not keep",
                fix="give --weights, and compare by tenfold evaluate",
            )
        blend = cls.of(folder.path, RunRecord({}), members)
        shared = _find_shared(members)
        notes, scores = [], {}
        total = sum(member.weight for member in members)
        shares = {member.name: member.weight / total for member in members}
        if shared is not None:
            shared.write(folder, blend)
            scores = {blend.target: number_scores(shared.truth, shared.mean(_weights(members)))}
            fewer = len(shared.truth) < max(len(member.runs[0].held_out().ids) for member in members)
            notes = [f"scored on {len(shared.truth)} ratings that all members held out"] if fewer else []
        record = {
            "of": "ratings",
            "weights": {blend.target: shares},
            "targets": nan_to_none(scores),
            "valid_rows": len(shared.truth) if shared else 0,
            "target": blend.target,
            "peak_bytes": peak_bytes(),
        }
        own = {member.name: member.runs[0].scores for member in members}
        return Blended(blend.schema, record, own, notes)

    @cached_property
    def recipe(self) -> FactorRecipe | RatingNetworkRecipe:
        """The first member's recipe."""
        return self.members[0].runs[0].recipe

    @cached_property
    def trained(self) -> MeanScorer:
        """The mean of the members' scorers."""
        return MeanScorer(
            tuple(member.runs[0].scorer for member in self.members),
            tuple(member.weight for member in self.members),
        )

    def _by_interest(self) -> tuple[PairScorer, str] | None:
        """The members' lists by interest, fused by reciprocal rank; None if a member keeps none."""
        scorer = self.scorer
        assert isinstance(scorer, MeanScorer)
        kept = [member.runs[0].lists for member in self.members]
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

            weights = _weights(self.members)
            found = [leave_out(self.target, "rmse", names, weights, len(shared.truth), scores)]
        lists = all(isinstance(member.runs[0].scorer, FactorScorer) for member in self.members)
        return blend_page(self, contributions_section(found, False), worst=worst, lists=lists)


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

    def write(self, folder: RunFolder, blend: RecommenderBlend) -> None:
        """Write them as the held-out ratings of the blend."""
        pairs = zip(self.users, self.items, strict=True)
        ids = np.array([f"user {user}, item {item}" for user, item in pairs], object)
        answers = self.mean(_weights(blend.members))
        columns = [ids, np.full(len(ids), -1), self.truth, answers, self.users, self.items]
        names = held_out_names(blend.schema, blend.target)
        write_parquet(folder.file(HELD_OUT), dict(zip(names, columns, strict=True)))


def _find_shared(members: Sequence[Member[RecommenderRun]]) -> _Shared | None:
    """The ratings that every member held out, as equal ratings of a pair once each; None without any."""
    tables = []
    for member in members:
        run = member.runs[0]
        held = run.held_out()
        if not held.evaluations or held.evaluations[0].guess is None or held.evaluations[0].truth is None:
            return None
        users, items = run.held_out_pairs()
        truth, guess = held.evaluations[0].truth, held.evaluations[0].guess
        keys = list(zip(users, items, truth.tolist(), strict=True))
        if len(keys) != len({key[:2] for key in keys}):
            return None
        tables.append(dict(zip(keys, guess.tolist(), strict=True)))
    shared = [key for key in tables[0] if all(key in table for table in tables)]
    if not shared:
        return None
    users, items, truth = zip(*shared, strict=True)
    answers = np.array([[table[key] for key in shared] for table in tables])
    return _Shared(np.array(users, object), np.array(items, object), np.array(truth), answers)


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
            users: NDArray[np.object_], items: NDArray[np.object_], ratings: NDArray[np.float32]
        ) -> tuple[PairScorer, list[str]]:
            made = [learner(users, items, ratings) for learner in learners if learner is not None]
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
