"""Recommenders of events by weights between items: a fit, and the run that comes of it. Never loads torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from tenfold.collab.evaluate import evaluate_held_out
from tenfold.collab.interest import Lists, pack_lists
from tenfold.collab.item_scorer import ItemScorer
from tenfold.collab.pack import Packed, pack_interactions, unpack_interactions
from tenfold.collab.predict import PairScorer
from tenfold.collab.recommend import held_out_pairs
from tenfold.errors import RecipeError, RunError
from tenfold.recipe import FactorRecipe
from tenfold.recommenders.methods import fit_items, side_notes, size_notes
from tenfold.recommenders.page import ratings_page
from tenfold.recommenders.prepare import RatingsWork, recent_record
from tenfold.recommenders.run import LISTS, MODEL, RecommenderRun
from tenfold.reports.html import Page
from tenfold.runs.folder import RunFolder, read_arrays
from tenfold.runs.job import Fitted, Notes
from tenfold.runs.options import SOME_ROWS, ExplainOptions, ExportOptions
from tenfold.runs.run import Explanation, Exported
from tenfold.values import FactorModel, Interactions, Scores

__all__ = ["ItemRun", "PreparedItems"]


@dataclass(frozen=True)
class ItemRun(RecommenderRun):
    """A finished run of weights between items."""

    kind: ClassVar = "events"
    words: ClassVar = "a run of weights between items"

    @cached_property
    def recipe(self) -> FactorRecipe:
        """How events were read and learned."""
        return FactorRecipe.from_toml(self.read_text("recipe.toml"))

    @cached_property
    def _kept(self) -> tuple[Interactions, dict[str, NDArray[np.float32]]]:
        return unpack_interactions(*read_arrays(self.path / MODEL))

    @cached_property
    def trained(self) -> ItemScorer:
        """The weights between items."""
        known, vectors = self._kept
        if self.lists is None:
            raise RunError(f"{self.path} has lost {LISTS}", fix="fit again, or restore the run's folder")
        return ItemScorer(known, self.lists.model, vectors)

    @property
    def model(self) -> FactorModel:
        """Raises RunError: scores are no products of factors."""
        raise RunError(
            f"{self.path} is {self.words}: its scores are not products of factors",
            fix="recommend, similar, evaluate and report work; for factors: fit with --method als",
        )

    def learn(
        self,
        users: NDArray[np.object_],
        items: NDArray[np.object_],
        ratings: NDArray[np.float64],
        before: NDArray[np.float64],
        times: NDArray[np.float64] | None = None,
    ) -> tuple[PairScorer, list[str]]:
        """Users take these items, too; new items follow the others by popularity until the next fit."""
        scorer = self.scorer
        assert isinstance(scorer, ItemScorer)
        return scorer.with_items(items).fold_in(users, items, ratings.astype(np.float32), times)

    def packed(self, scorer: PairScorer) -> tuple[str, Packed]:
        """Interactions and vectors; the weights between items stay."""
        assert isinstance(scorer, ItemScorer)
        known, own = scorer.interactions, scorer.kept
        return MODEL, pack_interactions(known, own["user"], own["item"], method="ease")

    def explain(self, rows: Sequence[str] = (), options: ExplainOptions = SOME_ROWS) -> Explanation:
        """Raises RecipeError: a list's reasons explain its scores."""
        raise RecipeError(
            f"{self.path} is {self.words}, which has no workbook: a score is the sum of its reasons",
            fix="tenfold recommend RUN --user ID --reasons 10 shows them",
        )

    def write_graph(self, output: str, options: ExportOptions) -> Exported:
        """See `Run.export`: the weights as an array, and a graph from taken items to scores of all."""
        from tenfold.recommenders.export import export_items

        scorer = self.scorer
        assert isinstance(scorer, ItemScorer)
        return export_items(self, scorer, output, options)

    def page(self, *, folders: Mapping[str, str] | None = None, worst: int = 12) -> Page:
        """Its page: scores, what was fitted to what, maps of what is taken together."""
        how = "Weights between items (method ease)"
        return ratings_page(self, how, self._kept[1], "directions", worst=worst)


@dataclass(frozen=True)
class PreparedItems:
    """The fit of weights between items to events."""

    work: RatingsWork

    @property
    def identity(self) -> dict[str, object]:
        """Everything that decides the weights, for JSON; the data by a checksum."""
        return self.work.identity

    def train(self, folder: RunFolder, notes: Notes) -> Fitted:
        """Fit, score the held-out events, and write weights and interactions; there is no checkpoint."""
        work = self.work
        scorer, messages = fit_items(work.train, work.recipe)
        notes.add([*size_notes(scorer), *messages, *side_notes(work.recipe, work.sides)])
        listed = work.listed_side("item")
        if listed is not None:
            from tenfold.collab.listed import add_listed_items

            scorer, messages = add_listed_items(scorer, *listed)
            notes.add(messages)
        known = scorer.interactions
        if (known.seen_ratings != known.seen_ratings[:1]).any():
            by = "1, whatever its strength (--use-strength weighs it, and so does --method als)"
            if scorer.model.confidence:
                by = "by its strength: 1 at the middle, 2 at most"
            notes.add([f"an event counts {by}"])
        scores: Scores = {}
        held = work.held_out()
        if held is not None:
            evaluation = evaluate_held_out(scorer, held, work.how)
            scores = evaluation.scores
            notes.add(evaluation.notes)
            known = replace(known, **held_out_pairs(known, held))
        vectors = scorer.kept
        folder.write_arrays(MODEL, *pack_interactions(known, vectors["user"], vectors["item"], method="ease"))
        folder.write_arrays(LISTS, *pack_lists(Lists(scorer.model, 0.0, 0.0, 1.0, "")))
        work.write_items(folder)
        record = {
            "kind": ItemRun.kind,
            "method": work.recipe.method,
            **work.record(),
            **recent_record(scorer.model.recent),
            "targets": {work.schema.targets[0].name or "event": scores} if scores else {},
        }
        return Fitted(work.schema, work.recipe, record)
